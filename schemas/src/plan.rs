//! What a launch will do, as plain data: built by pure functions, printed by `pack run --explain`, carried out step by
//! step. Nothing in it has been done yet, and everything that will be done is in it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::interface::{Bus, BusRule, HostPattern};
use crate::limits::Limits;
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
    /// How much the app sees of other processes.
    pub processes: Processes,
    /// The plugs for which the host's IPC namespace is shared; a namespace of its own where there is none.
    pub shared_memory: Vec<Name>,
    /// How much of the machine the app may have.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// The private socket of the user's systemd manager, absolute, where one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// Groups of system calls (`schemas/system-calls.yaml`) that are not refused, and the plug that asked for each.
    pub system_calls: BTreeMap<String, Name>,
    /// The user and the group that the app is inside, and the name of the machine there: those of the host where nothing is
    /// said. Builds have the same everywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stand_in: Option<StandIn>,
    /// What the desktop portal and the message bus know the app as; nothing where it reaches neither.
    pub identity: Option<Identity>,
    /// What the root folder is made of, in the order in which it is made. The root is a tmpfs of its own, and is
    /// read-only from the moment when the last entry is in place.
    pub root: Vec<Entry>,
    /// Folders and files of the app's own data that are made before the root, where they are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<Made>,
    /// The packages whose images content plugs show, each of the same publisher.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<PackageName>,
    /// Links in the app's own folders, by their paths, and where they lead: the app's process makes them before it becomes
    /// the app, where nothing is yet.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, Setting>,
    /// The whole environment of the app; nothing is inherited beside it.
    pub environment: BTreeMap<String, Setting>,
    /// The program: a path inside, or a plain name that is looked up in the folders of PATH.
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
    /// A namespace of its own, and a proxy on its loopback interface that reaches these hosts.
    Hosts {
        /// The hosts.
        hosts: Vec<HostPattern>,
        /// TCP ports that may be connected to; empty means any.
        ports: Vec<u16>,
        /// The plugs that asked for it.
        because: Vec<Name>,
    },
    /// The host's network namespace.
    Host {
        /// Whether TCP connections may be opened.
        connect: bool,
        /// Only to these TCP ports; empty means any.
        #[serde(default)]
        ports: Vec<u16>,
        /// Whether TCP ports may be bound.
        bind: bool,
        /// The plugs that asked for it.
        because: Vec<Name>,
    },
}

/// The TCP port of the proxy on the loopback interface, where the network is [`Network::Hosts`].
pub const PROXY_PORT: u16 = 3128;

/// How much an app sees of the processes outside of its sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Processes {
    /// Nothing: a pid namespace of its own.
    #[default]
    Own,
    /// They are listed in its /proc; it has a pid namespace of its own and signals none of them.
    Seen {
        /// The plug that asked for it.
        because: Name,
    },
    /// The host's pid namespace: the user's own processes can be signalled.
    Shared {
        /// The plug that asked for it.
        because: Name,
    },
}

/// What stands inside for the user and the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StandIn {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// Name of the machine.
    pub host_name: String,
}

/// What others know an app as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Identity {
    /// Its id for the desktop: `pack.app.NAME`.
    pub id: String,
    /// A number for this launch.
    pub instance: String,
    /// The file that tells the portal, and toolkits in the app, that it is in a sandbox, as whom, and with what: of the form
    /// that Flatpak has made known, since that is what they look for.
    pub info: String,
    /// The folder of the user's in which the portal looks up running apps by that number; nothing where the user has no
    /// runtime folder.
    pub instances: Option<String>,
}

/// An environment variable, or a link.
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
    /// A copy of a file of the host's, where that is there. It is made anew whenever that changes, where the host's network
    /// is shared.
    Copy {
        /// Absolute path on the host; links are followed.
        path: String,
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
    /// A folder or file of a mounted image; the empty path is the image's root. What a provider does not have is left out.
    Image {
        /// Which image.
        image: ImageRole,
        /// Path inside the image.
        path: String,
    },
    /// A folder of the root folder that was made before, shown once more, read-only.
    Again {
        /// Its path inside.
        path: String,
    },
    /// A socket behind which a process of pack's stands, outside of the sandbox.
    Companion {
        /// Which.
        companion: Companion,
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

/// What stands behind a socket in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Companion {
    /// The user's sound server, through a filter.
    Sound {
        /// Absolute path of the server's socket.
        server: String,
        /// Absolute path of the file with the server's cookie, where there is one.
        cookie: Option<String>,
        /// The plug with which sounds can be played; nothing where they cannot.
        play: Option<Name>,
        /// The plug with which sounds can be recorded; nothing where they cannot.
        record: Option<Name>,
    },
    /// The compositor itself, told by its security context protocol that it serves an app in a sandbox.
    Wayland {
        /// Absolute path of the compositor's socket.
        server: String,
    },
    /// A message bus, through a filter (xdg-dbus-proxy).
    Bus {
        /// Which.
        bus: Bus,
        /// Its address (D-Bus specification, "Server Addresses").
        address: String,
        /// What may be done there.
        rules: Vec<GrantedRule>,
    },
}

/// A rule on a bus, and the plug that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GrantedRule {
    /// The rule.
    pub rule: BusRule,
    /// The plug.
    pub because: Name,
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
    /// A folder of the sandbox's own that has nothing but these places, by their paths below it.
    Places {
        /// The places: folders and files to mount on, and links.
        places: BTreeMap<String, PlaceKind>,
    },
}

/// What a place is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaceKind {
    /// An empty folder.
    Folder,
    /// An empty file.
    File,
    /// A symbolic link.
    Symlink {
        /// What it points to.
        to: String,
    },
}

/// Something of the app's own data that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Made {
    /// The folder of all packages' data, trusted.
    pub folder: String,
    /// The path below it; the app may have planted links there.
    pub path: String,
    /// What it is.
    pub kind: MadeKind,
}

/// What is made of the app's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MadeKind {
    /// A folder.
    Folder,
    /// An empty file.
    File,
}

/// One of the images of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ImageRole {
    /// The package.
    Package,
    /// Its base.
    Base,
    /// A package that shows it content, by its position in [`Plan::providers`].
    Provider(usize),
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
    /// A device node, or a folder of them.
    Device,
    /// A Unix socket, and nothing else: to connect to.
    Socket,
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
