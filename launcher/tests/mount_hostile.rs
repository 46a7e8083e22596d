//! Images made to do harm: an error is fine, wrong data, a panic, a hang or memory without bound is not.
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod mount_support;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mount_support::forge::{Forge, h, l, w};
use mount_support::mounted::{Stage, skip};
use mount_support::{Bytes, mksquashfs, tree, wrap_blindly};
use pack_launcher::image::{CacheSize, EntryCookie, ImageError, Node, Reader, Seek, spans};
use pack_schemas::squashfs::{InodeKind, NONE, Reference};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

fn open(image: Vec<u8>) -> Result<Reader, ImageError> {
    Reader::open(Arc::new(Bytes(image)), CacheSize { bytes: 1 << 20 })
}

/// Asks everything about everything that can be reached, and returns what was refused.
fn torture(image: Vec<u8>) -> Vec<ImageError> {
    let begun = Instant::now();
    let _ = spans::hash(&(Arc::new(Bytes(image.clone())) as _), &mut |_| {});
    let mut refused = Vec::new();
    let found = open(image).and_then(|reader| {
        let root = reader.root()?;
        walk(&reader, root, &mut refused);
        Ok(())
    });
    refused.extend(found.err());
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    refused
}

fn walk(reader: &Reader, root: Node, refused: &mut Vec<ImageError>) {
    let (mut waiting, mut seen) = (vec![root], HashSet::from([root.reference]));
    while let Some(node) = waiting.pop() {
        ask(reader, &node, refused);
        let mut names = Vec::new();
        let listed = reader.entries(&node, EntryCookie::START, &mut |entry| {
            match reader.entry_node(&node, entry) {
                Ok(child) if seen.len() < 5000 && seen.insert(child.reference) => waiting.push(child),
                Ok(_) => {}
                Err(error) => refused.push(error),
            }
            names.push((entry.name.to_vec(), entry.next));
            if names.len() < 5000 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        refused.extend(listed.err());
        for (name, next) in names.iter().step_by(1 + names.len() / 50) {
            refused.extend(reader.lookup(&node, name).err());
            refused.extend(reader.entries(&node, *next, &mut |_| ControlFlow::Break(())).err());
        }
        for cookie in [1, 255, 256, 512, 1 << 20, u64::MAX] {
            let _ = reader.entries(&node, EntryCookie::from_raw(cookie), &mut |_| ControlFlow::Continue(()));
        }
    }
}

fn ask(reader: &Reader, node: &Node, refused: &mut Vec<ImageError>) {
    refused.extend(reader.owner(node).err());
    refused.extend(reader.read_link(node).err());
    match reader.attribute_names(node) {
        Ok(names) => {
            for name in names.split(|&byte| byte == 0) {
                refused.extend(reader.attribute(node, name).err());
            }
        }
        Err(error) => refused.push(error),
    }
    let mut buffer = vec![0; 200_000];
    for offset in [0, 1, 4095, 131_072, 1 << 20, 1 << 40, i64::MAX as u64 - 1, u64::MAX] {
        refused.extend(reader.read(node, offset, &mut buffer).err());
        refused.extend(reader.seek(node, offset, Seek::Data).err());
        refused.extend(reader.seek(node, offset, Seek::Hole).err());
    }
}

/// An image with one file, made by `make`, that must be refused where it is read.
fn refused_file(what: &str, make: impl FnOnce(&mut Forge) -> u64) {
    let mut forge = Forge::new();
    let file = make(&mut forge);
    let image = forge.with_root(&[(b"f", file, 2)]);
    let refused = torture(image);
    assert!(!refused.is_empty(), "{what}");
}

fn extended_file(blocks: u64, size: u64, fragment: (u32, u32), words: &[u32]) -> Vec<u8> {
    let words: Vec<u8> = words.iter().flat_map(|word| w(*word)).collect();
    let (number, offset) = fragment;
    [&l(blocks)[..], &l(size), &l(u64::MAX), &w(1), &w(number), &w(offset), &w(NONE), &words].concat()
}

#[test]
fn a_forged_image_that_tells_the_truth_is_read() {
    let mut forge = Forge::new();
    forge.data = tree::noise(5000, 1);
    let plain = 1 << 24;
    let file = forge.file(1, 96, 5000, &[plain | 4096, plain | 904]);
    let inner = forge.listing(&[(b"f", file, 2)]);
    let inner = forge.folder(2, inner, 1000);
    let image = forge.with_root(&[(b"d", inner, 1), (b"f", file, 2)]);
    assert_eq!(torture(image.clone()), []);
    let reader = open(image).unwrap();
    let node = reader.lookup(&reader.root().unwrap(), b"f").unwrap().unwrap();
    let mut contents = vec![0; 6000];
    assert_eq!(reader.read(&node, 0, &mut contents), Ok(5000));
    assert_eq!(contents[..5000], tree::noise(5000, 1));
}

#[test]
fn superblocks_that_lie_are_refused() {
    // Offsets of fields in the superblock; see schemas for every single rule.
    let lies: [(&str, usize, &[u8]); 9] = [
        ("block log out of range (CVE-2012-4024)", 22, &h(63)),
        ("block size of 2 GiB", 12, &w(1 << 31)),
        ("fragment table that overflows (CVE-2015-4645)", 16, &w(u32::MAX)),
        ("inode table at the end", 64, &l(u64::MAX - 1)),
        ("directory table in front of the inodes", 72, &l(96)),
        ("id table in the superblock", 48, &l(8)),
        ("root outside of the inode table", 32, &l(1 << 40)),
        ("root behind the end of its block", 32, &l(8191)),
        ("attribute table past the end", 56, &l(1 << 60)),
    ];
    for (what, at, bytes) in lies {
        let mut forge = Forge::new();
        forge.lies.push((at, bytes.to_vec()));
        assert!(!torture(forge.with_root(&[])).is_empty(), "{what}");
    }
}

#[test]
fn tables_that_lead_outside_are_refused() {
    // The only entry of the list of the id table, in the last bytes in use.
    let image = Forge::new().with_root(&[]);
    let reader = open(image.clone()).unwrap();
    let list = reader.superblock().id_table as usize;
    for offset in [0, list as u64, list as u64 - 1, 1 << 50, u64::MAX] {
        let mut image = image.clone();
        image[list..list + 8].copy_from_slice(&l(offset));
        assert!(!torture(image).is_empty(), "list entry {offset}");
    }
    // More fragments and ids than their tables hold.
    for (at, count) in [(26, h(u16::MAX).to_vec()), (4, w(u32::MAX).to_vec())] {
        let mut forge = Forge::new();
        forge.lies.push((at, count));
        torture(forge.with_root(&[]));
    }
}

#[test]
fn inodes_that_lie_are_refused() {
    refused_file("number 0 (CVE-2024-26982)", |forge| forge.file(0, 96, 0, &[]));
    refused_file("negative size (CVE-2025-40200)", |forge| {
        forge.inode(9, 1, &[&extended_file(96, 1 << 63, (NONE, 0), &[])])
    });
    refused_file("fragment that is not there", |forge| {
        forge.inode(9, 1, &[&extended_file(96, 10, (7, 0), &[])])
    });
    for offset in [4090, 4096, 1 << 31, u32::MAX] {
        refused_file("fragment offset outside of its block", |forge| {
            forge.data = vec![1; 4096];
            forge.fragments = [&l(96)[..], &w(1 << 24 | 4096), &w(0)].concat();
            forge.inode(9, 1, &[&extended_file(96, 100, (0, offset), &[])])
        });
    }
    refused_file("fragment past the image (CVE-2015-4646)", |forge| {
        forge.fragments = [&l(1 << 40)[..], &w(100), &w(0)].concat();
        forge.inode(9, 1, &[&extended_file(96, 100, (0, 0), &[])])
    });
    refused_file("block past the image", |forge| forge.file(1, u32::MAX, 100, &[1 << 24 | 100]));
    refused_file("blocks past 64 bits", |forge| {
        forge.inode(9, 1, &[&extended_file(u64::MAX - 5, 8192, (NONE, 0), &[100, 100])])
    });
    refused_file("block longer than the block size", |forge| forge.file(1, 96, 100, &[1 << 24 | 5000]));
    refused_file("block shorter than its place", |forge| {
        forge.data = vec![1; 100];
        forge.file(1, 96, 4096, &[1 << 24 | 100])
    });
    refused_file("type that is not there", |forge| forge.inode(77, 1, &[&[0; 64]]));
}

#[test]
fn a_file_of_an_exbibyte_costs_nothing() {
    // It claims more blocks than any table could list.
    refused_file("1 EiB without a list", |forge| {
        forge.inode(9, 1, &[&extended_file(96, 1 << 60, (NONE, 0), &[])])
    });
    // 4 TiB of hole that are honestly listed would be 4 GiB of list; this one is listed for 32 MiB.
    let mut forge = Forge::new();
    let words = vec![0; 8192];
    let file = forge.inode(9, 1, &[&extended_file(96, 8192 * 4096, (NONE, 0), &words)]);
    let reader = open(forge.with_root(&[(b"f", file, 2)])).unwrap();
    let node = reader.lookup(&reader.root().unwrap(), b"f").unwrap().unwrap();
    assert_eq!(reader.seek(&node, 0, Seek::Data), Ok(None));
    let mut buffer = vec![1; 1 << 20];
    assert_eq!(reader.read(&node, 31 << 20, &mut buffer), Ok(1 << 20));
    assert!(buffer.iter().all(|&byte| byte == 0));
}

#[test]
fn blocks_that_expand_past_their_size_are_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 4096);
    refused_file("data", |forge| {
        forge.data.clone_from(&bomb);
        forge.file(1, 96, 4096, &[bomb.len() as u32])
    });
    refused_file("fragment", |forge| {
        forge.data.clone_from(&bomb);
        forge.fragments = [&l(96)[..], &w(bomb.len() as u32), &w(0)].concat();
        forge.inode(9, 1, &[&extended_file(96, 10, (0, 0), &[])])
    });
    // A metadata block: the id table's list is led to one that lies among the data.
    let mut forge = Forge::new();
    forge.data = [&h(bomb.len() as u16)[..], &bomb].concat();
    let mut image = forge.with_root(&[]);
    let list = open(image.clone()).unwrap().superblock().id_table as usize;
    image[list..list + 8].copy_from_slice(&l(96));
    let refused = torture(image);
    assert!(
        refused.iter().any(|error| matches!(error, ImageError::Decompress { offset: 96, .. })),
        "{refused:?}"
    );
}

#[test]
fn names_that_are_no_names_are_refused() {
    for name in [&b".."[..], b".", b"a/b", b"/", b"\0", b"a\0b", b"../../etc/passwd", &[b'n'; 256]] {
        let mut forge = Forge::new();
        let file = forge.file(1, 96, 0, &[]);
        let image = forge.with_root(&[(name, file, 2)]);
        let reader = open(image.clone()).unwrap();
        assert!(reader.lookup(&reader.root().unwrap(), name).is_err(), "{}", name.escape_ascii());
        assert!(!torture(image).is_empty(), "{}", name.escape_ascii());
    }
}

#[test]
fn listings_that_lie_are_refused() {
    let image = |entries: &[(&[u8], u16)]| {
        let mut forge = Forge::new();
        let file = forge.file(1, 96, 0, &[]);
        let entries: Vec<_> = entries.iter().map(|(name, kind)| (*name, file, *kind)).collect();
        forge.with_root(&entries)
    };
    assert_eq!(torture(image(&[(b"a", 2), (b"b", 2)])), []);
    for (what, entries) in [
        ("the same name twice (CVE-2021-41072)", &[(&b"a"[..], 2), (b"a", 2)][..]),
        ("names out of order", &[(b"b", 2), (b"a", 2)]),
        ("a file as a folder", &[(b"a", 1)]),
        ("a file as a link", &[(b"a", 3)]),
        ("a type that is not there", &[(b"a", 9)]),
    ] {
        assert!(!torture(image(entries)).is_empty(), "{what}");
    }
    for (what, listing) in [
        ("longer than the table", (0, 0, u32::MAX - 3)),
        ("outside of the table", (1 << 30, 0, 100)),
        ("in the middle of nowhere", (1, 17, 100)),
        ("behind the end of its block", (0, 8191, 100)),
    ] {
        let mut forge = Forge::new();
        let folder = forge.folder(1, listing, 1000);
        assert!(!torture(forge.with_root(&[(b"d", folder, 1)])).is_empty(), "{what}");
    }
    // An index that leads astray: 20 entries that point anywhere.
    let mut forge = Forge::new();
    let index: Vec<u8> =
        (0..20_u32).flat_map(|n| [&w(n * 1000)[..], &w(n << 20), &w(0), b"a"].concat()).collect();
    let folder = forge.inode(8, 1, &[&w(2), &w(103), &w(0), &w(1000), &h(20), &h(0), &w(NONE), &index]);
    assert!(!torture(forge.with_root(&[(b"d", folder, 1)])).is_empty());
}

/// A folder that contains itself, one that contains its parent, and two that contain each other.
fn loops() -> Vec<u8> {
    let mut forge = Forge::new();
    // Three folders of the same size follow one another, so their references are known beforehand.
    let size = forge.folder(1, (0, 0, 0), 1000);
    assert_eq!(size, 0);
    let step = forge.folder(2, (0, 0, 0), 1000);
    let [one, two, three, root] = [0, 1, 2, 3].map(|number| 2 * step + number * step);
    let listings = [
        forge.listing(&[(b"self", one, 1)]),
        forge.listing(&[(b"root", root, 1), (b"three", three, 1)]),
        forge.listing(&[(b"two", two, 1)]),
    ];
    for (number, listing) in (3..).zip(listings) {
        forge.folder(number, listing, 1000);
    }
    forge.with_root(&[(b"one", one, 1), (b"three", three, 1), (b"two", two, 1)])
}

#[test]
fn folders_that_contain_themselves_are_refused() {
    let refused = torture(loops());
    let looped = |error: &&ImageError| error.to_string().contains("written after it");
    // `self`, `root` and `three`; `three/two` alone is no loop.
    assert!(refused.iter().filter(looped).count() >= 3, "{refused:?}");
}

#[test]
fn links_and_attributes_that_lie_are_refused() {
    for size in [0, 4096, u32::MAX] {
        let mut forge = Forge::new();
        let link = forge.inode(3, 1, &[&w(1), &w(size)]);
        assert!(!torture(forge.with_root(&[(b"l", link, 3)])).is_empty(), "link of {size}");
    }
    let mut forge = Forge::new();
    let link = forge.inode(3, 1, &[&w(1), &w(3), b"a\0b"]);
    assert!(!torture(forge.with_root(&[(b"l", link, 3)])).is_empty(), "NUL in a link");

    let plain = |size: u32| [&h(0)[..], &h(1), b"a", &w(size), b"value"].concat();
    let elsewhere = |reference: u64| [&h(0x100)[..], &h(1), b"a", &w(8), &l(reference)].concat();
    let set = |count: u32| [&l(0)[..], &w(count), &w(0)].concat();
    let cases = [
        ("true", plain(5), set(1), true),
        ("a value of 4 GiB", plain(u32::MAX), set(1), false),
        ("a value longer than Linux allows", plain(65_537), set(1), false),
        ("four thousand million attributes", plain(5), set(u32::MAX), false),
        ("a value elsewhere that is not there", elsewhere(1 << 40), set(1), false),
        ("a value elsewhere that is itself", elsewhere(5), set(1), true),
        ("a type that is not there", [&h(9)[..], &h(1), b"a"].concat(), set(1), false),
        ("a name of nothing", [&h(0)[..], &h(0), &w(0)].concat(), set(1), false),
        ("a set outside", plain(5), [&l(1 << 40)[..], &w(1), &w(0)].concat(), false),
    ];
    for (what, values, sets, good) in cases {
        let mut forge = Forge::new();
        forge.attributes = Some((values, sets));
        let file = forge.inode(9, 1, &[&l(96), &l(0), &l(0), &w(1), &w(NONE), &w(0), &w(0)]);
        let image = forge.with_root(&[(b"f", file, 2)]);
        assert_eq!(torture(image).is_empty(), good, "{what}");
    }
    refused_file("a set that is not there", |forge| {
        forge.attributes = Some((plain(5), set(1)));
        forge.inode(9, 1, &[&l(96), &l(0), &l(0), &w(1), &w(NONE), &w(0), &w(7)])
    });
}

#[test]
fn references_that_lead_outside_are_refused() {
    let reader = open(Forge::new().with_root(&[])).unwrap();
    for raw in [1, 8191, 1 << 16, 5 << 16, u64::MAX >> 16 << 16] {
        let Ok(reference) = Reference::from_raw(raw) else { continue };
        assert!(reader.node(reference).is_err(), "{raw:#x}");
    }
}

/// Images of real tools, to be damaged: two whose metadata is plain, so that damage reaches the structures.
fn real_images() -> &'static [Vec<u8>] {
    static IMAGES: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    let plain = ["-noI", "-noX", "-noId", "-noF"];
    let options: [Vec<&str>; 4] = [
        vec!["-comp", "zstd", "-no-fragments"],
        vec!["-comp", "gzip"],
        [&["-comp", "zstd", "-b", "4096"][..], &plain].concat(),
        [&["-comp", "gzip", "-no-fragments", "-noD"][..], &plain].concat(),
    ];
    IMAGES.get_or_init(|| {
        let folder = mount_support::folder();
        let root = folder.path().join("tree");
        std::fs::create_dir(&root).unwrap();
        small_tree(&root);
        let make = |options: &Vec<&str>| {
            mksquashfs(&root, &folder.path().join("image"), options);
            std::fs::read(folder.path().join("image")).unwrap()
        };
        options.iter().map(make).collect()
    })
}

fn small_tree(root: &Path) {
    for size in [0, 10, 5000, 20_000] {
        std::fs::write(root.join(format!("file-{size}")), tree::text(size, 1)).unwrap();
    }
    std::fs::File::create(root.join("hole")).unwrap().set_len(300_000).unwrap();
    std::os::unix::fs::symlink("file-10", root.join("link")).unwrap();
    std::fs::create_dir(root.join("folder")).unwrap();
    tree::many_entries(&root.join("folder"), 600);
    tree::set_attribute(&root.join("file-10"), "user.a", &[7; 300]);
    tree::set_attribute(&root.join("file-0"), "user.a", &[7; 300]);
}

/// Changes bytes; the last part of an image, where the tables lie, gets most of them.
fn damage(image: &mut [u8], changes: &[(u32, u8, u8)]) {
    let length = image.len();
    let tables = u64::from_le_bytes(image[64..72].try_into().unwrap()) as usize;
    for &(at, area, xor) in changes {
        let at = at as usize;
        let at = match area % 8 {
            0 => at % 96,
            1 => at % length,
            _ => tables + at % (length - tables),
        };
        image[at] ^= xor.max(1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_images_are_read_without_panic_or_hang(
        which in 0..4_usize,
        changes in prop::collection::vec(any::<(u32, u8, u8)>(), 1..=8),
    ) {
        let mut image = real_images()[which].clone();
        damage(&mut image, &changes);
        torture(image);
    }

    #[test]
    fn images_cut_short_are_read_without_panic_or_hang(which in 0..4_usize, length in any::<u32>()) {
        let mut image = real_images()[which].clone();
        let length = length as usize % image.len();
        image.truncate(length);
        // As if the superblock had not noticed.
        if length >= 48 {
            image[40..48].copy_from_slice(&(length as u64).to_le_bytes());
        }
        torture(image);
    }
}

/// What a shell does to a hostile package: list it, read it, walk it.
const LOOK_AROUND: &str = "find . -ls; cat $(find . -type f | head -100) | wc -c; ls -l . ./*; echo done";

#[test]
fn hostile_packages_are_mounted_and_do_no_harm() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let package = stage.folder.path().join("hostile.pkg");
    let mut exbibyte = Forge::new();
    let file = exbibyte.inode(9, 1, &[&extended_file(96, 1 << 60, (NONE, 0), &[])]);
    let exbibyte = exbibyte.with_root(&[(b"f", file, 2)]);
    let mut device = Forge::new();
    let node = device.inode(5, 1, &[&w(1), &w(0x103)]);
    let device = device.with_root(&[(b"null", node, 5)]);
    for (what, image, expected) in [
        ("loops", loops(), "written after it"),
        ("1 EiB", exbibyte, "more blocks than the inode table can hold"),
        ("device", device, ""),
    ] {
        wrap_blindly(&image, 5000, &package);
        let output = stage.shell(&["--unsigned"], &package, LOOK_AROUND);
        let (out, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(out.ends_with("done\n"), "{what}: {out}{errors}");
        assert!(errors.contains(expected), "{what}: {errors}");
    }
    // A device in a package opens nothing.
    let output = stage.shell(&["--unsigned"], &package, "cat null");
    assert!(String::from_utf8_lossy(&output.stderr).contains("Permission denied"));
}

#[test]
fn damaged_images_with_a_good_signature_are_mounted_without_hang() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let package = stage.folder.path().join("hostile.pkg");
    let mut mounted = 0;
    for seed in 0..40_u64 {
        let mut image = real_images()[seed as usize % 4].clone();
        let noise = tree::noise(48, seed + 1);
        let changes: Vec<(u32, u8, u8)> = noise
            .chunks_exact(6)
            .take(1 + seed as usize % 8)
            .map(|six| (u32::from_le_bytes([six[0], six[1], six[2], six[3]]), six[4], six[5]))
            .collect();
        damage(&mut image, &changes);
        wrap_blindly(&image, 3000 + seed as usize * 100, &package);
        let output = stage.shell(&["--unsigned"], &package, LOOK_AROUND);
        let (out, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.code() == Some(125) {
            assert!(errors.starts_with("mount-run: "), "{seed}: {errors}");
            continue;
        }
        assert!(out.ends_with("done\n"), "{seed}: {out}{errors}");
        assert!(!errors.contains("not connected"), "the keeper died of image {seed}: {errors}");
        mounted += 1;
    }
    assert!(mounted >= 10, "{mounted}");
}

#[test]
fn kinds_are_told_apart() {
    let mut forge = Forge::new();
    let pipe = forge.inode(6, 1, &[&w(1)]);
    let reader = open(forge.with_root(&[(b"p", pipe, 6)])).unwrap();
    let node = reader.lookup(&reader.root().unwrap(), b"p").unwrap().unwrap();
    assert_eq!(node.inode.kind(), InodeKind::Fifo);
    assert_eq!(reader.read(&node, 0, &mut [0; 10]), Ok(0));
    assert_eq!(reader.read_link(&node), Ok(None));
    assert_eq!(reader.lookup(&node, b"x"), Ok(None));
}
