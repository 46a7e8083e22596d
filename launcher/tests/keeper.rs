//! The keeper that launches share: that they do, how it ends, what happens when it is killed, and the races between them, each
//! run a thousand times. Every launch here is a real process of an unprivileged user with a real mount.

mod mount_support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use mount_support::mounted::{Stage, skip};
use mount_support::session::Session;
use mount_support::tree::noise;
use mount_support::{Case, wait_for};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::{Pid, Signal, kill_process};

const ROUNDS: usize = 1000;
/// Long enough that no test waits for it.
const FOR_EVER: &str = "600000";

/// A stage with a place for keepers, and a package with a small and a large file.
struct Scene {
    stage: Stage,
    case: Case,
}

impl Scene {
    fn new() -> Option<Scene> {
        if skip() {
            return None;
        }
        let make = |root: &Path| {
            fs::write(root.join("small"), "contents\n").unwrap();
            fs::write(root.join("large"), noise(4 << 20, 1)).unwrap();
        };
        Some(Scene { stage: Stage::new(), case: Case::new(make, &["-comp", "zstd"]) })
    }

    fn place(&self) -> PathBuf {
        self.stage.out().join("place")
    }

    /// A launch at `place`, of a shell script that sees the package in its working folder.
    fn launch_at(&self, place: &Path, linger: &str, options: &[&str], script: &str) -> Command {
        let place = place.to_str().unwrap();
        let options = [&["--place", place, "--linger", linger], options].concat();
        let mut command = self.stage.mount_run(&options, &self.case.package());
        command.args(["sh", "-c"]).arg(format!("cd '{}' || exit 99\n{script}", self.stage.at().display()));
        command
    }

    fn launch(&self, linger: &str, options: &[&str], script: &str) -> Command {
        self.launch_at(&self.place(), linger, options, script)
    }

    /// What a launch writes, which must succeed.
    fn output(&self, linger: &str, script: &str) -> String {
        finish(self.launch(linger, &[], script).output().unwrap())
    }

    /// A launch that answers questions.
    fn session(&self, name: &str) -> Asked {
        self.session_that(name, &["--successors", "1000000"])
    }

    fn session_that(&self, name: &str, options: &[&str]) -> Asked {
        let pid = self.stage.out().join(name);
        let place = self.place();
        let shared =
            ["--place", place.to_str().unwrap(), "--linger", FOR_EVER, "--pid", pid.to_str().unwrap()];
        let session = Session::start(&self.stage, &[&shared, options].concat(), &self.case.package());
        Asked { session, pid }
    }
}

/// A launch that goes on until it is ended, dropped or killed.
struct Asked {
    session: Session,
    pid: PathBuf,
}

impl Asked {
    fn ask(&mut self, script: &str) -> String {
        self.session.begin(script);
        self.hear()
    }

    fn hear(&mut self) -> String {
        let heard = self.session.hear();
        heard.rsplit_once("end ").unwrap().0.trim_end().to_owned()
    }

    fn keeper(&self) -> i32 {
        wait_for("no number of a keeper", || fs::read_to_string(&self.pid).ok()?.parse().ok())
    }
}

fn finish(output: Output) -> String {
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{text}{errors}", output.status);
    text.trim().to_owned()
}

fn signal(process: i32, signal: Signal) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(process).unwrap(), signal);
}

/// Whether a process runs still: one that has ended and that nobody has waited for is a zombie.
fn is_alive(process: i32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn wait_for_end(process: i32) {
    wait_for("the keeper goes on", || (!is_alive(process)).then_some(()));
}

/// A script that tells the mount's device: the number of its superblock.
const DEVICE: &str = "stat -c %d .";
/// A script that reads a file past the kernel's cache, and so asks the keeper, and tells its hash.
const READ: &str = "dd if=large iflag=nocache count=0 2> /dev/null; sha256sum < large";

#[test]
fn launches_share_a_keeper_and_its_mount() {
    let Some(scene) = Scene::new() else { return };
    let mut first = scene.session("first");
    let mut second = scene.session("second");
    assert_eq!(first.ask(DEVICE), second.ask(DEVICE));
    assert_eq!(first.keeper(), second.keeper());
    // It goes on without the launch that started it, and without any.
    let (keeper, device) = (first.keeper(), first.ask(DEVICE));
    first.session.kill();
    assert_eq!(second.ask("cat small"), "contents");
    second.session.kill();
    assert_eq!(scene.output(FOR_EVER, DEVICE), device);
    assert!(is_alive(keeper));
    // Who takes its name away ends it.
    let names = fs::read_dir(scene.place()).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|name| !name.ends_with("lock")).for_each(|name| fs::remove_file(name).unwrap());
    wait_for_end(keeper);
}

#[test]
fn a_keeper_lingers_for_as_long_as_it_was_told_to() {
    let Some(scene) = Scene::new() else { return };
    for (linger, least) in [("0", 0), ("400", 400)] {
        let place = scene.stage.out().join(linger);
        let pid = scene.stage.out().join("pid");
        let options = ["--pid", pid.to_str().unwrap()];
        finish(scene.launch_at(&place, linger, &options, "true").output().unwrap());
        let begun = Instant::now();
        wait_for_end(fs::read_to_string(&pid).unwrap().parse().unwrap());
        let lasted = begun.elapsed().as_millis();
        // The launch had ended some time before this began to look.
        assert!(lasted + 200 >= least && lasted < least + 5000, "{linger}: {lasted} ms");
    }
}

#[test]
fn who_only_looks_for_a_keeper_does_not_keep_it() {
    let Some(scene) = Scene::new() else { return };
    let pid = scene.stage.out().join("pid");
    finish(scene.launch("500", &["--pid", pid.to_str().unwrap()], "true").output().unwrap());
    let keeper = fs::read_to_string(&pid).unwrap().parse().unwrap();
    let mut names = fs::read_dir(scene.place()).unwrap().map(|entry| entry.unwrap().path());
    let name = names.find(|name| !name.ends_with("lock")).unwrap();
    // One looks and goes, again and again; another stays, and never asks.
    let mut there = Vec::new();
    wait_for("the keeper goes on", || {
        let looking = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        if connect(&looking, &SocketAddrUnix::new(&name).unwrap()).is_err() {
            return Some(());
        }
        if there.is_empty() {
            there.push(looking);
        }
        std::thread::sleep(Duration::from_millis(100));
        None
    });
    // It lets nobody in any more, and ends with the one who stays.
    assert!(is_alive(keeper));
    there.clear();
    wait_for_end(keeper);
}

#[test]
fn the_name_of_a_keeper_goes_with_the_folder_and_the_keeper_with_its_name() {
    let Some(scene) = Scene::new() else { return };
    let mut session = scene.session("session");
    fs::remove_dir_all(scene.place()).unwrap();
    // Who uses it is not disturbed.
    assert_eq!(session.ask("cat small"), "contents");
    let keeper = session.keeper();
    session.session.finish();
    wait_for_end(keeper);
}

#[test]
fn a_folder_that_others_may_enter_is_not_used() {
    let Some(scene) = Scene::new() else { return };
    let open = scene.stage.out().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let output = scene.launch_at(&open, "0", &[], "true").output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&output.stderr).contains("permission denied"), "{output:?}");
    assert_eq!(fs::read_dir(open).unwrap().count(), 0);
}

#[test]
fn a_keeper_that_does_not_answer_is_gone_round() {
    let Some(scene) = Scene::new() else { return };
    let mut stuck = scene.session("stuck");
    let keeper = stuck.keeper();
    signal(keeper, Signal::STOP);
    let begun = Instant::now();
    assert_eq!(scene.output("0", "cat small"), "contents");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    signal(keeper, Signal::CONT);
    assert_eq!(stuck.ask("cat small"), "contents");
    assert_eq!(scene.output(FOR_EVER, DEVICE), stuck.ask(DEVICE));
}

#[test]
fn a_killed_keeper_is_followed_by_one_for_all_its_launches() {
    let Some(scene) = Scene::new() else { return };
    let mut sessions = [scene.session("first"), scene.session("second"), scene.session("third")];
    let device = sessions[0].ask(DEVICE);
    let hash = sessions[0].ask(READ);
    for _ in 0..20 {
        let killed = sessions[0].keeper();
        signal(killed, Signal::KILL);
        for session in &mut sessions {
            assert_eq!(session.ask(READ), hash);
            assert_eq!(session.ask(DEVICE), device);
        }
        let keepers: BTreeSet<i32> = wait_for("a launch stays with a dead keeper", || {
            let keepers: BTreeSet<i32> = sessions.iter().map(Asked::keeper).collect();
            (!keepers.contains(&killed)).then_some(keepers)
        });
        assert_eq!(keepers.len(), 1, "{keepers:?}");
    }
    // Who comes later comes to the same mount.
    assert_eq!(scene.output(FOR_EVER, DEVICE), device);
}

#[test]
fn successors_find_each_other_although_a_launch_came_first() {
    let Some(scene) = Scene::new() else { return };
    let mut old = [scene.session("first"), scene.session("second")];
    let (killed, device) = (old[0].keeper(), old[0].ask(DEVICE));
    let all = |which: Signal| old.iter().for_each(|asked| signal(asked.session.launcher(), which));
    all(Signal::STOP);
    signal(killed, Signal::KILL);
    let mut new = scene.session("third");
    all(Signal::CONT);
    let keepers = wait_for("a launch stays with a dead keeper", || {
        let keepers = [old[0].keeper(), old[1].keeper()];
        (!keepers.contains(&killed)).then_some(keepers)
    });
    // Two keepers on one connection would leave what one of them has read without an answer when it ends.
    assert_eq!(keepers[0], keepers[1]);
    assert_ne!(keepers[0], new.keeper());
    assert_ne!(new.ask(DEVICE), device);
    assert_eq!([old[0].ask(DEVICE), old[1].ask(DEVICE)], [device.clone(), device]);
}

#[test]
fn a_mount_that_is_given_up_gives_errors_and_the_next_launch_mends_it() {
    let Some(scene) = Scene::new() else { return };
    let mut session = scene.session_that("session", &["--successors", "0"]);
    let keeper = session.keeper();
    signal(keeper, Signal::KILL);
    wait_for_end(keeper);
    let answer = wait_for("reads go on", || {
        let answer = session.ask("cat large > /dev/null || echo failed; cat small || echo failed");
        (answer == "failed\nfailed").then_some(answer)
    });
    assert!(!answer.contains("contents"));
    let errors = session.session.finish();
    assert!(errors.contains("Transport endpoint is not connected"), "{errors}");
    let line = "package hello x1: the process that served it has ended, and no other could go on";
    assert_eq!(errors.matches(line).count(), 1, "{errors}");
    assert_eq!(scene.output("0", "cat small"), "contents");
}

#[test]
fn every_launch_is_told_of_damage_once() {
    let Some(scene) = Scene::new() else { return };
    let [mut first, mut second] = ["first", "second"].map(|name| scene.session(name));
    let mut bytes = fs::read(scene.case.package()).unwrap();
    // The first bytes after the superblock are data.
    bytes[200] ^= 1;
    fs::write(scene.case.package(), bytes).unwrap();
    let mut faults = Vec::new();
    for session in [&mut first, &mut second] {
        for _ in 0..3 {
            assert_eq!(session.ask("cat large > /dev/null 2> /dev/null && echo read"), "");
        }
    }
    for session in [first, second] {
        let errors = session.session.finish();
        assert_eq!(errors.matches("package hello x1: ").count(), 1, "{errors}");
        assert!(errors.contains("do not match the signed index"), "{errors}");
        let line = errors.lines().find(|line| line.starts_with("package")).unwrap();
        faults.push(line.to_owned());
    }
    assert_eq!(faults[0], faults[1]);
}

#[test]
fn who_asks_and_never_reads_holds_nobody_up() {
    let Some(scene) = Scene::new() else { return };
    let mut session = scene.session("session");
    let mut names = fs::read_dir(scene.place()).unwrap().map(|entry| entry.unwrap().path());
    let name = names.find(|name| !name.ends_with("lock")).unwrap();
    let flood = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&flood, &SocketAddrUnix::new(&name).unwrap()).unwrap();
    let begun = Instant::now();
    // It is sent away in the end.
    while rustix::net::send(&flood, b"mount 1", SendFlags::DONTWAIT | SendFlags::NOSIGNAL) != Err(Errno::PIPE)
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "the keeper goes on hearing");
    }
    let begun = Instant::now();
    assert_eq!(scene.output(FOR_EVER, DEVICE), session.ask(DEVICE));
    // A launch that has no answer goes round the keeper, after 3 seconds.
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_keeper_that_is_killed_while_it_starts_is_followed_by_another() {
    let Some(scene) = Scene::new() else { return };
    let mut killed = 0;
    for round in 0..50 {
        let place = scene.stage.out().join(round.to_string());
        let mut launch = scene.launch_at(&place, "0", &[], "cat small");
        let launch = launch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // setpriv becomes the launcher, whose first child is the keeper.
        let children = format!("/proc/{0}/task/{0}/children", launch.id());
        let child = wait_for("no child", || {
            let children = fs::read_to_string(&children).ok()?;
            // One that was quicker than this looks is no case for it.
            let first = children.split_whitespace().next().map(|child| child.parse::<i32>().unwrap());
            first.or_else(|| (!is_alive(launch.id() as i32)).then_some(0))
        });
        let is_keeper = |name: &str| ["mount-run", "pack-keeper"].contains(&name.trim());
        if child != 0 && fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| is_keeper(&name))
        {
            // At another moment of its start each time.
            std::thread::sleep(Duration::from_micros(round * 60));
            signal(child, Signal::KILL);
            killed += 1;
        }
        assert_eq!(finish(launch.wait_with_output().unwrap()), "contents", "round {round}");
    }
    assert!(killed > 25, "{killed}");
}

#[test]
fn race_of_two_launches_at_once() {
    let Some(scene) = Scene::new() else { return };
    for round in 0..ROUNDS {
        let place = scene.stage.out().join(round.to_string());
        let launches = [0, 1].map(|_| {
            let mut launch = scene.launch_at(&place, FOR_EVER, &[], DEVICE);
            launch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let [first, second] = launches.map(|launch| finish(launch.wait_with_output().unwrap()));
        assert_eq!(first, second, "round {round}");
        fs::remove_dir_all(place).unwrap();
    }
}

#[test]
fn race_of_a_launch_with_an_ending_keeper() {
    let Some(scene) = Scene::new() else { return };
    let rounds = ROUNDS.to_string();
    let launches = [0, 1].map(|_| {
        let mut launch = scene.launch("0", &["--repeat", &rounds], "cat small");
        launch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for launch in launches {
        let text = finish(launch.wait_with_output().unwrap());
        assert_eq!(text.lines().filter(|line| *line == "contents").count(), ROUNDS);
    }
}

#[test]
fn race_of_reads_with_a_keeper_that_is_killed() {
    let Some(scene) = Scene::new() else { return };
    let mut session = scene.session("session");
    let hash = session.ask(READ);
    let device = session.ask(DEVICE);
    let mut killed = 0;
    for round in 0..ROUNDS {
        let keeper = wait_for("the launch stays with a dead keeper", || {
            Some(session.keeper()).filter(|keeper| *keeper != killed)
        });
        session.session.begin(READ);
        // At another moment of the read each time.
        std::thread::sleep(Duration::from_micros((round as u64 * 37) % 4000));
        signal(keeper, Signal::KILL);
        killed = keeper;
        assert_eq!(session.hear(), hash, "round {round}");
        if round % 50 == 0 {
            // Somebody who comes just then finds the mount that is there, or makes one.
            assert_eq!(scene.output("0", "cat small"), "contents");
        }
    }
    assert_eq!(session.ask(DEVICE), device);
}
