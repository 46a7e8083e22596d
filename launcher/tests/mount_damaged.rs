//! Images of real tools with bytes changed at random, read by the reader's own functions and served by a real keeper.
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod mount_support;

use std::path::Path;

use mount_support::hostile::look_around;
use mount_support::mounted::{Stage, skip};
use mount_support::torture::torture;
use mount_support::{mksquashfs, tree};
use proptest::prelude::{ProptestConfig, any, prop, proptest};

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

#[test]
fn damaged_images_with_a_good_signature_are_mounted_without_hang() {
    if skip() {
        return;
    }
    let stage = Stage::new();
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
        mounted += usize::from(look_around(&stage, &format!("image {seed}"), &image).is_some());
    }
    assert!(mounted >= 10, "{mounted}");
}
