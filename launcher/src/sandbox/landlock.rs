//! The wall behind the namespaces: what Landlock (landlock(7)) takes away from the app once more.
//!
//! - Files: everything in the root folder may be read and executed; written to, only what the plan shows as writable.
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
    PathFdError, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope,
};
use pack_schemas::plan::{Access as Shown, Content, Network, Plan, Processes};

use crate::sandbox::step::{InStep, StepError};

/// The newest version whose rights are used; a later kernel knows them as well.
const NEWEST: ABI = ABI::V6;
/// Before this version renaming from one folder to another is refused to everyone who is restricted in files at all.
const FIRST_WITH_RENAMES: u32 = 2;

/// The version of Landlock that a plan cannot do without; 0 where it can.
pub fn needed(plan: &Plan) -> u32 {
    match plan.processes {
        // Its rule against looking into other processes is what keeps their memory and their root folders closed.
        Processes::Seen { .. } | Processes::Shared { .. } => FIRST_WITH_RENAMES,
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
    !plan.system_calls.contains_key("nested-mounts")
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
}

fn enforce(plan: &Plan, version: u32) -> Result<(), WallError> {
    let files = restricts_files(plan) && version >= FIRST_WITH_RENAMES;
    let (connect, bind) = tcp(&plan.network);
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
    if !matches!(plan.processes, Processes::Shared { .. }) {
        ruleset = ruleset.scope(Scope::Signal)?;
    }
    if plan.abstract_sockets_shut {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    let mut ruleset = ruleset.create()?;
    if files {
        ruleset = open_files(ruleset, plan)?;
    }
    if let Tcp::Ports(ports) = connect {
        for port in ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    ruleset.restrict_self()?;
    Ok(())
}

/// What may be done with TCP in one direction.
#[derive(PartialEq, Eq)]
enum Tcp<'a> {
    Open,
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
    Ok(ruleset)
}
