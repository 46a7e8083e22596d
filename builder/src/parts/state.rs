//! What went into a part, written down beside it.

use std::fs;

use pack_schemas::package::canonical_json;
use serde::Serialize;

use super::StepError;
use crate::debian::StagedPackage;
use crate::files::FileError;
use crate::project::PartFolders;

/// The format version of a part's `state.json`.
const STATE_VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PartState<'a> {
    format: u32,
    stage_packages: Vec<PackageState<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct PackageState<'a> {
    name: &'a str,
    version: &'a str,
    architecture: &'a str,
    sha256: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'a str>,
}

/// Writes the state of a part that was built.
pub(super) fn write(folders: &PartFolders, packages: &[StagedPackage]) -> Result<(), StepError> {
    let stage_packages = packages
        .iter()
        .map(|package| PackageState {
            name: &package.name,
            version: &package.version,
            architecture: &package.architecture,
            sha256: &package.sha256,
            source: package.source.as_deref(),
        })
        .collect();
    let path = folders.state();
    let json = canonical_json(&PartState { format: STATE_VERSION, stage_packages });
    Ok(fs::write(&path, json).map_err(|source| FileError::at("write", &path, source))?)
}
