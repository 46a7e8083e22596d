//! What an app asks of its proxy: HTTP (RFC 9110, RFC 9112) or SOCKS 5 (RFC 1928), told apart by the first byte.
//!
//! Everything is read from what has arrived so far; nothing is kept between two calls.

use super::rules::Host;

/// Longest head of a request, in bytes.
pub(super) const HEAD_MOST: usize = 32 << 10;
/// The first byte of SOCKS 5.
const SOCKS: u8 = 5;
const CONNECT: u8 = 1;

/// What has arrived.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Not all of it is there yet.
    Unfinished,
    /// SOCKS: the greeting, of so many bytes. It is answered, and the request follows.
    Greeting {
        length: usize,
        /// Whether the app would do without a password.
        open: bool,
    },
    /// A connection.
    Connection(Target),
    /// No request that is understood.
    Malformed(Speech),
}

/// A connection that is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) host: Host,
    pub(super) port: u16,
    /// How many bytes the request took.
    pub(super) length: usize,
    pub(super) speech: Speech,
    /// What goes to the host in place of the request.
    pub(super) head: Vec<u8>,
}

/// How the app wants to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Socks,
    /// CONNECT: bytes pass in both directions once it was answered.
    Tunnel,
    /// A plain request: the host itself answers.
    Plain,
}

/// Reads what has arrived. `greeted`: the greeting of SOCKS was answered.
pub(super) fn read(bytes: &[u8], greeted: bool) -> Asked {
    match bytes.first() {
        None => Asked::Unfinished,
        Some(&SOCKS) if greeted => socks(bytes),
        Some(&SOCKS) => greeting(bytes),
        Some(_) if greeted => Asked::Malformed(Speech::Socks),
        // The name of a method.
        Some(byte) if byte.is_ascii_alphabetic() => http(bytes),
        Some(_) => Asked::Malformed(Speech::Plain),
    }
}

/// Version, how many ways to prove who one is, each a byte; 0 is none.
fn greeting(bytes: &[u8]) -> Asked {
    let Some(count) = bytes.get(1) else { return Asked::Unfinished };
    let length = 2 + usize::from(*count);
    match bytes.get(2..length) {
        Some(ways) => Asked::Greeting { length, open: ways.contains(&0) },
        None => Asked::Unfinished,
    }
}

/// Version, command, zero, kind of address, address, port.
fn socks(bytes: &[u8]) -> Asked {
    let Some(kind) = bytes.get(3) else { return Asked::Unfinished };
    let (start, size) = match kind {
        1 => (4, 4),
        3 => match bytes.get(4) {
            Some(length) => (5, usize::from(*length)),
            None => return Asked::Unfinished,
        },
        4 => (4, 16),
        _ => return Asked::Malformed(Speech::Socks),
    };
    let end = start + size;
    let (Some(address), Some(port)) = (bytes.get(start..end), bytes.get(end..end + 2)) else {
        return Asked::Unfinished;
    };
    let host = match (kind, <[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (1, Ok(address), _) => Host::parse(&std::net::Ipv4Addr::from(address).to_string()),
        (4, _, Ok(address)) => Host::parse(&std::net::Ipv6Addr::from(address).to_string()),
        _ => str::from_utf8(address).ok().and_then(Host::parse),
    };
    match host.filter(|_| bytes[1] == CONNECT) {
        Some(host) => Asked::Connection(Target {
            host,
            port: u16::from_be_bytes([port[0], port[1]]),
            length: end + 2,
            speech: Speech::Socks,
            head: Vec::new(),
        }),
        None => Asked::Malformed(Speech::Socks),
    }
}

fn http(bytes: &[u8]) -> Asked {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return if bytes.len() > HEAD_MOST { Asked::Malformed(Speech::Plain) } else { Asked::Unfinished };
    };
    let head = str::from_utf8(&bytes[..end]).ok();
    match head.and_then(|head| http_head(head, end + 4)) {
        Some(target) => Asked::Connection(target),
        None => Asked::Malformed(Speech::Plain),
    }
}

/// Request line and fields; the line ends are CR LF and nothing else.
fn http_head(head: &str, length: usize) -> Option<Target> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next()?.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let known = matches!(version, "HTTP/1.1" | "HTTP/1.0");
    if words.next().is_some() || !known || !is_token(method) || !target.bytes().all(|b| b.is_ascii_graphic())
    {
        return None;
    }
    let fields: Vec<(&str, &str)> = lines.map(field).collect::<Option<_>>()?;
    if method == "CONNECT" {
        let (host, port) = authority(target, None)?;
        return Some(Target { host, port, length, speech: Speech::Tunnel, head: Vec::new() });
    }
    let rest =
        target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://")).map(|_| &target[7..])?;
    let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (named, path) = rest.split_at(path_at);
    let (host, port) = authority(named, Some(80))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{path} {version}\r\nHost: {named}\r\nConnection: close\r\n");
    for (name, value) in fields {
        if !is_between_proxies(name) {
            head.extend([name, ": ", value, "\r\n"]);
        }
    }
    head.push_str("\r\n");
    Some(Target { host, port, length, speech: Speech::Plain, head: head.into_bytes() })
}

/// A field's name and value. A line that goes on from the last one begins with white space, and is refused.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let printable = value.bytes().all(|byte| byte == b'\t' || byte >= b' ' && byte != 0x7f);
    (is_token(name) && printable).then(|| (name, value.trim_matches([' ', '\t'])))
}

/// Fields that are for the proxy alone, or that it sets itself.
fn is_between_proxies(name: &str) -> bool {
    ["connection", "host", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"]
        .iter()
        .any(|field| name.eq_ignore_ascii_case(field))
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// `host:port`; without a port where there is one by default.
fn authority(text: &str, default: Option<u16>) -> Option<(Host, u16)> {
    let bracket = text.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match text[bracket..].rfind(':') {
        Some(colon) => {
            let digits = &text[bracket + colon + 1..];
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            (&text[..bracket + colon], plain.then(|| digits.parse().ok())??)
        }
        None => (text, default?),
    };
    // Outside of brackets a colon would be a second port.
    if bracket == 0 && host.contains(':') {
        return None;
    }
    Some((Host::parse(host)?, port))
}

/// The answer to a greeting.
pub(super) fn greet(open: bool) -> &'static [u8] {
    if open { &[SOCKS, 0] } else { &[SOCKS, 0xff] }
}

/// The answer when the connection stands.
pub(super) fn connected(speech: Speech) -> &'static [u8] {
    match speech {
        Speech::Socks => &[SOCKS, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        Speech::Tunnel => b"HTTP/1.1 200 Connection established\r\n\r\n",
        Speech::Plain => b"",
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    NotAllowed,
    Malformed,
    NoSuchHost,
    /// The name leads to addresses of the user's own networks alone.
    Inside,
    Unreachable,
    TooSlow,
}

/// The answer when there is no connection; `to` names the host and the port.
pub(super) fn refused(speech: Speech, failure: Failure, to: &str) -> Vec<u8> {
    let (status, code, reason) = match failure {
        Failure::NotAllowed => {
            ("403 Forbidden", 2, "is not among the hosts and ports of this app's network plug")
        }
        Failure::Malformed => ("400 Bad Request", 1, "the request is not understood"),
        Failure::NoSuchHost => ("502 Bad Gateway", 4, "is not found"),
        Failure::Inside => {
            ("403 Forbidden", 2, "leads into the user's own network, and its address is not listed")
        }
        Failure::Unreachable => ("502 Bad Gateway", 5, "cannot be reached"),
        Failure::TooSlow => ("504 Gateway Timeout", 4, "does not answer"),
    };
    if speech == Speech::Socks {
        return vec![SOCKS, code, 0, 1, 0, 0, 0, 0, 0, 0];
    }
    let space = if to.is_empty() { "" } else { " " };
    let text = format!("pack: {to}{space}{reason}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    [head, text].concat().into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(bytes: &[u8]) -> Option<(String, u16, Speech, String)> {
        match read(bytes, bytes.first() == Some(&5)) {
            Asked::Connection(target) => {
                assert_eq!(target.length, bytes.len());
                let head = String::from_utf8(target.head).unwrap();
                Some((target.host.to_string(), target.port, target.speech, head))
            }
            Asked::Malformed(_) => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plain_request_goes_on_without_what_is_for_the_proxy() {
        let request =
            b"GET http://Example.org:8080/a?b HTTP/1.1\r\nHost: other.example\r\nUser-Agent:  x \r\n\
            Proxy-Authorization: secret\r\nConnection: keep-alive, X\r\nAccept: */*\r\n\r\n";
        let (host, port, speech, head) = asked(request).unwrap();
        assert_eq!((host.as_str(), port, speech), ("example.org", 8080, Speech::Plain));
        assert_eq!(
            head,
            "GET /a?b HTTP/1.1\r\nHost: Example.org:8080\r\nConnection: close\r\nUser-Agent: x\r\nAccept: */*\r\n\r\n"
        );
        let (_, port, _, head) = asked(b"GET http://example.org?q HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(port, 80);
        assert!(head.starts_with("GET /?q HTTP/1.0\r\n"));
    }

    #[test]
    fn tunnels_name_host_and_port() {
        for (target, found) in [
            ("example.org:443", Some(("example.org", 443))),
            ("[2001:db8::1]:443", Some(("2001:db8::1", 443))),
            ("[::ffff:192.0.2.1]:1", Some(("192.0.2.1", 1))),
            ("example.org", None),
            ("example.org:", None),
            ("example.org:+80", None),
            ("example.org:65536", None),
            ("a:b:443", None),
            ("2001:db8::1:443", None),
            ("user@example.org:443", None),
            ("[example.org]:443", None),
            ("ex%61mple.org:443", None),
        ] {
            let request = format!("CONNECT {target} HTTP/1.1\r\nHost: allowed.example\r\n\r\n");
            let found = found.map(|(host, port)| (host.to_owned(), port, Speech::Tunnel, String::new()));
            assert_eq!(asked(request.as_bytes()), found, "{target}");
        }
    }

    #[test]
    fn odd_requests_are_refused() {
        for odd in [
            "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "GET https://example.org/ HTTP/1.1\r\n\r\n",
            "GET ftp://example.org/ HTTP/1.1\r\n\r\n",
            "GET http://user@example.org/ HTTP/1.1\r\n\r\n",
            "GET http://example.org/ HTTP/2\r\n\r\n",
            "GET  http://example.org/ HTTP/1.1\r\n\r\n",
            "GET http://example.org/ HTTP/1.1 x\r\n\r\n",
            "GET http://example.org/\tx HTTP/1.1\r\n\r\n",
            "GET http://example.org/ HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "GET http://example.org/ HTTP/1.1\r\nA : b\r\n\r\n",
            "GET http://example.org/ HTTP/1.1\r\nA: b\nHost: c\r\n\r\n",
            "GET http://example.org/ HTTP/1.1\r\nnothing\r\n\r\n",
            "G(T http://example.org/ HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(asked(odd.as_bytes()), None, "{odd:?}");
        }
    }

    #[test]
    fn socks_names_hosts_and_addresses() {
        assert_eq!(read(&[5, 2, 1, 0], false), Asked::Greeting { length: 4, open: true });
        assert_eq!(read(&[5, 1, 2], false), Asked::Greeting { length: 3, open: false });
        for length in 0..3 {
            assert_eq!(read(&[5, 2, 1][..length], false), Asked::Unfinished);
        }
        let name = [&[5, 1, 0, 3, 11][..], b"example.org", &[1, 187]].concat();
        for length in 1..name.len() {
            assert_eq!(read(&name[..length], true), Asked::Unfinished);
        }
        let found = |host: &str, port| Some((host.to_owned(), port, Speech::Socks, String::new()));
        assert_eq!(asked(&name), found("example.org", 443));
        assert_eq!(asked(&[5, 1, 0, 1, 127, 0, 0, 1, 0, 80]), found("127.0.0.1", 80));
        let v6 = [&[5, 1, 0, 4][..], &[0; 15], &[1, 0, 80]].concat();
        assert_eq!(asked(&v6), found("::1", 80));
        for odd in [&[5, 2, 0, 1, 1, 1, 1, 1, 0, 80][..], &[5, 3, 0, 1, 1, 1, 1, 1, 0, 80], &[5, 1, 0, 9]] {
            assert_eq!(asked(odd), None, "{odd:?}");
        }
        assert_eq!(asked(&[5, 1, 0, 3, 3, b'a', 0, b'b', 0, 80]), None);
        assert_eq!(asked(&[5, 1, 0, 3, 0, 0, 80]), None);
    }

    #[test]
    fn a_head_without_end_is_refused_at_last() {
        let head = [&b"GET http://example.org/ HTTP/1.1\r\nA: "[..], &[b'a'; HEAD_MOST]].concat();
        assert_eq!(read(&head[..HEAD_MOST], false), Asked::Unfinished);
        assert_eq!(read(&head, false), Asked::Malformed(Speech::Plain));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), greeted in any::<bool>()) {
            if let Asked::Connection(target) = read(&bytes, greeted) {
                prop_assert!(target.length <= bytes.len());
            }
        }

        #[test]
        fn any_head_goes_on_as_one_request(target in "http://[a-z./:@?#%\\[\\]0-9]{0,20}", field in "[A-Za-z:\r\n \t]{0,30}") {
            let request = format!("GET {target} HTTP/1.1\r\n{field}\r\n\r\n");
            if let Asked::Connection(found) = read(request.as_bytes(), false) {
                let head = String::from_utf8(found.head).unwrap();
                prop_assert_eq!(head.matches("\r\n\r\n").count(), 1);
                prop_assert_eq!(head.matches("Host: ").count(), 1);
                prop_assert!(!head.replace("\r\n", "").contains(['\r', '\n']));
            }
        }
    }
}
