//! `pack lint` and what `pack build` says of the files that it packs.

mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::process::Command;

use support::{World, err, fail, out, succeed};

const MANIFEST: &str = "name: tool\nversion: '1.0'\nbase: host\napps: {tool: {command: bin/tool}}\n\
                        parts: {tool: {plugin: dump, source: files}}\n";
const SCRIPT: (&str, &str) = ("bin/tool", "#!/bin/sh\necho tool\n");

/// What of a listing is said of a check.
fn lines_of<'a>(text: &'a str, id: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(&format!("[{id}]"))).collect()
}

#[test]
fn a_project_a_package_and_a_folder_are_looked_at() {
    let world = World::with_key();
    world.project("tool", MANIFEST, &[SCRIPT]);
    let unbuilt = err(&fail(world.pack(["lint", "tool"]), 1));
    assert!(unbuilt.contains("was not built yet") && unbuilt.contains("--step prime"), "{unbuilt}");
    world.build("tool");
    for target in ["tool", "tool.pkg", "tool/files"] {
        let output = succeed(world.pack(["lint", target]));
        assert_eq!((out(&output).as_str(), err(&output).as_str()), ("", "nothing was found\n"), "{target}");
    }
    // A secret is a warning: told, and no failure unless that is asked for.
    world.write("tool/files/.env", "TOKEN=x\n");
    let built = succeed(world.pack(["build", "tool", "-o", "second.pkg"]));
    let said = err(&built);
    assert_eq!(
        lines_of(&said, "secret-file"),
        ["warning[secret-file] .env: holds variables that are mostly secret"]
    );
    assert!(said.contains("  hint: leave it out with `prime: [-PATH]`"), "{said}");
    for target in ["tool", "second.pkg", "tool/files"] {
        let output = succeed(world.pack(["lint", target]));
        assert!(out(&output).starts_with("warning[secret-file] .env: holds"), "{}", out(&output));
        assert_eq!(err(&output), "1 warning\n");
        assert!(
            out(&fail(world.pack(["lint", "--strict", target]), 1)).starts_with("error[secret-file] .env")
        );
    }
    let strict = err(&fail(world.pack(["build", "--strict", "tool", "-o", "third.pkg"]), 1));
    assert!(strict.contains("error: what was built is not in order: 1 error\n"), "{strict}");
    assert!(!world.home("third.pkg").exists());
    // What the manifest ignores is counted, by a package too.
    world.write("tool/pack.yaml", format!("{MANIFEST}lint: {{ignore: [secret-file]}}\n"));
    succeed(world.pack(["build", "--strict", "tool", "-o", "fourth.pkg"]));
    assert_eq!(
        err(&succeed(world.pack(["lint", "fourth.pkg"]))),
        "nothing was found, 1 ignored as the manifest says\n"
    );
}

#[test]
fn an_app_that_cannot_start_is_no_package() {
    let world = World::with_key();
    world.project("tool", &MANIFEST.replace("bin/tool", "bin/tol"), &[SCRIPT]);
    let said = err(&fail(world.pack(["build", "tool"]), 1));
    assert!(said.contains("error[command-missing] bin/tol: is the command of the app tool"), "{said}");
    assert!(said.contains("lint: {ignore: [ID, {ID: [FILES]}]}"), "{said}");
    assert!(!world.home("tool_1.0_amd64.pkg").exists());
    let output = fail(world.pack(["lint", "tool", "--json"]), 1);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["id"], &finding["severity"], &finding["object"]),
        (&"command-missing".into(), &"error".into(), &"bin/tol".into())
    );
    assert!(finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    assert_eq!((&report["ignored"], &report["left-out"]), (&0.into(), &0.into()));
}

#[test]
fn desktop_entries_and_icons_are_judged_as_at_install() {
    let world = World::with_key();
    let desktop = MANIFEST.replace("bin/tool}", "bin/tool, desktop: share/tool.desktop}");
    let entry = "[Desktop Entry]\nType=Application\nName=Tool\nExec=tool\nIcon=share/tool.svg\nVersion=1.0\n\
                 DBusActivatable=true\n";
    world.project("tool", &desktop, &[SCRIPT]);
    world.write("tool/files/share/tool.desktop", entry);
    let svg = "<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>";
    world.write("tool/files/share/tool.svg", svg);
    let package = world.build("tool");
    let listed = out(&succeed(world.pack(["lint", "tool"])));
    let installed = err(&succeed(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()])));
    // Both give the same reason.
    let reason = "it is an SVG with script";
    let icon = lines_of(&listed, "icon-refused");
    assert!(icon.len() == 1 && icon[0].contains("share/tool.svg") && icon[0].contains(reason), "{listed}");
    assert!(installed.contains(reason), "{installed}");
    let altered = lines_of(&listed, "desktop-altered");
    assert_eq!(
        altered,
        ["note[desktop-altered] share/tool.desktop: is installed without DBusActivatable, Icon"]
    );
    succeed(world.pack(["remove", "tool"]));

    // One that installing refuses makes no package; made all the same, it is refused for that reason.
    world.write("tool/files/share/tool.desktop", entry.replace("Exec=tool", "Exec=/usr/bin/env tool"));
    let said = err(&fail(world.pack(["build", "tool"]), 1));
    let reason = "Exec starts `/usr/bin/env`, which is not the program of app tool";
    let refused = lines_of(&said, "desktop-refused");
    assert!(refused.len() == 1 && refused[0].contains(reason), "{said}");
    world.write("tool/pack.yaml", format!("{desktop}lint: {{ignore: [desktop-refused]}}\n"));
    let package = world.build("tool");
    let installed = err(&fail(world.pack(["install".as_ref(), "--yes".as_ref(), package.as_os_str()]), 1));
    assert!(installed.contains(reason), "{installed}");
}

#[test]
fn every_check_is_listed_and_many_findings_are_cut() {
    let world = World::with_key();
    let listed = out(&succeed(world.pack(["lint", "--list"])));
    assert!(listed.starts_with("Check ") && listed.contains("library-missing"), "{listed}");
    for number in 0..15 {
        world.write(&format!("folder/{number}/.netrc"), "password");
    }
    let listed = out(&succeed(world.pack(["lint", "folder"])));
    assert_eq!(lines_of(&listed, "secret-file").len(), 10, "{listed}");
    assert!(listed.ends_with("  … and 5 more of secret-file; -v shows all\n"), "{listed}");
    // The hint is the same for all, and told once.
    assert_eq!(listed.matches("hint:").count(), 1);
    assert!(listed.contains("hint: leave it out with `prime: [-PATH]`, "), "{listed}");
    assert_eq!(lines_of(&out(&succeed(world.pack(["lint", "folder", "-v"]))), "secret-file").len(), 15);
    fail(world.pack(["lint", "--list", "--json"]), 2);
    let nowhere = err(&fail(world.pack(["lint", "nowhere"]), 1));
    assert!(nowhere.contains("cannot open `nowhere`"), "{nowhere}");
    world.write("no.pkg", "no package");
    fail(world.pack(["lint", "no.pkg"]), 1);
    // Names that steer a terminal are shown, and do not.
    world.write("bad/\x1b]0;x\x07/.netrc", "password");
    let (status, shown) = terminal::on_terminal(&world, &["lint", "bad", "--color", "never"], "");
    assert!(status == Some(0) && shown.contains("\\u{1b}]0;x\\u{7}") && !shown.contains('\x07'), "{shown:?}");
    let (_, shown) = terminal::on_terminal(&world, &["lint", "bad", "--color", "always"], "");
    assert!(shown.contains("\x1b[1;33mwarning[secret-file]\x1b[0m"), "{shown:?}");
}

#[test]
fn the_files_of_a_base_count() {
    let world = World::with_key();
    let base = "name: system\nversion: '1'\ntype: base\nbase: none\n\
                parts: {system: {plugin: dump, source: files}}\n";
    world.project("system", base, &[("usr/bin/shell", "#!/usr/bin/shell\n")]);
    world.install("system");
    let manifest = MANIFEST.replace("base: host", "base: system");
    world.project("tool", &manifest, &[("bin/tool", "#!/usr/bin/shell\n"), ("bin/other", "#!/bin/sh\n")]);
    let listed = out(&succeed({
        world.build("tool");
        world.pack(["lint", "tool"])
    }));
    let missing = "warning[script-interpreter-missing] bin/other: is a script for `/bin/sh`, which is neither in the \
                   package nor in its base";
    assert_eq!(lines_of(&listed, "script-interpreter-missing"), [missing]);
}

/// Programs of Debian's with all that they depend on have no errors, and no warnings that nobody can do anything about.
#[test]
fn the_examples_are_in_order() {
    let world = World::with_key();
    for example in ["hello", "jq", "galculator"] {
        world.copy_example(example);
        // To pack them takes far longer than to look at them.
        succeed(world.pack(["build", "--step", "prime", example]));
        let report = succeed(world.pack(["lint", "--strict", "--json", example]));
        let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
        let findings = report["findings"].as_array().unwrap();
        assert!(findings.iter().all(|finding| finding["severity"] == "note"), "{example}: {findings:#?}");
        if example != "galculator" {
            assert!(findings.is_empty(), "{example}: {findings:#?}");
        }
    }
}

/// What it lacks is what keeps it from starting.
#[test]
fn a_program_that_lacks_a_library_makes_no_package() {
    let world = World::with_key();
    world.project("tool", MANIFEST, &[]);
    let library = world.write("libmine.so.1", "");
    let program = world.write_program("tool/files/bin/tool", "");
    let compile = |source: &str, arguments: &[&str], output: &std::path::Path| {
        let file = world.write("source.c", source);
        let mut compiler = Command::new("cc");
        compiler.args(["-o"]).arg(output).arg(file).args(arguments);
        succeed(compiler);
    };
    compile("int f(void) { return 0; }", &["-shared", "-fPIC", "-Wl,-soname,libmine.so.1"], &library);
    compile("int f(void); int main(void) { return f(); }", &[library.to_str().unwrap()], &program);
    let said = err(&fail(world.pack(["build", "tool"]), 1));
    assert!(
        said.contains(
            "error[library-missing] bin/tool: needs `libmine.so.1`, which is neither in the package nor on"
        ),
        "{said}"
    );
    // With it the app starts.
    let inside = world.write_program("tool/files/lib/libmine.so.1", "");
    compile("int f(void) { return 0; }", &["-shared", "-fPIC", "-Wl,-soname,libmine.so.1"], &inside);
    world.install("tool");
    succeed(world.pack(["run", "tool"]));
}
