//! Closing what a process inherited.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// Closes every descriptor but the standard streams and those in `keep`. Needs Linux 5.9.
///
/// For a process that was cloned and never returns to the frames of its caller: descriptors that values in those frames
/// own are closed with the others, and nobody uses or drops those values again.
///
/// # Errors
/// The kernel's: ENOSYS before Linux 5.9.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<RawFd> = keep.iter().map(AsRawFd::as_raw_fd).filter(|&number| number > 2).collect();
    kept.sort_unstable();
    kept.push(RawFd::MAX);
    let mut first = 3;
    for number in kept {
        if first < number {
            // SAFETY: takes three numbers. The descriptors have owners in frames that this process never returns to,
            // as the caller promises above, so none is closed twice or used after.
            let result = unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0) };
            if result != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = number.saturating_add(1);
    }
    Ok(())
}
