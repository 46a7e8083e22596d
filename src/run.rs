//! `pack run`: to be written.

use std::process::ExitCode;

use crate::context::Context;
use crate::failure::Failure;

/// Arguments of `pack run`.
#[derive(clap::Args)]
pub struct Arguments {}

/// Performs the verb.
pub fn perform(_arguments: Arguments, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::new("not written yet"))
}
