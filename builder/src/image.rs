//! Writes a folder as a squashfs image: the same tree gives the same bytes, wherever and whenever it is written.
//!
//! 1. [`Plan::of`] walks the folder, every folder's names in the order of their bytes, and refuses what a package
//!    cannot hold, with its path.
//! 2. [`write`] feeds the plan to libsquashfs, children before parents, one file open at a time, and then puts the
//!    epoch where libsquashfs writes the present time.
//!
//! What the image keeps of a file: name, content, whether it can be executed. Everything else is normalised:
//!
//! | | in the image |
//! |---|---|
//! | owner and group | 0:0 |
//! | mode | folders 0755; files 0755 where anyone could execute them, else 0644; symbolic links 0777; no set-uid, set-gid or sticky bit |
//! | times | the epoch that the caller gives |
//! | extended attributes | none, so no file capability and no access list either (snapcraft packs with `-no-xattrs` too) |
//! | hard links | separate files; equal files share their blocks |
//! | holes | blocks of zeros take no room |
//!
//! Files have no fragments (a tail shares no block with other tails): a change in one file then changes no block of
//! another, which makes updates several times smaller and the image about 5 % larger.
//!
//! libsquashfs compresses on as many threads as there are processors and writes blocks in the order in which they
//! were submitted, so the number of threads leaves no trace. An inode of its own making is not zeroed before it is
//! filled; all fields that reach the image are set.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pack_schemas::text::visible;
use squashfs_ng::SquashfsError;
use squashfs_ng::write::{BlockFlags, Source, SourceData, Writer};
use walkdir::WalkDir;

/// Bytes of a file in one block, before compression; libsquashfs's default, which the squashfs-ng crate fixes.
pub const BLOCK_SIZE: u32 = 128 << 10;
/// The zstd level; libsquashfs's default, which the squashfs-ng crate fixes.
pub const LEVEL: i32 = 15;

/// Where the superblock holds the time of its making, in seconds since 1970 (squashfs 4.0, `mkfs_time`).
const SUPERBLOCK_TIME: u64 = 8;

/// The program that compresses, as the envelope names it: `libsquashfs 1.2.0 zstd 1.5.7`.
///
/// Both are linked into this program (see `build.rs`), so the versions are those that really do the work.
pub fn encoder() -> String {
    format!("libsquashfs {} zstd {}", env!("LIBSQUASHFS_VERSION"), zstd::zstd_safe::version_string())
}

/// Why a folder cannot become an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A folder cannot be listed, or what is in it cannot be looked at.
    #[error("cannot list `{}`", visible(&.path.to_string_lossy()))]
    List {
        /// The folder, or the entry in it.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file or symbolic link cannot be read.
    #[error("cannot read `{}`", visible(&.path.to_string_lossy()))]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A name, or where a symbolic link points, is not UTF-8.
    #[error("{what} of `{}` is not UTF-8, which a package cannot hold", visible(&.path.to_string_lossy()))]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// `the name` or `the target`.
        what: &'static str,
    },
    /// Something that is no file, folder or symbolic link.
    #[error("`{}` is {kind}, which a package cannot hold", visible(&.path.to_string_lossy()))]
    Special {
        /// Where it is.
        path: PathBuf,
        /// What it is, such as `a socket`.
        kind: &'static str,
    },
    /// A file is not what it was when the folder was walked.
    #[error("`{}` changed while it was being packed", visible(&.path.to_string_lossy()))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// libsquashfs failed, which it does for lack of space or memory.
    #[error("cannot write {what} to the image")]
    Write {
        /// The path inside the image, or a part of its structure.
        what: String,
        /// libsquashfs's answer.
        source: SquashfsError,
    },
    /// The finished image cannot be completed.
    #[error("cannot complete the image")]
    Complete(#[source] io::Error),
}

/// How far the writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of file content read.
    pub bytes: u64,
    /// Bytes of file content in all.
    pub total_bytes: u64,
    /// Files, folders and symbolic links done.
    pub entries: u64,
    /// Files, folders and symbolic links in all.
    pub total_entries: u64,
}

/// Where progress is told; called at least once per file and per [`BLOCK_SIZE`] bytes. It is shared and long-lived
/// since libsquashfs takes no borrowed reader.
pub type ProgressSink = Arc<dyn Fn(Progress) + Send + Sync>;

/// What an image will hold: the tree of a folder, children before their parents.
#[derive(Debug)]
pub struct Plan {
    root: PathBuf,
    entries: Vec<Entry>,
    total_bytes: u64,
}

#[derive(Debug)]
struct Entry {
    /// Relative to the root; empty for the root itself.
    path: PathBuf,
    /// Number of names in the path.
    depth: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Folder,
    File { size: u64, executable: bool },
    Symlink { target: PathBuf },
}

impl Plan {
    /// Walks a folder.
    ///
    /// # Errors
    /// The first entry, in the order of the walk, that cannot be read or that a package cannot hold.
    pub fn of(root: &Path) -> Result<Plan, ImageError> {
        let mut plan = Plan { root: root.to_path_buf(), entries: Vec::new(), total_bytes: 0 };
        // Entries compare by the bytes of their names, whatever the locale.
        let walk = WalkDir::new(root).contents_first(true).sort_by(|a, b| a.file_name().cmp(b.file_name()));
        for found in walk {
            let entry = Entry::of(found.map_err(|error| list_error(root, error))?, root)?;
            if let Kind::File { size, .. } = entry.kind {
                plan.total_bytes = plan.total_bytes.saturating_add(size);
            }
            plan.entries.push(entry);
        }
        match plan.entries.last() {
            Some(Entry { kind: Kind::Folder, .. }) => Ok(plan),
            _ => Err(ImageError::List { path: plan.root, source: io::ErrorKind::NotADirectory.into() }),
        }
    }

    /// Number of files, folders and symbolic links, the root folder included.
    pub fn entries(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Bytes of content of all files.
    pub fn total_bytes(&self) -> u64 {
        self.total_bytes
    }
}

/// Writes the image of a plan to a file open for reading and writing, and returns its length in bytes, a multiple of
/// 4096. What the file held is gone. The time in the superblock and of every entry is `epoch`, in seconds since 1970.
///
/// The file is opened once more through `/proc/self/fd`, so it needs no name.
///
/// # Errors
/// [`ImageError`]; what the file holds is then no image.
pub fn write(plan: &Plan, output: &File, epoch: u32, progress: ProgressSink) -> Result<u64, ImageError> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |source| ImageError::Write { what, source }
    };
    let by_descriptor = format!("/proc/self/fd/{}", output.as_raw_fd());
    let mut writer = Writer::open(by_descriptor).map_err(failed("its superblock"))?;
    let watch = Arc::new(Watch::new(plan, progress));
    // For each depth, the entries of the folder that is being written there: names and inode numbers.
    let mut open_folders: Vec<Vec<(OsString, u32)>> = Vec::new();
    for entry in &plan.entries {
        open_folders.resize_with(open_folders.len().max(entry.depth + 2), Vec::new);
        let data = match &entry.kind {
            Kind::Folder => {
                let children = std::mem::take(&mut open_folders[entry.depth + 1]);
                SourceData::Dir(Box::new(children.into_iter()))
            }
            Kind::File { size, .. } => SourceData::File(open(&plan.root, entry, *size, &watch)?),
            Kind::Symlink { target } => SourceData::Symlink(target.clone()),
        };
        let added = writer.add(source(data, entry.mode(), epoch));
        watch.take_fault()?;
        let number = added.map_err(failed(&format!("`{}`", visible(&entry.path.to_string_lossy()))))?;
        watch.entry_done();
        let name = entry.path.file_name().unwrap_or_default().to_os_string();
        open_folders[entry.depth].push((name, number));
    }
    writer.finish().map_err(failed("its tables"))?;
    drop(writer);
    output.write_all_at(&epoch.to_le_bytes(), SUPERBLOCK_TIME).map_err(ImageError::Complete)?;
    Ok(output.metadata().map_err(ImageError::Complete)?.len())
}

fn source(data: SourceData, mode: u16, epoch: u32) -> Source {
    let flags = BlockFlags::DontFragment as u32;
    Source { data, uid: 0, gid: 0, mode, modified: epoch, xattrs: HashMap::new(), flags }
}

impl Entry {
    fn of(found: walkdir::DirEntry, root: &Path) -> Result<Entry, ImageError> {
        let full = found.path();
        let path = full.strip_prefix(root).unwrap_or(full).to_path_buf();
        if path.to_str().is_none() {
            return Err(ImageError::NotUtf8 { path: full.to_path_buf(), what: "the name" });
        }
        let metadata = found.metadata().map_err(|error| list_error(root, error))?;
        Ok(Entry { kind: kind(full, &metadata)?, depth: found.depth(), path })
    }

    fn mode(&self) -> u16 {
        match self.kind {
            Kind::Folder | Kind::File { executable: true, .. } => 0o755,
            Kind::File { executable: false, .. } => 0o644,
            Kind::Symlink { .. } => 0o777,
        }
    }
}

fn kind(path: &Path, metadata: &Metadata) -> Result<Kind, ImageError> {
    let file_type = metadata.file_type();
    let special = |kind| Err(ImageError::Special { path: path.to_path_buf(), kind });
    if file_type.is_dir() {
        return Ok(Kind::Folder);
    }
    if file_type.is_file() {
        return Ok(Kind::File { size: metadata.len(), executable: metadata.mode() & 0o111 != 0 });
    }
    if file_type.is_symlink() {
        let target = std::fs::read_link(path)
            .map_err(|source| ImageError::Read { path: path.to_path_buf(), source })?;
        return match target.to_str() {
            Some(_) => Ok(Kind::Symlink { target }),
            None => Err(ImageError::NotUtf8 { path: path.to_path_buf(), what: "the target" }),
        };
    }
    match file_type {
        kind if kind.is_fifo() => special("a FIFO"),
        kind if kind.is_socket() => special("a socket"),
        kind if kind.is_block_device() || kind.is_char_device() => special("a device node"),
        _ => special("neither file, folder nor symbolic link"),
    }
}

fn list_error(root: &Path, error: walkdir::Error) -> ImageError {
    let path = error.path().unwrap_or(root).to_path_buf();
    // The walk follows no symbolic link, so it meets no loop, and every other error is one of the system's.
    ImageError::List { path, source: error.into_io_error().unwrap_or(io::ErrorKind::Other.into()) }
}

/// Opens a file of the plan for libsquashfs to read.
fn open(
    root: &Path,
    entry: &Entry,
    size: u64,
    watch: &Arc<Watch>,
) -> Result<Box<dyn Read + Send + Sync>, ImageError> {
    // `join` would add a slash where the path is empty, which it is where the root is a file; that is refused before.
    let path = root.join(&entry.path);
    let read_error = |source| ImageError::Read { path: path.clone(), source };
    // What was a file may be a FIFO by now, which must not block, or a symbolic link, which must not be followed.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits() as i32;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(&path).map_err(read_error)?;
    let metadata = file.metadata().map_err(read_error)?;
    if !metadata.is_file() || metadata.len() != size {
        return Err(ImageError::Changed { path });
    }
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    let watched = Watched { file, path, size, modified, read: 0, watch: Arc::clone(watch) };
    Ok(Box::new(BufReader::with_capacity(BLOCK_SIZE as usize, watched)))
}

/// What the readers that libsquashfs holds share with [`write`].
struct Watch {
    fault: Mutex<Option<ImageError>>,
    bytes: AtomicU64,
    entries: AtomicU64,
    total_bytes: u64,
    total_entries: u64,
    progress: ProgressSink,
}

impl Watch {
    fn new(plan: &Plan, progress: ProgressSink) -> Watch {
        Watch {
            fault: Mutex::new(None),
            bytes: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            total_bytes: plan.total_bytes,
            total_entries: plan.entries(),
            progress,
        }
    }

    fn report_fault(&self, error: ImageError) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }

    fn take_fault(&self) -> Result<(), ImageError> {
        match self.fault.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn entry_done(&self) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.tell();
    }

    fn bytes_read(&self, count: u64) {
        self.bytes.fetch_add(count, Ordering::Relaxed);
        self.tell();
    }

    fn tell(&self) {
        (self.progress)(Progress {
            bytes: self.bytes.load(Ordering::Relaxed),
            total_bytes: self.total_bytes,
            entries: self.entries.load(Ordering::Relaxed),
            total_entries: self.total_entries,
        });
    }
}

/// A file that is read to its end and must stay as it was.
///
/// Every fault is put into the [`Watch`], and libsquashfs sees the end of the file: where a reader returns an error, the
/// squashfs-ng crate frees an inode that libsquashfs still points to.
struct Watched {
    file: File,
    path: PathBuf,
    size: u64,
    modified: (i64, i64),
    read: u64,
    watch: Arc<Watch>,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let fault = match retry(|| self.file.read(buffer)) {
            Err(source) => ImageError::Read { path: self.path.clone(), source },
            Ok(0) if self.is_unchanged() => return Ok(0),
            Ok(count) if count > 0 && self.read + count as u64 <= self.size => {
                self.read += count as u64;
                self.watch.bytes_read(count as u64);
                return Ok(count);
            }
            Ok(_) => ImageError::Changed { path: self.path.clone() },
        };
        self.watch.report_fault(fault);
        Ok(0)
    }
}

/// Repeats a read that a signal interrupted.
fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Watched {
    fn is_unchanged(&self) -> bool {
        let same = |now: Metadata| (now.mtime(), now.mtime_nsec()) == self.modified;
        self.read == self.size && self.file.metadata().is_ok_and(same)
    }
}
