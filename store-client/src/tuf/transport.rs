//! Where the files of a store come from.

/// A store, or a mirror of one.
///
/// What it gives is believed in nothing; but whether a file is *not there* is the one thing that no signature tells: it
/// decides that there is no newer root. So an implementation says [`FetchError::NotFound`] only where the store itself
/// has said so, never for a failure of any other kind.
pub trait Transport {
    /// Gives the whole of the file at `path`, which is relative to the store's address and quoted as in a URL.
    ///
    /// Takes bounded time, and memory for `length_most` bytes at most.
    ///
    /// # Errors
    /// [`FetchError`].
    fn fetch(&self, path: &str, length_most: u64) -> Result<Vec<u8>, FetchError>;
}

/// Why a file cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// The store has no such file.
    #[error("the store has no such file")]
    NotFound,
    /// It is longer than it may be.
    #[error("it is longer than {length_most} bytes")]
    TooLong {
        /// What it may have.
        length_most: u64,
    },
    /// Anything else; trying later, or elsewhere, may help.
    #[error("{}", pack_schemas::text::visible(.0))]
    Failed(String),
}
