//! What a store holds: plain files on a web server, in a folder or in a bucket.
//!
//! ```text
//! tuf/timestamp.json                    the only file that is ever replaced
//! tuf/N.root.json  N.snapshot.json  N.targets.json  N.bin-XX.json
//! pkg/SHA256.NAME.json                  a package: its revisions and channels          ([`entry`])
//! meta/SHA256.store.json                the store: its title and mirrors               ([`Store`])
//! meta/SHA256.catalog.json              which files make the catalog                   ([`catalog`])
//! blobs/sha256/ab/SHA256.EXTENSION      packages, icons, parts of the catalog, deltas
//! ```
//!
//! Files with a hash or a number in their names never change once they are there, so any mirror and any cache will do. The
//! roles of [`crate::tuf`] sign the files below `pkg/` and `meta/` as targets named without the hash (`pkg/NAME.json`);
//! these name blobs by their SHA-256. So every byte that a store gives hangs on `timestamp.json`, and that on the root
//! whose fingerprint the user typed.
//!
//! The top-level role `targets` answers for `meta/store.json`, and hands all else to bins by the hash of the target's path
//! (`succinct_roles` of TUF): a change to one package is a new version of one small file.

pub mod catalog;
pub mod channel;
pub mod entry;
pub mod remote;

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::names::{PackageName, Sha256};
use crate::text::visible;
use crate::tuf;

pub use catalog::{CatalogEntry, CatalogIndex};
pub use channel::{Channel, Risk, Track};
pub use entry::{PackageEntry, StoreRevision};
pub use remote::RemoteFile;

/// The format version of the documents of this module.
pub const STORE_VERSION: u32 = 1;
/// The target that [`Store`] is.
pub const STORE_TARGET: &str = "meta/store.json";
/// The target that [`CatalogIndex`] is.
pub const CATALOG_TARGET: &str = "meta/catalog.json";
/// What the names of the bins begin with.
pub const BIN_PREFIX: &str = "bin";
/// Longest [`STORE_TARGET`] in bytes.
pub const STORE_LIMIT: u64 = 64 << 10;
/// Most mirrors of a store.
pub const MIRRORS_MOST: usize = 32;

/// The target that the package `name` is.
pub fn package_target(name: &PackageName) -> String {
    format!("pkg/{name}.json")
}

/// Where a blob lies, relative to the store.
pub fn blob_path(sha256: &Sha256, kind: BlobKind) -> String {
    let digits = sha256.to_string();
    format!("blobs/sha256/{}/{digits}.{kind}", &digits[..2])
}

/// What a blob is; the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobKind {
    /// A package.
    Pkg,
    /// An icon.
    Png,
    /// An icon.
    Svg,
    /// A part of the catalog, compressed.
    Zst,
    /// What makes one revision from another.
    Delta,
    /// Which parts of a package its start reads.
    Trace,
}

impl fmt::Display for BlobKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            BlobKind::Pkg => "pkg",
            BlobKind::Png => "png",
            BlobKind::Svg => "svg",
            BlobKind::Zst => "zst",
            BlobKind::Delta => "delta",
            BlobKind::Trace => "trace",
        })
    }
}

/// A blob that a document names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// Of all of its bytes.
    pub sha256: Sha256,
    /// In bytes.
    pub size: u64,
}

/// What a store says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Store {
    /// [`STORE_VERSION`].
    pub format: u32,
    /// What people call it, at most 80 characters.
    pub title: String,
    /// Addresses that have the same blobs; asked where the store itself does not answer. At most [`MIRRORS_MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
}

impl Store {
    /// Reads [`STORE_TARGET`].
    ///
    /// # Errors
    /// [`StoreProblem`].
    pub fn parse(bytes: &[u8]) -> Result<Store, StoreProblem> {
        let store: Store = parse(bytes, STORE_LIMIT)?;
        if store.mirrors.len() > MIRRORS_MOST {
            return Err(StoreProblem::Contradiction { rule: "it has too many mirrors" });
        }
        check_text(&store.title, 80)?;
        store.mirrors.iter().try_for_each(|mirror| check_text(mirror, 1024))?;
        Ok(store)
    }
}

/// Why a document of a store cannot be used, although it is signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreProblem {
    /// It is longer than such a document can be.
    #[error("it has more than {limit} bytes")]
    TooLong {
        /// In bytes.
        limit: u64,
    },
    /// It is no JSON, or of another shape.
    #[error("it cannot be read: {}", visible(.reason))]
    Json {
        /// The parser's words.
        reason: String,
    },
    /// A newer pack wrote it.
    #[error("it has format version {found}, and this pack reads version {STORE_VERSION}")]
    FormatVersion {
        /// The version found.
        found: u32,
    },
    /// A text in it would not show as it is, or is too long.
    #[error("a text in it is longer than {most} characters, or has control characters: `{}`", visible(.text))]
    Text {
        /// Its beginning.
        text: String,
        /// In characters.
        most: usize,
    },
    /// It says two things that cannot both be true, or one that cannot be.
    #[error("it contradicts itself: {rule}")]
    Contradiction {
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// The one field that every format version has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// Reads a document; fields that are not known are passed over, so that a later pack can add some. Keys that are there twice
/// are refused.
fn parse<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, StoreProblem> {
    if bytes.len() as u64 > limit {
        return Err(StoreProblem::TooLong { limit });
    }
    let value = tuf::json::parse(bytes).map_err(|error| StoreProblem::Json { reason: error.reason })?;
    let json = |error: serde_json::Error| StoreProblem::Json { reason: error.to_string() };
    let Format { format } = Format::deserialize(&value).map_err(json)?;
    if format != STORE_VERSION {
        return Err(StoreProblem::FormatVersion { found: format });
    }
    T::deserialize(value).map_err(json)
}

/// Text that people will see: of bounded length, and nothing in it that steers a terminal or turns lines around.
fn check_text(text: &str, most: usize) -> Result<(), StoreProblem> {
    if text.chars().count() <= most && visible(text) == text {
        return Ok(());
    }
    Err(StoreProblem::Text { text: text.chars().take(64).collect(), most })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_lie_in_folders_of_their_first_digits() {
        let path = blob_path(&Sha256([0xab; 32]), BlobKind::Pkg);
        assert_eq!(path, format!("blobs/sha256/ab/{}.pkg", "ab".repeat(32)));
    }

    #[test]
    fn what_a_store_says_of_itself_is_bounded_and_shows_as_it_is() {
        let of = |title: &str, mirrors: usize| Store {
            format: 1,
            title: title.to_owned(),
            mirrors: vec!["https://mirror.example/".to_owned(); mirrors],
        };
        let read = |store: &Store| Store::parse(&crate::package::canonical_json(store));
        assert_eq!(read(&of("Example", 2)), Ok(of("Example", 2)));
        for bad in [of("\u{1b}[2J", 0), of(&"x".repeat(81), 0), of("a", MIRRORS_MOST + 1)] {
            assert!(read(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(
            Store::parse(br#"{"format": 2, "any": "thing"}"#),
            Err(StoreProblem::FormatVersion { found: 2 })
        );
        assert!(matches!(Store::parse(&[b' '; 70_000]), Err(StoreProblem::TooLong { .. })));
        let later = br#"{"format": 1, "title": "t", "later": 1}"#;
        assert!(Store::parse(later).is_ok(), "a later pack can add fields");
    }
}
