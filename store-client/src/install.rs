//! A package file becomes an installed revision.
//!
//! The order, so that a process killed anywhere leaves the old state or the new one:
//!
//! | | step | killed here |
//! |---|---|---|
//! | 1 | the file is copied to `packages/NAME/.incoming`, from a descriptor that was opened once | old |
//! | 2 | the copy is checked whole, by its descriptor; it has to be the package that was decided on | old |
//! | 3 | what it will export is worked out; a hostile desktop entry ends it here | old |
//! | 4 | a publisher newly trusted is written down | old, and the trust that the user gave |
//! | 5 | the copy gets mode 0444, is fsynced, and renamed to `REVISION.pkg` | old |
//! | 6 | the earlier revision's data is copied to `data/NAME/.incoming`, synced, renamed to `REVISION` | old |
//! | 7 | **`state.json` is replaced**: the new revision counts, and launches start it | new |
//! | 8 | the link `current` is switched | new |
//! | 9 | exports are made, those of the earlier revision that are gone are removed | new |
//! | 10 | `state.json` is replaced: exports complete, old revisions gone | new |
//! | 11 | their images and data are removed | new |
//!
//! What a killed run leaves is mended by [`Change::recover`], which every run that changes something begins with: what
//! no state knows is deleted (steps 1, 5, 6, 11), the link is set (8), exports are made again (9). Once step 7 is done
//! a failure is a warning, and the next run goes on.
//!
//! A running app keeps its image, which stays readable while it is open, and its data folder, which is that of its own
//! revision.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode};

use pack_schemas::facts::ImageFacts;
use pack_schemas::manifest::PackageType;
use pack_schemas::names::{Architecture, PackageName, PublicKey, Revision};
use pack_schemas::state::{ExportPlace, PackageState};

use crate::change::{Change, Step, Warning};
use crate::decision::{InstallPlan, Present, Publisher};
use crate::export::{self, ExportError, ExportPlan, Material};
use crate::folder::{FileError, Folder, Mounts};
use crate::folders::{COMMON_FOLDER, CURRENT_LINK, Folders, INCOMING, image_file};
use crate::installed::{self, StateError};
use crate::reader::ReadError;
use crate::tree::{self, TreeError};
use crate::trust::{self, TrustError, TrustedKeys};

/// Why a package was not installed. The old state holds.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The package file is no regular file.
    #[error("the package file of `{name}` is not a regular file")]
    NotAFile {
        /// The package.
        name: PackageName,
    },
    /// The file or the installed state is another one than when it was decided to install.
    #[error("{what} changed while `{name}` was being installed")]
    Changed {
        /// The package.
        name: PackageName,
        /// What changed.
        what: &'static str,
    },
    /// The package is not in order.
    #[error("package `{name}` is damaged")]
    Damaged {
        /// The package.
        name: PackageName,
        /// What is wrong with it.
        source: ReadError,
    },
    /// It would export what it must not.
    #[error("package `{name}` cannot be exported")]
    Export {
        /// The package.
        name: PackageName,
        /// What is wrong.
        source: Box<ExportError>,
    },
    /// The data of the earlier revision cannot be copied.
    #[error("the data of `{name}` cannot be copied for the new revision")]
    Data {
        /// The package.
        name: PackageName,
        /// Why not.
        source: TreeError,
    },
    /// The publisher cannot be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl InstallError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            InstallError::File(error) if error.is_disk_full() => Some(DISK_FULL.to_owned()),
            InstallError::Data { source: TreeError::File(error), .. } if error.is_disk_full() => {
                Some(DISK_FULL.to_owned())
            }
            InstallError::Changed { .. } => Some("run it again".to_owned()),
            InstallError::Damaged { .. } => Some("get the file again".to_owned()),
            InstallError::Export { source, .. } => Some(source.hint()),
            InstallError::Data { source, .. } => source.hint(),
            InstallError::Trust(error) => error.hint(),
            InstallError::State(error) => error.hint(),
            InstallError::NotAFile { .. } | InstallError::File(_) => None,
        }
    }
}

const DISK_FULL: &str = "nothing was changed; make room on the disk and run it again";

/// What was installed.
#[derive(Debug)]
pub struct Installed {
    /// The state as it is now.
    pub state: PackageState,
    /// What did not go as it should.
    pub warnings: Vec<Warning>,
}

impl Present {
    /// Looks at what a decision about the package `name` depends on. `own` are the user's own keys.
    ///
    /// # Errors
    /// Where the state of the package, or the folders, cannot be read.
    pub fn read(
        folders: &Folders,
        name: &PackageName,
        own: BTreeSet<PublicKey>,
        architecture: Architecture,
    ) -> Result<Present, InstallError> {
        let state = installed::read_state(folders, name)?;
        let unowned_data = if state.is_none() { unowned_data(folders, name)? } else { None };
        Ok(Present {
            trusted: TrustedKeys::read(folders, own)?,
            bases: installed::bases(folders)?,
            architecture,
            state,
            unowned_data,
        })
    }
}

/// The data folder of a package without a state, if anything is in it.
fn unowned_data(folders: &Folders, name: &PackageName) -> Result<Option<PathBuf>, FileError> {
    let Some(data) = installed::open_data(folders, name)? else { return Ok(None) };
    for entry in data.names()? {
        let is_folder = data
            .stat_of(&entry)?
            .is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let holds_something = match data.child(&entry, Mounts::Refuse) {
            Ok(Some(child)) => child.entries()?.next().is_some(),
            Ok(None) => false,
            Err(_) => true,
        };
        // The empty folders of an installation that was cut short are no data.
        if !is_folder || holds_something {
            return Ok(Some(data.path().to_owned()));
        }
    }
    Ok(None)
}

impl Change<'_> {
    /// Installs a package as planned. `source` is the package file, opened once; nothing is read from its path.
    ///
    /// # Errors
    /// [`InstallError`]; the old state holds then.
    pub fn install(
        &mut self,
        plan: &InstallPlan,
        source: &File,
        now: u64,
    ) -> Result<Installed, InstallError> {
        self.expect_unchanged(plan)?;
        let prepared = self.prepare(plan, source, now);
        let (package, exports, mut state, mut warnings) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                // Room on the disk is given back at once; what cannot be removed now, the next run removes.
                let _ = self.tidy(&plan.name);
                return Err(error);
            }
        };
        // What is recorded is what the earlier revision exported; what this one exports is in the plan.
        warnings.extend(self.follow_state(&package, &mut state, &exports, &plan.forgotten));
        Ok(Installed { state, warnings })
    }

    /// A decision is worth nothing where what it was made on is gone.
    fn expect_unchanged(&self, plan: &InstallPlan) -> Result<(), InstallError> {
        let found = installed::read_state(self.folders, &plan.name)?;
        let is_unowned = found.is_none() && unowned_data(self.folders, &plan.name)?.is_some();
        if found != plan.before || is_unowned {
            return Err(InstallError::Changed { name: plan.name.clone(), what: "the installed state" });
        }
        Ok(())
    }

    /// Steps 1 to 7: everything up to the moment when the new state counts.
    fn prepare(
        &mut self,
        plan: &InstallPlan,
        source: &File,
        now: u64,
    ) -> Result<(Folder, ExportPlan, PackageState, Vec<Warning>), InstallError> {
        let pack = Folder::create(self.folders.pack(), 0o700)?;
        let package = pack.make_private_child("packages")?.make_private_child(plan.name.as_str())?;
        let copy = self.copy_image(plan, source, &package)?;
        let (exports, facts) = self.check_image(plan, &copy)?;
        if let Publisher::NewlyTrusted(key) = plan.publisher {
            trust::add(self.lock, self.folders, key, None, now)?;
            self.done(Step::Trusted);
        }
        self.name_image(plan, &copy, &package)?;
        let mut warnings: Vec<Warning> = exports.warnings.iter().cloned().map(Warning::from).collect();
        if plan.after.package_type == PackageType::App {
            let left_out = self.make_data(plan, &pack)?;
            warnings.extend(left_out.into_iter().map(|path| Warning::DataLeftOut { path }));
        }
        let mut after = plan.after.clone();
        if let Some(entry) = after.revisions.iter_mut().find(|entry| entry.revision == plan.revision) {
            entry.facts = facts;
        }
        // Recorded before they are made, so that no export is ever unknown.
        let mut committed = after.clone();
        committed.exports.extend(exports.files.iter().map(|file| file.export.clone()));
        self.write_state(&package, &committed)?;
        Ok((package, exports, after, warnings))
    }

    fn copy_image(
        &mut self,
        plan: &InstallPlan,
        source: &File,
        package: &Folder,
    ) -> Result<File, InstallError> {
        let on_copy = |source| FileError { action: "write", path: package.join(INCOMING), source };
        let metadata = source.metadata().map_err(on_copy)?;
        if !metadata.is_file() {
            return Err(InstallError::NotAFile { name: plan.name.clone() });
        }
        if metadata.len() != plan.size {
            return Err(InstallError::Changed { name: plan.name.clone(), what: "the package file" });
        }
        package.remove_file(INCOMING)?;
        let copy = package.create_file(INCOMING)?;
        let mut progress = |done| (self.observer)(Step::Copying { done, total: plan.size });
        tree::copy_file(source, &copy, plan.size, &mut progress).map_err(on_copy)?;
        self.done(Step::Copied);
        Ok(copy)
    }

    /// The copy is what counts: the file that it came from may have been changed since it was judged.
    fn check_image(
        &mut self,
        plan: &InstallPlan,
        copy: &File,
    ) -> Result<(ExportPlan, Option<ImageFacts>), InstallError> {
        let name = || plan.name.clone();
        let opened =
            self.reader.check(copy).map_err(|source| InstallError::Damaged { name: name(), source })?;
        let size = copy.metadata().map(|metadata| metadata.len()).unwrap_or(0);
        let is_signed = plan.publisher.key().is_none_or(|key| opened.signers.contains(&key));
        let is_same = opened.envelope_hash == plan.envelope && opened.envelope.name == plan.name;
        if !is_signed || !is_same || size != plan.size {
            return Err(InstallError::Changed { name: name(), what: "the package file" });
        }
        let facts = opened.files.facts().map_err(|source| InstallError::Damaged { name: name(), source })?;
        self.done(Step::Checked);
        let exports = export::plan(Material::of(&opened), self.exports)
            .map_err(|source| InstallError::Export { name: name(), source: Box::new(source) })?;
        let exports = export::claim(self.folders, self.exports, &plan.name, exports, &plan.after.exports)?;
        Ok((exports, Some(facts).filter(ImageFacts::can_be_kept)))
    }

    fn name_image(&mut self, plan: &InstallPlan, copy: &File, package: &Folder) -> Result<(), FileError> {
        let on_copy = |source| FileError { action: "write", path: package.join(INCOMING), source };
        rustix::fs::fchmod(copy, Mode::from_raw_mode(0o444)).map_err(|error| on_copy(error.into()))?;
        copy.sync_all().map_err(on_copy)?;
        // A file of that name is the damaged one that is being mended, or one that no state knows.
        package.rename(INCOMING, package, &image_file(plan.revision))?;
        self.done(Step::ImageInPlace);
        Ok(())
    }

    /// Makes the data folders of the new revision, and fills them with a copy of the earlier one's.
    fn make_data(&mut self, plan: &InstallPlan, pack: &Folder) -> Result<Vec<PathBuf>, InstallError> {
        let data = pack.make_private_child("data")?.make_private_child(plan.name.as_str())?;
        data.make_private_child(COMMON_FOLDER)?;
        if plan.is_repair {
            data.make_private_child(plan.revision.to_string())?;
            return Ok(Vec::new());
        }
        let failed = |source: TreeError| InstallError::Data { name: plan.name.clone(), source };
        let revision = plan.revision.to_string();
        for left_over in [INCOMING, revision.as_str()] {
            tree::delete_tree(&data, left_over, &mut || ()).map_err(failed)?;
        }
        let incoming = data.make_private_child(INCOMING)?;
        let mut left_out = Vec::new();
        if let Some(from) = plan.data_from
            && let Some(from) =
                tree::open_shut_folder(&data, from.to_string().as_ref()).map_err(|e| failed(e.into()))?
        {
            left_out = tree::copy_tree(&from, &incoming).map_err(failed)?.left_out;
            // One flush for all files: the earlier revision's data may be deleted some day because this is here.
            let synced = rustix::fs::syncfs(&incoming);
            let on_sync = |error: rustix::io::Errno| FileError {
                action: "write",
                path: incoming.path().to_owned(),
                source: error.into(),
            };
            synced.map_err(on_sync)?;
        }
        self.done(Step::DataCopied);
        data.rename_new(INCOMING, &data, &revision)?;
        self.done(Step::DataInPlace);
        Ok(left_out)
    }

    /// Steps 8 to 11, also after a run that was killed in one of them. `state` is the one that is in place; `exports`
    /// are made, and what else it records is removed.
    pub(crate) fn follow_state(
        &mut self,
        package: &Folder,
        state: &mut PackageState,
        exports: &ExportPlan,
        forgotten: &[Revision],
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let followed = self.try_to_follow_state(package, state, exports, forgotten, &mut warnings);
        warnings.extend(followed.err().map(Warning::Unfinished));
        warnings
    }

    fn try_to_follow_state(
        &mut self,
        package: &Folder,
        state: &mut PackageState,
        exports: &ExportPlan,
        forgotten: &[Revision],
        warnings: &mut Vec<Warning>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.switch_link(package, state)?;
        let is_complete = self.make_exports(state, exports, warnings)?;
        state.exported = state.current.filter(|_| is_complete);
        state.revisions.retain(|entry| !forgotten.contains(&entry.revision));
        self.write_state(package, state)?;
        self.tidy(&state.name)?;
        Ok(())
    }

    /// Makes `exports` and removes what else the state records; whether all of them are made. A folder that cannot be
    /// written keeps its own exports from being made and no others.
    fn make_exports(
        &mut self,
        state: &mut PackageState,
        exports: &ExportPlan,
        warnings: &mut Vec<Warning>,
    ) -> Result<bool, FileError> {
        let mut is_complete = true;
        for file in &exports.files {
            match export::publish(self.folders, &state.name, file) {
                Ok(warning) => warnings.extend(warning.map(Warning::from)),
                Err(error) => {
                    is_complete = false;
                    warnings.push(Warning::Unfinished(error.into()));
                }
            }
            self.done(Step::Export);
        }
        let made: BTreeSet<_> = exports.files.iter().map(|file| file.export.clone()).collect();
        let gone = state.exports.difference(&made).cloned().collect();
        self.withdraw(&state.name, &gone)?;
        if made.iter().any(|export| export.place == ExportPlace::Icons) {
            export::announce_icons(self.folders)?;
        }
        state.exports = made;
        Ok(is_complete)
    }

    /// Makes the link `current` say what the state says.
    pub(crate) fn switch_link(&mut self, package: &Folder, state: &PackageState) -> Result<(), FileError> {
        let Some(current) = state.current else { return Ok(()) };
        if installed::current_link(package, state)? != Some(current) {
            package.replace_link(CURRENT_LINK, &image_file(current))?;
            self.done(Step::LinkSwitched);
        }
        Ok(())
    }
}
