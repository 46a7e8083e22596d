//! Directory listings: runs of up to 256 entries, each run behind a header that names the metadata block of its
//! inodes; entries are sorted by the bytes of their names.

use super::{Fields, FormatError, InodeKind, Reference};

/// Size of the header of a run of entries.
pub const DIRECTORY_HEADER_SIZE: usize = 12;
/// Size of an entry without its name.
pub const DIRECTORY_ENTRY_SIZE: usize = 8;
/// Most entries in a run.
pub const DIRECTORY_ENTRIES_MOST: u32 = 256;
/// Longest name in bytes (`NAME_MAX` of Linux; the format has room for one more).
pub const NAME_LIMIT: usize = 255;

/// The header of a run of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryHeader {
    /// Entries that follow, 1 to [`DIRECTORY_ENTRIES_MOST`].
    pub entries: u32,
    /// Offset of the metadata block of their inodes, counted from the start of the inode table.
    pub inode_block: u32,
    /// The inode number that theirs are given relative to.
    pub inode_number: u32,
}

impl DirectoryHeader {
    /// Reads the header of a run.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short or counts more than [`DIRECTORY_ENTRIES_MOST`] entries.
    pub fn parse(bytes: &[u8]) -> Result<DirectoryHeader, FormatError> {
        let mut fields = Fields::new("directory", bytes);
        let entries = fields.u32()?.saturating_add(1);
        if entries > DIRECTORY_ENTRIES_MOST {
            return Err(fields.malformed("a run has more than 256 entries"));
        }
        Ok(DirectoryHeader { entries, inode_block: fields.u32()?, inode_number: fields.u32()? })
    }

    /// The header as it stands on disk.
    pub fn to_bytes(&self) -> [u8; DIRECTORY_HEADER_SIZE] {
        let mut bytes = [0; DIRECTORY_HEADER_SIZE];
        // A run has at least one entry.
        bytes[..4].copy_from_slice(&self.entries.saturating_sub(1).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.inode_block.to_le_bytes());
        bytes[8..].copy_from_slice(&self.inode_number.to_le_bytes());
        bytes
    }

    /// Whether an entry can stand in the run: its inode lies in the run's metadata block, and its number is near enough.
    pub fn takes(&self, inode: Reference, inode_number: u32) -> bool {
        let difference = i64::from(inode_number) - i64::from(self.inode_number);
        self.entries < DIRECTORY_ENTRIES_MOST
            && inode.block == u64::from(self.inode_block)
            && i16::try_from(difference).is_ok()
    }
}

/// One entry of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// Where its inode lies.
    pub inode: Reference,
    /// Its inode number.
    pub inode_number: u32,
    /// What it is.
    pub kind: InodeKind,
    /// Its name, checked with [`check_name`].
    pub name: &'a [u8],
}

impl<'a> DirectoryEntry<'a> {
    /// Reads an entry of the run of `header` off the front of `bytes`, and returns it with its size.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short, its name may not be a name or its type or reference is out of range.
    pub fn parse(
        header: &DirectoryHeader,
        bytes: &'a [u8],
    ) -> Result<(DirectoryEntry<'a>, usize), FormatError> {
        let mut fields = Fields::new("directory", bytes);
        let offset = fields.u16()?;
        let difference = i16::from_le_bytes(fields.take()?);
        let kind = InodeKind::from_number(fields.u16()?)?;
        let name_size = usize::from(fields.u16()?) + 1;
        if name_size > NAME_LIMIT {
            return Err(fields.malformed("a name is longer than 255 bytes"));
        }
        let name = fields.slice(name_size)?;
        check_name(name)?;
        let inode = Reference::new(u64::from(header.inode_block), offset)?;
        let inode_number = header
            .inode_number
            .checked_add_signed(i32::from(difference))
            .ok_or(fields.malformed("an inode number is out of range"))?;
        Ok((DirectoryEntry { inode, inode_number, kind, name }, DIRECTORY_ENTRY_SIZE + name_size))
    }

    /// Appends the entry as it stands on disk in the run of `header`, which [`DirectoryHeader::takes`] it. Its name is one
    /// that [`check_name`] accepts.
    pub fn write(&self, header: &DirectoryHeader, bytes: &mut Vec<u8>) {
        let difference = self.inode_number.wrapping_sub(header.inode_number) as u16;
        let name_size = (self.name.len() as u16).wrapping_sub(1);
        for field in [self.inode.offset, difference, self.kind.number(), name_size] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(self.name);
    }
}

/// An entry of a directory's index, which follows the inode of a large directory: where a run begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryIndexEntry {
    /// Offset of the run's header in the listing.
    pub listing_offset: u32,
    /// Offset of its metadata block, counted from the start of the directory table.
    pub block: u32,
    /// Length of the name that follows: that of the run's first entry.
    pub name_size: usize,
}

impl DirectoryIndexEntry {
    /// Size of an index entry without its name.
    pub const SIZE: usize = 12;

    /// Reads an index entry without its name.
    ///
    /// # Errors
    /// [`FormatError`] where it is cut short or its name is longer than [`NAME_LIMIT`].
    pub fn parse(bytes: &[u8]) -> Result<DirectoryIndexEntry, FormatError> {
        let mut fields = Fields::new("directory index", bytes);
        let (listing_offset, block) = (fields.u32()?, fields.u32()?);
        let name_size = usize::try_from(fields.u32()?).unwrap_or(usize::MAX).saturating_add(1);
        if name_size > NAME_LIMIT {
            return Err(fields.malformed("a name is longer than 255 bytes"));
        }
        Ok(DirectoryIndexEntry { listing_offset, block, name_size })
    }

    /// The entry as it stands on disk, without its name.
    pub fn to_bytes(&self) -> [u8; DirectoryIndexEntry::SIZE] {
        let mut bytes = [0; DirectoryIndexEntry::SIZE];
        let name_size = (self.name_size as u32).wrapping_sub(1);
        for (field, at) in [self.listing_offset, self.block, name_size].into_iter().zip([0, 4, 8]) {
            bytes[at..at + 4].copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }
}

/// Checks that `name` can be the name of a file in a folder and nothing else: not empty, `.` or `..`, without `/` and
/// NUL, at most [`NAME_LIMIT`] bytes.
///
/// # Errors
/// [`FormatError::Malformed`] which names the rule.
pub fn check_name(name: &[u8]) -> Result<(), FormatError> {
    let rule = match name {
        b"" => "a name is empty",
        b"." | b".." => "a name is `.` or `..`",
        _ if name.len() > NAME_LIMIT => "a name is longer than 255 bytes",
        _ if name.contains(&b'/') => "a name contains `/`",
        _ if name.contains(&0) => "a name contains NUL",
        _ => return Ok(()),
    };
    Err(FormatError::Malformed { structure: "directory", rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: DirectoryHeader = DirectoryHeader { entries: 1, inode_block: 300, inode_number: 50 };

    fn entry(offset: u16, difference: i16, kind: u16, name: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&offset.to_le_bytes());
        bytes.extend_from_slice(&difference.to_le_bytes());
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&(name.len().wrapping_sub(1) as u16).to_le_bytes());
        bytes.extend_from_slice(name);
        bytes
    }

    #[test]
    fn headers_count_up_to_256_entries() {
        let bytes = |count: u32| [count, 7, 9].map(u32::to_le_bytes).concat();
        let header = DirectoryHeader::parse(&bytes(255)).unwrap();
        assert_eq!(header, DirectoryHeader { entries: 256, inode_block: 7, inode_number: 9 });
        assert_eq!(header.to_bytes()[..], bytes(255)[..]);
        for bad in [256, u32::MAX] {
            assert!(DirectoryHeader::parse(&bytes(bad)).is_err());
        }
        assert!(DirectoryHeader::parse(&bytes(1)[..11]).is_err());
    }

    #[test]
    fn an_entry_is_read() {
        let bytes = [entry(96, -3, 2, b"caf\xe9"), b"next".to_vec()].concat();
        let (read, size) = DirectoryEntry::parse(&HEADER, &bytes).unwrap();
        assert_eq!(size, 12);
        assert_eq!(read.inode, Reference { block: 300, offset: 96 });
        assert_eq!((read.inode_number, read.kind, read.name), (47, InodeKind::File, &b"caf\xe9"[..]));
        let mut written = Vec::new();
        read.write(&HEADER, &mut written);
        assert_eq!(written, bytes[..12]);
    }

    #[test]
    fn a_run_takes_what_lies_near() {
        let at = |block| Reference { block, offset: 0 };
        assert!(HEADER.takes(at(300), 50) && HEADER.takes(at(300), 50 + 32_767) && HEADER.takes(at(300), 1));
        assert!(!HEADER.takes(at(301), 50) && !HEADER.takes(at(300), 50 + 32_768));
        assert!(!HEADER.takes(at(1 << 32 | 300), 50));
        assert!(!DirectoryHeader { entries: 256, ..HEADER }.takes(at(300), 50));
        assert!(!DirectoryHeader { inode_number: 40_000, ..HEADER }.takes(at(300), 7231));
        assert!(DirectoryHeader { inode_number: 40_000, ..HEADER }.takes(at(300), 7232));
    }

    #[test]
    fn entries_that_lie_are_refused() {
        let cases = [
            ("dot", entry(0, 0, 1, b".")),
            ("dots", entry(0, 0, 1, b"..")),
            ("slash", entry(0, 0, 2, b"a/b")),
            ("NUL", entry(0, 0, 2, b"a\0")),
            ("256 bytes", entry(0, 0, 2, &[b'a'; 256])),
            ("a name longer than the bytes", entry(0, 0, 2, b"")),
            ("extended type", entry(0, 0, 8, b"a")),
            ("type 0", entry(0, 0, 0, b"a")),
            ("offset", entry(8192, 0, 2, b"a")),
            ("negative number", entry(0, -51, 2, b"a")),
            ("cut short", entry(0, 0, 2, b"abc")[..10].to_vec()),
        ];
        for (what, bytes) in cases {
            assert!(DirectoryEntry::parse(&HEADER, &bytes).is_err(), "{what}");
        }
        assert!(DirectoryEntry::parse(&HEADER, &entry(0, 0, 2, &[b'a'; 255])).is_ok());
        assert!(check_name(b"").is_err());
        assert!(check_name(b"...").is_ok());
    }

    #[test]
    fn index_entries_are_bounded() {
        let bytes = |size: u32| [10, 20, size].map(u32::to_le_bytes).concat();
        let read = DirectoryIndexEntry::parse(&bytes(4)).unwrap();
        assert_eq!(read, DirectoryIndexEntry { listing_offset: 10, block: 20, name_size: 5 });
        assert_eq!(read.to_bytes()[..], bytes(4)[..]);
        for bad in [255, u32::MAX] {
            assert!(DirectoryIndexEntry::parse(&bytes(bad)).is_err());
        }
    }
}
