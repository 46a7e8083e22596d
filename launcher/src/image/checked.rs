//! The bytes of a package's image, each checked against the signed index before it is handed out.
//!
//! A read takes whole spans: bytes are read to memory of our own, hashed there, and only then given on. Pages of the
//! index are checked from the root down; leaves that passed are kept, so that most reads cost one hash of the span.
//! Spans that hold several small blocks are kept for a while too, so that whoever goes from one block to the next does not
//! hash all of them each time.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, PoisonError, RwLock};

use pack_schemas::index::{Geometry, Leaf, PAGE_SIZE, Span, Step, Walk};
use pack_schemas::names::Hash;

use super::cache::{Cache, Weighed};
use super::source::check_range;
use super::spans::SHARED_SPAN_MOST;
use super::{BlockSource, ImageError};
use crate::package::Package;

/// Most leaves of the index that are kept: about 3 MiB, and the spans of some 7 GB of blocks of 128 KiB.
const LEAVES_KEPT: usize = 512;
/// Memory for checked spans of several blocks in bytes.
const SHARED_SPANS_KEPT: usize = 1 << 20;

/// The checked image of a package.
pub struct CheckedSource {
    package: Arc<Package>,
    geometry: Geometry,
    leaves: RwLock<Leaves>,
    /// Checked bytes of spans of several blocks, by their start.
    shared: Cache<u64, Box<[u8]>>,
}

impl CheckedSource {
    /// Takes the image of a package. Whether its envelope may be believed is for the caller to have settled.
    pub fn new(package: Arc<Package>) -> CheckedSource {
        let geometry = Geometry::new(package.envelope().image.spans);
        CheckedSource { package, geometry, leaves: RwLock::default(), shared: Cache::new(SHARED_SPANS_KEPT) }
    }

    /// The span that covers `offset`.
    ///
    /// # Errors
    /// [`ImageError`] where a page of the index is not what was signed, or none covers the offset.
    fn span_at(&self, offset: u64) -> Result<Span, ImageError> {
        let kept = self.leaves.read().unwrap_or_else(PoisonError::into_inner).find(offset);
        let span = match kept {
            Some(span) => span,
            None => {
                let leaf = self.checked_leaf(offset)?;
                let span = leaf.find(offset).copied();
                self.leaves.write().unwrap_or_else(PoisonError::into_inner).keep(leaf);
                span.ok_or(ImageError::Uncovered { offset })?
            }
        };
        check_range(span.start, span.length as usize, self.length())?;
        Ok(span)
    }

    fn checked_leaf(&self, offset: u64) -> Result<Leaf, ImageError> {
        let mut walk = Walk::new(&self.geometry, self.package.envelope().image.index_root, offset);
        let mut page = [0; PAGE_SIZE];
        loop {
            // Envelope::parse has checked that the index has the size of this geometry.
            let number = walk.page();
            let at = self.package.footer().index_offset() + number * PAGE_SIZE as u64;
            self.package
                .file()
                .read_exact_at(&mut page, at)
                .map_err(|error| ImageError::index_io(number, &error))?;
            match walk.step(&page)? {
                Step::Down(next) => walk = next,
                Step::Leaf(leaf) => return Ok(leaf),
            }
        }
    }

    /// Fills `buffer`, which has the length of `span`, with its bytes.
    fn read_span(&self, span: &Span, buffer: &mut [u8]) -> Result<(), ImageError> {
        self.package
            .file()
            .read_exact_at(buffer, span.start)
            .map_err(|error| ImageError::io(span.start, &error))?;
        if Hash::of(buffer) != span.hash {
            return Err(ImageError::Damaged { start: span.start, end: span.end() });
        }
        Ok(())
    }

    /// Copies bytes from `offset` on, as far as its span and `buffer` go, and returns how many.
    fn read_in_span(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let span = self.span_at(offset)?;
        let length = span.length as usize;
        if offset == span.start && length <= buffer.len() {
            self.read_span(&span, &mut buffer[..length])?;
            return Ok(length);
        }
        let load = || {
            let mut whole = vec![0; length];
            self.read_span(&span, &mut whole)?;
            Ok(Weighed { weight: length + 64, value: whole.into_boxed_slice() })
        };
        let copy = |whole: &[u8], buffer: &mut [u8]| {
            // The span covers the offset, so the difference is less than its length.
            let rest = &whole[(offset - span.start) as usize..];
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            count
        };
        match length {
            ..=SHARED_SPAN_MOST => Ok(copy(&self.shared.get_or_load(span.start, load)?, buffer)),
            _ => Ok(copy(&load()?.value, buffer)),
        }
    }
}

impl BlockSource for CheckedSource {
    fn length(&self) -> u64 {
        self.package.footer().image
    }

    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        check_range(offset, buffer.len(), self.length())?;
        let mut done = 0;
        while done < buffer.len() {
            done += self.read_in_span(offset + done as u64, &mut buffer[done..])?;
        }
        Ok(())
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        check_range(offset, 1, self.length())?;
        self.read_in_span(offset, buffer)
    }
}

/// Checked leaves by their first byte; the oldest goes first. Consistent, because a leaf that does not start and end
/// where the pages above it say is refused by [`Walk::step`].
#[derive(Debug, Default)]
struct Leaves {
    by_start: BTreeMap<u64, Leaf>,
    oldest_first: VecDeque<u64>,
}

impl Leaves {
    fn find(&self, offset: u64) -> Option<Span> {
        let (_, leaf) = self.by_start.range(..=offset).next_back()?;
        leaf.find(offset).copied()
    }

    fn keep(&mut self, leaf: Leaf) {
        let Some(start) = leaf.spans().first().map(|span| span.start) else { return };
        if self.by_start.insert(start, leaf).is_some() {
            return;
        }
        self.oldest_first.push_back(start);
        if self.oldest_first.len() > LEAVES_KEPT
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.by_start.remove(&oldest);
        }
    }
}
