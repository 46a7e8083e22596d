//! Trees that an app can write: copied, measured and deleted without ever being led outside.
//!
//! The app may be running, and hostile. So every step is one name relative to an open folder, no link is followed, no
//! mount is crossed (`RESOLVE_NO_XDEV`), and nothing but folders, regular files and links is opened: a FIFO would
//! block, a socket or device would act. A tree can be deeper than any path and than the number of descriptors, and
//! hold sparse files larger than the disk.

mod copy;
mod delete;

use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::Serialize;

use crate::folder::{FileError, Folder, Mounts};

pub(crate) use copy::{copy_file, copy_tree};
pub(crate) use delete::delete_tree;

/// Deepest nesting that is copied or measured; a descriptor or two are open for each level.
const DEPTH_LIMIT: usize = 200;

/// Why a tree could not be copied or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something is mounted in it.
    #[error("{} is a mount, or lies behind one", pack_schemas::text::visible(&.path.to_string_lossy()))]
    Mount {
        /// Where.
        path: PathBuf,
    },
    /// Its folders are nested more than 200 deep.
    #[error("the folders in {} are nested too deeply", pack_schemas::text::visible(&.path.to_string_lossy()))]
    TooDeep {
        /// Where.
        path: PathBuf,
    },
    /// A file or folder in it cannot be read, written or removed.
    #[error(transparent)]
    File(FileError),
}

impl TreeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            TreeError::Mount { path } => {
                let path = pack_schemas::text::visible(&path.to_string_lossy());
                Some(format!("unmount it and try again: `findmnt --target {path}` shows what it is"))
            }
            TreeError::TooDeep { .. } => {
                Some("only the app itself can have made them; delete them".to_owned())
            }
            TreeError::File(_) => None,
        }
    }
}

impl From<FileError> for TreeError {
    fn from(error: FileError) -> TreeError {
        if error.is_mount() { TreeError::Mount { path: error.path } } else { TreeError::File(error) }
    }
}

/// What a tree takes up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TreeSize {
    /// Bytes on the disk.
    pub bytes: u64,
    /// Number of files and links.
    pub files: u64,
    /// Whether all of it was counted; the rest is unreadable, behind a mount or too deep.
    pub is_complete: bool,
}

impl std::ops::Add for TreeSize {
    type Output = TreeSize;

    fn add(self, other: TreeSize) -> TreeSize {
        TreeSize {
            bytes: self.bytes.saturating_add(other.bytes),
            files: self.files.saturating_add(other.files),
            is_complete: self.is_complete && other.is_complete,
        }
    }
}

/// Measures a tree; it changes nothing and fails at nothing.
pub(crate) fn measure(folder: &Folder) -> TreeSize {
    let mut size = TreeSize { is_complete: true, ..TreeSize::default() };
    measure_below(folder, 0, &mut size);
    size
}

fn measure_below(folder: &Folder, depth: usize, size: &mut TreeSize) {
    let Ok(entries) = folder.entries() else {
        size.is_complete = false;
        return;
    };
    for name in entries {
        let Ok(name) = name else {
            size.is_complete = false;
            return;
        };
        let Ok(Some(stat)) = folder.stat_of(&name) else { continue };
        // st_blocks counts units of 512 bytes, whatever the file system's block size (stat(2)).
        size.bytes =
            size.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512));
        if file_type(&stat) != FileType::Directory {
            size.files += 1;
            continue;
        }
        match folder.child(&name, Mounts::Refuse) {
            Ok(Some(child)) if depth < DEPTH_LIMIT => measure_below(&child, depth + 1, size),
            Ok(None) => {}
            _ => size.is_complete = false,
        }
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Opens a folder of the user's own, also where an app has shut it off by its mode: then it gets mode 0700.
///
/// fchmod(2) does not take an `O_PATH` descriptor, so its link under /proc is used, which leads to that very folder.
pub(crate) fn open_shut_folder(parent: &Folder, name: &std::ffi::OsStr) -> Result<Option<Folder>, FileError> {
    let folder = match parent.child(name, Mounts::Refuse) {
        Err(error) if error.source.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let shut = parent
                .open_at(name, flags, Mounts::Refuse)
                .map_err(|error| parent.failed("open", name, error))?;
            let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&shut));
            rustix::fs::chmod(link, Mode::RWXU)
                .map_err(|error| parent.failed("change the mode of", name, error))?;
            parent.child(name, Mounts::Refuse)?
        }
        opened => opened?,
    };
    if let Some(folder) = &folder
        && folder.stat()?.st_mode & 0o700 != 0o700
    {
        folder.set_mode(0o700)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests;
