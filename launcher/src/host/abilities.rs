//! What this host lets an unprivileged user do: each ability is tried, not guessed, and comes with its mend.
//!
//! `pack doctor` shows all of them; `pack run` looks here when a step of a launch has failed, to name the cause.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use crate::companion::bus;
use crate::sandbox::privileges::Proc;
use crate::sandbox::seccomp::{Told, app_filter};
use crate::sys;
use crate::sys::clone::Side;

/// How much depends on an ability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// No app runs without it.
    Required,
    /// Some apps need it, or a wall is missing without it.
    Useful,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It works; a word about how, such as a version.
    Works(String),
    /// It does not.
    Missing {
        /// Why, as far as it can be told.
        problem: String,
        /// What to do about it.
        mend: String,
    },
}

/// An ability that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// Short name.
    pub name: &'static str,
    /// What depends on it.
    pub purpose: &'static str,
    /// How much does.
    pub need: Need,
    /// What was found.
    pub finding: Finding,
}

/// What the test of abilities has to be told of the environment.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// `DBUS_SESSION_BUS_ADDRESS`.
    pub session_bus: Option<String>,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_folder: Option<String>,
}

/// Tries every ability. The caller must have one thread; a few short-lived processes are made.
pub fn examine(surroundings: &Surroundings) -> Vec<Ability> {
    let user_namespaces = user_namespaces();
    let namespaces_work = matches!(user_namespaces, Finding::Works(_));
    let inside = |test: fn() -> io::Result<()>, problem: &str, mend: &str| {
        if !namespaces_work {
            return missing("it cannot be tried without user namespaces", "mend user namespaces first");
        }
        match in_user_namespace(test) {
            Ok(()) => Finding::Works(String::new()),
            Err(error) => missing(&format!("{problem}: {error}"), mend),
        }
    };
    let required = |name, purpose, finding| Ability { name, purpose, need: Need::Required, finding };
    let useful = |name, purpose, finding| Ability { name, purpose, need: Need::Useful, finding };
    vec![
        required("user namespaces", "every app runs in one of its own", user_namespaces),
        required("/dev/fuse", "packages are mounted through it", device()),
        required(
            "FUSE in user namespaces",
            "a package is mounted without privilege",
            inside(
                mount_fuse,
                "the kernel refuses the mount",
                "use a kernel with FUSE (module `fuse`; `modprobe fuse`), version 4.18 or later",
            ),
        ),
        required("mount API", "the root folder is made by descriptor", mount_api()),
        required("seccomp filters", "system calls that no app needs are shut off", seccomp()),
        useful(
            "overlay in user namespaces",
            "packages with `rootfs: merged` on a base",
            inside(
                mount_overlay,
                "the kernel refuses the mount",
                "use a kernel with overlayfs (module `overlay`; `modprobe overlay`), version 5.11 or later",
            ),
        ),
        useful(
            "Landlock",
            "a second wall around files and processes; with the network plug, sockets",
            landlock(),
        ),
        useful(
            "session bus",
            "dialogs, notifications and settings of the desktop",
            session_bus(surroundings),
        ),
        useful("xdg-dbus-proxy", "plugs that use a message bus: desktop, gsettings, mpris, …", bus_filter()),
    ]
}

fn missing(problem: &str, mend: &str) -> Finding {
    Finding::Missing { problem: problem.to_owned(), mend: mend.to_owned() }
}

fn user_namespaces() -> Finding {
    let Err(error) = in_user_namespace(|| Ok(())) else { return Finding::Works(String::new()) };
    let read = |file: &str| fs::read_to_string(file).map(|text| text.trim().to_owned()).unwrap_or_default();
    if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        return missing(
            "AppArmor restricts user namespaces to programs with a profile that allows them (Ubuntu 23.10 and later)",
            "install pack's AppArmor profile: sudo cp packaging/apparmor/pack /etc/apparmor.d/ && sudo apparmor_parser -r \
             /etc/apparmor.d/pack; the restriction itself can stay on for everything else",
        );
    }
    if read("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        return missing(
            "the host forbids them to ordinary users (kernel.unprivileged_userns_clone is 0)",
            "as root: sysctl -w kernel.unprivileged_userns_clone=1, and the same line in /etc/sysctl.d/50-userns.conf",
        );
    }
    if read("/proc/sys/user/max_user_namespaces") == "0" {
        return missing(
            "the host allows none (user.max_user_namespaces is 0)",
            "as root: sysctl -w user.max_user_namespaces=65536, and the same line in /etc/sysctl.d/50-userns.conf",
        );
    }
    missing(
        &format!("the kernel refuses them: {error}"),
        "a container or a sandbox around this session may forbid them; try outside of it",
    )
}

fn device() -> Finding {
    match openat(CWD, "/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Finding::Works(String::new()),
        Err(rustix::io::Errno::NOENT) => {
            missing("it does not exist", "as root: modprobe fuse (Debian's and most kernels have the module)")
        }
        Err(rustix::io::Errno::ACCESS) => missing(
            "you may not open it",
            "as root: chmod 0666 /dev/fuse, which is what udev's rules set everywhere (50-udev-default.rules)",
        ),
        Err(error) => missing(&error.to_string(), "as root: modprobe fuse"),
    }
}

fn mount_api() -> Finding {
    // Fails with EINVAL for a bad argument where the call exists, with ENOSYS where it does not.
    match sys::mount::restrict(rustix::stdio::stdin().as_fd(), 0) {
        Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {
            missing("the kernel has no mount_setattr", "use Linux 5.12 or later")
        }
        _ => Finding::Works(String::new()),
    }
}

fn seccomp() -> Finding {
    let tried = in_child(|| {
        rustix::thread::set_no_new_privs(true)?;
        sys::seccomp::install(&app_filter(|_| false, Told::Nothing))
    });
    match tried {
        Ok(()) => Finding::Works(String::new()),
        Err(error) => missing(
            &format!("the kernel refuses a filter: {error}"),
            "use a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

fn landlock() -> Finding {
    let mend =
        "use Linux 6.12 or later with Landlock among its security modules (boot option lsm=landlock,…)";
    match sys::landlock::version() {
        Ok(version) if version >= 6 => Finding::Works(format!("version {version}")),
        Ok(version) => missing(&format!("it has version {version}; sockets are in version 6"), mend),
        Err(error) => missing(&format!("the kernel does not have it: {error}"), mend),
    }
}

fn session_bus(surroundings: &Surroundings) -> Finding {
    let named = surroundings.session_bus.as_ref().and_then(|address| address.strip_prefix("unix:path="));
    let by_default = surroundings.runtime_folder.as_ref().map(|folder| format!("{folder}/bus"));
    let path = named.map(|path| path.split([',', ';']).next().unwrap_or(path).to_owned()).or(by_default);
    match path {
        Some(path) if Path::new(&path).exists() => Finding::Works(String::new()),
        _ => missing(
            "no session bus is running",
            "log in to a desktop, or start a session bus: dbus-run-session -- COMMAND",
        ),
    }
}

/// What to do where the filter of message buses is missing.
pub const MEND_BUS_FILTER: &str = "install xdg-dbus-proxy, version 0.1.4 or later (the package has that name on Debian, Ubuntu, Fedora and Arch)";
/// The first version without a known way round its rules. What a distribution mends, it mends under the same number.
const BUS_FILTER_LEAST: [u32; 3] = [0, 1, 4];

fn bus_filter() -> Finding {
    let Some(program) = bus::program() else { return missing("it is not installed", MEND_BUS_FILTER) };
    match version(&told_version(program).unwrap_or_default()) {
        Some(found) if found >= BUS_FILTER_LEAST => {
            Finding::Works(format!("version {}", found.map(|number| number.to_string()).join(".")))
        }
        Some(_) => missing("rules can be got round in this version", MEND_BUS_FILTER),
        None => missing("it does not tell its version", MEND_BUS_FILTER),
    }
}

/// How long a program has for telling its version; one that hangs is one that does not work.
const PATIENCE: Timespec = Timespec { tv_sec: 2, tv_nsec: 0 };

/// What a program prints when it is asked for its version: as much as it writes at once.
fn told_version(program: &str) -> io::Result<String> {
    let mut command = Command::new(program);
    command.arg("--version").env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let mut bytes = [0; 256];
    let told = match &mut child.stdout {
        Some(stdout) => match poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&PATIENCE)) {
            Ok(1) => stdout.read(&mut bytes),
            _ => Err(io::ErrorKind::TimedOut.into()),
        },
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    child.kill()?;
    child.wait()?;
    Ok(String::from_utf8_lossy(&bytes[..told?]).into_owned())
}

/// The version at the end of the line `xdg-dbus-proxy 0.1.4`.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.').map(|number| number.parse().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next().unwrap_or(Some(0))?])
}

fn mount_fuse() -> io::Result<()> {
    let device = openat(CWD, "/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&device).to_string();
    let options = [("fd", number.as_str()), ("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")];
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), key, value)?;
    }
    finish(&context)
}

fn mount_overlay() -> io::Result<()> {
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "lowerdir", "/usr:/etc")?;
    finish(&context)
}

fn finish(context: &std::os::fd::OwnedFd) -> io::Result<()> {
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    Ok(())
}

/// Runs `test` in a child process that has a user and a mount namespace of its own, as user 0 there.
fn in_user_namespace(test: fn() -> io::Result<()>) -> io::Result<()> {
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    in_child(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER | nix::sched::CloneFlags::CLONE_NEWNS)?;
        let mapped = Proc::open().and_then(|proc| proc.map_ids((0, 0), user));
        mapped.map_err(|error| error.cause())?;
        test()
    })
}

/// Runs `test` in a child process, whose exit status is the error number.
fn in_child(test: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    match sys::clone::clone_process(0)? {
        Side::Child => {
            let errno = test().err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            sys::clone::exit_now(errno)
        }
        Side::Parent { pidfd, .. } => match crate::sandbox::relay::wait_for_end(&pidfd)? {
            0 => Ok(()),
            errno => Err(io::Error::from_raw_os_error(i32::from(errno))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_the_bus_filter_are_read() {
        assert_eq!(version("xdg-dbus-proxy 0.1.4\n"), Some([0, 1, 4]));
        assert_eq!(version("xdg-dbus-proxy 0.2\n"), Some([0, 2, 0]));
        for text in ["", "xdg-dbus-proxy", "xdg-dbus-proxy x.y.z", "xdg-dbus-proxy 0.1.x"] {
            assert_eq!(version(text), None, "{text}");
        }
    }
}
