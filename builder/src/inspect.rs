//! What there is to see of a package without installing it, as plain data: `pack inspect` shows it, or prints it as JSON.
//!
//! Nothing here is believed: whether the signatures are right is a part of the report.

use std::collections::BTreeMap;
use std::sync::Arc;

use pack_launcher::package::Package;
use pack_schemas::index::Geometry;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Hash, Name, PackageName, PublicKey, Version};
use pack_schemas::package::{FOOTER_SIZE, PackageError};
use pack_schemas::squashfs::{InodeDetail, InodeKind};
use serde::Serialize;

use crate::tree::{self, TreeError, Visit};

/// What a package says of itself, and how it is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspection {
    /// Package name.
    pub name: PackageName,
    /// The publisher's version.
    pub version: Version,
    /// Architecture of the programs inside.
    pub architecture: Architecture,
    /// Version of the file format.
    pub format: u32,
    /// Every time in the package, in seconds since 1970.
    pub source_date_epoch: u32,
    /// Hash of the envelope, which stands for the whole package.
    pub envelope_hash: Hash,
    /// Whether the signatures are right, and whose they are.
    pub signature: SignatureState,
    /// How the image is made and checked.
    pub image: ImageFacts,
    /// Bytes of each section of the file.
    pub sizes: Sizes,
    /// What each app asks for: its plugs, and the interface of each.
    pub plugs: BTreeMap<Name, BTreeMap<Name, Name>>,
    /// The whole manifest.
    pub manifest: Manifest,
}

/// Whether the signatures of a package are right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum SignatureState {
    /// All are; at least one.
    Valid {
        /// The keys that made them.
        keys: Vec<PublicKey>,
    },
    /// There is none.
    Unsigned,
    /// One is wrong, so none counts.
    Wrong {
        /// The key that the wrong one names.
        key: PublicKey,
    },
}

/// How an image is made and checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageFacts {
    /// Program and version that compressed it.
    pub encoder: String,
    /// Compression level.
    pub level: i32,
    /// Bytes of a file in one block, before compression.
    pub block_size: u32,
    /// Pieces with a hash of their own.
    pub spans: u64,
    /// Levels of the index.
    pub index_depth: usize,
    /// Hash of the index's root page.
    pub index_root: Hash,
}

/// Bytes of each section of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sizes {
    /// The whole file.
    pub file: u64,
    /// The image.
    pub image: u64,
    /// The index.
    pub index: u64,
    /// The envelope.
    pub envelope: u64,
    /// The signatures.
    pub signatures: u64,
}

/// What the image holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Contents {
    /// Files.
    pub files: u64,
    /// Folders, the root included.
    pub folders: u64,
    /// Symbolic links.
    pub symbolic_links: u64,
    /// Device nodes, FIFOs and sockets, which `pack build` puts into no package.
    pub others: u64,
    /// Bytes of all files, uncompressed; a file with two names counts twice.
    pub bytes: u64,
}

/// Looks at a package.
pub fn inspect(package: &Package) -> Inspection {
    let envelope = package.envelope();
    let image = &envelope.image;
    Inspection {
        name: envelope.name.clone(),
        version: envelope.version.clone(),
        architecture: envelope.architecture,
        format: envelope.format,
        source_date_epoch: envelope.source_date_epoch,
        envelope_hash: package.envelope_hash(),
        signature: signature_state(package),
        image: ImageFacts {
            encoder: image.encoder.clone(),
            level: image.level,
            block_size: image.block_size,
            spans: image.spans,
            index_depth: Geometry::new(image.spans).depth(),
            index_root: image.index_root,
        },
        sizes: sizes(package),
        plugs: plugs(&envelope.manifest),
        manifest: envelope.manifest.clone(),
    }
}

fn signature_state(package: &Package) -> SignatureState {
    match package.verify() {
        Ok(keys) => SignatureState::Valid { keys },
        Err(PackageError::BadSignature { key }) => SignatureState::Wrong { key },
        Err(_) => SignatureState::Unsigned,
    }
}

fn sizes(package: &Package) -> Sizes {
    let footer = package.footer();
    let [envelope, signatures] = [footer.envelope, footer.signatures].map(u64::from);
    // Opening the package has checked that the lengths add up to the size of the file.
    let file = footer.image + footer.index + envelope + signatures + FOOTER_SIZE as u64;
    Sizes { file, image: footer.image, index: footer.index, envelope, signatures }
}

fn plugs(manifest: &Manifest) -> BTreeMap<Name, BTreeMap<Name, Name>> {
    let interfaces = |plug: &Name| (plug.clone(), manifest.interface_of(plug));
    let apps = manifest
        .apps
        .iter()
        .map(|(name, app)| (name.clone(), app.plugs.iter().chain(&app.slots).map(interfaces).collect()));
    apps.collect()
}

/// Counts what the image holds, by its folders and inodes; the contents of files are not read.
///
/// # Errors
/// [`TreeError`] where a part of the image that it needs is damaged or malformed.
pub fn contents(package: &Arc<Package>) -> Result<Contents, TreeError> {
    let reader = tree::open(package).map_err(|source| TreeError::Read { path: Vec::new(), source })?;
    let mut contents = Contents::default();
    tree::walk(&reader, &mut |visit| -> Result<(), TreeError> {
        let (Visit::Enter { node, .. } | Visit::Leaf { node, .. }) = visit else { return Ok(()) };
        match node.inode.kind() {
            InodeKind::Directory => contents.folders += 1,
            InodeKind::File => contents.files += 1,
            InodeKind::Symlink => contents.symbolic_links += 1,
            _ => contents.others += 1,
        }
        if let InodeDetail::File(file) = node.inode.detail {
            contents.bytes = contents.bytes.saturating_add(file.size);
        }
        Ok(())
    })?;
    Ok(contents)
}
