//! An installed package goes, and its data with it where that is asked for.
//!
//! | | step |
//! |---|---|
//! | 1 | **`state.json` is renamed** to `removing.json`, or `purging.json`: from here on the package is gone, and cannot be started |
//! | 2 | what it exports is removed |
//! | 3 | the link `current` and the images are removed |
//! | 4 | data: of all revisions but the current one; with `--purge`, all of it |
//! | 5 | where data is kept, a `state.json` is written that says whose it is |
//! | 6 | `removing.json` or `purging.json` is removed, and the package's folder |
//!
//! Step 1 is a rename because that works on a full disk, which is when people remove things. Killed after it, the next
//! run that changes anything goes on from step 2 ([`Change::recover`]).
//!
//! Kept are `data/NAME/common` and the data of the current revision. Only a package of the same publisher gets them
//! back. Where there is no file in them, nothing is kept.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use pack_schemas::interface::Grant;
use pack_schemas::names::{PackageName, Revision};
use pack_schemas::state::{Connection, PackageState};

use crate::change::{Change, Step};
use crate::folder::{FileError, Folder};
use crate::folders::{COMMON_FOLDER, CURRENT_LINK, Folders, PURGING_FILE, REMOVING_FILE, STATE_FILE};
use crate::installed::{self, DataSize, StateError};
use crate::tree::{self, TreeError, TreeSize};

/// What a removal will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovalPlan {
    /// The package.
    pub name: PackageName,
    /// Whether its data goes as well.
    pub is_purge: bool,
    /// Revisions whose images go.
    pub revisions: Vec<Revision>,
    /// Installed packages of the same publisher that are shown content of it, and go without from their next start.
    pub shown_to: Vec<PackageName>,
    /// Data that goes.
    pub data_removed: TreeSize,
    /// Data that stays.
    pub data_kept: TreeSize,
    /// The state that the plan was made on.
    #[serde(skip)]
    before: PackageState,
}

/// Why a package was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// Other packages need it.
    #[error("`{name}` is the base of {}", list(.users))]
    InUse {
        /// The package.
        name: PackageName,
        /// Who needs it.
        users: Vec<PackageName>,
    },
    /// It was removed, and its data was kept.
    #[error("package `{name}` is not installed, but its data is still there")]
    OnlyData {
        /// The package.
        name: PackageName,
    },
    /// The installed state is another one than when the plan was made.
    #[error("the installed state of `{name}` changed while it was being removed")]
    Changed {
        /// The package.
        name: PackageName,
    },
    /// Data that is to go cannot be deleted.
    #[error("the data of `{name}` cannot be deleted")]
    Data {
        /// The package.
        name: PackageName,
        /// Why not.
        source: TreeError,
    },
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file cannot be changed.
    #[error(transparent)]
    File(#[from] FileError),
}

impl RemoveError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            RemoveError::InUse { .. } => Some("remove them first".to_owned()),
            RemoveError::OnlyData { name } => Some(format!("`pack remove --purge {name}` deletes it")),
            RemoveError::Changed { .. } => Some("run it again".to_owned()),
            RemoveError::Data { source, .. } => source.hint(),
            RemoveError::State(error) => error.hint(),
            RemoveError::File(_) => None,
        }
    }
}

fn list(names: &[PackageName]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Works out what a removal will do.
///
/// # Errors
/// Where the package is not there, others need it, or its state cannot be read.
pub fn plan(folders: &Folders, name: &PackageName, is_purge: bool) -> Result<RemovalPlan, RemoveError> {
    let state = installed::read_state(folders, name)?
        .ok_or_else(|| StateError::NotInstalled { name: name.clone() })?;
    if state.current.is_none() && !is_purge {
        return Err(RemoveError::OnlyData { name: name.clone() });
    }
    let users = users_of(folders, name)?;
    if !users.is_empty() {
        return Err(RemoveError::InUse { name: name.clone(), users });
    }
    let size = installed::data_size(folders, name)?;
    let (data_removed, data_kept) = split(&size, if is_purge { None } else { state.current });
    Ok(RemovalPlan {
        name: name.clone(),
        is_purge,
        revisions: state.revisions.iter().map(|entry| entry.revision).collect(),
        shown_to: shown_to(folders, &state)?,
        data_removed,
        data_kept,
        before: state,
    })
}

/// Installed packages any revision of which has `base` as its base. A package whose state is damaged may be one, and
/// is asked about nothing.
fn users_of(folders: &Folders, base: &PackageName) -> Result<Vec<PackageName>, StateError> {
    let uses = |state: &PackageState| state.revisions.iter().any(|entry| entry.base.as_ref() == Some(base));
    let states = installed::list(folders)?.into_iter().filter_map(|listed| listed.state.ok());
    Ok(states.filter(uses).map(|state| state.name).collect())
}

/// Installed packages that have a connected plug for content of `provider`, and its publisher. They can be started without,
/// which is why it can be removed, and a base cannot.
fn shown_to(folders: &Folders, provider: &PackageState) -> Result<Vec<PackageName>, StateError> {
    let asks = |connection: &Connection| {
        let of_provider =
            |grant: &Grant| matches!(grant, Grant::Content { provider: name, .. } if *name == provider.name);
        connection.compiled.grants.iter().any(of_provider)
    };
    let is_shown = |state: &PackageState| {
        provider.current.is_some()
            && state.current.is_some()
            && state.publisher.is_some()
            && state.publisher == provider.publisher
            && state.connections.values().any(asks)
    };
    let states = installed::list(folders)?.into_iter().filter_map(|listed| listed.state.ok());
    Ok(states.filter(is_shown).map(|state| state.name).collect())
}

/// What goes and what stays, where the data of `kept` stays.
fn split(size: &DataSize, kept: Option<Revision>) -> (TreeSize, TreeSize) {
    let empty = TreeSize { is_complete: true, ..TreeSize::default() };
    let (mut removed, mut stays) = (empty, empty);
    for (revision, size) in &size.revisions {
        let sum = if kept == Some(*revision) { &mut stays } else { &mut removed };
        *sum = *sum + *size;
    }
    let sum = if kept.is_some() { &mut stays } else { &mut removed };
    *sum = *sum + size.common;
    (removed, stays)
}

impl Change<'_> {
    /// Removes a package as planned.
    ///
    /// # Errors
    /// [`RemoveError`]. Where it is not [`RemoveError::Changed`], the removal may have begun, and goes on with the
    /// next run.
    pub fn remove(&mut self, plan: &RemovalPlan) -> Result<(), RemoveError> {
        let name = &plan.name;
        if installed::read_state(self.folders, name)?.as_ref() != Some(&plan.before) {
            return Err(RemoveError::Changed { name: name.clone() });
        }
        let package = installed::open_package(self.folders, name)?
            .ok_or_else(|| StateError::NotInstalled { name: name.clone() })?;
        let file = if plan.is_purge { PURGING_FILE } else { REMOVING_FILE };
        package.rename(STATE_FILE, &package, file)?;
        self.done(Step::RemovalBegun);
        self.finish_removal(name)
    }

    /// Steps 2 to 6, whichever of them are done already.
    pub(crate) fn finish_removal(&mut self, name: &PackageName) -> Result<(), RemoveError> {
        let Some(package) = installed::open_package(self.folders, name)? else { return Ok(()) };
        let Some(file) = installed::removal_file(&package)? else { return Ok(()) };
        let is_purge = file == PURGING_FILE;
        // A state beside it is the one of step 5.
        let kept_state = installed::read_state_file(&package, name, STATE_FILE)?;
        if (is_purge || kept_state.is_none())
            && let Some(state) = installed::read_state_file(&package, name, file)?
        {
            self.withdraw(name, &state.exports)?;
            self.remove_images(&package)?;
            let kept = if is_purge { None } else { self.keep_data(&state)? };
            match kept {
                Some(kept) => self.write_state(&package, &kept)?,
                None => self.delete_all_data(name)?,
            }
        }
        package.remove_file(file)?;
        package.sync()?;
        self.done(Step::StateWritten);
        // Nothing is left but the state of data that is kept, if it is.
        if let Some(packages) = Folder::open(&self.folders.packages())? {
            packages.remove_empty_child(name.as_str())?;
        }
        Ok(())
    }

    fn remove_images(&mut self, package: &Folder) -> Result<(), FileError> {
        for name in package.names()? {
            let is_image = name.to_str().is_some_and(|name| name.ends_with(".pkg") || name == CURRENT_LINK);
            if is_image {
                package.remove_file(&name)?;
                self.done(Step::ImageRemoved);
            }
        }
        Ok(())
    }

    /// Deletes the data of all revisions but the current one, and returns the state that says whose the rest is;
    /// nothing where there is no data.
    fn keep_data(&mut self, state: &PackageState) -> Result<Option<PackageState>, RemoveError> {
        let Some(data) = installed::open_data(self.folders, &state.name)? else { return Ok(None) };
        let kept = state.current.or(state.kept_data);
        let kept_name = kept.map(|revision| revision.to_string());
        for name in data.names()? {
            if name != COMMON_FOLDER && name.to_str() != kept_name.as_deref() {
                self.delete_data(&data, &state.name, &name)?;
            }
        }
        let holds_files = |name: &str| -> Result<bool, RemoveError> {
            let failed =
                |source: FileError| RemoveError::Data { name: state.name.clone(), source: source.into() };
            let folder = tree::open_shut_folder(&data, name.as_ref()).map_err(failed)?;
            let size = folder.map(|folder| tree::measure(&folder));
            Ok(size.is_some_and(|size| size.files > 0 || !size.is_complete))
        };
        if !holds_files(COMMON_FOLDER)? && !kept_name.as_deref().map_or(Ok(false), holds_files)? {
            return Ok(None);
        }
        Ok(Some(PackageState {
            current: None,
            revisions: Vec::new(),
            kept_data: kept,
            connections: BTreeMap::new(),
            exported: None,
            exports: BTreeSet::new(),
            ..state.clone()
        }))
    }

    fn delete_all_data(&mut self, name: &PackageName) -> Result<(), RemoveError> {
        match Folder::open(&self.folders.data())? {
            Some(data) => self.delete_data(&data, name, name.as_str().as_ref()),
            None => Ok(()),
        }
    }

    fn delete_data(
        &mut self,
        folder: &Folder,
        package: &PackageName,
        name: &std::ffi::OsStr,
    ) -> Result<(), RemoveError> {
        let observer = &mut self.observer;
        tree::delete_tree(folder, name, &mut || observer(Step::DataFileRemoved))
            .map_err(|source| RemoveError::Data { name: package.clone(), source })?;
        self.done(Step::DataRemoved);
        Ok(())
    }
}
