//! The start of a trivial app: `unshare -Ur true` (the limit of what user namespaces cost), bubblewrap on a plain folder,
//! squashfuse_ll + bubblewrap + unmount, pack.
//!
//! - **warm**: whatever pack keeps running between launches runs.
//! - **cold**: nothing runs, and the image is not in the kernel's cache. Keepers are found and ended by root alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::place::{Place, is_root, there};
use crate::rows::{evict, server_of};
use crate::table::{Figure, Target, Unit, Verdict};

const BUBBLEWRAP: &str = "bubblewrap, plain folder";
const OVER_FUSE: &str = "squashfuse_ll + bubblewrap + unmount";
const PACK: &str = "pack run";
const UNSHARE: &str = "unshare -Ur true";

/// Samples that are thrown away: they warm the caches.
const WARM_UP: usize = 3;

/// The trivial app, as a folder, a package, and installed.
struct App {
    folder: PathBuf,
    package: PathBuf,
    /// The file that `pack run` mounts.
    installed: PathBuf,
    mount: PathBuf,
}

/// Measures starts, warm and cold.
pub fn start(place: &Place, rounds: usize) -> Vec<Verdict> {
    let app = App::new(place);
    let mut verdicts = warm(place, &app, rounds);
    verdicts.extend(cold(place, &app, rounds.div_ceil(3)));
    end_keepers(&app);
    verdicts
}

fn warm(place: &Place, app: &App, rounds: usize) -> Vec<Verdict> {
    let with_bubblewrap = there("bwrap");
    let with_squashfuse = with_bubblewrap && there("squashfuse_ll") && there("fusermount3");
    let mut figure = Figure::new("start of a trivial app, warm", Unit::Milliseconds)
        .target(PACK, Target::Times(1.0, BUBBLEWRAP));
    for round in 0..rounds + WARM_UP {
        let mut measure = |name: &str, command: Command| {
            let time = place.run_to_end(command);
            if round >= WARM_UP {
                figure.add(name, time.as_secs_f64() * 1e3);
            }
        };
        measure("setpriv alone (part of every row)", place.command("true", [""; 0]));
        measure(UNSHARE, place.command("unshare", ["-Ur", "true"]));
        if with_bubblewrap {
            measure(BUBBLEWRAP, place.command("bwrap", bubblewrap_arguments(&app.folder)));
        }
        if with_squashfuse {
            measure(OVER_FUSE, app.over_fuse(place));
        }
        measure(PACK, place.pack(["run", "trivial"]));
    }
    figure.print(if with_bubblewrap { BUBBLEWRAP } else { UNSHARE })
}

fn cold(place: &Place, app: &App, rounds: usize) -> Vec<Verdict> {
    if !is_root() {
        eprintln!("not root: keepers cannot be found and ended, the cold start is left out");
        return Vec::new();
    }
    let with_squashfuse = there("bwrap") && there("squashfuse_ll") && there("fusermount3");
    let mut figure = Figure::new("start of a trivial app, cold", Unit::Milliseconds)
        .target(PACK, Target::Times(0.7, OVER_FUSE));
    for round in 0..rounds + WARM_UP {
        let mut measure = |name: &str, command: Command| {
            end_keepers(app);
            evict(&app.package);
            evict(&app.installed);
            let time = place.run_to_end(command);
            if round >= WARM_UP {
                figure.add(name, time.as_secs_f64() * 1e3);
            }
        };
        if with_squashfuse {
            measure(OVER_FUSE, app.over_fuse(place));
        }
        measure(PACK, place.pack(["run", "trivial"]));
    }
    figure.print(if with_squashfuse { OVER_FUSE } else { PACK })
}

impl App {
    fn new(place: &Place) -> App {
        let folder = place.path("trivial/files");
        fs::create_dir_all(folder.join("bin")).expect("a project");
        fs::copy("/usr/bin/true", folder.join("bin/true")).expect("true");
        fs::write(
            place.path("trivial/pack.yaml"),
            "name: trivial\nversion: '1'\nbase: host\napps: {trivial: {command: bin/true}}\n\
             parts: {trivial: {plugin: dump, source: files}}\n",
        )
        .expect("a manifest");
        place.own(&place.path("trivial"));
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
        place.own(&mount);
        let installed = walkdir::WalkDir::new(place.path("home")).into_iter().flatten().find(|entry| {
            entry.file_type().is_file() && entry.path().extension().is_some_and(|kind| kind == "pkg")
        });
        let installed = installed.expect("it is installed").into_path();
        App { folder, package, installed, mount }
    }

    fn over_fuse(&self, place: &Place) -> Command {
        let script = format!(
            "squashfuse_ll \"$0\" \"$1\" && bwrap {} ; fusermount3 -u \"$1\"",
            bubblewrap_arguments(&self.mount).join(" ")
        );
        place
            .command("sh", ["-c".as_ref(), script.as_ref(), self.package.as_os_str(), self.mount.as_os_str()])
    }
}

/// Ends what serves the app, and waits until it is gone.
fn end_keepers(app: &App) {
    while is_root()
        && let Some(pid) = server_of("pack-keeper", &app.installed)
    {
        let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("no process is number 0");
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
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
