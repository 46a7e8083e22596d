//! Where everything lives, as paths: a pure value, made of the base folders that the caller takes from the environment.
//!
//! ```text
//! PACK/packages/NAME/REVISION.pkg            an installed image, 0444
//! PACK/packages/NAME/current                 link to the current image, for people; a launch asks state.json
//! PACK/packages/NAME/state.json              what is installed (pack_schemas::state)
//! PACK/packages/NAME/{removing,purging}.json state.json of a package that is being removed
//! PACK/data/NAME/{REVISION,common}           the app's own data, 0700 from PACK/data down
//! PACK/keys                                  the user's own signing keys
//! PACK/trusted/FINGERPRINT.json              publishers that the user trusts
//! PACK/remotes/NAME/                         a store that was added (crate::remote)
//! PACK/machine                               a random number of this machine's, told to nobody
//! PACK/lock                                  held by whoever changes any of these
//! DATA/{applications,icons}, CONFIG/autostart, HOME/.local/bin what is exported
//! ```
//!
//! PACK is `$PACK_HOME`, by default `$XDG_DATA_HOME/pack`; DATA is `$XDG_DATA_HOME`, CONFIG `$XDG_CONFIG_HOME`.

use std::path::{Component, Path, PathBuf};

use pack_schemas::names::{PackageName, Revision};
use pack_schemas::state::ExportPlace;
use pack_schemas::text::visible;

/// Name of the state file of an installed package.
pub(crate) const STATE_FILE: &str = "state.json";
/// Name of the state file of a package that is being removed and whose data is kept.
pub(crate) const REMOVING_FILE: &str = "removing.json";
/// Name of the state file of a package that is being removed with its data.
pub(crate) const PURGING_FILE: &str = "purging.json";
/// Name of the link to the current image.
pub(crate) const CURRENT_LINK: &str = "current";
/// Name of the data folder that all revisions share.
pub(crate) const COMMON_FOLDER: &str = "common";
/// Name of an image or data folder that is not complete yet.
pub(crate) const INCOMING: &str = ".incoming";

/// The base folders, as the environment names them.
#[derive(Debug, Clone)]
pub struct BasePaths {
    /// `$PACK_HOME`, by default `$XDG_DATA_HOME/pack`.
    pub pack: PathBuf,
    /// `$XDG_DATA_HOME`, by default `~/.local/share`.
    pub data: PathBuf,
    /// `$XDG_CONFIG_HOME`, by default `~/.config`.
    pub config: PathBuf,
    /// The user's home.
    pub home: PathBuf,
}

/// Where everything lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    pack: PathBuf,
    data: PathBuf,
    config: PathBuf,
    home: PathBuf,
}

/// A base folder that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` cannot be used as {what}: {rule}", visible(&.path.to_string_lossy()))]
pub struct BasePathError {
    /// Which one.
    pub what: &'static str,
    /// The path given.
    pub path: PathBuf,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl Folders {
    /// Lays everything out below the base folders.
    ///
    /// # Errors
    /// Where a base path is empty or relative, or has a `..` in it: it would mean another place in another working
    /// directory, or below a link.
    pub fn new(base: BasePaths) -> Result<Folders, BasePathError> {
        check("the folder of pack", &base.pack)?;
        check("the folder for data", &base.data)?;
        check("the folder for settings", &base.config)?;
        check("the home folder", &base.home)?;
        Ok(Folders { pack: base.pack, data: base.data, config: base.config, home: base.home })
    }

    /// The folder that holds all of pack's own.
    pub fn pack(&self) -> &Path {
        &self.pack
    }

    /// The folder of installed packages.
    pub fn packages(&self) -> PathBuf {
        self.pack.join("packages")
    }

    /// The folder of one package.
    pub fn package(&self, name: &PackageName) -> PathBuf {
        self.packages().join(name.as_str())
    }

    /// An installed image.
    pub fn image(&self, name: &PackageName, revision: Revision) -> PathBuf {
        self.package(name).join(image_file(revision))
    }

    /// The folder of all apps' data.
    pub fn data(&self) -> PathBuf {
        self.pack.join("data")
    }

    /// The folder of a package's data; no app sees it, only the folders in it.
    pub fn package_data(&self, name: &PackageName) -> PathBuf {
        self.data().join(name.as_str())
    }

    /// The data of one revision.
    pub fn revision_data(&self, name: &PackageName, revision: Revision) -> PathBuf {
        self.package_data(name).join(revision.to_string())
    }

    /// The data that all revisions share.
    pub fn common_data(&self, name: &PackageName) -> PathBuf {
        self.package_data(name).join(COMMON_FOLDER)
    }

    /// The user's own signing keys.
    pub fn keys(&self) -> PathBuf {
        self.pack.join("keys")
    }

    /// Publishers that the user trusts.
    pub fn trusted(&self) -> PathBuf {
        self.pack.join("trusted")
    }

    /// Stores that were added.
    pub fn remotes(&self) -> PathBuf {
        self.pack.join("remotes")
    }

    /// The file that is locked by whoever changes anything.
    pub fn lock(&self) -> PathBuf {
        self.pack.join("lock")
    }

    /// Where commands go.
    pub fn commands(&self) -> PathBuf {
        self.home.join(".local/bin")
    }

    /// A folder that exports go to.
    pub fn exports(&self, place: ExportPlace) -> PathBuf {
        match place {
            ExportPlace::Commands => self.commands(),
            ExportPlace::Applications => self.data.join("applications"),
            ExportPlace::Icons => self.data.join("icons"),
            ExportPlace::Autostart => self.config.join("autostart"),
        }
    }
}

/// Name of the file of a revision.
pub(crate) fn image_file(revision: Revision) -> String {
    format!("{revision}.pkg")
}

fn check(what: &'static str, path: &Path) -> Result<(), BasePathError> {
    let rule = if path.as_os_str().is_empty() {
        "it is empty"
    } else if !path.is_absolute() {
        "it is not absolute"
    } else if path.components().any(|part| part == Component::ParentDir) {
        "it has `..` in it"
    } else {
        return Ok(());
    };
    Err(BasePathError { what, path: path.to_owned(), rule })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folders(pack: &str, data: &str, home: &str) -> Result<Folders, BasePathError> {
        Folders::new(BasePaths {
            pack: pack.into(),
            data: data.into(),
            config: "/c".into(),
            home: home.into(),
        })
    }

    #[test]
    fn everything_lies_below_the_base_folders() {
        let folders = folders("/p", "/d", "/h").unwrap();
        let name = "hello".parse().unwrap();
        for (path, expected) in [
            (folders.image(&name, Revision::Local(3)), "/p/packages/hello/x3.pkg"),
            (folders.revision_data(&name, Revision::Store(7)), "/p/data/hello/7"),
            (folders.common_data(&name), "/p/data/hello/common"),
            (folders.trusted(), "/p/trusted"),
            (folders.exports(ExportPlace::Commands), "/h/.local/bin"),
            (folders.exports(ExportPlace::Applications), "/d/applications"),
            (folders.exports(ExportPlace::Autostart), "/c/autostart"),
        ] {
            assert_eq!(path, Path::new(expected));
        }
    }

    #[test]
    fn a_relative_or_empty_base_is_refused() {
        for (pack, data, home) in [
            ("", "/d", "/h"),
            ("p", "/d", "/h"),
            ("/p", "./d", "/h"),
            ("/p", "/d", ""),
            ("/p/../q", "/d", "/h"),
        ] {
            assert!(folders(pack, data, home).is_err(), "{pack:?} {data:?} {home:?}");
        }
    }
}
