//! Makes a FUSE mount that is attached nowhere, in the calling process's own user and mount namespace.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, open, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, open_tree,
};

use crate::fuse::Owner;
use crate::sandbox::channel::MOST_DESCRIPTORS;
use crate::sandbox::step::{InStep, StepError};
use crate::sys;

/// A mount that is attached nowhere, and what it is served through. Copies of the descriptors are as good as these: the
/// mount stays as long as one of them does, and so does what the kernel has asked through a device and was not answered.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) mount: OwnedFd,
    /// /dev/fuse, once for each thread that serves; at least one.
    pub(super) devices: Vec<OwnedFd>,
}

/// Most threads that serve: each has a device, and all devices are sent in one message with the mount.
pub(super) const DEVICES_MOST: usize = MOST_DESCRIPTORS - 1;

impl Connection {
    /// Makes the mount, to be served by `threads`. `label` is what it is called in the list of mounts.
    ///
    /// The device is opened here, since the kernel takes it only from a process of the user namespace that it is
    /// opened in. Without `allow_other` the user alone can reach the files, and from every user namespace of theirs;
    /// with `default_permissions` the kernel checks modes by itself.
    pub(super) fn make(label: &str, owner: Owner, threads: usize) -> Result<Connection, StepError> {
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
        let mut devices = vec![device];
        for _ in 1..threads.clamp(1, DEVICES_MOST) {
            devices.push(sys::fuse::clone_device(&devices[0]).step("open /dev/fuse once more")?);
        }
        Ok(Connection { mount, devices })
    }

    /// What a keeper sent: the mount, then the devices.
    pub(super) fn of_descriptors(descriptors: Vec<OwnedFd>) -> Option<Connection> {
        let mut descriptors = descriptors.into_iter();
        let mount = descriptors.next()?;
        let devices: Vec<OwnedFd> = descriptors.collect();
        (!devices.is_empty()).then_some(Connection { mount, devices })
    }

    /// The mount, then the devices.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        std::iter::once(&self.mount).chain(&self.devices).map(AsFd::as_fd).collect()
    }

    /// Copies of the descriptors.
    pub(super) fn copy(&self) -> Result<Connection, StepError> {
        let copies: Result<_, _> = self.descriptors().iter().map(BorrowedFd::try_clone_to_owned).collect();
        let copies = copies.step("copy the descriptors of the mount")?;
        Connection::of_descriptors(copies).ok_or(Errno::BADF).step("copy the descriptors of the mount")
    }

    /// Whether both are the same mount, which is to say the same superblock: its device number is nobody else's as
    /// long as it lives.
    pub(super) fn is_same(&self, other: &Connection) -> bool {
        matches!((device_of(&self.mount), device_of(&other.mount)), (Some(a), Some(b)) if a == b)
    }

    /// What tells this mount from every other one that lives: its device number.
    pub(super) fn name(&self) -> Option<String> {
        device_of(&self.mount).map(|(major, minor)| format!("{major}:{minor}"))
    }
}

/// The device number of a mount. The server is not asked: there may be none.
fn device_of(mount: &OwnedFd) -> Option<(u32, u32)> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(mount, "", flags, StatxFlags::TYPE).ok().map(|found| (found.stx_dev_major, found.stx_dev_minor))
}

/// Returns a mount to attach, of one that a keeper lends. To be called with the rights over a mount namespace that is
/// the caller's own.
///
/// Before Linux 6.15 a mount that is attached nowhere cannot be cloned; a keeper is for one launch alone then, and the
/// mount itself can be attached, once.
///
/// # Errors
/// The kernel's.
pub fn attachable(mount: &OwnedFd) -> std::io::Result<OwnedFd> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    match open_tree(mount, "", flags) {
        Err(Errno::INVAL) => mount.try_clone(),
        other => Ok(other?),
    }
}

/// Whether a mount that is attached nowhere can be cloned here.
pub(super) fn can_be_shared(mount: &OwnedFd) -> bool {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(mount, "", flags).is_ok()
}
