//! Which role answers for a target.

use pack_store_client::tuf::TufError;
use serde_json::json;

use crate::repository::{Repository, key_id, sha256};
use crate::world::World;

/// Delegations from, to, terminating, and of what.
type Edge<'a> = (&'a str, &'a str, bool, &'a [&'a str]);

fn store(edges: &[Edge<'_>]) -> Repository {
    let mut repository = Repository::new();
    let mut names: Vec<&str> = Vec::new();
    for (from, to, terminating, paths) in edges {
        repository.delegate(from, to, &[5], *terminating, paths);
        if !names.contains(to) {
            names.push(to);
        }
    }
    names.extend(["targets", "snapshot", "timestamp"]);
    repository.publish(&names);
    repository
}

/// The roles that are asked for a target, in order.
fn asked(repository: &Repository, path: &str) -> Vec<String> {
    let world = World::new(repository);
    let mut client = world.refreshed(repository);
    repository.asked();
    assert_eq!(client.target(path).unwrap(), None);
    let name = |file: String| file.strip_prefix("1.").unwrap().strip_suffix(".json").unwrap().to_owned();
    repository.asked().into_iter().map(name).collect()
}

/// go-tuf went through delegations in no order (CVE-2024-47534), tough did not stop at terminating ones (CVE-2025-2886).
#[test]
fn cve_2024_47534_cve_2025_2886_roles_are_asked_in_order_up_to_terminating_ones() {
    const ALL: &[&str] = &["*"];
    const NONE: &[&str] = &["*.other"];
    let cases: [(&[Edge<'_>], &[&str]); 9] = [
        (&[("targets", "a", false, ALL), ("targets", "b", false, ALL)], &["a", "b"]),
        (
            &[
                ("targets", "a", false, ALL),
                ("targets", "b", false, ALL),
                ("a", "c", false, ALL),
                ("a", "d", false, ALL),
            ],
            &["a", "c", "d", "b"],
        ),
        (
            &[
                ("targets", "a", false, ALL),
                ("targets", "b", false, ALL),
                ("a", "c", true, ALL),
                ("a", "d", false, ALL),
                ("c", "e", false, ALL),
            ],
            &["a", "c", "e"],
        ),
        (&[("targets", "a", true, ALL), ("targets", "b", false, ALL)], &["a"]),
        (&[("targets", "a", true, NONE), ("targets", "b", false, ALL)], &["b"]),
        (&[("targets", "a", false, NONE), ("targets", "b", false, ALL), ("a", "c", false, ALL)], &["b"]),
        (
            &[
                ("targets", "a", false, ALL),
                ("a", "b", false, ALL),
                ("b", "c", false, ALL),
                ("c", "a", false, ALL),
            ],
            &["a", "b", "c"],
        ),
        (
            &[
                ("targets", "a", false, ALL),
                ("targets", "b", false, ALL),
                ("b", "c", false, ALL),
                ("a", "c", false, ALL),
            ],
            &["a", "c", "b"],
        ),
        (&[("targets", "a", false, &[]), ("targets", "b", false, ALL)], &["b"]),
    ];
    for (edges, expected) in cases {
        assert_eq!(asked(&store(edges), "missing"), expected, "{edges:?}");
    }
}

#[test]
fn the_first_role_that_has_a_target_answers() {
    let mut repository = store(&[
        ("targets", "a", false, &["x/*"]),
        ("targets", "b", false, &["*/*"]),
        ("a", "c", false, &["x/?"]),
    ]);
    repository.add_target("b", "x/1", b"of b");
    repository.add_target("c", "x/1", b"of c");
    repository.add_target("b", "x/22", b"of b");
    // None of theirs to give.
    repository.add_target("c", "y/1", b"of c");
    repository.add_target("a", "y/2", b"of a");
    repository.publish(&["a", "b", "c", "targets", "snapshot", "timestamp"]);
    let world = World::new(&repository);
    let mut client = world.refreshed(&repository);
    let mut answering = |path: &str| client.target(path).unwrap().map(|target| (target.role, target.length));
    assert_eq!(answering("x/1"), Some(("c".to_owned(), 4)));
    assert_eq!(answering("x/22"), Some(("b".to_owned(), 4)));
    assert_eq!(answering("y/1"), None);
    assert_eq!(answering("y/2"), None);
}

/// The specification lets a role be delegated to by two others, with different keys.
#[test]
fn a_role_that_was_read_is_checked_again_by_the_keys_of_this_way_to_it() {
    let mut repository = Repository::new();
    repository.delegate("targets", "a", &[5], false, &["a/*"]);
    repository.delegate("targets", "b", &[6], false, &["b/*"]);
    repository.delegate("a", "release", &[7], false, &["a/*"]);
    repository.delegate("b", "release", &[8], false, &["b/*"]);
    repository.add_target("release", "a/x", b"good");
    repository.add_target("release", "b/x", b"not signed by whom b names");
    repository.publish(&["release", "a", "b", "targets", "snapshot", "timestamp"]);
    let world = World::new(&repository);
    // In one client, and in one that finds the role in its folder.
    let mut client = world.refreshed(&repository);
    assert!(client.target("a/x").unwrap().is_some());
    for client in [&mut client, &mut world.refreshed(&repository)] {
        match client.target("b/x") {
            Err(TufError::Signatures { role, found: 0, .. }) => assert_eq!(role, "release"),
            other => panic!("{other:?}"),
        }
    }
    assert!(client.target("a/x").unwrap().is_some());
}

#[test]
fn a_role_that_is_wrong_is_not_passed_over() {
    let mut repository = store(&[("targets", "a", false, &["*"]), ("targets", "b", false, &["*"])]);
    repository.add_target("b", "x", b"of b");
    repository.publish(&["b", "snapshot", "timestamp"]);
    let world = World::new(&repository);
    assert!(world.target(&repository, "x").unwrap().is_some());
    // Whoever withholds or breaks the first role does not get the second one asked.
    for bytes in [None, Some(b"{}".to_vec())] {
        let world = World::new(&repository);
        let mut other = store(&[("targets", "a", false, &["*"]), ("targets", "b", false, &["*"])]);
        other.files = repository.files.clone();
        match bytes {
            Some(bytes) => other.files.insert("1.a.json".to_owned(), bytes),
            None => other.files.remove("1.a.json"),
        };
        assert!(world.refreshed(&other).target("x").is_err());
    }
}

#[test]
fn a_role_that_the_snapshot_does_not_list_is_not_asked_for() {
    let mut repository = Repository::new();
    repository.delegate("targets", "a", &[5], false, &["*"]);
    repository.publish(&["a"]);
    repository.role("snapshot")["meta"].as_object_mut().unwrap().remove("a.json");
    repository.publish_targets();
    let world = World::new(&repository);
    let mut client = world.refreshed(&repository);
    repository.asked();
    assert!(matches!(client.target("x"), Err(TufError::NotInSnapshot { role, .. }) if role == "a"));
    assert_eq!(repository.asked(), [] as [&str; 0]);
    assert!(!world.names().contains(&"a.json".to_owned()));
}

#[test]
fn long_ways_end() {
    let names: Vec<String> = (0..50).map(|number| format!("role-{number}")).collect();
    let mut edges: Vec<Edge<'_>> = vec![("targets", &names[0], false, &["*"])];
    edges.extend(names.windows(2).map(|pair| (pair[0].as_str(), pair[1].as_str(), false, &["*"][..])));
    let repository = store(&edges);
    let mut world = World::new(&repository);
    let mut client = world.refreshed(&repository);
    repository.asked();
    assert!(matches!(client.target("x"), Err(TufError::Roles { most: 32, .. })));
    assert_eq!(repository.asked().len(), 32);
    world.limits.roles = 50;
    assert_eq!(world.target(&repository, "x").unwrap(), None);
}

/// Hashed bins: what is fetched for a target is one role, however many there are.
#[test]
fn one_bin_is_fetched_for_a_target() {
    let path = "pkg/hello.json";
    let digest = sha256(path.as_bytes());
    for succinct in [false, true] {
        let mut repository = Repository::new();
        let bins: Vec<String> = (0..256).map(|number| format!("bin-{number:02x}")).collect();
        if succinct {
            repository.role("targets")["delegations"] = json!({"keys": {key_id(5): crate::repository::key_value(5)},
                "succinct_roles": {"keyids": [key_id(5)], "threshold": 1, "bit_length": 8, "name_prefix": "bin"}});
        } else {
            for (number, name) in bins.iter().enumerate() {
                repository.delegate_as(
                    "targets",
                    &[5],
                    json!({"name": name, "keyids": [key_id(5)], "threshold": 1,
                    "terminating": true, "path_hash_prefixes": [format!("{number:02x}")]}),
                );
            }
        }
        bins.iter().for_each(|name| repository.add_delegated(name, &[5]));
        let bin = format!("bin-{}", &digest[..2]);
        repository.add_target(&bin, path, b"hello");
        let all: Vec<&str> =
            bins.iter().map(String::as_str).chain(["targets", "snapshot", "timestamp"]).collect();
        repository.publish(&all);
        let world = World::new(&repository);
        let mut client = world.refreshed(&repository);
        repository.asked();
        assert_eq!(client.target(path).unwrap().unwrap().role, bin);
        assert_eq!(repository.asked(), [format!("1.{bin}.json")]);
        // And none a second time, until it is another one.
        assert!(world.target(&repository, path).unwrap().is_some());
        assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
        repository.publish(&[&bin, "snapshot", "timestamp"]);
        assert!(world.target(&repository, path).unwrap().is_some());
        let bin_file = format!("2.{bin}.json");
        assert_eq!(repository.asked(), ["2.root.json", "timestamp.json", "3.snapshot.json", &bin_file]);
    }
}

#[test]
fn names_of_roles_lead_out_of_no_folder() {
    for name in ["../a", "/a", "a/b", "?", "#", "%2e%2e", "a\\b", "\0", ".", "..", "ü\n"] {
        let mut repository = Repository::new();
        repository.delegate("targets", name, &[5], false, &["*"]);
        repository.publish(&[name, "targets", "snapshot", "timestamp"]);
        let world = World::new(&repository);
        assert_eq!(world.target(&repository, "x").unwrap(), None, "{name:?}");
        assert_eq!(world.names().len(), 5, "{name:?}: {:?}", world.names());
        let around = std::fs::read_dir(world.folder.parent().unwrap()).unwrap().count();
        assert_eq!(around, 1, "{name:?}");
        // It is found in the folder.
        repository.asked();
        assert_eq!(world.target(&repository, "x").unwrap(), None);
        assert_eq!(repository.asked(), ["2.root.json", "timestamp.json"]);
    }
    for name in ["root", "snapshot", "targets", "timestamp", ""] {
        let mut repository = Repository::new();
        repository.delegate_as(
            "targets",
            &[5],
            json!({"name": name, "keyids": [], "threshold": 1,
            "terminating": false, "paths": ["*"]}),
        );
        repository.publish_targets();
        assert!(matches!(World::new(&repository).refused(&repository), TufError::Metadata { .. }), "{name}");
    }
}

#[test]
fn names_of_targets_lead_down_only() {
    let mut repository = Repository::new();
    let names = ["../x", "/x", "a/../../x", "a\\..\\x", "a\0", "./x", "a//b", "", "a/"];
    names.iter().for_each(|name| repository.add_target("targets", name, b"x"));
    repository.add_target("targets", "%2e%2e/x?y#z", b"x");
    repository.publish_targets();
    let world = World::new(&repository);
    let mut client = world.refreshed(&repository);
    for name in names {
        assert!(matches!(client.target(name), Err(TufError::Path { .. })), "{name:?}");
    }
    let target = client.target("%2e%2e/x?y#z").unwrap().unwrap();
    assert_eq!(target.remote_path(), format!("%252e%252e/{}.x%3Fy%23z", sha256(b"x")));
}

#[test]
fn a_target_is_told_by_its_exact_name() {
    let mut repository = Repository::new();
    repository.add_target("targets", "pkg/Caf\u{e9}.json", b"x");
    repository.publish_targets();
    let world = World::new(&repository);
    let mut client = world.refreshed(&repository);
    for other in ["pkg/caf\u{e9}.json", "pkg/Cafe\u{301}.json", "pkg/Caf%C3%A9.json", "pkg/Caf\u{e9}.json."] {
        assert_eq!(client.target(other).unwrap(), None, "{other}");
    }
    assert!(client.target("pkg/Caf\u{e9}.json").unwrap().is_some());
}
