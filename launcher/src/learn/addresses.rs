//! Where the services of the user's session are: told to an app in a run to learn, so that it tries to reach them.
//!
//! Without its plug an app is not told of a service, and gives up before it has called the kernel: nothing would be seen.
//! An address opens nothing. It is the path of a socket that is not in the sandbox, or the number of a display.

use std::collections::BTreeMap;

use pack_schemas::interface::{Bus, Grant, SocketPlace};
use pack_schemas::plan::{Plan, Reason, Setting};

/// Adds the variables of the caller's by which programs find what some interface could grant, unless the plan has others.
pub fn tell(plan: &mut Plan, grants: &[Grant], caller: &BTreeMap<String, String>) {
    for name in grants.iter().flat_map(variables) {
        if let Some(value) = caller.get(name).filter(|_| !plan.environment.contains_key(name)) {
            let setting = Setting { value: value.clone(), because: Reason::User };
            plan.environment.insert(name.to_owned(), setting);
        }
    }
}

fn variables(grant: &Grant) -> Vec<&str> {
    match grant {
        Grant::X11 { .. } => vec!["DISPLAY"],
        Grant::Wayland => vec!["WAYLAND_DISPLAY"],
        Grant::Sound { .. } => vec!["PULSE_SERVER"],
        Grant::Bus { bus: Bus::Session, .. } | Grant::Portals { .. } => vec!["DBUS_SESSION_BUS_ADDRESS"],
        Grant::Bus { bus: Bus::System, .. } => vec!["DBUS_SYSTEM_BUS_ADDRESS"],
        Grant::Bus { bus: Bus::Accessibility, .. } => vec!["AT_SPI_BUS_ADDRESS"],
        Grant::Socket { at, .. } => at
            .iter()
            .filter_map(|place| match place {
                SocketPlace::Variable(variable) => Some(variable.name.as_str()),
                SocketPlace::At(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}
