//! What this host is like: the facts that a plan is made from, and what `pack doctor` looks at ([`abilities`]).

pub mod abilities;
mod x11;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::plan::system::ETC_OF_HOST_BASE;

pub use x11::Display;

/// The facts that a plan is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The user who launches.
    pub user: User,
    /// What the host has at `/` of the folders that belong to `/usr`: itself, and bin, lib, lib64, sbin… beside it.
    pub top: BTreeMap<String, TopLink>,
    /// Which of the names of [`ETC_OF_HOST_BASE`] are, or may be, in the host's /etc.
    pub etc: Vec<String>,
    /// The caller's environment, where it is text.
    pub variables: BTreeMap<String, String>,
    /// Names at the top of the user's home folder that may be shown to an app; sorted.
    pub home: Vec<String>,
    /// The X11 display that the environment names.
    pub x11: Option<Display>,
    /// The caller's working folder, where it is text.
    pub working_folder: Option<String>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub id: u32,
    /// Group id.
    pub group_id: u32,
    /// Login name, or `user` where the id has none that is fit for /etc/passwd.
    pub name: String,
    /// Name of the group, or `users`.
    pub group_name: String,
    /// Home folder, absolute.
    pub home: String,
}

/// A folder at the top of the host's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopLink {
    /// A folder of its own.
    Folder,
    /// A symbolic link and where it points.
    Link(String),
}

/// Names at the top of the host's root that belong to its /usr.
const TOP: &[&str] = &["bin", "lib", "lib32", "lib64", "libx32", "sbin", "usr"];
/// Where NixOS and Guix keep what /usr/bin points to.
const STORES: &[&str] = &["nix", "gnu"];
/// More entries of a home folder than this are not shown one by one.
const HOME_MOST: usize = 4096;
/// Longest file of users or groups that is looked through.
const USERS_LIMIT: u64 = 4 << 20;

/// Most files of users or groups are shorter, in bytes, and read at once.
const USUAL_SIZE: usize = 8 << 10;

/// Which facts are wanted: the ones that cost something only where a plug needs them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// List the home folder.
    pub home: bool,
    /// Look for the X11 display.
    pub x11: bool,
    /// Look which names of /etc are there. Otherwise all are taken to be: what is not there is passed over when the root
    /// folder is made, and only a person who is told of it wants to know before.
    pub etc: bool,
}

/// Gathers the facts. `variables` is the caller's environment, `home` the caller's home folder.
///
/// # Errors
/// Where the host's root or the home folder cannot be listed.
pub fn gather(
    variables: BTreeMap<String, String>,
    home: &str,
    working_folder: Option<String>,
    wanted: Wanted,
) -> io::Result<HostFacts> {
    Ok(HostFacts {
        user: user(home),
        top: top()?,
        etc: if wanted.etc { shown_of_etc() } else { all_of_etc() },
        home: if wanted.home { shown_names(home, &variables)? } else { Vec::new() },
        x11: if wanted.x11 { x11::find(&variables, home) } else { None },
        variables,
        working_folder,
    })
}

fn all_of_etc() -> Vec<String> {
    ETC_OF_HOST_BASE.iter().map(|name| (*name).to_owned()).collect()
}

/// The names of [`ETC_OF_HOST_BASE`] that are there, and lead somewhere that the user can reach.
fn shown_of_etc() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/etc") else { return Vec::new() };
    let shown = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        ETC_OF_HOST_BASE.binary_search(&name.as_str()).ok()?;
        let leads_nowhere = entry.file_type().ok()?.is_symlink() && !entry.path().exists();
        (!leads_nowhere).then_some(name)
    });
    let mut shown: Vec<String> = shown.collect();
    shown.sort();
    shown
}

fn top() -> io::Result<BTreeMap<String, TopLink>> {
    let mut top = BTreeMap::new();
    for name in TOP.iter().chain(STORES) {
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                if let Ok(target) = fs::read_link(&path)?.into_os_string().into_string() {
                    top.insert((*name).to_owned(), TopLink::Link(target));
                }
            }
            Ok(found) if found.is_dir() => {
                top.insert((*name).to_owned(), TopLink::Folder);
            }
            _ => {}
        }
    }
    Ok(top)
}

/// Variables that name folders whose contents act outside of any sandbox: programs on PATH, menu entries, autostart,
/// pack's own state, and sockets, among them those of the keepers, who hand out the devices that every app is served by.
const ACTING_FOLDERS: &[&str] = &[
    "PACK_HOME",
    "PATH",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "XDG_RUNTIME_DIR",
    "XDG_STATE_HOME",
];

/// The names at the top of the home folder that may be shown: visible folders and files, without those that hold
/// something which acts outside of the sandbox ([`ACTING_FOLDERS`], and what hidden links point to: `~/.profile` may
/// be kept in `~/dotfiles`).
fn shown_names(home: &str, variables: &BTreeMap<String, String>) -> io::Result<Vec<String>> {
    let mut acting: Vec<PathBuf> = ACTING_FOLDERS
        .iter()
        .filter_map(|name| variables.get(*name))
        .flat_map(|value| value.split(':').filter(|path| !path.is_empty()).map(PathBuf::from))
        .collect();
    let mut names = Vec::new();
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        if name.starts_with('.') {
            acting.extend(kind.is_symlink().then(|| entry.path()));
        } else if (kind.is_dir() || kind.is_file()) && names.len() < HOME_MOST {
            names.push(name);
        }
    }
    let home = Path::new(home);
    let real_home = fs::canonicalize(home)?;
    let acting: BTreeSet<String> =
        acting.iter().flat_map(|path| tops(path, home).into_iter().chain(tops(path, &real_home))).collect();
    names.retain(|name| !acting.contains(name));
    names.sort();
    Ok(names)
}

/// The name at the top of `home` below which `path` lies, as it is written and as its links lead.
fn tops(path: &Path, home: &Path) -> Vec<String> {
    let real = fs::canonicalize(path).ok();
    [Some(path), real.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(|path| path.strip_prefix(home).ok()?.iter().next()?.to_str().map(str::to_owned))
        .collect()
}

/// Looks the user up in /etc/passwd and /etc/group alone: asking every name service would load their libraries into
/// the launcher, and may ask the network.
fn user(home: &str) -> User {
    let (id, group_id) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    User {
        id,
        group_id,
        name: name_of(Path::new("/etc/passwd"), id).unwrap_or_else(|| "user".to_owned()),
        group_name: name_of(Path::new("/etc/group"), group_id).unwrap_or_else(|| "users".to_owned()),
        home: home.trim_end_matches('/').to_owned(),
    }
}

/// The first field of the line whose third is `id`, if it is a plain name.
fn name_of(file: &Path, id: u32) -> Option<String> {
    let mut text = String::with_capacity(USUAL_SIZE);
    File::open(file).ok()?.take(USERS_LIMIT).read_to_string(&mut text).ok()?;
    let id = id.to_string();
    let name = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number == id).then_some(name)
    })?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (!name.is_empty() && name.len() <= 32 && name.bytes().all(plain)).then(|| name.to_owned())
}

/// Reads a small file that the user may have replaced by anything: a regular file only, not waiting for a FIFO, at
/// most `limit` bytes.
fn read_small(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}
