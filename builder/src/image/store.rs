//! Compressed blocks of the last image, for the next one to take over.
//!
//! ```text
//! blocks           the blocks of the last image, one behind the other
//! blocks.partial   those of the image that is being written; renamed when it is whole
//!
//! file    magic, BLAKE3 of encoder, level and block size │ records
//! record  BLAKE3 of the block │ BLAKE3 of the stored bytes │ u32 their number, 0 for a block that does not shrink
//!         │ first 8 bytes of the BLAKE3 of all that │ the stored bytes
//! ```
//!
//! Only the blocks that the last image used survive, since every image writes the file anew. A file of another encoder,
//! level or block size counts as none.
//!
//! Nothing is believed: a record's own hash, and the hash of the stored bytes whenever they are used, tell a torn write, a
//! full disk or a damaged sector, and such a block is compressed again. So no write has to reach the disk in any order, and
//! a process may be killed anywhere; what it had written by then is found in `blocks.partial`. That a block really is what a
//! record says is found out with the whole image's, when that is read back (`read_back`).
//!
//! Without the store, because it is locked, not to be written to or the disk is full, an image takes longer and has the same
//! bytes.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use pack_schemas::names::Hash;
use rustix::fs::FlockOperation;

use super::batch::Buffer;
use super::{Options, encoder};

const MAGIC: [u8; 8] = *b"packblk1";
const HEADER_SIZE: usize = 40;
const RECORD_SIZE: usize = 76;
const COMPLETE: &str = "blocks";
const PARTIAL: &str = "blocks.partial";
/// Records are written when so many bytes have come together.
const WRITE_AT_ONCE: usize = 1 << 20;

/// The folder with the files, locked.
pub(super) struct Store {
    folder: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
    /// What earlier images have left.
    pub found: Found,
    partial: File,
    pending: Vec<u8>,
    /// A write has failed: nothing more is kept.
    failed: bool,
}

impl Store {
    /// Opens the store in a folder, which is made if it is not there. Nothing where it cannot be used.
    pub fn open(folder: &Path, options: &Options<'_>) -> Option<Store> {
        fs::create_dir_all(folder).ok()?;
        let lock = File::open(folder).ok()?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
        let header = header(options);
        let mut found = Found::default();
        // What was kept last is newer; both are right.
        for name in [COMPLETE, PARTIAL] {
            if let Ok(file) = File::open(folder.join(name)) {
                found.add(file, &header, options.block_size);
            }
        }
        // The old one stays open, and is read as long as it is needed.
        let _ = fs::remove_file(folder.join(PARTIAL));
        let partial = OpenOptions::new().write(true).create_new(true).open(folder.join(PARTIAL)).ok()?;
        let pending = header.to_vec();
        Some(Store { folder: folder.to_path_buf(), _lock: lock, found, partial, pending, failed: false })
    }

    /// Keeps a block: the hash of its content, its stored bytes and the hash of those; nothing for a block that does not
    /// shrink.
    pub fn keep(&mut self, content: &Hash, stored: Option<(&[u8], &Hash)>) {
        if self.failed {
            return;
        }
        let (bytes, hash) = stored.unwrap_or((&[], content));
        self.pending.extend_from_slice(&record(content, hash, bytes.len() as u32));
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= WRITE_AT_ONCE {
            self.flush();
        }
    }

    /// Makes what was kept the store's content: the image is whole.
    pub fn complete(&mut self) {
        self.flush();
        if !self.failed {
            // If that fails, the file is found under its other name.
            let _ = fs::rename(self.folder.join(PARTIAL), self.folder.join(COMPLETE));
        }
    }

    /// Removes all that is kept.
    pub fn discard(folder: &Path) {
        for name in [COMPLETE, PARTIAL] {
            let _ = fs::remove_file(folder.join(name));
        }
    }

    fn flush(&mut self) {
        self.failed |= self.partial.write_all(&self.pending).is_err();
        self.pending.clear();
        if self.failed {
            // The room that it takes is better used for the image.
            let _ = self.partial.set_len(0);
        }
    }
}

fn header(options: &Options<'_>) -> [u8; HEADER_SIZE] {
    let settings = format!("{}\0{}\0{}", encoder(), options.level, options.block_size);
    let mut header = [0; HEADER_SIZE];
    header[..8].copy_from_slice(&MAGIC);
    header[8..].copy_from_slice(&Hash::of(settings.as_bytes()).0);
    header
}

fn record(content: &Hash, stored_hash: &Hash, stored: u32) -> [u8; RECORD_SIZE] {
    let mut record = [0; RECORD_SIZE];
    record[..32].copy_from_slice(&content.0);
    record[32..64].copy_from_slice(&stored_hash.0);
    record[64..68].copy_from_slice(&stored.to_le_bytes());
    let check = Hash::of(&record[..68]);
    record[68..].copy_from_slice(&check.0[..8]);
    record
}

/// The blocks that earlier images have left. Shared by the compressing threads.
#[derive(Default)]
pub(super) struct Found {
    files: Vec<File>,
    blocks: HashMap<Hash, Place>,
}

/// Where a block's stored bytes lie.
struct Place {
    file: u8,
    offset: u64,
    /// 0 for a block that does not shrink.
    stored: u32,
    hash: Hash,
}

impl Found {
    /// Appends the stored bytes of a block to `output`, and returns their number and hash.
    pub fn find(&self, content: &Hash, output: &mut Buffer) -> Option<(u32, Hash)> {
        let place = self.blocks.get(content).filter(|place| place.stored > 0)?;
        let room = output.room(place.stored as usize);
        self.files.get(usize::from(place.file))?.read_exact_at(room, place.offset).ok()?;
        if Hash::of(room) != place.hash {
            return None;
        }
        output.used += place.stored as usize;
        Some((place.stored, place.hash))
    }

    /// Whether a block is known not to shrink.
    pub fn is_plain(&self, content: &Hash) -> bool {
        self.blocks.get(content).is_some_and(|place| place.stored == 0)
    }

    /// Adds the blocks of a file, up to the first record that is not whole.
    fn add(&mut self, file: File, header: &[u8; HEADER_SIZE], block_size: u32) {
        let Ok(length) = file.metadata().map(|metadata| metadata.len()) else { return };
        let number = self.files.len() as u8;
        // Where reading fails, the rest is not known.
        let _ = self.read_records(&file, number, length, header, block_size);
        self.files.push(file);
    }

    fn read_records(
        &mut self,
        file: &File,
        number: u8,
        length: u64,
        header: &[u8; HEADER_SIZE],
        block_size: u32,
    ) -> io::Result<()> {
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let mut found = [0; HEADER_SIZE];
        reader.read_exact(&mut found)?;
        if found != *header {
            return Ok(());
        }
        let mut offset = HEADER_SIZE as u64;
        loop {
            let mut bytes = [0; RECORD_SIZE];
            reader.read_exact(&mut bytes)?;
            let Some((content, place)) = parse(&bytes, number, offset + RECORD_SIZE as u64) else {
                return Ok(());
            };
            let stored = place.stored;
            offset = place.offset + u64::from(stored);
            if stored > block_size || offset > length {
                return Ok(());
            }
            self.blocks.insert(content, place);
            reader.seek_relative(stored.into())?;
        }
    }
}

fn parse(bytes: &[u8; RECORD_SIZE], file: u8, offset: u64) -> Option<(Hash, Place)> {
    if Hash::of(&bytes[..68]).0[..8] != bytes[68..] {
        return None;
    }
    let hash = |at: usize| {
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[at..at + 32]);
        Hash(hash)
    };
    let stored = u32::from_le_bytes([bytes[64], bytes[65], bytes[66], bytes[67]]);
    Some((hash(0), Place { file, offset, stored, hash: hash(32) }))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;

    fn options(level: u8) -> Options<'static> {
        Options { epoch: 0, level, block_size: 4096, parallel: NonZeroUsize::MIN, blocks: None }
    }

    fn keep(store: &mut Store, number: u8) {
        let stored = [number; 100];
        store.keep(&Hash::of(&[number]), Some((&stored, &Hash::of(&stored))));
    }

    fn finds(store: &Store, number: u8) -> bool {
        let mut output = Buffer::default();
        match store.found.find(&Hash::of(&[number]), &mut output) {
            Some((length, hash)) => {
                assert_eq!(
                    (length, hash, output.filled()),
                    (100, Hash::of(&[number; 100]), &[number; 100][..])
                );
                true
            }
            None => false,
        }
    }

    #[test]
    fn the_next_build_finds_what_the_last_one_used_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blocks");
        let mut store = Store::open(&path, &options(15)).unwrap();
        keep(&mut store, 1);
        keep(&mut store, 2);
        store.keep(&Hash::of(b"plain"), None);
        store.complete();
        // Somebody else has it.
        assert!(Store::open(&path, &options(15)).is_none());
        drop(store);
        let mut store = Store::open(&path, &options(15)).unwrap();
        assert!(finds(&store, 1) && finds(&store, 2) && !finds(&store, 3));
        assert!(store.found.is_plain(&Hash::of(b"plain")) && !store.found.is_plain(&Hash::of(&[1])));
        keep(&mut store, 2);
        store.complete();
        drop(store);
        let store = Store::open(&path, &options(15)).unwrap();
        assert!(!finds(&store, 1) && finds(&store, 2));
        drop(store);
        let store = Store::open(&path, &options(3)).unwrap();
        assert!(!finds(&store, 2));
    }

    #[test]
    fn what_a_build_had_written_when_it_was_killed_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), &options(15)).unwrap();
        keep(&mut store, 1);
        store.complete();
        drop(store);
        let mut store = Store::open(folder.path(), &options(15)).unwrap();
        keep(&mut store, 2);
        store.flush();
        keep(&mut store, 3);
        drop(store);
        let store = Store::open(folder.path(), &options(15)).unwrap();
        assert!(finds(&store, 1) && finds(&store, 2) && !finds(&store, 3));
    }

    #[test]
    fn damage_anywhere_is_never_taken_for_a_block() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), &options(15)).unwrap();
        (1..=5).for_each(|number| keep(&mut store, number));
        store.complete();
        drop(store);
        let whole = fs::read(folder.path().join(COMPLETE)).unwrap();
        for at in 0..whole.len() {
            let mut torn = whole.clone();
            torn[at] ^= 0x40;
            fs::write(folder.path().join(COMPLETE), &torn).unwrap();
            let store = Store::open(folder.path(), &options(15)).unwrap();
            assert!((1..=5).filter(|&number| finds(&store, number)).count() <= 4, "{at}");
            fs::write(folder.path().join(COMPLETE), &whole[..at]).unwrap();
            drop(store);
            let store = Store::open(folder.path(), &options(15)).unwrap();
            let before = (at.saturating_sub(HEADER_SIZE)) / (RECORD_SIZE + 100);
            assert_eq!((1..=5).filter(|&number| finds(&store, number)).count(), before, "{at}");
        }
    }
}
