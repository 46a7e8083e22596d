//! The interfaces that this pack knows: their definitions, compiled in, read when asked for.

use pack_schemas::interface::{Interface, InterfaceError};
use pack_schemas::names::Name;

/// Name and definition of every interface, in alphabetical order.
const DEFINITIONS: &[(&str, &str)] = &[
    ("home", include_str!("../../schemas/interfaces/home.yaml")),
    ("network", include_str!("../../schemas/interfaces/network.yaml")),
    ("network-bind", include_str!("../../schemas/interfaces/network-bind.yaml")),
    ("x11", include_str!("../../schemas/interfaces/x11.yaml")),
];

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_in_the_folder_is_known_and_can_be_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas/interfaces");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap().replace(".yaml", ""))
            .collect();
        files.sort();
        assert_eq!(names().collect::<Vec<_>>(), files);
        for name in names() {
            let interface = find(&name.parse().unwrap()).unwrap().unwrap();
            assert!(!interface.grants.is_empty() && !interface.summary.is_empty(), "{name}");
        }
    }

    #[test]
    fn an_unknown_interface_is_not_found() {
        assert!(find(&"warp-drive".parse().unwrap()).unwrap().is_none());
    }
}
