//! `pack install`: a package file becomes an installed package.
//!
//! The signature is looked at before anything else is believed; then the person sees whose package it is and what its
//! apps ask for, and answers; then it is installed ([`pack_store_client::install`]).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;

use pack_launcher::package::Package;
use pack_schemas::manifest::PackageType;
use pack_schemas::names::{Architecture, Name, PublicKey};
use pack_store_client::decision::{
    Candidate, Decision, InstallPlan, Note, Present, Publisher, Refusal, Wishes, decide,
};
use pack_store_client::install::InstallError;
use pack_store_client::trust::Trust;

use crate::announce;
use crate::changing::{Changing, now, warn};
use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open, shown};
use crate::permissions::{Asked, Standing, asked, lines};
use crate::terminal::{Style, human_size, visible};

/// Arguments of `pack install`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package file
    #[arg(value_name = "FILE")]
    file: PathBuf,
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

/// Installs the package.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let package = open(&arguments.file)?;
    let signers = package.verify();
    let name = &package.envelope().name;
    let changing = Changing::begin(context, &format!("pack install {name}"))?;
    let present = Present::read(&changing.folders, name, own_keys(context)?, Architecture::HOST)
        .map_err(|error| failure(&package, &error))?;
    let candidate = Candidate {
        envelope: package.envelope(),
        envelope_hash: package.envelope_hash(),
        size: package.file().metadata().map_err(|error| unreadable(&arguments, &error))?.len(),
        signers: signers.as_deref(),
    };
    let plugs = asked(&package.envelope().manifest, present.state.as_ref())?;
    let mut wishes = Wishes {
        trust: arguments.trust,
        is_dangerous: arguments.dangerous,
        is_devmode: arguments.devmode,
        connect: automatic(&plugs),
        decline: BTreeSet::new(),
        now: now(),
    };
    let first = decide(&candidate, &present, &wishes).map_err(|refusal| refused(&package, &refusal))?;
    let signers = signers.as_deref().unwrap_or_default();
    show(context, &package, &plugs, &publisher_text(&first, &present, signers));
    if let Decision::AskTrust { keys } = &first {
        wishes.trust = Some(ask_trust(context, &package, keys)?);
    }
    ask_permissions(context, &arguments, &package, &plugs, &mut wishes);
    match decide(&candidate, &present, &wishes).map_err(|refusal| refused(&package, &refusal))? {
        Decision::Install(plan) => act(context, &changing, &package, &plan, wishes.now),
        Decision::AskTrust { .. } => Err(untrusted(&package, signers)),
    }
}

fn act(
    context: &Context,
    changing: &Changing,
    package: &Package,
    plan: &InstallPlan,
    now: u64,
) -> Result<ExitCode, Failure> {
    for note in &plan.notes {
        tell_note(context, plan, note);
    }
    let bar = context.terminal.bytes_bar("Installing", plan.size);
    let installed = changing.change(&bar, |change| change.install(plan, package.file(), now));
    bar.finish_and_clear();
    let installed = installed.map_err(|error| failure(package, &error))?;
    announce::not_done(&package.envelope().manifest).iter().for_each(|line| context.terminal.warn(line));
    for warning in &installed.warnings {
        warn(context, &plan.name, warning);
    }
    let what = format!("{} {} (revision {})", plan.name, plan.version, plan.revision);
    let verb = if plan.is_repair { "installed again:" } else { "installed" };
    context.terminal.say(format!("{verb} {what}"));
    tell_commands(context, package, changing);
    Ok(ExitCode::SUCCESS)
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

fn automatic(plugs: &BTreeMap<Name, Asked>) -> BTreeMap<Name, pack_schemas::state::Connection> {
    let by_itself = plugs.iter().filter(|(_, asked)| asked.standing == Standing::Automatic);
    by_itself.filter_map(|(plug, asked)| Some((plug.clone(), asked.connect(false).ok()?))).collect()
}

/// Says what is about to be installed.
fn show(context: &Context, package: &Package, plugs: &BTreeMap<Name, Asked>, publisher: &str) {
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
    arguments: &Arguments,
    package: &Package,
    plugs: &BTreeMap<Name, Asked>,
    wishes: &mut Wishes,
) {
    let name = &package.envelope().name;
    for (plug, asked) in plugs {
        let wants = match asked.standing {
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
        if arguments.yes || context.terminal.can_ask() && context.terminal.ask(&question) {
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
        Note::OlderVersion { installed } => context.terminal.warn(format!(
            "{} is older than the installed {installed}, and takes its place since you chose this file",
            plan.version
        )),
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

fn unreadable(arguments: &Arguments, error: &std::io::Error) -> Failure {
    Failure::new(format!("cannot read `{}`", shown(&arguments.file))).because(error)
}
