//! Folders with all that a squashfs image can hold, and what a person would compare of two trees.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// Bytes that no compressor makes smaller.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Bytes that compress well, no two blocks of them alike.
pub fn text(length: usize, seed: u64) -> Vec<u8> {
    (0..).flat_map(|line| format!("line {line} of {seed}\n").into_bytes()).take(length).collect()
}

/// One of everything: sizes around the block sizes, holes, links, names that are no UTF-8, modes, times, attributes.
pub fn everything(root: &Path) {
    for size in [0, 1, 4095, 4096, 4097, 131_071, 131_072, 131_073, 300_000, 1 << 20, (1 << 20) + 5, 3 << 20]
    {
        fs::write(root.join(format!("noise-{size}")), noise(size, size as u64)).unwrap();
        fs::write(root.join(format!("text-{size}")), text(size, size as u64)).unwrap();
    }
    let holes = File::create(root.join("holes")).unwrap();
    holes.set_len(5 << 20).unwrap();
    holes.write_all_at(b"island", 2 << 20).unwrap();
    holes.write_all_at(b"end", (5 << 20) - 3).unwrap();
    File::create(root.join("all-hole")).unwrap().set_len(1_000_000).unwrap();
    fs::create_dir_all(root.join("deep/er/and/deeper/still")).unwrap();
    fs::write(root.join("deep/er/and/deeper/still/file"), b"found").unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::hard_link(root.join("text-4097"), root.join("deep/hard-link")).unwrap();
    symlink("../text-4097", root.join("deep/link")).unwrap();
    symlink("/nowhere/".to_owned() + &"x".repeat(3000), root.join("long-link")).unwrap();
    odd_names(root);
    modes_and_times(root);
    special_files(root);
}

fn odd_names(root: &Path) {
    let folder = root.join("names");
    fs::create_dir(&folder).unwrap();
    let long = "n".repeat(255);
    for name in [
        &b"caf\xe9"[..],
        b"\xff\xfe",
        b"new\nline",
        b"tab\t",
        b"\x1b[31mred",
        b" ",
        b"-rf",
        b"...",
        b"*",
        "\u{202e}gnp.exe".as_bytes(),
        long.as_bytes(),
    ] {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
}

fn modes_and_times(root: &Path) {
    let folder = root.join("modes");
    fs::create_dir(&folder).unwrap();
    for mode in [0o400, 0o444, 0o555, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1755] {
        let path = folder.join(format!("{mode:o}"));
        fs::write(&path, b"mode").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    for seconds in [0, 1, 1_700_000_000, 4_000_000_000] {
        let path = folder.join(format!("time-{seconds}"));
        let file = File::create(&path).unwrap();
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(time).unwrap();
    }
}

fn special_files(root: &Path) {
    super::run(Command::new("mkfifo").arg(root.join("pipe")));
    drop(std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap());
}

/// A folder with `count` files, whose listing takes many metadata blocks.
pub fn many_entries(root: &Path, count: usize) {
    let folder = root.join("many");
    fs::create_dir(&folder).unwrap();
    for number in 0..count {
        fs::write(folder.join(format!("entry-{number}-{}", "y".repeat(number % 40))), number.to_string())
            .unwrap();
    }
}

/// What can be seen of one file.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub modified: i64,
    pub size: u64,
    pub links: u64,
    pub target: Option<Vec<u8>>,
    pub contents: Option<Vec<u8>>,
}

/// Walks a tree and reads everything in it. Paths are relative to `root`.
pub fn look(root: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut seen = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let entry = entry.unwrap();
        let metadata = fs::symlink_metadata(entry.path()).unwrap();
        let file_type = metadata.file_type();
        let kind = match file_type {
            t if t.is_dir() => "folder",
            t if t.is_file() => "file",
            t if t.is_symlink() => "link",
            t if t.is_fifo() => "pipe",
            t if t.is_socket() => "socket",
            _ => "device",
        };
        let target =
            (kind == "link").then(|| fs::read_link(entry.path()).unwrap().as_os_str().as_bytes().to_vec());
        let contents = (kind == "file").then(|| fs::read(entry.path()).unwrap());
        let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        // The size of a folder means another thing on each file system.
        let size = if kind == "folder" { 0 } else { metadata.size() };
        seen.insert(
            path,
            Seen {
                kind,
                mode: metadata.mode() & 0o7777,
                modified: metadata.mtime(),
                size,
                links: if kind == "folder" { 0 } else { metadata.nlink() },
                target,
                contents,
            },
        );
    }
    seen
}

/// Says how two trees differ, shortly.
pub fn assert_same(left: &BTreeMap<Vec<u8>, Seen>, right: &BTreeMap<Vec<u8>, Seen>) {
    let names = |tree: &BTreeMap<Vec<u8>, Seen>| tree.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(left), names(right));
    for (path, seen) in left {
        let other = &right[path];
        let path = String::from_utf8_lossy(path);
        assert!(seen.contents == other.contents, "{path} has other contents");
        let strip =
            |seen: &Seen| (seen.kind, seen.mode, seen.modified, seen.size, seen.links, seen.target.clone());
        assert_eq!(strip(seen), strip(other), "{path}");
    }
}
