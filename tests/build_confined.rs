//! What the commands of a build can reach, and what is left of them when a build ends.

mod support;

use std::fs;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use support::{World, err, eventually, fail, is_root, own, pack_binary, succeed};

/// Things of the user's, of other users of the machine's, and of the machine's, and a script that tries each.
struct Trap {
    world: World,
    script: String,
    variables: Vec<(&'static str, String)>,
    _listeners: (TcpListener, UnixListener, UnixListener, UnixListener),
}

/// What a build may not come by in any step.
const NEVER: &[&str] = &[
    "home",
    "ssh-key",
    "agent",
    "session-bus",
    "docker",
    "environment",
    "abstract-socket",
    "other-project",
    "write-project",
    "other-processes",
    "user-namespace",
    "runtime-folder",
];
/// What only the pull step may.
const FETCHING: &[&str] = &["network", "interfaces"];

impl Trap {
    fn new() -> Trap {
        let world = World::with_key();
        world.write("secret", "of the user");
        world.write(".ssh/id_test", "key");
        world.write("other/pack.yaml", "another project");
        let socket = |name: &str| {
            let path = world.path("run").join(name);
            let listener = UnixListener::bind(&path).unwrap();
            own(&path);
            listener
        };
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let abstract_name = format!("pack-test-{}", tcp.local_addr().unwrap().port());
        let address = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let listeners = (tcp, socket("agent"), socket("bus"), UnixListener::bind_addr(&address).unwrap());
        let run = world.path("run").display().to_string();
        let variables = vec![
            ("SSH_AUTH_SOCK", format!("{run}/agent")),
            ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={run}/bus")),
            ("DOCKER_HOST", format!("unix://{run}/bus")),
            ("SECRET_TOKEN", "secret".to_owned()),
        ];
        let script = format!(
            r#"#!/bin/bash
project=${{PACK_PROJECT_DIR:-{home}/tool}}
try() {{ local what=$1; shift; if ( "$@" ) > /dev/null 2>&1; then echo "$what"; fi; }}
unix() {{ perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => $ARGV[0])' "$1"; }}
try home cat {home}/secret
try ssh-key cat {home}/.ssh/id_test
try agent unix {run}/agent
try session-bus unix {run}/bus
try docker test -n "$DOCKER_HOST"
try environment test -n "$SSH_AUTH_SOCK$DBUS_SESSION_BUS_ADDRESS$SECRET_TOKEN"
try abstract-socket perl -MIO::Socket::UNIX -e 'exit !IO::Socket::UNIX->new(Peer => "\0{abstract_name}")'
try other-project cat {home}/other/pack.yaml
try write-project eval "echo '# more' >> \"$project/pack.yaml\""
try other-processes ls /proc/{own}/status
try user-namespace unshare --user true
try runtime-folder ls {run}
try network eval 'exec 3<> /dev/tcp/127.0.0.1/{port}'
try interfaces eval 'tail -n +3 /proc/net/dev | grep -v " lo:"'
"#,
            home = world.path("home").display(),
            own = std::process::id(),
            port = listeners.0.local_addr().unwrap().port(),
        );
        let project = "name: tool\nversion: '1'\nbase: host\n\
            apps: {tool: {command: bin/tool, plugs: [home, network, network-bind, desktop, docker, ssh-agent, ssh-keys]}}\n\
            parts:\n  tool:\n    plugin: nil\n    source: files\n";
        let mut manifest = project.to_owned();
        for step in ["pull", "build", "stage", "prime"] {
            // The app's command is there, as the look at the files before packing wants it.
            let default = match step {
                "build" => "install -D -m 755 /build/project/probe.sh $PACK_PART_INSTALL/bin/tool",
                _ => "craftctl default",
            };
            manifest +=
                &format!("    override-{step}: |\n      {default}\n      bash /build/project/probe.sh\n");
        }
        world.write("tool/pack.yaml", manifest);
        world.write("tool/files/text", "text");
        world.write("tool/probe.sh", &script);
        Trap { world, script, variables, _listeners: listeners }
    }

    fn log(&self, step: &str) -> Vec<String> {
        let path = self.world.home(&format!("tool/.pack/parts/tool/{step}.log"));
        fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }
}

#[test]
fn cve_2022_21682_a_build_has_nothing_that_the_app_asks_for() {
    let trap = Trap::new();
    // What the script tries can be had where nothing is confined: else this test could not fail.
    let mut outside = trap.world.command("bash");
    outside.arg("-c").arg(&trap.script).envs(trap.variables.clone());
    let found = support::out(&succeed(outside));
    for what in NEVER.iter().chain(FETCHING) {
        let is_there = found.lines().any(|line| line == *what);
        // A machine may have no other interface, and a container no user namespaces to give.
        assert!(is_there || ["interfaces", "user-namespace"].contains(what), "{what}: {found}");
    }
    let before = fs::read_to_string(trap.world.home("tool/pack.yaml")).unwrap();
    let mut build = trap.world.pack(["build", "-q", "tool"]);
    build.envs(trap.variables.clone());
    succeed(build);
    for step in ["pull", "build", "stage", "prime"] {
        let log = trap.log(step);
        for what in NEVER {
            assert!(!log.iter().any(|line| line == what), "{step} found {what}: {log:?}");
        }
        for what in FETCHING.iter().filter(|_| step != "pull") {
            assert!(!log.iter().any(|line| line == what), "{step} found {what}: {log:?}");
        }
    }
    assert!(trap.log("pull").contains(&"network".to_owned()), "{:?}", trap.log("pull"));
    assert_eq!(fs::read_to_string(trap.world.home("tool/pack.yaml")).unwrap(), before);
}

/// A project of one part with these scripts.
fn project(world: &World, folder: &str, scripts: &[(&str, &str)]) {
    let mut manifest =
        "name: tool\nversion: '1'\nbase: host\nparts:\n  tool:\n    plugin: nil\n    source: files\n"
            .to_owned();
    for (step, script) in scripts {
        manifest += &format!("    override-{step}: |\n");
        manifest.extend(script.lines().map(|line| format!("      {line}\n")));
    }
    world.write(&format!("{folder}/pack.yaml"), manifest);
    world.write(&format!("{folder}/files/text"), "text");
}

#[test]
fn each_step_writes_where_it_may_and_nowhere_else() {
    let world = World::with_key();
    let probe = "for folder in project parts/tool/src parts/tool/fetched parts/tool/build parts/tool/install parts/tool/home \
         parts/tool/tmp stage prime /usr /etc /; do\n\
         ( cd /build && touch $folder/written && rm $folder/written ) 2> /dev/null && echo $folder\ndone\n\
         ls -A /build/project";
    let scripts: Vec<(&str, String)> = ["pull", "build", "stage", "prime"]
        .into_iter()
        .map(|step| {
            (step, if step == "pull" { format!("craftctl default\n{probe}") } else { probe.to_owned() })
        })
        .collect();
    let scripts: Vec<(&str, &str)> = scripts.iter().map(|(step, script)| (*step, script.as_str())).collect();
    project(&world, "tool", &scripts);
    succeed(world.pack(["build", "-q", "tool"]));
    for (step, expected) in [
        ("pull", "parts/tool/src parts/tool/fetched parts/tool/home parts/tool/tmp"),
        ("build", "parts/tool/build parts/tool/install parts/tool/home parts/tool/tmp"),
        ("stage", "parts/tool/tmp stage"),
        ("prime", "parts/tool/tmp prime"),
    ] {
        let log = fs::read_to_string(world.home(&format!("tool/.pack/parts/tool/{step}.log"))).unwrap();
        let words: Vec<&str> = log.lines().collect();
        // What builds make is not shown a second time: the folder is there, and empty.
        assert_eq!(words.join(" "), format!("{expected} .pack files pack.yaml"), "{step}");
    }
}

#[test]
fn a_build_does_not_depend_on_its_folder_its_user_or_its_machine() {
    let world = World::with_key();
    let script = "{ pwd; id; hostname; env | sort; cat /etc/passwd /etc/hosts /proc/sys/kernel/hostname; } > \
                  $PACK_PART_INSTALL/about\nls -la /build /etc/ssl > /dev/null";
    project(&world, "one", &[("build", script)]);
    project(&world, "deep/er/two", &[("build", script)]);
    let build = |folder: &str, output: &str| {
        let mut command = world.pack(["build", "-q", folder, "-o", output]);
        command.env("LANG", "de_DE.UTF-8").env("USER", folder).env("TZ", folder).env("SECRET", folder);
        succeed(command);
        fs::read(world.home(output)).unwrap()
    };
    assert!(build("one", "one.pkg") == build("deep/er/two", "two.pkg"), "two builds differ");
    let about = fs::read_to_string(world.home("one/.pack/prime/about")).unwrap();
    assert!(about.starts_with("/build/parts/tool/build\nuid=1000(builder) gid=1000(builder)"), "{about}");
    if is_root() {
        // In a bare container nobody else is there: the bytes are the same.
        let mut command = Command::new(pack_binary());
        command.args(["build", "-q", "one", "-o", "root.pkg", "--key", "tester"]).current_dir(world.home(""));
        succeed({
            command.env_clear().envs(world.environment());
            command
        });
        assert!(fs::read(world.home("root.pkg")).unwrap() == fs::read(world.home("one.pkg")).unwrap());
    }
}

#[test]
fn temporary_files_are_on_the_disk_and_gone_afterwards() {
    let world = World::with_key();
    let script = "test $(stat -c %d $TMPDIR) = $(stat -c %d $PACK_PART_INSTALL)\n\
                  test $(stat -c %d /tmp) != $(stat -c %d $PACK_PART_INSTALL)\n\
                  mkdir -p $TMPDIR/a/b && touch $TMPDIR/a/b/c && chmod 500 $TMPDIR/a/b";
    project(&world, "tool", &[("build", script)]);
    succeed(world.pack(["build", "-q", "tool"]));
    assert_eq!(fs::read_dir(world.home("tool/.pack/parts/tool/tmp")).unwrap().count(), 0);
}

/// Process ids of processes whose command line has these words in it.
fn running(words: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(words) {
            found.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn nothing_is_left_running_when_a_build_is_ended() {
    for signal in ["INT", "TERM", "KILL"] {
        let world = World::with_key();
        let mark = format!("pack-test-{}-{signal}", std::process::id());
        // A daemon of the script's own, in a session of its own, is ended too.
        let script =
            format!("setsid -f bash -c 'exec -a {mark}-daemon sleep 1000'\nexec -a {mark} sleep 1000");
        project(&world, "tool", &[("build", &script)]);
        let mut build = world.pack(["build", "-q", "tool"]);
        build.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut build = build.spawn().unwrap();
        eventually("the script's start", || running(&mark).len() >= 2);
        let mut kill = Command::new("kill");
        // A terminal signals the whole group; whoever kills means the one process.
        let target = if signal == "INT" { format!("-{}", build.id()) } else { build.id().to_string() };
        kill.args(["-s", signal, "--", &target]);
        succeed(kill);
        build.wait().unwrap();
        eventually("the end of all of it", || running(&mark).is_empty());
        // The next build is not in its way.
        project(&world, "tool", &[("build", "touch $PACK_PART_INSTALL/done")]);
        succeed(world.pack(["build", "-q", "tool"]));
        assert!(world.home("tool/.pack/prime/done").exists());
    }
}

#[test]
fn what_a_script_leaves_behind_does_not_outlive_its_step() {
    let world = World::with_key();
    let mark = format!("pack-test-{}-left", std::process::id());
    let script = format!("setsid -f bash -c 'exec -a {mark} sleep 1000'");
    project(&world, "tool", &[("build", &script)]);
    succeed(world.pack(["build", "-q", "tool"]));
    assert_eq!(running(&mark), [""; 0]);
}

#[test]
fn statuses_and_refusals_are_told() {
    let world = World::with_key();
    for (script, words) in [
        ("exit 125", "override-build ended with exit status: 125"),
        ("kill -KILL $$", "override-build ended with exit status: 137"),
        ("touch $PACK_PROJECT_DIR/x", "Read-only file system"),
        ("unshare --mount true", "pack: the sandbox refused this command"),
    ] {
        project(&world, "tool", &[("build", script)]);
        let said = err(&fail(world.pack(["build", "-q", "tool"]), 1));
        assert!(said.contains(words), "{script}: {said}");
    }
}

#[test]
fn without_sandboxes_nothing_is_built() {
    let world = World::with_key();
    project(&world, "tool", &[("build", "touch $PACK_PART_INSTALL/built")]);
    // A user namespace in which no further one can be made.
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" build -q tool";
    let mut build = world.command("unshare");
    build.args(["--user", "--map-root-user", "sh", "-c", script]).arg(pack_binary());
    let said = err(&fail(build, 1));
    assert!(said.contains("the sandbox of the step cannot be made"), "{said}");
    assert!(said.contains("hint: ") && said.contains("pack doctor"), "{said}");
    assert!(!world.home("tool/.pack/parts/tool/install/built").exists());
}

#[test]
fn links_that_a_script_plants_lead_pack_nowhere() {
    let world = World::with_key();
    world.write("precious", "kept");
    let target = world.path("home").join("precious").display().to_string();
    // What pack writes for the next script of the part is where this one could write.
    let plant = format!(
        "cd $PACK_CONTROL\nfor name in prelude override-stage request reply; do rm -f $name; ln -s {target} $name; done\n\
         rm -rf $TMPDIR/x && ln -s {target} $TMPDIR/x"
    );
    project(&world, "tool", &[("build", &plant), ("stage", "craftctl default")]);
    succeed(world.pack(["build", "-q", "tool"]));
    assert_eq!(fs::read_to_string(world.home("precious")).unwrap(), "kept");
}

#[test]
fn the_home_folder_is_no_project() {
    let world = World::with_key();
    world.write("pack.yaml", "name: tool\nversion: '1'\nbase: host\nparts: {tool: {plugin: nil}}\n");
    let said = err(&fail(world.pack(["build", "-q", "."]), 1));
    assert!(said.contains("it has your home folder in it") && said.contains("hint: "), "{said}");
    assert!(!world.home(".pack").exists());
}
