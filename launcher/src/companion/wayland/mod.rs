//! Wayland: the compositor is told that a sandbox is behind an app's socket, and which (security-context-v1).
//!
//! An ordinary client of a compositor may be offered more than windows: pictures of the screen, other clients' windows,
//! the clipboard at any time, input. For a socket that was registered as a sandbox's, the compositor leaves out what it
//! thinks too much. Nothing runs beside the app for it: the compositor itself accepts the connections, for as long as
//! the launcher holds the other end of a pipe.
//!
//! 1. Before the launch the compositor is asked what it has ([`knows_sandboxes`]). Where it has no such protocol, the plan
//!    shows its own socket, as it is, and says so.
//! 2. Where it has, the app's listening socket is registered ([`register`]); if that fails there is no socket at all and
//!    the launch fails: an app is never given more because something went wrong.

mod wire;

use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use crate::sandbox::step::{InStep, StepError};
use wire::{Event, Request, Wire};

/// How long a compositor may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Name of the sandbox's kind; compositors show it and may have rules for it.
const ENGINE: &str = "pack";
/// The global that is looked for, and the version of it that is spoken.
const MANAGER: &[u8] = b"wp_security_context_manager_v1";
const MANAGER_VERSION: u32 = 1;
/// More globals than this are not looked through.
const GLOBALS_MOST: usize = 4096;

/// Objects of the conversation, by the numbers that this side gives them.
mod object {
    pub(super) const DISPLAY: u32 = 1;
    pub(super) const REGISTRY: u32 = 2;
    pub(super) const LISTED: u32 = 3;
    pub(super) const MANAGER: u32 = 4;
    pub(super) const CONTEXT: u32 = 5;
    pub(super) const REGISTERED: u32 = 6;
}

/// Operations: requests and events of each interface are numbered in the order of its definition.
mod operation {
    pub(super) const DISPLAY_SYNC: u16 = 0;
    pub(super) const DISPLAY_GET_REGISTRY: u16 = 1;
    pub(super) const DISPLAY_ERROR: u16 = 0;
    pub(super) const REGISTRY_BIND: u16 = 0;
    pub(super) const REGISTRY_GLOBAL: u16 = 0;
    pub(super) const CALLBACK_DONE: u16 = 0;
    pub(super) const MANAGER_CREATE_LISTENER: u16 = 1;
    pub(super) const CONTEXT_SET_ENGINE: u16 = 1;
    pub(super) const CONTEXT_SET_APP: u16 = 2;
    pub(super) const CONTEXT_SET_INSTANCE: u16 = 3;
    pub(super) const CONTEXT_COMMIT: u16 = 4;
}

/// An app's socket that a compositor serves, until this is dropped.
#[derive(Debug)]
pub struct Registered {
    /// The compositor has the end for reading, and stops listening when it hangs up.
    _open: PipeWriter,
}

/// Asks a compositor whether it can be told of sandboxes.
///
/// # Errors
/// Where nobody answers at the socket, or not as a compositor does.
pub fn knows_sandboxes(server: &str) -> io::Result<bool> {
    Ok(ask(server)?.1.is_some())
}

/// Has the compositor serve `listener` as the socket of an app in a sandbox.
///
/// # Errors
/// Where the compositor does not take it.
pub fn register(
    server: &str,
    listener: BorrowedFd<'_>,
    app: &str,
    instance: &str,
) -> Result<Registered, StepError> {
    let step = "register the app's socket with the Wayland compositor";
    try_to_register(server, listener, app, instance).step_on(step, server)
}

/// Asks for all globals; gives the connection, and the number of the one that is looked for.
fn ask(server: &str) -> io::Result<(Wire, Option<u32>)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connection = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(connection.as_fd(), &SocketAddrUnix::new(server)?)?;
    let mut wire = Wire::new(connection, PATIENCE);
    wire.send(
        vec![
            Request::new(object::DISPLAY, operation::DISPLAY_GET_REGISTRY).number(object::REGISTRY),
            Request::new(object::DISPLAY, operation::DISPLAY_SYNC).number(object::LISTED),
        ],
        &[],
    )?;
    let mut found = None;
    let mut globals = 0;
    wait_for(&mut wire, object::LISTED, |event| {
        if (event.object, event.operation) == (object::REGISTRY, operation::REGISTRY_GLOBAL) {
            let mut arguments = event.arguments();
            let (name, interface) = (arguments.number()?, arguments.text()?);
            if interface == MANAGER {
                found = Some(name);
            }
            globals += 1;
        }
        if globals > GLOBALS_MOST { Err(wire::malformed()) } else { Ok(()) }
    })?;
    Ok((wire, found))
}

fn try_to_register(
    server: &str,
    listener: BorrowedFd<'_>,
    app: &str,
    instance: &str,
) -> io::Result<Registered> {
    let (mut wire, manager) = ask(server)?;
    let manager = manager.ok_or_else(|| io::Error::from_raw_os_error(libc::EOPNOTSUPP))?;
    let (theirs, open) = io::pipe()?;
    let interface = str::from_utf8(MANAGER).unwrap_or_default();
    wire.send(
        vec![
            Request::new(object::REGISTRY, operation::REGISTRY_BIND)
                .number(manager)
                .text(interface)
                .number(MANAGER_VERSION)
                .number(object::MANAGER),
        ],
        &[],
    )?;
    let context = |operation| Request::new(object::CONTEXT, operation);
    wire.send(
        vec![
            Request::new(object::MANAGER, operation::MANAGER_CREATE_LISTENER).number(object::CONTEXT),
            context(operation::CONTEXT_SET_ENGINE).text(ENGINE),
            context(operation::CONTEXT_SET_APP).text(app),
            context(operation::CONTEXT_SET_INSTANCE).text(instance),
            context(operation::CONTEXT_COMMIT),
            Request::new(object::DISPLAY, operation::DISPLAY_SYNC).number(object::REGISTERED),
        ],
        &[listener, theirs.as_fd()],
    )?;
    // The answer to the last request comes after all others were carried out; an error would come instead.
    wait_for(&mut wire, object::REGISTERED, |_| Ok(()))?;
    Ok(Registered { _open: open })
}

/// Hears the compositor until the callback `done` is called; an error of the protocol ends it.
fn wait_for(wire: &mut Wire, done: u32, mut hear: impl FnMut(&Event) -> io::Result<()>) -> io::Result<()> {
    loop {
        let event = wire.receive()?;
        match (event.object, event.operation) {
            (object, operation::CALLBACK_DONE) if object == done => return Ok(()),
            (object::DISPLAY, operation::DISPLAY_ERROR) => return Err(wire::malformed()),
            _ => hear(&event)?,
        }
    }
}
