//! What every change of the installed packages needs, and the moments at which one can be watched.

use std::collections::BTreeSet;

use pack_schemas::names::PackageName;
use pack_schemas::state::{Export, ExportPlace, PackageState};

use crate::export::{ExportSettings, ExportWarning};
use crate::folder::{FileError, Folder};
use crate::folders::{Folders, STATE_FILE};
use crate::lock::StateLock;
use crate::reader::PackageReader;

/// A change of the installed packages: `install`, `remove` and `recover` are methods of it.
pub struct Change<'a> {
    /// Where everything lives.
    pub folders: &'a Folders,
    /// The lock; no change without it.
    pub lock: &'a StateLock,
    /// Reads packages.
    pub reader: &'a mut dyn PackageReader,
    /// What exports need to know.
    pub exports: &'a ExportSettings,
    /// Is told each step when it is done. A process that ends in here leaves what a killed one would.
    pub observer: &'a mut dyn FnMut(Step),
}

/// A step of a change that has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This much of the package file is in its new place.
    Copying {
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// The copy is complete, under a temporary name.
    Copied,
    /// Every span of the copy is as its publisher signed it.
    Checked,
    /// The publisher's key was added to the trusted ones.
    Trusted,
    /// The image has its own name.
    ImageInPlace,
    /// The data of the earlier revision is copied, under a temporary name.
    DataCopied,
    /// The new revision has its data folder.
    DataInPlace,
    /// A new state is written under a temporary name.
    StatePrepared,
    /// A new state is in place.
    StateWritten,
    /// The link to the current image is switched.
    LinkSwitched,
    /// A file outside the sandbox was made or removed.
    Export,
    /// An image was removed.
    ImageRemoved,
    /// A file of an app's data was removed.
    DataFileRemoved,
    /// A data folder was removed.
    DataRemoved,
    /// The removal can no longer be taken back.
    RemovalBegun,
}

/// Something that did not go as it should, and did not stop the change.
#[derive(Debug, thiserror::Error)]
pub enum Warning {
    /// Something is not exported.
    #[error(transparent)]
    Export(#[from] ExportWarning),
    /// Some of the app's data was not copied: it is no file, folder or link, or its mode makes it unreadable.
    #[error("not copied for the new revision: {}", pack_schemas::text::visible(&.path.to_string_lossy()))]
    DataLeftOut {
        /// What.
        path: std::path::PathBuf,
    },
    /// The change counts, and the rest of the work is left to the next run.
    #[error("not completed yet; the next run goes on with it")]
    Unfinished(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Change<'_> {
    pub(crate) fn done(&mut self, step: Step) {
        (self.observer)(step);
    }

    /// Writes `state.json`.
    pub(crate) fn write_state(&mut self, package: &Folder, state: &PackageState) -> Result<(), FileError> {
        let observer = &mut self.observer;
        package.replace(STATE_FILE, &state.to_bytes(), 0o600, &mut || observer(Step::StatePrepared))?;
        self.done(Step::StateWritten);
        Ok(())
    }

    /// Takes exports away; those that are not the package's any more are left alone.
    pub(crate) fn withdraw(
        &mut self,
        name: &PackageName,
        exports: &BTreeSet<Export>,
    ) -> Result<(), FileError> {
        for export in exports {
            crate::export::withdraw(self.folders, name, export)?;
            self.done(Step::Export);
        }
        if exports.iter().any(|export| export.place == ExportPlace::Icons) {
            crate::export::announce_icons(self.folders)?;
        }
        Ok(())
    }
}
