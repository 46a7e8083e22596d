//! Puts data files into the program.
#![allow(clippy::print_stdout)] // What cargo reads.

mod system_calls;

use std::env;
use std::path::PathBuf;

fn main() {
    let output = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    system_calls::generate(&output);
}
