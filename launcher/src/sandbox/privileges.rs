//! Giving up every right, in the order in which it works.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

use crate::sandbox::step::{InStep, StepError};

/// A proc file system, held open: the one of the host's, since the sandbox's own is not made yet when ids are mapped, and
/// may be covered by something that is read-only when rights are given up.
pub struct Proc(OwnedFd);

impl Proc {
    /// Opens the /proc of the present root folder.
    ///
    /// # Errors
    /// The kernel's, with the step.
    pub fn open() -> Result<Proc, StepError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, "/proc", flags, Mode::empty()).map(Proc).step_on("open", "/proc")
    }

    /// The number of the calling process in the pid namespace that the file system shows: here the caller's, outside of the
    /// sandbox.
    ///
    /// # Errors
    /// The kernel's; `InvalidData` where the process is in no namespace that it shows.
    pub fn own_number(&self) -> io::Result<u32> {
        let number = rustix::fs::readlinkat(&self.0, "self", Vec::new())?;
        let number = number.to_str().ok().and_then(|number| number.parse().ok());
        number.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        File::from(openat(&self.0, file, flags, Mode::empty())?).write_all(text.as_bytes())
    }

    /// Maps one user and one group into the calling process's user namespace: `inside` to `outside`, each (user, group).
    ///
    /// An unprivileged process may map its own ids only, and the group only once setgroups(2) is off (user_namespaces(7)).
    ///
    /// # Errors
    /// The kernel's, with the file.
    pub fn map_ids(&self, inside: (u32, u32), outside: (u32, u32)) -> Result<(), StepError> {
        let write = |file: &str, text: &str| self.write(file, text).step_on("map the user in", file);
        write("self/setgroups", "deny")?;
        write("self/uid_map", &format!("{} {} 1", inside.0, outside.0))?;
        write("self/gid_map", &format!("{} {} 1", inside.1, outside.1))
    }

    /// Lets `levels` more user namespaces be made at a time, of which the app is to live in one: the limit of a namespace
    /// holds for everything below it (namespaces(7)).
    ///
    /// # Errors
    /// The kernel's, with the step.
    pub fn limit_user_namespaces(&self, most: u32) -> Result<(), StepError> {
        let limited = self.write("sys/user/max_user_namespaces", &most.to_string());
        limited.step("forbid further user namespaces")
    }

    /// Leaves the user namespace that owns the mounts for one below it, in which the user has the id `user`.
    ///
    /// From here on no capability that the process could come by counts for the mounts, the pid namespace or the network.
    ///
    /// # Errors
    /// The kernel's, with the step.
    pub fn leave_for_good(&self, user: (u32, u32)) -> Result<(), StepError> {
        unshare_user().step("make the user namespace of the app")?;
        self.map_ids(user, (0, 0))
    }
}

/// Tries to make a further user namespace, which has to fail.
///
/// # Errors
/// Where it could be made after all.
pub fn expect_no_user_namespace() -> Result<(), StepError> {
    match unshare_user() {
        Err(_) => Ok(()),
        Ok(()) => Err(io::Error::from_raw_os_error(libc::EEXIST)).step("forbid further user namespaces"),
    }
}

fn unshare_user() -> io::Result<()> {
    Ok(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?)
}

/// Drops every capability from every set, for this process and all that it starts, and sets `no_new_privs`.
///
/// # Errors
/// The kernel's, with the step.
pub fn drop_capabilities() -> Result<(), StepError> {
    set_no_new_privs(true).step("set no_new_privs")?;
    // Numbers past the last capability of this kernel answer EINVAL.
    for capability in CapabilitySet::all().iter() {
        match remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error).step("drop the capability bounding set"),
        }
    }
    clear_ambient_capability_set().step("drop the ambient capabilities")?;
    // Without these, a process of user 0 would come by capabilities when it executes a program.
    let bits = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    set_capabilities_secure_bits(bits).step("lock the secure bits")?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).step("drop the capabilities")
}
