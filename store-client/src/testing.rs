//! What the tests beside the code share.

use std::path::PathBuf;
use std::time::Duration;

use ed25519_dalek::SigningKey;

use pack_schemas::facts::ImageFacts;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Hash, PublicKey};
use pack_schemas::package::{Envelope, FORMAT_VERSION, Image};

use crate::folders::{BasePaths, Folders};
use crate::lock::StateLock;
use crate::reader::{FileKind, ImageFiles, ReadError};

/// A home folder that goes when it is dropped.
pub(crate) struct Home {
    _place: tempfile::TempDir,
    pub folders: Folders,
}

impl Home {
    pub fn new() -> Home {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join(".local/share");
        let (config, home) = (place.path().join(".config"), place.path().to_owned());
        let base = BasePaths { pack: data.join("pack"), data, config, home };
        Home { folders: Folders::new(base).unwrap(), _place: place }
    }

    pub fn lock(&self) -> StateLock {
        StateLock::acquire(&self.folders, "test", Duration::ZERO, &mut |_| ()).unwrap()
    }
}

/// An envelope around a manifest with these keys besides the ones that every manifest has.
pub(crate) fn envelope(name: &str, version: &str, manifest: serde_json::Value) -> Envelope {
    let mut whole = serde_json::json!({ "name": name, "version": version, "base": "host" });
    whole.as_object_mut().unwrap().extend(manifest.as_object().unwrap().clone());
    let manifest: Manifest = serde_json::from_value(whole).unwrap();
    Envelope {
        format: FORMAT_VERSION,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        architecture: Architecture::All,
        package_type: manifest.package_type,
        image: Image {
            length: 4096,
            spans: 1,
            index_root: Hash([0; 32]),
            encoder: "test".to_owned(),
            level: 1,
            block_size: 131_072,
        },
        manifest,
        source_date_epoch: 0,
    }
}

/// A folder as if it were the files of a package. What is in it is real: links, FIFOs and all.
pub(crate) struct FolderFiles(pub PathBuf);

impl ImageFiles for FolderFiles {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, ReadError> {
        let mut at = self.0.clone();
        let mut found = None;
        for name in path.split('/') {
            at.push(name);
            // A link on the way leads nowhere, as in an image.
            match at.symlink_metadata() {
                Ok(metadata) => found = Some(metadata),
                Err(_) => return Ok(None),
            }
            if found.as_ref().is_some_and(|metadata| metadata.is_symlink()) && at != self.0.join(path) {
                return Ok(None);
            }
        }
        Ok(found.map(|metadata| match metadata.file_type() {
            kind if kind.is_file() => FileKind::Regular { size: metadata.len() },
            kind if kind.is_dir() => FileKind::Folder,
            kind if kind.is_symlink() => FileKind::Symlink,
            _ => FileKind::Special,
        }))
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        // Reads whatever it is told to: that it is not told to read a link or a FIFO is what the tests are about.
        let bytes = std::fs::read(self.0.join(path))?;
        if bytes.len() as u64 > limit { Err("it is too long".into()) } else { Ok(bytes) }
    }

    fn list(&self, path: &str) -> Result<Vec<String>, ReadError> {
        let entries = std::fs::read_dir(self.0.join(path))?;
        Ok(entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect())
    }

    fn facts(&self) -> Result<ImageFacts, ReadError> {
        Ok(ImageFacts { folders: vec!["bin".to_owned()], ..ImageFacts::default() })
    }
}

/// A key by its seed.
pub(crate) fn key(seed: u8) -> PublicKey {
    PublicKey(SigningKey::from_bytes(&[seed; 32]).verifying_key().to_bytes())
}
