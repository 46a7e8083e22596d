//! The first process of a sandbox: makes it, starts the app in it, and is its pid 1 until the app ends.
//!
//! 1. It closes what it inherited, and ends when the launcher ends, whatever happens.
//! 2. It becomes user 0 of its user namespace: the kernel makes a devpts only where there is one.
//! 3. Loopback comes up, where the network namespace is its own.
//! 4. The root folder is made and entered ([`crate::sandbox::root`]); further user namespaces are limited, and then the
//!    kernel's settings in /proc closed.
//! 5. A terminal is opened in the sandbox's own devpts, where the launcher's streams are one; its master end goes to
//!    the launcher.
//! 6. Rights are given up ([`crate::sandbox::privileges`]): another user namespace with the user's own id and no
//!    further one below it, no capabilities, `no_new_privs`, Landlock.
//! 7. It cannot be looked into: its command line, which names paths of the host's, is wiped, and it is not dumpable, so
//!    that what it has open, and its memory, are closed to the app.
//! 8. The seccomp filter comes on, for it and for the app.
//! 9. The app is started in a session of its own, on the terminal if there is one, with no descriptor but 0, 1 and 2.
//! 10. It passes signals on to the app's process group and collects every orphan, until the app ends. Where nothing
//!     else is left it tells the launcher; then it ends too, and the kernel ends all that is left in its pid namespace
//!     (pid_namespaces(7)).

use std::ffi::OsString;
use std::io::{self, PipeWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use pack_schemas::plan::{Network, PROXY_PORT, Plan, Processes};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{
    DumpableBehavior, Pid, Resource, WaitOptions, chdir, getrlimit, ioctl_tiocsctty, set_dumpable_behavior,
    setrlimit, setsid,
};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

use crate::companion::bus::instance::tell_process;
use crate::sandbox::channel;
use crate::sandbox::command_line;
use crate::sandbox::follow::FOLLOW;
use crate::sandbox::landlock;
use crate::sandbox::privileges::{self, Proc};
use crate::sandbox::program::Program;
use crate::sandbox::root::{self, Images};
use crate::sandbox::seccomp::{Told, app_filter};
use crate::sandbox::step::{InStep, StepError};
use crate::sys;

/// The step in which the program itself is started; its failure has exit statuses of its own.
pub const EXECUTE: &str = "execute";
/// The message that comes with the master end of the app's terminal.
pub const TERMINAL: &[u8] = b"terminal";
/// The message that comes with the listener of the filter.
pub const FILTER: &[u8] = b"filter";

/// The group of system calls with which an app makes sandboxes of its own, as browsers do.
pub const NESTED_SANDBOX: &str = "nested-sandbox";
/// How many user namespaces there may be then, the app's own among them.
const NESTED_MOST: u32 = 64;

/// The message that comes with the sockets of the companions, in the order of the plan, the proxy's last.
pub const LISTENERS: &[u8] = b"listeners";
/// The launcher's word that this process is in its control group.
pub const PLACED: &[u8] = b"placed";
/// The launcher's answer, when all of them are served.
pub const SERVED: &[u8] = b"served";
/// Connections that wait to be accepted.
pub const BACKLOG: i32 = 128;

/// What the first process is given.
pub struct Task<'a> {
    /// What to carry out.
    pub plan: &'a Plan,
    /// The caller's arguments, after those of the plan.
    pub arguments: &'a [OsString],
    /// The images.
    pub images: Images,
    /// The folder with the sockets of filtered buses.
    pub sockets: Option<&'a OwnedFd>,
    /// Takes the number of the first process, for the desktop portal.
    pub process_file: Option<OwnedFd>,
    /// Which of the streams 0, 1 and 2 become the app's terminal.
    pub terminal: [bool; 3],
    /// To the launcher.
    pub channel: OwnedFd,
    /// Takes the app's status, one byte, once nothing else runs in the sandbox.
    pub status: PipeWriter,
    /// The ids that the user has outside.
    pub user: (u32, u32),
    /// Which calls the launcher is told of.
    pub told: Told<'static>,
    /// Whether the launcher says when this process is in its control group.
    pub is_placed: bool,
}

/// Carries out the task, and ends the process with the app's status, 128 + N for a signal.
pub fn run(task: Task<'_>) -> ! {
    let status = match close_inherited(&task).and_then(|()| start(&task)) {
        Ok((app, listener)) => {
            let Task { status, channel, images, .. } = task;
            if let Some(listener) = listener {
                send_listener(&channel, listener);
            }
            // Closing the channel tells the launcher that the app runs; a mount that is held twice goes later.
            let is_shared = shares_processes(task.plan);
            drop((channel, images));
            let status = attend(app, status);
            if is_shared {
                end_orphans();
            }
            status
        }
        Err(error) => {
            report(&task.channel, &error);
            125
        }
    };
    sys::clone::exit_now(status)
}

/// Tells the launcher what failed. Where that cannot be sent either, the exit status alone tells.
fn report(channel: &OwnedFd, error: &StepError) {
    if let Ok(message) = serde_json::to_vec(error) {
        let _ = channel::send(channel, &message, &[]);
    }
}

/// Closes what the launcher has open besides. Above all its copies of the keepers' devices: while anybody holds one, the
/// kernel has whoever reads wait for an answer, even where every keeper has ended and the launcher has given up.
fn close_inherited(task: &Task<'_>) -> Result<(), StepError> {
    let mut kept = vec![task.channel.as_fd(), task.status.as_fd()];
    kept.extend(task.images.package.as_ref().map(AsFd::as_fd));
    kept.extend(task.images.base.as_ref().map(AsFd::as_fd));
    kept.extend(task.sockets.map(AsFd::as_fd));
    kept.extend(task.process_file.as_ref().map(AsFd::as_fd));
    kept.extend(task.images.providers.iter().map(AsFd::as_fd));
    sys::descriptors::close_all_but(&kept).step("close inherited descriptors")
}

/// Makes the sandbox and starts the app; gives the listener of its filter where the launcher does not have it yet.
fn start(task: &Task<'_>) -> Result<(Pid, Option<OwnedFd>), StepError> {
    end_with_launcher(&task.channel)?;
    if shares_processes(task.plan) {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .step("become the parent of every orphan")?;
    }
    let program = Program::new(task.plan, task.arguments).step_on(EXECUTE, &task.plan.program)?;
    // While /proc is the host's: the sandbox's own may be one that is read-only.
    command_line::overwrite("pack").step("wipe the command line of the first process")?;
    let proc = Proc::open()?;
    if let Some(file) = &task.process_file {
        proc.own_number()
            .and_then(|number| tell_process(file, number))
            .step("tell the desktop portal of the sandbox")?;
    }
    proc.map_ids((0, 0), task.user)?;
    if let Some(stand_in) = &task.plan.stand_in {
        rustix::system::sethostname(stand_in.host_name.as_bytes()).step("name the machine")?;
    }
    if !matches!(task.plan.network, Network::Host { .. }) {
        sys::network::bring_loopback_up().step("bring the loopback interface up")?;
    }
    let root::Assembled { terminals, mut listeners, writable } =
        root::assemble(task.plan, &task.images, task.sockets)?;
    if let Some(writable) = writable {
        channel::send(&task.channel, FOLLOW, &[writable.as_fd()]).step("pass the root folder on")?;
    }
    if matches!(task.plan.network, Network::Hosts { .. }) {
        listeners.push(listen_for_proxy().step("open the port of the proxy")?);
    }
    let is_accompanied = !listeners.is_empty();
    pass_listeners_on(listeners, &task.channel)?;
    let terminal = match terminals.filter(|_| task.terminal.contains(&true)) {
        Some(terminals) => Some(open_terminal(&terminals, &task.channel)?),
        None => None,
    };
    let is_nested = task.plan.system_calls.contains_key(NESTED_SANDBOX);
    proc.limit_user_namespaces(if is_nested { NESTED_MOST } else { 1 })?;
    root::close_proc(task.plan)?;
    proc.leave_for_good(task.plan.stand_in.as_ref().map_or(task.user, |it| (it.user, it.group)))?;
    if !is_nested {
        privileges::expect_no_user_namespace()?;
    }
    drop(proc);
    landlock::restrict(task.plan, sys::landlock::version().unwrap_or(0))?;
    privileges::drop_capabilities()?;
    sys::clone::reset_personality().step("reset the personality")?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).step("close the first process to the app")?;
    if task.is_placed {
        wait_for_word(&task.channel, PLACED, "wait for the control group")?;
    }
    limit_tasks(task.plan.limits.tasks()).step("limit the number of tasks")?;
    if is_accompanied {
        wait_for_companions(&task.channel)?;
    }
    let mut listener = install_filter(task)?;
    // Where the start of the app itself is told of, it waits for the launcher. Else one message that comes together with
    // the end of the channel costs the launcher nothing.
    if matches!(task.told, Told::Everything(_))
        && let Some(listener) = listener.take()
    {
        send_listener(&task.channel, listener);
    }
    let app = sys::clone::start_in_shared_memory(&mut || become_app(task, terminal.as_ref(), &program))
        .step("start the app's process")?;
    Ok((app, listener))
}

/// Installs the seccomp filter; gives its listener, where there is one.
fn install_filter(task: &Task<'_>) -> Result<Option<OwnedFd>, StepError> {
    let filter = |told| app_filter(|group| task.plan.system_calls.contains_key(group), told);
    let installed = match task.told {
        Told::Nothing => sys::seccomp::install(&filter(Told::Nothing)).map(|()| None),
        told => match (sys::seccomp::install_listening(&filter(told)), told) {
            // Pack itself runs under somebody's listener, or on an old kernel: the filter answers by itself.
            (Err(_), Told::Refusals) => sys::seccomp::install(&filter(Told::Nothing)).map(|()| None),
            (result, _) => result.map(Some),
        },
    };
    installed.step("install the seccomp filter")
}

/// Sends the listener to the launcher. Where that fails nobody has it, and the kernel refuses the calls.
fn send_listener(channel: &OwnedFd, listener: OwnedFd) {
    let _ = channel::send(channel, FILTER, &[listener.as_fd()]);
}

/// The port of the proxy, on the sandbox's own loopback interface.
fn listen_for_proxy() -> io::Result<OwnedFd> {
    // An app that takes a connection back before it is accepted must not have the companion wait for another.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, PROXY_PORT)))?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Hands the sockets of the companions to the launcher, and keeps none: the app could not come by one, and a companion
/// that ends is seen to end.
fn pass_listeners_on(listeners: Vec<OwnedFd>, channel: &OwnedFd) -> Result<(), StepError> {
    if listeners.is_empty() {
        return Ok(());
    }
    let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(AsFd::as_fd).collect();
    channel::send(channel, LISTENERS, &descriptors).step("pass the sockets of the companions on")
}

/// No app starts before every socket of its plugs is served by whom the plan says.
fn wait_for_companions(channel: &OwnedFd) -> Result<(), StepError> {
    wait_for_word(channel, SERVED, "wait for the companions")
}

fn wait_for_word(channel: &OwnedFd, word: &[u8], step: &str) -> Result<(), StepError> {
    match channel::receive(channel).step(step)? {
        Some(message) if message.bytes == word => Ok(()),
        _ => Err(io::Error::from_raw_os_error(libc::EPIPE)).step(step),
    }
}

/// Limits how many processes and threads there may be in the app's user namespace, this one among them, and so in all that
/// it starts. The kernel counts them there by itself since Linux 5.14; before that it would count all of the user's.
fn limit_tasks(most: u32) -> io::Result<()> {
    if !counts_by_namespace(rustix::system::uname().release().to_bytes()) {
        return Ok(());
    }
    let mut limit = getrlimit(Resource::Nproc);
    let least = |now: Option<u64>| Some(now.map_or(most.into(), |now| now.min(most.into())));
    limit.current = least(limit.current);
    limit.maximum = least(limit.maximum);
    Ok(setrlimit(Resource::Nproc, limit)?)
}

fn counts_by_namespace(release: &[u8]) -> bool {
    let release = String::from_utf8_lossy(release);
    let mut numbers =
        release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

/// Whether the app is in the host's pid namespace: then the kernel does not end what it leaves behind.
fn shares_processes(plan: &Plan) -> bool {
    matches!(plan.processes, Processes::Shared { .. })
}

/// Sees to it that the calling process ends when the launcher, its parent, ends.
pub(crate) fn end_with_launcher(channel: &OwnedFd) -> Result<(), StepError> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .step("tie the process to the launcher")?;
    // It may have ended before: then the other end of the channel is closed.
    let mut poll = [rustix::event::PollFd::new(channel, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default()))
        .step("look for the launcher")?;
    if poll[0].revents().contains(rustix::event::PollFlags::HUP) {
        sys::clone::exit_now(125);
    }
    Ok(())
}

/// Opens a terminal in the sandbox's own devpts and sends its master end to the launcher.
fn open_terminal(terminals: &OwnedFd, channel: &OwnedFd) -> Result<OwnedFd, StepError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(terminals, "ptmx", flags, Mode::empty()).step_on("open", "/dev/pts/ptmx")?;
    unlockpt(&master).step("unlock the terminal")?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&master, flags).step("open the terminal")?;
    channel::send(channel, TERMINAL, &[master.as_fd()]).step("pass the terminal on")?;
    Ok(terminal)
}

/// The app's own process, in the memory of the first: returns, with an exit status, only where the program cannot be
/// executed, which it has told then.
fn become_app(task: &Task<'_>, terminal: Option<&OwnedFd>, program: &Program) -> i32 {
    let error = match prepare_app(task, terminal) {
        Ok(()) => StepError::new(EXECUTE, Some(&task.plan.program), &program.execute()),
        Err(error) => error,
    };
    report(&task.channel, &error);
    125
}

fn prepare_app(task: &Task<'_>, terminal: Option<&OwnedFd>) -> Result<(), StepError> {
    setsid().step("make the app's session")?;
    if shares_processes(task.plan) {
        // No pid namespace ends it with the first process.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .step("tie the app to the sandbox")?;
    }
    if let Some(terminal) = terminal {
        ioctl_tiocsctty(terminal).step("make the terminal the app's own")?;
        for (stream, wanted) in (0..).zip(task.terminal) {
            if wanted {
                sys::clone::replace_descriptor(terminal, stream).step("connect the terminal")?;
            }
        }
    }
    make_own_folders(task.plan);
    let entered = task.plan.working_folders.iter().any(|folder| chdir(folder.as_str()).is_ok());
    if !entered {
        chdir("/").step_on("enter", "/")?;
    }
    sys::clone::close_on_exec_from(3).step("close what was inherited")?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).step("let signals through")?;
    sys::clone::restore_broken_pipe().step("let a broken pipe end the app")
}

/// Programs expect the XDG folders, or make the last one of the path only. This is the app's own process, in its sandbox:
/// where it may not make one, the app may not either, and will say so.
fn make_own_folders(plan: &Plan) {
    for name in ["XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"] {
        if let Some(folder) = plan.environment.get(name) {
            let _ = std::fs::create_dir_all(&folder.value);
        }
    }
    for (path, to) in &plan.links {
        let _ = std::os::unix::fs::symlink(&to.value, path);
    }
}

/// Passes signals on and collects orphans until the app ends; gives its status. Every signal is blocked since before
/// this process was made, so that none is lost.
fn attend(app: Pid, mut launcher: PipeWriter) -> i32 {
    // Whoever reads what the app writes shall see its end when the app closes it, not when this process ends.
    if let Ok(null) = openat(CWD, "/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        for stream in 0..3 {
            let _ = sys::clone::replace_descriptor(&null, stream);
        }
    }
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC) else { return 125 };
    loop {
        let collected = collect(app);
        if let Some(status) = collected.status {
            if collected.was_last {
                // A launcher that is gone has no use for it.
                let _ = launcher.write_all(&[u8::try_from(status).unwrap_or(u8::MAX)]);
            }
            return status;
        }
        let Ok(Some(signal)) = signals.read_signal() else { continue };
        match Signal::try_from(signal.ssi_signo as i32) {
            Ok(Signal::SIGCHLD) | Err(_) => {}
            Ok(signal) => {
                // The group is gone once the app has ended; then there is nobody to tell.
                let _ =
                    nix::sys::signal::killpg(nix::unistd::Pid::from_raw(app.as_raw_nonzero().get()), signal);
            }
        }
    }
}

/// Ends every process that the app has left behind, each a child of this one by now or when its parent ends; for a second
/// at most, since a process that starts others all the time could keep ahead.
fn end_orphans() {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(1);
    while std::time::Instant::now() < end {
        let own = std::process::id();
        let children =
            std::fs::read_to_string(format!("/proc/{own}/task/{own}/children")).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        for child in children.filter_map(Pid::from_raw) {
            let _ = rustix::process::kill_process(child, rustix::process::Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// What [`collect`] found.
struct Collected {
    /// The app's status, if it has ended.
    status: Option<i32>,
    /// No other process is left: whatever is started in the sandbox is a descendant of the first process, and becomes
    /// its child when those in between have ended.
    was_last: bool,
}

/// Collects every process that has ended.
fn collect(app: Pid) -> Collected {
    let mut status = None;
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, found))) if pid == app => {
                status = Some(
                    found.exit_status().unwrap_or_else(|| 128 + found.terminating_signal().unwrap_or(0)),
                );
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) => return Collected { status, was_last: false },
            // No child at all. That the app was collected before cannot be.
            Err(_) => return Collected { status: status.or(Some(125)), was_last: true },
        }
    }
}
