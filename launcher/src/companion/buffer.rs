//! Bytes on their way from one socket to another, in bounded memory.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, UCred, recv, send, sendmsg,
};

/// Most that one read takes.
const READ_MOST: usize = 64 << 10;

/// What came of a read or a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Bytes moved.
    Moved,
    /// Nothing can be moved now.
    Waits,
    /// The other end is closed.
    Ended,
}

/// A queue of bytes.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    /// Where the bytes begin that are still there.
    start: usize,
}

impl Buffer {
    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts bytes at the end.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Takes bytes off at the beginning, as many as there are at most.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > READ_MOST {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Takes `count` bytes off at the beginning of `other`, as many as there are at most, and puts them at the end.
    pub(crate) fn take_from(&mut self, other: &mut Buffer, count: usize) -> usize {
        let count = count.min(other.len());
        self.push(&other.bytes()[..count]);
        other.consume(count);
        count
    }

    /// Reads what a socket has, 64 KiB at most.
    ///
    /// Descriptors that came along are closed by the kernel: there is no room for them.
    ///
    /// # Errors
    /// The kernel's; one that is told by a closed connection is [`Flow::Ended`].
    pub(crate) fn read_from(&mut self, socket: impl AsFd) -> io::Result<Flow> {
        let length = self.bytes.len();
        self.bytes.resize(length + READ_MOST, 0);
        let result = recv(socket, &mut self.bytes[length..], RecvFlags::DONTWAIT);
        let count = result.as_ref().map_or(0, |(_, count)| *count);
        self.bytes.truncate(length + count.min(READ_MOST));
        flow(result.map(|(_, count)| count))
    }

    /// Writes what a socket takes.
    ///
    /// # Errors
    /// The kernel's; one that is told by a closed connection is [`Flow::Ended`].
    pub(crate) fn write_to(&mut self, socket: impl AsFd) -> io::Result<Flow> {
        if self.is_empty() {
            return Ok(Flow::Waits);
        }
        let result = send(socket, self.bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
        self.consume(*result.as_ref().unwrap_or(&0));
        flow(result)
    }

    /// As [`Buffer::write_to`], on a Unix socket, and says who writes (SCM_CREDENTIALS, unix(7)): the kernel adds that by
    /// itself only if the other end has asked for it in time.
    ///
    /// # Errors
    /// As for [`Buffer::write_to`].
    pub(crate) fn introduce_to(&mut self, socket: impl AsFd, credentials: UCred) -> io::Result<Flow> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmCredentials(credentials));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let result = sendmsg(socket, &[IoSlice::new(self.bytes())], &mut ancillary, flags);
        self.consume(*result.as_ref().unwrap_or(&0));
        flow(result)
    }
}

/// Who the calling process is, as the kernel tells it to the other end of a socket.
pub(crate) fn credentials() -> UCred {
    use rustix::process::{getgid, getpid, getuid};
    UCred { pid: getpid(), uid: getuid(), gid: getgid() }
}

fn flow(result: rustix::io::Result<usize>) -> io::Result<Flow> {
    use rustix::io::Errno;
    match result {
        Ok(0) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(Flow::Ended),
        Ok(_) => Ok(Flow::Moved),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Flow::Waits),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (mut from, mut to) = (Buffer::default(), Buffer::default());
        let all: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let mut moved = Vec::new();
        for part in all.chunks(7001) {
            from.push(part);
            to.take_from(&mut from, 5003);
            moved.extend_from_slice(to.bytes());
            to.consume(usize::MAX >> 1);
        }
        moved.extend_from_slice(from.bytes());
        assert_eq!(moved, all);
        assert!(to.is_empty());
    }
}
