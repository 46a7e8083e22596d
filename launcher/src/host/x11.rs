//! The X11 display that the environment names, and the cookies for it alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::read_small;

/// A local X11 display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Display {
    /// Its number: `:N`, socket `/tmp/.X11-unix/XN`.
    pub number: u32,
    /// An authority file with the entries for this display and no other, if there are any.
    pub cookies: Option<Vec<u8>>,
}

/// Longest authority file that is read.
const AUTHORITY_LIMIT: u64 = 1 << 20;
/// `FamilyLocal` and `FamilyWild` of Xauth.h: entries that fit a local connection.
const FAMILY_LOCAL: u16 = 256;
const FAMILY_WILD: u16 = 65535;

/// Finds the display of `DISPLAY`, if that names a local one.
pub fn find(variables: &BTreeMap<String, String>, home: &str) -> Option<Display> {
    let number = display_number(variables.get("DISPLAY")?)?;
    let authority = match variables.get("XAUTHORITY").filter(|path| !path.is_empty()) {
        Some(path) => PathBuf::from(path),
        None => Path::new(home).join(".Xauthority"),
    };
    let all = read_small(&authority, AUTHORITY_LIMIT);
    let cookies = all.map(|bytes| cookies_for(&bytes, number)).filter(|bytes| !bytes.is_empty());
    Some(Display { number, cookies })
}

/// The number in `:N`, `:N.S` or `unix:N`; a display on another host is not local (X(7), DISPLAY NAMES).
fn display_number(name: &str) -> Option<u32> {
    let (host, rest) = name.rsplit_once(':')?;
    if !matches!(host, "" | "unix") {
        return None;
    }
    let digits = rest.split('.').next()?;
    (digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The entries of an authority file that fit a local connection to display `number`, as they stand. The format is a
/// list of: family (2 bytes), then address, number, name and data, each with a length of 2 bytes before it, all
/// big-endian (libXau, AuRead.c). What follows a malformed entry is dropped.
fn cookies_for(bytes: &[u8], number: u32) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = bytes;
    while let Some((entry, after)) = split_entry(rest) {
        let local = entry.family == FAMILY_LOCAL || entry.family == FAMILY_WILD;
        if local && (entry.display.is_empty() || entry.display == number.to_string().as_bytes()) {
            kept.extend_from_slice(entry.whole);
        }
        rest = after;
    }
    kept
}

/// An entry of an authority file.
struct Cookie<'a> {
    whole: &'a [u8],
    family: u16,
    display: &'a [u8],
}

/// The first entry, and what follows it.
fn split_entry(bytes: &[u8]) -> Option<(Cookie<'_>, &[u8])> {
    let family = u16::from_be_bytes(bytes.get(..2)?.try_into().ok()?);
    let mut at = 2;
    let mut fields = [&bytes[..0]; 4];
    for field in &mut fields {
        let length = usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        *field = bytes.get(at + 2..at + 2 + length)?;
        at += 2 + length;
    }
    Some((Cookie { whole: &bytes[..at], family, display: fields[1] }, &bytes[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(family: u16, address: &str, number: &str) -> Vec<u8> {
        let mut bytes = family.to_be_bytes().to_vec();
        for field in [address, number, "MIT-MAGIC-COOKIE-1", "0123456789abcdef"] {
            bytes.extend((field.len() as u16).to_be_bytes());
            bytes.extend(field.as_bytes());
        }
        bytes
    }

    #[test]
    fn only_local_displays_are_found() {
        for (name, number) in [
            (":0", Some(0)),
            (":99.1", Some(99)),
            ("unix:3", Some(3)),
            ("host:0", None),
            ("", None),
            (":", None),
        ] {
            assert_eq!(display_number(name), number, "{name}");
        }
        for name in [":-1", ":+1", ":999999", ":1a", "/tmp/x:0", "::1:0"] {
            assert_eq!(display_number(name), None, "{name}");
        }
    }

    #[test]
    fn only_the_cookies_of_the_display_are_kept() {
        let wanted = [entry(256, "host", "7"), entry(65535, "", "")].concat();
        let all = [
            entry(256, "host", "0"),
            entry(256, "host", "7"),
            entry(0, "\u{1}\u{2}\u{3}\u{4}", "7"),
            entry(65535, "", ""),
            vec![1, 0, 0xff],
        ]
        .concat();
        assert_eq!(cookies_for(&all, 7), wanted);
        assert!(cookies_for(&[], 7).is_empty());
    }
}
