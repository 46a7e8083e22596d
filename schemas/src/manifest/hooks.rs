//! `hooks`: programs of the package that are run when something happens to it. This version of pack does not run them.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::{Checked, MEMBERS_MOST, check_environment, ensure, under};
use crate::names::Name;

/// When a hook is run. Its program is `hooks/NAME` in the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookName {
    /// When the package is installed for the first time.
    Install,
    /// When a setting is changed, and after installation and refresh.
    Configure,
    /// Before a refresh, by the revision that goes.
    PreRefresh,
    /// After a refresh, by the revision that comes.
    PostRefresh,
    /// Before the package is removed.
    Remove,
    /// After a refresh, to say whether it is well.
    CheckHealth,
}

impl HookName {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            HookName::Install => "install",
            HookName::Configure => "configure",
            HookName::PreRefresh => "pre-refresh",
            HookName::PostRefresh => "post-refresh",
            HookName::Remove => "remove",
            HookName::CheckHealth => "check-health",
        }
    }
}

/// What a hook may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Hook {
    /// Plugs that it uses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 256))]
    pub plugs: BTreeSet<Name>,
    /// Environment variables of this hook.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::environment")]
    pub environment: BTreeMap<String, String>,
}

pub(super) fn check(hooks: &BTreeMap<HookName, Hook>) -> Checked {
    hooks.iter().try_for_each(|(name, hook)| under(name.as_str(), hook.check()))
}

impl Hook {
    fn check(&self) -> Checked {
        under(
            "plugs",
            ensure(self.plugs.len() <= MEMBERS_MOST, format!("has more than {MEMBERS_MOST} items")),
        )?;
        under("environment", check_environment(&self.environment))
    }
}
