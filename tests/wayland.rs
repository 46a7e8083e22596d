//! The Wayland plug: the compositor's own socket where it knows nothing of sandboxes, and else one that it was told of.
//!
//! The first is shown with weston. No compositor of Debian 12 has security-context-v1 (weston 10, wlroots 0.15): for the
//! second there is a server here that checks every step against the protocol, made with the protocol's own definition
//! (wayland-protocols) and an implementation of the wire that is not pack's (wayland-server).

#[path = "support/compositor.rs"]
mod compositor;
#[path = "support/servers.rs"]
mod servers;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use compositor::{Behaviour, Compositor};
use servers::Server;
use support::{World, err, eventually, fail, out, succeed};

/// A world with the package `window`, whose apps run what they are told, with the plug and without.
fn world() -> World {
    let world = World::with_key();
    let manifest = "name: window\nversion: '1'\nbase: host\napps:\n  none: {command: bin/run}\n  \
        shown: {command: bin/run, plugs: [wayland]}\nparts:\n  window: {plugin: dump, source: files}\n";
    world.project("window", manifest, &[("bin/run", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("window");
    world
}

/// A program in the sandbox of one of the apps.
fn inside(world: &World, app: &str, program: &[&str]) -> Command {
    let mut command = world.pack(["run", &format!("window.{app}"), "--"]);
    command.args(program).env("WAYLAND_DISPLAY", "wayland-7");
    command
}

fn outside(world: &World, program: &str) -> Command {
    let mut command = world.command(program);
    command.env("WAYLAND_DISPLAY", "wayland-7");
    command
}

fn weston(world: &World) -> Server {
    let mut command = world.command("weston");
    command.args(["--backend=headless-backend.so", "--socket=wayland-7", "--no-config", "--idle-time=0"]);
    let server = Server::start(world, command);
    eventually("the compositor", || outside(world, "wayland-info").output().unwrap().status.success());
    server
}

#[test]
fn a_window_is_shown_by_weston() {
    let world = world();
    let _weston = weston(&world);
    let seen = out(&succeed(inside(&world, "shown", &["wayland-info"])));
    assert!(seen.contains("'wl_compositor'"), "{seen}");
    // A frame is asked for again whenever one was shown.
    let mut client = inside(&world, "shown", &["env", "WAYLAND_DEBUG=1", "weston-simple-shm"]);
    let mut client = client.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(client.stderr.take().unwrap()));
    let frames = lines.map_while(Result::ok).filter(|line| line.contains(".frame(new id")).take(3).count();
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(frames, 3);
    let explained = out(&succeed(explain(&world)));
    assert!(explained.contains("gives it whatever it gives to everyone"), "{explained}");
}

#[test]
fn without_the_plug_or_a_compositor_there_is_no_socket() {
    let world = world();
    let look = ["sh", "-c", "test -z \"$WAYLAND_DISPLAY\" && test ! -e \"$XDG_RUNTIME_DIR/wayland-0\""];
    succeed(inside(&world, "shown", &look));
    let _weston = weston(&world);
    succeed(inside(&world, "none", &look));
    assert!(!inside(&world, "shown", &look).status().unwrap().success());
}

/// An app that would have X11 where there is no Wayland, and a display. (Nothing needs to serve that for the variable.)
#[test]
fn a_compositor_that_does_not_answer_is_no_reason_for_x11() {
    let world = World::with_key();
    let manifest = "name: window\nversion: '1'\nbase: host\napps:\n  \
        shown: {command: bin/run, plugs: [wayland, fallback-x11]}\nparts:\n  window: {plugin: dump, source: files}\n";
    world.project("window", manifest, &[("bin/run", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("window");
    let socket = world.path("run/wayland-7");
    let look = || {
        let mut look = inside(
            &world,
            "shown",
            &["sh", "-c", "echo ${DISPLAY-none}; test -S $XDG_RUNTIME_DIR/wayland-0"],
        );
        out(&look.env("DISPLAY", ":7").output().unwrap())
    };
    assert_eq!(look(), ":7\n");
    let silent = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(look(), "none\n");
    // What a compositor has left behind is none.
    drop(silent);
    assert_eq!(look(), ":7\n");
}

#[test]
fn a_compositor_that_knows_sandboxes_is_told_of_the_app() {
    let world = world();
    let compositor = Compositor::start(&world, Behaviour::AsItShould);
    let seen = out(&succeed(outside(&world, "wayland-info")));
    assert!(seen.contains("'wp_security_context_manager_v1'"), "{seen}");
    let seen = out(&succeed(inside(&world, "shown", &["wayland-info"])));
    assert!(seen.contains("'wl_compositor'") && !seen.contains("wp_security"), "{seen}");
    let told = compositor.contexts();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].engine.as_str(), told[0].app.as_str()), ("pack", "pack.app.window"));
    assert!(!told[0].instance.is_empty() && told[0].clients == 1, "{told:?}");
    eventually("the end of the socket", || compositor.contexts()[0].closed);
    // Each launch is one of its own.
    succeed(inside(&world, "shown", &["wayland-info"]));
    let told = compositor.contexts();
    assert_ne!(told[0].instance, told[1].instance);
    let explained = out(&succeed(explain(&world)));
    assert!(explained.contains("which is told that it serves an app"), "{explained}");
}

#[test]
fn a_socket_that_was_registered_lives_as_long_as_the_app() {
    let world = world();
    let compositor = Compositor::start(&world, Behaviour::AsItShould);
    let mut app = inside(&world, "shown", &["sh", "-c", "echo runs; read line; wayland-info"]);
    let mut app = app.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(app.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "runs");
    assert!(!compositor.contexts()[0].closed);
    std::io::Write::write_all(app.stdin.as_mut().unwrap(), b"\n").unwrap();
    assert!(lines.map(Result::unwrap).any(|line| line.contains("wl_compositor")));
    app.wait().unwrap();
    eventually("the end of the socket", || compositor.contexts()[0].closed);
    // By SIGKILL as well, when nothing can be cleaned up.
    let killed = Server::start(&world, inside(&world, "shown", &["sleep", "60"]));
    eventually("the second socket", || compositor.contexts().len() == 2);
    killed.end();
    eventually("the end of the second socket", || compositor.contexts()[1].closed);
}

#[test]
fn a_compositor_that_cannot_be_told_gets_no_app() {
    let world = world();
    for behaviour in [Behaviour::Refuses, Behaviour::HangsUp, Behaviour::SaysNothing] {
        let compositor = Compositor::start(&world, behaviour);
        let refused = fail(inside(&world, "shown", &["sh", "-c", "echo runs"]), 125);
        assert_eq!(out(&refused), "");
        let expected = "cannot register the app's socket with the Wayland compositor";
        assert!(err(&refused).contains(expected), "{behaviour:?}: {}", err(&refused));
        drop(compositor);
    }
}

#[test]
fn something_that_is_no_compositor_is_none() {
    let world = world();
    let path = world.path("run/wayland-7");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    // It answers every client with the same bytes: messages of no length.
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut client, &[0; 64]).unwrap();
    });
    let look = ["sh", "-c", "test -z \"$WAYLAND_DISPLAY\" && test ! -e \"$XDG_RUNTIME_DIR/wayland-0\""];
    succeed(inside(&world, "shown", &look));
    server.join().unwrap();
}

fn explain(world: &World) -> Command {
    let mut command = world.pack(["run", "--explain", "window.shown"]);
    command.env("WAYLAND_DISPLAY", "wayland-7");
    command
}
