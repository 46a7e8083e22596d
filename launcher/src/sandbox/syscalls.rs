//! Which system calls an app may make: `schemas/system-calls.yaml`, where the reasons are, as constants of the program.
//!
//! What the table does not name is allowed, up to [`LAST_REVIEWED`]. Namespaces, capabilities and the read-only root already
//! stop most of what is refused here; the filter is the second wall, and keeps rarely used kernel code away from the app.

use syscalls::Sysno;

include!(concat!(env!("OUT_DIR"), "/system-calls.rs"));

/// Calls that are refused for one reason.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Libraries try these calls and go on without them.
    pub quiet: bool,
    /// An interface may grant it.
    pub grantable: bool,
    /// The calls.
    pub rules: &'static [Rule],
}

/// A rule: the calls, when it applies, what the call answers.
#[derive(Debug)]
pub struct Rule {
    /// Calls by name and number; those that this architecture has.
    pub calls: &'static [(&'static str, u32)],
    /// All of these must hold; empty means always.
    pub when: &'static [Condition],
    /// The error number that the call answers.
    pub errno: i32,
}

/// A condition on the lower 32 bits of an argument. The kernel takes all of these arguments as 32-bit numbers, so the
/// upper half must never decide (CVE-2019-7303, CVE-2019-10063).
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u8,
    /// How it is compared.
    pub test: Test,
}

/// A comparison of 32 bits.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    /// Equal to the number.
    Equals(u32),
    /// Equal to none of the numbers.
    NoneOf(&'static [u32]),
    /// Any of these bits is set.
    AnyBit(u32),
}

impl Condition {
    fn holds(&self, arguments: &[u64; 6]) -> bool {
        let value = arguments[usize::from(self.argument)] as u32;
        match self.test {
            Test::Equals(wanted) => value == wanted,
            Test::AnyBit(bits) => value & bits != 0,
            Test::NoneOf(numbers) => !numbers.contains(&value),
        }
    }
}

/// A call that is refused.
#[derive(Debug, Clone, Copy)]
pub struct Refused {
    /// Its name.
    pub call: &'static str,
    /// The group that refuses it.
    pub group: &'static Group,
    /// What it answers.
    pub errno: i32,
}

/// The groups that are enforced where those in `granted`, by name, are left out; one that must not be granted never is.
pub fn enforced(granted: impl Fn(&str) -> bool) -> impl Iterator<Item = &'static Group> {
    GROUPS.iter().filter(move |group| !(group.grantable && granted(group.name)))
}

/// What the table says of a call, as the filter does that is made of the same groups; nothing where it is allowed.
pub fn look_up(number: u32, arguments: &[u64; 6], granted: impl Fn(&str) -> bool) -> Option<Refused> {
    for group in enforced(granted) {
        for rule in group.rules {
            let named = rule.calls.iter().find(|(_, known)| *known == number);
            if let Some((call, _)) = named
                && rule.when.iter().all(|condition| condition.holds(arguments))
            {
                return Some(Refused { call, group, errno: rule.errno });
            }
        }
    }
    None
}

/// The number of a call on this architecture, if it has it.
pub fn number(call: &str) -> Option<u32> {
    call.parse::<Sysno>().ok().map(|number| number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From this number on all architectures count alike; what was there before has been in every sandbox's lists for years.
    const COMMON: u32 = 424;

    fn named() -> impl Iterator<Item = (&'static str, u32)> {
        GROUPS.iter().flat_map(|group| group.rules).flat_map(|rule| rule.calls).copied()
    }

    #[test]
    fn no_rule_stands_behind_the_last_reviewed_number() {
        for (call, number) in named() {
            assert!(number <= LAST_REVIEWED, "{call}");
        }
    }

    #[test]
    fn every_call_of_the_common_numbers_was_decided_on() {
        for number in COMMON..=LAST_REVIEWED {
            let is_refused = named().any(|(_, named)| named == number);
            let is_allowed = ALLOWED.iter().any(|call| super::number(call) == Some(number));
            assert!(is_refused || is_allowed, "{number}: {:?}", Sysno::new(number as usize));
        }
    }

    #[test]
    fn a_group_that_must_not_be_granted_is_enforced_whatever_is_asked() {
        let enforced: Vec<&str> = enforced(|_| true).map(|group| group.name).collect();
        for name in ["set-id-bits", "terminal-input", "keyrings", "clone3", "other-namespaces"] {
            assert!(enforced.contains(&name), "{name}");
        }
        for name in ["nested-sandbox", "nested-mounts", "tracing"] {
            assert!(!enforced.contains(&name), "{name}");
        }
    }

    #[test]
    fn every_group_that_an_interface_grants_is_there_to_be_granted() {
        use pack_schemas::interface::{Grant, definitions};
        for name in definitions::names() {
            let interface = definitions::find(&name.parse().unwrap()).unwrap().unwrap();
            for grant in interface.grants {
                let Grant::SystemCalls { groups } = grant else { continue };
                for asked in groups {
                    let group = GROUPS.iter().find(|group| group.name == asked);
                    assert!(group.is_some_and(|group| group.grantable), "{name}: {asked}");
                }
            }
        }
    }
}
