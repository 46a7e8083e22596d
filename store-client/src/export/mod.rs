//! What leaves the sandbox: commands, desktop entries and icons.
//!
//! First [`plan`] works out, from the package alone, what its files would be; then [`claim`] takes out of the plan what
//! would overwrite a file that is not the package's; then each is published by rename, so that no reader sees half a
//! file. What is exported is recorded in `state.json` before it is made, and is known again by its content:
//!
//! | export | where | known by |
//! |---|---|---|
//! | command | `~/.local/bin/NAME` or `NAME.APP`, or an alias | its second line, `# pack-export NAME APP` |
//! | desktop entry | `applications/NAME_APP.desktop` | its key `X-Pack-Name` |
//! | autostart entry | `$XDG_CONFIG_HOME/autostart/NAME_APP.desktop` | its key `X-Pack-Name` |
//! | icon | `icons/hicolor/SIZE/apps/NAME_….png`, `.svg` | the record, and its name (no package name has a `_`) |
//!
//! A file that is there and is not known so is never overwritten and never removed; the person is told.
//!
//! Nothing of the desktop is started afterwards: menus watch these folders. `update-desktop-database` would only make
//! the look-up of MIME types faster.

mod commands;
mod entries;
mod icons;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use pack_schemas::desktop::{self, DesktopError};
use pack_schemas::manifest::{Manifest, PackageType, RelativePath};
use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::{Export, ExportPlace};
use pack_schemas::text::visible;

use crate::folder::{FileError, Folder, Mounts};
use crate::folders::Folders;
use crate::reader::{ImageFiles, OpenedPackage, ReadError};

pub use icons::IconProblem;

/// Longest file that is exported, in bytes: an icon.
const EXPORT_LIMIT: u64 = 1 << 20;

/// What exports need to know of the host.
#[derive(Debug, Clone)]
pub struct ExportSettings {
    /// Absolute path of the pack program, which exported files start.
    pub pack: PathBuf,
    /// The folders of `PATH`, to tell when a command takes the place of another one.
    pub search_path: Vec<PathBuf>,
}

/// The files that a package exports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportPlan {
    /// They, in the order in which they are made: icons before the entries that name them.
    pub files: Vec<ExportFile>,
    /// What is not exported, and why.
    pub warnings: Vec<ExportWarning>,
    /// Keys and groups of desktop entries that are not in what is exported, by the entry's path in the package.
    pub left_out: BTreeMap<RelativePath, BTreeSet<String>>,
}

/// What exports are made from.
#[derive(Clone, Copy)]
pub struct Material<'a> {
    /// The package's manifest.
    pub manifest: &'a Manifest,
    /// The package's files.
    pub files: &'a dyn ImageFiles,
}

impl<'a> Material<'a> {
    /// That of a package.
    pub(crate) fn of(package: &'a OpenedPackage) -> Material<'a> {
        // Opening it has checked that manifest and envelope agree.
        Material { manifest: &package.envelope.manifest, files: &*package.files }
    }
}

/// A file to be exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFile {
    /// Where it goes.
    pub export: Export,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Its mode.
    pub mode: u32,
}

/// Why a package's exports are refused as a whole, and the package with them.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The path of the pack program cannot stand in the files.
    #[error("the path of the pack program is not absolute or not UTF-8: {}", visible(&.path.to_string_lossy()))]
    PackPath {
        /// The path.
        path: PathBuf,
    },
    /// The desktop entry of an app is not there, or is no regular file.
    #[error("the desktop entry of app {app} {problem}: {path}")]
    NoEntry {
        /// The app.
        app: Name,
        /// The path in the package.
        path: RelativePath,
        /// What is wrong.
        problem: &'static str,
    },
    /// A desktop entry is refused.
    #[error("the desktop entry of app {app} is refused ({path})")]
    Desktop {
        /// The app.
        app: Name,
        /// The path in the package.
        path: RelativePath,
        /// Why.
        source: DesktopError,
    },
    /// A file in the package cannot be read.
    #[error("cannot read {} in the package", visible(.path))]
    Read {
        /// The path in the package.
        path: String,
        /// Why.
        source: ReadError,
    },
}

impl ExportError {
    /// What to do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            ExportError::PackPath { .. }
            | ExportError::Desktop { source: DesktopError::PackPath { .. }, .. } => {
                "put pack in a folder with an ordinary name".to_owned()
            }
            ExportError::NoEntry { .. } | ExportError::Desktop { .. } | ExportError::Read { .. } => {
                "this is for its publisher to mend".to_owned()
            }
        }
    }
}

/// Something that is not exported, or not as it seems.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportWarning {
    /// A file is in the way, and is not the package's.
    #[error("not exported, since a file that is not pack's is there: {}", visible(&.path.to_string_lossy()))]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The command would take the place of another, as `~/.local/bin` is the first folder of `PATH` in many homes.
    #[error("the command `{command}` is not exported, since it would take the place of {}; `pack run` starts the app", visible(&.other.to_string_lossy()))]
    Shadows {
        /// The command.
        command: String,
        /// The other one.
        other: PathBuf,
    },
    /// An icon cannot be used.
    #[error("the icon {} of app {app} is left out: {problem}", visible(.path))]
    Icon {
        /// The app.
        app: Name,
        /// The path in the package.
        path: String,
        /// What is wrong with it.
        problem: IconProblem,
    },
}

/// Works out what a package exports.
///
/// # Errors
/// [`ExportError`]: a desktop entry that is missing or hostile. A bad icon is a warning.
pub fn plan(package: Material<'_>, settings: &ExportSettings) -> Result<ExportPlan, ExportError> {
    let manifest = package.manifest;
    let mut plan = ExportPlan::default();
    if manifest.package_type != PackageType::App {
        return Ok(plan);
    }
    let pack_path = || ExportError::PackPath { path: settings.pack.clone() };
    let pack = settings.pack.to_str().filter(|path| path.starts_with('/')).ok_or_else(pack_path)?;
    for app in manifest.apps.keys() {
        entries::plan(package, app, pack, &mut plan)?;
        entries::plan_autostart(package, app, pack, &mut plan)?;
    }
    for app in manifest.apps.keys() {
        plan.files.push(commands::plan(&manifest.name, app, pack));
    }
    for (app, details) in &manifest.apps {
        let aliases = details.aliases.iter();
        plan.files.extend(aliases.map(|alias| commands::plan_alias(alias, &manifest.name, app, pack)));
    }
    Ok(plan)
}

/// Takes out of a plan what would overwrite a file that is not the package's. `recorded` are the exports of the
/// package so far.
///
/// # Errors
/// Where a folder cannot be read.
pub(crate) fn claim(
    folders: &Folders,
    settings: &ExportSettings,
    package: &PackageName,
    plan: ExportPlan,
    recorded: &BTreeSet<Export>,
) -> Result<ExportPlan, FileError> {
    let ExportPlan { files, warnings, left_out } = plan;
    let mut claimed = ExportPlan { files: Vec::new(), warnings, left_out };
    for file in files {
        let export = &file.export;
        let path = folders.exports(export.place).join(export.path.as_str());
        // An icon has no mark of its own: only the record tells whose it is.
        let is_known = export.place != ExportPlace::Icons || recorded.contains(export);
        match find(folders, package, export)? {
            Found::Ours if is_known => {}
            Found::Nothing => {}
            Found::Ours | Found::Foreign => {
                claimed.warnings.push(ExportWarning::NotOurs { path });
                continue;
            }
        }
        if export.place == ExportPlace::Commands
            && let Some(other) = shadowed(folders, settings, export.path.as_str())
        {
            let command = export.path.to_string();
            claimed.warnings.push(ExportWarning::Shadows { command, other });
            continue;
        }
        claimed.files.push(file);
    }
    Ok(claimed)
}

/// Where every user's programs are, whatever `PATH` was when the package was installed.
const SYSTEM_FOLDERS: &[&str] =
    &["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Commands that take a password or a key, or start what does: no package may bear their names on `PATH`, installed or
/// not.
const RESERVED_COMMANDS: &[&str] = &[
    "bash", "doas", "env", "gpg", "gpg2", "login", "pack", "passwd", "pkexec", "run0", "sh", "ssh",
    "ssh-add", "su", "sudo", "zsh",
];

/// The command that one of this name would take the place of.
fn shadowed(folders: &Folders, settings: &ExportSettings, command: &str) -> Option<PathBuf> {
    if RESERVED_COMMANDS.contains(&command) {
        return Some(Path::new("/usr/bin").join(command));
    }
    let own = folders.commands();
    let of_path = settings.search_path.iter().map(PathBuf::as_path).filter(|folder| folder.is_absolute());
    let others = of_path.chain(SYSTEM_FOLDERS.iter().map(Path::new)).filter(|folder| *folder != own);
    others.map(|folder| folder.join(command)).find(|path| path.is_file())
}

/// Publishes one file. The warning is that a file that is not the package's came to be there since [`claim`].
///
/// # Errors
/// Where a folder cannot be made or written.
pub(crate) fn publish(
    folders: &Folders,
    package: &PackageName,
    file: &ExportFile,
) -> Result<Option<ExportWarning>, FileError> {
    let base = folders.exports(file.export.place);
    let not_ours = || ExportWarning::NotOurs { path: base.join(file.export.path.as_str()) };
    let (parents, name) = split(&file.export);
    let mut folder = Folder::create(&base, 0o755)?;
    for parent in parents {
        folder = folder.make_child(parent, 0o755)?;
    }
    match found_in(&folder, package, file.export.place, name)? {
        Found::Nothing => Ok((!folder.publish_new(name, &file.bytes, file.mode)?).then(not_ours)),
        Found::Ours => folder.replace(name, &file.bytes, file.mode, &mut || ()).map(|()| None),
        Found::Foreign => Ok(Some(not_ours())),
    }
}

/// Removes one export, and the folders that are empty then; a file that is not the package's stays.
///
/// # Errors
/// Where it cannot be removed.
pub(crate) fn withdraw(folders: &Folders, package: &PackageName, export: &Export) -> Result<(), FileError> {
    let (parents, name) = split(export);
    let Some(base) = Folder::open(&folders.exports(export.place))? else { return Ok(()) };
    let mut way = vec![base];
    for parent in &parents {
        match way[way.len() - 1].child(parent, Mounts::Cross)? {
            Some(child) => way.push(child),
            None => break,
        }
    }
    // Where the way ends early, the file is gone, and an earlier run was stopped while it removed the folders.
    let is_whole = way.len() == parents.len() + 1;
    let folder = &way[way.len() - 1];
    if is_whole && found_in(folder, package, export.place, name)? == Found::Ours {
        folder.remove_file(name)?;
        folder.sync()?;
    }
    for (parent, name) in way.iter().zip(&parents).rev() {
        if !parent.remove_empty_child(name)? {
            break;
        }
    }
    Ok(())
}

/// Changes the time stamp of the icon theme's folder, by which toolkits know that their caches are old (Icon Theme
/// Specification, "Implementation Notes").
///
/// # Errors
/// Where the folder is there and cannot be changed.
pub(crate) fn announce_icons(folders: &Folders) -> Result<(), FileError> {
    let path = folders.exports(ExportPlace::Icons).join("hicolor");
    let Some(folder) = Folder::open(&path)? else { return Ok(()) };
    let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
    let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
    rustix::fs::futimens(&folder, &times).map_err(|error| FileError {
        action: "set the time of",
        path,
        source: error.into(),
    })
}

/// What is where an export goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Ours,
    Foreign,
}

fn find(folders: &Folders, package: &PackageName, export: &Export) -> Result<Found, FileError> {
    let (parents, name) = split(export);
    let Some(mut folder) = Folder::open(&folders.exports(export.place))? else { return Ok(Found::Nothing) };
    for parent in parents {
        match folder.child(parent, Mounts::Cross)? {
            Some(child) => folder = child,
            None => return Ok(Found::Nothing),
        }
    }
    found_in(&folder, package, export.place, name)
}

fn found_in(
    folder: &Folder,
    package: &PackageName,
    place: ExportPlace,
    name: &str,
) -> Result<Found, FileError> {
    if folder.stat_of(name)?.is_none() {
        return Ok(Found::Nothing);
    }
    let bytes = read_small_file(folder, name)?;
    let is_ours = match place {
        ExportPlace::Commands => {
            bytes.and_then(|bytes| commands::exported_by(&bytes)).as_ref() == Some(package)
        }
        ExportPlace::Applications | ExportPlace::Autostart => {
            bytes.and_then(|bytes| desktop::exported_by(&bytes)).as_ref() == Some(package)
        }
        ExportPlace::Icons => {
            let prefix = format!("{package}_");
            name.starts_with(&prefix) && bytes.is_some()
        }
    };
    Ok(if is_ours { Found::Ours } else { Found::Foreign })
}

/// Reads a file that may be an export: nothing for what pack cannot have written, a link, a folder, a FIFO, a file that
/// is too long or shut.
fn read_small_file(folder: &Folder, name: &str) -> Result<Option<Vec<u8>>, FileError> {
    use std::io::ErrorKind;
    match folder.read(name, EXPORT_LIMIT) {
        Err(error) if error.source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => Ok(None),
        Err(error) => match error.source.kind() {
            ErrorKind::InvalidInput | ErrorKind::FileTooLarge | ErrorKind::PermissionDenied => Ok(None),
            // What is there is not known; another run may know.
            _ => Err(error),
        },
        read => read,
    }
}

/// The folders of an export below its place, and its name in the last of them.
fn split(export: &Export) -> (Vec<&str>, &str) {
    let mut parents: Vec<&str> = export.path.as_str().split('/').collect();
    let name = parents.pop().unwrap_or_default();
    (parents, name)
}

/// An export; the parts are names that were checked.
fn export(place: ExportPlace, path: String) -> Export {
    let path = RelativePath::try_from(path).expect("names of packages, apps and icons make plain paths");
    Export { place, path }
}

/// A path in a package that a text there names; nothing where it leads elsewhere.
fn path_in_package(text: &str) -> Option<RelativePath> {
    let inside = ["${PACK}/", "$PACK/", "/app/", "/"].iter().find_map(|prefix| text.strip_prefix(prefix));
    RelativePath::try_from(inside.unwrap_or(text).to_owned()).ok()
}

/// The last component of a path, for messages and names.
fn file_stem(path: &str) -> &str {
    Path::new(path).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
