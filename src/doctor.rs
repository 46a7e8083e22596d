//! `pack doctor`: tries what this machine lets an ordinary user do, and tells the mend for what it does not.

use std::process::ExitCode;

use pack_launcher::host::abilities::{Ability, Finding, Need, Surroundings, examine};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::Style;

/// Arguments of `pack doctor`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// An ability as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Row<'a> {
    name: &'a str,
    purpose: &'a str,
    required: bool,
    works: bool,
    detail: &'a str,
    mend: Option<&'a str>,
}

/// Tries everything and shows what was found. Fails where something is missing that every app needs.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let abilities = examine(&surroundings());
    if arguments.json {
        context.terminal.print_json(&abilities.iter().map(row).collect::<Vec<_>>());
    } else {
        show(&abilities, context);
    }
    let lacking = abilities.iter().any(|ability| is_lacking(ability) && ability.need == Need::Required);
    Ok(if lacking { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The first ability that every app needs and this machine lacks, as the cause and the hint of a failed launch.
fn first_lack() -> Option<(String, String)> {
    examine(&surroundings()).into_iter().find_map(|ability| match ability {
        Ability { name, need: Need::Required, finding: Finding::Missing { problem, mend }, .. } => {
            Some((format!("{name}: {problem}"), mend))
        }
        _ => None,
    })
}

/// Where this machine lacks something that every app needs, that is the cause.
pub fn name_the_lack(failure: Failure) -> Failure {
    match first_lack() {
        Some((lack, mend)) => {
            let mut failure = failure.hint(format!("{mend}; `pack doctor` shows all that is missing"));
            failure.causes.push(lack);
            failure
        }
        None => failure,
    }
}

fn surroundings() -> Surroundings {
    let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    Surroundings { session_bus: text("DBUS_SESSION_BUS_ADDRESS"), runtime_folder: text("XDG_RUNTIME_DIR") }
}

fn is_lacking(ability: &Ability) -> bool {
    matches!(ability.finding, Finding::Missing { .. })
}

fn row(ability: &Ability) -> Row<'_> {
    let (works, detail, mend) = match &ability.finding {
        Finding::Works(detail) => (true, detail, None),
        Finding::Missing { problem, mend } => (false, problem, Some(mend.as_str())),
    };
    let required = ability.need == Need::Required;
    Row { name: ability.name, purpose: ability.purpose, required, works, detail, mend }
}

fn show(abilities: &[Ability], context: &Context) {
    let terminal = &context.terminal;
    for ability in abilities {
        let name = format!("{:28}", ability.name);
        match &ability.finding {
            Finding::Works(detail) => {
                let mark = terminal.paint(Style::Good, "ok      ");
                let detail = if detail.is_empty() { String::new() } else { format!(" ({detail})") };
                terminal.print(format!("{mark} {name} {}{detail}", ability.purpose));
            }
            Finding::Missing { problem, mend } => {
                let mark = match ability.need {
                    Need::Required => terminal.paint(Style::Error, "missing "),
                    Need::Useful => terminal.paint(Style::Warning, "without "),
                };
                terminal.print(format!("{mark} {name} {}", ability.purpose));
                terminal.print(format!("         {problem}"));
                terminal.print(format!("         mend: {mend}"));
            }
        }
    }
    let lacks = |need| abilities.iter().any(|ability| ability.need == need && is_lacking(ability));
    terminal.print(match (lacks(Need::Required), lacks(Need::Useful)) {
        (true, _) => "\nPackages cannot run here until what is missing is mended.",
        (false, true) => "\nPackages run here; what is marked `without` limits some of them.",
        (false, false) => "\nEverything that packages need works here.",
    });
}
