//! The tables that inodes refer to by number: ids, fragments, exported inodes, extended attributes.
//!
//! Entries of one size stand in metadata blocks of 8 KiB, so an entry never lies across two blocks; a list gives the
//! offset of each block in the image.

use super::{Fields, FormatError, METADATA_SIZE, Reference, StoredBlock};

/// Longest value of an extended attribute in bytes (`XATTR_SIZE_MAX` of Linux).
pub const XATTR_VALUE_LIMIT: u32 = 65_536;

/// A table of entries of one size: where an entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Where the list of its blocks lies, counted from the start of the image.
    pub list: u64,
    /// Number of entries.
    pub entries: u64,
    /// Size of an entry in bytes, a divisor of [`METADATA_SIZE`].
    pub entry_size: usize,
}

impl Table {
    /// Size of an entry of the id table.
    pub const ID_SIZE: usize = 4;
    /// Size of an entry of the export table.
    pub const EXPORT_SIZE: usize = 8;
    /// Size of an entry of the fragment table.
    pub const FRAGMENT_SIZE: usize = 16;
    /// Size of an entry of the table of attribute sets.
    pub const ATTRIBUTE_SET_SIZE: usize = 16;

    /// Number of metadata blocks.
    pub fn blocks(&self) -> u64 {
        self.entries.div_ceil(self.entries_per_block())
    }

    /// Bytes that the list of the blocks takes.
    pub fn list_size(&self) -> u64 {
        self.blocks().saturating_mul(8)
    }

    /// Where the offset of the block with entry `number` stands in the image, and where the entry lies in the block.
    /// Nothing where the table has no such entry.
    pub fn find(&self, number: u64) -> Option<(u64, usize)> {
        if number >= self.entries {
            return None;
        }
        let list_entry = self.list.checked_add(number / self.entries_per_block() * 8)?;
        // Less than METADATA_SIZE, so it fits.
        Some((list_entry, (number % self.entries_per_block()) as usize * self.entry_size))
    }

    fn entries_per_block(&self) -> u64 {
        (METADATA_SIZE / self.entry_size) as u64
    }
}

/// Reads an entry of the id table: a user or group id.
///
/// # Errors
/// [`FormatError::Short`].
pub fn id_entry(bytes: &[u8]) -> Result<u32, FormatError> {
    Fields::new("id table", bytes).u32()
}

/// Reads an entry of the export table: the inode of a number.
///
/// # Errors
/// [`FormatError::Short`], or [`FormatError::Malformed`] for a reference out of range.
pub fn export_entry(bytes: &[u8]) -> Result<Reference, FormatError> {
    Reference::from_raw(Fields::new("export table", bytes).u64()?)
}

/// A fragment block: the last, incomplete blocks of several files, compressed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentEntry {
    /// Where it lies, counted from the start of the image.
    pub start: u64,
    /// How it is stored; never [`StoredBlock::Sparse`].
    pub block: StoredBlock,
}

impl FragmentEntry {
    /// Reads an entry of the fragment table of an image with blocks of `block_size` bytes.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short, empty or longer than the block size.
    pub fn parse(bytes: &[u8], block_size: u32) -> Result<FragmentEntry, FormatError> {
        let mut fields = Fields::new("fragment table", bytes);
        let start = fields.u64()?;
        let block = StoredBlock::parse(fields.u32()?, block_size)?;
        if block == StoredBlock::Sparse {
            return Err(fields.malformed("a fragment block is empty"));
        }
        Ok(FragmentEntry { start, block })
    }
}

/// The header of the attribute table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeTable {
    /// Where the metadata blocks of keys and values begin, counted from the start of the image.
    pub values: u64,
    /// The table of attribute sets.
    pub sets: Table,
}

impl AttributeTable {
    /// Size of the header in bytes.
    pub const HEADER_SIZE: usize = 16;

    /// Reads the header, which lies at `start` in the image.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short, or the values do not lie before it.
    pub fn parse(bytes: &[u8], start: u64) -> Result<AttributeTable, FormatError> {
        let mut fields = Fields::new("attribute table", bytes);
        let values = fields.u64()?;
        let entries = u64::from(fields.u32()?);
        if values >= start {
            return Err(fields.malformed("its values do not lie before its header"));
        }
        let list = start
            .checked_add(AttributeTable::HEADER_SIZE as u64)
            .ok_or(fields.malformed("it lies past 64 bits"))?;
        Ok(AttributeTable { values, sets: Table { list, entries, entry_size: Table::ATTRIBUTE_SET_SIZE } })
    }
}

/// The attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeSet {
    /// Where its first key lies, counted from [`AttributeTable::values`].
    pub first: Reference,
    /// Number of attributes.
    pub count: u32,
    /// Bytes of all names with a NUL each, and values. A hint: nothing may rely on it.
    pub size: u32,
}

impl AttributeSet {
    /// Reads an entry of the table of attribute sets.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short or its reference is out of range.
    pub fn parse(bytes: &[u8]) -> Result<AttributeSet, FormatError> {
        let mut fields = Fields::new("attribute table", bytes);
        let first = Reference::from_raw(fields.u64()?)?;
        Ok(AttributeSet { first, count: fields.u32()?, size: fields.u32()? })
    }
}

/// The key of an attribute without its name, which follows; then comes a 4-byte size and the value or, where the value
/// is stored elsewhere, the size 8 and a [`Reference`] to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttributeKey {
    /// What stands before the name: `user.`, `trusted.` or `security.`.
    pub prefix: &'static str,
    /// Whether the value is stored elsewhere.
    pub value_elsewhere: bool,
    /// Length of the name in bytes, without the prefix, 1 to 255.
    pub name_size: usize,
}

impl AttributeKey {
    /// Size of a key without its name.
    pub const SIZE: usize = 4;

    /// Reads a key without its name.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short, its type is unknown, or its name is empty or too long.
    pub fn parse(bytes: &[u8]) -> Result<AttributeKey, FormatError> {
        let mut fields = Fields::new("attribute table", bytes);
        let key_type = fields.u16()?;
        let name_size = usize::from(fields.u16()?);
        let prefix = match key_type & 0xff {
            0 => "user.",
            1 => "trusted.",
            2 => "security.",
            _ => return Err(fields.malformed("an attribute's type is unknown")),
        };
        if key_type & !0x1ff != 0 {
            return Err(fields.malformed("an attribute's type has unknown bits"));
        }
        if name_size == 0 || prefix.len() + name_size > super::NAME_LIMIT {
            return Err(fields.malformed("an attribute's name is empty or longer than 255 bytes"));
        }
        Ok(AttributeKey { prefix, value_elsewhere: key_type & 0x100 != 0, name_size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_in_their_blocks() {
        let table = Table { list: 1000, entries: 513, entry_size: Table::FRAGMENT_SIZE };
        assert_eq!(table.blocks(), 2);
        assert_eq!(table.list_size(), 16);
        assert_eq!(table.find(0), Some((1000, 0)));
        assert_eq!(table.find(511), Some((1000, 8176)));
        assert_eq!(table.find(512), Some((1008, 0)));
        assert_eq!(table.find(513), None);
        assert_eq!(Table { list: u64::MAX - 7, ..table }.find(512), None);
    }

    #[test]
    fn fragments_are_bounded() {
        let bytes = |size: u32| [&77u64.to_le_bytes()[..], &size.to_le_bytes(), &[0; 4]].concat();
        let read = FragmentEntry::parse(&bytes(100), 4096).unwrap();
        assert_eq!(read, FragmentEntry { start: 77, block: StoredBlock::Compressed { stored: 100 } });
        for bad in [0, 4097, 1 << 24, u32::MAX] {
            assert!(FragmentEntry::parse(&bytes(bad), 4096).is_err());
        }
        assert!(FragmentEntry::parse(&bytes(1)[..11], 4096).is_err());
    }

    #[test]
    fn attribute_structures_are_bounded() {
        let header = [&500u64.to_le_bytes()[..], &3u32.to_le_bytes(), &[0; 4]].concat();
        let table = AttributeTable::parse(&header, 900).unwrap();
        assert_eq!((table.values, table.sets.list, table.sets.entries), (500, 916, 3));
        assert!(AttributeTable::parse(&header, 500).is_err());
        assert!(AttributeTable::parse(&header, u64::MAX).is_err());

        let set = [&0x20_0010u64.to_le_bytes()[..], &2u32.to_le_bytes(), &9u32.to_le_bytes()].concat();
        let read = AttributeSet::parse(&set).unwrap();
        assert_eq!((read.first, read.count), (Reference { block: 0x20, offset: 0x10 }, 2));

        let key = |key_type: u16, size: u16| {
            AttributeKey::parse(&[key_type.to_le_bytes(), size.to_le_bytes()].concat())
        };
        assert_eq!(
            key(0x100, 4).unwrap(),
            AttributeKey { prefix: "user.", value_elsewhere: true, name_size: 4 }
        );
        assert_eq!(key(2, 246).unwrap().prefix, "security.");
        for (key_type, size) in [(3, 4), (0xff, 4), (0x200, 4), (0, 0), (2, 247)] {
            assert!(key(key_type, size).is_err(), "{key_type} {size}");
        }
    }

    #[test]
    fn ids_and_exported_inodes_are_read() {
        assert_eq!(id_entry(&1000u32.to_le_bytes()), Ok(1000));
        assert!(id_entry(&[0; 3]).is_err());
        assert_eq!(export_entry(&0x30_0020u64.to_le_bytes()), Ok(Reference { block: 0x30, offset: 0x20 }));
        assert!(export_entry(&0x2000u64.to_le_bytes()).is_err());
    }
}
