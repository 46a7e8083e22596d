//! What two packages differ in: what they say of themselves, and their files.
//!
//! 1. The envelopes are compared as JSON, value by value; what follows from the image (its length, hashes and index) is told
//!    apart, since it differs wherever a file does.
//! 2. Both trees are listed, and compared path by path: kind, mode, target of a link, size, content.
//! 3. Where no file differs and the images do, they were written by other means (encoder, level, block size).
//!
//! Every byte is checked against its package's own index as it is read; signatures are not looked at.

use std::collections::BTreeMap;
use std::sync::Arc;

use pack_launcher::image::{Node, Reader};
use pack_launcher::package::Package;
use pack_schemas::squashfs::{InodeDetail, InodeKind};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::tree::{self, TreeError, Visit};

/// Files are compared in pieces of this many bytes.
const PIECE: usize = 1 << 20;
/// Members of the envelope that follow from the bytes of the image.
const OF_IMAGE: &[&str] = &["image.index-root", "image.length", "image.spans"];

/// What two packages differ in; nothing where they are the same to the last byte, signatures aside.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Differences {
    /// Values of the envelope, by their paths such as `manifest.version`.
    pub envelope: BTreeMap<String, Values>,
    /// Files, folders and links, in the order of their paths' bytes.
    pub files: Vec<FileDifference>,
    /// Whether the images are the same byte by byte.
    pub same_image: bool,
}

/// A value of the envelope in each package; nothing where one has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Values {
    /// In the first.
    pub left: Option<Value>,
    /// In the second.
    pub right: Option<Value>,
}

/// A path at which the packages differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileDifference {
    /// Relative to the root of the image; in JSON, what is not UTF-8 is replaced.
    #[serde(serialize_with = "as_text")]
    pub path: Vec<u8>,
    /// What differs.
    #[serde(flatten)]
    pub change: Change,
}

/// What differs at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Change {
    /// The second package does not have it.
    Removed {
        /// What it is.
        kind: Kind,
        /// Size of a file in bytes, else 0.
        size: u64,
    },
    /// The first package does not have it.
    Added {
        /// What it is.
        kind: Kind,
        /// Size of a file in bytes, else 0.
        size: u64,
    },
    /// It is something else.
    Kind {
        /// In the first package.
        left: Kind,
        /// In the second.
        right: Kind,
    },
    /// The permission bits differ.
    Mode {
        /// In the first package.
        left: u16,
        /// In the second.
        right: u16,
    },
    /// A symbolic link leads elsewhere.
    Target {
        /// In the first package; what is not UTF-8 is replaced.
        left: String,
        /// In the second.
        right: String,
    },
    /// The content differs.
    Content {
        /// Size in the first package, in bytes.
        left: u64,
        /// In the second.
        right: u64,
        /// The first byte that differs, from 0; the shorter size where one is the beginning of the other.
        at: u64,
    },
    /// The number of names differs: one package has hard links where the other has separate files.
    Names {
        /// In the first package.
        left: u32,
        /// In the second.
        right: u32,
    },
}

/// What something in an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// A device node, FIFO or socket, which `pack build` puts into no package.
    Other,
}

/// Why packages cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The first cannot be read.
    #[error("the first package is not in order")]
    Left(#[source] TreeError),
    /// The second cannot be read.
    #[error("the second package is not in order")]
    Right(#[source] TreeError),
}

impl Differences {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.envelope.is_empty() && self.files.is_empty() && self.same_image
    }
}

/// Compares two packages.
///
/// # Errors
/// [`DiffError`] where one of them is damaged or malformed.
pub fn diff(left: &Arc<Package>, right: &Arc<Package>) -> Result<Differences, DiffError> {
    let images = (&left.envelope().image, &right.envelope().image);
    let same_image = images.0.index_root == images.1.index_root && images.0.length == images.1.length;
    let mut envelope = BTreeMap::new();
    compare_values("", to_value(left), to_value(right), &mut envelope);
    envelope.retain(|path, _| !OF_IMAGE.contains(&path.as_str()));
    let files = match same_image {
        // The root of the index stands for every byte.
        true => Vec::new(),
        false => compare_trees(left, right)?,
    };
    Ok(Differences { envelope, files, same_image })
}

fn to_value(package: &Package) -> Option<Value> {
    // What was read from JSON can be written as JSON.
    serde_json::to_value(package.envelope()).ok()
}

/// Notes the places at which two values differ; members of objects are compared one by one.
fn compare_values(
    path: &str,
    left: Option<Value>,
    right: Option<Value>,
    found: &mut BTreeMap<String, Values>,
) {
    match (left, right) {
        (left, right) if left == right => {}
        (Some(Value::Object(left)), Some(Value::Object(mut right))) => {
            let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            for (key, value) in left {
                let other = right.remove(&key);
                compare_values(&below(&key), Some(value), other, found);
            }
            for (key, value) in right {
                compare_values(&below(&key), None, Some(value), found);
            }
        }
        (left, right) => {
            found.insert(path.to_owned(), Values { left, right });
        }
    }
}

/// One image, listed.
struct Side {
    reader: Reader,
    nodes: BTreeMap<Vec<u8>, Node>,
    wrap: fn(TreeError) -> DiffError,
}

impl Side {
    fn list(package: &Arc<Package>, wrap: fn(TreeError) -> DiffError) -> Result<Side, DiffError> {
        let unreadable = |source| wrap(TreeError::Read { path: Vec::new(), source });
        let reader = tree::open(package).map_err(unreadable)?;
        let mut nodes = BTreeMap::new();
        tree::walk(&reader, &mut |visit| -> Result<(), TreeError> {
            if let Visit::Enter { path, node } | Visit::Leaf { path, node } = visit {
                nodes.insert(path.to_vec(), *node);
            }
            Ok(())
        })
        .map_err(wrap)?;
        Ok(Side { reader, nodes, wrap })
    }

    fn read(&self, path: &[u8], node: &Node, at: u64, buffer: &mut [u8]) -> Result<usize, DiffError> {
        let mut filled = 0;
        while filled < buffer.len() {
            let got = self.reader.read(node, at + filled as u64, &mut buffer[filled..]);
            match got.map_err(|source| (self.wrap)(TreeError::Read { path: path.to_vec(), source }))? {
                0 => break,
                count => filled += count,
            }
        }
        Ok(filled)
    }

    fn target(&self, path: &[u8], node: &Node) -> Result<Vec<u8>, DiffError> {
        let target = self.reader.read_link(node);
        let target = target.map_err(|source| (self.wrap)(TreeError::Read { path: path.to_vec(), source }))?;
        Ok(target.unwrap_or_default())
    }
}

fn compare_trees(left: &Arc<Package>, right: &Arc<Package>) -> Result<Vec<FileDifference>, DiffError> {
    let (left, right) = (Side::list(left, DiffError::Left)?, Side::list(right, DiffError::Right)?);
    let mut found = Vec::new();
    for (path, node) in &left.nodes {
        let mut note = |change| found.push(FileDifference { path: path.clone(), change });
        match right.nodes.get(path) {
            None => note(Change::Removed { kind: kind(node), size: size(node) }),
            Some(other) => compare_nodes(path, (&left, node), (&right, other), &mut note)?,
        }
    }
    for (path, node) in right.nodes.iter().filter(|(path, _)| !left.nodes.contains_key(*path)) {
        let change = Change::Added { kind: kind(node), size: size(node) };
        found.push(FileDifference { path: path.clone(), change });
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(found)
}

fn compare_nodes(
    path: &[u8],
    (left_side, left): (&Side, &Node),
    (right_side, right): (&Side, &Node),
    note: &mut dyn FnMut(Change),
) -> Result<(), DiffError> {
    if kind(left) != kind(right) {
        note(Change::Kind { left: kind(left), right: kind(right) });
        return Ok(());
    }
    let modes = (left.inode.mode & 0o7777, right.inode.mode & 0o7777);
    if modes.0 != modes.1 {
        note(Change::Mode { left: modes.0, right: modes.1 });
    }
    match kind(left) {
        Kind::Symlink => {
            let targets = (left_side.target(path, left)?, right_side.target(path, right)?);
            if targets.0 != targets.1 {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                note(Change::Target { left: text(&targets.0), right: text(&targets.1) });
            }
        }
        Kind::File => {
            if let Some(at) = first_difference(path, (left_side, left), (right_side, right))? {
                note(Change::Content { left: size(left), right: size(right), at });
            }
            let names = (left.inode.links, right.inode.links);
            if names.0 != names.1 {
                note(Change::Names { left: names.0, right: names.1 });
            }
        }
        Kind::Folder | Kind::Other => {}
    }
    Ok(())
}

/// The first byte at which two files differ.
fn first_difference(
    path: &[u8],
    (left_side, left): (&Side, &Node),
    (right_side, right): (&Side, &Node),
) -> Result<Option<u64>, DiffError> {
    let (mut one, mut other) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = 0;
    loop {
        let counts =
            (left_side.read(path, left, at, &mut one)?, right_side.read(path, right, at, &mut other)?);
        let common = counts.0.min(counts.1);
        if one[..common] != other[..common] {
            let differs = one[..common].iter().zip(&other[..common]).position(|(one, other)| one != other);
            return Ok(Some(at + differs.unwrap_or(common) as u64));
        }
        if counts.0 != counts.1 {
            return Ok(Some(at + common as u64));
        }
        if common == 0 {
            return Ok(None);
        }
        at += common as u64;
    }
}

fn kind(node: &Node) -> Kind {
    match node.inode.kind() {
        InodeKind::File => Kind::File,
        InodeKind::Directory => Kind::Folder,
        InodeKind::Symlink => Kind::Symlink,
        _ => Kind::Other,
    }
}

fn size(node: &Node) -> u64 {
    match node.inode.detail {
        InodeDetail::File(file) => file.size,
        _ => 0,
    }
}

fn as_text<S: Serializer>(path: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&String::from_utf8_lossy(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_compared_member_by_member() {
        let mut found = BTreeMap::new();
        let left = json!({"a": 1, "b": {"c": [1], "d": "x"}, "only": true});
        let right = json!({"a": 1, "b": {"c": [2], "d": "x", "e": null}});
        compare_values("", Some(left), Some(right), &mut found);
        let paths: Vec<&str> = found.keys().map(String::as_str).collect();
        assert_eq!(paths, ["b.c", "b.e", "only"]);
        assert_eq!(found["only"], Values { left: Some(json!(true)), right: None });
    }
}
