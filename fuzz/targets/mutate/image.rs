//! Changes to squashfs images that keep their tables in place.
//!
//! Works best on images whose metadata is not compressed (mksquashfs -noI -noId -noX), since a change to a compressed block
//! mostly gives a block that does not decompress.

use std::ops::Range;

use super::random::Random;

/// Size of the superblock.
const SUPERBLOCK: usize = 96;
/// Offsets of the superblock's fields that are offsets themselves.
const TABLES: Range<usize> = 48..96;

/// Changes an image of `size` bytes in place and returns its new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, random: &mut Random) -> usize {
    if size < SUPERBLOCK || random.chance(10) {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    let image = &mut data[..size];
    for _ in 0..1 + random.below(4) {
        change(image, random);
    }
    if random.chance(90) {
        repair_superblock(image);
    }
    size
}

/// One change that moves nothing.
pub fn change(image: &mut [u8], random: &mut Random) {
    let area = area(image, random);
    change_in(image, area, random);
}

/// One change that moves nothing, in bytes that need be no image.
pub fn change_in(image: &mut [u8], area: Range<usize>, random: &mut Random) {
    if area.is_empty() {
        return;
    }
    let at = area.start + random.below(area.len());
    match random.below(10) {
        0 => image[at] ^= 1 << random.below(8),
        1 => image[at] = random.number() as u8,
        2..=4 => set_field(image, at, random),
        5..=6 => add_to_field(image, at, random),
        // From somewhere in the same area: an entry of the same kind, if need be.
        7..=8 => {
            let width = random.pick(&[2, 4, 8, 12, 16, 24, 40]);
            let from = area.start + random.below(area.len());
            let width = width.min(image.len() - at).min(image.len() - from);
            image.copy_within(from..from + width, at);
        }
        // Libfuzzer's own idea for a small window.
        _ => {
            let window = at..image.len().min(at + 32);
            let length = window.len();
            libfuzzer_sys::fuzzer_mutate(&mut image[window], length, length);
        }
    }
}

/// A part of the image: the superblock, one of the tables, or all of it.
fn area(image: &[u8], random: &mut Random) -> Range<usize> {
    let mut starts: Vec<usize> = TABLES.step_by(8).filter_map(|at| table(image, at)).collect();
    starts.push(image.len());
    starts.sort_unstable();
    let tables: Vec<Range<usize>> = starts.windows(2).map(|pair| pair[0]..pair[1]).collect();
    match random.below(10) {
        0 => 0..SUPERBLOCK.min(image.len()),
        1 => 0..image.len(),
        _ if tables.is_empty() => 0..image.len(),
        _ => tables[random.below(tables.len())].clone(),
    }
}

/// Where a table begins, by the superblock's field at `at`, if within the image.
fn table(image: &[u8], at: usize) -> Option<usize> {
    let offset = u64::from_le_bytes(image.get(at..at + 8)?.try_into().ok()?);
    usize::try_from(offset).ok().filter(|&offset| offset < image.len())
}

fn set_field(image: &mut [u8], at: usize, random: &mut Random) {
    let length = image.len() as u64;
    let numbers = [
        0,
        1,
        2,
        3,
        7,
        8,
        255,
        256,
        257,
        4095,
        4096,
        4097,
        8191,
        8192,
        8193,
        0x7fff,
        0x8000,
        0x8001,
        0xffff,
        0x1_0000,
        131_072,
        1 << 20,
        (1 << 20) + 1,
        1 << 24,
        (1 << 24) | 4096,
        1 << 31,
        u64::from(u32::MAX),
        1 << 32,
        1 << 48,
        1 << 60,
        i64::MAX as u64,
        1 << 63,
        u64::MAX - 1,
        u64::MAX,
        length,
        length.wrapping_sub(1),
        length + 1,
        length.wrapping_sub(96),
    ];
    let number = random.pick(&numbers);
    write(image, at, random, |_| number);
}

fn add_to_field(image: &mut [u8], at: usize, random: &mut Random) {
    let difference =
        random.pick(&[1_i64, -1, 2, -2, 3, -3, 4, 8, -8, 12, 16, -16, 24, 255, 256, 4096, 8192, -8194]);
    write(image, at, random, |number| number.wrapping_add_signed(difference));
}

/// Changes a little-endian number of 1, 2, 4 or 8 bytes, as many as are there.
fn write(image: &mut [u8], at: usize, random: &mut Random, change: impl Fn(u64) -> u64) {
    let width = random.pick(&[1, 2, 2, 4, 4, 8]).min(image.len() - at);
    let field = &mut image[at..at + width];
    let mut number = [0; 8];
    number[..width].copy_from_slice(field);
    field.copy_from_slice(&change(u64::from_le_bytes(number)).to_le_bytes()[..width]);
}

/// Makes true what is checked first: magic, version, block size, bytes in use.
pub fn repair_superblock(image: &mut [u8]) {
    if image.len() < SUPERBLOCK {
        return;
    }
    image[..4].copy_from_slice(b"hsqs");
    image[28..32].copy_from_slice(&[4, 0, 0, 0]);
    let log = u16::from_le_bytes([image[22], image[23]]).clamp(12, 20);
    image[22..24].copy_from_slice(&log.to_le_bytes());
    image[12..16].copy_from_slice(&(1_u32 << log).to_le_bytes());
    let used = u64::from_le_bytes(image[40..48].try_into().expect("eight bytes"));
    let length = image.len() as u64;
    if used > length {
        image[40..48].copy_from_slice(&length.to_le_bytes());
    }
}
