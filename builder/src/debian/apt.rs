//! Runs the host's apt as an ordinary user, on a state of its own.
//!
//! ```text
//! CACHE/lock                  held (flock) while apt works
//! CACHE/ARCH/apt.conf         all the configuration that apt gets; written anew each time
//! CACHE/ARCH/status           the package database: what the base has and nothing else, so that all that is needed beyond it is named
//! CACHE/ARCH/state/lists      the lists of packages, as apt checked them against the archive's signature
//! CACHE/ARCH/lists-fetched    what the lists were fetched from; its time is when
//! CACHE/ARCH/cache/archives   downloaded packages
//! CACHE/ARCH/none             an empty folder, in apt's eyes the archives when it is asked what is needed
//! ```
//! Of the host's configuration apt gets what concerns fetching (proxies, certificates, timeouts), but neither the
//! hooks, which are shell commands meant for root, nor leave to use what is not signed.

use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use pack_schemas::names::{Architecture, Hash};
use pack_schemas::text::{nearest, visible};
use rustix::fs::{FlockOperation, flock};

use super::deb::Deb;
use super::{
    DebianError, Note, Progress, Request, ResolvedFile, ahead, last_lines, make_folder, native, present,
};

/// Where the programs of Debian are; the caller's PATH has no say.
pub(super) const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The packages that every other one takes for granted (apt-patterns(7)). apt counts itself among them, which nobody needs to
/// build.
const ESSENTIAL: &str = "?and(?essential,?not(?exact-name(apt)))";

/// Lists older than this are fetched anew.
const LISTS_KEEP: Duration = Duration::from_secs(24 * 60 * 60);

/// apt's private state, locked.
pub(super) struct Apt<'a> {
    request: &'a Request,
    root: PathBuf,
    _lock: File,
}

/// A package file that apt says is needed.
#[derive(Debug, PartialEq, Eq)]
struct Needed {
    uri: String,
    file: String,
    bytes: u64,
    sha256: String,
}

impl<'a> Apt<'a> {
    /// Prepares the cache folder, and waits until no other build uses it.
    pub(super) fn open(
        request: &'a Request,
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Apt<'a>, DebianError> {
        make_folder(&request.cache)?;
        let cache = fs::canonicalize(&request.cache)
            .map_err(|source| DebianError::io("find the folder", &request.cache, source))?;
        for path in [&cache, &request.apt_folder] {
            quotable(path)?;
        }
        let lock = lock(&cache.join("lock"), progress)?;
        let root = cache.join(native(request.architecture).as_str());
        for folder in ["state/lists/partial", "cache/archives/partial", "none/partial", "temporary"] {
            make_folder(&root.join(folder))?;
        }
        let apt = Apt { request, root, _lock: lock };
        apt.write("status", &present::status(&request.present))?;
        apt.write("apt.conf", &apt.configuration(""))?;
        let fetching =
            fetching_options(&apt.run("apt-config", "read the host's configuration", &["dump"])?);
        apt.write("apt.conf", &apt.configuration(&fetching))?;
        Ok(apt)
    }

    /// Downloads `packages` and all that they depend on, as far as the cache has not got them; sorted by name.
    ///
    /// Where the lists turn out to be behind the archive they are fetched anew, once.
    pub(super) fn obtain(
        &self,
        packages: &[String],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Deb>, DebianError> {
        let fresh = !lists_are_recent(self.request, &self.root) && {
            self.update(progress)?;
            true
        };
        match self.resolve_and_download(packages, progress) {
            Err(error) if error.blames_lists() && !fresh => match self.update(progress) {
                Ok(()) => self.resolve_and_download(packages, progress),
                Err(_) => Err(error),
            },
            other => other,
        }
    }

    /// All files that `packages` come to.
    pub(super) fn files(
        &self,
        packages: &[String],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<ResolvedFile>, DebianError> {
        if !lists_are_recent(self.request, &self.root) {
            self.update(progress)?;
        }
        progress(Progress::Resolving);
        self.check_known(packages)?;
        let files = self.resolve(packages)?.into_iter();
        Ok(files.map(|Needed { file, sha256, .. }| ResolvedFile { name: file, sha256 }).collect())
    }

    fn resolve_and_download(
        &self,
        packages: &[String],
        progress: &mut dyn FnMut(Progress<'_>),
    ) -> Result<Vec<Deb>, DebianError> {
        progress(Progress::Resolving);
        self.check_known(packages)?;
        let needed = self.resolve(packages)?;
        let bytes = needed.iter().map(|file| file.bytes).sum();
        progress(Progress::Downloading { packages: needed.len(), bytes });
        if needed.iter().any(|file| !self.archive(file).exists()) {
            self.install("download the packages", &["--download-only"], packages)?;
        }
        let mut debs = self.check(&needed)?;
        debs.sort_by(|left, right| left.package.cmp(&right.package));
        Ok(debs)
    }

    /// Refuses names that apt would take for a pattern, a removal (`NAME-`) or a choice of its own.
    fn check_known(&self, packages: &[String]) -> Result<(), DebianError> {
        let output = self.run("apt-cache", "list the packages", &["pkgnames"])?;
        let known: Vec<&str> = output.lines().collect();
        let unknown = packages.iter().find(|name| !known.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| Err(self.unknown(name, &known)))
    }

    fn unknown(&self, name: &str, known: &[&str]) -> DebianError {
        let near = nearest(name, known.iter().copied()).map(str::to_owned);
        DebianError::UnknownPackage { name: name.to_owned(), near, sources: self.request.apt_folder.clone() }
    }

    /// Asks apt for all files that it would install on a machine with nothing on it.
    fn resolve(&self, packages: &[String]) -> Result<Vec<Needed>, DebianError> {
        let nowhere = format!("Dir::Cache::archives={}/", self.root.join("none").display());
        // MD5 is what apt prints unless told otherwise.
        let options = ["--print-uris", "-o", &nowhere, "-o", "Acquire::ForceHash=SHA256"];
        let output = self.install("resolve the dependencies", &options, packages)?;
        output.lines().filter(|line| line.starts_with('\'')).map(needed).collect()
    }

    fn install(
        &self,
        step: &'static str,
        options: &[&str],
        packages: &[String],
    ) -> Result<String, DebianError> {
        let mut arguments = vec!["install", "-q", "-y"];
        arguments.extend_from_slice(options);
        arguments.push("--");
        arguments.extend(self.request.essential.then_some(ESSENTIAL));
        arguments.extend(packages.iter().map(String::as_str));
        self.run("apt-get", step, &arguments)
    }

    fn archive(&self, file: &Needed) -> PathBuf {
        self.root.join("cache/archives").join(&file.file)
    }

    /// Looks into all files, on all cores.
    fn check(&self, needed: &[Needed]) -> Result<Vec<Deb>, DebianError> {
        let share = needed.len().div_ceil(ahead()).max(1);
        std::thread::scope(|scope| {
            let each =
                |files: &[Needed]| files.iter().map(|file| self.checked(file)).collect::<Result<Vec<_>, _>>();
            let workers: Vec<_> =
                needed.chunks(share).map(|files| scope.spawn(move || each(files))).collect();
            let mut debs = Vec::with_capacity(needed.len());
            for worker in workers {
                let checked = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                debs.extend(checked?);
            }
            Ok(debs)
        })
    }

    fn checked(&self, file: &Needed) -> Result<Deb, DebianError> {
        let path = self.archive(file);
        if !path.exists() {
            return Err(DebianError::NotDownloaded { uri: file.uri.clone() });
        }
        Deb::read(&path, Some(&file.sha256))
    }

    /// Fetches the lists. It is enough that some source answers: what apt keeps is signed, and may be older.
    fn update(&self, progress: &mut dyn FnMut(Progress<'_>)) -> Result<(), DebianError> {
        progress(Progress::Updating);
        let arguments = ["update", "-q", "-o", "APT::Update::Error-Mode=any"];
        match self.run("apt-get", "fetch the lists of packages", &arguments) {
            Ok(_) if self.has_lists() => self.note_fetched(),
            Ok(_) => {
                Err(DebianError::Network { what: "the lists of packages", output: "there are none".into() })
            }
            Err(DebianError::Network { output, .. } | DebianError::Tool { output, .. })
                if self.has_lists() =>
            {
                progress(Progress::Note(Note::ListsNotFetched { output }));
                Ok(())
            }
            Err(DebianError::Tool { output, .. }) => {
                Err(DebianError::Network { what: "the lists of packages", output })
            }
            Err(error) => Err(error),
        }
    }

    fn has_lists(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.root.join("state/lists")) else { return false };
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().contains("Packages"))
    }

    fn note_fetched(&self) -> Result<(), DebianError> {
        self.write("lists-fetched", &sources_hash(&self.request.apt_folder))?;
        let path = self.root.join("lists-fetched");
        let times = FileTimes::new().set_modified(self.request.now);
        let set = File::options().write(true).open(&path).and_then(|file| file.set_times(times));
        set.map_err(|source| DebianError::io("write", &path, source))
    }

    /// Writes a file that is not so yet: apt reads its lists anew where one of its files has another time.
    fn write(&self, name: &str, content: &str) -> Result<(), DebianError> {
        let path = self.root.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == content) {
            return Ok(());
        }
        fs::write(&path, content).map_err(|source| DebianError::io("write", &path, source))
    }

    /// All of apt's configuration (apt.conf(5)); `fetching` is what is taken over from the host's.
    fn configuration(&self, fetching: &str) -> String {
        let (root, etc) = (self.root.display(), self.request.apt_folder.display());
        // apt reads the host's apt.conf.d unless the folder is named otherwise: for the first question it may.
        let parts = match fetching {
            "" => String::new(),
            _ => format!("Dir::Etc::Parts \"{root}/none\";\nDir::Etc::Main \"/dev/null\";\n"),
        };
        let architecture: Architecture = native(self.request.architecture);
        format!(
            "Dir::State \"{root}/state\";\nDir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\n\
             Dir::Log \"{root}\";\nDir::Etc \"{etc}\";\n{parts}\
             APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
             APT::Install-Recommends \"false\";\nAPT::Install-Suggests \"false\";\nAPT::Sandbox::User \"root\";\n\
             Debug::NoLocking \"true\";\n{fetching}Acquire::Languages {{ \"none\"; }};\n"
        )
    }

    fn run(&self, tool: &'static str, step: &'static str, arguments: &[&str]) -> Result<String, DebianError> {
        let mut command = Command::new(tool);
        command.args(arguments).env_clear().envs(self.request.environment.iter().cloned());
        command.env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", &self.root);
        command.env("APT_CONFIG", self.root.join("apt.conf")).env("TMPDIR", self.root.join("temporary"));
        let output = command
            .stdin(Stdio::null())
            .current_dir(&self.root)
            .output()
            .map_err(|source| not_started(tool, source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(self.failure(tool, step, &output))
    }

    /// What apt's words mean; they are English, since LC_ALL is C.
    fn failure(&self, tool: &'static str, step: &'static str, output: &Output) -> DebianError {
        let text = String::from_utf8_lossy(&output.stderr);
        let said = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
        let complaints: Vec<&str> = text.lines().filter(|line| line.starts_with("E:")).collect();
        let shown = match complaints.is_empty() {
            true => last_lines(&output.stderr),
            false => last_lines(complaints.join("\n").as_bytes()),
        };
        if said(&["No space left on device", "Disk quota exceeded", "enough free space"]) {
            return DebianError::DiskFull { path: self.root.clone() };
        }
        let no_candidate = text.lines().find_map(|line| line.strip_suffix("' has no installation candidate"));
        if let Some(name) = no_candidate.and_then(|line| line.strip_prefix("E: Package '")) {
            return self.unknown(name, &[]);
        }
        if said(&["unmet dependencies", "held broken packages", "Unable to correct problems"]) {
            return DebianError::Unsatisfiable {
                output: last_lines(&[&output.stdout[..], &output.stderr].concat()),
            };
        }
        if said(&["Failed to fetch", "Could not resolve", "Temporary failure resolving", "Could not connect"])
        {
            let what = if step.contains("lists") { "the lists of packages" } else { "packages" };
            return DebianError::Network { what, output: shown };
        }
        DebianError::Tool { tool, step, status: output.status.to_string(), output: shown }
    }
}

/// The error for a program that could not be started.
pub(super) fn not_started(tool: &'static str, source: io::Error) -> DebianError {
    match source.kind() {
        io::ErrorKind::NotFound => DebianError::ToolMissing { tool },
        _ => DebianError::io("start", Path::new(tool), source),
    }
}

/// Reads a line of `apt-get --print-uris`: `'URI' FILE BYTES SHA256:HASH`.
fn needed(line: &str) -> Result<Needed, DebianError> {
    let parse = || {
        let (uri, rest) = line.strip_prefix('\'')?.split_once("' ")?;
        let mut words = rest.split_whitespace();
        let (file, bytes, hash) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
        let sha256 = hash.strip_prefix("SHA256:")?;
        let plain = file.ends_with(".deb") && !file.contains('/');
        let hexadecimal = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
        (plain && hexadecimal).then(|| Needed {
            uri: uri.to_owned(),
            file: file.to_owned(),
            bytes,
            sha256: sha256.to_ascii_lowercase(),
        })
    };
    let line = || visible(&line.chars().take(256).collect::<String>());
    parse().ok_or_else(|| DebianError::Output { tool: "apt-get", line: line() })
}

/// What of `apt-config dump` is taken over: how to fetch, not what to trust.
fn fetching_options(dump: &str) -> String {
    const LEFT_OUT: [&str; 5] = [
        "Acquire::IndexTargets",
        "Acquire::Languages",
        "Acquire::AllowInsecureRepositories",
        "Acquire::AllowWeakRepositories",
        "Acquire::AllowDowngradeToInsecureRepositories",
    ];
    let kept =
        |line: &&str| line.starts_with("Acquire::") && !LEFT_OUT.iter().any(|key| line.starts_with(key));
    let mut options: String = dump.lines().filter(kept).fold(String::new(), |all, line| all + line + "\n");
    options.push_str("Acquire::AllowInsecureRepositories \"false\";\n");
    options
}

/// Refuses a path that would end the quotes of apt's configuration.
fn quotable(path: &Path) -> Result<(), DebianError> {
    let plain =
        |text: &str| !text.chars().any(|character| character.is_control() || "\"\\".contains(character));
    match path.to_str() {
        Some(text) if plain(text) => Ok(()),
        _ => Err(DebianError::FolderName { path: path.to_owned() }),
    }
}

pub(super) fn lock(path: &Path, progress: &mut dyn FnMut(Progress<'_>)) -> Result<File, DebianError> {
    let error = |source: io::Error| DebianError::io("lock", path, source);
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(error)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        progress(Progress::Waiting);
        flock(&file, FlockOperation::LockExclusive).map_err(|errno| error(errno.into()))?;
    }
    Ok(file)
}

/// What [`super::lists`] says.
pub(super) fn lists(request: &Request) -> Option<Hash> {
    let root = request.cache.canonicalize().ok()?.join(native(request.architecture).as_str());
    if !lists_are_recent(request, &root) {
        return None;
    }
    // The signed files name the others by their hashes.
    let entries = fs::read_dir(root.join("state/lists")).ok()?.flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with("Release"))
        .collect();
    files.sort();
    let folder = &request.apt_folder;
    let preferences = fs::read_dir(folder.join("preferences.d")).into_iter().flatten().flatten();
    let mut preferences: Vec<PathBuf> = preferences.map(|entry| entry.path()).collect();
    preferences.sort();
    let one = folder.join("preferences");
    files.extend(preferences.into_iter().chain([one]).filter(|path| path.is_file()));
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let content = fs::read(&file).ok()?;
        hasher.update(file.file_name()?.as_encoded_bytes()).update(blake3::hash(&content).as_bytes());
    }
    Some(Hash(*hasher.finalize().as_bytes()))
}

/// Whether the lists under `root` were fetched from these sources, no more than a day ago, and not in the future.
fn lists_are_recent(request: &Request, root: &Path) -> bool {
    let path = root.join("lists-fetched");
    let time = fs::metadata(&path).and_then(|metadata| metadata.modified());
    let recent = |time: SystemTime| request.now.duration_since(time).is_ok_and(|age| age < LISTS_KEEP);
    let is_same = |text: String| text == sources_hash(&request.apt_folder);
    time.is_ok_and(recent) && fs::read_to_string(path).is_ok_and(is_same)
}

/// Stands for the content of every file that names sources.
fn sources_hash(folder: &Path) -> String {
    let entries = fs::read_dir(folder.join("sources.list.d")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    files.push(folder.join("sources.list"));
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in files {
        let content = fs::read(&file).unwrap_or_default();
        hasher.update(file.as_os_str().as_encoded_bytes()).update(blake3::hash(&content).as_bytes());
    }
    hasher.finalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_print_uris_are_read_or_refused() {
        let hash = "ab".repeat(32);
        let line = format!("'http://x/jq_1%2b1_amd64.deb' jq_1%3a1+1_amd64.deb 64432 SHA256:{hash}");
        let file = needed(&line).unwrap();
        assert_eq!(
            (file.file.as_str(), file.bytes, file.sha256),
            ("jq_1%3a1+1_amd64.deb", 64432, hash.clone())
        );
        for bad in [
            "'http://x/a.deb' a.deb 1 MD5Sum:00".to_owned(),
            "'http://x/a.deb' a.deb 1 ".to_owned(),
            format!("'http://x/a.deb' ../a.deb 1 SHA256:{hash}"),
            format!("'http://x/a.deb' a.deb many SHA256:{hash}"),
            format!("'http://x/a.deb' a.deb 1 SHA256:{}", &hash[1..]),
        ] {
            assert!(matches!(needed(&bad), Err(DebianError::Output { .. })), "{bad}");
        }
    }

    #[test]
    fn hooks_and_leave_to_use_unsigned_lists_are_not_taken_over() {
        let dump = "APT::Update::Post-Invoke:: \"rm -rf /\";\nAcquire::http::Proxy \"http://p:3128\";\n\
                    Acquire::AllowInsecureRepositories \"1\";\nAcquire::Languages:: \"en\";\n";
        let kept = fetching_options(dump);
        assert!(kept.starts_with("Acquire::http::Proxy \"http://p:3128\";\n"), "{kept}");
        assert!(
            !kept.contains("Post-Invoke") && !kept.contains("\"1\"") && !kept.contains("\"en\""),
            "{kept}"
        );
    }

    #[test]
    fn paths_that_end_the_quotes_are_refused() {
        assert!(quotable(Path::new("/home/a b/ü")).is_ok());
        for bad in ["/a\"b", "/a\\b", "/a\nb"] {
            assert!(quotable(Path::new(bad)).is_err());
        }
    }
}
