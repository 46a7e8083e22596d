//! The project that a verb works on, and how what is wrong with its manifest is shown.

use std::path::Path;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use pack_builder::project::{MANIFEST_FILE, Project, ProjectError, WorkFolders};
use pack_schemas::manifest::ManifestError;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_file::shown;
use crate::terminal::visible;

/// Characters of a line that are shown before and after the place; a manifest may be one line of a megabyte.
const AROUND: usize = 60;

/// Opens the project in a folder.
pub fn open(folder: &Path, context: &Context) -> Result<Project, Failure> {
    Project::open(folder).map_err(|error| match error {
        ProjectError::Manifest { path, text, source } => manifest_failure(&path, &text, &source, context),
        ProjectError::NoManifest { folder } => no_manifest(&folder),
        other => failure(&other),
    })
}

/// Where builds of the project in a folder work, whatever its manifest says.
pub fn work_folders(folder: &Path) -> Result<WorkFolders, Failure> {
    match folder.join(MANIFEST_FILE).symlink_metadata() {
        Ok(_) => {
            // Below it nothing goes over links; on the way to it they may stand.
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
            Ok(WorkFolders::of(&folder))
        }
        Err(_) => Err(no_manifest(folder)),
    }
}

/// A failure of the project's folders.
pub fn failure(error: &ProjectError) -> Failure {
    let failure = Failure::new(error.to_string());
    match std::error::Error::source(error) {
        Some(cause) => failure.because(cause),
        None => failure,
    }
}

fn no_manifest(folder: &Path) -> Failure {
    let failure = Failure::new(format!("there is no {MANIFEST_FILE} in `{}`", shown(folder)));
    match ["snap/snapcraft.yaml", "snapcraft.yaml"].iter().find(|name| folder.join(name).is_file()) {
        Some(name) => failure.hint(format!("`pack init --from {name}` makes one of its {name}")),
        None => failure.hint("name the folder of a project, or make one of it with `pack init`"),
    }
}

/// What is wrong with a manifest, with its line.
pub fn manifest_failure(path: &Path, text: &[u8], error: &ManifestError, context: &Context) -> Failure {
    let name = shown(path);
    let snippet = snippet(&name, text, error, context.terminal.is_colored());
    let message = match snippet {
        Some(_) => error.message.clone(),
        None => format!("{name}:{}:{}: {}", error.line, error.column, error.message),
    };
    Failure { snippet, ..Failure::new(message).hint_from(error.hint.clone()) }
}

/// The line with the place marked; nothing where the place is past the end.
fn snippet(name: &str, text: &[u8], error: &ManifestError, colored: bool) -> Option<String> {
    let line = text.split(|byte| *byte == b'\n').nth(error.line - 1)?;
    let line: Vec<char> = String::from_utf8_lossy(line).chars().collect();
    let at = (error.column - 1).min(line.len());
    let end = (at + error.length).min(line.len());
    let piece = |from: usize, to: usize| visible(&line[from..to].iter().collect::<String>());
    let before = piece(at.saturating_sub(AROUND), at);
    let marked = piece(at, end);
    let after = piece(end, line.len().min(end + AROUND));
    // At the end of a line there is nothing to mark but a place.
    let source = format!("{before}{marked}{after} ");
    let span = before.len()..before.len() + marked.len().max(1);
    let annotation = AnnotationKind::Primary.span(span);
    let snippet = Snippet::source(&source).line_start(error.line).path(name).annotation(annotation);
    let renderer = if colored { Renderer::styled() } else { Renderer::plain() };
    let rendered = renderer.render(&[Group::with_level(Level::ERROR).element(snippet)]);
    Some(rendered.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"))
}
