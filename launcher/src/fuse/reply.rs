//! Encodes answers as the kernel reads them from /dev/fuse. Pure: values in, bytes out.

use pack_schemas::squashfs::InodeKind;

/// Seconds that entries, attributes and absent names stay valid: for ever (34,000 years), and far from where the
/// kernel's arithmetic in jiffies could overflow.
const FOREVER: u64 = 1 << 40;

/// Size of `struct fuse_out_header`.
pub const HEADER_SIZE: usize = 16;
/// Size of `struct fuse_entry_out`.
const ENTRY_SIZE: usize = 128;
/// Size of `struct fuse_dirent` without its name.
const FOLDER_ENTRY_SIZE: usize = 24;

/// The attributes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Inode number.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// Bytes that are stored.
    pub stored: u64,
    /// All three times, in seconds since 1970.
    pub modified: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of links.
    pub links: u32,
    /// User.
    pub user: u32,
    /// Group.
    pub group: u32,
    /// Device number of a device.
    pub device: u32,
    /// Best size of a read.
    pub block_size: u32,
}

/// An answer in the making: the header, and what follows it.
#[derive(Debug, Default)]
pub struct Reply {
    /// The first `length` bytes are the answer; what follows is left over from former ones, so that room for a read
    /// need not be cleared first.
    bytes: Vec<u8>,
    length: usize,
}

impl Reply {
    /// Begins an answer.
    pub fn begin(&mut self) {
        self.length = 0;
        self.bytes(&[0; HEADER_SIZE]);
    }

    /// Ends an answer that has a body, and returns its bytes.
    pub fn finish(&mut self, unique: u64) -> &[u8] {
        self.header(unique, 0)
    }

    /// Makes the answer an error, whatever its body was, and returns its bytes.
    pub fn fail(&mut self, unique: u64, errno: i32) -> &[u8] {
        self.begin();
        self.header(unique, errno)
    }

    fn header(&mut self, unique: u64, errno: i32) -> &[u8] {
        // An answer is at most a few MiB.
        let length = self.length as u32;
        let header = &mut self.bytes[..HEADER_SIZE];
        header[..4].copy_from_slice(&length.to_ne_bytes());
        header[4..8].copy_from_slice(&(-errno).to_ne_bytes());
        header[8..].copy_from_slice(&unique.to_ne_bytes());
        &self.bytes[..self.length]
    }

    /// Number of bytes of the body.
    pub fn body_size(&self) -> usize {
        self.length.saturating_sub(HEADER_SIZE)
    }

    /// Makes room for `size` more bytes, which hold anything, and counts them in.
    fn room(&mut self, size: usize) -> &mut [u8] {
        let start = self.length;
        self.length += size;
        if self.bytes.len() < self.length {
            self.bytes.resize(self.length, 0);
        }
        &mut self.bytes[start..self.length]
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends a body of at most `size` bytes that `fill` writes; it returns how many bytes it wrote.
    ///
    /// # Errors
    /// What `fill` returns.
    pub fn fill<E>(
        &mut self,
        size: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let count = fill(self.room(size))?;
        self.length -= size - count.min(size);
        Ok(())
    }

    /// Gives memory back that a large answer took, down to `bytes`. The answer must have been sent.
    pub fn shrink_to(&mut self, bytes: usize) {
        if self.bytes.len() > bytes {
            self.bytes.truncate(bytes);
            self.bytes.shrink_to_fit();
            self.length = 0;
        }
    }

    fn u16(&mut self, number: u16) {
        self.bytes(&number.to_ne_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.bytes(&number.to_ne_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.bytes(&number.to_ne_bytes());
    }

    /// `struct fuse_entry_out`: a node and its attributes.
    pub fn entry(&mut self, node: u64, attributes: &Attributes) {
        // Generation 0: a node's number always means the same node.
        for number in [node, 0, FOREVER, FOREVER, 0] {
            self.u64(number);
        }
        self.attributes(attributes);
    }

    /// `struct fuse_entry_out` for a name that is not there, which is true for ever.
    pub fn absent(&mut self) {
        for number in [0, 0, FOREVER, 0, 0] {
            self.u64(number);
        }
        self.bytes(&[0; 88]);
    }

    /// `struct fuse_attr_out`.
    pub fn attributes_alone(&mut self, attributes: &Attributes) {
        self.u64(FOREVER);
        self.u64(0);
        self.attributes(attributes);
    }

    /// `struct fuse_attr`.
    fn attributes(&mut self, attributes: &Attributes) {
        let modified = attributes.modified;
        for number in
            [attributes.inode, attributes.size, attributes.stored.div_ceil(512), modified, modified, modified]
        {
            self.u64(number);
        }
        let Attributes { mode, links, user, group, device, block_size, .. } = *attributes;
        for number in [0, 0, 0, mode, links, user, group, device, block_size, 0] {
            self.u32(number);
        }
    }

    /// `struct fuse_dirent`, or `struct fuse_direntplus` where `with_nodes`; `node` is then the entry's node where it
    /// could be read, and the kernel asks for it when it is wanted where not. Returns false, and appends nothing, where
    /// the body would become longer than `most`.
    pub fn folder_entry(&mut self, entry: &FolderEntry<'_>, with_nodes: bool, most: usize) -> bool {
        let node_size = if with_nodes { ENTRY_SIZE } else { 0 };
        let size = (node_size + FOLDER_ENTRY_SIZE + entry.name.len()).next_multiple_of(8);
        if self.body_size() + size > most {
            return false;
        }
        let end = self.length + size;
        match &entry.node {
            Some((node, attributes)) if with_nodes => self.entry(*node, attributes),
            _ => self.bytes(&[0; ENTRY_SIZE][..node_size]),
        }
        self.u64(entry.inode);
        self.u64(entry.next);
        // A name has at most 255 bytes.
        self.u32(entry.name.len() as u32);
        self.u32(entry_type(entry.kind));
        self.bytes(entry.name);
        self.room(end - self.length).fill(0);
        true
    }

    /// `struct fuse_getxattr_out`: how long a value or list would be.
    pub fn length(&mut self, length: u32) {
        self.u32(length);
        self.u32(0);
    }

    /// `struct fuse_lseek_out`.
    pub fn offset(&mut self, offset: u64) {
        self.u64(offset);
    }

    /// `struct fuse_statfs_out`: a full file system of `blocks` blocks.
    pub fn statistics(&mut self, block_size: u32, blocks: u64, inodes: u64) {
        for number in [blocks, 0, 0, inodes, 0] {
            self.u64(number);
        }
        for number in [block_size, 255, block_size, 0] {
            self.u32(number);
        }
        self.bytes(&[0; 24]);
    }

    /// `struct fuse_init_out`.
    pub fn initialised(&mut self, settings: &Settings) {
        self.u32(settings.major);
        self.u32(settings.minor);
        self.u32(settings.max_readahead);
        self.u32(settings.flags as u32);
        self.u16(settings.max_background);
        // Congested, in the kernel's sense, at three quarters, as its own default is.
        self.u16(settings.max_background / 4 * 3);
        // No write is ever asked for; this is the least that the kernel takes.
        self.u32(4096);
        // Times have whole seconds.
        self.u32(1_000_000_000);
        self.u16(settings.max_pages);
        self.u16(0);
        self.u32((settings.flags >> 32) as u32);
        self.bytes(&[0; 28]);
    }
}

/// An entry of a folder.
#[derive(Debug)]
pub struct FolderEntry<'a> {
    /// Inode number.
    pub inode: u64,
    /// Where the listing goes on behind it.
    pub next: u64,
    /// What it is.
    pub kind: InodeKind,
    /// Its name.
    pub name: &'a [u8],
    /// Its node and attributes.
    pub node: Option<(u64, Attributes)>,
}

/// What was agreed on with the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Major version of the protocol.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Most bytes that the kernel reads ahead.
    pub max_readahead: u32,
    /// Features in use.
    pub flags: u64,
    /// Most requests in flight that nobody waits for.
    pub max_background: u16,
    /// Most pages of one read.
    pub max_pages: u16,
}

/// `DT_…` of a directory entry, which is the type of a mode without its lower bits.
fn entry_type(kind: InodeKind) -> u32 {
    mode_type(kind) >> 12
}

/// `S_IF…` of a mode.
pub fn mode_type(kind: InodeKind) -> u32 {
    match kind {
        InodeKind::Directory => libc::S_IFDIR,
        InodeKind::File => libc::S_IFREG,
        InodeKind::Symlink => libc::S_IFLNK,
        InodeKind::BlockDevice => libc::S_IFBLK,
        InodeKind::CharacterDevice => libc::S_IFCHR,
        InodeKind::Fifo => libc::S_IFIFO,
        InodeKind::Socket => libc::S_IFSOCK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            inode: 5,
            size: 1000,
            stored: 513,
            modified: 77,
            mode: 0o100_644,
            links: 2,
            user: 3,
            group: 4,
            device: 0,
            block_size: 4096,
        }
    }

    /// Sizes from `include/uapi/linux/fuse.h`.
    #[test]
    fn structures_have_the_sizes_of_the_kernels() {
        type Encode = fn(&mut Reply);
        let settings = |reply: &mut Reply| {
            reply.initialised(&Settings {
                major: 7,
                minor: 36,
                max_readahead: 1,
                flags: 1,
                max_background: 64,
                max_pages: 256,
            });
        };
        let cases: [(&str, usize, Encode); 7] = [
            ("fuse_entry_out", 128, |reply| reply.entry(9, &attributes())),
            ("fuse_entry_out", 128, Reply::absent),
            ("fuse_attr_out", 104, |reply| reply.attributes_alone(&attributes())),
            ("fuse_getxattr_out", 8, |reply| reply.length(1)),
            ("fuse_lseek_out", 8, |reply| reply.offset(1)),
            ("fuse_statfs_out", 80, |reply| reply.statistics(4096, 1, 1)),
            ("fuse_init_out", 64, settings),
        ];
        for (structure, size, encode) in cases {
            let mut reply = Reply::default();
            reply.begin();
            encode(&mut reply);
            assert_eq!(reply.body_size(), size, "{structure}");
            let bytes = reply.finish(7);
            assert_eq!(bytes[..4], (size as u32 + 16).to_ne_bytes());
            assert_eq!(bytes[4..8], [0; 4]);
            assert_eq!(bytes[8..16], 7u64.to_ne_bytes());
        }
    }

    #[test]
    fn an_error_has_no_body() {
        let mut reply = Reply::default();
        reply.begin();
        reply.bytes(b"half an answer");
        let bytes = reply.fail(7, libc::EIO);
        assert_eq!(bytes, [&16u32.to_ne_bytes()[..], &(-5i32).to_ne_bytes(), &7u64.to_ne_bytes()].concat());
    }

    #[test]
    fn folder_entries_are_aligned_and_stop_at_the_limit() {
        for (with_nodes, size) in [(false, 32), (true, 160)] {
            let mut reply = Reply::default();
            reply.begin();
            let entry = FolderEntry {
                inode: 5,
                next: 6,
                kind: InodeKind::Directory,
                name: b"abc",
                node: Some((9, attributes())),
            };
            assert!(reply.folder_entry(&entry, with_nodes, size));
            assert_eq!(reply.body_size(), size);
            assert!(!reply.folder_entry(&entry, with_nodes, size * 2 - 1));
            assert_eq!(reply.body_size(), size);
            let bytes = reply.finish(1).to_vec();
            let dirent = &bytes[bytes.len() - 32..];
            assert_eq!(dirent[16..20], 3u32.to_ne_bytes());
            assert_eq!(dirent[20..24], 4u32.to_ne_bytes());
            assert_eq!(&dirent[24..], b"abc\0\0\0\0\0");
        }
    }
}
