//! The mount against others: a tree that we mount as a user without privilege, and read without a mount, is the one that
//! unsquashfs and rdsquashfs unpack and that the kernel's own squashfs shows, whatever wrote the image, with whatever
//! options.
//!
//! Unpacking devices and owners, and the kernel's mount, need root; without it those parts say that they are skipped.
#![allow(clippy::print_stdout, reason = "a failure is to tell which image it was, a skipped part why")]

mod mount_support;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mount_support::mounted::{Stage, place_and_out, skip, skip_because};
use mount_support::through::look_through;
use mount_support::tree::{self, Detail, assert_same, look_closely, to_text};
use mount_support::{mksquashfs, open, run, wrap};
use pack_launcher::image::{CacheSize, CheckedSource, Reader};

/// Options of mksquashfs. Every compressor comes with small, usual and large blocks, and every other option with several
/// compressors. Of xz's filters ia64 is left out, which Linux no longer undoes.
const MKSQUASHFS: &[&str] = &[
    "-comp gzip -b 4K -no-fragments",
    "-comp gzip -b 64K -always-use-fragments -Xstrategy huffman_only,fixed -Xwindow-size 9",
    "-comp gzip -b 128K -noI -noD -noF -noX -noId",
    "-comp gzip -b 1M -no-duplicates -Xcompression-level 1",
    "-comp lz4 -b 4K -always-use-fragments",
    "-comp lz4 -b 128K -Xhc -no-exports",
    "-comp lz4 -b 1M -no-fragments -noI",
    "-comp lzo -b 4K -no-duplicates",
    "-comp lzo -b 16K -Xalgorithm lzo1x_1_15 -no-fragments",
    "-comp lzo -b 128K -noD -no-sparse",
    "-comp lzo -b 1M -Xcompression-level 3 -always-use-fragments",
    "-comp xz -b 4K",
    "-comp xz -b 128K -Xbcj x86,arm,armthumb,powerpc,sparc -Xdict-size 75%",
    "-comp xz -b 1M -noF -no-fragments",
    "-comp zstd -b 4K -noX -no-sparse",
    "-comp zstd -b 32K -noF -noId -always-use-fragments",
    "-comp zstd -b 128K -no-fragments -no-xattrs",
    "-comp zstd -b 1M -Xcompression-level 3 -no-duplicates -no-exports",
];

/// Compressor and options of gensquashfs and tar2sqfs.
const SQUASHFS_NG: &[&str] = &[
    "-c gzip -b 4096",
    "-c lz4 -b 131072 -X hc",
    "-c lzo -b 65536",
    "-c xz -b 131072 -X x86,dictsize=131072",
    "-c xz -b 1048576",
    "-c zstd -b 4096",
    "-c zstd -b 131072",
];

/// What is asked of a mount of ours: files belong to whoever mounts, so of owners nothing.
const MOUNTED: Detail = Detail { owners: false, holes: true, folders: true };

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

/// Makes the tree that images are made of, in a folder of its own, and a tape archive of it.
fn source() -> tempfile::TempDir {
    let scratch = mount_support::folder();
    let root = scratch.path().join("source");
    fs::create_dir(&root).unwrap();
    tree::everything(&root);
    // Too long for the time that there is: what stays is more than three of the largest blocks.
    for large in ["noise-3145728", "text-1048581"] {
        fs::remove_file(root.join(large)).unwrap();
    }
    fs::write(root.join("code"), &fs::read("/proc/self/exe").unwrap()[..400_000]).unwrap();
    fs::write(root.join("attributes/large"), "").unwrap();
    tree::set_attribute(&root.join("attributes/large"), "user.large", &tree::noise(3000, 1));
    if is_root() {
        tree::privileged(&root);
    }
    scratch
}

/// Definitions of devices for mksquashfs; what unpacks them has to be root.
fn devices() -> Vec<&'static str> {
    let all = ["block b 660 0 0 8 17", "large-numbers c 600 1000 7 300 70000", "null c 666 0 0 1 3"];
    if is_root() { all.iter().flat_map(|device| ["-p", device]).collect() } else { Vec::new() }
}

const LOOK: &str = "on_the_mount_look_closely";

/// Not a test of its own: what is run where a tree can be seen.
#[test]
#[ignore = "runs on a mounted package"]
fn on_the_mount_look_closely() {
    let Some((place, out)) = place_and_out() else { return };
    let me = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let owners = Detail { owners: true, ..MOUNTED };
    let mut found = look_closely(&place, owners);
    for (path, seen) in &mut found {
        let seen = seen.as_mut().unwrap_or_else(|errno| panic!("{}: error {errno}", path.escape_ascii()));
        if !me.0.eq(&0) {
            assert_eq!(std::mem::take(&mut seen.owner), me, "{}", path.escape_ascii());
        }
    }
    fs::write(out, to_text(&found)).unwrap();
}

/// An image, and what others make of it.
struct Subject<'a> {
    stage: &'a Stage,
    image: PathBuf,
    package: PathBuf,
}

impl Subject<'_> {
    fn new<'a>(stage: &'a Stage, scratch: &Path, make: impl FnOnce(&Path)) -> Subject<'a> {
        let (image, package) = (scratch.join("image"), scratch.join("hello.pkg"));
        let _ = fs::remove_file(&image);
        make(&image);
        wrap(&image, &package);
        Subject { stage, image, package }
    }

    /// Compares our mount and our reader with the kernel's mount and what `unpack` unpacks to a folder.
    fn check(&self, unpacker: Unpacker) {
        let everything = Detail { owners: true, holes: true, folders: true };
        let read = to_text(&self.read(everything));
        assert_same(&to_text(&self.read(MOUNTED)), &self.mounted(LOOK));
        if let Some(kernel) = self.kernel(LOOK) {
            assert_same(&kernel, &read);
        }
        // What is unpacked lies on a file system with folders of its own kind.
        let holes = unpacker == Unpacker::Unsquashfs;
        let detail = Detail { owners: is_root(), holes, folders: false };
        let folder = self.image.with_file_name("unpacked");
        let _ = fs::remove_dir_all(&folder);
        unpacker.unpack(&self.image, &folder);
        let [mut unpacked, mut read] = [look_closely(&folder, detail), self.read(detail)];
        if unpacker == Unpacker::Rdsquashfs {
            // It makes a file of every name, and gives the root folder neither times nor attributes.
            for tree in [&mut unpacked, &mut read] {
                tree.remove(&b""[..]);
                for seen in tree.values_mut().flatten() {
                    (seen.links, seen.first_name) = (1, None);
                }
            }
        }
        assert_same(&to_text(&unpacked), &to_text(&read));
    }

    fn read(&self, detail: Detail) -> tree::Tree {
        let source = Arc::new(CheckedSource::new(open(&self.package)));
        look_through(&Reader::open(source, CacheSize { bytes: 8 << 20 }).unwrap(), detail)
    }

    /// What our mount shows to a user without privilege.
    fn mounted(&self, look: &str) -> String {
        let _ = fs::remove_file(self.stage.out().join("result"));
        let output = self.stage.run_test(&[], &self.package, look);
        let [told, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success() && errors.is_empty(), "{told}{errors}");
        fs::read_to_string(self.stage.out().join("result")).unwrap()
    }

    /// What the kernel's mount shows to root, if there is one. It is gone with the process that sees it.
    fn kernel(&self, look: &str) -> Option<String> {
        if !is_root() {
            skip_because("the kernel's own squashfs is mounted by root alone");
            return None;
        }
        let (place, out) = (self.stage.at(), self.stage.out().join("kernel"));
        let _ = fs::remove_file(&out);
        let script = "mount -t squashfs -o ro,loop,nodev \"$1\" \"$PLACE\" || exit 77; shift; exec \"$@\"";
        let output = Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(&self.image)
            .arg(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", look])
            .env("PLACE", &place)
            .env("OUT", &out)
            .output()
            .unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        if output.status.code() == Some(77) {
            let compressor = Reader::open(mount_support::raw(&self.image), CacheSize::default()).unwrap();
            let compressor = compressor.superblock().compressor.as_str();
            skip_because(&format!("the kernel does not mount squashfs with {compressor}"));
            println!("{errors}");
            return None;
        }
        assert!(output.status.success(), "{}{errors}", String::from_utf8_lossy(&output.stdout));
        Some(fs::read_to_string(out).unwrap())
    }
}

/// A program that unpacks images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unpacker {
    Unsquashfs,
    /// Of squashfs-ng; it fills holes with zeros.
    Rdsquashfs,
}

impl Unpacker {
    fn unpack(self, image: &Path, folder: &Path) {
        let mut command = match self {
            Unpacker::Unsquashfs => Command::new("unsquashfs"),
            Unpacker::Rdsquashfs => Command::new("rdsquashfs"),
        };
        match self {
            Unpacker::Unsquashfs => command.args(["-no-progress", "-quiet", "-d"]),
            Unpacker::Rdsquashfs => command
                .args(["--quiet", "--set-xattr", "--set-times", "--chmod", "--chown"])
                .args(["--unpack-path", "/", "--unpack-root"]),
        };
        run(command.arg(folder).arg(image));
    }
}

#[test]
fn images_of_mksquashfs_are_what_others_say() {
    if skip() {
        return;
    }
    let (stage, scratch) = (Stage::new(), source());
    for options in MKSQUASHFS {
        println!("{options}");
        let options: Vec<_> = options.split(' ').chain(devices()).collect();
        let make = |image: &Path| mksquashfs(&scratch.path().join("source"), image, &options);
        Subject::new(&stage, scratch.path(), make).check(Unpacker::Unsquashfs);
    }
}

#[test]
fn images_of_squashfs_ng_are_what_others_say() {
    if skip() {
        return;
    }
    let (stage, scratch) = (Stage::new(), source());
    let source = scratch.path().join("source");
    let archive = scratch.path().join("archive");
    run(Command::new("tar")
        .args(["--create", "--xattrs", "--xattrs-include=*", "--sparse", "--format=posix"])
        .args(["--pax-option=delete=atime,delete=ctime", "--sort=name", "--exclude=socket*"])
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .arg(&source)
        .arg("."));
    for options in SQUASHFS_NG {
        // unsquashfs 4.5 refuses images of squashfs-ng with lz4: small metadata blocks there grow when they are compressed.
        let unpacker = match options.contains("lz4") {
            true => Unpacker::Rdsquashfs,
            false => Unpacker::Unsquashfs,
        };
        println!("gensquashfs {options}");
        let make = |image: &Path| {
            run(Command::new("gensquashfs")
                .args(["--quiet", "--keep-time", "--keep-xattr"])
                .args(options.split(' '))
                .arg("-D")
                .arg(&source)
                .arg(image));
        };
        Subject::new(&stage, scratch.path(), make).check(unpacker);
        println!("tar2sqfs {options}");
        let make = |image: &Path| {
            run(Command::new("tar2sqfs")
                .arg("--quiet")
                .args(options.split(' '))
                .arg(image)
                .stdin(File::open(&archive).unwrap()));
        };
        Subject::new(&stage, scratch.path(), make).check(unpacker);
    }
}

/// Made by mksquashfs alone: squashfs-ng's tools take minutes to sort as many.
#[test]
fn a_folder_of_100_000_entries_is_what_others_say() {
    if skip() {
        return;
    }
    let (stage, scratch) = (Stage::new(), mount_support::folder());
    let source = scratch.path().join("source");
    fs::create_dir_all(source.join("many")).unwrap();
    for number in 0..100_000 {
        let name = format!("many/entry-{number}-{}", "y".repeat(number % 50));
        std::os::unix::fs::symlink(format!("target-{number}"), source.join(name)).unwrap();
    }
    let options = ["-comp", "zstd", "-Xcompression-level", "1"];
    let make = |image: &Path| mksquashfs(&source, image, &options);
    Subject::new(&stage, scratch.path(), make).check(Unpacker::Unsquashfs);
}

/// Where the 5 GiB file has data: at both ends, on both sides of 4 GiB, and here and there.
const ISLANDS: [u64; 6] = [0, 1 << 20, (3 << 30) + 123, (4 << 30) - 3, (4 << 30) + (7 << 20), (5 << 30) - 6];

/// Not a test of its own: what is run where the 5 GiB file can be seen.
#[test]
#[ignore = "runs on a mounted package"]
fn on_the_mount_look_at_5_gib() {
    let Some((place, out)) = place_and_out() else { return };
    fs::write(out, facts_of_huge(&place.join("huge"))).unwrap();
}

/// Size, stretches of data, and what is read at and beside the islands, and in between.
fn facts_of_huge(path: &Path) -> String {
    let file = File::open(path).unwrap();
    let mut text = format!("{} {:?}\n", file.metadata().unwrap().len(), tree::data_of(path).unwrap());
    let between = (0..40).map(|n| n * 134_217_689);
    for offset in ISLANDS.into_iter().chain(between) {
        let mut bytes = [1; 40];
        let from = offset.saturating_sub(10);
        let count = file.read_at(&mut bytes, from).unwrap();
        text += &format!("{from}: {:?}\n", &bytes[..count]);
    }
    text
}

#[test]
fn a_sparse_file_of_5_gib_is_what_others_say() {
    if skip() {
        return;
    }
    let (stage, scratch) = (Stage::new(), mount_support::folder());
    let source = scratch.path().join("source");
    fs::create_dir(&source).unwrap();
    let file = File::create(source.join("huge")).unwrap();
    for offset in ISLANDS {
        file.write_all_at(b"island", offset).unwrap();
    }
    assert_eq!(file.metadata().unwrap().len(), 5 << 30);
    // The smallest blocks: 1.3 million of them.
    let make = |image: &Path| mksquashfs(&source, image, &["-comp", "lz4", "-b", "4K", "-no-fragments"]);
    let subject = Subject::new(&stage, scratch.path(), make);
    let mounted = subject.mounted("on_the_mount_look_at_5_gib");
    if let Some(kernel) = subject.kernel("on_the_mount_look_at_5_gib") {
        assert_same(&kernel, &mounted);
    }
    let unpacked = scratch.path().join("unpacked");
    Unpacker::Unsquashfs.unpack(&subject.image, &unpacked);
    assert_same(&facts_of_huge(&unpacked.join("huge")), &mounted);
    // What it was made of may lie in larger pieces, with the same bytes.
    let bytes = |text: &str| text.split_once('\n').unwrap().1.to_owned();
    assert_same(&bytes(&facts_of_huge(&source.join("huge"))), &bytes(&mounted));
}
