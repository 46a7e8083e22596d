//! Keys of apps, services, hooks, layouts and epochs as packagers write them: what is read, and where and how an error is told.

use pack_schemas::manifest::service::{Daemon, RefreshMode, RestartCondition, StopMode};
use pack_schemas::manifest::{Confinement, HookName, Manifest, ManifestError, OwnRoot};

/// What every manifest needs: three lines.
const LEAST: &str = "name: hello\nversion: \"1.0\"\nbase: host\n";

fn with(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::from_yaml(format!("{LEAST}{text}").as_bytes())
}

/// An app with more keys, each on a line of its own from line 6 on.
fn app(keys: &str) -> String {
    let keys: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("apps:\n  web:\n    command: bin/web\n{keys}")
}

#[track_caller]
fn assert_error(text: &str, place: (usize, usize), words: &str) {
    let error = with(text).expect_err(text);
    let told = format!("{text}\n→ {error:?}");
    assert!(error.message.contains(words), "words: {told}");
    assert_eq!((error.line, error.column), (place.0 + 3, place.1), "{told}");
}

#[test]
fn a_whole_service_is_read() {
    let manifest = with(
        "confinement: devmode
epoch: 2*
apps:
  web:
    command: bin/web
    command-chain: [bin/prepare, bin/as-service]
    aliases: [webd, web_2.0]
    common-id: org.example.Web
    autostart: web.desktop
    plugs: [network-bind]
    daemon: notify
    stop-command: bin/web --stop
    reload-command: bin/web -s reload
    post-stop-command: bin/clean
    stop-timeout: 1m30s
    start-timeout: 500ms
    watchdog-timeout: 10s
    restart-condition: on-abnormal
    restart-delay: 2s
    refresh-mode: endure
    stop-mode: sighup-all
    success-exit-status: [3, 42]
    after: [cache]
    timer: mon-fri,10:00-12:00/2
    bus-name: org.example.Web
    sockets:
      http: {listen-stream: 8080}
      local: {listen-stream: $XDG_RUNTIME_DIR/web.sock, socket-mode: 0600}
    health: {command: bin/check --quick, interval: 10s, timeout: 1s, retries: 5}
    limits: {memory: 512M}
  cache: {command: bin/cache, daemon: simple, before: [last]}
  last: {command: bin/last, daemon: oneshot}
layout:
  /usr/share/web: {bind: $PACK/usr/share/web}
  /etc/web.conf: {bind-file: $PACK_USER_COMMON/web.conf}
  /var/lib/web: {symlink: $PACK_USER_DATA/state}
  /var/cache/web: {type: tmpfs}
hooks:
  install:
  check-health: {plugs: [network], environment: {A: b}}
",
    )
    .unwrap();
    let web = &manifest.apps[&"web".parse().unwrap()];
    assert_eq!(manifest.confinement, Confinement::Devmode);
    assert_eq!(manifest.epoch.to_string(), "2*");
    assert_eq!(web.daemon, Some(Daemon::Notify));
    assert_eq!(web.restart_condition, Some(RestartCondition::OnAbnormal));
    assert_eq!(web.refresh_mode, Some(RefreshMode::Endure));
    assert_eq!(web.stop_mode, Some(StopMode::SighupAll));
    assert_eq!(web.stop_timeout.unwrap().duration().as_secs(), 90);
    assert_eq!(web.reload_command.as_ref().unwrap().arguments, ["-s", "reload"]);
    assert_eq!(web.sockets[&"local".parse().unwrap()].socket_mode.unwrap().bits(), 0o600);
    assert_eq!(web.timer.as_ref().unwrap().events()[0].times[0].count, 2);
    assert_eq!(manifest.layout["/etc/web.conf"].bind_file.as_ref().unwrap().root, OwnRoot::Common);
    assert_eq!(
        manifest.hooks.keys().copied().collect::<Vec<_>>(),
        [HookName::Install, HookName::CheckHealth]
    );
    assert_eq!(manifest.check(), Ok(()));
    let json = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
}

/// A manifest without the new keys is written as it was before there were any, so that packages keep their bytes.
#[test]
fn what_is_not_given_is_not_written() {
    let json = serde_json::to_string(&with("apps: {hello: {command: x}}\n").unwrap()).unwrap();
    assert!(
        !["daemon", "layout", "hooks", "epoch", "confinement", "null"].iter().any(|key| json.contains(key)),
        "{json}"
    );
    assert!(with("hooks:\n  install: {}\nlayout: {}\n").is_ok());
}

#[test]
fn keys_of_services_are_checked_where_they_stand() {
    for (keys, place, words) in [
        ("daemon: simpel", (4, 13), "`daemon` cannot be `simpel`"),
        ("stop-timeout: 10s", (4, 5), "`apps.web.stop-timeout` is for services"),
        ("timer: mon", (4, 5), "is for services: say which kind with `daemon`"),
        ("sockets: {a: {listen-stream: 80}}", (4, 5), "is for services"),
        ("daemon: simple\nstop-timeout: 10", (5, 19), "`stop-timeout` has to be text, and this is a number"),
        ("daemon: simple\nstop-timeout: 10d", (5, 19), "`10d` is no span of time"),
        ("daemon: simple\nrestart-delay: 0s", (5, 20), "no time at all"),
        ("daemon: simple\ntimer: monday", (5, 12), "`monday` is no time of a timer"),
        (
            "daemon: simple\nrestart-condition: on-failur",
            (5, 24),
            "`restart-condition` cannot be `on-failur`",
        ),
        ("daemon: simple\nrefresh-mode: ignore-running", (5, 19), "cannot be ignore-running for a service"),
        ("refresh-mode: endure", (4, 19), "ignore-running alone"),
        ("daemon: simple\nstop-mode: sigkill", (5, 16), "`stop-mode` cannot be `sigkill`"),
        ("daemon: simple\nsuccess-exit-status: [3, 256]", (5, 30), "256 is no exit status"),
        ("daemon: simple\nsuccess-exit-status: [0]", (5, 27), "0 is no exit status"),
        ("daemon: simple\nsuccess-exit-status: [a]", (5, 27), "has to be a whole number"),
        ("daemon: dbus", (4, 13), "is dbus, and there is no `bus-name`"),
        ("daemon: dbus\nbus-name: web", (5, 15), "`web` is no name on a bus"),
        ("daemon: simple\nstop-command: bin/web | cat", (5, 19), "no shell reads it"),
        ("daemon: simple\nstop-command: /bin/web", (5, 19), "not a path inside the package"),
        ("daemon: simple\nstop-command: 'bin/web  -x'", (5, 19), "one space between"),
        ("daemon: simple\nafter: [web]", (2, 3), "waits in a circle: web after web"),
        ("daemon: simple\nafter: [nobody]", (5, 13), "`nobody`, which is no service"),
        ("daemon: simple\nhealth: {interval: 1s}", (5, 5), "`health` has no `command`"),
        ("daemon: simple\nhealth: {command: a, retries: 0}", (5, 35), "0 is no number of bad answers"),
        ("daemon: simple\nhealth: {command: a, retry: 1}", (5, 26), "unknown key `retry`"),
        ("daemon: simple\nsockets: {a: {}}", (5, 15), "`a` has no `listen-stream`"),
        ("daemon: simple\nsockets: {a: {listen-stream: 0}}", (5, 34), "`0` is nothing to listen on"),
        ("daemon: simple\nsockets: {a: {listen-stream: 70000}}", (5, 34), "nothing to listen on"),
        ("daemon: simple\nsockets: {a: {listen-stream: 192.168.1.1:80}}", (5, 34), "nothing to listen on"),
        ("daemon: simple\nsockets: {a: {listen-stream: '@x'}}", (5, 34), "abstract socket"),
        ("daemon: simple\nsockets: {a: {listen-stream: /run/x.sock}}", (5, 34), "no place for a socket"),
        ("daemon: simple\nsockets: {a: {listen-stream: $SNAP_COMMON/x}}", (5, 34), "not snap's variables"),
        ("daemon: simple\nsockets: {a: {listen-stream: $PACK_USER_DATA/../x}}", (5, 34), "plain path"),
        ("daemon: simple\nsockets: {a: {listen-stream: 80, socket-mode: 600}}", (5, 51), "`600` is no mode"),
        (
            "daemon: simple\nsockets: {a: {listen-stream: 80, socket-mode: '1777'}}",
            (5, 51),
            "`1777` is no mode",
        ),
        ("daemon: simple\nsockets: {a: {listen-stream: [80]}}", (5, 34), "has to be a port"),
        ("daemon: simple\nsockets: {A: {listen-stream: 80}}", (5, 15), "name `A` is not valid"),
        ("command-chain: [bin/x, ../y]", (4, 28), "not a path inside the package"),
        ("command-chain: bin/x", (4, 20), "`command-chain` has to be a list"),
        ("aliases: [a/b]", (4, 15), "`a/b` is no name of a command"),
        ("aliases: [-x]", (4, 15), "no name of a command"),
        ("aliases: [hello.web]", (4, 15), "is a command of the package in any case"),
        ("aliases: [hello]", (4, 15), "is a command of the package in any case"),
        ("autostart: ../x.desktop", (4, 16), "no name of a desktop entry"),
        ("autostart: .desktop", (4, 16), "no name of a desktop entry"),
        ("autostart: x.sh", (4, 16), "no name of a desktop entry"),
        ("common-id: a/b", (4, 16), "no id of AppStream's"),
    ] {
        assert_error(&app(keys), place, words);
    }
    assert_error(
        "apps:\n  a: {command: x, aliases: [w]}\n  b: {command: x, aliases: [w]}\n",
        (3, 29),
        "is an alias of another app",
    );
    assert_error(
        "apps:\n  a: {command: x, daemon: simple, after: [b]}\n  b: {command: x, daemon: simple, after: [a]}\n",
        (2, 3),
        "waits in a circle: a after b after a",
    );
    assert_error(
        "apps:\n  a: {command: x, daemon: simple, before: [b]}\n  b: {command: x}\n",
        (2, 44),
        "which is no service of this package",
    );
    let many: Vec<String> = (0..17).map(|number| format!("a{number}")).collect();
    assert_error(&app(&format!("command-chain: [{}]", many.join(", "))), (4, 20), "more than 16 items");
    assert_error(&app(&format!("aliases: [{}]", many.join(", "))), (4, 14), "more than 16 items");
}

#[test]
fn unknown_words_name_the_nearest() {
    let error = with(&app("daemon: simpel")).unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `simple`?"));
    let error = with("hooks:\n  instal: {}\n").unwrap_err();
    assert_eq!((error.line, error.column), (5, 3));
    assert_eq!(error.message, "unknown key `instal`");
    assert_eq!(error.hint.as_deref(), Some("did you mean `install`?"));
    let error = with("confinement: strickt\n").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `strict`?"));
    let error = with("epoch: {raed: [1]}\n").unwrap_err();
    assert_eq!(error.hint.as_deref(), Some("did you mean `read`?"));
}

#[test]
fn layouts_are_checked_where_they_stand() {
    for (line, column, words) in [
        ("usr/x: {bind: $PACK/x}", 3, "has to be an absolute path"),
        ("/usr/../x: {bind: $PACK/x}", 3, "cannot have `.`, `..`"),
        ("/usr/x/: {bind: $PACK/x}", 3, "cannot have"),
        ("/: {bind: $PACK/x}", 3, "is made of the base and the package"),
        ("/usr: {bind: $PACK/x}", 3, "name something below it"),
        ("/proc/sys: {bind: $PACK/x}", 3, "/proc is the sandbox's own"),
        ("/sys: {bind: $PACK/x}", 3, "/sys is the sandbox's own"),
        ("/dev/shm/x: {bind: $PACK/x}", 3, "/dev is the sandbox's own"),
        ("/app/x: {bind: $PACK/x}", 3, "/app is the sandbox's own"),
        ("/run/user: {bind: $PACK/x}", 3, "/run is the sandbox's own"),
        ("/var/run/x: {bind: $PACK/x}", 3, "/var/run is the sandbox's own"),
        ("/tmp/x: {bind: $PACK/x}", 3, "/tmp is the sandbox's own"),
        ("/home/x: {type: tmpfs}", 3, "/home is the sandbox's own or the user's"),
        ("/.layers/x: {bind: $PACK/x}", 3, "a hidden name of the root folder"),
        ("/etc/passwd: {bind-file: $PACK/x}", 3, "a file that the sandbox makes itself"),
        ("/usr/lib/modules/x: {bind: $PACK/x}", 3, "/usr/lib/modules is the sandbox's own"),
        ("'/usr/a:b': {bind: $PACK/x}", 3, "a colon"),
        ("$PACK/x: {bind: $PACK/y}", 3, "let a part put"),
        ("\"/usr/a\\nb\": {bind: $PACK/y}", 3, "control character"),
        ("/usr/x: {}", 3, "has to have one of: bind, bind-file, symlink, type"),
        ("/usr/x: {bind: $PACK/x, symlink: $PACK/y}", 3, "has to have one of"),
        ("/usr/x: {bind: /etc}", 18, "neither in the package nor in the app's own data"),
        ("/usr/x: {bind: $SNAP/x}", 18, "a variable of snap's: write $PACK"),
        ("/usr/x: {symlink: ../../etc}", 21, "neither in the package"),
        ("/usr/x: {bind: $PACK_USER_DATA/../x}", 18, "go on with a plain path"),
        ("/usr/x: {type: overlay}", 18, "`type` cannot be `overlay`"),
        ("/usr/x: {bnd: $PACK/x}", 12, "unknown key `bnd`"),
        ("/usr/x: $PACK/x", 11, "`/usr/x` has to be a map of keys"),
        ("/usr/x:", 3, "`/usr/x` has no value"),
    ] {
        assert_error(&format!("layout:\n  {line}\n"), (2, column), words);
    }
    assert_error(
        "layout:\n  /opt/a/b: {bind: $PACK/x}\n  /opt/a: {bind: $PACK/y}\n",
        (2, 3),
        "lies in `/opt/a`, which the layout covers",
    );
    assert!(with("layout:\n  /opt/a: {bind: $PACK/x}\n  /opt/ab: {bind: $PACK/y}\n").is_ok());
    let many: String = (0..257).map(|number| format!("  /opt/a{number}: {{type: tmpfs}}\n")).collect();
    assert_error(&format!("layout:\n{many}"), (1, 1), "more than 256 members");
}

#[test]
fn epochs_and_hooks_are_checked_where_they_stand() {
    for (text, place, words) in [
        ("epoch: -1\n", (1, 8), "`epoch` has to be a number"),
        ("epoch: 1.5\n", (1, 8), "`epoch` has to be a number"),
        ("epoch: one\n", (1, 8), "`one` is no epoch"),
        ("epoch: 0*\n", (1, 8), "a number from 1 and `*`"),
        ("epoch: {read: [2], write: [3]}\n", (1, 1), "has to be one that is read"),
        ("epoch: {read: [3, 2]}\n", (1, 1), "rising order"),
        ("epoch: {read: [a]}\n", (1, 16), "has to be a whole number"),
        ("epoch: [1]\n", (1, 8), "`epoch` has to be a number"),
        ("hooks: {install: {plug: [x]}}\n", (1, 19), "unknown key `plug`"),
        ("hooks: {install: x}\n", (1, 18), "`install` has to be a map of keys"),
        ("hooks: {install: {environment: {1A: x}}}\n", (1, 33), "no name of a variable"),
        ("slots: {a: dbus}\nhooks: {install: {plugs: [a]}}\n", (1, 1), "is a plug as well"),
        ("confinement: classic\n", (1, 14), "is not supported"),
    ] {
        assert_error(text, place, words);
    }
    let base = "name: aa\nversion: '1'\ntype: base\nbase: none\nlayout: {/opt/x: {type: tmpfs}}\n";
    assert!(Manifest::from_yaml(base.as_bytes()).unwrap_err().message.contains("`layout` cannot be there"));
}
