//! Stores whose owners, or whoever has their keys, sign what is not so: what a user's machine believes all the same.

#[path = "support/assembled.rs"]
mod assembled;
#[path = "support/published.rs"]
mod published;
mod support;

use std::path::Path;

use pack_schemas::names::{Architecture, Hash, PublicKey};
use pack_schemas::store::StoreRevision;

use published::Published;
use support::{World, err, fail, succeed};

/// A publisher who signs whatever the test wants, and a user.
struct Forger {
    store: Published,
    publisher: World,
    user: World,
}

impl Forger {
    fn new() -> Forger {
        let (publisher, user) = (World::with_key(), World::new());
        let store = Published::new(&publisher);
        let path = store.folder().display().to_string();
        let add = ["remote", "add", &path, "--name", "forged", "--fingerprint", &store.fingerprint];
        succeed(user.pack(add));
        Forger { store, publisher, user }
    }

    /// Publishes a file as `name`, with an entry that was changed.
    fn publish(&self, name: &str, file: &Path, key: PublicKey, change: impl FnOnce(&mut StoreRevision)) {
        self.store.publish(file, |entry| {
            (entry.name, entry.key) = (name.to_owned(), key);
            change(&mut entry.revision);
        });
    }

    #[track_caller]
    fn refused(&self, name: &str, words: &str) {
        for verb in [&["install", name][..], &["download", name, "-o", "got.pkg"]] {
            let mut command = self.user.pack(verb);
            command.env("XDG_CACHE_HOME", self.user.home("cache"));
            let refused = err(&fail(command, 1));
            assert!(refused.contains(words), "{words}\n{refused}");
        }
        assert!(!self.user.home("got.pkg").exists());
        assert!(!self.user.home(".local/share/pack/packages").join(name).join("state.json").exists());
    }
}

#[test]
fn a_package_that_is_not_what_its_entry_says_is_refused() {
    let forger = Forger::new();
    let file = assembled::package(&forger.publisher, "hello", true);
    let key = forger.store.key();
    let differs = |what: &str| format!("is not what it says of it: {what} differs");
    forger.publish("other", &file, key, |_| ());
    forger.refused("other", &differs("the name"));
    forger.publish("hello", &file, PublicKey([3; 32]), |_| ());
    forger.refused("hello", &differs("the publisher"));
}

#[test]
fn every_word_of_an_entry_counts() {
    for (what, change) in [
        ("the version", (|revision| revision.version = "9.0".parse().unwrap()) as fn(&mut StoreRevision)),
        ("the envelope", |revision| revision.envelope = Hash([7; 32])),
        ("the architecture", |revision| revision.architecture = Architecture::All),
        ("the type", |revision| revision.package_type = pack_schemas::manifest::PackageType::Base),
        ("the epoch", |revision| revision.epoch = serde_json::from_str("\"3\"").unwrap()),
    ] {
        let forger = Forger::new();
        let file = assembled::package(&forger.publisher, "hello", true);
        forger.publish("hello", &file, forger.store.key(), change);
        forger.refused("hello", &format!("{what} differs"));
    }
}

#[test]
fn an_unsigned_package_does_not_come_in_through_a_store() {
    let forger = Forger::new();
    let file = assembled::package(&forger.publisher, "hello", false);
    forger.publish("hello", &file, forger.store.key(), |_| ());
    forger.refused("hello", "the publisher differs");
}

#[test]
fn what_steers_a_terminal_is_shown_to_nobody() {
    let forger = Forger::new();
    let file = assembled::package(&forger.publisher, "hello", true);
    let key = forger.store.key();
    forger.publish("hello", &file, key, |revision| {
        revision.about.summary = Some("hello \u{1b}]0;title\u{7}\u{1b}[2J\u{202e}".to_owned());
    });
    forger.refused("hello", "cannot be used");
    for verb in [&["info", "hello"][..], &["search", "hello"], &["install", "hello"]] {
        let mut command = forger.user.pack(verb);
        let shown = command.env("XDG_CACHE_HOME", forger.user.home("cache")).output().unwrap();
        let bytes = [shown.stdout, shown.stderr].concat();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn a_package_for_a_later_pack_is_not_tried() {
    let forger = Forger::new();
    let file = assembled::package(&forger.publisher, "hello", true);
    forger.publish("hello", &file, forger.store.key(), |revision| {
        revision.needs_pack = Some("99.0".parse().unwrap());
    });
    forger.refused("hello", "needs pack 99.0");
}
