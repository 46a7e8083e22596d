//! The base of packaging/bases/debian-12, built once for all tests of a file.
#![allow(dead_code)] // Each test file uses a part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{USER, World, is_root, out, succeed};

/// The built base.
pub struct DebianBase {
    /// The package file.
    pub package: PathBuf,
    /// Whose it is.
    pub fingerprint: String,
}

/// The base, built where it was not yet. The file stays beside the downloads of the tests.
pub fn debian_base() -> &'static DebianBase {
    static BASE: OnceLock<DebianBase> = OnceLock::new();
    BASE.get_or_init(|| {
        let publisher = World::with_key();
        copy_project("bases/debian-12", &publisher.home("debian-12"));
        let built = publisher.build("debian-12");
        let keys = out(&succeed(publisher.pack(["key", "list", "--json"])));
        let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
        let fingerprint = keys[0]["fingerprint"].as_str().unwrap().to_owned();
        let cache = publisher.environment().into_iter().find(|(name, _)| name == "XDG_CACHE_HOME").unwrap().1;
        let package = Path::new(&cache).join("debian-12.pkg");
        let beside = package.with_extension("new");
        fs::copy(built, &beside).unwrap();
        fs::rename(&beside, &package).unwrap();
        DebianBase { package, fingerprint }
    })
}

/// A world with a signing key and the base in it.
pub fn world_with_base() -> World {
    let world = World::with_key();
    let base = debian_base();
    let mut install = world.pack(["install", "--trust", &base.fingerprint]);
    install.arg(&base.package);
    succeed(install);
    world
}

/// Copies a project of packaging/ to where the user can build it.
pub fn copy_project(name: &str, target: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name);
    succeed({
        let mut command = Command::new("cp");
        command.arg("-r").arg(&source).arg(target);
        command
    });
    if is_root() {
        succeed({
            let mut command = Command::new("chown");
            command.arg("-R").arg(format!("{USER}:{USER}")).arg(target);
            command
        });
    }
}
