//! Archives that real programs made, and the checksum of a file in the project.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use pack_builder::project::Project;
use pack_builder::sources;

use crate::{Workshop, filter, run, sha256, tar};

/// A small source tree in a folder of the name `hello-1.0`.
fn source_tree(folder: &Path) {
    let tree = folder.join("hello-1.0");
    fs::create_dir_all(tree.join("sub/empty")).unwrap();
    fs::write(tree.join("sub/file"), "content").unwrap();
    fs::write(tree.join("run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(tree.join("run"), fs::Permissions::from_mode(0o4755)).unwrap();
    fs::hard_link(tree.join("run"), tree.join("again")).unwrap();
    std::os::unix::fs::symlink("sub/file", tree.join("link")).unwrap();
    fs::write(tree.join("x".repeat(180)), "long").unwrap();
}

fn check_tree(workshop: &Workshop) {
    assert_eq!(workshop.read("sub/file"), "content");
    assert_eq!(workshop.read("link"), "content");
    assert_eq!(workshop.read(&"x".repeat(180)), "long");
    assert!(workshop.path("target/sub/empty").is_dir());
    let run = fs::metadata(workshop.path("target/run")).unwrap();
    assert_eq!(run.permissions().mode() & 0o7777, 0o755);
}

#[test]
fn archives_of_every_compression_come_out_without_the_folder_around_them() {
    for (name, options) in [
        ("a.tar", "-cf"),
        ("a.tar.gz", "-czf"),
        ("a.tar.xz", "-cJf"),
        ("a.tar.bz2", "-cjf"),
        ("a.tar.zst", "--zstd -cf"),
    ] {
        let workshop = Workshop::new(&format!("source: {name}"));
        source_tree(workshop.folder.path());
        let target = workshop.path(&format!("project/{name}"));
        let mut arguments: Vec<&str> = options.split(' ').collect();
        arguments.extend([target.to_str().unwrap(), "hello-1.0"]);
        run(workshop.folder.path(), "tar", &arguments);
        let fetched = workshop.fetched();
        assert_eq!(fetched.digest["sha256"], sha256(&fs::read(&target).unwrap()), "{name}");
        assert_eq!(fetched.size, Some(fs::metadata(&target).unwrap().len()));
        check_tree(&workshop);
        let links = fs::metadata(workshop.path("target/again")).unwrap().nlink();
        assert_eq!(links, 2, "{name}");
    }
    let workshop = Workshop::new("source: a.zip");
    source_tree(workshop.folder.path());
    let target = workshop.path("project/a.zip");
    run(workshop.folder.path(), "zip", &["-q", "-y", "-r", target.to_str().unwrap(), "hello-1.0"]);
    workshop.fetched();
    check_tree(&workshop);
}

#[test]
fn an_archive_without_a_folder_around_it_stays_as_it_is_and_names_are_bytes() {
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let workshop = Workshop::new("source: a.tar");
    fs::write(workshop.path("one"), "1").unwrap();
    fs::write(workshop.path("").join(name), "2").unwrap();
    let mut command = Command::new("tar");
    command.arg("-cf").arg(workshop.path("project/a.tar")).arg("one").arg(name);
    assert!(command.current_dir(workshop.folder.path()).status().unwrap().success());
    workshop.fetched();
    assert_eq!(workshop.read("one"), "1");
    assert_eq!(fs::read(workshop.path("target").join(name)).unwrap(), b"2");
}

#[test]
fn a_debian_package_gives_its_files() {
    let workshop = Workshop::new("source: a.deb");
    let folder = workshop.path("deb");
    fs::create_dir_all(folder.join("DEBIAN")).unwrap();
    fs::create_dir_all(folder.join("usr/bin")).unwrap();
    fs::write(folder.join("usr/bin/hello"), "hello").unwrap();
    fs::write(
        folder.join("DEBIAN/control"),
        "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n",
    )
    .unwrap();
    fs::set_permissions(folder.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
    let target = workshop.path("project/a.deb");
    run(workshop.folder.path(), "dpkg-deb", &["--build", "deb", target.to_str().unwrap()]);
    workshop.fetched();
    let found =
        ["usr/bin/hello", "bin/hello"].iter().any(|path| workshop.path("target").join(path).is_file());
    assert!(found, "{:?}", fs::read_dir(workshop.path("target")).unwrap().collect::<Vec<_>>());
    fs::write(&target, "no package").unwrap();
    assert!(workshop.refused().contains("cannot unpack `a.deb`"));
}

#[test]
fn the_right_checksum_is_asked_for_files_of_the_project_too() {
    let bytes = tar(&[(b'0', b"d/a", b"x")]);
    let wrong = "0".repeat(64);
    let workshop =
        Workshop::new(&format!("source: a.tar, source-checksum: sha256/{wrong}")).write("a.tar", &bytes);
    let told = workshop.refused();
    assert!(told.contains("not what `source-checksum` says") && told.contains(&sha256(&bytes)), "{told}");
    let right = format!("source: a.tar, source-checksum: sha256/{}", sha256(&bytes).to_uppercase());
    let workshop = Workshop::new(&right).write("a.tar", &bytes);
    assert_eq!(workshop.fetched().digest["sha256"], sha256(&bytes));
    let told = Workshop::new("source: none.tar").refused();
    assert!(told.contains("cannot find the source `none.tar`"), "{told}");
}

#[test]
fn the_first_bytes_say_what_an_archive_is_compressed_with() {
    let good = tar(&[(b'0', b"d/a", b"x")]);
    for program in ["gzip", "xz", "bzip2", "zstd"] {
        // Two members one after the other are one archive too, as pigz and pixz make them.
        let (first, second) = good.split_at(512);
        let halves = [filter(program, &["-c"], first), filter(program, &["-c"], second)].concat();
        let workshop = Workshop::new("source: a.tar").write("a.tar", &halves);
        workshop.fetched();
        assert_eq!(workshop.read("a"), "x", "{program}");
    }
    for (start, words) in [
        (&b"PK\x03\x04"[..], "source-type: zip"),
        (b"!<arch>\n", "source-type: deb"),
        (b"LZIP\x01", "lzip"),
        (b"\x1f\x9d\x90", "compress"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
    ] {
        let told = Workshop::new("source: a.tar").write("a.tar", start).refused();
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn long_names_of_every_kind_come_out_whole() {
    for format in ["gnu", "posix"] {
        let workshop = Workshop::new("source: a.tar");
        let folder = workshop.path("d");
        let deep = ["n".repeat(200), "m".repeat(200)].join("/");
        fs::create_dir_all(folder.join(&deep)).unwrap();
        let name = "f".repeat(255);
        fs::write(folder.join(&deep).join(&name), "deep").unwrap();
        std::os::unix::fs::symlink(format!("{deep}/{name}"), folder.join("link")).unwrap();
        fs::hard_link(folder.join(&deep).join(&name), folder.join("hard")).unwrap();
        let target = workshop.path("project/a.tar");
        let format = format!("--format={format}");
        run(workshop.folder.path(), "tar", &[&format, "-cf", target.to_str().unwrap(), "d"]);
        workshop.fetched();
        assert_eq!(workshop.read("link"), "deep", "{format}");
        assert_eq!(fs::metadata(workshop.path("target/hard")).unwrap().nlink(), 2, "{format}");
    }
}

#[test]
fn files_with_holes_come_out_whole_or_are_refused() {
    let workshop = Workshop::new("source: a.tar");
    let file = File::create(workshop.path("holes")).unwrap();
    for (at, text) in [(0, "begin"), (5 << 20, "middle"), ((9 << 20) - 3, "end")] {
        file.write_all_at(text.as_bytes(), at).unwrap();
    }
    file.set_len(12 << 20).unwrap();
    let whole = sha256(&fs::read(workshop.path("holes")).unwrap());
    let target = workshop.path("project/a.tar");
    let make = |format: &str| {
        run(workshop.folder.path(), "tar", &["-S", format, "-cf", target.to_str().unwrap(), "holes"]);
        assert!(fs::metadata(&target).unwrap().len() < 1 << 20);
    };
    make("--format=gnu");
    workshop.fetched();
    assert_eq!(sha256(&fs::read(workshop.path("target/holes")).unwrap()), whole);
    make("--format=posix");
    let told = workshop.refused();
    assert!(told.contains("sparse file") && told.contains("holes"), "{told}");
}

#[test]
fn an_archive_of_git_has_the_commit_in_a_comment() {
    let workshop = Workshop::new("source: a.tar.gz");
    let folder = workshop.path("repository");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("file"), "x").unwrap();
    run(&folder, "git", &["init", "--quiet", "."]);
    run(&folder, "git", &["add", "."]);
    run(&folder, "git", &["commit", "--quiet", "-m", "x"]);
    let target = workshop.path("project/a.tar.gz");
    run(&folder, "git", &["archive", "--prefix=x-1/", "-o", target.to_str().unwrap(), "HEAD"]);
    workshop.fetched();
    assert_eq!(workshop.read("file"), "x");
}

#[test]
fn the_umask_changes_nothing() {
    if !crate::common::is_rerun() {
        let wrapper = ["sh", "-c", "umask 077; exec \"$@\"", "sh"];
        crate::common::rerun("archives::the_umask_changes_nothing", &wrapper, &[]);
        return;
    }
    let workshop = Workshop::new("source: a.tar")
        .write("a.tar", &tar(&[(b'5', b"d/e", b""), (b'0', b"d/e/a", b"x"), (b'0', b"d/b", b"x")]));
    workshop.fetched();
    for (name, mode) in [("e/a", 0o755), ("b", 0o755)] {
        let path = workshop.path("target").join(name);
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, mode, "{name}");
    }
}

#[test]
fn the_folder_to_build_in_is_one_of_the_source() {
    let entries: &[(u8, &[u8], &[u8])] = &[
        (b'0', b"d/inner/a", b"x"),
        (b'2', b"d/out", b"/etc"),
        (b'2', b"d/in", b"inner"),
        (b'0', b"d/file", b"x"),
    ];
    for (folder, words) in [
        ("inner", None),
        ("out", Some("symbolic link")),
        ("in", Some("symbolic link")),
        ("out/apt", Some("symbolic link")),
        ("file", Some("`source-subdir: file` is no folder")),
        ("none", Some("`source-subdir: none` is no folder")),
    ] {
        let workshop =
            Workshop::new(&format!("source: a.tar, source-subdir: {folder}")).write("a.tar", &tar(entries));
        workshop.fetched();
        let project = Project::open(&workshop.path("project")).unwrap();
        let part = project.manifest().parts.values().next().unwrap();
        let inner = sources::inner_folder(part, &workshop.path("target"));
        match words {
            None => assert_eq!(inner.unwrap(), workshop.path("target/inner")),
            Some(words) => {
                let told = crate::told(&inner.unwrap_err());
                assert!(told.contains(words), "{told}");
            }
        }
    }
}
