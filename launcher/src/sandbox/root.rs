//! The root folder: carries out the list of entries of a plan.
//!
//! Runs in the sandbox's first process, in its new namespaces, where it has every capability over its own mounts.
//!
//! 1. Nothing propagates in or out: every mount is made private.
//! 2. While the host's tree is still there, everything of the host's that will be shown is cloned by descriptor
//!    (`openat2`, then `open_tree`) and restricted. The file systems of the sandbox's own are made now too: the kernel
//!    gives a new proc only to who can see a whole one.
//! 3. A tmpfs becomes the root (`pivot_root`), and the host's tree is let go: from here on no path leads there.
//! 4. Entry by entry, places are made in the tmpfs and the clones attached to them by descriptor. No name of the
//!    host's is looked up again, so that nothing can be exchanged between check and use.
//! 5. The tmpfs is made read-only.

mod images;
mod layers;
mod own_data;
mod small;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use pack_schemas::plan::{Access, Companion, Content, Entry, Plan, Processes, Source};
use rustix::fs::{
    CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, mknodat, openat, openat2, symlinkat, unlinkat,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use rustix::process::{chdir, fchdir, pivot_root};

use crate::companion::bus::socket_name;
use crate::companion::is_handed_over;
use crate::sandbox::follow;
use crate::sandbox::init::BACKLOG;
use crate::sandbox::step::{InStep, StepError};
use crate::sys::mount::{
    MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, restrict, restrict_recursively,
};

pub use images::Images;
pub(crate) use small::{Small, assemble_small, enter_root_with};

/// Where the sockets of filtered buses lie while the root is made.
const BUSES: &str = "/.buses";
/// Size limit of the root's own tmpfs, which holds a few links and small files.
const ROOT_SIZE: &str = "16M";

const FOLDER: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);
const STRICT: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// What is at hand for an entry before the host's tree is let go.
enum Ready {
    /// A detached mount.
    Mount(OwnedFd),
    /// The layers of an overlay that are not in images, as detached mounts, in the order of the layers.
    Layers(Vec<OwnedFd>),
    /// The bytes of a file.
    Bytes(Vec<u8>),
    /// Nothing is needed.
    Plain,
    /// It is optional and not there.
    Missing,
}

/// What is left to be used of a root folder that was made.
pub struct Assembled {
    /// The devpts, where the plan has one, for a terminal of the app's own.
    pub terminals: Option<OwnedFd>,
    /// The sockets that companions are to serve, in the order of the plan.
    pub listeners: Vec<OwnedFd>,
    /// The root's own tmpfs once more, as a detached mount that can be written to, where files are followed.
    pub writable: Option<OwnedFd>,
}

/// Makes the root folder and enters it.
///
/// # Errors
/// [`StepError`] with the path inside, or outside, that could not be made or opened.
pub fn assemble(plan: &Plan, images: &Images, sockets: Option<&OwnedFd>) -> Result<Assembled, StepError> {
    make_private()?;
    own_data::make(&plan.made)?;
    let mut ready = Vec::with_capacity(plan.root.len());
    for entry in &plan.root {
        ready.push((entry, prepare(entry)?));
    }
    let root = enter_new_root()?;
    let mut places = Places::new(&root);
    images::attach_hidden(&mut places, images)?;
    if let Some(sockets) = sockets {
        places.attach(sockets.as_fd(), BUSES)?;
    }
    let (mut terminals, mut listeners) = (None, Vec::new());
    for (entry, ready) in ready {
        if matches!(&entry.content, Content::Companion { companion } if is_handed_over(companion)) {
            listeners.push(make_listener(&mut places, &entry.target)?);
            continue;
        }
        place(&mut places, entry, &ready, images)?;
        if let (Content::Terminals, Ready::Mount(mount)) = (&entry.content, ready) {
            terminals = Some(mount);
        }
    }
    images::clear_away(&mut places, images)?;
    places.clear_away(BUSES)?;
    let writable = follow::is_wanted(plan).then(|| clone_root(&root)).transpose()?;
    close_root(&root)?;
    Ok(Assembled { terminals, listeners, writable })
}

/// The root's own tmpfs, without what lies on it.
fn clone_root(root: &OwnedFd) -> Result<OwnedFd, StepError> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(root, "", flags).step_on("clone the mount of", "/")
}

/// Makes a listening Unix socket. The way there is the root folder's own, so that its path can be used as it is.
fn make_listener(places: &mut Places<'_>, target: &str) -> Result<OwnedFd, StepError> {
    places.folder_of(target).step_on("make the folder of", target)?;
    let make = || -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(target)?)?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    };
    make().step_on("make the socket", target)
}

fn make_private() -> Result<(), StepError> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .step("make the mounts private")
}

fn close_root(root: &OwnedFd) -> Result<(), StepError> {
    restrict(root.as_fd(), MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
        .step("make the root folder read-only")
}

/// Folders of /proc that hold settings of the kernel's. Some belong to the namespaces of the sandbox, whose owner the
/// user is, and would be the app's to write.
const KERNEL_SETTINGS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"];

/// Makes the kernel's settings in /proc read-only. The rest of it stays writable: a process may set its own name there.
///
/// # Errors
/// [`StepError`] with the folder.
pub fn close_proc(plan: &Plan) -> Result<(), StepError> {
    // The host's is shown read-only as a whole.
    if plan.processes != Processes::Own {
        return Ok(());
    }
    for path in KERNEL_SETTINGS {
        let tree =
            match open_tree(CWD, *path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC) {
                Err(rustix::io::Errno::NOENT) => continue,
                result => result.step_on("clone the mount of", path)?,
            };
        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        restrict(tree.as_fd(), attributes).step_on("restrict", path)?;
        move_mount(tree.as_fd(), "", CWD, *path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .step_on("attach the mount of", path)?;
    }
    Ok(())
}

/// What the kernel answers where nothing is, or a link leads to where the user can reach nothing.
const NOT_THERE: &[i32] = &[libc::ENOENT, libc::ENOTDIR, libc::EACCES, libc::ELOOP, libc::ENXIO];

fn prepare(entry: &Entry) -> Result<Ready, StepError> {
    let target = entry.target.as_str();
    let own = |result: io::Result<OwnedFd>| result.map(Ready::Mount).step_on("mount", target);
    match &entry.content {
        Content::Bind { source, access, optional } => match clone_host(source, *access) {
            Err(error) if *optional && NOT_THERE.contains(&error.errno) => Ok(Ready::Missing),
            result => result.map(Ready::Mount),
        },
        Content::Copy { path } => Ok(follow::read(path).map_or(Ready::Missing, Ready::Bytes)),
        Content::Overlay { layers } => layers::prepare(layers).map(Ready::Layers),
        Content::Tmpfs { size, mode } => own(make(
            "tmpfs",
            &[("size", &size.to_string()), ("mode", &format!("{mode:o}"))],
            MountAttrFlags::empty(),
        )),
        Content::Proc => own(make("proc", &[], MountAttrFlags::MOUNT_ATTR_NOEXEC)),
        Content::Terminals => own(make_with_devices(
            "devpts",
            &[("ptmxmode", "0666"), ("mode", "0620")],
            MountAttrFlags::MOUNT_ATTR_NOEXEC,
        )),
        Content::Folder
        | Content::Symlink { .. }
        | Content::File { .. }
        | Content::Image { .. }
        | Content::Again { .. }
        | Content::Companion { .. } => Ok(Ready::Plain),
    }
}

/// A detached copy of what `source` names and of every mount below it: a copy without those would uncover what they
/// cover.
fn clone_host(source: &Source, access: Access) -> Result<OwnedFd, StepError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_NO_AUTOMOUNT
        | OpenTreeFlags::AT_RECURSIVE;
    let attributes = match access {
        Access::ReadOnly => MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY,
        Access::ReadWrite | Access::Socket => MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        Access::Device => MOUNT_ATTR_NOSUID,
    };
    let (tree, path) = match source {
        Source::Path(path) => (open_tree(CWD, path, flags).step_on("clone the mount of", path)?, path),
        Source::Beneath { folder, path } => {
            let found = open_beneath(folder, path)?;
            let flags = flags | OpenTreeFlags::AT_EMPTY_PATH;
            (open_tree(found, "", flags).step_on("clone the mount of", path)?, path)
        }
    };
    expect_kind(&tree, access, path)?;
    restrict_recursively(tree.as_fd(), attributes).step_on("restrict", path)?;
    Ok(tree)
}

/// What is shown as files is files, and what is shown as a socket is one: whatever was exchanged for it since it was
/// looked at. The answer for another kind is that of a thing that is not there.
fn expect_kind(tree: &OwnedFd, access: Access, path: &str) -> Result<(), StepError> {
    let found = FileType::from_raw_mode(fstat(tree).step_on("look at", path)?.st_mode);
    let fits = match access {
        Access::ReadOnly | Access::ReadWrite => matches!(found, FileType::RegularFile | FileType::Directory),
        Access::Device => {
            matches!(found, FileType::CharacterDevice | FileType::BlockDevice | FileType::Directory)
        }
        Access::Socket => found == FileType::Socket,
    };
    match fits {
        true => Ok(()),
        false => Err(rustix::io::Errno::NXIO).step_on("show", path),
    }
}

/// Opens a path below a folder in which an app may have planted links.
fn open_beneath(folder: &str, path: &str) -> Result<OwnedFd, StepError> {
    let path_only = OFlags::PATH | OFlags::CLOEXEC;
    let opened = openat(CWD, folder, path_only | OFlags::DIRECTORY, Mode::empty()).step_on("open", folder)?;
    // Without O_NOFOLLOW: with it, openat2(2) opens a link at the end of the path itself, in spite of
    // RESOLVE_NO_SYMLINKS, instead of refusing it.
    openat2(opened, path, path_only, Mode::empty(), STRICT)
        .step_on("open without following links", &format!("{folder}/{path}"))
}

fn make(file_system: &str, options: &[(&str, &str)], attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    make_with_devices(file_system, options, attributes | MountAttrFlags::MOUNT_ATTR_NODEV)
}

fn make_with_devices(
    file_system: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(file_system, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    fsconfig_create(context.as_fd())?;
    Ok(fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        attributes | MountAttrFlags::MOUNT_ATTR_NOSUID,
    )?)
}

/// Makes a tmpfs the root, and lets the host's tree go.
///
/// # Errors
/// The kernel's, with the step.
pub(crate) fn enter_new_root() -> Result<OwnedFd, StepError> {
    let old = openat(CWD, "/", FOLDER, Mode::empty()).step_on("open", "/")?;
    let root = make("tmpfs", &[("size", ROOT_SIZE), ("mode", "0755")], MountAttrFlags::empty())
        .step("mount the root folder")?;
    move_mount(root.as_fd(), "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .step("attach the root folder")?;
    fchdir(&root).step("enter the root folder")?;
    // The old root comes to lie over the new one (pivot_root(2), the example of new_root and put_old being "."); then
    // it is taken off, with every mount on it.
    pivot_root(".", ".").step("make the root folder the root")?;
    fchdir(&old).step("enter the host's root folder")?;
    unmount(".", UnmountFlags::DETACH).step("let the host's root folder go")?;
    chdir("/").step("enter the root folder")?;
    Ok(root)
}

fn place(places: &mut Places<'_>, entry: &Entry, ready: &Ready, images: &Images) -> Result<(), StepError> {
    let target = entry.target.as_str();
    match (&entry.content, ready) {
        (_, Ready::Missing) => Ok(()),
        (_, Ready::Mount(mount)) => places.attach(mount.as_fd(), target),
        (Content::Overlay { layers }, Ready::Layers(host)) => layers::overlay(places, target, layers, host),
        (Content::Image { image, path }, _) => images::place(places, *image, path, target, images),
        (Content::Companion { companion: Companion::Bus { bus, .. } }, _) => {
            let source = format!("{BUSES}/{}", socket_name(*bus));
            let tree = clone_host(&Source::Path(source), Access::Socket)?;
            places.attach(tree.as_fd(), target)
        }
        (Content::Again { path }, _) => {
            let tree = images::again(places.root, path).step_on("clone the mount of", path)?;
            places.attach(tree.as_fd(), target)
        }
        (Content::Folder, _) => places.make_folder(target).step_on("make the folder", target),
        (Content::Symlink { to }, _) => make_link(places, to.as_bytes(), target),
        (_, Ready::Bytes(data)) => places.write_file(target, data).step_on("write", target),
        (Content::File { data }, _) => places.write_file(target, data).step_on("write", target),
        // prepare() has made something ready for every other content.
        (content, _) => unreachable!("nothing is ready for {content:?}"),
    }
}

fn make_link(places: &mut Places<'_>, to: &[u8], target: &str) -> Result<(), StepError> {
    let (folder, name) = places.folder_of(target).step_on("make the folder of", target)?;
    symlinkat(to, folder, name).step_on("make the link", target)
}

/// Places in the root folder. Only this process writes here, and still no link is followed: a link on the way would be
/// a mistake in the plan.
struct Places<'a> {
    root: &'a OwnedFd,
    /// The folder that was used last, open, and its path: entries of one folder come one after another.
    last: Option<(String, OwnedFd)>,
}

impl<'a> Places<'a> {
    fn new(root: &'a OwnedFd) -> Places<'a> {
        Places { root, last: None }
    }

    /// Attaches a detached mount at `target`; the place is made, a folder or a file as the mount's root is.
    fn attach(&mut self, mount: BorrowedFd<'_>, target: &str) -> Result<(), StepError> {
        let kind = FileType::from_raw_mode(fstat(mount).step_on("look at", target)?.st_mode);
        let (folder, name) = self.folder_of(target).step_on("make the folder of", target)?;
        let made = match kind {
            FileType::Directory => mkdirat(folder, name, Mode::from(0o755)),
            // A listing tells the kind of the place, not of what is mounted there; and 0:0 is the one device that anybody
            // may make (vfs_mknod, Linux 5.8).
            FileType::CharacterDevice => {
                mknodat(folder, name, FileType::CharacterDevice, Mode::from(0o444), 0)
                    .or_else(|_| mknodat(folder, name, FileType::RegularFile, Mode::from(0o444), 0))
            }
            _ => mknodat(folder, name, FileType::RegularFile, Mode::from(0o444), 0),
        };
        take_what_is_there(made).step_on("make the place of", target)?;
        // Without MOVE_MOUNT_T_SYMLINKS a link at the place itself is not followed.
        move_mount(mount, "", folder, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .step_on("attach the mount of", target)?;
        self.forget(target);
        Ok(())
    }

    fn make_folder(&mut self, target: &str) -> io::Result<()> {
        let (folder, name) = self.folder_of(target)?;
        take_what_is_there(mkdirat(folder, name, Mode::from(0o755)))?;
        openat2(folder, name, FOLDER, Mode::empty(), STRICT)?;
        Ok(())
    }

    fn write_file(&mut self, target: &str, data: &[u8]) -> io::Result<()> {
        let (folder, name) = self.folder_of(target)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        File::from(openat(folder, name, flags, Mode::from(0o444))?).write_all(data)
    }

    /// The folder of `target`, made where it is missing, and the last component, which is a plain name.
    fn folder_of<'b>(&mut self, target: &'b str) -> io::Result<(BorrowedFd<'_>, &'b str)> {
        let (path, name) = target.rsplit_once('/').ok_or(io::ErrorKind::InvalidInput)?;
        if matches!(name, "" | "." | "..") {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        if path.is_empty() {
            return Ok((self.root.as_fd(), name));
        }
        let known = self.last.take().filter(|(last, _)| last == path);
        let known = match known {
            Some(known) => known,
            None => (path.to_owned(), make_folders(self.root, path)?),
        };
        Ok((self.last.insert(known).1.as_fd(), name))
    }

    /// Takes off what lies at a place that the root was made with the help of, and the place itself, if it is there.
    fn clear_away(&mut self, place: &str) -> Result<(), StepError> {
        match unmount(place, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error).step_on("take off", place),
        }
        self.forget(place);
        match unlinkat(self.root, &place[1..], rustix::fs::AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTEMPTY) => Ok(()),
            Err(error) => Err(error).step_on("remove", place),
        }
    }

    /// The folder that was used last is another one now, or none, if it is at or below `target`.
    fn forget(&mut self, target: &str) {
        self.last.take_if(|(path, _)| {
            path.strip_prefix(target).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }
}

/// What is asked for may be there: in a folder above that is a read-only mount it has to.
fn take_what_is_there(made: rustix::io::Result<()>) -> rustix::io::Result<()> {
    match made {
        Err(rustix::io::Errno::EXIST | rustix::io::Errno::ROFS) => Ok(()),
        made => made,
    }
}

/// Opens the folder at `path`, and makes what is missing of it.
fn make_folders(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    if let Ok(found) = beneath(root, path, FOLDER) {
        return Ok(found);
    }
    let mut folder = openat(root, ".", FOLDER, Mode::empty())?;
    for name in path.split('/').filter(|name| !name.is_empty()) {
        take_what_is_there(mkdirat(&folder, name, Mode::from(0o755)))?;
        folder = openat2(&folder, name, FOLDER, Mode::empty(), STRICT)?;
    }
    Ok(folder)
}

fn beneath(root: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() { "." } else { path };
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), STRICT)?)
}
