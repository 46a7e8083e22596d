//! The layout of a manifest in the root folder: places of the package's own making, beside what the base and the package have.
//!
//! ```text
//! /var/lib/web       nothing is there: a place in the root's own tmpfs
//! /usr/share/web     /usr is the base's, read-only: an overlay gets a layer on top with the one empty folder share/web, and the
//!                    folder of the package is mounted on that
//! /lib/web           /lib is a link of the base's to usr/lib: the place is /usr/lib/web
//! ```
//! Sources are the package's image, which nobody can change, or the app's own data, which the app can: that is opened below the
//! folder of all packages' data, by name and without following any link, so that a link which an app has planted is an error.

use std::collections::BTreeMap;

use pack_schemas::manifest::layout::refusal;
use pack_schemas::manifest::{Layout, LayoutKind, OwnPath, OwnRoot};
use pack_schemas::plan::{
    Access, Content, Entry, ImageRole, Layer, Made, MadeKind, PlaceKind, Reason, Source,
};

use crate::plan::layers::single_layer;
use crate::plan::system::TMPFS_SIZE;
use crate::plan::{PlanError, Request, data_folders, entry};

/// Adds the places of the layout to the root, and returns what of the app's data has to be made for them.
///
/// # Errors
/// [`PlanError::Layout`] where a place would cover what is the user's or the sandbox's.
pub fn add(root: &mut Vec<Entry>, request: &Request<'_>) -> Result<Vec<Made>, PlanError> {
    let mut made = Vec::new();
    // The layers of places, by the entry that they go into.
    let mut covered: BTreeMap<usize, BTreeMap<String, PlaceKind>> = BTreeMap::new();
    let mut own = Vec::new();
    for (target, layout) in &request.manifest.layout {
        let target = resolve(root, target);
        check(&target, request)?;
        root.retain(|earlier| earlier.target != target || matches!(earlier.because, Reason::Sandbox));
        if root.iter().any(|earlier| is_in(&earlier.target, &target) || earlier.target == target) {
            return Err(refused(&target, "it would cover what the sandbox makes there"));
        }
        let (content, kind) = content(layout, request, &mut made);
        match root.iter().position(|earlier| is_in(&target, &earlier.target) && closed(&earlier.content)) {
            None => own.push(entry(target, content, Reason::Package)),
            Some(at) => {
                let below = target[root[at].target.len() + 1..].to_owned();
                let is_link = matches!(kind, PlaceKind::Symlink { .. });
                covered.entry(at).or_default().insert(below, kind);
                if !is_link {
                    own.push(entry(target, content, Reason::Package));
                }
            }
        }
    }
    for (at, places) in covered {
        open(&mut root[at], places);
    }
    root.extend(own);
    Ok(made)
}

/// A target whose first folder is a link of the base's or the package's, where that leads.
fn resolve(root: &[Entry], target: &str) -> String {
    let (top, below) = target[1..].split_once('/').unwrap_or((&target[1..], ""));
    let link = root.iter().find_map(|entry| match &entry.content {
        Content::Symlink { to } if entry.target[1..] == *top => Some(to),
        _ => None,
    });
    match link {
        Some(to) if !below.is_empty() => format!("/{}/{below}", to.trim_matches('/')),
        _ => target.to_owned(),
    }
}

/// Nothing may be shown in, or over, what is the user's: the app's own data comes to lie there later.
fn check(target: &str, request: &Request<'_>) -> Result<(), PlanError> {
    if let Some(problem) = refusal(target) {
        return Err(refused(target, &format!("the place {problem}")));
    }
    let users = [request.data, request.host.user.home.as_str()];
    match users.into_iter().any(|own| own == target || is_in(own, target) || is_in(target, own)) {
        true => Err(refused(target, "the user's files and the app's data are there")),
        false => Ok(()),
    }
}

fn refused(target: &str, problem: &str) -> PlanError {
    PlanError::Layout { target: target.to_owned(), problem: problem.to_owned() }
}

/// Whether a path lies below a folder.
fn is_in(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Whether no place can be made in it as it is.
fn closed(content: &Content) -> bool {
    matches!(
        content,
        Content::Image { .. } | Content::Overlay { .. } | Content::Bind { access: Access::ReadOnly, .. }
    )
}

/// Lays the places over what an entry shows.
fn open(entry: &mut Entry, places: BTreeMap<String, PlaceKind>) {
    let mut layers = vec![Layer::Places { places }];
    match std::mem::replace(&mut entry.content, Content::Folder) {
        Content::Overlay { layers: below } => layers.extend(below),
        content => layers.extend(single_layer(&content)),
    }
    entry.content = Content::Overlay { layers };
}

/// What is shown, and what the place for it is.
fn content(layout: &Layout, request: &Request<'_>, made: &mut Vec<Made>) -> (Content, PlaceKind) {
    // The check of the manifest has seen to it that there is one of them.
    match layout {
        Layout { bind: Some(own), .. } => (shown(own, request, MadeKind::Folder, made), PlaceKind::Folder),
        Layout { bind_file: Some(own), .. } => (shown(own, request, MadeKind::File, made), PlaceKind::File),
        Layout { symlink: Some(own), .. } => {
            let to = match own.root {
                OwnRoot::Package => format!("/app/{}", own.path),
                OwnRoot::Data | OwnRoot::Common => format!("{}/{}", request.data, below_data(own, request)),
            };
            (Content::Symlink { to: to.clone() }, PlaceKind::Symlink { to })
        }
        Layout { kind: Some(LayoutKind::Tmpfs) | None, .. } => {
            (Content::Tmpfs { size: TMPFS_SIZE, mode: 0o755 }, PlaceKind::Folder)
        }
    }
}

fn shown(own: &OwnPath, request: &Request<'_>, kind: MadeKind, made: &mut Vec<Made>) -> Content {
    if own.root == OwnRoot::Package {
        return Content::Image { image: ImageRole::Package, path: own.path.to_string() };
    }
    let path = below_data(own, request);
    let folder = request.data.to_owned();
    made.push(Made { folder: folder.clone(), path: path.clone(), kind });
    Content::Bind { source: Source::Beneath { folder, path }, access: Access::ReadWrite, optional: false }
}

/// The path below the folder of all packages' data.
fn below_data(own: &OwnPath, request: &Request<'_>) -> String {
    let [data, common] = data_folders(request);
    let folder = if own.root == OwnRoot::Common { common } else { data };
    format!("{folder}/{}", own.path)
}
