//! Every raw system call of the project, and all of its `unsafe`: one small function each, taking and giving
//! descriptors that own themselves. Calls that rustix or nix offer safely are made where they are needed.

pub mod clone;
pub mod descriptors;
pub mod fuse;
pub mod landlock;
pub mod mount;
pub mod network;
pub mod seccomp;
