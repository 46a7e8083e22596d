//! `pack install`: what is shown and asked, what is refused, what is there afterwards.

#[path = "support/assembled.rs"]
mod assembled;
mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use assembled::{damage, fingerprint};
use support::{World, err, eventually, fail, out, succeed};
use terminal::on_terminal;

const MANIFEST: &str = "name: greeter\nversion: '1.0'\nbase: host\napps:\n  greeter: {command: bin/greeter}\n\
    \x20 web: {command: bin/greeter, plugs: [network, home]}\n\
    parts: {p: {plugin: dump, source: files}}\n";

/// A world with a key and the package `greeter.pkg`.
fn world() -> World {
    let world = World::with_key();
    build(&world, MANIFEST);
    world
}

fn build(world: &World, manifest: &str) {
    world.project("greeter", manifest, &[("bin/greeter", "#!/bin/sh\necho greeting\n")]);
    world.build("greeter");
}

/// The same, where the key is somebody else's: its fingerprint.
fn foreign_world() -> (World, String) {
    let world = world();
    let key = fingerprint(&world);
    fs::remove_dir_all(world.home(".local/share/pack/keys")).unwrap();
    (world, key)
}

/// A package without a signature.
fn unsigned_world() -> World {
    let world = World::with_key();
    world.project("greeter", MANIFEST, &[("bin/greeter", "#!/bin/sh\necho greeting\n")]);
    succeed(world.pack(["build", "greeter", "-o", "greeter.pkg", "--unsigned"]));
    world
}

fn is_installed(world: &World) -> bool {
    !out(&succeed(world.pack(["list", "--json"]))).starts_with("[]")
}

#[test]
fn an_own_package_is_shown_and_installed() {
    let world = world();
    let done = succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    let (said, key) = (err(&done), fingerprint(&world));
    assert_eq!(out(&done), "");
    for line in [
        format!("  publisher  you: {key}\n"),
        "  greeter    asks for nothing\n".to_owned(),
        "  web        home: reads and changes the files in your home folder".to_owned(),
        "             network: opens network connections\n".to_owned(),
        "installed greeter 1.0 (revision x1)\n".to_owned(),
    ] {
        assert!(said.contains(&line), "{line}\n{said}");
    }
    assert!(said.starts_with("greeter 1.0 ("), "{said}");
    assert_eq!(out(&succeed(world.command(world.home(".local/bin/greeter.web")))), "greeting\n");
    let quiet = succeed(world.pack(["-q", "install", "--yes", "greeter.pkg"]));
    assert_eq!(err(&quiet), "");
}

#[test]
fn an_unknown_publisher_has_to_be_named_exactly() {
    let (world, key) = foreign_world();
    let refused = err(&fail(world.pack(["install", "--yes", "greeter.pkg"]), 1));
    assert!(refused.contains(&format!("publisher  unknown: {key}")), "{refused}");
    assert!(refused.contains(&format!("pack install --trust {key}")), "{refused}");
    let other = "0".repeat(63) + "1";
    let refused = err(&fail(world.pack(["install", "--trust", &other, "greeter.pkg"]), 1));
    assert!(refused.contains(&format!("is not signed by {other}")), "{refused}");
    // --yes and --dangerous answer other questions.
    fail(world.pack(["install", "--yes", "--dangerous", "greeter.pkg"]), 1);
    let upper = key.to_uppercase();
    for malformed in ["", &key[..63], upper.as_str()] {
        fail(world.pack(["install", "--trust", malformed, "greeter.pkg"]), 2);
    }
    assert!(!is_installed(&world));
    succeed(world.pack(["install", "--trust", &key, "greeter.pkg"]));
    // From now on without a question.
    succeed(world.pack(["remove", "greeter"]));
    succeed(world.pack(["install", "greeter.pkg"]));
}

#[test]
fn on_a_terminal_the_person_is_asked_and_no_is_no() {
    let (world, key) = foreign_world();
    for answers in ["n\n", "\n", "maybe\n"] {
        let (status, shown) = on_terminal(&world, &["install", "greeter.pkg"], answers);
        assert_eq!(status, Some(1), "{shown}");
        assert!(shown.contains("Trust this publisher?") && shown.contains(&key), "{shown}");
        assert!(!is_installed(&world));
    }
    // Yes to the publisher, no to the home folder.
    let (status, shown) = on_terminal(&world, &["install", "greeter.pkg"], "y\nn\n");
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("greeter wants `home`"), "{shown}");
    let info = out(&succeed(world.pack(["info", "greeter"])));
    assert!(
        info.contains("plug:         home (not connected)")
            && info.contains("plug:         network (connected)"),
        "{info}"
    );
    // What was declined is not asked again.
    let (status, shown) = on_terminal(&world, &["install", "greeter.pkg"], "");
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("wants `home`") && shown.contains("(you disconnected it)"), "{shown}");
}

#[test]
fn without_a_terminal_a_plug_that_needs_a_person_stays_unconnected() {
    let world = world();
    let said = err(&succeed(world.pack(["install", "greeter.pkg"])));
    assert!(said.contains("warning: `home` is not connected; `--yes` allows it"), "{said}");
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    let info = out(&succeed(world.pack(["info", "greeter"])));
    assert!(info.contains("home (connected)"), "{info}");
}

#[test]
fn an_unsigned_package_needs_dangerous_which_says_what_it_skips() {
    let world = unsigned_world();
    let refused = err(&fail(world.pack(["install", "--yes", "greeter.pkg"]), 1));
    assert!(refused.contains("is not signed") && refused.contains("--dangerous, which skips"), "{refused}");
    let said = err(&succeed(world.pack(["install", "--dangerous", "greeter.pkg"])));
    assert!(said.contains("publisher  nobody knows: it is not signed"), "{said}");
    assert!(said.contains("nobody can tell who made it"), "{said}");
    assert!(out(&succeed(world.pack(["list"]))).contains("(unsigned)"));
    assert_eq!(out(&succeed(world.pack(["run", "greeter"]))), "greeting\n");
}

#[test]
fn dangerous_lets_in_nothing_that_is_altered() {
    let world = unsigned_world();
    let package = world.home("greeter.pkg");
    let whole = fs::read(&package).unwrap();
    // The image, which alone is not parsed when a package is opened; a byte of a block and one of a table.
    for at in [200, whole.len() / 3] {
        damage(&package, at);
        let refused = err(&fail(world.pack(["install", "--yes", "--dangerous", "greeter.pkg"]), 1));
        assert!(refused.contains("is damaged"), "{at}: {refused}");
        assert!(!is_installed(&world));
        assert!(!world.home(".local/share/pack/packages/greeter").exists());
        fs::write(&package, &whole).unwrap();
    }
}

#[test]
fn a_wrong_signature_is_refused_whatever_is_asked() {
    let (world, key) = foreign_world();
    let package = world.home("greeter.pkg");
    let text = String::from_utf8_lossy(&fs::read(&package).unwrap()).into_owned();
    let signature_at = fs::read(&package).unwrap().len() - 64 - 20;
    assert!(text.contains("signature"));
    let mut bytes = fs::read(&package).unwrap();
    bytes[signature_at] = if bytes[signature_at] == b'0' { b'1' } else { b'0' };
    fs::write(&package, bytes).unwrap();
    for options in [vec![], vec!["--dangerous"], vec!["--trust", key.as_str()]] {
        let mut install = world.pack(["install", "--yes"]);
        install.args(options).arg("greeter.pkg");
        let refused = err(&fail(install, 1));
        assert!(refused.contains("does not hold"), "{refused}");
    }
    assert!(!is_installed(&world));
}

#[test]
fn another_publisher_cannot_take_the_place_of_an_installed_package_nor_of_its_data() {
    let (world, key) = foreign_world();
    succeed(world.pack(["install", "--trust", &key, "greeter.pkg"]));
    world.write(".local/share/pack/data/greeter/x1/settings", "mine");
    succeed(world.pack(["key", "generate", "other"]));
    build(&world, MANIFEST);
    let refused = err(&fail(world.pack(["install", "--yes", "greeter.pkg"]), 1));
    assert!(
        refused.contains("another publisher's package") && refused.contains("--purge greeter"),
        "{refused}"
    );
    succeed(world.pack(["remove", "greeter"]));
    let refused = err(&fail(world.pack(["install", "--yes", "greeter.pkg"]), 1));
    assert!(refused.contains("kept data"), "{refused}");
    succeed(world.pack(["remove", "--purge", "--yes", "greeter"]));
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    assert!(!world.home(".local/share/pack/data/greeter/x1/settings").exists());
}

#[test]
fn an_upgrade_asks_only_for_what_is_new_and_an_older_file_is_told() {
    let world = world();
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    build(&world, &MANIFEST.replace("'1.0'", "'2.0'"));
    let said = err(&succeed(world.pack(["install", "greeter.pkg"])));
    assert!(
        !said.contains("not connected") && said.contains("installed greeter 2.0 (revision x2)"),
        "{said}"
    );
    build(&world, MANIFEST);
    let said = err(&succeed(world.pack(["install", "greeter.pkg"])));
    assert!(said.contains("warning: 1.0 is older than the installed 2.0"), "{said}");
    assert!(said.contains("(revision x3)"), "{said}");
}

#[test]
fn a_damaged_installed_file_is_mended_by_installing_it_again() {
    let world = world();
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    let image = world.home(".local/share/pack/packages/greeter/x1.pkg");
    let whole = fs::read(&image).unwrap();
    fs::set_permissions(&image, PermissionsExt::from_mode(0o644)).unwrap();
    damage(&image, 300);
    let said = err(&succeed(world.pack(["install", "greeter.pkg"])));
    assert!(said.contains("installed again: greeter 1.0 (revision x1)"), "{said}");
    assert_eq!(fs::read(&image).unwrap(), whole);
}

/// A folder that was there before, and is too open, is closed.
#[test]
fn cve_2021_3155_the_data_is_for_its_owner_alone() {
    let world = world();
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    for folder in ["data", "data/greeter", "data/greeter/x1", "data/greeter/common", "packages", ""] {
        let path = world.home(".local/share/pack").join(folder);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o700, "{folder}");
    }
}

/// snapd waited for a FIFO and followed a link; here both are in a real image, as menu entry and as icon.
#[test]
fn cve_2024_29068_and_29069_fifos_and_links_in_a_package_are_neither_opened_nor_followed() {
    let world = World::with_key();
    let entry = "[Desktop Entry]\nType=Application\nName=Greeter\nExec=greeter\nIcon=${PACK}/icon.png\n";
    let manifest = "name: greeter\nversion: '1'\nbase: host\n\
        apps: {greeter: {command: bin/greeter, desktop: greeter.desktop}}\nparts: {p: {plugin: dump, source: files}}\n";
    world.project("greeter", manifest, &[("bin/greeter", "#!/bin/sh\n")]);
    world.write("greeter/files/greeter.desktop", entry);
    symlink("/etc/passwd", world.home("greeter/files/icon.png")).unwrap();
    world.build("greeter");
    let said = err(&succeed(world.pack(["install", "greeter.pkg"])));
    assert!(
        said.contains("the icon icon.png of app greeter is left out: it is not a regular file"),
        "{said}"
    );
    let exported =
        fs::read_to_string(world.home(".local/share/applications/greeter_greeter.desktop")).unwrap();
    assert!(!exported.contains("Icon"), "{exported}");
    assert!(!world.home(".local/share/icons").exists());
    // A link as the entry itself.
    fs::remove_file(world.home("greeter/files/greeter.desktop")).unwrap();
    symlink("/etc/hostname", world.home("greeter/files/greeter.desktop")).unwrap();
    if world.pack(["build", "greeter", "-o", "link.pkg"]).output().unwrap().status.success() {
        let refused = err(&fail(world.pack(["install", "link.pkg"]), 1));
        assert!(refused.contains("is not a regular file"), "{refused}");
    }
}

/// Escape sequences that a package could put in front of a person.
#[test]
fn cve_2023_28101_nothing_of_a_package_steers_the_terminal() {
    let world = World::with_key();
    let manifest =
        MANIFEST.replace("base: host", "base: host\nsummary: \"a\\e[2Kb\\u202Ec\"\ntitle: \"x\\e]0;y\\a\"");
    world.project("greeter", &manifest, &[("bin/greeter", "#!/bin/sh\n")]);
    let built = world.pack(["build", "greeter", "-o", "greeter.pkg"]).output().unwrap();
    let shown = if built.status.success() {
        succeed(world.pack(["install", "--yes", "greeter.pkg"]));
        let info = succeed(world.pack(["info", "greeter"]));
        [info.stdout, info.stderr].concat()
    } else {
        built.stderr
    };
    let shown = String::from_utf8(shown).unwrap();
    let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
    assert!(!shown.contains(steers), "{shown:?}");
}

#[test]
fn the_lock_is_waited_for_and_the_one_who_waits_is_told_why() {
    let world = world();
    let (ready, go_on) = (world.home("ready"), world.home("go-on"));
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    let mut holder = world.command("flock");
    holder.arg(world.home(".local/share/pack/lock")).args(["sh", "-c"]);
    holder.arg(format!("touch {}; until [ -e {} ]; do sleep 0.05; done", ready.display(), go_on.display()));
    let mut holder = holder.spawn().unwrap();
    eventually("the lock is held", || ready.exists());
    let mut install = world.pack(["install", "--yes", "greeter.pkg"]);
    install.env("PACK_LOCK_TIMEOUT", "0");
    let refused = err(&fail(install, 1));
    assert!(refused.contains("waiting for pack install greeter (process "), "{refused}");
    assert!(
        refused.contains("PACK_LOCK_TIMEOUT=SECONDS") && refused.contains(".local/share/pack/lock"),
        "{refused}"
    );
    // Reading needs no lock.
    succeed(world.pack(["list"]));
    assert_eq!(out(&succeed(world.pack(["run", "greeter"]))), "greeting\n");
    fs::write(&go_on, "").unwrap();
    assert!(holder.wait().unwrap().success());
    succeed(world.pack(["install", "--yes", "greeter.pkg"]));
    let mut wrong = world.pack(["install", "--yes", "greeter.pkg"]);
    wrong.env("PACK_LOCK_TIMEOUT", "soon");
    fail(wrong, 2);
}

#[test]
fn two_installs_at_once_both_count() {
    let world = world();
    for number in 1..=4 {
        let manifest = MANIFEST.replace("greeter", &format!("greeter{number}"));
        let name = format!("greeter{number}");
        world.project(&name, &manifest, &[(&format!("bin/{name}"), "#!/bin/sh\n")]);
        world.build(&name);
    }
    let install = |number: u32| {
        let mut install = world.pack(["install", "--yes", &format!("greeter{number}.pkg")]);
        install.stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let children: Vec<_> = (1..=4).map(install).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let listed = out(&succeed(world.pack(["list"])));
    for number in 1..=4 {
        assert!(listed.contains(&format!("greeter{number} ")), "{listed}");
    }
}

#[test]
fn what_is_no_package_is_told_with_its_name() {
    let world = World::new();
    world.write("text", "hello");
    for (file, expected) in [
        ("text", "not a pack package"),
        ("./missing", "No such file"),
        ("missing.pkg", "No such file"),
        (".", "not a regular file"),
    ] {
        let refused = err(&fail(world.pack(["install", file]), 1));
        assert!(
            refused.starts_with(&format!("error: cannot open `{file}`")) && refused.contains(expected),
            "{refused}"
        );
    }
    let refused = err(&fail(world.pack(["install", "missing"]), 1));
    assert!(refused.contains("there is no file `missing`, and no remote was added"), "{refused}");
    fail(world.pack(["install", "--channel", "edge", "./text"]), 2);
    fail(world.pack(["install"]), 2);
    assert!(!Path::new(&world.home(".local")).exists(), "nothing is left behind");
}
