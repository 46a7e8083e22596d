//! `pack init`: from a project to a manifest that `pack build` reads, and from a snapcraft.yaml to one.

mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs;

use support::{World, err, fail, out, succeed};
use terminal::on_terminal;

fn read(world: &World, name: &str) -> String {
    fs::read_to_string(world.home(name)).unwrap()
}

#[test]
fn a_project_without_any_mark_is_built_and_run_with_what_is_written() {
    let world = World::with_key();
    world.write_program("greet/files/bin/greet", "#!/bin/sh\necho hi \"$@\"\n");
    let told = err(&succeed(world.pack(["init", "greet", "--summary", "Greets people"])));
    assert!(told.contains("look it over, then: pack build greet"), "{told}");
    assert_eq!(
        read(&world, "greet/pack.yaml"),
        "name: greet
# Not found in the project: write it here for each release.
version: \"0.1\"
summary: Greets people

# The host's /usr, read-only; `none` brings everything along, and runs everywhere.
base: host

apps:
  greet:
    # Where the part below installs the program.
    command: bin/greet
    # What it may do; `pack run --learn NAME` tells what it misses, `pack interfaces` what there is.
    plugs: []

parts:
  greet:
    # Copies the files of the source as they are.
    plugin: dump
    # A folder of the project: files/bin/greet becomes the command above.
    source: files
"
    );
    world.install("greet");
    assert_eq!(out(&succeed(world.pack(["run", "greet", "you"]))), "hi you\n");
}

#[test]
fn what_is_still_to_be_done_is_told_and_is_what_a_build_lacks() {
    let world = World::with_key();
    world.write("plain/notes", "");
    world
        .write("rs/Cargo.toml", "[package]\nname = \"rs\"\nversion = \"1.0.0\"\ndescription = \"Says hi\"\n");
    world.write("rs/src/main.rs", "fn main() {}\n");
    world.write(
        "node/package.json",
        r#"{"name": "node", "version": "1.0.0", "description": "Says hi", "bin": "a.js"}"#,
    );
    world.write_program("node/a.js", "#!/usr/bin/env node\n");
    for (project, to_do, lacks) in [
        (
            "plain",
            &["write the summary, in `plain/pack.yaml`", "put the program at `files/bin/plain`, with"][..],
            "hint: `source` is a path below the folder of the pack.yaml",
        ),
        (
            "rs",
            &["make the `Cargo.lock` that a build goes by: `cargo generate-lockfile`"],
            "needs a `Cargo.lock`",
        ),
        (
            "node",
            &["make the `package-lock.json` that a build goes by: `npm install --package-lock-only`"],
            "needs a `package-lock.json`",
        ),
    ] {
        let told = err(&succeed(world.pack(["init", project])));
        let lines: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("to do: ")).collect();
        assert_eq!(lines.len(), to_do.len(), "{told}");
        assert!(lines.iter().zip(to_do).all(|(line, expected)| line.starts_with(expected)), "{told}");
        let said = err(&fail(world.pack(["build", project]), 1));
        assert!(said.contains(lacks), "{said}");
    }
    // When it is done, nothing is left to be told of.
    world.write_program("plain/files/bin/plain", "#!/bin/sh\necho hi\n");
    fs::remove_file(world.home("plain/pack.yaml")).unwrap();
    let told = err(&succeed(world.pack(["init", "plain", "--summary", "Says hi"])));
    assert!(!told.contains("to do: "), "{told}");
    let (status, shown) = on_terminal(&world, &["build", "plain"], "");
    assert!(status == Some(0) && shown.contains("to try it: pack install plain_0.1_"), "{shown}");
}

#[test]
fn nothing_is_written_over_and_nothing_without_a_folder() {
    let world = World::new();
    world.write("p/pack.yaml", "mine\n");
    for arguments in [&["init", "p"][..], &["init", "p", "--from", "p/pack.yaml"]] {
        assert!(err(&fail(world.pack(arguments), 1)).contains("already, and it stays as it is"));
    }
    assert_eq!(read(&world, "p/pack.yaml"), "mine\n");
    assert!(err(&fail(world.pack(["init", "nowhere"]), 1)).contains("there is no folder `nowhere`"));
    fail(world.pack(["init", "--name", "Not A Name"]), 2);
    fail(world.pack(["init", "--name", "ab", "--from", "x"]), 2);
    world.write("q/x", "");
    fail(world.pack(["init", "q", "--summary", &"x".repeat(79)]), 2);
    assert!(!world.home("q/pack.yaml").exists());
}

#[test]
fn flags_and_the_projects_files_are_taken_without_a_terminal() {
    let world = World::new();
    world.write("tool/Cargo.toml", "[package]\nname = \"a_tool\"\nversion = \"1.2.3\"\ndescription = \"Does: things\"\nlicense = \"MIT\"\n");
    let told = err(&succeed(world.pack(["init", "tool", "--name", "other"])));
    assert!(told.contains("Cargo.toml tells what kind of project it is"), "{told}");
    let manifest = read(&world, "tool/pack.yaml");
    for line in [
        "name: other\n",
        "version: \"1.2.3\"\n",
        "summary: \"Does: things\"\n",
        "license: MIT\n",
        "plugin: rust\n",
        "command: bin/a_tool\n",
    ] {
        assert!(manifest.contains(line), "{line}: {manifest}");
    }
}

const SNAPCRAFT: &str = "name: greet
base: core24
version: '2'
summary: Greets people
confinement: strict
adopt-info: greet
apps:
  greet:
    command: bin/greet --loud $SNAP_NAME
    plugs: [home, unity7]
layout:
  /usr/share/greet: {bind: $SNAP/share}
parts:
  greet:
    plugin: dump
    source: files
    override-build: |
      craftctl default
      echo $SNAPCRAFT_PART_INSTALL > $SNAPCRAFT_PART_INSTALL/share/where
";

#[test]
fn a_snapcraft_yaml_becomes_a_manifest_that_is_built_and_run() {
    let world = World::with_key();
    world.write("greet/snap/snapcraft.yaml", SNAPCRAFT);
    world
        .write_program("greet/files/bin/greet", "#!/bin/sh\necho \"$@\" $(wc -l < /usr/share/greet/where)\n");
    world.write("greet/files/share/x", "");
    let hint = err(&fail(world.pack(["build", "greet"]), 1));
    assert!(hint.contains("`pack init --from snap/snapcraft.yaml`"), "{hint}");
    let told = err(&succeed(world.pack(["init", "greet", "--from", "greet/snap/snapcraft.yaml"])));
    for line in [
        "  greet/snap/snapcraft.yaml:2: base: core24: the host's /usr takes its place",
        "  greet/snap/snapcraft.yaml:6: adopt-info: write version, summary and description here",
        "  greet/snap/snapcraft.yaml:9: apps.greet.command: variables in arguments are not replaced",
        "  greet/snap/snapcraft.yaml:10: apps.greet.plugs: there is no interface unity7",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(read(&world, "greet/pack.yaml").contains("#   line 6, adopt-info: "));
    world.install("greet");
    assert_eq!(out(&succeed(world.pack(["run", "greet"]))), "--loud $PACK_NAME 1\n");
}

#[test]
fn what_is_still_wrong_is_shown_as_pack_build_shows_it() {
    let world = World::new();
    world.write("p/snapcraft.yaml", "name: p-p\nversion: '1'\nbase: core24\nparts:\n  p: {plugin: dump, source: https://example.org/x.tar.gz}\n");
    let told = err(&fail(world.pack(["init", "p", "--from", "p/snapcraft.yaml"]), 1));
    let built = err(&fail(world.pack(["build", "p"]), 1));
    let (_, error) = told.split_once("error: ").unwrap();
    assert_eq!(error, built.strip_prefix("error: ").unwrap());
    assert!(error.contains("needs a `source-checksum: sha256/…`") && error.contains("pack.yaml:"), "{error}");
    // And what is wrong with the snapcraft.yaml itself; then nothing is written.
    world.write("q/snapcraft.yaml", "name: q-q\nname: q-q\n");
    let told = err(&fail(world.pack(["init", "q", "--from", "q/snapcraft.yaml"]), 1));
    assert!(told.contains("stands here a second time") && told.contains("q/snapcraft.yaml:2"), "{told}");
    assert!(!world.home("q/pack.yaml").exists());
    assert!(err(&fail(world.pack(["init", "q", "--from", "gone"]), 1)).contains("cannot read `gone`"));
    assert!(err(&fail(world.pack(["init", "q", "--from", "q"]), 1)).contains("no regular file"));
}

#[test]
fn a_person_is_asked_for_name_and_summary_and_no_more() {
    let world = World::new();
    world.write(
        "tool/Cargo.toml",
        "[package]\nname = \"a_tool\"\nversion = \"1.2.3\"\ndescription = \"Does things\"\n",
    );
    // The last answer is what is offered.
    let (status, shown) = on_terminal(&world, &["init", "tool"], "Not A Name\nbetter\n\n");
    assert_eq!(status, Some(0), "{shown}");
    for line in [
        "name of the package [a-tool]: ",
        "use 2 to 40 of a-z",
        "summary, in one line [Does things]: ",
        "pack build tool",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let manifest = read(&world, "tool/pack.yaml");
    assert!(manifest.starts_with("name: better\nversion: \"1.2.3\"\nsummary: Does things\n"), "{manifest}");
    // Who ends the input has nothing written.
    world.write("other/Makefile", "");
    let (status, shown) = on_terminal(&world, &["init", "other"], "\u{4}");
    assert_eq!(status, Some(1), "{shown}");
    assert!(!world.home("other/pack.yaml").exists());
}

/// Errors of the new keys, whole, as they are shown.
#[test]
fn errors_show_the_line_and_what_to_do() {
    let world = World::new();
    for (line, shown) in [
        (
            "apps: {web: {command: x, daemon: simpel}}",
            "error: `daemon` cannot be `simpel`
 --> p/pack.yaml:4:34
  |
4 | apps: {web: {command: x, daemon: simpel}}
  |                                  ^^^^^^

hint: did you mean `simple`?
",
        ),
        (
            "layout: {/usr/share/x: {bind: $SNAP/x}}",
            "error: `$SNAP/x` begins with a variable of snap's: write $PACK
 --> p/pack.yaml:4:31
  |
4 | layout: {/usr/share/x: {bind: $SNAP/x}}
  |                               ^^^^^^^
",
        ),
        (
            "layout: {/proc/x: {type: tmpfs}}",
            "error: `layout./proc/x` cannot be shown: /proc is the sandbox's own or the user's
 --> p/pack.yaml:4:10
  |
4 | layout: {/proc/x: {type: tmpfs}}
  |          ^^^^^^^
",
        ),
        (
            "hooks: {instal: {}}",
            "error: unknown key `instal`
 --> p/pack.yaml:4:9
  |
4 | hooks: {instal: {}}
  |         ^^^^^^

hint: did you mean `install`?
",
        ),
        (
            "apps: {web: {command: x, completer: x.sh}}",
            "error: `completer` is not supported by this version of pack
 --> p/pack.yaml:4:26
  |
4 | apps: {web: {command: x, completer: x.sh}}
  |                          ^^^^^^^^^

hint: leave it out: a script of the package's would run in the person's own shell, outside of the sandbox
",
        ),
    ] {
        world.write("p/pack.yaml", format!("name: p-p\nversion: '1'\nbase: host\n{line}\n"));
        let told = err(&fail(world.pack(["build", "p"]), 1));
        let home = format!("{}/", world.path("home").canonicalize().unwrap().display());
        assert_eq!(told.replace(&home, ""), shown);
    }
}

/// The schema is JSON on standard output, and the same as the library's.
#[test]
fn schema_is_printed_as_json() {
    let world = World::new();
    let schema: serde_json::Value = serde_json::from_str(&out(&succeed(world.pack(["schema"])))).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["title"], "pack.yaml");
    assert_eq!(schema, pack_schemas::manifest::schema::manifest());
}
