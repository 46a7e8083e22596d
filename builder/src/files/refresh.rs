//! A tree that an earlier build left is brought to what a new one would be, without writing again what is right.
//!
//! 1. What has no place in the new tree, or is something else there, is removed; no file is written into, since it may have
//!    further names in trees that are to stay as they are.
//! 2. What is missing is put in, as [`transfer_tree`](super::transfer_tree) does it.
//!
//! Nothing is taken on trust: whatever the tree holds (an earlier build may have been killed in the middle of this), what
//! stays has been compared with what is wanted.

use std::collections::{BTreeMap, HashSet};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::plain::Place;
use super::{Entry, FileError, Placer, Transfer, list, make_folder, remove_tree, renew_folder, set_mode};

/// Makes the tree `to` what [`transfer_tree`](super::transfer_tree) would make of an empty folder, but for times and modes.
///
/// Files of their own stay where `is_same` says of their path that content and executability are those of the file in
/// `from`; further names of a file stay where they are that already.
///
/// # Errors
/// As those of `transfer_tree`; the tree may then hold a part of what is wanted.
pub(crate) fn refresh_tree(
    from: &Path,
    to: &Path,
    how: Transfer,
    enter: impl Fn(&Path) -> bool,
    is_same: impl Fn(&Path) -> bool,
) -> Result<(), FileError> {
    let wanted = list(from, enter)?;
    let staying = {
        let by_path: BTreeMap<&Path, &Metadata> =
            wanted.iter().map(|entry| (entry.path.as_path(), &entry.metadata)).collect();
        keep(from, to, how, &by_path, &is_same)?
    };
    let mut placer = Placer::new(how);
    for Entry { path, metadata } in wanted.iter().filter(|entry| !staying.contains(&entry.path)) {
        let target = to.join(path);
        match metadata.is_dir() {
            true => make_folder(&target)?,
            false => placer.put(&from.join(path), &target, metadata)?,
        }
    }
    Ok(())
}

/// Removes what cannot stay, and returns what does.
fn keep(
    from: &Path,
    to: &Path,
    how: Transfer,
    wanted: &BTreeMap<&Path, &Metadata>,
    is_same: &dyn Fn(&Path) -> bool,
) -> Result<HashSet<PathBuf>, FileError> {
    let mut files = HashSet::new();
    prune(to, |entry| {
        let Entry { path, metadata } = entry;
        let Some(other) = wanted.get(path.as_path()) else { return Ok(false) };
        let original = from.join(path);
        let is_original = is_another_name(to, entry, &original, other)?;
        Ok(match how {
            _ if !(metadata.is_file() && other.is_file()) => is_original,
            Transfer::Link => is_original,
            // What were names of one file becomes one file again, which nobody has compared.
            Transfer::Copy if other.nlink() > 1 => false,
            // It is a file of its own: not that of the source, and not that of an earlier name.
            _ => !is_original && files.insert(file_id(metadata)) && is_same(path),
        })
    })
}

/// Removes from a tree all that does not stay, and returns what does; folders that stay get the mode of new ones.
pub(crate) fn prune(
    root: &Path,
    mut stays: impl FnMut(&Entry) -> Result<bool, FileError>,
) -> Result<HashSet<PathBuf>, FileError> {
    let mut staying = HashSet::new();
    let mut removed: Option<PathBuf> = None;
    make_folder(root)?;
    open_to_owner(root)?;
    let Ok(there) = list(root, |_| true) else {
        // It holds folders that cannot be entered, for one; those can still be removed.
        renew_folder(root)?;
        return Ok(staying);
    };
    for entry in there {
        let path = root.join(&entry.path);
        if removed.as_ref().is_some_and(|folder| entry.path.starts_with(folder)) {
            continue;
        }
        if !stays(&entry)? {
            remove_tree(&path)?;
            removed = Some(entry.path);
            continue;
        }
        if entry.metadata.is_dir() {
            open_to_owner(&path)?;
        }
        staying.insert(entry.path);
    }
    Ok(staying)
}

/// Whether something in the tree `root` is what [`Transfer::Link`] makes of the original, which has that metadata: a folder,
/// another name of a file, or an equal symbolic link.
pub(crate) fn is_another_name(
    root: &Path,
    entry: &Entry,
    original: &Path,
    metadata: &Metadata,
) -> Result<bool, FileError> {
    let there = &entry.metadata;
    Ok(match (there.is_dir(), there.is_symlink()) {
        (true, _) => metadata.is_dir(),
        (_, true) => metadata.is_symlink() && target_of(original)? == target_of(&root.join(&entry.path))?,
        _ => there.is_file() && metadata.is_file() && file_id(there) == file_id(metadata),
    })
}

/// Gives a folder the mode of a new one.
fn open_to_owner(folder: &Path) -> Result<(), FileError> {
    let metadata = Place::of(folder).and_then(|place| place.metadata());
    match metadata.map_err(|source| FileError::at("look at", folder, source))?.mode() & 0o7777 {
        0o755 => Ok(()),
        _ => set_mode(folder, 0o755),
    }
}

fn file_id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn target_of(path: &Path) -> Result<PathBuf, FileError> {
    let target = Place::of(path).and_then(|place| place.read_symlink());
    target.map_err(|source| FileError::at("read", path, source))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::transfer_tree;
    use super::*;

    /// Everything that can be told of a tree: by path the kind, the mode, the content and how many names it has in the tree.
    fn told(root: &Path) -> Vec<(PathBuf, u32, String, usize)> {
        let entries = list(root, |_| true).unwrap();
        let names = |id| entries.iter().filter(|entry| file_id(&entry.metadata) == id).count();
        let content = |entry: &Entry| match &entry.metadata {
            metadata if metadata.is_file() => fs::read_to_string(root.join(&entry.path)).unwrap(),
            metadata if metadata.is_symlink() => format!("{:?}", target_of(&root.join(&entry.path))),
            _ => String::new(),
        };
        let told = entries.iter().map(|entry| {
            (entry.path.clone(), entry.metadata.mode(), content(entry), names(file_id(&entry.metadata)))
        });
        told.collect()
    }

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, content) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        }
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn whatever_is_there_becomes_what_a_new_tree_would_be() {
        type Make = fn(&Path);
        let what_is_there: [(&str, Make); 10] = [
            ("nothing", |_| ()),
            ("another content", |to| write(to, &[("sub/one", "old"), ("two", "old")])),
            ("a folder for a file", |to| write(to, &[("two/x/y", "old"), ("sub/one/z", "old")])),
            ("a file for a folder", |to| write(to, &[("sub", "old")])),
            ("a link for a folder", |to| {
                symlink("..", to.join("sub")).unwrap();
                symlink("/", to.join("empty")).unwrap();
            }),
            ("a link for a file, and another link", |to| {
                symlink("/etc/passwd", to.join("two")).unwrap();
                symlink("elsewhere", to.join("link")).unwrap();
            }),
            ("more than is wanted", |to| write(to, &[("more", ""), ("sub/more", ""), ("other/deep/x", "")])),
            ("names of one file", |to| {
                write(to, &[("sub/one", "1")]);
                fs::hard_link(to.join("sub/one"), to.join("two")).unwrap();
            }),
            ("folders that forbid", |to| {
                write(to, &[("sub/one", "old"), ("locked/x", "old")]);
                mode(&to.join("sub"), 0o555);
                mode(&to.join("locked"), 0o000);
                mode(to, 0o500);
            }),
            ("a FIFO", |to| {
                let status = std::process::Command::new("mkfifo").arg(to.join("two")).status().unwrap();
                assert!(status.success());
            }),
        ];
        for (what, make) in what_is_there {
            for how in [Transfer::Separate, Transfer::Copy, Transfer::Link] {
                let folder = tempfile::tempdir().unwrap();
                let root = folder.path().canonicalize().unwrap();
                let [from, to, new, beside] = ["from", "to", "new", "beside"].map(|name| root.join(name));
                [&from, &to, &new].iter().for_each(|folder| fs::create_dir(folder).unwrap());
                write(&from, &[("sub/one", "1"), ("two", "1"), ("three", "3"), ("run", "#!")]);
                mode(&from.join("run"), 0o755);
                fs::hard_link(from.join("three"), from.join("four")).unwrap();
                fs::create_dir(from.join("empty")).unwrap();
                symlink("two", from.join("link")).unwrap();
                // Some of it is right, and has a name elsewhere that nothing may change.
                write(&to, &[("run", "#!")]);
                mode(&to.join("run"), 0o755);
                make(&to);
                let is_there = to.join("run").exists();
                fs::hard_link(to.join("run"), &beside).unwrap();
                let is_same = |path: &Path| {
                    let read = |root: &Path| fs::read_to_string(root.join(path)).ok();
                    read(&from).is_some() && read(&from) == read(&to) && path != Path::new("three")
                };
                refresh_tree(&from, &to, how, |_| true, is_same).unwrap();
                transfer_tree(&from, &new, how, |_| true).unwrap();
                assert_eq!(told(&to), told(&new), "{what} {how:?}");
                assert_eq!(fs::read_to_string(&beside).unwrap(), "#!", "{what} {how:?}");
                let inode = |path: &Path| fs::metadata(path).unwrap().ino();
                let stayed = inode(&to.join("run")) == inode(&beside);
                let is_entered = what != "folders that forbid" || rustix::process::geteuid().is_root();
                assert_eq!(stayed, is_there && is_entered && how != Transfer::Link, "{what} {how:?}");
                // The second time all of it stays, but for what nobody has compared.
                let before = inode(&to.join("two"));
                refresh_tree(&from, &to, how, |_| true, is_same).unwrap();
                assert_eq!((told(&to), inode(&to.join("two"))), (told(&new), before), "{what} {how:?}");
            }
        }
    }
}
