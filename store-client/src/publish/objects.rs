//! Where the files of a store are: what has to be possible there, and a folder, where it is.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use pack_schemas::text::visible;
use ring::digest::{SHA256, digest};
use rustix::fs::{FileType, FlockOperation, Mode};

use crate::folder::{FileError, Folder, Mounts};
use crate::tree;
use crate::tuf::{FetchError, Transport};

/// Why an object cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} `{}` in the store", visible(.path))]
pub struct ObjectError {
    /// What was being done.
    pub action: &'static str,
    /// The object.
    pub path: String,
    /// The answer.
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl ObjectError {
    /// An error of something done to an object.
    pub fn new(
        action: &'static str,
        path: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> ObjectError {
        ObjectError { action, path: path.to_owned(), source: source.into() }
    }
}

/// Stands for one state of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(pub String);

/// What an object is made of.
#[derive(Debug, Clone, Copy)]
pub enum Content<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// The whole of a file.
    File(&'a File),
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// When it was written, in seconds since 1970.
    pub modified: u64,
}

/// The files of a store. Paths are relative, components separated by `/`, and made by this program alone.
pub trait Objects {
    /// Reads an object of at most `length_most` bytes; nothing where there is none.
    ///
    /// # Errors
    /// [`ObjectError`]; also for a longer one.
    fn read(&self, path: &str, length_most: u64) -> Result<Option<(Vec<u8>, Tag)>, ObjectError>;

    /// Makes an object where there is none; whether there was none. It is there whole or not at all; that it stays, whatever
    /// happens to the machine, is sure after [`Objects::settle`] only.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn create(&self, path: &str, content: Content<'_>) -> Result<bool, ObjectError>;

    /// Waits until all that was made before is there for good.
    ///
    /// # Errors
    /// [`ObjectError`]; then any of it can be gone.
    fn settle(&self) -> Result<(), ObjectError>;

    /// Replaces an object that is still in the state `before`, nothing for one that is not there; whether it was. In one
    /// step for everybody who looks; all that was made before is settled first.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn replace(&self, path: &str, bytes: &[u8], before: Option<&Tag>) -> Result<bool, ObjectError>;

    /// All objects whose paths begin with a folder, in no order.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn list(&self, folder: &str) -> Result<Vec<Listed>, ObjectError>;

    /// Removes an object; nothing happens where there is none.
    ///
    /// # Errors
    /// [`ObjectError`].
    fn remove(&self, path: &str) -> Result<(), ObjectError>;
}

/// The metadata of a store as a client asks for it, and the state in which its timestamp was.
pub(super) struct Metadata<'a> {
    objects: &'a dyn Objects,
    timestamp: RefCell<Option<(Tag, Vec<u8>)>>,
}

impl<'a> Metadata<'a> {
    pub fn of(objects: &'a dyn Objects) -> Metadata<'a> {
        Metadata { objects, timestamp: RefCell::default() }
    }

    /// The state of the timestamp when it was last read, and its bytes.
    pub fn timestamp(&self) -> Option<(Tag, Vec<u8>)> {
        self.timestamp.borrow().clone()
    }
}

impl Transport for Metadata<'_> {
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, FetchError> {
        let read = self.objects.read(&format!("tuf/{path}"), length_most);
        let failed = |error: ObjectError| FetchError::Failed(format!("{error}: {}", error.source));
        let (bytes, tag) = read.map_err(failed)?.ok_or(FetchError::NotFound)?;
        if path == "timestamp.json" {
            *self.timestamp.borrow_mut() = Some((tag, bytes.clone()));
        }
        Ok(bytes)
    }
}

/// A store in a folder. Whoever publishes there at the same time has to see the same locks (flock(2)): a folder on this
/// machine, or NFS since version 4.
pub struct FolderObjects {
    root: Folder,
    /// Files that were made, and are not known to be on the disk. A disk writes many at once as fast as a few.
    unsettled: RefCell<Unsettled>,
}

/// What may be lost with the machine's power.
#[derive(Default)]
struct Unsettled {
    files: Vec<File>,
    /// Those that the files are in.
    folders: BTreeMap<PathBuf, Folder>,
}

/// What is held while the timestamp is replaced.
const LOCK: &str = ".lock";
/// How the names of files that are being written begin.
const UNFINISHED: &str = ".unfinished-";
/// Most files that are not settled.
const UNSETTLED_MOST: usize = 256;
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

impl FolderObjects {
    /// A store at `path`, which is made where it is missing.
    ///
    /// # Errors
    /// The folder cannot be made or opened.
    pub fn create(path: &Path) -> Result<FolderObjects, FileError> {
        Ok(FolderObjects { root: Folder::create(path, FOLDER_MODE)?, unsettled: RefCell::default() })
    }

    /// A store at `path`; nothing where there is no such folder.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path) -> Result<Option<FolderObjects>, FileError> {
        Ok(Folder::open(path)?.map(|root| FolderObjects { root, unsettled: RefCell::default() }))
    }

    /// The folder that an object is in, and its name there; nothing where a folder is missing and `make` is not set.
    fn parent<'p>(&self, path: &'p str, make: bool) -> Result<Option<(Folder, &'p str)>, FileError> {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut folder = self.top()?;
        for part in folders.split('/').filter(|part| !part.is_empty()) {
            folder = match folder.child(part, Mounts::Cross)? {
                Some(child) => child,
                None if make => folder.make_child(part, FOLDER_MODE)?,
                None => return Ok(None),
            };
        }
        Ok(Some((folder, name)))
    }

    fn top(&self) -> Result<Folder, FileError> {
        let found = self.root.child(".", Mounts::Cross)?;
        found.ok_or_else(|| FileError {
            action: "open",
            path: self.root.path().to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })
    }

    fn write(&self, path: &str, content: Content<'_>) -> Result<bool, FileError> {
        let Some((folder, name)) = self.parent(path, true)? else { return Ok(false) };
        if let Content::Bytes(_) = content
            && folder.stat_of(name)?.is_some()
        {
            return Ok(false);
        }
        let unfinished = format!("{UNFINISHED}{}", random_name());
        let file = folder.create_file(&unfinished)?;
        let on_file = |source| FileError { action: "write", path: folder.join(&unfinished), source };
        let written = match content {
            Content::Bytes(bytes) => io::Write::write_all(&mut &file, bytes),
            Content::File(source) => source
                .metadata()
                .and_then(|metadata| tree::copy_file(source, &file, metadata.len(), &mut |_| ())),
        };
        let done = written
            .and_then(|()| Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(FILE_MODE))?))
            .map_err(on_file)
            .and_then(|()| folder.rename_unsettled(&unfinished, name));
        if !matches!(done, Ok(true)) {
            folder.remove_file(&unfinished)?;
            return done;
        }
        let mut unsettled = self.unsettled.borrow_mut();
        unsettled.files.push(file);
        unsettled.folders.insert(folder.path().to_owned(), folder);
        if unsettled.files.len() >= UNSETTLED_MOST {
            unsettled.settle()?;
        }
        done
    }

    fn swap(&self, path: &str, bytes: &[u8], before: Option<&Tag>) -> Result<bool, FileError> {
        let lock = self.root.open_file(LOCK, Mounts::Cross)?;
        let lock = match lock {
            Some(lock) => lock,
            None => {
                self.root.publish_new(LOCK, b"", FILE_MODE)?;
                let missing = || io::Error::from(io::ErrorKind::NotFound);
                let opened = self.root.open_file(LOCK, Mounts::Cross)?.ok_or_else(missing);
                opened.map_err(|source| FileError { action: "open", path: self.root.join(LOCK), source })?
            }
        };
        let failed = |error: rustix::io::Errno| self.root.failed("lock", OsStr::new(LOCK), error);
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).map_err(failed)?;
        let Some((folder, name)) = self.parent(path, true)? else { return Ok(false) };
        let now = folder.read(name, u64::from(u32::MAX))?.map(|bytes| tag_of(&bytes));
        if now.as_ref() != before {
            return Ok(false);
        }
        folder.replace(name, bytes, FILE_MODE, &mut || ())?;
        Ok(true)
    }

    fn walk(&self, folder: &Folder, prefix: &str, found: &mut Vec<Listed>) -> Result<(), FileError> {
        for name in folder.names()? {
            let Some(stat) = folder.stat_of(&name)? else { continue };
            let path = format!("{prefix}{}", name.to_string_lossy());
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    if let Some(child) = folder.child(&name, Mounts::Cross)? {
                        self.walk(&child, &format!("{path}/"), found)?;
                    }
                }
                FileType::RegularFile => {
                    let number = |value: i64| u64::try_from(value).unwrap_or(0);
                    found.push(Listed { path, size: number(stat.st_size), modified: number(stat.st_mtime) });
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Unsettled {
    fn settle(&mut self) -> Result<(), FileError> {
        let root = self.folders.keys().next().cloned().unwrap_or_default();
        for file in &self.files {
            let synced = file.sync_all();
            synced.map_err(|source| FileError { action: "write", path: root.clone(), source })?;
        }
        self.folders.values().try_for_each(Folder::sync)?;
        *self = Unsettled::default();
        Ok(())
    }
}

impl Objects for FolderObjects {
    fn settle(&self) -> Result<(), ObjectError> {
        let settled = self.unsettled.borrow_mut().settle();
        settled.map_err(|error| ObjectError::new("settle", "all that was made", error))
    }

    fn read(&self, path: &str, length_most: u64) -> Result<Option<(Vec<u8>, Tag)>, ObjectError> {
        let read = self.parent(path, false).and_then(|found| match found {
            Some((folder, name)) => folder.read(name, length_most),
            None => Ok(None),
        });
        let bytes = read.map_err(|error| ObjectError::new("read", path, error))?;
        Ok(bytes.map(|bytes| (tag_of(&bytes), bytes)).map(|(tag, bytes)| (bytes, tag)))
    }

    fn create(&self, path: &str, content: Content<'_>) -> Result<bool, ObjectError> {
        self.write(path, content).map_err(|error| ObjectError::new("write", path, error))
    }

    fn replace(&self, path: &str, bytes: &[u8], before: Option<&Tag>) -> Result<bool, ObjectError> {
        self.settle()?;
        self.swap(path, bytes, before).map_err(|error| ObjectError::new("replace", path, error))
    }

    fn list(&self, folder: &str) -> Result<Vec<Listed>, ObjectError> {
        let mut found = Vec::new();
        let walked = self.parent(&format!("{folder}/"), false).and_then(|parent| match parent {
            Some((parent, _)) => self.walk(&parent, &format!("{folder}/"), &mut found),
            None => Ok(()),
        });
        walked.map_err(|error| ObjectError::new("list", folder, error))?;
        Ok(found)
    }

    fn remove(&self, path: &str) -> Result<(), ObjectError> {
        let removed = self.parent(path, false).and_then(|found| match found {
            Some((folder, name)) => folder.remove_file(name).map(drop),
            None => Ok(()),
        });
        removed.map_err(|error| ObjectError::new("remove", path, error))
    }
}

fn tag_of(bytes: &[u8]) -> Tag {
    Tag(hex::encode(digest(&SHA256, bytes)))
}

/// A name that no other process gives at the same time.
fn random_name() -> String {
    let mut bytes = [0; 16];
    // Where there are no random numbers, process and time have to do: the name is given once, or the write fails.
    if ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).is_err() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        return format!("{}-{now}", std::process::id());
    }
    hex::encode(bytes)
}
