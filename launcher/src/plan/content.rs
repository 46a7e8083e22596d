//! Content of other packages: which of it the plugs of an app ask for, and what a provider offers.
//!
//! Finding the providers is the caller's: it alone knows what is installed, and whose it is.

use std::collections::{BTreeMap, BTreeSet};

use pack_schemas::interface::{Grant, Side};
use pack_schemas::manifest::{Manifest, RelativePath};
use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::Connection;

use super::PlanError;
use crate::interfaces;

/// What a connected content plug asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The plug.
    pub plug: Name,
    /// The package that is to provide it.
    pub provider: PackageName,
    /// The label.
    pub label: Name,
}

/// What was found for a content plug, in a package that may show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provided {
    /// What was asked for.
    pub wanted: Wanted,
    /// Files and folders of the provider's image.
    pub read: Vec<RelativePath>,
    /// Whether sockets of the provider's apps are shown.
    pub sockets: bool,
}

/// What the connected plugs of an app ask for.
///
/// # Errors
/// [`PlanError::Grant`].
pub fn wanted(
    manifest: &Manifest,
    app: &Name,
    connections: &BTreeMap<Name, Connection>,
) -> Result<Vec<Wanted>, PlanError> {
    let Some(app) = manifest.apps.get(app) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for plug in super::connected(manifest, app, connections)? {
        for grant in plug.grants {
            if let Grant::Content { provider, label, .. } = grant {
                let name = plug.name.clone();
                all.push(Wanted { label: label.unwrap_or_else(|| name.clone()), plug: name, provider });
            }
        }
    }
    Ok(all)
}

/// What a provider's manifest offers for a plug; nothing where it does not, or where a person disconnected the slot. The
/// manifest's attributes are checked here: what was checked where it was written need not be what arrived.
pub fn provided(manifest: &Manifest, disconnected: &BTreeSet<Name>, wanted: &Wanted) -> Option<Provided> {
    let slots = manifest.slots.keys().filter(|slot| !disconnected.contains(*slot));
    slots
        .filter_map(|slot| {
            let (interface, attributes) = (manifest.interface_of(slot), manifest.attributes_of(slot));
            let grants = interfaces::grants(&interface, Side::Slot, &manifest.name, &attributes).ok()?;
            grants.into_iter().find_map(|grant| match grant {
                Grant::Offer { label, read, sockets } if label.as_ref().unwrap_or(slot) == &wanted.label => {
                    Some(Provided { wanted: wanted.clone(), read, sockets })
                }
                _ => None,
            })
        })
        .next()
}

/// The packages whose images are needed, each once.
pub(super) fn providers(content: &[Provided]) -> Vec<PackageName> {
    let mut names: Vec<PackageName> = Vec::new();
    for found in content.iter().filter(|found| !found.read.is_empty()) {
        if !names.contains(&found.wanted.provider) {
            names.push(found.wanted.provider.clone());
        }
    }
    names
}
