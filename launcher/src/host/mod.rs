//! What this host is like: the facts that a plan is made from, and what `pack doctor` looks at ([`abilities`]).

pub mod abilities;
mod acting;
mod devices;
mod places;
mod session;
mod x11;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use pack_schemas::interface::{Bus, DeviceKind, Grant, Place, Root, UserFolder};

use crate::plan::system::ETC_OF_HOST_BASE;

pub use acting::Acting;
pub use session::{SoundServer, WaylandServer};
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
    /// Where /etc/localtime leads, as an absolute path, if it is a link.
    pub local_time: Option<String>,
    /// The caller's environment, where it is text.
    pub variables: BTreeMap<String, String>,
    /// Names at the top of the user's home folder that may be shown to an app; sorted.
    pub home: Vec<String>,
    /// Where the folders are that places are relative to; one that the environment does not name is not there.
    pub roots: BTreeMap<Root, String>,
    /// What acts outside of any sandbox, where a plug shows files.
    pub acting: Acting,
    /// The user's folders for documents and so on, relative to the home folder.
    pub user_folders: BTreeMap<UserFolder, String>,
    /// Sockets that were found, by where they are shown.
    pub sockets: BTreeMap<Place, String>,
    /// Device nodes that were found, by the pattern and the kind that they had to match.
    pub devices: BTreeMap<(String, Option<DeviceKind>), Vec<String>>,
    /// Addresses of message buses that are there.
    pub buses: BTreeMap<Bus, String>,
    /// The folder in which the portal shows documents that a person chose, for all apps.
    pub documents: Option<String>,
    /// The X11 display that the environment names.
    pub x11: Option<Display>,
    /// The Wayland compositor that the environment names.
    pub wayland: Option<WaylandServer>,
    /// The sound server.
    pub sound: Option<SoundServer>,
    /// The private socket of the user's systemd manager.
    pub manager: Option<String>,
    /// A number for this launch, which no other running app has.
    pub instance: String,
    /// The launcher's process id.
    pub launcher: u32,
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

/// What the facts are gathered from.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The caller's environment, where it is text.
    pub variables: BTreeMap<String, String>,
    /// The caller's home folder.
    pub home: String,
    /// The caller's working folder, where it is text.
    pub working_folder: Option<String>,
    /// Look which names of /etc are there. Otherwise all are taken to be: what is not there is passed over when the root
    /// folder is made, and only a person who is told of it wants to know before.
    pub list_etc: bool,
}

/// Gathers the facts: those that cost something only where one of the `grants` needs them.
///
/// # Errors
/// Where the host's root or the home folder cannot be listed.
pub fn gather<'a>(
    surroundings: Surroundings,
    grants: impl Iterator<Item = &'a Grant> + Clone,
) -> io::Result<HostFacts> {
    let Surroundings { variables, home, working_folder, list_etc } = surroundings;
    let user = user(&home);
    let wants = |test: fn(&Grant) -> bool| grants.clone().any(test);
    let mut facts = HostFacts {
        top: top()?,
        etc: if list_etc { shown_of_etc() } else { all_of_etc() },
        local_time: local_time(),
        home: Vec::new(),
        roots: places::roots(&variables, &user.home),
        user_folders: BTreeMap::new(),
        acting: Acting::default(),
        sockets: BTreeMap::new(),
        devices: BTreeMap::new(),
        buses: BTreeMap::new(),
        documents: None,
        x11: None,
        wayland: None,
        sound: None,
        manager: None,
        instance: instance(),
        launcher: std::process::id(),
        user,
        variables,
        working_folder,
    };
    facts.manager = session::manager(&facts.roots);
    let shows_files =
        |grant: &Grant| matches!(grant, Grant::Home { .. } | Grant::UserFolder { .. } | Grant::Files { .. });
    if wants(shows_files) {
        let home = facts.user.home.clone();
        facts.acting = acting::find(&facts.variables, &facts.roots, &home);
        if wants(|grant| matches!(grant, Grant::Home { .. } | Grant::UserFolder { .. })) {
            let tops = facts.acting.tops(Path::new(&home));
            facts.user_folders = places::user_folders(&facts.roots, &home, &tops);
            facts.home = home_names(&home, &tops)?;
        }
    }
    if wants(|grant| matches!(grant, Grant::X11 { .. })) {
        facts.x11 = x11::find(&facts.variables, &facts.user.home);
    }
    if wants(|grant| matches!(grant, Grant::Wayland | Grant::X11 { unless_wayland: true })) {
        facts.wayland = session::compositor(&facts.variables, &facts.roots);
    }
    if wants(|grant| matches!(grant, Grant::Sound { .. })) {
        facts.sound = session::sound(&facts.variables, &facts.roots);
    }
    for grant in grants {
        match grant {
            Grant::Socket { at, inside, .. } => {
                if let Some(path) = places::socket(at, &facts.variables, &facts.roots) {
                    facts.sockets.insert(inside.clone(), path);
                }
            }
            Grant::Devices { paths, only } => {
                for pattern in paths {
                    facts.devices.insert((pattern.clone(), *only), devices::find(pattern, *only));
                }
            }
            Grant::Bus { bus, .. } => facts.find_bus(*bus),
            Grant::Portals { .. } => facts.find_bus(Bus::Session),
            Grant::Documents => facts.documents = session::documents(&facts.variables, &facts.roots),
            _ => {}
        }
    }
    Ok(facts)
}

impl HostFacts {
    fn find_bus(&mut self, bus: Bus) {
        if !self.buses.contains_key(&bus)
            && let Some(address) = session::bus(bus, &self.variables, &self.roots)
        {
            self.buses.insert(bus, address);
        }
    }
}

/// The version of Landlock that the kernel has; 0 for none.
pub fn landlock_version() -> u32 {
    crate::sys::landlock::version().unwrap_or(0)
}

/// Where a socket at a place of the host's is shown inside: the runtime folder there is the sandbox's own.
pub fn inside(place: &Place, user: u32) -> Option<String> {
    match place.root {
        Root::Host => Some(format!("/{}", place.path)),
        Root::Runtime => Some(format!("{}/{}", crate::plan::system::runtime_folder(user), place.path)),
        Root::Home | Root::Config | Root::Data => None,
    }
}

/// A number that no other running app has: the launcher's process id, and the time, since ids come back.
fn instance() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{}{:06}", std::process::id(), now.subsec_micros())
}

fn local_time() -> Option<String> {
    let link = fs::read_link("/etc/localtime").ok()?.into_os_string().into_string().ok()?;
    Some(link.strip_prefix("..").map(str::to_owned).unwrap_or(link))
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

/// What the host has at `/` of the folders that belong to `/usr`.
///
/// # Errors
/// Where one of them cannot be looked at.
pub fn top() -> io::Result<BTreeMap<String, TopLink>> {
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

/// The names at the top of the home folder that may be shown: visible folders and files, without those that hold
/// something which acts outside of the sandbox.
fn home_names(home: &str, acting: &BTreeSet<String>) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(home)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        let is_shown = !name.starts_with('.') && !acting.contains(&name);
        if is_shown && (kind.is_dir() || kind.is_file()) && names.len() < HOME_MOST {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
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
pub(crate) fn read_small(path: &Path, limit: u64) -> Option<Vec<u8>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then_some(bytes)
}
