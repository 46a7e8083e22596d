//! What plugins do, as data: [`recipe`] gives the commands of a part's pull and build steps, and changes nothing.
//!
//! The commands are run one after another in the sandbox of the step, none through a shell: those of [`Recipe::pull`] with the
//! network, in the folder of the source (of its `source-subdir`), after that was fetched; those of [`Recipe::build`] without, in
//! the folder that the part is built in. Variables that all of a part's commands get, scripts included, are [`environment`]'s;
//! what `build-environment` says comes after them and can use them.
//!
//! What a plugin leaves, for who wants to know what went in (`fetched`, `build` and `install` are the part's folders):
//!
//! | plugin | fetched | where it says what went in |
//! |---|---|---|
//! | rust | `fetched/cargo`: CARGO_HOME | `build/Cargo.lock`, and a `Cargo.lock` in folders of `rust-path` that are workspaces of their own |
//! | go | `fetched/go`: GOMODCACHE | `build/go.mod` and `build/go.sum`, or `build/vendor/modules.txt` where the source has it |
//! | python | `fetched/wheels`: wheels and source archives, those of build requirements too | `install/lib/venv/lib/python3.*/site-packages/*.dist-info/METADATA` |
//! | npm | `fetched/npm`: npm's cache; `fetched/node`: Node.js and its `package.json` | `install/lib/node_modules/NAME/node_modules/.package-lock.json` |
//! | others | nothing | nothing: they fetch nothing |

use std::collections::{BTreeMap, BTreeSet};

use pack_schemas::manifest::{Part, Plugin};
use pack_schemas::text::visible;

mod autotools;
mod cmake;
mod go;
mod make;
mod meson;
mod npm;
mod python;
mod rust;
mod stage;

/// A command of a recipe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Command {
    /// The program: a name that is looked up in PATH, or begins with `./` and is one of the folder that the command runs in.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables beside those that every step has, and over them.
    pub environment: BTreeMap<String, String>,
}

impl Command {
    fn new<A: Into<String>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Command {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Command { program: program.to_owned(), arguments, environment: BTreeMap::new() }
    }

    fn with(mut self, more: &[String]) -> Command {
        self.arguments.extend_from_slice(more);
        self
    }

    fn set(mut self, name: &str, value: &str) -> Command {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// The command as a person would type it, a program of several lines among its arguments left out.
    pub fn typed(&self) -> String {
        let shown = |word: &String| if word.contains('\n') { "…".to_owned() } else { visible(word) };
        let words: Vec<String> = [&self.program].into_iter().chain(&self.arguments).map(shown).collect();
        words.join(" ")
    }
}

/// A program that a plugin needs, and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// The program.
    pub program: &'static str,
    /// The package.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// What a plugin does with a part, or why it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// What it cannot do without.
    pub tools: Vec<Tool>,
    /// Debian packages that most of its sources need too: they are in a root folder that is made for the part, and not asked
    /// for where the part is built with the programs of the machine.
    pub usual: Vec<&'static str>,
    /// Fetches what the build needs from elsewhere, so that it needs no network.
    pub pull: Result<Vec<Command>, PluginError>,
    /// Builds, and installs into the folder of what the part installs.
    pub build: Result<Vec<Command>, PluginError>,
    /// Whether all that is in the build folder is what the part installs.
    pub copies_source: bool,
}

impl Default for Recipe {
    fn default() -> Recipe {
        Recipe {
            tools: Vec::new(),
            usual: Vec::new(),
            pull: Ok(Vec::new()),
            build: Ok(Vec::new()),
            copies_source: false,
        }
    }
}

/// What a source lacks that its plugin cannot do without.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PluginError {
    /// The files that tell the plugin's program what to do.
    #[error("the plugin {} needs a `{}` in the source, and there is none", .plugin.as_str(), .files.join("` or `"))]
    NoProject {
        /// The plugin.
        plugin: Plugin,
        /// Any of these would do.
        files: &'static [&'static str],
    },
    /// The file that says which versions of dependencies are meant.
    #[error("the plugin {} needs a `{}` in the source: without it, every build could get other versions of what it depends on", .plugin.as_str(), .file)]
    NoLock {
        /// The plugin.
        plugin: Plugin,
        /// The file.
        file: &'static str,
        /// What writes it.
        made_by: &'static str,
    },
    /// Nothing that the plugin could build or install.
    #[error(
        "the plugin python has nothing to install: the source has neither `pyproject.toml` nor `setup.py`, and there are no python-packages or python-requirements"
    )]
    NothingToInstall,
    /// Node.js is to go into the package, and there is none for the architecture.
    #[error("npm-include-node: there is no Node.js for this architecture")]
    NoNode,
}

impl PluginError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            PluginError::NoProject { .. } | PluginError::NothingToInstall => {
                "`source-subdir` names the folder of the source that is built; `plugin: nil` with `override-build` builds by a script"
                    .to_owned()
            }
            PluginError::NoLock { made_by, .. } => {
                format!("`{made_by}` makes it; it belongs to the source")
            }
            PluginError::NoNode => "stage Node.js with `stage-packages: [nodejs]`".to_owned(),
        }
    }
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
    /// Debian's name for the architecture's folder of libraries, such as `x86_64-linux-gnu`.
    pub triplet: &'a str,
    /// How many jobs to run at once.
    pub parallel: usize,
    /// Names of the files and folders at the top of the folder that the commands run in, in order.
    pub top: &'a [String],
}

impl Places<'_> {
    fn has(&self, name: &str) -> bool {
        self.top.iter().any(|there| there == name)
    }

    fn need(&self, plugin: Plugin, files: &'static [&'static str]) -> Result<(), PluginError> {
        let there = files.iter().any(|file| self.has(file));
        if there { Ok(()) } else { Err(PluginError::NoProject { plugin, files }) }
    }

    fn need_lock(
        &self,
        plugin: Plugin,
        file: &'static str,
        made_by: &'static str,
    ) -> Result<(), PluginError> {
        if self.has(file) { Ok(()) } else { Err(PluginError::NoLock { plugin, file, made_by }) }
    }

    fn jobs(&self) -> String {
        format!("-j{}", self.parallel)
    }
}

/// What the plugin of `part` does. The same input gives the same commands.
pub fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    match part.plugin {
        Plugin::Dump => Recipe { copies_source: true, ..Recipe::default() },
        Plugin::Nil => Recipe::default(),
        Plugin::Make => make::recipe(part, places),
        Plugin::Autotools => autotools::recipe(part, places),
        Plugin::Cmake => cmake::recipe(part, places),
        Plugin::Meson => meson::recipe(part, places),
        Plugin::Rust => rust::recipe(part, places),
        Plugin::Go => go::recipe(part, places),
        Plugin::Python => python::recipe(part, places),
        Plugin::Npm => npm::recipe(part, places),
    }
}

/// The Debian packages of a root that is made for `part`: those that it names, and what its plugin needs for any source.
pub fn packages(part: &Part) -> BTreeSet<String> {
    // Nothing is there yet, so that everything may be needed.
    let nowhere = Places {
        source: "",
        fetched: "",
        build: "",
        install: "",
        stage: "",
        triplet: "",
        parallel: 1,
        top: &[],
    };
    let Recipe { tools, usual, .. } = recipe(part, &nowhere);
    let of_plugin = tools.iter().map(|tool| tool.package).chain(usual).map(str::to_owned);
    of_plugin.chain(part.build_packages.iter().cloned()).collect()
}

/// Variables of all commands of `part`, its scripts included: where its plugin's programs keep what they fetch, and how
/// compilers find what the parts that it comes after have staged. It looks at no [`Places::top`].
///
/// Values refer to the variables so far as those of `build-environment` do.
pub fn environment(part: &Part, places: &Places<'_>) -> BTreeMap<String, String> {
    let mut variables = if part.after.is_empty() { BTreeMap::new() } else { stage::environment(places) };
    variables.extend(match part.plugin {
        Plugin::Rust => rust::environment(places),
        Plugin::Go => go::environment(places),
        Plugin::Python => python::environment(),
        Plugin::Npm => npm::environment(part, places),
        _ => BTreeMap::new(),
    });
    variables
}

fn variables<const N: usize>(pairs: [(&str, String); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests;
