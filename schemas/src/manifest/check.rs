//! What the types alone cannot say of a manifest: lengths, numbers, and references from one place to another.
//!
//! The same checks hold for a `pack.yaml` and for the manifest inside a package, whose author may be hostile: what
//! passes is bounded everywhere, and none of its one-line texts can break a line or steer a terminal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::part::{self, Part};
use super::{App, Base, CheckError, Manifest, PackageType, Plug, RootFs};
use super::{hooks, layout, service};
use crate::interface::{AttributeError, Grant, Side, definitions};
use crate::names::Name;
use crate::text::visible;

/// Most apps, plugs or parts.
pub(super) const MEMBERS_MOST: usize = 256;
/// Most environment variables in one place.
const VARIABLES_MOST: usize = 256;
/// Longest value of an environment variable in bytes.
const VARIABLE_LIMIT: usize = 32 << 10;
/// Longest name of an environment variable or attribute in bytes.
const WORD_LIMIT: usize = 128;
/// Longest text of an attribute in bytes.
const TEXT_LIMIT: usize = 4096;
/// Most attributes of a plug, or members of one.
const ATTRIBUTES_MOST: usize = 256;
/// Deepest nesting of an attribute.
const ATTRIBUTE_DEPTH: usize = 4;

/// One thing that is wrong.
#[derive(Debug)]
pub(super) struct Finding {
    /// The way to the value.
    pub path: Vec<Step>,
    /// Whether it is the last key of the path that is wrong, rather than its value.
    pub at_key: bool,
    /// What is wrong, as the rest of a sentence that begins with the path.
    pub problem: String,
}

/// A step into a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into the value of a key.
    Key(String),
    /// To an item of a list.
    Item(usize),
    /// To the item with this text, of a list whose order does not matter.
    Member(String),
}

impl Finding {
    pub(super) fn new(problem: impl Into<String>) -> Finding {
        Finding { path: Vec::new(), at_key: false, problem: problem.into() }
    }

    pub(super) fn about_key(self) -> Finding {
        Finding { at_key: true, ..self }
    }

    pub(super) fn at_member(self, member: &Name) -> Finding {
        self.under(Step::Member(member.to_string()))
    }

    fn under(mut self, step: Step) -> Finding {
        self.path.insert(0, step);
        self
    }

    fn key(&self) -> String {
        let steps: Vec<String> = self.path.iter().map(Step::to_string).collect();
        steps.join(".")
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Key(text) | Step::Member(text) => {
                out.write_str(&visible(&text.chars().take(64).collect::<String>()))
            }
            Step::Item(at) => write!(out, "{at}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}` {}", self.key(), self.problem)
    }
}

impl From<Finding> for CheckError {
    fn from(finding: Finding) -> CheckError {
        CheckError { key: finding.key(), problem: finding.problem }
    }
}

pub(super) type Checked = Result<(), Finding>;

/// Puts what a check finds under a key.
pub(super) fn under(key: &str, checked: Checked) -> Checked {
    checked.map_err(|finding| finding.under(Step::Key(key.to_owned())))
}

/// Checks the items of a list, each under its position.
pub(super) fn each<T>(items: &[T], check: impl Fn(&T) -> Checked) -> Checked {
    items
        .iter()
        .enumerate()
        .try_for_each(|(at, item)| check(item).map_err(|finding| finding.under(Step::Item(at))))
}

pub(super) fn ensure(holds: bool, problem: impl Into<String>) -> Checked {
    if holds { Ok(()) } else { Err(Finding::new(problem)) }
}

impl Manifest {
    /// Finds the first thing that is wrong with it.
    pub(super) fn find_fault(&self) -> Checked {
        self.check_texts()?;
        self.check_kind()?;
        under("architectures", ensure(self.architectures.len() <= 8, "names more than 8 architectures"))?;
        under("environment", check_environment(&self.environment))?;
        under("apps", check_members(&self.apps, App::check))?;
        under("apps", service::check_order(&self.apps))?;
        under("apps", self.check_aliases())?;
        under("plugs", check_members(&self.plugs, check_plug))?;
        under("slots", check_members(&self.slots, check_plug))?;
        under("slots", self.check_sides())?;
        under("layout", layout::check(&self.layout))?;
        under("hooks", hooks::check(&self.hooks))?;
        under("parts", check_members(&self.parts, Part::check))?;
        under("parts", part::check_order(&self.parts))?;
        under("lint", self.lint.check())
    }

    /// A name is a plug's or a slot's, since a connection is kept under it.
    fn check_sides(&self) -> Checked {
        let plugs: BTreeSet<&Name> =
            self.apps.values().flat_map(|app| &app.plugs).chain(self.plugs.keys()).collect();
        let plugs: BTreeSet<&Name> = self.hooks.values().flat_map(|hook| &hook.plugs).chain(plugs).collect();
        let slots = self.apps.values().flat_map(|app| &app.slots).chain(self.slots.keys());
        match slots.into_iter().find(|name| plugs.contains(name)) {
            Some(name) => {
                Err(Finding::new(format!("`{name}` is a plug as well: give one of them another name")))
            }
            None => Ok(()),
        }
    }

    /// An alias is one app's, and no command of the package's own.
    fn check_aliases(&self) -> Checked {
        let mut taken: BTreeSet<&str> = BTreeSet::new();
        for (name, app) in &self.apps {
            for alias in &app.aliases {
                let command = alias.as_str();
                let own = command.strip_prefix(self.name.as_str());
                let is_own = own.is_some_and(|rest| {
                    rest.is_empty()
                        || rest
                            .strip_prefix('.')
                            .is_some_and(|app| self.apps.keys().any(|name| name.as_str() == app))
                });
                let problem = match (is_own, taken.insert(command)) {
                    (true, _) => "is a command of the package in any case",
                    (false, false) => "is an alias of another app of the package",
                    (false, true) => continue,
                };
                let finding = Finding::new(problem).under(Step::Member(alias.to_string()));
                return under(name.as_str(), under("aliases", Err(finding)));
            }
        }
        Ok(())
    }

    /// Checks the attributes of plugs and slots against the definitions of their interfaces. Only a manifest that is written
    /// now is checked so: what an interface was when a package was built is not known later, and at install such a plug
    /// stays unconnected. The same goes for an interface that is not known. A slot that no app names is the package's.
    pub(super) fn check_attributes(&self) -> Checked {
        let of_apps = |side: Side| {
            self.apps.iter().flat_map(move |(app, a)| {
                let names = if side == Side::Plug { &a.plugs } else { &a.slots };
                names.iter().map(move |name| (app.as_str(), name, side))
            })
        };
        let declared = self.slots.keys().map(|name| ("", name, Side::Slot));
        for (app, name, side) in of_apps(Side::Plug).chain(of_apps(Side::Slot)).chain(declared) {
            let Ok(Some(definition)) = definitions::find(&self.interface_of(name)) else { continue };
            let Err(error) = definition.resolve(side, &self.name, &self.attributes_of(name)) else {
                continue;
            };
            let (key, declared) = match side {
                Side::Plug => ("plugs", &self.plugs),
                Side::Slot => ("slots", &self.slots),
            };
            // It quotes the manifest.
            let finding = Finding::new(format!("cannot be used: {}", visible(&error.to_string())));
            return match declared.get(name) {
                Some(plug) => under(key, under(name.as_str(), Err(at_attribute(finding, plug, &error)))),
                None => under("apps", under(app, under(key, Err(finding.at_member(name))))),
            };
        }
        self.apps.iter().try_for_each(|(name, app)| {
            under("apps", under(name.as_str(), under("plugs", self.check_network(app))))
        })
    }

    /// Named hosts are kept to in a network of the app's own, where nobody else is whom it could offer something.
    fn check_network(&self, app: &App) -> Checked {
        let plug_that = |grants: &dyn Fn(&Grant) -> bool| {
            app.plugs.iter().find(|name| {
                let definition = definitions::find(&self.interface_of(name)).ok().flatten();
                let resolved = definition.and_then(|definition| {
                    definition.resolve(Side::Plug, &self.name, &self.attributes_of(name)).ok()
                });
                resolved.into_iter().flatten().any(|grant| grants(&grant))
            })
        };
        let limited = plug_that(&|grant| matches!(grant, Grant::Network { hosts, .. } if !hosts.is_empty()));
        let offering = plug_that(&|grant| matches!(grant, Grant::Network { bind: true, .. }));
        match (limited, offering) {
            (Some(limited), Some(offering)) => Err(Finding::new(format!(
                "offers services on the host's network, where the hosts of `{limited}` cannot be kept to: \
                 leave out one of the two, or `hosts`"
            ))
            .at_member(offering)),
            _ => Ok(()),
        }
    }

    fn check_texts(&self) -> Checked {
        let line = |key: &str, text: &Option<String>, most: usize| {
            under(key, text.as_deref().map_or(Ok(()), |text| check_line(text, most)))
        };
        line("title", &self.title, 40)?;
        line("summary", &self.summary, 78)?;
        under("description", self.description.as_deref().map_or(Ok(()), |text| check_text(text, 4096)))?;
        line("license", &self.license, 256)?;
        under("license", self.license.as_deref().map_or(Ok(()), check_license))?;
        for (key, link) in [
            ("website", &self.website),
            ("contact", &self.contact),
            ("source-code", &self.source_code),
            ("issues", &self.issues),
            ("donation", &self.donation),
        ] {
            line(key, link, 512)?;
            under(key, link.as_deref().map_or(Ok(()), check_link))?;
        }
        Ok(())
    }

    fn check_kind(&self) -> Checked {
        let own = matches!(&self.base, Base::Package(base) if *base == self.name);
        under("base", ensure(!own, "is the package itself"))?;
        if self.package_type == PackageType::Base {
            under("base", ensure(self.base == Base::None, "has to be `none` where the type is `base`"))?;
            under("rootfs", ensure(self.rootfs == RootFs::App, "has no meaning where the type is `base`"))?;
            under("apps", ensure(self.apps.is_empty(), "cannot be there where the type is `base`"))?;
            under("plugs", ensure(self.plugs.is_empty(), "cannot be there where the type is `base`"))?;
            under("slots", ensure(self.slots.is_empty(), "cannot be there where the type is `base`"))?;
            under("layout", ensure(self.layout.is_empty(), "cannot be there where the type is `base`"))?;
            under("hooks", ensure(self.hooks.is_empty(), "cannot be there where the type is `base`"))?;
        }
        Ok(())
    }
}

/// The place of an attribute that cannot be used, where it is there.
fn at_attribute(finding: Finding, plug: &Plug, error: &AttributeError) -> Finding {
    match error {
        AttributeError::Unknown { name, .. } if plug.attributes.contains_key(name) => {
            finding.about_key().under(Step::Key(name.clone()))
        }
        AttributeError::Wrong { name, .. } if plug.attributes.contains_key(name) => {
            finding.under(Step::Key(name.clone()))
        }
        _ => finding,
    }
}

fn check_members<T>(members: &BTreeMap<Name, T>, check: impl Fn(&T) -> Checked) -> Checked {
    ensure(members.len() <= MEMBERS_MOST, format!("has more than {MEMBERS_MOST} members"))?;
    members.iter().try_for_each(|(name, member)| under(name.as_str(), check(member)))
}

/// An absolute path without `.`, `..` or empty components.
pub(super) fn check_folder(path: &str) -> Checked {
    check_line(path, 1024)?;
    ensure(path.starts_with('/'), "has to be an absolute path")?;
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    ensure(path == "/" || path[1..].split('/').all(plain), "cannot have `.`, `..`, `//` or a `/` at its end")
}

/// The environment of a package, app or part. Values may refer to other variables, see [`super::expand`].
pub(super) fn check_environment(variables: &BTreeMap<String, String>) -> Checked {
    ensure(variables.len() <= VARIABLES_MOST, format!("has more than {VARIABLES_MOST} variables"))?;
    for (name, value) in variables {
        let check = || {
            ensure(
                is_variable_name(name),
                "is no name of a variable: use A-Z, a-z, 0-9 and _, no digit first",
            )
            .map_err(Finding::about_key)?;
            ensure(name.len() <= WORD_LIMIT, format!("is longer than {WORD_LIMIT} bytes"))
                .map_err(Finding::about_key)?;
            ensure(!value.contains('\0'), "has a NUL in its value")?;
            ensure(value.len() <= VARIABLE_LIMIT, format!("is longer than {VARIABLE_LIMIT} bytes"))
        };
        under(name, check())?;
    }
    Ok(())
}

/// The names that a shell accepts (POSIX.1-2024, 3.216 Name).
fn is_variable_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|first| first.is_ascii_alphabetic() || *first == b'_')
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

fn check_plug(plug: &Plug) -> Checked {
    let attributes = &plug.attributes;
    ensure(attributes.len() <= ATTRIBUTES_MOST, format!("has more than {ATTRIBUTES_MOST} attributes"))?;
    attributes.iter().try_for_each(|(name, value)| under(name, check_attribute(name, value)))
}

fn check_attribute(name: &str, value: &Value) -> Checked {
    check_line(name, WORD_LIMIT).map_err(Finding::about_key)?;
    check_attribute_value(value, ATTRIBUTE_DEPTH)
}

/// Text, truth values, integers, and lists and maps of them. Fractions have more than one spelling, and none of the
/// interfaces has a use for them.
fn check_attribute_value(value: &Value, depth: usize) -> Checked {
    ensure(depth > 0, format!("is nested deeper than {ATTRIBUTE_DEPTH} levels"))?;
    match value {
        Value::Null => Err(Finding::new("has no value")),
        Value::Bool(_) => Ok(()),
        Value::Number(number) => ensure(!number.is_f64(), "has to be a whole number, or text in quotes"),
        Value::String(text) => check_line(text, TEXT_LIMIT),
        Value::Array(items) => {
            ensure(items.len() <= ATTRIBUTES_MOST, format!("has more than {ATTRIBUTES_MOST} items"))?;
            each(items, |item| check_attribute_value(item, depth - 1))
        }
        Value::Object(members) => {
            ensure(members.len() <= ATTRIBUTES_MOST, format!("has more than {ATTRIBUTES_MOST} members"))?;
            members.iter().try_for_each(|(key, member)| {
                let checked = check_line(key, WORD_LIMIT).map_err(Finding::about_key);
                under(key, checked.and_then(|()| check_attribute_value(member, depth - 1)))
            })
        }
    }
}

/// Text of one line: 1 to `most` characters, no control character or line separator.
pub(super) fn check_line(text: &str, most: usize) -> Checked {
    ensure(!text.is_empty(), "is empty")?;
    check_length(text, most)?;
    let breaks = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}');
    ensure(!text.contains(breaks), "has a line break or another control character in it")
}

/// Text of several lines: at most `most` characters, no control character but tab and line feed.
pub(super) fn check_text(text: &str, most: usize) -> Checked {
    check_length(text, most)?;
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    ensure(!text.contains(steers), "has a control character in it")
}

fn check_length(text: &str, most: usize) -> Checked {
    let length = text.chars().count();
    ensure(length <= most, format!("has {length} characters; at most {most} are allowed"))
}

/// The characters of an SPDX licence expression (SPDX specification 2.3, annex D); the identifiers are not looked up.
fn check_license(text: &str) -> Checked {
    let known = |c: char| c.is_ascii_alphanumeric() || " .-+():".contains(c);
    ensure(text.chars().all(known), "is no SPDX licence expression, such as `MIT OR Apache-2.0`")
}

/// A web or mail address; it may be opened from a menu, so it can be no other scheme.
fn check_link(text: &str) -> Checked {
    let web =
        ["https://", "http://"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme));
    let mail = text.strip_prefix("mailto:").unwrap_or(text);
    let mail = mail.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
        && !mail.contains([':', '/']);
    ensure(
        (web || mail) && !text.contains(char::is_whitespace),
        "has to be an address that begins with https:// or http://, or a mail address",
    )
}

/// Finds parts that wait for one another, as the way round.
pub(super) fn find_cycle<'a>(after: &BTreeMap<&'a Name, &'a BTreeSet<Name>>) -> Option<Vec<&'a Name>> {
    // What has nothing left to wait for is taken away until only those that wait for one another, and those that wait
    // for these, are left; following any of them leads round.
    let mut left = after.clone();
    loop {
        let free: Vec<&Name> = left
            .iter()
            .filter(|(_, needs)| !needs.iter().any(|need| left.contains_key(need)))
            .map(|(name, _)| *name)
            .collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(name);
        }
    }
    let mut way: Vec<&Name> = vec![left.keys().next()?];
    loop {
        let next = left[way[way.len() - 1]].iter().find_map(|need| left.get_key_value(need))?.0;
        if let Some(at) = way.iter().position(|name| name == next) {
            way.drain(..at);
            way.push(next);
            return Some(way);
        }
        way.push(next);
    }
}
