//! Images that the builder writes, as unsquashfs and the kernel read them, and what the builder refuses.

mod common;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::*;
use pack_builder::image::{self, ImageError, Options, Plan};
use tempfile::TempDir;

fn write_image(folder: &Path, output: &Path) {
    let file = File::options().read(true).write(true).create_new(true).open(output).unwrap();
    write_to(folder, &file, &options()).unwrap();
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn unsquashfs_reads_the_tree_that_was_packed() {
    let scratch = TempDir::new().unwrap();
    let (source, image, out) =
        (scratch.path().join("source"), scratch.path().join("image"), scratch.path().join("out"));
    write_sample(&source, false);
    write_image(&source, &image);
    run(Command::new("unsquashfs").arg("-no-progress").arg("-d").arg(&out).arg(&image));
    let mut expected = normalised(&tree_of(&source), EPOCH);
    if !rustix::process::geteuid().is_root() {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        expected.values_mut().for_each(|node| node.owner = owner);
    }
    assert_eq!(tree_of(&out), expected);
}

#[test]
fn the_kernel_reads_the_tree_that_was_packed() {
    if !is_root("the_kernel_reads_the_tree_that_was_packed") {
        return;
    }
    let scratch = TempDir::new().unwrap();
    write_sample(&scratch.path().join("source"), false);
    write_image(&scratch.path().join("source"), &scratch.path().join("image"));
    // The mount ends with the mount namespace.
    let script = "mkdir mounted && mount -t squashfs -o loop,ro image mounted && cp -a mounted out";
    run(Command::new("unshare").args(["--mount", "sh", "-ec", script]).current_dir(&scratch));
    let expected = normalised(&tree_of(&scratch.path().join("source")), EPOCH);
    assert_eq!(tree_of(&scratch.path().join("out")), expected);
}

#[test]
fn an_image_has_no_fragments_and_shares_equal_blocks() {
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("one"), noise(3 * BLOCK + 100, 1)).unwrap();
    let one = image_of(&source).len();
    fs::write(source.join("two"), noise(3 * BLOCK + 100, 1)).unwrap();
    let two = image_of(&source).len();
    assert!(two < one + 8192, "{one} {two}");
    write_image(&source, &scratch.path().join("image"));
    let facts = run(Command::new("unsquashfs").arg("-s").arg(scratch.path().join("image")));
    assert!(facts.contains("Number of fragments 0"), "{facts}");
    assert!(facts.contains("Compression zstd"), "{facts}");
}

#[test]
fn an_empty_folder_becomes_an_image() {
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    write_image(&source, &scratch.path().join("image"));
    let out = scratch.path().join("out");
    run(Command::new("unsquashfs").arg("-no-progress").arg("-d").arg(&out).arg(scratch.path().join("image")));
    assert_eq!(tree_of(&out).len(), 1);
    assert_eq!(fs::metadata(scratch.path().join("image")).unwrap().len() % 4096, 0);
}

/// The image that a rerun of the determinism test is to equal, and the folder of which it is made.
const FOLDER: &str = "PACK_TEST_FOLDER";
const EXPECTED: &str = "PACK_TEST_EXPECTED";

#[test]
fn the_same_tree_gives_the_same_bytes() {
    if is_rerun() {
        let [folder, expected] =
            [FOLDER, EXPECTED].map(|name| PathBuf::from(std::env::var_os(name).unwrap()));
        assert!(image_of(&folder) == fs::read(expected).unwrap());
        return;
    }
    let scratch = TempDir::new().unwrap();
    let [one, two, image] = ["one", "elsewhere/two", "image"].map(|name| scratch.path().join(name));
    fs::create_dir(scratch.path().join("elsewhere")).unwrap();
    write_sample(&one, false);
    write_sample(&two, true);
    for entry in walkdir::WalkDir::new(&two) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let file = File::open(entry.path()).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(4_000_000_000)).unwrap();
        }
    }
    let bytes = image_of(&one);
    fs::write(&image, &bytes).unwrap();
    assert!(bytes == image_of(&two));
    let test = "the_same_tree_gives_the_same_bytes";
    for (wrapper, zone) in [
        // One processor: one thread compresses.
        (&["taskset", "-c", "0"][..], "Pacific/Kiritimati"),
        (&["sh", "-c", "umask 077; exec \"$@\"", "sh"][..], "America/Caracas"),
        (&["env", "LC_ALL=tr_TR.UTF-8", "HOME=/nonexistent"][..], "UTC"),
        // Memory that malloc hands out is filled with a pattern, so a byte that was never set would show.
        (&["env", "MALLOC_PERTURB_=165"][..], "UTC"),
        (&["env", "MALLOC_PERTURB_=90"][..], "UTC"),
    ] {
        let environment = [(FOLDER, two.as_path()), (EXPECTED, image.as_path()), ("TZ", Path::new(zone))];
        rerun(test, wrapper, &environment);
    }
}

#[test]
fn another_epoch_gives_another_image() {
    let scratch = TempDir::new().unwrap();
    fs::create_dir(scratch.path().join("source")).unwrap();
    let plan = Plan::of(&scratch.path().join("source")).unwrap();
    let file = tempfile::tempfile().unwrap();
    image::write(&plan, &file, &Options { epoch: u32::MAX, ..options() }, &mut |_| ()).unwrap();
    let mut time = [0; 4];
    file.read_exact_at(&mut time, 8).unwrap();
    assert_eq!(time, [0xff; 4]);
}

#[test]
fn the_encoder_that_is_named_is_the_one_that_compresses() {
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    // This program itself: real content, on which versions of zstd differ.
    let program = fs::read(std::env::current_exe().unwrap()).unwrap();
    fs::write(source.join("program"), &program[..BLOCK]).unwrap();
    // The options of the compressor follow the superblock where the level is not the one that readers assume.
    for (level, at) in [(15, 96), (1, 102), (19, 102)] {
        let image = image_with(&source, &Options { level, ..options() });
        let block = zstd::bulk::compress(&program[..BLOCK], level.into()).unwrap();
        assert_eq!(&image[at..at + block.len()], block, "{level}");
    }
    assert_eq!(image::encoder(), format!("pack 1 zstd {}", zstd::zstd_safe::version_string()));
    // Neither library is loaded with the program.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("libsquashfs") && !maps.contains("libzstd"), "{maps}");
}

#[test]
fn progress_reaches_the_total() {
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    write_sample(&source, false);
    let plan = Plan::of(&source).unwrap();
    let mut seen = Vec::<image::Progress>::new();
    let file = tempfile::tempfile().unwrap();
    image::write(&plan, &file, &options(), &mut |now| seen.push(now)).unwrap();
    let last = seen.last().unwrap();
    assert_eq!((last.bytes, last.entries), (plan.total_bytes(), plan.entries()));
    assert!(seen.windows(2).all(|pair| pair[0].bytes <= pair[1].bytes && pair[0].entries <= pair[1].entries));
    assert!(seen.len() > 20, "{}", seen.len());
}

#[test]
fn a_file_or_folder_that_cannot_be_read_fails_with_its_path() {
    let test = "a_file_or_folder_that_cannot_be_read_fails_with_its_path";
    if !is_rerun() && rustix::process::geteuid().is_root() {
        rerun(test, &UNPRIVILEGED, &[]);
        return;
    }
    let scratch = TempDir::new().unwrap();
    let secret = scratch.path().join("folder/secret");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("key"), "key").unwrap();
    fs::set_permissions(secret.join("key"), fs::Permissions::from_mode(0o000)).unwrap();
    let file = tempfile::tempfile().unwrap();
    let plan = Plan::of(scratch.path()).unwrap();
    match image::write(&plan, &file, &options(), &mut |_| ()) {
        Err(ImageError::Read { path, .. }) => assert_eq!(path, secret.join("key")),
        other => panic!("{other:?}"),
    }
    for mode in [0o000, 0o600, 0o100] {
        fs::set_permissions(&secret, fs::Permissions::from_mode(mode)).unwrap();
        match Plan::of(scratch.path()) {
            Err(ImageError::List { path, .. }) => assert!(path.starts_with(&secret), "{path:?}"),
            other => panic!("{mode:o}: {other:?}"),
        }
    }
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn an_error_in_the_middle_of_reading_fails_with_the_path() {
    let test = "an_error_in_the_middle_of_reading_fails_with_the_path";
    if !is_root(test) {
        return;
    }
    if !is_rerun() {
        rerun(test, &["unshare", "--mount"], &[]);
        return;
    }
    let scratch = TempDir::new().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    // Page 0 of a process is not mapped: opening works, reading gives EIO.
    let memory = format!("/proc/{}/mem", std::process::id());
    run(Command::new("mount").args(["--bind", &memory]).arg(scratch.path().join("file")));
    let file = tempfile::tempfile().unwrap();
    let result = write_to(scratch.path(), &file, &options());
    run(Command::new("umount").arg(scratch.path().join("file")));
    match result {
        Err(ImageError::Read { path, source }) => {
            assert_eq!(path, scratch.path().join("file"));
            assert_eq!(source.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_changes_while_it_is_read_fails_with_its_path() {
    let changes: [fn(&Path); 3] = [
        |path| OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap(),
        |path| OpenOptions::new().write(true).open(path).unwrap().set_len(BLOCK as u64 + 7).unwrap(),
        |path| OpenOptions::new().write(true).open(path).unwrap().write_all_at(b"other", 0).unwrap(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        for during in [false, true] {
            let scratch = TempDir::new().unwrap();
            let path = scratch.path().join("file");
            // More than is read ahead of the first progress.
            fs::write(&path, noise(32 * BLOCK, 1)).unwrap();
            // The clock of file times is coarse: a change a moment later could bear the same time.
            File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
            let plan = Plan::of(scratch.path()).unwrap();
            let mut done = false;
            let mut sink = |_: image::Progress| {
                if during && !std::mem::replace(&mut done, true) {
                    change(&path);
                }
            };
            if !during {
                change(&path);
            }
            let file = tempfile::tempfile().unwrap();
            let options = Options { parallel: NonZeroUsize::MIN, ..options() };
            let result = image::write(&plan, &file, &options, &mut sink);
            match result {
                Err(ImageError::Changed { path: named }) => assert_eq!(named, path),
                // Other content of the same size, written before the file is read at all, is just the content.
                Ok(_) if number == 2 && !during => {}
                other => panic!("{number} {during}: {other:?}"),
            }
        }
    }
}

#[test]
fn a_file_that_became_something_else_is_not_followed() {
    let scratch = TempDir::new().unwrap();
    let path = scratch.path().join("file");
    let replacements: [fn(&Path); 2] =
        [|path| symlink("/etc/passwd", path).unwrap(), |path| drop(run(Command::new("mkfifo").arg(path)))];
    for replace in replacements {
        let _ = fs::remove_file(&path);
        fs::write(&path, "").unwrap();
        let plan = Plan::of(scratch.path()).unwrap();
        fs::remove_file(&path).unwrap();
        replace(&path);
        let result = image::write(&plan, &tempfile::tempfile().unwrap(), &options(), &mut |_| ());
        assert!(
            matches!(&result, Err(ImageError::Changed { path: named } | ImageError::Read { path: named, .. }) if *named == path),
            "{result:?}"
        );
    }
}

#[test]
fn what_a_package_cannot_hold_is_refused_with_its_path() {
    type Make = fn(&Path);
    let cases: [(&str, Make); 3] = [
        ("a FIFO", |path| drop(run(Command::new("mkfifo").arg(path)))),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap())),
        ("a device node", |path| drop(run(Command::new("mknod").arg(path).args(["c", "1", "3"])))),
    ];
    for (kind, make) in cases {
        if kind == "a device node" && !is_root("a device node in a package") {
            continue;
        }
        let scratch = TempDir::new().unwrap();
        let path = scratch.path().join("inner/special");
        fs::create_dir(scratch.path().join("inner")).unwrap();
        make(&path);
        match Plan::of(scratch.path()) {
            Err(ImageError::Special { path: named, kind: found }) => {
                assert_eq!((named, found), (path, kind));
            }
            other => panic!("{kind}: {other:?}"),
        }
    }
}

#[test]
fn only_a_folder_can_be_packed() {
    let scratch = TempDir::new().unwrap();
    fs::write(scratch.path().join("file"), "").unwrap();
    for name in ["file", "missing"] {
        match Plan::of(&scratch.path().join(name)) {
            Err(ImageError::List { path, .. }) => assert_eq!(path, scratch.path().join(name)),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let test = "a_full_disk_is_an_error";
    if !is_root(test) {
        return;
    }
    if !is_rerun() {
        rerun(test, &["unshare", "--mount"], &[]);
        return;
    }
    let scratch = TempDir::new().unwrap();
    let [source, small] = ["source", "small"].map(|name| scratch.path().join(name));
    for folder in [&source, &small] {
        fs::create_dir(folder).unwrap();
    }
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(&small));
    fs::write(source.join("file"), noise(8 << 20, 1)).unwrap();
    let file = File::options().read(true).write(true).create_new(true).open(small.join("image")).unwrap();
    let result = write_to(&source, &file, &options());
    drop(file);
    run(Command::new("umount").arg(&small));
    assert!(matches!(result, Err(ImageError::Write { .. })), "{result:?}");
}

#[test]
fn thousands_of_files_need_few_descriptors_and_keep_their_order() {
    let test = "thousands_of_files_need_few_descriptors_and_keep_their_order";
    if !is_rerun() {
        rerun(test, &["prlimit", "--nofile=40"], &[]);
        return;
    }
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    for n in 0..4000 {
        let folder = source.join(format!("{}/{}", n % 7, n % 31));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(n.to_string()), n.to_string()).unwrap();
    }
    let deep: PathBuf = std::iter::repeat_n("deep", 100).collect();
    fs::create_dir_all(source.join(&deep)).unwrap();
    fs::write(source.join(&deep).join("file"), "deep").unwrap();
    write_image(&source, &scratch.path().join("image"));
    let out = scratch.path().join("out");
    run(Command::new("unsquashfs").arg("-no-progress").arg("-d").arg(&out).arg(scratch.path().join("image")));
    let contents = |root: &Path| -> Vec<_> {
        tree_of(root).into_iter().map(|(path, node)| (path, node.content)).collect()
    };
    assert!(contents(&out) == contents(&source));
}
