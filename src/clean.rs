//! `pack clean`: removes what builds left in a project folder, or with `--roots` what they keep for all projects of the Debian packages
//! that they are made with. The packages that they made stay.

use std::path::PathBuf;
use std::process::ExitCode;

use pack_builder::debian::roots::Roots;
use pack_builder::project::Project;
use pack_schemas::names::Name;
use pack_schemas::text::nearest;

use crate::build::ROOTS;
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
    /// Remove the roots that were made of build-packages, for whatever project, and nothing else
    #[arg(long, conflicts_with_all = ["part", "folder"])]
    roots: bool,
}

/// Removes the work folders.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    if arguments.roots {
        return remove_roots(context);
    }
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

/// Removes the roots of build-packages: builds make them anew.
fn remove_roots(context: &Context) -> Result<ExitCode, Failure> {
    let folder = context.xdg()?.cache.join(ROOTS);
    let there =
        if folder.exists() { Roots::open(&folder).and_then(|roots| roots.remove_all()) } else { Ok(0) };
    let removed = there.map_err(|error| Failure::new("cannot remove the roots of builds").because(&error))?;
    context.terminal.say(match removed {
        0 => "there was no root to remove".to_owned(),
        1 => format!("removed 1 root from `{}`", shown(&folder)),
        number => format!("removed {number} roots from `{}`", shown(&folder)),
    });
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
