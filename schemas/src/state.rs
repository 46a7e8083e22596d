//! What is installed: `packages/NAME/state.json`, one for each package.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{Hash, Name, PackageName, PublicKey, Revision, Version};

/// The format version of `state.json` that this program reads and writes.
pub const STATE_VERSION: u32 = 1;

/// The state of one installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackageState {
    /// [`STATE_VERSION`].
    pub format: u32,
    /// Package name, the same as that of the folder.
    pub name: PackageName,
    /// The key whose signature was accepted at install; nothing for a package installed with `--dangerous`.
    pub publisher: Option<PublicKey>,
    /// Installed revisions, oldest first.
    pub revisions: Vec<InstalledRevision>,
    /// Plugs of the package that are connected.
    pub connections: BTreeMap<Name, Connection>,
    /// Whether its apps can be run and are exported.
    pub enabled: bool,
}

/// One installed revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct InstalledRevision {
    /// Its number, and the name of its file.
    pub revision: Revision,
    /// The publisher's version.
    pub version: Version,
    /// Hash of the envelope as it was accepted at install; a launch believes no other.
    pub envelope: Hash,
    /// Size of the package file in bytes.
    pub size: u64,
    /// When it was installed, in seconds since 1970.
    pub installed: u64,
}

/// A plug that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Connection {
    /// The interface of the plug when it was connected; a plug that changes its interface is a new plug.
    pub interface: Name,
    /// Whether a person asked for it; otherwise the interface connects by itself.
    pub manual: bool,
}
