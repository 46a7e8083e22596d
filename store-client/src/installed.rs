//! Packages that are installed, as `state.json` tells it: read without a lock, since it is replaced by rename.
//!
//! `state.json` decides. The link `current` says the same for people and for tools that look at the folder; it is
//! checked and mended, and no launch follows it.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;

use rustix::io::Errno;

use pack_schemas::manifest::PackageType;
use pack_schemas::names::{Hash, PackageName, Revision};
use pack_schemas::state::{PackageState, STATE_LIMIT, StateProblem};
use pack_schemas::text::visible;

use crate::folder::{FileError, Folder, Mounts};
use crate::folders::{CURRENT_LINK, Folders, PURGING_FILE, REMOVING_FILE, STATE_FILE, image_file};
use crate::tree::{self, TreeSize};

/// Why what is installed could not be told, or opened.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// No such package.
    #[error("package `{name}` is not installed")]
    NotInstalled {
        /// The package.
        name: PackageName,
    },
    /// No such revision of it.
    #[error("revision {revision} of `{name}` is not installed")]
    NoRevision {
        /// The package.
        name: PackageName,
        /// The revision.
        revision: Revision,
    },
    /// Its removal was begun.
    #[error("package `{name}` is being removed")]
    BeingRemoved {
        /// The package.
        name: PackageName,
    },
    /// Its state file holds no state.
    #[error("the state of package `{name}` is damaged: {}", visible(&.path.to_string_lossy()))]
    Damaged {
        /// The package.
        name: PackageName,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: StateProblem,
    },
    /// Its image is not there, or was changed.
    #[error("the image of `{name}` revision {revision} {problem}: {}", visible(&.path.to_string_lossy()))]
    Image {
        /// The package.
        name: PackageName,
        /// The revision.
        revision: Revision,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A file or folder cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
}

impl StateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            StateError::NotInstalled { .. } => Some("`pack list` shows what is installed".to_owned()),
            StateError::NoRevision { name, .. } => Some(format!("`pack info {name}` shows its revisions")),
            StateError::BeingRemoved { name } => Some(format!("`pack remove {name}` completes it")),
            StateError::Damaged { source: StateProblem::FormatVersion { .. }, .. } => {
                Some("a newer pack wrote it; use that one".to_owned())
            }
            StateError::Damaged { name, path, .. } => Some(format!(
                "restore the file from a backup, or move it away and install `{name}` again: its data stays (next to {})",
                visible(&path.to_string_lossy())
            )),
            StateError::Image { name, .. } => Some(format!("install the package file of `{name}` again")),
            StateError::File(_) => None,
        }
    }
}

/// A package, as a listing shows it.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub name: PackageName,
    /// Its state, or why it cannot be told.
    pub state: Result<PackageState, StateError>,
}

/// The current revision of a package, opened for a launch.
#[derive(Debug)]
pub struct OpenRevision {
    /// The image; it stays readable when the revision is removed meanwhile.
    pub file: File,
    /// Which revision it is.
    pub revision: Revision,
    /// The envelope that was accepted at install; the file may have been changed since, and has to hash to this.
    pub envelope: Hash,
    /// The whole state.
    pub state: PackageState,
}

/// How much data a package has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataSize {
    /// Data of each revision.
    pub revisions: Vec<(Revision, TreeSize)>,
    /// Data that all revisions share.
    pub common: TreeSize,
}

/// Reads the state of one package; nothing where there is none. A removed package whose data was kept has one.
///
/// # Errors
/// Where it is damaged, being removed, or cannot be read.
pub fn read_state(folders: &Folders, name: &PackageName) -> Result<Option<PackageState>, StateError> {
    match open_package(folders, name)? {
        Some(package) => read_state_in(&package, name),
        None => Ok(None),
    }
}

/// Reads the state of an installed package.
///
/// # Errors
/// As [`read_state`]; also where it is not installed.
pub fn read_installed(folders: &Folders, name: &PackageName) -> Result<PackageState, StateError> {
    let state = read_state(folders, name)?.filter(|state| state.current.is_some());
    state.ok_or_else(|| StateError::NotInstalled { name: name.clone() })
}

/// Lists every package that has a state, sorted by name: a damaged one does not hide the others. Packages that were
/// removed and whose data was kept are among them, with no current revision.
///
/// # Errors
/// Where the folder of packages cannot be read.
pub fn list(folders: &Folders) -> Result<Vec<Listed>, StateError> {
    let mut listed = Vec::new();
    for name in package_names(folders)? {
        match read_state(folders, &name) {
            Ok(None) => {}
            Ok(Some(state)) => listed.push(Listed { name, state: Ok(state) }),
            Err(error) => listed.push(Listed { name, state: Err(error) }),
        }
    }
    Ok(listed)
}

/// The names of installed packages of `type: base`.
///
/// # Errors
/// Where the folder of packages cannot be read; a damaged package is no base.
pub fn bases(folders: &Folders) -> Result<BTreeSet<PackageName>, StateError> {
    let states = list(folders)?.into_iter().filter_map(|listed| listed.state.ok());
    let bases = states.filter(|state| state.package_type == PackageType::Base && state.current.is_some());
    Ok(bases.map(|state| state.name).collect())
}

/// Opens the current revision of a package.
///
/// # Errors
/// Where it is not installed, or its state or image cannot be used. Whether the package is enabled is the caller's to
/// look at.
pub fn open_current(folders: &Folders, name: &PackageName) -> Result<OpenRevision, StateError> {
    // Between reading the state and opening the image another run may have replaced both; once is then enough.
    match try_open_current(folders, name) {
        Err(StateError::Image { .. }) => try_open_current(folders, name),
        opened => opened,
    }
}

fn try_open_current(folders: &Folders, name: &PackageName) -> Result<OpenRevision, StateError> {
    let not_installed = || StateError::NotInstalled { name: name.clone() };
    let package = open_package(folders, name)?.ok_or_else(not_installed)?;
    let state = read_state_in(&package, name)?.ok_or_else(not_installed)?;
    let revision = state.current.ok_or_else(not_installed)?;
    open_revision(&package, state, revision)
}

/// Opens a revision of a package: the file `REVISION.pkg` in the package's own folder and no other.
pub(crate) fn open_revision(
    package: &Folder,
    state: PackageState,
    revision: Revision,
) -> Result<OpenRevision, StateError> {
    let name = &state.name;
    let entry =
        state.revision(revision).ok_or_else(|| StateError::NoRevision { name: name.clone(), revision })?;
    let problem = |problem| StateError::Image {
        name: name.clone(),
        revision,
        path: package.join(image_file(revision)),
        problem,
    };
    let file = match package.open_file(image_file(revision), Mounts::Cross) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(problem("is missing")),
        Err(error) if error.source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            return Err(problem("is a link, not a file"));
        }
        Err(error) => return Err(error.into()),
    };
    let size = rustix::fs::fstat(&file)
        .map_err(|error| package.failed("look at", OsStr::new(&image_file(revision)), error))?
        .st_size;
    if u64::try_from(size) != Ok(entry.size) {
        return Err(problem("has another size than when it was installed"));
    }
    Ok(OpenRevision { file, revision, envelope: entry.envelope, state })
}

/// Measures the data of a package.
///
/// # Errors
/// Where the package's data folder cannot be opened; what cannot be read below it makes the sizes incomplete.
pub fn data_size(folders: &Folders, name: &PackageName) -> Result<DataSize, StateError> {
    let mut size =
        DataSize { revisions: Vec::new(), common: TreeSize { is_complete: true, ..TreeSize::default() } };
    let Some(data) = open_data(folders, name)? else { return Ok(size) };
    for entry in data.names()? {
        let Ok(Some(folder)) = data.child(&entry, Mounts::Refuse) else { continue };
        match entry.to_str().map(str::parse) {
            Some(Ok(revision)) => size.revisions.push((revision, tree::measure(&folder))),
            _ if entry == crate::folders::COMMON_FOLDER => size.common = tree::measure(&folder),
            _ => {}
        }
    }
    size.revisions.sort_by_key(|(revision, _)| *revision);
    Ok(size)
}

/// The revision that the link `current` names, if it is exactly `REVISION.pkg` of an installed revision.
pub(crate) fn current_link(package: &Folder, state: &PackageState) -> Result<Option<Revision>, FileError> {
    let target = package.read_link(CURRENT_LINK)?;
    let revision = target.as_deref().and_then(OsStr::to_str).and_then(|target| {
        let revision: Revision = target.strip_suffix(".pkg")?.parse().ok()?;
        state.revision(revision).map(|entry| entry.revision)
    });
    Ok(revision)
}

/// Names of the folders in the folder of packages that can be a package's.
pub(crate) fn package_names(folders: &Folders) -> Result<Vec<PackageName>, FileError> {
    let Some(packages) = open_packages(folders)? else { return Ok(Vec::new()) };
    let names = packages.names()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}

pub(crate) fn open_package(folders: &Folders, name: &PackageName) -> Result<Option<Folder>, FileError> {
    match open_packages(folders)? {
        Some(packages) => packages.child(name.as_str(), Mounts::Cross),
        None => Ok(None),
    }
}

pub(crate) fn open_data(folders: &Folders, name: &PackageName) -> Result<Option<Folder>, FileError> {
    let Some(pack) = Folder::open(folders.pack())? else { return Ok(None) };
    match pack.child("data", Mounts::Cross)? {
        Some(data) => data.child(name.as_str(), Mounts::Cross),
        None => Ok(None),
    }
}

fn open_packages(folders: &Folders) -> Result<Option<Folder>, FileError> {
    match Folder::open(folders.pack())? {
        Some(pack) => pack.child("packages", Mounts::Cross),
        None => Ok(None),
    }
}

pub(crate) fn read_state_in(
    package: &Folder,
    name: &PackageName,
) -> Result<Option<PackageState>, StateError> {
    let state = read_state_file(package, name, STATE_FILE)?;
    if state.is_none() && removal_file(package)?.is_some() {
        return Err(StateError::BeingRemoved { name: name.clone() });
    }
    Ok(state)
}

/// Reads one of the three files that hold a state.
pub(crate) fn read_state_file(
    package: &Folder,
    name: &PackageName,
    file: &str,
) -> Result<Option<PackageState>, StateError> {
    let Some(bytes) = package.read(file, STATE_LIMIT)? else { return Ok(None) };
    let damaged = |source| StateError::Damaged { name: name.clone(), path: package.join(file), source };
    PackageState::parse(&bytes, name).map(Some).map_err(damaged)
}

/// Which removal was begun, if one was.
pub(crate) fn removal_file(package: &Folder) -> Result<Option<&'static str>, FileError> {
    for file in [PURGING_FILE, REMOVING_FILE] {
        if package.stat_of(file)?.is_some() {
            return Ok(Some(file));
        }
    }
    Ok(None)
}
