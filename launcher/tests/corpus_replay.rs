//! Runs every input of the fuzz targets' corpora, and every one that once led to a fault, through the targets' bodies
//! (`fuzz/bodies/`): no panic, no contradiction, no hang, and no more memory than a few blocks take.

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

/// Far more than any input takes, on a slow machine and unoptimised.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most memory of this process at any time, in KiB.
const MEMORY_KIB: u64 = 512 << 10;

/// Runs the inputs of a target, at least `least` of them.
fn replay(target: &str, least: usize, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let mut count = 0;
    for kind in ["corpus", "regressions"] {
        let Ok(inputs) = fs::read_dir(fuzz.join(kind).join(target)) else { continue };
        for input in inputs {
            let path = input.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let begun = Instant::now();
            catch_unwind(|| run(&bytes)).unwrap_or_else(|_| panic!("{}", path.display()));
            assert!(begun.elapsed() < PATIENCE, "{}: {:?}", path.display(), begun.elapsed());
            let memory = most_memory_kib();
            assert!(memory < MEMORY_KIB, "{}: {memory} KiB", path.display());
            count += 1;
        }
    }
    assert!(count >= least, "{count} inputs of {target} in {}", fuzz.display());
}

fn most_memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[test]
fn images_of_the_corpus_are_read_without_fault() {
    replay("reader", 100, bodies::reader::run);
}

#[test]
fn packages_of_the_corpus_are_opened_without_fault() {
    replay("envelope", 100, bodies::envelope::run);
}

#[test]
fn requests_of_the_corpus_are_answered_without_fault() {
    replay("requests", 50, bodies::requests::run);
}

#[test]
fn blocks_of_the_corpus_are_decompressed_without_fault() {
    replay("blocks", 100, bodies::blocks::run);
}

#[test]
fn metadata_of_the_corpus_is_read_without_fault() {
    replay("tuf", 30, bodies::tuf::run);
}
