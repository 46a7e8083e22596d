//! The documents that a package carries about itself, in its folder `.pack`: what it is made of ([`sbom`]) and how it was
//! made ([`provenance`]). They are files of the image like any other, so the signature holds for them too.
//!
//! They are written into the prime folder when that is complete, anew for each package. No part may put something there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Name};

use crate::debian::StagedPackage;
use crate::files::{self, FileError};
use crate::image;
use crate::provenance::{self, Facts, Material};
use crate::sbom::{self, Component, Ecosystem, spdx};
use crate::sources::Fetched;

/// The folder of the documents, in a package.
pub const FOLDER: &str = ".pack";

/// What was built, and of what.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The folder that becomes the package.
    pub prime: &'a Path,
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The architecture of the package.
    pub architecture: Architecture,
    /// The time stamp of everything in the package.
    pub source_date_epoch: u32,
    /// Debian packages whose files went into each part.
    pub staged: &'a BTreeMap<Name, Vec<StagedPackage>>,
    /// Debian packages that each part was built with.
    pub built_with: &'a BTreeMap<Name, Vec<StagedPackage>>,
    /// Where the source of each part came from.
    pub fetched: &'a BTreeMap<Name, Fetched>,
    /// Folders with the lock files of what was built.
    pub locks: &'a [PathBuf],
    /// Programs of the machine that built, and their versions.
    pub tools: &'a BTreeMap<String, String>,
}

/// Why the documents cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The files of the package cannot be listed.
    #[error("cannot list the files of the package")]
    List(#[from] io::Error),
}

/// Writes the documents into the prime folder.
///
/// # Errors
/// [`DocumentError`]; what is there of the documents is then not to be packed.
pub fn write(request: &Request<'_>) -> Result<(), DocumentError> {
    let folder = request.prime.join(FOLDER);
    files::remove_tree(&folder)?;
    let locks: Vec<&Path> = request.locks.iter().map(PathBuf::as_path).collect();
    let mut components = sbom::collect(request.prime, &locks)?;
    components.extend(request.staged.values().flatten().map(Component::from));
    components.extend(request.fetched.iter().filter_map(|(part, fetched)| source(part, fetched)));
    components.sort();
    components.dedup();
    let tool = concat!("pack-", env!("CARGO_PKG_VERSION"));
    let subject = spdx::Subject {
        manifest: request.manifest,
        architecture: request.architecture,
        source_date_epoch: request.source_date_epoch,
        tool,
    };
    files::make_folder(&folder)?;
    files::write_whole(&request.prime.join(sbom::PATH), &spdx::document(&subject, &components))?;
    files::write_whole(&request.prime.join(provenance::PATH), &provenance::document(&facts(request)))?;
    Ok(())
}

/// A source that was fetched, as a component. A folder of the project is the package itself.
fn source(part: &Name, fetched: &Fetched) -> Option<Component> {
    let known = ["sha256", "sha384", "sha512", "gitCommit"];
    let version = known.iter().find_map(|algorithm| fetched.digest.get(*algorithm))?;
    let component = Component::new(Ecosystem::Generic, part.as_str(), version)?;
    let (sha256, source) = (fetched.digest.get("sha256").cloned(), Some(fetched.address.clone()));
    Some(Component { sha256, source, ..component })
}

fn facts<'a>(request: &'a Request<'a>) -> Facts<'a> {
    let of = |purpose: &'static str, packages: &'a BTreeMap<Name, Vec<StagedPackage>>| {
        packages.iter().flat_map(move |(part, packages)| {
            packages.iter().map(move |package| Material::debian(part, purpose, package))
        })
    };
    let sources = request.fetched.iter().map(|(part, fetched)| Material {
        name: format!("{part} source"),
        uri: fetched.address.clone(),
        digest: fetched.digest.clone(),
    });
    let materials = of("stage-packages", request.staged).chain(of("build-packages", request.built_with));
    let mut tools = request.tools.clone();
    tools.insert("pack".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    tools.insert("image".to_owned(), image::encoder());
    Facts {
        manifest: request.manifest,
        architecture: request.architecture,
        source_date_epoch: request.source_date_epoch,
        tools,
        materials: materials.chain(sources).collect(),
    }
}
