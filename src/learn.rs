//! `pack run --learn`: what an app was refused, and which plug would allow it, when it has ended.
//!
//! The table goes to standard error, after what the app said. With `--json` one line goes to standard output instead, the
//! last one there: the app writes to both as ever.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

use pack_launcher::host::{self, HostFacts, Surroundings};
use pack_launcher::interfaces;
use pack_launcher::learn::judge::{Refusal, judge};
use pack_launcher::learn::plugs::{self, Plug};
use pack_launcher::learn::{Record, Wanted, addresses, observes};
use pack_launcher::sandbox::landlock::NESTED_MOUNTS;
use pack_schemas::interface::{Grant, Interface, Side};
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;
use pack_schemas::plan::Plan;
use pack_schemas::state::Connection;
use pack_schemas::text::visible;
use serde::Serialize;
use serde_json::Value;

use crate::context::XdgFolders;
use crate::failure::Failure;
use crate::terminal::Terminal;
use crate::{hint, planning};

/// Rows that are shown for one plug; more are counted.
const ROWS_MOST: usize = 8;

/// The app that was run.
pub struct App<'a> {
    /// The package's manifest.
    pub manifest: &'a Manifest,
    /// The app.
    pub name: &'a Name,
    /// Connected plugs.
    pub connections: &'a BTreeMap<Name, Connection>,
}

/// What came of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    /// What was refused and matters.
    refused: Vec<Row>,
    /// Declared plugs that would allow some of it, once they are connected.
    connect: BTreeSet<Name>,
    /// Plugs that would allow more of it, once they are declared: interface and attributes by the plug's name.
    plugs: BTreeMap<Name, Declaration>,
    /// Plugs that would show files of the system that the app looked for, if it needs them.
    perhaps: BTreeMap<Name, Declaration>,
    /// Refused calls that programs go on without, and how many times each was made.
    harmless: BTreeMap<&'static str, u64>,
    /// More was named than could be looked at.
    incomplete: bool,
    /// The host lets nobody read what its processes name; refused calls are all that is known.
    unreadable: bool,
    /// Why files and addresses that allowed calls named were not looked at, or not to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_looked_at: Option<String>,
}

/// Something that was refused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row {
    what: String,
    times: u64,
    /// The plugs that would allow it, any of them; nothing where there is none.
    plugs: Vec<Name>,
}

/// A plug as a manifest declares it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Declaration {
    interface: Name,
    #[serde(flatten)]
    attributes: BTreeMap<String, Value>,
}

/// What would allow a refusal.
enum Advice {
    /// A plug that the app declares.
    Connect(Name),
    /// A plug that it does not.
    Declare(Plug),
    /// Any of these.
    OneOf(Vec<Plug>),
    /// Nothing that pack has.
    Nothing,
}

/// A run in which it is noticed what the walls refuse.
pub struct Learning {
    /// What is noticed.
    pub record: Record,
    interfaces: Vec<(Name, Interface)>,
    surroundings: Surroundings,
    /// For a line of JSON.
    output: Option<File>,
}

impl Learning {
    /// Prepares a run of `plan`.
    ///
    /// # Errors
    /// Where the home folder has a name that is not UTF-8, or there is no standard output for the JSON.
    pub fn prepare(plan: &mut Plan, xdg: &XdgFolders, json: bool) -> Result<Learning, Failure> {
        let output = json.then(keep_output).transpose().map_err(|error| {
            Failure::new("cannot keep standard output for what is learnt").because(&error)
        })?;
        let surroundings = planning::surroundings(xdg)?;
        let interfaces = plugs::interfaces();
        addresses::tell(plan, &plugs::all_grants(&interfaces), &surroundings.variables);
        Ok(Learning { record: Record::default(), interfaces, surroundings, output })
    }

    /// Tells what was learnt.
    ///
    /// # Errors
    /// Where the host cannot be looked at.
    pub fn tell(self, plan: &Plan, app: &App<'_>, terminal: &Terminal) -> Result<(), Failure> {
        let Learning { record, interfaces, surroundings, output } = self;
        let grants = plugs::all_grants(&interfaces);
        let host = host::gather(surroundings, grants.iter())
            .map_err(|error| Failure::new("cannot judge what was refused").because(&error))?;
        let report = Report::new(&record, plan, &host, &interfaces, app);
        match output {
            Some(mut output) => report.write_json(&mut output),
            None => report.tell(terminal, app),
        }
        Ok(())
    }
}

/// Standard output, kept for a line after the app has ended: a launcher gives its own up.
///
/// # Errors
/// Where it is closed.
fn keep_output() -> io::Result<File> {
    Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
}

impl Report {
    /// Judges a run.
    fn new(
        record: &Record,
        plan: &Plan,
        host: &HostFacts,
        all: &[(Name, Interface)],
        app: &App<'_>,
    ) -> Report {
        let mut report = Report {
            refused: Vec::new(),
            connect: BTreeSet::new(),
            plugs: BTreeMap::new(),
            perhaps: BTreeMap::new(),
            harmless: BTreeMap::new(),
            incomplete: record.overflowed(),
            unreadable: observes(plan) && record.named().next().is_none() && forbids_reading(),
            not_looked_at: not_looked_at(record, plan),
        };
        let declared = declared(app);
        let mut unclear = Vec::new();
        for (refusal, times) in judge(record, plan, host) {
            if let Refusal::SystemCall { call, quiet: true, .. } = refusal {
                report.harmless.insert(call, times);
                continue;
            }
            let what = describe(&refusal);
            match advise(&refusal, &declared, host, all, app) {
                Advice::Connect(plug) => {
                    report.refused.push(Row { what, times, plugs: vec![plug.clone()] });
                    report.connect.insert(plug);
                }
                Advice::Declare(plug) => report.declare(plug, &refusal, host, what, times),
                Advice::OneOf(plugs) => unclear.push((what, times, plugs)),
                Advice::Nothing if !is_passing(&refusal) => {
                    report.refused.push(Row { what, times, plugs: Vec::new() });
                }
                Advice::Nothing => {}
            }
        }
        for (what, times, plugs) in unclear {
            report.settle(what, times, plugs, app);
        }
        report.refused.sort_by(|a, b| (a.plugs.is_empty(), &a.plugs).cmp(&(b.plugs.is_empty(), &b.plugs)));
        report
    }

    fn declare(&mut self, plug: Plug, refusal: &Refusal, host: &HostFacts, what: String, times: u64) {
        let is_of_system =
            matches!(refusal, Refusal::File { path, .. } if !path.starts_with(&host.user.home));
        // A device is listed because it is needed; of files programs look for many, and go on.
        let is_file = plug.attributes.iter().any(|(_, value)| value.starts_with('['));
        if plug.listed && is_of_system && is_file {
            merge(&mut self.perhaps, plug);
            return;
        }
        let name = merge(&mut self.plugs, plug);
        self.refused.push(Row { what, times, plugs: vec![name] });
    }

    /// Of several that would do, one that is needed or connected anyway.
    fn settle(&mut self, what: String, times: u64, plugs: Vec<Plug>, app: &App<'_>) {
        let is_there = |plug: &&Plug| {
            self.plugs.values().any(|declaration| declaration.interface == plug.interface)
                || self.connect.iter().any(|name| app.manifest.interface_of(name) == plug.interface)
                || app.connections.values().any(|connection| connection.interface == plug.interface)
        };
        let names = match plugs.iter().find(is_there) {
            Some(plug) => vec![plug.interface.clone()],
            None => plugs.into_iter().map(|plug| plug.interface).collect(),
        };
        self.refused.push(Row { what, times, plugs: names });
    }

    /// Prints the report.
    fn tell(&self, terminal: &Terminal, app: &App<'_>) {
        self.lines(app).iter().for_each(|line| terminal.tell(line));
    }

    /// Writes the report as one line of JSON.
    fn write_json(&self, output: &mut File) {
        if let Ok(mut line) = serde_json::to_vec(self) {
            line.push(b'\n');
            // A reader that has gone away is no failure.
            let _ = output.write_all(&line);
        }
    }

    fn lines(&self, app: &App<'_>) -> Vec<String> {
        let target = hint::target(app.manifest, app.name);
        let mut lines = Vec::new();
        match self.refused.is_empty() {
            true => lines.push(format!("`{target}` was refused nothing that it needs")),
            false => {
                lines.push(format!("`{target}` was refused:"));
                lines.extend(self.rows());
            }
        }
        if !self.connect.is_empty() {
            lines.push("to connect what it declares:".to_owned());
            lines.extend(
                self.connect.iter().map(|plug| format!("  pack connect {}:{plug}", app.manifest.name)),
            );
        }
        if !self.plugs.is_empty() {
            lines.push(format!("to declare in pack.yaml, under `apps`, `{}`:", app.name));
            // With those that are there already: the line can take the place of the old one.
            let there = app.manifest.apps.get(app.name).map(|app| app.plugs.iter()).into_iter().flatten();
            let all: BTreeSet<&Name> = self.plugs.keys().chain(there).collect();
            lines.push(format!("  plugs: [{}]", join(all)));
            lines.extend(declarations(&self.plugs));
        }
        if !self.perhaps.is_empty() {
            lines.push("files of the system that it looked for; if it needs them:".to_owned());
            lines.extend(declarations(&self.perhaps));
        }
        if !self.harmless.is_empty() {
            let calls = join(self.harmless.keys());
            lines.push(format!("harmless, since programs go on without: {calls}"));
        }
        if let Some(reason) = &self.not_looked_at {
            lines.push(format!("which files and addresses it named was not looked at: {reason}"));
        }
        if self.unreadable {
            lines.push(
                "what files and addresses it named could not be read: kernel.yama.ptrace_scope is 3 here"
                    .to_owned(),
            );
        }
        if self.incomplete {
            lines.push(format!(
                "more than {} files and addresses were named; the rest is not here",
                Record::MOST
            ));
        }
        lines
    }

    /// One line a refusal, the plug in front of its first.
    fn rows(&self) -> Vec<String> {
        let label = |row: &Row| match row.plugs.as_slice() {
            [] => "(no plug)".to_owned(),
            [plug] => plug.to_string(),
            plugs => format!("one of {}", join(plugs)),
        };
        let width =
            self.refused.iter().map(|row| label(row).chars().count()).filter(|width| *width < 30).max();
        let width = width.unwrap_or(0);
        let mut lines = Vec::new();
        let mut last = None;
        let mut count = 0;
        for row in &self.refused {
            let label = label(row);
            let is_new = last.as_ref() != Some(&label);
            count = if is_new { 0 } else { count + 1 };
            if count == ROWS_MOST {
                lines.push(format!("  {:width$}  …", ""));
            }
            if count >= ROWS_MOST {
                continue;
            }
            let times = if row.times == 1 { String::new() } else { format!(" ({} times)", row.times) };
            let shown = if is_new { label.as_str() } else { "" };
            if shown.chars().count() > width {
                lines.push(format!("  {shown}"));
                lines.push(format!("  {:width$}  {}{times}", "", row.what));
            } else {
                lines.push(format!("  {shown:width$}  {}{times}", row.what));
            }
            last = Some(label);
        }
        lines
    }
}

/// Whether the host lets nobody read another process's memory (Yama).
fn forbids_reading() -> bool {
    std::fs::read("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.starts_with(b"3"))
}

fn not_looked_at(record: &Record, plan: &Plan) -> Option<String> {
    if let (false, Some(plug)) = (observes(plan), plan.system_calls.get(NESTED_MOUNTS)) {
        return Some(format!("it makes mounts of its own (plug {plug}), and might never answer"));
    }
    record.gave_up().then(|| "from some time on its memory could not be read".to_owned())
}

fn join<T: ToString>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// The part of a manifest that declares plugs which need more than their interface.
fn declarations(plugs: &BTreeMap<Name, Declaration>) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, Declaration { interface, attributes }) in plugs {
        if attributes.is_empty() && name == interface {
            continue;
        }
        let mut line = format!("    {name}: {{");
        if name != interface {
            let _ = write!(line, "interface: {interface}, ");
        }
        let attributes =
            attributes.iter().map(|(name, value)| format!("{name}: {}", visible(&value.to_string())));
        let _ = write!(line, "{}}}", join(attributes));
        lines.push(line.replace(", }", "}"));
    }
    if !lines.is_empty() {
        lines.insert(0, "  plugs:".to_owned());
    }
    lines
}

/// Adds a plug to others; what it lists is added to what one of its interface lists already. Gives its name.
fn merge(plugs: &mut BTreeMap<Name, Declaration>, plug: Plug) -> Name {
    let attributes: BTreeMap<String, Value> = plug
        .attributes
        .into_iter()
        .filter_map(|(name, value)| Some((name, serde_json::from_str(&value).ok()?)))
        .collect();
    let is_text = |value: Option<&Value>| value.is_some_and(Value::is_string);
    for number in 1.. {
        let name = match number {
            1 => plug.interface.clone(),
            _ => format!("{}-{number}", plug.interface).parse().unwrap_or_else(|_| plug.interface.clone()),
        };
        let Some(there) = plugs.get_mut(&name) else {
            plugs.insert(name.clone(), Declaration { interface: plug.interface, attributes });
            return name;
        };
        // Two devices need two plugs.
        let clashes = plug.listed
            && attributes.iter().any(|(name, value)| {
                is_text(Some(value))
                    && is_text(there.attributes.get(name))
                    && there.attributes[name] != *value
            });
        if clashes && number < 100 {
            continue;
        }
        for (key, value) in attributes {
            match (there.attributes.get_mut(&key), value) {
                (Some(Value::Array(list)), Value::Array(more)) => {
                    list.extend(more.into_iter().filter(|item| !list.contains(item)).collect::<Vec<_>>());
                }
                (_, value) => drop(there.attributes.insert(key, value)),
            }
        }
        return name;
    }
    plug.interface
}

/// The plugs that an app declares and that are not connected, and what they would grant.
fn declared(app: &App<'_>) -> Vec<(Name, Vec<Grant>)> {
    let missing = hint::not_connected(app.manifest, app.name, app.connections);
    let grants = |name: &Name| {
        let attributes = app.manifest.attributes_of(name);
        interfaces::grants(&app.manifest.interface_of(name), Side::Plug, &app.manifest.name, &attributes).ok()
    };
    missing.into_iter().filter_map(|name| Some((name.clone(), grants(name)?))).collect()
}

fn advise(
    refusal: &Refusal,
    declared: &[(Name, Vec<Grant>)],
    host: &HostFacts,
    all: &[(Name, Interface)],
    app: &App<'_>,
) -> Advice {
    if let Some((plug, _)) = declared.iter().find(|(_, grants)| plugs::allow(grants, refusal, host)) {
        return Advice::Connect(plug.clone());
    }
    let mut fitting = plugs::allowing(refusal, all, &app.manifest.name, host);
    match fitting.len() {
        0 => Advice::Nothing,
        1 => Advice::Declare(fitting.remove(0)),
        _ => Advice::OneOf(fitting),
    }
}

/// Whether a refusal says little by itself: programs look for many files, and have places of their own for temporary ones.
fn is_passing(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::File { wanted: Wanted::Look, .. } => true,
        Refusal::File { path, .. } => path.starts_with("/tmp/") || path.starts_with("/var/tmp/"),
        _ => false,
    }
}

fn describe(refusal: &Refusal) -> String {
    let protocol = |tcp: &bool| if *tcp { "TCP" } else { "UDP" };
    match refusal {
        Refusal::SystemCall { call, .. } => format!("the system call {call}"),
        Refusal::File { path, wanted } => {
            let verb = match wanted {
                Wanted::Look => "looking at",
                Wanted::Read => "reading",
                Wanted::Write => "changing",
                Wanted::Connect => "the socket",
            };
            format!("{verb} {}", visible(path))
        }
        Refusal::Abstract(name) => format!("the abstract socket @{}", visible(name)),
        Refusal::Connect { to, tcp } => format!("connecting to {to} ({})", protocol(tcp)),
        Refusal::Bind { at, tcp } => format!("offering {} port {}", protocol(tcp), at.port()),
        Refusal::Bus(bus) => format!("the {} bus", format!("{bus:?}").to_lowercase()),
        Refusal::BusCall(call) => format!("calling {} of {}", visible(&call.method), visible(&call.name)),
    }
}
