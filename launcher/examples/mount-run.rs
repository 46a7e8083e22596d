//! Mounts a package and runs a command that sees the mount, in a user and mount namespace of its own.
//!
//! ```text
//! mount-run [OPTION…] PACKAGE FOLDER COMMAND [ARGUMENT…]
//!   --cache BYTES   memory for decompressed blocks
//!   --threads N     threads that serve
//!   --mounts N      ask for N mounts, and use the last
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
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use nix::sched::{CloneFlags, unshare};
use pack_launcher::image::CacheSize;
use pack_launcher::keeper::{self, Keeper, Options};
use pack_launcher::package::Package;
use pack_launcher::sys::clone::{Side, clone_process, exit_now};
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::process::{WaitId, WaitIdOptions, waitid};

/// What the command line asks for.
#[derive(Default)]
struct Task {
    options: Options,
    times: bool,
    mounts: usize,
    unsigned: bool,
    status: Option<PathBuf>,
    package: PathBuf,
    folder: PathBuf,
    command: Vec<OsString>,
}

fn main() -> ExitCode {
    match parse(std::env::args_os().skip(1)).and_then(|task| run(&mut { task })) {
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

fn run(task: &mut Task) -> Result<u8, Box<dyn Error>> {
    let begun = Instant::now();
    let package = Arc::new(Package::open(File::open(&task.package)?)?);
    if !task.unsigned {
        package.verify()?;
    }
    let opened = Instant::now();
    let mut options = std::mem::take(&mut task.options);
    options.report = Some(io::stderr().as_fd().try_clone_to_owned()?);
    let keeper = keeper::start(package, "hello x1", options)?;
    let started = Instant::now();
    let mut mount = keeper.mount()?;
    for _ in 1..task.mounts {
        mount = keeper.mount()?;
    }
    if task.times {
        let micros = |from: Instant, to: Instant| (to - from).as_micros();
        eprintln!(
            "open {} µs, start {} µs, mount {} µs",
            micros(begun, opened),
            micros(opened, started),
            micros(started, Instant::now())
        );
    }
    let status = execute(task, mount)?;
    if let Some(file) = &task.status {
        std::fs::write(file, keeper_status(&keeper)?)?;
    }
    keeper.end();
    Ok(status)
}

/// Runs the command in namespaces of its own, and returns its status when it has ended.
fn execute(task: &Task, mount: OwnedFd) -> Result<u8, Box<dyn Error>> {
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
            let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?;
            let ended = ended.ok_or("no child to wait for")?;
            let signal = ended.terminating_signal().map(|signal| 128 + signal);
            Ok(u8::try_from(ended.exit_status().or(signal).unwrap_or(125)).unwrap_or(125))
        }
    }
}

fn attach(task: &Task, mount: &OwnedFd) -> Result<(), Box<dyn Error>> {
    let (user, group) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1"))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(mount, "", rustix::fs::CWD, &task.folder, flags)?;
    Ok(())
}

fn keeper_status(keeper: &Keeper) -> Result<String, Box<dyn Error>> {
    let link = format!("/proc/self/fdinfo/{}", keeper.process().as_raw_fd());
    let information = std::fs::read_to_string(link)?;
    let pid = information.lines().find_map(|line| line.strip_prefix("Pid:")).ok_or("no pid")?.trim();
    Ok(std::fs::read_to_string(format!("/proc/{pid}/status"))?)
}
