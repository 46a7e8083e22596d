//! What the commands of each part find at `/`: the machine's own /usr, or where the part names build-packages a root of these.
//!
//! What they come to is found out once a build, for each list of them; the root is looked for, or made, when a command is to run.
//! Parts with the same list have the same root, which is held until the build ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use pack_schemas::manifest::{Part, Plugin, SourceType};
use pack_schemas::names::Hash;

use super::record::{self, Change};
use super::{Progress, Request, Step, StepError, script_of};
use crate::confine::{ConfineError, Root};
use crate::debian::roots::{self, BuildRoot, Roots};
use crate::debian::{self, ResolvedFile, StagedPackage};
use crate::files::{self, FileError};
use crate::plugins;
use crate::sources::git;

/// The roots of a build.
pub(super) struct PartRoots<'a> {
    request: &'a Request<'a>,
    host: Rc<PartRoot>,
    /// By the packages that a root is asked for.
    asked: BTreeMap<Vec<String>, Vec<ResolvedFile>>,
    made: BTreeMap<Vec<String>, Rc<PartRoot>>,
}

/// What the commands of a part find at `/`.
pub(super) struct PartRoot {
    pub root: Root,
    packages: Option<BuildRoot>,
}

impl PartRoot {
    /// Stands for the packages in it; nothing where it is the machine's own.
    pub fn hash(&self) -> Option<Hash> {
        self.packages.as_ref().map(|root| root.hash)
    }

    /// The packages in it.
    pub fn packages(&self) -> Vec<StagedPackage> {
        self.packages.as_ref().map(|root| root.packages.clone()).unwrap_or_default()
    }
}

impl<'a> PartRoots<'a> {
    pub fn new(request: &'a Request<'a>) -> Result<PartRoots<'a>, ConfineError> {
        let host = Rc::new(PartRoot { root: Root::of_host()?, packages: None });
        Ok(PartRoots { request, host, asked: BTreeMap::new(), made: BTreeMap::new() })
    }

    /// The machine's own.
    pub fn host(&self) -> Rc<PartRoot> {
        self.host.clone()
    }

    /// What the packages of a part's root come to by now; nothing where it has none.
    pub fn resolve(
        &mut self,
        part: &Part,
        progress: &mut dyn Progress,
    ) -> Result<Option<&[ResolvedFile]>, StepError> {
        if !has_root(part) {
            return Ok(None);
        }
        let packages = packages(part);
        if !self.asked.contains_key(&packages) {
            let roots = Roots::open(self.request.roots).map_err(StepError::Root)?;
            let files = roots.resolve(&self.wanted(&packages), &mut |step| progress.packages(step));
            self.asked.insert(packages.clone(), files.map_err(StepError::Root)?);
        }
        Ok(self.asked.get(&packages).map(Vec::as_slice))
    }

    /// What the commands of a step find: a root that is made where it is not there yet.
    pub fn root(
        &mut self,
        part: &Part,
        step: Step,
        progress: &mut dyn Progress,
    ) -> Result<Rc<PartRoot>, StepError> {
        if !needs_root(part, step) {
            return Ok(self.host());
        }
        let packages = packages(part);
        if let Some(made) = self.made.get(&packages) {
            return Ok(made.clone());
        }
        let files = self.resolve(part, progress)?.unwrap_or_default().to_vec();
        let roots = Roots::open(self.request.roots).map_err(StepError::Root)?;
        let made = roots.root(&self.wanted(&packages), &files, &mut |step| progress.packages(step));
        let made = made.map_err(StepError::Root)?;
        if made.hash != hash(&files) {
            self.asked.insert(packages.clone(), made.packages.iter().map(file_of).collect());
        }
        let root = Rc::new(PartRoot { root: Root::of_packages(&made.folder)?, packages: Some(made) });
        self.made.insert(packages, root.clone());
        Ok(root)
    }

    fn wanted(&self, packages: &[String]) -> debian::Request {
        debian::Request { packages: packages.to_vec(), ..self.request.debian.clone() }
    }
}

/// Whether a part is built in a root of its own.
pub(super) fn has_root(part: &Part) -> bool {
    let steps = [Step::Pull, Step::Stage, Step::Prime].into_iter();
    let has_scripts = steps.chain([Step::Build]).any(|step| script_of(part, step).is_some());
    let has_commands = has_scripts || is_git(part) || !matches!(part.plugin, Plugin::Dump | Plugin::Nil);
    !part.build_packages.is_empty() && has_commands
}

/// Whether the commands of a step may need it.
fn needs_root(part: &Part, step: Step) -> bool {
    let fetches = matches!(part.plugin, Plugin::Rust | Plugin::Go | Plugin::Python | Plugin::Npm);
    has_root(part)
        && match step {
            Step::Pull => fetches || is_git(part) || part.override_pull.is_some(),
            Step::Build => true,
            Step::Stage | Step::Prime => script_of(part, step).is_some(),
        }
}

fn is_git(part: &Part) -> bool {
    part.source_kind() == Some(SourceType::Git)
}

/// The packages that a part's root is asked for.
fn packages(part: &Part) -> Vec<String> {
    let mut packages = plugins::packages(part);
    packages.extend(is_git(part).then(|| git::TOOL.package.to_owned()));
    packages.into_iter().collect()
}

/// Stands for what packages come to.
pub(super) fn hash(files: &[ResolvedFile]) -> Hash {
    roots::hash(files.iter().map(|file| file.sha256.as_str()))
}

fn file_of(package: &StagedPackage) -> ResolvedFile {
    let StagedPackage { name, version, architecture, sha256, .. } = package;
    ResolvedFile { name: format!("{name}_{version}_{architecture}.deb"), sha256: sha256.clone() }
}

/// Keeps what a step was run with, for [`name_changes`].
pub(super) fn save(path: &Path, files: &[ResolvedFile]) -> Result<(), FileError> {
    let lines: Vec<String> = files.iter().map(|file| format!("{} {}\n", file.sha256, file.name)).collect();
    files::write_whole(path, lines.concat().as_bytes())
}

/// Names the packages in which what was kept differs from what they come to now.
pub(super) fn name_changes(change: &mut Change, path: &Path, now: &[ResolvedFile]) {
    let Ok(before) = fs::read_to_string(path) else { return };
    let before: BTreeMap<&str, &str> = before.lines().filter_map(|line| line.split_once(' ')).collect();
    let now: BTreeMap<&str, &str> =
        now.iter().map(|file| (file.sha256.as_str(), file.name.as_str())).collect();
    let name = |file: &str| PathBuf::from(file.split('_').next().unwrap_or(file));
    let gone = before.iter().filter(|(hash, _)| !now.contains_key(*hash));
    let new = now.iter().filter(|(hash, _)| !before.contains_key(*hash));
    let mut changed: Vec<PathBuf> = gone.chain(new).map(|(_, file)| name(file)).collect();
    changed.sort();
    changed.dedup();
    record::name_some(change, changed);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str) -> Part {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_root_is_for_parts_with_build_packages_and_commands() {
        let needs = |text: &str| {
            let part = part(text);
            [Step::Pull, Step::Build, Step::Stage, Step::Prime].map(|step| needs_root(&part, step))
        };
        for (text, expected) in [
            (r#"{"plugin": "make"}"#, [false; 4]),
            (r#"{"plugin": "nil", "build-packages": ["gcc"]}"#, [false; 4]),
            (r#"{"plugin": "make", "build-packages": ["gcc"]}"#, [false, true, false, false]),
            (r#"{"plugin": "rust", "build-packages": ["gcc"]}"#, [true, true, false, false]),
            (
                r#"{"plugin": "nil", "build-packages": ["gcc"], "override-prime": "x"}"#,
                [false, true, false, true],
            ),
            (
                r#"{"plugin": "dump", "build-packages": ["gcc"], "source": "https://x/y.git"}"#,
                [true, true, false, false],
            ),
        ] {
            assert_eq!(needs(text), expected, "{text}");
        }
    }

    #[test]
    fn a_root_has_what_the_plugin_needs_for_any_source() {
        let of = |text: &str| packages(&part(text)).join(" ");
        let meson = of(r#"{"plugin": "meson", "build-packages": ["libgtk-3-dev"]}"#);
        assert_eq!(meson, "g++ gcc libc6-dev libgtk-3-dev meson ninja-build pkg-config");
        let rust = of(r#"{"plugin": "rust", "build-packages": ["cargo-web"], "source": "https://x/y.git"}"#);
        assert_eq!(rust, "ca-certificates cargo-web gcc git libc6-dev pkg-config");
    }

    #[test]
    fn packages_that_changed_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("files");
        let file = |name: &str, sha256: &str| ResolvedFile { name: name.into(), sha256: sha256.into() };
        save(&path, &[file("make_1_all.deb", "a"), file("gcc_1_all.deb", "b")]).unwrap();
        let mut change = Change { what: "build-packages".into(), files: Vec::new(), more: 0 };
        name_changes(&mut change, &path, &[file("gcc_2_all.deb", "c"), file("make_1_all.deb", "a")]);
        assert_eq!((change.files, change.more), (vec![PathBuf::from("gcc")], 0));
    }
}
