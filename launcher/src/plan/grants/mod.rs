//! What each connected plug adds to the root folder.
//!
//! All that plugs ask for is put together first, by target: two plugs may ask for the same, or one for a part of what the
//! other has. Then it is made in the order of the paths, so that a folder is there before what lies in it, and nothing
//! covers what was made before.

mod content;
mod files;
mod session;

use std::collections::BTreeMap;

use pack_schemas::interface::{Bus, Grant, Place, Root};
use pack_schemas::names::{Name, PackageName};
use pack_schemas::plan::{Access, Companion, Content, Entry, GrantedRule, Reason};

use crate::plan::{ConnectedPlug, Request, entry};

pub use content::sockets_path;
pub use session::{bus_variable, cookie_path, identity, pulse_socket, wayland_socket};

/// Where files of the host's are shown whose own place belongs to the base or the package.
pub const OF_HOST: &str = "/run/host";

/// Adds the entries of all plugs.
pub fn add(root: &mut Vec<Entry>, request: &Request<'_>, plugs: &[ConnectedPlug]) {
    let mut asked = Asked {
        request,
        covered: covered(root),
        providers: super::content::providers(request.content),
        entries: BTreeMap::new(),
        again: Vec::new(),
        rules: BTreeMap::new(),
    };
    for plug in plugs {
        for grant in &plug.grants {
            asked.add(grant, &plug.name);
        }
    }
    asked.add_buses();
    // What everyone has is given way to: /proc and /dev/shm have one entry each.
    root.retain(|made| !asked.entries.contains_key(&made.target));
    root.extend(asked.entries.into_values());
    root.extend(asked.again);
}

/// Folders of the base's and the package's, and of the app's data where the layout shows them: no place can be made in them.
fn covered(root: &[Entry]) -> Vec<String> {
    let is_closed = |content: &Content| {
        matches!(
            content,
            Content::Image { .. }
                | Content::Overlay { .. }
                | Content::Bind { access: Access::ReadOnly | Access::ReadWrite, .. }
        )
    };
    root.iter().filter(|entry| is_closed(&entry.content)).map(|entry| entry.target.clone()).collect()
}

/// What plugs ask for, so far.
struct Asked<'a> {
    request: &'a Request<'a>,
    covered: Vec<String>,
    /// Packages whose images are shown, in the plan's order.
    providers: Vec<PackageName>,
    entries: BTreeMap<String, Entry>,
    /// What is shown a second time, when all entries are made.
    again: Vec<Entry>,
    rules: BTreeMap<Bus, Vec<GrantedRule>>,
}

impl Asked<'_> {
    fn add(&mut self, grant: &Grant, plug: &Name) {
        match grant {
            Grant::Home { writable } => self.home(*writable, plug),
            Grant::UserFolder { folder, writable } => self.user_folder(*folder, *writable, plug),
            Grant::Files { at, inside, writable } => self.files(at, inside.as_deref(), *writable, plug),
            Grant::Settings { folder } => {
                let at = Place { root: Root::Config, path: folder.clone() };
                self.files(&at, None, false, plug);
            }
            Grant::Text { inside, text } => {
                self.put(inside.clone(), Content::File { data: text.clone().into_bytes() }, plug);
            }
            Grant::Socket { at: _, inside, variable: _ } => self.socket(inside, plug),
            Grant::Devices { paths, only } => self.devices(paths, *only, plug),
            Grant::SharedMemory => self.shared_memory(plug),
            Grant::HostProcesses { .. } => self.host_path("/proc", "/proc", plug),
            Grant::HostMounts => self.host_mounts(plug),
            Grant::X11 { unless_wayland } => self.x11(*unless_wayland, plug),
            Grant::Wayland => self.wayland(plug),
            Grant::Sound { play, record } => self.sound(*play, *record, plug),
            Grant::Bus { bus, rules } => self.bus(*bus, rules, plug),
            Grant::Portals { interfaces } => self.portals(interfaces, plug),
            Grant::Documents => self.documents(plug),
            // Namespaces, variables and system calls are other parts of the plan.
            Grant::Network { .. } | Grant::Environment { .. } | Grant::SystemCalls { .. } => {}
            Grant::Content { target, .. } => self.content(target.as_deref(), plug),
            // What is offered is shown to others.
            Grant::Offer { .. } => {}
            // Resolved when the plug was connected.
            Grant::Listed { .. }
            | Grant::ListedDevice { .. }
            | Grant::ListedBusName { .. }
            | Grant::ListedContent
            | Grant::ListedOffer => {}
        }
    }

    /// Puts an entry; where the target is taken, the one that can be written to stays, else the first.
    fn put(&mut self, target: String, content: Content, plug: &Name) {
        let is_writable =
            |content: &Content| matches!(content, Content::Bind { access: Access::ReadWrite, .. });
        match self.entries.get(&target) {
            Some(there) if is_writable(&there.content) || !is_writable(&content) => {}
            _ => {
                drop(self.entries.insert(target.clone(), entry(target, content, Reason::Plug(plug.clone()))))
            }
        }
    }

    /// Where a path of the host's is shown: at the same path, unless that lies in a folder of the base's or the
    /// package's; nothing where it is there already.
    fn place_of(&self, path: &str) -> Option<String> {
        let is_in =
            |folder: &String| path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        let Some(folder) = self.covered.iter().find(|folder| *folder == path || is_in(folder)) else {
            return Some(path.to_owned());
        };
        let shows_host = self.request.manifest.base == pack_schemas::manifest::Base::Host
            && self.request.host.top.contains_key(folder.trim_start_matches('/'))
            && !crate::plan::system::makes_root(self.request.manifest);
        (!shows_host).then(|| format!("{OF_HOST}{path}"))
    }

    fn add_buses(&mut self) {
        for (bus, mut rules) in std::mem::take(&mut self.rules) {
            let Some(address) = self.request.host.buses.get(&bus) else { continue };
            rules.sort_by(|a, b| a.rule.cmp(&b.rule));
            rules.dedup_by(|a, b| a.rule == b.rule);
            let because = rules[0].because.clone();
            let companion = Companion::Bus { bus, address: address.clone(), rules };
            self.put(session::bus_socket(bus, self.request), Content::Companion { companion }, &because);
        }
    }
}
