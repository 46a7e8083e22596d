//! Folders and files of the app's own data that a layout shows, made where they are missing.
//!
//! The app can write there, so nothing is looked up twice and no link is followed: each folder is opened by its name in the
//! folder above, which is held open, and what is there under another kind is an error.

use std::os::fd::OwnedFd;

use pack_schemas::plan::{Made, MadeKind};
use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat, openat2};
use rustix::io::Errno;

use super::{FOLDER, STRICT};
use crate::sandbox::step::{InStep, StepError};

/// Makes what is missing.
///
/// # Errors
/// [`StepError`] with the path, where it cannot be made, or leads through a link.
pub(super) fn make(wanted: &[Made]) -> Result<(), StepError> {
    wanted.iter().try_for_each(|made| {
        let path = format!("{}/{}", made.folder, made.path);
        make_one(made).step_on("make in the app's data", &path)
    })
}

fn make_one(made: &Made) -> Result<(), Errno> {
    let mut folder = openat(CWD, made.folder.as_str(), FOLDER, Mode::empty())?;
    let (parents, name) = made.path.rsplit_once('/').unwrap_or(("", &made.path));
    for parent in parents.split('/').filter(|parent| !parent.is_empty()) {
        folder = enter(&folder, parent)?;
    }
    match made.kind {
        MadeKind::Folder => enter(&folder, name).map(drop),
        MadeKind::File => {
            // Opened for nothing: what is there may be a FIFO.
            let there = openat2(&folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), STRICT);
            if !matches!(there, Err(Errno::NOENT)) {
                return there.map(drop);
            }
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            match openat2(&folder, name, flags, Mode::from(0o600), STRICT) {
                // Another launch was first.
                Err(Errno::EXIST) => Ok(()),
                opened => opened.map(drop),
            }
        }
    }
}

fn enter(folder: &OwnedFd, name: &str) -> Result<OwnedFd, Errno> {
    match mkdirat(folder, name, Mode::from(0o700)) {
        Err(Errno::EXIST) | Ok(()) => {}
        Err(error) => return Err(error),
    }
    openat2(folder, name, FOLDER, Mode::empty(), STRICT)
}
