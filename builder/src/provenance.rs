//! How a package was made: the predicate of SLSA's provenance (version 1), which goes into the package at [`PATH`], under its
//! signature.
//!
//! It holds nothing of the clock, the machine's name or the person who builds: the same inputs give the same bytes. As a
//! package cannot hold its own hash, the statement around a predicate is left to whoever has the package: its subject is
//! the package's file.

use std::collections::BTreeMap;

use pack_schemas::manifest::Manifest;
use pack_schemas::names::{Architecture, Hash, Name};
use pack_schemas::package::canonical_json;
use serde::Serialize;

use crate::debian::StagedPackage;
use crate::sbom::spdx;

/// Where the document is in a package.
pub const PATH: &str = ".pack/provenance.json";

/// Something that the build read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Material {
    /// The part that read it, and what for: `hello source`.
    pub name: String,
    /// An address, a package URL, or a path in the project.
    pub uri: String,
    /// By algorithm: what it hashes to, in hexadecimal digits.
    pub digest: BTreeMap<String, String>,
}

/// What is told of a build.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The manifest.
    pub manifest: &'a Manifest,
    /// The architecture of the package.
    pub architecture: Architecture,
    /// The time stamp of everything in it.
    pub source_date_epoch: u32,
    /// Programs and their versions: `pack`, the image's encoder, and those of the machine that parts were built with.
    pub tools: BTreeMap<String, String>,
    /// What was read.
    pub materials: Vec<Material>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    predicate_type: &'static str,
    predicate: Predicate<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Predicate<'a> {
    build_definition: BuildDefinition<'a>,
    run_details: RunDetails<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BuildDefinition<'a> {
    build_type: &'static str,
    external_parameters: Parameters,
    resolved_dependencies: &'a [Material],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    command: [&'static str; 2],
    manifest: Hash,
    architecture: Architecture,
    source_date_epoch: u32,
}

#[derive(Serialize)]
struct RunDetails<'a> {
    builder: Builder<'a>,
}

#[derive(Serialize)]
struct Builder<'a> {
    id: &'static str,
    version: &'a BTreeMap<String, String>,
}

impl Material {
    /// A Debian package that a part was built with, or that went into it.
    pub fn debian(part: &Name, purpose: &str, package: &StagedPackage) -> Material {
        Material {
            name: format!("{part} {purpose}"),
            uri: spdx::purl(&package.into()),
            digest: BTreeMap::from([("sha256".to_owned(), package.sha256.clone())]),
        }
    }
}

/// Writes the document.
pub fn document(facts: &Facts<'_>) -> Vec<u8> {
    let mut materials = facts.materials.clone();
    materials.sort();
    materials.dedup();
    canonical_json(&Document {
        predicate_type: "https://slsa.dev/provenance/v1",
        predicate: Predicate {
            build_definition: BuildDefinition {
                build_type: "urn:pack:build:1",
                external_parameters: Parameters {
                    command: ["pack", "build"],
                    manifest: Hash::of(&canonical_json(facts.manifest)),
                    architecture: facts.architecture,
                    source_date_epoch: facts.source_date_epoch,
                },
                resolved_dependencies: &materials,
            },
            run_details: RunDetails { builder: Builder { id: "urn:pack", version: &facts.tools } },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_inputs_give_the_same_bytes_in_any_order() {
        let manifest =
            serde_json::from_value(serde_json::json!({"name": "aa", "version": "1", "base": "none"}))
                .unwrap();
        let material = |name: &str| Material { name: name.into(), uri: "x".into(), digest: BTreeMap::new() };
        let facts = |materials| Facts {
            manifest: &manifest,
            architecture: Architecture::Amd64,
            source_date_epoch: 1,
            tools: BTreeMap::from([("pack".to_owned(), "1".to_owned())]),
            materials,
        };
        let one = document(&facts(vec![material("a"), material("b")]));
        assert_eq!(one, document(&facts(vec![material("b"), material("a"), material("a")])));
        let read: serde_json::Value = serde_json::from_slice(&one).unwrap();
        let definition = &read["predicate"]["buildDefinition"];
        assert_eq!(definition["resolvedDependencies"][1]["name"], "b");
        assert_eq!(definition["externalParameters"]["sourceDateEpoch"], 1);
    }
}
