//! The life of the parts: pull, build, stage, prime.
//!
//! [`plan()`] says which steps run in which order; [`build`] walks that list.
//!
//! | step | without a script | in the folder |
//! |---|---|---|
//! | pull | copies the source folder | `src` |
//! | build | the plugin: `dump` puts the content of `build` (but `.git`) into `install`, `nil` does nothing | `build` |
//! | stage | puts what `install` holds, as far as `stage` chooses it, into the stage | the stage |
//! | prime | puts what came from the part, as far as `prime` chooses it, into the prime folder | the prime folder |
//!
//! A script `override-STEP` replaces the second column; `script.rs` says what it runs in. Before the build, with or without a script,
//! stage-packages are unpacked into `install` and `src` is copied to `build`; after it, `organize` applies.
//!
//! Every build begins with empty folders; only downloads are kept from one to the next.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use pack_schemas::manifest::{PackageType, Part};
use pack_schemas::names::{Architecture, Name};

use crate::confine::Root;
use crate::debian::{self, StagedPackage};
use crate::files::{self, FileError, Transfer};
use crate::plugins::{self, Recipe};
use crate::project::{BuildLock, Project, WorkFolders};
use crate::sources::{self, Fetched};

mod error;
pub(crate) mod fileset;
mod job;
mod organize;
mod plan;
mod script;
mod share;
mod state;

pub use error::{PartsError, StepError};
pub use fileset::GlobError;
pub use plan::{Action, Step, plan};

use job::Setting;
use share::Owners;

/// What to build, and with what.
#[derive(Debug)]
pub struct Request<'a> {
    /// The project.
    pub project: &'a Project,
    /// The last step to do.
    pub until: Step,
    /// The architecture of the package.
    pub architecture: Architecture,
    /// The time stamp of everything in the package, in seconds since 1970.
    pub source_date_epoch: u32,
    /// How many jobs a build may run at once.
    pub parallel: NonZeroUsize,
    /// The program that makes the sandbox of a command, started as `RUNNER build-step PLAN PARENT`, and does then what
    /// [`confine::runner`](crate::confine::runner) says.
    pub runner: &'a Path,
    /// The caller's environment, as far as it is text; of it the pull step gets what says how the network is reached.
    pub environment: &'a BTreeMap<String, String>,
    /// Where stage-packages come from; names and architecture in it are not looked at.
    pub debian: &'a debian::Request,
    /// A folder for downloaded sources; made where it is missing, kept between builds.
    pub sources: &'a Path,
}

/// What a build left.
#[derive(Debug)]
pub struct Built {
    /// The folder that becomes the package.
    pub prime: PathBuf,
    /// The Debian packages that went into each part.
    pub packages: BTreeMap<Name, Vec<StagedPackage>>,
}

/// What a build tells while it goes on.
pub trait Progress {
    /// A step begins; it is the `at`th of `of`, from 0.
    fn begin(&mut self, action: &Action, at: usize, of: usize);
    /// How the stage-packages of the step's part are getting on.
    fn packages(&mut self, progress: debian::Progress<'_>);
}

/// Runs the steps of all parts, up to [`Request::until`], in folders that it empties first.
///
/// # Errors
/// [`PartsError`], which names part and step; the folders stay as they are then, to be looked at.
pub fn build(
    request: &Request<'_>,
    lock: &BuildLock,
    progress: &mut dyn Progress,
) -> Result<Built, PartsError> {
    let work = request.project.work();
    work.renew(lock)?;
    let plan = plan(&request.project.manifest().parts, request.until);
    let root = Root::of_host()?;
    let mut build =
        Build { request, work, root: &root, owners: Owners::default(), packages: BTreeMap::new() };
    for (at, action) in plan.iter().enumerate() {
        progress.begin(action, at, plan.len());
        build.perform(action, progress).map_err(|source| PartsError::Step {
            part: action.part.clone(),
            step: action.step,
            source,
        })?;
    }
    Ok(Built { prime: build.work.prime(), packages: build.packages })
}

/// A build under way.
struct Build<'a> {
    request: &'a Request<'a>,
    work: WorkFolders,
    root: &'a Root,
    owners: Owners,
    packages: BTreeMap<Name, Vec<StagedPackage>>,
}

impl Build<'_> {
    fn perform(&mut self, action: &Action, progress: &mut dyn Progress) -> Result<(), StepError> {
        let request = self.request;
        let name = &action.part;
        let part = &request.project.manifest().parts[name];
        let folders = self.work.part(name);
        let setting = Setting { request, name, part, folders: &folders, root: self.root };
        match action.step {
            Step::Pull => self.pull(&setting),
            Step::Build => self.build(&setting, progress),
            Step::Stage => self.stage(&setting),
            Step::Prime => self.prime(&setting),
        }
    }

    fn pull(&self, setting: &Setting<'_>) -> Result<(), StepError> {
        setting.folders.make()?;
        let target = setting.folders.source();
        let folder = within(setting.part, &target);
        let default = || {
            fetch(setting, &target)?;
            recipe(setting, &folder)?
                .pull?
                .iter()
                .try_for_each(|job| job::run(setting, Step::Pull, job, &folder))
        };
        run_or(setting, Step::Pull, &setting.part.override_pull, &target, default)
    }

    fn build(&mut self, setting: &Setting<'_>, progress: &mut dyn Progress) -> Result<(), StepError> {
        let Setting { part, folders, .. } = setting;
        let (source, build, install) = (folders.source(), folders.build(), folders.install());
        self.unpack_packages(setting, progress)?;
        // A script may write into files of the build folder, and those of the source are to stay as they are.
        let how = if part.override_build.is_some() { Transfer::Copy } else { Transfer::Link };
        files::transfer_tree(&source, &build, how, |_| true)?;
        let folder = within(part, &build);
        let default = || {
            let recipe = recipe(setting, &folder)?;
            if recipe.copies_source {
                files::transfer_tree(&folder, &install, how, |path| path != Path::new(".git"))?;
            }
            recipe.build?.iter().try_for_each(|job| job::run(setting, Step::Build, job, &folder))
        };
        run_or(setting, Step::Build, &part.override_build, &folder, default)?;
        organize::organize(&install, &part.organize)?;
        state::write(folders, self.packages.get(setting.name).map_or(&[], Vec::as_slice))
    }

    fn unpack_packages(
        &mut self,
        setting: &Setting<'_>,
        progress: &mut dyn Progress,
    ) -> Result<(), StepError> {
        if setting.part.stage_packages.is_empty() {
            return Ok(());
        }
        let request = debian::Request {
            packages: setting.part.stage_packages.clone(),
            architecture: self.request.architecture,
            record: self.request.project.manifest().package_type == PackageType::Base,
            ..self.request.debian.clone()
        };
        let staged =
            debian::stage(&request, &setting.folders.install(), &mut |step| progress.packages(step))?;
        self.packages.insert(setting.name.clone(), staged);
        Ok(())
    }

    fn stage(&mut self, setting: &Setting<'_>) -> Result<(), StepError> {
        let (install, stage) = (setting.folders.install(), self.work.stage());
        let Setting { name, part, .. } = setting;
        let owners = &mut self.owners;
        let default = || owners.stage(name, &part.stage, &install, &stage);
        run_or(setting, Step::Stage, &part.override_stage, &stage, default)?;
        if part.override_stage.is_some() {
            self.owners.adopt(name, &stage)?;
        }
        Ok(())
    }

    fn prime(&self, setting: &Setting<'_>) -> Result<(), StepError> {
        let (stage, prime) = (self.work.stage(), self.work.prime());
        let Setting { name, part, .. } = setting;
        let default = || self.owners.prime(name, &part.prime, &stage, &prime);
        run_or(setting, Step::Prime, &part.override_prime, &prime, default)
    }
}

/// The folder of the part's `source-subdir` in a folder with its source.
fn within(part: &Part, folder: &Path) -> PathBuf {
    match &part.source_subdir {
        Some(inner) => folder.join(inner.as_str()),
        None => folder.to_path_buf(),
    }
}

/// Fetches the source of a part into the folder `target`.
fn fetch(setting: &Setting<'_>, target: &Path) -> Result<Option<Fetched>, StepError> {
    let Setting { request, part, .. } = setting;
    let wanted = sources::Request { project: request.project, part, cache: request.sources };
    let fetched = sources::fetch(&wanted, target, &mut |_, _| ())?;
    let project = request.project.folder().to_string_lossy();
    for command in sources::git::commands(part, &project) {
        job::run(setting, Step::Pull, &command, target)?;
    }
    Ok(fetched.or(sources::git::finish(part, target)?))
}

/// What the plugin of a part does, whose commands run in `folder`.
fn recipe(setting: &Setting<'_>, folder: &Path) -> Result<Recipe, StepError> {
    let entries = fs::read_dir(folder).map_err(|source| FileError::at("list", folder, source))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(plugins::recipe(setting.part, &setting.paths().places(&names)))
}

/// Runs the script of a step, or where it has none what the step does by default.
fn run_or(
    setting: &Setting<'_>,
    step: Step,
    script: &Option<String>,
    folder: &Path,
    mut default: impl FnMut() -> Result<(), StepError>,
) -> Result<(), StepError> {
    match script {
        Some(script) => script::run(setting, step, script, folder, default),
        None => default(),
    }
}
