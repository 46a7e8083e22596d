//! Mounts the image of a package in a namespace of its own and runs a command that sees it, with the reader and the
//! server of the launcher and nothing else of it: no keeper, no confinement, and, if told so, nothing checked. It shows
//! what checking costs; nothing that reaches users can leave it out.
//!
//! `mount-bare --checked|--unchecked PACKAGE FOLDER COMMAND [ARGUMENT…]`
#![allow(clippy::print_stderr, reason = "a program, not a library")]

use std::error::Error;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use pack_launcher::fuse::{Owner, Server, serve};
use pack_launcher::image::{BlockSource, CacheSize, CheckedSource, RawSource, Reader};
use pack_launcher::package::Package;
use pack_launcher::sys::fuse::clone_device;

/// As many as a keeper has on a machine of two processors.
const THREADS: usize = 2;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match run(&arguments) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("mount-bare: {error}");
            ExitCode::from(125)
        }
    }
}

fn run(arguments: &[OsString]) -> Result<u8, Box<dyn Error>> {
    let [option, file, folder, command, rest @ ..] = arguments else {
        return Err("usage: mount-bare --checked|--unchecked PACKAGE FOLDER COMMAND [ARGUMENT…]".into());
    };
    let package = Package::open(File::open(file)?)?;
    let source: Arc<dyn BlockSource> = match option.to_str() {
        Some("--checked") => Arc::new(CheckedSource::new(Arc::new(package))),
        Some("--unchecked") => {
            let length = package.footer().image;
            Arc::new(RawSource::new(package.file().try_clone()?, length))
        }
        _ => return Err("say --checked or --unchecked".into()),
    };
    let reader = Reader::open(source, CacheSize::default())?;
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{0} {0} 1", user.0))?;
    fs::write("/proc/self/gid_map", format!("{0} {0} 1", user.1))?;
    let device: OwnedFd = File::options().read(true).write(true).open("/dev/fuse")?.into();
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions",
        device.as_raw_fd(),
        user.0,
        user.1
    );
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("pack"), folder.as_os_str(), Some("fuse"), flags, Some(options.as_str()))?;
    let server = Server::new(reader, Owner { user: user.0, group: user.1 }, |error| {
        eprintln!("mount-bare: {error}");
    });
    let server = Arc::new(server);
    let mut devices = vec![device];
    for _ in 1..THREADS {
        devices.push(clone_device(&devices[0])?);
    }
    for device in devices {
        let server = Arc::clone(&server);
        std::thread::spawn(move || serve(&server, device));
    }
    let status = Command::new(command).args(rest).status()?;
    Ok(u8::try_from(status.code().unwrap_or(125)).unwrap_or(125))
}
