//! `pack verify --rebuild`: builds a project anew, and compares what comes of it with a package.
//!
//! 1. The project is copied into a folder of its own, without what earlier builds left: nothing of them can make the two alike.
//! 2. `pack build` is run there, with the time stamp of the package, without a signature.
//! 3. The two packages are compared; the folder is removed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use pack_builder::diff::{Differences, diff};
use pack_builder::sources;
use pack_launcher::package::Package;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::{open, shown};
use crate::project;

/// The name of the package that is built.
const OUTPUT: &str = "rebuilt.pkg";

/// Builds the project in `folder`, and tells what differs from `package`.
pub fn rebuild(package: &Arc<Package>, folder: &Path, context: &Context) -> Result<Differences, Failure> {
    let failed = || Failure::new(format!("cannot build `{}` anew", shown(folder)));
    let project = project::open(folder, context)?;
    let envelope = package.envelope();
    let manifest = project.manifest();
    if manifest.name != envelope.name {
        let problem =
            format!("it is the project of `{}`, and the package is `{}`", manifest.name, envelope.name);
        return Err(failed().hint(problem));
    }
    let cache = context.xdg()?.cache.join("pack");
    let scratch = std::fs::create_dir_all(&cache)
        .and_then(|()| tempfile::Builder::new().prefix("rebuild-").tempdir_in(&cache))
        .map_err(|error| failed().because(&error))?;
    let copy = scratch.path().join("project");
    std::fs::create_dir(&copy).map_err(|error| failed().because(&error))?;
    sources::copy_project(&project, &copy).map_err(|error| failed().because(&error))?;
    let output = scratch.path().join(OUTPUT);
    let program = std::env::current_exe().map_err(|error| failed().because(&error))?;
    let mut command = Command::new(program);
    command.args(["--quiet", "build", "--unsigned"]).arg("-o").arg(&output).arg("--").arg(&copy);
    command.env("SOURCE_DATE_EPOCH", envelope.source_date_epoch.to_string());
    // Errors are told all the same; that it made a package which is removed again is not worth telling.
    let spinner = context.terminal.spinner("Building anew");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    spinner.finish_and_clear();
    let status = status.map_err(|error| failed().because(&error))?;
    if !status.success() {
        return Err(failed().hint("the build's own words stand above"));
    }
    let rebuilt = open(&output)?;
    diff(package, &rebuilt).map_err(|error| failed().because(&error))
}
