//! `pack inspect`.

#[path = "support/assembled.rs"]
mod assembled;
mod support;

use assembled::{damage, fingerprint, package, world_with_package};
use support::{World, err, fail, out, succeed};

/// The value of a line of the listing.
fn value<'a>(listing: &'a str, label: &str) -> &'a str {
    let line = listing.lines().find_map(|line| line.trim_start().strip_prefix(label));
    line.unwrap_or_else(|| panic!("no {label} in\n{listing}")).trim_start()
}

#[test]
fn it_shows_what_a_package_holds_and_asks_for() {
    let world = world_with_package();
    let shown = succeed(world.pack(["inspect", "hello.pkg"]));
    let listing = out(&shown);
    for (label, expected) in [
        ("name:", "hello"),
        ("version:", "1.0"),
        ("architecture:", if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }),
        ("base:", "host"),
        ("signed by:", &fingerprint(&world)),
        ("contents:", "2 files, 3 folders, 0 symbolic links; 500.0 kB"),
        ("times:", "946684800 seconds after 1970"),
        ("plugs:", "network, screen (x11)"),
        ("command:", "bin/hello"),
    ] {
        assert_eq!(value(&listing, label), expected);
    }
    assert!(value(&listing, "image:").contains(" zstd ") && value(&listing, "image:").contains("level 15"));
    // Text of the publisher's cannot steer the terminal.
    assert_eq!(value(&listing, "summary:"), "Greets \\u{202e}the world");
    assert!(
        listing.contains("app:          plain\n  command:    bin/plain\n  plugs:      none\n"),
        "{listing}"
    );
}

#[test]
fn json_has_everything() {
    let world = world_with_package();
    let shown = succeed(world.pack(["inspect", "hello.pkg", "--json"]));
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(json["name"], "hello");
    assert_eq!(json["signature"], serde_json::json!({ "state": "valid", "keys": [fingerprint(&world)] }));
    assert_eq!(json["plugs"]["hello"]["screen"], "x11");
    assert_eq!(json["plugs"]["plain"], serde_json::json!({}));
    assert_eq!(json["contents"]["files"], 2);
    assert_eq!(json["manifest"]["apps"]["hello"]["command"], "bin/hello");
    let size = std::fs::metadata(world.home("hello.pkg")).unwrap().len();
    assert_eq!(json["sizes"]["file"], size);
}

#[test]
fn signatures_that_are_missing_or_wrong_are_shown() {
    let world = World::with_key();
    let path = package(&world, "hello", false);
    let listing = out(&succeed(world.pack(["inspect", "hello.pkg"])));
    assert_eq!(value(&listing, "signed by:"), "nobody");
    package(&world, "hello", true);
    // A digit of the signature, which the footer and four bytes follow, becomes another digit.
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.len() - 64 - 10;
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    std::fs::write(&path, bytes).unwrap();
    let listing = out(&succeed(world.pack(["inspect", "hello.pkg"])));
    let expected = format!("the signature in the name of {} is wrong", fingerprint(&world));
    assert_eq!(value(&listing, "signed by:"), expected);
}

#[test]
fn a_damaged_image_is_told_after_what_could_be_read() {
    let world = world_with_package();
    damage(&world.home("hello.pkg"), 3);
    let shown = fail(world.pack(["inspect", "hello.pkg"]), 1);
    assert_eq!(value(&out(&shown), "name:"), "hello");
    assert!(!out(&shown).contains("contents:"));
    assert!(err(&shown).contains("cannot read what `hello.pkg` holds"), "{}", err(&shown));
    assert!(err(&shown).contains("do not match the signed index"), "{}", err(&shown));
    let shown = fail(world.pack(["inspect", "hello.pkg", "--json"]), 1);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert!(json["contents"].is_null());
}

#[test]
fn a_name_is_an_installed_package_and_a_path_is_a_file() {
    let world = World::new();
    let missing = err(&fail(world.pack(["inspect", "hello"]), 1));
    assert!(missing.contains("package `hello` is not installed"), "{missing}");
    let missing = err(&fail(world.pack(["inspect", "./hello"]), 1));
    assert!(missing.contains("No such file or directory"), "{missing}");
    world.write("hello", "a file");
    let file = err(&fail(world.pack(["inspect", "hello"]), 1));
    assert!(file.contains("it is not a pack package"), "{file}");
}

#[test]
fn an_installed_package_is_shown_as_its_file_is() {
    let world = world_with_package();
    let file = succeed(world.pack(["inspect", "hello.pkg", "--json"]));
    succeed(world.pack(["install", "--yes", "hello.pkg"]));
    std::fs::remove_file(world.home("hello.pkg")).unwrap();
    let installed = succeed(world.pack(["inspect", "hello", "--json"]));
    assert_eq!(out(&installed), out(&file));
}
