//! `pack.yaml`: what a packager writes about a package.
//!
//! Keys have snapcraft's names, places and defaults wherever the meaning is the same. [`Manifest`] is the typed form;
//! it is also what the envelope carries, as JSON. [`Manifest::from_yaml`] reads a `pack.yaml`; whoever takes a manifest
//! from a package calls [`Manifest::check`] before believing it.
//!
//! Values of environment variables may refer to other variables, see [`expand`].

mod app;
mod check;
mod compression;
mod epoch;
mod expand;
mod foreign;
mod hooks;
pub mod layout;
mod lint;
mod parse;
mod part;
pub mod schema;
pub mod service;
mod source;
mod syntax;
mod time_span;
pub mod timer;
pub mod tree;
mod typed;

pub use app::App;
pub use compression::{Algorithm, BlockSize, Compression, Level};
pub use epoch::Epoch;
pub use expand::expand;
pub use foreign::{instead_of_key, instead_of_word};
pub use hooks::{Hook, HookName};
pub use layout::{Layout, LayoutKind, OwnPath, OwnRoot};
pub use lint::{IgnoreRule, Lint};
pub use parse::ManifestError;
pub use part::{CmakeGenerator, Part, Permission, Plugin};
pub use source::{Checksum, DigestAlgorithm, SourceType, is_remote};
pub use time_span::TimeSpan;
pub use tree::SIZE_LIMIT;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::{Architecture, Name, PackageName, Version};

/// A whole manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Manifest {
    /// Package name.
    pub name: PackageName,
    /// The publisher's version.
    pub version: Version,
    /// Name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minLength" = 1, "maxLength" = 40))]
    pub title: Option<String>,
    /// One line, at most 78 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minLength" = 1, "maxLength" = 78))]
    pub summary: Option<String>,
    /// Any number of lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxLength" = 4096))]
    pub description: Option<String>,
    /// SPDX licence expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9 .+():-]{1,256}$", "examples" = ["MIT OR Apache-2.0", "GPL-3.0-or-later"]))]
    pub license: Option<String>,
    /// Path of the icon inside the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icon: Option<RelativePath>,
    /// Home page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^(https?://[^ ]+|(mailto:)?[^ :/@]+@[^ :/]+)$", "maxLength" = 512))]
    pub website: Option<String>,
    /// Where to reach the publisher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^(https?://[^ ]+|(mailto:)?[^ :/@]+@[^ :/]+)$", "maxLength" = 512))]
    pub contact: Option<String>,
    /// Where the source code is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^(https?://[^ ]+|(mailto:)?[^ :/@]+@[^ :/]+)$", "maxLength" = 512))]
    pub source_code: Option<String>,
    /// Where to report faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^(https?://[^ ]+|(mailto:)?[^ :/@]+@[^ :/]+)$", "maxLength" = 512))]
    pub issues: Option<String>,
    /// Where to give money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^(https?://[^ ]+|(mailto:)?[^ :/@]+@[^ :/]+)$", "maxLength" = 512))]
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
    #[schemars(extend("maxItems" = 8))]
    pub architectures: Vec<Architecture>,
    /// How finished it is.
    #[serde(default)]
    pub grade: Grade,
    /// How well it keeps within its walls.
    #[serde(default, skip_serializing_if = "Confinement::is_strict")]
    pub confinement: Confinement,
    /// Which versions' data it can read.
    #[serde(default, skip_serializing_if = "Epoch::is_default")]
    pub epoch: Epoch,
    /// How the image is compressed.
    #[serde(default, skip_serializing_if = "Compression::is_usual")]
    pub compression: Compression,
    /// Environment variables of every app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::environment")]
    pub environment: BTreeMap<String, String>,
    /// What can be run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub apps: BTreeMap<Name, App>,
    /// Plugs with attributes, or with a name other than their interface's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::plugs")]
    pub plugs: BTreeMap<Name, Plug>,
    /// What apps offer to others: slots with attributes, or with a name other than their interface's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::plugs")]
    pub slots: BTreeMap<Name, Plug>,
    /// What is shown at places of the root folder besides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::layout")]
    pub layout: BTreeMap<String, Layout>,
    /// What is run when something happens to the package. This version of pack runs no hooks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::hooks")]
    pub hooks: BTreeMap<HookName, Hook>,
    /// How the content is made.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 256))]
    pub parts: BTreeMap<Name, Part>,
    /// Which findings about its files are not told.
    #[serde(default, skip_serializing_if = "Lint::is_empty")]
    pub lint: Lint,
}

/// `type`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PackageType {
    /// Programs for people.
    #[default]
    App,
    /// A root folder for other packages.
    Base,
}

/// `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "BaseText", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength" = 40, "examples" = ["host", "none", "debian-12"]))]
pub enum Base {
    /// The host's `/usr`, read-only.
    Host,
    /// Nothing but the package.
    None,
    /// Another package of `type: base`.
    Package(PackageName),
}

/// `rootfs`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RootFs {
    /// The package is at `/app` only.
    #[default]
    App,
    /// The package's `usr`, `etc`, `opt`… also lie over the base's.
    Merged,
}

/// `grade`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Grade {
    /// For everyone.
    #[default]
    Stable,
    /// Not for everyone yet.
    Devel,
}

/// `confinement`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Confinement {
    /// It asks for all that it needs.
    #[default]
    Strict,
    /// Its publisher is not yet done with finding out what it needs. The walls are the same; it is installed with `--devmode` alone,
    /// and each run tells what it was refused.
    Devmode,
}

impl Confinement {
    /// Whether it is what a package has that says nothing.
    pub fn is_strict(&self) -> bool {
        *self == Confinement::Strict
    }
}

/// A plug or a slot with its interface and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[^/\\\\]+(/[^/\\\\]+)*$", "maxLength" = 1024))]
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
