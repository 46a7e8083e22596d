//! Images whose folders refer to one another so that a walk of every path would not end in years: verify, inspect and
//! unpack say so at once.

mod common;
#[allow(dead_code, reason = "another crate's tests use the rest")]
#[path = "../../launcher/tests/mount_support/forge.rs"]
mod forge;

use std::time::{Duration, Instant};

use common::{key, open, package_around};
use forge::{Forge, Listing};
use pack_builder::{inspect, unpack, verify};

const FOLDER: u16 = 1;
const FILE: u16 = 2;

/// Every verb that walks refuses the image with the same message, and soon.
fn refused(image: &[u8], expected: &str) {
    let package = open(&package_around(image, &key(1))).unwrap();
    let scratch = tempfile::TempDir::new().unwrap();
    let begun = Instant::now();
    let outcomes = [
        chain(&verify::verify(&package, &mut |_| ()).unwrap_err()),
        chain(&inspect::contents(&package).unwrap_err()),
        chain(&unpack::unpack(&package, &scratch.path().join("out"), &mut |_| ()).unwrap_err()),
    ];
    assert!(outcomes.iter().all(|outcome| outcome.contains(expected)), "{outcomes:?}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map_or(String::new(), chain);
    format!("{error}: {cause}")
}

#[test]
fn folders_that_hold_the_next_one_twice_are_refused() {
    let mut forge = Forge::new();
    let mut entry = forge.file(1, 0, 0, &[]);
    let mut kind = FILE;
    for level in 2..42 {
        let listing = forge.listing(&[(b"a", entry, kind), (b"b", entry, kind)]);
        (entry, kind) = (forge.folder(level, listing, level + 1), FOLDER);
    }
    refused(&forge.with_root(&[(b"deep", entry, FOLDER)]), "has another name too");
}

#[test]
fn folders_that_share_a_listing_are_refused() {
    let mut forge = Forge::new();
    let file = forge.file(1, 0, 0, &[]);
    let names: Vec<_> = (0..2000).map(|number| format!("file-{number:04}")).collect();
    let entries: Vec<_> = names.iter().map(|name| (name.as_bytes(), file, FILE)).collect();
    let listing: Listing = forge.listing(&entries);
    let names: Vec<_> = (0..500).map(|number| format!("folder-{number:03}")).collect();
    let mut folders = Vec::new();
    for (name, number) in names.iter().zip(2..) {
        folders.push((name.as_bytes(), forge.folder(number, listing, 1000), FOLDER));
    }
    refused(&forge.with_root(&folders), "list more than there is in it");
}
