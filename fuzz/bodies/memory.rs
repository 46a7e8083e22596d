//! A bare image in memory.

use pack_launcher::image::{BlockSource, ImageError};

/// The bytes of an image.
pub struct Bytes(pub Vec<u8>);

impl BlockSource for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        let from = usize::try_from(offset).ok().and_then(|from| self.0.get(from..));
        let found = from.and_then(|from| from.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(ImageError::Truncated { offset })?);
        Ok(())
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        let from = usize::try_from(offset).ok().and_then(|from| self.0.get(from..)).unwrap_or_default();
        let count = from.len().min(buffer.len());
        if count == 0 {
            return Err(ImageError::Truncated { offset });
        }
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }
}
