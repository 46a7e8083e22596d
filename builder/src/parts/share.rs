//! Stage and prime: what the parts install comes together in one tree, and what is to be packed is chosen from it.
//!
//! Every path remembers the parts that it came from. Two parts may bring the same folder, or the same file with the
//! same content; anything else is a collision. Files are further names of those that the part installed (hard links),
//! unless a script works on the folder that they come into: what a part installed stays as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use pack_schemas::names::Name;

use super::StepError;
use super::fileset::Fileset;
use crate::documents;
use crate::files::{self, Difference, Entry, FileError, Placer};

/// Which parts each path of the stage came from.
#[derive(Debug)]
pub(super) struct Owners {
    paths: BTreeMap<PathBuf, BTreeSet<Name>>,
    known: BTreeSet<Name>,
    stage: Placer,
    prime: Placer,
}

/// The two folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    Stage,
    Prime,
}

impl Owners {
    /// Nothing yet; files are put into the folders by these.
    pub fn new(stage: Placer, prime: Placer) -> Owners {
        Owners { paths: BTreeMap::new(), known: BTreeSet::new(), stage, prime }
    }

    /// The stage is empty again.
    pub fn forget(&mut self) {
        self.paths.clear();
        self.known.clear();
        self.stage.forget();
    }

    /// Whether it is known what came from a part.
    pub fn knows(&self, part: &Name) -> bool {
        self.known.contains(part)
    }

    /// Counts paths as a part's.
    pub fn claim(&mut self, part: &Name, paths: impl IntoIterator<Item = PathBuf>) {
        let mut folder = PathBuf::new();
        for path in paths {
            // Most are in the folder that the one before is in.
            let is_beside = path.parent() == Some(&folder) && folder != Path::new("");
            for path in path.ancestors().take(if is_beside { 1 } else { usize::MAX }) {
                self.paths.entry(path.to_path_buf()).or_default().insert(part.clone());
            }
            folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        }
        self.known.insert(part.clone());
    }

    /// The paths that came from a part.
    pub fn paths_of<'a>(&'a self, part: &Name) -> impl Iterator<Item = &'a Path> {
        self.paths.iter().filter(move |(_, owners)| owners.contains(part)).map(|(path, _)| path.as_path())
    }

    /// Puts into the stage what a part installs and its `stage` chooses.
    pub fn stage(
        &mut self,
        part: &Name,
        rules: &[String],
        install: &Path,
        stage: &Path,
    ) -> Result<(), StepError> {
        let fileset = Fileset::new(rules)?;
        if install.join(documents::FOLDER).symlink_metadata().is_ok() {
            return Err(StepError::Reserved);
        }
        let mut placed = Vec::new();
        let mut folder = None;
        for entry in files::list(install, |_| true)?.iter().filter(|entry| fileset.chooses(&entry.path)) {
            self.place(part, entry, &mut folder, (install, stage), Shared::Stage)?;
            placed.push(entry.path.clone());
        }
        self.claim(part, placed);
        Ok(())
    }

    /// Counts what a script put into the stage as its part's.
    pub fn adopt(&mut self, part: &Name, stage: &Path) -> Result<(), StepError> {
        for entry in files::list(stage, |_| true)? {
            self.paths.entry(entry.path).or_insert_with(|| BTreeSet::from([part.clone()]));
        }
        self.known.insert(part.clone());
        Ok(())
    }

    /// Puts into the prime folder what came from a part and its `prime` chooses.
    pub fn prime(
        &mut self,
        part: &Name,
        rules: &[String],
        stage: &Path,
        prime: &Path,
    ) -> Result<(), StepError> {
        let fileset = Fileset::new(rules)?;
        let mut folder = None;
        for entry in files::list(stage, |_| true)? {
            let is_owned = self.paths.get(&entry.path).is_some_and(|owners| owners.contains(part));
            if is_owned && fileset.chooses(&entry.path) {
                self.place(part, &entry, &mut folder, (stage, prime), Shared::Prime)?;
            }
        }
        Ok(())
    }

    /// Puts something from one tree into another. `folder` is the one that it was last done in.
    fn place(
        &mut self,
        part: &Name,
        entry: &Entry,
        folder: &mut Option<PathBuf>,
        (from, to): (&Path, &Path),
        shared: Shared,
    ) -> Result<(), StepError> {
        // What is chosen may stand in folders that are not.
        if folder.as_deref() != entry.path.parent() {
            let mut parents: Vec<&Path> = entry.path.ancestors().skip(1).collect();
            parents.pop();
            for parent in parents.into_iter().rev() {
                self.place_folder(part, parent, to)?;
            }
            *folder = entry.path.parent().map(Path::to_path_buf);
        }
        if entry.metadata.is_dir() {
            return self.place_folder(part, &entry.path, to);
        }
        let (source, target) = (from.join(&entry.path), to.join(&entry.path));
        let Ok(there) = target.symlink_metadata() else {
            let placer = match shared {
                Shared::Stage => &mut self.stage,
                Shared::Prime => &mut self.prime,
            };
            return Ok(placer.put(&source, &target, &entry.metadata)?);
        };
        let is_same_file = (there.dev(), there.ino()) == (entry.metadata.dev(), entry.metadata.ino());
        if is_same_file {
            return Ok(());
        }
        if let Some(difference) = files::difference(&source, &target)? {
            return Err(match there.is_dir() {
                true => self.beside_link(part, &entry.path, &source, Comes::Link),
                false => self.collision(part, &entry.path, difference),
            });
        }
        Ok(())
    }

    fn place_folder(&self, part: &Name, path: &Path, to: &Path) -> Result<(), StepError> {
        let target = to.join(path);
        match target.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(self.beside_link(part, path, &target, Comes::Folder)),
            Err(_) => Ok(files::make_folder(&target)?),
        }
    }

    /// A folder of one part, and what is at the same path in another: a link most often, as Debian's packages have `bin`.
    fn beside_link(&self, part: &Name, path: &Path, link: &Path, comes: Comes) -> StepError {
        let collision = self.collision(part, path, Difference::Kind);
        let (Ok(target), StepError::Collision { other: Some(other), .. }) = (fs::read_link(link), &collision)
        else {
            return collision;
        };
        let (folder, link) = match comes {
            Comes::Folder => (part.clone(), other.clone()),
            Comes::Link => (other.clone(), part.clone()),
        };
        StepError::FolderAndLink { path: path.to_path_buf(), folder, link, target }
    }

    fn collision(&self, part: &Name, path: &Path, difference: Difference) -> StepError {
        let others = self.paths.get(path).into_iter().flatten();
        let other = others.filter(|other| *other != part).map(Name::clone).next();
        StepError::Collision { path: path.to_path_buf(), part: part.clone(), other, difference }
    }
}

/// What comes to the place where the other one is.
enum Comes {
    Folder,
    Link,
}

/// What one of the folders will hold in the end, where no script works on it: for every path what comes there first.
#[derive(Debug, Default)]
pub(super) struct Expected {
    entries: HashMap<PathBuf, Option<(PathBuf, Metadata)>>,
}

impl Expected {
    /// Adds to the stage what a part installs and its `stage` chooses.
    pub fn stage(&mut self, rules: &[String], install: &Path) -> Result<(), StepError> {
        let fileset = Fileset::new(rules)?;
        self.add(install, |path| fileset.chooses(path))
    }

    /// Adds to the prime folder what came from a part and its `prime` chooses.
    pub fn prime(
        &mut self,
        owners: &Owners,
        part: &Name,
        rules: &[String],
        stage: &Path,
    ) -> Result<(), StepError> {
        let fileset = Fileset::new(rules)?;
        let is_owned = |path: &Path| owners.paths.get(path).is_some_and(|owners| owners.contains(part));
        self.add(stage, |path| is_owned(path) && fileset.chooses(path))
    }

    fn add(&mut self, from: &Path, chooses: impl Fn(&Path) -> bool) -> Result<(), StepError> {
        let mut folder = PathBuf::new();
        for entry in files::list(from, |_| true)?.into_iter().filter(|entry| chooses(&entry.path)) {
            if entry.path.parent() != Some(&folder) {
                folder = entry.path.parent().unwrap_or(Path::new("")).to_path_buf();
                for parent in entry.path.ancestors().skip(1) {
                    self.entries.entry(parent.to_path_buf()).or_default();
                }
            }
            let original = (!entry.metadata.is_dir()).then(|| (from.join(&entry.path), entry.metadata));
            self.entries.entry(entry.path).or_insert(original);
        }
        Ok(())
    }

    /// Removes from the folder all else.
    pub fn keep_in(&self, folder: &Path) -> Result<(), FileError> {
        files::prune(folder, |entry| match self.entries.get(&entry.path) {
            None => Ok(false),
            Some(None) => Ok(entry.metadata.is_dir()),
            Some(Some((original, metadata))) => files::is_another_name(folder, entry, original, metadata),
        })?;
        Ok(())
    }
}

/// What a part installs and its `stage` chooses.
pub(super) fn chosen(rules: &[String], install: &Path) -> Result<Vec<PathBuf>, StepError> {
    let fileset = Fileset::new(rules)?;
    let entries = files::list(install, |_| true)?.into_iter().map(|entry| entry.path);
    Ok(entries.filter(|path| fileset.chooses(path)).collect())
}

/// Keeps paths, each with a zero byte behind it.
pub(super) fn save_paths<'a>(file: &Path, paths: impl Iterator<Item = &'a Path>) -> Result<(), FileError> {
    let mut bytes = Vec::new();
    for path in paths {
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        bytes.push(0);
    }
    files::write_whole(file, &bytes)
}

/// The paths that [`save_paths`] kept.
pub(super) fn load_paths(file: &Path) -> Result<Vec<PathBuf>, FileError> {
    let bytes = fs::read(file).map_err(|source| FileError::at("read", file, source))?;
    let paths = bytes.split(|byte| *byte == 0).filter(|path| !path.is_empty());
    Ok(paths.map(|path| PathBuf::from(OsStr::from_bytes(path))).collect())
}
