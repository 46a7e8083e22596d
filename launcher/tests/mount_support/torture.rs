//! Asks everything about everything that can be reached in an image, hostile or not, and collects what was refused.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pack_launcher::image::{CacheSize, EntryCookie, ImageError, Node, Reader, Seek, spans};

use super::Bytes;

/// Far more than any image here takes, unoptimised and on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Opens an image in memory.
pub fn open(image: Vec<u8>) -> Result<Reader, ImageError> {
    Reader::open(Arc::new(Bytes(image)), CacheSize { bytes: 1 << 20 })
}

/// Asks everything about everything that can be reached, and returns what was refused.
///
/// # Panics
/// Where that takes longer than [`PATIENCE`].
pub fn torture(image: Vec<u8>) -> Vec<ImageError> {
    let begun = Instant::now();
    let _ = spans::hash(&(Arc::new(Bytes(image.clone())) as _), &mut |_| {});
    let mut refused = Vec::new();
    let found = open(image).and_then(|reader| {
        let root = reader.root()?;
        walk(&reader, root, &mut refused);
        Ok(())
    });
    refused.extend(found.err());
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
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
