//! What the fuzz targets do with their input: `run(bytes)` in each of the modules below.
//!
//! The bodies stand here, apart from the programs that libFuzzer drives (`targets/`), because the tests of the launcher
//! include them as well: each input of the corpus, and each one that once led to a fault, is run by `cargo test`.
//!
//! An error is a fine answer to any input. A panic is a fault, and so is an answer that contradicts another one: most of
//! what is asserted here compares two ways to the same bytes.

pub mod blocks;
pub mod envelope;
mod explore;
mod memory;
pub mod reader;
pub mod requests;
pub mod tuf;
mod xz;
