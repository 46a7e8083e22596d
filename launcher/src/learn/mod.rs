//! What the walls refuse to an app, and which plug would allow it: `pack run --learn`.
//!
//! 1. While the app runs, the filter tells of every refused call, and of the allowed calls that name a file or an address
//!    ([`calls`]). The launcher has the name read from the caller's memory ([`process`], [`reader`]), writes it down ([`Record`]), and lets
//!    the call go on. It looks nothing up: the app waits meanwhile, and might be the one who serves the file system in
//!    question.
//! 2. When the app has ended, [`judge`] looks at each name, in the sandbox's root folder and on the host: what is there on
//!    the host and not in the sandbox was refused by the walls.
//! 3. [`plugs`] asks the interface definitions which of them grants that.
//!
//! **Nothing of this is a wall.** A refused call is refused by its registers, as in any other run. A call that is let
//! through with `SECCOMP_USER_NOTIF_FLAG_CONTINUE` may find other names behind its pointers than those that were read, since
//! another thread may change them in between (seccomp_unotify(2)): such an app can deceive the record, and nothing else. The
//! call meets the same namespaces, the same Landlock rules and the same read-only root as without `--learn`. What the record
//! says is shown to a person, with every character made visible, and connects no plug.
//!
//! An app that makes mounts of its own could serve its own memory, and serve it never: of such a one the refused calls are
//! noticed alone ([`observes`]).
//!
//! What is read of a process is bounded ([`process::PATH_MOST`]), and so is what is kept ([`Record::MOST`]).

pub mod addresses;
mod bus_log;
pub(crate) mod calls;
pub mod judge;
pub mod plugs;
mod process;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

pub use calls::{Address, Wanted};
use judge::BusCall;
use pack_schemas::plan::Plan;
use process::{Process, Root};
use reader::Reader;

use crate::sandbox::landlock::NESTED_MOUNTS;
use crate::sandbox::refusals::Refusals;
use crate::sandbox::syscalls::Refused;
use crate::sys::seccomp::Notification;

pub(crate) use calls::observed;

/// Something that the app named to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// A file, by its absolute path inside.
    File {
        /// The path, as the app has it.
        path: Vec<u8>,
        /// What for.
        wanted: Wanted,
    },
    /// An abstract Unix socket that it connected to.
    Abstract(Vec<u8>),
    /// An IP address and port that it connected to, or sent to.
    Connected {
        /// Where.
        to: Address,
        /// Whether it is TCP.
        tcp: bool,
    },
    /// An IP address and port that it offered something at.
    Bound {
        /// Where.
        at: Address,
        /// Whether it is TCP.
        tcp: bool,
    },
}

/// Whether what a run's allowed calls name is looked at.
pub fn observes(plan: &Plan) -> bool {
    !plan.system_calls.contains_key(NESTED_MOUNTS)
}

/// Who reads the app's memory.
#[derive(Debug, Default)]
enum Reading {
    /// Nobody was needed yet.
    #[default]
    NotYet,
    /// It runs.
    By(Reader),
    /// It could not be started, or did not answer in time.
    NoMore,
}

/// What was noticed in a run.
#[derive(Debug, Default)]
pub struct Record {
    refusals: Refusals,
    named: BTreeMap<Named, u64>,
    /// What the filter of the message buses tells of messages.
    bus_log: Option<File>,
    root: Option<Root>,
    /// Ports at which the app itself, or another in its network namespace, offered something when it connected to them.
    offered: BTreeSet<u16>,
    /// More was named than is kept.
    overflowed: bool,
    reading: Reading,
}

impl Record {
    /// Different names that are kept.
    pub const MOST: usize = 16 << 10;

    /// Refused calls.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// All that was named, and how many times.
    pub fn named(&self) -> impl Iterator<Item = (&Named, u64)> {
        self.named.iter().map(|(named, times)| (named, *times))
    }

    /// Whether more was named than is kept.
    pub fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// Whether the app's memory could not be read any more from some time on.
    pub fn gave_up(&self) -> bool {
        matches!(self.reading, Reading::NoMore)
    }

    /// Makes a file for what the filter of the message buses tells of messages.
    pub(crate) fn bus_log(&mut self) -> io::Result<OwnedFd> {
        let file = bus_log::make()?;
        let copy = file.try_clone()?;
        self.bus_log = Some(file);
        Ok(copy.into())
    }

    /// Calls that the filter of the message buses refused, each once, and how many times.
    fn bus_calls(&self) -> BTreeMap<BusCall, u64> {
        let mut calls = BTreeMap::new();
        // What cannot be read is not told.
        let refused = self.bus_log.as_ref().and_then(|file| bus_log::read(file).ok());
        for call in refused.into_iter().flatten() {
            *calls.entry(call).or_default() += 1;
        }
        calls
    }

    /// Writes a refused call down.
    pub(crate) fn refused(&mut self, refused: Refused) {
        self.refusals.add(refused);
    }

    /// Writes down what a call names that is let through. Where it cannot be read, it names nothing.
    pub(crate) fn observe(&mut self, listener: &OwnedFd, call: &Notification) {
        if matches!(self.reading, Reading::NotYet) {
            self.reading = Reader::start().map_or(Reading::NoMore, Reading::By);
        }
        let Reading::By(reader) = &self.reading else { return };
        let process = Process::of(call.thread, reader);
        let named = calls::named(call, &process);
        if reader.is_stuck() {
            self.reading = Reading::NoMore;
            // Whoever does not serve the app's memory would not answer questions about paths either.
            self.root = None;
            return;
        }
        // What was read is the caller's own only if the caller still waits.
        if named.is_empty() || !crate::sys::seccomp::still_waits(listener, call.id) {
            return;
        }
        // An app may give some of its processes other root folders, where paths mean something else.
        match &self.root {
            Some(root) if !root.is_of(&process) => return,
            Some(_) => {}
            None => self.root = process.root(),
        }
        for named in named {
            if let Named::Connected { to, tcp } = &named
                && calls::is_own(to.ip())
                && process.is_offered(to.port(), *tcp)
            {
                self.offered.insert(to.port());
            }
            if self.named.len() >= Record::MOST && !self.named.contains_key(&named) {
                self.overflowed = true;
                continue;
            }
            let times = self.named.entry(named).or_default();
            *times = times.saturating_add(1);
        }
    }
}
