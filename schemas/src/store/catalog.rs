//! The catalog: one line for each package, for searching and listing.
//!
//! A catalog is text: a line of JSON for each package ([`CatalogEntry`]), sorted by name, each ended by a newline. The store
//! holds it in two pieces, both compressed: the *base*, made now and then, and the *difference*, all that has changed since
//! that base. Whoever has the base needs the difference alone; whoever has the base before it makes the new one with the
//! last difference to the former, which is what the store did; and the hash tells whether that worked. So a machine
//! fetches the whole catalog once.
//!
//! A difference is lines as well: a new or changed entry as it is, a removed one as `{"name": …, "removed": true}`.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::entry::{About, REVISIONS_MOST};
use super::{Blob, STORE_VERSION, StoreProblem, parse};
use crate::manifest::PackageType;
use crate::names::{Architecture, PackageName, Sha256, Version};
use crate::package;

/// Longest index in bytes.
pub const INDEX_LIMIT: u64 = 64 << 10;
/// Longest line in bytes.
pub const LINE_LIMIT: usize = 16 << 10;
/// Longest catalog in bytes, not compressed.
pub const CATALOG_LIMIT: u64 = 256 << 20;
/// Most earlier bases that an index names.
pub const EARLIER_MOST: usize = 16;

/// `meta/catalog.json`: which blobs make the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CatalogIndex {
    /// [`STORE_VERSION`].
    pub format: u32,
    /// The base.
    pub base: Piece,
    /// What has changed since the base.
    pub difference: Piece,
    /// How today's base is made of earlier ones, the newest last: each difference leads from its base to the base of the next,
    /// the last one to today's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<Earlier>,
}

/// A base of before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Earlier {
    /// SHA-256 of the base's text.
    pub base: Sha256,
    /// What led to the next one.
    pub difference: Piece,
}

/// Lines of the catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Piece {
    /// The zstd frame.
    pub blob: Blob,
    /// SHA-256 of the text in it.
    pub text: Sha256,
    /// Length of the text, in bytes.
    pub length: u64,
}

impl CatalogIndex {
    /// Reads an index.
    ///
    /// # Errors
    /// [`StoreProblem`].
    pub fn parse(bytes: &[u8]) -> Result<CatalogIndex, StoreProblem> {
        let index: CatalogIndex = parse(bytes, INDEX_LIMIT)?;
        let contradiction = |rule| Err(StoreProblem::Contradiction { rule });
        if index.earlier.len() > EARLIER_MOST {
            return contradiction("it has too many earlier bases");
        }
        let pieces = [&index.base, &index.difference].into_iter();
        let mut pieces = pieces.chain(index.earlier.iter().map(|earlier| &earlier.difference));
        let is_too_long = pieces.any(|piece| piece.length > CATALOG_LIMIT || piece.blob.size > CATALOG_LIMIT);
        drop(pieces);
        match is_too_long {
            true => contradiction("a piece of the catalog is too long"),
            false => Ok(index),
        }
    }

    /// As it is signed.
    pub fn to_bytes(&self) -> Vec<u8> {
        package::canonical_json(self)
    }
}

/// A package in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CatalogEntry {
    /// The package.
    pub name: PackageName,
    /// What people are told of it.
    #[serde(flatten)]
    pub about: About,
    /// App or base.
    #[serde(rename = "type", default, skip_serializing_if = "is_app")]
    pub package_type: PackageType,
    /// The version in the lowest risk of the track `latest` that has one.
    pub version: Version,
    /// What it runs on.
    pub architectures: Vec<Architecture>,
    /// The size of the package file for the first of them, in bytes.
    pub size: u64,
}

fn is_app(package_type: &PackageType) -> bool {
    *package_type == PackageType::App
}

/// A line of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// An entry as it is from now on.
    Entry(Box<CatalogEntry>),
    /// The package is gone.
    Removed(PackageName),
}

#[derive(Serialize, Deserialize)]
struct Removed {
    name: PackageName,
    removed: bool,
}

/// What every line has.
#[derive(Deserialize)]
struct Named {
    name: PackageName,
    #[serde(default)]
    removed: bool,
}

impl CatalogEntry {
    /// Reads a line.
    ///
    /// # Errors
    /// [`StoreProblem`].
    pub fn parse(line: &str) -> Result<CatalogEntry, StoreProblem> {
        let entry: CatalogEntry = read_line(line)?;
        entry.check()?;
        Ok(entry)
    }

    fn check(&self) -> Result<(), StoreProblem> {
        self.about.check()?;
        match self.architectures.len() <= REVISIONS_MOST {
            true => Ok(()),
            false => Err(StoreProblem::Contradiction { rule: "it has too many architectures" }),
        }
    }

    /// As a line, with its newline.
    pub fn to_line(&self) -> String {
        line_of(self)
    }
}

impl Change {
    /// As a line, with its newline.
    pub fn to_line(&self) -> String {
        match self {
            Change::Entry(entry) => entry.to_line(),
            Change::Removed(name) => line_of(&Removed { name: name.clone(), removed: true }),
        }
    }
}

fn line_of<T: Serialize>(value: &T) -> String {
    // Canonical JSON is UTF-8.
    let mut line = String::from_utf8_lossy(&package::canonical_json(value)).into_owned();
    line.push('\n');
    line
}

fn read_line<T: for<'a> Deserialize<'a>>(line: &str) -> Result<T, StoreProblem> {
    if line.len() > LINE_LIMIT {
        return Err(StoreProblem::TooLong { limit: LINE_LIMIT as u64 });
    }
    serde_json::from_str(line).map_err(|error| StoreProblem::Json { reason: error.to_string() })
}

/// Brings a difference into a base: both sorted by name, and the result as well. Lines of the base are taken as they are.
///
/// # Errors
/// Where a line has no name, or lines are not sorted.
pub fn merge(base: &str, difference: &str) -> Result<String, StoreProblem> {
    join(base, difference, false)
}

/// Makes one difference of two, the older first: what is removed stays told.
///
/// # Errors
/// Where a line has no name, or lines are not sorted.
pub fn compose(older: &str, newer: &str) -> Result<String, StoreProblem> {
    join(older, newer, true)
}

fn join(older: &str, newer: &str, removals_stay: bool) -> Result<String, StoreProblem> {
    let mut joined = String::with_capacity(older.len() + newer.len());
    let (mut old_lines, mut new_lines) = (older.lines(), newer.lines());
    let (mut old, mut new) = (next(&mut old_lines, None)?, next(&mut new_lines, None)?);
    loop {
        let order = match (&old, &new) {
            (None, None) => return Ok(joined),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, ..)), Some((new, ..))) => old.cmp(new),
        };
        if order != Ordering::Less
            && let Some((name, line, is_removed)) = new.take()
        {
            if removals_stay || !is_removed {
                push_line(&mut joined, line);
            }
            new = next(&mut new_lines, Some(name))?;
        }
        if order != Ordering::Greater
            && let Some((name, line, _)) = old.take()
        {
            if order == Ordering::Less {
                push_line(&mut joined, line);
            }
            old = next(&mut old_lines, Some(name))?;
        }
    }
}

/// Whether a line is an entry.
pub fn line_is_good(line: &str) -> bool {
    CatalogEntry::parse(line).is_ok()
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// The next line, with its name and whether it is of something removed; later than the one before.
fn next<'a>(
    lines: &mut std::str::Lines<'a>,
    before: Option<PackageName>,
) -> Result<Option<(PackageName, &'a str, bool)>, StoreProblem> {
    let Some(line) = lines.next() else { return Ok(None) };
    let Named { name, removed } = read_line(line)?;
    if before.is_some_and(|before| before >= name) {
        return Err(StoreProblem::Contradiction { rule: "the catalog is not sorted" });
    }
    Ok(Some((name, line, removed)))
}

/// An index of a catalog that nothing has changed in since its base.
pub fn index_of(base: Piece, empty: Piece) -> CatalogIndex {
    CatalogIndex { format: STORE_VERSION, base, difference: empty, earlier: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, summary: &str) -> CatalogEntry {
        CatalogEntry {
            name: name.parse().unwrap(),
            about: About { summary: Some(summary.to_owned()), ..About::default() },
            package_type: PackageType::App,
            version: "1".parse().unwrap(),
            architectures: vec![Architecture::Amd64],
            size: 1000,
        }
    }

    fn text(entries: &[(&str, &str)]) -> String {
        entries.iter().map(|(name, summary)| entry(name, summary).to_line()).collect()
    }

    #[test]
    fn a_difference_changes_adds_and_removes() {
        let base = text(&[("aa", "1"), ("cc", "1"), ("dd", "1"), ("ff", "1")]);
        let changes = [
            Change::Entry(Box::new(entry("bb", "new"))),
            Change::Entry(Box::new(entry("cc", "2"))),
            Change::Removed("dd".parse().unwrap()),
            Change::Removed("ee".parse().unwrap()),
            Change::Entry(Box::new(entry("gg", "new"))),
        ];
        let difference: String = changes.iter().map(Change::to_line).collect();
        let expected = text(&[("aa", "1"), ("bb", "new"), ("cc", "2"), ("ff", "1"), ("gg", "new")]);
        assert_eq!(merge(&base, &difference).unwrap(), expected);
        assert_eq!(merge(&base, "").unwrap(), base);
        assert_eq!(merge("", &text(&[("aa", "1")])).unwrap(), text(&[("aa", "1")]));
        let composed = compose(&difference, &text(&[("dd", "back")])).unwrap();
        assert!(composed.contains("\"ee\"") && composed.contains("back"), "{composed}");
        assert!(merge(&base, &composed).unwrap().contains("back"));
        // Brought in once more, it changes nothing.
        assert_eq!(merge(&expected, &difference).unwrap(), expected);
    }

    #[test]
    fn lines_out_of_order_or_without_a_name_are_refused() {
        let unsorted = text(&[("bb", "1"), ("aa", "1")]);
        let twice = text(&[("aa", "1"), ("aa", "2")]);
        for bad in [unsorted.as_str(), &twice, "{}\n", "\n", "{\"name\": \"../x\"}\n"] {
            assert!(merge(bad, "").is_err(), "{bad}");
            assert!(merge("", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_show_as_they_are() {
        let good = entry("hello", "Says hello");
        assert_eq!(CatalogEntry::parse(good.to_line().trim_end()), Ok(good));
        assert!(CatalogEntry::parse(entry("hello", "\u{9b}2J").to_line().trim_end()).is_err());
        assert!(CatalogEntry::parse(entry("hello", &"x".repeat(79)).to_line().trim_end()).is_err());
        assert!(CatalogEntry::parse(&" ".repeat(LINE_LIMIT + 1)).is_err());
    }
}
