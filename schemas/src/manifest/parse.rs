//! From the text of a `pack.yaml` to a [`Manifest`]: text → tree → short forms written out → types → checks. An error
//! names the place of the key or value that it is about.

use std::collections::BTreeSet;

use super::check::{Finding, Step};
use super::foreign::{self, Level};
use super::tree::{self, Content, Entry, Node, NodeId, Place};
use super::typed::{Fault, FaultKind, FromNode};
use super::{Base, Manifest};
use crate::text::{nearest, visible};
use serde::Deserialize;

/// What is wrong with a manifest, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ManifestError {
    /// Line of the offending key or value, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// Its length in characters as far as it is known, at least 1.
    pub length: usize,
    /// What is wrong, in one line that is safe to show.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ManifestError {
    pub(super) fn new(place: Place, message: impl Into<String>) -> ManifestError {
        let Place { line, column } = place;
        ManifestError { line, column, length: 1, message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> ManifestError {
        ManifestError { hint: Some(hint.into()), ..self }
    }
}

impl Manifest {
    /// Reads a `pack.yaml`: at most 1 MiB of UTF-8, one YAML document, every key known and there once.
    ///
    /// Besides the full forms of the types, a plug may be written as the name of its interface (`files: home`) or with
    /// nothing (`home:`), and a `build-environment` as a list of maps of one variable each, as snapcraft has it.
    ///
    /// # Errors
    /// [`ManifestError`], the first in the order of the text for what the types forbid.
    pub fn from_yaml(text: &[u8]) -> Result<Manifest, ManifestError> {
        // Some editors begin a file of UTF-8 with a byte order mark.
        match text.strip_prefix("\u{feff}".as_bytes()) {
            Some(rest) => Manifest::from_plain_yaml(rest).map_err(|error| {
                let mark = usize::from(error.line == 1);
                ManifestError { column: error.column + mark, ..error }
            }),
            None => Manifest::from_plain_yaml(text),
        }
    }

    fn from_plain_yaml(text: &[u8]) -> Result<Manifest, ManifestError> {
        let mut root = tree::read(text)?;
        let report = Report { text };
        if matches!(root.content, Content::Null) {
            return Err(ManifestError::new(Place::START, "the manifest is empty")
                .hint("it needs at least: name, version, base"));
        }
        write_out_plugs(&mut root);
        write_out_hooks(&mut root);
        write_out_build_environments(&mut root);
        let manifest = Manifest::deserialize(FromNode(&root)).map_err(|fault| report.fault(&root, fault))?;
        report.foreign_base(&root, &manifest)?;
        manifest.find_fault().map_err(|finding| report.finding(&root, finding))?;
        manifest.check_attributes().map_err(|finding| report.finding(&root, finding))?;
        Ok(manifest)
    }
}

/// Turns the short forms of plugs and slots into the full one.
fn write_out_plugs(root: &mut Node) {
    ["plugs", "slots"].into_iter().for_each(|key| write_out(root, key));
}

fn write_out(root: &mut Node, key: &str) {
    let Some(plugs) = value_mut(root, key) else { return };
    let Content::Map(plugs) = &mut plugs.content else { return };
    for Entry { id, value, .. } in plugs {
        match std::mem::replace(&mut value.content, Content::Null) {
            Content::Null => value.content = Content::Map(Vec::new()),
            Content::Text(interface) => {
                let node = Node { id: value.id, content: Content::Text(interface) };
                let entry = Entry { id: *id, key: "interface".to_owned(), value: node };
                value.content = Content::Map(vec![entry]);
            }
            other => value.content = other,
        }
    }
}

/// A hook that has no value has no wishes.
fn write_out_hooks(root: &mut Node) {
    let Some(Node { content: Content::Map(hooks), .. }) = value_mut(root, "hooks") else { return };
    for Entry { value, .. } in hooks {
        if matches!(value.content, Content::Null) {
            value.content = Content::Map(Vec::new());
        }
    }
}

/// Turns lists of maps of one variable each into maps, where no variable is there twice; the types refuse others.
fn write_out_build_environments(root: &mut Node) {
    let Some(Node { content: Content::Map(parts), .. }) = value_mut(root, "parts") else { return };
    for part in parts {
        let Some(environment) = value_mut(&mut part.value, "build-environment") else { continue };
        let Content::List(items) = &mut environment.content else { continue };
        let mut names = BTreeSet::new();
        let is_variable = |item: &Node| match &item.content {
            Content::Map(entries) => entries.len() == 1 && names.insert(entries[0].key.clone()),
            _ => false,
        };
        if !items.iter().all(is_variable) {
            continue;
        }
        let entries = items.drain(..).flat_map(|item| match item.content {
            Content::Map(entries) => entries,
            _ => Vec::new(),
        });
        environment.content = Content::Map(entries.collect());
    }
}

fn value_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    match &mut node.content {
        Content::Map(entries) => {
            entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
        }
        _ => None,
    }
}

/// Turns what was found wrong into words and places.
struct Report<'a> {
    text: &'a [u8],
}

impl Report<'_> {
    fn fault(&self, root: &Node, fault: Fault) -> ManifestError {
        let id = fault.at.unwrap_or(root.id);
        let path = path_of(root, id).unwrap_or_default();
        let shown = path.last().map_or("the manifest".to_owned(), |key| format!("`{}`", shown_key(key)));
        match fault.kind {
            FaultKind::Message(message) if path == ["base"] => {
                self.error(id, message).hint("it can be: host, none, or the name of an installed base")
            }
            FaultKind::Message(message) => self.error(id, message),
            FaultKind::WrongType { found, expected } => {
                let expected = plain_words(&expected);
                let error = self.error(id, format!("{shown} has to be {expected}, and this is {found}"));
                match (expected, found) {
                    ("text", "a number" | "a truth value") => error.hint(self.quoting(root, id)),
                    ("a list", "text") => {
                        error.hint("write one entry a line, each after `- `, or [in, brackets]")
                    }
                    ("a map of keys", "a list") => error
                        .hint("write keys, each with `: ` and its value behind it, and no `- ` before them"),
                    _ => error,
                }
            }
            FaultKind::UnknownKey { key, known } => self.unknown_key(id, &path, &key, known),
            // The keys of some maps are words of an enumeration.
            FaultKind::UnknownWord { word, known } if is_key(root, id) => {
                self.unknown_key(id, &path, &word, known)
            }
            FaultKind::UnknownWord { word, known } => self.unknown_word(id, &path, &word, known),
            FaultKind::MissingKey { key } if path.is_empty() => {
                let error = self.error(id, format!("the manifest has no `{key}`"));
                match key {
                    "name" => error.hint("such as `name: my-app`"),
                    "version" => error.hint("such as `version: \"1.0\"`"),
                    "base" => error.hint("`base: host` is the host's /usr, `base: none` nothing at all"),
                    _ => error,
                }
            }
            FaultKind::MissingKey { key } => self.error(id, format!("{shown} has no `{key}`")),
            FaultKind::NoValue => {
                self.error(id, format!("{shown} has no value")).hint("give it one, or take the line away")
            }
        }
    }

    fn unknown_key(&self, id: NodeId, path: &[String], key: &str, known: &[&str]) -> ManifestError {
        let level = Level::of(&path[..path.len().saturating_sub(1)]);
        let shown = shown_key(key);
        if let Some(foreign) = level.and_then(|level| foreign::key(level, key)) {
            return self.error(id, format!("`{shown}` {}", foreign.verdict())).hint(foreign.instead);
        }
        let error = self.error(id, format!("unknown key `{shown}`"));
        match nearest(key, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known here: {}", known.join(", "))),
        }
    }

    fn unknown_word(&self, id: NodeId, path: &[String], word: &str, known: &[&str]) -> ManifestError {
        let shown = shown_key(word);
        let key = path.iter().rev().find(|key| key.parse::<usize>().is_err());
        let key = key.map_or("value", String::as_str);
        if let Some(foreign) = foreign::word(key, word) {
            return self.error(id, format!("{key} `{shown}` {}", foreign.verdict())).hint(foreign.instead);
        }
        let error = self.error(id, format!("`{key}` cannot be `{shown}`"));
        match nearest(word, known.iter().copied()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("it can be: {}", known.join(", "))),
        }
    }

    /// Names a base of snap's as such, before somebody looks for a package of that name.
    fn foreign_base(&self, root: &Node, manifest: &Manifest) -> Result<(), ManifestError> {
        let Base::Package(name) = &manifest.base else { return Ok(()) };
        let Some(foreign) = foreign::word("base", name.as_str()) else { return Ok(()) };
        let id = node_at(root, &[Step::Key("base".to_owned())]).map_or(root.id, |node| node.id);
        Err(self.error(id, format!("base `{name}` {}", foreign.verdict())).hint(foreign.instead))
    }

    fn finding(&self, root: &Node, finding: Finding) -> ManifestError {
        let message = finding.to_string();
        // A path may lead into what was left out, such as a default; its parent is near enough then.
        let id = (0..=finding.path.len())
            .rev()
            .find_map(|depth| {
                let path = &finding.path[..depth];
                let at_key = finding.at_key && depth == finding.path.len();
                match (node_at(root, path)?, entry_at(root, path)) {
                    (Node { content: Content::Map(_), .. }, Some(entry)) => Some(entry.id),
                    (_, Some(entry)) if at_key => Some(entry.id),
                    (node, _) => Some(node.id),
                }
            })
            .unwrap_or(root.id);
        self.error(id, message)
    }

    /// The hint to put a value in quotes, with the value as it is written where that is one plain word.
    fn quoting(&self, root: &Node, id: NodeId) -> String {
        let word = self.word_at(tree::locate(self.text, id));
        let key =
            path_of(root, id).and_then(|mut path| path.pop()).filter(|key| key.parse::<usize>().is_err());
        match key {
            Some(key) => format!("put it in quotes: `{}: \"{word}\"`", shown_key(&key)),
            None => format!("put it in quotes: \"{word}\""),
        }
    }

    fn error(&self, id: NodeId, message: impl Into<String>) -> ManifestError {
        let place = tree::locate(self.text, id);
        let length = self.word_at(place).chars().count().max(1);
        ManifestError { length, ..ManifestError::new(place, message) }
    }

    /// The plain word that begins at a place: up to white space or what ends a word in YAML.
    fn word_at(&self, place: Place) -> String {
        let text = String::from_utf8_lossy(self.text);
        let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || c.is_control() || ",]}\"'#".contains(c);
        let word: String = line.chars().skip(place.column - 1).take_while(|c| !ends(*c)).take(64).collect();
        // Of a key; an address has colons, too.
        word.strip_suffix(':').unwrap_or(&word).to_owned()
    }
}

/// A key or word as it is shown: visible, and cut to 64 characters.
fn shown_key(key: &str) -> String {
    visible(&key.chars().take(64).collect::<String>())
}

/// serde's name of what it expects, in a packager's words.
fn plain_words(expected: &str) -> &str {
    match expected {
        "a string" | "string" => "text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        other if other.starts_with("struct") || other == "a map" => "a map of keys",
        "u8" | "u16" | "u32" | "u64" | "i64" => "a whole number",
        "variant identifier" => "a word",
        other if other.starts_with("enum") => "a word",
        other => other,
    }
}

/// The keys (and positions in lists) that lead to a node or key.
fn path_of(root: &Node, id: NodeId) -> Option<Vec<String>> {
    // Nodes are numbered in the order of the text, so the way down is that of the last member not after `id`.
    let mut node = root;
    let mut path = Vec::new();
    while node.id != id {
        match &node.content {
            Content::Map(entries) => {
                let entry = entries.iter().rev().find(|entry| entry.id <= id)?;
                path.push(entry.key.clone());
                if entry.id == id {
                    break;
                }
                node = &entry.value;
            }
            Content::List(items) => {
                let (at, item) = items.iter().enumerate().rev().find(|(_, item)| item.id <= id)?;
                path.push(at.to_string());
                node = item;
            }
            _ => return None,
        }
    }
    Some(path)
}

/// Whether it is the number of a key.
fn is_key(node: &Node, id: NodeId) -> bool {
    match &node.content {
        Content::Map(entries) => {
            let entry = entries.iter().rev().find(|entry| entry.id <= id);
            entry.is_some_and(|entry| entry.id == id || is_key(&entry.value, id))
        }
        Content::List(items) => {
            items.iter().rev().find(|item| item.id <= id).is_some_and(|item| is_key(item, id))
        }
        _ => false,
    }
}

fn entry_at<'a>(root: &'a Node, path: &[Step]) -> Option<&'a Entry> {
    let (Step::Key(last), parents) = path.split_last()? else { return None };
    match &node_at(root, parents)?.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == *last),
        _ => None,
    }
}

fn node_at<'a>(root: &'a Node, path: &[Step]) -> Option<&'a Node> {
    path.iter().try_fold(root, |node, step| match (&node.content, step) {
        (Content::Map(entries), Step::Key(key)) => {
            entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.value)
        }
        (Content::List(items), Step::Item(at)) => items.get(*at),
        (Content::List(items), Step::Member(text)) => {
            items.iter().find(|item| matches!(&item.content, Content::Text(its) if its == text))
        }
        _ => None,
    })
}
