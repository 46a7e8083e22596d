//! Packages come from stores: several at once, under one bar.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use pack_store_client::remote::Source;
use pack_store_client::remote::download::{DownloadError, fetch_package};

use crate::context::Context;
use crate::stores::Offered;
use crate::terminal::{Terminal, human_size, human_time};

/// Packages that are fetched at the same time.
const AT_ONCE: usize = 4;
/// How often it is told how far it is, where there is no bar.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// A package to fetch, and who has it.
pub struct Fetch<'a> {
    /// What.
    pub offered: &'a Offered,
    /// The addresses, in the order in which they are asked.
    pub sources: &'a [Source],
}

/// Fetches packages into the folder `cache`; each is there, or why it is not.
pub fn fetch(context: &Context, fetches: &[Fetch<'_>], cache: &Path) -> Vec<Result<File, DownloadError>> {
    let total = fetches.iter().map(|fetch| fetch.offered.revision().file.size).fold(0, u64::saturating_add);
    let label = match fetches {
        [one] => one.offered.entry.name.to_string(),
        many => format!("{} packages", many.len()),
    };
    for fetch in fetches {
        let (name, revision) = (&fetch.offered.entry.name, fetch.offered.revision());
        let size = human_size(revision.file.size);
        context.terminal.say(format!("downloading {name} {} ({size})", revision.version));
    }
    let shown = Shown::new(&context.terminal, &label, total);
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(fetch) = fetches.get(at) else { break };
            let mut have = 0;
            let fetched = fetch_package(fetch.offered.revision(), fetch.sources, cache, &mut |now| {
                shown.advance(have, now);
                have = now;
            });
            lock(&results).push((at, fetched));
        }
    };
    thread::scope(|scope| {
        for _ in 1..AT_ONCE.min(fetches.len()) {
            // A thread that cannot be had is no matter: this one does all that is left.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    shown.bar.finish_and_clear();
    let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    results.sort_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// How far it is: a bar, or a line now and then.
struct Shown<'a> {
    terminal: &'a Terminal,
    bar: ProgressBar,
    total: u64,
    done: AtomicU64,
    begun: Instant,
    told: Mutex<Instant>,
}

impl Shown<'_> {
    fn new<'a>(terminal: &'a Terminal, label: &str, total: u64) -> Shown<'a> {
        let bar = terminal.download_bar(label, total);
        let begun = Instant::now();
        Shown { terminal, bar, total, done: AtomicU64::new(0), begun, told: Mutex::new(begun) }
    }

    /// One of the files has so many bytes now; fewer than before where it began anew.
    fn advance(&self, before: u64, now: u64) {
        let change = now.wrapping_sub(before);
        let done = self.done.fetch_add(change, Ordering::Relaxed).wrapping_add(change);
        self.bar.set_position(done);
        if !self.bar.is_hidden() {
            return;
        }
        let mut told = lock(&self.told);
        if told.elapsed() < TOLD_EVERY {
            return;
        }
        *told = Instant::now();
        let speed = done as f64 / self.begun.elapsed().as_secs_f64();
        let left = Duration::from_secs_f64(self.total.saturating_sub(done) as f64 / speed.max(1.0));
        let (have, total, speed) = (human_size(done), human_size(self.total), human_size(speed as u64));
        self.terminal.say(format!("downloaded {have} of {total}, {speed}/s, {} left", human_time(left)));
    }
}
