//! A real X server for tests, and a look at what it shows.
#![allow(dead_code)] // Each test file uses a part.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{self, World, out, succeed};

/// A process that is ended with the test.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An X server that lets only who has its cookie in.
pub struct XServer {
    _server: Ended,
    /// `DISPLAY`.
    pub name: String,
    /// `XAUTHORITY`.
    pub authority: std::path::PathBuf,
    folder: tempfile::TempDir,
}

impl XServer {
    /// Starts it; the cookie lies in the home.
    pub fn start(world: &World) -> XServer {
        let authority = world.write(".Xauthority", "");
        let folder = tempfile::tempdir().unwrap();
        // The server finds a free number itself and tells it.
        let mut server = Command::new("Xvfb");
        server
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp", "-auth"])
            .arg(&authority);
        server.stdout(Stdio::piped()).stderr(Stdio::null());
        // The cookie is for any display: the number is not known yet.
        let cookie = "0123456789abcdef0123456789abcdef";
        for display in 0..32 {
            let mut xauth = Command::new("xauth");
            xauth.arg("-f").arg(&authority).args([
                "add",
                &format!("{}/unix:{display}", hostname()),
                ".",
                cookie,
            ]);
            succeed(xauth);
        }
        let mut server = server.spawn().unwrap();
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        let number = number.trim();
        assert!(!number.is_empty(), "the X server did not start");
        if support::is_root() {
            // xauth has replaced the file.
            std::os::unix::fs::chown(&authority, Some(20001), Some(20001)).unwrap();
        }
        XServer { name: format!(":{number}"), authority, _server: Ended(server), folder }
    }

    /// A program that looks at it.
    pub fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("DISPLAY", &self.name).env("XAUTHORITY", &self.authority);
        command
    }

    /// The id of a mapped window of this name.
    pub fn window(&self, name: &str) -> Option<String> {
        let mut tool = self.tool("xwininfo");
        let output = tool.args(["-root", "-tree"]).output().unwrap();
        let tree = out(&output);
        let line = tree.lines().find(|line| {
            line.contains(&format!("\"{name}\"")) && !line.contains(" 1x1+") && !line.contains(" 10x10+")
        })?;
        let id = line.split_whitespace().next()?.to_owned();
        let mut tool = self.tool("xwininfo");
        let state = out(&tool.args(["-id", &id]).output().unwrap());
        state.contains("IsViewable").then_some(id)
    }

    /// A picture of a window, as xwd writes it.
    pub fn dump(&self, window: &str) -> std::path::PathBuf {
        let path = self.folder.path().join("window.xwd");
        let mut tool = self.tool("xwd");
        tool.args(["-silent", "-id", window, "-out"]).arg(&path);
        succeed(tool);
        path
    }

    /// How many colours a window shows. The header's first field is its own size, field 19 the number of colours that
    /// follow it, 12 bytes each (XWDFile.h); the pixels come after that, 4 bytes each at this depth.
    pub fn colours(&self, window: &str) -> usize {
        let bytes = std::fs::read(self.dump(window)).unwrap();
        let field = |number: usize| {
            u32::from_be_bytes(bytes[number * 4..number * 4 + 4].try_into().unwrap()) as usize
        };
        let pixels = &bytes[field(0) + field(19) * 12..];
        pixels.chunks_exact(4).collect::<HashSet<_>>().len()
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned()
}
