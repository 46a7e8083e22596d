//! What of a waiting process can be read from outside: memory, working folder, open descriptors, root folder.
//!
//! The launcher owns the user namespace that the app lives in, and is the parent of its first process, so that the kernel
//! lets it (ptrace(2), "Ptrace access mode checking"). The first process itself, and the app's before it has executed its
//! program, are closed to everyone: what they call is not the app's doing, and is passed over by this.
//!
//! Only links and memory are read here, and memory by a process of its own ([`super::reader`]), which may have to wait for a
//! file system. Nothing is looked up along a path, so that nothing else does.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::reader::Reader;

/// Longest path that is read, in bytes (PATH_MAX of `linux/limits.h`).
pub const PATH_MOST: usize = 4096;

/// Longest list of sockets that is read, in bytes.
const SOCKETS_MOST: u64 = 1 << 20;

/// Whether a line of /proc/net/tcp or udp is that of a socket which is bound to a port, and, of TCP, listens: fields are a
/// number, the own address and port, the other's, the state; 0A is TCP_LISTEN, 07 an unconnected UDP socket.
fn offers(line: &str, port: u16) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let own = fields.next().and_then(|own| own.rsplit_once(':')).map(|(_, port)| port);
    let is_open = matches!(fields.nth(1), Some("0A" | "07"));
    is_open && own.and_then(|own| u16::from_str_radix(own, 16).ok()) == Some(port)
}

/// A process that waits in a call.
pub struct Process<'a> {
    thread: u32,
    reader: &'a Reader,
}

/// A root folder, held so that its mounts stay when every process in it has ended.
#[derive(Debug)]
pub struct Root {
    /// The folder.
    folder: OwnedFd,
    /// The mount namespace that its mounts belong to.
    _mounts: File,
    /// That namespace's name.
    name: OsString,
}

impl<'a> Process<'a> {
    /// The process that a thread belongs to.
    pub fn of(thread: u32, reader: &'a Reader) -> Process<'a> {
        Process { thread, reader }
    }

    /// At most `most` bytes from an address on; less where the memory ends before. Nothing where it is closed to the caller,
    /// or has ended, or does not come in time.
    pub fn read(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        self.reader.read(self.thread, address, most)
    }

    /// The text at an address up to its zero byte; nothing where there is none within [`PATH_MOST`].
    pub fn text(&self, address: u64) -> Option<Vec<u8>> {
        let mut bytes = self.read(address, PATH_MOST)?;
        let length = bytes.iter().position(|byte| *byte == 0)?;
        bytes.truncate(length);
        Some(bytes)
    }

    fn link(&self, name: &str) -> Option<OsString> {
        fs::read_link(format!("/proc/{}/{name}", self.thread)).ok().map(Into::into)
    }

    /// The folder that a relative path starts at: the working folder, or that of a descriptor; as the process's root
    /// folder has it.
    pub fn folder(&self, descriptor: i32) -> Option<Vec<u8>> {
        let link = match descriptor {
            libc::AT_FDCWD => self.link("cwd")?,
            number => self.link(&format!("fd/{number}"))?,
        };
        let path = link.into_vec();
        // A pipe, a socket, or a folder that was removed.
        (path.starts_with(b"/") && !path.ends_with(b" (deleted)")).then_some(path)
    }

    /// Whether a descriptor is a stream socket; nothing where it is no socket.
    pub fn is_stream(&self, descriptor: i32) -> Option<bool> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.thread)).ok()?;
        let leader = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
        let process = pidfd_open(Pid::from_raw(leader)?, PidfdFlags::empty()).ok()?;
        let socket = pidfd_getfd(&process, descriptor, PidfdGetfdFlags::empty()).ok()?;
        Some(rustix::net::sockopt::socket_type(&socket).ok()? == SocketType::STREAM)
    }

    /// Whether something is offered at a port in the network namespace of the process (proc_net_tcp(5)).
    pub fn is_offered(&self, port: u16, tcp: bool) -> bool {
        let names = if tcp { ["tcp", "tcp6"] } else { ["udp", "udp6"] };
        names.iter().any(|name| {
            let mut list = String::new();
            let file = File::open(format!("/proc/{}/net/{name}", self.thread));
            let read = file.and_then(|file| file.take(SOCKETS_MOST).read_to_string(&mut list));
            read.is_ok() && list.lines().any(|line| offers(line, port))
        })
    }

    /// Its root folder.
    pub fn root(&self) -> Option<Root> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, format!("/proc/{}/root", self.thread), flags, Mode::empty()).ok()?;
        let mounts = File::open(format!("/proc/{}/ns/mnt", self.thread)).ok()?;
        Some(Root { folder, _mounts: mounts, name: self.link("ns/mnt")? })
    }
}

impl Root {
    /// Whether it is the root folder of a process: the same mounts, and the top of them.
    pub fn is_of(&self, process: &Process<'_>) -> bool {
        process.link("ns/mnt").as_ref() == Some(&self.name)
            && process.link("root").is_some_and(|root| root == "/")
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.folder.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_offered_where_a_socket_listens_there() {
        let listening =
            "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1";
        let connected =
            "   1: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 1 1";
        let udp =
            "  12: 00000000000000000000000000000000:14E9 00000000000000000000000000000000:0000 07 0:0 0";
        assert!(offers(listening, 8080) && !offers(listening, 8081) && !offers(connected, 8080));
        assert!(offers(udp, 5353));
        assert!(!offers("  sl  local_address rem_address   st tx_queue", 0) && !offers("", 0));
    }
}
