//! The steps of a build as a person sees them.
//!
//! | | a terminal | elsewhere |
//! |---|---|---|
//! | a step runs | a line that changes: number, step, the last line of its log, time | `build hello` |
//! | it is done | `build hello 12.3 s` stays | |
//! | nothing changed | with `-v` a line | with `-v` a line |
//! | the end | how many steps ran, how many were skipped, time | the same |

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use pack_builder::debian;
use pack_builder::parts::{Action, Change, Progress, Why};

use crate::interrupt::Doing;
use crate::package_file::shown;
use crate::terminal::{Terminal, human_size, human_time, visible};

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(150);

/// How much of the end of a log is looked at for its last line.
const TAIL_BYTES: u64 = 2 << 10;

/// The steps on the terminal.
pub struct PartsProgress<'a> {
    terminal: &'a Terminal,
    place: &'a Doing,
    begun: Instant,
    ran: usize,
    skipped: usize,
    step: Option<Running>,
    /// What goes on before the first step, where it takes a while.
    before: Option<ProgressBar>,
}

/// A step under way.
struct Running {
    name: String,
    begun: Instant,
    bar: ProgressBar,
    doing: Arc<Mutex<String>>,
    done: Arc<AtomicBool>,
    ticker: Option<JoinHandle<()>>,
}

impl<'a> PartsProgress<'a> {
    /// A build begins.
    pub fn new(terminal: &'a Terminal, place: &'a Doing) -> PartsProgress<'a> {
        PartsProgress { terminal, place, begun: Instant::now(), ran: 0, skipped: 0, step: None, before: None }
    }

    /// How long the step that runs has been running.
    pub fn elapsed(&self) -> Option<Duration> {
        self.step.as_ref().map(|step| step.begun.elapsed())
    }

    /// The build is over; the last step has nothing to say any more.
    pub fn end(&mut self) {
        self.clear_before();
        if let Some(step) = self.step.take() {
            step.clear();
        }
        self.place.set("", None);
    }

    /// Says that all steps are done, and what was done.
    pub fn sum_up(&mut self) {
        self.complete();
        self.end();
        let (ran, skipped) = (self.ran, self.skipped);
        let steps = |count: usize| if count == 1 { "1 step".to_owned() } else { format!("{count} steps") };
        let text = match (ran, skipped) {
            (0, 0) => return,
            (_, 0) => format!("{} run", steps(ran)),
            (0, _) => format!("nothing changed for {}", steps(skipped)),
            _ => format!("{} run, nothing changed for {skipped}", steps(ran)),
        };
        self.terminal.say(format!("{text}, {}", human_time(self.begun.elapsed())));
    }

    /// The step that runs is complete.
    fn complete(&mut self) {
        self.clear_before();
        let Some(step) = self.step.take() else { return };
        let is_shown = !step.bar.is_hidden();
        let line = format!("{} {}", step.name, human_time(step.begun.elapsed()));
        step.clear();
        if is_shown {
            self.terminal.say(line);
        }
    }

    fn clear_before(&mut self) {
        if let Some(bar) = self.before.take() {
            bar.finish_and_clear();
        }
    }

    fn tell(&mut self, doing: &str) {
        let Some(step) = &self.step else {
            // Before a step it is found out whether it has to run.
            let bar = self.before.get_or_insert_with(|| self.terminal.spinner(doing));
            bar.set_message(doing.to_owned());
            if bar.is_hidden() {
                self.terminal.detail(doing);
            }
            return;
        };
        if step.bar.is_hidden() {
            self.terminal.detail(format!("{}: {doing}", step.name));
        }
        *step.doing.lock().unwrap_or_else(PoisonError::into_inner) = doing.to_owned();
    }
}

impl Running {
    fn begin(terminal: &Terminal, name: String, place: String, log: &Path) -> Running {
        let bar = terminal.spinner(&format!("{place} {name}"));
        let (doing, done) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicBool::new(false)));
        let ticker = (!bar.is_hidden()).then(|| {
            let (bar, doing, done) = (bar.clone(), doing.clone(), done.clone());
            let (prefix, log) = (format!("{place} {name}"), log.to_path_buf());
            std::thread::spawn(move || follow(&bar, &prefix, &log, &doing, &done))
        });
        Running { name, begun: Instant::now(), bar, doing, done, ticker }
    }

    fn clear(self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(ticker) = self.ticker {
            ticker.thread().unpark();
            // It has nothing to panic over, and the bar is only a bar.
            let _ = ticker.join();
        }
        self.bar.finish_and_clear();
    }
}

/// Shows what a step is doing until it is done.
fn follow(bar: &ProgressBar, prefix: &str, log: &Path, doing: &Mutex<String>, done: &AtomicBool) {
    while !done.load(Ordering::Relaxed) {
        let now =
            last_line(log).unwrap_or_else(|| doing.lock().unwrap_or_else(PoisonError::into_inner).clone());
        bar.set_message(if now.is_empty() { prefix.to_owned() } else { format!("{prefix}: {now}") });
        std::thread::park_timeout(LOOK_EVERY);
    }
}

/// The last line of a log that is not empty, safe to show.
fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    // A carriage return begins a line anew, as bars of other programs do.
    let last = text.split(['\n', '\r']).map(str::trim).rfind(|line| !line.is_empty())?;
    Some(visible(last))
}

impl Progress for PartsProgress<'_> {
    fn begin(&mut self, action: &Action, at: usize, of: usize, why: &Why, log: &Path) {
        self.complete();
        self.ran += 1;
        let name = format!("{} {}", action.step, action.part);
        let line = format!("{name}: {}", reason(why));
        let step = Running::begin(self.terminal, name.clone(), format!("[{}/{of}]", at + 1), log);
        if step.bar.is_hidden() {
            self.terminal.say(if self.terminal.is_verbose() { &line } else { &name });
        } else {
            step.bar.suspend(|| self.terminal.detail(&line));
        }
        self.place.set(name, Some(&step.bar));
        self.step = Some(step);
    }

    fn skip(&mut self, action: &Action, _at: usize, _of: usize) {
        self.complete();
        self.skipped += 1;
        self.terminal.detail(format!("{} {}: nothing changed", action.step, action.part));
    }

    fn again(&mut self, action: &Action) {
        let line = format!("{} {}: put in again", action.step, action.part);
        match &self.step {
            Some(step) => step.bar.suspend(|| self.terminal.detail(line)),
            None => self.terminal.detail(line),
        }
    }

    fn source(&mut self, bytes: u64, of: Option<u64>) {
        // Where it would be a line of its own, there would be thousands.
        if self.step.as_ref().is_some_and(|step| !step.bar.is_hidden()) {
            let of = of.map(|of| format!(" of {}", human_size(of))).unwrap_or_default();
            self.tell(&format!("downloading {}{of}", human_size(bytes)));
        }
    }

    fn packages(&mut self, progress: debian::Progress<'_>) {
        match progress {
            debian::Progress::Waiting => {
                self.tell("waiting for another build that is at work with Debian packages")
            }
            debian::Progress::Updating => self.tell("fetching the lists of Debian packages"),
            debian::Progress::Resolving => self.tell("finding out which Debian packages are needed"),
            debian::Progress::Downloading { packages, bytes } => {
                self.tell(&format!("downloading {packages} Debian packages, {}", human_size(bytes)));
            }
            debian::Progress::Unpacking { name, done, of } => {
                self.tell(&format!("unpacking {name} ({}/{of})", done + 1));
            }
            debian::Progress::Note(note) => {
                let bar = self.step.as_ref().map(|step| &step.bar).or(self.before.as_ref());
                match bar {
                    Some(bar) => bar.suspend(|| self.terminal.warn(note.to_string())),
                    None => self.terminal.warn(note.to_string()),
                }
            }
        }
    }
}

/// Why a step runs: `src changed: main.c`.
fn reason(why: &Why) -> String {
    match why {
        Why::New => "not done yet".to_owned(),
        Why::Changed(changes) => changes.iter().map(told).collect::<Vec<_>>().join("; "),
    }
}

fn told(change: &Change) -> String {
    let mut text = format!("{} changed", visible(&change.what));
    for (number, file) in change.files.iter().enumerate() {
        text.push_str(if number == 0 { ": " } else { ", " });
        text.push_str(&shown(file));
    }
    if change.more > 0 {
        text.push_str(&format!(" and {} more", change.more));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_changed_is_told_in_one_line() {
        let change = |what: &str, files: &[&str], more| Change {
            what: what.to_owned(),
            files: files.iter().map(PathBuf::from).collect(),
            more,
        };
        assert_eq!(reason(&Why::New), "not done yet");
        let why = Why::Changed(vec![change("override-build", &[], 0), change("src", &["a.c", "b\n"], 5)]);
        assert_eq!(reason(&why), "override-build changed; src changed: a.c, b\\u{a} and 5 more");
    }

    #[test]
    fn the_last_line_of_a_log_is_safe_to_show() {
        let log = std::env::temp_dir().join(format!("pack-test-log-{}", std::process::id()));
        for (content, expected) in [
            (&b"one\ntwo\n\n"[..], Some("two")),
            (b"10%\r20%\r", Some("20%")),
            (b"\x1b[31mred", Some("\\u{1b}[31mred")),
            (b"\xff\n", Some("\u{fffd}")),
            (b"\n", None),
        ] {
            std::fs::write(&log, content).unwrap();
            assert_eq!(last_line(&log).as_deref(), expected);
        }
        std::fs::remove_file(&log).unwrap();
        assert_eq!(last_line(&log), None);
    }
}
