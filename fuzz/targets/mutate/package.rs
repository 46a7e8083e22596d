//! Changes to packages, after which hashes, lengths and signatures are mostly made to fit again.

use ed25519_dalek::SigningKey;
use pack_schemas::index::{Geometry, INNER_ENTRIES, LEAF_ENTRIES, PAGE_SIZE};
use pack_schemas::names::Hash;
use pack_schemas::package::{FOOTER_SIZE, Footer, canonical_json, sign};
use serde_json::Value;

use super::image;
use super::random::Random;

/// Keys of the envelope and the manifest, to be added where they are not.
const KEYS: &[&str] = &[
    "name",
    "version",
    "base",
    "type",
    "apps",
    "plugs",
    "parts",
    "command",
    "args",
    "environment",
    "desktop",
    "icon",
    "title",
    "summary",
    "description",
    "license",
    "rootfs",
    "architectures",
    "grade",
    "interface",
    "plugin",
    "source",
    "after",
    "stage-packages",
    "organize",
    "stage",
    "prime",
    "working-dir",
    "website",
    "format",
    "spans",
    "level",
];

/// Whose signature is put under a repaired package.
const SIGNER: [u8; 32] = [7; 32];

/// A package in its sections.
struct Sections {
    image: Vec<u8>,
    index: Vec<u8>,
    envelope: Vec<u8>,
    signatures: Vec<u8>,
    footer: [u8; FOOTER_SIZE],
}

/// Changes a package of `size` bytes in place and returns its new size.
pub fn mutate(data: &mut [u8], size: usize, max_size: usize, random: &mut Random) -> usize {
    let sections = Sections::split(&data[..size]);
    let Some(mut package) = sections.filter(|_| random.chance(95)) else {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    };
    for _ in 0..1 + random.below(3) {
        package.change(random);
    }
    package.repair(random);
    let bytes = package.join();
    if bytes.len() > max_size {
        return libfuzzer_sys::fuzzer_mutate(data, size, max_size);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

impl Sections {
    /// Nothing where the footer's lengths do not fit; its hash need not.
    fn split(bytes: &[u8]) -> Option<Sections> {
        let (rest, footer) = bytes.split_last_chunk::<FOOTER_SIZE>()?;
        let long = |at: usize| u64::from_le_bytes(footer[at..at + 8].try_into().expect("eight bytes"));
        let number = |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().expect("four bytes"));
        let (image, rest) = rest.split_at_checked(usize::try_from(long(16)).ok()?)?;
        let (index, rest) = rest.split_at_checked(usize::try_from(long(24)).ok()?)?;
        let (envelope, signatures) = rest.split_at_checked(number(12) as usize)?;
        Some(Sections {
            image: image.to_vec(),
            index: index.to_vec(),
            envelope: envelope.to_vec(),
            signatures: signatures.to_vec(),
            footer: *footer,
        })
    }

    fn join(&self) -> Vec<u8> {
        [&self.image[..], &self.index, &self.envelope, &self.signatures, &self.footer].concat()
    }

    fn change(&mut self, random: &mut Random) {
        match random.below(12) {
            0..=2 if self.image.len() >= 96 => {
                image::change(&mut self.image, random);
                image::repair_superblock(&mut self.image);
            }
            3..=5 => {
                let all = 0..self.index.len();
                image::change_in(&mut self.index, all, random);
            }
            6..=8 => self.change_envelope(random),
            9 => with_room(&mut self.envelope, 64),
            10 => with_room(&mut self.signatures, 64),
            11 if random.chance(20) => self.empty(),
            _ => {
                let at = random.below(FOOTER_SIZE);
                self.footer[at] ^= 1 << random.below(8);
            }
        }
    }

    /// Leaves nothing of the image: what the envelope says otherwise fits in few bytes then.
    fn empty(&mut self) {
        if let Ok(mut envelope) = serde_json::from_slice::<Value>(&self.envelope)
            && let Some(spans) = envelope.pointer_mut("/image/spans")
        {
            *spans = 0.into();
            self.image.clear();
            self.index = vec![0; PAGE_SIZE];
            self.envelope = canonical_json(&envelope);
        }
    }

    /// Puts another value in the place of one of the envelope's, or takes one away.
    fn change_envelope(&mut self, random: &mut Random) {
        let Ok(mut envelope) = serde_json::from_slice::<Value>(&self.envelope) else { return };
        let mut pointers = vec![String::new()];
        list_pointers(&envelope, String::new(), &mut pointers);
        let [from, to] = [(); 2].map(|()| pointers[random.below(pointers.len())].clone());
        let new = match random.below(4) {
            0 => envelope.pointer(&from).cloned().unwrap_or_default(),
            1 => Value::from(random.pick(&[
                0,
                1,
                2,
                112,
                113,
                114,
                4096,
                1 << 32,
                (1 << 53) + 1,
                i64::MAX,
                -1,
            ])),
            2 => Value::from(random.pick(&[
                "",
                "host",
                "none",
                "app",
                "base",
                "a/../b",
                "$PACK/x",
                "é\u{202e}",
                "1",
            ])),
            _ => [Value::Null, Value::Bool(true), Value::Object(Default::default())][random.below(3)].clone(),
        };
        if let Some(place) = envelope.pointer_mut(&to) {
            match place {
                Value::Object(map) if random.chance(30) => {
                    let keys: Vec<String> = map.keys().cloned().collect();
                    if let Some(key) = keys.get(random.below(keys.len())) {
                        map.remove(key);
                    }
                }
                Value::Object(map) if random.chance(60) => {
                    map.insert(random.pick(KEYS).to_owned(), new);
                }
                Value::Array(list) if random.chance(60) => list.push(new),
                place => *place = new,
            }
        }
        self.envelope = canonical_json(&envelope);
    }

    /// Makes hashes, lengths and signatures fit, each most of the time, from the innermost outwards.
    fn repair(&mut self, random: &mut Random) {
        if random.chance(90) {
            self.image.resize(self.image.len().next_multiple_of(4096), 0);
        }
        let root = if random.chance(90) { self.rehash_index() } else { None };
        if random.chance(90)
            && let Ok(mut envelope) = serde_json::from_slice::<Value>(&self.envelope)
        {
            if let Some(length) = envelope.pointer_mut("/image/length") {
                *length = self.image.len().into();
            }
            if let (Some(root), Some(place)) = (root, envelope.pointer_mut("/image/index-root")) {
                *place = root.to_string().into();
            }
            self.envelope = canonical_json(&envelope);
        }
        if random.chance(50) {
            let key = SigningKey::from_bytes(&SIGNER);
            self.signatures = canonical_json(&[sign(&self.envelope, &key)]);
        }
        if random.chance(97) {
            let footer = Footer {
                image: self.image.len() as u64,
                index: self.index.len() as u64,
                envelope: self.envelope.len() as u32,
                signatures: self.signatures.len() as u32,
            };
            self.footer = footer.to_bytes();
        } else {
            let hash = Hash::of(&self.footer[..48]);
            self.footer[48..].copy_from_slice(&hash.0[..16]);
        }
    }

    /// Makes the hashes in the index those of what they stand for, leaves first, and returns that of the root.
    fn rehash_index(&mut self) -> Option<Hash> {
        let envelope: Value = serde_json::from_slice(&self.envelope).ok()?;
        let geometry = Geometry::new(envelope.pointer("/image/spans")?.as_u64()?);
        if geometry.size() != Some(self.index.len() as u64) {
            return None;
        }
        let (mut pages, _) = self.index.as_chunks_mut::<PAGE_SIZE>();
        let mut hashes = Vec::new();
        let leaves = geometry.leaves() as usize;
        let mut spans_left = geometry.spans();
        for page in &mut pages[..leaves] {
            let count = spans_left.min(LEAF_ENTRIES);
            spans_left -= count;
            rehash_leaf(page, count as usize, &self.image);
            hashes.push(Hash::of(page));
        }
        pages = &mut pages[leaves..];
        while hashes.len() > 1 {
            let (level, above) = pages.split_at_mut(hashes.len().div_ceil(INNER_ENTRIES as usize));
            for (page, children) in level.iter_mut().zip(hashes.chunks(INNER_ENTRIES as usize)) {
                for (entry, hash) in page[8..].chunks_exact_mut(40).zip(children) {
                    entry[8..].copy_from_slice(&hash.0);
                }
            }
            hashes = level.iter().map(|page| Hash::of(page)).collect();
            pages = above;
        }
        hashes.pop()
    }
}

/// Hashes the spans of a leaf as long as they lie in the image.
fn rehash_leaf(page: &mut [u8; PAGE_SIZE], count: usize, image: &[u8]) {
    let mut start = usize::from_le_bytes(page[..8].try_into().expect("eight bytes"));
    for entry in page[8..].chunks_exact_mut(36).take(count) {
        let length = u32::from_le_bytes(entry[..4].try_into().expect("four bytes")) as usize;
        let Some(end) = start.checked_add(length) else { return };
        let Some(bytes) = image.get(start..end) else { return };
        entry[4..].copy_from_slice(&Hash::of(bytes).0);
        start = end;
    }
}

/// Lets libFuzzer change bytes, and make them up to `room` bytes longer.
fn with_room(bytes: &mut Vec<u8>, room: usize) {
    let size = bytes.len();
    bytes.resize(size + room, 0);
    let size = libfuzzer_sys::fuzzer_mutate(bytes, size, size + room);
    bytes.truncate(size);
}

/// Lists the JSON pointers of everything in a value. Values here are as deep as serde_json lets them be, 128.
fn list_pointers(value: &Value, pointer: String, pointers: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (key, child) in children {
        let key = key.replace('~', "~0").replace('/', "~1");
        let pointer = format!("{pointer}/{key}");
        pointers.push(pointer.clone());
        list_pointers(child, pointer, pointers);
    }
}
