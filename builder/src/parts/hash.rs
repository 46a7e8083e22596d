//! What is in a tree, as one hash: names, kinds, whether a file can be executed, contents, targets of links, and which
//! names are one file (hard links). Neither times nor owners nor other permissions: a package keeps none of them.
//!
//! ```text
//! entry   length of path (u64 LE), path, kind (1 byte), hash (32 bytes)
//! kind    f folder (hash is zero), r file, x file that can be executed, l symbolic link (hash of its target),
//!         = another name of an earlier entry's file (hash of that entry's path)
//! tree    BLAKE3 of its entries, every folder before its content, names in the order of their bytes
//! ```

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use pack_schemas::names::Hash;

use crate::files::{self, Entry, FileError};

/// How much of a file is read at once.
const BLOCK: usize = 256 << 10;

/// What a tree holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listing {
    pub nodes: Vec<Node>,
}

/// Something in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Relative to the tree's root.
    pub path: PathBuf,
    kind: u8,
    hash: Hash,
}

/// Whether names that are one file are told from copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HardLinks {
    Told,
    /// For what will be copied file by file.
    Ignored,
}

impl Listing {
    /// Reads the tree under `root`, as far as `enter` goes, on `threads` threads.
    pub fn of(
        root: &Path,
        links: HardLinks,
        threads: NonZeroUsize,
        enter: impl Fn(&Path) -> bool,
    ) -> Result<Listing, FileError> {
        let entries = files::list(root, enter)?;
        let earlier = match links {
            HardLinks::Told => earlier_names(&entries),
            HardLinks::Ignored => HashMap::new(),
        };
        let hashes = hash_all(root, &entries, &earlier, threads)?;
        let nodes = entries.into_iter().zip(hashes);
        Ok(Listing {
            nodes: nodes.map(|(entry, (kind, hash))| Node { path: entry.path, kind, hash }).collect(),
        })
    }

    /// Paths of files, no further names of others among them, that are the same in another tree.
    pub fn files_same_in(&self, other: &Listing) -> HashSet<PathBuf> {
        let there: HashMap<&Path, &Node> =
            other.nodes.iter().map(|node| (node.path.as_path(), node)).collect();
        let is_same =
            |node: &&Node| matches!(node.kind, b'r' | b'x') && there.get(node.path.as_path()) == Some(node);
        self.nodes.iter().filter(is_same).map(|node| node.path.clone()).collect()
    }

    /// Stands for all of it.
    pub fn hash(&self) -> Hash {
        hash_nodes(self.nodes.iter())
    }
}

/// Stands for a choice of nodes, in their order.
pub(super) fn hash_nodes<'a>(nodes: impl Iterator<Item = &'a Node>) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for node in nodes {
        let path = node.path.as_os_str().as_bytes();
        hasher.update(&(path.len() as u64).to_le_bytes()).update(path).update(&[node.kind]);
        hasher.update(&node.hash.0);
    }
    Hash(*hasher.finalize().as_bytes())
}

impl Node {
    /// Stands for all but the path.
    pub fn mark(&self) -> u64 {
        let mut bytes = self.hash.0;
        bytes[0] ^= self.kind;
        u64::from_le_bytes(bytes[..8].try_into().expect("eight of thirty-two bytes"))
    }
}

/// For entries that are a further name of a file: the index of its first one.
fn earlier_names(entries: &[Entry]) -> HashMap<usize, usize> {
    let mut first = HashMap::new();
    let mut earlier = HashMap::new();
    for (index, Entry { metadata, .. }) in entries.iter().enumerate() {
        if metadata.is_file() && metadata.nlink() > 1 {
            let seen = *first.entry((metadata.dev(), metadata.ino())).or_insert(index);
            if seen != index {
                earlier.insert(index, seen);
            }
        }
    }
    earlier
}

/// Indices of entries, with kind and hash.
type Hashed = Vec<(usize, (u8, Hash))>;

/// Kind and hash of every entry; whoever is free takes the next one.
fn hash_all(
    root: &Path,
    entries: &[Entry],
    earlier: &HashMap<usize, usize>,
    threads: NonZeroUsize,
) -> Result<Vec<(u8, Hash)>, FileError> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<Hashed, FileError> {
        let mut done = Vec::new();
        let mut block = vec![0; BLOCK];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(entry) = entries.get(index) else { return Ok(done) };
            let hashed = match earlier.get(&index) {
                Some(first) => (b'=', Hash::of(entries[*first].path.as_os_str().as_bytes())),
                None => hash_entry(&root.join(&entry.path), entry, &mut block)?,
            };
            done.push((index, hashed));
        }
    };
    let workers = threads.get().min(entries.len() / 16 + 1);
    let results: Vec<_> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(work)).collect();
        let own = work();
        others.into_iter().map(|other| other.join().expect("a worker does not panic")).chain([own]).collect()
    });
    let mut hashes = vec![(b'f', Hash([0; 32])); entries.len()];
    for result in results {
        for (index, hashed) in result? {
            hashes[index] = hashed;
        }
    }
    Ok(hashes)
}

fn hash_entry(path: &Path, entry: &Entry, block: &mut [u8]) -> Result<(u8, Hash), FileError> {
    let metadata = &entry.metadata;
    if metadata.is_dir() {
        return Ok((b'f', Hash([0; 32])));
    }
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(|source| FileError::at("read", path, source))?;
        return Ok((b'l', Hash::of(target.as_os_str().as_bytes())));
    }
    if !metadata.is_file() {
        return Err(files::not_a_file(path));
    }
    let kind = if metadata.mode() & 0o111 == 0 { b'r' } else { b'x' };
    Ok((kind, hash_file(path, block)?))
}

/// The hash of a file's content.
pub(super) fn hash_file(path: &Path, block: &mut [u8]) -> Result<Hash, FileError> {
    let read_error = |source| FileError::at("read", path, source);
    let mut file = File::open(path).map_err(read_error)?;
    let mut hasher = blake3::Hasher::new();
    loop {
        match file.read(block) {
            Ok(0) => return Ok(Hash(*hasher.finalize().as_bytes())),
            Ok(length) => hasher.update(&block[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read_error(error)),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn hash(root: &Path, links: HardLinks) -> Hash {
        Listing::of(root, links, NonZeroUsize::new(3).unwrap(), |_| true).unwrap().hash()
    }

    fn sample() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("deep/er")).unwrap();
        for n in 0..100 {
            fs::write(root.join(format!("deep/{n}")), "x".repeat(n)).unwrap();
        }
        fs::write(root.join("large"), vec![7; 3 * BLOCK + 1]).unwrap();
        symlink("large", root.join("link")).unwrap();
        fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff")), "odd").unwrap();
        folder
    }

    #[test]
    fn what_a_package_keeps_counts_and_nothing_else() {
        let (one, other) = (sample(), sample());
        let root = other.path();
        let first = hash(one.path(), HardLinks::Told);
        let same = || hash(root, HardLinks::Told) == first;
        assert!(same());
        File::open(root.join("large")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        fs::set_permissions(root.join("large"), Permissions::from_mode(0o600)).unwrap();
        assert!(same());
        type Change<'a> = &'a dyn Fn(&Path);
        let changes: [(Change<'_>, Change<'_>); 6] = [
            (&|root| fs::write(root.join("deep/5"), "xxxxy").unwrap(), &|root| {
                fs::write(root.join("deep/5"), "xxxxx").unwrap();
            }),
            (
                &|root| fs::set_permissions(root.join("large"), Permissions::from_mode(0o700)).unwrap(),
                &|root| {
                    fs::set_permissions(root.join("large"), Permissions::from_mode(0o600)).unwrap();
                },
            ),
            (&|root| fs::rename(root.join("deep/er"), root.join("deep/e")).unwrap(), &|root| {
                fs::rename(root.join("deep/e"), root.join("deep/er")).unwrap();
            }),
            (
                &|root| {
                    fs::remove_file(root.join("link")).unwrap();
                    symlink("larg", root.join("link")).unwrap();
                },
                &|root| {
                    fs::remove_file(root.join("link")).unwrap();
                    symlink("large", root.join("link")).unwrap();
                },
            ),
            (
                &|root| {
                    fs::remove_file(root.join("link")).unwrap();
                    fs::write(root.join("link"), "large").unwrap();
                },
                &|root| {
                    fs::remove_file(root.join("link")).unwrap();
                    symlink("large", root.join("link")).unwrap();
                },
            ),
            (&|root| fs::write(root.join("new"), "").unwrap(), &|root| {
                fs::remove_file(root.join("new")).unwrap()
            }),
        ];
        for (number, (change, undo)) in changes.iter().enumerate() {
            change(root);
            assert!(!same(), "{number}");
            undo(root);
            assert!(same(), "{number}");
        }
    }

    #[test]
    fn names_of_one_file_are_told_from_copies_where_that_is_wanted() {
        let (one, other) = (sample(), sample());
        fs::copy(one.path().join("large"), one.path().join("second")).unwrap();
        fs::hard_link(other.path().join("large"), other.path().join("second")).unwrap();
        assert_ne!(hash(one.path(), HardLinks::Told), hash(other.path(), HardLinks::Told));
        assert_eq!(hash(one.path(), HardLinks::Ignored), hash(other.path(), HardLinks::Ignored));
    }
}
