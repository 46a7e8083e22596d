//! The files of the base and of the package in the root folder: what lies at each name of the top, of /etc and of /var.
//!
//! | the package has, where it makes up the root | the base has | at the top | in /etc and /var |
//! |---|---|---|---|
//! | a folder | a folder | the package's over the base's | the same |
//! | a folder | a link | no root folder can be made | the package's |
//! | anything else | anything | the package's | the package's |
//! | nothing | anything | the base's | the base's |
//!
//! At the top a link of the base's is `lib -> usr/lib`: a folder in its stead would hide the C library. Of `base: host`
//! nobody knows what in /etc is a folder, and the package's entry takes the place of the host's.

use std::collections::BTreeMap;

use pack_schemas::manifest::Base;
use pack_schemas::plan::{Content, Entry, ImageRole, Layer, Reason, Source};

use crate::host::TopLink;
use crate::plan::system::{ETC_OF_HOST_BASE, host, package_makes_root};
use crate::plan::{ImageFacts, PlanError, Request, TopEntry, entry};

/// Names at the top that the sandbox makes itself; those of a package or base are not shown there.
pub const OWN_TOP: &[&str] = &[
    ".base", ".buses", ".content", ".layers", ".pack", "app", "dev", "etc", "home", "proc", "root", "run",
    "sys", "tmp", "var",
];
/// Names in /var that are the sandbox's own: folders that can be written to, and links to such.
const OWN_VAR: &[&str] = &["lock", "run", "tmp"];
/// Longest name, in bytes, at which folders are laid over one another: the paths of all layers together have to stay
/// below 256 bytes (fsconfig(2)).
const LONGEST_OVERLAID: usize = 100;

/// What an image, or the host, has at a name.
#[derive(Clone)]
enum Found {
    Link(String, Reason),
    Folder(Layer, Reason),
    /// It is shown as it is, and nothing is laid over or below it.
    Whole(Content, Reason),
}

/// The entries of the top.
///
/// # Errors
/// [`PlanError`] where the base is not at hand, or a folder of the package would lie over a link of the base's.
pub(super) fn tops(request: &Request<'_>) -> Result<Vec<Entry>, PlanError> {
    let base = match &request.manifest.base {
        Base::None => BTreeMap::new(),
        Base::Package(_) => {
            let facts = request.base.ok_or(PlanError::NoBase)?;
            found_at_top(facts, ImageRole::Base, Reason::Base)
        }
        Base::Host => {
            request.host.top.iter().map(|(name, top)| (name.clone(), host_top(name, top))).collect()
        }
    };
    let package = match package_makes_root(request) {
        true => found_at_top(request.package, ImageRole::Package, Reason::Package),
        false => BTreeMap::new(),
    };
    for (name, found) in &package {
        if let (Found::Folder(..), Some(Found::Link(link, _))) = (found, base.get(name)) {
            return Err(PlanError::TopClash { name: name.clone(), link: link.clone() });
        }
    }
    Ok(overlaid("", base, package).collect())
}

/// The entries of /etc that come from the base and the package.
pub(super) fn etc(request: &Request<'_>) -> impl Iterator<Item = Entry> {
    let base = match (&request.manifest.base, request.base) {
        (Base::Host, _) => {
            let names = request.host.etc.iter().filter(|name| ETC_OF_HOST_BASE.contains(&name.as_str()));
            let shown = |name: &String| Found::Whole(host(format!("/etc/{name}"), true), Reason::Base);
            names.map(|name| (name.clone(), shown(name))).collect()
        }
        (Base::Package(_), Some(facts)) => found_in("etc", &facts.etc, ImageRole::Base, Reason::Base),
        (Base::Package(_), None) | (Base::None, _) => BTreeMap::new(),
    };
    let package = match package_makes_root(request) {
        true => found_in("etc", &request.package.etc, ImageRole::Package, Reason::Package),
        false => BTreeMap::new(),
    };
    overlaid("etc/", base, package)
}

/// The entries of /var that come from the base and the package. The host's is never shown.
pub(super) fn var(request: &Request<'_>) -> impl Iterator<Item = Entry> {
    let base = match (&request.manifest.base, request.base) {
        (Base::Package(_), Some(facts)) => found_in("var", &facts.var, ImageRole::Base, Reason::Base),
        _ => BTreeMap::new(),
    };
    let package = match package_makes_root(request) {
        true => found_in("var", &request.package.var, ImageRole::Package, Reason::Package),
        false => BTreeMap::new(),
    };
    overlaid("var/", base, package).filter(|entry| !OWN_VAR.iter().any(|own| entry.target[5..] == **own))
}

fn found_at_top(facts: &ImageFacts, image: ImageRole, because: Reason) -> BTreeMap<String, Found> {
    let mut all = found_in("", &facts.top, image, because);
    all.retain(|name, found| !OWN_TOP.contains(&name.as_str()) && !matches!(found, Found::Whole(..)));
    all
}

fn found_in(
    folder: &str,
    entries: &BTreeMap<String, TopEntry>,
    image: ImageRole,
    because: Reason,
) -> BTreeMap<String, Found> {
    let path = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let found = |(name, entry): (&String, &TopEntry)| {
        let (path, because) = (path(name), because.clone());
        let found = match entry {
            TopEntry::Folder => Found::Folder(Layer::Image { image, path }, because),
            TopEntry::Symlink(to) => Found::Link(to.clone(), because),
            TopEntry::Other => Found::Whole(Content::Image { image, path }, because),
        };
        (name.clone(), found)
    };
    entries.iter().map(found).collect()
}

fn host_top(name: &str, top: &TopLink) -> Found {
    match top {
        TopLink::Link(to) => Found::Link(to.clone(), Reason::Base),
        TopLink::Folder => Found::Folder(Layer::Host { path: format!("/{name}") }, Reason::Base),
    }
}

/// Lays what the package has over what the base has. `folder` is empty, or ends in `/`.
fn overlaid(
    folder: &str,
    base: BTreeMap<String, Found>,
    package: BTreeMap<String, Found>,
) -> impl Iterator<Item = Entry> {
    let mut all: BTreeMap<String, (Found, Option<Found>)> =
        base.into_iter().map(|(name, found)| (name, (found, None))).collect();
    for (name, found) in package {
        let below = all.remove(&name).map(|(found, _)| found);
        all.insert(name, (found, below));
    }
    all.into_iter().map(move |(name, (found, below))| {
        let target = format!("/{folder}{name}");
        match (found, below) {
            (Found::Folder(upper, because), Some(Found::Folder(lower, _)))
                if name.len() <= LONGEST_OVERLAID =>
            {
                entry(target, Content::Overlay { layers: vec![upper, lower] }, because)
            }
            (Found::Folder(layer, because), _) => entry(target, single(layer), because),
            (Found::Link(to, because), _) => entry(target, Content::Symlink { to }, because),
            (Found::Whole(content, because), _) => entry(target, content, because),
        }
    })
}

fn single(layer: Layer) -> Content {
    match layer {
        Layer::Image { image, path } => Content::Image { image, path },
        Layer::Host { path } => host(path, false),
        Layer::Places { .. } => Content::Folder,
    }
}

/// What an entry shows as the layer of an overlay; nothing for what cannot be one.
pub(super) fn single_layer(content: &Content) -> Option<Layer> {
    match content {
        Content::Image { image, path } => Some(Layer::Image { image: *image, path: path.clone() }),
        Content::Bind { source: Source::Path(path), .. } => Some(Layer::Host { path: path.clone() }),
        _ => None,
    }
}
