//! The control group of an app (cgroups(7)): where its limits are enforced, and by which a desktop knows its processes as one.
//!
//! | where | who makes it | what for |
//! |---|---|---|
//! | a user manager of systemd runs | it does, as the transient scope `app-pack-NAME-….scope` in `app.slice` ([`manager`]) | every app |
//! | a folder of control groups is the user's own | the launcher, by hand ([`by_hand`]) | apps with limits |
//! | neither | nobody; the number of tasks is limited by `RLIMIT_NPROC` all the same | |
//!
//! ```text
//! launcher ── clone3 ──▶ first process: makes the root folder …          … waits ─▶ starts the app
//!    └── asks the manager ──▶ it puts the first process into the scope ──"placed"───┘
//! ```
//!
//! The first process is one process until it starts the app, so that everything the app starts is in the scope. The manager
//! works while the root folder is made; it is waited for [`PATIENCE`] at most, and an app without limits starts without it
//! then.
//!
//! **Tasks are limited without any control group.** Since Linux 5.14 the kernel counts `RLIMIT_NPROC` in each user namespace by
//! itself (ucounts), and an app's is its own. Of memory and processor time there is no such thing: `RLIMIT_AS` counts
//! addresses, which many programs reserve without using, and `RLIMIT_CPU` ends a process after a while. Where nobody enforces
//! those limits, that is said.

mod by_hand;
mod manager;

use std::time::Duration;

use pack_schemas::plan::Plan;

use by_hand::Group;
use manager::Manager;

/// How long the user's manager may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long for an app without limits, which can do without.
const PATIENCE_WITHOUT_LIMITS: Duration = Duration::from_millis(100);

/// Where the processes of an app will be.
#[derive(Debug)]
pub(crate) enum Scope {
    /// In a scope of the user's manager.
    Manager(Manager),
    /// In a group that the launcher has made. It goes when this is dropped.
    Group(Group),
    /// Where the launcher is.
    None,
}

impl Scope {
    /// Looks for who could make a control group for an app of `plan`.
    pub(crate) fn find(plan: &Plan) -> Scope {
        let patience = if plan.limits.is_empty() { PATIENCE_WITHOUT_LIMITS } else { PATIENCE };
        if let Some(manager) = plan.manager.as_deref().and_then(|socket| Manager::connect(socket, patience)) {
            return Scope::Manager(manager);
        }
        if plan.limits.is_empty() {
            return Scope::None;
        }
        Group::make(&plan.limits, &unit_name(plan)).map_or(Scope::None, Scope::Group)
    }

    /// Whether the first process has to wait until it is placed.
    pub(crate) fn is_waited_for(&self) -> bool {
        !matches!(self, Scope::None)
    }

    /// Places a process; gives the names of limits that nobody enforces.
    pub(crate) fn place(&mut self, process: u32, plan: &Plan) -> Vec<&'static str> {
        let is_placed = match self {
            Scope::Manager(manager) => manager.place(process, &unit_name(plan), plan).is_ok(),
            Scope::Group(group) => group.place(process).is_ok(),
            Scope::None => false,
        };
        let limits = &plan.limits;
        let asked = [("memory", limits.memory.is_some()), ("cpu", limits.cpu.is_some())];
        asked.into_iter().filter(|(_, asked)| *asked && !is_placed).map(|(name, _)| name).collect()
    }
}

/// `app-pack-NAME-RANDOM.scope`, as desktops expect it (systemd.io/DESKTOP_ENVIRONMENTS): launcher, application, and a number
/// of this start, between dashes, each with its own dashes escaped.
fn unit_name(plan: &Plan) -> String {
    let name = match plan.app.as_str() == plan.package.as_str() {
        true => plan.package.to_string(),
        false => format!("{}.{}", plan.package, plan.app),
    };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let number = format!("{:x}{:06x}", std::process::id(), now.subsec_micros());
    format!("app-pack-{}-{number}.scope", escape(&name))
}

/// Escapes a part of a unit's name as systemd-escape(1) does: what is no letter, digit, `:`, `_` or `.`, and a dot in front,
/// become `\xNN`.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("\\x{other:02x}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_systemd_does() {
        for (text, expected) in [
            ("hello", "hello"),
            ("hello-world.app", "hello\\x2dworld.app"),
            (".hidden", "\\x2ehidden"),
            ("a/b c\u{e9}", "a\\x2fb\\x20c\\xc3\\xa9"),
        ] {
            assert_eq!(escape(text), expected, "{text}");
        }
    }
}
