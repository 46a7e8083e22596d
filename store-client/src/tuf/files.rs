//! Files of a folder: a store on a disk, or on a network's file system.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::transport::{FetchError, Transport};
use crate::folder::{FileError, Folder, Mounts};

/// A store in a folder.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
}

impl Files {
    /// A store in `folder`; it need not be there until something is asked for.
    pub fn new(folder: &Path) -> Files {
        Files { folder: folder.to_owned() }
    }
}

impl Files {
    /// Opens a file. A folder that is not there (a disk that is not mounted) is no store without the file: that is a
    /// failure. Links are not followed.
    ///
    /// # Errors
    /// [`FetchError`].
    pub fn open(&self, path: &str) -> Result<File, FetchError> {
        let segments =
            segments(path).ok_or_else(|| FetchError::Failed("it has no name for a file".to_owned()))?;
        let (name, folders) = segments.split_last().ok_or(FetchError::NotFound)?;
        let mut folder = Folder::open(&self.folder)
            .map_err(failed)?
            .ok_or_else(|| FetchError::Failed("the store's folder is not there".to_owned()))?;
        for inner in folders {
            folder = folder.child(inner, Mounts::Cross).map_err(failed)?.ok_or(FetchError::NotFound)?;
        }
        folder.open_file(name, Mounts::Cross).map_err(failed)?.ok_or(FetchError::NotFound)
    }
}

fn failed(error: FileError) -> FetchError {
    FetchError::Failed(format!("{error}: {}", error.source))
}

impl Transport for Files {
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, FetchError> {
        let file = self.open(path)?;
        let mut bytes = Vec::new();
        let read = file.take(length_most.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| FetchError::Failed(error.to_string()))?;
        if bytes.len() as u64 > length_most {
            return Err(FetchError::TooLong { length_most });
        }
        Ok(bytes)
    }
}

/// The names on the way to a file, unquoted as a server would (RFC 3986, 2.1); none where one of them cannot be a name.
fn segments(path: &str) -> Option<Vec<String>> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first == b'%' {
            bytes.extend(hex::decode(behind.get(..2)?).ok()?);
            rest = behind.get(2..)?;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    let path = String::from_utf8(bytes).ok()?;
    let is_name = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains('\0');
    let names: Vec<String> = path.split('/').filter(is_name).map(str::to_owned).collect();
    (names.len() == path.split('/').count()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn names_are_unquoted_and_lead_down_only() {
        for (path, expected) in [
            ("1.root.json", Some(&["1.root.json"][..])),
            ("a/b%20c", Some(&["a", "b c"])),
            ("1.a%2Fb.json", Some(&["1.a", "b.json"])),
            ("%C3%BC", Some(&["ü"])),
            ("%252e", Some(&["%2e"])),
            ("..", None),
            ("%2e%2E/a", None),
            ("a/../b", None),
            ("/etc/passwd", None),
            ("a//b", None),
            ("a%00", None),
            ("%ff", None),
            ("%2", None),
            ("%", None),
            ("%+1", None),
            ("", None),
        ] {
            let found = segments(path);
            assert_eq!(
                found.as_ref().map(|names| names.iter().map(String::as_str).collect()),
                expected.map(<[&str]>::to_vec),
                "{path}"
            );
        }
    }

    #[test]
    fn a_file_is_there_or_it_is_not_and_anything_else_is_a_failure() {
        let place = tempfile::tempdir().unwrap();
        let store = place.path().join("store");
        let files = Files::new(&store);
        let is_failed = |path: &str| matches!(files.fetch(path, 10), Err(FetchError::Failed(_)));
        assert!(is_failed("a"));
        fs::create_dir_all(store.join("folder")).unwrap();
        fs::write(store.join("folder/a"), "0123456789").unwrap();
        fs::write(place.path().join("outside"), "x").unwrap();
        symlink("../outside", store.join("link")).unwrap();
        symlink("folder", store.join("folder-link")).unwrap();
        assert_eq!(files.fetch("folder/a", 10), Ok(b"0123456789".to_vec()));
        assert_eq!(files.fetch("folder/a", 9), Err(FetchError::TooLong { length_most: 9 }));
        for missing in ["a", "folder/b", "other/a"] {
            assert_eq!(files.fetch(missing, 10), Err(FetchError::NotFound), "{missing}");
        }
        for failing in ["folder", "link", "folder-link/a", "../outside", "folder/a/b"] {
            assert!(is_failed(failing), "{failing}");
        }
    }
}
