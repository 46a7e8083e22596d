//! Reads a squashfs image, lazily and with every byte checked first.
//!
//! ```text
//!              Reader        inode reference → attributes, entries, contents
//!            ╱   │    ╲
//!   directory  files  attributes
//!            ╲   │    ╱
//!              Blocks        decompressed blocks, cached; one decompression however many ask at once
//!                │
//!            BlockSource     bytes of the image: CheckedSource for a package, RawSource for a bare image
//! ```
//!
//! Invariant: what a [`CheckedSource`] hands out was read into memory of our own and hashed there against the signed
//! index; what is cached came through it; nothing goes back to the file for bytes that were checked before. So a file
//! that is changed after it was opened yields errors and never other contents.
//!
//! An image is named by nobody but its publisher, and a publisher may be hostile: all arithmetic on its numbers is
//! checked, no loop or allocation is longer than the bytes that stand behind it, nothing recurses on its structure, and a
//! folder refers only to folders whose inodes stand before its own, as every known writer orders them, so that no walk
//! is endless.

mod attributes;
mod blocks;
mod cache;
mod checked;
mod compression;
mod directory;
mod error;
mod files;
mod metadata;
mod reader;
mod source;
pub mod spans;

pub use checked::CheckedSource;
pub use directory::{Entry, EntryCookie};
pub use error::ImageError;
pub use files::Seek;
pub use reader::{CacheSize, Node, Reader};
pub use source::{BlockSource, RawSource};
