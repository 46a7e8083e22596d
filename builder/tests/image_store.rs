//! Compressed blocks that one build keeps for the next: they save time, change nothing, and are never believed.

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::*;
use pack_builder::assemble::{AssembleError, DEFAULT_EPOCH, Request, assemble};
use pack_builder::image::{Options, ReadBackError};
use pack_schemas::names::{Architecture, Hash};
use tempfile::TempDir;

/// Makes a package with the blocks kept in a folder.
fn assemble_with(folder: &Path, output: &Path, blocks: Option<&Path>) -> Result<(), AssembleError> {
    let request = Request {
        prime: folder,
        manifest: &manifest("hello"),
        architecture: Architecture::Amd64,
        source_date_epoch: DEFAULT_EPOCH,
        keys: &[&key(1)],
        output,
        blocks,
        parallel: NonZeroUsize::new(2).unwrap(),
    };
    assemble(&request, &mut |_| ()).map(drop)
}

/// A scratch folder with a tree, and paths in it.
fn scratch() -> (TempDir, [PathBuf; 4]) {
    let scratch = TempDir::new().unwrap();
    let paths = ["source", "blocks", "package", "clean"].map(|name| scratch.path().join(name));
    write_sample(&paths[0], false);
    (scratch, paths)
}

#[test]
fn a_build_with_kept_blocks_gives_the_package_of_a_clean_one() {
    let (_scratch, [source, blocks, package, clean]) = scratch();
    assemble_with(&source, &package, Some(&blocks)).unwrap();
    assert_eq!(names_in(&blocks), ["blocks"]);
    let kept = fs::metadata(blocks.join("blocks")).unwrap().len();
    for change in ["more\n", "and more\n"] {
        OpenOptions::new()
            .append(true)
            .open(source.join("text"))
            .unwrap()
            .write_all(change.as_bytes())
            .unwrap();
        assemble_with(&source, &package, Some(&blocks)).unwrap();
        assemble_with(&source, &clean, None).unwrap();
        assert!(fs::read(&package).unwrap() == fs::read(&clean).unwrap());
    }
    fs::remove_file(source.join("large")).unwrap();
    assemble_with(&source, &package, Some(&blocks)).unwrap();
    let left = fs::metadata(blocks.join("blocks")).unwrap().len();
    assert!(left < kept, "{left} {kept}");
}

#[test]
fn a_kept_block_that_is_another_one_makes_no_package_and_is_forgotten() {
    let (_scratch, [source, blocks, package, clean]) = scratch();
    assemble_with(&source, &package, Some(&blocks)).unwrap();
    fs::remove_file(&package).unwrap();
    swap_two_blocks(&blocks.join("blocks"));
    let error = assemble_with(&source, &package, Some(&blocks)).unwrap_err();
    assert!(
        matches!(
            &error,
            AssembleError::ReadBack(
                ReadBackError::Differs { what: "the content", .. } | ReadBackError::Library { .. }
            )
        ),
        "{error:?}"
    );
    assert!(!package.exists());
    assert!(names_in(&blocks).is_empty());
    assemble_with(&source, &package, Some(&blocks)).unwrap();
    assemble_with(&source, &clean, None).unwrap();
    assert!(fs::read(&package).unwrap() == fs::read(&clean).unwrap());
}

/// Makes two records of the store name one another's content, with all hashes right.
fn swap_two_blocks(store: &Path) {
    let mut bytes = fs::read(store).unwrap();
    let mut compressed = Vec::new();
    let mut at = 40;
    while at < bytes.len() {
        let stored = u32::from_le_bytes(bytes[at + 64..at + 68].try_into().unwrap()) as usize;
        if stored > 0 {
            compressed.push(at);
        }
        at += 76 + stored;
    }
    let (first, second) = (compressed[0], *compressed.last().unwrap());
    let content = [first, second].map(|at| bytes[at..at + 32].to_vec());
    assert_ne!(content[0], content[1]);
    for (at, content) in [(first, &content[1]), (second, &content[0])] {
        bytes[at..at + 32].copy_from_slice(content);
        let check = Hash::of(&bytes[at..at + 68]);
        bytes[at + 68..at + 76].copy_from_slice(&check.0[..8]);
    }
    fs::write(store, bytes).unwrap();
}

#[test]
fn a_store_that_cannot_be_used_changes_nothing() {
    let (scratch, [source, blocks, package, clean]) = scratch();
    assemble_with(&source, &clean, None).unwrap();
    // A file is there; or a folder where the file is to be; or the file is nonsense.
    fs::write(&blocks, "no folder").unwrap();
    let other = scratch.path().join("other");
    fs::create_dir_all(other.join("blocks.partial/x")).unwrap();
    let nonsense = scratch.path().join("nonsense");
    fs::create_dir(&nonsense).unwrap();
    fs::write(nonsense.join("blocks"), noise(1 << 20, 9)).unwrap();
    fs::write(nonsense.join("blocks.partial"), noise(30, 9)).unwrap();
    for store in [&blocks, &other, &nonsense] {
        assemble_with(&source, &package, Some(store)).unwrap();
        assert!(fs::read(&package).unwrap() == fs::read(&clean).unwrap(), "{store:?}");
    }
}

#[test]
fn a_full_disk_for_the_store_changes_nothing() {
    let test = "a_full_disk_for_the_store_changes_nothing";
    if !is_root(test) {
        return;
    }
    if !is_rerun() {
        rerun(test, &["unshare", "--mount"], &[]);
        return;
    }
    let (_scratch, [source, blocks, package, clean]) = scratch();
    assemble_with(&source, &clean, None).unwrap();
    fs::create_dir(&blocks).unwrap();
    let mount = |arguments: &[&str]| {
        assert!(Command::new(arguments[0]).args(&arguments[1..]).arg(&blocks).status().unwrap().success());
    };
    mount(&["mount", "-t", "tmpfs", "-o", "size=1m", "none"]);
    let results: Vec<_> = (0..2).map(|_| assemble_with(&source, &package, Some(&blocks))).collect();
    let same = fs::read(&package).unwrap() == fs::read(&clean).unwrap();
    mount(&["umount"]);
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert!(same);
}

const FOLDER: &str = "PACK_TEST_FOLDER";
const STORE: &str = "PACK_TEST_STORE";

#[test]
fn a_build_that_was_killed_leaves_its_blocks_to_the_next() {
    let slow = |blocks| Options { level: 15, blocks, ..options() };
    if is_rerun() {
        let [folder, store] = [FOLDER, STORE].map(|name| PathBuf::from(std::env::var_os(name).unwrap()));
        image_with(&folder, &slow(Some(&store)));
        return;
    }
    let scratch = TempDir::new().unwrap();
    let [source, store] = ["source", "store"].map(|name| scratch.path().join(name));
    fs::create_dir(&source).unwrap();
    // Words that are no repetition take zstd some time.
    let text: String = noise(5 << 19, 5).iter().map(|byte| format!("word{byte:02x} ")).collect();
    fs::write(source.join("text"), text).unwrap();
    let mut build = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_build_that_was_killed_leaves_its_blocks_to_the_next"])
        .env("PACK_TEST_RERUN", "1")
        .envs([(FOLDER, &source), (STORE, &store)])
        .spawn()
        .unwrap();
    let partial = store.join("blocks.partial");
    let begin = Instant::now();
    while fs::metadata(&partial).map_or(0, |found| found.len()) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(120) && build.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    build.kill().unwrap();
    build.wait().unwrap();
    assert_eq!(names_in(&store), ["blocks.partial"]);
    let clean = image_with(&source, &slow(None));
    assert!(image_with(&source, &slow(Some(&store))) == clean);
    assert_eq!(names_in(&store), ["blocks"]);
}
