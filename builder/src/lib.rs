//! Turns a project into a package: manifest → parts (pull, build, stage, prime) → image → index → envelope → signature.
//!
//! | module | job |
//! |---|---|
//! | [`project`] | finds and reads `pack.yaml`; where the work folders are |
//! | [`owner`] | whose work folder it is |
//! | [`init`] | the first `pack.yaml` of a project, or one from a `snapcraft.yaml` |
//! | [`parts`] | the life of the parts: pull, build, stage, prime |
//! | [`confine`] | the sandbox that every command of a step runs in |
//! | [`sources`] | where the source of a part comes from |
//! | [`plugins`] | what builds a part, as data |
//! | [`base`] | the files of the base, for tools that need them |
//! | [`debian`] | `stage-packages`: Debian packages with all that they depend on, without root |
//! | [`files`] | folders and trees on disk: copied, linked, compared, removed |
//! | [`image`] | writes the prime folder as a squashfs image |
//! | [`assemble`] | image → index, envelope, signature, footer: the `.pkg` file |
//! | [`content`] | what is shown to other packages, or of them, has its place |
//! | [`lint`] | looks at what goes into a package: what is missing, leads astray, or is better left out |
//! | [`documents`] | what a package carries about itself |
//! | [`provenance`] | how a package was made |
//! | [`sbom`] | what a package is made of |
//! | [`keys`] | the publisher's signing keys |
//! | [`diff`] | what two packages differ in |
//! | [`inspect`] | what there is to see of a package |
//! | [`verify`] | checks a package to the last byte |
//! | [`unpack`] | a package's files back into a folder |
#![forbid(unsafe_code)]

pub mod assemble;
pub mod base;
pub mod confine;
pub mod content;
pub mod debian;
pub mod diff;
pub mod documents;
mod draft;
pub mod files;
pub mod image;
pub mod init;
pub mod inspect;
pub mod keys;
pub mod lint;
pub mod owner;
pub mod parts;
pub mod plugins;
pub mod project;
pub mod provenance;
pub mod sbom;
pub mod sources;
mod tree;
pub mod unpack;
pub mod verify;
