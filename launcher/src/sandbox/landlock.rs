//! The wall behind the namespaces: what Landlock (landlock(7)) takes away from the app once more.
//!
//! - Files: everything in the root folder may be read and executed; written to, only what the plan shows as writable. A
//!   standard stream may be opened again as the caller opened it.
//!   With that the kernel also refuses every change of mounts, and every look into processes outside of the sandbox.
//! - TCP: connecting and binding where no plug asked for it, or to other ports than those asked for.
//! - Abstract Unix sockets and signals that lead out of the sandbox.
//!
//! An older kernel has a part of it or nothing; what it has is enforced, and `pack run --explain` and `pack doctor` say
//! what that is. Namespaces do not depend on it. What does depend on it says so in the plan, and is refused without:
//! [`needed`].

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
    Scope,
};
use pack_schemas::plan::{Access as Shown, Content, Network, Plan, Processes};

use rustix::fs::OFlags;

use crate::sandbox::step::{InStep, StepError};

/// The newest version whose rights are used; a later kernel knows them as well.
const NEWEST: ABI = ABI::V6;
/// Before this version renaming from one folder to another is refused to everyone who is restricted in files at all.
const FIRST_WITH_RENAMES: u32 = 2;

/// The first version that knows more than files. Before it everyone who is restricted at all is refused mounts.
const FIRST_WITH_TCP: u32 = 4;
/// The first version with scopes.
const FIRST_WITH_SCOPES: u32 = 6;

/// The group of system calls with which an app makes mounts.
pub const NESTED_MOUNTS: &str = "nested-mounts";

/// The version of Landlock that a plan cannot do without; 0 where it can.
pub fn needed(plan: &Plan) -> u32 {
    match plan.processes {
        // Its rule against looking into other processes is what keeps their memory and their root folders closed.
        Processes::Seen { .. } | Processes::Shared { .. } if restricts_files(plan) => FIRST_WITH_RENAMES,
        Processes::Seen { .. } | Processes::Shared { .. } => FIRST_WITH_TCP,
        Processes::Own => 0,
    }
}

/// Paths inside that may be written to, in the order in which they are made.
pub fn writable(plan: &Plan) -> Vec<&str> {
    let is_writable = |content: &Content| {
        matches!(
            content,
            Content::Tmpfs { .. }
                | Content::Terminals
                | Content::Bind { access: Shown::ReadWrite | Shown::Device | Shown::Socket, .. }
                | Content::Companion { .. }
        ) || matches!(content, Content::Proc)
    };
    plan.root.iter().filter(|entry| is_writable(&entry.content)).map(|entry| entry.target.as_str()).collect()
}

/// Whether files are restricted: not where the app makes mounts of its own, which the kernel would refuse then.
pub fn restricts_files(plan: &Plan) -> bool {
    !plan.system_calls.contains_key(NESTED_MOUNTS)
}

/// Puts the calling process, and all that it starts, behind the wall. `version` is the kernel's.
///
/// # Errors
/// The kernel's, with the step; and where the plan needs more than the kernel has.
pub fn restrict(plan: &Plan, version: u32) -> Result<(), StepError> {
    if version < needed(plan) {
        let problem = io::Error::from_raw_os_error(libc::EOPNOTSUPP);
        return Err(problem).step("hide other processes behind Landlock, which this kernel lacks");
    }
    if version == 0 {
        return Ok(());
    }
    enforce(plan, version)
        .map_err(|error| io::Error::other(error.to_string()))
        .step("restrict the app with Landlock")
}

/// Why rules were not made.
#[derive(Debug, thiserror::Error)]
enum WallError {
    #[error(transparent)]
    Ruleset(#[from] RulesetError),
    #[error(transparent)]
    Path(#[from] PathFdError),
    #[error(transparent)]
    Descriptor(#[from] io::Error),
    /// The kernel knows none of the rules.
    #[error("the kernel enforces nothing of it")]
    NotEnforced,
}

fn enforce(plan: &Plan, version: u32) -> Result<(), WallError> {
    let files = restricts_files(plan) && version >= FIRST_WITH_RENAMES;
    let (mut connect, bind) = tcp(&plan.network);
    let scopes = scopes(plan);
    let is_needed = needed(plan) > 0;
    let closes_tcp = connect != Tcp::Open || bind != Tcp::Open;
    let has_rules = files
        || closes_tcp && version >= FIRST_WITH_TCP
        || !scopes.is_empty() && version >= FIRST_WITH_SCOPES;
    // Who is behind no rule at all is not behind the one about other processes.
    if is_needed && !has_rules {
        connect = Tcp::Each;
    }
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if files {
        ruleset = ruleset.handle_access(AccessFs::from_all(NEWEST))?;
    }
    let mut closed = BitFlags::<AccessNet>::empty();
    if connect != Tcp::Open {
        closed |= AccessNet::ConnectTcp;
    }
    if bind != Tcp::Open {
        closed |= AccessNet::BindTcp;
    }
    if !closed.is_empty() {
        ruleset = ruleset.handle_access(closed)?;
    }
    if !scopes.is_empty() {
        ruleset = ruleset.scope(scopes)?;
    }
    if !files && closed.is_empty() && scopes.is_empty() {
        return Ok(()); // There is nothing to take away, and nothing that needs it.
    }
    let mut ruleset = ruleset.create()?;
    if files {
        ruleset = open_files(ruleset, plan)?;
    }
    match connect {
        Tcp::Ports(ports) => ruleset = open_ports(ruleset, ports.iter().copied())?,
        Tcp::Each => ruleset = open_ports(ruleset, 0..=u16::MAX)?,
        Tcp::Open | Tcp::Closed => {}
    }
    let enforced = ruleset.restrict_self()?.ruleset;
    match is_needed && enforced == RulesetStatus::NotEnforced {
        true => Err(WallError::NotEnforced),
        false => Ok(()),
    }
}

fn open_ports(
    mut ruleset: RulesetCreated,
    ports: impl Iterator<Item = u16>,
) -> Result<RulesetCreated, WallError> {
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
    }
    Ok(ruleset)
}

/// What is kept inside of the sandbox.
fn scopes(plan: &Plan) -> BitFlags<Scope> {
    let mut scopes = BitFlags::<Scope>::empty();
    scopes.set(Scope::Signal, !matches!(plan.processes, Processes::Shared { .. }));
    scopes.set(Scope::AbstractUnixSocket, plan.abstract_sockets_shut);
    scopes
}

/// What may be done with TCP in one direction.
#[derive(PartialEq, Eq)]
enum Tcp<'a> {
    Open,
    /// To every port, by a rule each: the same, said in the words of a restriction.
    Each,
    Ports(&'a [u16]),
    Closed,
}

/// Connecting and binding. In a network namespace of its own there is nothing to keep the app from.
fn tcp(network: &Network) -> (Tcp<'_>, Tcp<'_>) {
    match network {
        Network::Own | Network::Hosts { .. } => (Tcp::Open, Tcp::Open),
        Network::Host { connect, ports, bind, .. } => {
            let connecting = match (connect, ports.is_empty()) {
                (true, true) => Tcp::Open,
                (true, false) => Tcp::Ports(ports),
                (false, _) => Tcp::Closed,
            };
            (connecting, if *bind { Tcp::Open } else { Tcp::Closed })
        }
    }
}

fn open_files(mut ruleset: RulesetCreated, plan: &Plan) -> Result<RulesetCreated, WallError> {
    ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new("/")?, AccessFs::from_read(NEWEST)))?;
    for path in writable(plan) {
        let Ok(place) = std::fs::metadata(path) else { continue }; // It was optional.
        let rights = match place.is_dir() {
            true => AccessFs::from_all(NEWEST),
            false => AccessFs::from_file(NEWEST),
        };
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(path)?, rights))?;
    }
    open_streams(ruleset)
}

/// The standard streams lie anywhere on the host. Through /proc/self/fd, as /dev/stdin and its like lead to, each may be
/// opened again as the caller opened it, and in no other way: a file that is read is not written to.
fn open_streams(mut ruleset: RulesetCreated) -> Result<RulesetCreated, WallError> {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(flags) = rustix::fs::fcntl_getfl(stream) else { continue }; // It is closed.
        let reading = AccessFs::ReadFile | AccessFs::IoctlDev;
        let writing = AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
        let rights = match flags & OFlags::RWMODE {
            OFlags::RDONLY => reading,
            OFlags::WRONLY => writing,
            _ => reading | writing,
        };
        // The kernel takes no rule for a pipe or a socket, and asks for none (EBADFD, landlock_add_rule(2)).
        if let Ok(with_stream) = ruleset.try_clone()?.add_rule(PathBeneath::new(stream, rights)) {
            ruleset = with_stream;
        }
    }
    Ok(ruleset)
}
