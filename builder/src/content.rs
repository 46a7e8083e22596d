//! What a manifest says of content has to be in the package: the files and folders that its slots offer, and the folders
//! at which its plugs show those of others, where no place can be made later.

use std::fs::{FileType, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use pack_launcher::interfaces;
use pack_schemas::interface::{Grant, Side};
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;

/// Something that has to be there and is not.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{path}` {problem}, and the {} `{name}` names it", if *.side == Side::Plug { "plug" } else { "slot" })]
pub struct ContentError {
    /// The plug or slot.
    pub name: Name,
    /// Which of both it is.
    pub side: Side,
    /// The path in the package.
    pub path: String,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Looks for what the plugs and slots of a manifest name in the prime folder.
///
/// # Errors
/// [`ContentError`] for the first that is not there.
pub fn check(manifest: &Manifest, prime: &Path) -> Result<(), ContentError> {
    let sides = [(Side::Plug, &manifest.plugs), (Side::Slot, &manifest.slots)];
    let all = sides.into_iter().flat_map(|(side, declared)| declared.keys().map(move |name| (side, name)));
    for (side, name) in all {
        let (interface, attributes) = (manifest.interface_of(name), manifest.attributes_of(name));
        // What cannot be used is not connected, and told where the manifest is read.
        let grants = interfaces::grants(&interface, side, &manifest.name, &attributes).unwrap_or_default();
        for (path, has_to_be) in grants.into_iter().flat_map(named) {
            let found = look(prime, &path).and_then(|kind| has_to_be.holds(kind));
            found.map_err(|problem| ContentError { name: name.clone(), side, path, problem })?;
        }
    }
    Ok(())
}

/// What something in the package has to be.
#[derive(Clone, Copy)]
enum HasToBe {
    /// Anything but a link.
    NoLink,
    Folder,
}

impl HasToBe {
    fn holds(self, kind: FileType) -> Result<(), &'static str> {
        match self {
            HasToBe::NoLink if kind.is_symlink() => Err("is a link in the package"),
            HasToBe::Folder if !kind.is_dir() => Err("is no folder in the package"),
            HasToBe::NoLink | HasToBe::Folder => Ok(()),
        }
    }
}

/// The paths in the package that a grant names.
fn named(grant: Grant) -> Vec<(String, HasToBe)> {
    match grant {
        Grant::Offer { read, .. } => {
            read.into_iter().map(|path| (String::from(path), HasToBe::NoLink)).collect()
        }
        Grant::Content { target: Some(target), .. } => {
            let path = target.strip_prefix("/app/").map(str::to_owned);
            path.into_iter().map(|path| (path, HasToBe::Folder)).collect()
        }
        _ => Vec::new(),
    }
}

/// What is at a path, to which no link leads.
fn look(prime: &Path, path: &str) -> Result<FileType, &'static str> {
    let mut at = PathBuf::from(prime);
    let mut found: Option<Metadata> = None;
    for name in path.split('/') {
        found.map_or(Ok(()), |above| HasToBe::Folder.holds(above.file_type()))?;
        at.push(name);
        found = Some(at.symlink_metadata().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "is not in the package",
            _ => "cannot be looked at",
        })?);
    }
    found.map(|found| found.file_type()).ok_or("is not in the package")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(target: &str, read: &[&str]) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "name": "viewer", "version": "1", "base": "host",
            "plugs": {"looks": {"interface": "content", "default-provider": "themes", "target": target}},
            "slots": {"icons": {"interface": "content", "read": read}},
        }))
        .unwrap()
    }

    #[test]
    fn what_is_named_has_to_be_in_the_package_and_no_link() {
        let prime = tempfile::tempdir().unwrap();
        let path = |name: &str| prime.path().join(name);
        std::fs::create_dir_all(path("share/themes")).unwrap();
        std::fs::write(path("share/file"), "").unwrap();
        std::os::unix::fs::symlink("share", path("link")).unwrap();
        for (target, read, problem) in [
            ("$PACK/share/themes", &["share/file", "share/themes"][..], None),
            ("/opt/themes", &["share"], None),
            (
                "$PACK/themes",
                &["share"],
                Some("`themes` is not in the package, and the plug `looks` names it"),
            ),
            ("$PACK/share/file", &["share"], Some("is no folder")),
            ("$PACK/link/themes", &["share"], Some("is no folder")),
            ("$PACK/share", &["share/fil"], Some("`share/fil` is not in the package, and the slot `icons`")),
            ("$PACK/share", &["link"], Some("is a link")),
            ("$PACK/share", &["link/file"], Some("is no folder")),
        ] {
            let found = check(&manifest(target, read), prime.path()).err().map(|error| error.to_string());
            match problem {
                None => assert_eq!(found, None),
                Some(words) => assert!(found.as_ref().unwrap().contains(words), "{found:?} {words}"),
            }
        }
    }
}
