//! Inodes and the listings of folders.
//!
//! An inode of a folder names the metadata block of its listing, a listing those of the inodes in it, and where a block
//! begins is known when all before it are compressed. So first come the inodes of all that is no folder, then the folders
//! that have none in them, then those that have only such, and so on: what is on one level is compressed on all threads.

use std::ops::Range;

use pack_schemas::squashfs::{
    Directory, DirectoryEntry, DirectoryHeader, DirectoryIndexEntry, File, Inode, InodeDetail, InodeKind,
    METADATA_SIZE, Reference,
};

use super::metadata::{Position, Table};
use super::output::Content;
use super::plan::{Kind, LeafKind, Plan};
use super::{ImageError, Options};

/// Both tables, and what the superblock says of them.
pub(super) struct Tables {
    pub inodes: Vec<Vec<u8>>,
    pub directories: Vec<Vec<u8>>,
    pub root: Reference,
    pub inode_count: u32,
}

/// Makes the tables. `content` knows where the blocks of files lie.
pub(super) fn tables(plan: &Plan, content: &Content, options: &Options<'_>) -> Result<Tables, ImageError> {
    let order = Order::new(plan);
    let mut maker = Maker {
        plan,
        options,
        order: &order,
        inodes: Table::default(),
        directories: Table::default(),
        places: vec![Position { block: 0, offset: 0 }; plan.leaves().len() + order.folders.len()],
    };
    maker.leaves(content)?;
    for level in &order.levels {
        maker.folders(level.clone())?;
    }
    // The root is the last.
    let root = maker.places.last().map(|&place| maker.inodes.reference(place));
    Ok(Tables {
        inode_count: maker.places.len() as u32,
        root: root.unwrap_or(Reference { block: 0, offset: 0 }),
        inodes: maker.inodes.finish(options)?,
        directories: maker.directories.finish(options)?,
    })
}

/// The order of folders in the inode table.
struct Order {
    /// Their entries and those in them.
    folders: Vec<(u32, Range<u32>)>,
    /// Parts of `folders` of equal height, from the lowest up.
    levels: Vec<Range<usize>>,
    /// For each entry that is a folder, where it stands in `folders`.
    ranks: Vec<u32>,
}

impl Order {
    fn new(plan: &Plan) -> Order {
        let entries = plan.entries() as usize;
        let mut heights = vec![0_u32; entries];
        for (entry, _) in plan.folders().rev() {
            let parent = plan.parent(entry) as usize;
            if entry != 0 {
                heights[parent] = heights[parent].max(heights[entry as usize] + 1);
            }
        }
        let mut folders: Vec<_> = plan.folders().collect();
        // Stable: on a level they stay in the order of the plan.
        folders.sort_by_key(|(entry, _)| heights[*entry as usize]);
        let mut ranks = vec![0; entries];
        let mut levels: Vec<Range<usize>> = Vec::new();
        let mut height = None;
        for (rank, (entry, _)) in folders.iter().enumerate() {
            ranks[*entry as usize] = rank as u32;
            match levels.last_mut() {
                Some(level) if height == Some(heights[*entry as usize]) => level.end = rank + 1,
                _ => levels.push(rank..rank + 1),
            }
            height = Some(heights[*entry as usize]);
        }
        Order { folders, levels, ranks }
    }
}

struct Maker<'a> {
    plan: &'a Plan,
    options: &'a Options<'a>,
    order: &'a Order,
    inodes: Table,
    directories: Table,
    /// Where the inode of each number lies, counted from 0: leaves, then folders.
    places: Vec<Position>,
}

/// A listing that has been written.
struct Listing {
    start: Position,
    size: u32,
    /// Runs with which another metadata block begins: offset in the listing, block, and the first entry.
    runs: Vec<(u32, u32, u32)>,
}

impl Maker<'_> {
    fn leaves(&mut self, content: &Content) -> Result<(), ImageError> {
        let mut bytes = Vec::new();
        for (number, leaf) in self.plan.leaves().iter().enumerate() {
            bytes.clear();
            let (detail, tail) = match leaf.kind {
                LeafKind::File { size, .. } => {
                    let placed = content.of(number, size, self.options.block_size);
                    let (blocks, sparse) = (placed.start, placed.sparse);
                    (
                        InodeDetail::File(File { blocks, size, sparse, fragment: None }),
                        Tail::Words(placed.words),
                    )
                }
                LeafKind::Symlink { target } => {
                    let target = self.plan.text(target);
                    let target_size = target.len() as u32;
                    (InodeDetail::Symlink { target_size, attributes_follow: false }, Tail::Bytes(target))
                }
            };
            // Inode numbers begin with 1.
            self.inode(number as u32 + 1, leaf.mode(), leaf.links, detail).write(&mut bytes);
            match tail {
                Tail::Words(words) => {
                    words.iter().for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()))
                }
                Tail::Bytes(target) => bytes.extend_from_slice(target),
            }
            self.places[number] = self.inodes.position();
            self.inodes.push(&bytes, self.options)?;
        }
        self.inodes.compress_full(self.options)
    }

    fn inode(&self, number: u32, mode: u16, links: u32, detail: InodeDetail) -> Inode {
        let modified = self.options.epoch;
        Inode { mode, owner: 0, group: 0, modified, number, links, attributes: None, detail }
    }

    /// The folders of one level.
    fn folders(&mut self, level: Range<usize>) -> Result<(), ImageError> {
        let mut listings = Vec::with_capacity(level.len());
        for rank in level.clone() {
            listings.push(self.listing(rank)?);
        }
        self.directories.compress_full(self.options)?;
        for (rank, listing) in level.zip(listings) {
            self.folder(rank, &listing)?;
        }
        self.inodes.compress_full(self.options)
    }

    /// The place of an entry's inode in `places`, and what it is.
    fn child(&self, entry: u32) -> (u32, InodeKind) {
        match self.plan.entry(entry).kind {
            Kind::Folder { .. } => (self.folder_place(entry), InodeKind::Directory),
            Kind::Leaf(leaf) => match self.plan.leaves()[leaf as usize].kind {
                LeafKind::File { .. } => (leaf, InodeKind::File),
                LeafKind::Symlink { .. } => (leaf, InodeKind::Symlink),
            },
        }
    }

    fn folder_place(&self, entry: u32) -> u32 {
        self.plan.leaves().len() as u32 + self.order.ranks[entry as usize]
    }

    /// Writes the listing of a folder: runs of entries whose inodes lie in one metadata block. A run ends where a metadata
    /// block of the listing does, so that an index can lead to each of those blocks.
    fn listing(&mut self, rank: usize) -> Result<Listing, ImageError> {
        let (folder, children) = self.order.folders[rank].clone();
        let start = self.directories.position();
        let mut bytes = Vec::new();
        let mut runs = Vec::new();
        let block_of =
            |size: usize| start.block as usize + (usize::from(start.offset) + size) / METADATA_SIZE;
        let mut next = children.start;
        while next < children.end {
            let (run, block) = (bytes.len(), block_of(bytes.len()));
            let (first, _) = self.child(next);
            let reference = self.reference(first, folder)?;
            // What was checked just now fits.
            let inode_block = reference.block as u32;
            let mut header = DirectoryHeader { entries: 0, inode_block, inode_number: first + 1 };
            if runs.last().map_or(start.block as usize, |&(_, block, _)| block as usize) != block {
                runs.push((self.listing_size(run, folder)?, block as u32, next));
            }
            bytes.extend_from_slice(&header.to_bytes());
            while next < children.end {
                let (place, kind) = self.child(next);
                let inode = self.reference(place, folder)?;
                if !header.takes(inode, place + 1) || header.entries > 0 && block_of(bytes.len()) != block {
                    break;
                }
                let name = self.plan.name(next);
                DirectoryEntry { inode, inode_number: place + 1, kind, name }.write(&header, &mut bytes);
                header.entries += 1;
                next += 1;
            }
            bytes[run..run + header.to_bytes().len()].copy_from_slice(&header.to_bytes());
        }
        let size = self.listing_size(bytes.len(), folder)?;
        // What lies in one block, or across two because it begins late, is found without an index.
        if bytes.len() <= METADATA_SIZE {
            runs.clear();
        }
        self.directories.push(&bytes, self.options)?;
        Ok(Listing { start, size, runs })
    }

    fn reference(&self, place: u32, folder: u32) -> Result<Reference, ImageError> {
        let reference = self.inodes.reference(self.places[place as usize]);
        match u32::try_from(reference.block) {
            Ok(_) => Ok(reference),
            Err(_) => Err(self.too_large(folder, "more inodes than an image can refer to")),
        }
    }

    /// A size or offset in a listing; the size field counts three more.
    fn listing_size(&self, size: usize, folder: u32) -> Result<u32, ImageError> {
        let size = u32::try_from(size).ok().filter(|&size| size < u32::MAX - 3);
        size.ok_or_else(|| self.too_large(folder, "more names than a folder of an image can have"))
    }

    fn too_large(&self, folder: u32, what: &'static str) -> ImageError {
        ImageError::TooLarge { path: self.plan.path(folder), what }
    }

    fn folder(&mut self, rank: usize, listing: &Listing) -> Result<(), ImageError> {
        let (entry, children) = self.order.folders[rank].clone();
        let place = self.folder_place(entry);
        let parent = match entry {
            // The root has none, and names a number that no inode has, as mksquashfs does.
            0 => self.places.len() as u32 + 1,
            _ => self.folder_place(self.plan.parent(entry)) + 1,
        };
        let is_folder = |entry: &u32| matches!(self.plan.entry(*entry).kind, Kind::Folder { .. });
        let links = 2 + children.clone().filter(is_folder).count() as u32;
        let too_many = || self.too_large(entry, "more names than a folder of an image can have");
        let index_entries = u16::try_from(listing.runs.len()).map_err(|_| too_many())?;
        let block_at = |number: u32| u32::try_from(self.directories.start_of(number)).map_err(|_| too_many());
        // An empty folder has no listing, and nothing may lie where it would begin.
        let (block, offset) = match listing.size {
            0 => (0, 0),
            _ => (block_at(listing.start.block)?, listing.start.offset),
        };
        let detail =
            InodeDetail::Directory(Directory { block, offset, size: listing.size, parent, index_entries });
        let mut bytes = Vec::new();
        self.inode(place + 1, 0o755, links, detail).write(&mut bytes);
        for &(listing_offset, number, first) in &listing.runs {
            let name = self.plan.name(first);
            let entry =
                DirectoryIndexEntry { listing_offset, block: block_at(number)?, name_size: name.len() };
            bytes.extend_from_slice(&entry.to_bytes());
            bytes.extend_from_slice(name);
        }
        self.places[place as usize] = self.inodes.position();
        self.inodes.push(&bytes, self.options)
    }
}

/// What follows an inode.
enum Tail<'a> {
    /// Sizes of blocks.
    Words(&'a [u32]),
    /// The target of a link.
    Bytes(&'a [u8]),
}
