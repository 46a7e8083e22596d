//! Every format that crosses a boundary of pack, as plain types: no files, no clock, no network, no terminal.
//!
//! | module | format |
//! |---|---|
//! | [`manifest`] | `pack.yaml`, what a packager writes |
//! | [`package`] | the `.pkg` file: envelope, signatures, footer |
//! | [`desktop`] | desktop entries, as a package brings them and as they are exported |
//! | [`index`] | the block index inside a package: a hash tree over spans of the image |
//! | [`squashfs`] | the on-disk structures of squashfs 4.0 |
//! | [`interface`] | interface definitions, one YAML file each under `schemas/interfaces/` |
//! | [`system_calls`] | which system calls are refused, `schemas/system-calls.yaml` |
//! | [`facts`] | what of an image's tree decides how a root folder looks |
//! | [`limits`] | how much of the machine an app may have |
//! | [`plan`] | what a launch will do, step by step |
//! | [`state`] | what is installed, `state.json` |
//! | [`tuf`] | what a store signs: metadata of The Update Framework |
//! | [`store`] | what a store holds: packages, channels, catalog |
//! | [`names`] | checked names, versions, revisions and hashes that the others are made of |
//!
//! Bytes from outside are bounded before they are parsed, and a parse error never panics.
#![forbid(unsafe_code)]

pub mod desktop;
pub mod facts;
pub mod index;
pub mod interface;
pub mod limits;
pub mod manifest;
pub mod names;
pub mod package;
pub mod plan;
pub mod squashfs;
pub mod state;
pub mod store;
pub mod system_calls;
pub mod text;
pub mod time;
pub mod tuf;
