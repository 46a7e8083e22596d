//! Makes squashfs images that no tool would make: every number is what the test says.

use pack_schemas::squashfs::NONE;

/// An image in the making.
pub struct Forge {
    /// What stands between superblock and inode table.
    pub data: Vec<u8>,
    inodes: Vec<u8>,
    directories: Vec<u8>,
    /// Entries of the fragment table.
    pub fragments: Vec<u8>,
    /// Keys and values of extended attributes, and entries of the table of sets.
    pub attributes: Option<(Vec<u8>, Vec<u8>)>,
    /// Superblock fields that are to lie, by offset.
    pub lies: Vec<(usize, Vec<u8>)>,
    /// log2 of the block size.
    pub block_log: u16,
    /// Whether inodes and directories are compressed.
    pub compressed: bool,
    /// Number of the owner, in the table of ids, of the inodes that are added from now on. The table has one entry.
    pub owner: u16,
}

/// Where a listing lies: block, offset, and length.
pub type Listing = (u32, u16, u32);

const BLOCK: usize = 8192;

impl Forge {
    pub fn new() -> Forge {
        Forge {
            data: Vec::new(),
            inodes: Vec::new(),
            directories: Vec::new(),
            fragments: Vec::new(),
            attributes: None,
            lies: Vec::new(),
            block_log: 12,
            compressed: false,
            owner: 0,
        }
    }

    /// Adds an inode, and returns its reference.
    pub fn inode(&mut self, inode_type: u16, number: u32, body: &[&[u8]]) -> u64 {
        let at = self.inodes.len();
        for field in [inode_type, 0o755, self.owner, 0] {
            self.inodes.extend_from_slice(&field.to_le_bytes());
        }
        self.inodes.extend_from_slice(&[0; 4]);
        self.inodes.extend_from_slice(&number.to_le_bytes());
        self.inodes.extend(body.concat());
        ((at / BLOCK * (BLOCK + 2)) as u64) << 16 | (at % BLOCK) as u64
    }

    /// Adds a file without a fragment whose blocks lie at `blocks`.
    pub fn file(&mut self, number: u32, blocks: u32, size: u32, words: &[u32]) -> u64 {
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.inode(2, number, &[&w(blocks), &w(NONE), &w(0), &w(size), &words])
    }

    /// Adds a folder.
    pub fn folder(&mut self, number: u32, (block, offset, size): Listing, parent: u32) -> u64 {
        // The size field has 16 bits in the basic type, and counts `.` and `..` as 3.
        let size = size + 3;
        self.inode(8, number, &[&w(2), &w(size), &w(block), &w(parent), &h(0), &h(offset), &w(NONE)])
    }

    /// Adds a listing of one run for each entry: name, reference of the inode, type.
    pub fn listing(&mut self, entries: &[(&[u8], u64, u16)]) -> Listing {
        let at = self.directories.len();
        for (name, reference, kind) in entries {
            self.directories.extend(w(0));
            self.directories.extend(w((reference >> 16) as u32));
            self.directories.extend(w(1));
            self.directories.extend(h(*reference as u16));
            self.directories.extend(h(0));
            self.directories.extend(h(*kind));
            self.directories.extend(h((name.len() as u16).wrapping_sub(1)));
            self.directories.extend_from_slice(name);
        }
        let size = self.directories.len() - at;
        ((at / BLOCK * (BLOCK + 2)) as u32, (at % BLOCK) as u16, size as u32)
    }

    /// Adds a folder with these entries as the root, and makes the image.
    pub fn with_root(mut self, entries: &[(&[u8], u64, u16)]) -> Vec<u8> {
        let listing = self.listing(entries);
        let root = self.folder(1000, listing, 1001);
        self.finish(root)
    }

    /// Cuts bytes into metadata blocks.
    fn metadata(&self, bytes: &[u8]) -> Vec<u8> {
        if !self.compressed {
            return metadata(bytes);
        }
        let block = |part: &[u8]| {
            let stored = zstd::bulk::compress(part, 19).unwrap();
            [&(stored.len() as u16).to_le_bytes()[..], &stored].concat()
        };
        bytes.chunks(BLOCK).flat_map(block).collect()
    }

    /// Makes the image.
    pub fn finish(mut self, root: u64) -> Vec<u8> {
        let mut image = vec![0; 96];
        image.extend_from_slice(&self.data);
        let inode_table = image.len() as u64;
        image.extend(self.metadata(&self.inodes));
        let directory_table = image.len() as u64;
        if self.directories.is_empty() {
            self.directories.push(0);
        }
        image.extend(self.metadata(&self.directories));
        let fragments = (self.fragments.len() / 16) as u32;
        let fragment_table = if fragments > 0 { table(&mut image, &self.fragments) } else { u64::MAX };
        let id_table = table(&mut image, &w(0));
        let attribute_table = self.attributes.take().map_or(u64::MAX, |(values, sets)| {
            let start = image.len() as u64;
            image.extend(metadata(&values));
            let sets_at = image.len() as u64;
            image.extend(metadata(&sets));
            let header = image.len() as u64;
            image.extend_from_slice(&start.to_le_bytes());
            image.extend(w((sets.len() / 16) as u32));
            image.extend(w(0));
            image.extend_from_slice(&sets_at.to_le_bytes());
            header
        });
        let used = image.len() as u64;
        let mut superblock = Vec::new();
        for field in [0x7371_7368, 2000, 0, 1 << self.block_log, fragments] {
            superblock.extend(w(field));
        }
        for field in [6, self.block_log, 0, 1, 4, 0] {
            superblock.extend(h(field));
        }
        for field in
            [root, used, id_table, attribute_table, inode_table, directory_table, fragment_table, u64::MAX]
        {
            superblock.extend_from_slice(&field.to_le_bytes());
        }
        image[..96].copy_from_slice(&superblock);
        for (at, bytes) in &self.lies {
            image[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        image.resize(image.len().next_multiple_of(4096), 0);
        image
    }
}

/// Cuts bytes into plain metadata blocks.
fn metadata(bytes: &[u8]) -> Vec<u8> {
    let block = |part: &[u8]| [&(0x8000 | part.len() as u16).to_le_bytes()[..], part].concat();
    bytes.chunks(BLOCK).flat_map(block).collect()
}

/// Appends a table of one metadata block, and its list; returns where the list lies.
fn table(image: &mut Vec<u8>, entries: &[u8]) -> u64 {
    let block = image.len() as u64;
    image.extend(metadata(entries));
    let list = image.len() as u64;
    image.extend_from_slice(&block.to_le_bytes());
    list
}

/// Four bytes.
pub fn w(number: u32) -> [u8; 4] {
    number.to_le_bytes()
}

/// Two bytes.
pub fn h(number: u16) -> [u8; 2] {
    number.to_le_bytes()
}

/// Eight bytes.
pub fn l(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}
