//! Downloads from servers good and bad.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::common::{is_rerun, rerun};
use crate::{Workshop, run, sha256, tar};

/// What a server does with a request: the bytes that it answers, the headers included.
type Answer = Box<dyn Fn(&str, usize) -> Vec<u8> + Send>;

/// A server on loopback, which closes every connection after its answer, and remembers what was asked for.
fn serve(answer: Answer) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&asked);
    // Ends with the process of the test.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let request = read_request(&mut stream);
            let count = {
                let mut remembered = remembered.lock().unwrap();
                remembered.push(request.clone());
                remembered.len()
            };
            // A client that goes away is a part of some tests.
            let _ = stream.write_all(&answer(&request, count));
        }
    });
    (address, asked)
}

fn read_request(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    for line in BufReader::new(stream).lines() {
        let Ok(line) = line else { break };
        if line.is_empty() {
            break;
        }
        request.push_str(&line.to_lowercase());
        request.push('\n');
    }
    request
}

fn response(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// A project whose archive a server has.
fn remote(answer: Answer, bytes: &[u8]) -> (Workshop, Arc<Mutex<Vec<String>>>) {
    let (address, asked) = serve(answer);
    let part = format!("source: '{address}/a.tar', source-checksum: sha256/{}", sha256(bytes));
    (Workshop::new(&part), asked)
}

fn big() -> Vec<u8> {
    let content: Vec<u8> = (0..2_000_000_u32).map(|number| (number % 251) as u8).collect();
    tar(&[(b'0', b"d/a", &content)])
}

#[test]
fn a_download_is_checked_and_kept() {
    let bytes = big();
    let body = bytes.clone();
    let (workshop, asked) = remote(Box::new(move |_, _| response("200 OK", "", body.len(), &body)), &bytes);
    for _ in 0..2 {
        let fetched = workshop.fetched();
        assert_eq!(fetched.digest["sha256"], sha256(&bytes));
        assert!(fetched.address.starts_with("http://127.0.0.1:"));
        assert_eq!(fs::metadata(workshop.path("target/a")).unwrap().len(), 2_000_000);
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "the second is taken from the cache");
}

#[test]
fn an_interrupted_download_goes_on_where_it_ended() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |request: &str, _: usize| {
        let from = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
        let from: usize = from.map_or(0, |range| range.trim_end_matches('-').parse().unwrap());
        let rest = &body[from..];
        let sent = &rest[..rest.len().min(900_000)];
        match from {
            0 => response("200 OK", "", rest.len(), sent),
            from => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
                response("206 Partial Content", &range, rest.len(), sent)
            }
        }
    };
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    workshop.fetched();
    let asked = asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(
        !asked[0].contains("range:")
            && asked[1].contains("range: bytes=")
            && asked[2].contains("range: bytes=")
    );
}

#[test]
fn a_server_that_knows_no_ranges_starts_anew() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |_: &str, count: usize| {
        let sent = if count == 1 { 1_000_000 } else { body.len() };
        response("200 OK", "", body.len(), &body[..sent])
    };
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    workshop.fetched();
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn what_a_server_may_do_wrong_is_told_and_the_next_build_is_right() {
    let bytes = big();
    let cases = [
        (response("404 Not Found", "", 0, b""), "answers 404"),
        (response("500 Oops", "", 0, b""), "answers 500"),
        (response("200 OK", "", 3, b"abc"), "not what `source-checksum` says"),
        (response("302 Found", "Location: /again\r\n", 0, b""), "redirect"),
        (response("302 Found", "Location: file:///etc/passwd\r\n", 0, b""), "cannot download"),
        (response("302 Found", "", 0, b""), "location"),
        (response("200 OK", "", (4 << 30) + 1, b"abc"), "longer than 4 GiB"),
        (response("200 OK", "", bytes.len(), b"abc"), "cannot download"),
        (b"no http at all\r\n\r\n".to_vec(), "cannot download"),
        (Vec::new(), "cannot download"),
    ];
    // What may pass is tried several times, with pauses.
    thread::scope(|scope| {
        for (bad, words) in cases {
            let bytes = &bytes;
            scope.spawn(move || wrong_and_then_right(bytes, bad, words));
        }
    });
}

fn wrong_and_then_right(bytes: &[u8], bad: Vec<u8>, words: &str) {
    let (good, is_good) = (bytes.to_vec(), Arc::new(Mutex::new(false)));
    let switch = Arc::clone(&is_good);
    let answer = move |_: &str, _: usize| match *switch.lock().unwrap() {
        true => response("200 OK", "", good.len(), &good),
        false => bad.clone(),
    };
    let (workshop, _) = remote(Box::new(answer), bytes);
    let told = workshop.refused();
    assert!(told.contains(words) && told.contains("http://127.0.0.1"), "{words}: {told}");
    *is_good.lock().unwrap() = true;
    workshop.fetched();
    let kept = fs::read_dir(workshop.path("cache/sha256")).unwrap().count();
    assert_eq!(kept, 1, "{words}: nothing but the right file is kept");
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let part = format!("source: 'http://{address}/a.tar', source-checksum: sha256/{}", "0".repeat(64));
    let told = Workshop::new(&part).refused();
    assert!(told.contains("cannot download") && told.to_lowercase().contains("refused"), "{told}");
}

#[test]
fn reading_what_a_server_sends_does_not_wait_for_more_than_it_announces() {
    // A body that never ends is ended by its announced length.
    let bytes = tar(&[(b'0', b"d/a", b"x")]);
    let body = [&bytes[..], &[0; 100_000]].concat();
    let length = bytes.len();
    let (workshop, _) = remote(Box::new(move |_, _| response("200 OK", "", length, &body)), &bytes);
    workshop.fetched();
    let mut text = String::new();
    fs::File::open(workshop.path("target/a")).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "x");
}

#[test]
fn the_wrong_file_is_told_with_both_digests_and_the_address_and_nothing_is_kept() {
    let (workshop, asked) = remote(Box::new(|_, _| response("200 OK", "", 3, b"abc")), b"other");
    let told = workshop.refused();
    for words in [sha256(b"abc"), sha256(b"other"), "http://127.0.0.1".to_owned()] {
        assert!(told.contains(&words), "{words}: {told}");
    }
    assert_eq!(fs::read_dir(workshop.path("cache/sha256")).unwrap().count(), 0);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[test]
fn what_the_cache_has_wrong_is_downloaded_anew() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |request: &str, _: usize| {
        let from = request.lines().find_map(|line| line.strip_prefix("range: bytes="));
        match from.map(|range| range.trim_end_matches('-').parse::<usize>().unwrap()) {
            Some(from) if from >= body.len() => response("416 Range Not Satisfiable", "", 0, b""),
            Some(from) => {
                let range = format!("Content-Range: bytes {from}-{}/{}\r\n", body.len() - 1, body.len());
                response("206 Partial Content", &range, body.len() - from, &body[from..])
            }
            None => response("200 OK", "", body.len(), &body),
        }
    };
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    let digest = sha256(&bytes);
    let (whole, part) = (format!("cache/sha256/{digest}"), format!("cache/sha256/{digest}.part"));
    fs::create_dir_all(workshop.path("cache/sha256")).unwrap();
    for (name, content) in [
        // A disk that forgets; a part of another file; one that is longer than the file; the whole file, not renamed yet.
        (&whole, vec![0; bytes.len()]),
        (&part, vec![1; 1000]),
        (&part, vec![1; bytes.len() + 5]),
        (&part, bytes.clone()),
    ] {
        let _ = fs::remove_file(workshop.path(&whole));
        fs::write(workshop.path(name), content).unwrap();
        workshop.fetched();
        assert_eq!(sha256(&fs::read(workshop.path(&whole)).unwrap()), digest);
        assert!(!workshop.path(&part).exists());
    }
    assert!(asked.lock().unwrap().len() >= 4);
}

#[test]
fn a_file_that_a_server_calls_compressed_is_taken_as_it_is() {
    let bytes = crate::filter("gzip", &["-c"], &tar(&[(b'0', b"d/a", b"x")]));
    let body = bytes.clone();
    let answer = move |_: &str, _: usize| response("200 OK", "Content-Encoding: gzip\r\n", body.len(), &body);
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    workshop.fetched();
    assert_eq!(workshop.read("a"), "x");
    assert!(asked.lock().unwrap()[0].contains("accept-encoding: identity"));
}

#[test]
fn chunks_and_redirections_are_followed_and_what_is_done_is_told() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |request: &str, _: usize| match request.lines().next().unwrap() {
        "get /a.tar http/1.1" => response("301 Moved", "Location: /b\r\n", 0, b""),
        "get /b http/1.1" => response("307 Temporary Redirect", "Location: c?d=e\r\n", 0, b""),
        "get /c?d=e http/1.1" => {
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n".to_vec();
            let chunks = body.chunks(10_000);
            let chunks = chunks
                .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
            [head, chunks.collect(), b"0\r\n\r\n".to_vec()].concat()
        }
        other => panic!("{other}"),
    };
    let (workshop, _) = remote(Box::new(answer), &bytes);
    let mut seen = Vec::new();
    workshop.fetch_with(&mut |bytes, of| seen.push((bytes, of))).unwrap();
    assert_eq!(seen.first(), Some(&(0, None)));
    assert_eq!(seen.last(), Some(&(bytes.len() as u64, None)));
    assert!(seen.is_sorted());
}

#[test]
fn a_server_that_is_busy_is_asked_again() {
    let bytes = big();
    let body = bytes.clone();
    let answer = move |_: &str, count: usize| match count {
        1 => response("503 Service Unavailable", "Retry-After: 1\r\n", 0, b""),
        2 => response("429 Too Many Requests", "", 0, b""),
        _ => response("200 OK", "", body.len(), &body),
    };
    let (workshop, asked) = remote(Box::new(answer), &bytes);
    workshop.fetched();
    assert_eq!(asked.lock().unwrap().len(), 3);
}

#[test]
fn a_slow_server_is_waited_for_and_one_that_says_nothing_is_not() {
    let bytes = tar(&[(b'0', b"d/a", &[b'x'; 20_000])]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let body = bytes.clone();
    thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let body = body.clone();
            thread::spawn(move || {
                read_request(&mut stream);
                let answer = response("200 OK", "", body.len(), &body);
                // The first says nothing any more after a while, the others go on.
                let pieces = if at == 0 { 3 } else { usize::MAX };
                for piece in answer.chunks(answer.len() / 8).take(pieces) {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                    thread::sleep(Duration::from_millis(400));
                }
                if at == 0 {
                    thread::sleep(Duration::from_secs(60));
                }
            });
        }
    });
    let part = format!("source: 'http://{address}/a.tar', source-checksum: sha256/{}", sha256(&bytes));
    let workshop = Workshop::new(&part);
    let begun = std::time::Instant::now();
    workshop.fetched();
    // Three seconds of a steady server are more than the patience of two.
    assert!((5..40).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[test]
fn a_proxy_is_used_where_one_is_named() {
    let bytes = tar(&[(b'0', b"d/a", b"x")]);
    if is_rerun() {
        let part =
            format!("source: 'http://nowhere.invalid/a.tar', source-checksum: sha256/{}", sha256(&bytes));
        Workshop::new(&part).fetched();
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&asked);
    let body = bytes.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = read_request(&mut stream);
            remembered.lock().unwrap().push(request.clone());
            if request.starts_with("connect ") {
                stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
                request = read_request(&mut stream);
                remembered.lock().unwrap().push(request);
            }
            let _ = stream.write_all(&response("200 OK", "", body.len(), &body));
        }
    });
    let name = "downloads::a_proxy_is_used_where_one_is_named";
    let none = "no_proxy=localhost,.elsewhere.invalid";
    rerun(name, &["env", "https_proxy=http://127.0.0.1:1", none, &format!("http_proxy={proxy}")], &[]);
    assert!(asked.lock().unwrap()[0].contains("nowhere.invalid"), "{asked:?}");
    // For other hosts, and for those that are left out, it is not asked.
    let count = asked.lock().unwrap().len();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .envs([("PACK_TEST_RERUN", "1"), ("no_proxy", "x, .invalid"), ("http_proxy", &proxy)])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert_eq!(asked.lock().unwrap().len(), count);
}

/// A server with TLS, and a certificate of its own making that is in force for `localhost`.
fn serve_tls(workshop: &Workshop, bytes: &[u8]) -> (std::process::Child, u16) {
    let folder = workshop.folder.path();
    fs::write(folder.join("a.tar"), bytes).unwrap();
    let request = [
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "key.pem",
        "-out",
        "cert.pem",
        "-days",
        "30",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-addext",
        "basicConstraints=critical,CA:FALSE",
    ];
    run(folder, "openssl", &request);
    let script = "import http.server,ssl,sys\n\
        s=http.server.HTTPServer(('127.0.0.1',0),http.server.SimpleHTTPRequestHandler)\n\
        c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\nc.load_cert_chain('cert.pem','key.pem')\n\
        s.socket=c.wrap_socket(s.socket,server_side=True)\n\
        print(s.server_port,flush=True)\ns.serve_forever()\n";
    let mut server = Command::new("/usr/bin/python3")
        .args(["-c", script])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (server, line.trim().parse().unwrap())
}

#[test]
fn certificates_are_those_of_the_system_or_of_the_file_that_is_named() {
    let bytes = tar(&[(b'0', b"d/a", b"x")]);
    if is_rerun() {
        let address = std::env::var("PACK_TEST_ADDRESS").unwrap();
        let part = format!("source: '{address}', source-checksum: sha256/{}", sha256(&bytes));
        Workshop::new(&part).fetched();
        return;
    }
    let keeper = Workshop::new("");
    let (mut server, port) = serve_tls(&keeper, &bytes);
    let address = format!("https://localhost:{port}/a.tar");
    let part = format!("source: '{address}', source-checksum: sha256/{}", sha256(&bytes));
    let told = Workshop::new(&part).refused();
    assert!(told.to_lowercase().contains("certificate"), "{told}");
    let name = "downloads::certificates_are_those_of_the_system_or_of_the_file_that_is_named";
    let file = keeper.path("cert.pem");
    rerun(name, &["env", &format!("PACK_TEST_ADDRESS={address}")], &[("SSL_CERT_FILE", &file)]);
    server.kill().unwrap();
    server.wait().unwrap();
}
