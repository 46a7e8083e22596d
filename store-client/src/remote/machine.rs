//! The number of this machine, `PACK/machine`: which part of a rollout it is in is made of it. It is told to nobody.

use pack_schemas::names::Hash;

use crate::folder::{FileError, Folder};
use crate::folders::Folders;

const MACHINE_FILE: &str = "machine";
/// Longest file in bytes.
const LIMIT: u64 = 256;

/// Reads the number, and draws it where there is none, or what is there is none.
///
/// # Errors
/// Where the file cannot be read or written.
pub fn number(folders: &Folders) -> Result<Hash, FileError> {
    let pack = Folder::create(folders.pack(), 0o700)?;
    if let Some(number) = read(&pack)? {
        return Ok(number);
    }
    let mut drawn = [0; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut drawn).map_err(|_| FileError {
        action: "draw a random number for",
        path: pack.join(MACHINE_FILE),
        source: std::io::Error::other("the system gives none"),
    })?;
    let text = format!("{}\n", Hash(drawn));
    // Where another process was quicker, its number counts; one that cannot be read is replaced.
    if !pack.publish_new(MACHINE_FILE, text.as_bytes(), 0o600)? {
        if let Some(number) = read(&pack)? {
            return Ok(number);
        }
        pack.replace(MACHINE_FILE, text.as_bytes(), 0o600, &mut || ())?;
    }
    Ok(Hash(drawn))
}

fn read(pack: &Folder) -> Result<Option<Hash>, FileError> {
    let bytes = match pack.read(MACHINE_FILE, LIMIT) {
        Err(error) if error.source.kind() == std::io::ErrorKind::FileTooLarge => return Ok(None),
        read => read?,
    };
    Ok(bytes.and_then(|bytes| str::from_utf8(&bytes).ok()?.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::folders::BasePaths;

    #[test]
    fn the_number_is_drawn_once_and_kept_from_others() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().to_owned();
        let base = BasePaths { pack: path.clone(), data: path.clone(), config: path.clone(), home: path };
        let folders = Folders::new(base).unwrap();
        let first = number(&folders).unwrap();
        assert_eq!(number(&folders).unwrap(), first);
        let file = folders.pack().join(MACHINE_FILE);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "x").unwrap();
        let second = number(&folders).unwrap();
        assert_ne!(second, first);
        assert_eq!(number(&folders).unwrap(), second);
    }
}
