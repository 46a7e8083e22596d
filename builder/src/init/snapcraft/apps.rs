//! Apps of a `snapcraft.yaml`: the command apart from its arguments, and what extensions would add.

use pack_schemas::manifest::RelativePath;
use pack_schemas::manifest::tree::{Entry, Node};

use super::super::yaml::{Map, Value};
use super::{Work, member, variables};

/// What the extensions for windows connect an app to.
const OF_WINDOWS: &[&str] = &["desktop", "gsettings", "opengl", "wayland", "x11"];

impl Work {
    pub(super) fn apps(&mut self, entry: &Entry, map: &mut Map) {
        let mut apps = Map::default();
        self.each(entry, |work, app| {
            let mut own = Map::default();
            if let Some(command) = member(&app.value, "command") {
                work.path.push(app.key.clone());
                work.command(command, &mut own);
                work.path.pop();
            }
            let mut extended = Vec::new();
            work.each(app, |work, key| match key.key.as_str() {
                "extensions" => extended = work.extensions(key),
                _ => work.app_key(key, &mut own),
            });
            if !extended.is_empty() {
                let mut plugs: Vec<Value> = match own.get_mut("plugs") {
                    Some(Value::List(plugs)) => std::mem::take(plugs),
                    _ => Vec::new(),
                };
                plugs.extend(
                    extended
                        .into_iter()
                        .map(Value::text)
                        .filter(|plug| !plugs.contains(plug))
                        .collect::<Vec<_>>(),
                );
                own.put("plugs", Value::List(plugs));
            }
            apps.put(app.key.clone(), Value::Map(own));
        });
        if !apps.is_empty() {
            map.put("apps", Value::Map(apps)).apart();
        }
    }

    /// One line of snapcraft's is a program and arguments here.
    fn command(&mut self, node: &Node, app: &mut Map) {
        let text = self.text("command", node);
        let mut words = variables::words(&text).into_iter();
        let program = in_package(&words.next().unwrap_or_default());
        if RelativePath::try_from(program.clone()).is_err() {
            self.note(node.id, "command", "it has to begin with a path in the package");
        }
        app.put("command", Value::text(program));
        let arguments: Vec<String> = words.collect();
        if arguments.iter().any(|argument| argument.contains('$')) {
            self.note(
                node.id,
                "command",
                "variables in arguments are not replaced: put the command into a script of the package",
            );
        }
        app.put_some("args", Value::texts(arguments));
    }

    fn app_key(&mut self, entry: &Entry, app: &mut Map) {
        let key = entry.key.as_str();
        match key {
            "command" => {}
            "command-chain" => {
                let programs: Vec<String> =
                    self.texts(key, &entry.value).iter().map(|program| in_package(program)).collect();
                let (of_snapcraft, own): (Vec<String>, Vec<String>) =
                    programs.into_iter().partition(|program| program.starts_with("snap/command-chain/"));
                if !of_snapcraft.is_empty() {
                    self.note(
                        entry.id,
                        key,
                        format!(
                            "{} is snapcraft's",
                            of_snapcraft.join(", ").chars().take(80).collect::<String>()
                        ),
                    );
                }
                app.put_some(key, Value::texts(own));
            }
            "plugs" | "slots" => {
                let names = self.plug_names(entry);
                app.put_some(key, Value::texts(names));
            }
            "environment" => self.environment(entry, app),
            "desktop" => {
                let path = in_package(&self.text(key, &entry.value));
                if path.starts_with("snap/") {
                    self.note(
                        entry.id,
                        key,
                        "files of snap/gui are not put into a package: let a part put the entry there",
                    );
                }
                app.put(key, Value::text(path));
            }
            "stop-command" | "reload-command" | "post-stop-command" => {
                let words = variables::words(&self.text(key, &entry.value));
                let text = words
                    .iter()
                    .enumerate()
                    .map(|(at, word)| if at == 0 { in_package(word) } else { word.clone() });
                app.put(key, Value::text(text.collect::<Vec<_>>().join(" ")));
            }
            "sockets" => self.sockets(entry, app),
            "aliases" | "after" | "before" => {
                let texts = self.texts(key, &entry.value);
                app.put_some(key, Value::texts(texts));
            }
            key if self.known.app.contains(key) => {
                let value = self.copy(key, &entry.value);
                app.put(key, value);
                if key == "daemon" {
                    self.note(
                        entry.id,
                        key,
                        "this version of pack starts no services; `pack run` starts one by hand",
                    );
                }
            }
            _ => self.foreign(entry),
        }
    }

    fn sockets(&mut self, entry: &Entry, app: &mut Map) {
        let mut sockets = Map::default();
        self.each(entry, |work, socket| {
            let mut own = Map::default();
            work.each(socket, |work, key| match (key.key.as_str(), &key.value.content) {
                // A number is what its octal digits were.
                ("socket-mode", pack_schemas::manifest::tree::Content::Unsigned(mode)) => {
                    own.put("socket-mode", Value::text(format!("{mode:04o}")));
                }
                (name @ ("listen-stream" | "socket-mode"), _) => {
                    let value = work.copy(name, &key.value);
                    own.put(name, value);
                }
                _ => work.foreign(key),
            });
            sockets.put(socket.key.clone(), Value::Map(own));
        });
        app.put_some("sockets", Value::Map(sockets));
    }

    /// The plugs that extensions add, with a note of what else they would do.
    fn extensions(&mut self, entry: &Entry) -> Vec<&'static str> {
        let mut plugs = Vec::new();
        for name in self.texts("extensions", &entry.value) {
            let shown: String = name.chars().take(40).collect();
            let is_of = |start: &str| name.starts_with(start);
            let instead = match () {
                () if is_of("gnome") || is_of("kde-neon") || is_of("flutter") => {
                    plugs = OF_WINDOWS.to_vec();
                    format!(
                        "{shown}: its plugs are added; GTK or Qt and themes are the host's, with `base: host`, or come from stage-packages"
                    )
                }
                () if is_of("env-injector") => format!("{shown}: write the variables under environment"),
                () => format!("{shown}: what it would add comes from stage-packages and plugs"),
            };
            self.note(entry.id, "extensions", instead);
        }
        plugs
    }
}

/// A path in the package, without the variable that names its root.
fn in_package(path: &str) -> String {
    ["$PACK/", "${PACK}/", "./"].iter().find_map(|root| path.strip_prefix(root)).unwrap_or(path).to_owned()
}
