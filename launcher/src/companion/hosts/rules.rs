//! Which hosts and ports an app may connect to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pack_schemas::interface::HostPattern;

use super::routes::Way;

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    patterns: Vec<Pattern>,
    /// The ports; all of them where there is none.
    ports: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// This name.
    Name(String),
    /// Every name below this one, which begins with a dot.
    Below(String),
    /// This address.
    Address(IpAddr),
}

/// A host as an app names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    /// A name, in small letters and without a dot at its end.
    Name(String),
    /// An address.
    Address(IpAddr),
}

/// Longest name of a host (RFC 1035, section 2.3.4).
const NAME_MOST: usize = 253;

impl Host {
    /// Reads a name or an address; one of IPv6 may be in brackets. Nothing where it is neither.
    pub(super) fn parse(text: &str) -> Option<Host> {
        let inner = text.strip_prefix('[').map_or(Some(text), |rest| rest.strip_suffix(']'))?;
        if let Ok(address) = inner.parse::<IpAddr>() {
            let bracketed_v4 = inner.len() != text.len() && address.is_ipv4();
            return (!bracketed_v4).then_some(Host::Address(address.to_canonical()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        is_name(name).then(|| Host::Name(name.to_ascii_lowercase()))
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Host::Name(name) => formatter.write_str(name),
            Host::Address(address) => address.fmt(formatter),
        }
    }
}

/// Letters, digits, `-` and `_` in parts of 63 at most, with dots between. Other letters come as `xn--…`.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let part = |part: &str| (1..=63).contains(&part.len()) && part.bytes().all(plain);
    name.len() <= NAME_MOST && name.split('.').all(part)
}

impl Rules {
    /// `ports`: all where there is none.
    pub fn new(patterns: &[HostPattern], ports: &[u16]) -> Rules {
        Rules { patterns: patterns.iter().filter_map(pattern).collect(), ports: ports.to_vec() }
    }

    /// The ports that may be connected to; all where there is none.
    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Whether the app may ask for a connection to this host and port.
    pub(super) fn allow(&self, host: &Host, port: u16) -> bool {
        let named = self.patterns.iter().any(|pattern| match (pattern, host) {
            (Pattern::Name(listed), Host::Name(name)) => listed == name,
            (Pattern::Below(end), Host::Name(name)) => name.len() > end.len() && name.ends_with(end.as_str()),
            (Pattern::Address(listed), Host::Address(address)) => listed == address,
            _ => false,
        });
        named && port != 0 && (self.ports.is_empty() || self.ports.contains(&port))
    }

    /// Where a connection to an address that a name has led to would go; it may go out alone. Who owns a name decides about
    /// its addresses: so a name leads nowhere inside of the user's own networks, but for `localhost`, and addresses that
    /// are listed. `route` says where the host's routes lead.
    pub(super) fn way(&self, name: &str, address: IpAddr, route: impl Fn(IpAddr) -> Way) -> Way {
        let address = address.to_canonical();
        let listed = self.patterns.contains(&Pattern::Address(address));
        if listed || name == "localhost" && address.is_loopback() {
            return Way::Out;
        }
        if !is_public(address) {
            return Way::Inside;
        }
        // Where a translator may lead back to this host, too. Without a route of its own that address is elsewhere.
        match behind(address).map(|address| route(address.into())) {
            Some(Way::Inside) => Way::Inside,
            _ => route(address),
        }
    }
}

/// What a pattern means; nothing, which matches nothing, where it has none here.
fn pattern(pattern: &HostPattern) -> Option<Pattern> {
    let text = pattern.as_str();
    match (text.strip_prefix("*."), Host::parse(text.trim_start_matches("*."))?) {
        (Some(_), Host::Name(name)) => Some(Pattern::Below(format!(".{name}"))),
        (None, Host::Name(name)) => Some(Pattern::Name(name)),
        (None, Host::Address(address)) => Some(Pattern::Address(address)),
        (Some(_), Host::Address(_)) => None,
    }
}

/// Whether an address is one of the internet's hosts, and neither this host's, nor of its networks, nor of none (IANA's
/// registries of special-purpose addresses).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (b == 18 || b == 19))
        || (a, b, c) == (192, 0, 0))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match behind(address.into()) {
        Some(behind) => is_public_v4(behind),
        // All of the internet's hosts are in this eighth.
        None => address.segments()[0] & 0xe000 == 0x2000,
    }
}

/// The IPv4 address that one of IPv6 stands for.
fn behind(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let [a, b, c, d, e, f, g, h] = address.segments();
    let of = |high: u16, low: u16| {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // An IPv4 address behind a translator (RFC 6052), and a tunnel's end (RFC 3056).
        (0x64, 0xff9b) if [c, d, e, f] == [0; 4] => of(g, h),
        (0x2002, _) => of(b, c),
        // Teredo (RFC 4380): the address in it is the client's, with every bit turned.
        (0x2001, 0) => of(!g, !h),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(patterns: &[&str], ports: &[u16]) -> Rules {
        let patterns: Vec<HostPattern> =
            patterns.iter().map(|text| HostPattern::try_from((*text).to_owned()).unwrap()).collect();
        Rules::new(&patterns, ports)
    }

    #[test]
    fn names_match_whole_parts_alone() {
        let rules = rules(&["example.org", "*.Example.com", "192.0.2.7", "2001:db8::1"], &[]);
        for (host, allowed) in [
            ("example.org", true),
            ("EXAMPLE.org.", true),
            ("www.example.org", false),
            ("notexample.org", false),
            ("example.org.evil.example", false),
            ("www.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            ("notexample.com", false),
            (".example.com", false),
            ("192.0.2.7", true),
            ("::ffff:192.0.2.7", true),
            ("[::ffff:c000:207]", true),
            ("192.0.2.8", false),
            ("[2001:db8::1]", true),
            ("2001:0db8:0::1", true),
            ("[192.0.2.7]", false),
            ("3221225991", false),
            ("example.org\0", false),
            ("example.org/x", false),
            ("user@example.org", false),
            ("", false),
            (".", false),
        ] {
            let found = Host::parse(host).is_some_and(|host| rules.allow(&host, 443));
            assert_eq!(found, allowed, "{host}");
        }
    }

    #[test]
    fn ports_are_limited_where_any_is_named() {
        let host = Host::parse("example.org").unwrap();
        let (all, some) = (rules(&["example.org"], &[]), rules(&["example.org"], &[80, 443]));
        for (port, by_some) in [(80, true), (443, true), (8080, false), (0, false)] {
            assert_eq!(some.allow(&host, port), by_some, "{port}");
            assert_eq!(all.allow(&host, port), port != 0, "{port}");
        }
    }

    #[test]
    fn a_name_leads_nowhere_inside() {
        let rules = rules(&["example.org", "10.0.0.9"], &[]);
        for (address, allowed) in [
            ("93.184.215.14", true),
            ("2606:2800:21f::1", true),
            ("10.0.0.9", true),
            ("10.0.0.8", false),
            ("127.0.0.1", false),
            ("127.9.9.9", false),
            ("0.0.0.0", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("100.64.0.1", false),
            ("198.18.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("::127.0.0.1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:10.0.0.9", true),
            ("fe80::1", false),
            ("fc00::1", false),
            ("fd12::1", false),
            ("ff02::1", false),
            ("64:ff9b::7f00:1", false),
            ("64:ff9b::5db8:d70e", true),
            ("2002:7f00:1::1", false),
            ("2001:0:1:2:3:4:80ff:fffe", false),
        ] {
            let found = rules.way("example.org", address.parse().unwrap(), |_| Way::Out);
            assert_eq!(found == Way::Out, allowed, "{address}");
        }
        let of_localhost = |address: &str| rules.way("localhost", address.parse().unwrap(), |_| Way::Inside);
        assert_eq!(of_localhost("127.0.0.1"), Way::Out);
        assert_eq!(of_localhost("10.0.0.8"), Way::Inside);
    }

    #[test]
    fn an_address_of_the_internets_leads_where_the_routes_do() {
        let rules = rules(&["example.org", "2001:db8::9"], &[]);
        // This host has an address of IPv4, and neighbours in a network of IPv6, and no route to another.
        let route = |address: IpAddr| match address {
            IpAddr::V4(address) if address.octets() == [203, 0, 113, 7] => Way::Inside,
            IpAddr::V6(address) if address.segments()[1] == 0xdb8 => Way::Inside,
            IpAddr::V6(address) if address.segments()[1] == 0xaaaa => Way::Nowhere,
            _ => Way::Out,
        };
        for (address, way) in [
            ("203.0.113.8", Way::Out),
            ("203.0.113.7", Way::Inside),
            ("::ffff:203.0.113.7", Way::Inside),
            ("64:ff9b::203.0.113.7", Way::Inside),
            ("64:ff9b::203.0.113.8", Way::Out),
            ("2001:db8::8", Way::Inside),
            ("2001:db8::9", Way::Out),
            ("2a00:aaaa::1", Way::Nowhere),
        ] {
            assert_eq!(rules.way("example.org", address.parse().unwrap(), route), way, "{address}");
        }
    }
}
