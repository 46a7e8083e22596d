//! `pack connect`, `pack disconnect`, `pack connections` and `pack interfaces`.

mod support;

use support::{World, err, fail, out, succeed};

/// A world where `reader` is installed, whose app wants the network, the home folder and something that pack does not have.
fn world() -> World {
    let world = World::with_key();
    world.write("Documents/letter", "Dear all\n");
    install(&world, "1");
    world
}

/// Installs a version of it, with the plugs that connect by themselves.
fn install(world: &World, version: &str) {
    let manifest = format!(
        "name: reader\nversion: '{version}'\nbase: host\nplugs: {{my-disk: {{interface: floppy}}}}\n\
         apps: {{reader: {{command: bin/reader, plugs: [home, network, my-disk]}}}}\n\
         parts: {{p: {{plugin: dump, source: files}}}}\n"
    );
    let script = "#!/bin/sh\ncat \"$PACK_REAL_HOME/Documents/letter\" 2>/dev/null || echo nothing\n";
    world.project("reader", &manifest, &[("bin/reader", script)]);
    let package = world.build("reader");
    succeed(world.pack(["install".as_ref(), package.as_os_str()]));
}

/// What `pack connections` says of a plug.
fn state_of(world: &World, plug: &str) -> String {
    let listed = out(&succeed(world.pack(["connections", "reader"])));
    let name = format!("reader:{plug}");
    let line = listed.lines().find(|line| line.split_whitespace().next() == Some(&name));
    let cells: Vec<&str> =
        line.unwrap_or_else(|| panic!("{listed}")).split("  ").filter(|cell| !cell.is_empty()).collect();
    cells[2].trim().to_owned()
}

fn read(world: &World) -> String {
    out(&succeed(world.pack(["run", "reader"])))
}

#[test]
fn a_plug_is_connected_and_disconnected_and_the_app_notices() {
    let world = world();
    assert_eq!(
        (state_of(&world, "home"), read(&world)),
        ("not connected".to_owned(), "nothing\n".to_owned())
    );
    let said = err(&succeed(world.pack(["connect", "reader:home"])));
    assert!(said.contains("`reader:home` is connected: it reads and changes the files"), "{said}");
    assert_eq!(
        (state_of(&world, "home"), read(&world)),
        ("connected by you".to_owned(), "Dear all\n".to_owned())
    );
    assert!(err(&succeed(world.pack(["connect", "reader:home"]))).contains("connected already"));
    // It stays over an update, and so does what was taken away.
    install(&world, "2");
    assert_eq!(
        (state_of(&world, "home"), read(&world)),
        ("connected by you".to_owned(), "Dear all\n".to_owned())
    );
    let said = err(&succeed(world.pack(["disconnect", "reader:home"])));
    assert!(said.contains("`reader:home` is disconnected, and stays so"), "{said}");
    assert_eq!(state_of(&world, "network"), "connected");
    succeed(world.pack(["disconnect", "reader:network"]));
    install(&world, "3");
    for plug in ["home", "network"] {
        assert_eq!(state_of(&world, plug), "disconnected by you");
    }
    assert_eq!(read(&world), "nothing\n");
    assert!(err(&succeed(world.pack(["disconnect", "reader:home"]))).contains("disconnected already"));
}

#[test]
fn what_cannot_be_connected_is_told_with_what_can() {
    let world = world();
    for (name, status, words) in [
        ("reader:hom", 1, &["no app of `reader` has a plug `hom`", "did you mean `reader:home`?"][..]),
        ("reader:sound", 1, &["it has home, my-disk, network"]),
        ("reader:my-disk", 1, &["this pack has no interface `floppy`", "`pack interfaces`"]),
        ("writer:home", 1, &["package `writer` is not installed"]),
        ("reader", 2, &["write PACKAGE:PLUG"]),
        ("reader:../x", 2, &["reader:../x"]),
    ] {
        let said = err(&fail(world.pack(["connect", name]), status));
        words.iter().for_each(|word| assert!(said.contains(word), "{name}: {said}"));
    }
    assert_eq!(state_of(&world, "my-disk"), "unknown");
}

#[test]
fn connections_are_json_as_well() {
    let world = world();
    succeed(world.pack(["connect", "reader:home"]));
    let listed: serde_json::Value =
        serde_json::from_str(&out(&succeed(world.pack(["connections", "--json"])))).unwrap();
    let plugs: Vec<(&str, bool, bool, bool)> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let flag = |name: &str| row[name].as_bool().unwrap();
            (row["plug"].as_str().unwrap(), flag("connected"), flag("manual"), flag("known"))
        })
        .collect();
    assert_eq!(
        plugs,
        [("home", true, true, true), ("my-disk", false, false, false), ("network", true, false, true)]
    );
    assert!(err(&fail(world.pack(["connections", "writer"]), 1)).contains("not installed"));
    let empty = World::new();
    assert_eq!(out(&succeed(empty.pack(["connections", "--json"]))), "[]\n");
}

#[test]
fn interfaces_are_listed_and_told_about() {
    let world = World::new();
    let listed = out(&succeed(world.pack(["interfaces"])));
    for words in
        [["home", "if you say so", "reads and changes the files"], ["network", "by itself", "opens network"]]
    {
        let shown = |line: &str| {
            let cells: Vec<&str> = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
            cells.len() == 3 && cells[0] == words[0] && cells[1] == words[1] && cells[2].starts_with(words[2])
        };
        assert!(listed.lines().any(shown), "{words:?}: {listed}");
    }
    let told = out(&succeed(world.pack(["interfaces", "home"])));
    for part in [
        "home: an app with it reads",
        "Connects only if you say so. A person's own",
        "What remains exposed: ",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let all: serde_json::Value =
        serde_json::from_str(&out(&succeed(world.pack(["interfaces", "--json"])))).unwrap();
    assert_eq!(all["network"]["auto-connect"], true);
    assert!(err(&fail(world.pack(["interfaces", "hom"]), 1)).contains("did you mean `home`?"));
}
