//! What can go wrong while a store is changed.

use pack_schemas::names::{PackageName, PublicKey};
use pack_schemas::store::StoreProblem;
use pack_schemas::text::visible;

use super::objects::ObjectError;
use crate::folder::FileError;
use crate::tuf::TufError;

/// Why a store was not changed; what it says is as it was.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A file of the store cannot be read or written.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// What the store says is not to be believed, or cannot be had.
    #[error(transparent)]
    Metadata(#[from] TufError),
    /// A file on this machine cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A document of the store that is signed cannot be used.
    #[error("`{path}` of the store cannot be used")]
    Document {
        /// Its target.
        path: String,
        /// What is wrong.
        source: StoreProblem,
    },
    /// A document or blob is not what the store's metadata says.
    #[error("`{path}` is not the file that the store's metadata names")]
    Altered {
        /// Its path.
        path: String,
    },
    /// A file that the metadata names is not there.
    #[error("`{path}` is missing in the store")]
    Missing {
        /// Its path.
        path: String,
    },
    /// The store has no such package.
    #[error("the store has no package `{name}`")]
    NoPackage {
        /// The package.
        name: PackageName,
        /// One with a similar name.
        near: Option<PackageName>,
    },
    /// The operation does not fit what is there.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Something is in the store already where a new one was to be made.
    #[error("there is a store already")]
    Exists,
    /// The store does not know the key.
    #[error("the store does not know the {role} key {key}")]
    OtherKey {
        /// `root` or `online`.
        role: &'static str,
        /// The key at hand.
        key: PublicKey,
    },
    /// The fingerprint is another one.
    #[error("the store's fingerprint is {found}, and not {wanted}")]
    Fingerprint {
        /// The one that was expected.
        wanted: String,
        /// That of the store.
        found: String,
    },
    /// Others changed the store all the time.
    #[error("others have changed the store {tries} times while this was being done")]
    Contended {
        /// How often it was tried.
        tries: u32,
    },
    /// The system gives no random numbers.
    #[error("cannot get random numbers")]
    Random,
    /// Something cannot be compressed or is not compressed as it should be.
    #[error("the catalog in `{}` cannot be unpacked", visible(.path))]
    Catalog {
        /// Its path.
        path: String,
    },
}

impl PublishError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            PublishError::Refused { hint, .. } => hint.clone(),
            PublishError::NoPackage { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            PublishError::Contended { .. } => Some("run it again later; nothing was changed".to_owned()),
            PublishError::OtherKey { .. } => Some("name the store's key with `--key` or `--root-key`".to_owned()),
            PublishError::Fingerprint { .. } => {
                Some("if you expected another store, look at its address; never type in a fingerprint that the store itself told you".to_owned())
            }
            _ => None,
        }
    }

    pub(super) fn refused(reason: String, hint: &str) -> PublishError {
        PublishError::Refused { reason, hint: Some(hint.to_owned()) }
    }
}
