//! The commands of a step: a script's shell, or the programs of a plugin.
//!
//! They run with nothing on standard input, their output at the end of the step's log, and no variable of the caller's
//! environment but PATH:
//!
//! | variable | value |
//! |---|---|
//! | HOME | a folder of the part's own |
//! | LANG, TZ | `C.UTF-8`, `UTC` |
//! | SOURCE_DATE_EPOCH | the time stamp of everything in the package |
//! | PACK_PROJECT_DIR, PACK_PART_SRC, PACK_PART_BUILD, PACK_PART_INSTALL, PACK_STAGE, PACK_PRIME | folders |
//! | PACK_PART_NAME, PACK_PROJECT_NAME, PACK_PROJECT_VERSION | names |
//! | PACK_ARCH, PACK_ARCH_TRIPLET | such as `amd64`, `x86_64-linux-gnu` |
//! | PACK_PARALLEL_BUILD_COUNT | how many jobs to run at once |
//! | CRAFT_… | the same under snapcraft's names |
//! | what the plugin sets | see [`plugins::environment`] |
//! | what `build-environment` sets | in the order of the names; `$NAME` and `${NAME}` refer to variables so far |

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};

use pack_schemas::manifest::{Part, expand};
use pack_schemas::names::Name;
use pack_schemas::text::visible;

use super::{Request, Step, StepError, within};
use crate::files::FileError;
use crate::plugins::{self, Places};
use crate::project::PartFolders;

/// How much of the end of a log an error repeats: lines, and bytes that are looked at for them.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 << 10;

/// What a step of a part runs in.
pub(super) struct Setting<'a> {
    pub request: &'a Request<'a>,
    pub name: &'a Name,
    pub part: &'a Part,
    pub folders: &'a PartFolders,
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
        let show = |path: &Path| path.to_string_lossy().into_owned();
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
    job: &plugins::Command,
    working_folder: &Path,
) -> Result<(), StepError> {
    let log = setting.folders.log(step.as_str());
    let mut command = command(setting, &job.program, working_folder, &log)?;
    command.args(&job.arguments).envs(&job.environment);
    let started = |source| StepError::Start { program: job.program.clone(), source };
    let status = command.status().map_err(started)?;
    if status.success() {
        return Ok(());
    }
    Err(StepError::Command { command: job.typed(), status, tail: tail(&log), log })
}

/// A program with the environment of a step, its output at the end of a log.
pub(super) fn command(
    setting: &Setting<'_>,
    program: &str,
    working_folder: &Path,
    log: &Path,
) -> Result<Command, StepError> {
    let write_error = |source| FileError::at("write", log, source);
    let output = OpenOptions::new().append(true).create(true).open(log).map_err(write_error)?;
    let errors = output.try_clone().map_err(write_error)?;
    let mut command = Command::new(program);
    command.current_dir(working_folder).env_clear();
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    command.envs(environment(setting));
    Ok(command)
}

/// The variables of the module's table.
fn environment(setting: &Setting<'_>) -> BTreeMap<String, std::ffi::OsString> {
    let Setting { request, name, part, folders } = setting;
    let manifest = request.project.manifest();
    let work = request.project.work();
    let jobs = request.parallel.to_string();
    let epoch = request.source_date_epoch.to_string();
    let (arch, triplet) = (request.architecture.as_str(), request.architecture.triplet().unwrap_or(""));
    let texts: [(&str, &[&str], &OsStr); 12] = [
        ("PROJECT_DIR", &[], request.project.folder().as_os_str()),
        ("PART_SRC", &[], &folders.source().into_os_string()),
        ("PART_BUILD", &[], &folders.build().into_os_string()),
        ("PART_INSTALL", &[], &folders.install().into_os_string()),
        ("STAGE", &[], &work.stage().into_os_string()),
        ("PRIME", &[], &work.prime().into_os_string()),
        ("PART_NAME", &[], name.as_str().as_ref()),
        ("PROJECT_NAME", &[], manifest.name.as_str().as_ref()),
        ("PROJECT_VERSION", &[], manifest.version.as_str().as_ref()),
        ("ARCH", &["TARGET_ARCH", "ARCH_BUILD_FOR", "ARCH_BUILD_ON"], arch.as_ref()),
        ("ARCH_TRIPLET", &["ARCH_TRIPLET_BUILD_FOR", "ARCH_TRIPLET_BUILD_ON"], triplet.as_ref()),
        ("PARALLEL_BUILD_COUNT", &[], jobs.as_ref()),
    ];
    let mut variables = BTreeMap::from([
        ("HOME".to_owned(), folders.home().into_os_string()),
        ("LANG".to_owned(), "C.UTF-8".into()),
        ("TZ".to_owned(), "UTC".into()),
        ("SOURCE_DATE_EPOCH".to_owned(), epoch.into()),
        ("PATH".to_owned(), request.search_path.to_os_string()),
    ]);
    for (name, others, value) in texts {
        variables.insert(format!("PACK_{name}"), value.to_os_string());
        for craft in others.iter().chain([&name]) {
            variables.insert(format!("CRAFT_{craft}"), value.to_os_string());
        }
    }
    let of_plugin = plugins::environment(part, &setting.paths().places(&[]));
    for (name, value) in of_plugin.iter().chain(&part.build_environment) {
        // A folder whose name is not UTF-8 cannot be referred to.
        let value = expand(value, |name| variables.get(name).and_then(|value| value.to_str()));
        variables.insert(name.clone(), value.into());
    }
    variables
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
