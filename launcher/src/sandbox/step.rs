//! A step of a launch that failed: which, on what, with which error number. It crosses from the sandbox's first
//! process to the launcher over a socket.

use std::io;

use serde::{Deserialize, Serialize};

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepError {
    /// The step, as the infinitive of a sentence that begins with "cannot": `mount the root folder`.
    pub step: String,
    /// What it was done to: a path, a name.
    pub object: Option<String>,
    /// errno(3).
    pub errno: i32,
}

impl StepError {
    /// Names the step that an error belongs to.
    pub fn new(step: &str, object: Option<&str>, error: &io::Error) -> StepError {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        StepError { step: step.to_owned(), object: object.map(str::to_owned), errno }
    }

    /// The error number as an error of the standard library.
    pub fn cause(&self) -> io::Error {
        io::Error::from_raw_os_error(self.errno)
    }
}

/// Names the step, and what it was done to, that a result belongs to.
pub trait InStep<T> {
    /// The step has no object of its own.
    ///
    /// # Errors
    /// The error with its step.
    fn step(self, step: &str) -> Result<T, StepError>;
    /// The step is done to `object`.
    ///
    /// # Errors
    /// The error with its step and object.
    fn step_on(self, step: &str, object: &str) -> Result<T, StepError>;
}

impl<T, E: Into<io::Error>> InStep<T> for Result<T, E> {
    fn step(self, step: &str) -> Result<T, StepError> {
        self.map_err(|error| StepError::new(step, None, &error.into()))
    }

    fn step_on(self, step: &str, object: &str) -> Result<T, StepError> {
        self.map_err(|error| StepError::new(step, Some(object), &error.into()))
    }
}
