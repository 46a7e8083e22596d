//! Where the folders and sockets are that grants name.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use pack_schemas::interface::{Place, Root, SocketPlace, UserFolder};

use crate::host::read_small;

/// Longest `user-dirs.dirs` that is read.
const USER_FOLDERS_LIMIT: u64 = 64 << 10;

/// The folders that places are relative to (XDG Base Directory Specification).
pub fn roots(variables: &BTreeMap<String, String>, home: &str) -> BTreeMap<Root, String> {
    let absolute = |name: &str| {
        let path = variables.get(name)?.trim_end_matches('/');
        path.starts_with('/').then(|| path.to_owned())
    };
    let mut roots = BTreeMap::from([
        (Root::Host, String::new()),
        (Root::Home, home.to_owned()),
        (Root::Config, absolute("XDG_CONFIG_HOME").unwrap_or_else(|| format!("{home}/.config"))),
        (Root::Data, absolute("XDG_DATA_HOME").unwrap_or_else(|| format!("{home}/.local/share"))),
    ]);
    if let Some(runtime) = absolute("XDG_RUNTIME_DIR") {
        roots.insert(Root::Runtime, runtime);
    }
    roots
}

/// The absolute path of a place; nothing where its root is not there.
pub fn path(place: &Place, roots: &BTreeMap<Root, String>) -> Option<String> {
    let root = roots.get(&place.root)?;
    match place.path.as_str() {
        "" => Some(root.clone()),
        path => Some(format!("{root}/{path}")),
    }
}

/// The first of these places that is a socket.
pub fn socket(
    places: &[SocketPlace],
    variables: &BTreeMap<String, String>,
    roots: &BTreeMap<Root, String>,
) -> Option<String> {
    let is_socket = |path: &String| fs::metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let path = |place: &SocketPlace| match place {
        SocketPlace::Variable(variable) => {
            let path = variables.get(&variable.name)?.strip_prefix(&variable.prefix)?;
            path.starts_with('/').then(|| path.to_owned())
        }
        SocketPlace::At(place) => path(place, roots),
    };
    places.iter().filter_map(path).find(is_socket)
}

/// The user's folders that are below the home folder and may be shown: their paths relative to it. `acting` are the
/// names at its top that hold something which acts outside of a sandbox.
pub fn user_folders(
    roots: &BTreeMap<Root, String>,
    home: &str,
    acting: &BTreeSet<String>,
) -> BTreeMap<UserFolder, String> {
    let file = roots.get(&Root::Config).map(|config| Path::new(config).join("user-dirs.dirs"));
    let text = file.and_then(|file| read_small(&file, USER_FOLDERS_LIMIT)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all = [
        UserFolder::Documents,
        UserFolder::Download,
        UserFolder::Music,
        UserFolder::Pictures,
        UserFolder::PublicShare,
        UserFolder::Templates,
        UserFolder::Videos,
    ];
    let mut found = BTreeMap::new();
    for folder in all {
        let (variable, usual) = folder.names();
        let path = configured(&text, variable, home).unwrap_or_else(|| usual.to_owned());
        let top = path.split('/').next().unwrap_or_default();
        let plain = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        // A folder that is the home folder itself means that the user has none of its kind (user-dirs.dirs(5)).
        if plain && !top.starts_with('.') && top != "bin" && !acting.contains(top) {
            found.insert(folder, path);
        }
    }
    found
}

/// What `user-dirs.dirs` says: `NAME="$HOME/path"` or `NAME="/path"`, relative to the home folder; the empty path for
/// anywhere else.
fn configured(text: &str, variable: &str, home: &str) -> Option<String> {
    let line = text.lines().rev().find_map(|line| line.trim().strip_prefix(variable)?.strip_prefix('='))?;
    let value = line.trim().trim_matches('"');
    let below = value.strip_prefix("$HOME").or_else(|| value.strip_prefix(home)).unwrap_or_default();
    Some(below.trim_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_folders_are_those_that_the_user_has() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        fs::create_dir(folder.path().join(".config")).unwrap();
        let text = format!(
            "# a comment\nXDG_DOCUMENTS_DIR=\"$HOME/Papers/all\"\nXDG_MUSIC_DIR=\"$HOME/\"\nXDG_VIDEOS_DIR=\"{home}/Films\"\n\
             XDG_PICTURES_DIR=\"/srv/pictures\"\nXDG_TEMPLATES_DIR=\"$HOME/.config/t\"\nXDG_PUBLICSHARE_DIR=\"$HOME/../x\"\n"
        );
        fs::write(folder.path().join(".config/user-dirs.dirs"), text).unwrap();
        let roots = roots(&BTreeMap::new(), home);
        let found = user_folders(&roots, home, &BTreeSet::new());
        let wanted = [
            (UserFolder::Documents, "Papers/all"),
            (UserFolder::Download, "Downloads"),
            (UserFolder::Videos, "Films"),
        ];
        assert_eq!(found, wanted.map(|(folder, path)| (folder, path.to_owned())).into());
        let acting = BTreeSet::from(["Downloads".to_owned()]);
        assert!(!user_folders(&roots, home, &acting).contains_key(&UserFolder::Download));
    }

    #[test]
    fn a_socket_is_looked_for_where_the_variable_says_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let _listener = std::os::unix::net::UnixListener::bind(path("agent")).unwrap();
        fs::write(path("file"), "").unwrap();
        let places: Vec<SocketPlace> = serde_json::from_value(serde_json::json!([
            {"variable": {"name": "AGENT", "prefix": "unix:"}}, {"at": {"root": "runtime", "path": "agent"}},
        ]))
        .unwrap();
        let roots = BTreeMap::from([(Root::Runtime, folder.path().to_str().unwrap().to_owned())]);
        let found =
            |value: &str| socket(&places, &BTreeMap::from([("AGENT".to_owned(), value.to_owned())]), &roots);
        assert_eq!(found(&format!("unix:{}", path("agent"))), Some(path("agent")));
        for value in ["", "unix:relative", &format!("unix:{}", path("file")), &path("agent")] {
            assert_eq!(found(value), Some(path("agent")), "{value}: the known place");
        }
        assert_eq!(socket(&places[..1], &BTreeMap::new(), &roots), None);
    }
}
