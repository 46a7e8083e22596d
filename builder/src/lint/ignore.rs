//! `lint: {ignore: …}`: findings that the packager knows of are counted and not told. A rule that ignores nothing is told
//! itself: it may be written wrongly, or its reason be gone.

use globset::GlobMatcher;
use pack_schemas::manifest::{IgnoreRule, Lint};
use pack_schemas::names::Name;
use pack_schemas::text::{nearest, visible};

use super::checks::{CHECKS, IGNORE_UNUSED};
use super::{Finding, Findings, Severity};
use crate::parts::fileset::{GlobError, glob};

/// One id, with one glob or for every file.
struct Rule<'a> {
    id: &'a Name,
    glob: Option<(&'a str, Result<GlobMatcher, GlobError>)>,
    used: bool,
}

impl Rule<'_> {
    fn matches(&self, finding: &Finding) -> bool {
        if self.id.as_str() != finding.id {
            return false;
        }
        match &self.glob {
            None => true,
            Some((_, Err(_))) => false,
            Some((_, Ok(glob))) => {
                use std::os::unix::ffi::OsStrExt;
                glob.is_match(std::ffi::OsStr::from_bytes(&finding.path))
            }
        }
    }

    fn told(&self) -> Finding {
        let known = CHECKS.iter().map(|check| check.id);
        let (message, hint) = match &self.glob {
            _ if !known.clone().any(|id| id == self.id.as_str()) => {
                let near = nearest(self.id.as_str(), known).map(|near| format!("did you mean `{near}`?"));
                let hint = near.unwrap_or_else(|| "`pack lint --list` names the checks".to_owned());
                (format!("names `{}`, and there is no such check", self.id), hint)
            }
            None => (format!("ignores `{}`, which is not found", self.id), TAKE_AWAY.to_owned()),
            Some((_, Err(error))) => (error.to_string(), "mend the glob".to_owned()),
            Some((glob, Ok(_))) => {
                let glob = visible(glob);
                (format!("ignores `{}` of `{glob}`, where it is not found", self.id), TAKE_AWAY.to_owned())
            }
        };
        Finding {
            id: IGNORE_UNUSED.id,
            severity: Severity::Warning,
            object: "lint.ignore".to_owned(),
            message,
            hint,
            bytes: None,
            path: Vec::new(),
        }
    }
}

const TAKE_AWAY: &str = "take the rule away";

/// Takes out what the rules name.
pub(super) fn apply(lint: &Lint, found: &mut Findings) {
    let mut rules: Vec<Rule<'_>> = lint.ignore.iter().flat_map(rules_of).collect();
    let before = found.list.len();
    found.list.retain(|finding| {
        let mut ignored = false;
        for rule in rules.iter_mut().filter(|rule| rule.matches(finding)) {
            rule.used = true;
            ignored = true;
        }
        !ignored
    });
    found.ignored = before - found.list.len();
    let unused = rules.iter().filter(|rule| !rule.used).map(Rule::told);
    found.list.extend(unused);
}

fn rules_of(rule: &IgnoreRule) -> Vec<Rule<'_>> {
    match rule {
        IgnoreRule::Everywhere(id) => vec![Rule { id, glob: None, used: false }],
        IgnoreRule::Files(files) => files
            .iter()
            .flat_map(|(id, globs)| globs.iter().map(move |text| (id, text)))
            .map(|(id, text)| Rule { id, glob: Some((text, glob(text))), used: false })
            .collect(),
    }
}
