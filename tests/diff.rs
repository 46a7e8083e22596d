//! `pack diff`.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use support::{World, err, fail, out, succeed};

/// Builds a project of one dump part, without a signature.
fn build(world: &World, name: &str, manifest: &str, output: &str) {
    let text =
        format!("name: hello\nbase: none\n{manifest}\nparts: {{a: {{plugin: dump, source: files}}}}\n");
    world.write(&format!("{name}/pack.yaml"), text);
    succeed(world.pack(["build", name, "--unsigned", "-o", output]));
}

#[test]
fn every_difference_is_told_at_its_place_and_nothing_else() {
    let world = World::new();
    for (name, content) in [("one", "aaaa"), ("two", "aaba")] {
        world.write(&format!("{name}/files/changed"), content);
        world.write(&format!("{name}/files/same"), "same");
        world.write(&format!("{name}/files/mode"), "mode");
        world
            .write(&format!("{name}/files/longer"), name.repeat(name.len() * usize::from(name == "two") + 1));
        symlink(name, world.home(&format!("{name}/files/link"))).unwrap();
    }
    world.write("one/files/gone", "12345");
    world.write("two/files/new/file", "1234567");
    world.write("one/files/kind/x", "");
    world.write("two/files/kind", "");
    fs::set_permissions(world.home("two/files/mode"), fs::Permissions::from_mode(0o755)).unwrap();
    build(&world, "one", "version: '1'", "one.pkg");
    build(&world, "two", "version: '2'\ntitle: Hello", "two.pkg");
    let told = out(&fail(world.pack(["diff", "one.pkg", "two.pkg"]), 1));
    let expected = "\
manifest.title: nothing → \"Hello\"
manifest.version: \"1\" → \"2\"
version: \"1\" → \"2\"
~ .pack/provenance.json: content, from byte 148 on
~ .pack/sbom.spdx.json: content, from byte 165 on
~ changed: content, from byte 2 on
- gone: file, 5 B
~ kind: folder → file
- kind/x: file, 0 B
~ link: leads to one → two
~ longer: content, 3 → 12 bytes, from byte 0 on
~ mode: mode 644 → 755
+ new: folder
+ new/file: file, 7 B
";
    assert_eq!(told, expected);
    let json = out(&fail(world.pack(["diff", "--json", "two.pkg", "one.pkg"]), 1));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["same-image"], false);
    assert_eq!(json["files"][2]["path"], "changed");
    assert_eq!(json["files"][2]["at"], 2);
    assert_eq!(json["envelope"]["version"]["left"], "2");
}

#[test]
fn packages_of_the_same_project_are_the_same_whatever_they_are_signed_with() {
    let world = World::with_key();
    world.write("one/files/a", "a");
    build(&world, "one", "version: '1'", "one.pkg");
    succeed(world.pack(["build", "one", "-o", "signed.pkg"]));
    assert_ne!(fs::read(world.home("one.pkg")).unwrap(), fs::read(world.home("signed.pkg")).unwrap());
    assert_eq!(out(&succeed(world.pack(["diff", "one.pkg", "signed.pkg"]))), "");
}

#[test]
fn a_package_that_cannot_be_read_is_named() {
    let world = World::new();
    world.write("one/files/a", "a");
    build(&world, "one", "version: '1'", "one.pkg");
    world.write("no.pkg", "nothing");
    let told = err(&fail(world.pack(["diff", "one.pkg", "no.pkg"]), 1));
    assert!(told.contains("cannot open `no.pkg`"), "{told}");
    let mut bytes = fs::read(world.home("one.pkg")).unwrap();
    bytes[100] ^= 1;
    world.write("damaged.pkg", bytes);
    world.write("one/files/a", "b");
    build(&world, "one", "version: '1'", "one.pkg");
    let told = err(&fail(world.pack(["diff", "one.pkg", "damaged.pkg"]), 1));
    assert!(told.contains("the second package is not in order"), "{told}");
}
