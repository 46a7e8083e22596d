//! What packages of one publisher show one another: the attributes of content plugs and slots.
//!
//! ```text
//! slot of the provider   content: LABEL, read: [PATH…], sockets: true
//! plug of the consumer   content: LABEL, default-provider: PACKAGE, target: PATH
//! inside the consumer    TARGET/<last name of PATH>, TARGET/sockets
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::attributes::{AttributeError, items, text, wrong};
use super::grant::Grant;
use crate::manifest::RelativePath;
use crate::names::{Name, PackageName};

/// The name, at the target, of the folder with the provider's sockets.
pub const SOCKETS: &str = "sockets";
/// The folder, in the provider's data that all its revisions share, that has a folder of sockets for each label.
pub const SOCKETS_FOLDER: &str = "content";
/// Where content is shown whose plug names no target: below it, under the plug's name.
pub const DEFAULT_TARGET: &str = "/run/content";

/// What a target in the package begins with, and where that is inside.
const IN_PACKAGE: (&str, &str) = ("$PACK/", "/app/");
/// Folders of the sandbox below which content may be shown. Neither the sandbox nor a base on which programs rely has
/// anything there.
const OPEN: &[&str] = &["/opt/", "/srv/", "/run/content/"];

/// The content that a plug of `package` asks for.
pub(super) fn wanted(
    values: &BTreeMap<String, Value>,
    package: &PackageName,
) -> Result<Grant, AttributeError> {
    let name = "default-provider";
    let provider = text(values, name).ok_or_else(|| AttributeError::Missing { name: name.to_owned() })?;
    let provider: PackageName = provider.parse().map_err(|error| wrong(name, format!("{error}")))?;
    if provider == *package {
        return Err(wrong(name, "it is the package itself, which has its own files at $PACK"));
    }
    let target = text(values, "target").map(target).transpose()?;
    Ok(Grant::Content { provider, label: label(values)?, target })
}

/// What a slot offers.
pub(super) fn offered(values: &BTreeMap<String, Value>) -> Result<Grant, AttributeError> {
    let sockets = super::attributes::flag(values, "sockets");
    let mut read = Vec::new();
    let mut names = BTreeSet::new();
    if sockets {
        names.insert(SOCKETS);
    }
    for path in values.get("read").map_or(Ok(Vec::new()), |value| items("read", value))? {
        if !names.insert(last_name(path)) {
            return Err(wrong("read", format!("two things would be shown as `{}`", last_name(path))));
        }
        read.push(RelativePath::try_from(path.to_owned()).map_err(|problem| wrong("read", problem))?);
    }
    if read.is_empty() && !sockets {
        return Err(AttributeError::Missing { name: "read".to_owned() });
    }
    Ok(Grant::Offer { label: label(values)?, read, sockets })
}

/// The last name of a path.
pub fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn label(values: &BTreeMap<String, Value>) -> Result<Option<Name>, AttributeError> {
    let label = text(values, "content").map(str::parse).transpose();
    label.map_err(|error: crate::names::NameError| wrong("content", error.to_string()))
}

/// The path inside that a target means.
fn target(text: &str) -> Result<String, AttributeError> {
    let (root, path) = match text.strip_prefix(IN_PACKAGE.0) {
        Some(path) => (IN_PACKAGE.1, path),
        None => {
            let below = OPEN.iter().find_map(|root| Some((*root, text.strip_prefix(root)?)));
            let form = "write $PACK/FOLDER, or a path below /opt, /srv or /run/content";
            below.ok_or_else(|| wrong("target", form))?
        }
    };
    let path = RelativePath::try_from(path.to_owned())
        .map_err(|_| wrong("target", "a path has no empty component, `.`, `..` or control character"))?;
    Ok(format!("{root}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::{Interface, Side, definitions};

    fn interface() -> Interface {
        definitions::find(&"content".parse().unwrap()).unwrap().unwrap()
    }

    fn resolve(side: Side, attributes: Value) -> Result<Vec<Grant>, AttributeError> {
        let given = serde_json::from_value(attributes).unwrap();
        interface().resolve(side, &"viewer".parse().unwrap(), &given)
    }

    fn target_of(target: &str) -> Result<String, AttributeError> {
        let granted =
            resolve(Side::Plug, serde_json::json!({"default-provider": "themes", "target": target}))?;
        let [Grant::Content { target: Some(target), .. }] = &granted[..] else { panic!("{granted:?}") };
        Ok(target.clone())
    }

    #[test]
    fn a_target_is_in_the_package_or_where_nothing_else_is() {
        for (target, inside) in [
            ("$PACK/share/themes", "/app/share/themes"),
            ("$PACK/x", "/app/x"),
            ("/opt/themes", "/opt/themes"),
            ("/srv/a/b", "/srv/a/b"),
            ("/run/content/mine", "/run/content/mine"),
        ] {
            assert_eq!(target_of(target).unwrap(), inside);
        }
        for target in [
            "/",
            "/proc",
            "/proc/self",
            "/dev",
            "/dev/shm/x",
            "/etc",
            "/etc/passwd",
            "/usr",
            "/usr/share/themes",
            "/bin",
            "/lib64/x",
            "/tmp/x",
            "/var/x",
            "/home",
            "/home/ada",
            "/root",
            "/sys/x",
            "/app",
            "/app/x",
            "/run",
            "/run/user/1000",
            "/run/content",
            "/run/content/",
            "/run/contents/x",
            "/opt",
            "/opt/",
            "/opt/..",
            "/opt/../etc",
            "/opt//x",
            "/opt/./x",
            "/opt/x/",
            "//opt/x",
            "/.base/x",
            "/.content/0",
            "$PACK",
            "$PACK/",
            "$PACK/.",
            "$PACK/..",
            "$PACK/../x",
            "$PACK/a/../../x",
            "$PACK//x",
            "$PACKAGE/x",
            "$HOME/x",
            "../x",
            "x",
            "themes/x",
            "/opt/a\\b",
            "$PACK/a\\b",
        ] {
            assert!(
                matches!(target_of(target), Err(AttributeError::Wrong { name, .. }) if name == "target"),
                "{target}"
            );
        }
    }

    #[test]
    fn a_plug_names_another_package_and_a_label() {
        let plug = |attributes| resolve(Side::Plug, attributes);
        let expected = Grant::Content { provider: "themes".parse().unwrap(), label: None, target: None };
        assert_eq!(plug(serde_json::json!({"default-provider": "themes"})), Ok(vec![expected]));
        for (attributes, wrong) in [
            (serde_json::json!({}), "default-provider"),
            (serde_json::json!({"default-provider": "viewer"}), "default-provider"),
            (serde_json::json!({"default-provider": "../themes"}), "default-provider"),
            (serde_json::json!({"default-provider": "themes", "content": "a/b"}), "content"),
            (serde_json::json!({"default-provider": "themes", "read": "a"}), "read"),
        ] {
            let error = plug(attributes).unwrap_err().to_string();
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
        }
    }

    #[test]
    fn a_slot_offers_paths_of_its_own_package_under_different_names() {
        let slot = |attributes| resolve(Side::Slot, attributes);
        let path = |text: &str| RelativePath::try_from(text.to_owned()).unwrap();
        let offer = slot(serde_json::json!({"read": ["share/themes", "icons"], "content": "looks"}));
        let read = vec![path("share/themes"), path("icons")];
        let label = Some("looks".parse().unwrap());
        assert_eq!(offer, Ok(vec![Grant::Offer { label, read, sockets: false }]));
        assert!(slot(serde_json::json!({"sockets": true})).is_ok());
        for attributes in [
            serde_json::json!({}),
            serde_json::json!({"sockets": false}),
            serde_json::json!({"read": []}),
            serde_json::json!({"read": "../x"}),
            serde_json::json!({"read": "a/../../x"}),
            serde_json::json!({"read": "/etc/passwd"}),
            serde_json::json!({"read": "."}),
            serde_json::json!({"read": ""}),
            serde_json::json!({"read": ["a/themes", "b/themes"]}),
            serde_json::json!({"read": ["a/sockets"], "sockets": true}),
            serde_json::json!({"read": [1]}),
            serde_json::json!({"write": ["a"]}),
        ] {
            assert!(slot(attributes.clone()).is_err(), "{attributes}");
        }
    }
}
