//! Metadata of The Update Framework (TUF), formats of the specification 1.0: what a store signs, and how it is read.
//!
//! | module | |
//! |---|---|
//! | [`json`] | JSON without second readings, and the canonical form that signatures are over |
//! | [`metadata`] | root, timestamp, snapshot, targets, and the envelope with signatures around each |
//! | [`delegation`] | which role answers for which targets: patterns, hash prefixes, bins |
//!
//! Everything here is parsing. Whether a signature is right, a version new enough or a date past is decided by the
//! client. What the formats do not name is kept where it counts (the signed bytes) and otherwise passed over, as the
//! specification asks (section 4). What they name has to be there and has to be what they say.

pub mod delegation;
pub mod json;
pub mod metadata;

pub use delegation::{DelegatedRole, Delegations, SuccinctRoles};
pub use json::JsonError;
pub use metadata::{
    Hashes, Key, MetaFile, Metadata, MetadataError, Payload, RoleKeys, Root, Signature, Snapshot, TargetFile,
    Targets, Timestamp,
};

/// The names of the four top-level roles, which no delegation can have.
pub const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// Writes `name` as one segment of a URL's path: all but letters, digits and `-._~` as `%XX` (RFC 3986, 2.3). Names of
/// files are the same, so that no role's name can lead out of a folder.
pub fn quoted(name: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_into_one_segment() {
        for (name, expected) in [
            ("bin-1f", "bin-1f"),
            ("../a", "..%2Fa"),
            ("a?b#c%2f\\\0", "a%3Fb%23c%252f%5C%00"),
            ("ü", "%C3%BC"),
        ] {
            assert_eq!(quoted(name), expected);
        }
    }
}
