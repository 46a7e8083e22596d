//! `pack run`: starts an app in its sandbox.
//!
//! 1. The installed revision is opened, and is the one that was accepted at install: its envelope has the hash that the
//!    state names. The signature was checked then, over the same bytes; who could change the state, which is the user's
//!    own as the keys are, could name another publisher in it just as well, so that to check it again would show nothing.
//! 2. The plan is made ([`pack_launcher::plan`]); `--explain` prints it and ends here.
//! 3. Keepers mount the package, its base, and what provides content for it ([`content`]), or have them mounted already ([`pack_launcher::keeper`]).
//! 4. The plan is carried out ([`pack_launcher::sandbox`]); the app's status is pack's.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use pack_launcher::host;
use pack_launcher::host::abilities::MEND_BUS_FILTER;
use pack_launcher::image::CacheSize;
use pack_launcher::keeper::{self, Keeper, KeeperError, Place, Watch};
use pack_launcher::package::Package;
use pack_launcher::plan::content::Provided;
use pack_launcher::sandbox::refusals::{Notice, Refusals};
use pack_launcher::sandbox::{self, Images, LaunchError};
use pack_schemas::facts::ImageFacts;
use pack_schemas::manifest::{Base, Confinement};
use pack_schemas::names::{Architecture, Name, PackageName, Revision};
use pack_schemas::plan::Plan;
use pack_schemas::state::PackageState;
use pack_schemas::text::nearest;
use pack_store_client::folders::Folders;
use pack_store_client::installed;

use crate::base;
use crate::content::{self, Consumer};
use crate::context::{Context, XdgFolders};
use crate::explain::explain;
use crate::failure::Failure;
use crate::learn::{self, Learning};
use crate::planning::{self, Wanted};
use crate::{doctor, hint, terminal::visible};

/// Arguments of `pack run`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Arguments {
    /// Print what the sandbox is made of, and run nothing
    #[arg(long)]
    explain: bool,
    /// Tell, when the app has ended, what it was refused and which plug would allow that
    #[arg(long, conflicts_with = "explain")]
    learn: bool,
    /// With --learn: tell it as one line of JSON, the last on standard output
    #[arg(long, requires = "learn")]
    json: bool,
    /// Run the app only if it has asked for being started with the desktop
    #[arg(long, hide = true)]
    autostart: bool,
    /// Run a shell in the app's sandbox instead of the app
    #[arg(long)]
    shell: bool,
    /// The package or one of its apps, and the app's arguments: everything after the name is the app's, but for one
    /// `--` right behind it
    // One list, so that no option of pack's is looked for behind the name (CVE-2024-32462).
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "NAME[.APP] [ARGS]"
    )]
    words: Vec<OsString>,
}

impl Arguments {
    /// Recognises the plain command line `pack run NAME [ARGS]`, without an option of pack's, as the parser of all
    /// command lines would: a launch waits for nothing that it does not need, and that parser knows every verb.
    /// `command_line` begins with the name of the program.
    pub fn of_plain(command_line: impl IntoIterator<Item = OsString>) -> Option<Arguments> {
        let mut words = command_line.into_iter().skip(1);
        let verb = words.next()?;
        let words: Vec<OsString> = words.collect();
        let name = words.first()?.as_encoded_bytes();
        let is_plain = verb == "run" && !name.is_empty() && !name.starts_with(b"-");
        is_plain.then_some(Arguments {
            explain: false,
            learn: false,
            json: false,
            autostart: false,
            shell: false,
            words,
        })
    }

    /// The name as it was given.
    fn target(&self) -> String {
        self.words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The app's arguments.
    fn of_app(&self) -> &[OsString] {
        match self.words.get(1) {
            Some(word) if word == "--" => &self.words[2..],
            _ => self.words.get(1..).unwrap_or_default(),
        }
    }
}

/// errno(3): there is a listener of a seccomp filter already (seccomp(2)).
const EBUSY: i32 = 16;
/// Exit status where pack failed before the app started.
const NOT_STARTED: u8 = 125;
/// Exit status where the program cannot be executed.
const NOT_EXECUTABLE: u8 = 126;
/// Exit status where the program is not there.
const NOT_FOUND: u8 = 127;

/// Environment variable: how many seconds a mount is kept when no app uses it any more.
const LINGER: &str = "PACK_LINGER";
/// Environment variable: how many MiB of memory a mount has for decompressed blocks.
const CACHE: &str = "PACK_CACHE_MIB";

/// An installed package, opened for a launch and checked.
pub struct Opened {
    /// The package file.
    pub package: Arc<Package>,
    /// The revision.
    pub revision: Revision,
    /// The package's whole state.
    pub state: PackageState,
    /// What of its image decides how the root folder looks.
    pub facts: ImageFacts,
}

/// Runs the app and gives its status.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    launch(&arguments, context).map_err(|failure| match failure.status {
        1 => failure.status(NOT_STARTED),
        _ => failure,
    })
}

fn launch(arguments: &Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let (name, app) = parse_target(&arguments.target())?;
    let xdg = context.xdg()?;
    let folders = xdg.folders()?;
    let opened = open(&name, &folders)?;
    let base = match &opened.package.envelope().manifest.base {
        Base::Package(base) => Some(base::open(base, &folders)?),
        Base::Host | Base::None => None,
    };
    let app = match app {
        Some(app) => app,
        None => main_app(&opened)?,
    };
    if arguments.autostart && !wants_to_start(&opened, &app, &folders) {
        return Ok(ExitCode::SUCCESS);
    }
    let found = content::find(&consumer(&opened, &app), &folders, context)?;
    let mut plan = make_plan(arguments, &xdg, &folders, &opened, base.as_ref(), &found.content, &app)?;
    if arguments.explain {
        explain(&plan, host::landlock_version()).iter().for_each(|line| context.terminal.print(line));
        return Ok(ExitCode::SUCCESS);
    }
    // Who installs a package in devmode helps to find out what it needs.
    let is_devmode = opened.package.envelope().manifest.confinement == Confinement::Devmode;
    let learns = arguments.learn || is_devmode && !arguments.shell;
    let mut learning = match learns {
        true => Some(Learning::prepare(&mut plan, &xdg, arguments.json)?),
        false => None,
    };
    let place = Place::open(&xdg.keepers()).ok().map(Arc::new);
    let options = keeper_options()?;
    let mount = |opened: &Opened| mount(opened, options, place.as_ref());
    let (keeper, package) = mount(&opened)?;
    let (base_keeper, base) = base.as_ref().map(mount).transpose()?.unzip();
    let shown = plan.providers.iter().filter_map(|name| found.providers.get(name));
    let (provider_keepers, providers): (Vec<_>, Vec<_>) =
        shown.map(mount).collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    let keepers = std::iter::once(keeper).chain(base_keeper).chain(provider_keepers).collect();
    let mut tell = |line: &str| tell(line);
    let mut watch = Watch::new(keepers, &mut tell);
    let mut refusals = Refusals::default();
    let notice = match &mut learning {
        Some(learning) => Notice::Everything(&mut learning.record),
        None => Notice::Refusals(&mut refusals),
    };
    let images = Images { package: Some(package), base, providers };
    let result = sandbox::run(&plan, images, arguments.of_app(), &mut watch, notice);
    // What was learnt is judged by looking into the mounts: they are served as long as the keepers have a user.
    let keepers = watch.end();
    let ended = match result {
        Ok(status) => {
            let manifest = &opened.package.envelope().manifest;
            let connections = &opened.state.connections;
            if let Some(learning) = learning {
                let app = learn::App { manifest, name: &app, connections };
                learning.tell(&plan, &app, &context.terminal)?;
            } else {
                let run = hint::Run { manifest, app: &app, connections, status, refusals: &refusals };
                hint::line(&run).iter().for_each(|line| context.terminal.say(line));
            }
            Ok(ExitCode::from(status))
        }
        Err(error) => Err(not_launched(&plan, &error, learns)),
    };
    drop(keepers);
    ended
}

fn parse_target(target: &str) -> Result<(PackageName, Option<Name>), Failure> {
    let wrong = |error: &dyn std::error::Error| {
        Failure::usage(format!("`{}` names no app", visible(target)))
            .because(error)
            .hint("write NAME or NAME.APP")
    };
    let (name, app) = match target.split_once('.') {
        Some((name, app)) => (name, Some(app)),
        None => (target, None),
    };
    let name = name.parse().map_err(|error| wrong(&error))?;
    let app = app.map(str::parse).transpose().map_err(|error| wrong(&error))?;
    Ok((name, app))
}

/// Whether the app has put the entry that its manifest names among its own that start with the desktop.
fn wants_to_start(opened: &Opened, app: &Name, folders: &Folders) -> bool {
    let manifest = &opened.package.envelope().manifest;
    let Some(entry) = manifest.apps.get(app).and_then(|app| app.autostart.as_deref()) else { return false };
    let data = folders.revision_data(&opened.state.name, opened.revision);
    // Nothing is read of what the app may write: that it is there says all.
    data.join(".config/autostart").join(entry).symlink_metadata().is_ok_and(|found| found.is_file())
}

/// The app as one that content of other packages may be shown to.
fn consumer<'a>(opened: &'a Opened, app: &'a Name) -> Consumer<'a> {
    Consumer {
        manifest: &opened.package.envelope().manifest,
        app,
        connections: &opened.state.connections,
        publishers: opened.state.publisher.as_slice(),
    }
}

/// Opens the current revision of a package and checks that it is the one that was accepted.
///
/// # Errors
/// Where it is not installed, not enabled, or not that one.
pub fn open(name: &PackageName, folders: &Folders) -> Result<Opened, Failure> {
    let failed = || Failure::new(format!("cannot open `{name}`"));
    let current = installed::open_current(folders, name).map_err(|error| {
        let failure = failed().because(&error);
        match did_you_mean(name, folders).or_else(|| error.hint()) {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    let refused = |problem: &str| {
        Failure::new(format!("revision {} of `{name}` is not run: {problem}", current.revision))
            .hint("install the package again, from a source that you trust")
    };
    if !current.state.enabled {
        return Err(Failure::new(format!("`{name}` is disabled")).hint(format!("`pack enable {name}`")));
    }
    if let Some(reason) = current.state.current().and_then(|entry| entry.revoked.as_ref()) {
        let message =
            format!("revision {} of `{name}` is not run: it was revoked by its publisher", current.revision);
        return Err(Failure::new(format!("{message}: {}", visible(reason))).hint(format!(
            "`pack refresh {name}` gets another, if there is one; `pack revert {name}` goes back"
        )));
    }
    let package = Package::open(current.file).map_err(|error| failed().because(&error))?;
    let envelope = package.envelope();
    if package.envelope_hash() != current.envelope || envelope.name != *name {
        return Err(refused("it is not the package that was installed"));
    }
    if !envelope.architecture.runs_on(Architecture::HOST) {
        return Err(refused(&format!("it is made for {}", envelope.architecture)));
    }
    let package = Arc::new(package);
    let kept = current.state.revision(current.revision).and_then(|entry| entry.facts.clone());
    let facts = match kept {
        Some(facts) => facts,
        None => planning::read_facts(&package).map_err(|error| failed().because(&error))?,
    };
    Ok(Opened { package, revision: current.revision, state: current.state, facts })
}

fn did_you_mean(name: &PackageName, folders: &Folders) -> Option<String> {
    let installed: Vec<String> =
        installed::list(folders).ok()?.into_iter().map(|listed| listed.name.to_string()).collect();
    let near = nearest(name.as_str(), installed.iter().map(String::as_str))?;
    Some(format!("did you mean `{near}`? `pack list` shows what is installed"))
}

/// The app that bears the package's name, or the only one.
fn main_app(opened: &Opened) -> Result<Name, Failure> {
    let manifest = &opened.package.envelope().manifest;
    let mut apps = manifest.apps.keys();
    match (manifest.main_app(), apps.next(), apps.next()) {
        (Some((name, _)), ..) | (None, Some(name), None) => Ok(name.clone()),
        (None, None, _) => Err(Failure::new(format!("`{}` has no apps", manifest.name))),
        (None, Some(_), Some(_)) => {
            let known: Vec<String> =
                manifest.apps.keys().map(|app| format!("{}.{app}", manifest.name)).collect();
            Err(Failure::new(format!("`{}` has no app of that name", manifest.name))
                .hint(format!("it has {}", known.join(", "))))
        }
    }
}

/// The plan of the launch.
fn make_plan(
    arguments: &Arguments,
    xdg: &XdgFolders,
    folders: &Folders,
    opened: &Opened,
    base: Option<&Opened>,
    content: &[Provided],
    app: &Name,
) -> Result<Plan, Failure> {
    let wanted = Wanted {
        manifest: &opened.package.envelope().manifest,
        revision: opened.revision,
        connections: &opened.state.connections,
        package: &opened.facts,
        base: base.map(|base| &base.facts),
        content,
        app,
        shell: arguments.shell,
        for_people: arguments.explain,
    };
    planning::plan(&wanted, xdg, folders)
}

/// Has a package mounted; gives the hold on its keeper, and the mount.
fn mount(
    opened: &Opened,
    options: keeper::Options,
    place: Option<&Arc<Place>>,
) -> Result<(Keeper, OwnedFd), Failure> {
    let label = format!("{} {}", opened.state.name, opened.revision);
    let keeper = keeper::open(Arc::clone(&opened.package), &label, options, place.cloned());
    let held = keeper.and_then(|keeper| keeper.mount().map(|mount| (keeper, mount)));
    held.map_err(|error| cannot_mount(opened, &error))
}

/// What the environment says about keepers.
fn keeper_options() -> Result<keeper::Options, Failure> {
    let mut options = keeper::Options::default();
    if let Some(seconds) = number(LINGER)? {
        options.linger = Duration::from_secs(seconds);
    }
    if let Some(mebibytes) = number(CACHE)? {
        let bytes = usize::try_from(mebibytes).unwrap_or(usize::MAX).saturating_mul(1 << 20);
        options.cache = CacheSize { bytes };
    }
    Ok(options)
}

fn number(variable: &str) -> Result<Option<u64>, Failure> {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_string_lossy();
    text.parse().map(Some).map_err(|error| {
        Failure::usage(format!("the environment variable {variable} is no number: `{}`", visible(&text)))
            .because(&error)
            .hint("give it a whole number, or leave it out")
    })
}

/// Tells what happens beside a running app. A terminal may be in raw mode, where a line end does not return by itself.
fn tell(line: &str) {
    let end = if io::stderr().is_terminal() { "\r\n" } else { "\n" };
    // In one piece, as the app writes there as well. Standard error may be closed; the app goes on.
    let _ = io::stderr().write_all(format!("{line}{end}").as_bytes());
}

fn cannot_mount(opened: &Opened, error: &KeeperError) -> Failure {
    let step = match error {
        KeeperError::Step { step, .. } => format!(" (step: {})", step.step),
        KeeperError::Image(_) | KeeperError::Ended => String::new(),
    };
    let message = format!("cannot mount `{}` revision {}{step}", opened.state.name, opened.revision);
    let failure = Failure::new(message);
    let failure = match error {
        KeeperError::Step { source, .. } => failure.because(source),
        KeeperError::Image(_) | KeeperError::Ended => failure.because(error),
    };
    doctor::name_the_lack(failure)
}

fn not_launched(plan: &Plan, error: &LaunchError, learns: bool) -> Failure {
    let failure = Failure::new(format!("cannot start `{}.{}`", plan.package, plan.app)).because(error);
    match error {
        LaunchError::NotFound { .. } => failure.status(NOT_FOUND),
        LaunchError::NotExecutable { .. } => failure.status(NOT_EXECUTABLE),
        LaunchError::NoBusFilter => {
            failure.hint(format!("{MEND_BUS_FILTER}; `pack doctor` shows all that is missing"))
        }
        LaunchError::StreamIsFolder(_) => failure.hint("give it a file, a pipe or a terminal"),
        LaunchError::Step(_, cause) if learns && cause.raw_os_error() == Some(EBUSY) => failure
            .hint("something else listens to the system calls here already, as some container managers do"),
        LaunchError::Step(..) => doctor::name_the_lack(failure),
    }
}
