//! What a build finds at `/`: the host's own /usr, or a folder of Debian packages.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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
    /// The folder on the host with the certificates that the pull step trusts.
    pub(super) trusted: PathBuf,
}

/// Names of the host's /etc that are shown in parts, or hold nothing for a build: keys lie below `ssl`, and a build has no
/// time zone.
const NOT_WHOLE: &[&str] = &["ssl", "timezone"];
/// What is shown of them, beside the certificates.
const PARTS: &[&str] = &["ssl/openssl.cnf"];

/// Where certificates are, and the file there that has them all.
pub(super) const CERTIFICATES: &str = "etc/ssl/certs";
const ALL_CERTIFICATES: &str = "ca-certificates.crt";
/// Folders of a root of packages that are shown, where they are there; bin, lib and so on are links into /usr.
const FOLDERS: &[&str] = &["usr", "opt", "var/lib"];

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
            trusted: Path::new("/").join(CERTIFICATES),
        })
    }

    /// A folder that Debian packages have been unpacked into. Whom the pull step trusts is the machine's say, as is how the
    /// network is reached: its certificates are the host's, where it has them.
    ///
    /// # Errors
    /// [`ConfineError::Packages`].
    pub fn of_packages(folder: &Path) -> Result<Root, ConfineError> {
        let failed = |source| ConfineError::Packages { folder: folder.to_path_buf(), source };
        let mut top = BTreeMap::new();
        for name in FOLDERS.iter().filter(|name| folder.join(name).is_dir()) {
            top.insert((*name).to_owned(), TopLink::Folder);
        }
        for name in names_in(folder).map_err(failed)? {
            let link =
                fs::read_link(folder.join(&name)).ok().and_then(|to| to.into_os_string().into_string().ok());
            if let Some(to) = link.filter(|to| to.starts_with("usr/")) {
                top.insert(name, TopLink::Link(to));
            }
        }
        let mut etc = names_in(&folder.join("etc")).map_err(failed)?;
        etc.retain(|name| name != "ssl");
        etc.extend(PARTS.iter().map(|name| (*name).to_owned()));
        let own = [Path::new("/"), folder].map(|root| root.join(CERTIFICATES));
        let trusted = own.iter().find(|path| path.join(ALL_CERTIFICATES).exists()).unwrap_or(&own[1]).clone();
        Ok(Root { folder: folder.to_path_buf(), top, etc, trusted })
    }

    /// The file of certificates that the pull step trusts, as it is named inside: for programs that look for another one.
    pub fn certificates(&self) -> Option<String> {
        let is_there = self.trusted.join(ALL_CERTIFICATES).exists();
        is_there.then(|| format!("/{CERTIFICATES}/{ALL_CERTIFICATES}"))
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

/// The names in a folder, in order; one that is not UTF-8 is passed over.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.extend(entry?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
