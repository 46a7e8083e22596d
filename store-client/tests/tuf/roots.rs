//! From root to root: signatures of both, versions, thresholds, recovery after keys were stolen.

use pack_store_client::tuf::{Client, FetchError, TufError};
use serde_json::json;

use crate::repository::{KeyNumber, NOW, Repository, key_value, sign};
use crate::world::World;

#[test]
fn roots_are_followed_one_by_one() {
    let mut repository = Repository::new();
    for key in 11..=15 {
        repository.rekey("root", &[key], 1);
        // The old key signs as well.
        let old = if key == 11 { 1 } else { key - 1 };
        repository.signers.insert("root".to_owned(), vec![old, key]);
        repository.publish(&["root"]);
    }
    let world = World::new(&repository);
    world.refreshed(&repository);
    assert_eq!(world.versions(), [6, 1, 1, 1]);
    assert_eq!(repository.asked()[..6], [2, 3, 4, 5, 6, 7].map(|number| format!("{number}.root.json")));
}

#[test]
fn a_root_is_signed_by_enough_of_the_old_keys_and_of_the_new() {
    /// Old keys and threshold, new ones, who signs, whether that is enough.
    type Case<'a> = (&'a [KeyNumber], u32, &'a [KeyNumber], u32, &'a [KeyNumber], bool);
    let cases: [Case<'_>; 10] = [
        (&[1], 1, &[11], 1, &[1, 11], true),
        (&[1], 1, &[11], 1, &[11], false),
        (&[1], 1, &[11], 1, &[1], false),
        (&[1, 2, 3], 2, &[1, 2, 11], 2, &[1, 2], true),
        (&[1, 2, 3], 2, &[1, 2, 11], 2, &[2, 11], false),
        (&[1, 2, 3], 2, &[1, 11, 12], 2, &[1, 2], false),
        (&[1, 2, 3], 2, &[1, 11, 12], 2, &[1, 2, 11], true),
        (&[1, 2, 3], 2, &[1, 2, 3], 3, &[1, 2], false),
        (&[1, 2, 3], 2, &[1, 2, 3], 1, &[1], false),
        (&[1, 2, 3], 2, &[1, 2, 3], 1, &[3, 1], true),
    ];
    for case in cases {
        let (old, old_threshold, new, new_threshold, signers, enough) = case;
        let mut repository = Repository::new();
        repository.rekey("root", old, old_threshold);
        repository.set_version("root", 0);
        repository.publish(&["root"]);
        let world = World::new(&repository);
        repository.rekey("root", new, new_threshold);
        repository.signers.insert("root".to_owned(), signers.to_vec());
        repository.publish(&["root"]);
        let refreshed = world.refresh(&repository);
        assert_eq!(refreshed.is_ok(), enough, "{case:?}");
        assert_eq!(world.versions()[0], if enough { 2 } else { 1 }, "{case:?}");
        if let Err(error) = refreshed {
            assert!(matches!(error, TufError::Signatures { ref role, .. } if role == "root"), "{error}");
        }
    }
}

#[test]
fn a_root_has_the_version_that_was_asked_for() {
    for version in [1, 3, 4] {
        let mut repository = Repository::new();
        let world = World::new(&repository);
        repository.set_version("root", version);
        let bytes = repository.signed("root");
        repository.files.insert("2.root.json".to_owned(), bytes);
        match world.refused(&repository) {
            TufError::Version { role, wanted: 2, found } => {
                assert_eq!((role.as_str(), found), ("root", version))
            }
            other => panic!("{other}"),
        }
        assert_eq!(world.versions(), [1, 0, 0, 0]);
    }
}

/// Only the store's own word that there is none ends the way from root to root.
#[test]
fn a_failure_is_not_taken_for_no_newer_root() {
    let mut repository = Repository::new();
    repository.rekey("timestamp", &[12], 1);
    repository.publish(&["root", "timestamp"]);
    let world = World::new(&repository);
    for failure in [
        FetchError::Failed("the server answers 503 Service Unavailable".to_owned()),
        FetchError::Failed("timeout".to_owned()),
        FetchError::TooLong { length_most: 1 },
    ] {
        repository.fail("2.root.json", move || Err(failure.clone()));
        assert!(matches!(world.refused(&repository), TufError::Fetch { path, .. } if path == "2.root.json"));
        assert_eq!(world.versions(), [1, 0, 0, 0]);
    }
    repository.fail("2.root.json", || Ok(b"<html>Please log in</html>".to_vec()));
    assert!(matches!(world.refused(&repository), TufError::Metadata { .. }));
    repository.faults.borrow_mut().clear();
    world.refreshed(&repository);
    assert_eq!(world.versions(), [2, 2, 1, 1]);
}

#[test]
fn a_chain_of_roots_without_end_is_gone_through_in_pieces() {
    let mut repository = Repository::new();
    (0..10).for_each(|_| repository.publish(&["root"]));
    let mut world = World::new(&repository);
    world.limits.rotations = 4;
    for reached in [5, 9] {
        assert!(matches!(world.refused(&repository), TufError::Rotations { most: 4 }));
        assert_eq!(world.versions(), [reached, 0, 0, 0]);
        assert!(repository.asked().len() == 5);
    }
    world.refreshed(&repository);
    assert_eq!(world.versions(), [11, 1, 1, 1]);
    // As many as are allowed, and no more.
    (0..4).for_each(|_| repository.publish(&["root"]));
    world.refreshed(&repository);
}

#[test]
fn whoever_had_a_key_cannot_have_used_the_versions_up() {
    // Who has the timestamp's and snapshot's keys publishes versions that nobody else can follow…
    let mut repository = Repository::new();
    let world = World::new(&repository);
    for role in ["targets", "snapshot", "timestamp"] {
        repository.set_version(role, 1_000_000);
    }
    repository.publish_targets();
    world.refreshed(&repository);
    // …without a new root nothing helps…
    for role in ["targets", "snapshot", "timestamp"] {
        repository.set_version(role, 1);
    }
    repository.publish_targets();
    assert!(matches!(world.refused(&repository), TufError::Rollback { .. }));
    // …and with new keys the store goes on where it was.
    repository.rekey("timestamp", &[12], 1);
    repository.rekey("snapshot", &[13], 1);
    repository.publish(&["root"]);
    repository.set_version("targets", 1);
    repository.set_version("snapshot", 1);
    repository.set_version("timestamp", 1);
    repository.publish_targets();
    world.refreshed(&repository);
    assert_eq!(world.versions(), [2, 2, 2, 2]);
}

#[test]
fn one_stolen_key_of_several_is_enough_to_begin_anew_and_one_more_key_is_not() {
    for (role, own) in [("timestamp", 2), ("snapshot", 3)] {
        let mut repository = Repository::new();
        repository.rekey(role, &[own, 12], 1);
        repository.publish(&["root", "snapshot", "timestamp"]);
        let world = World::new(&repository);
        repository.set_version(role, 500);
        repository.publish(if role == "timestamp" { &["timestamp"] } else { &["snapshot", "timestamp"] });
        world.refreshed(&repository);
        // A key comes to it: what is known stays known.
        repository.rekey(role, &[own, 12, 22], 1);
        repository.set_version(role, 100);
        repository.publish(&["root", "snapshot", "timestamp"]);
        assert!(
            matches!(world.refused(&repository), TufError::Rollback { role: found, .. } if found == role)
        );
        assert_eq!(world.versions()[0], 3);
        // One is taken away; what is known is still signed by a key that counts.
        repository.rekey(role, &[own, 22], 1);
        repository.publish(&["root"]);
        world.refreshed(&repository);
        assert_eq!(world.versions()[if role == "timestamp" { 1 } else { 2 }], 101);
    }
}

#[test]
fn versions_of_targets_begin_anew_with_the_snapshots_keys() {
    let mut repository = Repository::new();
    repository.delegate("targets", "unwanted", &[5], false, &["*"]);
    repository.set_version("targets", 99);
    repository.publish(&["unwanted", "targets", "snapshot", "timestamp"]);
    let world = World::new(&repository);
    world.target(&repository, "any").unwrap();
    assert!(world.names().contains(&"unwanted.json".to_owned()));
    repository.rekey("snapshot", &[13], 1);
    repository.set_version("targets", 0);
    repository.role("targets").as_object_mut().unwrap().remove("delegations");
    repository.role("snapshot")["meta"].as_object_mut().unwrap().remove("unwanted.json");
    repository.publish(&["root", "targets", "snapshot", "timestamp"]);
    world.refreshed(&repository);
    assert_eq!(world.versions()[3], 1);
    // What the store has no longer is not kept.
    assert!(!world.names().contains(&"unwanted.json".to_owned()));
}

#[test]
fn a_key_under_two_identifiers_counts_once_and_unknown_schemes_never() {
    for (second, counts) in [
        (key_value(2), false),
        (key_value(12), true),
        (json!({"keytype": "ed25519", "scheme": "later", "keyval": key_value(12)["keyval"]}), false),
        (json!({"keytype": "dilithium", "scheme": "x", "keyval": {"public": "00"}}), false),
        (json!({"other": "shape"}), false),
    ] {
        let mut repository = Repository::new();
        let root = repository.role("root");
        root["keys"]["second"] = second.clone();
        root["roles"]["timestamp"] = json!({"keyids": ["key-2", "second"], "threshold": 2});
        repository.publish(&["root"]);
        let second_key = if counts { 12 } else { 2 };
        let timestamp =
            sign(&repository.roles["timestamp"], &[("key-2".into(), 2), ("second".into(), second_key)]);
        repository.files.insert("timestamp.json".to_owned(), timestamp);
        let refreshed = World::new(&repository).refresh(&repository);
        assert_eq!(refreshed.is_ok(), counts, "{second}");
        if let Err(error) = refreshed {
            assert!(matches!(error, TufError::Signatures { found: 1, wanted: 2, .. }), "{error}");
        }
    }
}

#[test]
fn a_signature_twice_is_refused() {
    let mut repository = Repository::new();
    let twice = sign(&repository.roles["timestamp"], &[("key-2".into(), 2), ("key-2".into(), 2)]);
    repository.files.insert("timestamp.json".to_owned(), twice);
    assert!(matches!(World::new(&repository).refused(&repository), TufError::Metadata { .. }));
}

#[test]
fn the_newer_of_the_folders_root_and_the_callers_counts() {
    let mut repository = Repository::new();
    repository.publish(&["root"]);
    repository.publish(&["root"]);
    let world = World::new(&repository);
    let open = |root: Option<&str>| {
        let bytes = root.map(|name| repository.files[name].as_slice());
        Client::open(&world.folder, bytes, &repository, NOW).unwrap();
        world.versions()[0]
    };
    assert_eq!(open(Some("2.root.json")), 2);
    assert_eq!(open(None), 2);
    assert_eq!(open(Some("1.root.json")), 2);
    assert_eq!(open(Some("3.root.json")), 3);
    assert_eq!(repository.asked(), [] as [&str; 0]);
}
