//! Deletes a tree that an app wrote.
//!
//! Order: files first, then the folders that they were in. A folder deeper than [`FLATTEN_AT`] is moved to the top of
//! the tree and emptied from there, so that a tree of any depth needs few descriptors. Folders whose modes would stop
//! their owner are opened up first. Interrupted, it has deleted some of the tree; begun again, it deletes the rest.

use std::ffi::OsStr;
use std::io;

use rustix::fs::FileType;
use rustix::io::Errno;

use super::{TreeError, file_type, open_shut_folder};
use crate::folder::{FileError, Folder};

/// From this depth on, folders are moved to the top.
const FLATTEN_AT: usize = 64;
/// An app that is still running can fill a folder as fast as it is emptied; so often it is emptied again.
const REFILLS_MOST: usize = 50;
/// Passes in all; each shortens the deepest branch by [`FLATTEN_AT`] levels.
const PASSES_MOST: usize = 1_000_000;

/// Deletes `name` in `parent`, whatever it is; whether there was something. `progress` is told of every file.
pub(crate) fn delete_tree(
    parent: &Folder,
    name: impl AsRef<OsStr>,
    progress: &mut dyn FnMut(),
) -> Result<bool, TreeError> {
    let name = name.as_ref();
    let Some(stat) = parent.stat_of(name)? else { return Ok(false) };
    if file_type(&stat) != FileType::Directory {
        return Ok(parent.remove_file(name)?);
    }
    let Some(top) = open_shut_folder(parent, name)? else { return Ok(false) };
    let (mut flattened, mut refills) = (0, 0);
    for _ in 0..PASSES_MOST {
        let before = flattened;
        Deletion { top: &top, flattened: &mut flattened, progress }.empty(&top, 0)?;
        if parent.remove_empty_child(name)? {
            parent.sync()?;
            return Ok(true);
        }
        refills += usize::from(flattened == before);
        if refills > REFILLS_MOST {
            break;
        }
    }
    let source = io::Error::new(io::ErrorKind::DirectoryNotEmpty, "something keeps filling it");
    Err(FileError { action: "remove", path: parent.join(name), source }.into())
}

struct Deletion<'a> {
    top: &'a Folder,
    /// Number of folders moved to the top, for their names.
    flattened: &'a mut u64,
    progress: &'a mut dyn FnMut(),
}

impl Deletion<'_> {
    fn empty(&mut self, folder: &Folder, depth: usize) -> Result<(), TreeError> {
        for name in folder.entries()? {
            let name = name?;
            let Some(stat) = folder.stat_of(&name)? else { continue };
            if file_type(&stat) != FileType::Directory {
                folder.remove_file(&name)?;
                (self.progress)();
            } else if let Some(child) = open_shut_folder(folder, &name)? {
                if depth < FLATTEN_AT {
                    self.empty(&child, depth + 1)?;
                    // Not empty where something was added since; the next pass sees it.
                    folder.remove_empty_child(&name)?;
                } else {
                    self.move_to_top(folder, &name)?;
                }
            }
        }
        Ok(())
    }

    fn move_to_top(&mut self, folder: &Folder, name: &OsStr) -> Result<(), TreeError> {
        loop {
            *self.flattened += 1;
            let new_name = format!(".deleting-{}", self.flattened);
            match rustix::fs::renameat_with(
                folder,
                name,
                self.top,
                &new_name,
                rustix::fs::RenameFlags::NOREPLACE,
            ) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(folder.failed("move", name, error).into()),
            }
        }
    }
}
