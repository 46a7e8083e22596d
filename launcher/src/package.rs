//! Opens a `.pkg` file: footer, envelope, signatures.
//!
//! Opening reads and parses, and believes nothing: whoever goes on with a package asks [`Package::verify`] for the keys
//! that signed it, or compares [`Package::envelope_hash`] with the hash that was accepted at install. The contents of
//! the image are checked later, block by block as they are read, against the index that the envelope names
//! ([`crate::image::CheckedSource`]).
//!
//! The file may be changed or cut short by its owner at any time. So it is read at positions, never mapped: a mapped
//! page could change between check and use, and a truncated one would end the process.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use pack_schemas::names::{Hash, PublicKey};
use pack_schemas::package::{self, Envelope, FOOTER_SIZE, Footer, PackageError, Signature};

/// Why a package could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused to open it.
    #[error("the file cannot be opened")]
    Open(#[source] io::Error),
    /// The kernel refused to read it.
    #[error("its {section} cannot be read")]
    Read {
        /// What was read: `size`, `footer`, `envelope` or `signatures`.
        section: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// It is a folder, a device, a pipe or another thing that has no fixed contents.
    #[error("it is not a regular file")]
    NotRegular,
    /// It is no package, or a damaged one.
    #[error(transparent)]
    Package(#[from] PackageError),
}

/// An open package.
#[derive(Debug)]
pub struct Package {
    file: File,
    footer: Footer,
    envelope: Envelope,
    envelope_bytes: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Package {
    /// Opens the package at a path. What else may be there is refused: a pipe is not waited for.
    ///
    /// # Errors
    /// As [`Package::open`].
    pub fn open_path(path: &Path) -> Result<Package, OpenError> {
        let mut options = File::options();
        let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
        Package::open(file.map_err(OpenError::Open)?)
    }

    /// Reads footer, envelope and signatures; at most about 4 MiB, whatever the size of the package.
    ///
    /// # Errors
    /// [`OpenError`] where the file cannot be read or is no well-formed package. A wrong signature is not among them.
    pub fn open(file: File) -> Result<Package, OpenError> {
        let metadata = file.metadata().map_err(|source| OpenError::Read { section: "size", source })?;
        if !metadata.is_file() {
            return Err(OpenError::NotRegular);
        }
        let size = metadata.len();
        let Some(footer_offset) = size.checked_sub(FOOTER_SIZE as u64) else {
            return Err(PackageError::NotAPackage { reason: "it is too short" }.into());
        };
        let mut footer = [0; FOOTER_SIZE];
        file.read_exact_at(&mut footer, footer_offset)
            .map_err(|source| OpenError::Read { section: "footer", source })?;
        let footer = Footer::parse(&footer, size)?;
        // Both lengths have been bounded by Footer::parse.
        let envelope_bytes = read_section(&file, "envelope", footer.envelope_offset(), footer.envelope)?;
        let envelope = Envelope::parse(&envelope_bytes, &footer)?;
        let signatures = read_section(&file, "signatures", footer.signatures_offset(), footer.signatures)?;
        let signatures = package::parse_signatures(&signatures)?;
        Ok(Package { file, footer, envelope, envelope_bytes, signatures })
    }

    /// Checks all signatures and returns the keys that made them, at least one.
    ///
    /// # Errors
    /// [`PackageError::Unsigned`] or [`PackageError::BadSignature`].
    pub fn verify(&self) -> Result<Vec<PublicKey>, PackageError> {
        package::verify(&self.envelope_bytes, &self.signatures)
    }

    /// What the package says of itself.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The envelope as it was signed.
    pub fn envelope_bytes(&self) -> &[u8] {
        &self.envelope_bytes
    }

    /// Hash of the envelope. It stands for the whole package: the envelope names the root of the index, and the index
    /// hashes every byte of the image.
    pub fn envelope_hash(&self) -> Hash {
        Hash::of(&self.envelope_bytes)
    }

    /// The signatures, unchecked.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Where the sections lie in the file.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The file itself, open for reading.
    pub fn file(&self) -> &File {
        &self.file
    }
}

fn read_section(file: &File, section: &'static str, offset: u64, length: u32) -> Result<Vec<u8>, OpenError> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).map_err(|source| OpenError::Read { section, source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for bytes in [&b""[..], b"short", &[0; 63], &[0; 64], &[0; 9000]] {
            assert!(matches!(
                Package::open(file_of(bytes)),
                Err(OpenError::Package(PackageError::NotAPackage { .. }))
            ));
        }
        assert!(matches!(Package::open(File::open("/").unwrap()), Err(OpenError::NotRegular)));
        assert!(matches!(Package::open(File::open("/dev/null").unwrap()), Err(OpenError::NotRegular)));
    }

    #[test]
    fn a_footer_that_promises_more_than_is_there_is_refused() {
        let footer = Footer { image: 4096, index: 4096, envelope: 100, signatures: 2 };
        let bytes = [&vec![0; 200][..], &footer.to_bytes()].concat();
        assert!(matches!(
            Package::open(file_of(&bytes)),
            Err(OpenError::Package(PackageError::Layout { .. }))
        ));
    }

    #[test]
    fn a_pipe_is_not_waited_for() {
        let scratch = tempfile::tempdir().unwrap();
        let pipe = scratch.path().join("pipe.pkg");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(Package::open_path(&pipe), Err(OpenError::NotRegular)));
        assert!(matches!(Package::open_path(&scratch.path().join("missing")), Err(OpenError::Open(_))));
    }
}
