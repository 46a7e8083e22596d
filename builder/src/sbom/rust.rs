//! Crates: what the `Cargo.lock` of a part's source locks.

use serde::Deserialize;

use super::{Component, Ecosystem};

#[derive(Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    /// Nothing for the crates of the source itself.
    source: Option<String>,
    checksum: Option<String>,
}

/// The crates that come from elsewhere; none where the text is no lock file.
pub(super) fn crates(text: &str) -> Vec<Component> {
    let Ok(lock) = toml::from_str::<Lock>(text) else { return Vec::new() };
    let found = lock.package.into_iter().filter_map(|package| {
        let source = package.source?;
        let sha256 =
            package.checksum.filter(|sum| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()));
        // Crates of registries have their name for an address; others say where they are from.
        let source = Some(source).filter(|source| !source.starts_with("registry+") && source.len() <= 1024);
        Some(Component {
            sha256,
            source,
            ..Component::new(Ecosystem::Cargo, &package.name, &package.version)?
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_of_the_source_itself_are_not_listed() {
        let sum = "ab".repeat(32);
        let text = format!(
            "version = 4\n[[package]]\nname = \"own\"\nversion = \"1.0.0\"\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\
             source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"{sum}\"\n"
        );
        let found = crates(&text);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].sha256.as_deref()), ("a", Some(sum.as_str())));
        assert!(crates("package = 1").is_empty() && crates("[[package]]\nname = 1").is_empty());
    }
}
