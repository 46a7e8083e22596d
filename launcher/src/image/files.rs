//! Contents of files: finding the block of an offset, reading, and finding holes.
//!
//! A file's inode is followed by the stored size of each of its blocks; a block lies behind the ones before it, so its
//! place is a sum. A file with many blocks gets a [`FileMap`]: the sum at every so many blocks, taken as far as
//! anybody read.

use std::sync::{Mutex, PoisonError};

use pack_schemas::squashfs::{File, FragmentEntry, InodeDetail, StoredBlock, Table, block_count};

use super::blocks::{BlockLength, DataBlock};
use super::cache::Weighed;
use super::metadata::{Cursor, Place};
use super::{ImageError, Node, Reader};

/// What [`Reader::seek`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// Bytes that are stored.
    Data,
    /// A hole, or the end of the file.
    Hole,
}

/// Blocks between two sums of a map, unless that made too many.
const STRIDE_LEAST: u64 = 512;
/// Most sums of a map.
const SUMS_MOST: u64 = 2048;

/// Sums of the sizes of a file's blocks.
pub(super) struct FileMap {
    /// Blocks between two sums.
    stride: u64,
    sums: Mutex<Vec<Mark>>,
}

/// A block of a file: where its size word stands, and where it lies in the image.
#[derive(Debug, Clone, Copy)]
struct Mark {
    word: Place,
    start: u64,
}

impl Reader {
    /// Reads from `offset` on into `buffer` and returns how many bytes that gave: fewer than asked for only at the end
    /// of the file. Nothing is read where `node` is no file.
    ///
    /// # Errors
    /// [`ImageError`] where a block cannot be read; what stands in `buffer` then must not be used.
    pub fn read(&self, node: &Node, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let InodeDetail::File(file) = node.inode.detail else { return Ok(0) };
        let rest = usize::try_from(file.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = buffer.len().min(rest);
        if length == 0 {
            return Ok(0);
        }
        let mut output = &mut buffer[..length];
        let block_size = u64::from(self.superblock.block_size);
        let mut walk = BlockWalk::at(self, node, &file, offset / block_size)?;
        let mut at = offset;
        while !output.is_empty() {
            let block_start = at / block_size * block_size;
            // The block size is at most 1 MiB, and what is left of the file bounds it further.
            let size = block_size.min(file.size - block_start) as usize;
            let within = (at - block_start) as usize;
            let (part, later) = output.split_at_mut((size - within).min(output.len()));
            match walk.next()? {
                Piece::Hole => part.fill(0),
                Piece::Block(block) if part.len() == size => self.blocks.data_in_place(block, part)?,
                Piece::Block(block) => {
                    let contents = self.blocks.data(block)?;
                    part.copy_from_slice(&contents[within..within + part.len()]);
                }
                Piece::Fragment { number, offset } => {
                    self.read_fragment(number, u64::from(offset) + within as u64, part)?;
                }
            }
            at += part.len() as u64;
            output = later;
        }
        Ok(length)
    }

    fn read_fragment(&self, number: u32, offset: u64, part: &mut [u8]) -> Result<(), ImageError> {
        let outside = ImageError::malformed(
            self.superblock.fragment_table.unwrap_or_default(),
            "inode",
            "it refers to a fragment that is not there",
        );
        let block_size = self.superblock.block_size;
        let list = self.superblock.fragment_table.ok_or(outside)?;
        let entries = u64::from(self.superblock.fragments);
        let table = Table { list, entries, entry_size: Table::FRAGMENT_SIZE };
        let entry: [u8; Table::FRAGMENT_SIZE] =
            self.blocks.table_entry(&table, u64::from(number))?.ok_or(outside)?;
        let entry = FragmentEntry::parse(&entry, block_size)
            .map_err(|error| ImageError::Format { offset: list, error })?;
        let block =
            DataBlock::new(entry.start, entry.block, BlockLength::AtMost(block_size)).ok_or(outside)?;
        let contents = self.blocks.data(block)?;
        let from = usize::try_from(offset).ok();
        let found = from.and_then(|from| contents.get(from..)?.get(..part.len())).ok_or(outside)?;
        part.copy_from_slice(found);
        Ok(())
    }

    /// Finds the first byte at or after `offset` that is data, or in a hole, as lseek(2) does with SEEK_DATA and
    /// SEEK_HOLE: the end of the file is a hole. Nothing where there is none, or `node` is no file.
    ///
    /// # Errors
    /// [`ImageError`] where the list of the file's blocks cannot be read.
    pub fn seek(&self, node: &Node, offset: u64, what: Seek) -> Result<Option<u64>, ImageError> {
        let InodeDetail::File(file) = node.inode.detail else { return Ok(None) };
        if offset >= file.size {
            return Ok(None);
        }
        let block_size = u64::from(self.superblock.block_size);
        let mut walk = BlockWalk::at(self, node, &file, offset / block_size)?;
        let mut at = offset;
        while at < file.size {
            let hole = matches!(walk.next()?, Piece::Hole);
            if hole == (what == Seek::Hole) {
                return Ok(Some(at));
            }
            // At most the size rounded up to a block: no overflow, as the size is less than 2⁶³.
            at = (at / block_size + 1) * block_size;
        }
        Ok((what == Seek::Hole).then_some(file.size))
    }

    /// Where block `number` of a file lies, one of its `count`.
    fn mark(&self, node: &Node, file: &File, number: u64, count: u64) -> Result<Mark, ImageError> {
        let first = Mark { word: node.tail, start: file.blocks };
        if count <= STRIDE_LEAST {
            return self.step(first, number);
        }
        let map = self.maps.get_or_load(node.reference, || {
            let stride = STRIDE_LEAST.max(count.div_ceil(SUMS_MOST));
            // What it can grow to.
            let weight = (count / stride + 1) as usize * size_of::<Mark>();
            Ok(Weighed { value: FileMap { stride, sums: Mutex::new(vec![first]) }, weight })
        })?;
        let wanted = number / map.stride;
        let (mut known, mut mark) = {
            let sums = map.sums.lock().unwrap_or_else(PoisonError::into_inner);
            let last = sums.len() as u64 - 1;
            let known = wanted.min(last);
            (known, sums[known as usize])
        };
        while known < wanted {
            mark = self.step(mark, map.stride)?;
            known += 1;
            let mut sums = map.sums.lock().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have been faster.
            if sums.len() as u64 == known {
                sums.push(mark);
            }
        }
        self.step(mark, number % map.stride)
    }

    /// Goes on by `count` blocks.
    fn step(&self, mut mark: Mark, count: u64) -> Result<Mark, ImageError> {
        if count == 0 {
            return Ok(mark);
        }
        let mut cursor = Cursor::at_place(&self.blocks, self.inodes(), mark.word)?;
        for _ in 0..count {
            mark = self.read_word(&mut cursor, mark.start)?.1;
        }
        Ok(mark)
    }

    /// Reads a size word: the block that it describes, which lies at `start`, and the mark of the one after it.
    fn read_word(&self, cursor: &mut Cursor<'_>, start: u64) -> Result<(StoredBlock, Mark), ImageError> {
        let offset = cursor.place().block;
        let word = u32::from_le_bytes(cursor.take()?);
        let block = StoredBlock::parse(word, self.superblock.block_size)
            .map_err(|error| ImageError::Format { offset, error })?;
        let start = start.checked_add(u64::from(block.stored())).ok_or(ImageError::malformed(
            offset,
            "inode",
            "a block lies past 64 bits",
        ))?;
        Ok((block, Mark { word: cursor.place(), start }))
    }
}

/// What stands at a place in a file.
enum Piece {
    Hole,
    Block(DataBlock),
    /// Offset of the file's part in the fragment.
    Fragment {
        number: u32,
        offset: u32,
    },
}

/// Goes through the blocks of a file.
struct BlockWalk<'a> {
    reader: &'a Reader,
    file: File,
    cursor: Cursor<'a>,
    start: u64,
    number: u64,
    count: u64,
}

impl<'a> BlockWalk<'a> {
    fn at(reader: &'a Reader, node: &Node, file: &File, number: u64) -> Result<BlockWalk<'a>, ImageError> {
        let count = block_count(file, reader.superblock.block_size);
        // Found out here, before anybody steps through words that cannot be there.
        if count.saturating_mul(4) > reader.inodes().bytes_after(node.tail) {
            let rule = "it has more blocks than the inode table can hold";
            return Err(ImageError::malformed(node.tail.block, "inode", rule));
        }
        let mark = reader.mark(node, file, number.min(count), count)?;
        let cursor = Cursor::at_place(&reader.blocks, reader.inodes(), mark.word)?;
        Ok(BlockWalk { reader, file: *file, cursor, start: mark.start, number, count })
    }

    fn next(&mut self) -> Result<Piece, ImageError> {
        let number = self.number;
        self.number += 1;
        if number >= self.count
            && let Some((number, offset)) = self.file.fragment
        {
            return Ok(Piece::Fragment { number, offset });
        }
        let (block, after) = self.reader.read_word(&mut self.cursor, self.start)?;
        let block_size = u64::from(self.reader.superblock.block_size);
        // Nobody asks for a block behind the end of the file.
        let size = block_size.min(self.file.size.saturating_sub(number * block_size)) as u32;
        let block = DataBlock::new(self.start, block, BlockLength::Exactly(size));
        self.start = after.start;
        Ok(block.map_or(Piece::Hole, Piece::Block))
    }
}
