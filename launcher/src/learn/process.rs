//! What of a waiting process can be read from outside: memory, working folder, open descriptors, root folder.
//!
//! The launcher owns the user namespace that the app lives in, and is the parent of its first process, so that the kernel
//! lets it (ptrace(2), "Ptrace access mode checking"). The first process itself, and the app's before it has executed its
//! program, are closed to everyone: what they call is not the app's doing, and is passed over by this.
//!
//! Only links and memory are read here. Nothing is looked up along a path, so that nothing waits for a file system.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::SocketType;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

/// Longest path that is read, in bytes (PATH_MAX of `linux/limits.h`).
pub const PATH_MOST: usize = 4096;

/// A process that waits in a call.
pub struct Process {
    thread: u32,
    memory: File,
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

impl Process {
    /// The process that a thread belongs to; nothing where it is closed to the caller, or has ended.
    pub fn of(thread: u32) -> Option<Process> {
        let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
        Some(Process { thread, memory })
    }

    /// At most `most` bytes from an address on; less where the memory ends before.
    pub fn read(&self, address: u64, most: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; most];
        let length = self.memory.read_at(&mut bytes, address).ok()?;
        bytes.truncate(length);
        Some(bytes)
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
    pub fn is_of(&self, process: &Process) -> bool {
        process.link("ns/mnt").as_ref() == Some(&self.name)
            && process.link("root").is_some_and(|root| root == "/")
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.folder.as_fd()
    }
}
