//! Packages made directly by the builder's library, for tests of verbs that read packages.
#![allow(dead_code)] // Each test file uses a part.

use std::fs;
use std::path::PathBuf;

use pack_builder::assemble::{DEFAULT_EPOCH, Request, assemble};
use pack_builder::keys::KeyFolder;
use pack_schemas::names::Architecture;

use crate::support::World;

/// A world with a key, and `hello.pkg` in its home, signed with it.
pub fn world_with_package() -> World {
    let world = World::with_key();
    package(&world, "hello", true);
    world
}

/// Makes the package `NAME.pkg` in the home.
pub fn package(world: &World, name: &str, signed: bool) -> PathBuf {
    let prime = format!("{name}-prime");
    world.write_program(&format!("{prime}/bin/{name}"), "#!/bin/sh\necho hello\n");
    world.write(&format!("{prime}/share/text"), "text\n".repeat(100_000));
    let manifest = serde_json::json!({
        "name": name, "version": "1.0", "base": "host", "summary": "Greets \u{202e}the world",
        "apps": { name: { "command": format!("bin/{name}"), "plugs": ["network", "screen"] }, "plain": { "command": "bin/plain" } },
        "plugs": { "screen": { "interface": "x11" } },
    });
    let key = KeyFolder::at(&world.home(".local/share/pack/keys")).only().unwrap();
    let keys: &[_] = if signed { &[key.signing()] } else { &[] };
    let output = world.home(&format!("{name}.pkg"));
    assemble(
        &Request {
            prime: &world.home(&prime),
            manifest: &serde_json::from_value(manifest).unwrap(),
            architecture: Architecture::HOST,
            source_date_epoch: DEFAULT_EPOCH,
            keys,
            output: &output,
            blocks: None,
            parallel: std::num::NonZeroUsize::MIN,
        },
        &mut |_| (),
    )
    .unwrap();
    output
}

/// The fingerprint of the world's only key.
pub fn fingerprint(world: &World) -> String {
    KeyFolder::at(&world.home(".local/share/pack/keys")).only().unwrap().public().to_string()
}

/// Changes a byte of a file.
pub fn damage(path: &PathBuf, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}
