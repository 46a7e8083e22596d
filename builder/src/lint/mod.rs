//! Looks at what goes into a package, or is in one: what the apps will miss, what leads out of the package, what was not
//! meant to be published, what costs room for nothing.
//!
//! | file | what is looked at |
//! |---|---|
//! | [`listing`] | (the files of a folder or an image, read without following a link) |
//! | `view` | (where a path leads inside the sandbox: package, base, or what the sandbox makes) |
//! | `elf`, `closure`, `host` | programs and libraries: what they need and whether it will be found |
//! | `scripts` | `#!` |
//! | `files`, `links` | modes, kinds, names; symbolic links |
//! | `secrets` | what nobody wants to publish |
//! | [`desktop`] | commands, desktop entries, icons: by the code that installs them |
//! | `metainfo` | AppStream files |
//! | `plugs` | what the manifest says of plugs |
//! | `texts` | what it says to people |
//! | `leftovers` | what costs room and is of no use when an app runs |
//! | `ignore` | `lint: {ignore: …}` of the manifest |
//!
//! A finding is about an object and says what is wrong and how it is mended. [`CHECKS`] lists what there is; ids are stable,
//! since manifests name them. What cannot be read or parsed is a finding as well: nothing in a tree makes this fail or
//! wait.

mod checks;
mod closure;
pub mod desktop;
mod elf;
mod files;
mod host;
mod ignore;
mod leftovers;
mod links;
pub mod listing;
mod metainfo;
mod plugs;
mod scripts;
mod search;
mod secrets;
mod texts;
mod view;

pub use checks::{CHECKS, Check};

use std::path::Path;

use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, PackageName};
use serde::Serialize;

use desktop::Exports;
use listing::Listing;
use view::View;

/// Most findings that are kept; a tree with more has one cause for most of them.
pub const FINDINGS_MOST: usize = 10_000;

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// An app will not work.
    Error,
    /// It is wrong, or dangerous, and may not be noticed.
    Warning,
    /// Somebody may want to know.
    Note,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// Which check found it.
    pub id: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// The path in the package, or the key of the manifest; what is not UTF-8 in it is replaced.
    pub object: String,
    /// What is wrong, as the rest of a sentence that begins with the object; safe to show.
    pub message: String,
    /// What to do about it; safe to show.
    pub hint: String,
    /// What it costs in bytes, uncompressed, where that is the matter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The path as it is, for globs.
    #[serde(skip)]
    path: Vec<u8>,
}

/// What is looked at.
pub struct Request<'a> {
    /// What the package says of itself.
    pub manifest: &'a Manifest,
    /// What its programs are made for.
    pub architecture: Architecture,
    /// Its files.
    pub files: &'a Listing,
    /// What they lie on.
    pub base: BaseFiles<'a>,
    /// What installing would make of it.
    pub exports: &'a dyn Exports,
}

/// What a package stands on, as far as it is at hand.
#[derive(Clone, Copy)]
pub enum BaseFiles<'a> {
    /// The host's /usr, below this folder.
    Host(&'a Path),
    /// Nothing.
    None,
    /// Another package.
    Package(&'a Listing),
    /// Another package, which is not here.
    Missing(&'a PackageName),
}

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The findings that the manifest does not ignore: gravest first, then by check and object.
    pub findings: Vec<Finding>,
    /// How many it ignores.
    pub ignored: usize,
    /// How many were found beyond [`FINDINGS_MOST`].
    pub left_out: usize,
}

impl Report {
    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// Turns warnings into errors.
    pub fn be_strict(&mut self) {
        for finding in &mut self.findings {
            if finding.severity == Severity::Warning {
                finding.severity = Severity::Error;
            }
        }
        // Among errors the order is that of the checks again.
        self.findings.sort_by(|a, b| order(a).cmp(&order(b)));
    }
}

fn order(finding: &Finding) -> (Severity, usize, &str) {
    let check = CHECKS.iter().position(|check| check.id == finding.id);
    (finding.severity, check.unwrap_or(usize::MAX), &finding.object)
}

/// Looks at everything.
pub fn lint(request: &Request<'_>) -> Report {
    let mut found = Findings::default();
    let view = View::new(request);
    files::look(request, &mut found);
    links::look(request, &view, &mut found);
    let objects = elf::read_all(request.files, &mut found);
    closure::look(request, &view, &objects, &mut found);
    scripts::look(request, &view, &mut found);
    secrets::look(request.files, &mut found);
    desktop::look(request, &mut found);
    metainfo::look(request, &mut found);
    plugs::look(request.manifest, &mut found);
    texts::look(request.manifest, &mut found);
    leftovers::look(request.files, &objects, &mut found);
    ignore::apply(&request.manifest.lint, &mut found);
    let Findings { mut list, ignored, left_out } = found;
    list.sort_by(|a, b| order(a).cmp(&order(b)));
    Report { findings: list, ignored, left_out }
}

/// What was found so far.
#[derive(Default)]
struct Findings {
    list: Vec<Finding>,
    ignored: usize,
    left_out: usize,
}

impl Findings {
    /// Adds a finding about a file.
    fn file(&mut self, check: &'static Check, path: &[u8], message: String, hint: impl Into<String>) {
        self.file_as(check.severity, check, path, message, hint);
    }

    /// Adds a finding that is graver, or less grave, than those of its check are mostly.
    fn file_as(
        &mut self,
        severity: Severity,
        check: &'static Check,
        path: &[u8],
        message: String,
        hint: impl Into<String>,
    ) {
        self.add(Finding {
            id: check.id,
            severity,
            object: String::from_utf8_lossy(path).into_owned(),
            message,
            hint: hint.into(),
            bytes: None,
            path: path.to_vec(),
        });
    }

    /// Adds a finding about a file that costs room.
    fn cost(&mut self, check: &'static Check, path: &[u8], bytes: u64, message: String, hint: &str) {
        self.file(check, path, message, hint);
        if let Some(last) = self.list.last_mut() {
            last.bytes = Some(bytes);
        }
    }

    fn add(&mut self, finding: Finding) {
        if self.list.len() < FINDINGS_MOST {
            self.list.push(finding);
        } else {
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

/// Nothing that runs reads manuals and copyright notices: what is wrong among them is of no matter.
fn is_documentation(path: &[u8]) -> bool {
    [&b"usr/share/doc/"[..], b"usr/share/man/", b"usr/share/lintian/", b"usr/share/bug/"]
        .iter()
        .any(|folder| path.starts_with(folder))
}

/// A size for people, in powers of 1000.
fn size_text(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..1_000_000 => format!("{} kB", bytes / 1000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes / 100_000 % 10),
    }
}

/// Bytes from a file as they are shown.
fn shown(bytes: &[u8]) -> String {
    const LONGEST: usize = 300;
    let text = String::from_utf8_lossy(bytes.get(..LONGEST).unwrap_or(bytes));
    let end = if bytes.len() > LONGEST { "…" } else { "" };
    pack_schemas::text::visible(&text) + end
}
