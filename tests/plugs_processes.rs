//! Plugs that show or give other processes of the host.

mod support;
#[path = "support/x_server.rs"]
mod x_server;

use std::process::{Child, Command, Stdio};

use support::{World, eventually, out};

/// A process of the user's outside, with something to find in its command line and in its environment.
struct Outsider(Child);

impl Outsider {
    fn new(world: &World) -> Outsider {
        let mut sleep = world.command("sleep");
        sleep.arg("3517").env("SECRET", "in-the-environment").stdout(Stdio::null());
        let outsider = Outsider(sleep.spawn().unwrap());
        let name = format!("/proc/{}/comm", outsider.0.id());
        eventually("the start of sleep", || {
            std::fs::read_to_string(&name).is_ok_and(|text| text == "sleep\n")
        });
        outsider
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Outsider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const LOOK: &str = r#"
pid=$1
tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" && echo "sees"
for what in environ maps mem; do head -c 1 "/proc/$pid/$what" >/dev/null 2>&1 && echo "reads $what"; done
for what in root cwd exe fd/0; do readlink "/proc/$pid/$what" >/dev/null 2>&1 && echo "follows $what"; done
ls "/proc/$pid/root/" >/dev/null 2>&1 && echo "enters its root"
kill -0 "$pid" 2>/dev/null && echo "signals"
true
"#;

#[test]
fn system_observe_lists_the_hosts_processes_and_reads_none_of_them() {
    let world = World::with_key();
    world.install_tester(&[("system-observe", "{}")]);
    let outsider = Outsider::new(&world);
    assert_eq!(world.tell("none", LOOK, &[&outsider.pid()]), "");
    assert_eq!(world.tell("system-observe", LOOK, &[&outsider.pid()]), "sleep 3517 sees");
    let listed = world.tell("system-observe", "ps -e -o pid=,args=", &[]);
    assert!(listed.lines().any(|line| line.trim() == format!("{} sleep 3517", outsider.pid())), "{listed}");
    // Its own /proc/self is right, and nothing can be set for others.
    let script = "readlink /proc/self/exe; echo 5 >/proc/$1/oom_score_adj; true";
    let own = world.tell("system-observe", script, &[&outsider.pid()]);
    assert!(own.ends_with("/readlink"), "{own}");
    let score = std::fs::read_to_string(format!("/proc/{}/oom_score_adj", outsider.pid())).unwrap();
    assert_eq!(score.trim(), "0");
}

#[test]
fn process_control_signals_the_users_processes_and_reads_none_of_them() {
    let world = World::with_key();
    world.install_tester(&[("process-control", "{}")]);
    let mut outsider = Outsider::new(&world);
    assert_eq!(world.tell("process-control", LOOK, &[&outsider.pid()]), "sleep 3517 sees\nsignals");
    assert_eq!(
        world.tell(
            "process-control",
            "renice -n 3 -p $1 >/dev/null && kill $1 && echo sent",
            &[&outsider.pid()]
        ),
        "sent"
    );
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(outsider.0.wait().unwrap().signal(), Some(15));
}

/// In the host's pid namespace the kernel ends nothing by itself.
#[test]
fn what_an_app_with_process_control_leaves_behind_ends_with_it() {
    let world = World::with_key();
    world.install_tester(&[("process-control", "{}")]);
    let script = "setsid sh -c 'setsid sleep 3518 & setsid sleep 3518' >/dev/null 2>&1 & sleep 0.3; echo $$";
    world.tell("process-control", script, &[]);
    let mut list = Command::new("pgrep");
    list.args(["-f", "^sleep 3518"]);
    assert_eq!(out(&list.output().unwrap()), "");
}

/// With these together nothing is left for Landlock to take away; what keeps other processes closed is still there.
#[test]
fn process_control_with_all_that_opens_landlock_reads_none_of_the_users_processes() {
    let world = World::with_key();
    let manifest = "name: tester\nversion: '1'\nbase: host\napps:\n  \
        tester: {command: bin/tester, plugs: [process-control, fuse, network, network-bind, x11]}\n  \
        inside: {command: bin/tester, plugs: [process-control, fuse, x11]}\n\
        parts:\n  tester: {plugin: dump, source: files}\n";
    world.project("tester", manifest, &[("bin/tester", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("tester");
    let x = x_server::XServer::start(&world);
    let mut outsider = Outsider::new(&world);
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port().to_string();
    let script = format!(
        "{LOOK}\nxdpyinfo >/dev/null && echo shows\n\
        python3 -c 'import socket, sys; socket.create_connection((\"127.0.0.1\", int(sys.argv[1])))' $2 2>/dev/null && echo connects\n\
        python3 -c 'import ctypes; c = ctypes.CDLL(None); print(c.unshare(0x10020000), c.mount(b\"/usr\", b\"/tmp\", None, 4096, None))'"
    );
    for (app, connects) in [("tester", "connects\n"), ("inside", "")] {
        let mut run = world.inside(app, &script, &[&outsider.pid(), &port]);
        run.env("DISPLAY", &x.name).env("XAUTHORITY", &x.authority);
        let told = out(&support::succeed(run));
        assert_eq!(told, format!("sleep 3517 sees\nsignals\nshows\n{connects}0 0\n"), "{app}");
    }
    outsider.0.kill().unwrap();
    let explained = out(&support::succeed(world.pack(["run", "--explain", "tester.tester"])));
    assert!(
        explained.contains("NOT writing where it says so alone") && explained.contains("[plug fuse]"),
        "{explained}"
    );
}

#[test]
fn signals_to_the_host_need_the_plug() {
    let world = World::with_key();
    world.install_tester(&[]);
    let outsider = Outsider::new(&world);
    let sent = world.tell("none", "kill -9 $1 2>/dev/null; kill -9 -1 2>/dev/null; true", &[&outsider.pid()]);
    assert_eq!(sent, "");
    assert!(std::path::Path::new(&format!("/proc/{}/comm", outsider.pid())).exists());
    let alive = std::fs::read_to_string(format!("/proc/{}/stat", outsider.pid())).unwrap();
    assert!(alive.contains(" S "), "{alive}");
}

#[test]
fn an_app_with_process_control_ends_where_the_launcher_is_killed() {
    let world = World::with_key();
    world.install_tester(&[("process-control", "{}")]);
    let mut run = world.inside("process-control", "echo started; exec sleep 3520", &[]);
    let mut launcher = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut started = [0; 8];
    std::io::Read::read_exact(launcher.stdout.as_mut().unwrap(), &mut started).unwrap();
    launcher.kill().unwrap();
    launcher.wait().unwrap();
    eventually("the end of the app", || {
        out(&Command::new("pgrep").args(["-f", "^sleep 3520"]).output().unwrap()).is_empty()
    });
}
