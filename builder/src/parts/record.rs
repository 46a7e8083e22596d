//! What a step read and what it made, as hashes under labels, written down when the step is complete.
//!
//! ```text
//! parts/NAME/STEP.json    the record: there only while it is true
//! parts/NAME/STEP.files   what the tree that the step reads held, to name what has changed in it; may be missing
//! ```
//!
//! A record is removed before its step runs again, and written last, by rename: after a kill at any moment a step either
//! is complete or has no record. Nothing is flushed for that. A crash of the whole machine may take with it whatever was
//! written shortly before: so a record names the boot that it was written in, and in another one what the step made is
//! hashed anew before it is believed. A torn record is none.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pack_schemas::names::Hash;
use pack_schemas::package::canonical_json;
use serde::{Deserialize, Serialize};

use super::hash::{Listing, Node};
use crate::files::{self, FileError};

/// Another number makes every step run again: to be raised where steps do something else with the same input.
const FORMAT: u32 = 1;

/// A record is small, whoever wrote it.
const RECORD_MOST: u64 = 1 << 20;

/// Trees with more entries are not kept to name what changed.
const FILES_MOST: usize = 100_000;

/// How many of the changed files are named.
const NAMED_MOST: usize = 3;

/// Hashes under their labels.
pub(super) type Labels = BTreeMap<String, Hash>;

/// The record of a step, or of what stands in stage or prime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Record {
    format: u32,
    /// The boot that it was written in, where the system tells.
    boot: String,
    /// What the step read.
    pub read: Labels,
    /// What it made.
    pub made: Labels,
}

impl Record {
    pub fn new(read: Labels, made: Labels) -> Record {
        Record { format: FORMAT, boot: boot(), read, made }
    }

    /// The record at `path`. What cannot be read, or is of another format, is as good as none.
    pub fn load(path: &Path) -> Option<Record> {
        let mut text = Vec::new();
        File::open(path).ok()?.take(RECORD_MOST + 1).read_to_end(&mut text).ok()?;
        let record: Record = serde_json::from_slice(&text).ok()?;
        (record.format == FORMAT).then_some(record)
    }

    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        files::write_whole(path, &canonical_json(self))
    }

    /// Whether the machine has not been started anew since.
    pub fn is_of_this_boot(&self) -> bool {
        self.boot == boot()
    }
}

/// What tells one boot from another; empty where the system does not say (proc(5), `/proc/sys/kernel/random/boot_id`).
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Why a step runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It has never been completed, or was cleaned, or what it made is gone.
    New,
    /// What it reads has changed.
    Changed(Vec<Change>),
}

/// Something that a step reads and that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What: `source`, `override-build`, `part NAME`…
    pub what: String,
    /// The first few of the files, or Debian packages, that changed, where that is known.
    pub files: Vec<PathBuf>,
    /// How many more there are.
    pub more: usize,
}

/// What differs between two sets of labels.
pub(super) fn changes(old: &Labels, new: &Labels) -> Vec<Change> {
    let mut labels: Vec<&String> = old.keys().chain(new.keys()).collect();
    labels.sort();
    labels.dedup();
    let differs = |label: &&String| old.get(*label) != new.get(*label);
    labels
        .into_iter()
        .filter(differs)
        .map(|label| Change { what: label.clone(), files: Vec::new(), more: 0 })
        .collect()
}

/// Keeps what a tree holds, for [`name_files`].
pub(super) fn save_files(path: &Path, listing: &Listing) -> Result<(), FileError> {
    if listing.nodes.len() > FILES_MOST {
        return remove_file(path);
    }
    let mut bytes = Vec::new();
    for node in &listing.nodes {
        bytes.extend_from_slice(&node.mark().to_le_bytes());
        bytes.extend_from_slice(node.path.as_os_str().as_bytes());
        bytes.push(0);
    }
    files::write_whole(path, &bytes)
}

/// Names the files in which a tree differs from what was kept of it.
pub(super) fn name_files(change: &mut Change, path: &Path, now: &Listing) {
    let Ok(bytes) = fs::read(path) else { return };
    let Some(mut before) = parse_files(&bytes) else { return };
    let is_new = |node: &&Node| before.remove(node.path.as_os_str().as_bytes()) != Some(node.mark());
    let mut changed: Vec<PathBuf> = now.nodes.iter().filter(is_new).map(|node| node.path.clone()).collect();
    changed.extend(before.into_keys().map(|path| PathBuf::from(std::ffi::OsStr::from_bytes(path))));
    changed.sort();
    name_some(change, changed);
}

/// Names the first few of what changed.
pub(super) fn name_some(change: &mut Change, mut changed: Vec<PathBuf>) {
    change.more = changed.len().saturating_sub(NAMED_MOST);
    changed.truncate(NAMED_MOST);
    change.files = changed;
}

fn parse_files(mut bytes: &[u8]) -> Option<BTreeMap<&[u8], u64>> {
    let mut files = BTreeMap::new();
    while let Some((mark, rest)) = bytes.split_first_chunk::<8>() {
        let end = rest.iter().position(|byte| *byte == 0)?;
        files.insert(&rest[..end], u64::from_le_bytes(*mark));
        bytes = &rest[end + 1..];
    }
    Some(files)
}

/// Removes a file that may be missing.
pub(super) fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(FileError::at("remove", path, source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, u8)]) -> Labels {
        pairs.iter().map(|(label, byte)| ((*label).to_owned(), Hash([*byte; 32]))).collect()
    }

    #[test]
    fn a_record_comes_back_and_a_torn_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("build.json");
        assert_eq!(Record::load(&path), None);
        let record = Record::new(labels(&[("source", 1)]), labels(&[("install", 2)]));
        record.save(&path).unwrap();
        assert_eq!(Record::load(&path), Some(record.clone()));
        assert!(record.is_of_this_boot());
        let text = fs::read(&path).unwrap();
        for length in 0..text.len() {
            fs::write(&path, &text[..length]).unwrap();
            assert_eq!(Record::load(&path), None, "{length}");
        }
        let older = String::from_utf8(text).unwrap().replace("\"format\":1", "\"format\":0");
        fs::write(&path, older).unwrap();
        assert_eq!(Record::load(&path), None);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn what_differs_is_named_by_its_label() {
        let differ = |old: &[(&str, u8)], new: &[(&str, u8)]| -> Vec<String> {
            changes(&labels(old), &labels(new)).into_iter().map(|change| change.what).collect()
        };
        assert!(differ(&[("a", 1)], &[("a", 1)]).is_empty());
        assert_eq!(differ(&[("a", 1), ("b", 1), ("c", 1)], &[("b", 2), ("c", 1), ("d", 1)]), ["a", "b", "d"]);
    }
}
