//! The folder with the metadata that is trusted: `ROLE.json` for each role, byte for byte as it came.
//!
//! A file is replaced by rename, after everything that it depends on, so that at any moment the folder holds what some
//! run has checked: root, then timestamp, snapshot, targets. What a run finds there is checked again, under the root of
//! the moment. The time of modification of `timestamp.json` says when it was last found to be the newest.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use pack_schemas::tuf::quoted;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use super::error::TufError;
use crate::folder::{FileError, Folder, Mounts, is_temporary};

/// How often a waiting process looks again.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Stored {
    folder: Folder,
}

/// The right to change the folder; ends with the process at the latest.
pub(super) struct Lock {
    _descriptor: OwnedFd,
}

impl Stored {
    pub fn open(path: &Path) -> Result<Stored, FileError> {
        Ok(Stored { folder: Folder::create(path, 0o700)? })
    }

    /// Waits for the right to change the folder, and takes away what a killed run was writing.
    pub fn lock(&self, patience: Duration) -> Result<Lock, TufError> {
        // An own description, or a second client of this process would share the lock.
        let descriptor = self
            .folder
            .open_at(OsStr::new("."), OFlags::DIRECTORY | OFlags::RDONLY, Mounts::Cross)
            .map_err(|error| self.folder.failed("open", OsStr::new("."), error))?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK | Errno::INTR) if begun.elapsed() < patience => thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {
                    let folder = self.folder.path().to_owned();
                    return Err(TufError::Busy { folder, waited_s: begun.elapsed().as_secs() });
                }
                Err(error) => return Err(self.folder.failed("lock", OsStr::new("."), error).into()),
            }
        }
        for name in self.folder.names()?.iter().filter(|name| is_temporary(name)) {
            self.folder.remove_file(name)?;
        }
        Ok(Lock { _descriptor: descriptor })
    }

    /// The metadata of a role; nothing where there is none, or what no store has sent.
    pub fn read(&self, role: &str, length_most: u64) -> Result<Option<Vec<u8>>, FileError> {
        match self.folder.read(file_name(role), length_most) {
            Err(error) if error.source.kind() == std::io::ErrorKind::FileTooLarge => Ok(None),
            read => read,
        }
    }

    pub fn write(&self, _lock: &Lock, role: &str, bytes: &[u8]) -> Result<(), FileError> {
        self.folder.replace(&file_name(role), bytes, 0o644, &mut || ())
    }

    pub fn remove(&self, _lock: &Lock, role: &str) -> Result<(), FileError> {
        if self.folder.remove_file(file_name(role))? {
            self.folder.sync()?;
        }
        Ok(())
    }

    /// Removes all metadata but that of the files named.
    pub fn keep_only(&self, _lock: &Lock, keep: &BTreeSet<String>) -> Result<(), FileError> {
        for name in self.folder.names()? {
            let is_kept = name.to_str().is_some_and(|name| keep.contains(name));
            if name.as_bytes().ends_with(b".json") && !is_kept {
                self.folder.remove_file(name)?;
            }
        }
        Ok(())
    }

    /// When the timestamp was last found to be the newest, in seconds since 1970.
    pub fn checked_at(&self) -> Result<Option<u64>, FileError> {
        let stat = self.folder.stat_of(file_name("timestamp"))?;
        Ok(stat.and_then(|stat| u64::try_from(stat.st_mtime).ok()))
    }

    /// Notes that the timestamp is the newest at `time`.
    pub fn set_checked_at(&self, _lock: &Lock, time: u64) -> Result<(), FileError> {
        let name = file_name("timestamp");
        let name = OsStr::new(&name);
        let failed = |error| self.folder.failed("date", name, error);
        let time = Timespec { tv_sec: i64::try_from(time).unwrap_or(i64::MAX), tv_nsec: 0 };
        let file = rustix::fs::openat(
            &self.folder,
            name,
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(failed)?;
        rustix::fs::futimens(&file, &Timestamps { last_access: time, last_modification: time })
            .map_err(failed)
    }
}

/// The name of a role's file.
pub(super) fn file_name(role: &str) -> String {
    format!("{}.json", quoted(role))
}
