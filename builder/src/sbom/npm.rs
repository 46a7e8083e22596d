//! npm packages: the `package.json` of every folder in a `node_modules`.

use serde::Deserialize;
use serde_json::Value;

use super::{Component, Ecosystem};

/// Whether a path is that of the description of an installed package. What Debian installs has a folder of its own, and is
/// known from there.
pub(super) fn is_metadata(path: &str) -> bool {
    let Some(folder) = path.strip_suffix("/package.json") else { return false };
    let (around, name) = match folder.rsplit_once("node_modules/") {
        Some((around, name)) if around.is_empty() || around.ends_with('/') => (around, name),
        _ => return false,
    };
    let is_package = match name.split_once('/') {
        Some((scope, name)) => scope.starts_with('@') && !name.contains('/'),
        None => !name.is_empty(),
    };
    is_package && !around.contains("usr/share/nodejs/")
}

#[derive(Deserialize)]
struct Description {
    name: String,
    version: String,
    license: Option<Value>,
}

/// The package that its `package.json` describes.
pub(super) fn component(text: &str) -> Option<Component> {
    let description: Description = serde_json::from_str(text).ok()?;
    let license = match description.license {
        Some(Value::String(text)) => Some(text),
        // As packages had it long ago.
        Some(Value::Object(members)) => members.get("type").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    };
    let license = license.filter(|text| text.len() <= 256);
    Some(Component { license, ..Component::new(Ecosystem::Npm, &description.name, &description.version)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_a_folder_right_below_node_modules() {
        for (path, expected) in [
            ("node_modules/a/package.json", true),
            ("lib/node_modules/@s/a/package.json", true),
            ("lib/node_modules/a/node_modules/b/package.json", true),
            ("lib/node_modules/a/lib/package.json", false),
            ("lib/xnode_modules/a/package.json", false),
            ("package.json", false),
            ("usr/share/nodejs/npm/node_modules/a/package.json", false),
        ] {
            assert_eq!(is_metadata(path), expected, "{path}");
        }
    }

    #[test]
    fn descriptions_are_read_or_left_out() {
        let found = component(r#"{"name": "a", "version": "1.0.0", "license": {"type": "MIT"}}"#).unwrap();
        assert_eq!(found.license.as_deref(), Some("MIT"));
        for bad in [
            "",
            "[]",
            r#"{"name": "a"}"#,
            r#"{"name": 1, "version": "1"}"#,
            r#"{"name": "", "version": "1"}"#,
        ] {
            assert_eq!(component(bad), None, "{bad}");
        }
    }
}
