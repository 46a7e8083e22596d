//! Stores that packages come from: which ones were added, and what they have.
//!
//! ```text
//! PACK/remotes/NAME/remote.json         address and fingerprint                              (pack_schemas::store::remote)
//! PACK/remotes/NAME/tuf/ROLE.json       metadata that is trusted                             (crate::tuf)
//! PACK/remotes/NAME/documents/…         store.json, NAME.json of packages, catalog.json: as they came last
//! PACK/remotes/NAME/catalog/SHA256      the text of the catalog: base and difference, as catalog.json names them
//! CACHE/pack/downloads/SHA256.partial   packages on their way
//! ```
//! A remote is made under another name and renamed, so that one that is there has a root that its fingerprint vouches for.
//! Metadata comes from the store's own address, so that a mirror that stands still delays files and hides nothing;
//! blobs, which are named by their hash, come from mirrors as well.
//!
//! | module | |
//! |---|---|
//! | [`address`] | where a store is |
//! | [`source`] | its files, from a web server or a folder |
//! | [`session`] | what it says now: entries of packages, mirrors |
//! | [`listing`] | the catalog, fetched by differences, and searched |
//! | [`download`] | a package file, resumed, from one mirror after the other |
//! | [`machine`] | the number that decides in which part of a rollout this machine is |

pub mod address;
pub mod download;
mod error;
pub mod listing;
pub mod machine;
pub mod session;
pub mod source;

use std::path::PathBuf;

use pack_schemas::names::{Name, Sha256};
use pack_schemas::store::RemoteFile;
use pack_schemas::store::remote::REMOTE_LIMIT;

use crate::folder::{FileError, Folder, Mounts};
use crate::folders::{Folders, INCOMING};
use crate::lock::StateLock;
use crate::publish::sign::sha256;
use crate::tree;
use crate::tuf::{Client, Transport};

pub use error::RemoteError;
pub use session::Session;
pub use source::Source;

/// Name of the file that makes a folder a remote.
const REMOTE_FILE: &str = "remote.json";
/// Name of a remote's folder while it goes.
const REMOVING: &str = ".removing";
/// The first root of a store.
const FIRST_ROOT: &str = "1.root.json";
/// Longest first root in bytes.
const ROOT_LIMIT: u64 = 512 << 10;

/// A remote's name, and the remote, or why it cannot be read.
pub type Listed = (Name, Result<RemoteFile, RemoteError>);

/// Reads the remotes, sorted by name; one that cannot be read does not hide the others.
///
/// # Errors
/// Where the folder of remotes cannot be read.
pub fn list(folders: &Folders) -> Result<Vec<Listed>, RemoteError> {
    let Some(remotes) = Folder::open(&folders.remotes())? else { return Ok(Vec::new()) };
    let names = remotes.names()?;
    let names = names.iter().filter_map(|name| name.to_str()?.parse::<Name>().ok());
    let listed = names.map(|name| (name.clone(), find(folders, &name)));
    // A folder without the file is what a run that was killed has left.
    Ok(listed.filter(|(_, read)| !matches!(read, Err(RemoteError::Unknown { .. }))).collect())
}

/// Reads one remote.
///
/// # Errors
/// [`RemoteError::Unknown`]; a damaged file.
pub fn find(folders: &Folders, name: &Name) -> Result<RemoteFile, RemoteError> {
    let unknown = || RemoteError::Unknown { name: name.clone() };
    let remotes = Folder::open(&folders.remotes())?.ok_or_else(unknown)?;
    let folder = remotes.child(name.as_str(), Mounts::Cross)?.ok_or_else(unknown)?;
    let bytes = folder.read(REMOTE_FILE, REMOTE_LIMIT)?.ok_or_else(unknown)?;
    let path = folder.join(REMOTE_FILE);
    RemoteFile::parse(&bytes, name).map_err(|source| RemoteError::Damaged { path, source })
}

/// The folder of a remote.
pub(crate) fn folder(folders: &Folders, name: &Name) -> PathBuf {
    folders.remotes().join(name.as_str())
}

/// Fetches the first root of a store, and its fingerprint, which nobody has vouched for yet.
///
/// # Errors
/// Where it cannot be had.
pub fn first_root(source: &Source) -> Result<(Vec<u8>, Sha256), RemoteError> {
    let path = format!("tuf/{FIRST_ROOT}");
    let bytes = source.fetch(FIRST_ROOT, ROOT_LIMIT).map_err(|source| RemoteError::Fetch { path, source })?;
    let fingerprint = sha256(&bytes);
    Ok((bytes, fingerprint))
}

/// Adds a remote, and takes its metadata for the first time. `root` is the first root, as [`first_root`] gave it.
///
/// # Errors
/// [`RemoteError`]; nothing was added then.
pub fn add(
    _lock: &StateLock,
    folders: &Folders,
    remote: &RemoteFile,
    source: &Source,
    root: &[u8],
) -> Result<(), RemoteError> {
    let found = sha256(root);
    if found != remote.fingerprint {
        return Err(RemoteError::Fingerprint { wanted: remote.fingerprint, found });
    }
    let remotes = Folder::create(folders.pack(), 0o700)?.make_private_child("remotes")?;
    remove_tree(&remotes, INCOMING)?;
    match find(folders, &remote.name) {
        Err(RemoteError::Unknown { .. }) => remove_tree(&remotes, remote.name.as_str())?,
        Err(error) => return Err(error),
        Ok(there) => return Err(RemoteError::Exists { name: there.name, url: there.url }),
    }
    let incoming = remotes.make_private_child(INCOMING)?;
    let taken = Client::open(&incoming.join("tuf"), Some(root), source, remote.added)
        .and_then(|mut client| client.refresh());
    if let Err(error) = taken {
        remove_tree(&remotes, INCOMING)?;
        return Err(error.into());
    }
    incoming.replace(REMOTE_FILE, &remote.to_bytes(), 0o600, &mut || ())?;
    remotes.rename_new(INCOMING, &remotes, remote.name.as_str())?;
    Ok(())
}

/// Removes a remote. What was installed from it stays.
///
/// # Errors
/// [`RemoteError::Unknown`]; files that cannot be removed.
pub fn remove(_lock: &StateLock, folders: &Folders, name: &Name) -> Result<(), RemoteError> {
    let unknown = || RemoteError::Unknown { name: name.clone() };
    let remotes = Folder::open(&folders.remotes())?.ok_or_else(unknown)?;
    remove_tree(&remotes, REMOVING)?;
    let there = remotes.child(name.as_str(), Mounts::Cross)?.ok_or_else(unknown)?;
    drop(there);
    remotes.rename_new(name.as_str(), &remotes, REMOVING)?;
    remove_tree(&remotes, REMOVING)
}

fn remove_tree(parent: &Folder, name: &str) -> Result<(), RemoteError> {
    let removed = tree::delete_tree(parent, name, &mut || ());
    removed.map(drop).map_err(|error| match error {
        tree::TreeError::File(error) => RemoteError::File(error),
        other => RemoteError::File(FileError {
            action: "remove",
            path: parent.join(name),
            source: std::io::Error::other(other.to_string()),
        }),
    })
}
