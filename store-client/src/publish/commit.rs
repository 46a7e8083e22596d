//! A change of a store, from what it says to what it says then; the steps are told in the module above.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use pack_schemas::names::{PackageName, PublicKey, Sha256};
use pack_schemas::store::entry::ENTRY_LIMIT;
use pack_schemas::store::{CATALOG_TARGET, PackageEntry, STORE_LIMIT, STORE_TARGET, Store, package_target};
use pack_schemas::time::rfc3339;
use pack_schemas::tuf::{Metadata as Signed, Root, Timestamp};
use serde_json::{Value, json};

use super::objects::{Content, Metadata, Objects, Tag};
use super::operation::{Operation, Outcome};
use super::sign::{self, sha256};
use super::{DAY_S, PublishError, listing};
use crate::tuf::{Client, Target};

/// How often a change is begun anew where others change the store at the same time.
const TRIES: u32 = 60;
/// Most numbers in a row that runs which were killed can have used up.
const NUMBERS_MOST: u64 = 256;
/// The longest pause before the next try.
const PAUSE_MOST: Duration = Duration::from_millis(2000);

/// For how long what is signed is good, in days.
#[derive(Debug, Clone, Copy)]
pub struct Validity {
    /// The timestamp: for so long can somebody who answers in the store's place keep a machine from what is new.
    pub timestamp_days: u64,
    /// The snapshot and the bins.
    pub bins_days: u64,
    /// Root and targets.
    pub root_days: u64,
}

impl Default for Validity {
    fn default() -> Validity {
        Validity { timestamp_days: 30, bins_days: 365, root_days: 730 }
    }
}

/// Who changes a store.
pub struct Publisher<'a> {
    /// Where it is.
    pub objects: &'a dyn Objects,
    /// The folder in which this machine remembers what the store said the last time.
    pub memory: &'a Path,
    /// Signs what changes often.
    pub online: &'a SigningKey,
    /// Signs root and targets; most changes do without.
    pub root: Option<&'a SigningKey>,
    /// For how long what is signed is good.
    pub validity: Validity,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// How a store stands.
#[derive(Debug, Clone)]
pub struct Standing {
    /// What it says of itself.
    pub store: Store,
    /// By role: version, and until when it is good, in seconds since 1970.
    pub roles: BTreeMap<String, (u64, u64)>,
    /// How many bins it has.
    pub bins: usize,
}

impl Publisher<'_> {
    /// Does operations, all of them in one step, and says what each came to. Where nothing is changed by them, nothing is
    /// written.
    ///
    /// # Errors
    /// [`PublishError`]; the store is as it was.
    pub fn perform(&self, operations: &[Operation]) -> Result<Vec<Outcome>, PublishError> {
        self.change(|view| {
            let mut outcomes = Vec::new();
            let mut changed: BTreeMap<PackageName, Option<PackageEntry>> = BTreeMap::new();
            for operation in operations {
                let entry = match changed.remove(&operation.name) {
                    Some(entry) => entry,
                    None => view.entry(&operation.name)?,
                };
                let mut entry = entry;
                let outcome = operation.apply(&mut entry)?;
                if outcome.is_changed {
                    view.is_changed = true;
                }
                outcomes.push(outcome);
                changed.insert(operation.name.clone(), entry);
            }
            if !view.is_changed {
                return Ok(outcomes);
            }
            let changed = changed.into_iter().filter_map(|(name, entry)| Some((name, entry?))).collect();
            view.set_entries(&changed)?;
            Ok(outcomes)
        })
    }

    /// Signs anew what is good for less than half of its time, and the timestamp in any case.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn renew(&self) -> Result<(), PublishError> {
        self.change(|view| {
            view.is_changed = true;
            view.renew_bins(false)
        })
    }

    /// Changes what the store says of itself; needs the root key.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn describe(&self, store: &Store) -> Result<(), PublishError> {
        self.change(|view| {
            view.is_changed = true;
            view.set_store(store)
        })
    }

    /// The entry of a package.
    ///
    /// # Errors
    /// [`PublishError::NoPackage`] where there is none, and all else.
    pub fn entry(&self, name: &PackageName) -> Result<PackageEntry, PublishError> {
        let missing = || PublishError::NoPackage { name: name.clone(), near: None };
        self.change(|view| view.entry(name))?.ok_or_else(missing)
    }

    /// How the store stands.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn standing(&self) -> Result<Standing, PublishError> {
        self.change(|view| view.standing())
    }

    /// Looks at the store, lets it be changed, and commits that; all over again where somebody else was quicker.
    pub(super) fn change<T>(
        &self,
        mut change: impl FnMut(&mut View<'_, '_>) -> Result<T, PublishError>,
    ) -> Result<T, PublishError> {
        for attempt in 0..TRIES {
            let transport = Metadata::of(self.objects);
            let mut client = Client::open(self.memory, None, &transport, self.now)?.whatever_the_date();
            client.refresh()?;
            let (tag, timestamp) = transport
                .timestamp()
                .ok_or_else(|| PublishError::Missing { path: "tuf/timestamp.json".to_owned() })?;
            let mut view = View {
                publisher: self,
                client,
                documents: BTreeMap::new(),
                roles: BTreeMap::new(),
                is_changed: false,
            };
            self.check_key(view.client.root()?)?;
            let result = change(&mut view)?;
            if !view.is_changed || view.commit(&tag, timestamp)? {
                return Ok(result);
            }
            pause(attempt);
        }
        Err(PublishError::Contended { tries: TRIES })
    }

    /// What is signed with another key than the store's would be refused by everybody.
    fn check_key(&self, root: &Signed<Root>) -> Result<(), PublishError> {
        let key = sign::public(self.online);
        match has_key(root, "timestamp", &key) {
            true => Ok(()),
            false => Err(PublishError::OtherKey { role: "online", key }),
        }
    }

    pub(super) fn root_key(&self, root: &Signed<Root>) -> Result<&SigningKey, PublishError> {
        let Some(secret) = self.root else {
            return Err(PublishError::refused(
                "this is signed with the store's root key".to_owned(),
                "name it with `--root-key`",
            ));
        };
        let key = sign::public(secret);
        match has_key(root, "targets", &key) {
            true => Ok(secret),
            false => Err(PublishError::OtherKey { role: "root", key }),
        }
    }

    pub(super) fn until(&self, days: u64) -> u64 {
        self.now.saturating_add(days.saturating_mul(DAY_S))
    }

    /// Makes the file of a new version of a role, under the first number that is free.
    pub(super) fn create_version(
        &self,
        role: &str,
        first: u64,
        make: impl Fn(u64) -> Vec<u8>,
    ) -> Result<(u64, Vec<u8>), PublishError> {
        for version in first..first.saturating_add(NUMBERS_MOST) {
            let bytes = make(version);
            if self.objects.create(&format!("tuf/{version}.{role}.json"), Content::Bytes(&bytes))? {
                return Ok((version, bytes));
            }
        }
        Err(PublishError::Contended { tries: TRIES })
    }
}

/// Whether a role of a root has a key.
pub(super) fn has_key(root: &Signed<Root>, role: &str, key: &PublicKey) -> bool {
    root.signed.roles.get(role).is_some_and(|role| role.keyids.contains(&sign::key_id(key)))
}

/// A little longer after each try, and not as long as the others.
fn pause(attempt: u32) {
    let mut random = [0];
    // Without random numbers the processes are apart by what they do.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random);
    let base = Duration::from_millis(5).saturating_mul(1 << attempt.min(8)).min(PAUSE_MOST);
    thread::sleep(base.mul_f64(f64::from(random[0]) / 255.0));
}

/// A store while it is being changed.
pub(super) struct View<'p, 'c> {
    pub publisher: &'p Publisher<'p>,
    pub client: Client<'c>,
    /// New documents, by target.
    documents: BTreeMap<String, Vec<u8>>,
    /// The signed parts of roles that will have a new version.
    roles: BTreeMap<String, Value>,
    /// Whether there is anything to commit.
    pub is_changed: bool,
}

impl View<'_, '_> {
    /// The entry of a package, as the store has it.
    pub fn entry(&mut self, name: &PackageName) -> Result<Option<PackageEntry>, PublishError> {
        let path = package_target(name);
        let Some(bytes) = self.document(&path, ENTRY_LIMIT)? else { return Ok(None) };
        let parsed = PackageEntry::parse(&bytes, name);
        parsed.map(Some).map_err(|source| PublishError::Document { path, source })
    }

    /// A document, as the store has it.
    pub fn document(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, PublishError> {
        let Some(target) = self.client.target(path)? else { return Ok(None) };
        read_target(self.publisher.objects, &target, limit).map(Some)
    }

    /// Puts entries in the place of those that are there, and lets the catalog follow.
    pub fn set_entries(&mut self, entries: &BTreeMap<PackageName, PackageEntry>) -> Result<(), PublishError> {
        for (name, entry) in entries {
            self.set_document(&package_target(name), entry.to_bytes())?;
        }
        let before = self.document(CATALOG_TARGET, listing::INDEX_MOST)?;
        let index = listing::follow(self.publisher.objects, before.as_deref(), entries)?.to_bytes();
        if before.as_ref() != Some(&index) {
            self.set_document(CATALOG_TARGET, index)?;
        }
        Ok(())
    }

    /// Changes what the store says of itself.
    pub fn set_store(&mut self, store: &Store) -> Result<(), PublishError> {
        self.set_document(STORE_TARGET, pack_schemas::package::canonical_json(store))
    }

    fn set_document(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), PublishError> {
        // The top-level role answers for this one itself, so that no online key can change it.
        let name = match path {
            STORE_TARGET => "targets".to_owned(),
            _ => self.client.answering(path)?,
        };
        let role = self.role(&name)?;
        role["targets"][path] = sign::target(&bytes);
        self.documents.insert(path.to_owned(), bytes);
        Ok(())
    }

    /// The signed part of a role, to be changed.
    pub fn role(&mut self, name: &str) -> Result<&mut Value, PublishError> {
        if !self.roles.contains_key(name) {
            let signed = self.client.signed_targets(name)?;
            self.roles.insert(name.to_owned(), signed);
        }
        Ok(self.roles.entry(name.to_owned()).or_default())
    }

    /// Signs bins anew: those that are good for less than half of their time, or all.
    pub fn renew_bins(&mut self, all: bool) -> Result<(), PublishError> {
        let half = self.publisher.until(self.publisher.validity.bins_days / 2);
        for name in self.client.role_names()? {
            if name != "targets" && (all || self.client.expires(&name)? < half) {
                self.role(&name)?;
            }
        }
        Ok(())
    }

    fn standing(&mut self) -> Result<Standing, PublishError> {
        let bytes = self.document(STORE_TARGET, STORE_LIMIT)?;
        let bytes = bytes.ok_or_else(|| PublishError::Missing { path: STORE_TARGET.to_owned() })?;
        let store = Store::parse(&bytes)
            .map_err(|source| PublishError::Document { path: STORE_TARGET.to_owned(), source })?;
        let mut roles = self.client.top_level()?;
        let names = self.client.role_names()?;
        // Of the bins, the one that ends first.
        let mut first: Option<(u64, u64)> = None;
        for name in names.iter().filter(|name| *name != "targets") {
            let found = (self.client.version(name)?, self.client.expires(name)?);
            first = Some(first.filter(|first| first.1 <= found.1).unwrap_or(found));
        }
        roles.extend(first.map(|first| ("bins".to_owned(), first)));
        Ok(Standing { store, roles, bins: names.len().saturating_sub(1) })
    }

    /// Writes it all; whether the store was still as it was when this began.
    fn commit(mut self, tag: &Tag, timestamp: Vec<u8>) -> Result<bool, PublishError> {
        let Publisher { objects, online, validity, .. } = *self.publisher;
        for (path, bytes) in &self.documents {
            objects.create(&document_path(path, &sha256(bytes)), Content::Bytes(bytes))?;
        }
        let mut meta = self.client.snapshot_meta()?;
        let roles = std::mem::take(&mut self.roles);
        for (name, mut signed) in roles {
            let (key, days) = match name.as_str() {
                "targets" => (self.publisher.root_key(self.client.root()?)?, validity.root_days),
                _ => (online, validity.bins_days),
            };
            signed["expires"] = rfc3339(self.publisher.until(days)).into();
            let first = self.client.version(&name)?.saturating_add(1);
            let make = |version: u64| sign::sign(&with_version(&signed, version), &[key]);
            let (version, _) = self.publisher.create_version(&name, first, make)?;
            meta[format!("{name}.json")] = json!({ "version": version });
        }
        let until = self.publisher.until(validity.bins_days);
        let first = self.client.snapshot_version()?.saturating_add(1);
        let (version, bytes) = self.publisher.create_version("snapshot", first, |version| {
            let mut signed = sign::header("snapshot", version, until);
            signed["meta"] = meta.clone();
            sign::sign(&signed, &[online])
        })?;
        let before = Signed::<Timestamp>::parse(&timestamp).map_or(0, |before| before.version);
        let next = timestamp_of(before.saturating_add(1), &sign::meta(version, &bytes), self.publisher);
        Ok(objects.replace("tuf/timestamp.json", &next, Some(tag))?)
    }
}

/// A timestamp.
pub(super) fn timestamp_of(version: u64, snapshot: &Value, publisher: &Publisher<'_>) -> Vec<u8> {
    let mut signed = sign::header("timestamp", version, publisher.until(publisher.validity.timestamp_days));
    signed["meta"] = json!({ "snapshot.json": snapshot });
    sign::sign(&signed, &[publisher.online])
}

pub(super) fn with_version(signed: &Value, version: u64) -> Value {
    let mut signed = signed.clone();
    signed["version"] = version.into();
    signed
}

/// Where the document of a target lies.
pub(super) fn document_path(target: &str, digest: &Sha256) -> String {
    let (folder, name) = target.rsplit_once('/').unwrap_or(("", target));
    format!("{folder}/{digest}.{name}")
}

/// Reads the file of a target, and checks it.
pub(super) fn read_target(
    objects: &dyn Objects,
    target: &Target,
    limit: u64,
) -> Result<Vec<u8>, PublishError> {
    let path = target.remote_path();
    let read = objects.read(&path, target.length.min(limit))?;
    let (bytes, _) = read.ok_or_else(|| PublishError::Missing { path: path.clone() })?;
    let mut checker = target.checker();
    match checker.update(&bytes).and_then(|()| checker.finish()) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(PublishError::Altered { path }),
    }
}
