//! Files and folders by descriptor.
//!
//! A [`Folder`] is opened once; everything in it is reached by a single name relative to its descriptor, with
//! openat2(2) and `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS`. So nothing that is renamed, or
//! replaced by a link, between two steps can lead a step elsewhere. Only the base folders that the user chose are
//! opened by path, and may be links: they are the user's own.
//!
//! A file is published in five steps: a temporary file beside it, fsync of the file, rename, fsync of the folder. A
//! reader sees the old file or the new one, and so does whoever looks after a power failure.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use pack_schemas::text::visible;

/// Something that could not be done to a file or folder.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", visible(&.path.to_string_lossy()))]
pub struct FileError {
    /// What could not be done, such as `open`.
    pub action: &'static str,
    /// To what.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl FileError {
    /// Whether the disk, or the user's share of it, is full.
    pub fn is_disk_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether a mount is in the way.
    pub(crate) fn is_mount(&self) -> bool {
        let errno = self.source.raw_os_error().map(Errno::from_raw_os_error);
        matches!(errno, Some(Errno::XDEV | Errno::BUSY))
    }
}

/// A folder, held by descriptor. Its path is kept for messages.
#[derive(Debug)]
pub(crate) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

/// Which mounts an open may cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// Any: the folder is the user's, and may be on another disk.
    Cross,
    /// None: what lies behind a mount is somebody else's.
    Refuse,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Folder {
    /// Opens a base folder, links included; nothing where it does not exist.
    pub fn open(path: &Path) -> Result<Option<Folder>, FileError> {
        match rustix::fs::open(path, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(descriptor) => Ok(Some(Folder { descriptor, path: path.to_owned() })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("open", path, error)),
        }
    }

    /// Opens a base folder, and makes it where it does not exist, with the folders above it.
    pub fn create(path: &Path, mode: u32) -> Result<Folder, FileError> {
        let mut builder = std::fs::DirBuilder::new();
        let made = std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode).recursive(true).create(path);
        made.map_err(|source| FileError { action: "make the folder", path: path.to_owned(), source })?;
        Folder::open(path)?.ok_or_else(|| failed("open", path, Errno::NOENT))
    }

    /// The folder's path, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of something in it, for messages.
    pub fn join(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// Opens a folder in this one; nothing where it does not exist. A link in its place is an error.
    pub fn child(&self, name: impl AsRef<OsStr>, mounts: Mounts) -> Result<Option<Folder>, FileError> {
        let name = name.as_ref();
        match self.open_at(name, OFlags::DIRECTORY | OFlags::RDONLY, mounts) {
            Ok(descriptor) => Ok(Some(Folder { descriptor, path: self.join(name) })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("open", name, error)),
        }
    }

    /// Opens a folder in this one, and makes it where it does not exist.
    pub fn make_child(&self, name: impl AsRef<OsStr>, mode: u32) -> Result<Folder, FileError> {
        let name = name.as_ref();
        match rustix::fs::mkdirat(&self.descriptor, name, Mode::from_raw_mode(mode)) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(error) => return Err(self.failed("make the folder", name, error)),
        }
        self.child(name, Mounts::Cross)?.ok_or_else(|| self.failed("open", name, Errno::NOENT))
    }

    /// Like [`Folder::make_child`], for a folder that nobody else may look into: an existing one has to be the
    /// user's, and gets mode 0700.
    pub fn make_private_child(&self, name: impl AsRef<OsStr>) -> Result<Folder, FileError> {
        let child = self.make_child(name, 0o700)?;
        child.make_private()?;
        Ok(child)
    }

    /// Sets mode 0700, after checking that the folder is the user's.
    pub fn make_private(&self) -> Result<(), FileError> {
        let stat = self.stat()?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(failed("use another user's folder", &self.path, Errno::PERM));
        }
        if stat.st_mode & 0o7777 != 0o700 {
            self.set_mode(0o700)?;
        }
        Ok(())
    }

    /// What fstat(2) tells of the folder.
    pub fn stat(&self) -> Result<Stat, FileError> {
        rustix::fs::fstat(&self.descriptor).map_err(|error| failed("look at", &self.path, error))
    }

    /// Sets the folder's mode.
    pub fn set_mode(&self, mode: u32) -> Result<(), FileError> {
        rustix::fs::fchmod(&self.descriptor, Mode::from_raw_mode(mode))
            .map_err(|error| failed("change the mode of", &self.path, error))
    }

    /// What is at `name`, itself and not what it points to; nothing where there is nothing.
    pub fn stat_of(&self, name: impl AsRef<OsStr>) -> Result<Option<Stat>, FileError> {
        let name = name.as_ref();
        match rustix::fs::statat(&self.descriptor, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(self.failed("look at", name, error)),
        }
    }

    /// Opens a regular file for reading; nothing where it does not exist. Anything but a regular file is an error,
    /// and is neither waited for nor read.
    pub fn open_file(&self, name: impl AsRef<OsStr>, mounts: Mounts) -> Result<Option<File>, FileError> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match self.open_at(name, flags, mounts) {
            Ok(descriptor) => File::from(descriptor),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed("open", name, error)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|error| self.failed("look at", name, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(FileError { action: "open", path: self.join(name), source });
        }
        Ok(Some(file))
    }

    /// Reads a whole regular file of at most `limit` bytes; nothing where it does not exist.
    pub fn read(&self, name: impl AsRef<OsStr>, limit: u64) -> Result<Option<Vec<u8>>, FileError> {
        let name = name.as_ref();
        let Some(file) = self.open_file(name, Mounts::Cross)? else { return Ok(None) };
        // Most files of ours are shorter than a page, and read at once.
        let mut bytes = Vec::with_capacity(4096);
        let read = file.take(limit + 1).read_to_end(&mut bytes);
        read.map_err(|source| FileError { action: "read", path: self.join(name), source })?;
        if bytes.len() as u64 > limit {
            let source =
                io::Error::new(io::ErrorKind::FileTooLarge, format!("it is longer than {limit} bytes"));
            return Err(FileError { action: "read", path: self.join(name), source });
        }
        Ok(Some(bytes))
    }

    /// Makes a file that must not exist yet, for reading and writing.
    pub fn create_file(&self, name: impl AsRef<OsStr>) -> Result<File, FileError> {
        let name = name.as_ref();
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.descriptor, name, flags, Mode::from_raw_mode(0o600))
            .map(File::from)
            .map_err(|error| self.failed("make the file", name, error))
    }

    /// Publishes a file in place of what `name` was. `prepared` is told between the temporary file and the rename.
    pub fn replace(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        prepared: &mut dyn FnMut(),
    ) -> Result<(), FileError> {
        self.publish(name, bytes, mode, RenameFlags::empty(), prepared)
    }

    /// Publishes a file where there is none; whether there was none.
    pub fn publish_new(&self, name: &str, bytes: &[u8], mode: u32) -> Result<bool, FileError> {
        match self.publish(name, bytes, mode, RenameFlags::NOREPLACE, &mut || ()) {
            Err(error) if error.source.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            done => done.map(|()| true),
        }
    }

    fn publish(
        &self,
        name: &str,
        bytes: &[u8],
        mode: u32,
        flags: RenameFlags,
        prepared: &mut dyn FnMut(),
    ) -> Result<(), FileError> {
        let temporary = temporary(name);
        self.remove_file(&temporary)?;
        let written = self.create_file(&temporary).and_then(|mut file| {
            let on_file = |source| FileError { action: "write", path: self.join(&temporary), source };
            file.write_all(bytes).map_err(on_file)?;
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|error| on_file(error.into()))?;
            file.sync_all().map_err(on_file)
        });
        let renamed = written.and_then(|()| {
            prepared();
            self.rename_with(&temporary, self, name, flags)
        });
        if renamed.is_err() {
            // The failure counts; a temporary file that stays is taken away by the next run.
            let _ = self.remove_file(&temporary);
        }
        renamed
    }

    /// Renames within this folder or to another, replacing a file that is there, and fsyncs the folders.
    pub fn rename(&self, name: &str, target: &Folder, target_name: &str) -> Result<(), FileError> {
        self.rename_with(name, target, target_name, RenameFlags::empty())
    }

    /// Like [`Folder::rename`], but an error where the target exists.
    pub fn rename_new(&self, name: &str, target: &Folder, target_name: &str) -> Result<(), FileError> {
        self.rename_with(name, target, target_name, RenameFlags::NOREPLACE)
    }

    /// Renames within this folder, whether there was nothing of the new name; whether that stays, [`Folder::sync`] says.
    pub fn rename_unsettled(&self, name: &str, target_name: &str) -> Result<bool, FileError> {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.descriptor, name, &self.descriptor, target_name, flags) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed("put in place", OsStr::new(target_name), error)),
        }
    }

    fn rename_with(
        &self,
        name: &str,
        target: &Folder,
        target_name: &str,
        flags: RenameFlags,
    ) -> Result<(), FileError> {
        rustix::fs::renameat_with(&self.descriptor, name, &target.descriptor, target_name, flags)
            .map_err(|error| target.failed("put in place", OsStr::new(target_name), error))?;
        target.sync()?;
        if self.path == target.path { Ok(()) } else { self.sync() }
    }

    /// Makes `name` a link to `target`, replacing a link or file that is there, by rename.
    pub fn replace_link(&self, name: &str, target: &str) -> Result<(), FileError> {
        let temporary = temporary(name);
        self.remove_file(&temporary)?;
        rustix::fs::symlinkat(target, &self.descriptor, &temporary)
            .map_err(|error| self.failed("make the link", OsStr::new(name), error))?;
        self.rename(&temporary, self, name)
    }

    /// What the link `name` points to; nothing where there is no link.
    pub fn read_link(&self, name: &str) -> Result<Option<OsString>, FileError> {
        match rustix::fs::readlinkat(&self.descriptor, name, Vec::new()) {
            Ok(target) => Ok(Some(OsString::from_vec(target.into_bytes()))),
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(self.failed("read the link", OsStr::new(name), error)),
        }
    }

    /// Removes anything but a folder; whether something was there.
    pub fn remove_file(&self, name: impl AsRef<OsStr>) -> Result<bool, FileError> {
        let name = name.as_ref();
        match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    /// Removes a folder if it is empty; whether it is gone.
    pub fn remove_empty_child(&self, name: impl AsRef<OsStr>) -> Result<bool, FileError> {
        let name = name.as_ref();
        match rustix::fs::unlinkat(&self.descriptor, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(error) => Err(self.failed("remove", name, error)),
        }
    }

    /// Goes through the folder without keeping it in memory.
    pub fn entries(&self) -> Result<Entries<'_>, FileError> {
        let directory =
            Dir::read_from(&self.descriptor).map_err(|error| failed("read", &self.path, error))?;
        Ok(Entries { directory, folder: self })
    }

    /// The names of what is in a folder that no app can write in, sorted.
    pub fn names(&self) -> Result<Vec<OsString>, FileError> {
        let mut names = self.entries()?.collect::<Result<Vec<_>, _>>()?;
        names.sort();
        Ok(names)
    }

    /// Writes the folder's entries to the disk.
    pub fn sync(&self) -> Result<(), FileError> {
        rustix::fs::fsync(&self.descriptor).map_err(|error| failed("write", &self.path, error))
    }

    /// Opens one name in this folder, never through a link and never outside.
    pub fn open_at(&self, name: &OsStr, flags: OFlags, mounts: Mounts) -> rustix::io::Result<OwnedFd> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        if mounts == Mounts::Refuse {
            resolve |= ResolveFlags::NO_XDEV;
        }
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat2(&self.descriptor, name, flags, Mode::empty(), resolve)
    }

    pub(crate) fn failed(&self, action: &'static str, name: &OsStr, error: Errno) -> FileError {
        failed(action, &self.join(name), error)
    }
}

/// The names in a folder, one after the other, without `.` and `..`.
pub(crate) struct Entries<'a> {
    directory: Dir,
    folder: &'a Folder,
}

impl Iterator for Entries<'_> {
    type Item = Result<OsString, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.directory.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(failed("read", &self.folder.path, error))),
            };
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                return Some(Ok(OsStr::from_bytes(name).to_owned()));
            }
        }
    }
}

/// The name under which a file is written before it gets its own.
fn temporary(name: &str) -> String {
    format!(".{name}.pack-new")
}

/// Whether a name is one that [`Folder::replace`] writes under.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".pack-new")
}

fn failed(action: &'static str, path: &Path, error: Errno) -> FileError {
    FileError { action, path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap().unwrap();
        (place, folder)
    }

    #[test]
    fn nothing_is_reached_through_a_link() {
        let (place, folder) = folder();
        std::fs::create_dir(place.path().join("real")).unwrap();
        std::fs::write(place.path().join("file"), "secret").unwrap();
        symlink("real", place.path().join("folder-link")).unwrap();
        symlink("file", place.path().join("file-link")).unwrap();
        assert!(folder.child("real", Mounts::Cross).unwrap().is_some());
        assert!(folder.child("folder-link", Mounts::Cross).is_err());
        assert!(folder.make_child("folder-link", 0o700).is_err());
        assert!(folder.open_file("file-link", Mounts::Cross).is_err());
        assert!(folder.read("file-link", 100).is_err());
        for outside in ["..", "../x", "/etc"] {
            assert!(folder.child(outside, Mounts::Cross).is_err(), "{outside}");
        }
    }

    #[test]
    fn a_fifo_is_refused_without_waiting() {
        let (place, folder) = folder();
        let fifo = rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path().join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        );
        fifo.unwrap();
        assert!(folder.read("fifo", 100).unwrap_err().source.to_string().contains("regular"));
    }

    #[test]
    fn a_file_longer_than_the_limit_is_refused() {
        let (place, folder) = folder();
        std::fs::write(place.path().join("f"), "12345").unwrap();
        assert_eq!(folder.read("f", 5).unwrap().unwrap(), b"12345");
        assert!(folder.read("f", 4).is_err());
        assert!(folder.read("missing", 4).unwrap().is_none());
    }

    #[test]
    fn replacing_a_link_replaces_the_link_and_not_its_target() {
        let (place, folder) = folder();
        std::fs::write(place.path().join("target"), "old").unwrap();
        symlink("target", place.path().join("f")).unwrap();
        folder.replace("f", b"new", 0o444, &mut || ()).unwrap();
        assert_eq!(std::fs::read(place.path().join("target")).unwrap(), b"old");
        assert_eq!(std::fs::read(place.path().join("f")).unwrap(), b"new");
        assert_eq!(place.path().join("f").metadata().unwrap().permissions().mode() & 0o7777, 0o444);
        assert_eq!(folder.names().unwrap(), ["f", "target"]);
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let (place, folder) = folder();
        assert!(folder.publish_new("f", b"one", 0o644).unwrap());
        assert!(!folder.publish_new("f", b"two", 0o644).unwrap());
        assert_eq!(std::fs::read(place.path().join("f")).unwrap(), b"one");
        assert_eq!(folder.names().unwrap(), ["f"]);
    }

    /// snapd made a user's data folder with a mode that let others in.
    #[test]
    fn cve_2021_3155_a_private_folder_is_0700_whatever_it_was() {
        let (place, folder) = folder();
        let mode = || place.path().join("d").metadata().unwrap().permissions().mode() & 0o7777;
        folder.make_private_child("d").unwrap();
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(place.path().join("d"), PermissionsExt::from_mode(0o777)).unwrap();
        folder.make_private_child("d").unwrap();
        assert_eq!(mode(), 0o700);
    }
}
