//! Reads packages for the part of pack that keeps what is installed: [`PackageReader`] on the launcher's checked reader.

use std::fs::File;
use std::ops::ControlFlow;
use std::sync::Arc;

use indicatif::ProgressBar;
use pack_builder::verify::{verify_content, work};
use pack_launcher::image::{CacheSize, CheckedSource, EntryCookie, Node, Reader};
use pack_launcher::package::Package;
use pack_launcher::plan;
use pack_schemas::facts::ImageFacts;
use pack_schemas::package::PackageError;
use pack_schemas::squashfs::{InodeDetail, InodeKind};
use pack_store_client::reader::{FileKind, ImageFiles, OpenedPackage, PackageReader, ReadError};

/// Reads packages, and moves a bar while it checks one.
pub struct CheckedReader {
    /// The bar; it goes on from where it stands.
    pub bar: ProgressBar,
}

impl PackageReader for CheckedReader {
    fn check(&mut self, file: &File) -> Result<OpenedPackage, ReadError> {
        let package = Arc::new(Package::open(file.try_clone()?)?);
        let before = self.bar.position();
        self.bar.set_length(before.saturating_add(work(&package)));
        verify_content(&package, &mut |done| self.bar.set_position(before.saturating_add(done)))?;
        opened(package)
    }

    fn open(&mut self, file: &File) -> Result<OpenedPackage, ReadError> {
        opened(Arc::new(Package::open(file.try_clone()?)?))
    }
}

/// What a package says of itself, and its files.
pub fn opened(package: Arc<Package>) -> Result<OpenedPackage, ReadError> {
    let signers = match package.verify() {
        Err(PackageError::Unsigned) => Vec::new(),
        signers => signers?,
    };
    let source = Arc::new(CheckedSource::new(Arc::clone(&package)));
    Ok(OpenedPackage {
        envelope_hash: package.envelope_hash(),
        envelope: package.envelope().clone(),
        signers,
        files: Box::new(Image { reader: Reader::open(source, CacheSize::default())? }),
    })
}

/// The files of an image.
struct Image {
    reader: Reader,
}

impl Image {
    /// What is at a path. A link on the way is no folder, so nothing is found behind it.
    fn node(&self, path: &str) -> Result<Option<Node>, ReadError> {
        let mut node = self.reader.root()?;
        for name in path.split('/') {
            match self.reader.lookup(&node, name.as_bytes())? {
                Some(next) => node = next,
                None => return Ok(None),
            }
        }
        Ok(Some(node))
    }
}

impl ImageFiles for Image {
    fn kind(&self, path: &str) -> Result<Option<FileKind>, ReadError> {
        Ok(self.node(path)?.map(|node| match (node.inode.kind(), node.inode.detail) {
            (_, InodeDetail::File(file)) => FileKind::Regular { size: file.size },
            (InodeKind::Directory, _) => FileKind::Folder,
            (InodeKind::Symlink, _) => FileKind::Symlink,
            _ => FileKind::Special,
        }))
    }

    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError> {
        let node = self.node(path)?.ok_or("it is not there")?;
        let InodeDetail::File(file) = node.inode.detail else {
            return Err("it is not a regular file".into());
        };
        if file.size > limit {
            return Err(format!("it is longer than {limit} bytes").into());
        }
        let mut bytes = vec![0; usize::try_from(file.size)?];
        let mut done = 0;
        while done < bytes.len() {
            match self.reader.read(&node, done as u64, &mut bytes[done..])? {
                0 => return Err("it is shorter than it says".into()),
                count => done += count,
            }
        }
        Ok(bytes)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, ReadError> {
        let node = self.node(path)?.ok_or("it is not there")?;
        let mut names = Vec::new();
        self.reader.entries(&node, EntryCookie::START, &mut |entry| {
            names.extend(str::from_utf8(entry.name).map(str::to_owned));
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    fn facts(&self) -> Result<ImageFacts, ReadError> {
        Ok(plan::facts::read(&self.reader)?)
    }
}
