//! `pack info`: all that is known of an installed package; of one that is not, what the stores say ([`info_store`]).

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use pack_launcher::package::Package;
use pack_schemas::manifest::{Manifest, PackageType};
use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::{HELD_FOREVER, PackageState};
use pack_store_client::folders::Folders;
use pack_store_client::installed::{self, DataSize, StateError};
use pack_store_client::trust::TrustedKeys;
use serde::Serialize;

use crate::announce;
use crate::changing::now;
use crate::context::Context;
use crate::failure::Failure;
use crate::info_store;
use crate::install::{own_keys, trust_text};
use crate::package_file::shown;
use crate::permissions::{Asked, Standing, asked};
use crate::remove::size_text;
use crate::stores;
use crate::terminal::{Terminal, human_size, iso_time, visible};

/// Arguments of `pack info`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package
    name: PackageName,
    /// What the stores have of it, also where it is installed
    #[arg(long)]
    store: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Everything, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    state: &'a PackageState,
    manifest: Option<&'a Manifest>,
    data: Data,
    commands: Vec<String>,
}

/// How much data there is, in bytes.
#[derive(Serialize)]
struct Data {
    revisions: BTreeMap<String, u64>,
    common: u64,
}

/// Shows the package. Fails after that where its image cannot be opened.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let folders = context.xdg()?.folders()?;
    let name = &arguments.name;
    let failed = |error: &StateError| {
        Failure::new(format!("cannot tell about `{name}`")).because(error).hint_from(error.hint())
    };
    let state = installed::read_state(&folders, name).map_err(|error| failed(&error))?;
    let asks_stores = arguments.store || state.is_none() && stores::has_remotes(&folders);
    if asks_stores && info_store::show(context, &folders, name, arguments.json)? {
        return Ok(ExitCode::SUCCESS);
    }
    if asks_stores {
        return Err(Failure::new(format!("package `{name}` is not installed, and no store has it"))
            .hint(format!("`pack search {name}` looks for similar ones")));
    }
    let state = state.ok_or_else(|| failed(&StateError::NotInstalled { name: name.clone() }))?;
    let data = installed::data_size(&folders, name).map_err(|error| failed(&error))?;
    let opened = if state.current.is_some() { Some(open_image(&folders, name)) } else { None };
    let package = opened.as_ref().and_then(|opened| opened.as_ref().ok());
    let manifest = package.map(|package| &package.envelope().manifest);
    if arguments.json {
        context.terminal.print_json(&report(&state, manifest, &data));
    } else {
        let trusted = TrustedKeys::read(&folders, own_keys(context)?)
            .map_err(|error| Failure::new("cannot read the trusted keys").because(&error))?;
        show_state(&context.terminal, &state, &trusted);
        if let Some(manifest) = manifest {
            show_manifest(&context.terminal, manifest, &asked(manifest, Some(&state))?);
        }
        show_data(&context.terminal, &folders, &state, &data);
    }
    match opened {
        Some(Err(failure)) => Err(failure),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Opens the installed image and checks that it is the one that was accepted.
pub fn open_image(folders: &Folders, name: &PackageName) -> Result<Arc<Package>, Failure> {
    let failed = || Failure::new(format!("the image of `{name}` cannot be used"));
    let current = installed::open_current(folders, name)
        .map_err(|error| failed().because(&error).hint_from(error.hint()))?;
    let package = Package::open(current.file).map_err(|error| failed().because(&error))?;
    if package.envelope_hash() != current.envelope {
        return Err(failed().hint(format!("it was changed; install the package file of `{name}` again")));
    }
    Ok(Arc::new(package))
}

fn report<'a>(state: &'a PackageState, manifest: Option<&'a Manifest>, data: &DataSize) -> Report<'a> {
    Report {
        state,
        manifest,
        data: Data {
            revisions: data.revisions.iter().map(|(r, size)| (r.to_string(), size.bytes)).collect(),
            common: data.common.bytes,
        },
        commands: manifest.map(commands).unwrap_or_default(),
    }
}

/// The commands of a package's apps.
fn commands(manifest: &Manifest) -> Vec<String> {
    let command = |app: &Name| match app.as_str() == manifest.name.as_str() {
        true => app.to_string(),
        false => format!("{}.{app}", manifest.name),
    };
    manifest.apps.keys().map(command).collect()
}

fn line(terminal: &Terminal, label: &str, value: &str) {
    terminal.print(format!("{label:<14}{value}"));
}

fn show_state(terminal: &Terminal, state: &PackageState, trusted: &TrustedKeys) {
    line(terminal, "name:", state.name.as_str());
    match state.current() {
        Some(current) => {
            line(terminal, "version:", current.version.as_str());
            line(terminal, "revision:", &current.revision.to_string());
            line(terminal, "installed:", &iso_time(current.installed));
            line(terminal, "size:", &human_size(current.size));
            line(terminal, "hash:", &current.envelope.to_string());
        }
        None => line(terminal, "installed:", "no; its data was kept when it was removed"),
    }
    if state.package_type == PackageType::Base {
        line(terminal, "type:", "base");
    }
    let publisher = match state.publisher {
        Some(key) => trust_text(key, trusted.trust(&key).as_ref()),
        None => "nobody knows: it is not signed".to_owned(),
    };
    line(terminal, "publisher:", &publisher);
    if !state.enabled {
        line(terminal, "enabled:", "no");
    }
    if let Some(source) = &state.source {
        line(terminal, "store:", &format!("{}, channel {}", source.remote, source.channel));
        match source.held_until.filter(|_| source.is_held(now())) {
            Some(HELD_FOREVER) => line(terminal, "held:", "until `pack refresh --unhold`"),
            Some(until) => line(terminal, "held:", &format!("until {}", iso_time(until))),
            None => {}
        }
    }
    if let Some(reason) = state.current().and_then(|current| current.revoked.as_ref()) {
        line(terminal, "revoked:", &format!("{}; it is not started", visible(reason)));
    }
    for entry in state.revisions.iter().rev().filter(|entry| Some(entry.revision) != state.current) {
        let size = human_size(entry.size);
        line(terminal, "earlier:", &format!("{} ({}, {size})", entry.version, entry.revision));
    }
}

fn show_manifest(terminal: &Terminal, manifest: &Manifest, plugs: &BTreeMap<Name, Asked>) {
    for (label, value) in [
        ("title:", &manifest.title),
        ("summary:", &manifest.summary),
        ("license:", &manifest.license),
        ("website:", &manifest.website),
        ("contact:", &manifest.contact),
    ] {
        if let Some(value) = value {
            line(terminal, label, &visible(value));
        }
    }
    line(terminal, "base:", &String::from(manifest.base.clone()));
    announce::rows(manifest).iter().for_each(|(label, text)| line(terminal, label, text));
    for command in commands(manifest) {
        line(terminal, "command:", &command);
    }
    for (plug, asked) in plugs {
        let standing = match asked.standing {
            Standing::Connected => "connected",
            Standing::Automatic | Standing::Question | Standing::Disconnected => "not connected",
            Standing::Changed => "not connected: it asks for something else than before",
            Standing::Unknown => "unknown to this pack",
            Standing::Unusable => "cannot be connected",
        };
        line(terminal, "plug:", &format!("{plug} ({standing}): {}", asked.summary()));
    }
}

fn show_data(terminal: &Terminal, folders: &Folders, state: &PackageState, data: &DataSize) {
    for (revision, size) in &data.revisions {
        let path = shown(&folders.revision_data(&state.name, *revision));
        line(terminal, "data:", &format!("{path} ({})", size_text(size)));
    }
    if data.common.files > 0 {
        let path = shown(&folders.common_data(&state.name));
        line(terminal, "data:", &format!("{path} ({})", size_text(&data.common)));
    }
}
