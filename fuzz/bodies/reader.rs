//! Input: a squashfs image.

use std::sync::Arc;

use pack_launcher::image::{BlockSource, CacheSize, Reader, spans};
use pack_schemas::index;

use super::explore::explore;
use super::memory::Bytes;

/// Small, so that blocks are thrown out and read again.
const CACHE: CacheSize = CacheSize { bytes: 256 << 10 };

/// Cuts the image into spans, and asks everything about everything that can be reached in it.
pub fn run(bytes: &[u8]) {
    let source: Arc<dyn BlockSource> = Arc::new(Bytes(bytes.to_vec()));
    if let Ok(spans) = spans::hash(&source, &mut |_| {}) {
        assert_eq!(spans.last().map_or(0, index::Span::end), bytes.len() as u64);
        // Fails where they are not consecutive, or one is longer than an index can say.
        index::build(&spans).unwrap();
    }
    if let Ok(reader) = Reader::open(source, CACHE) {
        explore(&reader);
    }
}
