//! What runs inside of a mount: takes orders from its standard input, a line each, and answers each with a line.
//!
//! | order | answer |
//! |---|---|
//! | (none: at its start) | nanoseconds that listing the root folder took |
//! | `list FILE` | number of paths in it; they are what `read` reads |
//! | `walk` | nanoseconds of find(1) asking for the size of every file |
//! | `names` | nanoseconds of find(1) asking for names alone |
//! | `read N` | nanoseconds of reading every file with N threads, each taking the next file |
//! | `bytes` | bytes that the last `read` gave |
//! | `random FILE COUNT SEED` | nanoseconds of one read of 4 KiB at a random place, on average |
//! | `run PROGRAM …` | nanoseconds of a program, from its start to its end |

use std::fs::{self, File};
use std::io::{BufRead, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// As much as cat(1) reads at once.
const BUFFER: usize = 128 << 10;

/// Serves orders until the input ends.
pub fn run(at: &Path) {
    let begin = Instant::now();
    let entries = fs::read_dir(at).expect("the root folder").count();
    say(begin.elapsed().as_nanos());
    assert!(entries > 0, "the mount is empty");
    let mut probe = Probe { at: at.to_owned(), files: Vec::new(), bytes: 0 };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("an order");
        let words: Vec<&str> = line.split('\t').collect();
        say(probe.obey(&words));
    }
}

fn say(number: impl std::fmt::Display) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{number}").and_then(|()| output.flush()).expect("somebody listens");
}

struct Probe {
    at: PathBuf,
    files: Vec<PathBuf>,
    bytes: u64,
}

impl Probe {
    fn obey(&mut self, words: &[&str]) -> u128 {
        match words {
            ["list", list] => {
                let text = fs::read_to_string(list).expect("a list");
                self.files = text.lines().map(|path| self.at.join(path)).collect();
                // From here on these programs are in the cache: they are not what is measured.
                run_program(Command::new("find").arg("--version"));
                run_program(Command::new("env").arg("--version"));
                self.files.len() as u128
            }
            ["walk"] => run_program(Command::new("find").arg(&self.at).args(["-printf", "%s"])),
            ["names"] => run_program(Command::new("find").arg(&self.at)),
            ["read", readers] => self.read(readers.parse().expect("a number")),
            ["bytes"] => u128::from(self.bytes),
            ["random", file, count, seed] => {
                let number = |text: &str| text.parse().expect("a number");
                random(&self.at.join(file), number(count), number(seed))
            }
            ["run", program, arguments @ ..] => run_program(Command::new(program).args(arguments)),
            other => panic!("no such order: {other:?}"),
        }
    }

    fn read(&mut self, readers: usize) -> u128 {
        let (next, bytes) = (AtomicUsize::new(0), AtomicU64::new(0));
        let begin = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..readers {
                scope.spawn(|| {
                    let mut buffer = vec![0; BUFFER];
                    while let Some(path) = self.files.get(next.fetch_add(1, Ordering::Relaxed)) {
                        bytes.fetch_add(read_file(path, &mut buffer), Ordering::Relaxed);
                    }
                });
            }
        });
        let time = begin.elapsed().as_nanos();
        self.bytes = bytes.into_inner();
        time
    }
}

fn read_file(path: &Path, buffer: &mut [u8]) -> u64 {
    let mut file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut total = 0;
    loop {
        match file.read(buffer).unwrap_or_else(|error| panic!("{}: {error}", path.display())) {
            0 => return total,
            count => total += count as u64,
        }
    }
}

fn random(path: &Path, count: u64, mut state: u64) -> u128 {
    let file = File::open(path).expect("the file");
    let pages = file.metadata().expect("its size").len() / 4096;
    let mut buffer = [0; 4096];
    let begin = Instant::now();
    for _ in 0..count {
        // Numbers enough without pattern (Knuth's MMIX).
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        file.read_exact_at(&mut buffer, (state >> 33) % pages * 4096).expect("a page");
    }
    begin.elapsed().as_nanos() / u128::from(count)
}

fn run_program(command: &mut Command) -> u128 {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begin = Instant::now();
    let status = command.status();
    let time = begin.elapsed().as_nanos();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{command:?}: {status:?}");
    time
}
