//! The compressor's options: a metadata block after the superblock, where a flag there says so. They tell how an image
//! was compressed; a reader needs them to know what it cannot read.

use super::{Compressor, Fields, FormatError};

/// Smallest dictionary of xz in bytes.
const DICTIONARY_LEAST: u32 = 8 << 10;
/// The one version of lz4's block format.
const LZ4_VERSION: u32 = 1;

/// The options of a compressor. What a level or strategy may be is the writer's business, since nothing depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressorOptions {
    /// Of gzip.
    Gzip {
        /// Level, 1 to 9.
        level: u32,
        /// log2 of the window, 8 to 15.
        window: u16,
        /// Strategies that were tried, as bits.
        strategies: u16,
    },
    /// Of lzo.
    Lzo {
        /// Which of the lzo1x encoders.
        algorithm: u32,
        /// Level; 0 for the encoders that have none.
        level: u32,
    },
    /// Of xz.
    Xz {
        /// Size of the dictionary in bytes.
        dictionary: u32,
        /// Filters for machine code that were tried, as bits.
        filters: u32,
    },
    /// Of lz4.
    Lz4 {
        /// Bit 0: the slow encoder.
        flags: u32,
    },
    /// Of zstd.
    Zstd {
        /// Level, 1 to 22.
        level: u32,
    },
}

impl CompressorOptions {
    /// Reads the contents of the options' block.
    ///
    /// # Errors
    /// [`FormatError`] where they are cut short, of a version of lz4 that is not known, or of a dictionary that xz does
    /// not have (`fs/squashfs/{lz4,xz}_wrapper.c` of Linux refuse the same); and for lzma, which has none.
    pub fn parse(compressor: Compressor, bytes: &[u8]) -> Result<CompressorOptions, FormatError> {
        let mut fields = Fields::new("compressor's option block", bytes);
        Ok(match compressor {
            Compressor::Gzip => CompressorOptions::Gzip {
                level: fields.u32()?,
                window: fields.u16()?,
                strategies: fields.u16()?,
            },
            Compressor::Lzo => CompressorOptions::Lzo { algorithm: fields.u32()?, level: fields.u32()? },
            Compressor::Xz => {
                let (dictionary, filters) = (fields.u32()?, fields.u32()?);
                if !is_dictionary(dictionary) {
                    return Err(fields.malformed("xz has no dictionary of that size"));
                }
                CompressorOptions::Xz { dictionary, filters }
            }
            Compressor::Lz4 => match (fields.u32()?, fields.u32()?) {
                (LZ4_VERSION, flags) => CompressorOptions::Lz4 { flags },
                _ => return Err(fields.malformed("its version of lz4 is unknown")),
            },
            Compressor::Zstd => CompressorOptions::Zstd { level: fields.u32()? },
            Compressor::Lzma => return Err(fields.malformed("lzma has none")),
        })
    }
}

impl CompressorOptions {
    /// The contents of the options' block.
    pub fn to_bytes(&self) -> Vec<u8> {
        match *self {
            CompressorOptions::Gzip { level, window, strategies } => {
                [&level.to_le_bytes()[..], &window.to_le_bytes(), &strategies.to_le_bytes()].concat()
            }
            CompressorOptions::Lzo { algorithm, level } => [algorithm, level].map(u32::to_le_bytes).concat(),
            CompressorOptions::Xz { dictionary, filters } => {
                [dictionary, filters].map(u32::to_le_bytes).concat()
            }
            CompressorOptions::Lz4 { flags } => [LZ4_VERSION, flags].map(u32::to_le_bytes).concat(),
            CompressorOptions::Zstd { level } => level.to_le_bytes().to_vec(),
        }
    }
}

/// Sizes of dictionaries are 2ⁿ, or 2ⁿ + 2ⁿ⁻¹.
fn is_dictionary(size: u32) -> bool {
    let power = 1_u32.checked_shl(size.checked_ilog2().unwrap_or_default()).unwrap_or_default();
    size >= DICTIONARY_LEAST && (size == power || size - power == power / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    #[test]
    fn options_of_every_compressor_are_read() {
        let cases = [
            (
                Compressor::Gzip,
                words(&[9, 1 << 16 | 15]),
                CompressorOptions::Gzip { level: 9, window: 15, strategies: 1 },
            ),
            (Compressor::Lzo, words(&[4, 8]), CompressorOptions::Lzo { algorithm: 4, level: 8 }),
            (Compressor::Xz, words(&[8192, 1]), CompressorOptions::Xz { dictionary: 8192, filters: 1 }),
            (Compressor::Xz, words(&[3 << 18, 0]), CompressorOptions::Xz { dictionary: 3 << 18, filters: 0 }),
            (Compressor::Lz4, words(&[1, 1]), CompressorOptions::Lz4 { flags: 1 }),
            (Compressor::Zstd, words(&[19]), CompressorOptions::Zstd { level: 19 }),
        ];
        for (compressor, bytes, expected) in cases {
            assert_eq!(CompressorOptions::parse(compressor, &bytes), Ok(expected));
            assert_eq!(expected.to_bytes(), bytes);
            // What a later version adds is no concern of this one.
            assert_eq!(CompressorOptions::parse(compressor, &[&bytes[..], b"more"].concat()), Ok(expected));
            let short = CompressorOptions::parse(compressor, &bytes[..bytes.len() - 1]);
            assert!(matches!(short, Err(FormatError::Short { .. })));
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let cases = [
            (Compressor::Lz4, words(&[2, 0])),
            (Compressor::Lzma, words(&[0, 0])),
            (Compressor::Xz, words(&[0, 0])),
            (Compressor::Xz, words(&[4096, 0])),
            (Compressor::Xz, words(&[8193, 0])),
            (Compressor::Xz, words(&[u32::MAX, 0])),
        ];
        for (compressor, bytes) in cases {
            let found = CompressorOptions::parse(compressor, &bytes);
            assert!(matches!(found, Err(FormatError::Malformed { .. })), "{found:?}");
        }
    }
}
