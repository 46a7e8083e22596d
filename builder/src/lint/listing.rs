//! The files that are looked at: of a folder, or of a package's image without unpacking it.
//!
//! A folder is walked by descriptor: every folder and file is opened beneath the root by openat2(2) with
//! `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS`, so that no link is followed and nothing outside is read, whatever somebody
//! changes meanwhile; FIFOs and devices are never opened. An image is read through the checked reader.
//!
//! Memory is bounded by [`ENTRIES_MOST`]; contents are read in pieces that their readers bound.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pack_launcher::image::{ImageError, Node, Reader};
use pack_launcher::package::Package;
use pack_schemas::facts::{ImageFacts, SEARCH_FOLDERS, TopEntry};
use pack_schemas::names::Architecture;
use pack_schemas::squashfs::{InodeDetail, InodeKind, Reference};
use pack_schemas::text::visible;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RawMode, ResolveFlags};
use rustix::io::Errno;

use crate::tree::{self, TreeError, Visit};

/// Most files, folders and links that are looked at: some 200 MB of memory.
pub const ENTRIES_MOST: usize = 1_000_000;
/// Most faults that are told one by one.
const FAULTS_MOST: usize = 1000;
/// Longest path in bytes that can be used below `/app`: PATH_MAX (limits.h) less the NUL and `/app/`.
const PATH_LIMIT: usize = 4090;
const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// All that is in a tree, in the order of the bytes of the paths.
pub struct Listing {
    entries: Vec<Entry>,
    content: Content,
    /// What could not be listed.
    pub(super) faults: Vec<Fault>,
}

/// Something in a tree.
#[derive(Debug)]
pub struct Entry {
    /// Relative to the root, which is no entry itself.
    pub path: Box<[u8]>,
    /// What it is.
    pub kind: Kind,
    /// Its permissions, with set-uid, set-gid and sticky bit.
    pub mode: u32,
    /// Where it stands in an image.
    reference: Option<Reference>,
}

/// What kind of thing an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file of this many bytes.
    File(u64),
    /// A symbolic link and its target.
    Link(Box<[u8]>),
    /// A device, a FIFO or a socket: which, in words.
    Special(&'static str),
}

/// What could not be listed, and was passed over.
#[derive(Debug)]
pub(super) enum Fault {
    /// A folder or link cannot be read.
    Unreadable { path: Vec<u8>, reason: String },
    /// A path is longer than Linux can use; what is in the folder was not looked at.
    TooLong { path: Vec<u8> },
    /// There are more entries than [`ENTRIES_MOST`].
    TooMany,
}

/// Why a tree cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    /// The folder cannot be opened.
    #[error("cannot open the folder `{}`", visible(&.path.to_string_lossy()))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The image cannot be opened.
    #[error("cannot open the image")]
    Image(#[from] ImageError),
    /// The image cannot be walked.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

enum Content {
    Folder(OwnedFd),
    Image(Box<Reader>),
}

/// A regular file that is open.
pub(super) enum Opened<'a> {
    File(File, u64),
    Image(&'a Reader, Box<Node>, u64),
}

impl Listing {
    /// Lists a folder.
    ///
    /// # Errors
    /// Where the folder itself cannot be opened; what cannot be read in it becomes a finding.
    pub fn of_folder(path: &Path) -> Result<Listing, ListingError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| ListingError::Folder { path: path.to_path_buf(), source: error.into() })?;
        let mut walk = Walk::new(ENTRIES_MOST);
        walk.folder(&root, Vec::new());
        while let Some(path) = walk.left.pop() {
            walk.folder(&root, path);
        }
        Ok(Listing::new(walk, Content::Folder(root)))
    }

    /// Lists the image of a package, every byte of which is checked against the package's index as it is read.
    ///
    /// # Errors
    /// Where the image cannot be walked.
    pub fn of_package(package: &Arc<Package>) -> Result<Listing, ListingError> {
        let reader = tree::open(package)?;
        let mut walk = Walk::new(ENTRIES_MOST);
        tree::walk(&reader, &mut |visit| -> Result<(), ListingError> {
            let (Visit::Enter { path, node } | Visit::Leaf { path, node }) = visit else { return Ok(()) };
            if !path.is_empty() {
                let kind = image_kind(&reader, path, node)?;
                let mode = u32::from(node.inode.mode);
                walk.add(Entry { path: path.into(), kind, mode, reference: Some(node.reference) });
            }
            Ok(())
        })?;
        Ok(Listing::new(walk, Content::Image(Box::new(reader))))
    }

    fn new(walk: Walk, content: Content) -> Listing {
        let Walk { mut entries, faults, .. } = walk;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Listing { entries, content, faults }
    }

    /// Everything in it.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What is at a path; no link is followed, and so nothing found behind one.
    pub fn find(&self, path: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| (*entry.path).cmp(path)).ok()?;
        self.entries.get(at)
    }

    /// What is in a folder, folders in it included, in the order of the paths.
    pub fn below<'a>(&'a self, folder: &[u8]) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let mut prefix = folder.to_vec();
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let from = self.entries.partition_point(|entry| *entry.path < *prefix);
        self.entries[from..].iter().take_while(move |entry| entry.path.starts_with(&prefix))
    }

    /// The names in a folder.
    pub fn names<'a>(&'a self, folder: &[u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let skipped = if folder.is_empty() { 0 } else { folder.len() + 1 };
        self.below(folder).map(move |entry| &entry.path[skipped..]).filter(|rest| !rest.contains(&b'/'))
    }

    /// Reads a regular file from its beginning, at most `most` bytes.
    ///
    /// # Errors
    /// Where it cannot be opened or read.
    pub fn read(&self, entry: &Entry, most: usize) -> io::Result<Vec<u8>> {
        let opened = self.open(entry)?;
        // As long as the file says, which is bounded by `most`.
        let length = usize::try_from(opened.size()).unwrap_or(usize::MAX).min(most);
        let mut bytes = vec![0; length];
        let count = opened.read_up_to(0, &mut bytes)?;
        bytes.truncate(count);
        Ok(bytes)
    }

    pub(super) fn open(&self, entry: &Entry) -> io::Result<Opened<'_>> {
        let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
        match (&self.content, entry.reference) {
            (Content::Folder(root), _) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                if !matches!(entry.kind, Kind::File(_)) {
                    return Err(no_file());
                }
                let file =
                    File::from(rustix::fs::openat2(root, &*entry.path, flags, Mode::empty(), CONFINED)?);
                let metadata = file.metadata()?;
                if !metadata.is_file() {
                    return Err(no_file());
                }
                Ok(Opened::File(file, metadata.len()))
            }
            (Content::Image(reader), Some(reference)) => {
                let node = reader.node(reference).map_err(io::Error::other)?;
                match node.inode.detail {
                    InodeDetail::File(file) => Ok(Opened::Image(reader, Box::new(node), file.size)),
                    _ => Err(no_file()),
                }
            }
            (Content::Image(_), None) => Err(no_file()),
        }
    }

    /// What of the tree decides how the root folder of an app looks, as a launch finds it.
    pub fn facts(&self, architecture: Architecture) -> ImageFacts {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let entries_in = |folder: &[u8]| {
            let named = self.names(folder).filter_map(|name| {
                let path = if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() };
                let entry = match &self.find(&path)?.kind {
                    Kind::Folder => TopEntry::Folder,
                    Kind::Link(target) => text(target).map_or(TopEntry::Other, TopEntry::Symlink),
                    Kind::File(_) | Kind::Special(_) => TopEntry::Other,
                };
                Some((text(name)?, entry))
            });
            named.collect()
        };
        let triplet = architecture.triplet().unwrap_or_default();
        let is_folder = |folder: &&&str| {
            let path = folder.replace("TRIPLET", triplet);
            self.find(path.as_bytes()).is_some_and(|entry| entry.kind == Kind::Folder)
        };
        ImageFacts {
            top: entries_in(b""),
            etc: entries_in(b"etc"),
            var: entries_in(b"var"),
            folders: SEARCH_FOLDERS.iter().filter(is_folder).map(|folder| (*folder).to_owned()).collect(),
        }
    }
}

impl Entry {
    /// The last component of the path.
    pub fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// The folder that it is in; empty at the top.
    pub fn folder(&self) -> &[u8] {
        let at = self.path.iter().rposition(|byte| *byte == b'/');
        at.map_or(&[], |at| &self.path[..at])
    }

    /// Whether it is a regular file that anybody may execute.
    pub fn is_executable(&self) -> bool {
        matches!(self.kind, Kind::File(_)) && self.mode & 0o111 != 0
    }

    /// Its size, where it is a regular file.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File(size) => size,
            _ => 0,
        }
    }
}

impl Opened<'_> {
    pub fn size(&self) -> u64 {
        match self {
            Opened::File(_, size) | Opened::Image(_, _, size) => *size,
        }
    }

    /// Reads as much as there is, up to the length of the buffer.
    pub fn read_up_to(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let at = offset.saturating_add(done as u64);
            let count = match self {
                Opened::File(file, _) => match file.read_at(&mut buffer[done..], at) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read?,
                },
                Opened::Image(reader, node, _) => {
                    reader.read(node, at, &mut buffer[done..]).map_err(io::Error::other)?
                }
            };
            if count == 0 {
                break;
            }
            done += count;
        }
        Ok(done)
    }
}

/// A walk under way.
struct Walk {
    /// Most entries that are kept.
    most: usize,
    entries: Vec<Entry>,
    faults: Vec<Fault>,
    is_full: bool,
    /// Folders that are still to be listed.
    left: Vec<Vec<u8>>,
}

impl Walk {
    fn new(most: usize) -> Walk {
        Walk { most, entries: Vec::new(), faults: Vec::new(), is_full: false, left: Vec::new() }
    }

    fn add(&mut self, entry: Entry) {
        if self.entries.len() < self.most {
            self.entries.push(entry);
        } else if !self.is_full {
            self.is_full = true;
            self.faults.push(Fault::TooMany);
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < FAULTS_MOST {
            self.faults.push(fault);
        }
    }

    fn folder(&mut self, root: &OwnedFd, path: Vec<u8>) {
        if let Err(error) = self.list(root, &path) {
            let reason = io::Error::from(error).to_string();
            self.fault(Fault::Unreadable { path, reason });
        }
    }

    fn list(&mut self, root: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = if path.is_empty() { &b"."[..] } else { path };
        let folder = rustix::fs::openat2(root, opened, flags, Mode::empty(), CONFINED)?;
        for entry in Dir::read_from(&folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            if self.is_full {
                return Ok(());
            }
            let whole = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
            if whole.len() > PATH_LIMIT {
                self.fault(Fault::TooLong { path: whole });
                continue;
            }
            match self.entry(&folder, name, &whole) {
                Ok(entry) => self.add(entry),
                Err(error) => {
                    let reason = io::Error::from(error).to_string();
                    self.fault(Fault::Unreadable { path: whole, reason });
                }
            }
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Entry, Errno> {
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = RawMode::from(stat.st_mode);
        let kind = match FileType::from_raw_mode(mode) {
            FileType::Directory => {
                self.left.push(path.to_vec());
                Kind::Folder
            }
            FileType::RegularFile => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
            FileType::Symlink => {
                Kind::Link(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes().into())
            }
            FileType::Fifo => Kind::Special("a FIFO"),
            FileType::Socket => Kind::Special("a socket"),
            FileType::CharacterDevice | FileType::BlockDevice => Kind::Special("a device node"),
            FileType::Unknown => Kind::Special("neither file, folder nor link"),
        };
        Ok(Entry { path: path.into(), kind, mode: mode & 0o7777, reference: None })
    }
}

fn image_kind(reader: &Reader, path: &[u8], node: &Node) -> Result<Kind, TreeError> {
    let failed = |source| TreeError::Read { path: path.to_vec(), source };
    Ok(match (node.inode.kind(), node.inode.detail) {
        (_, InodeDetail::File(file)) => Kind::File(file.size),
        (InodeKind::Directory, _) => Kind::Folder,
        (InodeKind::Symlink, _) => {
            Kind::Link(reader.read_link(node).map_err(failed)?.unwrap_or_default().into())
        }
        (InodeKind::Fifo, _) => Kind::Special("a FIFO"),
        (InodeKind::Socket, _) => Kind::Special("a socket"),
        _ => Kind::Special("a device node"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_ends_at_its_limit_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..20 {
            std::fs::create_dir_all(folder.path().join(format!("{number}/inner"))).unwrap();
        }
        let root = OwnedFd::from(File::open(folder.path()).unwrap());
        let mut walk = Walk::new(7);
        walk.folder(&root, Vec::new());
        while let Some(path) = walk.left.pop() {
            walk.folder(&root, path);
        }
        assert_eq!(walk.entries.len(), 7);
        // The check `"too-many-files"` tells it.
        assert!(matches!(walk.faults[..], [Fault::TooMany]), "{:?}", walk.faults);
    }
}
