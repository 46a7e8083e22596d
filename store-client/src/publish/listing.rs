//! The catalog of a store: how it follows the packages.

use std::collections::BTreeMap;
use std::io::Read;

use pack_schemas::names::{Architecture, PackageName};
use pack_schemas::store::catalog::{self, CATALOG_LIMIT, Change, EARLIER_MOST, Earlier, INDEX_LIMIT, Piece};
use pack_schemas::store::{
    Blob, BlobKind, CATALOG_TARGET, CatalogEntry, CatalogIndex, PackageEntry, Risk, StoreProblem, Track,
    blob_path,
};

use super::PublishError;
use super::objects::{Content, Objects};
use super::sign::sha256;

/// A difference that has grown to this many bytes, compressed, becomes part of a new base.
const DIFFERENCE_MOST: u64 = 96 << 10;
/// What the base is compressed with; it is made seldom and read often.
const BASE_LEVEL: i32 = 15;
const DIFFERENCE_LEVEL: i32 = 9;

/// The line of a package: that of its lowest risk in the track `latest` that has something for anybody. Nothing where no
/// channel has.
pub fn line_of(entry: &PackageEntry) -> Option<CatalogEntry> {
    let track = Track::default();
    for risk in Risk::ALL {
        let mut here: Vec<_> = entry
            .channels
            .iter()
            .filter(|release| release.channel.track == track && release.channel.risk == risk)
            .filter_map(|release| {
                let number = match &release.rollout {
                    // Some machines get it, and the catalog is the same for all: it shows what the others have.
                    Some(rollout) => rollout.others.unwrap_or(release.revision),
                    None => release.revision,
                };
                entry.revisions.get(&number)
            })
            .filter(|revision| revision.yanked.is_none() && revision.revoked.is_none())
            .collect();
        here.sort_by_key(|revision| revision.architecture);
        let Some(first) = here.first() else { continue };
        let architectures: Vec<Architecture> = here.iter().map(|revision| revision.architecture).collect();
        return Some(CatalogEntry {
            name: entry.name.clone(),
            about: first.about.clone(),
            package_type: first.package_type,
            version: first.version.clone(),
            architectures,
            size: first.file.size,
        });
    }
    None
}

/// Makes the index of a store's catalog with some packages changed, and puts its blobs into the store. `before` is the index
/// as it is, as bytes; nothing for a store without one.
///
/// # Errors
/// [`PublishError`].
pub fn follow(
    objects: &dyn Objects,
    before: Option<&[u8]>,
    changed: &BTreeMap<PackageName, PackageEntry>,
) -> Result<CatalogIndex, PublishError> {
    let changes: String = changed
        .iter()
        .map(|(name, entry)| match line_of(entry) {
            Some(line) => Change::Entry(Box::new(line)).to_line(),
            None => Change::Removed(name.clone()).to_line(),
        })
        .collect();
    let damaged = |source| PublishError::Document { path: CATALOG_TARGET.to_owned(), source };
    let index = match before {
        None => catalog::index_of(put(objects, "", BASE_LEVEL)?, put(objects, "", DIFFERENCE_LEVEL)?),
        Some(bytes) => CatalogIndex::parse(bytes).map_err(damaged)?,
    };
    let older = get(objects, &index.difference)?;
    let text = catalog::compose(&older, &changes).map_err(damaged)?;
    if text == older {
        return Ok(index);
    }
    let difference = put(objects, &text, DIFFERENCE_LEVEL)?;
    match difference.blob.size > DIFFERENCE_MOST {
        true => rebase(objects, &index, difference, &text).map_err(|error| match error {
            Rebase::Publish(error) => error,
            Rebase::Damaged(source) => damaged(source),
        }),
        false => Ok(CatalogIndex { difference, ..index }),
    }
}

enum Rebase {
    Publish(PublishError),
    Damaged(StoreProblem),
}

impl From<PublishError> for Rebase {
    fn from(error: PublishError) -> Rebase {
        Rebase::Publish(error)
    }
}

/// Makes a new base of the former and the difference to it.
fn rebase(
    objects: &dyn Objects,
    index: &CatalogIndex,
    difference: Piece,
    text: &str,
) -> Result<CatalogIndex, Rebase> {
    let base = get(objects, &index.base)?;
    let merged = catalog::merge(&base, text).map_err(Rebase::Damaged)?;
    let mut earlier = index.earlier.clone();
    earlier.push(Earlier { base: index.base.text, difference });
    let surplus = earlier.len().saturating_sub(EARLIER_MOST);
    earlier.drain(..surplus);
    let base = put(objects, &merged, BASE_LEVEL)?;
    let difference = put(objects, "", DIFFERENCE_LEVEL)?;
    Ok(CatalogIndex { base, difference, earlier, ..index.clone() })
}

/// Puts text into the store, compressed.
fn put(objects: &dyn Objects, text: &str, level: i32) -> Result<Piece, PublishError> {
    let unusable = |_| PublishError::Catalog { path: CATALOG_TARGET.to_owned() };
    let frame = zstd::bulk::compress(text.as_bytes(), level).map_err(unusable)?;
    let blob = Blob { sha256: sha256(&frame), size: frame.len() as u64 };
    objects.create(&blob_path(&blob.sha256, BlobKind::Zst), Content::Bytes(&frame))?;
    Ok(Piece { blob, text: sha256(text.as_bytes()), length: text.len() as u64 })
}

/// Reads text that [`put`] has put there, and checks it.
fn get(objects: &dyn Objects, piece: &Piece) -> Result<String, PublishError> {
    let path = blob_path(&piece.blob.sha256, BlobKind::Zst);
    let read = objects.read(&path, piece.blob.size)?;
    let (frame, _) = read.ok_or_else(|| PublishError::Missing { path: path.clone() })?;
    if sha256(&frame) != piece.blob.sha256 {
        return Err(PublishError::Altered { path });
    }
    unpack(&frame, piece).ok_or(PublishError::Catalog { path })
}

/// The text of a piece in its frame; nothing where the frame is not that of the piece.
pub fn unpack(frame: &[u8], piece: &Piece) -> Option<String> {
    if piece.length > CATALOG_LIMIT {
        return None;
    }
    let mut text = Vec::new();
    // A frame that says more than the piece is never unpacked further.
    zstd::stream::read::Decoder::new(frame).ok()?.take(piece.length + 1).read_to_end(&mut text).ok()?;
    (text.len() as u64 == piece.length && sha256(&text) == piece.text).then_some(())?;
    String::from_utf8(text).ok()
}

/// Longest index, for whoever reads it.
pub const INDEX_MOST: u64 = INDEX_LIMIT;
