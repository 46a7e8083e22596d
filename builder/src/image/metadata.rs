//! A table of metadata blocks in the making: pieces of 8 KiB, each compressed on its own.

use pack_schemas::squashfs::{METADATA_SIZE, Reference};

use super::{ImageError, Options, encode};

/// What comes together before it is compressed: enough to keep all threads busy.
const PENDING_MOST: usize = 4 << 20;

/// A table.
#[derive(Default)]
pub(super) struct Table {
    /// What is not compressed yet; it begins at the beginning of a block.
    pending: Vec<u8>,
    /// The blocks, compressed, with their headers.
    blocks: Vec<Vec<u8>>,
    /// Where each block begins, counted from the beginning of the table, and where the next one will.
    starts: Vec<u64>,
}

/// A place in a table, before anybody knows where its block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the block.
    pub block: u32,
    pub offset: u16,
}

impl Table {
    /// Where the next byte will be.
    pub fn position(&self) -> Position {
        // An image has fewer than 2³² inodes, and the folders of an image at most 2³² names of less than a block.
        let block = (self.blocks.len() + self.pending.len() / METADATA_SIZE) as u32;
        Position { block, offset: (self.pending.len() % METADATA_SIZE) as u16 }
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8], options: &Options<'_>) -> Result<(), ImageError> {
        self.pending.extend_from_slice(bytes);
        match self.pending.len() >= PENDING_MOST {
            true => self.compress_full(options),
            false => Ok(()),
        }
    }

    /// Compresses all full blocks: then it is known where each block begins that has a byte.
    pub fn compress_full(&mut self, options: &Options<'_>) -> Result<(), ImageError> {
        let full = self.pending.len() / METADATA_SIZE * METADATA_SIZE;
        self.compress(full, options)
    }

    /// Compresses the rest, and returns all blocks.
    pub fn finish(mut self, options: &Options<'_>) -> Result<Vec<Vec<u8>>, ImageError> {
        self.compress(self.pending.len(), options)?;
        Ok(self.blocks)
    }

    fn compress(&mut self, length: usize, options: &Options<'_>) -> Result<(), ImageError> {
        for block in encode::metadata_blocks(&self.pending[..length], options)? {
            let next = self.next_start() + block.len() as u64;
            self.starts.push(next);
            self.blocks.push(block);
        }
        self.pending.drain(..length);
        Ok(())
    }

    fn next_start(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Where a block begins. All blocks before it have been compressed.
    pub fn start_of(&self, block: u32) -> u64 {
        match block.checked_sub(1) {
            Some(before) => self.starts.get(before as usize).copied().unwrap_or(self.next_start()),
            None => 0,
        }
    }

    /// A place as the image names it.
    pub fn reference(&self, position: Position) -> Reference {
        Reference { block: self.start_of(position.block), offset: position.offset }
    }
}
