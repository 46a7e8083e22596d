//! Carries out a plan: the launcher's side of it.
//!
//! ```text
//! launcher ── clone3(new user, mount, pid, ipc, uts, cgroup, net namespace) ──▶ first process (init)
//!    │ ◀── "terminal" + master end, or the step that failed, or nothing ───────────┤
//!    │ passes the terminal's bytes and signals through                             ├─ fork ─▶ the app
//!    └── ends with the app's status ◀── by a pipe, or as the first process's own ──┘
//! ```
//!
//! The launcher ends when nothing runs in the sandbox any more. Where the app was the last process there, the pipe says
//! so, and the kernel takes the namespaces apart while the launcher's caller goes on; else the first process ends
//! first, and every other one with it.
//!
//! The launcher has one thread, changes nothing of its own but the terminal's mode, and stays outside. Whatever ends
//! it ends the sandbox (parent-death signal), and whatever ends the first process ends everything in the sandbox.

pub(crate) mod channel;
pub(crate) mod command_line;
pub(crate) mod follow;
mod init;
pub mod landlock;
pub(crate) mod privileges;
mod program;
pub mod refusals;
pub(crate) mod relay;
pub(crate) mod root;
pub mod seccomp;
pub(crate) mod step;
pub mod syscalls;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use pack_schemas::plan::{Network, Plan, Processes};

use crate::companion::Companions;
use crate::companion::bus::{self, Filter};
use crate::keeper::Watch;
use crate::scope::Scope;
use crate::sys;
use crate::sys::clone::Side;
use follow::Followed;
use init::Task;
pub(crate) use init::end_with_launcher;
use refusals::{Listener, Notice};
use relay::{First, HostTerminal};
pub use root::Images;
use seccomp::Told;
pub use step::StepError;

/// Why an app was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// A step failed.
    #[error("cannot {}{}", .0.step, .0.object.as_ref().map(|object| format!(" `{object}`")).unwrap_or_default())]
    Step(StepError, #[source] io::Error),
    /// The program, or the interpreter that it names, is not in the sandbox.
    #[error("`{program}`, or the interpreter that it names, is not there")]
    NotFound {
        /// Path inside.
        program: String,
    },
    /// The program cannot be executed.
    #[error("`{program}` cannot be executed")]
    NotExecutable {
        /// Path inside.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The app has plugs that use a message bus, and what filters those is not installed.
    #[error("xdg-dbus-proxy, which filters what an app does on a message bus, is not installed")]
    NoBusFilter,
    /// A standard stream is a folder: an app could walk out of its root from there.
    #[error("standard stream {0} is a folder")]
    StreamIsFolder(usize),
}

impl From<StepError> for LaunchError {
    fn from(error: StepError) -> LaunchError {
        if error.step == bus::FIND {
            return LaunchError::NoBusFilter;
        }
        if error.step != init::EXECUTE {
            let cause = error.cause();
            return LaunchError::Step(error, cause);
        }
        let source = error.cause();
        let program = error.object.unwrap_or_default();
        match error.errno {
            libc::ENOENT | libc::ENOTDIR => LaunchError::NotFound { program },
            _ => LaunchError::NotExecutable { program, source },
        }
    }
}

/// Signals that are passed on to the app. SIGKILL and SIGSTOP cannot be; SIGTSTP stops the launcher alone.
const PASSED_ON: &[Signal] =
    &[Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGUSR2];

/// Runs the app of `plan` with `arguments` after the plan's own, and returns its exit status when it has ended: the
/// app's own, or 128 + N where signal N ended it. Standard streams, signals and the terminal's size pass through. `watch`
/// looks after the keepers of the images meanwhile. `notice` says what is noticed of that which the walls refuse.
///
/// The calling process must have one thread, and is about to end: signals of [`PASSED_ON`] stay blocked, and standard
/// input and output are given up, where they are no terminal, once the app has them.
///
/// # Errors
/// [`LaunchError`] where the app was not started; nothing is left behind then.
pub fn run(
    plan: &Plan,
    images: Images,
    arguments: &[OsString],
    watch: &mut Watch<'_>,
    notice: Notice<'_>,
) -> Result<u8, LaunchError> {
    refuse_folders()?;
    let mut listener = Listener::new(plan, notice);
    let terminal = HostTerminal::find();
    let signals = block_signals().map_err(|error| StepError::new("block signals", None, &error))?;
    let log = listener.bus_log().map_err(|error| StepError::new("make a log", None, &error))?;
    let mut companions = Companions::start(plan, log.as_ref().map(AsFd::as_fd))?;
    let mut scope = Scope::find(plan);
    let orders = Orders { told: listener.told(), is_placed: scope.is_waited_for() };
    let result = start(plan, images, arguments, terminal.as_ref(), &companions, orders).and_then(
        |(first, channel)| {
            place(&mut scope, &first, &channel, plan, watch)?;
            let started = relay::wait_for_start(&channel, watch, &mut companions, &mut listener)
                .map_err(|error| StepError::new("start the sandbox", None, &error))?;
            drop(channel);
            if let (Some(filter), Some(app)) = (companions.filter(), first.app()) {
                filter.tell_of(app);
            }
            attend(plan, &first, started, terminal, &signals, watch, &mut listener)
        },
    );
    companions.end();
    result
}

/// What the first process is told to do for the launcher.
struct Orders {
    told: Told<'static>,
    is_placed: bool,
}

/// Has the first process put into its control group, while it makes the root folder, and says so to it.
fn place(
    scope: &mut Scope,
    first: &First,
    channel: &OwnedFd,
    plan: &Plan,
    watch: &mut Watch<'_>,
) -> Result<(), LaunchError> {
    let unenforced = scope.place(first.pid.as_raw_nonzero().get().cast_unsigned(), plan);
    if !unenforced.is_empty() {
        watch.tell(&format!(
            "pack: warning: nothing limits {} of `{}` here: no systemd manager of the user's runs, and no control group is \
             the user's own",
            unenforced.join(" and "),
            plan.package
        ));
    }
    if scope.is_waited_for() {
        // Where it has ended already, its own error tells more.
        let _ = channel::send(channel, init::PLACED, &[]);
    }
    Ok(())
}

/// Starts the sandbox's first process.
fn start(
    plan: &Plan,
    images: Images,
    arguments: &[OsString],
    terminal: Option<&HostTerminal>,
    companions: &Companions,
    orders: Orders,
) -> Result<(First, OwnedFd), LaunchError> {
    let filter = companions.filter();
    let process_file = filter.map(Filter::process_file).transpose()?.flatten();
    let (ours, theirs) = channel::pair().map_err(|error| StepError::new("make a channel", None, &error))?;
    let (ended, status) = io::pipe().map_err(|error| StepError::new("make a pipe", None, &error))?;
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    match sys::clone::clone_process(namespaces(plan)) {
        Ok(Side::Child) => {
            drop((ours, ended));
            let terminal = terminal.map_or([false; 3], |terminal| terminal.streams());
            let sockets = filter.map(|filter| &filter.sockets);
            init::run(Task {
                plan,
                arguments,
                images,
                sockets,
                process_file,
                terminal,
                channel: theirs,
                status,
                user,
                told: orders.told,
                is_placed: orders.is_placed,
            })
        }
        Ok(Side::Parent { pidfd, pid }) => Ok((First { process: pidfd, pid, ended }, ours)),
        Err(error) => Err(StepError::new("make the namespaces", None, &error).into()),
    }
}

/// Accompanies a sandbox that was started to its end.
fn attend(
    plan: &Plan,
    first: &First,
    started: relay::Started,
    terminal: Option<HostTerminal>,
    signals: &SigSet,
    watch: &mut Watch<'_>,
    listener: &mut Listener<'_, '_>,
) -> Result<u8, LaunchError> {
    let failed = match started {
        relay::Started::Failed(error) => Some(error),
        relay::Started::Running { master, root } => {
            let followed = root.map(|root| Followed::new(plan, root));
            relay::pass_through(first, master, terminal, signals, watch, listener, followed)
                .map_err(|error| StepError::new("attend to the app", None, &error))?;
            None
        }
    };
    let status = first.wait().map_err(|error| StepError::new("wait for the app", None, &error))?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(status),
    }
}

/// The namespaces (CLONE_NEW…) that the first process of a plan's sandbox is made in.
pub fn namespaces(plan: &Plan) -> u64 {
    let own = |flag: i32, is_own: bool| if is_own { flag } else { 0 };
    let flags = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP
        | own(libc::CLONE_NEWPID, !matches!(plan.processes, Processes::Shared { .. }))
        | own(libc::CLONE_NEWIPC, plan.shared_memory.is_empty())
        | own(libc::CLONE_NEWNET, !matches!(plan.network, Network::Host { .. }));
    flags as u64
}

/// A descriptor of a folder is a way to everything beside and above it.
fn refuse_folders() -> Result<(), LaunchError> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    for (number, stream) in streams.iter().enumerate() {
        let kind = rustix::fs::fstat(stream).map(|found| rustix::fs::FileType::from_raw_mode(found.st_mode));
        if kind == Ok(rustix::fs::FileType::Directory) {
            return Err(LaunchError::StreamIsFolder(number));
        }
    }
    Ok(())
}

/// Blocks all signals that the launcher reads from a descriptor, before the first process is made, so that none finds
/// it unprepared.
fn block_signals() -> io::Result<SigSet> {
    let mut signals: SigSet = PASSED_ON.iter().copied().collect();
    signals.add(Signal::SIGWINCH);
    signals.add(Signal::SIGCONT);
    let mut blocked = signals;
    blocked.add(Signal::SIGCHLD);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&blocked), None)?;
    Ok(signals)
}
