//! Answers the kernel's FUSE requests from an image.
//!
//! ```text
//! /dev/fuse ── bytes ──▶ request (parses) ──▶ server (answers from the image) ──▶ reply (encodes) ── bytes ──▶
//! ```
//!
//! The image never changes, and that is told to the kernel in every way that it knows: entries, attributes and *absent*
//! names are valid for ever, file contents and symbolic links stay in its page cache, and files and folders need no
//! opening (after one ENOSYS it never asks again). What was read once is then served by the kernel alone.
//!
//! The number of a node (its *nodeid*) is its inode's reference, so that no table of nodes is needed, nothing has to be
//! forgotten, and a process that takes over knows all that the one before it knew.
//!
//! An answer is computed from the image and the request alone; the kernel's word is checked like anybody's. Structures
//! and numbers are those of `include/uapi/linux/fuse.h`.

pub mod reply;
pub mod request;
mod server;
mod session;

pub use server::{Answer, Owner, Server};
pub use session::{SessionError, ask_again, serve};
