//! Plugs that show a socket of a service: the real service, with the plug and without.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::{World, err, eventually, fail, has, is_root, out, skip, succeed};

/// A service that a test started; ended with it.
struct Service(Child);

impl Service {
    fn start(mut command: Command, socket: &Path) -> Service {
        let service = Service(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually(&format!("the socket {}", socket.display()), || socket.exists());
        service
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

#[test]
fn ssh_agent_signs_for_an_app_that_cannot_read_the_key() {
    let world = World::with_key();
    world.install_tester(&[("ssh-agent", "{}")]);
    let socket = world.path("run").join("agent");
    let mut agent = world.command("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket);
    let _agent = Service::start(agent, &socket);
    let key = text(world.home(".ssh/id_ed25519"));
    world.write(".ssh/placeholder", "");
    // Both programs insist on an entry of the user's in /etc/passwd, which root has and the tests' user has not.
    let as_root = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("SSH_AUTH_SOCK", &socket);
        succeed(command)
    };
    as_root("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]);
    as_root("ssh-add", &["-q", &key]);
    if is_root() {
        std::os::unix::fs::chown(&key, Some(20001), Some(20001)).unwrap();
    }
    let script = r#"
ssh-add -L || exit
cat "$1" 2>/dev/null && echo "read the key"
echo text >/tmp/text
ssh-add -L >/tmp/key.pub && ssh-keygen -q -Y sign -f /tmp/key.pub -n test /tmp/text 2>/dev/null && echo signed
"#;
    let inside = |app: &str| {
        let mut run = world.inside(app, script, &[&key]);
        run.env("SSH_AUTH_SOCK", &socket);
        run.output().unwrap()
    };
    let public = fs::read_to_string(format!("{key}.pub")).unwrap();
    let with = out(&inside("ssh-agent"));
    assert!(with.starts_with(public.split(' ').nth(1).map(|_| "ssh-ed25519 ").unwrap()), "{with}");
    assert!(with.contains(public.split(' ').nth(1).unwrap()) && with.ends_with("signed\n"), "{with}");
    assert!(!with.contains("read the key"), "{with}");
    let without = inside("none");
    assert!(!without.status.success() && out(&without).is_empty(), "{}", out(&without));
    assert!(err(&without).contains("authentication agent"), "{}", err(&without));
}

#[test]
fn gpg_agent_answers_with_its_plug_alone() {
    let world = World::with_key();
    world.install_tester(&[("gpg-agent", "{}")]);
    world.write(".gnupg/gpg-agent.conf", "");
    fs::set_permissions(world.home(".gnupg"), fs::Permissions::from_mode(0o700)).unwrap();
    let socket = world.home(".gnupg/S.gpg-agent");
    let mut agent = world.command("gpg-agent");
    agent.args(["--homedir", &text(world.home(".gnupg")), "--daemon", "--no-detach", "--", "sleep", "600"]);
    // With a command gpg-agent stays until it ends.
    let _agent = Service::start(agent, &socket);
    let script = "echo 'GETINFO pid' | gpg-connect-agent --no-autostart -S \"$XDG_RUNTIME_DIR/gnupg/S.gpg-agent\" 2>&1";
    let with = world.tell("gpg-agent", script, &[]);
    assert!(with.starts_with("D ") && with.contains("OK"), "{with}");
    let without = out(&world.inside("none", script, &[]).output().unwrap());
    assert!(!without.contains("OK"), "{without}");
}

#[test]
fn cups_prints_with_its_plug_alone() {
    if !is_root() {
        return skip("cups: only root starts a scheduler of its own");
    }
    let world = World::with_key();
    world.install_tester(&[("cups", "{}")]);
    let folder = world.path("run").join("cups");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let (socket, at) = (folder.join("cups.sock"), folder.display());
    for name in ["spool", "tmp", "cache", "state"] {
        fs::create_dir(folder.join(name)).unwrap();
    }
    fs::write(
        folder.join("cupsd.conf"),
        format!(
            "Listen {}\nWebInterface No\nBrowsing Off\nDefaultAuthType None\n<Location />\nOrder allow,deny\nAllow all\n</Location>\n",
            socket.display()
        ),
    )
    .unwrap();
    fs::write(
        folder.join("cups-files.conf"),
        format!(
            "ServerRoot {at}\nServerBin /usr/lib/cups\nDataDir /usr/share/cups\nRequestRoot {at}/spool\nTempDir {at}/tmp\n\
             CacheDir {at}/cache\nStateDir {at}/state\nAccessLog {at}/access\nErrorLog {at}/error\nPageLog {at}/page\n"
        ),
    )
    .unwrap();
    let mut scheduler = Command::new("/usr/sbin/cupsd");
    scheduler
        .arg("-f")
        .arg("-c")
        .arg(folder.join("cupsd.conf"))
        .arg("-s")
        .arg(folder.join("cups-files.conf"));
    let _scheduler = Service::start(scheduler, &socket);
    let inside = |app: &str| {
        let mut run = world.inside(app, "lpstat -r", &[]);
        run.env("CUPS_SERVER", &socket);
        out(&run.output().unwrap())
    };
    eventually("an answer of the scheduler", || inside("cups") == "scheduler is running\n");
    assert_ne!(inside("none"), "scheduler is running\n");
}

/// A service of which the plug shows the socket: what the client sends arrives, and the variable says where.
#[track_caller]
fn assert_socket_reached(plug: &str, host_variable: Option<(&str, &str)>, at: &str, script: &str) {
    let world = World::with_key();
    world.install_tester(&[(plug, "{}")]);
    let socket = world.path("run").join(at);
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(socket.parent().unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(world.path("run"), Some(20001), Some(20001)).unwrap();
        fs::set_permissions(world.path("run"), fs::Permissions::from_mode(0o700)).unwrap();
    }
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut client, _) = listener.accept().unwrap();
        let mut request = [0; 5];
        client.read_exact(&mut request).unwrap();
        client.write_all(b"pong\n").unwrap();
        request
    });
    let inside = |app: &str| {
        let mut run = world.inside(app, script, &[]);
        if let Some((name, prefix)) = host_variable {
            run.env(name, format!("{prefix}{}", socket.display()));
        }
        run.output().unwrap()
    };
    assert!(!out(&inside("none")).contains("pong"), "{plug}");
    let with = inside(plug);
    assert!(out(&with).contains("pong"), "{plug}: {}{}", out(&with), err(&with));
    assert_eq!(&server.join().unwrap(), b"ping\n");
}

/// A client of a Unix socket, in Python, which the host's /usr has.
const CLIENT: &str = r#"exec python3 -c '
import os, socket, sys
path = eval(sys.argv[1]) if len(sys.argv) > 1 else "'"$SOCKET"'"
s = socket.socket(socket.AF_UNIX); s.connect(path); s.sendall(b"ping\n"); print(s.recv(5).decode())
'"#;

#[test]
fn docker_podman_and_pcscd_show_their_sockets_with_their_plugs_alone() {
    for (plug, variable, at, inside) in [
        ("docker", Some(("DOCKER_HOST", "unix://")), "docker.sock", "${DOCKER_HOST#unix://}"),
        ("podman", None, "podman/podman.sock", "${CONTAINER_HOST#unix://}"),
        ("pcscd", Some(("PCSCLITE_CSOCK_NAME", "")), "pcscd.comm", "/run/pcscd/pcscd.comm"),
    ] {
        assert_socket_reached(plug, variable, at, &format!("SOCKET=\"{inside}\"\n{CLIENT}"));
    }
}

/// These hand out the machine, and are told to.
#[test]
fn docker_and_podman_are_never_connected_by_themselves() {
    let world = World::with_key();
    for plug in ["docker", "podman"] {
        let manifest = format!(
            "name: tester\nversion: '1'\nbase: host\napps: {{tester: {{command: bin/x, plugs: [{plug}]}}}}\n\
             parts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        world.project("tester", &manifest, &[("bin/x", "#!/bin/sh\n")]);
        let package = world.build("tester");
        let said = err(&succeed(world.pack(["install".as_ref(), package.as_os_str()])));
        assert!(
            said.contains(&format!("`{plug}` is not connected")) && said.contains("and with it"),
            "{said}"
        );
        succeed(world.pack(["remove", "tester", "--purge", "--yes"]));
    }
    fail(world.pack(["run", "tester"]), 125);
}

#[test]
fn a_service_that_is_not_there_leaves_no_trace() {
    let world = World::with_key();
    world.install_tester(&[("ssh-agent", "{}"), ("podman", "{}")]);
    for app in ["ssh-agent", "podman"] {
        let mut run =
            world.inside(app, "echo \"$SSH_AUTH_SOCK$CONTAINER_HOST\"; ls \"$XDG_RUNTIME_DIR\"", &[]);
        run.env("SSH_AUTH_SOCK", "/nowhere/agent");
        assert_eq!(out(&succeed(run)), "\n");
    }
    assert!(has("python3"));
}

/// An app that may write where an agent's socket lies exchanges it for a link to another socket.
#[test]
fn a_link_in_place_of_a_socket_in_the_home_is_not_followed() {
    let world = World::with_key();
    world.install_tester(&[("ssh-agent", "{}")]);
    world.write("agent/placeholder", "");
    let wanted = world.path("run").join("secret");
    let _listener = std::os::unix::net::UnixListener::bind(&wanted).unwrap();
    std::os::unix::fs::symlink(&wanted, world.home("agent/sock")).unwrap();
    let mut run = world.inside("ssh-agent", "[ -S \"$XDG_RUNTIME_DIR/ssh-agent\" ] && echo there; true", &[]);
    run.env("SSH_AUTH_SOCK", world.home("agent/sock"));
    assert_eq!(out(&succeed(run)), "");
    // The socket itself is shown.
    fs::remove_file(world.home("agent/sock")).unwrap();
    let _own = std::os::unix::net::UnixListener::bind(world.home("agent/sock")).unwrap();
    let mut run = world.inside("ssh-agent", "[ -S \"$XDG_RUNTIME_DIR/ssh-agent\" ] && echo there; true", &[]);
    run.env("SSH_AUTH_SOCK", world.home("agent/sock"));
    assert_eq!(out(&succeed(run)), "there\n");
}
