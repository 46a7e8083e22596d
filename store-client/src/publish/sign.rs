//! Metadata as it is written: the signed part, and signatures around it.

use ed25519_dalek::{Signer, SigningKey};
use pack_schemas::names::{PublicKey, Sha256};
use pack_schemas::time::rfc3339;
use pack_schemas::tuf::json::canonical;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

/// The version of the specification that metadata is written for.
const SPECIFICATION: &str = "1.0.33";

/// The SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> Sha256 {
    let mut found = [0; 32];
    found.copy_from_slice(digest(&SHA256, bytes).as_ref());
    Sha256(found)
}

/// A key as metadata has it.
pub fn key_value(key: &PublicKey) -> Value {
    json!({"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": key.to_string()}})
}

/// What metadata calls a key: the SHA-256 of its canonical form.
pub fn key_id(key: &PublicKey) -> String {
    sha256(&canonical(&key_value(key))).to_string()
}

/// The public half of a key.
pub fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

/// Keys by identifier, as `keys` has them.
pub fn keys<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Value {
    keys.into_iter().map(|key| (key_id(key), key_value(key))).collect::<Map<String, Value>>().into()
}

/// A role of which one of these keys has to sign.
pub fn one_of<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> Value {
    json!({"keyids": keys.into_iter().map(key_id).collect::<Vec<_>>(), "threshold": 1})
}

/// Signs a document.
pub fn sign(signed: &Value, keys: &[&SigningKey]) -> Vec<u8> {
    let bytes = canonical(signed);
    let signature = |key: &&SigningKey| {
        let signature = hex::encode(key.sign(&bytes).to_bytes());
        json!({"keyid": key_id(&public(key)), "sig": signature})
    };
    let signatures: Vec<Value> = keys.iter().map(signature).collect();
    canonical(&json!({"signatures": signatures, "signed": signed}))
}

/// Begins the signed part of a role; `kind` is what `_type` says.
pub fn header(kind: &str, version: u64, expires: u64) -> Value {
    json!({
        "_type": kind, "spec_version": SPECIFICATION, "version": version, "expires": rfc3339(expires),
    })
}

/// What names a file of metadata.
pub fn meta(version: u64, bytes: &[u8]) -> Value {
    json!({"version": version, "length": bytes.len(), "hashes": {"sha256": sha256(bytes)}})
}

/// What names a target.
pub fn target(bytes: &[u8]) -> Value {
    json!({"length": bytes.len(), "hashes": {"sha256": sha256(bytes)}})
}
