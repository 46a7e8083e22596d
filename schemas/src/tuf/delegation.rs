//! Which role answers for which targets: patterns of paths, prefixes of their hashes, and bins.
//!
//! A target's path is told by its text and by the SHA-256 of it; the caller gives both, as this crate has no SHA-256.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use serde::Deserialize;

use super::TOP_LEVEL;
use super::metadata::{Key, RoleKeys, known_keys};

/// Longest name of a role, in bytes: a file is named after it, with every byte as three.
pub const ROLE_NAME_MOST: usize = 72;

/// Whom a role lets answer for some of its targets: either the roles of a list, or bins.
#[derive(Debug, Clone, Deserialize)]
pub struct Delegations {
    /// Keys by identifier, as far as their shape is known.
    #[serde(deserialize_with = "known_keys")]
    pub keys: BTreeMap<String, Key>,
    /// In the order in which they are asked.
    #[serde(default)]
    roles: Option<Vec<DelegatedRole>>,
    #[serde(default)]
    succinct_roles: Option<SuccinctRoles>,
}

/// A role of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DelegatedRole {
    /// Its name.
    pub name: String,
    /// Who signs for it.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// Whether nobody else is asked about its targets.
    pub terminating: bool,
    #[serde(default)]
    paths: Option<Vec<String>>,
    #[serde(default)]
    path_hash_prefixes: Option<Vec<String>>,
}

/// 2^`bit_length` roles, each for the targets whose hash begins with its number (TAP 15).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SuccinctRoles {
    /// Who signs for each of them.
    #[serde(flatten)]
    pub keys: RoleKeys,
    bit_length: NonZeroU32,
    name_prefix: String,
}

/// A role that answers for a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answering<'a> {
    /// Its name.
    pub name: String,
    /// Who signs for it.
    pub keys: &'a RoleKeys,
    /// Whether nobody else is asked.
    pub terminating: bool,
}

impl Delegations {
    /// The roles that answer for a target, in order, up to the first terminating one.
    pub fn answering(&self, path: &str, path_sha256: &[u8; 32]) -> Vec<Answering<'_>> {
        if let Some(bins) = &self.succinct_roles {
            return vec![Answering { name: bins.bin(path_sha256), keys: &bins.keys, terminating: true }];
        }
        let digits = hex::encode(path_sha256);
        let mut answering = Vec::new();
        let matching = self.roles.iter().flatten().filter(|role| role.covers(path, &digits));
        for role in matching {
            let DelegatedRole { name, keys, terminating, .. } = role;
            answering.push(Answering { name: name.clone(), keys, terminating: *terminating });
            if *terminating {
                break;
            }
        }
        answering
    }

    /// Who signs for a role.
    pub fn keys_of(&self, name: &str) -> Option<&RoleKeys> {
        match &self.succinct_roles {
            Some(bins) => bins.has(name).then_some(&bins.keys),
            None => self.roles.iter().flatten().find(|role| role.name == name).map(|role| &role.keys),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.roles, &self.succinct_roles) {
            (Some(roles), None) => {
                let mut names = BTreeSet::new();
                roles.iter().try_for_each(|role| {
                    role.check()?;
                    names
                        .insert(&role.name)
                        .then_some(())
                        .ok_or_else(|| format!("the role `{}` twice", role.name))
                })
            }
            (None, Some(bins)) => bins.check(),
            _ => Err("delegations have either `roles` or `succinct_roles`".to_owned()),
        }
    }
}

impl DelegatedRole {
    fn covers(&self, path: &str, digits: &str) -> bool {
        self.path_hash_prefixes.iter().flatten().any(|prefix| digits.starts_with(prefix.as_str()))
            || self.paths.iter().flatten().any(|pattern| matches(pattern, path))
    }

    fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        if self.paths.is_some() == self.path_hash_prefixes.is_some() {
            return Err(format!("the role `{}` has either `paths` or `path_hash_prefixes`", self.name));
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > ROLE_NAME_MOST || TOP_LEVEL.contains(&name) {
        let shown: String = name.chars().take(80).collect();
        return Err(format!("`{shown}` cannot be the name of a delegated role"));
    }
    Ok(())
}

impl SuccinctRoles {
    /// The name of the bin for a target.
    fn bin(&self, path_sha256: &[u8; 32]) -> String {
        let [first, second, third, fourth, ..] = *path_sha256;
        // The check has it between 1 and 32.
        let shift = 32_u32.saturating_sub(self.bit_length.get());
        self.name(u32::from_be_bytes([first, second, third, fourth]).checked_shr(shift).unwrap_or(0))
    }

    fn name(&self, number: u32) -> String {
        format!("{}-{number:0width$x}", self.name_prefix, width = self.digits())
    }

    /// As many hexadecimal digits as the last bin's number has.
    fn digits(&self) -> usize {
        self.bit_length.get().div_ceil(4) as usize
    }

    fn has(&self, name: &str) -> bool {
        let number = name.strip_prefix(&self.name_prefix).and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.is_some_and(|number| {
            u64::from(number) < 1 << self.bit_length.get().min(32) && self.name(number) == name
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.bit_length.get() > 32 {
            return Err("`bit_length` is from 1 to 32".to_owned());
        }
        check_name(&self.name(0))
    }
}

/// Whether a path fits a pattern: segment by segment, as fnmatch(3) has it with `FNM_PATHNAME | FNM_NOESCAPE`. `*` is
/// any text without `/`, `?` a character but `/`, `[ab]`, `[a-z]` and `[!a-z]` one of a set or none of it; a `[` that is
/// never closed is itself. Takes the product of the lengths at most, in steps.
pub fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut segments) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), segments.next()) {
            (Some(pattern), Some(segment)) if matches_segment(pattern, segment) => {}
            (None, None) => return true,
            _ => return false,
        }
    }
}

fn matches_segment(pattern: &str, segment: &str) -> bool {
    let (mut pattern, mut rest) = (pattern, segment);
    // Where to go on after a mismatch: behind the last `*`, which then takes one character more.
    let mut star: Option<(&str, &str)> = None;
    loop {
        if let Some(behind) = pattern.strip_prefix('*') {
            star = Some((behind, rest));
            pattern = behind;
            continue;
        }
        match (rest.chars().next(), one(pattern)) {
            (None, _) if pattern.is_empty() => return true,
            (Some(character), Some((set, behind))) if set.contains(character) => {
                pattern = behind;
                rest = &rest[character.len_utf8()..];
                continue;
            }
            _ => {}
        }
        let Some((behind, from)) = star else { return false };
        let Some(character) = from.chars().next() else { return false };
        let from = &from[character.len_utf8()..];
        star = Some((behind, from));
        (pattern, rest) = (behind, from);
    }
}

/// What a character of a path may be.
enum Set<'a> {
    Any,
    One(char),
    Of { inside: &'a str, negated: bool },
}

impl Set<'_> {
    fn contains(&self, character: char) -> bool {
        let (inside, negated) = match self {
            Set::Any => return true,
            Set::One(one) => return *one == character,
            Set::Of { inside, negated } => (inside, *negated),
        };
        let mut found = false;
        let mut rest = inside.chars();
        while let Some(first) = rest.next() {
            let mut behind = rest.clone();
            // A dash at either end is itself.
            if behind.next() == Some('-')
                && let Some(last) = behind.next()
            {
                found |= (first..=last).contains(&character);
                rest = behind;
            } else {
                found |= first == character;
            }
        }
        found != negated
    }
}

/// The first element of a pattern that does not begin with `*`, and what follows it.
fn one(pattern: &str) -> Option<(Set<'_>, &str)> {
    let first = pattern.chars().next()?;
    let behind = &pattern[first.len_utf8()..];
    let set = match first {
        '?' => Set::Any,
        '[' => {
            let (negated, inside) = match behind.strip_prefix('!') {
                Some(inside) => (true, inside),
                None => (false, behind),
            };
            // A `]` that comes first is one of the set.
            let from = inside.chars().next().map_or(0, char::len_utf8);
            if let Some(end) = inside[from..].find(']') {
                let (inside, behind) = inside.split_at(from + end);
                return Some((Set::Of { inside, negated }, &behind[1..]));
            }
            Set::One('[')
        }
        other => Set::One(other),
    };
    Some((set, behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The cases of the specification, and what Python's `fnmatch` says segment by segment.
    #[test]
    fn patterns_match_as_the_specification_says() {
        for (pattern, path, expected) in [
            ("targets/*.tgz", "targets/foo.tgz", true),
            ("targets/*.tgz", "targets/foo.txt", false),
            ("targets/*.tgz", "targets/a/foo.tgz", false),
            ("foo-version-?.tgz", "foo-version-2.tgz", true),
            ("foo-version-?.tgz", "foo-version-alpha.tgz", false),
            ("*.tgz", "targets/foo.tgz", false),
            ("*/*", "a/b", true),
            ("*", "", true),
            ("*", "a/b", false),
            ("**", "a/b", false),
            ("**/b", "a/b", true),
            ("?", "/", false),
            ("?", "ü", true),
            ("a", "A", false),
            ("a/b", "a/b", true),
            ("a/", "a", false),
            ("/a", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-cd", false),
            ("[ab]x", "bx", true),
            ("[ab]x", "cx", false),
            ("[!ab]x", "cx", true),
            ("[!ab]x", "ax", false),
            ("[a-c]", "b", true),
            ("[a-c]", "d", false),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("[]a]", "]", true),
            ("[!]a]", "]", false),
            ("[!]a]", "b", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("[!", "[!", true),
            ("[]", "[]", true),
            ("a[b/c]d", "abd", false),
            ("\\*", "*", false),
            ("\\*", "\\x", true),
            ("{a,b}", "a", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends() {
        let (pattern, path) = ("*a".repeat(200) + "b", "a".repeat(2000));
        let begun = std::time::Instant::now();
        assert!(!matches(&pattern, &path));
        assert!(begun.elapsed().as_secs() < 5);
    }

    fn delegations(value: Value) -> Result<Delegations, String> {
        let read: Delegations = serde_json::from_value(value).map_err(|error| error.to_string())?;
        read.check().map(|()| read)
    }

    fn role(name: &str, terminating: bool, paths: &[&str]) -> Value {
        json!({"name": name, "keyids": ["k"], "threshold": 1, "terminating": terminating, "paths": paths})
    }

    #[test]
    fn roles_answer_in_order_up_to_a_terminating_one() {
        let roles = [role("a", false, &["x/*"]), role("b", true, &["y", "x/1"]), role("c", false, &["*/*"])];
        let read = delegations(json!({"keys": {}, "roles": roles})).unwrap();
        let names = |path: &str| -> Vec<String> {
            read.answering(path, &[0; 32]).into_iter().map(|role| role.name).collect()
        };
        assert_eq!(names("x/1"), ["a", "b"]);
        assert_eq!(names("x/2"), ["a", "c"]);
        assert_eq!(names("z"), [] as [&str; 0]);
        assert_eq!(read.keys_of("b").unwrap().threshold.get(), 1);
        assert!(read.keys_of("d").is_none());
    }

    #[test]
    fn prefixes_of_hashes_are_those_of_the_path() {
        let bin = |name: &str, prefixes: &[&str]| {
            let mut role = role(name, true, &[]);
            let fields = role.as_object_mut().unwrap();
            fields.remove("paths");
            fields.insert("path_hash_prefixes".to_owned(), json!(prefixes));
            role
        };
        let roles = [bin("low", &["00", "01f"]), bin("high", &["ff"])];
        let read = delegations(json!({"keys": {}, "roles": roles})).unwrap();
        let name = |first: u8, second: u8| {
            let mut digest = [0; 32];
            digest[..2].copy_from_slice(&[first, second]);
            read.answering("any", &digest).first().map(|role| role.name.clone())
        };
        assert_eq!(name(0, 7).as_deref(), Some("low"));
        assert_eq!(name(1, 0xf0).as_deref(), Some("low"));
        assert_eq!(name(1, 0xe0), None);
        assert_eq!(name(0xff, 0).as_deref(), Some("high"));
    }

    #[test]
    fn bins_are_numbered_by_the_first_bits() {
        for (bits, first, expected) in [
            (1, 0x7fff_ffff_u32, "bin-0"),
            (1, 0x8000_0000, "bin-1"),
            (4, 0xf000_0000, "bin-f"),
            (5, 0xffff_ffff, "bin-1f"),
            (10, 0x0040_0000, "bin-001"),
            (32, 0xdead_beef, "bin-deadbeef"),
        ] {
            let bins = json!({"keyids": ["k"], "threshold": 1, "bit_length": bits, "name_prefix": "bin"});
            let read = delegations(json!({"keys": {}, "succinct_roles": bins})).unwrap();
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&first.to_be_bytes());
            let answering = read.answering("any", &digest);
            assert_eq!((answering[0].name.as_str(), answering[0].terminating), (expected, true));
            assert!(read.keys_of(expected).is_some());
            assert!(read.keys_of("bin-").is_none() && read.keys_of("bin-000000000").is_none());
        }
        let bins = json!({"keyids": ["k"], "threshold": 1, "bit_length": 5, "name_prefix": "bin"});
        let read = delegations(json!({"keys": {}, "succinct_roles": bins})).unwrap();
        for no_bin in ["bin-20", "bin-1F", "bin-+1", "bin-1", "1f", "bin-001"] {
            assert!(read.keys_of(no_bin).is_none(), "{no_bin}");
        }
    }

    #[test]
    fn delegations_that_contradict_themselves_are_refused() {
        let bins = |bits: u32| json!({"keyids": [], "threshold": 1, "bit_length": bits, "name_prefix": "b"});
        let both = {
            let mut both = role("a", false, &["*"]);
            both["path_hash_prefixes"] = json!(["00"]);
            both
        };
        let neither = json!({"name": "a", "keyids": [], "threshold": 1, "terminating": false});
        for wrong in [
            json!({"keys": {}}),
            json!({"keys": {}, "roles": [], "succinct_roles": bins(1)}),
            json!({"keys": {}, "succinct_roles": bins(0)}),
            json!({"keys": {}, "succinct_roles": bins(33)}),
            json!({"keys": {}, "roles": [role("a", false, &[]), role("a", false, &[])]}),
            json!({"keys": {}, "roles": [both]}),
            json!({"keys": {}, "roles": [neither]}),
            json!({"keys": {}, "roles": [role("", false, &[])]}),
            json!({"keys": {}, "roles": [role("root", false, &[])]}),
            json!({"keys": {}, "roles": [role(&"n".repeat(73), false, &[])]}),
            json!({"keys": {}, "roles": [{"name": "a", "keyids": [], "threshold": 1, "paths": []}]}),
        ] {
            assert!(delegations(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
