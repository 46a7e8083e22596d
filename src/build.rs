//! `pack build`: from a project folder to a signed package.
//!
//! What can be refused at once is refused before the long work: the manifest, the key, the architecture, the epoch.

use std::collections::BTreeMap;
use std::env;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::{Duration, SystemTime};

use pack_builder::assemble::{self, AssembleError, Assembled, assemble};
use pack_builder::confine::ConfineError;
use pack_builder::debian;
use pack_builder::documents;
use pack_builder::keys::{KeyError, SecretKey};
use pack_builder::owner::Owner;
use pack_builder::parts::{self, Built, PartsError, Step, StepError};
use pack_builder::project::{BuildLock, Project};
use pack_launcher::interfaces;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Name};
use pack_schemas::text::nearest;

use crate::base::ForBuild;
use crate::context::Context;
use crate::failure::Failure;
use crate::interrupt::{self, Doing};
use crate::package_file::shown;
use crate::permissions::{Standing, asked};
use crate::terminal::{Terminal, human_size, human_time};
use crate::{announce, doctor, key, lint, project};

mod progress;

use progress::PartsProgress;

/// The folder of the roots of build-packages, in that of the user's caches.
pub const ROOTS: &str = "pack/roots";

/// A step that failed sooner needs no word about how long it took.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Arguments of `pack build`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The project's folder, with a pack.yaml in it
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Write the package to this file, or into this folder, instead of NAME_VERSION_ARCH.pkg here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sign with this key; not needed where there is only one
    #[arg(long, value_name = "NAME")]
    key: Option<Name>,
    /// Make a package that nobody vouches for
    #[arg(long, conflicts_with = "key")]
    unsigned: bool,
    /// Stop after this step of all parts, and make no package
    #[arg(long, value_enum, value_name = "STEP")]
    step: Option<StepName>,
    /// Make no package where something about its files is to be warned of
    #[arg(long)]
    strict: bool,
}

/// A step as it is named on the command line.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum StepName {
    Pull,
    Build,
    Stage,
    Prime,
}

impl From<StepName> for Step {
    fn from(name: StepName) -> Step {
        match name {
            StepName::Pull => Step::Pull,
            StepName::Build => Step::Build,
            StepName::Stage => Step::Stage,
            StepName::Prime => Step::Prime,
        }
    }
}

/// Builds the parts, and packs and signs what they made.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let project = project::open(&arguments.folder, context)?;
    refuse_home(&project, context)?;
    warn_of_unknown_interfaces(project.manifest(), context)?;
    announce::not_done(project.manifest()).iter().for_each(|line| context.terminal.warn(line));
    let plan = Plan::new(&arguments, &project, context)?;
    let lock = lock(&project, context)?;
    let doing = Doing::default();
    interrupt::watch(&context.terminal, &doing)?;
    let built = plan.build_parts(&project, &lock, &doing, context)?;
    let Some((output, key)) = &plan.package else {
        let work = shown(project.work().root());
        context.terminal.say(format!("stopped after {}; see `{work}`", plan.until));
        return Ok(ExitCode::SUCCESS);
    };
    lint::check_build(&built.prime, project.manifest(), plan.architecture, arguments.strict, context)?;
    write_documents(&built, &project, &plan)?;
    let signers: Vec<_> = key.iter().map(SecretKey::signing).collect();
    let blocks = project.work().root().join("blocks");
    let request = assemble::Request {
        prime: &built.prime,
        manifest: project.manifest(),
        architecture: plan.architecture,
        source_date_epoch: plan.epoch,
        keys: &signers,
        output,
        blocks: Some(&blocks),
        parallel: available_parallelism().unwrap_or(NonZeroUsize::MIN),
    };
    let assembled = pack(&request, &doing, &context.terminal)?;
    report(&assembled, output, key.as_ref(), context);
    Ok(ExitCode::SUCCESS)
}

/// Takes the project's work folder.
fn lock(project: &Project, context: &Context) -> Result<BuildLock, Failure> {
    let owner = Owner::of_user(&context.xdg()?.cache.join("pack/owner"))
        .map_err(|error| Failure::new("cannot tell your builds from others").because(&error))?;
    let lock = project.work().lock(&owner).map_err(|error| project::failure(&error))?;
    if lock.removed_foreign() {
        let work = shown(project.work().root());
        context
            .terminal
            .warn(format!("`{work}` was not made by your builds, so it was emptied; all steps run"));
    }
    Ok(lock)
}

/// Writes what the package carries about itself.
fn write_documents(built: &Built, project: &Project, plan: &Plan) -> Result<(), Failure> {
    let request = documents::Request {
        prime: &built.prime,
        manifest: project.manifest(),
        architecture: plan.architecture,
        source_date_epoch: plan.epoch,
        staged: &built.packages,
        built_with: &built.built_with,
        fetched: &built.fetched,
        locks: &built.locks,
        tools: &BTreeMap::new(),
    };
    documents::write(&request)
        .map_err(|error| Failure::new("cannot write what the package says of itself").because(&error))
}

/// Scripts see the project: that must not be all that the user has.
fn refuse_home(project: &Project, context: &Context) -> Result<(), Failure> {
    let home = context.xdg()?.home;
    let home = home.canonicalize().unwrap_or(home);
    if !home.starts_with(project.folder()) {
        return Ok(());
    }
    let folder = shown(project.folder());
    Err(Failure::new(format!(
        "`{folder}` is not built: it has your home folder in it, and scripts would see that"
    ))
    .hint("move the project into a folder of its own"))
}

/// A plug of an interface that this pack does not have is connected nowhere that has the same pack; most often it is
/// written wrongly.
fn warn_of_unknown_interfaces(manifest: &Manifest, context: &Context) -> Result<(), Failure> {
    for (name, asked) in asked(manifest, None)? {
        if asked.standing == Standing::Unknown {
            let near = nearest(asked.interface.as_str(), interfaces::names());
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            context
                .terminal
                .warn(format!("this pack has no interface `{}` (`{name}`){hint}", asked.interface));
        }
    }
    Ok(())
}

/// What a build will do, with all that can be refused beforehand.
struct Plan {
    until: Step,
    architecture: Architecture,
    epoch: u32,
    /// The file to make and the key to sign it with; nothing where no package is wanted.
    package: Option<(PathBuf, Option<SecretKey>)>,
}

impl Plan {
    fn new(arguments: &Arguments, project: &Project, context: &Context) -> Result<Plan, Failure> {
        let architecture = assemble::architecture(project.manifest(), Architecture::HOST)
            .map_err(|error| Failure::new("this machine cannot build the project").because(&error))?;
        let epoch = assemble::source_date_epoch(env::var_os("SOURCE_DATE_EPOCH").as_deref())
            .map_err(|error| Failure::new("the time stamp of the package is not clear").because(&error))?;
        let package = match arguments.step {
            Some(_) => None,
            None => {
                let output = output_path(arguments.output.as_deref(), project, architecture)?;
                let key = match arguments.unsigned {
                    true => None,
                    false => Some(choose_key(arguments.key.as_ref(), context)?),
                };
                Some((output, key))
            }
        };
        let until = arguments.step.map_or(Step::Prime, Step::from);
        Ok(Plan { until, architecture, epoch, package })
    }

    fn build_parts(
        &self,
        project: &Project,
        lock: &BuildLock,
        doing: &Doing,
        context: &Context,
    ) -> Result<Built, Failure> {
        let request = parts::Request {
            project,
            until: self.until,
            architecture: self.architecture,
            source_date_epoch: self.epoch,
            parallel: available_parallelism().unwrap_or(NonZeroUsize::MIN),
            runner: &runner()?,
            environment: &env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            debian: &debian_request(project, lock, self.architecture, context)?,
            roots: &context.xdg()?.cache.join(ROOTS),
            sources: &context.xdg()?.cache.join("pack/sources"),
        };
        let mut progress = PartsProgress::new(&context.terminal, doing);
        let built = doing.settle(parts::build(&request, lock, &mut progress));
        let elapsed = progress.elapsed();
        match &built {
            Ok(_) => progress.sum_up(),
            Err(_) => progress.end(),
        }
        built.map_err(|error| parts_failure(&error, elapsed))
    }
}

/// The key to sign with. Where there is none at all, a person is asked whether to make one.
fn choose_key(name: Option<&Name>, context: &Context) -> Result<SecretKey, Failure> {
    let folder = key::folder(context)?;
    if name.is_none()
        && matches!(folder.only(), Err(KeyError::None))
        && context.terminal.can_ask()
        && context.terminal.ask("there is no key to sign with. Make one?")
    {
        let name = "default".parse().expect("it is a name");
        key::generate(&folder, &name, context)?;
    }
    key::choose(name, context)
        .map_err(|failure| Failure { message: "the package cannot be signed".to_owned(), ..failure })
        .map_err(|failure| {
            let hint = failure.hint.as_deref().unwrap_or("name another key with `--key`").to_owned();
            failure.hint(format!("{hint}; `--unsigned` builds a package that nobody vouches for"))
        })
}

/// The program that makes the sandboxes of the build: this one.
fn runner() -> Result<PathBuf, Failure> {
    env::current_exe().map_err(|error| Failure::new("cannot find the program of pack itself").because(&error))
}

fn debian_request(
    project: &Project,
    lock: &BuildLock,
    architecture: Architecture,
    context: &Context,
) -> Result<debian::Request, Failure> {
    let xdg = context.xdg()?;
    let cache = xdg.cache.join("pack/debian");
    let base = ForBuild::prepare(project, lock, &xdg.folders()?)?;
    let proxies = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];
    let environment = proxies.iter().filter_map(|name| Some(((*name).into(), env::var_os(name)?))).collect();
    let request = debian::Request::new(Vec::new(), cache, architecture, SystemTime::now());
    Ok(debian::Request { present: base.present, base: base.files, environment, ..request })
}

/// Where the package will be; its folder has to be there.
fn output_path(
    wanted: Option<&Path>,
    project: &Project,
    architecture: Architecture,
) -> Result<PathBuf, Failure> {
    let name = assemble::file_name(project.manifest(), architecture);
    let path = match wanted {
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(file) => file.to_path_buf(),
        None => name.into(),
    };
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Failure::new(format!("there is no folder `{}` for the package", shown(folder))))
        }
        _ => Ok(path),
    }
}

fn pack(request: &assemble::Request<'_>, doing: &Doing, terminal: &Terminal) -> Result<Assembled, Failure> {
    let bar = terminal.bytes_bar("Packing", 0);
    doing.set("packing", Some(&bar));
    if bar.is_hidden() {
        terminal.say("packing");
    }
    let assembled = doing.settle(assemble(request, &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.bytes);
    }));
    bar.finish_and_clear();
    assembled.map_err(|error| assemble_failure(&error, request.output))
}

fn assemble_failure(error: &AssembleError, output: &Path) -> Failure {
    let failure = Failure::new(format!("cannot make the package `{}`", shown(output))).because(error);
    failure.hint_from(parts::full_disk_hint(error))
}

fn report(assembled: &Assembled, output: &Path, key: Option<&SecretKey>, context: &Context) {
    let signed = match key {
        Some(key) => format!("signed with the key `{}`", key.name()),
        None => "not signed".to_owned(),
    };
    let size = human_size(assembled.size);
    context.terminal.say(format!("made `{}`, {size}, {signed}", shown(output)));
    // For scripts, and not twice on a terminal.
    match std::io::stdout().is_terminal() {
        true => context.terminal.say(format!("to try it: pack install {}{}", dangerous(key), shown(output))),
        false => context.terminal.print(shown(output)),
    }
}

/// What `pack install` wants to be told of a package that nobody vouches for.
fn dangerous(key: Option<&SecretKey>) -> &'static str {
    if key.is_none() { "--dangerous " } else { "" }
}

/// The failure of a part: the end of a script's output goes with it.
fn parts_failure(error: &PartsError, elapsed: Option<Duration>) -> Failure {
    let after = elapsed.filter(|time| *time >= WORTH_TELLING);
    let after = after.map(|time| format!(", after {}", human_time(time))).unwrap_or_default();
    let failure = Failure::new(format!("{error}{after}"));
    let failure = match std::error::Error::source(error) {
        Some(cause) => failure.because(cause),
        None => failure,
    };
    let PartsError::Step { source, .. } = error else { return failure };
    match source.as_ref() {
        StepError::Script { tail, .. } | StepError::Command { tail, .. } if !tail.is_empty() => {
            let lines: Vec<String> = tail.iter().map(|line| format!("    {line}")).collect();
            Failure { snippet: Some(lines.join("\n")), ..failure }
        }
        StepError::Confine(ConfineError::Sandbox { .. }) => doctor::name_the_lack(failure),
        other => failure.hint_from(other.hint()),
    }
}
