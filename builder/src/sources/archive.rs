//! Archives: what they are compressed with is told by their first bytes, not by their names.
//!
//! 1. A folder is made beside the target, and the archive unpacked into it through [`Beneath`].
//! 2. Where all of it is in one folder, as it is in most source archives, that folder is taken off.
//! 3. What is left becomes the target by a rename: it is there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use pack_schemas::manifest::SourceType;
use tar::EntryType;

use super::SourceError;
use super::beneath::{Beneath, refused};
use crate::debian;
use crate::files::{self, FileError};

/// Most memory of a decompressor, in KiB: an archive made with `xz -9` needs 64 MiB.
const MEMORY_MOST: u32 = 1 << 20;
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
    let unpacked = Beneath::open(folder).and_then(|mut beneath| match kind {
        SourceType::Zip => unzip(path, &mut beneath, &mut at),
        _ => untar(path, &mut beneath, &mut at),
    });
    unpacked.map_err(|source| SourceError::Unpack { address: address.to_owned(), entry: at, source })
}

/// Renames what was unpacked to its place.
fn publish(beside: &Path, target: &Path) -> Result<(), SourceError> {
    let list = |source| FileError::at("list", beside, source);
    let entries = fs::read_dir(beside).map_err(list)?.collect::<io::Result<Vec<_>>>().map_err(list)?;
    let from = match &entries[..] {
        [only] if only.file_type().map_err(list)?.is_dir() => only.path(),
        _ => beside.to_path_buf(),
    };
    fs::remove_dir(target).map_err(|source| FileError::at("replace", target, source))?;
    fs::rename(&from, target).map_err(|source| FileError::at("rename", &from, source))?;
    Ok(())
}

fn untar(path: &Path, beneath: &mut Beneath, at: &mut Option<String>) -> io::Result<()> {
    let mut archive = tar::Archive::new(decompressed(File::open(path)?)?);
    let mut is_empty = true;
    for entry in archive.entries()? {
        let mut entry = entry?;
        is_empty = false;
        let name = entry.path_bytes().into_owned();
        *at = Some(String::from_utf8_lossy(&name).into_owned());
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        let mode = entry.header().mode()?;
        match entry.header().entry_type() {
            EntryType::Directory => beneath.folder(&name)?,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                let modified = entry.header().mtime().ok().and_then(|time| time.try_into().ok());
                beneath.file(&name, mode, modified, &mut entry)?;
            }
            EntryType::Symlink => beneath.symlink(&name, &target)?,
            EntryType::Link => beneath.hard_link(&name, &target)?,
            // Comments, such as the commit that git writes there.
            EntryType::XGlobalHeader => {}
            _ => return Err(refused("it is neither file, folder nor link")),
        }
    }
    *at = None;
    if is_empty {
        return Err(refused("there is nothing in it"));
    }
    Ok(())
}

/// What a file holds, by its first bytes.
fn decompressed(mut file: File) -> io::Result<Box<dyn Read>> {
    let mut start = Vec::new();
    (&mut file).take(6).read_to_end(&mut start)?;
    file.seek(SeekFrom::Start(0))?;
    let file = BufReader::with_capacity(128 << 10, file);
    Ok(match &start[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(file, true, MEMORY_MOST))
        }
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(file)?),
        _ => Box::new(file),
    })
}

fn unzip(path: &Path, beneath: &mut Beneath, at: &mut Option<String>) -> io::Result<()> {
    let mut archive = zip::ZipArchive::new(BufReader::new(File::open(path)?))?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index)?;
        let name = entry.name_raw().to_vec();
        *at = Some(String::from_utf8_lossy(&name).into_owned());
        let mode = entry.unix_mode().unwrap_or(0o644);
        // The file's type, where the archive was made on Unix (stat(2), S_IFMT).
        let is_special = !matches!(mode & 0o170_000, 0 | 0o040_000 | 0o100_000 | 0o120_000);
        if is_special {
            return Err(refused("it is neither file, folder nor link"));
        }
        if entry.is_dir() {
            beneath.folder(&name)?;
        } else if entry.is_symlink() {
            let mut target = Vec::new();
            (&mut entry).take(TARGET_LIMIT + 1).read_to_end(&mut target)?;
            beneath.symlink(&name, &target)?;
        } else {
            beneath.file(&name, mode, None, &mut entry)?;
        }
    }
    *at = None;
    Ok(())
}
