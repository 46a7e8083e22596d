//! python-tuf, the reference implementation, as the peer: stores that it makes, and what it says of the formats.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use pack_schemas::tuf::Delegations;
use pack_schemas::tuf::delegation::matches;
use pack_schemas::tuf::json::{canonical, parse};
use pack_store_client::tuf::http::{Http, Settings};
use pack_store_client::tuf::{Client, Transport};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::server::{Server, respond};

/// Python with python-tuf, from the Python package index, kept between runs of the tests.
fn python() -> PathBuf {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    let install = || {
        let user = if rustix::process::geteuid().is_root() { "root" } else { "user" };
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-tuf-{user}"));
        // Its programs know where they are: a checkout that was moved needs it anew.
        let place = folder.to_string_lossy().into_owned();
        if fs::read_to_string(folder.join("complete")).ok().as_ref() != Some(&place) {
            let _ = fs::remove_dir_all(&folder);
            succeed(Command::new("/usr/bin/python3").args(["-m", "venv"]).arg(&folder));
            let packages = ["tuf==7.0.0", "securesystemslib[crypto]==1.4.0"];
            succeed(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(packages));
            fs::write(folder.join("complete"), place).unwrap();
        }
        folder.join("bin/python3")
    };
    PYTHON.get_or_init(install).clone()
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn peer(arguments: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tuf/peer.py");
    succeed(Command::new(python()).arg(script).args(arguments))
}

/// Looks targets up in a store of python-tuf's, fetches and checks them; gives the roles that answered.
fn read_store(kind: &str, paths: &[&str]) -> Vec<Option<String>> {
    let place = tempfile::tempdir().unwrap();
    let store = place.path().join("store");
    peer(&["store", store.to_str().unwrap(), kind]);
    let root = fs::read(store.join("metadata/1.root.json")).unwrap();
    let server = Server::start(Box::new(move |path, stream| {
        // Files are named as they are asked for.
        match fs::read(store.join(path.trim_start_matches('/'))) {
            Ok(bytes) => respond(stream, "200 OK", &bytes),
            Err(_) => respond(stream, "404 Not Found", b""),
        }
    }));
    let http = |place: &str| {
        Http::new(&format!("{}/{place}", server.address), Settings::usual(BTreeMap::new())).unwrap()
    };
    let (metadata, targets) = (http("metadata"), http("targets"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut roles = Vec::new();
    // The second client has all that it needs but the timestamp.
    for _ in 0..2 {
        let mut client = Client::open(&place.path().join("tuf"), Some(&root), &metadata, now).unwrap();
        assert_eq!(client.refresh().unwrap(), [], "{kind}");
        roles = Vec::new();
        for path in paths {
            let target = client.target(path).unwrap_or_else(|error| panic!("{kind}: {path}: {error}"));
            if let Some(target) = &target {
                assert_eq!(target.custom, Some(json!({"of": path})));
                let bytes = targets.fetch(&target.remote_path(), target.length).unwrap();
                let mut checker = target.checker();
                checker.update(&bytes).unwrap();
                checker.finish().unwrap();
            }
            roles.push(target.map(|target| target.role));
        }
    }
    roles
}

const LISTED: [&str; 7] =
    ["top.txt", "README.md", "releases/x/other", "releases/x/1.zip", "releases/y/1.zip", "team/b", "team/d"];

/// python-tuf hashes with SHA-512 alone where it is told to, and names files by the first hash.
#[test]
fn delegations_by_pattern_of_python_tuf_are_read() {
    for kind in ["lists-plain", "lists-plain-hashes", "lists-plain-pretty", "rotated-plain-hashes"] {
        let expected = ["targets", "first", "inner", "innermost", "", "team/x?", ""];
        let expected = expected.map(|role| (!role.is_empty()).then(|| role.to_owned()));
        assert_eq!(read_store(kind, &LISTED), expected, "{kind}");
    }
}

#[test]
fn consistent_snapshots_of_python_tuf_are_read() {
    for kind in ["lists", "lists-hashes", "rotated-hashes-pretty"] {
        // Which hash a file is named by is left to whoever publishes; here SHA-512 comes first once.
        let paths = LISTED.map(|path| if path == "releases/x/1.zip" { "top.txt" } else { path });
        let roles = read_store(kind, &paths);
        assert_eq!(roles[1].as_deref(), Some("first"), "{kind}");
        assert_eq!(roles[5].as_deref(), Some("team/x?"), "{kind}");
        assert_eq!(roles[6], None, "{kind}");
    }
}

#[test]
fn hashed_bins_of_python_tuf_are_read() {
    for kind in ["prefixes-hashes", "bins", "bins-hashes", "bins-plain"] {
        let paths: Vec<String> = (0..60).map(|number| format!("pkg/package-{number}.json")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).chain(["pkg/none.json"]).collect();
        let roles = read_store(kind, &paths);
        let (last, rest) = roles.split_last().unwrap();
        assert_eq!(*last, None, "{kind}");
        assert!(
            rest.iter().all(|role| role.as_ref().is_some_and(|role| role.starts_with("bin"))),
            "{kind}: {rest:?}"
        );
    }
}

#[test]
fn patterns_bins_and_canonical_forms_are_those_of_python_tuf() {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in peer(&["oracle", "7"]).lines() {
        let answer: Vec<Value> = serde_json::from_str(line).unwrap();
        let text = |index: usize| answer[index].as_str().unwrap();
        match text(0) {
            "pattern" => assert_eq!(matches(text(1), text(2)), answer[3], "{line}"),
            "bin" => {
                let delegations: Delegations = serde_json::from_value(json!({"keys": {}, "succinct_roles": {
                    "keyids": [], "threshold": 1, "bit_length": answer[1], "name_prefix": "b"}}))
                .unwrap();
                let mut path_sha256 = [0; 32];
                path_sha256.copy_from_slice(digest(&SHA256, text(2).as_bytes()).as_ref());
                assert_eq!(delegations.answering(text(2), &path_sha256)[0].name, answer[3], "{line}");
            }
            _ => {
                let document = parse(text(1).as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(canonical(&document), text(2).as_bytes(), "{line}");
            }
        }
        *counts.entry(text(0).to_owned()).or_default() += 1;
    }
    assert_eq!(counts.values().copied().collect::<Vec<_>>(), [500, 1500, 3000]);
}
