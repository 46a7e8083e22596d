//! `lint`: which findings about a package's files are not told, as in snapcraft:
//!
//! ```yaml
//! lint:
//!   ignore:
//!     - exec-stack                        # wherever it is found
//!     - library-missing: [usr/lib/**]     # for these files alone
//! ```

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::check::{Checked, check_line, each, ensure, under};
use crate::names::Name;

/// Most rules, or globs of one rule.
const ITEMS_MOST: usize = 256;
/// Longest glob in characters.
const GLOB_LIMIT: usize = 1024;

/// `lint`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Lint {
    /// What is not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<IgnoreRule>,
}

/// An item of `lint.ignore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum IgnoreRule {
    /// Every finding of this id.
    Everywhere(Name),
    /// The findings of these ids, on files that one of the id's globs matches.
    Files(BTreeMap<Name, Vec<String>>),
}

impl Lint {
    pub(super) fn is_empty(&self) -> bool {
        self.ignore.is_empty()
    }

    pub(super) fn check(&self) -> Checked {
        under("ignore", {
            ensure(self.ignore.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items"))
                .and_then(|()| each(&self.ignore, IgnoreRule::check))
        })
    }
}

impl IgnoreRule {
    fn check(&self) -> Checked {
        let IgnoreRule::Files(files) = self else { return Ok(()) };
        ensure(!files.is_empty(), "is empty")?;
        ensure(files.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} members"))?;
        files.iter().try_for_each(|(id, globs)| {
            under(id.as_str(), {
                ensure(!globs.is_empty(), "has no globs; the id alone stands for all files")
                    .and_then(|()| {
                        ensure(globs.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items"))
                    })
                    .and_then(|()| each(globs, |glob| check_glob(glob)))
            })
        })
    }
}

fn check_glob(glob: &str) -> Checked {
    check_line(glob, GLOB_LIMIT)?;
    ensure(!glob.starts_with('/'), "has to be relative to the package's root, without a `/` at its beginning")
}

impl<'de> Deserialize<'de> for IgnoreRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<IgnoreRule, D::Error> {
        deserializer.deserialize_any(RuleVisitor)
    }
}

/// Tells the two forms apart; derived code would lose the place of an error.
struct RuleVisitor;

impl<'de> Visitor<'de> for RuleVisitor {
    type Value = IgnoreRule;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<IgnoreRule, E> {
        text.parse().map(IgnoreRule::Everywhere).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<IgnoreRule, A::Error> {
        let mut files = BTreeMap::new();
        while let Some((id, globs)) = entries.next_entry()? {
            if files.insert(id, globs).is_some() {
                return Err(A::Error::custom("an id is there twice"));
            }
        }
        Ok(IgnoreRule::Files(files))
    }
}
