//! Content: what packages of one publisher show one another, and that nobody else is shown anything.

#[path = "support/servers.rs"]
mod servers;
mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use servers::Server;
use support::{World, err, eventually, fail, out, succeed};

/// A package of files and a script that runs its arguments, with this in its manifest besides.
fn project(world: &World, name: &str, manifest: &str, files: &[(&str, &str)]) {
    let manifest = format!(
        "name: {name}\nversion: '1'\nbase: host\n{manifest}parts:\n  p: {{plugin: dump, source: files}}\n"
    );
    let script = ("bin/run", "#!/bin/sh\nexec \"$@\"\n");
    world.project(name, &manifest, &[&[script], files].concat());
}

/// What a package `themes` offers.
const SLOTS: &str =
    "slots:\n  looks: {interface: content, read: [share/themes, share/icon], sockets: true}\n";
const THEMES_APP: &str = "apps:\n  themes: {command: bin/run}\n";
const THEMES: &[(&str, &str)] = &[("share/themes/dark", "dark\n"), ("share/icon", "icon\n"), ("secret", "-")];

fn project_themes(world: &World) {
    project(world, "themes", &format!("{SLOTS}{THEMES_APP}"), THEMES);
}

/// A package `viewer` with an app that has a content plug with these attributes, and one that has none.
fn project_viewer(world: &World, attributes: &str) {
    let manifest = format!(
        "plugs:\n  looks: {{interface: content, default-provider: themes{attributes}}}\n\
         apps:\n  viewer: {{command: bin/run, plugs: [looks]}}\n  none: {{command: bin/run}}\n"
    );
    project(world, "viewer", &manifest, &[("looks/.keep", "")]);
}

/// A world where both are installed.
fn world() -> World {
    let world = World::with_key();
    project_themes(&world);
    project_viewer(&world, "");
    world.install("themes");
    world.install("viewer");
    world
}

/// A script in the sandbox of an app.
fn inside(world: &World, app: &str, script: &str) -> Command {
    world.pack(["run", app, "/bin/sh", "-c", script])
}

/// What it prints, and what is said on standard error.
fn tell(world: &World, app: &str, script: &str) -> (String, String) {
    let output = succeed(inside(world, app, script));
    (out(&output), err(&output))
}

const LIST: &str = "cd /run/content/looks 2>/dev/null && find . ! -type d | sort || echo nothing";

/// Asserts that the viewer runs, is shown nothing, and says so in one line with these words.
#[track_caller]
fn assert_nothing(world: &World, words: &str) {
    let (printed, said) = tell(world, "viewer", LIST);
    assert_eq!(printed, "nothing\n");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("warning: the content plug `looks` of `viewer` is shown nothing: "), "{said}");
    assert!(said.contains(words), "{said}");
}

fn data(world: &World, path: &str) -> PathBuf {
    world.home(".local/share/pack/data").join(path)
}

#[test]
fn content_arrives_for_reading_and_only_with_the_plug() {
    let world = world();
    let (printed, said) = tell(&world, "viewer", LIST);
    assert_eq!(printed, "./icon\n./themes/dark\n");
    assert!(said.contains("is shown no sockets: no app of `themes` has made any yet"), "{said}");
    let script = "cat /run/content/looks/themes/dark
for path in themes/dark themes/new icon new; do
  echo changed >/run/content/looks/$path && echo \"wrote $path\"
done 2>/dev/null
rm -r /run/content/looks 2>/dev/null; ls -a / | grep content; find / -name secret 2>/dev/null; cat /run/content/looks/icon";
    assert_eq!(tell(&world, "viewer", script).0, "dark\nicon\n");
    assert_eq!(tell(&world, "viewer.none", LIST), ("nothing\n".to_owned(), String::new()));
    assert_eq!(
        tell(&world, "themes", LIST),
        ("nothing\n".to_owned(), String::new()),
        "a slot gives its own app nothing"
    );
    succeed(world.pack(["disconnect", "viewer:looks"]));
    assert_eq!(tell(&world, "viewer", LIST), ("nothing\n".to_owned(), String::new()));
    succeed(world.pack(["connect", "viewer:looks"]));
    assert_eq!(tell(&world, "viewer", LIST).0, printed);
}

#[test]
fn a_target_in_the_package_or_below_opt_shows_the_same() {
    for (target, place) in [("$PACK/looks", "/app/looks"), ("/opt/a/looks", "/opt/a/looks")] {
        let world = World::with_key();
        project_themes(&world);
        project_viewer(&world, &format!(", target: {target}"));
        world.install("themes");
        world.install("viewer");
        let script = format!(
            "cat {place}/themes/dark {place}/icon; echo x 2>/dev/null >{place}/new; echo x 2>/dev/null >{place}/icon; ls {place}"
        );
        assert_eq!(tell(&world, "viewer", &script).0, "dark\nicon\nicon\nthemes\n");
        // The mounts themselves are read-only, too: the wall of Landlock is another one.
        let show = format!("grep -E ' (/run/content|{place})[ /]' /proc/self/mountinfo");
        let mounts = tell(&world, "viewer", &show).0;
        assert!(mounts.lines().any(|mount| mount.contains(&format!("{place}/themes "))), "{mounts}");
        assert!(mounts.lines().all(|mount| mount.contains(" ro,nosuid,nodev")), "{mounts}");
        assert_eq!(
            tell(&world, "viewer.none", &format!("ls {place} 2>/dev/null; ls /app")).0,
            "bin\nlooks\n"
        );
    }
}

/// The newest revision of the provider is shown from the next start on, and a run that has begun keeps its own.
#[test]
fn a_running_consumer_keeps_what_it_was_shown_when_the_provider_is_updated_and_removed() {
    let world = world();
    let script = "echo ready >$PACK_USER_COMMON/ready
while [ ! -e $PACK_USER_COMMON/go ]; do sleep 0.05; done; cat /run/content/looks/themes/dark";
    let running = {
        let mut command = inside(&world, "viewer", script);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
        command.spawn().unwrap()
    };
    eventually("the app", || data(&world, "viewer/common/ready").exists());
    world.write_program("themes/files/share/themes/dark", "darker\n");
    world.write(
        "themes/pack.yaml",
        fs::read_to_string(world.home("themes/pack.yaml")).unwrap().replace("'1'", "'2'"),
    );
    world.install("themes");
    assert_eq!(tell(&world, "viewer", "cat /run/content/looks/themes/dark").0, "darker\n");
    let said = err(&succeed(world.pack(["remove", "--yes", "themes"])));
    assert!(said.contains("viewer uses content of themes, and goes without from its next start"), "{said}");
    assert_nothing(&world, "package `themes` is not installed; `pack install` it from the same publisher");
    world.write(".local/share/pack/data/viewer/common/go", "");
    let output = running.wait_with_output().unwrap();
    assert_eq!((out(&output), output.status.code()), ("dark\n".to_owned(), Some(0)));
}

#[test]
fn another_label_shows_nothing() {
    let world = World::with_key();
    project_themes(&world);
    project_viewer(&world, ", content: icons");
    world.install("themes");
    world.install("viewer");
    assert_nothing(&world, "`themes` offers no content `icons`");
}

#[test]
fn a_package_of_another_publisher_provides_nothing_though_it_is_trusted() {
    let (world, other) = (World::with_key(), World::with_key());
    project_themes(&other);
    let package = other.build("themes");
    world.write("themes.pkg", fs::read(package).unwrap());
    let keys: serde_json::Value =
        serde_json::from_slice(&succeed(other.pack(["trust", "list", "--json"])).stdout).unwrap();
    succeed(world.pack(["trust", "add", keys[0]["fingerprint"].as_str().unwrap(), "--name", "Other"]));
    succeed(world.pack(["install", "--yes", "themes.pkg"]));
    project_viewer(&world, "");
    world.install("viewer");
    // What it has made for its sockets is not shown either.
    tell(
        &world,
        "themes",
        "mkdir -p $PACK_USER_COMMON/content/looks && echo x >$PACK_USER_COMMON/content/looks/x",
    );
    assert_nothing(&world, "`themes` is of another publisher");
    let said = err(&succeed(world.pack(["remove", "--yes", "themes"])));
    assert!(!said.contains("viewer"), "{said}");
}

#[test]
fn what_is_not_signed_provides_nothing_and_is_shown_nothing() {
    let unsigned = |world: &World, name: &str| {
        let package = world.home(&format!("{name}.pkg"));
        let (project, output) = (world.home(name), package.as_os_str());
        succeed(world.pack([
            "build".as_ref(),
            "--unsigned".as_ref(),
            project.as_os_str(),
            "-o".as_ref(),
            output,
        ]));
        succeed(world.pack(["install".as_ref(), "--yes".as_ref(), "--dangerous".as_ref(), output]));
    };
    for (provider, consumer, words) in [
        (false, true, "`themes` has no publisher that is known"),
        (true, false, "`viewer` has no publisher that is known"),
        (false, false, "`viewer` has no publisher that is known"),
    ] {
        let world = World::with_key();
        project_themes(&world);
        project_viewer(&world, "");
        for (name, is_signed) in [("themes", provider), ("viewer", consumer)] {
            if is_signed { world.install(name) } else { unsigned(&world, name) }
        }
        assert_nothing(&world, words);
    }
}

#[test]
fn a_provider_that_is_missing_disabled_altered_or_withdrawn_shows_nothing() {
    let world = World::with_key();
    project_viewer(&world, "");
    world.install("viewer");
    assert_nothing(&world, "`themes` is not installed");
    project(
        &world,
        "themes",
        &SLOTS.replace("looks:", "looks-slot:").replace("content,", "content, content: looks,"),
        THEMES,
    );
    world.install("themes");
    assert!(tell(&world, "viewer", LIST).0.contains("themes/dark"));
    let state = world.home(".local/share/pack/packages/themes/state.json");
    let installed = fs::read_to_string(&state).unwrap();
    let change = |from: &str, to: &str| {
        assert!(installed.contains(from), "{installed}");
        fs::write(&state, installed.replace(from, to)).unwrap();
    };
    change("\"enabled\": true", "\"enabled\": false");
    assert_nothing(&world, "`themes` is disabled");
    change("\"disconnected\": []", "\"disconnected\": [\"looks-slot\"]");
    assert_nothing(&world, "`themes` offers no content `looks`");
    let envelope = installed.split("\"envelope\": \"").nth(1).unwrap()[..64].to_owned();
    change(&envelope, &"0".repeat(64));
    assert_nothing(&world, "it is not the package that was installed");
    fs::write(&state, &installed).unwrap();
    assert!(tell(&world, "viewer", LIST).0.contains("themes/dark"));
}

/// Serves one word on a socket in the folder for them, to whoever connects.
const SERVER: &str = r#"
import os, socket
folder = os.environ["PACK_USER_COMMON"] + "/content/looks"
os.makedirs(folder, exist_ok=True)
os.chdir(folder)
server = socket.socket(socket.AF_UNIX)
server.bind("greet")
server.listen()
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello")
    connection.close()
"#;

/// Connects to the socket at the path given, and prints what it is told.
const CLIENT: &str = r#"
import os, socket, sys
os.chdir(os.path.dirname(sys.argv[1]))
client = socket.socket(socket.AF_UNIX)
client.connect(os.path.basename(sys.argv[1]))
print(client.recv(100).decode())
"#;

#[test]
fn a_server_of_the_provider_is_reached_with_the_plug_and_by_nobody_else() {
    let world = world();
    let socket = data(&world, "themes/common/content/looks/greet");
    let server = Server::start(&world, world.pack(["run", "themes", "/usr/bin/python3", "-c", SERVER]));
    eventually("the server's socket", || socket.exists());
    let connect = |app: &str, path: &str| world.pack(["run", app, "/usr/bin/python3", "-c", CLIENT, path]);
    let shown = "/run/content/looks/sockets/greet";
    assert_eq!(out(&succeed(connect("viewer", shown))), "hello\n");
    for (app, path) in [
        ("viewer.none", shown),
        ("viewer.none", socket.to_str().unwrap()),
        ("viewer", socket.to_str().unwrap()),
    ] {
        let refused = err(&fail(connect(app, path), 1));
        assert!(refused.contains("FileNotFoundError"), "{app} {path}: {refused}");
    }
    let script = "rm /run/content/looks/sockets/greet || touch /run/content/looks/sockets/x || echo refused";
    assert_eq!(tell(&world, "viewer", &format!("({script}) 2>/dev/null")).0, "refused\n");
    // What else the provider has stays its own.
    tell(&world, "themes", "echo secret >$PACK_USER_COMMON/secret");
    assert_eq!(tell(&world, "viewer", "ls -A /run/content/looks/sockets").0, "greet\n");
    assert_eq!(out(&succeed(connect("viewer", shown))), "hello\n");
    server.end();
}

/// The app of the provider can write where its sockets are: it makes links there of what it would like others to be shown,
/// or to reach itself.
#[test]
fn a_provider_that_puts_a_link_in_the_place_of_its_sockets_shows_nothing() {
    let world = world();
    world.write(".ssh/id_ed25519", "private\n");
    world.write(".local/share/pack/data/other/common/diary", "private\n");
    let ssh = world.home(".ssh");
    let look = "cd /run/content/looks && find . ! -type d | sort; test -e sockets && echo sockets; true";
    let made = tell(
        &world,
        "themes",
        "mkdir -p $PACK_USER_COMMON/content/looks && echo x >$PACK_USER_COMMON/content/looks/x",
    );
    assert_eq!(made.0, "");
    assert_eq!(tell(&world, "viewer", look).0, "./icon\n./sockets/x\n./themes/dark\nsockets\n");
    for (link, place) in [
        (ssh.to_str().unwrap(), "content/looks"),
        ("../../../other/common", "content/looks"),
        ("../../other/common", "content"),
        ("/", "content/looks"),
        ("..", "content/looks"),
    ] {
        let script = format!(
            "cd $PACK_USER_COMMON && rm -rf content && mkdir -p $(dirname {place}) && ln -s {link} {place} && echo done"
        );
        assert_eq!(tell(&world, "themes", &script).0, "done\n");
        // Where `content` itself is the link, there is something of the label at its end.
        world.write(".local/share/pack/data/other/common/looks/diary", "private\n");
        let (printed, said) = tell(&world, "viewer", look);
        assert_eq!(printed, "./icon\n./themes/dark\n", "{link} at {place}");
        assert!(said.contains("is shown no sockets"), "{said}");
    }
}

#[test]
fn two_packages_show_one_another_what_they_have() {
    let world = World::with_key();
    for (name, other) in [("alpha", "beta"), ("beta", "alpha")] {
        let manifest = format!(
            "slots:\n  {name}-files: {{interface: content, content: files, read: share}}\n\
             plugs:\n  files: {{interface: content, default-provider: {other}, target: $PACK/other}}\n\
             apps:\n  {name}: {{command: bin/run, plugs: [files]}}\n"
        );
        project(&world, name, &manifest, &[("share/name", name), ("other/.keep", "")]);
        world.install(name);
    }
    for (name, other) in [("alpha", "beta"), ("beta", "alpha")] {
        assert_eq!(
            tell(&world, name, "cat /app/other/share/name; echo; ls /app/other").0,
            format!("{other}\nshare\n")
        );
    }
}

/// A manifest that asks for what is the sandbox's own, or offers what is not in the package, is refused where it says so.
#[test]
fn hostile_targets_and_paths_are_refused_at_build_with_their_place() {
    let world = World::with_key();
    let build = |manifest: &str| {
        project(&world, "hostile", manifest, &[("share/x", "")]);
        err(&fail(world.pack(["build", "hostile", "-o", "hostile.pkg"]), 1))
    };
    for target in [
        "/proc",
        "/",
        "/etc/passwd",
        "/usr/share",
        "/app",
        "/run/user",
        "../x",
        "$PACK/../x",
        "$PACK",
        "/opt/../etc",
    ] {
        let manifest = format!(
            "plugs:\n  x:\n    interface: content\n    default-provider: themes\n    target: {target}\napps:\n  hostile: {{command: bin/run, plugs: [x]}}\n"
        );
        let said = build(&manifest);
        assert!(said.contains("the attribute `target` cannot be that"), "{target}: {said}");
        assert!(said.contains("pack.yaml:8:13") && said.contains(target), "{target}: {said}");
    }
    for (read, place) in
        [("../x", "pack.yaml:7:11"), ("/etc", "pack.yaml:7:11"), ("[share/x, a/../../x]", "pack.yaml:7:11")]
    {
        let manifest = format!(
            "slots:\n  x:\n    interface: content\n    read: {read}\napps:\n  hostile: {{command: bin/run}}\n"
        );
        let said = build(&manifest);
        assert!(
            said.contains("the attribute `read` cannot be that") && said.contains(place),
            "{read}: {said}"
        );
    }
    for (manifest, words) in [
        (
            "slots:\n  x: {interface: content, read: share/y}\n",
            "`share/y` is not in the package, and the slot `x` names it",
        ),
        (
            "plugs:\n  x: {interface: content, default-provider: themes, target: $PACK/y}\n",
            "`y` is not in the package, and the plug `x` names it",
        ),
    ] {
        let said = build(&format!("{manifest}apps:\n  hostile: {{command: bin/run}}\n"));
        assert!(said.contains(words), "{said}");
    }
    assert!(!world.home("hostile.pkg").exists());
}

#[test]
fn explain_and_inspect_tell_where_content_comes_from() {
    let world = world();
    for verb in [vec!["run", "--explain", "viewer"], vec!["inspect", "--plan", "viewer.pkg"]] {
        let output = succeed(world.pack(&verb));
        let told = out(&output);
        for (target, what) in [
            ("/run/content/looks/icon ", "the package `themes`'s share/icon, read-only"),
            ("/run/content/looks/themes ", "the package `themes`'s share/themes, read-only"),
            ("/run/content/looks/sockets ", "themes/common/content/looks, read-only, if it is there"),
        ] {
            let line = told.lines().find(|line| line.trim_start().starts_with(target));
            let line = line.unwrap_or_else(|| panic!("{target}: {told}"));
            assert!(line.contains(what) && line.ends_with("[plug looks]"), "{line}");
        }
    }
    succeed(world.pack(["remove", "--yes", "themes"]));
    let output = succeed(world.pack(["run", "--explain", "viewer"]));
    assert!(err(&output).contains("is shown nothing: package `themes` is not installed"), "{}", err(&output));
    assert!(!out(&output).contains("/run/content"));
}
