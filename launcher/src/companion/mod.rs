//! Companions: what runs beside an app, outside of its sandbox, and filters what one of its plugs gives.
//!
//! ```text
//!            ┌── fork ──▶ companion      gives everything up, and waits
//! launcher ──┤               ▲ ③ the listening socket, "ready" back
//!            └── clone3 ─▶ first process ① makes the socket inside the new root  ② sends it to the launcher
//!                            │           ④ gets one byte, and only then
//!                            └─▶ the app connects to its own socket; the companion talks to the host's service
//! ```
//!
//! The socket lies in the sandbox alone: there is no path of it outside, nothing to clean up, nothing to find stale. A
//! companion that cannot be started, confined or handed its socket fails the launch: an app never runs with a plug half
//! open. It ends with the launcher, and so with the app.
//!
//! A companion reads what an app sends, so that it is taken to be the app's once there is a fault in it: it has no
//! capability, no file system but what it needs to reach its one service, and some twenty system calls
//! ([`confinement`]).
//!
//! | module | what it filters |
//! |---|---|
//! | [`sound`] | the PulseAudio protocol: playing without recording, and recording without playing |
//! | [`hosts`] | the network: connections to named hosts and ports only |
//! | [`bus`] | message buses: a program of its own, which makes its sockets itself, before the first process starts |
//! | [`wayland`] | no process: the compositor itself serves the socket, and is told that a sandbox is behind it |

mod buffer;
pub mod bus;
pub(crate) mod confinement;
pub mod hosts;
pub(crate) mod process;
pub mod sound;
pub mod wayland;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pack_schemas::plan::{Companion, Content, Network, Plan};

use crate::sandbox::StepError;
use process::Running;

/// The companions of a launch. They end when this is dropped, and with the launcher.
#[derive(Debug)]
pub(crate) struct Companions {
    /// What is to stand behind the sandbox's sockets, in the order of the plan, and the proxy last.
    behind: Vec<Behind>,
    /// What compositors serve.
    registered: Vec<wayland::Registered>,
    /// What filters message buses.
    filter: Option<bus::Filter>,
}

/// What is to stand behind a socket.
#[derive(Debug)]
enum Behind {
    Process(Running),
    Compositor { server: String, app: String, instance: String },
}

/// Whether the sandbox makes the socket, and hands it over.
pub(crate) fn is_handed_over(companion: &Companion) -> bool {
    match companion {
        Companion::Sound { .. } | Companion::Wayland { .. } => true,
        Companion::Bus { .. } => false,
    }
}

impl Companions {
    /// Starts what the plan asks for. `log` takes what the filter of the buses tells of messages, where that is wanted. The
    /// calling process must have one thread.
    ///
    /// # Errors
    /// [`StepError`] where one cannot be started.
    pub(crate) fn start(plan: &Plan, log: Option<BorrowedFd<'_>>) -> Result<Companions, StepError> {
        let mut behind = Vec::new();
        for entry in &plan.root {
            if let Content::Companion { companion } = &entry.content {
                behind.extend(start(companion, plan)?);
            }
        }
        if let Network::Hosts { hosts, ports, .. } = &plan.network {
            behind.push(Behind::Process(hosts::start(&hosts::Rules::new(hosts, ports))?));
        }
        Ok(Companions { behind, registered: Vec::new(), filter: bus::start(plan, log)? })
    }

    /// What filters message buses, where the plan has one.
    pub(crate) fn filter(&self) -> Option<&bus::Filter> {
        self.filter.as_ref()
    }

    /// Ends them, and leaves nothing behind.
    pub(crate) fn end(self) {
        if let Some(filter) = self.filter {
            filter.end();
        }
    }

    /// Hands the sockets of the sandbox over, which come in the order of the plan, and waits until all are served.
    ///
    /// # Errors
    /// [`StepError`] where one is not; and where there are more or fewer than the plan has.
    pub(crate) fn hand_over(&mut self, listeners: &[OwnedFd]) -> Result<(), StepError> {
        if listeners.len() != self.behind.len() {
            let problem = std::io::Error::from_raw_os_error(libc::EPROTO);
            return Err(StepError::new("hand the sockets of the sandbox over", None, &problem));
        }
        for (listener, behind) in listeners.iter().zip(&self.behind) {
            match behind {
                Behind::Process(running) => running.hand_over(listener.as_fd())?,
                Behind::Compositor { server, app, instance } => {
                    self.registered.push(wayland::register(server, listener.as_fd(), app, instance)?);
                }
            }
        }
        Ok(())
    }
}

fn start(companion: &Companion, plan: &Plan) -> Result<Option<Behind>, StepError> {
    match companion {
        Companion::Sound { server, cookie, play, record } => {
            let rights = sound::Rights { play: play.is_some(), record: record.is_some() };
            let server = sound::Server::new(server, cookie.as_deref());
            sound::start(&server, rights).map(Behind::Process).map(Some)
        }
        Companion::Wayland { server } => {
            let identity = plan.identity.as_ref();
            Ok(Some(Behind::Compositor {
                server: server.clone(),
                app: identity.map_or_else(|| plan.package.desktop_id(), |identity| identity.id.clone()),
                instance: identity.map(|identity| identity.instance.clone()).unwrap_or_default(),
            }))
        }
        Companion::Bus { .. } => Ok(None),
    }
}
