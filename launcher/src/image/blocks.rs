//! Blocks of an image, decompressed and cached.

use std::cell::RefCell;
use std::sync::Arc;

use pack_schemas::squashfs::{METADATA_HEADER_SIZE, METADATA_SIZE, MetadataHeader, StoredBlock, Superblock};

use super::cache::{Cache, Weighed};
use super::compression::Codec;
use super::{BlockSource, CacheSize, ImageError};

/// The contents of a metadata block.
pub(super) struct MetadataBlock {
    pub(super) contents: Box<[u8]>,
    /// Where the block after it lies, counted from the start of the image.
    pub(super) next: u64,
}

/// A block of a file, or a fragment block. All of it is the key of the cache: a hostile image can name the same bytes
/// in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DataBlock {
    /// Where it lies, counted from the start of the image.
    pub(super) start: u64,
    pub(super) stored: u32,
    pub(super) compressed: bool,
    pub(super) size: BlockLength,
}

/// How long a data block must be once it is decompressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum BlockLength {
    /// A block of a file.
    Exactly(u32),
    /// A fragment block.
    AtMost(u32),
}

/// The pieces of lists that are kept in the cache.
const LIST_PIECE: u64 = 4096;

/// An image as its blocks.
pub(super) struct Blocks {
    source: Arc<dyn BlockSource>,
    codec: Codec,
    metadata: Cache<u64, MetadataBlock>,
    data: Cache<DataBlock, Box<[u8]>>,
    /// Pieces of the lists that tables begin with, by where they lie.
    lists: Cache<u64, Box<[u8]>>,
}

impl Blocks {
    pub(super) fn new(
        source: Arc<dyn BlockSource>,
        superblock: &Superblock,
        cache: CacheSize,
    ) -> Result<Blocks, ImageError> {
        Ok(Blocks {
            source,
            codec: Codec::of(superblock.compressor)?,
            // Walking folders needs the metadata again and again, reading files hardly ever the same block twice.
            metadata: Cache::new(cache.bytes / 4),
            data: Cache::new(cache.bytes / 16 * 11),
            lists: Cache::new(cache.bytes / 16),
        })
    }

    pub(super) fn source(&self) -> &dyn BlockSource {
        &*self.source
    }

    /// The metadata block that lies at `offset` in the image.
    pub(super) fn metadata(&self, offset: u64) -> Result<Arc<MetadataBlock>, ImageError> {
        self.metadata.get_or_load(offset, || {
            let block = self.load_metadata(offset)?;
            let weight = block.contents.len() + 64;
            Ok(Weighed { value: block, weight })
        })
    }

    /// Whether the metadata block that lies at `offset` is at hand, decompressed.
    pub(super) fn holds_metadata(&self, offset: u64) -> bool {
        self.metadata.holds(offset)
    }

    fn load_metadata(&self, offset: u64) -> Result<MetadataBlock, ImageError> {
        let mut stored = [0; METADATA_HEADER_SIZE + METADATA_SIZE];
        let mut there = self.source.read_some(offset, &mut stored)?;
        if there < METADATA_HEADER_SIZE {
            self.source.read_exact(offset, &mut stored[..METADATA_HEADER_SIZE])?;
            there = METADATA_HEADER_SIZE;
        }
        let header = MetadataHeader::parse([stored[0], stored[1]])
            .map_err(|error| ImageError::Format { offset, error })?;
        let end = METADATA_HEADER_SIZE + usize::from(header.stored);
        if there < end {
            self.source.read_exact(offset, &mut stored[..end])?;
        }
        let stored = &stored[METADATA_HEADER_SIZE..end];
        let contents = if header.compressed {
            let mut contents = [0; METADATA_SIZE];
            let size = self.codec.decompress(offset, stored, &mut contents)?;
            contents[..size].into()
        } else {
            stored.into()
        };
        // The whole block was read, so its end lies within the image.
        Ok(MetadataBlock { contents, next: offset + header.disk_size() })
    }

    /// The contents of a data block, through the cache.
    pub(super) fn data(&self, block: DataBlock) -> Result<Arc<Box<[u8]>>, ImageError> {
        self.data.get_or_load(block, || {
            let (BlockLength::Exactly(size) | BlockLength::AtMost(size)) = block.size;
            let mut contents = vec![0; size as usize];
            let size = self.load_data(block, &mut contents)?;
            contents.truncate(size);
            Ok(Weighed { weight: size + 64, value: contents.into_boxed_slice() })
        })
    }

    /// Fills `output` with the contents of a block of a file that somebody wants whole and so will not want again:
    /// copied from the cache if it is there, decompressed in place if not, and kept only where others wait for it.
    /// `output` has the length that `block` says exactly.
    pub(super) fn data_in_place(&self, block: DataBlock, output: &mut [u8]) -> Result<(), ImageError> {
        self.data.load_in_place(
            block,
            output,
            |contents, output| output.copy_from_slice(contents),
            |output| self.load_data(block, output).map(drop),
            |output| Weighed { weight: output.len() + 64, value: output.into() },
        )
    }

    fn load_data(&self, block: DataBlock, output: &mut [u8]) -> Result<usize, ImageError> {
        let offset = block.start;
        let decompressed = |reason| ImageError::Decompress { offset, reason };
        let size = if block.compressed {
            with_scratch(block.stored as usize, |stored| {
                self.source.read_exact(offset, stored)?;
                self.codec.decompress(offset, stored, output)
            })?
        } else {
            let plain = output.get_mut(..block.stored as usize).ok_or(decompressed("it is too long"))?;
            self.source.read_exact(offset, plain)?;
            plain.len()
        };
        match block.size {
            BlockLength::Exactly(expected) if size != expected as usize => {
                Err(decompressed("it is shorter than its place in the file"))
            }
            _ => Ok(size),
        }
    }

    /// The 8-byte number that stands at `offset` in a list, which is not compressed.
    pub(super) fn list_entry(&self, list: u64, offset: u64) -> Result<u64, ImageError> {
        // Callers ask for entries of a list behind its start, whole entries apart: one never lies across two pieces.
        let piece = list + (offset - list) / LIST_PIECE * LIST_PIECE;
        let bytes = self.lists.get_or_load(piece, || {
            let length = LIST_PIECE.min(self.source.length().saturating_sub(piece));
            let mut bytes = vec![0; length as usize];
            self.source.read_exact(piece, &mut bytes)?;
            Ok(Weighed { weight: bytes.len() + 64, value: bytes.into_boxed_slice() })
        })?;
        let entry = bytes.get((offset - piece) as usize..).and_then(|rest| rest.first_chunk());
        entry.map(|number| u64::from_le_bytes(*number)).ok_or(ImageError::Truncated { offset })
    }
}

impl DataBlock {
    /// Nothing for a hole.
    pub(super) fn new(start: u64, block: StoredBlock, size: BlockLength) -> Option<DataBlock> {
        match block {
            StoredBlock::Sparse => None,
            StoredBlock::Plain { stored } => Some(DataBlock { start, stored, compressed: false, size }),
            StoredBlock::Compressed { stored } => Some(DataBlock { start, stored, compressed: true, size }),
        }
    }
}

thread_local! {
    /// Compressed bytes on their way to the decompressor: at most a block, 1 MiB.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

fn with_scratch<T>(size: usize, use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.len() < size {
            scratch.resize(size, 0);
        }
        use_it(&mut scratch[..size])
    })
}
