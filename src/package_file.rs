//! A package that the command line names: a file, or for some verbs one that is installed.

use std::path::Path;
use std::sync::Arc;

use pack_launcher::package::Package;
use pack_schemas::names::PackageName;
use pack_store_client::installed;

use crate::context::Context;
use crate::failure::Failure;
use crate::terminal::visible;

/// Opens the package in a file. Nothing in it is believed yet.
pub fn open(path: &Path) -> Result<Arc<Package>, Failure> {
    match Package::open_path(path) {
        Ok(package) => Ok(Arc::new(package)),
        Err(error) => Err(Failure::new(format!("cannot open `{}`", shown(path))).because(&error)),
    }
}

/// Opens a file, or the current revision of an installed package: a name without `/` is a package's where there is no
/// file of that name.
pub fn open_file_or_installed(target: &Path, context: &Context) -> Result<Arc<Package>, Failure> {
    let name = target.to_str().and_then(|text| text.parse::<PackageName>().ok());
    match name {
        Some(name) if target.symlink_metadata().is_err() => open_installed(&name, context),
        _ => open(target),
    }
}

/// Opens the current revision of an installed package.
pub fn open_installed(name: &PackageName, context: &Context) -> Result<Arc<Package>, Failure> {
    let failed = || Failure::new(format!("cannot open `{name}`"));
    let current = installed::open_current(&context.xdg()?.folders()?, name).map_err(|error| {
        let failure = failed().because(&error);
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure.hint("there is no file of that name either"),
        }
    })?;
    Package::open(current.file).map(Arc::new).map_err(|error| failed().because(&error))
}

/// A path as it is shown.
pub fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy())
}
