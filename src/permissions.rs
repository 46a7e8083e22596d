//! What the apps of a package ask for, as a person is told before it is granted.

use std::collections::BTreeMap;

use pack_launcher::interfaces;
use pack_schemas::interface::Interface;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;
use pack_schemas::state::{Connection, PackageState};

use crate::failure::Failure;

/// A plug of a package.
pub struct Asked {
    /// Its interface.
    pub interface: Name,
    /// The interface's definition; nothing where this pack has none.
    pub definition: Option<Interface>,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a plug.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is connected.
    Connected,
    /// It connects by itself.
    Automatic,
    /// A person has to say yes.
    Question,
    /// A person disconnected it.
    Disconnected,
    /// This pack does not have the interface.
    Unknown,
}

/// The plugs of a package, with what `state` says of them.
pub fn asked(manifest: &Manifest, state: Option<&PackageState>) -> Result<BTreeMap<Name, Asked>, Failure> {
    let mut plugs = BTreeMap::new();
    for plug in manifest.apps.values().flat_map(|app| &app.plugs) {
        let interface = manifest.interface_of(plug);
        let definition = interfaces::find(&interface)
            .map_err(|error| Failure::new("pack itself is damaged").because(&error))?;
        let standing = standing(plug, &interface, definition.as_ref(), state);
        plugs.insert(plug.clone(), Asked { interface, definition, standing });
    }
    Ok(plugs)
}

fn standing(
    plug: &Name,
    interface: &Name,
    definition: Option<&Interface>,
    state: Option<&PackageState>,
) -> Standing {
    let Some(definition) = definition else { return Standing::Unknown };
    let connected = state.and_then(|state| state.connections.get(plug));
    if connected.is_some_and(|connection| connection.interface == *interface) {
        Standing::Connected
    } else if state.is_some_and(|state| state.disconnected.contains(plug)) {
        Standing::Disconnected
    } else if definition.auto_connect {
        Standing::Automatic
    } else {
        Standing::Question
    }
}

impl Asked {
    /// The connection that the plug gets.
    pub fn connection(&self, manual: bool) -> Connection {
        Connection { interface: self.interface.clone(), manual }
    }

    /// What it lets an app do: `reads and changes the files in your home folder`.
    pub fn summary(&self) -> String {
        match &self.definition {
            Some(definition) => definition.summary.trim_end().to_owned(),
            None => "unknown to this pack, so it is not connected".to_owned(),
        }
    }
}

/// The permissions of each app, one line a plug, with the app's name in front of its first.
pub fn lines(manifest: &Manifest, asked: &BTreeMap<Name, Asked>) -> Vec<[String; 2]> {
    let mut lines = Vec::new();
    for (app, details) in &manifest.apps {
        let mut label = app.to_string();
        if details.plugs.is_empty() {
            lines.push([std::mem::take(&mut label), "asks for nothing".to_owned()]);
        }
        for plug in &details.plugs {
            let Some(asked) = asked.get(plug) else { continue };
            let name = if *plug == asked.interface {
                plug.to_string()
            } else {
                format!("{plug} ({})", asked.interface)
            };
            let aside = match asked.standing {
                Standing::Connected | Standing::Automatic | Standing::Unknown => "",
                Standing::Question => " (only if you say so)",
                Standing::Disconnected => " (you disconnected it)",
            };
            lines.push([std::mem::take(&mut label), format!("{name}: {}{aside}", asked.summary())]);
        }
    }
    lines
}
