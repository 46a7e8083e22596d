//! The scripts that stand in place of a step: `override-pull`, `-build`, `-stage`, `-prime`.
//!
//! A script is run by `/bin/bash -e` in the folder that its step works on, as [`job`] says.
//!
//! `craftctl default` (or `packctl default`) in a script does what the step would do without it; the script asks for that
//! as [`control`](super::control) says, and waits for the answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::control::{Control, End};
use super::job::{self, Job, Setting};
use super::{Step, StepError};
use crate::confine;
use crate::files::FileError;

/// Read by bash before the script, whose own lines so keep their numbers.
const PRELUDE: &str = r#"unset BASH_ENV
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

/// Runs a script in place of a step, `default` where it asks for that.
pub(super) fn run(
    setting: &Setting<'_>,
    step: Step,
    script: &str,
    working_folder: &Path,
    mut default: impl FnMut() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let folders = setting.folders;
    job::renew(&folders.control())?;
    let control = Control::new(&folders.control())?;
    let prelude = folders.control().join("prelude");
    let text = folders.control().join(format!("override-{step}"));
    let log = folders.log(step.as_str());
    write(&prelude, PRELUDE)?;
    write(&text, script)?;
    let place = |name: &str| format!("{}/{name}", confine::CONTROL);
    let job = Job {
        step,
        program: "/bin/bash",
        arguments: &["-e".to_owned(), place(&format!("override-{step}"))],
        environment: BTreeMap::from([
            ("BASH_ENV".to_owned(), place("prelude")),
            ("PACK_CONTROL".to_owned(), confine::CONTROL.to_owned()),
        ]),
        working_folder,
    };
    let mut started = job::prepare(setting, &job, &log)?;
    let mut default_failure = None;
    let end = control.attend(&mut started.command, || match default() {
        Ok(()) => true,
        Err(error) => {
            default_failure.get_or_insert(error);
            false
        }
    });
    // A script that was told of it may fail as well, and for no other reason.
    if let Some(error) = default_failure {
        return Err(error);
    }
    let status = match end? {
        End::Ended(status) => job::ended(&started, status)?,
        End::Killed(misuse) => return Err(StepError::Control { step, misuse, log }),
    };
    match status.success() {
        true => Ok(()),
        false => Err(StepError::Script { step, status, tail: job::tail(&log), log }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(|source| FileError::at("write", path, source))
}
