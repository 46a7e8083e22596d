//! Where a path leads inside the sandbox, as far as it can be known before a launch: the package at `/app`, and at the root
//! where it makes up the root; the manifest's layout; the base; then what the sandbox makes itself. `launcher/src/plan/system.rs` is what
//! this follows.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use pack_launcher::plan::OWN_TOP;
use pack_launcher::plan::system::{ETC_OF_HOST_BASE, makes_root};
use pack_schemas::manifest::{Manifest, OwnRoot};

use super::listing::{Entry, Kind, Listing};
use super::{BaseFiles, Request};

/// Most links on one way, as in Linux (path_resolution(7)).
const LINKS_MOST: usize = 40;
/// Names at the top of a host that are shown, those of its /usr; see `launcher/src/host`.
const HOST_TOP: &[&str] = &["bin", "gnu", "lib", "lib32", "lib64", "libx32", "nix", "sbin", "usr"];
/// Of /etc, what the sandbox makes.
const ETC_OF_SANDBOX: &[&str] =
    &["group", "host.conf", "hosts", "localtime", "machine-id", "mtab", "passwd", "resolv.conf"];

/// Of /var, what the sandbox makes.
const VAR_OF_SANDBOX: &[&str] = &["lock", "run", "tmp"];

/// How an app sees its files.
pub(super) struct View<'a> {
    manifest: &'a Manifest,
    files: &'a Listing,
    base: BaseFiles<'a>,
    makes_root: bool,
}

/// What a path leads to.
#[derive(Debug, Clone)]
pub(super) enum Place<'a> {
    /// A file of the package.
    Package(&'a Entry),
    /// A file of the base.
    Base(BaseFile<'a>),
    /// A folder, wherever it is from.
    Folder,
    /// Something that the sandbox makes.
    Sandbox,
    /// Nothing.
    Missing,
    /// Something or nothing of a base that is not at hand.
    Unknown,
}

/// A file of the base.
#[derive(Debug, Clone)]
pub(super) enum BaseFile<'a> {
    /// On the host.
    Host(PathBuf),
    /// In the base's package.
    Package(&'a Entry),
}

/// What stands at one path, before a link there is followed.
enum Node<'a> {
    Link(Vec<u8>),
    End(Place<'a>),
}

impl<'a> View<'a> {
    pub fn new(request: &Request<'a>) -> View<'a> {
        let manifest = request.manifest;
        View { manifest, files: request.files, base: request.base, makes_root: makes_root(manifest) }
    }

    pub fn manifest(&self) -> &'a Manifest {
        self.manifest
    }

    pub fn base(&self) -> BaseFiles<'a> {
        self.base
    }

    /// Whether the package's own top entries are the root's.
    pub fn makes_root(&self) -> bool {
        self.makes_root
    }

    /// Where a path of the package is found inside.
    pub fn inside(&self, path: &[u8]) -> Vec<u8> {
        let (top, rest) = top_of(path);
        let at_root = self.makes_root && !rest.is_empty() && !is_one_of(OWN_TOP, top);
        let prefix: &[u8] = if at_root { b"/" } else { b"/app/" };
        [prefix, path].concat()
    }

    /// Whether a path inside is one of the package's own: below `/app`, or of a top folder of the package that is the
    /// root's too.
    pub fn is_own(&self, path: &[u8]) -> bool {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let (top, _) = top_of(path);
        let is_shown = || self.makes_root && !is_one_of(OWN_TOP, top);
        top == b"app" || (is_shown() && self.files.find(top).is_some())
    }

    /// Follows a path from the root folder inside.
    pub fn resolve(&self, path: &[u8]) -> Place<'a> {
        let mut at: Vec<u8> = Vec::new();
        let mut left: Vec<Vec<u8>> = components(path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at.truncate(at.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    continue;
                }
                _ => {}
            }
            let parent = at.len();
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(&name);
            match self.node(&at) {
                Node::Link(target) => {
                    links += 1;
                    if links > LINKS_MOST {
                        return Place::Missing;
                    }
                    at.truncate(if target.starts_with(b"/") { 0 } else { parent });
                    left.extend(components(&target));
                }
                Node::End(Place::Folder) => {}
                Node::End(place @ (Place::Sandbox | Place::Missing | Place::Unknown)) => return place,
                Node::End(file) => {
                    return if left.iter().all(|name| name.is_empty()) { file } else { Place::Missing };
                }
            }
        }
        Place::Folder
    }

    fn node(&self, path: &[u8]) -> Node<'a> {
        self.layout_node(path).unwrap_or_else(|| self.system_node(path))
    }

    /// What the manifest's layout shows at a path, or above what it shows. A bind is followed like a link here.
    fn layout_node(&self, path: &[u8]) -> Option<Node<'a>> {
        let path = [b"/", path].concat();
        for (target, layout) in &self.manifest.layout {
            let Some(rest) = target.as_bytes().strip_prefix(path.as_slice()) else { continue };
            if rest.is_empty() {
                let shown = [&layout.bind, &layout.bind_file, &layout.symlink].into_iter().flatten().next();
                return Some(match shown {
                    Some(own) if own.root == OwnRoot::Package => {
                        Node::Link(format!("/app/{}", own.path).into_bytes())
                    }
                    // The app's own data, or an empty folder.
                    _ => Node::End(Place::Sandbox),
                });
            }
            // The folder is made where there is none.
            if rest.starts_with(b"/") {
                let is_missing = matches!(self.system_node(&path[1..]), Node::End(Place::Missing));
                return is_missing.then_some(Node::End(Place::Folder));
            }
        }
        None
    }

    fn system_node(&self, path: &[u8]) -> Node<'a> {
        let (top, rest) = top_of(path);
        if top == b"app" {
            return match rest {
                b"" => Node::End(Place::Folder),
                rest => package_node(self.files, rest, Place::Package).unwrap_or(Node::End(Place::Missing)),
            };
        }
        if top == b"etc" {
            return self.etc_node(path, rest);
        }
        if top == b"var" {
            return self.var_node(path, rest);
        }
        if is_one_of(OWN_TOP, top) {
            return Node::End(Place::Sandbox);
        }
        let own = self.makes_root.then(|| package_node(self.files, path, Place::Package)).flatten();
        own.unwrap_or_else(|| self.base_node(path))
    }

    /// The host's /var is never shown.
    fn var_node(&self, path: &[u8], rest: &[u8]) -> Node<'a> {
        if rest.is_empty() {
            return Node::End(Place::Folder);
        }
        if is_one_of(VAR_OF_SANDBOX, top_of(rest).0) {
            return Node::End(Place::Sandbox);
        }
        let own = self.makes_root.then(|| package_node(self.files, path, Place::Package)).flatten();
        own.unwrap_or_else(|| self.base_node(path))
    }

    fn etc_node(&self, path: &[u8], rest: &[u8]) -> Node<'a> {
        let (name, _) = top_of(rest);
        if rest.is_empty() {
            return Node::End(Place::Folder);
        }
        if is_one_of(ETC_OF_SANDBOX, name) {
            return Node::End(Place::Sandbox);
        }
        if self.makes_root && self.files.find(&[b"etc/", name].concat()).is_some() {
            return package_node(self.files, path, Place::Package).unwrap_or(Node::End(Place::Missing));
        }
        match self.base {
            BaseFiles::Host(root) if is_one_of(ETC_OF_HOST_BASE, name) => host_node(root, path),
            BaseFiles::Host(_) => Node::End(Place::Missing),
            _ => self.base_node(path),
        }
    }

    fn base_node(&self, path: &[u8]) -> Node<'a> {
        match self.base {
            BaseFiles::None => Node::End(Place::Missing),
            BaseFiles::Missing(_) => Node::End(Place::Unknown),
            BaseFiles::Host(root) if is_one_of(HOST_TOP, top_of(path).0) || top_of(path).0 == b"etc" => {
                host_node(root, path)
            }
            BaseFiles::Host(_) => Node::End(Place::Missing),
            BaseFiles::Package(files) => {
                let file = |entry| Place::Base(BaseFile::Package(entry));
                package_node(files, path, file).unwrap_or(Node::End(Place::Missing))
            }
        }
    }

    /// What the base has at a top name that is a folder in the package: a link, and where it leads.
    pub fn base_link(&self, top: &str) -> Option<String> {
        if is_one_of(OWN_TOP, top.as_bytes()) {
            return None;
        }
        match self.base_node(top.as_bytes()) {
            Node::Link(target) => Some(String::from_utf8_lossy(&target).into_owned()),
            Node::End(_) => None,
        }
    }
}

fn package_node<'a>(
    files: &'a Listing,
    path: &[u8],
    file: impl Fn(&'a Entry) -> Place<'a>,
) -> Option<Node<'a>> {
    let entry = files.find(path)?;
    Some(match &entry.kind {
        Kind::Folder => Node::End(Place::Folder),
        Kind::Link(target) => Node::Link(target.to_vec()),
        Kind::File(_) | Kind::Special(_) => Node::End(file(entry)),
    })
}

fn host_node<'a>(root: &Path, path: &[u8]) -> Node<'a> {
    let path = root.join(OsStr::from_bytes(path));
    match path.symlink_metadata() {
        Ok(found) if found.is_symlink() => match std::fs::read_link(&path) {
            Ok(target) => Node::Link(target.into_os_string().into_vec()),
            Err(_) => Node::End(Place::Missing),
        },
        Ok(found) if found.is_dir() => Node::End(Place::Folder),
        Ok(_) => Node::End(Place::Base(BaseFile::Host(path))),
        Err(_) => Node::End(Place::Missing),
    }
}

/// The components of a path, last first.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec).collect()
}

/// The first component of a relative path, and the rest.
pub(super) fn top_of(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, b""),
    }
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|its| its.as_bytes() == name)
}
