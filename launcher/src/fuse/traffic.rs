//! Waits for the next request, awake for a moment where one is likely to follow.
//!
//! Who walks a tree or reads small files asks again some ten microseconds after each answer. To be woken for each of
//! those requests takes longer than to answer it: the processor has gone to sleep meanwhile. So while requests come
//! close on one another, threads that serve look for the next one for a moment before they sleep, and let anybody else
//! run who wants the processor.
//!
//! Bounded: [`PATIENCE`] after an answer, and not at all where the request before it came late. A keeper that nobody asks
//! anything sleeps.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Nanoseconds: a request that comes so soon after an answer, or another request, has the next one waited for awake, and no
/// longer than this.
const PATIENCE: u64 = 200_000;

/// Pauses of the processor between two looks: about a microsecond.
const PAUSES: u32 = 20;

/// When there was something to do, for all threads of a server.
#[derive(Debug)]
pub(super) struct Traffic {
    began: Instant,
    /// Nanoseconds from the beginning to the last request or answer.
    last: AtomicU64,
    /// Whether the last request came soon after what was before it.
    dense: AtomicBool,
}

impl Traffic {
    pub(super) fn new() -> Traffic {
        Traffic { began: Instant::now(), last: AtomicU64::new(0), dense: AtomicBool::new(false) }
    }

    /// Notes that a request has come.
    pub(super) fn came(&self) {
        let now = self.now();
        let gap = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        self.dense.store(gap < PATIENCE, Ordering::Relaxed);
    }

    /// Notes that a request was answered: how long that took says nothing about when the next one comes.
    pub(super) fn answered(&self) {
        self.last.store(self.now(), Ordering::Relaxed);
    }

    /// Returns when there is something to be read from `device`, or it is time to sleep until there is. Another thread
    /// may be faster to read it.
    pub(super) fn wait(&self, device: impl AsFd) {
        while self.dense.load(Ordering::Relaxed) && self.quiet() < PATIENCE {
            let mut ready = [PollFd::new(&device, PollFlags::IN)];
            // An error is for the read to find.
            if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0) {
                return;
            }
            rustix::thread::sched_yield();
            // Looking takes a lock that whoever asks wants too.
            for _ in 0..PAUSES {
                std::hint::spin_loop();
            }
        }
    }

    /// Nanoseconds since the last request or answer.
    fn quiet(&self) -> u64 {
        self.now().saturating_sub(self.last.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        // 584 years fit.
        self.began.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Both ends of a pipe through which nothing ever comes.
    fn silence() -> (std::io::PipeReader, std::io::PipeWriter) {
        std::io::pipe().unwrap()
    }

    #[test]
    fn nobody_stays_awake_for_a_request_that_comes_alone() {
        let (silence, _writer) = silence();
        let traffic = Traffic::new();
        std::thread::sleep(Duration::from_nanos(PATIENCE * 2));
        traffic.came();
        assert!(!traffic.dense.load(Ordering::Relaxed));
        traffic.wait(&silence);
    }

    #[test]
    fn waiting_awake_ends() {
        let (silence, _writer) = silence();
        let traffic = Traffic::new();
        traffic.came();
        traffic.came();
        assert!(traffic.dense.load(Ordering::Relaxed));
        traffic.answered();
        traffic.wait(&silence);
        assert!(traffic.quiet() >= PATIENCE);
        // Nor does it begin again by itself.
        let begin = Instant::now();
        (0..1000).for_each(|_| traffic.wait(&silence));
        assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    }

    #[test]
    fn what_is_there_is_not_waited_for() {
        use std::io::Write;
        let (reader, mut writer) = silence();
        writer.write_all(b"request").unwrap();
        let traffic = Traffic::new();
        traffic.dense.store(true, Ordering::Relaxed);
        // As if the last one were to come in hours: waiting would not end.
        traffic.last.store(u64::MAX / 2, Ordering::Relaxed);
        traffic.wait(&reader);
    }
}
