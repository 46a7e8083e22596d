//! Components as a document of SPDX 2.3 (ISO/IEC 5962), in JSON. The same components give the same bytes: nothing in it is
//! made up of the clock or of chance.

use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Hash};
use pack_schemas::package::canonical_json;
use pack_schemas::time::rfc3339;
use serde::Serialize;

use super::{Component, Ecosystem};

/// What SPDX writes where nobody says anything.
const NO_ASSERTION: &str = "NOASSERTION";
const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ROOT: &str = "SPDXRef-Package";

/// The package that is described.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its manifest.
    pub manifest: &'a Manifest,
    /// Its architecture.
    pub architecture: Architecture,
    /// The time of the document, in seconds since 1970.
    pub source_date_epoch: u32,
    /// The program that made it: `pack-0.1.0`.
    pub tool: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    spdx_version: &'static str,
    data_license: &'static str,
    #[serde(rename = "SPDXID")]
    id: &'static str,
    name: String,
    document_namespace: String,
    creation_info: CreationInfo,
    packages: Vec<Package<'a>>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct CreationInfo {
    created: String,
    creators: [String; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package<'a> {
    #[serde(rename = "SPDXID")]
    id: String,
    name: &'a str,
    version_info: &'a str,
    download_location: &'static str,
    files_analyzed: bool,
    license_concluded: &'static str,
    license_declared: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_comments: Option<String>,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    homepage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_info: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalReference>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum<'a> {
    algorithm: &'static str,
    checksum_value: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ExternalReference {
    reference_category: &'static str,
    reference_type: &'static str,
    reference_locator: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    spdx_element_id: &'static str,
    relationship_type: &'static str,
    related_spdx_element: String,
}

/// Writes the document.
pub fn document(subject: &Subject<'_>, components: &[Component]) -> Vec<u8> {
    let Subject { manifest, architecture, .. } = subject;
    let mut packages = vec![root(manifest)];
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", ROOT.to_owned())];
    for (at, component) in components.iter().enumerate() {
        let id = format!("SPDXRef-Component-{at}");
        packages.push(package(id.clone(), component));
        relationships.push(relationship(ROOT, "CONTAINS", id));
    }
    // A namespace has to be of its own for every document: its content is what tells documents apart.
    let hash = Hash::of(&canonical_json(&(&packages, subject.source_date_epoch, architecture))).to_string();
    let uuid = [&hash[..8], &hash[8..12], &hash[12..16], &hash[16..20], &hash[20..32]].join("-");
    canonical_json(&Document {
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        id: DOCUMENT,
        name: format!("{}_{}_{architecture}", manifest.name, manifest.version),
        document_namespace: format!("urn:uuid:{uuid}"),
        creation_info: CreationInfo {
            created: rfc3339(subject.source_date_epoch.into()),
            creators: [format!("Tool: {}", subject.tool)],
        },
        packages,
        relationships,
    })
}

fn relationship(from: &'static str, kind: &'static str, to: String) -> Relationship {
    Relationship { spdx_element_id: from, relationship_type: kind, related_spdx_element: to }
}

fn root(manifest: &Manifest) -> Package<'_> {
    Package {
        summary: manifest.summary.as_deref(),
        homepage: manifest.website.as_deref(),
        ..named(
            ROOT.to_owned(),
            manifest.name.as_str(),
            manifest.version.as_str(),
            manifest.license.as_deref(),
        )
    }
}

fn package(id: String, component: &Component) -> Package<'_> {
    let checksum = |value| Checksum { algorithm: "SHA256", checksum_value: value };
    let source = component.source.as_ref();
    Package {
        source_info: source.map(|source| match component.ecosystem {
            Ecosystem::Debian => format!("built from the Debian source package {source}"),
            _ => format!("from {source}"),
        }),
        checksums: component.sha256.as_deref().map(checksum).into_iter().collect(),
        external_refs: vec![ExternalReference {
            reference_category: "PACKAGE-MANAGER",
            reference_type: "purl",
            reference_locator: purl(component),
        }],
        ..named(id, &component.name, &component.version, component.license.as_deref())
    }
}

/// What every package has, and nothing said of the rest.
fn named<'a>(id: String, name: &'a str, version: &'a str, license_text: Option<&str>) -> Package<'a> {
    let (license_declared, license_comments) = license(license_text);
    Package {
        id,
        name,
        version_info: version,
        download_location: NO_ASSERTION,
        files_analyzed: false,
        license_concluded: NO_ASSERTION,
        license_declared,
        license_comments,
        copyright_text: NO_ASSERTION,
        summary: None,
        homepage: None,
        source_info: None,
        checksums: Vec::new(),
        external_refs: Vec::new(),
    }
}

/// A licence where it is an expression of SPDX's, and what its authors say where it is not.
fn license(text: Option<&str>) -> (String, Option<String>) {
    match text {
        Some(text) if spdx::Expression::parse(text).is_ok() => (text.to_owned(), None),
        Some(text) => (NO_ASSERTION.to_owned(), Some(format!("declared as: {text}"))),
        None => (NO_ASSERTION.to_owned(), None),
    }
}

/// The package URL of a component (ECMA-427).
pub fn purl(component: &Component) -> String {
    let (name, version) = (&component.name, escaped(&component.version));
    match component.ecosystem {
        Ecosystem::Cargo => format!("pkg:cargo/{}@{version}", escaped(name)),
        Ecosystem::Debian => {
            let architecture = component.architecture.as_deref().map(escaped).unwrap_or_default();
            format!("pkg:deb/debian/{}@{version}?arch={architecture}", escaped(name))
        }
        Ecosystem::Generic => format!("pkg:generic/{}@{version}", escaped(name)),
        Ecosystem::Go => format!("pkg:golang/{}@{version}", segments(name)),
        Ecosystem::Npm => format!("pkg:npm/{}@{version}", segments(name)),
        Ecosystem::Python => format!("pkg:pypi/{}@{version}", escaped(name)),
    }
}

fn segments(path: &str) -> String {
    path.split('/').map(escaped).collect::<Vec<_>>().join("/")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b".-_~".contains(&byte) => out.push(byte.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_addresses_escape_what_has_a_meaning_there() {
        let of = |ecosystem, name: &str, version: &str| {
            purl(&Component {
                architecture: Some("amd64".into()),
                ..Component::new(ecosystem, name, version).unwrap()
            })
        };
        assert_eq!(of(Ecosystem::Npm, "@x/c", "1.0.0"), "pkg:npm/%40x/c@1.0.0");
        assert_eq!(
            of(Ecosystem::Debian, "libstdc++6", "1:2+b~1"),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A2%2Bb~1?arch=amd64"
        );
        assert_eq!(of(Ecosystem::Go, "golang.org/x/a", "v1"), "pkg:golang/golang.org/x/a@v1");
    }

    #[test]
    fn only_expressions_are_declared_as_licences() {
        assert_eq!(license(Some("MIT OR Apache-2.0")), ("MIT OR Apache-2.0".into(), None));
        assert_eq!(license(Some("BSD, I think")).0, NO_ASSERTION);
        assert_eq!(license(None), (NO_ASSERTION.into(), None));
    }
}
