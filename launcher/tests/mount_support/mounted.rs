//! Runs programs on a mounted package, as a user without any privilege.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The user that everything runs as when the tests run as root: one without a name, a home, or any right.
const NOBODY: u32 = 20_001;

/// Says why the tests of this file cannot run here, if they cannot.
pub fn skip() -> bool {
    let reason = match fs::metadata("/dev/fuse") {
        Err(error) => format!("/dev/fuse: {error}"),
        Ok(device) if device.mode() & 0o666 != 0o666 => "/dev/fuse is not for everybody".to_owned(),
        Ok(_) => return false,
    };
    skip_because(&reason)
}

/// Notes why a test cannot run here, and returns true.
pub fn skip_because(reason: &str) -> bool {
    // CI fails on a reason that it does not expect.
    if let Some(path) = std::env::var_os("PACK_TEST_SKIPS") {
        let mut skips = fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(skips, "{reason}").unwrap();
    }
    true
}

/// Programs, and a place to mount, that everybody can reach.
pub struct Stage {
    pub folder: tempfile::TempDir,
}

impl Stage {
    pub fn new() -> Stage {
        let folder = super::folder();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(folder.path().join("at")).unwrap();
        fs::create_dir(folder.path().join("out")).unwrap();
        fs::set_permissions(folder.path().join("out"), fs::Permissions::from_mode(0o777)).unwrap();
        bring(&driver(), &folder.path().join("mount-run"));
        bring(&std::env::current_exe().unwrap(), &folder.path().join("tests"));
        Stage { folder }
    }

    /// Where the package is mounted.
    pub fn at(&self) -> PathBuf {
        self.folder.path().join("at")
    }

    /// A folder that everybody may write to.
    pub fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// A command as the unprivileged user, in an environment of its own.
    pub fn unprivileged(&self, program: impl AsRef<OsStr>) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !rustix::process::getuid().is_root() {
            let mut command = Command::new(program);
            command.env_clear().env("PATH", path);
            return command;
        }
        let mut command = Command::new("setpriv");
        command
            .arg(format!("--reuid={NOBODY}"))
            .arg(format!("--regid={NOBODY}"))
            .args(["--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"])
            .arg(program)
            .env_clear()
            .env("PATH", path);
        command
    }

    /// mount-run with options.
    pub fn mount_run(&self, options: &[&str], package: &Path) -> Command {
        let mut command = self.unprivileged(self.folder.path().join("mount-run"));
        command.args(options).arg(package).arg(self.at());
        command
    }

    /// Runs a shell script whose working folder is the mounted package.
    pub fn shell(&self, options: &[&str], package: &Path, script: &str) -> Output {
        let mut command = self.mount_run(options, package);
        command.args(["sh", "-c"]).arg(format!("cd '{}' || exit 99\n{script}", self.at().display()));
        command.output().unwrap()
    }

    /// Runs an ignored test of this program on the mounted package; `PLACE` and `OUT` are in its environment.
    pub fn run_test(&self, options: &[&str], package: &Path, test: &str) -> Output {
        let mut command = self.mount_run(options, package);
        command
            .arg(self.folder.path().join("tests"))
            .args(["--ignored", "--exact", "--nocapture", "--test-threads=1", test])
            .env("PLACE", self.at())
            .env("OUT", self.out().join("result"));
        command.output().unwrap()
    }
}

/// What an ignored test that runs on a mounted package was told.
pub fn place_and_out() -> Option<(PathBuf, PathBuf)> {
    Some((std::env::var_os("PLACE")?.into(), std::env::var_os("OUT")?.into()))
}

fn bring(from: &Path, to: &Path) {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).unwrap();
    }
}

/// The example that mounts a package. Cargo builds it together with the tests, but not where it was told to build one
/// test alone; so it is asked to once more.
fn driver() -> PathBuf {
    static DRIVER: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let find = || {
        let tests = std::env::current_exe().unwrap();
        let target = tests.parent().unwrap().parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "-p", "pack-launcher", "--example", "mount-run"]);
        cargo.args(target.ends_with("release").then_some("--release"));
        cargo.env("CARGO_TARGET_DIR", target.parent().unwrap());
        super::run(&mut cargo);
        target.join("examples/mount-run")
    };
    DRIVER.get_or_init(find).clone()
}
