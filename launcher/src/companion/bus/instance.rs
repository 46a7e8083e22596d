//! What the desktop portal looks up of a running app, in a folder of the user's runtime folder:
//!
//! ```text
//! $XDG_RUNTIME_DIR/.flatpak/INSTANCE/
//!   .ref            locked (fcntl(2)) by the launcher for as long as the app runs
//!   info            who the app is: what the file /.flatpak-info says inside
//!   bwrapinfo.json  {"child-pid": N}: a process in the namespaces of the app
//!   pack            marks the folder as pack's
//! ```
//!
//! The names are Flatpak's, since those are what the portal looks for. What it takes an app to be, it learns from the root
//! folder of the process that asks (see the module above); from 1.19 on it refuses apps of which it finds no process here.
//!
//! pack reads nothing of it. A launcher that is killed leaves its folder; the next launch takes away the marked ones whose
//! lock nobody holds.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, fcntl};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, fstat, mkdir, mkdirat, open, openat, renameat, unlinkat,
};
use rustix::io::Errno;

const LOCK: &str = ".ref";
const MARK: &str = "pack";
const INFO: &str = "info";
const PROCESS: &str = "bwrapinfo.json";
const PROCESS_NEW: &str = "bwrapinfo.json.new";
/// Most leftovers that are taken away at once.
const SWEEP_MOST: usize = 64;

/// The folder of a running app.
#[derive(Debug)]
pub struct Instance {
    /// The folder of all.
    all: OwnedFd,
    /// Its name there.
    name: String,
    folder: OwnedFd,
    /// Held until the app has ended.
    #[allow(dead_code, reason = "its being open is what it is for")]
    lock: OwnedFd,
}

impl Instance {
    /// Makes the folder `name` in `all`, a folder that is made where it is not there, and takes leftovers away.
    ///
    /// # Errors
    /// The kernel's; `PermissionDenied` where the folder of all is not the user's own, or others may write there.
    pub fn make(all: &str, name: &str, info: &[u8]) -> io::Result<Instance> {
        match mkdir(all, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let all = open(all, FOLDER, Mode::empty())?;
        let found = fstat(&all)?;
        if found.st_uid != rustix::process::geteuid().as_raw() || found.st_mode & 0o022 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        sweep(&all);
        mkdirat(&all, name, Mode::RWXU)?;
        let folder = openat(&all, name, FOLDER, Mode::empty())?;
        let lock = create(&folder, LOCK)?;
        take_lock(&lock)?;
        create(&folder, MARK)?;
        File::from(create(&folder, INFO)?).write_all(info)?;
        Ok(Instance { all, name: name.to_owned(), folder, lock })
    }

    /// Makes the file that names a process of the app, for [`tell_process`].
    ///
    /// # Errors
    /// The kernel's.
    pub fn process_file(&self) -> io::Result<OwnedFd> {
        create(&self.folder, PROCESS)
    }

    /// Names another process instead.
    ///
    /// # Errors
    /// The kernel's.
    pub fn replace_process(&self, number: u32) -> io::Result<()> {
        tell_process(&create(&self.folder, PROCESS_NEW)?, number)?;
        Ok(renameat(&self.folder, PROCESS_NEW, &self.folder, PROCESS)?)
    }

    /// Takes the folder away.
    pub fn remove(self) {
        remove(&self.all, &self.name, &self.folder);
    }
}

/// Writes the number of a process of the app into the file of [`Instance::process_file`].
///
/// # Errors
/// The kernel's.
pub fn tell_process(file: &OwnedFd, number: u32) -> io::Result<()> {
    let text = format!("{{\"child-pid\": {number}}}\n");
    let written = rustix::io::write(file, text.as_bytes())?;
    if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

fn create(folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?)
}

/// Takes the folders of launchers away that ended without doing so. What cannot be taken away stays.
fn sweep(all: &OwnedFd) {
    let Ok(entries) = Dir::read_from(all) else { return };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_str().ok()?;
        name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.to_owned())
    });
    for name in names.take(SWEEP_MOST) {
        if let Ok(folder) = openat(all, name.as_str(), FOLDER, Mode::empty())
            && is_leftover(&folder)
        {
            remove(all, &name, &folder);
        }
    }
}

/// Whether a folder is pack's and nobody's any more. One that is being made has a lock file before it has the mark, and the
/// lock on it is taken in between.
fn is_leftover(folder: &OwnedFd) -> bool {
    let marked = rustix::fs::statat(folder, MARK, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile);
    if !marked {
        return false;
    }
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match openat(folder, LOCK, flags, Mode::empty()) {
        Ok(lock) => take_lock(&lock).is_ok(),
        // Half of it was taken away.
        Err(error) => error == Errno::NOENT,
    }
}

/// Locks the whole of a file, for as long as the descriptor or a copy of it is open; Flatpak looks whether it could.
fn take_lock(file: &OwnedFd) -> io::Result<()> {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole))?;
    Ok(())
}

/// Removes what pack makes in such a folder, and the folder if nothing else is in it. The mark goes last, so that the rest
/// is found again if this comes to no end.
fn remove(all: &OwnedFd, name: &str, folder: &OwnedFd) {
    for file in [INFO, PROCESS, PROCESS_NEW, LOCK, MARK] {
        let _ = unlinkat(folder, file, AtFlags::empty());
    }
    let _ = unlinkat(all, name, AtFlags::REMOVEDIR);
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn world() -> (tempfile::TempDir, String) {
        let folder = tempfile::tempdir().unwrap();
        let all = folder.path().join(".flatpak").into_os_string().into_string().unwrap();
        (folder, all)
    }

    #[test]
    fn a_folder_is_made_and_taken_away() {
        let (_world, all) = world();
        let instance = Instance::make(&all, "12", b"[Application]\n").unwrap();
        tell_process(&instance.process_file().unwrap(), 7).unwrap();
        assert_eq!(fs::read_to_string(format!("{all}/12/info")).unwrap(), "[Application]\n");
        assert_eq!(fs::read_to_string(format!("{all}/12/bwrapinfo.json")).unwrap(), "{\"child-pid\": 7}\n");
        instance.replace_process(8).unwrap();
        assert_eq!(fs::read_to_string(format!("{all}/12/bwrapinfo.json")).unwrap(), "{\"child-pid\": 8}\n");
        assert!(Instance::make(&all, "12", b"").is_err(), "nobody's folder is taken over");
        instance.remove();
        assert_eq!(fs::read_dir(&all).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_of_pack_are_taken_away_and_nothing_else() {
        let (_world, all) = world();
        Instance::make(&all, "1", b"").unwrap().remove();
        for (name, files) in [
            ("2", [LOCK, INFO].as_slice()),
            ("3", &[LOCK, MARK, INFO, PROCESS]),
            ("4", &[MARK]),
            ("5", &[LOCK, MARK, "else"]),
            ("word", &[LOCK, MARK]),
        ] {
            fs::create_dir(format!("{all}/{name}")).unwrap();
            files.iter().for_each(|file| fs::write(format!("{all}/{name}/{file}"), "").unwrap());
        }
        std::os::unix::fs::symlink("/etc", format!("{all}/6")).unwrap();
        Instance::make(&all, "7", b"").unwrap();
        let mut names: Vec<_> = fs::read_dir(&all)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["2", "5", "6", "7", "word"]);
        assert!(fs::exists(format!("{all}/5/else")).unwrap());
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let (_world, all) = world();
        fs::create_dir(&all).unwrap();
        fs::set_permissions(&all, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(Instance::make(&all, "1", b"").unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
