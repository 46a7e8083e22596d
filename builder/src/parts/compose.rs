//! A folder that several parts come together in, and what says which parts are in it.
//!
//! ```text
//! wanted begins with what is there   the rest is added
//! anything else                      the folder is emptied, and all are put in anew, in their order
//! ```
//!
//! Emptying may leave what would be put in again at once ([`Expected`](super::share::Expected)).
//!
//! The record beside the folder is there only while the folder is whole. Nobody looks whether it outlived a crash of the
//! machine: in another boot it counts as missing.

use std::path::{Path, PathBuf};

use pack_schemas::names::{Hash, Name};
use pack_schemas::package::canonical_json;

use super::record::{Labels, Record, remove_file};
use crate::files::FileError;

/// A part in the folder, and what it brought.
pub(super) type Placed = (Name, Hash);

/// The stage, or the prime folder.
#[derive(Debug)]
pub(super) struct Composition {
    pub folder: PathBuf,
    record: PathBuf,
    /// What the record says is there: one hash for all parts in their order.
    complete: Option<Hash>,
    /// What was put in since this process began, onto nothing.
    placed: Option<Vec<Placed>>,
    /// What all parts in it came from.
    basis: Hash,
}

impl Composition {
    /// Looks at what earlier builds left.
    pub fn open(folder: PathBuf, record: PathBuf) -> Composition {
        let complete = Record::load(&record)
            .filter(|record| record.is_of_this_boot() && folder.is_dir())
            .and_then(|record| record.made.get("parts").copied());
        Composition { folder, record, complete, placed: None, basis: Hash([0; 32]) }
    }

    /// Whether exactly these parts are in the folder, put in from that basis. Where an earlier build has left them there, what
    /// comes next is put beside them.
    pub fn holds(&mut self, wanted: &[Placed], basis: Hash) -> bool {
        let holds = self.complete == Some(key(wanted, basis));
        if holds && self.placed.is_none() {
            self.placed = Some(wanted.to_vec());
            self.basis = basis;
        }
        holds
    }

    /// Whether what is wanted comes beside what is there.
    pub fn goes_on(&self, wanted: &[Placed], basis: Hash) -> bool {
        self.basis == basis && self.placed.as_ref().is_some_and(|placed| wanted.starts_with(placed))
    }

    /// Prepares the folder to become what is wanted, and returns how many of the parts are there already. `empty` takes away
    /// what earlier builds left.
    pub fn begin<E: From<FileError>>(
        &mut self,
        wanted: &[Placed],
        basis: Hash,
        empty: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<usize, E> {
        self.complete = None;
        remove_file(&self.record)?;
        let kept = match self.placed.as_ref().filter(|_| self.goes_on(wanted, basis)) {
            Some(placed) => placed.len(),
            None => {
                empty(&self.folder)?;
                0
            }
        };
        self.basis = basis;
        self.placed = Some(wanted[..kept].to_vec());
        Ok(kept)
    }

    /// Counts a part that has been put in.
    pub fn add(&mut self, part: Name, brought: Hash) {
        self.placed.get_or_insert_default().push((part, brought));
    }

    /// Writes down that the folder is whole.
    pub fn finish(&mut self) -> Result<(), FileError> {
        let key = key(self.placed.as_deref().unwrap_or_default(), self.basis);
        let made = Labels::from([("parts".to_owned(), key)]);
        Record::new(Labels::new(), made).save(&self.record)?;
        self.complete = Some(key);
        Ok(())
    }
}

/// Stands for parts in their order, and where they came from.
pub(super) fn key(placed: &[Placed], basis: Hash) -> Hash {
    Hash::of(&canonical_json(&(basis, placed)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files;

    fn placed(names: &str) -> Vec<Placed> {
        names.split_whitespace().map(|name| (name.parse().unwrap(), Hash::of(name.as_bytes()))).collect()
    }

    #[test]
    fn a_folder_is_added_to_or_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Composition::open(folder.path().join("stage"), folder.path().join("stage.json"));
        let basis = Hash([0; 32]);
        let mut stage = open();
        let put = |stage: &mut Composition, wanted: &[Placed], basis| {
            let kept = stage.begin(wanted, basis, files::renew_folder).unwrap();
            assert!(!folder.path().join("stage.json").exists());
            for (part, hash) in &wanted[kept..] {
                fs::write(stage.folder.join(part.as_str()), "").unwrap();
                stage.add(part.clone(), *hash);
            }
            stage.finish().unwrap();
            kept
        };
        assert!(!stage.holds(&[], basis));
        assert_eq!(put(&mut stage, &placed("aa bb"), basis), 0);
        assert!(stage.holds(&placed("aa bb"), basis) && !stage.holds(&placed("bb aa"), basis));
        assert_eq!(put(&mut stage, &placed("aa bb cc"), basis), 2);
        assert_eq!(put(&mut stage, &placed("bb cc"), basis), 0);
        assert_eq!(fs::read_dir(&stage.folder).unwrap().count(), 2);
        assert!(open().holds(&placed("bb cc"), basis) && !open().holds(&placed("bb cc"), Hash([1; 32])));
        // Another process does not know who brought what, and begins anew.
        assert_eq!(put(&mut open(), &placed("bb cc dd"), basis), 0);
        assert_eq!(put(&mut stage, &placed("bb cc"), Hash([1; 32])), 0);
        fs::remove_dir_all(folder.path().join("stage")).unwrap();
        assert!(!open().holds(&placed("bb cc"), Hash([1; 32])));
    }
}
