//! Sound without the microphone, or the microphone without the rest of the sound server: a filter of the PulseAudio
//! protocol, which PipeWire speaks as well.
//!
//! The server itself knows one right, to talk to it: who has that can play, record, listen to what others play, change
//! every volume, end every program's sound and load modules with paths of the user's files. So an app never talks to it:
//! each of its connections ends here, and what [`commands`] names is passed on over one to the server. Data of audio pass
//! in the app's own streams alone. Memory is not shared, and no descriptor is passed on.
//!
//! The app gets no cookie; the companion sends the user's.

mod commands;
mod connection;
mod frame;
mod session;
mod tags;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::companion::buffer::credentials;
use crate::companion::confinement;
use crate::companion::process::{AGAIN_MS, Running, Start, Waiting, accept, receive_listener, tell_ready};
use crate::host::read_small;
use crate::sandbox::root;
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::syscalls::Test;
use crate::walls::{self, Calls, Left, argument};
use connection::Connection;
use session::{COOKIE, Session};

/// What an app may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Play.
    pub play: bool,
    /// Record: from microphones, and what others play.
    pub record: bool,
}

/// The user's sound server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its socket.
    socket: PathBuf,
    /// What the companion gets to see of the host's: the socket, or the folder that holds it and nothing else. A folder
    /// stays right when the server is started anew.
    shown: PathBuf,
    /// The user's cookie.
    cookie: [u8; COOKIE],
}

/// Most connections of an app at a time; more wait until one has ended.
const CONNECTIONS_MOST: usize = 32;
/// Where the socket, or its folder, lies in the companion's own root folder.
const PLACE: &str = "/server";

/// What the companion calls besides.
const CALLS: Calls = &[("socket", &[argument(0, Test::Equals(libc::AF_UNIX as u32))])];

impl Server {
    /// The server of a socket. The cookie is read now; zeros stand for one that cannot be: a server takes programs of the
    /// same user without one.
    pub fn new(socket: &str, cookie: Option<&str>) -> Server {
        let socket = PathBuf::from(socket);
        // The server's own folder. A socket anywhere else may lie among others.
        let own = |folder: &&Path| folder.ends_with("pulse") && socket.ends_with("native");
        let shown = socket.parent().filter(own).unwrap_or(&socket).to_owned();
        let cookie = cookie.and_then(|path| read_small(Path::new(path), COOKIE as u64));
        let cookie = cookie.and_then(|bytes| bytes.try_into().ok()).unwrap_or([0; COOKIE]);
        Server { socket, shown, cookie }
    }
}

/// Starts the companion. The calling process must have one thread.
///
/// # Errors
/// The kernel's, with the step.
pub fn start(server: &Server, rights: Rights) -> Result<Running, StepError> {
    let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWNET | libc::CLONE_NEWIPC;
    Start { name: "pack-sound", namespaces, kept: &[] }.run(|channel| {
        let address = prepare(server)?;
        let own = credentials();
        walls::give_up_rights(Left::default())?;
        confinement::filter_calls(CALLS)?;
        let listener = receive_listener(channel)?;
        tell_ready(channel)?;
        let step = "pass sound on";
        let connect = || connect_to(&address);
        let join = |app, server_side| {
            let session = Session::new(rights, server.cookie);
            Connection::new(app, server_side, session, own)
        };
        serve(channel, &listener, &connect, &join).step(step)
    })
}

/// Leaves the host's tree behind, but for the server's socket; gives its address.
fn prepare(server: &Server) -> Result<SocketAddrUnix, StepError> {
    let shown = server.shown.to_string_lossy();
    root::enter_root_with(&[(&shown, PLACE)])?;
    let inside = match server.socket.strip_prefix(&server.shown) {
        Ok(name) if !name.as_os_str().is_empty() => Path::new(PLACE).join(name),
        _ => PathBuf::from(PLACE),
    };
    SocketAddrUnix::new(inside).step("name the server's socket")
}

/// Serves the app's connections until the launcher ends.
fn serve(
    channel: &OwnedFd,
    listener: &OwnedFd,
    connect: &dyn Fn() -> rustix::io::Result<OwnedFd>,
    join: &dyn Fn(OwnedFd, OwnedFd) -> Connection,
) -> io::Result<()> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut is_paused = false;
    loop {
        let mut waiting = Waiting::new(channel);
        let room = connections.len() < CONNECTIONS_MOST && !is_paused;
        waiting.add(listener, if room { PollFlags::IN } else { PollFlags::empty() });
        for connection in &connections {
            let [app, server] = connection.wanted();
            waiting.add(connection.app(), app);
            waiting.add(connection.server(), server);
        }
        let again = is_paused.then_some(AGAIN_MS);
        let Some(happened) = waiting.wait(again)? else { return Ok(()) };
        let mut pairs = happened[1..].chunks_exact(2);
        connections.retain_mut(|connection| {
            let happened = pairs.next().map_or([PollFlags::empty(); 2], |pair| [pair[0], pair[1]]);
            // A connection that fails ends alone.
            happened.iter().all(|flags| flags.is_empty()) || connection.attend(happened).unwrap_or(false)
        });
        if !happened[0].contains(PollFlags::IN) && !is_paused {
            continue;
        }
        // The app's connection waits in its socket until the server, which lets few wait, has room for another.
        let server = connect();
        is_paused = matches!(server, Err(rustix::io::Errno::AGAIN));
        if is_paused {
            continue;
        }
        match (accept(listener), server) {
            (Ok(Some(app)), Ok(server)) => connections.push(join(app, server)),
            // Without a server it is closed again.
            (Ok(_), _) => {}
            (Err(_), _) => is_paused = true,
        }
    }
}

fn connect_to(address: &SocketAddrUnix) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(socket.as_fd(), address)?;
    Ok(socket)
}
