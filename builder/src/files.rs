//! Folders and trees on disk: made, copied, linked, compared and removed. Every error names the path.
//!
//! Nothing here follows a symbolic link that stands in a tree: links are copied as they are, and a link where a folder
//! is wanted is an error.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use pack_schemas::text::visible;
use walkdir::WalkDir;

/// What the file system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}`", visible(&.path.to_string_lossy()))]
pub struct FileError {
    /// A verb, such as `read`.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn at(action: &'static str, path: &Path, source: io::Error) -> FileError {
        FileError { action, path: path.to_path_buf(), source }
    }
}

/// How a file gets from one tree into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transfer {
    /// As a file of its own.
    Copy,
    /// As another name of the same file, where the file system allows it.
    Link,
}

/// Something in a tree.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the tree's root.
    pub path: PathBuf,
    pub metadata: Metadata,
}

/// Makes a folder with mode 0755, whatever the umask, unless it is there.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    match fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => set_mode(path, 0o755),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            let metadata =
                path.symlink_metadata().map_err(|source| FileError::at("look at", path, source))?;
            if metadata.is_dir() {
                return Ok(());
            }
            Err(FileError::at("make the folder", path, io::ErrorKind::NotADirectory.into()))
        }
        Err(source) => Err(FileError::at("make the folder", path, source)),
    }
}

/// Lists all that is under `root`, every folder before its content, names in the order of their bytes. `enter` decides
/// whether something, and what is in it, is listed.
pub(crate) fn list(root: &Path, enter: impl Fn(&Path) -> bool) -> Result<Vec<Entry>, FileError> {
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_path_buf();
    let walk = WalkDir::new(root).min_depth(1).sort_by_file_name().into_iter();
    let entries = walk.filter_entry(|entry| enter(&relative(entry.path())));
    entries
        .map(|entry| {
            let entry = entry.map_err(|error| walk_error(root, error))?;
            let metadata = entry.metadata().map_err(|error| walk_error(root, error))?;
            Ok(Entry { path: relative(entry.path()), metadata })
        })
        .collect()
}

fn walk_error(root: &Path, error: walkdir::Error) -> FileError {
    let path = error.path().unwrap_or(root).to_path_buf();
    FileError { action: "list", path, source: error.into() }
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
        transfer(&from.join(&path), &target, &metadata, how)?;
    }
    Ok(())
}

/// Puts one file or symbolic link, whose metadata the caller has, where nothing is yet.
pub(crate) fn transfer(from: &Path, to: &Path, metadata: &Metadata, how: Transfer) -> Result<(), FileError> {
    if metadata.is_symlink() {
        let target = fs::read_link(from).map_err(|source| FileError::at("read", from, source))?;
        return std::os::unix::fs::symlink(target, to).map_err(|source| FileError::at("write", to, source));
    }
    if !metadata.is_file() {
        let words = "it is neither a file, a folder nor a symbolic link";
        return Err(FileError::at("copy", from, io::Error::new(io::ErrorKind::InvalidInput, words)));
    }
    // A link fails across file systems, at the limit of names that a file may have, and for the files of another user
    // (/proc/sys/fs/protected_hardlinks); then it is a copy.
    if how == Transfer::Link && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy_file(from, to, metadata)
}

/// Copies content, permissions (no set-uid, set-gid or sticky bit) and time of modification.
fn copy_file(from: &Path, to: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let mut input = File::open(from).map_err(|source| FileError::at("read", from, source))?;
    let write_error = |source| FileError::at("write", to, source);
    let mut output =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(to).map_err(write_error)?;
    io::copy(&mut input, &mut output).map_err(|source| FileError::at("copy", from, source))?;
    let modified = metadata.modified().map_err(|source| FileError::at("look at", from, source))?;
    output.set_modified(modified).map_err(write_error)?;
    output.set_permissions(Permissions::from_mode(metadata.mode() & 0o777)).map_err(write_error)
}

/// Whether two files or symbolic links are the same: type, content, and whether they can be executed.
pub(crate) fn are_equal(left: &Path, right: &Path) -> Result<bool, FileError> {
    let look = |path: &Path| path.symlink_metadata().map_err(|source| FileError::at("look at", path, source));
    let (left_data, right_data) = (look(left)?, look(right)?);
    if (left_data.dev(), left_data.ino()) == (right_data.dev(), right_data.ino()) {
        return Ok(true);
    }
    if left_data.is_symlink() && right_data.is_symlink() {
        let target = |path: &Path| fs::read_link(path).map_err(|source| FileError::at("read", path, source));
        return Ok(target(left)? == target(right)?);
    }
    let executable = |metadata: &Metadata| metadata.mode() & 0o111 != 0;
    if !left_data.is_file()
        || !right_data.is_file()
        || left_data.len() != right_data.len()
        || executable(&left_data) != executable(&right_data)
    {
        return Ok(false);
    }
    same_content(left, right)
}

fn same_content(left: &Path, right: &Path) -> Result<bool, FileError> {
    let open = |path: &Path| File::open(path).map_err(|source| FileError::at("read", path, source));
    let (mut left_file, mut right_file) = (open(left)?, open(right)?);
    let (mut left_block, mut right_block) = (Vec::new(), Vec::new());
    loop {
        for (file, block, path) in
            [(&mut left_file, &mut left_block, left), (&mut right_file, &mut right_block, right)]
        {
            block.clear();
            file.take(1 << 20).read_to_end(block).map_err(|source| FileError::at("read", path, source))?;
        }
        if left_block != right_block {
            return Ok(false);
        }
        if left_block.is_empty() {
            return Ok(true);
        }
    }
}

/// Removes a file, or a folder with all that is in it, also where folders inside forbid their owner to write. Nothing
/// there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    let Ok(metadata) = path.symlink_metadata() else { return Ok(()) };
    if !metadata.is_dir() {
        return fs::remove_file(path).map_err(|source| FileError::at("remove", path, source));
    }
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            fs::remove_dir_all(path).map_err(|source| FileError::at("remove", path, source))
        }
        removed => removed.map_err(|source| FileError::at("remove", path, source)),
    }
}

/// Gives the owner every permission on a folder and all folders inside.
fn open_folders(root: &Path) -> Result<(), FileError> {
    let mut left = vec![root.to_path_buf()];
    while let Some(folder) = left.pop() {
        set_mode(&folder, 0o700)?;
        let list_error = |source| FileError::at("list", &folder, source);
        for entry in fs::read_dir(&folder).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            if entry.file_type().map_err(list_error)?.is_dir() {
                left.push(entry.path());
            }
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    fs::set_permissions(path, Permissions::from_mode(mode))
        .map_err(|source| FileError::at("change the mode of", path, source))
}
