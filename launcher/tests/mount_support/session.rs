//! A shell on a mounted package that is told what to do line by line, so that the package can be changed in between.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::mounted::Stage;

/// Reads a line, does what it says in the mounted package, says how that ended. It is killed when a test hangs. What it
/// says of errors goes to a file of its own: a line of the launcher's could come into the middle of it.
const SHELL: &str = r#"cd "$PLACE" && exec 2>"$ERRORS" || exit 99
while IFS= read -r line; do eval "$line" </dev/null; echo "end $?"; done"#;

/// See the module.
pub struct Session {
    child: Child,
    lines: BufReader<ChildStdout>,
    commands: Option<ChildStdin>,
    errors: Option<JoinHandle<String>>,
    /// What the shell and its programs said of errors.
    shell_errors: PathBuf,
}

/// How many sessions there were.
static SESSIONS: AtomicUsize = AtomicUsize::new(0);

impl Session {
    /// Mounts a package. In the shell's environment are `PLACE`, where the mount is, `OUT`, a file that can be written to,
    /// and `TESTS`, this very program.
    pub fn start(stage: &Stage, options: &[&str], package: &Path) -> Session {
        let number = SESSIONS.fetch_add(1, Ordering::Relaxed);
        let shell_errors = stage.out().join(format!("errors.{number}"));
        let mut child = stage
            .mount_run(options, package)
            .args(["timeout", "-s", "KILL", "600", "sh", "-c", SHELL])
            .env("PLACE", stage.at())
            .env("ERRORS", &shell_errors)
            .env("OUT", stage.out().join("result"))
            .env("TESTS", stage.folder.path().join("tests"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stderr.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        let lines = BufReader::new(child.stdout.take().unwrap());
        let commands = child.stdin.take();
        let mut session = Session { child, lines, commands, errors: Some(errors), shell_errors };
        // From here on it is mounted.
        assert_eq!(session.tell(":"), "end 0\n");
        session
    }

    /// Has the shell do something, one line of script, and returns what it wrote to its standard output, and a last line
    /// `end STATUS`.
    pub fn tell(&mut self, script: &str) -> String {
        self.begin(script);
        self.hear()
    }

    /// Has the shell begin something; [`Session::hear`] waits for its end.
    pub fn begin(&mut self, script: &str) {
        assert!(!script.contains('\n'));
        writeln!(self.commands.as_ref().unwrap(), "{script}").unwrap();
    }

    /// Returns what the shell wrote since it began, and a last line `end STATUS`.
    pub fn hear(&mut self) -> String {
        let mut output = String::new();
        loop {
            let from = output.len();
            if self.lines.read_line(&mut output).unwrap() == 0 {
                let errors = self.errors.take().unwrap().join().unwrap();
                panic!("the shell ended: {output}{errors}");
            }
            if output[from..].starts_with("end ") {
                return output;
            }
        }
    }

    /// The launcher's process.
    pub fn launcher(&self) -> i32 {
        self.child.id() as i32
    }

    /// Kills the launcher.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends the shell, and with it the mount, and returns what was written to standard error: first by the launcher, then
    /// by the shell.
    pub fn finish(mut self) -> String {
        drop(self.commands.take());
        let errors = self.errors.take().unwrap().join().unwrap();
        assert!(self.child.wait().unwrap().success(), "{errors}");
        errors + &std::fs::read_to_string(&self.shell_errors).unwrap()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A test that failed leaves none behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that tell of damage.
pub fn damage_lines(errors: &str) -> Vec<&str> {
    errors.lines().filter(|line| line.starts_with("package hello x1: ")).collect()
}
