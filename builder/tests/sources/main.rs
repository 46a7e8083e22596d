//! Sources: archives good and hostile, downloads from servers good and bad, git repositories, Debian packages.

#[path = "../common/mod.rs"]
mod common;

mod archives;
mod downloads;
mod git;
mod hostile;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use pack_builder::project::Project;
use pack_builder::sources::{self, Fetched, SourceError};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// A project with one part, and a cache.
struct Workshop {
    folder: TempDir,
    part: String,
}

impl Workshop {
    /// `part` is the inside of the part's map.
    fn new(part: &str) -> Workshop {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("project")).unwrap();
        Workshop { folder, part: part.to_owned() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(self, path: &str, content: &[u8]) -> Workshop {
        fs::write(self.path("project").join(path), content).unwrap();
        self
    }

    /// Fetches into `target`, anew each time.
    fn fetch(&self) -> Result<Option<Fetched>, SourceError> {
        self.fetch_with(&mut |_, _| ())
    }

    fn fetch_with(&self, progress: &mut sources::Progress<'_>) -> Result<Option<Fetched>, SourceError> {
        let text = format!(
            "name: hello\nversion: '1.0'\nbase: none\nparts: {{a: {{plugin: nil, {}}}}}\n",
            self.part
        );
        fs::write(self.path("project/pack.yaml"), text).unwrap();
        let project = Project::open(&self.path("project")).unwrap_or_else(|error| panic!("{}", told(&error)));
        let part = &project.manifest().parts.values().next().unwrap();
        let target = self.path("target");
        let _ = fs::remove_dir_all(&target);
        fs::create_dir(&target).unwrap();
        let request = sources::Request {
            project: &project,
            part,
            cache: &self.path("cache"),
            environment: &std::env::vars().collect(),
            same: &HashSet::new(),
            patience: Duration::from_secs(2),
        };
        let fetched = sources::fetch(&request, &target, progress)?;
        let shown = |name: &str| self.path(name).to_string_lossy().into_owned();
        for command in sources::git::commands(part, &shown("project"), &shown("target")) {
            let mut git = Command::new(&command.program);
            git.args(&command.arguments)
                .env_clear()
                .env("PATH", "/usr/local/bin:/usr/bin:/bin")
                .env("HOME", self.path("home"));
            let done = git.envs(&command.environment).current_dir(&target).output().unwrap();
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            if !done.status.success() {
                return Err(SourceError::Git { address: command.typed(), problem: said });
            }
        }
        Ok(fetched.or(sources::git::finish(part, &target)?))
    }

    #[track_caller]
    fn fetched(&self) -> Fetched {
        self.fetch().unwrap_or_else(|error| panic!("{}", told(&error))).unwrap()
    }

    /// Fetches in vain, and gives what is told.
    #[track_caller]
    fn refused(&self) -> String {
        let told = told(&self.fetch().unwrap_err());
        assert!(!self.path("target.unpacking").exists(), "{told}");
        assert_eq!(fs::read_dir(self.path("target")).unwrap().count(), 0, "{told}");
        told
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path("target").join(path)).unwrap()
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Runs a program in a folder.
#[track_caller]
fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "A").env(format!("GIT_{role}_EMAIL"), "a@example.org");
        command.env(format!("GIT_{role}_DATE"), "2020-01-01T00:00:00Z");
    }
    let done = command.output().unwrap();
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// What a program makes of what it is given on standard input.
#[track_caller]
fn filter(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut to, input) = (child.stdin.take().unwrap(), input.to_vec());
    let writer = std::thread::spawn(move || std::io::Write::write_all(&mut to, &input));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// A tar archive of entries: kind, name, target or content.
fn tar(entries: &[(u8, &[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, name, what) in entries {
        let mut header = [0; 512];
        header[..name.len()].copy_from_slice(name);
        header[100..108].copy_from_slice(b"0004755\0");
        let has_content = matches!(kind, b'0' | b'x' | b'g' | b'L');
        let content: &[u8] = if has_content { what } else { b"" };
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(b"00000000000\0");
        header[156] = *kind;
        if !has_content {
            header[157..157 + what.len()].copy_from_slice(what);
        }
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes.extend(header);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}
