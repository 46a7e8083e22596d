//! Mounts a package and runs a command that sees the mount, in a user and mount namespace of its own.
//!
//! ```text
//! mount-run [OPTION…] PACKAGE FOLDER COMMAND [ARGUMENT…]
//!   --cache BYTES   memory for decompressed blocks
//!   --threads N     threads that serve
//!   --mounts N      make N clones of the mount, and use the last
//!   --place FOLDER  share the keeper with others that name the same folder
//!   --linger MS     how long a shared keeper goes on in the end
//!   --successors N  how many keepers may follow one that ended
//!   --pid FILE      write the keeper's process number there, and that of each successor
//!   --repeat N      do it all N times, or until the command fails
//!   --times         say on standard error how long the start took
//!   --status FILE   copy the keeper's /proc/PID/status there when the command has ended
//!   --unsigned      do not check the signature
//! ```
//!
//! FOLDER is where the command sees the package. The exit status is the command's own; 125 where it was not started.
//! It drives the tests of the mount and is a way to measure it; the way to run a package is `pack run`.
#![allow(clippy::print_stderr, reason = "a program, not a library")]

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use pack_launcher::image::CacheSize;
use pack_launcher::keeper::{self, Keeper, Options, Place, Watch, attachable};
use pack_launcher::package::Package;
use pack_launcher::sys::clone::{Side, clone_process, exit_now};
use rustix::event::PollFlags;
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// What the command line asks for.
#[derive(Default)]
struct Task {
    options: Options,
    place: Option<Arc<Place>>,
    repeat: usize,
    times: bool,
    mounts: usize,
    unsigned: bool,
    status: Option<PathBuf>,
    pid: Option<PathBuf>,
    package: PathBuf,
    folder: PathBuf,
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)).and_then(|task| run_repeatedly(&task)) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("mount-run: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  caused by: {error}");
                cause = error.source();
            }
            ExitCode::from(125)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Task, Box<dyn Error>> {
    let mut task = Task::default();
    let missing = || "usage: mount-run [OPTION…] PACKAGE FOLDER COMMAND [ARGUMENT…]";
    let number = |arguments: &mut dyn Iterator<Item = OsString>| -> Result<usize, Box<dyn Error>> {
        Ok(arguments.next().ok_or_else(missing)?.to_string_lossy().parse()?)
    };
    task.package = loop {
        let argument = arguments.next().ok_or_else(missing)?;
        match argument.to_str() {
            Some("--cache") => task.options.cache = CacheSize { bytes: number(&mut arguments)? },
            Some("--threads") => task.options.threads = Some(number(&mut arguments)?),
            Some("--mounts") => task.mounts = number(&mut arguments)?,
            Some("--linger") => {
                task.options.linger = Duration::from_millis(number(&mut arguments)? as u64);
            }
            Some("--successors") => task.options.successors = number(&mut arguments)?,
            Some("--pid") => task.pid = Some(arguments.next().ok_or_else(missing)?.into()),
            Some("--repeat") => task.repeat = number(&mut arguments)?,
            Some("--place") => {
                let folder: PathBuf = arguments.next().ok_or_else(missing)?.into();
                task.place = Some(Arc::new(Place::open(&folder)?));
            }
            Some("--times") => task.times = true,
            Some("--unsigned") => task.unsigned = true,
            Some("--status") => task.status = Some(arguments.next().ok_or_else(missing)?.into()),
            _ => break argument.into(),
        }
    };
    task.folder = arguments.next().ok_or_else(missing)?.into();
    task.command = arguments.collect();
    if task.command.is_empty() { Err(missing().into()) } else { Ok(task) }
}

fn run_repeatedly(task: &Task) -> Result<u8, Box<dyn Error>> {
    for _ in 1..task.repeat {
        match run(task)? {
            0 => {}
            failed => return Ok(failed),
        }
    }
    run(task)
}

fn run(task: &Task) -> Result<u8, Box<dyn Error>> {
    let begun = Instant::now();
    let package = Arc::new(Package::open(File::open(&task.package)?)?);
    if !task.unsigned {
        package.verify()?;
    }
    let opened = Instant::now();
    let keeper = keeper::open(package, "hello x1", task.options, task.place.clone())?;
    let mount = keeper.mount()?;
    if task.times {
        let micros = |from: Instant, to: Instant| (to - from).as_micros();
        eprintln!("open {} µs, mount {} µs", micros(begun, opened), micros(opened, Instant::now()));
    }
    // In one piece, as the command writes there as well.
    let mut tell = |line: &str| drop(std::io::stderr().write_all(format!("{line}\n").as_bytes()));
    let mut watch = Watch::new(vec![keeper], &mut tell);
    let status = execute(task, mount, &mut watch)?;
    for keeper in watch.end() {
        if let (Some(file), Some(process)) = (&task.status, keeper.process()) {
            let status = format!("/proc/{}/status", process.as_raw_nonzero());
            std::fs::write(file, std::fs::read_to_string(status)?)?;
        }
        keeper.end();
    }
    Ok(status)
}

/// Runs the command in namespaces of its own, and returns its status when it has ended.
fn execute(task: &Task, mount: OwnedFd, watch: &mut Watch<'_>) -> Result<u8, Box<dyn Error>> {
    match clone_process(0)? {
        Side::Child => {
            let error = match attach(task, &mount) {
                Ok(()) => Command::new(&task.command[0]).args(&task.command[1..]).exec().into(),
                Err(error) => error,
            };
            eprintln!("mount-run: {error}");
            exit_now(125)
        }
        Side::Parent { pidfd, .. } => {
            drop(mount);
            loop {
                write_process_number(task, watch)?;
                if !watch.wait(&[(pidfd.as_fd(), PollFlags::IN)], None)?[0].is_empty() {
                    break;
                }
            }
            let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            let ended = ended.ok_or("no child to wait for")?;
            let signal = ended.terminating_signal().map(|signal| 128 + signal);
            Ok(u8::try_from(ended.exit_status().or(signal).unwrap_or(125)).unwrap_or(125))
        }
    }
}

/// Whole or not at all: somebody may be reading.
fn write_process_number(task: &Task, watch: &Watch<'_>) -> Result<(), Box<dyn Error>> {
    let process = watch.keepers().first().and_then(Keeper::process);
    if let (Some(file), Some(process)) = (&task.pid, process) {
        let new = file.with_extension("new");
        std::fs::write(&new, process.as_raw_nonzero().to_string())?;
        std::fs::rename(new, file)?;
    }
    Ok(())
}

fn attach(task: &Task, mount: &OwnedFd) -> Result<(), Box<dyn Error>> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let mut clone = attachable(mount)?;
    for _ in 1..task.mounts {
        clone = attachable(mount)?;
    }
    move_mount(&clone, "", rustix::fs::CWD, &task.folder, flags)?;
    Ok(())
}
