//! Writes what was compressed, in order: the file, the spans of its index, the store of blocks, and where the blocks of each
//! file lie.

use std::fs::File;
use std::os::unix::fs::FileExt;

use pack_launcher::image::spans::{Cutter, Kind};
use pack_schemas::names::Hash;
use pack_schemas::squashfs::StoredBlock;

use super::ImageError;
use super::batch::{Batch, Block, Step};
use super::digest::Digest;
use super::plan::Plan;
use super::store::Store;

/// Where the blocks of files lie, and what is in them. Memory: 48 bytes a file, and 4 for each block.
#[derive(Debug)]
pub(super) struct Content {
    /// Size words of all blocks.
    words: Vec<u32>,
    /// For each leaf.
    placed: Vec<Placed>,
    /// For each leaf, what stands for its content.
    digests: Vec<Hash>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Placed {
    /// Offset of the first block in the image.
    start: u64,
    /// Its size word.
    first: usize,
}

/// Where the blocks of one file lie.
pub(super) struct Blocks<'a> {
    /// Offset of the first in the image; 0 where there is none.
    pub start: u64,
    /// Size words.
    pub words: &'a [u32],
    /// Bytes of the file that are in holes.
    pub sparse: u64,
}

impl Content {
    /// The blocks of a leaf that is a file of a size.
    pub fn of(&self, leaf: usize, size: u64, block_size: u32) -> Blocks<'_> {
        let placed = self.placed[leaf];
        // As many as were put there.
        let count = size.div_ceil(block_size.into()) as usize;
        let words = &self.words[placed.first..placed.first + count];
        let holes = words.iter().filter(|word| **word == 0).count();
        let mut sparse = holes as u64 * u64::from(block_size);
        // The last block may be shorter.
        if words.last() == Some(&0) {
            sparse -= (count as u64 * u64::from(block_size)).saturating_sub(size);
        }
        let start = if holes == count { 0 } else { placed.start };
        Blocks { start, words, sparse }
    }

    pub fn digest(&self, leaf: usize) -> Hash {
        self.digests[leaf]
    }
}

/// The image's file, while data blocks are written.
pub(super) struct Output<'a> {
    plan: &'a Plan,
    file: &'a File,
    /// Where the next block will be.
    pub offset: u64,
    pub cutter: Cutter,
    store: Option<&'a mut Store>,
    pub content: Content,
    current: Current,
    /// Bytes of blocks that are done, holes included.
    pub bytes_done: u64,
    /// Bytes of files that are done.
    bytes_of_files: u64,
    /// Names of files that are done.
    pub entries_done: u64,
}

/// The file whose blocks come.
struct Current {
    placed: Placed,
    digest: Digest,
}

impl<'a> Output<'a> {
    pub fn new(plan: &'a Plan, file: &'a File, offset: u64, store: Option<&'a mut Store>) -> Output<'a> {
        let leaves = plan.leaves().len();
        let content = Content {
            words: Vec::new(),
            placed: vec![Placed::default(); leaves],
            digests: vec![Hash([0; 32]); leaves],
        };
        let current = Current { placed: Placed { start: offset, first: 0 }, digest: Digest::default() };
        let cutter = Cutter::at(offset);
        Output {
            plan,
            file,
            offset,
            cutter,
            store,
            content,
            current,
            bytes_done: 0,
            bytes_of_files: 0,
            entries_done: 0,
        }
    }

    /// Writes a batch.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), ImageError> {
        let mut rest = batch.output.filled();
        self.file.write_all_at(rest, self.offset).map_err(ImageError::write)?;
        for step in &batch.steps {
            match step {
                Step::Block(block) => {
                    let (stored, after) = rest.split_at(block.stored.stored() as usize);
                    rest = after;
                    self.block(block, stored);
                }
                Step::Holes { count } => {
                    // A file has fewer than 2²⁶ blocks.
                    let words = self.content.words.len() + *count as usize;
                    self.content.words.resize(words, StoredBlock::Sparse.to_word());
                    self.current.digest.holes(*count);
                }
                Step::End { leaf, expected } => self.end(*leaf, *expected)?,
                Step::Same { leaf, earlier } => {
                    let [leaf, earlier] = [*leaf, *earlier].map(|number| number as usize);
                    self.content.placed[leaf] = self.content.placed[earlier];
                    self.content.digests[leaf] = self.content.digests[earlier];
                    self.done(leaf);
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, block: &Block, stored: &[u8]) {
        let content = block.content.unwrap_or(block.stored_hash);
        self.content.words.push(block.stored.to_word());
        self.cutter.add(Kind::Data, stored, block.stored_hash);
        self.offset += stored.len() as u64;
        self.bytes_done = self.bytes_done.saturating_add(block.length.into());
        self.current.digest.block(&content);
        if let Some(store) = &mut self.store {
            let plain = matches!(block.stored, StoredBlock::Plain { .. });
            store.keep(&content, (!plain).then_some((stored, &block.stored_hash)));
        }
    }

    fn end(&mut self, leaf: u32, expected: Option<Hash>) -> Result<(), ImageError> {
        let number = leaf as usize;
        let size = self.plan.leaves()[number].size();
        let next = Placed { start: self.offset, first: self.content.words.len() };
        let current =
            std::mem::replace(&mut self.current, Current { placed: next, digest: Digest::default() });
        let digest = current.digest.finish(size);
        if expected.is_some_and(|expected| expected != digest) {
            return Err(ImageError::Changed { path: self.plan.path(self.plan.leaves()[number].entry) });
        }
        self.content.placed[number] = current.placed;
        self.content.digests[number] = digest;
        self.done(number);
        Ok(())
    }

    fn done(&mut self, leaf: usize) {
        let leaf = &self.plan.leaves()[leaf];
        // A file with holes, or one that is like another, has had fewer.
        self.bytes_of_files = self.bytes_of_files.saturating_add(leaf.size());
        self.bytes_done = self.bytes_of_files;
        self.entries_done += u64::from(leaf.links);
    }
}
