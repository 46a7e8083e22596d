//! `pack trust`: whose packages may be installed.

use std::process::ExitCode;

use pack_schemas::names::PublicKey;
use pack_store_client::lock::StateLock;
use pack_store_client::trust::{self, Trust, TrustError, TrustedKeys};
use serde::Serialize;

use crate::changing::{Changing, now};
use crate::context::Context;
use crate::failure::Failure;
use crate::install::own_keys;
use crate::terminal::{iso_time, visible};

/// Arguments of `pack trust`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// Trust a publisher's key: packages that it signed can be installed without a question
    Add {
        /// The key, 64 digits, as its publisher tells it
        fingerprint: PublicKey,
        /// What you call the publisher
        #[arg(long)]
        name: Option<String>,
    },
    /// List the trusted keys
    List {
        /// Print them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Trust a key no more; what it signed and is installed stays
    Remove {
        /// The key
        fingerprint: PublicKey,
    },
}

/// A trusted key as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    fingerprint: PublicKey,
    name: Option<String>,
    own: bool,
    added: Option<u64>,
}

/// Performs the verb.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    match arguments.action {
        Action::Add { fingerprint, name } => {
            let changing = Changing::begin(context, "pack trust add")?;
            let lock: &StateLock = &changing.lock;
            trust::add(lock, &changing.folders, fingerprint, name.as_deref(), now())
                .map_err(|error| failure("the key is not trusted", &error))?;
            context.terminal.say(format!("packages signed by {fingerprint} can be installed from now on"));
        }
        Action::List { json } => list(json, context)?,
        Action::Remove { fingerprint } => {
            let changing = Changing::begin(context, "pack trust remove")?;
            trust::remove(&changing.lock, &changing.folders, fingerprint)
                .map_err(|error| failure("nothing was removed", &error))?;
            context
                .terminal
                .say(format!("{fingerprint} is not trusted any more; what it signed stays installed"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(json: bool, context: &Context) -> Result<(), Failure> {
    let folders = context.xdg()?.folders()?;
    let keys = TrustedKeys::read(&folders, own_keys(context)?)
        .map_err(|error| failure("cannot list the trusted keys", &error))?;
    let rows = rows(&keys);
    if json {
        context.terminal.print_json(&rows);
    } else if rows.is_empty() {
        context.terminal.say("no key is trusted; `pack install` asks about a publisher that is new");
    } else {
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        context.terminal.print_table(&["NAME", "ADDED", "FINGERPRINT"], &cells);
    }
    match keys.unreadable.values().next() {
        Some(error) => Err(failure("not every trusted key can be read", error)),
        None => Ok(()),
    }
}

fn rows(keys: &TrustedKeys) -> Vec<Row> {
    let all = keys.own.iter().chain(keys.added.keys().filter(|key| !keys.own.contains(key)));
    all.map(|key| {
        let added = keys.added.get(key);
        Row {
            fingerprint: *key,
            name: added.and_then(|added| added.name.clone()),
            own: keys.trust(key) == Some(Trust::Own),
            added: added.map(|added| added.added),
        }
    })
    .collect()
}

fn cells(row: &Row) -> Vec<String> {
    let name = match (&row.name, row.own) {
        (_, true) => "(you)".to_owned(),
        (Some(name), false) => visible(name),
        (None, false) => "-".to_owned(),
    };
    vec![name, row.added.map_or("-".to_owned(), iso_time), row.fingerprint.to_string()]
}

fn failure(message: &str, error: &TrustError) -> Failure {
    Failure::new(message).because(error).hint_from(error.hint())
}
