//! The sandbox that every command of a step runs in: the launcher's, with the folders of the build and nothing of the user's.
//!
//! 1. [`plan`](mod@plan) says what the sandbox of a step is made of: pure data, made from step, part and root. The plugs of the
//!    app that is being built are not an input of it.
//! 2. [`start`] writes that down and starts the runner with it: a program whose `main` does what [`runner`] says, since
//!    a sandbox is made by a process of one thread that does nothing else.
//! 3. [`runner`] carries it out, and its status is the command's.
//!
//! Where no sandbox can be made, the step fails; nothing is ever run outside of one.
//!
//! Inside, everything has the same place, wherever the project is:
//!
//! | place | what | pull | build | stage | prime |
//! |---|---|---|---|---|---|
//! | `/build/project` | the project, without `.pack` | r | r | r | r |
//! | `/build/parts/NAME/src`, `fetched` | what was fetched | w | r | r | r |
//! | `/build/parts/NAME/build`, `install` | where the part is built, what it installs | r | w | r | r |
//! | `/build/parts/NAME/home` | HOME | w | w | r | r |
//! | `/build/parts/NAME/tmp` | TMPDIR, on disk; emptied afterwards | w | w | w | w |
//! | `/build/stage` | what all parts share | empty | r | w | r |
//! | `/build/prime` | what becomes the package | empty | empty | empty | w |
//! | `/build/control` | how a script asks for the default of the step | w | w | w | w |
//! | `/usr`, `/etc`… | the root of the build: the host's own, or one of Debian packages ([`Root`]) | r | r | r | r |
//! | the network | | the host's | loopback | loopback | loopback |
//!
//! The user there is 1000 (`builder`), whoever builds, and the machine is called `build`.

mod plan;
mod root;
pub mod runner;
mod start;

use std::io;
use std::path::Path;

use pack_schemas::text::visible;

use crate::files::FileError;
use crate::project::Project;

pub(crate) use plan::CERTIFICATES;
pub use plan::{Sandbox, plan};
pub use root::Root;
pub(crate) use start::{NotStarted, Started};

/// The folder inside that has all of the build's.
pub const FOLDER: &str = "/build";
/// Where a script finds how to ask for the default of its step.
pub const CONTROL: &str = "/build/control";
/// PATH inside: what a root may have.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a command could not be run in its sandbox.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// A file of the build's cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The host's root folder cannot be looked at.
    #[error("cannot see what the host's root folder has")]
    Host(#[source] io::Error),
    /// A root of Debian packages cannot be looked at.
    #[error("cannot see what is in `{}`", visible(&.folder.to_string_lossy()))]
    Packages {
        /// The root.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A path of the host's cannot be shown.
    #[error("`{}` cannot be shown in a sandbox: its name is not UTF-8", visible(&.0.to_string_lossy()))]
    Name(std::path::PathBuf),
    /// The program that makes sandboxes did not start.
    #[error("cannot start `{}`, which makes the sandbox of the step", visible(&.program.to_string_lossy()))]
    Runner {
        /// Its path.
        program: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The sandbox was not made.
    #[error("the sandbox of the step cannot be made: {}", visible(.problem))]
    Sandbox {
        /// What failed, with its causes.
        problem: String,
    },
}

/// The path inside of a file or folder of the project or of its work folder.
pub fn inside(project: &Project, path: &Path) -> String {
    let work = project.work();
    let (folder, rest) = match (path.strip_prefix(work.root()), path.strip_prefix(project.folder())) {
        (Ok(rest), _) => (FOLDER.to_owned(), rest),
        (_, Ok(rest)) => (format!("{FOLDER}/project"), rest),
        // Nothing else of the host's has a place there.
        _ => (FOLDER.to_owned(), Path::new("nowhere")),
    };
    match rest.as_os_str().is_empty() {
        true => folder,
        false => format!("{folder}/{}", rest.to_string_lossy()),
    }
}
