//! A server on loopback that answers with bytes of the test's choice, as slowly as it likes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Answers a path on a connection, which is closed afterwards.
pub type Answer = Box<dyn Fn(&str, &mut TcpStream) + Send + Sync>;

pub struct Server {
    /// Without a slash at its end.
    pub address: String,
    /// The paths that were asked for.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Serves every connection in a thread of its own, until the process of the test ends.
    pub fn start(answer: Answer) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, remembered) = (Arc::new(answer), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let (answer, remembered) = (Arc::clone(&answer), Arc::clone(&remembered));
                thread::spawn(move || {
                    let Some(path) = read_path(&stream) else { return };
                    remembered.lock().unwrap().push(path.clone());
                    answer(&path, &mut stream);
                });
            }
        });
        Server { address, asked }
    }
}

fn read_path(stream: &TcpStream) -> Option<String> {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let first = lines.next()?;
    lines.find(|line| line.is_empty())?;
    first.split(' ').nth(1).map(str::to_owned)
}

/// Sends what the other side may not want to have any more.
pub fn send(stream: &mut TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).and_then(|()| stream.flush()).is_ok()
}

pub fn respond(stream: &mut TcpStream, status: &str, body: &[u8]) {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    send(stream, &[head.as_bytes(), body].concat());
}
