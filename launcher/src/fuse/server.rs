//! Answers requests from an image.

use std::ops::ControlFlow;

use pack_schemas::squashfs::{InodeDetail, InodeKind, Reference};

use super::reply::{Attributes, FolderEntry, Reply, Settings, mode_type};
use super::request::{Initialise, Operation, Request, RequestError};
use crate::image::{Entry, EntryCookie, ImageError, Node, Reader, Seek};

/// Whom the files are shown as owned by. The ids in an image are those of the machine that made it and mean nothing
/// here, so every file belongs to the user who mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// User, as the mount's user namespace numbers it.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// Serves one image. Shared by any number of threads.
pub struct Server {
    reader: Reader,
    owner: Owner,
    /// Most pages of one read.
    max_pages: u16,
    /// Told of every request that the image could not answer.
    report: Box<dyn Fn(&ImageError) + Send + Sync>,
}

/// The root folder's number in the protocol.
const ROOT: u64 = 1;
/// Added to a reference to make the number of a node: 0 and 1 have a meaning of their own.
const NODE_BASE: u64 = 2;
/// Offsets of folder listings below this are `.` and `..`.
const ENTRIES_BASE: u64 = 2;

/// The version of the protocol that is spoken; the kernel's must be the same major and no older minor than
/// [`OLDEST_MINOR`].
const MAJOR: u32 = 7;
const MINOR: u32 = 36;
/// Since 7.23 the answer to the first request has its present size.
const OLDEST_MINOR: u32 = 23;
/// Most bytes of one read.
const READ_MOST: u32 = 1 << 20;
/// Most bytes of one piece of a folder listing.
const LISTING_MOST: u32 = 1 << 20;
/// Inodes that one piece of a listing may have to fetch. The files of a folder stand one behind the other, but each of its
/// folders stands behind all that is in it: the kernel asks for those that somebody looks at.
const INODES_FETCHED_MOST: usize = 16;
/// Requests in flight that nobody waits for: read-ahead, mostly.
const MAX_BACKGROUND: u16 = 64;

/// Features that are taken where the kernel offers them (`FUSE_…` of the kernel's header).
const FEATURES: u64 = ASYNC_READ
    | 1 << 13 // DO_READDIRPLUS
    | 1 << 14 // READDIRPLUS_AUTO: with nodes where somebody looks at them, without where only names are wanted
    | 1 << 15 // ASYNC_DIO
    | 1 << 17 // NO_OPEN_SUPPORT
    | 1 << 18 // PARALLEL_DIROPS
    | MAX_PAGES
    | 1 << 23 // CACHE_SYMLINKS
    | 1 << 24 // NO_OPENDIR_SUPPORT
    | INIT_EXT
    | 1 << 39; // HAS_RESEND: a process that takes over can have unanswered requests sent again
const ASYNC_READ: u64 = 1;
const MAX_PAGES: u64 = 1 << 22;
const INIT_EXT: u64 = 1 << 30;

/// Why a request is answered with an error.
enum Refusal {
    /// The image has no answer, and somebody should hear of it.
    Image(ImageError),
    /// An ordinary error number.
    Errno(i32),
}

impl From<ImageError> for Refusal {
    fn from(error: ImageError) -> Refusal {
        Refusal::Image(error)
    }
}

/// What to do with a request once it is dealt with.
#[derive(Debug)]
pub enum Answer<'a> {
    /// Send these bytes.
    Send(&'a [u8]),
    /// The kernel expects no answer.
    Nothing,
}

impl Server {
    /// Serves what `reader` reads. `report` is called for each request that failed because of the image.
    pub fn new(reader: Reader, owner: Owner, report: impl Fn(&ImageError) + Send + Sync + 'static) -> Server {
        // Asked here, since a confined thread may not ask.
        let max_pages =
            (READ_MOST as usize / rustix::param::page_size()).clamp(1, usize::from(u16::MAX)) as u16;
        Server { reader, owner, max_pages, report: Box::new(report) }
    }

    /// Answers the bytes of one request, as [`serve`](super::serve) reads it from /dev/fuse. Whatever they are: the kernel is as
    /// little trusted as the image.
    pub fn answer<'a>(&self, bytes: &[u8], reply: &'a mut Reply) -> Answer<'a> {
        let request = match Request::parse(bytes) {
            Ok(request) => request,
            Err(RequestError::NoHeader) => return Answer::Nothing,
            Err(RequestError::Short { unique }) => return Answer::Send(reply.fail(unique, libc::EIO)),
        };
        if request.operation == Operation::Forget {
            return Answer::Nothing;
        }
        reply.begin();
        Answer::Send(match self.handle(&request, reply) {
            Ok(()) => reply.finish(request.unique),
            Err(Refusal::Errno(errno)) => reply.fail(request.unique, errno),
            Err(Refusal::Image(error)) => {
                (self.report)(&error);
                reply.fail(request.unique, libc::EIO)
            }
        })
    }

    fn handle(&self, request: &Request<'_>, reply: &mut Reply) -> Result<(), Refusal> {
        match request.operation {
            Operation::Initialise(kernel) => self.initialise(&kernel, reply),
            Operation::LookUp { name } => self.look_up(&self.node(request.node)?, name, reply),
            Operation::Attributes => {
                let node = self.node(request.node)?;
                reply.attributes_alone(&self.attributes(&node));
                Ok(())
            }
            Operation::ReadLink => {
                let target = self.reader.read_link(&self.node(request.node)?)?;
                reply.bytes(&target.ok_or(Refusal::Errno(libc::EINVAL))?);
                Ok(())
            }
            Operation::Read { offset, size } => self.read(&self.node(request.node)?, offset, size, reply),
            Operation::ReadFolder { offset, size, with_nodes } => {
                self.read_folder(&self.node(request.node)?, offset, size, with_nodes, reply)
            }
            Operation::Seek { offset, whence } => self.seek(&self.node(request.node)?, offset, whence, reply),
            Operation::GetAttribute { name, size } => {
                self.need_attributes()?;
                let value = self.reader.attribute(&self.node(request.node)?, name)?;
                sized(&value.ok_or(Refusal::Errno(libc::ENODATA))?, size, reply)
            }
            Operation::ListAttributes { size } => {
                self.need_attributes()?;
                let names = self.reader.attribute_names(&self.node(request.node)?)?;
                sized(&for_everybody(&names), size, reply)
            }
            Operation::Statistics => {
                let superblock = self.reader.superblock();
                let blocks = superblock.bytes_used.div_ceil(u64::from(superblock.block_size));
                reply.statistics(superblock.block_size, blocks, superblock.inodes.into());
                Ok(())
            }
            Operation::Destroy => Ok(()),
            // Among them opening, closing, flushing and access checks: after one ENOSYS the kernel takes them as done,
            // and does not ask again.
            Operation::Forget | Operation::Other { .. } => Err(Refusal::Errno(libc::ENOSYS)),
        }
    }

    fn initialise(&self, kernel: &Initialise, reply: &mut Reply) -> Result<(), Refusal> {
        if kernel.major < MAJOR || (kernel.major == MAJOR && kernel.minor < OLDEST_MINOR) {
            return Err(Refusal::Errno(libc::EPROTO));
        }
        // A kernel of a later major version asks again with this one.
        reply.initialised(&Settings {
            major: MAJOR,
            minor: MINOR,
            max_readahead: kernel.max_readahead,
            flags: kernel.flags & FEATURES,
            max_background: MAX_BACKGROUND,
            max_pages: self.max_pages,
        });
        Ok(())
    }

    fn node(&self, number: u64) -> Result<Node, Refusal> {
        if number == ROOT {
            return Ok(self.reader.root()?);
        }
        let reference = number.checked_sub(NODE_BASE).map(Reference::from_raw);
        match reference {
            Some(Ok(reference)) => Ok(self.reader.node(reference)?),
            // The kernel knows only numbers that it was given here.
            _ => Err(Refusal::Errno(libc::ESTALE)),
        }
    }

    fn number(&self, node: &Node) -> u64 {
        if node.reference == self.reader.superblock().root {
            return ROOT;
        }
        // A reference is less than 2⁶⁴ - 2: its lower 16 bits are less than 8192.
        node.reference.to_raw() + NODE_BASE
    }

    fn look_up(&self, folder: &Node, name: &[u8], reply: &mut Reply) -> Result<(), Refusal> {
        if folder.inode.kind() != InodeKind::Directory {
            return Err(Refusal::Errno(libc::ENOTDIR));
        }
        match self.reader.lookup(folder, name)? {
            Some(node) => reply.entry(self.number(&node), &self.attributes(&node)),
            None => reply.absent(),
        }
        Ok(())
    }

    fn attributes(&self, node: &Node) -> Attributes {
        let inode = &node.inode;
        let (size, holes) = match inode.detail {
            InodeDetail::File(file) => (file.size, file.sparse),
            InodeDetail::Symlink { target_size, .. } => (target_size.into(), 0),
            // As the kernel shows it: `.` and `..`, which are not stored, count as three bytes.
            InodeDetail::Directory(directory) => (u64::from(directory.size) + 3, 0),
            _ => (0, 0),
        };
        let device = match inode.detail {
            InodeDetail::Device { number, .. } => number,
            _ => 0,
        };
        Attributes {
            inode: inode.number.into(),
            size,
            stored: size.saturating_sub(holes),
            modified: inode.modified.into(),
            mode: mode_type(inode.kind()) | u32::from(inode.mode),
            links: inode.links,
            user: self.owner.user,
            group: self.owner.group,
            device,
            block_size: self.reader.superblock().block_size,
        }
    }

    fn read(&self, node: &Node, offset: u64, size: u32, reply: &mut Reply) -> Result<(), Refusal> {
        match node.inode.detail {
            InodeDetail::File(file) => {
                if size > READ_MOST {
                    return Err(Refusal::Errno(libc::EINVAL));
                }
                // Room for no more than there is, so that little is cleared for small files.
                let size = u64::from(size).min(file.size.saturating_sub(offset)) as usize;
                Ok(reply.fill(size, |buffer| self.reader.read(node, offset, buffer))?)
            }
            InodeDetail::Directory(_) => Err(Refusal::Errno(libc::EISDIR)),
            _ => Err(Refusal::Errno(libc::EINVAL)),
        }
    }

    fn seek(&self, node: &Node, offset: u64, whence: u32, reply: &mut Reply) -> Result<(), Refusal> {
        let what = match i32::try_from(whence) {
            Ok(libc::SEEK_DATA) => Seek::Data,
            Ok(libc::SEEK_HOLE) => Seek::Hole,
            _ => return Err(Refusal::Errno(libc::EINVAL)),
        };
        let found = self.reader.seek(node, offset, what)?;
        reply.offset(found.ok_or(Refusal::Errno(libc::ENXIO))?);
        Ok(())
    }

    /// Where no file has extended attributes, ENOSYS keeps the kernel from ever asking again.
    fn need_attributes(&self) -> Result<(), Refusal> {
        if self.reader.has_attributes()? { Ok(()) } else { Err(Refusal::Errno(libc::ENOSYS)) }
    }

    fn read_folder(
        &self,
        folder: &Node,
        offset: u64,
        size: u32,
        with_nodes: bool,
        reply: &mut Reply,
    ) -> Result<(), Refusal> {
        let InodeDetail::Directory(directory) = folder.inode.detail else {
            return Err(Refusal::Errno(libc::ENOTDIR));
        };
        let most = size.min(LISTING_MOST) as usize;
        let dots = [(&b"."[..], folder.inode.number), (b"..", directory.parent)];
        for (at, (name, number)) in (0..).zip(dots).skip_while(|(at, _)| *at < offset) {
            let inode = number.into();
            let entry = FolderEntry { inode, next: at + 1, kind: InodeKind::Directory, name, node: None };
            if !reply.folder_entry(&entry, with_nodes, most) {
                return Ok(());
            }
        }
        let from = EntryCookie::from_raw(offset.saturating_sub(ENTRIES_BASE));
        let mut fetched = 0;
        let listed = self.reader.entries(folder, from, &mut |entry| {
            let at_hand = with_nodes && self.reader.has_at_hand(entry);
            let with_node = with_nodes && (at_hand || fetched < INODES_FETCHED_MOST);
            fetched += usize::from(with_node && !at_hand);
            let entry = self.folder_entry(folder, entry, with_node);
            match reply.folder_entry(&entry, with_nodes, most) {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        match listed {
            // What was found before the error is worth having; the next request will run into it.
            Err(_) if reply.body_size() > 0 => Ok(()),
            other => Ok(other?),
        }
    }

    fn folder_entry<'e>(&self, folder: &Node, entry: &Entry<'e>, with_node: bool) -> FolderEntry<'e> {
        // An inode that cannot be read fails whoever wants it, not the listing.
        let node = if with_node { self.reader.entry_node(folder, entry).ok() } else { None };
        FolderEntry {
            inode: entry.number.into(),
            next: ENTRIES_BASE + entry.next.to_raw(),
            kind: entry.kind,
            name: entry.name,
            node: node.map(|node| (self.number(&node), self.attributes(&node))),
        }
    }
}

/// Leaves out the names that only the host's root could read the values of (xattr(7)), and root cannot reach the mount.
fn for_everybody(names: &[u8]) -> Vec<u8> {
    let names = names.split_inclusive(|&byte| byte == 0);
    names.filter(|name| !name.starts_with(b"trusted.")).flatten().copied().collect()
}

/// Answers with bytes, or with their length where the caller has room for nothing.
fn sized(bytes: &[u8], size: u32, reply: &mut Reply) -> Result<(), Refusal> {
    match size as usize {
        // At most 64 KiB.
        0 => reply.length(bytes.len() as u32),
        room if room < bytes.len() => return Err(Refusal::Errno(libc::ERANGE)),
        _ => reply.bytes(bytes),
    }
    Ok(())
}
