//! The work folder `.pack`: what somebody else has put there is not gone on with, and no script of a build sees pack's own in it.

mod support;

use std::fs;
use std::os::unix::fs::symlink;

use support::{World, err, succeed};

/// The package that the project `tool` gives, and what was said.
fn build(world: &World, cache: &str) -> (Vec<u8>, String) {
    let mut command = world.pack(["build", "-v", "tool", "-o", "out.pkg"]);
    command.env("XDG_CACHE_HOME", world.path("home").join(cache));
    let said = err(&succeed(command));
    (fs::read(world.home("out.pkg")).unwrap(), said)
}

fn give_to_user(world: &World) {
    let mut command = std::process::Command::new("chown");
    command.args(["-R", "-h", &format!("{0}:{0}", support::USER)]).arg(world.home("tool"));
    if support::is_root() {
        succeed(command);
    }
}

#[test]
fn what_another_has_built_is_built_anew() {
    let world = World::with_key();
    world.write(
        "tool/pack.yaml",
        "name: tool\nversion: '1'\nbase: host\nparts: {a: {plugin: dump, source: files}}\n",
    );
    world.write("tool/files/text", "the source's\n");
    let (clean, said) = build(&world, "mine");
    assert!(!said.contains("was not made by your builds"), "{said}");
    // A repository that brings results of its own, with records that say that they are complete.
    build(&world, "theirs");
    let installed = world.home("tool/.pack/parts/a/install/text");
    fs::write(&installed, "something else").unwrap();
    fs::write(world.home("tool/.pack/prime/text"), "something else").unwrap();
    // And links where a build writes.
    let precious = world.write("precious", "kept");
    for name in [".gitignore", "..gitignore", ".owner", "parts/a/.pull.json", "parts/a/pull.log", "blocks.x"]
    {
        let path = world.home("tool/.pack").join(name);
        let _ = fs::remove_file(&path);
        symlink(&precious, path).unwrap();
    }
    give_to_user(&world);
    let (package, said) = build(&world, "mine");
    assert!(said.contains("warning: ") && said.contains("was not made by your builds"), "{said}");
    assert!(package == clean, "another's result is in the package");
    assert_eq!(fs::read_to_string(precious).unwrap(), "kept");
    let (package, said) = build(&world, "mine");
    assert!(said.contains("prime a: nothing changed") && !said.contains("was not made by"), "{said}");
    assert!(package == clean);
    // A copy of one's own is one's own.
    let mut copy = world.command("cp");
    copy.args(["-r", "tool", "copy"]);
    succeed(copy);
    fs::remove_dir_all(world.home("tool")).unwrap();
    fs::rename(world.home("copy"), world.home("tool")).unwrap();
    assert!(!build(&world, "mine").1.contains("was not made by"));
}

#[test]
fn no_script_sees_or_writes_what_pack_goes_on_with() {
    let world = World::with_key();
    let steps = ["pull", "build", "stage", "prime"];
    let probe = "find /build -name 'blocks*' -o -name owner -o -name lock -o -name '*.json' -o -name '*.log' -o -name '*.files'
find /build/project/.pack -mindepth 1
for path in /build/project/.pack/blocks /build/blocks /build/owner /build/parts/tool/build.json; do
    ! mkdir $path 2> /dev/null || echo made $path
done
craftctl default";
    let script = |step: &str| {
        let lines: String = probe.lines().map(|line| format!("      {line}\n")).collect();
        format!("    override-{step}: |\n{lines}")
    };
    let scripts: String = steps.iter().map(|step| script(step)).collect();
    world.write(
        "tool/pack.yaml",
        format!("name: tool\nversion: '1'\nbase: host\nparts:\n  tool:\n    plugin: dump\n    source: files\n{scripts}"),
    );
    world.write("tool/files/text", "text");
    build(&world, "mine");
    // Now there are blocks, records and logs.
    assert!(world.home("tool/.pack/blocks/blocks").exists());
    world.write("tool/pack.yaml", fs::read_to_string(world.home("tool/pack.yaml")).unwrap() + "      true\n");
    world.write("tool/files/text", "text\n");
    let (again, _) = build(&world, "mine");
    for step in steps {
        let log = fs::read_to_string(world.home(&format!("tool/.pack/parts/tool/{step}.log"))).unwrap();
        assert_eq!(log, "", "{step}");
    }
    succeed(world.pack(["clean", "-q", "-C", "tool"]));
    assert!(build(&world, "mine").0 == again, "the blocks of the build before");
}
