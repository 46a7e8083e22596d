//! Addresses of stores: `https://…`, `http://…`, `file:///…`.

use std::fmt;
use std::path::{Path, PathBuf};

use pack_schemas::store::remote::ADDRESS_LIMIT;
use pack_schemas::text::visible;
use pack_schemas::tuf::quoted;

/// Where a store, or a mirror of one, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// On a web server; without the last slash.
    Web {
        /// The address.
        url: String,
        /// Whether what is sent can be read, and changed, on its way.
        is_encrypted: bool,
    },
    /// In a folder, by its absolute path.
    Folder(PathBuf),
}

/// An address that cannot be a store's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be the address of a store: {rule}", visible(.text))]
pub struct AddressError {
    /// Its beginning.
    pub text: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl Address {
    /// Reads an address; an absolute path is that of a folder.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let wrong = |rule| AddressError { text: text.chars().take(200).collect(), rule };
        if text.len() > ADDRESS_LIMIT {
            return Err(wrong("it is too long"));
        }
        if text.starts_with('/') {
            return folder(text.to_owned()).map_err(wrong);
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(RULE))?;
        match scheme.to_ascii_lowercase().as_str() {
            "file" => folder(unquoted(rest).ok_or_else(|| wrong("its path cannot be read"))?).map_err(wrong),
            scheme @ ("http" | "https") => web(scheme, rest).map_err(wrong),
            _ => Err(wrong(RULE)),
        }
    }

    /// Whether a store at this address may name `mirror`: what it has does not leak where the store's own would not, and
    /// no store on the network leads to the files of this machine.
    pub fn allows_mirror(&self, mirror: &Address) -> bool {
        match (self, mirror) {
            (Address::Folder(_), _) => true,
            (Address::Web { .. }, Address::Folder(_)) => false,
            (Address::Web { is_encrypted, .. }, Address::Web { is_encrypted: mirror, .. }) => {
                *mirror || !is_encrypted
            }
        }
    }

    /// What to call the store where nobody says: the host, or the folder's name.
    pub fn name(&self) -> Option<pack_schemas::names::Name> {
        let text = match self {
            Address::Web { url, .. } => {
                let host = url.split_once("://")?.1.split(['/', ':']).next()?;
                host.strip_prefix("www.").unwrap_or(host).to_owned()
            }
            Address::Folder(path) => path.file_name()?.to_str()?.to_owned(),
        };
        let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let name: String = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
        name.chars().take(40).collect::<String>().trim_end_matches('-').parse().ok()
    }
}

const RULE: &str = "write https://…, http://… or file:///…";

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Web { url, .. } => out.write_str(url),
            Address::Folder(path) => {
                let names: Vec<String> = path.to_string_lossy().split('/').map(quoted).collect();
                write!(out, "file://{}", names.join("/"))
            }
        }
    }
}

fn web(scheme: &str, rest: &str) -> Result<Address, &'static str> {
    let rest = rest.trim_end_matches('/');
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.is_empty() {
        return Err("it has no host");
    }
    if authority.contains('@') {
        return Err("names and passwords do not belong into it: it is kept, and shown");
    }
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) || rest.contains(['?', '#', '\\', '"', '<', '>']) {
        return Err("it has characters that have no place in it");
    }
    if rest.split('/').any(|name| matches!(name.to_ascii_lowercase().as_str(), "." | ".." | "%2e%2e" | "%2e"))
    {
        return Err("it has `.` or `..` in it");
    }
    Ok(Address::Web { url: format!("{scheme}://{rest}"), is_encrypted: scheme == "https" })
}

fn folder(path: String) -> Result<Address, &'static str> {
    let path = Path::new(&path);
    if !path.is_absolute() {
        return Err("after file:// comes an absolute path");
    }
    if path.components().any(|part| part == std::path::Component::ParentDir)
        || path.to_string_lossy().contains('\0')
    {
        return Err("it has `..` in it");
    }
    Ok(Address::Folder(path.components().collect()))
}

/// A path of a URL as it is meant (RFC 3986, 2.1).
fn unquoted(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if *first == b'%' {
            bytes.extend(hex::decode(behind.get(..2)?).ok()?);
            rest = behind.get(2..)?;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown, name) in [
            ("https://example.org/store/", "https://example.org/store", "example-org"),
            ("HTTP://www.example.org:8080", "http://www.example.org:8080", "example-org"),
            ("file:///srv/my%20store/", "file:///srv/my%20store", "my-store"),
            ("/srv/Store", "file:///srv/Store", "store"),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(Address::parse(shown).as_ref(), Ok(&address));
            assert_eq!(address.name().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_is_no_store_is_refused() {
        for bad in [
            "",
            "example.org",
            "store",
            "ftp://example.org",
            "https://",
            "https:///x",
            "https://me:secret@example.org",
            "https://example.org/?a",
            "https://example.org/#a",
            "https://example.org/../x",
            "https://example.org/%2E%2e/x",
            "https://exa\u{1b}mple.org",
            "https://example.org/a b",
            "file://host/x",
            "file:///a/../b",
            "file:///a%00",
            "/a/../b",
            &format!("https://{}", "a".repeat(2000)),
        ] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_mirror_is_no_worse_than_its_store() {
        let address = |text: &str| Address::parse(text).unwrap();
        let (secure, open, folder) = (address("https://a"), address("http://a"), address("/a"));
        assert!(secure.allows_mirror(&secure) && open.allows_mirror(&secure) && open.allows_mirror(&open));
        assert!(
            !secure.allows_mirror(&open) && !secure.allows_mirror(&folder) && !open.allows_mirror(&folder)
        );
        assert!(folder.allows_mirror(&folder) && folder.allows_mirror(&open));
    }
}
