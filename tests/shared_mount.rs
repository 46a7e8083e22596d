//! Launches of one revision share a mount; how long it stays; and a refresh while apps start and run.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::{World, err, eventually, fail, out, succeed};

const LAUNCHES: usize = 1000;

/// A package `twin`, of a version that stands in two of its files; its app says whether they agree as often as it is asked.
fn build(world: &World, version: u32) -> PathBuf {
    let name = format!("twin-{version}");
    let manifest = format!(
        "name: twin\nversion: '{version}'\nbase: host\napps: {{twin: {{command: bin/twin}}}}\n\
         parts: {{p: {{plugin: dump, source: files}}}}\n"
    );
    let script = "#!/bin/sh\n\
        tell() { read -r a </app/a; read -r b </app/b; echo $PACK_VERSION $a $b; }\n\
        tell; while read -r line; do tell; done\n";
    let text = format!("{version}\n");
    world.project(&name, &manifest, &[("bin/twin", script), ("a", &text), ("b", &text)]);
    world.build(&name)
}

fn install(world: &World, package: &Path) {
    succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
}

/// How many keepers of the world's packages run.
fn keepers_of(world: &World) -> usize {
    let home = world.path("home").into_os_string().into_string().unwrap();
    let is_keeper = |folder: &Path| {
        std::fs::read_to_string(folder.join("comm")).is_ok_and(|name| name == "pack-keeper\n")
            && std::fs::read_dir(folder.join("fd")).is_ok_and(|files| {
                files
                    .flatten()
                    .any(|file| std::fs::read_link(file.path()).is_ok_and(|to| to.starts_with(&home)))
            })
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_keeper(&entry.path())).count()
}

#[test]
fn launches_share_a_mount_that_stays_for_a_while() {
    let world = World::with_key();
    install(&world, &build(&world, 1));
    let device = |linger: &str| {
        let mut run = world.command("sh");
        run.args(["-c", "echo 'stat -c %d /app' | \"$0\" run --shell twin"]).arg(support::pack_binary());
        run.env("PACK_LINGER", linger);
        out(&succeed(run))
    };
    let first = device("60");
    assert_eq!(device("60"), first);
    if support::is_root() {
        // Nobody else can look into a keeper.
        assert_eq!(keepers_of(&world), 1);
    }
    succeed(world.pack(["remove", "twin"]));
    eventually("the end of the removed package's keeper", || keepers_of(&world) == 0);
    install(&world, &build(&world, 1));
    device("0");
    eventually("the end of a keeper that was not to linger", || keepers_of(&world) == 0);
}

/// The number of the keeper that a launch has started and that runs now.
fn keeper_started_by(launcher: u32) -> Option<i32> {
    let parent = launcher.to_string();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once(") ")?;
        let is_keeper = name.ends_with("(pack-keeper") && !rest.starts_with('Z');
        let number = entry.file_name().to_str()?.parse().ok()?;
        (is_keeper && rest.split(' ').nth(1) == Some(parent.as_str())).then_some(number)
    })
}

#[test]
fn an_app_whose_mount_is_given_up_gets_errors() {
    let world = World::with_key();
    install(&world, &build(&world, 1));
    let mut run = world.pack(["run", "--shell", "twin"]);
    let mut app = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(app.stdout.take().unwrap()).lines();
    let mut ask = |script: &str| {
        writeln!(app.stdin.as_ref().unwrap(), "{script}").unwrap();
        heard.next().unwrap().unwrap()
    };
    assert_eq!(ask("cat /app/a"), "1");
    // One more than are replaced.
    let mut killed = None;
    for _ in 0..6 {
        let mut keeper = None;
        eventually("another keeper", || {
            keeper = keeper_started_by(app.id());
            keeper.is_some() && keeper != killed
        });
        let number = rustix::process::Pid::from_raw(keeper.unwrap()).unwrap();
        rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
        killed = keeper;
    }
    // What it has not read yet it cannot read any more, and does not wait for.
    assert_eq!(ask("timeout -s KILL 20 cat /app/b >/dev/null 2>&1; echo $?"), "1");
    drop(app.stdin.take());
    let told = app.wait_with_output().unwrap();
    assert!(err(&told).contains("no other could go on"), "{}", err(&told));
}

#[test]
fn settings_that_are_no_numbers_are_told() {
    let world = World::with_key();
    install(&world, &build(&world, 1));
    for variable in ["PACK_LINGER", "PACK_CACHE_MIB"] {
        let mut run = world.pack(["run", "twin"]);
        run.env(variable, "1s");
        let said = err(&fail(run, 2));
        assert!(said.contains(&format!("{variable} is no number: `1s`")), "{said}");
        assert!(said.contains("hint: give it a whole number"), "{said}");
    }
}

#[test]
fn race_of_launches_with_refreshes() {
    let world = World::with_key();
    let packages = [1, 2].map(|version| build(&world, version));
    install(&world, &packages[0]);
    let mut run = world.pack(["run", "twin"]);
    let mut old = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut heard = BufReader::new(old.stdout.take().unwrap()).lines();
    assert_eq!(heard.next().unwrap().unwrap(), "1 1 1");
    let (over, refreshes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for package in packages.iter().cycle().skip(1) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                install(&world, package);
                refreshes.fetch_add(1, Ordering::Relaxed);
            }
        });
        for launch in 0..LAUNCHES {
            let told = out(&succeed(quiet(world.pack(["run", "twin"]))));
            assert!(["1 1 1\n", "2 2 2\n"].contains(&told.as_str()), "launch {launch}: {told}");
        }
        over.store(true, Ordering::Relaxed);
    });
    let refreshes = refreshes.into_inner();
    assert!(refreshes > 20, "{refreshes}");
    // The app that was started first has seen them all pass.
    writeln!(old.stdin.as_ref().unwrap()).unwrap();
    assert_eq!(heard.next().unwrap().unwrap(), "1 1 1");
    drop(old.stdin.take());
    assert!(old.wait().unwrap().success());
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null());
    command
}
