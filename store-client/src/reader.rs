//! What this crate asks of somebody who can read packages; the launcher's checked reader does it for the `pack`
//! command.

use std::error::Error;
use std::fs::File;

use pack_schemas::facts::ImageFacts;
use pack_schemas::names::{Hash, PublicKey};
use pack_schemas::package::Envelope;

/// The words of whoever reads packages.
pub type ReadError = Box<dyn Error + Send + Sync>;

/// Opens package files.
pub trait PackageReader {
    /// Checks a whole package: structure, index, every span of the image, and the signatures if there are any.
    ///
    /// # Errors
    /// Where any of it is not in order. A package without signatures is in order; whether it may be installed is
    /// decided elsewhere.
    fn check(&mut self, file: &File) -> Result<OpenedPackage, ReadError>;

    /// Opens a package that was checked when it was installed; what is read of it is checked as it is read.
    ///
    /// # Errors
    /// Where it cannot be opened.
    fn open(&mut self, file: &File) -> Result<OpenedPackage, ReadError>;
}

/// A package whose files can be read.
pub struct OpenedPackage {
    /// BLAKE3 of the envelope's bytes.
    pub envelope_hash: Hash,
    /// The envelope.
    pub envelope: Envelope,
    /// The keys whose signatures hold; none for a package that is not signed.
    pub signers: Vec<PublicKey>,
    /// The files in it.
    pub files: Box<dyn ImageFiles>,
}

/// The files in a package. Paths are relative, components separated by `/`; no method follows a link, in no component
/// of a path.
pub trait ImageFiles {
    /// What is at `path`; nothing where there is nothing, or where the way there leads through a link.
    ///
    /// # Errors
    /// Where the image cannot be read.
    fn kind(&self, path: &str) -> Result<Option<FileKind>, ReadError>;

    /// Reads a whole regular file of at most `limit` bytes.
    ///
    /// # Errors
    /// Where it is no regular file, is longer, or cannot be read.
    fn read(&self, path: &str, limit: u64) -> Result<Vec<u8>, ReadError>;

    /// The names in a folder that are UTF-8.
    ///
    /// # Errors
    /// Where it is no folder or cannot be read.
    fn list(&self, path: &str) -> Result<Vec<String>, ReadError>;

    /// What of the image decides how the root folder of an app looks.
    ///
    /// # Errors
    /// Where the image cannot be read.
    fn facts(&self) -> Result<ImageFacts, ReadError>;
}

/// What kind of file something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file of this many bytes.
    Regular {
        /// Its size.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// A FIFO, a socket or a device.
    Special,
}
