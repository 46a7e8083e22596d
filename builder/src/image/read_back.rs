//! Reads a new image back, and compares all of it with the plan that it was written from, before anybody signs it.
//!
//! libsquashfs, which shares nothing with the writer, reads every name, type, mode, time and target and the content of every
//! file, which has to have the digest that it had when it was read for the image: the digest is made of the hashes of
//! blocks before they are compressed or taken from the store. Files are shared out among threads, each with an archive of its
//! own.
//!
//! The library's Rust crate does not tell link counts and owners, and cannot go through names that are not UTF-8: it tells
//! the name, which is compared, and gives nothing of the entry. The launcher's own reader, which is what will read the image
//! later, compares link counts and owners of everything, and all the rest of such entries and what is below them.

use std::fs::File;
use std::io::{self, Read};
use std::ops::{ControlFlow, Range};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::thread;

use pack_launcher::image::{CacheSize, EntryCookie, ImageError, Node as OurNode, RawSource, Reader};
use pack_schemas::names::Hash;
use pack_schemas::squashfs::{InodeDetail, InodeKind};
use pack_schemas::text::visible;
use squashfs_ng::SquashfsError;
use squashfs_ng::read::{Archive, Data, Dir, Node};

use super::digest::{Digest, is_zero};
use super::plan::{Kind, Leaf, LeafKind, Plan};
use super::{Options, Written};

/// Most threads: each walks all folders.
const THREADS_MOST: usize = 8;
/// Their stack: the walk calls itself for each folder in a folder, of which a path has at most 2048.
const STACK_SIZE: usize = 32 << 20;
/// A file is read in pieces of about so many bytes.
const PIECE: usize = 1 << 20;

/// What is wrong with a new image.
#[derive(Debug, thiserror::Error)]
pub enum ReadBackError {
    /// The image holds something else than it was to hold.
    #[error("the image was written wrongly: {what} of `{}`", visible(&String::from_utf8_lossy(.path)))]
    Differs {
        /// The path inside of the image.
        path: Vec<u8>,
        /// What is not as it was to be, such as `the content`.
        what: &'static str,
    },
    /// libsquashfs cannot read it.
    #[error("the image was written wrongly: libsquashfs cannot read `{}`", visible(&String::from_utf8_lossy(.path)))]
    Library {
        /// The path inside of the image.
        path: Vec<u8>,
        /// Its answer.
        source: SquashfsError,
    },
    /// Our own reader cannot read it.
    #[error("the image was written wrongly: `{}` cannot be read", visible(&String::from_utf8_lossy(.path)))]
    Ours {
        /// The path inside of the image.
        path: Vec<u8>,
        /// Its answer.
        source: ImageError,
    },
    /// There is no thread to read with.
    #[error("cannot read the new image")]
    Thread(#[source] io::Error),
}

/// Reads back the image that `file` begins with, and compares it with its plan. The file is opened once more through
/// `/proc/self/fd`, so it needs no name.
///
/// # Errors
/// [`ReadBackError`] of one of the entries that are wrong.
pub fn read_back(
    plan: &Plan,
    written: &Written,
    file: &File,
    options: &Options<'_>,
) -> Result<(), ReadBackError> {
    let threads = options.parallel.get().min(THREADS_MOST);
    let shares = shares(plan, threads);
    let expected = Expected { plan, written, options };
    thread::scope(|scope| {
        let mut others = Vec::with_capacity(threads);
        for number in 0..threads {
            let (expected, shares) = (&expected, &shares);
            let work = move || Library::new(expected, shares, number).compare(file);
            let thread = thread::Builder::new().stack_size(STACK_SIZE).spawn_scoped(scope, work);
            others.push(thread.map_err(ReadBackError::Thread)?);
        }
        let ours = Ours { expected: &expected }.compare(file, written.length);
        for other in others {
            match other.join() {
                Ok(result) => result?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        ours
    })
}

/// For each leaf, the thread that reads it: each file goes to the one that has least to read.
fn shares(plan: &Plan, threads: usize) -> Vec<u8> {
    let mut loads = vec![0_u64; threads];
    let least = |leaf: &Leaf| {
        let share = (0..threads).min_by_key(|&share| loads[share]).unwrap_or_default();
        // Opening one costs about as much as reading so much.
        loads[share] = loads[share].saturating_add(leaf.size()).saturating_add(4096);
        // At most THREADS_MOST.
        share as u8
    };
    plan.leaves().iter().map(least).collect()
}

/// What the image is to hold.
struct Expected<'a> {
    plan: &'a Plan,
    written: &'a Written,
    options: &'a Options<'a>,
}

impl Expected<'_> {
    fn path(&self, entry: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = entry;
        while at != 0 {
            names.push(self.plan.name(at));
            at = self.plan.parent(at);
        }
        names.reverse();
        names.join(&b'/')
    }

    fn differs(&self, entry: u32, what: &'static str) -> ReadBackError {
        ReadBackError::Differs { path: self.path(entry), what }
    }

    fn equal<T: PartialEq>(
        &self,
        entry: u32,
        what: &'static str,
        found: T,
        wanted: T,
    ) -> Result<(), ReadBackError> {
        match found == wanted {
            true => Ok(()),
            false => Err(self.differs(entry, what)),
        }
    }

    fn mode(&self, entry: u32) -> u16 {
        match self.plan.entry(entry).kind {
            Kind::Folder { .. } => 0o755,
            Kind::Leaf(leaf) => self.plan.leaves()[leaf as usize].mode(),
        }
    }
}

/// The digest of content that is given block by block.
fn digest(bytes: &[u8], block_size: u32, digest: &mut Digest) {
    for block in bytes.chunks(block_size as usize) {
        match is_zero(block) {
            true => digest.holes(1),
            false => digest.block(&Hash::of(block)),
        }
    }
}

/// Compares with what libsquashfs reads.
struct Library<'a> {
    expected: &'a Expected<'a>,
    shares: &'a [u8],
    share: usize,
    /// The inode number of each leaf, 0 before it was met; and whether a number was met.
    numbers: Vec<u32>,
    met: Vec<bool>,
    buffer: Vec<u8>,
}

impl<'a> Library<'a> {
    fn new(expected: &'a Expected<'a>, shares: &'a [u8], share: usize) -> Library<'a> {
        // A whole number of blocks, which are powers of two.
        let size = PIECE.max(expected.options.block_size as usize);
        let leaves = if share == 0 { shares.len() } else { 0 };
        Library { expected, shares, share, numbers: vec![0; leaves], met: Vec::new(), buffer: vec![0; size] }
    }

    /// The first thread compares everything but content; each reads the files of its share.
    fn is_first(&self) -> bool {
        self.share == 0
    }

    fn compare(&mut self, file: &File) -> Result<(), ReadBackError> {
        let failed = |source| ReadBackError::Library { path: Vec::new(), source };
        let archive = Archive::open(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(failed)?;
        let inodes = archive.size();
        let wanted = self.expected.plan.folders().count() + self.expected.plan.leaves().len();
        self.expected.equal(0, "the number of inodes", inodes as usize, wanted)?;
        self.met = vec![false; inodes as usize + 1];
        let root = archive.get_exists("/").map_err(failed)?;
        self.entry(0, &root)
    }

    fn entry(&mut self, entry: u32, node: &Node<'_>) -> Result<(), ReadBackError> {
        let failed = |source| ReadBackError::Library { path: self.expected.path(entry), source };
        let kind = self.expected.plan.entry(entry).kind;
        if self.is_first() {
            self.expected.equal(entry, "the mode", node.mode() & 0o7777, self.expected.mode(entry))?;
            self.expected.equal(entry, "the time", node.mtime(), self.expected.options.epoch)?;
            self.number(entry, kind, node.id())?;
        }
        let leaf = match kind {
            Kind::Folder { first, count } => {
                return match node.data().map_err(failed)? {
                    Data::Dir(mut listing) => self.folder(entry, first..first + count, &mut listing),
                    _ => Err(self.expected.differs(entry, "the type")),
                };
            }
            Kind::Leaf(leaf) => leaf as usize,
        };
        let reads =
            usize::from(self.shares[leaf]) == self.share && self.expected.plan.leaves()[leaf].entry == entry;
        if !reads && !self.is_first() {
            return Ok(());
        }
        match (self.expected.plan.leaves()[leaf].kind, node.data().map_err(failed)?) {
            (LeafKind::File { size, .. }, Data::File(mut content)) => {
                self.expected.equal(entry, "the size", content.size(), size)?;
                match reads {
                    true => self.content(entry, leaf, size, &mut content),
                    false => Ok(()),
                }
            }
            (LeafKind::Symlink { target }, Data::Symlink(found)) => {
                // The crate gives what is not UTF-8 with replacement characters; those of our reader are compared too.
                let wanted = String::from_utf8_lossy(self.expected.plan.text(target));
                self.expected.equal(entry, "the target", found.as_os_str(), wanted.as_ref().as_ref())
            }
            _ => Err(self.expected.differs(entry, "the type")),
        }
    }

    /// One inode has one number, and no other has it.
    fn number(&mut self, entry: u32, kind: Kind, number: u32) -> Result<(), ReadBackError> {
        let wrong = || self.expected.differs(entry, "the inode number");
        if let Kind::Leaf(leaf) = kind {
            let known = &mut self.numbers[leaf as usize];
            if *known != 0 {
                return if *known == number { Ok(()) } else { Err(wrong()) };
            }
            *known = number;
        }
        match self.met.get_mut(number as usize) {
            Some(met) if !*met && number > 0 => {
                *met = true;
                Ok(())
            }
            _ => Err(wrong()),
        }
    }

    fn folder(
        &mut self,
        folder: u32,
        children: Range<u32>,
        listing: &mut Dir<'_>,
    ) -> Result<(), ReadBackError> {
        for child in children {
            let name = self.expected.plan.name(child);
            match listing.next() {
                None => return Err(self.expected.differs(child, "the name")),
                Some(Ok(node)) => {
                    let found = node.name().unwrap_or_default();
                    self.expected.equal(child, "the name", found.as_bytes(), name)?;
                    self.entry(child, &node)?;
                }
                Some(Err(SquashfsError::Utf8(error))) => {
                    self.expected.equal(child, "the name", error.as_bytes(), name)?;
                }
                Some(Err(source)) => {
                    return Err(ReadBackError::Library { path: self.expected.path(child), source });
                }
            }
        }
        match listing.next() {
            None => Ok(()),
            Some(_) => Err(self.expected.differs(folder, "the number of names")),
        }
    }

    fn content(
        &mut self,
        entry: u32,
        leaf: usize,
        size: u64,
        content: &mut impl Read,
    ) -> Result<(), ReadBackError> {
        let mut found = Digest::default();
        let mut rest = size;
        while rest > 0 {
            let length = usize::try_from(rest).unwrap_or(usize::MAX).min(self.buffer.len());
            let piece = &mut self.buffer[..length];
            content.read_exact(piece).map_err(|source| ReadBackError::Library {
                path: self.expected.path(entry),
                source: source.into(),
            })?;
            digest(piece, self.expected.options.block_size, &mut found);
            rest -= length as u64;
        }
        self.expected.equal(
            entry,
            "the content",
            found.finish(size),
            self.expected.written.content.digest(leaf),
        )
    }
}

/// Compares with what the launcher's reader reads.
struct Ours<'a> {
    expected: &'a Expected<'a>,
}

impl Ours<'_> {
    fn compare(&self, file: &File, length: u64) -> Result<(), ReadBackError> {
        let failed = |source| ReadBackError::Ours { path: Vec::new(), source };
        let file = file.try_clone().map_err(ReadBackError::Thread)?;
        let source = Arc::new(RawSource::new(file, length));
        let reader = Reader::open(source, CacheSize { bytes: 4 << 20 }).map_err(failed)?;
        let root = reader.root().map_err(failed)?;
        self.inode(&reader, 0, &root)?;
        // Folders that are to be listed, and whether libsquashfs cannot come to them.
        let mut waiting = vec![(0, root, false)];
        while let Some((folder, node, hidden)) = waiting.pop() {
            self.folder(&reader, folder, &node, hidden, &mut waiting)?;
        }
        Ok(())
    }

    fn folder(
        &self,
        reader: &Reader,
        folder: u32,
        node: &OurNode,
        hidden: bool,
        waiting: &mut Vec<(u32, OurNode, bool)>,
    ) -> Result<(), ReadBackError> {
        let expected = self.expected;
        let Kind::Folder { first, count } = expected.plan.entry(folder).kind else { return Ok(()) };
        let mut children = first..first + count;
        let mut result = Ok(());
        let mut compare = |entry: &pack_launcher::image::Entry<'_>| {
            let child = children.next().ok_or_else(|| expected.differs(folder, "the number of names"))?;
            let name = expected.plan.name(child);
            expected.equal(child, "the name", entry.name, name)?;
            let found = reader.entry_node(node, entry);
            let found = found.map_err(|source| ReadBackError::Ours { path: expected.path(child), source })?;
            self.inode(reader, child, &found)?;
            let hidden = hidden || std::str::from_utf8(name).is_err();
            match expected.plan.entry(child).kind {
                Kind::Folder { .. } => waiting.push((child, found, hidden)),
                Kind::Leaf(leaf) if hidden => self.content(reader, child, leaf as usize, &found)?,
                Kind::Leaf(_) => {}
            }
            Ok(())
        };
        let listed = reader.entries(node, EntryCookie::START, &mut |entry| match compare(entry) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                result = Err(error);
                ControlFlow::Break(())
            }
        });
        result?;
        listed.map_err(|source| ReadBackError::Ours { path: expected.path(folder), source })?;
        match children.next() {
            None => Ok(()),
            Some(child) => Err(expected.differs(child, "the name")),
        }
    }

    fn inode(&self, reader: &Reader, entry: u32, node: &OurNode) -> Result<(), ReadBackError> {
        let expected = self.expected;
        let failed = |source| ReadBackError::Ours { path: expected.path(entry), source };
        let inode = &node.inode;
        expected.equal(entry, "the mode", inode.mode, expected.mode(entry))?;
        expected.equal(entry, "the time", inode.modified, expected.options.epoch)?;
        expected.equal(entry, "the owner", reader.owner(node).map_err(failed)?, (0, 0))?;
        expected.equal(entry, "the attributes", inode.attributes, None)?;
        let leaf = match expected.plan.entry(entry).kind {
            Kind::Folder { .. } => {
                return expected.equal(entry, "the type", inode.kind(), InodeKind::Directory);
            }
            Kind::Leaf(leaf) => &expected.plan.leaves()[leaf as usize],
        };
        expected.equal(entry, "the number of links", inode.links, leaf.links)?;
        match (leaf.kind, inode.detail) {
            (LeafKind::File { size, .. }, InodeDetail::File(file)) => {
                expected.equal(entry, "the size", file.size, size)
            }
            (LeafKind::Symlink { target }, InodeDetail::Symlink { .. }) => {
                let found = reader.read_link(node).map_err(failed)?;
                expected.equal(entry, "the target", found.as_deref(), Some(expected.plan.text(target)))
            }
            _ => Err(expected.differs(entry, "the type")),
        }
    }

    /// The content of a file that libsquashfs cannot come to.
    fn content(&self, reader: &Reader, entry: u32, leaf: usize, node: &OurNode) -> Result<(), ReadBackError> {
        let expected = self.expected;
        let LeafKind::File { size, .. } = expected.plan.leaves()[leaf].kind else { return Ok(()) };
        if expected.plan.leaves()[leaf].entry != entry {
            return Ok(());
        }
        let mut buffer = vec![0; expected.options.block_size as usize];
        let mut found = Digest::default();
        let mut offset = 0;
        while offset < size {
            let mut filled = 0;
            let length = (size - offset).min(buffer.len() as u64) as usize;
            while filled < length {
                let count = reader.read(node, offset + filled as u64, &mut buffer[filled..length]);
                match count.map_err(|source| ReadBackError::Ours { path: expected.path(entry), source })? {
                    0 => return Err(expected.differs(entry, "the content")),
                    count => filled += count,
                }
            }
            digest(&buffer[..length], expected.options.block_size, &mut found);
            offset += length as u64;
        }
        expected.equal(entry, "the content", found.finish(size), expected.written.content.digest(leaf))
    }
}
