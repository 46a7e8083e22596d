//! `pack remove`: an installed package goes; its data stays, unless it is purged.

use std::process::ExitCode;

use indicatif::ProgressBar;
use pack_launcher::keeper::Place;
use pack_schemas::names::PackageName;
use pack_schemas::state::PackageState;
use pack_store_client::TreeSize;
use pack_store_client::installed::{StateError, read_state};
use pack_store_client::remove::{RemovalPlan, RemoveError, plan};

use crate::changing::Changing;
use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::human_size;

/// Arguments of `pack remove`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The package
    name: PackageName,
    /// Delete its data as well
    #[arg(long)]
    purge: bool,
    /// Do not ask before data is deleted
    #[arg(short, long)]
    yes: bool,
}

/// Removes the package.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let name = &arguments.name;
    let changing = Changing::begin(context, &format!("pack remove {name}"))?;
    let plan = match plan(&changing.folders, name, arguments.purge) {
        Ok(plan) => plan,
        // An earlier run had begun it, and this one has completed it.
        Err(error) if is_gone(&error) && changing.mended.contains(name) => return Ok(ExitCode::SUCCESS),
        Err(error) => return Err(failure(name, &error)),
    };
    tell(context, &plan);
    confirm(context, &arguments, &plan)?;
    let installed = read_state(&changing.folders, name).ok().flatten();
    changing
        .change(&ProgressBar::hidden(), |change| change.remove(&plan))
        .map_err(|error| failure(name, &error))?;
    release_mounts(context, installed.as_ref());
    context.terminal.say(format!("removed {name}"));
    Ok(ExitCode::SUCCESS)
}

/// Mounts of the package that nobody uses end now, and give its disk space free; those of running apps end with the apps.
fn release_mounts(context: &Context, installed: Option<&PackageState>) {
    let place = context.xdg().ok().and_then(|xdg| Place::open(&xdg.keepers()).ok());
    let (Some(place), Some(installed)) = (place, installed) else { return };
    for revision in &installed.revisions {
        // Where it fails, they end by themselves a minute later.
        let _ = place.release(&revision.envelope);
    }
}

fn is_gone(error: &RemoveError) -> bool {
    matches!(error, RemoveError::OnlyData { .. } | RemoveError::State(StateError::NotInstalled { .. }))
}

/// Says who goes without it, and what happens to the data.
fn tell(context: &Context, plan: &RemovalPlan) {
    for consumer in &plan.shown_to {
        context
            .terminal
            .say(format!("{consumer} uses content of {}, and goes without from its next start", plan.name));
    }
    for (what, size) in [("deletes", &plan.data_removed), ("keeps", &plan.data_kept)] {
        if size.files > 0 {
            context.terminal.say(format!("{what} data of {}: {}", plan.name, size_text(size)));
        }
    }
    if plan.data_kept.files > 0 {
        context.terminal.say(format!(
            "it is there again when {} of the same publisher is installed; `pack remove --purge {}` deletes it",
            plan.name, plan.name
        ));
    }
}

/// Files that are deleted are asked about; where nobody can be asked, `--yes` has to be there.
fn confirm(context: &Context, arguments: &Arguments, plan: &RemovalPlan) -> Result<(), Failure> {
    if plan.data_removed.files == 0 || arguments.yes {
        return Ok(());
    }
    if !context.terminal.can_ask() {
        return Err(Failure::new(format!(
            "removing `{}` would delete data: {}",
            plan.name,
            size_text(&plan.data_removed)
        ))
        .hint("`--yes` deletes it without a question"));
    }
    match context.terminal.ask("Delete it?") {
        true => Ok(()),
        false => Err(Failure::new("nothing was removed")),
    }
}

/// A size for people: `3 files, 12.0 kB`.
pub fn size_text(size: &TreeSize) -> String {
    let files = if size.files == 1 { "1 file".to_owned() } else { format!("{} files", size.files) };
    let least = if size.is_complete { "" } else { "at least " };
    format!("{least}{files}, {}", human_size(size.bytes))
}

fn failure(name: &PackageName, error: &RemoveError) -> Failure {
    Failure::new(format!("`{name}` is not removed")).because(error).hint_from(error.hint())
}
