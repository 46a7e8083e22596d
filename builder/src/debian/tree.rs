//! Lays Debian packages over each other in one folder, as dpkg would on a system where `/lib` and its like are links.
//!
//! What has been laid down is kept in memory as [`Node`]s, and every path is followed through them, never through the
//! file system: files and folders are written at once, symbolic links only at the end. So no link of a package can lead
//! a write astray, and it is known which links point at something that is there.
//!
//! A folder where a link to a folder lies already goes where the link points, as with dpkg.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::path::{MERGED, MOST_LINKS, aim, join, merged, parent, relative};
use super::{DebianError, make_folder};

/// A folder that packages are unpacked into.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    nodes: BTreeMap<String, Node>,
}

#[derive(Debug)]
struct Node {
    /// The Debian package that brought it.
    owner: String,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Folder,
    File(blake3::Hash),
    Link {
        /// Where it points, in this tree.
        aim: String,
        /// Its text, as it was shipped.
        shipped: String,
        /// Whether its text no longer says so where it lies now.
        moved: bool,
    },
}

impl Tree {
    /// Makes the folder; it may exist, but must be empty then.
    pub(super) fn create(root: &Path) -> Result<Tree, DebianError> {
        make_folder(root)?;
        let mut entries = fs::read_dir(root).map_err(|source| DebianError::io("list", root, source))?;
        if entries.next().is_some() {
            return Err(DebianError::TargetNotEmpty { path: root.to_owned() });
        }
        Ok(Tree { root: root.to_owned(), nodes: BTreeMap::new() })
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, owner: &str, path: &str, mode: u32) -> Result<(), DebianError> {
        let place = self.follow(owner, path)?;
        match self.nodes.get(&place) {
            Some(Node { kind: Kind::Folder, .. }) => Ok(()),
            Some(other) => Err(collision(&place, &other.owner, owner)),
            None => self.make_folders(owner, &place, mode),
        }
    }

    /// Adds a file. The building user can read it, whatever its mode; set-uid and the like are dropped.
    pub(super) fn file(
        &mut self,
        owner: &str,
        path: &str,
        mode: u32,
        content: &mut impl Read,
    ) -> Result<(), DebianError> {
        let place = self.place(owner, path)?;
        if let Some(node) = self.nodes.get(&place) {
            let same = match &node.kind {
                Kind::File(hash) => copy(content, &mut io::sink(), Path::new(path))? == *hash,
                _ => false,
            };
            return if same { Ok(()) } else { Err(collision(&place, &node.owner, owner)) };
        }
        let full = self.root.join(&place);
        let error = |source| DebianError::io("write", &full, source);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&full).map_err(error)?;
        let hash = copy(content, &mut file, &full)?;
        set_mode(&file, mode & 0o777 | 0o600).map_err(error)?;
        self.nodes.insert(place, Node { owner: owner.to_owned(), kind: Kind::File(hash) });
        Ok(())
    }

    /// Adds a second name for a file of the same package.
    pub(super) fn hard_link(&mut self, owner: &str, path: &str, existing: &str) -> Result<(), DebianError> {
        let existing = self.place(owner, existing)?;
        let Some(Node { kind: Kind::File(hash), .. }) = self.nodes.get(&existing) else {
            return Err(entry(owner, path, "it is a hard link to something that is not there"));
        };
        let hash = *hash;
        let place = self.place(owner, path)?;
        match self.nodes.get(&place) {
            Some(Node { kind: Kind::File(other), .. }) if *other == hash => return Ok(()),
            Some(other) => return Err(collision(&place, &other.owner, owner)),
            None => {}
        }
        let full = self.root.join(&place);
        fs::hard_link(self.root.join(existing), &full)
            .map_err(|source| DebianError::io("link", &full, source))?;
        self.nodes.insert(place, Node { owner: owner.to_owned(), kind: Kind::File(hash) });
        Ok(())
    }

    /// Adds a symbolic link. One that would point at itself, now that `/bin` and `/usr/bin` are one, is left out.
    pub(super) fn link(&mut self, owner: &str, path: &str, shipped: &str) -> Result<(), DebianError> {
        let place = self.place(owner, path)?;
        let names = aim(path, shipped);
        let aim = merged(&names);
        if aim == place {
            return Ok(());
        }
        let moved = place != path || aim != names;
        let kind = Kind::Link { aim, shipped: shipped.to_owned(), moved };
        match self.nodes.get(&place) {
            None => drop(self.nodes.insert(place, Node { owner: owner.to_owned(), kind })),
            Some(node) if node.same_aim(&kind) || self.both_folders(node, &kind) => {}
            Some(node) => return Err(collision(&place, &node.owner, owner)),
        }
        Ok(())
    }

    /// Writes the symbolic links, and those of the merged folders.
    pub(super) fn finish(self) -> Result<(), DebianError> {
        for (place, node) in &self.nodes {
            if let Kind::Link { aim, shipped, moved } = &node.kind {
                let absolute = shipped.starts_with('/');
                let rewrite = if absolute { self.holds(aim) } else { *moved };
                let text = if rewrite { &relative(parent(place), aim) } else { shipped };
                self.write_link(place, text)?;
            }
        }
        for name in MERGED {
            let place = join("usr", name);
            if matches!(self.nodes.get(&place), Some(Node { kind: Kind::Folder, .. })) {
                self.write_link(name, &place)?;
            }
        }
        Ok(())
    }

    fn write_link(&self, place: &str, text: &str) -> Result<(), DebianError> {
        let full = self.root.join(place);
        symlink(text, &full).map_err(|source| DebianError::io("make the link", &full, source))
    }

    /// Whether there is anything at `path` itself.
    pub(super) fn holds_entry(&self, path: &str) -> bool {
        let shipped = merged(path);
        let folder = self.resolve(parent(&shipped));
        let name = shipped.rsplit('/').next().unwrap_or_default();
        folder.is_some_and(|folder| self.nodes.contains_key(&join(&folder, name)))
    }

    /// Whether following `path` ends at a file or folder of this tree.
    pub(super) fn holds(&self, path: &str) -> bool {
        self.resolve(path).is_some_and(|place| place.is_empty() || self.nodes.contains_key(&place))
    }

    /// Whether a folder lies where a link to a folder would come; dpkg keeps the folder.
    fn both_folders(&self, node: &Node, link: &Kind) -> bool {
        let Kind::Link { aim, .. } = link else { return false };
        let target = self.resolve(aim).and_then(|place| self.nodes.get(&place));
        node.kind == Kind::Folder && target.is_some_and(|target| target.kind == Kind::Folder)
    }

    /// Where an entry that is not a folder goes: its folder is followed, and made where it is missing.
    fn place(&mut self, owner: &str, path: &str) -> Result<String, DebianError> {
        let shipped = merged(path);
        let folder = self.follow(owner, parent(&shipped))?;
        self.make_folders(owner, &folder, 0o755)?;
        let name = shipped.rsplit('/').next().unwrap_or_default();
        if name.is_empty() {
            return Err(entry(owner, path, "it has no name"));
        }
        Ok(join(&folder, name))
    }

    fn follow(&self, owner: &str, path: &str) -> Result<String, DebianError> {
        self.resolve(path).ok_or_else(|| entry(owner, path, "it lies behind symbolic links without end"))
    }

    /// Follows `path` through the links of this tree; what is not there yet is taken to be no link.
    fn resolve(&self, path: &str) -> Option<String> {
        let names = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
        let mut pending = names(&merged(path));
        let (mut place, mut links) = (String::new(), 0);
        while let Some(name) = pending.pop() {
            if name.is_empty() {
                continue;
            }
            let next = join(&place, &name);
            match self.nodes.get(&next) {
                Some(Node { kind: Kind::Link { aim, .. }, .. }) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    pending.extend(names(aim));
                    place.clear();
                }
                _ => place = next,
            }
        }
        Some(place)
    }

    /// Makes the folder `place` and those above it that are missing. `place` has been followed: no link is in it.
    fn make_folders(&mut self, owner: &str, place: &str, mode: u32) -> Result<(), DebianError> {
        if place.is_empty() {
            return Ok(());
        }
        match self.nodes.get(place) {
            Some(Node { kind: Kind::Folder, .. }) => return Ok(()),
            Some(other) => return Err(collision(place, &other.owner, owner)),
            None => self.make_folders(owner, parent(place), 0o755)?,
        }
        let full = self.root.join(place);
        let error = |source| DebianError::io("make the folder", &full, source);
        fs::DirBuilder::new().mode(0o700).create(&full).map_err(error)?;
        fs::set_permissions(&full, Permissions::from_mode(mode & 0o777 | 0o700)).map_err(error)?;
        self.nodes.insert(place.to_owned(), Node { owner: owner.to_owned(), kind: Kind::Folder });
        Ok(())
    }
}

impl Node {
    fn same_aim(&self, other: &Kind) -> bool {
        matches!((&self.kind, other), (Kind::Link { aim: left, .. }, Kind::Link { aim: right, .. }) if left == right)
    }
}

/// Copies to the end and returns the hash of what came by.
fn copy(from: &mut impl Read, to: &mut impl Write, path: &Path) -> Result<blake3::Hash, DebianError> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = match from.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finalize()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(DebianError::io("unpack", path, source)),
        };
        hasher.update(&buffer[..length]);
        to.write_all(&buffer[..length]).map_err(|source| DebianError::io("write", path, source))?;
    }
}

fn set_mode(file: &File, mode: u32) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(mode))
}

fn collision(path: &str, first: &str, second: &str) -> DebianError {
    DebianError::Collision { path: path.to_owned(), first: first.to_owned(), second: second.to_owned() }
}

/// A package's entry that cannot be staged.
pub(super) fn entry(package: &str, path: &str, rule: &'static str) -> DebianError {
    DebianError::Entry { package: package.to_owned(), path: path.chars().take(256).collect(), rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Tree) {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree::create(&folder.path().join("tree")).unwrap();
        (folder, tree)
    }

    fn text(folder: &tempfile::TempDir, path: &str) -> String {
        fs::read_link(folder.path().join("tree").join(path)).unwrap().to_str().unwrap().to_owned()
    }

    #[test]
    fn links_across_merged_folders_still_lead_where_they_did() {
        let (folder, mut tree) = tree();
        tree.file("a", "lib/x86/libz.so.1.2", 0o644, &mut &b"z"[..]).unwrap();
        tree.link("a", "lib/x86/libz.so.1", "libz.so.1.2").unwrap();
        tree.link("a", "usr/lib/x86/libz.so", "/lib/x86/libz.so.1").unwrap();
        tree.file("a", "usr/share/data", 0o644, &mut &b"d"[..]).unwrap();
        tree.link("b", "lib/x86/data", "../../usr/share/data").unwrap();
        tree.link("b", "lib64/ld.so", "/lib/x86/libz.so.1").unwrap();
        tree.link("b", "etc/null", "/dev/null").unwrap();
        tree.link("b", "bin/same", "/usr/bin/same").unwrap();
        tree.file("b", "usr/bin/same", 0o755, &mut &b"s"[..]).unwrap();
        tree.finish().unwrap();
        assert_eq!(text(&folder, "usr/lib/x86/libz.so.1"), "libz.so.1.2");
        assert_eq!(text(&folder, "usr/lib/x86/libz.so"), "libz.so.1");
        assert_eq!(text(&folder, "usr/lib/x86/data"), "../../share/data");
        assert_eq!(text(&folder, "usr/lib64/ld.so"), "../lib/x86/libz.so.1");
        assert_eq!(text(&folder, "etc/null"), "/dev/null");
        assert_eq!(text(&folder, "lib64"), "usr/lib64");
        let root = folder.path().join("tree");
        assert_eq!(fs::read(root.join("lib64/ld.so")).unwrap(), b"z");
        assert_eq!(fs::read(root.join("lib/x86/data")).unwrap(), b"d");
        assert_eq!(fs::read(root.join("bin/same")).unwrap(), b"s");
        assert!(!root.join("sbin").exists());
    }

    #[test]
    fn a_link_cannot_lead_a_write_out_of_the_tree() {
        let (folder, mut tree) = tree();
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).unwrap();
        tree.link("a", "usr/out", outside.to_str().unwrap()).unwrap();
        tree.link("a", "usr/up", "../../../../outside").unwrap();
        tree.file("b", "usr/out/file", 0o644, &mut &b"x"[..]).unwrap();
        tree.file("b", "usr/up/file", 0o644, &mut &b"x"[..]).unwrap();
        tree.link("b", "usr/loop", "loop2").unwrap();
        tree.link("b", "usr/loop2", "loop").unwrap();
        assert!(matches!(tree.folder("c", "usr/loop/x", 0o755), Err(DebianError::Entry { .. })));
        tree.finish().unwrap();
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn different_things_at_one_path_collide() {
        let (_folder, mut tree) = tree();
        tree.file("a", "lib/x", 0o644, &mut &b"1"[..]).unwrap();
        tree.file("b", "usr/lib/x", 0o600, &mut &b"1"[..]).unwrap();
        let error = tree.file("c", "usr/lib/x", 0o644, &mut &b"2"[..]).unwrap_err();
        assert!(matches!(&error, DebianError::Collision { path, first, second }
            if path == "usr/lib/x" && first == "a" && second == "c"));
        for result in [
            tree.folder("c", "lib/x", 0o755),
            tree.link("c", "lib/x", "y"),
            tree.file("c", "lib/x/below", 0o644, &mut &b""[..]),
            tree.file("c", "lib", 0o644, &mut &b""[..]),
        ] {
            assert!(matches!(result, Err(DebianError::Collision { .. })), "{result:?}");
        }
    }

    #[test]
    fn a_folder_joins_a_link_to_a_folder() {
        let (folder, mut tree) = tree();
        tree.file("a", "usr/share/real/one", 0o644, &mut &b"1"[..]).unwrap();
        tree.link("b", "usr/share/alias", "real").unwrap();
        tree.folder("c", "usr/share/alias", 0o755).unwrap();
        tree.file("c", "usr/share/alias/two", 0o644, &mut &b"2"[..]).unwrap();
        tree.folder("d", "usr/share/kept", 0o700).unwrap();
        tree.link("e", "usr/share/kept", "real").unwrap();
        tree.finish().unwrap();
        let share = folder.path().join("tree/usr/share");
        assert_eq!(fs::read(share.join("real/two")).unwrap(), b"2");
        assert!(share.join("kept").symlink_metadata().unwrap().is_dir());
    }

    #[test]
    fn everything_is_readable_and_nothing_is_set_uid() {
        let (folder, mut tree) = tree();
        tree.folder("a", "var/lib/closed", 0o2000).unwrap();
        tree.file("a", "var/lib/closed/secret", 0o4050, &mut &b"s"[..]).unwrap();
        tree.hard_link("a", "var/lib/closed/second", "var/lib/closed/secret").unwrap();
        assert!(tree.hard_link("a", "var/x", "var/none").is_err());
        tree.finish().unwrap();
        let mode =
            |path: &str| fs::metadata(folder.path().join("tree").join(path)).unwrap().permissions().mode();
        assert_eq!(mode("var/lib/closed") & 0o7777, 0o700);
        assert_eq!(mode("var/lib/closed/second") & 0o7777, 0o650);
    }
}
