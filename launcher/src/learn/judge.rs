//! Which of the things that an app named were refused by the walls: looked up when the app has ended.
//!
//! | named | refused where |
//! |---|---|
//! | a file to read or look at | it is not in the sandbox, and is on the host, where the user may read it |
//! | a file to change or make | in the sandbox it is not there or read-only, and on the host the user may change or make it |
//! | a Unix socket | it is not in the sandbox, and is a socket on the host |
//! | an IP address to connect to | the network is not the host's, or the port is not one of the plan's; but for what the app itself offers |
//! | a port to offer something at | as above; but for what only the app itself connects to |
//!
//! What an app made and took away again, or what it asked for at the wrong time, can be judged wrongly: both places are
//! looked at once, afterwards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;

use pack_schemas::interface::{Bus, Root as Place};
use pack_schemas::plan::{Network, PROXY_PORT, Plan};
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags, accessat, fstat, fstatvfs, openat2,
    readlinkat, statat,
};

use super::calls::is_own;
use super::{Address, Named, Record, Wanted};
use crate::host::HostFacts;
use crate::plan::system::runtime_folder;

/// Something that the walls refused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// A system call.
    SystemCall {
        /// Its name.
        call: &'static str,
        /// The group that refuses it.
        group: &'static str,
        /// Whether programs go on without it as well.
        quiet: bool,
    },
    /// A file, folder, device or socket of the host's, by its absolute path there.
    File {
        /// The path.
        path: String,
        /// What for.
        wanted: Wanted,
    },
    /// An abstract Unix socket of the host's.
    Abstract(String),
    /// Connecting to an IP address.
    Connect {
        /// Where.
        to: Address,
        /// Whether by TCP.
        tcp: bool,
    },
    /// Offering something at a port.
    Bind {
        /// Where.
        at: Address,
        /// Whether by TCP.
        tcp: bool,
    },
    /// A message bus, which the app could not reach at all.
    Bus(Bus),
    /// A call on a message bus that it did reach.
    BusCall(BusCall),
}

/// A call on a message bus that its filter refused. (One filter stands in front of all buses, and does not tell which.)
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BusCall {
    /// The name that it was sent to.
    pub name: String,
    /// `INTERFACE.MEMBER`.
    pub method: String,
}

/// All that the walls refused in a run of `plan`, and how many times. `host` has to know what any interface could grant.
pub fn judge(record: &Record, plan: &Plan, host: &HostFacts) -> Vec<(Refusal, u64)> {
    let calls = record.refusals().calls().map(|(call, count)| {
        let refusal = Refusal::SystemCall { call, group: count.group.name, quiet: count.group.quiet };
        (refusal, count.times)
    });
    let mut refused: BTreeMap<Refusal, u64> = calls.collect();
    for (call, times) in record.bus_calls() {
        refused.insert(Refusal::BusCall(call), times);
    }
    let judge = Judge::new(record, plan, host);
    for (named, times) in record.named() {
        if let Some(refusal) = judge.refusal(named) {
            *refused.entry(refusal).or_default() += times;
        }
    }
    refused.into_iter().collect()
}

struct Judge<'a> {
    plan: &'a Plan,
    host: &'a HostFacts,
    root: Option<BorrowedFd<'a>>,
    /// Ports on its own loopback interface at which the app found something, and those that it connected to.
    offered: &'a BTreeSet<u16>,
    connected: BTreeSet<u16>,
    /// Names of the host's abstract sockets.
    abstract_sockets: BTreeSet<String>,
}

/// What is at a path in the sandbox.
enum Inside {
    /// Something.
    There(OwnedFd),
    /// Nothing.
    Absent,
    /// It belongs to a process, or to a terminal.
    OfProcess,
}

/// A link leads to another, but not more often than this.
const LINKS_MOST: usize = 16;

impl<'a> Judge<'a> {
    fn new(record: &'a Record, plan: &'a Plan, host: &'a HostFacts) -> Judge<'a> {
        let named = || record.named().map(|(named, _)| named);
        Judge {
            plan,
            host,
            root: record.root.as_ref().map(AsFd::as_fd),
            offered: &record.offered,
            connected: named()
                .filter_map(|named| match named {
                    Named::Connected { to, .. } if is_own(to.ip()) => Some(to.port()),
                    _ => None,
                })
                .collect(),
            abstract_sockets: abstract_sockets(),
        }
    }

    fn refusal(&self, named: &Named) -> Option<Refusal> {
        match named {
            Named::File { path, wanted } => {
                // Interfaces and manifests name paths that are text.
                let path = std::str::from_utf8(path).ok()?;
                self.file(path, *wanted)
            }
            Named::Abstract(name) => {
                let name = String::from_utf8(name.clone()).ok()?;
                let is_shut =
                    self.plan.abstract_sockets_shut || !matches!(self.plan.network, Network::Host { .. });
                (is_shut && self.abstract_sockets.contains(&name)).then_some(Refusal::Abstract(name))
            }
            Named::Connected { to, tcp } => {
                (!self.may_connect(to, *tcp)).then_some(Refusal::Connect { to: *to, tcp: *tcp })
            }
            Named::Bound { at, tcp } => {
                (!self.may_bind(at, *tcp)).then_some(Refusal::Bind { at: *at, tcp: *tcp })
            }
        }
    }

    fn may_connect(&self, to: &Address, tcp: bool) -> bool {
        let own = is_own(to.ip()) && self.offered.contains(&to.port());
        match &self.plan.network {
            Network::Own => own,
            Network::Hosts { .. } => own || (is_own(to.ip()) && to.port() == PROXY_PORT),
            Network::Host { connect, ports, .. } => {
                !tcp || (*connect && (ports.is_empty() || ports.contains(&to.port())))
            }
        }
    }

    /// In a network of its own an app may bind what it likes; but nobody else comes there.
    fn may_bind(&self, at: &Address, tcp: bool) -> bool {
        match &self.plan.network {
            Network::Own | Network::Hosts { .. } => at.port() == 0 || self.connected.contains(&at.port()),
            Network::Host { bind, .. } => !tcp || *bind,
        }
    }

    fn file(&self, path: &str, wanted: Wanted) -> Option<Refusal> {
        let (path, inside) = self.look_inside(path)?;
        let outside = self.outside(&path);
        let is_refused = match (inside, wanted) {
            (Inside::OfProcess, _) => false,
            (Inside::There(there), Wanted::Write) => {
                is_read_only(&there) && may(&outside, rustix::fs::Access::WRITE_OK)
            }
            (Inside::There(there), Wanted::Read) => self.is_a_mere_place(&there, &outside),
            (Inside::There(_), Wanted::Look | Wanted::Connect) => false,
            (Inside::Absent, Wanted::Write) => !self.could_make(&path) && could_write(&outside),
            (Inside::Absent, Wanted::Connect) => {
                fs::metadata(&outside).is_ok_and(|found| found.file_type().is_socket())
            }
            (Inside::Absent, Wanted::Read) => may(&outside, rustix::fs::Access::READ_OK),
            (Inside::Absent, Wanted::Look) => may(&outside, rustix::fs::Access::EXISTS),
        };
        if !is_refused {
            return None;
        }
        let is_bus = |(_, address): &(&Bus, &String)| {
            address.split([',', ';']).any(|part| part.strip_prefix("unix:path=") == Some(outside.as_str()))
        };
        match (self.host.buses.iter().find(is_bus), wanted) {
            (Some((bus, _)), Wanted::Connect) => Some(Refusal::Bus(*bus)),
            _ => Some(Refusal::File { path: outside, wanted }),
        }
    }

    /// What is at a path inside, once the links on the way are followed, as far as they lead somewhere; and that path.
    fn look_inside(&self, path: &str) -> Option<(String, Inside)> {
        let root = self.root?;
        let mut path = normal(path);
        for _ in 0..LINKS_MOST {
            if is_of_process(&path) {
                return Some((path, Inside::OfProcess));
            }
            let open = |more: OFlags| {
                let flags = OFlags::PATH | OFlags::CLOEXEC | more;
                openat2(
                    root,
                    path.as_str(),
                    flags,
                    Mode::empty(),
                    ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
                )
            };
            if let Ok(there) = open(OFlags::empty()) {
                return Some((path, Inside::There(there)));
            }
            // A link that leads nowhere inside: what the app wanted is what it leads to.
            let link = open(OFlags::NOFOLLOW).ok().and_then(|link| readlinkat(link, "", Vec::new()).ok());
            let Some(target) = link.and_then(|target| target.into_string().ok()) else {
                return Some((path, Inside::Absent));
            };
            let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
            path =
                if target.starts_with('/') { normal(&target) } else { normal(&format!("{parent}/{target}")) };
        }
        None
    }

    /// The path on the host of a path inside: the same, but for the runtime folder, which has a place of its own inside.
    fn outside(&self, path: &str) -> String {
        let own = runtime_folder(self.host.user.id);
        match (path.strip_prefix(&own), self.host.roots.get(&Place::Runtime)) {
            (Some(rest), Some(runtime)) if rest.is_empty() || rest.starts_with('/') => {
                format!("{runtime}{rest}")
            }
            _ => path.to_owned(),
        }
    }

    /// Whether a file could have been made at a path inside: then it was there, and is not any more.
    fn could_make(&self, path: &str) -> bool {
        let parent = path.rsplit_once('/').map_or("/", |(parent, _)| parent);
        match self.look_inside(if parent.is_empty() { "/" } else { parent }) {
            Some((_, Inside::There(folder))) => !is_read_only(&folder),
            _ => false,
        }
    }

    /// Whether what is there inside is not the home folder, but one that was made so that the app's own data have their
    /// place.
    fn is_a_mere_place(&self, there: &OwnedFd, outside: &str) -> bool {
        let Some(root) = self.root else { return false };
        let (Ok(found), Ok(top)) = (fstat(there), fstat(root)) else { return false };
        let is_folder = rustix::fs::FileType::from_raw_mode(found.st_mode).is_dir();
        is_folder && found.st_dev == top.st_dev && outside == self.host.user.home
    }
}

/// Whether a path leads to a process, whichever asks, or to a terminal.
fn is_of_process(path: &str) -> bool {
    let of_process =
        path.strip_prefix("/proc/").and_then(|rest| rest.split('/').next()).is_some_and(|first| {
            matches!(first, "self" | "thread-self") || first.bytes().all(|byte| byte.is_ascii_digit())
        });
    of_process || path == "/dev/tty" || path.starts_with("/dev/pts")
}

fn is_read_only(there: &OwnedFd) -> bool {
    fstatvfs(there).is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether the user may do something with a file of the host's.
fn may(path: &str, access: rustix::fs::Access) -> bool {
    // Nothing is mounted for that.
    let found = statat(CWD, path, AtFlags::NO_AUTOMOUNT);
    found.is_ok() && accessat(CWD, path, access, AtFlags::empty()).is_ok()
}

fn could_write(path: &str) -> bool {
    match fs::symlink_metadata(path) {
        Ok(_) => may(path, rustix::fs::Access::WRITE_OK),
        Err(_) => path.rsplit_once('/').is_some_and(|(parent, _)| may(parent, rustix::fs::Access::WRITE_OK)),
    }
}

/// An absolute path without empty components, `.` and `..`. (A `..` behind a link is taken as it is written.)
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Names of the abstract Unix sockets in the launcher's network namespace (proc_net_unix(5)).
fn abstract_sockets() -> BTreeSet<String> {
    let list = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let names = list.lines().filter_map(|line| line.split_once(" @")).map(|(_, name)| name.to_owned());
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_made_plain_and_never_leads_above_the_root() {
        for (path, expected) in
            [("/a//b/./c/", "/a/b/c"), ("/a/../../b", "/b"), ("/..", "/"), ("", "/"), ("/", "/")]
        {
            assert_eq!(normal(path), expected, "{path}");
        }
    }

    #[test]
    fn what_belongs_to_a_process_or_a_terminal_is_not_judged() {
        for path in ["/proc/self/fd/0", "/proc/12/stat", "/proc/thread-self/x", "/dev/pts/0", "/dev/tty"] {
            assert!(is_of_process(path), "{path}");
        }
        for path in ["/proc/cpuinfo", "/proc/asound/cards", "/dev/ttyS0", "/procession", "/home/self"] {
            assert!(!is_of_process(path), "{path}");
        }
    }
}
