//! Input: a document that a store sends as metadata.

use pack_schemas::tuf::delegation::matches;
use pack_schemas::tuf::json::{canonical, parse};
use pack_schemas::tuf::{Delegations, Metadata, Payload, Root, Snapshot, Targets, Timestamp, quoted};
use serde_json::Value;

/// Reads it as JSON, and as each of the four kinds of metadata.
pub fn run(bytes: &[u8]) {
    let Ok(document) = parse(bytes) else {
        assert!(Metadata::<Root>::parse(bytes).is_err());
        return;
    };
    // What has one reading has serde_json's.
    assert_eq!(serde_json::from_slice::<Value>(bytes).unwrap(), document);
    let written = serde_json::to_vec(&document).unwrap();
    assert_eq!(parse(&written).unwrap(), document);
    assert_eq!(canonical(&parse(&written).unwrap()), canonical(&document));
    let root = metadata::<Root>(bytes, &document);
    let timestamp = metadata::<Timestamp>(bytes, &document);
    let snapshot = metadata::<Snapshot>(bytes, &document);
    let targets = metadata::<Targets>(bytes, &document);
    let kinds = [root.is_some(), timestamp.is_some(), snapshot.is_some(), targets.is_some()];
    assert!(kinds.iter().filter(|is_one| **is_one).count() <= 1);
    if let Some(snapshot) = snapshot {
        assert!(snapshot.of("targets").is_some());
    }
    if let Some(targets) = targets {
        let own = targets.targets.keys().take(20).map(String::as_str);
        for path in own.chain(["", "a", "a/b.json", "pkg/hello.json"]) {
            assert!(quoted(path).bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
            targets.delegations.iter().for_each(|delegations| answer(delegations, path));
        }
    }
}

fn metadata<T: Payload>(bytes: &[u8], document: &Value) -> Option<T> {
    let metadata = Metadata::<T>::parse(bytes).ok()?;
    assert!(metadata.version > 0);
    assert_eq!(metadata.signed_bytes, canonical(&document["signed"]));
    for (index, signature) in metadata.signatures.iter().enumerate() {
        assert!(metadata.signatures[..index].iter().all(|earlier| earlier.keyid != signature.keyid));
    }
    Some(metadata.signed)
}

/// Who answers for a path has keys, and a terminating role is the last.
fn answer(delegations: &Delegations, path: &str) {
    for first in [0, 0x5a, 0xff] {
        let answering = delegations.answering(path, &[first; 32]);
        for (index, role) in answering.iter().enumerate() {
            assert_eq!(delegations.keys_of(&role.name), Some(role.keys));
            assert!(!role.terminating || index + 1 == answering.len());
            // A pattern without letters of its own matches itself.
            let plain = !role.name.contains(['*', '?', '[']);
            assert!(!plain || matches(&role.name, &role.name));
        }
    }
}
