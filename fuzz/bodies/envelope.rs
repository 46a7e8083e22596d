//! Input: a whole package.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use pack_launcher::image::{BlockSource, CacheSize, CheckedSource, Reader};
use pack_launcher::package::Package;
use pack_schemas::index::PAGE_SIZE;
use pack_schemas::names::Hash;
use pack_schemas::package::FOOTER_SIZE;
use rustix::fs::{MemfdFlags, memfd_create};

use super::explore::explore;

/// Small, so that blocks are thrown out and read again.
const CACHE: CacheSize = CacheSize { bytes: 64 << 10 };
/// Longest image that is read whole.
const WHOLE_MOST: u64 = 1 << 20;

/// Opens the package, checks its signatures, and reads its image through the index, wherever that gets.
pub fn run(bytes: &[u8]) {
    let Ok(package) = Package::open(file_of(bytes)) else { return };
    let (footer, envelope) = (*package.footer(), package.envelope());
    assert_eq!(
        footer.signatures_offset() + u64::from(footer.signatures) + FOOTER_SIZE as u64,
        bytes.len() as u64
    );
    assert_eq!(envelope.to_bytes(), package.envelope_bytes());
    assert_eq!(package.envelope_hash(), Hash::of(package.envelope_bytes()));
    assert_eq!(
        (envelope.image.length, envelope.name.as_str()),
        (footer.image, envelope.manifest.name.as_str())
    );
    if let Ok(keys) = package.verify() {
        assert!(!keys.is_empty() && keys.len() == package.signatures().len());
    }
    let source = Arc::new(CheckedSource::new(Arc::new(package)));
    pieces(&*source, &bytes[..footer.image as usize]);
    if let Ok(reader) = Reader::open(source, CACHE) {
        explore(&reader);
    }
}

/// Reads pieces of an image: each is what stands in the file, or an error.
fn pieces(source: &dyn BlockSource, image: &[u8]) {
    assert_eq!(source.length(), image.len() as u64);
    let length = source.length();
    let mut whole = vec![0; length.min(WHOLE_MOST) as usize];
    let all = source.read_exact(0, &mut whole);
    if all.is_ok() {
        assert_eq!(whole, image[..whole.len()]);
    }
    let page = PAGE_SIZE as u64;
    let offsets =
        [0, 1, 95, page - 1, page, length / 2, length / 3 * 2 + 1, length.saturating_sub(1), length, 1 << 40];
    for offset in offsets.into_iter().chain([i64::MAX as u64, u64::MAX]) {
        for wanted in [0, 7, 5000] {
            let mut piece = vec![0; wanted];
            if source.read_exact(offset, &mut piece).is_ok() {
                assert_eq!(piece, image[offset as usize..][..wanted]);
            } else {
                let inside = offset.checked_add(wanted as u64).is_some_and(|end| end <= whole.len() as u64);
                assert!(!inside || all.is_err());
            }
            if wanted > 0
                && let Ok(count) = source.read_some(offset, &mut piece)
            {
                assert!((1..=wanted).contains(&count));
                assert_eq!(piece[..count], image[offset as usize..][..count]);
            }
        }
    }
}

thread_local! {
    /// One file is as good as a new one, and takes a fraction of the time.
    static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
}

fn file_of(bytes: &[u8]) -> File {
    FILE.with_borrow_mut(|kept| {
        let file =
            kept.get_or_insert_with(|| File::from(memfd_create("package", MemfdFlags::CLOEXEC).unwrap()));
        file.set_len(bytes.len() as u64).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.try_clone().unwrap()
    })
}
