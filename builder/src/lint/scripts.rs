//! Scripts: the program after `#!` has to be there, and the one that env(1) starts as well.

use std::collections::{BTreeMap, BTreeSet};

use super::checks::{SCRIPT_INTERPRETER_MISSING, SCRIPT_INTERPRETER_OF_HOST};
use super::listing::{Entry, Listing};
use super::search::Search;
use super::view::{Place, View};
use super::{BaseFiles, Findings, Request, Severity, is_documentation, shown};

/// What the kernel reads of a `#!` line (binfmt_script(5), BINPRM_BUF_SIZE).
const LINE_LIMIT: usize = 256;
/// What every host has (Debian's essential packages; POSIX where there is none).
const EVERYWHERE: &[&[u8]] = &[b"sh", b"bash", b"dash", b"env", b"awk", b"sed", b"perl"];

pub(super) fn look(request: &Request<'_>, view: &View<'_>, found: &mut Findings) {
    let search = Search::new(request, view);
    let mut of_host: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    let scripts = request.files.entries().iter().filter(|entry| entry.is_executable());
    for entry in scripts.filter(|entry| !is_documentation(&entry.path)) {
        let Some(line) = first_line(request.files, entry) else { continue };
        let Some((program, place)) = program(&line, view, &search) else { continue };
        match place {
            Place::Missing | Place::Folder => missing(request, view, entry, &program, found),
            Place::Base(_) if matches!(view.base(), BaseFiles::Host(_)) && !is_everywhere(&program) => {
                of_host.entry(program).or_default().insert(entry.path.to_vec());
            }
            _ => {}
        }
    }
    for (program, scripts) in of_host {
        let first: Vec<String> = scripts.iter().take(3).map(|path| format!("`{}`", shown(path))).collect();
        let more = if scripts.len() > 3 { format!(" and {} more", scripts.len() - 3) } else { String::new() };
        let message = format!("is the interpreter of {}{more}, and is only the host's", first.join(", "));
        let hint = "put it into the package, and the app does not depend on what the host has";
        found.file(SCRIPT_INTERPRETER_OF_HOST, &program, message, hint);
    }
}

fn is_everywhere(program: &[u8]) -> bool {
    let name = program.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    EVERYWHERE.contains(&name)
}

fn first_line(files: &Listing, entry: &Entry) -> Option<Vec<u8>> {
    // What cannot be read is told where files are looked at.
    let start = files.read(entry, LINE_LIMIT).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    Some(line.trim_ascii().to_vec())
}

/// The interpreter of a line, or the program that it asks env for, and where it leads.
fn program<'a>(line: &[u8], view: &View<'a>, search: &Search) -> Option<(Vec<u8>, Place<'a>)> {
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    let interpreter = words.next()?;
    if !interpreter.starts_with(b"/") {
        // The kernel looks for it from the working folder.
        return Some((interpreter.to_vec(), Place::Missing));
    }
    let place = view.resolve(interpreter);
    let is_env = interpreter.ends_with(b"/env");
    if !is_env || matches!(place, Place::Missing | Place::Unknown) {
        return Some((interpreter.to_vec(), place));
    }
    let name = words.find(|word| !word.starts_with(b"-") && !word.contains(&b'='))?;
    if name.contains(&b'/') {
        return Some((name.to_vec(), view.resolve(name)));
    }
    let mut at = Place::Missing;
    for folder in &search.programs {
        match view.resolve(&[folder, &b"/"[..], name].concat()) {
            Place::Missing | Place::Folder => {}
            Place::Unknown => at = Place::Unknown,
            place => return Some((name.to_vec(), place)),
        }
    }
    Some((name.to_vec(), at))
}

fn missing(request: &Request<'_>, view: &View<'_>, entry: &Entry, program: &[u8], found: &mut Findings) {
    let place = match view.base() {
        BaseFiles::None => "not in the package, which has no base",
        BaseFiles::Host(_) => "neither in the package nor on this host",
        _ => "neither in the package nor in its base",
    };
    let message = format!("is a script for `{}`, which is {place}", shown(program));
    let is_command =
        request.manifest.apps.values().any(|app| app.command.as_str().as_bytes() == &*entry.path);
    let severity = if is_command { Severity::Error } else { SCRIPT_INTERPRETER_MISSING.severity };
    let hint = "stage the package that has the interpreter, or write another one after #!";
    found.file_as(severity, SCRIPT_INTERPRETER_MISSING, &entry.path, message, hint);
}
