//! The start of a trivial app on a base: beside the same app on the host's /usr.
//!
//! The base is packaging/bases/debian-12, built and installed for the measuring user; so Debian's archive is needed. The app is that
//! of the topic `start`, so that what differs is the root folder alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::place::Place;
use crate::table::{Figure, Target, Unit, Verdict};

const HOST: &str = "base: host";
/// An app's name, its base, its rootfs, its row.
const APPS: [(&str, &str, &str, &str); 4] = [
    ("on-host", "host", "app", HOST),
    ("on-host-merged", "host", "merged", "base: host, rootfs: merged"),
    ("on-base", "debian-12", "app", "base: debian-12"),
    ("on-base-merged", "debian-12", "merged", "base: debian-12, rootfs: merged"),
];
/// Samples that are thrown away: they warm the caches.
const WARM_UP: usize = 3;

/// Measures warm starts.
pub fn base(place: &Place, rounds: usize) -> Vec<Verdict> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/bases/debian-12/pack.yaml");
    install(place, "debian-12", &fs::read_to_string(project).expect("the base's manifest"));
    for (name, base, rootfs, _) in APPS {
        let files = place.path(name).join("files/usr/bin");
        fs::create_dir_all(&files).expect("a project");
        fs::copy("/usr/bin/true", files.join("trivial")).expect("true");
        let manifest = format!(
            "name: {name}\nversion: '1'\nbase: {base}\nrootfs: {rootfs}\napps: {{{name}: {{command: usr/bin/trivial}}}}\n\
             parts: {{trivial: {{plugin: dump, source: files}}}}\n"
        );
        install(place, name, &manifest);
    }
    let mut figure = Figure::new("start of a trivial app by what it runs on, warm", Unit::Milliseconds)
        .target("base: debian-12", Target::Times(1.25, HOST))
        .target("base: debian-12, rootfs: merged", Target::Times(1.5, HOST));
    for round in 0..rounds + WARM_UP {
        for (name, _, _, row) in APPS {
            let time = place.run_to_end(place.pack(["run", name]));
            if round >= WARM_UP {
                figure.add(row, time.as_secs_f64() * 1e3);
            }
        }
    }
    figure.print(HOST)
}

/// Builds and installs a project of the place.
fn install(place: &Place, name: &str, manifest: &str) {
    fs::create_dir_all(place.path(name)).expect("a project");
    fs::write(place.path(name).join("pack.yaml"), manifest).expect("a manifest");
    place.own(&place.path(name));
    let package = place.path(&format!("{name}.pkg"));
    let run = |mut command: Command, argument: &Path| {
        command.arg(argument);
        place.run_to_end(command)
    };
    let mut build = place.pack(["build", "-o"]);
    build.arg(&package);
    run(build, &place.path(name));
    run(place.pack(["install", "--yes"]), &package);
}
