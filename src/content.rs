//! Who provides what the content plugs of an app ask for: looked up at each launch among what is installed then.
//!
//! Shown is the current revision of the named package, where it is enabled, is the one that was accepted at install, and
//! has the same publisher; and of it what its manifest offers under the label. Else the app starts without.

use std::collections::BTreeMap;

use pack_launcher::plan::content::{self, Provided, Wanted};
use pack_launcher::plan::sockets_path;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Name, PackageName, PublicKey};
use pack_schemas::state::Connection;
use pack_store_client::folders::Folders;
use pack_store_client::installed::{self, StateError};

use crate::context::Context;
use crate::failure::Failure;
use crate::run::{self, Opened};
use crate::terminal::visible;

/// The app that is to be shown content.
pub struct Consumer<'a> {
    /// Its package's manifest.
    pub manifest: &'a Manifest,
    /// The app.
    pub app: &'a Name,
    /// The connections that count.
    pub connections: &'a BTreeMap<Name, Connection>,
    /// Publishers of its package: the one accepted at install, or whoever signed it where it is not installed.
    pub publishers: &'a [PublicKey],
}

/// What was found.
#[derive(Default)]
pub struct Found {
    /// What is shown, one a plug.
    pub content: Vec<Provided>,
    /// The packages that show it, opened.
    pub providers: BTreeMap<PackageName, Opened>,
}

/// Looks for what the app's plugs ask for, and warns of each that is shown nothing.
///
/// # Errors
/// Where it is not known what a plug asks for.
pub fn find(consumer: &Consumer<'_>, folders: &Folders, context: &Context) -> Result<Found, Failure> {
    let Consumer { manifest, app, connections, .. } = consumer;
    let wanted = content::wanted(manifest, app, connections).map_err(|error| {
        Failure::new(format!("cannot plan the launch of `{}.{app}`", manifest.name)).because(&error)
    })?;
    let mut found = Found::default();
    for wanted in wanted {
        let plug = format!("the content plug `{}` of `{}`", wanted.plug, manifest.name);
        match provider(consumer, &wanted, folders, &mut found) {
            Ok(provided) => {
                if provided.sockets && !has_sockets(&provided, folders) {
                    let provider = &wanted.provider;
                    context
                        .terminal
                        .warn(format!("{plug} is shown no sockets: no app of `{provider}` has made any yet"));
                }
                found.content.push(provided);
            }
            Err(problem) => context.terminal.warn(format!("{plug} is shown nothing: {problem}")),
        }
    }
    Ok(found)
}

/// What the package offers; or why it is not shown. The package is then among those that are open.
fn provider(
    consumer: &Consumer<'_>,
    wanted: &Wanted,
    folders: &Folders,
    found: &mut Found,
) -> Result<Provided, String> {
    let name = &wanted.provider;
    let state = installed::read_installed(folders, name).map_err(|error| match error {
        StateError::NotInstalled { .. } => format!("{error}; `pack install` it from the same publisher"),
        error => error.to_string(),
    })?;
    if consumer.publishers.is_empty() {
        return Err(format!("`{}` has no publisher that is known", consumer.manifest.name));
    }
    let Some(publisher) = &state.publisher else {
        return Err(format!("`{name}` has no publisher that is known"));
    };
    if !consumer.publishers.contains(publisher) {
        return Err(format!("`{name}` is of another publisher"));
    }
    if !found.providers.contains_key(name) {
        found.providers.insert(name.clone(), open(name, publisher, folders)?);
    }
    let opened = &found.providers[name];
    content::provided(&opened.package.envelope().manifest, &opened.state.disconnected, wanted)
        .ok_or_else(|| format!("`{name}` offers no content `{}`", wanted.label))
}

/// Opens the package as for a launch of its own; whose it is is looked at once more, as it may be another one by now.
fn open(name: &PackageName, publisher: &PublicKey, folders: &Folders) -> Result<Opened, String> {
    let opened = run::open(name, folders).map_err(|failure| {
        let hint = failure.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
        let told: Vec<String> = std::iter::once(failure.message).chain(failure.causes).collect();
        format!("{}{hint}", visible(&told.join(": ")))
    })?;
    match opened.state.publisher.as_ref() == Some(publisher) {
        true => Ok(opened),
        false => Err(format!("`{name}` is of another publisher")),
    }
}

/// Whether there is a folder for sockets, to which no link leads. For the warning alone: the launch opens it with links
/// refused by the kernel.
fn has_sockets(provided: &Provided, folders: &Folders) -> bool {
    let mut path = folders.data();
    sockets_path(provided).split('/').all(|name| {
        path.push(name);
        path.symlink_metadata().is_ok_and(|found| found.is_dir())
    })
}
