//! Every image that the builder writes is read identically by unsquashfs, the kernel, squashfs-tools-ng (by its program, and
//! by its library where the builder reads back), backhand, 7-Zip and our own reader, and its spans are those that our own
//! reader would cut.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use backhand::{FilesystemReader, InnerNode};
use common::*;
use pack_builder::image::{self, Options};
use pack_builder::unpack::unpack;
use pack_builder::verify::verify;
use pack_launcher::image::{BlockSource, RawSource, spans};
use pack_launcher::package::Package;
use proptest::prelude::*;
use tempfile::TempDir;

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.stdout
}

/// What a reader shows of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    content: Content,
    mode: u32,
    modified: i64,
    /// Names of the inode; of folders nothing.
    links: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Content {
    Folder,
    Link(Vec<u8>),
    /// Size, and hashes of all pieces that are not zero, with their numbers.
    File(u64, String),
}

type Tree = BTreeMap<Vec<u8>, Seen>;

/// Reads a file without hashing its holes, which may be very large.
fn file_content(mut reader: impl Read) -> Content {
    let (zeros, mut piece) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let (mut size, mut hasher) = (0, blake3::Hasher::new());
    loop {
        let mut filled = 0;
        while filled < piece.len() {
            match reader.read(&mut piece[filled..]).unwrap() {
                0 => break,
                count => filled += count,
            }
        }
        if filled == 0 {
            return Content::File(size, hasher.finalize().to_string());
        }
        if piece[..filled] != zeros[..filled] {
            hasher.update(&u64::to_le_bytes(size)).update(&piece[..filled]);
        }
        size += filled as u64;
    }
}

fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// What a folder on disk, or a mounted image, shows.
fn tree_at(root: &Path) -> Tree {
    let mut contents = BTreeMap::new();
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let content = if metadata.is_dir() {
            Content::Folder
        } else if metadata.is_symlink() {
            Content::Link(bytes(&fs::read_link(entry.path()).unwrap()))
        } else {
            let read = || file_content(File::open(entry.path()).unwrap());
            contents.entry(metadata.ino()).or_insert_with(read).clone()
        };
        let links = if metadata.is_dir() { 0 } else { metadata.nlink() };
        let seen = Seen { content, mode: metadata.mode() & 0o7777, modified: metadata.mtime(), links };
        (bytes(entry.path().strip_prefix(root).unwrap()), seen)
    });
    entries.collect()
}

/// What an image of a folder is to show.
fn expected(root: &Path) -> Tree {
    let mut tree = tree_at(root);
    let mut names: BTreeMap<u64, u64> = BTreeMap::new();
    let inode = |path: &Vec<u8>| root.join(OsStr::from_bytes(path)).symlink_metadata().unwrap().ino();
    tree.keys().for_each(|path| *names.entry(inode(path)).or_default() += 1);
    for (path, seen) in &mut tree {
        let executable = seen.mode & 0o111 != 0;
        (seen.mode, seen.links) = match seen.content {
            Content::Folder => (0o755, 0),
            Content::Link(_) => (0o777, names[&inode(path)]),
            Content::File(..) => (if executable { 0o755 } else { 0o644 }, names[&inode(path)]),
        };
        seen.modified = EPOCH.into();
    }
    tree
}

/// Compares, and says little of large trees.
fn assert_same(who: &str, found: &Tree, wanted: &Tree) {
    for (path, seen) in wanted {
        assert_eq!(found.get(path), Some(seen), "{who}: {}", String::from_utf8_lossy(path));
    }
    assert_eq!(found.len(), wanted.len(), "{who}: the number of entries");
}

/// Without what a reader does not show.
fn without(tree: &Tree, change: impl Fn(&[u8], &mut Seen)) -> Tree {
    let mut tree = tree.clone();
    tree.iter_mut().for_each(|(path, seen)| change(path, seen));
    tree
}

/// Writes an image, compares its spans with those of our reader, and has it read back.
fn write_checked(folder: &Path, image: &Path, options: &Options<'_>) {
    let _ = fs::remove_file(image);
    let file = File::options().read(true).write(true).create_new(true).open(image).unwrap();
    let (plan, written) = write_to(folder, &file, options).unwrap();
    let source: Arc<dyn BlockSource> = Arc::new(RawSource::new(file.try_clone().unwrap(), written.length));
    assert_eq!(written.spans, spans::hash(&source, &mut |_| ()).unwrap());
    image::read_back(&plan, &written, &file, options).unwrap();
}

fn read_by_unsquashfs(image: &Path, out: &Path) -> Tree {
    run(Command::new("unsquashfs").arg("-no-progress").arg("-q").arg("-d").arg(out).arg(image));
    tree_at(out)
}

fn read_by_the_kernel(image: &Path, out: &Path) -> Tree {
    // The mount ends with the mount namespace.
    let script = "mkdir \"$1.mounted\" && mount -t squashfs -o loop,ro \"$0\" \"$1.mounted\" && cp -a --sparse=always \"$1.mounted\" \"$1\"";
    run(Command::new("unshare").args(["--mount", "sh", "-ec", script]).args([image, out]));
    fs::remove_dir(format!("{}.mounted", out.display())).unwrap();
    tree_at(out)
}

fn read_by_rdsquashfs(image: &Path, out: &Path) -> Tree {
    // It lists modes, owners and targets in quotes of its own; unpacked, it shows content and names.
    run(Command::new("rdsquashfs")
        .args(["--quiet", "--set-times", "--chmod", "-u", "/", "-p"])
        .args([out, image]));
    tree_at(out)
}

fn read_by_backhand(image: &Path) -> Tree {
    let reader = FilesystemReader::from_reader(BufReader::new(File::open(image).unwrap())).unwrap();
    let entries = reader.files().map(|node| {
        let content = match &node.inner {
            InnerNode::File(file) => file_content(reader.file(file).reader()),
            InnerNode::Symlink(link) => Content::Link(bytes(&link.link)),
            InnerNode::Dir(_) => Content::Folder,
            _ => panic!("{node:?}"),
        };
        let mode = u32::from(node.header.permissions) & 0o7777;
        let seen = Seen { content, mode, modified: node.header.mtime.into(), links: 0 };
        (bytes(node.fullpath.strip_prefix("/").unwrap()), seen)
    });
    entries.collect()
}

/// It reads no target of 256 bytes or more, so it reads an image without such links.
fn read_short_links_by_backhand(scratch: &Path, folder: &Path, options: &Options<'_>) {
    let image = scratch.join("image-short");
    for name in ["long-link", "longest-link"] {
        let _ = fs::remove_file(folder.join(name));
    }
    write_checked(folder, &image, options);
    let links = |_: &[u8], seen: &mut Seen| seen.links = 0;
    assert_same("backhand", &read_by_backhand(&image), &without(&expected(folder), links));
}

/// Names and content of files.
fn read_by_7_zip(image: &Path, out: &Path) -> Tree {
    // It makes no link that leads out of where it unpacks, and fails for it.
    let output = Command::new("7zz")
        .args(["x", "-y", "-bd", "-snl-"])
        .arg(format!("-o{}", out.display()))
        .arg(image)
        .output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    tree_at(out)
}

/// Has all readers read an image of a folder.
fn read_by_all(scratch: &Path, folder: &Path, options: &Options<'_>) {
    let image = scratch.join("image");
    write_checked(folder, &image, options);
    let wanted = expected(folder);
    let out = |name: &str| {
        let path = scratch.join(name);
        let _ = fs::remove_dir_all(&path);
        path
    };
    assert_same("unsquashfs", &read_by_unsquashfs(&image, &out("unsquashfs")), &wanted);
    if is_root("read_by_the_kernel") {
        assert_same("the kernel", &read_by_the_kernel(&image, &out("kernel")), &wanted);
    }
    // It unpacks names of one inode as files of their own, and folders and links with the present time.
    let no_links = |_: &[u8], seen: &mut Seen| {
        seen.links = 0;
        if !matches!(seen.content, Content::File(..)) {
            (seen.modified, seen.mode) = (0, 0);
        }
    };
    let found = read_by_rdsquashfs(&image, &out("rdsquashfs"));
    assert_same("rdsquashfs", &without(&found, no_links), &without(&wanted, no_links));
    read_short_links_by_backhand(scratch, folder, options);
    let files = |tree: Tree| -> BTreeMap<_, _> {
        let file = |(path, seen): (Vec<u8>, Seen)| match seen.content {
            Content::File(..) if std::str::from_utf8(&path).is_ok() => Some((path, seen.content)),
            _ => None,
        };
        tree.into_iter().filter_map(file).collect()
    };
    let found = files(read_by_7_zip(&image, &out("7zip")));
    for (path, content) in files(wanted.clone()) {
        assert_eq!(found.get(&path), Some(&content), "7-Zip: {}", String::from_utf8_lossy(&path));
    }
    read_by_ourselves(scratch, folder, &expected(folder));
}

/// As a package, which goes through the same writer.
fn read_by_ourselves(scratch: &Path, folder: &Path, wanted: &Tree) {
    let (path, out) = (scratch.join("package"), scratch.join("ours"));
    let _ = fs::remove_dir_all(&out);
    assemble_to(folder, &path, &[&key(1)]).unwrap();
    let package = Arc::new(Package::open(File::open(&path).unwrap()).unwrap());
    verify(&package, &mut |_| ()).unwrap();
    unpack(&package, &out, &mut |_| ()).unwrap();
    assert_same("pack unpack", &tree_at(&out), wanted);
}

/// A tree with everything that images differ in, but for very large things.
fn write_odd(root: &Path, block: usize) {
    write_sample(root, false);
    let odd = |name: &[u8]| root.join(OsStr::from_bytes(name));
    fs::create_dir(odd(b"caf\xe9")).unwrap();
    fs::write(odd(b"caf\xe9/\xff\xfe"), noise(block + 5, 20)).unwrap();
    fs::write(odd(b"caf\xe9/plain"), noise(3, 21)).unwrap();
    symlink(OsStr::from_bytes(b"caf\xe9/\xff"), odd(b"to-caf\xe9")).unwrap();
    symlink(OsStr::from_bytes(b"caf\xe9/plain"), root.join("to-odd")).unwrap();
    symlink("x".repeat(4095), root.join("longest-link")).unwrap();
    // One file with names in three folders, one of them odd, and a link with two names.
    fs::create_dir(root.join("links")).unwrap();
    for name in [&b"links/b"[..], b"links/a", b"caf\xe9/linked", b"aaa"] {
        fs::hard_link(root.join("one-block"), odd(name)).unwrap();
    }
    fs::hard_link(root.join("empty"), root.join("links/empty")).unwrap();
    fs::hard_link(root.join("dangling"), root.join("links/dangling")).unwrap();
    for (number, length) in
        [block - 1, block, block + 1, 2 * block, 3 * block, 3 * block - 1].into_iter().enumerate()
    {
        fs::write(root.join(format!("length-{length}")), noise(length, 30 + number as u64)).unwrap();
        // The same bytes again, and of the same length other ones.
        fs::write(root.join(format!("copies/length-{length}")), noise(length, 30 + number as u64)).unwrap();
        fs::write(root.join(format!("copies/other-{length}")), noise(length, 60 + number as u64)).unwrap();
    }
    // Holes in all places: written out, left out, both in one block, at the end.
    let holes = File::create(root.join("holes")).unwrap();
    holes.write_all_at(&vec![0; 2 * block], 0).unwrap();
    holes.write_all_at(&noise(block / 2, 3), 3 * block as u64 + 7).unwrap();
    holes.write_all_at(&[0; 100], 9 * block as u64).unwrap();
    holes.set_len(12 * block as u64 + 1).unwrap();
    let copy = [vec![0; 3 * block + 7], noise(block / 2, 3), vec![0; 9 * block - 6 - block / 2]].concat();
    fs::write(root.join("holes-written-out"), copy).unwrap();
    fs::create_dir(root.join("long-names")).unwrap();
    for n in 0..300 {
        fs::write(root.join(format!("long-names/{n:03}{}", "n".repeat(252))), n.to_string()).unwrap();
    }
    let deep: PathBuf = std::iter::repeat_n("deep", 60).collect();
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join(&deep).join("file"), "deep").unwrap();
}

#[test]
fn all_readers_read_the_same_at_every_block_size() {
    for block in [4 << 10, 128 << 10, 1 << 20] {
        let scratch = TempDir::new().unwrap();
        let source = scratch.path().join("source");
        write_odd(&source, block);
        // A name outside of the tree does not count.
        fs::hard_link(source.join("text"), scratch.path().join("outside")).unwrap();
        read_by_all(scratch.path(), &source, &Options { block_size: block as u32, ..options() });
    }
}

#[test]
fn all_readers_read_the_same_at_every_level() {
    let scratch = TempDir::new().unwrap();
    let source = scratch.path().join("source");
    write_sample(&source, false);
    for level in [1, 15, 19, 22] {
        read_by_all(scratch.path(), &source, &Options { level, ..options() });
    }
}

/// An image has neither extended attributes nor, with them, file capabilities and access lists.
#[test]
fn extended_attributes_stay_behind() {
    let scratch = TempDir::new().unwrap();
    let (source, image) = (scratch.path().join("source"), scratch.path().join("image"));
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "text").unwrap();
    let attributes = |folder: &Path| run(Command::new("getfattr").args(["-R", "-d", "-m", "-"]).arg(folder));
    for name in ["file", "."] {
        run(Command::new("setfattr").args(["-n", "user.note", "-v", "x"]).arg(source.join(name)));
    }
    assert!(!attributes(&source).is_empty());
    write_checked(&source, &image, &options());
    let out = |name: &str| scratch.path().join(name);
    read_by_unsquashfs(&image, &out("unsquashfs"));
    assert_eq!(run(Command::new("rdsquashfs").args(["-x", "/file"]).arg(&image)), b"", "rdsquashfs");
    let mut read = vec!["unsquashfs"];
    if is_root("extended_attributes_stay_behind") {
        read_by_the_kernel(&image, &out("kernel"));
        read.push("kernel");
    }
    for name in read {
        assert_eq!(String::from_utf8_lossy(&attributes(&out(name))), "", "{name}");
    }
}

#[test]
fn equal_files_share_their_blocks_and_names_of_one_file_its_inode() {
    let scratch = TempDir::new().unwrap();
    let (source, image) = (scratch.path().join("source"), scratch.path().join("image"));
    write_odd(&source, BLOCK);
    write_checked(&source, &image, &options());
    let size = fs::metadata(&image).unwrap().len();
    // One byte of every copy is another: none shares anything with the first.
    for entry in fs::read_dir(source.join("copies")).unwrap() {
        let path = entry.unwrap().path();
        let mut content = fs::read(&path).unwrap();
        content[0] ^= 1;
        fs::write(path, content).unwrap();
    }
    write_checked(&source, &image, &options());
    let copies = (11 * BLOCK + BLOCK) as u64;
    let grown = fs::metadata(&image).unwrap().len() - size;
    assert!((copies..copies + 2 * BLOCK as u64).contains(&grown), "{grown} {copies}");
}

#[test]
fn a_sparse_file_of_5_gib_is_read_by_all_and_takes_no_room() {
    let scratch = TempDir::new().unwrap();
    let [source, image, out] = ["source", "image", "out"].map(|name| scratch.path().join(name));
    fs::create_dir(&source).unwrap();
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(&noise(300_000, 1), (4 << 30) + 12_345).unwrap();
    sparse.set_len(5 << 30).unwrap();
    File::create(source.join("nothing")).unwrap().set_len(1 << 30).unwrap();
    write_checked(&source, &image, &options());
    assert!(fs::metadata(&image).unwrap().len() < 400_000);
    let wanted = expected(&source);
    assert_same("unsquashfs", &read_by_unsquashfs(&image, &out), &wanted);
    if is_root("a_sparse_file_is_read_by_the_kernel") {
        let mounted = scratch.path().join("kernel");
        assert_same("the kernel", &read_by_the_kernel(&image, &mounted), &wanted);
    }
    read_by_ourselves(scratch.path(), &source, &wanted);
    let blocks = fs::metadata(scratch.path().join("ours/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "{blocks}");
}

#[test]
fn a_folder_of_100_000_names_is_read_by_all_and_has_an_index() {
    let scratch = TempDir::new().unwrap();
    let [source, image] = ["source", "image"].map(|name| scratch.path().join(name));
    fs::create_dir_all(source.join("many")).unwrap();
    for n in 0..100_000 {
        File::create(source.join(format!("many/name-{n:06}"))).unwrap();
    }
    for n in 0..300 {
        fs::create_dir_all(source.join(format!("folders/{n}/inner"))).unwrap();
    }
    write_checked(&source, &image, &options());
    let wanted = expected(&source);
    let out = scratch.path().join("out");
    assert_same("unsquashfs", &read_by_unsquashfs(&image, &out), &wanted);
    assert_same("backhand", &read_by_backhand(&image), &without(&wanted, |_, seen| seen.links = 0));
    let listing = run(Command::new("7zz").args(["l", "-slt"]).arg(&image));
    let listed =
        listing.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"Path = many/name-")).count();
    assert_eq!(listed, 100_000);
    if is_root("a_folder_of_100_000_names_is_read_by_the_kernel") {
        assert_same("the kernel", &read_by_the_kernel(&image, &scratch.path().join("kernel")), &wanted);
    }
    // A listing of two megabytes, and one look at it is one at a block or two.
    let file = File::open(&image).unwrap();
    let length = file.metadata().unwrap().len();
    let reader = pack_launcher::image::Reader::open(
        Arc::new(RawSource::new(file, length)),
        pack_launcher::image::CacheSize::default(),
    )
    .unwrap();
    let root = reader.root().unwrap();
    let many = reader.lookup(&root, b"many").unwrap().unwrap();
    let pack_schemas::squashfs::InodeDetail::Directory(folder) = many.inode.detail else { panic!() };
    assert!(folder.index_entries >= 200 && folder.size > 1 << 20, "{folder:?}");
    for n in (0..100_000).step_by(997) {
        assert!(reader.lookup(&many, format!("name-{n:06}").as_bytes()).unwrap().is_some());
    }
}

#[test]
fn neither_threads_nor_umask_nor_kept_blocks_leave_a_trace() {
    let scratch = TempDir::new().unwrap();
    let (source, store) = (scratch.path().join("source"), scratch.path().join("store"));
    write_odd(&source, BLOCK);
    let one = image_with(&source, &Options { parallel: NonZeroUsize::MIN, ..options() });
    for threads in [2, 3, 16] {
        let parallel = NonZeroUsize::new(threads).unwrap();
        assert!(image_with(&source, &Options { parallel, ..options() }) == one, "{threads}");
    }
    for _ in 0..2 {
        let blocks = Some(store.as_path());
        assert!(image_with(&source, &Options { blocks, ..options() }) == one);
    }
}

/// A random tree: what stands at each of a few paths.
#[derive(Debug, Clone)]
enum Thing {
    Folder,
    File {
        length: usize,
        seed: u64,
        zeros: bool,
    },
    Link(Vec<u8>),
    /// One more name of what stands at the path before.
    Again,
}

fn things() -> impl Strategy<Value = Vec<(usize, Vec<u8>, Thing)>> {
    let name =
        prop::collection::vec(any::<u8>().prop_filter("no separator", |b| !matches!(b, 0 | b'/')), 1..20);
    let length = prop_oneof![Just(0), 1..200usize, 4000..4200usize, 1..20_000usize, Just(8192)];
    let thing = prop_oneof![
        2 => Just(Thing::Folder),
        6 => (length, 0..3u64, any::<bool>()).prop_map(|(length, seed, zeros)| Thing::File { length, seed, zeros }),
        2 => prop::collection::vec(1..=255u8, 1..60).prop_map(Thing::Link),
        1 => Just(Thing::Again),
    ];
    prop::collection::vec((any::<prop::sample::Index>().prop_map(|i| i.index(1000)), name, thing), 0..40)
}

/// Makes what can be made: a name may be taken or be one that none may have.
fn make(root: &Path, things: &[(usize, Vec<u8>, Thing)]) {
    fs::create_dir(root).unwrap();
    let mut folders = vec![root.to_path_buf()];
    let mut last = None;
    for (place, name, thing) in things {
        let path = folders[place % folders.len()].join(OsStr::from_bytes(name));
        if path.symlink_metadata().is_ok() {
            continue;
        }
        match thing {
            Thing::Folder => {
                fs::create_dir(&path).unwrap();
                folders.push(path);
            }
            Thing::File { length, seed, zeros } => {
                let mut content = noise(*length, *seed);
                if *zeros {
                    let half = length / 2;
                    content[half..].fill(0);
                }
                fs::write(&path, content).unwrap();
                last = Some(path);
            }
            Thing::Link(target) => {
                symlink(OsStr::from_bytes(target), &path).unwrap();
                last = Some(path);
            }
            Thing::Again => {
                if let Some(last) = &last {
                    fs::hard_link(last, &path).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back(things in things()) {
        let scratch = TempDir::new().unwrap();
        let [source, image, out] = ["source", "image", "out"].map(|name| scratch.path().join(name));
        make(&source, &things);
        write_checked(&source, &image, &Options { block_size: 4096, ..options() });
        let wanted = expected(&source);
        assert_same("unsquashfs", &read_by_unsquashfs(&image, &out), &wanted);
        read_by_ourselves(scratch.path(), &source, &wanted);
    }
}
