//! A home with packages in it. The packages are real but for their image, which is a JSON object of paths and texts:
//! this crate reads images through its caller.
#![allow(dead_code)] // Each test file uses a part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use pack_schemas::facts::ImageFacts;
use pack_schemas::index::{self, Geometry, PAGE_SIZE, Span, Step as IndexStep, Walk};
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Hash, PackageName, PublicKey};
use pack_schemas::package::{self, Envelope, FOOTER_SIZE, FORMAT_VERSION, Footer, Image, PackageError, sign};
use pack_store_client::change::{Change, Step};
use pack_store_client::decision::{Candidate, Decision, InstallPlan, Present, Wishes, decide};
use pack_store_client::export::ExportSettings;
use pack_store_client::folders::{BasePaths, Folders};
use pack_store_client::install::{InstallError, Installed};
use pack_store_client::lock::StateLock;
use pack_store_client::reader::{FileKind, ImageFiles, OpenedPackage, PackageReader, ReadError};
use pack_store_client::recover::Recovery;
use pack_store_client::remove::{self, RemoveError};
use serde_json::{Value, json};

/// The time at which everything happens.
pub const NOW: u64 = 1_700_000_000;

/// A home, and a folder for package files beside it.
pub struct World {
    pub root: PathBuf,
    pub folders: Folders,
    _temporary: Option<tempfile::TempDir>,
}

impl World {
    pub fn new() -> World {
        let temporary = tempfile::tempdir().unwrap();
        let world = World::at(temporary.path());
        World { _temporary: Some(temporary), ..world }
    }

    /// A home in a folder that is there.
    pub fn at(root: &Path) -> World {
        let home = root.join("home");
        std::fs::create_dir_all(&home).unwrap();
        let data = home.join(".local/share");
        let config = home.join(".config");
        let folders = Folders::new(BasePaths { pack: data.join("pack"), data, config, home }).unwrap();
        World { root: root.to_owned(), folders, _temporary: None }
    }

    pub fn lock(&self) -> StateLock {
        StateLock::acquire(&self.folders, "test", Duration::from_secs(10), &mut |_| ()).unwrap()
    }

    /// Runs a change; `observer` is told every step.
    pub fn change<T>(&self, observer: &mut dyn FnMut(Step), act: impl FnOnce(&mut Change) -> T) -> T {
        let lock = self.lock();
        let exports = ExportSettings { pack: "/usr/bin/pack".into(), search_path: Vec::new() };
        let reader = &mut JsonReader;
        act(&mut Change { folders: &self.folders, lock: &lock, reader, exports: &exports, observer })
    }

    /// Recovers, as every run that changes something begins.
    pub fn recover(&self) -> Recovery {
        self.change(&mut |_| (), |change| change.recover().unwrap())
    }

    pub fn plan(&self, file: &File, wishes: &Wishes) -> InstallPlan {
        let bytes = read_all(file).unwrap();
        let parts = Parts::parse(&bytes).unwrap();
        let signers = package::verify(parts.envelope_bytes, &parts.signatures);
        let own = BTreeSet::from([public_key(1)]);
        let present = Present::read(&self.folders, &parts.envelope.name, own, Architecture::HOST).unwrap();
        let candidate = Candidate {
            envelope: &parts.envelope,
            envelope_hash: Hash::of(parts.envelope_bytes),
            size: bytes.len() as u64,
            signers: signers.as_deref(),
            vouched: None,
        };
        match decide(&candidate, &present, wishes) {
            Ok(Decision::Install(plan)) => *plan,
            other => panic!("{other:?}"),
        }
    }

    /// Decides and installs; every step is told to `observer`.
    pub fn install_observed(
        &self,
        file: &Path,
        observer: &mut dyn FnMut(Step),
    ) -> Result<Installed, InstallError> {
        let file = File::open(file).unwrap();
        let plan = self.plan(&file, &Wishes { now: NOW, ..Wishes::default() });
        self.change(observer, |change| change.install(&plan, &file, NOW))
    }

    /// Installs a package that has to install without a warning.
    #[track_caller]
    pub fn install(&self, file: &Path) -> Installed {
        let installed = self.install_observed(file, &mut |_| ()).unwrap();
        assert!(installed.warnings.is_empty(), "{:?}", installed.warnings);
        installed
    }

    pub fn remove_observed(&self, purge: bool, observer: &mut dyn FnMut(Step)) -> Result<(), RemoveError> {
        let plan = remove::plan(&self.folders, &hello(), purge)?;
        self.change(observer, |change| change.remove(&plan))
    }

    /// Everything in the home: kind, mode and content of each path.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        snapshot_below(&self.root.join("home"), &self.root.join("home"), &mut found);
        // Who held the lock last is no part of what is installed, nor are the folders that everything is in.
        for path in ["pack/lock", "pack/packages", "pack/data", "pack", ""] {
            found.remove(&Path::new(".local/share").join(path));
        }
        found.remove(Path::new(".local"));
        found
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.folders.package_data(&hello()).join(name)
    }
}

fn snapshot_below(folder: &Path, base: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_symlink() {
            format!("link to {}", std::fs::read_link(&path).unwrap().display())
        } else if metadata.is_dir() {
            snapshot_below(&path, base, found);
            format!("folder {:o}", metadata.mode())
        } else {
            let content = std::fs::read(&path).unwrap();
            match str::from_utf8(&content) {
                Ok(text) => format!("file {:o} {text}", metadata.mode()),
                Err(_) => format!("file {:o} with hash {}", metadata.mode(), Hash::of(&content)),
            }
        };
        found.insert(path.strip_prefix(base).unwrap().to_owned(), content);
    }
}

/// The package that the tests are about.
pub fn hello() -> PackageName {
    "hello".parse().unwrap()
}

pub fn signing_key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub fn public_key(seed: u8) -> PublicKey {
    PublicKey(signing_key(seed).verifying_key().to_bytes())
}

/// What a test package is made of.
pub struct Project {
    pub manifest: Value,
    pub files: BTreeMap<String, String>,
    pub signers: Vec<u8>,
}

impl Project {
    /// `hello` with two apps, one of them with a menu entry and an icon; signed by key 1.
    pub fn hello(version: &str) -> Project {
        let files = [
            ("bin/hello", format!("#!/bin/sh\necho {version}\n")),
            (
                "hello.desktop",
                format!("[Desktop Entry]\nType=Application\nName=Hello {version}\nExec=hello\nIcon=hello\n"),
            ),
            (
                "usr/share/icons/hicolor/scalable/apps/hello.svg",
                format!("<svg xmlns=\"http://www.w3.org/2000/svg\" id=\"v{version}\"/>"),
            ),
        ];
        Project {
            manifest: json!({
                "name": "hello", "version": version, "base": "host",
                "apps": {
                    "hello": { "command": "bin/hello", "desktop": "hello.desktop" },
                    "tool": { "command": "bin/hello" },
                },
            }),
            files: files.into_iter().map(|(path, text)| (path.to_owned(), text)).collect(),
            signers: vec![1],
        }
    }

    /// Without the app `tool`, so that an upgrade has an export to take away.
    pub fn without_tool(mut self) -> Project {
        self.manifest["apps"].as_object_mut().unwrap().remove("tool");
        self
    }

    pub fn signed_by(self, signers: &[u8]) -> Project {
        Project { signers: signers.to_vec(), ..self }
    }

    /// The bytes of the package.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut image = serde_json::to_vec(&self.files).unwrap();
        image.resize(image.len().next_multiple_of(4096), b' ');
        let spans: Vec<Span> = image
            .chunks(1000)
            .enumerate()
            .map(|(number, bytes)| Span {
                start: number as u64 * 1000,
                length: bytes.len() as u32,
                hash: Hash::of(bytes),
            })
            .collect();
        let (index, index_root) = index::build(&spans).unwrap();
        let manifest: Manifest = serde_json::from_value(self.manifest.clone()).unwrap();
        let envelope = Envelope {
            format: FORMAT_VERSION,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            architecture: Architecture::All,
            package_type: manifest.package_type,
            image: Image {
                length: image.len() as u64,
                spans: spans.len() as u64,
                index_root,
                encoder: "json".to_owned(),
                level: 1,
                block_size: 131_072,
            },
            manifest,
            source_date_epoch: 0,
        }
        .to_bytes();
        let mut signatures: Vec<_> =
            self.signers.iter().map(|seed| sign(&envelope, &signing_key(*seed))).collect();
        signatures.sort_by_key(|signature| signature.key);
        let signatures = package::canonical_json(&signatures);
        let footer = Footer {
            image: image.len() as u64,
            index: index.len() as u64,
            envelope: envelope.len() as u32,
            signatures: signatures.len() as u32,
        };
        [image, index, envelope, signatures, footer.to_bytes().to_vec()].concat()
    }

    /// Writes the package to a file of the world's.
    pub fn write(&self, world: &World, name: &str) -> PathBuf {
        let path = world.root.join(name);
        std::fs::write(&path, self.to_bytes()).unwrap();
        path
    }
}

/// The sections of a package.
pub struct Parts<'a> {
    pub footer: Footer,
    pub envelope: Envelope,
    pub envelope_bytes: &'a [u8],
    pub signatures: Vec<package::Signature>,
}

impl Parts<'_> {
    pub fn parse(bytes: &[u8]) -> Result<Parts<'_>, ReadError> {
        let tail = bytes.last_chunk::<FOOTER_SIZE>().ok_or("too short")?;
        let footer = Footer::parse(tail, bytes.len() as u64)?;
        let section = |offset: u64, length: u32| &bytes[offset as usize..offset as usize + length as usize];
        let envelope_bytes = section(footer.envelope_offset(), footer.envelope);
        let signatures = section(footer.signatures_offset(), footer.signatures);
        Ok(Parts {
            envelope: Envelope::parse(envelope_bytes, &footer)?,
            envelope_bytes,
            signatures: package::parse_signatures(signatures)?,
            footer,
        })
    }
}

/// Reads the test packages, and checks them as the real reader does.
pub struct JsonReader;

impl PackageReader for JsonReader {
    fn check(&mut self, file: &File) -> Result<OpenedPackage, ReadError> {
        let bytes = read_all(file)?;
        let parts = Parts::parse(&bytes)?;
        let geometry = Geometry::new(parts.envelope.image.spans);
        let mut covered = 0;
        while covered < parts.footer.image {
            let mut walk = Walk::new(&geometry, parts.envelope.image.index_root, covered);
            let leaf = loop {
                let at = parts.footer.index_offset() as usize + walk.page() as usize * PAGE_SIZE;
                match walk.step(bytes[at..at + PAGE_SIZE].try_into()?)? {
                    IndexStep::Down(next) => walk = next,
                    IndexStep::Leaf(leaf) => break leaf,
                }
            };
            for span in leaf.spans() {
                if Hash::of(&bytes[span.start as usize..span.end() as usize]) != span.hash {
                    return Err(format!("span at {} is damaged", span.start).into());
                }
                covered = span.end();
            }
        }
        self.open(file)
    }

    fn open(&mut self, file: &File) -> Result<OpenedPackage, ReadError> {
        let bytes = read_all(file)?;
        let parts = Parts::parse(&bytes)?;
        let signers = match package::verify(parts.envelope_bytes, &parts.signatures) {
            Err(PackageError::Unsigned) => Vec::new(),
            signers => signers?,
        };
        let files: BTreeMap<String, String> = serde_json::from_slice(&bytes[..parts.footer.image as usize])?;
        Ok(OpenedPackage {
            envelope_hash: Hash::of(parts.envelope_bytes),
            envelope: parts.envelope,
            signers,
            files: Box::new(JsonFiles(files)),
        })
    }
}

struct JsonFiles(BTreeMap<String, String>);

impl ImageFiles for JsonFiles {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, ReadError> {
        if let Some(text) = self.0.get(path) {
            return Ok(Some(FileKind::Regular { size: text.len() as u64 }));
        }
        let folder = format!("{path}/");
        Ok(self.0.keys().any(|name| name.starts_with(&folder)).then_some(FileKind::Folder))
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let text = self.0.get(path).ok_or("no such file")?;
        if text.len() as u64 > limit { Err("too long".into()) } else { Ok(text.clone().into_bytes()) }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, ReadError> {
        let folder = format!("{path}/");
        let inside = self.0.keys().filter_map(|name| name.strip_prefix(&folder)?.split('/').next());
        let names: BTreeSet<String> = inside.map(str::to_owned).collect();
        Ok(names.into_iter().collect())
    }

    fn facts(&self) -> Result<ImageFacts, ReadError> {
        Ok(ImageFacts { folders: vec!["bin".to_owned()], ..ImageFacts::default() })
    }
}

fn read_all(file: &File) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Says that a test cannot run here, and why; the test returns afterwards. CI fails on a reason that it does not
/// expect.
pub fn skip(reason: &str) {
    let _ = writeln!(std::io::stdout(), "SKIP {reason}");
    if let Some(path) = std::env::var_os("PACK_TEST_SKIPS") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{reason}").unwrap();
    }
}
