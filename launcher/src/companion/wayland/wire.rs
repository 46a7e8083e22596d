//! The wire of Wayland: messages of whole 32-bit words in the machine's byte order, with descriptors beside them.
//!
//! ```text
//! object │ length in bytes of all, 16 bits │ operation, 16 bits │ arguments…
//! ```

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Size of a message's first two words.
const HEADER: usize = 8;
/// More bytes than this are not read of a compositor in one conversation: one lists some sixty globals.
const CONVERSATION_MOST: usize = 1 << 20;

/// A message that goes out.
#[derive(Debug, Default)]
pub(super) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    pub(super) fn new(object: u32, operation: u16) -> Request {
        let mut request = Request::default();
        request.bytes.extend_from_slice(&object.to_ne_bytes());
        request.bytes.extend_from_slice(&u32::from(operation).to_ne_bytes());
        request
    }

    pub(super) fn number(mut self, number: u32) -> Request {
        self.bytes.extend_from_slice(&number.to_ne_bytes());
        self
    }

    /// A text: its length with the zero byte at its end, then both, filled up to whole words.
    pub(super) fn text(self, text: &str) -> Request {
        let mut request = self.number(text.len() as u32 + 1);
        request.bytes.extend_from_slice(text.as_bytes());
        request.bytes.push(0);
        request.bytes.resize(request.bytes.len().next_multiple_of(4), 0);
        request
    }

    fn finish(mut self) -> Vec<u8> {
        let length = (self.bytes.len() as u32) << 16;
        let operation = word(&self.bytes, 4).unwrap_or_default();
        self.bytes[4..8].copy_from_slice(&(length | operation).to_ne_bytes());
        self.bytes
    }
}

/// A message that came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) object: u32,
    pub(super) operation: u16,
    arguments: Vec<u8>,
}

impl Event {
    /// Reads the arguments from the first on.
    pub(super) fn arguments(&self) -> Arguments<'_> {
        Arguments(&self.arguments)
    }
}

/// Arguments that were not read yet.
pub(super) struct Arguments<'a>(&'a [u8]);

impl<'a> Arguments<'a> {
    pub(super) fn number(&mut self) -> io::Result<u32> {
        let number = word(self.0, 0).ok_or_else(malformed)?;
        self.0 = &self.0[4..];
        Ok(number)
    }

    pub(super) fn text(&mut self) -> io::Result<&'a [u8]> {
        let length = self.number()? as usize;
        let padded = length.checked_next_multiple_of(4).ok_or_else(malformed)?;
        let (bytes, rest) = self.0.split_at_checked(padded).ok_or_else(malformed)?;
        self.0 = rest;
        Ok(bytes[..length].strip_suffix(&[0]).unwrap_or_default())
    }
}

/// The first message in `bytes`, and its length; nothing where it is not there as a whole.
pub(super) fn event(bytes: &[u8]) -> io::Result<Option<(Event, usize)>> {
    let Some((object, second)) = word(bytes, 0).zip(word(bytes, 4)) else { return Ok(None) };
    let length = (second >> 16) as usize;
    if length < HEADER || !length.is_multiple_of(4) {
        return Err(malformed());
    }
    let operation = (second & 0xffff) as u16;
    let event = |arguments: &[u8]| Event { object, operation, arguments: arguments.to_vec() };
    Ok(bytes.get(HEADER..length).map(|arguments| (event(arguments), length)))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

pub(super) fn malformed() -> io::Error {
    io::Error::from_raw_os_error(libc::EPROTO)
}

/// A connection, for one conversation.
#[derive(Debug)]
pub(super) struct Wire {
    socket: OwnedFd,
    unread: Vec<u8>,
    read: usize,
    until: Instant,
}

impl Wire {
    /// `patience`: how long the whole conversation may take.
    pub(super) fn new(socket: OwnedFd, patience: Duration) -> Wire {
        Wire { socket, unread: Vec::new(), read: 0, until: Instant::now() + patience }
    }

    /// Sends messages, and descriptors with the first of them.
    pub(super) fn send(&mut self, requests: Vec<Request>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = requests.into_iter().flat_map(Request::finish).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            self.wait(PollFlags::OUT)?;
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.socket, &[IoSlice::new(rest)], &mut ancillary, flags) {
                Ok(count) => {
                    rest = &rest[count..];
                    ancillary.clear();
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Receives a message. Descriptors that come along are closed: no event that is awaited has one.
    pub(super) fn receive(&mut self) -> io::Result<Event> {
        loop {
            if let Some((event, length)) = event(&self.unread)? {
                self.unread.drain(..length);
                return Ok(event);
            }
            if self.read > CONVERSATION_MOST {
                return Err(malformed());
            }
            self.wait(PollFlags::IN)?;
            let mut bytes = [0; 4096];
            let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
            let mut none = RecvAncillaryBuffer::default();
            match recvmsg(&self.socket, &mut [IoSliceMut::new(&mut bytes)], &mut none, flags) {
                Ok(received) if received.bytes == 0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => {
                    self.read += received.bytes;
                    self.unread.extend_from_slice(&bytes[..received.bytes]);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        let left = self.until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos().into() };
        let mut polled = [PollFd::from_borrowed_fd(self.socket.as_fd(), wanted)];
        match poll(&mut polled, Some(&timeout)) {
            Ok(0) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            Ok(_) | Err(rustix::io::Errno::INTR) if !left.is_zero() => Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        for text in ["", "a", "abc", "abcd", "wp_security_context_manager_v1"] {
            let bytes = Request::new(7, 3).number(9).text(text).number(1).finish();
            let (event, length) = event(&bytes).unwrap().unwrap();
            assert_eq!((event.object, event.operation, length), (7, 3, bytes.len()));
            let mut arguments = event.arguments();
            assert_eq!(arguments.number().unwrap(), 9);
            assert_eq!(arguments.text().unwrap(), text.as_bytes());
            assert_eq!(arguments.number().unwrap(), 1);
            assert!(arguments.number().is_err());
        }
    }

    #[test]
    fn parts_of_messages_wait_and_malformed_ones_are_refused() {
        let bytes = Request::new(7, 3).number(9).finish();
        for length in 0..bytes.len() {
            assert_eq!(event(&bytes[..length]).unwrap(), None, "{length}");
        }
        for second in [0, 4 << 16, 7 << 16, 9 << 16] {
            let bytes = [1_u32, second, 0, 0].map(u32::to_ne_bytes).concat();
            assert!(event(&bytes).is_err(), "{second:x}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((event, length))) = event(&bytes) {
                prop_assert!(length <= bytes.len());
                let mut arguments = event.arguments();
                while arguments.text().is_ok() && !arguments.0.is_empty() {}
            }
        }
    }
}
