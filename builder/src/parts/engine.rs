//! The walk over the steps: each is skipped or run, and written down.
//!
//! 1. What the step reads is hashed, and compared with its record.
//! 2. If all is as it was: on to the next one.
//! 3. Else the record is removed, the step's folders are emptied, the step runs.
//! 4. What it made is hashed, and the record written.
//!
//! Stage and prime are folders that the parts share. They are brought up to date when something is to look at them: a build
//! with commands (which finds in the stage the parts that it comes after and no others), a later part, the end.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use pack_schemas::manifest::{PackageType, Part, Plugin, SourceType};
use pack_schemas::names::{Hash, Name};

use super::compose::{self, Composition, Placed};
use super::hash::{Listing, hash_nodes};
use super::inputs::{self, BUILD_PACKAGES, Inputs};
use super::job::{self, Setting};
use super::plan::needed;
use super::record::{self, Labels, Record, Why};
use super::roots::{self, PartRoot, PartRoots, has_root};
use super::share::{self, Expected, Owners};
use super::state::{self, Packages};
use super::{Action, Built, PartsError, Progress, Request, Step, StepError};
use super::{build_part, installs_links, only_links, plan, pull, run_or, script_of};
use crate::assemble::DEFAULT_EPOCH;
use crate::debian::{self, ResolvedFile, StagedPackage};
use crate::files::{self, FileError, Placer, Transfer};
use crate::project::{BuildLock, PartFolders, WorkFolders};
use crate::sources::{Fetched, inner_folder};

/// How often a source that changes while it is fetched is fetched again.
const PULLS_MOST: usize = 3;

/// The digest of a source that is a folder: BLAKE3 over names, kinds and contents of all that is in it.
const TREE_DIGEST: &str = "blake3Tree";

/// A build under way.
pub(super) struct Build<'a> {
    request: &'a Request<'a>,
    work: WorkFolders,
    roots: PartRoots<'a>,
    plan: Vec<Action>,
    /// The parts in the order in which they come into the stage.
    stage_order: Vec<Name>,
    /// What the steps so far have made.
    made: BTreeMap<(Name, Step), Hash>,
    /// Trees of parts that have been read in this build: `src` and `install`.
    trees: BTreeMap<(Name, Step), Listing>,
    stage: Composition,
    prime: Composition,
    owners: Owners,
    packages: BTreeMap<Name, Packages>,
}

impl<'a> Build<'a> {
    /// Makes the folders, and looks at what earlier builds left.
    pub fn begin(request: &'a Request<'a>, lock: &BuildLock) -> Result<Build<'a>, PartsError> {
        let work = request.project.work();
        let parts = &request.project.manifest().parts;
        // What they hold is looked at before missing folders are made.
        let stage = Composition::open(work.stage(), work.record("stage"));
        let prime = Composition::open(work.prime(), work.record("prime"));
        work.prepare(lock, parts.keys())?;
        let staged = plan(parts, Step::Stage).into_iter().filter(|action| action.step == Step::Stage);
        let how = |step| {
            let changes = parts.values().any(|part| script_of(part, step).is_some());
            if changes { Transfer::Copy } else { Transfer::Link }
        };
        Ok(Build {
            request,
            plan: plan(parts, request.until),
            stage_order: staged.map(|action| action.part).collect(),
            made: BTreeMap::new(),
            trees: BTreeMap::new(),
            stage,
            prime,
            owners: Owners::new(Placer::new(how(Step::Stage)), Placer::new(how(Step::Prime))),
            packages: BTreeMap::new(),
            roots: PartRoots::new(request)?,
            work,
        })
    }

    /// Walks all steps, and brings stage and prime up to date.
    pub fn walk(mut self, progress: &mut dyn Progress) -> Result<Built, PartsError> {
        let plan = std::mem::take(&mut self.plan);
        for (at, action) in plan.iter().enumerate() {
            self.perform(action, (at, plan.len()), progress)?;
        }
        if self.request.until >= Step::Stage {
            self.compose_stage(&self.stage_order.clone(), None, progress)?;
        }
        if self.request.until >= Step::Prime {
            self.compose_prime(&self.prime_order(), None, progress)?;
        }
        let (fetched, locks) = self.origins();
        let of = |choose: fn(Packages) -> Vec<StagedPackage>| {
            let all = self.packages.iter().map(|(name, packages)| (name.clone(), choose(packages.clone())));
            all.filter(|(_, packages)| !packages.is_empty()).collect()
        };
        let (packages, built_with) = (of(|packages| packages.staged), of(|packages| packages.built_with));
        Ok(Built { prime: self.work.prime(), packages, built_with, fetched, locks })
    }

    /// Where the sources came from, and the folders in which lock files say what was built.
    fn origins(&self) -> (BTreeMap<Name, Fetched>, Vec<PathBuf>) {
        let parts = &self.request.project.manifest().parts;
        let fetched = parts.keys().filter_map(|name| {
            let mut fetched = state::read_fetched(&self.work.part(name))?;
            let record = Record::load(&self.work.part(name).record(Step::Pull.as_str()));
            // Without what the plugin's tools fetched: they keep times and answers of servers there.
            let tree = record.as_ref().and_then(|record| record.made.get("src"));
            if let (true, Some(tree)) = (fetched.digest.is_empty(), tree) {
                fetched.digest.insert(TREE_DIGEST.to_owned(), tree.to_string());
            }
            Some((name.clone(), fetched))
        });
        let rust = parts.iter().filter(|(_, part)| part.plugin == Plugin::Rust);
        let locks = rust.flat_map(|(name, part)| {
            let build = inner_folder(part, &self.work.part(name).build()).ok();
            let inner = part.rust_path.iter().map(|path| path.as_str());
            let paths = build.into_iter().flat_map(move |build| {
                let inner: Vec<PathBuf> = inner.clone().map(|path| build.join(path)).collect();
                std::iter::once(build).chain(inner)
            });
            paths.collect::<Vec<_>>()
        });
        (fetched.collect(), locks.collect())
    }

    fn perform(
        &mut self,
        action: &Action,
        place: (usize, usize),
        progress: &mut dyn Progress,
    ) -> Result<(), PartsError> {
        let failed = |source| PartsError::Step {
            part: action.part.clone(),
            step: action.step,
            source: Box::new(source),
        };
        let request = self.request;
        let folders = self.work.part(&action.part);
        let part = &request.project.manifest().parts[&action.part];
        let resolved = self.roots.resolve(part, progress).map_err(failed)?.map(<[_]>::to_vec);
        let host = self.roots.host();
        let setting = Setting {
            request,
            name: &action.part,
            part,
            folders: &folders,
            build_packages: resolved.as_deref().map(roots::hash),
            root: &host.root,
        };
        let mut inputs = self.inputs(&setting, action.step).map_err(failed)?;
        let path = folders.record(action.step.as_str());
        let found = self.complete(&setting, action.step, &path).map_err(failed)?;
        let why = match &found {
            None => Why::New,
            Some(record) => {
                self.add_packages(&setting, action.step, &mut inputs, record, progress).map_err(failed)?;
                if record.read == inputs.labels {
                    progress.skip(action, place.0, place.1);
                    return self.take_over(&setting, action.step, record).map_err(failed);
                }
                let resolved = resolved.as_deref().unwrap_or_default();
                self.why(&setting, action.step, record, &mut inputs, resolved).map_err(failed)?
            }
        };
        progress.begin(action, place.0, place.1, &why, &folders.log(action.step.as_str()));
        record::remove_file(&path).map_err(|error| failed(error.into()))?;
        let root = self.roots.root(part, action.step, progress).map_err(failed)?;
        let setting =
            Setting { root: &root.root, build_packages: root.hash().or(setting.build_packages), ..setting };
        // The archive may have moved on before the root was made.
        if let (Some(hash), Some(label)) = (root.hash(), inputs.labels.get_mut(BUILD_PACKAGES)) {
            *label = hash;
        }
        let record = self.run(&setting, action.step, inputs, &root, progress)?;
        self.save_packages(&setting, action.step, &record, progress).map_err(failed)?;
        record.save(&path).map_err(|error| failed(error.into()))
    }

    /// Keeps the packages of the root that a step ran in, to name those that will have changed.
    fn save_packages(
        &mut self,
        setting: &Setting<'_>,
        step: Step,
        record: &Record,
        progress: &mut dyn Progress,
    ) -> Result<(), StepError> {
        let path = setting.folders.files(step.as_str(), BUILD_PACKAGES);
        match self.roots.resolve(setting.part, progress)? {
            Some(files) if record.read.contains_key(BUILD_PACKAGES) => Ok(roots::save(&path, files)?),
            _ => Ok(record::remove_file(&path)?),
        }
    }

    /// What a step reads, but for what its stage-packages come to.
    fn inputs(&self, setting: &Setting<'_>, step: Step) -> Result<Inputs, StepError> {
        let name = setting.name;
        let mut inputs = match step {
            Step::Pull => Inputs::of_pull(setting, None)?,
            Step::Build => Inputs::of_build(setting, self.made_by(name, Step::Pull))?,
            Step::Stage => Inputs::of_stage(setting, self.made_by(name, Step::Build))?,
            Step::Prime => Inputs::of_prime(setting, self.made_by(name, Step::Stage))?,
        };
        if !inputs.has_commands() {
            return Ok(inputs);
        }
        // Other parts, as far as the commands of the step see what they brought.
        let seen: Vec<Name> = match step {
            Step::Pull => Vec::new(),
            Step::Build => self.needed(name),
            Step::Stage => before(&self.stage_order, name),
            Step::Prime => self.stage_order.clone(),
        };
        for part in seen {
            inputs.labels.insert(format!("part {part}"), self.made_by(&part, Step::Stage));
        }
        if step == Step::Prime {
            for part in before(&self.prime_order(), name) {
                inputs.labels.insert(format!("prime {part}"), self.made_by(&part, Step::Prime));
            }
        }
        Ok(inputs)
    }

    /// What a step of an earlier action made.
    fn made_by(&self, part: &Name, step: Step) -> Hash {
        self.made[&(part.clone(), step)]
    }

    fn prime_order(&self) -> Vec<Name> {
        let parts = &self.request.project.manifest().parts;
        let steps = plan(parts, Step::Prime).into_iter();
        steps.filter(|action| action.step == Step::Prime).map(|action| action.part).collect()
    }

    /// The parts that a part comes after, in the order in which they come into the stage.
    fn needed(&self, part: &Name) -> Vec<Name> {
        let needed = needed(part, &self.request.project.manifest().parts);
        self.stage_order.iter().filter(|name| needed.contains(name)).cloned().collect()
    }

    /// The record of a step, if what it made is still there.
    fn complete(
        &mut self,
        setting: &Setting<'_>,
        step: Step,
        path: &Path,
    ) -> Result<Option<Record>, StepError> {
        let Some(record) = Record::load(path) else { return Ok(None) };
        let trees = trees_of(step, setting.folders);
        if !trees.iter().all(|(label, tree)| record.made.contains_key(*label) && tree.is_dir()) {
            return Ok(None);
        }
        // Who built it wants to know what went in.
        if step == Step::Build && has_packages(setting.part) && state::read(setting.folders).is_err() {
            return Ok(None);
        }
        if step == Step::Pull
            && setting.part.source.is_some()
            && setting.part.override_pull.is_none()
            && state::read_fetched(setting.folders).is_none()
        {
            return Ok(None);
        }
        if trees.is_empty() || record.is_of_this_boot() {
            return Ok(Some(record));
        }
        for (label, tree) in &trees {
            if record.made.get(*label) != Some(&inputs::made(tree, setting)?.hash()) {
                return Ok(None);
            }
        }
        let record = Record::new(record.read, record.made);
        record.save(path)?;
        Ok(Some(record))
    }

    /// Takes what a complete step made from its record.
    fn take_over(&mut self, setting: &Setting<'_>, step: Step, record: &Record) -> Result<(), StepError> {
        self.made.insert((setting.name.clone(), step), made_of(step, record));
        if step == Step::Build && has_packages(setting.part) {
            self.packages.insert(setting.name.clone(), state::read(setting.folders)?);
        }
        Ok(())
    }

    /// Finds out what the stage-packages come to now, if nothing else makes the part be built anew: from the record while
    /// apt's lists are the same, else from apt.
    fn add_packages(
        &self,
        setting: &Setting<'_>,
        step: Step,
        inputs: &mut Inputs,
        record: &Record,
        progress: &mut dyn Progress,
    ) -> Result<(), StepError> {
        if step != Step::Build || setting.part.stage_packages.is_empty() {
            return Ok(());
        }
        let Some(before) = record.read.get("packages") else { return Ok(()) };
        inputs.labels.insert("packages".to_owned(), *before);
        if record.read != inputs.labels {
            return Ok(());
        }
        let request = self.debian_request(setting);
        if debian::lists(&request).is_some_and(|lists| record.made.get("lists") == Some(&lists)) {
            return Ok(());
        }
        let files = debian::resolve(&request, &mut |step| progress.packages(step))?;
        let files = files.into_iter().map(|file| file.sha256).collect();
        inputs.labels.insert("packages".to_owned(), hash_packages(files));
        Ok(())
    }

    fn debian_request(&self, setting: &Setting<'_>) -> debian::Request {
        debian::Request {
            packages: setting.part.stage_packages.clone(),
            architecture: self.request.architecture,
            record: self.request.project.manifest().package_type == PackageType::Base,
            ..self.request.debian.clone()
        }
    }

    /// What has changed since a record was written, with the names of some files.
    fn why(
        &mut self,
        setting: &Setting<'_>,
        step: Step,
        record: &Record,
        inputs: &mut Inputs,
        resolved: &[ResolvedFile],
    ) -> Result<Why, StepError> {
        let mut changes = record::changes(&record.read, &inputs.labels);
        for change in &mut changes {
            if step == Step::Build && change.what == "src" {
                let tree = self.tree(setting, Step::Pull)?.clone();
                inputs.trees.insert(change.what.clone(), tree);
            }
            if change.what == BUILD_PACKAGES && !resolved.is_empty() {
                roots::name_changes(change, &setting.folders.files(step.as_str(), BUILD_PACKAGES), resolved);
            }
            if let Some(tree) = inputs.trees.get(&change.what) {
                record::name_files(change, &setting.folders.files(step.as_str(), &change.what), tree);
            }
        }
        Ok(Why::Changed(changes))
    }

    /// The tree that pull (`src`) or build (`install`) left.
    fn tree(&mut self, setting: &Setting<'_>, step: Step) -> Result<&Listing, StepError> {
        let root = match step {
            Step::Pull => setting.folders.source(),
            _ => setting.folders.install(),
        };
        let key = (setting.name.clone(), step);
        if !self.trees.contains_key(&key) {
            self.trees.insert(key.clone(), inputs::made(&root, setting)?);
        }
        Ok(&self.trees[&key])
    }

    /// Runs a step, and says what to write down.
    fn run(
        &mut self,
        setting: &Setting<'_>,
        step: Step,
        inputs: Inputs,
        root: &PartRoot,
        progress: &mut dyn Progress,
    ) -> Result<Record, PartsError> {
        let failed = |source: StepError| PartsError::Step {
            part: setting.name.clone(),
            step,
            source: Box::new(source),
        };
        setting.folders.make().map_err(|error| failed(error.into()))?;
        let temporary = setting.folders.temporary();
        job::renew(&temporary).map_err(|error| failed(error.into()))?;
        if step == Step::Build && inputs.has_commands() {
            self.compose_stage(&self.needed(setting.name), None, progress)?;
        }
        let record = match step {
            Step::Pull => self.run_pull(setting, inputs, progress).map_err(failed)?,
            Step::Build => self.run_build(setting, inputs, root, progress).map_err(failed)?,
            Step::Stage => {
                let earlier = before(&self.stage_order, setting.name);
                self.compose_stage(&earlier, Some(setting.name), progress)?;
                self.run_stage(setting, inputs).map_err(failed)?
            }
            Step::Prime => {
                let earlier = before(&self.prime_order(), setting.name);
                self.compose_prime(&earlier, Some(setting.name), progress)?;
                self.run_prime(setting, inputs).map_err(failed)?
            }
        };
        job::renew(&temporary).map_err(|error| failed(error.into()))?;
        self.made.insert((setting.name.clone(), step), made_of(step, &record));
        Ok(record)
    }

    fn run_pull(
        &mut self,
        setting: &Setting<'_>,
        mut before: Inputs,
        progress: &mut dyn Progress,
    ) -> Result<Record, StepError> {
        let folders = setting.folders;
        // A copy of a folder is brought up to date; whatever else pull does begins with nothing.
        let is_copy = setting.part.override_pull.is_none()
            && matches!(setting.part.source_kind(), Some(SourceType::Local));
        for _ in 0..PULLS_MOST {
            let (source, fetched) = (folders.source(), folders.fetched());
            let (emptied, same) = match is_copy {
                true => (vec![fetched.clone()], same_files(setting, &before)),
                false => (vec![source.clone(), fetched.clone()], HashSet::new()),
            };
            renew(folders, Step::Pull, &emptied)?;
            pull(setting, &same, progress)?;
            for tree in [&source, &fetched] {
                files::settle_tree(tree, DEFAULT_EPOCH)?;
            }
            let pulled = inputs::made(&source, setting)?;
            // What was copied is what had been read, and nothing has to be read again to know that.
            let known = before.trees.get("src").filter(|tree| is_copy && **tree == pulled).cloned();
            // The commands of the plugin depend on what has been fetched.
            let after = Inputs::of_pull(setting, known)?;
            let same = |label: &str| before.labels.get(label) == after.labels.get(label);
            if !(same("src") && same("project")) {
                before = after;
                continue;
            }
            self.trees.insert((setting.name.clone(), Step::Pull), pulled);
            save_trees(setting, Step::Pull, &after)?;
            let fetched = inputs::made(&folders.fetched(), setting)?.hash();
            let source = self.tree(setting, Step::Pull)?.hash();
            let made = Labels::from([("src".to_owned(), source), ("fetched".to_owned(), fetched)]);
            return Ok(Record::new(after.labels, made));
        }
        Err(StepError::SourceChanging)
    }

    fn run_build(
        &mut self,
        setting: &Setting<'_>,
        mut inputs: Inputs,
        root: &PartRoot,
        progress: &mut dyn Progress,
    ) -> Result<Record, StepError> {
        let folders = setting.folders;
        // Trees of further names are brought up to date.
        let emptied = [
            (!only_links(setting.part)).then(|| folders.build()),
            (!installs_links(setting.part)).then(|| folders.install()),
        ];
        renew(folders, Step::Build, &emptied.into_iter().flatten().collect::<Vec<_>>())?;
        let mut made = Labels::new();
        let mut packages = Packages { staged: Vec::new(), built_with: root.packages() };
        if !setting.part.stage_packages.is_empty() {
            let request = self.debian_request(setting);
            let install = folders.install();
            packages.staged = debian::stage(&request, &install, &mut |step| progress.packages(step))?;
            let files = packages.staged.iter().map(|package| package.sha256.clone()).collect();
            inputs.labels.insert("packages".to_owned(), hash_packages(files));
            made.extend(debian::lists(&request).map(|lists| ("lists".to_owned(), lists)));
        }
        build_part(setting)?;
        state::write(folders, &packages)?;
        let install = inputs::made(&folders.install(), setting)?;
        made.insert("install".to_owned(), install.hash());
        self.trees.insert((setting.name.clone(), Step::Build), install);
        let source = self.tree(setting, Step::Pull)?.clone();
        inputs.trees.insert("src".to_owned(), source);
        save_trees(setting, Step::Build, &inputs)?;
        self.packages.insert(setting.name.clone(), packages);
        Ok(Record::new(inputs.labels, made))
    }

    fn run_stage(&mut self, setting: &Setting<'_>, inputs: Inputs) -> Result<Record, StepError> {
        let wanted = self.placed(&before(&self.stage_order, setting.name), Step::Stage);
        self.stage.begin(&wanted, NO_BASIS, files::renew_folder)?;
        self.place_in_stage(setting)?;
        let mut made = Labels::new();
        let staged = match &setting.part.override_stage {
            Some(_) => {
                Listing::of(&self.stage.folder, super::hash::HardLinks::Told, self.request.parallel, |_| {
                    true
                })?
                .hash()
            }
            None => {
                let fileset = super::fileset::Fileset::new(&setting.part.stage)?;
                let tree = self.tree(setting, Step::Build)?;
                hash_nodes(tree.nodes.iter().filter(|node| fileset.chooses(&node.path)))
            }
        };
        made.insert("staged".to_owned(), staged);
        self.stage.add(setting.name.clone(), staged);
        self.stage.finish()?;
        Ok(Record::new(inputs.labels, made))
    }

    fn run_prime(&mut self, setting: &Setting<'_>, inputs: Inputs) -> Result<Record, StepError> {
        let primed = hash_labels(&inputs.labels);
        let wanted = self.placed(&before(&self.prime_order(), setting.name), Step::Prime);
        self.prime.begin(&wanted, self.prime_basis(), files::renew_folder)?;
        self.place_in_prime(setting)?;
        self.prime.add(setting.name.clone(), primed);
        self.prime.finish()?;
        Ok(Record::new(inputs.labels, Labels::from([("primed".to_owned(), primed)])))
    }

    /// Parts with what a step made of them.
    fn placed(&self, parts: &[Name], step: Step) -> Vec<Placed> {
        parts.iter().map(|part| (part.clone(), self.made_by(part, step))).collect()
    }

    /// What all that is primed comes from.
    fn prime_basis(&self) -> Hash {
        compose::key(&self.placed(&self.stage_order, Step::Stage), NO_BASIS)
    }

    /// Brings into the stage these parts, and no others; `next` comes to them before anybody looks.
    fn compose_stage(
        &mut self,
        parts: &[Name],
        next: Option<&Name>,
        progress: &mut dyn Progress,
    ) -> Result<(), PartsError> {
        let wanted = self.placed(parts, Step::Stage);
        if self.stage.holds(&wanted, NO_BASIS) {
            return Ok(());
        }
        let expected = match self.stage.goes_on(&wanted, NO_BASIS) {
            true => None,
            false => self.expected_in_stage(parts.iter().chain(next)),
        };
        let kept = self.stage.begin(&wanted, NO_BASIS, |folder| empty(folder, expected))?;
        if kept == 0 {
            self.owners.forget();
        }
        for (part, brought) in wanted.into_iter().skip(kept) {
            self.again(&part, Step::Stage, progress, Build::place_in_stage)?;
            self.stage.add(part, brought);
        }
        Ok(self.stage.finish()?)
    }

    /// Brings into the prime folder these parts, and no others; `next` comes to them before anybody looks.
    fn compose_prime(
        &mut self,
        parts: &[Name],
        next: Option<&Name>,
        progress: &mut dyn Progress,
    ) -> Result<(), PartsError> {
        let (wanted, basis) = (self.placed(parts, Step::Prime), self.prime_basis());
        if self.prime.holds(&wanted, basis) {
            return Ok(());
        }
        self.compose_stage(&self.stage_order.clone(), None, progress)?;
        let expected = match self.prime.goes_on(&wanted, basis) {
            true => None,
            false => self.expected_in_prime(parts.iter().chain(next)),
        };
        let kept = self.prime.begin(&wanted, basis, |folder| empty(folder, expected))?;
        for (part, brought) in wanted.into_iter().skip(kept) {
            self.again(&part, Step::Prime, progress, Build::place_in_prime)?;
            self.prime.add(part, brought);
        }
        Ok(self.prime.finish()?)
    }

    /// What the stage will hold of these parts; nothing where that is not known before.
    fn expected_in_stage<'b>(&self, parts: impl Iterator<Item = &'b Name>) -> Option<Expected> {
        let manifest = self.request.project.manifest();
        if manifest.parts.values().any(|part| part.override_stage.is_some()) {
            return None;
        }
        let mut expected = Expected::default();
        for name in parts {
            let (rules, install) = (&manifest.parts.get(name)?.stage, self.work.part(name).install());
            expected.stage(rules, &install).ok()?;
        }
        Some(expected)
    }

    /// What the prime folder will hold of these parts; nothing where that is not known before.
    fn expected_in_prime<'b>(&mut self, parts: impl Iterator<Item = &'b Name>) -> Option<Expected> {
        let manifest = self.request.project.manifest();
        if manifest.parts.values().any(|part| part.override_prime.is_some()) {
            return None;
        }
        self.know_owners().ok()?;
        let mut expected = Expected::default();
        for name in parts {
            let rules = &manifest.parts.get(name)?.prime;
            expected.prime(&self.owners, name, rules, &self.work.stage()).ok()?;
        }
        Some(expected)
    }

    /// Does once more what a complete step of a part did in a shared folder.
    fn again(
        &mut self,
        part: &Name,
        step: Step,
        progress: &mut dyn Progress,
        place: fn(&mut Self, &Setting<'_>) -> Result<(), StepError>,
    ) -> Result<(), PartsError> {
        let folders = self.work.part(part);
        let manifest = &self.request.project.manifest().parts[part];
        let failed = |source| PartsError::Step { part: part.clone(), step, source: Box::new(source) };
        progress.again(&Action { part: part.clone(), step });
        folders.make()?;
        let root = self.roots.root(manifest, step, progress).map_err(failed)?;
        let setting = Setting {
            request: self.request,
            name: part,
            part: manifest,
            folders: &folders,
            build_packages: root.hash(),
            root: &root.root,
        };
        place(self, &setting).map_err(failed)
    }

    fn place_in_stage(&mut self, setting: &Setting<'_>) -> Result<(), StepError> {
        let (install, stage) = (setting.folders.install(), self.work.stage());
        let Setting { name, part, .. } = setting;
        if part.override_stage.is_some() {
            renew(setting.folders, Step::Stage, &[])?;
        }
        let owners = &mut self.owners;
        let default = || owners.stage(name, &part.stage, &install, &stage);
        run_or(setting, Step::Stage, &part.override_stage, &stage, default)?;
        if part.override_stage.is_some() {
            self.owners.adopt(name, &stage)?;
            let owned = setting.folders.files("stage", "owned");
            share::save_paths(&owned, self.owners.paths_of(name))?;
        }
        Ok(())
    }

    fn place_in_prime(&mut self, setting: &Setting<'_>) -> Result<(), StepError> {
        let (stage, prime) = (self.work.stage(), self.work.prime());
        self.know_owners()?;
        let Setting { name, part, .. } = setting;
        if part.override_prime.is_some() {
            renew(setting.folders, Step::Prime, &[])?;
        }
        let owners = &mut self.owners;
        let default = || owners.prime(name, &part.prime, &stage, &prime);
        run_or(setting, Step::Prime, &part.override_prime, &prime, default)
    }

    /// Finds out which parts the paths of a stage of an earlier build came from.
    fn know_owners(&mut self) -> Result<(), StepError> {
        for name in &self.stage_order {
            if self.owners.knows(name) {
                continue;
            }
            let folders = self.work.part(name);
            let part = &self.request.project.manifest().parts[name];
            match part.override_stage {
                Some(_) => self.owners.claim(name, share::load_paths(&folders.files("stage", "owned"))?),
                None => self.owners.claim(name, share::chosen(&part.stage, &folders.install())?),
            }
        }
        Ok(())
    }
}

/// Whether Debian packages go into a part, or into the root that it is built in.
fn has_packages(part: &Part) -> bool {
    !part.stage_packages.is_empty() || has_root(part)
}

/// The stage comes from nothing but its parts.
const NO_BASIS: Hash = Hash([0; 32]);

/// The parts before `name`.
fn before(order: &[Name], name: &Name) -> Vec<Name> {
    order.iter().take_while(|part| *part != name).cloned().collect()
}

/// The trees of its own that a step leaves, under the labels of its record.
fn trees_of(step: Step, folders: &PartFolders) -> Vec<(&'static str, PathBuf)> {
    match step {
        Step::Pull => vec![("src", folders.source()), ("fetched", folders.fetched())],
        Step::Build => vec![("install", folders.install())],
        Step::Stage | Step::Prime => Vec::new(),
    }
}

/// Stands for what a complete step hands on.
fn made_of(step: Step, record: &Record) -> Hash {
    let label = match step {
        Step::Pull => return hash_labels(&record.made),
        Step::Build => "install",
        Step::Stage => "staged",
        Step::Prime => "primed",
    };
    record.made.get(label).copied().unwrap_or(NO_BASIS)
}

fn hash_labels(labels: &Labels) -> Hash {
    Hash::of(&pack_schemas::package::canonical_json(labels))
}

/// Stands for Debian packages, by the hashes of their files.
fn hash_packages(mut files: Vec<String>) -> Hash {
    files.sort();
    Hash::of(files.join("\n").as_bytes())
}

/// Empties a folder that parts come together in, but for what is expected there.
fn empty(folder: &Path, expected: Option<Expected>) -> Result<(), FileError> {
    match expected {
        Some(expected) => expected.keep_in(folder),
        None => files::renew_folder(folder),
    }
}

/// Files that an earlier build has left of the source of a part and that are as they are there now. Where what it has left
/// cannot be read, there are none.
fn same_files(setting: &Setting<'_>, inputs: &Inputs) -> HashSet<PathBuf> {
    let there = inputs::made(&setting.folders.source(), setting).unwrap_or_default();
    inputs.trees.get("src").map(|source| source.files_same_in(&there)).unwrap_or_default()
}

/// Empties what a step begins with: its folders, the HOME of its commands, and its log.
fn renew(folders: &PartFolders, step: Step, own: &[PathBuf]) -> Result<(), FileError> {
    record::remove_file(&folders.log(step.as_str()))?;
    own.iter().chain([&folders.home()]).try_for_each(|folder| files::renew_folder(folder))
}

/// Keeps what the trees that a step read held.
fn save_trees(setting: &Setting<'_>, step: Step, inputs: &Inputs) -> Result<(), FileError> {
    inputs
        .trees
        .iter()
        .try_for_each(|(label, tree)| record::save_files(&setting.folders.files(step.as_str(), label), tree))
}
