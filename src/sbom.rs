//! `pack sbom`: what a package is made of, as the document of SPDX 2.3 that it carries, word for word.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use pack_builder::sbom;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open_file_or_installed, shown};
use crate::package_reader;

/// Longest document that is shown, in bytes.
const LIMIT: u64 = 256 << 20;

/// Arguments of `pack sbom`.
#[derive(clap::Args)]
pub struct Arguments {
    /// A package file, or the name of an installed package
    #[arg(value_name = "FILE|NAME")]
    target: PathBuf,
}

/// Prints the document; the bytes of it are checked against the package's index.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let text = document(&arguments.target, sbom::PATH, context)?;
    context.terminal.print(text);
    Ok(ExitCode::SUCCESS)
}

/// A document that a package carries.
pub fn document(target: &Path, path: &str, context: &Context) -> Result<String, Failure> {
    let failed = || Failure::new(format!("cannot read `{path}` of `{}`", shown(target)));
    let package = open_file_or_installed(target, context)?;
    let opened = package_reader::opened(package);
    let bytes = opened.and_then(|opened| opened.files.read(path, LIMIT));
    let bytes = bytes.map_err(|error| failed().because(&*error))?;
    // A package may be anybody's: what it carries there can be anything.
    serde_json::from_slice::<serde_json::Value>(&bytes).map_err(|error| failed().because(&error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
