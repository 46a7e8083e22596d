//! nginx, showing a folder on loopback: started by a test with its own settings, as the unprivileged user, and ended by its
//! process id.
#![allow(dead_code)] // Each test file uses a part.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::servers::Server;
use crate::support::{World, own};

/// A web server; ended when dropped.
pub struct Web {
    server: Option<Server>,
    /// Where it listens.
    pub port: u16,
    scheme: &'static str,
    log: std::path::PathBuf,
}

impl Web {
    /// Shows a folder.
    pub fn show(world: &World, folder: &Path) -> Web {
        Web::with(world, &format!("root {};", folder.display()))
    }

    /// With these words in nginx's block `server`.
    pub fn with(world: &World, words: &str) -> Web {
        Web::start(world, "", words, "http")
    }

    /// Over TLS, with the certificate and key of this name in the home.
    pub fn encrypted(world: &World, certificate: &str, words: &str) -> Web {
        let path = |end: &str| world.home(&format!("{certificate}.{end}")).display().to_string();
        let words = format!("ssl_certificate {}; ssl_certificate_key {}; {words}", path("crt"), path("key"));
        Web::start(world, "ssl", &words, "https")
    }

    fn start(world: &World, listen: &str, words: &str, scheme: &'static str) -> Web {
        // Another program may take the port between the choice and the start.
        for _ in 0..5 {
            let port = free_port();
            let folder = world.path(&format!("tmp/nginx-{port}"));
            fs::create_dir_all(&folder).unwrap();
            own(&folder);
            let place = folder.display();
            // One process: a worker would outlive a master that is killed.
            let settings = format!(
                "daemon off; master_process off; pid {place}/pid; error_log {place}/error.log;\n\
                 events {{ worker_connections 64; }}\n\
                 http {{ access_log {place}/access.log; client_body_temp_path {place}; proxy_temp_path {place};\n\
                 fastcgi_temp_path {place}; uwsgi_temp_path {place}; scgi_temp_path {place};\n\
                 server {{ listen 127.0.0.1:{port} {listen}; {words} }} }}\n"
            );
            let file = folder.join("nginx.conf");
            fs::write(&file, settings).unwrap();
            let mut command = world.command("nginx");
            command.arg("-e").arg(folder.join("error.log")).arg("-c").arg(&file);
            let mut server = Server::start(world, command);
            let end = Instant::now() + Duration::from_secs(30);
            while server.runs() && Instant::now() < end {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() && server.runs() {
                    return Web { server: Some(server), port, scheme, log: folder.join("access.log") };
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        panic!("nginx does not start");
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// What was asked for so far: method, path, status and bytes of each request.
    pub fn requests(&self) -> Vec<String> {
        fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// Ends it; connections are refused from then on.
    pub fn end(&mut self) {
        self.server = None;
    }
}

fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// A server that answers every request with these bytes and hangs up; the rest of a file that it promises never comes.
/// It lives as long as the test.
pub fn broken_server(answer: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 8192];
            let mut length = 0;
            while !request[..length].windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut request[length..]) {
                    Ok(count @ 1..) => length += count,
                    _ => break,
                }
            }
            let _ = stream.write_all(&answer(&String::from_utf8_lossy(&request[..length])));
        }
    });
    url
}
