//! What the reader makes of an image, without a mount.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use pack_launcher::image::{EntryCookie, Node, Reader, Seek};
use pack_schemas::names::Hash;
use pack_schemas::squashfs::{InodeDetail, InodeKind};

use super::tree::{Detail, Seen, Tree, is_for_everybody};

/// Walks an image through the reader alone.
pub fn look_through(reader: &Reader, detail: Detail) -> Tree {
    let mut found = BTreeMap::new();
    let mut waiting = vec![(Vec::new(), reader.root().unwrap())];
    while let Some((path, node)) = waiting.pop() {
        reader
            .entries(&node, EntryCookie::START, &mut |entry| {
                let mut child = path.clone();
                if !child.is_empty() {
                    child.push(b'/');
                }
                child.extend_from_slice(entry.name);
                let node = reader.entry_node(&node, entry).unwrap();
                assert_eq!(entry.number, node.inode.number);
                waiting.push((child, node));
                ControlFlow::Continue(())
            })
            .unwrap();
        found.insert(path, node);
    }
    let (mut seen, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (path, node) in in_order_of_walk(found) {
        let mut this = see(reader, &node, detail);
        if this.kind != "folder" && this.links > 1 {
            let first: &mut Vec<u8> = names.entry(node.reference).or_insert_with(|| path.clone());
            this.first_name = Some(first.clone());
        }
        seen.insert(path, Ok(this));
    }
    seen
}

/// As a walk that sorts each folder comes by: the names of a path compare one by one.
fn in_order_of_walk(found: BTreeMap<Vec<u8>, Node>) -> Vec<(Vec<u8>, Node)> {
    let mut all: Vec<_> = found.into_iter().collect();
    all.sort_by(|(left, _), (right, _)| {
        left.split(|&byte| byte == b'/').cmp(right.split(|&byte| byte == b'/'))
    });
    all
}

fn see(reader: &Reader, node: &Node, detail: Detail) -> Seen {
    let kind = match node.inode.kind() {
        InodeKind::Directory => "folder",
        InodeKind::File => "file",
        InodeKind::Symlink => "link",
        InodeKind::Fifo => "pipe",
        InodeKind::Socket => "socket",
        InodeKind::BlockDevice => "block device",
        InodeKind::CharacterDevice => "character device",
    };
    let target = reader.read_link(node).unwrap();
    let contents = (kind == "file").then(|| contents(reader, node));
    let size = match node.inode.detail {
        // The three bytes of `.` and `..`, which are not stored, count in what others show.
        InodeDetail::Directory(directory) => directory.size + 3,
        _ => contents.as_ref().or(target.as_ref()).map_or(0, |bytes| bytes.len()) as u32,
    };
    let counts = kind != "folder" || detail.folders;
    let names = reader.attribute_names(node).unwrap();
    let names = names.split(|&byte| byte == 0).filter(|name| is_for_everybody(name));
    Seen {
        kind,
        mode: u32::from(node.inode.mode),
        modified: node.inode.modified.into(),
        size: if counts { size.into() } else { 0 },
        links: if counts { node.inode.links.into() } else { 0 },
        device: match node.inode.detail {
            InodeDetail::Device { number, .. } => {
                // 12 bits of the major number between the lower 8 and the upper 12 of the minor one.
                rustix::fs::makedev(number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00)
            }
            _ => 0,
        },
        first_name: None,
        target,
        attributes: names
            .map(|name| (name.to_vec(), reader.attribute(node, name).unwrap().unwrap()))
            .collect(),
        contents: contents.map(|bytes| Ok(Hash::of(&bytes))),
        data: if detail.holes { data_of(reader, node) } else { Vec::new() },
        owner: if detail.owners { reader.owner(node).unwrap() } else { (0, 0) },
    }
}

/// Reads a file in pieces whose length has nothing to do with the block size.
fn contents(reader: &Reader, node: &Node) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 200_000];
    loop {
        match reader.read(node, all.len() as u64, &mut piece).unwrap() {
            0 => return all,
            count => all.extend_from_slice(&piece[..count]),
        }
    }
}

fn data_of(reader: &Reader, node: &Node) -> Vec<(u64, u64)> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(data) = reader.seek(node, at, Seek::Data).unwrap() {
        at = reader.seek(node, data, Seek::Hole).unwrap().unwrap();
        found.push((data, at));
    }
    found
}
