//! Manifest, connections and host facts → plan. Pure: the same input gives the same plan, and nothing is touched.
//!
//! The root folder inside is put together in this order, each part in a file of its own:
//!
//! 1. [`system`]: /usr and its like, from the base, the package or both; `/app`; /etc; /dev, /proc, /tmp, /run.
//! 2. [`grants`]: what each connected plug adds.
//! 3. the app's own data folders, last, so that nothing can cover them.
//!
//! [`environment`] makes the variables.

mod environment;
pub mod facts;
mod grants;
pub mod system;
#[cfg(test)]
mod tests;

pub use pack_schemas::facts::{ImageFacts, SEARCH_FOLDERS, TopEntry};
use pack_schemas::interface::{Grant, InterfaceError};
use pack_schemas::manifest::{App, Manifest};
use pack_schemas::names::{Name, Revision};
use pack_schemas::plan::{Access, Content, Entry, Network, Plan, Reason, Source};
use pack_schemas::state::Connection;

use std::collections::BTreeMap;

use crate::host::HostFacts;
use crate::interfaces;

/// What a plan is made from.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The manifest in the package's envelope.
    pub manifest: &'a Manifest,
    /// The installed revision.
    pub revision: Revision,
    /// The app to run.
    pub app: &'a Name,
    /// Run a shell in the app's sandbox instead of the app.
    pub shell: bool,
    /// Connected plugs, from the package's state.
    pub connections: &'a BTreeMap<Name, Connection>,
    /// What the package's image holds at its top.
    pub package: &'a ImageFacts,
    /// What the base's image holds at its top; nothing where the base is no package.
    pub base: Option<&'a ImageFacts>,
    /// What the host is like.
    pub host: &'a HostFacts,
    /// The folder that holds all packages' data, one folder each.
    pub data: &'a str,
}

/// Why no plan can be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The package has no such app.
    #[error("the package has no app `{app}`")]
    NoSuchApp {
        /// The app asked for.
        app: Name,
        /// The apps that it has.
        known: Vec<Name>,
    },
    /// The base's package is not at hand.
    #[error("the base of the package is not at hand")]
    NoBase,
    /// Package and base cannot be laid over one another.
    #[error("the package has a folder `{name}` at its top where the base has a link to `{link}`")]
    TopClash {
        /// The entry.
        name: String,
        /// Where the base's link points.
        link: String,
    },
    /// A definition that is compiled in is malformed.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
}

/// Makes the plan of a launch.
///
/// # Errors
/// [`PlanError`] where the app does not exist, or its root folder cannot be made.
pub fn build(request: &Request<'_>) -> Result<Plan, PlanError> {
    let app = find_app(request)?;
    let plugs = connected_plugs(request, app)?;
    let network = network(&plugs);
    let mut root = system::entries(request)?;
    grants::add(&mut root, request, &plugs);
    root.extend(data_entries(request));
    let shows_x11 = plugs.iter().flat_map(|plug| &plug.grants).any(|grant| *grant == Grant::X11);
    let program = match request.shell {
        true => "/bin/sh".to_owned(),
        false => system::path_inside(request, app.command.as_str()),
    };
    Ok(Plan {
        package: request.manifest.name.clone(),
        version: request.manifest.version.clone(),
        revision: request.revision,
        app: request.app.clone(),
        // X clients try the abstract socket first and give up where that is refused, instead of trying the other.
        abstract_sockets_shut: !shows_x11,
        network,
        environment: environment::variables(request, app, &plugs),
        root,
        program,
        arguments: if request.shell { Vec::new() } else { app.args.clone() },
        working_folders: working_folders(request, app, &plugs),
    })
}

/// A connected plug of the app and what its interface grants.
struct ConnectedPlug {
    name: Name,
    grants: Vec<Grant>,
}

fn find_app<'a>(request: &Request<'a>) -> Result<&'a App, PlanError> {
    request.manifest.apps.get(request.app).ok_or_else(|| PlanError::NoSuchApp {
        app: request.app.clone(),
        known: request.manifest.apps.keys().cloned().collect(),
    })
}

/// The app's plugs that are connected to the interface that the manifest names; all others grant nothing.
fn connected_plugs(request: &Request<'_>, app: &App) -> Result<Vec<ConnectedPlug>, PlanError> {
    let mut plugs = Vec::new();
    for name in &app.plugs {
        let interface = request.manifest.interface_of(name);
        if request.connections.get(name).is_none_or(|connection| connection.interface != interface) {
            continue;
        }
        if let Some(definition) = interfaces::find(&interface)? {
            plugs.push(ConnectedPlug { name: name.clone(), grants: definition.grants });
        }
    }
    Ok(plugs)
}

fn network(plugs: &[ConnectedPlug]) -> Network {
    let (mut may_connect, mut may_bind, mut because) = (false, false, Vec::new());
    for plug in plugs {
        for grant in &plug.grants {
            if let Grant::Network { connect, bind } = grant {
                may_connect |= connect;
                may_bind |= bind;
                because.push(plug.name.clone());
            }
        }
    }
    if because.is_empty() {
        return Network::Own;
    }
    Network::Host { connect: may_connect, bind: may_bind, because }
}

/// The app's own folders: at the same path inside as outside, so that a path which the app prints means something.
fn data_entries(request: &Request<'_>) -> impl Iterator<Item = Entry> {
    let [revision, common] = data_folders(request);
    [revision, common].into_iter().map(|path| Entry {
        target: format!("{}/{path}", request.data),
        content: Content::Bind {
            source: Source::Beneath { folder: request.data.to_owned(), path },
            access: Access::ReadWrite,
            optional: false,
        },
        because: Reason::Sandbox,
    })
}

/// The data folder of this revision and the one that all revisions share, below the folder of all packages' data.
fn data_folders(request: &Request<'_>) -> [String; 2] {
    let name = &request.manifest.name;
    [format!("{name}/{}", request.revision), format!("{name}/common")]
}

/// The caller's working folder where the app sees it at the same place, then the app's own.
fn working_folders(request: &Request<'_>, app: &App, plugs: &[ConnectedPlug]) -> Vec<String> {
    let mut folders = Vec::new();
    let sees_home =
        plugs.iter().flat_map(|plug| &plug.grants).any(|grant| matches!(grant, Grant::Home { .. }));
    if let Some(folder) = &app.working_dir {
        folders.push(folder.clone());
    } else if let Some(folder) = request.host.working_folder.as_ref().filter(|_| sees_home) {
        let home = format!("{}/", request.host.user.home);
        folders.extend(folder.starts_with(&home).then(|| folder.clone()));
    }
    folders.push(format!("{}/{}", request.data, data_folders(request)[0]));
    folders
}

fn entry(target: impl Into<String>, content: Content, because: Reason) -> Entry {
    Entry { target: target.into(), content, because }
}
