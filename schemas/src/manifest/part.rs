//! Parts of a manifest: where some of a package's content comes from and how it is made.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::check::{
    Checked, Finding, check_environment, check_line, check_text, each, ensure, find_cycle, under,
};
use crate::names::Name;

/// Most stage-packages of a part, rules of a fileset, or renames.
const ITEMS_MOST: usize = 1024;
/// Longest script in characters.
const SCRIPT_LIMIT: usize = 64 << 10;
/// Longest path or glob in characters.
const PATH_LIMIT: usize = 1024;

/// A part: where some of the content comes from and how it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Part {
    /// How it is made.
    pub plugin: Plugin,
    /// A folder inside the project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Parts that have to be staged before this one is built.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<Name>,
    /// Debian packages whose files, with those of all that they depend on, go into the package.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage_packages: Vec<String>,
    /// Environment variables of the part's scripts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub build_environment: BTreeMap<String, String>,
    /// Script in place of the pull step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_pull: Option<String>,
    /// Script in place of the build step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_build: Option<String>,
    /// Script in place of the stage step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_stage: Option<String>,
    /// Script in place of the prime step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub override_prime: Option<String>,
    /// Renames within what the part installs: from a glob to a path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub organize: BTreeMap<String, String>,
    /// Which files go to the stage; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stage: Vec<String>,
    /// Which files go into the package; empty means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prime: Vec<String>,
}

/// `plugin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plugin {
    /// Copies the source as it is.
    Dump,
    /// Does nothing of its own.
    Nil,
}

impl Part {
    pub(super) fn check(&self) -> Checked {
        if self.plugin == Plugin::Dump && self.override_pull.is_none() && self.source.is_none() {
            return Err(Finding::new("has the plugin dump, and no `source` to copy"));
        }
        under("source", self.source.as_deref().map_or(Ok(()), check_source))?;
        under("stage-packages", check_list(&self.stage_packages, check_stage_package))?;
        under("build-environment", check_environment(&self.build_environment))?;
        for (key, script) in [
            ("override-pull", &self.override_pull),
            ("override-build", &self.override_build),
            ("override-stage", &self.override_stage),
            ("override-prime", &self.override_prime),
        ] {
            under(key, script.as_deref().map_or(Ok(()), |script| check_text(script, SCRIPT_LIMIT)))?;
        }
        under("organize", check_organize(&self.organize))?;
        under("stage", check_list(&self.stage, check_fileset_rule))?;
        under("prime", check_list(&self.prime, check_fileset_rule))
    }
}

/// Checks that parts wait for parts that there are, and not for one another.
pub(super) fn check_order(parts: &BTreeMap<Name, Part>) -> Checked {
    for (name, part) in parts {
        if let Some(unknown) = part.after.iter().find(|other| !parts.contains_key(other)) {
            let problem = format!("names `{unknown}`, and there is no such part");
            return under(name.as_str(), under("after", Err(Finding::new(problem).at_member(unknown))));
        }
    }
    let after = parts.iter().map(|(name, part)| (name, &part.after)).collect();
    let Some(cycle) = find_cycle(&after) else { return Ok(()) };
    let way: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
    let problem = format!("makes a circle: {}", way.join(" after "));
    under(way[0], under("after", Err(Finding::new(problem).at_member(cycle[1]))))
}

fn check_list(items: &[String], check: impl Fn(&str) -> Checked) -> Checked {
    ensure(items.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items"))?;
    each(items, |item| check(item))
}

fn check_source(source: &str) -> Checked {
    check_line(source, PATH_LIMIT)?;
    ensure(
        !source.contains("://") && !source.starts_with("git@"),
        "is an address, and this version of pack takes a folder of the project only; fetch it in override-pull",
    )?;
    let plain = source.trim_end_matches('/').split('/').all(|part| !matches!(part, "" | ".."));
    ensure(plain, "has to be a folder inside the project, relative to it and without `..`")
}

/// The name of a Debian package (Debian Policy 5.6.7).
fn check_stage_package(name: &str) -> Checked {
    check_line(name, 128)?;
    if let Some((plain, _)) = name.split_once([':', '=', '/']) {
        return Err(Finding::new(format!(
            "picks an architecture or version, which this version of pack does not support; write `{plain}`"
        )));
    }
    let bytes = name.as_bytes();
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    ensure(
        bytes.len() >= 2 && word(bytes[0]) && bytes.iter().all(|b| word(*b) || b"+.-".contains(b)),
        "is no name of a Debian package: use a-z, 0-9, + . -, a letter or digit first",
    )
}

fn check_organize(renames: &BTreeMap<String, String>) -> Checked {
    ensure(renames.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} members"))?;
    renames.iter().try_for_each(|(from, to)| {
        let checked = check_inside(from).map_err(Finding::about_key);
        under(from, checked.and_then(|()| check_inside(to.strip_suffix('/').unwrap_or(to))))
    })
}

/// A glob, after a `-` where it excludes.
fn check_fileset_rule(rule: &str) -> Checked {
    check_inside(rule.strip_prefix('-').unwrap_or(rule))
}

/// A path or glob that stays inside the folder that it is relative to.
fn check_inside(path: &str) -> Checked {
    check_line(path, PATH_LIMIT)?;
    ensure(
        !path.starts_with('$'),
        "names a fileset, which this version of pack does not support; write its globs",
    )?;
    ensure(!path.starts_with('('), "names a partition, which pack does not have")?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    ensure(
        path.split('/').all(plain),
        "has to be relative to the package's root, without `.`, `..` or a `/` at its end",
    )
}
