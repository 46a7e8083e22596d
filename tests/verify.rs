//! `pack verify`.

#[path = "support/assembled.rs"]
mod assembled;
mod support;

use std::fs;
use std::process::Command;

use assembled::{damage, fingerprint, package, world_with_package};
use support::{World, err, fail, out, succeed};

#[test]
fn a_package_that_is_right_passes_and_names_its_keys() {
    let world = world_with_package();
    let passed = succeed(world.pack(["verify", "hello.pkg"]));
    let fingerprint = fingerprint(&world);
    assert_eq!(out(&passed), format!("hello 1.0: every byte is as it was signed\nsigned by {fingerprint}\n"));
    assert_eq!(err(&passed), "");
    let passed = succeed(world.pack(["verify", "hello.pkg", "--json"]));
    let json: serde_json::Value = serde_json::from_slice(&passed.stdout).unwrap();
    assert_eq!(json["keys"], serde_json::json!([fingerprint]));
    assert_eq!(json["entries"], 5);
    assert_eq!(json["content-bytes"], 500_021);
}

#[test]
fn an_unsigned_package_does_not_pass() {
    let world = World::with_key();
    package(&world, "hello", false);
    let refused = fail(world.pack(["verify", "hello.pkg"]), 1);
    assert_eq!(
        err(&refused),
        "error: `hello.pkg` is not right\n  caused by: it is not signed\n\n\
         hint: `pack build --key NAME` makes a signed package\n"
    );
}

#[test]
fn a_changed_byte_anywhere_is_found() {
    let world = world_with_package();
    let path = world.home("hello.pkg");
    let size = fs::metadata(&path).unwrap().len() as usize;
    for at in [0, 97, 4000, size / 2, size - 65, size - 200, size - 1] {
        damage(&path, at);
        let refused = fail(world.pack(["verify", "hello.pkg"]), 1);
        assert_eq!(out(&refused), "", "{at}");
        assert!(err(&refused).contains("\n  caused by: "), "{at}: {}", err(&refused));
        damage(&path, at);
    }
    succeed(world.pack(["verify", "hello.pkg"]));
}

#[test]
fn what_is_no_package_is_told_as_such() {
    let world = World::new();
    world.write("empty", "");
    world.write("text", "a text that is longer than a footer".repeat(10));
    let mut pipe = Command::new("mkfifo");
    pipe.arg(world.home("pipe")).arg("-m").arg("666");
    succeed(pipe);
    for (file, cause) in [
        ("empty", "it is not a pack package: it is too short"),
        ("text", "it is not a pack package: it does not end in a package footer"),
        ("missing", "No such file or directory"),
        (".", "it is not a regular file"),
        ("pipe", "it is not a regular file"),
        ("/dev/zero", "it is not a regular file"),
    ] {
        let refused = err(&fail(world.pack(["verify", file]), 1));
        assert!(refused.starts_with(&format!("error: cannot open `{file}`\n")), "{refused}");
        assert!(refused.contains(cause), "{refused}");
    }
    fail(world.pack(["verify"]), 2);
    let steering = err(&fail(world.pack(["verify", "\u{1b}[2Jx"]), 1));
    assert!(steering.contains("\\u{1b}[2Jx") && !steering.contains('\u{1b}'), "{steering:?}");
}

/// A project whose build depends on what is in `word`.
fn project_of_word(world: &World, word: &str) {
    world.write(
        "project/pack.yaml",
        "name: hello\nversion: '1'\nbase: none\nparts: {a: {plugin: dump, source: files}}\n",
    );
    world.write("project/files/word", word);
    world.write("project/files/other", "other");
}

#[test]
fn a_package_that_is_built_anew_is_the_same_and_a_difference_is_named() {
    let world = World::with_key();
    let cache = world.write("cache/pack/x", "").parent().unwrap().to_owned();
    let verify = |arguments: &[&str]| {
        let mut command = world.pack(arguments);
        command.env("XDG_CACHE_HOME", cache.parent().unwrap());
        command
    };
    project_of_word(&world, "one");
    succeed(world.pack(["build", "project", "-o", "a.pkg"]));
    let told = out(&succeed(verify(&["verify", "a.pkg", "--rebuild", "project"])));
    assert!(told.ends_with("built anew: the same, byte by byte\n"), "{told}");
    project_of_word(&world, "two");
    let told = out(&fail(verify(&["verify", "a.pkg", "--rebuild", "project"]), 1));
    assert!(told.contains("built anew: not the same"), "{told}");
    assert!(told.contains("~ word: content, from byte 0 on") && !told.contains("~ other"), "{told}");
    let json = out(&fail(verify(&["verify", "a.pkg", "--rebuild", "project", "--json"]), 1));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let files = json["rebuild"]["files"].as_array().unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    // The source has another hash, which the package's provenance tells.
    assert_eq!(paths, [".pack/provenance.json", "word"]);
    world.write("other/pack.yaml", "name: other\nversion: '1'\nbase: none\n");
    let told = err(&fail(verify(&["verify", "a.pkg", "--rebuild", "other"]), 1));
    assert!(told.contains("it is the project of `other`"), "{told}");
    world.write("project/files/word", "two");
    world.write(
        "project/pack.yaml",
        "name: hello\nversion: '1'\nbase: none\nparts: {a: {plugin: nil, override-build: 'false'}}\n",
    );
    let told = err(&fail(verify(&["verify", "a.pkg", "--rebuild", "project"]), 1));
    assert!(told.contains("cannot build `project` anew") && told.contains("override-build"), "{told}");
    let left = fs::read_dir(&cache).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("rebuild-")), "{left:?}");
}
