//! Measures pack beside its peers, in one run, interleaved, and prints a table of medians and ranges.
//!
//! - start of a trivial app: `unshare -Ur true` (the limit of what user namespaces cost), bubblewrap on a plain folder,
//!   squashfuse_ll + bubblewrap + unmount, pack;
//! - build of a 250 MB tree: mksquashfs at the same compression (zstd 15, 128 KiB, no fragments), pack.
//!
//! `cargo bench --bench compare` (all), `cargo bench --bench compare -- start [ROUNDS]`, `… -- build [ROUNDS]`. As root it
//! measures as the user nobody; squashfuse_ll alone needs the set-uid fusermount3 for that.
//! The tree is made of this machine's /usr; give another with `PACK_BENCH_TREE=FOLDER`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The user that root measures as: nobody, since fusermount3 wants one with a name.
const USER: u32 = 65534;
/// Size of the tree to build, in bytes.
const TREE_SIZE: u64 = 250 << 20;

fn main() {
    // cargo bench passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let what = arguments.first().map_or("all", String::as_str);
    let rounds = arguments.get(1).and_then(|text| text.parse().ok());
    let place = Place::new();
    match what {
        "start" => start(&place, rounds.unwrap_or(60)),
        "build" => build(&place, rounds.unwrap_or(3)),
        "all" => {
            start(&place, rounds.unwrap_or(60));
            build(&place, rounds.unwrap_or(3));
        }
        other => {
            eprintln!("usage: compare [start|build [ROUNDS]], not `{other}`");
            std::process::exit(2);
        }
    }
}

/// A folder of the measuring user's, with a home in it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("pack-bench-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let place = Place { folder };
        fs::create_dir(place.path("home")).expect("home");
        fs::copy(env!("CARGO_BIN_EXE_pack"), place.path("pack")).expect("a copy of pack");
        place.own("");
        place.run_to_end(place.pack(["key", "generate", "bench"]));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn own(&self, name: &str) {
        if rustix::process::geteuid().is_root() {
            let mut chown = Command::new("chown");
            self.run_to_end({
                chown.arg("-R").arg(format!("{USER}:{USER}")).arg(self.path(name));
                chown
            });
        }
    }

    /// A program, as the measuring user.
    fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        }
        command.arg("--").arg(program).args(arguments).env_clear().current_dir(self.path("home"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", self.path("home"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    fn pack<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.command(self.path("pack"), arguments)
    }

    fn run_to_end(&self, mut command: Command) -> Duration {
        let begin = Instant::now();
        let output =
            command.stderr(Stdio::piped()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let time = begin.elapsed();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        time
    }
}

/// Times by row, in the order in which the rows were first measured.
#[derive(Default)]
struct Table {
    names: Vec<String>,
    times: BTreeMap<String, Vec<Duration>>,
}

impl Table {
    fn add(&mut self, name: &str, time: Duration) {
        if !self.times.contains_key(name) {
            self.names.push(name.to_owned());
        }
        self.times.entry(name.to_owned()).or_default().push(time);
    }

    fn print(mut self, title: &str, reference: &str) {
        let median = |times: &mut Vec<Duration>| {
            times.sort();
            times[times.len() / 2]
        };
        let base = median(self.times.get_mut(reference).expect("the reference was measured"));
        println!("\n| {title} | median ms | range ms | × {reference} |\n|---|---|---|---|");
        for name in &self.names {
            let times = self.times.get_mut(name).expect("every row has times");
            let middle = median(times);
            let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
            let range = format!("{:.1} – {:.1}", ms(&times[0]), ms(&times[times.len() - 1]));
            println!(
                "| {name} | {:.1} | {range} | {:.2} |",
                ms(&middle),
                middle.as_secs_f64() / base.as_secs_f64()
            );
        }
    }
}

/// Asks for a package of Debian's where a peer is missing; the row is left out then.
fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        eprintln!("{program} is not installed: its row is left out");
    }
    found
}

fn start(place: &Place, rounds: usize) {
    let folder = place.path("trivial/files");
    fs::create_dir_all(folder.join("bin")).expect("a project");
    fs::copy("/usr/bin/true", folder.join("bin/true")).expect("true");
    fs::write(
        place.path("trivial/pack.yaml"),
        "name: trivial\nversion: '1'\nbase: host\napps: {trivial: {command: bin/true}}\n\
         parts: {trivial: {plugin: dump, source: files}}\n",
    )
    .expect("a manifest");
    place.own("trivial");
    let package = place.path("trivial.pkg");
    place.run_to_end(place.pack([
        "build".as_ref(),
        place.path("trivial").as_os_str(),
        "-o".as_ref(),
        package.as_os_str(),
    ]));
    place.run_to_end(place.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
    let mount = place.path("home/mount");
    fs::create_dir(&mount).expect("a mount point");
    place.own("home/mount");

    let unshare = || place.command("unshare", ["-Ur", "true"]);
    let bubblewrap = |app: &Path| place.command("bwrap", bubblewrap_arguments(app));
    let over_fuse = || {
        let script = format!(
            "squashfuse_ll \"$0\" \"$1\" && bwrap {} ; fusermount3 -u \"$1\"",
            bubblewrap_arguments(&mount).join(" ")
        );
        place.command("sh", ["-c".as_ref(), script.as_ref(), package.as_os_str(), mount.as_os_str()])
    };
    let with_bubblewrap = there("bwrap");
    let with_squashfuse = with_bubblewrap && there("squashfuse_ll") && there("fusermount3");
    let mut table = Table::default();
    for round in 0..rounds + 3 {
        let mut measure = |name: &str, command: Command| {
            let time = place.run_to_end(command);
            // The first rounds warm the caches.
            if round >= 3 {
                table.add(name, time);
            }
        };
        measure("setpriv alone (part of every row)", place.command("true", [""; 0]));
        measure("unshare -Ur true", unshare());
        if with_bubblewrap {
            measure("bubblewrap, plain folder", bubblewrap(&folder));
        }
        if with_squashfuse {
            measure("squashfuse_ll + bubblewrap + unmount", over_fuse());
        }
        measure("pack run", place.pack(["run", "trivial"]));
    }
    table.print(
        "start of a trivial app",
        if with_bubblewrap { "bubblewrap, plain folder" } else { "unshare -Ur true" },
    );
}

/// The namespaces and mounts that pack makes, as far as bubblewrap has them.
fn bubblewrap_arguments(app: &Path) -> Vec<String> {
    let app = app.display().to_string();
    let words = "--unshare-all --unshare-user --new-session --die-with-parent --disable-userns --ro-bind /usr /usr --symlink usr/bin /bin \
                 --symlink usr/lib /lib --symlink usr/lib64 /lib64 --ro-bind /etc/ld.so.cache /etc/ld.so.cache --ro-bind \
                 /etc/hosts /etc/hosts --proc /proc --dev /dev --tmpfs /tmp --tmpfs /run";
    let mut arguments: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
    arguments.extend(["--ro-bind".to_owned(), app, "/app".to_owned(), "/app/bin/true".to_owned()]);
    arguments
}

fn build(place: &Place, rounds: usize) {
    let tree = place.path("tree/files");
    fs::create_dir_all(&tree).expect("a project");
    let source = std::env::var_os("PACK_BENCH_TREE").map_or_else(|| PathBuf::from("/usr"), PathBuf::from);
    let (files, bytes) = copy_tree(&source, &tree, TREE_SIZE);
    fs::write(
        place.path("tree/pack.yaml"),
        "name: tree\nversion: '1'\nbase: host\nparts: {tree: {plugin: dump, source: files}}\n",
    )
    .expect("a manifest");
    place.own("tree");
    println!("\ntree: {files} files, {:.1} MB, from {}", bytes as f64 / 1e6, source.display());
    let (image, package) = (place.path("home/image.squashfs"), place.path("home/tree.pkg"));
    let mut table = Table::default();
    for _ in 0..rounds {
        let _ = fs::remove_file(&image);
        let words = "-comp zstd -Xcompression-level 15 -b 128K -no-fragments -all-root -no-xattrs -no-progress -quiet";
        let mut mksquashfs = place.command("mksquashfs", [tree.as_os_str(), image.as_os_str()]);
        mksquashfs.args(words.split_whitespace());
        table.add("mksquashfs", place.run_to_end(mksquashfs));
        let _ = fs::remove_file(&package);
        let tree = place.path("tree");
        let arguments = ["build".as_ref(), tree.as_os_str(), "-o".as_ref(), package.as_os_str()];
        table.add("pack build (parts, image, index, signature)", place.run_to_end(place.pack(arguments)));
    }
    table.print("build of the tree", "mksquashfs");
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len()) as f64 / 1e6;
    println!("\nsizes: mksquashfs {:.1} MB, pack {:.1} MB", size(&image), size(&package));
}

/// Copies regular files and folders in the order of their names until there are enough bytes.
fn copy_tree(source: &Path, target: &Path, limit: u64) -> (usize, u64) {
    let (mut files, mut bytes) = (0, 0);
    for entry in walkdir::WalkDir::new(source).sort_by_file_name().into_iter().flatten() {
        let place = target.join(entry.path().strip_prefix(source).expect("it lies below"));
        if entry.file_type().is_dir() {
            fs::create_dir_all(&place).expect("a folder");
        } else if entry.file_type().is_file() && fs::copy(entry.path(), &place).is_ok() {
            files += 1;
            bytes += entry.metadata().map_or(0, |metadata| metadata.len());
        }
        if bytes >= limit {
            break;
        }
    }
    (files, bytes)
}
