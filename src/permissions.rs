//! What the apps of a package ask for, as a person is told before it is granted.

use std::collections::BTreeMap;

use pack_launcher::interfaces::{self, GrantError};
use pack_schemas::interface::{Interface, Side};
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;
use pack_schemas::state::{Connection, PackageState};
use pack_schemas::text::visible;
use serde_json::Value;

use crate::failure::Failure;

/// A plug or slot of a package.
pub struct Asked {
    /// Its interface.
    pub interface: Name,
    /// Whether the app uses the interface or offers it.
    pub side: Side,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// The interface's definition; nothing where this pack has none.
    pub definition: Option<Interface>,
    /// The connection that it gets when it is connected by itself; or why it cannot have one.
    pub connection: Result<Connection, GrantError>,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a plug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is connected.
    Connected,
    /// It connects by itself.
    Automatic,
    /// A person has to say yes.
    Question,
    /// It asks for something else than what it was connected for: a person has to say yes.
    Changed,
    /// A person disconnected it.
    Disconnected,
    /// This pack does not have the interface.
    Unknown,
    /// Its attributes cannot be used.
    Unusable,
}

/// The plugs and slots of a package, with what `state` says of them.
///
/// # Errors
/// Where a definition that is compiled in is malformed.
pub fn asked(manifest: &Manifest, state: Option<&PackageState>) -> Result<BTreeMap<Name, Asked>, Failure> {
    let plugs = manifest.apps.values().flat_map(|app| &app.plugs).map(|name| (name, Side::Plug));
    let slots = manifest.apps.values().flat_map(|app| &app.slots).map(|name| (name, Side::Slot));
    let mut all = BTreeMap::new();
    for (name, side) in plugs.chain(slots) {
        let interface = manifest.interface_of(name);
        let definition = interfaces::find(&interface)
            .map_err(|error| Failure::new("pack itself is damaged").because(&error))?;
        let connection = interfaces::connection(manifest, name, side, false);
        let mut asked = Asked {
            attributes: manifest.attributes_of(name),
            standing: Standing::Unknown,
            interface,
            side,
            definition,
            connection,
        };
        asked.standing = standing(name, &asked, manifest, state);
        all.insert(name.clone(), asked);
    }
    Ok(all)
}

fn standing(name: &Name, asked: &Asked, manifest: &Manifest, state: Option<&PackageState>) -> Standing {
    let Some(definition) = &asked.definition else { return Standing::Unknown };
    if asked.connection.is_err() {
        return Standing::Unusable;
    }
    let connected = state.and_then(|state| state.connections.get(name));
    let is_installed = state.is_some_and(|state| state.current.is_some());
    match connected {
        Some(connection) if connection.is_of(manifest, name, asked.side) => Standing::Connected,
        Some(_) => Standing::Changed,
        None if state.is_some_and(|state| state.disconnected.contains(name)) => Standing::Disconnected,
        // What an update asks for beyond what was there is never given without a word.
        None if is_installed => Standing::Question,
        None if definition.connects_by_itself(asked.side, &asked.attributes) => Standing::Automatic,
        None => Standing::Question,
    }
}

impl Asked {
    /// The connection that the plug gets.
    ///
    /// # Errors
    /// Where its interface is not known, or its attributes cannot be used.
    pub fn connect(&self, manual: bool) -> Result<Connection, Failure> {
        match &self.connection {
            Ok(connection) => Ok(Connection { manual, ..connection.clone() }),
            Err(error) => Err(Failure::new("it cannot be connected").because(error)),
        }
    }

    /// What it lets an app do: `reads and changes the files in your home folder`, with the attributes that say which.
    pub fn summary(&self) -> String {
        let Some(definition) = &self.definition else {
            return "unknown to this pack, so it is not connected".to_owned();
        };
        if let Err(error) = &self.connection {
            return format!("cannot be connected: {}", visible(&error.to_string()));
        }
        let summary = definition.summary_of(self.side);
        match attributes_text(&self.attributes) {
            text if text.is_empty() => summary.to_owned(),
            text => format!("{summary} ({text})"),
        }
    }
}

/// Attributes for people: `hosts: example.org, example.com; ports: 443`.
fn attributes_text(attributes: &BTreeMap<String, Value>) -> String {
    let value = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let text = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
            items.iter().map(text).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    };
    let texts: Vec<String> = attributes.iter().map(|(name, v)| format!("{name}: {}", value(v))).collect();
    visible(&texts.join("; "))
}

/// The permissions of each app, one line a plug, with the app's name in front of its first.
pub fn lines(manifest: &Manifest, asked: &BTreeMap<Name, Asked>) -> Vec<[String; 2]> {
    let mut lines = Vec::new();
    for (app, details) in &manifest.apps {
        let mut label = app.to_string();
        if details.plugs.is_empty() && details.slots.is_empty() {
            lines.push([std::mem::take(&mut label), "asks for nothing".to_owned()]);
        }
        for plug in details.plugs.iter().chain(&details.slots) {
            let Some(asked) = asked.get(plug) else { continue };
            let name = if *plug == asked.interface {
                plug.to_string()
            } else {
                format!("{plug} ({})", asked.interface)
            };
            let aside = match asked.standing {
                Standing::Connected | Standing::Automatic | Standing::Unknown | Standing::Unusable => "",
                Standing::Question => " (only if you say so)",
                Standing::Changed => " (it asks for something else than before: only if you say so)",
                Standing::Disconnected => " (you disconnected it)",
            };
            lines.push([std::mem::take(&mut label), format!("{name}: {}{aside}", asked.summary())]);
        }
    }
    lines
}
