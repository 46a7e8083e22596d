//! `pack unpack`: extracts a package's files into a new folder, out of which nothing in the package can reach.

use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::unpack::{UnpackError, unpack};
use pack_schemas::package::PackageError;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open, shown};
use crate::terminal::human_size;

/// Arguments of `pack unpack`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The folder to make; it must not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Extract a package that is not signed, or whose signature is wrong
    #[arg(long)]
    dangerous: bool,
}

/// Checks the signature, then extracts, every byte checked against the package's index.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let package = open(&arguments.file)?;
    if !arguments.dangerous {
        package.verify().map_err(|error| not_signed(&arguments, &error))?;
    }
    let progress = context.terminal.spinner("Extracting");
    let result = unpack(&package, &arguments.folder, &mut |bytes| {
        progress.set_message(format!("Extracting {}", human_size(bytes)));
    });
    progress.finish_and_clear();
    let done = result.map_err(|error| failure(&arguments, &error))?;
    let folder = shown(&arguments.folder);
    context.terminal.say(format!(
        "extracted {} entries, {} to {folder}",
        done.entries,
        human_size(done.bytes)
    ));
    Ok(ExitCode::SUCCESS)
}

fn not_signed(arguments: &Arguments, error: &PackageError) -> Failure {
    Failure::new(format!("`{}` is not extracted", shown(&arguments.file)))
        .because(error)
        .hint("`--dangerous` extracts it nevertheless; nobody vouches for what is in it then")
}

fn failure(arguments: &Arguments, error: &UnpackError) -> Failure {
    let failure = Failure::new(format!("cannot extract `{}`", shown(&arguments.file))).because(error);
    match error {
        UnpackError::Exists { .. } => failure.hint("name a folder that does not exist; it will be made"),
        _ => failure,
    }
}
