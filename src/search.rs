//! `pack search`: packages that stores have.
//!
//! What is searched is the catalog of the last time; where that is older than an hour, the store is asked first. Without a
//! network the last one does, and its age is told.

use std::process::ExitCode;

use pack_schemas::names::Name;
use pack_schemas::store::{CatalogEntry, RemoteFile};
use pack_store_client::folders::Folders;
use pack_store_client::remote::RemoteError;
use pack_store_client::remote::listing::{self, Found, Listing};
use serde::Serialize;

use crate::changing::now;
use crate::context::Context;
use crate::failure::Failure;
use crate::stores::{ago, ask, chain, failure, remotes, source};
use crate::terminal::visible;

/// How old a catalog is searched without asking for a newer one, in seconds.
const FRESH_S: u64 = 3600;

/// Arguments of `pack search`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Words of the name, the title or the summary; all have to be there
    #[arg(required = true)]
    words: Vec<String>,
    /// Ask no store: search what is known
    #[arg(long)]
    offline: bool,
    /// Print what is found as JSON
    #[arg(long)]
    json: bool,
}

/// A package as JSON.
#[derive(Serialize)]
struct Row<'a> {
    remote: &'a Name,
    #[serde(flatten)]
    entry: &'a CatalogEntry,
}

/// Searches.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let folders = context.xdg()?.folders()?;
    let remotes = remotes(context, &folders)?;
    let mut found: Vec<(&Name, Found)> = Vec::new();
    for remote in &remotes {
        let listing = catalog(context, &folders, remote, arguments.offline)?;
        found.extend(listing.search(&arguments.words).into_iter().map(|found| (&remote.name, found)));
    }
    let key = |(remote, found): &(&Name, Found)| (found.rank, found.entry.name.clone(), (*remote).clone());
    found.sort_by_key(key);
    if arguments.json {
        let rows: Vec<Row> =
            found.iter().map(|(remote, found)| Row { remote, entry: &found.entry }).collect();
        context.terminal.print_json(&rows);
    } else if found.is_empty() {
        context.terminal.say("nothing was found");
    } else {
        let rows: Vec<Vec<String>> = found.iter().map(cells).collect();
        context.terminal.print_table(&["NAME", "VERSION", "STORE", "SUMMARY"], &rows);
    }
    Ok(ExitCode::SUCCESS)
}

fn cells((remote, found): &(&Name, Found)) -> Vec<String> {
    let entry = &found.entry;
    let summary = entry.about.summary.as_deref().or(entry.about.title.as_deref()).unwrap_or("-");
    vec![entry.name.to_string(), entry.version.to_string(), remote.to_string(), visible(summary)]
}

/// The catalog of a remote: renewed where it is old and the store can be asked.
pub fn catalog(
    context: &Context,
    folders: &Folders,
    remote: &RemoteFile,
    offline: bool,
) -> Result<Listing, Failure> {
    let failed = |error: &RemoteError| failure(format!("cannot search the store `{}`", remote.name), error);
    let kept = listing::read(folders, remote).map_err(|error| failed(&error))?;
    let kept = match kept {
        Some(kept) if offline => {
            tell_age(context, remote, &kept);
            return Ok(kept);
        }
        Some(kept) if now().saturating_sub(kept.time) < FRESH_S => return Ok(kept),
        kept => kept,
    };
    let renewed = match offline {
        true => Err(RemoteError::NotFetched { name: remote.name.clone() }),
        false => renew(context, folders, remote),
    };
    let unknown = RemoteError::NotFetched { name: remote.name.clone() };
    match (renewed, kept) {
        (Ok(()), _) => {
            let listing = listing::read(folders, remote).map_err(|error| failed(&error))?;
            listing.ok_or_else(|| failed(&unknown))
        }
        (Err(error), Some(kept)) => {
            let text = format!("the store `{}` cannot be asked: {}", remote.name, chain(&error));
            context.terminal.warn(text);
            tell_age(context, remote, &kept);
            Ok(kept)
        }
        (Err(error), None) => Err(failed(&error)),
    }
}

fn tell_age(context: &Context, remote: &RemoteFile, kept: &Listing) {
    let (name, ago) = (&remote.name, ago(kept.time));
    context.terminal.say(format!("this is what the store `{name}` had when it was last asked, {ago}"));
}

fn renew(context: &Context, folders: &Folders, remote: &RemoteFile) -> Result<(), RemoteError> {
    let spinner = context.terminal.spinner(&format!("Asking {}", remote.name));
    let source = source(remote)?;
    let mut session = ask(context, folders, remote, &source)?;
    let sources = session.blob_sources()?;
    let renewed = session.renew_catalog(&sources);
    spinner.finish_and_clear();
    renewed
}
