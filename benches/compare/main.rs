//! Measures pack beside its peers, in one run, interleaved, and prints medians, ranges, ratios, and what was to be
//! reached.
//!
//! ```text
//! cargo bench --bench compare                          everything
//! cargo bench --bench compare -- TOPIC… [ROUNDS]
//!   start      start of a trivial app, warm and cold: beside bubblewrap, and squashfuse_ll with bubblewrap
//!   base       start of a trivial app on a base, at /app and merged: beside the host's /usr
//!   sandbox    what the sandbox costs beyond its namespaces
//!   build      build of the tree: beside mksquashfs
//!   rebuild    build of the tree after one changed file: beside one that begins with nothing
//!   image      both of the following
//!   image-tree      writing the tree's image at two levels, and again after a change: beside mksquashfs
//!   image-million   writing the image of a million small files: beside mksquashfs
//!   mount      all of the following
//!   walk       find(1) over the tree, warm and cold
//!   read       every file of the tree, warm, cold, cold with two readers
//!   random     4 KiB at random places of a large file, cold
//!   python     start of the tree's own Python, warm and cold
//!   million    opening an image of a million files
//!   memory     what the server takes once everything was read
//!   checking   what the checks cost
//! ```
//!
//! The rows of the mount are a plain folder, the kernel's squashfs over a loop device, squashfuse_ll, erofsfuse, and pack
//! as a user without privilege and with every byte checked. Run it as root for all of them: the kernel's mounts need it,
//! and so does dropping all caches; what is left out is told. As root it measures as the user nobody. Peers come from
//! Debian's packages (`packaging/install-dependencies.sh bench`); Debian 12 has no erofsfuse, and its mkfs.erofs no
//! zstd, so that row is lz4hc where there is one.
//!
//! | variable | for |
//! |---|---|
//! | `PACK_BENCH_CACHE` | where the tree and its images are kept (`tree` says how they are made); `target/tmp/compare` |
//! | `PACK_BENCH_ROWS` | rows of the mount to measure: `folder,kernel,fragments,squashfuse,erofsfuse,pack` |
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod base;
mod build;
mod image;
mod mount;
mod place;
mod probe;
mod rebuild;
mod rows;
mod sandbox;
mod start;
mod table;
mod tree;

use std::os::unix::process::CommandExt;
use std::process::Command;

use mount::Bench;
use place::Place;
use rows::Row;
use table::{Verdict, summarise};
use tree::Tree;

const TOPICS: &[&str] = &[
    "start",
    "base",
    "sandbox",
    "build",
    "rebuild",
    "image-tree",
    "image-million",
    "walk",
    "read",
    "random",
    "python",
    "million",
    "memory",
    "checking",
];
/// Topics that `image` stands for.
const IMAGE: &[&str] = &["image-tree", "image-million"];
/// Topics that `mount` stands for.
const MOUNT: &[&str] = &["walk", "read", "random", "python", "million", "memory", "checking"];

fn main() {
    // cargo bench passes `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [word, at] = arguments.as_slice()
        && word == "probe"
    {
        return probe::run(at.as_ref());
    }
    if let [word, rounds] = arguments.as_slice()
        && word == "sandbox-rounds"
    {
        return sandbox::run(rounds.parse().expect("a number"));
    }
    if let [word, rest @ ..] = arguments.as_slice()
        && word == "image-write"
    {
        return image::run(rest);
    }
    let (topics, rounds) = parse(&arguments).unwrap_or_else(|word| {
        eprintln!("usage: compare [{}|image|mount]… [ROUNDS], not `{word}`", TOPICS.join("|"));
        std::process::exit(2)
    });
    in_own_mount_namespace();
    let place = Place::new();
    let mut verdicts = Vec::new();
    if topics.contains(&"start") {
        verdicts.extend(start::start(&place, rounds.unwrap_or(60)));
    }
    if topics.contains(&"base") {
        verdicts.extend(base::base(&place, rounds.unwrap_or(60)));
    }
    if topics.contains(&"sandbox") {
        verdicts.extend(sandbox::sandbox(&place, rounds.unwrap_or(300)));
    }
    if topics.iter().any(|topic| !["start", "base", "sandbox"].contains(topic)) {
        let tree = Tree::new(&place);
        let mounts = topics.iter().any(|topic| MOUNT.contains(topic));
        if mounts {
            tree.write_images(&place);
            rows::example(&place, "mount-run");
        }
        let rows = if mounts { Row::possible(&tree) } else { Vec::new() };
        let bench = Bench { place: &place, tree: &tree, rows };
        for topic in topics {
            verdicts.extend(measure(topic, &bench, rounds));
        }
    }
    summarise(&verdicts);
}

/// Starts the program over in a mount namespace of its own, as root: any sandbox that somebody starts meanwhile would
/// otherwise hold copies of the mounts that are measured, and their servers would not end.
fn in_own_mount_namespace() {
    const DONE: &str = "PACK_BENCH_NAMESPACE";
    if place::is_root() && std::env::var_os(DONE).is_none() {
        let mut again = Command::new("unshare");
        again.args(["--mount", "--propagation", "private", "--"]);
        again.arg(std::env::current_exe().expect("our own name")).args(std::env::args_os().skip(1));
        panic!("unshare: {}", again.env(DONE, "1").exec());
    }
}

/// The topics, in the order of [`TOPICS`], and the number of rounds.
fn parse(arguments: &[String]) -> Result<(Vec<&'static str>, Option<usize>), String> {
    let (mut wanted, mut rounds) = (Vec::new(), None);
    for argument in arguments {
        match argument.as_str() {
            "image" => wanted.extend_from_slice(IMAGE),
            "mount" => wanted.extend_from_slice(MOUNT),
            word => match (TOPICS.iter().find(|topic| **topic == word), word.parse()) {
                (Some(topic), _) => wanted.push(topic),
                (None, Ok(number)) if number > 0 => rounds = Some(number),
                _ => return Err(word.to_owned()),
            },
        }
    }
    let all = wanted.is_empty();
    Ok((TOPICS.iter().copied().filter(|topic| all || wanted.contains(topic)).collect(), rounds))
}

fn measure(topic: &str, bench: &Bench<'_>, rounds: Option<usize>) -> Vec<Verdict> {
    let few = rounds.unwrap_or(5);
    match topic {
        "build" => build::build(bench.place, bench.tree, rounds.unwrap_or(3)),
        "rebuild" => rebuild::rebuild(bench.place, bench.tree, rounds.unwrap_or(3)),
        "image-tree" => image::tree(bench.place, bench.tree, rounds.unwrap_or(3)),
        "image-million" => image::million(bench.place, rounds.unwrap_or(3)),
        "walk" => mount::walk(bench, few),
        "read" => mount::read(bench, few),
        "random" => mount::random(bench, few),
        "python" => mount::start_python(bench, few),
        "million" => mount::million(bench, few),
        "memory" => mount::memory(bench),
        "checking" => mount::checking(bench, few),
        _ => Vec::new(),
    }
}
