//! What a run that was killed left behind is put in order, before anything else is changed.
//!
//! For each package, by what is in its folder:
//!
//! | found | done |
//! |---|---|
//! | `removing.json` or `purging.json` | the removal goes on where it stopped |
//! | temporary files, images and data folders that no state knows | deleted |
//! | `current` that is not what the state says | set |
//! | exports that are not complete | made again |
//! | a state that cannot be read | nothing: whatever is there may be needed |
//! | data and no state at all | nothing but empty folders goes: whose it is nobody knows |

use std::collections::BTreeSet;
use std::error::Error;

use pack_schemas::names::{PackageName, Revision};
use pack_schemas::state::PackageState;

use crate::change::{Change, Step, Warning};
use crate::export::{self, ExportPlan, Material};
use crate::folder::{FileError, Folder, Mounts, is_temporary};
use crate::folders::{CURRENT_LINK, INCOMING};
use crate::installed::{self, StateError};
use crate::tree::{self, TreeError};

/// Why a package could not be put in order.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// Its state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file or folder is in the way.
    #[error(transparent)]
    File(#[from] FileError),
    /// Data that is to go cannot be deleted.
    #[error(transparent)]
    Data(#[from] TreeError),
}

/// What was put in order, or could not be.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Packages that were left unfinished and are in order now.
    pub mended: Vec<PackageName>,
    /// What still is not in order.
    pub problems: Vec<(PackageName, Warning)>,
}

impl Change<'_> {
    /// Puts in order what runs that were killed left behind, in every package. A package that cannot be mended is
    /// reported, and stops nothing.
    ///
    /// # Errors
    /// Where the folder of packages cannot be read.
    pub fn recover(&mut self) -> Result<Recovery, RecoverError> {
        let mut recovery = Recovery::default();
        let mut names: BTreeSet<PackageName> = installed::package_names(self.folders)?.into_iter().collect();
        names.extend(data_names(self)?);
        for name in names {
            match self.recover_package(&name) {
                Ok((was_unfinished, warnings)) => {
                    if was_unfinished && warnings.is_empty() {
                        recovery.mended.push(name.clone());
                    }
                    recovery.problems.extend(warnings.into_iter().map(|warning| (name.clone(), warning)));
                }
                Err(error) => recovery.problems.push((name, Warning::Unfinished(error))),
            }
        }
        Ok(recovery)
    }

    /// Whether there was something to do, and what did not go well.
    fn recover_package(
        &mut self,
        name: &PackageName,
    ) -> Result<(bool, Vec<Warning>), Box<dyn Error + Send + Sync>> {
        let mut was_unfinished = false;
        if let Some(package) = installed::open_package(self.folders, name)?
            && installed::removal_file(&package)?.is_some()
        {
            self.finish_removal(name)?;
            was_unfinished = true;
        }
        was_unfinished |= self.tidy(name)?;
        let Some(package) = installed::open_package(self.folders, name)? else {
            return Ok((was_unfinished, Vec::new()));
        };
        let state = installed::read_state_in(&package, name)?;
        let Some(state) = state.filter(|state| state.current.is_some()) else {
            return Ok((was_unfinished, Vec::new()));
        };
        self.switch_link(&package, &state)?;
        if state.exported == state.current || !state.enabled {
            return Ok((was_unfinished, Vec::new()));
        }
        Ok((true, self.export_again(&package, state)?))
    }

    /// Works the exports of the current revision out again, and makes them.
    fn export_again(
        &mut self,
        package: &Folder,
        mut state: PackageState,
    ) -> Result<Vec<Warning>, Box<dyn Error + Send + Sync>> {
        let plan = self.plan_exports(package, &state)?;
        let forgotten = crate::decision::forgotten(&state);
        let mut warnings: Vec<Warning> = plan.warnings.iter().cloned().map(Warning::from).collect();
        warnings.extend(self.follow_state(package, &mut state, &plan, &forgotten));
        Ok(warnings)
    }

    fn plan_exports(
        &mut self,
        package: &Folder,
        state: &PackageState,
    ) -> Result<ExportPlan, Box<dyn Error + Send + Sync>> {
        let Some(current) = state.current else { return Ok(ExportPlan::default()) };
        let open = installed::open_revision(package, state.clone(), current)?;
        let opened = self.reader.open(&open.file)?;
        if opened.envelope_hash != open.envelope {
            let path = self.folders.image(&state.name, current);
            let (name, problem) = (state.name.clone(), "is another package than the one installed");
            return Err(StateError::Image { name, revision: current, path, problem }.into());
        }
        let plan = export::plan(Material::of(&opened), self.exports)?;
        Ok(export::claim(self.folders, self.exports, &state.name, plan, &state.exports)?)
    }

    /// Deletes what no state knows; whether there was anything.
    pub(crate) fn tidy(&mut self, name: &PackageName) -> Result<bool, RecoverError> {
        let package = installed::open_package(self.folders, name)?;
        let state = match &package {
            Some(package) => installed::read_state_in(package, name)?,
            None => None,
        };
        let mut was_untidy = false;
        if let Some(package) = &package {
            was_untidy |= self.tidy_images(package, state.as_ref())?;
        }
        if let Some(data) = installed::open_data(self.folders, name)? {
            was_untidy |= self.tidy_data(&data, state.as_ref())?;
        }
        if state.is_none() {
            for parent in [self.folders.packages(), self.folders.data()] {
                if let Some(parent) = Folder::open(&parent)? {
                    parent.remove_empty_child(name.as_str())?;
                }
            }
        }
        Ok(was_untidy)
    }

    fn tidy_images(&mut self, package: &Folder, state: Option<&PackageState>) -> Result<bool, FileError> {
        let mut was_untidy = false;
        for name in package.names()? {
            let revision = name.to_str().and_then(|name| name.strip_suffix(".pkg")?.parse().ok());
            let is_left_over = match revision {
                Some(revision) => state.is_none_or(|state| state.revision(revision).is_none()),
                None if name == CURRENT_LINK => state.is_none_or(|state| state.current.is_none()),
                None => name == INCOMING || is_temporary(&name),
            };
            if is_left_over {
                package.remove_file(&name)?;
                self.done(Step::ImageRemoved);
                was_untidy = true;
            }
        }
        Ok(was_untidy)
    }

    fn tidy_data(&mut self, data: &Folder, state: Option<&PackageState>) -> Result<bool, RecoverError> {
        let mut was_untidy = false;
        for name in data.names()? {
            let revision: Option<Revision> = name.to_str().and_then(|name| name.parse().ok());
            let is_left_over = match (state, revision) {
                (Some(state), Some(revision)) => {
                    state.revision(revision).is_none() && state.kept_data != Some(revision)
                }
                _ => name == INCOMING,
            };
            if is_left_over {
                let observer = &mut self.observer;
                tree::delete_tree(data, &name, &mut || observer(Step::DataFileRemoved))?;
                self.done(Step::DataRemoved);
                was_untidy = true;
            } else if state.is_none() && data.child(&name, Mounts::Refuse).is_ok_and(|child| child.is_some())
            {
                was_untidy |= data.remove_empty_child(&name)?;
            }
        }
        Ok(was_untidy)
    }
}

/// Names of the folders in the folder of data that can be a package's.
fn data_names(change: &Change) -> Result<Vec<PackageName>, FileError> {
    let Some(data) = Folder::open(&change.folders.data())? else { return Ok(Vec::new()) };
    let names = data.names()?;
    Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
}
