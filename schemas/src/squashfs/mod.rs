//! The on-disk structures of squashfs 4.0, parsed from bytes and written to them: no reading, no decompressing, no
//! following.
//!
//! ```text
//! 0    superblock, then the compressor's options where there are any
//!      data blocks and fragment blocks, each compressed on its own
//!      inode table        metadata blocks
//!      directory table    metadata blocks
//!      fragment table     metadata blocks, then the list of their offsets
//!      export table       the same
//!      id table           the same
//!      attribute table    metadata blocks of keys and values, blocks of attribute sets, then the list of the latter
//! ```
//!
//! A *metadata block* is a 2-byte header and at most 8 KiB of contents, mostly compressed. A *reference* names a place
//! in a table of metadata blocks: the offset of the block in the table, and the offset in the block's contents.
//!
//! All numbers are little-endian. Every parsing function takes bytes that nobody has vouched for: it reads nothing outside
//! of them, checks every rule that a later step relies on, and never panics. The format is described in Linux's
//! `Documentation/filesystems/squashfs.rst` and `fs/squashfs/squashfs_fs.h`.

mod directory;
mod inode;
mod options;
mod superblock;
mod tables;

pub use directory::{
    DIRECTORY_ENTRIES_MOST, DIRECTORY_ENTRY_SIZE, DIRECTORY_HEADER_SIZE, DirectoryEntry, DirectoryHeader,
    DirectoryIndexEntry, NAME_LIMIT, check_name,
};
pub use inode::{
    Directory, File, INODE_SIZE_MOST, Inode, InodeDetail, InodeKind, SYMLINK_LIMIT, block_count,
};
pub use options::CompressorOptions;
pub use superblock::{
    BLOCK_SIZE_LEAST, BLOCK_SIZE_MOST, Compressor, SUPERBLOCK_SIZE, Superblock, SuperblockFlags,
};
pub use tables::{
    AttributeKey, AttributeSet, AttributeTable, FragmentEntry, Table, XATTR_VALUE_LIMIT, export_entry,
    id_entry,
};

/// Most bytes that a metadata block holds, on disk and decompressed.
pub const METADATA_SIZE: usize = 8192;
/// Size of the header of a metadata block.
pub const METADATA_HEADER_SIZE: usize = 2;
/// In a field that names an optional thing: there is none.
pub const NONE: u32 = u32::MAX;

/// Why bytes are not the structure that they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FormatError {
    /// The superblock does not begin with squashfs's magic number.
    #[error("it is not a squashfs image")]
    NotSquashfs,
    /// A version of squashfs other than 4.0.
    #[error("it is squashfs {major}.{minor}, and only 4.0 can be read")]
    Version {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The compressor's number is not one of the format.
    #[error("it names compressor {number}, which squashfs 4.0 does not have")]
    UnknownCompressor {
        /// The number found.
        number: u16,
    },
    /// Fewer bytes are there than the structure has.
    #[error("the {structure} is cut short")]
    Short {
        /// What was read.
        structure: &'static str,
    },
    /// A rule of the format is broken.
    #[error("the {structure} is malformed: {rule}")]
    Malformed {
        /// What was read.
        structure: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// Where a metadata block's contents lie on disk, from its 2-byte header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataHeader {
    /// Bytes that follow the header, 1 to [`METADATA_SIZE`].
    pub stored: u16,
    /// Whether they are compressed.
    pub compressed: bool,
}

impl MetadataHeader {
    /// Reads the header of a metadata block.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] where the block is empty or longer than [`METADATA_SIZE`].
    pub fn parse(bytes: [u8; METADATA_HEADER_SIZE]) -> Result<MetadataHeader, FormatError> {
        let header = u16::from_le_bytes(bytes);
        let stored = header & 0x7fff;
        if stored == 0 || usize::from(stored) > METADATA_SIZE {
            return Err(FormatError::Malformed {
                structure: "metadata block",
                rule: "its length is not 1 to 8192 bytes",
            });
        }
        Ok(MetadataHeader { stored, compressed: header & 0x8000 == 0 })
    }

    /// The header as it stands on disk.
    pub fn to_bytes(self) -> [u8; METADATA_HEADER_SIZE] {
        let plain = if self.compressed { 0 } else { 0x8000 };
        (self.stored | plain).to_le_bytes()
    }

    /// Bytes that the block takes on disk, with its header.
    pub fn disk_size(self) -> u64 {
        METADATA_HEADER_SIZE as u64 + u64::from(self.stored)
    }
}

/// A place in a table of metadata blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Offset of the metadata block, counted from the start of its table, less than 2⁴⁸.
    pub block: u64,
    /// Offset in the block's contents, less than [`METADATA_SIZE`].
    pub offset: u16,
}

impl Reference {
    /// Splits a reference as it stands on disk: 16 bits unused, 32 bits block, 16 bits offset; the unused bits are
    /// taken as part of the block, so that they cannot hide.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] where the offset lies outside of a metadata block.
    pub fn from_raw(raw: u64) -> Result<Reference, FormatError> {
        Reference::new(raw >> 16, (raw & 0xffff) as u16)
    }

    /// Joins the two parts.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] where a part is out of its range.
    pub fn new(block: u64, offset: u16) -> Result<Reference, FormatError> {
        if usize::from(offset) >= METADATA_SIZE || block >= 1 << 48 {
            return Err(FormatError::Malformed {
                structure: "reference",
                rule: "it points outside of a metadata block",
            });
        }
        Ok(Reference { block, offset })
    }

    /// The reference as it stands on disk.
    pub fn to_raw(self) -> u64 {
        self.block << 16 | u64::from(self.offset)
    }
}

/// How a block of a file, or a fragment block, is stored: the 4-byte size word of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredBlock {
    /// Not stored: a hole.
    Sparse,
    /// Stored as it is.
    Plain {
        /// Bytes on disk.
        stored: u32,
    },
    /// Compressed.
    Compressed {
        /// Bytes on disk.
        stored: u32,
    },
}

impl StoredBlock {
    const PLAIN: u32 = 1 << 24;

    /// The size word.
    pub fn to_word(self) -> u32 {
        match self {
            StoredBlock::Sparse => 0,
            StoredBlock::Compressed { stored } => stored,
            StoredBlock::Plain { stored } => stored | StoredBlock::PLAIN,
        }
    }

    /// Reads the size word of a block of an image with blocks of `block_size` bytes.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] where the block takes more than `block_size` bytes on disk: no writer stores a block
    /// that grew when it was compressed.
    pub fn parse(word: u32, block_size: u32) -> Result<StoredBlock, FormatError> {
        let stored = word & (StoredBlock::PLAIN - 1);
        let rule = match (stored, word >> 24) {
            (0, 0) => return Ok(StoredBlock::Sparse),
            (0, _) => "it is stored and empty",
            (_, high) if high > 1 => "its size word has unknown bits",
            _ if stored > block_size => "it is longer than the block size",
            (_, 0) => return Ok(StoredBlock::Compressed { stored }),
            _ => return Ok(StoredBlock::Plain { stored }),
        };
        Err(FormatError::Malformed { structure: "data block", rule })
    }

    /// Bytes on disk.
    pub fn stored(self) -> u32 {
        match self {
            StoredBlock::Sparse => 0,
            StoredBlock::Plain { stored } | StoredBlock::Compressed { stored } => stored,
        }
    }
}

/// Takes numbers off the front of a slice.
struct Fields<'a> {
    bytes: &'a [u8],
    structure: &'static str,
}

impl<'a> Fields<'a> {
    fn new(structure: &'static str, bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, structure }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) =
            self.bytes.split_first_chunk().ok_or(FormatError::Short { structure: self.structure })?;
        self.bytes = rest;
        Ok(*head)
    }

    fn slice(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) =
            self.bytes.split_at_checked(length).ok_or(FormatError::Short { structure: self.structure })?;
        self.bytes = rest;
        Ok(head)
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, FormatError> {
        self.take().map(u64::from_le_bytes)
    }

    fn malformed(&self, rule: &'static str) -> FormatError {
        FormatError::Malformed { structure: self.structure, rule }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_headers_are_bounded() {
        let parse = |word: u16| MetadataHeader::parse(word.to_le_bytes());
        assert_eq!(parse(100).unwrap(), MetadataHeader { stored: 100, compressed: true });
        assert_eq!(parse(0x8000 | 8192).unwrap(), MetadataHeader { stored: 8192, compressed: false });
        assert_eq!(parse(100).unwrap().disk_size(), 102);
        for word in [1, 100, 8192, 0x8000 | 1, 0x8000 | 8192] {
            assert_eq!(parse(word).unwrap().to_bytes(), word.to_le_bytes());
        }
        for bad in [0, 0x8000, 8193, 0x7fff, 0xffff] {
            assert!(parse(bad).is_err(), "{bad:#x}");
        }
    }

    #[test]
    fn references_stay_inside_a_metadata_block() {
        let raw = 0x1234_5678_0abc;
        assert_eq!(Reference::from_raw(raw).unwrap(), Reference { block: 0x1234_5678, offset: 0x0abc });
        assert_eq!(Reference::from_raw(raw).unwrap().to_raw(), raw);
        assert!(Reference::from_raw(8192).is_err());
        assert!(Reference::new(1 << 48, 0).is_err());
        assert_eq!(Reference::from_raw(u64::MAX << 16).unwrap().block, (1 << 48) - 1);
    }

    #[test]
    fn size_words_of_blocks_are_bounded_by_the_block_size() {
        let parse = |word| StoredBlock::parse(word, 4096);
        assert_eq!(parse(0).unwrap(), StoredBlock::Sparse);
        assert_eq!(parse(4096).unwrap(), StoredBlock::Compressed { stored: 4096 });
        assert_eq!(parse(1 << 24 | 7).unwrap(), StoredBlock::Plain { stored: 7 });
        for word in [0, 1, 4096, 1 << 24 | 1, 1 << 24 | 4096] {
            assert_eq!(parse(word).unwrap().to_word(), word);
        }
        for bad in [4097, 1 << 24, 1 << 24 | 4097, 1 << 25 | 5, u32::MAX] {
            assert!(parse(bad).is_err(), "{bad:#x}");
        }
    }
}
