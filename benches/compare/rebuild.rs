//! A whole `pack build` of the tree of [`super::tree`] after one file has changed, beside one that begins with nothing: parts,
//! lint, documents, image, reading back, index. Both are of the same project, without a signature, and both packages have
//! the same bytes.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::place::Place;
use crate::table::{Figure, Target, Unit, Verdict};
use crate::tree::{Tree, write_project};

/// Measures it.
pub fn rebuild(place: &Place, tree: &Tree, rounds: usize) -> Vec<Verdict> {
    let (project, clean) = (place.path("home/again"), place.path("home/clean"));
    let (package, other) = (place.path("home/again.pkg"), place.path("home/clean.pkg"));
    for folder in [&project, &clean] {
        write_project(folder, "tree", &tree.folder());
        place.own(folder);
    }
    let build = |project: &Path, package: &Path| {
        let arguments = [
            "build".as_ref(),
            project.as_os_str(),
            "--unsigned".as_ref(),
            "-o".as_ref(),
            package.as_os_str(),
        ];
        place.run_to_end(place.pack(arguments)).as_secs_f64() * 1e3
    };
    let changed = super::image::middle_file(tree);
    let (full, after) = ("with an empty work folder", "after one changed file");
    let (nothing, most) = ("with nothing changed", Target::Times(0.1, full));
    let mut figure = Figure::new("pack build of the tree", Unit::Milliseconds).target(after, most);
    build(&project, &package);
    for round in 0..rounds {
        for folder in [&project, &clean] {
            let file = folder.join("files").join(&changed);
            let mut file = File::options().append(true).open(file).expect("a file of the tree");
            writeln!(file, "round {round}").expect("a change");
        }
        figure.add(after, build(&project, &package));
        let _ = fs::remove_dir_all(clean.join(".pack"));
        figure.add(full, build(&clean, &other));
        let equal = fs::read(&package).expect("a package") == fs::read(&other).expect("a package");
        assert!(equal, "what an earlier build left has changed the package");
        figure.add(nothing, build(&project, &package));
    }
    for folder in [&project, &clean] {
        let _ = fs::remove_dir_all(folder);
    }
    figure.print(full)
}
