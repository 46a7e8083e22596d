//! Packages that somebody damaged, or made to do harm: each gives a typed error or the true content, nothing outside
//! of the new folder is touched, and after an error nothing of it is left.

mod common;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

use common::*;
use pack_builder::inspect;
use pack_builder::unpack::{UnpackError, unpack};
use pack_builder::verify::{VerifyError, verify};
use pack_launcher::image::ImageError;
use pack_launcher::package::{OpenError, Package};
use pack_schemas::index::PAGE_SIZE;
use pack_schemas::package::{FOOTER_SIZE, Footer, PackageError, canonical_json};
use squashfs_ng::write::{Source, SourceData, Writer};
use tempfile::TempDir;

/// What came of trying everything on a package.
#[derive(Debug)]
enum Outcome {
    /// It does not even open.
    Closed(OpenError),
    /// It opens, and this is what verify and unpack said.
    Opened { verified: Result<(), VerifyError>, unpacked: Result<(), UnpackError> },
}

impl Outcome {
    fn errors(&self) -> Vec<&dyn std::error::Error> {
        match self {
            Outcome::Closed(error) => vec![error],
            Outcome::Opened { verified, unpacked } => {
                let verified = verified.as_ref().err().map(|error| error as &dyn std::error::Error);
                let unpacked = unpacked.as_ref().err().map(|error| error as &dyn std::error::Error);
                verified.into_iter().chain(unpacked).collect()
            }
        }
    }
}

/// Opens, inspects, verifies and unpacks (without asking for the signature) a package into `folder/new`.
///
/// # Panics
/// Where an error leaves something behind, or its text is empty or could steer a terminal.
fn try_everything(bytes: &[u8], folder: &Path) -> Outcome {
    let outcome = match open(bytes) {
        Err(error) => Outcome::Closed(error),
        Ok(package) => {
            let _ = inspect::inspect(&package);
            let _ = inspect::contents(&package);
            let verified = verify(&package, &mut |_| ()).map(drop);
            let unpacked = unpack(&package, &folder.join("new"), &mut |_| ()).map(drop);
            Outcome::Opened { verified, unpacked }
        }
    };
    let whole = matches!(outcome, Outcome::Opened { unpacked: Ok(()), .. });
    assert_eq!(names_in(folder), if whole { vec!["new"] } else { vec![] }, "{outcome:?}");
    for error in outcome.errors() {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
    }
    outcome
}

/// A small tree with every kind of entry, whose package is quickly tried hundreds of times.
fn small_source(folder: &Path) {
    fs::create_dir_all(folder.join("bin/inner")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::write(folder.join("bin/run"), "#!/bin/sh\necho hello\n".repeat(40)).unwrap();
    fs::write(folder.join("bin/inner/noise"), noise(40_000, 7)).unwrap();
    fs::write(folder.join("zeros"), vec![0; 300_000]).unwrap();
    for n in 0..40 {
        fs::write(folder.join(format!("bin/file-{n}")), format!("{n}").repeat(n)).unwrap();
    }
    symlink("bin/run", folder.join("link")).unwrap();
}

struct Small {
    scratch: TempDir,
    bytes: Vec<u8>,
    footer: Footer,
}

fn small_package() -> Small {
    let scratch = TempDir::new().unwrap();
    small_source(&scratch.path().join("source"));
    let path = scratch.path().join("package");
    assemble_to(&scratch.path().join("source"), &path, &[&key(1)]).unwrap();
    fs::create_dir(scratch.path().join("out")).unwrap();
    let bytes = fs::read(path).unwrap();
    let footer = footer_of(&bytes);
    Small { scratch, bytes, footer }
}

fn footer_of(bytes: &[u8]) -> Footer {
    Footer::parse(bytes.last_chunk::<FOOTER_SIZE>().unwrap(), bytes.len() as u64).unwrap()
}

impl Small {
    fn attempt(&self, bytes: &[u8]) -> Outcome {
        try_everything(bytes, &self.scratch.path().join("out"))
    }

    /// Where the sections of the package end.
    fn boundaries(&self) -> [usize; 5] {
        let footer = &self.footer;
        let ends = [
            footer.index_offset(),
            footer.envelope_offset(),
            footer.signatures_offset(),
            footer.signatures_offset() + u64::from(footer.signatures),
            self.bytes.len() as u64,
        ];
        ends.map(|end| end as usize)
    }

    /// Takes away what an attempt extracted, and says whether it was the true content.
    fn is_true_content(&self) -> bool {
        let new = self.scratch.path().join("out/new");
        let contents = |root: &Path| -> Vec<_> {
            tree_of(root).into_iter().map(|(path, node)| (path, node.content)).collect()
        };
        let same = contents(&new) == contents(&self.scratch.path().join("source"));
        fs::remove_dir_all(new).unwrap();
        same
    }
}

/// Numbers that are the same in every run.
struct Numbers(blake3::OutputReader);

impl Numbers {
    fn new(seed: u64) -> Numbers {
        Numbers(blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof())
    }

    fn below(&mut self, limit: usize) -> usize {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        (u64::from_le_bytes(bytes) % limit as u64) as usize
    }

    /// Changes `bytes` in one of several ways.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len());
        let rest = bytes.len() - at;
        match self.below(7) {
            0 | 1 => bytes[at] ^= 1 << self.below(8),
            2 => {
                for _ in 0..8 {
                    let at = self.below(bytes.len());
                    bytes[at] = self.below(256) as u8;
                }
            }
            3 => bytes[at..at + rest.min(100)].fill(0),
            4 => bytes[at..at + rest.min(4)].fill(0xff),
            5 => bytes.truncate(at),
            _ => {
                let piece = bytes[at..at + rest.min(64)].to_vec();
                let to = self.below(bytes.len() - piece.len());
                bytes[to..to + piece.len()].copy_from_slice(&piece);
            }
        }
    }
}

#[test]
fn a_package_of_which_nothing_was_changed_passes() {
    let small = small_package();
    let outcome = small.attempt(&small.bytes);
    assert!(matches!(outcome, Outcome::Opened { verified: Ok(()), unpacked: Ok(()) }), "{outcome:?}");
    assert!(small.is_true_content());
}

#[test]
fn three_hundred_damaged_packages_are_found_out() {
    let small = small_package();
    let mut numbers = Numbers::new(1);
    let (mut round, mut closed) = (0, 0);
    while round < 300 {
        let mut bytes = small.bytes.clone();
        // By itself the image would get nearly all of the changes.
        match round % 3 {
            0 => numbers.mutate(&mut bytes),
            _ => {
                let mut tail = bytes.split_off(small.footer.image as usize);
                numbers.mutate(&mut tail);
                bytes.extend(tail);
            }
        }
        if bytes == small.bytes {
            continue;
        }
        round += 1;
        match small.attempt(&bytes) {
            Outcome::Closed(_) => closed += 1,
            Outcome::Opened { verified, unpacked } => {
                assert!(verified.is_err(), "round {round} was not noticed");
                assert!(unpacked.is_err() || small.is_true_content(), "round {round}");
            }
        }
    }
    assert!((50..250).contains(&closed), "{closed}");
}

#[test]
fn three_hundred_signed_packages_with_senseless_images_do_no_harm() {
    let small = small_package();
    let image = &small.bytes[..small.footer.image as usize];
    let used = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
    let inodes = u64::from_le_bytes(image[64..72].try_into().unwrap()) as usize;
    let mut numbers = Numbers::new(2);
    let mut refused = 0;
    for round in 0..300 {
        let mut bytes = image[..used].to_vec();
        // The superblock, the tables, anything.
        let part = [0..96, inodes..used, 0..used][round % 3].clone();
        let mut piece = bytes[part.clone()].to_vec();
        numbers.mutate(&mut piece);
        bytes.splice(part, piece);
        if let Outcome::Opened { unpacked: Ok(()), .. } = small.attempt(&package_around(&bytes, &key(1))) {
            fs::remove_dir_all(small.scratch.path().join("out/new")).unwrap();
        } else {
            refused += 1;
        }
    }
    assert!(refused > 150, "{refused}");
}

#[test]
fn a_package_cut_at_every_structure_is_refused() {
    let small = small_package();
    let mut lengths = vec![0, 1, 95, 96, FOOTER_SIZE - 1, FOOTER_SIZE, PAGE_SIZE];
    for end in small.boundaries() {
        lengths.extend([end - 1, end, end + 1]);
    }
    for length in lengths.into_iter().filter(|&length| length != small.bytes.len()) {
        let mut bytes = small.bytes.clone();
        bytes.resize(length, 0);
        let outcome = small.attempt(&bytes);
        assert!(matches!(outcome, Outcome::Closed(OpenError::Package(_))), "{length}: {outcome:?}");
    }
    assert!(matches!(
        small.attempt(&[]),
        Outcome::Closed(OpenError::Package(PackageError::NotAPackage { .. }))
    ));
}

#[test]
fn a_footer_that_lies_is_refused() {
    let small = small_package();
    let true_footer = small.footer;
    let Footer { image, index, envelope, signatures } = true_footer;
    let page = PAGE_SIZE as u64;
    let lies = [
        Footer { image: index, index: image, ..true_footer },
        Footer { image: image + page, index: index - page, ..true_footer },
        Footer { image: image - page, index: index + page, ..true_footer },
        Footer { image: 0, index: image + index, ..true_footer },
        Footer { image: u64::MAX - 4095, ..true_footer },
        Footer { index: u64::MAX - 4095, ..true_footer },
        Footer { image: u64::MAX, index: index + image + 1, ..true_footer },
        Footer { envelope: envelope + 1, signatures: signatures - 1, ..true_footer },
        Footer { envelope: envelope - 1, signatures: signatures + 1, ..true_footer },
        Footer { envelope: u32::MAX, ..true_footer },
        Footer { envelope: 0, signatures: envelope + signatures, ..true_footer },
        Footer { envelope: envelope + signatures, signatures: 0, ..true_footer },
    ];
    for lie in lies {
        let mut bytes = small.bytes.clone();
        let at = bytes.len() - FOOTER_SIZE;
        bytes[at..].copy_from_slice(&lie.to_bytes());
        let outcome = small.attempt(&bytes);
        assert!(matches!(outcome, Outcome::Closed(OpenError::Package(_))), "{lie:?}: {outcome:?}");
    }
}

/// Another package with the same layout and other content.
fn sibling(small: &Small) -> Vec<u8> {
    let source = small.scratch.path().join("sibling");
    small_source(&source);
    fs::write(source.join("bin/inner/noise"), noise(40_000, 8)).unwrap();
    let path = small.scratch.path().join("sibling-package");
    assemble_to(&source, &path, &[&key(1)]).unwrap();
    let bytes = fs::read(path).unwrap();
    assert_eq!(footer_of(&bytes), small.footer);
    bytes
}

#[test]
fn the_signature_of_another_package_is_wrong() {
    let small = small_package();
    let sibling = sibling(&small);
    let [_, _, signatures, footer, _] = small.boundaries();
    let mut bytes = small.bytes.clone();
    bytes[signatures..footer].copy_from_slice(&sibling[signatures..footer]);
    let outcome = small.attempt(&bytes);
    assert!(
        matches!(
            outcome,
            Outcome::Opened {
                verified: Err(VerifyError::Signature(PackageError::BadSignature { .. })),
                unpacked: Ok(())
            }
        ),
        "{outcome:?}"
    );
}

#[test]
fn a_signature_in_the_name_of_another_key_is_wrong() {
    let small = small_package();
    let [_, envelope, signatures, _, _] = small.boundaries();
    let mut forged = pack_schemas::package::sign(&small.bytes[envelope..signatures], &key(2));
    forged.key = pack_schemas::names::PublicKey(key(1).verifying_key().to_bytes());
    let mut bytes = small.bytes[..signatures].to_vec();
    bytes.extend(canonical_json(&[forged]));
    let footer = Footer { signatures: (bytes.len() - signatures) as u32, ..small.footer };
    bytes.extend(footer.to_bytes());
    let outcome = small.attempt(&bytes);
    let Outcome::Opened { verified: Err(VerifyError::Signature(error)), .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(error, PackageError::BadSignature { .. }), "{error:?}");
}

#[test]
fn the_index_or_image_of_another_package_is_found_out() {
    let small = small_package();
    let sibling = sibling(&small);
    let [index, envelope, ..] = small.boundaries();
    let mut bytes = small.bytes.clone();
    bytes[index..envelope].copy_from_slice(&sibling[index..envelope]);
    let outcome = small.attempt(&bytes);
    assert!(
        matches!(
            outcome,
            Outcome::Opened { verified: Err(VerifyError::Content(ImageError::Index(_))), unpacked: Err(_) }
        ),
        "{outcome:?}"
    );
    let mut bytes = small.bytes.clone();
    bytes[..index].copy_from_slice(&sibling[..index]);
    let outcome = small.attempt(&bytes);
    let Outcome::Opened { verified: Err(VerifyError::Content(error)), unpacked: Err(_) } = outcome else {
        panic!("{outcome:?}");
    };
    assert!(matches!(error, ImageError::Damaged { .. }), "{error:?}");
}

#[test]
fn a_file_that_is_changed_while_it_is_open_gives_an_error_and_never_its_content() {
    let small = small_package();
    let path = small.scratch.path().join("package");
    let package = Arc::new(Package::open(File::open(&path).unwrap()).unwrap());
    verify(&package, &mut |_| ()).unwrap();
    // The first block of the first file.
    let file = File::options().write(true).open(&path).unwrap();
    file.write_all_at(b"changed", 96).unwrap();
    let error = verify(&package, &mut |_| ()).unwrap_err();
    assert!(matches!(error, VerifyError::Content(ImageError::Damaged { start: 96, .. })), "{error:?}");
    let out = small.scratch.path().join("out");
    assert!(unpack(&package, &out.join("new"), &mut |_| ()).is_err());
    file.set_len(5000).unwrap();
    assert!(unpack(&package, &out.join("new"), &mut |_| ()).is_err());
    assert!(names_in(&out).is_empty());
}

/// An image made entry by entry, where nobody checks what it holds.
struct Forge {
    writer: Writer,
    file: File,
}

impl Forge {
    fn new() -> Forge {
        let file = tempfile::tempfile().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        Forge { writer: Writer::open(path).unwrap(), file }
    }

    fn add(&mut self, data: SourceData, mode: u16) -> u32 {
        let flags = squashfs_ng::write::BlockFlags::DontFragment as u32;
        let xattrs = HashMap::new();
        self.writer.add(Source { data, uid: 0, gid: 0, mode, modified: EPOCH, xattrs, flags }).unwrap()
    }

    fn file(&mut self, content: &'static str) -> u32 {
        self.add(SourceData::File(Box::new(content.as_bytes())), 0o644)
    }

    fn link(&mut self, target: &Path) -> u32 {
        self.add(SourceData::Symlink(target.to_path_buf()), 0o777)
    }

    /// A folder with entries in the order given.
    fn folder(&mut self, entries: &[(&str, u32)]) -> u32 {
        let entries: Vec<_> = entries.iter().map(|(name, number)| (OsString::from(name), *number)).collect();
        self.add(SourceData::Dir(Box::new(entries.into_iter())), 0o755)
    }

    /// The signed package of the image, whose root is what was added last.
    fn package(mut self) -> Vec<u8> {
        self.writer.finish().unwrap();
        let mut image = Vec::new();
        self.file.read_to_end(&mut image).unwrap();
        package_around(&image, &key(1))
    }
}

/// Tries a package of which every part must be refused, and checks that `outside` is as it was.
fn must_be_refused(bytes: &[u8], scratch: &Path, what: &str) -> UnpackError {
    let out = scratch.join("out");
    let _ = fs::create_dir(&out);
    let before = tree_of(scratch);
    let outcome = try_everything(bytes, &out);
    let content = |tree: std::collections::BTreeMap<_, Node>| -> Vec<_> {
        tree.into_iter().map(|(path, node)| (path, node.content, node.mode)).collect()
    };
    assert_eq!(content(tree_of(scratch)), content(before), "{what}");
    match outcome {
        Outcome::Opened { verified, unpacked: Err(error) } => {
            // A device is no damage, and verify says nothing of it.
            assert!(verified.is_err() || matches!(error, UnpackError::Special { .. }), "{what}");
            error
        }
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn cve_2021_40153_names_that_lead_out_of_the_folder_are_refused() {
    for name in ["..", ".", "../escape", "../../escape", "/etc/escape", "a/b", "a/../../escape", "/"] {
        for inner in [false, true] {
            let scratch = TempDir::new().unwrap();
            let mut forge = Forge::new();
            let file = forge.file("escaped");
            let mut folder = forge.folder(&[(name, file)]);
            if inner {
                folder = forge.folder(&[(name, folder)]);
                forge.folder(&[("inner", folder)]);
            }
            let error = must_be_refused(&forge.package(), scratch.path(), name);
            assert!(matches!(error, UnpackError::Tree(_)), "{name}: {error:?}");
        }
    }
}

#[test]
fn cve_2021_41072_nothing_is_written_through_a_link_of_the_same_name() {
    let scratch = TempDir::new().unwrap();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "mine").unwrap();
    // A link to the folder outside, and by the same name a folder whose file would then be written there.
    let mut forge = Forge::new();
    let link = forge.link(&outside);
    let file = forge.file("theirs");
    let folder = forge.folder(&[("file", file)]);
    forge.folder(&[("a", link), ("a", folder)]);
    must_be_refused(&forge.package(), scratch.path(), "a folder");
    // A link to the file outside, and a file by the same name.
    let mut forge = Forge::new();
    let link = forge.link(&outside.join("file"));
    let file = forge.file("theirs");
    forge.folder(&[("a", link), ("a", file)]);
    must_be_refused(&forge.package(), scratch.path(), "a file");
    // The same twice, in folders that are sorted but for the case that a reader might fold.
    let mut forge = Forge::new();
    let link = forge.link(&outside);
    let file = forge.file("theirs");
    let folder = forge.folder(&[("file", file)]);
    forge.folder(&[("b", link), ("a", folder), ("b", folder)]);
    must_be_refused(&forge.package(), scratch.path(), "out of order");
}

#[test]
fn links_to_anywhere_are_made_and_not_followed() {
    let scratch = TempDir::new().unwrap();
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let mut forge = Forge::new();
    let link = forge.link(&outside);
    let up = forge.link(Path::new("../../outside"));
    let file = forge.file("content");
    let folder = forge.folder(&[("file", file)]);
    forge.folder(&[("a", link), ("b", up), ("c", folder)]);
    let package = open(&forge.package()).unwrap();
    unpack(&package, &scratch.path().join("new"), &mut |_| ()).unwrap();
    assert_eq!(fs::read_link(scratch.path().join("new/a")).unwrap(), outside);
    assert!(names_in(&outside).is_empty());
    assert_ne!(fs::metadata(&outside).unwrap().mtime(), i64::from(EPOCH));
}

#[test]
fn cve_2017_9780_no_set_uid_bit_comes_out_of_a_package() {
    let scratch = TempDir::new().unwrap();
    let mut forge = Forge::new();
    let content = || SourceData::File(Box::new(&b"program"[..]));
    let set_uid = forge.add(content(), 0o6755);
    let sticky = forge.add(content(), 0o7777);
    let closed = forge.add(content(), 0o000);
    let inner = forge.file("inner");
    let entries = vec![(OsString::from("inner"), inner)];
    let folder = forge.add(SourceData::Dir(Box::new(entries.into_iter())), 0o7000);
    forge.folder(&[("closed", closed), ("folder", folder), ("set-uid", set_uid), ("sticky", sticky)]);
    let package = open(&forge.package()).unwrap();
    verify(&package, &mut |_| ()).unwrap();
    let new = scratch.path().join("new");
    unpack(&package, &new, &mut |_| ()).unwrap();
    let mode = |path: &str| fs::metadata(new.join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("set-uid"), 0o755);
    assert_eq!(mode("sticky") & 0o7000, 0);
    assert_eq!(mode("closed"), 0);
    assert_eq!(mode("folder"), 0o700);
    assert_eq!(fs::read(new.join("folder/inner")).unwrap(), b"inner");
}

#[test]
fn cve_2024_29068_devices_fifos_and_sockets_are_refused() {
    for (what, data) in [
        ("fifo", SourceData::Fifo),
        ("socket", SourceData::Socket),
        ("block device", SourceData::BlockDev(8, 0)),
        ("character device", SourceData::CharDev(1, 3)),
    ] {
        let scratch = TempDir::new().unwrap();
        let mut forge = Forge::new();
        let file = forge.file("before");
        let special = forge.add(data, 0o666);
        forge.folder(&[("a", file), ("special", special)]);
        let error = must_be_refused(&forge.package(), scratch.path(), what);
        assert!(matches!(&error, UnpackError::Special { path } if path == b"special"), "{what}: {error:?}");
    }
}

#[test]
fn a_folder_with_two_names_is_refused() {
    let scratch = TempDir::new().unwrap();
    let mut forge = Forge::new();
    // Forty folders, each twice in the next: 2⁴⁰ paths.
    let mut folder = forge.folder(&[]);
    for _ in 0..40 {
        folder = forge.folder(&[("a", folder), ("b", folder)]);
    }
    must_be_refused(&forge.package(), scratch.path(), "two names");
}

#[test]
fn a_path_that_is_too_long_is_refused() {
    let scratch = TempDir::new().unwrap();
    let mut forge = Forge::new();
    let name = "n".repeat(250);
    let mut folder = forge.folder(&[]);
    for _ in 0..40 {
        folder = forge.folder(&[(&name, folder)]);
    }
    must_be_refused(&forge.package(), scratch.path(), "long path");
}

#[test]
fn a_name_that_could_steer_a_terminal_is_shown_harmless() {
    let scratch = TempDir::new().unwrap();
    let mut forge = Forge::new();
    let fifo = forge.add(SourceData::Fifo, 0o666);
    forge.folder(&[("\u{1b}[2J\u{202e}evil", fifo)]);
    let error = must_be_refused(&forge.package(), scratch.path(), "escape");
    assert!(error.to_string().contains("\\u{1b}[2J\\u{202e}evil"), "{error}");
}

#[test]
fn a_file_of_zeros_takes_no_room() {
    let scratch = TempDir::new().unwrap();
    let mut forge = Forge::new();
    let zeros = forge.add(SourceData::File(Box::new(std::io::repeat(0).take(1 << 30))), 0o644);
    forge.folder(&[("zeros", zeros)]);
    let package = open(&forge.package()).unwrap();
    assert!(verify(&package, &mut |_| ()).unwrap().content_bytes == 1 << 30);
    unpack(&package, &scratch.path().join("new"), &mut |_| ()).unwrap();
    let metadata = fs::metadata(scratch.path().join("new/zeros")).unwrap();
    assert_eq!((metadata.len(), metadata.blocks()), (1 << 30, 0));
}
