//! What a launch will do, as plain data: built by pure functions, printed by `pack run --explain`, carried out step by
//! step. Nothing in it has been done yet, and everything that will be done is in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::names::{Name, PackageName, Revision, Version};

/// The whole of one launch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Plan {
    /// The package.
    pub package: PackageName,
    /// Its version.
    pub version: Version,
    /// Its installed revision.
    pub revision: Revision,
    /// The app.
    pub app: Name,
    /// Whether and how the app reaches the network.
    pub network: Network,
    /// Whether abstract Unix sockets outside the sandbox are shut off by Landlock. Where the network namespace is the
    /// app's own they are out of reach in any case.
    pub abstract_sockets_shut: bool,
    /// What the root folder is made of, in the order in which it is made. The root is a tmpfs of its own, and is
    /// read-only from the moment when the last entry is in place.
    pub root: Vec<Entry>,
    /// The whole environment of the app; nothing is inherited beside it.
    pub environment: BTreeMap<String, Setting>,
    /// The program, a path inside.
    pub program: String,
    /// Its first arguments, from the manifest; the caller's follow, which need not be text.
    pub arguments: Vec<String>,
    /// Working directory inside; the first of these that exists.
    pub working_folders: Vec<String>,
}

/// Whether and how an app reaches the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// A network namespace of its own, with nothing but a loopback interface.
    Own,
    /// The host's network namespace.
    Host {
        /// Whether TCP connections may be opened.
        connect: bool,
        /// Whether TCP ports may be bound.
        bind: bool,
        /// The plugs that asked for it.
        because: Vec<Name>,
    },
}

/// An environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Setting {
    /// Its value.
    pub value: String,
    /// What asked for it.
    pub because: Reason,
}

/// What asked for a line of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// Every app has it.
    Sandbox,
    /// The base of the package.
    Base,
    /// The package itself.
    Package,
    /// The user who runs it, or the caller's environment.
    User,
    /// A connected plug.
    Plug(Name),
}

/// A place in the root folder and what goes there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Entry {
    /// Absolute path inside, without `.`, `..` or empty components. Missing folders above it are made.
    pub target: String,
    /// What goes there.
    pub content: Content,
    /// What asked for it.
    pub because: Reason,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// An empty folder of the read-only root.
    Folder,
    /// A symbolic link.
    Symlink {
        /// What it points to.
        to: String,
    },
    /// A small file of the read-only root. What is in it may be a secret of the user's: it is not for showing.
    File {
        /// What is in it.
        data: Vec<u8>,
    },
    /// A writable tmpfs of its own.
    Tmpfs {
        /// Limit in bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
    },
    /// Something of the host's, shown at the target.
    Bind {
        /// What.
        source: Source,
        /// How.
        access: Access,
        /// Whether it may be missing.
        optional: bool,
    },
    /// A folder or file of a mounted image; the empty path is the image's root.
    Image {
        /// Which image.
        image: ImageRole,
        /// Path inside the image.
        path: String,
    },
    /// Several folders laid over one another, the first on top, read-only.
    Overlay {
        /// The layers, at least two.
        layers: Vec<Layer>,
    },
    /// The proc file system of the app's own pid namespace.
    Proc,
    /// The pseudo-terminals of the sandbox's own devpts.
    Terminals,
}

/// A layer of an overlay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// A folder of a mounted image.
    Image {
        /// Which image.
        image: ImageRole,
        /// Path inside the image.
        path: String,
    },
    /// A folder of the host's.
    Host {
        /// Absolute path.
        path: String,
    },
}

/// One of the images of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRole {
    /// The package.
    Package,
    /// Its base.
    Base,
}

/// Something of the host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A path that no app can change: links in it are followed.
    Path(String),
    /// A path below a folder, in which an app may write somewhere: the part below is opened with
    /// `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS` (openat2(2)), so a planted link is an error and not a way out.
    Beneath {
        /// The folder, trusted.
        folder: String,
        /// The path below it, relative.
        path: String,
    },
}

/// How a bind may be used. Every bind is `nosuid`, and `nodev` unless it is a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// For reading.
    ReadOnly,
    /// For reading and writing.
    ReadWrite,
    /// A device node.
    Device,
}

impl Reason {
    /// For people: `every app`, `plug home`.
    pub fn describe(&self) -> String {
        match self {
            Reason::Sandbox => "every app".to_owned(),
            Reason::Base => "base".to_owned(),
            Reason::Package => "package".to_owned(),
            Reason::User => "caller".to_owned(),
            Reason::Plug(name) => format!("plug {name}"),
        }
    }
}
