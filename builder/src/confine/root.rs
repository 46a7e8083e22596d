//! What a build finds at `/`: the host's own /usr, or a folder of Debian packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use pack_launcher::host::{self, TopLink};
use pack_launcher::plan::system::ETC_OF_HOST_BASE;

use super::{ConfineError, SEARCH_PATH};

/// The root of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The folder on the host that it is: `/`, or one of packages.
    pub(super) folder: PathBuf,
    /// What it has at its top of the folders that are shown.
    pub(super) top: BTreeMap<String, TopLink>,
    /// Names of /etc that are shown.
    pub(super) etc: Vec<String>,
}

/// Names of the host's /etc that are shown in parts, or hold nothing for a build: keys lie below `ssl`, and a build has no
/// time zone.
const NOT_WHOLE: &[&str] = &["ssl", "timezone"];
/// What is shown of them.
const PARTS: &[&str] = &["ssl/certs", "ssl/openssl.cnf"];

impl Root {
    /// The host's own /usr, and what of its /etc belongs to that.
    ///
    /// # Errors
    /// [`ConfineError::Host`].
    pub fn of_host() -> Result<Root, ConfineError> {
        let names = ETC_OF_HOST_BASE.iter().filter(|name| !NOT_WHOLE.contains(name)).chain(PARTS);
        Ok(Root {
            folder: "/".into(),
            top: host::top().map_err(ConfineError::Host)?,
            etc: names.map(|name| (*name).to_owned()).collect(),
        })
    }

    /// Whether it is the host's own.
    pub fn is_host(&self) -> bool {
        self.folder.as_os_str() == "/"
    }

    /// Whether it has a program of this name in PATH.
    pub fn has(&self, program: &str) -> bool {
        let mut folders = SEARCH_PATH.split(':').map(|folder| folder.trim_start_matches('/'));
        // Links lead elsewhere from outside than inside: that there is one has to do.
        folders.any(|folder| fs::symlink_metadata(self.folder.join(folder).join(program)).is_ok())
    }
}
