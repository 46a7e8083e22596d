//! Cuts an image into spans for its index, along its compressed blocks.
//!
//! A block of [`Kind::target`] bytes or more is a span of its own, so that a reader checks exactly what it decompresses.
//! Smaller neighbours of one kind share a span of up to twice that: a span costs 36 bytes of the index, and an image of
//! very many small files would otherwise have an index as large as itself. Where such a span ends is drawn from the hashes
//! of its blocks, with odds that make spans of the target's length on average: so blocks that two versions of an image
//! share come to lie in the same spans again soon behind a difference, and most spans have the same hash in both.
//!
//! [`hash`] does that for any image that is there: it reads it once from front to back, the inode table a second time, and
//! memory grows by 24 bytes for each block. Who writes an image knows its blocks and hands them to a [`Cutter`] meanwhile.

use std::ops::Range;
use std::sync::Arc;

use pack_schemas::index::Span;
use pack_schemas::names::Hash;
use pack_schemas::squashfs::{
    AttributeTable, FragmentEntry, INODE_SIZE_MOST, Inode, InodeDetail, METADATA_HEADER_SIZE, MetadataHeader,
    Reference, SUPERBLOCK_SIZE, StoredBlock, Superblock, Table, block_count,
};

use super::metadata::Cursor;
use super::{BlockSource, CacheSize, ImageError, Reader};

/// What belongs to no block, padding mostly, is cut after this many bytes.
const GAP_PIECE: u64 = 1 << 20;
/// Spans are read in stretches of this many bytes to be hashed.
const READ_AT_ONCE: usize = 4 << 20;
/// Longest span that holds several blocks.
pub(super) const SHARED_SPAN_MOST: usize = 2 * DATA_TARGET as usize;

const DATA_TARGET: u32 = 16 << 10;
const METADATA_TARGET: u32 = 8 << 10;

/// What a block holds. Blocks of two kinds never share a span: a walk of folders is not to hash the contents of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Superblock, tables and lists.
    Metadata,
    /// Contents of files.
    Data,
    /// What belongs to no block.
    Gap,
}

impl Kind {
    /// The length from which on a block is a span of its own.
    fn target(self) -> u32 {
        match self {
            Kind::Metadata => METADATA_TARGET,
            Kind::Data => DATA_TARGET,
            Kind::Gap => 0,
        }
    }
}

/// A block of an image, or a piece of a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    start: u64,
    end: u64,
    kind: Kind,
}

impl Block {
    fn metadata(start: u64, end: u64) -> Block {
        Block { start, end, kind: Kind::Metadata }
    }
}

/// Cuts an image into spans and hashes them. `progress` is called now and then with the number of bytes done.
///
/// # Errors
/// [`ImageError`] where the image cannot be read or is malformed; two blocks that overlap without being the same
/// block count as that.
pub fn hash(source: &Arc<dyn BlockSource>, progress: &mut dyn FnMut(u64)) -> Result<Vec<Span>, ImageError> {
    let blocks = cut(source)?;
    let mut cutter = Cutter::at(0);
    let mut buffer = Vec::new();
    let mut rest = &blocks[..];
    while let Some(first) = rest.first() {
        let count = rest.partition_point(|block| block.end - first.start <= READ_AT_ONCE as u64).max(1);
        let (now, later) = rest.split_at(count);
        let end = now[count - 1].end;
        // A piece is at most a block, and what is read at once at most READ_AT_ONCE.
        buffer.resize((end - first.start) as usize, 0);
        source.read_exact(first.start, &mut buffer)?;
        for block in now {
            let bytes = (block.start - first.start) as usize..(block.end - first.start) as usize;
            let bytes = &buffer[bytes];
            cutter.add(block.kind, bytes, Hash::of(bytes));
        }
        progress(end);
        rest = later;
    }
    Ok(cutter.finish())
}

/// Makes spans of the blocks of an image, which it is given in their order and without gaps.
#[derive(Debug)]
pub struct Cutter {
    start: u64,
    spans: Vec<Span>,
    /// The bytes of the span that is growing, at most [`SHARED_SPAN_MOST`], and what its blocks are.
    growing: Vec<u8>,
    kind: Option<Kind>,
}

impl Cutter {
    /// Begins at an offset of the image where a span begins, because the block before is of another kind, or there is none.
    pub fn at(start: u64) -> Cutter {
        Cutter { start, spans: Vec::new(), growing: Vec::new(), kind: None }
    }

    /// Adds the next block, at most 1 MiB, whose hash is `hash`; what belongs to no block comes in pieces of 1 MiB and a last
    /// one.
    pub fn add(&mut self, kind: Kind, bytes: &[u8], hash: Hash) {
        let target = kind.target() as usize;
        if self.kind != Some(kind) || self.growing.len() + bytes.len() > 2 * target {
            self.end();
        }
        if bytes.len() >= target {
            self.end();
            return self.push(bytes.len(), hash);
        }
        self.kind = Some(kind);
        self.growing.extend_from_slice(bytes);
        let draw = u32::from_le_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]]);
        // One in target / length: as many bytes as the target has, on average, from one end to the next.
        if u64::from(draw) * (target as u64) < (bytes.len() as u64) << 32 {
            self.end();
        }
    }

    /// The spans of all that was added.
    pub fn finish(mut self) -> Vec<Span> {
        self.end();
        self.spans
    }

    fn end(&mut self) {
        if !self.growing.is_empty() {
            self.push(self.growing.len(), Hash::of(&self.growing));
            self.growing.clear();
        }
    }

    fn push(&mut self, length: usize, hash: Hash) {
        let start = self.spans.last().map_or(self.start, Span::end);
        // At most a block or GAP_PIECE, 1 MiB.
        self.spans.push(Span { start, length: length as u32, hash });
    }
}

/// Cuts an image into its blocks and pieces of what is between them, in order, without gap or overlap.
fn cut(source: &Arc<dyn BlockSource>) -> Result<Vec<Block>, ImageError> {
    let reader = Reader::open(Arc::clone(source), CacheSize { bytes: 1 << 20 })?;
    let mut blocks = Vec::new();
    structures(&reader, &mut blocks)?;
    file_blocks(&reader, &mut blocks)?;
    blocks.sort_unstable();
    // Files with the same contents share blocks.
    blocks.dedup_by_key(|block| (block.start, block.end));
    cover(&blocks, source.length())
}

/// Fills the gaps between sorted blocks.
fn cover(blocks: &[Block], length: u64) -> Result<Vec<Block>, ImageError> {
    let mut covered = Vec::with_capacity(blocks.len() + 16);
    let mut end = 0;
    for block in blocks {
        if block.start < end {
            return Err(ImageError::malformed(block.start, "image", "two blocks overlap"));
        }
        // Before anything is put in the gap, which would be as long as the block is far away.
        if block.end > length {
            return Err(ImageError::Truncated { offset: length });
        }
        fill(&mut covered, end..block.start);
        covered.push(*block);
        end = block.end;
    }
    fill(&mut covered, end..length);
    Ok(covered)
}

fn fill(covered: &mut Vec<Block>, gap: Range<u64>) {
    let mut start = gap.start;
    while start < gap.end {
        let end = gap.end.min(start + GAP_PIECE);
        covered.push(Block { start, end, kind: Kind::Gap });
        start = end;
    }
}

/// The blocks of everything but files: superblock, options, metadata blocks, lists, and fragment blocks.
fn structures(reader: &Reader, blocks: &mut Vec<Block>) -> Result<(), ImageError> {
    let superblock = *reader.superblock();
    blocks.push(Block::metadata(0, SUPERBLOCK_SIZE as u64));
    if superblock.flags.compressor_options() {
        blocks.push(metadata_block(reader, SUPERBLOCK_SIZE as u64)?);
    }
    // Lists, and the blocks that they name.
    for table in tables(reader)? {
        blocks.push(Block::metadata(table.list, table.list.saturating_add(table.list_size())));
        for number in 0..table.blocks() {
            // Each block takes at least 3 bytes of the image and its list entry 8: a false count ends in an error.
            let offset = reader.blocks.list_entry(table.list, table.list + number * 8)?;
            blocks.push(metadata_block(reader, offset)?);
        }
        if table.entry_size == Table::FRAGMENT_SIZE && Some(table.list) == superblock.fragment_table {
            fragment_blocks(reader, &table, blocks)?;
        }
    }
    // Tables without a list reach from their start to the next thing that is known.
    let mut chains = vec![(superblock.inode_table, superblock.directory_table)];
    if let (Some(attributes), Some(header)) = (reader.attribute_table()?, superblock.attribute_table) {
        blocks.push(Block::metadata(header, header + AttributeTable::HEADER_SIZE as u64));
        chains.push((attributes.values, next_start(blocks, attributes.values, superblock.bytes_used)));
    }
    let directory_table = superblock.directory_table;
    let attribute_values = chains.get(1).map_or(superblock.bytes_used, |(values, _)| *values);
    let limit = superblock.directory_table_limit().min(attribute_values.max(directory_table));
    chains.push((directory_table, next_start(blocks, directory_table, limit)));
    for (start, end) in chains {
        let mut offset = start;
        while offset < end {
            let block = metadata_block(reader, offset)?;
            offset = block.end;
            blocks.push(block);
        }
    }
    Ok(())
}

/// The first known block at or after `start`, or `limit`.
fn next_start(blocks: &[Block], start: u64, limit: u64) -> u64 {
    blocks.iter().map(|block| block.start).filter(|&known| known >= start).min().unwrap_or(limit).min(limit)
}

fn tables(reader: &Reader) -> Result<Vec<Table>, ImageError> {
    let superblock = reader.superblock();
    let table = |list, entries: u64, entry_size| Table { list, entries, entry_size };
    let mut tables = vec![table(superblock.id_table, superblock.ids.into(), Table::ID_SIZE)];
    if let Some(list) = superblock.fragment_table {
        tables.push(table(list, superblock.fragments.into(), Table::FRAGMENT_SIZE));
    }
    if let Some(list) = superblock.export_table {
        tables.push(table(list, superblock.inodes.into(), Table::EXPORT_SIZE));
    }
    tables.extend(reader.attribute_table()?.map(|attributes| attributes.sets));
    Ok(tables)
}

fn metadata_block(reader: &Reader, offset: u64) -> Result<Block, ImageError> {
    let mut header = [0; METADATA_HEADER_SIZE];
    reader.blocks.source().read_exact(offset, &mut header)?;
    let header = MetadataHeader::parse(header).map_err(|error| ImageError::Format { offset, error })?;
    // What was read lies in the image.
    Ok(Block::metadata(offset, offset + header.disk_size()))
}

fn fragment_blocks(reader: &Reader, table: &Table, blocks: &mut Vec<Block>) -> Result<(), ImageError> {
    for number in 0..table.entries {
        let Some(entry) = reader.blocks.table_entry::<{ Table::FRAGMENT_SIZE }>(table, number)? else {
            break;
        };
        let entry = FragmentEntry::parse(&entry, reader.superblock().block_size)
            .map_err(|error| ImageError::Format { offset: table.list, error })?;
        push_data(blocks, entry.start, entry.block)?;
    }
    Ok(())
}

/// The data blocks of all files: inodes stand one behind the other in their table.
fn file_blocks(reader: &Reader, blocks: &mut Vec<Block>) -> Result<(), ImageError> {
    let superblock: &Superblock = reader.superblock();
    let mut cursor = Cursor::at(&reader.blocks, reader.inodes(), Reference { block: 0, offset: 0 })?;
    for _ in 0..superblock.inodes {
        let offset = cursor.place().block;
        let mut scratch = [0; INODE_SIZE_MOST];
        let bytes = cursor.peek(INODE_SIZE_MOST, &mut scratch)?;
        let (inode, size) = Inode::parse(bytes).map_err(|error| ImageError::Format { offset, error })?;
        cursor.skip(size as u64)?;
        match inode.detail {
            InodeDetail::File(file) => {
                let mut start = file.blocks;
                for _ in 0..block_count(&file, superblock.block_size) {
                    let word = u32::from_le_bytes(cursor.take()?);
                    let block = StoredBlock::parse(word, superblock.block_size)
                        .map_err(|error| ImageError::Format { offset, error })?;
                    start = push_data(blocks, start, block)?;
                }
            }
            InodeDetail::Symlink { target_size, attributes_follow } => {
                cursor.skip(u64::from(target_size) + if attributes_follow { 4 } else { 0 })?;
            }
            InodeDetail::Directory(directory) => {
                reader.skip_index(&mut cursor, directory.index_entries)?;
            }
            InodeDetail::Device { .. } | InodeDetail::Fifo | InodeDetail::Socket => {}
        }
    }
    Ok(())
}

/// Adds a data block and returns where it ends.
fn push_data(blocks: &mut Vec<Block>, start: u64, block: StoredBlock) -> Result<u64, ImageError> {
    let end = start.checked_add(u64::from(block.stored())).ok_or(ImageError::malformed(
        start,
        "data block",
        "it ends past 64 bits",
    ))?;
    if end > start {
        blocks.push(Block { start, end, kind: Kind::Data });
    }
    Ok(end)
}
