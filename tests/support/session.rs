//! A session of the test's own: a message bus, with the services that Debian's packages start on it.
#![allow(dead_code)] // Each test file uses a part.

use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{World, eventually, is_root, out, succeed};

/// A message bus and all that it started; gone when dropped.
pub struct Session<'a> {
    world: &'a World,
    buses: Vec<Running>,
    variables: Vec<(String, String)>,
}

impl<'a> Session<'a> {
    /// Starts a session bus at its usual place, the runtime folder. Services that it starts have `variables` beside the
    /// user's own.
    pub fn start(world: &'a World, variables: &[(&str, &str)]) -> Session<'a> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut session = Session { world, buses: Vec::new(), variables };
        session.start_bus("bus");
        session
    }

    /// Starts another bus, and has programs of the session, and apps, take it for the system's.
    pub fn start_system_bus(&mut self) {
        let address = self.start_bus("system-bus");
        self.variables.push(("DBUS_SYSTEM_BUS_ADDRESS".to_owned(), address));
    }

    fn start_bus(&mut self, name: &str) -> String {
        let path = self.world.path("run").join(name);
        let address = format!("unix:path={}", path.display());
        let option = format!("--address={address}");
        self.buses.push(self.spawn("dbus-daemon", &["--session", "--nofork", "--nopidfile", &option]));
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
        let mut command = self.world.pack(["run", app, script]);
        command.envs(self.variables.clone());
        command
    }

    /// Starts a program of the host's in the session.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Running {
        let mut command = self.command(program, arguments);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// A program of the host's in the session, not started yet.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = host_command(self.world, program);
        command.args(arguments).envs(self.variables.clone());
        command
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
        // The documents' portal has a mount in the runtime folder.
        let documents = self.world.path("run/doc");
        let _ = Command::new("fusermount3").arg("-uz").arg(documents).stderr(Stdio::null()).status();
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

/// Any program, as the user, in the user's environment, as a desktop starts it: set-uid programs help there, such as the
/// one that the documents' portal mounts its folder with.
fn host_command(world: &World, program: &str) -> Command {
    let mut command;
    if is_root() {
        command = Command::new("setpriv");
        let user = crate::support::USER;
        command.args([
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--clear-groups",
            "--",
            program,
        ]);
    } else {
        command = Command::new(program);
    }
    command.env_clear().envs(world.environment()).current_dir(world.path("home")).stdin(Stdio::null());
    if is_root() {
        command.envs(user_entry(world));
    }
    command
}

/// The user of root's tests has an entry nowhere, and a bus starts for no such user: libnss-wrapper tells of one.
fn user_entry(world: &World) -> [(String, String); 3] {
    let (user, home) = (crate::support::USER, world.path("home"));
    let users = world.path("passwd");
    let groups = world.path("group");
    if !users.exists() {
        let entry = format!("tester:x:{user}:{user}::{}:/bin/sh\n", home.display());
        std::fs::write(&users, format!("root:x:0:0::/root:/bin/sh\n{entry}")).unwrap();
        std::fs::write(&groups, format!("root:x:0:\ntester:x:{user}:\n")).unwrap();
    }
    let text = |path: std::path::PathBuf| path.into_os_string().into_string().unwrap();
    [
        ("LD_PRELOAD".to_owned(), "libnss_wrapper.so".to_owned()),
        ("NSS_WRAPPER_PASSWD".to_owned(), text(users)),
        ("NSS_WRAPPER_GROUP".to_owned(), text(groups)),
    ]
}
