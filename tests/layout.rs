//! Layouts and command chains, in real sandboxes: what is shown, what can be written, and that nothing but the package and the app's
//! own data comes in that way.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use support::{World, err, fail, out, succeed};

const LAYOUT: &str = "layout:
  /usr/share/tester: {bind: $PACK/share}
  /usr/share/doc/tester.txt: {bind-file: $PACK/share/readme}
  /opt/tester: {symlink: $PACK/share}
  /usr/lib/tester: {symlink: $PACK/share}
  /var/lib/tester: {bind: $PACK_USER_COMMON/deep/state}
  /etc/tester.conf: {bind-file: $PACK_USER_DATA/tester.conf}
  /usr/share/tester-cache: {type: tmpfs}
  /srv/tester: {bind: $PACK/share}
";

/// A world with `tester`, which runs its arguments, and this layout.
fn world(base: &str, layout: &str) -> World {
    let world = World::with_key();
    let manifest = format!(
        "name: tester\nversion: '1'\n{base}\n{layout}apps:\n  tester: {{command: usr/bin/tester}}\n\
         parts:\n  tester: {{plugin: dump, source: files}}\n"
    );
    let files = [
        ("usr/bin/tester", "#!/bin/sh\nexec \"$@\"\n"),
        ("share/readme", "read me\n"),
        ("usr/share/own", "own\n"),
    ];
    world.project("tester", &manifest, &files);
    world.install("tester");
    world
}

fn inside(world: &World, script: &str) -> std::process::Command {
    world.pack(["run", "tester", "/bin/sh", "-c", script])
}

#[track_caller]
fn tell(world: &World, script: &str) -> String {
    out(&succeed(inside(world, script)))
}

#[test]
fn what_the_layout_names_is_shown_at_its_places() {
    for base in ["base: host", "base: host\nrootfs: merged"] {
        let world = world(base, LAYOUT);
        let script = "cat /usr/share/tester/readme /usr/share/doc/tester.txt /opt/tester/readme /usr/lib/tester/readme /srv/tester/readme
            readlink /opt/tester /usr/lib/tester
            ls -d /usr/share/doc/bash /usr/bin/env";
        let expected = format!(
            "{}{}",
            "read me\n".repeat(5),
            "/app/share\n/app/share\n/usr/bin/env\n/usr/share/doc/bash\n"
        );
        assert_eq!(tell(&world, script), expected, "{base}");
        // The package's are read-only, the app's own and the tmpfs can be written to; and what is beside stays shut.
        let script = "for place in /usr/share/tester /srv/tester /usr/share /usr/share/tester-cache /var/lib/tester /opt; do
              if ( : > $place/new ) 2>/dev/null; then echo $place; fi
            done
            echo kept > /var/lib/tester/new; echo set > /etc/tester.conf; ls /usr/share/tester-cache";
        assert_eq!(tell(&world, script), "/usr/share/tester-cache\n/var/lib/tester\nnew\n", "{base}");
        // They are the files of the data folders.
        let script =
            "cat $PACK_USER_COMMON/deep/state/new $PACK_USER_DATA/tester.conf; ls /usr/share/tester-cache";
        assert_eq!(tell(&world, script), "kept\nset\n", "{base}");
        assert_eq!(tell(&world, "cat /etc/tester.conf"), "set\n", "a file that is there stays");
    }
}

#[test]
fn merged_packages_keep_their_own_usr_below_the_places() {
    let world = world("base: host\nrootfs: merged", LAYOUT);
    assert_eq!(tell(&world, "cat /usr/share/own /usr/share/tester/readme"), "own\nread me\n");
}

/// The app has its data to write, and may put links there: for the next launch they are an error, and never a way out.
#[test]
fn a_link_that_the_app_plants_in_its_data_is_not_followed() {
    let world = world("base: host", LAYOUT);
    let secret = world.write("secret/key", "the user's\n");
    let folder = secret.parent().unwrap();
    succeed(inside(&world, "true"));
    let script = format!(
        "rm -r $PACK_USER_COMMON/deep/state && ln -s {} $PACK_USER_COMMON/deep/state",
        folder.display()
    );
    tell(&world, &script);
    let refused = err(&fail(inside(&world, "cat /var/lib/tester/key"), 125));
    assert!(refused.contains("deep/state") && !refused.contains("the user's"), "{refused}");
    // In the middle of the way too.
    let common = world.home(".local/share/pack/data/tester/common");
    fs::remove_file(common.join("deep/state")).unwrap();
    fs::remove_dir(common.join("deep")).unwrap();
    symlink(folder, common.join("deep")).unwrap();
    fail(inside(&world, "true"), 125);
    assert!(!folder.join("state").exists(), "nothing is made where a link leads");
    fs::remove_file(common.join("deep")).unwrap();
    // And for a file, which would be opened for writing.
    let conf = fs::read_dir(world.home(".local/share/pack/data/tester")).unwrap();
    let conf =
        conf.map(|entry| entry.unwrap().path().join("tester.conf")).find(|path| path.exists()).unwrap();
    fs::remove_file(&conf).unwrap();
    symlink(&secret, &conf).unwrap();
    let refused = err(&fail(inside(&world, "echo gone > /etc/tester.conf"), 125));
    assert!(refused.contains("tester.conf"), "{refused}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "the user's\n");
}

/// A link inside the package leads nowhere but within the sandbox.
#[test]
fn a_link_in_the_package_shows_nothing_of_the_hosts() {
    let world = World::with_key();
    world.write("secret/key", "the user's\n");
    let home = world.home("secret");
    let manifest = format!(
        "name: tester\nversion: '1'\nbase: host\nlayout:\n  /opt/out: {{bind: $PACK/out}}\n  /srv/out: {{bind: $PACK/out/key}}\n\
         apps:\n  tester: {{command: bin/tester}}\n\
         parts:\n  tester:\n    plugin: dump\n    source: files\n    override-build: |\n      \
         cp -r \"$PACK_PART_SRC/.\" \"$PACK_PART_INSTALL\"; ln -s {} \"$PACK_PART_INSTALL/out\"\n",
        home.display()
    );
    world.project("tester", &manifest, &[("bin/tester", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("tester");
    // Through the link to a file is no way at all.
    let refused = err(&fail(inside(&world, "true"), 125));
    assert!(refused.contains("/app/out/key"), "{refused}");
    world.project("tester", &manifest.replace("  /srv/out: {bind: $PACK/out/key}\n", ""), &[]);
    world.install("tester");
    assert_eq!(
        tell(&world, "readlink /opt/out >/dev/null && cat /opt/out/key 2>/dev/null || echo shut"),
        "shut\n"
    );
}

#[test]
fn explain_names_the_places() {
    let world = world("base: host", LAYOUT);
    let told = out(&succeed(world.pack(["run", "--explain", "tester"])));
    for line in [
        "/var/lib/tester",
        "the places of the layout over the host's /usr, read-only",
        "the package's share, read-only",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

/// The first program of a chain gets the others, the command and all arguments, and executes them.
#[test]
fn a_command_chain_runs_one_in_the_other() {
    let world = World::with_key();
    let manifest = "name: tester\nversion: '1'\nbase: host\napps:\n  tester:\n    command: bin/tester\n    args: [own]\n    \
        command-chain: [bin/first, bin/second]\nparts:\n  tester: {plugin: dump, source: files}\n";
    world.project(
        "tester",
        manifest,
        &[
            ("bin/first", "#!/bin/sh\necho first \"$#\" \"$1\"\nexport FIRST=1\nexec \"$@\"\n"),
            ("bin/second", "#!/bin/sh\necho second \"$#\"\nexec \"$@\"\n"),
            ("bin/tester", "#!/bin/sh\necho \"$0\" \"$FIRST\" \"$@\"\n"),
        ],
    );
    world.install("tester");
    let told = out(&succeed(world.pack(["run", "tester", "a b", "--c"])));
    assert_eq!(told, "first 5 /app/bin/second\nsecond 4\n/app/bin/tester 1 own a b --c\n");
}
