//! Where programs and libraries are searched inside the sandbox: `PATH`, `LD_LIBRARY_PATH`, and what the dynamic linker of
//! the C library searches by itself (ld.so(8)).

use std::fs::File;
use std::io::Read;
use std::path::Path;

use pack_launcher::plan::library_folders;
use pack_schemas::manifest::expand;
use pack_schemas::names::Architecture;

use super::listing::Listing;
use super::view::View;
use super::{BaseFiles, Request};

/// Most files of ld.so.conf.d that are read, and most bytes of each.
const CONFIGURATIONS_MOST: usize = 100;
const CONFIGURATION_LIMIT: usize = 64 << 10;
/// Most folders that are searched.
const FOLDERS_MOST: usize = 200;

/// The folders, as paths inside.
pub(super) struct Search {
    /// For libraries, besides those that a program names.
    pub libraries: Vec<Vec<u8>>,
    /// For programs.
    pub programs: Vec<Vec<u8>>,
}

impl Search {
    pub fn new(request: &Request<'_>, view: &View<'_>) -> Search {
        let mut libraries = told(request);
        libraries.extend(configured(request, view));
        libraries.extend(usual(request.architecture));
        Search { libraries: without_repeats(libraries), programs: programs(request) }
    }
}

/// `LD_LIBRARY_PATH`: what a launch makes of the package's folders, or what the manifest says instead.
fn told(request: &Request<'_>) -> Vec<Vec<u8>> {
    let manifest = request.manifest;
    let facts = request.files.facts(request.architecture);
    let own = library_folders(manifest, &facts, request.architecture).join(":");
    values(request, "LD_LIBRARY_PATH", &own)
}

fn programs(request: &Request<'_>) -> Vec<Vec<u8>> {
    let folders = ["usr/local/bin", "usr/bin", "bin", "usr/local/sbin", "usr/sbin", "sbin"];
    let roots = ["/app/", "/"].into_iter();
    let own: Vec<String> =
        roots.flat_map(|root| folders.iter().map(move |folder| format!("{root}{folder}"))).collect();
    without_repeats(values(request, "PATH", &own.join(":")))
}

/// The folders of a variable for every app together: apps share the libraries of their package.
fn values(request: &Request<'_>, name: &str, own: &str) -> Vec<Vec<u8>> {
    let manifest = request.manifest;
    let expanded = |text: &str, value: &str| {
        expand(text, |variable| match variable {
            "PACK" => Some("/app"),
            variable if variable == name => Some(value),
            _ => None,
        })
    };
    let of_all = match manifest.environment.get(name) {
        Some(text) => expanded(text, own),
        None => own.to_owned(),
    };
    let of_apps = manifest.apps.values().map(|app| match app.environment.get(name) {
        Some(text) => expanded(text, &of_all),
        None => of_all.clone(),
    });
    let mut all: Vec<String> = of_apps.collect();
    if all.is_empty() {
        all.push(of_all.clone());
    }
    let folders = all.iter().flat_map(|value| value.split(':'));
    folders.filter(|folder| folder.starts_with('/')).map(|folder| folder.as_bytes().to_vec()).collect()
}

/// The folders that stand in ld.so.conf.d: the linker knows them from the cache that is made of these.
fn configured(request: &Request<'_>, view: &View<'_>) -> Vec<Vec<u8>> {
    let mut folders = Vec::new();
    if view.makes_root() && request.files.find(b"etc/ld.so.cache").is_some() {
        folders.extend(configured_in(request.files));
    }
    match view.base() {
        BaseFiles::Host(root) => folders.extend(configured_on_host(root)),
        BaseFiles::Package(files) => folders.extend(configured_in(files)),
        BaseFiles::None | BaseFiles::Missing(_) => {}
    }
    folders
}

fn configured_in(files: &Listing) -> Vec<Vec<u8>> {
    let texts = files.below(b"etc/ld.so.conf.d").take(CONFIGURATIONS_MOST);
    texts
        .filter_map(|entry| files.read(entry, CONFIGURATION_LIMIT).ok())
        .flat_map(|text| lines(&text))
        .collect()
}

fn configured_on_host(root: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(root.join("etc/ld.so.conf.d")) else { return Vec::new() };
    let paths = entries.flatten().take(CONFIGURATIONS_MOST).map(|entry| entry.path());
    let regular = paths.filter(|path| path.symlink_metadata().is_ok_and(|found| found.is_file()));
    let mut texts: Vec<Vec<u8>> = regular
        .filter_map(|path| {
            let mut text = Vec::new();
            File::open(path).ok()?.take(CONFIGURATION_LIMIT as u64).read_to_end(&mut text).ok()?;
            Some(text)
        })
        .collect();
    texts.sort();
    texts.iter().flat_map(|text| lines(text)).collect()
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| line.starts_with(b"/")).map(<[u8]>::to_vec).collect()
}

/// What the linkers of glibc (Debian's, and others') and musl search at last.
fn usual(architecture: Architecture) -> Vec<Vec<u8>> {
    let mut folders = Vec::new();
    for root in ["/usr/local/lib", "/lib", "/usr/lib"] {
        if let Some(triplet) = architecture.triplet() {
            folders.push(format!("{root}/{triplet}"));
        }
        folders.push(root.to_owned());
    }
    folders.extend(["/lib64", "/usr/lib64"].map(str::to_owned));
    folders.into_iter().map(String::into_bytes).collect()
}

fn without_repeats(folders: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    for folder in folders {
        if all.len() < FOLDERS_MOST && !all.contains(&folder) {
            all.push(folder);
        }
    }
    all
}
