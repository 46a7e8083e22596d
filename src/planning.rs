//! The plan of a launch: what the command knows of the host and of what is installed, put together for the planner.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use pack_launcher::host::{self, Surroundings};
use pack_launcher::image::{CacheSize, CheckedSource, ImageError, Reader};
use pack_launcher::package::Package;
use pack_launcher::plan::content::Provided;
use pack_launcher::plan::{self, PlanError, Request};
use pack_schemas::facts::ImageFacts;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Name, Revision};
use pack_schemas::plan::Plan;
use pack_schemas::state::Connection;
use pack_schemas::text::nearest;
use pack_store_client::folders::Folders;

use crate::context::XdgFolders;
use crate::failure::Failure;

/// What is to be planned.
pub struct Wanted<'a> {
    /// The manifest in the package's envelope.
    pub manifest: &'a Manifest,
    /// The revision.
    pub revision: Revision,
    /// The connections that count.
    pub connections: &'a BTreeMap<Name, Connection>,
    /// What the package's image holds at its top.
    pub package: &'a ImageFacts,
    /// What the base's image holds at its top.
    pub base: Option<&'a ImageFacts>,
    /// What was found for its content plugs.
    pub content: &'a [Provided],
    /// The app.
    pub app: &'a Name,
    /// A shell instead of the app.
    pub shell: bool,
    /// The plan is for a person to read.
    pub for_people: bool,
}

/// Makes the plan.
///
/// # Errors
/// Where the package has no such app, or its root folder cannot be made.
pub fn plan(wanted: &Wanted<'_>, xdg: &XdgFolders, folders: &Folders) -> Result<Plan, Failure> {
    let Wanted { manifest, app, .. } = wanted;
    let failed = |error: &dyn std::error::Error| {
        Failure::new(format!("cannot plan the launch of `{}.{app}`", manifest.name)).because(error)
    };
    let grants = plan::grants_of(manifest, app, wanted.connections).map_err(|error| failed(&error))?;
    let surroundings = Surroundings { list_etc: wanted.for_people, ..surroundings(xdg)? };
    let host = host::gather(surroundings, grants.iter()).map_err(|error| failed(&error))?;
    let request = Request {
        manifest,
        revision: wanted.revision,
        app,
        shell: wanted.shell,
        connections: wanted.connections,
        package: wanted.package,
        base: wanted.base,
        content: wanted.content,
        host: &host,
        data: &text(folders.data(), "the folder of pack")?,
    };
    plan::build(&request).map_err(|error| match &error {
        PlanError::NoSuchApp { app, known } => {
            let known: Vec<&str> = known.iter().map(Name::as_str).collect();
            failed(&error).hint(match nearest(app.as_str(), known.iter().copied()) {
                Some(near) => format!("did you mean `{}.{near}`?", manifest.name),
                None => format!("it has {}", known.join(", ")),
            })
        }
        _ => failed(&error),
    })
}

/// What this process is given of the host.
///
/// # Errors
/// Where the home folder has a name that is not UTF-8.
pub fn surroundings(xdg: &XdgFolders) -> Result<Surroundings, Failure> {
    let text = |path: std::ffi::OsString| path.into_string().ok();
    Ok(Surroundings {
        variables: std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect(),
        home: self::text(xdg.home.clone(), "the home folder")?,
        working_folder: std::env::current_dir().ok().and_then(|folder| text(folder.into_os_string())),
        list_etc: false,
    })
}

fn text(path: PathBuf, what: &str) -> Result<String, Failure> {
    path.into_os_string()
        .into_string()
        .map_err(|_| Failure::new(format!("{what} has a name that is not UTF-8")))
}

/// Reads what of a package's image decides how the root folder looks.
///
/// # Errors
/// Where the image cannot be read.
pub fn read_facts(package: &Arc<Package>) -> Result<ImageFacts, ImageError> {
    let source = Arc::new(CheckedSource::new(Arc::clone(package)));
    plan::facts::read(&Reader::open(source, CacheSize::default())?)
}
