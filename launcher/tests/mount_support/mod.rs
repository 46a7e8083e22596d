//! Trees, images made of them by squashfs's own tools, and packages around those images.
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod disk;
pub mod forge;
pub mod hostile;
#[path = "../../../fuzz/bodies/memory.rs"]
mod memory;
pub mod mounted;
pub mod session;
pub mod through;
pub mod torture;
pub mod tree;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ed25519_dalek::SigningKey;
#[allow(unused_imports, reason = "each test program uses a part of it")]
pub use memory::Bytes;
use pack_launcher::image::{BlockSource, RawSource, spans};
use pack_launcher::package::Package;
use pack_schemas::index::{self, Span};
use pack_schemas::package::{self as format, Envelope, Footer, IMAGE_ALIGNMENT, Image};

/// Runs a program and returns what it wrote to its standard output.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// Looks until there is something to be found; `what` is wrong when that takes too long.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Makes an image of a folder with mksquashfs.
pub fn mksquashfs(folder: &Path, image: &Path, options: &[&str]) {
    let _ = std::fs::remove_file(image);
    run(Command::new("mksquashfs")
        .arg(folder)
        .arg(image)
        .args(["-noappend", "-no-progress", "-quiet"])
        .args(options));
}

/// Opens a bare image.
pub fn raw(image: &Path) -> Arc<dyn BlockSource> {
    Arc::new(RawSource::of_file(File::open(image).unwrap()).unwrap())
}

/// Wraps an image in a signed package called `hello`, and returns its spans.
pub fn wrap(image: &Path, package: &Path) -> Vec<Span> {
    let mut bytes = std::fs::read(image).unwrap();
    bytes.resize(bytes.len().next_multiple_of(IMAGE_ALIGNMENT as usize), 0);
    std::fs::write(package, &bytes).unwrap();
    let spans = spans::hash(&raw(package), &mut |_| {}).unwrap();
    write_package(&bytes, &spans, package);
    spans
}

/// Writes a signed package of an image with the given spans.
pub fn write_package(image: &[u8], spans: &[Span], package: &Path) {
    let (index, root) = index::build(spans).unwrap();
    let manifest = serde_json::json!({"name": "hello", "version": "1", "base": "host"});
    let envelope = Envelope {
        format: format::FORMAT_VERSION,
        name: "hello".parse().unwrap(),
        version: "1".parse().unwrap(),
        architecture: pack_schemas::names::Architecture::All,
        package_type: pack_schemas::manifest::PackageType::App,
        image: Image {
            length: image.len() as u64,
            spans: spans.len() as u64,
            index_root: root,
            encoder: "test".to_owned(),
            level: 1,
            block_size: 131_072,
        },
        manifest: serde_json::from_value(manifest).unwrap(),
        source_date_epoch: 0,
    }
    .to_bytes();
    let key = SigningKey::from_bytes(&[7; 32]);
    let signatures = format::canonical_json(&[format::sign(&envelope, &key)]);
    let footer = Footer {
        image: image.len() as u64,
        index: index.len() as u64,
        envelope: envelope.len() as u32,
        signatures: signatures.len() as u32,
    };
    let mut file = File::create(package).unwrap();
    for section in [image, &index, &envelope, &signatures, &footer.to_bytes()] {
        file.write_all(section).unwrap();
    }
}

/// Opens a package and checks its signature.
pub fn open(package: &Path) -> Arc<Package> {
    let package = Package::open(File::open(package).unwrap()).unwrap();
    package.verify().unwrap();
    Arc::new(package)
}

/// A folder that is removed in the end.
pub fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pack-mount-").tempdir().unwrap()
}

/// A tree with one of everything, an image of it and a package of that.
pub struct Case {
    pub folder: tempfile::TempDir,
    pub spans: Vec<Span>,
}

impl Case {
    pub fn new(make: impl FnOnce(&Path), options: &[&str]) -> Case {
        let folder = folder();
        let tree = folder.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        make(&tree);
        mksquashfs(&tree, &folder.path().join("image"), options);
        let spans = wrap(&folder.path().join("image"), &folder.path().join("hello.pkg"));
        Case { folder, spans }
    }

    pub fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    pub fn image(&self) -> PathBuf {
        self.folder.path().join("image")
    }

    pub fn package(&self) -> PathBuf {
        self.folder.path().join("hello.pkg")
    }
}

/// Wraps an image that may be malformed: it is cut into spans of a fixed length, which have nothing to do with its
/// blocks.
pub fn wrap_blindly(image: &[u8], span_length: usize, package: &Path) {
    let mut image = image.to_vec();
    image.resize(image.len().next_multiple_of(IMAGE_ALIGNMENT as usize), 0);
    let spans: Vec<Span> = image
        .chunks(span_length)
        .enumerate()
        .map(|(number, bytes)| Span {
            start: (number * span_length) as u64,
            length: bytes.len() as u32,
            hash: pack_schemas::names::Hash::of(bytes),
        })
        .collect();
    write_package(&image, &spans, package);
}
