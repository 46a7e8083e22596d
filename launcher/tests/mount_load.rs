//! What a server does under load: how often it reads and decompresses, how much memory it takes, and that it rests.

mod mount_support;

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use mount_support::mounted::{Stage, skip};
use mount_support::{Case, raw, tree};
use pack_launcher::fuse::reply::{HEADER_SIZE, Reply};
use pack_launcher::fuse::{Answer, Owner, Server};
use pack_launcher::image::{BlockSource, CacheSize, EntryCookie, ImageError, Node, Reader};

/// Counts the reads of each place of an image, and takes its time for each.
struct Counting {
    source: Arc<dyn BlockSource>,
    reads: Mutex<BTreeMap<u64, usize>>,
    pause: Duration,
}

impl Counting {
    fn new(case: &Case, pause: Duration) -> Arc<Counting> {
        Arc::new(Counting { source: raw(&case.image()), reads: Mutex::default(), pause })
    }

    fn count(&self, offset: u64) {
        *self.reads.lock().unwrap().entry(offset).or_default() += 1;
        std::thread::sleep(self.pause);
    }

    fn take(&self) -> BTreeMap<u64, usize> {
        std::mem::take(&mut self.reads.lock().unwrap())
    }
}

impl BlockSource for Counting {
    fn length(&self) -> u64 {
        self.source.length()
    }

    fn read_exact(&self, offset: u64, buffer: &mut [u8]) -> Result<(), ImageError> {
        self.count(offset);
        self.source.read_exact(offset, buffer)
    }

    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, ImageError> {
        self.count(offset);
        self.source.read_some(offset, buffer)
    }
}

fn find(reader: &Reader, name: &str) -> Node {
    reader.lookup(&reader.root().unwrap(), name.as_bytes()).unwrap().unwrap()
}

#[test]
fn a_block_is_read_once_however_many_want_it_at_the_same_time() {
    let contents = tree::text(300_000, 1);
    let case = Case::new(
        |root| fs::write(root.join("text"), &contents).unwrap(),
        &["-comp", "zstd", "-no-fragments"],
    );
    let counting = Counting::new(&case, Duration::from_millis(50));
    let reader = Reader::open(Arc::clone(&counting) as Arc<dyn BlockSource>, CacheSize::default()).unwrap();
    let file = find(&reader, "text");
    counting.take();
    let start = Barrier::new(12);
    std::thread::scope(|scope| {
        for number in 0..12_usize {
            let (reader, contents, start) = (&reader, &contents, &start);
            scope.spawn(move || {
                // Some want the second block whole, some a part of it: it goes two ways through the cache.
                let (offset, length) = [(131_072, 131_072), (140_000, 4096), (131_072, 5)][number % 3];
                let mut buffer = vec![0; length];
                start.wait();
                assert_eq!(reader.read(&file, offset as u64, &mut buffer).unwrap(), length);
                assert!(buffer == contents[offset..offset + length]);
            });
        }
    });
    let reads = counting.take();
    assert_eq!(reads.values().copied().collect::<Vec<_>>(), [1], "{reads:?}");
}

/// Asks for the whole listing of the root folder with nodes, and returns how many entries came, and how many with one.
fn listed_with_nodes(server: &Server) -> (usize, usize) {
    let (mut entries, mut with_node, mut offset) = (0, 0, 0_u64);
    loop {
        let mut request = Vec::new();
        for word in [80_u32, 44] {
            request.extend_from_slice(&word.to_ne_bytes());
        }
        // Unique, node; user, group, process, padding; handle, offset.
        for number in [1_u64, 1, 0, 0, 0, offset] {
            request.extend_from_slice(&number.to_ne_bytes());
        }
        request.extend_from_slice(&(1_u32 << 20).to_ne_bytes());
        request.extend_from_slice(&[0; 20]);
        let mut reply = Reply::default();
        let Answer::Send(bytes) = server.answer(&request, &mut reply) else { panic!("no answer") };
        assert_eq!(bytes[4..8], [0; 4]);
        let mut body = &bytes[HEADER_SIZE..];
        if body.is_empty() {
            return (entries, with_node);
        }
        let number = |bytes: &[u8], at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        while !body.is_empty() {
            let name = u32::from_ne_bytes(body[144..148].try_into().unwrap()) as usize;
            entries += 1;
            with_node += usize::from(number(body, 0) != 0);
            offset = number(body, 136);
            body = &body[(152 + name).next_multiple_of(8)..];
        }
    }
}

#[test]
fn a_listing_fetches_few_inodes_that_lie_far_apart() {
    let make = |root: &std::path::Path| {
        for folder in 0..100 {
            let folder = root.join(format!("folder-{folder:03}"));
            fs::create_dir(&folder).unwrap();
            // An inode of a file takes 32 bytes and more: 300 of them fill a block of metadata.
            for file in 0..300 {
                fs::write(folder.join(format!("{file}")), "").unwrap();
            }
        }
        for file in 0..50 {
            fs::write(root.join(format!("file-{file}")), "").unwrap();
        }
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments"]);
    let counting = Counting::new(&case, Duration::ZERO);
    let reader = Reader::open(Arc::clone(&counting) as Arc<dyn BlockSource>, CacheSize::default()).unwrap();
    let server = Server::new(reader, Owner { user: 1, group: 1 }, |error| panic!("{error}"));
    let (entries, with_node) = listed_with_nodes(&server);
    // With `.` and `..`, which have none.
    assert_eq!(entries, 152);
    let reads: usize = counting.take().values().sum();
    assert!((16..100).contains(&with_node), "{with_node}");
    // 16 inodes, each perhaps across two blocks and read in two steps, and the listing itself.
    assert!(reads < 80, "{reads}");
    // What is at hand comes along, so files of one folder all do.
    let reader = Reader::open(counting, CacheSize::default()).unwrap();
    let folder = find(&reader, "folder-050");
    let mut at_hand = 0;
    reader
        .entries(&folder, EntryCookie::START, &mut |entry| {
            at_hand += usize::from(reader.has_at_hand(entry));
            reader.entry_node(&folder, entry).unwrap();
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert!(at_hand >= 290, "{at_hand}");
}

/// The number behind a key of /proc/PID/status, in KiB.
fn kib(status: &str, key: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

#[test]
fn a_server_takes_the_memory_that_it_was_given_and_little_more() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let make = |root: &std::path::Path| {
        for file in 0..40 {
            fs::write(root.join(format!("large-{file}")), tree::text(2 << 20, file)).unwrap();
        }
        for file in 0..2000 {
            fs::write(root.join(format!("small-{file}")), tree::text(5000, file)).unwrap();
        }
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments"]);
    // A page out of each block of the large files, so that all of them go through the cache, and everything else.
    let script = "for file in large-*; do for at in 31 63 95 127 159 191 223 255 287 319 351 383 415 447 479 511; do \
                  echo $file $at; done; done | xargs -P4 -n 40 sh -c 'while [ $# -gt 0 ]; do \
                  dd if=$1 of=/dev/null bs=4k count=1 skip=$2 2>/dev/null; shift 2; done' x; cat small-* > /dev/null";
    let status = stage.out().join("status");
    let mut most = Vec::new();
    for cache in [4_u64 << 20, 24 << 20] {
        let (cache, file) = (cache.to_string(), status.to_str().unwrap());
        let output = stage.shell(&["--cache", &cache, "--status", file], &case.package(), script);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        most.push(kib(&fs::read_to_string(&status).unwrap(), "VmHWM:"));
    }
    // The program itself, its threads and the index are in it.
    assert!(most[0] < (4 + 12) << 10, "{most:?}");
    assert!(most[1] < (24 + 12) << 10, "{most:?}");
    // What it was given is made use of, or the test has read nothing.
    assert!(most[1] > most[0] + (8 << 10), "{most:?}");
}

#[test]
fn a_server_that_nobody_asks_anything_rests() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let make = |root: &std::path::Path| {
        for file in 0..500 {
            fs::write(root.join(format!("small-{file}")), tree::text(5000, file)).unwrap();
        }
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments"]);
    let pid = stage.out().join("pid");
    // Requests close on one another, and then none. The times are fields 14 and 15, in hundredths of a second.
    let script = format!(
        "cat small-* > /dev/null; spent() {{ sed 's/.*) //' /proc/$(cat '{}')/stat | cut -d' ' -f12,13; }}; \
         spent; sleep 2; spent",
        pid.display()
    );
    let output = stage.shell(&["--pid", pid.to_str().unwrap()], &case.package(), &script);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ticks: Vec<u64> =
        text.lines().map(|line| line.split(' ').map(|field| field.parse::<u64>().unwrap()).sum()).collect();
    let [before, after] = ticks[..] else { panic!("{text}{}", String::from_utf8_lossy(&output.stderr)) };
    assert!(after - before <= 2, "{before} {after}");
}
