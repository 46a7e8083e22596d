//! A session of the test's own: a message bus, with the services that Debian's packages start on it.
#![allow(dead_code)] // Each test file uses a part.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{World, eventually, is_root, out, succeed};

/// The rules of a bus for services of any user; the address is given besides.
const SYSTEM_BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/nowhere</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
  </policy>
</busconfig>
"#;

/// A message bus and all that it started; gone when dropped.
///
/// The user of root's tests has an entry in no list of users, and there no bus starts, and no FUSE mount is made: so root's
/// session is in a mount namespace with a list that has one.
pub struct Session<'a> {
    world: &'a World,
    buses: Vec<Running>,
    /// The process that has the mount namespace.
    namespace: Option<Running>,
    variables: Vec<(String, String)>,
}

impl<'a> Session<'a> {
    /// Starts a session bus at its usual place, the runtime folder. Services that it starts have `variables` beside the
    /// user's own.
    pub fn start(world: &'a World, variables: &[(&str, &str)]) -> Session<'a> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let namespace = is_root().then(|| make_namespace(world));
        let mut session = Session { world, buses: Vec::new(), namespace, variables };
        session.start_bus("bus", "--session");
        session
    }

    /// Starts another bus, and has programs of the session, and apps, take it for the system's.
    pub fn start_system_bus(&mut self) {
        let config = self.world.write("system-bus.conf", SYSTEM_BUS);
        let address = self.start_bus("system-bus", &format!("--config-file={}", config.display()));
        self.variables.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), address));
    }

    fn start_bus(&mut self, name: &str, kind: &str) -> String {
        let path = self.world.path("run").join(name);
        let address = format!("unix:path={}", path.display());
        let option = format!("--address={address}");
        self.buses.push(self.spawn("dbus-daemon", &[kind, "--nofork", "--nopidfile", &option]));
        eventually("a bus", || path.symlink_metadata().is_ok_and(|found| found.file_type().is_socket()));
        address
    }

    /// Copies a file to where programs of the session can read it.
    pub fn copy(&self, file: &Path) -> String {
        let name = file.file_name().unwrap().to_str().unwrap();
        let copy = self.world.write(name, std::fs::read(file).unwrap());
        copy.into_os_string().into_string().unwrap()
    }

    /// `pack run` in the session, not started yet.
    pub fn run_app(&self, app: &str, script: &str) -> Command {
        self.within(&self.world.pack(["run", app, script]))
    }

    /// The same command, with the session's variables, and where its mounts are.
    fn within(&self, inner: &Command) -> Command {
        let folder = inner.get_current_dir().unwrap();
        let mut command = match &self.namespace {
            Some(namespace) => {
                let mut command = Command::new("nsenter");
                command.args(["--target", &namespace.0.id().to_string(), "--mount", "env", "-C"]).arg(folder);
                command.arg(inner.get_program());
                command
            }
            None => Command::new(inner.get_program()),
        };
        command.args(inner.get_args()).env_clear().stdin(Stdio::null()).current_dir(folder);
        let variables = inner.get_envs().filter_map(|(name, value)| Some((name, value?)));
        command.envs(variables).envs(self.variables.clone());
        command
    }

    /// Starts a program of the host's in the session.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Running {
        let mut command = self.command(program, arguments);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// A program of the host's in the session, not started yet.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        if is_root() {
            let user = crate::support::USER;
            command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]);
        }
        // Without no_new_privs: set-uid programs help a desktop, such as the one that mounts the folder of documents.
        command.arg("--").arg(program).args(arguments).env_clear().envs(self.world.environment());
        command.current_dir(self.world.path("home")).stdin(Stdio::null());
        self.within(&command)
    }

    /// What a program of the host's prints, to its end.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        out(&succeed(self.command(program, arguments)))
    }

    /// Waits until somebody has a name on the bus.
    #[track_caller]
    pub fn wait_for_name(&self, name: &str) {
        eventually(name, || {
            let arguments = [
                "call",
                "--session",
                "-d",
                "org.freedesktop.DBus",
                "-o",
                "/",
                "-m",
                "org.freedesktop.DBus.NameHasOwner",
                name,
            ];
            out(&self.command("gdbus", &arguments).output().unwrap()).contains("true")
        });
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.buses.clear();
        // Services end with the bus, but for the odd one.
        let mark = format!("XDG_RUNTIME_DIR={}\0", self.world.path("run").display());
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            let number = entry.file_name().to_string_lossy().parse::<i32>();
            if let Ok(number) = number
                && String::from_utf8_lossy(&environment).contains(&mark)
            {
                let process = nix::unistd::Pid::from_raw(number);
                let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
            }
        }
        if self.namespace.is_none() {
            // The documents' portal has a mount in the runtime folder.
            let documents = self.world.path("run/doc");
            let _ = Command::new("fusermount3").arg("-uz").arg(documents).stderr(Stdio::null()).status();
        }
    }
}

/// A program that runs beside the test; ended when dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    let _ = child.kill();
    child.wait().unwrap();
}

/// Makes a mount namespace in which the user has an entry in the list of users.
fn make_namespace(world: &World) -> Running {
    let (user, home) = (crate::support::USER, world.path("home"));
    let entry = format!("tester:x:{user}:{user}::{}:/bin/sh\n", home.display());
    let users = world.path("passwd");
    std::fs::write(&users, std::fs::read_to_string("/etc/passwd").unwrap() + &entry).unwrap();
    let mut command = Command::new("unshare");
    // It ends with the test in any case: then nobody writes to it any more.
    let script = "mount --bind \"$0\" /etc/passwd && echo made && exec cat";
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(users);
    let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "made\n");
    Running(process)
}

/// A file of tests/bus.
pub fn resource(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/bus").join(name)
}

/// A call of a method by `gdbus`, a client that tells what was refused and why.
pub fn call(bus: &str, name: &str, path: &str, method: &str) -> String {
    format!("gdbus call --{bus} -t 10 -d {name} -o {path} -m {method}")
}

/// Installs a package whose apps run their arguments in a shell: one app for each name and its plugs and slots, as a
/// manifest has them; `rest` is what else the manifest has. The scripts of tests/bus lie in it.
pub fn install_runner(world: &World, package: &str, apps: &[(&str, &str)], rest: &str) {
    let apps: String =
        apps.iter().map(|(name, plugs)| format!("  {name}: {{command: bin/run, {plugs}}}\n")).collect();
    let manifest = format!(
        "name: {package}\nversion: '1'\nbase: host\napps:\n{apps}{rest}\
         parts:\n  all: {{plugin: dump, source: files}}\n"
    );
    let mut files = vec![("bin/run".to_owned(), "#!/bin/sh\nexec sh -c \"$@\"\n".to_owned())];
    for entry in std::fs::read_dir(resource("")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.push((name, std::fs::read_to_string(&path).unwrap()));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    world.project(package, &manifest, &files);
    world.install(package);
}
