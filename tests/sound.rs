//! Playing and recording are plugs of their own: shown with real sound servers, whose only sink is heard by its monitor.

#[path = "support/servers.rs"]
mod servers;
mod support;

use std::f64::consts::TAU;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use servers::{Server, pipewire, pulseaudio};
use support::{World, err, eventually, out, succeed};

const RATE: u32 = 44100;
const TONE: f64 = 440.0;
const FORMAT: [&str; 4] = ["--raw", "--format=s16le", "--rate=44100", "--channels=1"];

/// A world with the package `sound`, whose apps run what they are told, with the plugs that their names say.
fn world() -> World {
    let world = World::with_key();
    let manifest = "name: sound\nversion: '1'\nbase: host\napps:\n  \
        none: {command: bin/run}\n  \
        play: {command: bin/run, plugs: [audio-playback]}\n  \
        record: {command: bin/run, plugs: [audio-record]}\n  \
        both: {command: bin/run, plugs: [audio-playback, audio-record]}\n\
        parts:\n  sound: {plugin: dump, source: files}\n";
    world.project("sound", manifest, &[("bin/run", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("sound");
    succeed(world.pack(["connect", "sound:audio-record"]));
    world
}

/// A program in the sandbox of one of the apps.
fn inside(world: &World, app: &str, program: &[&str]) -> Command {
    let mut command = world.pack(["run", &format!("sound.{app}"), "--"]);
    command.args(program);
    command
}

fn run(world: &World, app: &str, program: &[&str]) -> Output {
    inside(world, app, program).output().unwrap()
}

/// Asserts that a program fails inside, and says that it may not.
#[track_caller]
fn refused(world: &World, app: &str, program: &[&str]) {
    let output = run(world, app, program);
    assert!(!output.status.success(), "{program:?}: {}", out(&output));
    assert!(err(&output).contains("Access denied"), "{program:?}: {}", err(&output));
}

/// Two seconds of a tone, in the app's own folder.
fn tone(world: &World) -> PathBuf {
    let samples = (0..2 * RATE).flat_map(|number| {
        let phase = TAU * TONE * f64::from(number) / f64::from(RATE);
        ((phase.sin() * 12000.0) as i16).to_le_bytes()
    });
    world.write(".local/share/pack/data/sound/common/tone", samples.collect::<Vec<u8>>())
}

/// How strong a frequency is in recorded samples: the amplitude of its wave (Goertzel's algorithm).
fn strength(samples: &[u8], frequency: f64) -> f64 {
    let samples: Vec<f64> =
        samples.chunks_exact(2).map(|two| f64::from(i16::from_le_bytes([two[0], two[1]]))).collect();
    let turn = TAU * frequency / f64::from(RATE);
    let (mut last, mut before) = (0.0, 0.0);
    for sample in &samples {
        (last, before) = (sample + 2.0 * turn.cos() * last - before, last);
    }
    let power = last * last + before * before - 2.0 * turn.cos() * last * before;
    2.0 * power.max(0.0).sqrt() / samples.len().max(1) as f64
}

/// Records what the sink plays, until dropped; `command` is a recorder without its arguments.
fn recorder(mut command: Command) -> Child {
    command.args(FORMAT).args(["--latency-msec=20", "-d", "quiet.monitor"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Reads a recorder until it has heard the tone, and ends it; fails where it hears none in half a minute.
fn hears_tone(mut recorder: Child) -> bool {
    use std::io::Read;
    let mut stream = recorder.stdout.take().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    let mut part = vec![0; RATE as usize];
    let mut heard = false;
    while !heard && Instant::now() < end && stream.read_exact(&mut part).is_ok() {
        let (at_tone, beside) = (strength(&part, TONE), strength(&part, TONE * 2.5));
        heard = at_tone > 3000.0 && at_tone > 20.0 * beside;
    }
    recorder.kill().unwrap();
    recorder.wait().unwrap();
    heard
}

/// Plays the tone inside, again and again until dropped.
fn player(world: &World, app: &str) -> Server {
    let file = tone(world);
    let script = format!("while pacat {} {}; do :; done", FORMAT.join(" "), file.display());
    Server::start(world, inside(world, app, &["sh", "-c", &script]))
}

/// Playing and recording with each of the plugs, whatever the server.
fn assert_apart(world: &World) {
    let playing = player(world, "play");
    assert!(hears_tone(recorder(world.command("parec"))), "what the app plays is heard outside");
    // With the plug for it, an app hears what others play; without, nothing.
    assert!(hears_tone(recorder(inside(world, "record", &["parec"]))));
    assert!(hears_tone(recorder(inside(world, "both", &["parec"]))));
    let recording = recorder(inside(world, "play", &["parec"])).wait_with_output().unwrap();
    assert!(recording.stdout.is_empty() && !recording.status.success());
    assert!(err(&recording).contains("Access denied"), "{}", err(&recording));
    playing.end();
    let file = tone(world);
    refused(world, "record", &[&["pacat"], &FORMAT[..], &[file.to_str().unwrap()]].concat());
    let playing = player(world, "both");
    assert!(hears_tone(recorder(world.command("parec"))));
    playing.end();
}

#[test]
fn playing_and_recording_are_apart_with_pulseaudio() {
    let world = world();
    let _server = pulseaudio(&world);
    assert_apart(&world);
}

#[test]
fn playing_and_recording_are_apart_with_pipewire() {
    let world = world();
    let _servers = pipewire(&world);
    assert_apart(&world);
}

/// A program as people write them: Python, playing samples that it makes itself through PulseAudio's simple interface.
#[test]
fn a_python_program_plays_a_tone() {
    let world = world();
    let _server = pulseaudio(&world);
    let program = r#"
import array, ctypes, math
pulse = ctypes.CDLL("libpulse-simple.so.0")
pulse.pa_simple_new.restype = ctypes.c_void_p
class Sample(ctypes.Structure):
    _fields_ = [("format", ctypes.c_int), ("rate", ctypes.c_uint32), ("channels", ctypes.c_uint8)]
error = ctypes.c_int()
PLAYBACK, S16LE = 1, 3
stream = pulse.pa_simple_new(None, b"python", PLAYBACK, None, b"tone", ctypes.byref(Sample(S16LE, 44100, 1)), None, None, ctypes.byref(error))
if not stream:
    raise SystemExit(f"refused: {error.value}")
second = array.array("h", (int(12000 * math.sin(math.tau * 440 * i / 44100)) for i in range(44100))).tobytes()
while pulse.pa_simple_write(ctypes.c_void_p(stream), second, ctypes.c_size_t(len(second)), ctypes.byref(error)) == 0:
    pass
"#;
    let without = run(&world, "none", &["python3", "-c", program]);
    assert!(err(&without).contains("refused"), "{}", err(&without));
    let playing = Server::start(&world, inside(&world, "play", &["python3", "-c", program]));
    assert!(hears_tone(recorder(world.command("parec"))));
    playing.end();
}

#[test]
fn without_a_plug_or_a_server_there_is_no_socket() {
    let world = world();
    let look = "test -z \"$PULSE_SERVER\" && test ! -e \"$XDG_RUNTIME_DIR/pulse/native\"";
    succeed(inside(&world, "play", &["sh", "-c", look]));
    let _server = pulseaudio(&world);
    succeed(inside(&world, "none", &["sh", "-c", look]));
    assert!(!run(&world, "play", &["sh", "-c", look]).status.success());
}

#[test]
fn an_app_cannot_govern_the_sound_server() {
    let world = world();
    let _server = pulseaudio(&world);
    for app in ["play", "record", "both"] {
        for program in [
            &["pactl", "load-module", "module-null-sink"][..],
            &["pactl", "unload-module", "0"],
            &["pactl", "exit"],
            &["pactl", "set-sink-volume", "quiet", "10%"],
            &["pactl", "set-sink-mute", "quiet", "1"],
            &["pactl", "set-default-sink", "quiet"],
            &["pactl", "set-source-volume", "quiet.monitor", "10%"],
            &["pactl", "suspend-sink", "quiet", "1"],
            &["pactl", "upload-sample", "/usr/share/sounds/alsa/none.wav"],
            &["pactl", "play-sample", "x"],
            &["pactl", "send-message", "/core", "list-handlers"],
        ] {
            let output = run(&world, app, program);
            assert!(!output.status.success(), "{app} {program:?}: {}", out(&output));
        }
        assert!(!out(&succeed(inside(&world, app, &["pactl", "info"]))).contains("Failure"));
    }
    let sinks = out(&succeed({
        let mut list = world.command("pactl");
        list.args(["list", "sinks"]);
        list
    }));
    assert!(sinks.contains("Mute: no") && sinks.contains("100%"), "{sinks}");
}

/// The server's number of a stream that another program plays.
fn stream_of_another(world: &World) -> String {
    let mut found = String::new();
    eventually("a stream of another program's", || {
        let mut list = world.command("pactl");
        let list = list.args(["list", "short", "sink-inputs"]).output().unwrap();
        found = out(&list).split_whitespace().next().unwrap_or_default().to_owned();
        !found.is_empty()
    });
    found
}

#[test]
fn other_programs_are_neither_seen_nor_touched() {
    let world = world();
    let _server = pulseaudio(&world);
    let mut other = world.command("pacat");
    other.args(FORMAT).arg("/dev/zero");
    let mut other = Server::start(&world, other);
    let stream = stream_of_another(&world);
    for app in ["play", "both"] {
        refused(&world, app, &["pactl", "set-sink-input-volume", &stream, "10%"]);
        refused(&world, app, &["pactl", "set-sink-input-mute", &stream, "1"]);
        refused(&world, app, &["pactl", "move-sink-input", &stream, "quiet"]);
        for list in ["sink-inputs", "source-outputs", "clients", "modules", "samples", "cards"] {
            let seen = out(&succeed(inside(&world, app, &["pactl", "list", "short", list])));
            assert_eq!(seen, "", "{list}");
        }
    }
    let seen = out(&succeed(inside(&world, "play", &["pactl", "list", "short", "sources"])));
    assert_eq!(seen, "", "without recording there are no sources");
    let seen = out(&succeed(inside(&world, "both", &["pactl", "list", "short", "sources"])));
    assert!(seen.contains("quiet.monitor"), "{seen}");
    assert!(other.runs());
}

/// Process ids of the companions that a launcher has started.
fn companions(launcher: u32) -> Vec<u32> {
    let Ok(children) = fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")) else {
        return Vec::new();
    };
    let is_companion = |id: &u32| {
        fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == "pack-sound")
    };
    children.split_whitespace().filter_map(|id| id.parse().ok()).filter(is_companion).collect()
}

#[test]
fn the_companion_is_confined_and_ends_with_its_launcher() {
    let world = world();
    let _server = pulseaudio(&world);
    let launcher = Server::start(&world, inside(&world, "play", &["sh", "-c", "pactl info && sleep 60"]));
    let mut found = Vec::new();
    eventually("the companion", || {
        found = companions(launcher.id());
        found.len() == 1
    });
    let status = || fs::read_to_string(format!("/proc/{}/status", found[0])).unwrap_or_default();
    eventually("its confinement", || status().contains("Seccomp:\t2"));
    for line in ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "Threads:\t1"] {
        assert!(status().contains(line), "{line}: {}", status());
    }
    let command_line = fs::read(format!("/proc/{}/cmdline", found[0])).unwrap();
    assert!(command_line.starts_with(b"pack-sound\0"), "{}", String::from_utf8_lossy(&command_line));
    if support::is_root() {
        let root: Vec<_> =
            fs::read_dir(format!("/proc/{}/root", found[0])).unwrap().map(|e| e.unwrap()).collect();
        assert_eq!(root.len(), 1, "the folder of the server alone: {root:?}");
    }
    // By SIGKILL: nothing can be cleaned up.
    launcher.end();
    eventually("the end of the companion", || {
        fs::read_to_string(format!("/proc/{}/stat", found[0])).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[test]
fn without_its_companion_no_app_starts() {
    let world = world();
    let _server = pulseaudio(&world);
    // The keeper is there then, and is not met by what fails.
    succeed(inside(&world, "none", &["true"]));
    for (call, step) in [("setsid", "cannot begin a session"), ("landlock_restrict_self", "with Landlock")] {
        let mut strace = world.command("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={call}:error=EPERM")]);
        strace.arg(support::pack_binary()).args(["run", "sound.play", "--", "echo", "runs"]);
        let output = strace.output().unwrap();
        assert_eq!(
            (output.status.code(), out(&output).as_str()),
            (Some(125), ""),
            "{call}: {}",
            err(&output)
        );
        assert!(err(&output).contains(step), "{call}: {}", err(&output));
    }
}

#[test]
fn a_companion_that_is_killed_takes_the_sound_alone_along() {
    let world = world();
    let _server = pulseaudio(&world);
    let script = "pactl info >/dev/null && echo first && read line; pactl info >/dev/null || echo silent";
    let mut app = inside(&world, "play", &["sh", "-c", script]);
    let mut app = app.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(app.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    let companion = companions(app.id())[0];
    succeed({
        let mut kill = Command::new("kill");
        kill.args(["-KILL", &companion.to_string()]);
        kill
    });
    std::io::Write::write_all(app.stdin.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "silent");
    assert!(app.wait().unwrap().success());
}

#[test]
fn a_server_that_starts_anew_is_found_again() {
    let world = world();
    let server = pulseaudio(&world);
    let script = "pactl info >/dev/null && echo first && read line && pactl info >/dev/null && echo second";
    let mut app = inside(&world, "play", &["sh", "-c", script]);
    let mut app = app.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(app.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "first");
    server.end();
    let _server = pulseaudio(&world);
    std::io::Write::write_all(app.stdin.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "second");
    assert!(app.wait().unwrap().success());
}

/// Attacks on the companion, in the sandbox: malformed frames, floods that nobody reads, many connections.
const ATTACKS: &str = r#"
import os, random, socket, struct, subprocess
path = os.environ["XDG_RUNTIME_DIR"] + "/pulse/native"
def connect():
    s = socket.socket(socket.AF_UNIX); s.connect(path); s.settimeout(20); return s
def number(n): return b"L" + struct.pack(">I", n)
def control(packet): return struct.pack(">IIIII", len(packet), 0xffffffff, 0, 0, 0) + packet
def auth(version=35): return control(number(8) + number(0) + number(version) + b"x" + struct.pack(">I", 256) + bytes(256))
def closed(data):
    s = connect()
    try:
        s.sendall(data); s.settimeout(20)
        while s.recv(65536): pass
    except (BrokenPipeError, ConnectionResetError): pass
    s.close()
closed(b"\xff" * 4096)
closed(struct.pack(">IIIII", 0x7fffffff, 0xffffffff, 0, 0, 0))
closed(struct.pack(">IIIII", 16, 0, 0, 0, 0x80000000))
closed(auth() + struct.pack(">IIIII", 16, 0, 0, 0, 0xa0000000) + bytes(16))
closed(auth() + control(number(9) + number(1) + b"Zoo"))
closed(control(number(20) + number(0)))
random.seed(1)
for _ in range(200):
    s = connect(); s.sendall(auth())
    frame = bytearray(control(number(random.randrange(110)) + number(1) + random.randbytes(random.randrange(60))))
    for _ in range(random.randrange(4)): frame[random.randrange(len(frame))] = random.randrange(256)
    try: s.sendall(frame)
    except OSError: pass
    s.close()
# Commands without end, whose answers nobody reads; and a descriptor that goes nowhere.
flood = connect(); flood.sendall(auth()); flood.settimeout(0.5); sent = 0
try:
    for tag in range(1, 10**6):
        sent += flood.send(control(number(7) + number(tag)))
except (socket.timeout, BrokenPipeError, ConnectionResetError): pass
assert sent < 8 << 20, sent
passing = connect()
socket.send_fds(passing, [auth(0xc0000023)], [os.open("/dev/zero", os.O_RDONLY)])
answer = passing.recv(4096)
assert answer[20:25] == number(2) and answer[30:35] == number(35), answer
idle = [connect() for _ in range(20)]
print("ready", flush=True)
subprocess.run(["pactl", "info"], check=True, stdout=subprocess.DEVNULL)
print("served")
"#;

#[test]
fn malformed_frames_and_floods_hurt_nobody_else() {
    let world = world();
    let mut server = pulseaudio(&world);
    let output = succeed(inside(&world, "play", &["python3", "-c", ATTACKS]));
    assert_eq!(out(&output), "ready\nserved\n");
    assert!(server.runs());
}

#[test]
fn explain_names_the_filter() {
    let world = world();
    let _server = pulseaudio(&world);
    let explained = out(&succeed(world.pack(["run", "--explain", "sound.play"])));
    assert!(
        explained.contains("through a filter: playing (plug audio-playback), no recording"),
        "{explained}"
    );
}
