//! What is installed, and what a person trusts.
//!
//! | module | job |
//! |---|---|
//! | [`folders`] | where everything lives |
//! | [`lock`] | the one lock that every change of state holds |
//! | [`trust`] | publisher keys that the user trusts |
//! | [`installed`] | packages, revisions and their state |
//! | [`install`] | a package file becomes an installed revision |
//! | [`remove`] | and goes again |
//! | [`export`] | commands, desktop entries and icons outside the sandbox |
#![forbid(unsafe_code)]

pub mod export;
pub mod folders;
pub mod install;
pub mod installed;
pub mod lock;
pub mod remove;
pub mod trust;
