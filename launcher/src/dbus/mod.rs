//! Asks a message bus: a client of D-Bus that calls methods one at a time, and takes no longer than it is given.
//!
//! It is for the few questions that a launch has for the session of its user. What answers there is the user's own
//! session, and still is bounded: messages of a few KiB, and one deadline for all.

pub mod address;
pub mod message;

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

pub use address::Address;
pub use message::{Call, Kind, Received, Writer};

/// Longest message that is taken, in bytes.
const MESSAGE_MOST: usize = 64 << 10;
/// Longest line while both sides get to know each other.
const LINE_MOST: usize = 1024;

/// A connection to a message bus.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    deadline: Instant,
    serial: u32,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The bus did not answer as the protocol wants it, or in time.
    #[error("the message bus does not answer")]
    Bus(#[from] io::Error),
    /// What was asked says that it failed.
    #[error("the answer is the error {0}")]
    Refused(String),
}

impl Connection {
    /// Connects, says who the user is, and takes a name on the bus; all of that and every call after it may take `patience`
    /// together.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` where what answers is no message bus; `TimedOut`.
    pub fn open(address: &Address, patience: Duration) -> Result<Connection, CallError> {
        let mut connection = Connection::open_direct(address, patience)?;
        connection.call(&Call {
            destination: "org.freedesktop.DBus",
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            method: "Hello",
            signature: "",
            body: &[],
        })?;
        Ok(connection)
    }

    /// Connects to a program that speaks the protocol without a bus in between.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn open_direct(address: &Address, patience: Duration) -> Result<Connection, CallError> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).map_err(io::Error::from)?;
        // Not waiting: a bus whose queue is full is none that answers in time.
        connect(&socket, &address.socket_address()?).map_err(io::Error::from)?;
        rustix::io::ioctl_fionbio(&socket, false).map_err(io::Error::from)?;
        let stream = UnixStream::from(socket);
        let mut connection = Connection { stream, deadline: Instant::now() + patience, serial: 0 };
        connection.authenticate()?;
        Ok(connection)
    }

    /// Calls a method and waits for what it returns.
    ///
    /// # Errors
    /// [`CallError`].
    pub fn call(&mut self, call: &Call<'_>) -> Result<Received, CallError> {
        self.serial += 1;
        self.send(&call.message(self.serial))?;
        loop {
            let received = self.receive()?;
            // Signals come in between, as the one that tells the own name.
            match (received.answers == Some(self.serial), received.kind) {
                (true, Kind::Return) => return Ok(received),
                (true, Kind::Error) => return Err(CallError::Refused(received.error.unwrap_or_default())),
                _ => {}
            }
        }
    }

    /// Waits for any message: that something has happened there.
    ///
    /// # Errors
    /// [`CallError::Bus`].
    pub fn wait_for_anything(&mut self) -> Result<(), CallError> {
        self.receive()?;
        Ok(())
    }

    /// Whether who is at the other end has a number among the processes that this one can see: the kernel gives 0 for one that
    /// has none, and whose numbers mean others.
    pub fn sees_our_processes(&self) -> bool {
        let peer = nix::sys::socket::getsockopt(&self.stream, nix::sys::socket::sockopt::PeerCredentials);
        peer.is_ok_and(|peer| peer.pid() > 0)
    }

    /// The mechanism EXTERNAL (specification, "Authentication Protocol"): the kernel tells the bus who this is.
    fn authenticate(&mut self) -> io::Result<()> {
        let user = rustix::process::getuid().as_raw().to_string();
        let user: String = user.bytes().map(|digit| format!("{digit:02x}")).collect();
        self.send(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        if !self.receive_line()?.starts_with(b"OK ") {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.send(b"BEGIN\r\n")
    }

    fn receive_line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        // By the byte, since nothing of what follows may be taken.
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.receive_exactly(&mut byte)?;
            line.push(byte[0]);
            if line.len() > LINE_MOST {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        Ok(line)
    }

    fn receive(&mut self) -> io::Result<Received> {
        let mut prefix = [0; message::PREFIX];
        self.receive_exactly(&mut prefix)?;
        let length = message::whole_length(&prefix, MESSAGE_MOST).ok_or(io::ErrorKind::InvalidData)?;
        let mut bytes = prefix.to_vec();
        bytes.resize(length, 0);
        self.receive_exactly(&mut bytes[message::PREFIX..])?;
        message::read(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn receive_exactly(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut at = 0;
        while at < buffer.len() {
            self.stream.set_read_timeout(Some(self.left()?))?;
            match self.stream.read(&mut buffer[at..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => at += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write_all(bytes)
    }

    /// What is left of the time.
    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn listener() -> (tempfile::TempDir, UnixListener, Address) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bus");
        let listener = UnixListener::bind(&path).unwrap();
        (folder, listener, Address::Path(path.into_os_string().into_string().unwrap()))
    }

    #[test]
    fn who_never_answers_is_waited_for_no_longer_than_allowed() {
        let (_folder, listener, address) = listener();
        let begun = Instant::now();
        let error = Connection::open(&address, Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, CallError::Bus(_)), "{error:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(listener);
    }

    #[test]
    fn who_answers_by_the_byte_does_not_prolong_it() {
        let (_folder, listener, address) = listener();
        let slow = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            while client.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let begun = Instant::now();
        Connection::open(&address, Duration::from_millis(100)).unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(5));
        slow.join().unwrap();
    }

    #[test]
    fn what_is_no_bus_is_refused() {
        let (_folder, listener, address) = listener();
        let other = std::thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let _ =
                client.write_all(b"OK 1\r\nl\x02\x00\x01\xff\xff\xff\xff\x01\x00\x00\x00\xff\xff\xff\xff");
            let _ = client.read_to_end(&mut Vec::new());
        });
        let error = Connection::open(&address, Duration::from_secs(5)).unwrap_err();
        assert!(
            matches!(&error, CallError::Bus(error) if error.kind() == io::ErrorKind::InvalidData),
            "{error:?}"
        );
        other.join().unwrap();
    }
}
