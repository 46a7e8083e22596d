//! What each connected plug adds to the root folder.

use pack_schemas::interface::Grant;
use pack_schemas::plan::{Access, Content, Entry, Reason, Source};

use crate::plan::system::runtime_folder;
use crate::plan::{ConnectedPlug, Request, entry};

/// Names at the top of the home folder that are never shown, hidden ones apart: programs there are on PATH
/// (CVE-2024-1724).
const NEVER_SHOWN: &[&str] = &["bin"];

/// Adds the entries of all plugs.
pub fn add(root: &mut Vec<Entry>, request: &Request<'_>, plugs: &[ConnectedPlug]) {
    for plug in plugs {
        let because = Reason::Plug(plug.name.clone());
        for grant in &plug.grants {
            match grant {
                Grant::Network { .. } => {} // A namespace, not a file: Plan::network.
                Grant::Home { writable } => home(root, request, *writable, &because),
                Grant::X11 => x11(root, request, &because),
            }
        }
    }
}

/// The home folder itself belongs to the read-only root, so that nothing can be made at its top: no start-up file, no
/// hidden folder, no bin. What is visible there is shown one by one.
fn home(root: &mut Vec<Entry>, request: &Request<'_>, writable: bool, because: &Reason) {
    let home = &request.host.user.home;
    root.push(entry(home.clone(), Content::Folder, because.clone()));
    for name in &request.host.home {
        if name.starts_with('.') || NEVER_SHOWN.contains(&name.as_str()) {
            continue;
        }
        let access = if writable { Access::ReadWrite } else { Access::ReadOnly };
        let source = Source::Beneath { folder: home.clone(), path: name.clone() };
        // Optional: it may have gone since the folder was listed.
        let content = Content::Bind { source, access, optional: true };
        root.push(entry(format!("{home}/{name}"), content, because.clone()));
    }
}

/// Where the X11 cookie lies inside.
pub fn cookie_path(user: u32) -> String {
    format!("{}/Xauthority", runtime_folder(user))
}

/// The socket of the one display, at the same number, and the cookies for it.
fn x11(root: &mut Vec<Entry>, request: &Request<'_>, because: &Reason) {
    let Some(display) = &request.host.x11 else { return };
    let socket = format!("X{}", display.number);
    root.push(entry(
        format!("/tmp/.X11-unix/{socket}"),
        Content::Bind {
            source: Source::Beneath { folder: "/tmp/.X11-unix".to_owned(), path: socket },
            access: Access::ReadWrite,
            optional: true,
        },
        because.clone(),
    ));
    if let Some(cookies) = &display.cookies {
        let target = cookie_path(request.host.user.id);
        root.push(entry(target, Content::File { data: cookies.clone() }, because.clone()));
    }
}
