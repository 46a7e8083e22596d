//! Links libsquashfs into the program instead of loading it with every start, and makes it compress with the zstd
//! that cargo pins.
//!
//! The squashfs-ng crate asks the linker for `-lsquashfs` and takes what it finds: the shared library, which loads
//! four compressors into every process of pack and compresses with whatever zstd the machine has, so that the same
//! sources give other packages elsewhere. This script puts a folder first on the link path whose only file is a
//! linker script by the name of `libsquashfs.a`: it groups the static libsquashfs with the zstd that the zstd-sys
//! crate has compiled, and with the other compressors that libsquashfs names (their static libraries come with its
//! development package). Both zstd archives that the linker then sees are the same file, so no symbol is defined twice.
#![allow(clippy::print_stdout)]

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let library =
        pkg_config::Config::new().statik(true).cargo_metadata(false).probe("libsquashfs1").unwrap_or_else(
            |error| panic!("libsquashfs is needed (Debian: libsquashfs-dev, pkg-config): {error}"),
        );
    // In C, threads are part of the C library.
    let names = library.libs.iter().filter(|name| name.as_str() != "pthread");
    let archives: Vec<String> = names.map(|name| archive(name, &library.link_paths)).collect();
    let folder = folder_of("OUT_DIR").join("link");
    let script = format!("GROUP ( {} )\n", archives.join(" "));
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join("libsquashfs.a"), script))
        .unwrap_or_else(|error| panic!("cannot write to {}: {error}", folder.display()));
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-env=LIBSQUASHFS_VERSION={}", library.version);
}

/// The static library of a name, quoted for a linker script.
fn archive(name: &str, link_paths: &[PathBuf]) -> String {
    let pinned = [folder_of("DEP_ZSTD_ROOT")];
    let folders = if name == "zstd" { &pinned[..] } else { link_paths };
    let file = format!("lib{name}.a");
    let found = folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    let path = found.unwrap_or_else(|| {
        panic!("{file} is in none of {folders:?}; libsquashfs is linked statically and needs it")
    });
    format!("\"{}\"", path.display())
}

fn folder_of(variable: &str) -> PathBuf {
    env::var_os(variable).unwrap_or_else(|| panic!("cargo does not set {variable}")).into()
}
