//! Copies a tree into a folder that no app can reach yet.
//!
//! Folders, regular files and links are copied, with their permission bits (never set-uid, set-gid or sticky) and
//! times; links as they are written. Extended attributes and hard links are not kept: the copy of a file with two
//! names is two files. Contents are shared with the source where the file system can (reflink), and holes stay holes,
//! so a copy takes no more space than its source.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, SeekFrom, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::{DEPTH_LIMIT, TreeError, file_type};
use crate::folder::{FileError, Folder, Mounts};

/// Bytes copied at a time.
const CHUNK: u64 = 8 << 20;
/// Bytes copied at a time where the kernel cannot copy by itself.
const BUFFER: usize = 256 << 10;

/// What was left out of a copy.
#[derive(Debug, Default)]
pub(crate) struct CopyReport {
    /// FIFOs, sockets and devices, and files that their own modes make unreadable.
    pub left_out: Vec<PathBuf>,
}

/// Copies what is in `source` into `target`, which has to be empty.
pub(crate) fn copy_tree(source: &Folder, target: &Folder) -> Result<CopyReport, TreeError> {
    let mut report = CopyReport::default();
    copy_below(source, target, 0, &mut report)?;
    Ok(report)
}

fn copy_below(
    source: &Folder,
    target: &Folder,
    depth: usize,
    report: &mut CopyReport,
) -> Result<(), TreeError> {
    if depth > DEPTH_LIMIT {
        return Err(TreeError::TooDeep { path: source.path().to_owned() });
    }
    for name in source.entries()? {
        let name = name?;
        // What goes away while it is being copied was not there.
        let Some(stat) = source.stat_of(&name)? else { continue };
        match file_type(&stat) {
            FileType::Directory => copy_folder(source, target, &name, depth, report)?,
            FileType::RegularFile => copy_regular(source, target, &name, report)?,
            FileType::Symlink => copy_link(source, target, &name)?,
            _ => report.left_out.push(source.join(&name)),
        }
    }
    Ok(())
}

fn copy_folder(
    source: &Folder,
    target: &Folder,
    name: &OsStr,
    depth: usize,
    report: &mut CopyReport,
) -> Result<(), TreeError> {
    let from = match source.child(name, Mounts::Refuse) {
        Ok(Some(from)) => from,
        Ok(None) => return Ok(()),
        Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => {
            report.left_out.push(source.join(name));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let stat = from.stat()?;
    rustix::fs::mkdirat(target, name, Mode::RWXU)
        .map_err(|error| target.failed("make the folder", name, error))?;
    let to = target.child(name, Mounts::Refuse)?.ok_or_else(|| target.failed("open", name, Errno::NOENT))?;
    copy_below(&from, &to, depth + 1, report)?;
    // The modes last: a read-only folder could not have been filled.
    to.set_mode(stat.st_mode & 0o777)?;
    set_times(&to, &stat).map_err(|error| target.failed("set the times of", name, error))?;
    Ok(())
}

fn copy_regular(
    source: &Folder,
    target: &Folder,
    name: &OsStr,
    report: &mut CopyReport,
) -> Result<(), TreeError> {
    let from = match source.open_file(name, Mounts::Refuse) {
        Ok(Some(from)) => from,
        Ok(None) => return Ok(()),
        // Shut off by its own mode, or turned into something else since it was looked at.
        Err(error)
            if matches!(
                error.source.kind(),
                io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput
            ) =>
        {
            report.left_out.push(source.join(name));
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&from).map_err(|error| source.failed("look at", name, error))?;
    let to = target.create_file(name)?;
    let copied = copy_file(&from, &to, u64::try_from(stat.st_size).unwrap_or(0), &mut |_| ());
    copied.map_err(|source| FileError { action: "write", path: target.join(name), source })?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o777))
        .map_err(|error| target.failed("change the mode of", name, error))?;
    set_times(&to, &stat).map_err(|error| target.failed("set the times of", name, error))?;
    Ok(())
}

fn copy_link(source: &Folder, target: &Folder, name: &OsStr) -> Result<(), TreeError> {
    match rustix::fs::readlinkat(source, name, Vec::new()) {
        Ok(points_to) => rustix::fs::symlinkat(points_to.as_c_str(), target, name)
            .map_err(|error| target.failed("make the link", name, error).into()),
        Err(Errno::NOENT | Errno::INVAL) => Ok(()),
        Err(error) => Err(source.failed("read the link", name, error).into()),
    }
}

fn set_times(file: impl std::os::fd::AsFd, stat: &Stat) -> rustix::io::Result<()> {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    };
    rustix::fs::futimens(file, &times)
}

/// Copies the first `size` bytes of a regular file, sharing them where the file system can and leaving holes as
/// holes. `progress` is told how many bytes are done. A source that turns out shorter gives a shorter copy.
pub(crate) fn copy_file(
    source: &File,
    target: &File,
    size: u64,
    progress: &mut dyn FnMut(u64),
) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        progress(size);
        return Ok(());
    }
    let mut at = 0;
    while let Some((start, end)) = next_data(source, at, size)? {
        at = start;
        while at < end {
            let copied = copy_chunk(source, target, at, (end - at).min(CHUNK))?;
            if copied == 0 {
                return Ok(());
            }
            at += copied;
            progress(at);
        }
    }
    // A hole at the end has no data to copy, and counts all the same.
    let end = size.min(source.metadata()?.len());
    if target.metadata()?.len() < end {
        target.set_len(end)?;
    }
    progress(end);
    Ok(())
}

/// The next stretch of data at or after `from` and before `size`.
fn next_data(source: &File, from: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    if from >= size {
        return Ok(None);
    }
    let start = match rustix::fs::seek(source, SeekFrom::Data(from)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // A file system without holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(Some((from, size))),
        Err(error) => return Err(error.into()),
    };
    let end = rustix::fs::seek(source, SeekFrom::Hole(start)).unwrap_or(size);
    Ok((start < size).then_some((start, end.min(size))))
}

/// Copies at most `length` bytes at the same offset of both files; how many.
fn copy_chunk(source: &File, target: &File, at: u64, length: u64) -> io::Result<u64> {
    let (mut from, mut to) = (at, at);
    match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length as usize) {
        Ok(copied) => Ok(copied as u64),
        Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::PERM) => {
            let mut buffer = vec![0; BUFFER.min(length as usize)];
            let read = source.read_at(&mut buffer, at)?;
            target.write_all_at(&buffer[..read], at)?;
            Ok(read as u64)
        }
        Err(error) => Err(error.into()),
    }
}
