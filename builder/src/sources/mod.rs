//! Fetches the source of a part: what its pull step does without a script.
//!
//! | kind | module | |
//! |---|---|---|
//! | a folder of the project | [`folder`] | copied, without what builds make |
//! | a tar or zip archive | [`archive`] | downloaded where it is not a file of the project ([`download`]), its checksum checked, unpacked |
//! | a Debian package | [`archive`] | in the same way, its files |
//! | a git repository | [`git`] | cloned by git itself, in the sandbox of the step |
//!
//! Archives are anybody's: they are unpacked by descriptors, out of a folder of their own nothing leads ([`beneath`]).

mod archive;
mod beneath;
mod download;
mod folder;
pub mod git;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pack_schemas::manifest::{Checksum, DigestAlgorithm, Part, SourceType, is_remote};
use pack_schemas::text::visible;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};

use crate::debian::DebianError;
use crate::files::FileError;
use crate::project::Project;

pub use download::DownloadError;

/// What to fetch, and with what.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The project.
    pub project: &'a Project,
    /// The part.
    pub part: &'a Part,
    /// A folder for what is downloaded; made where it is missing, kept between builds, shared by them.
    pub cache: &'a Path,
    /// The caller's environment, which says how the network is reached.
    pub environment: &'a BTreeMap<String, String>,
    /// Files in the target that have the content and the executability of those in the source, where that is a folder: they
    /// need not be copied again. For an empty target nothing.
    pub same: &'a HashSet<PathBuf>,
    /// How long a connection may take, and a server may say nothing: mostly [`PATIENCE`].
    pub patience: Duration,
}

/// As long as a person would wait for a server that says nothing.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What was fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Where from: an address, or a path in the project.
    pub address: String,
    /// By algorithm (`sha256`, `gitCommit`…): what it hashes to, in hexadecimal digits; nothing of a folder, whose content is
    /// what counts.
    pub digest: BTreeMap<String, String>,
    /// How many bytes an archive has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a git repository what `git describe --tags` says of the commit, as far as its tags were fetched, or else the commit's
    /// first twelve digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

impl Fetched {
    /// The commit of a git repository.
    pub fn commit(&self) -> Option<&str> {
        self.digest.get("gitCommit").map(String::as_str)
    }
}

/// Why a source cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The source is not there.
    #[error("cannot find the source `{}` in the project", visible(.source_folder))]
    Missing {
        /// The source as the manifest names it.
        source_folder: String,
        /// Why.
        source: io::Error,
    },
    /// The source is, by a symbolic link, not inside the project, or is in the folder that builds work in.
    #[error("the source `{}` leads out of the project's own files", visible(.source_folder))]
    Outside {
        /// The source as the manifest names it.
        source_folder: String,
    },
    /// The source is a file.
    #[error("the source `{}` is not a folder; say with `source-type` what it is", visible(.source_folder))]
    NoFolder {
        /// The source as the manifest names it.
        source_folder: String,
    },
    /// The source is a folder, and was to be a file.
    #[error("the source `{}` is not a file", visible(.source_folder))]
    NoFile {
        /// The source as the manifest names it.
        source_folder: String,
    },
    /// What is at an address cannot be had.
    #[error("cannot download `{}`", visible(.address))]
    Download {
        /// The address.
        address: String,
        /// Why.
        source: DownloadError,
    },
    /// A file is not the one that the manifest means.
    #[error("`{}` is not what `source-checksum` says: it hashes to {found}, and not to {wanted}", visible(.address))]
    Checksum {
        /// The address or path.
        address: String,
        /// What it hashes to, as a checksum is written.
        found: String,
        /// What it was to hash to.
        wanted: String,
    },
    /// An archive cannot be unpacked.
    #[error("cannot unpack `{}`{}", visible(.address), .entry.as_ref().map(|entry| format!(", at `{}`", visible(entry))).unwrap_or_default())]
    Unpack {
        /// The archive.
        address: String,
        /// The entry at which it failed, where there is one.
        entry: Option<String>,
        /// Why.
        source: io::Error,
    },
    /// A Debian package cannot be unpacked.
    #[error("cannot unpack `{}`", visible(.address))]
    Debian {
        /// The package.
        address: String,
        /// Why.
        source: Box<DebianError>,
    },
    /// The source has no such folder.
    #[error("`source-subdir: {}` is no folder of the source", visible(.folder))]
    Inner {
        /// The folder.
        folder: String,
        /// Why.
        source: io::Error,
    },
    /// What git has cloned is not in order.
    #[error("the git repository `{}`: {problem}", visible(.address))]
    Git {
        /// The repository.
        address: String,
        /// What is wrong.
        problem: String,
    },
}

impl SourceError {
    /// What the person who builds can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            SourceError::Download { source: DownloadError::Network(_), .. } => Some(
                "check the network, and `https_proxy` where it is reached through a proxy; what was downloaded is kept",
            ),
            SourceError::Checksum { .. } => {
                Some("find out why the file is another one before you write its checksum into the manifest")
            }
            SourceError::Missing { .. } => Some(
                "`source` is a path below the folder of the pack.yaml: make what it names, or correct it",
            ),
            _ => None,
        }
    }
}

/// How far the fetching is: bytes, and bytes in all where that is known.
pub type Progress<'a> = dyn FnMut(u64, Option<u64>) + 'a;

/// Fetches the source of a part into `target`, a folder that is empty (for the copy of a folder it need not be, and then
/// becomes what an empty one would): all kinds but git repositories, for which [`git::commands`] and [`git::finish`] are. Nothing for a part without a source.
///
/// # Errors
/// [`SourceError`]; `target` may then hold a part of the source.
pub fn fetch(
    request: &Request<'_>,
    target: &Path,
    progress: &mut Progress<'_>,
) -> Result<Option<Fetched>, SourceError> {
    let (Some(source), Some(kind)) = (&request.part.source, request.part.source_kind()) else {
        return Ok(None);
    };
    let fetched = Fetched { address: source.clone(), ..Fetched::default() };
    match kind {
        SourceType::Local => {
            folder::copy(request.project, source, target, request.same).map(|()| Some(fetched))
        }
        SourceType::Git if is_remote(source) => Ok(None),
        SourceType::Git => folder::inside(request.project, source).map(|_| None),
        SourceType::Tar | SourceType::Zip | SourceType::Deb => {
            let (path, digest) = obtain(request, source, progress)?;
            let metadata = path.metadata().map_err(|error| FileError::at("look at", &path, error))?;
            archive::unpack(source, &path, kind, target)?;
            Ok(Some(Fetched { digest, size: Some(metadata.len()), ..fetched }))
        }
    }
}

/// The folder of the part's `source-subdir` in a folder with its source. No symbolic link is on the way: what was fetched is
/// anybody's, and would lead wherever it likes.
///
/// # Errors
/// [`SourceError::Inner`].
pub fn inner_folder(part: &Part, folder: &Path) -> Result<PathBuf, SourceError> {
    let Some(inner) = &part.source_subdir else { return Ok(folder.to_path_buf()) };
    let path = folder.join(inner.as_str());
    beneath::check_folder(folder, inner.as_str())
        .map_err(|source| SourceError::Inner { folder: inner.as_str().to_owned(), source })?;
    Ok(path)
}

/// Copies a project as it is, without what builds make in it, into an empty folder.
///
/// # Errors
/// [`SourceError`]; `target` may then hold a part of it.
pub fn copy_project(project: &Project, target: &Path) -> Result<(), SourceError> {
    folder::copy(project, ".", target, &HashSet::new())
}

/// An archive as a file, checked.
fn obtain(
    request: &Request<'_>,
    source: &str,
    progress: &mut Progress<'_>,
) -> Result<(PathBuf, BTreeMap<String, String>), SourceError> {
    let checksum = request.part.source_checksum.as_ref();
    if let Some(checksum) = checksum.filter(|_| is_remote(source)) {
        let path = download::download(source, checksum, request, progress);
        let path = path.map_err(|error| match error {
            DownloadError::Altered { found } => altered(source, checksum, found),
            error => SourceError::Download { address: source.to_owned(), source: error },
        })?;
        return Ok((path, digest_of(checksum)));
    }
    // The manifest's check lets no address pass without a checksum.
    let path = folder::inside(request.project, source)?;
    if !path.is_file() {
        return Err(SourceError::NoFile { source_folder: source.to_owned() });
    }
    let sha256 = Checksum { algorithm: DigestAlgorithm::Sha256, digest: String::new() };
    let wanted = checksum.unwrap_or(&sha256);
    let found = hash_file(&path, wanted.algorithm).map_err(|error| FileError::at("read", &path, error))?;
    match checksum {
        Some(checksum) if checksum.digest != found => Err(altered(source, checksum, found)),
        _ => Ok((path, digest_of(&Checksum { algorithm: wanted.algorithm, digest: found }))),
    }
}

fn altered(source: &str, checksum: &Checksum, found: String) -> SourceError {
    let found = Checksum { algorithm: checksum.algorithm, digest: found };
    SourceError::Checksum { address: source.to_owned(), found: found.into(), wanted: checksum.clone().into() }
}

fn digest_of(checksum: &Checksum) -> BTreeMap<String, String> {
    BTreeMap::from([(checksum.algorithm.as_str().to_owned(), checksum.digest.clone())])
}

fn hash_file(path: &Path, algorithm: DigestAlgorithm) -> io::Result<String> {
    let mut hasher = Hasher::new(algorithm);
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            count => hasher.update(&buffer[..count]),
        }
    }
}

/// One of the algorithms of a checksum.
#[derive(Clone)]
enum Hasher {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl Hasher {
    fn new(algorithm: DigestAlgorithm) -> Hasher {
        match algorithm {
            DigestAlgorithm::Sha256 => Hasher::Sha256(Sha256::new()),
            DigestAlgorithm::Sha384 => Hasher::Sha384(Sha384::new()),
            DigestAlgorithm::Sha512 => Hasher::Sha512(Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha384(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// Lower-case hexadecimal digits.
    fn finish(self) -> String {
        match self {
            Hasher::Sha256(hasher) => hex::encode(hasher.finalize()),
            Hasher::Sha384(hasher) => hex::encode(hasher.finalize()),
            Hasher::Sha512(hasher) => hex::encode(hasher.finalize()),
        }
    }
}
