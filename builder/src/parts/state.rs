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

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PartState {
    format: u32,
    stage_packages: Vec<PackageState>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PackageState {
    name: String,
    version: String,
    architecture: String,
    sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
}

/// Writes the state of a part that was built.
pub(super) fn write(folders: &PartFolders, packages: &[StagedPackage]) -> Result<(), StepError> {
    let state = |package: &StagedPackage| {
        let StagedPackage { name, version, architecture, sha256, source } = package.clone();
        PackageState { name, version, architecture, sha256, source }
    };
    let stage_packages = packages.iter().map(state).collect();
    let json = canonical_json(&PartState { format: STATE_VERSION, stage_packages });
    Ok(files::write_whole(&folders.state(), &json)?)
}

/// The Debian packages that went into a part when it was last built.
pub(super) fn read(folders: &PartFolders) -> Result<Vec<StagedPackage>, StepError> {
    let path = folders.state();
    let read_error = |source| FileError::at("read", &path, source);
    let json = fs::read(&path).map_err(read_error)?;
    let state: PartState =
        serde_json::from_slice(&json).map_err(|error| read_error(io::Error::other(error)))?;
    let package = |package| {
        let PackageState { name, version, architecture, sha256, source } = package;
        StagedPackage { name, version, architecture, sha256, source }
    };
    Ok(state.stage_packages.into_iter().map(package).collect())
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
