//! The catalog of a store: fetched by differences, kept as text, and searched by going through it.
//!
//! The index names the text of the base and of the difference by their hashes, and they are kept under those: whoever
//! searches while the catalog is renewed finds the texts of the index that it read.

use std::collections::BTreeSet;

use memchr::memmem::Finder;
use pack_schemas::names::{PackageName, Sha256};
use pack_schemas::store::catalog::{self, CatalogIndex, INDEX_LIMIT, Piece};
use pack_schemas::store::{BlobKind, CATALOG_TARGET, CatalogEntry, RemoteFile, StoreProblem, blob_path};
use serde::Deserialize;

use super::{RemoteError, Session, Source, folder};
use crate::folder::{Folder, Mounts};
use crate::folders::Folders;
use crate::publish::listing::unpack;
use crate::publish::sign::sha256;
use crate::tuf::{FetchError, Mismatch};

/// Name of the index of the texts that are kept.
const INDEX_FILE: &str = "index.json";

/// A catalog, as it is kept.
#[derive(Debug)]
pub struct Listing {
    base: String,
    difference: String,
    /// Names that the difference says something of.
    changed: BTreeSet<PackageName>,
    /// When it was last found to be the store's newest, in seconds since 1970.
    pub time: u64,
}

/// A package that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// How well it fits; the least is the best.
    pub rank: u8,
    /// The package.
    pub entry: CatalogEntry,
}

impl Session<'_> {
    /// Brings the catalog that is kept up to what the store signs now. What is there already is not fetched.
    ///
    /// # Errors
    /// [`RemoteError`]; the former catalog stays then.
    pub fn renew_catalog(&mut self, sources: &[Source]) -> Result<(), RemoteError> {
        let path = || CATALOG_TARGET.to_owned();
        let missing = || RemoteError::Fetch { path: path(), source: FetchError::NotFound };
        let bytes = self.document(CATALOG_TARGET, INDEX_LIMIT)?.ok_or_else(missing)?;
        let unusable = |source| RemoteError::Document { path: path(), source };
        let index = CatalogIndex::parse(&bytes).map_err(unusable)?;
        let texts = self.folder.make_private_child("catalog")?;
        let kept = match texts.read(INDEX_FILE, INDEX_LIMIT)? {
            Some(kept) if kept == bytes && read_texts(&texts, &index)?.is_some() => {
                // Its time says when it was last found to be the store's.
                return Ok(texts.replace(INDEX_FILE, &bytes, 0o600, &mut || ())?);
            }
            kept => kept.and_then(|kept| CatalogIndex::parse(&kept).ok()),
        };
        let fetch = Fetch { texts: &texts, sources };
        if !has(&texts, &index.base)? && !fetch.base_from_earlier(&index, kept.as_ref())? {
            fetch.piece(&index.base)?;
        }
        if !has(&texts, &index.difference)? {
            fetch.piece(&index.difference)?;
        }
        texts.replace(INDEX_FILE, &bytes, 0o600, &mut || ())?;
        let named = [index.base.text.to_string(), index.difference.text.to_string(), INDEX_FILE.to_owned()];
        for name in texts.names()? {
            if !named.iter().any(|named| name == named.as_str()) {
                texts.remove_file(&name)?;
            }
        }
        Ok(())
    }
}

struct Fetch<'a> {
    texts: &'a Folder,
    sources: &'a [Source],
}

impl Fetch<'_> {
    /// Makes the base of the one that is kept; whether that was possible, and cheaper than the whole.
    fn base_from_earlier(
        &self,
        index: &CatalogIndex,
        kept: Option<&CatalogIndex>,
    ) -> Result<bool, RemoteError> {
        let Some(kept) = kept else { return Ok(false) };
        let Some(begin) = index.earlier.iter().position(|earlier| earlier.base == kept.base.text) else {
            return Ok(false);
        };
        let steps = &index.earlier[begin..];
        let size: u64 = steps.iter().map(|step| step.difference.blob.size).fold(0, u64::saturating_add);
        let Some(mut text) = text(self.texts, &kept.base)?.filter(|_| size < index.base.blob.size) else {
            return Ok(false);
        };
        for step in steps {
            let difference = self.fetch(&step.difference)?;
            match catalog::merge(&text, &difference) {
                Ok(merged) => text = merged,
                Err(_) => return Ok(false),
            }
        }
        // What was kept may have been damaged: then it comes whole.
        if sha256(text.as_bytes()) != index.base.text {
            return Ok(false);
        }
        self.keep(&index.base.text, &text)?;
        Ok(true)
    }

    fn piece(&self, piece: &Piece) -> Result<(), RemoteError> {
        let text = self.fetch(piece)?;
        self.keep(&piece.text, &text)
    }

    fn keep(&self, name: &Sha256, text: &str) -> Result<(), RemoteError> {
        Ok(self.texts.replace(&name.to_string(), text.as_bytes(), 0o600, &mut || ())?)
    }

    /// The text of a piece, from one address after the other.
    fn fetch(&self, piece: &Piece) -> Result<String, RemoteError> {
        let path = blob_path(&piece.blob.sha256, BlobKind::Zst);
        let mut last = RemoteError::Fetch { path: path.clone(), source: FetchError::NotFound };
        for source in self.sources {
            let frame = match source.read(&path, piece.blob.size) {
                Ok(frame) => frame,
                Err(source) => {
                    last = RemoteError::Fetch { path: path.clone(), source };
                    continue;
                }
            };
            let found = sha256(&frame);
            if found != piece.blob.sha256 {
                let (wanted, found) = (piece.blob.sha256.to_string(), found.to_string());
                let source = Mismatch::Hash { algorithm: "sha256", wanted, found };
                last = RemoteError::Altered { path: path.clone(), source };
                continue;
            }
            let rule = "the text in it is not the one that the index names";
            let source = StoreProblem::Contradiction { rule };
            return unpack(&frame, piece).ok_or(RemoteError::Document { path, source });
        }
        Err(last)
    }
}

/// Whether the text of a piece is kept, by its length: it was checked when it was written.
fn has(texts: &Folder, piece: &Piece) -> Result<bool, RemoteError> {
    let stat = texts.stat_of(piece.text.to_string())?;
    Ok(stat.is_some_and(|stat| u64::try_from(stat.st_size) == Ok(piece.length)))
}

fn text(texts: &Folder, piece: &Piece) -> Result<Option<String>, RemoteError> {
    let bytes = match texts.read(piece.text.to_string(), piece.length) {
        Err(error) if error.source.kind() == std::io::ErrorKind::FileTooLarge => None,
        read => read?,
    };
    Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn read_texts(texts: &Folder, index: &CatalogIndex) -> Result<Option<(String, String)>, RemoteError> {
    Ok(text(texts, &index.base)?.zip(text(texts, &index.difference)?))
}

/// Reads the catalog that is kept of a remote, without asking the store; nothing where there is none.
///
/// # Errors
/// The files.
pub fn read(folders: &Folders, remote: &RemoteFile) -> Result<Option<Listing>, RemoteError> {
    // Between index and texts another process may have renewed them; once is then enough.
    match try_read(folders, remote)? {
        None => try_read(folders, remote),
        listing => Ok(listing),
    }
}

fn try_read(folders: &Folders, remote: &RemoteFile) -> Result<Option<Listing>, RemoteError> {
    let Some(folder) = Folder::open(&folder(folders, &remote.name))? else { return Ok(None) };
    let Some(texts) = folder.child("catalog", Mounts::Cross)? else { return Ok(None) };
    let Some(bytes) = texts.read(INDEX_FILE, INDEX_LIMIT)? else { return Ok(None) };
    let Ok(index) = CatalogIndex::parse(&bytes) else { return Ok(None) };
    let Some((base, difference)) = read_texts(&texts, &index)? else { return Ok(None) };
    let time = texts.stat_of(INDEX_FILE)?.and_then(|stat| u64::try_from(stat.st_mtime).ok()).unwrap_or(0);
    Ok(Some(Listing::new(base, difference, time)))
}

/// What is searched of a line; the rest of it is not read.
#[derive(Deserialize)]
struct Shown {
    name: String,
    title: Option<String>,
    summary: Option<String>,
}

impl Listing {
    /// A catalog of these texts.
    pub fn new(base: String, difference: String, time: u64) -> Listing {
        let names = difference.lines().filter_map(|line| serde_json::from_str::<Shown>(line).ok());
        let changed = names.filter_map(|shown| shown.name.parse().ok()).collect();
        Listing { base, difference, changed, time }
    }

    /// Packages that have all of these words in their names, titles or summaries, whatever their case: exact names first,
    /// then names that begin with a word, names, titles, summaries.
    pub fn search(&self, words: &[String]) -> Vec<Found> {
        let words: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
        let mut found = scan(&self.difference, &words, &BTreeSet::new());
        found.extend(scan(&self.base, &words, &self.changed));
        found.sort_by(|left, right| (left.rank, &left.entry.name).cmp(&(right.rank, &right.entry.name)));
        found
    }

    /// The line of one package.
    pub fn find(&self, name: &PackageName) -> Option<CatalogEntry> {
        let words = [name.to_string()];
        self.search(&words).into_iter().map(|found| found.entry).find(|entry| entry.name == *name)
    }
}

/// Goes through the text for the longest word; only lines that have it are read.
fn scan(text: &str, words: &[String], without: &BTreeSet<PackageName>) -> Vec<Found> {
    let Some(longest) = words.iter().max_by_key(|word| word.len()) else { return Vec::new() };
    // ASCII alone is lowered in place, a dozen times quicker; other letters only where some are asked for.
    let lowered = match longest.is_ascii() {
        true => text.to_ascii_lowercase(),
        false => text.to_lowercase(),
    };
    // As it stands in JSON.
    let needle = serde_json::to_string(longest).unwrap_or_default();
    let finder = Finder::new(needle.trim_matches('"').as_bytes());
    // Lowering may change lengths, but never the number of lines.
    let same_places = lowered.len() == text.len();
    let mut lines: Vec<&str> = Vec::new();
    if same_places {
        let mut from = 0;
        while let Some(at) = finder.find(&lowered.as_bytes()[from..]).map(|at| at + from) {
            let begin = lowered[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = lowered[at..].find('\n').map_or(lowered.len(), |end| end + at);
            lines.extend(text.get(begin..end));
            from = end.saturating_add(1).min(lowered.len());
        }
    } else {
        let both = text.lines().zip(lowered.lines());
        lines.extend(both.filter(|(_, low)| finder.find(low.as_bytes()).is_some()).map(|(line, _)| line));
    }
    lines.into_iter().filter_map(|line| judge(line, words, without)).collect()
}

fn judge(line: &str, words: &[String], without: &BTreeSet<PackageName>) -> Option<Found> {
    let shown: Shown = serde_json::from_str(line).ok()?;
    let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().to_lowercase();
    let (title, summary) = (lower(&shown.title), lower(&shown.summary));
    let rank_of = |word: &String| {
        let name = shown.name.as_str();
        [
            name == word,
            name.starts_with(word.as_str()),
            name.contains(word.as_str()),
            title.contains(word.as_str()),
        ]
        .into_iter()
        .chain([summary.contains(word.as_str())])
        .position(|fits| fits)
    };
    let ranks: Option<Vec<usize>> = words.iter().map(rank_of).collect();
    let rank = ranks?.into_iter().min()?;
    // A line that breaks a rule, such as of what shows as it is, is none.
    let entry = CatalogEntry::parse(line).ok().filter(|entry| !without.contains(&entry.name))?;
    Some(Found { rank: u8::try_from(rank).unwrap_or(u8::MAX), entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pack_schemas::manifest::PackageType;
    use pack_schemas::names::Architecture;
    use pack_schemas::store::catalog::Change;
    use pack_schemas::store::entry::About;

    fn entry(name: &str, title: &str, summary: &str) -> CatalogEntry {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        CatalogEntry {
            name: name.parse().unwrap(),
            about: About { title: some(title), summary: some(summary), ..About::default() },
            package_type: PackageType::App,
            version: "1".parse().unwrap(),
            architectures: vec![Architecture::Amd64],
            size: 1000,
        }
    }

    fn names(listing: &Listing, words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(|word| word.to_string()).collect();
        listing.search(&words).into_iter().map(|found| found.entry.name.to_string()).collect()
    }

    fn listing() -> Listing {
        let base: String = [
            entry("calc", "Calculator", "Adds numbers"),
            entry("gone", "", "Was a calculator"),
            entry("my-calc", "", "Ärger mit Zahlen"),
            entry("notes", "Notes", "Says \"calc\" \\ in passing"),
            entry("old", "", "Old words"),
            entry("zcalculate", "Name", "x"),
        ]
        .iter()
        .map(CatalogEntry::to_line)
        .collect();
        let difference = [
            Change::Removed("gone".parse().unwrap()),
            Change::Entry(Box::new(entry("old", "", "New words"))),
        ];
        Listing::new(base, difference.iter().map(Change::to_line).collect(), 0)
    }

    #[test]
    fn names_come_first_and_every_word_has_to_fit() {
        let listing = listing();
        assert_eq!(names(&listing, &["CALC"]), ["calc", "my-calc", "zcalculate", "notes"]);
        assert_eq!(names(&listing, &["calc", "numbers"]), ["calc"]);
        assert_eq!(names(&listing, &["ÄRGER"]), ["my-calc"]);
        assert_eq!(names(&listing, &["\"calc\" \\"]), ["notes"]);
        assert!(names(&listing, &["nothing"]).is_empty());
        // Words of the format are not words of packages.
        assert!(names(&listing, &["amd64"]).is_empty());
        assert_eq!(names(&listing, &["name"]), ["zcalculate"]);
    }

    #[test]
    fn what_changed_counts_as_it_is_now() {
        let listing = listing();
        assert!(names(&listing, &["gone"]).is_empty());
        assert!(names(&listing, &["old", "old words"]).is_empty());
        assert_eq!(names(&listing, &["new words"]), ["old"]);
        assert_eq!(
            listing.find(&"calc".parse().unwrap()).unwrap().about.title.as_deref(),
            Some("Calculator")
        );
        assert!(listing.find(&"cal".parse().unwrap()).is_none());
    }

    /// In an optimised build (`cargo test --release`) it has to be quick as well.
    #[test]
    fn a_hundred_thousand_packages_are_searched_at_once() {
        let summary = "Does something with numbers, words and pictures that others do as well";
        let mut all: Vec<String> = (0..100_000).map(|n| format!("package-{n:06}")).collect();
        all.push("package-needle".to_owned());
        let base: String = all.iter().map(|name| entry(name, "A title", summary).to_line()).collect();
        let listing = Listing::new(base, String::new(), 0);
        for (words, most) in
            [(&["needle"][..], 1), (&["PICTURES", "needle"], 1), (&["amd64"], 0), (&["ünknown"], 0)]
        {
            let begun = std::time::Instant::now();
            assert_eq!(names(&listing, words).len(), most, "{words:?}");
            let took = begun.elapsed();
            let is_rare = words.len() == 1 && most == 1;
            assert!(cfg!(debug_assertions) || !is_rare || took.as_millis() <= 50, "{took:?}");
        }
    }

    #[test]
    fn lines_that_steer_a_terminal_are_passed_over() {
        let bad = entry("bad", "", "calc \u{1b}[2J").to_line();
        let listing = Listing::new(bad + &entry("good", "", "calc").to_line(), String::new(), 0);
        assert_eq!(names(&listing, &["calc"]), ["good"]);
    }
}
