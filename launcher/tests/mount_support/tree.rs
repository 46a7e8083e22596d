//! Folders with all that a squashfs image can hold, and what a person would compare of two trees.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use pack_schemas::names::Hash;

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
    attributes_of_files(root);
}

fn attributes_of_files(root: &Path) {
    let folder = root.join("attributes");
    fs::create_dir(&folder).unwrap();
    for name in ["one", "two", "three"] {
        fs::write(folder.join(name), name).unwrap();
        // The same long value three times is stored once, and referred to.
        set_attribute(&folder.join(name), "user.shared", "the same long value ".repeat(40).as_bytes());
        set_attribute(&folder.join(name), "user.own", name.as_bytes());
        set_attribute(&folder.join(name), "user.empty", b"");
    }
    set_attribute(&folder, "user.folder", b"\0binary\xff");
}

pub fn set_attribute(path: &Path, name: &str, value: &[u8]) {
    use rustix::fs::{XattrFlags, lsetxattr};
    lsetxattr(path, name, value, XattrFlags::empty())
        .unwrap_or_else(|error| panic!("{}: {name}: {error}", path.display()));
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

/// Adds what only root may make: owners, attributes of links and special files, hard links of those.
pub fn privileged(root: &Path) {
    let folder = root.join("privileged");
    fs::create_dir(&folder).unwrap();
    for (number, owner) in [1, 1000, 65_534, 4_000_000_000].into_iter().enumerate() {
        fs::write(folder.join(format!("owned-{number}")), "owned").unwrap();
        std::os::unix::fs::chown(folder.join(format!("owned-{number}")), Some(owner), Some(owner / 2))
            .unwrap();
    }
    symlink("target", folder.join("link")).unwrap();
    super::run(Command::new("mkfifo").arg(folder.join("pipe")));
    drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
    for name in ["link", "pipe", "socket"] {
        set_attribute(&folder.join(name), "security.pack", &[name.as_bytes(), &[0; 300]].concat());
        fs::hard_link(folder.join(name), folder.join(format!("{name}-again"))).unwrap();
    }
    set_attribute(&folder, "trusted.pack", b"of no use to others");
    set_attribute(root, "user.root", b"the root folder's");
}

/// What can be seen of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub modified: i64,
    pub size: u64,
    pub links: u64,
    /// Device number of a device.
    pub device: u64,
    /// The first of the file's names, if it has several.
    pub first_name: Option<Vec<u8>>,
    pub target: Option<Vec<u8>>,
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Hash of the contents, or the error number that reading gave.
    pub contents: Option<Result<Hash, i32>>,
    /// Where data begins and ends.
    pub data: Vec<(u64, u64)>,
    pub owner: (u32, u32),
}

/// What is looked at beside what is the same on every file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Detail {
    /// Whom files belong to.
    pub owners: bool,
    /// Where files have holes.
    pub holes: bool,
    /// Size and links of folders.
    pub folders: bool,
}

/// A tree, by path relative to its root.
pub type Tree = BTreeMap<Vec<u8>, Result<Seen, i32>>;

/// Walks a tree and reads everything in it. What cannot be read is an error number in its place.
pub fn look(root: &Path) -> Tree {
    look_closely(root, Detail::default())
}

/// As [`look`], with some more.
pub fn look_closely(root: &Path, detail: Detail) -> Tree {
    let (mut seen, mut names) = (BTreeMap::new(), BTreeMap::new());
    for entry in walkdir::WalkDir::new(root).sort_by_file_name() {
        let (path, found) = match entry {
            Ok(entry) => (entry.path().to_owned(), look_at(entry.path(), detail)),
            Err(error) => {
                let errno = error.io_error().and_then(std::io::Error::raw_os_error).unwrap_or(0);
                (error.path().unwrap_or(root).to_owned(), Err(errno))
            }
        };
        let path = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let found = found.map(|(mut seen, inode)| {
            if seen.kind != "folder" && seen.links > 1 {
                seen.first_name = Some(names.entry(inode).or_insert_with(|| path.clone()).clone());
            }
            seen
        });
        seen.insert(path, found);
    }
    seen
}

/// Looks at one file, and returns its inode number too.
fn look_at(path: &Path, detail: Detail) -> Result<(Seen, u64), i32> {
    let errno = |error: std::io::Error| error.raw_os_error().unwrap_or(0);
    let metadata = fs::symlink_metadata(path).map_err(errno)?;
    let file_type = metadata.file_type();
    let kind = match file_type {
        t if t.is_dir() => "folder",
        t if t.is_file() => "file",
        t if t.is_symlink() => "link",
        t if t.is_fifo() => "pipe",
        t if t.is_socket() => "socket",
        t if t.is_block_device() => "block device",
        _ => "character device",
    };
    let target = match kind {
        "link" => Some(fs::read_link(path).map_err(errno)?.as_os_str().as_bytes().to_vec()),
        _ => None,
    };
    let contents = (kind == "file").then(|| match fs::read(path) {
        Ok(bytes) => Ok(Hash::of(&bytes)),
        Err(error) => Err(errno(error)),
    });
    // The size and links of a folder mean another thing on each file system.
    let counts = kind != "folder" || detail.folders;
    let seen = Seen {
        kind,
        mode: metadata.mode() & 0o7777,
        modified: metadata.mtime(),
        size: if counts { metadata.size() } else { 0 },
        links: if counts { metadata.nlink() } else { 0 },
        device: if kind.ends_with("device") { metadata.rdev() } else { 0 },
        first_name: None,
        target,
        attributes: attributes(path),
        contents,
        data: if detail.holes && kind == "file" { data_of(path).map_err(errno)? } else { Vec::new() },
        owner: if detail.owners { (metadata.uid(), metadata.gid()) } else { (0, 0) },
    };
    Ok((seen, metadata.ino()))
}

/// The stretches of a file that are no holes.
pub fn data_of(path: &Path) -> std::io::Result<Vec<(u64, u64)>> {
    use rustix::fs::{SeekFrom, seek};
    let file = File::open(path)?;
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        match seek(&file, SeekFrom::Data(at)) {
            Err(rustix::io::Errno::NXIO) => return Ok(found),
            Err(error) => return Err(error.into()),
            Ok(data) => {
                at = seek(&file, SeekFrom::Hole(data))?;
                found.push((data, at));
            }
        }
    }
}

/// Attributes of the kind that everybody may read: `user.`, which links and special files never have, and our own of
/// `security.`.
fn attributes(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    use rustix::fs::{lgetxattr, llistxattr};
    let mut names = vec![0; 1 << 16];
    let Ok(length) = llistxattr(path, &mut names) else { return BTreeMap::new() };
    let mut found = BTreeMap::new();
    for name in names[..length].split(|&byte| byte == 0).filter(|name| is_for_everybody(name)) {
        let mut value = vec![0; 1 << 16];
        let length = lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        found.insert(name.to_vec(), value[..length].to_vec());
    }
    found
}

/// Whether an attribute is one that is compared.
pub fn is_for_everybody(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name == b"security.pack"
}

/// Writes a tree as text, a line for each file.
pub fn to_text(tree: &Tree) -> String {
    tree.iter().map(|(path, seen)| format!("{}: {seen:?}\n", path.escape_ascii())).collect()
}

/// Fails, and says which files differ.
pub fn assert_same(left: &str, right: &str) {
    if left == right {
        return;
    }
    let sets = [left, right].map(|text| text.lines().collect::<BTreeSet<_>>());
    let only = |some: usize| {
        let lines = sets[some].difference(&sets[1 - some]);
        lines.take(50).map(|line| format!("{line}\n")).collect::<String>()
    };
    panic!("left:\n{}right:\n{}", only(0), only(1));
}
