//! What the headers of a program or library say: what it is made for, what it needs, what it offers. The format is that of
//! the System V ABI, chapters 4 and 5, and of the Linux Standard Base ("Symbol Versioning").
//!
//! Files are hostile. They are read in pieces, each bounded, all of one file together too; so is what is kept of all
//! files. Tables that refer to themselves are left after a number of entries.

use std::cell::Cell;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use object::Endianness;
use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader, SectionHeader};
use object::read::{ReadCache, ReadRef, StringTable};
use pack_schemas::names::Architecture;

use super::checks::ELF_MALFORMED;
use super::listing::{Entry, Kind, Listing, Opened};
use super::{Findings, shown};

/// Longest table that is read, in bytes.
const PIECE_LIMIT: u64 = 4 << 20;
/// Most bytes that are read of one file.
const FILE_LIMIT: u64 = 32 << 20;
/// Most text that is kept of one file, in bytes; libpython's is 2 KiB.
const TEXT_LIMIT: usize = 256 << 10;
/// Most text that is kept of all files.
const ALL_TEXT_LIMIT: usize = 64 << 20;
/// Most entries of a dynamic section or of tables of versions that are looked at; glibc's have some hundred.
const ENTRIES_MOST: usize = 20_000;

/// A program or library of the package.
#[derive(Debug)]
pub(super) struct Object<'a> {
    pub entry: &'a Entry,
    pub facts: Facts,
}

/// What its headers say.
#[derive(Debug, Default, Clone)]
pub(super) struct Facts {
    /// What it is made for.
    pub machine: Machine,
    /// The dynamic linker that it asks for; only programs do.
    pub interpreter: Option<Vec<u8>>,
    /// The libraries that it needs.
    pub needed: Vec<Vec<u8>>,
    /// Its name as a library.
    pub soname: Option<Vec<u8>>,
    /// `DT_RPATH`, separated by colons.
    pub rpath: Option<Vec<u8>>,
    /// `DT_RUNPATH`, separated by colons; where it is there, the other plays no part.
    pub runpath: Option<Vec<u8>>,
    pub executable_stack: bool,
    pub text_relocations: bool,
    /// Versions of symbols that it needs of libraries: library and version.
    pub needed_versions: Vec<(Vec<u8>, Vec<u8>)>,
    /// Versions of symbols that it offers.
    pub versions: Vec<Vec<u8>>,
    /// Bytes of what only a debugger reads.
    pub debug_bytes: u64,
}

/// What a program is made for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Machine {
    number: u16,
    is_64: bool,
}

impl Machine {
    /// That of a package's programs.
    pub fn of(architecture: Architecture) -> Option<Machine> {
        let number = match architecture {
            Architecture::Amd64 => elf::EM_X86_64,
            Architecture::Arm64 => elf::EM_AARCH64,
            Architecture::All => return None,
        };
        Some(Machine { number: number.0, is_64: true })
    }

    /// Its name for people.
    pub fn name(self) -> String {
        let bits = if self.is_64 { 64 } else { 32 };
        let known = [
            (elf::EM_X86_64, true, "amd64"),
            (elf::EM_X86_64, false, "x32"),
            (elf::EM_386, false, "i386"),
            (elf::EM_AARCH64, true, "arm64"),
            (elf::EM_ARM, false, "arm"),
            (elf::EM_RISCV, true, "riscv64"),
            (elf::EM_PPC64, true, "ppc64"),
            (elf::EM_S390, true, "s390x"),
        ];
        let name = known.iter().find(|(number, is_64, _)| (number.0, *is_64) == (self.number, self.is_64));
        name.map_or_else(
            || format!("machine {} with {bits} bits", self.number),
            |(.., name)| (*name).to_owned(),
        )
    }
}

/// Reads the headers of every program and library.
pub(super) fn read_all<'a>(files: &'a Listing, found: &mut Findings) -> Vec<Object<'a>> {
    let mut objects = Vec::new();
    let mut text_left = ALL_TEXT_LIMIT;
    for entry in files.entries().iter().filter(|entry| may_be_object(entry)) {
        let facts = files.open(entry).map_err(|error| error.to_string()).and_then(|opened| read(&opened));
        match facts {
            Ok(Some(facts)) if facts.text_size() <= text_left => {
                text_left -= facts.text_size();
                objects.push(Object { entry, facts });
            }
            Ok(None) => {}
            Ok(Some(_)) => malformed(entry, "the programs of the package have too many names in them", found),
            Err(reason) => malformed(entry, &reason, found),
        }
    }
    objects
}

fn malformed(entry: &Entry, reason: &str, found: &mut Findings) {
    let message = format!("is a program or library that cannot be parsed: {}", shown(reason.as_bytes()));
    found.file(ELF_MALFORMED, &entry.path, message, "build it anew; the file may be cut off or damaged");
}

/// What is loaded as a program or library is executable or bears a library's name; so not every file has to be opened.
fn may_be_object(entry: &Entry) -> bool {
    let name = entry.name();
    let is_library = name.windows(3).any(|part| part == b".so") || name.ends_with(b".node");
    matches!(entry.kind, Kind::File(size) if size >= 4) && (is_library || entry.is_executable())
}

impl Facts {
    /// Bytes of all names in it.
    fn text_size(&self) -> usize {
        let single = [&self.interpreter, &self.soname, &self.rpath, &self.runpath];
        let single: usize = single.into_iter().flatten().map(Vec::len).sum();
        let lists: usize = self.needed.iter().chain(&self.versions).map(|text| text.len() + 24).sum();
        let versions: usize =
            self.needed_versions.iter().map(|(file, version)| file.len() + version.len() + 48).sum();
        single + lists + versions
    }

    /// Whether it is started rather than loaded.
    pub fn is_program(&self) -> bool {
        self.interpreter.is_some()
    }
}

/// Reads the headers of a file: nothing where it is neither program nor library.
pub(super) fn read(opened: &Opened<'_>) -> Result<Option<Facts>, String> {
    let mut start = [0; 18];
    let count = opened.read_up_to(0, &mut start).map_err(|error| error.to_string())?;
    if !start.starts_with(&elf::ELFMAG) {
        return Ok(None);
    }
    if count < start.len() {
        return Err("it ends within its header".to_owned());
    }
    let cache = ReadCache::new(Window { opened, at: 0 });
    let bytes_left = Cell::new(FILE_LIMIT);
    let data = Limited { cache: &cache, bytes_left: &bytes_left };
    let facts = match start[4] {
        1 => parse::<elf::FileHeader32<Endianness>>(data),
        2 => parse::<elf::FileHeader64<Endianness>>(data),
        _ => return Err("it is neither for 32 nor for 64 bits".to_owned()),
    };
    facts.map_err(|Malformed(reason)| reason)
}

fn parse<Elf: FileHeader<Endian = Endianness>>(data: Limited<'_, '_>) -> Result<Option<Facts>, Malformed> {
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    if ![elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) {
        return Ok(None);
    }
    let machine = Machine { number: header.e_machine(endian).0, is_64: header.is_class_64() };
    let mut facts = Facts { machine, ..Facts::default() };
    let segments = header.program_headers(endian, data)?;
    for segment in segments {
        if let Some(interpreter) = segment.interpreter(endian, data)? {
            facts.interpreter = Some(interpreter.get(..4096).unwrap_or(interpreter).to_vec());
        }
        if segment.p_type(endian) == elf::PT_GNU_STACK {
            facts.executable_stack = segment.p_flags(endian).0 & elf::PF_X.0 != 0;
        }
        if let Some(dynamic) = segment.dynamic(endian, data)? {
            read_dynamic::<Elf>(&mut facts, endian, segments, dynamic, data);
        }
    }
    // A program runs without its section headers, and some tools take them away.
    if let Ok(sections) = header.sections(endian, data) {
        read_versions(&mut facts, endian, &sections, data)?;
        facts.debug_bytes = debug_bytes(endian, &sections);
    }
    match facts.text_size() > TEXT_LIMIT {
        true => Err(too_much()),
        false => Ok(Some(facts)),
    }
}

fn too_much() -> Malformed {
    Malformed("it has more names in it than any program".to_owned())
}

/// Why a file cannot be parsed.
struct Malformed(String);

impl From<object::read::Error> for Malformed {
    fn from(error: object::read::Error) -> Malformed {
        Malformed(error.to_string())
    }
}

fn read_dynamic<'data, Elf: FileHeader<Endian = Endianness>>(
    facts: &mut Facts,
    endian: Endianness,
    segments: &[Elf::ProgramHeader],
    dynamic: &[Elf::Dyn],
    data: Limited<'data, '_>,
) {
    let entries = || {
        let used =
            dynamic.iter().take(ENTRIES_MOST).map(|entry| (entry.d_tag(endian), entry.d_val(endian).into()));
        used.take_while(|(tag, _): &(_, u64)| *tag != elf::DT_NULL)
    };
    let value = |wanted| entries().find(|(tag, _)| *tag == wanted).map(|(_, value)| value);
    let size = value(elf::DT_STRSZ).unwrap_or(0);
    let strings = value(elf::DT_STRTAB).and_then(|address| {
        let start = offset_of::<Elf>(endian, segments, address)?;
        Some(StringTable::new(data, start, start.checked_add(size)?))
    });
    let text = |offset: u64| {
        let offset = u32::try_from(offset).ok()?;
        strings.as_ref()?.get(offset).ok().map(<[u8]>::to_vec)
    };
    let mut kept = 0;
    for (tag, value) in entries() {
        match tag {
            elf::DT_NEEDED if kept < TEXT_LIMIT => {
                let name = text(value).unwrap_or_default();
                kept += name.len() + 24;
                facts.needed.push(name);
            }
            elf::DT_SONAME => facts.soname = text(value),
            elf::DT_RPATH => facts.rpath = text(value),
            elf::DT_RUNPATH => facts.runpath = text(value),
            elf::DT_TEXTREL => facts.text_relocations = true,
            elf::DT_FLAGS => facts.text_relocations |= value & elf::DF_TEXTREL.0 != 0,
            _ => {}
        }
    }
    facts.needed.retain(|name| !name.is_empty());
}

/// Where in the file stands what is loaded to an address.
fn offset_of<Elf: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    segments: &[Elf::ProgramHeader],
    address: u64,
) -> Option<u64> {
    segments.iter().filter(|segment| segment.p_type(endian) == elf::PT_LOAD).find_map(|segment| {
        let (start, size): (u64, u64) = (segment.p_vaddr(endian).into(), segment.p_filesz(endian).into());
        let within = address.checked_sub(start).filter(|within| *within < size)?;
        let offset: u64 = segment.p_offset(endian).into();
        offset.checked_add(within)
    })
}

type Sections<'data, 'file, Elf> = object::read::elf::SectionTable<'data, Elf, Limited<'data, 'file>>;

fn read_versions<'data, 'file, Elf: FileHeader<Endian = Endianness>>(
    facts: &mut Facts,
    endian: Endianness,
    sections: &Sections<'data, 'file, Elf>,
    data: Limited<'data, 'file>,
) -> Result<(), Malformed> {
    let mut left = ENTRIES_MOST;
    let mut text_left = TEXT_LIMIT;
    if let Some((mut libraries, link)) = sections.gnu_verneed(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((library, mut versions)) = libraries.next()? {
            let file = library.file(endian, strings)?;
            while let Some(version) = versions.next()? {
                let name = version.name(endian, strings)?;
                let is_weak = version.vna_flags.get(endian).0 & elf::VER_FLG_WEAK.0 != 0;
                left = left.checked_sub(1).ok_or_else(too_much)?;
                text_left = text_left.checked_sub(file.len() + name.len()).ok_or_else(too_much)?;
                if !is_weak {
                    facts.needed_versions.push((file.to_vec(), name.to_vec()));
                }
            }
            left = left.checked_sub(1).ok_or_else(too_much)?;
        }
    }
    if let Some((mut versions, link)) = sections.gnu_verdef(endian, data)? {
        let strings = sections.strings(endian, data, link)?;
        while let Some((_, mut names)) = versions.next()? {
            // The first name is the version's, others are those that it follows.
            if let Some(name) = names.next()? {
                let name = name.name(endian, strings)?;
                text_left = text_left.checked_sub(name.len()).ok_or_else(too_much)?;
                facts.versions.push(name.to_vec());
            }
            left = left.checked_sub(1).ok_or_else(too_much)?;
        }
    }
    Ok(())
}

/// Bytes of sections that strip(1) takes away without harm.
fn debug_bytes<Elf: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    sections: &Sections<'_, '_, Elf>,
) -> u64 {
    let sizes = sections.iter().take(ENTRIES_MOST).map(|section| {
        let name = sections.section_name(endian, section).unwrap_or_default();
        let is_debug = name.starts_with(b".debug_") || name.starts_with(b".zdebug_");
        let has_bytes = section.sh_type(endian) != elf::SHT_NOBITS;
        if is_debug && has_bytes { section.sh_size(endian).into() } else { 0 }
    });
    sizes.fold(0, u64::saturating_add)
}

/// A file as the crate reads it.
struct Window<'a> {
    opened: &'a Opened<'a>,
    at: u64,
}

impl Read for Window<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.opened.read_up_to(self.at, buffer)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for Window<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let from = |start: u64, by| start.checked_add_signed(by).ok_or(io::ErrorKind::InvalidInput);
        self.at = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::End(by) => from(self.opened.size(), by)?,
            SeekFrom::Current(by) => from(self.at, by)?,
        };
        Ok(self.at)
    }
}

/// The crate's cache, with limits on what is read into it.
#[derive(Clone, Copy)]
struct Limited<'data, 'file> {
    cache: &'data ReadCache<Window<'file>>,
    bytes_left: &'data Cell<u64>,
}

impl Limited<'_, '_> {
    fn take(self, size: u64) -> Result<(), ()> {
        let left = self.bytes_left.get().checked_sub(size).ok_or(())?;
        self.bytes_left.set(left);
        if size <= PIECE_LIMIT { Ok(()) } else { Err(()) }
    }
}

impl<'data> ReadRef<'data> for Limited<'data, '_> {
    fn len(self) -> Result<u64, ()> {
        self.cache.len()
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'data [u8], ()> {
        self.take(size)?;
        self.cache.read_bytes_at(offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'data [u8], ()> {
        // What the cache reads at most.
        self.take(4096)?;
        self.cache.read_bytes_at_until(range, delimiter)
    }
}
