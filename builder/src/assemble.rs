//! Makes the `.pkg` file: image, index, envelope, signatures, footer.
//!
//! 1. The prime folder is walked; what a package cannot hold is refused before anything is written.
//! 2. The image is written to a file without a name, beside where the package will be; meanwhile it is cut into spans along
//!    its own blocks, each is hashed, and the index is built over them.
//! 3. libsquashfs, which has no part in the writing, reads the whole image back, and it is compared with the prime folder as
//!    it was read: a writer at fault, or a damaged block of an earlier build, ends here.
//! 4. The envelope (canonical JSON) names the image's length, the index's root, the encoder, the manifest and the
//!    epoch; each key signs it.
//! 5. What was written is opened once more as any reader would, its signatures checked.
//! 6. fsync, and the file gets its name, in place of one that has it. On any error there is no file.
//!
//! Same manifest, same tree, same epoch, same keys: same bytes.

use std::ffi::OsStr;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use pack_launcher::package::{OpenError, Package};
use pack_schemas::index::{self, IndexError};
use pack_schemas::manifest::{CheckError, Manifest};
use pack_schemas::names::{Architecture, Hash, PublicKey};
use pack_schemas::package::{
    self, ENVELOPE_LIMIT, Envelope, FORMAT_VERSION, Footer, Image, PackageError, SIGNATURES_MOST, Signature,
    canonical_json,
};
use pack_schemas::text::visible;

use crate::content::{self, ContentError};
use crate::draft::{Draft, Existing};
use crate::image::{self, ImageError, Options, Plan, ProgressSink, ReadBackError, Written};

/// The epoch of a package where nobody asks for another: 2000-01-01T00:00:00Z. A constant, because anything that
/// could be looked up (the clock, a file's time, a commit) differs between two builds of the same sources.
pub const DEFAULT_EPOCH: u32 = 946_684_800;

/// What to make a package of.
#[derive(Debug)]
pub struct Request<'a> {
    /// The folder whose content becomes the image.
    pub prime: &'a Path,
    /// The manifest, normalised; it goes into the envelope whole.
    pub manifest: &'a Manifest,
    /// What [`architecture`] says.
    pub architecture: Architecture,
    /// Every time in the package, in seconds since 1970; see [`source_date_epoch`].
    pub source_date_epoch: u32,
    /// The keys that sign; none for an unsigned package. The same key twice signs once.
    pub keys: &'a [&'a SigningKey],
    /// Where the package will be, in a folder that exists.
    pub output: &'a Path,
    /// Folder in which compressed blocks are kept for the next build of the same project. It changes no byte of the package, unless somebody else writes there.
    pub blocks: Option<&'a Path>,
    /// Threads that compress.
    pub parallel: NonZeroUsize,
}

/// A finished package.
#[derive(Debug)]
pub struct Assembled {
    /// What the package says of itself.
    pub envelope: Envelope,
    /// Hash of the envelope, which stands for the whole package.
    pub envelope_hash: Hash,
    /// The keys that signed, in order.
    pub keys: Vec<PublicKey>,
    /// Size of the file in bytes.
    pub size: u64,
}

/// Why no package was made.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The manifest contradicts itself.
    #[error("the manifest is not in order")]
    Manifest(#[from] CheckError),
    /// The manifest names content that is not there.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The project is not for the architecture that it is built for.
    #[error("the project is for {} and cannot be built for {target}", list(.listed))]
    Architecture {
        /// Architectures in the manifest.
        listed: Vec<Architecture>,
        /// The one that was asked for.
        target: Architecture,
    },
    /// `SOURCE_DATE_EPOCH` is no number of seconds.
    #[error("SOURCE_DATE_EPOCH is `{}`, not a number of seconds up to {}", visible(.value), u32::MAX)]
    Epoch {
        /// What it is.
        value: String,
    },
    /// The prime folder cannot become an image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The package cannot be written.
    #[error("cannot write `{}`", visible(&.path.to_string_lossy()))]
    Write {
        /// Where it was to be.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The new image is not what the prime folder is.
    #[error(transparent)]
    ReadBack(#[from] ReadBackError),
    /// The new image cannot be indexed.
    #[error("the new image cannot be indexed")]
    Index(#[from] IndexError),
    /// The manifest is too long for an envelope.
    #[error("the manifest makes the envelope {size} bytes long, and {ENVELOPE_LIMIT} are allowed")]
    EnvelopeTooLong {
        /// Its size.
        size: usize,
    },
    /// More keys than a package can have signatures.
    #[error("{count} keys were to sign, and a package has at most {SIGNATURES_MOST} signatures")]
    TooManyKeys {
        /// Their number.
        count: usize,
    },
    /// The finished package would be refused by whoever opens it.
    #[error("the finished package would be refused")]
    Refused(#[from] OpenError),
}

impl From<PackageError> for AssembleError {
    fn from(error: PackageError) -> AssembleError {
        AssembleError::Refused(error.into())
    }
}

fn list(architectures: &[Architecture]) -> String {
    architectures.iter().map(|architecture| architecture.as_str()).collect::<Vec<_>>().join(", ")
}

/// The architecture of the package that a project gives on a machine of architecture `target`: `all` where its
/// `architectures` says so, else `target`, which has to be among them where there are any.
///
/// # Errors
/// [`AssembleError::Architecture`].
pub fn architecture(manifest: &Manifest, target: Architecture) -> Result<Architecture, AssembleError> {
    let listed = &manifest.architectures;
    if listed.contains(&Architecture::All) {
        return Ok(Architecture::All);
    }
    if listed.is_empty() || listed.contains(&target) {
        return Ok(target);
    }
    Err(AssembleError::Architecture { listed: listed.clone(), target })
}

/// The epoch that the environment variable `SOURCE_DATE_EPOCH` asks for, [`DEFAULT_EPOCH`] where it is not set
/// (<https://reproducible-builds.org/specs/source-date-epoch/>; a squashfs image holds 32 bits of it).
///
/// # Errors
/// [`AssembleError::Epoch`] where it is anything but decimal digits in that range: the specification wants a build to
/// fail then.
pub fn source_date_epoch(variable: Option<&OsStr>) -> Result<u32, AssembleError> {
    let Some(value) = variable else { return Ok(DEFAULT_EPOCH) };
    let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| AssembleError::Epoch { value: value.to_string_lossy().into_owned() })
}

/// The name of a package's file: `NAME_VERSION_ARCHITECTURE.pkg`.
pub fn file_name(manifest: &Manifest, architecture: Architecture) -> String {
    format!("{}_{}_{architecture}.pkg", manifest.name, manifest.version)
}

/// Makes a package.
///
/// # Errors
/// [`AssembleError`]; there is then no new file, and one that had its name is untouched.
pub fn assemble(request: &Request<'_>, progress: ProgressSink<'_>) -> Result<Assembled, AssembleError> {
    request.manifest.check()?;
    content::check(request.manifest, request.prime)?;
    let plan = Plan::of(request.prime)?;
    let write_error = |source| AssembleError::Write { path: request.output.to_path_buf(), source };
    let draft = Draft::new(request.output, 0o666).map_err(write_error)?;
    let options = options(request);
    let written = image::write(&plan, draft.file(), &options, progress)?;
    image::read_back(&plan, &written, draft.file(), &options).inspect_err(|_| {
        // If a kept block was to blame, the next build makes it anew.
        options.blocks.into_iter().for_each(image::discard_blocks);
    })?;
    let (index, facts) = index_of(&written, &options)?;
    let length = written.length;
    let envelope = envelope(request, facts);
    let tail = Tail::new(&index, &envelope, request.keys)?;
    draft.file().write_all_at(&tail.bytes, length).map_err(write_error)?;
    let package = Package::open(draft.file().try_clone().map_err(write_error)?)?;
    if !request.keys.is_empty() {
        package.verify()?;
    }
    draft.publish(Existing::Replace).map_err(write_error)?;
    Ok(Assembled {
        envelope_hash: package.envelope_hash(),
        envelope,
        keys: tail.signatures.into_iter().map(|signature| signature.key).collect(),
        size: length + tail.bytes.len() as u64,
    })
}

/// How the manifest wants the image.
fn options<'a>(request: &Request<'a>) -> Options<'a> {
    let compression = request.manifest.compression;
    Options {
        epoch: request.source_date_epoch,
        level: compression.level.number(),
        block_size: compression.block_size.bytes(),
        parallel: request.parallel,
        blocks: request.blocks,
    }
}

/// The index over an image, and what the envelope says of both.
fn index_of(written: &Written, options: &Options<'_>) -> Result<(Vec<u8>, Image), AssembleError> {
    let (index, index_root) = index::build(&written.spans)?;
    let facts = Image {
        length: written.length,
        spans: written.spans.len() as u64,
        index_root,
        encoder: image::encoder(),
        level: options.level.into(),
        block_size: options.block_size,
    };
    Ok((index, facts))
}

fn envelope(request: &Request, image: Image) -> Envelope {
    let manifest = request.manifest;
    Envelope {
        format: FORMAT_VERSION,
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        architecture: request.architecture,
        package_type: manifest.package_type,
        image,
        manifest: manifest.clone(),
        source_date_epoch: request.source_date_epoch,
    }
}

/// All that follows the image in the file.
struct Tail {
    bytes: Vec<u8>,
    signatures: Vec<Signature>,
}

impl Tail {
    fn new(index: &[u8], envelope: &Envelope, keys: &[&SigningKey]) -> Result<Tail, AssembleError> {
        let length = envelope.image.length;
        let envelope = envelope.to_bytes();
        if envelope.len() > ENVELOPE_LIMIT as usize {
            return Err(AssembleError::EnvelopeTooLong { size: envelope.len() });
        }
        let mut signatures: Vec<Signature> = keys.iter().map(|key| package::sign(&envelope, key)).collect();
        signatures.sort_by_key(|signature| signature.key);
        signatures.dedup_by_key(|signature| signature.key);
        if signatures.len() > SIGNATURES_MOST {
            return Err(AssembleError::TooManyKeys { count: signatures.len() });
        }
        let signature_bytes = canonical_json(&signatures);
        let footer = Footer {
            image: length,
            index: index.len() as u64,
            // Both have been bounded above.
            envelope: envelope.len() as u32,
            signatures: signature_bytes.len() as u32,
        };
        let bytes = [index, &envelope, &signature_bytes, &footer.to_bytes()].concat();
        Ok(Tail { bytes, signatures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(architectures: &[Architecture]) -> Manifest {
        let json = serde_json::json!({
            "name": "hello", "version": "1.0", "base": "none", "architectures": architectures,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn the_architecture_follows_from_manifest_and_target() {
        use Architecture::{All, Amd64, Arm64};
        for (listed, target, expected) in [
            (&[][..], Amd64, Some(Amd64)),
            (&[][..], Arm64, Some(Arm64)),
            (&[Amd64, Arm64], Arm64, Some(Arm64)),
            (&[Arm64], Amd64, None),
            (&[All], Amd64, Some(All)),
        ] {
            assert_eq!(architecture(&manifest(listed), target).ok(), expected, "{listed:?} {target}");
        }
        let error = architecture(&manifest(&[Arm64]), Amd64).unwrap_err();
        assert_eq!(error.to_string(), "the project is for arm64 and cannot be built for amd64");
    }

    #[test]
    fn the_epoch_is_a_number_or_an_error() {
        let read = |text: &str| source_date_epoch(Some(OsStr::new(text))).ok();
        assert_eq!(source_date_epoch(None).unwrap(), DEFAULT_EPOCH);
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("4294967295"), Some(u32::MAX));
        for bad in ["", "-1", "+1", " 1", "1.5", "4294967296", "now"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_file_name_tells_name_version_and_architecture() {
        assert_eq!(file_name(&manifest(&[]), Architecture::Amd64), "hello_1.0_amd64.pkg");
    }
}
