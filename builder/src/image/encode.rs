//! Compresses blocks: each thread has one [`Encoder`], whose memory is used again for every block.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use pack_schemas::names::Hash;
use pack_schemas::squashfs::{METADATA_SIZE, MetadataHeader, StoredBlock};
use zstd::bulk::Compressor;
use zstd::zstd_safe::compress_bound;

use super::batch::{Batch, Block, Buffer, ClosesPool, Pool, Step};
use super::store::Found;
use super::{ImageError, Options};

/// Compresses one block at a time.
pub(super) struct Encoder(Compressor<'static>);

impl Encoder {
    pub fn new(level: u8) -> Result<Encoder, ImageError> {
        Compressor::new(level.into()).map(Encoder).map_err(ImageError::Compress)
    }

    /// Appends a block to `output`, compressed if that makes it shorter.
    pub fn encode(&mut self, input: &[u8], output: &mut Buffer) -> Result<StoredBlock, ImageError> {
        // With all the room that there could be need for, an error is a real one, such as lack of memory; taken for a block
        // that does not shrink, it would change the image.
        let room = output.room(compress_bound(input.len()));
        let size = self.0.compress_to_buffer(input, room).map_err(ImageError::Compress)?;
        if size < input.len() {
            output.used += size;
            // A block is at most 1 MiB.
            return Ok(StoredBlock::Compressed { stored: size as u32 });
        }
        Ok(plain(input, output))
    }
}

/// Appends a block as it is.
fn plain(input: &[u8], output: &mut Buffer) -> StoredBlock {
    output.room(input.len()).copy_from_slice(input);
    output.used += input.len();
    StoredBlock::Plain { stored: input.len() as u32 }
}

/// What one compressing thread does: batches as they come, until no more do.
pub(super) fn compress(
    options: &Options<'_>,
    store: Option<&Found>,
    pool: &Pool,
    batches: &Mutex<Receiver<Batch>>,
    sender: &Sender<Batch>,
) {
    let _guard = ClosesPool(pool);
    let mut encoder = Encoder::new(options.level);
    loop {
        // The lock is held while waiting: whoever has it gets the next batch, and the others wait for the lock.
        let next = batches.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(mut batch) = next else { return };
        let result = match &mut encoder {
            Ok(encoder) => compress_batch(&mut batch, encoder, store),
            Err(_) => Err(ImageError::Compress(io::ErrorKind::OutOfMemory.into())),
        };
        if let Err(error) = result {
            batch.steps.clear();
            batch.fault = Some(error);
        }
        if sender.send(batch).is_err() {
            return;
        }
    }
}

fn compress_batch(batch: &mut Batch, encoder: &mut Encoder, store: Option<&Found>) -> Result<(), ImageError> {
    let mut rest = batch.input.filled();
    for step in &mut batch.steps {
        let Step::Block(block) = step else { continue };
        let (bytes, after) = rest.split_at(block.length as usize);
        rest = after;
        compress_block(block, bytes, &mut batch.output, encoder, store)?;
    }
    Ok(())
}

fn compress_block(
    block: &mut Block,
    bytes: &[u8],
    output: &mut Buffer,
    encoder: &mut Encoder,
    store: Option<&Found>,
) -> Result<(), ImageError> {
    let content = *block.content.get_or_insert_with(|| Hash::of(bytes));
    if let Some((stored, hash)) = store.and_then(|store| store.find(&content, output)) {
        (block.stored, block.stored_hash) = (StoredBlock::Compressed { stored }, hash);
        return Ok(());
    }
    let before = output.used;
    block.stored = match store.is_some_and(|store| store.is_plain(&content)) {
        true => plain(bytes, output),
        false => encoder.encode(bytes, output)?,
    };
    block.stored_hash = match block.stored {
        StoredBlock::Plain { .. } => content,
        _ => Hash::of(&output.filled()[before..]),
    };
    Ok(())
}

/// Compresses metadata blocks, each with its header, on several threads; all but the last have [`METADATA_SIZE`] bytes.
pub(super) fn metadata_blocks(bytes: &[u8], options: &Options<'_>) -> Result<Vec<Vec<u8>>, ImageError> {
    let chunks: Vec<&[u8]> = bytes.chunks(METADATA_SIZE).collect();
    // A thread is worth a few blocks.
    let threads = options.parallel.get().min(chunks.len().div_ceil(4)).max(1);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Vec<u8>)>, ImageError> {
        let mut encoder = Encoder::new(options.level)?;
        let (mut done, mut buffer) = (Vec::new(), Buffer::default());
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(chunk) = chunks.get(at) else { return Ok(done) };
            buffer.used = 0;
            let stored = encoder.encode(chunk, &mut buffer)?;
            let compressed = matches!(stored, StoredBlock::Compressed { .. });
            // At most METADATA_SIZE.
            let header = MetadataHeader { stored: stored.stored() as u16, compressed };
            done.push((at, [&header.to_bytes()[..], buffer.filled()].concat()));
        }
    };
    let mut blocks = thread::scope(|scope| -> Result<Vec<(usize, Vec<u8>)>, ImageError> {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut blocks = work()?;
        for other in others {
            match other.join() {
                Ok(more) => blocks.extend(more?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(blocks)
    })?;
    blocks.sort_unstable_by_key(|(at, _)| *at);
    Ok(blocks.into_iter().map(|(_, block)| block).collect())
}
