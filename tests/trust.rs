//! `pack trust`.

#[path = "support/assembled.rs"]
mod assembled;
mod support;

use assembled::{fingerprint, package};
use support::{World, err, fail, out, succeed};

/// A key that is somebody's: that of another world.
fn foreign_key() -> String {
    fingerprint(&World::with_key())
}

#[test]
fn a_trusted_key_is_listed_until_it_is_removed() {
    let world = World::with_key();
    let (own, key) = (fingerprint(&world), foreign_key());
    succeed(world.pack(["trust", "add", &key, "--name", "Alice & Söhne"]));
    let listed = out(&succeed(world.pack(["trust", "list"])));
    assert!(listed.lines().any(|line| line.starts_with("(you)") && line.ends_with(&own)), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("Alice & Söhne") && line.ends_with(&key)), "{listed}");
    let rows: serde_json::Value =
        serde_json::from_slice(&succeed(world.pack(["trust", "list", "--json"])).stdout).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["fingerprint"] == *key).unwrap();
    assert_eq!((&row["name"], &row["own"]), (&"Alice & Söhne".into(), &false.into()));
    succeed(world.pack(["trust", "remove", &key]));
    assert!(!out(&succeed(world.pack(["trust", "list"]))).contains(&key));
    let refused = err(&fail(world.pack(["trust", "remove", &key]), 1));
    assert!(refused.contains("is not among the trusted keys"), "{refused}");
}

#[test]
fn what_is_no_key_is_not_trusted() {
    let world = World::new();
    for malformed in ["", "abc", &"g".repeat(64), &"A".repeat(64)] {
        fail(world.pack(["trust", "add", malformed]), 2);
    }
    let weak = format!("01{}", "0".repeat(62));
    let refused = err(&fail(world.pack(["trust", "add", &weak]), 1));
    assert!(refused.contains("not a usable ed25519 key"), "{refused}");
}

#[test]
fn a_name_that_would_steer_the_terminal_is_refused_and_shown_harmlessly() {
    let world = World::new();
    let refused = fail(world.pack(["trust", "add", &foreign_key(), "--name", "a\x1b[2Kb"]), 1);
    assert!(err(&refused).contains("a\\u{1b}[2Kb"), "{}", err(&refused));
}

#[test]
fn trust_added_beforehand_answers_the_question_of_an_install() {
    let world = World::with_key();
    package(&world, "hello", true);
    let key = fingerprint(&world);
    std::fs::remove_dir_all(world.home(".local/share/pack/keys")).unwrap();
    fail(world.pack(["install", "--yes", "hello.pkg"]), 1);
    succeed(world.pack(["trust", "add", &key, "--name", "Alice"]));
    let said = err(&succeed(world.pack(["install", "--yes", "hello.pkg"])));
    assert!(said.contains(&format!("publisher  Alice: {key}")), "{said}");
    assert!(out(&succeed(world.pack(["list"]))).contains("Alice"));
    // Removing the trust leaves what is installed, and asks at the next installation.
    succeed(world.pack(["trust", "remove", &key]));
    assert!(out(&succeed(world.pack(["info", "hello"]))).contains("not trusted: "));
    fail(world.pack(["install", "--yes", "hello.pkg"]), 1);
}

#[test]
fn a_damaged_file_fails_the_list_after_the_others() {
    let world = World::with_key();
    let key = foreign_key();
    succeed(world.pack(["trust", "add", &key]));
    world.write(&format!(".local/share/pack/trusted/{key}.json"), "{");
    let listed = fail(world.pack(["trust", "list"]), 1);
    assert!(out(&listed).contains(&fingerprint(&world)), "{}", out(&listed));
    assert!(
        err(&listed).contains("is damaged") && err(&listed).contains("pack trust remove"),
        "{}",
        err(&listed)
    );
    succeed(world.pack(["trust", "remove", &key]));
    succeed(world.pack(["trust", "list"]));
}
