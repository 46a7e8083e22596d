//! Targets: the files of a store, as its metadata describes them.

use pack_schemas::tuf::{Hashes, MetaFile, TargetFile, quoted};
use ring::digest::{Context, SHA256, SHA512};
use serde_json::Value;

use super::error::{Mismatch, TufError};

/// Longest path of a target, in bytes.
pub const PATH_MOST: usize = 1024;

/// A file that the store has, as those say who answer for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in the metadata.
    pub path: String,
    /// In bytes.
    pub length: u64,
    /// In hexadecimal digits, by algorithm.
    pub hashes: Hashes,
    /// What the publisher says of it beyond that.
    pub custom: Option<Value>,
    /// The role that answers for it.
    pub role: String,
    /// Whether files of the store are named by their hash.
    hashed_name: bool,
}

impl Target {
    pub(super) fn new(path: &str, file: &TargetFile, role: &str, consistent_snapshot: bool) -> Target {
        Target {
            path: path.to_owned(),
            length: file.length,
            hashes: file.hashes.clone(),
            custom: file.custom.clone(),
            role: role.to_owned(),
            hashed_name: consistent_snapshot,
        }
    }

    /// Where it is under the address of the store's targets, quoted as in a URL: `a/b`, or with consistent snapshots
    /// `a/HASH.b` (specification, 5.7 and 6.2).
    pub fn remote_path(&self) -> String {
        let segments: Vec<String> = self.path.split('/').map(quoted).collect();
        let hash = ["sha256", "sha512"].iter().find_map(|algorithm| self.hashes.get(*algorithm));
        match (hash, segments.split_last()) {
            (Some(hash), Some((name, folders))) if self.hashed_name => {
                let mut segments = folders.to_vec();
                segments.push(format!("{}.{name}", quoted(hash)));
                segments.join("/")
            }
            _ => segments.join("/"),
        }
    }

    /// Begins to check a copy of it.
    pub fn checker(&self) -> Checker<'_> {
        Checker::new(Some(self.length), Some(&self.hashes))
    }
}

/// Checks that a path can be a target's, and that nothing is reached by it but a file below a folder.
pub(super) fn check_path(path: &str) -> Result<(), TufError> {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..") && !segment.chars().any(|c| c.is_control() || c == '\\')
    };
    if path.len() <= PATH_MOST && path.split('/').all(segment) {
        return Ok(());
    }
    Err(TufError::Path { path: path.chars().take(64).collect() })
}

/// Looks at the bytes of a file as they come.
pub struct Checker<'a> {
    length: Option<u64>,
    hashes: Option<&'a Hashes>,
    found: u64,
    digests: Vec<(&'static str, &'a str, Context)>,
}

impl<'a> Checker<'a> {
    fn new(length: Option<u64>, hashes: Option<&'a Hashes>) -> Checker<'a> {
        let known = [("sha256", &SHA256), ("sha512", &SHA512)].into_iter().filter_map(|(name, algorithm)| {
            let wanted = hashes?.get(name)?;
            Some((name, wanted.as_str(), Context::new(algorithm)))
        });
        Checker { length, hashes, found: 0, digests: known.collect() }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Mismatch::Length`] as soon as there are too many.
    pub fn update(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        self.found = self.found.saturating_add(bytes.len() as u64);
        if let Some(wanted) = self.length.filter(|wanted| self.found > *wanted) {
            return Err(Mismatch::Length { wanted, found: self.found });
        }
        for (_, _, digest) in &mut self.digests {
            digest.update(bytes);
        }
        Ok(())
    }

    /// Says whether it was the file that was signed for: of the right length, and with every hash that can be computed
    /// right, of which there has to be one where there are any.
    ///
    /// # Errors
    /// [`Mismatch`].
    pub fn finish(self) -> Result<(), Mismatch> {
        if let Some(wanted) = self.length.filter(|wanted| self.found != *wanted) {
            return Err(Mismatch::Length { wanted, found: self.found });
        }
        if self.hashes.is_some() && self.digests.is_empty() {
            return Err(Mismatch::NoHash);
        }
        for (algorithm, wanted, digest) in self.digests {
            let found = hex::encode(digest.finish());
            if !found.eq_ignore_ascii_case(wanted) {
                return Err(Mismatch::Hash { algorithm, wanted: wanted.to_owned(), found });
            }
        }
        Ok(())
    }
}

/// Checks a file of metadata against what another one says of it, which may be nothing.
pub(super) fn check_file(meta: &MetaFile, bytes: &[u8]) -> Result<(), Mismatch> {
    let mut checker = Checker::new(meta.length, meta.hashes.as_ref());
    checker.update(bytes)?;
    checker.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, hashes: &[(&str, &str)], hashed_name: bool) -> Target {
        let hashes = hashes.iter().map(|(name, hash)| (name.to_string(), hash.to_string())).collect();
        Target { path: path.into(), length: 3, hashes, custom: None, role: "targets".into(), hashed_name }
    }

    #[test]
    fn hashes_stand_before_the_name_and_not_before_the_path() {
        for (path, hashes, hashed, expected) in [
            ("b", &[("sha256", "AA")][..], true, "AA.b"),
            ("a/b", &[("sha256", "AA")], true, "a/AA.b"),
            ("a/b", &[("sha256", "AA")], false, "a/b"),
            ("a/b", &[("sha512", "BB"), ("sha256", "AA")], true, "a/AA.b"),
            ("a/b", &[("sha512", "BB")], true, "a/BB.b"),
            ("a b/c?#%2e", &[("sha256", "AA")], true, "a%20b/AA.c%3F%23%252e"),
            ("b", &[("sha256", "../x")], true, "..%2Fx.b"),
        ] {
            assert_eq!(target(path, hashes, hashed).remote_path(), expected);
        }
    }

    #[test]
    fn paths_lead_down_only() {
        for good in ["a", "a/b.c", "a..b", "...", "ü/%2e%2e", "a b"] {
            assert!(check_path(good).is_ok(), "{good}");
        }
        let long = "a".repeat(PATH_MOST + 1);
        for bad in ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "./a", "a\\b", "a\0", "a\nb", &long]
        {
            assert!(matches!(check_path(bad), Err(TufError::Path { .. })), "{bad}");
        }
    }

    #[test]
    fn every_known_hash_has_to_be_right_and_one_has_to_be_known() {
        let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let check = |hashes: &[(&str, &str)], bytes: &[u8]| {
            let target = target("a", hashes, true);
            let mut checker = target.checker();
            bytes.chunks(2).try_for_each(|chunk| checker.update(chunk))?;
            checker.finish()
        };
        assert_eq!(check(&[("sha256", sha256)], b"abc"), Ok(()));
        assert_eq!(check(&[("sha256", &sha256.to_uppercase())], b"abc"), Ok(()));
        assert_eq!(check(&[("sha256", sha256), ("later", "00")], b"abc"), Ok(()));
        assert!(matches!(check(&[("sha256", sha256)], b"abd"), Err(Mismatch::Hash { .. })));
        let both = [("sha256", sha256), ("sha512", "00")];
        assert!(matches!(check(&both, b"abc"), Err(Mismatch::Hash { algorithm: "sha512", .. })));
        assert_eq!(check(&[("sha256", sha256)], b"ab"), Err(Mismatch::Length { wanted: 3, found: 2 }));
        assert!(matches!(check(&[("sha256", sha256)], b"abcdefgh"), Err(Mismatch::Length { wanted: 3, .. })));
        assert_eq!(check(&[("later", "00")], b"abc"), Err(Mismatch::NoHash));
        assert_eq!(check(&[], b"abc"), Err(Mismatch::NoHash));
    }
}
