//! `pack revert`: an earlier revision of a package is the current one again.

use std::process::ExitCode;

use indicatif::ProgressBar;
use pack_schemas::names::{PackageName, Revision};

use crate::changing::{Changing, warn};
use crate::context::Context;
use crate::failure::Failure;

/// Arguments of `pack revert`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package
    name: PackageName,
    /// This revision; the newest before the current one where nothing is said
    #[arg(long)]
    revision: Option<Revision>,
}

/// Goes back. The data is what that revision had when it was left; what all revisions share stays as it is.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let name = &arguments.name;
    let changing = Changing::begin(context, &format!("pack revert {name}"))?;
    let reverted = changing.change(&ProgressBar::hidden(), |change| change.revert(name, arguments.revision));
    let (state, warnings) = reverted.map_err(|error| {
        Failure::new(format!("`{name}` is not reverted")).because(&error).hint_from(error.hint())
    })?;
    for warning in &warnings {
        warn(context, name, warning);
    }
    if let Some(current) = state.current() {
        let (version, revision) = (&current.version, current.revision);
        context
            .terminal
            .say(format!("{name} is {version} (revision {revision}) again, with the data of that time"));
    }
    if state.source.is_some() {
        context.terminal.say(format!(
            "`pack refresh` passes over the revision that was left; `pack install {name}` brings it back"
        ));
    }
    Ok(ExitCode::SUCCESS)
}
