//! Fuzzes the opening and checked reading of packages with packages.
#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "each program uses a part of it")]
mod bodies;
#[allow(dead_code, reason = "each program uses a part of it")]
mod mutate;

use libfuzzer_sys::{fuzz_mutator, fuzz_target};

fuzz_target!(|data: &[u8]| bodies::envelope::run(data));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::package::mutate(data, size, max_size, &mut mutate::random::Random::new(seed))
});
