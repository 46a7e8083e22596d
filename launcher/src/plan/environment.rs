//! The environment of an app: made from nothing, so that no variable of the caller's steers a program inside.

use std::collections::BTreeMap;

use pack_schemas::interface::Grant;
use pack_schemas::manifest::{App, Manifest, expand};
use pack_schemas::names::Architecture;
use pack_schemas::plan::{Companion, Content, Entry, Network, PROXY_PORT, Reason, Setting};

use crate::host;
use crate::plan::grants::{bus_variable, cookie_path, pulse_socket, wayland_socket};
use crate::plan::system::{makes_root, runtime_folder};
use crate::plan::{ConnectedPlug, ImageFacts, Request, data_folders};

/// Variables that pass from the caller as they are: language, time zone, terminal. (`LC_…` too.) None of them names a
/// file to load, or one outside.
pub const PASSED: &[&str] = &["COLORTERM", "LANG", "LANGUAGE", "NO_COLOR", "TERM", "TZ"];

/// Longest value after expansion, in bytes; execve(2) takes 128 KiB.
const LONGEST_VALUE: usize = 96 << 10;

struct Variables(BTreeMap<String, Setting>);

impl Variables {
    fn put(&mut self, name: &str, value: impl Into<String>, because: Reason) {
        self.0.insert(name.to_owned(), Setting { value: value.into(), because });
    }

    /// Replaces references by the values so far.
    fn expand(&self, text: &str) -> String {
        let value = expand(text, |name| self.0.get(name).map(|setting| setting.value.as_str()));
        // A manifest may double a value with each variable; execve(2) would refuse the whole.
        if value.len() > LONGEST_VALUE { String::new() } else { value }
    }
}

/// All variables of an app: what every app has, what the caller passes, what plugs bring, and what the manifest sets,
/// for all apps and then for this one; a later one replaces an earlier.
pub fn variables(
    request: &Request<'_>,
    app: &App,
    plugs: &[ConnectedPlug],
    root: &[Entry],
    network: &Network,
) -> BTreeMap<String, Setting> {
    let mut variables = Variables(BTreeMap::new());
    passed(&mut variables, request);
    own(&mut variables, request);
    search_paths(&mut variables, request);
    for plug in plugs {
        for grant in &plug.grants {
            granted(&mut variables, request, grant, &Reason::Plug(plug.name.clone()));
        }
    }
    for entry in root {
        shown(&mut variables, request, entry);
    }
    proxy(&mut variables, network);
    for (name, value) in request.manifest.environment.iter().chain(&app.environment) {
        let value = variables.expand(value);
        variables.put(name, value, Reason::Package);
    }
    variables.0
}

fn passed(variables: &mut Variables, request: &Request<'_>) {
    for (name, value) in &request.host.variables {
        if PASSED.contains(&name.as_str()) || name.starts_with("LC_") {
            variables.put(name, value, Reason::User);
        }
    }
}

fn own(variables: &mut Variables, request: &Request<'_>) {
    let manifest = request.manifest;
    let [data, common] = data_folders(request).map(|folder| format!("{}/{folder}", request.data));
    let user = &request.host.user;
    let settings = [
        ("PACK", "/app".to_owned()),
        ("PACK_NAME", manifest.name.to_string()),
        ("PACK_VERSION", manifest.version.to_string()),
        ("PACK_REVISION", request.revision.to_string()),
        ("PACK_ARCH", Architecture::HOST.to_string()),
        ("PACK_USER_DATA", data.clone()),
        ("PACK_USER_COMMON", common),
        ("PACK_REAL_HOME", user.home.clone()),
        ("XDG_CONFIG_HOME", format!("{data}/.config")),
        ("XDG_DATA_HOME", format!("{data}/.local/share")),
        ("XDG_STATE_HOME", format!("{data}/.local/state")),
        ("XDG_CACHE_HOME", format!("{data}/.cache")),
        ("XDG_RUNTIME_DIR", runtime_folder(user.id)),
        ("HOME", data),
        ("USER", user.name.clone()),
        ("LOGNAME", user.name.clone()),
        ("SHELL", "/bin/sh".to_owned()),
    ];
    for (name, value) in settings {
        variables.put(name, value, Reason::Sandbox);
    }
}

fn search_paths(variables: &mut Variables, request: &Request<'_>) {
    let root = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"];
    let mut programs: Vec<String> = root.map(str::to_owned).into();
    let mut shares: Vec<String> = ["/usr/local/share", "/usr/share"].map(str::to_owned).into();
    if !makes_root(request.manifest) {
        let of_package = |wanted: &[&str]| folders_of(request.package, wanted);
        let bins = ["usr/local/bin", "usr/bin", "bin", "usr/local/sbin", "usr/sbin", "sbin"];
        programs.splice(0..0, of_package(&bins));
        shares.splice(0..0, of_package(&["usr/local/share", "usr/share"]));
    }
    let libraries = library_folders(request.manifest, request.package, Architecture::HOST);
    if !libraries.is_empty() {
        variables.put("LD_LIBRARY_PATH", libraries.join(":"), Reason::Package);
    }
    variables.put("PATH", programs.join(":"), Reason::Sandbox);
    variables.put("XDG_DATA_DIRS", shares.join(":"), Reason::Sandbox);
}

/// The folders that the dynamic linker is told to search first: the package's, where they are not the root's own.
pub fn library_folders(manifest: &Manifest, package: &ImageFacts, architecture: Architecture) -> Vec<String> {
    if makes_root(manifest) {
        return Vec::new();
    }
    let folders = folders_of(package, &["usr/local/lib", "usr/lib/TRIPLET", "usr/lib", "lib/TRIPLET", "lib"]);
    let triplet = architecture.triplet().unwrap_or_default();
    folders.into_iter().map(|folder| folder.replace("TRIPLET", triplet)).collect()
}

/// Those of the wanted folders that the package has, as an app sees them.
fn folders_of(package: &ImageFacts, wanted: &[&str]) -> Vec<String> {
    let there = wanted.iter().filter(|folder| package.folders.iter().any(|f| f == *folder));
    there.map(|folder| format!("/app/{folder}")).collect()
}

/// What a plug says of variables.
fn granted(variables: &mut Variables, request: &Request<'_>, grant: &Grant, because: &Reason) {
    let host = request.host;
    match grant {
        Grant::Environment { pass, set } => {
            for name in pass {
                if let Some(value) = host.variables.get(name) {
                    variables.put(name, value, because.clone());
                }
            }
            for (name, value) in set {
                let value = variables.expand(value);
                variables.put(name, value, because.clone());
            }
        }
        Grant::Socket { inside, variable: Some(variable), .. } if host.sockets.contains_key(inside) => {
            if let Some(path) = host::inside(inside, host.user.id) {
                variables.put(&variable.name, format!("{}{path}", variable.prefix), because.clone());
            }
        }
        Grant::UserFolder { folder, .. } => {
            if let Some(path) = host.user_folders.get(folder) {
                let path = format!("{}/{path}", host.user.home);
                variables.put(folder.names().0, path, because.clone());
            }
        }
        _ => {}
    }
}

/// The variables by which programs find what an entry of the root shows.
fn shown(variables: &mut Variables, request: &Request<'_>, entry: &Entry) {
    let host = request.host;
    let user = host.user.id;
    let because = || entry.because.clone();
    if entry.target == wayland_socket(user) {
        variables.put("WAYLAND_DISPLAY", "wayland-0", because());
    } else if entry.target == cookie_path(user) {
        variables.put("XAUTHORITY", entry.target.clone(), because());
    } else if let Some(number) = entry.target.strip_prefix("/tmp/.X11-unix/X") {
        variables.put("DISPLAY", format!(":{number}"), because());
    }
    match &entry.content {
        Content::Companion { companion: Companion::Sound { .. } } => {
            variables.put("PULSE_SERVER", format!("unix:{}", pulse_socket(user)), because());
        }
        Content::Companion { companion: Companion::Bus { bus, .. } } => {
            let (name, value) = bus_variable(*bus, request);
            variables.put(name, value, because());
        }
        _ => {}
    }
}

/// How programs find the proxy, where it is the only way out. What the app offers to itself on its own loopback interface
/// is reached without, but for names of it that stand for the host's.
fn proxy(variables: &mut Variables, network: &Network) {
    let Network::Hosts { hosts, because, .. } = network else { return };
    let Some(plug) = because.first() else { return };
    let own = ["localhost", "127.0.0.1", "::1"];
    let direct = own.into_iter().filter(|name| hosts.iter().all(|host| host.as_str() != *name));
    let http = format!("http://127.0.0.1:{PROXY_PORT}");
    let settings = [
        ("http_proxy", http.clone()),
        ("https_proxy", http.clone()),
        ("ftp_proxy", http),
        ("all_proxy", format!("socks5h://127.0.0.1:{PROXY_PORT}")),
        ("no_proxy", direct.collect::<Vec<_>>().join(",")),
    ];
    for (name, value) in settings {
        // Programs disagree about the letters.
        for name in [name.to_owned(), name.to_ascii_uppercase()] {
            variables.put(&name, value.clone(), Reason::Plug(plug.clone()));
        }
    }
}
