//! What an app reaches on message buses: a real bus, real services, and clients inside that try.

#[path = "support/session.rs"]
mod session;
mod support;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use session::{Running, Session, call, install_runner, resource};
use support::{World, err, eventually, fail, out, succeed};

fn install(world: &World, apps: &[(&str, &str)], rest: &str) {
    install_runner(world, "bus", apps, rest);
}

/// Starts tests/bus/service.py with these names, and waits until it has them.
fn serve(session: &Session<'_>, names: &[&str]) -> Running {
    let script = session.copy(&resource("service.py"));
    let arguments = [&[script.as_str(), "session"], names].concat();
    let running = session.spawn("/usr/bin/python3", &arguments);
    names.iter().for_each(|name| session.wait_for_name(name));
    running
}

fn run(world: &World, app: &str, script: &str) -> Command {
    world.pack(["run", &format!("bus.{app}"), script])
}

/// What a script prints in the sandbox of an app, standard error as well.
#[track_caller]
fn inside(world: &World, app: &str, script: &str) -> String {
    let output = run(world, app, script).output().unwrap();
    out(&output) + &err(&output)
}

const BUS: &str = "org.freedesktop.DBus";

/// A call of the bus itself.
fn call_bus(method: &str, argument: &str) -> String {
    call("session", BUS, "/org/freedesktop/DBus", &format!("{BUS}.{method} {argument}"))
}

#[track_caller]
fn assert_refused(told: &str) {
    let refused = ["ServiceUnknown", "AccessDenied", "NameHasNoOwner"];
    assert!(refused.iter().any(|error| told.contains(error)) && !told.contains("answered"), "{told}");
}

#[test]
fn an_app_without_plugs_has_no_bus() {
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    install(&world, &[("plain", "plugs: []")], "");
    let shown = inside(
        &world,
        "plain",
        "ls -A $XDG_RUNTIME_DIR; echo \"<$DBUS_SESSION_BUS_ADDRESS>\"; ls -d /.flatpak-info /run/dbus",
    );
    assert!(shown.contains("<>") && !shown.contains("bus\n"), "{shown}");
    assert!(shown.contains("cannot access '/.flatpak-info'"), "{shown}");
    assert!(shown.contains("cannot access '/run/dbus'"), "{shown}");
}

#[test]
fn names_are_listed_only_where_a_rule_shows_them() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let _service = serve(&session, &["org.example.Hidden", "org.freedesktop.ScreenSaver"]);
    let all = out(&succeed(session.command("sh", &["-c", &call_bus("ListActivatableNames", "")])));
    assert!(all.contains("org.a11y.Bus") && all.contains("ca.desrt.dconf"), "{all}");
    let names = inside(&world, "inhibit", &call_bus("ListNames", ""));
    assert!(names.contains("'org.freedesktop.DBus'") && names.contains("ScreenSaver"), "{names}");
    assert!(!names.contains("org.example"), "{names}");
    let names = inside(&world, "inhibit", &call_bus("ListActivatableNames", ""));
    for hidden in ["org.a11y.Bus", "ca.desrt.dconf", "portal"] {
        assert!(!names.contains(hidden), "{hidden}: {names}");
    }
    assert_refused(&inside(&world, "inhibit", &call_bus("GetNameOwner", "org.example.Hidden")));
    assert_refused(&inside(&world, "inhibit", &call_bus("GetConnectionUnixProcessID", "org.example.Hidden")));
}

#[test]
fn nothing_that_starts_programs_or_keeps_settings_is_reached() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, &[("player", "slots: [mpris]"), ("inhibit", "plugs: [screen-inhibit-control]")], "");
    let targets = [
        (
            "org.freedesktop.systemd1",
            "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager.StartTransientUnit",
        ),
        (
            "org.freedesktop.Flatpak",
            "/org/freedesktop/Flatpak",
            "org.freedesktop.Flatpak.Development.HostCommand",
        ),
        ("ca.desrt.dconf", "/ca/desrt/dconf/Writer/user", "ca.desrt.dconf.Writer.Init"),
        (
            "org.freedesktop.portal.Desktop",
            "/org/freedesktop/portal/desktop",
            "org.freedesktop.portal.OpenURI.OpenURI",
        ),
        (
            "org.freedesktop.portal.Documents",
            "/org/freedesktop/portal/documents",
            "org.freedesktop.portal.Documents.GetMountPoint",
        ),
        (
            "org.freedesktop.impl.portal.PermissionStore",
            "/org/freedesktop/impl/portal/PermissionStore",
            "org.freedesktop.impl.portal.PermissionStore.Set",
        ),
        ("org.freedesktop.secrets", "/org/freedesktop/secrets", "org.freedesktop.Secret.Service.OpenSession"),
        ("org.gnome.Shell", "/org/gnome/Shell", "org.gnome.Shell.Eval"),
    ];
    let names = targets.map(|(name, ..)| name);
    let _service = serve(&session, &names);
    for (name, path, method) in targets {
        let told = out(&succeed(session.command("sh", &["-c", &call("session", name, path, method)])));
        assert!(told.contains("answered"), "{name}: {told}");
        for app in ["player", "inhibit"] {
            assert_refused(&inside(&world, app, &call("session", name, path, method)));
            // By the number of the connection too.
            let owner = out(&succeed(session.command("sh", &["-c", &call_bus("GetNameOwner", name)])));
            let owner = owner.trim().trim_start_matches("('").trim_end_matches("',)");
            assert!(owner.starts_with(':'), "{owner}");
            assert_refused(&inside(&world, app, &call("session", owner, path, method)));
        }
    }
}

#[test]
fn a_rule_for_a_method_gives_no_other_method_and_no_other_object() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let name = "org.freedesktop.ScreenSaver";
    let _service = serve(&session, &[name, "org.gnome.SessionManager"]);
    let told = inside(
        &world,
        "inhibit",
        &call("session", name, "/ScreenSaver", &format!("{name}.Inhibit app reason")),
    );
    assert!(told.contains("answered org.freedesktop.ScreenSaver.Inhibit"), "{told}");
    for method in ["Lock", "SetActive", "InhibitX", "Inhibi"] {
        assert_refused(&inside(
            &world,
            "inhibit",
            &call("session", name, "/ScreenSaver", &format!("{name}.{method}")),
        ));
    }
    assert_refused(&inside(
        &world,
        "inhibit",
        &call("session", "org.gnome.SessionManager", "/a", "org.gnome.SessionManager.Logout 0"),
    ));
    assert_refused(&inside(
        &world,
        "inhibit",
        &call("session", name, "/ScreenSaver", "org.other.Interface.Inhibit"),
    ));
}

#[test]
fn only_a_granted_name_can_be_taken() {
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    install(&world, &[("player", "slots: [mpris]"), ("inhibit", "plugs: [screen-inhibit-control]")], "");
    for (app, name, granted) in [
        ("player", "org.mpris.MediaPlayer2.bus", true),
        ("player", "org.mpris.MediaPlayer2.bus.instance7", true),
        ("player", "org.mpris.MediaPlayer2.other", false),
        ("player", "org.mpris.MediaPlayer2", false),
        ("player", "pack.app.other", false),
        ("inhibit", "org.freedesktop.ScreenSaver", false),
        ("inhibit", "org.freedesktop.Notifications", false),
    ] {
        let told = inside(&world, app, &call_bus("RequestName", &format!("{name} 4")));
        match granted {
            true => assert!(told.contains("uint32 1"), "{name}: {told}"),
            false => assert_refused(&told),
        }
    }
    assert_refused(&inside(&world, "inhibit", &call_bus("UpdateActivationEnvironment", "\"{'A': 'b'}\"")));
}

#[test]
fn eavesdropping_is_refused_however_it_is_asked_for() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let rules = [
        "eavesdrop=true",
        "eavesdrop ='true'",
        "type='signal',eavesdrop = true",
        "eavesdrop='true',type='method_call'",
        " eavesdrop\t=true",
    ];
    let rules: String = rules.iter().map(|rule| format!(" \"{rule}\"")).collect();
    let mut app = run(&world, "inhibit", &format!("/usr/bin/python3 /app/listen.py{rules}"));
    let mut app = app.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines().map(Result::unwrap);
    let before: Vec<String> = lines.by_ref().take_while(|line| line != "listening").collect();
    assert!(before.contains(&"accepted type='signal'".to_owned()), "{before:?}");
    let _service = serve(&session, &["org.example.Secret"]);
    session.run(
        "sh",
        &[
            "-c",
            &call("session", "org.example.Secret", "/a", "org.example.Secret.Emit /s org.example.I Whisper"),
        ],
    );
    let after: Vec<String> = lines.collect();
    assert!(after.contains(&"end".to_owned()), "{after:?}");
    assert!(!after.iter().any(|line| line.contains("example")), "{before:?} {after:?}");
    app.wait().unwrap();
    let told = inside(
        &world,
        "inhibit",
        "timeout 3 dbus-monitor --session; timeout 3 dbus-monitor --session eavesdrop=true",
    );
    assert!(!told.contains("member=Hello"), "{told}");
    assert_refused(&inside(
        &world,
        "inhibit",
        &call(
            "session",
            BUS,
            "/org/freedesktop/DBus",
            "org.freedesktop.DBus.Monitoring.BecomeMonitor '[]' 0",
        ),
    ));
}

#[test]
fn ghsa_r7hp_698j_2h6c_a_signal_of_a_name_without_a_rule_does_not_arrive() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, &[("desktop", "plugs: [desktop]")], "");
    let _granted = serve(&session, &["org.freedesktop.Notifications"]);
    let _other = serve(&session, &["org.example.Other"]);
    let mut app = run(&world, "desktop", "/usr/bin/python3 /app/listen.py");
    let mut app = app.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line == "listening"));
    for (name, signal) in [
        ("org.freedesktop.Notifications", "org.freedesktop.Notifications ActionInvoked"),
        ("org.example.Other", "org.freedesktop.Notifications NotificationClosed"),
        ("org.freedesktop.Notifications", "org.example.Other Whisper"),
    ] {
        session.run("sh", &["-c", &call("session", name, "/a", &format!("org.example.I.Emit /a {signal}"))]);
    }
    let got: Vec<String> = lines.collect();
    assert!(got.iter().any(|line| line.contains("ActionInvoked")), "{got:?}");
    assert!(
        !got.iter().any(|line| line.contains("NotificationClosed") || line.contains("Whisper")),
        "{got:?}"
    );
    app.wait().unwrap();
}

#[test]
fn cve_2018_6560_white_space_while_authenticating_does_not_end_the_filter() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let _service = serve(&session, &["org.example.Secret", "org.freedesktop.ScreenSaver"]);
    let told = inside(
        &world,
        "inhibit",
        "/usr/bin/python3 /app/authenticate.py org.example.Secret /a org.example.Secret Tell",
    );
    assert_eq!(told.lines().count(), 26, "{told}");
    assert!(!told.contains("answered"), "{told}");
    // That the script can get an answer at all shows that it would have told one.
    let told = inside(
        &world,
        "inhibit",
        "/usr/bin/python3 /app/authenticate.py org.freedesktop.ScreenSaver /a org.freedesktop.ScreenSaver Inhibit",
    );
    assert!(told.contains("b'BEGIN\\r\\n' False answered"), "{told}");
}

#[test]
fn a_player_is_controlled_by_who_may() {
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    install(
        &world,
        &[
            ("player", "slots: [mpris]"),
            ("remote", "plugs: [remote]"),
            ("inhibit", "plugs: [screen-inhibit-control]"),
        ],
        "plugs: {remote: {interface: mpris}}\n",
    );
    succeed(world.pack(["connect", "bus:remote"]));
    let mut player =
        run(&world, "player", "exec /usr/bin/python3 /app/service.py session org.mpris.MediaPlayer2.bus");
    let _player = Running(player.spawn().unwrap());
    let pause = call(
        "session",
        "org.mpris.MediaPlayer2.bus",
        "/org/mpris/MediaPlayer2",
        "org.mpris.MediaPlayer2.Player.Pause",
    );
    eventually("the player", || {
        inside(&world, "remote", &pause).contains("answered org.mpris.MediaPlayer2.Player.Pause")
    });
    assert_refused(&inside(&world, "inhibit", &pause));
}

#[test]
fn a_service_of_an_app_is_used_by_who_may() {
    let world = World::with_key();
    let mut session = Session::start(&world, &[]);
    session.start_system_bus();
    let name = |bus: &str| format!("{{interface: dbus, bus: {bus}, name: org.example.Answers}}");
    let rest = format!(
        "plugs: {{ask: {}, ask-system: {}}}\nslots: {{answer: {}, answer-system: {}}}\n",
        name("session"),
        name("system"),
        name("session"),
        name("system"),
    );
    install(
        &world,
        &[
            ("asks", "plugs: [ask]"),
            ("answers", "slots: [answer]"),
            ("asks-system", "plugs: [ask-system]"),
            ("answers-system", "slots: [answer-system]"),
            ("other", "plugs: [screen-inhibit-control]"),
        ],
        &rest,
    );
    for plug in ["ask", "ask-system", "answer", "answer-system"] {
        succeed(world.pack(["connect", &format!("bus:{plug}")]));
    }
    for (bus, asks, answers) in [("session", "asks", "answers"), ("system", "asks-system", "answers-system")]
    {
        let serve = format!("exec /usr/bin/python3 /app/service.py {bus} org.example.Answers");
        let _service = Running(session.run_app(&format!("bus.{answers}"), &serve).spawn().unwrap());
        let ask = call(bus, "org.example.Answers", "/a", "org.example.I.Ask");
        let told = |app: &str| {
            let output = session.run_app(&format!("bus.{app}"), &ask).output().unwrap();
            out(&output) + &err(&output)
        };
        eventually("the service", || told(asks).contains("answered org.example.I.Ask"));
        let other = told("other");
        match bus {
            "session" => assert_refused(&other),
            _ => assert!(!other.contains("answered") && other.contains("No such file"), "{other}"),
        }
    }
}

#[test]
fn the_filter_has_no_right_and_ends_with_the_app() {
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let instances = || {
        let entries = std::fs::read_dir(world.path("run/.flatpak")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
    };
    for signal in ["TERM", "KILL"] {
        let mut app =
            run(&world, "inhibit", "echo started; exec sleep 100").stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(app.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        let filters = filters_of(app.id());
        assert_eq!(filters.len(), 1, "{filters:?}");
        let status = std::fs::read_to_string(format!("/proc/{}/status", filters[0])).unwrap();
        for line in [
            "CapEff:\t0000000000000000",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t0000000000000000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        let root = PathBuf::from(format!("/proc/{}/root", filters[0]));
        for hidden in ["home", "proc", "dev", "tmp", "etc/passwd", "var"] {
            assert!(!root.join(hidden).exists(), "{hidden}");
        }
        let info = std::fs::read_to_string(root.join(".flatpak-info")).unwrap();
        assert!(info.starts_with("[Application]\nname=pack.app.bus\n"), "{info}");
        assert!(
            std::fs::write(root.join(".flatpak-info"), "x").is_err()
                && std::fs::write(root.join("usr/x"), "x").is_err()
        );
        let folder = instances();
        assert_eq!(folder.len(), 1, "{folder:?}");
        let process = std::fs::read_to_string(folder[0].join("bwrapinfo.json")).unwrap();
        eventually("the app's own process", || {
            let process = std::fs::read_to_string(folder[0].join("bwrapinfo.json")).unwrap();
            let number = process.trim_start_matches("{\"child-pid\": ").trim_end().trim_end_matches('}');
            std::fs::read(format!("/proc/{number}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"))
        });
        assert!(process.starts_with("{\"child-pid\": "), "{process}");
        succeed({
            let mut kill = Command::new("kill");
            kill.args(["-s", signal, &app.id().to_string()]);
            kill
        });
        app.wait().unwrap();
        eventually("the end of the filter", || {
            !PathBuf::from(format!("/proc/{}/root/usr", filters[0])).exists()
        });
        assert_eq!(instances().len(), usize::from(signal == "KILL"), "{signal}");
    }
    // The next launch takes the leftover of the one that was killed away.
    succeed(run(&world, "inhibit", "true"));
    assert_eq!(instances(), Vec::<PathBuf>::new());
}

/// The processes that the launcher has started and that run xdg-dbus-proxy.
fn filters_of(launcher: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap();
    let is_filter = |pid: &&str| {
        std::fs::read_to_string(format!("/proc/{pid}/comm"))
            .is_ok_and(|name| name.starts_with("xdg-dbus-proxy"))
    };
    children.split_whitespace().filter(is_filter).map(str::to_owned).collect()
}

#[test]
fn an_app_inside_can_reach_neither_the_filter_nor_the_bus_behind_it() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    let _service = serve(&session, &["org.example.Secret"]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let told = inside(
        &world,
        "inhibit",
        "ls -A / $XDG_RUNTIME_DIR; pgrep -a xdg-dbus; mount | grep -c session; rm -f $XDG_RUNTIME_DIR/bus && echo removed; \
         echo x > /.flatpak-info && echo forged; true",
    );
    for bad in ["removed", "forged", ".buses", "xdg-dbus-proxy", "upstream"] {
        assert!(!told.contains(bad), "{bad}: {told}");
    }
    assert!(told.contains("bus"), "{told}");
}

#[test]
fn a_host_without_a_session_bus_runs_the_app_without_one() {
    let world = World::with_key();
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    for address in ["", "tcp:host=localhost,port=1", "unixexec:path=/bin/true", "unix:path=/nowhere/bus"] {
        let mut launch = run(&world, "inhibit", "echo runs; ls $XDG_RUNTIME_DIR/bus");
        launch.env("DBUS_SESSION_BUS_ADDRESS", address);
        let output = launch.output().unwrap();
        assert!(
            out(&output).contains("runs") && err(&output).contains("cannot access"),
            "{address}: {}",
            err(&output)
        );
    }
}

#[test]
fn a_bus_with_an_abstract_name_is_filtered_too() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    let name = format!("pack-test-{}-{}", std::process::id(), world.path("x").display());
    let _abstract = session.spawn(
        "dbus-daemon",
        &["--session", "--nofork", "--nopidfile", &format!("--address=unix:abstract={name}")],
    );
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let names = || {
        let mut launch = run(&world, "inhibit", &call_bus("ListNames", ""));
        launch.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:abstract={name}"));
        let output = launch.output().unwrap();
        out(&output) + &err(&output)
    };
    eventually("the bus", || names().contains("'org.freedesktop.DBus'"));
}

/// Runs `pack run` in a mount namespace where something else lies over the filter's program.
fn with_filter(world: &World, other: &str, script: &str) -> Command {
    let inner = run(world, "inhibit", script);
    let mut command = Command::new("unshare");
    let prepare = format!("mount --bind {other} /usr/bin/xdg-dbus-proxy; exec \"$@\"");
    command.args(["--mount", "sh", "-c", &prepare, "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(world.environment()).current_dir(world.path("home"));
    command
}

#[test]
fn without_a_filter_that_works_an_app_with_a_bus_is_not_started() {
    if !support::is_root() {
        return support::skip("a host without xdg-dbus-proxy is made by root");
    }
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]"), ("plain", "plugs: []")], "");
    let told = err(&fail(with_filter(&world, "/dev/null", "echo started"), 125));
    for wanted in
        ["xdg-dbus-proxy, which filters", "is not installed", "install xdg-dbus-proxy", "pack doctor"]
    {
        assert!(told.contains(wanted), "{wanted}: {told}");
    }
    let output = with_filter(&world, "/bin/true", "echo started").output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{}", err(&output));
    assert!(
        err(&output).contains("cannot start the filter of the message buses")
            && !out(&output).contains("started"),
        "{}",
        err(&output)
    );
    let broken = world.write_program("broken", "no program");
    let output = with_filter(&world, broken.to_str().unwrap(), "echo started").output().unwrap();
    assert!(err(&output).contains("cannot run `/usr/bin/xdg-dbus-proxy`"), "{}", err(&output));
    assert!(std::fs::read_dir(world.path("run/.flatpak")).unwrap().next().is_none());
}

#[test]
fn a_filter_that_does_not_get_ready_is_not_waited_for_without_end() {
    if !support::is_root() {
        return support::skip("a filter that hangs is put in its place by root");
    }
    let world = World::with_key();
    let _session = Session::start(&world, &[]);
    install(&world, &[("inhibit", "plugs: [screen-inhibit-control]")], "");
    let stuck = world.write_program("stuck", "#!/bin/sh\nexec sleep 100\n");
    let begun = std::time::Instant::now();
    let output = with_filter(&world, stuck.to_str().unwrap(), "echo started").output().unwrap();
    let told = err(&output);
    assert!(
        told.contains("cannot start the filter of the message buses") && told.contains("timed out"),
        "{told}"
    );
    assert!(begun.elapsed() < std::time::Duration::from_secs(30) && out(&output).is_empty(), "{told}");
    // It does not outlive the launcher either.
    let left = || {
        let mark = format!("XDG_RUNTIME_DIR={}", world.path("run").display());
        std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
            let path = entry.path();
            let environment = std::fs::read(path.join("environ")).unwrap_or_default();
            std::fs::read(path.join("comm")).is_ok_and(|name| name == b"sleep\n")
                && String::from_utf8_lossy(&environment).contains(&mark)
        })
    };
    eventually("the end of the filter", || !left());
}
