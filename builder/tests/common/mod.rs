//! What the tests of images and packages share: a tree with everything in it that a package can hold, a way to look
//! at a tree, and a way to run a test once more in other surroundings.
#![allow(dead_code, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use ed25519_dalek::SigningKey;
use pack_builder::assemble::{AssembleError, Assembled, Request, assemble};
use pack_builder::image::{self, ImageError, Options, Plan, Written};
use pack_launcher::package::{OpenError, Package};
use pack_schemas::index::Span;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Hash};
use pack_schemas::package::{Envelope, FORMAT_VERSION, Footer, Image, canonical_json};

/// The epoch of the tests: 2001-09-09T01:46:40Z.
pub const EPOCH: u32 = 1_000_000_000;

/// A block of a file, in bytes.
pub const BLOCK: usize = 128 << 10;

/// An image as it is usual, but for a level that takes less time.
pub fn options() -> Options<'static> {
    let parallel = std::thread::available_parallelism().unwrap();
    Options { epoch: EPOCH, level: 3, block_size: BLOCK as u32, parallel, blocks: None }
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// The files of [`write_sample`]: path, content, mode.
pub fn sample_files() -> Vec<(&'static str, Vec<u8>, u32)> {
    let text = "The quick brown fox jumps over the lazy dog.\n".repeat(5000).into_bytes();
    vec![
        ("bin/run", b"#!/bin/sh\necho hello\n".to_vec(), 0o755),
        ("bin/set-uid", b"#!/bin/sh\nid\n".to_vec(), 0o6755),
        ("bin/others-only", b"#!/bin/sh\n".to_vec(), 0o641),
        ("empty", Vec::new(), 0o600),
        ("one-byte", vec![b'x'], 0o444),
        ("one-block", noise(BLOCK, 1), 0o666),
        ("block-and-a-byte", noise(BLOCK + 1, 2), 0o644),
        ("text", text.clone(), 0o640),
        ("copies/text", text, 0o644),
        ("copies/one-block", noise(BLOCK, 1), 0o644),
        ("large", [noise(5 << 20, 3), vec![b'a'; 5 << 20]].concat(), 0o644),
        ("zeros", vec![0; 3 * BLOCK], 0o644),
        ("names/grüße-世界-🦀", b"utf-8".to_vec(), 0o644),
        ("names/with space\tand\nlines", b"odd".to_vec(), 0o644),
        ("names/Z", b"Z".to_vec(), 0o644),
        ("names/a", b"a".to_vec(), 0o644),
        ("names/-rf", b"dash".to_vec(), 0o644),
    ]
}

/// Writes the sample tree into a new folder: with `shuffled`, in another order and with other modes where the image
/// keeps none.
pub fn write_sample(root: &Path, shuffled: bool) {
    let mut files = sample_files();
    if shuffled {
        files.reverse();
    }
    fs::create_dir(root).unwrap();
    for (path, content, mode) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let mode = if shuffled { mode & !0o7066 | 0o400 } else { mode };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir_all(root.join("empty-folder/inner")).unwrap();
    // A hole of 20 MB with something on both sides.
    let sparse = File::create(root.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"end", 20 << 20).unwrap();
    symlink("../text", root.join("names/link")).unwrap();
    symlink("/usr/bin/env", root.join("absolute")).unwrap();
    symlink("no/such/file", root.join("dangling")).unwrap();
    symlink("x".repeat(4000), root.join("long-link")).unwrap();
    for n in 0..600 {
        let folder = root.join("many");
        fs::create_dir_all(&folder).unwrap();
        // Some are so large that they have a span of their own, so that the index has several pages.
        let content = if n % 6 == 0 { noise(17_000, n) } else { n.to_string().into_bytes() };
        fs::write(folder.join(format!("file-{n:03}")), content).unwrap();
    }
}

/// What a tree shows of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `folder`, `file HASH` or `link TARGET`.
    pub content: String,
    pub mode: u32,
    pub owner: (u32, u32),
    pub modified: i64,
}

/// Everything below a folder, and the folder itself as the empty path.
pub fn tree_of(root: &Path) -> BTreeMap<PathBuf, Node> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(|entry| {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        let content = if metadata.is_dir() {
            "folder".to_owned()
        } else if metadata.is_symlink() {
            format!("link {}", fs::read_link(entry.path()).unwrap().display())
        } else {
            format!("file {}", Hash::of(&fs::read(entry.path()).unwrap()))
        };
        let node = Node {
            content,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            modified: metadata.mtime(),
        };
        (entry.path().strip_prefix(root).unwrap().to_path_buf(), node)
    });
    entries.collect()
}

/// The tree as a package holds it: owner, modes and times as the builder's documentation says.
pub fn normalised(tree: &BTreeMap<PathBuf, Node>, epoch: u32) -> BTreeMap<PathBuf, Node> {
    let normal = |node: &Node| {
        let mode = match &node.content {
            folder if folder == "folder" => 0o755,
            link if link.starts_with("link ") => 0o777,
            _ if node.mode & 0o111 != 0 => 0o755,
            _ => 0o644,
        };
        Node { mode, owner: (0, 0), modified: i64::from(epoch), ..node.clone() }
    };
    tree.iter().map(|(path, node)| (path.clone(), normal(node))).collect()
}

/// Writes the image of a folder to a file.
pub fn write_to(folder: &Path, file: &File, options: &Options<'_>) -> Result<(Plan, Written), ImageError> {
    let plan = Plan::of(folder)?;
    let written = image::write(&plan, file, options, &mut |_| ())?;
    Ok((plan, written))
}

/// Writes the image of a folder into memory.
pub fn image_with(folder: &Path, options: &Options<'_>) -> Vec<u8> {
    let file = tempfile::tempfile().unwrap();
    let (_, written) = write_to(folder, &file, options).unwrap();
    let mut bytes = vec![0; written.length as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), written.length);
    bytes
}

/// Writes the image of a folder into memory, as usual.
pub fn image_of(folder: &Path) -> Vec<u8> {
    image_with(folder, &options())
}

/// Whether this is the second run of a test, in the surroundings that [`rerun`] gave it.
pub fn is_rerun() -> bool {
    std::env::var_os("PACK_TEST_RERUN").is_some()
}

/// Runs a test of this file once more behind `wrapper` (such as `taskset -c 0`), and returns what it printed.
///
/// # Panics
/// Where it fails.
pub fn rerun(test: &str, wrapper: &[&str], environment: &[(&str, &Path)]) -> Output {
    let output = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("PACK_TEST_RERUN", "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{test} behind {wrapper:?}: {output:?}");
    output
}

/// Whether the test can act as root; says why it skips where it cannot.
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        let reason = format!("{test}: it needs root");
        eprintln!("SKIP {reason}");
        if let Some(list) = std::env::var_os("PACK_TEST_SKIPS") {
            let mut file = File::options().append(true).create(true).open(list).unwrap();
            writeln!(file, "{reason}").unwrap();
        }
    }
    root
}

/// A command that makes another one run as an unprivileged user, without any capability.
pub const UNPRIVILEGED: [&str; 5] =
    ["setpriv", "--reuid=20001", "--regid=20001", "--clear-groups", "--no-new-privs"];

/// A key of the tests.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// A manifest of the tests.
pub fn manifest(name: &str) -> Manifest {
    let json = serde_json::json!({
        "name": name,
        "version": "1.0",
        "base": "none",
        "apps": { name: { "command": "bin/run", "plugs": ["network", "x11"] } },
        "plugs": { "x11": { "interface": "x11" } },
    });
    serde_json::from_value(json).unwrap()
}

/// Makes a signed package of a folder.
pub fn assemble_to(folder: &Path, output: &Path, keys: &[&SigningKey]) -> Result<Assembled, AssembleError> {
    let request = Request {
        prime: folder,
        manifest: &manifest("hello"),
        architecture: Architecture::Amd64,
        source_date_epoch: EPOCH,
        keys,
        output,
        blocks: None,
        parallel: std::thread::available_parallelism().unwrap(),
    };
    assemble(&request, &mut |_| ())
}

/// A package, properly indexed and signed, around any bytes that are to be its image: what a hostile publisher can make.
pub fn package_around(image: &[u8], signer: &SigningKey) -> Vec<u8> {
    let mut image = image.to_vec();
    image.resize(image.len().next_multiple_of(4096), 0);
    let mut start = 0;
    let spans: Vec<Span> = image
        .chunks(64 << 10)
        .map(|piece| {
            let span = Span { start, length: piece.len() as u32, hash: Hash::of(piece) };
            start = span.end();
            span
        })
        .collect();
    let (index, index_root) = pack_schemas::index::build(&spans).unwrap();
    let manifest = manifest("hello");
    let envelope = Envelope {
        format: FORMAT_VERSION,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        architecture: Architecture::Amd64,
        package_type: manifest.package_type,
        image: Image {
            length: image.len() as u64,
            spans: spans.len() as u64,
            index_root,
            encoder: "by hand".to_owned(),
            level: 1,
            block_size: BLOCK as u32,
        },
        manifest,
        source_date_epoch: EPOCH,
    };
    let envelope = envelope.to_bytes();
    let signatures = canonical_json(&[pack_schemas::package::sign(&envelope, signer)]);
    let footer = Footer {
        image: image.len() as u64,
        index: index.len() as u64,
        envelope: envelope.len() as u32,
        signatures: signatures.len() as u32,
    };
    [&image[..], &index, &envelope, &signatures, &footer.to_bytes()].concat()
}

/// Opens a package that is in memory.
pub fn open(bytes: &[u8]) -> Result<Arc<Package>, OpenError> {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Package::open(file).map(Arc::new)
}

/// The names in a folder.
pub fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
