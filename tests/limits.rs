//! Limits of an app, and the scope of the user's systemd manager that it runs in: with a real manager, and with none.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use support::{World, err, eventually, has, is_root, out, skip, succeed};

/// An installed package `heavy-app` of this script and these limits, as a manifest has them.
fn install(world: &World, script: &str, limits: &str) {
    let manifest = format!(
        "name: heavy-app\nversion: '1'\nbase: host\napps: {{heavy-app: {{command: bin/heavy{limits}}}}}\n\
         parts: {{heavy: {{plugin: dump, source: files}}}}\n"
    );
    world.project("heavy", &manifest, &[("bin/heavy", &format!("#!/bin/sh\n{script}"))]);
    world.install("heavy");
}

/// Tells how many processes could be started at a time, of those asked for.
const CROWD: &str = r#"perl -e '
my $n = 0;
for (1..$ARGV[0]) { my $pid = fork; last unless defined $pid; if (!$pid) { sleep 60; exit } push @children, $pid; $n++ }
print "$n\n"; kill 9, @children' "$1"
"#;

#[test]
fn the_number_of_tasks_is_limited_for_each_start_by_itself_where_no_manager_runs() {
    let world = World::with_key();
    install(&world, CROWD, ", limits: {tasks: 20}");
    let start = || {
        let mut run = world.pack(["run", "heavy-app", "100"]);
        run.stdout(Stdio::piped()).spawn().unwrap()
    };
    // Both at once: neither counts the other's.
    for app in [start(), start()] {
        let output = app.wait_with_output().unwrap();
        let started: u32 = out(&output).trim().parse().unwrap();
        // The first process, the shell and perl count as well.
        assert!((10..20).contains(&started), "{started}");
    }
    let plain = World::with_key();
    install(&plain, CROWD, "");
    assert_eq!(out(&succeed(plain.pack(["run", "heavy-app", "100"]))), "100\n");
    let explained = out(&succeed(world.pack(["run", "--explain", "heavy-app"])));
    assert!(explained.contains("20 tasks"), "{explained}");
}

#[test]
fn a_limit_that_nobody_enforces_is_said() {
    let world = World::with_key();
    install(&world, "echo runs", ", limits: {memory: 64M, cpu: 50%}");
    let output = succeed(world.pack(["run", "heavy-app"]));
    assert_eq!(out(&output), "runs\n");
    assert!(err(&output).contains("nothing limits memory and cpu of `heavy-app` here"), "{}", err(&output));
    assert_eq!(err(&output).lines().count(), 1);
}

#[test]
fn limits_that_are_none_are_refused_where_they_are_written() {
    let world = World::with_key();
    for (limits, expected) in [
        ("memory: 512", "memory"),
        ("memory: 10X", "such as 512M"),
        ("cpu: 50", "cpu"),
        ("cpu: 0%", "50% for half of one"),
        ("tasks: 1", "2 at least"),
        ("disk: 1G", "disk"),
    ] {
        let manifest = format!(
            "name: heavy-app\nversion: '1'\nbase: host\napps:\n  heavy-app: {{command: bin/heavy, limits: {{{limits}}}}}\n\
             parts: {{heavy: {{plugin: dump, source: files}}}}\n"
        );
        world.project("heavy", &manifest, &[("bin/heavy", "#!/bin/sh\n")]);
        let output = world.pack(["build", "heavy"]).output().unwrap();
        assert!(!output.status.success() && err(&output).contains(expected), "{limits}: {}", err(&output));
        assert!(err(&output).contains("pack.yaml:5"), "{limits}: {}", err(&output));
    }
}

/// A part of the tree of control groups that belongs to the tests' user: a folder for the manager, and `session`, where
/// programs of the user's are started.
struct Groups {
    name: String,
}

/// Shows the second version of control groups alone, in a mount namespace of the script's own, as current hosts have it.
const UNIFIED: &str = "mount -t cgroup2 cgroup2 /sys/fs/cgroup";

impl Groups {
    fn make(controllers: &str) -> Groups {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("pack-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let script = format!(
            "set -e\n{UNIFIED}\ncd /sys/fs/cgroup\n\
             for name in {controllers}; do echo +$name >cgroup.subtree_control; done\n\
             mkdir {name}\ncd {name}\n\
             for name in {controllers}; do echo +$name >cgroup.subtree_control; done\n\
             mkdir session\nchown 20001:20001 . cgroup.procs cgroup.threads cgroup.subtree_control session session/cgroup.procs"
        );
        succeed(unshared(&script, &[]));
        Groups { name }
    }

    /// A command in `session`.
    fn in_session(&self, inner: &Command) -> Command {
        let script =
            format!("{UNIFIED} && echo $$ >/sys/fs/cgroup/{}/session/cgroup.procs && exec \"$@\"", self.name);
        let mut command = unshared(&script, &[]);
        command.arg(inner.get_program()).args(inner.get_args()).env_clear();
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        // A keeper that waits for the next start would stay in this group.
        command.env("PACK_LINGER", "0").current_dir(inner.get_current_dir().unwrap());
        command
    }

    /// The processes of the groups whose name begins with `prefix`, and those groups.
    fn processes(&self, prefix: &str) -> (Vec<String>, Vec<String>) {
        let script = format!(
            "{UNIFIED} && cd /sys/fs/cgroup/{} && find . -name '{prefix}*' -printf '%f\\n' -exec cat '{{}}/cgroup.procs' ';'",
            self.name
        );
        let text = out(&succeed(unshared(&script, &[])));
        text.lines().map(str::to_owned).partition(|line| line.parse::<u32>().is_ok())
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let script =
            format!("{UNIFIED} && find /sys/fs/cgroup/{} -depth -type d -exec rmdir '{{}}' ';'", self.name);
        // Processes that are being ended hold them a little longer.
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            let removed = unshared(&script, &[]).stderr(Stdio::null()).status();
            if removed.is_ok_and(|status| status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn unshared(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script, "sh"]).args(arguments);
    command
}

/// The systemd manager of the tests' user, with groups of its own; ended with the test.
struct Manager {
    process: Child,
    groups: Groups,
}

const SYSTEMD: &str = "/lib/systemd/systemd";

impl Manager {
    fn start(world: &World) -> Manager {
        let groups = Groups::make("");
        // It runs only where systemd is said to have booted the machine.
        let script = format!(
            "{UNIFIED} && echo $$ >/sys/fs/cgroup/{0}/cgroup.procs && mount -t tmpfs run /run/systemd && \
             mkdir /run/systemd/system && exec \"$@\"",
            groups.name
        );
        let mut inner = world.command(SYSTEMD);
        inner.args(["--user", "--unit=basic.target"]);
        let mut command = unshared(&script, &[]);
        command.arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(world.environment()).current_dir("/").stdin(Stdio::null());
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let socket = world.path("run/systemd/private");
        eventually("the user's manager", || socket.exists());
        eventually("its state", || out(&Manager::ask(world, &["is-system-running"])).trim() != "");
        Manager { process, groups }
    }

    fn ask(world: &World, arguments: &[&str]) -> std::process::Output {
        let mut command = world.command("systemctl");
        command.arg("--user").args(arguments).output().unwrap()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        // SIGTERM to a user's manager ends its units and itself.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// Why no manager can be started here; nothing where it can.
fn lacks_manager() -> Option<&'static str> {
    let works = || unshared(UNIFIED, &[]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    match () {
        () if !is_root() => Some("limits: only root can make control groups for a manager"),
        () if !Path::new(SYSTEMD).is_file() || !has("systemctl") => Some("limits: systemd is not here"),
        () if !works() => Some("limits: the second version of control groups cannot be mounted"),
        () => None,
    }
}

#[test]
fn an_app_runs_in_a_scope_of_the_users_manager_with_its_limits() {
    if let Some(reason) = lacks_manager() {
        return skip(reason);
    }
    let world = World::with_key();
    // Children at once: all are to be in the scope.
    install(
        &world,
        "sleep 300 & sleep 300 & echo started; read line",
        ", limits: {memory: 512M, cpu: 50%, tasks: 100}",
    );
    let manager = Manager::start(&world);
    let mut run = manager.groups.in_session(&world.pack(["run", "heavy-app"]));
    let mut app = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(app.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");

    let (processes, groups) = manager.groups.processes("app-pack-");
    let [scope] = groups.as_slice() else { panic!("{groups:?}") };
    assert!(scope.starts_with("app-pack-heavy\\x2dapp-") && scope.ends_with(".scope"), "{scope}");
    // The first process, the script and its two children; the launcher is not the app.
    assert_eq!(processes.len(), 4, "{processes:?}");
    assert!(!processes.contains(&app.id().to_string()));
    let shown = Manager::ask(
        &world,
        &["show", scope, "-p", "MemoryMax,TasksMax,CPUQuotaPerSecUSec,Slice,ActiveState"],
    );
    let shown: std::collections::BTreeSet<String> = out(&shown).lines().map(str::to_owned).collect();
    for expected in [
        "MemoryMax=536870912",
        "TasksMax=100",
        "CPUQuotaPerSecUSec=500ms",
        "Slice=app.slice",
        "ActiveState=active",
    ] {
        assert!(shown.contains(expected), "{expected}: {shown:?}");
    }
    app.stdin.take().unwrap().write_all(b"\n").unwrap();
    let mut told = String::new();
    app.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(app.wait().unwrap().success(), "{told}");
    assert_eq!(told, "");
    eventually("the end of the scope", || manager.groups.processes("app-pack-").1.is_empty());
}

#[test]
fn a_scope_that_is_stopped_ends_the_app_and_one_without_limits_is_made_too() {
    if let Some(reason) = lacks_manager() {
        return skip(reason);
    }
    let world = World::with_key();
    install(&world, "echo started; sleep 300", "");
    let manager = Manager::start(&world);
    let mut run = manager.groups.in_session(&world.pack(["run", "heavy-app"]));
    let mut app = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(app.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    let (_, groups) = manager.groups.processes("app-pack-");
    assert_eq!(groups.len(), 1, "{groups:?}");
    let shown = out(&Manager::ask(&world, &["show", &groups[0], "-p", "TasksMax,MemoryMax"]));
    assert!(shown.contains("TasksMax=8192") && shown.contains("MemoryMax=infinity"), "{shown}");
    assert!(Manager::ask(&world, &["stop", &groups[0]]).status.success());
    assert_eq!(app.wait().unwrap().code(), Some(128 + 15));
}

/// A socket at the manager's place behind which nobody answers holds a start up no longer than it may.
#[test]
fn a_manager_that_does_not_answer_is_not_waited_for() {
    let world = World::with_key();
    install(&world, "echo runs", "");
    fs::create_dir(world.path("run/systemd")).unwrap();
    let socket = world.path("run/systemd/private");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let open = |path: &PathBuf| std::os::unix::fs::chown(path, Some(20001), Some(20001)).unwrap();
    if is_root() {
        open(&world.path("run/systemd"));
        open(&socket);
    }
    let begun = Instant::now();
    assert_eq!(out(&succeed(world.pack(["run", "heavy-app"]))), "runs\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    drop(listener);
}

#[test]
fn limits_are_enforced_in_a_control_group_made_by_hand_where_no_manager_runs() {
    if let Some(reason) = lacks_manager() {
        return skip(reason);
    }
    let there = out(&succeed(unshared(&format!("{UNIFIED} && cat /sys/fs/cgroup/cgroup.controllers"), &[])));
    if !["memory", "cpu", "pids"].iter().all(|name| there.split_whitespace().any(|there| there == *name)) {
        return skip("limits: the controllers belong to the first version of control groups here");
    }
    let world = World::with_key();
    let script = "perl -e '$x = \"x\" x (300 << 20); print \"kept\\n\"'; echo status $?; read line";
    install(&world, script, ", limits: {memory: 64M, tasks: 30}");
    let groups = Groups::make("memory cpu pids");
    let mut run = groups.in_session(&world.pack(["run", "heavy-app"]));
    let mut app = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(app.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "status 137\n", "the kernel ends what takes too much");
    assert_eq!(groups.processes("app-pack-").1.len(), 1);
    drop(app.stdin.take());
    let _ = app.wait();
    eventually("the end of the group", || groups.processes("app-pack-").1.is_empty());
}
