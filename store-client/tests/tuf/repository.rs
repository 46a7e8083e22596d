//! A small publisher: a store in memory, signed with ed25519, that can be made wrong in every way.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ed25519_dalek::{Signer, SigningKey};
use pack_schemas::time::rfc3339;
use pack_schemas::tuf::{json::canonical, quoted};
use pack_store_client::tuf::{FetchError, Transport};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

/// The time at which everything happens.
pub const NOW: u64 = 1_700_000_000;
pub const DAY: u64 = 86_400;

/// A key is told by a number.
pub type KeyNumber = u8;

fn secret(key: KeyNumber) -> SigningKey {
    SigningKey::from_bytes(&[key; 32])
}

pub fn key_id(key: KeyNumber) -> String {
    format!("key-{key}")
}

pub fn key_value(key: KeyNumber) -> Value {
    let public = hex::encode(secret(key).verifying_key().to_bytes());
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": public}})
}

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// Signs a document with keys, each under an identifier.
pub fn sign(signed: &Value, keys: &[(String, KeyNumber)]) -> Vec<u8> {
    let bytes = canonical(signed);
    let signatures: Vec<Value> = keys
        .iter()
        .map(|(id, key)| json!({"keyid": id, "sig": hex::encode(secret(*key).sign(&bytes).to_bytes())}))
        .collect();
    json!({"signatures": signatures, "signed": signed}).to_string().into_bytes()
}

/// What a server answers to a path, instead of what it has.
pub type Fault = Box<dyn Fn() -> Result<Vec<u8>, FetchError>>;

/// A store: what it says now, and what it has published.
pub struct Repository {
    /// The signed part of each role, as it will be published next.
    pub roles: BTreeMap<String, Value>,
    /// Who signs for each role.
    pub signers: BTreeMap<String, Vec<KeyNumber>>,
    /// Whether timestamp and snapshot name hashes and lengths.
    pub hashes: bool,
    /// Files by path.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Instead of files.
    pub faults: RefCell<BTreeMap<String, Fault>>,
    /// What was asked for.
    asked: RefCell<Vec<String>>,
}

impl Transport for Repository {
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, FetchError> {
        self.asked.borrow_mut().push(path.to_owned());
        if let Some(fault) = self.faults.borrow().get(path) {
            return fault();
        }
        match self.files.get(path) {
            Some(bytes) if bytes.len() as u64 > length_most => Err(FetchError::TooLong { length_most }),
            Some(bytes) => Ok(bytes.clone()),
            None => Err(FetchError::NotFound),
        }
    }
}

impl Repository {
    /// A store with keys 1 to 4 for root, timestamp, snapshot and targets, published once, consistent snapshots.
    pub fn new() -> Repository {
        let role = |key: KeyNumber| json!({"keyids": [key_id(key)], "threshold": 1});
        let keys: BTreeMap<String, Value> = (1..=4).map(|key| (key_id(key), key_value(key))).collect();
        let mut repository = Repository {
            roles: BTreeMap::new(),
            signers: BTreeMap::new(),
            hashes: false,
            files: BTreeMap::new(),
            faults: RefCell::new(BTreeMap::new()),
            asked: RefCell::new(Vec::new()),
        };
        let fields = [
            (
                "root",
                json!({"consistent_snapshot": true, "keys": keys, "roles": {
                "root": role(1), "timestamp": role(2), "snapshot": role(3), "targets": role(4)}}),
            ),
            ("timestamp", json!({"meta": {"snapshot.json": {"version": 1}}})),
            ("snapshot", json!({"meta": {}})),
            ("targets", json!({"targets": {}})),
        ];
        for ((name, fields), key) in fields.into_iter().zip(1..) {
            repository.add(name, fields, &[key]);
        }
        repository.publish(&["root", "targets", "snapshot", "timestamp"]);
        repository
    }

    /// Adds a role that is not published yet.
    fn add(&mut self, name: &str, mut fields: Value, signers: &[KeyNumber]) {
        let kind = if ["root", "timestamp", "snapshot"].contains(&name) { name } else { "targets" };
        fields["_type"] = kind.into();
        fields["spec_version"] = "1.0.31".into();
        fields["version"] = 0.into();
        fields["expires"] = rfc3339(NOW + 30 * DAY).into();
        self.roles.insert(name.to_owned(), fields);
        self.signers.insert(name.to_owned(), signers.to_vec());
    }

    pub fn role(&mut self, name: &str) -> &mut Value {
        self.roles.get_mut(name).unwrap()
    }

    pub fn version(&self, name: &str) -> u64 {
        self.roles[name]["version"].as_u64().unwrap()
    }

    /// Says that a role has this version now; publishing makes it one more.
    pub fn set_version(&mut self, name: &str, version: u64) {
        self.role(name)["version"] = version.into();
    }

    pub fn expire(&mut self, name: &str, at: u64) {
        self.role(name)["expires"] = rfc3339(at).into();
    }

    /// Gives a top-level role other keys.
    pub fn rekey(&mut self, name: &str, keys: &[KeyNumber], threshold: u32) {
        let ids: Vec<String> = keys.iter().copied().map(key_id).collect();
        let root = self.role("root");
        for key in keys {
            root["keys"][key_id(*key)] = key_value(*key);
        }
        root["roles"][name] = json!({"keyids": ids, "threshold": threshold});
        self.signers.insert(name.to_owned(), keys.to_vec());
    }

    /// Publishes the next version of roles, each named by those above it that come later in the list.
    pub fn publish(&mut self, names: &[&str]) {
        for name in names {
            let version = self.version(name) + 1;
            self.set_version(name, version);
            let bytes = self.signed(name);
            let mut meta = json!({"version": version});
            if self.hashes {
                meta["hashes"] = json!({"sha256": sha256(&bytes)});
                meta["length"] = bytes.len().into();
            }
            match *name {
                "root" | "timestamp" => {}
                "snapshot" => self.role("timestamp")["meta"]["snapshot.json"] = meta,
                _ => self.role("snapshot")["meta"][format!("{name}.json")] = meta,
            }
            let file = self.file_of(name);
            self.files.insert(file, bytes);
        }
    }

    /// A role as it is now, signed by who signs for it.
    pub fn signed(&self, name: &str) -> Vec<u8> {
        let signers: Vec<_> = self.signers[name].iter().map(|key| (key_id(*key), *key)).collect();
        sign(&self.roles[name], &signers)
    }

    /// Where the version of a role that was published last is.
    pub fn file_of(&self, name: &str) -> String {
        let consistent = self.roles["root"]["consistent_snapshot"] == true;
        match name {
            "timestamp" => "timestamp.json".to_owned(),
            _ if consistent || name == "root" => format!("{}.{}.json", self.version(name), quoted(name)),
            _ => format!("{}.json", quoted(name)),
        }
    }

    /// Publishes everything below the root, as after a change of targets.
    pub fn publish_targets(&mut self) {
        self.publish(&["targets", "snapshot", "timestamp"]);
    }

    /// Gives a role a target.
    pub fn add_target(&mut self, role: &str, path: &str, content: &[u8]) {
        let entry = json!({"length": content.len(), "hashes": {"sha256": sha256(content)}});
        self.role(role)["targets"][path] = entry;
    }

    /// Lets a role answer for some of another one's targets; its metadata is added where it is new.
    pub fn delegate(&mut self, from: &str, to: &str, keys: &[KeyNumber], terminating: bool, paths: &[&str]) {
        let ids: Vec<String> = keys.iter().copied().map(key_id).collect();
        let role = json!({
            "name": to, "keyids": ids, "threshold": 1, "terminating": terminating, "paths": paths});
        self.delegate_as(from, keys, role);
        if !self.roles.contains_key(to) {
            self.add(to, json!({"targets": {}}), keys);
        }
    }

    /// Adds an entry to a role's delegations.
    pub fn delegate_as(&mut self, from: &str, keys: &[KeyNumber], entry: Value) {
        let targets = self.role(from);
        if targets.get("delegations").is_none() {
            targets["delegations"] = json!({"keys": {}, "roles": []});
        }
        for key in keys {
            targets["delegations"]["keys"][key_id(*key)] = key_value(*key);
        }
        targets["delegations"]["roles"].as_array_mut().unwrap().push(entry);
    }

    /// Adds a role's metadata.
    pub fn add_delegated(&mut self, name: &str, keys: &[KeyNumber]) {
        self.add(name, json!({"targets": {}}), keys);
    }

    /// What was asked for since the last time.
    pub fn asked(&self) -> Vec<String> {
        self.asked.take()
    }

    pub fn fail(&self, path: &str, fault: impl Fn() -> Result<Vec<u8>, FetchError> + 'static) {
        self.faults.borrow_mut().insert(path.to_owned(), Box::new(fault));
    }
}
