//! Puts the interface definitions into the program: every file of `schemas/interfaces/`, so that adding an interface is
//! adding a file.

use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("interfaces");
    let folder = fs::canonicalize(folder).expect("the folder of definitions");
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("a folder that can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    // By name without the ending: `network` comes before `network-bind`.
    files.sort_by(|a, b| a.file_stem().cmp(&b.file_stem()));
    let mut table = String::from("pub const DEFINITIONS: &[(&str, &str)] = &[\n");
    // With fixed keys: the same definitions give the same number.
    let mut edition = DefaultHasher::new();
    for path in &files {
        println!("cargo:rerun-if-changed={}", path.display());
        let name = path.file_stem().and_then(|name| name.to_str()).expect("a plain name");
        writeln!(table, "    ({name:?}, include_str!({path:?})),").expect("memory");
        (name, fs::read(path).expect("a definition that can be read")).hash(&mut edition);
    }
    writeln!(table, "];\n/// See above.\npub const EDITION: u64 = {};", edition.finish()).expect("memory");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("interfaces.rs");
    fs::write(out, table).expect("the output folder");
}
