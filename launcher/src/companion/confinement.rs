//! What a companion may still do once it serves.
//!
//! | wall | what it leaves |
//! |---|---|
//! | every capability dropped, no_new_privs, not dumpable | nothing that needs one; nobody of the same user traces it |
//! | a mount namespace of its own, where it talks to Unix sockets | the folder of its one service, read-only |
//! | a network namespace of its own, where it talks to no other | no host's TCP, no abstract socket |
//! | Landlock | no file can be opened or changed, no TCP port but the ones it is for, no signal to others |
//! | seccomp, an allow list | the calls below, and what each companion adds; anything else ends the process |
//!
//! Landlock does not keep a process from connecting to a Unix socket by its path, and seccomp cannot read the path: so
//! the mount namespace. A companion that could reach every socket of the user would be a way to the session bus.

use crate::sandbox::seccomp::compile_allow_list;
use crate::sandbox::step::{InStep, StepError};
use crate::sys;
use crate::walls::{Calls, EVERYONE};

/// What every companion calls beside what all of pack's own processes do.
const ALLOWED: Calls = &[
    // Clients that come, send, are answered, and go.
    ("recvfrom", &[]),
    ("sendto", &[]),
    // Connections to the service.
    ("connect", &[]),
];

/// Puts the filter on: what every companion calls, and `more`.
///
/// # Errors
/// The kernel's.
pub(crate) fn filter_calls(more: Calls) -> Result<(), StepError> {
    sys::seccomp::install(&compile_allow_list(&[EVERYONE, ALLOWED, more].concat(), &[]))
        .step("install the companion's seccomp filter")
}
