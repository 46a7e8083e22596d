//! The block index: a hash tree over the spans of an image, searched by byte offset.
//!
//! A *span* is a stretch of the image with one hash; spans follow one another without gap or overlap and cover the
//! image. The index is a sequence of pages of 4096 bytes, level by level: first the leaves in image order, then the
//! pages that hash them, and so on, last the root page, whose hash stands in the envelope:
//!
//! ```text
//! leaf   u64 start of its first span │ up to 113 × ( u32 length, 32-byte BLAKE3 of the span )        │ zeros
//! inner  u64 start of its first span │ up to 102 × ( u64 start of the child, 32-byte BLAKE3 of it )  │ zeros
//! ```
//!
//! All numbers are little-endian. Every page but the last of its level is full, so the number of spans alone fixes
//! where each page lies ([`Geometry`]). To find a byte, a reader goes from the root down, checks each page against
//! the hash in its parent, and looks at one page a level: opening a package costs the same at any size.
//!
//! All functions are pure; who reads the pages, and from where, is the caller's business.

use crate::names::Hash;

/// Size of a page in bytes.
pub const PAGE_SIZE: usize = 4096;
/// Spans in a full leaf page.
pub const LEAF_ENTRIES: u64 = 113;
/// Children of a full inner page.
pub const INNER_ENTRIES: u64 = 102;
/// Longest span in bytes; a span holds one compressed block (at most 1 MiB), or several small ones.
pub const SPAN_LIMIT: u32 = 1 << 21;

const LEAF_ENTRY_SIZE: usize = 36;
const INNER_ENTRY_SIZE: usize = 40;
const HEADER_SIZE: usize = 8;

/// A stretch of the image and the hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// First byte, counted from the start of the image.
    pub start: u64,
    /// Length in bytes, 1 to [`SPAN_LIMIT`].
    pub length: u32,
    /// BLAKE3 of the bytes.
    pub hash: Hash,
}

impl Span {
    /// The offset after the last byte.
    pub fn end(&self) -> u64 {
        self.start + u64::from(self.length)
    }
}

/// Why an index, or a page of one, cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum IndexError {
    /// The page does not hash to what its parent, or the envelope, says.
    #[error("index page {page} does not match its hash")]
    Hash {
        /// Number of the page, counted from the start of the index.
        page: u64,
    },
    /// The page hashes right and still breaks the format: the publisher's builder is at fault.
    #[error("index page {page} is malformed: {rule}")]
    Malformed {
        /// Number of the page, counted from the start of the index.
        page: u64,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The spans given to [`build`] are not consecutive from 0, or are longer than [`SPAN_LIMIT`].
    #[error("span {number} does not follow the one before it, or is empty or too long")]
    Spans {
        /// Number of the span.
        number: usize,
    },
}

/// Where the pages of an index lie, derived from the number of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Geometry {
    spans: u64,
    /// For each level, leaves first: the number of its first page and how many pages and entries it has.
    levels: Vec<Level>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    first_page: u64,
    pages: u64,
    entries: u64,
    entries_per_page: u64,
}

impl Geometry {
    /// Lays out the index of `spans` spans. An index has at least one page, even with no span.
    pub fn new(spans: u64) -> Geometry {
        let mut levels = Vec::new();
        let (mut entries, mut entries_per_page, mut first_page) = (spans, LEAF_ENTRIES, 0);
        loop {
            let pages = entries.div_ceil(entries_per_page).max(1);
            levels.push(Level { first_page, pages, entries, entries_per_page });
            if pages == 1 {
                return Geometry { spans, levels };
            }
            first_page += pages;
            entries = pages;
            entries_per_page = INNER_ENTRIES;
        }
    }

    /// Number of spans.
    pub fn spans(&self) -> u64 {
        self.spans
    }

    /// Number of leaf pages; they are pages 0 to this.
    pub fn leaves(&self) -> u64 {
        self.levels[0].pages
    }

    /// Number of the root page, the last one.
    pub fn root_page(&self) -> u64 {
        self.levels[self.levels.len() - 1].first_page
    }

    /// Size of the whole index in bytes, or nothing where it would not fit 64 bits.
    pub fn size(&self) -> Option<u64> {
        (self.root_page() + 1).checked_mul(PAGE_SIZE as u64)
    }

    /// Number of levels, 1 for an index that is a single leaf.
    pub fn depth(&self) -> usize {
        self.levels.len()
    }

    /// Entries in use on page `page` of level `level`.
    fn entries_in(&self, level: usize, page_in_level: u64) -> usize {
        let level = &self.levels[level];
        let before = page_in_level * level.entries_per_page;
        // At most LEAF_ENTRIES, so it fits.
        (level.entries - before).min(level.entries_per_page) as usize
    }
}

/// A place in the tree where the next page has to be read: [`Walk::page`] says which, [`Walk::step`] takes its bytes.
#[derive(Debug, Clone, Copy)]
pub struct Walk<'a> {
    geometry: &'a Geometry,
    level: usize,
    page_in_level: u64,
    expected: Hash,
    /// Where the page's first span starts, and its last one ends if a page above says so: pages that contradict one
    /// another would make two answers for one byte.
    start: u64,
    end: Option<u64>,
    offset: u64,
}

/// What a step of a [`Walk`] led to.
#[derive(Debug)]
pub enum Step<'a> {
    /// One level down.
    Down(Walk<'a>),
    /// The leaf that covers the offset.
    Leaf(Leaf),
}

impl<'a> Walk<'a> {
    /// Begins at the root, on the way to the span that covers `offset`.
    pub fn new(geometry: &'a Geometry, root: Hash, offset: u64) -> Walk<'a> {
        Walk {
            geometry,
            level: geometry.depth() - 1,
            page_in_level: 0,
            expected: root,
            start: 0,
            end: None,
            offset,
        }
    }

    /// Number of the page that the walk has to see next.
    pub fn page(&self) -> u64 {
        self.geometry.levels[self.level].first_page + self.page_in_level
    }

    /// Checks the bytes of [`Walk::page`] and goes one level down.
    ///
    /// # Errors
    /// [`IndexError::Hash`] where `bytes` are not the page that was signed, [`IndexError::Malformed`] where they are
    /// and break the format.
    pub fn step(self, bytes: &[u8; PAGE_SIZE]) -> Result<Step<'a>, IndexError> {
        let page = self.page();
        if Hash::of(bytes) != self.expected {
            return Err(IndexError::Hash { page });
        }
        let entries = self.geometry.entries_in(self.level, self.page_in_level);
        let malformed = |rule| IndexError::Malformed { page, rule };
        if read_u64(bytes, 0) != self.start {
            return Err(malformed("it does not start where the page above says"));
        }
        if self.level == 0 {
            let leaf = Leaf::parse(bytes, page, entries)?;
            return match (leaf.spans.last(), self.end) {
                (Some(last), Some(end)) if last.end() != end => {
                    Err(malformed("it does not end where the page above says"))
                }
                _ => Ok(Step::Leaf(leaf)),
            };
        }
        let child_start = |n: usize| read_u64(bytes, HEADER_SIZE + n * INNER_ENTRY_SIZE);
        if child_start(0) != read_u64(bytes, 0) || (1..entries).any(|n| child_start(n) <= child_start(n - 1))
        {
            return Err(malformed("its children are out of order"));
        }
        if bytes[HEADER_SIZE + entries * INNER_ENTRY_SIZE..].iter().any(|&b| b != 0) {
            return Err(malformed("it has bytes after its last child"));
        }
        // The last child that starts at or before the offset.
        let mut child = 0;
        while child + 1 < entries && child_start(child + 1) <= self.offset {
            child += 1;
        }
        let hash_at = HEADER_SIZE + child * INNER_ENTRY_SIZE + 8;
        Ok(Step::Down(Walk {
            level: self.level - 1,
            page_in_level: self.page_in_level * INNER_ENTRIES + child as u64,
            expected: read_hash(bytes, hash_at),
            start: child_start(child),
            end: if child + 1 < entries { Some(child_start(child + 1)) } else { self.end },
            ..self
        }))
    }
}

/// A checked leaf page: consecutive spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    page: u64,
    spans: Vec<Span>,
}

impl Leaf {
    fn parse(bytes: &[u8; PAGE_SIZE], page: u64, entries: usize) -> Result<Leaf, IndexError> {
        let malformed = |rule| IndexError::Malformed { page, rule };
        let mut start = read_u64(bytes, 0);
        let mut spans = Vec::with_capacity(entries);
        for entry in bytes[HEADER_SIZE..].chunks_exact(LEAF_ENTRY_SIZE).take(entries) {
            let length = u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
            if length == 0 || length > SPAN_LIMIT {
                return Err(malformed("a span is empty or too long"));
            }
            spans.push(Span { start, length, hash: read_hash(entry, 4) });
            start = start.checked_add(u64::from(length)).ok_or(malformed("a span ends past 64 bits"))?;
        }
        if bytes[HEADER_SIZE + entries * LEAF_ENTRY_SIZE..].iter().any(|&b| b != 0) {
            return Err(malformed("it has bytes after its last span"));
        }
        Ok(Leaf { page, spans })
    }

    /// Number of this page in the index; leaves are numbered in image order.
    pub fn page(&self) -> u64 {
        self.page
    }

    /// All spans of the page, in image order.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The span that covers `offset`, if it lies in this leaf.
    pub fn find(&self, offset: u64) -> Option<&Span> {
        let after = self.spans.partition_point(|span| span.start <= offset);
        self.spans[..after].last().filter(|span| offset < span.end())
    }
}

/// Builds the index of `spans`, and returns it with its root hash.
///
/// # Errors
/// [`IndexError::Spans`] where the spans do not follow one another from 0, or one is empty or longer than [`SPAN_LIMIT`].
pub fn build(spans: &[Span]) -> Result<(Vec<u8>, Hash), IndexError> {
    let mut end = 0;
    for (number, span) in spans.iter().enumerate() {
        if span.start != end || span.length == 0 || span.length > SPAN_LIMIT {
            return Err(IndexError::Spans { number });
        }
        end = span.end();
    }
    let mut pages: Vec<u8> = Vec::new();
    // (start, hash) of each page of the level just written.
    let mut level: Vec<(u64, Hash)> = Vec::new();
    if spans.is_empty() {
        level.push((0, push_page(&mut pages, 0, &[])));
    }
    for chunk in spans.chunks(LEAF_ENTRIES as usize) {
        let entries: Vec<u8> =
            chunk.iter().flat_map(|span| [&span.length.to_le_bytes()[..], &span.hash.0].concat()).collect();
        level.push((chunk[0].start, push_page(&mut pages, chunk[0].start, &entries)));
    }
    while level.len() > 1 {
        level = level
            .chunks(INNER_ENTRIES as usize)
            .map(|chunk| {
                let entries: Vec<u8> = chunk
                    .iter()
                    .flat_map(|(start, hash)| [&start.to_le_bytes()[..], &hash.0].concat())
                    .collect();
                (chunk[0].0, push_page(&mut pages, chunk[0].0, &entries))
            })
            .collect();
    }
    Ok((pages, level[0].1))
}

fn push_page(pages: &mut Vec<u8>, start: u64, entries: &[u8]) -> Hash {
    let begin = pages.len();
    pages.extend_from_slice(&start.to_le_bytes());
    pages.extend_from_slice(entries);
    pages.resize(begin + PAGE_SIZE, 0);
    Hash::of(&pages[begin..])
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn read_hash(bytes: &[u8], at: usize) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(&bytes[at..at + 32]);
    Hash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(count: u64) -> Vec<Span> {
        let mut start = 0;
        (0..count)
            .map(|n| {
                let length = 1 + (n * 7919 % 3000) as u32;
                let span = Span { start, length, hash: Hash::of(&n.to_le_bytes()) };
                start = span.end();
                span
            })
            .collect()
    }

    fn look_up(index: &[u8], geometry: &Geometry, root: Hash, offset: u64) -> Result<Leaf, IndexError> {
        let mut walk = Walk::new(geometry, root, offset);
        loop {
            let at = walk.page() as usize * PAGE_SIZE;
            let page: &[u8; PAGE_SIZE] = index[at..at + PAGE_SIZE].try_into().unwrap();
            match walk.step(page)? {
                Step::Down(next) => walk = next,
                Step::Leaf(leaf) => return Ok(leaf),
            }
        }
    }

    #[test]
    fn every_span_is_found_at_its_first_and_last_byte_at_every_depth() {
        for (count, depth) in [(1, 1), (113, 1), (114, 2), (11_526, 2), (11_527, 3), (30_000, 3)] {
            let spans = spans(count);
            let (index, root) = build(&spans).unwrap();
            let geometry = Geometry::new(count);
            assert_eq!(geometry.depth(), depth, "{count}");
            assert_eq!(geometry.size(), Some(index.len() as u64), "{count}");
            for span in spans.iter().step_by(17).chain(spans.last()) {
                for offset in [span.start, span.end() - 1] {
                    let leaf = look_up(&index, &geometry, root, offset).unwrap();
                    assert_eq!(leaf.find(offset), Some(span));
                }
            }
        }
    }

    #[test]
    fn an_offset_past_the_end_is_in_no_span() {
        let spans = spans(200);
        let (index, root) = build(&spans).unwrap();
        let end = spans[199].end();
        for offset in [end, u64::MAX] {
            assert_eq!(look_up(&index, &Geometry::new(200), root, offset).unwrap().find(offset), None);
        }
    }

    #[test]
    fn an_empty_image_has_an_index_of_one_page() {
        let (index, root) = build(&[]).unwrap();
        assert_eq!(index.len(), PAGE_SIZE);
        assert_eq!(look_up(&index, &Geometry::new(0), root, 0).unwrap().find(0), None);
    }

    #[test]
    fn a_changed_byte_anywhere_in_a_page_on_the_way_is_found() {
        let spans = spans(300);
        let (index, root) = build(&spans).unwrap();
        let geometry = Geometry::new(300);
        for at in (0..PAGE_SIZE).chain(index.len() - PAGE_SIZE..index.len()).step_by(5) {
            let mut changed = index.clone();
            changed[at] ^= 0x10;
            assert!(matches!(look_up(&changed, &geometry, root, 0), Err(IndexError::Hash { .. })), "{at}");
        }
    }

    #[test]
    fn another_number_of_spans_does_not_fit_the_pages() {
        let spans = spans(100);
        let (index, root) = build(&spans).unwrap();
        for wrong in [99, 101] {
            assert!(matches!(
                look_up(&index, &Geometry::new(wrong), root, 0),
                Err(IndexError::Malformed { .. })
            ));
        }
    }

    #[test]
    fn pages_that_contradict_one_another_are_refused() {
        let spans = spans(200);
        let (index, _) = build(&spans).unwrap();
        let root_at = 2 * PAGE_SIZE;
        // Each change is made in a leaf, and the root is made to vouch for the leaf as it is then.
        let leaf_one_start = PAGE_SIZE;
        let last_length_of_leaf_zero = HEADER_SIZE + (LEAF_ENTRIES as usize - 1) * LEAF_ENTRY_SIZE;
        for (leaf, at) in [(0, last_length_of_leaf_zero), (1, leaf_one_start)] {
            let mut changed = index.clone();
            changed[at] ^= 1;
            let hash = Hash::of(&changed[leaf * PAGE_SIZE..(leaf + 1) * PAGE_SIZE]);
            let hash_at = root_at + HEADER_SIZE + leaf * INNER_ENTRY_SIZE + 8;
            changed[hash_at..hash_at + 32].copy_from_slice(&hash.0);
            let root = Hash::of(&changed[root_at..]);
            let offset = spans[leaf * LEAF_ENTRIES as usize].start;
            let page = leaf as u64;
            let found = look_up(&changed, &Geometry::new(200), root, offset);
            assert!(
                matches!(found, Err(IndexError::Malformed { page: at, .. }) if at == page),
                "{leaf} {found:?}"
            );
        }
    }

    #[test]
    fn spans_with_a_gap_are_refused() {
        let mut spans = spans(3);
        spans[2].start += 1;
        assert_eq!(build(&spans), Err(IndexError::Spans { number: 2 }));
    }
}
