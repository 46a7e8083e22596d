//! A network plug with `hosts`: those are reached, through the proxy, and nothing else is, in any way.
//!
//! The tests have networks of their own, in network namespaces. The `host` of these tests is one of them; behind a gateway,
//! in another, are public addresses (of a range that is kept for examples) with real HTTP servers, and a DNS server that
//! never answers. Names for them are in /etc/hosts.
//!
//! ```text
//! host: 127.0.0.1, 198.51.100.1/24, 203.0.113.77, 2001:db8:1::1/64 ── gateway: 198.51.100.2, 2001:db8:1::2,
//!                                                                               203.0.113.5, 203.0.113.6
//! ```

#[path = "support/servers.rs"]
mod servers;
mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use servers::Server;
use support::{World, err, eventually, out, skip, succeed};

/// Public addresses of the test's own network.
const ALLOWED: &str = "203.0.113.5";
const OTHER: &str = "203.0.113.6";
/// Public addresses of the host's own, and of its neighbour's.
const NEAR: [(&str, &str); 4] = [
    ("own4", "203.0.113.77"),
    ("own6", "2001:db8:1::1"),
    ("neighbour4", "198.51.100.2"),
    ("neighbour6", "2001:db8:1::2"),
];
/// Names there, and names that lead inside.
const NAMES: &str = "127.0.0.1 localhost\n203.0.113.5 allowed.example www.allowed.example\n203.0.113.6 other.example\n\
    127.0.0.1 rebound.allowed.example\n10.1.2.3 private.allowed.example\n::1 six.allowed.example\n\
    192.0.2.77 gone.allowed.example\n203.0.113.77 own4.allowed.example\n2001:db8:1::1 own6.allowed.example\n\
    198.51.100.2 neighbour4.allowed.example\n2001:db8:1::2 neighbour6.allowed.example\n";
const PORT: u16 = 8080;
const OTHER_PORT: u16 = 8081;

const MANIFEST: &str = r#"name: web
version: '1'
base: host
apps:
  none: {command: bin/run}
  all: {command: bin/run, plugs: [network]}
  some: {command: bin/run, plugs: [some]}
  ports: {command: bin/run, plugs: [some-ports]}
  inside: {command: bin/run, plugs: [inside]}
plugs:
  some: {interface: network, hosts: [allowed.example, "*.allowed.example"]}
  some-ports: {interface: network, hosts: [allowed.example, "203.0.113.6"], ports: [8080]}
  inside: {interface: network, hosts: [localhost, "127.0.0.1"]}
parts:
  web: {plugin: dump, source: files}
"#;

/// The test's network, and what runs in it.
struct Net {
    world: World,
    holder: Server,
    /// The process that holds the gateway's network.
    gateway: String,
    servers: Vec<Server>,
}

impl Net {
    /// Nothing, told as a skip, where the tests may not make a network.
    fn new() -> Option<Net> {
        if !support::is_root() {
            skip("a network of its own can be made by root alone");
            return None;
        }
        let world = World::with_key();
        world.project("web", MANIFEST, &[("bin/run", "#!/bin/sh\nexec \"$@\"\n")]);
        world.install("web");
        let names = world.write("names", NAMES);
        let dns = world.write("dns", format!("nameserver {ALLOWED}\noptions timeout:9 attempts:1\n"));
        let ready = world.path("tmp/ready");
        let script = format!(
            "set -e; etc={etc}; mkdir \"$etc\"; cp -a /etc/. \"$etc/\"; rm -f \"$etc/hosts\" \"$etc/resolv.conf\"; \
             cp {} \"$etc/hosts\"; cp {} \"$etc/resolv.conf\"; chmod 755 \"$etc\"; mount --bind \"$etc\" /etc; ip link set lo up; \
             own=$(readlink /proc/self/ns/net); setpriv --pdeathsig KILL unshare --net sleep infinity & gateway=$!; \
             while test \"$(readlink /proc/$gateway/ns/net)\" = \"$own\"; do sleep 0.02; done; \
             ip link add out type veth peer name in netns $gateway; \
             ip address add 198.51.100.1/24 dev out; ip address add 2001:db8:1::1/64 dev out nodad; \
             ip address add 203.0.113.77/32 dev lo; ip link set out up; \
             there=\"nsenter --target=$gateway --net ip\"; $there link set lo up; $there link set in up; \
             $there address add 198.51.100.2/24 dev in; $there address add 2001:db8:1::2/64 dev in nodad; \
             $there address add {ALLOWED}/32 dev lo; $there address add {OTHER}/32 dev lo; \
             ip route add 203.0.113.0/24 via 198.51.100.2; echo $gateway >{}.new; mv {2}.new {2}; wait",
            names.display(),
            dns.display(),
            ready.display(),
            etc = world.path("etc").display()
        );
        let mut holder = Command::new("unshare");
        holder.args(["--mount", "--net", "--propagation", "private", "--", "sh", "-c", &script]);
        let holder = Server::start(&world, holder);
        eventually("the network", || ready.exists());
        let gateway = fs::read_to_string(&ready).unwrap().trim().to_owned();
        let mut net = Net { world, holder, gateway, servers: Vec::new() };
        for (address, port) in
            [(ALLOWED, PORT), (ALLOWED, OTHER_PORT), (OTHER, PORT), ("127.0.0.1", PORT), ("127.0.0.1", 631)]
        {
            net.serve(address, port);
        }
        Some(net)
    }

    /// A command in the host's network.
    fn within(&self, command: &Command) -> Command {
        self.at(&self.holder.id().to_string(), command)
    }

    /// A command in the network that this address is in.
    fn beside(&self, address: &str, command: &Command) -> Command {
        match [ALLOWED, OTHER, "198.51.100.2", "2001:db8:1::2"].contains(&address) {
            true => self.at(&self.gateway, command),
            false => self.within(command),
        }
    }

    fn at(&self, process: &str, command: &Command) -> Command {
        let mut outer = Command::new("nsenter");
        outer.args([&format!("--target={process}"), "--mount", "--net", "--"]);
        outer.arg(command.get_program()).args(command.get_args());
        outer.env_clear().envs(self.world.environment()).stdin(Stdio::null());
        outer
    }

    /// Starts an HTTP server that tells its address.
    fn serve(&mut self, address: &str, port: u16) {
        let folder = format!("served-{address}-{port}");
        self.world.write(&format!("{folder}/index.html"), format!("{address}:{port}\n"));
        // Ports below 1024 are the user's here: nothing of the test runs as root.
        let mut settings = Command::new("sysctl");
        succeed(self.beside(address, settings.args(["-qw", "net.ipv4.ip_unprivileged_port_start=0"])));
        let mut server = self.world.command("/usr/bin/python3");
        server.args(["-m", "http.server", &port.to_string(), "--bind", address, "--directory"]);
        server.arg(self.world.home(&folder));
        let server = Server::start(&self.world, self.beside(address, &server));
        self.servers.push(server);
        let place = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        eventually("the server's port", || {
            let mut curl = Command::new("curl");
            curl.args(["-sf", "-o", "/dev/null", &format!("http://{place}:{port}/")]);
            self.within(&curl).status().unwrap().success()
        });
    }

    /// A program in the sandbox of one of the apps.
    fn inside(&self, app: &str, program: &[&str]) -> Command {
        let mut pack = self.world.pack(["run", &format!("web.{app}"), "--"]);
        pack.args(program);
        self.within(&pack)
    }

    /// What curl says inside: the body and the status of the answer, or of the tunnel's, and its own complaint.
    fn curl(&self, app: &str, arguments: &[&str]) -> (String, String) {
        let format = ["curl", "-sS", "-m", "60", "-w", "%{http_code} %{http_connect}"];
        let output = self.inside(app, &[&format[..], arguments].concat()).output().unwrap();
        (out(&output), err(&output))
    }

    #[track_caller]
    fn reaches(&self, app: &str, arguments: &[&str], server: &str) {
        let (said, complaint) = self.curl(app, arguments);
        assert!(said.starts_with(&format!("{server}\n200 ")), "{arguments:?}: {said} {complaint}");
    }

    /// Runs Python inside.
    fn python(&self, app: &str, script: &str) -> Output {
        self.inside(app, &["python3", "-c", script]).output().unwrap()
    }
}

#[test]
fn allowed_hosts_are_reached_by_every_way_into_the_proxy() {
    let Some(net) = Net::new() else { return };
    let allowed = format!("{ALLOWED}:{PORT}");
    for url in
        ["http://allowed.example:8080/", "http://www.Allowed.EXAMPLE:8080/", "http://allowed.example.:8080/"]
    {
        net.reaches("some", &[url], &allowed);
        net.reaches("some", &["-p", url], &allowed);
        net.reaches("some", &["-x", "socks5h://127.0.0.1:3128", url], &allowed);
    }
    net.reaches("some", &["http://allowed.example:8081/"], &format!("{ALLOWED}:{OTHER_PORT}"));
    // Two requests, for which curl would keep its connection.
    let twice = ["http://allowed.example:8080/", "http://allowed.example:8081/"];
    let (said, complaint) = net.curl("some", &twice);
    assert_eq!(said, "203.0.113.5:8080\n200 000203.0.113.5:8081\n200 000", "{complaint}");
}

#[test]
fn other_hosts_are_refused_with_a_reason() {
    let Some(net) = Net::new() else { return };
    for url in [
        "http://other.example:8080/",
        "http://203.0.113.5:8080/",
        "http://203.0.113.6:8080/",
        "http://notallowed.example/",
        "http://allowed.example.other.example:8080/",
        "http://2130706433:8080/",
        "http://[::1]:8080/",
        "http://0x7f000001:8080/",
    ] {
        let (said, _) = net.curl("some", &["--noproxy", "", url]);
        let named = url.trim_start_matches("http://").trim_end_matches('/');
        let named = if named.contains(':') { named.to_owned() } else { format!("{named}:80") };
        // curl itself reads odd forms of addresses.
        let named = named.replace("2130706433", "127.0.0.1").replace("0x7f000001", "127.0.0.1");
        let reason =
            format!("pack: {named} is not among the hosts and ports of this app's network plug\n403 000");
        assert_eq!(said, reason, "{url}");
    }
    let (said, complaint) = net.curl("some", &["-p", "http://other.example:8080/"]);
    assert_eq!(said, "000 403");
    assert!(complaint.contains("403"), "{complaint}");
    let (said, complaint) =
        net.curl("some", &["-x", "socks5h://127.0.0.1:3128", "http://other.example:8080/"]);
    assert_eq!(said, "000 000");
    assert!(complaint.contains("SOCKS5"), "{complaint}");
}

#[test]
fn ports_are_limited() {
    let Some(net) = Net::new() else { return };
    net.reaches("ports", &["http://allowed.example:8080/"], &format!("{ALLOWED}:{PORT}"));
    net.reaches("ports", &["http://203.0.113.6:8080/"], &format!("{OTHER}:{PORT}"));
    for arguments in [&["http://allowed.example:8081/"][..], &["-p", "http://allowed.example:8081/"]] {
        let (said, _) = net.curl("ports", arguments);
        assert!(said.contains("403"), "{said}");
    }
}

/// Tries to get past the proxy; says what worked.
const PAST: &str = r#"
import socket
def attempt(name, do):
    try: do(); print(name)
    except OSError: pass
def tcp(*address):
    s = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET); s.settimeout(5); s.connect(address)
def udp(*address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", address)
for host in ["203.0.113.5", "203.0.113.6", "10.1.2.3", "8.8.8.8", "127.0.0.1", "::ffff:203.0.113.5"]:
    attempt("tcp " + host, lambda: tcp(host, 8080))
attempt("cups", lambda: tcp("127.0.0.1", 631))
for host in ["203.0.113.5", "8.8.8.8"]: attempt("udp " + host, lambda: udp(host, 53))
attempt("name", lambda: socket.getaddrinfo("slow.allowed.example", 80))
attempt("interface", lambda: socket.if_nameindex()[1:] and print("more than lo"))
print("proxy", end=" "); tcp("127.0.0.1", 3128); print("there")
"#;

#[test]
fn there_is_no_way_past_the_proxy() {
    let Some(net) = Net::new() else { return };
    let output = net.python("some", PAST);
    assert_eq!(out(&output), "interface\nproxy there\n", "{}", err(&output));
    // The attempts are ones that can work.
    let output = out(&net.python("all", &PAST.replace("tcp(\"127.0.0.1\", 3128)", "print()")));
    for worked in ["tcp 203.0.113.5", "tcp 203.0.113.6", "cups", "udp 203.0.113.5"] {
        assert!(output.contains(worked), "{worked}: {output}");
    }
    let output = net.python("none", "import os, socket\nprint(os.environ.get('http_proxy'))\nsocket.create_connection(('127.0.0.1', 3128))");
    assert!(out(&output) == "None\n" && err(&output).contains("ConnectionRefused"), "{}", err(&output));
}

#[test]
fn names_lead_nowhere_inside() {
    let Some(net) = Net::new() else { return };
    for name in ["rebound", "private", "six"] {
        let url = format!("http://{name}.allowed.example:8080/");
        let (said, _) = net.curl("some", &[&url]);
        let reason = "leads into the user's own network, and its address is not listed\n403 000";
        assert_eq!(said, format!("pack: {name}.allowed.example:8080 {reason}"));
        let (said, _) = net.curl("some", &["-p", &url]);
        assert_eq!(said, "000 403");
    }
    // What is listed is reached.
    net.reaches("inside", &["http://localhost:8080/"], "127.0.0.1:8080");
    net.reaches("inside", &["http://127.0.0.1:8080/"], "127.0.0.1:8080");
}

#[test]
fn names_lead_neither_to_the_hosts_own_public_addresses_nor_to_its_neighbours() {
    let Some(mut net) = Net::new() else { return };
    for (name, address) in NEAR {
        net.serve(address, PORT);
        let url = format!("http://{name}.allowed.example:8080/");
        net.reaches("all", &[&url], &format!("{address}:{PORT}"));
        let (said, _) = net.curl("some", &[&url]);
        let reason = "leads into the user's own network, and its address is not listed\n403 000";
        assert_eq!(said, format!("pack: {name}.allowed.example:8080 {reason}"));
    }
    // Networks come and go: the app that runs hears of an address that was elsewhere before.
    let mut app = net.inside("some", &["sh", "-c", "read line; curl -sS http://allowed.example:8080/"]);
    let mut app = app.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut here = Command::new("ip");
    succeed(net.within(here.args(["address", "add", ALLOWED, "dev", "lo"])));
    net.servers.push({
        let mut server = net.world.command("/usr/bin/python3");
        server.args(["-m", "http.server", "8080", "--bind", ALLOWED]);
        Server::start(&net.world, net.within(&server))
    });
    app.stdin.take().unwrap().write_all(b"\n").unwrap();
    let said = out(&app.wait_with_output().unwrap());
    assert!(said.contains("leads into the user's own network"), "{said}");
    // A route to a device with one other end, as VPNs set it, is the way out.
    let mut vpn = Command::new("sh");
    vpn.args([
        "-c",
        "ip address del 203.0.113.5/32 dev lo && ip route del 203.0.113.0/24 && \
        ip tuntap add vpn mode tun && ip link set vpn up && ip route add 203.0.113.0/28 dev vpn",
    ]);
    succeed(net.within(&vpn));
    let (said, _) = net.curl("some", &["-m", "2", "http://allowed.example:8080/"]);
    assert!(!said.contains("own network"), "{said}");
}

#[test]
fn a_host_that_is_gone_is_told_of() {
    let Some(net) = Net::new() else { return };
    let (said, _) = net.curl("some", &["http://allowed.example:9/"]);
    assert_eq!(said, "pack: allowed.example:9 cannot be reached\n502 000");
    let (said, _) = net.curl("some", &["http://gone.allowed.example:8080/"]);
    assert_eq!(said, "pack: gone.allowed.example:8080 cannot be reached\n502 000");
}

#[test]
fn a_slow_name_holds_up_nothing_else() {
    let Some(mut net) = Net::new() else { return };
    let mut silent = net.world.command("/usr/bin/python3");
    silent.args([
        "-c",
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
        s.bind(('203.0.113.5', 53)); print('bound', flush=True); time.sleep(600)",
    ]);
    let mut silent = net.beside(ALLOWED, &silent);
    let mut silent = silent.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(silent.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "bound\n");
    // Four names that nobody answers for, and one that is in a file.
    let script = "for n in 1 2 3 4; do curl -sS -m 60 http://slow$n.allowed.example:8080/ & done; sleep 1; \
        curl -sS -m 60 http://allowed.example:8080/; echo first; wait";
    let mut app = net.inside("some", &["sh", "-c", script]);
    let began = Instant::now();
    let mut app = app.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(app.stdout.take().unwrap())).map(Result::unwrap);
    assert_eq!(lines.next().as_deref(), Some("203.0.113.5:8080"));
    assert_eq!(lines.next().as_deref(), Some("first"));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let rest: Vec<String> = lines.collect();
    assert_eq!(rest.len(), 4, "{rest:?}");
    assert!(
        rest.iter().all(|line| line.ends_with("is not found") || line.ends_with("does not answer")),
        "{rest:?}"
    );
    app.wait().unwrap();
    silent.kill().unwrap();
    silent.wait().unwrap();
    net.servers.clear();
}

/// Attacks on the proxy, in the sandbox.
const ATTACKS: &str = r#"
import os, random, socket, subprocess
def connect():
    s = socket.create_connection(("127.0.0.1", 3128)); s.settimeout(40); return s
def answer(data):
    s = connect()
    try:
        s.sendall(data)
        said = b""
        while part := s.recv(65536): said += part
        return said
    except (BrokenPipeError, ConnectionResetError): return b""
for odd in [b"\0" * 64, b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n", b"GET http://allowed.example:8080/ HTTP/1.1\r\nA: b\n c\r\n\r\n",
        b"CONNECT allowed.example:8080:8080 HTTP/1.1\r\n\r\n", b"GET http://allowed.example:8080@other.example:8080/ HTTP/1.1\r\n\r\n",
        b"\r\n\r\n", b"A" * 40000, b"GET http://allowed.example:8080/ HTTP/1.1\r\nA: " + b"b" * 40000]:
    said = answer(odd)
    assert said == b"" or said.startswith(b"HTTP/1.1 400 "), (odd[:60], said[:200])
assert answer(b"\5\1\2") == b"\5\xff"
assert answer(b"\5\1\0" + b"\5\1\0\3\x0dother.example\x1f\x90")[:4] == b"\5\0\5\2"
# The second request in one go: it stays with the host of the first.
two = b"GET http://allowed.example:8080/ HTTP/1.1\r\n\r\nGET http://other.example:8080/ HTTP/1.1\r\n\r\n"
said = answer(two)
assert said.count(b"203.0.113.5:8080\n") == 1 and b"203.0.113.6" not in said, said
random.seed(1)
for _ in range(300):
    base = bytearray(random.choice([two, b"\5\1\0\5\1\0\3\x0dother.example\x1f\x90", b"CONNECT allowed.example:8080 HTTP/1.1\r\n\r\nx"]))
    for _ in range(random.randrange(1, 5)): base[random.randrange(len(base))] = random.randrange(256)
    s = connect(); s.sendall(base); s.close()
# More connections than there is room for, all silent but the last of those that have room.
idle = [connect() for _ in range(200)]
# Halves of connections: the answer comes although the app has said its last.
s = connect(); s.sendall(b"GET http://allowed.example:8080/ HTTP/1.0\r\n\r\n"); s.shutdown(socket.SHUT_WR)
said = b""
while part := s.recv(65536): said += part
assert said.endswith(b"203.0.113.5:8080\n"), said
print(subprocess.run(["curl", "-sS", "http://allowed.example:8080/"], capture_output=True, text=True).stdout, end="")
"#;

#[test]
fn odd_requests_and_floods_hurt_nobody_else() {
    let Some(net) = Net::new() else { return };
    let output = net.python("some", ATTACKS);
    assert_eq!(out(&output), "203.0.113.5:8080\n", "{}", err(&output));
}

#[test]
fn much_data_passes_both_ways() {
    let Some(mut net) = Net::new() else { return };
    // An echo server, and 20 MiB through a tunnel, written and read at once.
    let echo = "import socket\ns = socket.create_server(('203.0.113.5', 7))\nwhile True:\n  c, _ = s.accept()\n  \
        while d := c.recv(65536): c.sendall(d)\n  c.close()";
    let mut server = net.world.command("/usr/bin/python3");
    server.args(["-c", echo]);
    let server = Server::start(&net.world, net.beside(ALLOWED, &server));
    net.servers.push(server);
    let client = r#"
import hashlib, socket, threading, time
def connect():
    s = socket.create_connection(("127.0.0.1", 3128)); s.sendall(b"CONNECT allowed.example:7 HTTP/1.1\r\n\r\n")
    return s, s.recv(39)
for _ in range(300):
    s, head = connect()
    if b" 200 " in head: break
    time.sleep(0.1)
data = bytes(range(256)) * 4096 * 20
threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR))).start()
got = b"".join(iter(lambda: s.recv(1 << 20), b""))
print(len(got), hashlib.sha256(got).digest() == hashlib.sha256(data).digest())
"#;
    let output = net.python("some", client);
    assert_eq!(out(&output), format!("{} True\n", 20 << 20), "{}", err(&output));
}

/// Ids and names of pack's processes below a launcher.
fn companions(launcher: u32) -> Vec<(u32, String)> {
    let children =
        fs::read_to_string(format!("/proc/{launcher}/task/{launcher}/children")).unwrap_or_default();
    let mut found = Vec::new();
    for id in children.split_whitespace().filter_map(|id| id.parse().ok()) {
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().to_owned();
        if name == "pack-hosts" || name == "pack-resolver" {
            found.push((id, name));
            found.extend(companions(id));
        }
    }
    found
}

#[test]
fn proxy_and_resolver_are_confined_and_end_with_the_launcher() {
    let Some(net) = Net::new() else { return };
    let mut app = net.inside("ports", &["sh", "-c", "curl -sS http://allowed.example:8080/; read line"]);
    let mut app = app.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(app.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "203.0.113.5:8080");
    let found = companions(app.id());
    let names: Vec<&str> = found.iter().map(|(_, name)| name.as_str()).collect();
    assert_eq!(names, ["pack-hosts", "pack-resolver"]);
    for (id, name) in &found {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        for line in
            ["NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "Seccomp:\t2"]
        {
            assert!(status.contains(line), "{name}: {line}: {status}");
        }
        assert!(fs::read(format!("/proc/{id}/cmdline")).unwrap().starts_with(name.as_bytes()));
    }
    let root = fs::read_dir(format!("/proc/{}/root", found[1].0)).unwrap();
    let root: Vec<_> = root.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    for hidden in ["home", "root", "proc", "dev", "tmp"] {
        assert!(!root.iter().any(|name| name == hidden), "{root:?}");
    }
    app.kill().unwrap();
    app.wait().unwrap();
    for (id, name) in found {
        eventually(&format!("the end of {name}"), || {
            fs::read_to_string(format!("/proc/{id}/stat")).map_or(true, |stat| stat.contains(") Z "))
        });
    }
    let _ = std::io::stdout().flush();
}

#[test]
fn explain_tells_of_the_proxy() {
    let Some(net) = Net::new() else { return };
    let explained = out(&succeed(net.within(&net.world.pack(["run", "--explain", "web.ports"]))));
    assert!(explained.contains("a proxy there that reaches allowed.example, 203.0.113.6"), "{explained}");
    assert!(explained.contains("http_proxy"), "{explained}");
}
