//! Reads a table of metadata blocks as the stream of bytes that it is, and finds entries of tables by number.

use std::sync::Arc;

use pack_schemas::squashfs::{METADATA_SIZE, Reference, Table};

use super::ImageError;
use super::blocks::{Blocks, MetadataBlock};

/// A stretch of metadata blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Where its first block lies, counted from the start of the image.
    pub(super) start: u64,
    /// Where its last block ends at the latest.
    pub(super) end: u64,
}

/// A place in a stretch: where the block lies in the image, and the offset in its contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) block: u64,
    pub(super) offset: usize,
}

impl Stretch {
    /// Most bytes that the blocks from `place` on can hold: the smallest block takes 3 bytes.
    pub(super) fn bytes_after(&self, place: Place) -> u64 {
        (self.end.saturating_sub(place.block) / 3 + 1).saturating_mul(METADATA_SIZE as u64)
    }
}

/// Reads on from a place.
pub(super) struct Cursor<'a> {
    blocks: &'a Blocks,
    stretch: Stretch,
    start: u64,
    block: Arc<MetadataBlock>,
    offset: usize,
}

impl<'a> Cursor<'a> {
    /// Begins at a reference, which counts from the start of the stretch.
    pub(super) fn at(
        blocks: &'a Blocks,
        stretch: Stretch,
        reference: Reference,
    ) -> Result<Cursor<'a>, ImageError> {
        let block = stretch.start.saturating_add(reference.block);
        Cursor::at_place(blocks, stretch, Place { block, offset: usize::from(reference.offset) })
    }

    /// Begins at a place.
    pub(super) fn at_place(
        blocks: &'a Blocks,
        stretch: Stretch,
        place: Place,
    ) -> Result<Cursor<'a>, ImageError> {
        if place.block < stretch.start || place.block >= stretch.end {
            return Err(ImageError::malformed(place.block, "reference", "it points outside of its table"));
        }
        let block = blocks.metadata(place.block)?;
        // The end of a block is a place as well: that of the next block's first byte.
        if place.offset > block.contents.len() {
            return Err(ImageError::malformed(place.block, "reference", "it points outside of its block"));
        }
        Ok(Cursor { blocks, stretch, start: place.block, block, offset: place.offset })
    }

    /// Where it stands.
    pub(super) fn place(&self) -> Place {
        Place { block: self.start, offset: self.offset }
    }

    /// Whether no byte is left in the stretch.
    pub(super) fn at_end(&self) -> bool {
        self.offset == self.block.contents.len() && self.block.next >= self.stretch.end
    }

    /// Returns up to `wanted` bytes without moving on: fewer only where the stretch ends. `scratch`, of at least that
    /// many bytes, takes them where they lie across two blocks.
    pub(super) fn peek<'s>(
        &'s mut self,
        wanted: usize,
        scratch: &'s mut [u8],
    ) -> Result<&'s [u8], ImageError> {
        if self.offset == self.block.contents.len() && !self.at_end() {
            self.next_block()?;
        }
        if self.block.contents.len() - self.offset >= wanted {
            return Ok(&self.block.contents[self.offset..self.offset + wanted]);
        }
        let mut ahead = Cursor { block: Arc::clone(&self.block), ..*self };
        let mut done = 0;
        while done < wanted && !ahead.at_end() {
            done += ahead.copy_some(&mut scratch[done..wanted])?;
        }
        Ok(&scratch[..done])
    }

    /// Fills `buffer` and moves on.
    pub(super) fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ImageError> {
        let mut done = 0;
        while done < buffer.len() {
            done += self.copy_some(&mut buffer[done..])?;
        }
        Ok(())
    }

    /// Takes a number of bytes known at compile time.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        let mut bytes = [0; N];
        match self.block.contents[self.offset..].first_chunk() {
            Some(chunk) => {
                bytes = *chunk;
                self.offset += N;
            }
            None => self.read_exact(&mut bytes)?,
        }
        Ok(bytes)
    }

    /// Moves on by `count` bytes.
    pub(super) fn skip(&mut self, mut count: u64) -> Result<(), ImageError> {
        loop {
            let here = self.block.contents.len() - self.offset;
            if count <= here as u64 {
                // At most `here`, so it fits.
                self.offset += count as usize;
                return Ok(());
            }
            count -= here as u64;
            self.next_block()?;
        }
    }

    fn copy_some(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        if self.offset == self.block.contents.len() {
            self.next_block()?;
        }
        let rest = &self.block.contents[self.offset..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.offset += count;
        Ok(count)
    }

    fn next_block(&mut self) -> Result<(), ImageError> {
        let next = self.block.next;
        if next >= self.stretch.end {
            return Err(ImageError::malformed(self.start, "table", "it ends within an entry"));
        }
        self.block = self.blocks.metadata(next)?;
        (self.start, self.offset) = (next, 0);
        Ok(())
    }
}

impl Blocks {
    /// The entry of a table with the given number, or nothing where the table has no such entry.
    pub(super) fn table_entry<const N: usize>(
        &self,
        table: &Table,
        number: u64,
    ) -> Result<Option<[u8; N]>, ImageError> {
        let Some((list_entry, offset)) = table.find(number) else { return Ok(None) };
        let place = Place { block: self.list_entry(table.list, list_entry)?, offset };
        // The blocks of a table lie before its list.
        let mut cursor = Cursor::at_place(self, Stretch { start: 0, end: table.list }, place)?;
        cursor.take().map(Some)
    }
}
