//! Installing a seccomp filter, and answering the calls that it tells of (seccomp_unotify(2)).

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One instruction of a classic BPF program, `struct sock_filter` of `linux/filter.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Instructions to skip where a comparison holds.
    pub if_true: u8,
    /// Instructions to skip where it does not.
    pub if_false: u8,
    /// Operand.
    pub operand: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Installs `program` for the calling thread and all that it starts; it can never be taken off again (seccomp(2)).
/// The thread must have `no_new_privs` set, or the capability that replaces it.
///
/// # Errors
/// The kernel's: EINVAL for a malformed program, EACCES without `no_new_privs`, ENOSYS without seccomp filters.
pub fn install(program: &[Instruction]) -> io::Result<()> {
    set_filter(program, 0).map(drop)
}

/// Installs `program` as [`install`] does, and gives the listener that is told of calls for which it answers
/// `SECCOMP_RET_USER_NOTIF`; it is closed by execve(2). For a process with one thread: others would go on without the filter.
///
/// # Errors
/// As for [`install`]; EBUSY where a filter that the process was started with has a listener already, EINVAL before Linux
/// 5.0.
pub fn install_listening(program: &[Instruction]) -> io::Result<OwnedFd> {
    // A call that was received is then interrupted by nothing but the caller's end, and so happens once (Linux 5.19).
    let uninterrupted = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let result = match set_filter(program, uninterrupted) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            set_filter(program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)
        }
        result => result,
    };
    let number = i32::try_from(result?).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn set_filter(program: &[Instruction], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let program = Program { length, instructions: program.as_ptr() };
    // SAFETY: the kernel reads `length` instructions of the layout of `struct sock_filter` behind the pointer, which
    // the slice keeps alive until the call returns, and writes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program))
    };
    if result >= 0 { Ok(result) } else { Err(io::Error::last_os_error()) }
}

/// A call that waits for an answer.
#[derive(Debug, Clone, Copy)]
pub struct Notification {
    /// What its answer refers to.
    pub id: u64,
    /// The thread that made it, by its number in the pid namespace of whoever receives this; 0 where it has none there.
    pub thread: u32,
    /// The call's number.
    pub number: u32,
    /// Its arguments, as they stand in the registers: the kernel will use these very values.
    pub arguments: [u64; 6],
}

/// Takes the next call; nothing where its caller has ended meanwhile. Waits where there is none: poll first.
///
/// # Errors
/// The kernel's.
pub fn receive(listener: impl AsFd) -> io::Result<Option<Notification>> {
    // The kernel insists on zeroes.
    let mut received = MaybeUninit::<libc::seccomp_notif>::zeroed();
    // SAFETY: the request's number holds the size of the structure, which the kernel compares with its own, fills in, and
    // which outlives the call.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, received.as_mut_ptr())
    };
    if result != 0 {
        let error = io::Error::last_os_error();
        return match error.raw_os_error() {
            Some(libc::ENOENT | libc::EINTR) => Ok(None),
            _ => Err(error),
        };
    }
    // SAFETY: the structure is made of numbers, for which zeroes are values; the kernel has filled it in.
    let received = unsafe { received.assume_init() };
    Ok(Some(Notification {
        id: received.id,
        thread: received.pid,
        number: received.data.nr as u32,
        arguments: received.data.args,
    }))
}

/// Has a call fail with an error number.
///
/// # Errors
/// The kernel's. That the caller has ended meanwhile is none.
pub fn answer(listener: impl AsFd, id: u64, errno: i32) -> io::Result<()> {
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: -errno, flags: 0 })
}

/// Lets the kernel carry a call out as if there were no filter. What lies behind its pointers may be something else by
/// then than what was read: this is never to decide anything (seccomp_unotify(2)).
///
/// # Errors
/// As for [`answer`].
pub fn let_through(listener: impl AsFd, id: u64) -> io::Result<()> {
    let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
    send(listener, libc::seccomp_notif_resp { id, val: 0, error: 0, flags })
}

fn send(listener: impl AsFd, response: libc::seccomp_notif_resp) -> io::Result<()> {
    // SAFETY: the request's number holds the size of the structure, which the kernel compares with its own and reads.
    let result = unsafe {
        libc::ioctl(
            listener.as_fd().as_raw_fd(),
            libc::SECCOMP_IOCTL_NOTIF_SEND,
            std::ptr::from_ref(&response),
        )
    };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            error => Err(error),
        },
    }
}

/// Whether the caller still waits: then what was read of its memory before was its own, and of no other process that
/// came by the same number.
pub fn still_waits(listener: impl AsFd, id: u64) -> bool {
    // SAFETY: the kernel reads a number of eight bytes.
    let result = unsafe {
        libc::ioctl(listener.as_fd().as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_ref(&id))
    };
    result == 0
}
