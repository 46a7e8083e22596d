//! The interfaces that this pack knows: the files of `schemas/interfaces/`, compiled in, read when asked for.

use super::{Interface, InterfaceError};
use crate::names::Name;

mod generated {
    // Name and definition of every interface, in alphabetical order, and a number for all of them together.
    include!(concat!(env!("OUT_DIR"), "/interfaces.rs"));
}
use generated::DEFINITIONS;
/// A number for all definitions together: another one where any of them is another.
pub use generated::EDITION;

/// The names of all interfaces, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    DEFINITIONS.iter().map(|(name, _)| *name)
}

/// Reads the definition of an interface; nothing where pack has no interface of that name.
///
/// # Errors
/// Where the definition is malformed, which the tests rule out.
pub fn find(name: &Name) -> Result<Option<Interface>, InterfaceError> {
    match DEFINITIONS.binary_search_by_key(&name.as_str(), |(known, _)| known) {
        Ok(at) => Interface::from_yaml(name, DEFINITIONS[at].1).map(Some),
        Err(_) => Ok(None),
    }
}
