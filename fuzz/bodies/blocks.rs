//! Input: a compressed block.
//!
//! ```text
//! 0   compressor: 0 gzip, 1 lz4, 2 lzo, 3 xz, 4 zstd; 5 and above: xz, of which the container is made here
//! 1   u16: how long the block should be, in bytes
//! 3   the block as it is stored; where the container of xz is made here:
//!     number of filters, and each filter's id, number of bytes of properties, and those; then what LZMA2 decodes
//! ```
//!
//! The container of xz is full of checksums, which no fuzzer finds: without right ones it never gets to a filter.

use std::sync::Arc;

use pack_launcher::image::{CacheSize, Reader};

use super::memory::Bytes;
use super::xz;
// The same tool that makes the hostile images of the tests.
#[path = "../../launcher/tests/mount_support/forge.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod forge;

/// log2 of the block size: 64 KiB.
const BLOCK_LOG: u16 = 16;

/// Reads a file that has the block alone.
pub fn run(bytes: &[u8]) {
    let Some(([compressor, low, high], rest)) = bytes.split_first_chunk() else { return };
    let size = u32::from(u16::from_le_bytes([*low, *high])) + 1;
    // The superblock's numbers for them.
    let (number, plain, block) = match compressor {
        0 => (1, None, rest.to_vec()),
        1 => (5, None, rest.to_vec()),
        2 => (3, None, rest.to_vec()),
        4 => (6, None, rest.to_vec()),
        3 => (4, None, rest.to_vec()),
        _ => {
            let made = xz::Stream::of(rest);
            (4, made.plain.map(<[u8]>::to_vec), made.bytes)
        }
    };
    // As long as a block may be at most.
    let stored = block.len() as u32;
    if stored == 0 || stored > 1 << BLOCK_LOG {
        return;
    }
    let mut image = forge::Forge::new();
    image.block_log = BLOCK_LOG;
    image.data = block;
    image.lies.push((20, forge::h(number).to_vec()));
    let file = image.file(1, 96, size, &[stored]);
    let image = image.with_root(&[(b"f", file, 2)]);
    let reader = Reader::open(Arc::new(Bytes(image)), CacheSize { bytes: 1 << 20 }).unwrap();
    let node = reader.lookup(&reader.root().unwrap(), b"f").unwrap().unwrap();
    let mut whole = vec![0xa5; size as usize];
    let read = reader.read(&node, 0, &mut whole);
    // In a piece, it goes another way.
    let mut piece = vec![0x5a; size as usize / 2];
    let again = reader.read(&node, 0, &mut piece);
    if size > 1 {
        assert_eq!(read.is_ok(), again.is_ok());
    }
    if read.is_ok() {
        assert_eq!((read, again.ok()), (Ok(size as usize), Some(size as usize / 2)));
        assert_eq!(piece, whole[..piece.len()]);
        assert!(plain.is_none_or(|plain| plain == whole));
    } else if let Some(plain) = plain {
        // What was stored without any filter comes out, if it is as long as it should be.
        assert!(plain.len() != size as usize, "{read:?}");
    }
}
