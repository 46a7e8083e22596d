//! Message buses, through xdg-dbus-proxy(1): one process for all buses of an app, in a small sandbox of its own.
//!
//! ```text
//! launcher ── clone3(new user, mount, ipc, net namespace) ──▶ process ── execve ──▶ xdg-dbus-proxy
//!    │ ◀─ ① a folder, by descriptor: a tmpfs ────────────────────┤                       │
//!    │ ◀─ ② one byte: its sockets lie in that folder ────────────┼───────────────────────┤
//!    ├── clone3 ─▶ first process: attaches the folder, binds      │                       ├──▶ the session's bus
//!    │             each socket at its place, lets the folder go   └ the root folder below └──▶ the system's …
//!    └── the end of the pipe closes: it ends, as with the launcher itself
//! ```
//!
//! The folder is attached nowhere but in the process's own root, so that there is no path of the sockets on the host, and
//! nothing to take away.
//!
//! The **root folder** of the process has the host's `/usr`, its one socket for each bus, the folder, and `/.flatpak-info`.
//! That file is why it has one: the desktop portal takes a caller to be whom that file in the caller's root folder names,
//! and the caller that it sees is this process. A caller whose root has no such file counts as the host, and is trusted; so
//! the file is there before anything can be asked. It is in no pid namespace of its own, where the portal would look it up
//! in vain.
//!
//! It reads what the app sends, and is the app's once there is a fault in it: then the app has the whole of the buses that
//! it has a part of, but no file of the user's by a path, no network, and no right more.
//!
//! | part | |
//! |---|---|
//! | [`arguments`] | rules → words of the program |
//! | [`instance`] | the files in which the portal finds the app's processes |

mod arguments;
pub mod instance;

use std::convert::Infallible;
use std::ffi::{CStr, CString};
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use pack_schemas::interface::Bus;
use pack_schemas::plan::{Companion, Content, GrantedRule, Identity, Plan};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::dbus::Address;
use crate::keeper::replace_streams;
use crate::sandbox::privileges::{Proc, drop_capabilities};
use crate::sandbox::root;
use crate::sandbox::seccomp::{Told, app_filter};
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::{channel, end_with_launcher};
use crate::sys;
use crate::sys::clone::{Side, exit_now};
use arguments::{Filtered, arguments};
use instance::Instance;

/// The step in which the program is looked for; its failure has a hint of its own.
pub(crate) const FIND: &str = "find";
/// Where the program may be. Below /usr, which its sandbox shows.
const PROGRAMS: &[&str] = &["/usr/bin/xdg-dbus-proxy", "/usr/local/bin/xdg-dbus-proxy"];
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(10);
/// The message that the folder with the sockets comes with.
const FOLDER: &[u8] = b"folder";
/// What the program writes when its sockets are there, to the descriptor of its option `--fd`.
const READY: u8 = b'x';
/// Where the folder lies inside.
const SOCKETS: &str = "/run/sockets";
/// Where the buses' own sockets lie inside.
const UPSTREAM: &str = "/run/upstream";
/// The whole of its environment. Modules of GLib's, of which it needs none, are looked for where there are none.
const ENVIRONMENT: &[&CStr] = &[c"PATH=/usr/bin", c"LANG=C.UTF-8", c"GIO_MODULE_DIR=/run/upstream"];

/// The file name of a bus's socket.
pub(crate) fn socket_name(bus: Bus) -> &'static str {
    match bus {
        Bus::Session => "session",
        Bus::System => "system",
        Bus::Accessibility => "accessibility",
    }
}

/// Where the program is; nothing where it is not installed.
pub fn program() -> Option<&'static str> {
    PROGRAMS.iter().find(|path| Path::new(path).is_file()).copied()
}

/// The filter of an app, running. It ends with the launcher in any case; files that tell of the app are taken away by
/// [`Filter::end`].
#[derive(Debug)]
pub struct Filter {
    /// The folder in which its sockets lie, as a detached mount.
    pub(crate) sockets: OwnedFd,
    /// Its being open keeps the filter running.
    #[allow(dead_code, reason = "its being open is what it is for")]
    ended: PipeReader,
    instance: Option<Instance>,
}

impl Filter {
    /// The file into which the sandbox's first process writes its number, before the app can ask anything.
    pub(crate) fn process_file(&self) -> Result<Option<OwnedFd>, StepError> {
        let file = self.instance.as_ref().map(Instance::process_file);
        file.transpose().step("make a file for the desktop portal")
    }

    /// Names the app's own process, into which the portal can look, instead of the first one, into which nobody can.
    pub(crate) fn tell_of(&self, app: u32) {
        if let Some(instance) = &self.instance {
            // Without it some requests of the app's find no answer; the app is not ended for that.
            let _ = instance.replace_process(app);
        }
    }

    /// Ends the filter.
    pub(crate) fn end(self) {
        if let Some(instance) = self.instance {
            instance.remove();
        }
    }
}

/// A bus that the plan filters.
struct Filtering<'a> {
    bus: Bus,
    address: Address,
    rules: &'a [GrantedRule],
}

/// Starts the filter of the buses that the plan has, and waits until its sockets are there; nothing where the plan has no
/// bus. `log` takes what the program tells of messages, where that is wanted. The calling process must have one thread.
///
/// # Errors
/// The kernel's, with the step; `TimedOut` where the program does not get ready.
pub fn start(plan: &Plan, log: Option<BorrowedFd<'_>>) -> Result<Option<Filter>, StepError> {
    let buses = buses(plan)?;
    let Some(identity) = plan.identity.as_ref().filter(|_| !buses.is_empty()) else { return Ok(None) };
    let program = program().ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT));
    let program = program.step_on(FIND, PROGRAMS[0])?;
    let info = identity.info.as_bytes();
    let instance = make_instance(identity, info)?;
    let result = start_process(program, &buses, info, log);
    match result {
        Ok((sockets, ended)) => Ok(Some(Filter { sockets, ended, instance })),
        Err(error) => {
            if let Some(instance) = instance {
                instance.remove();
            }
            Err(error)
        }
    }
}

fn make_instance(identity: &Identity, info: &[u8]) -> Result<Option<Instance>, StepError> {
    let Some(folder) = &identity.instances else { return Ok(None) };
    Instance::make(folder, &identity.instance, info).map(Some).step_on("make the app known in", folder)
}

fn buses(plan: &Plan) -> Result<Vec<Filtering<'_>>, StepError> {
    let mut buses = Vec::new();
    for entry in &plan.root {
        let Content::Companion { companion: Companion::Bus { bus, address, rules } } = &entry.content else {
            continue;
        };
        let parsed = Address::parse(address).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL));
        let parsed = parsed.step_on("use the address of a message bus", address)?;
        buses.push(Filtering { bus: *bus, address: parsed, rules });
    }
    Ok(buses)
}

fn start_process(
    program: &str,
    buses: &[Filtering<'_>],
    info: &[u8],
    log: Option<BorrowedFd<'_>>,
) -> Result<(OwnedFd, PipeReader), StepError> {
    let (ours, theirs) = channel::pair().step("make a channel")?;
    let (ended, alive) = io::pipe().step("make a pipe")?;
    let words = words(buses, log.is_some())?;
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    match sys::clone::clone_process(namespaces(buses)).step_on("start", program)? {
        Side::Child => {
            let task = Task { program, buses, info, words, log, user, channel: theirs, alive };
            let Err(error) = become_filter(&task);
            // The launcher may be gone.
            let _ = channel::send(&task.channel, &serde_json::to_vec(&error).unwrap_or_default(), &[]);
            exit_now(1)
        }
        Side::Parent { .. } => {
            drop((theirs, alive));
            let sockets = wait_until_ready(program, &ours, &ended)?;
            Ok((sockets, ended))
        }
    }
}

/// Abstract names are the network namespace's; who needs none has no network at all.
fn namespaces(buses: &[Filtering<'_>]) -> u64 {
    let reaches_abstract = buses.iter().any(|bus| matches!(bus.address, Address::Abstract(_)));
    let network = if reaches_abstract { 0 } else { libc::CLONE_NEWNET };
    (libc::CLONE_NEWUSER | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | network) as u64
}

/// The arguments, in a file of memory from which they are read: a command line is for everybody to see.
fn words(buses: &[Filtering<'_>], log: bool) -> Result<OwnedFd, StepError> {
    let step = "put the rules of the message buses together";
    let mut words = Vec::new();
    for Filtering { bus, address, rules } in buses {
        let address = match address {
            Address::Path(_) => Address::Path(format!("{UPSTREAM}/{}", socket_name(*bus))),
            other => other.clone(),
        };
        let socket = format!("{SOCKETS}/{}", socket_name(*bus));
        let filtered = Filtered { bus: *bus, address: &address.to_text(), socket: &socket, log };
        words.extend(arguments(filtered, rules.iter().map(|granted| &granted.rule)).step(step)?);
    }
    let file = rustix::fs::memfd_create("arguments", rustix::fs::MemfdFlags::CLOEXEC).step(step)?;
    let mut rest = words.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest).step(step)?;
        rest = &rest[written..];
    }
    rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0)).step(step)?;
    Ok(file)
}

/// Waits for the folder, and then for the sockets in it.
fn wait_until_ready(program: &str, channel: &OwnedFd, ended: &PipeReader) -> Result<OwnedFd, StepError> {
    let deadline = Instant::now() + PATIENCE;
    let step = "start the filter of the message buses";
    let gone = || StepError::new(step, Some(program), &io::Error::from_raw_os_error(libc::ECHILD));
    wait_for(channel.as_fd(), deadline).step_on(step, program)?;
    let message = channel::receive(channel).step_on(step, program)?.ok_or_else(gone)?;
    let Some(folder) = message.descriptors.into_iter().next().filter(|_| message.bytes == FOLDER) else {
        return Err(serde_json::from_slice(&message.bytes).unwrap_or_else(|_| gone()));
    };
    wait_for(ended.as_fd(), deadline).step_on(step, program)?;
    let mut byte = [0];
    if matches!(rustix::io::read(ended, &mut byte), Ok(1)) && byte[0] == READY {
        return Ok(folder);
    }
    // Where the program was not even executed, the process has said why.
    match channel::receive(channel) {
        Ok(Some(message)) => Err(serde_json::from_slice(&message.bytes).unwrap_or_else(|_| gone())),
        _ => Err(gone()),
    }
}

/// Waits until there is something to read, or the other end is closed.
fn wait_for(descriptor: BorrowedFd<'_>, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT)),
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What the process is given.
struct Task<'a> {
    program: &'a str,
    buses: &'a [Filtering<'a>],
    info: &'a [u8],
    words: OwnedFd,
    log: Option<BorrowedFd<'a>>,
    user: (u32, u32),
    channel: OwnedFd,
    alive: PipeWriter,
}

/// Makes its sandbox, gives every right up, and becomes the program.
fn become_filter(task: &Task<'_>) -> Result<Infallible, StepError> {
    replace_streams()?;
    if let Some(log) = task.log {
        rustix::stdio::dup2_stdout(log).step("connect the log")?;
    }
    let kept = [task.channel.as_fd(), task.words.as_fd(), task.alive.as_fd()];
    sys::descriptors::close_all_but(&kept).step("close inherited descriptors")?;
    // Away from the terminal, whose signals are for the app.
    rustix::process::setsid().step("begin a session")?;
    nix::sys::signal::SigSet::empty().thread_set_mask().step("unblock signals")?;
    Proc::open()?.map_ids(task.user, task.user)?;
    let sockets = task.buses.iter().filter_map(|filtering| match &filtering.address {
        Address::Path(path) => Some((path.clone(), format!("{UPSTREAM}/{}", socket_name(filtering.bus)))),
        Address::Abstract(_) => None,
    });
    let shown =
        root::Small { sockets: sockets.collect(), file: ("/.flatpak-info", task.info), tmpfs: SOCKETS };
    let folder = root::assemble_small(&shown)?;
    channel::send(&task.channel, FOLDER, &[folder.as_fd()]).step("pass the folder of sockets on")?;
    drop(folder);
    drop_capabilities()?;
    sys::clone::reset_personality().step("reset the personality")?;
    sys::seccomp::install(&app_filter(|_| false, Told::Nothing)).step("install the seccomp filter")?;
    end_with_launcher(&task.channel)?;
    execute(task).step_on("run", task.program)
}

fn execute(task: &Task<'_>) -> io::Result<Infallible> {
    for descriptor in [task.words.as_fd(), task.alive.as_fd()] {
        fcntl_setfd(descriptor, FdFlags::empty())?;
    }
    let words = [
        task.program.to_owned(),
        format!("--fd={}", task.alive.as_raw_fd()),
        format!("--args={}", task.words.as_raw_fd()),
    ];
    let words = words.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
    sys::clone::restore_broken_pipe()?;
    Ok(nix::unistd::execve(&words[0], &words, ENVIRONMENT)?)
}
