//! `pack unpack`.

#[path = "support/assembled.rs"]
mod assembled;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use assembled::{damage, package, world_with_package};
use support::{World, err, fail, is_root, out, succeed};

/// Names in the home, without hidden ones of which `.local` alone is expected.
fn home_names(world: &World) -> Vec<String> {
    let names = fs::read_dir(world.home("")).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != ".local");
    names.sort();
    names
}

#[test]
fn the_files_come_out_as_they_went_in() {
    let world = world_with_package();
    let done = succeed(world.pack(["unpack", "hello.pkg", "out"]));
    assert_eq!(out(&done), "");
    assert_eq!(err(&done), "extracted 5 entries, 500.0 kB to out\n");
    for file in ["bin/hello", "share/text"] {
        let [packed, unpacked] = ["hello-prime", "out"].map(|root| world.home(root).join(file));
        assert_eq!(fs::read(&packed).unwrap(), fs::read(&unpacked).unwrap());
        let mode = |path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&packed), mode(&unpacked));
    }
    assert_eq!(fs::metadata(world.home("out")).unwrap().mtime(), 946_684_800);
    assert_eq!(home_names(&world), ["hello-prime", "hello.pkg", "out"]);
    let quiet = succeed(world.pack(["-q", "unpack", "hello.pkg", "out2"]));
    assert_eq!(err(&quiet), "");
}

#[test]
fn nothing_that_exists_is_touched() {
    let world = world_with_package();
    world.write("taken/file", "mine");
    for taken in ["taken", "taken/file", ".", "hello.pkg", "taken/"] {
        let refused = err(&fail(world.pack(["unpack", "hello.pkg", taken]), 1));
        assert!(
            refused.contains(" exists\n") && refused.contains("hint: name a folder"),
            "{taken}: {refused}"
        );
    }
    assert_eq!(fs::read(world.home("taken/file")).unwrap(), b"mine");
    assert_eq!(fs::read_dir(world.home("taken")).unwrap().count(), 1);
}

#[test]
fn what_nobody_signed_is_extracted_only_if_told_to() {
    let world = World::with_key();
    package(&world, "hello", false);
    let refused = err(&fail(world.pack(["unpack", "hello.pkg", "out"]), 1));
    assert!(
        refused.contains("caused by: it is not signed") && refused.contains("hint: `--dangerous`"),
        "{refused}"
    );
    assert!(!world.home("out").exists());
    succeed(world.pack(["unpack", "--dangerous", "hello.pkg", "out"]));
    assert!(world.home("out/bin/hello").exists());
}

#[test]
fn damage_is_found_even_where_no_signature_is_asked_for_and_nothing_is_left() {
    let world = world_with_package();
    damage(&world.home("hello.pkg"), 100);
    for flags in [&[][..], &["--dangerous"]] {
        let arguments = [&["unpack", "hello.pkg", "out"], flags].concat();
        let refused = err(&fail(world.pack(arguments), 1));
        assert!(refused.contains("do not match the signed index"), "{refused}");
        assert_eq!(home_names(&world), ["hello-prime", "hello.pkg"]);
    }
}

#[test]
fn a_place_where_nothing_can_be_made_is_an_error() {
    let world = world_with_package();
    for place in ["missing/out", "hello.pkg/out", "/proc/out"] {
        let refused = err(&fail(world.pack(["unpack", "hello.pkg", place]), 1));
        assert!(refused.starts_with("error: cannot extract `hello.pkg`\n"), "{refused}");
        assert!(refused.contains("cannot make a folder beside"), "{refused}");
    }
    if is_root() {
        // The user of the tests may not write here.
        fail(world.pack(["unpack", "hello.pkg", "/out"]), 1);
    }
    fail(world.pack(["unpack", "hello.pkg"]), 2);
}
