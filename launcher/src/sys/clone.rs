//! Making processes: clone3(2), and leaving one without running the caller's clean-up.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

/// Which side of a clone is running.
#[derive(Debug)]
pub enum Side {
    /// The new process. It has copies of everything, and one thread.
    Child,
    /// The old one.
    Parent {
        /// The new process, as a descriptor that can be polled, waited for and signalled without a race.
        pidfd: OwnedFd,
        /// Its number in the caller's pid namespace.
        pid: Pid,
    },
}

/// `struct clone_args` of `linux/sched.h`, first published size (64 bytes).
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Clones the calling process into the new namespaces that `namespaces` (CLONE_NEW…) asks for, as fork(2) does
/// otherwise: the child goes on from here on a copy of the stack. The child signals SIGCHLD when it ends.
///
/// # Errors
/// Refused with `ResourceBusy` where the process has more than one thread: a lock that another thread held would
/// stay locked in the child for ever. Otherwise the kernel's: EPERM where the host forbids user namespaces, ENOSPC
/// past a limit of namespaces, EAGAIN past a limit of processes.
pub fn clone_process(namespaces: u64) -> io::Result<Side> {
    // Two links to the folder, and one more for each thread's in it.
    if rustix::fs::stat("/proc/self/task")?.st_nlink != 3 {
        return Err(io::Error::from(io::ErrorKind::ResourceBusy));
    }
    clone_single_threaded(namespaces)
}

/// [`clone_process`] for a caller that is its own only thread by construction: a process that this module made, and
/// that has not started a thread. (It may have no /proc to count them.)
///
/// # Errors
/// The kernel's, as for [`clone_process`].
pub fn clone_single_threaded(namespaces: u64) -> io::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    let arguments = CloneArguments {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: std::ptr::from_mut(&mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    // SAFETY: without CLONE_VM and with no stack given the child runs on a copy of this stack and address space, as
    // after fork. The process has one thread, so that no lock is held by a thread that the child lacks. The kernel
    // writes a descriptor to `pidfd`, which outlives the call.
    let result = unsafe {
        libc::syscall(libc::SYS_clone3, std::ptr::from_ref(&arguments), size_of::<CloneArguments>())
    };
    side(result, pidfd)
}

/// Tells parent from child by what the call returned.
fn side(result: libc::c_long, pidfd: libc::c_int) -> io::Result<Side> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Side::Child),
        pid => {
            // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
            Ok(Side::Parent { pidfd, pid })
        }
    }
}

/// Size in bytes of the stack of [`start_in_shared_memory`]'s child; what is not used of it takes no memory.
const STACK_SIZE: usize = 256 << 10;

/// Starts a process that runs `child` in the caller's own memory, and returns when it has executed a program or ended, as
/// vfork(2) does: no page is copied, and none is written twice. For a process that is its own only thread by
/// construction. Descriptors, working directory and signals are the child's own. It ends with the status that `child`
/// returns.
///
/// clone(2) and not clone3(2), which is refused to whoever has the app's seccomp filter on.
///
/// # Errors
/// The kernel's, as for [`clone_process`].
pub fn start_in_shared_memory(mut child: &mut dyn FnMut() -> i32) -> io::Result<Pid> {
    /// Calls the closure that `argument` points to.
    extern "C" fn call(argument: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the pointer is that of `child` below, which outlives the call: the caller waits until this process is
        // gone from its memory. Nobody else uses it meanwhile, for the same reason.
        let child = unsafe { &mut *argument.cast::<&mut dyn FnMut() -> i32>() };
        exit_now(child())
    }
    let mut stack: Vec<u8> = Vec::with_capacity(STACK_SIZE);
    // The stack grows down, from an address that is a multiple of 16 on every architecture.
    let top = stack.as_mut_ptr().wrapping_add(STACK_SIZE).map_addr(|address| address & !15);
    let argument = std::ptr::from_mut(&mut child).cast();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child has a stack of its own, which is freed only after it is gone: with CLONE_VFORK this call returns
    // when the child has executed another program or ended. Thread data are shared, and the only thread that uses them
    // waits. `call` never returns.
    let pid = unsafe { libc::clone(call, top.cast(), flags, argument) };
    drop(stack);
    if pid == -1 {
        return Err(io::Error::last_os_error());
    }
    Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Lets SIGPIPE end the process again: Rust's runtime ignores it, and a program that is executed would inherit that.
///
/// # Errors
/// The kernel's.
pub fn restore_broken_pipe() -> io::Result<()> {
    // SAFETY: no handler is installed, only the kernel's own action.
    let result = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if result == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Puts a copy of `source` in the place of descriptor `number`, which stays open over execve(2); what was there is
/// closed. For the standard streams, which nobody owns.
///
/// # Errors
/// The kernel's.
pub fn replace_descriptor(source: impl AsFd, number: i32) -> io::Result<()> {
    // SAFETY: the numbers passed are 0, 1 and 2, whose owner is the process; no OwnedFd refers to them.
    let result = unsafe { libc::dup2(source.as_fd().as_raw_fd(), number) };
    if result == number { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the execution domain to Linux's plain one (personality(2)): a caller's switched-off address randomisation
/// would otherwise last.
///
/// # Errors
/// The kernel's.
pub fn reset_personality() -> io::Result<()> {
    // SAFETY: takes a number.
    if unsafe { libc::personality(0) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the process at once: no destructors, no exit handlers, no flushing of what the parent had buffered.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Marks every descriptor from `first` on to be closed by execve(2). Needs Linux 5.11.
///
/// # Errors
/// The kernel's: EINVAL before Linux 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    close_range(first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: u32, last: u32, flags: u32) -> io::Result<()> {
    // SAFETY: takes three numbers. With CLOSE_RANGE_CLOEXEC no descriptor is closed under its owner.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
