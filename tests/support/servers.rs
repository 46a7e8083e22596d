//! Servers of a user's session, started by a test as the user and ended with it.
#![allow(dead_code)] // Each test file uses a part.

use std::process::{Child, Command, Stdio};

use crate::support::{World, eventually};

/// A server; ended, by its process id, when dropped.
pub struct Server(Child);

impl Server {
    /// Starts a program. What it writes goes to a file of its name in the home.
    pub fn start(world: &World, mut command: Command) -> Server {
        let name = command.get_args().skip_while(|word| *word != "--").nth(1).unwrap_or_default();
        let log = std::path::Path::new(name).file_name().unwrap_or_default().to_owned();
        let log = std::fs::File::create(world.path("tmp").join(log)).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Server(command.spawn().unwrap())
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it now.
    pub fn end(self) {
        drop(self);
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// PulseAudio with a sink that is heard by nobody but its monitor, `quiet`.
pub fn pulseaudio(world: &World) -> Server {
    let mut command = world.command("pulseaudio");
    command.args(["-n", "--daemonize=no", "--exit-idle-time=-1", "--log-target=stderr"]);
    command.args(["-L", "module-null-sink sink_name=quiet", "-L", "module-native-protocol-unix"]);
    let server = Server::start(world, command);
    eventually("the sound server's socket", || {
        let mut info = world.command("pactl");
        info.arg("info").output().unwrap().status.success()
    });
    server
}

/// What a session manager of PipeWire's leaves out where there is no message bus: devices that others may have reserved,
/// and the portal's record of what apps may do.
const WITHOUT_BUS: [(&str, &str); 2] = [
    (
        "main",
        "alsa_monitor.enabled = false\nv4l2_monitor.enabled = false\nlibcamera_monitor.enabled = false\n\
         default_access.properties[\"enable-flatpak-portal\"] = false\n",
    ),
    ("bluetooth", "bluez_monitor.enabled = false\n"),
];

/// PipeWire with its PulseAudio server, a session manager, and a sink that is heard by nobody but its monitor.
pub fn pipewire(world: &World) -> Vec<Server> {
    for (part, settings) in WITHOUT_BUS {
        world.write(&format!(".config/wireplumber/{part}.lua.d/80-no-bus.lua"), settings);
    }
    let mut servers = Vec::new();
    for (program, socket) in
        [("pipewire", "pipewire-0"), ("wireplumber", "pipewire-0"), ("pipewire-pulse", "pulse/native")]
    {
        servers.push(Server::start(world, world.command(program)));
        eventually("the socket of PipeWire", || world.path("run").join(socket).exists());
    }
    eventually("a sink", || {
        let mut load = world.command("pactl");
        load.args(["load-module", "module-null-sink", "sink_name=quiet"]).output().unwrap().status.success()
    });
    eventually("the sink is the default", || {
        let mut info = world.command("pactl");
        let info = info.arg("info").output().unwrap();
        String::from_utf8_lossy(&info.stdout).contains("Default Sink: quiet")
    });
    servers
}
