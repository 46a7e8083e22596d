//! A project: the folder with a `pack.yaml`, and where builds of it work.
//!
//! ```text
//! PROJECT/pack.yaml                      read, never written
//! PROJECT/.pack/                         everything that a build makes, and nothing else; may be removed at any time
//!     .gitignore                         keeps the folder out of version control
//!     lock                               held by a build that is running
//!     owner                              whose builds made all this: see `owner`
//!     parts/NAME/src                     what pull fetched
//!     parts/NAME/fetched                 what its plugin fetched beside the source
//!     parts/NAME/build                   where the part is built
//!     parts/NAME/install                 what it installs
//!     parts/NAME/home                    HOME of its scripts
//!     parts/NAME/tmp                     TMPDIR of its scripts; empty between them
//!     parts/NAME/control                 how its scripts ask for the default of a step
//!     parts/NAME/plan.json               what the sandbox of its last command was made of
//!     parts/NAME/STEP.log                what its scripts said
//!     parts/NAME/STEP.json               what a step read and made, once it is complete
//!     parts/NAME/STEP.LABEL.files        what a tree that it read held, to tell what has changed
//!     parts/NAME/source.json             where its source came from
//!     parts/NAME/state.json              what went into it, such as versions and hashes of Debian packages
//!     stage                              what all parts share with one another
//!     prime                              what becomes the package
//!     stage.json, prime.json             which parts are in them, while that is so
//!     blocks                             compressed blocks of the last package
//! ```

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use pack_schemas::manifest::{Manifest, ManifestError, SIZE_LIMIT};
use pack_schemas::names::Name;
use pack_schemas::text::visible;
use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::files::{self, FileError};
use crate::owner::Owner;

/// Name of the manifest's file.
pub const MANIFEST_FILE: &str = "pack.yaml";
/// Name of the folder that builds work in.
pub const WORK_FOLDER: &str = ".pack";

/// A project with a manifest that is in order.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    manifest: Manifest,
}

/// Why a project cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// There is no folder of that name.
    #[error("cannot open the folder `{}`", visible(&.folder.to_string_lossy()))]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder has no `pack.yaml`.
    #[error("there is no {MANIFEST_FILE} in `{}`", visible(&.folder.to_string_lossy()))]
    NoManifest {
        /// The folder.
        folder: PathBuf,
    },
    /// The `pack.yaml` cannot be read, or is no regular file.
    #[error("cannot read `{}`", visible(&.path.to_string_lossy()))]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The `pack.yaml` is not in order.
    #[error("`{}` is not in order", visible(&.path.to_string_lossy()))]
    Manifest {
        /// Its path.
        path: PathBuf,
        /// Its text, at most a byte longer than [`SIZE_LIMIT`].
        text: Vec<u8>,
        /// What is wrong, and where.
        source: ManifestError,
    },
    /// Another process builds in this folder.
    #[error("another build is under way in `{}`", visible(&.folder.to_string_lossy()))]
    Busy {
        /// The project.
        folder: PathBuf,
    },
    /// A work folder cannot be made or removed.
    #[error(transparent)]
    Work(#[from] FileError),
}

impl Project {
    /// Reads the `pack.yaml` in `folder`: a regular file, not a symbolic link, of at most 1 MiB.
    ///
    /// # Errors
    /// [`ProjectError`].
    pub fn open(folder: &Path) -> Result<Project, ProjectError> {
        let folder = folder
            .canonicalize()
            .map_err(|source| ProjectError::Folder { folder: folder.to_path_buf(), source })?;
        let path = folder.join(MANIFEST_FILE);
        let text = match read_regular(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(ProjectError::NoManifest { folder });
            }
            Err(source) => return Err(ProjectError::Read { path, source }),
        };
        match Manifest::from_yaml(&text) {
            Ok(manifest) => Ok(Project { folder, manifest }),
            Err(source) => Err(ProjectError::Manifest { path, text, source }),
        }
    }

    /// The project's folder, as an absolute path without symbolic links.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the `pack.yaml` says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where builds of it work.
    pub fn work(&self) -> WorkFolders {
        WorkFolders::of(&self.folder)
    }
}

/// Reads a regular file without following a symbolic link and without waiting for the writer of a FIFO; at most a byte
/// more than a manifest may have.
fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP) => {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a symbolic link"));
        }
        opened => File::from(opened?),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = Vec::new();
    file.take(SIZE_LIMIT as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// The folders that a build works in, see the module.
#[derive(Debug, Clone)]
pub struct WorkFolders {
    project: PathBuf,
    root: PathBuf,
}

/// The folders of one part.
#[derive(Debug, Clone)]
pub struct PartFolders {
    root: PathBuf,
}

/// A build under way; no other can begin in the folder until it is dropped.
#[derive(Debug)]
pub struct BuildLock {
    _file: File,
    removed_foreign: bool,
}

impl BuildLock {
    /// Whether the work folder was somebody else's, and what was in it has been removed.
    pub fn removed_foreign(&self) -> bool {
        self.removed_foreign
    }
}

impl WorkFolders {
    /// The work folders of the project in `project`.
    pub fn of(project: &Path) -> WorkFolders {
        WorkFolders { project: project.to_path_buf(), root: project.join(WORK_FOLDER) }
    }

    /// The folder around all of them.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What all parts share.
    pub fn stage(&self) -> PathBuf {
        self.root.join("stage")
    }

    /// What becomes the package.
    pub fn prime(&self) -> PathBuf {
        self.root.join("prime")
    }

    /// The files of the project's base, below a name for each base; kept between builds.
    pub fn bases(&self) -> PathBuf {
        self.root.join("bases")
    }

    /// The folders of a part.
    pub fn part(&self, name: &Name) -> PartFolders {
        PartFolders { root: self.parts().join(name.as_str()) }
    }

    fn parts(&self) -> PathBuf {
        self.root.join("parts")
    }

    /// Makes the folder around all of them, keeps other builds out of it, and removes what is not of this owner's builds.
    ///
    /// # Errors
    /// [`ProjectError::Busy`], and what the file system says.
    pub fn lock(&self, owner: &Owner) -> Result<BuildLock, ProjectError> {
        files::make_folder(&self.root)?;
        let lock = self.take_lock()?;
        let removed_foreign = owner.claim(&self.root)?;
        files::write_whole(&self.root.join(".gitignore"), b"*\n")?;
        Ok(BuildLock { removed_foreign, ..lock })
    }

    fn take_lock(&self) -> Result<BuildLock, ProjectError> {
        let path = self.root.join("lock");
        let failed = |source: rustix::io::Errno| FileError::at("lock", &path, source.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(BuildLock { _file: file.into(), removed_foreign: false }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(ProjectError::Busy { folder: self.project.clone() }),
            Err(source) => Err(failed(source).into()),
        }
    }

    /// Makes the folders of parts, stage and prime, and removes what earlier builds left of parts that are not among
    /// these.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn prepare<'a>(
        &self,
        _lock: &BuildLock,
        parts: impl Iterator<Item = &'a Name>,
    ) -> Result<(), FileError> {
        for folder in [self.parts(), self.stage(), self.prime()] {
            files::make_folder(&folder)?;
        }
        let parts: Vec<&str> = parts.map(Name::as_str).collect();
        let list_error = |source| FileError::at("list", &self.parts(), source);
        for entry in fs::read_dir(self.parts()).map_err(list_error)? {
            let entry = entry.map_err(list_error)?;
            if !parts.iter().any(|name| entry.file_name() == *name) {
                files::remove_tree(&entry.path())?;
            }
        }
        Ok(())
    }

    /// What says which parts are in the stage, or in the prime folder.
    pub(crate) fn record(&self, step: &str) -> PathBuf {
        self.root.join(format!("{step}.json"))
    }

    /// Removes everything that builds left. Whether there was something.
    ///
    /// # Errors
    /// [`ProjectError::Busy`], and what the file system says.
    pub fn clean(&self) -> Result<bool, ProjectError> {
        if !is_folder(&self.root)? {
            return Ok(false);
        }
        // Removed while the lock is held: a build that begins meanwhile waits for no one, and fails on its way.
        let _lock = self.take_lock()?;
        files::remove_tree(&self.root)?;
        Ok(true)
    }

    /// Removes what builds left of one part, and stage and prime, which have its files too. Whether there was something.
    ///
    /// # Errors
    /// [`ProjectError::Busy`], and what the file system says.
    pub fn clean_part(&self, name: &Name) -> Result<bool, ProjectError> {
        let part = self.part(name);
        if !is_folder(&self.root)? || !is_folder(&part.root)? {
            return Ok(false);
        }
        let _lock = self.take_lock()?;
        // What says that they are complete goes first.
        let records = [self.record("stage"), self.record("prime")];
        for path in records.iter().chain([&part.root, &self.stage(), &self.prime()]) {
            files::remove_tree(path)?;
        }
        Ok(true)
    }
}

/// Whether a path, relative to a project's folder, is of what builds make there.
pub(crate) fn is_made(path: &Path) -> bool {
    let is_top = path.components().count() == 1;
    is_top && (path == Path::new(WORK_FOLDER) || path.extension().is_some_and(|ending| ending == "pkg"))
}

fn is_folder(path: &Path) -> Result<bool, FileError> {
    match path.symlink_metadata() {
        Ok(metadata) => Ok(metadata.is_dir()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::at("look at", path, source)),
    }
}

impl PartFolders {
    /// What pull fetched.
    pub fn source(&self) -> PathBuf {
        self.root.join("src")
    }

    /// What its plugin fetched beside the source.
    pub fn fetched(&self) -> PathBuf {
        self.root.join("fetched")
    }

    /// Where it is built.
    pub fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// What it installs.
    pub fn install(&self) -> PathBuf {
        self.root.join("install")
    }

    /// HOME of its scripts.
    pub fn home(&self) -> PathBuf {
        self.root.join("home")
    }

    /// TMPDIR of its scripts.
    pub fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// What the sandbox of its last command was made of.
    pub fn plan(&self) -> PathBuf {
        self.root.join("plan.json")
    }

    /// How its scripts ask for the default of a step.
    pub(crate) fn control(&self) -> PathBuf {
        self.root.join("control")
    }

    /// What the script of a step said.
    pub fn log(&self, step: &str) -> PathBuf {
        self.root.join(format!("{step}.log"))
    }

    /// What a step read and made, once it is complete.
    pub(crate) fn record(&self, step: &str) -> PathBuf {
        self.root.join(format!("{step}.json"))
    }

    /// What a tree that a step read held.
    pub(crate) fn files(&self, step: &str, label: &str) -> PathBuf {
        self.root.join(format!("{step}.{label}.files"))
    }

    /// What went into it.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Where its source came from.
    pub(crate) fn fetched_facts(&self) -> PathBuf {
        self.root.join("source.json")
    }

    /// Makes all of them.
    pub(crate) fn make(&self) -> Result<(), FileError> {
        let folders = [
            self.root.clone(),
            self.source(),
            self.fetched(),
            self.build(),
            self.install(),
            self.home(),
            self.temporary(),
            self.control(),
        ];
        folders.iter().try_for_each(|folder| files::make_folder(folder))
    }
}
