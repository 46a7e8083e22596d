//! A package file on its way from a store.
//!
//! ```text
//! 1. CACHE/pack/downloads/SHA256.partial is opened and locked: what an interrupted run left of it stays
//! 2. the rest is asked for, from one address after the other; a server that sends the whole instead begins anew
//! 3. SHA-256 of the whole; what is wrong is thrown away, and asked for once more, elsewhere if there is an elsewhere
//! ```
//! Nothing longer than the entry says is ever written. The file is given by its descriptor: what is judged and installed is
//! what was checked, or its index and envelope would not fit.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use pack_schemas::names::Sha256;
use pack_schemas::store::{BlobKind, StoreRevision, blob_path};
use pack_schemas::text::visible;
use ring::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::Source;
use crate::folder::{FileError, Folder};
use crate::tuf::FetchError;

/// How often one address is asked in a row, as long as it gives something.
const ATTEMPTS_MOST: u32 = 5;
/// How long is waited before an address is asked again.
const PAUSE: Duration = Duration::from_millis(300);

/// Why a package was not downloaded.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    /// No address has it.
    #[error("cannot download {}", visible(.what))]
    Fetch {
        /// Address and path.
        what: String,
        /// Why the last one failed that was asked.
        source: FetchError,
    },
    /// What came is another file.
    #[error("what {} sends is not the package that was published", visible(.from))]
    Altered {
        /// The last address.
        from: String,
    },
    /// Another process downloads it.
    #[error("another process downloads it already")]
    Busy,
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl DownloadError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            DownloadError::File(error) if error.is_disk_full() => {
                Some("make room on the disk and run it again: it goes on where it ended".to_owned())
            }
            DownloadError::Fetch { .. } => Some("run it again: it goes on where it ended".to_owned()),
            DownloadError::Busy => Some("wait until that has ended, and run it again".to_owned()),
            DownloadError::Altered { .. } | DownloadError::File(_) => None,
        }
    }
}

/// Fetches the file of a revision into the folder `cache`, and checks it. `progress` is told how many bytes are there.
///
/// # Errors
/// [`DownloadError`]; what has come stays for the next run.
pub fn fetch_package(
    revision: &StoreRevision,
    sources: &[Source],
    cache: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<File, DownloadError> {
    let cache = Folder::create(cache, 0o700)?;
    cache.make_private()?;
    let mut download = Download::open(&cache, revision)?;
    let path = blob_path(&revision.file.sha256, BlobKind::Pkg);
    let mut last = DownloadError::Fetch { what: path.clone(), source: FetchError::NotFound };
    if download.is_complete(progress)? {
        return Ok(download.file);
    }
    for source in sources {
        match download.from(source, &path, progress) {
            Ok(()) => {}
            Err(Failed::Here(error)) => return Err(error.into()),
            Err(Failed::There(error)) => {
                let what = format!("{}/{path}", source.address());
                last = DownloadError::Fetch { what, source: error };
                continue;
            }
        }
        if download.is_complete(progress)? {
            return Ok(download.file);
        }
        // What an earlier run left, or another address gave, may have been the wrong part of it.
        let again = download.from(source, &path, progress);
        if again.is_ok() && download.is_complete(progress)? {
            return Ok(download.file);
        }
        last = DownloadError::Altered { from: source.address().to_string() };
    }
    Err(last)
}

/// Removes the file of a revision that is installed, and what was begun and not touched for a week.
pub fn forget(revision: &StoreRevision, cache: &Path) {
    let Ok(Some(folder)) = Folder::open(cache) else { return };
    let _ = folder.remove_file(partial_name(&revision.file.sha256));
    let old = |name: &std::ffi::OsStr| {
        let age = std::fs::symlink_metadata(folder.join(name)).ok()?.modified().ok()?.elapsed().ok()?;
        (age > Duration::from_secs(7 * 86_400)).then_some(())
    };
    for name in folder.names().unwrap_or_default() {
        if name.to_string_lossy().ends_with(".partial") && old(&name).is_some() {
            let _ = folder.remove_file(&name);
        }
    }
}

fn partial_name(sha256: &Sha256) -> String {
    format!("{sha256}.partial")
}

enum Failed {
    /// Nothing would be better elsewhere.
    Here(FileError),
    There(FetchError),
}

struct Download {
    file: File,
    path: std::path::PathBuf,
    size: u64,
    sha256: Sha256,
    have: u64,
}

impl Download {
    fn open(cache: &Folder, revision: &StoreRevision) -> Result<Download, DownloadError> {
        let name = partial_name(&revision.file.sha256);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let failed = |error: rustix::io::Errno| cache.failed("open", name.as_ref(), error);
        let file: File = rustix::fs::openat(cache, name.as_str(), flags, Mode::from_raw_mode(0o600))
            .map_err(failed)?
            .into();
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DownloadError::Busy),
            Err(error) => return Err(failed(error).into()),
        }
        let path = cache.join(&name);
        let mut download =
            Download { file, path, size: revision.file.size, sha256: revision.file.sha256, have: 0 };
        let metadata = download.file.metadata().map_err(|error| download.failed(error))?;
        if !metadata.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
            return Err(download.failed(error).into());
        }
        download.have = metadata.len();
        if download.have > download.size {
            download.begin_anew()?;
        }
        Ok(download)
    }

    fn failed(&self, source: io::Error) -> FileError {
        FileError { action: "write", path: self.path.clone(), source }
    }

    fn begin_anew(&mut self) -> Result<(), FileError> {
        self.file.set_len(0).map_err(|error| self.failed(error))?;
        self.have = 0;
        Ok(())
    }

    /// Whether all of it is there and right; what is all there and wrong is thrown away.
    fn is_complete(&mut self, progress: &mut dyn FnMut(u64)) -> Result<bool, FileError> {
        if self.have < self.size {
            return Ok(false);
        }
        let mut digest = Context::new(&SHA256);
        let mut buffer = vec![0; 256 << 10];
        self.file.seek(SeekFrom::Start(0)).map_err(|error| self.failed(error))?;
        let mut left = self.size;
        while left > 0 {
            let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match self.file.read(&mut buffer[..most]) {
                Ok(0) => break,
                Ok(count) => {
                    digest.update(&buffer[..count]);
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        if left == 0 && digest.finish().as_ref() == self.sha256.0 {
            progress(self.size);
            return Ok(true);
        }
        self.begin_anew()?;
        Ok(false)
    }

    /// Asks one address for what is missing, again as long as it gives some of it.
    fn from(&mut self, source: &Source, path: &str, progress: &mut dyn FnMut(u64)) -> Result<(), Failed> {
        let mut attempts = 0;
        loop {
            let before = self.have;
            match self.attempt(source, path, progress) {
                Ok(()) => return Ok(()),
                Err(Failed::There(error)) if attempts < ATTEMPTS_MOST && self.have > before => {
                    attempts += 1;
                    drop(error);
                    std::thread::sleep(PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn attempt(&mut self, source: &Source, path: &str, progress: &mut dyn FnMut(u64)) -> Result<(), Failed> {
        let mut part = source.open(path, self.have).map_err(Failed::There)?;
        let rest = self.size.saturating_sub(part.begins);
        let other = |found: u64| {
            let (found, size) = (found.saturating_add(part.begins), self.size);
            Failed::There(FetchError::Failed(format!("it has {found} bytes there, and not {size}")))
        };
        // A page that asks for a password, a file that was cut.
        if let Some(found) = part.length.filter(|found| *found != rest) {
            return Err(other(found));
        }
        self.file.set_len(part.begins).map_err(|error| Failed::Here(self.failed(error)))?;
        self.file.seek(SeekFrom::Start(part.begins)).map_err(|error| Failed::Here(self.failed(error)))?;
        self.have = part.begins;
        let settings = source.settings();
        let (begun, mut came) = (Instant::now(), 0u64);
        let mut buffer = vec![0; 128 << 10];
        while self.have < self.size {
            let count = match part.reader.read(&mut buffer) {
                Ok(0) => {
                    let text = "the connection ended before the file did".to_owned();
                    return Err(Failed::There(FetchError::Failed(text)));
                }
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failed::There(FetchError::Failed(error.to_string()))),
            };
            let (length, left) = (count as u64, self.size - self.have);
            if length > left {
                return Err(Failed::There(FetchError::TooLong { length_most: self.size }));
            }
            self.file.write_all(&buffer[..count]).map_err(|error| Failed::Here(self.failed(error)))?;
            self.have += length;
            came += length;
            progress(self.have);
            let earned = Duration::from_secs(came / settings.bytes_per_second_least.max(1));
            if begun.elapsed() > settings.patience.saturating_add(earned) {
                let least = settings.bytes_per_second_least;
                let text = format!("it comes at less than {least} bytes a second");
                return Err(Failed::There(FetchError::Failed(text)));
            }
        }
        Ok(())
    }
}
