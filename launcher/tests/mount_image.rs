//! The reader against images that squashfs's own tools made: what it reads is what went in.
#![allow(clippy::print_stdout)] // A failure is to tell which case it was.

mod mount_support;

use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use mount_support::through::look_through;
use mount_support::tree::{self, Detail, assert_same, look, set_attribute, to_text};
use mount_support::{Bytes, Case, open, raw};
use pack_launcher::image::{BlockSource, CacheSize, CheckedSource, EntryCookie, Reader, Seek};

fn reader(source: Arc<dyn BlockSource>, cache: usize) -> Reader {
    Reader::open(source, CacheSize { bytes: cache }).unwrap()
}

/// All options, and what they are to cover.
const OPTIONS: &[(&str, &[&str])] = &[
    ("as our builder makes it", &["-comp", "zstd", "-no-fragments"]),
    ("fragments", &["-comp", "zstd", "-always-use-fragments"]),
    ("gzip", &["-comp", "gzip"]),
    ("4 KiB blocks", &["-comp", "zstd", "-b", "4096"]),
    ("1 MiB blocks", &["-comp", "gzip", "-b", "1M"]),
    ("nothing compressed", &["-comp", "gzip", "-noI", "-noD", "-noF", "-noX", "-noId"]),
    ("duplicates kept", &["-comp", "zstd", "-no-duplicates", "-no-exports"]),
    ("compressor options", &["-comp", "zstd", "-Xcompression-level", "3"]),
    ("lz4", &["-comp", "lz4"]),
    ("lzo", &["-comp", "lzo", "-Xalgorithm", "lzo1x_1_12", "-b", "16K"]),
    ("xz", &["-comp", "xz", "-Xbcj", "x86"]),
];

#[test]
fn every_option_of_mksquashfs_reads_back_what_went_in() {
    let trees = mount_support::folder();
    tree::everything(trees.path());
    let expected = to_text(&look(trees.path()));
    for (what, options) in OPTIONS {
        println!("{what}");
        let case = Case::new(|tree| copy(trees.path(), tree), options);
        let checked = Arc::new(CheckedSource::new(open(&case.package())));
        assert_same(&expected, &to_text(&look_through(&reader(checked, 32 << 20), Detail::default())));
        // A cache that holds hardly anything gives the same.
        assert_same(&expected, &to_text(&look_through(&reader(raw(&case.image()), 1), Detail::default())));
    }
}

fn copy(from: &Path, to: &Path) {
    let mut command = std::process::Command::new("cp");
    mount_support::run(command.arg("-a").arg("--sparse=always").arg(from.join(".")).arg(to));
}

#[test]
fn spans_cover_the_image_and_a_large_block_has_one_of_its_own() {
    for (what, options) in OPTIONS {
        let case = Case::new(tree::everything, options);
        let mut end = 0;
        for span in &case.spans {
            assert_eq!(span.start, end, "{what}");
            end = span.end();
        }
        assert_eq!(end, std::fs::metadata(case.image()).unwrap().size().next_multiple_of(4096), "{what}");
        // Every block of 3 MiB of noise is stored as it is; mksquashfs puts it in one place.
        let superblock = *reader(raw(&case.image()), 1).superblock();
        let (block, noise) = (superblock.block_size, 3 << 20);
        let alone = case.spans.iter().filter(|span| span.length == block).count();
        if block >= 16 << 10 {
            assert!(alone >= noise / block as usize, "{what}: {alone}");
        }
        // A walk of the folders does not check what files hold.
        assert!(case.spans.iter().any(|span| span.start == superblock.inode_table), "{what}");
    }
}

#[test]
fn equal_files_give_equal_spans_in_two_versions() {
    for (size, files) in [(50_000, 200), (200, 5000)] {
        let make = |extra: &'static str| {
            Case::new(
                move |root: &Path| {
                    for number in 0..files {
                        std::fs::write(root.join(format!("file-{number}")), tree::text(size, number))
                            .unwrap();
                    }
                    std::fs::write(root.join("changed"), extra).unwrap();
                },
                &["-comp", "zstd", "-no-fragments"],
            )
        };
        let (old, new) = (make("old"), make("new and longer"));
        let inodes = reader(raw(&new.image()), 1).superblock().inode_table;
        let known: std::collections::HashSet<_> = old.spans.iter().map(|span| span.hash).collect();
        let data: Vec<_> = new.spans.iter().filter(|span| span.start < inodes).collect();
        let other = data.iter().filter(|span| !known.contains(&span.hash)).count();
        // The superblock's, the changed file's, and at most as many again until both versions end a span at one place.
        assert!(data.len() > 20 && other <= 5, "{other} of {} spans differ", data.len());
    }
}

#[test]
fn the_index_of_very_many_small_files_is_small() {
    let make = |root: &Path| {
        for number in 0..20_000 {
            std::fs::write(root.join(number.to_string()), tree::noise(150, number)).unwrap();
        }
    };
    for options in [&["-no-fragments"][..], &["-no-fragments", "-noI", "-b", "4096"], &[]] {
        let case = Case::new(make, &[&["-comp", "zstd"], options].concat());
        let image = std::fs::metadata(case.image()).unwrap().size();
        // Without what is missing from full pages; images of one file a block would have 20 % and more.
        let index = case.spans.len() as u64 * 36;
        assert!(index * 250 < image, "{index} bytes of index for {image}");
        assert!(case.spans.iter().all(|span| span.length <= 131_072), "{options:?}");
    }
}

#[test]
fn a_large_folder_is_looked_up_and_listed_from_anywhere() {
    let case = Case::new(|root| tree::many_entries(root, 20_000), &["-comp", "zstd", "-no-fragments"]);
    let reader = reader(Arc::new(CheckedSource::new(open(&case.package()))), 32 << 20);
    let root = reader.root().unwrap();
    let folder = reader.lookup(&root, b"many").unwrap().unwrap();
    let mut names = Vec::new();
    reader
        .entries(&folder, EntryCookie::START, &mut |entry| {
            names.push((entry.name.to_vec(), entry.next, entry.reference));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(names.len(), 20_000);
    for (name, _, reference) in names.iter().step_by(7) {
        assert_eq!(reader.lookup(&folder, name).unwrap().unwrap().reference, *reference);
        let mut absent = name.clone();
        absent.push(b'!');
        assert_eq!(reader.lookup(&folder, &absent).unwrap(), None);
    }
    assert_eq!(reader.lookup(&folder, b"").unwrap(), None);
    assert_eq!(reader.lookup(&folder, b"~").unwrap(), None);
    // From every cookie the listing goes on with the next name.
    for pair in names.windows(2).step_by(13) {
        let mut next = None;
        reader
            .entries(&folder, pair[0].1, &mut |entry| {
                next = Some(entry.name.to_vec());
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(next.as_ref(), Some(&pair[1].0));
    }
    let mut after_last = 0;
    reader
        .entries(&folder, names.last().unwrap().1, &mut |_| {
            after_last += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(after_last, 0);
}

#[test]
fn holes_are_found_as_lseek_finds_them() {
    for options in [&["-comp", "zstd", "-no-fragments"][..], &["-comp", "gzip", "-b", "4096"]] {
        let case = Case::new(tree::everything, options);
        let reader = reader(raw(&case.image()), 1 << 20);
        let block = u64::from(reader.superblock().block_size);
        let root = reader.root().unwrap();
        let holes = reader.lookup(&root, b"holes").unwrap().unwrap();
        let island = (2 << 20) / block * block;
        assert_eq!(reader.seek(&holes, 0, Seek::Hole).unwrap(), Some(0));
        assert_eq!(reader.seek(&holes, 5, Seek::Data).unwrap(), Some(island));
        assert_eq!(reader.seek(&holes, island, Seek::Hole).unwrap(), Some(island + block));
        assert_eq!(reader.seek(&holes, 5 << 20, Seek::Hole).unwrap(), None);
        let full = reader.lookup(&root, b"noise-300000").unwrap().unwrap();
        assert_eq!(reader.seek(&full, 7, Seek::Hole).unwrap(), Some(300_000));
        assert_eq!(reader.seek(&full, 7, Seek::Data).unwrap(), Some(7));
    }
}

#[test]
fn a_file_of_many_blocks_is_read_anywhere() {
    // 40,000 blocks of 4 KiB, a different hole every so often, so that sums are not multiples.
    let case = Case::new(
        |root| {
            let file = std::fs::File::create(root.join("big")).unwrap();
            for block in (0..40_000_u64).filter(|block| block % 11 != 3) {
                std::os::unix::fs::FileExt::write_all_at(&file, &block.to_le_bytes(), block * 4096).unwrap();
            }
            file.set_len(40_000 * 4096).unwrap();
        },
        &["-comp", "zstd", "-b", "4096", "-no-fragments"],
    );
    let reader = reader(raw(&case.image()), 4 << 20);
    let big = reader.lookup(&reader.root().unwrap(), b"big").unwrap().unwrap();
    for block in [0, 39_999, 511, 512, 513, 1, 20_000, 19_999, 30_001, 3, 14, 39_990] {
        let mut bytes = [1; 8];
        assert_eq!(reader.read(&big, block * 4096, &mut bytes).unwrap(), 8);
        let expected = if block % 11 == 3 { 0 } else { block };
        assert_eq!(u64::from_le_bytes(bytes), expected);
    }
}

#[test]
fn attributes_and_owners_are_read() {
    let set = |root: &Path| {
        for name in ["one", "two", "three"] {
            let path = root.join(name);
            std::fs::write(&path, name).unwrap();
            set_attribute(&path, "user.note", "the same long value ".repeat(40).as_bytes());
            set_attribute(&path, "user.own", name.as_bytes());
        }
        std::fs::write(root.join("none"), b"").unwrap();
        std::os::unix::fs::chown(root.join("two"), Some(1234), Some(5678)).unwrap();
    };
    let case = Case::new(set, &["-comp", "zstd", "-xattrs"]);
    let reader = reader(Arc::new(CheckedSource::new(open(&case.package()))), 1 << 20);
    assert!(reader.has_attributes().unwrap());
    let root = reader.root().unwrap();
    for name in ["one", "two", "three"] {
        let node = reader.lookup(&root, name.as_bytes()).unwrap().unwrap();
        assert_eq!(reader.attribute(&node, b"user.own").unwrap().unwrap(), name.as_bytes());
        assert_eq!(
            reader.attribute(&node, b"user.note").unwrap().unwrap(),
            "the same long value ".repeat(40).as_bytes()
        );
        assert_eq!(reader.attribute(&node, b"user.absent").unwrap(), None);
        assert_eq!(reader.attribute_names(&node).unwrap().split(|&byte| byte == 0).count(), 3);
    }
    let none = reader.lookup(&root, b"none").unwrap().unwrap();
    assert_eq!(reader.attribute_names(&none).unwrap(), b"");
    let two = reader.lookup(&root, b"two").unwrap().unwrap();
    assert_eq!(reader.owner(&two).unwrap(), (1234, 5678));
}

#[test]
fn what_compresses_an_image_is_checked_when_it_is_opened() {
    let case = Case::new(|_| {}, &["-comp", "lz4"]);
    let image = std::fs::read(case.image()).unwrap();
    let open = |at: usize, byte: u8| {
        let mut image = image.clone();
        image[at] = byte;
        Reader::open(Arc::new(Bytes(image)), CacheSize::default()).err().map(|error| error.to_string())
    };
    assert_eq!(open(20, 5), None);
    let lzma =
        "the image is compressed with lzma, which pack does not read; it reads gzip, lz4, lzo, xz and zstd";
    assert_eq!(open(20, 2).as_deref(), Some(lzma));
    // The options follow the superblock and two bytes of a header: first lz4's version, which is 1.
    let version = open(98, 2).unwrap();
    assert!(version.contains("its version of lz4 is unknown"), "{version}");
    let cut_short = open(96, 7).unwrap();
    assert!(cut_short.contains("the compressor's option block is cut short"), "{cut_short}");
}

#[test]
fn an_empty_folder_is_an_image() {
    let case = Case::new(|_| {}, &["-comp", "zstd"]);
    let reader = reader(Arc::new(CheckedSource::new(open(&case.package()))), 1 << 20);
    assert_eq!(look_through(&reader, Detail::default()).len(), 1);
    assert_eq!(reader.lookup(&reader.root().unwrap(), b"a").unwrap(), None);
    assert!(!case.spans.is_empty());
}
