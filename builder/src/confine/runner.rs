//! The runner's side: carries out a plan that was written down, in a process of its own.
//!
//! The process has one thread, and ends with the builder, whatever ends that (parent-death signal); the sandbox ends
//! with the process. What the command says goes to the streams that the builder gave. Why it was not started goes to a
//! file beside the plan, since its output is the command's and every status is one that the command could have.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pack_launcher::keeper::Watch;
use pack_launcher::sandbox::refusals::{Notice, Refusals};
use pack_launcher::sandbox::{self, Images, LaunchError};
use pack_schemas::plan::Plan;
use rustix::fs::Mode;
use rustix::process::{Signal, getppid, set_parent_process_death_signal, umask};
use serde::{Deserialize, Serialize};

/// Longest plan that is read, in bytes.
const LONGEST: u64 = 64 << 20;
/// Exit status where the command was not started.
const NOT_STARTED: u8 = 125;
/// Calls that are named when some were refused.
const NAMED_MOST: usize = 4;

/// Why a command was not started, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) enum Failure {
    /// The program is not there, or cannot be executed.
    Program {
        /// Its name or path inside.
        program: String,
        /// errno(3).
        errno: i32,
    },
    /// The sandbox was not made.
    Sandbox {
        /// What failed, with its causes.
        problem: String,
    },
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit status for the process.
    pub status: u8,
    /// A line for standard error, where there is something to say.
    pub note: Option<String>,
}

/// Where it is written why the command of a plan was not started.
pub(super) fn failure_file(plan: &Path) -> PathBuf {
    plan.with_extension("failed")
}

/// Carries out the plan in the file `plan` for the process `parent`, which has started this one.
pub fn perform(plan: &Path, parent: u32) -> Ended {
    let failure = match read(plan, parent).and_then(|plan| run(&plan)) {
        Ok(ended) => return ended,
        Err(failure) => failure,
    };
    let written = serde_json::to_vec(&failure)
        .map_err(io::Error::from)
        .and_then(|json| fs::write(failure_file(plan), json));
    // Where it cannot be written down, the log has it.
    let note = written.err().map(|error| format!("pack: {failure:?}; {error}"));
    Ended { status: NOT_STARTED, note }
}

fn read(path: &Path, parent: u32) -> Result<Plan, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::Sandbox { problem: error.to_string() };
    end_with(parent).map_err(|error| failed(&error))?;
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST).read_to_end(&mut text))
        .map_err(|error| failed(&error))?;
    serde_json::from_slice(&text).map_err(|error| failed(&error))
}

/// Sees to it that the calling process ends when its parent does.
fn end_with(parent: u32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before.
    let is_there = getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    if is_there { Ok(()) } else { Err(io::Error::other("the build has ended")) }
}

fn run(plan: &Plan) -> Result<Ended, Failure> {
    // The caller's would be in the modes of what is built.
    umask(Mode::WGRP | Mode::WOTH);
    let mut notes = Vec::new();
    let mut tell = |line: &str| notes.push(line.to_owned());
    let mut watch = Watch::new(Vec::new(), &mut tell);
    let mut refusals = Refusals::default();
    let images = Images { package: None, base: None, providers: Vec::new() };
    let status = sandbox::run(plan, images, &[], &mut watch, Notice::Refusals(&mut refusals));
    drop(watch);
    let status = status.map_err(failure)?;
    if status != 0 {
        notes.extend(refused(&refusals));
    }
    Ok(Ended { status, note: (!notes.is_empty()).then(|| notes.join("\n")) })
}

/// What a command that failed was refused: its own messages often do not say so.
fn refused(refusals: &Refusals) -> Option<String> {
    let names: Vec<&str> = refusals.calls().take(NAMED_MOST).map(|(name, _)| name).collect();
    let total = refusals.total();
    (total > 0).then(|| {
        format!("pack: the sandbox refused this command {total} system calls ({})", names.join(", "))
    })
}

fn failure(error: LaunchError) -> Failure {
    match error {
        LaunchError::NotFound { program } => {
            Failure::Program { program, errno: rustix::io::Errno::NOENT.raw_os_error() }
        }
        LaunchError::NotExecutable { program, source } => {
            let errno = source.raw_os_error().unwrap_or(rustix::io::Errno::ACCESS.raw_os_error());
            Failure::Program { program, errno }
        }
        error => Failure::Sandbox { problem: with_causes(&error) },
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
