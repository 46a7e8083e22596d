//! Symbolic links: they have to lead somewhere inside the sandbox, and to what is the package's.

use super::checks::{LINK_ABSOLUTE, LINK_BROKEN, LINK_ESCAPES, TOP_CLASH};
use super::listing::{Entry, Kind};
use super::view::{Place, View};
use super::{Findings, Request, Severity, is_documentation, shown};

pub(super) fn look(request: &Request<'_>, view: &View<'_>, found: &mut Findings) {
    for entry in request.files.entries() {
        match &entry.kind {
            Kind::Link(target) => link(request, view, entry, target, found),
            Kind::Folder if view.makes_root() && !entry.path.contains(&b'/') => top(view, entry, found),
            _ => {}
        }
    }
}

/// A launch lays the package's folders over the base's, and refuses to where the base has a link.
fn top(view: &View<'_>, entry: &Entry, found: &mut Findings) {
    let name = String::from_utf8_lossy(&entry.path);
    if let Some(link) = view.base_link(&name) {
        let message = format!(
            "is a folder where the base has a link to `{}`, and so no app can be started",
            shown(link.as_bytes())
        );
        let hint = format!("move what is in it to `{}` with `organize`", shown(link.as_bytes()));
        found.file(TOP_CLASH, &entry.path, message, hint);
    }
}

fn link(request: &Request<'_>, view: &View<'_>, entry: &Entry, target: &[u8], found: &mut Findings) {
    let to = shown(target);
    let (folder, is_absolute) = (entry.folder(), target.starts_with(b"/"));
    if !is_absolute && leads_out(folder, target) {
        let message = format!("leads out of the package, to `{to}`");
        found.file(LINK_ESCAPES, &entry.path, message, "link to what is in the package, or copy it there");
        return;
    }
    let from =
        if is_absolute { Vec::new() } else { [&view.inside(folder_or_root(folder)), &b"/"[..]].concat() };
    match view.resolve(&[&from, target].concat()) {
        Place::Missing if is_documentation(&entry.path) => {}
        Place::Missing if is_absolute && in_package(request, target) => {
            let message = format!("leads to `{to}`, which is at `/app{to}` when an app runs");
            let hint = "make it relative, or lay the package over the base with `rootfs: merged`";
            found.file(LINK_ABSOLUTE, &entry.path, message, hint);
        }
        Place::Missing => {
            let message = format!("leads to `{to}`, and nothing is there");
            let hint = "put what it leads to into the package, or leave the link out with `prime`";
            // Configuration is made when a system is installed, and a sandbox has none of it.
            let is_of_system = entry.path.starts_with(b"etc/") || (is_absolute && !view.is_own(target));
            let is_of_etc = target.starts_with(b"/etc/") || target.starts_with(b"/var/");
            let severity = if is_of_system || is_of_etc { Severity::Note } else { LINK_BROKEN.severity };
            found.file_as(severity, LINK_BROKEN, &entry.path, message, hint);
        }
        Place::Base(_) | Place::Folder if is_absolute && !view.makes_root() && !view.is_own(target) => {
            let message = format!("leads to `{to}` of the base, not of the package");
            let (severity, hint) = match in_package(request, target) {
                true => (LINK_ABSOLUTE.severity, "the package has that path too: make the link relative"),
                // It works, as an interpreter of the base's does that a script names.
                false => (
                    Severity::Note,
                    "if that is not meant: put what it leads to into the package, and make the link relative",
                ),
            };
            found.file_as(severity, LINK_ABSOLUTE, &entry.path, message, hint);
        }
        _ => {}
    }
}

/// A link in the package's own folder at its top is below `/app`.
fn folder_or_root(folder: &[u8]) -> &[u8] {
    if folder.is_empty() { b"." } else { folder }
}

/// Whether a relative target goes above the package's root, by its `..` alone.
fn leads_out(folder: &[u8], target: &[u8]) -> bool {
    let mut depth = folder.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count();
    for name in target.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if depth == 0 => return true,
            b".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

fn in_package(request: &Request<'_>, target: &[u8]) -> bool {
    let path: Vec<&[u8]> = target.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
    request.files.find(&path.join(&b'/')).is_some()
}
