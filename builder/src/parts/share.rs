//! Stage and prime: what the parts install comes together in one tree, and what is to be packed is chosen from it.
//!
//! Every path remembers the parts that it came from. Two parts may bring the same folder, or the same file with the
//! same content; anything else is a collision. Files are further names of those that the part installed (hard links):
//! no build writes into what an earlier step left, since every build begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pack_schemas::names::Name;

use super::StepError;
use super::fileset::Fileset;
use crate::files::{self, Entry, Transfer};

/// Which parts each path of the stage came from.
#[derive(Debug, Default)]
pub(super) struct Owners(BTreeMap<PathBuf, BTreeSet<Name>>);

impl Owners {
    /// Puts into the stage what a part installs and its `stage` chooses.
    pub fn stage(
        &mut self,
        part: &Name,
        rules: &[String],
        install: &Path,
        stage: &Path,
    ) -> Result<(), StepError> {
        let fileset = Fileset::new(rules)?;
        for entry in files::list(install, |_| true)?.iter().filter(|entry| fileset.chooses(&entry.path)) {
            self.place(part, entry, install, stage)?;
            for path in entry.path.ancestors() {
                self.0.entry(path.to_path_buf()).or_default().insert(part.clone());
            }
        }
        Ok(())
    }

    /// Counts what a script put into the stage as its part's.
    pub fn adopt(&mut self, part: &Name, stage: &Path) -> Result<(), StepError> {
        for entry in files::list(stage, |_| true)? {
            self.0.entry(entry.path).or_insert_with(|| BTreeSet::from([part.clone()]));
        }
        Ok(())
    }

    /// Puts into the prime folder what came from a part and its `prime` chooses.
    pub fn prime(&self, part: &Name, rules: &[String], stage: &Path, prime: &Path) -> Result<(), StepError> {
        let fileset = Fileset::new(rules)?;
        let owned = |path: &Path| self.0.get(path).is_some_and(|owners| owners.contains(part));
        for entry in files::list(stage, |_| true)? {
            if owned(&entry.path) && fileset.chooses(&entry.path) {
                self.place(part, &entry, stage, prime)?;
            }
        }
        Ok(())
    }

    fn place(&self, part: &Name, entry: &Entry, from: &Path, to: &Path) -> Result<(), StepError> {
        // What is chosen may stand in folders that are not.
        let mut parents: Vec<&Path> = entry.path.ancestors().skip(1).collect();
        parents.pop();
        for parent in parents.into_iter().rev() {
            self.place_folder(part, parent, to)?;
        }
        if entry.metadata.is_dir() {
            return self.place_folder(part, &entry.path, to);
        }
        let (source, target) = (from.join(&entry.path), to.join(&entry.path));
        if target.symlink_metadata().is_err() {
            files::transfer(&source, &target, &entry.metadata, Transfer::Link)?;
        } else if !files::are_equal(&source, &target)? {
            return Err(self.collision(part, &entry.path));
        }
        Ok(())
    }

    fn place_folder(&self, part: &Name, path: &Path, to: &Path) -> Result<(), StepError> {
        let target = to.join(path);
        match target.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(self.collision(part, path)),
            Err(_) => Ok(files::make_folder(&target)?),
        }
    }

    fn collision(&self, part: &Name, path: &Path) -> StepError {
        let others = self.0.get(path).into_iter().flatten();
        let other = others.filter(|other| *other != part).map(Name::clone).next();
        StepError::Collision { path: path.to_path_buf(), other }
    }
}
