//! `pack clean`: removes what builds left in a project folder. The packages that they made stay.

use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::project::Project;
use pack_schemas::names::Name;
use pack_schemas::text::nearest;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::shown;
use crate::project;

/// Arguments of `pack clean`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Remove only what was made of this part, and what the parts share
    part: Option<Name>,
    /// The project's folder
    #[arg(short = 'C', long = "directory", value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// Removes the work folders.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let (work, removed) = match &arguments.part {
        None => {
            // What is wrong in a manifest hinders nobody from cleaning.
            let work = project::work_folders(&arguments.folder)?;
            let removed = work.clean();
            (work, removed)
        }
        Some(part) => {
            let project = project::open(&arguments.folder, context)?;
            check_part(part, &project)?;
            (project.work(), project.work().clean_part(part))
        }
    };
    match removed.map_err(|error| project::failure(&error))? {
        true => context.terminal.say(format!("cleaned `{}`", shown(work.root()))),
        false => context.terminal.say("there was nothing to clean"),
    }
    Ok(ExitCode::SUCCESS)
}

fn check_part(part: &Name, project: &Project) -> Result<(), Failure> {
    let parts = &project.manifest().parts;
    if parts.contains_key(part) {
        return Ok(());
    }
    let near = nearest(part.as_str(), parts.keys().map(Name::as_str));
    let failure = Failure::new(format!("the project has no part `{part}`"));
    Err(failure.hint_from(near.map(|near| format!("did you mean `{near}`?"))))
}
