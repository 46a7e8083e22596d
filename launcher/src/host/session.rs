//! What of the user's session is there: compositor, sound server, message buses.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::time::Duration;

use pack_schemas::interface::{Bus, Root};

use crate::companion::wayland;
use crate::dbus::{Address, Call, Connection, Received};

/// A Wayland compositor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaylandServer {
    /// Absolute path of its socket.
    pub socket: String,
    /// Whether it can be told that a client is an app in a sandbox (security-context-v1); nothing where it does not answer,
    /// and nobody knows what it would have to be told.
    pub knows_sandboxes: Option<bool>,
}

/// A sound server that speaks PulseAudio's protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SoundServer {
    /// Absolute path of its socket.
    pub socket: String,
    /// Absolute path of the file with the cookie that it asks for, where there is one.
    pub cookie: Option<String>,
}

/// Where the system's bus is (D-Bus specification, "Well-known Message Bus Instances").
const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";
/// How long a launch waits for an answer of the session's. A service may have to be started for it.
const PATIENCE: Duration = Duration::from_secs(3);

type Variables = BTreeMap<String, String>;
type Roots = BTreeMap<Root, String>;

fn is_socket(path: &str) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

/// The compositor of `WAYLAND_DISPLAY`, which is a path or a name in the runtime folder; `wayland-0` where it is not set
/// (wl_display_connect).
pub fn compositor(variables: &Variables, roots: &Roots) -> Option<WaylandServer> {
    let display = variables.get("WAYLAND_DISPLAY").map_or("wayland-0", String::as_str);
    let socket = match display.starts_with('/') {
        true => display.to_owned(),
        false => format!("{}/{display}", roots.get(&Root::Runtime)?),
    };
    if !is_socket(&socket) {
        return None;
    }
    match wayland::knows_sandboxes(&socket) {
        // Nobody listens: a socket that a compositor has left behind.
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => None,
        // One that is slow is there all the same, and no app gets X11 for its not answering.
        answer => Some(WaylandServer { socket, knows_sandboxes: answer.ok() }),
    }
}

/// The sound server of `PULSE_SERVER`, or the one in the runtime folder (pulse-client.conf(5)).
pub fn sound(variables: &Variables, roots: &Roots) -> Option<SoundServer> {
    let socket = match variables.get("PULSE_SERVER").filter(|servers| !servers.is_empty()) {
        Some(servers) => local_socket(servers)?,
        None => format!("{}/pulse/native", roots.get(&Root::Runtime)?),
    };
    let usual = [(Root::Config, "pulse/cookie"), (Root::Home, ".pulse-cookie")];
    let usual = usual.iter().filter_map(|(root, path)| Some(format!("{}/{path}", roots.get(root)?)));
    let cookie = variables.get("PULSE_COOKIE").cloned().into_iter().chain(usual);
    let cookie = cookie.into_iter().find(|path| fs::metadata(path).is_ok_and(|found| found.is_file()));
    is_socket(&socket).then_some(SoundServer { socket, cookie })
}

/// The first of the servers in `PULSE_SERVER` that is a Unix socket: `{machine}unix:/path /path tcp:host`.
fn local_socket(servers: &str) -> Option<String> {
    servers.split_ascii_whitespace().find_map(|server| {
        let server = server.strip_prefix('{').map_or(Some(server), |rest| Some(rest.split_once('}')?.1))?;
        let path = server.strip_prefix("unix:").unwrap_or(server);
        path.starts_with('/').then(|| path.to_owned())
    })
}

/// The private socket of the user's systemd manager.
pub fn manager(roots: &Roots) -> Option<String> {
    let socket = format!("{}/systemd/private", roots.get(&Root::Runtime)?);
    is_socket(&socket).then_some(socket)
}

/// The address of a bus: what the environment says, or its usual place. The session bus tells the one for assistive
/// technology. Nothing where there is none, or the address is none of this machine.
pub fn bus(bus: Bus, variables: &Variables, roots: &Roots) -> Option<String> {
    let named = |name: &str| variables.get(name).filter(|address| !address.is_empty()).cloned();
    let usual = |path: String| Address::Path(path).to_text();
    let address = match bus {
        Bus::Session => match named("DBUS_SESSION_BUS_ADDRESS") {
            Some(address) => address,
            None => usual(format!("{}/bus", roots.get(&Root::Runtime)?)),
        },
        Bus::System => named("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_else(|| usual(SYSTEM_BUS.to_owned())),
        Bus::Accessibility => match named("AT_SPI_BUS_ADDRESS") {
            Some(address) => address,
            None => accessibility_bus(&self::bus(Bus::Session, variables, roots)?)?,
        },
    };
    match Address::parse(&address)? {
        Address::Path(path) if !is_socket(&path) => None,
        address => Some(address.to_text()),
    }
}

/// Asks the session bus for the address of the one for assistive technology, which is started by that where it does not
/// run.
fn accessibility_bus(session: &str) -> Option<String> {
    let call = Call {
        destination: "org.a11y.Bus",
        path: "/org/a11y/bus",
        interface: "org.a11y.Bus",
        method: "GetAddress",
        signature: "",
        body: &[],
    };
    ask(session, &call)?.first_text()
}

/// The folder in which the portal shows documents: where it always is, or where the portal, which is started by the
/// question where it does not run, says.
pub fn documents(variables: &Variables, roots: &Roots) -> Option<String> {
    let session = bus(Bus::Session, variables, roots)?;
    let usual = format!("{}/doc", roots.get(&Root::Runtime)?);
    if fs::metadata(format!("{usual}/by-app")).is_ok_and(|found| found.is_dir()) {
        return Some(usual);
    }
    let call = Call {
        destination: "org.freedesktop.portal.Documents",
        path: "/org/freedesktop/portal/documents",
        interface: "org.freedesktop.portal.Documents",
        method: "GetMountPoint",
        signature: "",
        body: &[],
    };
    let mut path = ask(&session, &call)?.first_bytes()?;
    path.pop_if(|last| *last == 0);
    let path = String::from_utf8(path).ok()?;
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    path.strip_prefix('/').is_some_and(|path| path.split('/').all(is_plain)).then_some(path)
}

/// What a service of the session returns; nothing where it does not answer in time.
fn ask(bus: &str, call: &Call<'_>) -> Option<Received> {
    Connection::open(&Address::parse(bus)?, PATIENCE).ok()?.call(call).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sound_servers_of_this_host_are_found() {
        for (servers, found) in [
            ("unix:/run/user/1/pulse/native", Some("/run/user/1/pulse/native")),
            ("/tmp/s", Some("/tmp/s")),
            ("{0123abc}unix:/tmp/s", Some("/tmp/s")),
            ("tcp:host unix:/tmp/s", Some("/tmp/s")),
            ("tcp:host:4713", None),
            ("host", None),
            ("unix:relative", None),
            ("{unfinished", None),
        ] {
            assert_eq!(local_socket(servers).as_deref(), found, "{servers}");
        }
    }
}
