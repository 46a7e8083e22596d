//! The runner of sandboxes for this crate's own tests; the command has it as a verb of its own.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [verb, plan, parent] = words.as_slice() else { return ExitCode::from(2) };
    let (true, Ok(parent)) = (verb == "build-step", parent.parse()) else { return ExitCode::from(2) };
    let ended = pack_builder::confine::runner::perform(Path::new(plan), parent);
    ended.note.iter().for_each(|note| eprintln!("{note}"));
    ExitCode::from(ended.status)
}
