//! The scripts that stand in place of a step: `override-pull`, `-build`, `-stage`, `-prime`.
//!
//! A script is run by `/bin/bash -e` in the folder that its step works on, with the umask 022, as [`job`] says.
//!
//! `craftctl default` (or `packctl default`) in a script does what the step would do without it. The script asks for
//! that over a FIFO and waits at another for the answer:
//!
//! ```text
//! script  default ⟶ control/request   pack reads, does the step's own work
//! script  done | failed ⟵ control/reply
//! waiter  end ⟶ control/request       once the script has ended
//! ```
//!
//! Both ends of both are open in this process throughout, so that nobody waits for a FIFO to be opened.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::fs::{CWD, FileType, Mode};

use super::job::{self, Setting};
use super::{Step, StepError};
use crate::files::{self, FileError};

/// Read by bash before the script, whose own lines so keep their numbers.
const PRELUDE: &str = r#"unset BASH_ENV
umask 022
craftctl() {
    if [ "$*" != default ]; then
        echo "$FUNCNAME: this version of pack knows only: $FUNCNAME default" >&2
        return 1
    fi
    echo default > "$PACK_CONTROL/request" || return 1
    local answer
    read -r answer < "$PACK_CONTROL/reply" && [ "$answer" = done ]
}
packctl() { craftctl "$@"; }
export -f craftctl packctl
"#;

/// Runs a script in place of a step, `default` where it asks for that.
pub(super) fn run(
    setting: &Setting<'_>,
    step: Step,
    script: &str,
    working_folder: &Path,
    mut default: impl FnMut() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let folders = setting.folders;
    let control = Control::new(&folders.control())?;
    let prelude = folders.control().join("prelude");
    let text = folders.control().join(format!("override-{step}"));
    let log = folders.log(step.as_str());
    write(&prelude, PRELUDE)?;
    write(&text, script)?;
    let mut default_failure = None;
    let status = {
        let mut command = job::command(setting, "/bin/bash", working_folder, &log)?;
        command.arg("-e").arg(&text).env("BASH_ENV", &prelude).env("PACK_CONTROL", folders.control());
        control.attend(command, || match default() {
            Ok(()) => true,
            Err(error) => {
                default_failure.get_or_insert(error);
                false
            }
        })?
    };
    match default_failure {
        Some(error) => Err(error),
        None if status.success() => Ok(()),
        None => Err(StepError::Script { step, status, tail: job::tail(&log), log }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(|source| FileError::at("write", path, source))
}

/// The two FIFOs.
struct Control {
    request: File,
    reply: File,
    request_path: PathBuf,
}

impl Control {
    fn new(folder: &Path) -> Result<Control, FileError> {
        let make = |name: &str| {
            let path = folder.join(name);
            files::remove_tree(&path)?;
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .map_err(|error| FileError::at("make the FIFO", &path, error.into()))?;
            let file = OpenOptions::new().read(true).write(true).open(&path);
            file.map(|file| (file, path.clone())).map_err(|source| FileError::at("open", &path, source))
        };
        let (request, request_path) = make("request")?;
        let (reply, _) = make("reply")?;
        Ok(Control { request, reply, request_path })
    }

    /// Runs a command to its end and answers its requests.
    fn attend(
        &self,
        mut command: Command,
        mut default: impl FnMut() -> bool,
    ) -> Result<ExitStatus, StepError> {
        let started = |source| StepError::Start { program: "/bin/bash".to_owned(), source };
        let ipc_error = |source| FileError::at("use the FIFO", &self.request_path, source);
        let mut end = self.request.try_clone().map_err(ipc_error)?;
        let requests = BufReader::new(self.request.try_clone().map_err(ipc_error)?);
        let mut child = command.spawn().map_err(started)?;
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || {
                let status = child.wait();
                // Fails only where nobody reads any more, who so needs no end.
                let _ = end.write_all(b"end\n");
                status
            });
            let mut served = Ok(());
            for line in requests.lines() {
                match line {
                    Ok(line) if line == "default" => {
                        let answer: &[u8] = if default() { b"done\n" } else { b"failed\n" };
                        served = (&self.reply).write_all(answer);
                    }
                    Ok(line) if line == "end" => break,
                    Ok(_) => {}
                    Err(error) => served = Err(error),
                }
                if served.is_err() {
                    break;
                }
            }
            let status = waiter.join().expect("the waiter has nothing to panic over");
            served.map_err(ipc_error)?;
            status.map_err(started)
        })
    }
}
