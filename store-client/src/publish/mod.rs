//! Publishing: a store is made, and changed by one operation after the other.
//!
//! ```text
//! Publisher::perform   1. load       what the store says now, checked as any client does, by the folder of an earlier run
//!                      2. apply      the operation, on the entries that it is about: pure                  (operation)
//!                      3. documents  new entries, the catalog's difference, under their hashes             (listing)
//!                      4. roles      new versions of the bins that name them, then the snapshot            (commit)
//!                      5. timestamp  replaced, if it is still the one of step 1; else all over again
//! ```
//! Nothing before step 5 replaces a file, so until then the former state is what everybody sees, and a run that is killed
//! anywhere leaves files that nothing names; [`gc`] takes them away. Two publishers at once find out in step 5: the later
//! one does its operation once more, on what the other has made.
//!
//! What is on the server is believed in nothing: whoever can write to the bucket could otherwise have a publisher sign an
//! older state, or somebody else's.
//!
//! | module | |
//! |---|---|
//! | [`objects`] | where the files are: a folder, a bucket |
//! | [`operation`] | what can be done to a package |
//! | [`listing`] | the catalog |
//! | [`commit`] | the five steps |
//! | [`found`](mod@found) | a new store |
//! | [`rotate`] | other keys |
//! | [`gc`] | what nothing names any more |
//! | [`sign`] | metadata as it is written |

pub mod commit;
mod error;
pub mod found;
pub mod gc;
pub mod listing;
pub mod objects;
pub mod operation;
pub mod rotate;
pub mod sign;

pub use commit::{Publisher, Standing};
pub use error::PublishError;
pub use operation::Operation;

/// Seconds of a day.
pub(crate) const DAY_S: u64 = 86_400;
