//! A process that is killed at every step of every change, with SIGKILL: what it leaves is the old state or the new
//! one, to readers at once and in every file after the next run.
//!
//! The process is this test's own program, started again as `child`.

mod support;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use pack_store_client::installed::{self, StateError};
use pack_store_client::reader::PackageReader;
use support::{JsonReader, Project, World, hello};

/// A change that is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    FirstInstall,
    Upgrade,
    UpgradeThatForgets,
    Repair,
    InstallAgainOverKeptData,
    Remove,
    Purge,
    PurgeKeptData,
}

const ACTIONS: [Action; 8] = [
    Action::FirstInstall,
    Action::Upgrade,
    Action::UpgradeThatForgets,
    Action::Repair,
    Action::InstallAgainOverKeptData,
    Action::Remove,
    Action::Purge,
    Action::PurgeKeptData,
];

impl Action {
    /// Brings a world to where the action begins.
    fn prepare(self, world: &World) {
        Project::hello("1").write(world, "1.pkg");
        Project::hello("2").without_tool().write(world, "2.pkg");
        let earlier: &[&str] = match self {
            Action::FirstInstall => &[],
            Action::UpgradeThatForgets => &["1", "2", "1"],
            Action::PurgeKeptData => &["1", "2"],
            _ => &["1"],
        };
        for version in earlier {
            world.install(&world.root.join(format!("{version}.pkg")));
            let current = installed::read_installed(&world.folders, &hello()).unwrap().current.unwrap();
            write_data(&world.data(&current.to_string()), &format!("data of {current}"));
            write_data(&world.data("common"), "shared");
        }
        if matches!(self, Action::InstallAgainOverKeptData | Action::PurgeKeptData) {
            world.remove_observed(false, &mut |_| ()).unwrap();
        }
    }

    /// Recovers and performs the action, as a verb does, and ends the process after `steps` steps.
    fn perform(self, world: &World, mut steps: usize) {
        let mut observer = |_| {
            if steps == 0 {
                let own = rustix::process::getpid();
                rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
            }
            steps -= 1;
        };
        let recovery = world.change(&mut observer, |change| change.recover().unwrap());
        assert!(recovery.problems.is_empty(), "{:?}", recovery.problems);
        let install = |version: &str, observer: &mut dyn FnMut(_)| {
            let installed =
                world.install_observed(&world.root.join(format!("{version}.pkg")), observer).unwrap();
            assert!(installed.warnings.is_empty(), "{:?}", installed.warnings);
        };
        match self {
            Action::FirstInstall | Action::Repair => install("1", &mut observer),
            Action::Upgrade | Action::UpgradeThatForgets | Action::InstallAgainOverKeptData => {
                install("2", &mut observer);
            }
            Action::Remove => world.remove_observed(false, &mut observer).unwrap(),
            Action::Purge | Action::PurgeKeptData => world.remove_observed(true, &mut observer).unwrap(),
        }
    }
}

fn write_data(folder: &Path, text: &str) {
    std::fs::create_dir_all(folder.join("deep/er")).unwrap();
    std::fs::write(folder.join("deep/er/file"), text).unwrap();
    std::fs::write(folder.join("top"), text).unwrap();
}

/// Not a test of its own: the process that is killed.
#[test]
#[ignore = "started by the others"]
fn child() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let action = ACTIONS[variable("PACK_TEST_ACTION").parse::<usize>().unwrap()];
    let world = World::at(&PathBuf::from(variable("PACK_TEST_ROOT")));
    action.perform(&world, variable("PACK_TEST_STEPS").parse().unwrap());
}

fn run_child(world: &World, action: Action, steps: usize) -> Output {
    let number = ACTIONS.iter().position(|other| *other == action).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("PACK_TEST_ACTION", number.to_string())
        .env("PACK_TEST_ROOT", &world.root)
        .env("PACK_TEST_STEPS", steps.to_string())
        .output()
        .unwrap()
}

/// Runs the action in a process that is killed after so many steps; whether it was.
fn run_and_kill(world: &World, action: Action, steps: usize) -> bool {
    let output = run_child(world, action, steps);
    let was_killed = output.status.signal() == Some(9);
    assert!(
        was_killed || output.status.success(),
        "{action:?} {steps}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    was_killed
}

/// What a reader sees, without a lock, at any time: an installed package opens and is whole.
fn assert_readable(world: &World, context: &str) {
    for listed in installed::list(&world.folders).unwrap() {
        match listed.state {
            Ok(state) if state.current.is_some() => {
                let open = installed::open_current(&world.folders, &hello()).unwrap();
                let checked = JsonReader.check(&open.file).unwrap();
                assert_eq!(checked.envelope_hash, open.envelope, "{context}");
                assert_eq!(open.state, state, "{context}");
                assert!(world.data(&open.revision.to_string()).is_dir(), "{context}: no data folder");
            }
            Ok(_) | Err(StateError::BeingRemoved { .. }) => {}
            Err(error) => panic!("{context}: {error}"),
        }
    }
}

#[track_caller]
fn assert_same(found: &BTreeMap<PathBuf, String>, expected: &[&BTreeMap<PathBuf, String>], context: &str) {
    if expected.contains(&found) {
        return;
    }
    let mut differences = String::new();
    for one in expected {
        differences.push_str("\n--- differences:\n");
        for path in found.keys().chain(one.keys()) {
            if found.get(path) != one.get(path) {
                differences.push_str(&format!("{path:?}: {:?} / {:?}\n", found.get(path), one.get(path)));
            }
        }
    }
    panic!("{context}{differences}");
}

fn kill_everywhere(action: Action) {
    let untouched = World::new();
    action.prepare(&untouched);
    let before = untouched.snapshot();
    action.perform(&untouched, usize::MAX);
    let after = untouched.snapshot();
    assert!(action == Action::Repair || before != after);

    for steps in 0.. {
        let context = format!("{action:?} killed after {steps} steps");
        let world = World::new();
        action.prepare(&world);
        if !run_and_kill(&world, action, steps) {
            // An action has at least this many steps; fewer would mean that they are not told.
            assert!(steps >= 5, "{context}");
            return;
        }
        assert_readable(&world, &context);
        let recovery = world.recover();
        assert!(recovery.problems.is_empty(), "{context}: {:?}", recovery.problems);
        assert_same(&world.snapshot(), &[&before, &after], &context);
        assert_readable(&world, &context);
        // And the person can run it again.
        if matches!(action, Action::FirstInstall | Action::Upgrade | Action::UpgradeThatForgets) {
            action.perform(&world, usize::MAX);
            assert_same(&world.snapshot(), &[&after], &context);
        }
    }
}

/// What a killed run left is recovered by a run that is killed as well, at every step of its recovery and after.
fn kill_the_recovery(action: Action) {
    let untouched = World::new();
    action.prepare(&untouched);
    let before = untouched.snapshot();
    action.perform(&untouched, usize::MAX);
    let after = untouched.snapshot();
    for first in (0..).step_by(3) {
        for second in (0..12).step_by(2) {
            let context = format!("{action:?} killed after {first} steps, then after {second}");
            let world = World::new();
            action.prepare(&world);
            if !run_and_kill(&world, action, first) {
                assert!(first > 5, "{context}");
                return;
            }
            if is_removed(&world, action) || !run_and_kill(&world, action, second) {
                break;
            }
            assert_readable(&world, &context);
            let recovery = world.recover();
            assert!(recovery.problems.is_empty(), "{context}: {:?}", recovery.problems);
            assert_same(&world.snapshot(), &[&before, &after], &context);
        }
    }
}

/// A removal that has begun is completed by the recovery, and there is nothing left to remove.
fn is_removed(world: &World, action: Action) -> bool {
    let is_removal = matches!(action, Action::Remove | Action::Purge | Action::PurgeKeptData);
    let state = installed::read_state(&world.folders, &hello());
    is_removal
        && (matches!(state, Ok(None) | Err(_)) || state.is_ok_and(|s| s.is_some_and(|s| s.current.is_none())))
}

#[test]
fn recovery_of_an_upgrade() {
    kill_the_recovery(Action::UpgradeThatForgets);
}

#[test]
fn recovery_of_a_first_install() {
    kill_the_recovery(Action::FirstInstall);
}

#[test]
fn recovery_of_an_install_over_kept_data() {
    kill_the_recovery(Action::InstallAgainOverKeptData);
}

/// The process that goes on with a removal is killed as well.
#[test]
fn recovery_of_a_removal() {
    for action in [Action::Remove, Action::Purge] {
        let untouched = World::new();
        action.prepare(&untouched);
        action.perform(&untouched, usize::MAX);
        let after = untouched.snapshot();
        for first in 0..8 {
            for second in 0..8 {
                let context = format!("{action:?} killed after {first} steps, then after {second}");
                let world = World::new();
                action.prepare(&world);
                assert!(run_and_kill(&world, action, first), "{context}");
                // Begun, so it is the recovery that is killed; it ends with an error where it is not.
                let _ = run_child(&world, action, second);
                world.recover();
                assert_same(&world.snapshot(), &[&after], &context);
            }
        }
    }
}

#[test]
fn first_install() {
    kill_everywhere(Action::FirstInstall);
}

#[test]
fn upgrade() {
    kill_everywhere(Action::Upgrade);
}

#[test]
fn upgrade_that_forgets_a_revision() {
    kill_everywhere(Action::UpgradeThatForgets);
}

#[test]
fn repair() {
    kill_everywhere(Action::Repair);
}

#[test]
fn install_again_over_kept_data() {
    kill_everywhere(Action::InstallAgainOverKeptData);
}

#[test]
fn remove() {
    kill_everywhere(Action::Remove);
}

#[test]
fn purge() {
    kill_everywhere(Action::Purge);
}

#[test]
fn purge_of_kept_data() {
    kill_everywhere(Action::PurgeKeptData);
}
