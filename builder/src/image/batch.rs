//! What goes from the reader through the compressing threads to the writer: some blocks at once, and what lies between them.
//!
//! There is a fixed number of batches ([`Pool`]), each with its buffers, which are used again and again: that bounds the
//! memory, and holds the reader back when the writer does not keep up.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use pack_schemas::names::Hash;
use pack_schemas::squashfs::StoredBlock;

use super::ImageError;

/// A batch is full with this many bytes, or one block.
pub(super) const BATCH_BYTES: usize = 256 << 10;
/// A batch is full with this many steps: very many files can be empty.
pub(super) const BATCH_STEPS: usize = 4096;

/// Consecutive steps of the reader, with the bytes that they are about.
#[derive(Default)]
pub(super) struct Batch {
    /// Batches are numbered from 0 in the order of reading.
    pub number: u64,
    pub steps: Vec<Step>,
    /// The blocks, one behind the other, as they are in the files.
    pub input: Buffer,
    /// The blocks as they will be stored.
    pub output: Buffer,
    /// Why there is nothing more to come after the steps.
    pub fault: Option<ImageError>,
    /// Nothing comes after it.
    pub last: bool,
}

/// What the reader came by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    /// The next block of the file.
    Block(Block),
    /// The next blocks of the file hold nothing but zeros.
    Holes { count: u64 },
    /// The file is at its end. `expected` is the digest that it had when it was read before.
    End { leaf: u32, expected: Option<Hash> },
    /// A file, none of whose blocks came, has the same content as an earlier one.
    Same { leaf: u32, earlier: u32 },
}

/// A block. The compressing threads fill in what the reader does not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    /// Bytes in the file.
    pub length: u32,
    /// Hash of those.
    pub content: Option<Hash>,
    pub stored: StoredBlock,
    /// Hash of the stored bytes.
    pub stored_hash: Hash,
}

impl Block {
    pub fn new(length: u32, content: Option<Hash>) -> Block {
        Block { length, content, stored: StoredBlock::Sparse, stored_hash: Hash([0; 32]) }
    }
}

impl Batch {
    pub fn is_full(&self) -> bool {
        self.input.used >= BATCH_BYTES || self.steps.len() >= BATCH_STEPS
    }

    fn clear(&mut self) {
        self.steps.clear();
        (self.input.used, self.output.used) = (0, 0);
        (self.fault, self.last) = (None, false);
    }
}

/// Bytes that are written over again and again, so that nothing is cleared in between.
#[derive(Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    pub used: usize,
}

impl Buffer {
    /// The bytes in use.
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.used]
    }

    /// Room for `length` bytes behind those in use.
    pub fn room(&mut self, length: usize) -> &mut [u8] {
        let end = self.used + length;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        &mut self.bytes[self.used..end]
    }
}

/// The batches that are free.
pub(super) struct Pool {
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    free: Vec<Batch>,
    closed: bool,
}

impl Pool {
    /// Makes `count` batches.
    pub fn new(count: usize) -> Pool {
        let free = std::iter::repeat_with(Batch::default).take(count).collect();
        Pool { state: Mutex::new(State { free, closed: false }), returned: Condvar::new() }
    }

    /// Waits for a free batch; nothing where the pool is closed.
    pub fn take(&self) -> Option<Batch> {
        let empty = |state: &mut State| state.free.is_empty() && !state.closed;
        let mut state = self.returned.wait_while(self.lock(), empty).unwrap_or_else(PoisonError::into_inner);
        match state.closed {
            true => None,
            false => state.free.pop(),
        }
    }

    pub fn give_back(&self, mut batch: Batch) {
        batch.clear();
        self.lock().free.push(batch);
        self.returned.notify_one();
    }

    /// Ends all waiting: the rest of the work is not wanted.
    pub fn close(&self) {
        self.lock().closed = true;
        self.returned.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the pool when the thread that holds it ends: a thread that panicked would leave the others waiting.
pub(super) struct ClosesPool<'a>(pub &'a Pool);

impl Drop for ClosesPool<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.close();
        }
    }
}
