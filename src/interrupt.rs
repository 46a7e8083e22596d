//! What Ctrl-C does to long work: the programs that it started end, it says where it was, and the exit status tells
//! the signal (128 + its number).
//!
//! The work itself is not asked to stop: whatever it writes can be killed at any moment. A thread waits for the signals;
//! they are neither blocked nor ignored, so that programs which are started have them as usual.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::terminal::Terminal;

/// How often what has been started is looked for, to be ended: a process can start others until it has ended.
const ROUNDS_MOST: usize = 50;

/// How long a failure is held back, in case it is a signal's doing: a program that has got the signal too may have ended
/// before this process looks at its own.
const HOLD_BACK: Duration = Duration::from_millis(50);

/// What the work is at.
#[derive(Clone, Default)]
pub struct Doing {
    what: Arc<Mutex<(String, Option<ProgressBar>)>>,
    is_interrupted: Arc<AtomicBool>,
}

impl Doing {
    /// The work goes on to something else.
    pub fn set(&self, what: impl Into<String>, bar: Option<&ProgressBar>) {
        *self.what.lock().unwrap_or_else(PoisonError::into_inner) = (what.into(), bar.cloned());
    }

    /// The result of the work, unless a signal has ended it; then this process ends, and says so.
    pub fn settle<T, E>(&self, result: Result<T, E>) -> Result<T, E> {
        if result.is_err() {
            std::thread::sleep(HOLD_BACK);
        }
        while self.is_interrupted.load(Ordering::SeqCst) {
            std::thread::park();
        }
        result
    }
}

/// From now on a signal to end ends the process and what it started.
///
/// # Errors
/// Where the system lets nobody wait for signals.
pub fn watch(terminal: &Terminal, doing: &Doing) -> Result<(), Failure> {
    let failed =
        |error: &dyn std::error::Error| Failure::new("cannot prepare for being interrupted").because(error);
    // What a program leaves behind when it ends becomes a child of this process, and so is found.
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| failed(&error))?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(|error| failed(&error))?;
    let (terminal, doing) = (terminal.clone(), doing.clone());
    std::thread::spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        doing.is_interrupted.store(true, Ordering::SeqCst);
        end_children();
        let (what, bar) = doing.what.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let status = u8::try_from(128 + signal).unwrap_or(1);
        let message = if what.is_empty() { "interrupted".to_owned() } else { format!("interrupted: {what}") };
        let failure = Failure::new(message).status(status);
        terminal.report(&failure.hint("steps that are complete are kept; build again to go on"));
        std::process::exit(i32::from(status));
    });
    Ok(())
}

/// Kills every process that this one has started, and those that these have started.
fn end_children() {
    for _ in 0..ROUNDS_MOST {
        let mut found = BTreeSet::new();
        add_children(std::process::id(), &mut found);
        if found.is_empty() {
            return;
        }
        for pid in found.iter().filter_map(|pid| i32::try_from(*pid).ok()) {
            // One that has ended by itself needs no signal.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Adds those whose parent is `parent`, and theirs; the dead that nobody has waited for are left out.
fn add_children(parent: u32, found: &mut BTreeSet<u32>) {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    for task in tasks {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            if !is_dead(child) && found.insert(child) {
                add_children(child, found);
            }
        }
    }
}

/// Whether a process is a zombie, or gone (proc_pid_stat(5): its state follows the name in brackets).
fn is_dead(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X']))
}
