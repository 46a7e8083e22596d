//! The builder's side: writes a plan down, and starts the runner with it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use pack_schemas::plan::Plan;

use super::ConfineError;
use super::runner::{Failure, failure_file};
use crate::files::{self, FileError};

/// A command that is ready to be started in its sandbox.
#[derive(Debug)]
pub(crate) struct Started {
    /// The runner; the caller gives it its standard streams, starts it, and waits.
    pub command: Command,
    runner: PathBuf,
    plan: PathBuf,
}

impl Started {
    /// Writes `plan` to the file `at`, which no sandbox sees, for the program `runner`.
    pub fn prepare(runner: &Path, plan: &Plan, at: &Path) -> Result<Started, ConfineError> {
        // What is there is removed, and not written into: it could be a link by now.
        for old in [at, &failure_file(at)] {
            files::remove_tree(old)?;
        }
        let json = serde_json::to_vec(plan).map_err(|error| FileError::at("write", at, error.into()))?;
        fs::write(at, json).map_err(|source| FileError::at("write", at, source))?;
        let mut command = Command::new(runner);
        command.arg("build-step").arg(at).arg(std::process::id().to_string()).env_clear();
        Ok(Started { command, runner: runner.to_path_buf(), plan: at.to_path_buf() })
    }

    /// What it means that the runner ended so: the status of the command, or why that was not started.
    pub fn ended(&self, status: io::Result<ExitStatus>) -> Result<ExitStatus, NotStarted> {
        let runner_error =
            |source| NotStarted::Confine(ConfineError::Runner { program: self.runner.clone(), source });
        let status = status.map_err(runner_error)?;
        if status.success() {
            return Ok(status);
        }
        let text = match fs::read(failure_file(&self.plan)) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(status),
            Err(source) => return Err(runner_error(source)),
        };
        match serde_json::from_slice(&text) {
            Ok(Failure::Program { program, errno }) => {
                Err(NotStarted::Program { program, source: io::Error::from_raw_os_error(errno) })
            }
            Ok(Failure::Sandbox { problem }) => Err(ConfineError::Sandbox { problem }.into()),
            Err(error) => Err(ConfineError::Sandbox { problem: error.to_string() }.into()),
        }
    }
}

/// Why a command did not start.
#[derive(Debug)]
pub(crate) enum NotStarted {
    /// There is no sandbox.
    Confine(ConfineError),
    /// The program is not there, or cannot be executed.
    Program { program: String, source: io::Error },
}

impl From<ConfineError> for NotStarted {
    fn from(error: ConfineError) -> NotStarted {
        NotStarted::Confine(error)
    }
}
