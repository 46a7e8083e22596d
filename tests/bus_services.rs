//! Interfaces that give a part of a message bus, against the services that they are for: with the plug it works, without
//! it nothing of the service is reached.

#[path = "support/session.rs"]
mod session;
mod support;
#[path = "support/x_server.rs"]
mod x_server;

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use session::{Running, Session, call, install_runner};
use support::{World, err, eventually, out};
use x_server::XServer;

#[track_caller]
fn inside(session: &Session<'_>, app: &str, script: &str) -> String {
    let output = session.run_app(app, script).output().unwrap();
    out(&output) + &err(&output)
}

#[track_caller]
fn assert_unreached(told: &str) {
    let ways = [
        "ServiceUnknown",
        "AccessDenied",
        "No such file or directory",
        "Could not connect",
        "Cannot autolaunch",
    ];
    assert!(ways.iter().any(|way| told.contains(way)), "{told}");
}

/// The package `app`: `with` has the plug, `without` another one that reaches the session bus, `plain` none.
fn install(world: &World, plug: &str) {
    let with = format!("plugs: [{plug}]");
    let apps = [("with", with.as_str()), ("without", "slots: [mpris]"), ("plain", "plugs: []")];
    install_runner(world, "app", &apps, "");
    // What does not connect by itself.
    let _ = world.pack(["connect", &format!("app:{plug}")]).output().unwrap();
}

#[test]
fn gsettings_reads_and_changes_the_settings_of_the_user() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, "gsettings");
    let key = "org.gnome.desktop.interface cursor-size";
    session.run("sh", &["-c", &format!("gsettings set {key} 42")]);
    assert_eq!(inside(&session, "app.with", &format!("gsettings get {key}")), "42\n");
    assert_eq!(inside(&session, "app.plain", &format!("gsettings get {key}")), "24\n", "the default");
    // A change outside is seen by an app that runs.
    let script = format!("gsettings get {key}; gsettings monitor {key}");
    let mut app = session.run_app("app.with", &script).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("42"));
    let _app = Running(app);
    // The monitor does not say when it listens: the value changes until it has heard.
    let (sender, heard) = std::sync::mpsc::channel();
    let listener = std::thread::spawn(move || sender.send(lines.next()));
    let mut value = 50;
    eventually("the news of a change", || {
        value += 1;
        session.run("sh", &["-c", &format!("gsettings set {key} {value}")]);
        heard
            .recv_timeout(std::time::Duration::from_millis(300))
            .is_ok_and(|line| line.is_some_and(|line| line.starts_with("cursor-size: ")))
    });
    listener.join().unwrap().unwrap();
    // And one inside outside.
    assert_eq!(
        inside(&session, "app.with", &format!("gsettings set {key} 77 && gsettings get {key}")),
        "77\n"
    );
    assert_eq!(session.run("sh", &["-c", &format!("gsettings get {key}")]), "77\n");
    // The file is not the app's to write, and no link can be planted for the service to follow.
    let told = inside(
        &session,
        "app.with",
        "echo x >$PACK_REAL_HOME/.config/dconf/user; rm -f $XDG_RUNTIME_DIR/dconf/user; ln -sf /x $XDG_RUNTIME_DIR/dconf/user; true",
    );
    assert!(told.contains("Read-only file system") && told.contains("busy"), "{told}");
    assert!(
        world.path("run/dconf").read_dir().unwrap().all(|entry| entry
            .unwrap()
            .file_type()
            .unwrap()
            .is_file())
    );
    // Without the plug the service is not reached.
    let write =
        call("session", "ca.desrt.dconf", "/ca/desrt/dconf/Writer/user", "ca.desrt.dconf.Writer.Init");
    assert_unreached(&inside(&session, "app.without", &write));
}

#[test]
fn accessibility_reaches_the_registry_and_nothing_of_other_programs() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let variables = [("DISPLAY", x.name.as_str()), ("XAUTHORITY", x.authority.to_str().unwrap())];
    let session = Session::start(&world, &variables);
    install(&world, "accessibility");
    let registry = "org.a11y.atspi.Registry";
    // gdbus takes an address of its own.
    let ask = |path: &str, method: &str| {
        format!("gdbus call -a $AT_SPI_BUS_ADDRESS -t 10 -d {registry} -o {path} -m org.a11y.atspi.{method}")
    };
    let told = inside(&session, "app.with", &ask("/org/a11y/atspi/registry", "Registry.GetRegisteredEvents"));
    assert!(told.contains("a(ss)"), "{told}");
    let told =
        inside(&session, "app.with", &ask("/org/a11y/atspi/registry", "Registry.RegisterEvent object"));
    assert_unreached(&told);
    let told =
        inside(&session, "app.with", &ask("/org/a11y/atspi/accessible/root", "Accessible.GetChildren"));
    assert_unreached(&told);
    let told = inside(
        &session,
        "app.with",
        &ask(
            "/org/a11y/atspi/registry/deviceeventcontroller",
            "DeviceEventController.GenerateKeyboardEvent 1 '' 0",
        ),
    );
    assert_unreached(&told);
    let told = inside(
        &session,
        "app.without",
        &format!(
            "echo \"<$AT_SPI_BUS_ADDRESS>\"; {}",
            call("session", "org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus.GetAddress")
        ),
    );
    assert!(told.contains("<>"), "{told}");
    assert_unreached(&told);
}

#[test]
fn password_manager_service_reaches_the_key_ring() {
    let world = World::with_key();
    let session = Session::start(&world, &[]);
    install(&world, "password-manager-service");
    let mut keyring =
        session.command("gnome-keyring-daemon", &["--foreground", "--unlock", "--components=secrets"]);
    let mut keyring =
        keyring.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    keyring.stdin.take().unwrap().write_all(b"password").unwrap();
    let _keyring = Running(keyring);
    session.wait_for_name("org.freedesktop.secrets");
    let store = "printf secret | secret-tool store --label=test kind test";
    eventually("the key ring", || session.command("sh", &["-c", store]).output().unwrap().status.success());
    assert_eq!(inside(&session, "app.with", "secret-tool lookup kind test"), "secret");
    for app in ["app.without", "app.plain"] {
        let told = inside(&session, app, "secret-tool lookup kind test");
        assert!(!told.contains("secret\n") && told != "secret", "{told}");
        assert_unreached(&told);
    }
}

#[test]
fn desktop_shows_notifications_through_the_desktops_own_service() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let variables = [("DISPLAY", x.name.as_str()), ("XAUTHORITY", x.authority.to_str().unwrap())];
    let session = Session::start(&world, &variables);
    install(&world, "desktop");
    let _server = session.spawn("dunst", &[]);
    session.wait_for_name("org.freedesktop.Notifications");
    let notifications = "org.freedesktop.Notifications";
    let show = call(
        "session",
        notifications,
        "/org/freedesktop/Notifications",
        &format!("{notifications}.Notify app 'uint32 0' '' Title body '@as []' '@a{{sv}} {{}}' 9000"),
    );
    let told = inside(&session, "app.with", &show);
    assert!(told.starts_with("(uint32 "), "{told}");
    eventually("the notification", || session.run("dunstctl", &["count", "displayed"]).trim() == "1");
    assert_unreached(&inside(&session, "app.without", &show));
}

#[test]
fn system_observe_reads_what_the_machine_calls_itself() {
    let program = "/lib/systemd/systemd-hostnamed";
    if !std::path::Path::new(program).is_file() {
        return support::skip("systemd-hostnamed is not installed");
    }
    let world = World::with_key();
    let mut session = Session::start(&world, &[]);
    session.start_system_bus();
    install(&world, "system-observe");
    let _service = session.spawn(program, &[]);
    let name = "org.freedesktop.hostname1";
    let properties = |method: &str| {
        call(
            "system",
            name,
            "/org/freedesktop/hostname1",
            &format!("org.freedesktop.DBus.Properties.{method}"),
        )
    };
    let get = properties(&format!("Get {name} Hostname"));
    eventually("hostnamed", || session.command("sh", &["-c", &get]).output().unwrap().status.success());
    let told = inside(&session, "app.with", &get);
    assert!(told.starts_with("(<'"), "{told}");
    assert_unreached(&inside(
        &session,
        "app.with",
        &call("system", name, "/org/freedesktop/hostname1", &format!("{name}.SetHostname x false")),
    ));
    assert_unreached(&inside(
        &session,
        "app.with",
        &call("system", name, "/org/freedesktop/hostname1", &format!("{name}.GetProductUUID false")),
    ));
    assert_unreached(&inside(&session, "app.without", &get));
}

#[test]
fn avahi_observe_finds_services_and_announces_none() {
    if !support::is_root() {
        return support::skip("avahi-daemon gets a network of its own from root");
    }
    let world = World::with_key();
    let mut session = Session::start(&world, &[]);
    session.start_system_bus();
    install(&world, "avahi-observe");
    // In a network of its own, where nobody else answers; its files lie in a folder of its own too.
    let script = "ip link set lo up; ip link add v0 type veth peer name v1; ip addr add 10.9.8.7/24 dev v0; ip link set v1 up; ip link set v0 up; \
                  mkdir -p /run/avahi-daemon; mount -t tmpfs none /run/avahi-daemon; \
                  exec avahi-daemon --no-drop-root --no-chroot --no-proc-title --no-rlimits -f \"$0\"";
    let config = world.write("avahi.conf", "[server]\nhost-name=tested\nallow-interfaces=v0\nuse-ipv6=no\n[publish]\npublish-hinfo=yes\npublish-workstation=yes\n");
    let mut daemon = Command::new("unshare");
    daemon.args(["--net", "--mount", "sh", "-c", script]).arg(config);
    daemon.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", world.path("run/system-bus").display()));
    let _daemon =
        Running(daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let server = |method: &str| {
        call("system", "org.freedesktop.Avahi", "/", &format!("org.freedesktop.Avahi.{method}"))
    };
    let name = server("Server.GetHostName");
    eventually("avahi", || out(&session.command("sh", &["-c", &name]).output().unwrap()).contains("tested"));
    let told = inside(&session, "app.with", &name);
    assert!(told.contains("'tested'"), "{told}");
    eventually("the machine's own announcement", || {
        inside(&session, "app.with", "timeout 10 avahi-browse -pt _workstation._tcp").contains("tested")
    });
    for method in ["Server.EntryGroupNew", "Server2.EntryGroupNew", "Server.SetHostName other"] {
        assert_unreached(&inside(&session, "app.with", &server(method)));
    }
    assert_unreached(&inside(&session, "app.without", &name));
}
