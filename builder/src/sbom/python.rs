//! Python distributions: the metadata that every installer leaves (PyPA, "Core metadata specifications").

use super::{Component, Ecosystem};

/// Whether a path is that of the metadata of an installed distribution. What Debian installs has a folder of its own, and
/// is known from there.
pub(super) fn is_metadata(path: &str) -> bool {
    let is_named = path.ends_with(".dist-info/METADATA") || path.ends_with(".egg-info/PKG-INFO");
    is_named && !path.contains("/dist-packages/")
}

/// The distribution that the metadata describe: header fields up to the first empty line.
pub(super) fn component(text: &str) -> Option<Component> {
    let field = |name: &str| {
        let fields = text.lines().take_while(|line| !line.is_empty());
        let mut fields = fields.filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    };
    let license = field("License-Expression").or_else(|| field("License")).filter(|text| text.len() <= 256);
    Some(Component {
        license,
        ..Component::new(Ecosystem::Python, &normalised(&field("Name")?), &field("Version")?)?
    })
}

/// The one spelling of a name (PyPA, "Name normalization").
fn normalised(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            other => out.extend(other.to_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_read_up_to_the_description() {
        let found =
            component("Metadata-Version: 2.1\nName: Foo_.Bar\nVersion: 1.0\nLicense: MIT\n\nVersion: 2\n");
        let found = found.unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("foo-bar", "1.0"));
        assert_eq!(found.license.as_deref(), Some("MIT"));
        for bad in ["", "Name: x\n", "Name: x\n\nVersion: 1\n", "Name: a b\nVersion: 1\n"] {
            assert_eq!(component(bad), None, "{bad}");
        }
    }
}
