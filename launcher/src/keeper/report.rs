//! Tells a person what is wrong with an image: one line for each fault, however many run into it.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use crate::image::ImageError;

/// Most lines that are ever written; a package with more faults than that has said enough.
const LINES_MOST: usize = 1000;

/// Collects faults from the threads that serve, for the thread that writes them: a reader of the lines who is slow
/// must not hold up whoever waits for a file.
pub(super) struct Reporter {
    /// `hello x1`.
    label: String,
    lines: Mutex<Lines>,
    /// Readable while lines wait.
    bell: OwnedFd,
}

#[derive(Default)]
struct Lines {
    seen: HashSet<ImageError>,
    waiting: Vec<String>,
}

impl Reporter {
    pub(super) fn new(label: &str) -> rustix::io::Result<Reporter> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Reporter { label: label.to_owned(), lines: Mutex::default(), bell })
    }

    /// What can be polled for lines that wait.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Takes a fault.
    pub(super) fn report(&self, error: &ImageError) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.seen.len() >= LINES_MOST || !lines.seen.insert(*error) {
            return;
        }
        lines.waiting.push(format!("package {}: {error}\n", self.label));
        drop(lines);
        // Only a counter near 2⁶⁴ could refuse.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// Writes the lines that wait, as far as `sink` takes them without delay.
    pub(super) fn write(&self, sink: impl AsFd) {
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
        let waiting = std::mem::take(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner).waiting);
        for line in waiting {
            let mut ready = [PollFd::new(&sink, PollFlags::OUT)];
            let room = rustix::event::poll(&mut ready, Some(&PATIENCE));
            if matches!(room, Ok(1)) && ready[0].revents().contains(PollFlags::OUT) {
                // A pipe that is ready takes 4096 bytes at once; a line is shorter.
                let _ = rustix::io::write(&sink, line.as_bytes());
            }
        }
    }
}

/// How long a line waits for a reader before it is dropped.
const PATIENCE: rustix::event::Timespec = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
