//! The one lock that every change of state holds.
//!
//! It is an flock(2) on `PACK/lock`, so it ends with the process that holds it, however that ends. The file says who
//! holds it, for the one who waits; what it says decides nothing. Readers take no lock: what they read is replaced by
//! rename.
//!
//! Functions that change anything take a `&StateLock`, so none can be called without it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use pack_schemas::text::visible;

use crate::folder::{FileError, Folder};
use crate::folders::Folders;

/// How often a waiting process looks again.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest description of a holder, in bytes.
const HOLDER_LIMIT: u64 = 256;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub struct StateLock {
    /// The descriptor that the lock is on; closed on exec, so no program started inherits it.
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone else holds it.
    #[error(
        "the installed packages are being changed by {} (waited {} s for {})",
        visible(.holder), .waited.as_secs(), visible(&.path.to_string_lossy())
    )]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, in its own words: `pack install hello (process 4711)`.
        holder: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
}

impl LockError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            LockError::Held { .. } => {
                Some("wait until it has ended; PACK_LOCK_TIMEOUT=SECONDS waits longer".to_owned())
            }
            LockError::File(_) => None,
        }
    }
}

impl StateLock {
    /// Takes the lock, and makes the folder of pack if it is not there.
    ///
    /// `holder` is what others are told, such as `pack install hello`; the process number is added. Where somebody
    /// else holds the lock, `waiting` is told once who, and it is waited for up to `timeout`.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn acquire(
        folders: &Folders,
        holder: &str,
        timeout: Duration,
        waiting: &mut dyn FnMut(&str),
    ) -> Result<StateLock, LockError> {
        let pack = Folder::create(folders.pack(), 0o700)?;
        let path = folders.lock();
        let failed = |error: io::Error| FileError { action: "lock", path: path.clone(), source: error };
        let mut waited = Duration::ZERO;
        loop {
            let mut file = open(&pack).map_err(failed)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                // Someone may have deleted the file while it was waited for: then others lock another one.
                Ok(()) if is_in_place(&pack, &file)? => {
                    write_holder(&mut file, holder).map_err(failed)?;
                    return Ok(StateLock { _file: file });
                }
                Ok(()) => continue,
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(failed(error.into()).into()),
            }
            if waited.is_zero() {
                waiting(&read_holder(&mut file));
            }
            if waited >= timeout {
                return Err(LockError::Held { holder: read_holder(&mut file), path, waited });
            }
            std::thread::sleep(PAUSE);
            waited += PAUSE;
        }
    }
}

fn open(pack: &Folder) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(pack, "lock", flags, Mode::from_raw_mode(0o600))?.into())
}

fn is_in_place(pack: &Folder, file: &File) -> Result<bool, FileError> {
    let held = rustix::fs::fstat(file).map_err(|error| FileError {
        action: "look at",
        path: pack.join("lock"),
        source: error.into(),
    })?;
    let found = pack.stat_of("lock")?;
    Ok(found.is_some_and(|found| (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)))
}

fn write_holder(file: &mut File, holder: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    let text = format!("{holder} (process {})\n", std::process::id());
    match file.write_all(text.as_bytes()) {
        // Packages have to be removable from a full disk, and the text decides nothing.
        Err(error) if error.kind() == io::ErrorKind::StorageFull => Ok(()),
        written => written,
    }
}

fn read_holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.take(HOLDER_LIMIT).read_to_string(&mut text));
    match read {
        Ok(_) if !text.trim().is_empty() => text.trim().to_owned(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folders::BasePaths;

    fn folders(place: &tempfile::TempDir) -> Folders {
        let [pack, data, config, home] = ["a/pack", "a", "c", "h"].map(|name| place.path().join(name));
        Folders::new(BasePaths { pack, data, config, home }).unwrap()
    }

    const SHORT: Duration = Duration::from_millis(100);

    #[test]
    fn the_second_one_is_told_who_holds_it_and_gets_it_afterwards() {
        let place = tempfile::tempdir().unwrap();
        let folders = folders(&place);
        let first =
            StateLock::acquire(&folders, "pack install hello", SHORT, &mut |_| panic!("free")).unwrap();
        let mut told = Vec::new();
        let second =
            StateLock::acquire(&folders, "pack list", SHORT, &mut |holder| told.push(holder.to_owned()));
        let expected = format!("pack install hello (process {})", std::process::id());
        assert_eq!(told, [expected.as_str()]);
        match second {
            Err(LockError::Held { holder, path, waited }) => {
                assert_eq!((holder, path, waited), (expected, folders.lock(), SHORT));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        StateLock::acquire(&folders, "pack list", SHORT, &mut |_| panic!("free")).unwrap();
    }

    #[test]
    fn a_lock_on_a_deleted_file_does_not_count() {
        let place = tempfile::tempdir().unwrap();
        let folders = folders(&place);
        let _first = StateLock::acquire(&folders, "one", SHORT, &mut |_| ()).unwrap();
        std::fs::remove_file(folders.lock()).unwrap();
        let _second = StateLock::acquire(&folders, "two", SHORT, &mut |_| ()).unwrap();
        let third = StateLock::acquire(&folders, "three", SHORT, &mut |_| ());
        assert!(matches!(third, Err(LockError::Held { holder, .. }) if holder.starts_with("two ")));
    }

    #[test]
    fn a_lock_file_that_is_a_link_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let folders = folders(&place);
        std::fs::create_dir_all(folders.pack()).unwrap();
        std::os::unix::fs::symlink(place.path().join("elsewhere"), folders.lock()).unwrap();
        let found = StateLock::acquire(&folders, "one", SHORT, &mut |_| ());
        assert!(matches!(found, Err(LockError::File(_))));
        assert!(!place.path().join("elsewhere").exists());
    }

    #[test]
    fn the_folder_of_pack_is_made_private() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        let folders = folders(&place);
        StateLock::acquire(&folders, "one", SHORT, &mut |_| ()).unwrap();
        assert_eq!(folders.pack().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    }
}
