//! The table of system calls, `schemas/system-calls.yaml`: its form. It is read when pack is built, and by tests; no launch
//! parses it.

use serde::Deserialize;

use crate::names::Name;

/// The whole table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SystemCalls {
    /// The last call that was looked at.
    pub last_reviewed: LastReviewed,
    /// What calls with a higher number answer.
    pub later_calls: Decision,
    /// What calls by the numbers of another architecture answer.
    pub other_architectures: Decision,
    /// What calls by x32 numbers answer.
    pub x32: Decision,
    /// What is refused.
    pub groups: Vec<Group>,
    /// What could have been refused and is not.
    pub allowed: Vec<Allowed>,
}

/// A call and its number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LastReviewed {
    /// Its name.
    pub call: String,
    /// Its number, the same on all architectures.
    pub number: u32,
}

/// What a whole class of calls answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Decision {
    /// The answer.
    pub answer: Answer,
    /// Why.
    pub reason: String,
}

/// What a call answers that is refused.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Answer {
    /// The process is ended.
    EndProcess,
    /// An error, by its name in errno(3).
    Error(String),
}

impl TryFrom<String> for Answer {
    type Error = String;

    fn try_from(text: String) -> Result<Answer, String> {
        match text.as_str() {
            "end-process" => Ok(Answer::EndProcess),
            _ if text.starts_with('E')
                && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) =>
            {
                Ok(Answer::Error(text))
            }
            _ => Err(format!("`{text}` is no answer: write the name of an error, or end-process")),
        }
    }
}

/// Calls that are refused for one reason.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// Its name.
    pub name: Name,
    /// Why.
    pub reason: String,
    /// Libraries try these calls and go on without them.
    #[serde(default)]
    pub quiet: bool,
    /// An interface may grant it.
    #[serde(default)]
    pub grantable: bool,
    /// The calls.
    pub rules: Vec<Rule>,
}

/// Calls, when they are refused, and what they answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// By name.
    pub calls: Vec<String>,
    /// All of these must hold; empty means always.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// The name of the error that they answer.
    pub answer: Answer,
}

/// A condition on the lower 32 bits of an argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "WrittenCondition")]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u8,
    /// How it is compared.
    pub test: Test,
}

/// A comparison.
#[derive(Debug, Clone)]
pub enum Test {
    /// Equal to the number.
    Equals(Number),
    /// Equal to none of the numbers.
    NoneOf(Vec<Number>),
    /// Any bit is set that is set in one of the numbers.
    AnyBit(Vec<Number>),
}

/// A number of 32 bits.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Number {
    /// As it is.
    Plain(u32),
    /// By its name in libc's headers, since some differ by architecture.
    Named(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenCondition {
    argument: u8,
    equals: Option<Number>,
    none_of: Option<Vec<Number>>,
    any_bit: Option<Vec<Number>>,
}

impl TryFrom<WrittenCondition> for Condition {
    type Error = &'static str;

    fn try_from(written: WrittenCondition) -> Result<Condition, &'static str> {
        let test = match (written.equals, written.none_of, written.any_bit) {
            (Some(number), None, None) => Test::Equals(number),
            (None, Some(numbers), None) if !numbers.is_empty() => Test::NoneOf(numbers),
            (None, None, Some(numbers)) if !numbers.is_empty() => Test::AnyBit(numbers),
            _ => return Err("a condition has one of equals, none-of and any-bit"),
        };
        match written.argument {
            0..=5 => Ok(Condition { argument: written.argument, test }),
            _ => Err("a system call has the arguments 0 to 5"),
        }
    }
}

/// Calls that could have been refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Allowed {
    /// By name.
    pub calls: Vec<String>,
    /// Why they are not.
    pub reason: String,
}

impl SystemCalls {
    /// Reads the table.
    ///
    /// # Errors
    /// The parser's, where the text is no such table.
    pub fn from_yaml(text: &str) -> Result<SystemCalls, serde_yaml::Error> {
        serde_yaml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn table() -> SystemCalls {
        SystemCalls::from_yaml(include_str!("../system-calls.yaml")).unwrap()
    }

    #[test]
    fn every_group_has_a_name_of_its_own_a_reason_and_rules() {
        let table = table();
        let names: BTreeSet<&Name> = table.groups.iter().map(|group| &group.name).collect();
        assert_eq!(names.len(), table.groups.len());
        for group in &table.groups {
            assert!(!group.reason.trim().is_empty() && !group.rules.is_empty(), "{}", group.name);
            for rule in &group.rules {
                assert!(!rule.calls.is_empty() && rule.answer != Answer::EndProcess, "{}", group.name);
            }
        }
        assert!(table.allowed.iter().all(|allowed| !allowed.reason.trim().is_empty()));
    }

    #[test]
    fn a_call_that_is_said_to_be_allowed_is_refused_nowhere_without_a_condition() {
        let table = table();
        let rules = || table.groups.iter().flat_map(|group| &group.rules);
        for call in table.allowed.iter().flat_map(|allowed| &allowed.calls) {
            let refused = rules().any(|rule| rule.when.is_empty() && rule.calls.contains(call));
            assert!(!refused, "{call}");
        }
    }

    #[test]
    fn what_must_not_be_granted_is_not() {
        let grantable: Vec<_> =
            table().groups.into_iter().filter(|group| group.grantable).map(|g| g.name.to_string()).collect();
        assert_eq!(grantable, ["nested-mounts", "nested-sandbox", "tracing"]);
    }

    #[test]
    fn a_condition_that_says_two_things_or_nothing_is_refused() {
        for text in [
            "{argument: 0}",
            "{argument: 0, equals: 1, any-bit: [1]}",
            "{argument: 6, equals: 1}",
            "{argument: 0, none-of: []}",
            "{argument: 0, equals: -1}",
            "{argument: 0, equals: 4294967296}",
            "{argument: 0, equal: 1}",
        ] {
            assert!(serde_yaml::from_str::<Condition>(text).is_err(), "{text}");
        }
        for text in ["eperm", "EPERM; x", "", "kill"] {
            assert!(Answer::try_from(text.to_owned()).is_err(), "{text}");
        }
    }
}
