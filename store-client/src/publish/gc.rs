//! What nothing names any more is removed, after a time in which somebody may still be reading it.
//!
//! Kept is what the snapshot of now names, and what those snapshots name that were the newest at some moment of the grace
//! period: whoever began to read then goes on undisturbed. Kept is also all that is younger than the grace period: a change
//! that is being made has put files there that nothing names yet. Roots are kept for ever, as new machines walk from the
//! first one.

use std::collections::{BTreeMap, BTreeSet};

use pack_schemas::store::catalog::CatalogIndex;
use pack_schemas::store::{BlobKind, CATALOG_TARGET, PackageEntry, blob_path};
use pack_schemas::tuf::{Metadata as Signed, Payload, Snapshot, Targets};

use super::commit::{Publisher, document_path};
use super::objects::Listed;
use super::{DAY_S, PublishError, listing};
use pack_schemas::names::Sha256;
use pack_schemas::store::entry::ENTRY_LIMIT;

/// What a run has removed, or would.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Paths, sorted.
    pub paths: Vec<String>,
    /// Their bytes.
    pub bytes: u64,
}

/// For how many days something is kept that nothing names any more, unless somebody says otherwise.
pub const GRACE_DAYS: u64 = 14;

impl Publisher<'_> {
    /// Removes what nothing names any more since `grace_days`; with `is_rehearsal` nothing is removed, only told.
    ///
    /// # Errors
    /// [`PublishError`]. What was removed until then nothing names.
    pub fn collect(&self, grace_days: u64, is_rehearsal: bool) -> Result<Removed, PublishError> {
        // The store is looked at as any client does first: nothing is removed by the word of files that nobody signed.
        let current = self.change(|view| Ok(view.client.snapshot_version()?))?;
        let mut there = Vec::new();
        for folder in ["tuf", "pkg", "meta", "blobs"] {
            there.extend(self.objects.list(folder)?);
        }
        let since = self.now.saturating_sub(grace_days.saturating_mul(DAY_S));
        let named = self.named_by(&snapshots(&there, current, since))?;
        let mut removed = Removed::default();
        for Listed { path, size, modified } in there {
            let is_root = path.ends_with(".root.json") || path == "tuf/timestamp.json";
            if !is_root && modified < since && !named.contains(&path) {
                removed.paths.push(path);
                removed.bytes = removed.bytes.saturating_add(size);
            }
        }
        removed.paths.sort();
        if !is_rehearsal {
            removed.paths.iter().try_for_each(|path| self.objects.remove(path))?;
        }
        Ok(removed)
    }

    /// All paths that some snapshots name, in the end.
    fn named_by(&self, snapshots: &[String]) -> Result<BTreeSet<String>, PublishError> {
        let mut named: BTreeSet<String> = snapshots.iter().cloned().collect();
        let mut roles = BTreeSet::new();
        for path in snapshots {
            let snapshot: Signed<Snapshot> = self.metadata(path, 4 << 20)?;
            for (name, meta) in &snapshot.signed.meta {
                roles.insert(format!("tuf/{}.{name}", meta.version));
            }
        }
        let mut documents: BTreeMap<String, String> = BTreeMap::new();
        for path in &roles {
            let role: Signed<Targets> = self.metadata(path, 8 << 20)?;
            for (target, file) in &role.signed.targets {
                let digest = file.hashes.get("sha256").and_then(|digest| digest.parse::<Sha256>().ok());
                let digest = digest.ok_or_else(|| PublishError::Altered { path: path.clone() })?;
                documents.insert(document_path(target, &digest), target.clone());
            }
        }
        for (path, target) in &documents {
            self.name_blobs(path, target, &mut named)?;
        }
        named.extend(roles);
        named.extend(documents.into_keys());
        Ok(named)
    }

    fn metadata<T: Payload>(&self, path: &str, limit: u64) -> Result<Signed<T>, PublishError> {
        let read = self.objects.read(path, limit)?;
        let (bytes, _) = read.ok_or_else(|| PublishError::Missing { path: path.to_owned() })?;
        Signed::parse(&bytes)
            .map_err(|source| crate::tuf::TufError::Metadata { role: path.to_owned(), source }.into())
    }

    fn name_blobs(&self, path: &str, target: &str, named: &mut BTreeSet<String>) -> Result<(), PublishError> {
        let read = |limit| -> Result<Vec<u8>, PublishError> {
            let read = self.objects.read(path, limit)?;
            read.map(|(bytes, _)| bytes).ok_or_else(|| PublishError::Missing { path: path.to_owned() })
        };
        let unusable = |source| PublishError::Document { path: path.to_owned(), source };
        let name = target.strip_prefix("pkg/").and_then(|name| name.strip_suffix(".json")?.parse().ok());
        if let Some(name) = name {
            let entry = PackageEntry::parse(&read(ENTRY_LIMIT)?, &name).map_err(unusable)?;
            for revision in entry.revisions.values() {
                named.insert(blob_path(&revision.file.sha256, BlobKind::Pkg));
                named.extend(revision.about.icon.iter().map(|icon| blob_path(&icon.file.sha256, icon.kind)));
                named.extend(revision.deltas.values().map(|blob| blob_path(&blob.sha256, BlobKind::Delta)));
                named.extend(revision.trace.iter().map(|blob| blob_path(&blob.sha256, BlobKind::Trace)));
            }
        } else if target == CATALOG_TARGET {
            let index = CatalogIndex::parse(&read(listing::INDEX_MOST)?).map_err(unusable)?;
            let pieces = [index.base, index.difference].into_iter();
            let pieces = pieces.chain(index.earlier.iter().map(|earlier| earlier.difference));
            named.extend(pieces.map(|piece| blob_path(&piece.blob.sha256, BlobKind::Zst)));
        }
        Ok(())
    }
}

/// The paths of the snapshots that were the newest at some moment since then: the one of now, those that were made since,
/// and the one before these.
fn snapshots(there: &[Listed], current: u64, since: u64) -> Vec<String> {
    let mut found: Vec<(u64, &Listed)> = there
        .iter()
        .filter_map(|listed| {
            let name = listed.path.strip_prefix("tuf/")?.strip_suffix(".snapshot.json")?;
            // One beyond the newest was never published, or is about to be: it names nothing that is older.
            name.parse().ok().filter(|number| *number <= current).map(|number| (number, listed))
        })
        .collect();
    found.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
    let mut kept = Vec::new();
    for (number, listed) in found {
        kept.push(listed.path.clone());
        if listed.modified < since && number < current {
            break;
        }
        if number == current && listed.modified < since {
            break;
        }
    }
    kept
}
