//! A file that gets its name when it is whole: whoever looks sees all of it or none of it.
//!
//! 1. The file is made in the folder where it will stay, without a name (`O_TMPFILE`, open(2)), so that a process
//!    which is killed while it writes leaves nothing behind.
//! 2. Its owner writes it.
//! 3. [`Draft::publish`]: fsync, link (and rename over what bears the name, if that is wanted), fsync of the folder.
//!
//! On a file system without nameless files it has a hidden name for as long.

use std::ffi::{OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::NamedTempFile;

/// A file on its way to its name.
pub(crate) struct Draft {
    content: Content,
    folder: File,
    path: PathBuf,
    name: OsString,
}

enum Content {
    Nameless(File),
    Hidden(NamedTempFile),
}

/// What to do with a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It stays, and publishing fails with [`io::ErrorKind::AlreadyExists`].
    Keep,
    /// It is replaced in one step.
    Replace,
}

impl Draft {
    /// Begins a file that will be at `path`, in a folder that exists, with `mode` less the umask.
    ///
    /// # Errors
    /// The system's, and [`io::ErrorKind::InvalidInput`] where the path ends in no name.
    pub fn new(path: &Path, mode: u32) -> io::Result<Draft> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_os_string();
        let folder_path = parent_of(path);
        let folder = File::open(folder_path)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let content = match rustix::fs::openat(&folder, ".", flags, Mode::from_raw_mode(mode)) {
            Ok(file) => Content::Nameless(file.into()),
            // How a kernel or a file system says that it has no such files: open(2), `O_TMPFILE`.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
                Content::Hidden(hidden(folder_path, mode)?)
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Draft { content, folder, path: folder_path.join(&name), name })
    }

    /// The file, open for reading and writing.
    pub fn file(&self) -> &File {
        match &self.content {
            Content::Nameless(file) => file,
            Content::Hidden(file) => file.as_file(),
        }
    }

    /// Gives the file its name, after all of it is on disk.
    ///
    /// # Errors
    /// The system's; nothing is left then, and what had the name still has it.
    pub fn publish(self, existing: Existing) -> io::Result<()> {
        self.file().sync_all()?;
        match (self.content, existing) {
            (Content::Nameless(file), Existing::Keep) => link(&file, &self.folder, &self.name)?,
            (Content::Nameless(file), Existing::Replace) => link_over(&file, &self.folder, &self.name)?,
            (Content::Hidden(file), Existing::Keep) => drop(file.persist_noclobber(&self.path)?),
            (Content::Hidden(file), Existing::Replace) => drop(file.persist(&self.path)?),
        }
        self.folder.sync_all()
    }
}

/// The folder that a path's last name is in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A name that nobody has and that a listing does not show.
pub(crate) fn hidden_name() -> Result<String, rustix::io::Errno> {
    let mut number = [0; 8];
    // The kernel gives up to 256 bytes in one piece (getrandom(2)).
    rustix::rand::getrandom(&mut number, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(".pack-{:016x}", u64::from_le_bytes(number)))
}

fn hidden(folder: &Path, mode: u32) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".pack-").permissions(Permissions::from_mode(mode)).tempfile_in(folder)
}

/// Links a nameless file. Linking a descriptor itself would need a capability; its entry in /proc does not.
fn link(file: &File, folder: &File, name: &OsStr) -> io::Result<()> {
    let entry = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(rustix::fs::linkat(CWD, entry, folder, name, AtFlags::SYMLINK_FOLLOW)?)
}

/// Links a nameless file over what has the name. A link replaces nothing, so it takes a hidden name and a rename.
fn link_over(file: &File, folder: &File, name: &OsStr) -> io::Result<()> {
    let hidden = hidden_name()?;
    link(file, folder, OsStr::new(&hidden))?;
    rustix::fs::renameat(folder, &hidden, folder, name).map_err(|error| {
        // The first error is the one to tell.
        let _ = rustix::fs::unlinkat(folder, &hidden, AtFlags::empty());
        error.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    }

    /// Both ways, whatever the file system of the tests can do.
    fn drafts(path: &Path) -> [Draft; 2] {
        let nameless = Draft::new(path, 0o600).unwrap();
        let mut named = Draft::new(path, 0o600).unwrap();
        named.content = Content::Hidden(hidden(path.parent().unwrap(), 0o600).unwrap());
        [nameless, named]
    }

    #[test]
    fn a_file_appears_when_it_is_published_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        for draft in drafts(&path) {
            draft.file().write_all(b"whole").unwrap();
            assert!(!path.exists());
            draft.publish(Existing::Keep).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"whole");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::remove_file(&path).unwrap();
        }
        for draft in drafts(&path) {
            draft.file().write_all(b"half").unwrap();
        }
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_has_the_name_is_kept_or_replaced_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        fs::write(&path, "old").unwrap();
        for draft in drafts(&path) {
            draft.file().write_all(b"new").unwrap();
            let error = draft.publish(Existing::Keep).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(fs::read(&path).unwrap(), b"old");
        }
        for draft in drafts(&path) {
            draft.file().write_all(b"new").unwrap();
            draft.publish(Existing::Replace).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"new");
            fs::write(&path, "old").unwrap();
        }
        assert_eq!(names(folder.path()), ["result"]);
    }

    #[test]
    fn a_name_that_is_a_folder_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result");
        fs::create_dir(&path).unwrap();
        for draft in drafts(&path) {
            draft.publish(Existing::Replace).unwrap_err();
        }
        assert_eq!(names(folder.path()), ["result"]);
        assert!(Draft::new(&path.join(".."), 0o600).is_err());
    }
}
