//! `pack info` of a package that is not installed: what the stores say of it.

use pack_schemas::names::{Architecture, Hash, Name, PackageName};
use pack_schemas::store::entry::Release;
use pack_schemas::store::{PackageEntry, RemoteFile, StoreRevision};
use pack_store_client::folders::Folders;
use pack_store_client::remote::session::known_entry;
use pack_store_client::remote::{RemoteError, machine};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::stores::{ago, ask, chain, failure, remotes, source};
use crate::terminal::{Terminal, human_size, iso_time, visible};

/// What a store says of a package.
#[derive(Serialize)]
struct Report {
    remote: Name,
    /// When it said so, in seconds since 1970; nothing for just now.
    known: Option<u64>,
    entry: PackageEntry,
}

/// Shows what the stores have of a package; whether any has it.
pub fn show(context: &Context, folders: &Folders, name: &PackageName, json: bool) -> Result<bool, Failure> {
    let mut reports = Vec::new();
    for remote in &remotes(context, folders)? {
        reports.extend(report(context, folders, remote, name)?);
    }
    if json && !reports.is_empty() {
        context.terminal.print_json(&reports);
    } else {
        let machine = machine::number(folders)
            .map_err(|error| Failure::new(format!("cannot tell about `{name}`")).because(&error))?;
        for (at, report) in reports.iter().enumerate() {
            if at > 0 {
                context.terminal.print("");
            }
            print(&context.terminal, report, &machine);
        }
    }
    Ok(!reports.is_empty())
}

fn report(
    context: &Context,
    folders: &Folders,
    remote: &RemoteFile,
    name: &PackageName,
) -> Result<Option<Report>, Failure> {
    let failed = |error: &RemoteError| failure(format!("cannot tell about `{name}`"), error);
    let of = |entry, known| Report { remote: remote.name.clone(), known, entry };
    let error = match asked(context, folders, remote, name) {
        Ok(entry) => return Ok(entry.map(|entry| of(entry, None))),
        Err(error) if error.is_offline() => error,
        Err(error) => return Err(failed(&error)),
    };
    let known = known_entry(folders, remote, name).map_err(|error| failed(&error))?;
    context.terminal.warn(format!("the store `{}` cannot be asked: {}", remote.name, chain(&error)));
    if let Some((_, time)) = &known {
        context.terminal.say(format!("this is what it said {}", ago(*time)));
        return Ok(known.map(|(entry, time)| of(entry, Some(time))));
    }
    // Of a package that was never asked for, the catalog has a line.
    let listing =
        pack_store_client::remote::listing::read(folders, remote).map_err(|error| failed(&error))?;
    let line = listing.as_ref().and_then(|listing| Some((listing.find(name)?, listing.time)));
    if let Some((line, time)) = line {
        let summary = line.about.summary.as_deref().unwrap_or("-");
        context.terminal.say(format!(
            "its catalog had {name} {} ({}) {}: {}",
            line.version,
            human_size(line.size),
            ago(time),
            visible(summary)
        ));
    }
    Ok(None)
}

fn asked(
    context: &Context,
    folders: &Folders,
    remote: &RemoteFile,
    name: &PackageName,
) -> Result<Option<PackageEntry>, RemoteError> {
    let source = source(remote)?;
    ask(context, folders, remote, &source)?.entry(name)
}

fn print(terminal: &Terminal, report: &Report, machine: &Hash) {
    let line = |label: &str, value: &str| terminal.print(format!("{label:<14}{value}"));
    let entry = &report.entry;
    line("name:", entry.name.as_str());
    line("installed:", "no");
    line("store:", report.remote.as_str());
    let offered = entry.offer(&Default::default(), Architecture::HOST, machine).ok();
    let newest = offered.map(|offer| offer.revision).or_else(|| entry.revisions.values().next_back());
    if let Some(StoreRevision { about, .. }) = newest {
        let texts = [
            ("title:", &about.title),
            ("summary:", &about.summary),
            ("license:", &about.license),
            ("website:", &about.website),
        ];
        for (label, text) in texts {
            text.iter().for_each(|text| line(label, &visible(text)));
        }
    }
    for key in &entry.publishers {
        line("publisher:", &format!("{key}, says the store"));
    }
    if let Some(base) = newest.and_then(|revision| revision.base.as_ref()) {
        line("base:", base.as_str());
    }
    let rows: Vec<Vec<String>> = entry.channels.iter().filter_map(|release| row(entry, release)).collect();
    match rows.is_empty() {
        true => line("channels:", "nothing is released"),
        false => {
            terminal.print("channels:");
            terminal
                .print_table(&["CHANNEL", "VERSION", "REVISION", "FOR", "SIZE", "PUBLISHED", "NOTES"], &rows);
        }
    }
}

fn row(entry: &PackageEntry, release: &Release) -> Option<Vec<String>> {
    let revision = entry.revisions.get(&release.revision)?;
    let notes = match (&revision.revoked, &revision.yanked, &release.rollout) {
        (Some(withdrawal), ..) => format!("revoked: {}", visible(&withdrawal.reason)),
        (None, Some(withdrawal), _) => format!("withdrawn: {}", visible(&withdrawal.reason)),
        (None, None, Some(rollout)) => format!("for {} of 100 machines", rollout.percent),
        (None, None, None) => String::new(),
    };
    Some(vec![
        release.channel.to_string(),
        revision.version.to_string(),
        release.revision.to_string(),
        release.architecture.to_string(),
        human_size(revision.file.size),
        iso_time(revision.published),
        notes,
    ])
}
