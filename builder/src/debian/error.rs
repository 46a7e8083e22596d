//! Why Debian packages cannot be staged, or a root be made of them.

use std::io;
use std::path::{Path, PathBuf};

use pack_schemas::names::Architecture;
use pack_schemas::text::visible;

/// Why Debian packages cannot be staged.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// A name that no Debian package can have.
    #[error("`{}` is not the name of a Debian package", visible(.name))]
    BadName {
        /// The name, cut to 64 characters.
        name: String,
    },
    /// A program of Debian's is not on this host.
    #[error("this host has no `{tool}`, without which Debian packages cannot be had")]
    ToolMissing {
        /// The program.
        tool: &'static str,
    },
    /// The cache folder's path has characters that apt's configuration cannot hold.
    #[error("apt cannot work in the folder `{}`: its path is not plain text", visible(&.path.to_string_lossy()))]
    FolderName {
        /// The folder.
        path: PathBuf,
    },
    /// apt knows no package of this name.
    #[error("no Debian package is called `{name}` in the sources of `{}`", visible(&.sources.to_string_lossy()))]
    UnknownPackage {
        /// The name.
        name: String,
        /// A package whose name is near.
        near: Option<String>,
        /// The folder that names the sources.
        sources: PathBuf,
    },
    /// The lists of packages, or packages, could not be fetched.
    #[error("cannot fetch {what} from the Debian archive: {output}")]
    Network {
        /// `the lists of packages` or `packages`.
        what: &'static str,
        /// apt's last lines.
        output: String,
    },
    /// There is no room left.
    #[error("no space left on the file system of `{}`", visible(&.path.to_string_lossy()))]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// The packages' dependencies cannot be met together.
    #[error("the packages' dependencies cannot be met: {output}")]
    Unsatisfiable {
        /// apt's last lines.
        output: String,
    },
    /// A program failed in a way of its own.
    #[error("`{tool}` failed ({step}, {status}): {output}")]
    Tool {
        /// The program.
        tool: &'static str,
        /// What it was to do.
        step: &'static str,
        /// How it ended, such as `exit status: 100`.
        status: String,
        /// Its last lines.
        output: String,
    },
    /// What apt printed is not what this program expects.
    #[error("cannot make sense of what `{tool}` printed: `{line}`")]
    Output {
        /// The program.
        tool: &'static str,
        /// The line, made visible.
        line: String,
    },
    /// apt has not put a package into the cache: it uses those of `file:` sources where they are.
    #[error("apt did not download `{}`", visible(.uri))]
    NotDownloaded {
        /// Where it is.
        uri: String,
    },
    /// A downloaded file is not the one that the signed lists name.
    #[error("`{}` is not the file that the archive names (SHA-256 {found}, expected {expected})", .path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The hash in the archive's lists.
        expected: String,
        /// The file's hash.
        found: String,
    },
    /// A package for another architecture came in.
    #[error("`{}` is for {}, but the package is built for {wanted}", visible(.package), visible(.architecture))]
    WrongArchitecture {
        /// The Debian package.
        package: String,
        /// Its architecture.
        architecture: String,
        /// What is built.
        wanted: Architecture,
    },
    /// A `.deb` file cannot be read.
    #[error("cannot read the Debian package `{}`", visible(&.path.to_string_lossy()))]
    Read {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// A `.deb` file lacks a control field.
    #[error("the Debian package `{}` has no `{field}`", visible(&.path.to_string_lossy()))]
    Control {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
    },
    /// A package holds something that cannot be staged.
    #[error("`{}` of the Debian package `{}` cannot be staged: {rule}", visible(.path), visible(.package))]
    Entry {
        /// The Debian package.
        package: String,
        /// The path in it, cut to 256 characters.
        path: String,
        /// Why not.
        rule: &'static str,
    },
    /// Two packages hold different things at one path.
    #[error("the Debian packages `{}` and `{}` both hold `{}`, and differ in it", visible(.first), visible(.second), visible(.path))]
    Collision {
        /// The path in the staged tree.
        path: String,
        /// The package that was unpacked first.
        first: String,
        /// The other package.
        second: String,
    },
    /// The folder to stage into has something in it.
    #[error("`{}` is not empty", visible(&.path.to_string_lossy()))]
    TargetNotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// A file or folder cannot be read or written.
    #[error("cannot {step} `{}`", visible(&.path.to_string_lossy()))]
    Io {
        /// What was to be done.
        step: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl DebianError {
    pub(super) fn io(step: &'static str, path: &Path, source: io::Error) -> DebianError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DebianError::DiskFull { path },
            _ => DebianError::Io { step, path, source },
        }
    }

    /// What the person who builds can do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            DebianError::BadName { .. } => "write the bare name: lower-case letters, digits and + - .".into(),
            DebianError::ToolMissing { .. } => {
                "stage-packages and build-packages work on Debian and its derivatives; elsewhere build \
                in a Debian container"
                    .into()
            }
            DebianError::UnknownPackage { near: Some(near), .. } => format!("did you mean `{near}`?"),
            DebianError::UnknownPackage { name, .. } => format!("`apt-cache search {name}` looks for it"),
            DebianError::Network { .. } => {
                "check the network, a proxy's http_proxy, and apt's sources".into()
            }
            DebianError::NotDownloaded { .. } => "name a local source by `copy:` instead of `file:`".into(),
            DebianError::Altered { path, .. } => format!("remove `{}` and build again", path.display()),
            DebianError::Collision { .. } => {
                "stage one of them in a part of its own, and leave the path out of \
                its `stage`"
                    .into()
            }
            _ => return None,
        };
        Some(text)
    }

    /// Whether fetching the lists anew may help: what they name is not there any more, or not yet.
    pub(super) fn blames_lists(&self) -> bool {
        use DebianError::{Network, UnknownPackage, Unsatisfiable};
        matches!(self, UnknownPackage { .. } | Network { .. } | Unsatisfiable { .. })
    }
}
