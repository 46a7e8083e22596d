//! What the tests beside the code share: a home folder of their own.

use std::time::Duration;

use crate::folders::{BasePaths, Folders};
use crate::lock::StateLock;

/// A home folder that goes when it is dropped.
pub(crate) struct Home {
    _place: tempfile::TempDir,
    pub folders: Folders,
}

impl Home {
    pub fn new() -> Home {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join(".local/share");
        let base = BasePaths { pack: data.join("pack"), data, home: place.path().to_owned() };
        Home { folders: Folders::new(base).unwrap(), _place: place }
    }

    pub fn lock(&self) -> StateLock {
        StateLock::acquire(&self.folders, "test", Duration::ZERO, &mut |_| ()).unwrap()
    }
}
