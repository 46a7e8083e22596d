//! Fetches the source of a part: what its pull step does without a script.
//!
//! [`fetch`] fills an empty folder; what it fetched, and what that hashes to, it returns.

use std::io;
use std::path::Path;

use pack_schemas::manifest::{Part, SourceType};
use pack_schemas::text::visible;

use crate::files::{self, FileError, Transfer};
use crate::project::{Project, WORK_FOLDER};

/// Why a source cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The source is not there.
    #[error("cannot find the source `{}` in the project", visible(.source_folder))]
    Missing {
        /// The source as the manifest names it.
        source_folder: String,
        /// Why.
        source: io::Error,
    },
    /// The source is, by a symbolic link, not inside the project, or is in the folder that builds work in.
    #[error("the source `{}` leads out of the project's own files", visible(.source_folder))]
    Outside {
        /// The source as the manifest names it.
        source_folder: String,
    },
    /// The source is a file.
    #[error("the source `{}` is not a folder; say with `source-type` what it is", visible(.source_folder))]
    NoFolder {
        /// The source as the manifest names it.
        source_folder: String,
    },
}

/// Fetches the source of `part` into `target`, a folder that is empty. A part without a source has nothing to fetch.
///
/// # Errors
/// [`SourceError`]; `target` may then hold a part of the source.
pub fn fetch(project: &Project, part: &Part, target: &Path) -> Result<(), SourceError> {
    match (&part.source, part.source_kind()) {
        (Some(source), Some(SourceType::Local)) => copy_folder(project, source, target),
        (Some(source), _) => Err(SourceError::NoFolder { source_folder: source.clone() }),
        (None, _) => Ok(()),
    }
}

/// Copies a folder of the project; of the project's own folder all but what builds make.
fn copy_folder(project: &Project, source: &str, target: &Path) -> Result<(), SourceError> {
    let outside = || SourceError::Outside { source_folder: source.to_owned() };
    let folder = project
        .folder()
        .join(source)
        .canonicalize()
        .map_err(|error| SourceError::Missing { source_folder: source.to_owned(), source: error })?;
    let inside = folder.strip_prefix(project.folder()).map_err(|_| outside())?;
    if inside.starts_with(WORK_FOLDER) {
        return Err(outside());
    }
    if !folder.is_dir() {
        return Err(SourceError::NoFolder { source_folder: source.to_owned() });
    }
    let is_root = inside.as_os_str().is_empty();
    let made = |path: &Path| {
        is_root
            && path.components().count() == 1
            && (path == Path::new(WORK_FOLDER) || path.extension().is_some_and(|ending| ending == "pkg"))
    };
    Ok(files::transfer_tree(&folder, target, Transfer::Copy, |path| !made(path))?)
}
