//! The files of the base that a project is built on.

use std::path::PathBuf;
use std::sync::Arc;

use pack_launcher::package::Package;

use crate::files::{self, FileError};
use crate::project::{BuildLock, WorkFolders};
use crate::unpack::{UnpackError, unpack};

/// Why the files of a base are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// The place for them cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// They cannot be extracted.
    #[error(transparent)]
    Unpack(#[from] UnpackError),
}

/// Extracts the files of a base into the work folder, where they are not there yet from an earlier build, and returns their
/// folder. It bears the hash of the base's envelope, and is there whole or not at all; those of other bases go.
///
/// # Errors
/// [`BaseError`].
pub fn extract(package: &Arc<Package>, work: &WorkFolders, _lock: &BuildLock) -> Result<PathBuf, BaseError> {
    let all = work.bases();
    let folder = all.join(package.envelope_hash().to_string());
    if !folder.is_dir() {
        files::remove_tree(&all)?;
        files::make_folder(&all)?;
        unpack(package, &folder, &mut |_| ())?;
    }
    Ok(folder)
}
