//! The ioctl of /dev/fuse.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use rustix::fs::{Mode, OFlags, open};
use std::os::fd::OwnedFd;

/// Opens another descriptor of the connection of `device`, from which requests can be read and answered independently
/// (`FUSE_DEV_IOC_CLONE`, Linux 4.2).
///
/// # Errors
/// The kernel's.
pub fn clone_device(device: impl AsFd) -> io::Result<OwnedFd> {
    let clone = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let source: RawFd = device.as_fd().as_raw_fd();
    // _IOR(229, 0, uint32_t)
    const FUSE_DEV_IOC_CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;
    // SAFETY: the kernel reads one 32-bit descriptor number behind the pointer, which outlives the call.
    let result = unsafe { libc::ioctl(clone.as_raw_fd(), FUSE_DEV_IOC_CLONE, std::ptr::from_ref(&source)) };
    if result == 0 { Ok(clone) } else { Err(io::Error::last_os_error()) }
}
