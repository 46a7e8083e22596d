//! Modes, kinds and names of files.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::checks::{
    NAME_CASE, NAME_CONTROL_CHARACTERS, NAME_NOT_UTF8, PATH_LONG, SET_UID, SPECIAL_FILE, TOO_MANY_FILES,
    UNREADABLE, WORLD_WRITABLE,
};
use super::listing::{ENTRIES_MOST, Entry, Fault, Kind};
use super::{Findings, Request, shown};

/// Paths longer than this many bytes meet programs with buffers of 1024 bytes.
const PATH_MOST: usize = 1000;

pub(super) fn look(request: &Request<'_>, found: &mut Findings) {
    for fault in &request.files.faults {
        tell_fault(fault, found);
    }
    for entry in request.files.entries() {
        modes(entry, found);
        name(entry, found);
        if let Kind::Special(what) = entry.kind {
            let message = format!("is {what}, which a package cannot hold");
            found.file(
                SPECIAL_FILE,
                &entry.path,
                message,
                "leave it out with `prime`; programs make it when they run",
            );
        }
    }
    cases(request, found);
}

fn tell_fault(fault: &Fault, found: &mut Findings) {
    match fault {
        Fault::Unreadable { path, reason } => {
            let message = format!("cannot be looked at: {}", shown(reason.as_bytes()));
            found.file(UNREADABLE, path, message, "give its owner the right to read it");
        }
        Fault::TooLong { path } => {
            let message = format!("has a path of {} bytes, longer than Linux can use below /app", path.len());
            found.file(PATH_LONG, path, message, "leave it out with `prime`, or use shorter names");
        }
        Fault::TooMany => {
            let message = format!("holds more than {ENTRIES_MOST} files; the rest was not looked at");
            found.file(
                TOO_MANY_FILES,
                b"",
                message,
                "put small files into archives, or leave out what is not needed",
            );
        }
    }
}

fn modes(entry: &Entry, found: &mut Findings) {
    // Links have no permissions of their own.
    if matches!(entry.kind, Kind::Link(_)) {
        return;
    }
    if matches!(entry.kind, Kind::File(_)) && entry.mode & 0o6000 != 0 {
        let message =
            format!("is set-uid or set-gid (mode {:04o}), which has no effect in a package", entry.mode);
        found.file(
            SET_UID,
            &entry.path,
            message,
            "an app runs with its user's rights alone; see whether it works so, and take the bit away with chmod in a script of the part",
        );
    }
    if entry.mode & 0o002 != 0 && entry.mode & 0o1000 == 0 {
        let message = format!("may be written to by everybody (mode {:04o})", entry.mode);
        found.file(
            WORLD_WRITABLE,
            &entry.path,
            message,
            "chmod o-w in a script of the part; apps cannot write to their package anyway",
        );
    }
    if entry.mode & 0o444 == 0 {
        let message = format!("may be read by nobody (mode {:04o})", entry.mode);
        found.file(UNREADABLE, &entry.path, message, "chmod a+r in a script of the part");
    }
}

fn name(entry: &Entry, found: &mut Findings) {
    // Told once, where it begins.
    if entry.path.len() > PATH_MOST && entry.folder().len() <= PATH_MOST {
        let message = format!("has a path of {} bytes", entry.path.len());
        found.file(
            PATH_LONG,
            &entry.path,
            message,
            "programs with buffers of 1024 bytes cannot use it: use shorter names",
        );
    }
    match str::from_utf8(entry.name()) {
        Err(_) => {
            let message = "has a name that is not UTF-8".to_owned();
            found.file(NAME_NOT_UTF8, &entry.path, message, "rename it with `organize`");
        }
        Ok(name) if name.chars().any(char::is_control) => {
            let message = "has control characters in its name".to_owned();
            found.file(NAME_CONTROL_CHARACTERS, &entry.path, message, "rename it with `organize`");
        }
        Ok(_) => {}
    }
}

/// Names of one folder that are the same where case does not count.
fn cases(request: &Request<'_>, found: &mut Findings) {
    let entries = request.files.entries();
    // Of the names only hashes are kept; that two are equal says little, and they are compared then.
    let mut seen: HashMap<u64, usize> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let mut hasher = DefaultHasher::new();
        (entry.folder(), folded(entry)).hash(&mut hasher);
        let earlier = *seen.entry(hasher.finish()).or_insert(at);
        let other = &entries[earlier];
        if earlier != at && other.folder() == entry.folder() && folded(other) == folded(entry) {
            let message = format!("differs from `{}` in case only", shown(other.name()));
            let hint = "only one of them can be unpacked on a system that ignores case";
            found.file(NAME_CASE, &entry.path, message, hint);
        }
    }
}

fn folded(entry: &Entry) -> Vec<u8> {
    match str::from_utf8(entry.name()) {
        Ok(name) => name.to_lowercase().into_bytes(),
        Err(_) => entry.name().to_vec(),
    }
}
