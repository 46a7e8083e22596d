//! Writing images of the tree of [`super::tree`] and of a million small files: beside mksquashfs with the same compressor,
//! level, block size and processors, without fragments and attributes.
//!
//! The writer alone is measured, in a process of its own, so that its memory can be told: what `pack build` does beside it is
//! the topic `build`. All that is read was read before, and is in memory; both write to the same folder.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;
use std::time::Instant;

use pack_builder::image::{self, Options, Plan};

use crate::place::Place;
use crate::table::{Figure, Target, Unit, Verdict};
use crate::tree::{MKSQUASHFS, Tree};

const OURS: &str = "pack";
const THEIRS: &str = "mksquashfs -no-fragments";

/// What the process of its own does: `image-write FOLDER FILE LEVEL STORE|-`. Prints the nanoseconds that writing and
/// reading back took, and the most memory that it had, in KiB.
pub fn run(arguments: &[String]) {
    let [folder, output, level, store] = arguments else { panic!("image-write FOLDER FILE LEVEL STORE") };
    let options = Options {
        epoch: 0,
        level: level.parse().expect("a level"),
        block_size: 128 << 10,
        parallel: available_parallelism().expect("processors"),
        blocks: (store != "-").then_some(Path::new(store)),
    };
    let begin = Instant::now();
    let file = File::options().read(true).write(true).create_new(true).open(output).expect("a new file");
    let plan = Plan::of(Path::new(folder)).expect("a tree that can be packed");
    let written = image::write(&plan, &file, &options, &mut |_| ()).expect("an image");
    let writing = begin.elapsed().as_nanos();
    image::read_back(&plan, &written, &file, &options).expect("the image is right");
    let reading = begin.elapsed().as_nanos() - writing;
    let status = fs::read_to_string("/proc/self/status").expect("our status");
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("our memory");
    println!("{writing} {reading} {}", most.trim().trim_end_matches(" kB"));
}

/// What was measured of one image.
struct Sample {
    /// Milliseconds.
    writing: f64,
    reading: f64,
    /// MiB.
    memory: f64,
    size: f64,
}

fn size_of(file: &Path) -> f64 {
    fs::metadata(file).expect("an image").len() as f64 / f64::from(1 << 20)
}

fn ours(place: &Place, folder: &Path, output: &Path, level: u8, store: Option<&Path>) -> Sample {
    let _ = fs::remove_file(output);
    let store = store.unwrap_or(Path::new("-"));
    let mut write = place.without_privilege(place.path("compare"), ["image-write"]);
    write.args([folder, output]).arg(level.to_string()).arg(store).stdout(std::process::Stdio::piped());
    let done = write.stderr(std::process::Stdio::inherit()).output().expect("a process");
    assert!(done.status.success(), "{write:?}");
    let text = String::from_utf8(done.stdout).expect("numbers");
    let numbers: Vec<f64> = text.split_whitespace().map(|word| word.parse().expect("a number")).collect();
    let [writing, reading, memory] = numbers[..] else { panic!("three numbers, not `{text}`") };
    Sample { writing: writing / 1e6, reading: reading / 1e6, memory: memory / 1024.0, size: size_of(output) }
}

fn theirs(place: &Place, folder: &Path, output: &Path, level: u8, more: &[&str]) -> Sample {
    let _ = fs::remove_file(output);
    let mut write = place.command("mksquashfs", [folder, output]);
    let level = level.to_string();
    write.args(MKSQUASHFS.iter().map(|word| if *word == "15" { level.as_str() } else { word }));
    write.args(["-no-fragments", "-mkfs-time", "0", "-all-time", "0"]).args(more);
    let writing = place.run_to_end(write).as_secs_f64() * 1e3;
    Sample { writing, reading: 0.0, memory: 0.0, size: size_of(output) }
}

/// The tree at two levels, and again after a change.
pub fn tree(place: &Place, tree: &Tree, rounds: usize) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    let output = [place.path("home/ours"), place.path("home/theirs")];
    // All of the tree is in memory, and both programs are.
    theirs(place, &tree.folder(), &output[1], 1, &[]);
    ours(place, &tree.folder(), &output[0], 1, None);
    for (level, most) in [(15, 0.95), (3, 1.0)] {
        let title = |what: &str| format!("image of the tree, zstd {level}: {what}");
        let mut time =
            Figure::new(&title("time"), Unit::Milliseconds).target(OURS, Target::Times(most, THEIRS));
        let mut size = Figure::new(&title("size"), Unit::Mebibytes).target(OURS, Target::Times(1.0, THEIRS));
        let mut check = Figure::new(&title("reading it back"), Unit::Milliseconds);
        if level == 15 {
            check = check.target("reading back", Target::Times(0.05, "both"));
        }
        for _ in 0..rounds {
            let theirs = theirs(place, &tree.folder(), &output[1], level, &[]);
            let ours = ours(place, &tree.folder(), &output[0], level, None);
            time.add(THEIRS, theirs.writing);
            time.add(OURS, ours.writing);
            size.add(THEIRS, theirs.size);
            size.add(OURS, ours.size);
            check.add("both", ours.writing + ours.reading);
            check.add("reading back", ours.reading);
        }
        verdicts.extend([time.print(THEIRS), size.print(THEIRS), check.print("both")].into_iter().flatten());
    }
    verdicts.extend(again(place, tree, rounds));
    verdicts
}

/// A build after one file has changed, with the blocks of the build before.
fn again(place: &Place, tree: &Tree, rounds: usize) -> Vec<Verdict> {
    let copy = place.path("home/copy");
    let status = Command::new("cp").arg("-a").args([tree.folder(), copy.clone()]).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot copy the tree");
    place.own(&copy);
    let changed = copy.join(middle_file(tree));
    let [store, output, clean] = ["store", "ours", "clean"].map(|name| place.path(&format!("home/{name}")));
    let (full, after) = ("with an empty store", "after one changed file");
    let mut figure = Figure::new("image of the tree, zstd 15, with its reading back", Unit::Milliseconds)
        .target(after, Target::Times(0.1, full));
    for round in 0..rounds {
        let _ = fs::remove_dir_all(&store);
        let first = ours(place, &copy, &output, 15, Some(&store));
        let mut file = File::options().append(true).open(&changed).expect("a file of the tree");
        writeln!(file, "round {round}").expect("a change");
        let second = ours(place, &copy, &output, 15, Some(&store));
        ours(place, &copy, &clean, 15, None);
        let equal = fs::read(&output).expect("an image") == fs::read(&clean).expect("an image");
        assert!(equal, "kept blocks have changed the image");
        figure.add(full, first.writing + first.reading);
        figure.add(after, second.writing + second.reading);
    }
    let _ = fs::remove_dir_all(&copy);
    figure.print(full)
}

/// The file in the middle of the tree's list.
pub fn middle_file(tree: &Tree) -> PathBuf {
    let list = fs::read_to_string(tree.list()).expect("the list of files");
    let lines: Vec<&str> = list.lines().collect();
    lines[lines.len() / 2].into()
}

/// Folders of the tree of a million files, and files in each.
const MANY: (usize, usize) = (1000, 1000);

/// An image of a million small files, of a few hundred different sizes.
pub fn million(place: &Place, rounds: usize) -> Vec<Verdict> {
    let folder = place.path("home/million");
    eprintln!("making a million files …");
    write_million(&folder).expect("a million files");
    place.own(&folder);
    let output = [place.path("home/ours"), place.path("home/theirs")];
    let duplicates = "mksquashfs -no-fragments -no-duplicates";
    let mut time = Figure::new("image of a million files, zstd 15: time", Unit::Milliseconds)
        .target(OURS, Target::Times(1.0, duplicates));
    let mut size = Figure::new("image of a million files, zstd 15: size", Unit::Mebibytes);
    let mut check = Figure::new("image of a million files, zstd 15: reading it back", Unit::Milliseconds);
    let mut memory = Figure::new("image of a million files, zstd 15: memory at its most", Unit::Mebibytes)
        .target(OURS, Target::AtMost(1024.0));
    for _ in 0..rounds {
        // It compares each file with all of its size that came before, which takes it many times as long.
        let theirs = theirs(place, &folder, &output[1], 15, &["-no-duplicates"]);
        let ours = ours(place, &folder, &output[0], 15, None);
        time.add(duplicates, theirs.writing);
        time.add(OURS, ours.writing);
        size.add(duplicates, theirs.size);
        size.add(OURS, ours.size);
        memory.add(OURS, ours.memory);
        check.add(OURS, ours.reading);
    }
    let _ = fs::remove_dir_all(&folder);
    let figures = [time.print(duplicates), size.print(duplicates), memory.print(OURS), check.print(OURS)];
    figures.into_iter().flatten().collect()
}

fn write_million(root: &Path) -> std::io::Result<()> {
    for folder in 0..MANY.0 {
        let folder_path = root.join(format!("folder-{folder:04}"));
        fs::create_dir_all(&folder_path)?;
        for file in 0..MANY.1 {
            let line = format!("file {file} of folder {folder}: all work and no play\n");
            let text = line.repeat(1 + (file * 7 + folder) % 40);
            fs::write(folder_path.join(format!("file-{file:04}.txt")), text)?;
        }
    }
    Ok(())
}
