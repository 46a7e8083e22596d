//! The scripts that stand in place of a step: `override-pull`, `-build`, `-stage`, `-prime`.
//!
//! A script is run by `/bin/bash -e` in the folder that its step works on, with the umask 022, nothing on standard
//! input, its output in a log, and no variable of the caller's environment but PATH:
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
//! | what `build-environment` sets | in the order of the names; `$NAME` and `${NAME}` refer to variables so far |
//!
//! `craftctl default` (or `packctl default`) in a script does what the step would do without it. The script asks for
//! that over a FIFO and waits at another for the answer:
//!
//! ```text
//! script  default ⟶ control/request   pack reads, does the step's own work
//! script  done | failed ⟵ control/reply
//! waiter  end ⟶ control/request       once the script has ended
//! ```
//!
//! Both ends of both are open in this process throughout, so that nobody waits for a FIFO to be opened.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use pack_schemas::manifest::{Part, expand};
use pack_schemas::names::Name;
use pack_schemas::text::visible;
use rustix::fs::{CWD, FileType, Mode};

use super::{Request, Step, StepError};
use crate::files::{self, FileError};
use crate::project::PartFolders;

/// How much of the end of a log an error repeats: lines, and bytes that are looked at for them.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 << 10;

/// Read by bash before the script, whose own lines so keep their numbers.
const PRELUDE: &str = r#"unset BASH_ENV
umask 022
craftctl() {
    if [ "$*" != default ]; then
        echo "$FUNCNAME: this version of pack knows only: $FUNCNAME default" >&2
        return 1
    fi
    echo default > "$PACK_CONTROL/request" || return 1
    local answer
    read -r answer < "$PACK_CONTROL/reply" && [ "$answer" = done ]
}
packctl() { craftctl "$@"; }
export -f craftctl packctl
"#;

/// What a script runs in.
pub(super) struct Setting<'a> {
    pub request: &'a Request<'a>,
    pub name: &'a Name,
    pub part: &'a Part,
    pub folders: &'a PartFolders,
}

/// Runs a script in place of a step, `default` where it asks for that.
pub(super) fn run(
    setting: &Setting<'_>,
    step: Step,
    script: &str,
    working_folder: &Path,
    mut default: impl FnMut() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let folders = setting.folders;
    let control = Control::new(&folders.control())?;
    let prelude = folders.control().join("prelude");
    let text = folders.control().join(format!("override-{step}"));
    let log = folders.log(step.as_str());
    write(&prelude, PRELUDE)?;
    write(&text, script)?;
    let mut default_failure = None;
    let status = {
        let mut command = command(setting, working_folder, &text, &log)?;
        command.env("BASH_ENV", &prelude).env("PACK_CONTROL", folders.control());
        control.attend(command, || match default() {
            Ok(()) => true,
            Err(error) => {
                default_failure.get_or_insert(error);
                false
            }
        })?
    };
    match default_failure {
        Some(error) => Err(error),
        None if status.success() => Ok(()),
        None => Err(StepError::Script { step, status, tail: tail(&log), log }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(|source| FileError::at("write", path, source))
}

fn command(
    setting: &Setting<'_>,
    working_folder: &Path,
    script: &Path,
    log: &Path,
) -> Result<Command, StepError> {
    let output = File::create(log).map_err(|source| FileError::at("write", log, source))?;
    let errors = output.try_clone().map_err(|source| FileError::at("write", log, source))?;
    let mut command = Command::new("/bin/bash");
    command
        .arg("-e")
        .arg(script)
        .current_dir(working_folder)
        .env_clear()
        .env("PATH", setting.request.search_path)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
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
    for (name, value) in &part.build_environment {
        // A folder whose name is not UTF-8 cannot be referred to.
        let value = expand(value, |name| variables.get(name).and_then(|value| value.to_str()));
        variables.insert(name.clone(), value.into());
    }
    variables
}

/// The last lines of a log, safe to show.
fn tail(log: &Path) -> Vec<String> {
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

/// The two FIFOs.
struct Control {
    request: File,
    reply: File,
    request_path: PathBuf,
}

impl Control {
    fn new(folder: &Path) -> Result<Control, FileError> {
        let make = |name: &str| {
            let path = folder.join(name);
            files::remove_tree(&path)?;
            rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                .map_err(|error| FileError::at("make the FIFO", &path, error.into()))?;
            let file = OpenOptions::new().read(true).write(true).open(&path);
            file.map(|file| (file, path.clone())).map_err(|source| FileError::at("open", &path, source))
        };
        let (request, request_path) = make("request")?;
        let (reply, _) = make("reply")?;
        Ok(Control { request, reply, request_path })
    }

    /// Runs a command to its end and answers its requests.
    fn attend(
        &self,
        mut command: Command,
        mut default: impl FnMut() -> bool,
    ) -> Result<ExitStatus, StepError> {
        let ipc_error = |source| FileError::at("use the FIFO", &self.request_path, source);
        let mut end = self.request.try_clone().map_err(ipc_error)?;
        let requests = BufReader::new(self.request.try_clone().map_err(ipc_error)?);
        let mut child = command.spawn().map_err(StepError::Start)?;
        std::thread::scope(|scope| {
            let waiter = scope.spawn(move || {
                let status = child.wait();
                // Fails only where nobody reads any more, who so needs no end.
                let _ = end.write_all(b"end\n");
                status
            });
            let mut served = Ok(());
            for line in requests.lines() {
                match line {
                    Ok(line) if line == "default" => {
                        let answer: &[u8] = if default() { b"done\n" } else { b"failed\n" };
                        served = (&self.reply).write_all(answer);
                    }
                    Ok(line) if line == "end" => break,
                    Ok(_) => {}
                    Err(error) => served = Err(error),
                }
                if served.is_err() {
                    break;
                }
            }
            let status = waiter.join().expect("the waiter has nothing to panic over");
            served.map_err(ipc_error)?;
            status.map_err(StepError::Start)
        })
    }
}
