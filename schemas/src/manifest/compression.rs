//! `compression`: how the image of a package is compressed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::squashfs::{BLOCK_SIZE_LEAST, BLOCK_SIZE_MOST};

/// How an image is compressed; left out of a manifest that has it as it is usual.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Compression {
    /// What compresses.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// How hard it tries.
    #[serde(default)]
    pub level: Level,
    /// How much of a file is compressed at once.
    #[serde(default)]
    pub block_size: BlockSize,
}

impl Compression {
    /// Whether it is what a manifest has that says nothing of it.
    pub fn is_usual(&self) -> bool {
        *self == Compression::default()
    }
}

/// What compresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// zstd, which is read as fast at every level.
    #[default]
    Zstd,
}

/// A level of zstd, 1 to 22: higher ones take longer and give less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "i64", into = "i64")]
#[schemars(with = "u32", extend("minimum" = 1, "maximum" = 22))]
pub struct Level(u8);

impl Level {
    /// As a number.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for Level {
    /// 15: higher ones take several times as long for a hundredth of the size.
    fn default() -> Level {
        Level(15)
    }
}

impl TryFrom<i64> for Level {
    type Error = String;

    fn try_from(number: i64) -> Result<Level, String> {
        match u8::try_from(number) {
            Ok(level @ 1..=22) => Ok(Level(level)),
            _ => Err(format!("zstd has no level {number}: 1, the fastest, to 22")),
        }
    }
}

impl From<Level> for i64 {
    fn from(Level(number): Level) -> i64 {
        number.into()
    }
}

/// A block size of squashfs in bytes, a power of two, written as `4K`, `128K`, `1M`. Larger blocks compress better, and
/// more is read and decompressed for each byte that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("enum" = ["4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M"]))]
pub struct BlockSize(u32);

impl BlockSize {
    /// In bytes.
    pub fn bytes(self) -> u32 {
        self.0
    }
}

impl Default for BlockSize {
    /// 128 KiB, as mksquashfs has it.
    fn default() -> BlockSize {
        BlockSize(128 << 10)
    }
}

impl TryFrom<String> for BlockSize {
    type Error = String;

    fn try_from(text: String) -> Result<BlockSize, String> {
        let sizes = (BLOCK_SIZE_LEAST.ilog2()..=BLOCK_SIZE_MOST.ilog2()).map(|bits| BlockSize(1 << bits));
        sizes.into_iter().find(|&size| String::from(size) == text).ok_or_else(|| {
            let shown = crate::text::visible(&text.chars().take(64).collect::<String>());
            format!("`{shown}` is no block size: write 4K, 8K, 16K and so on up to 512K, or 1M")
        })
    }
}

impl From<BlockSize> for String {
    fn from(BlockSize(bytes): BlockSize) -> String {
        match bytes {
            BLOCK_SIZE_MOST => "1M".to_owned(),
            _ => format!("{}K", bytes >> 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_block_sizes_are_those_that_there_are() {
        for number in 1..=22 {
            assert_eq!(i64::from(Level::try_from(number).unwrap()), number);
        }
        for number in [0, -1, 23, 256 + 15, i64::MAX] {
            assert!(Level::try_from(number).is_err(), "{number}");
        }
        for (text, bytes) in [("4K", 4096), ("128K", 131_072), ("512K", 524_288), ("1M", 1_048_576)] {
            let size = BlockSize::try_from(text.to_owned()).unwrap();
            assert_eq!((size.bytes(), String::from(size).as_str()), (bytes, text));
        }
        for text in ["", "2K", "2M", "1024K", "100K", "128", "128k", "131072", "0K", "4K "] {
            assert!(BlockSize::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_said_is_as_usual() {
        let read = |text: &str| serde_json::from_str::<Compression>(text);
        assert!(read("{}").unwrap().is_usual());
        let fast = read(r#"{"level": 3}"#).unwrap();
        assert_eq!((fast.level.number(), fast.block_size), (3, BlockSize::default()));
        assert!(!fast.is_usual());
        assert!(read(r#"{"algorithm": "xz"}"#).is_err() && read(r#"{"levle": 3}"#).is_err());
    }
}
