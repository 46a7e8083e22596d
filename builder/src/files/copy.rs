//! Files from one tree into another, as copies or as further names.
//!
//! Names of one file become names of one file again. A copy shares its blocks with the original where the file system
//! can do that (`FICLONE`, ioctl_ficlone(2)); elsewhere what is copied is its data, and holes stay holes.

use std::collections::HashMap;
use std::fs::{File, Metadata, Permissions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::plain::{Place, open_file};
use super::{Entry, FileError, list, make_folder, not_a_file};

/// How a file gets from one tree into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// As a file of its own, each name by itself.
    Separate,
    /// As a file of its own; what were names of one file are names of one file again.
    Copy,
    /// As another name of the same file, where the file system allows it.
    Link,
}

/// Puts the tree under `from` into the folder `to`; files that are there already are replaced, folders merged.
///
/// # Errors
/// Where something cannot be read or written, is neither file, folder nor symbolic link, or is a folder on one side
/// only.
pub(crate) fn transfer_tree(
    from: &Path,
    to: &Path,
    how: Transfer,
    enter: impl Fn(&Path) -> bool,
) -> Result<(), FileError> {
    let mut placer = Placer::new(how);
    for Entry { path, metadata } in list(from, enter)? {
        let target = to.join(&path);
        if metadata.is_dir() {
            make_folder(&target)?;
            continue;
        }
        let replace = |source| FileError::at("replace", &target, source);
        let place = Place::of(&target).map_err(replace)?;
        // A folder in the way is told by what makes the file.
        if place.metadata().is_ok_and(|existing| !existing.is_dir()) {
            place.remove_file().map_err(replace)?;
        }
        placer.put(&from.join(&path), &target, &metadata)?;
    }
    Ok(())
}

/// Puts files and symbolic links into a tree, and remembers which of them were names of one file.
#[derive(Debug)]
pub(crate) struct Placer {
    how: Transfer,
    /// Where a file that has several names was put first.
    first: HashMap<(u64, u64), PathBuf>,
}

impl Placer {
    pub fn new(how: Transfer) -> Placer {
        Placer { how, first: HashMap::new() }
    }

    /// Forgets what was put where: it is no longer there.
    pub fn forget(&mut self) {
        self.first.clear();
    }

    /// Puts one file or symbolic link, whose metadata the caller has, where nothing is yet.
    pub fn put(&mut self, from: &Path, to: &Path, metadata: &Metadata) -> Result<(), FileError> {
        if metadata.is_symlink() {
            let target = Place::of(from).and_then(|place| place.read_symlink());
            let target = target.map_err(|source| FileError::at("read", from, source))?;
            let made = Place::of(to).and_then(|place| place.make_symlink(&target));
            return made.map_err(|source| FileError::at("write", to, source));
        }
        if !metadata.is_file() {
            return Err(not_a_file(from));
        }
        // A link fails across file systems, at the limit of names that a file may have, and for the files of another
        // user (/proc/sys/fs/protected_hardlinks); then it is a copy.
        if self.how == Transfer::Link && link(from, to).is_ok() {
            return Ok(());
        }
        if metadata.nlink() == 1 || self.how == Transfer::Separate {
            return copy_file(from, to, metadata);
        }
        let file = (metadata.dev(), metadata.ino());
        if self.first.get(&file).is_some_and(|first| link(first, to).is_ok()) {
            return Ok(());
        }
        copy_file(from, to, metadata)?;
        self.first.insert(file, to.to_path_buf());
        Ok(())
    }
}

/// Makes `to` another name of the file `from`.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    let of = Place::of(from)?;
    // What was a file may be a link by now, and a second name of a link is a link too.
    match of.metadata()?.is_file() {
        true => Place::of(to)?.link(&of),
        false => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Copies content, permissions (no set-uid, set-gid or sticky bit) and time of modification.
fn copy_file(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let input = open_file(from).map_err(|source| FileError::at("read", from, source))?;
    let write_error = |source| FileError::at("write", to, source);
    let output = Place::of(to).and_then(|place| place.make_file()).map_err(write_error)?;
    // Which side failed, the system does not say; a full disk is the likely case.
    copy_content(&input, &output).map_err(write_error)?;
    let modified = metadata.modified().map_err(|source| FileError::at("look at", from, source))?;
    output.set_modified(modified).map_err(write_error)?;
    output.set_permissions(Permissions::from_mode(metadata.mode() & 0o777)).map_err(write_error)
}

fn copy_content(input: &File, output: &File) -> io::Result<()> {
    // Fails at once on a file system that shares no blocks, and then has changed nothing.
    if rustix::fs::ioctl_ficlone(output, input).is_ok() {
        return Ok(());
    }
    let metadata = input.metadata()?;
    let is_sparse = metadata.blocks().saturating_mul(512) < metadata.len();
    if is_sparse { copy_data(input, output) } else { copy_plain(input, output) }
}

fn copy_plain(mut input: &File, mut output: &File) -> io::Result<()> {
    io::copy(&mut input, &mut output).map(drop)
}

/// Copies what stands between the holes (lseek(2), `SEEK_DATA`).
fn copy_data(mut input: &File, mut output: &File) -> io::Result<()> {
    let length = input.metadata()?.len();
    let mut at = 0;
    while at < length {
        let begin = match rustix::fs::seek(input, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(input, SeekFrom::Hole(begin))?;
        input.seek(io::SeekFrom::Start(begin))?;
        output.seek(io::SeekFrom::Start(begin))?;
        io::copy(&mut input.take(end.saturating_sub(begin)), &mut output)?;
        at = end;
    }
    output.set_len(length)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn names_of_one_file_stay_together_unless_each_is_to_be_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("from");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("one"), "x").unwrap();
        fs::hard_link(root.join("one"), root.join("two")).unwrap();
        fs::write(root.join(OsStr::from_bytes(b"\xfe")), "odd").unwrap();
        for (how, inodes) in [(Transfer::Copy, 1), (Transfer::Separate, 2), (Transfer::Link, 1)] {
            let to = folder.path().join(format!("{how:?}"));
            fs::create_dir(&to).unwrap();
            transfer_tree(&root, &to, how, |_| true).unwrap();
            let inode = |root: &Path, name: &str| fs::metadata(root.join(name)).unwrap().ino();
            let distinct = if inode(&to, "one") == inode(&to, "two") { 1 } else { 2 };
            assert_eq!(distinct, inodes, "{how:?}");
            assert_eq!(inode(&to, "one") == inode(&root, "one"), how == Transfer::Link);
            assert_eq!(fs::read(to.join(OsStr::from_bytes(b"\xfe"))).unwrap(), b"odd");
        }
    }

    #[test]
    fn a_folder_that_becomes_a_link_meanwhile_leads_neither_reading_nor_writing_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        for name in ["outside", "from/sub", "to/sub"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("outside/secret"), "secret").unwrap();
        fs::write(root.join("from/sub/secret"), "plain").unwrap();
        let metadata = fs::symlink_metadata(root.join("from/sub/secret")).unwrap();
        let exchange = |name: &str| {
            fs::rename(root.join(name), root.join("old")).unwrap();
            std::os::unix::fs::symlink(root.join("outside"), root.join(name)).unwrap();
        };
        let put = |how| {
            let (from, to) = (root.join("from/sub/secret"), root.join("to/sub/secret"));
            Placer::new(how).put(&from, &to, &metadata).unwrap_err()
        };
        // Looked at when it was a folder, used when it is a link: that of the source, then that of the target.
        exchange("from/sub");
        for how in [Transfer::Copy, Transfer::Link] {
            assert_eq!(put(how).action, "read", "{how:?}");
        }
        fs::remove_file(root.join("from/sub")).unwrap();
        fs::rename(root.join("old"), root.join("from/sub")).unwrap();
        exchange("to/sub");
        for how in [Transfer::Copy, Transfer::Link] {
            assert_eq!(put(how).action, "write", "{how:?}");
        }
        assert!(make_folder(&root.join("to/sub/new")).is_err());
        assert!(super::super::remove_tree(&root.join("to/sub/secret")).is_err());
        assert_eq!(fs::read_to_string(root.join("outside/secret")).unwrap(), "secret");
        assert_eq!(fs::read_dir(root.join("outside")).unwrap().count(), 1);
    }

    #[test]
    fn holes_stay_holes() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for (content, at) in
            [(&[("begin", 0)][..], 40 << 20), (&[("x", 8 << 20), ("end", 30 << 20)], 0), (&[], 5 << 20)]
        {
            let _ = fs::remove_file(&to);
            let file = File::create(&from).unwrap();
            for (text, at) in content {
                file.write_all_at(text.as_bytes(), *at).unwrap();
            }
            if at > 0 {
                file.set_len(at).unwrap();
            }
            copy_file(&from, &to, &fs::metadata(&from).unwrap()).unwrap();
            assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
            assert!(fs::metadata(&to).unwrap().blocks() * 512 <= 1 << 20, "it takes up what it says");
        }
    }
}
