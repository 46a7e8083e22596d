//! Extracts a package's files into a new folder, out of which nothing in the package can reach.
//!
//! 1. A hidden folder of mode 0700 is made beside where the files will be, and in it the new folder.
//! 2. The tree is walked; each entry is made relative to a descriptor of the new folder, through
//!    `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)` (openat2(2)) and never over something that is there. So a symbolic
//!    link out of the package is a link that nothing follows, and a name cannot lead out (CVE-2021-40153,
//!    CVE-2021-41072: unsquashfs wrote through `..` and through a link that a folder of the same name came after).
//! 3. The new folder is renamed to its place, where nothing may be.
//!
//! On any error the hidden folder is removed. Every byte is checked against the package's index before it is written;
//! whether the package's signatures are to be believed is for the caller to settle first.
//!
//! What is kept: content, holes, hard links, permissions less the umask, times. What is not: owners (everything is the
//! caller's), set-uid, set-gid and sticky bits, extended attributes. Devices, FIFOs and sockets are refused. Folders
//! can always be entered and changed by their owner, or they could not be removed again.

mod links;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pack_launcher::image::{ImageError, Node, Reader, Seek};
use pack_launcher::package::Package;
use pack_schemas::squashfs::InodeDetail;
use pack_schemas::text::visible;
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::draft::{hidden_name, parent_of};
use crate::tree::{self, TreeError, Visit};
use links::Links;

/// A file is read in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// How much was extracted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files, folders and symbolic links, the root folder included.
    pub entries: u64,
    /// Bytes written; holes do not count.
    pub bytes: u64,
}

/// Why a package could not be extracted.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something has the name of the new folder.
    #[error("`{}` exists", visible(&.path.to_string_lossy()))]
    Exists {
        /// The name.
        path: PathBuf,
    },
    /// The folder in which the new one is to be cannot be used.
    #[error("cannot make a folder beside `{}`", visible(&.path.to_string_lossy()))]
    Folder {
        /// Where the new folder was to be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A part of the image cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The package holds something that is no file, folder or symbolic link.
    #[error("`{}` in the package is a device, FIFO or socket", visible(&String::from_utf8_lossy(.path)))]
    Special {
        /// Where it is, relative to the package's root.
        path: Vec<u8>,
    },
    /// A file, folder or symbolic link cannot be made.
    #[error("cannot write `{}` of the package", visible(&String::from_utf8_lossy(.path)))]
    Write {
        /// Where it is, relative to the package's root.
        path: Vec<u8>,
        /// The system's answer.
        source: io::Error,
    },
}

/// Extracts all files of a package into the new folder `destination`. `progress` is told how many bytes are written.
///
/// # Errors
/// [`UnpackError`]; nothing of the new folder is left then.
pub fn unpack(
    package: &Arc<Package>,
    destination: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Unpacked, UnpackError> {
    let reader = tree::open(package)?;
    let staging = Staging::new(destination)?;
    let result =
        extract(&reader, &staging.content, progress).and_then(|done| staging.publish().map(|()| done));
    remove(&staging.hidden_path);
    result
}

/// Name of the new folder while it is in the hidden one.
const CONTENT: &str = "content";

/// The hidden folder beside the destination, with the new folder in it.
struct Staging {
    /// The folder that holds the hidden folder now and the destination later.
    parent: OwnedFd,
    hidden: OwnedFd,
    hidden_path: PathBuf,
    /// The new folder.
    content: OwnedFd,
    destination: PathBuf,
}

impl Staging {
    fn new(destination: &Path) -> Result<Staging, UnpackError> {
        let failed =
            |source: Errno| UnpackError::Folder { path: destination.to_path_buf(), source: source.into() };
        let exists = || UnpackError::Exists { path: destination.to_path_buf() };
        // `.`, `..` and `/` have no name, and are there.
        let name = destination.file_name().ok_or_else(exists)?;
        let parent_path = parent_of(destination);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent_path, flags, Mode::empty()).map_err(failed)?;
        // Found out before the work; what guarantees it is the rename after it.
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error)),
            Ok(_) => return Err(exists()),
        }
        let hidden_name = hidden_name().map_err(failed)?;
        rustix::fs::mkdirat(&parent, &hidden_name, Mode::RWXU).map_err(failed)?;
        let hidden_path = parent_path.join(&hidden_name);
        let opened = open_folder(&parent, OsStr::new(&hidden_name)).and_then(|hidden| {
            rustix::fs::mkdirat(&hidden, CONTENT, Mode::from_raw_mode(0o777))?;
            let content = open_folder(&hidden, OsStr::new(CONTENT))?;
            Ok((hidden, content))
        });
        match opened {
            Ok((hidden, content)) => {
                Ok(Staging { parent, hidden, hidden_path, content, destination: destination.to_path_buf() })
            }
            Err(error) => {
                remove(&hidden_path);
                Err(failed(error))
            }
        }
    }

    fn publish(&self) -> Result<(), UnpackError> {
        let path = self.destination.clone();
        let name = path.file_name().unwrap_or_default();
        match rustix::fs::renameat_with(&self.hidden, CONTENT, &self.parent, name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(UnpackError::Exists { path }),
            Err(error) => Err(UnpackError::Folder { path, source: error.into() }),
        }
    }
}

/// Removes the hidden folder with what is left in it: all where something failed, else nothing.
fn remove(hidden: &Path) {
    // The error that led here, if there was one, is the one to tell. The library removes by descriptors and follows no
    // symbolic link.
    let _ = std::fs::remove_dir_all(hidden);
}

fn extract(reader: &Reader, root: &OwnedFd, progress: &mut dyn FnMut(u64)) -> Result<Unpacked, UnpackError> {
    let mut extraction = Extraction {
        reader,
        root,
        done: Unpacked::default(),
        buffer: vec![0; PIECE],
        links: Links::default(),
        progress,
    };
    tree::walk(reader, &mut |visit| match visit {
        Visit::Enter { path, node } => extraction.enter(path, node),
        Visit::Leaf { path, node } => extraction.leaf(path, node),
        Visit::Leave { path, node } => extraction.leave(path, node),
    })?;
    Ok(extraction.done)
}

struct Extraction<'a> {
    reader: &'a Reader,
    root: &'a OwnedFd,
    done: Unpacked,
    buffer: Vec<u8>,
    links: Links,
    progress: &'a mut dyn FnMut(u64),
}

impl Extraction<'_> {
    /// Makes a folder. The root's is there.
    fn enter(&mut self, path: &[u8], node: &Node) -> Result<(), UnpackError> {
        self.done.entries += 1;
        if path.is_empty() {
            return Ok(());
        }
        self.links.enter(path);
        let (folder, name) = self.folder_of(path)?;
        rustix::fs::mkdirat(&folder, name, mode_of(node) | Mode::RWXU)
            .map_err(|error| write_error(path, error))
    }

    /// Sets what making entries in the folder has changed.
    fn leave(&mut self, path: &[u8], node: &Node) -> Result<(), UnpackError> {
        let folder = match path {
            b"" => rustix::io::dup(self.root),
            _ => {
                self.links.leave();
                open_folder(self.root, OsStr::from_bytes(path))
            }
        };
        folder
            .and_then(|folder| rustix::fs::futimens(&folder, &times_of(node)))
            .map_err(|error| write_error(path, error))
    }

    fn leaf(&mut self, path: &[u8], node: &Node) -> Result<(), UnpackError> {
        self.done.entries += 1;
        if node.inode.links > 1 {
            match self.links.find(node.reference).map(|first| self.link(&first, path)) {
                // As many names as the file system allows: the rest becomes another file.
                Some(Err(UnpackError::Write { source, .. }))
                    if source.raw_os_error() == Some(Errno::MLINK.raw_os_error()) => {}
                Some(result) => return result,
                None => {}
            }
            self.links.keep(node.reference, path);
        }
        match node.inode.detail {
            InodeDetail::File(contents) => self.file(path, node, contents.size),
            InodeDetail::Symlink { .. } => self.symlink(path, node),
            _ => Err(UnpackError::Special { path: path.to_vec() }),
        }
    }

    /// Gives a file that has been made, or a symbolic link, one more name.
    fn link(&self, first: &[u8], path: &[u8]) -> Result<(), UnpackError> {
        let (first_folder, first_name) = self.folder_of(first)?;
        let (folder, name) = self.folder_of(path)?;
        // Without the flag to follow symbolic links: one that has several names is linked itself.
        rustix::fs::linkat(&first_folder, first_name, &folder, name, AtFlags::empty())
            .map_err(|error| write_error(path, error))
    }

    fn symlink(&self, path: &[u8], node: &Node) -> Result<(), UnpackError> {
        let read = self.reader.read_link(node);
        let target =
            read.map_err(|source| TreeError::Read { path: path.to_vec(), source })?.unwrap_or_default();
        let (folder, name) = self.folder_of(path)?;
        rustix::fs::symlinkat(OsStr::from_bytes(&target), &folder, name)
            .and_then(|()| rustix::fs::utimensat(&folder, name, &times_of(node), AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|error| write_error(path, error))
    }

    fn file(&mut self, path: &[u8], node: &Node, size: u64) -> Result<(), UnpackError> {
        let (folder, name) = self.folder_of(path)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&folder, name, flags, mode_of(node), CONFINED)
            .map_err(|error| write_error(path, error))?;
        let file = File::from(file);
        self.copy(path, node, &file, size)?;
        rustix::fs::futimens(&file, &times_of(node)).map_err(|error| write_error(path, error))
    }

    /// Copies what a file holds; holes stay holes.
    fn copy(&mut self, path: &[u8], node: &Node, file: &File, size: u64) -> Result<(), UnpackError> {
        let read_error = |source| TreeError::Read { path: path.to_vec(), source };
        let io_error = |source| UnpackError::Write { path: path.to_vec(), source };
        let mut offset = 0;
        while let Some(data) = self.reader.seek(node, offset, Seek::Data).map_err(read_error)? {
            let hole = self.reader.seek(node, data, Seek::Hole).map_err(read_error)?.unwrap_or(u64::MAX);
            offset = data;
            while offset < hole {
                let wanted = (hole - offset).min(PIECE as u64) as usize;
                let count = self.reader.read(node, offset, &mut self.buffer[..wanted]).map_err(read_error)?;
                if count == 0 {
                    break;
                }
                file.write_all_at(&self.buffer[..count], offset).map_err(io_error)?;
                offset += count as u64;
                self.done.bytes += count as u64;
                (self.progress)(self.done.bytes);
            }
        }
        file.set_len(size).map_err(io_error)
    }

    /// The folder that a path is in, by descriptor, and the path's last name.
    fn folder_of<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p OsStr), UnpackError> {
        let (folder, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (open_folder(self.root, OsStr::from_bytes(&path[..slash])), &path[slash + 1..]),
            None => (rustix::io::dup(self.root), path),
        };
        Ok((folder.map_err(|error| write_error(path, error))?, OsStr::from_bytes(name)))
    }
}

/// No step leads out of the folder, and none is a symbolic link.
const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn open_folder(folder: impl AsFd, path: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(folder, path, flags, Mode::empty(), CONFINED)
}

/// Permissions without set-uid, set-gid and sticky bit.
fn mode_of(node: &Node) -> Mode {
    Mode::from_raw_mode(u32::from(node.inode.mode) & 0o777)
}

fn times_of(node: &Node) -> Timestamps {
    let time = Timespec { tv_sec: node.inode.modified.into(), tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn write_error(path: &[u8], error: Errno) -> UnpackError {
    UnpackError::Write { path: path.to_vec(), source: error.into() }
}
