//! `pack list`: what is installed.

use std::process::ExitCode;

use pack_schemas::manifest::PackageType;
use pack_schemas::names::{PackageName, PublicKey, Revision, Version};
use pack_schemas::state::{InstalledRevision, PackageState};
use pack_store_client::installed::{self, Listed, StateError};
use pack_store_client::trust::{Trust, TrustedKeys};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::install::own_keys;
use crate::terminal::{human_size, visible};

/// Arguments of `pack list`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Earlier revisions as well, and removed packages whose data was kept
    #[arg(long)]
    all: bool,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// A revision as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    name: PackageName,
    version: Option<Version>,
    revision: Option<Revision>,
    #[serde(rename = "type")]
    package_type: PackageType,
    publisher: Option<PublicKey>,
    #[serde(skip)]
    publisher_text: String,
    size: Option<u64>,
    installed: Option<u64>,
    current: bool,
    enabled: bool,
    kept_data: Option<Revision>,
}

/// Lists the packages. Fails after that where one of them is damaged.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let folders = context.xdg()?.folders()?;
    let failed = |error: &StateError| {
        Failure::new("cannot list the installed packages").because(error).hint_from(error.hint())
    };
    let listed = installed::list(&folders).map_err(|error| failed(&error))?;
    let trusted = TrustedKeys::read(&folders, own_keys(context)?)
        .map_err(|error| Failure::new("cannot read the trusted keys").because(&error))?;
    let rows: Vec<Row> = listed
        .iter()
        .filter_map(|listed| listed.state.as_ref().ok())
        .flat_map(|state| rows(state, &trusted, arguments.all))
        .collect();
    if arguments.json {
        context.terminal.print_json(&rows);
    } else if rows.is_empty() {
        context.terminal.say("nothing is installed");
    } else {
        let header = ["NAME", "VERSION", "REVISION", "PUBLISHER", "SIZE", "NOTES"];
        context.terminal.print_table(&header, &rows.iter().map(cells).collect::<Vec<_>>());
    }
    match listed.into_iter().find_map(|Listed { state, .. }| state.err()) {
        Some(error) => {
            Err(Failure::new("not every package can be listed").because(&error).hint_from(error.hint()))
        }
        None => Ok(ExitCode::SUCCESS),
    }
}

fn rows(state: &PackageState, trusted: &TrustedKeys, all: bool) -> Vec<Row> {
    let row = |entry: Option<&InstalledRevision>| Row {
        name: state.name.clone(),
        version: entry.map(|entry| entry.version.clone()),
        revision: entry.map(|entry| entry.revision),
        package_type: state.package_type,
        publisher: state.publisher,
        publisher_text: publisher_text(state, trusted),
        size: entry.map(|entry| entry.size),
        installed: entry.map(|entry| entry.installed),
        current: entry.is_some_and(|entry| Some(entry.revision) == state.current),
        enabled: state.enabled,
        kept_data: state.kept_data,
    };
    match (state.current(), all) {
        (None, true) => vec![row(None)],
        (None, false) => Vec::new(),
        (Some(_), true) => state.revisions.iter().rev().map(|entry| row(Some(entry))).collect(),
        (Some(current), false) => vec![row(Some(current))],
    }
}

fn publisher_text(state: &PackageState, trusted: &TrustedKeys) -> String {
    let Some(key) = state.publisher else { return "(unsigned)".to_owned() };
    let short = || format!("{}…", key.to_string().get(..12).unwrap_or_default());
    match trusted.trust(&key) {
        Some(Trust::Own) => "(you)".to_owned(),
        Some(Trust::Added(Some(name))) => visible(&name),
        Some(Trust::Added(None)) | None => short(),
    }
}

fn cells(row: &Row) -> Vec<String> {
    let mut notes = Vec::new();
    if row.package_type == PackageType::Base {
        notes.push("base");
    }
    match (row.revision, row.current) {
        (None, _) => notes.push("removed, data kept"),
        (Some(_), false) => notes.push("earlier"),
        (Some(_), true) => {}
    }
    if !row.enabled {
        notes.push("disabled");
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    vec![
        row.name.to_string(),
        text(row.version.as_ref().map(Version::to_string)),
        text(row.revision.map(|revision| revision.to_string())),
        row.publisher_text.clone(),
        text(row.size.map(human_size)),
        if notes.is_empty() { "-".to_owned() } else { notes.join(", ") },
    ]
}
