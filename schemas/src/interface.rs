//! Interface definitions: one YAML file each under `schemas/interfaces/`, read by one interpreter.
//!
//! Names are snapd's where snapd has the interface. A definition says what is granted, never how: the plan builder
//! turns each [`Grant`] into typed entries of the plan, and no rule is ever put together from text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::Name;

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interface {
    /// What a person reads when asked: completes the sentence "this app …".
    pub summary: String,
    /// Whether a plug of it connects when its package is installed.
    pub auto_connect: bool,
    /// Why it connects by itself, or why not.
    pub reason: String,
    /// What it grants.
    pub grants: Vec<Grant>,
    /// What an app with it can still do to its user: the part that no rule takes away.
    pub exposes: String,
    /// Attributes that a plug may set, and what they mean.
    #[serde(default)]
    pub attributes: BTreeMap<String, Attribute>,
}

/// One thing granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Grant {
    /// The host's network namespace.
    Network {
        /// TCP connections may be opened.
        connect: bool,
        /// TCP ports may be bound.
        bind: bool,
    },
    /// The files in the user's home folder, but for hidden ones and `bin`.
    Home {
        /// The folder itself can be listed and the files in it changed; nothing new can be made at its top.
        writable: bool,
    },
    /// The X server of `DISPLAY`: its socket, and the cookie for it alone.
    X11,
}

/// An attribute of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Attribute {
    /// What it means.
    pub summary: String,
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
}
