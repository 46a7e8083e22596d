//! The scripts that stand in place of a step: `override-pull`, `-build`, `-stage`, `-prime`.
//!
//! A script is run by `/bin/bash -e` in the folder that its step works on, as [`job`] says.
//!
//! `craftctl default` (or `packctl default`) in a script does what the step would do without it. The script asks for
//! that over a FIFO and waits at another for the answer:
//!
//! ```text
//! script  default ⟶ control/request   pack reads, does the step's own work
//! script  done | failed ⟵ control/reply
//! waiter  end ⟶ control/request       once the script has ended; on a line of its own, whatever the script wrote
//! ```
//!
//! Both ends of both are open in this process throughout, so that nobody waits for a FIFO to be opened. The folder of the
//! FIFOs is made anew for each script: what an earlier one left there is not written into.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use rustix::fs::{CWD, FileType, Mode};

use super::job::{self, Job, Setting};
use super::{Step, StepError};
use crate::confine::{self, Started};
use crate::files::FileError;

/// Read by bash before the script, whose own lines so keep their numbers.
const PRELUDE: &str = r#"unset BASH_ENV
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

/// Longest request, in bytes.
const LONGEST_REQUEST: u64 = 64;

/// Runs a script in place of a step, `default` where it asks for that.
pub(super) fn run(
    setting: &Setting<'_>,
    step: Step,
    script: &str,
    working_folder: &Path,
    mut default: impl FnMut() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let folders = setting.folders;
    job::renew(&folders.control())?;
    let control = Control::new(&folders.control())?;
    let prelude = folders.control().join("prelude");
    let text = folders.control().join(format!("override-{step}"));
    let log = folders.log(step.as_str());
    write(&prelude, PRELUDE)?;
    write(&text, script)?;
    let place = |name: &str| format!("{}/{name}", confine::CONTROL);
    let job = Job {
        step,
        program: "/bin/bash",
        arguments: &["-e".to_owned(), place(&format!("override-{step}"))],
        environment: BTreeMap::from([
            ("BASH_ENV".to_owned(), place("prelude")),
            ("PACK_CONTROL".to_owned(), confine::CONTROL.to_owned()),
        ]),
        working_folder,
    };
    let mut started = job::prepare(setting, &job, &log)?;
    let mut default_failure = None;
    let status = control.attend(&mut started, || match default() {
        Ok(()) => true,
        Err(error) => {
            default_failure.get_or_insert(error);
            false
        }
    })?;
    let status = job::ended(&started, status);
    match default_failure {
        Some(error) => Err(error),
        None => match status? {
            status if status.success() => Ok(()),
            status => Err(StepError::Script { step, status, tail: job::tail(&log), log }),
        },
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
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .map_err(|error| FileError::at("make the FIFO", &path, error.into()))?;
            let file = OpenOptions::new().read(true).write(true).open(&path);
            file.map(|file| (file, path.clone())).map_err(|source| FileError::at("open", &path, source))
        };
        let (request, request_path) = make("request")?;
        let (reply, _) = make("reply")?;
        Ok(Control { request, reply, request_path })
    }

    /// Runs a command to its end and answers its requests; gives what there is to be known of its end.
    fn attend(
        &self,
        started: &mut Started,
        mut default: impl FnMut() -> bool,
    ) -> Result<io::Result<ExitStatus>, StepError> {
        let ipc_error = |source| FileError::at("use the FIFO", &self.request_path, source);
        let mut end = self.request.try_clone().map_err(ipc_error)?;
        let mut requests = BufReader::new(self.request.try_clone().map_err(ipc_error)?);
        let mut child = match started.command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(Err(error)),
        };
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || {
                let status = child.wait();
                // Fails only where nobody reads any more, who so needs no end.
                let _ = end.write_all(b"\nend\n");
                status
            });
            let mut served = Ok(());
            while served.is_ok() {
                match next_line(&mut requests) {
                    Ok(line) if line == b"default\n" => {
                        let answer: &[u8] = if default() { b"done\n" } else { b"failed\n" };
                        served = (&self.reply).write_all(answer);
                    }
                    Ok(line) if line == b"end\n" => break,
                    Ok(_) => {}
                    Err(error) => served = Err(error),
                }
            }
            let status = waiter.join().expect("the waiter has nothing to panic over");
            served.map_err(ipc_error)?;
            Ok(status)
        })
    }
}

/// A line with its end, or as much of one as a request could be long.
fn next_line(requests: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    requests.take(LONGEST_REQUEST).read_until(b'\n', &mut line)?;
    Ok(line)
}
