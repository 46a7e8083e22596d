//! Writes a folder as a squashfs 4.0 image: the same tree gives the same bytes, wherever and whenever it is written.
//!
//! ```text
//! Plan::of      walks the folder                                  plan.rs
//! write         source.rs ──batches──▶ encode.rs × processors ──▶ output.rs     file, spans of the index, store
//!               reads ahead            compress, or take from     in order
//!                  ▲                   the store (store.rs)          │
//!                  └──────────────── empty batches ◀─────────────────┘         batch.rs
//!               then tables.rs (metadata.rs): inodes and listings; last the superblock
//! read_back     libsquashfs reads it all, and it is compared with the plan      read_back.rs
//! ```
//!
//! What the image keeps of a file: name, content, whether it can be executed, which names are one file. Everything else is
//! normalised:
//!
//! | | in the image |
//! |---|---|
//! | owner and group | 0:0 |
//! | mode | folders 0755; files 0755 where anyone could execute them, else 0644; symbolic links 0777; no set-uid, set-gid or sticky bit |
//! | times | the epoch that the caller gives |
//! | extended attributes | none, so no file capability and no access list either (snapcraft packs with `-no-xattrs` too) |
//! | hard links | names of one inode, as far as they lie in the folder |
//! | equal files | share their blocks |
//! | holes | blocks of zeros take no room |
//!
//! Files have no fragments (a tail shares no block with other tails): a change in one file then changes no block of
//! another, which makes updates several times smaller and the image about 5 % larger.
//!
//! The reader decides what goes into which batch and the writer takes batches in that order, so neither the number of
//! threads nor what the store holds leaves a trace.
//!
//! **Memory**, beside the program's own: some 200 bytes and the name for each entry, 4 bytes for each block, the
//! compressed tables, with a store 100 bytes for each block in it; and for each of N threads the encoder's own (zstd says
//! how much for a level: 1 MiB at 3, 9 MiB at 15, up to some 80 MiB at 22 with 1 MiB blocks) and two batches, each of twice a
//! block or 256 KiB, whichever is more.

mod batch;
mod digest;
mod encode;
mod metadata;
mod output;
mod plan;
mod read_back;
mod source;
mod store;
mod tables;

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::{collections::BTreeMap, thread};

use pack_launcher::image::spans::{Cutter, Kind};
use pack_schemas::index::Span;
use pack_schemas::names::Hash;
use pack_schemas::package::IMAGE_ALIGNMENT;
use pack_schemas::squashfs::{
    Compressor, CompressorOptions, METADATA_HEADER_SIZE, MetadataHeader, SUPERBLOCK_SIZE, Superblock,
    SuperblockFlags,
};
use pack_schemas::text::visible;

use batch::{Batch, ClosesPool, Pool};
use output::{Content, Output};
pub use plan::Plan;
pub use read_back::{ReadBackError, read_back};
use store::Store;
use tables::Tables;

/// Version of the writer: of two with the same number, and the same zstd, each gives the bytes that the other gives.
const WRITER: u32 = 1;
/// The level that readers assume where an image does not name its own, as mksquashfs has it.
const UNSAID_LEVEL: u8 = 15;

/// What decides the bytes of an image beside its tree, level, block size and epoch, as the envelope names it:
/// `pack 1 zstd 1.5.7`. The zstd is the one that is linked into this program.
pub fn encoder() -> String {
    format!("pack {WRITER} zstd {}", zstd::zstd_safe::version_string())
}

/// How to write an image.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Every time in the image, in seconds since 1970.
    pub epoch: u32,
    /// Level of zstd, 1 to 22.
    pub level: u8,
    /// Bytes of a file in one block, a power of two from 4 KiB to 1 MiB.
    pub block_size: u32,
    /// Threads that compress.
    pub parallel: NonZeroUsize,
    /// Folder in which the compressed blocks are kept for the next image. Where it cannot be used, there is none.
    pub blocks: Option<&'a Path>,
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
    /// Something that is no file, folder or symbolic link.
    #[error("`{}` is {kind}, which a package cannot hold", visible(&.path.to_string_lossy()))]
    Special {
        /// Where it is.
        path: PathBuf,
        /// What it is, such as `a socket`.
        kind: &'static str,
    },
    /// Something has no room in the format.
    #[error("`{}` has {what}", visible(&.path.to_string_lossy()))]
    TooLarge {
        /// Where it is.
        path: PathBuf,
        /// What there is too much of.
        what: &'static str,
    },
    /// A file is not what it was when the folder was walked.
    #[error("`{}` changed while it was being packed", visible(&.path.to_string_lossy()))]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// zstd cannot compress, for lack of memory.
    #[error("cannot compress")]
    Compress(#[source] io::Error),
    /// The image cannot be written.
    #[error("cannot write the image")]
    Write {
        /// The system's answer.
        source: io::Error,
    },
    /// A thread has ended before its work was done.
    #[error("a thread that compresses has ended early")]
    Thread,
}

impl ImageError {
    fn write(source: io::Error) -> ImageError {
        ImageError::Write { source }
    }
}

/// How far the writing has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of file content written.
    pub bytes: u64,
    /// Bytes of file content in all.
    pub total_bytes: u64,
    /// Files, folders and symbolic links done.
    pub entries: u64,
    /// Files, folders and symbolic links in all.
    pub total_entries: u64,
}

/// Where progress is told: from the caller's thread, a few times for each MiB.
pub type ProgressSink<'a> = &'a mut dyn FnMut(Progress);

/// A finished image.
#[derive(Debug)]
pub struct Written {
    /// Its length in bytes, a multiple of 4096.
    pub length: u64,
    /// Its spans, as [`pack_launcher::image::spans::hash`] would cut them.
    pub spans: Vec<Span>,
    content: Content,
}

/// Writes the image of a plan to a file open for writing. What the file held is gone.
///
/// # Errors
/// [`ImageError`]; what the file holds is then no image.
pub fn write(
    plan: &Plan,
    file: &File,
    options: &Options<'_>,
    progress: ProgressSink<'_>,
) -> Result<Written, ImageError> {
    file.set_len(0).map_err(ImageError::write)?;
    let mut store = options.blocks.and_then(|folder| Store::open(folder, options));
    let head = options_block(options);
    let data = (SUPERBLOCK_SIZE + head.len()) as u64;
    file.write_all_at(&head, SUPERBLOCK_SIZE as u64).map_err(ImageError::write)?;
    let found = store.as_mut().map(|store| std::mem::take(&mut store.found));
    let mut output = Output::new(plan, file, data, store.as_mut());
    write_blocks(plan, options, found.as_ref(), &mut output, progress)?;
    drop(found);
    let Output { offset, cutter, content, .. } = output;
    let tables = tables::tables(plan, &content, options)?;
    let mut ending = Ending { file, offset, blocks: Vec::new() };
    let superblock = ending.tables(tables, options)?;
    let spans = spans(&superblock, &head, cutter.finish(), &ending.blocks);
    file.write_all_at(&superblock, 0).map_err(ImageError::write)?;
    if let Some(store) = &mut store {
        store.complete();
    }
    progress(Progress {
        bytes: plan.total_bytes(),
        total_bytes: plan.total_bytes(),
        entries: plan.entries(),
        total_entries: plan.entries(),
    });
    Ok(Written { length: ending.offset, spans, content })
}

/// Forgets the compressed blocks in a folder: one of them was not what it was taken for.
pub fn discard_blocks(folder: &Path) {
    Store::discard(folder);
}

/// The compressor's options, where the level is not the one that readers assume: a block that is never compressed.
fn options_block(options: &Options<'_>) -> Vec<u8> {
    if options.level == UNSAID_LEVEL {
        return Vec::new();
    }
    let contents = CompressorOptions::Zstd { level: options.level.into() }.to_bytes();
    let header = MetadataHeader { stored: contents.len() as u16, compressed: false };
    [&header.to_bytes()[..], &contents].concat()
}

/// Reads, compresses and writes the contents of all files.
fn write_blocks(
    plan: &Plan,
    options: &Options<'_>,
    found: Option<&store::Found>,
    output: &mut Output<'_>,
    progress: ProgressSink<'_>,
) -> Result<(), ImageError> {
    let threads = options.parallel.get();
    // Two for each thread, one that is read into and one that is written.
    let pool = Pool::new(threads.saturating_mul(2).saturating_add(2));
    let (read, batches) = mpsc::channel();
    let (compressed, results) = mpsc::channel();
    let batches = Mutex::new(batches);
    thread::scope(|scope| {
        let (pool, batches) = (&pool, &batches);
        scope.spawn(move || {
            let _guard = ClosesPool(pool);
            source::read(plan, options.block_size, pool, read);
        });
        for _ in 0..threads {
            let compressed = compressed.clone();
            scope.spawn(move || encode::compress(options, found, pool, batches, &compressed));
        }
        drop(compressed);
        let result = write_in_order(plan, &results, pool, output, progress);
        // Whoever waits for a batch, or to hand one on, ends.
        pool.close();
        drop(results);
        result
    })
}

/// Writes batches in the order of their numbers until the last.
fn write_in_order(
    plan: &Plan,
    results: &Receiver<Batch>,
    pool: &Pool,
    output: &mut Output<'_>,
    progress: ProgressSink<'_>,
) -> Result<(), ImageError> {
    let mut early = BTreeMap::new();
    for number in 0.. {
        let mut batch = loop {
            match early.remove(&number) {
                Some(batch) => break batch,
                None => {
                    let batch: Batch = results.recv().map_err(|_| ImageError::Thread)?;
                    early.insert(batch.number, batch);
                }
            }
        };
        output.batch(&batch)?;
        if let Some(fault) = batch.fault.take() {
            return Err(fault);
        }
        progress(Progress {
            bytes: output.bytes_done,
            total_bytes: plan.total_bytes(),
            entries: output.entries_done,
            total_entries: plan.entries(),
        });
        if batch.last {
            break;
        }
        pool.give_back(batch);
    }
    Ok(())
}

/// What follows the data blocks.
struct Ending<'a> {
    file: &'a File,
    offset: u64,
    /// All blocks that have been written, with what they are.
    blocks: Vec<(Kind, Vec<u8>)>,
}

impl Ending<'_> {
    /// Writes the tables, and returns the superblock.
    fn tables(&mut self, tables: Tables, options: &Options<'_>) -> Result<[u8; SUPERBLOCK_SIZE], ImageError> {
        let inode_table = self.offset;
        self.write(Kind::Metadata, tables.inodes)?;
        let directory_table = self.offset;
        self.write(Kind::Metadata, tables.directories)?;
        let ids = self.offset;
        let header = MetadataHeader { stored: 4, compressed: false };
        self.write(Kind::Metadata, vec![[&header.to_bytes()[..], &0_u32.to_le_bytes()].concat()])?;
        let id_table = self.offset;
        self.write(Kind::Metadata, vec![ids.to_le_bytes().to_vec()])?;
        let bytes_used = self.offset;
        let padding = bytes_used.next_multiple_of(IMAGE_ALIGNMENT) - bytes_used;
        self.write(Kind::Gap, (padding > 0).then(|| vec![0; padding as usize]).into_iter().collect())?;
        let said = match options.level {
            UNSAID_LEVEL => SuperblockFlags(0),
            _ => SuperblockFlags::COMPRESSOR_OPTIONS,
        };
        let flags = SuperblockFlags::NO_FRAGMENTS
            .with(SuperblockFlags::DUPLICATES)
            .with(SuperblockFlags::NO_ATTRIBUTES)
            .with(said);
        let superblock = Superblock {
            inodes: tables.inode_count,
            made: options.epoch,
            block_size: options.block_size,
            fragments: 0,
            compressor: Compressor::Zstd,
            flags,
            ids: 1,
            root: tables.root,
            bytes_used,
            id_table,
            attribute_table: None,
            inode_table,
            directory_table,
            // There is none; 7-Zip takes it for the end of the listings, and mksquashfs has it there.
            fragment_table: Some(ids),
            export_table: None,
        };
        Ok(superblock.to_bytes())
    }

    fn write(&mut self, kind: Kind, blocks: Vec<Vec<u8>>) -> Result<(), ImageError> {
        let bytes = blocks.concat();
        self.file.write_all_at(&bytes, self.offset).map_err(ImageError::write)?;
        self.offset += bytes.len() as u64;
        self.blocks.extend(blocks.into_iter().map(|block| (kind, block)));
        Ok(())
    }
}

/// The spans of the whole image. Superblock and options come first in it and are known last; where data blocks follow
/// them, which are of another kind, a span ends in between.
fn spans(superblock: &[u8], options: &[u8], data: Vec<Span>, ending: &[(Kind, Vec<u8>)]) -> Vec<Span> {
    let mut cutter = Cutter::at(0);
    let mut spans = Vec::new();
    cutter.add(Kind::Metadata, superblock, Hash::of(superblock));
    if options.len() > METADATA_HEADER_SIZE {
        cutter.add(Kind::Metadata, options, Hash::of(options));
    }
    if let Some(last) = data.last() {
        let tail = Cutter::at(last.end());
        spans = std::mem::replace(&mut cutter, tail).finish();
        spans.extend(data);
    }
    for (kind, block) in ending {
        cutter.add(*kind, block, Hash::of(block));
    }
    spans.extend(cutter.finish());
    spans
}
