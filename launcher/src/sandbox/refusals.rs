//! System calls that the filter refuses, noticed.
//!
//! ```text
//! the app ── a call that the table refuses ──▶ kernel ── notification ──▶ launcher: counts it
//!    ◀─────────── the error that the table says ────────────────────────────┘
//! ```
//!
//! The first process installs the filter with a listener and sends that to the launcher, which answers from the same table
//! that the filter was made of ([`syscalls::look_up`]). A refused call is decided by its registers alone, which nobody can
//! change once the kernel has read them, and the answer is always its error. Where nobody listens, since the launcher has
//! ended or has no descriptor left, the kernel answers ENOSYS: no way of failing lets a refused call through.
//!
//! | run | told of | else |
//! |---|---|---|
//! | ordinary | refused calls of groups that are not quiet | answered by the filter itself |
//! | of an app that makes sandboxes | nothing: a process has one listener at most, and an inner sandbox may want its own | |
//! | inside something that listens already | nothing, for the same reason | |
//! | to learn | all refused calls, and those that [`crate::learn`] observes; not these where the app makes mounts | |
//!
//! A call that is not told of costs what it did: the kernel knows beforehand which numbers the filter always allows.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pack_schemas::plan::Plan;
use rustix::event::PollFlags;

use crate::learn;
use crate::sandbox::init::NESTED_SANDBOX;
use crate::sandbox::seccomp::Told;
use crate::sandbox::syscalls::{self, Group, Refused};
use crate::sys::seccomp;

/// Calls that are answered at once, before anything else gets its turn.
const AT_ONCE: usize = 64;

/// What is to be noticed in a run.
#[derive(Debug)]
pub enum Notice<'a> {
    /// Nothing.
    Nothing,
    /// Refused calls that a well-behaved program does not make.
    Refusals(&'a mut Refusals),
    /// All that the walls refuse.
    Everything(&'a mut learn::Record),
}

impl Notice<'_> {
    /// What the filter of this run tells of.
    pub(crate) fn told(&self, plan: &Plan) -> Told<'static> {
        match self {
            Notice::Everything(_) if learn::observes(plan) => Told::Everything(learn::observed()),
            Notice::Everything(_) => Told::Everything(&[]),
            Notice::Refusals(_) if !plan.system_calls.contains_key(NESTED_SANDBOX) => Told::Refusals,
            Notice::Refusals(_) | Notice::Nothing => Told::Nothing,
        }
    }
}

/// Refused calls, counted.
#[derive(Debug, Clone, Default)]
pub struct Refusals {
    calls: BTreeMap<&'static str, Count>,
}

/// A call that was refused.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    /// The group that refuses it.
    pub group: &'static Group,
    /// How many times.
    pub times: u64,
}

impl Refusals {
    /// Counts a call.
    pub(crate) fn add(&mut self, refused: Refused) {
        let count = self.calls.entry(refused.call).or_insert(Count { group: refused.group, times: 0 });
        count.times = count.times.saturating_add(1);
    }

    /// The calls by name.
    pub fn calls(&self) -> impl Iterator<Item = (&'static str, Count)> {
        self.calls.iter().map(|(name, count)| (*name, *count))
    }

    /// How many there were in all.
    pub fn total(&self) -> u64 {
        self.calls.values().fold(0, |total, count| total.saturating_add(count.times))
    }
}

/// The launcher's end of the filter.
pub(crate) struct Listener<'a, 'b> {
    plan: &'a Plan,
    notice: Notice<'b>,
    /// Nothing before the first process has sent it, and once no process has the filter any more.
    descriptor: Option<OwnedFd>,
}

impl<'a, 'b> Listener<'a, 'b> {
    /// Prepares to notice what `notice` says in a run of `plan`.
    pub(crate) fn new(plan: &'a Plan, notice: Notice<'b>) -> Listener<'a, 'b> {
        Listener { plan, notice, descriptor: None }
    }

    /// What the filter has to tell of.
    pub(crate) fn told(&self) -> Told<'static> {
        self.notice.told(self.plan)
    }

    /// Where the filter of the message buses is to tell of messages, in a run to learn.
    pub(crate) fn bus_log(&mut self) -> io::Result<Option<OwnedFd>> {
        match &mut self.notice {
            Notice::Everything(record) => record.bus_log().map(Some),
            Notice::Refusals(_) | Notice::Nothing => Ok(None),
        }
    }

    /// Takes the descriptor that the first process sent.
    pub(crate) fn take(&mut self, descriptor: Option<OwnedFd>) {
        self.descriptor = descriptor;
    }

    /// What to wait for, where there is anything.
    pub(crate) fn wanted(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.descriptor.as_ref().map(|descriptor| (descriptor.as_fd(), PollFlags::IN))
    }

    /// Answers the calls that wait, when poll(2) has said that something happened.
    pub(crate) fn attend(&mut self, happened: PollFlags) {
        let Some(descriptor) = &self.descriptor else { return };
        if !happened.contains(PollFlags::IN) {
            // Nobody has the filter any more; or this is no listener.
            if !happened.is_empty() {
                self.descriptor = None;
            }
            return;
        }
        for _ in 0..AT_ONCE {
            match answer_next(descriptor, self.plan, &mut self.notice) {
                Ok(()) => {}
                // From here on the kernel answers.
                Err(_) => {
                    self.descriptor = None;
                    return;
                }
            }
            let mut polled = [rustix::event::PollFd::new(descriptor, PollFlags::IN)];
            let asked = rustix::event::poll(&mut polled, Some(&rustix::event::Timespec::default()));
            if asked.is_err() || !polled[0].revents().contains(PollFlags::IN) {
                return;
            }
        }
    }
}

/// Takes one call and answers it.
fn answer_next(listener: &OwnedFd, plan: &Plan, notice: &mut Notice<'_>) -> io::Result<()> {
    let Some(call) = seccomp::receive(listener)? else { return Ok(()) };
    let granted = |group: &str| plan.system_calls.contains_key(group);
    match (syscalls::look_up(call.number, &call.arguments, granted), notice) {
        (Some(refused), notice) => {
            match notice {
                Notice::Refusals(refusals) => refusals.add(refused),
                Notice::Everything(record) => record.refused(refused),
                Notice::Nothing => {}
            }
            seccomp::answer(listener, call.id, refused.errno)
        }
        // The table allows the call with these registers; it goes on under all the other walls.
        (None, Notice::Everything(record)) => {
            record.observe(listener, &call);
            seccomp::let_through(listener, call.id)
        }
        (None, _) => seccomp::answer(listener, call.id, libc::ENOSYS),
    }
}
