//! `pack install`: a package file becomes an installed package.
//!
//! The signature is looked at before anything else is believed; then the person sees whose package it is and what its
//! apps ask for, and answers; then it is installed ([`pack_store_client::install`]).
//!
//! A package of a store is looked up, fetched and checked first ([`crate::stores`], [`crate::fetching`]); its publisher is
//! the one that the store vouches for, and what it is has to be what the store says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pack_launcher::package::Package;
use pack_schemas::manifest::PackageType;
use pack_schemas::names::{Architecture, Name, PackageName, PublicKey, Revision};
use pack_schemas::state::{PackageState, Source};
use pack_schemas::store::Channel;
use pack_store_client::decision::{
    Candidate, Decision, InstallPlan, Note, Present, Publisher, Refusal, Wishes, decide,
};
use pack_store_client::install::InstallError;
use pack_store_client::installed;
use pack_store_client::remote::download::{DownloadError, forget};
use pack_store_client::trust::Trust;

use crate::announce;
use crate::changing::{Changing, now, warn};
use crate::context::Context;
use crate::failure::Failure;
use crate::fetching::{self, Fetch};
use crate::package_file::{open, open_installed, shown};
use crate::permissions::{self, Standing, asked, lines};
use crate::stores::{self, Asked, Offered};
use crate::terminal::{Style, human_size, visible};

/// Arguments of `pack install`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package file (its path has a `/`, or ends in `.pkg`), or the name of a package in a store
    #[arg(value_name = "FILE|NAME[=REVISION]")]
    target: PathBuf,
    /// Follow this channel of the store: TRACK/RISK, TRACK or RISK
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<Channel>,
    /// The store, where more than one has it
    #[arg(long, value_name = "NAME")]
    remote: Option<Name>,
    /// Trust the publisher with this key, from now on
    #[arg(long, value_name = "FINGERPRINT")]
    trust: Option<PublicKey>,
    /// Install a package that is not signed: skips the question of who made it, and nothing else
    #[arg(long)]
    dangerous: bool,
    /// Install a package of which its publisher says that it is not yet done with what it asks for (`confinement: devmode`)
    #[arg(long)]
    devmode: bool,
    /// Answer the questions about permissions with yes
    #[arg(short, long)]
    yes: bool,
}

/// What is to be installed, as the command line says it.
enum Target {
    File(PathBuf),
    Store(PackageName, Option<NonZeroU32>),
}

/// How questions are answered that need not be asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Answers {
    /// A publisher's key to trust.
    pub trust: Option<PublicKey>,
    /// Whether a package without a signature may come in.
    pub is_dangerous: bool,
    /// Whether one in devmode may.
    pub is_devmode: bool,
    /// Whether permissions are given.
    pub yes: bool,
    /// Whether it is an update that nobody asked for in particular: it asks about what is new alone, and waits where nobody
    /// can be asked.
    pub is_refresh: bool,
}

/// What came of an installation.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is installed.
    Installed,
    /// It asks for more than before, and nobody could be asked: for these plugs.
    HeldBack(Vec<String>),
}

/// Installs the package.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let answers = Answers {
        trust: arguments.trust,
        is_dangerous: arguments.dangerous,
        is_devmode: arguments.devmode,
        yes: arguments.yes,
        is_refresh: false,
    };
    match target(&arguments.target) {
        Target::File(path) => {
            if arguments.channel.is_some() || arguments.remote.is_some() {
                return Err(Failure::usage("a file is in no channel and no store")
                    .hint("leave --channel and --remote out, or give the name of a package"));
            }
            let package = open(&path)?;
            let name = &package.envelope().name;
            let changing = Changing::begin(context, &format!("pack install {name}"))?;
            install(context, &changing, &package, answers, None)?;
            Ok(ExitCode::SUCCESS)
        }
        Target::Store(name, revision) => from_store(context, &arguments, answers, &name, revision),
    }
}

/// A path has a `/` or ends in `.pkg`; anything else that can be a package's name is one, unless there is such a file.
fn target(given: &Path) -> Target {
    let file = || Target::File(given.to_owned());
    let Some(text) = given.to_str().filter(|text| !text.contains('/') && !text.ends_with(".pkg")) else {
        return file();
    };
    let (name, revision) = match text.split_once('=') {
        Some((name, revision)) => (name, Some(revision.parse().ok())),
        None => (text, None),
    };
    match (name.parse(), revision) {
        _ if given.symlink_metadata().is_ok() => file(),
        (Ok(name), None) => Target::Store(name, None),
        (Ok(name), Some(Some(revision))) => Target::Store(name, Some(revision)),
        _ => file(),
    }
}

/// Installs what a store offers, and the base that it needs before it.
fn from_store(
    context: &Context,
    arguments: &Arguments,
    answers: Answers,
    name: &PackageName,
    revision: Option<NonZeroU32>,
) -> Result<ExitCode, Failure> {
    let folders = context.xdg()?.folders()?;
    if !stores::has_remotes(&folders) {
        let message = format!(
            "there is no file `{name}`, and no remote was added that could have a package of that name"
        );
        return Err(Failure::new(message).hint("`pack remote add URL --fingerprint FINGERPRINT` adds one"));
    }
    let before = installed::read_state(&folders, name)
        .map_err(|error| Failure::new(format!("`{name}` is not installed")).because(&error))?;
    let followed = before.as_ref().and_then(|state| state.source.as_ref());
    let channel = arguments.channel.clone();
    let channel = channel.or_else(|| followed.map(|source| source.channel.clone())).unwrap_or_default();
    let remote = arguments.remote.as_ref().or(followed.map(|source| &source.remote));
    let asked = Asked { name, revision, channel: &channel };
    let found = stores::look_up(context, &folders, &asked, remote)?;
    let is_there = before.as_ref().and_then(PackageState::current).is_some_and(|current| {
        found.offers.last().is_some_and(|offered| offered.revision().envelope == current.envelope)
    });
    if is_there && installed::open_current(&folders, name).is_ok() {
        let changing = Changing::begin(context, &format!("pack install {name}"))?;
        return already_there(context, &changing, &found).map(|()| ExitCode::SUCCESS);
    }
    let cache = stores::downloads(context)?;
    let fetches: Vec<Fetch> =
        found.offers.iter().map(|offered| Fetch { offered, sources: &found.sources }).collect();
    let files = fetching::fetch(context, &fetches, &cache);
    let changing = Changing::begin(context, &format!("pack install {name}"))?;
    for (offered, file) in found.offers.iter().zip(files) {
        install_fetched(context, &changing, offered, file, answers)?;
        forget(offered.revision(), &cache);
    }
    Ok(ExitCode::SUCCESS)
}

/// Installs a package that was fetched.
pub fn install_fetched(
    context: &Context,
    changing: &Changing,
    offered: &Offered,
    file: Result<File, DownloadError>,
    answers: Answers,
) -> Result<Outcome, Failure> {
    let failed = || Failure::new(format!("`{}` is not installed", offered.entry.name));
    let file = file.map_err(|error| failed().because(&error).hint_from(error.hint()))?;
    let package = Package::open(file).map_err(|error| failed().because(&error))?;
    install(context, changing, &package, answers, Some(offered))
}

/// Nothing is to be installed; the channel is followed from now on.
fn already_there(context: &Context, changing: &Changing, found: &stores::Found) -> Result<(), Failure> {
    let Some(offered) = found.offers.last() else { return Ok(()) };
    let name = &offered.entry.name;
    let failed = |error: &dyn std::error::Error| {
        Failure::new(format!("the channel of `{name}` is not changed")).because(error)
    };
    let state = installed::read_installed(&changing.folders, name).map_err(|error| failed(&error))?;
    let held_until = state.source.as_ref().and_then(|source| source.held_until);
    let (remote, channel) = (offered.remote.clone(), offered.channel.clone());
    let source = Some(Source { remote, channel, held_until, reverted_from: None });
    if source != state.source {
        let after = PackageState { source, ..state.clone() };
        let bar = indicatif::ProgressBar::hidden();
        changing
            .change(&bar, |change| change.set_following(&state, &after))
            .map_err(|error| failed(&error))?;
    }
    let version = &offered.revision().version;
    context.terminal.say(format!("{name} {version} is installed already; it follows {}", offered.channel));
    Ok(())
}

/// Installs an opened package: judged, shown, asked about, done.
fn install(
    context: &Context,
    changing: &Changing,
    package: &Package,
    answers: Answers,
    offered: Option<&Offered>,
) -> Result<Outcome, Failure> {
    let signers = package.verify();
    let name = &package.envelope().name;
    // Of a store's package that says another name, the state of the one that was asked for.
    let named = offered.map_or(name, |offered| &offered.entry.name);
    let present = Present::read(&changing.folders, named, own_keys(context)?, Architecture::HOST)
        .map_err(|error| failure(package, &error))?;
    let metadata = package
        .file()
        .metadata()
        .map_err(|error| Failure::new(format!("cannot read the package file of `{name}`")).because(&error))?;
    let candidate = Candidate {
        envelope: package.envelope(),
        envelope_hash: package.envelope_hash(),
        size: metadata.len(),
        signers: signers.as_deref(),
        vouched: offered.map(Offered::vouched),
    };
    let plugs = asked(&package.envelope().manifest, present.state.as_ref())?;
    let mut wishes = Wishes {
        trust: answers.trust,
        is_dangerous: answers.is_dangerous,
        is_devmode: answers.is_devmode,
        connect: automatic(&plugs),
        decline: BTreeSet::new(),
        now: now(),
    };
    let first = decide(&candidate, &present, &wishes).map_err(|refusal| refused(package, &refusal))?;
    let signers = signers.as_deref().unwrap_or_default();
    let questions = questions(context, package, &plugs, answers)?;
    if answers.is_refresh && !questions.is_empty() && !answers.yes && !context.terminal.can_ask() {
        return Ok(Outcome::HeldBack(questions.iter().map(ToString::to_string).collect()));
    }
    if !answers.is_refresh || !questions.is_empty() {
        show(context, package, &plugs, &publisher_text(&first, &present, signers));
    }
    if let Decision::AskTrust { keys } = &first {
        wishes.trust = Some(ask_trust(context, package, keys)?);
    }
    ask_permissions(context, answers, package, &plugs, &questions, &mut wishes);
    match decide(&candidate, &present, &wishes).map_err(|refusal| refused(package, &refusal))? {
        Decision::Install(plan) => act(context, changing, package, &plan, &wishes, answers),
        Decision::AskTrust { .. } => Err(untrusted(package, signers)),
    }
}

/// The plugs that a person is asked about. In a refresh those that the installed revision did not have, or had otherwise:
/// what was left unconnected before stays so without a word.
fn questions<'a>(
    context: &Context,
    package: &Package,
    plugs: &'a BTreeMap<Name, permissions::Asked>,
    answers: Answers,
) -> Result<Vec<&'a Name>, Failure> {
    let is_question =
        |asked: &permissions::Asked| matches!(asked.standing, Standing::Question | Standing::Changed);
    let all = plugs.iter().filter(|(_, asked)| is_question(asked));
    if !answers.is_refresh {
        return Ok(all.map(|(name, _)| name).collect());
    }
    let before = open_installed(&package.envelope().name, context).ok();
    let before = match &before {
        Some(before) => asked(&before.envelope().manifest, None)?,
        None => BTreeMap::new(),
    };
    let was_there = |name: &Name, now: &permissions::Asked| {
        before.get(name).is_some_and(|before| {
            before.side == now.side
                && before.interface == now.interface
                && before.attributes == now.attributes
        })
    };
    Ok(all.filter(|(name, asked)| !was_there(name, asked)).map(|(name, _)| name).collect())
}

fn act(
    context: &Context,
    changing: &Changing,
    package: &Package,
    plan: &InstallPlan,
    wishes: &Wishes,
    answers: Answers,
) -> Result<Outcome, Failure> {
    for note in &plan.notes {
        tell_note(context, plan, note);
    }
    let bar = context.terminal.bytes_bar("Installing", plan.size);
    let installed = changing.change(&bar, |change| change.install(plan, package.file(), wishes.now));
    bar.finish_and_clear();
    let installed = installed.map_err(|error| failure(package, &error))?;
    announce::not_done(&package.envelope().manifest).iter().for_each(|line| context.terminal.warn(line));
    for warning in &installed.warnings {
        warn(context, &plan.name, warning);
    }
    let what = format!("{} {} (revision {})", plan.name, plan.version, plan.revision);
    let verb = match (plan.is_repair, answers.is_refresh) {
        (true, _) => "installed again:",
        (false, true) => "refreshed to",
        (false, false) => "installed",
    };
    context.terminal.say(format!("{verb} {what}"));
    if !answers.is_refresh {
        tell_commands(context, package, changing);
    }
    Ok(Outcome::Installed)
}

/// The public halves of the user's signing keys. Keys that cannot be read are no reason not to install.
pub fn own_keys(context: &Context) -> Result<BTreeSet<PublicKey>, Failure> {
    match crate::key::folder(context)?.list() {
        Ok(keys) => Ok(keys.into_iter().map(|key| key.fingerprint).collect()),
        Err(error) => {
            context
                .terminal
                .warn(format!("your own keys cannot be read, and do not count as trusted: {error}"));
            Ok(BTreeSet::new())
        }
    }
}

fn automatic(plugs: &BTreeMap<Name, permissions::Asked>) -> BTreeMap<Name, pack_schemas::state::Connection> {
    let by_itself = plugs.iter().filter(|(_, asked)| asked.standing == Standing::Automatic);
    by_itself.filter_map(|(plug, asked)| Some((plug.clone(), asked.connect(false).ok()?))).collect()
}

/// Says what is about to be installed.
fn show(context: &Context, package: &Package, plugs: &BTreeMap<Name, permissions::Asked>, publisher: &str) {
    let envelope = package.envelope();
    let size = package.file().metadata().map_or(0, |metadata| metadata.len());
    let title = format!("{} {}", envelope.name, envelope.version);
    let kind = if envelope.package_type == PackageType::Base { ", a base" } else { "" };
    context.terminal.say(format!(
        "{} ({}{kind})",
        context.terminal.paint(Style::Strong, &title),
        human_size(size)
    ));
    let mut rows = vec![["publisher".to_owned(), publisher.to_owned()]];
    rows.extend(lines(&envelope.manifest, plugs));
    let width = rows.iter().map(|[label, _]| label.len()).max().unwrap_or(0);
    for [label, text] in rows {
        context.terminal.say(format!("  {label:width$}  {text}"));
    }
    for (plug, asked) in plugs {
        if let Some(definition) = &asked.definition {
            context.terminal.detail(format!("\n{plug}: {}", definition.exposes.trim_end()));
        }
    }
}

fn publisher_text(decision: &Decision, present: &Present, signers: &[PublicKey]) -> String {
    let publisher = match decision {
        Decision::AskTrust { keys } => {
            let keys: Vec<String> = keys.iter().map(PublicKey::to_string).collect();
            return format!("unknown: {}", keys.join(", "));
        }
        Decision::Install(plan) => &plan.publisher,
    };
    let also = signers.iter().filter(|key| Some(**key) != publisher.key()).count();
    let also = if also > 0 { format!(" (and {also} more signatures)") } else { String::new() };
    let text = match publisher {
        Publisher::Own(key) => format!("you: {key}"),
        Publisher::Trusted { key, name } => trusted_text(*key, name.as_deref()),
        Publisher::NewlyTrusted(key) => format!("trusted from now on: {key}"),
        Publisher::Vouched { key, remote } => format!("{key}, says the store `{remote}`"),
        Publisher::Unsigned => "nobody knows: it is not signed".to_owned(),
    };
    let changed = present.state.as_ref().is_some_and(|state| state.publisher != publisher.key());
    format!("{text}{also}{}", if changed { " (before, it was not signed)" } else { "" })
}

/// A trusted key for people: `Alice: FINGERPRINT`.
pub fn trusted_text(key: PublicKey, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{}: {key}", visible(name)),
        None => format!("trusted: {key}"),
    }
}

/// Why a key is trusted, for people.
pub fn trust_text(key: PublicKey, trust: Option<&Trust>) -> String {
    match trust {
        Some(Trust::Own) => format!("you: {key}"),
        Some(Trust::Added(name)) => trusted_text(key, name.as_deref()),
        None => format!("not trusted: {key}"),
    }
}

fn ask_trust(context: &Context, package: &Package, keys: &[PublicKey]) -> Result<PublicKey, Failure> {
    let question = "\nTrust this publisher? Compare the fingerprint with the one that the publisher tells:";
    match keys {
        [key] if context.terminal.can_ask() && context.terminal.ask(&format!("{question}\n{key}")) => {
            Ok(*key)
        }
        _ => Err(untrusted(package, keys)),
    }
}

fn untrusted(package: &Package, keys: &[PublicKey]) -> Failure {
    let name = &package.envelope().name;
    let failure = Failure::new(format!("`{name}` is not installed: its publisher is not trusted"));
    match keys {
        [key, ..] => failure.hint(format!(
            "compare the fingerprint with the one that the publisher tells, then: pack install --trust {key} …"
        )),
        [] => failure,
    }
}

/// Asks about each plug that does not connect by itself, and in an update about each that is new or asks for something
/// else than before. Where nobody can be asked, and `--yes` is not given, such a plug stays unconnected.
fn ask_permissions(
    context: &Context,
    answers: Answers,
    package: &Package,
    plugs: &BTreeMap<Name, permissions::Asked>,
    questions: &[&Name],
    wishes: &mut Wishes,
) {
    let name = &package.envelope().name;
    for (plug, asked) in plugs {
        let wants = match asked.standing {
            Standing::Question | Standing::Changed if !questions.contains(&plug) => continue,
            Standing::Question => "wants",
            Standing::Changed => "now wants",
            Standing::Unusable | Standing::Unknown => {
                context.terminal.warn(format!("`{plug}` is not connected: {}", asked.summary()));
                continue;
            }
            Standing::Connected | Standing::Automatic | Standing::Disconnected => continue,
        };
        let Ok(connection) = asked.connect(true) else { continue };
        let question = format!("{name} {wants} `{plug}`: {}. Allow it?", asked.summary());
        if answers.yes || context.terminal.can_ask() && context.terminal.ask(&question) {
            wishes.connect.insert(plug.clone(), connection);
        } else if context.terminal.can_ask() {
            wishes.decline.insert(plug.clone());
        } else {
            context
                .terminal
                .warn(format!("`{plug}` is not connected; `--yes` allows it: {}", asked.summary()));
        }
    }
}

fn tell_note(context: &Context, plan: &InstallPlan, note: &Note) {
    let name = &plan.name;
    match note {
        Note::OlderVersion { installed } => {
            let why = match plan.revision {
                Revision::Store(_) => "that is what the store has now",
                Revision::Local(_) => "you chose this file",
            };
            let version = &plan.version;
            context
                .terminal
                .warn(format!("{version} is older than the installed {installed}, and takes its place since {why}"));
        }
        Note::Unsigned => context.terminal.warn(format!(
            "`{name}` is not signed: nobody can tell who made it, or whether it was altered on its way. --dangerous \
             skips that question alone"
        )),
        Note::WasUnsigned => context
            .terminal
            .say(format!("the installed `{name}` is not signed; from now on only this publisher can replace it")),
        Note::Devmode => context.terminal.warn(format!(
            "`{name}` is in devmode: its publisher does not know yet all that it needs. The walls are those of any package; what \
             they refuse is told after each run"
        )),
        Note::DangerousNotNeeded => {
            context.terminal.say("--dangerous was not needed: the package is signed, and that was checked");
        }
    }
}

/// Says how to start what was installed.
fn tell_commands(context: &Context, package: &Package, changing: &Changing) {
    let manifest = &package.envelope().manifest;
    let folder = changing.folders.commands();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_on_path = std::env::split_paths(&path).any(|entry| entry == folder);
    let names: Vec<String> = manifest
        .apps
        .keys()
        .map(|app| match app.as_str() == manifest.name.as_str() {
            true => app.to_string(),
            false => format!("{}.{app}", manifest.name),
        })
        .collect();
    match names.as_slice() {
        [] => {}
        names if is_on_path => context.terminal.say(format!("start it with: {}", names.join(", "))),
        [name, ..] => context.terminal.say(format!(
            "start it with: pack run {name} (or put {} on your PATH, where its commands are)",
            shown(&folder)
        )),
    }
}

fn refused(package: &Package, refusal: &Refusal) -> Failure {
    let name = &package.envelope().name;
    Failure::new(format!("`{name}` is not installed")).because(refusal).hint_from(refusal.hint())
}

fn failure(package: &Package, error: &InstallError) -> Failure {
    let name = &package.envelope().name;
    Failure::new(format!("`{name}` is not installed")).because(error).hint_from(error.hint())
}
