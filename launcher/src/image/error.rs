//! What can go wrong when an image is read.

use pack_schemas::index::IndexError;
use pack_schemas::squashfs::FormatError;

/// Why a part of an image cannot be read. Offsets count from the start of the image.
///
/// Cloned to every reader that waited for the same block, so it holds an errno rather than a `std::io::Error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ImageError {
    /// The bytes are not those that were signed.
    #[error(
        "bytes {start}-{} of the image do not match the signed index; the file was changed after it was installed",
        .end.saturating_sub(1)
    )]
    Damaged {
        /// First byte of the span.
        start: u64,
        /// The offset after its last byte.
        end: u64,
    },
    /// A page of the index is not the one that was signed, or is malformed although it was.
    #[error("the index of the image cannot be used: {0}")]
    Index(#[from] IndexError),
    /// The kernel could not read a page of the index.
    #[error("page {page} of the image's index cannot be read: {}", std::io::Error::from_raw_os_error(*.errno))]
    ReadIndex {
        /// Number of the page, counted from the start of the index.
        page: u64,
        /// The kernel's answer.
        errno: i32,
    },
    /// The file ends before a page of the index.
    #[error("the file ends before page {page} of the image's index")]
    TruncatedIndex {
        /// Number of the page, counted from the start of the index.
        page: u64,
    },
    /// No span of the index covers the byte.
    #[error("byte {offset} of the image is not covered by its index")]
    Uncovered {
        /// The byte.
        offset: u64,
    },
    /// The kernel could not read the file.
    #[error(
        "byte {offset} of the image cannot be read: {}", std::io::Error::from_raw_os_error(*.errno)
    )]
    Read {
        /// Where the read began.
        offset: u64,
        /// The kernel's answer.
        errno: i32,
    },
    /// The image, or the file that holds it, ends before a byte that is referred to.
    #[error("the image ends before byte {offset}")]
    Truncated {
        /// The byte.
        offset: u64,
    },
    /// A structure breaks the format.
    #[error("at byte {offset} of the image {error}")]
    Format {
        /// Where the structure, or the metadata block that holds it, lies.
        offset: u64,
        /// What is wrong.
        error: FormatError,
    },
    /// A block does not decompress, or not to the size that it must have.
    #[error("the block at byte {offset} of the image does not decompress: {reason}")]
    Decompress {
        /// Where the block lies.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// The compressor is one that this program does not have.
    #[error(
        "the image is compressed with {0}, which pack does not read; it reads gzip, lz4, lzo, xz and zstd"
    )]
    UnsupportedCompressor(&'static str),
}

impl ImageError {
    pub(super) fn malformed(offset: u64, structure: &'static str, rule: &'static str) -> ImageError {
        ImageError::Format { offset, error: FormatError::Malformed { structure, rule } }
    }

    pub(super) fn io(offset: u64, error: &std::io::Error) -> ImageError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ImageError::Truncated { offset },
            _ => ImageError::Read { offset, errno: error.raw_os_error().unwrap_or(libc::EIO) },
        }
    }

    pub(super) fn index_io(page: u64, error: &std::io::Error) -> ImageError {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ImageError::TruncatedIndex { page },
            _ => ImageError::ReadIndex { page, errno: error.raw_os_error().unwrap_or(libc::EIO) },
        }
    }

    /// Whether a person who was told of `other` knows of this fault: it is the same one, or both come of the file's having
    /// lost its end, which is one fault however many blocks stood there.
    pub fn is_known_from(&self, other: &ImageError) -> bool {
        let cut = |error: &ImageError| {
            matches!(error, ImageError::Truncated { .. } | ImageError::TruncatedIndex { .. })
        };
        self == other || (cut(self) && cut(other))
    }
}
