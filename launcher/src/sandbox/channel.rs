//! Messages between the launcher and its helpers, the sandbox's first process and the keepers: a few bytes and a few
//! descriptors, over sequenced-packet sockets (unix(7)), so that each message arrives whole or not at all.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Longest message in bytes.
const LONGEST: usize = 8192;
/// Most descriptors of one message: a mount, and the devices that it is served through.
pub const MOST_DESCRIPTORS: usize = 8;

/// Makes a channel; both ends are closed by execve(2).
///
/// # Errors
/// The kernel's, where descriptors have run out.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a message and the descriptors that go with it.
///
/// # Errors
/// The kernel's: EPIPE where the other end is closed; EINVAL for more than [`MOST_DESCRIPTORS`].
pub fn send(channel: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(channel, bytes, descriptors, SendFlags::NOSIGNAL)
}

/// Sends a message only if the other end has room for it at once.
///
/// # Errors
/// As [`send`]; `WouldBlock` where there is no room.
pub fn send_at_once(channel: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(channel, bytes, descriptors, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
}

fn send_with(
    channel: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(channel, &[IoSlice::new(bytes)], &mut ancillary, flags)?;
    Ok(())
}

/// What was received.
#[derive(Debug)]
pub struct Message {
    /// The bytes; at least one.
    pub bytes: Vec<u8>,
    /// The descriptors that came with them, in their order; each is closed by execve(2).
    pub descriptors: Vec<OwnedFd>,
}

/// Receives a message; nothing where the other end is closed.
///
/// # Errors
/// The kernel's.
pub fn receive(channel: impl AsFd) -> io::Result<Option<Message>> {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(channel, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(received.bytes);
    let descriptors = ancillary
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    Ok(Some(Message { bytes, descriptors }))
}
