//! What is installed, `packages/NAME/state.json`, and whom a person trusts, `trusted/FINGERPRINT.json`.
//!
//! `state.json` alone decides what is installed: it is replaced whole, by rename, so a reader sees the state before a
//! change or the one after it. The files beside it (images, data, the `current` link, exports) follow it.
//!
//! | `current` | means |
//! |---|---|
//! | a revision | installed |
//! | nothing | removed; the data of revision `kept-data` is still there, and only its publisher may have it back |

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::facts::ImageFacts;
use crate::interface::{Grant, Side};
use crate::manifest::{Epoch, Manifest, PackageType, RelativePath};
use crate::names::{Hash, Name, PackageName, PublicKey, Revision, Version};
use crate::store::Channel;

/// The format version of `state.json` and of trusted keys that this program reads and writes.
pub const STATE_VERSION: u32 = 1;
/// Longest `state.json` in bytes.
pub const STATE_LIMIT: u64 = 1 << 20;
/// Longest file of a trusted key in bytes.
pub const TRUSTED_KEY_LIMIT: u64 = 4 << 10;
/// Longest name of a trusted key in characters.
pub const TRUSTED_NAME_LIMIT: usize = 64;
/// The end of the year 9999, which stands for no end.
pub const HELD_FOREVER: u64 = 253_402_300_799;

/// The state of one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PackageState {
    /// [`STATE_VERSION`].
    pub format: u32,
    /// Package name, the same as that of the folder.
    pub name: PackageName,
    /// App or base; every revision is of the same type.
    #[serde(rename = "type")]
    pub package_type: PackageType,
    /// The key whose signature was accepted at install, and that has to be on every later revision; nothing for a
    /// package installed with `--dangerous`.
    pub publisher: Option<PublicKey>,
    /// The revision that runs; nothing where the package was removed and its data kept.
    pub current: Option<Revision>,
    /// Installed revisions, oldest first.
    pub revisions: Vec<InstalledRevision>,
    /// The highest local revision ever given, so that no number is given twice.
    pub last_local: u32,
    /// The revision whose data was kept when the package was removed.
    pub kept_data: Option<Revision>,
    /// The epoch of the data: that of the package that wrote it last.
    #[serde(default, skip_serializing_if = "Epoch::is_default")]
    pub epoch: Epoch,
    /// Plugs of the package that are connected.
    pub connections: BTreeMap<Name, Connection>,
    /// Plugs that a person disconnected; they do not connect by themselves again.
    pub disconnected: BTreeSet<Name>,
    /// Whether its apps can be run and are exported.
    pub enabled: bool,
    /// The revision whose exports are all in place; nothing while they are being made.
    pub exported: Option<Revision>,
    /// What is, or may be, outside the sandbox on behalf of the package.
    pub exports: BTreeSet<Export>,
    /// Where updates come from; nothing for a package that was installed from a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// The store that a package follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Source {
    /// The remote.
    pub remote: Name,
    /// The channel.
    pub channel: Channel,
    /// Until when it is not updated, in seconds since 1970; [`HELD_FOREVER`] is without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<u64>,
    /// The envelope that a person has gone back from; it is not offered again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reverted_from: Option<Hash>,
}

impl Source {
    /// Whether it is not updated now.
    pub fn is_held(&self, now: u64) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }
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
    /// The package that is its base; nothing for `host` and `none`.
    pub base: Option<PackageName>,
    /// What of its image decides how the root folder looks; nothing where that is too long to be kept, or an older pack
    /// installed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<ImageFacts>,
    /// Why its publisher has revoked it: it is not started any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

/// A plug or slot that is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Connection {
    /// The interface of the plug when it was connected; a plug that changes its interface is a new plug.
    pub interface: Name,
    /// Whether the app uses the interface or offers it.
    #[serde(default)]
    pub side: Side,
    /// Its attributes when it was connected; a plug that changes them asks for something else, and is a new plug.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Whether a person asked for it; otherwise the interface connects by itself.
    pub manual: bool,
    /// What it grants, compiled when it was connected, so that no launch does it again.
    #[serde(default)]
    pub compiled: Compiled,
}

/// What a connection grants, and by which definitions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Compiled {
    /// The edition of all definitions that it was compiled from; what another edition grants is compiled anew.
    pub edition: u64,
    /// The grants.
    pub grants: Vec<Grant>,
}

impl Connection {
    /// Whether it is the connection of what a manifest asks for now.
    pub fn is_of(&self, manifest: &Manifest, name: &Name, side: Side) -> bool {
        self.side == side
            && self.interface == manifest.interface_of(name)
            && self.attributes == manifest.attributes_of(name)
    }

    /// Whether both are of the same plug, asking for the same.
    pub fn asks_the_same(&self, other: &Connection) -> bool {
        self.side == other.side && self.interface == other.interface && self.attributes == other.attributes
    }
}

/// A file outside the sandbox that belongs to a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Export {
    /// Which folder it is in.
    pub place: ExportPlace,
    /// Its path below that folder.
    pub path: RelativePath,
}

/// A folder that exports go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportPlace {
    /// `~/.local/bin`.
    Commands,
    /// `$XDG_DATA_HOME/applications`.
    Applications,
    /// `$XDG_DATA_HOME/icons`.
    Icons,
    /// `$XDG_CONFIG_HOME/autostart`.
    Autostart,
}

/// A publisher's key that the user trusts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrustedKey {
    /// [`STATE_VERSION`].
    pub format: u32,
    /// The key, and the name of its file.
    pub key: PublicKey,
    /// What the user calls the publisher.
    pub name: Option<String>,
    /// When it was trusted, in seconds since 1970.
    pub added: u64,
}

/// Why a document of this module cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateProblem {
    /// It is no JSON, or of another shape.
    #[error("it cannot be parsed")]
    Json(#[source] serde_json::Error),
    /// A newer pack wrote it.
    #[error("it has format version {found}, and this pack reads version {STATE_VERSION}")]
    FormatVersion {
        /// The version found.
        found: u32,
    },
    /// It says two things that cannot both be true.
    #[error("it contradicts itself: {rule}")]
    Contradiction {
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// The one field that every format version has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl PackageState {
    /// Reads `state.json` of the package `name`, and checks it against itself.
    ///
    /// # Errors
    /// [`StateProblem`].
    pub fn parse(bytes: &[u8], name: &PackageName) -> Result<PackageState, StateProblem> {
        let state: PackageState = parse(bytes)?;
        let contradiction = |rule| Err(StateProblem::Contradiction { rule });
        if state.name != *name {
            return contradiction("it names another package than its folder");
        }
        let distinct: BTreeSet<Revision> = state.revisions.iter().map(|entry| entry.revision).collect();
        if distinct.len() != state.revisions.len() {
            return contradiction("a revision is there twice");
        }
        if distinct.iter().any(|revision| matches!(revision, Revision::Local(n) if *n > state.last_local)) {
            return contradiction("a local revision is higher than the highest one given");
        }
        match state.current {
            Some(current) if !distinct.contains(&current) => {
                contradiction("its current revision is not installed")
            }
            None if !distinct.is_empty() => contradiction("it has revisions, and none of them is current"),
            _ => Ok(state),
        }
    }

    /// The text of `state.json`.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_text(self)
    }

    /// The entry of a revision.
    pub fn revision(&self, revision: Revision) -> Option<&InstalledRevision> {
        self.revisions.iter().find(|entry| entry.revision == revision)
    }

    /// The entry of the current revision; nothing for a removed package.
    pub fn current(&self) -> Option<&InstalledRevision> {
        self.current.and_then(|current| self.revision(current))
    }
}

impl TrustedKey {
    /// Reads the file of the trusted key `key`, and checks that it is that key's.
    ///
    /// # Errors
    /// [`StateProblem`].
    pub fn parse(bytes: &[u8], key: &PublicKey) -> Result<TrustedKey, StateProblem> {
        let trusted: TrustedKey = parse(bytes)?;
        if trusted.key != *key {
            return Err(StateProblem::Contradiction { rule: "it names another key than its file" });
        }
        if trusted.name.as_ref().is_some_and(|name| name.chars().count() > TRUSTED_NAME_LIMIT) {
            return Err(StateProblem::Contradiction { rule: "its name is too long" });
        }
        Ok(trusted)
    }

    /// The text of its file.
    pub fn to_bytes(&self) -> Vec<u8> {
        to_text(self)
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, StateProblem> {
    let Format { format } = serde_json::from_slice(bytes).map_err(StateProblem::Json)?;
    if format != STATE_VERSION {
        return Err(StateProblem::FormatVersion { found: format });
    }
    serde_json::from_slice(bytes).map_err(StateProblem::Json)
}

fn to_text<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).expect("our types are JSON");
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PackageState {
        let entry = |revision| InstalledRevision {
            revision,
            version: "1.0".parse().unwrap(),
            envelope: Hash([3; 32]),
            size: 4096,
            installed: 1_700_000_000,
            base: None,
            facts: Some(ImageFacts::default()),
            revoked: None,
        };
        PackageState {
            format: STATE_VERSION,
            name: "hello".parse().unwrap(),
            package_type: PackageType::App,
            publisher: Some(PublicKey([7; 32])),
            current: Some(Revision::Local(2)),
            revisions: vec![entry(Revision::Local(1)), entry(Revision::Local(2))],
            last_local: 2,
            kept_data: None,
            epoch: Epoch::default(),
            connections: BTreeMap::new(),
            disconnected: BTreeSet::new(),
            enabled: true,
            exported: None,
            exports: BTreeSet::new(),
            source: Some(Source {
                remote: "example".parse().unwrap(),
                channel: Channel::default(),
                held_until: Some(HELD_FOREVER),
                reverted_from: Some(Hash([4; 32])),
            }),
        }
    }

    fn read(state: &PackageState) -> Result<PackageState, StateProblem> {
        PackageState::parse(&state.to_bytes(), &"hello".parse().unwrap())
    }

    #[test]
    fn a_state_reads_back_as_written() {
        assert_eq!(read(&state()).unwrap(), state());
    }

    /// snapd once took one package for another whose name matched a pattern; here a state counts for its folder alone.
    #[test]
    fn cve_2016_1580_a_state_that_names_another_package_is_refused() {
        let bytes = state().to_bytes();
        for other in ["hello-evil", "hell", "core"] {
            let other = other.parse().unwrap();
            assert!(matches!(PackageState::parse(&bytes, &other), Err(StateProblem::Contradiction { .. })));
        }
    }

    #[test]
    fn a_state_that_contradicts_itself_is_refused() {
        let twice = |mut state: PackageState| {
            state.revisions[0].revision = Revision::Local(2);
            state
        };
        let wrong = [
            twice(state()),
            PackageState { current: Some(Revision::Local(3)), ..state() },
            PackageState { current: None, ..state() },
            PackageState { last_local: 1, ..state() },
        ];
        for state in wrong {
            assert!(matches!(read(&state), Err(StateProblem::Contradiction { .. })), "{state:?}");
        }
    }

    #[test]
    fn another_format_version_is_named_even_where_the_shape_differs() {
        let bytes = br#"{"format": 2, "shape": "unknown"}"#;
        let found = PackageState::parse(bytes, &"hello".parse().unwrap());
        assert!(matches!(found, Err(StateProblem::FormatVersion { found: 2 })));
    }

    #[test]
    fn an_export_outside_its_folder_cannot_be_read() {
        let text = String::from_utf8(state().to_bytes()).unwrap();
        for path in ["../x", "/etc/passwd", "a/../../x"] {
            let exports = format!(r#""exports": [{{"place": "commands", "path": "{path}"}}]"#);
            let changed = text.replace(r#""exports": []"#, &exports);
            assert_ne!(changed, text);
            let found = PackageState::parse(changed.as_bytes(), &"hello".parse().unwrap());
            assert!(matches!(found, Err(StateProblem::Json(_))), "{path}");
        }
    }
}
