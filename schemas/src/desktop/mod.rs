//! Desktop entries (freedesktop Desktop Entry Specification 1.5): read as a package brings them, written as they are
//! exported.
//!
//! A desktop entry is started by the user's session, outside any sandbox, so nothing of the package's text is copied
//! as it is. It is parsed strictly, known keys are written anew from their values, and the rest is left out:
//!
//! | key | becomes |
//! |---|---|
//! | `Exec` of every group | `PACK run NAME.APP -- ARGUMENTS`; its program has to be the app's, or the entry is refused |
//! | `Icon` | the name that the caller gives for it, or nothing |
//! | `Type` | has to be `Application` |
//! | names, comments, categories, MIME types, flags | checked by their types and written again |
//! | `TryExec`, `Path`, `DBusActivatable`, `X-KDE-…`, everything else | left out, and reported |
//! | `X-Pack-…`, arguments that begin with `@@` | refused: they are how a launcher talks to itself |
//!
//! What is written bears `X-Pack-Name` and `X-Pack-App`, by which [`exported_by`] knows it again.

mod exec;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::manifest::App;
use crate::names::{Name, PackageName};
use crate::text::visible;

use exec::CommandLine;
use values::Kind;

/// Longest desktop entry in bytes.
pub const DESKTOP_LIMIT: usize = 256 << 10;
/// Most groups in one.
const GROUPS_MOST: usize = 64;

const MAIN_GROUP: &str = "Desktop Entry";
const ACTION_PREFIX: &str = "Desktop Action ";
const MARK_PACKAGE: &str = "X-Pack-Name";
const MARK_APP: &str = "X-Pack-App";
/// Keys that begin so, in any case, are the launcher's own.
const MARK_PREFIX: &str = "x-pack-";

/// Keys of the main group that are kept, in the order in which they are written.
const MAIN_KEYS: [(&str, Kind); 14] = [
    ("Name", Kind::Text),
    ("GenericName", Kind::Text),
    ("Comment", Kind::Text),
    ("Keywords", Kind::TextList),
    ("Categories", Kind::Words),
    ("MimeType", Kind::MimeTypes),
    ("OnlyShowIn", Kind::Words),
    ("NotShowIn", Kind::Words),
    ("NoDisplay", Kind::Flag),
    ("Terminal", Kind::Flag),
    ("StartupNotify", Kind::Flag),
    ("StartupWMClass", Kind::Plain),
    ("PrefersNonDefaultGPU", Kind::Flag),
    ("SingleMainWindow", Kind::Flag),
];
/// Keys of an action's group that are kept.
const ACTION_KEYS: [(&str, Kind); 1] = [("Name", Kind::Text)];

/// Why a desktop entry is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DesktopError {
    /// It is longer than [`DESKTOP_LIMIT`], or has too many groups.
    #[error("it is longer than {} KiB or has more than {GROUPS_MOST} groups", DESKTOP_LIMIT >> 10)]
    TooLong,
    /// It is no UTF-8.
    #[error("it is not UTF-8")]
    Encoding,
    /// A line that is none of: empty, comment, group header, key and value.
    #[error("line {line}: {rule}")]
    Syntax {
        /// Number of the line, from 1.
        line: usize,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A key or a group is there twice.
    #[error("line {line}: `{}` is there twice", visible(.what))]
    Twice {
        /// Number of the second line, from 1.
        line: usize,
        /// Key or group.
        what: String,
    },
    /// A key that has to be there is not.
    #[error("[{}] has no {key}", visible(.group))]
    Missing {
        /// The group.
        group: String,
        /// The key.
        key: &'static str,
    },
    /// It is a link or a folder, not an application.
    #[error("its Type is `{}`, and only Application is exported", visible(.found))]
    Type {
        /// The type found.
        found: String,
    },
    /// It holds what only a launcher writes.
    #[error("line {line}: `{}` is reserved for the launcher", visible(.what))]
    LauncherMagic {
        /// Number of the line, from 1.
        line: usize,
        /// Key or argument.
        what: String,
    },
    /// An `Exec` breaks the specification's rules on quoting and field codes.
    #[error("line {line}: Exec cannot be used: {rule}")]
    Exec {
        /// Number of the line, from 1.
        line: usize,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// An `Exec` starts something other than an app of the package.
    #[error("line {line}: Exec starts `{}`, which is not the program of app {app}", visible(.program))]
    ForeignProgram {
        /// Number of the line, from 1.
        line: usize,
        /// What it starts.
        program: String,
        /// The app whose entry it is.
        app: Name,
    },
    /// The path of pack itself cannot stand in an `Exec`.
    #[error("the path of pack, `{}`, cannot be used in a desktop entry: {rule}", visible(.path))]
    PackPath {
        /// The path.
        path: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

/// A desktop entry that follows the rules of the format; what it says has not been judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesktopEntry {
    /// The main group, then the others.
    groups: Vec<Group>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    key: String,
    locale: Option<String>,
    value: String,
    line: usize,
}

/// What the exported entry is to start.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Absolute path of the pack program.
    pub pack: &'a str,
    /// The package.
    pub package: &'a PackageName,
    /// The app whose entry it is.
    pub app: &'a Name,
    /// All apps of the package; an action may start another one than the entry's own.
    pub apps: &'a BTreeMap<Name, App>,
    /// What stands in for each `Icon`; an icon without a substitute is left out.
    pub icons: &'a BTreeMap<String, String>,
    /// The icon of the entry itself where its own has no substitute.
    pub default_icon: Option<&'a str>,
}

/// An entry as it is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// The text of the file.
    pub text: String,
    /// Keys and groups of the package's that are not in it.
    pub left_out: BTreeSet<String>,
}

impl DesktopEntry {
    /// Parses a desktop entry.
    ///
    /// # Errors
    /// Where it is too long, no UTF-8, breaks the format, or holds a launcher's own keys.
    pub fn parse(bytes: &[u8]) -> Result<DesktopEntry, DesktopError> {
        if bytes.len() > DESKTOP_LIMIT {
            return Err(DesktopError::TooLong);
        }
        let text = str::from_utf8(bytes).map_err(|_| DesktopError::Encoding)?;
        let mut groups: Vec<Group> = Vec::new();
        let mut seen = BTreeSet::new();
        for (number, line) in text.split('\n').enumerate() {
            let number = number + 1;
            let syntax = |rule| DesktopError::Syntax { line: number, rule };
            if line.trim_matches(' ').is_empty() || line.starts_with('#') {
                continue;
            }
            if line.chars().any(char::is_control) {
                return Err(syntax("it has a control character"));
            }
            if let Some(name) = line.strip_prefix('[') {
                let name =
                    name.trim_end_matches(' ').strip_suffix(']').ok_or(syntax("its `]` is missing"))?;
                start_group(&mut groups, name, number)?;
                seen.clear();
                continue;
            }
            let group = groups.last_mut().ok_or(syntax("it comes before the first group"))?;
            let entry = parse_entry(line, number)?;
            if !seen.insert((entry.key.clone(), entry.locale.clone())) {
                return Err(DesktopError::Twice { line: number, what: entry.key });
            }
            group.entries.push(entry);
        }
        if groups.is_empty() {
            return Err(DesktopError::Missing { group: MAIN_GROUP.to_owned(), key: "Type" });
        }
        Ok(DesktopEntry { groups })
    }

    /// The icons that are needed for it, as they are written.
    pub fn icons(&self) -> BTreeSet<String> {
        let groups = self.groups[..1].iter().chain(self.actions().into_iter().map(|(_, group)| group));
        let named = groups.filter_map(|group| group.value("Icon"));
        named.filter_map(|entry| values::unescape(&entry.value).ok()).collect()
    }

    /// Writes the entry that is exported.
    ///
    /// # Errors
    /// Where it is not an application's, lacks a name or a program, starts a program that is not the package's, or
    /// holds a launcher's own arguments.
    pub fn export(&self, launch: &Launch) -> Result<Exported, DesktopError> {
        let main = &self.groups[0];
        let kind = main.need("Type")?;
        if kind.value != "Application" {
            return Err(DesktopError::Type { found: kind.value.clone() });
        }
        let mut writer = Writer { launch, text: String::new(), left_out: BTreeSet::new() };
        writer.group(main, &MAIN_KEYS)?;
        writer.line(MARK_PACKAGE, launch.package.as_str());
        writer.line(MARK_APP, launch.app.as_str());
        let actions = self.actions();
        if !actions.is_empty() {
            let names: String = actions.iter().map(|(name, _)| format!("{name};")).collect();
            writer.line("Actions", &names);
        }
        for (_, group) in &actions {
            writer.text.push('\n');
            writer.group(group, &ACTION_KEYS)?;
        }
        for group in &self.groups[1..] {
            if !actions.iter().any(|(_, action)| action.name == group.name) {
                writer.left_out.insert(format!("[{}]", group.name));
            }
        }
        Ok(Exported { text: writer.text, left_out: writer.left_out })
    }

    /// The actions that the main group lists and that have a group of their own.
    fn actions(&self) -> Vec<(&str, &Group)> {
        let listed = self.groups[0].value("Actions").map_or("", |entry| entry.value.as_str());
        let mut actions: Vec<(&str, &Group)> = Vec::new();
        for name in listed.split(';').filter(|name| values::is_word(name)) {
            let group =
                self.groups[1..].iter().find(|group| group.name.strip_prefix(ACTION_PREFIX) == Some(name));
            if let Some(group) = group
                && !actions.iter().any(|(earlier, _)| *earlier == name)
            {
                actions.push((name, group));
            }
        }
        actions
    }
}

/// A desktop entry that starts an app with the desktop, as far as the app wants that then.
///
/// # Errors
/// [`DesktopError::PackPath`].
pub fn autostart(pack: &str, package: &PackageName, app: &Name, title: &str) -> Result<String, DesktopError> {
    check_pack_path(pack)?;
    let started = format!("{package}.{app}");
    let nothing = CommandLine::parse("true").map_err(|rule| DesktopError::Exec { line: 0, rule })?;
    let exec = nothing.started_by(&[pack, "run", "--autostart", &started]);
    let name = values::escape(&title.chars().filter(|c| !c.is_control()).collect::<String>());
    Ok(format!(
        "[{MAIN_GROUP}]\nType=Application\nName={name}\nExec={exec}\nNoDisplay=true\n{MARK_PACKAGE}={package}\n{MARK_APP}={app}\n"
    ))
}

/// Whether an `Exec` can name the pack program.
fn check_pack_path(pack: &str) -> Result<(), DesktopError> {
    if !pack.starts_with('/') || pack.contains('=') || pack.chars().any(char::is_control) {
        let rule = "it is absolute and has no `=` and no control character";
        return Err(DesktopError::PackPath { path: pack.to_owned(), rule });
    }
    Ok(())
}

/// The package that exported a desktop entry: nothing for a file that pack did not write.
pub fn exported_by(bytes: &[u8]) -> Option<PackageName> {
    let text = str::from_utf8(bytes.get(..bytes.len().min(DESKTOP_LIMIT))?).ok()?;
    let mark = text.lines().find_map(|line| line.strip_prefix(MARK_PACKAGE)?.strip_prefix('='))?;
    mark.parse().ok()
}

fn start_group(groups: &mut Vec<Group>, name: &str, line: usize) -> Result<(), DesktopError> {
    let syntax = |rule| Err(DesktopError::Syntax { line, rule });
    if name.is_empty() || !name.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'[' && b != b']') {
        return syntax("the name of a group is printable ASCII without brackets");
    }
    if groups.is_empty() && name != MAIN_GROUP {
        return syntax("the first group has to be [Desktop Entry]");
    }
    if groups.iter().any(|group| group.name == name) {
        return Err(DesktopError::Twice { line, what: name.to_owned() });
    }
    if groups.len() == GROUPS_MOST {
        return Err(DesktopError::TooLong);
    }
    groups.push(Group { name: name.to_owned(), entries: Vec::new() });
    Ok(())
}

fn parse_entry(line: &str, number: usize) -> Result<Entry, DesktopError> {
    let syntax = |rule| DesktopError::Syntax { line: number, rule };
    let (key, value) = line.split_once('=').ok_or(syntax("it is neither a group nor a key and value"))?;
    let key = key.trim_end_matches(' ');
    let (key, locale) = match key.strip_suffix(']').and_then(|key| key.split_once('[')) {
        Some((key, locale)) => (key, Some(locale)),
        None => (key, None),
    };
    if !values::is_word(key) {
        return Err(syntax("a key is made of A-Z, a-z, 0-9 and -"));
    }
    if locale.is_some_and(|locale| !values::is_locale(locale)) {
        return Err(syntax("a locale is written [language_COUNTRY.ENCODING@MODIFIER]"));
    }
    if key.to_ascii_lowercase().starts_with(MARK_PREFIX) {
        return Err(DesktopError::LauncherMagic { line: number, what: key.to_owned() });
    }
    Ok(Entry {
        key: key.to_owned(),
        locale: locale.map(str::to_owned),
        value: value.trim_matches(' ').to_owned(),
        line: number,
    })
}

impl Group {
    /// The entry of a key, without a locale.
    fn value(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key && entry.locale.is_none())
    }

    fn need(&self, key: &'static str) -> Result<&Entry, DesktopError> {
        self.value(key)
            .filter(|entry| !entry.value.is_empty())
            .ok_or_else(|| DesktopError::Missing { group: self.name.clone(), key })
    }
}

/// Puts an exported entry together.
struct Writer<'a> {
    launch: &'a Launch<'a>,
    text: String,
    left_out: BTreeSet<String>,
}

impl Writer<'_> {
    fn line(&mut self, key: &str, value: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.text, "{key}={value}");
    }

    /// Writes a group: its header, what is made anew, and the kept keys.
    fn group(&mut self, group: &Group, kept: &[(&str, Kind)]) -> Result<(), DesktopError> {
        let name = group.need("Name")?;
        if Kind::Text.rewrite(&name.value).is_none() {
            return Err(DesktopError::Syntax { line: name.line, rule: "its Name cannot be used" });
        }
        let exec = group.need("Exec")?;
        let exec_line = self.exec(exec)?;
        let _ = writeln!(self.text, "[{}]", group.name);
        if group.name == MAIN_GROUP {
            self.line("Type", "Application");
        }
        self.line("Exec", &exec_line);
        self.icon(group);
        for (key, kind) in kept {
            for entry in group.entries.iter().filter(|entry| entry.key == *key) {
                self.kept(entry, *kind);
            }
        }
        let remade = ["Type", "Exec", "Icon", "Actions"];
        let known = |entry: &&Entry| {
            let kept = kept.iter().any(|(key, _)| *key == entry.key);
            kept || remade.contains(&entry.key.as_str()) && entry.locale.is_none()
        };
        self.left_out
            .extend(group.entries.iter().filter(|entry| !known(entry)).map(|entry| entry.key.clone()));
        Ok(())
    }

    /// Writes what stands in for the group's icon.
    fn icon(&mut self, group: &Group) {
        let named = group.value("Icon");
        let substitute = named
            .and_then(|icon| values::unescape(&icon.value).ok())
            .and_then(|icon| self.launch.icons.get(&icon).map(String::as_str))
            .or(self.launch.default_icon.filter(|_| group.name == MAIN_GROUP));
        match substitute {
            Some(icon) => self.line("Icon", &values::escape(icon)),
            None if named.is_some() => drop(self.left_out.insert("Icon".to_owned())),
            None => {}
        }
    }

    /// Writes a kept key, or leaves it out where its value is not of its kind.
    fn kept(&mut self, entry: &Entry, kind: Kind) {
        match (kind.rewrite(&entry.value), &entry.locale) {
            (Some(value), None) => self.line(&entry.key, &value),
            (Some(value), Some(locale)) if kind.is_localised() => {
                let key = format!("{}[{locale}]", entry.key);
                self.line(&key, &value);
            }
            _ => drop(self.left_out.insert(entry.key.clone())),
        }
    }

    /// The command line that starts, through pack, what `entry` starts.
    fn exec(&self, entry: &Entry) -> Result<String, DesktopError> {
        let line = entry.line;
        let command = CommandLine::parse(&entry.value).map_err(|rule| DesktopError::Exec { line, rule })?;
        if let Some(what) = command.launcher_token() {
            return Err(DesktopError::LauncherMagic { line, what: what.to_owned() });
        }
        let Launch { pack, package, app, .. } = *self.launch;
        let app = self.app_of(command.program()).ok_or_else(|| DesktopError::ForeignProgram {
            line,
            program: command.program().to_owned(),
            app: app.clone(),
        })?;
        let app = format!("{package}.{app}");
        check_pack_path(pack)?;
        Ok(command.started_by(&[pack, "run", &app, "--"]))
    }

    /// The app that a program name stands for: the entry's own before another of the package.
    fn app_of(&self, program: &str) -> Option<&Name> {
        let Launch { package, app: own, apps, .. } = *self.launch;
        let stands_for = |name: &Name, app: &App| {
            let command = app.command.as_str();
            let base_name = command.rsplit('/').next().unwrap_or(command);
            let inside =
                program.strip_prefix("/app/").or_else(|| program.strip_prefix('/')).unwrap_or(program);
            program == name.as_str()
                || program == base_name
                || inside == command
                || program.strip_prefix(package.as_str()).and_then(|rest| rest.strip_prefix('.'))
                    == Some(name.as_str())
        };
        let own = apps.get_key_value(own).into_iter();
        own.chain(apps).find(|(name, app)| stands_for(name, app)).map(|(name, _)| name)
    }
}

#[cfg(test)]
mod tests;
