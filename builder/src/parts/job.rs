//! The commands of a step: a script's shell, or the programs of a plugin.
//!
//! Each runs in the sandbox that [`confine`] draws, with nothing on standard input, its output at the end of the step's log,
//! the umask 022, and no variable of the caller's environment but those of the last row:
//!
//! | variable | value |
//! |---|---|
//! | PATH | `/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin` |
//! | HOME, TMPDIR | folders of the part's own |
//! | USER, LOGNAME | `builder` |
//! | LANG, TZ | `C.UTF-8`, `UTC` |
//! | SOURCE_DATE_EPOCH | the time stamp of everything in the package |
//! | PACK_PROJECT_DIR, PACK_PART_SRC, PACK_PART_BUILD, PACK_PART_INSTALL, PACK_STAGE, PACK_PRIME | folders |
//! | PACK_PART_NAME, PACK_PROJECT_NAME, PACK_PROJECT_VERSION | names |
//! | PACK_ARCH, PACK_ARCH_TRIPLET | such as `amd64`, `x86_64-linux-gnu` |
//! | PACK_PARALLEL_BUILD_COUNT | how many jobs to run at once |
//! | build only: PACK_PART_SOURCE_COMMIT, PACK_PART_SOURCE_VERSION | the commit of a git repository that was fetched, and what `git describe --tags` says of it |
//! | CRAFT_… | the same under snapcraft's names |
//! | what the plugin sets | see [`plugins::environment`] |
//! | what `build-environment` sets | in the order of the names; `$NAME` and `${NAME}` refer to variables so far |
//! | pull only: http_proxy, https_proxy, ftp_proxy, all_proxy, no_proxy, in small and in capital letters | the caller's; a value with an `@`, before which a password would stand, is left out |
//! | pull only: SSL_CERT_FILE | the caller's file, shown at `/build/certificates`; in a root of Debian packages else the host's |

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use pack_schemas::manifest::{Part, expand};
use pack_schemas::names::{Hash, Name};
use pack_schemas::text::visible;

use super::{Request, Step, StepError, state, within};
use crate::confine::{self, NotStarted, Root, Sandbox, Started, inside};
use crate::files::{self, FileError};
use crate::plugins::{self, Places};
use crate::project::PartFolders;

/// How much of the end of a log an error repeats: lines, and bytes that are looked at for them.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 << 10;

/// Variables with which a person says how the network is reached, in small letters.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"];
/// The variable that names a file of certificates.
const CERTIFICATES: &str = "SSL_CERT_FILE";

/// What a step of a part runs in.
#[derive(Clone, Copy)]
pub(super) struct Setting<'a> {
    pub request: &'a Request<'a>,
    pub name: &'a Name,
    pub part: &'a Part,
    pub folders: &'a PartFolders,
    /// Stands for the Debian packages of the root that is made for the part; nothing where it is built with the machine's own.
    pub build_packages: Option<Hash>,
    /// What commands find at `/`. The machine's own as long as nothing is run.
    pub root: &'a Root,
}

/// A command and where it runs.
pub(super) struct Job<'a> {
    pub step: Step,
    pub program: &'a str,
    pub arguments: &'a [String],
    /// Variables beside those of the module's table.
    pub environment: BTreeMap<String, String>,
    /// A folder of the part's, or of the build.
    pub working_folder: &'a Path,
}

/// The paths of [`Places`], and what else is in there.
pub(super) struct Paths {
    source: String,
    fetched: String,
    build: String,
    install: String,
    stage: String,
    triplet: &'static str,
    parallel: usize,
}

impl Setting<'_> {
    /// The part's folders as its commands see them.
    pub(super) fn paths(&self) -> Paths {
        let Setting { folders, request, part, .. } = self;
        let show = |path: &Path| inside(request.project, path);
        Paths {
            source: show(&within(part, &folders.source())),
            fetched: show(&folders.fetched()),
            build: show(&within(part, &folders.build())),
            install: show(&folders.install()),
            stage: show(&request.project.work().stage()),
            triplet: request.architecture.triplet().unwrap_or_default(),
            parallel: request.parallel.get(),
        }
    }
}

impl Paths {
    /// With the names in the folder that the commands run in.
    pub(super) fn places<'a>(&'a self, top: &'a [String]) -> Places<'a> {
        let Paths { source, fetched, build, install, stage, triplet, parallel } = self;
        Places { source, fetched, build, install, stage, triplet, parallel: *parallel, top }
    }
}

/// Runs a command of a plugin to its end.
pub(super) fn run(
    setting: &Setting<'_>,
    step: Step,
    command: &plugins::Command,
    working_folder: &Path,
) -> Result<(), StepError> {
    let log = setting.folders.log(step.as_str());
    let job = Job {
        step,
        program: &command.program,
        arguments: &command.arguments,
        environment: command.environment.clone(),
        working_folder,
    };
    let mut started = prepare(setting, &job, &log)?;
    let status = started.command.status();
    let status = ended(&started, status)?;
    if status.success() {
        return Ok(());
    }
    Err(StepError::Command { command: command.typed(), status, tail: tail(&log), log })
}

/// A command ready to be started in the sandbox of its step, its output at the end of a log.
pub(super) fn prepare(setting: &Setting<'_>, job: &Job<'_>, log: &Path) -> Result<Started, StepError> {
    let write_error = |source| FileError::at("write", log, source);
    let output = OpenOptions::new().append(true).create(true).open(log).map_err(write_error)?;
    let errors = output.try_clone().map_err(write_error)?;
    files::make_folder(&setting.folders.temporary())?;
    // In a sandbox, a folder that cannot be entered is gone round.
    let entered = job.working_folder.read_dir();
    entered.map_err(|source| FileError::at("enter", job.working_folder, source))?;
    let request = setting.request;
    let sandbox = Sandbox {
        project: request.project,
        part: setting.name,
        step: job.step,
        root: setting.root,
        certificates: certificates(request),
    };
    let mut environment = environment(setting, job.step);
    environment.extend(job.environment.clone());
    let working_folder = inside(request.project, job.working_folder);
    let plan = confine::plan(&sandbox, job.program, job.arguments, environment, working_folder)?;
    let mut started = Started::prepare(request.runner, &plan, &setting.folders.plan())?;
    started.command.stdin(Stdio::null()).stdout(output).stderr(errors);
    Ok(started)
}

/// How a command ended that was started.
pub(super) fn ended(started: &Started, status: io::Result<ExitStatus>) -> Result<ExitStatus, StepError> {
    started.ended(status).map_err(|error| match error {
        NotStarted::Program { program, source } => StepError::Start { program, source },
        NotStarted::Confine(error) => error.into(),
    })
}

/// Makes a folder anew, and empty.
pub(super) fn renew(folder: &Path) -> Result<(), FileError> {
    files::remove_tree(folder)?;
    files::make_folder(folder)
}

/// The file of certificates that the caller names, where it is one.
fn certificates<'a>(request: &Request<'a>) -> Option<&'a Path> {
    let path = Path::new(request.environment.get(CERTIFICATES)?);
    (path.is_absolute() && path.is_file()).then_some(path)
}

/// The variables of the module's table.
fn environment(setting: &Setting<'_>, step: Step) -> BTreeMap<String, String> {
    let Setting { request, name, part, folders, .. } = setting;
    let manifest = request.project.manifest();
    let work = request.project.work();
    let place = |path: &Path| inside(request.project, path);
    let (arch, triplet) = (request.architecture.as_str(), request.architecture.triplet().unwrap_or(""));
    let texts: [(&str, &[&str], String); 12] = [
        ("PROJECT_DIR", &[], place(request.project.folder())),
        ("PART_SRC", &[], place(&folders.source())),
        ("PART_BUILD", &[], place(&folders.build())),
        ("PART_INSTALL", &[], place(&folders.install())),
        ("STAGE", &[], place(&work.stage())),
        ("PRIME", &[], place(&work.prime())),
        ("PART_NAME", &[], name.to_string()),
        ("PROJECT_NAME", &[], manifest.name.to_string()),
        ("PROJECT_VERSION", &[], manifest.version.to_string()),
        ("ARCH", &["TARGET_ARCH", "ARCH_BUILD_FOR", "ARCH_BUILD_ON"], arch.to_owned()),
        ("ARCH_TRIPLET", &["ARCH_TRIPLET_BUILD_FOR", "ARCH_TRIPLET_BUILD_ON"], triplet.to_owned()),
        ("PARALLEL_BUILD_COUNT", &[], request.parallel.to_string()),
    ];
    let fixed = [
        ("PATH", confine::SEARCH_PATH.to_owned()),
        ("HOME", place(&folders.home())),
        ("TMPDIR", place(&folders.temporary())),
        ("USER", "builder".to_owned()),
        ("LOGNAME", "builder".to_owned()),
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", "UTC".to_owned()),
        ("SOURCE_DATE_EPOCH", request.source_date_epoch.to_string()),
    ];
    let mut variables: BTreeMap<String, String> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    for (name, others, value) in texts {
        variables.insert(format!("PACK_{name}"), value.clone());
        for craft in others.iter().chain([&name]) {
            variables.insert(format!("CRAFT_{craft}"), value.clone());
        }
    }
    if step == Step::Pull {
        variables.extend(fetching(setting));
    }
    if step == Step::Build
        && let Some(fetched) = state::read_fetched(folders)
    {
        let known = [
            ("PACK_PART_SOURCE_COMMIT", fetched.commit()),
            ("PACK_PART_SOURCE_VERSION", fetched.version.as_deref()),
        ];
        for (name, value) in known.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
    let of_plugin = plugins::environment(part, &setting.paths().places(&[]));
    for (name, value) in of_plugin.iter().chain(&part.build_environment) {
        let value = expand(value, |name| variables.get(name).map(String::as_str));
        variables.insert(name.clone(), value);
    }
    variables
}

/// The caller's variables that fetching needs: the last rows of the module's table.
fn fetching(setting: &Setting<'_>) -> Vec<(String, String)> {
    let request = setting.request;
    let is_proxy = |name: &str| PROXIES.contains(&name.to_ascii_lowercase().as_str());
    let mut kept: Vec<(String, String)> = request
        .environment
        .iter()
        .filter(|(name, value)| is_proxy(name) && !value.contains('@'))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    // Packages look for certificates at places of their own, one by one.
    let trusted = match certificates(request) {
        Some(_) => Some(confine::CERTIFICATES.to_owned()),
        None if setting.root.is_host() => None,
        None => setting.root.certificates(),
    };
    kept.extend(trusted.map(|path| (CERTIFICATES.to_owned(), path)));
    kept
}

/// The last lines of a log, safe to show.
pub(super) fn tail(log: &Path) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // The log is an addition to an error that stands without it.
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| visible(line)).collect()
}
