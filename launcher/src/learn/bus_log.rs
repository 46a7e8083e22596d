//! What the filter of the message buses tells of messages (xdg-dbus-proxy(1), `--log`), read for what it refused.
//!
//! ```text
//! C6: -> org.example.Player call org.example.Player.Play at /org/example     a message of the app's
//! *HIDDEN* (ping)                                                            and what became of it; nothing if it passed
//! ```
//!
//! A message to the bus itself about a name (`RequestName`) has a line between the two that tells the name, and which right
//! on it is asked for; 3 is that of owning it.
//!
//! The filter writes into a file of memory of fixed size: what comes after that is lost, and an app that talks without end
//! fills no memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::learn::judge::BusCall;

/// Size of the file, in bytes.
const SIZE: usize = 8 << 20;
/// Longest name on a bus, in bytes (D-Bus specification, "Valid Names").
const NAME_MOST: usize = 255;

/// Makes the file. What is not written of it takes no memory.
///
/// # Errors
/// The kernel's.
pub fn make() -> io::Result<File> {
    let file = memfd_create("messages", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, SIZE as u64)?;
    fcntl_add_seals(&file, SealFlags::GROW | SealFlags::SHRINK)?;
    Ok(file.into())
}

/// The calls that were refused, in their order.
///
/// # Errors
/// The kernel's.
pub fn read(file: &File) -> io::Result<Vec<BusCall>> {
    let mut bytes = vec![0; SIZE];
    let mut length = 0;
    while let count @ 1.. = file.read_at(&mut bytes[length..], length as u64)? {
        length += count;
    }
    bytes.truncate(length);
    Ok(refused(&String::from_utf8_lossy(&bytes)))
}

fn refused(log: &str) -> Vec<BusCall> {
    let mut calls = Vec::new();
    let mut last: Option<BusCall> = None;
    for line in log.trim_end_matches('\0').lines() {
        if let Some(rest) = line.strip_prefix("Filtering message due to arg0 ") {
            last = last.and_then(|call| about_name(call, rest));
        } else if line.starts_with("*HIDDEN*") || line.starts_with("*DENIED*") {
            calls.extend(last.take());
        } else {
            last = call(line);
        }
    }
    calls
}

/// A message of the app's that calls a method.
fn call(line: &str) -> Option<BusCall> {
    let message = line.strip_prefix('C')?.split_once(": -> ")?.1;
    let (name, rest) = message.split_once(" call ")?;
    let (method, _) = rest.split_once(" at ")?;
    let is_name = |text: &str| {
        !text.is_empty() && text.len() <= NAME_MOST && text.bytes().all(|b| b.is_ascii_graphic())
    };
    // A name that begins with a colon is a connection's: it was given to the app by somebody.
    let is_call = is_name(name) && is_name(method) && !name.starts_with(':');
    is_call.then(|| BusCall { name: name.to_owned(), method: method.to_owned() })
}

/// A call to the bus itself about a name: that it is to be the app's own. Who merely asks for a name needs nothing.
fn about_name(call: BusCall, rest: &str) -> Option<BusCall> {
    let (name, right) = rest.split_once(", policy: ")?;
    let owns = right.ends_with("(required 3)") && name.len() <= NAME_MOST;
    owns.then(|| BusCall { name: name.to_owned(), method: call.method })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LOG: &str = "\
C1: -> org.freedesktop.DBus call org.freedesktop.DBus.Hello at /org/freedesktop/DBus
C2: -> org.freedesktop.DBus fake AddMatch for org.example.Other
B1: <- org.freedesktop.DBus return from C1
*SKIPPED*
C6: -> org.freedesktop.Notifications call org.freedesktop.Notifications.Notify at /org/freedesktop/Notifications
*HIDDEN* (ping)
B7: <- (no sender) return from C6
*REWRITTEN*
C7: -> org.example.Allowed call org.example.Allowed.Do at /
C8: -> org.example.Seen call org.example.Seen.Do at /
*DENIED* (ping)
C9: -> org.freedesktop.DBus call org.freedesktop.DBus.RequestName at /
Filtering message due to arg0 org.mine.X, policy: 0 (required 3)
*HIDDEN* (ping)
C10: -> org.freedesktop.DBus call org.freedesktop.DBus.GetNameOwner at /
Filtering message due to arg0 org.example.Asked, policy: 0 (required 1)
*HIDDEN* (ping)
C11: -> :1.7 call org.example.X.Do at /
*HIDDEN* (ping)
*HIDDEN*
C12: -> \u{1b}[31m call x at /
*HIDDEN* (ping)";

    #[test]
    fn what_was_hidden_or_denied_is_found_and_nothing_else() {
        let found: Vec<String> =
            refused(LOG).into_iter().map(|call| format!("{} {}", call.name, call.method)).collect();
        assert_eq!(
            found,
            [
                "org.freedesktop.Notifications org.freedesktop.Notifications.Notify",
                "org.example.Seen org.example.Seen.Do",
                "org.mine.X org.freedesktop.DBus.RequestName",
            ]
        );
        assert!(refused("").is_empty() && refused("*HIDDEN*\nC: -> \n*DENIED*").is_empty());
    }

    #[test]
    fn the_file_takes_so_much_and_no_more() {
        let mut file = make().unwrap();
        file.write_all(LOG.as_bytes()).unwrap();
        assert_eq!(read(&file).unwrap().len(), 3);
        assert!(file.write_all(&vec![b'x'; SIZE]).is_err());
        assert!(ftruncate(&file, 2 * SIZE as u64).is_err());
        assert_eq!(read(&file).unwrap().len(), 3);
    }
}
