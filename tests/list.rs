//! `pack list` and `pack info`.

#[path = "support/assembled.rs"]
mod assembled;
mod support;

use assembled::fingerprint;
use support::{World, err, fail, out, succeed};

fn manifest(version: &str) -> String {
    format!(
        "name: greeter\nversion: '{version}'\nbase: host\nsummary: Greets\n\
         apps: {{greeter: {{command: bin/greeter, plugs: [network]}}, tool: {{command: bin/greeter}}}}\n\
         parts: {{p: {{plugin: dump, source: files}}}}\n"
    )
}

/// A world with two revisions of `greeter`.
fn world() -> World {
    let world = World::with_key();
    for version in ["1.0", "1.1"] {
        world.project("greeter", &manifest(version), &[("bin/greeter", "#!/bin/sh\n")]);
        world.install("greeter");
    }
    world
}

#[test]
fn a_home_without_packages_is_told_and_is_an_empty_list() {
    let world = World::new();
    let listed = succeed(world.pack(["list"]));
    assert_eq!((out(&listed), err(&listed)), (String::new(), "nothing is installed\n".to_owned()));
    assert_eq!(out(&succeed(world.pack(["list", "--json"]))), "[]\n");
    assert!(!world.home(".local").exists());
}

#[test]
fn the_current_revision_is_listed_and_with_all_the_earlier_ones() {
    let world = world();
    let listed = out(&succeed(world.pack(["list"])));
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "VERSION", "REVISION", "PUBLISHER", "SIZE", "NOTES"]);
    assert_eq!(lines[1][..4], ["greeter", "1.1", "x2", "(you)"]);
    assert_eq!(lines.len(), 2);
    let listed = out(&succeed(world.pack(["list", "--all"])));
    assert!(
        listed.lines().nth(2).is_some_and(|line| line.contains("x1") && line.ends_with("earlier")),
        "{listed}"
    );
}

#[test]
fn the_list_as_json_has_every_field() {
    let world = world();
    let rows: serde_json::Value =
        serde_json::from_slice(&succeed(world.pack(["list", "--all", "--json"])).stdout).unwrap();
    let key = fingerprint(&world);
    for (at, version, revision, current) in [(0, "1.1", "x2", true), (1, "1.0", "x1", false)] {
        let row = &rows[at];
        assert_eq!(
            (&row["name"], &row["version"], &row["revision"]),
            (&"greeter".into(), &version.into(), &revision.into())
        );
        assert_eq!(
            (&row["current"], &row["enabled"], &row["type"]),
            (&current.into(), &true.into(), &"app".into())
        );
        assert_eq!(row["publisher"], key);
        assert!(row["size"].as_u64().unwrap() > 4096 && row["installed"].as_u64().unwrap() > 1_600_000_000);
    }
    assert_eq!(rows.as_array().unwrap().len(), 2);
}

#[test]
fn a_damaged_state_fails_the_list_and_hides_no_other_package() {
    let world = world();
    world.project(
        "other",
        &manifest("1").replace("name: greeter", "name: other"),
        &[("bin/greeter", "#!/bin/sh\n")],
    );
    world.install("other");
    world.write(".local/share/pack/packages/greeter/state.json", "{");
    let listed = fail(world.pack(["list"]), 1);
    assert!(out(&listed).contains("other "), "{}", out(&listed));
    let said = err(&listed);
    assert!(said.contains("greeter/state.json") && said.contains("hint: "), "{said}");
    let json = fail(world.pack(["list", "--json"]), 1);
    assert!(out(&json).contains("\"other\""));
}

#[test]
fn info_tells_all_that_is_known() {
    let world = world();
    let info = out(&succeed(world.pack(["info", "greeter"])));
    for line in [
        "name:         greeter\n",
        "version:      1.1\n",
        "revision:     x2\n",
        &format!("publisher:    you: {}\n", fingerprint(&world)),
        "earlier:      1.0 (x1, ",
        "summary:      Greets\n",
        "base:         host\n",
        "command:      greeter\n",
        "command:      greeter.tool\n",
        "plug:         network (connected): opens network connections\n",
        "/data/greeter/x2 (0 files",
    ] {
        assert!(info.contains(line), "{line:?}\n{info}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&succeed(world.pack(["info", "greeter", "--json"])).stdout).unwrap();
    assert_eq!(json["state"]["current"], "x2");
    assert_eq!(json["manifest"]["summary"], "Greets");
    assert_eq!(json["commands"], serde_json::json!(["greeter", "greeter.tool"]));
    assert!(json["data"]["revisions"]["x2"].is_u64());
}

#[test]
fn info_of_a_package_whose_image_was_changed_fails_after_what_can_be_told() {
    let world = world();
    let image = world.home(".local/share/pack/packages/greeter/x2.pkg");
    std::fs::remove_file(&image).unwrap();
    let info = fail(world.pack(["info", "greeter"]), 1);
    assert!(out(&info).contains("version:      1.1\n"));
    assert!(err(&info).contains("is missing"), "{}", err(&info));
    fail(world.pack(["info", "nothing"]), 1);
}
