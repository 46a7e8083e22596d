//! What a package is made of: its software bill of materials.
//!
//! 1. [`collect`] lists the components: the Debian packages that were staged, the sources that were fetched, and what the
//!    files themselves tell.
//! 2. [`spdx`] writes them as a document of SPDX 2.3, which goes into the package at [`PATH`], under its signature.
//!
//! | ecosystem | told by | |
//! |---|---|---|
//! | Debian | the staging | name, version, architecture, hash of the `.deb` |
//! | PyPI | `*.dist-info/METADATA`, `*.egg-info/PKG-INFO` | but for those in Debian's own `dist-packages` |
//! | npm | `node_modules/NAME/package.json` | but for those in Debian's own `usr/share/nodejs` |
//! | crates | `Cargo.lock` of a part's source | every crate that is locked, also those of other platforms and of tests |
//! | Go | the module list in programs that Go linked | what is really linked in |
//!
//! Files are read by their names alone, bounded, and what cannot be understood is left out: it may be anybody's.

mod go;
mod npm;
mod python;
mod rust;
pub mod spdx;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use walkdir::WalkDir;

use crate::debian::StagedPackage;

/// Where the document is in a package.
pub const PATH: &str = ".pack/sbom.spdx.json";
/// Longest description of a component that is read, in bytes.
const METADATA_LIMIT: u64 = 1 << 20;
/// Longest lock file that is read, in bytes.
const LOCK_LIMIT: u64 = 64 << 20;
/// Longest name or version in bytes.
const WORD_LIMIT: usize = 214;
/// Most components of a package.
const COMPONENTS_MOST: usize = 100_000;

/// Something that a package is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Where it is from.
    pub ecosystem: Ecosystem,
    /// Its name there.
    pub name: String,
    /// Its version there.
    pub version: String,
    /// Debian's name for its architecture.
    pub architecture: Option<String>,
    /// SHA-256 of what was fetched, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// The licence in the words of its authors.
    pub license: Option<String>,
    /// The Debian source package, with its version where that differs, or the address that it was fetched from.
    pub source: Option<String>,
}

/// Where components come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ecosystem {
    /// crates.io.
    Cargo,
    /// Debian's archive, or one of the same kind.
    Debian,
    /// An archive, a git repository or a file that a part names as its source.
    Generic,
    /// Go modules.
    Go,
    /// The npm registry.
    Npm,
    /// The Python package index.
    Python,
}

impl Component {
    /// A component of which no more is known, where name and version can be some.
    pub(crate) fn new(ecosystem: Ecosystem, name: &str, version: &str) -> Option<Component> {
        let plain = |text: &str| {
            (1..=WORD_LIMIT).contains(&text.len()) && !text.contains(|c: char| c.is_control() || c == ' ')
        };
        let known = plain(name) && plain(version);
        known.then(|| Component {
            ecosystem,
            name: name.to_owned(),
            version: version.to_owned(),
            architecture: None,
            sha256: None,
            license: None,
            source: None,
        })
    }
}

impl From<&StagedPackage> for Component {
    fn from(package: &StagedPackage) -> Component {
        Component {
            ecosystem: Ecosystem::Debian,
            name: package.name.clone(),
            version: package.version.clone(),
            architecture: Some(package.architecture.clone()),
            sha256: Some(package.sha256.clone()),
            license: None,
            source: package.source.clone(),
        }
    }
}

/// The components that the files of a tree tell of, and those that the lock files at the top of `sources` do; sorted, each once.
///
/// # Errors
/// The system's, where a folder of the tree cannot be listed.
pub fn collect(prime: &Path, sources: &[&Path]) -> io::Result<Vec<Component>> {
    let mut components = Vec::new();
    for entry in WalkDir::new(prime).min_depth(1) {
        let entry = entry?;
        if !entry.file_type().is_file() || components.len() >= COMPONENTS_MOST {
            continue;
        }
        let Ok(path) = entry.path().strip_prefix(prime) else { continue };
        // What is not UTF-8 has none of the names that are looked for.
        let Some(name) = path.to_str() else { continue };
        if python::is_metadata(name) {
            components.extend(read(entry.path(), METADATA_LIMIT).and_then(|text| python::component(&text)));
        } else if npm::is_metadata(name) {
            components.extend(read(entry.path(), METADATA_LIMIT).and_then(|text| npm::component(&text)));
        } else if let Some(file) = open(entry.path()) {
            components.extend(go::modules(file));
        }
    }
    for source in sources {
        components
            .extend(read(&source.join("Cargo.lock"), LOCK_LIMIT).iter().flat_map(|text| rust::crates(text)));
    }
    components.sort();
    components.dedup();
    components.truncate(COMPONENTS_MOST);
    Ok(components)
}

/// A regular file, without following a symbolic link or waiting for a FIFO.
fn open(path: &Path) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
    file.metadata().ok()?.is_file().then_some(file)
}

/// A file of text that is not longer than `limit`.
fn read(path: &Path, limit: u64) -> Option<String> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= limit).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_tell_what_they_are_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, content: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        };
        write("prime/lib/python3/site-packages/a-1.dist-info/METADATA", "Name: a\nVersion: 1\n");
        write("prime/usr/lib/python3/dist-packages/b-1.dist-info/METADATA", "Name: b\nVersion: 1\n");
        write("prime/lib/node_modules/@x/c/package.json", r#"{"name": "@x/c", "version": "2.0.0"}"#);
        write("prime/lib/node_modules/@x/c/lib/package.json", r#"{"name": "no", "version": "1"}"#);
        write("prime/bin/program", "\x7fELF and no more");
        write(
            "source/Cargo.lock",
            "version = 3\n[[package]]\nname = \"d\"\nversion = \"3.0.0\"\n\
             source = \"registry+https://github.com/rust-lang/crates.io-index\"\n",
        );
        let found = collect(&folder.path().join("prime"), &[&folder.path().join("source")]).unwrap();
        let found: Vec<String> = found
            .iter()
            .map(|component| format!("{:?} {} {}", component.ecosystem, component.name, component.version))
            .collect();
        assert_eq!(found, ["Cargo d 3.0.0", "Npm @x/c 2.0.0", "Python a 1"]);
    }
}
