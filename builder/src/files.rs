//! Folders and trees on disk: made, copied, linked, compared and removed. Every error names the path.
//!
//! Nothing here follows a symbolic link that stands in a tree: links are copied as they are, and a link where a folder
//! is wanted is an error, also where it was put there a moment ago (`plain.rs`).

use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pack_schemas::text::visible;
use walkdir::WalkDir;

mod copy;
mod plain;
mod refresh;

pub(crate) use copy::{Placer, Transfer, transfer_tree};
use plain::Place;
pub(crate) use plain::open_file;
pub(crate) use refresh::{is_another_name, prune, refresh_tree};

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

/// Something in a tree.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the tree's root.
    pub path: PathBuf,
    pub metadata: Metadata,
}

/// Makes a folder with mode 0755, whatever the umask, unless it is there.
pub(crate) fn make_folder(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::at("make the folder", path, source);
    let place = Place::of(path).map_err(failed)?;
    match place.make_folder() {
        Ok(()) => set_mode(path, 0o755),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = place.metadata().map_err(|source| FileError::at("look at", path, source))?;
            if metadata.is_dir() {
                return Ok(());
            }
            Err(failed(io::ErrorKind::NotADirectory.into()))
        }
        Err(source) => Err(failed(source)),
    }
}

/// Lists all that is under `root`, every folder before its content, names in the order of their bytes. `enter` decides
/// whether something, and what is in it, is listed.
pub(crate) fn list(root: &Path, enter: impl Fn(&Path) -> bool) -> Result<Vec<Entry>, FileError> {
    let relative = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_path_buf();
    let walk = WalkDir::new(root).follow_root_links(false).min_depth(1).sort_by_file_name().into_iter();
    let entries = walk.filter_entry(|entry| enter(&relative(entry.path())));
    entries
        .map(|entry| {
            let entry = entry.map_err(|error| walk_error(root, error))?;
            let metadata = entry.metadata().map_err(|error| walk_error(root, error))?;
            Ok(Entry { path: relative(entry.path()), metadata })
        })
        .collect()
}

pub(crate) fn not_a_file(path: &Path) -> FileError {
    let words = "it is neither a file, a folder nor a symbolic link";
    FileError::at("copy", path, io::Error::new(io::ErrorKind::InvalidInput, words))
}

fn walk_error(root: &Path, error: walkdir::Error) -> FileError {
    let path = error.path().unwrap_or(root).to_path_buf();
    FileError { action: "list", path, source: error.into() }
}

/// What two files or symbolic links at one path differ in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// One is a folder, file or link, and the other is not.
    Kind,
    /// Their bytes.
    Content,
    /// Where they point to.
    Target,
    /// One can be executed, and the other cannot.
    Executable,
}

/// What two files or symbolic links differ in; nothing where they are the same.
pub(crate) fn difference(left: &Path, right: &Path) -> Result<Option<Difference>, FileError> {
    let look = |path: &Path| {
        let metadata = Place::of(path).and_then(|place| place.metadata());
        metadata.map_err(|source| FileError::at("look at", path, source))
    };
    let (left_data, right_data) = (look(left)?, look(right)?);
    if (left_data.dev(), left_data.ino()) == (right_data.dev(), right_data.ino()) {
        return Ok(None);
    }
    if left_data.is_symlink() && right_data.is_symlink() {
        let target = |path: &Path| {
            let target = Place::of(path).and_then(|place| place.read_symlink());
            target.map_err(|source| FileError::at("read", path, source))
        };
        let is_same = target(left)? == target(right)?;
        return Ok((!is_same).then_some(Difference::Target));
    }
    if !left_data.is_file() || !right_data.is_file() {
        return Ok(Some(Difference::Kind));
    }
    if left_data.len() != right_data.len() || !same_content(left, right)? {
        return Ok(Some(Difference::Content));
    }
    let executable = |metadata: &Metadata| metadata.mode() & 0o111 != 0;
    Ok((executable(&left_data) != executable(&right_data)).then_some(Difference::Executable))
}

fn same_content(left: &Path, right: &Path) -> Result<bool, FileError> {
    let open = |path: &Path| open_file(path).map_err(|source| FileError::at("read", path, source));
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

/// Writes a file so that a reader sees all of it or what was there before, also when this process is killed. After a
/// crash of the machine it may be torn: nothing is flushed.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    let new = path.with_file_name(name);
    fs::write(&new, content).map_err(|source| FileError::at("write", &new, source))?;
    fs::rename(&new, path).map_err(|source| FileError::at("write", path, source))
}

/// Makes a folder that is empty, in place of what is there.
pub(crate) fn renew_folder(path: &Path) -> Result<(), FileError> {
    remove_tree(path)?;
    make_folder(path)
}

/// Gives every file and folder of a tree the same time of modification, and one of two modes: 0755, or 0644 for files
/// that cannot be executed.
pub(crate) fn settle_tree(root: &Path, seconds: u32) -> Result<(), FileError> {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(seconds));
    // What is in a folder changes its time, and names are listed before what is in them.
    for Entry { path, metadata } in list(root, |_| true)?.iter().rev() {
        let path = root.join(path);
        // To open a FIFO would be to wait for who writes to it.
        if !metadata.is_dir() && !metadata.is_file() {
            continue;
        }
        let mode = if metadata.is_dir() || metadata.mode() & 0o111 != 0 { 0o755 } else { 0o644 };
        if metadata.mode() & 0o7777 != mode {
            set_mode(&path, mode)?;
        }
        if metadata.modified().is_ok_and(|there| there == time) {
            continue;
        }
        let opened = plain::open(&path, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK);
        let set = opened.and_then(|opened| fs::File::from(opened).set_modified(time));
        set.map_err(|source| FileError::at("change the time of", &path, source))?;
    }
    Ok(())
}

/// Removes a file, or a folder with all that is in it, also where folders inside forbid their owner to write. Nothing
/// there is fine.
pub(crate) fn remove_tree(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::at("remove", path, source);
    let place = match Place::of(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
        place => place.map_err(failed)?,
    };
    let Ok(metadata) = place.metadata() else { return Ok(()) };
    if !metadata.is_dir() {
        return place.remove_file().map_err(failed);
    }
    match place.remove_folder() {
        Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
            open_folders(path)?;
            place.remove_folder().map_err(failed)
        }
        removed => removed.map_err(failed),
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
    plain::set_mode(path, mode).map_err(|source| FileError::at("change the mode of", path, source))
}
