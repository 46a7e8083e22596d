//! Walks the whole tree of a package's image, in constant memory but for what the walk itself stands on.
//!
//! An image may be hostile even where its signature is right. So the walk keeps its own stack, reads a folder in
//! batches, follows no symbolic link, refuses paths longer than Linux can use, and refuses a folder that has two
//! names: of folders that contain one another twice over, a small image can make a tree that has no end in practice.

use std::collections::{HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use pack_launcher::image::{CacheSize, CheckedSource, EntryCookie, ImageError, Node, Reader};
use pack_launcher::package::Package;
use pack_schemas::squashfs::{InodeDetail, InodeKind};
use pack_schemas::text::visible;

/// Longest path in bytes: `PATH_MAX` of Linux less the NUL.
const PATH_LIMIT: usize = 4095;
/// Entries of a folder that are read at once.
const BATCH: usize = 256;

/// Why a tree cannot be walked, or something in it not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// A part of the image cannot be read.
    #[error("cannot read `{}` in the image", visible(&String::from_utf8_lossy(.path)))]
    Read {
        /// The file or folder, relative to the root.
        path: Vec<u8>,
        /// Why.
        source: ImageError,
    },
    /// A folder stands in two places.
    #[error("the folder `{}` in the image has another name too", visible(&String::from_utf8_lossy(.path)))]
    FolderTwice {
        /// The second place, relative to the root.
        path: Vec<u8>,
    },
    /// Folders share their listings, so that there are more entries than the image has room for.
    #[error("the folders of the image list more than there is in it, up to `{}`", visible(&String::from_utf8_lossy(.path)))]
    ListedTwice {
        /// The folder that was too many, relative to the root.
        path: Vec<u8>,
    },
    /// A path is longer than Linux can use.
    #[error("the image has paths of more than {PATH_LIMIT} bytes, such as `{}…`", visible(.beginning))]
    PathTooLong {
        /// Its first characters.
        beginning: String,
    },
}

/// Opens the image of a package, every byte of which is checked against the package's own index as it is read.
/// Whether the index is the publisher's is a question for [`Package::verify`].
///
/// # Errors
/// [`ImageError`] where it has no usable superblock.
pub(crate) fn open(package: &Arc<Package>) -> Result<Reader, ImageError> {
    Reader::open(Arc::new(CheckedSource::new(Arc::clone(package))), CacheSize::default())
}

/// What a walk comes by. Paths are relative to the root, which is the empty path.
#[derive(Debug)]
pub(crate) enum Visit<'a> {
    /// A folder, before anything in it.
    Enter { path: &'a [u8], node: &'a Node },
    /// Anything but a folder.
    Leaf { path: &'a [u8], node: &'a Node },
    /// A folder, after everything in it.
    Leave { path: &'a [u8], node: &'a Node },
}

/// Walks the tree from the root, the entries of every folder in the order of their names' bytes. No folder is visited
/// twice, and no more entries than the image has room for: what a walk costs grows with the image and not faster, however
/// its folders refer to one another.
///
/// # Errors
/// The visitor's, and [`TreeError`] of the walk itself.
pub(crate) fn walk<E: From<TreeError>>(
    reader: &Reader,
    visitor: &mut dyn FnMut(Visit) -> Result<(), E>,
) -> Result<(), E> {
    let root = reader.root().map_err(|source| TreeError::Read { path: Vec::new(), source })?;
    let mut folders = HashSet::from([root.reference]);
    let most = reader.listing_bytes_most();
    let most = most.map_err(|source| TreeError::Read { path: Vec::new(), source })?;
    let mut listed = listing_size(&root);
    let mut path = Vec::new();
    visitor(Visit::Enter { path: &path, node: &root })?;
    let mut stack = vec![Folder::new(root, 0)];
    while let Some(folder) = stack.last_mut() {
        path.truncate(folder.path_length);
        let Some((name, node)) = folder.next(reader, &path)? else {
            visitor(Visit::Leave { path: &path, node: &folder.node })?;
            stack.pop();
            continue;
        };
        push(&mut path, &name)?;
        if node.inode.kind() != InodeKind::Directory {
            visitor(Visit::Leaf { path: &path, node: &node })?;
            continue;
        }
        if !folders.insert(node.reference) {
            return Err(TreeError::FolderTwice { path }.into());
        }
        listed = listed.saturating_add(listing_size(&node));
        if listed > most {
            return Err(TreeError::ListedTwice { path }.into());
        }
        visitor(Visit::Enter { path: &path, node: &node })?;
        stack.push(Folder::new(node, path.len()));
    }
    Ok(())
}

fn listing_size(node: &Node) -> u64 {
    match node.inode.detail {
        InodeDetail::Directory(directory) => directory.size.into(),
        _ => 0,
    }
}

fn push(path: &mut Vec<u8>, name: &[u8]) -> Result<(), TreeError> {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    if path.len() > PATH_LIMIT {
        let beginning = String::from_utf8_lossy(&path[..60]).into_owned();
        return Err(TreeError::PathTooLong { beginning });
    }
    Ok(())
}

/// A folder whose entries are being visited.
struct Folder {
    node: Node,
    path_length: usize,
    batch: VecDeque<(Vec<u8>, Node)>,
    /// Where the batch ends; nothing behind the last.
    rest: Option<EntryCookie>,
}

impl Folder {
    fn new(node: Node, path_length: usize) -> Folder {
        Folder { node, path_length, batch: VecDeque::new(), rest: Some(EntryCookie::START) }
    }

    fn next(&mut self, reader: &Reader, path: &[u8]) -> Result<Option<(Vec<u8>, Node)>, TreeError> {
        if self.batch.is_empty()
            && let Some(from) = self.rest.take()
        {
            self.read_batch(reader, from)
                .map_err(|source| TreeError::Read { path: path.to_vec(), source })?;
        }
        Ok(self.batch.pop_front())
    }

    fn read_batch(&mut self, reader: &Reader, from: EntryCookie) -> Result<(), ImageError> {
        let mut failed = None;
        reader.entries(&self.node, from, &mut |entry| {
            match reader.entry_node(&self.node, entry) {
                Ok(node) => self.batch.push_back((entry.name.to_vec(), node)),
                Err(error) => failed = Some(error),
            }
            if failed.is_none() && self.batch.len() < BATCH {
                return ControlFlow::Continue(());
            }
            self.rest = Some(entry.next);
            ControlFlow::Break(())
        })?;
        failed.map_or(Ok(()), Err)
    }
}
