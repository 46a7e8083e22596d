//! The documents that a package carries about itself: what it is made of, and how it was made.

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::{World, err, fail, is_root, out, succeed};

/// A project with a source of every ecosystem that its files can tell of, and an archive.
fn project(world: &World) {
    world.write(
        "project/pack.yaml",
        "name: hello\nversion: '1.2'\nbase: none\nlicense: MIT\nsummary: A program\nwebsite: https://example.org/\n\
         parts:\n  files: {plugin: dump, source: files}\n  archive: {plugin: dump, source: a.tar}\n",
    );
    world.write(
        "project/files/lib/site-packages/httpx-0.1.dist-info/METADATA",
        "Name: httpx\nVersion: 0.1\nLicense: BSD\n",
    );
    world.write(
        "project/files/lib/node_modules/@x/y/package.json",
        r#"{"name":"@x/y","version":"2.0.0","license":"MIT"}"#,
    );
    let inner = world.write("project/inner/file", "from the archive");
    succeed({
        let mut tar = Command::new("tar");
        tar.args(["--sort=name", "--mtime=@0", "-cf"]).arg(world.home("project/a.tar"));
        tar.arg("-C").arg(inner.parent().unwrap()).arg(".");
        tar
    });
    fs::remove_dir_all(inner.parent().unwrap()).unwrap();
}

fn documents(world: &World) -> (Value, Value) {
    succeed(world.pack(["build", "project", "--unsigned", "-o", "a.pkg"]));
    let sbom = out(&succeed(world.pack(["sbom", "a.pkg"])));
    succeed(world.pack(["unpack", "--dangerous", "a.pkg", "out"]));
    let read = |name: &str| fs::read_to_string(world.home("out/.pack").join(name)).unwrap();
    assert_eq!(sbom.trim_end(), read("sbom.spdx.json").trim_end());
    let parsed = (&sbom, read("provenance.json"));
    (serde_json::from_str(parsed.0).unwrap(), serde_json::from_str(&parsed.1).unwrap())
}

#[test]
fn a_package_lists_what_it_is_made_of_and_says_how_it_was_made() {
    let world = World::new();
    project(&world);
    let (sbom, provenance) = documents(&world);
    assert_eq!(sbom["spdxVersion"], "SPDX-2.3");
    assert_eq!(sbom["creationInfo"]["created"], "2000-01-01T00:00:00Z");
    let packages = sbom["packages"].as_array().unwrap();
    let purls: Vec<&str> = packages
        .iter()
        .filter_map(|package| package["externalRefs"][0]["referenceLocator"].as_str())
        .map(|purl| purl.split("@").next().unwrap())
        .collect();
    assert_eq!(purls, ["pkg:generic/archive", "pkg:npm/%40x/y", "pkg:pypi/httpx"]);
    let root = &packages[0];
    assert_eq!((&root["name"], &root["licenseDeclared"]), (&"hello".into(), &"MIT".into()));
    let definition = &provenance["predicate"]["buildDefinition"];
    let materials = definition["resolvedDependencies"].as_array().unwrap();
    let named: Vec<(&str, &str)> = materials
        .iter()
        .map(|material| (material["name"].as_str().unwrap(), material["uri"].as_str().unwrap()))
        .collect();
    assert_eq!(named, [("archive source", "a.tar"), ("files source", "files")]);
    assert_eq!(materials[0]["digest"]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(materials[1]["digest"]["blake3Tree"].as_str().unwrap().len(), 64);
    assert_eq!(definition["externalParameters"]["sourceDateEpoch"], 946_684_800);
    // A build that has nothing to do writes the same.
    let first = fs::read(world.home("a.pkg")).unwrap();
    succeed(world.pack(["build", "project", "--unsigned", "-o", "a.pkg"]));
    assert_eq!(first, fs::read(world.home("a.pkg")).unwrap());
}

#[test]
fn no_part_can_put_something_where_the_documents_are() {
    let world = World::new();
    project(&world);
    world.write("project/files/.pack/sbom.spdx.json", "{}");
    let told = err(&fail(world.pack(["build", "project", "--unsigned"]), 1));
    assert!(told.contains("it installs `.pack`"), "{told}");
}

#[test]
fn a_package_without_the_document_is_told() {
    let world = World::new();
    let told = err(&fail(world.pack(["sbom", "none"]), 1));
    assert!(told.contains("none"), "{told}");
}

/// The validator of the SPDX project, from the Python package index, kept between runs of the tests.
fn validator() -> PathBuf {
    let user = if is_root() { "root" } else { "user" };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("spdx-tools-{user}"));
    let program = folder.join("bin/pyspdxtools");
    // Its programs know where they are: a checkout that was moved needs it anew.
    let place = folder.to_string_lossy().into_owned();
    if fs::read_to_string(folder.join("complete")).ok().as_ref() != Some(&place) {
        let _ = fs::remove_dir_all(&folder);
        let mut make = Command::new("/usr/bin/python3");
        make.args(["-m", "venv"]).arg(&folder);
        succeed(make);
        let mut install = Command::new(folder.join("bin/pip"));
        install.args(["install", "--quiet", "spdx-tools==0.8.3"]);
        succeed(install);
        fs::write(folder.join("complete"), place).unwrap();
    }
    program
}

#[test]
fn the_document_is_valid_in_the_eyes_of_the_spdx_project() {
    let world = World::new();
    project(&world);
    documents(&world);
    let mut validate = Command::new(validator());
    validate.arg("--infile").arg(world.home("out/.pack/sbom.spdx.json"));
    succeed(validate);
    // The validator finds what is wrong.
    let text = fs::read_to_string(world.home("out/.pack/sbom.spdx.json")).unwrap();
    let broken = world.write("broken.spdx.json", text.replace("SPDXRef-Component-0", "Component 0"));
    let mut validate = Command::new(validator());
    validate.arg("--infile").arg(broken);
    assert!(!validate.output().unwrap().status.success());
}
