//! Bases: packages of `type: base`, as the builder and a launch use them.

use std::path::PathBuf;
use std::sync::Arc;

use indicatif::ProgressBar;
use pack_builder::base::extract;
use pack_builder::debian::{PRESENT_FILES_MOST, PRESENT_FOLDER, PRESENT_LONGEST_FILE, PresentPackage};
use pack_builder::project::{BuildLock, Project};
use pack_launcher::package::Package;
use pack_schemas::manifest::{Base, PackageType};
use pack_schemas::names::PackageName;
use pack_store_client::folders::Folders;
use pack_store_client::installed;
use pack_store_client::reader::{FileKind, ImageFiles, PackageReader, ReadError};

use crate::failure::Failure;
use crate::package_reader::CheckedReader;
use crate::run::{self, Opened};

/// Opens the base of a package for a launch.
///
/// # Errors
/// Where it is not installed, not whole, or no base.
pub fn open(base: &PackageName, folders: &Folders) -> Result<Opened, Failure> {
    let opened = run::open(base, folders).map_err(|failure| Failure {
        message: format!("the base of the package cannot be used: {}", failure.message),
        hint: hint(base, folders).or(failure.hint),
        ..failure
    })?;
    match opened.package.envelope().package_type {
        PackageType::Base => Ok(opened),
        PackageType::App => {
            Err(Failure::new(format!("the base of the package cannot be used: `{base}` is an app"))
                .hint(format!("remove it, and install the base `{base}`")))
        }
    }
}

/// What a build needs of its base.
#[derive(Default)]
pub struct ForBuild {
    /// The Debian packages that the base has, so that they are not staged again.
    pub present: Vec<PresentPackage>,
    /// Its files, for the tools among the staged packages that make caches.
    pub files: Option<PathBuf>,
}

impl ForBuild {
    /// Looks at the base of a project, and has its files in the project's work folder, once for each base.
    ///
    /// # Errors
    /// Where the project's base is a package, stage-packages are wanted, and the base is not installed: what is staged would
    /// depend on that.
    pub fn prepare(project: &Project, lock: &BuildLock, folders: &Folders) -> Result<ForBuild, Failure> {
        let manifest = project.manifest();
        let Base::Package(base) = &manifest.base else { return Ok(ForBuild::default()) };
        if manifest.parts.values().all(|part| part.stage_packages.is_empty()) {
            return Ok(ForBuild::default());
        }
        let opened = run::open(base, folders).map_err(|failure| Failure {
            message: format!("the base of the project cannot be used: {}", failure.message),
            hint: hint(base, folders).or(failure.hint),
            ..failure
        })?;
        let failed = |error: &dyn std::error::Error| {
            Failure::new(format!("the base `{base}` of the project cannot be used")).because(error)
        };
        let present = read(&opened.package).map_err(|error| failed(error.as_ref()))?;
        let files = extract(&opened.package, &project.work(), lock).map_err(|error| failed(&error))?;
        Ok(ForBuild { present, files: Some(files) })
    }
}

/// What to do about a base that is not there.
fn hint(base: &PackageName, folders: &Folders) -> Option<String> {
    let is_there = installed::bases(folders).ok()?.contains(base);
    (!is_there).then(|| format!("install the base first: `pack install` the package file of `{base}`"))
}

fn read(package: &Arc<Package>) -> Result<Vec<PresentPackage>, ReadError> {
    let files = CheckedReader { bar: ProgressBar::hidden() }.open(package.file())?.files;
    if files.kind(PRESENT_FOLDER)? != Some(FileKind::Folder) {
        return Ok(Vec::new());
    }
    let mut names = files.list(PRESENT_FOLDER)?;
    if names.len() > PRESENT_FILES_MOST {
        return Err(format!("there are more than {PRESENT_FILES_MOST} files in {PRESENT_FOLDER}").into());
    }
    names.sort();
    let mut present = Vec::new();
    for name in names {
        present.extend(read_one(files.as_ref(), &format!("{PRESENT_FOLDER}/{name}"))?);
    }
    Ok(present)
}

fn read_one(files: &dyn ImageFiles, path: &str) -> Result<Option<PresentPackage>, ReadError> {
    let control = files.read(path, PRESENT_LONGEST_FILE)?;
    Ok(PresentPackage::parse(&String::from_utf8_lossy(&control)))
}
