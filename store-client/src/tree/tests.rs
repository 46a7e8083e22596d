//! Trees as a hostile app leaves them.

use super::*;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;

struct Place {
    temporary: tempfile::TempDir,
}

impl Place {
    /// Folders `source`, `target` and `outside`, the last with a file in it.
    fn new() -> Place {
        let temporary = tempfile::tempdir().unwrap();
        for name in ["source", "target", "outside"] {
            std::fs::create_dir(temporary.path().join(name)).unwrap();
        }
        std::fs::write(temporary.path().join("outside/precious"), "precious").unwrap();
        Place { temporary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    fn folder(&self, name: &str) -> Folder {
        Folder::open(&self.path(name)).unwrap().unwrap()
    }

    fn copy(&self) -> Result<Vec<PathBuf>, TreeError> {
        copy_tree(&self.folder("source"), &self.folder("target")).map(|report| report.left_out)
    }

    fn delete(&self) -> Result<bool, TreeError> {
        delete_tree(&self.folder(""), "source", &mut || ())
    }

    #[track_caller]
    fn assert_outside_untouched(&self) {
        assert_eq!(std::fs::read_to_string(self.path("outside/precious")).unwrap(), "precious");
    }
}

fn make_special_files(folder: &Path) {
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o644),
        0,
    );
    fifo.unwrap();
    drop(std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap());
}

#[test]
fn files_folders_and_links_are_copied_with_modes_and_times() {
    let place = Place::new();
    std::fs::create_dir(place.path("source/d")).unwrap();
    std::fs::write(place.path("source/d/f"), "content").unwrap();
    std::fs::set_permissions(place.path("source/d/f"), PermissionsExt::from_mode(0o6751)).unwrap();
    symlink("/etc/passwd", place.path("source/link")).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    std::fs::File::open(place.path("source/d/f")).unwrap().set_modified(time).unwrap();
    std::fs::set_permissions(place.path("source/d"), PermissionsExt::from_mode(0o555)).unwrap();
    assert_eq!(place.copy().unwrap(), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read(place.path("target/d/f")).unwrap(), b"content");
    let metadata = place.path("target/d/f").metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.mtime()), (0o751, 1_000_000), "set-uid bits are dropped");
    assert_eq!(place.path("target/d").metadata().unwrap().mode() & 0o7777, 0o555);
    assert_eq!(std::fs::read_link(place.path("target/link")).unwrap(), Path::new("/etc/passwd"));
}

/// Flatpak mounted a data folder that an app had made a link to the host: a link is copied as a link, never followed.
#[test]
fn cve_2024_42472_a_link_to_a_folder_outside_is_copied_as_a_link() {
    let place = Place::new();
    symlink(place.path("outside"), place.path("source/away")).unwrap();
    symlink("../outside/precious", place.path("source/relative")).unwrap();
    place.copy().unwrap();
    assert!(place.path("target/away").symlink_metadata().unwrap().is_symlink());
    assert!(place.path("target/relative").symlink_metadata().unwrap().is_symlink());
    // Nor is the folder itself followed where it has become a link.
    let parent = place.folder("");
    symlink("outside", place.path("link")).unwrap();
    assert!(parent.child("link", Mounts::Refuse).is_err());
}

#[test]
fn fifos_and_sockets_are_left_out_without_waiting() {
    let place = Place::new();
    make_special_files(&place.path("source"));
    let mut left_out = place.copy().unwrap();
    left_out.sort();
    assert_eq!(left_out, [place.path("source/fifo"), place.path("source/socket")]);
    assert_eq!(std::fs::read_dir(place.path("target")).unwrap().count(), 0);
}

#[test]
fn a_sparse_file_larger_than_the_disk_is_copied_with_its_holes() {
    let place = Place::new();
    let file = std::fs::File::create(place.path("source/sparse")).unwrap();
    let size = 8 << 40;
    file.set_len(size).unwrap();
    file.write_all_at(b"middle", 5 << 40).unwrap();
    drop(file);
    place.copy().unwrap();
    let copy = std::fs::File::open(place.path("target/sparse")).unwrap();
    assert_eq!(copy.metadata().unwrap().len(), size);
    assert!(copy.metadata().unwrap().blocks() < 10_000);
    let mut middle = [0; 6];
    copy.read_exact_at(&mut middle, 5 << 40).unwrap();
    assert_eq!(&middle, b"middle");
}

/// Makes folders nested deeper than any path can be.
fn nest(folder: &Folder, depth: usize) {
    let mut descriptor =
        folder.open_at(".".as_ref(), OFlags::DIRECTORY | OFlags::RDONLY, Mounts::Cross).unwrap();
    for _ in 0..depth {
        rustix::fs::mkdirat(&descriptor, "d", Mode::RWXU).unwrap();
        descriptor =
            rustix::fs::openat(&descriptor, "d", OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    rustix::fs::openat(&descriptor, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
}

#[test]
fn folders_nested_too_deeply_are_not_copied_and_are_deleted_all_the_same() {
    let place = Place::new();
    nest(&place.folder("source"), 5000);
    assert!(matches!(place.copy(), Err(TreeError::TooDeep { .. })));
    assert!(!measure(&place.folder("source")).is_complete);
    assert!(place.delete().unwrap());
    assert!(!place.path("source").exists());
    assert!(delete_tree(&place.folder(""), "target", &mut || ()).unwrap());
}

/// Flatpak's cache clean-up followed a link that an app had planted, and deleted files of the host's.
#[test]
fn cve_2026_34079_deletion_follows_no_link() {
    let place = Place::new();
    symlink(place.path("outside"), place.path("source/folder-link")).unwrap();
    symlink(place.path("outside/precious"), place.path("source/file-link")).unwrap();
    std::fs::hard_link(place.path("outside/precious"), place.path("source/hard")).unwrap();
    make_special_files(&place.path("source"));
    assert!(place.delete().unwrap());
    assert!(!place.path("source").exists());
    place.assert_outside_untouched();
    // The tree itself may be a link.
    symlink("outside", place.path("source")).unwrap();
    assert!(place.delete().unwrap());
    assert!(place.path("source").symlink_metadata().is_err());
    place.assert_outside_untouched();
    assert!(!place.delete().unwrap());
}

/// A folder that an app swaps for a link over and over while the tree is copied and deleted.
#[test]
fn cve_2026_34079_a_folder_swapped_for_a_link_meanwhile_leads_nowhere() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = Place::new();
    let stop = AtomicBool::new(false);
    let mut copied_outside = false;
    let real = place.path("source/real");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let link = place.path("swap");
            while !stop.load(Ordering::Relaxed) {
                let _ = std::fs::create_dir_all(&real);
                let _ = std::fs::write(real.join("precious"), "bait");
                let _ = symlink(place.path("outside"), &link);
                let _ = rustix::fs::renameat_with(
                    rustix::fs::CWD,
                    &link,
                    rustix::fs::CWD,
                    &real,
                    rustix::fs::RenameFlags::EXCHANGE,
                );
                let _ = std::fs::remove_dir_all(&link);
                let _ = std::fs::remove_file(&link);
                let _ = std::fs::remove_file(&real);
            }
        });
        let end = std::time::Instant::now() + std::time::Duration::from_secs(3);
        while std::time::Instant::now() < end {
            // Whether they succeed depends on the race; where they lead must not.
            let _ = place.copy();
            // A link may have been copied, as a link; a folder holds nothing of what the link leads to.
            let copied = place.path("target/real");
            let is_folder = copied.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let content = std::fs::read_to_string(copied.join("precious"));
            copied_outside |= is_folder && content.is_ok_and(|content| content == "precious");
            let _ = delete_tree(&place.folder(""), "target", &mut || ());
            let _ = std::fs::create_dir_all(place.path("target"));
            let _ = delete_tree(&place.folder("source"), "real", &mut || ());
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!copied_outside);
    place.assert_outside_untouched();
}

#[test]
fn sizes_count_blocks_and_not_promises() {
    let place = Place::new();
    std::fs::write(place.path("source/a"), vec![1; 10_000]).unwrap();
    std::fs::File::create(place.path("source/sparse")).unwrap().set_len(1 << 40).unwrap();
    symlink("/", place.path("source/root")).unwrap();
    let size = measure(&place.folder("source"));
    assert!((10_000..100_000).contains(&size.bytes), "{size:?}");
    assert_eq!((size.files, size.is_complete), (3, true));
}
