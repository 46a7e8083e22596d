//! Files from one tree into another, as copies or as further names.
//!
//! Names of one file become names of one file again. A copy shares its blocks with the original where the file system
//! can do that (`FICLONE`, ioctl_ficlone(2)); elsewhere what is copied is its data, and holes stay holes.

use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Seek};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;

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
        match target.symlink_metadata() {
            Ok(existing) if !existing.is_dir() => {
                fs::remove_file(&target).map_err(|source| FileError::at("replace", &target, source))?;
            }
            // A folder in the way is told by what makes the file.
            _ => {}
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
            let target = fs::read_link(from).map_err(|source| FileError::at("read", from, source))?;
            return std::os::unix::fs::symlink(target, to)
                .map_err(|source| FileError::at("write", to, source));
        }
        if !metadata.is_file() {
            return Err(not_a_file(from));
        }
        // A link fails across file systems, at the limit of names that a file may have, and for the files of another
        // user (/proc/sys/fs/protected_hardlinks); then it is a copy.
        if self.how == Transfer::Link && fs::hard_link(from, to).is_ok() {
            return Ok(());
        }
        if metadata.nlink() == 1 || self.how == Transfer::Separate {
            return copy_file(from, to, metadata);
        }
        let file = (metadata.dev(), metadata.ino());
        if self.first.get(&file).is_some_and(|first| fs::hard_link(first, to).is_ok()) {
            return Ok(());
        }
        copy_file(from, to, metadata)?;
        self.first.insert(file, to.to_path_buf());
        Ok(())
    }
}

/// Copies content, permissions (no set-uid, set-gid or sticky bit) and time of modification.
fn copy_file(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let input = File::open(from).map_err(|source| FileError::at("read", from, source))?;
    let write_error = |source| FileError::at("write", to, source);
    let output = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(write_error)?;
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
