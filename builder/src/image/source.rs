//! Reads the files of a plan, ahead of the threads that compress.
//!
//! Files come in the order of the plan. A file whose size another one has is hashed before it is compressed, so that of
//! equal files only the first is: one of a single block while it is in memory anyway, a longer one is read twice, the
//! second time mostly from memory. Holes are not read (lseek(2), `SEEK_DATA`).
//!
//! A file must be what it was when the tree was walked, and stay so while it is read: size and time of modification are
//! compared, and of a file that was read twice its content.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::mpsc::Sender;

use pack_schemas::names::Hash;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::ImageError;
use super::batch::{Batch, Block, Pool, Step};
use super::digest::{Digest, is_zero};
use super::plan::{LeafKind, Plan};

/// Most blocks of a file: their sizes are kept in memory, 4 bytes each.
const BLOCKS_MOST: u64 = 1 << 26;

/// Reads a plan into batches of the pool.
pub(super) struct Source<'a> {
    plan: &'a Plan,
    block_size: u64,
    pool: &'a Pool,
    sender: Sender<Batch>,
    batch: Batch,
    /// Sizes that several files have, sorted.
    shared_sizes: Vec<u64>,
    /// Files by their content, for those of shared sizes.
    seen: HashMap<Hash, u32>,
    /// The folder that the last file was in.
    folder: Option<(u32, OwnedFd)>,
    scratch: Vec<u8>,
}

/// Why the reading ends early.
enum Stop {
    /// A file cannot be read.
    Fault(ImageError),
    /// Nobody takes what is read.
    NotWanted,
}

impl From<ImageError> for Stop {
    fn from(error: ImageError) -> Stop {
        Stop::Fault(error)
    }
}

/// Reads everything; a fault goes with the last batch.
pub(super) fn read(plan: &Plan, block_size: u32, pool: &Pool, sender: Sender<Batch>) {
    let Some(batch) = pool.take() else { return };
    let mut source = Source {
        plan,
        block_size: block_size.into(),
        pool,
        sender,
        batch,
        shared_sizes: shared_sizes(plan),
        seen: HashMap::new(),
        folder: None,
        scratch: Vec::new(),
    };
    match source.all_files() {
        Ok(()) => {}
        Err(Stop::NotWanted) => return,
        Err(Stop::Fault(error)) => source.batch.fault = Some(error),
    }
    source.batch.last = true;
    // Where nobody takes it, somebody else has failed and says so.
    let _ = source.sender.send(source.batch);
}

/// Sizes that several files have, in order.
fn shared_sizes(plan: &Plan) -> Vec<u64> {
    let mut sizes: Vec<u64> = plan.leaves().iter().map(|leaf| leaf.size()).filter(|&size| size > 0).collect();
    sizes.sort_unstable();
    let mut shared: Vec<u64> =
        sizes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    shared.dedup();
    shared
}

impl Source<'_> {
    fn all_files(&mut self) -> Result<(), Stop> {
        for (number, leaf) in self.plan.leaves().iter().enumerate() {
            if let LeafKind::File { size, .. } = leaf.kind {
                // There are fewer than 2³² leaves.
                self.file(number as u32, leaf.entry, size)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, leaf: u32, entry: u32, size: u64) -> Result<(), Stop> {
        let opened = self.open(entry, size)?;
        if size.div_ceil(self.block_size) > BLOCKS_MOST {
            let what = "more blocks than an image can have of one file";
            return Err(Stop::Fault(ImageError::TooLarge { path: self.plan.path(entry), what }));
        }
        let shared = self.shared_sizes.binary_search(&size).is_ok();
        if size <= self.block_size {
            self.small_file(leaf, &opened, shared)?;
        } else {
            self.large_file(leaf, &opened, shared)?;
        }
        opened.check_unchanged(self.plan)?;
        self.send_if_full()
    }

    fn open(&mut self, entry: u32, size: u64) -> Result<Opened, ImageError> {
        let read_error = |source| ImageError::Read { path: self.plan.path(entry), source };
        let parent = self.plan.parent(entry);
        let folder = match self.folder.take() {
            Some((open, folder)) if open == parent => folder,
            _ => self.plan.open_folder(parent).map_err(read_error)?,
        };
        let file = self.plan.open_file(&folder, entry);
        self.folder = Some((parent, folder));
        let file = file.map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        if !metadata.is_file() || metadata.len() != size {
            return Err(ImageError::Changed { path: self.plan.path(entry) });
        }
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        // Where less is stored than the file is long, there may be holes.
        let extents = Extents { sparse: metadata.blocks() < size.div_ceil(512), data_end: 0 };
        Ok(Opened { file, entry, size, modified, extents })
    }

    /// A file of one block, or empty.
    fn small_file(&mut self, leaf: u32, opened: &Opened, shared: bool) -> Result<(), Stop> {
        if opened.size == 0 {
            // File systems such as proc give files that have content the size 0.
            opened.read_end(self.plan)?;
            self.batch.steps.push(Step::End { leaf, expected: None });
            return Ok(());
        }
        // At most a block.
        let length = opened.size as usize;
        opened.read(0, self.batch.input.room(length), self.plan)?;
        let bytes = self.batch.input.room(length);
        let zero = is_zero(bytes);
        let mut content = None;
        if shared {
            let mut digest = Digest::default();
            if zero {
                digest.holes(1);
            } else {
                digest.block(content.insert(Hash::of(bytes)));
            }
            let digest = digest.finish(opened.size);
            if let Some(&earlier) = self.seen.get(&digest) {
                self.batch.steps.push(Step::Same { leaf, earlier });
                return Ok(());
            }
            self.seen.insert(digest, leaf);
        }
        if zero {
            self.batch.steps.push(Step::Holes { count: 1 });
        } else {
            self.batch.input.used += length;
            self.batch.steps.push(Step::Block(Block::new(length as u32, content)));
        }
        self.batch.steps.push(Step::End { leaf, expected: None });
        Ok(())
    }

    fn large_file(&mut self, leaf: u32, opened: &Opened, shared: bool) -> Result<(), Stop> {
        let expected = match shared {
            true => Some(self.digest(opened)?),
            false => None,
        };
        if let Some(digest) = expected {
            if let Some(&earlier) = self.seen.get(&digest) {
                self.batch.steps.push(Step::Same { leaf, earlier });
                return Ok(());
            }
            self.seen.insert(digest, leaf);
        }
        let (mut offset, mut extents) = (0, opened.extents);
        while offset < opened.size {
            let holes = extents.holes(opened, offset, self.block_size);
            if holes > 0 {
                self.batch.steps.push(Step::Holes { count: holes });
                offset = offset.saturating_add(holes * self.block_size);
                continue;
            }
            // At most a block.
            let length = self.block_size.min(opened.size - offset) as usize;
            opened.read(offset, self.batch.input.room(length), self.plan)?;
            if is_zero(self.batch.input.room(length)) {
                self.batch.steps.push(Step::Holes { count: 1 });
            } else {
                self.batch.input.used += length;
                self.batch.steps.push(Step::Block(Block::new(length as u32, None)));
            }
            offset += length as u64;
            self.send_if_full()?;
        }
        self.batch.steps.push(Step::End { leaf, expected });
        Ok(())
    }

    /// The digest of a file, which is read for it.
    fn digest(&mut self, opened: &Opened) -> Result<Hash, ImageError> {
        let mut digest = Digest::default();
        let (mut offset, mut extents) = (0, opened.extents);
        while offset < opened.size {
            let holes = extents.holes(opened, offset, self.block_size);
            if holes > 0 {
                digest.holes(holes);
                offset = offset.saturating_add(holes * self.block_size);
                continue;
            }
            // At most a block.
            let length = self.block_size.min(opened.size - offset) as usize;
            self.scratch.resize(length, 0);
            opened.read(offset, &mut self.scratch, self.plan)?;
            match is_zero(&self.scratch) {
                true => digest.holes(1),
                false => digest.block(&Hash::of(&self.scratch)),
            }
            offset += length as u64;
        }
        Ok(digest.finish(opened.size))
    }

    fn send_if_full(&mut self) -> Result<(), Stop> {
        if !self.batch.is_full() {
            return Ok(());
        }
        let mut next = self.pool.take().ok_or(Stop::NotWanted)?;
        next.number = self.batch.number + 1;
        let full = std::mem::replace(&mut self.batch, next);
        self.sender.send(full).map_err(|_| Stop::NotWanted)
    }
}

/// An open file of the plan.
struct Opened {
    file: File,
    entry: u32,
    size: u64,
    modified: (i64, i64),
    extents: Extents,
}

impl Opened {
    fn read(&self, offset: u64, buffer: &mut [u8], plan: &Plan) -> Result<(), ImageError> {
        self.file.read_exact_at(buffer, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => ImageError::Changed { path: plan.path(self.entry) },
            _ => ImageError::Read { path: plan.path(self.entry), source },
        })
    }

    /// Finds nothing behind the end.
    fn read_end(&self, plan: &Plan) -> Result<(), ImageError> {
        match self.file.read_at(&mut [0], self.size) {
            Ok(0) => Ok(()),
            Ok(_) => Err(ImageError::Changed { path: plan.path(self.entry) }),
            Err(source) => Err(ImageError::Read { path: plan.path(self.entry), source }),
        }
    }

    fn check_unchanged(&self, plan: &Plan) -> Result<(), ImageError> {
        let same = |now: Metadata| now.len() == self.size && (now.mtime(), now.mtime_nsec()) == self.modified;
        match self.file.metadata().is_ok_and(same) {
            true => Ok(()),
            false => Err(ImageError::Changed { path: plan.path(self.entry) }),
        }
    }
}

/// Where a file has data.
#[derive(Debug, Clone, Copy)]
struct Extents {
    sparse: bool,
    /// Up to here there is data, as far as is known.
    data_end: u64,
}

impl Extents {
    /// Number of blocks at `offset`, the beginning of one, that lie in a hole.
    fn holes(&mut self, opened: &Opened, offset: u64, block_size: u64) -> u64 {
        if !self.sparse || offset < self.data_end {
            return 0;
        }
        let seek = |to| rustix::fs::seek(&opened.file, to);
        let data = match seek(SeekFrom::Data(offset)) {
            Ok(data) => data.min(opened.size),
            // No data is left.
            Err(Errno::NXIO) => opened.size,
            // The file system has no notion of holes: all is data.
            Err(_) => offset,
        };
        self.data_end = seek(SeekFrom::Hole(data)).unwrap_or(u64::MAX).max(data + 1);
        match data == opened.size {
            true => (data - offset).div_ceil(block_size),
            false => data.saturating_sub(offset) / block_size,
        }
    }
}
