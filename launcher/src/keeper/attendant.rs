//! What the keeper's first thread does: lends the mount, and knows when to end.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};
use rustix::process::Pid;

use super::mount::Connection;
use super::place::Entrance;
use super::report::Reporter;
use super::{DONE, MOUNT};
use crate::sandbox::channel;
use crate::sandbox::step::{InStep, StepError};

/// Most launches that use one keeper at once; the next one starts another.
const CLIENTS_MOST: usize = 512;

/// Looks after the launches that use a keeper.
pub(super) struct Attendant<'a> {
    connection: &'a Connection,
    /// The answer to who asks for the mount.
    answer: Vec<u8>,
    reporter: &'a Reporter,
    /// Where launches come in; nothing where nobody can, or may any more.
    listener: Option<OwnedFd>,
    /// Readable once the listener's name is gone.
    lease: Option<OwnedFd>,
    linger: Duration,
    clients: Vec<Client>,
    /// Since when no client uses the mount.
    idle: Option<Instant>,
}

/// A launch that is connected.
struct Client {
    channel: Arc<OwnedFd>,
    /// Whether it has asked for the mount. Who only connects may be somebody who looks for sockets that are left over, and
    /// does not keep the mount.
    uses: bool,
}

/// What there is to do.
struct Ready {
    arrivals: bool,
    lease_gone: bool,
    /// For each client, in their order.
    clients: Vec<bool>,
}

impl<'a> Attendant<'a> {
    /// `process` is the number of the keeper's process; `first` the launch that started it.
    pub(super) fn new(
        connection: &'a Connection,
        process: Pid,
        reporter: &'a Reporter,
        first: OwnedFd,
        entrance: Option<Entrance>,
        linger: Duration,
    ) -> Attendant<'a> {
        let answer = [DONE, process.to_string().as_bytes()].concat();
        let (listener, lease) = entrance.map(|Entrance { listener, lease }| (listener, lease)).unzip();
        let clients = Vec::new();
        let mut attendant =
            Attendant { connection, answer, reporter, listener, lease, linger, clients, idle: None };
        // It is about to ask.
        attendant.add(first, true);
        attendant
    }

    fn add(&mut self, channel: OwnedFd, uses: bool) {
        let channel = Arc::new(channel);
        self.reporter.add(&channel);
        self.clients.push(Client { channel, uses });
    }

    /// Attends until nobody has used the mount for the time to linger.
    pub(super) fn run(mut self) -> Result<(), StepError> {
        loop {
            let ready = self.wait()?;
            self.hear(&ready.clients);
            if ready.arrivals {
                self.let_in();
            }
            if ready.lease_gone {
                self.lease = None;
                self.linger = Duration::ZERO;
            }
            if self.is_over() {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<Ready, StepError> {
        let waited = [&self.listener, &self.lease].into_iter().flatten();
        let clients = self.clients.iter().map(|client| &*client.channel);
        let mut polled: Vec<PollFd<'_>> =
            waited.chain(clients).map(|descriptor| PollFd::new(descriptor, PollFlags::IN)).collect();
        // Once it lets nobody in, it ends with the last client, whenever that is.
        let idle = self.idle.filter(|_| self.listener.is_some());
        let left = idle.map(|since| self.linger.saturating_sub(since.elapsed()));
        let left = left.map(|left| Timespec {
            tv_sec: left.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: left.subsec_nanos().into(),
        });
        match poll(&mut polled, left.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for launches"),
        }
        let mut happened = polled.iter().map(|polled| !polled.revents().is_empty());
        let mut next = |there: bool| there && happened.next().unwrap_or(false);
        let (arrivals, lease_gone) = (next(self.listener.is_some()), next(self.lease.is_some()));
        Ok(Ready { arrivals, lease_gone, clients: happened.collect() })
    }

    /// Lends the mount to whoever asks, and forgets who has gone.
    fn hear(&mut self, ready: &[bool]) {
        let mut ready = ready.iter();
        let (connection, answer, reporter) = (self.connection, &self.answer, self.reporter);
        self.clients.retain_mut(|client| {
            if !ready.next().is_some_and(|ready| *ready) {
                return true;
            }
            let stays = lend(connection, answer, &client.channel);
            client.uses |= stays;
            if !stays {
                reporter.remove(&client.channel);
            }
            stays
        });
    }

    fn let_in(&mut self) {
        while let Some(listener) = &self.listener {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(channel) if self.clients.len() < CLIENTS_MOST => self.add(channel, false),
                // Closed at once.
                Ok(_) => {}
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // Descriptors have run out. Who waits there is refused, and starts another keeper in the place of this one;
                // to leave them waiting would make poll(2) return at once, for ever.
                Err(_) => self.listener = None,
            }
        }
    }

    /// Whether the keeper is to end. In the end it shuts the way in, and looks once more for those who came before:
    /// from then on the kernel refuses whoever connects (unix_stream_connect in net/unix/af_unix.c).
    fn is_over(&mut self) -> bool {
        if self.clients.iter().any(|client| client.uses) {
            self.idle = None;
            return false;
        }
        let idle = *self.idle.get_or_insert_with(Instant::now);
        if self.listener.is_none() {
            return self.clients.is_empty();
        }
        if idle.elapsed() < self.linger {
            return false;
        }
        if let Some(listener) = &self.listener {
            let _ = shutdown(listener, Shutdown::Read);
        }
        self.let_in();
        self.listener = None;
        self.clients.is_empty()
    }
}

/// Hears one message; false where the client is to be forgotten.
fn lend(connection: &Connection, answer: &[u8], client: &OwnedFd) -> bool {
    match channel::receive(client) {
        // Who asks and does not read is not waited for.
        Ok(Some(message)) if message.bytes == MOUNT => {
            channel::send_at_once(client, answer, &connection.descriptors()).is_ok()
        }
        // Another version's word, or none at all.
        Ok(_) => false,
        Err(error) => error.kind() == std::io::ErrorKind::Interrupted,
    }
}
