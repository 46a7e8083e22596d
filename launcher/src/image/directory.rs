//! Folders: looking up one name, and listing from any entry on.

use std::cmp::Ordering;
use std::ops::ControlFlow;

use pack_schemas::squashfs::{
    DIRECTORY_ENTRY_SIZE, DIRECTORY_HEADER_SIZE, Directory, DirectoryEntry, DirectoryHeader,
    DirectoryIndexEntry, InodeDetail, InodeKind, METADATA_HEADER_SIZE, METADATA_SIZE, MetadataHeader,
    NAME_LIMIT, Reference,
};

use super::metadata::{Cursor, Place, Stretch};
use super::{ImageError, Node, Reader};

/// An entry of a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its inode.
    pub reference: Reference,
    /// Its inode number.
    pub number: u32,
    /// What it is, by the folder's word; [`Reader::entry_node`] checks it against the inode's.
    pub kind: InodeKind,
    /// Its name: one component of a path, nothing else.
    pub name: &'a [u8],
    /// Where a listing goes on behind it.
    pub next: EntryCookie,
}

/// A place in the listing of a folder: the offset of a run of entries, and the number of an entry in it. Never changes,
/// since the image does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EntryCookie(u64);

impl EntryCookie {
    /// Before the first entry.
    pub const START: EntryCookie = EntryCookie(0);
    /// A run has at most 256 entries; its number takes this many bits.
    const NUMBER_BITS: u32 = 9;

    fn new(run: u32, number: u32) -> EntryCookie {
        EntryCookie(u64::from(run) << Self::NUMBER_BITS | u64::from(number))
    }

    /// The cookie as a number, less than 2⁴¹.
    pub fn to_raw(self) -> u64 {
        self.0
    }

    /// The cookie of a number; one that was never given out is found out when it is used.
    pub fn from_raw(raw: u64) -> EntryCookie {
        EntryCookie(raw)
    }

    /// Nothing for a number that cannot be a cookie.
    fn parts(self) -> Option<(u32, u32)> {
        let number = (self.0 & ((1 << Self::NUMBER_BITS) - 1)) as u32;
        Some((u32::try_from(self.0 >> Self::NUMBER_BITS).ok()?, number))
    }
}

/// Bytes that hold any entry.
const ENTRY_MOST: usize = DIRECTORY_ENTRY_SIZE + NAME_LIMIT;

/// Where a run of entries begins.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// Offset in the listing.
    at: u32,
    /// Its metadata block, counted from the start of the directory table.
    block: u32,
    /// Offset in the contents of that block.
    offset: usize,
}

impl Run {
    fn first(directory: &Directory) -> Run {
        Run { at: 0, block: directory.block, offset: usize::from(directory.offset) }
    }

    fn indexed(directory: &Directory, entry: &DirectoryIndexEntry) -> Run {
        let offset = (entry.listing_offset as usize + usize::from(directory.offset)) % METADATA_SIZE;
        Run { at: entry.listing_offset, block: entry.block, offset }
    }
}

impl Reader {
    /// Looks a name up in a folder. Nothing where it is not there, or `node` is no folder.
    ///
    /// # Errors
    /// [`ImageError`] where the folder cannot be read or is malformed.
    pub fn lookup(&self, node: &Node, name: &[u8]) -> Result<Option<Node>, ImageError> {
        let InodeDetail::Directory(directory) = node.inode.detail else { return Ok(None) };
        let run = self.last_run(node, &directory, |first| first <= name)?;
        let Some(mut listing) = self.listing(&directory, run)? else { return Ok(None) };
        let mut found = None;
        listing.entries(0, &mut |entry| match entry.name.cmp(name) {
            Ordering::Less => ControlFlow::Continue(()),
            Ordering::Equal => {
                found = Some((entry.reference, entry.kind));
                ControlFlow::Break(())
            }
            Ordering::Greater => ControlFlow::Break(()),
        })?;
        found.map(|(reference, kind)| self.checked_entry(node, reference, kind)).transpose()
    }

    /// Lists a folder from `from` on, in the order of the names' bytes, until `visit` breaks. Nothing is listed where
    /// `node` is no folder. `.` and `..` are not part of the listing.
    ///
    /// # Errors
    /// [`ImageError`] where the folder cannot be read or is malformed (a name out of order is), or `from` is no place
    /// of it; entries that came before have been visited then.
    pub fn entries(
        &self,
        node: &Node,
        from: EntryCookie,
        visit: &mut dyn FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), ImageError> {
        let InodeDetail::Directory(directory) = node.inode.detail else { return Ok(()) };
        let unknown = ImageError::malformed(node.tail.block, "directory", "there is no such place in it");
        let (run, number) = from.parts().ok_or(unknown)?;
        if run > directory.size {
            return Err(unknown);
        }
        let start = self.run_before(node, &directory, run)?;
        let Some(mut listing) = self.listing(&directory, start)? else { return Ok(()) };
        listing.skip_to(run)?;
        listing.entries(number, visit)
    }

    /// Most bytes that the listings of all folders have together, if none shares bytes with another, as every known
    /// writer has it: what the blocks of their table hold. A walk that has listed more is in an image that was made to
    /// keep it busy. Reads the header of each of those blocks.
    ///
    /// # Errors
    /// [`ImageError`] where the blocks do not follow one another.
    pub fn listing_bytes_most(&self) -> Result<u64, ImageError> {
        let (mut offset, mut blocks) = (self.superblock.directory_table, 0_u64);
        // The blocks of other tables may follow, up to the first list.
        while offset < self.superblock.directory_table_limit() {
            let mut header = [0; METADATA_HEADER_SIZE];
            self.blocks.source().read_exact(offset, &mut header)?;
            let header =
                MetadataHeader::parse(header).map_err(|error| ImageError::Format { offset, error })?;
            // What was read lies in the image.
            offset += header.disk_size();
            blocks += 1;
        }
        Ok(blocks.saturating_mul(METADATA_SIZE as u64))
    }

    /// Reads the inode of an entry of the folder `parent`.
    ///
    /// # Errors
    /// [`ImageError`] where there is none, it is of another type than the entry says, or it is a folder that stands
    /// behind `parent`: a loop could only be made of such.
    pub fn entry_node(&self, parent: &Node, entry: &Entry<'_>) -> Result<Node, ImageError> {
        self.checked_entry(parent, entry.reference, entry.kind)
    }

    /// Whether [`Reader::entry_node`] would find the inode in memory, mostly: its block may be gone a moment later, and an
    /// inode can reach into the next one.
    pub fn has_at_hand(&self, entry: &Entry<'_>) -> bool {
        self.blocks.holds_metadata(self.inodes().start.saturating_add(entry.reference.block))
    }

    fn checked_entry(
        &self,
        parent: &Node,
        reference: Reference,
        kind: InodeKind,
    ) -> Result<Node, ImageError> {
        let node = self.node(reference)?;
        let malformed = |rule| ImageError::malformed(node.tail.block, "directory", rule);
        if node.inode.kind() != kind {
            return Err(malformed("an entry is of another type than its inode"));
        }
        if kind == InodeKind::Directory && reference >= parent.reference {
            return Err(malformed("a folder contains one that was written after it"));
        }
        Ok(node)
    }

    /// Nothing for an empty folder: it has no listing, and its inode may point to where none is.
    fn listing(&self, directory: &Directory, run: Run) -> Result<Option<Listing<'_>>, ImageError> {
        if directory.size == 0 {
            return Ok(None);
        }
        let start = self.superblock.directory_table;
        let table = Stretch { start, end: self.superblock.directory_table_limit() };
        // Both are less than 2⁶³: the table lies in a file.
        let place = Place { block: start + u64::from(run.block), offset: run.offset };
        let cursor = Cursor::at_place(&self.blocks, table, place)?;
        Ok(Some(Listing { cursor, size: directory.size, at: run.at, scratch: [0; ENTRY_MOST] }))
    }

    /// The last run of a folder whose first name `before` accepts, by its index; the first run where it has none.
    fn last_run(
        &self,
        node: &Node,
        directory: &Directory,
        before: impl Fn(&[u8]) -> bool,
    ) -> Result<Run, ImageError> {
        self.indexed_run(node, directory, |_, name| before(name))
    }

    /// The last run that the index knows at or before offset `at` of the listing.
    fn run_before(&self, node: &Node, directory: &Directory, at: u32) -> Result<Run, ImageError> {
        self.indexed_run(node, directory, |run, _| run <= at)
    }

    fn indexed_run(
        &self,
        node: &Node,
        directory: &Directory,
        accept: impl Fn(u32, &[u8]) -> bool,
    ) -> Result<Run, ImageError> {
        let mut run = Run::first(directory);
        if directory.index_entries == 0 {
            return Ok(run);
        }
        let mut cursor = self.tail(node)?;
        let mut name = [0; NAME_LIMIT];
        for _ in 0..directory.index_entries {
            let entry = read_index_entry(&mut cursor)?;
            let name = &mut name[..entry.name_size];
            cursor.read_exact(name)?;
            if !accept(entry.listing_offset, name) {
                break;
            }
            run = Run::indexed(directory, &entry);
        }
        Ok(run)
    }

    /// Moves a cursor at the index of a folder to behind it.
    pub(super) fn skip_index(&self, cursor: &mut Cursor<'_>, entries: u16) -> Result<(), ImageError> {
        for _ in 0..entries {
            let entry = read_index_entry(cursor)?;
            cursor.skip(entry.name_size as u64)?;
        }
        Ok(())
    }
}

/// A listing that is being read.
struct Listing<'a> {
    cursor: Cursor<'a>,
    size: u32,
    /// Offset in the listing of what the cursor stands at.
    at: u32,
    /// For an entry that lies across two blocks.
    scratch: [u8; ENTRY_MOST],
}

impl Listing<'_> {
    fn malformed(&self, rule: &'static str) -> ImageError {
        ImageError::malformed(self.cursor.place().block, "directory", rule)
    }

    /// Moves on to the run at offset `at` of the listing.
    fn skip_to(&mut self, at: u32) -> Result<(), ImageError> {
        let distance = at.checked_sub(self.at).ok_or(self.malformed("its index is out of order"))?;
        self.at = at;
        self.cursor.skip(u64::from(distance))
    }

    /// Visits the entries from number `first` of the run that it stands at.
    fn entries(
        &mut self,
        mut first: u32,
        visit: &mut dyn FnMut(&Entry<'_>) -> ControlFlow<()>,
    ) -> Result<(), ImageError> {
        // In two places that take turns, since most of a lookup is going over names.
        let (mut one, mut other) = (Name::EMPTY, Name::EMPTY);
        let (mut previous, mut name) = (&mut one, &mut other);
        while self.at < self.size {
            let run = self.at;
            let header = self.header()?;
            for number in 0..header.entries {
                let (reference, inode_number, kind) = self.entry(&header, name)?;
                if name.bytes() <= previous.bytes() {
                    return Err(self.malformed("its names are not in order"));
                }
                std::mem::swap(&mut previous, &mut name);
                if number < first {
                    continue;
                }
                let next = match number + 1 {
                    more if more < header.entries => EntryCookie::new(run, more),
                    _ => EntryCookie::new(self.at, 0),
                };
                let entry = Entry { reference, number: inode_number, kind, name: previous.bytes(), next };
                if visit(&entry).is_break() {
                    return Ok(());
                }
            }
            first = 0;
        }
        Ok(())
    }

    fn header(&mut self) -> Result<DirectoryHeader, ImageError> {
        let offset = self.cursor.place().block;
        self.advance(DIRECTORY_HEADER_SIZE)?;
        let bytes: [u8; DIRECTORY_HEADER_SIZE] = self.cursor.take()?;
        DirectoryHeader::parse(&bytes).map_err(|error| ImageError::Format { offset, error })
    }

    /// Reads an entry and puts its name into `name`.
    fn entry(
        &mut self,
        header: &DirectoryHeader,
        name: &mut Name,
    ) -> Result<(Reference, u32, InodeKind), ImageError> {
        let offset = self.cursor.place().block;
        let wanted = ENTRY_MOST.min((self.size - self.at) as usize);
        let bytes = self.cursor.peek(wanted, &mut self.scratch)?;
        let (entry, size) =
            DirectoryEntry::parse(header, bytes).map_err(|error| ImageError::Format { offset, error })?;
        name.set(entry.name);
        let found = (entry.inode, entry.inode_number, entry.kind);
        self.cursor.skip(size as u64)?;
        self.advance(size)?;
        Ok(found)
    }

    fn advance(&mut self, size: usize) -> Result<(), ImageError> {
        match u32::try_from(size).ok().and_then(|size| self.at.checked_add(size)) {
            Some(at) if at <= self.size => {
                self.at = at;
                Ok(())
            }
            _ => Err(self.malformed("it ends within an entry")),
        }
    }
}

/// A name, out of the block that it came from.
struct Name {
    bytes: [u8; NAME_LIMIT],
    length: usize,
}

impl Name {
    const EMPTY: Name = Name { bytes: [0; NAME_LIMIT], length: 0 };

    fn set(&mut self, name: &[u8]) {
        self.bytes[..name.len()].copy_from_slice(name);
        self.length = name.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn read_index_entry(cursor: &mut Cursor<'_>) -> Result<DirectoryIndexEntry, ImageError> {
    let offset = cursor.place().block;
    let bytes: [u8; DirectoryIndexEntry::SIZE] = cursor.take()?;
    DirectoryIndexEntry::parse(&bytes).map_err(|error| ImageError::Format { offset, error })
}
