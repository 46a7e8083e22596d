//! What a project's desktop entry and AppStream metainfo say, for programs with windows.

use std::path::Path;

use super::Suggestion;
use super::detect::read;

/// Folders of a project where such files are kept.
const FOLDERS: &[&str] = &[
    ".",
    "data",
    "desktop",
    "packaging",
    "packaging/linux",
    "linux",
    "assets",
    "share",
    "share/applications",
    "share/metainfo",
    "resources",
    "res",
    "dist",
    "extra",
    "extra/linux",
    "snap/gui",
];
/// Most names of a folder that are looked at.
const NAMES_MOST: usize = 4096;

/// Fills in what they say; name, version and licence of the build's own files come before.
pub(super) fn fill(folder: &Path, found: &mut Suggestion) {
    if let Some((_, text)) =
        file_that_ends(folder, &[".metainfo.xml", ".appdata.xml", ".metainfo.xml.in", ".appdata.xml.in"])
    {
        metainfo(&text, found);
    }
    let Some((name, text)) = file_that_ends(folder, &[".desktop", ".desktop.in"]) else { return };
    found.desktop = Some(name.trim_end_matches(".in").to_owned());
    let value = |key: &str| {
        let lines = text.lines().skip_while(|line| line.trim() != "[Desktop Entry]").skip(1);
        let mut lines = lines.take_while(|line| !line.starts_with('['));
        lines.find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix('=')).map(str::trim)
    };
    set(&mut found.title, value("Name"));
    set(&mut found.summary, value("Comment"));
    found.is_in_terminal = value("Terminal") == Some("true");
    let program = value("Exec")
        .and_then(|exec| exec.split_whitespace().next())
        .map(|program| program.trim_matches('"').rsplit('/').next().unwrap_or(program));
    set(&mut found.program, program.filter(|program| !program.contains(['@', '$', '%'])));
}

fn set(field: &mut Option<String>, value: Option<&str>) {
    if let Some(value) = value.map(str::trim).filter(|value| !value.is_empty() && field.is_none()) {
        *field = Some(value.to_owned());
    }
}

/// The first file, by name, in the first folder that has one with such an end.
fn file_that_ends(folder: &Path, ends: &[&str]) -> Option<(String, String)> {
    FOLDERS.iter().find_map(|below| {
        let entries = std::fs::read_dir(folder.join(below)).ok()?;
        let names = entries.take(NAMES_MOST).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> =
            names.filter(|name| ends.iter().any(|end| name.ends_with(end))).collect();
        names.sort_unstable();
        names.into_iter().find_map(|name| read(folder, &format!("{below}/{name}")).map(|text| (name, text)))
    })
}

/// Reads a component of AppStream's (AppStream specification, "Upstream Metadata").
fn metainfo(text: &str, found: &mut Suggestion) {
    let Ok(document) = roxmltree::Document::parse(text) else { return };
    let root = document.root_element();
    let element = |name: &str| {
        let mut all = root.children().filter(|child| child.has_tag_name(name));
        all.find(|child| child.attributes().all(|attribute| attribute.name() != "lang"))
            .and_then(|child| child.text())
    };
    set(&mut found.common_id, element("id").map(|id| id.trim().trim_end_matches(".desktop")));
    set(&mut found.title, element("name"));
    set(&mut found.summary, element("summary"));
    set(&mut found.license, element("project_license"));
    for url in root.children().filter(|child| child.has_tag_name("url")) {
        let field = match url.attribute("type") {
            Some("homepage") => &mut found.website,
            Some("bugtracker") => &mut found.issues,
            Some("donation") => &mut found.donation,
            Some("vcs-browser") => &mut found.source_code,
            _ => continue,
        };
        set(field, url.text());
    }
    let releases = root.children().find(|child| child.has_tag_name("releases"));
    let newest =
        releases.and_then(|releases| releases.children().find(|child| child.has_tag_name("release")));
    set(&mut found.version, newest.and_then(|release| release.attribute("version")));
}
