//! What every verb does that changes what is installed: takes the lock, and first puts in order what a run that was
//! killed left behind.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use indicatif::ProgressBar;
use pack_schemas::names::PackageName;
use pack_store_client::change::{Change, Step, Warning};
use pack_store_client::export::ExportSettings;
use pack_store_client::folders::Folders;
use pack_store_client::lock::StateLock;

use crate::context::Context;
use crate::failure::Failure;
use crate::package_reader::CheckedReader;

/// How long the lock is waited for, where PACK_LOCK_TIMEOUT does not say otherwise.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);
const LOCK_TIMEOUT_VARIABLE: &str = "PACK_LOCK_TIMEOUT";

/// The installed packages, locked for a change.
pub struct Changing<'a> {
    /// Where everything lives.
    pub folders: Folders,
    /// The lock.
    pub lock: StateLock,
    /// Packages that an earlier run left unfinished, and that are in order now.
    pub mended: Vec<PackageName>,
    context: &'a Context,
    exports: ExportSettings,
}

impl<'a> Changing<'a> {
    /// Takes the lock and mends what is unfinished. `what` is what others are told that this run does.
    ///
    /// # Errors
    /// Where the folders or the lock cannot be used; what cannot be mended is a warning.
    pub fn begin(context: &'a Context, what: &str) -> Result<Changing<'a>, Failure> {
        let folders = context.xdg()?.folders()?;
        let mut waiting =
            |holder: &str| context.terminal.say(format!("waiting for {}", crate::terminal::visible(holder)));
        let lock = StateLock::acquire(&folders, what, lock_timeout()?, &mut waiting).map_err(|error| {
            Failure::new(format!("cannot begin `{what}`")).because(&error).hint_from(error.hint())
        })?;
        let exports = ExportSettings { pack: own_path()?, search_path: search_path() };
        let mut changing = Changing { folders, lock, mended: Vec::new(), context, exports };
        changing.recover()?;
        Ok(changing)
    }

    /// Runs a change. `bar` shows the copying of an image, and the checking of it behind that.
    pub fn change<T>(&self, bar: &ProgressBar, act: impl FnOnce(&mut Change) -> T) -> T {
        let mut reader = CheckedReader { bar: bar.clone() };
        let mut observer = |step| {
            if let Step::Copying { done, .. } = step {
                bar.set_position(done);
            }
        };
        act(&mut Change {
            folders: &self.folders,
            lock: &self.lock,
            reader: &mut reader,
            exports: &self.exports,
            observer: &mut observer,
        })
    }

    fn recover(&mut self) -> Result<(), Failure> {
        let recovery = self
            .change(&ProgressBar::hidden(), |change| change.recover())
            .map_err(|error| Failure::new("cannot look at the installed packages").because(&error))?;
        for name in &recovery.mended {
            self.context.terminal.say(format!("completed what an earlier run left of `{name}`"));
        }
        for (name, warning) in &recovery.problems {
            warn(self.context, name, warning);
        }
        self.mended = recovery.mended;
        Ok(())
    }
}

/// Tells a warning with its causes.
pub fn warn(context: &Context, name: &PackageName, warning: &Warning) {
    let mut text = format!("`{name}`: {warning}");
    let mut cause = std::error::Error::source(warning);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    context.terminal.warn(text);
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn lock_timeout() -> Result<Duration, Failure> {
    let Some(value) = std::env::var_os(LOCK_TIMEOUT_VARIABLE) else { return Ok(LOCK_TIMEOUT) };
    let seconds = value.to_str().and_then(|value| value.parse().ok());
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let value = crate::terminal::visible(&value.to_string_lossy());
        Failure::usage(format!(
            "the environment variable {LOCK_TIMEOUT_VARIABLE} is no number of seconds: `{value}`"
        ))
    })
}

/// The path of this program, which exported commands and menu entries start.
fn own_path() -> Result<PathBuf, Failure> {
    let failed = || Failure::new("cannot find the path of pack itself, which exported commands have to name");
    let path = std::env::current_exe().map_err(|error| failed().because(&error))?;
    // The kernel names a program that was replaced while it runs by a path that leads nowhere.
    if path.is_file() { Ok(path) } else { Err(failed().hint("pack was replaced meanwhile; run it again")) }
}

fn search_path() -> Vec<PathBuf> {
    std::env::var_os("PATH").map_or_else(Vec::new, |path| std::env::split_paths(&path).collect())
}
