//! Work on paths on which no symbolic link stands, whatever happens to the tree meanwhile.
//!
//! A script may have processes running while pack does the step's own work beside it (`craftctl default`), and these may
//! exchange any folder of the tree for a link at any moment. So a path is not looked at first and used then: the folder
//! that a name is in is opened with `RESOLVE_NO_SYMLINKS` (openat2(2)), which fails where a link stands on the way (`ELOOP`;
//! `ENOTDIR` for the folder itself), and the name is used relative to that descriptor, not followed.
//!
//! The paths are those of a project, which has been opened without links (`Project::open`), and of what is below it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};

/// The folder that a path's last name is in, and the name.
pub(super) struct Place<'a> {
    folder: OwnedFd,
    name: &'a OsStr,
}

impl Place<'_> {
    /// Opens the folder.
    pub fn of(path: &Path) -> io::Result<Place<'_>> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        Ok(Place { folder: open(folder, OFlags::PATH | OFlags::DIRECTORY)?, name })
    }

    /// Makes a folder; its mode is less the umask.
    pub fn make_folder(&self) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.folder, self.name, Mode::from_raw_mode(0o755))?)
    }

    /// Makes a file that only its owner can read, where nothing is.
    pub fn make_file(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder, self.name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// Makes a symbolic link, where nothing is.
    pub fn make_symlink(&self, target: &Path) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.folder, self.name)?)
    }

    /// Where a symbolic link leads.
    pub fn read_symlink(&self) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(&self.folder, self.name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Makes this name another one of what has the name `of`; a link is not followed.
    pub fn link(&self, of: &Place<'_>) -> io::Result<()> {
        Ok(rustix::fs::linkat(&of.folder, of.name, &self.folder, self.name, AtFlags::empty())?)
    }

    /// Removes a file or a link.
    pub fn remove_file(&self) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.folder, self.name, AtFlags::empty())?)
    }

    /// The folder's path as long as it is open, and the name: for functions that take a path and do not follow its last name.
    fn by_descriptor(&self) -> PathBuf {
        Path::new("/proc/self/fd").join(self.folder.as_raw_fd().to_string()).join(self.name)
    }

    /// Removes a folder with all that is in it. The library works by descriptors below it.
    pub fn remove_folder(&self) -> io::Result<()> {
        fs::remove_dir_all(self.by_descriptor())
    }

    /// What has the name; a link is not followed.
    pub fn metadata(&self) -> io::Result<Metadata> {
        fs::symlink_metadata(self.by_descriptor())
    }
}

/// Opens a file for reading; no link is followed, and a FIFO is not waited for.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let file = File::from(open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Sets the permission bits of a file or folder, which its owner need not be able to open.
pub(super) fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    let opened = open(path, OFlags::PATH)?;
    if rustix::fs::fstat(&opened)?.st_mode & 0o170_000 == 0o120_000 {
        return Err(rustix::io::Errno::LOOP.into());
    }
    let entry = format!("/proc/self/fd/{}", opened.as_raw_fd());
    fs::set_permissions(entry, Permissions::from_mode(mode))
}

/// Opens a file or folder, no link on the way to it, and it is none itself, but with `O_PATH`.
pub(super) fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn no_link_on_the_way_is_followed_and_none_at_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let outside = root.join("outside");
        fs::create_dir_all(outside.join("folder")).unwrap();
        fs::write(outside.join("file"), "secret").unwrap();
        fs::create_dir(root.join("tree")).unwrap();
        symlink(&outside, root.join("tree/link")).unwrap();
        symlink(outside.join("file"), root.join("tree/file")).unwrap();
        let through = root.join("tree/link/file");
        let is_loop = |error: io::Error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        assert!(is_loop(open_file(&through).unwrap_err()));
        assert!(is_loop(open_file(&root.join("tree/file")).unwrap_err()));
        assert!(is_loop(set_mode(&root.join("tree/file"), 0o777).unwrap_err()));
        assert!(is_loop(set_mode(&through, 0o777).unwrap_err()));
        // As the last name of a folder's path, a link is no folder.
        let error = Place::of(&through).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::NOTDIR.raw_os_error()));
        assert!(is_loop(Place::of(&root.join("tree/link/folder/file")).err().unwrap()));
        assert_eq!(open_file(&outside.join("file")).unwrap().metadata().unwrap().len(), 6);
        // The link itself is removed, and not what it leads to.
        Place::of(&root.join("tree/link")).unwrap().remove_folder().unwrap();
        assert!(root.join("tree/link").symlink_metadata().is_err());
        assert!(outside.join("folder").is_dir() && outside.join("file").is_file());
    }
}
