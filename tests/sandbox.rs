//! What an app can see and do: a probe inside tries, and tells.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::{World, eventually, out, succeed};

/// What must work; everything else that the probe tries must not.
const ALLOWED: &[&str] =
    &["write-tmp", "write-home", "write-common", "write-runtime", "write-shm", "chmod-plain"];

/// Attempts by name, and how they ended.
fn attempts(output: &str) -> BTreeMap<String, String> {
    output
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(name, result)| (name.to_owned(), result.trim_end().to_owned()))
        .collect()
}

/// A host around the sandbox: a secret in the home, a port, an abstract socket.
struct Host {
    port: TcpListener,
    abstract_socket: UnixListener,
    name: String,
}

impl Host {
    fn new() -> Host {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pack-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let abstract_socket = UnixListener::bind_addr(&address).unwrap();
        Host { port: TcpListener::bind("127.0.0.1:0").unwrap(), abstract_socket, name }
    }

    fn port(&self) -> String {
        self.port.local_addr().unwrap().port().to_string()
    }

    fn arguments(&self, world: &World) -> [String; 4] {
        let secret = world.write("secret.txt", "secret");
        [
            "attempts".to_owned(),
            secret.into_os_string().into_string().unwrap(),
            self.port(),
            self.name.clone(),
        ]
    }
}

/// Asserts that only what is allowed worked.
#[track_caller]
fn assert_confined(results: &BTreeMap<String, String>) {
    assert!(results.len() > 100, "the probe ended early: {results:#?}");
    for (name, result) in results {
        match name.as_str() {
            "inherited-descriptors" => assert_eq!(result, "0"),
            "processes" => assert!(result.parse::<u32>().unwrap() <= 4, "{result} processes are seen"),
            "change-ipc-sysctl" | "change-pid-sysctl" => assert_eq!(result, "EROFS"),
            "init-command-line" => assert_eq!(result, "pack"),
            "i386" => assert_eq!(result, "signal-31", "a 32-bit call ends the process (SIGSYS)"),
            name if ALLOWED.contains(&name) => assert_eq!(result, "ok", "{name}"),
            name => assert_ne!(result, "ok", "{name} must not work"),
        }
    }
}

#[test]
fn without_plugs_an_app_can_do_nothing_outside() {
    let (world, host) = (World::with_key(), Host::new());
    world.install_probe(&[]);
    let mut run = world.pack(["run", "probe", "--"]);
    run.args(host.arguments(&world));
    let results = attempts(&out(&succeed(run)));
    assert_confined(&results);
    assert_eq!(results["connect-host-port"], "ECONNREFUSED");
    assert_eq!(results["connect-abstract"], "ECONNREFUSED");
    drop(host.abstract_socket);
}

#[test]
fn a_shell_in_the_sandbox_can_do_no_more_than_the_app() {
    let (world, host) = (World::with_key(), Host::new());
    world.install_probe(&[]);
    let mut run = world.pack(["run", "--shell", "probe", "--", "-c"]);
    run.arg(format!("/app/bin/probe {}", host.arguments(&world).join(" ")));
    assert_confined(&attempts(&out(&succeed(run))));
}

#[test]
fn descriptors_of_the_caller_do_not_reach_the_app() {
    let world = World::with_key();
    world.install_probe(&[]);
    let script = r#"exec 3</etc/hostname 4</ 9>"$HOME/open"; exec "$@""#;
    let mut shell = world.command("sh");
    shell.args(["-c", script, "sh"]).arg(support::pack_binary());
    shell.args(["run", "probe", "--", "attempts", "/x", "1", "x"]);
    assert_eq!(attempts(&out(&succeed(shell)))["inherited-descriptors"], "0");
}

#[test]
fn a_folder_as_standard_stream_is_refused() {
    let world = World::with_key();
    world.install_probe(&[]);
    let mut run = world.pack(["run", "probe", "--", "exit", "0"]);
    run.stdin(std::fs::File::open("/").unwrap());
    let refused = support::fail(run, 125);
    assert!(support::err(&refused).contains("standard stream 0 is a folder"), "{}", support::err(&refused));
}

#[test]
fn network_opens_connections_and_nothing_more() {
    let (world, host) = (World::with_key(), Host::new());
    world.install_probe(&["network"]);
    let mut run = world.pack(["run", "probe.network", "--"]);
    run.args(host.arguments(&world));
    let mut results = attempts(&out(&succeed(run)));
    assert_eq!(results.remove("connect-host-port").as_deref(), Some("ok"));
    assert_confined(&results);
    assert_eq!(results["connect-abstract"], "EPERM", "Landlock shuts abstract sockets off");
    let mut bind = world.pack(["run", "probe.network", "--", "listen", "0"]);
    assert_eq!(out(&bind.output().unwrap()), "bind\tEACCES\n", "binding a TCP port is another plug");
}

#[test]
fn network_bind_offers_ports_and_opens_no_connections() {
    let (world, host) = (World::with_key(), Host::new());
    world.install_probe(&["network-bind"]);
    let connect = world.pack(["run", "probe.network-bind", "--", "connect", &host.port()]);
    assert_eq!(out(&succeed(connect)), "connect\tEACCES\n");

    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut listen = world.pack(["run", "probe.network-bind", "--", "listen", &port.to_string()]);
    let mut app = listen.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(app.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "listen\tok\n");
    let mut served = String::new();
    TcpStream::connect(("127.0.0.1", port)).unwrap().read_to_string(&mut served).unwrap();
    assert_eq!(served, "served");
    assert!(app.wait().unwrap().success());
}

#[test]
fn both_network_plugs_give_both_directions() {
    let (world, host) = (World::with_key(), Host::new());
    world.install_probe(&["network, network-bind"]);
    let connect = world.pack(["run", "probe.network-network-bind", "--", "connect", &host.port()]);
    assert_eq!(out(&succeed(connect)), "connect\tok\n");
}

#[test]
fn cve_2024_1724_home_gives_visible_files_and_plants_nothing() {
    let world = World::with_key();
    for (name, text) in [
        ("Documents/letter.txt", "Dear"),
        (".ssh/id_ed25519", "key"),
        ("bin/tool", "#!/bin/sh"),
        ("plain.txt", "p"),
    ] {
        world.write(name, text);
    }
    std::os::unix::fs::symlink("/etc", world.home("link-out")).unwrap();
    let script = r#"#!/bin/sh
cd "$PACK_REAL_HOME" || exit 1
echo "entries: $(ls -A | tr '\n' ' ')"
cat Documents/letter.txt plain.txt; echo
echo changed > Documents/letter.txt && echo new > Documents/new.txt && echo written
for name in .profile .bashrc bin/ls .local/bin/ls .config/autostart/x.desktop new.txt .ssh/id_ed25519; do
  if echo planted 2>/dev/null > "$name" || mkdir -p "$(dirname "$name")/made" 2>/dev/null; then echo "planted $name"; fi
done
mv Documents Moved 2>/dev/null && echo moved
true
"#;
    let manifest = "name: files\nversion: '1'\nbase: host\napps: {files: {command: bin/files, plugs: [home]}}\n\
                    parts: {files: {plugin: dump, source: files}}\n";
    world.project("project", manifest, &[("bin/files", script)]);
    let package = world.build("project");
    succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
    let text = out(&succeed(world.pack(["run", "files"])));
    let entries = text.lines().next().unwrap();
    for shown in ["Documents", "plain.txt"] {
        assert!(entries.contains(shown), "{entries}");
    }
    for hidden in [".ssh", "bin", "link-out", ".config"] {
        assert!(!entries.split(' ').any(|entry| entry == hidden), "{entries}");
    }
    assert!(text.contains("Dearp") && text.contains("written"), "{text}");
    assert!(!text.contains("planted") && !text.contains("moved"), "{text}");
    assert_eq!(std::fs::read_to_string(world.home("Documents/new.txt")).unwrap(), "new\n");
    assert_eq!(std::fs::read_to_string(world.home(".ssh/id_ed25519")).unwrap(), "key");
}

#[test]
fn home_hides_every_folder_that_acts_outside() {
    let world = World::with_key();
    for name in
        ["Documents/x", "tools/bin/tool", "dotfiles/profile", "visible-data/x", "cache/x", "runtime/x"]
    {
        world.write(name, "");
    }
    std::os::unix::fs::symlink("dotfiles/profile", world.home(".profile")).unwrap();
    let manifest = "name: files\nversion: '1'\nbase: host\napps: {files: {command: bin/files, plugs: [home]}}\n\
                    parts: {files: {plugin: dump, source: files}}\n";
    world.project("Documents/project", manifest, &[("bin/files", "#!/bin/sh\nls \"$PACK_REAL_HOME\"\n")]);
    let pack = |arguments: &[&str]| {
        let mut command = world.pack(arguments);
        let path = format!("{}:{}", world.home("tools/bin").display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("XDG_DATA_HOME", world.home("visible-data"));
        command.env("PACK_HOME", world.home("cache/pack")).env("XDG_RUNTIME_DIR", world.home("runtime"));
        command
    };
    succeed(pack(&["key", "generate", "other"]));
    let package = world.home("Documents/files.pkg").into_os_string().into_string().unwrap();
    succeed(pack(&["build", world.home("Documents/project").to_str().unwrap(), "-o", &package]));
    succeed(pack(&["install", "--yes", &package]));
    let shown = out(&succeed(pack(&["run", "files"])));
    assert!(shown.contains("Documents"), "{shown}");
    for hidden in ["tools", "dotfiles", "visible-data/", "cache/pack/packages", "runtime"] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
    let listed: Vec<&str> = shown.lines().collect();
    assert!(!listed.contains(&"visible-data"), "{shown}");
}

#[test]
fn cve_2024_42472_a_link_in_place_of_the_data_folder_is_not_followed() {
    let world = World::with_key();
    world.install_probe(&[]);
    succeed(world.pack(["run", "probe", "--", "exit", "0"]));
    let data = world.home(".local/share/pack/data/probe");
    let outside = world.home("outside");
    std::fs::create_dir(&outside).unwrap();
    let folder = std::fs::read_dir(&data)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.file_name().is_some_and(|name| name != "common"))
        .unwrap();
    std::fs::rename(&folder, data.join("aside")).unwrap();
    std::os::unix::fs::symlink(&outside, &folder).unwrap();
    let refused = support::fail(world.pack(["run", "probe", "--", "exit", "0"]), 125);
    assert!(support::err(&refused).contains("link"), "{}", support::err(&refused));
}

#[test]
fn nothing_stays_mounted_or_running_whatever_ends_it() {
    let world = World::with_key();
    world.install_probe(&[]);
    for signal in ["TERM", "INT", "HUP", "KILL"] {
        let mut run = world.pack(["run", "probe", "--", "tree"]);
        // Without it the keeper waits for the next launch; that it ends then is for the keeper's tests.
        run.env("PACK_LINGER", "0");
        let mut app = run.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(app.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "grown\n", "{signal}");
        assert!(processes_of(&world) > 4, "{signal}");
        succeed({
            let mut kill = Command::new("kill");
            kill.args(["-s", signal, &app.id().to_string()]);
            kill
        });
        let status = app.wait().unwrap();
        assert!(!status.success(), "{signal}");
        eventually("the end of every process", || processes_of(&world) == 0);
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains("pack"), "{mounts}");
}

/// How many processes have the world's home in their environment, or its probe as their program.
fn processes_of(world: &World) -> usize {
    let mark = format!("HOME={}", world.path("home").display());
    let data = world.home(".local/share/pack/data").into_os_string().into_string().unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let environment = String::from_utf8_lossy(&environment);
        count += usize::from(environment.contains(&mark) || environment.contains(&data));
    }
    std::io::stdout().flush().unwrap();
    count
}

/// What the namespaces alone would let an app do: a file of the caller's, passed as a standard stream, is opened again
/// through /proc. Landlock lets it be opened as it was, and in no other way.
#[test]
fn a_standard_stream_can_be_opened_again_as_it_was_opened_and_no_other_way() {
    let world = World::with_key();
    world.install_tester(&[]);
    for name in ["read", "written", "errors"] {
        world.write(name, format!("{name} before\n"));
    }
    let file = |name: &str, write: bool| {
        std::fs::File::options().read(!write).write(write).open(world.home(name)).unwrap()
    };
    let script = "cat /dev/stdin; echo out >/dev/stdout; echo err >/dev/stderr; \
                  ( echo planted >/proc/self/fd/0 ) 2>/dev/null || echo refused >>/dev/stdout; \
                  cat /proc/self/fd/1 2>/dev/null || echo refused >>/dev/stdout; cat /proc/self/fd/2 2>/dev/null; true";
    let mut run = world.inside("none", script, &[]);
    run.stdin(file("read", false)).stdout(file("written", true)).stderr(file("errors", true));
    assert!(run.status().unwrap().success());
    let now = |name: &str| std::fs::read_to_string(world.home(name)).unwrap();
    assert_eq!(now("read"), "read before\n");
    // What `cat` wrote was cut off by the opening of /dev/stdout, as it is outside.
    assert_eq!(now("written"), "out\nrefused\nrefused\n");
    assert_eq!(now("errors"), "err\n");
    let mut read = world.inside("none", "cat /dev/stdin", &[]);
    read.stdin(file("read", false));
    assert_eq!(out(&read.output().unwrap()), "read before\n");
}
