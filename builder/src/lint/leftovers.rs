//! What costs room and is of no use when an app runs.

use std::collections::BTreeMap;

use super::checks::{BYTECODE_ORPHAN, DOCUMENTATION, HEADERS, LIBTOOL_ARCHIVE, NOT_STRIPPED, STATIC_LIBRARY};
use super::elf::Object;
use super::listing::{Entry, Kind, Listing};
use super::{Findings, size_text};

/// Debug information below this is not worth a word, in bytes.
const DEBUG_LEAST: u64 = 1 << 20;
/// Documentation below this, together, in bytes.
const DOCUMENTATION_LEAST: u64 = 4 << 20;
/// Headers below this, together.
const HEADERS_LEAST: u64 = 16 << 10;

pub(super) fn look(files: &Listing, objects: &[Object<'_>], found: &mut Findings) {
    for Object { entry, facts } in objects {
        if facts.debug_bytes >= DEBUG_LEAST {
            let message = format!("has {} of debug information", size_text(facts.debug_bytes));
            found.cost(
                NOT_STRIPPED,
                &entry.path,
                facts.debug_bytes,
                message,
                "run `strip --strip-debug` on it in override-build",
            );
        }
    }
    for entry in files.entries().iter().filter(|entry| matches!(entry.kind, Kind::File(_))) {
        archive(files, entry, found);
    }
    bytecode(files, found);
    folders(files, found);
}

fn archive(files: &Listing, entry: &Entry, found: &mut Findings) {
    let name = entry.name();
    let leave_out = "leave it out with `prime`: only compilers read it";
    if name.starts_with(b"lib") && name.ends_with(b".a") && starts_with(files, entry, b"!<arch>\n") {
        let message = format!("is a static library of {}", size_text(entry.size()));
        found.cost(STATIC_LIBRARY, &entry.path, entry.size(), message, leave_out);
    }
    if name.ends_with(b".la") && starts_with(files, entry, b"# ") {
        let message = "is a libtool archive".to_owned();
        found.cost(LIBTOOL_ARCHIVE, &entry.path, entry.size(), message, leave_out);
    }
}

fn starts_with(files: &Listing, entry: &Entry, start: &[u8]) -> bool {
    files.read(entry, start.len()).is_ok_and(|read| read == start)
}

/// `__pycache__/NAME.cpython-311.pyc` whose NAME.py is not there is never read (PEP 3147).
fn bytecode(files: &Listing, found: &mut Findings) {
    let mut orphans: BTreeMap<&[u8], u64> = BTreeMap::new();
    for entry in files.entries().iter().filter(|entry| entry.path.ends_with(b".pyc")) {
        let folder = entry.folder();
        let Some(parent) = folder.strip_suffix(b"__pycache__") else { continue };
        let module = entry.name().split(|byte| *byte == b'.').next().unwrap_or_default();
        if files.find(&[parent, module, b".py"].concat()).is_none() {
            let bytes = orphans.entry(folder).or_default();
            *bytes = bytes.saturating_add(entry.size());
        }
    }
    for (folder, bytes) in orphans {
        let message = format!(
            "holds {} of bytecode whose sources are not there: Python does not read it",
            size_text(bytes)
        );
        found.cost(BYTECODE_ORPHAN, folder, bytes, message, "leave it out with `prime`");
    }
}

fn folders(files: &Listing, found: &mut Findings) {
    let sum = |folder: &[u8]| files.below(folder).map(Entry::size).fold(0, u64::saturating_add);
    for folder in [&b"usr/include"[..], b"include", b"usr/local/include"] {
        let bytes = sum(folder);
        if bytes >= HEADERS_LEAST {
            let message = format!("holds {} of headers", size_text(bytes));
            found.cost(HEADERS, folder, bytes, message, "leave it out with `prime`: only compilers read it");
        }
    }
    let documentation =
        ["usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/gtk-doc", "share/doc", "share/man"];
    let sizes: Vec<(&str, u64)> =
        documentation.iter().map(|folder| (*folder, sum(folder.as_bytes()))).collect();
    if sizes.iter().map(|(_, bytes)| bytes).fold(0, |all: u64, bytes| all.saturating_add(*bytes))
        < DOCUMENTATION_LEAST
    {
        return;
    }
    for (folder, bytes) in sizes.into_iter().filter(|(_, bytes)| *bytes > DOCUMENTATION_LEAST / 4) {
        let message = format!("holds {} of documentation", size_text(bytes));
        let hint = "leave out with `prime` what no app shows; copyright notices have to stay";
        found.cost(DOCUMENTATION, folder.as_bytes(), bytes, message, hint);
    }
}
