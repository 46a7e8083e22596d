//! A file system on a disk that breaks: ext4 on a loop device whose backing file loses its end. What lay there cannot be read
//! any more (EIO, from the block layer up), until it is put back.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{Advice, fadvise};

use super::mounted::skip_because;
use super::run;

const SIZE: u64 = 32 << 20;
/// What is read of the disk at once, and allocated.
const SECTOR: usize = 4096;

/// See the module. It is unmounted in the end.
pub struct Disk {
    /// Keeps the folder in which all of it lies.
    _folder: tempfile::TempDir,
    backing: PathBuf,
    at: PathBuf,
    /// The whole of it, as it was.
    contents: Vec<u8>,
}

impl Disk {
    /// Makes a disk that holds one file, [`Disk::file`]. Nothing where this host or user cannot have one, which is noted.
    pub fn with(file: &Path) -> Option<Disk> {
        if !rustix::process::getuid().is_root() {
            skip_because("a loop device is for root");
            return None;
        }
        let folder = super::folder();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(folder.path(), everybody).unwrap();
        let [backing, at, files] = ["backing", "disk", "files"].map(|name| folder.path().join(name));
        File::create(&backing).unwrap().set_len(SIZE).unwrap();
        [&at, &files].iter().for_each(|folder| fs::create_dir(folder).unwrap());
        fs::copy(file, files.join("package")).unwrap();
        // The file comes onto it without a mount: a loop device that was just let go may not be free yet.
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m0", "-b4096", "-O", "^has_journal", "-d"])
            .args([&files, &backing]));
        // Read-only: the file system has nothing to write to a broken disk.
        let mounted = Command::new("mount").args(["-o", "loop,ro"]).arg(&backing).arg(&at).output().unwrap();
        if !mounted.status.success() {
            skip_because(&format!("no loop device: {}", String::from_utf8_lossy(&mounted.stderr).trim()));
            return None;
        }
        let contents = fs::read(&backing).unwrap();
        Some(Disk { _folder: folder, backing, at, contents })
    }

    /// The file on it.
    pub fn file(&self) -> PathBuf {
        self.at.join("package")
    }

    /// Breaks the disk from the sector on that holds byte `offset` of the file. The bytes of that sector must be like no
    /// other's.
    pub fn break_at(&self, offset: u64) {
        let file = fs::read(self.file()).unwrap();
        let sector = file.chunks(SECTOR).nth(offset as usize / SECTOR).unwrap();
        let mut found = self.contents.chunks(SECTOR).enumerate().filter(|(_, bytes)| *bytes == sector);
        let (number, _) = found.next().unwrap();
        assert!(found.next().is_none());
        File::options().write(true).open(&self.backing).unwrap().set_len((number * SECTOR) as u64).unwrap();
        self.forget();
    }

    /// Puts everything back.
    pub fn mend(&self) {
        fs::write(&self.backing, &self.contents).unwrap();
        self.forget();
    }

    /// Has the kernel forget what it has read of the file.
    fn forget(&self) {
        fadvise(File::open(self.file()).unwrap(), 0, None, Advice::DontNeed).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}
