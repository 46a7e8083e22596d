//! Runs that are killed, files that are damaged, and several clients at once.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use pack_store_client::tuf::http::{Http, Settings};
use pack_store_client::tuf::{Client, Limits, TufError};

use crate::repository::{NOW, Repository};
use crate::server::{Server, respond};
use crate::world::{World, version};

/// A store at two times: keys, versions and roles change in between.
fn store(later: bool) -> Repository {
    let mut repository = Repository::new();
    for role in ["inner", "going"] {
        repository.delegate("targets", role, &[5], false, &["*"]);
    }
    repository.publish(&["inner", "going", "targets", "snapshot", "timestamp"]);
    if later {
        repository.publish(&["root"]);
        repository.rekey("snapshot", &[13], 1);
        repository.role("snapshot")["meta"].as_object_mut().unwrap().remove("going.json");
        let delegations = repository.role("targets")["delegations"]["roles"].as_array_mut().unwrap();
        delegations.retain(|role| role["name"] == "inner");
        repository.publish(&["root", "inner", "targets", "snapshot", "timestamp"]);
    }
    repository
}

fn update(folder: &Path, repository: &Repository) -> Result<(), TufError> {
    let root = &repository.files["1.root.json"];
    let mut client = Client::open(folder, Some(root), repository, NOW)?;
    client.refresh()?;
    assert_eq!(client.target("missing")?, None);
    Ok(())
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    contents(from).into_iter().for_each(|(name, bytes)| fs::write(to.join(name), bytes).unwrap());
}

const FOLDER: &str = "PACK_TEST_TUF_FOLDER";

/// The process that is killed: this test's own program, started again.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    update(&PathBuf::from(folder), &store(true)).unwrap();
}

/// Runs the child, and kills it when it makes a system call for the `number`th time.
fn killed_at(call: &str, number: usize, folder: &Path) -> Output {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:signal=KILL:when={number}")]);
    strace.arg(std::env::current_exe().unwrap()).args(["--exact", "faults::child"]).env(FOLDER, folder);
    strace.output().unwrap()
}

#[test]
fn a_run_that_is_killed_anywhere_leaves_what_the_next_one_goes_on_from() {
    let place = tempfile::tempdir().unwrap();
    let (before, after, folder) =
        (place.path().join("before"), place.path().join("after"), place.path().join("tuf"));
    update(&before, &store(false)).unwrap();
    copy(&before, &after);
    update(&after, &store(true)).unwrap();
    let (old, new) = (contents(&before), contents(&after));
    let published = store(true);
    let mut killed = 0;
    for call in ["openat", "fchmod", "fsync", "renameat2", "unlinkat", "utimensat"] {
        for number in 1.. {
            copy(&before, &folder);
            let output = killed_at(call, number, &folder);
            if output.status.signal().is_none() && output.status.code() != Some(137) {
                assert!(output.status.success(), "{call} {number}: {output:?}");
                assert_eq!(contents(&folder), new);
                break;
            }
            killed += 1;
            for (name, bytes) in contents(&folder).iter().filter(|(name, _)| name.ends_with(".json")) {
                // A root in between is one that the store had.
                let good = [old.get(name), new.get(name), published.files.get("2.root.json")];
                assert!(good.contains(&Some(bytes)), "{call} {number}: {name}");
            }
            let mut client = Client::open(&folder, None, &published, NOW).unwrap();
            match client.offline() {
                Ok(_) | Err(TufError::NotStored { .. }) => {}
                Err(error) => panic!("{call} {number}: {error}"),
            }
            update(&folder, &published).unwrap();
            assert_eq!(contents(&folder), new, "{call} {number}");
        }
    }
    assert!(killed >= 30, "{killed}");
}

#[test]
fn damaged_files_are_fetched_anew_and_never_believed() {
    let repository = store(true);
    let world = World::new(&repository);
    let look_up = || -> Result<Vec<String>, TufError> {
        repository.asked();
        let mut client = world.client(&repository);
        client.refresh()?;
        assert_eq!(client.target("missing")?, None);
        Ok(repository.asked())
    };
    look_up().unwrap();
    let whole = contents(&world.folder);
    assert_eq!(whole.len(), 5);
    for (name, bytes) in &whole {
        let mut damaged: Vec<Vec<u8>> = vec![Vec::new(), b"{}".to_vec(), vec![0; bytes.len()]];
        damaged.push(bytes[..bytes.len() / 2].to_vec());
        damaged.push([bytes.as_slice(), bytes.as_slice()].concat());
        damaged.push(vec![b'['; 9 << 20]);
        for position in (0..bytes.len()).step_by(bytes.len() / 15) {
            let mut flipped = bytes.clone();
            flipped[position] ^= 1;
            damaged.push(flipped);
        }
        for damaged in damaged {
            fs::write(world.folder.join(name), &damaged).unwrap();
            let mut client = world.client(&repository);
            if let Ok(warnings) = client.offline() {
                // A byte that is not signed, or a role that is read later.
                assert_eq!(warnings, []);
                assert!(matches!(client.target("missing"), Ok(None) | Err(TufError::NotStored { .. })));
            }
            look_up().unwrap();
            let now = contents(&world.folder);
            for (other, bytes) in &now {
                // What was changed outside of what is signed, such as a signature that nobody needs, may stay.
                assert!(bytes == &whole[other] || other == name && bytes == &damaged, "{other}");
            }
            look_up().unwrap();
            fs::write(world.folder.join(name), bytes).unwrap();
        }
    }
    assert_eq!(look_up().unwrap(), ["4.root.json", "timestamp.json"]);
}

#[test]
fn what_a_killed_run_was_writing_is_taken_away() {
    let repository = Repository::new();
    let world = World::new(&repository);
    world.refreshed(&repository);
    fs::write(world.folder.join(".timestamp.json.pack-new"), "{").unwrap();
    world.refreshed(&repository);
    assert_eq!(world.names(), ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);
}

#[test]
fn several_clients_and_a_publisher_at_once_lose_nothing() {
    let mut repository = Repository::new();
    let world = World::new(&repository);
    let files = Arc::new(Mutex::new(repository.files.clone()));
    let served = Arc::clone(&files);
    let server = Server::start(Box::new(move |path, stream| {
        let file = served.lock().unwrap().get(path.trim_start_matches('/')).cloned();
        match file {
            Some(bytes) => respond(stream, "200 OK", &bytes),
            None => respond(stream, "404 Not Found", b""),
        }
    }));
    let http = || Http::new(&server.address, Settings::usual(BTreeMap::new())).unwrap();
    let root = repository.files["1.root.json"].clone();
    let folder = &world.folder;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let http = http();
                    let mut client = Client::open(folder, Some(&root), &http, NOW).unwrap();
                    client.refresh().unwrap();
                }
            });
        }
        scope.spawn(|| {
            let mut seen = 0;
            while !is_over.load(Ordering::Relaxed) {
                let now = version(folder, "timestamp");
                assert!(now >= seen, "{now} after {seen}");
                seen = now;
            }
        });
        for _ in 0..30 {
            repository.publish_targets();
            files.lock().unwrap().clone_from(&repository.files);
            thread::sleep(Duration::from_millis(20));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    world.refreshed(&http());
    assert_eq!(world.versions(), [1, 31, 31, 31]);
}

#[test]
fn a_folder_that_is_in_use_for_too_long_is_told() {
    let repository = Repository::new();
    let mut world = World::new(&repository);
    world.refreshed(&repository);
    world.limits = Limits { patience: Duration::from_millis(100), ..Limits::default() };
    let holder = fs::File::open(&world.folder).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let busy = Client::open_with(&world.folder, None, &repository, NOW, world.limits);
    assert!(matches!(busy.map(drop), Err(TufError::Busy { .. })));
    drop(holder);
    world.refreshed(&repository);
}
