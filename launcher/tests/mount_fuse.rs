//! The mount as an app sees it: a real FUSE mount, made and read by a user without any privilege.
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod mount_support;

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use mount_support::mounted::{Stage, place_and_out, skip};
use mount_support::tree::{self, assert_same, look, to_text};
use mount_support::{Case, run, wait_for};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Not a test of its own: what [`Stage::run_test`] runs on a mounted package.
#[test]
#[ignore = "runs on a mounted package"]
fn on_the_mount_look() {
    let Some((place, out)) = place_and_out() else { return };
    fs::write(out, to_text(&look(&place))).unwrap();
}

/// Looks at a mounted package as the unprivileged user.
fn look_at_mount(stage: &Stage, options: &[&str], package: &Path) -> String {
    let output = stage.run_test(options, package, "on_the_mount_look");
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(text(&output.stderr), "");
    fs::read_to_string(stage.out().join("result")).unwrap()
}

/// What unsquashfs makes of an image.
fn unsquashed(case: &Case) -> String {
    let folder = case.folder.path().join("unsquashed");
    run(Command::new("unsquashfs").args(["-no-progress", "-quiet", "-d"]).arg(&folder).arg(case.image()));
    to_text(&look(&folder))
}

#[test]
fn the_mounted_tree_is_what_unsquashfs_unpacks() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let cases: [&[&str]; 6] = [
        &["-comp", "zstd", "-no-fragments"],
        &["-comp", "zstd", "-always-use-fragments"],
        &["-comp", "gzip"],
        &["-comp", "zstd", "-b", "4096", "-no-fragments"],
        &["-comp", "gzip", "-b", "1M", "-no-exports"],
        &["-comp", "gzip", "-noI", "-noD", "-noF", "-noX", "-noId", "-b", "16K"],
    ];
    for options in cases {
        let case = Case::new(tree::everything, options);
        let expected = unsquashed(&case);
        assert_same(&expected, &look_at_mount(&stage, &[], &case.package()));
        // One thread and a cache of nothing give the same.
        let starved = ["--threads", "1", "--cache", "1"];
        assert_same(&expected, &look_at_mount(&stage, &starved, &case.package()));
    }
}

#[test]
fn a_folder_of_20000_entries_is_listed_and_looked_up() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(|root| tree::many_entries(root, 20_000), &["-comp", "zstd", "-no-fragments"]);
    assert_same(&unsquashed(&case), &look_at_mount(&stage, &[], &case.package()));
    let output =
        stage.shell(&[], &case.package(), "ls -f many | wc -l; ls many/absent; cat many/entry-777-*");
    assert_eq!(text(&output.stdout).split_whitespace().collect::<Vec<_>>(), ["20002", "777"]);
}

#[test]
#[ignore = "runs on a mounted package"]
fn on_the_mount_seek() {
    use rustix::fs::{SeekFrom, seek};
    let Some((place, out)) = place_and_out() else { return };
    let file = File::open(place.join("holes")).unwrap();
    let found = [
        seek(&file, SeekFrom::Hole(0)),
        seek(&file, SeekFrom::Data(0)),
        seek(&file, SeekFrom::Hole(2 << 20)),
        seek(&file, SeekFrom::Data(5 << 20)),
    ];
    fs::write(out, format!("{found:?} {}", file.metadata().unwrap().blocks())).unwrap();
}

#[test]
fn holes_statistics_and_absent_things_answer_as_they_should() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(tree::everything, &["-comp", "zstd", "-no-fragments"]);
    let output = stage.run_test(&[], &case.package(), "on_the_mount_seek");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let block = 131_072;
    let island = 2 << 20;
    let found = fs::read_to_string(stage.out().join("result")).unwrap();
    // Two blocks of 128 KiB hold data; the file's last byte lies in the second.
    let expected = format!("[Ok(0), Ok({island}), Ok({}), Err(Os {{", island + block);
    assert!(found.starts_with(&expected) && found.ends_with(&(2 * block / 512).to_string()), "{found}");

    let script = "stat -f -c '%a %S %T' . ; touch new; echo x > text-1; rm text-1; mkdir d; cat empty; cat text-1/x; \
                  readlink text-1; ls -l pipe | cut -c1; id -u; stat -c %u text-1";
    let output = stage.shell(&[], &case.package(), script);
    let errors = text(&output.stderr);
    for refusal in [
        "touch: cannot touch 'new': Read-only file system",
        "rm: cannot remove 'text-1': Read-only",
        "mkdir: cannot",
    ] {
        assert!(errors.contains(refusal), "{errors}");
    }
    for refusal in ["empty: Is a directory", "text-1/x: Not a directory"] {
        assert!(errors.contains(refusal), "{errors}");
    }
    let lines: Vec<_> = text(&output.stdout).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("0 131072 "), "{}", lines[0]);
    assert_eq!(lines[1], "p");
    // Files belong to whoever mounts.
    assert_eq!(lines[2], lines[3]);
}

#[test]
fn what_the_app_does_to_the_mount_stays_in_its_namespace() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(|root| fs::write(root.join("a"), "a").unwrap(), &["-comp", "zstd"]);
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let output = stage.shell(&[], &case.package(), "grep ' /.*/at ' /proc/self/mountinfo; cat a");
    let seen = text(&output.stdout);
    for part in ["ro,nosuid,nodev", "fuse.pack hello\\040x1", "default_permissions"] {
        assert!(seen.contains(part), "{seen}");
    }
    assert!(!seen.contains("allow_other"), "{seen}");
    assert_eq!(before, fs::read_to_string("/proc/self/mountinfo").unwrap());
}

/// Process numbers of keepers whose parent is `parent`.
fn keepers_of(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let Some(pid) = entry.unwrap().file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        if stat.contains("(pack-keeper)")
            && stat.rsplit(") ").next().unwrap().split(' ').nth(1) == Some(&parent.to_string())
        {
            found.push(pid);
        }
    }
    found
}

#[test]
fn the_keeper_is_confined_and_ends_with_its_launcher() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(|root| fs::write(root.join("a"), "a").unwrap(), &["-comp", "zstd"]);
    let inherited = File::open("/etc/hostname").unwrap();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    let mut launcher = stage
        .mount_run(&[], &case.package())
        // Ends when nobody holds its standard input any more, so that it does not outlive the test.
        .args(["sh", "-c", "echo ready; read end"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // Whatever the test's own standard error is, the keeper has a copy of this.
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0; 6];
    launcher.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
    let keeper = wait_for("no keeper", || keepers_of(launcher.id()).first().copied());
    if rustix::process::getuid().is_root() {
        let status = fs::read_to_string(format!("/proc/{keeper}/status")).unwrap();
        for line in [
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
            "CapInh:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapEff:\t0000000000000000",
            "CapAmb:\t0000000000000000",
        ] {
            assert!(status.lines().any(|found| found == line), "{line} not in {status}");
        }
        assert_eq!(
            fs::read_to_string(format!("/proc/{keeper}/cmdline")).unwrap().trim_end_matches('\0'),
            "pack-keeper hello x1"
        );
        let mounts = fs::read_to_string(format!("/proc/{keeper}/mountinfo")).unwrap();
        assert_eq!(mounts.lines().count(), 1, "{mounts}");
        // The device's own paths lead to mounts that the keeper has let go.
        let mut open: Vec<String> = fs::read_dir(format!("/proc/{keeper}/fd"))
            .unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().to_string_lossy().into_owned())
            .collect();
        open.retain(|name| {
            !["/fuse", "/null", "socket:", "/"]
                .iter()
                .any(|known| name == known || known.ends_with(':') && name.starts_with(known))
        });
        open.retain(|name| !name.ends_with("/hello.pkg"));
        assert!(open.is_empty(), "{open:?}");
        for task in fs::read_dir(format!("/proc/{keeper}/task")).unwrap() {
            let status = fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            assert!(status.contains("Seccomp:\t2"), "{status}");
        }
    }
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    wait_for("the keeper outlives its launcher", || {
        (!Path::new(&format!("/proc/{keeper}")).exists() || is_zombie(keeper)).then_some(())
    });
}

fn is_zombie(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_keeper_gives_many_mounts_and_is_gone_when_it_was_ended() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(|root| fs::write(root.join("a"), "contents").unwrap(), &["-comp", "zstd"]);
    let output = stage.shell(&["--mounts", "5"], &case.package(), "cat a; echo; echo $PPID");
    let lines = text(&output.stdout);
    let errors = text(&output.stderr);
    if errors.contains("Device or resource busy") {
        println!("SKIP: this kernel cannot clone a mount that is attached nowhere");
        return;
    }
    assert!(lines.starts_with("contents\n"), "{lines}{errors}");
    let label = case.package();
    let alive = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let arguments = fs::read(entry.unwrap().path().join("cmdline")).ok()?;
        text(&arguments).contains(label.to_str().unwrap()).then_some(())
    });
    assert_eq!(alive.count(), 0);
}

#[test]
fn a_host_without_fuse_is_told_by_the_step() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(|root| fs::write(root.join("a"), "a").unwrap(), &["-comp", "zstd"]);
    // A /dev with nothing in it but null, in a namespace that the unprivileged user may make.
    let script = format!(
        "cd '{out}' && mkdir dev && mount --rbind /dev dev && mount -t tmpfs none /dev && touch /dev/null && \
         mount --bind dev/null /dev/null && exec '{driver}' '{package}' '{at}' true",
        out = stage.out().display(),
        driver = stage.folder.path().join("mount-run").display(),
        package = case.package().display(),
        at = stage.at().display(),
    );
    let output = stage.unprivileged("unshare").args(["-Urm", "sh", "-c", &script]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", text(&output.stderr));
    let expected = "mount-run: cannot open /dev/fuse\n  caused by: No such file or directory (os error 2)\n";
    assert_eq!(text(&output.stderr), expected);
}

#[test]
fn a_launcher_with_threads_is_refused() {
    let case = Case::new(|root| fs::write(root.join("a"), "a").unwrap(), &["-comp", "zstd"]);
    let package = mount_support::open(&case.package());
    // The test harness has threads of its own.
    let error = pack_launcher::keeper::open(package, "hello x1", Default::default(), None).unwrap_err();
    assert!(error.to_string().contains("make the namespaces"), "{error}");
}
