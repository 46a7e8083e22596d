//! One line after an ordinary run that ended badly: what the app was refused, or what it asked for and does not have.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};

use pack_launcher::sandbox::refusals::Refusals;
use pack_schemas::interface::Side;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;
use pack_schemas::state::Connection;

/// Calls that are named in the line; more are left out.
const NAMED_MOST: usize = 4;

/// Statuses of apps that somebody ended, or whose reader went away: SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTERM.
const ENDED_BY_OTHERS: &[u8] = &[128 + 1, 128 + 2, 128 + 3, 128 + 13, 128 + 15];

/// What is known of a run.
pub struct Run<'a> {
    /// The package's manifest.
    pub manifest: &'a Manifest,
    /// The app.
    pub app: &'a Name,
    /// Connected plugs.
    pub connections: &'a BTreeMap<Name, Connection>,
    /// Its status.
    pub status: u8,
    /// What it was refused.
    pub refusals: &'a Refusals,
}

/// The line, where there is something to say. An app that ends with a status of its own may have meant it (grep(1) does):
/// plugs that are not connected are told of only after refusals, or to a person who watches.
pub fn line(run: &Run<'_>) -> Option<String> {
    if run.status == 0 || ENDED_BY_OTHERS.contains(&run.status) {
        return None;
    }
    let was_refused = run.refusals.total() > 0;
    let missing = match was_refused || io::stderr().is_terminal() {
        true => not_connected(run.manifest, run.app, run.connections),
        false => Vec::new(),
    };
    match missing.as_slice() {
        [] if was_refused => Some(refused(run)),
        [] => None,
        missing => Some(format!("pack: hint: {}", not_connected_text(run.manifest, missing))),
    }
}

/// What is given to `pack run` to start the app.
pub fn target(manifest: &Manifest, app: &Name) -> String {
    match manifest.main_app() {
        Some((main, _)) if main == app => manifest.name.to_string(),
        _ if manifest.apps.len() == 1 => manifest.name.to_string(),
        _ => format!("{}.{app}", manifest.name),
    }
}

/// The plugs of an app that the manifest declares and that are not connected.
pub fn not_connected<'a>(
    manifest: &'a Manifest,
    app: &Name,
    connections: &BTreeMap<Name, Connection>,
) -> Vec<&'a Name> {
    let plugs = manifest.apps.get(app).map(|app| app.plugs.iter()).into_iter().flatten();
    let is_connected = |plug: &Name| {
        connections.get(plug).is_some_and(|connection| connection.is_of(manifest, plug, Side::Plug))
    };
    plugs.filter(|plug| !is_connected(plug)).collect()
}

fn refused(run: &Run<'_>) -> String {
    let target = target(run.manifest, run.app);
    let mut names: Vec<&str> = run.refusals.calls().take(NAMED_MOST + 1).map(|(name, _)| name).collect();
    if names.len() > NAMED_MOST {
        names[NAMED_MOST] = "…";
    }
    let calls = match run.refusals.total() {
        1 => "a system call".to_owned(),
        total => format!("{total} system calls"),
    };
    let them = if run.refusals.total() == 1 { "it" } else { "them" };
    format!(
        "pack: hint: `{target}` was refused {calls} ({}); `pack run --learn {target}` tells which plug would allow {them}",
        names.join(", ")
    )
}

fn not_connected_text(manifest: &Manifest, missing: &[&Name]) -> String {
    let name = &manifest.name;
    let commands: Vec<String> = missing.iter().map(|plug| format!("`pack connect {name}:{plug}`")).collect();
    let commands = commands.join(", ");
    match missing {
        [plug] => format!("the plug `{plug}` is not connected; {commands}"),
        plugs => {
            let plugs: Vec<String> = plugs.iter().map(|plug| format!("`{plug}`")).collect();
            format!("the plugs {} are not connected; {commands}", plugs.join(", "))
        }
    }
}
