//! Root, timestamp, snapshot, targets, and the envelope with signatures around each (specification, section 4).

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroU64};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::delegation::Delegations;
use super::json::{self, JsonError};
use crate::text::visible;
use crate::time;

/// Most signatures on a document, and most keys of one role.
pub const KEYS_MOST: usize = 256;

/// Why metadata is refused before anybody looks at its signatures.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is not JSON with one reading.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It is of another role.
    #[error("it is metadata of the type `{}`, and not `{wanted}`", visible(.found))]
    Type {
        /// The type that was asked for.
        wanted: &'static str,
        /// What it says that it is, at most 64 characters.
        found: String,
    },
    /// It is of a version of the specification that this program does not read.
    #[error("it is of version `{}` of the specification, and this pack reads 1.x", visible(.found))]
    Specification {
        /// The version, at most 64 characters.
        found: String,
    },
    /// A field is missing, or is not what it has to be.
    #[error("it is not as the specification has it: {}", visible(.reason))]
    Field {
        /// The parser's words.
        reason: String,
    },
}

/// One of the four kinds of metadata.
pub trait Payload: DeserializeOwned {
    /// What `_type` says.
    const TYPE: &'static str;

    /// Checks what the types cannot say.
    ///
    /// # Errors
    /// What is wrong.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// Metadata as it was signed.
#[derive(Debug, Clone)]
pub struct Metadata<T> {
    /// At least 1.
    pub version: u64,
    /// In seconds since 1970.
    pub expires: u64,
    /// What it says.
    pub signed: T,
    /// What the signatures are over.
    pub signed_bytes: Vec<u8>,
    /// No two of them by the same key identifier.
    pub signatures: Vec<Signature>,
}

/// A signature, of which nothing is known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Which key it is by: the name that the delegating metadata has for it.
    pub keyid: String,
    /// Its bytes; none where what stands there is not hexadecimal, as of a signer who has not signed yet.
    pub bytes: Vec<u8>,
}

impl<T: Payload> Metadata<T> {
    /// Reads metadata.
    ///
    /// # Errors
    /// [`MetadataError`].
    pub fn parse(bytes: &[u8]) -> Result<Metadata<T>, MetadataError> {
        let document = json::parse(bytes)?;
        let Envelope { signatures, signed } = fields(&document)?;
        let header: Header = fields(&signed)?;
        if header.role != T::TYPE {
            return Err(MetadataError::Type {
                wanted: T::TYPE,
                found: header.role.chars().take(64).collect(),
            });
        }
        if header.spec_version.split('.').next() != Some("1") {
            let found = header.spec_version.chars().take(64).collect();
            return Err(MetadataError::Specification { found });
        }
        let expires = time::from_rfc3339(&header.expires)
            .ok_or_else(|| wrong("`expires` is not a date such as 2030-01-01T00:00:00Z"))?;
        let payload: T = fields(&signed)?;
        payload.check().map_err(wrong)?;
        Ok(Metadata {
            version: header.version.get(),
            expires,
            signed: payload,
            signed_bytes: json::canonical(&signed),
            signatures: read_signatures(signatures)?,
        })
    }
}

fn wrong(reason: impl Into<String>) -> MetadataError {
    MetadataError::Field { reason: reason.into() }
}

fn fields<T: DeserializeOwned>(value: &Value) -> Result<T, MetadataError> {
    T::deserialize(value).map_err(|error| wrong(error.to_string()))
}

fn read_signatures(written: Vec<WrittenSignature>) -> Result<Vec<Signature>, MetadataError> {
    if written.len() > KEYS_MOST {
        return Err(wrong(format!("more than {KEYS_MOST} signatures")));
    }
    let mut seen = BTreeSet::new();
    let mut signatures = Vec::with_capacity(written.len());
    for WrittenSignature { keyid, sig } in written {
        if !seen.insert(keyid.clone()) {
            return Err(wrong(format!("two signatures by the key `{keyid}`")));
        }
        signatures.push(Signature { keyid, bytes: hex::decode(sig).unwrap_or_default() });
    }
    Ok(signatures)
}

#[derive(Deserialize)]
struct Envelope {
    signatures: Vec<WrittenSignature>,
    signed: Value,
}

#[derive(Deserialize)]
struct WrittenSignature {
    keyid: String,
    sig: String,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "_type")]
    role: String,
    spec_version: String,
    version: NonZeroU64,
    expires: String,
}

/// A public key as it is written down. A client that cannot use its type or scheme goes on without it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Key {
    /// `ed25519`, `ecdsa`, `rsa`…
    pub keytype: String,
    /// `ed25519`, `ecdsa-sha2-nistp256`, `rsassa-pss-sha256`…
    pub scheme: String,
    /// The key itself, in a form that the type decides.
    #[serde(rename = "keyval", deserialize_with = "public_part")]
    pub public: String,
}

fn public_part<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    struct Value {
        public: String,
    }
    Value::deserialize(deserializer).map(|value| value.public)
}

/// Reads keys by identifier, which is a name and nothing else; keys of shapes that are not known are left out.
pub(super) fn known_keys<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, Key>, D::Error> {
    let all = BTreeMap::<String, Value>::deserialize(deserializer)?;
    Ok(all.into_iter().filter_map(|(id, key)| Some((id, Key::deserialize(key).ok()?))).collect())
}

/// Who signs for a role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RoleKeys {
    /// The identifiers of its keys, no two the same.
    #[serde(deserialize_with = "distinct")]
    pub keyids: BTreeSet<String>,
    /// How many of the keys have to have signed.
    pub threshold: NonZeroU32,
}

fn distinct<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    use serde::de::Error;
    let listed = Vec::<String>::deserialize(deserializer)?;
    let count = listed.len();
    if count > KEYS_MOST {
        return Err(D::Error::custom(format_args!("more than {KEYS_MOST} keys of a role")));
    }
    let distinct: BTreeSet<String> = listed.into_iter().collect();
    if distinct.len() == count { Ok(distinct) } else { Err(D::Error::custom("a key twice in `keyids`")) }
}

/// Who signs for the top-level roles.
#[derive(Debug, Clone, Deserialize)]
pub struct Root {
    /// Whether files are named by version and hash.
    #[serde(default)]
    pub consistent_snapshot: bool,
    /// Keys by identifier, as far as their shape is known.
    #[serde(deserialize_with = "known_keys")]
    pub keys: BTreeMap<String, Key>,
    /// The four top-level roles, at least.
    pub roles: BTreeMap<String, RoleKeys>,
}

impl Payload for Root {
    const TYPE: &'static str = "root";

    fn check(&self) -> Result<(), String> {
        let missing = super::TOP_LEVEL.iter().find(|role| !self.roles.contains_key(**role));
        missing.map_or(Ok(()), |role| Err(format!("the role `{role}` is missing")))
    }
}

/// Which snapshot is the newest.
#[derive(Debug, Clone, Deserialize)]
pub struct Timestamp {
    meta: TimestampMeta,
}

#[derive(Debug, Clone, Deserialize)]
struct TimestampMeta {
    #[serde(rename = "snapshot.json")]
    snapshot: MetaFile,
}

impl Timestamp {
    /// The snapshot.
    pub fn snapshot(&self) -> &MetaFile {
        &self.meta.snapshot
    }
}

impl Payload for Timestamp {
    const TYPE: &'static str = "timestamp";
}

/// Which versions of targets metadata belong together.
#[derive(Debug, Clone, Deserialize)]
pub struct Snapshot {
    /// By name of the role and `.json`.
    pub meta: BTreeMap<String, MetaFile>,
}

impl Snapshot {
    /// What is known of a role's metadata.
    pub fn of(&self, role: &str) -> Option<&MetaFile> {
        self.meta.get(&format!("{role}.json"))
    }
}

impl Payload for Snapshot {
    const TYPE: &'static str = "snapshot";

    fn check(&self) -> Result<(), String> {
        self.of("targets").map(drop).ok_or_else(|| "`targets.json` is missing".to_owned())
    }
}

/// A file of metadata.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct MetaFile {
    /// At least 1.
    pub version: NonZeroU64,
    /// In bytes.
    #[serde(default)]
    pub length: Option<u64>,
    /// By algorithm.
    #[serde(default)]
    pub hashes: Option<Hashes>,
}

/// Digests in hexadecimal digits, by name of the algorithm.
pub type Hashes = BTreeMap<String, String>;

/// The targets that a role answers for, and whom else it lets answer.
#[derive(Debug, Clone, Deserialize)]
pub struct Targets {
    /// By path.
    pub targets: BTreeMap<String, TargetFile>,
    /// To other roles.
    #[serde(default)]
    pub delegations: Option<Delegations>,
}

impl Payload for Targets {
    const TYPE: &'static str = "targets";

    fn check(&self) -> Result<(), String> {
        self.delegations.as_ref().map_or(Ok(()), Delegations::check)
    }
}

/// A file of the store's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TargetFile {
    /// In bytes.
    pub length: u64,
    /// By algorithm.
    pub hashes: Hashes,
    /// What the publisher says of it beyond the specification.
    #[serde(default)]
    pub custom: Option<Value>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(signed: Value) -> Vec<u8> {
        json!({"signatures": [{"keyid": "k", "sig": "00ff"}, {"keyid": "l", "sig": ""}], "signed": signed})
            .to_string()
            .into_bytes()
    }

    fn timestamp() -> Value {
        json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": 3, "expires": "2030-01-01T00:00:00Z",
            "meta": {"snapshot.json": {"version": 2}}, "x-unknown": {"a": 1},
        })
    }

    fn refused<T: Payload>(signed: Value) -> String {
        match Metadata::<T>::parse(&document(signed.clone())) {
            Ok(_) => panic!("{signed}"),
            Err(error) => error.to_string(),
        }
    }

    fn with(mut signed: Value, pointer: &str, value: Value) -> Value {
        *signed.pointer_mut(pointer).unwrap() = value;
        signed
    }

    #[test]
    fn what_is_not_known_is_signed_and_passed_over() {
        let parsed = Metadata::<Timestamp>::parse(&document(timestamp())).unwrap();
        assert_eq!((parsed.version, parsed.expires), (3, 1_893_456_000));
        assert_eq!(parsed.signed.snapshot().version.get(), 2);
        assert!(String::from_utf8(parsed.signed_bytes).unwrap().contains(r#""x-unknown":{"a":1}"#));
        assert_eq!(parsed.signatures[0].bytes, [0, 255]);
        assert!(parsed.signatures[1].bytes.is_empty());
    }

    #[test]
    fn fields_are_what_the_specification_says() {
        for (pointer, value, words) in [
            ("/_type", json!("snapshot"), "type `snapshot`"),
            ("/spec_version", json!("2.0"), "version `2.0`"),
            ("/spec_version", json!("10.0"), "version `10.0`"),
            ("/version", json!(0), "nonzero"),
            ("/version", json!(-1), "nonzero"),
            ("/version", json!("1"), "string"),
            ("/expires", json!("tomorrow"), "date"),
            ("/meta", json!({}), "snapshot.json"),
            ("/meta/snapshot.json/version", json!(0), "nonzero"),
            ("/meta/snapshot.json", json!({"version": 1, "length": -1}), "u64"),
        ] {
            let told = refused::<Timestamp>(with(timestamp(), pointer, value));
            assert!(told.contains(words), "{pointer}: {told}");
        }
    }

    #[test]
    fn two_signatures_by_one_key_identifier_are_refused() {
        let twice = json!({"signed": timestamp(), "signatures": [
            {"keyid": "k", "sig": "00"}, {"keyid": "k", "sig": "01"}]});
        let told = Metadata::<Timestamp>::parse(twice.to_string().as_bytes()).unwrap_err().to_string();
        assert!(told.contains("two signatures"), "{told}");
        let many: Vec<Value> = (0..=KEYS_MOST).map(|n| json!({"keyid": n.to_string(), "sig": ""})).collect();
        let many = json!({"signed": timestamp(), "signatures": many});
        assert!(Metadata::<Timestamp>::parse(many.to_string().as_bytes()).is_err());
    }

    fn root() -> Value {
        let role = json!({"keyids": ["k"], "threshold": 1});
        json!({
            "_type": "root", "spec_version": "1.0", "version": 1, "expires": "2030-01-01T00:00:00Z",
            "keys": {
                "k": {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00"}, "x": 1},
                "new": {"keytype": "later", "shape": []},
            },
            "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role, "mirrors": role},
        })
    }

    #[test]
    fn keys_of_unknown_shapes_are_left_out() {
        let parsed = Metadata::<Root>::parse(&document(root())).unwrap().signed;
        assert_eq!(parsed.keys.keys().collect::<Vec<_>>(), ["k"]);
        assert!(!parsed.consistent_snapshot);
    }

    #[test]
    fn a_root_has_all_four_roles_with_thresholds_and_distinct_keys() {
        for (pointer, value, words) in [
            ("/roles", json!({"root": {"keyids": [], "threshold": 1}}), "`timestamp` is missing"),
            ("/roles/root/threshold", json!(0), "nonzero"),
            ("/roles/root/keyids", json!(["a", "a"]), "twice"),
            ("/roles/root/keyids", json!("a"), "sequence"),
            ("/keys", json!([]), "map"),
        ] {
            let told = refused::<Root>(with(root(), pointer, value));
            assert!(told.contains(words), "{pointer}: {told}");
        }
    }

    #[test]
    fn a_snapshot_names_the_targets() {
        let snapshot = json!({
            "_type": "snapshot", "spec_version": "1.0", "version": 1, "expires": "2030-01-01T00:00:00Z",
            "meta": {"other.json": {"version": 1}},
        });
        assert!(refused::<Snapshot>(snapshot).contains("targets.json"));
    }
}
