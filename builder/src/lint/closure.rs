//! Whether programs and libraries will find what they need, as ld.so(8) looks for it.
//!
//! A library is searched in the folders that its user names (`DT_RUNPATH`, else `DT_RPATH`), then in those of
//! `LD_LIBRARY_PATH` and of the linker. Libraries that a user of it has loaded before are found without; which user it is
//! nobody knows beforehand, so that the folders that any object of the package names count at last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use pack_schemas::names::Architecture;

use super::checks::{
    ELF_ARCHITECTURE, EXEC_STACK, INTERPRETER_MISSING, LIBRARY_MISSING, LIBRARY_OF_HOST,
    LIBRARY_OUT_OF_REACH, LIBRARY_UNCHECKED, LIBRARY_UNUSED, RUNPATH_OUTSIDE, SYMBOL_VERSION_MISSING,
    TEXT_RELOCATIONS,
};
use super::elf::{self, Facts, Machine, Object};
use super::listing::{Entry, Kind, Opened};
use super::search::Search;
use super::view::{BaseFile, Place, View};
use super::{BaseFiles, Findings, Request, host, shown, size_text};

/// Libraries of glibc, and the one of GCC that it loads: every host has them beside its dynamic linker, and some are
/// loaded by name alone.
const OF_SYSTEM: &[&str] = &[
    "ld-linux",
    "libBrokenLocale",
    "libSegFault",
    "libanl",
    "libc",
    "libc_malloc_debug",
    "libdl",
    "libgcc_s",
    "libm",
    "libmemusage",
    "libmvec",
    "libnsl",
    "libnss_compat",
    "libnss_dns",
    "libnss_files",
    "libnss_hesiod",
    "libpcprofile",
    "libpthread",
    "libresolv",
    "librt",
    "libthread_db",
    "libutil",
];

pub(super) fn look(request: &Request<'_>, view: &View<'_>, objects: &[Object<'_>], found: &mut Findings) {
    let mut closure = Closure::new(request, view, objects);
    for object in objects {
        closure.object(object, found);
    }
    closure.tell_host(found);
    closure.tell_unchecked(found);
    closure.tell_unused(objects, found);
}

/// Where a library was found.
#[derive(Clone)]
enum Provider<'a> {
    Package(&'a Entry),
    Base(BaseFile<'a>),
}

/// What searching came to.
#[derive(Clone)]
enum Sought<'a> {
    Found(Provider<'a>),
    /// Nowhere, and there is no more to look at.
    Nowhere,
    /// Nowhere here; the base was not looked at.
    Unknown,
}

struct Closure<'a, 'b> {
    request: &'b Request<'a>,
    view: &'b View<'a>,
    machine: Option<Machine>,
    search: Search,
    /// Folders that any object names.
    named: BTreeSet<Vec<u8>>,
    facts: HashMap<&'b [u8], &'b Facts>,
    /// Where files of each name lie in the package.
    names: HashMap<&'a [u8], &'a Entry>,
    resolved: HashMap<Vec<u8>, Sought<'a>>,
    /// What libraries of the base are made for, and the versions that they offer.
    of_base: HashMap<PathBuf, (Option<Machine>, Vec<Vec<u8>>)>,
    used: BTreeSet<&'a [u8]>,
    /// Libraries that only the host has, and who needs them.
    of_host: BTreeMap<Vec<u8>, (PathBuf, BTreeSet<Vec<u8>>)>,
    unchecked: BTreeSet<Vec<u8>>,
}

impl<'a, 'b> Closure<'a, 'b> {
    fn new(request: &'b Request<'a>, view: &'b View<'a>, objects: &'b [Object<'a>]) -> Closure<'a, 'b> {
        let named = objects.iter().flat_map(|object| folders_named(view, object, request.architecture));
        let is_library = |entry: &&Entry| {
            let name = entry.name();
            !matches!(entry.kind, Kind::Folder) && name.windows(3).any(|part| part == b".so")
        };
        Closure {
            request,
            view,
            machine: Machine::of(request.architecture),
            search: Search::new(request, view),
            named: named.take(10_000).collect(),
            facts: objects.iter().map(|object| (&*object.entry.path, &object.facts)).collect(),
            names: request
                .files
                .entries()
                .iter()
                .filter(is_library)
                .map(|entry| (entry.name(), entry))
                .collect(),
            resolved: HashMap::new(),
            of_base: HashMap::new(),
            used: BTreeSet::new(),
            of_host: BTreeMap::new(),
            unchecked: BTreeSet::new(),
        }
    }

    fn object(&mut self, object: &Object<'a>, found: &mut Findings) {
        let (path, facts) = (&object.entry.path, &object.facts);
        if Some(facts.machine) != self.machine {
            let message = format!(
                "is made for {}, and the package for {}",
                facts.machine.name(),
                self.request.architecture
            );
            found.file(
                ELF_ARCHITECTURE,
                path,
                message,
                "build it for the package's architecture, or leave it out with `prime`",
            );
            return;
        }
        if facts.executable_stack {
            let message = "asks for a stack that can be executed".to_owned();
            found.file(
                EXEC_STACK,
                path,
                message,
                "link it with `-z noexecstack`; in assembly add a section .note.GNU-stack",
            );
        }
        if facts.text_relocations {
            let message = "has text relocations: its code is made writable when it is loaded".to_owned();
            found.file(TEXT_RELOCATIONS, path, message, "compile it with -fPIC");
        }
        self.runpath(object, found);
        self.interpreter(object, found);
        let folders: Vec<Vec<u8>> = folders_named(self.view, object, self.request.architecture).collect();
        let mut providers = BTreeMap::new();
        for needed in &facts.needed {
            if let Some(provider) = self.needed(object, needed, &folders, found) {
                providers.insert(needed.clone(), provider);
            }
        }
        self.versions(object, &providers, found);
    }

    fn runpath(&self, object: &Object<'_>, found: &mut Findings) {
        let facts = &object.facts;
        let (key, paths) = match (&facts.runpath, &facts.rpath) {
            (Some(paths), _) => ("RUNPATH", paths),
            (None, Some(paths)) => ("RPATH", paths),
            (None, None) => return,
        };
        if paths.is_empty() {
            return;
        }
        let outside: Vec<String> = paths
            .split(|byte| *byte == b':')
            .filter(|folder| !folder.starts_with(b"$ORIGIN") && !folder.starts_with(b"${ORIGIN}"))
            .filter(|folder| !folder.starts_with(b"/") || !self.is_ours(folder))
            .map(|folder| {
                if folder.is_empty() {
                    "the working folder".to_owned()
                } else {
                    format!("`{}`", shown(folder))
                }
            })
            .collect();
        if outside.is_empty() {
            return;
        }
        let message = format!("has {} in its {key}, outside of the package", outside.join(", "));
        let hint = "link with -Wl,-rpath,'$ORIGIN/../lib' (in a shell with the quotes), or run `patchelf --remove-rpath` in a script of the part";
        found.file(RUNPATH_OUTSIDE, &object.entry.path, message, hint);
    }

    /// Below `/app`, or, where the package makes up the root, where a base or package keeps libraries.
    fn is_ours(&self, folder: &[u8]) -> bool {
        let is_system = [&b"/usr"[..], b"/lib", b"/lib64"].iter().any(|top| {
            folder.strip_prefix(*top).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        });
        self.view.is_own(folder) || (self.view.makes_root() && is_system)
    }

    fn interpreter(&mut self, object: &Object<'_>, found: &mut Findings) {
        let Some(interpreter) = &object.facts.interpreter else { return };
        match self.sought(self.view.resolve(interpreter)) {
            Sought::Found(Provider::Package(entry)) => drop(self.used.insert(&entry.path)),
            Sought::Found(Provider::Base(_)) => {}
            Sought::Unknown => drop(self.unchecked.insert(interpreter.clone())),
            Sought::Nowhere => {
                let message =
                    format!("asks for the dynamic linker `{}`, which is not there", shown(interpreter));
                let hint = match self.view.base() {
                    BaseFiles::None => "stage libc6, and keep lib64 and lib with `prime`",
                    _ => "it may be made for another C library: stage that, or build it anew",
                };
                found.file(INTERPRETER_MISSING, &object.entry.path, message, hint);
            }
        }
    }

    fn needed(
        &mut self,
        object: &Object<'a>,
        needed: &[u8],
        folders: &[Vec<u8>],
        found: &mut Findings,
    ) -> Option<Provider<'a>> {
        let path = &object.entry.path;
        match self.find(needed, folders) {
            Sought::Found(provider) => {
                match &provider {
                    Provider::Package(entry) => drop(self.used.insert(&entry.path)),
                    Provider::Base(BaseFile::Host(file)) => {
                        let (_, users) =
                            self.of_host.entry(needed.to_vec()).or_insert((file.clone(), BTreeSet::new()));
                        if users.len() < 1000 {
                            users.insert(path.to_vec());
                        }
                    }
                    Provider::Base(BaseFile::Package(_)) => {}
                }
                return Some(provider);
            }
            Sought::Unknown => drop(self.unchecked.insert(needed.to_vec())),
            Sought::Nowhere => match self.names.get(needed).copied() {
                Some(entry) => {
                    self.used.insert(&entry.path);
                    let folder = shown(entry.folder());
                    let message = format!(
                        "needs `{}`, which is in the package at `{folder}`, where nobody looks for it",
                        shown(needed)
                    );
                    let hint = format!(
                        "set its RUNPATH to the folder, relative to $ORIGIN, or `environment: {{LD_LIBRARY_PATH: \
                         $PACK/{folder}}}`; what its program loads beforehand needs neither"
                    );
                    found.file(LIBRARY_OUT_OF_REACH, path, message, hint);
                }
                None => {
                    let base = match self.view.base() {
                        BaseFiles::None => "not in the package, which has no base".to_owned(),
                        BaseFiles::Host(_) => "neither in the package nor on this host".to_owned(),
                        _ => "neither in the package nor in its base".to_owned(),
                    };
                    let message = format!("needs `{}`, which is {base}", shown(needed));
                    let hint = "stage the Debian package that has it (`apt-file search` finds it), or build it in a part";
                    found.file(LIBRARY_MISSING, path, message, hint);
                }
            },
        }
        None
    }

    /// Searches as the dynamic linker does.
    fn find(&mut self, needed: &[u8], folders: &[Vec<u8>]) -> Sought<'a> {
        if needed.contains(&b'/') {
            return self.sought(self.view.resolve(needed));
        }
        let mut is_unknown = false;
        let searched = folders.iter().chain(&self.search.libraries).chain(&self.named);
        let paths: Vec<Vec<u8>> = searched.map(|folder| [folder, &b"/"[..], needed].concat()).collect();
        for path in paths {
            let sought = match self.resolved.get(&path) {
                Some(sought) => sought.clone(),
                None => {
                    let sought = self.sought(self.view.resolve(&path));
                    self.resolved.insert(path, sought.clone());
                    sought
                }
            };
            match sought {
                Sought::Found(_) => return sought,
                Sought::Unknown => is_unknown = true,
                Sought::Nowhere => {}
            }
        }
        if is_unknown { Sought::Unknown } else { Sought::Nowhere }
    }

    /// What a place is for a program of the package's architecture.
    fn sought(&mut self, place: Place<'a>) -> Sought<'a> {
        let host_is_alike = self.request.architecture == Architecture::HOST;
        match place {
            Place::Package(entry) => {
                // The linker passes over libraries of other machines.
                let fits =
                    self.facts.get(&*entry.path).is_none_or(|facts| Some(facts.machine) == self.machine);
                if fits { Sought::Found(Provider::Package(entry)) } else { Sought::Nowhere }
            }
            Place::Base(BaseFile::Host(_)) | Place::Missing
                if matches!(self.view.base(), BaseFiles::Host(_)) && !host_is_alike =>
            {
                Sought::Unknown
            }
            Place::Base(file) => {
                let (machine, _) = self.base_facts(&file);
                let fits = machine.is_none() || machine == self.machine;
                if fits { Sought::Found(Provider::Base(file)) } else { Sought::Nowhere }
            }
            Place::Unknown => Sought::Unknown,
            Place::Missing | Place::Folder | Place::Sandbox => Sought::Nowhere,
        }
    }

    fn versions(
        &mut self,
        object: &Object<'_>,
        providers: &BTreeMap<Vec<u8>, Provider<'a>>,
        found: &mut Findings,
    ) {
        let mut wanted: BTreeMap<&[u8], Vec<&[u8]>> = BTreeMap::new();
        for (library, version) in &object.facts.needed_versions {
            wanted.entry(library).or_default().push(version);
        }
        for (library, versions) in wanted {
            let Some(provider) = providers.get(library) else { continue };
            let offered = self.offered(provider);
            // One without any versions is taken as it is, with a warning of the linker's.
            if offered.is_empty() {
                continue;
            }
            let missing: Vec<&[u8]> =
                versions.into_iter().filter(|version| !offered.iter().any(|its| its == version)).collect();
            if missing.is_empty() {
                continue;
            }
            let listed: Vec<String> = missing.iter().take(3).map(|version| shown(version)).collect();
            let place = match provider {
                Provider::Package(_) => "the package's",
                Provider::Base(BaseFile::Host(_)) => "this host's",
                Provider::Base(BaseFile::Package(_)) => "the base's",
            };
            let newest = newest(&offered, missing[0])
                .map(|version| format!(" (it has {version} at most)"))
                .unwrap_or_default();
            let message =
                format!("needs {} of `{}`, and {place} lacks it{newest}", listed.join(", "), shown(library));
            let hint = "build it where the base's libraries are, or stage the library that it was built with";
            found.file(SYMBOL_VERSION_MISSING, &object.entry.path, message, hint);
        }
    }

    fn offered(&mut self, provider: &Provider<'a>) -> Vec<Vec<u8>> {
        match provider {
            Provider::Package(entry) => {
                self.facts.get(&*entry.path).map(|facts| facts.versions.clone()).unwrap_or_default()
            }
            Provider::Base(file) => self.base_facts(file).1,
        }
    }

    /// What a file of the base is made for, and the versions that it offers; nothing of both where that cannot be read.
    fn base_facts(&mut self, file: &BaseFile<'a>) -> (Option<Machine>, Vec<Vec<u8>>) {
        let key = match file {
            BaseFile::Host(path) => path.clone(),
            BaseFile::Package(entry) => PathBuf::from(OsStr::from_bytes(&entry.path)),
        };
        if let Some(known) = self.of_base.get(&key) {
            return known.clone();
        }
        let opened = match (file, self.view.base()) {
            (BaseFile::Host(path), _) => open_on_host(path),
            (BaseFile::Package(entry), BaseFiles::Package(files)) => files.open(entry).ok(),
            (BaseFile::Package(_), _) => None,
        };
        let read = opened.and_then(|opened| elf::read(&opened).ok()).flatten();
        let facts = read.map(|facts| (Some(facts.machine), facts.versions)).unwrap_or_default();
        self.of_base.insert(key, facts.clone());
        facts
    }

    fn tell_host(&self, found: &mut Findings) {
        let of_host = || self.of_host.iter().filter(|(name, _)| !is_of_system(name));
        let BaseFiles::Host(root) = self.view.base() else { return };
        let packages = host::packages(root, of_host().map(|(_, (path, _))| path.as_path()));
        // The name that is looked for is a link, and dpkg may know the one or the other.
        for (name, (path, users)) in of_host() {
            let package = packages.get(path).or_else(|| packages.get(&path.with_file_name(text_of(name))));
            let message = format!("is only the host's, and hosts differ; it is needed by {}", listed(users));
            let hint = match package {
                Some(package) => format!(
                    "add `{package}` to stage-packages, and the app does not depend on what the host has"
                ),
                None => {
                    "put it into the package, and the app does not depend on what the host has".to_owned()
                }
            };
            found.file(LIBRARY_OF_HOST, name, message, hint);
        }
    }

    fn tell_unchecked(&self, found: &mut Findings) {
        if self.unchecked.is_empty() {
            return;
        }
        let (base, hint) = match self.view.base() {
            BaseFiles::Missing(name) => (
                format!("the base `{name}`, which is not installed here"),
                format!("install `{name}` and look again"),
            ),
            _ => (
                format!("a host for {}, which this machine is not", self.request.architecture),
                format!("look again on a machine for {}", self.request.architecture),
            ),
        };
        let message = format!("were not looked for in {base}: {}", listed(&self.unchecked));
        found.file(LIBRARY_UNCHECKED, b"libraries", message, hint);
    }

    /// Libraries in the folders that are searched, which nothing needs. What programs load by themselves is kept in
    /// folders of its own mostly, so these are told as something to look at, and not where others may use them.
    fn tell_unused(&self, objects: &[Object<'_>], found: &mut Findings) {
        let manifest = self.view.manifest();
        let offers = manifest.slots.keys().any(|slot| manifest.interface_of(slot).as_str() == "content");
        let has_programs = objects.iter().any(|object| object.facts.is_program());
        if offers || !has_programs || manifest.apps.is_empty() {
            return;
        }
        for Object { entry, facts } in objects {
            let folder = self.view.inside(entry.folder());
            let is_searched = self.search.libraries.contains(&folder);
            let is_library =
                facts.soname.is_some() && !facts.is_program() && entry.name().starts_with(b"lib");
            if is_searched && is_library && !self.used.contains(&*entry.path) && !is_of_system(entry.name()) {
                let message = format!(
                    "is a library of {} that nothing in the package needs by its name",
                    size_text(entry.size())
                );
                let hint = "leave it out with `prime`, unless a program loads it by itself (dlopen)";
                found.cost(LIBRARY_UNUSED, &entry.path, entry.size(), message, hint);
            }
        }
    }
}

/// The folders that an object names for its libraries, as paths inside.
fn folders_named(
    view: &View<'_>,
    object: &Object<'_>,
    architecture: Architecture,
) -> impl Iterator<Item = Vec<u8>> {
    let paths = object.facts.runpath.as_ref().or(object.facts.rpath.as_ref()).cloned().unwrap_or_default();
    let inside = view.inside(&object.entry.path);
    let end = inside.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let origin = inside[..end].to_vec();
    let library = format!("lib/{}", architecture.triplet().unwrap_or_default());
    let folders: Vec<Vec<u8>> = paths.split(|byte| *byte == b':').take(100).map(<[u8]>::to_vec).collect();
    folders.into_iter().filter(|folder| !folder.is_empty()).map(move |folder| {
        let folder = replace(&folder, &[b"$ORIGIN", b"${ORIGIN}"], &origin);
        replace(&folder, &[b"$LIB", b"${LIB}"], library.as_bytes())
    })
}

fn replace(text: &[u8], names: &[&[u8]], by: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        match names.iter().find_map(|name| rest.strip_prefix(*name)) {
            // What replaces it is a path of the package; a text of nothing but references stays bounded.
            Some(after) if out.len() < 16 << 10 => {
                out.extend_from_slice(by);
                rest = after;
            }
            _ => {
                out.push(*first);
                rest = &rest[1..];
            }
        }
    }
    out
}

fn open_on_host(path: &Path) -> Option<Opened<'static>> {
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some(Opened::File(std::fs::File::open(path).ok()?, metadata.len()))
}

fn is_of_system(name: &[u8]) -> bool {
    let text = text_of(name);
    let stem = text.split(".so").next().unwrap_or_default();
    OF_SYSTEM.iter().any(|known| stem == *known || (*known == "ld-linux" && stem.starts_with("ld-linux")))
        // Before 2.34 the files bore the version: libc-2.31.so.
        || OF_SYSTEM.iter().any(|known| stem.strip_prefix(known).is_some_and(|rest| rest.starts_with("-2.")))
}

fn text_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The first few of a set, and how many more there are.
fn listed(names: &BTreeSet<Vec<u8>>) -> String {
    let first: Vec<String> = names.iter().take(3).map(|name| format!("`{}`", shown(name))).collect();
    match names.len().saturating_sub(3) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// The newest version of the same kind as `like`: GLIBC_2.36 where GLIBC_2.38 is missing.
fn newest(offered: &[Vec<u8>], like: &[u8]) -> Option<String> {
    let (prefix, _) =
        text_of(like).rsplit_once('_').map(|(prefix, rest)| (prefix.to_owned(), rest.to_owned()))?;
    let number = |version: &String| -> Option<Vec<u32>> {
        let rest = version.strip_prefix(&prefix)?.strip_prefix('_')?;
        rest.split('.').map(|part| part.parse().ok()).collect()
    };
    let offered: Vec<String> = offered.iter().map(|version| shown(version)).collect();
    offered.into_iter().filter(|version| number(version).is_some()).max_by_key(number)
}
