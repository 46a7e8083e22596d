//! What keys of a manifest do beyond the sandbox: aliases, epochs, devmode; and what is said of those that this version only reads.

mod support;

use std::process::Command;

use support::{World, err, fail, out, succeed};

const PARTS: &str = "parts:\n  tester: {plugin: dump, source: files}\n";
const SCRIPT: &str = "#!/bin/sh\nif [ $# = 0 ]; then echo \"tester $PACK_VERSION\"; else exec \"$@\"; fi\n";

/// A project `tester` of this version, with more in its manifest.
fn project(world: &World, version: &str, more: &str) {
    let apps = if more.contains("apps:") { "" } else { "apps:\n  tester: {command: bin/tester}\n" };
    let manifest = format!("name: tester\nversion: '{version}'\nbase: host\n{more}{apps}{PARTS}");
    world.project("tester", &manifest, &[("bin/tester", SCRIPT)]);
}

fn install(world: &World, arguments: &[&str]) -> Command {
    let package = world.build("tester");
    let mut command = world.pack(["install", "--yes"]);
    command.args(arguments).arg(package);
    command
}

#[test]
fn an_alias_is_a_command_where_the_name_is_free() {
    let world = World::with_key();
    let apps = |aliases: &str| format!("apps:\n  tester: {{command: bin/tester, aliases: [{aliases}]}}\n");
    project(&world, "1", &apps("tstr, sudo, theirs, ls"));
    let theirs = world.write_program(".local/bin/theirs", "#!/bin/sh\necho theirs\n");
    let told = err(&succeed(install(&world, &[])));
    assert!(told.contains("`sudo` is not exported") && told.contains("`ls` is not exported"), "{told}");
    assert!(told.contains(&*theirs.to_string_lossy()), "{told}");
    assert_eq!(out(&succeed(world.command(world.home(".local/bin/tstr")))), "tester 1\n");
    assert_eq!(out(&succeed(world.command(&theirs))), "theirs\n");
    assert!(!world.home(".local/bin/sudo").exists() && !world.home(".local/bin/ls").exists());
    assert!(out(&succeed(world.pack(["info", "tester"]))).contains("alias:        tstr (tester)"));
    // An alias that the next version does not have goes.
    project(&world, "2", &apps("other"));
    succeed(install(&world, &[]));
    assert!(!world.home(".local/bin/tstr").exists());
    assert_eq!(out(&succeed(world.command(world.home(".local/bin/other")))), "tester 2\n");
    succeed(world.pack(["remove", "--yes", "tester"]));
    assert!(!world.home(".local/bin/other").exists() && theirs.exists());
}

/// The desktop starts what is exported; whether the app comes up is for the app to say, by a file in its own settings.
#[test]
fn an_app_starts_with_the_desktop_while_it_wants_to() {
    let world = World::with_key();
    let apps =
        |more: &str| format!("title: \"The tester\\\\n\"\napps:\n  tester: {{command: bin/tester{more}}}\n");
    project(&world, "1", &apps(", autostart: tester.desktop"));
    succeed(install(&world, &[]));
    let path = world.home(".config/autostart/tester_tester.desktop");
    let entry = std::fs::read_to_string(&path).unwrap();
    let pack = support::pack_binary().display();
    let exec = format!("Exec={pack} run --autostart tester.tester");
    assert_eq!(
        entry.lines().collect::<Vec<_>>(),
        [
            "[Desktop Entry]",
            "Type=Application",
            "Name=The tester\\\\n",
            &exec,
            "NoDisplay=true",
            "X-Pack-Name=tester",
            "X-Pack-App=tester"
        ]
    );
    let start = || out(&succeed(world.pack(["run", "--autostart", "tester.tester"])));
    assert_eq!(start(), "", "it has not asked");
    let ask = "mkdir -p $XDG_CONFIG_HOME/autostart && cd $XDG_CONFIG_HOME/autostart && ";
    let inside =
        |script: &str| succeed(world.pack(["run", "tester", "/bin/sh", "-c", &format!("{ask}{script}")]));
    inside("touch tester.desktop");
    assert_eq!(start(), "tester 1\n");
    inside("rm tester.desktop && ln -s /etc/passwd tester.desktop");
    assert_eq!(start(), "", "a link is no entry");
    inside("rm tester.desktop && mkfifo tester.desktop");
    assert_eq!(start(), "", "a FIFO is not waited for");
    // What the next version does not want goes, and what somebody else has there stays.
    project(&world, "2", &apps(""));
    succeed(install(&world, &[]));
    assert!(!path.exists());
    world.write(".config/autostart/tester_tester.desktop", "[Desktop Entry]\nName=theirs\n");
    project(&world, "3", &apps(", autostart: tester.desktop"));
    let told = err(&succeed(install(&world, &[])));
    assert!(told.contains("not exported, since a file that is not pack's is there"), "{told}");
    succeed(world.pack(["remove", "--purge", "--yes", "tester"]));
    assert!(std::fs::read_to_string(&path).unwrap().contains("theirs"));
}

#[test]
fn an_update_that_cannot_read_the_data_is_refused_and_changes_nothing() {
    let world = World::with_key();
    project(&world, "1", "");
    succeed(install(&world, &[]));
    succeed(world.pack(["run", "tester", "/bin/sh", "-c", "echo old > $HOME/data"]));
    project(&world, "3", "epoch: 2*\n");
    let refused = fail(install(&world, &[]), 1);
    assert!(err(&refused).contains("that is of epoch 0, and it is of epoch 2*"), "{}", err(&refused));
    assert!(err(&refused).contains("install a version between"), "{}", err(&refused));
    assert_eq!(out(&succeed(world.pack(["run", "tester"]))), "tester 1\n");
    // Step by step it goes.
    project(&world, "2", "epoch: 1*\n");
    succeed(install(&world, &[]));
    project(&world, "3", "epoch: 2*\n");
    succeed(install(&world, &[]));
    assert_eq!(out(&succeed(world.pack(["run", "tester", "/bin/sh", "-c", "cat $HOME/data"]))), "old\n");
    // And not back.
    project(&world, "1", "");
    assert!(err(&fail(install(&world, &[]), 1)).contains("that is of epoch 2*, and it is of epoch 0"));
    // Data that was kept when the package was removed counts; when it is gone nothing is to be read.
    succeed(world.pack(["remove", "--yes", "tester"]));
    fail(install(&world, &[]), 1);
    succeed(world.pack(["remove", "--purge", "--yes", "tester"]));
    succeed(install(&world, &[]));
}

#[test]
fn a_package_in_devmode_says_so_and_keeps_its_walls() {
    let world = World::with_key();
    project(&world, "1", "confinement: devmode\n");
    let refused = fail(install(&world, &[]), 1);
    assert!(
        err(&refused).contains("is in devmode") && err(&refused).contains("`--devmode` installs it"),
        "{}",
        err(&refused)
    );
    let told = err(&succeed(install(&world, &["--devmode"])));
    assert!(told.contains("warning: `tester` is in devmode"), "{told}");
    assert!(out(&succeed(world.pack(["inspect", "tester.pkg"]))).contains("confinement:  devmode"));
    // What the walls refuse is told, and still refused.
    let secret = world.write("secret", "the user's\n");
    let script = format!("cat {} 2>/dev/null || echo refused", secret.display());
    let output = world.pack(["run", "tester", "/bin/sh", "-c", &script]).output().unwrap();
    assert_eq!(out(&output), "refused\n");
    assert!(err(&output).contains("secret") && err(&output).contains("home"), "{}", err(&output));
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_this_version_does_not_do_is_said_once_in_a_line() {
    let world = World::with_key();
    let more = "hooks: {install: , remove: }\n\
        apps:\n  tester: {command: bin/tester, daemon: simple, timer: mon}\n  last: {command: bin/tester, daemon: oneshot}\n";
    project(&world, "1", more);
    let package = world.home("tester.pkg");
    let built = err(&succeed(world.pack([
        "build".as_ref(),
        world.home("tester").as_os_str(),
        "-o".as_ref(),
        package.as_os_str(),
    ])));
    let installed = err(&succeed(world.pack(["install".as_ref(), package.as_os_str()])));
    for told in [&built, &installed] {
        let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!(
            lines,
            [
                "warning: last, tester are services, and this version of pack starts none: they run when somebody starts them with \
                 `pack run`",
                "warning: this version of pack does not run hooks (install, remove)",
            ],
            "{told}"
        );
    }
    for (verb, what) in [("inspect", "tester.pkg"), ("info", "tester")] {
        let told = out(&succeed(world.pack([verb, what])));
        for line in [
            "service:      tester (not started by this version)",
            "hook:         install (not run by this version)",
        ] {
            assert!(told.contains(line), "{verb}: {told}");
        }
    }
    // A service is an app, and can be started so.
    assert_eq!(out(&succeed(world.pack(["run", "tester"]))), "tester 1\n");
}

#[test]
fn a_package_without_any_of_it_says_nothing() {
    let world = World::with_key();
    project(&world, "1", "");
    let told = err(&succeed(install(&world, &[])));
    assert!(!told.contains("warning"), "{told}");
}
