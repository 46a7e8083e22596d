//! A world for a test: a user's home, and `pack` started in it as an unprivileged user who can gain nothing.
//!
//! Run as root, the tests start everything as user 20001, who has no entry anywhere; run as anybody else, as that user.
//! `no_new_privs` is set in both cases, so that no set-uid program can help.
#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::print_stdout)] // A skip is told.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The user that root's tests run as.
pub const USER: u32 = 20001;

/// A user's home and everything that belongs to it; gone when dropped.
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// An empty home.
    pub fn new() -> World {
        // Where homes are: the sandbox has a /tmp of its own, which would cover one there.
        let homes = if is_root() { PathBuf::from("/home") } else { std::env::var_os("HOME").unwrap().into() };
        let folder = tempfile::Builder::new().prefix("pack-test-").tempdir_in(homes).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let world = World { folder };
        for name in ["home", "run", "tmp"] {
            fs::create_dir(world.path(name)).unwrap();
            own(&world.path(name));
        }
        fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
        world
    }

    /// A home with a signing key.
    pub fn with_key() -> World {
        let world = World::new();
        succeed(world.pack(["key", "generate", "tester"]));
        world
    }

    /// A path in the world's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the home.
    pub fn home(&self, name: &str) -> PathBuf {
        self.path("home").join(name)
    }

    /// `pack` with arguments, not started yet. Standard input is empty.
    pub fn pack<I: IntoIterator<Item = S>, S: AsRef<std::ffi::OsStr>>(&self, arguments: I) -> Command {
        let mut command = self.command(pack_binary());
        command.args(arguments);
        command
    }

    /// Any program, as the user, in the user's environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("setpriv");
        command.arg("--no-new-privs");
        if is_root() {
            command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
            command.args(["--inh-caps=-all", "--bounding-set=-all"]);
        }
        command.arg("--").arg(program);
        command.env_clear().envs(self.environment()).current_dir(self.path("home")).stdin(Stdio::null());
        command
    }

    /// The environment of the user.
    pub fn environment(&self) -> Vec<(String, String)> {
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        vec![
            ("PATH".to_owned(), std::env::var("PATH").unwrap()),
            ("HOME".to_owned(), text(self.path("home"))),
            ("XDG_RUNTIME_DIR".to_owned(), text(self.path("run"))),
            ("XDG_CACHE_HOME".to_owned(), text(shared_cache())),
            ("TMPDIR".to_owned(), text(self.path("tmp"))),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("CI".to_owned(), "true".to_owned()),
        ]
    }

    /// Writes a file of the user's into the home, with the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home(name);
        make_parents(&path, &self.path("home"));
        fs::write(&path, content).unwrap();
        own(&path);
        path
    }

    /// Writes an executable.
    pub fn write_program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.write(name, content);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Copies an example project into the home.
    pub fn copy_example(&self, name: &str) -> PathBuf {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/examples").join(name);
        let target = self.home(name);
        succeed({
            let mut command = Command::new("cp");
            command.arg("-r").arg(&source).arg(&target);
            command
        });
        if is_root() {
            succeed({
                let mut command = Command::new("chown");
                command.arg("-R").arg(format!("{USER}:{USER}")).arg(&target);
                command
            });
        }
        target
    }

    /// Builds the project in the home folder `name`, with the only key.
    pub fn build(&self, name: &str) -> PathBuf {
        let package = self.home(&format!("{name}.pkg"));
        succeed(self.pack([
            "build".as_ref(),
            self.home(name).as_os_str(),
            "-o".as_ref(),
            package.as_os_str(),
        ]));
        package
    }

    /// Builds and installs, with all plugs that the manifest asks for.
    pub fn install(&self, name: &str) {
        let package = self.build(name);
        succeed(self.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
    }

    /// Makes a project of scripts: `files` are put into the package's root, executable.
    pub fn project(&self, name: &str, manifest: &str, files: &[(&str, &str)]) {
        self.write(&format!("{name}/pack.yaml"), manifest);
        for (path, content) in files {
            self.write_program(&format!("{name}/files/{path}"), content);
        }
    }

    /// An installed package `tester` whose app `none` has no plug, and each other app one of these: the plug, as it is
    /// declared (`{}` for nothing but its interface). All are connected. Each runs a shell script ([`World::inside`]).
    pub fn install_tester(&self, plugs: &[(&str, &str)]) {
        let mut manifest = "name: tester\nversion: '1'\nbase: host\nplugs:\n".to_owned();
        for (plug, declared) in plugs {
            manifest += &format!("  {plug}: {declared}\n");
        }
        if plugs.is_empty() {
            manifest = manifest.replace("plugs:\n", "");
        }
        manifest += "apps:\n  none: {command: bin/tester}\n";
        for (plug, _) in plugs {
            manifest += &format!("  {plug}: {{command: bin/tester, plugs: [{plug}]}}\n");
        }
        manifest += "parts:\n  tester: {plugin: dump, source: files}\n";
        self.project("tester", &manifest, &[("bin/tester", "#!/bin/sh\nexec \"$@\"\n")]);
        self.install("tester");
    }

    /// A script in the sandbox of an app of `tester`, not started yet; it sees `arguments` as `$1` and so on.
    pub fn inside(&self, app: &str, script: &str, arguments: &[&str]) -> Command {
        let mut command = self.pack(["run", &format!("tester.{app}"), "/bin/sh", "-c", script, "sh"]);
        command.args(arguments);
        command
    }

    /// What a script in the sandbox of an app of `tester` prints; it has to succeed.
    #[track_caller]
    pub fn tell(&self, app: &str, script: &str, arguments: &[&str]) -> String {
        out(&succeed(self.inside(app, script, arguments))).trim_end().to_owned()
    }

    /// An installed package `probe` with tests/probe/probe.c in it and an app for each of these plugs.
    pub fn install_probe(&self, plugs: &[&str]) {
        let apps: String = [""].iter().chain(plugs).map(|plug| probe_app(plug)).collect();
        let manifest = format!(
            "name: probe\nversion: '1'\nbase: host\napps:\n{apps}parts:\n  probe: {{plugin: dump, source: files}}\n"
        );
        self.write("probe/pack.yaml", manifest);
        self.write_program("probe/files/bin/probe", fs::read(probe_binary()).unwrap());
        self.install("probe");
    }
}

fn probe_app(plug: &str) -> String {
    match plug {
        "" => "  probe: {command: bin/probe}\n".to_owned(),
        plug => format!("  {}: {{command: bin/probe, plugs: [{plug}]}}\n", plug.replace(", ", "-")),
    }
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Gives a file to the user that the tests act as.
pub fn own(path: &Path) {
    if is_root() {
        chown(path, Some(USER), Some(USER)).unwrap();
    }
}

fn make_parents(path: &Path, up_to: &Path) {
    let parent = path.parent().unwrap();
    if parent != up_to && !parent.exists() {
        make_parents(parent, up_to);
        fs::create_dir(parent).unwrap();
        own(parent);
    }
}

/// Downloads are kept from one test to the next.
fn shared_cache() -> PathBuf {
    let path = std::env::temp_dir().join(format!("pack-test-cache-{}", rustix::process::geteuid().as_raw()));
    if !path.exists() {
        fs::create_dir_all(&path).unwrap();
        own(&path);
    }
    path
}

/// The binary under test, at a place that the user can reach: a checkout may lie below a closed folder.
pub fn pack_binary() -> &'static Path {
    static BINARY: OnceLock<(PathBuf, Option<tempfile::TempDir>)> = OnceLock::new();
    &BINARY.get_or_init(|| reachable(Path::new(env!("CARGO_BIN_EXE_pack")))).0
}

fn reachable(binary: &Path) -> (PathBuf, Option<tempfile::TempDir>) {
    let mut test = Command::new("setpriv");
    test.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups", "test", "-x"])
        .arg(binary);
    if !is_root() || test.status().unwrap().success() {
        return (binary.to_owned(), None);
    }
    let folder = tempfile::Builder::new().prefix("pack-test-binary-").tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join(binary.file_name().unwrap());
    // By another process: a child of another test's would have a copy of a descriptor of ours that is open for writing, and
    // keep the program from being executed for as long.
    succeed({
        let mut command = Command::new("cp");
        command.arg(binary).arg(&copy);
        command
    });
    (copy, Some(folder))
}

/// tests/probe/probe.c, compiled.
pub fn probe_binary() -> &'static Path {
    static BINARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    &BINARY
        .get_or_init(|| {
            let folder = tempfile::Builder::new().prefix("pack-test-probe-").tempdir().unwrap();
            let binary = folder.path().join("probe");
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe/probe.c");
            let mut compiler = Command::new("cc");
            compiler.args(["-O1", "-Wall", "-Werror", "-o"]).arg(&binary).arg(source);
            succeed(compiler);
            (folder, binary)
        })
        .1
}

/// Runs a command to its end; it has to succeed.
#[track_caller]
pub fn succeed(mut command: Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}\n{}\n{}\n{}", output.status, out(&output), err(&output));
    output
}

/// Runs a command to its end; it has to fail with this status.
#[track_caller]
pub fn fail(mut command: Command, status: i32) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{command:?}\n{}\n{}", out(&output), err(&output));
    output
}

/// Standard output as text.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until something holds, half a minute at most.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a program is installed here.
pub fn has(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Says that a test cannot run here, and why; the test returns afterwards. CI fails on a reason that it does not
/// expect.
pub fn skip(reason: &str) {
    println!("SKIP {reason}");
    if let Some(path) = std::env::var_os("PACK_TEST_SKIPS") {
        let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{reason}").unwrap();
    }
}
