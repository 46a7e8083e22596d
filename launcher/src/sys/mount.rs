//! mount_setattr(2), which neither rustix nor nix has.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

pub use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};

/// `struct mount_attr` of `linux/mount.h`.
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets `attributes` (MOUNT_ATTR_…) on the mount that `mount` refers to and on every mount below it, and makes all of
/// them private, so that nothing propagates in later.
///
/// # Errors
/// The kernel's: EINVAL where `mount` is not the root of a mount, EPERM without CAP_SYS_ADMIN over it, ENOSYS before
/// Linux 5.12.
pub fn restrict_recursively(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    set_attributes(mount, libc::AT_RECURSIVE, attributes)
}

/// Sets `attributes` on the one mount that `mount` refers to, and makes it private.
///
/// # Errors
/// As [`restrict_recursively`].
pub fn restrict(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    set_attributes(mount, 0, attributes)
}

fn set_attributes(mount: BorrowedFd<'_>, flags: libc::c_int, set: u64) -> io::Result<()> {
    let attributes = MountAttributes { set, propagation: libc::MS_PRIVATE, ..MountAttributes::default() };
    // SAFETY: the kernel reads a path of no bytes and one `struct mount_attr` of the size given; both outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            std::ptr::from_ref(&attributes),
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
