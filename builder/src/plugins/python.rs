//! python: pip downloads, then installs into a virtual environment at `lib/venv`, with links to its programs in `bin`.
//!
//! Installed are `python-packages`, what `python-requirements` name, and the source itself where it has a `pyproject.toml` or
//! `setup.py`; `python-constraints` hold for all. What there is no wheel of is downloaded as source, and built in the build
//! step; to learn what such a source, or the part's own, depends on, pip runs its build program in the pull step.
//!
//! The environment is made for `/app`: the first line of programs names `/app/lib/venv/bin/python3`, which leads to the
//! package's own `usr/bin/python3` where one is staged, by this part or one that it comes after, and else to the base's. So
//! programs of the environment find its modules, and their own interpreter, whatever the base and without a variable.

use std::collections::BTreeMap;

use pack_schemas::manifest::Part;

use super::{Command, Places, PluginError, Recipe, tool, variables};

const PULL: &str = include_str!("python/pull.py");
const INSTALL: &str = include_str!("python/install.py");

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    Recipe {
        tools: vec![tool("python3", "python3"), tool("pip3", "python3-pip")],
        usual: vec!["gcc", "libc6-dev", "python3-dev", "pkg-config", "ca-certificates"],
        pull: pull(part, places),
        build: build(part, places),
        ..Recipe::default()
    }
}

/// Modules of the person who builds are none of the build's, and what order sets are in goes into compiled modules.
pub(super) fn environment() -> BTreeMap<String, String> {
    variables([("PYTHONNOUSERSITE", "1".to_owned()), ("PYTHONHASHSEED", "0".to_owned())])
}

fn pull(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    let project = project(part, places)?;
    let pull = Command::new("python3", ["-c", PULL, &wheels(places), project]);
    Ok(vec![pull.with(&requirements(part))])
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    let project = project(part, places)?;
    let folders = [&wheels(places), places.install, places.stage, project];
    Ok(vec![Command::new("python3", ["-c", INSTALL].into_iter().chain(folders)).with(&requirements(part))])
}

fn wheels(places: &Places<'_>) -> String {
    format!("{}/wheels", places.fetched)
}

/// `project` where the source itself is installed.
fn project(part: &Part, places: &Places<'_>) -> Result<&'static str, PluginError> {
    let is_project = places.has("pyproject.toml") || places.has("setup.py");
    match is_project {
        true => Ok("project"),
        false if part.python_packages.is_empty() && part.python_requirements.is_empty() => {
            Err(PluginError::NothingToInstall)
        }
        false => Ok(""),
    }
}

/// How many of the arguments that follow are constraints, these, and then what is to be installed; in pip's words.
fn requirements(part: &Part) -> Vec<String> {
    let files = |option: &str, files: &[pack_schemas::manifest::RelativePath]| -> Vec<String> {
        files.iter().flat_map(|file| [option.to_owned(), file.as_str().to_owned()]).collect()
    };
    let constraints = files("--constraint", &part.python_constraints);
    let requirements = files("--requirement", &part.python_requirements);
    let number = constraints.len().to_string();
    [vec![number], constraints, requirements, part.python_packages.clone()].concat()
}
