//! Bases: packages that others run on, built from packaging/bases and used by real programs.

#[path = "support/debian_base.rs"]
mod debian_base;
mod support;
#[path = "support/x_server.rs"]
mod x_server;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use debian_base::{copy_project, world_with_base};
use support::{World, err, eventually, fail, out, succeed};
use x_server::{Ended, XServer};

/// jq from Debian's packages, and files of the project's own.
fn jq_project(world: &World, rootfs: &str) {
    let manifest = format!(
        "name: tool\nversion: '1'\nbase: debian-12\nrootfs: {rootfs}\n\
         apps:\n  tool: {{command: usr/bin/jq}}\n  sh: {{command: usr/bin/run}}\n\
         parts:\n  jq: {{plugin: nil, stage-packages: [jq], prime: [-usr/share/man]}}\n  \
         files: {{plugin: dump, source: files}}\n"
    );
    let files = [
        ("usr/bin/run", "#!/bin/sh\nexec \"$@\"\n"),
        ("etc/ssl/of-package", "package\n"),
        ("etc/gai.conf", "package\n"),
        ("etc/fonts/of-package", "package\n"),
        ("var/lib/tool/data", "data\n"),
        ("opt/tool/data", "data\n"),
    ];
    world.project("tool", &manifest, &files);
}

/// What a script in the sandbox of `tool` prints.
#[track_caller]
fn tell(world: &World, script: &str) -> String {
    out(&succeed(world.pack(["run", "tool.sh", "/bin/sh", "-c", script])))
}

#[test]
fn a_program_finds_debian_around_it_and_its_own_libraries() {
    let world = world_with_base();
    jq_project(&world, "app");
    world.install("tool");
    assert_eq!(out(&succeed(world.pack(["run", "tool", "-n", "1 + 1"]))), "2\n");
    assert_eq!(tell(&world, ". /etc/os-release; echo $ID $VERSION_ID"), "debian 12\n");

    // Of what jq depends on only what the base has not was brought.
    let brought = tell(&world, "cd /app/usr/lib/*-linux-gnu && ls -d libjq.so.1 libc.so* || true");
    assert_eq!(brought, "libjq.so.1\n");
    // The package is at /app, and nowhere else.
    assert_eq!(tell(&world, "cat /etc/ssl/of-package 2>/dev/null || echo none"), "none\n");

    let script = "echo a b | awk '{print $2}'; which which; echo x | lzma | unlzma; echo ok | openssl sha1 >&-; \
                  bash -c 'a=(1 2); echo ${a[1]}'; TZ=Asia/Tokyo date -d @0 +%H; LC_ALL=C.UTF-8 locale charmap; \
                  getent services https; getent hosts localhost | grep -o localhost; printf 'é' | iconv -t latin1 | wc -c; \
                  tput -T xterm-256color colors; ls -d /etc/profile 2>/dev/null";
    let expected = "b\n/usr/bin/which\nx\n2\n09\nUTF-8\nhttps                 443/tcp\nlocalhost\n1\n256\n";
    assert_eq!(out(&world.pack(["run", "tool.sh", "/bin/sh", "-c", script]).output().unwrap()), expected);

    let certificates = tell(&world, "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; openssl version -d");
    let (count, folder) = certificates.split_once('\n').unwrap();
    assert!(count.parse::<u32>().unwrap() > 100, "{count}");
    assert_eq!(folder.trim(), "OPENSSLDIR: \"/usr/lib/ssl\"");
}

#[test]
fn every_program_and_library_of_the_base_finds_what_it_is_linked_with() {
    let world = world_with_base();
    jq_project(&world, "app");
    world.install("tool");
    let missing = tell(
        &world,
        "for file in /usr/bin/* /usr/sbin/* $(find /usr/lib -name '*.so*'); do ldd $file 2>/dev/null | \
         grep 'not found' | sed \"s|^|$file|\"; done; true",
    );
    assert_eq!(missing, "");
    assert_eq!(tell(&world, "find /usr /etc /var -xdev -xtype l 2>/dev/null; true"), "", "links to nothing");
    assert_eq!(tell(&world, "find /usr /etc /var -perm /7000 -a ! -type l -a ! -path /var/tmp; true"), "");
    // No script is there whose interpreter is not.
    let interpreters = tell(
        &world,
        "for file in /usr/bin/* /usr/sbin/*; do head -c 120 $file | head -n 1 | tr -d '\\0' | grep -a '^#!'; done | \
         sed 's/^#! *//; s/ .*//' | sort -u | while read program; do test -x $program || echo $program; done",
    );
    assert_eq!(interpreters, "");
}

#[test]
fn merged_lays_the_package_over_the_base_folder_by_folder() {
    let world = world_with_base();
    jq_project(&world, "merged");
    world.install("tool");
    assert_eq!(out(&succeed(world.pack(["run", "tool", "-n", "1 + 1"]))), "2\n");
    let script = "which jq awk; ls /usr/lib/*-linux-gnu/libjq.so.1 | wc -l; cat /etc/ssl/of-package /etc/gai.conf; \
                  ls /etc/fonts; ls -d /etc/ssl/certs/ca-certificates.crt /etc/services; cat /var/lib/tool/data /opt/tool/data; \
                  ls -d /var/lib/dpkg/status.d/libc6; echo x > /var/tmp/x && cat /var/tmp/x; echo ${LD_LIBRARY_PATH-none}";
    let expected = "/usr/bin/jq\n/usr/bin/awk\n1\npackage\npackage\nof-package\n/etc/services\n\
                    /etc/ssl/certs/ca-certificates.crt\ndata\ndata\n/var/lib/dpkg/status.d/libc6\nx\nnone\n";
    assert_eq!(tell(&world, script), expected);

    let explained = out(&succeed(world.pack(["run", "--explain", "tool"])));
    let usr = explained.lines().find(|line| line.trim_start().starts_with("/usr ")).unwrap();
    assert!(usr.contains("base"), "{usr}");
}

#[test]
fn nothing_of_the_base_can_be_changed_and_nothing_of_the_hosts_usr_is_there() {
    let world = world_with_base();
    jq_project(&world, "merged");
    world.install("tool");
    let script = "for file in /usr/x /usr/bin/x /usr/lib/x /usr/bin/jq /usr/bin/dash /etc/x /etc/ssl/x /etc/ssl/certs/x \
                  /etc/services /var/x /var/lib/x /opt/x /app/x /x; do \
                  (echo x > $file) 2>/dev/null && echo \"$file was written\"; done; \
                  rm -f /usr/bin/jq /usr/bin/dash 2>/dev/null && echo removed; \
                  chmod 777 /usr/bin/dash 2>/dev/null && echo changed; \
                  mount -o remount,rw /usr 2>/dev/null && echo remounted; umount /usr 2>/dev/null && echo uncovered; \
                  ls -d /.base /.layers /app/../.base 2>/dev/null; true";
    assert_eq!(tell(&world, script), "");

    // What is mounted from a disk of the host's is named one by one; all else is the packages', or the sandbox's own.
    let mounts = tell(&world, "cat /proc/self/mountinfo");
    for line in mounts.lines() {
        let (before, after) = line.split_once(" - ").unwrap();
        let fields: Vec<&str> = before.split(' ').collect();
        let (at, options) = (fields[4], fields[5]);
        let kind = after.split(' ').next().unwrap();
        let of_host = !["tmpfs", "proc", "devpts", "overlay"].contains(&kind) && !kind.starts_with("fuse");
        let expected = ["/etc/host.conf", "/etc/machine-id", "/etc/localtime"].contains(&at)
            || at.starts_with("/dev/")
            || at.contains("/.local/share/pack/data/tool/");
        assert!(!of_host || expected, "{line}");
        if at == "/" || ["/usr", "/etc", "/opt", "/app", "/var/lib"].iter().any(|top| at.starts_with(top)) {
            assert!(options.split(',').any(|option| option == "ro"), "{line}");
        }
        assert!(!after.contains("upperdir"), "{line}");
    }
    assert!(mounts.contains(" /usr "), "{mounts}");

    // Nor does the running program have anything of the host's /usr in its memory.
    let maps = tell(&world, "cat /proc/self/maps");
    let device = rustix::fs::stat("/usr/bin/env").unwrap().st_dev;
    let device = format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device));
    for line in maps.lines().filter(|line| line.contains(" /")) {
        assert_ne!(line.split_whitespace().nth(3), Some(device.as_str()), "{line}");
    }
}

#[test]
fn a_missing_base_is_named_with_what_to_do() {
    let world = World::with_key();
    let manifest = "name: tool\nversion: '1'\nbase: debian-12\napps:\n  tool: {command: bin/run}\n\
                    parts:\n  tool: {plugin: dump, source: files}\n";
    world.project("tool", manifest, &[("bin/run", "#!/bin/sh\n")]);
    let package = world.build("tool");
    let mut install = world.pack(["install"]);
    install.arg(&package);
    let refused = err(&fail(install, 1));
    assert!(
        refused.contains("package `tool` needs the base `debian-12`, which is not installed"),
        "{refused}"
    );
    assert!(
        refused.contains("hint: install the base first: `pack install` the package file of `debian-12`"),
        "{refused}"
    );
    assert!(out(&succeed(world.pack(["list"]))).is_empty());

    // What is staged depends on the base, so a build wants it too.
    world.write("tool/pack.yaml", manifest.replace("source: files", "source: files, stage-packages: [jq]"));
    let mut build = world.pack(["build"]);
    build.arg(world.home("tool"));
    let refused = err(&fail(build, 1));
    assert!(refused.contains("the base of the project cannot be used"), "{refused}");
    assert!(refused.contains("hint: install the base first"), "{refused}");
}

/// A base with nothing but a shell in it, and a word.
fn shell_base(world: &World, word: &str) {
    let manifest = format!(
        "name: shell\nversion: '{word}'\ntype: base\nbase: none\nparts:\n  \
         shell:\n    plugin: nil\n    stage-packages: [busybox-static]\n    override-build: |\n      \
         cd $PACK_PART_INSTALL\n      ln -s busybox usr/bin/sh\n      ln -s busybox usr/bin/cat\n    \
         prime: [usr/bin, bin]\n  word: {{plugin: dump, source: files}}\n"
    );
    world.project("shell", &manifest, &[("usr/share/word", &format!("{word}\n"))]);
}

fn install(world: &World, package: &Path) {
    let mut install = world.pack(["install", "--yes"]);
    install.arg(package);
    succeed(install);
}

#[test]
fn a_base_outlives_its_update_in_who_runs_and_its_removal_is_refused() {
    let world = World::with_key();
    shell_base(&world, "one");
    world.install("shell");
    let manifest = "name: reader\nversion: '1'\nbase: shell\napps:\n  reader: {command: bin/reader}\n\
                    parts:\n  reader: {plugin: dump, source: files}\n";
    let script = "#!/bin/sh\nwhile read line; do cat /usr/share/word; done\n";
    world.project("reader", manifest, &[("bin/reader", script)]);
    world.install("reader");

    let mut run = world.pack(["run", "reader"]);
    // No hold of earlier mounts plays a part.
    let mut app =
        Ended(run.env("PACK_LINGER", "0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap());
    let mut input = app.0.stdin.take().unwrap();
    let mut lines = BufReader::new(app.0.stdout.take().unwrap()).lines();
    let mut ask = move || {
        writeln!(input, "?").unwrap();
        lines.next().unwrap().unwrap()
    };
    assert_eq!(ask(), "one");

    // More updates than revisions are kept: the first one's image goes.
    for word in ["two", "three", "four"] {
        shell_base(&world, word);
        let package = world.build("shell");
        install(&world, &package);
        assert_eq!(ask(), "one", "after the update to {word}");
    }
    assert!(!world.home(".local/share/pack/packages/shell/x1.pkg").exists());
    let mut again = world.pack(["run", "reader"]);
    let mut again = again.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    again.stdin.take().unwrap().write_all(b"?\n").unwrap();
    assert_eq!(out(&again.wait_with_output().unwrap()), "four\n");

    let refused = err(&fail(world.pack(["remove", "shell"]), 1));
    assert!(refused.contains("`shell` is the base of `reader`"), "{refused}");
    assert!(refused.contains("hint: remove them first"), "{refused}");
    assert_eq!(ask(), "one");
    drop(app);
    succeed(world.pack(["remove", "reader"]));
    succeed(world.pack(["remove", "shell"]));
}

#[test]
fn a_base_that_is_gone_is_told_at_the_start() {
    let world = World::with_key();
    shell_base(&world, "one");
    world.install("shell");
    let manifest = "name: reader\nversion: '1'\nbase: shell\napps:\n  reader: {command: bin/reader}\n\
                    parts:\n  reader: {plugin: dump, source: files}\n";
    world.project("reader", manifest, &[("bin/reader", "#!/bin/sh\n")]);
    world.install("reader");
    fs::remove_dir_all(world.home(".local/share/pack/packages/shell")).unwrap();
    let refused = err(&fail(world.pack(["run", "reader"]), 125));
    assert!(refused.contains("the base of the package cannot be used"), "{refused}");
    assert!(
        refused.contains("install the base first: `pack install` the package file of `shell`"),
        "{refused}"
    );
}

#[test]
fn two_builds_in_other_surroundings_give_the_same_bytes() {
    let world = World::new();
    let build = |folder: &str, surroundings: &[(&str, &str)], mask: &str| -> PathBuf {
        let project = world.home(folder);
        fs::create_dir_all(project.parent().unwrap()).unwrap();
        copy_project("bases/debian-12", &project);
        let package = world.path("tmp").join(format!("{mask}.pkg"));
        let mut shell = world.command("sh");
        let script = format!("umask {mask}; exec \"$@\"");
        shell.args(["-c", &script, "sh"]).arg(support::pack_binary()).args(["build", "--unsigned"]);
        shell.arg(&project).arg("-o").arg(&package).envs(surroundings.iter().copied());
        succeed(shell);
        package
    };
    let first = build("first", &[("TZ", "UTC"), ("LANG", "C.UTF-8")], "022");
    let other =
        [("TZ", "Pacific/Chatham"), ("LANG", "de_DE.UTF-8"), ("LC_ALL", "tr_TR.UTF-8"), ("USER", "other")];
    let second = build("another folder", &other, "077");
    let same = fs::read(first).unwrap() == fs::read(second).unwrap();
    assert!(same, "the packages differ");
}

#[test]
fn galculator_shows_its_window_on_the_base() {
    let world = world_with_base();
    copy_project("examples/galculator-on-debian", &world.home("galculator"));
    world.install("galculator");
    let display = XServer::start(&world);
    let mut run = world.pack(["run", "galculator-on-debian"]);
    run.env("DISPLAY", &display.name).env("XAUTHORITY", &display.authority).stderr(Stdio::piped());
    let mut app = Ended(run.spawn().unwrap());
    let mut window = None;
    eventually("a window of galculator's", || {
        window = display.window("galculator");
        window.is_some()
    });
    let window = window.unwrap();
    eventually("a picture in the window", || display.colours(&window) > 8);
    if let Some(folder) = std::env::var_os("PACK_TEST_SCREENSHOTS") {
        std::thread::sleep(std::time::Duration::from_secs(1));
        fs::copy(display.dump(&window), Path::new(&folder).join("galculator-on-debian.xwd")).unwrap();
    }
    app.0.kill().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut app.0.stderr.take().unwrap(), &mut said).unwrap();
    for complaint in ["Could not load", "cannot open shared object", "Fontconfig error"] {
        assert!(!said.contains(complaint), "{said}");
    }
}
