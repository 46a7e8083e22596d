//! Archives that nobody should make.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::{Workshop, filter, tar};

#[test]
fn what_an_archive_must_not_do_is_refused_by_name_and_nothing_is_left() {
    for (entries, entry, words) in [
        (&[(b'0', &b"../out"[..], &b"x"[..])][..], "../out", "leads upwards"),
        (&[(b'0', b"a/../../out", b"x")], "a/../../out", "leads upwards"),
        (&[(b'0', b"/tmp/pack-out", b"x")], "/tmp/pack-out", "absolute"),
        (&[(b'2', b"link", b"/tmp"), (b'0', b"link/pack-out", b"x")], "link/pack-out", "leads over"),
        (&[(b'2', b"link", b".."), (b'0', b"link/out", b"x")], "link/out", "leads over"),
        (&[(b'2', b"link", b".."), (b'1', b"hard", b"link/project/pack.yaml")], "hard", "leads over"),
        (&[(b'1', b"hard", b"../project/pack.yaml")], "hard", "leads upwards"),
        (&[(b'1', b"hard", b"/etc/passwd")], "hard", "absolute"),
        (&[(b'1', b"hard", b"nothing")], "hard", "has not brought"),
        (&[(b'2', b"link", b"/etc/passwd"), (b'1', b"hard", b"link")], "hard", "no file"),
        (&[(b'0', b"file", b"x"), (b'0', b"file/below", b"x")], "file/below", "no folder"),
        (&[(b'5', b"folder", b""), (b'0', b"folder", b"x")], "folder", "a folder is there already"),
        (&[(b'3', b"null", b"")], "null", "neither file"),
        (&[(b'6', b"fifo", b"")], "fifo", "neither file"),
        (&[(b'0', b".", b"x")], ".", "no name"),
        (&[], "", "nothing in it"),
    ] {
        let workshop = Workshop::new("source: a.tar").write("a.tar", &tar(entries));
        let told = workshop.refused();
        assert!(told.contains(words) && told.contains(entry), "{entry}: {told}");
        assert!(!workshop.path("out").exists() && !Path::new("/tmp/pack-out").exists());
    }
}

#[test]
fn names_that_come_twice_are_the_last_and_set_uid_bits_are_dropped() {
    let entries: &[(u8, &[u8], &[u8])] = &[
        (b'2', b"a", b"/etc/passwd"),
        (b'0', b"a", b"first"),
        (b'0', b"a", b"last"),
        (b'0', b"./b//c", b"x"),
    ];
    let workshop = Workshop::new("source: a.tar").write("a.tar", &tar(entries));
    workshop.fetched();
    assert_eq!(workshop.read("a"), "last");
    assert_eq!(workshop.read("b/c"), "x");
    assert_eq!(fs::metadata(workshop.path("target/a")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn damaged_archives_are_errors_and_nothing_else() {
    let good = tar(&[(b'0', b"d/a", &[b'x'; 3000]), (b'2', b"d/l", b"a"), (b'1', b"d/h", b"d/a")]);
    let pack = |program: &str| filter(program, &["-c"], &good);
    for bytes in [good.clone(), pack("gzip"), pack("xz"), pack("bzip2"), pack("zstd")] {
        let workshop = Workshop::new("source: a.tar").write("a.tar", &bytes);
        workshop.fetched();
        for seed in 0..60_usize {
            let mut damaged = bytes.clone();
            let at = seed * 7919 % damaged.len();
            damaged[at] ^= 1 << (seed % 8);
            damaged.truncate(if seed % 3 == 0 { at } else { damaged.len() });
            fs::write(workshop.path("project/a.tar"), &damaged).unwrap();
            let _ = workshop.fetch();
        }
    }
}

#[test]
fn an_archive_that_ends_early_or_late_is_told_though_all_files_came_out() {
    let good = tar(&[(b'0', b"d/a", &[b'x'; 3000])]);
    for program in ["gzip", "xz", "bzip2", "zstd"] {
        let arguments: &[&str] = if program == "zstd" { &["-c", "--check"] } else { &["-c"] };
        let whole = filter(program, arguments, &good);
        let mut wrong = whole.clone();
        // The checksum of what was compressed stands at the end; xz has it before its index.
        let at = whole.len() - if program == "xz" { 45 } else { 5 };
        wrong[at] ^= 0x10;
        for bytes in [&whole[..whole.len() - 3], &wrong] {
            Workshop::new("source: a.tar").write("a.tar", bytes).refused();
        }
    }
}

/// A pattern of zeros that compresses as far as possible.
fn zeros(program: &str, mebibytes: usize) -> Vec<u8> {
    filter(program, &["-c"], &vec![0; mebibytes << 20])
}

#[test]
fn an_archive_that_grows_beyond_belief_is_refused_before_it_fills_the_disk() {
    // A file of 300 MiB in an archive of some kilobytes, in its header and in fact.
    let mut header = tar(&[(b'0', b"d/bomb", b"")])[..512].to_vec();
    header[124..136].copy_from_slice(format!("{:011o}\0", 300 << 20).as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let bomb = [filter("zstd", &["-c"], &header), zeros("zstd", 301)].concat();
    assert!(bomb.len() < 100_000);
    let told = Workshop::new("source: a.tar").write("a.tar", &bomb).refused();
    assert!(told.contains("d/bomb") && told.contains("more than 256 MiB"), "{told}");
    // A long name, which tar's reader would keep in memory.
    for kind in [b'x', b'L'] {
        let name = tar(&[(kind, b"name", &vec![b'n'; 3 << 20]), (b'0', b"a", b"x")]);
        let told = Workshop::new("source: a.tar").write("a.tar", &name).refused();
        assert!(told.contains("far more than"), "{told}");
    }
    // A comment for the whole archive, which is only skipped.
    let comment = tar(&[(b'g', b"name", &vec![b'n'; 3 << 20]), (b'0', b"a", b"x")]);
    Workshop::new("source: a.tar").write("a.tar", &comment).fetched();
    // What follows the archive.
    let tail = [filter("zstd", &["-c"], &tar(&[(b'0', b"d/a", b"x")])), zeros("zstd", 3000)].concat();
    let told = Workshop::new("source: a.tar").write("a.tar", &tail).refused();
    assert!(told.contains("far more than"), "{told}");
}

#[test]
fn a_sparse_file_of_a_size_beyond_all_disks_is_refused_at_once() {
    let mut header = tar(&[(b'S', b"sparse", b"")])[..512].to_vec();
    header[157..257].fill(0);
    header[257..265].copy_from_slice(b"ustar  \0");
    // One piece of nothing at the very end (GNU's old format: offset and length in the header, then the real size).
    let end = format!("{:011o}\0", 7_u64 << 30);
    header[386..398].copy_from_slice(end.as_bytes());
    header[398..410].copy_from_slice(b"00000000000\0");
    header[483..495].copy_from_slice(end.as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    header.resize(2048, 0);
    let told = Workshop::new("source: a.tar").write("a.tar", &header).refused();
    assert!(told.contains("`sparse`") && told.contains("more than 256 MiB"), "{told}");
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    let long = |length: usize| format!("path={}\n", "n".repeat(length));
    let record = |text: &str| {
        let length = (1..)
            .map(|digits| text.len() + 1 + digits)
            .find(|all| all.to_string().len() == all - text.len() - 1);
        format!("{} {text}", length.unwrap()).into_bytes()
    };
    for (record, words) in [
        (record(&long(256)), "none that Linux can use"),
        (record(&format!("path={}\n", "d/".repeat(2100))), "longer than Linux"),
        (record("path=a\0b\n"), "none that Linux can use"),
        (record("path=/etc/passwd\n"), "absolute"),
        (record("path=../up\n"), "leads upwards"),
        (record("GNU.sparse.major=1\n"), "sparse"),
        (b"99999999999999999999 path=x\n".to_vec(), "a.tar"),
    ] {
        let bytes = tar(&[(b'x', b"x", &record), (b'0', b"a", b"x")]);
        let told = Workshop::new("source: a.tar").write("a.tar", &bytes).refused();
        assert!(told.contains(words), "{words}: {told}");
    }
}

/// A zip archive of entries, stored as they are: name, mode, content, size that is claimed.
fn zip(entries: &[(&[u8], u32, &[u8])]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, mode, content) in entries {
        let mut crc = !0_u32;
        for byte in *content {
            crc ^= u32::from(*byte);
            (0..8).for_each(|_| crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 });
        }
        let length = content.len() as u32;
        let mut shared = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for number in [!crc, length, length] {
            shared.extend(number.to_le_bytes());
        }
        shared.extend((name.len() as u16).to_le_bytes());
        shared.extend([0, 0]);
        directory.extend(b"PK\x01\x02\x14\x03");
        directory.extend(&shared);
        directory.extend([0; 6]);
        directory.extend((mode << 16).to_le_bytes());
        directory.extend((bytes.len() as u32).to_le_bytes());
        directory.extend(*name);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(&shared);
        bytes.extend(*name);
        bytes.extend(*content);
    }
    let (count, start) = ((entries.len() as u16).to_le_bytes(), bytes.len() as u32);
    bytes.extend(&directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(count.iter().chain(&count));
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;

#[test]
fn zip_archives_are_held_to_the_same() {
    for (entries, entry, words) in [
        (&[(&b"../out"[..], FILE, &b"x"[..])][..], "../out", "leads upwards"),
        (&[(b"/tmp/pack-out", FILE, b"x")], "/tmp/pack-out", "absolute"),
        (&[(b"link", LINK, b"/tmp"), (b"link/pack-out", FILE, b"x")], "link/pack-out", "leads over"),
        (&[(b"file", FILE, b"x"), (b"file/below", FILE, b"x")], "file/below", "no folder"),
        (&[(b"link", LINK, b"")], "link", "is no path"),
        (&[(b"null", 0o020_666, b"")], "null", "neither file"),
        (&[(b"fifo", 0o010_666, b"")], "fifo", "neither file"),
        (&[(b"a\0b", FILE, b"x")], "a", "none that Linux can use"),
        (&[], "", "nothing in it"),
    ] {
        let workshop = Workshop::new("source: a.zip").write("a.zip", &zip(entries));
        let told = workshop.refused();
        assert!(told.contains(words) && told.contains(entry), "{entry}: {told}");
        assert!(!workshop.path("out").exists() && !Path::new("/tmp/pack-out").exists());
    }
    let entries: &[(&[u8], u32, &[u8])] = &[
        (b"d/a", FILE, b"first"),
        (b"d/a", 0o104_755, b"last"),
        (b"d/l", LINK, b"/etc/passwd"),
        (b"d/caf\xe9", FILE, b""),
    ];
    let workshop = Workshop::new("source: a.zip").write("a.zip", &zip(entries));
    workshop.fetched();
    assert_eq!(workshop.read("a"), "last");
    assert_eq!(fs::metadata(workshop.path("target/a")).unwrap().mode() & 0o7777, 0o755);
    assert_eq!(fs::read_link(workshop.path("target/l")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn a_zip_archive_that_lies_about_its_size_or_content_is_refused() {
    // A file of 300 MiB of zeros as `zip` makes it, which says so; and the same saying that it is one of three bytes.
    let workshop = Workshop::new("source: a.zip");
    let path = workshop.path("zeros");
    fs::File::create(&path).unwrap().set_len(300 << 20).unwrap();
    let target = workshop.path("project/a.zip");
    crate::run(workshop.folder.path(), "zip", &["-q", target.to_str().unwrap(), "zeros"]);
    assert!(workshop.refused().contains("the most for one of its size"));
    let mut bytes = fs::read(&target).unwrap();
    let size = (300_u32 << 20).to_le_bytes();
    while let Some(at) = bytes.windows(4).position(|four| four == size) {
        bytes[at..at + 4].copy_from_slice(&3_u32.to_le_bytes());
    }
    fs::write(&target, &bytes).unwrap();
    workshop.refused();
    // Content that is not what its checksum says.
    let mut bytes = zip(&[(b"d/a", FILE, b"content")]);
    let at = bytes.windows(7).position(|seven| seven == b"content").unwrap();
    bytes[at] ^= 1;
    Workshop::new("source: a.zip").write("a.zip", &bytes).refused();
    // A directory that claims more entries than it has room for.
    let mut bytes = zip(&[(b"d/a", FILE, b"content")]);
    let end = bytes.len() - 14;
    bytes[end..end + 4].copy_from_slice(&[0xfe, 0xff, 0xfe, 0xff]);
    Workshop::new("source: a.zip").write("a.zip", &bytes).refused();
}

#[test]
fn a_debian_package_is_held_to_the_same() {
    let member = |name: &str, content: &[u8]| {
        let mut bytes =
            format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).into_bytes();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
        bytes
    };
    let control =
        b"Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: A <a@example.org>\nDescription: x\n";
    let package = |data: &[u8]| {
        let parts = [
            member("debian-binary", b"2.0\n"),
            member("control.tar", &tar(&[(b'0', b"./control", control)])),
            member("data.tar", data),
        ];
        [b"!<arch>\n".to_vec(), parts.concat()].concat()
    };
    let good = package(&tar(&[(b'0', b"./usr/bin/a", b"x")]));
    let workshop = Workshop::new("source: a.deb").write("a.deb", &good);
    workshop.fetched();
    assert_eq!(workshop.read("usr/bin/a"), "x");
    for entries in [
        &[(b'0', &b"../out"[..], &b"x"[..])][..],
        &[(b'1', b"hard", b"../project/pack.yaml")],
        &[(b'3', b"null", b"")],
    ] {
        let workshop = Workshop::new("source: a.deb").write("a.deb", &package(&tar(entries)));
        let told = workshop.refused();
        assert!(told.contains("cannot unpack `a.deb`") && !workshop.path("out").exists(), "{told}");
    }
    for seed in 0..20_usize {
        let mut damaged = good.clone();
        let at = seed * 7919 % damaged.len();
        damaged[at] ^= 1 << (seed % 8);
        let _ = Workshop::new("source: a.deb").write("a.deb", &damaged).fetch();
    }
}

#[test]
fn damaged_zip_archives_are_errors_and_nothing_else() {
    let good = zip(&[(b"d/a", FILE, &[b'x'; 3000]), (b"d/l", LINK, b"a"), (b"d/e/", 0o040_755, b"")]);
    let workshop = Workshop::new("source: a.zip").write("a.zip", &good);
    workshop.fetched();
    for seed in 0..400_usize {
        let mut damaged = good.clone();
        // Mostly where there is more than content.
        let from_end = seed % 3 != 0;
        let at = if from_end { damaged.len() - 1 - seed * 7919 % 260 } else { seed * 7919 % damaged.len() };
        damaged[at] ^= 1 << (seed % 8);
        damaged.truncate(if seed % 7 == 0 { at } else { damaged.len() });
        fs::write(workshop.path("project/a.zip"), &damaged).unwrap();
        let _ = workshop.fetch();
    }
}
