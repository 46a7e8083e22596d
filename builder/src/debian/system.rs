//! What the scripts of Debian's packages would have made on a system, and the commands of a build need.
//!
//! | what | made by | without it |
//! |---|---|---|
//! | `etc/nsswitch.conf` | the script of libc-bin, from its own file | names are looked up in another order |
//! | `etc/ld.so.cache` | ldconfig | libraries in folders that packages add to the loader's are not found |
//! | `usr/bin/lzma` and its like | the script of xz-utils, from variables | old archives are not unpacked by that name |
//! | times and modes of all files | this program | the same packages would be another tree every time |
//!
//! Who there is (`/etc/passwd` and the like), what the machine is called and how it reaches the network is the sandbox's business.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use super::apt::PATH;
use super::{DebianError, Note, last_lines};
use crate::assemble::DEFAULT_EPOCH;
use crate::files;

/// Packages whose alternatives are made here, since nobody could read them.
pub(super) const MENDED: &[&str] = &["xz-utils"];
/// Their links: the programs look at the name by which they were started.
const LINKS: &[(&str, &str)] = &[("lzma", "xz"), ("unlzma", "xz"), ("lzcat", "xz")];

/// Makes it in a root that packages have been unpacked into.
pub(super) fn settle(root: &Path, note: &mut dyn FnMut(Note)) -> Result<(), DebianError> {
    let (own, wanted) = (root.join("usr/share/libc-bin/nsswitch.conf"), root.join("etc/nsswitch.conf"));
    if own.is_file() && !wanted.exists() {
        fs::copy(&own, &wanted).map_err(|source| DebianError::io("write", &wanted, source))?;
    }
    let programs = root.join("usr/bin");
    for (link, to) in LINKS.iter().filter(|(_, to)| programs.join(to).is_file()) {
        match symlink(to, programs.join(link)) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                return Err(DebianError::io("make the link", &programs.join(link), source));
            }
            _ => {}
        }
    }
    list_libraries(root, note)?;
    files::settle_tree(root, DEFAULT_EPOCH)
        .map_err(|error| DebianError::io(error.action, &error.path, error.source))
}

/// Writes the loader's list of libraries (ldconfig(8)). The machine's ldconfig reads the root's configuration and names what it
/// finds as it is named inside.
fn list_libraries(root: &Path, note: &mut dyn FnMut(Note)) -> Result<(), DebianError> {
    const EFFECT: &str = "programs of the build may miss libraries";
    let mut command = Command::new("ldconfig");
    command.arg("-X").arg("-r").arg(root).env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8");
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let output = last_lines(&output.stderr);
            note(Note::ToolFailed { tool: "ldconfig", effect: EFFECT, output });
        }
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            note(Note::ToolMissing { tool: "ldconfig", effect: EFFECT });
        }
        Err(source) => return Err(DebianError::io("start", Path::new("ldconfig"), source)),
    }
    // What it has seen of the files' times, to be quicker the next time.
    let seen = root.join("var/cache/ldconfig");
    files::remove_tree(&seen).map_err(|error| DebianError::io("remove", &seen, error.source))
}
