//! Parts of a `snapcraft.yaml`: most keys are the same; scripts get our names of variables.

use pack_schemas::manifest::instead_of_word;
use pack_schemas::manifest::tree::{Content, Entry};

use super::super::yaml::{Map, Value};
use super::Work;

/// Plugins that there are here, too.
const PLUGINS: &[&str] =
    &["dump", "nil", "make", "autotools", "cmake", "meson", "rust", "go", "python", "npm"];
/// Types of sources that there are here, too.
const SOURCE_TYPES: &[&str] = &["local", "tar", "zip", "deb", "git"];

impl Work {
    pub(super) fn parts(&mut self, entry: &Entry, map: &mut Map) {
        let mut parts = Map::default();
        self.each(entry, |work, part| {
            let mut own = Map::default();
            own.put("plugin", Value::text("nil"));
            work.each(part, |work, key| work.part_key(key, &mut own));
            parts.put(part.key.clone(), Value::Map(own));
        });
        if !parts.is_empty() {
            map.put("parts", Value::Map(parts)).apart();
        }
    }

    fn part_key(&mut self, entry: &Entry, part: &mut Map) {
        let key = entry.key.as_str();
        match key {
            "plugin" => {
                let plugin = self.text(key, &entry.value);
                if PLUGINS.contains(&plugin.as_str()) {
                    part.put(key, Value::text(plugin));
                } else {
                    let instead = instead_of_word(key, &plugin)
                        .unwrap_or("use `plugin: nil` and run the tool in override-build");
                    let plugin: String = plugin.chars().take(40).collect();
                    self.note(entry.id, key, format!("{plugin}: {instead}"));
                }
            }
            "source-type" => {
                let kind = self.text(key, &entry.value);
                if SOURCE_TYPES.contains(&kind.as_str()) {
                    part.put(key, Value::text(kind));
                } else {
                    self.note(entry.id, key, "there is no such source: fetch it in override-pull");
                }
            }
            "override-pull" | "override-build" | "override-stage" | "override-prime" => {
                let script = self.script(entry);
                part.put(key, Value::text(script));
            }
            "build-environment" => self.build_environment(entry, part),
            "organize" => {
                let mut renames = Map::default();
                self.each(entry, |work, rename| {
                    let target = match &rename.value.content {
                        Content::Text(text) => text.as_str(),
                        _ => "",
                    };
                    if rename.key.starts_with('(') || target.starts_with('(') {
                        return work.note(rename.id, &rename.key, "there are no partitions");
                    }
                    let to = work.text(&rename.key, &rename.value);
                    renames.put(rename.key.clone(), Value::text(to));
                });
                part.put_some(key, Value::Map(renames));
            }
            "permissions" => self.permissions(entry, part),
            "stage" | "prime" => {
                let (rules, other): (Vec<String>, Vec<String>) =
                    self.texts(key, &entry.value).into_iter().partition(|rule| !rule.starts_with(['$', '(']));
                if !other.is_empty() {
                    self.note(entry.id, key, "write the globs of a fileset; there are no partitions");
                }
                part.put_some(key, Value::texts(rules));
            }
            "rust-path" => {
                let paths: Vec<String> =
                    self.texts(key, &entry.value).into_iter().filter(|path| path != ".").collect();
                part.put_some(key, Value::texts(paths));
            }
            "after" => {
                let texts = self.texts(key, &entry.value);
                part.put_some(key, Value::texts(texts));
            }
            "build-packages" | "stage-packages" => {
                let mut names = self.texts(key, &entry.value);
                for name in &mut names {
                    if let Some((plain, _)) = name.split_once([':', '=', '/']) {
                        let plain = plain.to_owned();
                        let shown: String = name.chars().take(60).collect();
                        self.note(
                            entry.id,
                            key,
                            format!("{shown}: no architecture or version can be picked"),
                        );
                        *name = plain;
                    }
                }
                part.put_some(key, Value::texts(names));
            }
            "source" => {
                let source = self.text(key, &entry.value);
                if source.is_empty() {
                    return self.note(entry.id, key, "it is empty: leave it out");
                }
                if source.contains("://") && !source.ends_with(".git") {
                    self.note(
                        entry.id,
                        key,
                        "an archive that is fetched needs a `source-checksum: sha256/…`",
                    );
                }
                part.put(key, Value::text(source));
            }
            key if self.known.part.contains(key) => {
                let value = self.copy(key, &entry.value);
                part.put(key, value);
            }
            _ => self.foreign(entry),
        }
    }

    fn script(&mut self, entry: &Entry) -> String {
        let mut script = self.text(&entry.key, &entry.value);
        for (theirs, ours) in [
            ("snapcraftctl build", "craftctl default"),
            ("snapcraftctl pull", "craftctl default"),
            ("snapcraftctl stage", "craftctl default"),
            ("snapcraftctl prime", "craftctl default"),
        ] {
            script = script.replace(theirs, ours);
        }
        for call in ["craftctl set", "craftctl get", "snapcraftctl set-version", "snapcraftctl set-grade"] {
            if script.contains(call) {
                self.note(
                    entry.id,
                    &entry.key,
                    format!("take `{call}` out of the script, and write the value down"),
                );
            }
        }
        script
    }

    /// A map, or a list of maps of one variable each.
    fn build_environment(&mut self, entry: &Entry, part: &mut Map) {
        let mut variables = Map::default();
        let items = match &entry.value.content {
            Content::List(items) => items.as_slice(),
            _ => std::slice::from_ref(&entry.value),
        };
        for item in items {
            let Content::Map(members) = &item.content else {
                self.note(item.id, &entry.key, "it is no map of variables");
                continue;
            };
            for variable in members {
                if matches!(variable.value.content, Content::Map(_) | Content::List(_)) {
                    self.note(variable.id, &entry.key, "what depends on the architecture is not told apart");
                } else {
                    let text = self.text(&entry.key, &variable.value);
                    variables.put(variable.key.clone(), Value::text(text));
                }
            }
        }
        part.put_some(&entry.key, Value::Map(variables));
    }

    /// A package keeps modes, and no owners.
    fn permissions(&mut self, entry: &Entry, part: &mut Map) {
        let Content::List(rules) = &entry.value.content else {
            return self.note(entry.id, &entry.key, "it is no list");
        };
        let mut list = Vec::new();
        for rule in rules {
            let Content::Map(keys) = &rule.content else { continue };
            let mut own = Map::default();
            for key in keys {
                match key.key.as_str() {
                    "path" | "mode" => {
                        let text = self.text(&key.key, &key.value);
                        own.put(key.key.clone(), Value::text(text));
                    }
                    _ => self.note(key.id, &key.key, "a package's files belong to nobody"),
                }
            }
            if own.has("mode") {
                list.push(Value::Map(own));
            }
        }
        part.put_some(&entry.key, Value::List(list));
    }
}
