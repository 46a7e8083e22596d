//! `pack refresh`: packages that come from stores are brought to what their channels have now.
//!
//! 1. Each store is asked once, and then for the entries of the packages alone that follow it.
//! 2. Revisions that were revoked are marked, so that no launch starts them, whatever becomes of the rest.
//! 3. What is new is downloaded, several packages at once, before any lock is taken.
//! 4. One package after the other is installed, bases first. One that asks for more than before is asked about; where nobody
//!    can be asked it is held back, and told.

use std::collections::BTreeMap;
use std::process::ExitCode;

use pack_schemas::manifest::PackageType;
use pack_schemas::names::{Architecture, Name, PackageName, Revision, Version};
use pack_schemas::state::{HELD_FOREVER, PackageState, Source};
use pack_schemas::store::entry::NoOffer;
use pack_schemas::store::{Channel, PackageEntry};
use pack_store_client::folders::Folders;
use pack_store_client::installed;
use pack_store_client::remote::download::forget;
use pack_store_client::remote::{self, Session, machine};
use serde::Serialize;

use crate::changing::{Changing, now};
use crate::context::Context;
use crate::failure::Failure;
use crate::fetching::{Fetch, fetch};
use crate::install::{Answers, Outcome, install_fetched};
use crate::stores::{self, Offered, ask, chain};
use crate::terminal::{human_size, iso_time, visible};

/// Arguments of `pack refresh`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The packages; all that come from stores, where none is named
    #[arg(value_name = "NAME")]
    names: Vec<PackageName>,
    /// Show what is new, and change nothing
    #[arg(long, conflicts_with_all = ["hold", "unhold", "channel"])]
    list: bool,
    /// With --list: print it as JSON
    #[arg(long, requires = "list")]
    json: bool,
    /// Do not update the packages: for this long (90m, 12h, 30d), or until --unhold
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, conflicts_with_all = ["unhold", "channel"])]
    hold: Option<Option<String>>,
    /// Update the packages again
    #[arg(long, conflicts_with = "channel")]
    unhold: bool,
    /// Follow this channel from now on: TRACK/RISK, TRACK or RISK
    #[arg(long, value_name = "CHANNEL", requires = "names")]
    channel: Option<Channel>,
    /// Answer the questions about permissions with yes
    #[arg(short, long)]
    yes: bool,
}

/// A package that has something new, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    name: PackageName,
    installed: Option<Version>,
    version: Version,
    revision: Revision,
    channel: Channel,
    remote: Name,
    size: u64,
    held_until: Option<u64>,
}

/// What a store has for a package that follows it.
struct Update {
    state: PackageState,
    offered: Offered,
}

/// What was found out.
#[derive(Default)]
struct Findings {
    updates: Vec<Update>,
    /// Bases that updates need and that are not installed.
    bases: Vec<Offered>,
    /// Who has the packages, by remote.
    sources: BTreeMap<Name, Vec<remote::Source>>,
    /// States whose marks of revocation have changed: before and after.
    marked: Vec<(PackageState, PackageState)>,
    failures: usize,
}

/// Performs the verb.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let folders = context.xdg()?.folders()?;
    let states = chosen(&folders, &arguments.names)?;
    if let Some(duration) = &arguments.hold {
        let until = match duration {
            Some(text) => now().saturating_add(seconds_of(text)?),
            None => HELD_FOREVER,
        };
        return hold(context, &states, Some(until));
    }
    if arguments.unhold {
        return hold(context, &states, None);
    }
    let mut findings = look(context, &folders, &arguments, &states)?;
    if arguments.list {
        list(context, &arguments, &findings);
    } else {
        mark(context, &mut findings)?;
        update(context, &arguments, &mut findings)?;
    }
    match findings.failures {
        0 => Ok(ExitCode::SUCCESS),
        _ => Err(Failure::new("not every package could be refreshed").hint("the lines above say why")),
    }
}

/// The installed packages that come from stores; those that are named have to be among them.
fn chosen(folders: &Folders, names: &[PackageName]) -> Result<Vec<PackageState>, Failure> {
    let failed = |error: &installed::StateError| {
        Failure::new("cannot look at the installed packages").because(error).hint_from(error.hint())
    };
    if names.is_empty() {
        let listed = installed::list(folders).map_err(|error| failed(&error))?;
        let states = listed.into_iter().filter_map(|listed| listed.state.ok());
        return Ok(states.filter(|state| state.current.is_some() && state.source.is_some()).collect());
    }
    let mut states = Vec::new();
    for name in names {
        let state = installed::read_installed(folders, name).map_err(|error| failed(&error))?;
        if state.source.is_none() {
            return Err(Failure::new(format!("`{name}` was installed from a file, and follows no store"))
                .hint(format!("`pack install {name}` installs it from a store, if one has it")));
        }
        states.push(state);
    }
    Ok(states)
}

fn hold(context: &Context, states: &[PackageState], until: Option<u64>) -> Result<ExitCode, Failure> {
    let changing = Changing::begin(context, "pack refresh --hold")?;
    for state in states {
        let source = state.source.clone().map(|source| Source { held_until: until, ..source });
        write(&changing, state, &PackageState { source, ..state.clone() })?;
        let name = &state.name;
        context.terminal.say(match until {
            None => format!("{name} is updated again"),
            Some(HELD_FOREVER) => format!("{name} is not updated until `pack refresh --unhold {name}`"),
            Some(until) => format!("{name} is not updated until {}", iso_time(until)),
        });
    }
    Ok(ExitCode::SUCCESS)
}

fn write(changing: &Changing, before: &PackageState, after: &PackageState) -> Result<(), Failure> {
    if before == after {
        return Ok(());
    }
    let bar = indicatif::ProgressBar::hidden();
    changing.change(&bar, |change| change.set_following(before, after)).map_err(|error| {
        Failure::new(format!("the state of `{}` is not changed", before.name))
            .because(&error)
            .hint("run it again")
    })
}

/// `90m`, `12h`, `30d`: in seconds.
fn seconds_of(text: &str) -> Result<u64, Failure> {
    let wrong = || {
        Failure::usage(format!("`{}` is no span of time", visible(text)))
            .hint("write 90m, 12h or 30d, for example")
    };
    let (digits, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let unit = match unit {
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|seconds| *seconds < HELD_FOREVER).ok_or_else(wrong)
}

/// Asks the stores. A store that cannot be asked is told, and the others go on.
fn look(
    context: &Context,
    folders: &Folders,
    arguments: &Arguments,
    states: &[PackageState],
) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let machine = machine::number(folders).map_err(|error| Failure::new("cannot refresh").because(&error))?;
    let mut by_remote: BTreeMap<&Name, Vec<&PackageState>> = BTreeMap::new();
    for state in states {
        if let Some(source) = &state.source {
            by_remote.entry(&source.remote).or_default().push(state);
        }
    }
    for (name, states) in by_remote {
        let spinner = context.terminal.spinner(&format!("Asking {name}"));
        let looked = look_in(context, folders, arguments, &machine, name, &states, &mut findings);
        spinner.finish_and_clear();
        if let Err(error) = looked {
            findings.failures += 1;
            let packages: Vec<&str> = states.iter().map(|state| state.name.as_str()).collect();
            context.terminal.warn(format!(
                "the store `{name}` cannot be asked, so nothing is known of {}: {}",
                packages.join(", "),
                chain(&error)
            ));
        }
    }
    Ok(findings)
}

fn look_in(
    context: &Context,
    folders: &Folders,
    arguments: &Arguments,
    machine: &pack_schemas::names::Hash,
    name: &Name,
    states: &[&PackageState],
    findings: &mut Findings,
) -> Result<(), remote::RemoteError> {
    let remote = remote::find(folders, name)?;
    let source = stores::source(&remote)?;
    let mut session = ask(context, folders, &remote, &source)?;
    for state in states {
        let looked = look_at(context, folders, arguments, machine, state, &mut session, findings);
        if let Err(failure) = looked {
            findings.failures += 1;
            let causes = failure.causes.iter().map(|cause| format!(": {cause}")).collect::<String>();
            context.terminal.warn(format!("`{}`: {}{causes}", state.name, failure.message));
        }
    }
    let sources = session.blob_sources()?;
    findings.sources.insert(name.clone(), sources);
    Ok(())
}

fn look_at(
    context: &Context,
    folders: &Folders,
    arguments: &Arguments,
    machine: &pack_schemas::names::Hash,
    state: &PackageState,
    session: &mut Session<'_>,
    findings: &mut Findings,
) -> Result<(), Failure> {
    let (Some(source), Some(current)) = (&state.source, state.current()) else { return Ok(()) };
    let failed = |error: &dyn std::error::Error| Failure::new("nothing is known of it").because(error);
    let name = &state.name;
    let Some(entry) = session.entry(name).map_err(|error| failed(&error))? else {
        context.terminal.warn(format!("the store `{}` has no `{name}` any more", source.remote));
        return Ok(());
    };
    let marked = with_marks(state, &entry);
    if marked != *state {
        findings.marked.push((state.clone(), marked));
    }
    let channel = arguments.channel.as_ref().unwrap_or(&source.channel).clone();
    let offer = match entry.offer(&channel, Architecture::HOST, machine) {
        Ok(offer) => offer,
        Err(NoOffer::RollingOut { .. }) => return Ok(()),
        Err(error @ NoOffer::Withdrawn { .. }) => {
            context.terminal.warn(format!("`{name}` stays as it is: {error}"));
            return Ok(());
        }
        Err(error) => return Err(failed(&error)),
    };
    let is_named = arguments.names.contains(name);
    let is_current = offer.revision.envelope == current.envelope;
    if is_current && channel != source.channel {
        let source = Some(Source { channel: channel.clone(), ..source.clone() });
        let before = findings.marked.pop_if(|(before, _)| before.name == *name);
        let after = before.map_or_else(|| state.clone(), |(_, after)| after);
        findings.marked.push((state.clone(), PackageState { source, ..after }));
        context.terminal.say(format!("{name} follows {channel} from now on"));
    }
    if is_current || source.reverted_from == Some(offer.revision.envelope) {
        return Ok(());
    }
    if source.is_held(now()) && !is_named && !arguments.list {
        context.terminal.say(format!("{name} has an update, and is held"));
        return Ok(());
    }
    let number = offer.number;
    let offered = Offered { remote: source.remote.clone(), channel, entry, number };
    offered.expect_able()?;
    if let Some(base) = stores::needed_base(folders, session, &offered)?
        && findings.bases.iter().all(|other| other.entry.name != base.entry.name)
    {
        findings.bases.push(base);
    }
    findings.updates.push(Update { state: state.clone(), offered });
    Ok(())
}

/// The state with the marks that the store's entry gives and takes.
fn with_marks(state: &PackageState, entry: &PackageEntry) -> PackageState {
    let mut after = state.clone();
    for installed in &mut after.revisions {
        let same = entry.revisions.values().find(|revision| revision.envelope == installed.envelope);
        if let Some(same) = same {
            installed.revoked = same.revoked.as_ref().map(|withdrawal| withdrawal.reason.clone());
        }
    }
    after
}

fn list(context: &Context, arguments: &Arguments, findings: &Findings) {
    let rows: Vec<Row> = findings.updates.iter().map(row).collect();
    if arguments.json {
        context.terminal.print_json(&rows);
    } else if rows.is_empty() {
        context.terminal.say("everything is up to date");
    } else {
        let cells: Vec<Vec<String>> = rows.iter().map(cells).collect();
        context
            .terminal
            .print_table(&["NAME", "INSTALLED", "NEW", "SIZE", "CHANNEL", "STORE", "NOTES"], &cells);
    }
}

fn row(update: &Update) -> Row {
    let (offered, state) = (&update.offered, &update.state);
    let source = state.source.as_ref();
    Row {
        name: state.name.clone(),
        installed: state.current().map(|current| current.version.clone()),
        version: offered.revision().version.clone(),
        revision: Revision::Store(offered.number.get()),
        channel: offered.channel.clone(),
        remote: offered.remote.clone(),
        size: offered.revision().file.size,
        held_until: source.filter(|source| source.is_held(now())).and_then(|source| source.held_until),
    }
}

fn cells(row: &Row) -> Vec<String> {
    vec![
        row.name.to_string(),
        row.installed.as_ref().map_or("-".to_owned(), Version::to_string),
        row.version.to_string(),
        human_size(row.size),
        row.channel.to_string(),
        row.remote.to_string(),
        if row.held_until.is_some() { "held".to_owned() } else { String::new() },
    ]
}

/// Writes down what was revoked, and what is followed.
fn mark(context: &Context, findings: &mut Findings) -> Result<(), Failure> {
    if findings.marked.is_empty() {
        return Ok(());
    }
    let changing = Changing::begin(context, "pack refresh")?;
    for (before, after) in &findings.marked {
        write(&changing, before, after)?;
        for revision in after.revisions.iter().filter(|revision| Some(revision.revision) == after.current) {
            if let Some(reason) = &revision.revoked {
                context.terminal.warn(format!(
                    "revision {} of `{}` was revoked, and is not started any more: {}",
                    revision.revision,
                    after.name,
                    visible(reason)
                ));
            }
        }
    }
    Ok(())
}

fn update(context: &Context, arguments: &Arguments, findings: &mut Findings) -> Result<(), Failure> {
    let updates = std::mem::take(&mut findings.updates);
    let mut offers: Vec<Offered> = std::mem::take(&mut findings.bases);
    offers.extend(updates.into_iter().map(|update| update.offered));
    if offers.is_empty() {
        if findings.failures == 0 {
            context.terminal.say("everything is up to date");
        }
        return Ok(());
    }
    // What apps stand on comes before them.
    offers.sort_by_key(|offered| offered.revision().package_type != PackageType::Base);
    let cache = stores::downloads(context)?;
    let nobody = Vec::new();
    let sources = |offered: &Offered| findings.sources.get(&offered.remote).unwrap_or(&nobody);
    let fetches: Vec<Fetch> =
        offers.iter().map(|offered| Fetch { offered, sources: sources(offered) }).collect();
    let files = fetch(context, &fetches, &cache);
    drop(fetches);
    let changing = Changing::begin(context, "pack refresh")?;
    let answers = Answers { yes: arguments.yes, is_refresh: true, ..Answers::default() };
    for (offered, file) in offers.iter().zip(files) {
        let name = &offered.entry.name;
        match install_fetched(context, &changing, offered, file, answers) {
            Ok(Outcome::Installed) => forget(offered.revision(), &cache),
            Ok(Outcome::HeldBack(plugs)) => context.terminal.warn(format!(
                "`{name}` is held back: {} asks for more than before ({}); `pack refresh --yes {name}` allows it",
                offered.revision().version,
                plugs.join(", ")
            )),
            Err(failure) => {
                findings.failures += 1;
                context.terminal.report(&failure);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read() {
        for (text, expected) in [("90m", 5400), ("12h", 43_200), ("30d", 2_592_000), ("0d", 0)] {
            assert_eq!(seconds_of(text).unwrap(), expected);
        }
        for bad in ["", "d", "1", "1w", "-1d", "1.5h", "99999999999999999999d", "1\u{e9}", "300000000d"] {
            assert!(seconds_of(bad).is_err(), "{bad}");
        }
    }
}
