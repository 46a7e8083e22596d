//! Files of the host's that change while an app runs: name servers and host names, when the machine comes to another
//! network. Such a file is replaced, so that a bind of it would go on showing the old one.
//!
//! The sandbox has copies. Before its root folder is made read-only the first process makes one more, detached, mount of
//! it that is not, and passes it to the launcher; the app never has it. The launcher looks out for changes on the host
//! (inotify(7)) and puts new copies in the place of the old ones by rename, so that a reader sees the one or the other.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pack_schemas::plan::{Content, Network, Plan};
use rustix::event::PollFlags;
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat, openat2, renameat};

/// The message that comes with the mount that can be written to.
pub const FOLLOW: &[u8] = b"follow";
/// Longest file that is copied, in bytes.
const LONGEST: u64 = 1 << 20;
/// The name that a copy has until it is whole; in the same folder.
const DRAFT: &str = ".pack-new";

/// Whether files are followed: an app with a network of its own has no use for the host's.
pub fn is_wanted(plan: &Plan) -> bool {
    matches!(plan.network, Network::Host { .. }) && paths(plan).next().is_some()
}

/// The targets inside, and the files of the host's.
fn paths(plan: &Plan) -> impl Iterator<Item = (&str, &str)> {
    plan.root.iter().filter_map(|entry| match &entry.content {
        Content::Copy { path } => Some((entry.target.as_str(), path.as_str())),
        _ => None,
    })
}

/// Reads a file of the host's for a copy: a regular file, at most [`LONGEST`] bytes.
///
/// # Errors
/// The kernel's.
pub fn read(path: &str) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(openat(rustix::fs::CWD, path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let mut bytes = Vec::new();
    file.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// How long an app runs before changes are looked out for: to end an inotify instance takes the kernel some ten
/// milliseconds (fsnotify_wait_marks_destroyed), which a command that is done at once shall not cost.
const SOON: Duration = Duration::from_secs(1);

/// The launcher's part: looks out for changes, and copies.
pub struct Followed<'a> {
    root: OwnedFd,
    begin: Instant,
    /// Nothing before it begins, and where the host lets nobody look out for changes any more (inotify(7), /proc
    /// interfaces): then the app goes on with what it has.
    changes: Option<OwnedFd>,
    files: Vec<(&'a str, &'a str, Vec<u8>)>,
}

impl<'a> Followed<'a> {
    /// Will follow the files of a plan, given the mount that can be written to.
    pub fn new(plan: &'a Plan, root: OwnedFd) -> Followed<'a> {
        let files = paths(plan).map(|(target, path)| (target, path, Vec::new())).collect();
        Followed { root, begin: Instant::now() + SOON, changes: None, files }
    }

    /// What to wait for.
    pub fn wanted(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.changes.as_ref().map(|changes| (changes.as_fd(), PollFlags::IN))
    }

    /// When [`Followed::attend`] is to be called though nothing happens.
    pub fn due(&self) -> Option<Instant> {
        self.changes.is_none().then_some(self.begin)
    }

    /// Begins when it is time, and copies what has changed. An error of one file leaves its old copy.
    pub fn attend(&mut self) {
        match &self.changes {
            Some(changes) => {
                let mut space = [0; 4096];
                while rustix::io::read(changes, &mut space).is_ok_and(|length| length > 0) {}
            }
            None if Instant::now() < self.begin => return,
            None => match self.look_out() {
                Ok(changes) => self.changes = Some(changes),
                // Once more in an hour, should the others have let go.
                Err(_) => self.begin = Instant::now() + Duration::from_secs(3600),
            },
        }
        self.copy();
    }

    fn look_out(&self) -> io::Result<OwnedFd> {
        let changes = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        for (_, path, _) in &self.files {
            for folder in folders(Path::new(path)) {
                let events = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::CREATE;
                // One that is not there changes nothing either.
                let _ = inotify::add_watch(&changes, &folder, events);
            }
        }
        Ok(changes)
    }

    fn copy(&mut self) {
        for (target, path, last) in &mut self.files {
            if let Ok(bytes) = read(path)
                && bytes != *last
                && replace(&self.root, target, &bytes).is_ok()
            {
                *last = bytes;
            }
        }
    }
}

/// The folder of a file and, where that is a link, the one that it leads to.
fn folders(path: &Path) -> Vec<PathBuf> {
    let real = std::fs::canonicalize(path).ok();
    let folder = |path: &Path| path.parent().map(Path::to_owned);
    let mut folders: Vec<PathBuf> =
        folder(path).into_iter().chain(real.as_deref().and_then(folder)).collect();
    folders.dedup();
    folders
}

/// Puts a file with these bytes in the place of another. The folder is one of the read-only root's, in which the app can
/// change nothing.
fn replace(root: &OwnedFd, target: &str, bytes: &[u8]) -> io::Result<()> {
    let (folder, name) =
        target.trim_start_matches('/').rsplit_once('/').ok_or(io::ErrorKind::InvalidInput)?;
    let strict = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = openat2(root, folder, flags, Mode::empty(), strict)?;
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    File::from(openat(&folder, DRAFT, flags, Mode::from(0o644))?).write_all(bytes)?;
    Ok(renameat(&folder, DRAFT, &folder, name)?)
}
