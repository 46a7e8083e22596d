//! The reader: from an inode's reference to all that can be known about it, each thing read when it is asked for.

use std::sync::Arc;

use pack_schemas::squashfs::{
    AttributeTable, CompressorOptions, FormatError, INODE_SIZE_MOST, Inode, InodeDetail, InodeKind,
    Reference, SUPERBLOCK_SIZE, Superblock, Table, id_entry,
};

use super::blocks::Blocks;
use super::cache::Cache;
use super::files::FileMap;
use super::metadata::{Cursor, Place, Stretch};
use super::{BlockSource, ImageError};

/// Memory for decompressed blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheSize {
    /// Bytes; at least some blocks are kept whatever it says.
    pub bytes: usize,
}

impl Default for CacheSize {
    /// 32 MiB.
    fn default() -> CacheSize {
        CacheSize { bytes: 32 << 20 }
    }
}

/// Memory for the maps of files with very many blocks; each is at most 64 KiB.
const MAPS_LIMIT: usize = 2 << 20;

/// Reads an image. Shared by any number of threads.
pub struct Reader {
    pub(super) blocks: Blocks,
    pub(super) superblock: Superblock,
    /// Maps of large files by reference.
    pub(super) maps: Cache<Reference, FileMap>,
}

/// An inode, and where its tail lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Its name in the image: what a directory entry points to.
    pub reference: Reference,
    /// The inode.
    pub inode: Inode,
    pub(super) tail: Place,
}

impl Reader {
    /// Reads the superblock, the compressor's options if there are any, and nothing else: the cost does not depend on
    /// the size of the image.
    ///
    /// # Errors
    /// [`ImageError`] where it is no squashfs 4.0, or of a compressor, or options of one, that are not supported.
    pub fn open(source: Arc<dyn BlockSource>, cache: CacheSize) -> Result<Reader, ImageError> {
        let superblock = read_superblock(&*source)?;
        let blocks = Blocks::new(source, &superblock, cache)?;
        if superblock.flags.compressor_options() {
            let offset = SUPERBLOCK_SIZE as u64;
            let block = blocks.metadata(offset)?;
            CompressorOptions::parse(superblock.compressor, &block.contents)
                .map_err(|error| ImageError::Format { offset, error })?;
        }
        Ok(Reader { blocks, superblock, maps: Cache::new(MAPS_LIMIT) })
    }

    /// The superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The root folder.
    ///
    /// # Errors
    /// [`ImageError`] where it cannot be read or is no folder.
    pub fn root(&self) -> Result<Node, ImageError> {
        let node = self.node(self.superblock.root)?;
        match node.inode.kind() {
            InodeKind::Directory => Ok(node),
            _ => Err(ImageError::malformed(self.inodes().start, "superblock", "the root is no folder")),
        }
    }

    /// Reads the inode at `reference`.
    ///
    /// # Errors
    /// [`ImageError`] where no well-formed inode stands there.
    pub fn node(&self, reference: Reference) -> Result<Node, ImageError> {
        let mut cursor = Cursor::at(&self.blocks, self.inodes(), reference)?;
        let offset = cursor.place().block;
        let mut scratch = [0; INODE_SIZE_MOST];
        let bytes = cursor.peek(INODE_SIZE_MOST, &mut scratch)?;
        let (inode, size) = Inode::parse(bytes).map_err(|error| ImageError::Format { offset, error })?;
        cursor.skip(size as u64)?;
        let mut node = Node { reference, inode, tail: cursor.place() };
        if let InodeDetail::Symlink { target_size, attributes_follow: true } = inode.detail {
            cursor.skip(u64::from(target_size))?;
            node.inode.attributes =
                Some(u32::from_le_bytes(cursor.take()?)).filter(|&set| set != pack_schemas::squashfs::NONE);
        }
        Ok(node)
    }

    /// The target of a symbolic link, or nothing where `node` is none.
    ///
    /// # Errors
    /// [`ImageError`] where it cannot be read, or contains a NUL, which no link can.
    pub fn read_link(&self, node: &Node) -> Result<Option<Vec<u8>>, ImageError> {
        let InodeDetail::Symlink { target_size, .. } = node.inode.detail else { return Ok(None) };
        // At most SYMLINK_LIMIT.
        let mut target = vec![0; target_size as usize];
        self.tail(node)?.read_exact(&mut target)?;
        if target.contains(&0) {
            return Err(ImageError::malformed(node.tail.block, "inode", "a link's target contains NUL"));
        }
        Ok(Some(target))
    }

    /// User and group as the image has them. They are numbers of the machine that made it.
    ///
    /// # Errors
    /// [`ImageError`] where the id table cannot be read or has no such entry.
    pub fn owner(&self, node: &Node) -> Result<(u32, u32), ImageError> {
        Ok((self.id(node.inode.owner)?, self.id(node.inode.group)?))
    }

    fn id(&self, number: u16) -> Result<u32, ImageError> {
        let list = self.superblock.id_table;
        let table = Table { list, entries: u64::from(self.superblock.ids), entry_size: Table::ID_SIZE };
        let entry: [u8; Table::ID_SIZE] = self
            .blocks
            .table_entry(&table, u64::from(number))?
            .ok_or(ImageError::malformed(list, "inode", "its owner is not in the id table"))?;
        id_entry(&entry).map_err(|error| ImageError::Format { offset: list, error })
    }

    /// The header of the attribute table, or nothing where no inode has attributes.
    pub(super) fn attribute_table(&self) -> Result<Option<AttributeTable>, ImageError> {
        let Some(offset) = self.superblock.attribute_table else { return Ok(None) };
        let words = [0, 8].map(|at| self.blocks.list_entry(offset, offset + at));
        let [first, second] = words;
        let header = [first?.to_le_bytes(), second?.to_le_bytes()].concat();
        let table =
            AttributeTable::parse(&header, offset).map_err(|error| ImageError::Format { offset, error })?;
        Ok((table.sets.entries > 0).then_some(table))
    }

    pub(super) fn inodes(&self) -> Stretch {
        Stretch { start: self.superblock.inode_table, end: self.superblock.directory_table }
    }

    pub(super) fn tail(&self, node: &Node) -> Result<Cursor<'_>, ImageError> {
        Cursor::at_place(&self.blocks, self.inodes(), node.tail)
    }
}

/// Reads and checks the superblock of an image.
pub(super) fn read_superblock(source: &dyn BlockSource) -> Result<Superblock, ImageError> {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    let format = |error| ImageError::Format { offset: 0, error };
    match source.read_exact(0, &mut bytes) {
        Err(ImageError::Truncated { .. }) => return Err(format(FormatError::NotSquashfs)),
        other => other?,
    }
    Superblock::parse(&bytes, source.length()).map_err(format)
}
