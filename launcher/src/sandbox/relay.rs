//! Between the user's terminal and the app's own: bytes, size, signals.
//!
//! The app never gets the user's terminal, but one of its own from the sandbox's devpts, in a session of its own: it
//! cannot put characters into the user's input, whatever the kernel's terminal code allows (CVE-2017-5226), and
//! ttyname(3), job control and Ctrl-C work as on any terminal. While the app runs the user's terminal is in raw mode,
//! so that a Ctrl-C goes through as a byte and becomes a signal on the app's side.

use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, WaitId, WaitIdOptions, pidfd_send_signal};
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::companion::Companions;
use crate::keeper::Watch;
use crate::sandbox::channel;
use crate::sandbox::follow::{FOLLOW, Followed};
use crate::sandbox::init::{FILTER, LISTENERS, SERVED, TERMINAL};
use crate::sandbox::refusals::Listener;
use crate::sandbox::step::StepError;

/// How long an app may go on after its terminal was closed, before it is ended.
const GRACE: Duration = Duration::from_secs(5);

/// Which of the launcher's streams are a terminal.
#[derive(Debug, Clone, Copy)]
pub struct HostTerminal {
    streams: [bool; 3],
}

/// How the sandbox started.
pub enum Started {
    /// The app runs, with the master end of its terminal where it has one.
    Running {
        /// The master end.
        master: Option<OwnedFd>,
        /// The mount of the root folder through which files are followed, where they are.
        root: Option<OwnedFd>,
    },
    /// It does not.
    Failed(StepError),
}

impl HostTerminal {
    /// Looks at the standard streams.
    pub fn find() -> Option<HostTerminal> {
        let streams = [0, 1, 2].map(|number| isatty(stream(number)));
        streams.contains(&true).then_some(HostTerminal { streams })
    }

    /// Which of the streams 0, 1 and 2 are a terminal.
    pub fn streams(&self) -> [bool; 3] {
        self.streams
    }

    /// A descriptor to read keys from, if standard input is the terminal.
    fn input(&self) -> Option<BorrowedFd<'static>> {
        self.streams[0].then(|| stream(0))
    }

    /// A descriptor to write to. Where standard input alone is the terminal, what the app's terminal echoes goes there.
    fn output(&self) -> BorrowedFd<'static> {
        stream([1, 2, 0].into_iter().find(|number| self.streams[*number]).unwrap_or(2))
    }

    /// Whether this process may read the terminal and change it now.
    fn is_foreground(&self) -> bool {
        tcgetpgrp(self.output()).is_ok_and(|group| group == rustix::process::getpgrp())
    }
}

fn stream(number: usize) -> BorrowedFd<'static> {
    match number {
        0 => rustix::stdio::stdin(),
        1 => rustix::stdio::stdout(),
        _ => rustix::stdio::stderr(),
    }
}

/// Waits until the app runs or a step has failed: the channel closes when the app's program is executed, and the first
/// process has closed its end.
///
/// # Errors
/// The kernel's; and where the first process ended without a word.
pub fn wait_for_start(
    channel: &OwnedFd,
    watch: &mut Watch<'_>,
    companions: &mut Companions,
    listener: &mut Listener<'_, '_>,
) -> io::Result<Started> {
    let (mut master, mut root) = (None, None);
    loop {
        // The first process reads the package's files, and waits for whoever serves them.
        let wanted: Vec<_> =
            std::iter::once((channel.as_fd(), PollFlags::IN)).chain(listener.wanted()).collect();
        let happened = watch.wait(&wanted, None)?;
        listener.attend(happened.get(1).copied().unwrap_or(PollFlags::empty()));
        if happened[0].is_empty() {
            continue;
        }
        match channel::receive(channel) {
            Ok(Some(message)) if message.bytes == TERMINAL => master = message.descriptors.into_iter().next(),
            Ok(Some(message)) if message.bytes == FOLLOW => root = message.descriptors.into_iter().next(),
            Ok(Some(message)) if message.bytes == LISTENERS => {
                match companions.hand_over(&message.descriptors) {
                    Ok(()) => channel::send(channel, SERVED, &[])?,
                    Err(error) => return Ok(Started::Failed(error)),
                }
            }
            Ok(Some(message)) if message.bytes == FILTER => {
                listener.take(message.descriptors.into_iter().next());
            }
            Ok(Some(message)) => return Ok(Started::Failed(serde_json::from_slice(&message.bytes)?)),
            Ok(None) => return Ok(Started::Running { master, root }),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The sandbox's first process, as the launcher knows it.
pub struct First {
    /// To wait for it and to signal it.
    pub process: OwnedFd,
    /// Its number.
    pub pid: Pid,
    /// Takes one byte, the app's status, when the app has ended and nothing else runs in the sandbox; is closed when
    /// the first process has ended.
    pub ended: PipeReader,
}

impl First {
    /// The number of the app's own process, outside of the sandbox; nothing where it has ended.
    pub fn app(&self) -> Option<u32> {
        let pid = self.pid.as_raw_nonzero();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Waits for the sandbox to end; gives the exit status for the launcher.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self) -> io::Result<u8> {
        let mut status = [0];
        match (&self.ended).read(&mut status)? {
            0 => wait_for_end(&self.process),
            _ => Ok(status[0]),
        }
    }
}

/// Waits for a process to end; gives the exit status for the launcher.
///
/// # Errors
/// The kernel's.
pub fn wait_for_end(first: &OwnedFd) -> io::Result<u8> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(first.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let code =
                    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0));
                return Ok(u8::try_from(code).unwrap_or(u8::MAX));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Passes signals, and the terminal's bytes and size, until the sandbox has ended.
///
/// # Errors
/// The kernel's, from waiting; a terminal that has gone away is no error.
pub fn pass_through(
    first: &First,
    master: Option<OwnedFd>,
    terminal: Option<HostTerminal>,
    signals: &SigSet,
    watch: &mut Watch<'_>,
    listener: &mut Listener<'_, '_>,
    followed: Option<Followed<'_>>,
) -> io::Result<()> {
    let signals = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let_go(terminal.map_or([false; 3], |terminal| terminal.streams))?;
    let terminal = terminal.zip(master);
    let mut relay = Relay { first, terminal, signals, saved: None, pending: Vec::new(), end: None, followed };
    if let Some((_, master)) = &relay.terminal {
        rustix::io::ioctl_fionbio(master, true)?;
    }
    relay.take_terminal(true);
    let result = relay.run(watch, listener);
    relay.give_terminal_back();
    result
}

/// Gives standard input and output up where they are no terminal: whoever is at the other end of a pipe shall see it
/// closed when the app closes it, and not when the launcher ends. Standard error stays, for what goes wrong later.
fn let_go(terminal: [bool; 3]) -> io::Result<()> {
    let null = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for number in [0, 1] {
        if !terminal[number] {
            crate::sys::clone::replace_descriptor(&null, number as i32)?;
        }
    }
    Ok(())
}

struct Relay<'a> {
    first: &'a First,
    terminal: Option<(HostTerminal, OwnedFd)>,
    signals: SignalFd,
    /// The mode of the user's terminal before it was made raw.
    saved: Option<Termios>,
    /// Keys that the app's terminal has not taken yet.
    pending: Vec<u8>,
    /// When the app is ended by force, once its terminal was closed.
    end: Option<Instant>,
    followed: Option<Followed<'a>>,
}

impl Relay<'_> {
    fn run(&mut self, watch: &mut Watch<'_>, listener: &mut Listener<'_, '_>) -> io::Result<()> {
        let mut input_open = true;
        loop {
            let ready = self.wait(input_open, watch, listener)?;
            listener.attend(ready.calls);
            if let Some(followed) = &mut self.followed
                && (ready.changes || followed.due().is_some())
            {
                followed.attend();
            }
            if ready.signals {
                self.pass_signals();
            }
            if ready.input && !self.read_keys() {
                input_open = false;
                self.terminal_closed();
            }
            if ready.master || ready.ended {
                self.write_output();
            }
            if !self.pending.is_empty() {
                self.write_keys();
            }
            if ready.ended {
                return Ok(());
            }
            if self.end.is_some_and(|end| Instant::now() >= end) {
                let _ = pidfd_send_signal(&self.first.process, rustix::process::Signal::KILL);
                self.end = None;
            }
        }
    }

    fn wait(
        &self,
        input_open: bool,
        watch: &mut Watch<'_>,
        listener: &Listener<'_, '_>,
    ) -> io::Result<Ready> {
        let mut wanted =
            vec![(self.first.ended.as_fd(), PollFlags::IN), (self.signals.as_fd(), PollFlags::IN)];
        let mut input_at = None;
        if let Some((terminal, master)) = &self.terminal {
            let keys_wait = !self.pending.is_empty();
            wanted.push((
                master.as_fd(),
                if keys_wait { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN },
            ));
            let keys = terminal.input().filter(|_| input_open && !keys_wait && self.saved.is_some());
            if let Some(input) = keys {
                input_at = Some(wanted.len());
                wanted.push((input, PollFlags::IN));
            }
        }
        let changes_at = self.followed.as_ref().and_then(Followed::wanted).map(|changes| {
            wanted.push(changes);
            wanted.len() - 1
        });
        let calls_at = wanted.len();
        wanted.extend(listener.wanted());
        let due = self.followed.as_ref().and_then(Followed::due);
        let timeout = self.end.into_iter().chain(due).min().map(|end| {
            let left = end.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) + 1 }
        });
        let happened = watch.wait(&wanted, timeout.as_ref())?;
        let any =
            |at: Option<usize>| at.is_some_and(|at| happened.get(at).is_some_and(|flags| !flags.is_empty()));
        // The master end hangs up for as long as nobody has the other end open; reading it then is no news.
        let master =
            self.terminal.is_some() && happened.get(2).is_some_and(|flags| flags.contains(PollFlags::IN));
        let calls = happened.get(calls_at).copied().unwrap_or(PollFlags::empty());
        Ok(Ready {
            ended: any(Some(0)),
            signals: any(Some(1)),
            master,
            input: any(input_at),
            changes: any(changes_at),
            calls,
        })
    }

    fn pass_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            match Signal::try_from(signal.ssi_signo as i32) {
                Ok(Signal::SIGWINCH) => self.pass_size(),
                // Continued in the foreground: the shell may have changed the terminal's mode.
                Ok(Signal::SIGCONT) => self.take_terminal(false),
                Ok(signal) => {
                    if signal == Signal::SIGHUP {
                        self.terminal_closed();
                    }
                    if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
                        let _ = pidfd_send_signal(&self.first.process, signal);
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Where the user's terminal has hung up, the app gets a hang-up signal and a while to end.
    fn terminal_closed(&mut self) {
        let Some((terminal, _)) = &self.terminal else { return };
        let mut polled = [PollFd::from_borrowed_fd(terminal.output(), PollFlags::empty())];
        let asked = poll(&mut polled, Some(&Timespec::default()));
        if asked.is_ok() && polled[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
        {
            let _ = pidfd_send_signal(&self.first.process, rustix::process::Signal::HUP);
            self.end.get_or_insert_with(|| Instant::now() + GRACE);
        }
    }

    /// Reads keys; false when there will be no more.
    fn read_keys(&mut self) -> bool {
        let Some(input) = self.terminal.as_ref().and_then(|(terminal, _)| terminal.input()) else {
            return false;
        };
        let mut keys = [0; 4096];
        match rustix::io::read(input, &mut keys) {
            Ok(0) => false,
            Ok(count) => {
                self.pending.extend_from_slice(&keys[..count]);
                true
            }
            Err(error) => matches!(error, rustix::io::Errno::INTR | rustix::io::Errno::AGAIN),
        }
    }

    fn write_keys(&mut self) {
        let Some((_, master)) = &self.terminal else { return };
        match rustix::io::write(master, &self.pending) {
            Ok(count) => drop(self.pending.drain(..count)),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // The app has closed its terminal: nobody will read these.
            Err(_) => self.pending.clear(),
        }
    }

    /// Writes all that the app's terminal holds to the user's.
    fn write_output(&mut self) {
        let Some((terminal, master)) = &self.terminal else { return };
        let mut bytes = [0; 16 << 10];
        // At most so much at once, so that keys and signals get their turn.
        for _ in 0..16 {
            match rustix::io::read(master, &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => write_all(terminal.output(), &bytes[..count]),
            }
        }
    }

    /// Makes the user's terminal raw, if it is this process's to change, and the app's like what it was.
    fn take_terminal(&mut self, first_time: bool) {
        let Some((terminal, master)) = &self.terminal else { return };
        if let (true, Ok(mode)) = (first_time, tcgetattr(terminal.output())) {
            let _ = tcsetattr(master, OptionalActions::Now, &mode);
        }
        if terminal.input().is_some()
            && terminal.is_foreground()
            && let Ok(mode) = tcgetattr(terminal.output())
        {
            let mut raw = mode.clone();
            raw.make_raw();
            if tcsetattr(terminal.output(), OptionalActions::Now, &raw).is_ok() {
                self.saved.get_or_insert(mode);
            }
        }
        self.pass_size();
    }

    fn give_terminal_back(&mut self) {
        if let (Some((terminal, _)), Some(mode)) = (&self.terminal, self.saved.take()) {
            let _ = tcsetattr(terminal.output(), OptionalActions::Drain, &mode);
        }
    }

    fn pass_size(&self) {
        if let Some((terminal, master)) = &self.terminal
            && let Ok(size) = tcgetwinsize(terminal.output())
        {
            let _ = tcsetwinsize(master, size);
        }
    }
}

/// What there is to do.
struct Ready {
    ended: bool,
    signals: bool,
    master: bool,
    input: bool,
    /// What happened at the listener of the filter.
    calls: PollFlags,
    /// A followed file may have changed.
    changes: bool,
}

/// Writes to the user's terminal, and waits for it where it is slow. One that is gone takes nothing.
fn write_all(output: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(output, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut polled = [PollFd::from_borrowed_fd(output, PollFlags::OUT)];
                let _ = poll(&mut polled, None);
            }
            Err(_) => return,
        }
    }
}
