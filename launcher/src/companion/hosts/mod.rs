//! The network, but for some hosts and ports: a proxy, the only way out of an app's own network namespace.
//!
//! ```text
//!       app's network namespace      │ host
//! app ─▶ 127.0.0.1:PORT ─── listening socket ─── companion ─▶ allowed hosts
//!        nothing else is there       │               └── resolver, a process of its own
//! ```
//!
//! Two walls: the network namespace has a loopback interface and no other, so that there is no way past the proxy; and
//! the proxy connects to what [`Rules`] allow. It speaks HTTP, for requests and for tunnels (CONNECT), and SOCKS 5, told
//! apart by the first byte, and looks names up itself.
//!
//! An allowed name leads to the internet's hosts alone: not to this host, and not to its neighbours ([`routes`]).
//!
//! What goes through a connection is not looked into: an allowed host may pass on what it likes.
//!
//! The companion has no Landlock rule for any file and no call that makes a Unix socket; where ports are limited it can
//! connect to those alone. Looking names up needs more, and has a process of its own ([`resolver`]).

mod connection;
mod request;
mod resolver;
mod routes;
mod rules;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::PollFlags;

use crate::companion::confinement;
use crate::companion::process::{AGAIN_MS, Running, Start, Waiting, accept, receive_listener, tell_ready};
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::syscalls::Test;
use crate::walls::{self, Calls, Left, Ports, argument};
use connection::{Common, Connection};
use resolver::Resolver;
use routes::Routes;
pub use rules::Rules;

/// Most connections of an app at a time; more wait until one has ended.
const CONNECTIONS_MOST: usize = 256;

/// TCP and nothing else: not MPTCP, which Landlock does not know.
const STREAM: Test = Test::Equals((libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) as u32);

/// What the companion calls besides.
const CALLS: Calls = &[
    (
        "socket",
        &[argument(0, Test::Equals(libc::AF_INET as u32)), argument(1, STREAM), argument(2, Test::Equals(0))],
    ),
    (
        "socket",
        &[
            argument(0, Test::Equals(libc::AF_INET6 as u32)),
            argument(1, STREAM),
            argument(2, Test::Equals(0)),
        ],
    ),
    ("getsockopt", &[argument(2, Test::Equals(libc::SO_ERROR as u32))]),
    ("shutdown", &[]),
];

/// Starts the companion. The calling process must have one thread.
///
/// # Errors
/// The kernel's, with the step.
pub fn start(rules: &Rules) -> Result<Running, StepError> {
    Start { name: "pack-hosts", namespaces: 0, kept: &[] }.run(|channel| {
        let resolver = Resolver::start()?;
        let routes = Routes::open().step("ask for the host's routes")?;
        let ports = match rules.ports() {
            [] => Ports::All,
            ports => Ports::Of(ports),
        };
        walls::give_up_rights(Left { ports, ..Left::default() })?;
        confinement::filter_calls(CALLS)?;
        let listener = receive_listener(channel)?;
        tell_ready(channel)?;
        serve(channel, &listener, Common { rules, resolver: &resolver, routes: &routes, questions: 0 })
            .step("pass connections on")
    })
}

/// Serves the app's connections until the launcher ends, or the resolver.
fn serve(channel: &OwnedFd, listener: &OwnedFd, mut common: Common<'_>) -> io::Result<()> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut is_paused = false;
    loop {
        let Some(happened) = wait(channel, listener, &connections, &common, is_paused)? else {
            return Ok(());
        };
        let now = Instant::now();
        let mut sides = happened.of_connections.into_iter();
        connections.retain_mut(|connection| {
            let sides = sides.next().unwrap_or([PollFlags::empty(); 2]);
            let is_late = connection.until().is_some_and(|until| until <= now);
            let nothing = sides.iter().all(|flags| flags.is_empty()) && !is_late;
            // A connection that fails ends alone.
            nothing || connection.attend(sides, &mut common).unwrap_or(false)
        });
        if !happened.resolver.is_empty() {
            let Some(answer) = common.resolver.hear()? else { return Ok(()) };
            connections
                .iter_mut()
                .any(|connection| connection.take_answer(answer.question, &answer.addresses, &common));
        }
        if happened.listener.contains(PollFlags::IN) || is_paused {
            let accepted = accept(listener);
            is_paused = accepted.is_err();
            connections.extend(accepted.ok().flatten().map(Connection::new));
        }
    }
}

/// What happened.
struct Happened {
    listener: PollFlags,
    resolver: PollFlags,
    /// On the app's side and on the host's.
    of_connections: Vec<[PollFlags; 2]>,
}

fn wait(
    channel: &OwnedFd,
    listener: &OwnedFd,
    connections: &[Connection],
    common: &Common<'_>,
    is_paused: bool,
) -> io::Result<Option<Happened>> {
    let mut waiting = Waiting::new(channel);
    let room = connections.len() < CONNECTIONS_MOST && !is_paused;
    waiting.add(listener, if room { PollFlags::IN } else { PollFlags::empty() });
    waiting.add(common.resolver.channel(), PollFlags::IN);
    for connection in connections {
        let [app, host] = connection.wanted();
        waiting.add(connection.app(), app);
        if let Some(socket) = connection.host() {
            waiting.add(socket, host);
        }
    }
    let soonest = connections.iter().filter_map(Connection::until).min();
    let timeout = soonest.map(|until| until.saturating_duration_since(Instant::now()).as_millis() as u64 + 1);
    let again = is_paused.then_some(AGAIN_MS);
    let Some(happened) = waiting.wait(timeout.into_iter().chain(again).min())? else { return Ok(None) };
    let mut happened = happened.into_iter();
    let mut next = || happened.next().unwrap_or(PollFlags::empty());
    let (listener, resolver) = (next(), next());
    let of_connections = connections
        .iter()
        .map(|connection| [next(), connection.host().map_or(PollFlags::empty(), |_| next())]);
    Ok(Some(Happened { listener, resolver, of_connections: of_connections.collect() }))
}
