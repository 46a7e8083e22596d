//! The mount as an app sees it: a real FUSE mount, made and read by a user without any privilege.
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod mount_support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mount_support::mounted::{Stage, place_and_out, skip};
use mount_support::tree::{self, assert_same, look, to_text};
use mount_support::{Case, run};
use pack_launcher::image::{CacheSize, Reader};

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

/// Runs `script` on a package that one of the test's own changes is made to while it is mounted, and returns what the
/// script and the keeper wrote.
fn change_while_mounted(
    stage: &Stage,
    package: &Path,
    first: &str,
    change: &dyn Fn(),
    then: &str,
) -> (String, String) {
    let mut command = stage.mount_run(&[], package);
    let script = format!("cd '{}' || exit 99\n{first}\necho ready\nread go\n{then}", stage.at().display());
    let mut child = command
        .args(["sh", "-c", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "ready\n" {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0);
    }
    change();
    drop(child.stdin.take());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    let errors = child.wait_with_output().unwrap().stderr;
    (rest, text(&errors))
}

fn flip(package: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(package).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

/// Lines about damage, and the line that says so for a span.
fn damage_lines(errors: &str) -> Vec<&str> {
    errors.lines().filter(|line| line.starts_with("package hello x1: ")).collect()
}

fn line_of(span: &pack_schemas::index::Span) -> String {
    format!(
        "package hello x1: bytes {}-{} of the image do not match the signed index; \
         the file was changed after it was installed",
        span.start,
        span.end() - 1
    )
}

#[test]
fn a_changed_byte_in_any_span_gives_eio_and_one_line_and_nothing_else() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let make = |root: &Path| {
        for number in 0..6_u32 {
            fs::write(root.join(format!("noise-{number}")), tree::noise(20_000, number.into())).unwrap();
        }
        fs::write(root.join("large"), tree::noise(600_000, 9)).unwrap();
        fs::create_dir(root.join("folder")).unwrap();
        fs::write(root.join("folder/inner"), "inner").unwrap();
        tree::set_attribute(&root.join("noise-0"), "user.a", b"value");
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments"]);
    let good = look_at_mount(&stage, &[], &case.package());
    let original = fs::read(case.package()).unwrap();
    let inode_table = Reader::open(mount_support::raw(&case.image()), CacheSize::default())
        .unwrap()
        .superblock()
        .inode_table;
    let changed = case.folder.path().join("changed.pkg");
    let bad_lines = |span: &pack_schemas::index::Span| {
        let mut bytes = original.clone();
        bytes[(span.start + u64::from(span.length) / 2) as usize] ^= 1;
        fs::write(&changed, bytes).unwrap();
        stage.run_test(&[], &changed, "on_the_mount_look")
    };
    let (mut files_hit, mut refused) = (0, 0);
    for span in &case.spans {
        let output = bad_lines(span);
        let errors = text(&output.stderr);
        if output.status.code() == Some(125) {
            // Without superblock, or the root folder's inode, there is nothing to mount.
            assert!(errors.contains(&line_of(span)["package hello x1: ".len()..]), "{errors}");
            refused += 1;
            continue;
        }
        assert!(output.status.success(), "{errors}");
        let found = fs::read_to_string(stage.out().join("result")).unwrap();
        // Whatever is not as it was is an input/output error and nothing else.
        for line in found.lines().filter(|line| !good.lines().any(|known| known == *line)) {
            let plain = line.contains("Err(5)") || line.contains("attributes: {}");
            assert!(plain, "{span:?}: {line}");
        }
        let lines = damage_lines(&errors);
        if found != good {
            assert_eq!(lines, [line_of(span)], "{span:?}");
        } else {
            // Padding, and tables that nobody asked for.
            assert!(lines.is_empty() || lines == [line_of(span)], "{span:?}: {lines:?}");
        }
        if span.start >= 96 && span.end() <= inode_table {
            // No two blocks here are so small that they share a span; every other file reads as before.
            let hit: Vec<_> = found.lines().filter(|line| line.contains("contents: Some(Err(5))")).collect();
            let same = found.lines().filter(|line| good.lines().any(|known| known == *line)).count();
            assert_eq!((hit.len(), same), (1, good.lines().count() - 1), "{span:?}: {hit:?}");
            files_hit += 1;
        }
    }
    // Six files of noise, five blocks of the large one, the inner file.
    assert_eq!(files_hit, 12);
    assert!(refused >= 2, "{refused}");
}

#[test]
fn a_file_changed_under_a_running_app_gives_eio_and_the_rest_goes_on() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let make = |root: &Path| {
        for name in ["one", "two", "three"] {
            fs::write(
                root.join(name),
                tree::noise(100_000, name.len() as u64 + u64::from(name.as_bytes()[1])),
            )
            .unwrap();
        }
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments", "-no-duplicates"]);
    // Stored as they are, in the order of their names: one, three, two.
    let blocks: Vec<_> = case.spans.iter().filter(|span| span.length == 100_000).collect();
    assert_eq!(blocks.len(), 3);
    let package = case.package();
    let read_all = "for name in one two three two two; do cat $name > /dev/null && echo $name; done";
    let (read, errors) = change_while_mounted(
        &stage,
        &package,
        "cat one > /dev/null",
        &|| blocks.iter().for_each(|block| flip(&package, block.start + 7)),
        read_all,
    );
    // What was read before stays in the kernel's cache, as it was checked.
    assert_eq!(read, "one\n");
    assert_eq!(errors.matches("Input/output error").count(), 4, "{errors}");
    let mut lines = damage_lines(&errors);
    lines.sort_unstable();
    let mut expected = [line_of(blocks[1]), line_of(blocks[2])];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_file_cut_short_under_a_running_app_gives_eio() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case =
        Case::new(|root| fs::write(root.join("noise"), tree::noise(1 << 20, 3)).unwrap(), &["-comp", "zstd"]);
    let package = case.package();
    let (read, errors) = change_while_mounted(
        &stage,
        &package,
        "ls",
        &|| File::options().write(true).open(&package).unwrap().set_len(8192).unwrap(),
        "cat noise > /dev/null || echo failed; cat noise > /dev/null || echo failed; ls",
    );
    assert_eq!(read, "failed\nfailed\nnoise\n");
    assert_eq!(errors.matches("Input/output error").count(), 2, "{errors}");
    assert!(damage_lines(&errors).iter().all(|line| line.contains("the image ends before byte")), "{errors}");
    assert!(!damage_lines(&errors).is_empty(), "{errors}");
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

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
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
