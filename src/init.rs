//! `pack init`: the first `pack.yaml` of a project, from what its files say or from a `snapcraft.yaml`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pack_builder::init::{self, Suggestion, snapcraft};
use pack_builder::project::MANIFEST_FILE;
use pack_schemas::manifest::{Manifest, ManifestError, tree::SIZE_LIMIT};
use pack_schemas::names::PackageName;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::shown;
use crate::project::manifest_failure;
use crate::terminal::visible;

/// Arguments of `pack init`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The project's folder
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Translate this snapcraft.yaml
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "summary"])]
    from: Option<PathBuf>,
    /// The package's name; asked for on a terminal
    #[arg(long)]
    name: Option<PackageName>,
    /// What it is, in one line; asked for on a terminal
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
}

/// Writes the manifest.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let folder = &arguments.folder;
    if !folder.is_dir() {
        return Err(Failure::new(format!("there is no folder `{}`", shown(folder))));
    }
    let here = folder == Path::new(".");
    let path = if here { PathBuf::from(MANIFEST_FILE) } else { folder.join(MANIFEST_FILE) };
    if path.symlink_metadata().is_ok() {
        return Err(is_there(&path));
    }
    let (text, mut to_do) = match &arguments.from {
        Some(file) => (translate(file, context)?, Vec::new()),
        None => suggest(&arguments, context)?,
    };
    init::create(folder, &text).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => is_there(&path),
        _ => Failure::new(format!("cannot write `{}`", shown(&path))).because(&error),
    })?;
    context.terminal.say(format!("wrote `{}`", shown(&path)));
    let manifest = match Manifest::from_yaml(text.as_bytes()) {
        Ok(manifest) => manifest,
        Err(error) => {
            // Its place as `pack build` shows it.
            let path = path.canonicalize().unwrap_or(path);
            return Err(manifest_failure(&path, text.as_bytes(), &error, context));
        }
    };
    if manifest.summary.is_none_or(|summary| summary.starts_with("TODO")) {
        to_do.insert(0, format!("write the summary, in `{}`", shown(&path)));
    }
    to_do.iter().for_each(|line| context.terminal.say(format!("to do: {line}")));
    let what = if here { String::new() } else { format!(" {}", shown(folder)) };
    context.terminal.say(format!("look it over, then: pack build{what}"));
    Ok(ExitCode::SUCCESS)
}

fn is_there(path: &Path) -> Failure {
    Failure::new(format!("there is a `{}` already, and it stays as it is", shown(path)))
        .hint("`pack build` builds with it; move it elsewhere to begin anew")
}

/// What the project's files say, with the answers of a person; and what is still to be done.
fn suggest(arguments: &Arguments, context: &Context) -> Result<(String, Vec<String>), Failure> {
    let mut found = Suggestion::of(&arguments.folder);
    match found.mark {
        Some(mark) => context.terminal.say(format!("{mark} tells what kind of project it is")),
        None => context
            .terminal
            .say("no kind of project that is known: the package gets the files of a folder `files`"),
    }
    let name = found.package_name();
    let name = match &arguments.name {
        Some(name) => name.clone(),
        None if context.terminal.can_ask() => ask_name(&name, context)?,
        None => name,
    };
    found.name = Some(name.to_string());
    if let Some(summary) = &arguments.summary {
        found.summary = Some(summary.clone());
        if found.package_summary().as_deref() != Some(summary) {
            return Err(Failure::usage(
                "the summary is no line of 1 to 78 characters, without a dot at its end",
            ));
        }
    } else if context.terminal.can_ask() {
        let offered = found.package_summary();
        let answer = context.terminal.ask_line("summary, in one line", offered.as_deref().unwrap_or(""))?;
        found.summary = Some(answer).filter(|answer| !answer.is_empty());
    }
    Ok((found.text(), found.to_do(&arguments.folder)))
}

/// Asks until the answer is a name; what is offered is one.
fn ask_name(offered: &PackageName, context: &Context) -> Result<PackageName, Failure> {
    loop {
        match context.terminal.ask_line("name of the package", offered.as_str())?.parse() {
            Ok(name) => return Ok(name),
            Err(error) => context.terminal.warn(format!("{error}")),
        }
    }
}

/// The translation of a snapcraft.yaml; what was not carried over is told.
fn translate(file: &Path, context: &Context) -> Result<String, Failure> {
    let name = shown(file);
    let failed = |error: &io::Error| Failure::new(format!("cannot read `{name}`")).because(error);
    let metadata = file.metadata().map_err(|error| failed(&error))?;
    if !metadata.is_file() {
        return Err(Failure::new(format!("`{name}` is no regular file")));
    }
    let mut text = Vec::new();
    let opened = File::open(file).map_err(|error| failed(&error))?;
    // One byte more, so that what is too long is told as such.
    opened.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut text).map_err(|error| failed(&error))?;
    let refused = |error: ManifestError| manifest_failure(file, &text, &error, context);
    let made = snapcraft::translate(&text, &name).map_err(refused)?;
    if !made.notes.is_empty() {
        context.terminal.say("not carried over, or not as it was (it stands at the head of the file, too):");
    }
    for note in &made.notes {
        context.terminal.say(format!(
            "  {name}:{}: {}: {}",
            note.line,
            visible(&note.key),
            visible(&note.instead)
        ));
    }
    Ok(made.text)
}
