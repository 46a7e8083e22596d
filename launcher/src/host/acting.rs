//! Places in which a file acts outside of a sandbox: programs on PATH, start-up files, autostart, pack's own state, and
//! wherever links from there lead, since dotfiles are often kept in a visible folder and linked to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pack_schemas::interface::Root;
use pack_schemas::interface::attributes::ACTING_IN_HOME;

/// Variables that name folders all of whose contents act.
const ACTING: &[&str] = &["PACK_HOME", "PATH", "XDG_RUNTIME_DIR"];
/// Variables that name folders some of whose contents act.
const BASES: &[&str] = &["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];
/// Folders of the home folder whose entries are looked at for links, as far down as that.
const LINKED_FROM: &[(&str, usize)] = &[
    ("", 0),
    (".config", 0),
    (".config/autostart", 1),
    (".config/environment.d", 1),
    (".config/fish", 2),
    (".config/systemd", 2),
    (".local", 0),
    (".local/share", 0),
    (".local/share/applications", 1),
    (".ssh", 1),
];
/// Most entries of one folder that are looked at.
const ENTRIES_MOST: usize = 4096;
/// Most links on the way to one place (as the kernel's, path_resolution(7)).
const HOPS_MOST: usize = 40;

/// What acts outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acting {
    /// Files and folders that act, whole: as they are written, and wherever links lead on the way there.
    pub places: BTreeSet<PathBuf>,
    /// Folders that hold some of them.
    pub bases: BTreeSet<PathBuf>,
}

impl Acting {
    /// The names at the top of `home` below which something acts.
    pub fn tops(&self, home: &Path) -> BTreeSet<String> {
        let real = fs::canonicalize(home).unwrap_or_else(|_| home.to_owned());
        let all = self.places.iter().chain(&self.bases);
        let below =
            all.filter_map(|place| place.strip_prefix(home).or_else(|_| place.strip_prefix(&real)).ok());
        below.filter_map(|rest| Some(rest.iter().next()?.to_str()?.to_owned())).collect()
    }

    /// Whether a path that an app may change would let it act: it is, holds or lies in a place that does, or it is or
    /// holds one of the bases.
    pub fn would_act(&self, path: &str) -> bool {
        let path = Path::new(path);
        self.places.iter().any(|place| place.starts_with(path) || path.starts_with(place))
            || self.bases.iter().any(|base| base.starts_with(path))
    }
}

/// Finds what acts outside on behalf of the user.
pub fn find(variables: &BTreeMap<String, String>, roots: &BTreeMap<Root, String>, home: &str) -> Acting {
    let mut acting = Acting::default();
    let named = |names: &[&str]| -> Vec<PathBuf> {
        let values = names.iter().filter_map(|name| variables.get(*name));
        let paths = values.flat_map(|value| value.split(':')).map(PathBuf::from);
        paths.filter(|path| path.is_absolute()).collect()
    };
    acting.bases.extend(named(BASES).iter().flat_map(|path| hops(path)));
    acting.bases.extend(hops(Path::new(home)));
    let mut places = named(ACTING);
    places.extend(ACTING_IN_HOME.iter().flat_map(|path| in_home(path, roots, home)));
    for (folder, depth) in LINKED_FROM {
        for folder in in_home(folder, roots, home) {
            links(&folder, *depth, folder == Path::new(home), &mut places);
        }
    }
    acting.places.extend(places.iter().flat_map(|path| hops(path)));
    acting
}

/// Where a path of the usual home folder is: as it is written, and where the XDG variables put it.
fn in_home(path: &str, roots: &BTreeMap<Root, String>, home: &str) -> Vec<PathBuf> {
    let moved = |prefix: &str, root: Root| {
        let rest = path.strip_prefix(prefix)?;
        let rest = if rest.is_empty() { rest } else { rest.strip_prefix('/')? };
        Some(Path::new(roots.get(&root)?).join(rest))
    };
    let mut paths = vec![if path.is_empty() { PathBuf::from(home) } else { Path::new(home).join(path) }];
    paths.extend(moved(".config", Root::Config));
    paths.extend(moved(".local/share", Root::Data));
    paths.dedup();
    paths
}

/// The links in a folder, and `depth` levels below it; of the home folder itself the hidden ones.
fn links(folder: &Path, depth: usize, only_hidden: bool, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().take(ENTRIES_MOST) {
        let Ok(kind) = entry.file_type() else { continue };
        if only_hidden && !entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_symlink() {
            found.push(entry.path());
        } else if kind.is_dir() && depth > 0 {
            links(&entry.path(), depth - 1, false, found);
        }
    }
}

/// A path, and each path that it becomes when the first link in it is followed, and so on.
fn hops(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    let mut now = path.to_owned();
    while all.len() <= HOPS_MOST {
        let Some(next) = follow_first(&now) else { break };
        all.push(next.clone());
        now = next;
    }
    all
}

fn follow_first(path: &Path) -> Option<PathBuf> {
    let mut before = PathBuf::new();
    let mut parts = path.components();
    while let Some(part) = parts.next() {
        match part {
            Component::ParentDir => drop(before.pop()),
            part => before.push(part),
        }
        if let Ok(target) = fs::read_link(&before) {
            before.pop();
            return Some(normal(&before.join(target).join(parts.as_path())));
        }
    }
    None
}

/// Without `.` and `..`, by the letters: the part before a `..` is no link when this is asked.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(out.pop()),
            Component::CurDir => {}
            part => out.push(part),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::places::roots;

    /// What GNU stow makes of a folder of dotfiles: links in hidden folders, and links to links.
    #[test]
    fn wherever_links_of_start_up_files_lead_acts() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path();
        for name in [
            ".config/systemd",
            "dotfiles/fish",
            "dotfiles/units",
            "links",
            ".real",
            "conf/autostart",
            "tools",
        ] {
            fs::create_dir_all(home.join(name)).unwrap();
        }
        fs::write(home.join(".real/profile"), "").unwrap();
        for (link, target) in [
            (".config/fish", "../dotfiles/fish"),
            (".config/systemd/user", "../../dotfiles/units"),
            (".profile", "links/profile"),
            ("links/profile", "../.real/profile"),
            ("bin-link", "tools"),
        ] {
            symlink(target, home.join(link)).unwrap();
        }
        let text = |name: &str| home.join(name).to_str().unwrap().to_owned();
        let variables = BTreeMap::from([
            ("PATH".to_owned(), format!("{}:/usr/bin:relative", text("bin-link"))),
            ("XDG_CONFIG_HOME".to_owned(), text("conf")),
        ]);
        let roots = roots(&variables, home.to_str().unwrap());
        let acting = find(&variables, &roots, home.to_str().unwrap());
        let tops = acting.tops(home);
        for name in ["dotfiles", "links", "tools", "conf", "bin", ".profile"] {
            assert!(tops.contains(name), "{name}: {tops:?}");
        }
        for name in [
            "conf",
            "conf/autostart",
            "conf/autostart/x.desktop",
            "dotfiles",
            "dotfiles/fish/config",
            "links",
            ".",
        ] {
            assert!(acting.would_act(&normal(&home.join(name)).display().to_string()), "{name}");
        }
        for name in ["conf/app", "Documents", ".real/other"] {
            assert!(!acting.would_act(&text(name)), "{name}");
        }
    }

    #[test]
    fn links_in_a_circle_end() {
        let folder = tempfile::tempdir().unwrap();
        symlink("b", folder.path().join("a")).unwrap();
        symlink("a", folder.path().join("b")).unwrap();
        assert!(hops(&folder.path().join("a")).len() <= HOPS_MOST + 1);
    }
}
