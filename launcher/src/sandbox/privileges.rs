//! Giving up every right, in the order in which it works.

use std::fs;
use std::io;

use landlock::{AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope};
use pack_schemas::plan::{Network, Plan};
use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_capabilities_secure_bits, set_no_new_privs,
};

use crate::sandbox::step::{InStep, StepError};

/// Maps one user and one group into the calling process's user namespace: `inside` to `outside`, each (user, group).
///
/// An unprivileged process may map its own ids only, and the group only once setgroups(2) is off (user_namespaces(7)).
///
/// # Errors
/// The kernel's, with the file.
pub fn map_ids(inside: (u32, u32), outside: (u32, u32)) -> Result<(), StepError> {
    let write = |file: &str, text: String| fs::write(file, text).step_on("map the user in", file);
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{} {} 1", inside.0, outside.0))?;
    write("/proc/self/gid_map", format!("{} {} 1", inside.1, outside.1))
}

/// Lets one more level of user namespaces be made, which the app is to live in, and none below that: the limit of a level
/// holds for everything below it (namespaces(7)).
///
/// # Errors
/// The kernel's, with the step.
pub fn limit_user_namespaces() -> Result<(), StepError> {
    fs::write("/proc/sys/user/max_user_namespaces", "1").step("forbid further user namespaces")
}

/// Leaves the user namespace that owns the mounts for one below it, in which the user has the own id again, and in
/// which no further one can be made ([`limit_user_namespaces`] came before); that is tried.
///
/// From here on no capability that the process could come by counts for the mounts, the pid namespace or the network.
///
/// # Errors
/// The kernel's, with the step; and where a further namespace could be made after all.
pub fn leave_for_good(user: (u32, u32)) -> Result<(), StepError> {
    unshare_user().step("make the user namespace of the app")?;
    map_ids(user, (0, 0))?;
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

/// Shuts off with Landlock what namespaces leave open where the host's network is shared: abstract Unix sockets, and
/// TCP in the direction that no plug asked for. On a kernel without the feature that part is not enforced
/// (SECURITY.md); `pack doctor` says so.
///
/// # Errors
/// The kernel's, with the step.
pub fn restrict_network(plan: &Plan) -> Result<(), StepError> {
    let Network::Host { connect, bind, .. } = plan.network else { return Ok(()) };
    let mut denied = landlock::BitFlags::<AccessNet>::empty();
    if !connect {
        denied |= AccessNet::ConnectTcp;
    }
    if !bind {
        denied |= AccessNet::BindTcp;
    }
    if denied.is_empty() && !plan.abstract_sockets_shut {
        return Ok(());
    }
    enforce(denied, plan.abstract_sockets_shut)
        .map_err(|error| io::Error::other(error.to_string()))
        .step("restrict the network with Landlock")
}

fn enforce(denied: landlock::BitFlags<AccessNet>, shut: bool) -> Result<(), landlock::RulesetError> {
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    if !denied.is_empty() {
        ruleset = ruleset.handle_access(denied)?;
    }
    if shut {
        ruleset = ruleset.scope(Scope::AbstractUnixSocket)?;
    }
    ruleset.create()?.restrict_self()?;
    Ok(())
}
