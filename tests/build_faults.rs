//! Builds that are killed, interrupted, or out of space: what is told, what is left, and that the next build is right.

mod support;

use std::fs;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use support::{World, err, eventually, fail, out, succeed};

/// Three parts of all kinds: copied, built by a script with another one's result, and patched in stage and prime.
const MANIFEST: &str = r#"name: tool
version: '1.0'
base: host
apps: {tool: {command: bin/tool}}
parts:
  data: {plugin: dump, source: data, organize: {run: bin/tool}}
  lib:
    plugin: nil
    source: lib
    override-build: |
      for n in $(seq 40); do cat text > "$PACK_PART_INSTALL/lib-$n"; done
      ln "$PACK_PART_INSTALL/lib-1" "$PACK_PART_INSTALL/lib-one"
  app:
    plugin: nil
    after: [lib]
    override-build: cat "$PACK_STAGE"/lib-* > "$PACK_PART_INSTALL/all"
    override-stage: |
      craftctl default
      wc -c < all > size
    override-prime: |
      craftctl default
      rm lib-2
      echo patched >> lib-3
"#;

/// How often the kill test kills; `PACK_KILL_ROUNDS` is for a long run.
const KILL_ROUNDS: u64 = 25;

fn world() -> World {
    let world = World::with_key();
    world.write("tool/pack.yaml", MANIFEST);
    world.write_program("tool/data/run", "#!/bin/sh\necho tool\n");
    for n in 0..40 {
        world.write(&format!("tool/data/share/{n}"), format!("{n}\n").repeat(n * 50));
    }
    world.write("tool/lib/text", "one\n");
    world
}

/// The two states that the project changes between.
fn set_state(world: &World, state: u64) {
    world.write("tool/lib/text", ["one\n", "another\n"][state as usize % 2]);
    world.write("tool/data/share/7", ["seven", "other"][state as usize / 2 % 2]);
}

/// The package that the project gives, built in the folder as it is.
fn package(world: &World) -> Vec<u8> {
    succeed(world.pack(["build", "-q", "tool", "-o", "out.pkg"]));
    fs::read(world.home("out.pkg")).unwrap()
}

/// Starts a build in a process group of its own.
fn start(world: &World) -> Child {
    let mut command = world.pack(["build", "tool", "-o", "killed.pkg"]);
    command.process_group(0).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_build_that_is_killed_anywhere_is_taken_up_by_the_next() {
    let world = world();
    let clean: Vec<Vec<u8>> = (0..4)
        .map(|state| {
            set_state(&world, state);
            succeed(world.pack(["clean", "-C", "tool", "-q"]));
            package(&world)
        })
        .collect();
    assert!((1..4).all(|state| clean[state] != clean[0]));
    // As long as a whole build takes here and now, so that every place is hit.
    let begun = std::time::Instant::now();
    succeed(world.pack(["clean", "-C", "tool", "-q"]));
    package(&world);
    let whole = begun.elapsed().as_micros() as u64;
    let rounds =
        std::env::var("PACK_KILL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILL_ROUNDS);
    // Numbers that jump about, the same in every run (a linear congruential generator).
    let mut random = 1_u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for round in 0..rounds {
        let state = next(4);
        set_state(&world, state);
        if next(4) == 0 {
            succeed(world.pack(["clean", "-C", "tool", "-q"]));
        }
        let mut killed = Vec::new();
        for _ in 0..=next(2) {
            let mut build = start(&world);
            let wait = next(whole);
            std::thread::sleep(Duration::from_micros(wait));
            // It may be over already.
            let _ = killpg(Pid::from_raw(build.id() as i32), Signal::SIGKILL);
            build.wait().unwrap();
            killed.push(wait);
        }
        assert!(
            fs::read(world.home("killed.pkg")).is_ok_and(|bytes| clean.contains(&bytes))
                || !world.home("killed.pkg").exists(),
            "half a package"
        );
        let _ = fs::remove_file(world.home("killed.pkg"));
        assert!(
            package(&world) == clean[state as usize],
            "round {round}, state {state}, killed after {killed:?} µs"
        );
    }
    let left: Vec<_> =
        fs::read_dir(world.home("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with(".pack-")), "{left:?}");
}

/// The processes whose command line has this word.
fn processes_with(word: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| {
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
        })
        .collect()
}

#[test]
fn ctrl_c_ends_the_processes_of_every_step_and_keeps_what_is_complete() {
    let world = world();
    succeed(world.pack(["clean", "-C", "tool", "-q"]));
    let whole = package(&world);
    for (number, step) in ["pull", "build", "stage", "prime"].into_iter().enumerate() {
        succeed(world.pack(["clean", "-C", "tool", "-q"]));
        // A word that no other process has, nor another run of this test.
        let word = format!("{}.{number}", 1_000_000 + std::process::id());
        let slow =
            format!("  zlast:\n    plugin: nil\n    override-{step}: |\n      sleep {word} & sleep {word}\n");
        world.write("tool/pack.yaml", format!("{MANIFEST}{slow}"));
        let signal = if number == 1 { Signal::SIGTERM } else { Signal::SIGINT };
        let mut build = start(&world);
        eventually("the step", || processes_with(&word).len() >= 2);
        // As `kill` does: only to pack, where Ctrl-C would reach its children as well.
        kill(Pid::from_raw(build.id() as i32), signal).unwrap();
        let mut said = String::new();
        build.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = build.wait().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(128 + signal as i32), None), "{step}: {said}");
        assert!(said.contains(&format!("interrupted: {step} zlast")) && said.contains("hint: "), "{said}");
        eventually("the end of its processes", || processes_with(&word).is_empty());
        assert!(!world.home("killed.pkg").exists());
        // Without the slow part, what was complete is not done again.
        world.write("tool/pack.yaml", MANIFEST);
        let again = err(&succeed(world.pack(["build", "tool", "-v", "-o", "out.pkg"])));
        assert!(again.contains("pull data: nothing changed\n"), "{step}: {again}");
        assert_eq!(again.contains("build lib: nothing changed\n"), step != "pull", "{step}: {again}");
        assert!(fs::read(world.home("out.pkg")).unwrap() == whole, "{step}");
    }
}

#[test]
fn a_full_disk_is_told_and_the_next_build_is_right() {
    let world = World::new();
    // The disk is seen by one shell alone, which so does all of it.
    let script = r#"
set -e
mount -t tmpfs -o size=64m tmpfs "$DISK"
# Told all of it, mount(8) adds no options that it reads back, such as a user who is nobody in here.
remount() { mount -t tmpfs -o remount,size=$1 tmpfs "$DISK"; }
mkdir -p "$DISK/tool/data"
printf 'name: tool\nversion: "1"\nbase: host\nparts:\n  a: {plugin: dump, source: small}\n  b: {plugin: dump, source: data}\n' \
    > "$DISK/tool/pack.yaml"
mkdir "$DISK/tool/small"
echo small > "$DISK/tool/small/x"
head -c 3000000 /dev/urandom > "$DISK/tool/data/noise"
cd "$DISK"
"$0" build -q --unsigned tool -o right.pkg
sum=$(sha256sum < right.pkg)
rm right.pkg
"$0" clean -q -C tool
for size in 4m 7m; do
    remount $size
    status=0
    "$0" build --unsigned tool -o full.pkg 2> said || status=$?
    [ $status = 1 ]
    ! [ -e full.pkg ]
    cat said
    echo "== $size"
done
remount 64m
"$0" build -v --unsigned tool -o full.pkg 2>&1
[ "$sum" = "$(sha256sum < full.pkg)" ]
"#;
    fs::create_dir(world.path("disk")).unwrap();
    let mut command = world.command("unshare");
    command.args(["-Urm", "sh", "-c", script]).arg(support::pack_binary()).env("DISK", world.path("disk"));
    let said = out(&succeed(command));
    let parts: Vec<&str> = said.split("== ").collect();
    assert!(parts[0].contains("cannot pull the part `b`"), "{said}");
    assert!(parts[1].contains("cannot make the package `full.pkg`"), "{said}");
    assert!(parts[0].contains("No space left on device"), "{said}");
    assert!(parts[0].contains("hint: make room and build again"), "{said}");
    assert!(parts[2].contains("pull a: nothing changed\n"), "{said}");
    assert!(parts[2].contains("prime b: nothing changed\n"), "{said}");
}

#[test]
fn a_source_that_vanished_is_told() {
    let world = world();
    package(&world);
    fs::rename(world.home("tool/lib"), world.home("tool/gone")).unwrap();
    let said = err(&fail(world.pack(["build", "tool", "-o", "out.pkg"]), 1));
    assert!(
        said.contains("cannot pull the part `lib`") && said.contains("cannot find the source `lib`"),
        "{said}"
    );
    fs::rename(world.home("tool/gone"), world.home("tool/lib")).unwrap();
    let said = err(&succeed(world.pack(["build", "tool", "-o", "out.pkg"])));
    assert!(said.starts_with("pull lib\n1 step run"), "{said}");
}

#[test]
fn a_terminal_gets_a_bar_a_step_and_a_line_when_it_is_done() {
    let world = world();
    let manifest = format!(
        "{MANIFEST}  zlast: {{plugin: nil, override-build: \"echo working; printf '50%%\\\\r'; sleep 1\"}}\n"
    );
    world.write("tool/pack.yaml", manifest);
    // script(1) gives the terminal.
    let pack = support::pack_binary().display().to_string();
    let mut command: Command = world.command("script");
    command
        .args(["-qec", &format!("{pack} build --step build tool"), "/dev/null"])
        .env_remove("CI")
        .env("TERM", "xterm");
    let shown = out(&succeed(command));
    assert!(shown.contains("build zlast: 50%"), "{shown:?}");
    assert!(shown.contains("[9/9]"), "{shown:?}");
    let lines: Vec<&str> = shown.lines().filter(|line| line.contains("build zlast 1.")).collect();
    assert!(!lines.is_empty(), "{shown:?}");
}
