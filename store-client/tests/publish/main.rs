//! A store is made, changed and read again, in real folders.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use ed25519_dalek::SigningKey;
use pack_schemas::manifest::{Epoch, PackageType};
use pack_schemas::names::{Architecture, Hash, PackageName, PublicKey, Sha256};
use pack_schemas::store::entry::{About, Sections};
use pack_schemas::store::{
    Blob, CatalogIndex, PackageEntry, STORE_VERSION, Store, StoreRevision, catalog, package_target,
};
use pack_store_client::publish::commit::Validity;
use pack_store_client::publish::found::{Founding, adopt, found};
use pack_store_client::publish::objects::{Content, FolderObjects, Listed, ObjectError, Objects, Tag};
use pack_store_client::publish::operation::{Action, Publication};
use pack_store_client::publish::rotate::Role;
use pack_store_client::publish::{Operation, PublishError, Publisher, listing};
use pack_store_client::tuf::{Client, FetchError, Transport};

const NOW: u64 = 1_900_000_000;

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

/// A store, and a publisher's memory of it.
struct World {
    folder: tempfile::TempDir,
    root: SigningKey,
    online: SigningKey,
    fingerprint: Sha256,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (root, online) = (key(1), key(2));
        let objects = FolderObjects::create(&folder.path().join("store")).unwrap();
        let fingerprint = found(&founding(&objects, &folder.path().join("memory"), &root, &online)).unwrap();
        World { folder, root, online, fingerprint }
    }

    fn objects(&self) -> FolderObjects {
        FolderObjects::open(&self.store()).unwrap().unwrap()
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn publisher<'a>(&'a self, objects: &'a dyn Objects, memory: &'a Path) -> Publisher<'a> {
        let validity = Validity::default();
        Publisher { objects, memory, online: &self.online, root: Some(&self.root), validity, now: NOW }
    }

    fn memory(&self) -> PathBuf {
        self.folder.path().join("memory")
    }

    fn perform(&self, operations: &[Operation]) -> Result<(), PublishError> {
        let objects = self.objects();
        self.publisher(&objects, &self.memory()).perform(operations).map(drop)
    }

    /// What a client that knows the first root finds: the entries of these packages.
    fn seen(&self, names: &[&str]) -> Vec<Option<PackageEntry>> {
        let client = tempfile::tempdir().unwrap();
        let transport = Folder(self.store());
        let root = fs::read(self.store().join("tuf/1.root.json")).unwrap();
        let mut client = Client::open(client.path(), Some(&root), &transport, NOW).unwrap();
        client.refresh().unwrap();
        names
            .iter()
            .map(|name| {
                let name: PackageName = name.parse().unwrap();
                let target = client.target(&package_target(&name)).unwrap()?;
                let bytes = fs::read(self.store().join(target.remote_path())).unwrap();
                let mut checker = target.checker();
                checker.update(&bytes).unwrap();
                checker.finish().unwrap();
                Some(PackageEntry::parse(&bytes, &name).unwrap())
            })
            .collect()
    }

    /// The text of the catalog.
    fn catalog(&self) -> String {
        let objects = self.objects();
        let index = files(&self.store().join("meta"))
            .into_iter()
            .filter(|path| path.ends_with("catalog.json"))
            .max_by_key(|path| {
                fs::metadata(self.store().join("meta").join(path)).unwrap().modified().unwrap()
            })
            .unwrap();
        let index = CatalogIndex::parse(&fs::read(self.store().join("meta").join(index)).unwrap()).unwrap();
        let piece = |piece: &catalog::Piece| {
            let path = pack_schemas::store::blob_path(&piece.blob.sha256, pack_schemas::store::BlobKind::Zst);
            let (frame, _) = objects.read(&path, piece.blob.size).unwrap().unwrap();
            listing::unpack(&frame, piece).unwrap()
        };
        catalog::merge(&piece(&index.base), &piece(&index.difference)).unwrap()
    }
}

fn founding<'a>(
    objects: &'a dyn Objects,
    memory: &'a Path,
    root: &'a SigningKey,
    online: &'a SigningKey,
) -> Founding<'a> {
    let store = Store { format: STORE_VERSION, title: "Example".to_owned(), mirrors: Vec::new() };
    Founding { objects, memory, root, online, store, bits: 4, validity: Validity::default(), now: NOW }
}

/// A folder as a web server shows it.
struct Folder(PathBuf);

impl Transport for Folder {
    fn fetch(&self, path: &str, _: u64) -> Result<Vec<u8>, FetchError> {
        fs::read(self.0.join("tuf").join(path)).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => FetchError::NotFound,
            _ => FetchError::Failed(error.to_string()),
        })
    }
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path()).into_iter().map(|path| format!("{name}/{path}"))),
            false => found.push(name),
        }
    }
    found.sort();
    found
}

fn publication(version: u32, channels: &[&str]) -> Publication {
    let sections = Sections { image: 8192, index: 4096, envelope: 500, signatures: 200 };
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&version.to_le_bytes());
    let revision = StoreRevision {
        version: version.to_string().parse().unwrap(),
        about: About { summary: Some(format!("Version {version}")), ..About::default() },
        architecture: Architecture::Amd64,
        package_type: PackageType::App,
        epoch: Epoch::default(),
        base: None,
        file: Blob { sha256: Sha256(digest), size: sections.total().unwrap() },
        envelope: Hash([0; 32]),
        sections,
        needs_pack: None,
        published: NOW,
        deltas: BTreeMap::new(),
        trace: None,
        yanked: None,
        revoked: None,
    };
    Publication {
        revision,
        signers: vec![PublicKey([1; 32])],
        channels: channels.iter().map(|channel| channel.parse().unwrap()).collect(),
        rollout: None,
        adds_publisher: false,
    }
}

fn publish(name: &str, version: u32, channels: &[&str]) -> Operation {
    let action = Action::Publish(Box::new(publication(version, channels)));
    Operation { name: name.parse().unwrap(), action }
}

fn newest(entry: &Option<PackageEntry>) -> u32 {
    entry.as_ref().map_or(0, |entry| entry.last_revision)
}

#[test]
fn what_is_published_is_what_a_client_finds() {
    let world = World::new();
    assert_eq!(world.seen(&["hello"]), [None]);
    world.perform(&[publish("hello", 1, &["stable"]), publish("other", 1, &["edge"])]).unwrap();
    world.perform(&[publish("hello", 2, &["edge"])]).unwrap();
    let seen = world.seen(&["hello", "other", "absent"]);
    assert_eq!((newest(&seen[0]), newest(&seen[1]), &seen[2]), (2, 1, &None));
    let catalog = world.catalog();
    let lines: Vec<&str> = catalog.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("hello") && lines[0].contains("Version 1"), "{catalog}");
}

#[test]
fn what_changes_nothing_writes_nothing() {
    let world = World::new();
    world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
    let before = files(&world.store());
    world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
    assert_eq!(files(&world.store()), before);
}

#[test]
fn a_change_of_one_package_touches_few_files_whatever_their_number() {
    let world = World::new();
    let many: Vec<Operation> =
        (0..500).map(|number| publish(&format!("app-{number}"), 1, &["stable"])).collect();
    world.perform(&many).unwrap();
    let before = files(&world.store());
    world.perform(&[publish("app-7", 2, &["stable"])]).unwrap();
    let after = files(&world.store());
    let new: Vec<_> = after.iter().filter(|path| !before.contains(path)).collect();
    // The entry, the catalog's index and difference, one or two bins, the snapshot.
    assert!(new.len() <= 6, "{new:?}");
}

#[test]
fn a_catalog_grows_into_new_bases_that_follow_from_the_old_ones() {
    let world = World::new();
    let mut version = 0;
    // Texts that do not compress, until differences have become bases twice.
    for round in 0..6_u32 {
        let operations: Vec<Operation> = (0..700_u32)
            .map(|number| {
                version += 1;
                let mut publication = publication(version, &["stable"]);
                let noise: String = (0..8_u32)
                    .map(|part| {
                        Hash::of(&[round.to_le_bytes(), number.to_le_bytes(), part.to_le_bytes()].concat())
                    })
                    .map(|hash| hash.to_string())
                    .collect();
                publication.revision.about.website = Some(format!("https://example.org/{noise}"));
                let action = Action::Publish(Box::new(publication));
                Operation { name: format!("app-{}", number % 650).parse().unwrap(), action }
            })
            .collect();
        world.perform(&operations).unwrap();
    }
    let catalog = world.catalog();
    assert_eq!(catalog.lines().count(), 650);
    assert!(catalog.lines().all(catalog::line_is_good));
    let objects = world.objects();
    let mut indexes: Vec<CatalogIndex> = files(&world.store().join("meta"))
        .iter()
        .filter(|path| path.ends_with("catalog.json"))
        .map(|path| CatalogIndex::parse(&fs::read(world.store().join("meta").join(path)).unwrap()).unwrap())
        .collect();
    indexes.sort_by_key(|index| index.earlier.len());
    let last = indexes.last().unwrap();
    assert!(last.earlier.len() >= 2, "{}", last.earlier.len());
    // A client with any earlier base comes to today's by differences alone.
    let text = |piece: &catalog::Piece| {
        let path = pack_schemas::store::blob_path(&piece.blob.sha256, pack_schemas::store::BlobKind::Zst);
        listing::unpack(&objects.read(&path, piece.blob.size).unwrap().unwrap().0, piece).unwrap()
    };
    let first = indexes.iter().find(|index| index.base.text == last.earlier[0].base).unwrap();
    let mut base = text(&first.base);
    for earlier in &last.earlier {
        base = catalog::merge(&base, &text(&earlier.difference)).unwrap();
    }
    assert_eq!(base, text(&last.base));
}

#[test]
fn two_publishers_at_once_lose_nothing() {
    let world = World::new();
    const ROUNDS: u32 = 100;
    let folders: Vec<PathBuf> = ["one", "two"].iter().map(|name| world.folder.path().join(name)).collect();
    for folder in &folders {
        adopt(&world.objects(), folder, &world.fingerprint, NOW).unwrap();
    }
    std::thread::scope(|scope| {
        for (number, folder) in folders.iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                let objects = world.objects();
                let publisher = world.publisher(&objects, folder);
                for round in 1..=ROUNDS {
                    // One package that both change, and one of its own.
                    let version = round * 2 + number as u32;
                    let own = format!("own-{number}");
                    publisher
                        .perform(&[publish("shared", version, &["edge"]), publish(&own, round, &["stable"])])
                        .unwrap();
                }
            });
        }
    });
    let seen = world.seen(&["shared", "own-0", "own-1"]);
    assert_eq!(newest(&seen[0]), 2 * ROUNDS);
    let versions: std::collections::BTreeSet<String> =
        seen[0].as_ref().unwrap().revisions.values().map(|revision| revision.version.to_string()).collect();
    assert_eq!(versions.len() as u32, 2 * ROUNDS);
    assert_eq!((newest(&seen[1]), newest(&seen[2])), (ROUNDS, ROUNDS));
}

/// Objects that end after so many writes, as a process does that is killed.
struct Killed<'a> {
    objects: &'a FolderObjects,
    left: AtomicUsize,
}

impl Killed<'_> {
    fn step(&self, path: &str) -> Result<(), ObjectError> {
        let left = self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(drop).map_err(|_| ObjectError::new("write", path, "killed"))
    }
}

impl Objects for Killed<'_> {
    fn read(&self, path: &str, most: u64) -> Result<Option<(Vec<u8>, Tag)>, ObjectError> {
        self.objects.read(path, most)
    }
    fn create(&self, path: &str, content: Content<'_>) -> Result<bool, ObjectError> {
        // What is there is no write: numbers that earlier runs used up are passed over.
        if self.objects.read(path, 1 << 30)?.is_some() {
            return Ok(false);
        }
        self.step(path)?;
        self.objects.create(path, content)
    }
    fn settle(&self) -> Result<(), ObjectError> {
        self.objects.settle()
    }
    fn replace(&self, path: &str, bytes: &[u8], before: Option<&Tag>) -> Result<bool, ObjectError> {
        self.step(path)?;
        self.objects.replace(path, bytes, before)
    }
    fn list(&self, folder: &str) -> Result<Vec<Listed>, ObjectError> {
        self.objects.list(folder)
    }
    fn remove(&self, path: &str) -> Result<(), ObjectError> {
        self.step(path)?;
        self.objects.remove(path)
    }
}

#[test]
fn a_publisher_that_ends_at_any_write_leaves_the_old_state_or_the_new_one() {
    let world = World::new();
    world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
    let objects = world.objects();
    for writes in 0.. {
        let killed = Killed { objects: &objects, left: AtomicUsize::new(writes) };
        let done = world.publisher(&killed, &world.memory()).perform(&[publish("hello", 2, &["stable"])]);
        let seen = newest(&world.seen(&["hello"])[0]);
        assert_eq!(seen, if done.is_ok() { 2 } else { 1 }, "after {writes} writes");
        if done.is_ok() {
            assert!(writes >= 2, "{writes}");
            return;
        }
    }
}

#[test]
fn founding_that_ends_at_any_write_is_gone_on_with() {
    for writes in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let objects = FolderObjects::create(&folder.path().join("store")).unwrap();
        let killed = Killed { objects: &objects, left: AtomicUsize::new(writes) };
        let (memory, root, online) = (folder.path().join("memory"), key(1), key(2));
        let done = found(&founding(&killed, &memory, &root, &online));
        if done.is_ok() {
            assert!(writes > 16, "{writes}");
            assert!(matches!(found(&founding(&objects, &memory, &root, &online)), Err(PublishError::Exists)));
            return;
        }
        let later = Founding { now: NOW + 5, ..founding(&objects, &memory, &root, &online) };
        found(&later).unwrap_or_else(|error| panic!("after {writes} writes: {error}"));
    }
}

#[test]
fn keys_are_replaced_so_that_the_store_is_good_at_every_write() {
    for role in [Role::Online, Role::Root] {
        for writes in 0.. {
            let mut world = World::new();
            world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
            let objects = world.objects();
            let killed = Killed { objects: &objects, left: AtomicUsize::new(writes) };
            let new = key(9);
            let done = world.publisher(&killed, &world.memory()).rotate(role, &new);
            assert_eq!(newest(&world.seen(&["hello"])[0]), 1, "{role:?} after {writes} writes");
            let again = world.publisher(&objects, &world.memory()).rotate(role, &new);
            if done.is_err() {
                again.unwrap_or_else(|error| panic!("{role:?} after {writes} writes: {error}"));
            }
            assert_eq!(newest(&world.seen(&["hello"])[0]), 1);
            // The old key is worth nothing now, and the new one signs.
            match role {
                Role::Online => {
                    let refused = world.perform(&[publish("hello", 2, &["stable"])]);
                    assert!(
                        matches!(refused, Err(PublishError::OtherKey { role: "online", .. })),
                        "{refused:?}"
                    );
                    world.online = new;
                }
                Role::Root => {
                    let store = Store { format: 1, title: "Other".to_owned(), mirrors: Vec::new() };
                    let refused = world.publisher(&objects, &world.memory()).describe(&store);
                    assert!(
                        matches!(refused, Err(PublishError::OtherKey { role: "root", .. })),
                        "{refused:?}"
                    );
                    world.root = new;
                    world.publisher(&objects, &world.memory()).describe(&store).unwrap();
                }
            }
            world.perform(&[publish("hello", 2, &["stable"])]).unwrap();
            assert_eq!(newest(&world.seen(&["hello"])[0]), 2);
            if done.is_ok() {
                break;
            }
        }
    }
}

#[test]
fn what_is_not_named_goes_after_the_grace_and_nothing_else() {
    let world = World::new();
    let objects = world.objects();
    world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
    world.perform(&[publish("hello", 2, &["stable"])]).unwrap();
    let named = files(&world.store());
    let orphan = format!("blobs/sha256/ab/{}.pkg", "ab".repeat(32));
    objects.create(&orphan, Content::Bytes(b"nobody's")).unwrap();
    // Files are of now by the clock of the machine; the publisher's decides how old that is.
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let at = |now| Publisher { now, ..world.publisher(&objects, Path::new("")) };
    let memory = world.memory();
    let young = Publisher { memory: &memory, ..at(clock + 13 * 86_400) };
    assert_eq!(young.collect(14, false).unwrap().paths, Vec::<String>::new());
    let old = Publisher { memory: &memory, ..at(clock + 15 * 86_400) };
    let told = old.collect(14, true).unwrap();
    assert!(told.paths.contains(&orphan));
    assert!(files(&world.store()).contains(&orphan), "a rehearsal removes nothing");
    let removed = old.collect(14, false).unwrap();
    assert_eq!(removed, told);
    assert_eq!(newest(&world.seen(&["hello"])[0]), 2);
    assert_eq!(world.catalog().lines().count(), 1);
    // Of the state before, what the one of now has no use for is gone.
    assert!(removed.paths.iter().any(|path| named.contains(path) && path.ends_with(".snapshot.json")));
    assert!(
        removed.paths.iter().all(|path| !path.ends_with("root.json") && !path.ends_with("timestamp.json"))
    );
    assert_eq!(old.collect(14, false).unwrap().paths, Vec::<String>::new());
}

#[test]
fn a_store_of_another_fingerprint_is_not_adopted() {
    let world = World::new();
    let memory = world.folder.path().join("other");
    let refused = adopt(&world.objects(), &memory, &Sha256([7; 32]), NOW);
    assert!(matches!(refused, Err(PublishError::Fingerprint { .. })), "{refused:?}");
}

#[test]
fn a_store_that_was_set_back_is_not_signed_again() {
    let world = World::new();
    world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
    let old = fs::read(world.store().join("tuf/timestamp.json")).unwrap();
    world.perform(&[publish("hello", 2, &["stable"])]).unwrap();
    world.perform(&[publish("hello", 3, &["stable"])]).unwrap();
    fs::write(world.store().join("tuf/timestamp.json"), old).unwrap();
    let refused = world.perform(&[publish("hello", 4, &["stable"])]);
    assert!(matches!(refused, Err(PublishError::Metadata(_))), "{refused:?}");
}

#[test]
fn an_expired_store_is_renewed() {
    let world = World::new();
    world.perform(&[publish("hello", 1, &["stable"])]).unwrap();
    let objects = world.objects();
    let memory = world.memory();
    let later = Publisher { now: NOW + 400 * 86_400, ..world.publisher(&objects, &memory) };
    later.renew().unwrap();
    let standing = later.standing().unwrap();
    for (role, (_, expires)) in &standing.roles {
        assert!(*expires > later.now, "{role}");
    }
    assert_eq!(standing.bins, 16);
    let client = tempfile::tempdir().unwrap();
    let transport = Folder(world.store());
    let root = fs::read(world.store().join("tuf/1.root.json")).unwrap();
    let mut client = Client::open(client.path(), Some(&root), &transport, later.now).unwrap();
    client.refresh().unwrap();
    assert!(client.target("pkg/hello.json").unwrap().is_some());
}
