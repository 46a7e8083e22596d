//! Which store a package follows, what of it was revoked, and going back to an earlier revision.
//!
//! Going back makes an earlier revision the current one, with the data that it had when it was left; what all revisions
//! share is as it is. The one that was left stays installed, and is not offered again by a refresh.

use std::error::Error;

use pack_schemas::manifest::Manifest;
use pack_schemas::names::{PackageName, Revision};
use pack_schemas::state::{PackageState, Source};

use crate::change::{Change, Warning};
use crate::decision;
use crate::export::{self, Material};
use crate::folder::FileError;
use crate::installed::{self, StateError};
use crate::reader::ReadError;

/// Why what a package follows, or its revision, was not changed. The old state holds.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The package is not there, or its state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no earlier revision.
    #[error("no other revision of `{name}` is installed")]
    NothingElse {
        /// The package.
        name: PackageName,
    },
    /// It is the current one.
    #[error("revision {revision} of `{name}` is the current one")]
    IsCurrent {
        /// The package.
        name: PackageName,
        /// The revision.
        revision: Revision,
    },
    /// Its publisher has revoked it.
    #[error("revision {revision} of `{name}` was revoked: {}", pack_schemas::text::visible(.reason))]
    Revoked {
        /// The package.
        name: PackageName,
        /// The revision.
        revision: Revision,
        /// Why.
        reason: String,
    },
    /// The image cannot be used.
    #[error("the image of revision {revision} of `{name}` cannot be used")]
    Image {
        /// The package.
        name: PackageName,
        /// The revision.
        revision: Revision,
        /// Why.
        source: ReadError,
    },
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl FollowError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            FollowError::State(error) => error.hint(),
            FollowError::NothingElse { name } | FollowError::IsCurrent { name, .. } => {
                Some(format!("`pack info {name}` shows its revisions"))
            }
            _ => None,
        }
    }
}

/// The revision that a person goes back to: the one given, or the newest before the current one.
///
/// # Errors
/// [`FollowError`].
pub fn revert_target(state: &PackageState, wanted: Option<Revision>) -> Result<Revision, FollowError> {
    let name = || state.name.clone();
    let Some(current) = state.current else { return Err(StateError::NotInstalled { name: name() }.into()) };
    let at = state.revisions.iter().position(|entry| entry.revision == current).unwrap_or(0);
    let target = match wanted {
        Some(revision) if revision == current => {
            return Err(FollowError::IsCurrent { name: name(), revision });
        }
        Some(revision) => {
            state.revision(revision).ok_or_else(|| StateError::NoRevision { name: name(), revision })?
        }
        None => state.revisions[..at].last().ok_or_else(|| FollowError::NothingElse { name: name() })?,
    };
    match &target.revoked {
        Some(reason) => {
            let (revision, reason) = (target.revision, reason.clone());
            Err(FollowError::Revoked { name: name(), revision, reason })
        }
        None => Ok(target.revision),
    }
}

/// The state after going back: connections as far as that revision asks for the same.
fn reverted(before: &PackageState, target: Revision, manifest: &Manifest) -> PackageState {
    let mut after = before.clone();
    let left = before.current().map(|entry| entry.envelope);
    after.current = Some(target);
    after.exported = None;
    after.epoch = manifest.epoch.clone();
    after.source = after.source.map(|source| Source { reverted_from: left, ..source });
    after.connections.retain(|name, connection| connection.is_of(manifest, name, connection.side));
    after
}

impl Change<'_> {
    /// Makes an earlier revision the current one.
    ///
    /// # Errors
    /// [`FollowError`]; the old state holds then.
    pub fn revert(
        &mut self,
        name: &PackageName,
        wanted: Option<Revision>,
    ) -> Result<(PackageState, Vec<Warning>), FollowError> {
        let before = installed::read_installed(self.folders, name)?;
        let target = revert_target(&before, wanted)?;
        let not_installed = || StateError::NotInstalled { name: name.clone() };
        let package = installed::open_package(self.folders, name)?.ok_or_else(not_installed)?;
        let image = installed::open_revision(&package, before.clone(), target)?;
        let failed = |source: ReadError| FollowError::Image { name: name.clone(), revision: target, source };
        let opened = self.reader.open(&image.file).map_err(failed)?;
        if opened.envelope_hash != image.envelope {
            return Err(failed("it is another package than the one installed".into()));
        }
        let mut after = reverted(&before, target, &opened.envelope.manifest);
        let failed_export = |source: Box<dyn Error + Send + Sync>| failed(source);
        let exports =
            export::plan(Material::of(&opened), self.exports).map_err(|error| failed_export(error.into()))?;
        let exports = export::claim(self.folders, self.exports, name, exports, &after.exports)?;
        let mut warnings: Vec<Warning> = exports.warnings.iter().cloned().map(Warning::from).collect();
        let mut committed = after.clone();
        if after.enabled {
            committed.exports.extend(exports.files.iter().map(|file| file.export.clone()));
        }
        self.write_state(&package, &committed)?;
        if after.enabled {
            let forgotten = decision::forgotten(&after);
            warnings.extend(self.follow_state(&package, &mut after, &exports, &forgotten));
        } else {
            self.switch_link(&package, &after)?;
        }
        Ok((after, warnings))
    }

    /// Writes `after`, which differs from `before` in what it follows and in what is revoked.
    ///
    /// # Errors
    /// [`FollowError`]; nothing is changed then, as where somebody else changed it meanwhile.
    pub fn set_following(&mut self, before: &PackageState, after: &PackageState) -> Result<(), FollowError> {
        let name = &before.name;
        let not_installed = || StateError::NotInstalled { name: name.clone() };
        let state = installed::read_state(self.folders, name)?;
        let package = installed::open_package(self.folders, name)?.ok_or_else(not_installed)?;
        if state.as_ref() != Some(before) {
            return Err(not_installed().into());
        }
        Ok(self.write_state(&package, after)?)
    }
}
