//! Plugs that show something of the user's session: displays, sound, message buses, portals.

use std::collections::BTreeMap;

use pack_schemas::interface::{Bus, BusName, BusRule, Grant, Root};
use pack_schemas::names::Name;
use pack_schemas::plan::{Access, Companion, Content, GrantedRule, Identity, Source};

use super::Asked;
use super::files::socket_at;
use crate::host::HostFacts;
use crate::plan::system::runtime_folder;
use crate::plan::{ConnectedPlug, Request};

/// The portal's interface that tells of the network.
const NETWORK_MONITOR: &str = "org.freedesktop.portal.NetworkMonitor.";

/// Where the X11 cookie lies inside.
pub fn cookie_path(user: u32) -> String {
    format!("{}/Xauthority", runtime_folder(user))
}

/// Where the compositor's socket lies inside.
pub fn wayland_socket(user: u32) -> String {
    format!("{}/wayland-0", runtime_folder(user))
}

/// Where the sound server's socket lies inside.
pub fn pulse_socket(user: u32) -> String {
    format!("{}/pulse/native", runtime_folder(user))
}

/// Where a bus's socket lies inside.
pub(super) fn bus_socket(bus: Bus, request: &Request<'_>) -> String {
    let runtime = runtime_folder(request.host.user.id);
    match bus {
        Bus::Session => format!("{runtime}/bus"),
        Bus::System => "/run/dbus/system_bus_socket".to_owned(),
        Bus::Accessibility => format!("{runtime}/at-spi-bus"),
    }
}

/// The variable that programs find a bus with, and its value.
pub fn bus_variable(bus: Bus, request: &Request<'_>) -> (&'static str, String) {
    let name = match bus {
        Bus::Session => "DBUS_SESSION_BUS_ADDRESS",
        Bus::System => "DBUS_SYSTEM_BUS_ADDRESS",
        Bus::Accessibility => "AT_SPI_BUS_ADDRESS",
    };
    (name, format!("unix:path={}", bus_socket(bus, request)))
}

/// What the portal and the buses know the app as, where it reaches any.
pub fn identity(request: &Request<'_>, plugs: &[ConnectedPlug]) -> Option<Identity> {
    let reaches = |grant: &Grant| {
        matches!(grant, Grant::Bus { .. } | Grant::Portals { .. } | Grant::Documents | Grant::Wayland)
    };
    plugs.iter().flat_map(|plug| &plug.grants).any(reaches).then(|| {
        let id = request.manifest.name.desktop_id();
        let HostFacts { instance, roots, .. } = request.host;
        Identity {
            info: identity_info(&id, instance, plugs),
            id,
            instance: instance.clone(),
            instances: roots.get(&Root::Runtime).map(|runtime| format!("{runtime}/.flatpak")),
        }
    })
}

/// What [`Identity::info`] says. The portal tells nothing of the network to who does not have it there; GLib takes the
/// settings of the desktop only where its service may be talked to.
fn identity_info(id: &str, instance: &str, plugs: &[ConnectedPlug]) -> String {
    let grants = || plugs.iter().flat_map(|plug| &plug.grants);
    let mut info = format!("[Application]\nname={id}\n\n[Instance]\ninstance-id={instance}\n");
    if grants().any(is_told_of_network) {
        info.push_str("\n[Context]\nshared=network;\n");
    }
    let mut policy = BTreeMap::new();
    for grant in grants() {
        let Grant::Bus { bus: Bus::Session, rules } = grant else { continue };
        policy.extend(rules.iter().filter_map(|rule| match rule {
            BusRule::Talk(name) => Some((name.as_str(), "talk")),
            BusRule::Own(name) => Some((name.as_str(), "own")),
            _ => None,
        }));
    }
    if !policy.is_empty() {
        info.push_str("\n[Session Bus Policy]\n");
    }
    for (name, may) in policy {
        info.push_str(&format!("{name}={may}\n"));
    }
    info
}

/// Whether a grant gives the network, or what the portal knows of it.
fn is_told_of_network(grant: &Grant) -> bool {
    match grant {
        Grant::Network { .. } => true,
        Grant::Bus { rules, .. } => rules.iter().any(|rule| {
            matches!(rule, BusRule::Call { method, .. } if method.as_str().starts_with(NETWORK_MONITOR))
        }),
        _ => false,
    }
}

impl Asked<'_> {
    /// The socket of the one display, at the same number, and the cookies for it.
    pub(super) fn x11(&mut self, unless_wayland: bool, plug: &Name) {
        let host = self.request.host;
        let Some(display) = host.x11.as_ref().filter(|_| !unless_wayland || host.wayland.is_none()) else {
            return;
        };
        let socket = format!("X{}", display.number);
        let target = format!("/tmp/.X11-unix/{socket}");
        let source = Source::Beneath { folder: "/tmp/.X11-unix".to_owned(), path: socket };
        self.put(target, Content::Bind { source, access: Access::Socket, optional: true }, plug);
        if let Some(cookies) = &display.cookies {
            self.put(cookie_path(host.user.id), Content::File { data: cookies.clone() }, plug);
        }
    }

    /// Behind its own socket where the compositor can be told who is there; else the compositor's.
    pub(super) fn wayland(&mut self, plug: &Name) {
        let host = self.request.host;
        let Some(server) = &host.wayland else { return };
        let content = match server.knows_sandboxes {
            None => return,
            Some(true) => {
                Content::Companion { companion: Companion::Wayland { server: server.socket.clone() } }
            }
            Some(false) => socket_at(&server.socket, &host.user.home),
        };
        self.put(wayland_socket(host.user.id), content, plug);
    }

    /// One filter for all plugs that have to do with sound, which lets through what they ask for together.
    pub(super) fn sound(&mut self, play: bool, record: bool, plug: &Name) {
        let host = self.request.host;
        let Some(server) = &host.sound else { return };
        let target = pulse_socket(host.user.id);
        let (play, record) = (play.then(|| plug.clone()), record.then(|| plug.clone()));
        if let Some(Content::Companion { companion: Companion::Sound { play: plays, record: records, .. } }) =
            self.entries.get_mut(&target).map(|entry| &mut entry.content)
        {
            *plays = plays.take().or(play);
            *records = records.take().or(record);
            return;
        }
        let (server, cookie) = (server.socket.clone(), server.cookie.clone());
        let companion = Companion::Sound { server, cookie, play, record };
        self.put(target, Content::Companion { companion }, plug);
    }

    pub(super) fn bus(&mut self, bus: Bus, rules: &[BusRule], plug: &Name) {
        let rules = rules.iter().map(|rule| GrantedRule { rule: rule.clone(), because: plug.clone() });
        self.rules.entry(bus).or_default().extend(rules);
    }

    /// Interfaces of the portal, and what all of them need: the objects of running requests and of sessions, properties,
    /// which tell an interface's version, and what objects tell of themselves.
    pub(super) fn portals(&mut self, interfaces: &[String], plug: &Name) {
        let own = ["Request".to_owned(), "Session".to_owned()];
        let methods = interfaces.iter().chain(&own).map(|name| format!("org.freedesktop.portal.{name}.*"));
        let of_all = ["Properties", "Introspectable"].map(|name| format!("org.freedesktop.DBus.{name}.*"));
        let methods = methods.chain(of_all);
        let name = |text: &str| BusName::try_from(text.to_owned());
        let Ok(portal) = name("org.freedesktop.portal.Desktop") else { return };
        let objects = Some("/org/freedesktop/portal/desktop/*".to_owned());
        let mut rules = Vec::new();
        for method in methods.filter_map(|method| name(&method).ok()) {
            let (name, path) = (portal.clone(), objects.clone());
            rules.push(BusRule::Call { name: name.clone(), method: method.clone(), path: path.clone() });
            rules.push(BusRule::Broadcast { name, signal: method, path });
        }
        self.bus(Bus::Session, &rules, plug);
    }

    /// The app's own part of the folder in which the portal shows documents, at the path that the portal tells; never its
    /// root, which shows everyone's.
    pub(super) fn documents(&mut self, plug: &Name) {
        let Some(folder) = &self.request.host.documents else { return };
        let path = format!("{folder}/by-app/{}", self.request.manifest.name.desktop_id());
        let target = folder.clone();
        let content = Content::Bind { source: Source::Path(path), access: Access::ReadWrite, optional: true };
        self.put(target, content, plug);
    }
}
