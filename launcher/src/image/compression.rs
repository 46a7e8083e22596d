//! Decompresses one block of an image into a buffer of fixed size, so that no input can ask for more memory.

use std::cell::RefCell;

use pack_schemas::squashfs::Compressor;
use zstd::bulk::Decompressor;

use super::ImageError;

/// A compressor that this program can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Zstd,
}

impl Codec {
    /// Chooses the codec of an image.
    pub(super) fn of(compressor: Compressor) -> Result<Codec, ImageError> {
        match compressor {
            Compressor::Gzip => Ok(Codec::Gzip),
            Compressor::Zstd => Ok(Codec::Zstd),
            other => Err(ImageError::UnsupportedCompressor(other.as_str())),
        }
    }

    /// Decompresses `input` to the front of `output` and returns how many bytes that gave. `offset` is where the block
    /// lies, for the error.
    pub(super) fn decompress(
        self,
        offset: u64,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<usize, ImageError> {
        match self {
            Codec::Gzip => inflate(input, output),
            Codec::Zstd => unzstd(input, output),
        }
        // No writer stores a block of nothing.
        .and_then(|size| if size == 0 { Err("it is empty") } else { Ok(size) })
        .map_err(|reason| ImageError::Decompress { offset, reason })
    }
}

fn inflate(input: &[u8], output: &mut [u8]) -> Result<usize, &'static str> {
    miniz_oxide::inflate::decompress_slice_iter_to_slice(output, std::iter::once(input), true, false)
        .map_err(|_| "it is no zlib stream, or longer than a block")
}

thread_local! {
    /// A decompression context takes some 100 KiB and a while to make, so each thread keeps its own.
    static CONTEXT: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn unzstd(input: &[u8], output: &mut [u8]) -> Result<usize, &'static str> {
    CONTEXT.with_borrow_mut(|context| {
        let decompressor = match context {
            Some(decompressor) => decompressor,
            None => context.insert(Decompressor::new().map_err(|_| "out of memory")?),
        };
        // In one call zstd decompresses straight into `output`: it allocates no window, whatever the frame asks for.
        decompressor
            .decompress_to_buffer(input, output)
            .map_err(|_| "it is no zstd frame, or longer than a block")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_expands_past_its_buffer_is_refused() {
        let zeros = vec![0; 1 << 24];
        let bombs = [
            (Codec::Zstd, zstd::bulk::compress(&zeros, 19).unwrap()),
            (Codec::Gzip, miniz_oxide::deflate::compress_to_vec_zlib(&zeros, 9)),
        ];
        for (codec, bomb) in bombs {
            let mut output = vec![1; 1 << 16];
            let found = codec.decompress(7, &bomb, &mut output);
            assert!(matches!(found, Err(ImageError::Decompress { offset: 7, .. })), "{found:?}");
            let mut output = vec![1; 1 << 24];
            assert_eq!(codec.decompress(7, &bomb, &mut output), Ok(1 << 24));
            assert_eq!(output, zeros);
        }
    }

    #[test]
    fn noise_is_refused() {
        for codec in [Codec::Zstd, Codec::Gzip] {
            for input in [&b""[..], b"\0", b"no compressed block at all"] {
                assert!(codec.decompress(0, input, &mut [0; 100]).is_err());
            }
        }
    }
}
