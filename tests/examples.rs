//! The real programs of packaging/examples, built, installed and used.

mod support;
#[path = "support/x_server.rs"]
mod x_server;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{World, err, eventually, out, succeed};
use x_server::{Ended, XServer};

#[test]
fn hello_says_hello() {
    let world = World::with_key();
    world.copy_example("hello");
    world.install("hello");
    let text = out(&succeed(world.pack(["run", "hello", "world"])));
    assert!(text.starts_with("Hello, world! This is hello 1.0, revision x1.\n"), "{text}");
    assert!(text.contains("from here it has 0 files"), "{text}");
    assert!(text.trim_end().ends_with("network interfaces: lo"), "{text}");
    let exported = succeed(world.command(world.home(".local/bin/hello")));
    assert!(out(&exported).starts_with("Hello! This is hello 1.0"), "{}", out(&exported));
}

#[test]
fn jq_runs_with_nothing_of_the_hosts_usr() {
    let world = World::with_key();
    world.copy_example("jq");
    world.install("jq");
    let mut run = world.pack(["run", "jq", "-c", ".a | map(. * 2)"]);
    let mut app = run.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    app.stdin.take().unwrap().write_all(br#"{"a": [1, 2, 3]}"#).unwrap();
    assert_eq!(out(&app.wait_with_output().unwrap()), "[2,4,6]\n");

    // Every mapping of the running program is one of the package's files.
    let mut run = world.pack(["run", "jq", "-n", "-r", "--rawfile", "maps", "/proc/self/maps", "$maps"]);
    run.stdin(Stdio::null());
    let maps = out(&succeed(run));
    let files: HashSet<&str> = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).collect();
    assert!(files.iter().any(|file| file.contains("libjq.so")), "{files:?}");
    let host_device = device_of("/usr/bin/env");
    for line in maps.lines().filter(|line| line.contains(" /")) {
        assert_ne!(line.split_whitespace().nth(3), Some(host_device.as_str()), "{line}");
    }
    // The host's programs are not there.
    let listed = support::fail(world.pack(["run", "--shell", "jq"]), 127);
    assert!(err(&listed).contains("/bin/sh"), "{}", err(&listed));
}

/// The device of a file as /proc/PID/maps writes it.
fn device_of(path: &str) -> String {
    let device = rustix::fs::stat(path).unwrap().st_dev;
    format!("{:02x}:{:02x}", rustix::fs::major(device), rustix::fs::minor(device))
}

#[test]
fn redis_serves_ten_thousand_keys_with_its_plug_and_nobody_without() {
    let world = World::with_key();
    world.copy_example("redis");
    world.install("redis");
    let port = free_port();
    let _server = start_redis(&world, &port);

    let mut commands = String::new();
    for number in 0..10_000 {
        commands.push_str(&format!("SET key:{number} value-{number}\r\n"));
    }
    let written = redis_client(&port, &commands);
    assert_eq!(written.matches("OK").count(), 10_000);
    let mut commands = String::new();
    for number in 0..10_000 {
        commands.push_str(&format!("GET key:{number}\r\n"));
    }
    let read: Vec<String> = redis_client(&port, &commands).lines().map(str::to_owned).collect();
    let expected: Vec<String> = (0..10_000).map(|number| format!("value-{number}")).collect();
    assert_eq!(read, expected);
}

#[test]
fn redis_without_its_plug_cannot_be_reached() {
    let world = World::with_key();
    let project = world.copy_example("redis");
    let manifest = std::fs::read_to_string(project.join("pack.yaml")).unwrap();
    world.write("redis/pack.yaml", manifest.replace("    plugs: [network-bind]\n", ""));
    world.install("redis");
    let port = free_port();
    let _server = start_redis(&world, &port);
    let mut client = Command::new("redis-cli");
    client.args(["-p", &port, "PING"]);
    let refused = client.output().unwrap();
    assert!(
        !out(&refused).contains("PONG") && err(&refused).contains("Connection refused"),
        "{}",
        err(&refused)
    );
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// Starts redis in its sandbox and waits until it says that it serves.
fn start_redis(world: &World, port: &str) -> Ended {
    let mut run = world.pack(["run", "redis", "--port", port, "--save", ""]);
    let mut server = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("Ready to accept connections"));
    let server = Ended(server);
    assert!(ready, "redis did not start");
    // Somebody has to read what it goes on to say.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    server
}

fn redis_client(port: &str, commands: &str) -> String {
    let mut client = Command::new("redis-cli");
    client.args(["-p", port]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = client.spawn().unwrap();
    let mut input = client.stdin.take().unwrap();
    let commands = commands.to_owned();
    let writer = std::thread::spawn(move || input.write_all(commands.as_bytes()).unwrap());
    let output = client.wait_with_output().unwrap();
    writer.join().unwrap();
    out(&output)
}

#[test]
fn galculator_shows_its_window_started_from_its_desktop_entry() {
    let world = World::with_key();
    world.copy_example("galculator");
    world.install("galculator");
    let entry = find_desktop_entry(&world);
    let mut validate = Command::new("desktop-file-validate");
    validate.arg(&entry);
    succeed(validate);

    let display = XServer::start(&world);
    let exec = std::fs::read_to_string(&entry).unwrap();
    let exec = exec.lines().find_map(|line| line.strip_prefix("Exec=")).unwrap().to_owned();
    let mut shell = world.command("sh");
    shell
        .args(["-c", &format!("exec {exec}")])
        .env("DISPLAY", &display.name)
        .env("XAUTHORITY", &display.authority);
    let _app = Ended(shell.spawn().unwrap());
    let mut window = None;
    eventually("a window of galculator's", || {
        window = display.window("galculator");
        window.is_some()
    });
    let window = window.unwrap();
    eventually("a picture in the window", || display.colours(&window) > 8);
    if let Some(folder) = std::env::var_os("PACK_TEST_SCREENSHOTS") {
        std::fs::copy(display.dump(&window), Path::new(&folder).join("galculator.xwd")).unwrap();
    }
}

#[test]
fn without_the_x11_plug_no_window_is_shown() {
    let world = World::with_key();
    let project = world.copy_example("galculator");
    let manifest = std::fs::read_to_string(project.join("pack.yaml")).unwrap();
    world.write("galculator/pack.yaml", manifest.replace("    plugs: [x11]\n", ""));
    world.install("galculator");
    let display = XServer::start(&world);
    let mut run = world.pack(["run", "galculator"]);
    run.env("DISPLAY", &display.name).env("XAUTHORITY", &display.authority);
    let output = run.output().unwrap();
    assert!(!output.status.success());
    assert!(err(&output).contains("cannot open display"), "{}", err(&output));
}

fn find_desktop_entry(world: &World) -> std::path::PathBuf {
    let folder = world.home(".local/share/applications");
    let entries: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "desktop"))
        .collect();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}
