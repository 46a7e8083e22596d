//! What can go wrong between a remote and what is wanted of it.

use std::path::PathBuf;

use pack_schemas::names::{Name, Sha256};
use pack_schemas::store::StoreProblem;
use pack_schemas::text::visible;

use super::address::AddressError;
use crate::folder::FileError;
use crate::tuf::{FetchError, Mismatch, TufError};

/// Why a remote cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// No such remote.
    #[error("no remote is called `{name}`")]
    Unknown {
        /// The name.
        name: Name,
    },
    /// There is one already.
    #[error("a remote is called `{name}` already: {}", visible(.url))]
    Exists {
        /// The name.
        name: Name,
        /// Its address.
        url: String,
    },
    /// Its file cannot be used.
    #[error("the file of a remote is damaged: {}", visible(&.path.to_string_lossy()))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: StoreProblem,
    },
    /// Its address, or a mirror's, is none.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The store is another one than the person trusts.
    #[error("the store's fingerprint is {found}, and not {wanted}")]
    Fingerprint {
        /// What the person gave.
        wanted: Sha256,
        /// The store's.
        found: Sha256,
    },
    /// What the store signs is not trusted, or cannot be had.
    #[error(transparent)]
    Tuf(#[from] TufError),
    /// A file cannot be had.
    #[error("cannot fetch `{}`", visible(.path))]
    Fetch {
        /// Its path under the store's address.
        path: String,
        /// Why.
        source: FetchError,
    },
    /// A file is not the one that was signed for.
    #[error("`{}` is not the file that the store signs for", visible(.path))]
    Altered {
        /// Its path.
        path: String,
        /// What differs.
        source: Mismatch,
    },
    /// A document makes no sense, although it is signed.
    #[error("`{path}` of the store cannot be used")]
    Document {
        /// The target.
        path: String,
        /// Why.
        source: StoreProblem,
    },
    /// Nothing was fetched yet that could be looked at without the store.
    #[error("nothing is known of what the store `{name}` has")]
    NotFetched {
        /// The remote.
        name: Name,
    },
    /// A file of this machine cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RemoteError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RemoteError::Unknown { .. } => Some("`pack remote list` shows the remotes".to_owned()),
            RemoteError::Exists { name, .. } => {
                Some(format!("give it another name with --name, or `pack remote remove {name}` first"))
            }
            RemoteError::Fingerprint { .. } => Some(
                "ask the store's owner which one is right; where the owner's is right, somebody else answers at this address"
                    .to_owned(),
            ),
            RemoteError::Tuf(error) => error.hint().map(str::to_owned),
            RemoteError::NotFetched { .. } => Some("`pack search` asks the store, once it is reached".to_owned()),
            RemoteError::File(error) if error.is_disk_full() => {
                Some("make room on the disk and run it again".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the store could not be asked, as where there is no network: what is known of it can be shown.
    pub fn is_offline(&self) -> bool {
        let source = match self {
            RemoteError::Fetch { source, .. } | RemoteError::Tuf(TufError::Fetch { source, .. }) => source,
            _ => return false,
        };
        matches!(source, FetchError::Failed(_))
    }
}
