//! What a step of a part fails with.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::ExitStatus;

use pack_schemas::names::Name;
use pack_schemas::text::visible;

use super::{Difference, GlobError, Misuse, Step};
use crate::confine::ConfineError;
use crate::debian::DebianError;
use crate::documents;
use crate::files::FileError;
use crate::plugins::PluginError;
use crate::sources::SourceError;

/// Why the parts cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum PartsError {
    /// The work folders cannot be emptied.
    #[error("cannot prepare the folders of the build")]
    Prepare(#[from] FileError),
    /// The host's root folder cannot be looked at.
    #[error("cannot prepare the sandboxes of the build")]
    Confine(#[from] ConfineError),
    /// A step failed.
    #[error("cannot {step} the part `{part}`")]
    Step {
        /// The part.
        part: Name,
        /// The step.
        step: Step,
        /// Why.
        source: Box<StepError>,
    },
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// A file or folder cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The source cannot be had.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The source is none that the plugin can build.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// There is no sandbox for a command.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The stage-packages cannot be had.
    #[error("cannot stage its Debian packages")]
    Debian(#[from] DebianError),
    /// The root of the build-packages cannot be had.
    #[error("cannot make a root of its build-packages")]
    Root(#[source] DebianError),
    /// A command cannot be started, or waited for.
    #[error("cannot run {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// A command of a plugin failed.
    #[error("`{}` ended with {status}; all of its output is in `{}`", visible(.command), show(.log))]
    Command {
        /// The command as a person would type it.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it said, safe to show.
        tail: Vec<String>,
        /// The file with all of them.
        log: PathBuf,
    },
    /// A script failed.
    #[error("override-{step} ended with {status}; all of its output is in `{}`", show(.log))]
    Script {
        /// The script's step.
        step: Step,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it said, safe to show.
        tail: Vec<String>,
        /// The file with all of them.
        log: PathBuf,
    },
    /// A script was killed for what it did with the way in which it asks for the default of its step.
    #[error("override-{step} was killed: {misuse}; all of its output is in `{}`", show(.log))]
    Control {
        /// The script's step.
        step: Step,
        /// What it did.
        misuse: Misuse,
        /// The file with its output.
        log: PathBuf,
    },
    /// A rule of `organize`, `stage` or `prime` is no glob.
    #[error(transparent)]
    Glob(#[from] GlobError),
    /// A rule of `organize` matches nothing.
    #[error("organize: nothing that the part installs matches `{}`", visible(.from))]
    OrganizeNothing {
        /// The glob.
        from: String,
    },
    /// A rule of `organize` gives one name to several files.
    #[error("organize: `{}` matches several files; end `{}` in `/` to move them into a folder", visible(.from), visible(.to))]
    OrganizeSeveral {
        /// The glob.
        from: String,
        /// The place.
        to: String,
    },
    /// A rule of `organize` would replace something.
    #[error("organize: cannot move `{}` to `{}`, which is there already", show(.from), show(.to))]
    OrganizeExists {
        /// What was to be moved.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },
    /// A rule of `organize` moves a folder into itself.
    #[error("organize: cannot move `{}` into itself, to `{}`", show(.from), show(.to))]
    OrganizeInto {
        /// The folder.
        from: PathBuf,
        /// Where to.
        to: PathBuf,
    },
    /// A symbolic link would lead what is moved out of the part's folder.
    #[error("organize: the way to `{}` leads over a symbolic link out of what the part installs", show(.path))]
    OrganizeOutside {
        /// The place.
        path: PathBuf,
    },
    /// A rule of `permissions` matches no file.
    #[error("permissions: no file that the part installs matches `{}`", visible(.path))]
    PermissionsNothing {
        /// The glob.
        path: String,
    },
    /// A mode is no octal number.
    #[error("permissions: `{}` is no mode", visible(.mode))]
    PermissionsMode {
        /// The mode.
        mode: String,
    },
    /// The source does not stay the same for as long as it takes to copy it.
    #[error("its source changes again and again while it is copied")]
    SourceChanging,
    /// A program that the part cannot do without is not there.
    #[error("there is no `{program}` {}", if *.is_host { "on this machine" } else { "among the build-packages" })]
    ToolMissing {
        /// Whether it was looked for on the machine, and not in a root of build-packages.
        is_host: bool,
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The part installs something where a package has its own documents.
    #[error("it installs `{}`, where every package has documents about itself", documents::FOLDER)]
    Reserved,
    /// One part has a folder where another has a link.
    #[error(
        "the part `{folder}` has a folder `{}`, and the part `{link}` has a link there, to `{}`",
        show(.path),
        show(.target)
    )]
    FolderAndLink {
        /// The path, relative to the stage or prime folder.
        path: PathBuf,
        /// The part with the folder.
        folder: Name,
        /// The part with the link.
        link: Name,
        /// Where the link leads.
        target: PathBuf,
    },
    /// Another part has something else at the same path.
    #[error(
        "the part `{part}` and {} both have `{}`, and {}",
        .other.as_ref().map_or("a script".to_owned(), |other| format!("the part `{other}`")),
        show(.path),
        words_of(*.difference)
    )]
    Collision {
        /// The path, relative to the stage or prime folder.
        path: PathBuf,
        /// The part that comes later.
        part: Name,
        /// The part that it came from first, where one is known.
        other: Option<Name>,
        /// What is not the same.
        difference: Difference,
    },
}

impl StepError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            StepError::Collision { path, .. } => {
                Some(format!("leave it out with `stage: [-{}]` in one of the two", show(path)))
            }
            StepError::FolderAndLink { path, folder, link, target } => {
                let leave_out = format!("leave the link out with `stage: [-{}]` in `{link}`", show(path));
                let Some(place) = led_to(path, target) else { return Some(leave_out) };
                let (from, to) = (show(path), show(&place));
                Some(format!(
                    "have it all behind the link with `organize: {{{from}: {to}}}` in `{folder}`, or {leave_out}"
                ))
            }
            StepError::Control { .. } => Some(
                "ask with `craftctl default`, in the foreground, and write nothing to $PACK_CONTROL"
                    .to_owned(),
            ),
            StepError::Debian(error) | StepError::Root(error) => error.hint(),
            StepError::Plugin(error) => Some(error.hint()),
            StepError::ToolMissing { package, is_host: true, .. } => Some(format!(
                "it is in Debian's package `{package}`: install that on the machine that builds, or name it in the part's build-packages"
            )),
            StepError::ToolMissing { package, .. } => {
                Some(format!("it is in Debian's package `{package}`: name that in the part's build-packages"))
            }
            StepError::SourceChanging => {
                Some("build when no other program writes into the source".to_owned())
            }
            StepError::Source(error) if error.hint().is_some() => error.hint().map(str::to_owned),
            other => full_disk_hint(other),
        }
    }
}

/// What to do where an error comes from a full disk.
pub fn full_disk_hint(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return Some("make room and build again: steps that are complete are not run again".to_owned());
        }
        cause = error.source();
    }
    None
}

/// The place in the package that a link at `path` leads to, if it is in there.
fn led_to(path: &Path, target: &Path) -> Option<PathBuf> {
    let mut place = path.parent().map(Path::to_path_buf).unwrap_or_default();
    for component in target.components() {
        match component {
            Component::RootDir => place.clear(),
            Component::Normal(name) => place.push(name),
            Component::ParentDir if !place.pop() => return None,
            Component::ParentDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    (!place.as_os_str().is_empty() && !place.starts_with(path)).then_some(place)
}

fn words_of(difference: Difference) -> &'static str {
    match difference {
        Difference::Kind => "one of them is a folder, a file or a link, and the other is not",
        Difference::Content => "their content differs",
        Difference::Target => "the links lead to different places",
        Difference::Executable => "only one of them can be executed",
    }
}

fn show(path: &Path) -> String {
    visible(&path.to_string_lossy())
}
