//! Reads a `.deb` file through `dpkg-deb`, which knows every compression that Debian has used (deb(5)).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pack_schemas::text::visible;
use sha2::{Digest, Sha256};
use tar::{Archive, EntryType};

use super::alternatives::Alternatives;
use super::content::{Content, Which};
use super::path::clean;
use super::tree::{Tree, entry};
use super::{DebianError, StagedPackage};

/// The longest control file or script that is read, in bytes; the longest in Debian have some 100 kB.
const LONGEST_CONTROL: u64 = 1 << 20;

/// A downloaded Debian package.
#[derive(Debug)]
pub(super) struct Deb {
    path: PathBuf,
    pub(super) package: StagedPackage,
    /// Its control file (deb-control(5)).
    pub(super) control: String,
    /// What its script sets up.
    pub(super) alternatives: Alternatives,
}

impl Deb {
    /// Reads a file's hash and control data; a file with another hash than `expected` is not looked into.
    pub(super) fn read(path: &Path, expected: Option<&str>) -> Result<Deb, DebianError> {
        let sha256 = hash(path).map_err(|source| read(path, source))?;
        if let Some(expected) = expected.filter(|expected| **expected != sha256) {
            let (path, expected) = (path.to_owned(), expected.to_owned());
            return Err(DebianError::Altered { path, expected, found: sha256 });
        }
        let mut control = BTreeMap::new();
        each_entry(path, Content::start(path, Which::Control), |entry| {
            let name = String::from_utf8_lossy(&entry.path_bytes()).trim_start_matches("./").to_owned();
            if matches!(name.as_str(), "control" | "postinst") {
                let mut content = Vec::new();
                entry.take(LONGEST_CONTROL).read_to_end(&mut content).map_err(|source| read(path, source))?;
                control.insert(name, String::from_utf8_lossy(&content).into_owned());
            }
            Ok(())
        })?;
        let text = |name: &str| control.get(name).map(String::as_str).unwrap_or_default();
        let field = |name| {
            field(text("control"), name).ok_or(DebianError::Control { path: path.to_owned(), field: name })
        };
        let package = StagedPackage {
            name: field("Package")?,
            version: field("Version")?,
            architecture: field("Architecture")?,
            sha256,
            source: field("Source").ok(),
        };
        let alternatives = Alternatives::of_script(text("postinst"));
        let control = control.remove("control").unwrap_or_default();
        Ok(Deb { path: path.to_owned(), package, control, alternatives })
    }

    /// Begins to decompress the package's files, for [`Deb::unpack`].
    pub(super) fn start(&self) -> Content {
        Content::start(&self.path, Which::Files)
    }

    /// Lays the package's files into `tree`.
    pub(super) fn unpack(&self, content: Content, tree: &mut Tree) -> Result<(), DebianError> {
        let owner = self.package.name.as_str();
        each_entry(&self.path, content, |content| {
            let raw = content.path_bytes().into_owned();
            let shown = String::from_utf8_lossy(&raw).into_owned();
            let path = clean(&raw).map_err(|rule| entry(owner, &shown, rule))?;
            let mode = content.header().mode().map_err(|source| read(&self.path, source))?;
            let target = content.link_name_bytes().map(|name| name.into_owned()).unwrap_or_default();
            match content.header().entry_type() {
                EntryType::Directory => tree.folder(owner, &path, mode),
                EntryType::Regular | EntryType::Continuous => tree.file(owner, &path, mode, content),
                EntryType::Symlink => match String::from_utf8(target) {
                    Ok(target) if !target.is_empty() => tree.link(owner, &path, &target),
                    _ => Err(entry(owner, &shown, "where the link points is not UTF-8")),
                },
                EntryType::Link => {
                    let target = clean(&target).map_err(|rule| entry(owner, &shown, rule))?;
                    tree.hard_link(owner, &path, &target)
                }
                _ => Err(entry(owner, &shown, "it is neither file, folder nor link")),
            }
        })
    }
}

/// Calls `act` for each entry of one of the two archives in a `.deb`.
fn each_entry(
    path: &Path,
    content: Content,
    mut act: impl FnMut(&mut tar::Entry<'_, Content>) -> Result<(), DebianError>,
) -> Result<(), DebianError> {
    let mut archive = Archive::new(content);
    let walked = archive.entries().map_err(|source| read(path, source)).and_then(|entries| {
        for content in entries {
            act(&mut content.map_err(|source| read(path, source))?)?;
        }
        Ok(())
    });
    let mut content = archive.into_inner();
    let walked = walked.and_then(|()| {
        // What follows the end of the archive is read too: dpkg-deb would take a closed pipe for a failure.
        io::copy(&mut content, &mut io::sink()).map(drop).map_err(|source| read(path, source))
    });
    match (walked, content.end()) {
        // Where dpkg-deb failed by itself, its word explains why the archive ended early.
        (Err(error), Err(failure)) if is_read(&error) => Err(failure),
        (Err(error), _) => Err(error),
        (Ok(()), ended) => ended,
    }
}

pub(super) fn read(path: &Path, source: io::Error) -> DebianError {
    DebianError::Read { path: path.to_owned(), source }
}

fn is_read(error: &DebianError) -> bool {
    matches!(error, DebianError::Read { .. } | DebianError::Io { step: "unpack", .. })
}

fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            length => hasher.update(&buffer[..length]),
        }
    }
}

/// The value of a one-line field (deb822(5)).
pub(super) fn field(control: &str, name: &str) -> Option<String> {
    control.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        let value = value.trim();
        (key.eq_ignore_ascii_case(name) && !value.is_empty()).then(|| visible(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_without_regard_to_case() {
        let control = "Package: jq\nsource: jq-src (1.6)\nDescription: x\n Version: no\n";
        assert_eq!(field(control, "Package").as_deref(), Some("jq"));
        assert_eq!(field(control, "Source").as_deref(), Some("jq-src (1.6)"));
        assert_eq!(field(control, "Version"), None);
    }
}
