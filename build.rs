//! Links the unwinder into the program: the shared libgcc_s would be loaded with every start of an app, and asks the
//! processor about itself when it is, which takes long in a virtual machine.
//!
//! Rust's standard library asks the linker for `-lgcc_s`. This script puts a folder first on the link path whose only
//! file is a linker script by the name of `libgcc_s.a`: it stands for the compiler's static unwinder.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("link");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("libgcc_s.a"), "GROUP ( -lgcc_eh -lgcc )\n"))
        .unwrap_or_else(|error| panic!("cannot write to {}: {error}", folder.display()));
    println!("cargo:rustc-link-search=native={}", folder.display());
}
