//! Folders laid over one another (overlayfs, read-only): layers of the host's and of the sandbox's own are attached at hidden places
//! while the overlay is made, and taken off again; those of images lie where the images are.

use std::os::fd::{AsFd, OwnedFd};

use pack_schemas::plan::{Access, Layer, PlaceKind, Source};
use rustix::mount::MountAttrFlags;

use super::{Places, clone_host, images, make, make_link};
use crate::sandbox::step::{InStep, StepError};

/// Where layers lie while the root is made.
const LAYERS: &str = "/.layers";
/// Size limit of a layer of places, which has empty folders and files, and links.
const PLACES_SIZE: &str = "4M";

/// What has to be made ready while the host's tree is there: a mount for each layer that is in no image.
pub(super) fn prepare(layers: &[Layer]) -> Result<Vec<OwnedFd>, StepError> {
    let mounts = layers.iter().filter_map(|layer| match layer {
        Layer::Host { path } => Some(clone_host(&Source::Path(path.clone()), Access::ReadOnly)),
        Layer::Places { .. } => Some(
            make("tmpfs", &[("size", PLACES_SIZE), ("mode", "0755")], MountAttrFlags::empty())
                .step("mount the places of the layout"),
        ),
        Layer::Image { .. } => None,
    });
    mounts.collect()
}

/// Makes the overlay and attaches it.
pub(super) fn overlay(
    places: &mut Places<'_>,
    target: &str,
    layers: &[Layer],
    mounts: &[OwnedFd],
) -> Result<(), StepError> {
    let mut paths = Vec::with_capacity(layers.len());
    let mut mounts = mounts.iter();
    for (number, layer) in layers.iter().enumerate() {
        let path = match layer {
            Layer::Image { image, path } => images::path_of(*image, path),
            Layer::Host { .. } | Layer::Places { .. } => format!("{LAYERS}/{number}"),
        };
        // Only these layers take a mount.
        if !matches!(layer, Layer::Image { .. })
            && let Some(mount) = mounts.next()
        {
            places.attach(mount.as_fd(), &path)?;
        }
        if let Layer::Places { places: wanted } = layer {
            for (below, kind) in wanted {
                make_place(places, &format!("{path}/{below}"), kind)?;
            }
        }
        // A colon would begin another layer (overlayfs.rst).
        paths.push(path.replace('\\', "\\\\").replace(':', "\\:"));
    }
    let mounted = make("overlay", &[("lowerdir", &paths.join(":"))], MountAttrFlags::MOUNT_ATTR_RDONLY)
        .step_on("overlay", target)?;
    places.attach(mounted.as_fd(), target)?;
    for (number, layer) in layers.iter().enumerate() {
        if !matches!(layer, Layer::Image { .. }) {
            places.clear_away(&format!("{LAYERS}/{number}"))?;
        }
    }
    places.clear_away(LAYERS)
}

fn make_place(places: &mut Places<'_>, path: &str, kind: &PlaceKind) -> Result<(), StepError> {
    match kind {
        PlaceKind::Folder => places.make_folder(path).step_on("make the folder", path),
        PlaceKind::File => places.write_file(path, &[]).step_on("write", path),
        PlaceKind::Symlink { to } => make_link(places, to.as_bytes(), path),
    }
}
