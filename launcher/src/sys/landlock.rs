//! Asking for Landlock's version, which the landlock crate keeps to itself.

use std::io;

/// The version of Landlock's interface that the kernel has (landlock_create_ruleset(2)).
///
/// # Errors
/// ENOSYS where the kernel is built without it, EOPNOTSUPP where it is switched off at boot.
pub fn version() -> io::Result<u32> {
    const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
    // SAFETY: with this flag the kernel reads no memory: the pointer is null and the size zero, as it asks for.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}
