//! Where the host's routes lead: out of the user's own networks, or to a neighbour, or to this host itself.
//!
//! An address of the internet's may be this host's own, or that of another host on its network: with IPv6 most are. So the
//! kernel is asked (rtnetlink(7)), each time, since networks come and go:
//!
//! | the route to an address | leads |
//! |---|---|
//! | is none | nowhere |
//! | is of another kind than unicast: the host's own, a broadcast | inside |
//! | has a gateway | out |
//! | has none, and is the default, or one of its two halves | out: a device with one other end, as of a VPN |
//! | has none, on a device with one other end, and was set by somebody | out, for the same reason |
//! | has none otherwise: the network of one of the host's addresses, or one that a router has announced | inside |

use std::cell::Cell;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the internet's hosts.
    Out,
    /// To this host, or one of its networks.
    Inside,
    /// There is no route.
    Nowhere,
}

/// Asks for routes.
pub(super) struct Routes {
    socket: OwnedFd,
    /// The number of the last question.
    questions: Cell<u32>,
}

/// `struct nlmsghdr`, `struct rtmsg` and `struct ifinfomsg`, in bytes.
const HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;
const LINK_HEADER: usize = 16;
/// Longest answer that is looked at; of a longer one this much.
const ANSWER_MOST: usize = 8192;
/// The answer is the route as it was set, not the way that comes of it (`linux/rtnetlink.h`).
const AS_IT_WAS_SET: u32 = 0x2000;
/// Who set a route: the kernel, with an address; a router's announcement (`linux/rtnetlink.h`).
const BY_KERNEL: u8 = 2;
const BY_ROUTER: u8 = 9;
/// `RTA_VIA`: a gateway of the other family.
const VIA: u16 = 18;
/// The default route in two halves, as VPNs set it, has this length.
const HALF: u8 = 1;

/// What is looked at of a route.
#[derive(Debug, PartialEq, Eq)]
struct Route {
    prefix: u8,
    protocol: u8,
    kind: u8,
    has_gateway: bool,
    device: u32,
}

impl Routes {
    /// Opens a socket to the kernel. Whoever sends from elsewhere is not heard.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn open() -> io::Result<Routes> {
        let flags = SocketFlags::CLOEXEC;
        // The protocol that has no number but 0 is NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Routes { socket, questions: Cell::new(0) })
    }

    /// Where an address is. What cannot be found out is inside.
    pub(super) fn way(&self, address: IpAddr) -> Way {
        match self.find_way(address) {
            Ok(way) => way,
            Err(error) => match error.raw_os_error() {
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => Way::Nowhere,
                _ => Way::Inside,
            },
        }
    }

    fn find_way(&self, address: IpAddr) -> io::Result<Way> {
        let route = self.route(address, 0)?;
        if route.kind != libc::RTN_UNICAST {
            return Ok(Way::Inside);
        }
        if route.has_gateway {
            return Ok(Way::Out);
        }
        let set = self.route(address, AS_IT_WAS_SET)?;
        let by_itself = matches!(set.protocol, BY_KERNEL | BY_ROUTER);
        let out = set.prefix <= HALF || !by_itself && self.has_one_end(route.device)?;
        Ok(if out { Way::Out } else { Way::Inside })
    }

    fn route(&self, address: IpAddr, flags: u32) -> io::Result<Route> {
        let (family, octets) = match address {
            IpAddr::V4(address) => (libc::AF_INET, address.octets().to_vec()),
            IpAddr::V6(address) => (libc::AF_INET6, address.octets().to_vec()),
        };
        let mut body = vec![family as u8, (octets.len() * 8) as u8, 0, 0, 0, 0, 0, 0];
        body.extend(flags.to_ne_bytes());
        body.extend(((octets.len() + 4) as u16).to_ne_bytes());
        body.extend(libc::RTA_DST.to_ne_bytes());
        body.extend(octets);
        let answer = self.ask(libc::RTM_GETROUTE, libc::RTM_NEWROUTE, &body)?;
        read_route(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Whether a device has one other end alone, and no neighbours.
    fn has_one_end(&self, device: u32) -> io::Result<bool> {
        let mut body = vec![0; LINK_HEADER];
        body[4..8].copy_from_slice(&device.to_ne_bytes());
        let answer = self.ask(libc::RTM_GETLINK, libc::RTM_NEWLINK, &body)?;
        let flags = answer.get(8..12).and_then(|flags| flags.try_into().ok()).map(u32::from_ne_bytes);
        Ok(flags.is_some_and(|flags| flags & libc::IFF_POINTOPOINT as u32 != 0))
    }

    /// Puts a question, and gives the body of the answer, which the kernel has ready when the question is sent.
    fn ask(&self, kind: u16, expected: u16, body: &[u8]) -> io::Result<Vec<u8>> {
        let number = self.questions.get().wrapping_add(1);
        self.questions.set(number);
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
        message.extend(number.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        send(&self.socket, &message, SendFlags::empty())?;
        loop {
            let mut answer = vec![0; ANSWER_MOST];
            let (length, _) = recv(&self.socket, &mut answer[..], RecvFlags::DONTWAIT)?;
            answer.truncate(length);
            let Some((kind, of, body)) = read_header(&answer) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            match kind {
                // That of an earlier question.
                _ if of != number => {}
                kind if kind == expected => return Ok(body.to_vec()),
                _ => return Err(error_of(body)),
            }
        }
    }
}

/// An answer's kind, the number of its question, and its body.
fn read_header(answer: &[u8]) -> Option<(u16, u32, &[u8])> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let number = u32::from_ne_bytes(answer.get(8..12)?.try_into().ok()?);
    Some((kind, number, answer.get(HEADER..)?))
}

/// The error in an answer (NLMSG_ERROR: the negative number comes first).
fn error_of(body: &[u8]) -> io::Error {
    let number = body.get(..4).and_then(|number| number.try_into().ok()).map(i32::from_ne_bytes);
    match number {
        Some(number) if number < 0 => io::Error::from_raw_os_error(number.saturating_neg()),
        _ => io::ErrorKind::InvalidData.into(),
    }
}

fn read_route(body: &[u8]) -> Option<Route> {
    let mut route = Route {
        prefix: *body.get(1)?,
        protocol: *body.get(5)?,
        kind: *body.get(7)?,
        has_gateway: false,
        device: 0,
    };
    let mut rest = body.get(ROUTE_HEADER..)?;
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let kind = u16::from_ne_bytes([head[2], head[3]]);
        let value = rest.get(4..length)?;
        match kind {
            libc::RTA_GATEWAY | VIA => route.has_gateway = true,
            libc::RTA_OIF => route.device = u32::from_ne_bytes(value.try_into().ok()?),
            _ => {}
        }
        // Each begins at a multiple of four.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(route)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_whatever_their_length() {
        let mut body = vec![2, 24, 0, 0, 254, BY_KERNEL, 253, libc::RTN_UNICAST, 0, 0, 0, 0];
        body.extend([8, 0, 4, 0, 7, 0, 0, 0]);
        let expected = Route { prefix: 24, protocol: BY_KERNEL, kind: 1, has_gateway: false, device: 7 };
        assert_eq!(read_route(&body), Some(expected));
        body.extend([6, 0, 5, 0, 1, 2]);
        assert!(read_route(&body).unwrap().has_gateway);
        for length in 0..ROUTE_HEADER {
            assert_eq!(read_route(&body[..length]), None);
        }
        // Attributes that are shorter than they say, or than an attribute is.
        assert_eq!(read_route(&[&body[..12], &[9, 0, 4, 0, 1, 2, 3, 4]].concat()), None);
        assert_eq!(read_route(&[&body[..12], &[0, 0, 4, 0]].concat()), None);
        assert_eq!(read_header(&[0; 15]), None);
    }

    #[test]
    fn the_hosts_own_addresses_are_inside() {
        let routes = Routes::open().unwrap();
        for own in ["127.0.0.1", "127.255.255.255", "::1"] {
            let way = routes.way(own.parse().unwrap());
            assert!(way == Way::Inside || way == Way::Nowhere && own == "::1", "{own}: {way:?}");
        }
    }
}
