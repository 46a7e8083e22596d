//! How a script asks for the default of its step: two FIFOs in a folder that its sandbox shows.
//!
//! ```text
//! script  default ⟶ control/request   pack reads, does the step's own work
//! script  done | failed ⟵ control/reply
//! ```
//!
//! Both ends of both are open in this process throughout, so that nobody waits for a FIFO to be opened. The folder of the
//! FIFOs is made anew for each script: what an earlier one left there is not written into.
//!
//! A script can write what it likes into both. So pack waits for nothing that only the script can do: that the script has ended is
//! told by the kernel (pidfd_open(2)), an answer is written where there is room for it, a request has a longest size
//! and a script a highest number of them. One that goes beyond is killed, with all that it started. How long a script runs is
//! bounded by nobody: builds take hours.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

use pack_schemas::text::visible;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::files::FileError;

/// Longest request with the end of its line, in bytes.
const LONGEST_REQUEST: usize = 64;
/// Most requests of a script. One is usual; each does the step's work once more.
const MOST_REQUESTS: usize = 16;

/// What a script may not do with the FIFOs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// It wrote what is no request.
    #[error("it wrote `{}` where only `default` can be asked for", visible(.0))]
    NoRequest(String),
    /// It asks again and again.
    #[error("it asked for the default of its step more than {MOST_REQUESTS} times")]
    TooMany,
    /// There is no room for an answer.
    #[error("it does not read the answers to what it asks for")]
    NotRead,
}

/// How a script came to its end.
pub(super) enum End {
    /// By itself; what there is to be known of that.
    Ended(io::Result<ExitStatus>),
    /// It was killed for this.
    Killed(Misuse),
}

/// The two FIFOs.
pub(super) struct Control {
    request: File,
    reply: File,
    request_path: PathBuf,
}

impl Control {
    /// Makes them in an empty folder.
    pub fn new(folder: &Path) -> Result<Control, FileError> {
        let make = |name: &str| {
            let path = folder.join(name);
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .map_err(|error| FileError::at("make the FIFO", &path, error.into()))?;
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(&path);
            file.map(|file| (file, path.clone())).map_err(|source| FileError::at("open", &path, source))
        };
        let (request, request_path) = make("request")?;
        let (reply, _) = make("reply")?;
        Ok(Control { request, reply, request_path })
    }

    /// Runs a command to its end and answers its requests.
    pub fn attend(&self, command: &mut Command, default: impl FnMut() -> bool) -> Result<End, FileError> {
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => return Ok(End::Ended(Err(error))),
        };
        match self.serve(&child, default) {
            Ok(None) => Ok(End::Ended(child.wait())),
            Ok(Some(misuse)) => self.kill(&mut child).map(|()| End::Killed(misuse)),
            Err(source) => {
                self.kill(&mut child)?;
                Err(FileError::at("use the FIFO", &self.request_path, source))
            }
        }
    }

    /// Kills the runner of a sandbox, with which the sandbox ends and all that is in it.
    fn kill(&self, child: &mut Child) -> Result<(), FileError> {
        let killed = child.kill().and_then(|()| child.wait());
        killed
            .map(drop)
            .map_err(|source| FileError::at("end the script that uses", &self.request_path, source))
    }

    /// Answers requests until the process has ended, and no request of it is left; or until it does what it may not.
    fn serve(&self, child: &Child, mut default: impl FnMut() -> bool) -> io::Result<Option<Misuse>> {
        let pid = Pid::from_child(child);
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let (mut pending, mut asked) = (Vec::new(), 0);
        while self.wait_and_read(&process, &mut pending)? {
            while let Some(line) = next_line(&mut pending) {
                asked += 1;
                if line != b"default\n" {
                    return Ok(Some(Misuse::NoRequest(shown(&line))));
                }
                if asked > MOST_REQUESTS {
                    return Ok(Some(Misuse::TooMany));
                }
                let answer: &[u8] = if default() { b"done\n" } else { b"failed\n" };
                match (&self.reply).write_all(answer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Some(Misuse::NotRead));
                    }
                    written => written?,
                }
            }
        }
        Ok((!pending.is_empty()).then(|| Misuse::NoRequest(shown(&pending))))
    }

    /// Waits for a request or for the end of the process, and takes in what is there of requests. Whether there was any, which it
    /// still may be after the end.
    fn wait_and_read(&self, process: &OwnedFd, pending: &mut Vec<u8>) -> io::Result<bool> {
        let mut waited = [PollFd::new(&self.request, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
        retry_on_intr(|| poll(&mut waited, None))?;
        let mut bytes = [0; LONGEST_REQUEST];
        match (&self.request).read(&mut bytes) {
            Ok(count) => {
                pending.extend_from_slice(&bytes[..count]);
                Ok(true)
            }
            // The end of the process; or another process has read it, and there will be more.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(waited[1].revents().is_empty()),
            Err(error) => Err(error),
        }
    }
}

/// Takes a line with its end from the front; or, where there is no end in it, as much as a request can be long.
fn next_line(pending: &mut Vec<u8>) -> Option<Vec<u8>> {
    let line = pending.iter().take(LONGEST_REQUEST).position(|byte| *byte == b'\n').map(|at| at + 1);
    let length = line.or((pending.len() >= LONGEST_REQUEST).then_some(LONGEST_REQUEST))?;
    Some(pending.drain(..length).collect())
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned()
}
