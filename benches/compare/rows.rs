//! The rows: a plain folder, and each way of mounting an image of it. A [`Session`] is one fresh mount with a probe in
//! it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{Place, is_root, there};
use crate::tree::Tree;

/// What is measured side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// The folder that the images were made of.
    Folder,
    /// The kernel's squashfs on the very file that pack mounts.
    Kernel,
    /// The kernel's squashfs on an image with fragments, as mksquashfs makes it unasked.
    KernelFragments,
    /// squashfuse_ll, on the file that pack mounts.
    SquashfuseLl,
    /// erofsfuse, lz4hc.
    Erofsfuse,
    /// pack.
    Pack,
}

/// The row that pack is compared with.
pub const KERNEL: &str = "kernel squashfs (loop, root)";
/// The row that costs nothing.
pub const FOLDER: &str = "plain folder";
/// Our own.
pub const PACK: &str = "pack (unprivileged, checked)";

impl Row {
    const ALL: [Row; 6] =
        [Row::Folder, Row::Kernel, Row::KernelFragments, Row::SquashfuseLl, Row::Erofsfuse, Row::Pack];

    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Row::Folder => FOLDER,
            Row::Kernel => KERNEL,
            Row::KernelFragments => "kernel squashfs, with fragments",
            Row::SquashfuseLl => "squashfuse_ll",
            Row::Erofsfuse => "erofsfuse (lz4hc)",
            Row::Pack => PACK,
        }
    }

    /// The rows that can be measured here; what is left out is told.
    pub fn possible(tree: &Tree) -> Vec<Row> {
        let only = std::env::var("PACK_BENCH_ROWS").ok();
        let mut rows = Row::ALL.to_vec();
        if !is_root() {
            eprintln!("not root: the rows of the kernel's squashfs are left out");
            rows.retain(|row| !matches!(row, Row::Kernel | Row::KernelFragments));
        }
        if !there("squashfuse_ll") || !there("fusermount3") {
            rows.retain(|row| *row != Row::SquashfuseLl);
        }
        if !there("erofsfuse") || tree.erofs().is_none() {
            rows.retain(|row| *row != Row::Erofsfuse);
        }
        let wanted =
            |row: &Row| only.as_ref().is_none_or(|only| only.split(',').any(|name| row.is_called(name)));
        rows.retain(wanted);
        rows
    }

    fn is_called(self, name: &str) -> bool {
        let ours = match self {
            Row::Folder => "folder",
            Row::Kernel => "kernel",
            Row::KernelFragments => "fragments",
            Row::SquashfuseLl => "squashfuse",
            Row::Erofsfuse => "erofsfuse",
            Row::Pack => "pack",
        };
        ours == name
    }

    /// The file that is mounted.
    pub fn image(self, tree: &Tree) -> PathBuf {
        match self {
            Row::Folder => tree.folder(),
            Row::Kernel | Row::SquashfuseLl | Row::Pack => tree.package(),
            Row::KernelFragments => tree.image_with_fragments(),
            Row::Erofsfuse => tree.erofs().expect("an image"),
        }
    }

    /// What the process is called that serves the mount.
    fn server(self) -> Option<&'static str> {
        match self {
            Row::Folder | Row::Kernel | Row::KernelFragments => None,
            Row::SquashfuseLl => Some("squashfuse_ll"),
            Row::Erofsfuse => Some("erofsfuse"),
            Row::Pack => Some("pack-keeper"),
        }
    }
}

/// Builds an example of the launcher's as this bench was built, and brings it to where the measuring user can reach it.
pub fn example(place: &Place, name: &str) -> PathBuf {
    let target = std::env::current_exe().expect("our own name");
    let target = target.ancestors().nth(3).expect("target/release/deps").to_owned();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--release", "-p", "pack-launcher", "--example", name]);
    cargo.env("CARGO_TARGET_DIR", &target).current_dir(env!("CARGO_MANIFEST_DIR"));
    place.run_to_end(cargo);
    let there = place.path(name);
    fs::copy(target.join("release/examples").join(name), &there).expect("the example");
    there
}

/// Drops what the kernel has cached of `image`: all caches as root, the file's own otherwise.
pub fn drop_caches(image: &Path) {
    if is_root() {
        fs::write("/proc/sys/vm/drop_caches", "3").expect("drop_caches");
    }
    evict(image);
}

/// Drops the cached pages of one file.
pub fn evict(image: &Path) {
    if let Ok(file) = fs::File::open(image)
        && image.is_file()
    {
        let _ = rustix::fs::fsync(&file);
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
    }
}

/// The tree's own Python, where the tree is seen at `root`. `loader` is its dynamic loader, relative to the root: the
/// machine's own C library plays no part.
pub fn python(root: &Path, loader: &Path) -> Vec<String> {
    let show = |path: PathBuf| path.display().to_string();
    let libraries = root.join(loader.parent().expect("it lies in a folder"));
    let name = libraries.file_name().expect("it has a name");
    let both = format!("{}:{}", libraries.display(), root.join("usr/lib").join(name).display());
    vec![
        "env".to_owned(),
        format!("PYTHONHOME={}", root.join("usr").display()),
        "PYTHONDONTWRITEBYTECODE=1".to_owned(),
        show(root.join(loader)),
        "--library-path".to_owned(),
        both,
        show(root.join("usr/bin/python3.11")),
    ]
}

/// A mount, with a probe in it that waits for orders.
pub struct Session<'a> {
    row: Row,
    image: PathBuf,
    /// Where the probe sees the tree.
    pub at: PathBuf,
    probe: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    place: &'a Place,
}

impl<'a> Session<'a> {
    /// Mounts, and starts the probe.
    pub fn open(place: &'a Place, tree: &Tree, row: Row) -> Session<'a> {
        Session::open_image(place, row, &row.image(tree))
    }

    /// Mounts `image`.
    pub fn open_image(place: &'a Place, row: Row, image: &Path) -> Session<'a> {
        match row {
            Row::Folder => {
                let probe = place.command(place.path("compare"), [""; 0]);
                Session::start(place, row, image, image.to_owned(), probe)
            }
            // The bench makes its packages itself; `pack run` would check their signatures.
            Row::Pack => Session::open_within(place, &place.path("mount-run"), "--unsigned", image),
            _ => {
                let at = mount_point(place, row);
                mount(place, row, image, &at);
                let probe = place.command(place.path("compare"), [""; 0]);
                Session::start(place, row, image, at, probe)
            }
        }
    }

    /// Mounts `image` with a program that runs the probe where it has mounted it.
    pub fn open_within(place: &'a Place, program: &Path, option: &str, image: &Path) -> Session<'a> {
        let at = mount_point(place, Row::Pack);
        let mut probe = place.without_privilege(program, [option]);
        probe.args([image, &at, &place.path("compare")]);
        Session::start(place, Row::Pack, image, at, probe)
    }

    fn start(place: &'a Place, row: Row, image: &Path, at: PathBuf, mut probe: Command) -> Session<'a> {
        probe.args(["probe".as_ref(), at.as_os_str()]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut probe = probe.spawn().expect("a probe");
        let orders = probe.stdin.take();
        let answers = BufReader::new(probe.stdout.take().expect("its output"));
        Session { row, image: image.to_owned(), at, probe, orders, answers, place }
    }

    /// Has the probe do something (`probe` lists what) and returns its answer: nanoseconds, mostly.
    pub fn ask(&mut self, order: &str) -> f64 {
        writeln!(self.orders.as_mut().expect("not closed yet"), "{order}").expect("an order");
        self.answer()
    }

    /// The probe's next answer.
    pub fn answer(&mut self) -> f64 {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        line.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{}: the probe says `{}`", self.row.title(), line.trim()))
    }

    /// Memory of the process that serves, resident and proportional, in MiB. Only root may look.
    pub fn server_memory(&self) -> Option<(f64, f64)> {
        let pid = server_of(self.row.server()?, &self.image)?;
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let number = |key: &str| -> Option<f64> {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            Some(line.trim().trim_end_matches(" kB").trim().parse::<f64>().ok()? / 1024.0)
        };
        Some((number("Rss:")?, number("Pss:")?))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.probe.wait();
        match self.row {
            Row::Folder | Row::Pack => {}
            Row::Kernel | Row::KernelFragments => {
                let _ = Command::new("umount").arg(&self.at).status();
            }
            Row::SquashfuseLl | Row::Erofsfuse => {
                let _ = self.place.command("fusermount3", ["-u".as_ref(), self.at.as_os_str()]).status();
                let server = self.row.server().expect("it has one");
                let begin = Instant::now();
                while server_of(server, &self.image).is_some() {
                    if begin.elapsed().as_secs() > 20 {
                        eprintln!("{server} does not end: somebody uses its mount");
                        break;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }
}

fn mount_point(place: &Place, row: Row) -> PathBuf {
    let at = place.path(&format!("at-{row:?}"));
    if !at.exists() {
        fs::create_dir(&at).expect("a mount point");
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).expect("permissions");
        place.own(&at);
    }
    at
}

fn mount(place: &Place, row: Row, image: &Path, at: &Path) {
    let arguments = [image, at];
    match row {
        Row::Kernel | Row::KernelFragments => {
            let mut mount = Command::new("mount");
            place.run_to_end({
                mount.args(["-t", "squashfs", "-o", "loop,ro"]).args(arguments);
                mount
            });
        }
        Row::SquashfuseLl => drop(place.run_to_end(place.command("squashfuse_ll", arguments))),
        Row::Erofsfuse => drop(place.run_to_end(place.command("erofsfuse", arguments))),
        Row::Folder | Row::Pack => {}
    }
}

/// The process called `name` that has `image` open.
pub fn server_of(name: &str, image: &Path) -> Option<u32> {
    let image = fs::canonicalize(image).ok()?;
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        // The kernel keeps 15 bytes of a name.
        let found = fs::read_to_string(entry.path().join("comm")).ok()?;
        if found.trim() != &name[..name.len().min(15)] {
            return None;
        }
        let opened = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        let links = opened.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        links.into_iter().any(|link| link == image).then_some(pid)
    })
}
