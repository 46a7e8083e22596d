//! Waits for something, and attends to keepers meanwhile.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Keeper;

/// The keepers of a launch, as long as the launch lasts. Whoever waits for anything else waits with [`Watch::wait`], so
/// that a keeper that ends is followed by another at once.
pub struct Watch<'a> {
    keepers: Vec<Keeper>,
    tell: &'a mut dyn FnMut(&str),
}

impl<'a> Watch<'a> {
    /// Watches `keepers`; `tell` gets lines for the user, without a line end.
    pub fn new(keepers: Vec<Keeper>, tell: &'a mut dyn FnMut(&str)) -> Watch<'a> {
        Watch { keepers, tell }
    }

    /// Waits as poll(2) does, and gives what happened to each of `descriptors`. Returns early, with nothing, after a
    /// signal and when a keeper had something to say.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(
        &mut self,
        descriptors: &[(BorrowedFd<'_>, PollFlags)],
        timeout: Option<&Timespec>,
    ) -> rustix::io::Result<Vec<PollFlags>> {
        self.keepers.retain(|keeper| keeper.served.is_some());
        let channels =
            self.keepers.iter().filter_map(|keeper| keeper.served.as_ref()).map(|served| &served.channel);
        let mut polled: Vec<PollFd<'_>> = descriptors
            .iter()
            .map(|(descriptor, wanted)| PollFd::from_borrowed_fd(*descriptor, *wanted))
            .chain(channels.map(|channel| PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)))
            .collect();
        match poll(&mut polled, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let mut happened: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        let of_keepers = happened.split_off(descriptors.len());
        for (keeper, happened) in self.keepers.iter_mut().zip(of_keepers) {
            if !happened.is_empty() {
                keeper.attend(self.tell);
            }
        }
        Ok(happened)
    }

    /// Tells the user something.
    pub(crate) fn tell(&mut self, line: &str) {
        (self.tell)(line);
    }

    /// The keepers that are watched.
    pub fn keepers(&self) -> &[Keeper] {
        &self.keepers
    }

    /// Ends the watch: passes on what the keepers have said up to now, and gives them back.
    pub fn end(mut self) -> Vec<Keeper> {
        let now = Timespec::default();
        for keeper in &mut self.keepers {
            while let Some(served) = &keeper.served {
                let mut polled = [PollFd::new(&served.channel, PollFlags::IN)];
                let asked = poll(&mut polled, Some(&now));
                // A keeper that has ended is not missed any more.
                if asked != Ok(1) || !keeper.hear(self.tell) {
                    break;
                }
            }
        }
        self.keepers
    }
}
