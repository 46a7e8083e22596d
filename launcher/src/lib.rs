//! The trusted part of pack: reads and serves a checked image, and runs an app confined.
//!
//! | module | job |
//! |---|---|
//! | [`package`] | opens a `.pkg` file: footer, envelope, signatures, index |
//! | [`image`] | reads squashfs out of it, every span checked against the index first |
//! | [`fuse`] | answers the kernel's FUSE requests from an image |
//! | [`keeper`] | the process that makes a mount, serves it, and hands it out by descriptor |
//! | [`interfaces`] | resolves plugs to grants |
//! | [`plan`] | manifest, connections and host facts → plan |
//! | [`sandbox`] | carries a plan out |
//! | [`companion`] | what runs beside an app and filters what a plug gives |
//! | [`dbus`] | asks a message bus |
//! | [`host`] | what this host allows: the facts behind `pack doctor` |
//! | `walls` | what the processes of pack's own give up |
//! | [`sys`] | every raw system call, and all `unsafe` of the project |
//!
//! Nothing here prints, reads `$HOME` or exits the process on its own, but for the child processes that it starts.
#![deny(unsafe_code)]

pub mod companion;
pub mod dbus;
pub mod fuse;
pub mod host;
pub mod image;
pub mod interfaces;
pub mod keeper;
pub mod learn;
pub mod package;
pub mod plan;
pub mod sandbox;
mod scope;
#[allow(unsafe_code)]
pub mod sys;
mod walls;
