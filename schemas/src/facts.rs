//! What of an image's tree decides how an app's root folder looks. It is read from the checked image when a package is
//! installed, and kept in its state, so that a launch does not read the image for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The parts of an image's tree that decide what the root folder looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageFacts {
    /// Entries at the top.
    pub top: BTreeMap<String, TopEntry>,
    /// Entries of `etc`.
    pub etc: BTreeMap<String, TopEntry>,
    /// Entries of `var`.
    pub var: BTreeMap<String, TopEntry>,
    /// Which of [`SEARCH_FOLDERS`] exist as folders.
    pub folders: Vec<String>,
}

/// An entry at the top of an image, or of its `etc` or `var`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TopEntry {
    /// A folder.
    Folder,
    /// A symbolic link and where it points.
    Symlink(String),
    /// Anything else: a file, mostly. At the top it plays no part.
    Other,
}

/// Folders of a package that are searched for programs and libraries where they exist; `TRIPLET` stands for the
/// architecture's (such as `x86_64-linux-gnu`). What does not exist is never named in a search path, and no path has
/// an empty element (CVE-2020-27348).
pub const SEARCH_FOLDERS: &[&str] = &[
    "usr/local/bin",
    "usr/local/sbin",
    "usr/bin",
    "usr/sbin",
    "bin",
    "sbin",
    "usr/local/lib",
    "usr/lib",
    "lib",
    "usr/lib/TRIPLET",
    "lib/TRIPLET",
    "usr/local/share",
    "usr/share",
];

/// Most text, in bytes, that the facts of one revision may put into a state. A whole system of Debian's has 4 KiB.
const LONGEST_IN_STATE: usize = 16 << 10;

impl ImageFacts {
    /// Whether they are short enough to be kept. An image may have more of long names and links than a state file may
    /// hold; then they are read from it at every launch.
    pub fn can_be_kept(&self) -> bool {
        let link = |entry: &TopEntry| match entry {
            TopEntry::Symlink(to) => to.len(),
            TopEntry::Folder | TopEntry::Other => 0,
        };
        let entries = self.top.iter().chain(&self.etc).chain(&self.var);
        let entries: usize = entries.map(|(name, entry)| name.len() + link(entry)).sum();
        let folders: usize = self.folders.iter().map(String::len).sum();
        entries.saturating_add(folders) <= LONGEST_IN_STATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_that_would_fill_the_state_are_not_kept() {
        let files = |most: usize, length: usize| -> BTreeMap<String, TopEntry> {
            (0..most).map(|number| (format!("{number:0length$}"), TopEntry::Other)).collect()
        };
        let usual = ImageFacts { etc: files(150, 10), ..ImageFacts::default() };
        assert!(usual.can_be_kept());
        let link = TopEntry::Symlink("x".repeat(60_000));
        let long = [
            ImageFacts { etc: files(1000, 250), ..ImageFacts::default() },
            ImageFacts { var: files(1000, 250), ..ImageFacts::default() },
            ImageFacts { top: BTreeMap::from([("a".to_owned(), link)]), ..ImageFacts::default() },
        ];
        for facts in long {
            assert!(!facts.can_be_kept());
        }
    }
}
