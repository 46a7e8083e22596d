//! What went into a part, written down beside it.

use std::fs;
use std::io;

use pack_schemas::package::canonical_json;
use serde::{Deserialize, Serialize};

use super::StepError;
use crate::debian::StagedPackage;
use crate::files::{self, FileError};
use crate::project::PartFolders;
use crate::sources::Fetched;

/// The format version of a part's `state.json`.
const STATE_VERSION: u32 = 1;

/// Debian packages that a part was built of and with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Packages {
    /// Those whose files went into it.
    #[serde(rename = "stage-packages")]
    pub staged: Vec<StagedPackage>,
    /// Those that its commands found in their root.
    #[serde(rename = "build-packages", default)]
    pub built_with: Vec<StagedPackage>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PartState {
    format: u32,
    #[serde(flatten)]
    packages: Packages,
}

/// Writes the state of a part that was built.
pub(super) fn write(folders: &PartFolders, packages: &Packages) -> Result<(), StepError> {
    let json = canonical_json(&PartState { format: STATE_VERSION, packages: packages.clone() });
    Ok(files::write_whole(&folders.state(), &json)?)
}

/// The Debian packages that a part was built of and with, the last time.
pub(super) fn read(folders: &PartFolders) -> Result<Packages, StepError> {
    let path = folders.state();
    let read_error = |source| FileError::at("read", &path, source);
    let json = fs::read(&path).map_err(read_error)?;
    let state: PartState =
        serde_json::from_slice(&json).map_err(|error| read_error(io::Error::other(error)))?;
    Ok(state.packages)
}

/// Writes where the source of a part came from; nothing for one without a source.
pub(super) fn write_fetched(folders: &PartFolders, fetched: Option<&Fetched>) -> Result<(), StepError> {
    Ok(files::write_whole(&folders.fetched_facts(), &canonical_json(&fetched))?)
}

/// Where the source of a part came from when it was last pulled. A script that fetches by itself leaves nothing of it.
pub(super) fn read_fetched(folders: &PartFolders) -> Option<Fetched> {
    let json = fs::read(folders.fetched_facts()).ok()?;
    serde_json::from_slice(&json).ok()?
}
