//! One connection of an app's, from its request to the last byte.
//!
//! ```text
//! asking ──▶ resolving ──▶ connecting ──▶ relaying
//!    └───────────┴─────────────┴──▶ refusing: the reason is told, then the connection closed
//! ```

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, connect, shutdown, socket_with, sockopt::socket_error,
};

use super::request::{self, Asked, Failure, HEAD_MOST, Speech, Target};
use super::resolver::Resolver;
use super::routes::{Routes, Way};
use super::rules::{Host, Rules};
use crate::companion::buffer::{Buffer, Flow};

/// How long an app may take to ask, and to hear that it is refused.
const ASKING: Duration = Duration::from_secs(30);
/// How long a name may take.
const RESOLVING: Duration = Duration::from_secs(20);
/// How long an address may take, where another follows and where it is the last.
const CONNECTING: Duration = Duration::from_secs(5);
const CONNECTING_LAST: Duration = Duration::from_secs(20);
/// How long one direction may stay open alone.
const HALF_OPEN: Duration = Duration::from_secs(120);
/// More bytes than this wait to be written in one direction: nothing more is read.
const WAITING_MOST: usize = 128 << 10;

/// Where a connection stands.
enum State {
    Asking { greeted: bool },
    Resolving { question: u32, target: Target },
    Connecting { target: Target, host: OwnedFd, left: VecDeque<IpAddr> },
    Relaying { host: OwnedFd, ends: Ends },
    Refusing,
}

/// Which sides have said that nothing more comes from them, and which were told so.
#[derive(Default)]
struct Ends {
    app: bool,
    host: bool,
    host_told: bool,
    app_told: bool,
}

/// What every connection needs.
pub(super) struct Common<'a> {
    pub(super) rules: &'a Rules,
    pub(super) resolver: &'a Resolver,
    pub(super) routes: &'a Routes,
    /// The number of the last question.
    pub(super) questions: u32,
}

/// A connection.
pub(super) struct Connection {
    app: OwnedFd,
    /// From the app.
    up: Buffer,
    /// To the app.
    down: Buffer,
    state: State,
    until: Option<Instant>,
}

impl Connection {
    pub(super) fn new(app: OwnedFd) -> Connection {
        let until = Some(Instant::now() + ASKING);
        Connection {
            app,
            up: Buffer::default(),
            down: Buffer::default(),
            state: State::Asking { greeted: false },
            until,
        }
    }

    pub(super) fn app(&self) -> &OwnedFd {
        &self.app
    }

    /// The connection to the host, where there is one, or one begun.
    pub(super) fn host(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Connecting { host, .. } | State::Relaying { host, .. } => Some(host),
            State::Asking { .. } | State::Resolving { .. } | State::Refusing => None,
        }
    }

    /// Until when something has to happen.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// What is waited for on the app's side, and on the host's.
    pub(super) fn wanted(&self) -> [PollFlags; 2] {
        let mut wanted = [PollFlags::empty(); 2];
        wanted[0].set(PollFlags::OUT, !self.down.is_empty());
        wanted[0].set(PollFlags::IN, self.reads_app());
        match &self.state {
            State::Connecting { .. } => wanted[1] = PollFlags::OUT,
            State::Relaying { .. } => {
                wanted[1].set(PollFlags::OUT, !self.up.is_empty());
                wanted[1].set(PollFlags::IN, self.reads_host());
            }
            State::Asking { .. } | State::Resolving { .. } | State::Refusing => {}
        }
        wanted
    }

    fn reads_app(&self) -> bool {
        match &self.state {
            State::Asking { .. } => self.up.len() <= HEAD_MOST,
            State::Resolving { .. } | State::Connecting { .. } => false,
            State::Relaying { ends, .. } => !ends.app && self.up.len() < WAITING_MOST,
            State::Refusing => true,
        }
    }

    fn reads_host(&self) -> bool {
        matches!(&self.state, State::Relaying { ends, .. } if !ends.host && self.down.len() < WAITING_MOST)
    }

    /// Does what can be done after something happened on the two sides, or time has passed; says whether the connection
    /// goes on.
    pub(super) fn attend(&mut self, happened: [PollFlags; 2], common: &mut Common<'_>) -> io::Result<bool> {
        let gone = PollFlags::HUP | PollFlags::ERR;
        // An app that is gone while nothing is read of it would be told again and again.
        if happened[0].intersects(gone) && !self.reads_app() {
            return Ok(false);
        }
        if !happened[0].is_empty() && self.reads_app() && self.up.read_from(&self.app)? == Flow::Ended {
            match &mut self.state {
                State::Relaying { ends, .. } => ends.app = true,
                _ => return Ok(false),
            }
        }
        match &self.state {
            State::Asking { greeted } => self.hear(*greeted, common),
            State::Connecting { .. } if !happened[1].is_empty() => self.see_whether_connected(),
            State::Relaying { host, .. } => {
                if happened[1].intersects(gone) && !self.reads_host() {
                    return Ok(false);
                }
                if !happened[1].is_empty() && self.reads_host() && self.down.read_from(host)? == Flow::Ended {
                    self.host_ended();
                }
            }
            State::Refusing => self.up = Buffer::default(),
            State::Resolving { .. } | State::Connecting { .. } => {}
        }
        if self.until.is_some_and(|until| until <= Instant::now()) && !self.run_out_of_time() {
            return Ok(false);
        }
        self.write()
    }

    fn host_ended(&mut self) {
        if let State::Relaying { ends, .. } = &mut self.state {
            ends.host = true;
        }
    }

    /// Writes what there is, and tells a side that nothing more comes from the other.
    fn write(&mut self) -> io::Result<bool> {
        if self.down.write_to(&self.app)? == Flow::Ended {
            return Ok(false);
        }
        match &mut self.state {
            State::Relaying { host, ends } => {
                if self.up.write_to(&*host)? == Flow::Ended {
                    return Ok(false);
                }
                if ends.app && self.up.is_empty() && !ends.host_told {
                    ends.host_told = true;
                    shutdown(&*host, Shutdown::Write)?;
                    self.until = Some(Instant::now() + HALF_OPEN);
                }
                if ends.host && self.down.is_empty() && !ends.app_told {
                    ends.app_told = true;
                    shutdown(&self.app, Shutdown::Write)?;
                    self.until = Some(Instant::now() + HALF_OPEN);
                }
                Ok(!(ends.host_told && ends.app_told))
            }
            State::Refusing if self.down.is_empty() => {
                // Closed at once, with something of the app's unread, the answer could be lost (RFC 9112, section 9.6).
                match shutdown(&self.app, Shutdown::Write) {
                    Ok(()) => Ok(true),
                    Err(_) => Ok(false),
                }
            }
            _ => Ok(true),
        }
    }

    /// Says whether the connection goes on.
    fn run_out_of_time(&mut self) -> bool {
        match &self.state {
            State::Asking { .. } | State::Relaying { .. } | State::Refusing => false,
            State::Resolving { target, .. } => {
                let (speech, to) = (target.speech, name_of(target));
                self.refuse(speech, Failure::TooSlow, &to);
                true
            }
            State::Connecting { .. } => {
                self.try_next(Failure::TooSlow);
                true
            }
        }
    }

    /// Reads what the app asks for.
    fn hear(&mut self, greeted: bool, common: &mut Common<'_>) {
        match request::read(self.up.bytes(), greeted) {
            Asked::Unfinished => {}
            Asked::Greeting { length, open } => {
                self.up.consume(length);
                self.down.push(request::greet(open));
                if open {
                    self.state = State::Asking { greeted: true };
                    self.hear(true, common);
                } else {
                    self.begin_refusing();
                }
            }
            Asked::Malformed(speech) => self.refuse(speech, Failure::Malformed, ""),
            Asked::Connection(target) => self.decide(target, common),
        }
    }

    fn decide(&mut self, target: Target, common: &mut Common<'_>) {
        self.up.consume(target.length);
        if !common.rules.allow(&target.host, target.port) {
            return self.refuse(target.speech, Failure::NotAllowed, &name_of(&target));
        }
        match &target.host {
            Host::Address(address) => {
                let left = VecDeque::from([*address]);
                self.connect(target, left, Failure::Unreachable);
            }
            Host::Name(name) => {
                common.questions = common.questions.wrapping_add(1);
                let question = common.questions;
                if common.resolver.ask(question, name).is_err() {
                    return self.refuse(target.speech, Failure::TooSlow, &name_of(&target));
                }
                self.state = State::Resolving { question, target };
                self.until = Some(Instant::now() + RESOLVING);
            }
        }
    }

    /// Takes the answer to a question of this connection's; says whether it was.
    pub(super) fn take_answer(&mut self, question: u32, addresses: &[IpAddr], common: &Common<'_>) -> bool {
        if !matches!(&self.state, State::Resolving { question: own, .. } if *own == question) {
            return false;
        }
        let State::Resolving { target, .. } = std::mem::replace(&mut self.state, State::Refusing) else {
            return false;
        };
        let Host::Name(name) = &target.host else { return false };
        let (mut left, mut failure) = (VecDeque::new(), Failure::NoSuchHost);
        for address in addresses {
            match common.rules.way(name, *address, |address| common.routes.way(address)) {
                Way::Out => left.push_back(*address),
                Way::Inside => failure = Failure::Inside,
                Way::Nowhere if failure != Failure::Inside => failure = Failure::Unreachable,
                Way::Nowhere => {}
            }
        }
        self.connect(target, left, failure);
        true
    }

    /// Begins to connect to the first address that can be tried.
    fn connect(&mut self, target: Target, mut left: VecDeque<IpAddr>, mut failure: Failure) {
        while let Some(address) = left.pop_front() {
            failure = Failure::Unreachable;
            if let Ok(host) = begin(SocketAddr::new(address, target.port)) {
                let patience = if left.is_empty() { CONNECTING_LAST } else { CONNECTING };
                self.until = Some(Instant::now() + patience);
                self.state = State::Connecting { target, host, left };
                return;
            }
        }
        self.refuse(target.speech, failure, &name_of(&target));
    }

    fn try_next(&mut self, failure: Failure) {
        if let State::Connecting { target, left, .. } = std::mem::replace(&mut self.state, State::Refusing) {
            self.connect(target, left, failure);
        }
    }

    fn see_whether_connected(&mut self) {
        let State::Connecting { host, .. } = &self.state else { return };
        match socket_error(host) {
            Ok(Ok(())) => {}
            _ => return self.try_next(Failure::Unreachable),
        }
        if let State::Connecting { target, host, .. } = std::mem::replace(&mut self.state, State::Refusing) {
            self.down.push(request::connected(target.speech));
            let behind = std::mem::take(&mut self.up);
            self.up.push(&target.head);
            self.up.push(behind.bytes());
            self.until = None;
            self.state = State::Relaying { host, ends: Ends::default() };
        }
    }

    fn refuse(&mut self, speech: Speech, failure: Failure, to: &str) {
        self.down.push(&request::refused(speech, failure, to));
        self.begin_refusing();
    }

    fn begin_refusing(&mut self) {
        self.state = State::Refusing;
        self.until = Some(Instant::now() + ASKING);
    }
}

fn name_of(target: &Target) -> String {
    match target.host {
        Host::Address(IpAddr::V6(_)) => format!("[{}]:{}", target.host, target.port),
        Host::Name(_) | Host::Address(IpAddr::V4(_)) => format!("{}:{}", target.host, target.port),
    }
}

fn begin(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(socket.as_fd(), &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
