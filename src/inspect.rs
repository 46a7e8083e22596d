//! `pack inspect`: what a package holds and asks for, without installing it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use pack_builder::inspect::{Contents, Inspection, SignatureState, contents, inspect};
use pack_launcher::host::landlock_version;
use pack_launcher::package::Package;
use pack_schemas::manifest::{Base, RootFs};
use pack_schemas::names::{Name, Revision};
use pack_schemas::state::Connection;
use serde::Serialize;

use crate::announce;
use crate::content::{self, Consumer};
use crate::context::Context;
use crate::explain::explain;
use crate::failure::Failure;
use crate::package_file::{open_file_or_installed, shown};
use crate::permissions::{Asked, Standing, asked};
use crate::planning::{Wanted, plan, read_facts};
use crate::terminal::{Style, Terminal, human_size, visible};

/// Arguments of `pack inspect`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A package file, or the name of an installed package
    #[arg(value_name = "FILE|NAME")]
    target: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Print what the sandbox of each app is made of, with all of its plugs connected
    #[arg(long, conflicts_with = "json")]
    plan: bool,
}

/// Everything there is to see, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    inspection: &'a Inspection,
    contents: Option<Contents>,
}

/// Shows the package. Fails after that where the image cannot be read.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let package = open_file_or_installed(&arguments.target, context)?;
    if arguments.plan {
        return show_plans(&package, context);
    }
    let inspection = inspect(&package);
    let counted = contents(&package);
    if arguments.json {
        let contents = counted.as_ref().ok().copied();
        context.terminal.print_json(&Report { inspection: &inspection, contents });
    } else {
        show(&inspection, counted.as_ref().ok(), &context.terminal)?;
    }
    match counted {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let what = shown(&arguments.target);
            Err(Failure::new(format!("cannot read what `{what}` holds")).because(&error))
        }
    }
}

fn show(seen: &Inspection, contents: Option<&Contents>, terminal: &Terminal) -> Result<(), Failure> {
    let line = |label: &str, value: &str| terminal.print(format!("{label:<14}{value}"));
    line("name:", seen.name.as_str());
    line("version:", seen.version.as_str());
    for (label, value) in [
        ("title:", &seen.manifest.title),
        ("summary:", &seen.manifest.summary),
        ("license:", &seen.manifest.license),
    ] {
        if let Some(value) = value {
            line(label, &visible(value));
        }
    }
    line("architecture:", seen.architecture.as_str());
    let rootfs = if seen.manifest.rootfs == RootFs::Merged { ", merged with the package" } else { "" };
    line("base:", &format!("{}{rootfs}", String::from(seen.manifest.base.clone())));
    announce::rows(&seen.manifest).iter().for_each(|(label, text)| line(label, text));
    show_signature(seen, terminal);
    line("hash:", &seen.envelope_hash.to_string());
    if let Some(held) = contents {
        line("contents:", &held_text(held));
    }
    let sizes = &seen.sizes;
    line(
        "size:",
        &format!(
            "{} (image {}, index {}, envelope {}, signatures {})",
            human_size(sizes.file),
            human_size(sizes.image),
            human_size(sizes.index),
            human_size(sizes.envelope),
            human_size(sizes.signatures)
        ),
    );
    let image = &seen.image;
    let (encoder, level, block) = (visible(&image.encoder), image.level, image.block_size >> 10);
    line("image:", &format!("{encoder}, level {level}, blocks of {block} KiB"));
    line("index:", &format!("{} spans, {} levels", image.spans, image.index_depth));
    line("times:", &format!("{} seconds after 1970", seen.source_date_epoch));
    show_apps(seen, terminal)
}

fn show_signature(seen: &Inspection, terminal: &Terminal) {
    match &seen.signature {
        SignatureState::Valid { keys } => {
            for key in keys {
                terminal.print(format!("{:<14}{key}", "signed by:"));
            }
        }
        SignatureState::Unsigned => {
            terminal.print(format!("{:<14}{}", "signed by:", terminal.paint(Style::Warning, "nobody")));
        }
        SignatureState::Wrong { key } => {
            let text = format!("the signature in the name of {key} is wrong");
            terminal.print(format!("{:<14}{}", "signed by:", terminal.paint(Style::Error, &text)));
        }
    }
}

fn held_text(held: &Contents) -> String {
    let Contents { files, folders, symbolic_links, others, bytes } = held;
    let others = if *others > 0 { format!(", {others} devices, FIFOs or sockets") } else { String::new() };
    format!(
        "{files} files, {folders} folders, {symbolic_links} symbolic links{others}; {}",
        human_size(*bytes)
    )
}

fn show_apps(seen: &Inspection, terminal: &Terminal) -> Result<(), Failure> {
    let asked = asked(&seen.manifest, None)?;
    for (name, app) in &seen.manifest.apps {
        terminal.print(format!("{:<14}{name}", "app:"));
        terminal.print(format!("  {:<12}{}", "command:", visible(app.command.as_str())));
        let plugs = seen.plugs.get(name).into_iter().flatten();
        let plugs: Vec<(String, &Asked)> = plugs
            .filter_map(|(plug, interface)| {
                let name = if plug == interface { plug.to_string() } else { format!("{plug} ({interface})") };
                Some((name, asked.get(plug)?))
            })
            .collect();
        let names: Vec<&str> = plugs.iter().map(|(name, _)| name.as_str()).collect();
        let listed = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        terminal.print(format!("  {:<12}{listed}", "plugs:"));
        let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
        for (name, asked) in &plugs {
            let aside = if asked.standing == Standing::Question { " (only if you say so)" } else { "" };
            terminal.print(format!("    {name:width$}  {}{aside}", asked.summary()));
        }
    }
    Ok(())
}

/// Tells the plan of each app as it would be here, with everything that it asks for. Nothing is installed for that.
fn show_plans(package: &Arc<Package>, context: &Context) -> Result<ExitCode, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new("cannot read the package").because(error);
    let xdg = context.xdg()?;
    let folders = xdg.folders()?;
    let manifest = &package.envelope().manifest;
    let facts = read_facts(package).map_err(|error| failed(&error))?;
    let base = match &manifest.base {
        Base::Package(base) => {
            let path = PathBuf::from(base.as_str());
            let base = crate::package_file::open_installed(base, context).map_err(|failure| Failure {
                message: format!("the base `{}` is not at hand", shown(&path)),
                ..failure
            })?;
            Some(read_facts(&base).map_err(|error| failed(&error))?)
        }
        Base::Host | Base::None => None,
    };
    let asked = asked(manifest, None)?;
    let connections: BTreeMap<Name, Connection> =
        asked.iter().filter_map(|(name, asked)| Some((name.clone(), asked.connect(false).ok()?))).collect();
    let publishers = package.verify().unwrap_or_default();
    for (number, app) in manifest.apps.keys().enumerate() {
        let consumer = Consumer { manifest, app, connections: &connections, publishers: &publishers };
        let found = content::find(&consumer, &folders, context)?;
        let wanted = Wanted {
            manifest,
            revision: Revision::Local(0),
            connections: &connections,
            package: &facts,
            base: base.as_ref(),
            content: &found.content,
            app,
            shell: false,
            for_people: true,
        };
        if number > 0 {
            context.terminal.print("");
        }
        let plan = plan(&wanted, &xdg, &folders)?;
        explain(&plan, landlock_version()).iter().for_each(|line| context.terminal.print(line));
    }
    Ok(ExitCode::SUCCESS)
}
