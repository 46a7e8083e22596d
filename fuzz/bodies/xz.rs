//! The container of xz, with right checksums around whatever is in it (<https://tukaani.org/xz/xz-file-format.txt>).

/// A stream.
pub struct Stream<'a> {
    pub bytes: Vec<u8>,
    /// What it must decode to, where that is plain to see.
    pub plain: Option<&'a [u8]>,
}

/// The last filter, which decompresses.
const LZMA2: u8 = 0x21;
/// Of a dictionary of 64 KiB.
const DICTIONARY: u8 = 8;
/// The check of the contents: none, so that they need not be known.
const NO_CHECK: [u8; 2] = [0, 0];

impl<'a> Stream<'a> {
    /// Makes a stream. `recipe`: number of filters (up to 3); of each its id, number of bytes of properties, and those; then, if
    /// the next byte is 0, data for LZMA2 as it is, and otherwise data that is stored without compressing it.
    pub fn of(recipe: &'a [u8]) -> Stream<'a> {
        let mut rest = recipe;
        let mut filters = Vec::new();
        let count = take(&mut rest, 1).first().map_or(0, |count| count % 4);
        for _ in 0..count {
            let head = take(&mut rest, 2);
            let properties = take(&mut rest, head.get(1).map_or(0, |length| usize::from(length % 8)));
            let id = head.first().map_or(3, |id| id & 0x7f);
            filters.extend([id, properties.len() as u8]);
            filters.extend(properties);
        }
        filters.extend([LZMA2, 1, DICTIONARY]);
        let raw = take(&mut rest, 1).first() == Some(&0);
        let data = if raw { rest.to_vec() } else { stored(rest) };
        let plain = (count == 0 && !raw && !rest.is_empty()).then_some(rest);
        Stream { bytes: container(count, &filters, &data, rest.len()), plain }
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count.min(bytes.len()));
    *bytes = rest;
    taken
}

/// LZMA2 chunks that are not compressed.
fn stored(bytes: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for (number, part) in bytes.chunks(1 << 16).enumerate() {
        // The first one resets the dictionary.
        chunks.push(if number == 0 { 1 } else { 2 });
        chunks.extend(((part.len() - 1) as u16).to_be_bytes());
        chunks.extend(part);
    }
    chunks.push(0);
    chunks
}

fn container(filters: u8, flags: &[u8], data: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = b"\xfd7zXZ\0".to_vec();
    bytes.extend(NO_CHECK);
    bytes.extend(crc32(&NO_CHECK));
    let mut header = vec![0, filters];
    header.extend(flags);
    header.resize(header.len().next_multiple_of(4), 0);
    // Its length in words of 4 bytes, without the checksum.
    header[0] = (header.len() / 4) as u8;
    header.extend(crc32(&header));
    bytes.extend(&header);
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let mut index = vec![0, 1];
    index.extend(variable(header.len() + data.len()));
    index.extend(variable(size));
    index.resize(index.len().next_multiple_of(4), 0);
    index.extend(crc32(&index));
    bytes.extend(&index);
    let footer = [&((index.len() / 4 - 1) as u32).to_le_bytes()[..], &NO_CHECK].concat();
    bytes.extend(crc32(&footer));
    bytes.extend(footer);
    bytes.extend(b"YZ");
    bytes
}

/// A number of variable length: 7 bits a byte, the lowest first.
fn variable(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn crc32(bytes: &[u8]) -> [u8; 4] {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    (!crc).to_le_bytes()
}
