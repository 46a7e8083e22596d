//! Reads requests from /dev/fuse and writes the answers, until the connection ends.
//!
//! Threads sleep until a request comes. To look for the next one awake for a moment does not pay: on two processors it
//! takes from whoever asks what it saves, and costs two readers a fifth of their speed; nor does a thread of the policy SCHED_IDLE
//! that keeps a processor from sleeping.

use std::io;
use std::os::fd::AsFd;

use rustix::io::{Errno, read, write};

use super::reply::Reply;
use super::request::REQUEST_SIZE_MOST;
use super::server::{Answer, Server};

/// An answer's buffer that grew past this is given back.
const REPLY_KEPT: usize = 256 << 10;

/// Why serving stopped before the connection ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// No request could be read.
    #[error("cannot read requests from the kernel")]
    Read(#[source] io::Error),
    /// An answer was not taken, for a reason other than that nobody waits for it any more.
    #[error("cannot answer a request of the kernel")]
    Write(#[source] io::Error),
}

/// Serves requests from `device` on the calling thread until the mount is gone. Several threads may serve the same
/// connection.
///
/// # Errors
/// [`SessionError`]; the kernel's answers that belong to normal operation are none.
pub fn serve(server: &Server, device: impl AsFd) -> Result<(), SessionError> {
    let mut request = vec![0; REQUEST_SIZE_MOST];
    let mut reply = Reply::default();
    loop {
        let length = match read(&device, &mut request) {
            Ok(length) => length,
            // ENOENT: the request was withdrawn while it was being read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => continue,
            Err(Errno::NODEV) => return Ok(()),
            Err(error) => return Err(SessionError::Read(error.into())),
        };
        let Answer::Send(bytes) = server.answer(&request[..length], &mut reply) else { continue };
        match write(&device, bytes) {
            // ENOENT: whoever asked was killed and waits no more. ENODEV: the next read will tell.
            Ok(_) | Err(Errno::NOENT | Errno::NODEV) => {}
            Err(error) => return Err(SessionError::Write(error.into())),
        }
        reply.shrink_to(REPLY_KEPT);
    }
}

/// Has the kernel send every request again that was read from a device of the connection and not answered
/// (FUSE_NOTIFY_RESEND of `include/uapi/linux/fuse.h`): for a process that takes over. Answers of the one before it, where
/// it still runs, come to nothing then.
///
/// # Errors
/// The kernel's: EINVAL before Linux 6.9.
pub fn ask_again(device: impl AsFd) -> io::Result<()> {
    const NOTIFY_RESEND: u32 = 7;
    // A header alone: its length, the code in the place of an error, and no request that it belongs to.
    let mut header = [0; 16];
    header[..4].copy_from_slice(&16_u32.to_ne_bytes());
    header[4..8].copy_from_slice(&NOTIFY_RESEND.to_ne_bytes());
    write(device, &header)?;
    Ok(())
}
