//! Decompresses one block of an image into a buffer of fixed size, so that no input can ask for more memory.

use std::cell::RefCell;
use std::io::{ErrorKind, Read};

use lzma_rust2::XzReader;
use pack_schemas::squashfs::{BLOCK_SIZE_MOST, Compressor};
use zstd::bulk::Decompressor;

use super::ImageError;

/// A compressor that this program can undo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Codec {
    Gzip,
    Lz4,
    Lzo,
    Xz,
    Zstd,
}

/// Memory for the decoder of xz in KiB. A dictionary as large as the largest block, which is more than any tool asks for,
/// and what the decoder says that it needs beside that.
const XZ_MEMORY_KIB: u32 = (BLOCK_SIZE_MOST >> 10) + 128;

impl Codec {
    /// Chooses the codec of an image.
    pub(super) fn of(compressor: Compressor) -> Result<Codec, ImageError> {
        match compressor {
            Compressor::Gzip => Ok(Codec::Gzip),
            Compressor::Lz4 => Ok(Codec::Lz4),
            Compressor::Lzo => Ok(Codec::Lzo),
            Compressor::Xz => Ok(Codec::Xz),
            Compressor::Zstd => Ok(Codec::Zstd),
            // Linux does not read it either: nothing has written it since 2012.
            Compressor::Lzma => Err(ImageError::UnsupportedCompressor(compressor.as_str())),
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
            Codec::Lz4 => lz4_flex::block::decompress_into(input, output)
                .map_err(|_| "it is no lz4 block, or longer than a block"),
            Codec::Lzo => lzokay::decompress::decompress(input, output)
                .map_err(|_| "it is no lzo1x block, or longer than a block"),
            Codec::Xz => unxz(input, output),
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

fn unxz(input: &[u8], output: &mut [u8]) -> Result<usize, &'static str> {
    let mut reader = XzReader::new_mem_limit(input, false, XZ_MEMORY_KIB);
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::OutOfMemory => "its dictionary is larger than a block can be",
        _ => "it is no xz stream",
    };
    let mut done = 0;
    while done < output.len() {
        match reader.read(&mut output[done..]).map_err(refused)? {
            0 => return Ok(done),
            count => done += count,
        }
    }
    // Only the end of the stream tells that it is whole, and its checksum right.
    match reader.read(&mut [0]).map_err(refused)? {
        0 => Ok(done),
        _ => Err("it is longer than a block"),
    }
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
    use lzma_rust2::{FilterType, XzOptions, XzWriter};

    use super::*;

    const ALL: [Codec; 5] = [Codec::Gzip, Codec::Lz4, Codec::Lzo, Codec::Xz, Codec::Zstd];

    fn compress(codec: Codec, bytes: &[u8]) -> Vec<u8> {
        match codec {
            Codec::Gzip => miniz_oxide::deflate::compress_to_vec_zlib(bytes, 9),
            Codec::Lz4 => lz4_flex::block::compress(bytes),
            Codec::Lzo => lzokay::compress::compress(bytes).unwrap(),
            Codec::Xz => xz(bytes, BLOCK_SIZE_MOST, None),
            Codec::Zstd => zstd::bulk::compress(bytes, 19).unwrap(),
        }
    }

    fn xz(bytes: &[u8], dictionary: u32, filter: Option<FilterType>) -> Vec<u8> {
        let mut options = XzOptions::with_preset(6);
        options.lzma_options.dict_size = dictionary;
        if let Some(filter) = filter {
            options.prepend_pre_filter(filter, 0);
        }
        let mut writer = XzWriter::new(Vec::new(), options).unwrap();
        std::io::Write::write_all(&mut writer, bytes).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn a_block_that_expands_past_its_buffer_is_refused() {
        let zeros = vec![0; 1 << 20];
        for codec in ALL {
            let bomb = compress(codec, &zeros);
            for size in [1, 1 << 12, (1 << 20) - 1] {
                let found = codec.decompress(7, &bomb, &mut vec![1; size]);
                assert!(
                    matches!(found, Err(ImageError::Decompress { offset: 7, .. })),
                    "{codec:?} {found:?}"
                );
            }
            let mut output = vec![1; 1 << 20];
            assert_eq!(codec.decompress(7, &bomb, &mut output), Ok(1 << 20), "{codec:?}");
            assert_eq!(output, zeros);
            // A fragment block may be shorter than the block size.
            assert_eq!(codec.decompress(7, &bomb, &mut vec![1; (1 << 20) + 9]), Ok(1 << 20), "{codec:?}");
        }
    }

    #[test]
    fn noise_is_refused() {
        for codec in ALL {
            for input in [&b""[..], b"\0", b"no compressed block at all", &[0xff; 5000]] {
                assert!(codec.decompress(0, input, &mut [0; 100]).is_err(), "{codec:?}");
            }
        }
    }

    #[test]
    fn a_block_that_is_cut_short_never_gives_all_of_it() {
        let bytes: Vec<u8> =
            (0..20_000_u32).flat_map(|number| (number.wrapping_mul(number)).to_le_bytes()).collect();
        for codec in ALL {
            let whole = compress(codec, &bytes);
            // An lzo block may lose its end mark alone.
            for length in (0..whole.len() - 3).step_by(601).chain([whole.len() - 4]) {
                let found = codec.decompress(0, &whole[..length], &mut vec![0; bytes.len()]);
                assert_ne!(found, Ok(bytes.len()), "{codec:?} {length} of {}", whole.len());
            }
        }
    }

    #[test]
    fn a_dictionary_of_xz_is_bounded() {
        let bytes = [7; 5000];
        for (dictionary, accepted) in [(8 << 10, true), (1 << 20, true), (2 << 20, false), (1 << 30, false)] {
            let found = Codec::Xz.decompress(0, &xz(&bytes, dictionary, None), &mut [0; 5000]);
            assert_eq!(found.is_ok(), accepted, "{dictionary}: {found:?}");
        }
    }

    #[test]
    fn filters_for_machine_code_are_undone() {
        let code: Vec<u8> = (0..9000_u32).flat_map(|n| [0xe8, n as u8, 0, 0, 0, 0xeb, 0x48]).collect();
        let filters = [
            FilterType::BcjX86,
            FilterType::BcjPpc,
            FilterType::BcjIa64,
            FilterType::BcjArm,
            FilterType::BcjArmThumb,
            FilterType::BcjSparc,
            FilterType::BcjArm64,
            FilterType::BcjRiscv,
        ];
        for filter in filters {
            let mut output = vec![0; code.len()];
            let found = Codec::Xz.decompress(0, &xz(&code, 1 << 17, Some(filter)), &mut output);
            assert_eq!(found, Ok(code.len()));
            assert!(output == code, "{filter:?}");
        }
    }

    #[test]
    fn lzma_is_refused_by_its_name() {
        let error = Codec::of(Compressor::Lzma).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the image is compressed with lzma, which pack does not read; it reads gzip, lz4, lzo, xz and zstd"
        );
    }
}
