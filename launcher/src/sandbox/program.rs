//! The app's program, ready to be executed: everything that needs memory is done before the process for it is made.
//!
//! A program that is named by a plain name is looked for in the folders of PATH, as execvp(3) does.

use std::convert::Infallible;
use std::ffi::{CStr, CString, OsString};
use std::io;

use nix::errno::Errno;
use nix::unistd::execve;
use pack_schemas::plan::Plan;

/// What runs a program file that is neither binary nor names its interpreter, as execvp(3) has it.
const SHELL: &CStr = c"/bin/sh";

/// A program, its arguments and its environment, as execve(2) takes them.
pub struct Program {
    /// Where it may be, in order.
    paths: Vec<CString>,
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
        let name = CString::new(plan.program.as_str())?;
        let own = plan.arguments.iter().map(|argument| CString::new(argument.as_str()));
        let given = arguments.iter().map(|argument| CString::new(argument.as_encoded_bytes()));
        let variables = plan.environment.iter();
        Ok(Program {
            paths: paths(plan)?,
            arguments: std::iter::once(Ok(name)).chain(own).chain(given).collect::<Result<_, _>>()?,
            environment: variables
                .map(|(name, setting)| CString::new(format!("{name}={}", setting.value)))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Becomes the program. Returns only if that cannot be.
    pub fn execute(&self) -> io::Error {
        let mut refused = None;
        for path in &self.paths {
            match execve(path, &self.arguments, &self.environment) {
                Err(Errno::ENOEXEC) => return self.execute_as_script(path),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                // Another folder may have one that can be executed.
                Err(Errno::EACCES) => refused = Some(Errno::EACCES),
                result => return failure(result),
            }
        }
        refused.unwrap_or(Errno::ENOENT).into()
    }

    fn execute_as_script(&self, path: &CStr) -> io::Error {
        let mut arguments = vec![SHELL.to_owned(), path.to_owned()];
        arguments.extend(self.arguments.iter().skip(1).cloned());
        failure(execve(SHELL, &arguments, &self.environment))
    }
}

/// Where the program of `plan` may be.
fn paths(plan: &Plan) -> io::Result<Vec<CString>> {
    if plan.program.contains('/') {
        return Ok(vec![CString::new(plan.program.as_str())?]);
    }
    let folders = plan.environment.get("PATH").map(|path| path.value.as_str()).unwrap_or_default();
    // An empty folder would be the working one, which a program is not to be taken from by accident.
    let folders = folders.split(':').filter(|folder| folder.starts_with('/'));
    Ok(folders.map(|folder| CString::new(format!("{folder}/{}", plan.program))).collect::<Result<_, _>>()?)
}

fn failure(result: Result<Infallible, Errno>) -> io::Error {
    match result {
        Err(errno) => errno.into(),
        Ok(never) => match never {},
    }
}
