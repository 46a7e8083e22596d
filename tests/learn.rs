//! `pack run --learn`: real programs that need something, and the plugs that are named for it.

#[path = "support/session.rs"]
mod session;
mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use session::Session;
use support::{World, err, eventually, has, out, skip, succeed};

/// An X server that lets everyone in; ended with the test.
struct XServer {
    server: Child,
    display: String,
}

impl XServer {
    fn start() -> XServer {
        let mut command = Command::new("Xvfb");
        command.args(["-displayfd", "1", "-nolisten", "tcp", "-ac"]);
        let mut server = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.trim().is_empty(), "the X server did not start");
        XServer { server, display: format!(":{}", number.trim()) }
    }
}

impl Drop for XServer {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An installed package `needy` of this script, with these lines about plugs in its manifest: `(plugs of the app, plugs of
/// the package)`.
fn install(world: &World, version: u32, script: &str, (of_app, of_package): (&str, &str)) {
    let manifest = format!(
        "name: needy\nversion: '{version}'\nbase: host\n{of_package}\n\
         apps: {{needy: {{command: bin/needy, plugs: [{of_app}]}}}}\n\
         parts: {{needy: {{plugin: dump, source: files}}}}\n"
    );
    let project = format!("needy-{version}");
    world.project(&project, &manifest, &[("bin/needy", &format!("#!/bin/bash\n{script}"))]);
    world.install(&project);
}

/// Runs it to learn; what it printed itself, and what was learnt.
fn learn(world: &World, arguments: &[&str], display: Option<&str>) -> (Vec<String>, Value) {
    let mut run = world.pack(["run", "--learn", "--json", "needy", "--"]);
    run.args(arguments).envs(display.map(|display| ("DISPLAY", display)));
    let output = run.output().unwrap();
    read(&output)
}

fn read(output: &Output) -> (Vec<String>, Value) {
    let text = out(output);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let last = lines.pop().unwrap_or_else(|| panic!("{}", err(output)));
    let report =
        serde_json::from_str(&last).unwrap_or_else(|error| panic!("{error}: {text}\n{}", err(output)));
    (lines, report)
}

fn keys(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn set<'a>(names: &[&'a str]) -> BTreeSet<&'a str> {
    names.iter().copied().collect()
}

/// Needs a file, a server, a port, a display, a device and a trace; says what works.
const NEEDY: &str = r#"
cat "$PACK_REAL_HOME/notes.txt" 2>/dev/null
(exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && echo connected
perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(shift, INADDR_ANY)) && listen(S, 1) && -e "/offered" ; print "offered\n"' $2
xdpyinfo >/dev/null 2>&1 && echo display
perl -e 'use Fcntl; sysopen(F, "/dev/fuse", O_RDWR) && print "device\n"'
strace -o /dev/null true 2>/dev/null && echo traced
true
"#;

#[test]
fn the_plugs_that_are_named_are_those_that_are_missing_and_with_them_nothing_is_refused() {
    if !has("Xvfb") || !has("xdpyinfo") || !has("strace") {
        return skip("learn: Xvfb, xdpyinfo or strace is not here");
    }
    let (world, x) = (World::with_key(), XServer::start());
    world.write("notes.txt", "notes\n");
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
    let (to, at) = (port(&server), port(&free));
    drop(free);

    install(&world, 1, NEEDY, ("", ""));
    let (_, report) = learn(&world, &[&to, &at], Some(&x.display));
    let needed = ["fuse", "home", "network", "network-bind", "tracing", "x11"];
    assert_eq!(keys(&report["plugs"]), set(&needed), "{report:#}");
    let refused: Vec<&Value> = report["refused"].as_array().unwrap().iter().collect();
    assert!(refused.iter().all(|row| !row["plugs"].as_array().unwrap().is_empty()), "{report:#}");
    for what in [
        format!("connecting to 127.0.0.1:{to} (TCP)"),
        format!("offering TCP port {at}"),
        "the system call ptrace".into(),
    ] {
        assert!(refused.iter().any(|row| row["what"] == what.as_str()), "{what}: {report:#}");
    }

    // Declared, and not connected: said with the commands.
    install(&world, 2, NEEDY, (&needed.join(", "), ""));
    for plug in needed {
        world.pack(["disconnect", &format!("needy:{plug}")]).output().unwrap();
    }
    let (_, report) = learn(&world, &[&to, &at], Some(&x.display));
    assert_eq!(report["connect"], serde_json::json!(needed), "{report:#}");
    assert_eq!(keys(&report["plugs"]), set(&[]), "{report:#}");

    for plug in needed {
        succeed(world.pack(["connect", &format!("needy:{plug}")]));
    }
    let (printed, report) = learn(&world, &[&to, &at], Some(&x.display));
    assert_eq!(printed, ["notes", "connected", "offered", "display", "device", "traced"], "{report:#}");
    assert_eq!(report["refused"], serde_json::json!([]), "{report:#}");
}

#[test]
fn files_lead_to_the_plug_that_gives_least_and_hidden_ones_are_listed() {
    let world = World::with_key();
    for name in
        ["Documents/letter.txt", "Pictures/a.png", ".config/other/settings", "plain.txt", ".hidden/thing"]
    {
        world.write(name, "text\n");
    }
    let script = r#"
cd "$PACK_REAL_HOME" || exit
{ read line <Pictures/a.png; echo new >>Documents/letter.txt; read line <.config/other/settings; test -e .hidden/thing; } 2>/dev/null
true
"#;
    install(&world, 1, script, ("", ""));
    let (_, report) = learn(&world, &[], None);
    let home = "$HOME/.config/other/settings";
    assert_eq!(
        report["plugs"],
        serde_json::json!({
            "pictures": {"interface": "pictures"},
            "documents": {"interface": "documents", "access": "read-write"},
            "personal-files": {"interface": "personal-files", "read": [home]},
        }),
        "{report:#}"
    );
    // The lines to paste are a manifest that works.
    let output = world.pack(["run", "--learn", "needy"]).output().unwrap();
    let told = err(&output);
    let plugs =
        told.lines().find_map(|line| line.trim().strip_prefix("plugs: [")).unwrap().trim_end_matches(']');
    let at = told.lines().position(|line| line == "  plugs:").unwrap();
    let declarations: Vec<&str> = told.lines().skip(at).take_while(|line| line.starts_with("  ")).collect();
    let of_package = declarations.iter().map(|line| &line[2..]).collect::<Vec<_>>().join("\n");
    install(&world, 2, script, (plugs, &of_package));
    for plug in ["pictures", "documents", "personal-files"] {
        succeed(world.pack(["connect", &format!("needy:{plug}")]));
    }
    let (_, report) = learn(&world, &[], None);
    assert_eq!(report["refused"], serde_json::json!([]), "{report:#}");
    assert_eq!(std::fs::read_to_string(world.home("Documents/letter.txt")).unwrap(), "text\nnew\n");
}

#[test]
fn an_app_that_needs_nothing_is_told_so_and_its_status_is_its_own() {
    let world = World::with_key();
    // A child and a pipe, a file of its own, a temporary one, a server and its client inside, a look at many files.
    let script = r#"
echo own >"$HOME/own" && cat "$HOME/own" | tr a-z A-Z
file=$(mktemp) && echo x >"$file" && rm "$file"
perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0); bind(S, sockaddr_in(0, INADDR_LOOPBACK)); listen(S, 1);
  ($port) = sockaddr_in(getsockname(S)); socket(C, AF_INET, SOCK_STREAM, 0); connect(C, sockaddr_in($port, INADDR_LOOPBACK)) && print "inside\n"'
ls -lR /usr/share/perl5 /etc >/dev/null 2>&1
exit 7
"#;
    install(&world, 1, script, ("", ""));
    let output = world.pack(["run", "--learn", "needy"]).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(out(&output), "OWN\ninside\n");
    assert!(err(&output).contains("`needy` was refused nothing that it needs"), "{}", err(&output));
    let explain = world.pack(["run", "--learn", "--explain", "needy"]).output().unwrap();
    assert_eq!(explain.status.code(), Some(2), "one or the other");
}

#[test]
fn the_walls_of_a_run_to_learn_are_those_of_any_run() {
    let world = World::with_key();
    world.install_probe(&[]);
    world.write("secret.txt", "secret");
    let secret = world.home("secret.txt").into_os_string().into_string().unwrap();
    let attempts = |options: &[&str]| {
        let mut run = world.pack(options);
        let output = run.args(["probe", "--", "attempts", &secret, "9", "nobody"]).output().unwrap();
        out(&output)
    };
    let (plain, learning) = (attempts(&["run"]), attempts(&["run", "--learn"]));
    assert!(plain.lines().count() > 100, "{plain}");
    assert_eq!(plain, learning);
}

/// The names behind pointers change while the launcher reads them and the kernel goes on: nothing comes of it.
#[test]
fn a_name_that_changes_while_it_is_read_opens_nothing() {
    let world = World::with_key();
    world.install_probe(&[]);
    let secret = world.write("secret.txt", "secret").into_os_string().into_string().unwrap();
    let output = world.pack(["run", "--learn", "probe", "--", "flip", &secret, "10000"]).output().unwrap();
    let text = out(&output);
    let counts: Vec<u32> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!(counts.len(), 2, "{text} {}", err(&output));
    assert!(counts[0] > 0, "the harmless file was never opened: {text}");
    assert_eq!(counts[1], 0, "the secret was read: {text}");
}

#[test]
fn a_flood_of_names_is_bounded_and_hostile_ones_are_made_visible() {
    let world = World::with_key();
    world.write("plain\u{202e}\u{1b}[31m.txt", "");
    let script = r#"
perl -e 'for my $n (1..20000) { stat("/nowhere/$n") } open(F, "<", "/" . "x" x 5000); syscall(2, 1, 0, 0); syscall(257, -100, 0xffffffffffffff00, 0)'
cat "$PACK_REAL_HOME"/$'plain\u202e\e[31m.txt' 2>/dev/null
true"#;
    install(&world, 1, script, ("", ""));
    let (_, report) = learn(&world, &[], None);
    assert_eq!(report["incomplete"], Value::Bool(true));
    let output = world.pack(["run", "--learn", "needy"]).output().unwrap();
    let told = err(&output);
    assert!(told.contains("more than"), "{told}");
    assert!(!told.contains('\u{202e}') && !told.contains('\u{1b}'), "{told:?}");
}

#[test]
fn services_of_the_session_are_found_although_the_app_has_no_address_of_them() {
    if !has("ssh-agent") || !has("ssh-add") {
        return skip("learn: ssh-agent is not here");
    }
    let world = World::with_key();
    let socket = world.path("run").join("agent");
    let mut agent = world.command("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).stderr(Stdio::null());
    let mut agent = agent.spawn().unwrap();
    eventually("the agent's socket", || socket.exists());
    // A bus that nobody serves: its socket is enough to be refused.
    let bus = world.path("run").join("bus");
    let _bus = std::os::unix::net::UnixListener::bind(&bus).unwrap();
    let script = r#"
ssh-add -l
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Peer => "$ENV{XDG_RUNTIME_DIR}/bus")'
true"#;
    install(&world, 1, script, ("", ""));
    let mut run = world.pack(["run", "--learn", "--json", "needy"]);
    run.env("SSH_AUTH_SOCK", &socket);
    let (_, report) = read(&run.output().unwrap());
    let _ = agent.kill();
    let _ = agent.wait();
    assert_eq!(keys(&report["plugs"]), set(&["ssh-agent"]), "{report:#}");
    let refused = report["refused"].as_array().unwrap();
    let row =
        refused.iter().find(|row| row["what"] == "the session bus").unwrap_or_else(|| panic!("{report:#}"));
    let offered: Vec<&str> =
        row["plugs"].as_array().unwrap().iter().map(|plug| plug.as_str().unwrap()).collect();
    assert!(
        offered.contains(&"desktop") && offered.contains(&"mpris") && !offered.contains(&"cups"),
        "{offered:?}"
    );
}

#[test]
fn calls_on_a_bus_that_its_filter_refuses_lead_to_their_plugs() {
    if !has("dbus-daemon") || !has("xdg-dbus-proxy") || !has("dbus-send") {
        return skip("learn: dbus-daemon, xdg-dbus-proxy or dbus-send is not here");
    }
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    let script = r#"
send() { dbus-send --session --print-reply --reply-timeout=5000 --dest="$1" "$2" "$3" >/dev/null 2>&1; }
send org.example.Known /org/example org.example.Known.Do
send org.freedesktop.Notifications /org/freedesktop/Notifications org.freedesktop.Notifications.GetCapabilities
send org.example.Unknown /org/example org.example.Unknown.Do
send org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager.ListUnits
true"#;
    let known = "plugs: {known: {interface: dbus, name: org.example.Known}}";
    install(&world, 1, script, ("known", known));
    succeed(world.pack(["connect", "needy:known"]));
    let (_, report) = learn(&world, &[], None);
    assert_eq!(
        report["plugs"],
        serde_json::json!({
            "dbus": {"interface": "dbus", "name": "org.example.Unknown"},
            "desktop": {"interface": "desktop"},
        }),
        "{report:#}"
    );
    let without =
        report["refused"].as_array().unwrap().iter().find(|row| row["plugs"] == serde_json::json!([]));
    let what = without.map(|row| row["what"].as_str().unwrap());
    assert_eq!(what, Some("calling org.freedesktop.systemd1.Manager.ListUnits of org.freedesktop.systemd1"));
}

/// An app whose memory is its own to serve, or not to serve, is not looked into; what its registers say is.
#[test]
fn of_an_app_that_makes_mounts_the_refused_calls_are_told_alone() {
    let world = World::with_key();
    world.write("notes.txt", "notes\n");
    let script = "cat \"$PACK_REAL_HOME/notes.txt\"\npython3 -c 'import ctypes; ctypes.CDLL(None).syscall(248, 0, 0, 0, 0, 0)'";
    for (version, plugs) in [(1, ""), (2, "fuse")] {
        install(&world, version, script, (plugs, ""));
        let (_, report) = learn(&world, &[], None);
        let refused = report["refused"].to_string();
        assert!(refused.contains("the system call add_key"), "{report:#}");
        assert_eq!(refused.contains("notes.txt"), plugs.is_empty(), "{report:#}");
        assert_eq!(report["not-looked-at"].is_string(), !plugs.is_empty(), "{report:#}");
    }
    let said = err(&world.pack(["run", "--learn", "needy"]).output().unwrap());
    assert!(said.contains("was not looked at: it makes mounts of its own (plug fuse)"), "{said}");
}

/// Names a file by text that lies in a page of the package's that nobody has read yet.
const FETCHES: &str = r#"
exec /usr/bin/python3 -c '
import ctypes, os
c = ctypes.CDLL(None)
c.mmap.restype, c.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
at = c.mmap(None, 16 << 20, 1, 2, os.open("/app/data/large", os.O_RDONLY), 0)
c.madvise(ctypes.c_void_p(at), ctypes.c_size_t(16 << 20), 1)
print(os.getpid(), flush=True)
input()
c.open(ctypes.c_void_p(at + (8 << 20)), 0)
print("went on", flush=True)
'
"#;

#[test]
fn memory_that_nobody_serves_does_not_hold_the_launcher_up() {
    let world = World::with_key();
    let script = format!("#!/bin/bash\n{FETCHES}");
    let manifest = "name: needy\nversion: '1'\nbase: host\napps: {needy: {command: bin/needy}}\n\
        parts: {needy: {plugin: dump, source: files}}\n";
    world.project("needy", manifest, &[("bin/needy", &script), ("data/large", "")]);
    let mut noise = std::fs::File::open("/dev/urandom").unwrap().take(16 << 20);
    let mut large = std::fs::File::create(world.home("needy/files/data/large")).unwrap();
    std::io::copy(&mut noise, &mut large).unwrap();
    world.install("needy");

    let mut run = world.pack(["run", "--learn", "needy"]);
    let mut run = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(run.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    let keeper = Stopped::child_of(run.id(), "pack-keeper");
    run.stdin.take().unwrap().write_all(b"\n").unwrap();
    // The reader gives up, and the launcher lets the call go on; the kernel then waits for the same page.
    std::thread::sleep(Duration::from_secs(5));
    let began = Instant::now();
    succeed_to_signal("TERM", run.id());
    eventually("the launcher's end", || run.try_wait().unwrap().is_some());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(keeper);
    let mut said = String::new();
    run.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("was not looked at: from some time on its memory could not be read"), "{said}");
}

/// A process that is stopped, until this is dropped.
struct Stopped(u32);

impl Stopped {
    fn child_of(parent: u32, name: &str) -> Stopped {
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap();
        let is_it = |id: &u32| {
            std::fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|comm| comm.trim() == name)
        };
        let id = children.split_whitespace().map(|id| id.parse().unwrap()).find(is_it).unwrap();
        succeed_to_signal("STOP", id);
        Stopped(id)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "CONT", &self.0.to_string()]).status();
    }
}

fn succeed_to_signal(signal: &str, process: u32) {
    let mut kill = Command::new("kill");
    kill.args(["-s", signal, &process.to_string()]);
    succeed(kill);
}
