//! Disks that are full, read-only, or mounted where they should not be: in a mount namespace of the test's own.
//!
//! The process in that namespace is this test's own program, started again as `child`.

#[path = "tuf/repository.rs"]
#[allow(dead_code, reason = "its own tests use the rest")]
mod repository;
mod support;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pack_store_client::TreeError;
use pack_store_client::change::Warning;
use pack_store_client::install::InstallError;
use pack_store_client::installed;
use pack_store_client::lock::StateLock;
use pack_store_client::remove::RemoveError;
use pack_store_client::tuf::{Client, TufError};
use repository::{NOW, Repository};
use support::{Project, World, hello};

/// Starts a scenario in a namespace where it may mount.
fn run(scenario: &str) {
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    let output = command
        .args(["--mount", "--propagation", "private", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("PACK_TEST_SCENARIO", scenario)
        .env("PACK_TEST_ROOT", place.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        return support::skip("no mount namespace can be made here");
    }
    assert!(output.status.success(), "{scenario}: {said}");
}

#[test]
fn an_upgrade_on_a_full_disk_leaves_the_old_state() {
    run("upgrade on a full disk");
}

#[test]
fn a_package_can_be_removed_from_a_full_disk() {
    run("removal from a full disk");
}

#[test]
fn a_read_only_home_is_told_and_left() {
    run("read-only home");
}

#[test]
fn a_folder_of_commands_that_cannot_be_written_does_not_stop_an_installation() {
    run("read-only commands");
}

#[test]
fn cve_2026_34079_a_purge_does_not_cross_a_mount() {
    run("purge with a mount");
}

#[test]
fn a_refresh_of_a_stores_metadata_on_a_full_disk_keeps_what_was_there() {
    run("refresh on a full disk");
}

/// Not a test of its own: the process in the namespace.
#[test]
#[ignore = "started by the others"]
fn child() {
    let root = PathBuf::from(std::env::var("PACK_TEST_ROOT").unwrap());
    match std::env::var("PACK_TEST_SCENARIO").unwrap().as_str() {
        "upgrade on a full disk" => upgrade_on_a_full_disk(&root),
        "removal from a full disk" => removal_from_a_full_disk(&root),
        "read-only home" => read_only_home(&root),
        "read-only commands" => read_only_commands(&root),
        "refresh on a full disk" => refresh_on_a_full_disk(&root),
        "purge with a mount" => purge_with_a_mount(&root),
        other => panic!("{other}"),
    }
}

fn mount(arguments: &[&str], at: &Path) {
    let status = Command::new("mount").args(arguments).arg(at).status().unwrap();
    assert!(status.success(), "mount {arguments:?}");
}

fn unmount(at: &Path) {
    assert!(Command::new("umount").arg(at).status().unwrap().success());
}

/// A world on a disk of its own, with revision 1 and some data.
fn world_on_disk(root: &Path, size: &str) -> World {
    mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], root);
    let world = World::at(root);
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    std::fs::write(world.data("x1/file"), vec![b'x'; 100_000]).unwrap();
    Project::hello("2").write(&world, "2.pkg");
    world
}

/// Fills the disk but for so many bytes.
fn fill(root: &Path, free: u64) {
    let stat = rustix::fs::statvfs(root).unwrap();
    let room = (stat.f_bavail * stat.f_frsize).saturating_sub(free);
    let mut file = std::fs::File::create(root.join("filling")).unwrap();
    let _ = file.write_all(&vec![0; room as usize]);
}

fn upgrade_on_a_full_disk(root: &Path) {
    let mut failures = 0;
    for free in (0..).step_by(4096) {
        let world = world_on_disk(root, "2m");
        let before = world.snapshot();
        fill(root, free);
        let result = world.install_observed(&world.root.join("2.pkg"), &mut |_| ());
        let is_done = match result {
            Ok(installed) => {
                // What comes after the change counts may lack room: then the next run goes on.
                for warning in &installed.warnings {
                    assert!(matches!(warning, Warning::Unfinished(_)), "{warning}");
                }
                installed.warnings.is_empty()
            }
            Err(error) => {
                assert!(error.hint().is_some_and(|hint| hint.contains("make room")), "{free}: {error:?}");
                assert_eq!(world.snapshot(), before, "{free}");
                failures += 1;
                false
            }
        };
        std::fs::remove_file(root.join("filling")).unwrap();
        assert!(world.recover().problems.is_empty());
        let current = installed::open_current(&world.folders, &hello()).unwrap().revision.to_string();
        assert_eq!(std::fs::read(world.data(&current).join("file")).unwrap().len(), 100_000);
        world.install(&world.root.join("2.pkg"));
        drop(world);
        unmount(root);
        if is_done {
            // The image, the data and the state are some 30 pages.
            assert!(failures > 20, "{failures}");
            return;
        }
    }
}

fn removal_from_a_full_disk(root: &Path) {
    let world = world_on_disk(root, "2m");
    fill(root, 0);
    assert!(std::fs::write(root.join("one more"), "x").is_err());
    world.remove_observed(false, &mut |_| ()).unwrap();
    assert!(world.data("x1/file").exists());
    fill(root, 0);
    world.remove_observed(true, &mut |_| ()).unwrap();
    assert!(!world.folders.package_data(&hello()).exists());
}

fn read_only_home(root: &Path) {
    let world = world_on_disk(root, "2m");
    let before = world.snapshot();
    // The folder of packages alone.
    let packages = world.folders.packages();
    mount(&["--bind", packages.to_str().unwrap()], &packages);
    mount(&["-o", "remount,bind,ro"], &packages);
    let result = world.install_observed(&world.root.join("2.pkg"), &mut |_| ());
    assert!(matches!(result, Err(InstallError::File(_))), "{result:?}");
    let result = world.remove_observed(true, &mut |_| ());
    assert!(matches!(result, Err(RemoveError::File(_))), "{result:?}");
    assert_eq!(world.snapshot(), before);
    unmount(&packages);
    // All of it: the lock cannot be taken, and what is installed can be run all the same.
    mount(&["-o", "remount,bind,ro"], root);
    let error = StateLock::acquire(&world.folders, "test", Duration::ZERO, &mut |_| ()).unwrap_err();
    assert!(error.to_string().contains(world.folders.lock().to_str().unwrap()), "{error}");
    installed::open_current(&world.folders, &hello()).unwrap();
}

fn read_only_commands(root: &Path) {
    let world = world_on_disk(root, "2m");
    let commands = world.folders.commands();
    mount(&["-t", "tmpfs", "tmpfs"], &commands);
    mount(&["-o", "remount,bind,ro"], &commands);
    let installed = world.install_observed(&world.root.join("2.pkg"), &mut |_| ()).unwrap();
    assert!(matches!(installed.warnings.as_slice(), [Warning::Unfinished(_), Warning::Unfinished(_)]));
    assert!(
        world
            .folders
            .exports(pack_schemas::state::ExportPlace::Applications)
            .join("hello_hello.desktop")
            .exists()
    );
    assert_eq!(installed::read_installed(&world.folders, &hello()).unwrap().exported, None);
    mount(&["-o", "remount,bind,rw"], &commands);
    assert_eq!(world.recover().mended, [hello()]);
    assert!(commands.join("hello").exists());
}

fn purge_with_a_mount(root: &Path) {
    let world = world_on_disk(root, "2m");
    let outside = root.join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("precious"), "precious").unwrap();
    let inside = world.data("common/mounted");
    std::fs::create_dir(&inside).unwrap();
    mount(&["--bind", outside.to_str().unwrap()], &inside);
    let result = world.remove_observed(true, &mut |_| ());
    assert!(matches!(&result, Err(RemoveError::Data { source: TreeError::Mount { .. }, .. })), "{result:?}");
    assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "precious");
    unmount(&inside);
    assert_eq!(world.recover().mended, [hello()]);
    assert!(!world.folders.package_data(&hello()).exists());
    assert_eq!(std::fs::read_to_string(outside.join("precious")).unwrap(), "precious");
}

fn refresh_on_a_full_disk(root: &Path) {
    let folder = root.join("tuf");
    let refresh = |store: &Repository| -> Result<(), TufError> {
        let mut client = Client::open(&folder, Some(&store.files["1.root.json"]), store, NOW)?;
        client.refresh().map(drop)
    };
    let read = |role: &str| std::fs::read(folder.join(format!("{role}.json"))).unwrap();
    for free in (0..).step_by(4096) {
        mount(&["-t", "tmpfs", "-o", "size=1m", "tmpfs"], root);
        let old = Repository::new();
        refresh(&old).unwrap();
        let mut new = Repository::new();
        new.publish(&["root", "targets", "snapshot", "timestamp"]);
        fill(root, free);
        let refreshed = refresh(&new);
        for role in ["root", "timestamp", "snapshot", "targets"] {
            let good = [old.files.get(&old.file_of(role)), new.files.get(&new.file_of(role))];
            assert!(good.contains(&Some(&read(role))), "{free}: {role}");
        }
        std::fs::remove_file(root.join("filling")).unwrap();
        refresh(&new).unwrap();
        assert_eq!(read("targets"), new.files["2.targets.json"]);
        unmount(root);
        match refreshed {
            Ok(()) => {
                assert!(free > 0);
                return;
            }
            Err(TufError::File(error)) => assert!(error.is_disk_full(), "{error}"),
            Err(error) => panic!("{free}: {error}"),
        }
    }
}
