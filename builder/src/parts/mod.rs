//! The life of the parts: pull, build, stage, prime.
//!
//! [`plan()`] says which steps there are, in which order; [`build`] walks that list and runs those that have something to do.
//!
//! | step | without a script | in the folder |
//! |---|---|---|
//! | pull | copies the source folder | `src` |
//! | build | the plugin: `dump` puts the content of `build` (but `.git`) into `install`, `nil` does nothing | `build` |
//! | stage | puts what `install` holds, as far as `stage` chooses it, into the stage | the stage |
//! | prime | puts what came from the part, as far as `prime` chooses it, into the prime folder | the prime folder |
//!
//! A script `override-STEP` replaces the second column; `script.rs` says what it runs in. Before the build, with or without a script,
//! stage-packages are unpacked into `install` and `src` is copied to `build`; after it, `organize` applies, then `permissions`.
//!
//! What a step reads is hashed (`inputs.rs`), and written down with what it made when it is complete (`record.rs`). It runs
//! again when any of that has changed, in folders that it empties first (or brings to what they would hold then, by comparing:
//! `files/refresh.rs`), and so leaves the same as in a project that was never built; equal results end the chain there. `engine.rs` is the walk.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use pack_schemas::manifest::{Part, Plugin};
use pack_schemas::names::{Architecture, Name};

use crate::confine::inside;
use crate::debian::{self, StagedPackage};
use crate::files::{self, FileError, Transfer};
use crate::plugins::{self, Recipe, Tool};
use crate::project::{BuildLock, Project};
use crate::sources::{self, Fetched};

mod compose;
mod control;
mod engine;
mod error;
pub(crate) mod fileset;
mod hash;
mod inputs;
mod job;
mod organize;
mod permissions;
mod plan;
mod record;
mod roots;
mod script;
mod share;
mod state;

pub use crate::files::Difference;
pub use control::Misuse;
pub use error::{PartsError, StepError, full_disk_hint};
pub use fileset::GlobError;
pub use plan::{Action, Step, plan};
pub use record::{Change, Why};

use job::Setting;

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
    /// Where stage-packages and build-packages come from; names and architecture in it are not looked at.
    pub debian: &'a debian::Request,
    /// A folder for the roots of build-packages; made where it is missing, kept between builds.
    pub roots: &'a Path,
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
    /// The Debian packages that each part was built with, where it has a root of its own.
    pub built_with: BTreeMap<Name, Vec<StagedPackage>>,
    /// Where the source of each part came from.
    pub fetched: BTreeMap<Name, Fetched>,
    /// Folders in which lock files say what was built.
    pub locks: Vec<PathBuf>,
}

/// What a build tells while it goes on.
pub trait Progress {
    /// A step begins; it is the `at`th of `of`, from 0. What its commands say stands in the file `log`, once there is one.
    fn begin(&mut self, action: &Action, at: usize, of: usize, why: &Why, log: &Path);
    /// A step need not run: nothing that it reads has changed.
    fn skip(&mut self, action: &Action, at: usize, of: usize);
    /// What an earlier stage or prime step did is done once more, since the folder is put together anew.
    fn again(&mut self, action: &Action);
    /// How the stage-packages of the step's part, or the packages of its root, are getting on.
    fn packages(&mut self, progress: debian::Progress<'_>);
    /// How much of the step's source is downloaded, in bytes, and of how many where that is known.
    fn source(&mut self, bytes: u64, of: Option<u64>);
}

/// Runs the steps of all parts, up to [`Request::until`], as far as they have something to do.
///
/// # Errors
/// [`PartsError`], which names part and step; the folders stay as they are then, to be looked at, and steps that were
/// complete stay so.
pub fn build(
    request: &Request<'_>,
    lock: &BuildLock,
    progress: &mut dyn Progress,
) -> Result<Built, PartsError> {
    engine::Build::begin(request, lock)?.walk(progress)
}

/// Fetches the source. `same` is what an earlier build has left of it that is right; of an empty folder nothing.
fn pull(
    setting: &Setting<'_>,
    same: &HashSet<PathBuf>,
    progress: &mut dyn Progress,
) -> Result<(), StepError> {
    let target = setting.folders.source();
    state::write_fetched(setting.folders, None)?;
    let default = || {
        let fetched = fetch(setting, &target, same, progress)?;
        state::write_fetched(setting.folders, fetched.as_ref())?;
        let folder = sources::inner_folder(setting.part, &target)?;
        let recipe = recipe(setting, &folder)?;
        let commands = recipe.pull?;
        check_tools(setting, &recipe.tools)?;
        commands.iter().try_for_each(|job| job::run(setting, Step::Pull, job, &folder))
    };
    run_or(setting, Step::Pull, &setting.part.override_pull, &target, default)
}

/// Builds in a copy of the source; `install` may hold stage-packages already.
fn build_part(setting: &Setting<'_>) -> Result<(), StepError> {
    let Setting { part, folders, .. } = setting;
    let (source, build, install) = (folders.source(), folders.build(), folders.install());
    let how = if only_links(part) { Transfer::Link } else { Transfer::Copy };
    match how {
        Transfer::Link => files::refresh_tree(&source, &build, how, |_| true, |_| false)?,
        _ => files::transfer_tree(&source, &build, how, |_| true)?,
    }
    let folder = sources::inner_folder(part, &build)?;
    let default = || {
        // A script may have put a link there.
        let folder = sources::inner_folder(part, &build)?;
        let recipe = recipe(setting, &folder)?;
        let commands = recipe.build?;
        check_tools(setting, &recipe.tools)?;
        if recipe.copies_source {
            let is_wanted = |path: &Path| path != Path::new(".git");
            // The mode of a file is that of all its names.
            let how = if part.permissions.is_empty() { how } else { Transfer::Copy };
            match installs_links(part) {
                true => files::refresh_tree(&folder, &install, how, is_wanted, |_| false)?,
                false => files::transfer_tree(&folder, &install, how, is_wanted)?,
            }
        }
        commands.iter().try_for_each(|job| job::run(setting, Step::Build, job, &folder))
    };
    run_or(setting, Step::Build, &part.override_build, &folder, default)?;
    organize::organize(&install, &part.organize)?;
    permissions::apply(&install, &part.permissions)
}

/// Whether the build folder holds nothing but further names of the source's files: commands may write into files of the
/// build folder, and those of the source are to stay as they are.
fn only_links(part: &Part) -> bool {
    part.override_build.is_none() && part.plugin == Plugin::Dump
}

/// Whether that is all that the part installs, too.
fn installs_links(part: &Part) -> bool {
    only_links(part)
        && part.stage_packages.is_empty()
        && part.organize.is_empty()
        && part.permissions.is_empty()
}

/// The script in place of a step.
fn script_of(part: &Part, step: Step) -> Option<&String> {
    match step {
        Step::Pull => part.override_pull.as_ref(),
        Step::Build => part.override_build.as_ref(),
        Step::Stage => part.override_stage.as_ref(),
        Step::Prime => part.override_prime.as_ref(),
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
fn fetch(
    setting: &Setting<'_>,
    target: &Path,
    same: &HashSet<PathBuf>,
    progress: &mut dyn Progress,
) -> Result<Option<Fetched>, StepError> {
    let Setting { request, part, .. } = setting;
    let wanted = sources::Request {
        project: request.project,
        part,
        cache: request.sources,
        environment: request.environment,
        same,
        patience: sources::PATIENCE,
    };
    let fetched = sources::fetch(&wanted, target, &mut |bytes, of| progress.source(bytes, of))?;
    let shown = |path: &Path| inside(request.project, path);
    let commands = sources::git::commands(part, &shown(request.project.folder()), &shown(target));
    if !commands.is_empty() {
        check_tools(setting, &[sources::git::TOOL])?;
    }
    for command in commands {
        job::run(setting, Step::Pull, &command, target)?;
    }
    Ok(fetched.or(sources::git::finish(part, target)?))
}

/// What the plugin of a part does, whose commands run in `folder`.
fn recipe(setting: &Setting<'_>, folder: &Path) -> Result<Recipe, StepError> {
    Ok(plugins::recipe(setting.part, &setting.paths().places(&names_in(folder)?)))
}

/// Looks for the programs that a part cannot do without, before any of them is started.
fn check_tools(setting: &Setting<'_>, tools: &[Tool]) -> Result<(), StepError> {
    match tools.iter().find(|tool| !setting.root.has(tool.program)) {
        Some(tool) => Err(StepError::ToolMissing {
            is_host: setting.root.is_host(),
            program: tool.program,
            package: tool.package,
        }),
        None => Ok(()),
    }
}

/// What a folder holds, as far as plugins can ask for it.
fn names_in(folder: &Path) -> Result<Vec<String>, FileError> {
    let entries = fs::read_dir(folder).map_err(|source| FileError::at("list", folder, source))?;
    let mut names: Vec<String> =
        entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    Ok(names)
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
