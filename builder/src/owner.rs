//! Whose work folder it is: nothing is gone on with that somebody else has put there.
//!
//! A build believes what is below `.pack`: what its records say of steps that are complete, and which bytes a block was compressed to.
//! The scripts of a build see nothing of that. A repository or an archive can bring a `.pack` of its own, though, with results that
//! do not come from its sources, or with links where a build writes. So a work folder has a mark that only the user's own
//! builds can make; in one without it everything is removed before anything is read or written.
//!
//! ```text
//! secret  32 random bytes in the user's cache; no build script sees it
//! mark    BLAKE3 of a name and the secret, in hexadecimal digits, in `.pack/owner`
//! ```
//!
//! The mark goes with a copy of the folder, to another place too. A machine that keeps `.pack` and not the secret builds anew.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use pack_schemas::names::Hash;
use rustix::fs::{Mode, OFlags};
use rustix::rand::{GetRandomFlags, getrandom};
use tempfile::NamedTempFile;

use crate::files::{self, FileError};

const FILE: &str = "owner";
/// What stays while the rest is removed: the lock is held.
const LOCK: &str = "lock";
const SECRET_SIZE: usize = 32;

/// The mark of a user's work folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// From the secret in a file, which is made where it is not there, or not whole.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of_user(file: &Path) -> Result<Owner, FileError> {
        match read_secret(file)? {
            Secret::Whole(secret) => return Ok(Owner::of(&secret)),
            Secret::Torn => fs::remove_file(file).map_err(|source| FileError::at("remove", file, source))?,
            Secret::Missing => {}
        }
        let failed = |source| FileError::at("make", file, source);
        let folder = file.parent().ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        fs::create_dir_all(folder).map_err(failed)?;
        let mut secret = [0; SECRET_SIZE];
        // The kernel gives up to 256 bytes in one piece (getrandom(2)).
        getrandom(&mut secret, GetRandomFlags::empty()).map_err(|error| failed(error.into()))?;
        let mut new = NamedTempFile::new_in(folder).map_err(failed)?;
        new.write_all(&secret).map_err(failed)?;
        match new.persist_noclobber(file) {
            Ok(_) => Ok(Owner::of(&secret)),
            // Another build has made one at the same time.
            Err(error) => match read_secret(file)? {
                Secret::Whole(secret) => Ok(Owner::of(&secret)),
                Secret::Torn | Secret::Missing => Err(failed(error.error)),
            },
        }
    }

    /// From a secret.
    pub fn of(secret: &[u8; SECRET_SIZE]) -> Owner {
        Owner(Hash::of(&[b"pack work folder\0".as_slice(), secret].concat()).to_string())
    }

    /// Makes the work folder `root`, which is locked, this owner's: in another's all is removed but the lock. Whether there was
    /// something.
    pub(crate) fn claim(&self, root: &Path) -> Result<bool, FileError> {
        if self.has(root) {
            return Ok(false);
        }
        let list_error = |source| FileError::at("list", root, source);
        let mut was_there = false;
        for entry in fs::read_dir(root).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            if entry.file_name() != LOCK {
                files::remove_tree(&entry.path())?;
                was_there = true;
            }
        }
        // The mark is the last: where this is killed before, the next build removes all again.
        files::write_whole(&root.join(FILE), self.0.as_bytes())?;
        Ok(was_there)
    }

    fn has(&self, root: &Path) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(root.join(FILE), flags, Mode::empty()) else { return false };
        let mut found = Vec::new();
        let read = File::from(file).take(self.0.len() as u64 + 1).read_to_end(&mut found);
        read.is_ok() && found == self.0.as_bytes()
    }
}

enum Secret {
    Whole([u8; SECRET_SIZE]),
    Torn,
    Missing,
}

fn read_secret(file: &Path) -> Result<Secret, FileError> {
    match fs::read(file) {
        Ok(bytes) => Ok(bytes.try_into().map_or(Secret::Torn, Secret::Whole)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(Secret::Missing),
        Err(source) => Err(FileError::at("read", file, source)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache/owner");
        let owner = Owner::of_user(&file).unwrap();
        assert_eq!(Owner::of_user(&file).unwrap(), owner);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "torn").unwrap();
        assert_ne!(Owner::of_user(&file).unwrap(), owner);
    }

    #[test]
    fn only_a_folder_with_the_mark_keeps_what_is_in_it() {
        let scratch = tempfile::tempdir().unwrap();
        let [root, victim] = ["work", "victim"].map(|name| scratch.path().join(name));
        fs::create_dir(&root).unwrap();
        fs::write(root.join(LOCK), "").unwrap();
        fs::write(&victim, "kept").unwrap();
        let owner = Owner::of(&[1; 32]);
        assert!(!owner.claim(&root).unwrap());
        fs::write(root.join("blocks"), "x").unwrap();
        assert!(!owner.claim(&root).unwrap() && root.join("blocks").exists());
        assert!(Owner::of(&[2; 32]).claim(&root).unwrap());
        let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.len() == 2 && root.join(LOCK).exists() && root.join(FILE).exists());
        // A link to a file with the right mark, and one where the mark is written first.
        fs::write(scratch.path().join("mark"), &owner.0).unwrap();
        fs::remove_file(root.join(FILE)).unwrap();
        symlink(scratch.path().join("mark"), root.join(FILE)).unwrap();
        symlink(&victim, root.join(".owner")).unwrap();
        assert!(owner.claim(&root).unwrap());
        assert!(owner.has(&root) && fs::read(&victim).unwrap() == b"kept");
    }
}
