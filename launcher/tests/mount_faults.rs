//! What goes wrong with an installed package while it is mounted: bits flip, the file is cut short, the disk fails. Whoever
//! reads the place gets EIO, a person gets one line that names package and place, everything else is served as before, and the
//! place too once it is right again.
#![allow(clippy::print_stdout, reason = "a skipped test says why")]

mod mount_support;

use std::collections::HashSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use mount_support::Case;
use mount_support::disk::Disk;
use mount_support::mounted::{Stage, place_and_out, skip};
use mount_support::session::{Session, damage_lines};
use mount_support::tree::{self, look, noise, to_text};
use pack_launcher::image::{CacheSize, Reader};
use pack_schemas::index::{PAGE_SIZE, Span};

/// Not a test of its own: what runs on a mounted package.
#[test]
#[ignore = "runs on a mounted package"]
fn on_the_mount_look() {
    let Some((place, out)) = place_and_out() else { return };
    fs::write(out, to_text(&look(&place))).unwrap();
}

/// Has a session look at everything in its package, and returns what it saw.
fn look_in(session: &mut Session, stage: &Stage) -> String {
    let script = r#""$TESTS" --ignored --exact --nocapture on_the_mount_look"#;
    let output = session.tell(script);
    assert!(output.ends_with("end 0\n"), "{output}");
    fs::read_to_string(stage.out().join("result")).unwrap()
}

/// Changes a bit of a file.
fn flip(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x40], offset).unwrap();
}

/// A byte in the middle of a span.
fn middle(span: &Span) -> u64 {
    span.start + u64::from(span.length) / 2
}

/// The line that tells that a span is damaged.
fn damaged(span: &Span) -> String {
    format!(
        "package hello x1: bytes {}-{} of the image do not match the signed index; \
         the file was changed after it was installed",
        span.start,
        span.end() - 1
    )
}

/// One of everything that a span can hold.
fn small_tree(root: &Path) {
    for number in 0..6_u32 {
        fs::write(root.join(format!("noise-{number}")), noise(20_000, number.into())).unwrap();
    }
    fs::write(root.join("large"), noise(600_000, 9)).unwrap();
    fs::create_dir(root.join("folder")).unwrap();
    fs::write(root.join("folder/inner"), "inner").unwrap();
    tree::set_attribute(&root.join("noise-0"), "user.a", b"value");
}

/// Checks that whatever in `found` is not as in `good` is an input/output error, and returns how many lines that is.
fn assert_only_errors(found: &str, good: &str, what: &str) -> usize {
    let known: HashSet<_> = good.lines().collect();
    let others = found.lines().filter(|line| !known.contains(line));
    // A file whose attributes cannot be read is shown without any.
    others
        .inspect(|line| assert!(line.contains("Err(5)") || line.contains("attributes: {}"), "{what}: {line}"))
        .count()
}

#[test]
fn a_bit_flipped_before_the_mount_gives_eio_and_one_line_and_nothing_else() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(small_tree, &["-comp", "zstd", "-no-fragments"]);
    let changed = case.folder.path().join("changed.pkg");
    let look_at = |package: &Path| {
        let output = stage.run_test(&[], package, "on_the_mount_look");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() == Some(125) {
            return Err(errors);
        }
        assert!(output.status.success(), "{errors}");
        Ok((fs::read_to_string(stage.out().join("result")).unwrap(), errors))
    };
    let (good, errors) = look_at(&case.package()).unwrap();
    assert_eq!(errors, "");
    let image = mount_support::raw(&case.image());
    let inode_table = Reader::open(image, CacheSize::default()).unwrap().superblock().inode_table;
    let (mut files_hit, mut refused) = (0, 0);
    for span in &case.spans {
        fs::copy(case.package(), &changed).unwrap();
        flip(&changed, middle(span));
        let (found, errors) = match look_at(&changed) {
            Ok(looked) => looked,
            Err(errors) => {
                // Without superblock, or the root folder's inode, there is nothing to mount.
                assert!(errors.contains(&damaged(span)["package hello x1: ".len()..]), "{errors}");
                refused += 1;
                continue;
            }
        };
        let wrong = assert_only_errors(&found, &good, &format!("{span:?}"));
        let lines = damage_lines(&errors);
        if wrong > 0 {
            assert_eq!(lines, [damaged(span)], "{span:?}");
        } else {
            // Padding, and tables that nobody asked for.
            assert!(lines.is_empty() || lines == [damaged(span)], "{span:?}: {lines:?}");
        }
        if span.start >= 96 && span.end() <= inode_table {
            // No two blocks here are so small that they share a span; every other file reads as before.
            let hit = found.lines().filter(|line| line.contains("contents: Some(Err(5))")).count();
            assert_eq!((hit, wrong), (1, 1), "{span:?}");
            files_hit += 1;
        }
    }
    // Six files of noise, five blocks of the large one, the inner file.
    assert_eq!(files_hit, 12);
    assert!(refused >= 2, "{refused}");
}

#[test]
fn a_bit_flipped_while_it_is_mounted_gives_eio_and_one_line_until_it_is_right_again() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(small_tree, &["-comp", "zstd", "-no-fragments"]);
    let package = case.package();
    let mut session = Session::start(&stage, &[], &package);
    let good = look_in(&mut session, &stage);
    assert_eq!(session.finish(), "");
    let mut hit = 0;
    for span in &case.spans {
        let mut session = Session::start(&stage, &[], &package);
        flip(&package, middle(span));
        let found = look_in(&mut session, &stage);
        // Asked again, it is told once; and the kernel has kept no error.
        let again = look_in(&mut session, &stage);
        assert_eq!(found, again, "{span:?}");
        flip(&package, middle(span));
        assert_eq!(look_in(&mut session, &stage), good, "{span:?}");
        let errors = session.finish();
        let wrong = assert_only_errors(&found, &good, &format!("{span:?}"));
        if wrong > 0 {
            assert_eq!(damage_lines(&errors), [damaged(span)], "{span:?}");
            hit += 1;
        }
    }
    // All blocks of files, and the metadata that was not read with the root folder.
    assert!(hit >= 12, "{hit}");
}

#[test]
fn each_damaged_place_is_told_once_and_what_the_kernel_has_stays() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let make = |root: &Path| {
        for (seed, name) in [(1, "one"), (2, "two"), (3, "three")] {
            fs::write(root.join(name), noise(100_000, seed)).unwrap();
        }
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments"]);
    // Stored as they are, in the order of their names: one, three, two.
    let blocks: Vec<_> = case.spans.iter().filter(|span| span.length == 100_000).collect();
    assert_eq!(blocks.len(), 3);
    let package = case.package();
    let mut session = Session::start(&stage, &[], &package);
    session.tell("cat one > /dev/null");
    blocks.iter().for_each(|block| flip(&package, block.start + 7));
    let read =
        session.tell("for name in one two three two two; do cat $name > /dev/null && echo $name; done; :");
    // What was read before stays in the kernel's cache, as it was checked.
    assert_eq!(read, "one\nend 0\n");
    let errors = session.finish();
    assert_eq!(errors.matches("Input/output error").count(), 4, "{errors}");
    let mut lines = damage_lines(&errors);
    lines.sort_unstable();
    let mut expected = [damaged(blocks[1]), damaged(blocks[2])];
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

/// A package whose index has three leaves: 250 spans of a file each, and those behind them.
fn many_spans() -> Case {
    let make = |root: &Path| {
        for number in 0..250 {
            fs::write(root.join(format!("{number:03}")), noise(66_000, number)).unwrap();
        }
    };
    Case::new(make, &["-comp", "zstd", "-no-fragments", "-noI"])
}

/// Where a page of a package's index lies in its file.
fn index_page(package: &Path, page: u64) -> u64 {
    mount_support::open(package).footer().index_offset() + page * PAGE_SIZE as u64
}

/// Reads files of [`many_spans`] that all need the second leaf of its index, of which nobody has read before.
const READ_BEHIND_THE_SECOND_LEAF: &str =
    "for name in 130 150 170; do cat $name | wc -c; done; cat 010 240 | wc -c";

#[test]
fn a_bit_flipped_in_the_index_gives_eio_and_one_line_for_all_that_it_covers() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = many_spans();
    let package = case.package();
    let mut session = Session::start(&stage, &[], &package);
    session.tell("stat * > /dev/null");
    flip(&package, index_page(&package, 1) + 100);
    assert_eq!(session.tell(READ_BEHIND_THE_SECOND_LEAF), "0\n0\n0\n132000\nend 0\n");
    flip(&package, index_page(&package, 1) + 100);
    assert_eq!(session.tell(READ_BEHIND_THE_SECOND_LEAF), "66000\n66000\n66000\n132000\nend 0\n");
    let errors = session.finish();
    let line =
        "package hello x1: the index of the image cannot be used: index page 1 does not match its hash";
    assert_eq!(damage_lines(&errors), [line]);
}

/// A large file, and a small one behind it.
fn two_files(root: &Path) {
    fs::write(root.join("large"), noise(1 << 20, 3)).unwrap();
    fs::write(root.join("small"), noise(90_000, 4)).unwrap();
}

#[test]
fn a_file_cut_short_gives_eio_and_one_line_until_it_is_whole_again() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(two_files, &["-comp", "zstd", "-no-fragments"]);
    let package = case.package();
    let whole = fs::read(&package).unwrap();
    let read = "cat large small | cksum";
    let mut session = Session::start(&stage, &[], &package);
    let good = session.tell(read);
    assert_eq!(session.finish(), "");
    let end_of_files = 96 + (1 << 20) + 90_000;
    for length in [0, 1, 96, 8192, 200_000, end_of_files - 1, end_of_files, whole.len() as u64 - 1] {
        let mut session = Session::start(&stage, &[], &package);
        session.tell("ls -l > /dev/null");
        File::options().write(true).open(&package).unwrap().set_len(length).unwrap();
        let enough = length >= end_of_files;
        let found = session.tell("cat large small > /dev/null && echo all; ls");
        assert_eq!(found, if enough { "all\nlarge\nsmall\nend 0\n" } else { "large\nsmall\nend 0\n" });
        fs::write(&package, &whole).unwrap();
        assert_eq!(session.tell(read), good, "{length}");
        let errors = session.finish();
        let lines = damage_lines(&errors);
        assert_eq!(lines.len(), usize::from(!enough), "{length}: {errors}");
        assert!(lines.iter().all(|line| line.contains(": the image ends before byte ")), "{errors}");
    }
}

/// Maps a file, says so by making the file `$OUT.mapped`, waits for `$OUT.go`, and reads a byte of each page.
const MAP: &str = "\
import mmap, os, sys, time
file = open(sys.argv[1], 'rb')
memory = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
open(os.environ['OUT'] + '.mapped', 'w').close()
while not os.path.exists(os.environ['OUT'] + '.go'):
    time.sleep(0.01)
print(sum(memory[at] for at in range(0, len(memory), 4096)))
";

/// Has a session start an app that maps a file.
fn map(session: &mut Session, stage: &Stage, file: &str) {
    let script = stage.folder.path().join("map.py");
    fs::write(&script, MAP).unwrap();
    let output = session.tell(&format!(
        "rm -f \"$OUT\".*; /usr/bin/python3 '{}' {file} > \"$OUT\".sum & app=$!; \
         until [ -e \"$OUT\".mapped ]; do sleep 0.01; done",
        script.display()
    ));
    assert_eq!(output, "end 0\n");
}

/// Lets it read what it mapped, and returns what it wrote and its status.
fn read_mapped(session: &mut Session) -> String {
    session.tell(": > \"$OUT\".go; wait $app; echo $? >> \"$OUT\".sum; cat \"$OUT\".sum")
}

/// What [`MAP`] writes of [`two_files`]' large one, and how it ends.
fn sum_of_large() -> String {
    let sum: u64 = noise(1 << 20, 3).iter().step_by(4096).map(|&byte| u64::from(byte)).sum();
    format!("{sum}\n0\nend 0\n")
}

/// A shell's word for: ended by SIGBUS.
const BUS_ERROR: &str = "135\nend 0\n";

#[test]
fn an_app_that_maps_a_file_cut_short_is_ended_by_sigbus_and_no_other_is_harmed() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(two_files, &["-comp", "zstd", "-no-fragments"]);
    let package = case.package();
    let whole = fs::read(&package).unwrap();
    let mut session = Session::start(&stage, &[], &package);
    map(&mut session, &stage, "large");
    File::options().write(true).open(&package).unwrap().set_len(300_000).unwrap();
    assert_eq!(read_mapped(&mut session), BUS_ERROR);
    fs::write(&package, &whole).unwrap();
    assert_eq!(session.tell("cat small | wc -c"), "90000\nend 0\n");
    map(&mut session, &stage, "large");
    assert_eq!(read_mapped(&mut session), sum_of_large());
    let errors = session.finish();
    assert_eq!(damage_lines(&errors).len(), 1, "{errors}");
}

#[test]
fn a_package_that_is_removed_or_replaced_while_it_is_mounted_goes_on_as_it_was() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(two_files, &["-comp", "zstd", "-no-fragments"]);
    let package = case.package();
    let mut session = Session::start(&stage, &[], &package);
    let other = Case::new(|root| fs::write(root.join("large"), "other").unwrap(), &["-comp", "zstd"]);
    fs::rename(other.package(), &package).unwrap();
    assert_eq!(session.tell("cat large | wc -c"), "1048576\nend 0\n");
    fs::remove_file(&package).unwrap();
    assert_eq!(session.tell("cat small | wc -c"), "90000\nend 0\n");
    assert_eq!(session.finish(), "");
}

#[test]
fn a_package_overwritten_with_another_while_it_is_mounted_gives_eio_and_nothing_of_the_other() {
    if skip() {
        return;
    }
    let stage = Stage::new();
    let case = Case::new(two_files, &["-comp", "zstd", "-no-fragments"]);
    let other = |root: &Path| {
        fs::write(root.join("large"), noise(1 << 20, 77)).unwrap();
        fs::write(root.join("small"), noise(90_000, 78)).unwrap();
    };
    let other = Case::new(other, &["-comp", "zstd", "-no-fragments"]);
    let package = case.package();
    let mut session = Session::start(&stage, &[], &package);
    session.tell("ls -l > /dev/null");
    fs::write(&package, fs::read(other.package()).unwrap()).unwrap();
    // Of eight blocks and one, none comes through.
    let script = "for block in 0 1 2 3 4 5 6 7; do dd if=large bs=131072 count=1 skip=$block 2> /dev/null; done | wc -c; \
                  cat small | wc -c";
    assert_eq!(session.tell(script), "0\n0\nend 0\n");
    let errors = session.finish();
    let mut lines = damage_lines(&errors);
    lines.sort_unstable();
    let mut expected: Vec<String> =
        case.spans.iter().filter(|span| span.length >= 90_000).map(damaged).collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

/// The line that tells that the disk does not give a span.
fn unreadable(span: &Span) -> String {
    format!(
        "package hello x1: byte {} of the image cannot be read: Input/output error (os error 5)",
        span.start
    )
}

#[test]
fn a_disk_that_fails_gives_eio_and_one_line_until_it_gives_the_bytes_again() {
    if skip() {
        return;
    }
    let make = |root: &Path| {
        fs::write(root.join("a"), noise(1 << 20, 1)).unwrap();
        // The kernel reads ahead, and what it reads at once fails at once.
        fs::write(root.join("between"), noise(4 << 20, 2)).unwrap();
        fs::write(root.join("c"), noise(100_000, 3)).unwrap();
        fs::write(root.join("d"), noise(100_000, 4)).unwrap();
    };
    let case = Case::new(make, &["-comp", "zstd", "-no-fragments"]);
    let Some(disk) = Disk::with(&case.package()) else { return };
    let stage = Stage::new();
    let blocks: Vec<_> = case.spans.iter().filter(|span| span.length == 100_000).collect();
    let mut session = Session::start(&stage, &[], &disk.file());
    session.tell("ls -l > /dev/null; head -c 1000 a > /dev/null");
    // The second sector of `c`, and all behind it: `d`, the index, the envelope.
    disk.break_at(blocks[0].start + 4096);
    let read = session.tell("cat a | wc -c; for name in c d c d; do cat $name | wc -c; done");
    assert_eq!(read, "1048576\n0\n0\n0\n0\nend 0\n");
    disk.mend();
    assert_eq!(session.tell("cat c d | wc -c"), "200000\nend 0\n");
    let errors = session.finish();
    assert_eq!(errors.matches("Input/output error\n").count(), 4, "{errors}");
    assert_eq!(damage_lines(&errors), [unreadable(blocks[0]), unreadable(blocks[1])]);
}

#[test]
fn an_app_that_maps_a_file_of_a_disk_that_fails_is_ended_by_sigbus_and_no_other_is_harmed() {
    if skip() {
        return;
    }
    let case = Case::new(two_files, &["-comp", "zstd", "-no-fragments"]);
    let Some(disk) = Disk::with(&case.package()) else { return };
    let stage = Stage::new();
    let mut session = Session::start(&stage, &[], &disk.file());
    map(&mut session, &stage, "large");
    // In its sixth block.
    disk.break_at(96 + 700_000);
    assert_eq!(read_mapped(&mut session), BUS_ERROR);
    assert_eq!(session.tell("head -c 600000 large | wc -c; cat small | wc -c"), "600000\n0\nend 0\n");
    disk.mend();
    assert_eq!(session.tell("cat small | wc -c"), "90000\nend 0\n");
    map(&mut session, &stage, "large");
    assert_eq!(read_mapped(&mut session), sum_of_large());
    let errors = session.finish();
    let block = |start: u64| case.spans.iter().find(|span| span.start == start).unwrap();
    let lines = damage_lines(&errors);
    for span in [block(96 + 5 * 131_072), block(96 + (1 << 20))] {
        assert_eq!(lines.iter().filter(|line| **line == unreadable(span)).count(), 1, "{lines:?}");
    }
}

#[test]
fn a_disk_that_fails_at_the_index_gives_eio_and_one_line_for_all_that_it_covers() {
    if skip() {
        return;
    }
    let case = many_spans();
    let Some(disk) = Disk::with(&case.package()) else { return };
    let stage = Stage::new();
    let mut session = Session::start(&stage, &[], &disk.file());
    session.tell("stat * > /dev/null");
    // The root page is the last one, and no leaf is read without it.
    disk.break_at(index_page(&case.package(), 1));
    assert_eq!(session.tell(READ_BEHIND_THE_SECOND_LEAF), "0\n0\n0\n132000\nend 0\n");
    disk.mend();
    assert_eq!(session.tell(READ_BEHIND_THE_SECOND_LEAF), "66000\n66000\n66000\n132000\nend 0\n");
    let errors = session.finish();
    let line =
        "package hello x1: page 3 of the image's index cannot be read: Input/output error (os error 5)";
    assert_eq!(damage_lines(&errors), [line]);
}
