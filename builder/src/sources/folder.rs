//! Sources in the project: its own folder, or one in it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::SourceError;
use crate::files::{self, Transfer};
use crate::project::{Project, WORK_FOLDER};

/// Copies a folder of the project; of the project's own folder all but what builds make. Files in the target that are
/// known to be what the source has stay, and nothing else does.
pub(super) fn copy(
    project: &Project,
    source: &str,
    target: &Path,
    same: &HashSet<PathBuf>,
) -> Result<(), SourceError> {
    let folder = inside(project, source)?;
    if !folder.is_dir() {
        return Err(SourceError::NoFolder { source_folder: source.to_owned() });
    }
    let is_root = folder == project.folder();
    let made = |path: &Path| {
        is_root
            && path.components().count() == 1
            && (path == Path::new(WORK_FOLDER) || path.extension().is_some_and(|ending| ending == "pkg"))
    };
    let is_same = |path: &Path| same.contains(path);
    Ok(files::refresh_tree(&folder, target, Transfer::Separate, |path| !made(path), is_same)?)
}

/// Where a source is, without symbolic links; it has to be in the project, and not in what builds make there.
pub(super) fn inside(project: &Project, source: &str) -> Result<PathBuf, SourceError> {
    let outside = || SourceError::Outside { source_folder: source.to_owned() };
    let missing = |error| SourceError::Missing { source_folder: source.to_owned(), source: error };
    let path = project.folder().join(source).canonicalize().map_err(missing)?;
    let inside = path.strip_prefix(project.folder()).map_err(|_| outside())?;
    match inside.starts_with(WORK_FOLDER) {
        true => Err(outside()),
        false => Ok(path),
    }
}
