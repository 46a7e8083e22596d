//! The images of a launch in the root folder: lent by keepers as detached mounts, attached at hidden places while the root
//! is made, and shown whole or in parts.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use pack_schemas::plan::ImageRole;
use rustix::fs::{CWD, FileType, OFlags, fstat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use super::{FOLDER, NOT_THERE, Places, beneath, make_link};
use crate::keeper::attachable;
use crate::sandbox::step::{InStep, StepError};
use crate::sys::mount::{
    MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, restrict, restrict_recursively,
};

/// The mounted images of a launch, as detached mounts, of which clones are attached.
pub struct Images {
    /// The package; nothing where what runs is none.
    pub package: Option<OwnedFd>,
    /// Its base, where that is a package.
    pub base: Option<OwnedFd>,
    /// The packages that show it content, in the plan's order.
    pub providers: Vec<OwnedFd>,
}

/// Where the base's image lies while the root is made.
const BASE: &str = "/.base";
/// Where the images of providers lie, each under its number, while the root is made.
const PROVIDERS: &str = "/.content";

/// Attaches the images of the base and of providers where parts of them are taken from.
pub(super) fn attach_hidden(places: &mut Places<'_>, images: &Images) -> Result<(), StepError> {
    if let Some(base) = &images.base {
        attach(places, base, BASE)?;
    }
    for (number, provider) in images.providers.iter().enumerate() {
        attach(places, provider, &format!("{PROVIDERS}/{number}"))?;
    }
    Ok(())
}

/// Takes them off again.
pub(super) fn clear_away(places: &mut Places<'_>, images: &Images) -> Result<(), StepError> {
    places.clear_away(BASE)?;
    for number in 0..images.providers.len() {
        places.clear_away(&format!("{PROVIDERS}/{number}"))?;
    }
    if images.providers.is_empty() { Ok(()) } else { places.clear_away(PROVIDERS) }
}

/// Places a folder or file of an image; a link is made anew.
pub(super) fn place(
    places: &mut Places<'_>,
    image: ImageRole,
    path: &str,
    target: &str,
    images: &Images,
) -> Result<(), StepError> {
    if image == ImageRole::Package && path.is_empty() {
        let package = images.package.as_ref().ok_or(Errno::BADF).step_on("show the package at", target)?;
        return attach(places, package, target);
    }
    let source = path_of(image, path);
    let found = beneath(places.root, &source, OFlags::PATH | OFlags::NOFOLLOW);
    let found = match found.step_on("open", &source) {
        // Another package's image was made without knowing of this one.
        Err(error) if matches!(image, ImageRole::Provider(_)) && NOT_THERE.contains(&error.errno) => {
            return Ok(());
        }
        found => found?,
    };
    if copy_link(places, &found, target)? {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, source.as_str(), flags).step_on("clone the mount of", &source)?;
    places.attach(tree.as_fd(), target)
}

/// Where a symbolic link was found, makes the same link at the target; a link cannot be mounted.
fn copy_link(places: &mut Places<'_>, found: &OwnedFd, target: &str) -> Result<bool, StepError> {
    let kind = FileType::from_raw_mode(fstat(found).step_on("look at", target)?.st_mode);
    if kind != FileType::Symlink {
        return Ok(false);
    }
    let to = rustix::fs::readlinkat(found, "", Vec::new()).step_on("read the link", target)?;
    make_link(places, to.as_bytes(), target)?;
    Ok(true)
}

/// Where a path of an image lies inside while the root is made.
pub(super) fn path_of(image: ImageRole, path: &str) -> String {
    match image {
        ImageRole::Package => format!("/app/{path}"),
        ImageRole::Base => format!("{BASE}/{path}"),
        ImageRole::Provider(number) => format!("{PROVIDERS}/{number}/{path}"),
    }
}

/// A read-only copy of a folder of the root folder, with every mount below it.
pub(super) fn again(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    let folder = beneath(root, path, FOLDER)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(folder, "", flags)?;
    restrict_recursively(tree.as_fd(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    Ok(tree)
}

/// Attaches an image as its keeper made it, and restricts it once more: the keeper is not asked to be right.
fn attach(places: &mut Places<'_>, image: &OwnedFd, target: &str) -> Result<(), StepError> {
    let image = attachable(image).step_on("clone the mount of", target)?;
    places.attach(image.as_fd(), target)?;
    restrict(image.as_fd(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        .step_on("restrict", target)
}
