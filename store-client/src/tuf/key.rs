//! Public keys, and whether enough of them have signed.
//!
//! | type | scheme | written as |
//! |---|---|---|
//! | `ed25519` | `ed25519` | 32 bytes in hexadecimal digits |
//! | `ecdsa`, `ecdsa-sha2-nistp256` | `ecdsa-sha2-nistp256` | PEM; older stores: the uncompressed point in hexadecimal digits |
//! | `rsa` | `rsassa-pss-sha256` | PEM; 2048 to 8192 bits, a salt as long as the hash |
//!
//! All other keys are as if they were not there, so that a store can begin to use a new kind before all of its clients know
//! it. A key's identifier is what the delegating metadata calls it, and nothing more: a key under two identifiers is
//! one key, and counts once.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signature, VerifyingKey};
use pack_schemas::tuf::{Key, Metadata, RoleKeys};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;
use webpki::ring::{ECDSA_P256_SHA256, RSA_PSS_2048_8192_SHA256_LEGACY_KEY};

use super::error::TufError;

/// What stands before an uncompressed point of P-256 in a SubjectPublicKeyInfo (RFC 5480, 2).
const P256_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A key that signatures can be checked with.
enum PublicKey {
    Ed25519(VerifyingKey),
    /// A SubjectPublicKeyInfo, as DER.
    Other(SubjectPublicKeyInfoDer<'static>, &'static dyn SignatureVerificationAlgorithm),
}

impl PublicKey {
    fn read(key: &Key) -> Option<PublicKey> {
        let public = key.public.as_str();
        let pem = |algorithm| {
            let der = SubjectPublicKeyInfoDer::from_pem_slice(public.as_bytes()).ok()?;
            Some(PublicKey::Other(der, algorithm))
        };
        match (key.keytype.as_str(), key.scheme.as_str()) {
            ("ed25519", "ed25519") => {
                let bytes: [u8; 32] = hex::decode(public).ok()?.try_into().ok()?;
                Some(PublicKey::Ed25519(VerifyingKey::from_bytes(&bytes).ok()?))
            }
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => match hex::decode(public) {
                Ok(point) => {
                    let der = [&P256_PREFIX[..], &point].concat();
                    Some(PublicKey::Other(der.into(), ECDSA_P256_SHA256))
                }
                Err(_) => pem(ECDSA_P256_SHA256),
            },
            ("rsa", "rsassa-pss-sha256") => pem(RSA_PSS_2048_8192_SHA256_LEGACY_KEY),
            _ => None,
        }
    }

    fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Ed25519(key) => Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            PublicKey::Other(der, algorithm) => RawPublicKeyEntity::try_from(der)
                .is_ok_and(|key| key.verify_signature(*algorithm, message, signature).is_ok()),
        }
    }

    /// What makes it this key and no other.
    fn identity(&self) -> Vec<u8> {
        match self {
            PublicKey::Ed25519(key) => key.to_bytes().to_vec(),
            PublicKey::Other(der, _) => der.to_vec(),
        }
    }
}

/// Checks that as many distinct keys of a role have signed as have to.
pub(super) fn check_signatures<T>(
    name: &str,
    metadata: &Metadata<T>,
    keys: &BTreeMap<String, Key>,
    role: &RoleKeys,
) -> Result<(), TufError> {
    let mut signers = BTreeSet::new();
    for signature in metadata.signatures.iter().filter(|signature| role.keyids.contains(&signature.keyid)) {
        if let Some(key) = keys.get(&signature.keyid).and_then(PublicKey::read)
            && key.has_signed(&metadata.signed_bytes, &signature.bytes)
        {
            signers.insert(key.identity());
        }
    }
    let (found, wanted) = (signers.len(), role.threshold.get());
    if u64::try_from(found).is_ok_and(|found| found >= u64::from(wanted)) {
        return Ok(());
    }
    Err(TufError::Signatures { role: name.to_owned(), found, wanted })
}

/// The keys of a role, whatever they are called.
pub(super) fn identities(keys: &BTreeMap<String, Key>, role: &RoleKeys) -> BTreeSet<Vec<u8>> {
    let known = role.keyids.iter().filter_map(|id| keys.get(id)).filter_map(PublicKey::read);
    known.map(|key| key.identity()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use pack_schemas::tuf::{Signature as Signed, Timestamp};
    use serde_json::json;

    const MESSAGE: &[u8] = b"{\"a\":1}";

    /// Made with `openssl`: a key of P-256 and one of RSA with 2048 bits, each with a signature of [`MESSAGE`].
    const ECDSA: (&str, &str, &str) = include!("key/ecdsa-p256.in");
    const RSA: (&str, &str, &str) = include!("key/rsa-2048.in");

    fn key(keytype: &str, scheme: &str, public: &str) -> Key {
        Key { keytype: keytype.to_owned(), scheme: scheme.to_owned(), public: public.to_owned() }
    }

    fn ed25519(seed: u8) -> (Key, Vec<u8>) {
        let secret = SigningKey::from_bytes(&[seed; 32]);
        let public = hex::encode(secret.verifying_key().to_bytes());
        (key("ed25519", "ed25519", &public), secret.sign(MESSAGE).to_bytes().to_vec())
    }

    /// How many of the keys have signed, of which each has an identifier and a signature.
    fn count(entries: &[(&str, Key, &[u8])]) -> usize {
        let timestamp = json!({"signatures": [], "signed": {
            "_type": "timestamp", "spec_version": "1.0", "version": 1, "expires": "2030-01-01T00:00:00Z",
            "meta": {"snapshot.json": {"version": 1}}}});
        let mut metadata = Metadata::<Timestamp>::parse(timestamp.to_string().as_bytes()).unwrap();
        metadata.signed_bytes = MESSAGE.to_vec();
        let signed =
            |(id, _, bytes): &(&str, Key, &[u8])| Signed { keyid: id.to_string(), bytes: bytes.to_vec() };
        metadata.signatures = entries.iter().map(signed).collect();
        let keys = entries.iter().map(|(id, key, _)| (id.to_string(), key.clone())).collect();
        let role =
            json!({"keyids": entries.iter().map(|entry| entry.0).collect::<Vec<_>>(), "threshold": 1000});
        let role: RoleKeys = serde_json::from_value(role).unwrap();
        match check_signatures("timestamp", &metadata, &keys, &role) {
            Err(TufError::Signatures { found, wanted: 1000, .. }) => found,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn keys_of_every_known_kind_sign() {
        let (ed25519, signature) = ed25519(1);
        let of = |kind: (&str, &str, &str)| hex::decode(kind.2).unwrap();
        let (ecdsa, rsa) = (of(ECDSA), of(RSA));
        let scheme = "ecdsa-sha2-nistp256";
        assert_eq!(count(&[("a", ed25519, &signature)]), 1);
        assert_eq!(count(&[("a", key("ecdsa", scheme, ECDSA.0), &ecdsa)]), 1);
        assert_eq!(count(&[("a", key(scheme, scheme, ECDSA.0), &ecdsa)]), 1);
        assert_eq!(count(&[("a", key("ecdsa", scheme, ECDSA.1), &ecdsa)]), 1);
        assert_eq!(count(&[("a", key("rsa", "rsassa-pss-sha256", RSA.0), &rsa)]), 1);
    }

    #[test]
    fn a_key_counts_once_whatever_it_is_called_and_however_it_is_written() {
        let (one, signature) = ed25519(1);
        let (other, other_signature) = ed25519(2);
        let upper = Key { public: one.public.to_uppercase(), ..one.clone() };
        assert_eq!(
            count(&[("a", one.clone(), &signature), ("b", one, &signature), ("c", upper, &signature)]),
            1
        );
        let ecdsa = hex::decode(ECDSA.2).unwrap();
        let scheme = "ecdsa-sha2-nistp256";
        let twice = [key("ecdsa", scheme, ECDSA.0), key("ecdsa", scheme, ECDSA.1)];
        assert_eq!(count(&[("a", twice[0].clone(), &ecdsa), ("b", twice[1].clone(), &ecdsa)]), 1);
        assert_eq!(count(&[("a", other, &other_signature), ("b", twice[1].clone(), &ecdsa)]), 2);
    }

    #[test]
    fn unknown_keys_and_wrong_signatures_count_for_nothing() {
        let (good, signature) = ed25519(1);
        let with = |keytype: &str, scheme: &str| Key {
            keytype: keytype.into(),
            scheme: scheme.into(),
            ..good.clone()
        };
        for unknown in [
            with("ed25519", "ed25519ph"),
            with("rsa", "ed25519"),
            with("sphincs", "later"),
            with("ecdsa", "ecdsa-sha2-nistp256"),
            key("ed25519", "ed25519", "00"),
            key("ed25519", "ed25519", ""),
            key("rsa", "rsassa-pss-sha256", ECDSA.0),
            key("rsa", "rsassa-pss-sha256", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
            key("rsa", "rsassa-pss-sha256", ""),
        ] {
            assert_eq!(count(&[("a", unknown.clone(), &signature)]), 0, "{unknown:?}");
        }
        let mut wrong = signature.clone();
        wrong[5] ^= 1;
        for wrong in [&wrong[..], &signature[..63], &[]] {
            assert_eq!(count(&[("a", good.clone(), wrong)]), 0);
        }
        let other = ed25519(2).1;
        assert_eq!(count(&[("a", good, &other)]), 0);
        // The neutral element as a key has "signed" everything, in the eyes of lenient programs.
        let weak = key("ed25519", "ed25519", &format!("01{}", "00".repeat(31)));
        let forged = [&[1][..], &[0; 63]].concat();
        assert_eq!(count(&[("a", weak, &forged)]), 0);
    }
}
