//! The resolver: a process that turns names into addresses, and can do nothing else.
//!
//! glibc's resolver reads files, loads modules, talks to services of the host and parses what strangers answer. None of
//! that belongs into the process that decides where an app may connect to. So it has one of its own, which sees /etc, the
//! libraries and the services that name resolution is known to ask, all read-only; which is asked for allowed names only;
//! and whose answers are checked as if an app had given them.
//!
//! Several threads wait on the same socket, and the kernel gives each question to one of them: a name that is slow holds
//! up no other.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use crate::sandbox::privileges::Proc;
use crate::sandbox::seccomp::{Told, app_filter};
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::{channel, command_line, end_with_launcher, root};
use crate::sys;
use crate::sys::clone::{Side, exit_now};
use crate::walls::{self, Left, Ports};

/// The name that ps(1) shows.
const NAME: &str = "pack-resolver";
/// Names that are looked up at a time.
const THREADS: usize = 8;
/// Most addresses of one name.
const ADDRESSES_MOST: usize = 16;
/// What an address takes in an answer: which kind, and 16 bytes.
const ADDRESS_SIZE: usize = 17;
/// Port of DNS, over TCP where an answer is too long for UDP.
const DNS: u16 = 53;

/// What is shown of the host's, where it is there: settings, libraries, and the services that libc's modules ask. The
/// second is the place inside.
const SHOWN: &[(&str, &str)] = &[
    ("/etc", "/etc"),
    ("/usr", "/usr"),
    ("/lib", "/lib"),
    ("/lib64", "/lib64"),
    ("/nix", "/nix"),
    ("/gnu", "/gnu"),
    ("/run/systemd/resolve", "/run/systemd/resolve"),
    ("/run/avahi-daemon", "/run/avahi-daemon"),
    ("/run/nscd", "/var/run/nscd"),
];

/// To the resolver.
pub(super) struct Resolver {
    channel: OwnedFd,
}

/// The answer to a question.
pub(super) struct Answer {
    pub(super) question: u32,
    /// Nothing where the name was not found.
    pub(super) addresses: Vec<IpAddr>,
}

impl Resolver {
    /// Starts the process. The calling process must have one thread.
    pub(super) fn start() -> Result<Resolver, StepError> {
        let (ours, theirs) = channel::pair().step("make a channel")?;
        let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS;
        match sys::clone::clone_process(namespaces as u64).step_on("start the companion", NAME)? {
            Side::Parent { .. } => {
                let resolver = Resolver { channel: ours };
                resolver.wait_until_ready().map(|()| resolver)
            }
            Side::Child => {
                drop(ours);
                let channel = Arc::new(theirs);
                let Err(error) = run(&channel, user);
                // Whoever asks may be gone.
                let _ = channel::send(&*channel, &serde_json::to_vec(&error).unwrap_or_default(), &[]);
                exit_now(1)
            }
        }
    }

    fn wait_until_ready(&self) -> Result<(), StepError> {
        let step = "hear from the resolver";
        match channel::receive(&self.channel).step(step)? {
            Some(message) if message.bytes == [0] => Ok(()),
            Some(message) => {
                let error = io::Error::from_raw_os_error(libc::EPROTO);
                Err(serde_json::from_slice(&message.bytes)
                    .unwrap_or_else(|_| StepError::new(step, None, &error)))
            }
            None => Err(io::Error::from_raw_os_error(libc::ESRCH)).step(step),
        }
    }

    pub(super) fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    /// Asks for a name's addresses. Does not wait: where too many questions are waiting, that is an error.
    pub(super) fn ask(&self, question: u32, name: &str) -> io::Result<()> {
        channel::send_at_once(&self.channel, &[&question.to_ne_bytes(), name.as_bytes()].concat(), &[])
    }

    /// Receives an answer that is there; nothing where the resolver has ended.
    pub(super) fn hear(&self) -> io::Result<Option<Answer>> {
        let message = channel::receive(&self.channel)?;
        Ok(message.and_then(|message| read_answer(&message.bytes)))
    }
}

fn read_answer(bytes: &[u8]) -> Option<Answer> {
    let (question, addresses) = bytes.split_at_checked(4)?;
    let addresses = addresses.chunks_exact(ADDRESS_SIZE).take(ADDRESSES_MOST);
    Some(Answer {
        question: u32::from_ne_bytes(question.try_into().ok()?),
        addresses: addresses.filter_map(read_address).collect(),
    })
}

fn read_address(bytes: &[u8]) -> Option<IpAddr> {
    let (kind, bytes) = bytes.split_first()?;
    match kind {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(..4)?).ok()?)),
        6 => Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => None,
    }
}

fn write_answer(question: &[u8], addresses: impl Iterator<Item = IpAddr>) -> Vec<u8> {
    let mut bytes = question.to_vec();
    for address in addresses.take(ADDRESSES_MOST) {
        let (kind, mut octets) = match address {
            IpAddr::V4(address) => (4, address.octets().to_vec()),
            IpAddr::V6(address) => (6, address.octets().to_vec()),
        };
        octets.resize(ADDRESS_SIZE - 1, 0);
        bytes.push(kind);
        bytes.extend(octets);
    }
    bytes
}

/// The resolver's own process; comes back with an error alone.
fn run(channel: &Arc<OwnedFd>, user: (u32, u32)) -> Result<Infallible, StepError> {
    sys::descriptors::close_all_but(&[channel.as_fd()]).step("close inherited descriptors")?;
    // For people who look at processes.
    let _ = rustix::thread::set_name(c"pack-resolver");
    command_line::overwrite(NAME).step("replace the command line")?;
    Proc::open()?.map_ids(user, user)?;
    end_with_launcher(channel)?;
    let settings = folder_of_settings();
    let shown: Vec<(&str, &str)> = SHOWN
        .iter()
        .copied()
        .chain(settings.as_deref().map(|folder| (folder, folder)))
        .filter(|(path, _)| Path::new(path).exists())
        .collect();
    root::enter_root_with(&shown)?;
    let readable: Vec<&str> = shown.iter().map(|(_, place)| *place).collect();
    walls::give_up_rights(Left { readable: &readable, ports: Ports::Of(&[DNS]) })?;
    sys::seccomp::install(&app_filter(|_| false, Told::Nothing))
        .step("install the resolver's seccomp filter")?;
    for _ in 1..THREADS {
        let channel = Arc::clone(channel);
        std::thread::Builder::new().spawn(move || answer_all(&channel)).step("start a thread")?;
    }
    channel::send(&**channel, &[0], &[]).step("tell that the resolver is ready")?;
    answer_all(channel);
    exit_now(0)
}

/// /etc/resolv.conf is often a link to a file that is replaced by another whenever the network changes: its folder is
/// shown, where that is not in /etc.
fn folder_of_settings() -> Option<String> {
    let file = std::fs::canonicalize("/etc/resolv.conf").ok()?;
    let folder = file.parent()?.to_str()?;
    let shown = SHOWN.iter().any(|(path, _)| Path::new(folder).starts_with(path));
    (!shown && folder != "/" && folder != "/run").then(|| folder.to_owned())
}

/// Answers questions until there is nobody left to ask.
fn answer_all(channel: &OwnedFd) {
    while let Ok(Some(message)) = channel::receive(channel) {
        let Some((question, name)) = message.bytes.split_at_checked(4) else { continue };
        let found = str::from_utf8(name).ok().and_then(|name| (name, 0).to_socket_addrs().ok());
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in found.into_iter().flatten() {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        if channel::send(channel, &write_answer(question, addresses.into_iter()), &[]).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_as_they_were_given() {
        let addresses: Vec<IpAddr> = ["192.0.2.1", "2001:db8::7"].map(|text| text.parse().unwrap()).into();
        let bytes = write_answer(&7_u32.to_ne_bytes(), addresses.iter().copied());
        let answer = read_answer(&bytes).unwrap();
        assert_eq!((answer.question, answer.addresses), (7, addresses));
        assert!(read_answer(&[1, 2, 3]).is_none());
        assert!(read_answer(&[0; 20]).unwrap().addresses.is_empty());
        let many = write_answer(&[0; 4], std::iter::repeat_n(IpAddr::from([192, 0, 2, 1]), 99));
        assert_eq!(read_answer(&many).unwrap().addresses.len(), ADDRESSES_MOST);
    }
}
