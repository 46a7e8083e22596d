//! Fuzzes the reading of a store's metadata.
#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod bodies;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bodies::tuf::run(data));
