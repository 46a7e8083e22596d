//! Allowed calls that name a file or an address, and what they name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use crate::learn::Named;
use crate::learn::process::Process;
use crate::sandbox::syscalls;
use crate::sys::seccomp::Notification;

/// What a file is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// The app asks whether it is there, or what it is.
    Look,
    /// To read it, list it, or execute it.
    Read,
    /// To change it, or make it.
    Write,
    /// To connect to it: a Unix socket.
    Connect,
}

/// An IP address and a port.
pub type Address = std::net::SocketAddr;

/// Where a call has what it names; numbers are those of its arguments.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A path; relative ones start at the folder of a descriptor, or the working folder.
    Path { folder: Option<usize>, path: usize, purpose: Purpose },
    /// A socket's descriptor is the first argument, an address and its length stand at these.
    Address { address: usize, length: usize, bind: bool },
}

/// How it is known what a file is wanted for.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Is(Wanted),
    /// From the flags of open(2), in this argument.
    Flags(usize),
    /// From the mode of access(2), in this argument.
    Mode(usize),
}

use Purpose::{Flags, Is, Mode};
use Shape::{Address as At, Path};

const CALLS: &[(&str, Shape)] = &[
    ("open", Path { folder: None, path: 0, purpose: Flags(1) }),
    ("openat", Path { folder: Some(0), path: 1, purpose: Flags(2) }),
    ("creat", Path { folder: None, path: 0, purpose: Is(Wanted::Write) }),
    ("mkdir", Path { folder: None, path: 0, purpose: Is(Wanted::Write) }),
    ("mkdirat", Path { folder: Some(0), path: 1, purpose: Is(Wanted::Write) }),
    ("truncate", Path { folder: None, path: 0, purpose: Is(Wanted::Write) }),
    ("stat", Path { folder: None, path: 0, purpose: Is(Wanted::Look) }),
    ("lstat", Path { folder: None, path: 0, purpose: Is(Wanted::Look) }),
    ("newfstatat", Path { folder: Some(0), path: 1, purpose: Is(Wanted::Look) }),
    ("statx", Path { folder: Some(0), path: 1, purpose: Is(Wanted::Look) }),
    ("access", Path { folder: None, path: 0, purpose: Mode(1) }),
    ("faccessat", Path { folder: Some(0), path: 1, purpose: Mode(2) }),
    ("faccessat2", Path { folder: Some(0), path: 1, purpose: Mode(2) }),
    ("chdir", Path { folder: None, path: 0, purpose: Is(Wanted::Look) }),
    ("execve", Path { folder: None, path: 0, purpose: Is(Wanted::Read) }),
    ("execveat", Path { folder: Some(0), path: 1, purpose: Is(Wanted::Read) }),
    ("inotify_add_watch", Path { folder: None, path: 1, purpose: Is(Wanted::Look) }),
    ("connect", At { address: 1, length: 2, bind: false }),
    ("sendto", At { address: 4, length: 5, bind: false }),
    ("bind", At { address: 1, length: 2, bind: true }),
];

/// The numbers of the calls that are observed.
pub(crate) fn observed() -> &'static [u32] {
    static NUMBERS: OnceLock<Vec<u32>> = OnceLock::new();
    NUMBERS.get_or_init(|| CALLS.iter().filter_map(|(call, _)| syscalls::number(call)).collect())
}

/// Whether an address is that of the caller's own loopback interface, or all of its own.
pub fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// What a call names; nothing where that cannot be read.
pub fn named(call: &Notification, process: &Process<'_>) -> Vec<Named> {
    let shape = CALLS.iter().find(|(name, _)| syscalls::number(name) == Some(call.number));
    let named = match shape {
        Some((_, Path { folder, path, purpose })) => {
            let folder = folder.map_or(libc::AT_FDCWD, |at| call.arguments[at] as i32);
            file(call, process, folder, *path, *purpose)
        }
        Some((_, At { address, length, bind })) => {
            let length = usize::try_from(call.arguments[*length]).unwrap_or(usize::MAX);
            let bytes = match call.arguments[*address] {
                0 => None,
                at => process.read(at, length.min(ADDRESS_MOST)),
            };
            let descriptor = call.arguments[0] as i32;
            bytes.and_then(|bytes| endpoint(&bytes, descriptor, process, *bind))
        }
        None => None,
    };
    named.into_iter().collect()
}

fn file(
    call: &Notification,
    process: &Process<'_>,
    folder: i32,
    path: usize,
    purpose: Purpose,
) -> Option<Named> {
    let path = process.text(call.arguments[path])?;
    let wanted = match purpose {
        Is(wanted) => wanted,
        Flags(at) => wanted_by_flags(call.arguments[at] as i32),
        Mode(at) => match call.arguments[at] as i32 {
            mode if mode & libc::W_OK != 0 => Wanted::Write,
            _ => Wanted::Look,
        },
    };
    // The empty path is the descriptor itself, which the app has already.
    let path = match path.first()? {
        b'/' => path,
        _ => [process.folder(folder)?, path].join(&b'/'),
    };
    Some(Named::File { path, wanted })
}

fn wanted_by_flags(flags: i32) -> Wanted {
    match flags & libc::O_ACCMODE {
        _ if flags & libc::O_PATH != 0 => Wanted::Look,
        libc::O_RDONLY if flags & (libc::O_CREAT | libc::O_TRUNC) == 0 => Wanted::Read,
        _ => Wanted::Write,
    }
}

/// Longest address that is read, in bytes: `struct sockaddr_un` has 110.
const ADDRESS_MOST: usize = 128;

/// Reads a `struct sockaddr` (unix(7), ip(7), ipv6(7)).
fn endpoint(bytes: &[u8], descriptor: i32, process: &Process<'_>, bind: bool) -> Option<Named> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    if family == libc::AF_UNIX {
        return unix(bytes.get(2..)?, process, bind);
    }
    let address = ip(family, bytes)?;
    let tcp = process.is_stream(descriptor)?;
    Some(match bind {
        true => Named::Bound { at: address, tcp },
        false => Named::Connected { to: address, tcp },
    })
}

fn ip(family: i32, bytes: &[u8]) -> Option<Address> {
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let address: IpAddr = match family {
        libc::AF_INET => Ipv4Addr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?).into(),
        libc::AF_INET6 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?).to_canonical(),
        _ => return None,
    };
    Some(Address::new(address, port))
}

fn unix(path: &[u8], process: &Process<'_>, bind: bool) -> Option<Named> {
    match path {
        // Not named at all: the kernel chooses.
        [] => None,
        [0, ..] if bind => None,
        [0, name @ ..] => Some(Named::Abstract(name.to_vec())),
        path => {
            let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
            let path = match path.first()? {
                b'/' => path[..end].to_vec(),
                _ => [&process.folder(libc::AT_FDCWD)?, &path[..end]].join(&b'/'),
            };
            Some(Named::File { path, wanted: if bind { Wanted::Write } else { Wanted::Connect } })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_one_and_none_is_observed_that_the_table_always_refuses() {
        for (call, _) in CALLS {
            let number = syscalls::number(call);
            assert!(number.is_some() || cfg!(not(target_arch = "x86_64")), "{call}");
            if let Some(number) = number {
                assert!(syscalls::look_up(number, &[0; 6], |_| false).is_none(), "{call}");
            }
        }
    }

    #[test]
    fn what_a_file_is_opened_for_is_seen_from_its_flags() {
        for (flags, expected) in [
            (libc::O_RDONLY, Wanted::Read),
            (libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC, Wanted::Read),
            (libc::O_WRONLY, Wanted::Write),
            (libc::O_RDWR, Wanted::Write),
            (libc::O_RDONLY | libc::O_CREAT, Wanted::Write),
            (libc::O_PATH | libc::O_RDWR, Wanted::Look),
        ] {
            assert_eq!(wanted_by_flags(flags), expected, "{flags:o}");
        }
    }

    #[test]
    fn addresses_are_read_whatever_their_length() {
        let four = [2, 0, 0x1f, 0x90, 127, 0, 0, 1];
        assert_eq!(ip(libc::AF_INET, &four), Some("127.0.0.1:8080".parse().unwrap()));
        let mut six = vec![10, 0, 0, 80, 0, 0, 0, 0];
        six.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(ip(libc::AF_INET6, &six), Some("[2001:db8::1]:80".parse().unwrap()));
        for length in 0..8 {
            assert_eq!(ip(libc::AF_INET, &four[..length]), None);
        }
        for length in 0..24 {
            assert_eq!(ip(libc::AF_INET6, &six[..length]), None);
        }
    }
}
