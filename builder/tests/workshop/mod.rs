//! Projects in temporary folders, and what their builds do.
#![allow(dead_code, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pack_builder::debian;
use pack_builder::owner::Owner;
use pack_builder::parts::{self, Action, Built, PartsError, Progress, Step, StepError, Why};
use pack_builder::project::{BuildLock, Project, ProjectError};
use pack_schemas::names::Architecture;
use tempfile::TempDir;

use crate::common::{UNPRIVILEGED, is_rerun, rerun};

/// A project in a temporary folder.
pub struct Workshop {
    pub folder: TempDir,
    /// What else a build is given.
    pub surroundings: Surroundings,
}

/// Remembers what ran, and why; what was skipped; and what was done once more.
#[derive(Default)]
pub struct Steps {
    pub ran: Vec<String>,
    pub why: Vec<Why>,
    pub skipped: Vec<String>,
    pub again: Vec<String>,
    /// What was told of Debian packages.
    pub notes: Vec<String>,
}

impl Steps {
    fn check(&self, at: usize, of: usize) {
        assert_eq!(at, self.ran.len() + self.skipped.len());
        assert!(at < of);
    }
}

impl Progress for Steps {
    fn begin(&mut self, action: &Action, at: usize, of: usize, why: &Why, log: &Path) {
        self.check(at, of);
        assert!(log.ends_with(format!("{}/{}.log", action.part, action.step)));
        self.ran.push(format!("{} {}", action.step, action.part));
        self.why.push(why.clone());
    }
    fn skip(&mut self, action: &Action, at: usize, of: usize) {
        self.check(at, of);
        self.skipped.push(format!("{} {}", action.step, action.part));
    }
    fn again(&mut self, action: &Action) {
        self.again.push(format!("{} {}", action.step, action.part));
    }
    fn source(&mut self, bytes: u64, of: Option<u64>) {
        assert!(of.is_none_or(|of| bytes <= of));
    }
    fn packages(&mut self, progress: debian::Progress<'_>) {
        if let debian::Progress::Note(note) = progress {
            eprintln!("note: {note}");
            self.notes.push(note.to_string());
        }
    }
}

/// What a build is given beside the project.
#[derive(Clone)]
pub struct Surroundings {
    pub epoch: u32,
    pub jobs: usize,
    /// Where Debian packages come from, if not from the host's sources into a cache of the tests.
    pub debian: Option<debian::Request>,
}

impl Default for Surroundings {
    fn default() -> Surroundings {
        Surroundings { epoch: 1_000_000_000, jobs: 3, debian: None }
    }
}

impl Workshop {
    pub fn new(parts: &str) -> Workshop {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("name: hello\nversion: '1.0'\nbase: none\nparts:\n{parts}");
        fs::write(folder.path().join("pack.yaml"), text).unwrap();
        Workshop { folder, surroundings: Surroundings::default() }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn write(&self, path: &str, content: &str) -> &Workshop {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn open(&self) -> Project {
        Project::open(self.folder.path()).unwrap_or_else(|error| panic!("{error}: {:?}", error.source()))
    }

    /// Takes the lock that an earlier build of the test has given back. A process that another test is starting at that moment has
    /// its descriptor too, until it executes.
    fn lock(&self, project: &Project) -> BuildLock {
        for _ in 0..200 {
            match project.work().lock(&owner()) {
                Err(ProjectError::Busy { .. }) => std::thread::sleep(std::time::Duration::from_millis(10)),
                lock => return lock.unwrap(),
            }
        }
        panic!("the lock of {:?} is held", self.folder.path());
    }

    pub fn build_until(&self, until: Step, steps: &mut Steps) -> Result<Built, PartsError> {
        let project = self.open();
        let lock = self.lock(&project);
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parts-debian-cache");
        let debian = self.surroundings.debian.clone().unwrap_or_else(|| {
            debian::Request::new(Vec::new(), cache.clone(), Architecture::HOST, SystemTime::now())
        });
        let request = parts::Request {
            project: &project,
            until,
            architecture: Architecture::HOST,
            source_date_epoch: self.surroundings.epoch,
            parallel: NonZeroUsize::new(self.surroundings.jobs).unwrap(),
            runner: Path::new(env!("CARGO_BIN_EXE_pack-build-step")),
            environment: &BTreeMap::new(),
            sources: &cache.with_file_name("parts-sources-cache"),
            roots: &debian.cache.join("roots"),
            debian: &debian,
        };
        parts::build(&request, &lock, steps)
    }

    /// Builds, and shows the prime folder.
    #[track_caller]
    pub fn primed(&self) -> BTreeMap<String, String> {
        match self.build_until(Step::Prime, &mut Steps::default()) {
            Ok(built) => tree(&built.prime),
            Err(error) => panic!("{}", told(&error)),
        }
    }

    /// Builds in vain: the part, the step, and why.
    #[track_caller]
    pub fn refused(&self) -> (String, Step, StepError) {
        match self.build_until(Step::Prime, &mut Steps::default()) {
            Err(PartsError::Step { part, step, source }) => (part.to_string(), step, *source),
            other => panic!("{other:?}"),
        }
    }
}

/// Whose builds these are.
pub fn owner() -> Owner {
    Owner::of(&[7; 32])
}

/// An error with its causes.
pub fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Every file and link of a tree, and every folder that is empty: path → content, `-> TARGET` or `/`; with ` (x)`
/// where it can be executed.
pub fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut tree = BTreeMap::new();
    for entry in walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if entry.file_type().is_symlink() {
            tree.insert(name, format!("-> {}", fs::read_link(path).unwrap().display()));
        } else if entry.file_type().is_dir() {
            assert_eq!(entry.metadata().unwrap().mode() & 0o7777, 0o755, "{name}");
            if fs::read_dir(path).unwrap().next().is_none() {
                tree.insert(name, "/".to_owned());
            }
        } else {
            let executable = if entry.metadata().unwrap().mode() & 0o111 != 0 { " (x)" } else { "" };
            let content = String::from_utf8_lossy(&fs::read(path).unwrap()).trim_end().to_owned();
            tree.insert(name, format!("{content}{executable}"));
        }
    }
    tree
}

#[track_caller]
pub fn assert_tree(tree: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    let expected: BTreeMap<String, String> =
        expected.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect();
    assert_eq!(*tree, expected);
}

/// Runs a test as an ordinary user. Root calls it first, and has it run again.
pub fn as_ordinary_user(test: &str, act: impl FnOnce()) {
    if is_rerun() || !rustix::process::geteuid().is_root() {
        return act();
    }
    rerun(test, &UNPRIVILEGED, &[]);
}
