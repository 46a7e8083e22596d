//! Checks a package whole: what `pack verify` says to be right is right to the last byte.
//!
//! 1. Every signature over the envelope, strictly.
//! 2. The index: every page against the hash in its parent, from the root in the envelope down; its spans follow one
//!    another and cover the image.
//! 3. Every byte of the image against its span.
//! 4. The image itself: every folder can be listed, every file and symbolic link read to its end.
//!
//! A launch needs none of this, because it checks whatever it reads; this finds damage before anybody reads it.

use std::collections::HashSet;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use pack_launcher::image::{ImageError, Node, Reader, Seek};
use pack_launcher::package::Package;
use pack_schemas::index::{Geometry, Leaf, PAGE_SIZE, SPAN_LIMIT, Step, Walk};
use pack_schemas::names::{Hash, PublicKey};
use pack_schemas::package::PackageError;
use pack_schemas::squashfs::{InodeDetail, InodeKind};

use crate::tree::{self, TreeError, Visit};

/// A file is read in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// What a package was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The keys whose signatures are right, all that it bears.
    pub keys: Vec<PublicKey>,
    /// Hash of the envelope.
    pub envelope_hash: Hash,
    /// Spans checked.
    pub spans: u64,
    /// Files, folders and symbolic links read, the root folder included.
    pub entries: u64,
    /// Bytes of content of all files; holes count.
    pub content_bytes: u64,
}

/// Why a package is not right.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A signature is wrong, or there is none.
    #[error(transparent)]
    Signature(#[from] PackageError),
    /// The index or the image is not what was signed.
    #[error(transparent)]
    Content(#[from] ImageError),
    /// The envelope counts other spans than the index has.
    #[error("the index covers {covered} bytes with {spans} spans, and the envelope says otherwise")]
    Coverage {
        /// Bytes that the index covers.
        covered: u64,
        /// Its spans.
        spans: u64,
    },
    /// The image is what was signed, and is not in order.
    #[error("the image is the one that was signed, but it is not in order")]
    Image(#[from] TreeError),
}

/// Checks a package. `progress` is told how many of [`work`]'s bytes are done.
///
/// # Errors
/// The first thing that is not right, as [`VerifyError`].
pub fn verify(package: &Arc<Package>, progress: &mut dyn FnMut(u64)) -> Result<Verified, VerifyError> {
    let keys = package.verify()?;
    Ok(Verified { keys, ..verify_content(package, progress)? })
}

/// Checks all but the signatures, of which it tells nothing: for a package that is not signed. `progress` is told as by
/// [`verify`].
///
/// # Errors
/// As [`verify`], but for [`VerifyError::Signature`].
pub fn verify_content(
    package: &Arc<Package>,
    progress: &mut dyn FnMut(u64),
) -> Result<Verified, VerifyError> {
    let spans = check_spans(package, progress)?;
    let (entries, content_bytes) = read_tree(package, progress)?;
    let (keys, envelope_hash) = (Vec::new(), package.envelope_hash());
    Ok(Verified { keys, envelope_hash, spans, entries, content_bytes })
}

/// The bytes that [`verify`] goes through: the image twice, once for its bytes, once for its meaning.
pub fn work(package: &Package) -> u64 {
    package.envelope().image.length.saturating_mul(2)
}

/// Checks every page of the index and every byte of the image, and returns the number of spans.
fn check_spans(package: &Package, progress: &mut dyn FnMut(u64)) -> Result<u64, VerifyError> {
    let image = &package.envelope().image;
    let geometry = Geometry::new(image.spans);
    let (mut covered, mut spans) = (0, 0);
    let mut buffer = Vec::with_capacity(SPAN_LIMIT as usize);
    while covered < image.length {
        let leaf = checked_leaf(package, &geometry, covered)?;
        let before = covered;
        for span in leaf.spans() {
            if span.start != covered {
                return Err(ImageError::Uncovered { offset: covered }.into());
            }
            // At most SPAN_LIMIT, which the leaf was checked for.
            buffer.resize(span.length as usize, 0);
            read(package, span.start, &mut buffer)?;
            if Hash::of(&buffer) != span.hash {
                return Err(ImageError::Damaged { start: span.start, end: span.end() }.into());
            }
            covered = span.end();
            spans += 1;
            progress(covered);
        }
        if covered == before {
            return Err(ImageError::Uncovered { offset: covered }.into());
        }
    }
    if covered != image.length || spans != image.spans {
        return Err(VerifyError::Coverage { covered, spans });
    }
    Ok(spans)
}

fn checked_leaf(package: &Package, geometry: &Geometry, offset: u64) -> Result<Leaf, VerifyError> {
    let mut walk = Walk::new(geometry, package.envelope().image.index_root, offset);
    let mut page = [0; PAGE_SIZE];
    loop {
        // Opening the package has checked that the index has the size of this geometry.
        read(package, package.footer().index_offset() + walk.page() * PAGE_SIZE as u64, &mut page)?;
        match walk.step(&page).map_err(ImageError::from)? {
            Step::Down(next) => walk = next,
            Step::Leaf(leaf) => return Ok(leaf),
        }
    }
}

fn read(package: &Package, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
    package.file().read_exact_at(buffer, offset).map_err(|error| match error.raw_os_error() {
        Some(errno) => ImageError::Read { offset, errno },
        None => ImageError::Truncated { offset },
    })
}

/// Reads everything that the image holds, and returns the number of entries and the bytes of their content.
fn read_tree(package: &Arc<Package>, progress: &mut dyn FnMut(u64)) -> Result<(u64, u64), VerifyError> {
    let length = package.envelope().image.length;
    let reader = tree::open(package)?;
    let (mut entries, mut content_bytes) = (0, 0_u64);
    // A file is read once, however many names it has.
    let mut files = HashSet::new();
    let mut buffer = vec![0; PIECE];
    tree::walk(&reader, &mut |visit| -> Result<(), VerifyError> {
        let (Visit::Enter { path, node } | Visit::Leaf { path, node }) = visit else { return Ok(()) };
        entries += 1;
        let read_error = |source| TreeError::Read { path: path.to_vec(), source };
        reader.owner(node).map_err(read_error)?;
        if node.inode.kind() == InodeKind::Symlink {
            reader.read_link(node).map_err(read_error)?;
        }
        if let InodeDetail::File(file) = node.inode.detail {
            if file.size > 0 && files.insert(node.reference) {
                read_file(&reader, node, &mut buffer).map_err(read_error)?;
            }
            content_bytes = content_bytes.saturating_add(file.size);
            // Files lie in the image much as the walk comes by them: where this one began is how far the reading has come.
            progress(length.saturating_add(file.blocks.min(length)));
        }
        Ok(())
    })?;
    progress(length.saturating_mul(2));
    Ok((entries, content_bytes))
}

/// Reads all data of a file; holes are skipped, since a few bytes can describe very many.
fn read_file(reader: &Reader, node: &Node, buffer: &mut [u8]) -> Result<(), ImageError> {
    let mut offset = 0;
    while let Some(data) = reader.seek(node, offset, Seek::Data)? {
        let count = reader.read(node, data, buffer)?;
        offset = data + count as u64;
    }
    Ok(())
}
