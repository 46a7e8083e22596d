//! Reading the app's memory, in a process of its own.
//!
//! A page of the app's may have to be fetched first: from a disk, from the package's keeper, from a file system of the
//! network. Who reads it waits for whoever serves it, and nothing, not even a signal, need end that. So a process that has
//! nothing else to do reads, and the launcher waits for its answer so long and no longer ([`PATIENCE`]); after that it asks
//! nothing more in this run.
//!
//! The process has no more rights than the launcher, and looks at nothing of what it reads.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::process::PATH_MOST;
use crate::companion::process::{Running, Start};
use crate::sandbox::channel;
use crate::sandbox::step::{InStep, StepError};

/// How long an answer may take.
const PATIENCE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// The process, as the launcher knows it. It ends when this is dropped, as soon as it has nothing to wait for, and is killed
/// when the launcher ends.
#[derive(Debug)]
pub struct Reader {
    process: Running,
    is_stuck: Cell<bool>,
}

/// What is asked for: a thread's memory from an address on, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Question {
    thread: u32,
    address: u64,
    most: u32,
}

impl Question {
    fn to_bytes(self) -> Vec<u8> {
        [&self.thread.to_ne_bytes()[..], &self.most.to_ne_bytes(), &self.address.to_ne_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Question> {
        let (thread, rest) = bytes.split_first_chunk()?;
        let (most, rest) = rest.split_first_chunk()?;
        let address = u64::from_ne_bytes(rest.try_into().ok()?);
        Some(Question { thread: u32::from_ne_bytes(*thread), address, most: u32::from_ne_bytes(*most) })
    }
}

/// The first byte of an answer with memory behind it. One without it has nothing: the memory cannot be read.
const READ: u8 = 1;

impl Reader {
    /// Starts the process. The calling process must have one thread.
    ///
    /// # Errors
    /// The kernel's, with the step.
    pub fn start() -> Result<Reader, StepError> {
        let start = Start { name: "pack-reader", namespaces: 0, kept: &[] };
        let process = start.run(|channel| answer_all(channel).step("read memory"))?;
        Ok(Reader { process, is_stuck: Cell::new(false) })
    }

    /// Whether an answer did not come in time, or the process has ended. Nothing more is read then.
    pub fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// At most `most` bytes from an address on, and never more than [`PATH_MOST`]; less where the memory ends before.
    pub fn read(&self, thread: u32, address: u64, most: usize) -> Option<Vec<u8>> {
        if self.is_stuck.get() {
            return None;
        }
        let most = most.min(PATH_MOST) as u32;
        match self.ask(Question { thread, address, most }) {
            Ok(bytes) => {
                bytes.split_first().filter(|(first, _)| **first == READ).map(|(_, rest)| rest.to_vec())
            }
            Err(_) => {
                self.is_stuck.set(true);
                None
            }
        }
    }

    fn ask(&self, question: Question) -> io::Result<Vec<u8>> {
        let channel = self.process.channel();
        channel::send_at_once(channel, &question.to_bytes(), &[])?;
        let mut polled = [PollFd::new(channel, PollFlags::IN)];
        match poll(&mut polled, Some(&PATIENCE)) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) => match channel::receive(channel)? {
                Some(message) => Ok(message.bytes),
                None => Err(io::ErrorKind::UnexpectedEof.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// Answers until nobody asks any more.
fn answer_all(channel: &OwnedFd) -> io::Result<()> {
    while let Some(message) = channel::receive(channel)? {
        let read = Question::from_bytes(&message.bytes).and_then(read);
        let answer = read.map_or_else(|| vec![!READ], |bytes| [&[READ], &bytes[..]].concat());
        channel::send(channel, &answer, &[])?;
    }
    Ok(())
}

fn read(question: Question) -> Option<Vec<u8>> {
    let memory = File::open(format!("/proc/{}/mem", question.thread)).ok()?;
    let mut bytes = vec![0; (question.most as usize).min(PATH_MOST)];
    let length = memory.read_at(&mut bytes, question.address).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_as_they_were_put() {
        let question = Question { thread: 7, address: u64::MAX - 1, most: 4096 };
        assert_eq!(Question::from_bytes(&question.to_bytes()), Some(question));
        for length in 0..16 {
            assert_eq!(Question::from_bytes(&question.to_bytes()[..length]), None);
        }
    }

    #[test]
    fn memory_is_read_up_to_where_it_ends_and_no_further() {
        let of_own = |address, most| read(Question { thread: std::process::id(), address, most });
        let text = b"/etc/hostname\0";
        assert_eq!(of_own(text.as_ptr() as u64, 14).unwrap(), text);
        assert!(of_own(0, 16).is_none() && of_own(u64::MAX - 4096, 16).is_none() && of_own(8, 16).is_none());
        let long = vec![b'x'; 2 * PATH_MOST];
        assert_eq!(of_own(long.as_ptr() as u64, 2 * PATH_MOST as u32).unwrap().len(), PATH_MOST);
    }
}
