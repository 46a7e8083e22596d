//! `pack` on a terminal of its own, where it can ask.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use nix::pty::openpty;

use crate::support::World;

/// Runs `pack` to its end on a terminal where `answers` are typed; its status and all that the terminal showed.
pub fn on_terminal(world: &World, arguments: &[&str], answers: &str) -> (Option<i32>, String) {
    let pty = openpty(None, None).unwrap();
    // Whoever else has the master end keeps the terminal from closing.
    rustix::io::fcntl_setfd(&pty.master, rustix::io::FdFlags::CLOEXEC).unwrap();
    let terminal = || Stdio::from(pty.slave.try_clone().unwrap());
    let inner = world.pack(arguments);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(world.environment()).env("TERM", "xterm").current_dir(world.path("home"));
    let mut child = command.stdin(terminal()).stdout(terminal()).stderr(terminal()).spawn().unwrap();
    // The command holds copies of the terminal's end; while it does, the reader below never comes to an end.
    drop(command);
    drop(pty.slave);
    let mut master = File::from(pty.master);
    master.write_all(answers.as_bytes()).unwrap();
    let mut shown = Vec::new();
    let mut buffer = [0; 4096];
    // The last reader of a terminal that nobody has open any more gets EIO.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        shown.extend_from_slice(&buffer[..count]);
    }
    (child.wait().unwrap().code(), String::from_utf8_lossy(&shown).into_owned())
}
