//! Dates, and clocks that are wrong.

use std::fs::File;
use std::time::{Duration, SystemTime};

use pack_store_client::tuf::{TufError, Warning};

use crate::repository::{DAY, NOW, Repository};
use crate::world::World;

#[test]
fn each_role_is_good_until_its_date_and_no_longer() {
    // What is kept when a role is found past its date: a root always, others never.
    for (role, versions) in [
        ("root", [2, 1, 1, 1]),
        ("timestamp", [2, 1, 1, 1]),
        ("snapshot", [2, 2, 1, 1]),
        ("targets", [2, 2, 2, 1]),
    ] {
        for (expires, good) in [(NOW - 1, false), (NOW, false), (NOW + 1, true)] {
            let mut repository = Repository::new();
            let world = World::new(&repository);
            world.refreshed(&repository);
            repository.expire(role, expires);
            repository.publish(&["root", "targets", "snapshot", "timestamp"]);
            if good {
                world.refreshed(&repository);
                assert_eq!(world.versions(), [2; 4]);
                continue;
            }
            match world.refused(&repository) {
                TufError::Expired { role: found, expires: at } => {
                    assert_eq!((found.as_str(), at), (role, expires))
                }
                other => panic!("{other}"),
            }
            assert_eq!(world.versions(), versions, "{role}");
        }
    }
}

#[test]
fn a_store_that_stands_still_is_noticed_when_its_metadata_is_past_its_date() {
    for role in ["root", "timestamp", "snapshot", "targets", "inner"] {
        let mut repository = Repository::new();
        repository.delegate("targets", "inner", &[5], false, &["*"]);
        repository.publish(&["inner"]);
        repository.expire(role, NOW + DAY);
        repository.publish(&["inner", "root", "targets", "snapshot", "timestamp"]);
        let mut world = World::new(&repository);
        world.target(&repository, "any").unwrap();
        world.now = NOW + DAY - 1;
        world.target(&repository, "any").unwrap();
        world.now = NOW + DAY;
        let looked_up = world.refresh(&repository).and_then(|_| {
            let mut client = world.client(&repository);
            client.refresh()?;
            client.target("any")
        });
        match looked_up {
            Err(TufError::Expired { role: found, .. }) => assert_eq!(found, role),
            other => panic!("{role}: {other:?}"),
        }
    }
}

#[test]
fn roots_in_between_may_be_past_their_dates() {
    let mut repository = Repository::new();
    repository.expire("root", NOW - 1000 * DAY);
    repository.publish(&["root"]);
    repository.publish(&["root"]);
    repository.expire("root", NOW + DAY);
    repository.publish(&["root"]);
    let world = World::new(&repository);
    world.refreshed(&repository);
    assert_eq!(world.versions()[0], 4);
}

#[test]
fn a_stale_mirror_is_a_rollback_once_the_newer_was_seen() {
    let mut repository = Repository::new();
    repository.publish_targets();
    let stale = Repository::new();
    let world = World::new(&repository);
    // For a client that has not seen anything newer, the mirror is late and not wrong.
    World::new(&repository).refreshed(&stale);
    world.refreshed(&repository);
    assert!(matches!(world.refused(&stale), TufError::Rollback { .. }));
    world.refreshed(&repository);
}

#[test]
fn a_clock_set_back_brings_nothing_back_to_life() {
    let mut repository = Repository::new();
    repository.expire("timestamp", NOW + 7 * DAY);
    repository.expire("targets", NOW + 5 * DAY);
    repository.publish_targets();
    let mut world = World::new(&repository);
    world.now = NOW + 4 * DAY;
    world.refreshed(&repository);
    // The clock falls back by years: told, and all goes on.
    world.now = NOW - 1000 * DAY;
    for _ in 0..2 {
        let warnings = world.refresh(&repository).unwrap();
        assert_eq!(warnings, [Warning::ClockBehind { now: world.now, last: NOW + 4 * DAY }]);
    }
    assert!(warning_text(&world, &repository).contains("2023"));
    // What was past its date by the time that is known stays so.
    repository.expire("targets", NOW + 3 * DAY);
    repository.publish_targets();
    assert!(matches!(world.refused(&repository), TufError::Expired { role, .. } if role == "targets"));
    // The store goes on, and so does the client, with the clock still wrong.
    repository.expire("targets", NOW + 30 * DAY);
    repository.expire("timestamp", NOW + 30 * DAY);
    repository.publish_targets();
    assert_eq!(world.refresh(&repository).unwrap().len(), 1);
    // And with the clock right again nothing is said.
    world.now = NOW + 5 * DAY;
    world.refreshed(&repository);
}

fn warning_text(world: &World, repository: &Repository) -> String {
    world.refresh(repository).unwrap()[0].to_string()
}

#[test]
fn a_clock_that_was_ahead_once_does_not_brick_a_client() {
    let mut repository = Repository::new();
    let mut world = World::new(&repository);
    world.refreshed(&repository);
    // Years ahead: nothing is good then, and nothing is noted.
    world.now = NOW + 5000 * DAY;
    assert!(matches!(world.refused(&repository), TufError::Expired { .. }));
    world.now = NOW;
    world.refreshed(&repository);
    // Days ahead, while the timestamp was good: noted; what the store signs later has later dates.
    world.now = NOW + 29 * DAY;
    world.refreshed(&repository);
    for role in ["targets", "snapshot", "timestamp"] {
        repository.expire(role, NOW + 31 * DAY);
    }
    repository.publish_targets();
    repository.expire("root", NOW + 31 * DAY);
    repository.publish(&["root"]);
    world.now = NOW + DAY;
    assert_eq!(
        world.refresh(&repository).unwrap(),
        [Warning::ClockBehind { now: NOW + DAY, last: NOW + 29 * DAY }]
    );
}

#[test]
fn a_clock_that_is_put_right_by_seconds_is_not_worth_a_word() {
    let repository = Repository::new();
    let mut world = World::new(&repository);
    world.refreshed(&repository);
    world.now = NOW - 60;
    world.refreshed(&repository);
}

/// A folder that was copied or touched has times that no client noted.
#[test]
fn a_time_past_the_timestamps_date_is_not_believed() {
    let repository = Repository::new();
    let world = World::new(&repository);
    world.refreshed(&repository);
    let touched = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW + 31 * DAY);
    File::open(world.folder.join("timestamp.json")).unwrap().set_modified(touched).unwrap();
    let client = world.refreshed(&repository);
    assert_eq!(client.checked_at().unwrap(), Some(NOW));
}

#[test]
fn without_the_store_what_is_known_can_be_looked_up_and_its_age_is_told() {
    let mut repository = Repository::new();
    repository.delegate("targets", "inner", &[5], false, &["in/*"]);
    repository.delegate("targets", "other", &[6], false, &["other/*"]);
    repository.add_target("inner", "in/a", b"a");
    repository.expire("timestamp", NOW + DAY);
    repository.publish(&["inner", "other", "targets", "snapshot", "timestamp"]);
    let mut world = World::new(&repository);
    assert!(matches!(world.client(&repository).offline(), Err(TufError::NotStored { .. })));
    assert!(world.target(&repository, "in/a").unwrap().is_some());
    repository.asked();
    world.now = NOW + 2 * DAY;
    let mut client = world.client(&repository);
    assert_eq!(
        client.offline().unwrap(),
        [Warning::Expired { role: "timestamp".to_owned(), expires: NOW + DAY }]
    );
    assert_eq!(client.checked_at().unwrap(), Some(NOW));
    assert!(client.target("in/a").unwrap().is_some());
    assert_eq!(client.target("x").unwrap(), None);
    assert!(matches!(client.target("other/x"), Err(TufError::NotStored { role }) if role == "other"));
    assert_eq!(repository.asked(), [] as [&str; 0]);
}
