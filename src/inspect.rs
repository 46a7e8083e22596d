//! `pack inspect`: what a package holds and asks for, without installing it.

use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::inspect::{Contents, Inspection, SignatureState, contents, inspect};
use pack_schemas::manifest::RootFs;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open_file_or_installed, shown};
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
    let inspection = inspect(&package);
    let counted = contents(&package);
    if arguments.json {
        let contents = counted.as_ref().ok().copied();
        context.terminal.print_json(&Report { inspection: &inspection, contents });
    } else {
        show(&inspection, counted.as_ref().ok(), &context.terminal);
    }
    match counted {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let what = shown(&arguments.target);
            Err(Failure::new(format!("cannot read what `{what}` holds")).because(&error))
        }
    }
}

fn show(seen: &Inspection, contents: Option<&Contents>, terminal: &Terminal) {
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
    show_apps(seen, terminal);
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

fn show_apps(seen: &Inspection, terminal: &Terminal) {
    for (name, app) in &seen.manifest.apps {
        terminal.print(format!("{:<14}{name}", "app:"));
        terminal.print(format!("  {:<12}{}", "command:", visible(app.command.as_str())));
        let plugs = seen.plugs.get(name).into_iter().flatten();
        let plugs: Vec<String> = plugs
            .map(|(plug, interface)| match plug == interface {
                true => plug.to_string(),
                false => format!("{plug} ({interface})"),
            })
            .collect();
        let asked = if plugs.is_empty() { "none".to_owned() } else { plugs.join(", ") };
        terminal.print(format!("  {:<12}{asked}", "plugs:"));
    }
}
