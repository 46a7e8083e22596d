//! Asks a reader everything about everything that can be reached from the root of its image, within bounds, and
//! compares the answers.

use std::collections::HashSet;
use std::ops::ControlFlow;

use pack_launcher::image::{EntryCookie, Node, Reader, Seek};
use pack_schemas::squashfs::{
    Directory, File, InodeDetail, InodeKind, Reference, SYMLINK_LIMIT, XATTR_VALUE_LIMIT, check_name,
};

/// Most nodes that are looked at.
const NODES_MOST: usize = 100;
/// Most entries of a folder that are listed.
const ENTRIES_MOST: usize = 1000;
/// Most names of a folder that are looked up.
const LOOKUPS_MOST: usize = 12;
/// Files up to this many bytes are read whole, to compare with.
const WHOLE_MOST: u64 = 100_000;
/// Most bytes that are read whole, of all files together.
const BYTES_MOST: u64 = 1 << 20;

/// See the module. Nothing recurses on the image's structure.
pub fn explore(reader: &Reader) {
    let Ok(root) = reader.root() else { return };
    assert_eq!(root.inode.kind(), InodeKind::Directory);
    let (mut waiting, mut seen) = (vec![root], HashSet::from([root.reference]));
    let mut bytes_left = BYTES_MOST;
    while let Some(node) = waiting.pop() {
        assert_eq!(reader.node(node.reference), Ok(node));
        let _ = reader.owner(&node);
        attributes(reader, &node);
        link(reader, &node);
        match node.inode.detail {
            InodeDetail::File(file) => contents(reader, &node, &file, &mut bytes_left),
            InodeDetail::Directory(directory) => {
                for child in folder(reader, &node, &directory) {
                    if seen.len() < NODES_MOST && seen.insert(child.reference) {
                        waiting.push(child);
                    }
                }
            }
            _ => not_a_file(reader, &node),
        }
    }
    for raw in [1, 17, 8191, 1 << 16, 5 << 16 | 30, u64::MAX >> 16 << 16] {
        let _ = Reference::from_raw(raw).map(|reference| reader.node(reference));
    }
}

fn attributes(reader: &Reader, node: &Node) {
    let Ok(names) = reader.attribute_names(node) else { return };
    for name in names.split_inclusive(|&byte| byte == 0).take(LOOKUPS_MOST) {
        let (&nul, name) = name.split_last().unwrap();
        assert!(nul == 0 && !name.is_empty() && name.len() <= 255);
        if let Ok(value) = reader.attribute(node, name) {
            // What is listed is there.
            assert!(value.unwrap().len() <= XATTR_VALUE_LIMIT as usize);
        }
    }
    let _ = reader.attribute(node, b"user.nobody has this");
    let _ = reader.attribute(node, b"");
}

fn link(reader: &Reader, node: &Node) {
    let InodeDetail::Symlink { target_size, .. } = node.inode.detail else {
        assert_eq!(reader.read_link(node), Ok(None));
        return;
    };
    if let Ok(target) = reader.read_link(node) {
        let target = target.unwrap();
        assert_eq!(target.len(), target_size as usize);
        assert!((1..=SYMLINK_LIMIT as usize).contains(&target.len()) && !target.contains(&0));
    }
}

fn not_a_file(reader: &Reader, node: &Node) {
    assert_eq!(reader.read(node, 0, &mut [7]), Ok(0));
    assert_eq!(reader.seek(node, 0, Seek::Data), Ok(None));
    assert_eq!(reader.lookup(node, b"name"), Ok(None));
}

/// Reads a file whole, if it is small, and in odd pieces, and finds its holes.
fn contents(reader: &Reader, node: &Node, file: &File, bytes_left: &mut u64) {
    assert!(i64::try_from(file.size).is_ok() && file.sparse <= file.size);
    let whole = (file.size <= WHOLE_MOST.min(*bytes_left)).then(|| {
        *bytes_left -= file.size;
        let mut whole = vec![0xa5; file.size as usize + 3];
        let count = reader.read(node, 0, &mut whole)?;
        assert_eq!(count as u64, file.size);
        whole.truncate(count);
        Ok::<_, pack_launcher::image::ImageError>(whole)
    });
    let whole = whole.and_then(Result::ok);
    let block = u64::from(reader.superblock().block_size);
    let last_block = file.size / block * block;
    for (offset, length) in [
        (0, 1),
        (1, 4095),
        (block - 1, 2),
        (block, 5),
        (block * 3 - 7, 9000),
        (file.size / 2 + 1, 777),
        (last_block, 1),
        (last_block.saturating_sub(1), 100),
        (file.size.saturating_sub(1), 10),
        (file.size, 1),
        (1 << 40, 3),
        (i64::MAX as u64 - 1, 100),
        (u64::MAX, 1),
    ] {
        let mut piece = vec![0x5a; length];
        let Ok(count) = reader.read(node, offset, &mut piece) else {
            assert!(whole.is_none(), "a piece of a file cannot be read, and all of it can");
            continue;
        };
        assert_eq!(count as u64, (length as u64).min(file.size.saturating_sub(offset)));
        if let Some(whole) = &whole {
            let expected = whole.get(offset.min(file.size) as usize..).unwrap();
            assert_eq!(piece[..count], expected[..count]);
        }
        seek(reader, node, file.size, offset, whole.as_deref());
    }
}

fn seek(reader: &Reader, node: &Node, size: u64, offset: u64, whole: Option<&[u8]>) {
    if let Ok(found) = reader.seek(node, offset, Seek::Data) {
        assert!(found.is_none_or(|data| offset <= data && data < size));
        if let (Some(whole), true) = (whole, offset < size) {
            // What lies before the data is a hole, which reads as zeros.
            let hole = &whole[offset as usize..found.unwrap_or(size) as usize];
            assert!(hole.iter().all(|&byte| byte == 0));
        }
    }
    if let Ok(found) = reader.seek(node, offset, Seek::Hole) {
        assert_eq!(found.is_some(), offset < size);
        assert!(found.is_none_or(|hole| offset <= hole && hole <= size));
    }
}

/// An entry of a listing.
struct Listed {
    name: Vec<u8>,
    next: EntryCookie,
    node: Option<Node>,
}

/// Lists a folder, goes on from the middle, looks names up, and returns what is in it.
fn folder(reader: &Reader, node: &Node, directory: &Directory) -> Vec<Node> {
    let mut listed: Vec<Listed> = Vec::new();
    let _ = reader.entries(node, EntryCookie::START, &mut |entry| {
        check_name(entry.name).unwrap();
        assert!(listed.last().is_none_or(|before| *before.name < *entry.name));
        let child = reader.entry_node(node, entry).ok();
        if let Some(child) = &child {
            assert_eq!((child.inode.kind(), child.reference), (entry.kind, entry.reference));
            // No loop can be made of folders that all stand before the ones that they are in.
            assert!(entry.kind != InodeKind::Directory || child.reference < node.reference);
        }
        listed.push(Listed { name: entry.name.to_vec(), next: entry.next, node: child });
        if listed.len() < ENTRIES_MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    // An index may lead to another place than its entries say.
    let honest = directory.index_entries == 0;
    for number in (0..listed.len()).step_by(1 + listed.len() / LOOKUPS_MOST) {
        let Listed { name, next, node: child } = &listed[number];
        let found = reader.lookup(node, name);
        if honest {
            assert_eq!(found.ok().flatten(), *child, "{}", name.escape_ascii());
        }
        let mut after = None;
        let resumed = reader.entries(node, *next, &mut |entry| {
            after = Some(entry.name.to_vec());
            ControlFlow::Break(())
        });
        if honest && let Some(expected) = listed.get(number + 1) {
            assert_eq!((resumed, after.as_deref()), (Ok(()), Some(&expected.name[..])));
        }
    }
    for absent in [&b""[..], b"\0", b"..", b"m", b"zzz", &[0xff; 300]] {
        let found = reader.lookup(node, absent);
        let known = listed.iter().any(|entry| entry.name == absent);
        assert!(known || !honest || listed.len() >= ENTRIES_MOST || !matches!(found, Ok(Some(_))));
    }
    for raw in [1, 255, 256, 512, 513, 12 << 9, 1 << 20, u64::MAX] {
        let mut count = 0;
        let _ = reader.entries(node, EntryCookie::from_raw(raw), &mut |_| {
            count += 1;
            if count < ENTRIES_MOST { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }
    listed.into_iter().filter_map(|entry| entry.node).collect()
}
