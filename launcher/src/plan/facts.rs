//! What of an image's tree a plan is made from, read through the checked reader.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pack_schemas::names::Architecture;
use pack_schemas::squashfs::InodeKind;

use crate::image::{EntryCookie, ImageError, Node, Reader};
use crate::plan::{ImageFacts, SEARCH_FOLDERS, TopEntry};

/// Most names that are taken from one folder; no root folder and no /etc has as many.
const NAMES_MOST: usize = 1024;

/// Reads the facts of an image. Names that are not UTF-8 play no part.
///
/// # Errors
/// [`ImageError`] where the image cannot be read.
pub fn read(reader: &Reader) -> Result<ImageFacts, ImageError> {
    let root = reader.root()?;
    let top = entries(reader, &root)?;
    let [etc, var] = ["etc", "var"].map(|name| match find(reader, name)? {
        Some(folder) if folder.inode.kind() == InodeKind::Directory => entries(reader, &folder),
        _ => Ok(BTreeMap::new()),
    });
    let (etc, var) = (etc?, var?);
    let mut folders = Vec::new();
    for folder in SEARCH_FOLDERS {
        let path = folder.replace("TRIPLET", Architecture::HOST.triplet().unwrap_or_default());
        if find(reader, &path)?.is_some_and(|node| node.inode.kind() == InodeKind::Directory) {
            folders.push((*folder).to_owned());
        }
    }
    Ok(ImageFacts { top, etc, var, folders })
}

/// Looks a path up from the root of an image, following no links; nothing where it is not there.
///
/// # Errors
/// [`ImageError`] where the image cannot be read.
pub fn find(reader: &Reader, path: &str) -> Result<Option<Node>, ImageError> {
    let mut node = reader.root()?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        if node.inode.kind() != InodeKind::Directory {
            return Ok(None);
        }
        match reader.lookup(&node, name.as_bytes())? {
            Some(child) => node = child,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}

fn entries(reader: &Reader, folder: &Node) -> Result<BTreeMap<String, TopEntry>, ImageError> {
    let mut entries = BTreeMap::new();
    for (name, node) in children(reader, folder)? {
        let entry = match node.inode.kind() {
            InodeKind::Directory => TopEntry::Folder,
            InodeKind::Symlink => match reader.read_link(&node)?.map(String::from_utf8) {
                Some(Ok(target)) => TopEntry::Symlink(target),
                _ => TopEntry::Other,
            },
            _ => TopEntry::Other,
        };
        entries.insert(name, entry);
    }
    Ok(entries)
}

fn children(reader: &Reader, folder: &Node) -> Result<Vec<(String, Node)>, ImageError> {
    let mut children = Vec::new();
    let mut failed = None;
    reader.entries(folder, EntryCookie::default(), &mut |entry| {
        if let Ok(name) = std::str::from_utf8(entry.name) {
            match reader.entry_node(folder, entry) {
                Ok(node) => children.push((name.to_owned(), node)),
                Err(error) => failed = Some(error),
            }
        }
        match failed.is_none() && children.len() < NAMES_MOST {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    })?;
    failed.map_or(Ok(children), Err)
}
