//! The app's program, ready to be executed: everything that needs memory is done before the process for it is made.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::io;

use nix::errno::Errno;
use nix::unistd::execve;
use pack_schemas::plan::Plan;

/// What runs a program file that is neither binary nor names its interpreter, as execvp(3) has it.
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// A program, its arguments and its environment, as execve(2) takes them.
pub struct Program {
    path: CString,
    /// The first is the program's own name.
    arguments: Vec<CString>,
    environment: Vec<CString>,
}

impl Program {
    /// Puts together the program of `plan` with `arguments` after the plan's own.
    ///
    /// # Errors
    /// `InvalidInput` where any of it has a zero byte in it.
    pub fn new(plan: &Plan, arguments: &[OsString]) -> io::Result<Program> {
        let path = CString::new(plan.program.as_str())?;
        let own = plan.arguments.iter().map(|argument| CString::new(argument.as_str()));
        let given = arguments.iter().map(|argument| CString::new(argument.as_encoded_bytes()));
        let variables = plan.environment.iter();
        Ok(Program {
            arguments: std::iter::once(Ok(path.clone())).chain(own).chain(given).collect::<Result<_, _>>()?,
            environment: variables
                .map(|(name, setting)| CString::new(format!("{name}={}", setting.value)))
                .collect::<Result<_, _>>()?,
            path,
        })
    }

    /// Becomes the program. Returns only if that cannot be.
    pub fn execute(&self) -> io::Error {
        match execve(&self.path, &self.arguments, &self.environment) {
            Err(Errno::ENOEXEC) => self.execute_as_script(),
            result => failure(result),
        }
    }

    fn execute_as_script(&self) -> io::Error {
        let mut arguments = vec![SHELL.to_owned(), self.path.clone()];
        arguments.extend(self.arguments.iter().skip(1).cloned());
        failure(execve(SHELL, &arguments, &self.environment))
    }
}

fn failure(result: Result<Infallible, Errno>) -> io::Error {
    match result {
        Err(errno) => errno.into(),
        Ok(never) => match never {},
    }
}
