//! What a plug or slot of an interface grants.

use std::collections::BTreeMap;

use pack_schemas::interface::{AttributeError, Grant, InterfaceError, Side};
use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Name, PackageName};
use pack_schemas::state::{Compiled, Connection};
use serde_json::Value;

use pack_schemas::interface::definitions::EDITION;
pub use pack_schemas::interface::definitions::{find, names};

/// Why it is not known what a plug or slot grants.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// Pack has no interface of that name.
    #[error("this pack has no interface `{0}`")]
    Unknown(Name),
    /// A definition that is compiled in is malformed.
    #[error(transparent)]
    Definition(#[from] InterfaceError),
    /// Its attributes cannot be used.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}

/// What a plug or slot with these attributes grants to an app of the package.
///
/// # Errors
/// [`GrantError`].
pub fn grants(
    interface: &Name,
    side: Side,
    package: &PackageName,
    attributes: &BTreeMap<String, Value>,
) -> Result<Vec<Grant>, GrantError> {
    let definition = find(interface)?.ok_or_else(|| GrantError::Unknown(interface.clone()))?;
    Ok(definition.resolve(side, package, attributes)?)
}

/// The connection of a plug or slot of a manifest, with what it grants compiled.
///
/// # Errors
/// [`GrantError`].
pub fn connection(
    manifest: &Manifest,
    name: &Name,
    side: Side,
    manual: bool,
) -> Result<Connection, GrantError> {
    let (interface, attributes) = (manifest.interface_of(name), manifest.attributes_of(name));
    let grants = grants(&interface, side, &manifest.name, &attributes)?;
    let compiled = Compiled { edition: EDITION, grants };
    Ok(Connection { interface, side, attributes, manual, compiled })
}

/// What a connection grants: as it was compiled, or anew where that was done by other definitions.
///
/// # Errors
/// [`GrantError`].
pub fn granted(connection: &Connection, package: &PackageName) -> Result<Vec<Grant>, GrantError> {
    if connection.compiled.edition == EDITION {
        return Ok(connection.compiled.grants.clone());
    }
    grants(&connection.interface, connection.side, package, &connection.attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package() -> PackageName {
        "hello".parse().unwrap()
    }

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
            let is_empty = |text: &str| text.trim().is_empty();
            assert!(!is_empty(&interface.summary) && !is_empty(&interface.exposes), "{name}");
            assert!(!is_empty(&interface.reason), "{name}");
            assert!(!interface.grants.is_empty() || interface.slot.is_some(), "{name}");
        }
    }

    /// A default that its own attribute refuses would make every plug without attributes an error.
    #[test]
    fn every_interface_without_a_required_attribute_can_be_asked_for_by_its_name() {
        for name in names() {
            let interface = find(&name.parse().unwrap()).unwrap().unwrap();
            let needs = |attributes: &BTreeMap<String, pack_schemas::interface::Attribute>| {
                attributes.values().any(|attribute| attribute.required)
            };
            let resolved = interface.resolve(Side::Plug, &package(), &BTreeMap::new());
            assert_eq!(resolved.is_err(), needs(&interface.attributes), "{name}: {resolved:?}");
            let defaults: BTreeMap<String, Value> = interface
                .attributes
                .iter()
                .filter_map(|(name, attribute)| Some((name.clone(), attribute.default.clone()?)))
                .collect();
            if !needs(&interface.attributes) {
                assert!(interface.resolve(Side::Plug, &package(), &defaults).is_ok(), "{name}");
            }
        }
    }

    #[test]
    fn an_unknown_interface_is_not_found() {
        assert!(find(&"warp-drive".parse().unwrap()).unwrap().is_none());
        let refused = grants(&"warp-drive".parse().unwrap(), Side::Plug, &package(), &BTreeMap::new());
        assert!(matches!(refused, Err(GrantError::Unknown(_))));
    }
}
