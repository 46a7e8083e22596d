//! The walls that pack's own processes put themselves behind: the keepers of mounts, and the companions of apps. Both take
//! bytes from whom they cannot trust, and do one job. What each may still do beyond this stands beside that job.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::syscalls::{Condition, Test};

/// What Landlock is to leave; nothing by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Left<'a> {
    /// Folders in which files can be read.
    pub(crate) readable: &'a [&'a str],
    /// TCP ports that can be connected to.
    pub(crate) ports: Ports<'a>,
}

/// TCP ports that can be connected to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ports<'a> {
    /// These.
    Of(&'a [u16]),
    /// All.
    All,
}

impl Default for Ports<'_> {
    fn default() -> Self {
        Ports::Of(&[])
    }
}

/// Calls under conditions on their arguments; a name may come several times.
pub(crate) type Calls = &'static [(&'static str, &'static [Condition])];

/// What every one of them calls: it waits, closes, has memory of its own, and ends.
pub(crate) const EVERYONE: Calls = &[
    ("poll", &[]),
    ("ppoll", &[]),
    ("close", &[]),
    ("recvmsg", &[]),
    ("sendmsg", &[]),
    ("accept4", &[]),
    // The allocator: memory of the process's own, never executable.
    ("brk", &[]),
    ("mmap", &[protection(NOTHING), argument(3, Test::AnyBit(libc::MAP_ANONYMOUS as u32))]),
    ("mmap", &[protection(READ_WRITE), argument(3, Test::AnyBit(libc::MAP_ANONYMOUS as u32))]),
    ("mprotect", &[protection(NOTHING)]),
    ("mprotect", &[protection(READ_WRITE)]),
    ("mremap", &[]),
    ("munmap", &[]),
    ("madvise", &[]),
    // The time, where the kernel does not give it without a call.
    ("clock_gettime", &[]),
    // What a build for debugging asks of a descriptor before it closes it.
    ("fcntl", &[argument(1, Test::Equals(libc::F_GETFD as u32))]),
    // The end, and signals that stop and continue.
    ("exit_group", &[]),
    ("rt_sigreturn", &[]),
    ("restart_syscall", &[]),
];

const NOTHING: u32 = libc::PROT_NONE as u32;
const READ_WRITE: u32 = (libc::PROT_READ | libc::PROT_WRITE) as u32;

/// A condition on an argument.
pub(crate) const fn argument(argument: u8, test: Test) -> Condition {
    Condition { argument, test }
}

/// The third argument of mmap(2) and mprotect(2).
const fn protection(bits: u32) -> Condition {
    argument(2, Test::Equals(bits))
}

/// Gives up every right but those of `left`, for the calling thread and those that it makes from then on. The filter of system
/// calls comes after it.
///
/// # Errors
/// The kernel's, with the step.
pub(crate) fn give_up_rights(left: Left<'_>) -> Result<(), StepError> {
    set_no_new_privs(true).step("set no_new_privs")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).step("drop the capabilities")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("make the process not dumpable")?;
    restrict(left)
        .map_err(|error| io::Error::other(error.to_string()))
        .step("restrict the process with Landlock")
}

fn restrict(left: Left<'_>) -> Result<(), RulesetError> {
    let abi = ABI::V6;
    let mut ports = AccessNet::from_all(abi);
    if matches!(left.ports, Ports::All) {
        ports.remove(AccessNet::ConnectTcp);
    }
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(ports)?
        .scope(Scope::from_all(abi))?
        .create()?;
    if let Ports::Of(numbers) = left.ports {
        for number in numbers {
            ruleset = ruleset.add_rule(NetPort::new(*number, AccessNet::ConnectTcp))?;
        }
    }
    for folder in left.readable {
        if let Ok(folder) = PathFd::new(folder) {
            ruleset = ruleset.add_rule(PathBeneath::new(folder, AccessFs::ReadFile | AccessFs::ReadDir))?;
        }
    }
    ruleset.restrict_self()?;
    Ok(())
}
