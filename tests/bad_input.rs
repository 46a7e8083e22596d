//! Bad manifests, bad packages, bad command lines: a clear error with its place, the documented status, nothing left.

mod support;

use std::path::Path;
use std::process::Output;

use support::{World, err, fail, succeed};

const GOOD: &str = "name: good\nversion: '1'\nbase: host\napps: {good: {command: bin/good}}\n\
                    parts: {good: {plugin: dump, source: files}}\n";

/// Builds a manifest that must be refused, and gives what was said.
#[track_caller]
fn refused(world: &World, manifest: impl AsRef<[u8]>) -> String {
    let project = world.home("project");
    let _ = std::fs::remove_dir_all(&project);
    world.write("project/pack.yaml", manifest);
    world.write_program("project/files/bin/good", "#!/bin/sh\n");
    let package = world.home("project.pkg");
    let output =
        fail(world.pack(["build".as_ref(), project.as_os_str(), "-o".as_ref(), package.as_os_str()]), 1);
    assert!(!package.exists(), "a package was made all the same");
    no_panic(&output);
    err(&output)
}

#[track_caller]
fn no_panic(output: &Output) {
    let text = err(output);
    assert!(text.lines().any(|line| line.starts_with("error: ")), "{text}");
    assert!(!text.contains("panicked") && !text.contains("RUST_BACKTRACE"), "{text}");
}

#[test]
fn a_bad_manifest_is_refused_with_place_and_hint() {
    let world = World::with_key();
    for (manifest, told) in [
        // Unknown key, with the nearest known one.
        (GOOD.replace("version:", "verison:"), &["verison", "version", "2"][..]),
        (GOOD.replace("command:", "comand:"), &["comand", "command", "4"]),
        // Wrong types.
        (GOOD.replace("version: '1'", "version: 1.0"), &["version", "quote"]),
        (GOOD.replace("apps: {good: {command: bin/good}}", "apps: [good]"), &["apps"]),
        // Duplicate keys, at the top and in a map with free keys.
        (format!("{GOOD}name: again\n"), &["name", "6"]),
        (
            GOOD.replace(
                "{good: {command: bin/good}}",
                "{good: {command: bin/good}, good: {command: bin/evil}}",
            ),
            &["good"],
        ),
        // Names and paths.
        (GOOD.replace("name: good", "name: ../evil"), &["../evil"]),
        (GOOD.replace("name: good", "name: Good"), &["Good"]),
        (GOOD.replace("bin/good", "/bin/sh"), &["/bin/sh"]),
        (GOOD.replace("bin/good", "../../bin/sh"), &["../../bin/sh"]),
        // Not YAML at all, and not UTF-8.
        ("{".to_owned(), &["pack.yaml"]),
        ("\t- x".to_owned(), &["pack.yaml"]),
        (String::new(), &["pack.yaml"]),
    ] {
        let text = refused(&world, &manifest);
        for word in told {
            assert!(text.contains(word), "`{word}` is not told:\n{manifest}\n{text}");
        }
    }
    refused(&world, b"name: \xff\xfe\n");
}

#[test]
fn a_manifest_that_would_exhaust_memory_is_refused_at_once() {
    let world = World::with_key();
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let before = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
    }
    let deep = format!("{GOOD}x: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("{GOOD}description: {}\n", "x".repeat(2 << 20));
    for manifest in [bomb, deep, large] {
        let begin = std::time::Instant::now();
        refused(&world, manifest);
        assert!(begin.elapsed() < std::time::Duration::from_secs(10));
    }
}

#[test]
fn a_manifest_that_is_no_regular_file_is_refused() {
    let world = World::with_key();
    let project = world.home("project");
    world.write("project/files/x", "");
    for make in [
        &|path: &Path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o666.into(), 0).unwrap()
        },
        &|path: &Path| std::fs::create_dir(path).unwrap(),
        &|path: &Path| std::os::unix::fs::symlink("/etc/passwd", path).unwrap(),
    ] as [&dyn Fn(&Path); 3]
    {
        make(&project.join("pack.yaml"));
        let output = fail(world.pack(["build".as_ref(), project.as_os_str()]), 1);
        no_panic(&output);
        let _ = std::fs::remove_file(project.join("pack.yaml"));
        let _ = std::fs::remove_dir(project.join("pack.yaml"));
    }
    let output = fail(world.pack(["build".as_ref(), project.as_os_str()]), 1);
    assert!(err(&output).contains("pack.yaml"), "{}", err(&output));
}

#[test]
fn a_file_that_cannot_be_read_fails_the_build_with_its_path() {
    let world = World::with_key();
    if !support::is_root() {
        return support::skip("a file that the user cannot read needs another user: run as root");
    }
    world.project("project", GOOD, &[("bin/good", "#!/bin/sh\n"), ("secret", "x")]);
    let secret = world.home("project/files/secret");
    std::os::unix::fs::chown(&secret, Some(0), Some(0)).unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = fail(world.pack(["build".as_ref(), world.home("project").as_os_str()]), 1);
    assert!(err(&output).contains("files/secret"), "{}", err(&output));
}

/// A good package's bytes.
fn package(world: &World) -> Vec<u8> {
    world.project("good", GOOD, &[("bin/good", "#!/bin/sh\necho good\n")]);
    std::fs::read(world.build("good")).unwrap()
}

/// Tries to install, verify, inspect and unpack bytes that are no good package; nothing may come of it.
#[track_caller]
fn rejected(world: &World, bytes: &[u8], what: &str) {
    let file = world.write("bad.pkg", bytes);
    let output = world.pack(["install".as_ref(), "--yes".as_ref(), file.as_os_str()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{what}: {}", err(&output));
    no_panic(&output);
    let packages = world.home(".local/share/pack/packages");
    let left: Vec<_> =
        std::fs::read_dir(&packages).map(|entries| entries.flatten().collect()).unwrap_or_default();
    assert!(left.is_empty(), "{what}: {left:?} is left");
    assert!(!world.home(".local/bin/good").exists(), "{what}");
}

#[test]
fn a_package_cut_off_anywhere_is_refused() {
    let world = World::with_key();
    let bytes = package(&world);
    let steps = (0..bytes.len()).step_by(bytes.len() / 60 + 1).chain(bytes.len() - 70..bytes.len());
    for length in steps {
        rejected(&world, &bytes[..length], &format!("cut at {length}"));
    }
}

#[test]
fn a_package_with_a_changed_byte_anywhere_is_refused() {
    let world = World::with_key();
    let bytes = package(&world);
    let mut state = 7_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    for _ in 0..150 {
        let mut changed = bytes.clone();
        let (at, bit) = (random() % bytes.len(), random() % 8);
        changed[at] ^= 1 << bit;
        rejected(&world, &changed, &format!("bit {bit} of byte {at}"));
    }
}

#[test]
fn parts_of_two_packages_do_not_make_a_third() {
    let world = World::with_key();
    let good = package(&world);
    world.project("good", &GOOD.replace("'1'", "'2'"), &[("bin/good", "#!/bin/sh\necho two!\n")]);
    let other = std::fs::read(world.build("good")).unwrap();
    assert_eq!(good.len(), other.len(), "the two have their parts at the same places");
    let image = 4096 * (good.len() / 4096 - 1);
    // The image of one with the index, envelope and signature of the other.
    let mixed = [&good[..image - 4096], &other[image - 4096..]].concat();
    if mixed != good && mixed != other {
        rejected(&world, &mixed, "image of another package");
    }
    // The signature of the other: it stands before the footer of 64 bytes.
    let signature = good.len() - 64 - 220;
    let mixed = [&good[..signature], &other[signature..]].concat();
    rejected(&world, &mixed, "signature of another package");
}

#[test]
fn an_unsigned_package_is_refused_unless_told_to_skip_that() {
    let world = World::new();
    world.project("good", GOOD, &[("bin/good", "#!/bin/sh\necho good\n")]);
    let file = world.home("good.pkg");
    let project = world.home("good");
    let output =
        fail(world.pack(["build".as_ref(), project.as_os_str(), "-o".as_ref(), file.as_os_str()]), 1);
    assert!(
        err(&output).contains("pack key generate"),
        "without a key the hint names the way: {}",
        err(&output)
    );
    succeed(world.pack([
        "build".as_ref(),
        "--unsigned".as_ref(),
        project.as_os_str(),
        "-o".as_ref(),
        file.as_os_str(),
    ]));
    let output = fail(world.pack(["install".as_ref(), "--yes".as_ref(), file.as_os_str()]), 1);
    assert!(err(&output).contains("not signed"), "{}", err(&output));
    let output =
        succeed(world.pack(["install".as_ref(), "--yes".as_ref(), "--dangerous".as_ref(), file.as_os_str()]));
    assert!(err(&output).contains("--dangerous skips"), "it says what it skips: {}", err(&output));
    assert_eq!(support::out(&succeed(world.pack(["run", "good"]))), "good\n");
}

#[test]
fn a_bad_command_line_is_refused_with_status_2() {
    let world = World::new();
    for arguments in [
        &["frobnicate"][..],
        &["instal", "x"],
        &["build", "--no-such-option"],
        &["install"],
        &["remove"],
        &["run"],
        &["list", "extra"],
        &["--color", "sometimes", "list"],
    ] {
        let output = fail(world.pack(arguments), 2);
        assert!(!err(&output).contains("panicked"), "{arguments:?}: {}", err(&output));
    }
    let output = fail(world.pack(["instal", "x"]), 2);
    assert!(err(&output).contains("install"), "did you mean: {}", err(&output));
    for arguments in [
        &["install", "/nowhere.pkg"][..],
        &["verify", "/"],
        &["inspect", "/dev/null"],
        &["remove", "nothing"],
    ] {
        let output = fail(world.pack(arguments), 1);
        no_panic(&output);
    }
}
