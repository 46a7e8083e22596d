//! `pack interfaces`: what plugs can ask for.

use std::collections::BTreeMap;
use std::process::ExitCode;

use pack_launcher::interfaces;
use pack_schemas::interface::{Attribute, Interface};
use pack_schemas::names::Name;
use pack_schemas::text::nearest;

use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Arguments of `pack interfaces`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Tell all about this one
    name: Option<Name>,
    /// Print definitions as JSON
    #[arg(long)]
    json: bool,
}

/// Lists the interfaces, or tells all about one.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let terminal = &context.terminal;
    match &arguments.name {
        Some(name) => {
            let interface = definition(name)?.ok_or_else(|| unknown(name))?;
            if arguments.json {
                terminal.print_json(&interface);
            } else {
                tell(terminal, name, &interface);
            }
        }
        None => {
            let all = all()?;
            if arguments.json {
                terminal.print_json(&all);
            } else {
                terminal.print_table(&["INTERFACE", "CONNECTS", "WHAT IT GIVES"], &rows(&all));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn definition(name: &Name) -> Result<Option<Interface>, Failure> {
    interfaces::find(name).map_err(|error| Failure::new("pack itself is damaged").because(&error))
}

fn all() -> Result<BTreeMap<Name, Interface>, Failure> {
    let mut all = BTreeMap::new();
    for name in interfaces::names().filter_map(|name| name.parse::<Name>().ok()) {
        if let Some(interface) = definition(&name)? {
            all.insert(name, interface);
        }
    }
    Ok(all)
}

fn rows(all: &BTreeMap<Name, Interface>) -> Vec<Vec<String>> {
    let row = |(name, interface): (&Name, &Interface)| {
        let connects = if interface.auto_connect { "by itself" } else { "if you say so" };
        vec![name.to_string(), connects.to_owned(), interface.summary.trim_end().to_owned()]
    };
    all.iter().map(row).collect()
}

fn tell(terminal: &Terminal, name: &Name, interface: &Interface) {
    terminal.print(format!("{name}: an app with it {}", interface.summary.trim_end()));
    let connects = if interface.auto_connect { "by itself" } else { "only if you say so" };
    terminal.print(format!("\nConnects {connects}. {}", joined(&interface.reason)));
    terminal.print(format!("\nWhat remains exposed: {}", joined(&interface.exposes)));
    tell_attributes(terminal, &interface.attributes);
    if let Some(slot) = &interface.slot {
        terminal.print(format!("\nUnder `slots`: it {}", slot.summary.trim_end()));
        tell_attributes(terminal, &slot.attributes);
    }
}

fn tell_attributes(terminal: &Terminal, attributes: &BTreeMap<String, Attribute>) {
    for (attribute, meaning) in attributes {
        terminal.print(format!("\nAttribute `{attribute}`: {}", joined(&meaning.summary)));
    }
}

/// A text that is broken into lines in its file, in one.
fn joined(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn unknown(name: &Name) -> Failure {
    let failure = Failure::new(format!("this pack has no interface `{name}`"));
    match nearest(name.as_str(), interfaces::names()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint("`pack interfaces` lists those that it has"),
    }
}
