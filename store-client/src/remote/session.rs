//! What a store says now, or said the last time that it was asked.

use std::collections::BTreeMap;
use std::path::Path;

use pack_schemas::names::PackageName;
use pack_schemas::store::entry::ENTRY_LIMIT;
use pack_schemas::store::{
    PackageEntry, RemoteFile, STORE_LIMIT, STORE_TARGET, Store, StoreProblem, package_target,
};

use super::address::Address;
use super::{RemoteError, Source, first_root, folder};
use crate::folder::{Folder, Mounts};
use crate::folders::Folders;
use crate::tuf::{Client, Target, TufError, Warning};

/// A store that is being asked.
pub struct Session<'a> {
    /// The remote.
    pub remote: &'a RemoteFile,
    pub(super) source: &'a Source,
    pub(super) folder: Folder,
    documents: Folder,
    client: Client<'a>,
}

/// An address and how to ask there, for [`Session::open`].
///
/// # Errors
/// The address; the proxy of the environment.
pub fn source_of(remote: &RemoteFile, environment: &BTreeMap<String, String>) -> Result<Source, RemoteError> {
    let address = Address::parse(&remote.url)?;
    let failed = |source| RemoteError::Fetch { path: String::new(), source };
    Source::new(&address, environment).map_err(failed)
}

impl<'a> Session<'a> {
    /// Opens what is known of a remote. The store is asked for nothing, but where the metadata was lost: then trust
    /// begins anew, with the root that the fingerprint vouches for.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn open(
        folders: &Folders,
        remote: &'a RemoteFile,
        source: &'a Source,
        now: u64,
    ) -> Result<Session<'a>, RemoteError> {
        let path = folder(folders, &remote.name);
        let unknown = || RemoteError::Unknown { name: remote.name.clone() };
        let folder = Folder::open(&path)?.ok_or_else(unknown)?;
        let documents = folder.make_private_child("documents")?;
        let client = match Client::open(&path.join("tuf"), None, source, now) {
            Err(TufError::NoRoot) => begin_anew(&path.join("tuf"), remote, source, now)?,
            opened => opened?,
        };
        Ok(Session { remote, source, folder, documents, client })
    }

    /// Asks the store for its newest metadata.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn refresh(&mut self) -> Result<Vec<Warning>, RemoteError> {
        Ok(self.client.refresh()?)
    }

    /// When the store was last asked, in seconds since 1970.
    ///
    /// # Errors
    /// The folder.
    pub fn checked_at(&self) -> Result<Option<u64>, RemoteError> {
        Ok(self.client.checked_at()?)
    }

    /// The entry of a package; nothing where the store has none.
    ///
    /// # Errors
    /// [`RemoteError`].
    pub fn entry(&mut self, name: &PackageName) -> Result<Option<PackageEntry>, RemoteError> {
        let path = package_target(name);
        let Some(bytes) = self.document(&path, ENTRY_LIMIT)? else { return Ok(None) };
        PackageEntry::parse(&bytes, name).map(Some).map_err(|source| RemoteError::Document { path, source })
    }

    /// The addresses that have the store's blobs, its own first. Those that cannot be used are left out.
    ///
    /// # Errors
    /// Where the store's description cannot be had.
    pub fn blob_sources(&mut self) -> Result<Vec<Source>, RemoteError> {
        let mut sources = Vec::new();
        let own = self.source.address().clone();
        let mut addresses = vec![own.clone()];
        if let Some(bytes) = self.document(STORE_TARGET, STORE_LIMIT)? {
            let path = STORE_TARGET.to_owned();
            let store = Store::parse(&bytes).map_err(|source| RemoteError::Document { path, source })?;
            let mirrors = store.mirrors.iter().filter_map(|mirror| Address::parse(mirror).ok());
            addresses.extend(mirrors.filter(|mirror| own.allows_mirror(mirror) && *mirror != own));
        }
        for address in addresses {
            let made = Source::with_settings(&address, self.source.settings().clone());
            sources.push(made.map_err(|source| RemoteError::Fetch { path: address.to_string(), source })?);
        }
        Ok(sources)
    }

    /// A document that the store signs: the one that is kept where it is still the same, else fetched and checked.
    pub(super) fn document(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, RemoteError> {
        let Some(target) = self.client.target(path)? else { return Ok(None) };
        if target.length > limit {
            let source = StoreProblem::TooLong { limit };
            return Err(RemoteError::Document { path: path.to_owned(), source });
        }
        let name = document_name(path);
        if let Ok(Some(bytes)) = self.documents.read(name, limit)
            && check(&target, &bytes).is_ok()
        {
            return Ok(Some(bytes));
        }
        let remote_path = target.remote_path();
        let bytes = self
            .source
            .read(&remote_path, target.length)
            .map_err(|source| RemoteError::Fetch { path: remote_path, source })?;
        check(&target, &bytes)?;
        self.documents.replace(name, &bytes, 0o600, &mut || ())?;
        Ok(Some(bytes))
    }
}

/// The entry of a package as it was when the store was last asked for it, and when that was, in seconds since 1970.
///
/// # Errors
/// The file.
pub fn known_entry(
    folders: &Folders,
    remote: &RemoteFile,
    name: &PackageName,
) -> Result<Option<(PackageEntry, u64)>, RemoteError> {
    let Some(folder) = Folder::open(&folder(folders, &remote.name))? else { return Ok(None) };
    let Some(documents) = folder.child("documents", Mounts::Cross)? else { return Ok(None) };
    let path = package_target(name);
    let Some(bytes) = documents.read(document_name(&path), ENTRY_LIMIT)? else { return Ok(None) };
    let time = documents.stat_of(document_name(&path))?.map_or(0, |stat| stat.st_mtime);
    let entry = PackageEntry::parse(&bytes, name).map_err(|source| RemoteError::Document { path, source })?;
    Ok(Some((entry, u64::try_from(time).unwrap_or(0))))
}

fn begin_anew<'a>(
    path: &Path,
    remote: &RemoteFile,
    source: &'a Source,
    now: u64,
) -> Result<Client<'a>, RemoteError> {
    let (root, found) = first_root(source)?;
    if found != remote.fingerprint {
        return Err(RemoteError::Fingerprint { wanted: remote.fingerprint, found });
    }
    Ok(Client::open(path, Some(&root), source, now)?)
}

/// The name under which a document is kept: those of packages have no dot before `.json`, so none is another's.
fn document_name(path: &str) -> &str {
    match path {
        "meta/store.json" => "meta.store.json",
        "meta/catalog.json" => "meta.catalog.json",
        package => package.rsplit('/').next().unwrap_or(package),
    }
}

fn check(target: &Target, bytes: &[u8]) -> Result<(), RemoteError> {
    let mut checker = target.checker();
    checker
        .update(bytes)
        .and_then(|()| checker.finish())
        .map_err(|source| RemoteError::Altered { path: target.path.clone(), source })
}
