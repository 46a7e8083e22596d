//! `pack init`: the first `pack.yaml` of a project.
//!
//! 1. [`Suggestion::of`] looks at the folder: its kind ([`detect`]), what its own files say, a desktop entry and metainfo ([`desktop`]).
//! 2. Who calls may change it (a person is asked for name and summary).
//! 3. [`Suggestion::text`] makes the file's text: what cannot stand in a manifest is left out or made fit, so that the
//!    text is one that `pack build` reads.
//! 4. [`create`] writes it where there is none, in one step.
//!
//! [`snapcraft`] makes the text from a `snapcraft.yaml` instead.

mod desktop;
pub mod detect;
pub mod snapcraft;
mod yaml;

use std::io::{self, Write};
use std::path::Path;

use pack_schemas::manifest::Manifest;
use pack_schemas::names::{PackageName, Version};

use crate::draft::{Draft, Existing};
use crate::project::MANIFEST_FILE;
use detect::Kind;
use yaml::{Map, Value};

/// What a manifest may say of a project. Nothing of it is checked.
#[derive(Debug, Clone)]
pub struct Suggestion {
    /// The kind of project.
    pub kind: Kind,
    /// The file that tells it.
    pub mark: Option<&'static str>,
    /// Its name, as the project writes it.
    pub name: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// Name for people.
    pub title: Option<String>,
    /// One line.
    pub summary: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Its home page.
    pub website: Option<String>,
    /// Where its source is.
    pub source_code: Option<String>,
    /// Where faults are reported.
    pub issues: Option<String>,
    /// Where money is given.
    pub donation: Option<String>,
    /// The name of its program.
    pub program: Option<String>,
    /// The name of its desktop entry.
    pub desktop: Option<String>,
    /// Its id in AppStream.
    pub common_id: Option<String>,
    /// Whether its desktop entry is of a program in a terminal.
    pub is_in_terminal: bool,
    /// The member of a Cargo workspace with the program.
    pub rust_path: Option<String>,
    /// The name of the project's folder.
    folder_name: String,
}

impl Suggestion {
    /// Looks at a project.
    pub fn of(folder: &Path) -> Suggestion {
        let (kind, mark) = detect::kind(folder);
        let folder_name = folder.canonicalize().ok();
        let folder_name =
            folder_name.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let mut found = Suggestion {
            kind,
            mark,
            name: None,
            version: None,
            title: None,
            summary: None,
            license: None,
            website: None,
            source_code: None,
            issues: None,
            donation: None,
            program: None,
            desktop: None,
            common_id: None,
            is_in_terminal: false,
            rust_path: None,
            folder_name: folder_name.unwrap_or_default(),
        };
        detect::fill(folder, mark, kind, &mut found);
        desktop::fill(folder, &mut found);
        found
    }

    /// A name that a package can have.
    pub fn package_name(&self) -> PackageName {
        let names = [self.name.as_deref(), self.program.as_deref(), Some(&self.folder_name), Some("my-app")];
        let first = names.into_iter().flatten().find_map(|name| package_name(name).parse().ok());
        first.expect("my-app is a name")
    }

    /// A summary that a package can have.
    pub fn package_summary(&self) -> Option<String> {
        line(self.summary.as_deref()?, 78)
    }

    /// What is still to be done in the project's folder before it can be built, as sentences.
    pub fn to_do(&self, folder: &Path) -> Vec<String> {
        let is_there = |name: &str| folder.join(name).symlink_metadata().is_ok();
        match self.kind {
            Kind::Files => {
                let program = format!("files/bin/{}", self.program_name(&self.package_name()));
                let put = format!(
                    "put the program at `{program}`, with the permission to be executed (`chmod +x`)"
                );
                if is_there(&program) { Vec::new() } else { vec![put] }
            }
            Kind::Rust if !is_there("Cargo.lock") => {
                vec!["make the `Cargo.lock` that a build goes by: `cargo generate-lockfile`".to_owned()]
            }
            Kind::Npm if !is_there("package-lock.json") && !is_there("npm-shrinkwrap.json") => vec![
                "make the `package-lock.json` that a build goes by: `npm install --package-lock-only`"
                    .to_owned(),
            ],
            _ => Vec::new(),
        }
    }

    /// The name of the program that becomes the app.
    fn program_name<'a>(&'a self, name: &'a PackageName) -> &'a str {
        self.program.as_deref().filter(|program| is_file_name(program)).unwrap_or(name.as_str())
    }

    /// The manifest's text.
    pub fn text(&self) -> String {
        let name = self.package_name();
        let mut root = Map::default();
        root.put("name", Value::text(name.as_str()));
        match self.version.as_deref().map(str::trim).filter(|version| version.parse::<Version>().is_ok()) {
            Some(version) => root.put("version", Value::text(version)),
            None => root
                .put("version", Value::text("0.1"))
                .comment("Not found in the project: write it here for each release."),
        };
        self.put_metadata(&mut root);
        root.put("base", Value::text("host"))
            .apart()
            .comment("The host's /usr, read-only; `none` brings everything along, and runs everywhere.");
        self.put_app(&mut root, &name);
        self.put_part(&mut root, &name);
        settle(&mut root)
    }

    fn put_metadata(&self, root: &mut Map) {
        root.put_text("title", self.title.as_deref().and_then(|title| line(title, 40)));
        match self.package_summary() {
            Some(summary) => root.put("summary", Value::text(summary)),
            None => root
                .put("summary", Value::text("TODO: what it is, in one line"))
                .comment("At most 78 characters."),
        };
        for (key, value) in [
            ("license", &self.license),
            ("website", &self.website),
            ("source-code", &self.source_code),
            ("issues", &self.issues),
            ("donation", &self.donation),
        ] {
            root.put_text(key, value.as_deref().and_then(|value| line(value, 256)));
        }
    }

    /// The app: its command is where the plugin installs the program.
    fn put_app(&self, root: &mut Map, name: &PackageName) {
        let program = self.program_name(name);
        let folder = match self.kind {
            Kind::Cmake | Kind::Meson | Kind::Autotools | Kind::Make => "usr/bin",
            Kind::Rust | Kind::Go | Kind::Python | Kind::Npm | Kind::Files => "bin",
        };
        let mut app = Map::default();
        app.put("command", Value::text(format!("{folder}/{program}")))
            .comment("Where the part below installs the program.");
        if let Some(desktop) = self.desktop.as_deref().filter(|desktop| is_file_name(desktop)) {
            app.put("desktop", Value::text(format!("usr/share/applications/{desktop}")));
            app.put_text("common-id", self.common_id.as_deref());
        }
        let plugs: &[&str] = match (&self.desktop, self.is_in_terminal) {
            (Some(_), false) => &["wayland", "fallback-x11", "opengl", "desktop", "audio-playback"],
            _ => &[],
        };
        let line =
            "What it may do; `pack run --learn NAME` tells what it misses, `pack interfaces` what there is.";
        app.put("plugs", Value::texts(plugs.iter().copied())).comment(line);
        let mut apps = Map::default();
        apps.put(name.as_str(), Value::Map(app));
        root.put("apps", Value::Map(apps)).apart();
    }

    fn put_part(&self, root: &mut Map, name: &PackageName) {
        let mut part = Map::default();
        let plugin = match self.kind {
            Kind::Rust => "rust",
            Kind::Go => "go",
            Kind::Python => "python",
            Kind::Npm => "npm",
            Kind::Cmake => "cmake",
            Kind::Meson => "meson",
            Kind::Autotools => "autotools",
            Kind::Make => "make",
            Kind::Files => "dump",
        };
        part.put("plugin", Value::text(plugin));
        match (self.kind, self.mark) {
            (Kind::Files, _) => part.comment("Copies the files of the source as they are."),
            (_, Some(mark)) => part.comment(format!("For {mark}.")),
            (_, None) => &mut part,
        };
        let source = if self.kind == Kind::Files { "files" } else { "." };
        part.put("source", Value::text(source));
        if self.kind == Kind::Files {
            part.comment(format!("A folder of the project: files/bin/{name} becomes the command above."));
        }
        let option = match self.kind {
            Kind::Make => Some(("make-parameters", vec!["PREFIX=/usr".to_owned()])),
            Kind::Python if self.mark == Some("requirements.txt") => {
                Some(("python-requirements", vec!["requirements.txt".to_owned()]))
            }
            Kind::Rust => self.rust_path.clone().map(|path| ("rust-path", vec![path])),
            _ => None,
        };
        if let Some((key, values)) = option {
            part.put(key, Value::texts(values));
        }
        let mut parts = Map::default();
        parts.put(name.as_str(), Value::Map(part));
        root.put("parts", Value::Map(parts)).apart();
    }
}

/// Leaves out what a manifest cannot have (an address that is none, a licence that is no expression), until it is one; what
/// matters is made fit before.
fn settle(root: &mut Map) -> String {
    let mut text = yaml::write(root);
    for key in ["license", "website", "source-code", "issues", "donation", "title"] {
        let Err(error) = Manifest::from_yaml(text.as_bytes()) else { break };
        if error.message.contains(&format!("`{key}`")) {
            root.remove(key);
            text = yaml::write(root);
        }
    }
    if Manifest::from_yaml(text.as_bytes()).is_err() && root.remove_in("apps", "common-id") {
        text = yaml::write(root);
    }
    text
}

/// A name as a package name: small letters, digits and single dashes.
fn package_name(text: &str) -> String {
    let text: String = text.chars().take(200).collect::<String>().to_ascii_lowercase();
    let words =
        text.split(|c: char| !c.is_ascii_lowercase() && !c.is_ascii_digit()).filter(|word| !word.is_empty());
    let mut name = String::new();
    for word in words {
        let dash = usize::from(!name.is_empty());
        if name.len() + dash + word.len() > 40 {
            break;
        }
        name.push_str(if dash == 1 { "-" } else { "" });
        name.push_str(word);
    }
    name
}

/// The first line of a text, of at most so many characters and without control characters.
fn line(text: &str, most: usize) -> Option<String> {
    let plain = |c: char| !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}');
    let words: Vec<&str> = text.trim().lines().next()?.split_whitespace().collect();
    let text: String = words.join(" ").chars().filter(|c| plain(*c)).take(most).collect();
    let text = text.trim().trim_end_matches('.').trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

fn is_file_name(text: &str) -> bool {
    let of_name = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    !text.is_empty() && text.len() <= 100 && text.chars().all(of_name) && !text.starts_with(['.', '-'])
}

/// Writes a project's manifest, whole or not at all, and never over one that is there.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where there is one, and the system's.
pub fn create(folder: &Path, text: &str) -> io::Result<()> {
    let draft = Draft::new(&folder.join(MANIFEST_FILE), 0o666)?;
    draft.file().write_all(text.as_bytes())?;
    draft.publish(Existing::Keep)
}

#[cfg(test)]
mod tests;
