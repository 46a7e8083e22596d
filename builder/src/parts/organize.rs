//! `organize`: moves what a part installs to where it belongs, as snapcraft does.
//!
//! Each rule has a glob and a place. Rules with a `*` apply after those without, and in the order of their globs otherwise.
//!
//! | what matches | the place | |
//! |---|---|---|
//! | a folder, by a glob without `*` | `place`, `place/` | becomes the place, or is merged into the folder that is there |
//! | anything else | `place/` | is moved into that folder |
//! | | `place`, a folder that is there | is moved into it |
//! | | `place` | gets that name; there can be one such match alone |
//!
//! `*` does not match names that begin with a dot. A file never replaces another, and a glob that matches nothing is an
//! error.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::StepError;
use super::fileset::glob;
use crate::files::{self, FileError};

/// Applies all rules to the tree under `install`.
pub(super) fn organize(install: &Path, rules: &BTreeMap<String, String>) -> Result<(), StepError> {
    let mut rules: Vec<(&String, &String)> = rules.iter().collect();
    rules.sort_by_key(|(from, _)| from.contains('*'));
    for (from, to) in rules {
        for (source, target) in moves(install, from, to)? {
            move_into_place(install, &source, &target)?;
        }
    }
    Ok(())
}

/// What a rule moves, from and to paths relative to `install`.
fn moves(install: &Path, from: &str, to: &str) -> Result<Vec<(PathBuf, PathBuf)>, StepError> {
    let glob = glob(from)?;
    let mut matches: Vec<PathBuf> = Vec::new();
    for entry in files::list(install, |_| true)? {
        // What is in a folder that matches moves with it.
        let moved = matches.last().is_some_and(|folder| entry.path.starts_with(folder));
        if !moved && glob.is_match(&entry.path) && !is_hidden_from(from, &entry.path) {
            matches.push(entry.path);
        }
    }
    let place = Path::new(to.strip_suffix('/').unwrap_or(to));
    let is_folder = |path: &Path| install.join(path).symlink_metadata().is_ok_and(|data| data.is_dir());
    let into_folder = to.ends_with('/') || is_folder(place);
    match matches.len() {
        0 => return Err(StepError::OrganizeNothing { from: from.to_owned() }),
        2.. if !into_folder => {
            return Err(StepError::OrganizeSeveral { from: from.to_owned(), to: to.to_owned() });
        }
        _ => {}
    }
    let target = |source: &Path| match !from.contains('*') && is_folder(source) {
        false if into_folder => place.join(source.file_name().unwrap_or_default()),
        _ => place.to_path_buf(),
    };
    Ok(matches.into_iter().map(|source| (source.clone(), target(&source))).collect())
}

/// Whether a name in a path begins with a dot, and no part of the glob does: to such names `*` does not apply.
fn is_hidden_from(glob_text: &str, path: &Path) -> bool {
    let dotted = glob_text.split('/').filter(|part| part.starts_with('.')).count();
    let hidden = path.iter().filter(|name| name.as_encoded_bytes().starts_with(b".")).count();
    dotted < hidden
}

fn move_into_place(install: &Path, source: &Path, target: &Path) -> Result<(), StepError> {
    if source == target {
        return Ok(());
    }
    if target.starts_with(source) {
        return Err(StepError::OrganizeInto { from: source.to_path_buf(), to: target.to_path_buf() });
    }
    make_parents(install, target)?;
    let (from, to) = (install.join(source), install.join(target));
    let is_folder = |path: &Path| path.symlink_metadata().ok().map(|metadata| metadata.is_dir());
    match (is_folder(&from), is_folder(&to)) {
        (_, None) => Ok(fs::rename(&from, &to).map_err(|error| FileError::at("move", &from, error))?),
        (Some(true), Some(true)) => merge(install, source, target),
        _ => Err(StepError::OrganizeExists { from: source.to_path_buf(), to: target.to_path_buf() }),
    }
}

/// Moves what is in one folder into another, and takes the first away.
fn merge(install: &Path, source: &Path, target: &Path) -> Result<(), StepError> {
    let from = install.join(source);
    let list_error = |error| FileError::at("list", &from, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(&from).map_err(list_error)? {
        names.push(entry.map_err(list_error)?.file_name());
    }
    names.sort();
    for name in names {
        move_into_place(install, &source.join(&name), &target.join(&name))?;
    }
    Ok(fs::remove_dir(&from).map_err(|error| FileError::at("remove", &from, error))?)
}

/// Makes the folders that lead to a path. A symbolic link on the way is followed while it stays inside.
fn make_parents(install: &Path, path: &Path) -> Result<(), StepError> {
    let mut folder = install.to_path_buf();
    for name in path.parent().into_iter().flat_map(Path::components) {
        folder.push(name);
        if folder.is_symlink() {
            let look_error = |error| FileError::at("follow", &folder, error);
            let real = folder.canonicalize().map_err(look_error)?;
            let root = install.canonicalize().map_err(look_error)?;
            if !real.starts_with(root) {
                return Err(StepError::OrganizeOutside { path: path.to_path_buf() });
            }
            continue;
        }
        files::make_folder(&folder)?;
    }
    Ok(())
}
