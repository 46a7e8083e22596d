//! What an interface may grant: the words of its definition.
//!
//! A grant names places of the host by the folder that they are in ([`Root`]), since where those are is known only at a
//! launch; and it names what an attribute of the plug says by the attribute, until it is resolved.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::attributes::{self, AttributeError};
use super::content;
use crate::manifest::RelativePath;
use crate::names::{Name, PackageName};

/// One thing granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Grant {
    /// The host's network namespace; or, where hosts are listed, those hosts alone, through a proxy.
    Network {
        /// TCP connections may be opened.
        connect: bool,
        /// TCP ports may be bound.
        bind: bool,
        /// Only these hosts, from the attribute `hosts`; empty means any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        hosts: Vec<HostPattern>,
        /// Only connections to these TCP ports, from the attribute `ports`; empty means any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ports: Vec<u16>,
    },
    /// The files in the user's home folder, but for hidden ones and those that act outside of the sandbox.
    Home {
        /// They can be changed; nothing new can be made at the top.
        writable: bool,
    },
    /// One of the user's folders for documents, pictures and so on (user-dirs.dirs(5)).
    UserFolder {
        /// Which.
        folder: UserFolder,
        /// Files in it can be changed and made; from the attribute `access`, where the interface has it.
        #[serde(default)]
        writable: bool,
    },
    /// A file or folder of the host's, where it is there.
    Files {
        /// Where it is.
        at: Place,
        /// Where it is shown, an absolute path; the same path as outside where nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        inside: Option<String>,
        /// It can be changed.
        #[serde(default)]
        writable: bool,
    },
    /// The paths that an attribute lists, each as [`Grant::Files`].
    Listed {
        /// The attribute.
        attribute: String,
        /// What the paths are relative to.
        within: Within,
        /// They can be changed.
        #[serde(default)]
        writable: bool,
    },
    /// A folder of the user's settings (`XDG_CONFIG_HOME`), for reading, which the app finds among its own: by a link there,
    /// unless it has something at that place.
    Settings {
        /// Its name, without a slash.
        folder: String,
    },
    /// A small file with this text.
    Text {
        /// Where it is shown, an absolute path.
        inside: String,
        /// What is in it.
        text: String,
    },
    /// A Unix socket of the user's session or of the system.
    Socket {
        /// Where it may be; the first that is a socket.
        at: Vec<SocketPlace>,
        /// Where it is shown.
        inside: Place,
        /// The variable that programs look for it with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        variable: Option<SocketVariable>,
    },
    /// Device nodes and folders of them.
    Devices {
        /// Absolute paths; a `*` in one stands for any characters within a component.
        paths: Vec<String>,
        /// Only nodes of this kind.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<DeviceKind>,
    },
    /// The device node that an attribute names.
    ListedDevice {
        /// The attribute.
        attribute: String,
        /// Patterns, one of which it has to match, as in [`Grant::Devices`].
        like: Vec<String>,
    },
    /// Variables of the caller's that pass, and fixed ones.
    Environment {
        /// Names of variables that pass from the caller as they are.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pass: Vec<String>,
        /// Variables that are set.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        set: BTreeMap<String, String>,
    },
    /// Names and methods on a message bus, through a filter of the app's own.
    Bus {
        /// Which bus.
        bus: Bus,
        /// What may be done there; all else is refused.
        rules: Vec<BusRule>,
    },
    /// The bus name in the attribute `name`, on the bus in the attribute `bus`.
    ListedBusName {
        /// To own it; otherwise to talk to it.
        own: bool,
        /// What the name has to begin with, where that is fixed; the attribute then gives the rest, and the package's
        /// name where it is not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prefix: Option<String>,
    },
    /// Interfaces of the desktop portal, by what follows `org.freedesktop.portal.` in their names.
    Portals {
        /// The interfaces.
        interfaces: Vec<String>,
    },
    /// The documents that a person chose for this app in a dialog of the portal's.
    Documents,
    /// The X server of `DISPLAY`: its socket, and the cookie for it alone.
    X11 {
        /// Only where there is no Wayland compositor.
        #[serde(default)]
        unless_wayland: bool,
    },
    /// The Wayland compositor, told that its client is an app in a sandbox where it can be told.
    Wayland,
    /// The sound server, through a filter.
    Sound {
        /// Sounds can be played.
        play: bool,
        /// The microphone, and what other programs play, can be recorded.
        record: bool,
    },
    /// Shared memory of the host's: System V, POSIX message queues, /dev/shm.
    SharedMemory,
    /// The host's processes are seen in /proc.
    HostProcesses {
        /// The user's own can be signalled, too.
        signal: bool,
    },
    /// The mount table of the host, as a file.
    HostMounts,
    /// Groups of system calls that are refused otherwise.
    SystemCalls {
        /// Names of groups in `schemas/system-calls.yaml`.
        groups: Vec<String>,
    },
    /// The content that the attributes `content`, `default-provider` and `target` name, as [`Grant::Content`].
    ListedContent,
    /// Files and sockets that another package of the same publisher offers.
    Content {
        /// The package.
        provider: PackageName,
        /// The label under which it offers them; the plug's name where nothing is said.
        label: Option<Name>,
        /// Where they are shown, an absolute path inside; below [`super::content::DEFAULT_TARGET`] where nothing is said.
        target: Option<String>,
    },
    /// The content that the attributes `content`, `read` and `sockets` name, as [`Grant::Offer`].
    ListedOffer,
    /// Files of the package, and sockets of its apps, that other packages of the same publisher may be shown. It gives the
    /// apps that offer them nothing.
    Offer {
        /// The label; the slot's name where nothing is said.
        label: Option<Name>,
        /// Files and folders of the package.
        read: Vec<RelativePath>,
        /// Whether sockets of its apps are shown.
        sockets: bool,
    },
}

/// A place of the host's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Place {
    /// What it is relative to.
    pub root: Root,
    /// The path below it, without a slash in front; nothing for the root itself.
    pub path: String,
}

/// What a [`Place`] is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// `/`.
    Host,
    /// The user's home folder.
    Home,
    /// `XDG_RUNTIME_DIR`.
    Runtime,
    /// `XDG_CONFIG_HOME`.
    Config,
    /// `XDG_DATA_HOME`.
    Data,
}

/// What the paths in an attribute are relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Within {
    /// The user's home folder, written `$HOME/…`.
    Home,
    /// The host's root; the paths are absolute.
    Host,
}

/// Where a socket may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SocketPlace {
    /// A variable of the caller's names it.
    Variable(SocketVariable),
    /// It is at a known place.
    At(Place),
}

/// A variable that names a socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SocketVariable {
    /// Its name.
    pub name: String,
    /// What stands before the path in its value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub prefix: String,
}

/// A kind of device that a node has to be, seen from what the kernel says of it in /sys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceKind {
    /// A hidraw node whose report descriptor has the usage page of FIDO security keys, 0xF1D0.
    SecurityKey,
    /// An input node with the buttons of a joystick or game pad (`BTN_JOYSTICK`, `BTN_GAMEPAD` of
    /// `linux/input-event-codes.h`), and so no keyboard and no mouse.
    Joystick,
}

/// One of the user's folders, as `user-dirs.dirs` names it (xdg-user-dirs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserFolder {
    /// `XDG_DOCUMENTS_DIR`.
    Documents,
    /// `XDG_DOWNLOAD_DIR`.
    Download,
    /// `XDG_MUSIC_DIR`.
    Music,
    /// `XDG_PICTURES_DIR`.
    Pictures,
    /// `XDG_PUBLICSHARE_DIR`.
    PublicShare,
    /// `XDG_TEMPLATES_DIR`.
    Templates,
    /// `XDG_VIDEOS_DIR`.
    Videos,
}

impl UserFolder {
    /// Its variable in `user-dirs.dirs`, and its usual name in a home folder.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            UserFolder::Documents => ("XDG_DOCUMENTS_DIR", "Documents"),
            UserFolder::Download => ("XDG_DOWNLOAD_DIR", "Downloads"),
            UserFolder::Music => ("XDG_MUSIC_DIR", "Music"),
            UserFolder::Pictures => ("XDG_PICTURES_DIR", "Pictures"),
            UserFolder::PublicShare => ("XDG_PUBLICSHARE_DIR", "Public"),
            UserFolder::Templates => ("XDG_TEMPLATES_DIR", "Templates"),
            UserFolder::Videos => ("XDG_VIDEOS_DIR", "Videos"),
        }
    }
}

/// A message bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bus {
    /// The user's session.
    Session,
    /// The system's.
    System,
    /// The one for assistive technology, whose address the session bus tells.
    Accessibility,
}

/// What may be done on a bus. A name may end in `.*`, which stands for itself and every name below it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum BusRule {
    /// The name is seen, and that it comes and goes.
    See(BusName),
    /// All of its methods can be called, and its signals are received.
    Talk(BusName),
    /// The app may take the name.
    Own(BusName),
    /// Methods that can be called.
    Call {
        /// At whom.
        name: BusName,
        /// `INTERFACE.METHOD`, or `INTERFACE.*`.
        method: BusName,
        /// At this object; any where nothing is said. It may end in `/*`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// Signals that are received.
    Broadcast {
        /// Whose.
        name: BusName,
        /// `INTERFACE.SIGNAL`, or `INTERFACE.*`.
        signal: BusName,
        /// From this object; any where nothing is said. It may end in `/*`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
}

/// A name on a bus, of an interface, or of a member of one: at least two elements of letters, digits, `_` and `-`,
/// between dots, none beginning with a digit, 255 bytes at most (D-Bus specification, "Valid Names"); the last may be
/// `*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BusName(String);

impl BusName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BusName {
    type Error = String;

    fn try_from(text: String) -> Result<BusName, String> {
        let elements: Vec<&str> = text.strip_suffix(".*").unwrap_or(&text).split('.').collect();
        let is_element = |element: &&str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            element.bytes().all(plain) && element.bytes().next().is_some_and(|first| !first.is_ascii_digit())
        };
        match text.len() <= 255 && elements.len() >= 2 && elements.iter().all(is_element) {
            true => Ok(BusName(text)),
            false => Err("it is no name of a bus: two or more words between dots".to_owned()),
        }
    }
}

impl From<BusName> for String {
    fn from(name: BusName) -> String {
        name.0
    }
}

/// A host that may be reached: a name, `*.` and a name for every name below it, or an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPattern(String);

impl HostPattern {
    /// The pattern, in small letters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HostPattern {
    type Error = String;

    fn try_from(text: String) -> Result<HostPattern, String> {
        let text = text.to_ascii_lowercase();
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        let name = text.strip_prefix("*.").unwrap_or(&text);
        let is_label = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        // No name of the world's ends in a number; a resolver would read an address: 127.1, 0x7f000001.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit());
        match is_address || (name.len() <= 253 && name.split('.').all(is_label) && !is_number) {
            true => Ok(HostPattern(text)),
            false => Err("it is no host: write example.org, *.example.org or an address".to_owned()),
        }
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> String {
        pattern.0
    }
}

impl Grant {
    /// Puts what the attributes say in its place; one grant may become several.
    pub(super) fn resolve(
        &self,
        values: &BTreeMap<String, Value>,
        package: &PackageName,
        resolved: &mut Vec<Grant>,
    ) -> Result<(), AttributeError> {
        match self {
            Grant::Network { connect, bind, .. } => resolved.push(Grant::Network {
                connect: *connect,
                bind: *bind,
                hosts: attributes::hosts(values, "hosts")?,
                ports: attributes::ports(values, "ports")?,
            }),
            Grant::UserFolder { folder, writable } => resolved.push(Grant::UserFolder {
                folder: *folder,
                writable: *writable || attributes::text(values, "access") == Some("read-write"),
            }),
            Grant::Listed { attribute, within, writable } => {
                let places = attributes::places(values, attribute, *within, *writable)?;
                resolved.extend(places.into_iter().map(|at| Grant::Files {
                    at,
                    inside: None,
                    writable: *writable,
                }));
            }
            Grant::ListedDevice { attribute, like } => {
                let paths = vec![attributes::device(values, attribute, like)?];
                resolved.push(Grant::Devices { paths, only: None });
            }
            Grant::ListedBusName { own, prefix } => {
                resolved.push(attributes::bus_name(values, *own, prefix.as_deref(), package)?);
            }
            Grant::ListedContent => resolved.push(content::wanted(values, package)?),
            Grant::ListedOffer => resolved.push(content::offered(values)?),
            Grant::SharedMemory if attributes::flag(values, "private") => {}
            Grant::SystemCalls { groups } if groups.iter().any(|group| group == "nested-sandbox") => {
                // browser-support gives it only where the app has an inner sandbox; others always.
                let wanted = values.get("allow-sandbox").is_none_or(|value| *value == Value::Bool(true));
                resolved.extend(wanted.then(|| self.clone()));
            }
            other => resolved.push(other.clone()),
        }
        Ok(())
    }
}
