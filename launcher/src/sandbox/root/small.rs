//! Root folders of processes that work for an app beside its sandbox: little of the host's, read-only.

use std::os::fd::{AsFd, OwnedFd};

use pack_schemas::plan::{Access, Source};
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::{NOT_THERE, Places, clone_host, close_root, enter_new_root, make, make_link, make_private};
use crate::host::TopLink;
use crate::sandbox::step::{InStep, StepError};

/// Where the loader of programs finds libraries (ld.so(8)).
const LIBRARIES: &str = "/etc/ld.so.cache";

/// Enters a root folder of its own that shows some folders and files of the host's, read-only, and nothing else: each
/// pair is a path of the host's and the place inside. For a process that is alone in its mount namespace, and in the
/// user namespace that owns it.
///
/// # Errors
/// The kernel's, with the step.
pub(crate) fn enter_root_with(shown: &[(&str, &str)]) -> Result<(), StepError> {
    make_private()?;
    let mut mounts = Vec::with_capacity(shown.len());
    for (path, target) in shown {
        mounts.push((clone_host(&Source::Path((*path).to_owned()), Access::ReadOnly)?, *target));
    }
    let root = enter_new_root()?;
    let mut places = Places::new(&root);
    for (mount, target) in &mounts {
        places.attach(mount.as_fd(), target)?;
    }
    close_root(&root)
}

/// The root folder of a program of the host's that works for an app.
pub(crate) struct Small<'a> {
    /// Sockets of the host's that are shown beside /usr, and where.
    pub(crate) sockets: Vec<(String, String)>,
    /// A file, and what is in it.
    pub(crate) file: (&'a str, &'a [u8]),
    /// Where a tmpfs lies, the only place that can be written to.
    pub(crate) tmpfs: &'a str,
}

/// Makes a small root folder and enters it; gives the tmpfs as a detached mount. The program needs the host's /usr, what
/// belongs to it, and the list of the libraries there.
///
/// # Errors
/// [`StepError`] with the path inside, or outside, that could not be made or opened.
pub(crate) fn assemble_small(small: &Small<'_>) -> Result<OwnedFd, StepError> {
    make_private()?;
    let top = crate::host::top().step_on("look at", "/")?;
    let mut mounts = Vec::new();
    for (name, found) in &top {
        if *found == TopLink::Folder {
            let path = format!("/{name}");
            mounts.push((clone_host(&Source::Path(path.clone()), Access::ReadOnly)?, path));
        }
    }
    for (source, target) in &small.sockets {
        mounts.push((clone_host(&Source::Path(source.clone()), Access::Socket)?, target.clone()));
    }
    match clone_host(&Source::Path(LIBRARIES.to_owned()), Access::ReadOnly) {
        Ok(mount) => mounts.push((mount, LIBRARIES.to_owned())),
        Err(error) if NOT_THERE.contains(&error.errno) => {}
        Err(error) => return Err(error),
    }
    let tmpfs = make("tmpfs", &[("size", "1M"), ("mode", "0700")], MountAttrFlags::MOUNT_ATTR_NOEXEC)
        .step_on("mount", small.tmpfs)?;
    let root = enter_new_root()?;
    let mut places = Places::new(&root);
    for (mount, target) in &mounts {
        places.attach(mount.as_fd(), target)?;
    }
    for (name, found) in &top {
        if let TopLink::Link(to) = found {
            make_link(&mut places, to.as_bytes(), &format!("/{name}"))?;
        }
    }
    places.write_file(small.file.0, small.file.1).step_on("write", small.file.0)?;
    places.attach(tmpfs.as_fd(), small.tmpfs)?;
    close_root(&root)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, small.tmpfs, flags).step_on("clone the mount of", small.tmpfs)
}
