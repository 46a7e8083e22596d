//! What every verb is given: the terminal, and the folders that the environment names.

use std::path::{Path, PathBuf};

use pack_store_client::folders::{BasePaths, Folders};

use crate::failure::Failure;
use crate::terminal::{Options, Terminal};

/// The surroundings of one run of `pack`.
pub struct Context {
    /// Where to talk to the person.
    pub terminal: Terminal,
}

/// The folders of the XDG Base Directory Specification 0.8 and the user's home, as the environment names them.
pub struct XdgFolders {
    /// `$HOME`.
    pub home: PathBuf,
    /// `$XDG_DATA_HOME`, by default `~/.local/share`.
    pub data: PathBuf,
    /// `$XDG_CONFIG_HOME`, by default `~/.config`.
    pub config: PathBuf,
    /// `$XDG_CACHE_HOME`, by default `~/.cache`.
    pub cache: PathBuf,
    /// `$PACK_HOME`, by default `$XDG_DATA_HOME/pack`.
    pub pack: PathBuf,
    /// `$XDG_RUNTIME_DIR`, where there is one.
    pub runtime: Option<PathBuf>,
}

impl XdgFolders {
    /// Where pack keeps everything.
    ///
    /// # Errors
    /// Where a folder cannot be used.
    pub fn folders(&self) -> Result<Folders, Failure> {
        let (pack, data) = (self.pack.clone(), self.data.clone());
        let base = BasePaths { pack, data, config: self.config.clone(), home: self.home.clone() };
        Folders::new(base).map_err(|error| Failure::new("the folders of pack cannot be used").because(&error))
    }

    /// Where the keepers of mounted packages are found: in the runtime folder of the login, or beside the packages where
    /// there is none.
    pub fn keepers(&self) -> PathBuf {
        match &self.runtime {
            Some(runtime) => runtime.join("pack"),
            None => self.pack.join("run"),
        }
    }
}

impl Context {
    /// Looks at the options and the environment.
    pub fn new(options: &Options) -> Context {
        Context { terminal: Terminal::new(options) }
    }

    /// The folders that the environment names.
    ///
    /// # Errors
    /// Where `HOME` or an XDG variable is not an absolute path; the specification tells to ignore a relative one, and
    /// ignoring it would put a user's packages in a place that they did not ask for.
    pub fn xdg(&self) -> Result<XdgFolders, Failure> {
        let home =
            absolute("HOME")?.ok_or_else(|| Failure::new("the environment variable HOME is not set"))?;
        let data = absolute("XDG_DATA_HOME")?.unwrap_or_else(|| home.join(".local/share"));
        let config = absolute("XDG_CONFIG_HOME")?.unwrap_or_else(|| home.join(".config"));
        let cache = absolute("XDG_CACHE_HOME")?.unwrap_or_else(|| home.join(".cache"));
        let pack = absolute("PACK_HOME")?.unwrap_or_else(|| data.join("pack"));
        let runtime = absolute("XDG_RUNTIME_DIR")?;
        Ok(XdgFolders { home, data, config, cache, pack, runtime })
    }
}

fn absolute(name: &str) -> Result<Option<PathBuf>, Failure> {
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) if Path::new(&value).is_absolute() => Ok(Some(value.into())),
        Some(value) => Err(Failure::new(format!(
            "the environment variable {name} is not an absolute path: `{}`",
            crate::terminal::visible(&value.to_string_lossy())
        ))),
    }
}
