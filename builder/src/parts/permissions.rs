//! `permissions`: which of the files that a part installs can be executed.
//!
//! Rules apply in their order, after `organize`. As in snapcraft, `*` in their globs matches any characters, `/` and a dot at
//! the beginning of a name included. Only files have a mode here: folders of a package are 0755, links have none.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pack_schemas::manifest::Permission;

use super::StepError;
use super::fileset::glob_of_paths;
use crate::files::{self, FileError};

/// What the owner needs so that the file can be packed, and removed from a later build.
const OWNER: u32 = 0o600;

/// Applies all rules to the tree under `install`.
pub(super) fn apply(install: &Path, rules: &[Permission]) -> Result<(), StepError> {
    if rules.is_empty() {
        return Ok(());
    }
    let entries = files::list(install, |_| true)?;
    for rule in rules {
        let pattern = rule.path.as_deref().unwrap_or("*");
        let glob = glob_of_paths(pattern)?;
        let mode = u32::from_str_radix(&rule.mode, 8)
            .map_err(|_| StepError::PermissionsMode { mode: rule.mode.clone() })?;
        let mut matches = 0;
        for entry in entries.iter().filter(|entry| entry.metadata.is_file() && glob.is_match(&entry.path)) {
            let path = install.join(&entry.path);
            fs::set_permissions(&path, Permissions::from_mode(mode & 0o777 | OWNER))
                .map_err(|source| FileError::at("change the mode of", &path, source))?;
            matches += 1;
        }
        if matches == 0 {
            return Err(StepError::PermissionsNothing { path: pattern.to_owned() });
        }
    }
    Ok(())
}
