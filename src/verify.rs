//! `pack verify`: checks a package's signatures, every page of its index, every byte of its image, and that the image
//! can be read. With `--rebuild`, that anybody who builds the project gets the same.

use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::diff::Differences;
use pack_builder::verify::{VerifyError, verify, work};
use pack_schemas::names::{Hash, PublicKey};
use pack_schemas::package::{Envelope, PackageError};
use serde::Serialize;

use crate::context::Context;
use crate::diff;
use crate::failure::Failure;
use crate::package_file::{open, shown};
use crate::rebuild::rebuild;
use crate::terminal::Style;

/// Arguments of `pack verify`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Build the project in this folder anew, and compare what comes of it with the package
    #[arg(long, value_name = "DIR")]
    rebuild: Option<PathBuf>,
    /// Print what was checked as JSON
    #[arg(long)]
    json: bool,
}

/// What was checked, as JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report<'a> {
    name: &'a str,
    version: &'a str,
    envelope_hash: Hash,
    keys: &'a [PublicKey],
    spans: u64,
    entries: u64,
    content_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    rebuild: Option<&'a Differences>,
}

/// Checks the package; fails at the first thing that is not right.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let package = open(&arguments.file)?;
    let bar = context.terminal.bytes_bar("Verifying", work(&package));
    let result = verify(&package, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let verified = result.map_err(|error| failure(&arguments, &error))?;
    let Envelope { name, version, .. } = package.envelope();
    let differences =
        arguments.rebuild.as_ref().map(|folder| rebuild(&package, folder, context)).transpose()?;
    let status = ExitCode::from(u8::from(differences.as_ref().is_some_and(|found| !found.is_empty())));
    if arguments.json {
        context.terminal.print_json(&Report {
            name: name.as_str(),
            version: version.as_str(),
            envelope_hash: verified.envelope_hash,
            keys: &verified.keys,
            spans: verified.spans,
            entries: verified.entries,
            content_bytes: verified.content_bytes,
            rebuild: differences.as_ref(),
        });
        return Ok(status);
    }
    let right = context.terminal.paint(Style::Good, "every byte is as it was signed");
    context.terminal.print(format!("{name} {version}: {right}"));
    for key in &verified.keys {
        context.terminal.print(format!("signed by {key}"));
    }
    match &differences {
        Some(found) if found.is_empty() => {
            let same = context.terminal.paint(Style::Good, "the same, byte by byte");
            context.terminal.print(format!("built anew: {same}"));
        }
        Some(found) => {
            let other = context.terminal.paint(Style::Error, "not the same");
            context.terminal.print(format!("built anew: {other} (the package → what was built)"));
            diff::lines(found, context).iter().for_each(|line| context.terminal.print(line));
        }
        None => {}
    }
    Ok(status)
}

fn failure(arguments: &Arguments, error: &VerifyError) -> Failure {
    let failure = Failure::new(format!("`{}` is not right", shown(&arguments.file))).because(error);
    match error {
        VerifyError::Signature(PackageError::Unsigned) => {
            failure.hint("`pack build --key NAME` makes a signed package")
        }
        VerifyError::Signature(_) | VerifyError::Content(_) => {
            failure.hint("get the package again, from a source that you trust")
        }
        _ => failure,
    }
}
