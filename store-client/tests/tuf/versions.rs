//! Refreshes in order, and rollbacks of each role.

use pack_store_client::tuf::files::Files;
use pack_store_client::tuf::{Client, FetchError, TufError};
use serde_json::json;

use crate::repository::{NOW, Repository};
use crate::world::World;

fn rollback(error: TufError) -> (String, u64, u64) {
    match error {
        TufError::Rollback { role, known, offered } => (role, known, offered),
        other => panic!("{other}"),
    }
}

#[test]
fn a_refresh_asks_for_what_is_new_and_keeps_it_byte_for_byte() {
    for consistent in [true, false] {
        let mut repository = Repository::new();
        repository.role("root")["consistent_snapshot"] = consistent.into();
        repository.publish(&["root"]);
        repository.publish_targets();
        repository.files.get_mut("timestamp.json").unwrap().extend(b" \n");
        let world = World::new(&repository);
        world.refreshed(&repository);
        let named = if consistent {
            ["2.snapshot.json", "2.targets.json"]
        } else {
            ["snapshot.json", "targets.json"]
        };
        assert_eq!(repository.asked(), ["2.root.json", "3.root.json", "timestamp.json", named[0], named[1]]);
        assert_eq!(world.versions(), [2, 2, 2, 2]);
        assert_eq!(world.names(), ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);
        for role in ["root", "timestamp", "snapshot", "targets"] {
            assert_eq!(world.read(role), repository.files[&repository.file_of(role)], "{role}");
        }
        // Nothing is new: the root and the timestamp have to be asked for.
        world.refreshed(&repository);
        assert_eq!(repository.asked(), ["3.root.json", "timestamp.json"]);
    }
}

#[test]
fn a_store_in_a_folder_is_read() {
    let mut repository = Repository::new();
    repository.publish(&["root"]);
    let world = World::new(&repository);
    let folder = world.folder.with_file_name("store");
    let store = Files::new(&folder);
    // A disk that is not there is not a store without a newer root.
    assert!(matches!(world.refused(&store), TufError::Fetch { source: FetchError::Failed(_), .. }));
    std::fs::create_dir(&folder).unwrap();
    repository.files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
    world.refreshed(&store);
    assert_eq!(world.versions(), [2, 1, 1, 1]);
}

#[test]
fn a_target_is_found_with_what_is_said_of_it() {
    let mut repository = Repository::new();
    repository.add_target("targets", "pkg/hello.json", b"content");
    repository.role("targets")["targets"]["pkg/hello.json"]["custom"] = json!({"revision": 7});
    repository.publish_targets();
    let world = World::new(&repository);
    let target = world.target(&repository, "pkg/hello.json").unwrap().unwrap();
    assert_eq!((target.length, target.role.as_str()), (7, "targets"));
    assert_eq!(target.custom, Some(json!({"revision": 7})));
    assert_eq!(target.remote_path(), format!("pkg/{}.hello.json", target.hashes["sha256"]));
    let mut checker = target.checker();
    checker.update(b"content").unwrap();
    checker.finish().unwrap();
    assert_eq!(world.target(&repository, "pkg/other.json").unwrap(), None);
}

#[test]
fn nothing_is_looked_up_before_a_refresh_and_nothing_is_trusted_without_a_root() {
    let repository = Repository::new();
    let world = World::new(&repository);
    assert!(matches!(world.client(&repository).target("a"), Err(TufError::NotRefreshed)));
    let other = World::new(&repository);
    let opened = Client::open(&other.folder, None, &repository, NOW);
    assert!(matches!(opened.map(drop), Err(TufError::NoRoot)));
    let mut unsigned = repository.files["1.root.json"].clone();
    let text = String::from_utf8(unsigned.clone()).unwrap().replace("\"sig\":\"", "\"sig\":\"00");
    unsigned = text.into_bytes();
    let opened = Client::open(&other.folder, Some(&unsigned), &repository, NOW);
    assert!(matches!(opened.map(drop), Err(TufError::Signatures { found: 0, wanted: 1, .. })));
    assert_eq!(repository.asked(), [] as [&str; 0]);
}

/// go-tuf compared the versions of roots alone (CVE-2022-29173).
#[test]
fn cve_2022_29173_a_timestamp_is_not_rolled_back() {
    let mut repository = Repository::new();
    repository.publish(&["timestamp"]);
    let world = World::new(&repository);
    world.refreshed(&repository);
    repository.set_version("timestamp", 0);
    repository.publish(&["timestamp"]);
    assert_eq!(rollback(world.refused(&repository)), ("timestamp".to_owned(), 2, 1));
    assert_eq!(world.versions(), [1, 2, 1, 1]);
}

#[test]
fn a_timestamp_with_the_same_version_and_other_content_is_not_taken() {
    let mut repository = Repository::new();
    let world = World::new(&repository);
    world.refreshed(&repository);
    let before = world.read("timestamp");
    repository.set_version("timestamp", 0);
    repository.role("timestamp")["meta"]["snapshot.json"]["version"] = 100.into();
    repository.publish(&["timestamp"]);
    repository.asked();
    world.refreshed(&repository);
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
    assert_eq!(world.read("timestamp"), before);
}

#[test]
fn a_snapshot_is_not_rolled_back_by_a_newer_timestamp() {
    for hashes in [false, true] {
        let mut repository = Repository::new();
        repository.hashes = hashes;
        repository.publish(&["snapshot", "timestamp"]);
        let world = World::new(&repository);
        world.refreshed(&repository);
        repository.set_version("snapshot", 0);
        repository.publish(&["snapshot", "timestamp"]);
        repository.asked();
        assert_eq!(rollback(world.refused(&repository)), ("snapshot".to_owned(), 2, 1));
        assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
        assert_eq!(world.versions(), [1, 2, 2, 1]);
    }
}

#[test]
fn a_snapshot_is_not_rolled_back_where_the_timestamp_was_lost() {
    let mut repository = Repository::new();
    repository.publish(&["snapshot", "timestamp"]);
    let world = World::new(&repository);
    world.refreshed(&repository);
    std::fs::write(world.folder.join("timestamp.json"), "").unwrap();
    assert_eq!(rollback(world.refused(&Repository::new())), ("snapshot".to_owned(), 2, 1));
    world.refreshed(&repository);
}

/// tough did not compare the versions of delegated targets (CVE-2025-2887).
#[test]
fn cve_2025_2887_targets_are_not_rolled_back_delegated_ones_neither() {
    for hashes in [false, true] {
        for role in ["targets", "inner"] {
            let mut repository = Repository::new();
            repository.hashes = hashes;
            repository.delegate("targets", "inner", &[5], false, &["*"]);
            repository.publish(&["inner", "targets", "snapshot", "timestamp"]);
            repository.publish(&["inner", "targets", "snapshot", "timestamp"]);
            let world = World::new(&repository);
            world.target(&repository, "any").unwrap();
            let known = repository.version(role);
            repository.set_version(role, known - 2);
            repository.publish(&[role, "snapshot", "timestamp"]);
            assert_eq!(rollback(world.refused(&repository)), (role.to_owned(), known, known - 1));
            assert_eq!(world.versions(), [1, 4, 3, 3]);
        }
    }
}

/// A role that is gone from the snapshot could be brought back later in an old version.
#[test]
fn a_role_does_not_vanish_from_the_snapshot() {
    let mut repository = Repository::new();
    repository.delegate("targets", "inner", &[5], false, &["*"]);
    repository.publish(&["inner", "targets", "snapshot", "timestamp"]);
    let world = World::new(&repository);
    world.refreshed(&repository);
    repository.role("snapshot")["meta"].as_object_mut().unwrap().remove("inner.json");
    repository.publish(&["snapshot", "timestamp"]);
    assert!(matches!(world.refused(&repository), TufError::Dropped { role } if role == "inner"));
    assert_eq!(world.versions()[2], 2);
}

#[test]
fn rollbacks_are_noticed_by_a_snapshot_that_is_past_its_date() {
    let mut repository = Repository::new();
    repository.publish_targets();
    repository.expire("snapshot", NOW + 10);
    repository.publish(&["snapshot", "timestamp"]);
    let mut world = World::new(&repository);
    world.refreshed(&repository);
    world.now = NOW + 100;
    repository.expire("snapshot", NOW + 1000);
    repository.set_version("targets", 0);
    repository.publish_targets();
    assert_eq!(rollback(world.refused(&repository)), ("targets".to_owned(), 2, 1));
}

#[test]
fn a_file_that_is_missing_stops_a_refresh_where_it_is() {
    let mut repository = Repository::new();
    let world = World::new(&repository);
    world.refreshed(&repository);
    let missing = |error: TufError| match error {
        TufError::Fetch { path, source: FetchError::NotFound } => path,
        other => panic!("{other}"),
    };
    repository.publish_targets();
    let targets = repository.files.remove("2.targets.json").unwrap();
    assert_eq!(missing(world.refused(&repository)), "2.targets.json");
    assert_eq!(world.versions(), [1, 2, 2, 1]);
    repository.files.insert("2.targets.json".to_owned(), targets);
    world.refreshed(&repository);
    repository.publish_targets();
    repository.files.remove("3.snapshot.json");
    assert_eq!(missing(world.refused(&repository)), "3.snapshot.json");
    assert_eq!(world.versions(), [1, 3, 2, 2]);
    repository.files.remove("timestamp.json");
    assert_eq!(missing(world.refused(&repository)), "timestamp.json");
    assert_eq!(world.versions(), [1, 3, 2, 2]);
}
