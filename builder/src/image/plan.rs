//! What an image will hold: the tree of a folder, in the order in which the image will have it.
//!
//! A folder is listed whole, its names in the order of their bytes whatever the locale, and then each folder in it, so that
//! the files of one folder lie beside one another in the image. Names are bytes. Names of one inode (hard links) become
//! names of one leaf, which counts those that lie in the tree. Memory: some 60 bytes and the name for each entry.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pack_schemas::squashfs::{SYMLINK_LIMIT, check_name};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};

use super::ImageError;

/// What an image will hold.
#[derive(Debug)]
pub struct Plan {
    root: PathBuf,
    /// All names and targets, one behind the other.
    texts: Vec<u8>,
    /// The root folder comes first; the entries of a folder lie beside one another, sorted, behind their folder.
    entries: Vec<Entry>,
    /// Inodes of all that is no folder, in the order of their first names.
    leaves: Vec<Leaf>,
    total_bytes: u64,
}

/// A name in a folder, or the root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    name: Text,
    /// The entry of its folder; the root's is itself.
    parent: u32,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A folder, with its entries.
    Folder { first: u32, count: u32 },
    /// One of the leaves.
    Leaf(u32),
}

/// An inode that is no folder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf {
    /// Its first name.
    pub(super) entry: u32,
    /// How many names it has in the tree.
    pub(super) links: u32,
    pub(super) kind: LeafKind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum LeafKind {
    File { size: u64, executable: bool },
    Symlink { target: Text },
}

/// A name or target, as a place in the plan's texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    start: u32,
    length: u16,
}

impl Plan {
    /// Walks a folder.
    ///
    /// # Errors
    /// The first entry, in the order of the walk, that cannot be read or that a package cannot hold.
    pub fn of(root: &Path) -> Result<Plan, ImageError> {
        let mut walk = Walk { plan: Plan::empty(root), linked: HashMap::new() };
        let mut waiting = vec![0];
        while let Some(folder) = waiting.pop() {
            let children = walk.list(folder)?;
            let is_folder =
                |entry: &u32| matches!(walk.plan.entries[*entry as usize].kind, Kind::Folder { .. });
            waiting.extend(children.rev().filter(is_folder));
        }
        Ok(walk.plan)
    }

    fn empty(root: &Path) -> Plan {
        let kind = Kind::Folder { first: 0, count: 0 };
        let entries = vec![Entry { name: Text { start: 0, length: 0 }, parent: 0, kind }];
        Plan { root: root.to_path_buf(), texts: Vec::new(), entries, leaves: Vec::new(), total_bytes: 0 }
    }

    /// Number of files, folders and symbolic links, the root folder included; each name of a file counts.
    pub fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes of content of all files; a file with several names counts once.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    pub(super) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    pub(super) fn entry(&self, number: u32) -> &Entry {
        &self.entries[number as usize]
    }

    /// Numbers of all folders with their entries, each folder before those in it.
    pub(super) fn folders(&self) -> impl DoubleEndedIterator<Item = (u32, Range<u32>)> + '_ {
        self.entries.iter().enumerate().filter_map(|(number, entry)| match entry.kind {
            // There are fewer than 2³² entries.
            Kind::Folder { first, count } => Some((number as u32, first..first + count)),
            Kind::Leaf(_) => None,
        })
    }

    pub(super) fn text(&self, text: Text) -> &[u8] {
        &self.texts[text.start as usize..][..usize::from(text.length)]
    }

    pub(super) fn name(&self, entry: u32) -> &[u8] {
        self.text(self.entry(entry).name)
    }

    pub(super) fn parent(&self, entry: u32) -> u32 {
        self.entry(entry).parent
    }

    /// The path of an entry on disk.
    pub(super) fn path(&self, entry: u32) -> PathBuf {
        let mut names = Vec::new();
        let mut at = entry;
        while at != 0 {
            names.push(OsStr::from_bytes(self.name(at)));
            at = self.parent(at);
        }
        // The root alone keeps its spelling; `join` of nothing would add a slash.
        match names.is_empty() {
            true => self.root.clone(),
            false => self.root.join(names.into_iter().rev().collect::<PathBuf>()),
        }
    }

    /// Opens a folder of the tree. What was a folder may be a symbolic link by now, which is not followed; the root may be one.
    pub(super) fn open_folder(&self, entry: u32) -> io::Result<OwnedFd> {
        let follow = if entry == 0 { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        Ok(rustix::fs::open(self.path(entry), flags, Mode::empty())?)
    }

    /// Opens a file of an open folder. It may be a FIFO by now, which must not block, or a symbolic link.
    pub(super) fn open_file(&self, folder: &OwnedFd, entry: u32) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(folder, self.name(entry), flags, Mode::empty())?.into())
    }
}

impl Leaf {
    pub(super) fn mode(&self) -> u16 {
        match self.kind {
            LeafKind::File { executable: true, .. } => 0o755,
            LeafKind::File { executable: false, .. } => 0o644,
            LeafKind::Symlink { .. } => 0o777,
        }
    }

    /// Bytes of a file; nothing of a link.
    pub(super) fn size(&self) -> u64 {
        match self.kind {
            LeafKind::File { size, .. } => size,
            LeafKind::Symlink { .. } => 0,
        }
    }
}

struct Walk {
    plan: Plan,
    /// Leaves that have several names, by device and inode.
    linked: HashMap<(u64, u64), u32>,
}

impl Walk {
    /// Lists a folder, and returns its entries.
    fn list(&mut self, folder: u32) -> Result<Range<u32>, ImageError> {
        let failed = |path: PathBuf| move |source: io::Error| ImageError::List { path, source };
        let path = self.plan.path(folder);
        let descriptor = self.plan.open_folder(folder).map_err(failed(path.clone()))?;
        let names = self.names(&descriptor, folder).map_err(failed(path))??;
        let first = self.next_number(folder)?;
        for name in names {
            let number = self.next_number(folder)?;
            let kind = Kind::Folder { first: 0, count: 0 };
            self.plan.entries.push(Entry { name, parent: folder, kind });
            self.plan.entries[number as usize].kind = self.look_at(&descriptor, number)?;
        }
        let end = self.next_number(folder)?;
        self.plan.entries[folder as usize].kind = Kind::Folder { first, count: end - first };
        Ok(first..end)
    }

    /// The number of the next entry. One number is never given, so that all inodes can be counted in 32 bits.
    fn next_number(&self, folder: u32) -> Result<u32, ImageError> {
        let number = u32::try_from(self.plan.entries.len()).ok().filter(|&number| number < u32::MAX - 1);
        number.ok_or_else(|| self.too_large(folder, "more entries than an image can number"))
    }

    /// The names in a folder, sorted.
    fn names(&mut self, folder: &OwnedFd, entry: u32) -> io::Result<Result<Vec<Text>, ImageError>> {
        let mut names = Vec::new();
        for found in Dir::read_from(folder)? {
            let found = found?;
            let name = found.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            // A file system of another kind could have longer ones than Linux.
            if check_name(name).is_err() {
                return Ok(Err(self.too_large(entry, "a name longer than 255 bytes")));
            }
            match self.keep(name) {
                Some(text) => names.push(text),
                None => return Ok(Err(self.too_large(entry, "more names than fit 4 GiB"))),
            }
        }
        names.sort_unstable_by(|&a, &b| self.plan.text(a).cmp(self.plan.text(b)));
        Ok(Ok(names))
    }

    fn keep(&mut self, text: &[u8]) -> Option<Text> {
        let start = u32::try_from(self.plan.texts.len()).ok()?;
        self.plan.texts.extend_from_slice(text);
        Some(Text { start, length: u16::try_from(text.len()).ok()? })
    }

    fn look_at(&mut self, folder: &OwnedFd, number: u32) -> Result<Kind, ImageError> {
        let stat = rustix::fs::statat(folder, self.plan.name(number), AtFlags::SYMLINK_NOFOLLOW);
        let stat =
            stat.map_err(|error| ImageError::List { path: self.plan.path(number), source: error.into() })?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if file_type == FileType::Directory {
            return Ok(Kind::Folder { first: 0, count: 0 });
        }
        if stat.st_nlink > 1
            && let Some(&leaf) = self.linked.get(&(stat.st_dev, stat.st_ino))
        {
            self.plan.leaves[leaf as usize].links += 1;
            return Ok(Kind::Leaf(leaf));
        }
        let kind = self.leaf_kind(folder, number, file_type, &stat)?;
        // There are no more leaves than entries.
        let leaf = self.plan.leaves.len() as u32;
        self.plan.leaves.push(Leaf { entry: number, links: 1, kind });
        if stat.st_nlink > 1 {
            self.linked.insert((stat.st_dev, stat.st_ino), leaf);
        }
        Ok(Kind::Leaf(leaf))
    }

    fn leaf_kind(
        &mut self,
        folder: &OwnedFd,
        number: u32,
        file_type: FileType,
        stat: &Stat,
    ) -> Result<LeafKind, ImageError> {
        let kind = match file_type {
            FileType::RegularFile => {
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                self.plan.total_bytes = self.plan.total_bytes.saturating_add(size);
                return Ok(LeafKind::File { size, executable: stat.st_mode & 0o111 != 0 });
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(folder, self.plan.name(number), Vec::new());
                let target = target.map_err(|error| ImageError::Read {
                    path: self.plan.path(number),
                    source: error.into(),
                })?;
                let target = target.to_bytes();
                if target.is_empty() || target.len() > SYMLINK_LIMIT as usize {
                    return Err(self.too_large(number, "a target longer than a path can be"));
                }
                return match self.keep(target) {
                    Some(target) => Ok(LeafKind::Symlink { target }),
                    None => Err(self.too_large(number, "more names than fit 4 GiB")),
                };
            }
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::BlockDevice | FileType::CharacterDevice => "a device node",
            _ => "neither file, folder nor symbolic link",
        };
        Err(ImageError::Special { path: self.plan.path(number), kind })
    }

    fn too_large(&self, entry: u32, what: &'static str) -> ImageError {
        ImageError::TooLarge { path: self.plan.path(entry), what }
    }
}
