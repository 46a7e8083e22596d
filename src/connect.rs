//! `pack connect`: gives a package what one of its plugs asks for.

use std::process::ExitCode;

use indicatif::ProgressBar;
use pack_store_client::connect::connected;

use crate::changing::Changing;
use crate::context::Context;
use crate::failure::Failure;
use crate::permissions::Standing;
use crate::plugs::{Arguments, find};

/// Connects the plug.
pub fn perform(arguments: Arguments, context: &Context) -> Result<ExitCode, Failure> {
    let name = &arguments.plug;
    let changing = Changing::begin(context, &format!("pack connect {name}"))?;
    let (state, asked) = find(&changing.folders, name)?;
    match asked.standing {
        Standing::Connected => {
            context.terminal.say(format!("`{name}` is connected already"));
            return Ok(ExitCode::SUCCESS);
        }
        Standing::Unknown => {
            return Err(Failure::new(format!("this pack has no interface `{}`", asked.interface))
                .hint("`pack interfaces` lists those that it has"));
        }
        Standing::Unusable
        | Standing::Automatic
        | Standing::Question
        | Standing::Changed
        | Standing::Disconnected => {}
    }
    let connection = asked
        .connect(true)
        .map_err(|failure| Failure { message: format!("`{name}` cannot be connected"), ..failure })?;
    let after = connected(&state, &name.plug, connection);
    changing
        .change(&ProgressBar::hidden(), |change| change.set_connections(&state, &after))
        .map_err(|error| Failure::new(format!("`{name}` is not connected")).because(&error))?;
    context.terminal.say(format!("`{name}` is connected: it {}", asked.summary()));
    context.terminal.say("apps that run already have it when they are started again");
    Ok(ExitCode::SUCCESS)
}
