//! What apps ask for, how a person is told, and that nothing more is given than was said yes to.

mod support;

use support::{World, err, fail, out, succeed};

/// Builds and installs a version of `asker` whose app has these plugs, which are declared so.
fn install(world: &World, version: &str, plugs: &str, declared: &str, arguments: &[&str]) -> String {
    let manifest = format!(
        "name: asker\nversion: '{version}'\nbase: host\n{declared}apps: {{asker: {{command: bin/asker, plugs: [{plugs}]}}}}\n\
         parts: {{p: {{plugin: dump, source: files}}}}\n"
    );
    world.project("asker", &manifest, &[("bin/asker", "#!/bin/sh\nexec \"$@\"\n")]);
    let package = world.build("asker").into_os_string().into_string().unwrap();
    let words = [&["install"], arguments, &[package.as_str()]].concat();
    err(&succeed(world.pack(words)))
}

fn connected(world: &World) -> Vec<String> {
    let listed = out(&succeed(world.pack(["connections", "asker", "--json"])));
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let rows = rows.as_array().unwrap().iter().filter(|row| row["connected"] == true);
    rows.map(|row| row["plug"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_an_update_asks_for_beyond_is_never_given_silently() {
    let world = World::with_key();
    install(&world, "1", "network", "", &[]);
    assert_eq!(connected(&world), ["network"]);
    // Of itself audio-playback connects, but here it is new.
    let said = install(&world, "2", "network, audio-playback, home", "", &[]);
    assert_eq!(connected(&world), ["network"]);
    for plug in ["audio-playback", "home"] {
        assert!(said.contains(&format!("`{plug}` is not connected; `--yes` allows it")), "{said}");
    }
    let said = install(&world, "3", "network, audio-playback, home", "", &["--yes"]);
    assert!(!said.contains("is not connected"), "{said}");
    assert_eq!(connected(&world), ["audio-playback", "home", "network"]);
}

#[test]
fn a_plug_that_asks_for_more_than_it_had_is_asked_about_again() {
    let world = World::with_key();
    let declared = |read: &str| format!("plugs: {{notes: {{interface: personal-files, read: [{read}]}}}}\n");
    install(&world, "1", "notes", &declared("$HOME/.notes"), &["--yes"]);
    world.write(".notes/a", "note");
    world.write(".ssh/id_ed25519", "key");
    let cat = |path: &str| {
        let mut run = world.pack(["run", "asker", "cat"]);
        out(&run.arg(world.home(path)).output().unwrap())
    };
    assert_eq!((cat(".notes/a"), cat(".ssh/id_ed25519")), ("note".to_owned(), String::new()));
    let said = install(&world, "2", "notes", &declared("$HOME/.notes, $HOME/.ssh"), &[]);
    assert!(said.contains("it asks for something else than before"), "{said}");
    assert!(said.contains("read: $HOME/.notes, $HOME/.ssh"), "{said}");
    assert!(connected(&world).is_empty());
    assert_eq!((cat(".notes/a"), cat(".ssh/id_ed25519")), (String::new(), String::new()));
    succeed(world.pack(["connect", "asker:notes"]));
    assert_eq!((cat(".notes/a"), cat(".ssh/id_ed25519")), ("note".to_owned(), "key".to_owned()));
    // Asking for less is asking for something else, too; simple, and never wrong.
    install(&world, "3", "notes", &declared("$HOME/.notes"), &[]);
    assert!(connected(&world).is_empty());
}

#[test]
fn named_hosts_and_offered_ports_are_no_plugs_of_one_app() {
    let world = World::with_key();
    let build = |apps: &str| {
        let manifest = format!(
            "name: asker\nversion: '1'\nbase: host\nplugs: {{net: {{interface: network, hosts: [example.org]}}}}\n\
             apps:\n{apps}parts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        world.project("asker", &manifest, &[("bin/x", "")]);
        world.pack(["build".as_ref(), world.home("asker").as_os_str()])
    };
    let said = err(&fail(build("  asker: {command: bin/x, plugs: [net, network-bind]}\n"), 1));
    assert!(
        said.contains("pack.yaml:6:40") && said.contains("the hosts of `net` cannot be kept to"),
        "{said}"
    );
    // Each in an app of its own is another thing.
    let apart =
        "  asker: {command: bin/x, plugs: [net]}\n  server: {command: bin/x, plugs: [network-bind]}\n";
    succeed(build(apart));
}

#[test]
fn attributes_are_checked_where_they_are_written() {
    let world = World::with_key();
    for (declared, place, words) in [
        ("plugs: {asker: {interface: network, prots: 1}}", "prots", "has no attribute `prots`"),
        ("plugs: {asker: {interface: network, ports: [0]}}", "[0]", "write ports from 1 to 65535"),
        ("plugs: {asker: {interface: network, hosts: ['a b']}}", "['a b']", "it is no host"),
        // Nothing would be a limit that limits nothing.
        ("plugs: {asker: {interface: network, hosts: []}}", "hosts", "the list is empty"),
        ("plugs: {asker: {interface: network, ports: []}}", "ports", "the list is empty"),
        ("plugs: {asker: {interface: personal-files, read: []}}", "", "the list is empty"),
        // What the manifest says is quoted, and turns no line around.
        (
            "plugs: {asker: {interface: system-files, read: [\"/dev/\\u202Eads\"]}}",
            "\\u{202e}ads",
            "acts outside",
        ),
        (
            "plugs: {asker: {interface: personal-files, write: ['$HOME/.config/autostart/x']}}",
            "",
            "acts outside",
        ),
        ("plugs: {asker: {interface: personal-files, write: ['$HOME/.config']}}", "", "acts outside"),
        ("plugs: {asker: {interface: personal-files, read: ['$HOME/../other']}}", "", "no empty component"),
        (
            "plugs: {asker: {interface: personal-files, read: ['$HOME/.local/share/pack/keys']}}",
            "",
            "acts outside",
        ),
        ("plugs: {asker: {interface: system-files, read: [/etc/shadow]}}", "", "acts outside"),
        ("plugs: {asker: {interface: system-files, read: [/]}}", "", "no empty component"),
        ("plugs: {asker: {interface: system-files, write: [/dev/sda]}}", "", "acts outside"),
        ("plugs: {asker: {interface: serial-port}}", "", "the attribute `path` is missing"),
        ("plugs: {asker: {interface: serial-port, path: /dev/sda1}}", "", "write one of"),
        ("plugs: {asker: {interface: serial-port, path: /dev/ttyUSB0/../sda}}", "", "write one of"),
        ("plugs: {asker: {interface: dbus, name: org.freedesktop.systemd1}}", "", "belongs to the desktop"),
        ("plugs: {asker: {interface: system-files, read: [/var/run]}}", "", "acts outside"),
        ("plugs: {asker: {interface: system-files, read: [/var/tmp/x]}}", "", "acts outside"),
        ("plugs: {asker: {interface: personal-files, write: ['$HOME/.bash_aliases']}}", "", "acts outside"),
        (
            "plugs: {asker: {interface: personal-files, write: ['$HOME/.config/fish/conf.d']}}",
            "",
            "acts outside",
        ),
        (
            "plugs: {asker: {interface: dbus, name: org.gnome.Mutter.RemoteDesktop}}",
            "",
            "belongs to the desktop",
        ),
        ("plugs: {asker: {interface: dbus, name: ca.desrt.dconf}}", "", "belongs to the desktop"),
        ("plugs: {asker: {interface: dbus, name: 'org.*'}}", "", "no name of a bus"),
        ("plugs: {asker: {interface: dbus, name: 'org.example.*'}}", "", "three words"),
        ("slots: {asker: {interface: network}}", "", "cannot be there"),
    ] {
        let slot = declared.starts_with("slots");
        let uses = if slot { "slots: [asker]" } else { "plugs: [asker]" };
        let manifest = format!(
            "name: asker\nversion: '1'\nbase: host\n{declared}\napps: {{asker: {{command: bin/x, {uses}}}}}\n\
             parts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        world.project("asker", &manifest, &[("bin/x", "")]);
        let said = err(&fail(world.pack(["build".as_ref(), world.home("asker").as_os_str()]), 1));
        let words = if slot { "apps cannot offer the interface" } else { words };
        assert!(!said.contains('\u{202e}'), "{declared}: {said}");
        assert!(
            said.contains(words) && said.contains(place) && said.contains("pack.yaml:4:"),
            "{declared}: {said}"
        );
    }
}

#[test]
fn a_misspelled_interface_is_told_at_build() {
    let world = World::with_key();
    let manifest = "name: asker\nversion: '1'\nbase: host\napps: {asker: {command: bin/x, plugs: [netwrok]}}\n\
                    parts: {p: {plugin: dump, source: files}}\n";
    world.project("asker", manifest, &[("bin/x", "")]);
    let said = err(&succeed(world.pack(["build".as_ref(), world.home("asker").as_os_str()])));
    assert!(said.contains("no interface `netwrok`") && said.contains("did you mean `network`?"), "{said}");
}

#[test]
fn cve_2023_28101_attributes_cannot_steer_the_terminal_that_shows_them() {
    let world = World::with_key();
    let declared = "plugs: {notes: {interface: personal-files, read: [\"$HOME/.a\\u202eb\"]}}\n";
    let said = install(&world, "1", "notes", declared, &[]);
    assert!(said.contains("$HOME/.a\\u{202e}b") && !said.contains('\u{202e}'), "{said}");
}

#[test]
fn a_package_is_explained_before_it_is_installed_as_it_runs_afterwards() {
    let world = World::with_key();
    let before = {
        let manifest = "name: asker\nversion: '1'\nbase: host\napps: {asker: {command: bin/asker, plugs: [network, documents]}}\n\
                        parts: {p: {plugin: dump, source: files}}\n";
        world.project("asker", manifest, &[("bin/asker", "#!/bin/sh\n")]);
        let package = world.build("asker");
        out(&succeed(world.pack(["inspect".as_ref(), "--plan".as_ref(), package.as_os_str()])))
    };
    world.install("asker");
    let after = out(&succeed(world.pack(["run", "--explain", "asker"])));
    assert_eq!(before.replace("x0", "x1"), after);
    for line in ["(the host's network is shared)  [plug network]", "[plug documents]", "[every app]"] {
        assert!(after.contains(line), "{line}: {after}");
    }
}
