//! `pack build-step`: what `pack build` starts for every command of a step. Not for people, and not among the verbs.
//!
//! It is recognised before the parser of command lines, which knows every verb, is asked: a build runs many commands.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use pack_builder::confine::runner;

/// The command line `pack build-step PLAN PARENT`, carried out; nothing for any other. `command_line` begins with the name
/// of the program.
pub fn perform(command_line: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let words: Vec<OsString> = command_line.into_iter().skip(1).take(4).collect();
    let [verb, plan, parent] = words.as_slice() else { return None };
    let parent = (verb == "build-step").then_some(parent).and_then(|parent: &OsString| number(parent))?;
    let ended = runner::perform(Path::new(plan), parent);
    if let Some(note) = ended.note {
        // The log may be on a full disk; the status stands.
        let _ = writeln!(io::stderr(), "{note}");
    }
    Some(ExitCode::from(ended.status))
}

fn number(word: &OsStr) -> Option<u32> {
    word.to_str()?.parse().ok()
}
