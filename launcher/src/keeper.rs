//! The keeper: a small process that makes a mount of a package's image, serves it, and hands it out by descriptor.
//!
//! ```text
//! launcher                                   keeper
//!   start ── clone3(new user + mount namespace) ──▶ closes what it inherited
//!     │                                             opens /dev/fuse, makes a mount that is attached nowhere
//!     │                                             gives up its rights, starts the threads that serve
//!     │ ◀────────── ready, or the step that failed ─┤
//!   mount ── "mount" ─────────────────────────────▶ clones the mount
//!     │ ◀────────── a descriptor of the clone ──────┤
//!   (attaches it in a mount namespace of its own)   … serves …
//!   drop ── socket closed ────────────────────────▶ ends
//! ```
//!
//! Invariants:
//! - The mount is never attached in the keeper's namespace: an attached one could not be passed on. All clones have one
//!   superblock, so everything that reads them shares the kernel's one cache.
//! - What the keeper needs of the file system it opens before it serves its first request; from then on it can open
//!   nothing, start nothing and talk to nobody but the kernel's FUSE and its socket (`confinement`). What it parses is
//!   untrusted, so it is confined as if it were already taken over.
//! - It lives as long as somebody holds the other end of its socket. The kernel closes that with its holder, however
//!   it ends; so no keeper outlives its users, and none has to be hunted down.
//! - Where another process wants to go on with the same mount, a copy of the /dev/fuse descriptors is all that it needs:
//!   the keeper has no state that it did not compute from the package.

mod confinement;
mod mount;
mod process;
mod report;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::image::{CacheSize, CheckedSource, ImageError, Reader};
use crate::package::Package;
use crate::sandbox::channel;
use crate::sandbox::step::{InStep, StepError};
use crate::sys::clone::{Side, clone_process};
use process::Task;

/// What can be set of a keeper.
#[derive(Debug, Default)]
pub struct Options {
    /// Memory for decompressed blocks.
    pub cache: CacheSize,
    /// Threads that serve; by default as many as there are processors, 2 to 4.
    pub threads: Option<usize>,
    /// Where a line is written for each damaged place of the package that somebody ran into, once for each; mostly a copy of
    /// the standard error. Nobody is told where there is none.
    pub report: Option<OwnedFd>,
}

/// Why a package could not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The image cannot be read.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A step of starting or mounting failed.
    #[error("cannot {}", .step.step)]
    Step {
        /// Which.
        step: StepError,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The keeper ended without a word, which it never does by itself.
    #[error("the process that serves the package has ended")]
    Ended,
}

impl From<StepError> for KeeperError {
    fn from(step: StepError) -> KeeperError {
        KeeperError::Step { source: step.cause(), step }
    }
}

/// A running keeper, which ends when this is dropped.
#[derive(Debug)]
pub struct Keeper {
    channel: OwnedFd,
    process: OwnedFd,
}

/// Asks for a mount.
const MOUNT: &[u8] = b"mount";
/// The answer, where nothing went wrong; otherwise it is a [`StepError`] as JSON.
const DONE: &[u8] = b"done";

/// Starts a keeper for a package. `label` names the package to people and in the list of mounts: `hello x1`.
///
/// Whether the package's envelope may be believed is for the caller to have settled: the keeper checks the image
/// against the index that the envelope names. Everything that could be wrong with the start has gone wrong, and is told,
/// when this returns.
///
/// # Errors
/// [`KeeperError`]. The calling process must have one thread (the step `make the namespaces` fails with EBUSY
/// otherwise).
pub fn start(package: Arc<Package>, label: &str, options: Options) -> Result<Keeper, KeeperError> {
    // Read here, where an error has a type; the keeper gets it with the rest of the memory.
    let reader = Reader::open(Arc::new(CheckedSource::new(Arc::clone(&package))), options.cache)?;
    reader.root()?;
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let (ours, theirs) = channel::pair().step("make a channel")?;
    let namespaces = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
    match clone_process(namespaces).step("make the namespaces")? {
        Side::Child => process::run(&Task { package, label, options, user, channel: theirs }, reader),
        Side::Parent { pidfd, .. } => {
            drop(theirs);
            let keeper = Keeper { channel: ours, process: pidfd };
            keeper.answer()?;
            Ok(keeper)
        }
    }
}

impl Keeper {
    /// Returns a new mount of the package, read-only, no set-uid, no devices, attached nowhere: the caller attaches it
    /// with move_mount(2), in any user namespace of the same user.
    ///
    /// Before Linux 6.15 a mount that is attached nowhere cannot be cloned, and there is one only to be had.
    ///
    /// # Errors
    /// [`KeeperError`].
    pub fn mount(&self) -> Result<OwnedFd, KeeperError> {
        channel::send(&self.channel, MOUNT, None).step("ask for a mount")?;
        self.answer()?.ok_or(KeeperError::Ended)
    }

    /// The keeper's process, for poll(2): readable once it has ended.
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    /// Ends the keeper and waits until it is gone. Whoever still has the mount gets errors from then on, but for what the
    /// kernel has cached.
    ///
    /// Dropping the value ends it as well, a moment later.
    pub fn end(self) {
        let Keeper { channel, process } = self;
        drop(channel);
        // ECHILD: somebody has waited for it already.
        let _ = waitid(WaitId::PidFd(process.as_fd()), WaitIdOptions::EXITED);
    }

    fn answer(&self) -> Result<Option<OwnedFd>, KeeperError> {
        match channel::receive(&self.channel) {
            Ok(Some((bytes, descriptor))) if bytes == DONE => Ok(descriptor),
            Ok(Some((bytes, _))) => match serde_json::from_slice::<StepError>(&bytes) {
                Ok(step) => Err(step.into()),
                Err(_) => Err(KeeperError::Ended),
            },
            Ok(None) => Err(KeeperError::Ended),
            Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => Err(KeeperError::Ended),
            Err(error) => Err(StepError::new("hear from the keeper", None, &error).into()),
        }
    }
}
