//! Has a hostile image read, and served by a real keeper to a shell that looks at everything in it.

use std::fs;
use std::process::Output;

use pack_launcher::image::ImageError;

use super::forge::{Forge, w};
use super::mounted::{Stage, skip};
use super::torture::torture;
use super::wrap_blindly;

/// What a shell does to a package: list it, read it, walk it; in the end, is there still what has nothing to do with it?
/// `timeout` kills what the mount leaves hanging.
const LOOK_AROUND: &str = "timeout -s KILL 60 sh -c \
  'find . -ls; cat $(find . -type f | head -100) | head -c 400m | wc -c; ls -l . ./*; getfattr -R -d -m - .'
  echo status $?; timeout -s KILL 10 readlink good; echo done";

/// Most memory that a keeper takes at any time, in KiB: its cache (32 MiB by default), and its own size, unoptimised.
const MEMORY_KIB: u64 = 48 << 10;

/// The name of the link that [`with_company`] adds.
pub const GOOD: &[u8] = b"good";
const GOOD_TARGET: &[u8] = b"still here";

/// Adds the entries to the root folder, and behind them a link that is as it should be. Names must be less than [`GOOD`].
pub fn with_company(mut forge: Forge, entries: &[(&[u8], u64, u16)]) -> Vec<u8> {
    let good = forge.inode(3, 900, &[&w(1), &w(10), GOOD_TARGET]);
    forge.with_root(&[entries, &[(GOOD, good, 3)]].concat())
}

/// Where hostile images are mounted.
pub struct Arena {
    /// Nothing where this host cannot mount.
    stage: Option<Stage>,
}

impl Arena {
    pub fn new() -> Arena {
        Arena { stage: (!skip()).then(Stage::new) }
    }

    /// Has everything asked about an image, by the reader's own functions and by a shell on a mount, and returns what
    /// the reader refused.
    ///
    /// # Panics
    /// Where anything panics, hangs, takes too much memory, or harms what has nothing to do with it.
    pub fn face(&self, what: &str, image: &[u8]) -> Vec<ImageError> {
        let refused = torture(image.to_vec());
        if let Some(stage) = &self.stage {
            look_around(stage, what, image);
        }
        refused
    }

    /// As [`Arena::face`], for an image of which something must be refused. Where it has [`GOOD`] company, that is served.
    pub fn refused(&self, what: &str, image: &[u8]) -> Vec<ImageError> {
        let refused = self.face(what, image);
        assert!(!refused.is_empty(), "{what}");
        refused
    }

    /// As [`Arena::refused`], for an image with one file, made by `make`.
    pub fn refused_file(&self, what: &str, make: impl FnOnce(&mut Forge) -> u64) -> Vec<ImageError> {
        let mut forge = Forge::new();
        let file = make(&mut forge);
        self.refused(what, &with_company(forge, &[(b"f", file, 2)]))
    }

    /// Runs a script on a mounted image; nothing where this host cannot mount.
    pub fn shell(&self, image: &[u8], script: &str) -> Option<(String, String)> {
        let stage = self.stage.as_ref()?;
        let package = stage.folder.path().join("hostile.pkg");
        wrap_blindly(image, 5000, &package);
        Some(texts(&stage.shell(&["--unsigned"], &package, script)))
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Mounts an image, whose spans have nothing to do with its blocks, and looks around in it. Returns what was written to
/// standard output and standard error, or nothing where it could not be mounted and an error said so.
pub fn look_around(stage: &Stage, what: &str, image: &[u8]) -> Option<(String, String)> {
    let package = stage.folder.path().join("hostile.pkg");
    let status = stage.out().join("status");
    let _ = fs::remove_file(&status);
    wrap_blindly(image, 5000, &package);
    let output = stage.shell(&["--unsigned", "--status", status.to_str().unwrap()], &package, LOOK_AROUND);
    let (out, errors) = texts(&output);
    if output.status.code() == Some(125) {
        assert!(errors.starts_with("mount-run: ") && out.is_empty(), "{what}: {out}{errors}");
        return None;
    }
    assert!(out.ends_with("done\n"), "{what}: {out}{errors}");
    assert!(!out.contains("status 137"), "{what} hangs: {out}{errors}");
    // Errors are for whoever asks for what is broken.
    let company = image.windows(GOOD_TARGET.len()).any(|bytes| bytes == GOOD_TARGET);
    assert!(!company || out.contains("still here\n"), "{what}: {out}{errors}");
    assert!(!errors.contains("not connected"), "the keeper died of {what}: {errors}");
    let status = fs::read_to_string(status).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let memory: u64 = memory.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(memory < MEMORY_KIB, "{what}: {memory} KiB");
    Some((out, errors))
}
