//! The keeper's own process, from its first instruction to its last. It never returns to its caller's frames.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Barrier};

use rustix::fs::{Mode, OFlags, open};

use super::Options;
use super::attendant::Attendant;
use super::confinement;
use super::mount::{Connection, DEVICES_MOST, can_be_shared};
use super::place::Entrance;
use super::report::Reporter;
use crate::fuse::{Owner, Server, ask_again, serve};
use crate::image::Reader;
use crate::package::Package;
use crate::sandbox::privileges::Proc;
use crate::sandbox::step::{InStep, StepError};
use crate::sandbox::{channel, command_line, root};
use crate::sys;
use crate::sys::clone::exit_now;
use crate::sys::seccomp::Instruction;

/// What the keeper was started with.
pub(super) struct Task<'a> {
    pub(super) package: &'a Package,
    pub(super) label: &'a str,
    pub(super) options: &'a Options,
    /// User and group of the caller.
    pub(super) user: (u32, u32),
    /// To the launch that starts it.
    pub(super) channel: OwnedFd,
    /// Where other launches come in.
    pub(super) entrance: Option<Entrance>,
    /// The mount to go on with; otherwise a new one is made.
    pub(super) predecessor: Option<&'a Connection>,
}

/// The name that ps(1) shows.
const PROCESS_NAME: &CStr = c"pack-keeper";
const THREADS_LEAST: usize = 2;
const THREADS_MOST: usize = 4;
/// Decompressors keep their state on the heap; the deepest frames hold a few metadata blocks.
const STACK_SIZE: usize = 512 << 10;

/// Exit status where something failed.
const FAILED: i32 = 1;

/// Serves until nobody uses the mount any more, and ends the process.
pub(super) fn run(mut task: Task<'_>, reader: Reader) -> ! {
    match prepare(&mut task) {
        Ok(ready) => start(task, reader, ready),
        Err(error) => end(&task.channel, Err(error)),
    }
}

/// Ends the process, with all its threads, and tells the launcher what failed.
fn end(channel: &OwnedFd, result: Result<(), StepError>) -> ! {
    match result {
        Ok(()) => exit_now(0),
        Err(error) => {
            let bytes = serde_json::to_vec(&error).unwrap_or_default();
            // The launcher may be gone.
            let _ = channel::send(channel, &bytes, &[]);
            exit_now(FAILED)
        }
    }
}

/// What [`prepare`] opened.
struct Ready {
    connection: Connection,
    reporter: Arc<Reporter>,
}

/// Leaves everything inherited behind, opens all that will be needed, and gives up the right to open more.
fn prepare(task: &mut Task<'_>) -> Result<Ready, StepError> {
    replace_streams()?;
    let adopted = task.predecessor.map(Connection::copy).transpose()?;
    let mut kept = vec![task.channel.as_fd(), task.package.file().as_fd()];
    kept.extend(
        task.entrance.iter().flat_map(|entrance| [entrance.listener.as_fd(), entrance.lease.as_fd()]),
    );
    kept.extend(adopted.iter().flat_map(Connection::descriptors));
    sys::descriptors::close_all_but(&kept).step("close inherited descriptors")?;
    // Away from the terminal, whose signals are for the app.
    rustix::process::setsid().step("begin a session")?;
    // The caller may have blocked signals to read them from a descriptor; here they do what they always do.
    nix::sys::signal::SigSet::empty().thread_set_mask().step("unblock signals")?;
    // For people who look at processes; without it they see the launcher's name.
    let _ = rustix::thread::set_name(PROCESS_NAME);
    command_line::overwrite(&format!("pack-keeper {}", task.label)).step("replace the command line")?;
    Proc::open()?.map_ids(task.user, task.user)?;
    let connection = match adopted {
        Some(adopted) => adopted,
        None => {
            let threads = task.options.threads.unwrap_or_else(processors);
            Connection::make(task.label, owner(task), threads.clamp(1, DEVICES_MOST))?
        }
    };
    // What cannot be cloned is for one launch alone.
    task.entrance.take_if(|_| !can_be_shared(&connection.mount));
    // It stays longer than whoever started it; what they had mounted shall not stay with it.
    root::enter_new_root()?;
    let reporter = Arc::new(Reporter::new(task.label));
    confinement::give_up_rights()?;
    Ok(Ready { connection, reporter })
}

/// The user has the same number inside the namespace as outside, and is the only one that it knows: files of anybody
/// else could not be shown.
fn owner(task: &Task<'_>) -> Owner {
    Owner { user: task.user.0, group: task.user.1 }
}

/// Nothing comes from the caller's streams or goes there.
pub(crate) fn replace_streams() -> Result<(), StepError> {
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).step("open /dev/null")?;
    let step = "replace the standard streams";
    rustix::stdio::dup2_stdin(&nothing).step(step)?;
    rustix::stdio::dup2_stdout(&nothing).step(step)?;
    rustix::stdio::dup2_stderr(&nothing).step(step)
}

fn processors() -> usize {
    let count = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize);
    count.clamp(THREADS_LEAST, THREADS_MOST)
}

/// Starts the threads, and attends to the launches until none is left.
fn start(task: Task<'_>, reader: Reader, ready: Ready) -> ! {
    let Ready { connection, reporter } = ready;
    let server = Server::new(reader, owner(&task), {
        let reporter = Arc::clone(&reporter);
        move |error| reporter.report(error)
    });
    let filter = confinement::filter();
    // A thread makes its last call that the filter would not let pass before it waits here.
    let confined = Barrier::new(connection.devices.len() + 1);
    let adopted = task.predecessor.is_some();
    let process = rustix::process::getpid();
    let Task { channel, entrance, options, .. } = task;
    std::thread::scope(|scope| {
        let started = connection.devices.iter().try_for_each(|device| {
            let (server, filter, confined) = (&server, &filter, &confined);
            let serve = move || serve_confined(server, device.as_fd(), filter, confined);
            let thread = std::thread::Builder::new().stack_size(STACK_SIZE);
            thread.spawn_scoped(scope, serve).step("start a thread").map(drop)
        });
        let started = started.and_then(|()| confinement::confine_thread(&filter)).and_then(|()| {
            confined.wait();
            match adopted {
                true => ask_again(&connection.devices[0]).step("have the kernel ask again"),
                false => Ok(()),
            }
        });
        if started.is_err() {
            end(&channel, started);
        }
        let linger = options.linger;
        let attendant = Attendant::new(&connection, process, &reporter, channel, entrance, linger);
        // The threads end with the process: they wait for the kernel, which has no more to ask.
        exit_now(if attendant.run().is_ok() { 0 } else { FAILED })
    })
}

/// A thread that serves. It ends the process when it ends: a mount that half answers is worse than none.
fn serve_confined(server: &Server, device: BorrowedFd<'_>, filter: &[Instruction], confined: &Barrier) {
    if confinement::confine_thread(filter).is_err() {
        exit_now(FAILED);
    }
    confined.wait();
    let status = if serve(server, device).is_ok() { 0 } else { FAILED };
    exit_now(status)
}
