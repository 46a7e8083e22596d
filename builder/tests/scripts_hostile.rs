//! Build scripts that misuse what pack gives them: no hang, nothing left running, nothing of pack's own seen.

mod common;
mod workshop;

use std::fs;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pack_builder::parts::{Misuse, Step, StepError};
use workshop::Workshop;

/// Longer than any of these takes on a busy machine.
const HANGS: Duration = Duration::from_secs(120);

/// Builds in vain, and not for ever.
#[track_caller]
fn refused_in_time(script: &str, shop: Workshop) -> (String, Step, StepError) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(shop.refused()).ok());
    receiver.recv_timeout(HANGS).unwrap_or_else(|_| panic!("the build hangs, or succeeds: {script}"))
}

/// Whether a process runs that has this word in its command line.
fn is_running(word: &str) -> bool {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|found| found == word.as_bytes()))
}

#[test]
fn a_script_that_misuses_its_fifos_is_killed_with_what_it_started() {
    let text = |text: &str| Misuse::NoRequest(text.to_owned());
    for (number, (script, expected)) in [
        // It asks, and never reads the answers.
        ("while :; do echo default; done > $PACK_CONTROL/request", Misuse::TooMany),
        ("while :; do craftctl default; done", Misuse::TooMany),
        // The FIFO of the answers is full: a pipe holds 64 KiB.
        ("head -c 65536 /dev/zero > $PACK_CONTROL/reply; echo default > $PACK_CONTROL/request; sleep infinity", Misuse::NotRead),
        ("yes all > $PACK_CONTROL/request", text("all")),
        ("tr '\\\\0' x < /dev/zero > $PACK_CONTROL/request", text(&"x".repeat(64))),
        ("echo end > $PACK_CONTROL/request; sleep infinity", text("end")),
        // Half a request, at whose end nobody waits for the rest.
        ("printf defa > $PACK_CONTROL/request", text("defa")),
    ]
    .into_iter()
    .enumerate()
    {
        // A word that no other process has.
        let word = format!("{}.{number}", 3_000_000 + std::process::id());
        let shop = Workshop::new(&format!(
            "  a:\n    plugin: nil\n    override-build: \"sleep {word} & {script}\"\n"
        ));
        let (part, step, error) = refused_in_time(script, shop);
        assert_eq!((part.as_str(), step), ("a", Step::Build));
        assert!(
            matches!(&error, StepError::Control { misuse, .. } if *misuse == expected),
            "{script}: {error:?}"
        );
        assert!(error.hint().unwrap().contains("craftctl default"));
        let begin = Instant::now();
        while is_running(&word) {
            assert!(begin.elapsed() < HANGS, "{script}: what it started goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_script_that_asks_some_times_and_one_that_does_not_wait_are_served() {
    let shop = Workshop::new(
        "  a:\n    plugin: dump\n    source: files\n    override-build: |\n      \
         for n in 1 2 3; do craftctl default; done\n      echo default > $PACK_CONTROL/request\n",
    );
    shop.write("files/x", "x");
    workshop::assert_tree(&shop.primed(), &[("x", "x")]);
}
