//! Which plug would allow what was refused: asked of the interface definitions, so that an interface that is added is found
//! here as well.
//!
//! Every interface is resolved as a manifest would write it: without attributes, with each word that one of them may have,
//! and with the path, device or name in question where it takes one. What it then grants is compared with the refusal. Of
//! several that grant it the one is named that grants least besides: a fixed place before a listed one, the longest path, the
//! fewest rights.

use std::collections::BTreeMap;

use pack_schemas::interface::{
    AttributeKind, Bus, BusRule, DeviceKind, Grant, Interface, Place, Side, definitions,
};
use pack_schemas::names::{Name, PackageName};
use serde_json::Value;

use super::Wanted;
use super::judge::{BusCall, Refusal};
use crate::host::HostFacts;

/// A plug as a manifest would declare it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Plug {
    /// Its interface.
    pub interface: Name,
    /// Its attributes, as JSON values.
    pub attributes: Vec<(String, String)>,
    /// Whether they list the very path, device or name.
    pub listed: bool,
}

/// How well a plug fits; the lowest is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// A path, device or name has to be listed for it.
    listed: bool,
    /// What the place that it grants lacks in length.
    breadth: usize,
    /// Rights that were not asked for.
    beyond: u8,
    /// Attributes that have to be written.
    attributes: usize,
}

/// All interfaces that pack has; those whose definition cannot be read, which the tests rule out, are passed over.
pub fn interfaces() -> Vec<(Name, Interface)> {
    let find = |name: &str| {
        let name: Name = name.parse().ok()?;
        let interface = definitions::find(&name).ok()??;
        Some((name, interface))
    };
    definitions::names().filter_map(find).collect()
}

/// All that any interface could grant: what host facts have to be gathered for.
pub fn all_grants(interfaces: &[(Name, Interface)]) -> Vec<Grant> {
    interfaces.iter().flat_map(|(_, interface)| interface.grants.iter().cloned()).collect()
}

/// The plugs that would allow what was refused, the best alone, or those that fit equally well.
pub fn allowing(
    refusal: &Refusal,
    interfaces: &[(Name, Interface)],
    package: &PackageName,
    host: &HostFacts,
) -> Vec<Plug> {
    let mut fitting: Vec<(Fit, Plug)> = Vec::new();
    for (name, interface) in interfaces {
        for (attributes, listed) in declarations(interface, refusal, host) {
            let Ok(grants) = interface.resolve(Side::Plug, package, &attributes) else { continue };
            let fits = grants.iter().filter_map(|grant| covers(grant, refusal, host)).min();
            let Some((breadth, beyond)) = fits else { continue };
            let fit = Fit { listed, breadth, beyond, attributes: attributes.len() };
            let attributes = attributes.into_iter().map(|(name, value)| (name, value.to_string())).collect();
            fitting.push((fit, Plug { interface: name.clone(), attributes, listed }));
        }
    }
    let Some(best) = fitting.iter().map(|(fit, _)| *fit).min() else { return Vec::new() };
    // Programs ask for many files in passing: who wants one listed has to open it.
    if best.listed && matches!(refusal, Refusal::File { wanted: Wanted::Look, .. }) {
        return Vec::new();
    }
    let mut plugs: Vec<Plug> =
        fitting.into_iter().filter(|(fit, _)| *fit == best).map(|(_, plug)| plug).collect();
    plugs.sort();
    plugs.dedup();
    plugs
}

/// Whether one of these grants allows what was refused.
pub fn allow(grants: &[Grant], refusal: &Refusal, host: &HostFacts) -> bool {
    grants.iter().any(|grant| covers(grant, refusal, host).is_some())
}

type Attributes = BTreeMap<String, Value>;

/// How a manifest may declare an interface in order to get what was refused, and whether it lists that.
fn declarations(interface: &Interface, refusal: &Refusal, host: &HostFacts) -> Vec<(Attributes, bool)> {
    let one = |name: &str, value: Value| BTreeMap::from([(name.to_owned(), value)]);
    let mut all = vec![(BTreeMap::new(), false)];
    for (name, attribute) in &interface.attributes {
        match (&attribute.kind, refusal) {
            (AttributeKind::Word(words), _) => {
                all.extend(words.iter().map(|word| (one(name, Value::String(word.clone())), false)));
            }
            (AttributeKind::Flag, _) => {
                all.extend([true, false].map(|flag| (one(name, Value::Bool(flag)), false)))
            }
            (AttributeKind::Paths, Refusal::File { path, .. }) => {
                let path = match path.strip_prefix(&host.user.home) {
                    Some(rest) if rest.starts_with('/') => format!("$HOME{rest}"),
                    _ => path.clone(),
                };
                all.push((one(name, Value::Array(vec![Value::String(path)])), true));
            }
            (AttributeKind::Text, Refusal::File { path, .. }) => {
                all.push((one(name, Value::String(path.clone())), true));
            }
            (AttributeKind::Text, Refusal::BusCall(call)) => {
                all.push((one(name, Value::String(call.name.clone())), true));
            }
            _ => {}
        }
    }
    all
}

/// Whether a grant allows what was refused: how much wider than that the place is that it grants, and how many rights it
/// gives beyond.
fn covers(grant: &Grant, refusal: &Refusal, host: &HostFacts) -> Option<(usize, u8)> {
    match refusal {
        Refusal::SystemCall { group, .. } => match grant {
            Grant::SystemCalls { groups } => {
                let others = u8::try_from(groups.len().saturating_sub(1)).unwrap_or(u8::MAX);
                groups.iter().any(|granted| granted == group).then_some((0, others))
            }
            _ => None,
        },
        Refusal::Connect { to, tcp } => match grant {
            Grant::Network { connect, bind, ports, .. } => {
                let is_allowed = !tcp || (*connect && (ports.is_empty() || ports.contains(&to.port())));
                is_allowed.then_some((0, unlike(*connect, true) + unlike(*bind, false)))
            }
            _ => None,
        },
        Refusal::Bind { tcp, .. } => match grant {
            // UDP is open to whoever is in the host's network at all.
            Grant::Network { connect, bind, .. } => {
                (*bind || !tcp).then_some((0, unlike(*connect, !tcp) + unlike(*bind, *tcp)))
            }
            _ => None,
        },
        Refusal::Abstract(name) => shows_file(grant, name, Wanted::Connect, host),
        Refusal::File { path, wanted } => shows_file(grant, path, *wanted, host),
        Refusal::Bus(bus) => opens_bus(grant, *bus).then_some((0, 0)),
        Refusal::BusCall(call) => allows_call(grant, call).then_some((0, 0)),
    }
}

/// Counts a right that is not as it should be.
fn unlike(right: bool, wanted: bool) -> u8 {
    u8::from(right != wanted)
}

/// How much longer `path` is than `place`, where it is that place or lies below it.
fn below(path: &str, place: &str) -> Option<usize> {
    let rest = path.strip_prefix(place.trim_end_matches('/'))?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest.len())
}

fn shows_file(grant: &Grant, path: &str, wanted: Wanted, host: &HostFacts) -> Option<(usize, u8)> {
    let writes = wanted == Wanted::Write;
    let enough = |writable: bool| (writable || !writes).then_some(u8::from(writable && !writes));
    let server = |socket: &str| (socket == path).then_some((0, 0));
    match grant {
        Grant::Files { at, writable, .. } => {
            let place = place(at, host)?;
            Some((below(path, &place)?, enough(*writable)?))
        }
        Grant::UserFolder { folder, writable } => {
            let place = format!("{}/{}", host.user.home, host.user_folders.get(folder)?);
            Some((below(path, &place)?, enough(*writable)?))
        }
        Grant::Home { writable } => {
            let rest = path.strip_prefix(&host.user.home)?;
            let top = rest.strip_prefix('/').map_or("", |rest| rest.split('/').next().unwrap_or_default());
            let is_shown = rest.is_empty() || host.home.iter().any(|name| name == top);
            (is_shown && enough(*writable).is_some()).then_some((rest.len(), 0))
        }
        Grant::Socket { inside, .. } => {
            let socket = host.sockets.get(inside)?;
            (socket == path).then_some((0, 0))
        }
        Grant::Devices { paths, only } => {
            let breadth = paths.iter().find_map(|pattern| device(pattern, *only, path, host))?;
            Some((breadth, u8::from(only.is_none())))
        }
        Grant::X11 { unless_wayland } => {
            let display = format!("/tmp/.X11-unix/X{}", host.x11.as_ref()?.number);
            (display == path).then_some((0, u8::from(*unless_wayland)))
        }
        Grant::Wayland => server(&host.wayland.as_ref()?.socket),
        Grant::Sound { record, .. } => {
            let (breadth, beyond) = server(&host.sound.as_ref()?.socket)?;
            Some((breadth, beyond + u8::from(*record)))
        }
        Grant::SharedMemory => Some((below(path, "/dev/shm")?, 1)),
        _ => None,
    }
}

/// How much longer `path` is than a device, or folder of devices, that matches the pattern.
fn device(pattern: &str, only: Option<DeviceKind>, path: &str, host: &HostFacts) -> Option<usize> {
    // Only of patterns it was looked what matches them; the device that an attribute names is none.
    if only.is_none() && !pattern.contains('*') {
        return below(path, pattern);
    }
    let found = host.devices.get(&(pattern.to_owned(), only))?;
    found.iter().find_map(|device| below(path, device))
}

fn place(at: &Place, host: &HostFacts) -> Option<String> {
    let root = host.roots.get(&at.root)?;
    Some(format!("{root}/{}", at.path))
}

/// Whether a grant gives a part of a bus.
fn opens_bus(grant: &Grant, bus: Bus) -> bool {
    match grant {
        Grant::Bus { bus: granted, .. } => *granted == bus,
        Grant::Portals { .. } => bus == Bus::Session,
        _ => false,
    }
}

/// Whether a grant lets a call on a bus through.
fn allows_call(grant: &Grant, call: &BusCall) -> bool {
    match grant {
        Grant::Bus { rules, .. } => rules.iter().any(|rule| lets_through(rule, call)),
        Grant::Portals { interfaces } => {
            let interface = call.method.rsplit_once('.').map_or("", |(interface, _)| interface);
            let portal = interface.strip_prefix("org.freedesktop.portal.");
            portal.is_some_and(|name| interfaces.iter().any(|granted| granted == name))
        }
        _ => false,
    }
}

fn lets_through(rule: &BusRule, call: &BusCall) -> bool {
    let fits = |pattern: &str, name: &str| match pattern.strip_suffix(".*") {
        Some(prefix) => {
            name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        }
        None => pattern == name,
    };
    match rule {
        BusRule::Talk(name) | BusRule::Own(name) => fits(name.as_str(), &call.name),
        BusRule::Call { name, method, .. } => {
            fits(name.as_str(), &call.name) && fits(method.as_str(), &call.method)
        }
        BusRule::See(_) | BusRule::Broadcast { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::host::{Surroundings, gather};
    use crate::learn::Address;

    /// The interfaces of the plugs that would allow a refusal, on a host of which nothing is known but the folders.
    fn allowing_on_host(refusal: &Refusal) -> Vec<String> {
        let interfaces = interfaces();
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        std::fs::create_dir(folder.path().join("Music")).unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        let variables = BTreeMap::from([("XDG_RUNTIME_DIR".to_owned(), format!("{home}/run"))]);
        let surroundings = Surroundings { variables, home: home.clone(), ..Surroundings::default() };
        let host = gather(surroundings, all_grants(&interfaces).iter()).unwrap();
        let refusal = match refusal {
            Refusal::File { path, wanted } => {
                Refusal::File { path: path.replace("~", &home), wanted: *wanted }
            }
            other => other.clone(),
        };
        let plugs = allowing(&refusal, &interfaces, &"hello".parse().unwrap(), &host);
        plugs.into_iter().map(|plug| plug.interface.to_string()).collect()
    }

    fn call(group: &'static str) -> Refusal {
        Refusal::SystemCall { call: "call", group, quiet: false }
    }

    fn file(path: &str, wanted: Wanted) -> Refusal {
        Refusal::File { path: path.to_owned(), wanted }
    }

    #[test]
    fn each_refusal_leads_to_the_interface_that_grants_least() {
        let to: Address = "192.0.2.1:443".parse().unwrap();
        let method = |name: &str, method: &str| {
            Refusal::BusCall(BusCall { name: name.to_owned(), method: method.to_owned() })
        };
        for (refusal, expected) in [
            (call("tracing"), &["tracing"][..]),
            (call("nested-mounts"), &["fuse"]),
            (call("nested-sandbox"), &["browser-support"]),
            (call("set-id-bits"), &[]),
            (call("keyrings"), &[]),
            (Refusal::Connect { to, tcp: true }, &["network"]),
            (Refusal::Connect { to, tcp: false }, &["network"]),
            (Refusal::Bind { at: to, tcp: true }, &["network-bind"]),
            (Refusal::Bind { at: to, tcp: false }, &["network"]),
            (file("~/work/plan.txt", Wanted::Write), &["home"]),
            (file("~/Music/a.ogg", Wanted::Read), &["music"]),
            (file("~/Music/a.ogg", Wanted::Write), &["music"]),
            (file("~/.thing/settings", Wanted::Read), &["personal-files"]),
            (file("~/.thing/settings", Wanted::Look), &[]),
            (file("~/.bashrc", Wanted::Write), &[]),
            (file("/media/stick/a", Wanted::Write), &["removable-media"]),
            (file("/opt/data/a", Wanted::Read), &["system-files"]),
            (file("/dev/ttyUSB0", Wanted::Write), &["serial-port"]),
            (file("/dev/hidraw3", Wanted::Write), &["hidraw"]),
            (file("/dev/sda", Wanted::Read), &[]),
            (method("ca.desrt.dconf", "ca.desrt.dconf.Writer.Change"), &["gsettings"]),
            (method("org.freedesktop.Notifications", "org.freedesktop.Notifications.Notify"), &["desktop"]),
            (method("org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager.StartUnit"), &[]),
        ] {
            assert_eq!(allowing_on_host(&refusal), expected, "{refusal:?}");
        }
    }

    /// The mapping is made from the definitions: whatever group of calls some interface grants, it is found.
    #[test]
    fn every_group_of_system_calls_that_can_be_granted_has_an_interface() {
        let groups = crate::sandbox::syscalls::GROUPS.iter().filter(|group| group.grantable);
        let named: BTreeSet<&str> = groups.map(|group| group.name).collect();
        for group in named {
            assert!(!allowing_on_host(&call(group)).is_empty(), "{group}");
        }
    }
}
