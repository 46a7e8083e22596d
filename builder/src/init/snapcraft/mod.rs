//! From a `snapcraft.yaml` to a `pack.yaml`: what has the same meaning is carried over under the same names, variables under ours; of
//! the rest there is a [`Note`], with the line and what to do instead.
//!
//! The text is read by the reader of manifests, with its bounds. What comes out is text that says so at its head; whether it is a
//! manifest in order its reader says.

mod apps;
mod parts;
mod variables;

use std::collections::BTreeSet;

use pack_launcher::interfaces;
use pack_schemas::manifest::layout::refusal;
use pack_schemas::manifest::tree::{self, Content, Entry, Node, NodeId};
use pack_schemas::manifest::{ManifestError, OwnPath, instead_of_key, instead_of_word, schema};
use pack_schemas::names::{Name, Version};

use super::yaml::{self, Map, Value, comment_line};

/// Most notes; a file that needs more is no pattern for a manifest.
const NOTES_MOST: usize = 100;

/// What was made of a `snapcraft.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// The text of the `pack.yaml`, with the notes at its head.
    pub text: String,
    /// What was not carried over, or not as it was, in the order of the lines.
    pub notes: Vec<Note>,
}

/// Something that was not carried over, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its line in the `snapcraft.yaml`, from 1.
    pub line: usize,
    /// What it is, such as `apps.hello.adapter`.
    pub key: String,
    /// What to do instead.
    pub instead: String,
}

/// Translates; `name` is what the file is called.
///
/// # Errors
/// [`ManifestError`], about the `snapcraft.yaml`: it is no YAML, or no map, or passes a limit.
pub fn translate(text: &[u8], name: &str) -> Result<Translation, ManifestError> {
    let root = tree::read(text)?;
    let Content::Map(entries) = &root.content else {
        let tree::Place { line, column } = tree::locate(text, root.id);
        let message = "a snapcraft.yaml is a map of keys".to_owned();
        return Err(ManifestError { line, column, length: 1, message, hint: None });
    };
    let mut work =
        Work { found: Vec::new(), known: Known::new(), path: Vec::new(), declared: BTreeSet::new() };
    let map = work.root(entries);
    work.found.sort();
    work.found.dedup();
    let more = work.found.len().saturating_sub(NOTES_MOST);
    work.found.truncate(NOTES_MOST);
    let place = |id: NodeId| tree::locate(text, id).line;
    let notes: Vec<Note> =
        work.found.into_iter().map(|(id, key, instead)| Note { line: place(id), key, instead }).collect();
    Ok(Translation { text: head(name, &notes, more) + &yaml::write(&map), notes })
}

fn head(name: &str, notes: &[Note], more: usize) -> String {
    let mut head = comment_line(&format!("Translated from {name} by pack init."));
    if !notes.is_empty() {
        head += &comment_line("Not carried over, or not as it was (the lines are those of that file):");
    }
    for note in notes {
        head += &comment_line(&format!("  line {}, {}: {}", note.line, note.key, note.instead));
    }
    if more > 0 {
        head += &comment_line(&format!("  and {more} more"));
    }
    head + "\n"
}

/// The keys of a `pack.yaml`, from its schema.
struct Known {
    top: BTreeSet<String>,
    app: BTreeSet<String>,
    part: BTreeSet<String>,
}

impl Known {
    fn new() -> Known {
        let schema = schema::manifest();
        let keys = |object: &serde_json::Value| {
            object["properties"].as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect()
        };
        Known { top: keys(&schema), app: keys(&schema["$defs"]["App"]), part: keys(&schema["$defs"]["Part"]) }
    }
}

/// The state of a translation.
struct Work {
    /// Key or value, what it is, and what to do instead.
    found: Vec<(NodeId, String, String)>,
    known: Known,
    /// The keys that lead to what is looked at.
    path: Vec<String>,
    /// Plugs and slots that are declared at the top, and carried over.
    declared: BTreeSet<String>,
}

impl Work {
    fn note(&mut self, id: NodeId, key: &str, instead: impl Into<String>) {
        let path: Vec<&str> =
            self.path.iter().map(String::as_str).chain([key]).filter(|key| !key.is_empty()).collect();
        let shown: String = path.join(".").chars().take(120).collect();
        self.found.push((id, shown, instead.into()));
    }

    /// Notes a key that has no meaning here.
    fn foreign(&mut self, entry: &Entry) {
        let instead = instead_of_key(&self.path, &entry.key).unwrap_or("pack.yaml has no such key");
        self.note(entry.id, &entry.key, instead);
    }

    /// Does something with the members of a map, below its key.
    fn each<'a>(&mut self, entry: &'a Entry, mut act: impl FnMut(&mut Work, &'a Entry)) {
        let Content::Map(members) = &entry.value.content else {
            return self.note(entry.id, &entry.key, "it is no map of keys");
        };
        self.path.push(entry.key.clone());
        members.iter().for_each(|member| act(self, member));
        self.path.pop();
    }

    /// A value under our names of variables.
    fn copy(&mut self, key: &str, node: &Node) -> Value {
        match &node.content {
            Content::Null => Value::Word("null".to_owned()),
            Content::Bool(value) => Value::Word(value.to_string()),
            Content::Unsigned(value) => Value::Word(value.to_string()),
            Content::Signed(value) => Value::Word(value.to_string()),
            Content::Fraction(_) | Content::Text(_) => Value::text(self.text(key, node)),
            Content::List(items) => Value::List(items.iter().map(|item| self.copy(key, item)).collect()),
            Content::Map(entries) => {
                let mut map = Map::default();
                for entry in entries {
                    let value = self.copy(key, &entry.value);
                    map.put(entry.key.clone(), value);
                }
                Value::Map(map)
            }
        }
    }

    /// A single value as text, under our names of variables; nothing for lists and maps.
    fn text(&mut self, key: &str, node: &Node) -> String {
        let text = match &node.content {
            Content::Text(text) => text.clone(),
            Content::Bool(value) => value.to_string(),
            Content::Unsigned(value) => value.to_string(),
            Content::Signed(value) => value.to_string(),
            Content::Fraction(value) => value.to_string(),
            Content::Null | Content::List(_) | Content::Map(_) => String::new(),
        };
        let (renamed, unknown) = variables::rename(&text);
        for name in unknown {
            self.note(node.id, key, format!("there is no variable like {name}"));
        }
        if renamed.contains("/snap/") {
            self.note(node.id, key, "nothing is below /snap here: a package is at $PACK");
        }
        renamed
    }

    /// The texts of a list, or of a single value.
    fn texts(&mut self, key: &str, node: &Node) -> Vec<String> {
        match &node.content {
            Content::List(items) => {
                let mut texts = Vec::new();
                for item in items {
                    match &item.content {
                        Content::Map(_) | Content::List(_) => {
                            self.note(item.id, key, "what depends on the architecture is not told apart: write what holds for each");
                        }
                        _ => texts.push(self.text(key, item)),
                    }
                }
                texts
            }
            Content::Null => Vec::new(),
            _ => vec![self.text(key, node)],
        }
    }

    fn root(&mut self, entries: &[Entry]) -> Map {
        let mut map = Map::default();
        let find = |key: &str| entries.iter().find(|entry| entry.key == key);
        for key in ["name", "version"] {
            if let Some(entry) = find(key) {
                let text = self.text(key, &entry.value);
                map.put(key, Value::text(text));
            }
        }
        self.version(find("version").or(find("adopt-info")), &mut map);
        // Apps name the plugs that are declared, which may stand below them.
        let is_plugs = |entry: &&Entry| matches!(entry.key.as_str(), "plugs" | "slots");
        for entry in entries
            .iter()
            .filter(|entry| !matches!(entry.key.as_str(), "plugs" | "slots" | "apps" | "hooks" | "parts"))
        {
            self.top(entry, &mut map);
        }
        for entry in entries.iter().filter(is_plugs) {
            self.top(entry, &mut map);
        }
        for key in ["hooks", "apps", "parts"] {
            find(key).into_iter().for_each(|entry| self.top(entry, &mut map));
        }
        // A base stands on nothing.
        if map.get_mut("type") == Some(&mut Value::text("base")) {
            map.put("base", Value::text("none"));
        }
        if !map.has("base") {
            map.put("base", Value::text("host")).comment("The host's /usr, read-only.");
        }
        map
    }

    /// A version is written down; `git` and what a part would set are none.
    fn version(&mut self, entry: Option<&Entry>, map: &mut Map) {
        let is_fraction = entry.is_some_and(|entry| matches!(entry.value.content, Content::Fraction(_)));
        let fits = match map.get_mut("version") {
            Some(Value::Text(version)) => version != "git" && version.parse::<Version>().is_ok(),
            _ => false,
        };
        if !fits {
            map.put("version", Value::text("0.1")).comment("TODO: the version.");
            let instead = "write the version down, in each release; 0.1 stands there for now";
            match entry {
                // Its own note says the same.
                Some(entry) if entry.key == "adopt-info" => {}
                Some(entry) => self.note(entry.id, &entry.key, instead),
                None => self.note(0, "version", instead),
            }
        } else if let Some(entry) = entry.filter(|_| is_fraction) {
            self.note(
                entry.value.id,
                "version",
                "it is a number there, which may have lost a 0 at its end: look at it",
            );
        }
    }

    fn top(&mut self, entry: &Entry, map: &mut Map) {
        let key = entry.key.as_str();
        match key {
            "name" | "version" => {}
            "title" | "summary" | "description" | "license" => {
                let text = self.text(key, &entry.value);
                map.put(key, Value::text(text));
            }
            "website" | "contact" | "source-code" | "issues" | "donation" => {
                let all = self.texts(key, &entry.value);
                if all.len() > 1 {
                    self.note(entry.id, key, "one address stands here; the first was taken");
                }
                map.put_text(key, all.into_iter().next());
            }
            "base" => self.base(entry, map),
            "type" | "grade" | "confinement" | "epoch" => {
                let value = self.copy(key, &entry.value);
                match &value {
                    Value::Text(word) if instead_of_word(key, word).is_some() => {
                        self.note(entry.id, key, instead_of_word(key, word).unwrap_or_default());
                    }
                    _ => drop(map.put(key, value)),
                }
            }
            "architectures" | "platforms" => self.architectures(entry, map),
            "environment" => self.environment(entry, map),
            "layout" => self.layout(entry, map),
            "hooks" => self.hooks(entry, map),
            "plugs" | "slots" => self.plugs(entry, map),
            "apps" => self.apps(entry, map),
            "parts" => self.parts(entry, map),
            "icon" => self.note(entry.id, key, "name its path in the package: icon: usr/share/icons/…"),
            // A key of ours that snapcraft has as well would stand above.
            key if self.known.top.contains(key) && key != "compression" => {
                let value = self.copy(key, &entry.value);
                map.put(key, value);
            }
            _ => self.foreign(entry),
        }
    }

    fn base(&mut self, entry: &Entry, map: &mut Map) {
        let base = self.text("base", &entry.value);
        let (ours, instead) = match base.as_str() {
            "bare" => ("none", "it is called none"),
            _ => (
                "host",
                "the host's /usr takes its place; with `base: none`, stage-packages have to bring all libraries",
            ),
        };
        self.note(entry.id, "base", format!("{base}: {instead}"));
        map.put("base", Value::text(ours)).apart();
    }

    fn architectures(&mut self, entry: &Entry, map: &mut Map) {
        let mut wanted = BTreeSet::new();
        match &entry.value.content {
            Content::Map(platforms) => {
                for platform in platforms {
                    let targets =
                        member(&platform.value, "build-for").map(|node| self.texts("build-for", node));
                    wanted.extend(targets.unwrap_or_else(|| vec![platform.key.clone()]));
                }
            }
            Content::List(items) => {
                for item in items {
                    let target = member(item, "build-for")
                        .or(member(item, "run-on"))
                        .or(member(item, "build-on"))
                        .unwrap_or(item);
                    wanted.extend(self.texts("architectures", target));
                }
            }
            _ => wanted.extend(self.texts("architectures", &entry.value)),
        }
        let ours = |name: &String| matches!(name.as_str(), "amd64" | "arm64" | "all");
        let (known, other): (Vec<String>, Vec<String>) = wanted.into_iter().partition(ours);
        if !other.is_empty() {
            let other: Vec<String> = other.iter().map(|name| name.chars().take(40).collect()).collect();
            self.note(
                entry.id,
                &entry.key,
                format!("packages are for amd64 and arm64, or all; not for {}", other.join(", ")),
            );
        }
        map.put_some("architectures", Value::texts(known));
    }

    fn environment(&mut self, entry: &Entry, map: &mut Map) {
        let mut variables = Map::default();
        self.each(entry, |work, variable| {
            if matches!(variable.value.content, Content::List(_) | Content::Map(_)) {
                return work.note(variable.id, &variable.key, "it is no text");
            }
            let text = work.text(&variable.key, &variable.value);
            variables.put(variable.key.clone(), Value::text(text));
        });
        map.put_some("environment", Value::Map(variables));
    }

    fn layout(&mut self, entry: &Entry, map: &mut Map) {
        let mut places = Map::default();
        self.each(entry, |work, place| {
            let (target, _) = variables::rename(&place.key);
            if let Some(problem) = refusal(&target) {
                return work.note(place.id, &place.key, format!("the place {problem}"));
            }
            let mut shown = Map::default();
            work.each(place, |work, how| {
                let key = how.key.as_str();
                let text = work.text(key, &how.value);
                let problem = match key {
                    "type" => (text != "tmpfs").then(|| "it can be tmpfs alone".to_owned()),
                    "bind" | "bind-file" | "symlink" => OwnPath::try_from(text.clone()).err(),
                    _ => return work.foreign(how),
                };
                match problem {
                    Some(problem) => work.note(how.id, key, problem),
                    None => drop(shown.put(key, Value::text(text))),
                }
            });
            places.put_some(&target, Value::Map(shown));
        });
        if map.put_some("layout", Value::Map(places)).has("layout") {
            map.apart();
        }
    }

    fn hooks(&mut self, entry: &Entry, map: &mut Map) {
        const NAMES: [&str; 6] =
            ["install", "configure", "pre-refresh", "post-refresh", "remove", "check-health"];
        let mut hooks = Map::default();
        self.each(entry, |work, hook| {
            if !NAMES.contains(&hook.key.as_str()) {
                return work.note(hook.id, &hook.key, format!("hooks are: {}", NAMES.join(", ")));
            }
            let mut own = Map::default();
            if !matches!(hook.value.content, Content::Null) {
                work.each(hook, |work, key| match key.key.as_str() {
                    "plugs" => drop(own.put_some("plugs", Value::texts(work.plug_names(key)))),
                    "environment" => work.environment(key, &mut own),
                    _ => work.foreign(key),
                });
            }
            hooks.put(hook.key.clone(), Value::Map(own));
        });
        if !hooks.is_empty() {
            self.note(entry.id, "hooks", "this version of pack does not run them");
        }
        map.put_some("hooks", Value::Map(hooks));
    }

    /// Plugs or slots at the top: those of interfaces that there are.
    fn plugs(&mut self, entry: &Entry, map: &mut Map) {
        let mut plugs = Map::default();
        self.each(entry, |work, plug| {
            let interface = match &plug.value.content {
                Content::Text(interface) => interface.clone(),
                _ => member(&plug.value, "interface")
                    .map_or_else(|| plug.key.clone(), |node| work.text("interface", node)),
            };
            let provider =
                member(&plug.value, "default-provider").map(|node| work.text("default-provider", node));
            let of_snaps = |provider: &String| {
                ["gtk-common-themes", "gnome-", "kf5-", "kf6-", "mesa-", "core"]
                    .iter()
                    .any(|name| provider.starts_with(name))
            };
            if provider.as_ref().is_some_and(of_snaps) {
                return work.note(
                    plug.id,
                    &plug.key,
                    "themes and libraries are the host's, with `base: host`, or come from stage-packages",
                );
            }
            if !is_interface(&interface) {
                return work.note(plug.id, &plug.key, other_interface(&interface));
            }
            let value = work.copy(&plug.key, &plug.value);
            work.declared.insert(plug.key.clone());
            plugs.put(plug.key.clone(), value);
        });
        map.put_some(&entry.key, Value::Map(plugs));
    }

    /// The plugs or slots that an app names, without those of interfaces that there are not.
    fn plug_names(&mut self, entry: &Entry) -> Vec<String> {
        let names = self.texts(&entry.key, &entry.value);
        let is_known = |name: &String| is_interface(name) || self.declared.contains(name);
        let (known, other): (Vec<String>, Vec<String>) = names.into_iter().partition(is_known);
        for name in other {
            self.note(entry.id, &entry.key, other_interface(&name));
        }
        known
    }
}

/// Whether there is an interface of this name.
fn is_interface(name: &str) -> bool {
    name.parse::<Name>().is_ok_and(|name| matches!(interfaces::find(&name), Ok(Some(_))))
}

/// What to do instead of an interface that there is not.
fn other_interface(name: &str) -> String {
    let instead = match name {
        "desktop-legacy" => "desktop and accessibility take its place",
        "unity7" => "x11 and desktop take its place",
        "pulseaudio" | "alsa" => "audio-playback and audio-record take its place",
        "mount-control" | "fuse-support" => "fuse takes its place",
        "system-backup" => "system-files takes its place",
        "dot-minecraft" | "config-files" => "personal-files takes its place",
        _ => "`pack interfaces` lists what there is",
    };
    let name: String = name.chars().take(60).collect();
    format!("there is no interface {name}; {instead}")
}

/// The value of a key of a map.
fn member<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    match &node.content {
        Content::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
