//! What plugins do, as data: [`recipe`] gives the commands of a part's pull and build steps, and changes nothing.
//!
//! The commands are run one after another in the sandbox of the step, none through a shell: those of [`Recipe::pull`] with the
//! network, in the folder of the source, after that was fetched; those of [`Recipe::build`] without, in the folder that
//! the part is built in.

use std::collections::BTreeMap;

use pack_schemas::manifest::{Part, Plugin};

/// A command of a recipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// The program: a name that is looked up in PATH.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside those that every step has.
    pub environment: BTreeMap<String, String>,
}

/// A program that a plugin needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
}

/// What a plugin does with a part.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recipe {
    /// What it needs.
    pub tools: Vec<Tool>,
    /// Fetches what the build needs from elsewhere, so that it needs no network.
    pub pull: Vec<Command>,
    /// Builds, and installs into the folder of what the part installs.
    pub build: Vec<Command>,
    /// Whether all that is in the build folder is what the part installs.
    pub copies_source: bool,
}

/// Where things are while a step runs: paths as its commands see them.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// The source.
    pub source: &'a str,
    /// What the pull step's commands fetched beside the source; empty before them, read-only when the part is built.
    pub fetched: &'a str,
    /// The folder that the part is built in: a copy of the source, or of its `source-subdir`.
    pub build: &'a str,
    /// What the part installs.
    pub install: &'a str,
    /// What the parts that this one comes after have staged.
    pub stage: &'a str,
    /// How many jobs to run at once.
    pub parallel: usize,
    /// Names of the files and folders at the top of the source (or of its `source-subdir`), in order.
    pub top: &'a [String],
}

/// What the plugin of `part` does. The same input gives the same commands.
pub fn recipe(part: &Part, _places: &Places<'_>) -> Recipe {
    match part.plugin {
        Plugin::Dump => Recipe { copies_source: true, ..Recipe::default() },
        // The others come next.
        _ => Recipe::default(),
    }
}
