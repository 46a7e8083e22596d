//! Files that do not belong together, and files that are no metadata.

use pack_store_client::tuf::{FetchError, TufError};
use serde_json::{Value, json};

use crate::repository::{Repository, sign};
use crate::world::World;

#[test]
fn versions_of_different_times_are_not_mixed() {
    for hashes in [false, true] {
        for (role, file, kept) in
            [("snapshot", "3.snapshot.json", [1, 3, 2, 2]), ("targets", "3.targets.json", [1, 3, 3, 2])]
        {
            let mut repository = Repository::new();
            repository.hashes = hashes;
            repository.publish_targets();
            let world = World::new(&repository);
            world.refreshed(&repository);
            repository.publish_targets();
            // A file of another time under the name of this one's, validly signed as it is.
            let other = repository.files[&format!("2.{role}.json")].clone();
            repository.files.insert(file.to_owned(), other);
            match world.refused(&repository) {
                TufError::Altered { role: found, .. } if hashes => assert_eq!(found, role),
                TufError::Version { role: found, wanted: 3, found: 2 } if !hashes => assert_eq!(found, role),
                other => panic!("{other}"),
            }
            assert_eq!(world.versions(), kept);
        }
    }
}

#[test]
fn a_file_of_the_same_version_and_another_hash_is_refused() {
    let mut repository = Repository::new();
    repository.hashes = true;
    repository.publish_targets();
    let file = repository.file_of("targets");
    repository.role("targets")["x"] = 1.into();
    let other = repository.signed("targets");
    for other in [other, b"{}".to_vec(), Vec::new()] {
        repository.files.insert(file.clone(), other);
        match World::new(&repository).refused(&repository) {
            TufError::Altered { role, .. } => assert_eq!(role, "targets"),
            TufError::Fetch { source: FetchError::TooLong { .. }, .. } => {}
            other => panic!("{other}"),
        }
    }
}

/// The hash in the metadata counts also for what the folder has.
#[test]
fn a_stored_file_with_another_hash_is_fetched_anew() {
    let mut repository = Repository::new();
    let world = World::new(&repository);
    world.refreshed(&repository);
    // The same versions of other content, with hashes from now on.
    repository.hashes = true;
    for role in ["targets", "snapshot"] {
        let version = repository.version(role);
        repository.set_version(role, version - 1);
        repository.role(role)["x"] = 1.into();
    }
    repository.publish_targets();
    repository.asked();
    world.refreshed(&repository);
    assert_eq!(repository.asked(), ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]);
    assert_eq!(world.read("targets"), repository.files["1.targets.json"]);
}

#[test]
fn metadata_of_another_role_is_refused_though_its_signature_is_right() {
    let mut repository = Repository::new();
    repository.rekey("snapshot", &[2], 1);
    repository.role("snapshot")["meta"]["snapshot.json"] = json!({"version": 1});
    repository.publish(&["root", "snapshot"]);
    let snapshot = repository.files["2.snapshot.json"].clone();
    repository.files.insert("timestamp.json".to_owned(), snapshot);
    match World::new(&repository).refused(&repository) {
        TufError::Metadata { role, source } => {
            assert_eq!(role, "timestamp");
            assert!(source.to_string().contains("type `snapshot`"), "{source}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_not_metadata_is_refused_wherever_it_comes() {
    let mut repository = Repository::new();
    repository.publish(&["root", "targets", "snapshot", "timestamp"]);
    let deep = format!(r#"{{"signatures":[],"signed":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!(r#"{{"signatures":[],"signed":[{}0]}}"#, "0,".repeat(600_000));
    let twice = String::from_utf8(repository.files["timestamp.json"].clone()).unwrap();
    let twice = twice.replacen(r#""version":"#, r#""version":9,"version":"#, 1);
    let escapes = r#"{"signatures":[],"signed":{"_type":"\u001b[31m\u202e","spec_version":"1.0","version":1,"expires":""}}"#;
    let bad = [
        b"".to_vec(),
        b"<html><title>Log in</title></html>".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        br#"{"signatures":[],"signed":{}}"#.to_vec(),
        br#"{"signatures":{},"signed":1}"#.to_vec(),
        deep.into_bytes(),
        wide.into_bytes(),
        twice.into_bytes(),
        escapes.as_bytes().to_vec(),
    ];
    for file in ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"] {
        for bytes in bad.clone() {
            let mut world = World::new(&repository);
            world.limits.timestamp_length = 4 << 20;
            world.limits.root_length = 4 << 20;
            repository.fail(file, move || Ok(bytes.clone()));
            let error = world.refused(&repository);
            let told = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
            assert!(matches!(error, TufError::Metadata { .. }), "{file}: {told}");
            assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told}");
            repository.faults.borrow_mut().clear();
            world.refreshed(&repository);
        }
    }
}

#[test]
fn each_role_has_a_length_that_is_not_read_beyond() {
    let mut repository = Repository::new();
    repository.publish(&["root"]);
    for file in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"] {
        let mut world = World::new(&repository);
        let length = match file {
            "2.root.json" => &mut world.limits.root_length,
            "timestamp.json" => &mut world.limits.timestamp_length,
            "1.snapshot.json" => &mut world.limits.snapshot_length,
            _ => &mut world.limits.targets_length,
        };
        *length = repository.files[file].len() as u64;
        let exact = *length;
        if file == "2.root.json" {
            // The trusted root is as long, but for nothing.
            assert!(repository.files["1.root.json"].len() as u64 <= exact);
        }
        world.refreshed(&repository);
        // A transport that gives more than was asked for is not believed either.
        let mut longer = repository.files[file].clone();
        longer.push(b' ');
        repository.fail(file, move || Ok(longer.clone()));
        let limits = world.limits;
        let mut world = World::new(&repository);
        world.limits = limits;
        match world.refused(&repository) {
            TufError::Fetch { path, source: FetchError::TooLong { length_most } } => {
                assert_eq!((path.as_str(), length_most), (file, exact));
            }
            other => panic!("{other}"),
        }
        repository.faults.borrow_mut().clear();
    }
}

#[test]
fn a_field_that_is_wrong_is_refused_though_it_is_signed() {
    type Change = fn(&mut Value);
    let changes: [(&str, KeyOf, Change); 6] = [
        ("2.root.json", KeyOf("root", 1), |root| root["roles"]["timestamp"]["threshold"] = 0.into()),
        ("2.root.json", KeyOf("root", 1), |root| {
            root["roles"]["timestamp"]["keyids"] = json!(["key-2", "key-2"])
        }),
        ("timestamp.json", KeyOf("timestamp", 2), |timestamp| timestamp["spec_version"] = "2.0.0".into()),
        ("timestamp.json", KeyOf("timestamp", 2), |timestamp| timestamp["version"] = 0.into()),
        ("1.snapshot.json", KeyOf("snapshot", 3), |snapshot| snapshot["meta"] = json!({})),
        ("1.targets.json", KeyOf("targets", 4), |targets| {
            targets["targets"] = json!({"a": {"length": -1, "hashes": {}}})
        }),
    ];
    for (file, KeyOf(role, key), change) in changes {
        let mut repository = Repository::new();
        let world = World::new(&repository);
        let mut signed = repository.roles[role].clone();
        if role == "root" {
            signed["version"] = 2.into();
        }
        change(&mut signed);
        repository.files.insert(file.to_owned(), sign(&signed, &[(format!("key-{key}"), key)]));
        assert!(matches!(world.refused(&repository), TufError::Metadata { .. }), "{file} {signed}");
    }
}

struct KeyOf(&'static str, u8);

#[test]
fn unknown_fields_are_part_of_what_is_signed() {
    let mut repository = Repository::new();
    repository.role("timestamp")["x-later"] = json!({"z": [1, null, "\u{e9}\n\""], "a": {}});
    repository.publish(&["timestamp"]);
    World::new(&repository).refreshed(&repository);
    let text = String::from_utf8(repository.files["timestamp.json"].clone()).unwrap();
    assert!(text.contains("x-later"));
    repository.files.insert("timestamp.json".to_owned(), text.replace("x-later", "x-other").into_bytes());
    assert!(matches!(World::new(&repository).refused(&repository), TufError::Signatures { .. }));
}
