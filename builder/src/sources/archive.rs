//! Archives: what they are compressed with is told by their first bytes, not by their names.
//!
//! 1. A folder is made beside the target, and the archive unpacked into it through [`Beneath`].
//! 2. Where all of it is in one folder, as it is in most source archives, that folder is taken off.
//! 3. What is left is renamed into the target.
//!
//! Of two entries with one name the later one is kept, as tar and unzip do it. What an archive of a few bytes makes this
//! program hold in memory, or write, is bounded here and in [`Beneath`].

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use pack_schemas::manifest::SourceType;
use tar::EntryType;
use zip::read::Config;
use zip::unstable::read::ZipIterable;

use super::SourceError;
use super::beneath::{About, Beneath, ENTRIES_MOST, refused};
use crate::debian;
use crate::files::{self, FileError};

/// Most memory of a decompressor, in KiB: an archive made with `xz -9` needs 64 MiB.
const MEMORY_MOST: u32 = 1 << 20;
/// Most bytes of a tar archive from one entry to the next: its header, and long names and the like before it.
const HEADERS_MOST: u64 = 1 << 20;
/// The longest target of a symbolic link in a zip archive.
const TARGET_LIMIT: u64 = 4096;

/// Unpacks a file into `target`, an empty folder.
pub(super) fn unpack(address: &str, path: &Path, kind: SourceType, target: &Path) -> Result<(), SourceError> {
    let beside = target.with_extension("unpacking");
    files::remove_tree(&beside)?;
    files::make_folder(&beside)?;
    let result = unpack_beside(address, path, kind, &beside).and_then(|()| publish(&beside, target));
    // The error that led here, if there was one, is the one to tell.
    let _ = files::remove_tree(&beside);
    result
}

fn unpack_beside(address: &str, path: &Path, kind: SourceType, folder: &Path) -> Result<(), SourceError> {
    if kind == SourceType::Deb {
        let unpacked = debian::unpack_files(&[path.to_path_buf()], folder);
        return unpacked
            .map(drop)
            .map_err(|source| SourceError::Debian { address: address.to_owned(), source: Box::new(source) });
    }
    let mut at = None;
    let unpacked = File::open(path).and_then(|file| {
        let mut beneath = Beneath::open(folder, file.metadata()?.len())?;
        match kind {
            SourceType::Zip => unzip(&file, &mut beneath, &mut at),
            _ => untar(&file, &mut beneath, &mut at),
        }
    });
    unpacked.map_err(|source| SourceError::Unpack { address: address.to_owned(), entry: at, source })
}

/// Renames what was unpacked into its place.
fn publish(beside: &Path, target: &Path) -> Result<(), SourceError> {
    let list = |source| FileError::at("list", beside, source);
    let entries = fs::read_dir(beside).map_err(list)?.collect::<io::Result<Vec<_>>>().map_err(list)?;
    let from = match &entries[..] {
        [only] if only.file_type().map_err(list)?.is_dir() => only.path(),
        _ => beside.to_path_buf(),
    };
    // The folder itself stays: a script that asked for this has it as its working folder.
    let list = |source| FileError::at("list", &from, source);
    for entry in fs::read_dir(&from).map_err(list)? {
        let entry = entry.map_err(list)?;
        let to = target.join(entry.file_name());
        fs::rename(entry.path(), &to).map_err(|source| FileError::at("rename", &entry.path(), source))?;
    }
    Ok(())
}

fn untar(file: &File, beneath: &mut Beneath, at: &mut Option<String>) -> io::Result<()> {
    // Headers alone, of as many entries as there may be, come on top of what they head.
    let most = beneath.bytes_most().saturating_add(ENTRIES_MOST * 1024);
    let headers = Rc::new(Cell::new(HEADERS_MOST));
    let content = Bounded { inner: decompressed(file)?, left: most, headers: Rc::clone(&headers) };
    let mut archive = tar::Archive::new(content);
    let mut is_empty = true;
    for entry in archive.entries()? {
        headers.set(u64::MAX);
        let mut entry = entry?;
        is_empty = false;
        untar_entry(&mut entry, beneath, at)?;
        // What is left of it, so that nothing but headers is between it and the next.
        io::copy(&mut entry, &mut io::sink())?;
        headers.set(HEADERS_MOST);
    }
    *at = None;
    if is_empty {
        return Err(refused("there is nothing in it"));
    }
    // Checksums of what is compressed stand at its end.
    headers.set(u64::MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

fn untar_entry(
    entry: &mut tar::Entry<'_, impl Read>,
    beneath: &mut Beneath,
    at: &mut Option<String>,
) -> io::Result<()> {
    let name = entry.path_bytes().into_owned();
    *at = Some(String::from_utf8_lossy(&name).into_owned());
    let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
    let (mode, size) = (entry.header().mode()?, entry.size());
    let kind = entry.header().entry_type();
    // A file with holes in the notation of POSIX archives would come out as the list of its holes before what is between them.
    if kind.is_file() && has_holes(entry)? {
        return Err(refused(
            "it is a sparse file in a form that pack does not read; `tar --format=gnu` makes another",
        ));
    }
    match kind {
        EntryType::Directory => beneath.folder(&name),
        // As archives had folders before POSIX.
        EntryType::Regular if name.ends_with(b"/") => beneath.folder(&name),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            let modified = entry.header().mtime().ok().and_then(|time| time.try_into().ok());
            beneath.file(&name, &About { mode, size, modified }, entry)
        }
        EntryType::Symlink => beneath.symlink(&name, &target),
        EntryType::Link => beneath.hard_link(&name, &target),
        // Comments, such as the commit that git writes there.
        EntryType::XGlobalHeader => Ok(()),
        _ => Err(refused("it is neither file, folder nor link")),
    }
}

fn has_holes(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<bool> {
    let Some(extensions) = entry.pax_extensions()? else { return Ok(false) };
    for extension in extensions {
        if extension?.key_bytes().starts_with(b"GNU.sparse.") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A tar archive that is decompressed no further than it is believed.
struct Bounded<R> {
    inner: R,
    /// Of all of it.
    left: u64,
    /// Until the next entry: tar's reader keeps in memory what comes before one.
    headers: Rc<Cell<u64>>,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let (Some(left), Some(headers)) =
            (self.left.checked_sub(count as u64), self.headers.get().checked_sub(count as u64))
        else {
            return Err(refused("it holds far more than an archive of its size can be believed to"));
        };
        self.left = left;
        self.headers.set(headers);
        Ok(count)
    }
}

/// What a file holds, by its first bytes.
fn decompressed(mut file: &File) -> io::Result<Box<dyn Read + '_>> {
    let mut start = Vec::new();
    file.take(8).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let file = BufReader::with_capacity(128 << 10, file);
    Ok(match &start[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, MEMORY_MOST))
        }
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        [b'P', b'K', 3, 4, ..] => return Err(refused("it is a zip archive: say so with `source-type: zip`")),
        b"!<arch>\n" => return Err(refused("it is a Debian package: say so with `source-type: deb`")),
        [b'L', b'Z', b'I', b'P', ..] => {
            return Err(refused("it is compressed with lzip, which pack does not read"));
        }
        [0x1f, 0x9d, ..] => return Err(refused("it is compressed with compress, which pack does not read")),
        [b'7', b'z', 0xbc, 0xaf, ..] => return Err(refused("it is a 7z archive, which pack does not read")),
        _ => Box::new(file),
    })
}

fn unzip(file: &File, beneath: &mut Beneath, at: &mut Option<String>) -> io::Result<()> {
    let content = BufReader::new(file);
    let mut archive = ZipIterable::try_new(content, Config::default())?;
    if archive.is_empty() {
        return Err(refused("there is nothing in it"));
    }
    // Both read one file at places of their own: each seeks before it reads.
    let mut entries = archive.files_with_reader(BufReader::new(file), zip::ZipReadOptions::new())?;
    while let Some(entry) = entries.next() {
        unzip_entry(&mut entry?, beneath, at)?;
    }
    *at = None;
    Ok(())
}

fn unzip_entry(
    entry: &mut zip::read::ZipFile<'_, impl Read>,
    beneath: &mut Beneath,
    at: &mut Option<String>,
) -> io::Result<()> {
    let name = entry.name_raw().to_vec();
    *at = Some(String::from_utf8_lossy(&name).into_owned());
    let mode = entry.unix_mode().unwrap_or(0o644);
    // The file's type, where the archive was made on Unix (stat(2), S_IFMT).
    if !matches!(mode & 0o170_000, 0 | 0o040_000 | 0o100_000 | 0o120_000) {
        return Err(refused("it is neither file, folder nor link"));
    }
    if entry.is_dir() {
        beneath.folder(&name)
    } else if entry.is_symlink() {
        let mut target = Vec::new();
        entry.take(TARGET_LIMIT + 1).read_to_end(&mut target)?;
        beneath.symlink(&name, &target)
    } else {
        beneath.file(&name, &About { mode, size: entry.size(), modified: None }, entry)
    }
}
