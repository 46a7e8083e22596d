//! One of the two archives in a `.deb` file, decompressed by `dpkg-deb` in a thread that runs ahead of who reads it.
//!
//! So packages are decompressed on all cores while one after another is laid down. What is read ahead of one is bounded by
//! [`AHEAD`], and of how many by the caller.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::deb::read;
use super::{DebianError, last_lines};

/// Bytes that are handed over at once.
const CHUNK: usize = 128 << 10;
/// How many chunks wait at most: the largest of Debian's compilers are as long.
const AHEAD: usize = 256;

/// Which archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The control file and scripts.
    Control,
    /// The files.
    Files,
}

/// An archive that is being decompressed.
#[derive(Debug)]
pub(super) struct Content {
    path: PathBuf,
    chunks: Receiver<Vec<u8>>,
    chunk: io::Cursor<Vec<u8>>,
    /// Nothing where no thread could be had, and why.
    worker: io::Result<JoinHandle<Result<(), DebianError>>>,
}

impl Content {
    /// Starts to decompress.
    pub(super) fn start(path: &Path, which: Which) -> Content {
        let (sender, chunks) = sync_channel(AHEAD);
        let of = path.to_owned();
        let worker = Builder::new().spawn(move || decompress(&of, which, &sender));
        Content { path: path.to_owned(), chunks, chunk: io::Cursor::default(), worker }
    }

    /// How it ended, for who has read as much as he wants.
    pub(super) fn end(self) -> Result<(), DebianError> {
        // The thread ends when nobody takes what it has.
        drop(self.chunks);
        let panicked = |_| read(&self.path, io::Error::other("the thread that decompresses has ended"));
        self.worker.map_err(|source| read(&self.path, source))?.join().map_err(panicked)?
    }
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.chunk.read(buffer)?;
            if length > 0 || buffer.is_empty() {
                return Ok(length);
            }
            match self.chunks.recv() {
                Ok(chunk) => self.chunk = io::Cursor::new(chunk),
                Err(_) => return Ok(0),
            }
        }
    }
}

fn decompress(path: &Path, which: Which, to: &SyncSender<Vec<u8>>) -> Result<(), DebianError> {
    let option = match which {
        Which::Control => "--ctrl-tarfile",
        Which::Files => "--fsys-tarfile",
    };
    let mut command = Command::new("dpkg-deb");
    command.arg(option).arg(path).env_clear().env("PATH", super::apt::PATH).env("LC_ALL", "C.UTF-8");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|source| super::apt::not_started("dpkg-deb", source))?;
    let handed_over = child.stdout.take().map_or(Ok(()), |mut output| hand_over(&mut output, to));
    let output = child.wait_with_output().map_err(|source| read(path, source))?;
    handed_over.map_err(|source| read(path, source))?;
    // Where nobody wanted the rest, it has nothing to say.
    if output.status.success() || output.stderr.is_empty() {
        return Ok(());
    }
    Err(DebianError::Tool {
        tool: "dpkg-deb",
        step: "unpack a package",
        status: output.status.to_string(),
        output: last_lines(&output.stderr),
    })
}

/// Passes everything on, until the end or until nobody takes it.
fn hand_over(output: &mut impl Read, to: &SyncSender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut chunk = Vec::with_capacity(CHUNK);
        output.take(CHUNK as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() || to.send(chunk).is_err() {
            return Ok(());
        }
    }
}
