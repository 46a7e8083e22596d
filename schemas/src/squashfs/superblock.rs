//! The superblock: the first 96 bytes of an image.

use super::{Fields, FormatError, Reference};

/// Size of the superblock in bytes.
pub const SUPERBLOCK_SIZE: usize = 96;
/// Smallest block size of the format in bytes.
pub const BLOCK_SIZE_LEAST: u32 = 4 << 10;
/// Largest block size of the format in bytes.
pub const BLOCK_SIZE_MOST: u32 = 1 << 20;

const MAGIC: u32 = 0x7371_7368;
/// In the offset of an optional table: there is none.
const NO_TABLE: u64 = u64::MAX;

/// How blocks are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compressor {
    /// zlib streams.
    Gzip,
    /// The old `.lzma` format.
    Lzma,
    /// lzo1x.
    Lzo,
    /// xz streams.
    Xz,
    /// Raw lz4 blocks.
    Lz4,
    /// zstd frames.
    Zstd,
}

impl Compressor {
    fn from_number(number: u16) -> Result<Compressor, FormatError> {
        Ok(match number {
            1 => Compressor::Gzip,
            2 => Compressor::Lzma,
            3 => Compressor::Lzo,
            4 => Compressor::Xz,
            5 => Compressor::Lz4,
            6 => Compressor::Zstd,
            _ => return Err(FormatError::UnknownCompressor { number }),
        })
    }

    fn number(self) -> u16 {
        match self {
            Compressor::Gzip => 1,
            Compressor::Lzma => 2,
            Compressor::Lzo => 3,
            Compressor::Xz => 4,
            Compressor::Lz4 => 5,
            Compressor::Zstd => 6,
        }
    }

    /// The name that squashfs tools use for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Compressor::Gzip => "gzip",
            Compressor::Lzma => "lzma",
            Compressor::Lzo => "lzo",
            Compressor::Xz => "xz",
            Compressor::Lz4 => "lz4",
            Compressor::Zstd => "zstd",
        }
    }
}

/// The superblock's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuperblockFlags(pub u16);

impl SuperblockFlags {
    /// No file has a fragment.
    pub const NO_FRAGMENTS: SuperblockFlags = SuperblockFlags(0x10);
    /// Equal files share their blocks.
    pub const DUPLICATES: SuperblockFlags = SuperblockFlags(0x40);
    /// No inode has attributes.
    pub const NO_ATTRIBUTES: SuperblockFlags = SuperblockFlags(0x200);
    /// A metadata block with the compressor's options follows the superblock.
    pub const COMPRESSOR_OPTIONS: SuperblockFlags = SuperblockFlags(0x400);

    /// All flags of both.
    #[must_use]
    pub const fn with(self, other: SuperblockFlags) -> SuperblockFlags {
        SuperblockFlags(self.0 | other.0)
    }

    /// A metadata block with the compressor's options follows the superblock.
    pub fn compressor_options(self) -> bool {
        self.0 & SuperblockFlags::COMPRESSOR_OPTIONS.0 != 0
    }
}

/// A checked superblock. Offsets are counted from the start of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// Number of inodes.
    pub inodes: u32,
    /// When the image was made, in seconds since 1970.
    pub made: u32,
    /// Bytes of a file in one block, a power of two from [`BLOCK_SIZE_LEAST`] to [`BLOCK_SIZE_MOST`].
    pub block_size: u32,
    /// Number of fragment blocks.
    pub fragments: u32,
    /// How blocks are compressed.
    pub compressor: Compressor,
    /// Flags.
    pub flags: SuperblockFlags,
    /// Number of user and group ids, at least 1.
    pub ids: u16,
    /// The inode of the root folder.
    pub root: Reference,
    /// Bytes in use; what follows is padding.
    pub bytes_used: u64,
    /// Where the list of the id table's blocks lies.
    pub id_table: u64,
    /// Where the header of the attribute table lies.
    pub attribute_table: Option<u64>,
    /// Where the inode table begins; it ends before the directory table.
    pub inode_table: u64,
    /// Where the directory table begins.
    pub directory_table: u64,
    /// Where the list of the fragment table's blocks lies; nothing where there are no fragments.
    pub fragment_table: Option<u64>,
    /// Where the list of the export table's blocks lies.
    pub export_table: Option<u64>,
}

impl Superblock {
    /// Reads the first bytes of an image of `image_length` bytes.
    ///
    /// # Errors
    /// [`FormatError`] where it is no squashfs 4.0, or a size, count or offset cannot be true: tables have to follow
    /// the superblock and one another in the format's order and end within the image.
    pub fn parse(bytes: &[u8; SUPERBLOCK_SIZE], image_length: u64) -> Result<Superblock, FormatError> {
        let mut fields = Fields::new("superblock", bytes);
        if fields.u32()? != MAGIC {
            return Err(FormatError::NotSquashfs);
        }
        let inodes = fields.u32()?;
        let made = fields.u32()?;
        let block_size = fields.u32()?;
        let fragments = fields.u32()?;
        let compressor = fields.u16()?;
        let block_log = fields.u16()?;
        let flags = SuperblockFlags(fields.u16()?);
        let ids = fields.u16()?;
        let (major, minor) = (fields.u16()?, fields.u16()?);
        if (major, minor) != (4, 0) {
            return Err(FormatError::Version { major, minor });
        }
        let compressor = Compressor::from_number(compressor)?;
        let root = Reference::from_raw(fields.u64()?)?;
        let bytes_used = fields.u64()?;
        let id_table = fields.u64()?;
        let attribute_table = fields.u64()?;
        let inode_table = fields.u64()?;
        let directory_table = fields.u64()?;
        let fragment_table = fields.u64()?;
        let export_table = fields.u64()?;
        let optional = |offset: u64| (offset != NO_TABLE).then_some(offset);
        let superblock = Superblock {
            inodes,
            made,
            block_size,
            fragments,
            compressor,
            flags,
            ids,
            root,
            bytes_used,
            id_table,
            attribute_table: optional(attribute_table),
            inode_table,
            directory_table,
            fragment_table: optional(fragment_table).filter(|_| fragments > 0),
            export_table: optional(export_table),
        };
        if !block_size.is_power_of_two() || block_size.ilog2() != u32::from(block_log) {
            return Err(fields.malformed("block size and block log disagree"));
        }
        superblock.check(image_length)?;
        Ok(superblock)
    }

    /// The superblock as it stands on disk.
    pub fn to_bytes(&self) -> [u8; SUPERBLOCK_SIZE] {
        let mut bytes = Vec::with_capacity(SUPERBLOCK_SIZE);
        for field in [MAGIC, self.inodes, self.made, self.block_size, self.fragments] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let block_log = self.block_size.checked_ilog2().unwrap_or_default() as u16;
        for field in [self.compressor.number(), block_log, self.flags.0, self.ids, 4, 0] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let optional = |table: Option<u64>| table.unwrap_or(NO_TABLE);
        for field in [
            self.root.to_raw(),
            self.bytes_used,
            self.id_table,
            optional(self.attribute_table),
            self.inode_table,
            self.directory_table,
            optional(self.fragment_table),
            optional(self.export_table),
        ] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        let mut fixed = [0; SUPERBLOCK_SIZE];
        fixed.copy_from_slice(&bytes);
        fixed
    }

    fn check(&self, image_length: u64) -> Result<(), FormatError> {
        let malformed = |rule| Err(FormatError::Malformed { structure: "superblock", rule });
        if !(BLOCK_SIZE_LEAST..=BLOCK_SIZE_MOST).contains(&self.block_size) {
            return malformed("the block size is not 4 KiB to 1 MiB");
        }
        if self.inodes == 0 || self.ids == 0 {
            return malformed("it counts no inodes or no ids");
        }
        if self.bytes_used > image_length {
            return malformed("it uses more bytes than the image has");
        }
        if self.fragments > 0 && self.fragment_table.is_none() {
            return malformed("it counts fragments and has no fragment table");
        }
        // The tables that are there, in the order of the format. Two lists may begin at the same place only by lying.
        let tables = [
            Some(SUPERBLOCK_SIZE as u64 - 1),
            Some(self.inode_table),
            Some(self.directory_table),
            self.fragment_table,
            self.export_table,
            Some(self.id_table),
            self.attribute_table,
            Some(self.bytes_used),
        ];
        let present: Vec<u64> = tables.into_iter().flatten().collect();
        if !present.windows(2).all(|pair| pair[0] < pair[1]) {
            return malformed("its tables are out of order or outside of the image");
        }
        if self.root.block >= self.directory_table - self.inode_table {
            return malformed("the root folder lies outside of the inode table");
        }
        Ok(())
    }

    /// Where the directory table ends at the latest: where the next list begins.
    pub fn directory_table_limit(&self) -> u64 {
        self.fragment_table.or(self.export_table).unwrap_or(self.id_table)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A superblock as mksquashfs writes it, of an image of 4096 bytes.
    pub fn sample() -> [u8; SUPERBLOCK_SIZE] {
        let mut bytes = [0; SUPERBLOCK_SIZE];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC.to_le_bytes());
        put(4, &3u32.to_le_bytes());
        put(8, &1_700_000_000u32.to_le_bytes());
        put(12, &131_072u32.to_le_bytes());
        put(16, &0u32.to_le_bytes());
        put(20, &6u16.to_le_bytes());
        put(22, &17u16.to_le_bytes());
        put(24, &0x4d0u16.to_le_bytes());
        put(26, &1u16.to_le_bytes());
        put(28, &4u16.to_le_bytes());
        put(30, &0u16.to_le_bytes());
        put(32, &40u64.to_le_bytes());
        put(40, &1000u64.to_le_bytes());
        put(48, &900u64.to_le_bytes());
        put(56, &NO_TABLE.to_le_bytes());
        put(64, &500u64.to_le_bytes());
        put(72, &600u64.to_le_bytes());
        put(80, &NO_TABLE.to_le_bytes());
        put(88, &800u64.to_le_bytes());
        bytes
    }

    #[test]
    fn a_superblock_is_read() {
        let superblock = Superblock::parse(&sample(), 4096).unwrap();
        assert_eq!(superblock.compressor, Compressor::Zstd);
        assert_eq!(superblock.block_size, 131_072);
        assert_eq!(superblock.root, Reference { block: 0, offset: 40 });
        assert_eq!(superblock.export_table, Some(800));
        assert_eq!(superblock.attribute_table, None);
        assert_eq!(superblock.directory_table_limit(), 800);
        assert!(superblock.flags.compressor_options());
        assert_eq!(superblock.to_bytes(), sample());
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let changed = |at: usize, value: &[u8]| {
            let mut bytes = sample();
            bytes[at..at + value.len()].copy_from_slice(value);
            Superblock::parse(&bytes, 4096)
        };
        assert_eq!(changed(0, &[0]), Err(FormatError::NotSquashfs));
        assert_eq!(changed(28, &[3]), Err(FormatError::Version { major: 3, minor: 0 }));
        assert_eq!(changed(20, &[7]), Err(FormatError::UnknownCompressor { number: 7 }));
        let cases: [(usize, &[u8], &str); 14] = [
            (4, &[0; 4], "no inodes"),
            (12, &[0; 4], "block size 0"),
            (12, &2u32.pow(21).to_le_bytes(), "block size 2 MiB"),
            (22, &[18], "another block log"),
            (22, &[255, 255], "a block log out of range"),
            (16, &[1], "fragments without a table"),
            (26, &[0, 0], "no ids"),
            (32, &(100u64 << 16).to_le_bytes(), "root past the inode table"),
            (32, &8192u64.to_le_bytes(), "root past a metadata block"),
            (40, &5000u64.to_le_bytes(), "more bytes than the image"),
            (48, &1000u64.to_le_bytes(), "id table at the end"),
            (64, &600u64.to_le_bytes(), "inode table where the directory table is"),
            (64, &20u64.to_le_bytes(), "inode table in the superblock"),
            (88, &(u64::MAX - 1).to_le_bytes(), "export table past the end"),
        ];
        for (at, value, what) in cases {
            assert!(matches!(changed(at, value), Err(FormatError::Malformed { .. })), "{what}");
        }
    }
}
