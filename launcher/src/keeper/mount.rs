//! Makes a FUSE mount that is attached nowhere, in the calling process's own user and mount namespace.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::fuse::Owner;
use crate::sandbox::step::{InStep, StepError};

/// A mount that is attached nowhere; nothing once it was given away because it could not be cloned.
pub(super) struct Mount(Option<OwnedFd>);

/// How a mount is cloned.
pub(super) const CLONE_FLAGS: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE
    .union(OpenTreeFlags::OPEN_TREE_CLOEXEC)
    .union(OpenTreeFlags::AT_EMPTY_PATH);

impl Mount {
    /// Makes the mount, and returns with it the device that it is served through. `label` is what it is called in the
    /// list of mounts.
    ///
    /// The device is opened here, since the kernel takes it only from a process of the user namespace that it is
    /// opened in. Without `allow_other` the user alone can reach the files, and from every user namespace of theirs;
    /// with `default_permissions` the kernel checks modes by itself.
    pub(super) fn make(label: &str, owner: Owner) -> Result<(Mount, OwnedFd), StepError> {
        let device =
            open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).step("open /dev/fuse")?;
        let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC).step("fsopen fuse")?;
        let set = |key: &str, value: &str| {
            fsconfig_set_string(context.as_fd(), key, value).step_on("fsconfig", key)
        };
        // A comma would need escaping in the list of mounts; a label has none, and a source may be any text.
        set("source", label)?;
        set("subtype", "pack")?;
        // As text: FSCONFIG_SET_FD is refused.
        set("fd", &device.as_raw_fd().to_string())?;
        set("rootmode", "40000")?;
        set("user_id", &owner.user.to_string())?;
        set("group_id", &owner.group.to_string())?;
        for flag in ["default_permissions", "ro"] {
            fsconfig_set_flag(context.as_fd(), flag).step_on("fsconfig", flag)?;
        }
        fsconfig_create(context.as_fd()).step("fsconfig create")?;
        let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes).step("fsmount")?;
        Ok((Mount(Some(mount)), device))
    }

    /// Returns a descriptor of a mount to give away.
    pub(super) fn give(&mut self) -> Result<OwnedFd, StepError> {
        let mount = self.0.as_ref().ok_or(Errno::BUSY).step("mount it a second time")?;
        match open_tree(mount, "", CLONE_FLAGS) {
            Ok(clone) => Ok(clone),
            Err(error) => self.0.take().ok_or(error).step("clone the mount"),
        }
    }
}
