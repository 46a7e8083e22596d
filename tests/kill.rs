//! The real program, killed at each call that changes a file: what is there is the old state or the new one, to readers
//! at once, and in every file after the next run. strace does the killing.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use support::{World, err, fail, succeed};

/// Calls that change something that stays.
const CALLS: [&str; 12] = [
    "renameat2",
    "rename",
    "unlinkat",
    "unlink",
    "mkdirat",
    "mkdir",
    "symlinkat",
    "fchmod",
    "fsync",
    "syncfs",
    "write",
    "copy_file_range",
];

fn manifest(version: &str, second: &str) -> String {
    format!(
        "name: greeter\nversion: '{version}'\nbase: host\n\
         apps: {{greeter: {{command: bin/greeter, desktop: greeter.desktop}}, {second}: {{command: bin/greeter}}}}\n\
         parts: {{p: {{plugin: dump, source: files}}}}\n"
    )
}

/// A world where revision 1 of `greeter` is installed, with data, and `2.pkg` is there.
fn world() -> World {
    let world = World::with_key();
    for (version, second) in [("1", "one"), ("2", "two")] {
        let entry = format!("[Desktop Entry]\nType=Application\nName=Greeter {version}\nExec=greeter\n");
        let files = [("bin/greeter", "#!/bin/sh\n"), ("greeter.desktop", entry.as_str())];
        world.project(version, &manifest(version, second), &files);
        world.build(version);
    }
    succeed(world.pack(["install", "1.pkg"]));
    world.write(".local/share/pack/data/greeter/x1/deep/er/file", "mine");
    world.write(".local/share/pack/data/greeter/common/file", "mine");
    world
}

/// Every file of what is installed and exported, with its content; times differ from run to run.
fn snapshot(world: &World) -> BTreeMap<PathBuf, String> {
    let root = world.home(".local");
    let mut found = BTreeMap::new();
    for entry in walkdir::WalkDir::new(&root) {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(&root).unwrap().to_owned();
        let content = match entry.file_type() {
            kind if kind.is_symlink() => format!("{:?}", std::fs::read_link(entry.path()).unwrap()),
            kind if kind.is_file() => {
                String::from_utf8_lossy(&std::fs::read(entry.path()).unwrap()).into_owned()
            }
            _ => "folder".to_owned(),
        };
        let lines = content.lines().filter(|line| !line.contains("\"installed\":"));
        found.insert(path, lines.collect::<Vec<_>>().join("\n"));
    }
    found.remove(Path::new("share/pack/lock"));
    // The folder of trusted keys is made by the verb that recovers.
    found.remove(Path::new("share/pack/trusted"));
    found
}

/// Runs a verb that is killed at the `number`th `call`; whether it was.
fn kill(world: &World, verb: &[&str], call: &str, number: usize) -> (bool, Output) {
    let inner = world.pack(verb);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={number}")]);
    strace.arg(inner.get_program()).args(inner.get_args());
    strace
        .env_clear()
        .envs(world.environment())
        .current_dir(world.home(""))
        .stdin(std::process::Stdio::null());
    let output = strace.output().unwrap();
    (std::os::unix::process::ExitStatusExt::signal(&output.status) == Some(9), output)
}

/// Puts back what is installed as it was saved.
fn restore(world: &World) {
    std::fs::remove_dir_all(world.home(".local")).unwrap();
    copy(&world.path("saved"), &world.home(".local"));
}

fn copy(from: &Path, to: &Path) {
    let mut command = Command::new("cp");
    command.arg("-a").args([from, to]);
    succeed(command);
}

fn kill_everywhere(verb: &[&str]) {
    let world = world();
    copy(&world.home(".local"), &world.path("saved"));
    let before = snapshot(&world);
    succeed(world.pack(verb));
    let after = snapshot(&world);
    let mut kills = 0;
    for call in CALLS {
        for number in 1.. {
            restore(&world);
            let (was_killed, output) = kill(&world, verb, call, number);
            if !was_killed {
                assert!(output.status.success(), "{}", err(&output));
                break;
            }
            kills += 1;
            let context = format!("{verb:?} killed at {call} {number}");
            let listed = world.pack(["list"]).output().unwrap();
            let is_told = listed.status.success() || err(&listed).contains("being removed");
            assert!(is_told, "{context}: {}", err(&listed));
            // Any verb that changes something recovers first; this one has nothing to remove.
            let recovered = fail(world.pack(["trust", "remove", &"0".repeat(64)]), 1);
            assert!(!err(&recovered).contains("warning"), "{context}: {}", err(&recovered));
            let found = snapshot(&world);
            assert!(found == before || found == after, "{context}: {}", differences(&found, &before, &after));
        }
    }
    assert!(kills > 20, "{kills}");
}

fn differences(
    found: &BTreeMap<PathBuf, String>,
    before: &BTreeMap<PathBuf, String>,
    after: &BTreeMap<PathBuf, String>,
) -> String {
    let paths = found.keys().chain(before.keys()).chain(after.keys());
    let differ =
        paths.filter(|path| found.get(*path) != before.get(*path) || found.get(*path) != after.get(*path));
    differ.map(|path| format!("\n{path:?}: {:?}", found.get(path))).collect()
}

#[test]
fn install() {
    kill_everywhere(&["install", "2.pkg"]);
}

#[test]
fn remove() {
    kill_everywhere(&["remove", "greeter"]);
}

#[test]
fn purge() {
    kill_everywhere(&["remove", "--purge", "--yes", "greeter"]);
}
