//! Where the bytes of an image come from.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::ImageError;

/// The bytes of an image.
pub trait BlockSource: Send + Sync {
    /// Length of the image in bytes.
    fn length(&self) -> u64;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`ImageError`]; `buffer` then holds anything and must not be used.
    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError>;

    /// Reads from `offset` as many bytes as are cheap to get at once: at least 1, at most the length of `buffer`.
    /// Serves a caller that learns the length of a block from its first bytes.
    ///
    /// # Errors
    /// As [`BlockSource::read_exact`]; an `offset` at or past the end is [`ImageError::Truncated`].
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError>;
}

/// A bare image that nobody signed, read as it is: for images in the making, and for other tools' images.
#[derive(Debug)]
pub struct RawSource {
    file: File,
    length: u64,
}

impl RawSource {
    /// Takes the `length` bytes from the start of `file` as the image.
    pub fn new(file: File, length: u64) -> RawSource {
        RawSource { file, length }
    }

    /// Takes the whole file as the image.
    ///
    /// # Errors
    /// The kernel's, where it will not tell the size.
    pub fn of_file(file: File) -> io::Result<RawSource> {
        let length = file.metadata()?.len();
        Ok(RawSource { file, length })
    }
}

impl BlockSource for RawSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        check_range(offset, buffer.len(), self.length)?;
        self.file.read_exact_at(buffer, offset).map_err(|error| ImageError::io(offset, &error))
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let rest = self.length.saturating_sub(offset);
        let wanted = buffer.len().min(usize::try_from(rest).unwrap_or(usize::MAX));
        if wanted == 0 {
            return Err(ImageError::Truncated { offset });
        }
        self.read_exact(offset, &mut buffer[..wanted])?;
        Ok(wanted)
    }
}

/// Checks that `size` bytes from `offset` on lie in an image of `length` bytes.
pub(super) fn check_range(offset: u64, size: usize, length: u64) -> Result<(), ImageError> {
    match offset.checked_add(size as u64) {
        Some(end) if end <= length => Ok(()),
        _ => Err(ImageError::Truncated { offset: offset.max(length) }),
    }
}
