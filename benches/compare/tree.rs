//! What is measured with: a tree made of Debian's packages, images of it, and an image of a million files.
//!
//! Nothing of this machine's own files goes in. The packages are fetched with `apt-get download` and unpacked with
//! `dpkg-deb -x`, both without privilege; all that was made stays in a cache, `target/tmp/compare` or
//! `PACK_BENCH_CACHE`, and is made anew when that is removed. The same versions of the packages give the same tree; a
//! line says which they are, by a hash.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pack_schemas::package::{FOOTER_SIZE, Footer};

use crate::place::Place;

/// Python with all that it needs, and things of every shape: one file of 110 MB, thousands of icons of a few hundred
/// bytes, scripts, documentation, folders in folders.
const PACKAGES: &[&str] = &[
    "libc6",
    "zlib1g",
    "libexpat1",
    "libssl3",
    "libffi8",
    "liblzma5",
    "libbz2-1.0",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libpython3.11",
    "python3.11-minimal",
    "python3.11",
    "libllvm14",
    "adwaita-icon-theme",
    "perl-modules-5.36",
    "python3-sympy",
    "vim-runtime",
    "libgtk-3-common",
];

/// How mksquashfs is told to write what `pack build` writes, but for fragments.
pub const MKSQUASHFS: &[&str] = &[
    "-comp",
    "zstd",
    "-Xcompression-level",
    "15",
    "-b",
    "128K",
    "-all-root",
    "-no-xattrs",
    "-no-progress",
    "-quiet",
    "-noappend",
];

/// Folders of the image of a million files, and files in each.
const MANY: (usize, usize) = (1000, 1000);

/// The cache.
pub struct Tree {
    cache: PathBuf,
}

impl Tree {
    /// Makes what is not there yet: a minute or two the first time.
    pub fn new(place: &Place) -> Tree {
        let cache = std::env::var_os("PACK_BENCH_CACHE")
            .map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("compare"), PathBuf::from);
        fs::create_dir_all(&cache).expect("a cache");
        place.own(&cache);
        let tree = Tree { cache };
        let seen = place.command("test", ["-x".as_ref(), tree.cache.as_os_str()]).status();
        assert!(
            seen.is_ok_and(|status| status.success()),
            "nobody cannot reach {}: name another place with PACK_BENCH_CACHE",
            tree.cache.display()
        );
        tree.fetch(place);
        tree.unpack(place);
        println!("{}", tree.describe());
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cache.join(name)
    }

    /// The unpacked tree.
    pub fn folder(&self) -> PathBuf {
        self.path("tree")
    }

    /// A package with the image that `pack build` made of it.
    pub fn package(&self) -> PathBuf {
        self.path("tree.pkg")
    }

    /// The image that mksquashfs made of it, with fragments, as is its way.
    pub fn image_with_fragments(&self) -> PathBuf {
        self.path("fragments.squashfs")
    }

    /// The image that mkfs.erofs made of it, if it is installed.
    pub fn erofs(&self) -> Option<PathBuf> {
        Some(self.path("tree.erofs")).filter(|image| image.exists())
    }

    /// The paths of all regular files, relative to the tree, a line each.
    pub fn list(&self) -> PathBuf {
        self.path("files")
    }

    /// The dynamic loader in the tree, relative to it.
    pub fn loader(&self) -> String {
        self.find_path(|name| name.starts_with("ld-linux")).expect("libc6 has a loader")
    }

    /// The largest file, relative to the tree.
    pub fn largest(&self) -> String {
        let list = fs::read_to_string(self.list()).expect("the list of files");
        let size = |path: &&str| fs::metadata(self.folder().join(path)).map_or(0, |found| found.len());
        list.lines().max_by_key(size).expect("a file").to_owned()
    }

    fn find_path(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let list = fs::read_to_string(self.list()).ok()?;
        list.lines().find(|path| path.rsplit('/').next().is_some_and(&wanted)).map(str::to_owned)
    }

    /// Makes `name` with `make`, unless it is there. What was begun and not finished is made anew.
    fn make(&self, name: &str, make: impl FnOnce(&Path)) {
        if self.path(name).exists() {
            return;
        }
        eprintln!("making {name} …");
        let partial = self.path(&format!("{name}.partial"));
        let _ = fs::remove_dir_all(&partial);
        let _ = fs::remove_file(&partial);
        make(&partial);
        fs::rename(&partial, self.path(name)).expect("what was made");
    }

    fn fetch(&self, place: &Place) {
        self.make("packages", |folder| {
            fs::create_dir(folder).expect("a folder");
            place.own(folder);
            let mut fetch = place.command("apt-get", ["download"]);
            place.run_to_end({
                fetch.args(PACKAGES).current_dir(folder);
                fetch
            });
        });
    }

    /// Sorted by name.
    fn packages(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> = fs::read_dir(self.path("packages"))
            .expect("the packages")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        found.sort();
        found
    }

    fn unpack(&self, place: &Place) {
        self.make("tree", |folder| {
            fs::create_dir(folder).expect("a folder");
            place.own(folder);
            for package in self.packages() {
                let arguments = [OsStr::new("-x"), package.as_os_str(), folder.as_os_str()];
                place.run_to_end(place.command("dpkg-deb", arguments));
            }
            compile_python(place, folder);
        });
        self.make("files", |list| {
            let mut list = BufWriter::new(fs::File::create(list).expect("a list"));
            for entry in walkdir::WalkDir::new(self.folder()).sort_by_file_name() {
                let entry = entry.expect("a readable tree");
                if entry.file_type().is_file() {
                    let path = entry.path().strip_prefix(self.folder()).expect("it lies below");
                    writeln!(list, "{}", path.to_str().expect("names in UTF-8")).expect("a line");
                }
            }
        });
    }

    /// Makes the images that are mounted.
    pub fn write_images(&self, place: &Place) {
        self.make("fragments.squashfs", |image| {
            let mut write = Command::new("mksquashfs");
            place.run_to_end({
                write.args([self.folder(), image.to_owned()]).args(MKSQUASHFS).stdout(Stdio::null());
                write
            });
        });
        self.make("tree.image", |image| {
            let project = place.path("tree-project");
            write_project(&project, "tree", &self.folder());
            place.own(&project);
            let made = place.path("home/made.pkg");
            let arguments = ["build".as_ref(), project.as_os_str(), "-o".as_ref(), made.as_os_str()];
            place.run_to_end(place.pack(arguments));
            fs::write(image, image_of(&made)).expect("an image");
            fs::remove_file(&made).expect("the package");
            fs::remove_dir_all(&project).expect("the project");
        });
        // Anew each time: the image takes minutes and stays, how it is indexed may have changed.
        let mut wrap = Command::new(crate::rows::example(place, "wrap-image"));
        place.run_to_end({
            wrap.args([self.path("tree.image"), self.package()]);
            wrap
        });
        if crate::place::there("mkfs.erofs") {
            self.make("tree.erofs", |image| {
                let mut write = Command::new("mkfs.erofs");
                place.run_to_end({
                    // Debian 12's can do lz4 and nothing else.
                    write.args(["--quiet", "-zlz4hc,12", "-C131072", "--all-root"]);
                    write.args([image, &self.folder()]);
                    write
                });
            });
        }
    }

    /// A package of a million files, each with a few bytes, and the image in it.
    pub fn million(&self, place: &Place) -> (PathBuf, PathBuf) {
        self.make("million.squashfs", |image| {
            let mut write = Command::new("mksquashfs")
                .args([Path::new("-"), image])
                // Looking for duplicates among a million files of one size would take it an hour.
                .args(
                    "-tar -no-fragments -no-duplicates -noD -comp zstd -Xcompression-level 3 -b 128K"
                        .split(' '),
                )
                .args("-all-root -no-xattrs -no-progress -quiet -noappend".split(' '))
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("mksquashfs");
            write_million(BufWriter::new(write.stdin.take().expect("its input"))).expect("an archive");
            assert!(write.wait().is_ok_and(|status| status.success()), "mksquashfs failed");
        });
        let mut wrap = Command::new(crate::rows::example(place, "wrap-image"));
        place.run_to_end({
            wrap.args([self.path("million.squashfs"), self.path("million.pkg")]);
            wrap
        });
        (self.path("million.squashfs"), self.path("million.pkg"))
    }

    fn describe(&self) -> String {
        let list = fs::read_to_string(self.list()).expect("the list of files");
        let size = |path: &str| fs::metadata(self.folder().join(path)).map_or(0, |found| found.len());
        let bytes: u64 = list.lines().map(size).sum();
        let names: Vec<_> =
            self.packages().iter().filter_map(|path| path.file_name().map(OsStr::to_owned)).collect();
        let versions = pack_schemas::names::Hash::of(format!("{names:?}").as_bytes()).to_string();
        format!(
            "tree: {} files, {:.1} MB, from {} packages of Debian's (versions {})",
            list.lines().count(),
            bytes as f64 / 1e6,
            names.len(),
            &versions[..12]
        )
    }
}

/// The image in a package.
fn image_of(package: &Path) -> Vec<u8> {
    let mut bytes = fs::read(package).expect("a package");
    let (_, footer) = bytes.split_last_chunk::<FOOTER_SIZE>().expect("a footer");
    let footer = Footer::parse(footer, bytes.len() as u64).expect("a well-formed package");
    bytes.truncate(usize::try_from(footer.image).expect("it is in memory"));
    bytes
}

/// Compiles Python's modules, as an installed Python has them. The compiled files are told not to look at the times of
/// their sources, which images may change.
fn compile_python(place: &Place, tree: &Path) {
    let found = walkdir::WalkDir::new(tree).into_iter().flatten().find(|entry| {
        entry.file_type().is_file() && entry.file_name().to_string_lossy().starts_with("ld-linux")
    });
    let loader = found.expect("libc6 has a loader").into_path();
    let loader = loader.strip_prefix(tree).expect("it lies below");
    let words = crate::rows::python(tree, loader);
    let mut compile = place.command(&words[0], &words[1..]);
    place.run_to_end({
        compile.args(["-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]);
        compile.arg(tree.join("usr/lib/python3.11"));
        compile
    });
}

/// Writes a project that packs the folder `files` as it is.
pub fn write_project(project: &Path, name: &str, files: &Path) {
    fs::create_dir_all(project).expect("a project");
    fs::write(
        project.join("pack.yaml"),
        format!(
            "name: {name}\nversion: '1'\nbase: host\nparts: {{{name}: {{plugin: dump, source: files}}}}\n"
        ),
    )
    .expect("a manifest");
    let mut copy = Command::new("cp");
    let copied = copy.arg("-a").args([files, &project.join("files")]).status();
    assert!(copied.is_ok_and(|status| status.success()), "cannot copy {}", files.display());
}

/// Writes an archive of many small files, in tar's oldest format, which mksquashfs reads.
fn write_million(mut archive: impl Write) -> std::io::Result<()> {
    for folder in 0..MANY.0 {
        archive.write_all(&header(&format!("{folder:04}/"), 0o755, 0, b'5'))?;
        for file in 0..MANY.1 {
            let contents = format!("file {file} of folder {folder}\n");
            archive.write_all(&header(&format!("{folder:04}/{file:04}"), 0o644, contents.len(), b'0'))?;
            let mut block = [0; 512];
            block[..contents.len()].copy_from_slice(contents.as_bytes());
            archive.write_all(&block)?;
        }
    }
    archive.write_all(&[0; 1024])?;
    archive.flush()
}

/// A header of tar(5).
fn header(name: &str, mode: u32, size: usize, kind: u8) -> [u8; 512] {
    let mut bytes = [0; 512];
    let mut put = |at: usize, text: &str| bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}\0{0:07o}\0{0:07o}\0{size:011o}\0{0:011o}\0", 0));
    put(257, "ustar\x0000");
    // The sum is taken with spaces in its place.
    put(148, "        ");
    bytes[156] = kind;
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}
