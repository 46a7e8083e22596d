//! Roots of builds: folders of Debian packages that the commands of a part have at `/`, kept from one build to the next.
//!
//! ```text
//! ROOTS/lock                  held (flock) while a root is made or removed
//! ROOTS/HASH/root/            the packages that the hash stands for, unpacked
//! ROOTS/HASH/packages.json    which they are
//! ROOTS/HASH.draft/           a root that is being made, or removed; whoever gets the lock removes it
//! ROOTS/asked/HASH.json       what a request came to, valid while apt's lists are those that it was looked up in
//! ```
//! A root has the archive's essential packages (apt's `?essential`, without apt itself), what is asked for, and all that these
//! depend on. The hash is over the SHA-256 of each package's file, and over [`UNPACKING`], so that the same hash is the same tree.
//!
//! 1. What the request comes to is known from the last time, or asked of apt ([`Roots::resolve`]).
//! 2. A root of that hash is taken as it is ([`Roots::root`]): neither apt nor a network is needed for it.
//! 3. Else it is made as a draft, written to the disk, and renamed: under its name it is whole, or not there.
//!
//! A build that uses a root holds its folder (a shared flock), and nobody removes it meanwhile. The folder's time is when it was
//! last used: when one is made, those are removed that nobody has used for [`KEPT`], and the oldest beyond [`MOST`].

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use pack_schemas::names::Hash;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::{DebianError, Note, Progress, Request, ResolvedFile, StagedPackage, apt, make_folder, system};
use crate::files;

/// Stands for how packages are unpacked; counted on where that changes what a root holds.
const UNPACKING: &str = "pack-root-1";
/// How long a root is kept that nobody uses.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many roots are kept.
const MOST: usize = 12;
/// Packages beside the essential ones that sources and scripts take for granted: Debian's compilers do not depend on the C
/// library's headers.
const USUAL: &[&str] = &["libc6-dev", "xz-utils"];
/// The end of the name of what is being made or removed.
const DRAFT: &str = "draft";
/// The tree of a root, and the list of what is in it.
const TREE: &str = "root";
const PACKAGES: &str = "packages.json";
/// Longest file of ours that is read, in bytes.
const LONGEST: u64 = 4 << 20;

/// A root, held so that nobody removes it.
#[derive(Debug)]
pub struct BuildRoot {
    /// The folder.
    pub folder: PathBuf,
    /// The packages in it, sorted by name.
    pub packages: Vec<StagedPackage>,
    /// Stands for all that is in it.
    pub hash: Hash,
    _held: File,
}

/// What a request came to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Asked {
    /// The lists that it was looked up in.
    lists: Hash,
    files: Vec<ResolvedFile>,
}

/// A folder with roots.
#[derive(Debug)]
pub struct Roots {
    folder: PathBuf,
}

impl Roots {
    /// The roots in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// [`DebianError::Io`].
    pub fn open(folder: &Path) -> Result<Roots, DebianError> {
        make_folder(&folder.join("asked"))?;
        let found = fs::canonicalize(folder);
        Ok(Roots { folder: found.map_err(|source| DebianError::io("find the folder", folder, source))? })
    }

    /// What a root for the request would be made of by now.
    ///
    /// # Errors
    /// [`DebianError`].
    pub fn resolve(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<ResolvedFile>, DebianError> {
        let request = whole(request);
        let path = self.folder.join("asked").join(format!("{}.json", key(&request)));
        let asked: Option<Asked> = read_json(&path);
        if let (Some(asked), Some(lists)) = (asked, apt::lists(&request))
            && asked.lists == lists
        {
            return Ok(asked.files);
        }
        let mut files = super::resolve(&request, progress)?;
        files.sort();
        // Without lists of today there is nothing to remember it by.
        if let Some(lists) = apt::lists(&request) {
            write_json(&path, &Asked { lists, files: files.clone() })?;
        }
        Ok(files)
    }

    /// The root for the request that came to `files`: as it is, or made. Where the archive has moved on meanwhile it is of other
    /// packages, and has another hash.
    ///
    /// # Errors
    /// [`DebianError`].
    pub fn root(
        &self,
        request: &Request,
        files: &[ResolvedFile],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<BuildRoot, DebianError> {
        let hash = hash(files.iter().map(|file| file.sha256.as_str()));
        match self.take(hash, request.now)? {
            Some(root) => Ok(root),
            None => self.make(&whole(request), progress),
        }
    }

    /// Removes all roots that no build uses. How many there were.
    ///
    /// # Errors
    /// [`DebianError`].
    pub fn remove_all(&self) -> Result<usize, DebianError> {
        let _lock = self.lock(&mut |_| ())?;
        self.clear_drafts()?;
        let mut removed = 0;
        for (_, folder) in self.list()? {
            removed += usize::from(self.remove(&folder)?);
        }
        Ok(removed)
    }

    /// Makes the root for a whole request, unless another build does so meanwhile.
    fn make(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<BuildRoot, DebianError> {
        let debs = super::obtain(request, progress)?;
        let hash = hash(debs.iter().map(|deb| deb.package.sha256.as_str()));
        let _lock = self.lock(progress)?;
        self.clear_drafts()?;
        if let Some(root) = self.take(hash, request.now)? {
            return Ok(root);
        }
        let folder = self.place(hash);
        let draft = folder.with_extension(DRAFT);
        let tree = draft.join(TREE);
        make_folder(&tree)?;
        super::lay_out(request, &debs, &tree, &mut |step| {
            let is_mended = |package: &str| system::MENDED.contains(&package);
            if !matches!(&step, Progress::Note(Note::Alternatives { package }) if is_mended(package)) {
                progress(step);
            }
        })?;
        system::settle(&tree, &mut |note| progress(Progress::Note(note)))?;
        let packages: Vec<&StagedPackage> = debs.iter().map(|deb| &deb.package).collect();
        write_json(&draft.join(PACKAGES), &packages)?;
        publish(&draft, &folder)?;
        // Held before older ones go, or it could be one of them where a clock stands wrong.
        let root = self.take(hash, request.now)?;
        self.remove_old(request.now)?;
        root.ok_or_else(|| DebianError::io("find the folder", &folder, io::ErrorKind::NotFound.into()))
    }

    /// A root that is there; held, and noted as used.
    fn take(&self, hash: Hash, now: SystemTime) -> Result<Option<BuildRoot>, DebianError> {
        let folder = self.place(hash);
        let Some(held) = hold(&folder, now)? else { return Ok(None) };
        // One whose list cannot be read is none: it is made anew.
        let found = read_json(&folder.join(PACKAGES));
        Ok(found.map(|packages| BuildRoot { folder: folder.join(TREE), packages, hash, _held: held }))
    }

    fn place(&self, hash: Hash) -> PathBuf {
        self.folder.join(hex::encode(&hash.0[..16]))
    }

    fn lock(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<File, DebianError> {
        apt::lock(&self.folder.join("lock"), progress)
    }

    /// Removes what a build that was killed has left. The caller has the lock.
    fn clear_drafts(&self) -> Result<(), DebianError> {
        let is_draft = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == DRAFT);
        self.entries()?.iter().filter(is_draft).try_for_each(|draft| remove_tree(draft))
    }

    /// Removes what nobody has used for long, and what is too many.
    fn remove_old(&self, now: SystemTime) -> Result<(), DebianError> {
        let is_old = |used: SystemTime| now.duration_since(used).is_ok_and(|age| age > KEPT);
        for (at, (used, folder)) in self.list()?.into_iter().enumerate() {
            if at >= MOST || is_old(used) {
                self.remove(&folder)?;
            }
        }
        for path in list(&self.folder.join("asked"))? {
            let asked = path.metadata().and_then(|metadata| metadata.modified());
            if asked.is_ok_and(is_old) {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// The roots, those first that were used last.
    fn list(&self) -> Result<Vec<(SystemTime, PathBuf)>, DebianError> {
        let is_root = |name: &str| name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut found = Vec::new();
        for path in self.entries()? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if is_root(name) {
                let metadata = path.symlink_metadata().and_then(|metadata| metadata.modified());
                found.push((metadata.map_err(|source| DebianError::io("look at", &path, source))?, path));
            }
        }
        found.sort_by(|left, right| right.cmp(left));
        Ok(found)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, DebianError> {
        list(&self.folder)
    }

    /// Removes a root unless a build uses it. The caller has the lock.
    fn remove(&self, folder: &Path) -> Result<bool, DebianError> {
        let open = File::open(folder).map_err(|source| DebianError::io("open", folder, source))?;
        match flock(&open, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
            Err(source) => return Err(DebianError::io("lock", folder, source.into())),
        }
        let draft = folder.with_extension(DRAFT);
        fs::rename(folder, &draft).map_err(|source| DebianError::io("rename", folder, source))?;
        remove_tree(&draft)?;
        Ok(true)
    }
}

/// Stands for what a root of these files holds.
pub fn hash<'a>(files: impl Iterator<Item = &'a str>) -> Hash {
    let mut files: Vec<&str> = files.collect();
    files.sort_unstable();
    Hash::of(format!("{UNPACKING}\n{}", files.join("\n")).as_bytes())
}

/// The request for a whole root.
fn whole(request: &Request) -> Request {
    let usual = USUAL.iter().map(|name| (*name).to_owned());
    let mut packages: Vec<String> = request.packages.iter().cloned().chain(usual).collect();
    packages.sort();
    packages.dedup();
    let architecture = pack_schemas::names::Architecture::HOST;
    Request {
        packages,
        architecture,
        essential: true,
        present: Vec::new(),
        base: None,
        record: false,
        ..request.clone()
    }
}

/// Stands for a whole request.
fn key(request: &Request) -> String {
    let apt_folder = request.apt_folder.to_string_lossy();
    let words = [UNPACKING, request.architecture.as_str(), &apt_folder].into_iter();
    let words: Vec<&str> = words.chain(request.packages.iter().map(String::as_str)).collect();
    hex::encode(&Hash::of(words.join("\n").as_bytes()).0[..16])
}

/// Gives a draft its name, once all of it is on the disk.
fn publish(draft: &Path, folder: &Path) -> Result<(), DebianError> {
    let written = File::open(draft).and_then(|open| Ok(rustix::fs::syncfs(open)?));
    written.map_err(|source| DebianError::io("write to the disk", draft, source))?;
    // A root that is there and was not taken is broken.
    remove_tree(folder)?;
    fs::rename(draft, folder).map_err(|source| DebianError::io("rename", draft, source))
}

/// Holds a root, and notes that it is used; nothing where it is not there (any more).
fn hold(folder: &Path, now: SystemTime) -> Result<Option<File>, DebianError> {
    let open = match File::open(folder) {
        Ok(open) => open,
        Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(DebianError::io("open", folder, source)),
    };
    let lock_error = |source: rustix::io::Errno| DebianError::io("lock", folder, source.into());
    flock(&open, FlockOperation::LockShared).map_err(lock_error)?;
    // It may have been removed while this waited.
    let is_same = match (folder.symlink_metadata(), open.metadata()) {
        (Ok(named), Ok(held)) => (named.dev(), named.ino()) == (held.dev(), held.ino()),
        _ => false,
    };
    if !is_same {
        return Ok(None);
    }
    let used = open.set_times(FileTimes::new().set_modified(now));
    used.map_err(|source| DebianError::io("note the use of", folder, source))?;
    Ok(Some(open))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, DebianError> {
    let list_error = |source| DebianError::io("list", folder, source);
    let entries = fs::read_dir(folder).map_err(list_error)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(list_error)).collect()
}

/// A file of ours; nothing where it says nothing that can be read.
fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let file = File::open(path).ok()?;
    let text = io::read_to_string(io::Read::take(file, LONGEST)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Writes a small file so that whoever reads it finds the old one or the new one, also where several write it.
fn write_json(path: &Path, content: &impl Serialize) -> Result<(), DebianError> {
    let text = serde_json::to_vec(content).map_err(|error| DebianError::io("write", path, error.into()))?;
    let draft = path.with_extension(format!("{}.{DRAFT}", std::process::id()));
    fs::write(&draft, text)
        .and_then(|()| fs::rename(&draft, path))
        .map_err(|source| DebianError::io("write", path, source))
}

fn remove_tree(path: &Path) -> Result<(), DebianError> {
    files::remove_tree(path).map_err(|error| DebianError::io("remove", path, error.source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(roots: &Roots, byte: u8, used: SystemTime) -> Hash {
        let hash = Hash([byte; 32]);
        let folder = roots.place(hash);
        fs::create_dir_all(folder.join(TREE).join("usr")).unwrap();
        fs::write(folder.join(PACKAGES), "[]").unwrap();
        drop(roots.take(hash, used).unwrap().unwrap());
        hash
    }

    fn days(number: u64) -> Duration {
        Duration::from_secs(number * 24 * 60 * 60)
    }

    #[test]
    fn what_is_old_or_too_many_is_removed_and_what_is_used_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::open(folder.path()).unwrap();
        let now = SystemTime::now();
        for number in 0..MOST + 3 {
            put(&roots, u8::try_from(number).unwrap(), now - days(1) - Duration::from_secs(number as u64));
        }
        let old = put(&roots, 100, now - days(31));
        let used = roots.take(Hash([14; 32]), now - days(40)).unwrap().unwrap();
        roots.remove_old(now).unwrap();
        assert!(roots.take(old, now).unwrap().is_none());
        assert!(roots.take(Hash([0; 32]), now).unwrap().is_some());
        assert!(roots.take(Hash([13; 32]), now).unwrap().is_none(), "one of too many");
        assert!(used.folder.join("usr").is_dir());
        assert_eq!(roots.remove_all().unwrap(), MOST);
        assert!(used.folder.join("usr").is_dir());
        drop(used);
        assert_eq!(roots.remove_all().unwrap(), 1);
    }

    #[test]
    fn a_draft_is_none_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots::open(folder.path()).unwrap();
        let draft = roots.place(Hash([1; 32])).with_extension(DRAFT);
        fs::create_dir_all(draft.join(TREE)).unwrap();
        assert!(roots.take(Hash([1; 32]), SystemTime::now()).unwrap().is_none());
        assert_eq!(roots.remove_all().unwrap(), 0);
        assert!(!draft.exists());
    }

    #[test]
    fn the_hash_is_over_all_files_in_any_order() {
        let of = |files: &[&str]| hash(files.iter().copied());
        assert_eq!(of(&["aa", "bb"]), of(&["bb", "aa"]));
        assert_ne!(of(&["aa", "bb"]), of(&["aa"]));
    }
}
