//! `pack diff`: what two packages differ in. As with diff(1), the exit status is 1 where they do.

use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::diff::{Change, Differences, FileDifference, Kind, diff};
use pack_schemas::text::visible;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open_file_or_installed, shown};
use crate::terminal::{Style, human_size};

/// Characters of a value that are shown.
const VALUE_LENGTH: usize = 60;

/// Arguments of `pack diff`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A package file, or the name of an installed package
    #[arg(value_name = "FIRST")]
    left: PathBuf,
    /// Another
    #[arg(value_name = "SECOND")]
    right: PathBuf,
    /// Print the differences as JSON
    #[arg(long)]
    json: bool,
}

/// Compares what the packages say of themselves, and every file in them.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let (left, right) = (
        open_file_or_installed(&arguments.left, context)?,
        open_file_or_installed(&arguments.right, context)?,
    );
    let spinner = context.terminal.spinner("Comparing");
    let compared = diff(&left, &right);
    spinner.finish_and_clear();
    let differences = compared.map_err(|error| {
        let (left, right) = (shown(&arguments.left), shown(&arguments.right));
        Failure::new(format!("cannot compare `{left}` with `{right}`")).because(&error)
    })?;
    if arguments.json {
        context.terminal.print_json(&differences);
    } else {
        lines(&differences, context).iter().for_each(|line| context.terminal.print(line));
    }
    Ok(ExitCode::from(u8::from(!differences.is_empty())))
}

/// The differences for people, nothing where there is none.
pub fn lines(differences: &Differences, context: &Context) -> Vec<String> {
    let mut lines: Vec<String> = differences
        .envelope
        .iter()
        .map(|(path, values)| {
            let (left, right) = (value(values.left.as_ref()), value(values.right.as_ref()));
            format!("{}: {left} → {right}", visible(path))
        })
        .collect();
    lines.extend(differences.files.iter().map(|difference| file(difference, context)));
    if !differences.same_image && differences.files.is_empty() {
        lines.push("all files are the same; the images hold them in other bytes".to_owned());
    }
    lines
}

fn value(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = visible(&value.to_string());
    match text.char_indices().nth(VALUE_LENGTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn file(difference: &FileDifference, context: &Context) -> String {
    let FileDifference { path, change } = difference;
    let path = match path.is_empty() {
        true => "the root folder".to_owned(),
        false => visible(&String::from_utf8_lossy(path)),
    };
    let (style, sign, words) = match change {
        Change::Removed { kind, size } => (Style::Error, '-', what(*kind, *size)),
        Change::Added { kind, size } => (Style::Good, '+', what(*kind, *size)),
        Change::Kind { left, right } => (Style::Warning, '~', format!("{} → {}", word(*left), word(*right))),
        Change::Mode { left, right } => (Style::Warning, '~', format!("mode {left:o} → {right:o}")),
        Change::Target { left, right } => {
            (Style::Warning, '~', format!("leads to {} → {}", visible(left), visible(right)))
        }
        Change::Content { left, right, at } if left == right => {
            (Style::Warning, '~', format!("content, from byte {at} on"))
        }
        Change::Content { left, right, at } => {
            (Style::Warning, '~', format!("content, {left} → {right} bytes, from byte {at} on"))
        }
        Change::Names { left, right } => {
            (Style::Warning, '~', format!("{left} → {right} names (hard links)"))
        }
    };
    format!("{} {path}: {words}", context.terminal.paint(style, &sign.to_string()))
}

fn what(kind: Kind, size: u64) -> String {
    match kind {
        Kind::File => format!("file, {}", human_size(size)),
        _ => word(kind).to_owned(),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "file",
        Kind::Folder => "folder",
        Kind::Symlink => "symbolic link",
        Kind::Other => "device node, FIFO or socket",
    }
}
