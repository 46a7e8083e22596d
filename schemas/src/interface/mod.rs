//! Interface definitions: one YAML file each under `schemas/interfaces/`, read by one interpreter.
//!
//! Names, attributes and automatic connection are snapd's where snapd has the interface. A definition says what is
//! granted, never how: the plan builder turns each [`Grant`] into typed entries of the plan, and no rule is ever put
//! together from text.
//!
//! ```text
//! definition (YAML) + attributes of the plug (manifest) ──resolve──▶ grants ──▶ kept with the connection in the state
//! ```
//!
//! [`Interface::resolve`] is where attributes are checked ([`attributes`]); a grant that has been resolved refers to none.

pub mod attributes;
pub mod content;
pub mod definitions;
mod grant;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::names::{Name, PackageName};

pub use attributes::{Attribute, AttributeError, AttributeKind};
pub use grant::{
    Bus, BusName, BusRule, DeviceKind, Grant, HostPattern, Place, Root, SocketPlace, SocketVariable,
    UserFolder, Within,
};

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// What a person reads when asked: completes the sentence "this app …".
    pub summary: String,
    /// Whether a plug of it connects when its package is installed.
    pub auto_connect: bool,
    /// Values that these attributes must have for that; any other value is asked about.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub auto_connect_with: BTreeMap<String, Value>,
    /// Why it connects by itself, or why not.
    pub reason: String,
    /// What a plug of it grants.
    pub grants: Vec<Grant>,
    /// What an app with it can still do to its user: the part that no rule takes away.
    pub exposes: String,
    /// Attributes that a plug may set, and what they mean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
    /// What an app gets that offers the interface instead of using it; nothing where apps cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<Slot>,
}

/// The offering side of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Slot {
    /// What a person reads when asked: completes the sentence "this app …".
    pub summary: String,
    /// Whether it is there when its package is installed.
    pub auto_connect: bool,
    /// What it grants.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// Attributes that a slot may set, and what they mean.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, Attribute>,
}

/// Which side of an interface an app is on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// It uses what others offer.
    #[default]
    Plug,
    /// It offers.
    Slot,
}

/// Why a definition cannot be used; only a fault in pack itself can be the cause.
#[derive(Debug, thiserror::Error)]
#[error("the definition of interface `{name}` is malformed")]
pub struct InterfaceError {
    /// The interface.
    pub name: Name,
    /// The parser's words.
    #[source]
    pub source: serde_yaml::Error,
}

impl Interface {
    /// Reads a definition.
    ///
    /// # Errors
    /// Where the text is no definition.
    pub fn from_yaml(name: &Name, text: &str) -> Result<Interface, InterfaceError> {
        serde_yaml::from_str(text).map_err(|source| InterfaceError { name: name.clone(), source })
    }

    /// What a plug or slot of the package with these attributes grants: the definition's grants, with what the
    /// attributes say put in their places.
    ///
    /// # Errors
    /// [`AttributeError`] for an attribute that the interface does not have, one that it needs and that is not there, and
    /// a value that it cannot have.
    pub fn resolve(
        &self,
        side: Side,
        package: &PackageName,
        given: &BTreeMap<String, Value>,
    ) -> Result<Vec<Grant>, AttributeError> {
        let (grants, attributes) = match (side, &self.slot) {
            (Side::Plug, _) => (&self.grants, &self.attributes),
            (Side::Slot, Some(slot)) => (&slot.grants, &slot.attributes),
            (Side::Slot, None) => return Err(AttributeError::NoSlot),
        };
        let values = attributes::values(attributes, given)?;
        let mut resolved = Vec::new();
        for grant in grants {
            grant.resolve(&values, package, &mut resolved)?;
        }
        Ok(resolved)
    }

    /// Whether a plug or slot with these attributes connects by itself when its package is first installed.
    pub fn connects_by_itself(&self, side: Side, given: &BTreeMap<String, Value>) -> bool {
        if side == Side::Slot {
            return self.slot.as_ref().is_some_and(|slot| slot.auto_connect);
        }
        let value_of = |name: &str| {
            given
                .get(name)
                .or_else(|| self.attributes.get(name).and_then(|attribute| attribute.default.as_ref()))
        };
        self.auto_connect
            && self.auto_connect_with.iter().all(|(name, wanted)| value_of(name) == Some(wanted))
    }

    /// What a person reads when asked about this side.
    pub fn summary_of(&self, side: Side) -> &str {
        match (side, &self.slot) {
            (Side::Slot, Some(slot)) => slot.summary.trim_end(),
            _ => self.summary.trim_end(),
        }
    }
}
