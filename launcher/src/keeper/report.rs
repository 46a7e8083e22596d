//! Tells people what is wrong with an image: each launch hears of each fault once, however many run into it.
//!
//! A fault is told before the request that ran into it is answered. So the line waits in the launcher's socket when the
//! app sees the error, and is not lost where the app ends of it.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::REPORT;
use crate::image::ImageError;
use crate::sandbox::channel;

/// Most faults that one launch is told of; a package with more than that has said enough.
const TOLD_MOST: usize = 1000;

/// Tells faults to the launches that use a keeper.
pub(super) struct Reporter {
    /// `hello x1`.
    label: String,
    listeners: Mutex<Vec<Listener>>,
}

struct Listener {
    channel: Arc<OwnedFd>,
    /// No set: those ask the kernel for random numbers, which a confined process cannot.
    told: Vec<ImageError>,
}

impl Reporter {
    pub(super) fn new(label: &str) -> Reporter {
        Reporter { label: label.to_owned(), listeners: Mutex::default() }
    }

    /// From now on the launch at the other end of `channel` is told as well.
    pub(super) fn add(&self, channel: &Arc<OwnedFd>) {
        self.listeners().push(Listener { channel: Arc::clone(channel), told: Vec::new() });
    }

    /// Forgets a launch that has gone.
    pub(super) fn remove(&self, channel: &Arc<OwnedFd>) {
        self.listeners().retain(|listener| !Arc::ptr_eq(&listener.channel, channel));
    }

    /// Tells a fault to everybody who has not heard of it.
    pub(super) fn report(&self, fault: &ImageError) {
        let line = format!("package {}: {fault}", self.label);
        let message = [REPORT, line.as_bytes()].concat();
        for listener in self.listeners().iter_mut() {
            let known = listener.told.iter().any(|told| fault.is_known_from(told));
            if !known && listener.told.len() < TOLD_MOST {
                listener.told.push(*fault);
                // Who does not listen misses it; nobody waits for that.
                let _ = channel::send_at_once(&listener.channel, &message, &[]);
            }
        }
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Listener>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
