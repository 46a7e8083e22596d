//! Real programs with real needs, from Debian's packages, each with the plugs that it needs and without one of them.

mod support;
#[path = "support/x_server.rs"]
mod x_server;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{World, err, eventually, is_root, out, skip, succeed};
use x_server::{Ended, XServer};

/// Installs a package whose app `tester.with` starts a program of the host's with these plugs, and `tester.without`
/// with all of them but the last.
fn install(world: &World, program: &str, plugs: &[&str], declared: &str, environment: &str) {
    let all = plugs.join(", ");
    let fewer = plugs[..plugs.len() - 1].join(", ");
    let manifest = format!(
        "name: tester\nversion: '1'\nbase: host\n{declared}environment: {{{environment}}}\napps:\n\
         \x20 with: {{command: bin/start, plugs: [{all}]}}\n  without: {{command: bin/start, plugs: [{fewer}]}}\n\
         parts: {{p: {{plugin: dump, source: files}}}}\n"
    );
    world.project("tester", &manifest, &[("bin/start", &format!("#!/bin/sh\nexec {program} \"$@\"\n"))]);
    world.install("tester");
}

/// Keeps a picture for a person to look at, where one is wanted.
fn keep_picture(display: &XServer, window: &str, name: &str) {
    if let Some(folder) = std::env::var_os("PACK_TEST_SCREENSHOTS") {
        fs::copy(display.dump(window), Path::new(&folder).join(format!("{name}.xwd"))).unwrap();
    }
}

/// A program that shows a window of this name on X11 with its plug, and none without.
#[track_caller]
fn assert_shows_window_on_x11(program: &str, name: &str, environment: &str) {
    let world = World::with_key();
    install(&world, program, &["desktop", "opengl", "x11"], "", environment);
    let display = XServer::start(&world);
    let start = |app: &str| {
        let mut run = world.pack(["run", app]);
        run.env("DISPLAY", &display.name).env("XAUTHORITY", &display.authority);
        run.env_remove("DBUS_SESSION_BUS_ADDRESS").stdout(Stdio::null()).stderr(Stdio::piped());
        run
    };
    let without = start("tester.without").output().unwrap();
    assert!(!without.status.success(), "{}", err(&without));
    assert!(display.window(name).is_none());
    let _app = Ended(start("tester.with").spawn().unwrap());
    let mut window = None;
    eventually("a window", || {
        window = display.window(name);
        window.is_some()
    });
    let window = window.unwrap();
    eventually("a picture in the window", || display.colours(&window) > 8);
    keep_picture(&display, &window, &name.replace(' ', "-"));
}

#[test]
fn a_gtk_program_shows_its_window_on_x11() {
    assert_shows_window_on_x11("gtk3-widget-factory", "gtk3-widget-factory", "");
}

#[test]
fn a_qt_program_shows_its_window_on_x11() {
    let program = "/usr/lib/$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -print-multiarch)/qt5/examples/widgets/widgets/charactermap/charactermap";
    assert_shows_window_on_x11(program, "Character Map", "QT_QPA_PLATFORM: xcb");
}

/// weston, whose output is a window on an X server, where a picture can be taken of it.
struct Compositor {
    _weston: Ended,
    display: XServer,
    window: String,
    socket: PathBuf,
}

impl Compositor {
    fn start(world: &World) -> Compositor {
        let display = XServer::start(world);
        let mut weston = world.command("weston");
        weston.args([
            "--backend=x11-backend.so",
            "--socket=wayland-7",
            "--width=800",
            "--height=600",
            "--idle-time=0",
        ]);
        weston.env("DISPLAY", &display.name).env("XAUTHORITY", &display.authority);
        let weston = Ended(weston.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let socket = world.path("run").join("wayland-7");
        let mut window = None;
        eventually("the window of the compositor", || {
            window = socket.exists().then(|| display.window("Weston Compositor - screen0")).flatten();
            window.is_some()
        });
        Compositor { _weston: weston, window: window.unwrap(), display, socket }
    }

    fn colours(&self) -> usize {
        self.display.colours(&self.window)
    }
}

#[test]
fn a_gtk_program_shows_its_window_on_wayland() {
    let world = World::with_key();
    install(&world, "gtk3-widget-factory", &["desktop", "wayland"], "", "GDK_BACKEND: wayland");
    let compositor = Compositor::start(&world);
    let start = |app: &str| {
        let mut run = world.pack(["run", app]);
        run.env("WAYLAND_DISPLAY", "wayland-7").stdout(Stdio::null()).stderr(Stdio::piped());
        run
    };
    assert!(compositor.socket.exists());
    // It fades its own desktop in.
    let mut before = 0;
    eventually("a picture of the compositor's own that stays", || {
        let earlier = std::mem::replace(&mut before, compositor.colours());
        std::thread::sleep(std::time::Duration::from_millis(500));
        before > 50 && before == earlier
    });
    let without = start("tester.without").output().unwrap();
    assert!(!without.status.success() && err(&without).contains("annot open display"), "{}", err(&without));
    let _app = Ended(start("tester.with").spawn().unwrap());
    eventually("many more colours", || compositor.colours() > before + 200);
    keep_picture(&compositor.display, &compositor.window, "gtk-on-wayland");
}

/// Serves one page, whose script changes it, and a picture that takes its time, so that a browser is looked at meanwhile.
fn serve_page() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                if request.starts_with("GET /slow") {
                    std::thread::sleep(std::time::Duration::from_secs(4));
                }
                let page = "<p id=a>plain</p><img src=/slow><script>document.getElementById('a').textContent = 'made by ' + 'script'</script>";
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                    page.len()
                );
            });
        }
    });
    format!("http://{address}/")
}

const CHROMIUM: &str = "/usr/lib/chromium/chromium --headless=new --disable-gpu --no-first-run \
                        --disable-background-networking --disable-component-update --disable-sync --user-data-dir=$HOME/chromium";

/// The processes whose command line has `word` and whose home is the world's: their /proc/PID/status.
fn statuses(world: &World, word: &str) -> Vec<String> {
    let home = world.home(".local/share/pack/data/tester");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(word) && line.contains(home.to_str().unwrap()) {
            found.extend(fs::read_to_string(entry.path().join("status")));
        }
    }
    found
}

#[test]
fn chromium_runs_with_its_own_sandbox_inside_and_not_without_the_plug() {
    let world = World::with_key();
    let declared = "plugs: {browser-support: {allow-sandbox: true}}\n";
    install(&world, CHROMIUM, &["network", "browser-support"], declared, "");
    let page = serve_page();
    let mut run = world.pack(["run", "tester.with", "--dump-dom", &page]);
    let browser = run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Its renderer has a pid namespace below the app's, and filters of its own beside pack's.
    let field = |status: &str, name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut seen = String::new();
    eventually("a renderer in a sandbox of its own", || {
        seen = statuses(&world, "--type=renderer").join("\n");
        statuses(&world, "--type=renderer").iter().any(|status| {
            let filters = field(status, "Seccomp_filters:");
            field(status, "NSpid:").len() >= 3
                && filters.first().is_some_and(|number| number.parse::<u32>().unwrap() >= 2)
        })
    });
    let output = browser.wait_with_output().unwrap();
    assert!(out(&output).contains("made by script"), "{}\n{seen}", out(&output));

    let without = world.pack(["run", "tester.without", "--dump-dom", &page]).output().unwrap();
    assert!(!without.status.success());
    let said = err(&without);
    assert!(said.contains("No usable sandbox") && said.contains("pack run --learn tester.without"), "{said}");
}

/// What an inner sandbox may be made of is no way out of pack's.
#[test]
fn nested_namespaces_give_no_mount_and_nothing_of_the_hosts() {
    let world = World::with_key();
    world.install_tester(&[("browser-support", "{allow-sandbox: true}")]);
    let script = "unshare -Urpf --mount-proc true 2>/dev/null && echo mounted; \
                  unshare -Ur sh -c 'mount -t tmpfs none /tmp' 2>/dev/null && echo mounted; \
                  unshare -Urm sh -c 'umount /proc || umount /etc/passwd || mount --bind /app /usr' 2>/dev/null && echo unmounted; \
                  unshare -Ur cat /etc/shadow 2>/dev/null && echo read; \
                  unshare -Ur sh -c 'id -u'; unshare -Ur sh -c 'nsenter -t 1 -m true' 2>/dev/null && echo entered; true";
    assert_eq!(world.tell("browser-support", script, &[]), "0");
    assert_eq!(world.tell("none", script, &[]), "");
}

/// The `fuse` plug: a FUSE file system of the app's own, in a mount namespace of its own.
#[test]
fn an_app_with_fuse_mounts_a_file_system_that_only_it_sees() {
    let world = World::with_key();
    world.install_tester(&[("fuse", "{}")]);
    world.write("image/file", "in the image");
    let image = world.home("image.sqfs");
    let mut make = world.command("mksquashfs");
    make.arg(world.home("image")).arg(&image).args(["-quiet", "-no-progress"]);
    succeed(make);
    fs::copy(&image, world.home(".local/share/pack/data/tester/common/image")).unwrap();
    let script = "mkdir /tmp/m; exec unshare -Urm sh -c 'squashfuse_ll -f \"$PACK_USER_COMMON/image\" /tmp/m & \
                  i=0; until [ -e /tmp/m/file ] || [ $i = 100 ]; do i=$((i+1)); sleep 0.05; done; cat /tmp/m/file; kill $!'";
    assert_eq!(world.tell("fuse", script, &[]), "in the image");
    let without = out(&world.inside("none", script, &[]).output().unwrap());
    assert!(!without.contains("in the image"), "{without}");
}

#[test]
fn an_ssh_client_logs_in_with_the_agent_and_cannot_read_the_key() {
    if !is_root() {
        return skip("ssh: only root starts a server that lets somebody in");
    }
    let world = World::with_key();
    world.install_tester(&[("ssh-agent", "{}"), ("network", "{}")]);
    let manifest = fs::read_to_string(world.home("tester/pack.yaml")).unwrap();
    world.write(
        "tester/pack.yaml",
        manifest.replace("apps:\n", "apps:\n  both: {command: bin/tester, plugs: [network, ssh-agent]}\n"),
    );
    world.install("tester");
    let folder = tempfile::Builder::new().prefix("pack-test-ssh-").tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    let keygen = |file: &str| {
        let mut make = Command::new("ssh-keygen");
        make.args(["-q", "-t", "ed25519", "-N", "", "-f", file]);
        succeed(make);
    };
    keygen(&path("host"));
    world.write(".ssh/placeholder", "");
    let key = world.home(".ssh/id_ed25519").into_os_string().into_string().unwrap();
    keygen(&key);
    std::os::unix::fs::chown(&key, Some(20001), Some(20001)).unwrap();
    fs::copy(format!("{key}.pub"), path("authorized")).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    fs::write(
        path("config"),
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\nForceCommand echo logged in\n",
            path("host"),
            path("authorized")
        ),
    )
    .unwrap();
    fs::create_dir_all("/run/sshd").unwrap();
    let mut server = Command::new("/usr/sbin/sshd");
    server.args(["-D", "-e", "-f", &path("config")]).stderr(Stdio::piped());
    let mut server = Ended(server.spawn().unwrap());
    let mut lines = BufReader::new(server.0.stderr.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("listening")));
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));

    let socket = world.path("run").join("agent");
    let mut agent = world.command("ssh-agent");
    agent.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null());
    let _agent = Ended(agent.spawn().unwrap());
    eventually("the agent", || socket.exists());
    let mut add = Command::new("ssh-add");
    add.args(["-q", &key]).env("SSH_AUTH_SOCK", &socket);
    succeed(add);
    let script = "ssh -p \"$1\" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null root@127.0.0.1 2>/dev/null; \
                  cat \"$2\" 2>/dev/null && echo read; ls \"$PACK_REAL_HOME/.ssh\" 2>/dev/null && echo listed; true";
    let inside = |app: &str| {
        let mut run = world.inside(app, script, &[&port, &key]);
        run.env("SSH_AUTH_SOCK", &socket);
        out(&succeed(run))
    };
    assert_eq!(inside("both"), "logged in\n");
    assert_eq!(inside("network"), "", "without the agent nobody is let in");
    assert_eq!(inside("ssh-agent"), "", "without the network nobody is reached");
}
