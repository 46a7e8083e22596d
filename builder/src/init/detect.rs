//! What kind of project a folder is, and what its own files say of name, version, summary, licence and command.
//!
//! Files are read as far as [`READ_LIMIT`], if they are regular files; what cannot be read or understood says nothing. What is read is a
//! suggestion for a person to look at, and checked like everything else in a manifest.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use super::Suggestion;

/// Most bytes read of a file.
const READ_LIMIT: u64 = 1 << 20;

/// A kind of project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cargo.
    Rust,
    /// Go modules.
    Go,
    /// Python, by pip.
    Python,
    /// Node.js, by npm.
    Npm,
    /// CMake.
    Cmake,
    /// Meson.
    Meson,
    /// configure and make.
    Autotools,
    /// make.
    Make,
    /// None that is known: files as they are.
    Files,
}

/// Which files tell a kind; the first that is there counts.
const MARKS: &[(&str, Kind)] = &[
    ("Cargo.toml", Kind::Rust),
    ("go.mod", Kind::Go),
    ("pyproject.toml", Kind::Python),
    ("setup.py", Kind::Python),
    ("setup.cfg", Kind::Python),
    ("package.json", Kind::Npm),
    ("meson.build", Kind::Meson),
    ("CMakeLists.txt", Kind::Cmake),
    ("configure.ac", Kind::Autotools),
    ("configure.in", Kind::Autotools),
    ("configure", Kind::Autotools),
    ("requirements.txt", Kind::Python),
    ("GNUmakefile", Kind::Make),
    ("Makefile", Kind::Make),
    ("makefile", Kind::Make),
];

/// The kind of a project, and the file that tells it.
pub(super) fn kind(folder: &Path) -> (Kind, Option<&'static str>) {
    let is_there = |name: &str| folder.join(name).metadata().is_ok_and(|found| found.is_file());
    match MARKS.iter().find(|(name, _)| is_there(name)) {
        Some((name, kind)) => (*kind, Some(name)),
        None => (Kind::Files, None),
    }
}

/// Fills in what the project's own files say.
pub(super) fn fill(folder: &Path, mark: Option<&str>, kind: Kind, found: &mut Suggestion) {
    let text = |name: &str| read(folder, name).unwrap_or_default();
    match (kind, mark) {
        (Kind::Rust, _) => cargo(&text("Cargo.toml"), folder, found),
        (Kind::Go, _) => go(&text("go.mod"), found),
        (Kind::Python, Some("pyproject.toml")) => pyproject(&text("pyproject.toml"), found),
        (Kind::Python, Some("setup.cfg")) => setup_cfg(&text("setup.cfg"), found),
        (Kind::Python, Some("setup.py")) => call(&text("setup.py"), "setup", found),
        (Kind::Npm, _) => npm(&text("package.json"), found),
        (Kind::Meson, _) => call(&text("meson.build"), "project", found),
        (Kind::Cmake, _) => cmake(&text("CMakeLists.txt"), found),
        (Kind::Autotools, Some(mark @ ("configure.ac" | "configure.in"))) => autoconf(&text(mark), found),
        _ => {}
    }
}

/// The beginning of a regular file of the project.
pub(super) fn read(folder: &Path, name: &str) -> Option<String> {
    let path = folder.join(name);
    // A FIFO would make the opening wait.
    if !fs::metadata(&path).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(&path).ok()?.take(READ_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn set(field: &mut Option<String>, value: Option<&str>) {
    if field.is_none()
        && let Some(value) = value.map(str::trim).filter(|value| !value.is_empty())
    {
        *field = Some(value.to_owned());
    }
}

fn cargo(text: &str, folder: &Path, found: &mut Suggestion) {
    let Ok(table) = text.parse::<toml::Table>() else { return };
    let empty = toml::Table::new();
    let mut package = table.get("package").and_then(toml::Value::as_table).unwrap_or(&empty);
    let workspace = table.get("workspace").and_then(toml::Value::as_table);
    let shared = workspace.and_then(|workspace| workspace.get("package")).and_then(toml::Value::as_table);
    // A workspace without a package of its own has its program in the first member that has one.
    let member =
        workspace.filter(|_| package.is_empty()).and_then(|workspace| first_member(workspace, folder));
    if let Some((path, member)) = &member {
        found.rust_path = Some(path.clone());
        package = member.get("package").and_then(toml::Value::as_table).unwrap_or(&empty);
    }
    let string = |key: &str| {
        let inherited = package.get(key).and_then(toml::Value::as_table).is_some();
        let table = if inherited { shared.unwrap_or(&empty) } else { package };
        table.get(key).and_then(toml::Value::as_str)
    };
    set(&mut found.name, string("name"));
    set(&mut found.version, string("version"));
    set(&mut found.summary, string("description"));
    set(&mut found.license, string("license"));
    set(&mut found.website, string("homepage"));
    set(&mut found.source_code, string("repository"));
    let table = member.as_ref().map_or(&table, |(_, member)| member);
    let bins = table.get("bin").and_then(toml::Value::as_array);
    let bin =
        bins.and_then(|bins| bins.first()).and_then(|bin| bin.get("name")).and_then(toml::Value::as_str);
    set(&mut found.program, bin.or(string("name")));
}

fn first_member(workspace: &toml::Table, folder: &Path) -> Option<(String, toml::Table)> {
    let members = workspace.get("members")?.as_array()?;
    let names = members
        .iter()
        .take(64)
        .filter_map(toml::Value::as_str)
        .filter(|name| !name.contains(['*', '?', '[']));
    names
        .filter(|name| !name.starts_with('/') && !name.split('/').any(|part| matches!(part, "" | "." | "..")))
        .find_map(|name| {
            let table = read(folder, &format!("{name}/Cargo.toml"))?.parse::<toml::Table>().ok()?;
            let has_program = table.contains_key("bin") || folder.join(name).join("src/main.rs").is_file();
            has_program.then(|| (name.to_owned(), table))
        })
}

fn go(text: &str, found: &mut Suggestion) {
    let module = text.lines().find_map(|line| line.trim().strip_prefix("module "));
    let Some(module) = module.and_then(|module| module.split_whitespace().next()) else { return };
    let module = module.trim_matches('"');
    let is_version =
        |part: &&str| part.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()));
    let name = module.rsplit('/').find(|part| !is_version(part) && !part.is_empty());
    set(&mut found.name, name);
    set(&mut found.program, name);
    if module.starts_with("github.com/") || module.starts_with("gitlab.com/") {
        let address: Vec<&str> = module.split('/').take(3).collect();
        set(&mut found.source_code, Some(&format!("https://{}", address.join("/"))));
    }
}

fn pyproject(text: &str, found: &mut Suggestion) {
    let Ok(table) = text.parse::<toml::Table>() else { return };
    let at = |path: &[&str]| {
        let first = table.get(*path.first()?)?;
        path[1..].iter().try_fold(first, |value, key| value.get(key))
    };
    for root in [&["project"][..], &["tool", "poetry"]] {
        let Some(project) = at(root) else { continue };
        let string = |key: &str| project.get(key).and_then(toml::Value::as_str);
        set(&mut found.name, string("name"));
        set(&mut found.version, string("version"));
        set(&mut found.summary, string("description"));
        let license = project.get("license");
        let text = license.and_then(|license| license.get("text")).and_then(toml::Value::as_str);
        set(&mut found.license, string("license").or(text));
        set(&mut found.website, string("homepage"));
        let urls = project.get("urls").and_then(toml::Value::as_table);
        for (key, address) in urls.into_iter().flatten() {
            let field = match key.to_ascii_lowercase().as_str() {
                "homepage" => &mut found.website,
                "source" | "repository" | "source code" | "github" => &mut found.source_code,
                "issues" | "bug tracker" | "tracker" | "bugs" => &mut found.issues,
                _ => continue,
            };
            set(field, address.as_str());
        }
        let scripts = project.get("scripts").and_then(toml::Value::as_table);
        set(&mut found.program, scripts.and_then(|scripts| scripts.keys().next()).map(String::as_str));
    }
}

fn setup_cfg(text: &str, found: &mut Suggestion) {
    let mut section = "";
    for line in text.lines() {
        if line.starts_with('[') {
            section = line.trim();
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| section == "[metadata]" && !line.starts_with(' '))
        {
            let field = match key.trim() {
                "name" => &mut found.name,
                "version" => &mut found.version,
                "description" => &mut found.summary,
                "license" => &mut found.license,
                "url" => &mut found.website,
                _ => continue,
            };
            set(field, Some(value));
        } else if section == "[options.entry_points]" && line.starts_with(' ') {
            set(&mut found.program, line.split_once('=').map(|(name, _)| name));
        }
    }
}

fn npm(text: &str, found: &mut Suggestion) {
    let Ok(package) = serde_json::from_str::<serde_json::Value>(text) else { return };
    let string = |key: &str| package.get(key).and_then(serde_json::Value::as_str);
    // A scope is no part of a command.
    let name = string("name").map(|name| name.rsplit('/').next().unwrap_or(name));
    set(&mut found.name, name);
    set(&mut found.version, string("version"));
    set(&mut found.summary, string("description"));
    set(&mut found.license, string("license"));
    set(&mut found.website, string("homepage"));
    let bin = package.get("bin");
    let first =
        bin.and_then(serde_json::Value::as_object).and_then(|bins| bins.keys().next()).map(String::as_str);
    set(&mut found.program, first.or(bin.and(name)));
}

fn autoconf(text: &str, found: &mut Suggestion) {
    let Some(arguments) = text.find("AC_INIT(").and_then(|at| inside(&text[at + "AC_INIT(".len()..])) else {
        return;
    };
    let mut words = arguments.split(',').map(|word| word.trim().trim_matches(['[', ']', ' ']));
    let plain = |word: &&str| !word.contains(['$', '(', '\n']);
    set(&mut found.name, words.next().filter(plain));
    set(&mut found.version, words.next().filter(plain));
    let package = words.nth(1).filter(plain).filter(|word| !word.is_empty()).map(str::to_owned);
    let name = found.name.clone();
    set(
        &mut found.program,
        package.or(name.map(|name| name.to_ascii_lowercase().replace("gnu ", ""))).as_deref(),
    );
}

fn cmake(text: &str, found: &mut Suggestion) {
    let lower = text.to_ascii_lowercase();
    let arguments = |function: &str| lower.find(function).and_then(|at| inside(&text[at + function.len()..]));
    let Some(project) = arguments("project(").or_else(|| arguments("project (")) else { return };
    let words = words_of(project);
    let plain = |word: &&String| !word.contains('$');
    set(&mut found.name, words.first().filter(plain).map(String::as_str));
    let after = |key: &str| {
        let at = words.iter().position(|word| word == key)?;
        words.get(at + 1).filter(plain).map(String::as_str)
    };
    set(&mut found.version, after("VERSION"));
    set(&mut found.summary, after("DESCRIPTION"));
    set(&mut found.website, after("HOMEPAGE_URL"));
    let program = arguments("add_executable(").or_else(|| arguments("add_executable ("));
    let program =
        program.map(words_of).and_then(|words| words.into_iter().next()).filter(|word| !word.contains('$'));
    let name = found.name.clone();
    set(&mut found.program, program.or(name).as_deref());
}

/// A call with named arguments, as Python's and Meson's: `project('name', 'c', version: '1')`, `setup(name="name")`.
fn call(text: &str, function: &str, found: &mut Suggestion) {
    let Some(arguments) =
        text.find(&format!("{function}(")).and_then(|at| inside(&text[at + function.len() + 1..]))
    else {
        return;
    };
    let string_after = |key: &str| {
        let rest =
            arguments.split(key).skip(1).find_map(|rest| rest.trim_start().strip_prefix([':', '=']))?;
        string_at(rest.trim_start())
    };
    set(&mut found.name, string_at(arguments.trim_start()).or_else(|| string_after("name")));
    set(&mut found.version, string_after("version"));
    set(&mut found.license, string_after("license"));
    set(&mut found.summary, string_after("description"));
    set(&mut found.website, string_after("url"));
    let rest = text.find("executable(").map(|at| text[at + "executable(".len()..].trim_start());
    let name = found.name.clone();
    set(&mut found.program, rest.and_then(string_at).or(name.as_deref()));
}

/// The string that a text begins with, in single or double quotes.
fn string_at(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let rest = &text[1..];
    Some(&rest[..rest.find(quote)?]).filter(|string| !string.contains('\n') && !string.is_empty())
}

/// What stands before the closing bracket.
fn inside(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices().take(8192) {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return Some(&text[..at]),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Words, and strings in double quotes.
fn words_of(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, piece) in text.split('"').enumerate() {
        match number % 2 {
            1 => words.push(piece.to_owned()),
            _ => words.extend(piece.split_whitespace().map(str::to_owned)),
        }
    }
    words
}
