//! The keeper's own process, from its first instruction to its last. It never returns to its caller's frames.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Barrier};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::confinement;
use super::mount::Mount;
use super::report::Reporter;
use super::{DONE, MOUNT, Options};
use crate::fuse::{Owner, Server, serve};
use crate::image::Reader;
use crate::package::Package;
use crate::sandbox::channel;
use crate::sandbox::privileges::map_ids;
use crate::sandbox::step::{InStep, StepError};
use crate::sys;
use crate::sys::clone::exit_now;
use crate::sys::seccomp::Instruction;

/// What the keeper was started with.
pub(super) struct Task<'a> {
    pub(super) package: Arc<Package>,
    pub(super) label: &'a str,
    pub(super) options: Options,
    /// User and group of the caller.
    pub(super) user: (u32, u32),
    pub(super) channel: OwnedFd,
}

/// The name that ps(1) shows.
const PROCESS_NAME: &CStr = c"pack-keeper";
const THREADS_LEAST: usize = 2;
const THREADS_MOST: usize = 4;
/// Decompressors keep their state on the heap; the deepest frames hold a few metadata blocks.
const STACK_SIZE: usize = 512 << 10;

/// Exit status where something failed.
const FAILED: i32 = 1;

/// Serves until the other end of the channel is closed, and ends the process.
pub(super) fn run(task: &Task<'_>, reader: Reader) -> ! {
    match prepare(task) {
        Ok(ready) => start(task, reader, ready),
        Err(error) => end(&task.channel, Err(error)),
    }
}

/// Ends the process, with all its threads, and tells the launcher what failed.
fn end(channel: &OwnedFd, result: Result<(), StepError>) -> ! {
    match result {
        Ok(()) => exit_now(0),
        Err(error) => {
            tell(channel, &error);
            exit_now(FAILED)
        }
    }
}

/// What [`prepare`] opened.
struct Ready {
    mount: Mount,
    /// /dev/fuse, once for each thread that serves.
    devices: Vec<OwnedFd>,
    reporter: Arc<Reporter>,
}

/// Leaves everything inherited behind, opens all that will be needed, and gives up the right to open more.
fn prepare(task: &Task<'_>) -> Result<Ready, StepError> {
    replace_streams(task.options.report.as_ref())?;
    sys::descriptors::close_all_but(&[task.channel.as_fd(), task.package.file().as_fd()])
        .step("close inherited descriptors")?;
    // Away from the terminal, whose signals are for the app.
    rustix::process::setsid().step("begin a session")?;
    // The caller may have blocked signals to read them from a descriptor; here they do what they always do.
    nix::sys::signal::SigSet::empty().thread_set_mask().step("unblock signals")?;
    rustix::process::chdir("/").step("leave the working directory")?;
    // For people who look at processes; without it they see the launcher's name.
    let _ = rustix::thread::set_name(PROCESS_NAME);
    map_ids(task.user, task.user)?;
    let (mount, device) = Mount::make(task.label, owner(task))?;
    let mut devices = vec![device];
    for _ in 1..task.options.threads.unwrap_or_else(processors) {
        devices.push(sys::fuse::clone_device(&devices[0]).step("open /dev/fuse once more")?);
    }
    let reporter = Arc::new(Reporter::new(task.label).step("make an event descriptor")?);
    confinement::give_up_rights()?;
    Ok(Ready { mount, devices, reporter })
}

/// The user has the same number inside the namespace as outside, and is the only one that it knows: files of anybody
/// else could not be shown.
fn owner(task: &Task<'_>) -> Owner {
    Owner { user: task.user.0, group: task.user.1 }
}

/// Nothing goes to the caller's streams but the report, which becomes the standard error.
fn replace_streams(report: Option<&OwnedFd>) -> Result<(), StepError> {
    let nothing = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).step("open /dev/null")?;
    let step = "replace the standard streams";
    rustix::stdio::dup2_stdin(&nothing).step(step)?;
    rustix::stdio::dup2_stdout(&nothing).step(step)?;
    rustix::stdio::dup2_stderr(report.unwrap_or(&nothing)).step(step)
}

fn processors() -> usize {
    let count = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count() as usize);
    count.clamp(THREADS_LEAST, THREADS_MOST)
}

/// Starts the threads, tells the launcher, and attends to it until it goes.
fn start(task: &Task<'_>, reader: Reader, ready: Ready) -> ! {
    let Ready { mut mount, devices, reporter } = ready;
    let server = Server::new(reader, owner(task), {
        let reporter = Arc::clone(&reporter);
        move |error| reporter.report(error)
    });
    let filter = confinement::filter();
    // A thread makes its last call that the filter would not let pass before it waits here.
    let confined = Barrier::new(devices.len() + 1);
    std::thread::scope(|scope| {
        let started = devices.iter().try_for_each(|device| {
            let (server, filter, confined) = (&server, &filter, &confined);
            let serve = move || serve_confined(server, device.as_fd(), filter, confined);
            let thread = std::thread::Builder::new().stack_size(STACK_SIZE);
            thread.spawn_scoped(scope, serve).step("start a thread").map(drop)
        });
        let result = started.and_then(|()| confinement::confine_thread(&filter)).and_then(|()| {
            confined.wait();
            attend(&task.channel, &mut mount, &reporter)
        });
        // The threads end with the process: they wait for the kernel, which has no more to ask.
        end(&task.channel, result)
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

/// Gives mounts to whoever asks, and writes reports, until nobody holds the other end of the channel.
fn attend(channel: &OwnedFd, mount: &mut Mount, reporter: &Reporter) -> Result<(), StepError> {
    channel::send(channel, DONE, None).step("tell the launcher")?;
    loop {
        let mut ready = [PollFd::new(channel, PollFlags::IN), PollFd::new(reporter.bell(), PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).step("wait for the launcher"),
        }
        let [asked, rung] = ready.map(|ready| !ready.revents().is_empty());
        if rung {
            reporter.write(rustix::stdio::stderr());
        }
        if asked {
            match channel::receive(channel).step("hear from the launcher")? {
                None => return Ok(()),
                Some((bytes, _)) if bytes == MOUNT => give(channel, mount)?,
                Some(_) => {}
            }
        }
    }
}

fn give(channel: &OwnedFd, mount: &mut Mount) -> Result<(), StepError> {
    match mount.give() {
        Ok(given) => channel::send(channel, DONE, Some(given.as_fd())).step("hand out the mount"),
        Err(error) => {
            tell(channel, &error);
            Ok(())
        }
    }
}

/// Sends what failed to the launcher, which may be gone.
fn tell(channel: &OwnedFd, error: &StepError) {
    let bytes = serde_json::to_vec(error).unwrap_or_default();
    let _ = channel::send(channel, &bytes, None);
}
