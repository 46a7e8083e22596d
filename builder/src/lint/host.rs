//! Which Debian package a library of the host's is from, where the host has dpkg.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Most libraries that are asked for.
const LIBRARIES_MOST: usize = 300;

/// The packages of these files, as far as dpkg knows them.
pub(super) fn packages<'a>(root: &Path, paths: impl Iterator<Item = &'a Path>) -> BTreeMap<PathBuf, String> {
    // The database of another root is not ours to ask.
    if root != Path::new("/") {
        return BTreeMap::new();
    }
    // Debian 12 lists files of a merged /usr in either place.
    let asked: Vec<PathBuf> = paths.take(LIBRARIES_MOST).flat_map(both_places).collect();
    if asked.is_empty() {
        return BTreeMap::new();
    }
    let mut command = Command::new("dpkg-query");
    command.arg("--search").args(&asked).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    // It fails where one of many files is not known, and tells of the others all the same.
    let Ok(output) = command.stdin(Stdio::null()).stderr(Stdio::null()).output() else {
        return BTreeMap::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let known = text.lines().filter_map(|line| {
        let (package, path) = line.split_once(": ")?;
        let package = package.split([':', ',']).next()?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
        (!package.is_empty() && package.chars().all(is_name))
            .then(|| (PathBuf::from(path), package.to_owned()))
    });
    known.flat_map(|(path, package)| both_places(&path).map(|path| (path, package.clone()))).collect()
}

fn both_places(path: &Path) -> [PathBuf; 2] {
    let below = path.strip_prefix("/usr").or_else(|_| path.strip_prefix("/")).unwrap_or(path);
    [Path::new("/").join(below), Path::new("/usr").join(below)]
}
