//! `pack build` and `pack clean`: what is made, what is said, and where.

mod support;

use std::fs;
use std::process::Output;

use support::{World, err, fail, out, succeed};

const MANIFEST: &str = "name: tool\nversion: '1.0'\nbase: host\napps: {tool: {command: bin/tool}}\n\
                        parts: {tool: {plugin: dump, source: files}}\n";
const FILES: &[(&str, &str)] = &[("bin/tool", "#!/bin/sh\necho tool\n"), ("share/text", "text")];

fn world() -> World {
    let world = World::with_key();
    world.project("tool", MANIFEST, FILES);
    world
}

/// What was said, with the home's path as `~`.
fn said(world: &World, output: &Output) -> String {
    let home = world.home("").canonicalize().unwrap();
    without_times(&err(output).replace(home.to_str().unwrap().trim_end_matches('/'), "~"))
}

/// A text with `TIME` in place of what a build took.
fn without_times(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once(", ") {
        Some((before, time)) if time.ends_with(" s") => format!("{before}, TIME\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn a_build_says_its_steps_and_prints_the_file() {
    let world = world();
    let output = succeed(world.pack(["build", "tool"]));
    let size = fs::metadata(world.home("tool_1.0_amd64.pkg")).unwrap().len();
    assert_eq!(out(&output), "tool_1.0_amd64.pkg\n");
    assert_eq!(
        said(&world, &output),
        format!(
            "pull tool\nbuild tool\nstage tool\nprime tool\n4 steps run, TIME\npacking\n\
             made `tool_1.0_amd64.pkg`, {:.1} kB, signed with the key `tester`\n",
            size as f64 / 1000.0
        )
    );
    let output = succeed(world.pack(["build", "tool", "-q", "--unsigned", "-o", "tool"]));
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("tool/tool_1.0_amd64.pkg\n", ""));
    // A second build takes nothing of the first, its package included, for a source.
    succeed(world.pack(["build", "tool", "-q", "--unsigned", "-o", "again.pkg"]));
    assert_eq!(
        fs::read(world.home("again.pkg")).unwrap(),
        fs::read(world.home("tool/tool_1.0_amd64.pkg")).unwrap()
    );
}

#[test]
fn a_second_build_says_what_it_does_again_and_why() {
    let world = world();
    let build = |arguments: &[&str]| {
        let output = succeed(world.pack(["build", "tool", "--step", "prime"].iter().chain(arguments)));
        said(&world, &output)
    };
    let stopped = "stopped after prime; see `~/tool/.pack`\n";
    let new: String = ["pull", "build", "stage", "prime"]
        .iter()
        .map(|step| format!("{step} tool: not done yet\n"))
        .collect();
    assert_eq!(build(&["-v"]), format!("{new}4 steps run, TIME\n{stopped}"));
    assert_eq!(build(&[]), format!("nothing changed for 4 steps, TIME\n{stopped}"));
    let same: String = ["pull", "build", "stage", "prime"]
        .iter()
        .map(|step| format!("{step} tool: nothing changed\n"))
        .collect();
    assert_eq!(build(&["-v"]), format!("{same}nothing changed for 4 steps, TIME\n{stopped}"));
    world.write("tool/files/share/text", "other");
    world.write("tool/files/share/more\n", "x");
    assert_eq!(
        build(&["-v"]),
        format!(
            "pull tool: src changed: share/more\\u{{a}}, share/text\nbuild tool: src changed: share/more\\u{{a}}, share/text\n\
             stage tool: install changed\nprime tool: staged changed\n4 steps run, TIME\n{stopped}"
        )
    );
    world.write("tool/pack.yaml", MANIFEST.replace("source: files", "source: files, stage: [-share/none]"));
    assert_eq!(build(&[]), format!("stage tool\n1 step run, nothing changed for 3, TIME\n{stopped}"));
    assert_eq!(build(&["-q"]), "");
    succeed(world.pack(["clean", "tool", "-C", "tool"]));
    assert_eq!(
        build(&[]),
        format!("pull tool\nbuild tool\nstage tool\nprime tool\n4 steps run, TIME\n{stopped}")
    );
}

#[test]
fn a_collision_names_both_parts_and_says_what_to_do() {
    let world = World::new();
    world.write("one/x", "1");
    let manifest = "name: tool\nversion: '1.0'\nbase: host\nparts:\n  a: {plugin: dump, source: one}\n  \
                    b: {plugin: nil, override-build: 'echo 2 > $PACK_PART_INSTALL/x'}\n";
    world.write("tool/pack.yaml", manifest);
    world.write("tool/one/x", "1");
    let output = fail(world.pack(["build", "tool", "--unsigned"]), 1);
    let expected = "error: cannot stage the part `b`
  caused by: the part `b` and the part `a` both have `x`, and their content differs

hint: leave it out with `stage: [-x]` in one of the two
";
    assert!(said(&world, &output).ends_with(expected), "{}", said(&world, &output));
}

#[test]
fn the_same_project_gives_the_same_bytes_anywhere() {
    let world = world();
    let script = "parts: {tool: {plugin: nil, source: files, override-build: \"cp -r bin share $PACK_PART_INSTALL/; \
 date -d @$SOURCE_DATE_EPOCH > $PACK_PART_INSTALL/date; \
                  touch $PACK_PART_INSTALL/$(umask)\"}}\n";
    let manifest = MANIFEST.replace("parts: {tool: {plugin: dump, source: files}}\n", script);
    world.project("deep/er/other", &manifest, FILES);
    world.project("one", &manifest, FILES);
    let build = |folder: &str, output: &str, umask: &str, zone: &str| {
        let script = format!("umask {umask}; exec \"$0\" build -q {folder} -o {output}");
        let mut command = world.command("sh");
        command.args(["-c", &script]).arg(support::pack_binary()).env("TZ", zone);
        succeed(command);
        fs::read(world.home(output)).unwrap()
    };
    let first = build("one", "first.pkg", "022", "UTC");
    assert!(first == build("deep/er/other", "second.pkg", "077", "Asia/Tokyo"), "two builds differ");
    // The epoch is in the package.
    let mut command = world.pack(["build", "-q", "one", "-o", "third.pkg"]);
    command.env("SOURCE_DATE_EPOCH", "1000000000");
    succeed(command);
    assert!(first != fs::read(world.home("third.pkg")).unwrap());
    let mut command = world.pack(["build", "one"]);
    command.env("SOURCE_DATE_EPOCH", "yesterday");
    assert!(err(&fail(command, 1)).contains("SOURCE_DATE_EPOCH is `yesterday`"));
}

#[test]
fn an_error_in_the_manifest_shows_the_line() {
    let world = world();
    world.write("tool/pack.yaml", MANIFEST.replace("command", "comand"));
    let output = fail(world.pack(["build", "tool"]), 1);
    let expected = "error: unknown key `comand`
 --> ~/tool/pack.yaml:4:15
  |
4 | apps: {tool: {comand: bin/tool}}
  |               ^^^^^^

hint: did you mean `command`?
";
    assert_eq!(said(&world, &output), expected);
    world.write("tool/pack.yaml", "name: tool\nversion: \"1\x1b]0;x\x07\"\nbase: host\n");
    let output = fail(world.pack(["build", "tool"]), 1);
    assert!(!err(&output).contains(['\x1b', '\x07']), "{}", err(&output));
    // One long line is cut, and the mark stays at its place.
    let filler = "x".repeat(200);
    world.write(
        "tool/pack.yaml",
        format!("{{name: tool, summary: é, a: '{filler}', comand: 1, b: '{filler}'}}"),
    );
    let said = said(&world, &fail(world.pack(["build", "tool"]), 1));
    // The hint lists every key that there is.
    let mut lines = said.lines().filter(|line| !line.starts_with("hint: "));
    assert!(lines.all(|line| line.chars().count() < 200), "{said}");
}

#[test]
fn a_script_that_fails_shows_the_end_of_its_output() {
    let world = world();
    let manifest = "name: tool\nversion: '1.0'\nbase: host\nparts:\n  tool:\n    plugin: nil\n    override-build: |\n      \
                    echo compiling\n      exit 3\n";
    world.write("tool/pack.yaml", manifest);
    let output = fail(world.pack(["build", "tool"]), 1);
    let expected = "pull tool
build tool
error: cannot build the part `tool`
  caused by: override-build ended with exit status: 3; all of its output is in `~/tool/.pack/parts/tool/build.log`
    compiling
";
    assert_eq!(said(&world, &output), expected);
    assert!(!world.home("tool_1.0_amd64.pkg").exists());
}

#[test]
fn what_can_be_refused_is_refused_before_the_work() {
    let world = world();
    for (arguments, words, hint) in [
        (&["build"][..], "there is no pack.yaml in `~`", "name the folder"),
        (&["build", "nowhere"], "cannot open the folder `nowhere`", ""),
        (&["build", "tool", "-o", "nowhere/x.pkg"], "there is no folder `nowhere`", ""),
        (&["build", "tool", "--key", "testre"], "there is no key `testre`", "did you mean `tester`?"),
    ] {
        let said = said(&world, &fail(world.pack(arguments), 1));
        assert!(said.contains(words) && said.contains(hint), "{arguments:?}: {said}");
    }
    fail(world.pack(["build", "tool", "--key", "tester", "--unsigned"]), 2);
    let architecture = MANIFEST.replace("base:", "architectures: [arm64]\nbase:");
    if cfg!(target_arch = "x86_64") {
        world.write("tool/pack.yaml", architecture);
        assert!(said(&world, &fail(world.pack(["build", "tool"]), 1)).contains("cannot be built for amd64"));
    }
    assert!(!world.home("tool/.pack").exists(), "nothing was begun");
    let keyless = World::new();
    keyless.project("tool", MANIFEST, FILES);
    let said = err(&fail(keyless.pack(["build", "tool"]), 1));
    assert!(said.contains("`pack key generate` makes one; `--unsigned` builds"), "{said}");
    world.write("snap-only/snap/snapcraft.yaml", "name: x\n");
    let said = err(&fail(world.pack(["build", "snap-only"]), 1));
    assert!(said.contains("`pack init --from snap/snapcraft.yaml` makes one"), "{said}");
}

#[test]
fn a_build_can_stop_after_a_step() {
    let world = world();
    let output = succeed(world.pack(["build", "tool", "--step", "build"]));
    assert_eq!(
        said(&world, &output),
        "pull tool\nbuild tool\n2 steps run, TIME\nstopped after build; see `~/tool/.pack`\n"
    );
    assert!(world.home("tool/.pack/parts/tool/install/bin/tool").exists());
    assert!(!world.home("tool/.pack/stage/bin").exists() && !world.home("tool_1.0_amd64.pkg").exists());
}

#[test]
fn clean_removes_what_builds_left_and_nothing_else() {
    let world = world();
    succeed(world.pack(["build", "tool"]));
    let output = succeed(world.pack(["clean", "tool", "-C", "tool"]));
    assert!(said(&world, &output).starts_with("cleaned "));
    assert!(!world.home("tool/.pack/parts/tool").exists() && !world.home("tool/.pack/prime").exists());
    assert!(
        said(&world, &fail(world.pack(["clean", "tol", "-C", "tool"]), 1)).contains("did you mean `tool`?")
    );
    // A manifest that is not in order hinders nobody from cleaning.
    world.write("tool/pack.yaml", "{");
    succeed(world.pack(["clean", "-C", "tool"]));
    let left: Vec<_> =
        fs::read_dir(world.home("tool")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(world.home("tool_1.0_amd64.pkg").exists());
    assert_eq!(err(&succeed(world.pack(["clean", "-C", "tool"]))), "there was nothing to clean\n");
    fs::remove_file(world.home("tool/pack.yaml")).unwrap();
    fail(world.pack(["clean", "-C", "tool"]), 1);
}
