//! Trust in a store: the client workflow of The Update Framework (specification 1.0, section 5).
//!
//! A store is plain files on any server. Four signed files say what of them is the store's: `root` who may sign what,
//! `timestamp` which snapshot is the newest, `snapshot` which versions belong together, `targets` which files there are;
//! `targets` may let other roles answer for some of them. Whoever can change the files, or answer in the server's place, can
//! keep a client from something new, for as long as the metadata is good, and do nothing else.
//!
//! ```text
//! Client::open      the root that trust begins with, checked by its own keys, or the one that it has led to since
//! Client::refresh   1. N+1.root.json …   until the store says that there is none; signed by the old keys and the new
//!                   2. timestamp.json    no older than the known one
//!                   3. snapshot.json     the one that the timestamp names; no role older than known, none gone
//!                   4. targets.json      the one that the snapshot names
//! Client::target    the roles on the way to a target and no others, each the one that the snapshot names
//! ```
//!
//! Each file is kept in the client's folder ([`stored`]) as soon as it is accepted, so that a run that is interrupted leaves
//! what the next one goes on from. Bytes of targets are fetched by the caller, and checked with [`Target::checker`].
//!
//! | module | |
//! |---|---|
//! | [`refresh`] | the four steps |
//! | [`publisher`] | what whoever signs has to know beyond that |
//! | [`search`] | from a target's path to the role that answers for it |
//! | [`key`] | keys, signatures and thresholds |
//! | [`stored`] | the folder |
//! | [`target`] | a target, and its bytes looked at as they come |
//! | [`transport`] | where files come from: [`http`], [`files`] |
//!
//! # Time
//! Metadata is past its date when that is before the *start time*, which one client has and keeps. It is the later of the
//! caller's clock and of the last time at which this folder had a timestamp that was then good. So a clock that was set
//! back (an empty battery, an attacker on the network's time) brings no old metadata back to life; it is told by
//! [`Warning::ClockBehind`], and bricks nothing: that last time is before the date of a timestamp that the store has signed
//! already, and what it signs afterwards has later dates. A clock that was ahead by years is never noted, as nothing
//! was good then.

mod error;
pub mod files;
pub mod http;
mod key;
mod publisher;
mod refresh;
mod search;
mod stored;
mod target;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use pack_schemas::text::visible;
use pack_schemas::time::rfc3339;
use pack_schemas::tuf::{Metadata, Root, Snapshot, Targets};

pub use error::{Mismatch, TufError};
pub use target::{Checker, Target};
pub use transport::{FetchError, Transport};

use search::Role;
use stored::Stored;

/// How much a client takes from a store. The usual values are several times what a store of 100,000 packages needs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest root, in bytes.
    pub root_length: u64,
    /// Longest timestamp.
    pub timestamp_length: u64,
    /// Longest snapshot.
    pub snapshot_length: u64,
    /// Longest targets metadata, of a delegated role too.
    pub targets_length: u64,
    /// Most roots gone through in one refresh.
    pub rotations: u32,
    /// Most roles asked for one target, and so how deep delegations go.
    pub roles: usize,
    /// How long another process is waited for that works on the same folder.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            root_length: 512 << 10,
            timestamp_length: 16 << 10,
            snapshot_length: 4 << 20,
            targets_length: 8 << 20,
            rotations: 256,
            roles: 32,
            patience: Duration::from_secs(60),
        }
    }
}

/// Something that a person should know, and that stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// The clock is behind a time at which the store was asked before; that time counts instead.
    ClockBehind {
        /// What the clock says, in seconds since 1970.
        now: u64,
        /// When the store was last asked.
        last: u64,
    },
    /// Without the store: metadata is past its date.
    Expired {
        /// The role.
        role: String,
        /// Until when it was good, in seconds since 1970.
        expires: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::ClockBehind { now, last } => write!(
                out,
                "the clock says {}, and the store was last asked at {}; that time counts",
                rfc3339(*now),
                rfc3339(*last)
            ),
            Warning::Expired { role, expires } => {
                write!(out, "the metadata of `{}` was good until {} only", visible(role), rfc3339(*expires))
            }
        }
    }
}

/// What is trusted of a store.
pub struct Client<'a> {
    stored: Stored,
    transport: &'a dyn Transport,
    limits: Limits,
    now: u64,
    trusted: Option<Trusted>,
    /// Whether dates count.
    dates: bool,
}

/// What a refresh has found.
struct Trusted {
    /// What dates are compared with, in seconds since 1970.
    start: u64,
    root: Metadata<Root>,
    /// Its version, and until when it is good, in seconds since 1970.
    timestamp: (u64, u64),
    snapshot: Metadata<Snapshot>,
    targets: Metadata<Targets>,
    /// Delegated roles, as far as they were needed.
    roles: BTreeMap<String, Role>,
    /// Whether the store is asked for what is not there.
    online: bool,
}

impl<'a> Client<'a> {
    /// Opens the folder of a store's metadata, and makes it where it is missing.
    ///
    /// `trusted_root` is a root that the caller trusts, as the bytes of its file; it is what trust begins with where the folder
    /// has no root, or an older one. `now` is the time in seconds since 1970, for all that this client does. Nothing
    /// is asked of the store.
    ///
    /// # Errors
    /// [`TufError::NoRoot`]; a root that is not signed by its own keys; the folder.
    pub fn open(
        folder: &Path,
        trusted_root: Option<&[u8]>,
        transport: &'a dyn Transport,
        now: u64,
    ) -> Result<Client<'a>, TufError> {
        Client::open_with(folder, trusted_root, transport, now, Limits::default())
    }

    /// Like [`Client::open`], with other limits than the usual.
    ///
    /// # Errors
    /// As of [`Client::open`].
    pub fn open_with(
        folder: &Path,
        trusted_root: Option<&[u8]>,
        transport: &'a dyn Transport,
        now: u64,
        limits: Limits,
    ) -> Result<Client<'a>, TufError> {
        let client =
            Client { stored: Stored::open(folder)?, transport, limits, now, trusted: None, dates: true };
        client.begin(trusted_root)?;
        Ok(client)
    }

    /// Asks the store for what is new, and checks it.
    ///
    /// # Errors
    /// [`TufError`]. What was accepted before the failure is kept.
    pub fn refresh(&mut self) -> Result<Vec<Warning>, TufError> {
        self.trusted = None;
        let (trusted, warnings) = self.take_from_store()?;
        self.trusted = Some(trusted);
        Ok(warnings)
    }

    /// Takes what the folder has, without asking the store: for looking things up while it cannot be reached. All is
    /// checked but dates; what is past its date is told.
    ///
    /// # Errors
    /// [`TufError::NotStored`] where there was no complete refresh before.
    pub fn offline(&mut self) -> Result<Vec<Warning>, TufError> {
        self.trusted = None;
        let (trusted, warnings) = self.take_from_folder()?;
        self.trusted = Some(trusted);
        Ok(warnings)
    }

    /// When this folder's metadata was last found to be the store's newest, in seconds since 1970.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub fn checked_at(&self) -> Result<Option<u64>, TufError> {
        Ok(self.stored.checked_at()?)
    }

    /// Looks a target up by its path, in the roles that answer for it, in order.
    ///
    /// # Errors
    /// [`TufError`]; a role on the way that cannot be had, or is not right, is an error, and never passed over.
    pub fn target(&mut self, path: &str) -> Result<Option<Target>, TufError> {
        // A search changes what is known even where it fails: roles that were fetched need not be again.
        let mut trusted = self.trusted.take().ok_or(TufError::NotRefreshed)?;
        let found = self.search(&mut trusted, path);
        self.trusted = Some(trusted);
        found
    }

    /// Fetches a file of metadata.
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, TufError> {
        let failed = |source| TufError::Fetch { path: path.to_owned(), source };
        let bytes = self.transport.fetch(path, length_most).map_err(failed)?;
        if bytes.len() as u64 > length_most {
            return Err(failed(FetchError::TooLong { length_most }));
        }
        Ok(bytes)
    }
}
