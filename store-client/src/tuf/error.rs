//! What can go wrong between a store and what is trusted of it.

use std::path::PathBuf;

use pack_schemas::text::visible;
use pack_schemas::time::rfc3339;
use pack_schemas::tuf::MetadataError;

use super::transport::FetchError;
use crate::folder::FileError;

/// Why the metadata of a store is not trusted, or cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TufError {
    /// The folder of the metadata cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process works on it.
    #[error("the metadata in {} is in use by another process (waited {waited_s} s)", visible(&.folder.to_string_lossy()))]
    Busy {
        /// The folder.
        folder: PathBuf,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// There is nothing that trust could begin with.
    #[error("no root of trust is known for this store")]
    NoRoot,
    /// Targets are asked for before it is known which ones there are.
    #[error("the metadata was not refreshed")]
    NotRefreshed,
    /// A file cannot be had from the store.
    #[error("cannot fetch `{}`", visible(.path))]
    Fetch {
        /// Its path under the store's address.
        path: String,
        /// Why.
        source: FetchError,
    },
    /// A file is not metadata.
    #[error("the metadata of `{}` cannot be read", visible(.role))]
    Metadata {
        /// The role.
        role: String,
        /// Why.
        source: MetadataError,
    },
    /// Too few of the keys that a role has have signed.
    #[error("the metadata of `{}` is signed by {found} of its keys, and not by {wanted}", visible(.role))]
    Signatures {
        /// The role.
        role: String,
        /// How many distinct keys have signed.
        found: usize,
        /// How many have to.
        wanted: u32,
    },
    /// A version is older than one that was seen before.
    #[error("the store offers version {offered} of `{}`, and had version {known} before", visible(.role))]
    Rollback {
        /// The role.
        role: String,
        /// The version that was seen.
        known: u64,
        /// The version now.
        offered: u64,
    },
    /// A role that was part of the store is not any more.
    #[error("the store's snapshot lists `{}` no longer", visible(.role))]
    Dropped {
        /// The role.
        role: String,
    },
    /// A file has another version than the one that was asked for.
    #[error("the metadata of `{}` has version {found}, and not {wanted}", visible(.role))]
    Version {
        /// The role.
        role: String,
        /// The version that was asked for.
        wanted: u64,
        /// The version that came.
        found: u64,
    },
    /// A file is not the one that the store's snapshot or timestamp names.
    #[error("the metadata of `{}` is not the one that is signed for: {reason}", visible(.role))]
    Altered {
        /// The role.
        role: String,
        /// What differs.
        reason: Mismatch,
    },
    /// Metadata is past its date: the store, or a mirror of it, stands still.
    #[error("the metadata of `{}` was good until {} only", visible(.role), rfc3339(*.expires))]
    Expired {
        /// The role.
        role: String,
        /// Until when it was good, in seconds since 1970.
        expires: u64,
    },
    /// There are more new roots than are gone through at once. Those that were are kept.
    #[error("the store has more than {most} roots that are newer than the known one")]
    Rotations {
        /// How many are gone through.
        most: u32,
    },
    /// A role is delegated to, and the snapshot does not know it.
    #[error("`{}` answers for `{}`, and the store's snapshot does not list it", visible(.role), visible(.target))]
    NotInSnapshot {
        /// The role.
        role: String,
        /// The target that is looked for.
        target: String,
    },
    /// Too many roles would have to be asked.
    #[error("more than {most} roles answer for `{}`", visible(.target))]
    Roles {
        /// The target that is looked for.
        target: String,
        /// How many are asked.
        most: usize,
    },
    /// Without the store, what it has cannot be told.
    #[error("the metadata of `{}` was not fetched while the store could be reached", visible(.role))]
    NotStored {
        /// The role.
        role: String,
    },
    /// A path is not one that a target can have.
    #[error("`{}` cannot be the path of a target", visible(.path))]
    Path {
        /// The path, at most 64 characters.
        path: String,
    },
}

impl TufError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            TufError::Expired { .. } => Some(
                "if the date of this machine is right, the store or its mirror stands still; try another mirror",
            ),
            TufError::Rotations { .. } => Some("run it again, to go on where it ended"),
            TufError::Rollback { .. } | TufError::Dropped { .. } => {
                Some("a stale mirror does this, and so does an attacker; try another mirror, or later")
            }
            _ => None,
        }
    }
}

/// How a file differs from what was signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// It is longer or shorter.
    #[error("it has {found} bytes, and not {wanted}")]
    Length {
        /// As signed.
        wanted: u64,
        /// As it came; of a longer one as far as it was looked at.
        found: u64,
    },
    /// It is another file.
    #[error("its {algorithm} is {found}, and not {}", visible(.wanted))]
    Hash {
        /// The hash's algorithm.
        algorithm: &'static str,
        /// As signed.
        wanted: String,
        /// Of what came.
        found: String,
    },
    /// It cannot be told: no hash of it is of a kind that this program knows.
    #[error("none of its hashes is SHA-256 or SHA-512")]
    NoHash,
}
