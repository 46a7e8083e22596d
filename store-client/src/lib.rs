//! What is installed, and what a person trusts.
//!
//! | module | job |
//! |---|---|
//! | [`folders`] | where everything lives |
//! | [`lock`] | the one lock that every change of state holds |
//! | [`trust`] | publisher keys that the user trusts |
//! | [`installed`] | packages, revisions and their state |
//! | [`decision`] | whether a package file may be installed, and as what |
//! | [`change`] | what every change needs: [`install`], [`remove`], [`connect`], [`recover`] |
//! | [`connect`] | plugs are connected and disconnected
//! | [`install`] | a package file becomes an installed revision |
//! | [`remove`] | and goes again |
//! | [`recover`] | what a killed run left is put in order |
//! | [`export`] | commands, desktop entries and icons outside the sandbox |
//! | [`publish`] | a store is made and changed |
//! | [`reader`] | what the caller has to read packages with |
//! | [`remote`] | a store is asked: what it has, and for packages |
//! | [`follow`] | which store a package follows, and going back to an earlier revision |
//! | [`tuf`] | what a store signs is checked, and nothing else believed |
//! | [`version`] | which of two versions is older |
//!
//! Two modules are the ground that these stand on: `folder`, files by descriptor, and `tree`, folders that an app can
//! write, copied and deleted without being led outside.
#![forbid(unsafe_code)]

pub mod change;
pub mod connect;
pub mod decision;
pub mod export;
mod folder;
pub mod folders;
pub mod follow;
pub mod install;
pub mod installed;
pub mod lock;
pub mod publish;
pub mod reader;
pub mod recover;
pub mod remote;
pub mod remove;
#[cfg(test)]
mod testing;
mod tree;
pub mod trust;
pub mod tuf;
pub mod version;

pub use folder::FileError;
pub use tree::{TreeError, TreeSize};
