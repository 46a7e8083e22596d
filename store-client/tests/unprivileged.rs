//! Modes that stop their owner: as an ordinary user, since root is stopped by none.
//!
//! Run as root, the test starts its own program again as user 20001; run as anybody else, it goes on as that user.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use pack_store_client::change::Warning;
use support::{Project, World, hello};

const USER: &str = "20001";

#[test]
fn data_that_an_app_has_shut_is_left_out_of_a_copy_and_deleted_all_the_same() {
    if !rustix::process::geteuid().is_root() {
        return scenario();
    }
    // The program may lie where the user cannot reach it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let output = Command::new("setpriv")
        .args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "--no-new-privs"])
        .args(["--inh-caps=-all", "--bounding-set=-all", "--"])
        .arg(&program)
        .args(["--exact", "data_that_an_app_has_shut_is_left_out_of_a_copy_and_deleted_all_the_same"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn scenario() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let data = world.data("x1");
    for folder in ["shut/inner", "read-only/inner", "unlisted/inner"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
        std::fs::write(data.join(folder).join("file"), "x").unwrap();
    }
    std::fs::write(data.join("unreadable"), "x").unwrap();
    let set = |path: &str, mode| set_mode(&data.join(path), mode);
    set("unreadable", 0o200);
    set("unlisted", 0o300);
    set("read-only/inner", 0o555);
    set("read-only", 0o555);
    set("shut", 0);
    let installed = world.install_observed(&Project::hello("2").write(&world, "2.pkg"), &mut |_| ()).unwrap();
    let mut left_out: Vec<_> = installed
        .warnings
        .iter()
        .map(|warning| match warning {
            Warning::DataLeftOut { path } => path.strip_prefix(&data).unwrap().to_str().unwrap(),
            other => panic!("{other}"),
        })
        .collect();
    left_out.sort_unstable();
    assert_eq!(left_out, ["shut", "unlisted", "unreadable"]);
    let copied = world.data("x2/read-only/inner");
    assert_eq!(std::fs::read_to_string(copied.join("file")).unwrap(), "x");
    assert_eq!(copied.metadata().unwrap().permissions().mode() & 0o777, 0o555);
    // The top itself, shut by the app, stops neither the next upgrade nor a purge.
    set_mode(&world.data("x2"), 0);
    world.install(&Project::hello("3").write(&world, "3.pkg"));
    assert!(world.data("x3/read-only").exists());
    set_mode(&world.data("x3"), 0);
    set_mode(&world.data("common"), 0o500);
    world.remove_observed(true, &mut |_| ()).unwrap();
    assert!(!world.folders.package_data(&hello()).exists());
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}
