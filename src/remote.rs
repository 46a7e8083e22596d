//! `pack remote`: the stores that packages are installed from.

use std::process::ExitCode;

use pack_schemas::names::{Name, Sha256};
use pack_schemas::store::RemoteFile;
use pack_schemas::store::remote::read_fingerprint;
use pack_store_client::remote::address::Address;
use pack_store_client::remote::{self, Listed, Source, first_root};
use serde::Serialize;

use crate::changing::{Changing, now};
use crate::context::Context;
use crate::failure::Failure;
use crate::stores::{chain, environment, failure};
use crate::terminal::{iso_time, visible};

/// Arguments of `pack remote`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Add a store: what it vouches for can be installed from then on
    Add {
        /// Its address: https://…, http://…, file:///… or the path of a folder
        url: String,
        /// What you call it; the host, where nothing is said
        #[arg(long)]
        name: Option<Name>,
        /// The store's fingerprint, 64 digits, as its owner tells it
        #[arg(long)]
        fingerprint: Option<String>,
    },
    /// List the stores that were added
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a store; what was installed from it stays
    Remove {
        /// What you call it
        name: Name,
    },
}

/// A remote as JSON.
#[derive(Serialize)]
struct Row {
    name: Name,
    url: Option<String>,
    fingerprint: Option<Sha256>,
    added: Option<u64>,
    error: Option<String>,
}

/// Performs the verb.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    match arguments.action {
        Action::Add { url, name, fingerprint } => add(context, &url, name, fingerprint)?,
        Action::List { json } => list(context, json)?,
        Action::Remove { name } => {
            let changing = Changing::begin(context, &format!("pack remote remove {name}"))?;
            remote::remove(&changing.lock, &changing.folders, &name)
                .map_err(|error| failure(format!("`{name}` is not removed"), &error))?;
            context.terminal.say(format!("removed {name}; what was installed from it stays"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn add(context: &Context, url: &str, name: Option<Name>, given: Option<String>) -> Result<(), Failure> {
    let failed = || format!("the store `{}` is not added", visible(url));
    let wanted = given.as_deref().map(read_fingerprint).transpose();
    let wanted = wanted.map_err(|error| Failure::usage(failed()).because(&error))?;
    let address = Address::parse(url).map_err(|error| Failure::usage(failed()).because(&error))?;
    let name = name
        .or_else(|| address.name())
        .ok_or_else(|| Failure::usage(failed()).hint("give it a name with --name: its address makes none"))?;
    let source =
        Source::new(&address, &environment()).map_err(|error| Failure::new(failed()).because(&error))?;
    let (root, found) = first_root(&source).map_err(|error| failure(failed(), &error))?;
    let fingerprint = match wanted {
        Some(wanted) => wanted,
        None => ask(context, &failed(), url, found)?,
    };
    let remote = RemoteFile::new(name, address.to_string(), fingerprint, now());
    let changing = Changing::begin(context, &format!("pack remote add {}", remote.name))?;
    remote::add(&changing.lock, &changing.folders, &remote, &source, &root)
        .map_err(|error| failure(failed(), &error))?;
    if let Address::Web { is_encrypted: false, .. } = address {
        context.terminal.warn(
            "the address is http://: what you install is checked all the same, but others on the way see what it is",
        );
    }
    let name = &remote.name;
    context
        .terminal
        .say(format!("added {name}: `pack search` looks into it, `pack install NAME` installs from it"));
    Ok(())
}

fn ask(context: &Context, failed: &str, url: &str, found: Sha256) -> Result<Sha256, Failure> {
    let question = format!(
        "The store at {} has this fingerprint:\n{found}\nTrust it? Compare it with the one that its owner tells:",
        visible(url)
    );
    if context.terminal.can_ask() && context.terminal.ask(&question) {
        return Ok(found);
    }
    Err(Failure::new(failed).hint(format!(
        "compare {found} with the fingerprint that its owner tells, then: pack remote add … --fingerprint FINGERPRINT"
    )))
}

fn list(context: &Context, json: bool) -> Result<(), Failure> {
    let folders = context.xdg()?.folders()?;
    let listed = remote::list(&folders).map_err(|error| failure("cannot list the remotes", &error))?;
    let rows: Vec<Row> = listed.into_iter().map(row).collect();
    if json {
        context.terminal.print_json(&rows);
    } else if rows.is_empty() {
        context.terminal.say("no remote was added; `pack remote add URL --fingerprint FINGERPRINT` adds one");
    } else {
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        context.terminal.print_table(&["NAME", "ADDRESS", "ADDED", "FINGERPRINT"], &cells);
    }
    match rows.iter().find_map(|row| row.error.as_ref()) {
        Some(error) => Err(Failure::new(format!("not every remote can be used: {error}"))
            .hint("`pack remote remove NAME` takes it away; add it again")),
        None => Ok(()),
    }
}

fn row((name, read): Listed) -> Row {
    match read {
        Ok(remote) => Row {
            name,
            url: Some(remote.url),
            fingerprint: Some(remote.fingerprint),
            added: Some(remote.added),
            error: None,
        },
        Err(error) => Row { name, url: None, fingerprint: None, added: None, error: Some(chain(&error)) },
    }
}

fn cells(row: &Row) -> Vec<String> {
    let dash = || "-".to_owned();
    vec![
        row.name.to_string(),
        row.url.as_deref().map_or_else(dash, visible),
        row.added.map_or_else(dash, iso_time),
        row.fingerprint.map_or_else(dash, |fingerprint| fingerprint.to_string()),
    ]
}
