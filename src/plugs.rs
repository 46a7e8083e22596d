//! A plug of an installed package, named `PACKAGE:PLUG` on the command line, looked up.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use pack_schemas::names::{Name, NameError, PackageName};
use pack_schemas::state::PackageState;
use pack_schemas::text::nearest;
use pack_store_client::folders::Folders;
use pack_store_client::installed;

use crate::failure::Failure;
use crate::info::open_image;
use crate::permissions::{Asked, asked};

/// Arguments of the verbs that change one plug.
#[derive(clap::Args)]
pub struct Arguments {
    /// The plug
    #[arg(value_name = "PACKAGE:PLUG")]
    pub plug: PlugName,
}

/// `PACKAGE:PLUG`.
#[derive(Debug, Clone)]
pub struct PlugName {
    /// The package.
    pub package: PackageName,
    /// Its plug.
    pub plug: Name,
}

/// Why a text names no plug.
#[derive(Debug, thiserror::Error)]
pub enum PlugNameError {
    /// There is no colon in it.
    #[error("write PACKAGE:PLUG; `pack connections` lists them")]
    NoColon,
    /// The package or the plug cannot have such a name.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl FromStr for PlugName {
    type Err = PlugNameError;

    fn from_str(text: &str) -> Result<PlugName, PlugNameError> {
        let (package, plug) = text.split_once(':').ok_or(PlugNameError::NoColon)?;
        Ok(PlugName { package: package.parse()?, plug: plug.parse()? })
    }
}

impl fmt::Display for PlugName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.package, self.plug)
    }
}

/// The plugs of an installed package's current revision.
///
/// # Errors
/// Where its image cannot be used.
pub fn plugs_of(folders: &Folders, state: &PackageState) -> Result<BTreeMap<Name, Asked>, Failure> {
    asked(&open_image(folders, &state.name)?.envelope().manifest, Some(state))
}

/// Looks a plug up, with the state of its package.
///
/// # Errors
/// Where the package is not installed, or has no such plug.
pub fn find(folders: &Folders, name: &PlugName) -> Result<(PackageState, Asked), Failure> {
    let failed = || Failure::new(format!("cannot find `{name}`"));
    let state = installed::read_installed(folders, &name.package)
        .map_err(|error| failed().because(&error).hint_from(error.hint()))?;
    let mut plugs = plugs_of(folders, &state)?;
    match plugs.remove(&name.plug) {
        Some(asked) => Ok((state, asked)),
        None => Err(no_such_plug(name, plugs.keys().map(Name::as_str).collect())),
    }
}

fn no_such_plug(name: &PlugName, known: Vec<&str>) -> Failure {
    let failure = Failure::new(format!("no app of `{}` has a plug `{}`", name.package, name.plug));
    match nearest(name.plug.as_str(), known.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{}:{near}`?", name.package)),
        None if known.is_empty() => failure.hint("its apps ask for nothing"),
        None => failure.hint(format!("it has {}", known.join(", "))),
    }
}
