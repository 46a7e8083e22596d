//! Checked names, versions, revisions, hashes and keys: a value of these types is well-formed, wherever it came from.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name, version, revision, hash or key that is not well-formed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{}` is not valid: {rule}", crate::text::visible(.value))]
pub struct NameError {
    /// What the text was to be, such as `package name`.
    pub what: &'static str,
    /// The text, cut to 64 characters.
    pub value: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl NameError {
    pub(crate) fn new(what: &'static str, value: &str, rule: &'static str) -> Self {
        NameError { what, value: value.chars().take(64).collect(), rule }
    }
}

/// Implements the text conversions of a checked string type: `FromStr` is the one place that checks.
macro_rules! checked_text {
    ($type:ident) => {
        impl $type {
            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.0
            }
        }
    };
}

/// A package name: `[a-z0-9]+(-[a-z0-9]+)*` with at least one letter, 2 to 40 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9]+(-[a-z0-9]+)*$", "minLength" = 2, "maxLength" = 40))]
pub struct PackageName(String);
checked_text!(PackageName);

impl FromStr for PackageName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if (2..=40).contains(&text.len())
            && is_dashed_name(text)
            && text.bytes().any(|b| b.is_ascii_lowercase())
        {
            return Ok(PackageName(text.to_owned()));
        }
        Err(NameError::new(
            "package name",
            text,
            "use 2 to 40 of a-z, 0-9 and single dashes between them, with at least one letter",
        ))
    }
}

/// The name of an app, part, plug, slot or hook: the same alphabet as a package name, 1 to 40 characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[a-z0-9]+(-[a-z0-9]+)*$", "maxLength" = 40))]
pub struct Name(String);
checked_text!(Name);

impl FromStr for Name {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if (1..=40).contains(&text.len()) && is_dashed_name(text) {
            return Ok(Name(text.to_owned()));
        }
        Err(NameError::new("name", text, "use 1 to 40 of a-z, 0-9 and single dashes between them"))
    }
}

fn is_dashed_name(text: &str) -> bool {
    text.split('-')
        .all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

/// A version as the publisher writes it: 1 to 32 of `[A-Za-z0-9.+~:-]`, beginning and ending with a letter or digit
/// (the characters of a snap version; none of them needs quoting in a file name).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[A-Za-z0-9]([A-Za-z0-9.+~:-]*[A-Za-z0-9])?$", "maxLength" = 32))]
pub struct Version(String);
checked_text!(Version);

impl FromStr for Version {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let inner = |b: u8| b.is_ascii_alphanumeric() || b".+~:-".contains(&b);
        let ends = text.as_bytes().first().zip(text.as_bytes().last());
        if text.len() <= 32
            && text.bytes().all(inner)
            && ends.is_some_and(|(a, z)| a.is_ascii_alphanumeric() && z.is_ascii_alphanumeric())
        {
            return Ok(Version(text.to_owned()));
        }
        Err(NameError::new(
            "version",
            text,
            "use 1 to 32 of A-Z, a-z, 0-9 and . + ~ : -, beginning and ending with a letter or digit",
        ))
    }
}

/// A processor architecture under Debian's name for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// 64-bit x86.
    Amd64,
    /// 64-bit ARM.
    Arm64,
    /// Runs on every architecture: scripts and data.
    All,
}

impl Architecture {
    /// The architecture that this program was compiled for.
    pub const HOST: Architecture =
        if cfg!(target_arch = "aarch64") { Architecture::Arm64 } else { Architecture::Amd64 };

    /// Debian's name: `amd64`, `arm64` or `all`.
    pub fn as_str(self) -> &'static str {
        match self {
            Architecture::Amd64 => "amd64",
            Architecture::Arm64 => "arm64",
            Architecture::All => "all",
        }
    }

    /// The folder name that Debian's multiarch libraries use; nothing for [`Architecture::All`].
    pub fn triplet(self) -> Option<&'static str> {
        match self {
            Architecture::Amd64 => Some("x86_64-linux-gnu"),
            Architecture::Arm64 => Some("aarch64-linux-gnu"),
            Architecture::All => None,
        }
    }

    /// Whether a package of this architecture runs on `host`.
    pub fn runs_on(self, host: Architecture) -> bool {
        self == Architecture::All || self == host
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Which installed state of a package: `x1`, `x2`… for one installed from a file, `1`, `2`… for one from a store
/// (snapd's notation).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Revision {
    /// Counted on this machine.
    Local(u32),
    /// Given by a store.
    Store(u32),
}

impl fmt::Display for Revision {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Revision::Local(number) => write!(out, "x{number}"),
            Revision::Store(number) => write!(out, "{number}"),
        }
    }
}

impl FromStr for Revision {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = || NameError::new("revision", text, "use a number from 1, or x and a number from 1");
        let (digits, make): (&str, fn(u32) -> Revision) = match text.strip_prefix('x') {
            Some(digits) => (digits, Revision::Local),
            None => (text, Revision::Store),
        };
        if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
            return Err(error());
        }
        Ok(make(digits.parse().map_err(|_| error())?))
    }
}

impl TryFrom<String> for Revision {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Revision> for String {
    fn from(revision: Revision) -> String {
        revision.to_string()
    }
}

/// A BLAKE3 hash, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Hashes `bytes`.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(*blake3::hash(bytes).as_bytes())
    }
}

/// A SHA-256 digest, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, std::hash::Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256(pub [u8; 32]);

/// An ed25519 public key, written as 64 hexadecimal digits. The key itself serves as its fingerprint: it is no longer
/// than a hash of it would be, and nothing has to be looked up to check with it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey(pub [u8; 32]);

/// Implements the hexadecimal text form of a 32-byte value.
macro_rules! hex_text {
    ($type:ident, $what:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&hex::encode(self.0))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, out)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                let mut bytes = [0; 32];
                let lower = !text.bytes().any(|b| b.is_ascii_uppercase());
                match hex::decode_to_slice(text, &mut bytes) {
                    Ok(()) if lower => Ok($type(bytes)),
                    _ => Err(NameError::new($what, text, "it has 64 digits of 0-9 and a-f")),
                }
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}
hex_text!(Hash, "hash");
hex_text!(Sha256, "SHA-256");
hex_text!(PublicKey, "key fingerprint");

impl PackageName {
    /// What desktops know the package's apps as: `pack.app.NAME`. An element of such an id begins with no digit
    /// (D-Bus specification, "Valid Names"), so one is put behind `_`.
    pub fn desktop_id(&self) -> String {
        let name = self.as_str();
        let escape = if name.starts_with(|first: char| first.is_ascii_digit()) { "_" } else { "" };
        format!("pack.app.{escape}{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_names_follow_the_rule() {
        for good in ["hello", "a1", "7zip", "foo-bar-2"] {
            assert!(good.parse::<PackageName>().is_ok(), "{good}");
        }
        let long = "a".repeat(41);
        for bad in ["", "a", "12", "Foo", "a--b", "-a", "a-", "a_b", "a/b", "..", "a b", "é", long.as_str()]
        {
            assert!(bad.parse::<PackageName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn versions_follow_the_rule() {
        for good in ["1", "1.2-3+deb12u1", "v2~rc1", "1:2.3"] {
            assert!(good.parse::<Version>().is_ok(), "{good}");
        }
        for bad in ["", "-1", "1-", "1/2", "1 2", "..", "1\n", &"1".repeat(33)] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }

    #[test]
    fn revisions_read_back_what_they_print() {
        for text in ["x1", "x4294967295", "1", "77"] {
            assert_eq!(text.parse::<Revision>().unwrap().to_string(), text);
        }
        for bad in ["", "x", "0", "x0", "01", "-1", "x-1", "4294967296", "+1", "x+1", "1 "] {
            assert!(bad.parse::<Revision>().is_err(), "{bad}");
        }
    }

    #[test]
    fn hashes_are_64_lowercase_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<Hash>().unwrap().to_string(), text);
        for bad in ["", "00", &"00FF".repeat(16), &"00ff".repeat(17), &"zz".repeat(32)] {
            assert!(bad.parse::<Hash>().is_err(), "{bad}");
        }
    }
}
