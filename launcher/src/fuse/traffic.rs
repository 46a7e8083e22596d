//! Waits for the next request, awake for a moment where one is likely to follow.
//!
//! Who walks a tree or reads small files asks again some ten microseconds after each answer. To be woken for each of
//! those requests takes longer than to answer it: the processor has gone to sleep meanwhile. So while requests come
//! close on one another, threads that serve look for the next one for a moment before they sleep, and let anybody else
//! run who wants the processor.
//!
//! Bounded: [`PATIENCE`] after a request, and not at all behind one that was not followed closely. A keeper that nobody
//! asks anything sleeps.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Requests that come closer on one another than this are waited for awake, and never longer than this.
const PATIENCE: Duration = Duration::from_micros(200);

/// Pauses of the processor between two looks: about a microsecond.
const PAUSES: u32 = 20;

/// When requests came, to all threads of a server.
#[derive(Debug)]
pub(super) struct Traffic {
    began: Instant,
    /// Nanoseconds from the beginning to the last request.
    last: AtomicU64,
    /// Nanoseconds from the beginning until when to stay awake.
    awake: AtomicU64,
}

impl Traffic {
    pub(super) fn new() -> Traffic {
        Traffic { began: Instant::now(), last: AtomicU64::new(0), awake: AtomicU64::new(0) }
    }

    /// Notes that a request has come.
    pub(super) fn came(&self) {
        let now = self.now();
        let gap = now.saturating_sub(self.last.swap(now, Ordering::Relaxed));
        if gap < PATIENCE.as_nanos() as u64 {
            self.awake.store(now + PATIENCE.as_nanos() as u64, Ordering::Relaxed);
        }
    }

    /// Returns when there is something to be read from `device`, or it is time to sleep until there is. Another thread
    /// may be faster to read it.
    pub(super) fn wait(&self, device: impl AsFd) {
        while self.now() < self.awake.load(Ordering::Relaxed) {
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

    fn now(&self) -> u64 {
        // 584 years fit.
        self.began.elapsed().as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a pipe through which nothing ever comes.
    fn silence() -> (std::io::PipeReader, std::io::PipeWriter) {
        std::io::pipe().unwrap()
    }

    #[test]
    fn nobody_stays_awake_for_a_request_that_comes_alone() {
        let (silence, _writer) = silence();
        let traffic = Traffic::new();
        std::thread::sleep(PATIENCE * 2);
        traffic.came();
        assert_eq!(traffic.awake.load(Ordering::Relaxed), 0);
        traffic.wait(&silence);
    }

    #[test]
    fn waiting_awake_ends() {
        let (silence, _writer) = silence();
        let traffic = Traffic::new();
        traffic.came();
        traffic.came();
        let until = traffic.awake.load(Ordering::Relaxed);
        assert!(until > 0 && until <= traffic.now() + PATIENCE.as_nanos() as u64);
        traffic.wait(&silence);
        assert!(traffic.now() >= until);
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
        // As if requests had come closely for hours.
        traffic.awake.store(u64::MAX, Ordering::Relaxed);
        traffic.wait(&reader);
    }
}
