//! Plugs that show files, folders and devices of the host's.

use std::path::Path;

use pack_schemas::interface::{DeviceKind, Place, Root, UserFolder};
use pack_schemas::names::Name;
use pack_schemas::plan::{Access, Content, Source};

use super::{Asked, OF_HOST};
use crate::host;

/// Names at the top of the home folder that are never shown, hidden ones apart: programs there are on PATH
/// (CVE-2024-1724).
const NEVER_SHOWN: &[&str] = &["bin"];

fn access(writable: bool) -> Access {
    if writable { Access::ReadWrite } else { Access::ReadOnly }
}

impl Asked<'_> {
    /// The home folder itself belongs to the read-only root, so that nothing can be made at its top: no start-up file, no
    /// hidden folder, no bin. What is visible there is shown one by one.
    pub(super) fn home(&mut self, writable: bool, plug: &Name) {
        let home = self.request.host.user.home.clone();
        self.put(home.clone(), Content::Folder, plug);
        for name in &self.request.host.home {
            if !name.starts_with('.') && !NEVER_SHOWN.contains(&name.as_str()) {
                self.below(&home, name, None, writable, plug);
            }
        }
    }

    pub(super) fn user_folder(&mut self, folder: UserFolder, writable: bool, plug: &Name) {
        let host = self.request.host;
        if let Some(path) = host.user_folders.get(&folder) {
            self.below(&host.user.home, path, None, writable, plug);
        }
    }

    pub(super) fn files(&mut self, at: &Place, inside: Option<&str>, writable: bool, plug: &Name) {
        let Some(root) = self.request.host.roots.get(&at.root) else { return };
        match at.root {
            Root::Host => {
                let target = inside.map(str::to_owned).or_else(|| self.place_of(&format!("/{}", at.path)));
                let Some(target) = target else { return };
                self.below("/", &at.path, Some(&target), writable, plug);
            }
            Root::Runtime => {
                let own = host::inside(at, self.request.host.user.id);
                let root = root.clone();
                // Only definitions name something here, a file and not a folder where it can be changed: that all of the
                // runtime folder acts outside is for what a package lists.
                if self.may_show(&format!("{root}/{}", at.path), false) {
                    self.show(&root, &at.path, inside.or(own.as_deref()), writable, plug);
                }
            }
            Root::Home | Root::Config | Root::Data => {
                self.below(&root.clone(), &at.path, inside, writable, plug);
            }
        }
    }

    /// A path below a folder of the user's, where an app may have planted links. Optional: it may have gone since the
    /// folder was listed.
    fn below(&mut self, folder: &str, path: &str, inside: Option<&str>, writable: bool, plug: &Name) {
        if !self.may_show(&format!("{}/{path}", folder.trim_end_matches('/')), writable) {
            return;
        }
        self.show(folder, path, inside, writable, plug);
    }

    fn show(&mut self, folder: &str, path: &str, inside: Option<&str>, writable: bool, plug: &Name) {
        let source = Source::Beneath { folder: folder.to_owned(), path: path.to_owned() };
        let content = Content::Bind { source, access: access(writable), optional: true };
        let target = inside.map_or_else(|| format!("{folder}/{path}"), str::to_owned);
        self.put(target, content, plug);
    }

    /// Whether a path may be shown: never one that holds the home folder, which has a plug of its own, nor pack's own state
    /// or a keeper's socket; and to be changed, none in which something acts outside.
    fn may_show(&self, path: &str, writable: bool) -> bool {
        let host = self.request.host;
        let (shown, home) = (Path::new(path), Path::new(&host.user.home));
        let pack = Path::new(self.request.data).parent();
        let runtime = host.roots.get(&Root::Runtime).map(|runtime| Path::new(runtime).join("pack"));
        let own = pack.into_iter().chain(runtime.as_deref());
        let touches_own = own.into_iter().any(|own| own.starts_with(shown) || shown.starts_with(own));
        let would_act = writable && host.acting.would_act(path);
        !(home.starts_with(shown) || touches_own || would_act)
    }

    pub(super) fn host_path(&mut self, path: &str, target: &str, plug: &Name) {
        let source = Source::Path(path.to_owned());
        let content = Content::Bind { source, access: Access::ReadOnly, optional: false };
        self.put(target.to_owned(), content, plug);
    }

    pub(super) fn devices(&mut self, paths: &[String], only: Option<DeviceKind>, plug: &Name) {
        for pattern in paths {
            let found = self.request.host.devices.get(&(pattern.clone(), only));
            for path in found.into_iter().flatten() {
                let source = Source::Path(path.clone());
                self.put(
                    path.clone(),
                    Content::Bind { source, access: Access::Device, optional: true },
                    plug,
                );
            }
        }
    }

    pub(super) fn shared_memory(&mut self, plug: &Name) {
        let source = Source::Path("/dev/shm".to_owned());
        let content = Content::Bind { source, access: Access::ReadWrite, optional: false };
        self.put("/dev/shm".to_owned(), content, plug);
    }

    /// The launcher's own view of the mounts, which is the host's, for as long as it runs.
    pub(super) fn host_mounts(&mut self, plug: &Name) {
        let launcher = self.request.host.launcher;
        for name in ["mountinfo", "mounts"] {
            self.host_path(&format!("/proc/{launcher}/{name}"), &format!("{OF_HOST}/{name}"), plug);
        }
        self.put("/etc/mtab".to_owned(), Content::Symlink { to: format!("{OF_HOST}/mounts") }, plug);
    }

    pub(super) fn socket(&mut self, inside: &Place, plug: &Name) {
        let host = self.request.host;
        let Some(found) = host.sockets.get(inside) else { return };
        let Some(target) = host::inside(inside, host.user.id) else { return };
        self.put(target, socket_at(found, &host.user.home), plug);
    }
}

/// A socket of the user's or of the system's. In the home folder an app may have planted a link in its place.
pub(super) fn socket_at(path: &str, home: &str) -> Content {
    let source = match path.strip_prefix(home).and_then(|rest| rest.strip_prefix('/')) {
        Some(below) => Source::Beneath { folder: home.to_owned(), path: below.to_owned() },
        None => Source::Path(path.to_owned()),
    };
    Content::Bind { source, access: Access::Socket, optional: true }
}
