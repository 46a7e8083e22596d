//! `pack.yaml`: what a packager writes about a package.
//!
//! Keys have snapcraft's names, places and defaults wherever the meaning is the same. [`Manifest`] is the typed form;
//! it is also what the envelope carries, as JSON. [`Manifest::from_yaml`] reads a `pack.yaml`; whoever takes a manifest
//! from a package calls [`Manifest::check`] before believing it.
//!
//! Values of environment variables may refer to other variables, see [`expand`].

mod check;
mod expand;
mod foreign;
mod parse;
mod part;
mod source;
mod tree;
mod typed;

pub use expand::expand;
pub use parse::ManifestError;
pub use part::{CmakeGenerator, Part, Permission, Plugin};
pub use source::{Checksum, DigestAlgorithm, SourceType, is_remote};
pub use tree::SIZE_LIMIT;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::names::{Architecture, Name, PackageName, Version};

/// A whole manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// Package name.
    pub name: PackageName,
    /// The publisher's version.
    pub version: Version,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// One line, at most 78 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// Any number of lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// SPDX licence expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license: Option<String>,
    /// Path of the icon inside the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<RelativePath>,
    /// Home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub website: Option<String>,
    /// Where to reach the publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contact: Option<String>,
    /// Where the source code is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_code: Option<String>,
    /// Where to report faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issues: Option<String>,
    /// Where to give money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub donation: Option<String>,
    /// App or base.
    #[serde(rename = "type", default)]
    pub package_type: PackageType,
    /// Where the root folder's programs and libraries come from.
    pub base: Base,
    /// How the package's files and the base's make up the root folder.
    #[serde(default)]
    pub rootfs: RootFs,
    /// Architectures that the project can be built for; empty means any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<Architecture>,
    /// How finished it is.
    #[serde(default)]
    pub grade: Grade,
    /// Environment variables of every app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What can be run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<Name, App>,
    /// Plugs with attributes, or with a name other than their interface's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub plugs: BTreeMap<Name, Plug>,
    /// What apps offer to others: slots with attributes, or with a name other than their interface's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub slots: BTreeMap<Name, Plug>,
    /// How the content is made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<Name, Part>,
}

/// `type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageType {
    /// Programs for people.
    #[default]
    App,
    /// A root folder for other packages.
    Base,
}

/// `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BaseText", into = "String")]
pub enum Base {
    /// The host's `/usr`, read-only.
    Host,
    /// Nothing but the package.
    None,
    /// Another package of `type: base`.
    Package(PackageName),
}

/// `rootfs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RootFs {
    /// The package is at `/app` only.
    #[default]
    App,
    /// The package's `usr`, `etc`, `opt`… also lie over the base's.
    Merged,
}

/// `grade`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// For everyone.
    #[default]
    Stable,
    /// Not for everyone yet.
    Devel,
}

/// A program that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct App {
    /// The program, relative to the package's root; never passed through a shell.
    pub command: RelativePath,
    /// Arguments that come before the caller's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Environment variables of this app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Plugs that it uses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub plugs: BTreeSet<Name>,
    /// Slots that it offers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub slots: BTreeSet<Name>,
    /// Path of its desktop entry inside the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desktop: Option<RelativePath>,
    /// Working directory, an absolute path inside the sandbox; the default is the caller's where the app can see it,
    /// else its HOME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// How much of the machine it may have.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
}

/// A plug or a slot with its interface and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plug {
    /// The interface; the plug's own name where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<Name>,
    /// Attributes of the interface, checked against its definition.
    #[serde(flatten)]
    pub attributes: BTreeMap<String, serde_json::Value>,
}

/// A path inside a package: relative, UTF-8, at most 1024 bytes, with none of: an empty component, `.`, `..`, a
/// control character, a backslash. (`a/b`, never `/a`, `a//b`, `a/../b`.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

impl RelativePath {
    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for RelativePath {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for RelativePath {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let plain = |part: &str| !matches!(part, "" | "." | "..");
        if text.len() > 1024 || !text.split('/').all(plain) {
            return Err(format!(
                "`{}` is not a path inside the package: write it relative to the package's root, without `.` or `..`",
                crate::text::visible(&text.chars().take(80).collect::<String>())
            ));
        }
        if text.chars().any(|c| c.is_control() || c == '\\') {
            return Err("a path has no control characters and no backslash".to_owned());
        }
        Ok(RelativePath(text))
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> String {
        path.0
    }
}

/// `base` as it is written.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct BaseText(Base);

impl TryFrom<String> for BaseText {
    type Error = crate::names::NameError;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(BaseText(match text.as_str() {
            "host" => Base::Host,
            "none" => Base::None,
            name => Base::Package(name.parse()?),
        }))
    }
}

impl From<BaseText> for Base {
    fn from(text: BaseText) -> Base {
        text.0
    }
}

impl From<Base> for String {
    fn from(base: Base) -> String {
        match base {
            Base::Host => "host".to_owned(),
            Base::None => "none".to_owned(),
            Base::Package(name) => name.into(),
        }
    }
}

impl Manifest {
    /// Checks what the types alone cannot: lengths, references between parts of the manifest, environment names.
    ///
    /// # Errors
    /// [`CheckError`], which names the key.
    pub fn check(&self) -> Result<(), CheckError> {
        self.find_fault().map_err(CheckError::from)
    }

    /// The interface of a plug or slot that an app names: the declared one's, or the interface of its own name.
    pub fn interface_of(&self, name: &Name) -> Name {
        self.declared(name).and_then(|declared| declared.interface.clone()).unwrap_or_else(|| name.clone())
    }

    /// The attributes of a plug or slot; none where it is not declared.
    pub fn attributes_of(&self, name: &Name) -> BTreeMap<String, serde_json::Value> {
        self.declared(name).map(|declared| declared.attributes.clone()).unwrap_or_default()
    }

    /// A plug or slot that is declared; no name is both.
    fn declared(&self, name: &Name) -> Option<&Plug> {
        self.plugs.get(name).or_else(|| self.slots.get(name))
    }

    /// The app that `pack run NAME` starts.
    pub fn main_app(&self) -> Option<(&Name, &App)> {
        self.apps.iter().find(|(name, _)| name.as_str() == self.name.as_str())
    }
}

/// A manifest that is well-formed and contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct CheckError {
    /// Path of the key, such as `apps.hello.plugs`.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}
