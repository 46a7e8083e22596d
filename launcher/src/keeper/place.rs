//! Where keepers are found: a folder of the user's alone with a socket for each, and a lock for those who start one.
//!
//! ```text
//! $XDG_RUNTIME_DIR/pack/
//!   lock        held (flock(2)) while a keeper is started
//!   HASH        socket of the keeper of the package with that envelope hash
//!   HASH.DEVICE socket of one that follows the keeper of an earlier mount of the package, where HASH is another's now
//! ```
//!
//! A socket that nobody listens at is a leftover. Sockets are made, and leftovers taken away, under the lock only; that a
//! keeper took its last connection needs none, since a connection without an answer counts for nothing.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use pack_schemas::names::Hash;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, mkdir, open, openat, unlinkat,
};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

/// The folder, open.
#[derive(Debug)]
pub struct Place {
    folder: OwnedFd,
}

/// Where launches come in to a keeper.
pub(super) struct Entrance {
    pub(super) listener: OwnedFd,
    /// Readable once the listener's name is gone, whoever took it away and however.
    pub(super) lease: OwnedFd,
}

/// Held while a keeper is started.
pub(super) struct Lock(#[allow(dead_code, reason = "its being open is what it is for")] OwnedFd);

const LOCK: &str = "lock";
/// How long somebody else may take to start a keeper, or a keeper to answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Most leftovers that are taken away at once.
const SWEEP_MOST: usize = 64;

impl Place {
    /// Opens the folder, and makes it where it is not there; the folder above it must be.
    ///
    /// # Errors
    /// The kernel's; and `PermissionDenied` where the folder is not the user's, or not for the user alone.
    pub fn open(path: &Path) -> io::Result<Place> {
        match mkdir(path, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty())?;
        let found = fstat(&folder)?;
        if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Place { folder })
    }

    /// Takes the names of a package's keepers away, so that each ends as soon as nobody uses it, and nobody finds it any
    /// more.
    ///
    /// # Errors
    /// The kernel's; that there is none is no error.
    pub fn release(&self, package: &Hash) -> io::Result<()> {
        let package = package.to_string();
        for entry in Dir::read_from(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name.split('.').next() == Some(&package) {
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Connects to the keeper with a name; nothing where nobody listens.
    pub(super) fn connect(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        // A keeper that is stuck lets its backlog fill; that shall not hold anybody up.
        let channel = new_socket(SocketFlags::NONBLOCK)?;
        match connect(&channel, &self.address(name)?) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        if socket_peercred(&channel)?.uid != rustix::process::geteuid() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        rustix::io::ioctl_fionbio(&channel, false)?;
        set_socket_timeout(&channel, Timeout::Recv, Some(PATIENCE))?;
        Ok(Some(channel))
    }

    /// Waits for the lock.
    pub(super) fn lock(&self) -> io::Result<Lock> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.folder, LOCK, flags, Mode::RUSR | Mode::WUSR)?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(file)),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            // flock(2) by itself waits for ever, even for a launcher that somebody has stopped.
            if begun.elapsed() > PATIENCE {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(Duration::from_micros(300));
        }
    }

    /// Makes the socket of a keeper, in the place of what was there. Under the lock.
    ///
    /// It fails as well where the user has no inotify instance left, of which there are often 128
    /// (`fs.inotify.max_user_instances`): a keeper that does not learn that its package was removed is not to be shared.
    pub(super) fn listen(&self, name: &str) -> io::Result<Entrance> {
        self.remove(name)?;
        let listener = new_socket(SocketFlags::NONBLOCK)?;
        bind(&listener, &self.address(name)?)?;
        listen(&listener, BACKLOG)?;
        let lease = self.lease(name)?;
        Ok(Entrance { listener, lease })
    }

    /// Takes away the sockets that nobody listens at. Under the lock.
    pub(super) fn sweep(&self) {
        let Ok(folder) = Dir::read_from(&self.folder) else { return };
        let sockets = folder.flatten().filter(|entry| entry.file_type() == FileType::Socket);
        for entry in sockets.take(SWEEP_MOST) {
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(probe) = new_socket(SocketFlags::NONBLOCK) else { return };
            let refused =
                self.address(name).is_ok_and(|address| connect(&probe, &address) == Err(Errno::CONNREFUSED));
            if refused {
                let _ = unlinkat(&self.folder, name, AtFlags::empty());
            }
        }
    }

    fn lease(&self, name: &str) -> io::Result<OwnedFd> {
        let lease = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // Unlinking changes the number of links; the socket itself lives on as long as it is listened at.
        let changes = WatchFlags::ATTRIB | WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        inotify::add_watch(&lease, self.path(name), changes)?;
        Ok(lease)
    }

    /// A path to something in the folder that is short however deep the folder lies, since an address takes 107 bytes.
    fn path(&self, name: &str) -> String {
        format!("/proc/self/fd/{}/{name}", self.folder.as_fd().as_raw_fd())
    }

    fn address(&self, name: &str) -> io::Result<SocketAddrUnix> {
        Ok(SocketAddrUnix::new(self.path(name))?)
    }
}

fn new_socket(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags | SocketFlags::CLOEXEC, None)?)
}
