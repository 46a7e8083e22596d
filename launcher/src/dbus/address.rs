//! Addresses of message buses (D-Bus specification, "Server Addresses"): the local ones, and no others.

use std::io;

use rustix::net::SocketAddrUnix;

/// Where a bus of this machine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A socket with a path, absolute.
    Path(String),
    /// A socket with an abstract name (unix(7)), without the zero byte in front.
    Abstract(String),
}

/// Longest name of a socket, in bytes (unix(7)): one byte is for a zero, before or behind it.
const NAME_MOST: usize = 107;
/// Longest list of addresses that is looked at.
const TEXT_MOST: usize = 4096;

impl Address {
    /// The first address of a list that a bus of this machine can have. Others are passed over: those of other machines, and
    /// those that start a program (`unixexec:`, `autolaunch:`).
    pub fn parse(text: &str) -> Option<Address> {
        (text.len() <= TEXT_MOST).then(|| text.split(';').find_map(Address::parse_one))?
    }

    fn parse_one(text: &str) -> Option<Address> {
        let mut found = None;
        for pair in text.strip_prefix("unix:")?.split(',') {
            let (key, value) = pair.split_once('=')?;
            let address = match key {
                "path" => Address::Path(unescape(value)?),
                "abstract" => Address::Abstract(unescape(value)?),
                // Who is meant to answer there; it is the server's own word.
                "guid" => continue,
                _ => return None,
            };
            if found.replace(address).is_some() {
                return None;
            }
        }
        found.filter(Address::is_plain)
    }

    fn is_plain(&self) -> bool {
        let (Address::Path(name) | Address::Abstract(name)) = self;
        let is_rooted = matches!(self, Address::Abstract(_)) || name.starts_with('/');
        is_rooted && !name.is_empty() && name.len() <= NAME_MOST && !name.chars().any(char::is_control)
    }

    /// The address as the specification writes it.
    pub fn to_text(&self) -> String {
        match self {
            Address::Path(path) => format!("unix:path={}", escape(path)),
            Address::Abstract(name) => format!("unix:abstract={}", escape(name)),
        }
    }

    /// The address as connect(2) takes it.
    ///
    /// # Errors
    /// `NameTooLong`, though [`Address::parse`] gives none that is.
    pub fn socket_address(&self) -> io::Result<SocketAddrUnix> {
        Ok(match self {
            Address::Path(path) => SocketAddrUnix::new(path.as_str())?,
            Address::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        })
    }
}

/// Puts `%` and two digits in the place of every byte but those that may stand for themselves.
fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b if is_optionally_escaped(b) => text.push(char::from(b)),
            b => text.push_str(&format!("%{b:02x}")),
        }
    }
    text
}

fn is_optionally_escaped(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_/.\\*".contains(&byte)
}

fn unescape(value: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let digit =
            |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        bytes.push(match byte {
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            // Clients take what should have been escaped as it is, and environments have it so.
            b if b.is_ascii_graphic() || !b.is_ascii() => b,
            _ => return None,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_taken_and_no_others() {
        let path = |path: &str| Some(Address::Path(path.to_owned()));
        let name = |name: &str| Some(Address::Abstract(name.to_owned()));
        for (text, expected) in [
            ("unix:path=/run/user/1000/bus", path("/run/user/1000/bus")),
            ("unix:path=/run/user/1000/bus,guid=0123", path("/run/user/1000/bus")),
            ("unix:path=/tmp/a%20b%2cc", path("/tmp/a b,c")),
            ("unix:abstract=/tmp/dbus-x,guid=1", name("/tmp/dbus-x")),
            ("tcp:host=localhost,port=1;unix:path=/a", path("/a")),
            ("unix:path=relative", None),
            ("unix:path=/a,abstract=b", None),
            ("unix:path=/a,path=/b", None),
            ("unix:path=/a%0ab", None),
            ("unix:path=/a%2", None),
            ("unix:path=/a%00", None),
            ("unix:path=", None),
            ("unix:abstract=", None),
            ("unix:tmpdir=/tmp", None),
            ("unixexec:path=/bin/sh", None),
            ("autolaunch:", None),
            ("tcp:host=example.org,port=1", None),
            ("", None),
        ] {
            assert_eq!(Address::parse(text), expected, "{text}");
        }
        assert_eq!(Address::parse(&format!("unix:path=/{}", "x".repeat(107))), None);
        assert_eq!(Address::parse(&"unix:path=/a;".repeat(1000)), None);
    }

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for address in [
            Address::Path("/tmp/a b,c;d=e%f\"'".to_owned()),
            Address::Abstract("käse".to_owned()),
            Address::Path("/plain/bus_0".to_owned()),
        ] {
            let text = address.to_text();
            assert!(!text[5..].contains([';', ',', ' ']), "{text}");
            assert_eq!(Address::parse(&text), Some(address), "{text}");
        }
    }
}
