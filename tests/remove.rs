//! `pack remove`: what goes, what stays, and that it is asked about.

mod support;
#[path = "support/terminal.rs"]
mod terminal;

use support::{World, err, fail, out, succeed};
use terminal::on_terminal;

const MANIFEST: &str = "name: greeter\nversion: '1.0'\nbase: host\n\
    apps: {greeter: {command: bin/greeter, desktop: greeter.desktop}}\nparts: {p: {plugin: dump, source: files}}\n";
const ENTRY: &str = "[Desktop Entry]\nType=Application\nName=Greeter\nExec=greeter\n";

/// A world where `greeter` is installed and has written a file into each of its data folders.
fn world() -> World {
    let world = World::with_key();
    let script = "#!/bin/sh\necho mine >$PACK_USER_DATA/file; echo mine >$PACK_USER_COMMON/file\n";
    world.project("greeter", MANIFEST, &[("bin/greeter", script), ("greeter.desktop", ENTRY)]);
    world.install("greeter");
    succeed(world.pack(["run", "greeter"]));
    world
}

fn data(world: &World) -> std::path::PathBuf {
    world.home(".local/share/pack/data/greeter")
}

#[test]
fn removal_takes_its_exports_away_and_keeps_the_data() {
    let world = world();
    world.write_program(".local/bin/mine", "mine");
    let said = err(&succeed(world.pack(["remove", "greeter"])));
    assert!(said.contains("keeps data of greeter: 2 files") && said.contains("removed greeter\n"), "{said}");
    assert!(data(&world).join("x1/file").exists() && data(&world).join("common/file").exists());
    assert!(!world.home(".local/bin/greeter").exists() && world.home(".local/bin/mine").exists());
    assert!(!world.home(".local/share/applications/greeter_greeter.desktop").exists());
    assert_eq!(err(&succeed(world.pack(["list"]))), "nothing is installed\n");
    assert!(out(&succeed(world.pack(["list", "--all"]))).contains("removed, data kept"));
    let refused = err(&fail(world.pack(["run", "greeter"]), 125));
    assert!(refused.contains("not installed"), "{refused}");
    // Installed again, it finds its data.
    world.install("greeter");
    assert!(data(&world).join("x2/file").exists() && !data(&world).join("x1").exists());
}

#[test]
fn a_purge_says_what_it_deletes_and_needs_a_yes() {
    let world = world();
    let refused = err(&fail(world.pack(["remove", "--purge", "greeter"]), 1));
    assert!(refused.contains("would delete data: 2 files") && refused.contains("`--yes`"), "{refused}");
    let (status, shown) = on_terminal(&world, &["remove", "--purge", "greeter"], "n\n");
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("deletes data of greeter: 2 files") && shown.contains("Delete it?"), "{shown}");
    assert!(data(&world).join("x1/file").exists());
    succeed(world.pack(["run", "greeter"]));
    let (status, shown) = on_terminal(&world, &["remove", "--purge", "greeter"], "y\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(!data(&world).exists() && !world.home(".local/share/pack/packages/greeter").exists());
}

#[test]
fn data_that_was_kept_can_be_purged_later() {
    let world = world();
    succeed(world.pack(["remove", "greeter"]));
    let refused = err(&fail(world.pack(["remove", "greeter"]), 1));
    assert!(refused.contains("its data is still there") && refused.contains("--purge greeter"), "{refused}");
    succeed(world.pack(["remove", "--purge", "--yes", "greeter"]));
    assert!(!data(&world).exists());
    let refused = err(&fail(world.pack(["remove", "--purge", "greeter"]), 1));
    assert!(refused.contains("not installed"), "{refused}");
}

#[test]
fn a_removal_that_was_killed_is_completed_by_running_it_again() {
    let world = world();
    let package = world.home(".local/share/pack/packages/greeter");
    // What a removal killed after its first step leaves.
    std::fs::rename(package.join("state.json"), package.join("removing.json")).unwrap();
    let refused = err(&fail(world.pack(["run", "greeter"]), 125));
    assert!(refused.contains("is being removed"), "{refused}");
    let said = err(&succeed(world.pack(["remove", "greeter"])));
    assert!(said.contains("completed what an earlier run left of `greeter`"), "{said}");
    assert!(!world.home(".local/bin/greeter").exists() && data(&world).join("common/file").exists());
}

#[test]
fn a_running_app_keeps_its_files_until_it_ends() {
    let world = World::with_key();
    let manifest = MANIFEST.replace(", desktop: greeter.desktop", "");
    world.project(
        "greeter",
        &manifest,
        &[("bin/greeter", "#!/bin/sh\necho ready; read line; cat /app/text\n")],
    );
    world.write("greeter/files/text", "still there\n");
    world.install("greeter");
    let mut run = world.pack(["run", "greeter"]);
    run.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut app = run.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(app.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    succeed(world.pack(["remove", "--purge", "--yes", "greeter"]));
    std::io::Write::write_all(&mut app.stdin.take().unwrap(), b"go\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "still there");
    assert!(app.wait().unwrap().success());
}

#[test]
fn names_that_are_none_are_wrong_usage() {
    let world = World::new();
    for name in ["../x", "a/b", "", "Greeter"] {
        fail(world.pack(["remove", name]), 2);
    }
}
