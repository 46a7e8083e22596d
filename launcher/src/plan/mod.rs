//! Manifest, connections and host facts → plan. Pure: the same input gives the same plan, and nothing is touched.
//!
//! The root folder inside is put together in this order, each part in a file of its own:
//!
//! 1. [`system`]: /usr and its like, from the base, the package or both; `/app`; /etc; /dev, /proc, /tmp, /run.
//! 2. [`layout`]: what the manifest shows at other places.
//! 3. [`grants`]: what each connected plug adds.
//! 4. the app's own data folders, last, so that nothing can cover them.
//!
//! [`environment`] makes the variables; [`content`] says which other packages are needed.

pub mod content;
mod environment;
pub mod facts;
mod grants;
mod layers;
mod layout;
pub mod system;
#[cfg(test)]
mod tests;

pub use environment::library_folders;
pub use grants::sockets_path;
pub use layers::OWN_TOP;
pub use pack_schemas::facts::{ImageFacts, SEARCH_FOLDERS, TopEntry};
use pack_schemas::interface::{Grant, Root, Side};
use pack_schemas::manifest::{App, Manifest};
use pack_schemas::names::{Name, Revision};
use pack_schemas::plan::{
    Access, Content, Entry, Identity, Network, Plan, Processes, Reason, Setting, Source,
};
use pack_schemas::state::Connection;

use std::collections::BTreeMap;

use crate::host::HostFacts;
use crate::interfaces::{self, GrantError};

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
    /// What was found for its content plugs.
    pub content: &'a [content::Provided],
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
    /// A place of the layout would cover what is not the package's.
    #[error("the layout of the package cannot show anything at {target}: {problem}")]
    Layout {
        /// The place.
        target: String,
        /// What is there.
        problem: String,
    },
    /// What a connected plug grants is not known any more: it was connected by another version of pack.
    #[error("the plug `{plug}` cannot be used")]
    Grant {
        /// The plug.
        plug: Name,
        /// Why.
        #[source]
        source: GrantError,
    },
}

/// Makes the plan of a launch.
///
/// # Errors
/// [`PlanError`] where the app does not exist, or its root folder cannot be made.
pub fn build(request: &Request<'_>) -> Result<Plan, PlanError> {
    let app = find_app(request)?;
    let plugs = connected_plugs(request, app)?;
    let mut root = system::entries(request)?;
    let made = layout::add(&mut root, request)?;
    grants::add(&mut root, request, &plugs);
    root.extend(data_entries(request));
    let identity = grants::identity(request, &plugs);
    let network = network(&plugs);
    root.extend(identity.as_ref().map(identity_entry));
    // X clients try the abstract socket first and give up where that is refused, instead of trying the other.
    let shows_x11 = root.iter().any(|entry| entry.target.starts_with("/tmp/.X11-unix/"));
    let (program, arguments) = match request.shell {
        true => ("/bin/sh".to_owned(), Vec::new()),
        false => command(request, app),
    };
    Ok(Plan {
        package: request.manifest.name.clone(),
        version: request.manifest.version.clone(),
        revision: request.revision,
        app: request.app.clone(),
        abstract_sockets_shut: !shows_x11,
        processes: processes(&plugs),
        shared_memory: plugs_that(&plugs, |grant| matches!(grant, Grant::SharedMemory)),
        system_calls: system_calls(&plugs),
        limits: app.limits.clone(),
        manager: request.host.manager.clone(),
        stand_in: None,
        identity,
        links: settings_links(request, &plugs),
        environment: environment::variables(request, app, &plugs, &root, &network),
        network,
        providers: content::providers(request.content),
        working_folders: working_folders(request, app, &root),
        root,
        program,
        made,
        arguments,
    })
}

/// The program that is started, and its arguments from the manifest: the first of the chain, where there is one, with the
/// rest of it, the command and the command's arguments.
fn command(request: &Request<'_>, app: &App) -> (String, Vec<String>) {
    let programs = app.command_chain.iter().chain([&app.command]);
    let mut words: Vec<String> =
        programs.map(|program| system::path_inside(request, program.as_str())).collect();
    let program = words.remove(0);
    words.extend(app.args.iter().cloned());
    (program, words)
}

/// The grants of an app, from its connections alone: what a launch needs to know before it looks at the host.
///
/// # Errors
/// [`PlanError::Grant`].
pub fn grants_of(
    manifest: &Manifest,
    app: &Name,
    connections: &BTreeMap<Name, Connection>,
) -> Result<Vec<Grant>, PlanError> {
    let Some(app) = manifest.apps.get(app) else { return Ok(Vec::new()) };
    let plugs = connected(manifest, app, connections)?;
    Ok(plugs.into_iter().flat_map(|plug| plug.grants).collect())
}

/// A connected plug or slot of the app and what it grants.
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

fn connected_plugs(request: &Request<'_>, app: &App) -> Result<Vec<ConnectedPlug>, PlanError> {
    connected(request.manifest, app, request.connections)
}

/// The app's plugs and slots that are connected as the manifest declares them now; all others grant nothing.
fn connected(
    manifest: &Manifest,
    app: &App,
    connections: &BTreeMap<Name, Connection>,
) -> Result<Vec<ConnectedPlug>, PlanError> {
    let sides = app.plugs.iter().map(|name| (name, Side::Plug));
    let sides = sides.chain(app.slots.iter().map(|name| (name, Side::Slot)));
    let mut plugs = Vec::new();
    for (name, side) in sides {
        let Some(connection) = connections.get(name).filter(|found| found.is_of(manifest, name, side)) else {
            continue;
        };
        let grants = match interfaces::granted(connection, &manifest.name) {
            Ok(grants) => grants,
            // An older pack connected it: what it asks for is not given any more, and `pack connections` says so.
            Err(GrantError::Unknown(_) | GrantError::Attribute(_)) => continue,
            Err(source) => return Err(PlanError::Grant { plug: name.clone(), source }),
        };
        plugs.push(ConnectedPlug { name: name.clone(), grants });
    }
    Ok(plugs)
}

fn plugs_that(plugs: &[ConnectedPlug], grants: impl Fn(&Grant) -> bool) -> Vec<Name> {
    plugs.iter().filter(|plug| plug.grants.iter().any(&grants)).map(|plug| plug.name.clone()).collect()
}

/// What the plugs make of the network together: a direction is open where one of them opens it, and limits hold only
/// where every plug that opens connections has some.
fn network(plugs: &[ConnectedPlug]) -> Network {
    let because = plugs_that(plugs, |grant| matches!(grant, Grant::Network { .. }));
    if because.is_empty() {
        return Network::Own;
    }
    let (mut may_connect, mut may_bind) = (false, false);
    let (mut all_hosts, mut all_ports) = (Some(Vec::new()), Some(Vec::new()));
    for grant in plugs.iter().flat_map(|plug| &plug.grants) {
        let Grant::Network { connect, bind, hosts, ports } = grant else { continue };
        may_connect |= connect;
        may_bind |= bind;
        if *connect {
            limit(&mut all_hosts, hosts);
            limit(&mut all_ports, ports);
        }
    }
    let (hosts, ports) = (all_hosts.unwrap_or_default(), all_ports.unwrap_or_default());
    // On the host's network no rule tells hosts apart: where hosts are named the app stays out of it, and what it offers is
    // offered to itself.
    match hosts.is_empty() {
        true => Network::Host { connect: may_connect, ports, bind: may_bind, because },
        false => Network::Hosts { hosts, ports, because },
    }
}

/// Adds to what is allowed so far, where nothing means that all is.
fn limit<T: Clone>(all: &mut Option<Vec<T>>, these: &[T]) {
    match all {
        Some(all) if !these.is_empty() => all.extend_from_slice(these),
        _ => *all = None,
    }
}

fn processes(plugs: &[ConnectedPlug]) -> Processes {
    let mut processes = Processes::Own;
    for plug in plugs {
        for grant in &plug.grants {
            let because = plug.name.clone();
            match (grant, &processes) {
                (Grant::HostProcesses { signal: true }, _) => processes = Processes::Shared { because },
                (Grant::HostProcesses { .. }, Processes::Own) => processes = Processes::Seen { because },
                _ => {}
            }
        }
    }
    processes
}

fn system_calls(plugs: &[ConnectedPlug]) -> BTreeMap<String, Name> {
    let mut groups = BTreeMap::new();
    for plug in plugs {
        for grant in &plug.grants {
            if let Grant::SystemCalls { groups: asked } = grant {
                for group in asked {
                    groups.entry(group.clone()).or_insert_with(|| plug.name.clone());
                }
            }
        }
    }
    groups
}

/// Links from the app's own folder of settings to those folders of the user's that plugs show.
fn settings_links(request: &Request<'_>, plugs: &[ConnectedPlug]) -> BTreeMap<String, Setting> {
    let mut links = BTreeMap::new();
    let Some(settings) = request.host.roots.get(&Root::Config) else { return links };
    let own = format!("{}/{}/.config", request.data, data_folders(request)[0]);
    for plug in plugs {
        for grant in &plug.grants {
            if let Grant::Settings { folder } = grant {
                let because = Reason::Plug(plug.name.clone());
                let link = Setting { value: format!("{settings}/{folder}"), because };
                links.insert(format!("{own}/{folder}"), link);
            }
        }
    }
    links
}

fn identity_entry(identity: &Identity) -> Entry {
    let data = identity.info.clone().into_bytes();
    entry("/.flatpak-info", Content::File { data }, Reason::Sandbox)
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
fn working_folders(request: &Request<'_>, app: &App, root: &[Entry]) -> Vec<String> {
    let mut folders = Vec::new();
    let shows = |entry: &Entry, folder: &str| {
        let Content::Bind { source: Source::Beneath { folder: root, path }, .. } = &entry.content else {
            return false;
        };
        format!("{root}/{path}") == entry.target
            && folder.strip_prefix(&entry.target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if let Some(folder) = &app.working_dir {
        folders.push(folder.clone());
    } else if let Some(folder) = &request.host.working_folder {
        folders.extend(root.iter().any(|entry| shows(entry, folder)).then(|| folder.clone()));
    }
    folders.push(format!("{}/{}", request.data, data_folders(request)[0]));
    folders
}

fn entry(target: impl Into<String>, content: Content, because: Reason) -> Entry {
    Entry { target: target.into(), content, because }
}
