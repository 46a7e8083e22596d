//! A new store.

use std::collections::BTreeMap;
use std::path::Path;

use ed25519_dalek::SigningKey;
use pack_schemas::names::{PublicKey, Sha256};
use pack_schemas::store::{BIN_PREFIX, CATALOG_TARGET, STORE_TARGET, Store};
use pack_schemas::tuf::{Metadata, Root};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::commit::{Publisher, Validity, document_path, timestamp_of};
use super::objects::{Content, Objects};
use super::sign::{self, sha256};
use super::{PublishError, listing};
use crate::tuf::Client;
use crate::tuf::Transport;

/// What a new store is made of.
pub struct Founding<'a> {
    /// Where it will be.
    pub objects: &'a dyn Objects,
    /// The folder in which this machine will remember what the store said.
    pub memory: &'a Path,
    /// Signs root and targets.
    pub root: &'a SigningKey,
    /// Signs everything else.
    pub online: &'a SigningKey,
    /// What it says of itself.
    pub store: Store,
    /// How many bins it has, as a power of two, 1 to 16.
    pub bits: u32,
    /// For how long what is signed is good.
    pub validity: Validity,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// Makes a store, and returns its fingerprint: the SHA-256 of its first root.
///
/// The root is written last but for the timestamp: a run that is killed before leaves no store, and the next one makes it.
///
/// # Errors
/// [`PublishError::Exists`] where there is one.
pub fn found(founding: &Founding<'_>) -> Result<Sha256, PublishError> {
    let Founding { objects, root, online, validity, now, .. } = *founding;
    if objects.read("tuf/timestamp.json", 1 << 20)?.is_some() {
        return Err(PublishError::Exists);
    }
    let publisher = Publisher { objects, memory: founding.memory, online, root: Some(root), validity, now };
    let (root_public, online_public) = (sign::public(root), sign::public(online));
    let mut document = sign::header("root", 1, publisher.until(validity.root_days));
    document["consistent_snapshot"] = true.into();
    document["keys"] = sign::keys([&root_public, &online_public]);
    document["roles"] = json!({
        "root": sign::one_of([&root_public]), "targets": sign::one_of([&root_public]),
        "snapshot": sign::one_of([&online_public]), "timestamp": sign::one_of([&online_public]),
    });
    // A run that was killed may have left a root of the same keys; it is as good.
    let left = objects.read("tuf/1.root.json", 1 << 20)?.map(|(bytes, _)| bytes);
    let root_bytes = match left {
        Some(left) if is_of(&left, &root_public, &online_public) => left,
        Some(_) => return Err(PublishError::Exists),
        None => sign::sign(&document, &[root]),
    };

    let mut meta = Map::new();
    let store = pack_schemas::package::canonical_json(&founding.store);
    objects.create(&document_path(STORE_TARGET, &sha256(&store)), Content::Bytes(&store))?;
    let mut targets = sign::header("targets", 1, publisher.until(validity.root_days));
    targets["targets"] = json!({ STORE_TARGET: sign::target(&store) });
    targets["delegations"] = delegations(founding, &[&online_public]);
    let make = |version| sign::sign(&super::commit::with_version(&targets, version), &[root]);
    let (version, _) = publisher.create_version("targets", 1, make)?;
    meta.insert("targets.json".to_owned(), json!({ "version": version }));

    let index = listing::follow(objects, None, &BTreeMap::new())?.to_bytes();
    objects.create(&document_path(CATALOG_TARGET, &sha256(&index)), Content::Bytes(&index))?;
    let mut bin = sign::header("targets", 1, publisher.until(validity.bins_days));
    bin["targets"] = json!({});
    let catalog_bin = bin_of(CATALOG_TARGET, founding.bits);
    for number in 0..1_u32 << founding.bits {
        let name = bin_name(number, founding.bits);
        let mut bin = bin.clone();
        if name == catalog_bin {
            bin["targets"][CATALOG_TARGET] = sign::target(&index);
        }
        let make = |version| sign::sign(&super::commit::with_version(&bin, version), &[online]);
        let (version, _) = publisher.create_version(&name, 1, make)?;
        meta.insert(format!("{name}.json"), json!({ "version": version }));
    }
    let until = publisher.until(validity.bins_days);
    let (version, snapshot) = publisher.create_version("snapshot", 1, |version| {
        let mut signed = sign::header("snapshot", version, until);
        signed["meta"] = Value::Object(meta.clone());
        sign::sign(&signed, &[online])
    })?;
    objects.create("tuf/1.root.json", Content::Bytes(&root_bytes))?;
    let there = objects.read("tuf/1.root.json", 1 << 20)?.map(|(bytes, _)| bytes);
    if there.as_ref() != Some(&root_bytes) {
        return Err(PublishError::Exists);
    }
    let timestamp = timestamp_of(1, &sign::meta(version, &snapshot), &publisher);
    if !objects.replace("tuf/timestamp.json", &timestamp, None)? {
        return Err(PublishError::Exists);
    }
    remember(objects, founding.memory, &root_bytes, now)?;
    Ok(sha256(&root_bytes))
}

/// Begins to publish to a store that was made elsewhere: the first root has to be the one of the fingerprint.
///
/// # Errors
/// [`PublishError::Fingerprint`], and all else.
pub fn adopt(
    objects: &dyn Objects,
    memory: &Path,
    fingerprint: &Sha256,
    now: u64,
) -> Result<(), PublishError> {
    let read = objects.read("tuf/1.root.json", 1 << 20)?;
    let (root, _) = read.ok_or_else(|| PublishError::Missing { path: "tuf/1.root.json".to_owned() })?;
    let found = sha256(&root);
    if found != *fingerprint {
        let (wanted, found) = (fingerprint.to_string(), found.to_string());
        return Err(PublishError::Fingerprint { wanted, found });
    }
    remember(objects, memory, &root, now)
}

fn remember(objects: &dyn Objects, memory: &Path, root: &[u8], now: u64) -> Result<(), PublishError> {
    let transport = super::objects::Metadata::of(objects);
    let transport: &dyn Transport = &transport;
    Client::open(memory, Some(root), transport, now)?.whatever_the_date().refresh()?;
    Ok(())
}

/// Whether a root was signed by the one key for the other.
fn is_of(root: &[u8], root_key: &PublicKey, online: &PublicKey) -> bool {
    Metadata::<Root>::parse(root).is_ok_and(|root| {
        let only = |role: &str, key: &PublicKey| {
            let keys = root.signed.roles.get(role).map(|keys| keys.keyids.iter().collect::<Vec<_>>());
            keys == Some(vec![&sign::key_id(key)])
        };
        only("root", root_key)
            && only("targets", root_key)
            && only("snapshot", online)
            && only("timestamp", online)
    })
}

/// Who signs for the bins.
fn delegations(founding: &Founding<'_>, keys: &[&PublicKey]) -> Value {
    let mut roles = sign::one_of(keys.iter().copied());
    roles["bit_length"] = founding.bits.into();
    roles["name_prefix"] = BIN_PREFIX.into();
    json!({"keys": sign::keys(keys.iter().copied()), "succinct_roles": roles})
}

fn bin_name(number: u32, bits: u32) -> String {
    format!("{BIN_PREFIX}-{number:0width$x}", width = bits.div_ceil(4) as usize)
}

fn bin_of(target: &str, bits: u32) -> String {
    let hash = digest(&SHA256, target.as_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&hash.as_ref()[..4]);
    bin_name(u32::from_be_bytes(first) >> 32_u32.saturating_sub(bits), bits)
}
