//! Apps that are services: the keys of an app that say how it is started, watched and stopped. This version of pack reads
//! and checks them, and starts no services.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

use super::check::{Checked, Finding, check_line, ensure, find_cycle, under};
use super::time_span::TimeSpan;
use super::{App, RelativePath};
use crate::names::Name;

/// Most sockets, other services or exit statuses of a service.
const ITEMS_MOST: usize = 64;
/// Longest command with its arguments, in characters.
const COMMAND_LIMIT: usize = 1024;

/// When a service counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Daemon {
    /// As soon as its command runs.
    Simple,
    /// When its command has ended; nothing goes on running.
    Oneshot,
    /// When its command has ended, and left a process behind.
    Forking,
    /// When it says so (`sd_notify`).
    Notify,
    /// When it has taken its bus-name.
    Dbus,
}

/// After what end a service is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RestartCondition {
    /// A clean one.
    OnSuccess,
    /// One that is not clean.
    OnFailure,
    /// A signal, a time-out or the watchdog.
    OnAbnormal,
    /// A signal that nobody handled.
    OnAbort,
    /// The watchdog.
    OnWatchdog,
    /// Any.
    Always,
    /// None.
    Never,
}

/// What becomes of a service, or of a running app, in a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefreshMode {
    /// It is started anew.
    Restart,
    /// It goes on with the revision that it has.
    Endure,
    /// For an app that is no service: it is no reason to wait.
    IgnoreRunning,
}

/// The signal that stops a service: for its first process, or with `-all` for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum StopMode {
    Sigterm,
    SigtermAll,
    Sighup,
    SighupAll,
    Sigusr1,
    Sigusr1All,
    Sigusr2,
    Sigusr2All,
    Sigint,
    SigintAll,
}

/// A program of the package with its arguments: words with single spaces between them, the first a path relative to the package's
/// root. No shell reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[A-Za-z0-9._#:$-][A-Za-z0-9/._#:$ =@%+,-]*$", "maxLength" = 1024))]
pub struct CommandLine {
    /// The program.
    pub program: RelativePath,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl TryFrom<String> for CommandLine {
    type Error = String;

    fn try_from(text: String) -> Result<CommandLine, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._#:$ =@%+,-".contains(c);
        if text.chars().count() > COMMAND_LIMIT || !text.chars().all(plain) {
            return Err(format!(
                "a command has at most {COMMAND_LIMIT} of A-Z, a-z, 0-9, space and /._#:$=@%+,-, and no shell reads it: put what \
                 needs one into a script of the package"
            ));
        }
        let mut words = text.split(' ').map(str::to_owned);
        let program = words.next().unwrap_or_default();
        let arguments: Vec<String> = words.collect();
        if arguments.iter().any(String::is_empty) {
            return Err("the words of a command have one space between them".to_owned());
        }
        Ok(CommandLine { program: RelativePath::try_from(program)?, arguments })
    }
}

impl From<CommandLine> for String {
    fn from(line: CommandLine) -> String {
        let mut text = String::from(line.program);
        for argument in line.arguments {
            text.push(' ');
            text.push_str(&argument);
        }
        text
    }
}

/// A socket that a service is given, open, and with which it is started when somebody connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Socket {
    /// Where it listens.
    pub listen_stream: ListenStream,
    /// The mode of its file, such as `0600`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket_mode: Option<SocketMode>,
}

/// Where a socket listens: a TCP port on the machine itself (`8080`, `127.0.0.1:8080`, `[::1]:8080`), one that is open to others
/// (`[::]:8080`), or a path below `$PACK_USER_DATA`, `$PACK_USER_COMMON` or `$XDG_RUNTIME_DIR`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct ListenStream(String);

/// What a Unix socket's address may be long (unix(7)), with room for what the variable stands for.
const SOCKET_PATH_LIMIT: usize = 64;

impl ListenStream {
    fn checked(text: &str) -> Result<ListenStream, String> {
        let shown = crate::text::visible(&text.chars().take(80).collect::<String>());
        let own = ["$PACK_USER_DATA/", "$PACK_USER_COMMON/", "$XDG_RUNTIME_DIR/"];
        if let Some(path) = own.iter().find_map(|root| text.strip_prefix(root)) {
            return match path.len() <= SOCKET_PATH_LIMIT && RelativePath::try_from(path.to_owned()).is_ok() {
                true => Ok(ListenStream(text.to_owned())),
                false => Err(format!(
                    "`{shown}` has to be a plain path of at most {SOCKET_PATH_LIMIT} bytes below the variable"
                )),
            };
        }
        if text.starts_with(['/', '$']) {
            let snap = if text.starts_with("$SNAP") { " (not snap's variables)" } else { "" };
            return Err(format!(
                "`{shown}` is no place for a socket of the app's: begin with {}{snap}",
                own.join(", ")
            ));
        }
        if text.starts_with('@') {
            return Err(format!(
                "`{shown}` is an abstract socket, which any program could take first: use a path"
            ));
        }
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let is_host = ["127.0.0.1", "[::1]", "[::]"].contains(&host);
        let is_plain = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        match port.parse::<u16>() {
            Ok(_) if is_host && is_plain => Ok(ListenStream(text.to_owned())),
            _ => Err(format!(
                "`{shown}` is nothing to listen on: write a port, or one after 127.0.0.1:, [::1]: or [::]:, or a path"
            )),
        }
    }
}

impl From<ListenStream> for String {
    fn from(stream: ListenStream) -> String {
        stream.0
    }
}

impl<'de> Deserialize<'de> for ListenStream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ListenStream, D::Error> {
        let text = deserializer.deserialize_any(NumberOrText("a port, or an address or path in text"))?;
        ListenStream::checked(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for ListenStream {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenStream".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Where a socket listens: a TCP port on the machine itself (8080, 127.0.0.1:8080, [::1]:8080), one that is \
                            open to others ([::]:8080), or a path below $PACK_USER_DATA, $PACK_USER_COMMON or $XDG_RUNTIME_DIR.",
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^((127[.]0[.]0[.]1|\\[::1\\]|\\[::\\]):)?[1-9][0-9]{0,4}$"},
                {"type": "string", "pattern": "^[$](PACK_USER_DATA|PACK_USER_COMMON|XDG_RUNTIME_DIR)/[^/]"}
            ]
        })
    }
}

/// The mode of a socket's file, written in octal as `0600`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct SocketMode(u16);

impl SocketMode {
    /// The permission bits.
    pub fn bits(self) -> u16 {
        self.0
    }
}

impl From<SocketMode> for String {
    fn from(SocketMode(bits): SocketMode) -> String {
        format!("{bits:04o}")
    }
}

impl<'de> Deserialize<'de> for SocketMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SocketMode, D::Error> {
        // YAML 1.2 reads 0600 as text and 0o600 as a number; what a number without a 0 in front is meant to be nobody knows.
        let text = deserializer.deserialize_any(NumberOrText("an octal mode such as 0600"))?;
        let digits = text.len() == 4 && text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
        match u16::from_str_radix(&text, 8) {
            Ok(bits) if digits && bits <= 0o777 => Ok(SocketMode(bits)),
            _ => {
                let shown = crate::text::visible(&text.chars().take(40).collect::<String>());
                Err(de::Error::custom(format!("`{shown}` is no mode: write four octal digits, such as 0600")))
            }
        }
    }
}

impl JsonSchema for SocketMode {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SocketMode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The mode of the socket's file: four octal digits, such as \"0600\".",
            "type": "string",
            "pattern": "^0[0-7]{3}$"
        })
    }
}

/// Takes a number as the text that it is written as.
struct NumberOrText(&'static str);

impl de::Visitor<'_> for NumberOrText {
    type Value = String;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0)
    }
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// How a service's health is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Health {
    /// A program that ends with 0 where the service is well.
    pub command: CommandLine,
    /// How long between two runs; 30 s where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<TimeSpan>,
    /// How long a run may take; 30 s where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<TimeSpan>,
    /// After how many bad answers one after another the service counts as not well; 3 where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
}

/// A number of bad answers, 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(with = "u32", extend("minimum" = 1, "maximum" = 100))]
pub struct Retries(u32);

impl TryFrom<u32> for Retries {
    type Error = String;

    fn try_from(number: u32) -> Result<Retries, String> {
        match number {
            1..=100 => Ok(Retries(number)),
            _ => Err(format!("{number} is no number of bad answers: 1 to 100")),
        }
    }
}

impl From<Retries> for u32 {
    fn from(Retries(number): Retries) -> u32 {
        number
    }
}

/// An exit status that is a good end, 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
#[schemars(with = "u32", extend("minimum" = 1, "maximum" = 255))]
pub struct ExitStatus(u8);

impl TryFrom<u32> for ExitStatus {
    type Error = String;

    fn try_from(number: u32) -> Result<ExitStatus, String> {
        match u8::try_from(number) {
            Ok(number @ 1..) => Ok(ExitStatus(number)),
            _ => Err(format!("{number} is no exit status: 1 to 255")),
        }
    }
}

impl From<ExitStatus> for u32 {
    fn from(ExitStatus(number): ExitStatus) -> u32 {
        number.into()
    }
}

/// A name that a program takes on a message bus (D-Bus specification, "Bus names").
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[A-Za-z_-][A-Za-z0-9_-]*([.][A-Za-z_-][A-Za-z0-9_-]*)+$", "maxLength" = 255))]
pub struct BusName(String);

impl TryFrom<String> for BusName {
    type Error = String;

    fn try_from(text: String) -> Result<BusName, String> {
        let of_name = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        let element = |part: &str| {
            !part.is_empty() && !part.starts_with(|c: char| c.is_ascii_digit()) && part.bytes().all(of_name)
        };
        if text.len() <= 255 && text.contains('.') && text.split('.').all(element) {
            return Ok(BusName(text));
        }
        let shown = crate::text::visible(&text.chars().take(80).collect::<String>());
        Err(format!("`{shown}` is no name on a bus, such as org.example.Service"))
    }
}

impl From<BusName> for String {
    fn from(name: BusName) -> String {
        name.0
    }
}

impl App {
    /// Whether it is a service.
    pub fn is_service(&self) -> bool {
        self.daemon.is_some()
    }

    /// Checks that keys of services are a service's, and that those fit together.
    pub(super) fn check_service(&self) -> Checked {
        let of_services = [
            ("stop-command", self.stop_command.is_some()),
            ("reload-command", self.reload_command.is_some()),
            ("post-stop-command", self.post_stop_command.is_some()),
            ("stop-timeout", self.stop_timeout.is_some()),
            ("start-timeout", self.start_timeout.is_some()),
            ("watchdog-timeout", self.watchdog_timeout.is_some()),
            ("restart-condition", self.restart_condition.is_some()),
            ("restart-delay", self.restart_delay.is_some()),
            ("stop-mode", self.stop_mode.is_some()),
            ("success-exit-status", !self.success_exit_status.is_empty()),
            ("after", !self.after.is_empty()),
            ("before", !self.before.is_empty()),
            ("timer", self.timer.is_some()),
            ("sockets", !self.sockets.is_empty()),
            ("bus-name", self.bus_name.is_some()),
            ("health", self.health.is_some()),
        ];
        if !self.is_service() {
            if let Some((key, _)) = of_services.iter().find(|(_, is_given)| *is_given) {
                return under(
                    key,
                    Err(Finding::new("is for services: say which kind with `daemon`").about_key()),
                );
            }
            let fits = matches!(self.refresh_mode, None | Some(RefreshMode::IgnoreRunning));
            return under(
                "refresh-mode",
                ensure(fits, "can be ignore-running alone for an app that is no service"),
            );
        }
        under(
            "refresh-mode",
            ensure(
                self.refresh_mode != Some(RefreshMode::IgnoreRunning),
                "cannot be ignore-running for a service",
            ),
        )?;
        under(
            "daemon",
            ensure(
                self.daemon != Some(Daemon::Dbus) || self.bus_name.is_some(),
                "is dbus, and there is no `bus-name`",
            ),
        )?;
        for (key, length) in [
            ("after", self.after.len()),
            ("before", self.before.len()),
            ("success-exit-status", self.success_exit_status.len()),
        ] {
            under(key, ensure(length <= ITEMS_MOST, format!("has more than {ITEMS_MOST} items")))?;
        }
        under(
            "sockets",
            ensure(self.sockets.len() <= ITEMS_MOST, format!("has more than {ITEMS_MOST} members")),
        )
    }
}

/// Checks that services wait for services that there are, and not for one another.
pub(super) fn check_order(apps: &BTreeMap<Name, App>) -> Checked {
    let mut after: BTreeMap<&Name, BTreeSet<Name>> =
        apps.keys().map(|name| (name, BTreeSet::new())).collect();
    for (name, app) in apps {
        for (key, others) in [("after", &app.after), ("before", &app.before)] {
            let no_service = |other: &&Name| !apps.get(*other).is_some_and(App::is_service);
            if let Some(other) = others.iter().find(no_service) {
                let problem = format!("names `{other}`, which is no service of this package");
                return under(name.as_str(), under(key, Err(Finding::new(problem).at_member(other))));
            }
        }
        if let Some(own) = after.get_mut(name) {
            own.extend(app.after.iter().cloned());
        }
        for other in &app.before {
            if let Some(theirs) = after.get_mut(other) {
                theirs.insert(name.clone());
            }
        }
    }
    let edges = after.iter().map(|(name, others)| (*name, others)).collect();
    let Some(cycle) = find_cycle(&edges) else { return Ok(()) };
    let way: Vec<&str> = cycle.iter().map(|name| name.as_str()).collect();
    under(way[0], Err(Finding::new(format!("waits in a circle: {}", way.join(" after "))).about_key()))
}

/// An alias: what a command may be called (snapd's rule for aliases).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String", extend("pattern" = "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "maxLength" = 64))]
pub struct Alias(String);

impl Alias {
    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Alias {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl TryFrom<String> for Alias {
    type Error = String;

    fn try_from(text: String) -> Result<Alias, String> {
        let of_name = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let first = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if first && text.len() <= 64 && text.bytes().all(of_name) {
            return Ok(Alias(text));
        }
        let shown = crate::text::visible(&text.chars().take(80).collect::<String>());
        Err(format!(
            "`{shown}` is no name of a command: use 1 to 64 of A-Z, a-z, 0-9, _ . -, a letter or digit first"
        ))
    }
}

impl From<Alias> for String {
    fn from(alias: Alias) -> String {
        alias.0
    }
}

/// Checks an identifier of AppStream's.
pub(super) fn check_common_id(id: &str) -> Checked {
    check_line(id, 255)?;
    let of_id = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    ensure(id.chars().all(of_id), "is no id of AppStream's, such as org.example.App")
}
