//! AppStream files (AppStream specification 1.0, "Upstream Metadata"): what software centres show of an app.

use roxmltree::{Document, Node, ParsingOptions};

use super::checks::{METAINFO_INCOMPLETE, METAINFO_LAUNCHABLE, METAINFO_MALFORMED, METAINFO_MISSING};
use super::listing::{Entry, Kind};
use super::{Findings, Request, shown};

const FOLDERS: &[&[u8]] = &[b"usr/share/metainfo", b"usr/share/appdata", b"share/metainfo"];
/// Longest file in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// Most elements and texts of one.
const NODES_LIMIT: u32 = 50_000;
/// Most files that are looked at.
const FILES_MOST: usize = 1000;

pub(super) fn look(request: &Request<'_>, found: &mut Findings) {
    let mut has_any = false;
    let entries = FOLDERS.iter().flat_map(|folder| request.files.below(folder));
    let is_metainfo = |entry: &&Entry| matches!(entry.kind, Kind::File(_)) && entry.path.ends_with(b".xml");
    for entry in entries.filter(is_metainfo).take(FILES_MOST) {
        has_any = true;
        file(request, entry, found);
    }
    for (name, app) in &request.manifest.apps {
        if let (false, Some(desktop)) = (has_any, &app.desktop) {
            let message =
                format!("is the menu entry of the app {name}, and the package has no AppStream file");
            let hint =
                "install a NAME.metainfo.xml into usr/share/metainfo, and software centres can show the app";
            found.file(METAINFO_MISSING, desktop.as_str().as_bytes(), message, hint);
        }
    }
}

fn file(request: &Request<'_>, entry: &Entry, found: &mut Findings) {
    let mut malformed = |reason: &str| {
        let message = format!("is no AppStream file that can be read: {}", shown(reason.as_bytes()));
        found.file(
            METAINFO_MALFORMED,
            &entry.path,
            message,
            "`appstreamcli validate` says what is wrong with it",
        );
    };
    let bytes = match request.files.read(entry, SIZE_LIMIT + 1) {
        Ok(bytes) if bytes.len() > SIZE_LIMIT => return malformed("it is longer than 1 MiB"),
        Ok(bytes) => bytes,
        // Told where files are looked at.
        Err(_) => return,
    };
    let Ok(text) = str::from_utf8(&bytes) else { return malformed("it is not UTF-8") };
    // A document type could define entities, which grow when they are read.
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_LIMIT, ..ParsingOptions::default() };
    let document = match Document::parse_with_options(text, options) {
        Ok(document) => document,
        Err(error) => return malformed(&error.to_string()),
    };
    let root = document.root_element();
    if root.tag_name().name() != "component" {
        return malformed("its root is no `component`");
    }
    launchable(request, entry, root, found);
    complete(request, entry, root, found);
}

fn text_of(root: Node<'_, '_>, name: &str) -> Option<String> {
    let found = root.children().find(|node| node.has_tag_name(name) && node.attribute(LANGUAGE).is_none())?;
    let text: String = found.descendants().filter_map(|node| node.text()).take(100).collect();
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// `xml:lang`: translations do not count.
const LANGUAGE: (&str, &str) = ("http://www.w3.org/XML/1998/namespace", "lang");

fn is_application(root: Node<'_, '_>) -> bool {
    // `desktop` is what it was called before 0.10.
    matches!(root.attribute("type"), Some("desktop-application" | "desktop"))
}

fn launchable(request: &Request<'_>, entry: &Entry, root: Node<'_, '_>, found: &mut Findings) {
    if !is_application(root) {
        return;
    }
    let named = root
        .children()
        .filter(|node| node.has_tag_name("launchable") && node.attribute("type") == Some("desktop-id"))
        .filter_map(|node| node.text().map(str::trim));
    for name in named.take(20) {
        let is_of_app = request.manifest.apps.values().any(|app| {
            app.desktop.as_ref().is_some_and(|path| path.as_str().rsplit('/').next() == Some(name))
        });
        let path = [b"usr/share/applications/", name.as_bytes()].concat();
        if !is_of_app && request.files.find(&path).is_none() {
            let message =
                format!("names the desktop entry `{}`, which is not in the package", shown(name.as_bytes()));
            let hint = "write the file name of the app's `desktop` in <launchable type=\"desktop-id\">";
            found.file(METAINFO_LAUNCHABLE, &entry.path, message, hint);
        }
    }
}

fn complete(request: &Request<'_>, entry: &Entry, root: Node<'_, '_>, found: &mut Findings) {
    // Those of libraries and fonts that were staged besides are not what a software centre shows of the package.
    if !is_application(root) || request.manifest.apps.values().all(|app| app.desktop.is_none()) {
        return;
    }
    let mut lacking: Vec<&str> =
        ["id", "name", "summary", "metadata_license", "project_license", "description"]
            .into_iter()
            .filter(|name| text_of(root, name).is_none())
            .collect();
    if text_of(root, "developer").is_none() && text_of(root, "developer_name").is_none() {
        lacking.push("developer");
    }
    if !root.children().any(|node| node.has_tag_name("launchable")) {
        lacking.push("launchable");
    }
    let has_release = root.children().filter(|node| node.has_tag_name("releases")).any(|node| {
        node.attribute("type") == Some("external")
            || node.children().any(|release| release.has_tag_name("release"))
    });
    if !has_release {
        lacking.push("releases");
    }
    if !lacking.is_empty() {
        let message = format!("has no {}", lacking.join(", "));
        let hint = "software centres show these; the AppStream specification says how they are written";
        found.file(METAINFO_INCOMPLETE, &entry.path, message, hint);
    }
}
