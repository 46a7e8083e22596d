//! What each step reads, as hashes under labels: a step whose labels are all as they were when it was last completed
//! need not run again.
//!
//! | step | label | what it stands for |
//! |---|---|---|
//! | pull | `src` | the source folder, or the archive in the project, or where the branches of a git repository in it point to |
//! | | `repository` | where they point to in the repository that a work tree of git's belongs to |
//! | | `source…`, `override-pull` | these keys of the manifest; of a source elsewhere its address, and the checksum or commit, are all that is known without the network |
//! | | `plugin` | the commands that the plugin has for this step |
//! | build | `src` | what pull left |
//! | | `part NAME` | what is staged of each part that this one comes after |
//! | | `stage-packages`, `packages` | the names of Debian packages; the hashes of the files that they come to |
//! | | `architecture`, `base` | for stage-packages: what is there without them |
//! | | `plugin`, `override-build`, `organize`, `permissions`, `source-subdir` | |
//! | stage | `install` | what build left |
//! | | `stage`, `override-stage` | |
//! | prime | `staged` | what stage put into the stage |
//! | | `prime`, `override-prime` | |
//! | any with commands | `build-packages` | the Debian packages of the root that the commands run in: the hashes of the files that they come to |
//! | | `tools` | without such a root, the programs of the machine that the plugin names |
//! | | `environment` | `build-environment`, and all that the variables of job.rs are made from |
//! | | `project` | the whole project, where a script names PROJECT_DIR or the place that it is at |
//!
//! A script of stage or prime sees what other parts have put there, so all of that is among what it reads. No label stands
//! for a time, for the folder that the project is in, or for the number of jobs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use pack_schemas::manifest::{SourceType, is_remote};
use pack_schemas::names::Hash;
use pack_schemas::package::canonical_json;
use serde_json::Value;

use super::hash::{HardLinks, Listing, hash_file};
use super::job::Setting;
use super::record::Labels;
use super::{Step, StepError, names_in, script_of, state};
use crate::confine;
use crate::files::{self, FileError};
use crate::plugins::{self, Places, Recipe, Tool};
use crate::project;
use crate::sources::inner_folder;

/// What a step reads, as far as it is known before it runs.
#[derive(Debug, Default)]
pub(super) struct Inputs {
    pub labels: Labels,
    /// The trees among it, by label, to name files that changed.
    pub trees: BTreeMap<String, Listing>,
}

/// The label of the packages of a part's root.
pub(super) const BUILD_PACKAGES: &str = "build-packages";

/// Keys of the manifest that decide what pull fetches.
const SOURCE_KEYS: [&str; 8] = [
    "source",
    "source-type",
    "source-checksum",
    "source-branch",
    "source-tag",
    "source-commit",
    "source-depth",
    "source-submodules",
];

/// Longest file that names a folder of git's, in bytes.
const PATH_MOST: u64 = 4096;

impl Inputs {
    /// What pull reads; of the source what is known of it already, where it is.
    pub fn of_pull(setting: &Setting<'_>, source: Option<Listing>) -> Result<Inputs, StepError> {
        let mut inputs = Inputs::default();
        inputs.add_keys(setting, &SOURCE_KEYS);
        match source {
            Some(tree) => inputs.add_tree("src", tree),
            None => inputs.add_source(setting)?,
        }
        let recipe = symbolic_recipe(setting);
        inputs.add("plugin", format!("{:?}", recipe.pull));
        let has_commands = recipe.pull.as_ref().is_ok_and(|commands| !commands.is_empty());
        if has_commands {
            inputs.add_keys(setting, &["source-subdir"]);
        }
        inputs.add_commands(setting, Step::Pull, has_commands, &recipe.tools)?;
        Ok(inputs)
    }

    /// What build reads, but for other parts and for what stage-packages come to.
    pub fn of_build(setting: &Setting<'_>, source: Hash) -> Result<Inputs, StepError> {
        let mut inputs = Inputs::default();
        inputs.labels.insert("src".to_owned(), source);
        inputs.add_keys(setting, &["source-subdir", "organize", "permissions", "stage-packages"]);
        let recipe = symbolic_recipe(setting);
        inputs.add("plugin", format!("{} {:?}", recipe.copies_source, recipe.build));
        if !setting.part.stage_packages.is_empty() {
            let (manifest, debian) = (setting.request.project.manifest(), setting.request.debian);
            inputs.add("architecture", setting.request.architecture.as_str());
            // The base's files have its name and its hash in theirs.
            let base = debian.base.as_deref().and_then(Path::file_name);
            inputs.add("base", format!("{:?} {base:?} {:?}", manifest.package_type, debian.present));
        }
        // They are in the provenance of what the part installs, whatever they were used for.
        inputs.labels.extend(setting.build_packages.map(|packages| (BUILD_PACKAGES.to_owned(), packages)));
        let has_commands = !recipe.build.as_ref().is_ok_and(Vec::is_empty);
        inputs.add_commands(setting, Step::Build, has_commands, &recipe.tools)?;
        Ok(inputs)
    }

    /// What stage reads, but for other parts.
    pub fn of_stage(setting: &Setting<'_>, install: Hash) -> Result<Inputs, StepError> {
        let mut inputs = Inputs::default();
        inputs.labels.insert("install".to_owned(), install);
        inputs.add_keys(setting, &["stage"]);
        inputs.add_commands(setting, Step::Stage, false, &[])?;
        Ok(inputs)
    }

    /// What prime reads, but for other parts.
    pub fn of_prime(setting: &Setting<'_>, staged: Hash) -> Result<Inputs, StepError> {
        let mut inputs = Inputs::default();
        inputs.labels.insert("staged".to_owned(), staged);
        inputs.add_keys(setting, &["prime"]);
        inputs.add_commands(setting, Step::Prime, false, &[])?;
        Ok(inputs)
    }

    /// Whether commands run in the step; only these see variables, the stage, and the project.
    pub fn has_commands(&self) -> bool {
        self.labels.contains_key("environment")
    }

    pub fn add(&mut self, label: &str, bytes: impl AsRef<[u8]>) {
        self.labels.insert(label.to_owned(), Hash::of(bytes.as_ref()));
    }

    fn add_tree(&mut self, label: &str, listing: Listing) {
        self.labels.insert(label.to_owned(), listing.hash());
        self.trees.insert(label.to_owned(), listing);
    }

    /// Keys of the part, as far as they are given.
    fn add_keys(&mut self, setting: &Setting<'_>, keys: &[&str]) {
        let Ok(Value::Object(part)) = serde_json::to_value(setting.part) else { return };
        for (key, value) in keys.iter().filter_map(|key| Some((key, part.get(*key)?))) {
            self.add(key, canonical_json(value));
        }
    }

    fn add_commands(
        &mut self,
        setting: &Setting<'_>,
        step: Step,
        has_commands: bool,
        tools: &[Tool],
    ) -> Result<(), StepError> {
        let script = script_of(setting.part, step);
        if script.is_none() && !has_commands {
            return Ok(());
        }
        let request = setting.request;
        let manifest = request.project.manifest();
        // Of a repository, commands are told which commit it is.
        let fetched = state::read_fetched(setting.folders).filter(|_| step == Step::Build);
        let surroundings = serde_json::json!([
            fetched.as_ref().and_then(|fetched| Some([fetched.commit()?, fetched.version.as_deref()?])),
            setting.part.build_environment,
            plugins::environment(setting.part, &symbolic_places(setting, &[])),
            manifest.name,
            manifest.version,
            request.architecture,
            request.source_date_epoch,
        ]);
        self.add("environment", canonical_json(&surroundings));
        match setting.build_packages {
            Some(packages) => drop(self.labels.insert(BUILD_PACKAGES.to_owned(), packages)),
            None if has_commands => self.add_tools(tools)?,
            None => {}
        }
        if let Some(script) = script {
            self.add(&format!("override-{step}"), script);
        }
        let place = confine::inside(request.project, request.project.folder());
        let names_project = |text: &String| text.contains("PROJECT_DIR") || text.contains(&place);
        if script.is_some_and(names_project) || setting.part.build_environment.values().any(names_project) {
            let folder = request.project.folder();
            let listing =
                Listing::of(folder, HardLinks::Ignored, request.parallel, |path| !project::is_made(path))?;
            self.add_tree("project", listing);
        }
        Ok(())
    }

    /// The programs that a plugin names, by what is in them.
    fn add_tools(&mut self, tools: &[Tool]) -> Result<(), StepError> {
        let mut text = String::new();
        for tool in tools {
            let found = std::env::split_paths(confine::SEARCH_PATH)
                .map(|folder| folder.join(tool.program))
                .find(|path| path.is_file());
            let hash = found.map(|path| hash_file(&path, &mut vec![0; 1 << 20])).transpose()?;
            let hash = hash.map(|hash| hash.to_string()).unwrap_or_default();
            text.push_str(&format!("{} {hash}\n", tool.program));
        }
        self.add("tools", text);
        Ok(())
    }

    /// What of the source is in the project. One that is missing has no label, and fetching it will tell.
    fn add_source(&mut self, setting: &Setting<'_>) -> Result<(), StepError> {
        let (part, project) = (setting.part, setting.request.project);
        let Some(source) = part.source.as_deref().filter(|source| !is_remote(source)) else { return Ok(()) };
        let path = project.folder().join(source);
        let listed = |folder: &Path, enter: &dyn Fn(&Path) -> bool| {
            Listing::of(folder, HardLinks::Ignored, setting.request.parallel, enter)
        };
        match part.source_kind() {
            Some(SourceType::Git) => {
                let folder = git_folder(&path);
                if folder.is_dir() {
                    let is_read = |path: &Path| is_reference(path.components().next());
                    self.add_tree("src", listed(&folder, &is_read)?);
                    if let Some(common) = named_in(&folder, "commondir", "") {
                        self.add_tree("repository", listed(&common, &is_read)?);
                    }
                }
            }
            Some(SourceType::Local) | None => {
                let Ok(folder) = path.canonicalize() else { return Ok(()) };
                let is_root = folder == project.folder();
                // A source elsewhere is refused when it is fetched.
                if folder.is_dir() && folder.starts_with(project.folder()) {
                    let counts = |path: &Path| !(is_root && project::is_made(path)) && is_worth_it(path);
                    self.add_tree("src", listed(&folder, &counts)?);
                }
            }
            Some(_) => {
                if path.is_file() {
                    let hash = hash_file(&path, &mut vec![0; 1 << 20])?;
                    self.labels.insert("src".to_owned(), hash);
                }
            }
        }
        Ok(())
    }
}

/// Whether something of a folder is part of what pull reads. What git keeps in it for itself changes when somebody looks
/// at the state of the work; which commit it is does not.
fn is_worth_it(path: &Path) -> bool {
    let mut components = path.components();
    let is_git = components.next().is_some_and(|first| first.as_os_str() == ".git");
    let second = components.next();
    !is_git || second.is_none() || is_reference(second)
}

/// Whether a name in git's folder is that of what says where branches and tags point to.
fn is_reference(name: Option<Component<'_>>) -> bool {
    name.is_some_and(|name| {
        ["HEAD", "packed-refs", "refs", "reftable"].iter().any(|known| name.as_os_str() == *known)
    })
}

/// Where a repository keeps its references: beside the files, where a file there says (gitrepository-layout(5)), or in a bare one
/// itself.
fn git_folder(repository: &Path) -> PathBuf {
    let inner = repository.join(".git");
    match inner.is_dir() {
        true => inner,
        false => named_in(repository, ".git", "gitdir: ").unwrap_or_else(|| repository.to_path_buf()),
    }
}

/// The folder that a small file of git's names, after some words.
fn named_in(folder: &Path, file: &str, words: &str) -> Option<PathBuf> {
    let mut text = String::new();
    files::open_file(&folder.join(file)).ok()?.take(PATH_MOST).read_to_string(&mut text).ok()?;
    let named = folder.join(text.strip_prefix(words)?.trim_end());
    named.canonicalize().ok().filter(|named| named.is_dir())
}

/// Places with names in place of folders, so that what is made from them is the same wherever the project is, and for any
/// number of jobs.
fn symbolic_places<'a>(setting: &Setting<'_>, top: &'a [String]) -> Places<'a> {
    Places {
        source: "$src",
        fetched: "$fetched",
        build: "$build",
        install: "$install",
        stage: "$stage",
        triplet: setting.request.architecture.triplet().unwrap_or_default(),
        parallel: 1,
        top,
    }
}

/// The plugin's recipe for what pull has left, if it has.
fn symbolic_recipe(setting: &Setting<'_>) -> Recipe {
    let names = inner_folder(setting.part, &setting.folders.source())
        .map_err(StepError::from)
        .and_then(|folder: PathBuf| Ok(names_in(&folder)?))
        .unwrap_or_default();
    plugins::recipe(setting.part, &symbolic_places(setting, &names))
}

/// What a tree that pull or build left hashes to.
pub(super) fn made(root: &Path, setting: &Setting<'_>) -> Result<Listing, FileError> {
    match fs::symlink_metadata(root) {
        Ok(_) => Listing::of(root, HardLinks::Told, setting.request.parallel, |_| true),
        Err(source) => Err(FileError::at("look at", root, source)),
    }
}
