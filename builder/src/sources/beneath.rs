//! Writes what an archive holds into a folder, out of which nothing in the archive can lead.
//!
//! Every entry is made relative to a descriptor of the folder with `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)`
//! (openat2(2)): a name cannot lead upwards, and no symbolic link on the way is followed, whoever planted it. A symbolic link
//! itself is written as it is, wherever it points: nothing of pack follows it (`source-subdir` neither), and a build that does
//! sees no more than the sandbox shows. Set-uid, set-gid and sticky bits and owners are dropped.
//!
//! An archive may hold a thousand times its own size, which no compression of sources comes near, and [`BYTES_FREE`] however
//! small it is.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Longest path in bytes.
const PATH_LIMIT: usize = 4095;
/// Most entries.
pub(super) const ENTRIES_MOST: u64 = 2_000_000;
/// Most bytes of content: 64 GiB.
const BYTES_MOST: u64 = 64 << 30;
/// Bytes that any archive may hold: 256 MiB.
const BYTES_FREE: u64 = 256 << 20;
/// Bytes that an archive may hold for each of its own.
const EXPANSION_MOST: u64 = 1000;

const CONFINED: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// What an archive says of a file.
pub(super) struct About {
    /// Its permissions, of which is kept whether it can be executed.
    pub mode: u32,
    /// Its length in bytes, so that too much is refused before any of it is written.
    pub size: u64,
    /// When it was changed, in seconds since 1970. make(1) takes what was made from older files for up to date, such as the
    /// `configure` of an archive, and else makes it again, with programs that few machines have.
    pub modified: Option<u32>,
}

/// The folder.
pub(super) struct Beneath {
    root: OwnedFd,
    entries: u64,
    bytes: u64,
    bytes_most: u64,
}

impl Beneath {
    /// Opens a folder that is there, for an archive of `length` bytes.
    pub fn open(path: &Path, length: u64) -> io::Result<Beneath> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        let bytes_most = length.saturating_mul(EXPANSION_MOST).clamp(BYTES_FREE, BYTES_MOST);
        Ok(Beneath { root, entries: 0, bytes: 0, bytes_most })
    }

    /// Most bytes of content that are taken.
    pub fn bytes_most(&self) -> u64 {
        self.bytes_most
    }

    /// Makes a folder and those above it, unless they are there.
    pub fn folder(&mut self, path: &[u8]) -> io::Result<()> {
        self.count()?;
        let names = clean(path)?;
        self.folders(&names).map(drop)
    }

    /// Makes a file; one that is there already is replaced.
    pub fn file(&mut self, path: &[u8], about: &About, content: &mut dyn Read) -> io::Result<()> {
        self.count()?;
        if self.bytes.saturating_add(about.size) > self.bytes_most {
            return Err(self.too_much());
        }
        let (folder, name) = self.place(path)?;
        remove(&folder, name)?;
        let mode = if about.mode & 0o111 != 0 { 0o755 } else { 0o644 };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat2(&folder, name, flags, Mode::from_raw_mode(mode), CONFINED)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
        let mut file = File::from(file);
        let mut buffer = vec![0; 128 << 10];
        loop {
            let count = content.read(&mut buffer)?;
            self.bytes = self.bytes.saturating_add(count as u64);
            if self.bytes > self.bytes_most {
                return Err(self.too_much());
            }
            match count {
                0 => break,
                count => file.write_all(&buffer[..count])?,
            }
        }
        let modified = about.modified.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds.into()));
        modified.map_or(Ok(()), |time| file.set_modified(time))
    }

    /// Makes a symbolic link; a file or link that is there already is replaced.
    pub fn symlink(&mut self, path: &[u8], target: &[u8]) -> io::Result<()> {
        self.count()?;
        if target.is_empty() || target.len() > PATH_LIMIT || target.contains(&0) {
            return Err(refused("where the link points is no path"));
        }
        let (folder, name) = self.place(path)?;
        remove(&folder, name)?;
        Ok(rustix::fs::symlinkat(OsStr::from_bytes(target), &folder, name)?)
    }

    /// Makes another name of a file that the archive brought before; a file or link of that name is replaced.
    pub fn hard_link(&mut self, path: &[u8], existing: &[u8]) -> io::Result<()> {
        self.count()?;
        let (from, from_name) = self.place(existing)?;
        let found = rustix::fs::statat(&from, from_name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|_| refused("it is a hard link to something that the archive has not brought"))?;
        if rustix::fs::FileType::from_raw_mode(found.st_mode) != rustix::fs::FileType::RegularFile {
            return Err(refused("it is a hard link to something that is no file"));
        }
        let (folder, name) = self.place(path)?;
        if clean(path)? == clean(existing)? {
            return Ok(());
        }
        remove(&folder, name)?;
        // The descriptor's folder has no link on the way, and the name itself is not followed.
        Ok(rustix::fs::linkat(&from, from_name, &folder, name, AtFlags::empty())?)
    }

    fn too_much(&self) -> io::Error {
        let most = self.bytes_most >> 20;
        refused(format!("with it the archive holds more than {most} MiB, the most for one of its size"))
    }

    fn count(&mut self) -> io::Result<()> {
        self.entries += 1;
        match self.entries > ENTRIES_MOST {
            true => Err(refused(format!("the archive has more than {ENTRIES_MOST} entries"))),
            false => Ok(()),
        }
    }

    /// The folder that a path is in, made where it is missing, and the path's last name.
    fn place<'p>(&self, path: &'p [u8]) -> io::Result<(OwnedFd, &'p OsStr)> {
        let names = clean(path)?;
        let Some((name, folders)) = names.split_last() else { return Err(refused("it has no name")) };
        Ok((self.folders(folders)?, OsStr::from_bytes(name)))
    }

    fn folders(&self, names: &[&[u8]]) -> io::Result<OwnedFd> {
        let mut folder = rustix::io::dup(&self.root)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in names {
            let name = OsStr::from_bytes(name);
            match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = rustix::fs::openat2(&folder, name, flags, Mode::empty(), CONFINED).map_err(|error| {
                match error {
                    Errno::LOOP => refused("its path leads over a symbolic link"),
                    Errno::NOTDIR => refused("its path leads over something that is no folder"),
                    error => error.into(),
                }
            })?;
        }
        Ok(folder)
    }
}

/// Checks that a path leads to a folder in `root`, over folders alone.
pub(super) fn check_folder(root: &Path, path: &str) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags | OFlags::NOFOLLOW, Mode::empty())?;
    match rustix::fs::openat2(&root, path, flags, Mode::empty(), CONFINED) {
        Ok(_) => Ok(()),
        Err(Errno::LOOP) => Err(refused("its path leads over a symbolic link")),
        Err(error) => Err(error.into()),
    }
}

/// Takes away a file or a link. A folder stays, and what makes the file tells of it.
fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => Err(refused("a folder is there already")),
        Err(error) => Err(error.into()),
    }
}

/// The names of a path; `.` and doubled slashes mean nothing.
fn clean(path: &[u8]) -> io::Result<Vec<&[u8]>> {
    if path.len() > PATH_LIMIT {
        return Err(refused("its path is longer than Linux can use"));
    }
    if path.starts_with(b"/") {
        return Err(refused("its path is absolute"));
    }
    let names: Vec<&[u8]> =
        path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
    if names.contains(&&b".."[..]) {
        return Err(refused("its path leads upwards"));
    }
    if names.iter().any(|name| name.contains(&0) || name.len() > 255) {
        return Err(refused("its name is none that Linux can use"));
    }
    Ok(names)
}

/// Something that an archive must not hold.
pub(super) fn refused(words: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words.into())
}
