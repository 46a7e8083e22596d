//! What installing and removing does to a home: files, state, data, exports, and what is refused.

mod support;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use pack_schemas::names::Revision;
use pack_store_client::change::{Step, Warning};
use pack_store_client::decision::Wishes;
use pack_store_client::export::ExportWarning;
use pack_store_client::install::InstallError;
use pack_store_client::installed::{self, StateError};
use pack_store_client::remove::{self, RemoveError};
use pack_store_client::trust::TrustedKeys;
use serde_json::json;
use support::{NOW, Project, World, hello, public_key};

fn mode(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn an_installed_package_is_in_its_place_and_opens() {
    let world = World::new();
    let file = Project::hello("1").write(&world, "1.pkg");
    let installed = world.install(&file);
    let image = world.folders.image(&hello(), Revision::Local(1));
    assert_eq!(std::fs::read(&image).unwrap(), std::fs::read(&file).unwrap());
    assert_eq!(mode(&image), 0o444);
    assert_eq!(
        std::fs::read_link(world.folders.package(&hello()).join("current")).unwrap(),
        Path::new("x1.pkg")
    );
    let open = installed::open_current(&world.folders, &hello()).unwrap();
    assert_eq!((open.revision, &open.state), (Revision::Local(1), &installed.state));
    assert_eq!(open.state.exports.len(), 4);
    assert!(world.folders.commands().join("hello.tool").exists());
}

/// snapd made the folder of a user's data with a mode that let others in.
#[test]
fn cve_2021_3155_data_folders_are_for_their_owner_alone() {
    let world = World::new();
    let file = Project::hello("1").write(&world, "1.pkg");
    // An existing one that is too open is closed.
    std::fs::create_dir_all(world.data("common")).unwrap();
    std::fs::set_permissions(world.data("common"), PermissionsExt::from_mode(0o777)).unwrap();
    world.install(&file);
    for path in
        [world.folders.data(), world.folders.package_data(&hello()), world.data("common"), world.data("x1")]
    {
        assert_eq!(mode(&path), 0o700, "{path:?}");
    }
    // An app that opens its own folder up finds it closed in the next revision.
    std::fs::set_permissions(world.data("x1"), PermissionsExt::from_mode(0o777)).unwrap();
    world.install(&Project::hello("2").write(&world, "2.pkg"));
    assert_eq!(mode(&world.data("x2")), 0o700);
}

#[test]
fn an_upgrade_copies_the_data_and_keeps_the_earlier_revision() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    std::fs::write(world.data("x1/settings"), "mine").unwrap();
    world.install(&Project::hello("2").without_tool().write(&world, "2.pkg"));
    assert_eq!(std::fs::read_to_string(world.data("x2/settings")).unwrap(), "mine");
    std::fs::write(world.data("x2/settings"), "changed").unwrap();
    assert_eq!(std::fs::read_to_string(world.data("x1/settings")).unwrap(), "mine");
    assert!(world.folders.image(&hello(), Revision::Local(1)).exists());
    assert!(!world.folders.commands().join("hello.tool").exists(), "an app that is gone has no command");
    assert!(world.folders.commands().join("hello").exists());
}

#[test]
fn two_earlier_revisions_stay() {
    let world = World::new();
    for version in ["1", "2", "3", "4", "5"] {
        world.install(&Project::hello(version).write(&world, "p.pkg"));
        std::fs::write(world.data("common/shared"), version).unwrap();
    }
    let state = installed::read_installed(&world.folders, &hello()).unwrap();
    let revisions: Vec<String> = state.revisions.iter().map(|entry| entry.revision.to_string()).collect();
    assert_eq!(revisions, ["x3", "x4", "x5"]);
    let mut files: Vec<_> = std::fs::read_dir(world.folders.package(&hello()))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["current", "state.json", "x3.pkg", "x4.pkg", "x5.pkg"]);
    assert!(!world.data("x2").exists() && world.data("x3").exists() && world.data("common/shared").exists());
}

/// A running app holds its image open.
#[test]
fn an_image_that_is_open_stays_readable_when_it_goes() {
    let world = World::new();
    let bytes = Project::hello("1").to_bytes();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let open = installed::open_current(&world.folders, &hello()).unwrap();
    world.remove_observed(true, &mut |_| ()).unwrap();
    let mut read = vec![0; bytes.len()];
    open.file.read_exact_at(&mut read, 0).unwrap();
    assert_eq!(read, bytes);
}

/// The file that was judged and the one that is installed are one: it is copied, and the copy is checked.
#[test]
fn a_file_that_changes_after_it_was_judged_is_not_installed() {
    let world = World::new();
    let path = Project::hello("1").write(&world, "1.pkg");
    let before = world.snapshot();
    let evil = Project::hello("1").signed_by(&[2]);
    let same_size = {
        let mut project = Project::hello("1");
        project.files.insert("bin/hello".to_owned(), "#!/bin/sh\necho X\n".to_owned());
        project.to_bytes()
    };
    assert_eq!(same_size.len(), path.metadata().unwrap().len() as usize);
    let changes: [&dyn Fn(); 4] = [
        &|| std::fs::write(&path, &same_size).unwrap(),
        &|| std::fs::write(&path, evil.to_bytes()).unwrap(),
        &|| File::options().write(true).open(&path).unwrap().set_len(100).unwrap(),
        &|| File::options().write(true).open(&path).unwrap().write_all_at(b"x", 3).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        Project::hello("1").write(&world, "1.pkg");
        let file = File::open(&path).unwrap();
        let plan = world.plan(&file, &Wishes::default());
        change();
        let result = world.change(&mut |_| (), |change| change.install(&plan, &file, NOW));
        assert!(
            matches!(result, Err(InstallError::Changed { .. } | InstallError::Damaged { .. })),
            "{number}"
        );
        assert_eq!(world.snapshot(), before, "{number}");
    }
}

#[test]
fn another_file_put_at_the_path_meanwhile_makes_no_difference() {
    let world = World::new();
    let path = Project::hello("1").write(&world, "1.pkg");
    let bytes = std::fs::read(&path).unwrap();
    let file = File::open(&path).unwrap();
    let plan = world.plan(&file, &Wishes::default());
    std::fs::remove_file(&path).unwrap();
    Project::hello("666").signed_by(&[2]).write(&world, "1.pkg");
    world.change(&mut |_| (), |change| change.install(&plan, &file, NOW)).unwrap();
    assert_eq!(std::fs::read(world.folders.image(&hello(), Revision::Local(1))).unwrap(), bytes);
}

#[test]
fn a_change_of_the_installed_state_since_the_decision_is_found() {
    let world = World::new();
    let file = File::open(Project::hello("1").write(&world, "1.pkg")).unwrap();
    let plan = world.plan(&file, &Wishes::default());
    world.install(&Project::hello("2").write(&world, "2.pkg"));
    let before = world.snapshot();
    let result = world.change(&mut |_| (), |change| change.install(&plan, &file, NOW));
    assert!(matches!(result, Err(InstallError::Changed { .. })));
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_newly_trusted_publisher_is_written_down() {
    let world = World::new();
    let file = File::open(Project::hello("1").signed_by(&[2]).write(&world, "1.pkg")).unwrap();
    let plan = world.plan(&file, &Wishes { trust: Some(public_key(2)), ..Wishes::default() });
    world.change(&mut |_| (), |change| change.install(&plan, &file, NOW)).unwrap();
    let keys = TrustedKeys::read(&world.folders, BTreeSet::new()).unwrap();
    assert_eq!(keys.added[&public_key(2)].added, NOW);
}

#[test]
fn a_hostile_menu_entry_ends_the_installation_before_anything_is_changed() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let before = world.snapshot();
    let mut hostile = Project::hello("2");
    hostile.files.insert(
        "hello.desktop".to_owned(),
        "[Desktop Entry]\nType=Application\nName=x\nExec=rm -rf ~\n".to_owned(),
    );
    let file = hostile.write(&world, "2.pkg");
    let result = world.install_observed(&file, &mut |_| ());
    assert!(matches!(result, Err(InstallError::Export { .. })));
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_command_that_is_not_ours_is_told_and_left() {
    let world = World::new();
    std::fs::create_dir_all(world.folders.commands()).unwrap();
    let mine = world.folders.commands().join("hello");
    std::fs::write(&mine, "mine").unwrap();
    let file = Project::hello("1").write(&world, "1.pkg");
    let installed = world.install_observed(&file, &mut |_| ()).unwrap();
    let [Warning::Export(ExportWarning::NotOurs { path })] = installed.warnings.as_slice() else {
        panic!("{:?}", installed.warnings);
    };
    assert_eq!(path, &mine);
    world.remove_observed(true, &mut |_| ()).unwrap();
    assert_eq!(std::fs::read_to_string(&mine).unwrap(), "mine");
}

/// The earlier revision's data, as a hostile app leaves it, can neither stop the process nor lead it elsewhere.
#[test]
fn cve_2024_42472_hostile_data_is_not_followed_by_an_upgrade() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    std::fs::write(world.root.join("secret"), "secret").unwrap();
    symlink(world.root.join("secret"), world.data("x1/link")).unwrap();
    let fifo = world.data("x1/fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let installed = world.install_observed(&Project::hello("2").write(&world, "2.pkg"), &mut |_| ()).unwrap();
    assert!(matches!(installed.warnings.as_slice(), [Warning::DataLeftOut { path }] if *path == fifo));
    assert!(world.data("x2/link").is_symlink() && !world.data("x2/fifo").exists());
    // The folder itself, replaced by a link to the host's: neither read nor written.
    std::fs::remove_dir_all(world.data("x2")).unwrap();
    symlink(&world.root, world.data("x2")).unwrap();
    let result = world.install_observed(&Project::hello("3").write(&world, "3.pkg"), &mut |_| ());
    assert!(matches!(result, Err(InstallError::Data { .. })), "{result:?}");
    assert!(!world.data("x3").exists());
    world.remove_observed(true, &mut |_| ()).unwrap();
    assert_eq!(std::fs::read_to_string(world.root.join("secret")).unwrap(), "secret");
}

#[test]
fn an_image_that_was_changed_or_replaced_is_not_opened_or_is_found_out() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let image = world.folders.image(&hello(), Revision::Local(1));
    let problem = || match installed::open_current(&world.folders, &hello()) {
        Err(StateError::Image { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    let bytes = std::fs::read(&image).unwrap();
    std::fs::remove_file(&image).unwrap();
    assert_eq!(problem(), "is missing");
    symlink(world.root.join("1.pkg"), &image).unwrap();
    assert_eq!(problem(), "is a link, not a file");
    std::fs::remove_file(&image).unwrap();
    std::fs::write(&image, &bytes[..100]).unwrap();
    assert_eq!(problem(), "has another size than when it was installed");
    // The same file again mends it.
    world.install(&world.root.join("1.pkg"));
    assert_eq!(std::fs::read(&image).unwrap(), bytes);
    assert_eq!(installed::open_current(&world.folders, &hello()).unwrap().revision, Revision::Local(1));
}

/// A link `current` that was bent decides nothing, and is set again by the next run.
#[test]
fn cve_2016_1580_the_link_to_the_current_image_is_not_believed() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let link = world.folders.package(&hello()).join("current");
    for target in ["/etc/passwd", "../other/x1.pkg", "x9.pkg", "x1.pkg/..", "x1"] {
        std::fs::remove_file(&link).unwrap();
        symlink(target, &link).unwrap();
        assert_eq!(installed::open_current(&world.folders, &hello()).unwrap().revision, Revision::Local(1));
        world.recover();
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("x1.pkg"), "{target}");
    }
}

#[test]
fn a_damaged_state_is_told_with_its_path_and_hides_no_other_package() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let mut other = Project::hello("1");
    other.manifest["name"] = json!("other");
    other.manifest["apps"] = json!({});
    world.install(&other.write(&world, "other.pkg"));
    let path = world.folders.package(&hello()).join("state.json");
    for content in ["", "{", "{\"format\": 99}", &"x".repeat(2 << 20)] {
        std::fs::write(&path, content).unwrap();
        let listed = installed::list(&world.folders).unwrap();
        assert_eq!(listed.len(), 2);
        let error = listed.into_iter().find_map(|listed| listed.state.err()).unwrap();
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        // Nothing of a package that cannot be judged is cleaned away.
        let recovery = world.recover();
        assert_eq!(recovery.problems.len(), 1);
        assert!(world.folders.image(&hello(), Revision::Local(1)).exists() && world.data("x1").exists());
    }
}

#[test]
fn data_without_a_state_is_neither_deleted_nor_given_away() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    std::fs::write(world.data("x1/settings"), "mine").unwrap();
    std::fs::remove_file(world.folders.package(&hello()).join("state.json")).unwrap();
    world.recover();
    assert_eq!(std::fs::read_to_string(world.data("x1/settings")).unwrap(), "mine");
    let file = File::open(world.root.join("1.pkg")).unwrap();
    let refused = std::panic::catch_unwind(|| world.plan(&file, &Wishes::default()));
    assert!(refused.is_err(), "the decision has to refuse");
}

#[test]
fn removal_keeps_the_data_for_the_same_publisher_and_purge_deletes_it() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    std::fs::write(world.data("x1/settings"), "mine").unwrap();
    std::fs::write(world.data("common/shared"), "mine").unwrap();
    let plan = remove::plan(&world.folders, &hello(), false).unwrap();
    assert_eq!((plan.data_removed.files, plan.data_kept.files), (0, 2));
    world.remove_observed(false, &mut |_| ()).unwrap();
    assert!(matches!(
        installed::open_current(&world.folders, &hello()),
        Err(StateError::NotInstalled { .. })
    ));
    assert!(!world.folders.commands().join("hello").exists());
    assert!(!world.folders.exports(pack_schemas::state::ExportPlace::Icons).join("hicolor").exists());
    assert!(matches!(remove::plan(&world.folders, &hello(), false), Err(RemoveError::OnlyData { .. })));

    world.install(&Project::hello("2").write(&world, "2.pkg"));
    let state = installed::read_installed(&world.folders, &hello()).unwrap();
    assert_eq!(state.current, Some(Revision::Local(2)), "a number is not given twice");
    assert_eq!(std::fs::read_to_string(world.data("x2/settings")).unwrap(), "mine");
    assert!(!world.data("x1").exists());

    let plan = remove::plan(&world.folders, &hello(), true).unwrap();
    assert_eq!((plan.data_removed.files, plan.data_kept.files), (2, 0));
    world.remove_observed(true, &mut |_| ()).unwrap();
    assert!(!world.folders.package(&hello()).exists() && !world.folders.package_data(&hello()).exists());
    assert!(installed::list(&world.folders).unwrap().is_empty());
}

#[test]
fn a_removal_leaves_nothing_where_there_was_no_data() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    // Folders alone, such as every launch makes, are no data.
    std::fs::create_dir_all(world.data("x1/.config/empty")).unwrap();
    world.remove_observed(false, &mut |_| ()).unwrap();
    assert!(!world.folders.package(&hello()).exists() && !world.folders.package_data(&hello()).exists());
}

#[test]
fn a_base_that_others_need_is_not_removed() {
    let world = World::new();
    let base = Project {
        manifest: json!({ "name": "hello", "version": "1", "base": "none", "type": "base" }),
        ..Project::hello("1")
    };
    world.install(&base.write(&world, "base.pkg"));
    assert!(!world.folders.package_data(&hello()).exists(), "a base has no data");
    let mut user = Project::hello("1");
    user.manifest["name"] = json!("user");
    user.manifest["base"] = json!("hello");
    user.manifest["apps"] = json!({});
    world.install(&user.write(&world, "user.pkg"));
    match remove::plan(&world.folders, &hello(), false) {
        Err(RemoveError::InUse { users, .. }) => assert_eq!(users, ["user".parse().unwrap()]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_somebody_else_put_beside_the_images_stays() {
    let world = World::new();
    world.install(&Project::hello("1").write(&world, "1.pkg"));
    let note = world.folders.package(&hello()).join("README");
    std::fs::write(&note, "mine").unwrap();
    world.install(&Project::hello("2").write(&world, "2.pkg"));
    world.remove_observed(true, &mut |_| ()).unwrap();
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "mine");
}

#[test]
fn progress_ends_at_the_size_of_the_file() {
    let world = World::new();
    let file = Project::hello("1").write(&world, "1.pkg");
    let mut last = None;
    world
        .install_observed(&file, &mut |step| {
            if let Step::Copying { done, total } = step {
                last = Some((done, total));
            }
        })
        .unwrap();
    let size = file.metadata().unwrap().len();
    assert_eq!(last, Some((size, size)));
}

#[test]
fn a_folder_or_fifo_is_no_package_file() {
    let world = World::new();
    let file = File::open(Project::hello("1").write(&world, "1.pkg")).unwrap();
    let plan = world.plan(&file, &Wishes::default());
    let folder = File::open(&world.root).unwrap();
    let result = world.change(&mut |_| (), |change| change.install(&plan, &folder, NOW));
    assert!(matches!(result, Err(InstallError::NotAFile { .. })));
}
