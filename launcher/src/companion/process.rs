//! The process of a companion: how it starts, what it leaves behind, and how it is handed its socket.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;

use crate::keeper::replace_streams;
use crate::sandbox::privileges::Proc;
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::{channel, command_line, end_with_launcher};
use crate::sys;
use crate::sys::clone::{Side, exit_now};

/// The message that the listening socket comes with.
const LISTEN: &[u8] = b"listen";
/// The answer when the companion serves.
const READY: &[u8] = b"ready";
/// Exit status where something failed.
const FAILED: i32 = 1;

/// A companion that runs, as its launcher knows it. It ends when this is dropped, and with the launcher.
#[derive(Debug)]
pub struct Running {
    name: &'static str,
    channel: OwnedFd,
}

/// How a companion is started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start<'a> {
    /// What ps(1) shows; it shows 15 letters.
    pub(crate) name: &'static str,
    /// Namespaces of its own: CLONE_NEW….
    pub(crate) namespaces: i32,
    /// Descriptors that it needs.
    pub(crate) kept: &'a [BorrowedFd<'a>],
}

impl Start<'_> {
    /// Starts a process that runs `body`, with its end of the channel to the launcher. The calling process must have one
    /// thread. The process ends when `body` comes back; an error of its is told to the launcher before.
    ///
    /// # Errors
    /// The kernel's, with the step.
    pub(crate) fn run(
        self,
        body: impl FnOnce(&OwnedFd) -> Result<(), StepError>,
    ) -> Result<Running, StepError> {
        let (ours, theirs) = channel::pair().step("make a channel")?;
        let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        match sys::clone::clone_process(self.namespaces as u64).step_on("start the companion", self.name)? {
            Side::Parent { .. } => Ok(Running { name: self.name, channel: ours }),
            Side::Child => {
                let result = self.leave_behind(&theirs, user).and_then(|()| body(&theirs));
                exit_now(match result {
                    Ok(()) => 0,
                    Err(error) => {
                        // The launcher may be gone.
                        let _ = channel::send(&theirs, &serde_json::to_vec(&error).unwrap_or_default(), &[]);
                        FAILED
                    }
                })
            }
        }
    }

    /// Leaves behind what was inherited, and sees to it that the process ends when the launcher ends.
    fn leave_behind(&self, channel: &OwnedFd, user: (u32, u32)) -> Result<(), StepError> {
        replace_streams()?;
        let mut kept = vec![channel.as_fd()];
        kept.extend_from_slice(self.kept);
        sys::descriptors::close_all_but(&kept).step("close inherited descriptors")?;
        // Away from the terminal, whose signals are for the app.
        rustix::process::setsid().step("begin a session")?;
        nix::sys::signal::SigSet::empty().thread_set_mask().step("unblock signals")?;
        // For people who look at processes; without it they see the launcher's name.
        if let Ok(name) = CString::new(self.name) {
            let _ = rustix::thread::set_name(&name);
        }
        command_line::overwrite(self.name).step("replace the command line")?;
        if self.namespaces & libc::CLONE_NEWUSER != 0 {
            Proc::open()?.map_ids(user, user)?;
        }
        end_with_launcher(channel)
    }
}

impl Running {
    /// The channel to it.
    pub(crate) fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    /// Hands a listening socket over, and waits until the companion serves it.
    ///
    /// # Errors
    /// What the companion says has failed; and where it has ended without a word.
    pub fn hand_over(&self, listener: BorrowedFd<'_>) -> Result<(), StepError> {
        let step = |error: std::io::Error| StepError::new("hand the socket to", Some(self.name), &error);
        let gone = || step(std::io::Error::from_raw_os_error(libc::ESRCH));
        // One that has failed before has left word of what failed.
        let sent = channel::send(&self.channel, LISTEN, &[listener]);
        let answer = match channel::receive(&self.channel) {
            // A companion that ends without having read resets the connection, once.
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => channel::receive(&self.channel),
            answer => answer,
        };
        match answer.map_err(step)? {
            Some(message) if message.bytes == READY => Ok(()),
            Some(message) => Err(serde_json::from_slice(&message.bytes).unwrap_or_else(|_| gone())),
            None => Err(sent.err().map_or_else(gone, step)),
        }
    }
}

/// Waits for the listening socket, in the companion.
pub(crate) fn receive_listener(channel: &OwnedFd) -> Result<OwnedFd, StepError> {
    let step = "receive the listening socket";
    let message = channel::receive(channel).step(step)?.filter(|message| message.bytes == LISTEN);
    // Where the channel is closed the launcher has given up.
    let listener = message.and_then(|message| message.descriptors.into_iter().next());
    listener.ok_or_else(|| std::io::Error::from_raw_os_error(libc::EPIPE)).step(step)
}

/// Tells the launcher that the companion serves.
pub(crate) fn tell_ready(channel: &OwnedFd) -> Result<(), StepError> {
    channel::send(channel, READY, &[]).step("tell the launcher that the companion serves")
}

/// How long a socket is left alone from which a connection could not be taken, or the service of which has no room for
/// another, in milliseconds.
pub(crate) const AGAIN_MS: u64 = 10;

/// Takes a connection of the app's, if there is one.
///
/// # Errors
/// The kernel's, where descriptors or memory have run out: trying again at once would keep a processor busy.
pub(crate) fn accept(listener: &OwnedFd) -> std::io::Result<Option<OwnedFd>> {
    use rustix::io::Errno;
    match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
        Ok(connection) => Ok(Some(connection)),
        // It was taken back.
        Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What is waited for, in the order in which it was asked for.
pub(crate) struct Waiting<'a> {
    polled: Vec<PollFd<'a>>,
}

impl<'a> Waiting<'a> {
    /// Begins with the channel to the launcher: [`Waiting::wait`] ends where that is closed.
    pub(crate) fn new(channel: &'a OwnedFd) -> Waiting<'a> {
        Waiting { polled: vec![PollFd::new(channel, PollFlags::empty())] }
    }

    /// Asks for `events` on a descriptor; the end of it is told in any case.
    pub(crate) fn add(&mut self, descriptor: &'a impl AsFd, events: PollFlags) {
        self.polled.push(PollFd::new(descriptor, events));
    }

    /// Waits until something happens, or `timeout_ms` have passed; gives what happened to each, or nothing where the
    /// launcher has ended.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn wait(mut self, timeout_ms: Option<u64>) -> std::io::Result<Option<Vec<PollFlags>>> {
        let timeout = timeout_ms.map(|ms| Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: (ms % 1000 * 1_000_000) as _,
        });
        match poll(&mut self.polled, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Some(vec![PollFlags::empty(); self.polled.len() - 1])),
            Err(error) => return Err(error.into()),
        }
        let launcher = self.polled[0].revents();
        if launcher.intersects(PollFlags::HUP | PollFlags::ERR) {
            return Ok(None);
        }
        Ok(Some(self.polled[1..].iter().map(PollFd::revents).collect()))
    }
}
