//! Inodes: sixteen common bytes, a body of a size fixed by the type, and for some types a tail of variable size that
//! the caller reads: the target of a symbolic link, the list of block sizes of a file, the index of a directory.

use super::{Fields, FormatError, METADATA_SIZE, NONE};

/// Longest fixed part of an inode in bytes; a caller that has this many bytes at hand has enough for any.
pub const INODE_SIZE_MOST: usize = 56;
/// Longest target of a symbolic link in bytes: Linux can make none longer (`PATH_MAX` less the NUL).
pub const SYMLINK_LIMIT: u32 = 4095;

/// A directory's size field counts the entries `.` and `..`, which are not stored, as three bytes.
const DIRECTORY_SIZE_BASE: u32 = 3;

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeKind {
    /// A folder.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharacterDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl InodeKind {
    /// Reads the number that stands in directory entries, the number of the basic inode type.
    ///
    /// # Errors
    /// [`FormatError::Malformed`] for a number that the format does not have there.
    pub fn from_number(number: u16) -> Result<InodeKind, FormatError> {
        Ok(match number {
            1 => InodeKind::Directory,
            2 => InodeKind::File,
            3 => InodeKind::Symlink,
            4 => InodeKind::BlockDevice,
            5 => InodeKind::CharacterDevice,
            6 => InodeKind::Fifo,
            7 => InodeKind::Socket,
            _ => return Err(FormatError::Malformed { structure: "inode", rule: "its type is unknown" }),
        })
    }

    /// The number that stands in directory entries.
    pub fn number(self) -> u16 {
        match self {
            InodeKind::Directory => 1,
            InodeKind::File => 2,
            InodeKind::Symlink => 3,
            InodeKind::BlockDevice => 4,
            InodeKind::CharacterDevice => 5,
            InodeKind::Fifo => 6,
            InodeKind::Socket => 7,
        }
    }
}

/// An inode without its tail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    /// Permission bits with set-uid, set-gid and sticky, no type.
    pub mode: u16,
    /// Number of the owner in the id table.
    pub owner: u16,
    /// Number of the group in the id table.
    pub group: u16,
    /// Time of last modification, in seconds since 1970.
    pub modified: u32,
    /// Inode number, at least 1.
    pub number: u32,
    /// Number of links; files of the basic type have 1.
    pub links: u32,
    /// Number of its attribute set. A symbolic link's stands after its target: see [`InodeDetail::Symlink`].
    pub attributes: Option<u32>,
    /// What the types differ in.
    pub detail: InodeDetail,
}

/// What the inode types differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InodeDetail {
    /// A folder; an index of `index_entries` entries follows.
    Directory(Directory),
    /// A regular file; the list of its block sizes follows.
    File(File),
    /// A symbolic link; its target follows.
    Symlink {
        /// Length of the target in bytes, 1 to [`SYMLINK_LIMIT`].
        target_size: u32,
        /// Whether the number of its attribute set, 4 bytes, follows the target.
        attributes_follow: bool,
    },
    /// A device, with its number in Linux's 32-bit encoding.
    Device {
        /// Block device, not character device.
        block: bool,
        /// The number.
        number: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What a directory's inode says of its listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    /// Offset of the metadata block where the listing begins, counted from the start of the directory table.
    pub block: u32,
    /// Offset of the listing in that block, less than [`METADATA_SIZE`].
    pub offset: u16,
    /// Length of the listing in bytes.
    pub size: u32,
    /// Inode number of the parent folder.
    pub parent: u32,
    /// Entries in the index that follows the inode.
    pub index_entries: u16,
}

/// What a file's inode says of its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Where its first block lies, counted from the start of the image.
    pub blocks: u64,
    /// Length in bytes, at most `i64::MAX`.
    pub size: u64,
    /// Bytes of it that are in holes, at most `size`.
    pub sparse: u64,
    /// Where its last, incomplete block lies, if in a fragment: number of the fragment, and offset in it.
    pub fragment: Option<(u32, u32)>,
}

impl Inode {
    /// Reads the fixed part of an inode off the front of `bytes`, and returns it with its size: that is where its tail
    /// begins. [`INODE_SIZE_MOST`] bytes are enough.
    ///
    /// # Errors
    /// [`FormatError::Short`] where `bytes` ends too early, [`FormatError::Malformed`] where a field cannot be true.
    pub fn parse(bytes: &[u8]) -> Result<(Inode, usize), FormatError> {
        let mut fields = Fields::new("inode", bytes);
        let inode_type = fields.u16()?;
        let mode = fields.u16()? & 0o7777;
        let (owner, group) = (fields.u16()?, fields.u16()?);
        let (modified, number) = (fields.u32()?, fields.u32()?);
        if number == 0 {
            return Err(fields.malformed("its number is 0"));
        }
        let (links, attributes, detail) = match inode_type {
            1 => basic_directory(&mut fields)?,
            2 => basic_file(&mut fields)?,
            8 => extended_directory(&mut fields)?,
            9 => extended_file(&mut fields)?,
            3 | 10 => symlink(&mut fields, inode_type == 10)?,
            4 | 5 | 11 | 12 => device(&mut fields, inode_type)?,
            6 | 7 | 13 | 14 => pipe_or_socket(&mut fields, inode_type)?,
            _ => return Err(fields.malformed("its type is unknown")),
        };
        let inode = Inode { mode, owner, group, modified, number, links: links.max(1), attributes, detail };
        inode.check(&fields)?;
        Ok((inode, bytes.len() - fields.bytes.len()))
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), FormatError> {
        match self.detail {
            InodeDetail::Directory(directory) if usize::from(directory.offset) >= METADATA_SIZE => {
                Err(fields.malformed("its listing begins outside of a metadata block"))
            }
            InodeDetail::File(file) if i64::try_from(file.size).is_err() => {
                Err(fields.malformed("its size is negative"))
            }
            InodeDetail::Symlink { target_size, .. } if target_size == 0 || target_size > SYMLINK_LIMIT => {
                Err(fields.malformed("the link's target is empty or longer than a path may be"))
            }
            _ => Ok(()),
        }
    }

    /// Appends the fixed part of the inode as it stands on disk: of the basic type where that can hold it, else of the
    /// extended one. The tail is the caller's to append.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        let extended = self.needs_extended();
        let inode_type = self.kind().number() + if extended { EXTENDED } else { 0 };
        for field in [inode_type, self.mode, self.owner, self.group] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        put(bytes, &[self.modified, self.number]);
        let attributes = self.attributes.unwrap_or(NONE);
        match self.detail {
            InodeDetail::Directory(directory) if extended => {
                let size = directory.size.saturating_add(DIRECTORY_SIZE_BASE);
                put(bytes, &[self.links, size, directory.block, directory.parent]);
                bytes.extend_from_slice(&directory.index_entries.to_le_bytes());
                bytes.extend_from_slice(&directory.offset.to_le_bytes());
                put(bytes, &[attributes]);
            }
            InodeDetail::Directory(directory) => {
                put(bytes, &[directory.block, self.links]);
                // It fits, or the inode would be extended.
                let size = (directory.size + DIRECTORY_SIZE_BASE) as u16;
                bytes.extend_from_slice(&size.to_le_bytes());
                bytes.extend_from_slice(&directory.offset.to_le_bytes());
                put(bytes, &[directory.parent]);
            }
            InodeDetail::File(file) => {
                let (fragment, offset) = file.fragment.unwrap_or((NONE, 0));
                if extended {
                    for field in [file.blocks, file.size, file.sparse] {
                        bytes.extend_from_slice(&field.to_le_bytes());
                    }
                    put(bytes, &[self.links, fragment, offset, attributes]);
                } else {
                    // Both fit, or the inode would be extended.
                    put(bytes, &[file.blocks as u32, fragment, offset, file.size as u32]);
                }
            }
            InodeDetail::Symlink { target_size, .. } => put(bytes, &[self.links, target_size]),
            InodeDetail::Device { number, .. } => put(bytes, &[self.links, number]),
            InodeDetail::Fifo | InodeDetail::Socket => put(bytes, &[self.links]),
        }
        if extended
            && matches!(self.detail, InodeDetail::Device { .. } | InodeDetail::Fifo | InodeDetail::Socket)
        {
            put(bytes, &[attributes]);
        }
    }

    /// Whether the basic type has no room for it.
    fn needs_extended(&self) -> bool {
        let fits = |number: u64| u32::try_from(number).is_ok();
        self.attributes.is_some()
            || match self.detail {
                InodeDetail::Directory(directory) => {
                    directory.index_entries > 0 || directory.size > u32::from(u16::MAX) - DIRECTORY_SIZE_BASE
                }
                InodeDetail::File(file) => {
                    self.links > 1 || file.sparse > 0 || !fits(file.blocks) || !fits(file.size)
                }
                InodeDetail::Symlink { attributes_follow, .. } => attributes_follow,
                _ => false,
            }
    }

    /// What it is.
    pub fn kind(&self) -> InodeKind {
        match self.detail {
            InodeDetail::Directory(_) => InodeKind::Directory,
            InodeDetail::File(_) => InodeKind::File,
            InodeDetail::Symlink { .. } => InodeKind::Symlink,
            InodeDetail::Device { block: true, .. } => InodeKind::BlockDevice,
            InodeDetail::Device { block: false, .. } => InodeKind::CharacterDevice,
            InodeDetail::Fifo => InodeKind::Fifo,
            InodeDetail::Socket => InodeKind::Socket,
        }
    }
}

/// What the number of an extended type has more than that of the basic one.
const EXTENDED: u16 = 7;

fn put(bytes: &mut Vec<u8>, fields: &[u32]) {
    fields.iter().for_each(|field| bytes.extend_from_slice(&field.to_le_bytes()));
}

/// Links, attribute set and detail: what a body says.
type Body = (u32, Option<u32>, InodeDetail);

fn optional(number: u32) -> Option<u32> {
    (number != NONE).then_some(number)
}

fn listing_size(fields: &Fields<'_>, size: u32) -> Result<u32, FormatError> {
    size.checked_sub(DIRECTORY_SIZE_BASE).ok_or(fields.malformed("a folder's size is less than 3"))
}

fn basic_directory(fields: &mut Fields<'_>) -> Result<Body, FormatError> {
    let block = fields.u32()?;
    let links = fields.u32()?;
    let size = u32::from(fields.u16()?);
    let offset = fields.u16()?;
    let parent = fields.u32()?;
    let size = listing_size(fields, size)?;
    Ok((links, None, InodeDetail::Directory(Directory { block, offset, size, parent, index_entries: 0 })))
}

fn extended_directory(fields: &mut Fields<'_>) -> Result<Body, FormatError> {
    let links = fields.u32()?;
    let size = fields.u32()?;
    let block = fields.u32()?;
    let parent = fields.u32()?;
    let index_entries = fields.u16()?;
    let offset = fields.u16()?;
    let attributes = optional(fields.u32()?);
    let size = listing_size(fields, size)?;
    Ok((links, attributes, InodeDetail::Directory(Directory { block, offset, size, parent, index_entries })))
}

fn basic_file(fields: &mut Fields<'_>) -> Result<Body, FormatError> {
    let blocks = u64::from(fields.u32()?);
    let (fragment, offset) = (fields.u32()?, fields.u32()?);
    let size = u64::from(fields.u32()?);
    let fragment = optional(fragment).map(|number| (number, offset));
    Ok((1, None, InodeDetail::File(File { blocks, size, sparse: 0, fragment })))
}

fn extended_file(fields: &mut Fields<'_>) -> Result<Body, FormatError> {
    let blocks = fields.u64()?;
    let size = fields.u64()?;
    // Only ever subtracted from the size, for the number of disk blocks shown.
    let sparse = fields.u64()?.min(size);
    let links = fields.u32()?;
    let (fragment, offset) = (fields.u32()?, fields.u32()?);
    let attributes = optional(fields.u32()?);
    let fragment = optional(fragment).map(|number| (number, offset));
    Ok((links, attributes, InodeDetail::File(File { blocks, size, sparse, fragment })))
}

fn symlink(fields: &mut Fields<'_>, extended: bool) -> Result<Body, FormatError> {
    let links = fields.u32()?;
    let target_size = fields.u32()?;
    Ok((links, None, InodeDetail::Symlink { target_size, attributes_follow: extended }))
}

fn device(fields: &mut Fields<'_>, inode_type: u16) -> Result<Body, FormatError> {
    let links = fields.u32()?;
    let number = fields.u32()?;
    let attributes = if inode_type > 7 { optional(fields.u32()?) } else { None };
    Ok((links, attributes, InodeDetail::Device { block: matches!(inode_type, 4 | 11), number }))
}

fn pipe_or_socket(fields: &mut Fields<'_>, inode_type: u16) -> Result<Body, FormatError> {
    let links = fields.u32()?;
    let attributes = if inode_type > 7 { optional(fields.u32()?) } else { None };
    let detail = if matches!(inode_type, 6 | 13) { InodeDetail::Fifo } else { InodeDetail::Socket };
    Ok((links, attributes, detail))
}

/// Number of entries in the list of block sizes of a file: a last, incomplete block in a fragment has none.
pub fn block_count(file: &File, block_size: u32) -> u64 {
    let block_size = u64::from(block_size);
    match file.fragment {
        Some(_) => file.size / block_size,
        None => file.size.div_ceil(block_size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inode(inode_type: u16, body: &[&[u8]]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for field in [inode_type, 0o100_755, 1, 2] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&1_700_000_000u32.to_le_bytes());
        bytes.extend_from_slice(&9u32.to_le_bytes());
        body.iter().for_each(|part| bytes.extend_from_slice(part));
        bytes
    }

    fn word(number: u32) -> [u8; 4] {
        number.to_le_bytes()
    }

    fn long(number: u64) -> [u8; 8] {
        number.to_le_bytes()
    }

    fn half(number: u16) -> [u8; 2] {
        number.to_le_bytes()
    }

    #[test]
    fn every_type_is_read() {
        let listing = Directory { block: 5, offset: 6, size: 97, parent: 8, index_entries: 0 };
        let indexed = Directory { index_entries: 4, ..listing };
        let contents = File { blocks: 1000, size: 5000, sparse: 0, fragment: None };
        let tail = File { fragment: Some((3, 77)), ..contents };
        let holes = File { sparse: 4096, ..tail };
        let link = |attributes_follow| InodeDetail::Symlink { target_size: 11, attributes_follow };
        let device = |block| InodeDetail::Device { block, number: 0x103 };
        type Case<'a> = (u16, Vec<&'a [u8]>, u32, Option<u32>, InodeDetail);
        let (none, w) = (word(NONE), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].map(word));
        let (hundred, big, size, parts) = (word(100), word(1000), word(5000), [half(100), half(6), half(4)]);
        let (longs, fragment) = ([long(1000), long(5000), long(4096)], word(77));
        let number = word(0x103);
        let cases: Vec<Case<'_>> = vec![
            (1, vec![&w[5], &w[2], &parts[0], &parts[1], &w[8]], 2, None, InodeDetail::Directory(listing)),
            (2, vec![&big, &none, &w[0], &size], 1, None, InodeDetail::File(contents)),
            (2, vec![&big, &w[3], &fragment, &size], 1, None, InodeDetail::File(tail)),
            (3, vec![&w[1], &w[11]], 1, None, link(false)),
            (4, vec![&w[1], &number], 1, None, device(true)),
            (5, vec![&w[1], &number], 1, None, device(false)),
            (6, vec![&w[1]], 1, None, InodeDetail::Fifo),
            (7, vec![&w[2]], 2, None, InodeDetail::Socket),
            (
                8,
                vec![&w[2], &hundred, &w[5], &w[8], &parts[2], &parts[1], &w[7]],
                2,
                Some(7),
                InodeDetail::Directory(indexed),
            ),
            (
                9,
                vec![&longs[0], &longs[1], &longs[2], &w[3], &w[3], &fragment, &none],
                3,
                None,
                InodeDetail::File(holes),
            ),
            (10, vec![&w[1], &w[11]], 1, None, link(true)),
            (11, vec![&w[1], &number, &w[7]], 1, Some(7), device(true)),
            (12, vec![&w[1], &number, &none], 1, None, device(false)),
            (13, vec![&w[1], &w[7]], 1, Some(7), InodeDetail::Fifo),
            (14, vec![&w[1], &w[7]], 1, Some(7), InodeDetail::Socket),
        ];
        for (inode_type, body, links, attributes, detail) in cases {
            let bytes = inode(inode_type, &body);
            assert!(bytes.len() <= INODE_SIZE_MOST);
            let (read, size) = Inode::parse(&[&bytes[..], b"tail"].concat()).unwrap();
            assert_eq!(size, bytes.len(), "type {inode_type}");
            let expected = Inode {
                mode: 0o755,
                owner: 1,
                group: 2,
                modified: 1_700_000_000,
                number: 9,
                links,
                attributes,
                detail,
            };
            assert_eq!(read, expected, "type {inode_type}");
            // What is written is read as the same, in the least type that holds it.
            let mut written = Vec::new();
            read.write(&mut written);
            assert_eq!(Inode::parse(&written).unwrap(), (read, written.len()), "type {inode_type}");
            if !matches!(inode_type, 12 | 14) {
                let type_and_mode = [&inode_type.to_le_bytes()[..], &0o755u16.to_le_bytes()].concat();
                assert_eq!(written[..], [&type_and_mode, &bytes[4..]].concat(), "type {inode_type}");
            }
            for cut in 0..bytes.len() {
                assert!(matches!(Inode::parse(&bytes[..cut]), Err(FormatError::Short { .. })));
            }
        }
    }

    #[test]
    fn what_outgrows_the_basic_type_is_extended() {
        let written = |links, detail| {
            let (mut bytes, base) = (Vec::new(), (0o755, 0, 0));
            let (mode, owner, group) = base;
            let inode = Inode { mode, owner, group, modified: 1, number: 1, links, attributes: None, detail };
            inode.write(&mut bytes);
            assert_eq!(Inode::parse(&bytes).unwrap(), (inode, bytes.len()));
            u16::from_le_bytes([bytes[0], bytes[1]])
        };
        let file = |blocks, size, sparse| InodeDetail::File(File { blocks, size, sparse, fragment: None });
        let most = u64::from(u32::MAX);
        assert_eq!(written(1, file(most, most, 0)), 2);
        assert_eq!(written(2, file(most, most, 0)), 9);
        assert_eq!(written(1, file(most + 1, most, 0)), 9);
        assert_eq!(written(1, file(most, most + 1, 0)), 9);
        assert_eq!(written(1, file(0, 4096, 4096)), 9);
        let folder = |size, index_entries| {
            InodeDetail::Directory(Directory { block: 0, offset: 0, size, parent: 1, index_entries })
        };
        assert_eq!(written(2, folder(65_532, 0)), 1);
        assert_eq!(written(2, folder(65_533, 0)), 8);
        assert_eq!(written(2, folder(10, 1)), 8);
    }

    #[test]
    fn what_cannot_be_true_is_refused() {
        let mut unnumbered = inode(6, &[&word(1)]);
        unnumbered[12..16].fill(0);
        let cases = [
            ("number 0", unnumbered),
            ("type 0", inode(0, &[&[0; 40]])),
            ("type 15", inode(15, &[&[0; 40]])),
            ("folder smaller than its dots", inode(1, &[&word(0), &word(2), &half(2), &half(0), &word(1)])),
            ("listing outside of a block", inode(1, &[&word(0), &word(2), &half(3), &half(8192), &word(1)])),
            (
                "negative size",
                inode(9, &[&long(0), &long(1 << 63), &long(0), &word(1), &word(NONE), &word(0), &word(NONE)]),
            ),
            ("empty link", inode(3, &[&word(1), &word(0)])),
            ("huge link", inode(10, &[&word(1), &word(SYMLINK_LIMIT + 1)])),
        ];
        for (what, bytes) in cases {
            assert!(matches!(Inode::parse(&bytes), Err(FormatError::Malformed { .. })), "{what}");
        }
    }

    #[test]
    fn a_fragment_takes_the_incomplete_block() {
        let file = |size, fragment| File { blocks: 0, size, sparse: 0, fragment };
        assert_eq!(block_count(&file(0, None), 4096), 0);
        assert_eq!(block_count(&file(4096, None), 4096), 1);
        assert_eq!(block_count(&file(4097, None), 4096), 2);
        assert_eq!(block_count(&file(4097, Some((0, 0))), 4096), 1);
        assert_eq!(block_count(&file(i64::MAX as u64, None), 4096), 1 << 51);
    }
}
