//! Packages from the prime folder to the signed file and back, as their maker means them.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::*;
use pack_builder::assemble::AssembleError;
use pack_builder::image::ImageError;
use pack_builder::inspect::{self, SignatureState};
use pack_builder::unpack::{UnpackError, unpack};
use pack_builder::verify::{self, VerifyError, verify};
use pack_launcher::package::Package;
use pack_schemas::names::PublicKey;
use pack_schemas::package::PackageError;
use tempfile::TempDir;

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn public(seed: u8) -> PublicKey {
    PublicKey(key(seed).verifying_key().to_bytes())
}

/// A folder with the sample tree in `source` and the package made of it in `package`.
fn sample() -> TempDir {
    let scratch = TempDir::new().unwrap();
    write_sample(&scratch.path().join("source"), false);
    assemble_to(&scratch.path().join("source"), &scratch.path().join("package"), &[&key(1)]).unwrap();
    scratch
}

fn open_file(path: &Path) -> Arc<Package> {
    Arc::new(Package::open(File::open(path).unwrap()).unwrap())
}

#[test]
fn what_is_packed_comes_back_out_for_pack_unsquashfs_and_the_kernel() {
    let scratch = sample();
    let [source, package] = ["source", "package"].map(|name| scratch.path().join(name));
    let mut expected = normalised(&tree_of(&source), EPOCH);
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    expected.values_mut().for_each(|node| node.owner = owner);

    let ours = scratch.path().join("ours");
    let done = unpack(&open_file(&package), &ours, &mut |_| ()).unwrap();
    assert_eq!(tree_of(&ours), expected);
    assert_eq!(done.entries, expected.len() as u64);
    // The holes are holes again.
    assert!(fs::metadata(ours.join("sparse")).unwrap().blocks() * 512 < 1 << 20);
    assert_eq!(fs::metadata(ours.join("zeros")).unwrap().blocks(), 0);

    let theirs = scratch.path().join("theirs");
    run(Command::new("unsquashfs").arg("-no-progress").arg("-d").arg(&theirs).arg(&package));
    assert_eq!(tree_of(&theirs), expected);

    if is_root("what_is_packed_comes_back_out_for_the_kernel") {
        let script = "mkdir mounted && mount -t squashfs -o loop,ro package mounted && cp -a mounted out";
        run(Command::new("unshare").args(["--mount", "sh", "-ec", script]).current_dir(&scratch));
        assert_eq!(tree_of(&scratch.path().join("out")), expected);
    }
}

#[test]
fn the_same_sources_give_the_same_package() {
    let scratch = TempDir::new().unwrap();
    let [one, two] = ["one", "two"].map(|name| scratch.path().join(name));
    write_sample(&one, false);
    write_sample(&two, true);
    let [first, second] = ["first", "second"].map(|name| scratch.path().join(name));
    assemble_to(&one, &first, &[&key(1), &key(2)]).unwrap();
    // Neither the order of the keys nor one that is named twice matters.
    assemble_to(&two, &second, &[&key(2), &key(1), &key(2)]).unwrap();
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
}

#[test]
fn verify_goes_through_all_of_a_package() {
    let scratch = sample();
    let package = open_file(&scratch.path().join("package"));
    let mut seen = Vec::new();
    let verified = verify(&package, &mut |done| seen.push(done)).unwrap();
    assert_eq!(verified.keys, [public(1)]);
    assert_eq!(verified.spans, package.envelope().image.spans);
    let tree = tree_of(&scratch.path().join("source"));
    assert_eq!(verified.entries, tree.len() as u64);
    let files = walkdir::WalkDir::new(scratch.path().join("source")).into_iter().map(Result::unwrap);
    let bytes: u64 =
        files.filter(|entry| entry.file_type().is_file()).map(|entry| entry.metadata().unwrap().len()).sum();
    assert_eq!(verified.content_bytes, bytes);
    assert_eq!(seen.last(), Some(&verify::work(&package)));
    assert_eq!(inspect::contents(&package).unwrap().bytes, bytes);
}

#[test]
fn inspect_tells_signatures_sections_and_plugs() {
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    write_sample(&source, false);
    for (number, (keys, expected)) in
        [(vec![], SignatureState::Unsigned), (vec![3], SignatureState::Valid { keys: vec![public(3)] })]
            .into_iter()
            .enumerate()
    {
        let path = scratch.path().join(format!("package-{number}"));
        let keys: Vec<_> = keys.into_iter().map(key).collect();
        let made = assemble_to(&source, &path, &keys.iter().collect::<Vec<_>>()).unwrap();
        let package = open_file(&path);
        let seen = inspect::inspect(&package);
        assert_eq!(seen.signature, expected);
        assert_eq!(seen.envelope_hash, made.envelope_hash);
        let sizes = seen.sizes;
        assert_eq!(sizes.file, fs::metadata(&path).unwrap().len());
        assert_eq!(sizes.file, made.size);
        assert_eq!(sizes.file, sizes.image + sizes.index + sizes.envelope + sizes.signatures + 64);
        assert!(seen.image.spans > 113 && seen.image.index_depth == 2, "{:?}", seen.image);
        assert_eq!(seen.image.encoder, pack_builder::image::encoder());
        let plugs = &seen.plugs[&"hello".parse().unwrap()];
        assert_eq!(plugs.keys().map(ToString::to_string).collect::<Vec<_>>(), ["network", "x11"]);
        let counted = inspect::contents(&package).unwrap();
        let tree = tree_of(&source);
        let count =
            |prefix: &str| tree.values().filter(|node| node.content.starts_with(prefix)).count() as u64;
        assert_eq!(
            (counted.files, counted.folders, counted.symbolic_links, counted.others),
            (count("file "), count("folder"), count("link "), 0)
        );
    }
    let unsigned = open_file(&scratch.path().join("package-0"));
    let error = verify(&unsigned, &mut |_| ()).unwrap_err();
    assert!(matches!(error, VerifyError::Signature(PackageError::Unsigned)), "{error:?}");
}

#[test]
fn a_package_that_cannot_be_made_leaves_nothing_and_spares_the_old_one() {
    let test = "a_package_that_cannot_be_made_leaves_nothing_and_spares_the_old_one";
    if !is_rerun() && rustix::process::geteuid().is_root() {
        rerun(test, &UNPRIVILEGED, &[]);
        return;
    }
    let scratch = TempDir::new().unwrap();
    let [source, results] = ["source", "results"].map(|name| scratch.path().join(name));
    for folder in [&source, &results] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(source.join("a"), noise(1 << 20, 1)).unwrap();
    fs::write(source.join("secret"), "secret").unwrap();
    fs::set_permissions(source.join("secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let output = results.join("hello.pkg");
    let read_error = |result| match result {
        Err(AssembleError::Image(ImageError::Read { path, .. })) => assert_eq!(path, source.join("secret")),
        other => panic!("{other:?}"),
    };
    read_error(assemble_to(&source, &output, &[&key(1)]));
    assert!(names_in(&results).is_empty());
    fs::write(&output, "the old one").unwrap();
    read_error(assemble_to(&source, &output, &[&key(1)]));
    assert_eq!(fs::read(&output).unwrap(), b"the old one");
    fs::remove_file(source.join("secret")).unwrap();
    assemble_to(&source, &output, &[&key(1)]).unwrap();
    assert!(verify(&open_file(&output), &mut |_| ()).is_ok());
    assert_eq!(names_in(&results), ["hello.pkg"]);
    for unwritable in [results.join("missing/hello.pkg"), results.join("..")] {
        let error = assemble_to(&source, &unwritable, &[&key(1)]).unwrap_err();
        assert!(matches!(error, AssembleError::Write { .. }), "{error:?}");
    }
}

#[test]
fn unpack_replaces_nothing() {
    let scratch = sample();
    let package = open_file(&scratch.path().join("package"));
    let target = scratch.path().join("target");
    fs::create_dir(&target).unwrap();
    fs::write(target.join("file"), "mine").unwrap();
    fs::create_dir(target.join("folder")).unwrap();
    symlink("nowhere", target.join("dangling")).unwrap();
    symlink("folder", target.join("link")).unwrap();
    let before = tree_of(&target);
    for name in ["file", "folder", "dangling", "link", ".", "..", ""] {
        let error = unpack(&package, &target.join(name), &mut |_| ()).unwrap_err();
        assert!(matches!(error, UnpackError::Exists { .. }), "{name}: {error:?}");
    }
    let error = unpack(&package, &target.join("missing/new"), &mut |_| ()).unwrap_err();
    assert!(matches!(error, UnpackError::Folder { .. }), "{error:?}");
    assert_eq!(tree_of(&target), before);
}

#[test]
fn unpack_does_not_replace_what_came_in_between() {
    let scratch = sample();
    let package = open_file(&scratch.path().join("package"));
    let target = scratch.path().join("target");
    fs::create_dir(&target).unwrap();
    let new = target.join("new");
    let mut made = false;
    let error = unpack(&package, &new, &mut |_| {
        if !made {
            fs::create_dir(&new).unwrap();
            made = true;
        }
    })
    .unwrap_err();
    assert!(matches!(error, UnpackError::Exists { .. }), "{error:?}");
    assert_eq!(names_in(&target), ["new"]);
    assert!(names_in(&new).is_empty());
}

#[test]
fn unpack_keeps_to_the_umask() {
    let test = "unpack_keeps_to_the_umask";
    if !is_rerun() {
        rerun(test, &["sh", "-c", "umask 027; exec \"$@\"", "sh"], &[]);
        return;
    }
    let scratch = sample();
    let target = scratch.path().join("target");
    unpack(&open_file(&scratch.path().join("package")), &target, &mut |_| ()).unwrap();
    for (path, mode) in
        [("", 0o750), ("bin", 0o750), ("bin/run", 0o750), ("bin/set-uid", 0o750), ("text", 0o640)]
    {
        assert_eq!(fs::metadata(target.join(path)).unwrap().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn a_package_can_be_unpacked_beside_itself_and_by_a_relative_path() {
    let test = "a_package_can_be_unpacked_beside_itself_and_by_a_relative_path";
    let folder = "PACK_TEST_RELATIVE";
    if let Some(folder) = std::env::var_os(folder) {
        std::env::set_current_dir(folder).unwrap();
        unpack(&open_file(Path::new("package")), Path::new("new"), &mut |_| ()).unwrap();
        assemble_to(Path::new("new"), Path::new("again"), &[&key(1)]).unwrap();
        assert!(fs::read("again").unwrap() == fs::read("package").unwrap());
        return;
    }
    let scratch = sample();
    rerun(test, &["env"], &[(folder, scratch.path())]);
    assert_eq!(names_in(scratch.path()), ["again", "new", "package", "source"]);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let test = "a_full_disk_leaves_nothing";
    if !is_root(test) {
        return;
    }
    if !is_rerun() {
        rerun(test, &["unshare", "--mount"], &[]);
        return;
    }
    let scratch = sample();
    let small = scratch.path().join("small");
    fs::create_dir(&small).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4m", "none"]).arg(&small));
    let package = open_file(&scratch.path().join("package"));
    let unpacked = unpack(&package, &small.join("new"), &mut |_| ());
    let assembled = assemble_to(&scratch.path().join("source"), &small.join("hello.pkg"), &[&key(1)]);
    let left = names_in(&small);
    run(Command::new("umount").arg(&small));
    assert!(matches!(unpacked, Err(UnpackError::Write { .. })), "{unpacked:?}");
    assert!(matches!(assembled, Err(AssembleError::Image(ImageError::Write { .. }))), "{assembled:?}");
    assert!(left.is_empty(), "{left:?}");
}
