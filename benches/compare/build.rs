//! Building the tree of [`super::tree`]: mksquashfs at the same compression (zstd 15, 128 KiB, no fragments), and
//! `pack build` with all that it does besides.

use std::fs;
use std::path::Path;

use crate::place::Place;
use crate::table::{Figure, Unit, Verdict};
use crate::tree::{MKSQUASHFS, Tree, write_project};

/// Measures the build.
pub fn build(place: &Place, tree: &Tree, rounds: usize) -> Vec<Verdict> {
    let project = place.path("project");
    write_project(&project, "tree", &tree.folder());
    place.own(&project);
    let (image, package) = (place.path("home/image.squashfs"), place.path("home/tree.pkg"));
    let mut figure = Figure::new("build of the tree", Unit::Milliseconds);
    for _ in 0..rounds {
        let _ = fs::remove_file(&image);
        let mut mksquashfs = place.command("mksquashfs", [tree.folder().as_os_str(), image.as_os_str()]);
        mksquashfs.args(MKSQUASHFS).arg("-no-fragments");
        figure.add("mksquashfs", place.run_to_end(mksquashfs).as_secs_f64() * 1e3);
        let _ = fs::remove_file(&package);
        let arguments = ["build".as_ref(), project.as_os_str(), "-o".as_ref(), package.as_os_str()];
        let time = place.run_to_end(place.pack(arguments));
        figure.add("pack build (parts, image, index, signature)", time.as_secs_f64() * 1e3);
    }
    let verdicts = figure.print("mksquashfs");
    let size = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len()) as f64 / 1e6;
    println!("\nsizes: mksquashfs {:.1} MB, pack {:.1} MB", size(&image), size(&package));
    verdicts
}
