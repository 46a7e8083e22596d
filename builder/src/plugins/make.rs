//! make: `make`, then `make install` with DESTDIR.
//!
//! `make-parameters` are arguments of both.

use pack_schemas::manifest::{Part, Plugin};

use super::{Command, Places, PluginError, Recipe, Tool, tool};

/// make itself.
pub(super) const MAKE: Tool = tool("make", "make");
/// What a source in C or C++ is compiled with.
pub(super) const COMPILERS: &[&str] = &["gcc", "g++", "libc6-dev"];

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    Recipe { tools: vec![MAKE], usual: COMPILERS.to_vec(), build: build(part, places), ..Recipe::default() }
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    let elsewhere = |word: &String| {
        ["-f", "-C", "--file", "--makefile", "--directory"].iter().any(|option| word.starts_with(option))
    };
    if !part.make_parameters.iter().any(elsewhere) {
        places.need(Plugin::Make, &["Makefile", "makefile", "GNUmakefile"])?;
    }
    Ok(commands(places, &part.make_parameters).into())
}

/// The two runs of make.
pub(super) fn commands(places: &Places<'_>, parameters: &[String]) -> [Command; 2] {
    let destination = format!("DESTDIR={}", places.install);
    [
        Command::new("make", [places.jobs()]).with(parameters),
        // Texinfo's list of manuals is not the part's: another one would have a list of its own.
        Command::new("make", [places.jobs(), "install".to_owned(), destination])
            .with(parameters)
            .set("AM_UPDATE_INFO_DIR", "no"),
    ]
}
