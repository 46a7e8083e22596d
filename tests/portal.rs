//! What an app reaches through the desktop portal, and what that takes it for: the real portal, with its documents, its
//! permissions and its dialogs, on a session bus of the test's own.

#[path = "support/session.rs"]
mod session;
mod support;
#[path = "support/x_server.rs"]
mod x_server;

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use session::{Running, Session, call, install_runner, resource};
use support::{World, err, eventually, out};
use x_server::XServer;

const PORTAL: &str = "org.freedesktop.portal.Desktop";
const OBJECT: &str = "/org/freedesktop/portal/desktop";

/// A session with an X server, as the portal's dialogs need one.
fn session<'a>(world: &'a World, x: &XServer) -> Session<'a> {
    let authority = x.authority.to_str().unwrap();
    let variables =
        [("DISPLAY", x.name.as_str()), ("XAUTHORITY", authority), ("XDG_CURRENT_DESKTOP", "GNOME")];
    Session::start(world, &variables)
}

/// What a script prints in the sandbox of an app, standard error as well.
#[track_caller]
fn inside(session: &Session<'_>, app: &str, script: &str) -> String {
    let output = session.run_app(app, script).output().unwrap();
    out(&output) + &err(&output)
}

fn portal(method: &str) -> String {
    call("session", PORTAL, OBJECT, &format!("org.freedesktop.portal.{method}"))
}

/// Everything that is said to the portal's back end, line by line, to a file.
fn watch(session: &Session<'_>, world: &World) -> (Running, impl Fn() -> String) {
    let log = world.write("watched", "");
    let file = std::fs::File::options().append(true).open(&log).unwrap();
    let mut command = session
        .command("dbus-monitor", &["--session", "interface='org.freedesktop.impl.portal.Notification'"]);
    let running = Running(command.stdout(file).stderr(Stdio::null()).spawn().unwrap());
    eventually("the monitor", || !std::fs::read_to_string(&log).unwrap().is_empty());
    (running, move || std::fs::read_to_string(&log).unwrap())
}

fn notify(id: &str) -> String {
    portal(&format!("Notification.AddNotification {id} \"{{'title': <'t'>, 'body': <'b'>}}\""))
}

#[test]
fn an_app_is_known_by_its_own_id_and_never_as_the_host() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    install_runner(&world, "notes", &[("notes", "plugs: [desktop]"), ("player", "slots: [mpris]")], "");
    let (_watching, watched) = watch(&session, &world);
    let told = out(&support::succeed(session.command("sh", &["-c", &notify("of-host")])));
    assert_eq!(told, "()\n");
    let told = inside(&session, "notes.notes", &notify("of-app"));
    assert_eq!(told, "()\n");
    eventually("the notification", || watched().contains("of-app"));
    let log = watched();
    let id_before = |mark: &str| {
        let lines: Vec<&str> = log.lines().map(str::trim).collect();
        let at = lines.iter().position(|line| *line == format!("string \"{mark}\"")).unwrap();
        lines[at - 1].to_owned()
    };
    assert_eq!(id_before("of-host"), "string \"\"", "{log}");
    assert_eq!(id_before("of-app"), "string \"pack.app.notes\"", "{log}");
    let refused = inside(&session, "notes.player", &notify("of-player"));
    assert!(refused.contains("ServiceUnknown") || refused.contains("AccessDenied"), "{refused}");
    assert!(!watched().contains("of-player"));
}

#[test]
fn the_portal_tells_settings_to_who_has_the_plug() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    install_runner(
        &world,
        "notes",
        &[("notes", "plugs: [desktop]"), ("status", "plugs: [network-status]")],
        "",
    );
    let read = portal("Settings.Read org.freedesktop.appearance color-scheme");
    let told = inside(&session, "notes.notes", &read);
    assert!(told.contains("<<uint32"), "{told}");
    let told = inside(&session, "notes.status", &read);
    assert!(told.contains("ServiceUnknown") || told.contains("AccessDenied"), "{told}");
    // Not only the interface counts, the object does as well.
    let told = inside(
        &session,
        "notes.notes",
        &call("session", PORTAL, "/org/other", "org.freedesktop.portal.Settings.Read a b"),
    );
    assert!(told.contains("AccessDenied"), "{told}");
    // What is for the portal's own back ends, and what starts programs, is none of an app's.
    for (name, method) in [
        ("org.freedesktop.impl.portal.desktop.gtk", "org.freedesktop.impl.portal.Settings.ReadAll []"),
        (
            "org.freedesktop.impl.portal.PermissionStore",
            "org.freedesktop.impl.portal.PermissionStore.List notifications",
        ),
        (PORTAL, "org.freedesktop.portal.Background.RequestBackground '' {}"),
        (PORTAL, "org.freedesktop.portal.RemoteDesktop.CreateSession {}"),
        (PORTAL, "org.freedesktop.portal.DynamicLauncher.Install a b {}"),
    ] {
        let told = inside(&session, "notes.notes", &call("session", name, OBJECT, method));
        assert!(told.contains("ServiceUnknown") || told.contains("AccessDenied"), "{method}: {told}");
    }
}

#[test]
fn the_portal_tells_of_the_network_to_who_has_the_plug() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    install_runner(
        &world,
        "notes",
        &[("status", "plugs: [network-status]"), ("notes", "plugs: [desktop]")],
        "",
    );
    let status = portal("NetworkMonitor.GetStatus");
    let told = inside(&session, "notes.status", &status);
    assert!(told.contains("'available'"), "{told}");
    let told = inside(&session, "notes.notes", &status);
    assert!(told.contains("AccessDenied"), "{told}");
    let told = inside(&session, "notes.status", &portal("NetworkMonitor.CanReach localhost 1"));
    assert!(told.contains("AccessDenied"), "names are not looked up for an app: {told}");
}

#[test]
fn documents_are_seen_by_the_app_that_they_were_given_to() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    for package in ["notes", "other"] {
        install_runner(
            &world,
            package,
            &[(package, "plugs: [desktop]"), ("plain", "plugs: [network-status]")],
            "",
        );
    }
    let letter = world.write("letter.txt", "Dear reader");
    let secret = world.write("secret.txt", "secret");
    let script = session.copy(&resource("documents.py"));
    let add = |file: &std::path::Path, app: &[&str]| {
        let arguments = [&[script.as_str(), file.to_str().unwrap()], app].concat();
        session.run("/usr/bin/python3", &arguments).trim().to_owned()
    };
    let document = add(&letter, &["pack.app.notes"]);
    let nobodys = add(&secret, &[]);
    let folder = world.path("run/doc").into_os_string().into_string().unwrap();
    let look = format!("ls {folder}; cat {folder}/{document}/letter.txt; cat {folder}/{nobodys}/secret.txt");
    let told = inside(&session, "notes.notes", &look);
    assert!(told.contains("Dear reader") && told.contains(&document), "{told}");
    assert!(
        !told.contains("\nsecret") && !told.contains("by-app") && !told.lines().any(|line| line == nobodys),
        "{told}"
    );
    let told = inside(&session, "other.other", &look);
    assert!(!told.contains("Dear") && !told.lines().any(|line| line == document), "{told}");
    let told = inside(&session, "notes.plain", &look);
    assert!(!told.contains("Dear") && told.contains("No such file"), "{told}");
    // It is the file itself that was given, not its name, nor what lies beside it, nor what a link there leads to.
    let write = format!(
        "echo changed >{folder}/{document}/letter.txt; ln -s {} {folder}/{document}/link; cat {folder}/{document}/link {folder}/{document}/secret.txt",
        secret.display()
    );
    let told = inside(&session, "notes.notes", &write);
    assert!(!told.contains("\nsecret") && !told.starts_with("secret"), "{told}");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "changed\n");
    let told = inside(
        &session,
        "notes.notes",
        &call(
            "session",
            "org.freedesktop.portal.Documents",
            "/org/freedesktop/portal/documents",
            &format!("org.freedesktop.portal.Documents.Info {nobodys}"),
        ),
    );
    assert!(told.contains("Error") && !told.contains("secret.txt"), "{told}");
}

#[test]
fn ghsa_rqr9_jwwf_wxgj_the_portal_that_moves_files_to_the_trash_is_not_reached() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    install_runner(&world, "notes", &[("notes", "plugs: [desktop, gsettings, network-status]")], "");
    let told = inside(&session, "notes.notes", &portal("Trash.TrashFile 0"));
    assert!(told.contains("AccessDenied"), "{told}");
}

#[test]
fn an_application_that_takes_its_own_name_starts_where_its_slot_says_so() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    let apps = [("named", "plugs: [desktop, x11], slots: [id]"), ("unnamed", "plugs: [desktop, x11]")];
    let rest = "slots: {id: {interface: dbus, name: org.gtk.Demo2}}\n";
    install_runner(&world, "demo", &apps, rest);
    let told = inside(&session, "demo.unnamed", "timeout 20 gtk3-demo-application; echo $?");
    assert!(told.contains("1\n") && told.contains("Failed to register"), "{told}");
    let (app, _lines) = start(&session, "demo.named", "exec gtk3-demo-application");
    let _app = Running(app);
    session.wait_for_name("org.gtk.Demo2");
    eventually("its window", || {
        let found =
            x.tool("xdotool").args(["search", "--onlyvisible", "--class", "gtk3-demo-application"]).output();
        !out(&found.unwrap()).is_empty()
    });
}

/// An app that runs beside the test, and the lines that it prints.
fn start(session: &Session<'_>, app: &str, script: &str) -> (Child, impl Iterator<Item = String>) {
    let mut child = session.run_app(app, script).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    (child, lines)
}

#[test]
fn a_file_that_a_person_chose_arrives_under_the_apps_own_id() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    for package in ["notes", "other"] {
        install_runner(&world, package, &[(package, "plugs: [desktop]")], "");
    }
    let letter = world.write("chosen/letter.txt", "Dear reader");
    let (mut app, mut lines) = start(&session, "notes.notes", "/usr/bin/python3 /app/choose.py");
    assert_eq!(lines.next().as_deref(), Some("asked True"));
    // A person at the dialog, which takes a path as soon as one is typed.
    let tool = |arguments: &[&str]| x.tool("xdotool").args(arguments).output().unwrap();
    let title = "Choose for the test";
    let mut window = String::new();
    eventually("the dialog", || {
        window = out(&tool(&["search", "--onlyvisible", "--name", title]))
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        !window.is_empty()
    });
    let path = letter.to_str().unwrap();
    eventually("the end of the dialog", || {
        // No window manager gives it the keyboard. What an attempt that came too early has left is typed over.
        tool(&["windowfocus", &window]);
        tool(&["key", "ctrl+a"]);
        tool(&["type", "--delay", "40", path]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        tool(&["key", "Return"]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        out(&tool(&["search", "--onlyvisible", "--name", title])).is_empty()
    });
    let told: Vec<String> = lines.collect();
    app.wait().unwrap();
    assert_eq!(told.first().map(String::as_str), Some("response 0"), "{told:?}");
    let shown = told[1].strip_prefix("path ").unwrap();
    let folder = world.path("run/doc").into_os_string().into_string().unwrap();
    assert!(shown.starts_with(&folder) && shown.ends_with("/letter.txt"), "{told:?}");
    assert_eq!(told[2], "content Dear reader", "{told:?}");
    let other = inside(&session, "other.other", &format!("cat {shown}"));
    assert!(!other.contains("Dear"), "{other}");
}

/// Debian's Chromium, its own sandbox on, loads a page from a loopback server; a person saves it in the portal's dialog, in
/// a folder of the home that the app cannot see.
#[test]
fn a_browser_saves_a_page_where_a_person_says_and_sees_nothing_else_there() {
    let world = World::with_key();
    let x = XServer::start(&world);
    let session = session(&world, &x);
    let rest = "plugs: {browser-support: {allow-sandbox: true}}\n";
    let plugs = "plugs: [browser-support, desktop, network, opengl, x11]";
    install_runner(&world, "browser", &[("browser", plugs)], rest);
    world.write("Saved/private.txt", "private");
    let page = serve("<title>Test page</title><p>A page to keep</p>");
    let script = format!(
        "exec /usr/lib/chromium/chromium --ozone-platform=x11 --disable-gpu --no-first-run --disable-background-networking \
         --disable-component-update --disable-sync --password-store=basic --user-data-dir=$HOME/chromium {page}"
    );
    let (app, _lines) = start(&session, "browser.browser", &script);
    let _app = Running(app);
    let tool = |arguments: &[&str]| out(&x.tool("xdotool").args(arguments).output().unwrap());
    let find =
        |name: &str| tool(&["search", "--onlyvisible", "--name", name]).lines().next().map(str::to_owned);
    // Of the portal's own back end: the browser's windows have its own class.
    let dialog = || {
        let found = tool(&["search", "--onlyvisible", "--class", "xdg-desktop-portal-gtk"]);
        found.lines().next().map(str::to_owned)
    };
    let mut window = None;
    eventually("the page", || {
        window = find("Test page");
        window.is_some()
    });
    let window = window.unwrap();
    let path = world.home("Saved/kept.html");
    eventually("the dialog", || {
        tool(&["windowfocus", "--sync", &window]);
        tool(&["key", "ctrl+s"]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        dialog().is_some()
    });
    tool(&["windowfocus", "--sync", &dialog().unwrap()]);
    eventually("the end of the dialog", || {
        tool(&["key", "ctrl+a"]);
        tool(&["type", "--delay", "30", path.to_str().unwrap()]);
        std::thread::sleep(std::time::Duration::from_millis(500));
        tool(&["key", "Return"]);
        std::thread::sleep(std::time::Duration::from_secs(1));
        dialog().is_none()
    });
    eventually("the saved page", || {
        std::fs::read_to_string(&path).is_ok_and(|text| text.contains("A page to keep"))
    });
    let seen =
        inside(&session, "browser.browser", "cat \"$PACK_REAL_HOME/Saved/private.txt\" 2>/dev/null; true");
    assert!(!seen.contains("private"), "{seen}");
}

/// Serves one page on the loopback address; gives its address.
fn serve(page: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let length = page.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close"
            );
            let _ = write!(stream, "{head}\r\n\r\n{page}");
        }
    });
    format!("http://{address}/")
}
