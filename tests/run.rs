//! What passes through `pack run`: arguments, status, streams, signals, the terminal.

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use support::{World, err, eventually, fail, out, succeed};

/// A package whose one app is this shell script.
fn script(body: &str) -> World {
    let world = World::with_key();
    let manifest = "name: scripted\nversion: '1'\nbase: host\napps: {scripted: {command: bin/script, args: [first]}}\n\
                    parts: {script: {plugin: dump, source: files}}\n";
    world.project("project", manifest, &[("bin/script", &format!("#!/bin/sh\n{body}\n"))]);
    let package = world.build("project");
    succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
    world
}

#[test]
fn arguments_arrive_as_they_are() {
    use std::os::unix::ffi::OsStrExt;
    let world = script(r#"for argument in "$@"; do printf '<%s>' "$argument"; done"#);
    let mut run = world.pack(["run", "scripted", "--help", "a b", "", "--", "-x", "$HOME", "--explain"]);
    run.arg(std::ffi::OsStr::from_bytes(b"\xff\n"));
    let output = succeed(run);
    assert_eq!(output.stdout, b"<first><--help><a b><><--><-x><$HOME><--explain><\xff\n>");
}

#[test]
fn cve_2024_32462_what_follows_the_name_is_never_an_option_of_packs() {
    let world = script(r#"echo "$@""#);
    for arguments in [["--shell", "x"], ["--explain", "x"], ["-q", "--version"]] {
        let mut run = world.pack(["run", "scripted"]);
        run.args(arguments);
        assert_eq!(out(&succeed(run)), format!("first {}\n", arguments.join(" ")));
    }
    let exported = world.home(".local/bin/scripted");
    let mut command = world.command(exported);
    command.args(["--", "--shell"]);
    assert_eq!(out(&succeed(command)), "first -- --shell\n");
}

#[test]
fn the_status_is_the_apps() {
    let world = script(r#"shift; eval "$@""#);
    for (line, status) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -15 $$", 143),
    ] {
        let output = world.pack(["run", "scripted", line]).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{line}\n{}", err(&output));
    }
}

#[test]
fn a_process_that_the_app_leaves_behind_has_ended_when_pack_has() {
    let world = script(r#"(sleep 94731 >/dev/null 2>&1 & sleep 94732 >/dev/null 2>&1 &) ; exit 7"#);
    for _ in 0..20 {
        fail(world.pack(["run", "scripted"]), 7);
        let left = Command::new("pgrep").args(["-f", "^sleep 9473"]).output().unwrap();
        assert_eq!(out(&left), "");
    }
}

#[test]
fn a_program_that_names_no_interpreter_is_run_by_the_shell() {
    let world = World::with_key();
    let manifest = "name: scripted\nversion: '1'\nbase: host\napps: {scripted: {command: bin/script, args: [first]}}\n\
                    parts: {script: {plugin: dump, source: files}}\n";
    world.project("project", manifest, &[("bin/script", "echo \"$0 $1 $2\"\n")]);
    world.install("project");
    let output = succeed(world.pack(["run", "scripted", "second"]));
    assert_eq!(out(&output), "/app/bin/script first second\n");
}

#[test]
fn a_broken_pipe_ends_an_app_as_it_does_outside() {
    let world = script("trap '' TERM; yes; echo $? >&2; kill -PIPE $$; echo survived >&2");
    let mut run = world.pack(["run", "scripted"]);
    let mut app = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut start = [0; 4];
    app.stdout.as_mut().unwrap().read_exact(&mut start).unwrap();
    drop(app.stdout.take());
    let output = app.wait_with_output().unwrap();
    assert_eq!((err(&output).as_str(), output.status.code()), ("141\n", Some(141)));
}

#[test]
fn without_the_facts_that_install_keeps_they_are_read_from_the_image() {
    let world = script("echo ran");
    let explain = || out(&succeed(world.pack(["run", "--explain", "scripted"])));
    let (before, state) = (explain(), world.home(".local/share/pack/packages/scripted/state.json"));
    assert!(before.contains("/app/bin"), "{before}");
    let mut document: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    let revision = document["revisions"][0].as_object_mut().unwrap();
    assert_eq!(revision.remove("facts").unwrap()["folders"], serde_json::json!(["bin"]));
    std::fs::write(&state, document.to_string()).unwrap();
    assert_eq!(explain(), before);
    assert_eq!(out(&succeed(world.pack(["run", "scripted"]))), "ran\n");
}

#[test]
fn what_keeps_an_app_from_starting_has_statuses_of_its_own() {
    let world = World::with_key();
    let manifest = "name: broken\nversion: '1'\nbase: host\napps:\n  gone: {command: bin/gone}\n  data: {command: bin/data}\n  \
                    interpreter: {command: bin/interpreter}\nparts: {broken: {plugin: dump, source: files}}\n\
                    lint: {ignore: [command-missing, command-not-executable, script-interpreter-missing]}\n";
    world.project("project", manifest, &[("bin/interpreter", "#!/nowhere/sh\n")]);
    world.write("project/files/bin/data", "no program");
    let package = world.build("project");
    succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
    let failed = fail(world.pack(["run", "broken.gone"]), 127);
    assert!(
        err(&failed).contains("`/app/bin/gone`, or the interpreter that it names, is not there"),
        "{}",
        err(&failed)
    );
    fail(world.pack(["run", "broken.interpreter"]), 127);
    let failed = fail(world.pack(["run", "broken.data"]), 126);
    assert!(err(&failed).contains("`/app/bin/data` cannot be executed"), "{}", err(&failed));
    let failed = fail(world.pack(["run", "broken.dota"]), 125);
    assert!(err(&failed).contains("did you mean `broken.data`?"), "{}", err(&failed));
    let failed = fail(world.pack(["run", "brokem"]), 125);
    assert!(err(&failed).contains("did you mean `broken`?"), "{}", err(&failed));
    fail(world.pack(["run", "../x"]), 2);
    fail(world.pack(["run"]), 2);
}

#[test]
fn streams_pass_through() {
    let world = script("cat; echo error >&2; exec >&-; sleep 5");
    let mut run = world.pack(["run", "scripted"]);
    let mut app = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    let mut input = app.stdin.take().unwrap();
    let writer = std::thread::spawn({
        let megabyte = megabyte.clone();
        move || input.write_all(&megabyte).unwrap()
    });
    let started = std::time::Instant::now();
    let mut output = Vec::new();
    app.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert!(output == megabyte, "{} bytes", output.len());
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "the end of the output is seen when the app closes it"
    );
    writer.join().unwrap();
    let output = app.wait_with_output().unwrap();
    assert_eq!(err(&output), "error\n");
}

#[test]
fn signals_reach_the_app() {
    let world = script(
        r#"for s in HUP INT QUIT TERM USR1 USR2; do trap "echo got $s" $s; done
           echo ready; while :; do sleep 0.05; done"#,
    );
    let mut run = world.pack(["run", "scripted"]);
    let mut app = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = app.stdout.take().unwrap();
    read_until(&mut output, "ready\n");
    for signal in ["HUP", "INT", "QUIT", "TERM", "USR1", "USR2"] {
        send(&app, signal);
        read_until(&mut output, &format!("got {signal}\n"));
    }
    send(&app, "KILL");
    app.wait().unwrap();
}

#[test]
fn a_damaged_package_gives_an_error_and_one_line_and_never_other_bytes() {
    let world = World::with_key();
    let manifest = "name: damaged\nversion: '1'\nbase: host\napps: {damaged: {command: bin/read}}\n\
                    parts: {damaged: {plugin: dump, source: files}}\n";
    world.project(
        "project",
        manifest,
        &[("bin/read", "#!/bin/sh\ncat /app/good; for i in 1 2 3; do cat /app/letter; done")],
    );
    // Bytes that do not compress, so that they can be found in the image.
    let mut state = 1_u32;
    let letter: Vec<u8> = (0..100_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect();
    world.write("project/files/letter", &letter);
    world.write("project/files/good", "good\n");
    let package = world.build("project");
    succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));

    let installed = world.home(".local/share/pack/packages/damaged/x1.pkg");
    let mut bytes = std::fs::read(&installed).unwrap();
    let at =
        bytes.windows(64).position(|window| window == &letter[500..564]).expect("the letter is stored plain");
    bytes[at] ^= 1;
    // The file is read-only, and stays the same file.
    std::fs::set_permissions(&installed, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::write(&installed, &bytes).unwrap();

    let output = world.pack(["run", "damaged"]).output().unwrap();
    assert_eq!(out(&output), "good\n", "nothing of the damaged file is read");
    let text = err(&output);
    assert_eq!(text.matches("Input/output error").count(), 3, "{text}");
    let told: Vec<&str> = text.lines().filter(|line| line.contains("damaged x1")).collect();
    assert_eq!(told.len(), 1, "{text}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn another_package_in_place_of_the_installed_one_is_not_run() {
    let world = script("echo original");
    let manifest = "name: scripted\nversion: '1'\nbase: host\napps: {scripted: {command: bin/script}}\n\
                    parts: {script: {plugin: dump, source: files}}\n";
    world.project("other", manifest, &[("bin/script", "#!/bin/sh\necho other   \n")]);
    let other = world.build("other");
    let installed = world.home(".local/share/pack/packages/scripted/x1.pkg");
    std::fs::remove_file(&installed).unwrap();
    std::fs::copy(&other, &installed).unwrap();
    let refused = fail(world.pack(["run", "scripted"]), 125);
    assert_eq!(out(&refused), "");
}

/// A terminal with `pack run script` on it, in a session of its own.
struct OnTerminal {
    master: File,
    child: Child,
}

impl OnTerminal {
    fn run(world: &World, arguments: &[&str]) -> OnTerminal {
        let size = Winsize { ws_row: 33, ws_col: 111, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).unwrap();
        // Whoever else has the master end keeps the terminal from closing.
        rustix::io::fcntl_setfd(&pty.master, rustix::io::FdFlags::CLOEXEC).unwrap();
        let terminal = |slave: &OwnedFd| Stdio::from(slave.try_clone().unwrap());
        let inner = world.pack(arguments);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(world.environment()).env("TERM", "xterm").current_dir(world.path("home"));
        command.stdin(terminal(&pty.slave)).stdout(terminal(&pty.slave)).stderr(terminal(&pty.slave));
        OnTerminal { master: File::from(pty.master), child: command.spawn().unwrap() }
    }

    fn read_until(&mut self, text: &str) -> String {
        read_until(&mut self.master, text)
    }

    fn type_keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }
}

#[test]
fn a_terminal_is_one_inside_with_its_size_and_a_session_of_its_own() {
    let world = script("tty; stty size; read line; echo \"<$line>\"; ps -o sid= -p $$ | tr -d ' '; echo $$");
    let mut terminal = OnTerminal::run(&world, &["run", "scripted"]);
    let text = terminal.read_until("33 111");
    assert!(text.contains("/dev/pts/0"), "{text}");
    terminal.type_keys("hello\r");
    let text = terminal.read_until("<hello>\r\n");
    // The user's terminal does not echo as well: it is in raw mode.
    assert_eq!(text.matches("hello").count(), 2, "{text:?}");
    let text = terminal.read_until("2\r\n2\r\n");
    assert!(!text.is_empty());
    assert!(terminal.child.wait().unwrap().success());
}

#[test]
fn a_change_of_size_passes_through() {
    let world = script("trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done");
    let mut terminal = OnTerminal::run(&world, &["run", "scripted"]);
    terminal.read_until("ready");
    let size = rustix::termios::Winsize { ws_row: 50, ws_col: 90, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&terminal.master, size).unwrap();
    terminal.read_until("50 90");
    terminal.type_keys("\x1c");
    terminal.child.wait().unwrap();
}

#[test]
fn ctrl_c_ends_the_whole_app_and_gives_the_terminal_back() {
    let world = script("sleep 1000 & sleep 1000 & echo ready; wait");
    let mut terminal = OnTerminal::run(&world, &["run", "scripted"]);
    terminal.read_until("ready");
    terminal.type_keys("\x03");
    let status = terminal.child.wait().unwrap();
    assert_eq!(status.code(), Some(130));
    let mode = rustix::termios::tcgetattr(&terminal.master).unwrap();
    assert!(
        mode.local_modes.contains(rustix::termios::LocalModes::ICANON | rustix::termios::LocalModes::ECHO)
    );
}

#[test]
fn a_closed_terminal_ends_the_whole_app_even_one_that_ignores_it() {
    let world = script("trap '' HUP TERM INT; echo ready; while :; do sleep 0.05; done");
    let mut terminal = OnTerminal::run(&world, &["run", "scripted"]);
    terminal.read_until("ready");
    drop(terminal.master);
    let mut child = terminal.child;
    eventually("the end of the app", || child.try_wait().unwrap().is_some());
}

#[test]
fn cve_2017_5226_characters_cannot_be_put_into_the_callers_terminal() {
    let world = World::with_key();
    world.install_probe(&[]);
    let mut terminal = OnTerminal::run(&world, &["run", "probe", "--", "attempts", "/x", "1", "x"]);
    let text = terminal.read_until("listmount");
    for attempt in ["tiocsti-0", "tiocsti-1", "tiocsti-2", "tiocsti-3", "tioclinux-0", "tioclinux-1"] {
        let line = text
            .lines()
            .find(|line| line.starts_with(attempt))
            .unwrap_or_else(|| panic!("{attempt}: {text}"));
        assert!(line.contains("EPERM"), "{line}");
    }
    terminal.child.wait().unwrap();
}

#[test]
fn explain_tells_the_plan_and_runs_nothing() {
    let world = script("echo ran");
    let text = out(&succeed(world.pack(["run", "--explain", "scripted"])));
    assert!(!text.contains("ran\n"), "{text}");
    for told in [
        "scripted.scripted (version 1, revision x1)",
        "/usr",
        "network  a loopback interface",
        "no_new_privs",
        "/app/bin/script \"first\"",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

fn send(child: &Child, signal: &str) {
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, &child.id().to_string()]);
    succeed(kill);
}

/// Reads until the text has come, half a minute at most.
#[track_caller]
fn read_until(stream: &mut impl Read, text: &str) -> String {
    let end = std::time::Instant::now() + Duration::from_secs(30);
    let mut all = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&all).contains(text) {
        assert!(std::time::Instant::now() < end, "`{text}` did not come: {}", String::from_utf8_lossy(&all));
        match stream.read(&mut byte) {
            Ok(0) => panic!("`{text}` did not come before the end: {}", String::from_utf8_lossy(&all)),
            Ok(_) => all.push(byte[0]),
            Err(error) => panic!("{error}: `{text}` did not come: {}", String::from_utf8_lossy(&all)),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}
