//! The `.pkg` file around the image: envelope, signatures and footer.
//!
//! ```text
//! 0        squashfs 4.0 image, padded to 4 KiB
//!          block index (crate::index), whole pages
//!          envelope: canonical JSON
//!          signatures: canonical JSON, a list; empty for an unsigned package
//! end-64   footer
//! ```
//!
//! The sections follow one another without gap, so the footer's lengths have to add up to the size of the file and
//! cannot lie about offsets. The footer is not signed and decides nothing: the envelope names the image's length, the
//! number of spans and the root of the index, and a reader takes them from there.
//!
//! *Canonical JSON* is what [`canonical_json`] writes: keys sorted by their bytes, no white space, no fractions. A
//! document that does not come out the same when it is written again is refused, so duplicate keys, other spellings
//! and trailing bytes have no second reading.

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::index::{Geometry, PAGE_SIZE};
use crate::manifest::{Manifest, PackageType};
use crate::names::{Architecture, Hash, PackageName, PublicKey, Version};

/// The format version that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// Size of the footer in bytes.
pub const FOOTER_SIZE: usize = 64;
/// Longest envelope in bytes; a manifest is at most 1 MiB.
pub const ENVELOPE_LIMIT: u32 = 4 << 20;
/// Longest list of signatures in bytes.
pub const SIGNATURES_LIMIT: u32 = 16 << 10;
/// Most signatures on a package.
pub const SIGNATURES_MOST: usize = 32;
/// What stands before the envelope in the signed message, so that a signature can never be taken for one over
/// something else.
pub const SIGNATURE_CONTEXT: &[u8] = b"pack-package-v1\0";

const MAGIC: [u8; 8] = *b"pack-pkg";
/// The image is padded to this.
pub const IMAGE_ALIGNMENT: u64 = 4096;

/// Why a package, or a part of it, is refused.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The file does not end in a footer.
    #[error("it is not a pack package: {reason}")]
    NotAPackage {
        /// What is missing.
        reason: &'static str,
    },
    /// The footer, or the envelope, is of a format version that this program does not know.
    #[error("it has format version {found}, and this pack reads version {FORMAT_VERSION}")]
    FormatVersion {
        /// The version found.
        found: u32,
    },
    /// The footer's lengths do not add up to the file, or to what the envelope says.
    #[error("its sections do not fit the file: {reason}")]
    Layout {
        /// What does not fit.
        reason: &'static str,
    },
    /// The envelope or the signatures are not canonical JSON of the right shape.
    #[error("its {section} cannot be read: {reason}")]
    Json {
        /// `envelope` or `signatures`.
        section: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// No signature is there.
    #[error("it is not signed")]
    Unsigned,
    /// A signature does not match the envelope.
    #[error("the signature of key {key} is wrong: the package was altered, or signed by something else")]
    BadSignature {
        /// The key that the signature names.
        key: PublicKey,
    },
}

/// The signed description of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Envelope {
    /// [`FORMAT_VERSION`].
    pub format: u32,
    /// Package name.
    pub name: PackageName,
    /// The publisher's version.
    pub version: Version,
    /// Architecture of the programs inside.
    pub architecture: Architecture,
    /// App or base.
    #[serde(rename = "type")]
    pub package_type: PackageType,
    /// The image and its index.
    pub image: Image,
    /// The whole manifest, normalised.
    pub manifest: Manifest,
    /// Every time stamp in the image, in seconds since 1970.
    pub source_date_epoch: u32,
}

/// What the envelope says of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Image {
    /// Length in bytes, with padding.
    pub length: u64,
    /// Number of spans in the index.
    pub spans: u64,
    /// Hash of the root page of the index.
    pub index_root: Hash,
    /// What wrote and compressed the image, with all versions that its bytes depend on, such as `pack 1 zstd 1.5.7`.
    pub encoder: String,
    /// Compression level.
    pub level: i32,
    /// Bytes of a file in one block, before compression.
    pub block_size: u32,
}

/// One signature over an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The key that made it.
    pub key: PublicKey,
    /// The 64 bytes of the ed25519 signature over [`SIGNATURE_CONTEXT`] and the envelope's bytes.
    #[serde(with = "hex::serde")]
    pub signature: [u8; 64],
}

/// Where the sections of a package lie; read from, and written as, its last [`FOOTER_SIZE`] bytes:
///
/// ```text
/// 0 magic "pack-pkg"   8 u32 format version   12 u32 envelope length   16 u64 image length   24 u64 index length
/// 32 u32 signatures length   36 zeros   48 first 16 bytes of the BLAKE3 of bytes 0-47
/// ```
///
/// Numbers are little-endian. The hash finds a torn file; it is no protection against a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Length of the image, which begins the file.
    pub image: u64,
    /// Length of the index, which follows it.
    pub index: u64,
    /// Length of the envelope, which follows that.
    pub envelope: u32,
    /// Length of the signatures, which follow that.
    pub signatures: u32,
}

impl Footer {
    /// Offset of the index in the file.
    pub fn index_offset(&self) -> u64 {
        self.image
    }

    /// Offset of the envelope in the file.
    pub fn envelope_offset(&self) -> u64 {
        self.image + self.index
    }

    /// Offset of the signatures in the file.
    pub fn signatures_offset(&self) -> u64 {
        self.envelope_offset() + u64::from(self.envelope)
    }

    /// Reads the last bytes of a file of `file_size` bytes.
    ///
    /// # Errors
    /// [`PackageError`] where it is no footer, or its lengths do not add up to `file_size` or pass a limit.
    pub fn parse(bytes: &[u8; FOOTER_SIZE], file_size: u64) -> Result<Footer, PackageError> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let long = |at: usize| u64::from(number(at)) | u64::from(number(at + 4)) << 32;
        if bytes[..8] != MAGIC {
            return Err(PackageError::NotAPackage { reason: "it does not end in a package footer" });
        }
        if bytes[48..] != Hash::of(&bytes[..48]).0[..16] {
            return Err(PackageError::NotAPackage { reason: "its footer is damaged" });
        }
        if number(8) != FORMAT_VERSION {
            return Err(PackageError::FormatVersion { found: number(8) });
        }
        let footer =
            Footer { image: long(16), index: long(24), envelope: number(12), signatures: number(32) };
        let layout = |reason| PackageError::Layout { reason };
        if bytes[36..48] != [0; 12] {
            return Err(layout("reserved bytes of the footer are in use"));
        }
        if footer.envelope > ENVELOPE_LIMIT || footer.signatures > SIGNATURES_LIMIT {
            return Err(layout("the envelope or the signatures are too long"));
        }
        let total = footer
            .image
            .checked_add(footer.index)
            .and_then(|sum| sum.checked_add(u64::from(footer.envelope)))
            .and_then(|sum| sum.checked_add(u64::from(footer.signatures)))
            .and_then(|sum| sum.checked_add(FOOTER_SIZE as u64));
        if total != Some(file_size) {
            return Err(layout("the lengths in the footer do not add up to the size of the file"));
        }
        if !footer.image.is_multiple_of(IMAGE_ALIGNMENT) || !footer.index.is_multiple_of(PAGE_SIZE as u64) {
            return Err(layout("the image or the index is not a whole number of pages"));
        }
        Ok(footer)
    }

    /// Writes the footer.
    pub fn to_bytes(&self) -> [u8; FOOTER_SIZE] {
        let mut bytes = [0; FOOTER_SIZE];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.envelope.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.image.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.index.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.signatures.to_le_bytes());
        let hash = Hash::of(&bytes[..48]);
        bytes[48..].copy_from_slice(&hash.0[..16]);
        bytes
    }
}

impl Envelope {
    /// Reads an envelope and checks it against itself and against the footer that led to it.
    ///
    /// This believes nothing: whether the envelope is the publisher's is [`verify`]'s question.
    ///
    /// # Errors
    /// [`PackageError::Json`] where it is not canonical or not of this shape, [`PackageError::Layout`] where it
    /// contradicts the footer or its own manifest.
    pub fn parse(bytes: &[u8], footer: &Footer) -> Result<Envelope, PackageError> {
        let envelope: Envelope = from_canonical_json("envelope", bytes)?;
        if envelope.format != FORMAT_VERSION {
            return Err(PackageError::FormatVersion { found: envelope.format });
        }
        let layout = |reason| Err(PackageError::Layout { reason });
        let manifest = &envelope.manifest;
        if envelope.image.length != footer.image {
            return layout("envelope and footer disagree on the length of the image");
        }
        if Geometry::new(envelope.image.spans).size() != Some(footer.index) {
            return layout("envelope and footer disagree on the size of the index");
        }
        if envelope.name != manifest.name
            || envelope.version != manifest.version
            || envelope.package_type != manifest.package_type
        {
            return layout("envelope and manifest disagree on name, version or type");
        }
        manifest
            .check()
            .map_err(|error| PackageError::Json { section: "envelope", reason: error.to_string() })?;
        Ok(envelope)
    }

    /// The bytes that are signed and stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical_json(self)
    }
}

/// Signs the bytes of an envelope.
pub fn sign(envelope: &[u8], key: &SigningKey) -> Signature {
    let signature = key.sign(&[SIGNATURE_CONTEXT, envelope].concat());
    Signature { key: PublicKey(key.verifying_key().to_bytes()), signature: signature.to_bytes() }
}

/// Reads the signatures section.
///
/// # Errors
/// [`PackageError::Json`] where it is not a canonical list of at most [`SIGNATURES_MOST`] signatures of distinct keys
/// in ascending order.
pub fn parse_signatures(bytes: &[u8]) -> Result<Vec<Signature>, PackageError> {
    let signatures: Vec<Signature> = from_canonical_json("signatures", bytes)?;
    if signatures.len() > SIGNATURES_MOST || !signatures.windows(2).all(|pair| pair[0].key < pair[1].key) {
        let reason = format!("there may be {SIGNATURES_MOST} at most, in ascending order of their keys");
        return Err(PackageError::Json { section: "signatures", reason });
    }
    Ok(signatures)
}

/// Checks every signature over the bytes of an envelope and returns the keys, at least one.
///
/// Uses ed25519's strict rules (`verify_strict`): no weak keys, no second form of a signature.
///
/// # Errors
/// [`PackageError::Unsigned`] where there is none, [`PackageError::BadSignature`] where any does not match.
pub fn verify(envelope: &[u8], signatures: &[Signature]) -> Result<Vec<PublicKey>, PackageError> {
    if signatures.is_empty() {
        return Err(PackageError::Unsigned);
    }
    let message = [SIGNATURE_CONTEXT, envelope].concat();
    for Signature { key, signature } in signatures {
        VerifyingKey::from_bytes(&key.0)
            .and_then(|verifier| verifier.verify_strict(&message, &signature.into()))
            .map_err(|_| PackageError::BadSignature { key: *key })?;
    }
    Ok(signatures.iter().map(|signature| signature.key).collect())
}

/// Writes a value as canonical JSON.
///
/// # Panics
/// Where the value has a map with keys that are no strings, or a fraction; no type of this crate does.
pub fn canonical_json<T: Serialize>(value: &T) -> Vec<u8> {
    // A serde_json object keeps its keys sorted, since the feature that would keep them in order is off.
    let sorted = serde_json::to_value(value).expect("our types are JSON");
    serde_json::to_vec(&sorted).expect("a JSON value can be written")
}

/// Reads canonical JSON and refuses any other spelling of it.
///
/// # Errors
/// [`PackageError::Json`], which names `section`.
pub fn from_canonical_json<T: Serialize + DeserializeOwned>(
    section: &'static str,
    bytes: &[u8],
) -> Result<T, PackageError> {
    let value: T = serde_json::from_slice(bytes)
        .map_err(|error| PackageError::Json { section, reason: error.to_string() })?;
    if canonical_json(&value) != bytes {
        return Err(PackageError::Json { section, reason: "it is not in canonical form".to_owned() });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn footer() -> Footer {
        Footer { image: 8192, index: 4096, envelope: 300, signatures: 2 }
    }

    #[test]
    fn a_footer_reads_back_as_written() {
        let size = 8192 + 4096 + 300 + 2 + 64;
        assert_eq!(Footer::parse(&footer().to_bytes(), size).unwrap(), footer());
    }

    #[test]
    fn a_footer_with_any_bit_changed_is_refused() {
        for bit in 0..FOOTER_SIZE * 8 {
            let mut bytes = footer().to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Footer::parse(&bytes, 8192 + 4096 + 300 + 2 + 64).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_overflow_or_do_not_add_up_are_refused() {
        let long = Footer { image: u64::MAX - 4095, index: 8192, ..footer() };
        for (footer, size) in [(long, 4096 + 300 + 2 + 64), (footer(), 1), (footer(), u64::MAX)] {
            assert!(matches!(Footer::parse(&footer.to_bytes(), size), Err(PackageError::Layout { .. })));
        }
    }

    #[test]
    fn a_signature_holds_for_its_own_envelope_only() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let signature = sign(b"envelope", &key);
        assert_eq!(verify(b"envelope", std::slice::from_ref(&signature)).unwrap(), [signature.key]);
        assert!(matches!(
            verify(b"another", std::slice::from_ref(&signature)),
            Err(PackageError::BadSignature { .. })
        ));
        let other_key = Signature { key: sign(b"x", &SigningKey::from_bytes(&[8; 32])).key, ..signature };
        assert!(matches!(verify(b"envelope", &[other_key]), Err(PackageError::BadSignature { .. })));
        assert!(matches!(verify(b"envelope", &[]), Err(PackageError::Unsigned)));
    }

    #[test]
    fn json_has_one_spelling() {
        let read = |text: &str| from_canonical_json::<Vec<Signature>>("signatures", text.as_bytes());
        assert!(read("[]").is_ok());
        for other in ["[ ]", "[]\n", " []", "[] []", ""] {
            assert!(read(other).is_err(), "{other:?}");
        }
    }

    #[test]
    fn signatures_come_in_order_and_once() {
        let [one, two] = [[1; 32], [2; 32]].map(|seed| sign(b"e", &SigningKey::from_bytes(&seed)));
        let (low, high) = if one.key < two.key { (one, two) } else { (two, one) };
        let read = |list: &[&Signature]| parse_signatures(&canonical_json(&list));
        assert!(read(&[&low, &high]).is_ok());
        assert!(read(&[&high, &low]).is_err());
        assert!(read(&[&low, &low]).is_err());
    }
}
