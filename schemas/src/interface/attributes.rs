//! Attributes of plugs: which an interface has, what values they may take, and their values read.
//!
//! They come from a manifest, so that every one of them is checked here, once: at build, at install and at connect.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::grant::{Bus, BusName, BusRule, Grant, HostPattern, Place, Root, Within};
use crate::names::PackageName;

/// An attribute of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Attribute {
    /// What it means.
    pub summary: String,
    /// What values it may take.
    pub kind: AttributeKind,
    /// The value where a plug says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// Whether a plug has to say it.
    #[serde(default)]
    pub required: bool,
}

/// What values an attribute may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttributeKind {
    /// `true` or `false`.
    Flag,
    /// A text of 1 to 255 bytes without control characters.
    Text,
    /// One of these words.
    Word(Vec<String>),
    /// Paths, one or a list.
    Paths,
    /// Hosts, one or a list.
    Hosts,
    /// TCP ports from 1 on, one or a list.
    Ports,
}

/// Why the attributes of a plug cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// The interface has no such attribute.
    #[error("the interface has no attribute `{name}`")]
    Unknown {
        /// The attribute.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// An attribute that has to be there is not.
    #[error("the attribute `{name}` is missing")]
    Missing {
        /// The attribute.
        name: String,
    },
    /// A value that the attribute cannot have.
    #[error("the attribute `{name}` cannot be that: {problem}")]
    Wrong {
        /// The attribute.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// Apps cannot offer the interface.
    #[error("apps cannot offer the interface; write it under `plugs`")]
    NoSlot,
}

pub(super) fn wrong(name: &str, problem: impl Into<String>) -> AttributeError {
    AttributeError::Wrong { name: name.to_owned(), problem: problem.into() }
}

/// Most items of a list.
const ITEMS_MOST: usize = 64;
/// Longest text, in bytes; paths may be longer.
const TEXT_LONGEST: usize = 255;
/// Longest path, in bytes.
const PATH_LONGEST: usize = 1024;

/// The values of all attributes: those given, which are checked, and the defaults of the others.
pub(super) fn values(
    known: &BTreeMap<String, Attribute>,
    given: &BTreeMap<String, Value>,
) -> Result<BTreeMap<String, Value>, AttributeError> {
    if let Some(name) = given.keys().find(|name| !known.contains_key(*name)) {
        let known = known.keys().cloned().collect();
        return Err(AttributeError::Unknown { name: name.clone(), known });
    }
    let mut values = BTreeMap::new();
    for (name, attribute) in known {
        match (given.get(name), &attribute.default) {
            (Some(value), _) => {
                check(name, &attribute.kind, value)?;
                values.insert(name.clone(), value.clone());
            }
            (None, Some(default)) => {
                values.insert(name.clone(), default.clone());
            }
            (None, None) if attribute.required => {
                return Err(AttributeError::Missing { name: name.clone() });
            }
            (None, None) => {}
        }
    }
    Ok(values)
}

fn check(name: &str, kind: &AttributeKind, value: &Value) -> Result<(), AttributeError> {
    match kind {
        AttributeKind::Flag if value.is_boolean() => Ok(()),
        AttributeKind::Flag => Err(wrong(name, "write true or false")),
        AttributeKind::Text => match value.as_str() {
            Some(text) if is_plain(text, TEXT_LONGEST) => Ok(()),
            _ => Err(wrong(name, "write a text of one line")),
        },
        AttributeKind::Word(words) => match value.as_str() {
            Some(text) if words.iter().any(|word| word == text) => Ok(()),
            _ => Err(wrong(name, format!("write one of {}", words.join(", ")))),
        },
        AttributeKind::Paths | AttributeKind::Hosts => items(name, value).map(drop),
        AttributeKind::Ports => port_list(name, value).map(drop),
    }
}

fn is_plain(text: &str, longest: usize) -> bool {
    !text.is_empty() && text.len() <= longest && !text.chars().any(char::is_control)
}

/// One text, or a list of them.
pub(super) fn items<'a>(name: &str, value: &'a Value) -> Result<Vec<&'a str>, AttributeError> {
    let list = match value {
        Value::Array(list) => list.iter().collect(),
        one => vec![one],
    };
    if list.len() > ITEMS_MOST {
        return Err(wrong(name, format!("it has more than {ITEMS_MOST} items")));
    }
    // No limit at all is written by leaving the attribute out.
    if list.is_empty() {
        return Err(wrong(name, "the list is empty"));
    }
    let text = |item: &'a Value| item.as_str().filter(|text| is_plain(text, PATH_LONGEST));
    list.into_iter()
        .map(|item| text(item).ok_or_else(|| wrong(name, "write a text, or a list of texts")))
        .collect()
}

pub(super) fn text<'a>(values: &'a BTreeMap<String, Value>, name: &str) -> Option<&'a str> {
    values.get(name).and_then(Value::as_str)
}

pub(super) fn flag(values: &BTreeMap<String, Value>, name: &str) -> bool {
    values.get(name) == Some(&Value::Bool(true))
}

pub(super) fn hosts(
    values: &BTreeMap<String, Value>,
    name: &str,
) -> Result<Vec<HostPattern>, AttributeError> {
    let Some(value) = values.get(name) else { return Ok(Vec::new()) };
    let host = |text: &str| HostPattern::try_from(text.to_owned()).map_err(|problem| wrong(name, problem));
    items(name, value)?.into_iter().map(host).collect()
}

pub(super) fn ports(values: &BTreeMap<String, Value>, name: &str) -> Result<Vec<u16>, AttributeError> {
    values.get(name).map_or(Ok(Vec::new()), |value| port_list(name, value))
}

fn port_list(name: &str, value: &Value) -> Result<Vec<u16>, AttributeError> {
    let list = match value {
        Value::Array(list) if list.len() <= ITEMS_MOST => list.iter().collect(),
        Value::Array(_) => return Err(wrong(name, format!("it has more than {ITEMS_MOST} items"))),
        one => vec![one],
    };
    if list.is_empty() {
        return Err(wrong(name, "the list is empty"));
    }
    let port =
        |item: &Value| item.as_u64().and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0);
    list.into_iter()
        .map(|item| port(item).ok_or_else(|| wrong(name, "write ports from 1 to 65535")))
        .collect()
}

/// Files and folders of the home folder that act outside of the sandbox: start-up files of shells and sessions, and settings
/// that name programs to run. A path that may be changed is none of them, lies in none, and holds none (CVE-2024-1724).
pub const ACTING_IN_HOME: &[&str] = &[
    ".bash_aliases",
    ".bash_login",
    ".bash_logout",
    ".bash_profile",
    ".bashrc",
    ".bashrc.d",
    ".cargo",
    ".config/Code",
    ".config/autostart",
    ".config/autostart-scripts",
    ".config/dconf",
    ".config/environment.d",
    ".config/fish",
    ".config/git",
    ".config/gtk-3.0",
    ".config/gtk-4.0",
    ".config/hypr",
    ".config/i3",
    ".config/mimeapps.list",
    ".config/nvim",
    ".config/plasma-workspace",
    ".config/pulse",
    ".config/sway",
    ".config/systemd",
    ".config/tmux",
    ".config/user-dirs.dirs",
    ".config/wireplumber",
    ".config/zsh",
    ".cshrc",
    ".emacs",
    ".emacs.d",
    ".gitconfig",
    ".gnupg",
    ".inputrc",
    ".kshrc",
    ".local/bin",
    ".local/lib",
    ".local/share/applications",
    ".local/share/dbus-1",
    ".local/share/flatpak",
    ".local/share/gnome-shell",
    ".local/share/nautilus",
    ".local/share/pack",
    ".local/share/systemd",
    ".login",
    ".pam_environment",
    ".profile",
    ".ssh",
    ".tcshrc",
    ".tmux.conf",
    ".vim",
    ".vimrc",
    ".xinitrc",
    ".xprofile",
    ".xserverrc",
    ".xsession",
    ".xsessionrc",
    ".zlogin",
    ".zlogout",
    ".zprofile",
    ".zshenv",
    ".zshrc",
    "bin",
];

/// What nobody is shown, to read or to write: pack's own state, whose keepers serve every app.
const NEVER_IN_HOME: &[&str] = &[".local/share/pack"];

/// Parts of the host's root that no list of files may name: they are other interfaces', the kernel's, or anybody's to
/// write to.
const NEVER_OF_HOST: &[&str] = &[
    "app",
    "dev",
    "etc/group",
    "etc/group-",
    "etc/gshadow",
    "etc/gshadow-",
    "etc/mtab",
    "etc/passwd",
    "etc/passwd-",
    "etc/shadow",
    "etc/shadow-",
    "home",
    "proc",
    "root",
    "run",
    "sys",
    "sysroot",
    "tmp",
    "usr/home",
    "var/home",
    "var/lock",
    "var/run",
    "var/tmp",
];

/// The places that an attribute lists.
pub(super) fn places(
    values: &BTreeMap<String, Value>,
    name: &str,
    within: Within,
    writable: bool,
) -> Result<Vec<Place>, AttributeError> {
    let Some(value) = values.get(name) else { return Ok(Vec::new()) };
    items(name, value)?.into_iter().map(|text| place(name, text, within, writable)).collect()
}

fn place(name: &str, text: &str, within: Within, writable: bool) -> Result<Place, AttributeError> {
    let (root, path) = match within {
        Within::Home => (Root::Home, text.strip_prefix("$HOME/")),
        Within::Host => (Root::Host, text.strip_prefix('/')),
    };
    let Some(path) = path.map(|path| path.trim_end_matches('/')) else {
        let form = if within == Within::Home { "$HOME/…" } else { "/…" };
        return Err(wrong(name, format!("write paths as {form}")));
    };
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(wrong(name, "a path has no empty component, `.` or `..`"));
    }
    let touches = |list: &[&str]| list.iter().any(|other| is_within(path, other) || is_within(other, path));
    let refused = match within {
        Within::Home => touches(NEVER_IN_HOME) || writable && touches(ACTING_IN_HOME),
        Within::Host => touches(NEVER_OF_HOST),
    };
    match refused {
        true => {
            Err(wrong(name, format!("`{text}` acts outside of the sandbox, or belongs to another interface")))
        }
        false => Ok(Place { root, path: path.to_owned() }),
    }
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn device(
    values: &BTreeMap<String, Value>,
    name: &str,
    like: &[String],
) -> Result<String, AttributeError> {
    let path = text(values, name).ok_or_else(|| AttributeError::Missing { name: name.to_owned() })?;
    match like.iter().any(|pattern| matches_path(pattern, path)) {
        true => Ok(path.to_owned()),
        false => Err(wrong(name, format!("write one of {}", like.join(", ")))),
    }
}

/// Whether a path matches a pattern: component by component, where one `*` stands for digits, at least one.
fn matches_path(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('/').zip(path.split('/'));
    pattern.split('/').count() == path.split('/').count()
        && parts.all(|(pattern, part)| match pattern.split_once('*') {
            None => pattern == part,
            Some((before, after)) => part
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())),
        })
}

/// What names begin with that are the desktop's own, whose owner runs programs or keeps secrets for others, or of which other
/// interfaces give parts.
const RESERVED_NAMES: &[&str] = &[
    "ca.desrt.dconf",
    "com.canonical.",
    "io.snapcraft.",
    "org.a11y.",
    "org.cinnamon.",
    "org.freedesktop.",
    "org.gnome.Mutter",
    "org.gnome.ScreenSaver",
    "org.gnome.SessionManager",
    "org.gnome.Settings",
    "org.gnome.SettingsDaemon",
    "org.gnome.Shell",
    "org.gnome.Terminal",
    "org.gnome.keyring",
    "org.gtk.vfs",
    "org.kde.KWin",
    "org.kde.kded",
    "org.kde.kglobalaccel",
    "org.kde.klauncher",
    "org.kde.konsole",
    "org.kde.krunner",
    "org.kde.kwallet",
    "org.kde.plasma",
    "org.kde.polkit",
    "org.mate.",
    "org.mpris.MediaPlayer2",
    "org.xfce.",
    "pack.app.",
];

/// The bus name that the attributes `bus` and `name` give.
pub(super) fn bus_name(
    values: &BTreeMap<String, Value>,
    own: bool,
    prefix: Option<&str>,
    package: &PackageName,
) -> Result<Grant, AttributeError> {
    let given = text(values, "name");
    let name = match prefix {
        // A program that runs more than once adds another word for each.
        Some(prefix) => {
            let last = given.unwrap_or(package.as_str());
            format!("{prefix}{}.*", last.strip_suffix(".*").unwrap_or(last))
        }
        None => given.ok_or_else(|| AttributeError::Missing { name: "name".to_owned() })?.to_owned(),
    };
    let name = BusName::try_from(name).map_err(|problem| wrong("name", problem))?;
    // Names that are the desktop's own, or whose owner runs programs for others, are no app's to take or to call whole.
    if prefix.is_none() && RESERVED_NAMES.iter().any(|reserved| name.as_str().starts_with(reserved)) {
        return Err(wrong(
            "name",
            "it belongs to the desktop or the system; other interfaces give parts of those",
        ));
    }
    if prefix.is_none() && name.as_str().ends_with(".*") && name.as_str().matches('.').count() < 3 {
        return Err(wrong("name", "a pattern has three words at least before `.*`"));
    }
    let bus = if text(values, "bus") == Some("system") { Bus::System } else { Bus::Session };
    let rule = if own { BusRule::Own(name) } else { BusRule::Talk(name) };
    Ok(Grant::Bus { bus, rules: vec![rule] })
}
