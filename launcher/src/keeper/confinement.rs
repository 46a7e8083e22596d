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

use crate::sandbox::seccomp::compile_allow_list;
use crate::sandbox::step::{InStep, StepError};
use crate::sys;
use crate::sys::seccomp::Instruction;
use crate::walls::{self, Calls, EVERYONE, Left};

/// What the keeper calls while it serves, beside what all of pack's own processes do.
const ALLOWED: Calls = &[
    // Requests, the image, answers and reports.
    ("read", &[]),
    ("pread64", &[]),
    ("write", &[]),
    // Threads that wait for one another.
    ("futex", &[]),
    // Launches that come, ask for the mount, are told of faults, and go.
    ("shutdown", &[]),
    // The end of a thread.
    ("exit", &[]),
];

/// Refused without ending the process: before glibc gives the end of a thread's heap back, it opens
/// /proc/sys/vm/overcommit_memory (`check_may_shrink_heap`), and keeps the memory where it cannot.
const REFUSED: &[&str] = &["openat"];

/// Gives up all rights that a thread has and those that it makes inherit. The filter comes later, thread by thread:
/// threads have to be made first.
pub(super) fn give_up_rights() -> Result<(), StepError> {
    walls::give_up_rights(Left::default())
}

/// The filter of a thread.
pub(super) fn filter() -> Vec<Instruction> {
    compile_allow_list(&[EVERYONE, ALLOWED].concat(), REFUSED)
}

/// Puts the filter on the calling thread.
pub(super) fn confine_thread(filter: &[Instruction]) -> Result<(), StepError> {
    sys::seccomp::install(filter).step("install the keeper's seccomp filter")
}
