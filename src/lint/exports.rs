//! What installing would make of a package's desktop entries and icons: worked out by the code that installs.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pack_builder::lint::desktop::{ExportProblem, Exports};
use pack_builder::lint::listing::{Entry, Kind, Listing};
use pack_schemas::facts::ImageFacts;
use pack_schemas::manifest::{Manifest, RelativePath};
use pack_schemas::names::Architecture;
use pack_store_client::export::{self, ExportError, ExportSettings, ExportWarning, Material};
use pack_store_client::reader::{FileKind, ImageFiles, ReadError};

/// Installs nothing, and tells what would become of it.
pub struct Installing;

impl Exports for Installing {
    fn problems(&self, manifest: &Manifest, files: &Listing) -> Vec<ExportProblem> {
        // Where pack is on the machine that installs is not known; every path that can be used gives the same answer.
        let settings = ExportSettings { pack: PathBuf::from("/usr/bin/pack"), search_path: Vec::new() };
        let files = Files(files);
        let mut problems = Vec::new();
        // An entry that is refused ends the plan: each app is looked at by itself, so that all are told.
        for (name, app) in manifest.apps.iter().filter(|(_, app)| app.desktop.is_some()) {
            let others = manifest.apps.iter().map(|(other, its)| {
                let desktop = its.desktop.clone().filter(|_| other == name);
                (other.clone(), pack_schemas::manifest::App { desktop, ..its.clone() })
            });
            let manifest = Manifest { apps: others.collect(), ..manifest.clone() };
            match export::plan(Material { manifest: &manifest, files: &files }, &settings) {
                Ok(plan) => problems.extend(told(plan.warnings, plan.left_out)),
                Err(error) => problems.push(refused(app.desktop.as_ref(), &error)),
            }
        }
        problems.dedup();
        problems
    }
}

fn told(
    warnings: Vec<ExportWarning>,
    left_out: std::collections::BTreeMap<RelativePath, BTreeSet<String>>,
) -> impl Iterator<Item = ExportProblem> {
    let icons = warnings.into_iter().filter_map(|warning| match warning {
        ExportWarning::Icon { path, problem, .. } => {
            Some(ExportProblem::Icon { path, reason: problem.to_string() })
        }
        // Those are about the machine that installs.
        ExportWarning::NotOurs { .. } | ExportWarning::Shadows { .. } => None,
    });
    icons.chain(
        left_out.into_iter().map(|(path, keys)| ExportProblem::LeftOut {
            path: path.into(),
            keys: keys.into_iter().collect(),
        }),
    )
}

fn refused(path: Option<&RelativePath>, error: &ExportError) -> ExportProblem {
    let reason = match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    };
    ExportProblem::Refused { path: path.map(ToString::to_string).unwrap_or_default(), reason }
}

/// The files as installing asks for them.
struct Files<'a>(&'a Listing);

impl Files<'_> {
    fn entry(&self, path: &str) -> Result<&Entry, ReadError> {
        self.0.find(path.as_bytes()).ok_or_else(|| "it is not there".into())
    }
}

impl ImageFiles for Files<'_> {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, ReadError> {
        Ok(self.0.find(path.as_bytes()).map(|entry| match entry.kind {
            Kind::File(size) => FileKind::Regular { size },
            Kind::Folder => FileKind::Folder,
            Kind::Link(_) => FileKind::Symlink,
            Kind::Special(_) => FileKind::Special,
        }))
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let bytes = self.0.read(self.entry(path)?, usize::try_from(limit)?.saturating_add(1))?;
        match bytes.len() as u64 > limit {
            true => Err(format!("it is longer than {limit} bytes").into()),
            false => Ok(bytes),
        }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, ReadError> {
        self.entry(path)?;
        let names = self.0.names(path.as_bytes());
        Ok(names.filter_map(|name| str::from_utf8(name).ok().map(str::to_owned)).collect())
    }

    fn facts(&self) -> Result<ImageFacts, ReadError> {
        Ok(self.0.facts(Architecture::HOST))
    }
}
