//! The keeper: a small process that makes a mount of a package's image, serves it, and lends it to every launch of that
//! revision.
//!
//! ```text
//! launcher A                           keeper                               launcher B
//!   open ── clone3(user + mount ns) ──▶ closes what it inherited
//!     │                                 /dev/fuse, a mount that is attached nowhere
//!     │                                 gives up its rights, serves
//!     │ ──────── "mount" ─────────────▶ │
//!     │ ◀── mount, /dev/fuse devices ── │ ◀───────── connect, "mount" ───────── open
//!   (clones it into its sandbox)        │ ────────── mount, devices ──────────▶ │
//!   ends ── socket closed ────────────▶ │                        (clones it into its sandbox)
//!                                       │ ◀───────── socket closed ──────────── ends
//!                                       lingers, and ends
//! ```
//!
//! Invariants:
//! - The mount is never attached itself: an attached one could not be passed on. Every sandbox attaches a clone of it, and
//!   all clones have one superblock, so everything that reads them shares the kernel's one cache.
//! - A keeper is known by the hash of its package's envelope, and so by every byte that it may serve: two revisions never
//!   meet, and a launch before a refresh has nothing to do with one after it.
//! - What the keeper needs of the file system it opens before it serves its first request; from then on it can open
//!   nothing, start nothing, and talk to nobody but the kernel's FUSE and whoever connects to its socket, which lies in
//!   a folder of the user's alone (`confinement`). What it parses is untrusted, so it is confined as if it were already
//!   taken over.
//! - It has no state that it did not compute from the package: whoever holds the devices can go on in its place.
//! - The answer to "mount" is the only sign of a keeper that counts. A launch without one starts its own.
//!
//! # Life
//!
//! It lives as long as anybody is connected, and [`Options::linger`] longer. Its socket's name is a lease: when that is
//! gone it lingers no longer, so that a removed package, or a runtime folder that is cleared at logout, ends it.
//!
//! # Races
//!
//! | race | how it ends |
//! |---|---|
//! | two launches at once, no keeper | both find nobody; both want the lock; one starts a keeper, and the other finds it when it has the lock |
//! | a launch while the keeper is ending | the keeper shuts its socket, and only then looks whether somebody has come: who came before is served, who comes after is refused and starts another; who was let in by the kernel and never served sees the socket closed, and starts another |
//! | refresh or removal while an app runs | the app's keeper has the image open and the app's connection; a new revision has another name |
//! | a launcher killed while it starts a keeper | the lock is released with its last descriptor; the keeper has no client, and lingers |
//! | a launch comes first when a keeper was killed | it knows nothing of the mount, and makes another one; those who use the old one find each other under a name of the mount's own |
//! | a keeper that is stopped, or stuck | it does not answer in time: the launch starts one of its own, which nobody else finds |
//!
//! # A keeper that is killed
//!
//! Every launcher holds copies of the /dev/fuse devices, so that the connection outlives its server, with the requests that
//! were being answered. The socket tells the launcher at once. The first one to have the lock starts a successor over
//! the same devices, which has the kernel ask again what was not answered (FUSE_NOTIFY_RESEND, Linux 6.9); the others
//! find that it serves their own mount. The app notices a pause of some milliseconds. Where it cannot be done, the launcher
//! gives the devices up: then the kernel answers every read with an error. So it does when successors keep ending, since
//! a request that ends each of them is what ended them.

mod attendant;
mod confinement;
mod mount;
mod place;
mod process;
mod report;
mod watch;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pack_schemas::text::visible;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::image::{CacheSize, CheckedSource, ImageError, Reader};
use crate::package::Package;
use crate::sandbox::channel;
use crate::sandbox::step::{InStep, StepError};
use crate::sys::clone::{Side, clone_process};
use mount::Connection;
pub use mount::attachable;
use place::Entrance;
pub use place::Place;
use process::Task;
pub(crate) use process::replace_streams;
pub use watch::Watch;

/// What can be set of a keeper. Where a launch finds one that runs, that one's settings hold.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Memory for decompressed blocks.
    pub cache: CacheSize,
    /// Threads that serve; by default as many as there are processors, 2 to 4.
    pub threads: Option<usize>,
    /// How long it goes on when nobody uses it any more.
    pub linger: Duration,
    /// Most keepers in a row that may follow one that ended, within a minute, before the mount is given up: a request
    /// that ends every keeper is asked of every one.
    pub successors: usize,
}

impl Default for Options {
    fn default() -> Options {
        let linger = Duration::from_secs(60);
        Options { cache: CacheSize::default(), threads: None, linger, successors: 5 }
    }
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

/// Asks for the mount. The number changes with everything that a successor of another version of pack would have to know
/// to go on in the middle: how nodes are numbered, what is agreed on with the kernel, these messages.
const MOUNT: &[u8] = b"mount 1";
/// Begins the answer, which comes with the mount and the devices and ends with the number of the process; where something
/// went wrong the answer is a [`StepError`] as JSON.
const DONE: &[u8] = b"done ";
/// Begins a line for the user.
const REPORT: &[u8] = b"report ";

/// For how long a keeper that ended is counted.
const SUCCESSION_TIME: Duration = Duration::from_secs(60);

/// A launch's hold on a mounted package. The keeper behind it may be another one's as well; it stays as long as this
/// does.
#[derive(Debug)]
pub struct Keeper {
    package: Arc<Package>,
    label: String,
    options: Options,
    place: Option<Arc<Place>>,
    /// Nothing once it was given up.
    served: Option<Served>,
    /// When successors were started or found.
    successions: Vec<Instant>,
}

/// A connection to a keeper's process.
#[derive(Debug)]
struct Served {
    channel: OwnedFd,
    connection: Connection,
    process: Pid,
    child: Option<ChildProcess>,
}

/// A keeper's process that is a child of this one.
#[derive(Debug)]
struct ChildProcess {
    process: OwnedFd,
    /// Whether other launches can find it.
    public: bool,
}

/// What became of asking at a place.
enum Found {
    Served(Served),
    /// Nobody is there, or was.
    Nobody,
    /// Somebody is there who is of no use: too slow, or serving another mount of the package.
    Unusable,
}

/// Returns a hold on the mount of a package: that of a keeper which runs already, where `place` has one, or a new one's.
/// Without a place, or where it cannot be used, the keeper is for this launch alone and ends with it. `label` names the
/// package to people and in the list of mounts: `hello x1`.
///
/// Whether the package's envelope may be believed is for the caller to have settled: the keeper checks the image
/// against the index that the envelope names. Everything that could be wrong with the start has gone wrong, and is told,
/// when this returns.
///
/// # Errors
/// [`KeeperError`]. The calling process must have one thread (the step `make the namespaces` fails with EBUSY
/// otherwise).
pub fn open(
    package: Arc<Package>,
    label: &str,
    options: Options,
    place: Option<Arc<Place>>,
) -> Result<Keeper, KeeperError> {
    let label = label.to_owned();
    let mut keeper = Keeper { package, label, options, place, served: None, successions: Vec::new() };
    keeper.served = Some(match keeper.find_or_start(None) {
        // Killed before it had answered. Whoever kills the next one too means it.
        Err(KeeperError::Ended) => keeper.find_or_start(None)?,
        found => found?,
    });
    Ok(keeper)
}

impl Keeper {
    /// Returns the mount of the package, read-only, no set-uid, no devices, attached nowhere. It is everybody's: whoever
    /// wants to attach it takes a clone ([`attachable`]), in any user namespace of the same user.
    ///
    /// # Errors
    /// [`KeeperError`], where the keeper has ended for good or descriptors have run out.
    pub fn mount(&self) -> Result<OwnedFd, KeeperError> {
        let served = self.served.as_ref().ok_or(KeeperError::Ended)?;
        Ok(served.connection.mount.try_clone().step("copy the mount's descriptor")?)
    }

    /// The process that serves now, by its own word; nothing once it has ended for good.
    pub fn process(&self) -> Option<Pid> {
        self.served.as_ref().map(|served| served.process)
    }

    /// Deals with what the keeper says when its channel is readable: `tell` gets lines for the user, without a line
    /// end; and where the keeper has ended, its successor is found or started.
    fn attend(&mut self, tell: &mut dyn FnMut(&str)) {
        if !self.hear(tell) {
            self.succeed(tell);
        }
    }

    /// Hears one message; false where the keeper has ended.
    fn hear(&self, tell: &mut dyn FnMut(&str)) -> bool {
        let Some(served) = &self.served else { return false };
        match channel::receive(&served.channel) {
            Ok(Some(message)) => {
                if let Some(line) = message.bytes.strip_prefix(REPORT) {
                    tell(&visible(&String::from_utf8_lossy(line)));
                }
                true
            }
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
            Ok(None) => false,
        }
    }

    /// Sees to a successor of a keeper that has ended, or gives the mount up.
    fn succeed(&mut self, tell: &mut dyn FnMut(&str)) {
        let Some(Served { connection, child, .. }) = self.served.take() else { return };
        if let Some(child) = child {
            // ECHILD: somebody has waited for it already.
            let _ = waitid(WaitId::PidFd(child.process.as_fd()), WaitIdOptions::EXITED);
        }
        let found = loop {
            let now = Instant::now();
            self.successions.retain(|then| now.duration_since(*then) < SUCCESSION_TIME);
            self.successions.push(now);
            if self.successions.len() > self.options.successors {
                break Err(KeeperError::Ended);
            }
            match self.find_or_start(Some(&connection)) {
                // Killed before it served: it counts like any other.
                Err(KeeperError::Ended) => {}
                found => break found,
            }
        };
        match found {
            Ok(served) => self.served = Some(served),
            Err(error) => {
                let mut cause = String::new();
                if let KeeperError::Step { source, .. } = &error {
                    cause = format!(": {source}");
                }
                tell(&format!(
                    "package {}: the process that served it has ended, and no other could go on: {error}{cause}",
                    self.label
                ));
            }
        }
    }

    /// Lets go of the mount. Where the keeper was for this launch alone, waits until it is gone.
    pub fn end(mut self) {
        let Some(Served { channel, connection, child, .. }) = self.served.take() else { return };
        drop((channel, connection));
        if let Some(child) = child.filter(|child| !child.public) {
            let _ = waitid(WaitId::PidFd(child.process.as_fd()), WaitIdOptions::EXITED);
        }
    }

    /// Finds a keeper or starts one; with a predecessor, one that serves its mount.
    fn find_or_start(&self, predecessor: Option<&Connection>) -> Result<Served, KeeperError> {
        let alone = || self.start(None, predecessor);
        let Some(place) = &self.place else { return alone() };
        let names = self.names(predecessor);
        for name in &names {
            if let Found::Served(served) = self.find(place, name, predecessor) {
                return Ok(served);
            }
        }
        // Keepers are started one after another, so that a second one finds the first.
        let Ok(_lock) = place.lock() else { return alone() };
        for name in &names {
            match self.find(place, name, predecessor) {
                Found::Served(served) => return Ok(served),
                Found::Unusable => {}
                Found::Nobody => {
                    place.sweep();
                    return match place.listen(name) {
                        Ok(entrance) => self.start(Some(entrance), predecessor),
                        Err(_) => alone(),
                    };
                }
            }
        }
        alone()
    }

    /// The names that a keeper may have, in the order in which they are tried. That of the mount is for successors: they
    /// have to find each other although a launch that knew nothing of them has taken the package's own name, since with
    /// two keepers on one connection nobody answers what the first one of them to end had read.
    fn names(&self, predecessor: Option<&Connection>) -> Vec<String> {
        let package = self.package.envelope_hash().to_string();
        let of_mount = predecessor.and_then(Connection::name).map(|mount| format!("{package}.{mount}"));
        std::iter::once(package).chain(of_mount).collect()
    }

    /// Asks at a place. A failure of any kind is nobody, or somebody unusable: a launch can always start a keeper.
    fn find(&self, place: &Place, name: &str, predecessor: Option<&Connection>) -> Found {
        let channel = match place.connect(name) {
            Ok(Some(found)) => found,
            Ok(None) => return Found::Nobody,
            Err(_) => return Found::Unusable,
        };
        if let Err(error) = channel::send(&channel, MOUNT, &[]) {
            return if error.kind() == io::ErrorKind::BrokenPipe { Found::Nobody } else { Found::Unusable };
        }
        match answer(channel, None) {
            Ok(served) if predecessor.is_some_and(|predecessor| !predecessor.is_same(&served.connection)) => {
                Found::Unusable
            }
            Ok(served) => Found::Served(served),
            Err(KeeperError::Ended) => Found::Nobody,
            Err(_) => Found::Unusable,
        }
    }

    /// Starts a keeper, which others find through `entrance`, or nobody.
    fn start(
        &self,
        entrance: Option<Entrance>,
        predecessor: Option<&Connection>,
    ) -> Result<Served, KeeperError> {
        // Read here, where an error has a type; the keeper gets it with the rest of the memory.
        let reader =
            Reader::open(Arc::new(CheckedSource::new(Arc::clone(&self.package))), self.options.cache)?;
        reader.root()?;
        let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let (ours, theirs) = channel::pair().step("make a channel")?;
        let public = entrance.is_some();
        let task = Task {
            package: &self.package,
            label: &self.label,
            options: &self.options,
            user,
            channel: theirs,
            entrance,
            predecessor,
        };
        let namespaces = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
        match clone_process(namespaces).step("make the namespaces")? {
            Side::Child => process::run(task, reader),
            Side::Parent { pidfd, .. } => {
                drop(task);
                // A keeper that has failed is gone before it is asked, and has left word of what failed.
                let _ = channel::send(&ours, MOUNT, &[]);
                answer(ours, Some(ChildProcess { process: pidfd, public }))
            }
        }
    }
}

/// Hears the answer to "mount".
fn answer(channel: OwnedFd, child: Option<ChildProcess>) -> Result<Served, KeeperError> {
    // A keeper that ends without having read the question resets the connection, once; what it has said is still there.
    let heard = match channel::receive(&channel) {
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => channel::receive(&channel),
        heard => heard,
    };
    let message = match heard {
        Ok(message) => message.ok_or(KeeperError::Ended)?,
        Err(error) if error.raw_os_error() == Some(libc::ECONNRESET) => return Err(KeeperError::Ended),
        Err(error) => return Err(StepError::new("hear from the keeper", None, &error).into()),
    };
    if let Some(process) = message.bytes.strip_prefix(DONE) {
        let process = str::from_utf8(process).ok().and_then(|text| Pid::from_raw(text.parse().ok()?));
        let connection = Connection::of_descriptors(message.descriptors);
        let (process, connection) = process.zip(connection).ok_or(KeeperError::Ended)?;
        return Ok(Served { channel, connection, process, child });
    }
    match serde_json::from_slice::<StepError>(&message.bytes) {
        Ok(step) => Err(step.into()),
        Err(_) => Err(KeeperError::Ended),
    }
}
