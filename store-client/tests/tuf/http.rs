//! Servers that send without end, lie about lengths, trickle, stall, answer for others, or lead elsewhere.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use pack_store_client::tuf::http::{Http, Settings};
use pack_store_client::tuf::{FetchError, Transport, TufError};

use crate::repository::Repository;
use crate::server::{Answer, Server, respond, send};
use crate::world::World;

const PATIENCE: Duration = Duration::from_millis(600);

fn client(address: &str) -> Http {
    let settings =
        Settings { environment: BTreeMap::new(), patience: PATIENCE, bytes_per_second_least: 1000 };
    Http::new(address, settings).unwrap()
}

/// Serves a store; `instead` may answer first.
fn serve(
    repository: &Repository,
    instead: impl Fn(&str, &mut TcpStream) -> bool + Send + Sync + 'static,
) -> Server {
    let files = repository.files.clone();
    Server::start(Box::new(move |path, stream| {
        if instead(path, stream) {
            return;
        }
        match files.get(path.trim_start_matches("/store/")) {
            Some(bytes) => respond(stream, "200 OK", bytes),
            None => respond(stream, "404 Not Found", b"not here"),
        }
    }))
}

#[test]
fn a_store_is_read_over_http() {
    let mut repository = Repository::new();
    repository.delegate("targets", "a role/?", &[5], false, &["*"]);
    repository.publish(&["root", "a role/?", "targets", "snapshot", "timestamp"]);
    let server = serve(&repository, |_, _| false);
    for slash in ["", "/"] {
        let http = client(&format!("{}/store{slash}", server.address));
        let world = World::new(&repository);
        world.target(&http, "any").unwrap();
        assert_eq!(world.versions(), [2; 4]);
        let asked = std::mem::take(&mut *server.asked.lock().unwrap());
        assert_eq!(
            asked,
            ["2.root", "3.root", "timestamp", "2.snapshot", "2.targets", "1.a%20role%2F%3F"]
                .map(|name| format!("/store/{name}.json"))
        );
    }
}

/// What a server answers to `/`, and how long the client takes to have enough of it.
fn fetch(most: u64, answer: Answer) -> (Result<Vec<u8>, FetchError>, Duration) {
    let server = Server::start(answer);
    let begun = Instant::now();
    let fetched = client(&server.address).fetch("x", most);
    (fetched, begun.elapsed())
}

fn failure((fetched, time): (Result<Vec<u8>, FetchError>, Duration)) -> String {
    // Far less than a body without end takes, and more than a busy machine needs.
    assert!(time < Duration::from_secs(15), "{time:?}");
    match fetched {
        Err(FetchError::Failed(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_the_answer_404_says_that_there_is_no_such_file() {
    let of = |status: &'static str| fetch(100, Box::new(move |_, stream| respond(stream, status, b"x"))).0;
    assert_eq!(of("200 OK"), Ok(b"x".to_vec()));
    assert_eq!(of("404 Not Found"), Err(FetchError::NotFound));
    for status in [
        "204 No Content",
        "206 Partial Content",
        "304 Not Modified",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "407 Proxy Authentication Required",
        "410 Gone",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
        "511 Network Authentication Required",
    ] {
        assert!(matches!(of(status), Err(FetchError::Failed(_))), "{status}");
    }
    // Nobody listens; nothing is said; what is said is no HTTP.
    let nobody = client("http://127.0.0.1:1").fetch("x", 100);
    assert!(matches!(nobody, Err(FetchError::Failed(_))), "{nobody:?}");
    failure(fetch(100, Box::new(|_, _| ())));
    failure(fetch(100, Box::new(|_, stream| assert!(send(stream, b"SSH-2.0-x\r\n\r\n")))));
}

#[test]
fn a_body_without_end_is_not_read_beyond_what_is_asked_for() {
    let (fetched, _) = fetch(
        100_000,
        Box::new(|_, stream| {
            send(stream, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while send(stream, &[b' '; 4096]) {}
        }),
    );
    assert_eq!(fetched, Err(FetchError::TooLong { length_most: 100_000 }));
    let (fetched, _) = fetch(
        100_000,
        Box::new(|_, stream| {
            send(stream, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            while send(stream, b"4\r\nabcd\r\n") {}
        }),
    );
    assert_eq!(fetched, Err(FetchError::TooLong { length_most: 100_000 }));
}

#[test]
fn a_false_length_is_noticed() {
    let with = |length: &'static str, body: &'static [u8]| {
        fetch(
            10,
            Box::new(move |_, stream| {
                send(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes());
                send(stream, body);
            }),
        )
    };
    assert_eq!(with("5", b"12345").0, Ok(b"12345".to_vec()));
    // More than it says is not its.
    assert_eq!(with("5", b"1234567890").0, Ok(b"12345".to_vec()));
    assert_eq!(with("11", b"12345").0, Err(FetchError::TooLong { length_most: 10 }));
    assert_eq!(with("18446744073709551615", b"").0, Err(FetchError::TooLong { length_most: 10 }));
    failure(with("8", b"12345"));
    failure(with("-1", b"12345"));
    failure(with("99999999999999999999999", b"12345"));
}

#[test]
fn a_server_that_stalls_is_not_waited_for() {
    let stall = |before: &'static [u8]| {
        fetch(
            100,
            Box::new(move |_, stream| {
                send(stream, before);
                thread::sleep(Duration::from_secs(60));
            }),
        )
    };
    for before in [
        &b""[..],
        b"HTTP/1.1 200 OK\r\nX: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345",
    ] {
        failure(stall(before));
    }
}

#[test]
fn a_server_that_trickles_is_not_waited_for() {
    let trickle = |before: &'static [u8]| {
        fetch(
            100_000,
            Box::new(move |_, stream| {
                send(stream, before);
                while send(stream, b"x") {
                    thread::sleep(Duration::from_millis(100));
                }
            }),
        )
    };
    failure(trickle(b"HTTP/1.1 200 OK\r\nX: "));
    let reason = failure(trickle(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"));
    assert!(reason.contains("1000 bytes a second"), "{reason}");
}

#[test]
fn headers_without_end_are_not_read() {
    failure(fetch(
        100,
        Box::new(|_, stream| {
            send(stream, b"HTTP/1.1 200 OK\r\n");
            while send(stream, b"X-Header: abcdefghijklmnopqrstuvwxyz\r\n") {}
        }),
    ));
}

#[test]
fn a_captive_portal_changes_nothing() {
    let mut repository = Repository::new();
    let world = World::new(&repository);
    world.refreshed(&repository);
    repository.publish_targets();
    let page = b"<html><body>Welcome! Please log in.</body></html>";
    let portal = serve(&repository, |_, stream| {
        respond(stream, "200 OK", page);
        true
    });
    let before: Vec<Vec<u8>> =
        ["root", "timestamp", "snapshot", "targets"].map(|role| world.read(role)).into();
    let error = world.refused(&client(&format!("{}/store", portal.address)));
    assert!(matches!(error, TufError::Metadata { ref role, .. } if role == "root"), "{error}");
    let after: Vec<Vec<u8>> =
        ["root", "timestamp", "snapshot", "targets"].map(|role| world.read(role)).into();
    assert_eq!(before, after);
    world.refreshed(&repository);
}

#[test]
fn a_failing_server_is_not_taken_for_one_without_a_newer_root() {
    let mut repository = Repository::new();
    repository.publish(&["root"]);
    let world = World::new(&repository);
    let failing = serve(&repository, |path, stream| {
        let root = path.ends_with("2.root.json");
        if root {
            respond(stream, "503 Service Unavailable", b"later");
        }
        root
    });
    let error = world.refused(&client(&format!("{}/store", failing.address)));
    assert!(matches!(error, TufError::Fetch { ref path, .. } if path == "2.root.json"), "{error}");
    assert_eq!(world.versions(), [1, 0, 0, 0]);
}

#[test]
fn redirections_are_followed_a_few_times_and_to_http_only() {
    let redirect = |to: String| -> Answer {
        Box::new(move |path, stream| match path {
            "/end" => respond(stream, "200 OK", b"end"),
            _ => respond(stream, &format!("302 Found\r\nLocation: {to}"), b""),
        })
    };
    assert_eq!(fetch(100, redirect("/end".to_owned())).0, Ok(b"end".to_vec()));
    for to in ["/again", "file:///etc/passwd", "ftp://127.0.0.1/x", "//", ""] {
        let (fetched, _) = fetch(100, redirect(to.to_owned()));
        assert!(matches!(fetched, Err(FetchError::Failed(_))), "{to}: {fetched:?}");
    }
}

/// Redirections of a store with HTTPS lead to no store without.
#[test]
fn https_is_not_left_for_http() {
    const ADDRESS: &str = "PACK_TEST_ADDRESS";
    if let Ok(address) = std::env::var(ADDRESS) {
        for address in [address.clone(), address.replace("https", "HTTPS")] {
            let http = client(&address);
            assert_eq!(http.fetch("plain", 100), Ok(b"secure".to_vec()));
            match http.fetch("leave", 100) {
                Err(FetchError::Failed(reason)) => assert!(reason.contains("https"), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
        return;
    }
    let plain = Server::start(Box::new(|_, stream| respond(stream, "200 OK", b"insecure")));
    let folder = tempfile::tempdir().unwrap();
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder.path()).stderr(Stdio::null());
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=localhost"]);
    openssl.args([
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ]);
    assert!(openssl.status().unwrap().success());
    let script = format!(
        "import http.server, ssl\n\
         class Handler(http.server.BaseHTTPRequestHandler):\n\
        \x20   def do_GET(self):\n\
        \x20       leave = self.path == '/leave'\n\
        \x20       self.send_response(302 if leave else 200)\n\
        \x20       if leave: self.send_header('Location', '{}/x')\n\
        \x20       self.send_header('Content-Length', '6')\n\
        \x20       self.end_headers()\n\
        \x20       self.wfile.write(b'secure')\n\
         server = http.server.HTTPServer(('127.0.0.1', 0), Handler)\n\
         context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
         context.load_cert_chain('cert.pem', 'key.pem')\n\
         server.socket = context.wrap_socket(server.socket, server_side=True)\n\
         print(server.server_port, flush=True)\n\
         server.serve_forever()\n",
        plain.address
    );
    fs::write(folder.path().join("server.py"), script).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    python.arg("server.py").current_dir(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = python.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = format!("https://localhost:{}", line.trim());
    // An unknown certificate is refused to begin with.
    let unknown = client(&address).fetch("plain", 100);
    // Certificates are looked up once in a process.
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "http::https_is_not_left_for_http", "--nocapture"]);
    again.env(ADDRESS, &address).env("SSL_CERT_FILE", folder.path().join("cert.pem"));
    let output = again.output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(matches!(unknown, Err(FetchError::Failed(_))), "{unknown:?}");
    assert!(output.status.success(), "{output:?}");
    assert!(plain.asked.lock().unwrap().is_empty());
}
