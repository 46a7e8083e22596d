//! `pack schema`: the JSON Schema of a `pack.yaml`, for editors.

use std::process::ExitCode;

use pack_schemas::manifest::schema;

use crate::context::Context;
use crate::failure::Failure;

/// Prints the schema.
pub fn perform(context: &Context) -> Result<ExitCode, Failure> {
    context.terminal.print_json(&schema::manifest());
    Ok(ExitCode::SUCCESS)
}
