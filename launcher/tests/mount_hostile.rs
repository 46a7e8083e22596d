//! Images made to do harm: an error is fine, wrong data, a panic, a hang or memory without bound is not. Each is read by
//! the reader's own functions, and served by a real keeper to a shell that looks at everything in it ([`Arena`]).
//!
//! What [unpacking](../../builder/tests/package_hostile.rs) must not do with such images is tested there: CVE-2021-40153,
//! CVE-2021-41072 and others.
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod mount_support;

use std::time::Instant;

use mount_support::forge::{Forge, h, l, w};
use mount_support::hostile::{Arena, with_company};
use mount_support::torture::{open, torture};
use mount_support::tree;
use pack_launcher::image::{ImageError, Seek};
use pack_schemas::squashfs::{InodeKind, NONE, Reference};

/// In a size word of a block: it is not compressed.
const PLAIN: u32 = 1 << 24;

/// The body of a file's inode of the extended type.
fn extended_file(blocks: u64, size: u64, fragment: (u32, u32), words: &[u32]) -> Vec<u8> {
    let words: Vec<u8> = words.iter().flat_map(|word| w(*word)).collect();
    let (number, offset) = fragment;
    [&l(blocks)[..], &l(size), &l(u64::MAX), &w(1), &w(number), &w(offset), &w(NONE), &words].concat()
}

#[test]
fn a_forged_image_that_tells_the_truth_is_read() {
    let mut forge = Forge::new();
    forge.data = tree::noise(5000, 1);
    let file = forge.file(1, 96, 5000, &[PLAIN | 4096, PLAIN | 904]);
    let inner = forge.listing(&[(b"f", file, 2)]);
    let inner = forge.folder(2, inner, 1000);
    let image = with_company(forge, &[(b"d", inner, 1), (b"f", file, 2)]);
    assert_eq!(Arena::new().face("nothing", &image), []);
    let reader = open(image).unwrap();
    let node = reader.lookup(&reader.root().unwrap(), b"f").unwrap().unwrap();
    let mut contents = vec![0; 6000];
    assert_eq!(reader.read(&node, 0, &mut contents), Ok(5000));
    assert_eq!(contents[..5000], tree::noise(5000, 1));
}

#[test]
fn cve_2012_4024_and_4025_block_logs_out_of_range_are_refused() {
    let arena = Arena::new();
    for log in [0, 1, 11, 13, 21, 24, 31, 32, 33, 63, 64, 255, u16::MAX] {
        let mut forge = Forge::new();
        forge.lies.push((22, h(log).to_vec()));
        arena.refused(&format!("block log {log}"), &with_company(forge, &[]));
        // With a block size that agrees with it.
        let Some(size) = 1_u32.checked_shl(log.into()).filter(|_| log != 13) else { continue };
        let mut forge = Forge::new();
        forge.lies.extend([(22, h(log).to_vec()), (12, w(size).to_vec())]);
        arena.refused(&format!("blocks of {size} bytes"), &with_company(forge, &[]));
    }
}

#[test]
fn tables_at_impossible_offsets_are_refused() {
    let arena = Arena::new();
    let used = u64::from_le_bytes(Forge::new().with_root(&[])[40..48].try_into().unwrap());
    let fields = [("ids", 48), ("attributes", 56), ("inodes", 64), ("folders", 72)];
    for (table, at) in fields {
        for offset in [0, 8, 95, used, used + 1, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX - 1] {
            let mut forge = Forge::new();
            forge.lies.push((at, l(offset).to_vec()));
            // Opening alone finds it; the mount would not come about.
            assert!(!torture(forge.with_root(&[])).is_empty(), "{table} at {offset}");
        }
    }
    let lies: [(&str, usize, &[u8]); 7] = [
        ("no inodes", 4, &w(0)),
        ("no ids", 26, &h(0)),
        ("fragments without a table", 16, &w(u32::MAX)),
        ("more bytes than there are", 40, &l(1 << 40)),
        ("root outside of the inode table", 32, &l(1 << 40)),
        ("root behind the end of its block", 32, &l(8191)),
        ("inodes behind the folders", 64, &l(used - 8)),
    ];
    for (what, at, bytes) in lies {
        let mut forge = Forge::new();
        forge.lies.push((at, bytes.to_vec()));
        arena.refused(what, &forge.with_root(&[]));
    }
}

#[test]
fn counts_that_overflow_their_tables_do_no_harm() {
    let arena = Arena::new();
    for (what, at, count) in [
        ("inodes", 4, w(u32::MAX).to_vec()),
        ("ids", 26, h(u16::MAX).to_vec()),
        ("fragments", 16, w(1 << 29).to_vec()),
    ] {
        let mut forge = Forge::new();
        forge.data = vec![1; 100];
        forge.fragments = [&l(96)[..], &w(PLAIN | 100), &w(0)].concat();
        forge.lies.push((at, count));
        // The first entry of each is there, whatever the number of others.
        let file = forge.inode(9, 1, &[&extended_file(96, 10, (0, 0), &[])]);
        assert_eq!(arena.face(what, &with_company(forge, &[(b"f", file, 2)])), [], "{what}");
    }
    // The only entry of the list of the id table, in the last bytes in use.
    let image = Forge::new().with_root(&[]);
    let list = open(image.clone()).unwrap().superblock().id_table as usize;
    for offset in [0, list as u64, list as u64 - 1, 1 << 50, u64::MAX] {
        let mut image = image.clone();
        image[list..list + 8].copy_from_slice(&l(offset));
        assert!(!torture(image).is_empty(), "list entry {offset}");
    }
}

#[test]
fn cve_2015_4645_and_4646_fragments_that_are_not_there_are_refused() {
    let arena = Arena::new();
    // A table of one entry that claims to be as long as one can be, and entries of it whose place overflows.
    for number in [1, 511, 512, 1 << 28, 1 << 29, 1 << 31, u32::MAX - 1] {
        for count in [None, Some(u32::MAX)] {
            arena.refused_file(&format!("fragment {number} of {count:?}"), |forge| {
                forge.data = vec![1; 100];
                forge.fragments = [&l(96)[..], &w(PLAIN | 100), &w(0)].concat();
                forge.lies.extend(count.map(|count| (16, w(count).to_vec())));
                forge.inode(9, 1, &[&extended_file(96, 10, (number, 0), &[])])
            });
        }
    }
    let entries = [
        ("past the image", 1 << 40, 100),
        ("past 63 bits", 1 << 63, 100),
        ("past 64 bits", u64::MAX, 100),
        ("longer than a block", 96, PLAIN | 4097),
        ("of the greatest length", 96, PLAIN - 1),
        ("of no length", 96, 0),
        ("of no length, not compressed", 96, PLAIN),
    ];
    for (what, start, size) in entries {
        arena.refused_file(what, |forge| {
            forge.data = vec![1; 5000];
            forge.fragments = [&l(start)[..], &w(size), &w(0)].concat();
            forge.inode(9, 1, &[&extended_file(96, 10, (0, 0), &[])])
        });
    }
    arena.refused_file("fragment without a table", |forge| {
        forge.inode(9, 1, &[&extended_file(96, 10, (7, 0), &[])])
    });
}

#[test]
fn offsets_in_a_fragment_that_are_out_of_range_are_refused() {
    let arena = Arena::new();
    for (offset, size) in
        [(4090, 100), (4096, 1), (4097, 10), (1 << 31, 10), (u32::MAX, 10), (u32::MAX - 5, 10), (0, 4095)]
    {
        arena.refused_file(&format!("{size} bytes at {offset}"), |forge| {
            // A block of 4094 bytes, so that what is behind it belongs to nobody.
            forge.data = vec![1; 4096];
            forge.fragments = [&l(96)[..], &w(PLAIN | 4094), &w(0)].concat();
            forge.inode(9, 1, &[&extended_file(96, size, (0, offset), &[])])
        });
    }
}

/// Squashfuse (issue 158) took bytes from behind a metadata block for a part of it.
#[test]
fn squashfuse_158_offsets_past_a_metadata_block_are_refused() {
    let arena = Arena::new();
    // The blocks here hold less than 200 bytes.
    for offset in [200, 5000, 8191, 8192, 8193, 0x3fff, 0x8000, 0xffff] {
        let what = format!("offset {offset}");
        let mut forge = Forge::new();
        forge.lies.push((32, l(offset).to_vec()));
        arena.refused(&format!("root, {what}"), &with_company(forge, &[]));
        let mut forge = Forge::new();
        let listing = forge.listing(&[(b"f", offset, 2)]);
        let folder = forge.folder(1, listing, 1000);
        arena.refused(&format!("inode, {what}"), &with_company(forge, &[(b"d", folder, 1)]));
        let mut forge = Forge::new();
        let folder = forge.folder(1, (0, offset as u16, 30), 1000);
        arena.refused(&format!("folder, {what}"), &with_company(forge, &[(b"d", folder, 1)]));
        let mut forge = Forge::new();
        forge.attributes = Some((attribute(b"value"), [&l(offset)[..], &w(1), &w(0)].concat()));
        let file = forge.inode(9, 1, &[&l(96), &l(0), &l(0), &w(1), &w(NONE), &w(0), &w(0)]);
        arena.refused(&format!("attribute, {what}"), &with_company(forge, &[(b"f", file, 2)]));
    }
    let reader = open(Forge::new().with_root(&[])).unwrap();
    for raw in [1, 8191, 1 << 16, 5 << 16, u64::MAX >> 16 << 16] {
        let Ok(reference) = Reference::from_raw(raw) else { continue };
        assert!(reader.node(reference).is_err(), "{raw:#x}");
    }
}

/// Squashfuse (issue 155) did not compare a number with the length of the table that it is looked up in.
#[test]
fn squashfuse_155_numbers_past_the_end_of_a_table_are_refused() {
    let arena = Arena::new();
    for number in [1, 2, 2047, 2048, u16::MAX] {
        arena.refused_file(&format!("owner {number}"), |forge| {
            forge.owner = number;
            let file = forge.file(1, 96, 0, &[]);
            forge.owner = 0;
            file
        });
    }
    for number in [1, 511, 512, u32::MAX - 1] {
        arena.refused_file(&format!("attribute set {number}"), |forge| {
            forge.attributes = Some((attribute(b"value"), [&l(0)[..], &w(1), &w(0)].concat()));
            forge.inode(9, 1, &[&l(96), &l(0), &l(0), &w(1), &w(NONE), &w(0), &w(number)])
        });
    }
}

#[test]
fn cve_2024_26982_an_inode_number_0_is_refused() {
    let arena = Arena::new();
    arena.refused_file("file", |forge| forge.file(0, 96, 0, &[]));
    for (what, kind, body) in [("link", 3, [&w(1)[..], &w(3), b"abc"].concat()), ("pipe", 6, w(1).to_vec())] {
        let mut forge = Forge::new();
        let inode = forge.inode(kind, 0, &[&body]);
        arena.refused(what, &with_company(forge, &[(b"f", inode, kind)]));
    }
    let mut forge = Forge::new();
    let listing = forge.listing(&[]);
    let folder = forge.folder(0, listing, 1000);
    arena.refused("folder", &with_company(forge, &[(b"d", folder, 1)]));
}

#[test]
fn cve_2025_40200_a_negative_file_size_is_refused() {
    let arena = Arena::new();
    for size in [1 << 63, (1 << 63) + 5, u64::MAX, u64::MAX - 4095] {
        for fragment in [(NONE, 0), (0, 0)] {
            arena.refused_file(&format!("{size}, {fragment:?}"), |forge| {
                forge.data = vec![1; 100];
                forge.fragments = [&l(96)[..], &w(PLAIN | 100), &w(0)].concat();
                forge.inode(9, 1, &[&extended_file(96, size, fragment, &[PLAIN | 100])])
            });
        }
    }
}

#[test]
fn blocks_that_lie_are_refused() {
    let arena = Arena::new();
    arena.refused_file("block past the image", |forge| forge.file(1, u32::MAX, 100, &[PLAIN | 100]));
    arena.refused_file("blocks past 64 bits", |forge| {
        forge.inode(9, 1, &[&extended_file(u64::MAX - 5, 8192, (NONE, 0), &[100, 100])])
    });
    arena.refused_file("block longer than the block size", |forge| forge.file(1, 96, 100, &[PLAIN | 5000]));
    arena.refused_file("block shorter than its place", |forge| {
        forge.data = vec![1; 100];
        forge.file(1, 96, 4096, &[PLAIN | 100])
    });
    arena.refused_file("type that is not there", |forge| forge.inode(77, 1, &[&[0; 64]]));
}

#[test]
fn a_file_of_an_exbibyte_costs_nothing() {
    let arena = Arena::new();
    // It claims more blocks than any table could list.
    for size in [1 << 60, i64::MAX as u64] {
        arena.refused_file("1 EiB without a list", |forge| {
            forge.inode(9, 1, &[&extended_file(96, size, (NONE, 0), &[])])
        });
    }
    // A hole that is listed honestly, a word for each block. Compressed, 32 KiB of words take some hundred bytes.
    for (block_log, compressed) in [(12, false), (20, true)] {
        let mut forge = Forge::new();
        (forge.block_log, forge.compressed) = (block_log, compressed);
        let size = 8192 << block_log;
        // The root comes first, as nobody knows beforehand where the block begins that comes after 32 KiB, compressed.
        let behind_root = 40;
        let listing = forge.listing(&[(b"f", behind_root, 2)]);
        let root = forge.folder(1000, listing, 1001);
        let file = forge.inode(9, 1, &[&extended_file(96, size, (NONE, 0), &vec![0; 8192])]);
        assert_eq!((root, file), (0, behind_root));
        let image = forge.finish(root);
        assert_eq!(torture(image.clone()), [], "{size}");
        let reader = open(image.clone()).unwrap();
        let node = reader.lookup(&reader.root().unwrap(), b"f").unwrap().unwrap();
        assert_eq!(reader.seek(&node, 0, Seek::Data), Ok(None));
        let mut buffer = vec![1; 1 << 20];
        assert_eq!(reader.read(&node, size - (1 << 20), &mut buffer), Ok(1 << 20));
        assert!(buffer.iter().all(|&byte| byte == 0));
        let script =
            "stat -c '%s %b' f; tail -c 5 f | od -An -tx1; cp --sparse=always f /dev/null && echo copied";
        if let Some((out, errors)) = arena.shell(&image, script) {
            assert_eq!(out, format!("{size} 0\n 00 00 00 00 00\ncopied\n"), "{errors}");
        }
    }
}

#[test]
fn blocks_that_expand_past_their_size_are_refused() {
    let arena = Arena::new();
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    assert!(bomb.len() < 4096);
    arena.refused_file("data", |forge| {
        forge.data.clone_from(&bomb);
        forge.file(1, 96, 4096, &[bomb.len() as u32])
    });
    arena.refused_file("fragment", |forge| {
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
    let refused = arena.refused("metadata", &image);
    assert!(
        refused.iter().any(|error| matches!(error, ImageError::Decompress { offset: 96, .. })),
        "{refused:?}"
    );
}

/// 300 MiB out of less than 20 KiB, every block as long as it should be: it has to be served, in bounded memory.
#[test]
fn a_file_that_expands_20000_times_is_served_in_bounded_memory() {
    let block = zstd::bulk::compress(&vec![0; 1 << 20], 19).unwrap();
    let count = 300;
    let mut forge = Forge::new();
    forge.block_log = 20;
    forge.data = block.repeat(count);
    let file = forge.file(1, 96, (count << 20) as u32, &vec![block.len() as u32; count]);
    let image = with_company(forge, &[(b"f", file, 2)]);
    assert_eq!(Arena::new().face("300 MiB of zeros", &image), []);
}

#[test]
fn names_that_are_no_names_are_refused() {
    let arena = Arena::new();
    for name in
        [&b".."[..], b".", b"a/b", b"/", b"\0", b"a\0b", b"../../etc/passwd", b"/etc/passwd", &[b'n'; 256]]
    {
        let mut forge = Forge::new();
        let file = forge.file(1, 96, 0, &[]);
        let image = forge.with_root(&[(name, file, 2)]);
        let reader = open(image.clone()).unwrap();
        assert!(reader.lookup(&reader.root().unwrap(), name).is_err(), "{}", name.escape_ascii());
        arena.refused(&name.escape_ascii().to_string(), &image);
    }
}

#[test]
fn listings_that_lie_are_refused() {
    let arena = Arena::new();
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
        arena.refused(what, &image(entries));
    }
    for (what, listing) in [
        ("longer than the table", (0, 0, u32::MAX - 3)),
        ("outside of the table", (1 << 30, 0, 100)),
        ("in the middle of nowhere", (1, 17, 100)),
        ("behind the end of its block", (0, 8191, 100)),
    ] {
        let mut forge = Forge::new();
        let folder = forge.folder(1, listing, 1000);
        arena.refused(what, &with_company(forge, &[(b"d", folder, 1)]));
    }
    // An index that leads astray: 20 entries that point anywhere.
    let mut forge = Forge::new();
    let index: Vec<u8> =
        (0..20_u32).flat_map(|n| [&w(n * 1000)[..], &w(n << 20), &w(0), b"a"].concat()).collect();
    let folder = forge.inode(8, 1, &[&w(2), &w(103), &w(0), &w(1000), &h(20), &h(0), &w(NONE), &index]);
    arena.refused("index", &with_company(forge, &[(b"d", folder, 1)]));
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
    let refused = Arena::new().refused("loops", &loops());
    let looped = |error: &&ImageError| error.to_string().contains("written after it");
    // `self`, `root` and `three`; `three/two` alone is no loop.
    assert!(refused.iter().filter(looped).count() >= 3, "{refused:?}");
}

/// Each folder has the one before it under two names: a tree of 2³⁰ paths in 3 KiB. A walk goes on for as long as whoever walks
/// likes, no longer, and costs the keeper nothing.
#[test]
fn folders_with_two_names_each_cost_the_keeper_nothing() {
    let mut forge = Forge::new();
    let mut inner = forge.folder(1, (0, 0, 0), 1000);
    for number in 2..32 {
        let listing = forge.listing(&[(b"a", inner, 1), (b"b", inner, 1)]);
        inner = forge.folder(number, listing, 1000);
    }
    let image = with_company(forge, &[(b"d", inner, 1)]);
    let begun = Instant::now();
    assert_eq!(torture(image.clone()), []);
    assert!(begun.elapsed().as_secs() < 5);
    let script = "timeout -s KILL 5 find . | head -n 5000 | wc -l; ls d/a/a/a; readlink good";
    if let Some((out, errors)) = Arena::new().shell(&image, script) {
        assert!(out.ends_with("a\nb\nstill here\n"), "{out}{errors}");
    }
}

#[test]
fn links_that_are_too_long_are_refused() {
    let arena = Arena::new();
    for (size, good) in [(0, false), (4095, true), (4096, false), (65_535, false), (u32::MAX, false)] {
        for kind in [3, 10] {
            let mut forge = Forge::new();
            // As many bytes are there, so that it is the length alone that is wrong.
            let link = forge.inode(kind, 1, &[&w(1), &w(size), &[b'x'; 4095], &w(NONE), &[b'x'; 66_000]]);
            let image = with_company(forge, &[(b"f", link, 3)]);
            assert_eq!(arena.face(&format!("link of {size}"), &image).is_empty(), good, "{kind}: {size}");
        }
    }
    let mut forge = Forge::new();
    let link = forge.inode(3, 1, &[&w(1), &w(3), b"a\0b"]);
    arena.refused("NUL in a link", &with_company(forge, &[(b"f", link, 3)]));
}

/// The attribute `user.a`.
fn attribute(value: &[u8]) -> Vec<u8> {
    [&h(0)[..], &h(1), b"a", &w(value.len() as u32), value].concat()
}

#[test]
fn attributes_that_lie_are_refused() {
    let arena = Arena::new();
    let sized = |size: u32| [&h(0)[..], &h(1), b"a", &w(size), b"value"].concat();
    let elsewhere = |reference: u64| [&h(0x100)[..], &h(1), b"a", &w(8), &l(reference)].concat();
    let set = |count: u32| [&l(0)[..], &w(count), &w(0)].concat();
    // 400 names of 200 bytes are more than a list may be.
    let many: Vec<u8> = (0..400_u32)
        .flat_map(|n| [&h(0)[..], &h(200), format!("{n:0200}").as_bytes(), &w(0)].concat())
        .collect();
    let cases = [
        ("true", attribute(b"value"), set(1), true),
        ("as long as Linux allows", attribute(&[7; 65_536]), set(1), true),
        ("one byte longer than Linux allows", attribute(&[7; 65_537]), set(1), false),
        ("a value of 4 GiB", sized(u32::MAX), set(1), false),
        ("a value longer than the table", sized(60_000), set(1), false),
        ("four thousand million attributes", attribute(b"value"), set(u32::MAX), false),
        ("a list longer than Linux allows", many, set(400), false),
        ("a value elsewhere that is not there", elsewhere(1 << 40), set(1), false),
        ("a value elsewhere that is itself", elsewhere(5), set(1), true),
        ("a type that is not there", [&h(9)[..], &h(1), b"a"].concat(), set(1), false),
        ("a name of nothing", [&h(0)[..], &h(0), &w(0)].concat(), set(1), false),
        (
            "a name longer than Linux allows",
            [&h(0)[..], &h(u16::MAX), &[b'n'; 70_000], &w(0)].concat(),
            set(1),
            false,
        ),
        ("a NUL in a name", [&h(0)[..], &h(3), b"a\0b", &w(0)].concat(), set(1), false),
        ("a set outside", attribute(b"value"), [&l(1 << 40)[..], &w(1), &w(0)].concat(), false),
    ];
    for (what, values, sets, good) in cases {
        let mut forge = Forge::new();
        forge.attributes = Some((values, sets));
        let file = forge.inode(9, 1, &[&l(96), &l(0), &l(0), &w(1), &w(NONE), &w(0), &w(0)]);
        let image = with_company(forge, &[(b"f", file, 2)]);
        assert_eq!(arena.face(what, &image).is_empty(), good, "{what}");
    }
}

#[test]
fn a_device_in_a_package_opens_nothing() {
    let arena = Arena::new();
    for (kind, number) in [(5, 0x103), (4, 0x800)] {
        let mut forge = Forge::new();
        let node = forge.inode(kind, 1, &[&w(1), &w(number)]);
        let image = with_company(forge, &[(b"device", node, kind)]);
        assert_eq!(arena.face("device", &image), []);
        if let Some((_, errors)) = arena.shell(&image, "cat device") {
            assert!(errors.contains("Permission denied"), "{errors}");
        }
    }
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
