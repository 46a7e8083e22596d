//! `pack connections`: which plugs of installed packages are connected, and why.

use std::process::ExitCode;

use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::PackageState;
use pack_store_client::folders::Folders;
use pack_store_client::installed::{self, Listed, StateError};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::permissions::{Asked, Standing};
use crate::plugs::plugs_of;

/// Arguments of `pack connections`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this package's
    name: Option<PackageName>,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// A plug as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    package: PackageName,
    plug: Name,
    interface: Name,
    connected: bool,
    /// Whether a person connected it; otherwise it connected by itself.
    manual: bool,
    /// Whether a person disconnected it.
    disconnected: bool,
    /// Whether it asks for something else than what it was connected for.
    changed: bool,
    /// Whether the app offers the interface instead of using it.
    slot: bool,
    /// Its attributes.
    attributes: std::collections::BTreeMap<String, serde_json::Value>,
    /// Whether this pack has the interface.
    known: bool,
    summary: String,
}

/// Lists the plugs. Fails after that where a package is damaged.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let folders = context.xdg()?.folders()?;
    let (states, mut failure) = states(&folders, arguments.name.as_ref())?;
    let mut rows = Vec::new();
    for state in states.iter().filter(|state| state.current.is_some()) {
        match plugs_of(&folders, state) {
            Ok(plugs) => rows.extend(plugs.into_iter().map(|(plug, asked)| row(state, plug, &asked))),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    if arguments.json {
        context.terminal.print_json(&rows);
    } else if rows.is_empty() {
        context.terminal.say("no app asks for anything");
    } else {
        let header = ["PLUG", "INTERFACE", "STATE", "WHAT IT GIVES"];
        context.terminal.print_table(&header, &rows.iter().map(cells).collect::<Vec<_>>());
    }
    failure.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// The states to look at, and the first that cannot be.
fn states(
    folders: &Folders,
    name: Option<&PackageName>,
) -> Result<(Vec<PackageState>, Option<Failure>), Failure> {
    let failed = |error: &StateError| {
        Failure::new("not every connection can be listed").because(error).hint_from(error.hint())
    };
    if let Some(name) = name {
        let state = installed::read_installed(folders, name).map_err(|error| failed(&error))?;
        return Ok((vec![state], None));
    }
    let (mut states, mut failure) = (Vec::new(), None);
    for Listed { state, .. } in installed::list(folders).map_err(|error| failed(&error))? {
        match state {
            Ok(state) => states.push(state),
            Err(error) => failure = failure.or(Some(failed(&error))),
        }
    }
    Ok((states, failure))
}

fn row(state: &PackageState, plug: Name, asked: &Asked) -> Row {
    Row {
        package: state.name.clone(),
        interface: asked.interface.clone(),
        connected: asked.standing == Standing::Connected,
        manual: state.connections.get(&plug).is_some_and(|connection| connection.manual),
        disconnected: asked.standing == Standing::Disconnected,
        changed: asked.standing == Standing::Changed,
        slot: asked.side == pack_schemas::interface::Side::Slot,
        attributes: asked.attributes.clone(),
        known: asked.standing != Standing::Unknown,
        summary: asked.summary(),
        plug,
    }
}

fn cells(row: &Row) -> Vec<String> {
    let state = match row {
        Row { known: false, .. } => "unknown",
        Row { changed: true, .. } => "changed, not connected",
        Row { connected: true, manual: true, .. } => "connected by you",
        Row { connected: true, .. } => "connected",
        Row { disconnected: true, .. } => "disconnected by you",
        _ => "not connected",
    };
    vec![
        format!("{}:{}", row.package, row.plug),
        row.interface.to_string(),
        state.to_owned(),
        row.summary.clone(),
    ]
}
