//! Cuts an image into spans for its index: one for each compressed block, so that a reader checks exactly what it
//! decompresses, and a block that two versions share has the same hash in both.
//!
//! The image is read once from front to back, the inode table a second time; memory grows by 16 bytes for each block.

use std::ops::Range;
use std::sync::Arc;

use pack_schemas::index::Span;
use pack_schemas::names::Hash;
use pack_schemas::squashfs::{
    FragmentEntry, INODE_SIZE_MOST, Inode, InodeDetail, METADATA_HEADER_SIZE, MetadataHeader, Reference,
    SUPERBLOCK_SIZE, StoredBlock, Superblock, Table, block_count,
};

use super::metadata::Cursor;
use super::{BlockSource, CacheSize, ImageError, Reader};

/// What belongs to no block, padding mostly, is cut after this many bytes.
const GAP_PIECE: u64 = 1 << 20;
/// Spans are read in stretches of this many bytes to be hashed.
const READ_AT_ONCE: usize = 4 << 20;

/// Cuts an image into the byte ranges of its blocks, in order, without gap or overlap.
///
/// # Errors
/// [`ImageError`] where the image cannot be read or is malformed; two blocks that overlap without being the same
/// block count as that.
pub fn cut(source: &Arc<dyn BlockSource>) -> Result<Vec<Range<u64>>, ImageError> {
    let reader = Reader::open(Arc::clone(source), CacheSize { bytes: 1 << 20 })?;
    let mut blocks = structures(&reader)?;
    file_blocks(&reader, &mut blocks)?;
    blocks.sort_unstable_by_key(|block| (block.start, block.end));
    blocks.dedup();
    cover(&blocks, source.length())
}

/// Cuts an image and hashes each piece. `progress` is called now and then with the number of bytes done.
///
/// # Errors
/// As [`cut`].
pub fn hash(source: &Arc<dyn BlockSource>, progress: &mut dyn FnMut(u64)) -> Result<Vec<Span>, ImageError> {
    let ranges = cut(source)?;
    let mut spans = Vec::with_capacity(ranges.len());
    let mut buffer = Vec::new();
    let mut rest = &ranges[..];
    while let Some(first) = rest.first() {
        let count = rest.partition_point(|range| range.end - first.start <= READ_AT_ONCE as u64).max(1);
        let (now, later) = rest.split_at(count);
        // A piece is at most a block, and what is read at once at most READ_AT_ONCE.
        buffer.resize((now[count - 1].end - first.start) as usize, 0);
        source.read_exact(first.start, &mut buffer)?;
        for range in now {
            let at = (range.start - first.start) as usize;
            let length = (range.end - range.start) as u32;
            let hash = Hash::of(&buffer[at..at + length as usize]);
            spans.push(Span { start: range.start, length, hash });
        }
        progress(now[count - 1].end);
        rest = later;
    }
    Ok(spans)
}

/// Fills the gaps between sorted blocks.
fn cover(blocks: &[Range<u64>], length: u64) -> Result<Vec<Range<u64>>, ImageError> {
    let mut covered = Vec::with_capacity(blocks.len() + 16);
    let mut end = 0;
    for block in blocks {
        if block.start < end {
            return Err(ImageError::malformed(block.start, "image", "two blocks overlap"));
        }
        fill(&mut covered, end..block.start);
        covered.push(block.clone());
        end = block.end;
    }
    if end > length {
        return Err(ImageError::Truncated { offset: length });
    }
    fill(&mut covered, end..length);
    Ok(covered)
}

fn fill(covered: &mut Vec<Range<u64>>, gap: Range<u64>) {
    let mut start = gap.start;
    while start < gap.end {
        let end = gap.end.min(start + GAP_PIECE);
        covered.push(start..end);
        start = end;
    }
}

/// The blocks of everything but files: superblock, options, metadata blocks, lists, and fragment blocks.
fn structures(reader: &Reader) -> Result<Vec<Range<u64>>, ImageError> {
    let superblock = *reader.superblock();
    let mut blocks = Vec::from([Range { start: 0, end: SUPERBLOCK_SIZE as u64 }]);
    if superblock.flags.compressor_options() {
        blocks.push(metadata_block(reader, SUPERBLOCK_SIZE as u64)?);
    }
    // Lists, and the blocks that they name.
    for table in tables(reader)? {
        blocks.push(table.list..table.list.saturating_add(table.list_size()));
        for number in 0..table.blocks() {
            // Each block takes at least 3 bytes of the image and its list entry 8: a false count ends in an error.
            let offset = reader.blocks.list_entry(table.list, table.list + number * 8)?;
            blocks.push(metadata_block(reader, offset)?);
        }
        if table.entry_size == Table::FRAGMENT_SIZE && Some(table.list) == superblock.fragment_table {
            fragment_blocks(reader, &table, &mut blocks)?;
        }
    }
    // Tables without a list reach from their start to the next thing that is known.
    let mut chains = vec![(superblock.inode_table, superblock.directory_table)];
    if let (Some(attributes), Some(header)) = (reader.attribute_table()?, superblock.attribute_table) {
        blocks.push(header..header + pack_schemas::squashfs::AttributeTable::HEADER_SIZE as u64);
        chains.push((attributes.values, next_start(&blocks, attributes.values, superblock.bytes_used)));
    }
    let directory_table = superblock.directory_table;
    let attribute_values = chains.get(1).map_or(superblock.bytes_used, |(values, _)| *values);
    let limit = superblock.directory_table_limit().min(attribute_values.max(directory_table));
    chains.push((directory_table, next_start(&blocks, directory_table, limit)));
    for (start, end) in chains {
        let mut offset = start;
        while offset < end {
            let block = metadata_block(reader, offset)?;
            offset = block.end;
            blocks.push(block);
        }
    }
    Ok(blocks)
}

/// The first known block at or after `start`, or `limit`.
fn next_start(blocks: &[Range<u64>], start: u64, limit: u64) -> u64 {
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

fn metadata_block(reader: &Reader, offset: u64) -> Result<Range<u64>, ImageError> {
    let mut header = [0; METADATA_HEADER_SIZE];
    reader.blocks.source().read_exact(offset, &mut header)?;
    let header = MetadataHeader::parse(header).map_err(|error| ImageError::Format { offset, error })?;
    Ok(offset..offset + header.disk_size())
}

fn fragment_blocks(reader: &Reader, table: &Table, blocks: &mut Vec<Range<u64>>) -> Result<(), ImageError> {
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
fn file_blocks(reader: &Reader, blocks: &mut Vec<Range<u64>>) -> Result<(), ImageError> {
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
fn push_data(blocks: &mut Vec<Range<u64>>, start: u64, block: StoredBlock) -> Result<u64, ImageError> {
    let end = start.checked_add(u64::from(block.stored())).ok_or(ImageError::malformed(
        start,
        "data block",
        "it ends past 64 bits",
    ))?;
    if end > start {
        blocks.push(start..end);
    }
    Ok(end)
}
