//! `pack disconnect`: takes from a package what one of its plugs gives.

use std::process::ExitCode;

use indicatif::ProgressBar;
use pack_store_client::connect::disconnected;

use crate::changing::Changing;
use crate::context::Context;
use crate::failure::Failure;
use crate::permissions::Standing;
use crate::plugs::{Arguments, find};

/// Disconnects the plug. One that is not connected will not connect by itself any more either.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let name = &arguments.plug;
    let changing = Changing::begin(context, &format!("pack disconnect {name}"))?;
    let (state, asked) = find(&changing.folders, name)?;
    if asked.standing == Standing::Disconnected {
        context.terminal.say(format!("`{name}` is disconnected already"));
        return Ok(ExitCode::SUCCESS);
    }
    let after = disconnected(&state, &name.plug);
    changing
        .change(&ProgressBar::hidden(), |change| change.set_connections(&state, &after))
        .map_err(|error| Failure::new(format!("`{name}` is not disconnected")).because(&error))?;
    context
        .terminal
        .say(format!("`{name}` is disconnected, and stays so when `{}` is updated", name.package));
    context.terminal.say("apps that run already have it until they end");
    Ok(ExitCode::SUCCESS)
}
