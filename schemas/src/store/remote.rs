//! `remotes/NAME/remote.json`: a store that a person has added, and what they trust of it.

use serde::{Deserialize, Serialize};

use super::{STORE_VERSION, StoreProblem, check_text, parse};
use crate::names::{Name, Sha256};
use crate::package;

/// Longest file in bytes.
pub const REMOTE_LIMIT: u64 = 8 << 10;
/// Longest address in characters.
pub const ADDRESS_LIMIT: usize = 1024;

/// A store that packages are installed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemoteFile {
    /// [`STORE_VERSION`].
    pub format: u32,
    /// What the person calls it, and the name of its folder.
    pub name: Name,
    /// Its address, at most [`ADDRESS_LIMIT`] characters.
    pub url: String,
    /// SHA-256 of its first root: trust in all that it has begins there.
    pub fingerprint: Sha256,
    /// When it was added, in seconds since 1970.
    pub added: u64,
}

impl RemoteFile {
    /// A remote.
    pub fn new(name: Name, url: String, fingerprint: Sha256, added: u64) -> RemoteFile {
        RemoteFile { format: STORE_VERSION, name, url, fingerprint, added }
    }

    /// Reads the file of the remote `name`.
    ///
    /// # Errors
    /// [`StoreProblem`].
    pub fn parse(bytes: &[u8], name: &Name) -> Result<RemoteFile, StoreProblem> {
        let remote: RemoteFile = parse(bytes, REMOTE_LIMIT)?;
        check_text(&remote.url, ADDRESS_LIMIT)?;
        match remote.name == *name {
            true => Ok(remote),
            false => Err(StoreProblem::Contradiction { rule: "it names another remote than its folder" }),
        }
    }

    /// The text of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        package::canonical_json(self)
    }
}

/// Reads a fingerprint as people copy it: in capital letters too, and with spaces or colons between the digits.
pub fn read_fingerprint(text: &str) -> Result<Sha256, crate::names::NameError> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    digits.to_ascii_lowercase().parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(url: &str) -> RemoteFile {
        RemoteFile::new("example".parse().unwrap(), url.to_owned(), Sha256([0xab; 32]), 7)
    }

    #[test]
    fn a_remote_reads_back_and_counts_for_its_folder_alone() {
        let good = remote("https://example.org/store");
        assert_eq!(RemoteFile::parse(&good.to_bytes(), &good.name), Ok(good.clone()));
        assert!(RemoteFile::parse(&good.to_bytes(), &"other".parse().unwrap()).is_err());
        for bad in ["https://x\u{1b}[2J", &"x".repeat(ADDRESS_LIMIT + 1)] {
            let bad = remote(bad);
            assert!(matches!(RemoteFile::parse(&bad.to_bytes(), &bad.name), Err(StoreProblem::Text { .. })));
        }
    }

    #[test]
    fn fingerprints_are_read_as_people_copy_them() {
        let plain = "ab".repeat(32);
        for text in [plain.clone(), plain.to_uppercase(), ["AB "; 32].concat(), ["ab"; 32].join(":")] {
            assert_eq!(read_fingerprint(&text), Ok(Sha256([0xab; 32])), "{text}");
        }
        for bad in ["", "ab", &"ag".repeat(32), &"ab".repeat(33)] {
            assert!(read_fingerprint(bad).is_err(), "{bad}");
        }
    }
}
