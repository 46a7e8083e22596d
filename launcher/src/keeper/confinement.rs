//! What the keeper may still do once it serves: nearly nothing.
//!
//! | wall | what it leaves |
//! |---|---|
//! | own user namespace, every capability dropped | nothing that needs one |
//! | no_new_privs, not dumpable | nobody of the same user reads or traces it |
//! | Landlock, all rights handled and none granted | no file can be opened; no TCP, no abstract socket, no signal to others |
//! | seccomp, an allow list | the calls below; opening a file is refused, anything else ends the process |
//!
//! Landlock is missing on some kernels and weaker on old ones; the allow list alone already names no call that opens a
//! file or makes a socket.

use std::io;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError, Scope,
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::sandbox::seccomp::compile_allow_list;
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::syscalls::{Condition, Test};
use crate::sys;
use crate::sys::seccomp::Instruction;

/// Everything that the keeper calls while it serves.
const ALLOWED: &[(&str, &[Condition])] = &[
    // Requests, the image, answers and reports.
    ("read", &[]),
    ("pread64", &[]),
    ("write", &[]),
    // Threads that wait for one another.
    ("futex", &[]),
    // The allocator: memory of the process's own, never executable.
    ("brk", &[]),
    ("mmap", &[protection(NOTHING), argument(3, Test::AnyBit(libc::MAP_ANONYMOUS as u32))]),
    ("mmap", &[protection(READ_WRITE), argument(3, Test::AnyBit(libc::MAP_ANONYMOUS as u32))]),
    ("mprotect", &[protection(NOTHING)]),
    ("mprotect", &[protection(READ_WRITE)]),
    ("mremap", &[]),
    ("munmap", &[]),
    ("madvise", &[]),
    // Launches that come, ask for the mount, are told of faults, and go.
    ("poll", &[]),
    ("ppoll", &[]),
    ("accept4", &[]),
    ("recvmsg", &[]),
    ("sendmsg", &[]),
    ("shutdown", &[]),
    ("close", &[]),
    // The time, where the kernel does not give it without a call.
    ("clock_gettime", &[]),
    // What a build for debugging asks of a descriptor before it closes it.
    ("fcntl", &[argument(1, Test::Equals(libc::F_GETFD as u32))]),
    // The end, and signals that stop and continue.
    ("exit", &[]),
    ("exit_group", &[]),
    ("rt_sigreturn", &[]),
    ("restart_syscall", &[]),
];

/// Refused without ending the process: before glibc gives the end of a thread's heap back, it opens
/// /proc/sys/vm/overcommit_memory (`check_may_shrink_heap`), and keeps the memory where it cannot.
const REFUSED: &[&str] = &["openat"];

const NOTHING: u32 = libc::PROT_NONE as u32;
const READ_WRITE: u32 = (libc::PROT_READ | libc::PROT_WRITE) as u32;

const fn argument(argument: u8, test: Test) -> Condition {
    Condition { argument, test }
}

/// The third argument of mmap(2) and mprotect(2).
const fn protection(bits: u32) -> Condition {
    argument(2, Test::Equals(bits))
}

/// Gives up all rights that a thread has and those that it makes inherit. The filter comes later, thread by thread:
/// threads have to be made first.
pub(super) fn give_up_rights() -> Result<(), StepError> {
    set_no_new_privs(true).step("set no_new_privs")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    set_capabilities(None, sets).step("drop the capabilities")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("make the keeper not dumpable")?;
    restrict().map_err(|error| io::Error::other(error.to_string())).step("restrict the keeper with Landlock")
}

/// Handles every right that the kernel's Landlock knows, and grants none.
fn restrict() -> Result<(), RulesetError> {
    let abi = ABI::V6;
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .scope(Scope::from_all(abi))?
        .create()?
        .restrict_self()?;
    Ok(())
}

/// The filter of a thread.
pub(super) fn filter() -> Vec<Instruction> {
    compile_allow_list(ALLOWED, REFUSED)
}

/// Puts the filter on the calling thread.
pub(super) fn confine_thread(filter: &[Instruction]) -> Result<(), StepError> {
    sys::seccomp::install(filter).step("install the keeper's seccomp filter")
}
