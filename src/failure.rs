//! What a verb that failed tells: one line that names the object, the causes, and a hint apart.

use std::error::Error;
use std::process::ExitCode;

/// A failure on its way to the terminal.
///
/// ```text
/// error: cannot mount `hello` revision 3 (step: open /dev/fuse)
///   caused by: permission denied
///
/// hint: this host does not let you use FUSE; `pack doctor` shows what to change
/// ```
#[derive(Debug)]
pub struct Failure {
    /// What failed, in one line: lower case, no full stop, naming the object.
    pub message: String,
    /// Why, outermost cause first.
    pub causes: Vec<String>,
    /// The lines of a manifest with the place marked, as annotate-snippets renders them.
    pub snippet: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// Exit status.
    pub status: u8,
}

/// Exit status of a verb that failed.
const FAILED: u8 = 1;
/// Exit status of a verb that was used wrongly.
const USAGE: u8 = 2;

impl Failure {
    /// Something failed. `message` is one line, lower case, without a full stop.
    pub fn new(message: impl Into<String>) -> Failure {
        Failure { message: message.into(), causes: Vec::new(), snippet: None, hint: None, status: FAILED }
    }

    /// The command line asks for something that makes no sense.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure { status: USAGE, ..Failure::new(message) }
    }

    /// Adds an error and all its sources as causes.
    pub fn because(mut self, error: &dyn Error) -> Failure {
        let mut next = Some(error);
        while let Some(cause) = next {
            self.causes.push(cause.to_string());
            next = cause.source();
        }
        self
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint if there is one.
    pub fn hint_from(mut self, hint: Option<String>) -> Failure {
        self.hint = hint.or(self.hint);
        self
    }

    /// Sets the exit status.
    pub fn status(mut self, status: u8) -> Failure {
        self.status = status;
        self
    }

    /// The exit status as the process returns it.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.status)
    }
}
