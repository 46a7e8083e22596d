//! Where the first name of each file with several names was made, for the others to be linked to.
//!
//! A path of an image can have 4095 bytes, and an image can have very many: so paths are kept as a tree of names, each
//! folder's once. What that takes grows with the listings of the image, which bound the walk.

use std::collections::HashMap;

use pack_schemas::squashfs::Reference;

/// The first names.
#[derive(Default)]
pub(super) struct Links {
    /// Folders that have such a file in or below them: the folder around each, and its name.
    folders: Vec<(Option<u32>, Box<[u8]>)>,
    /// The folders that the walk is in, the root left out, and their numbers where they have one.
    open: Vec<(Box<[u8]>, Option<u32>)>,
    first: HashMap<Reference, (Option<u32>, Box<[u8]>)>,
}

impl Links {
    /// The walk enters the folder of a path.
    pub fn enter(&mut self, path: &[u8]) {
        self.open.push((last_name(path).into(), None));
    }

    /// The walk leaves it again.
    pub fn leave(&mut self) {
        self.open.pop();
    }

    /// The path of the first name of an inode.
    pub fn find(&self, inode: Reference) -> Option<Vec<u8>> {
        let (mut folder, name) = self.first.get(&inode).map(|(folder, name)| (*folder, name))?;
        let mut names: Vec<&[u8]> = vec![name];
        while let Some(number) = folder {
            let (around, name) = &self.folders[number as usize];
            names.push(name);
            folder = *around;
        }
        names.reverse();
        Some(names.join(&b'/'))
    }

    /// Keeps the first name of an inode, in the folder where the walk is.
    pub fn keep(&mut self, inode: Reference, path: &[u8]) {
        let mut around = None;
        for (name, number) in &mut self.open {
            around = Some(*number.get_or_insert_with(|| {
                self.folders.push((around, name.clone()));
                // An image has fewer than 2³² folders.
                self.folders.len() as u32 - 1
            }));
        }
        self.first.insert(inode, (around, last_name(path).into()));
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_names_are_found_by_their_whole_paths() {
        let inode = |offset| Reference { block: 0, offset };
        let mut links = Links::default();
        links.keep(inode(1), b"top");
        links.enter(b"a");
        links.enter(b"a/b");
        links.keep(inode(2), b"a/b/caf\xe9");
        links.leave();
        links.enter(b"a/c");
        links.leave();
        links.keep(inode(3), b"a/file");
        links.leave();
        links.enter(b"d");
        links.keep(inode(4), b"d/x");
        for (offset, path) in [(1, &b"top"[..]), (2, b"a/b/caf\xe9"), (3, b"a/file"), (4, b"d/x")] {
            assert_eq!(links.find(inode(offset)).as_deref(), Some(path));
        }
        assert_eq!(links.find(inode(5)), None);
        assert_eq!(links.folders.len(), 3);
    }
}
