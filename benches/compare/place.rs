//! Where everything is measured from: a folder of an unprivileged user's, and the programs started as that user.
//!
//! As root it is the user nobody that measures, since fusermount3 wants a user with a name; otherwise the caller.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The user that root measures as: nobody.
const USER: u32 = 65534;

/// A folder of the measuring user's, with a home in it.
pub struct Place {
    folder: tempfile::TempDir,
}

/// Whether privileged rows and the dropping of caches are to be had.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Place {
    /// Makes the folder, with a copy of `pack` and a key in it.
    pub fn new() -> Place {
        let folder = tempfile::Builder::new().prefix("pack-bench-").tempdir().expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let place = Place { folder };
        fs::create_dir(place.path("home")).expect("home");
        fs::copy(env!("CARGO_BIN_EXE_pack"), place.path("pack")).expect("a copy of pack");
        // The probe, where the measuring user can reach it.
        fs::copy(std::env::current_exe().expect("our own name"), place.path("compare")).expect("a copy");
        place.own(place.folder.path());
        place.run_to_end(place.pack(["key", "generate", "bench"]));
        place
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Gives a tree to the measuring user.
    pub fn own(&self, tree: &Path) {
        if is_root() {
            let mut chown = Command::new("chown");
            self.run_to_end({
                chown.args(["-h", "-R"]).arg(format!("{USER}:{USER}")).arg(tree);
                chown
            });
        }
    }

    /// A program, as the measuring user, who may still use set-uid programs: fusermount3 is one.
    pub fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        self.with_options(&[], program, arguments)
    }

    /// A program, as the measuring user, whom no set-uid program can help.
    pub fn without_privilege<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        self.with_options(&["--no-new-privs"], program, arguments)
    }

    fn with_options<S: AsRef<OsStr>>(
        &self,
        options: &[&str],
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
        }
        command.args(options).arg("--").arg(program).args(arguments).env_clear();
        command.current_dir(self.path("home")).env("HOME", self.path("home"));
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// `pack`, without any privilege.
    pub fn pack<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        self.without_privilege(self.path("pack"), arguments)
    }

    /// Runs a program that has to succeed, and returns how long it took.
    pub fn run_to_end(&self, mut command: Command) -> Duration {
        let begin = Instant::now();
        let output =
            command.stderr(Stdio::piped()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let time = begin.elapsed();
        assert!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        time
    }
}

/// Asks for a package of Debian's where a peer is missing; the row is left out then.
pub fn there(program: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
    if !found {
        eprintln!("{program} is not installed: its row is left out");
    }
    found
}
