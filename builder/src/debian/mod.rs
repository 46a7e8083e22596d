//! Debian packages, with all that they depend on, unpacked into a folder without root: `stage-packages` into what a part
//! installs, `build-packages` into a root for its commands ([`roots`]).
//!
//! 1. [`apt`]: the host's own apt, with a state of its own in the caller's cache folder and a package database in which
//!    nothing is but what the base has ([`present`]), resolves, downloads and checks signatures and hashes. The host's
//!    package database is never looked at, so the result does not depend on what is installed on the building machine.
//! 2. [`deb`]: each file's hash is checked again, and its control data read.
//! 3. [`tree`]: the packages are laid over each other in the order of their names, everything below `usr/`.
//! 4. [`alternatives`]: the links of `update-alternatives` are made, as far as the packages' scripts can be read.
//! 5. [`triggers`]: the caches that desktop libraries cannot do without are made.
//!
//! What is not done, since no script of a package is run: diversions, users and groups, debconf answers, configuration
//! files that a script writes. Packages marked `Essential` are staged only where something depends on them by name, since a shell is
//! the base's business; a root for commands has them all.

mod alternatives;
mod apt;
mod content;
mod deb;
mod error;
mod path;
mod present;
pub mod roots;
mod system;
mod tree;
mod triggers;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::SystemTime;

use pack_schemas::names::{Architecture, Hash};
use pack_schemas::text::visible;
use serde::{Deserialize, Serialize};

use apt::Apt;
use content::Content;
use deb::Deb;
pub use error::DebianError;
pub use present::{
    FILES_MOST as PRESENT_FILES_MOST, FOLDER as PRESENT_FOLDER, LONGEST_FILE as PRESENT_LONGEST_FILE,
    PresentPackage,
};
use tree::Tree;

/// What to stage, and from where.
#[derive(Debug, Clone)]
pub struct Request {
    /// The packages' names: `[a-z0-9][a-z0-9+.-]+`, without version or architecture.
    pub packages: Vec<String>,
    /// A folder for apt's lists and the downloaded packages; made where it is missing, kept between builds. One build
    /// uses it at a time, others wait.
    pub cache: PathBuf,
    /// The architecture of the package that is built; with [`Architecture::All`] only packages for all are allowed.
    pub architecture: Architecture,
    /// Where apt's sources, keys and preferences are: [`APT_FOLDER`] unless the caller has a reason.
    pub apt_folder: PathBuf,
    /// The present time: lists older than a day are fetched anew.
    pub now: SystemTime,
    /// Packages that are there when the staged ones are used, those of the base: they are not staged.
    pub present: Vec<PresentPackage>,
    /// The files of the base: the tools that make caches are run with its libraries.
    pub base: Option<PathBuf>,
    /// Whether the archive's essential packages, without apt, are wanted too: those that every other one takes for granted.
    pub essential: bool,
    /// Whether the control data of the staged packages is put at [`PRESENT_FOLDER`], for a base.
    pub record: bool,
    /// Added to apt's otherwise empty environment: the variables by which a person names a proxy (`http_proxy`…).
    pub environment: Vec<(OsString, OsString)>,
}

/// Most packages that are decompressed at once: each may wait with 32 MiB.
const AHEAD_MOST: usize = 4;

/// Where Debian keeps apt's sources, keys and preferences.
pub const APT_FOLDER: &str = "/etc/apt";

impl Request {
    /// Asks for `packages` from the host's own sources.
    pub fn new(
        packages: Vec<String>,
        cache: PathBuf,
        architecture: Architecture,
        now: SystemTime,
    ) -> Request {
        Request {
            packages,
            cache,
            architecture,
            apt_folder: APT_FOLDER.into(),
            now,
            present: Vec::new(),
            base: None,
            essential: false,
            record: false,
            environment: Vec::new(),
        }
    }
}

/// A file that a request comes to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ResolvedFile {
    /// Its name: `make_4.3-4.1_amd64.deb`.
    pub name: String,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// A Debian package that was staged, or that a root is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StagedPackage {
    /// Its name.
    pub name: String,
    /// Its version in full, with epoch and Debian revision.
    pub version: String,
    /// Debian's name for its architecture, `all` included.
    pub architecture: String,
    /// SHA-256 of the `.deb` file, 64 hexadecimal digits.
    pub sha256: String,
    /// The source package, and its version where that differs: `glibc`, `gcc-defaults (1.203)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// How far the staging is.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Another build is using the cache folder; this one waits for it.
    Waiting,
    /// apt fetches the lists of packages.
    Updating,
    /// apt finds out what is needed.
    Resolving,
    /// apt downloads what the cache has not got.
    Downloading {
        /// How many packages are needed.
        packages: usize,
        /// Their size, in bytes; what is in the cache already is included.
        bytes: u64,
    },
    /// A package is being unpacked.
    Unpacking {
        /// Its name.
        name: &'a str,
        /// How many are done.
        done: usize,
        /// How many there are.
        of: usize,
    },
    /// Something that the person who builds should know; the build goes on.
    Note(Note),
}

/// Something left undone, which may or may not matter to the app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Some lists could not be fetched; older ones, or those of other sources, are used.
    ListsNotFetched {
        /// apt's last lines.
        output: String,
    },
    /// A package would set up alternatives when it is installed, and its script cannot be read as far as that.
    Alternatives {
        /// The package.
        package: String,
    },
    /// A cache was not made, for want of the tool that makes it.
    ToolMissing {
        /// The tool.
        tool: &'static str,
        /// What the app will lack.
        effect: &'static str,
    },
    /// A cache was not made, since its tool failed.
    ToolFailed {
        /// The tool.
        tool: &'static str,
        /// What the app will lack.
        effect: &'static str,
        /// The tool's last lines.
        output: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::ListsNotFetched { output } => {
                write!(out, "some lists of packages could not be fetched, older ones are used: {output}")
            }
            Note::Alternatives { package } => write!(
                out,
                "`{package}` sets up alternatives when it is installed, in a way that is not understood: links may be missing"
            ),
            Note::ToolMissing { tool, effect } => {
                write!(out, "no `{tool}` here or among the packages: {effect}")
            }
            Note::ToolFailed { tool, effect, output } => write!(out, "`{tool}` failed ({output}): {effect}"),
        }
    }
}

/// Stages `request.packages` and all that they depend on (not what they recommend, and not what is present) into `target`, which must be empty
/// or missing, and returns what was staged, sorted by name.
///
/// The same packages give the same tree. Everything lies below `usr/` with links `lib -> usr/lib` and so on beside it,
/// as on an installed system; absolute links to something staged are made relative, so that they work at `/app` as well
/// as at `/`. Set-uid, set-gid and sticky bits are dropped, and the building user can read everything.
///
/// After an error `target` may hold part of the packages: remove it.
pub fn stage(
    request: &Request,
    target: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<StagedPackage>, DebianError> {
    if request.packages.is_empty() {
        return Ok(Vec::new());
    }
    let debs = obtain(request, progress)?;
    lay_out(request, &debs, target, progress)?;
    Ok(debs.into_iter().map(|deb| deb.package).collect())
}

/// The files of all that the request comes to, sorted by the packages' names.
fn obtain(request: &Request, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Vec<Deb>, DebianError> {
    request.packages.iter().try_for_each(|name| check_name(name))?;
    let debs = Apt::open(request, progress)?.obtain(&request.packages, progress)?;
    check_architecture(request.architecture, &debs)?;
    Ok(debs)
}

/// Unpacks them, and makes what their scripts would have made.
fn lay_out(
    request: &Request,
    debs: &[Deb],
    target: &Path,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<(), DebianError> {
    let not_understood = unpack(debs, target, request.record, progress)?;
    for package in not_understood {
        progress(Progress::Note(Note::Alternatives { package }));
    }
    let note = &mut |note| progress(Progress::Note(note));
    triggers::run(target, native(request.architecture), request.base.as_deref(), note)
}

/// What `request.packages` come to by now, without downloading them: every file that [`stage`] would unpack. Lists that are
/// older than a day are fetched anew.
///
/// # Errors
/// [`DebianError`].
pub fn resolve(
    request: &Request,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<ResolvedFile>, DebianError> {
    request.packages.iter().try_for_each(|name| check_name(name))?;
    Apt::open(request, progress)?.files(&request.packages, progress)
}

/// Stands for the lists that packages are looked up in, as the archive signed them; nothing where they have to be fetched
/// first. While it is the same, the same names come to the same packages.
pub fn lists(request: &Request) -> Option<Hash> {
    apt::lists(request)
}

/// Unpacks `.deb` files into `target` as [`stage`] does, without apt and its checks, and without triggers.
///
/// The files are laid over each other in the order of their packages' names, whatever the order of `files`.
pub fn unpack_files(files: &[PathBuf], target: &Path) -> Result<Vec<StagedPackage>, DebianError> {
    let mut debs = files.iter().map(|file| Deb::read(file, None)).collect::<Result<Vec<_>, _>>()?;
    debs.sort_by(|left, right| left.package.cmp(&right.package));
    unpack(&debs, target, false, &mut |_| ())?;
    Ok(debs.into_iter().map(|deb| deb.package).collect())
}

/// Returns the packages whose alternatives were not understood.
fn unpack(
    debs: &[Deb],
    target: &Path,
    is_recorded: bool,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<String>, DebianError> {
    let mut tree = Tree::create(target)?;
    let mut waiting = debs.iter();
    let mut started: VecDeque<Content> = waiting.by_ref().take(ahead()).map(Deb::start).collect();
    for (done, deb) in debs.iter().enumerate() {
        progress(Progress::Unpacking { name: &deb.package.name, done, of: debs.len() });
        let content = started.pop_front().unwrap_or_else(|| deb.start());
        started.extend(waiting.next().map(Deb::start));
        deb.unpack(content, &mut tree)?;
    }
    if is_recorded {
        present::record(debs, &mut tree)?;
    }
    let not_understood = alternatives::make(debs, &mut tree)?;
    tree.finish()?;
    Ok(not_understood)
}

/// How many packages are decompressed at once.
fn ahead() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get).min(AHEAD_MOST)
}

/// Debian Policy 5.6.7: at least two of lower-case letters, digits and `+-.`, a letter or digit first. That also keeps
/// names apart from apt's options.
fn check_name(name: &str) -> Result<(), DebianError> {
    let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let rest = |byte: u8| first(byte) || b"+-.".contains(&byte);
    if name.len() >= 2
        && name.len() <= 128
        && name.bytes().all(rest)
        && name.bytes().next().is_some_and(first)
    {
        return Ok(());
    }
    Err(DebianError::BadName { name: name.chars().take(64).collect() })
}

fn check_architecture(wanted: Architecture, debs: &[Deb]) -> Result<(), DebianError> {
    let foreign = |deb: &&Deb| ![wanted.as_str(), "all"].contains(&deb.package.architecture.as_str());
    match debs.iter().find(foreign) {
        None => Ok(()),
        Some(deb) => Err(DebianError::WrongArchitecture {
            package: deb.package.name.clone(),
            architecture: deb.package.architecture.clone(),
            wanted,
        }),
    }
}

/// The architecture that apt resolves for: a package for all still depends on, and is looked up on, a real one.
fn native(architecture: Architecture) -> Architecture {
    if architecture == Architecture::All { Architecture::HOST } else { architecture }
}

/// Makes a folder and those above it.
fn make_folder(path: &Path) -> Result<(), DebianError> {
    fs::create_dir_all(path).map_err(|source| DebianError::io("make the folder", path, source))
}

/// The last lines of what a program said, short enough to show and with nothing in it that steers a terminal.
fn last_lines(output: &[u8]) -> String {
    const LINES: usize = 6;
    const CHARACTERS: usize = 600;
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines[lines.len().saturating_sub(LINES)..].join("; ");
    let skipped = text.chars().count().saturating_sub(CHARACTERS);
    visible(&text.chars().skip(skipped).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_debian_policy() {
        for good in ["jq", "g++", "libstdc++6", "0ad", "python3.11"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "-y", "Jq", "a b", "jq=1", "jq:i386", "jq/stable", "jq*", "--help", "é1", "a\nb"]
        {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_end_of_an_output_is_shown() {
        assert_eq!(last_lines(b"a\n\n b \x1b[0m\n"), "a; b \\u{1b}[0m");
        assert!(last_lines(&[b'x'; 100_000]).len() <= 600);
        assert_eq!(last_lines(b"1\n2\n3\n4\n5\n6\n7\n"), "2; 3; 4; 5; 6; 7");
    }
}
