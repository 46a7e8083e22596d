//! Go modules: the list that Go's linker puts into every program (Go's package `debug/buildinfo`, since Go 1.18).
//!
//! ```text
//! section .go.buildinfo, at 16 bytes: 14 bytes magic, pointer size, flags; 16 bytes of no use here
//!     then two texts, each after its length as a varint: Go's version, and the list between two marks of 16 bytes
//! list: lines `dep TAB path TAB version TAB hash`; `=> TAB path TAB version TAB hash` replaces the one before
//! ```

use std::fs::File;
use std::io::Read;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ReadCache};

use super::{Component, Ecosystem};

const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The flag of texts that follow the header, rather than lie somewhere else in the program.
const INLINE: u8 = 2;
/// Length of the marks around the list.
const MARK: usize = 16;
/// Longest list in bytes.
const LIST_LIMIT: usize = 4 << 20;

/// The modules that a program is linked of; none where it is no program of Go's.
pub(super) fn modules(mut file: File) -> Vec<Component> {
    let mut start = [0; 5];
    // Most files are no ELF of 64 bits, and are not looked into.
    if file.read_exact(&mut start).is_err() || start != *b"\x7fELF\x02" {
        return Vec::new();
    }
    section(file).as_deref().and_then(list).map(|list| parse(&list)).unwrap_or_default()
}

fn section(file: File) -> Option<Vec<u8>> {
    let cache = ReadCache::new(file);
    let elf = ElfFile64::<Endianness, _>::parse(&cache).ok()?;
    let section = elf.section_by_name(".go.buildinfo")?;
    (section.size() <= LIST_LIMIT as u64).then(|| section.data().ok().map(<[u8]>::to_vec))?
}

/// The list in a section.
fn list(section: &[u8]) -> Option<String> {
    if !section.starts_with(MAGIC) || section.get(15)? & INLINE == 0 {
        return None;
    }
    let (_version, rest) = text(section.get(32..)?)?;
    let (marked, _) = text(rest)?;
    let list = marked.get(MARK..marked.len().checked_sub(MARK)?)?;
    String::from_utf8(list.to_vec()).ok()
}

/// A text after its length, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut length: usize = 0;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return bytes.get(at + 1..)?.split_at_checked(length);
        }
    }
    None
}

fn parse(list: &str) -> Vec<Component> {
    let mut found: Vec<Component> = Vec::new();
    for line in list.lines() {
        let mut fields = line.split('\t');
        let (kind, path, version) = (fields.next(), fields.next(), fields.next());
        let replaces = kind == Some("=>");
        if !replaces && kind != Some("dep") {
            continue;
        }
        if replaces {
            found.pop();
        }
        let (Some(path), Some(version)) = (path, version) else { continue };
        found.extend(Component::new(Ecosystem::Go, path, version));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_damage_gives_nothing() {
        let lines = "path\texample.com/some/program/of/ours\nmod\texample.com/some/program\t(devel)\ndep\tgolang.org/x/a\tv0.1.0\th1:x=\ndep\tb\tv1\n=>\tc\tv2\t\n";
        let marked = [&[0x30; MARK], lines.as_bytes(), &[0x31; MARK]].concat();
        let mut section = [MAGIC, &[8, INLINE], &[0; 16], &[4], b"go1."].concat();
        assert!(marked.len() >= 128);
        section.extend([(marked.len() & 0x7f) as u8 | 0x80, (marked.len() >> 7) as u8]);
        section.extend(&marked);
        let found = parse(&list(&section).unwrap());
        let names: Vec<&str> = found.iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["golang.org/x/a", "c"]);
        for end in 0..section.len() {
            let _ = list(&section[..end]);
        }
        assert_eq!(list(&[MAGIC, &[8, 0], &[0; 40]].concat()), None);
        assert_eq!(text(&[0xff; 9]), None);
    }
}
