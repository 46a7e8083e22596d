//! `apps`: the programs that can be run.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RelativePath;
use super::check::{Checked, MEMBERS_MOST, check_environment, check_folder, each, ensure, under};
use super::service::{
    Alias, BusName, CommandLine, Daemon, ExitStatus, Health, RefreshMode, RestartCondition, Socket, StopMode,
    check_common_id,
};
use super::time_span::TimeSpan;
use super::timer::Timer;
use crate::limits::Limits;
use crate::names::Name;

/// Most arguments of an app.
const ARGUMENTS_MOST: usize = 256;
/// Most programs of a chain, and most aliases.
const CHAIN_MOST: usize = 16;
/// Longest argument in bytes.
const ARGUMENT_LIMIT: usize = 4096;

/// A program that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct App {
    /// The program, relative to the package's root; never passed through a shell.
    pub command: RelativePath,
    /// Programs, relative to the package's root, that are run one in the other before the command: the first is started with the
    /// others, the command and its arguments as its arguments, and is to execute them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub command_chain: Vec<RelativePath>,
    /// Arguments that come before the caller's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("maxItems" = 256))]
    pub args: Vec<String>,
    /// Environment variables of this app.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "super::schema::environment")]
    pub environment: BTreeMap<String, String>,
    /// Plugs that it uses.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 256))]
    pub plugs: BTreeSet<Name>,
    /// Slots that it offers.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 256))]
    pub slots: BTreeSet<Name>,
    /// Other names of its command.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 16))]
    pub aliases: BTreeSet<Alias>,
    /// Path of its desktop entry inside the package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desktop: Option<RelativePath>,
    /// Name of the desktop entry that the app puts into its own `$XDG_CONFIG_HOME/autostart` when it is to start with the desktop; it
    /// is started so only while that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9_-][A-Za-z0-9._-]*[.]desktop$", "maxLength" = 255))]
    pub autostart: Option<String>,
    /// Id of its AppStream metainfo, such as `org.example.App`; shown by `pack inspect` and `pack info`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9._-]{1,255}$"))]
    pub common_id: Option<String>,
    /// Working directory, an absolute path inside the sandbox; the default is the caller's where the app can see it,
    /// else its HOME.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^/", "maxLength" = 1024))]
    pub working_dir: Option<String>,
    /// How much of the machine it may have.
    #[serde(default, skip_serializing_if = "Limits::is_empty")]
    pub limits: Limits,
    /// Makes it a service, and says when that counts as started. This version of pack starts no services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub daemon: Option<Daemon>,
    /// Program that stops the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_command: Option<CommandLine>,
    /// Program that makes the service read its settings again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload_command: Option<CommandLine>,
    /// Program that is run after the service has stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_stop_command: Option<CommandLine>,
    /// How long stopping may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<TimeSpan>,
    /// How long starting may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout: Option<TimeSpan>,
    /// How long the service may be silent (`sd_notify`, `WATCHDOG=1`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watchdog_timeout: Option<TimeSpan>,
    /// After what end it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_condition: Option<RestartCondition>,
    /// How long until it is started again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart_delay: Option<TimeSpan>,
    /// What becomes of it in a refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_mode: Option<RefreshMode>,
    /// The signal that stops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_mode: Option<StopMode>,
    /// Exit statuses besides 0 that are a good end.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub success_exit_status: BTreeSet<ExitStatus>,
    /// Services that are started before it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub after: BTreeSet<Name>,
    /// Services that are started after it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(extend("maxItems" = 64))]
    pub before: BTreeSet<Name>,
    /// When it is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    /// Sockets with which it is started when somebody connects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub sockets: BTreeMap<Name, Socket>,
    /// The name that it takes on the message bus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_name: Option<BusName>,
    /// How its health is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
}

impl App {
    pub(super) fn check(&self) -> Checked {
        let bounded = |key: &str, length: usize, most: usize| {
            under(key, ensure(length <= most, format!("has more than {most} items")))
        };
        bounded("args", self.args.len(), ARGUMENTS_MOST)?;
        under("args", each(&self.args, |argument| check_argument(argument)))?;
        bounded("command-chain", self.command_chain.len(), CHAIN_MOST)?;
        under("environment", check_environment(&self.environment))?;
        bounded("plugs", self.plugs.len(), MEMBERS_MOST)?;
        bounded("slots", self.slots.len(), MEMBERS_MOST)?;
        bounded("aliases", self.aliases.len(), CHAIN_MOST)?;
        if let Some(desktop) = &self.desktop {
            under("desktop", ensure(desktop.as_str().ends_with(".desktop"), "has to end in `.desktop`"))?;
        }
        under("autostart", self.autostart.as_deref().map_or(Ok(()), check_entry_name))?;
        under("common-id", self.common_id.as_deref().map_or(Ok(()), check_common_id))?;
        under("working-dir", self.working_dir.as_deref().map_or(Ok(()), check_folder))?;
        self.check_service()
    }
}

/// The name of a desktop entry: of a file alone, and not hidden.
fn check_entry_name(name: &str) -> Checked {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let plain = name.len() <= 255 && name.chars().all(of_name) && !name.starts_with('.');
    ensure(
        plain && name.strip_suffix(".desktop").is_some_and(|stem| !stem.is_empty()),
        "is no name of a desktop entry, such as org.example.App.desktop",
    )
}

fn check_argument(argument: &str) -> Checked {
    ensure(argument.len() <= ARGUMENT_LIMIT, format!("is longer than {ARGUMENT_LIMIT} bytes"))?;
    ensure(!argument.contains('\0'), "has a NUL in it")
}
