//! Commands in `~/.local/bin`: one that would take the place of another is not made.

mod support;

use support::{World, err, out, succeed};

#[test]
fn a_package_cannot_take_the_place_of_a_command() {
    let world = World::with_key();
    for name in ["sudo", "ls", "mine"] {
        let manifest = format!(
            "name: {name}\nversion: '1'\nbase: host\napps: {{{name}: {{command: bin/x}}, second: {{command: bin/x}}}}\n\
             parts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        world.project(name, &manifest, &[("bin/x", "#!/bin/sh\necho ran\n")]);
        let package = world.build(name);
        let output = succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]));
        let exported = world.home(".local/bin").join(name).exists();
        assert_eq!(exported, name == "mine", "{name}: {}", err(&output));
        assert_eq!(err(&output).contains("would take the place of"), name != "mine", "{}", err(&output));
        assert!(world.home(".local/bin").join(format!("{name}.second")).exists(), "{name}");
        assert_eq!(out(&succeed(world.pack(["run", name]))), "ran\n");
    }
}
