//! What stands for the content of a file: a hash over the hashes of its blocks and its size. Blocks of zeros count as
//! such, whether they are holes on disk or written out, so a hole of many gigabytes costs nothing.

use pack_schemas::names::Hash;

/// A digest in the making.
#[derive(Default)]
pub(super) struct Digest {
    hasher: blake3::Hasher,
    /// Blocks of zeros since the last other one.
    holes: u64,
}

impl Digest {
    pub fn block(&mut self, content: &Hash) {
        self.end_holes();
        self.hasher.update(&[1]).update(&content.0);
    }

    pub fn holes(&mut self, count: u64) {
        self.holes = self.holes.saturating_add(count);
    }

    /// The digest of a file of a size.
    pub fn finish(mut self, size: u64) -> Hash {
        self.end_holes();
        self.hasher.update(&size.to_le_bytes());
        Hash(*self.hasher.finalize().as_bytes())
    }

    fn end_holes(&mut self) {
        if self.holes > 0 {
            self.hasher.update(&[0]).update(&self.holes.to_le_bytes());
            self.holes = 0;
        }
    }
}

/// Whether a block holds nothing but zeros.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    // Every byte equals the one before it, and the first is zero: one comparison of memory, which most blocks end at once.
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && bytes[..rest.len()] == *rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_holes_are_one_however_they_came() {
        let hash = Hash::of(b"block");
        let digest = |steps: &[Option<u64>]| {
            let mut digest = Digest::default();
            for step in steps {
                match step {
                    Some(count) => digest.holes(*count),
                    None => digest.block(&hash),
                }
            }
            digest.finish(10)
        };
        assert_eq!(digest(&[Some(3), Some(4), None]), digest(&[Some(7), None]));
        assert_ne!(digest(&[Some(7), None]), digest(&[None, Some(7)]));
        assert_ne!(digest(&[None]), digest(&[None, None]));
        assert_ne!(Digest::default().finish(1), Digest::default().finish(2));
    }

    #[test]
    fn zeros_are_told_from_all_else() {
        for length in [0, 1, 63, 64, 65, 4096, 4099] {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for at in [0, length / 2, length.saturating_sub(1)] {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = 1;
                    assert!(!is_zero(&bytes), "{length} {at}");
                    bytes[at] = 0;
                }
            }
        }
    }
}
