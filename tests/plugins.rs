//! Real programs, built by the plugins that are for their kind, installed, and used in their sandboxes.

#[path = "support/real_programs.rs"]
mod real_programs;
mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use real_programs::project;
use support::{World, err, fail, out, skip, succeed};

/// A part's folder.
fn part(world: &World, name: &str, folder: &str) -> PathBuf {
    world.home(name).join(".pack/parts").join(name).join(folder)
}

/// What an app prints for this input.
#[track_caller]
fn given(world: &World, arguments: &[&str], input: &str) -> String {
    let mut app = world.pack(["run"].iter().chain(arguments));
    let mut app = app.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    app.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = app.wait_with_output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    out(&output)
}

#[test]
fn autotools_builds_gnu_hello() {
    let world = World::with_key();
    real_programs::gnu_hello(&world);
    world.install("hello");
    assert_eq!(given(&world, &["hello", "-g", "good day"], ""), "good day\n");
    let log = fs::read_to_string(part(&world, "hello", "build.log")).unwrap();
    assert!(log.contains("checking whether NLS is requested... no"), "{log}");
    assert!(part(&world, "hello", "install/usr/share/info/hello.info").exists());
    assert!(!part(&world, "hello", "install/usr/share/info/dir").exists());
}

#[test]
fn make_builds_figlet_which_finds_its_fonts_where_it_was_built_for() {
    let world = World::with_key();
    real_programs::figlet(&world);
    world.install("figlet");
    let text = given(&world, &["figlet", "-f", "mini", "pack"], "");
    assert_eq!(text, "           \n._  _. _|  \n|_)(_|(_|< \n|          \n");
    assert_eq!(given(&world, &["figlet", "-I2"], ""), "/usr/share/figlet\n");
}

#[test]
fn cmake_builds_cmark_and_a_later_part_is_linked_with_it() {
    let world = World::with_key();
    real_programs::cmark(&world);
    world.install("cmark");
    assert_eq!(given(&world, &["cmark"], "*hi* `there`\n"), "<p><em>hi</em> <code>there</code></p>\n");
    assert_eq!(given(&world, &["cmark.page"], "# Title\n"), "<!-- cmark 0.30.2 -->\n<h1>Title</h1>\n");
}

#[test]
fn meson_builds_serd() {
    let world = World::with_key();
    real_programs::serd(&world);
    world.install("serd");
    let turtle = "@prefix e: <http://example.org/> . e:a e:b e:c .";
    assert_eq!(
        given(&world, &["serd", "-o", "ntriples", "-"], turtle),
        "<http://example.org/a> <http://example.org/b> <http://example.org/c> .\n"
    );
}

#[test]
fn rust_builds_ripgrep_as_its_lock_file_says() {
    let world = World::with_key();
    real_programs::ripgrep(&world);
    world.install("ripgrep");
    let found = given(&world, &["ripgrep", "-n", "--no-config", "fe+l$", "-"], "one\nto feel\nfelt\n");
    assert_eq!(found, "2:to feel\n");
    // What is in it the lock file says, and what it was built with the packages of its root.
    let sbom = out(&succeed(world.pack(["sbom", "ripgrep.pkg"])));
    assert!(sbom.contains("pkg:cargo/grep-searcher@0.1.14"), "{sbom}");
    let provenance = fs::read_to_string(world.home("ripgrep/.pack/prime/.pack/provenance.json")).unwrap();
    assert!(provenance.contains("pkg:deb/debian/cargo-web@"), "{provenance}");
}

#[test]
fn go_builds_go_md2man_from_modules_with_the_hashes_of_its_go_sum() {
    let world = World::with_key();
    real_programs::go_md2man(&world);
    world.install("md2man");
    let page = given(&world, &["md2man"], "% NAME 1\n\n# NAME\nname - *does* things\n");
    assert!(page.contains(".TH") && page.contains("name - \\fIdoes\\fP things"), "{page}");
    let binary = fs::read(part(&world, "md2man", "install/bin/go-md2man")).unwrap();
    let text = String::from_utf8_lossy(&binary);
    assert!(text.contains("github.com/russross/blackfriday/v2@v2.1.0"), "the module is not in the program");
    assert!(!text.contains("/parts/md2man/build"), "the program says where it was built");
}

#[test]
fn python_installs_httpie_for_the_hosts_interpreter() {
    let world = World::with_key();
    real_programs::httpie(&world);
    world.install("httpie");
    let request =
        given(&world, &["httpie", "--ignore-stdin", "--offline", "POST", "example.org/a", "b=c"], "");
    assert!(
        request.starts_with("POST /a HTTP/1.1") && request.trim_end().ends_with("{\"b\": \"c\"}"),
        "{request}"
    );
    let script = "import sys, docopt, httpie; print(sys.prefix, httpie.__version__, httpie.__cached__)";
    let told = given(&world, &["httpie.python", "-c", script], "");
    let version = told.rsplit("cpython-").next().unwrap().split('.').next().unwrap();
    let modules = format!("/app/lib/venv/lib/python3.{}/site-packages/httpie", &version[1..]);
    assert_eq!(told, format!("/app/lib/venv 3.2.2 {modules}/__pycache__/__init__.cpython-{version}.pyc\n"));
    let program = part(&world, "httpie", "install/lib/venv/bin/http");
    assert!(fs::read_to_string(program).unwrap().starts_with("#!/app/lib/venv/bin/python3\n"));
}

#[test]
fn python_runs_on_an_interpreter_that_is_staged_with_it() {
    let world = World::with_key();
    real_programs::cowsay(&world);
    world.install("moo");
    let text = given(&world, &["moo", "-t", "staged"], "");
    assert!(text.contains("| staged |"), "{text}");
}

#[test]
fn npm_installs_markdown_it_with_what_its_lock_file_names() {
    let world = World::with_key();
    real_programs::markdown_it(&world);
    world.install("markdown");
    assert_eq!(given(&world, &["markdown", "-"], "*hi* <there\n"), "<p><em>hi</em> &lt;there</p>\n");
    let modules = part(&world, "markdown", "install/lib/node_modules/markdown-it/node_modules");
    assert!(modules.join(".package-lock.json").exists() && modules.join("linkify-it/package.json").exists());
}

#[test]
fn npm_brings_the_node_that_is_asked_for() {
    let world = World::new();
    real_programs::node_version(&world);
    succeed(world.pack(["build", "node", "--step", "build"]));
    let mut node = world.command(part(&world, "node", "install/bin/node"));
    node.arg(part(&world, "node", "install/bin/node-version"));
    assert_eq!(out(&succeed(node)), "v20.11.1\n");
}

#[test]
fn the_network_is_there_when_a_part_is_pulled_and_not_when_it_is_built() {
    let world = World::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    project(
        &world,
        "caller",
        &format!(
            "name: caller\nversion: '1'\nbase: host\nparts:\n  caller:\n    plugin: make\n    source: src\n    \
             override-pull: |\n      craftctl default\n      {connect}\n"
        ),
    );
    world.write("caller/src/Makefile", format!("SHELL = /bin/bash\nall:\n\t{connect}\ninstall:\n"));
    let told = err(&fail(world.pack(["build", "caller", "--unsigned"]), 1));
    assert!(told.contains("cannot build the part `caller`") && told.contains("Connection refused"), "{told}");
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok(), "the pull step did not reach it");
    assert!(listener.accept().is_err(), "the build step did");
}

#[test]
fn what_a_source_lacks_is_told_before_anything_is_built() {
    let world = World::new();
    for (plugin, files, told, hint) in [
        ("cmake", &["Makefile"][..], "needs a `CMakeLists.txt` in the source", "`source-subdir` names"),
        ("rust", &["Cargo.toml"], "needs a `Cargo.lock` in the source", "`cargo generate-lockfile` makes it"),
        (
            "npm",
            &["package.json"],
            "needs a `package-lock.json`",
            "`npm install --package-lock-only` makes it",
        ),
        ("python", &["main.py"], "has nothing to install", "`source-subdir` names"),
    ] {
        for file in files {
            world.write(&format!("{plugin}/src/{file}"), "");
        }
        let parts = format!("parts: {{it: {{plugin: {plugin}, source: src}}}}");
        project(&world, plugin, &format!("name: it\nversion: '1'\nbase: host\n{parts}\n"));
        let text = err(&fail(world.pack(["build", plugin, "--unsigned"]), 1));
        assert!(text.contains(told) && text.contains(&format!("hint: {hint}")), "{text}");
        assert!(!world.home(plugin).join(".pack/parts/it/build.log").exists());
    }
}

/// A plugin whose program is on few machines that only run the tests.
#[test]
fn a_tool_that_is_missing_is_named_with_its_package_before_the_build() {
    let world = World::new();
    let plugins = [("rust", "cargo", "cargo", "Cargo.toml"), ("cmake", "cmake", "cmake", "CMakeLists.txt")];
    let missing = plugins.into_iter().find(|(_, program, ..)| !Path::new("/usr/bin").join(program).exists());
    let Some((plugin, program, package, file)) = missing else {
        return skip("plugins: this machine has cargo and cmake, and one of them was to be missed");
    };
    world.write(&format!("it/src/{file}"), "");
    world.write("it/src/Cargo.lock", "");
    let parts = format!("parts: {{it: {{plugin: {plugin}, source: src}}}}");
    project(&world, "it", &format!("name: it\nversion: '1'\nbase: host\n{parts}\n"));
    let text = err(&fail(world.pack(["build", "it", "--unsigned"]), 1));
    assert!(text.contains(&format!("there is no `{program}` on this machine")), "{text}");
    assert!(text.contains(&format!("`{package}`")) && text.contains("build-packages"), "{text}");
}

#[test]
fn the_last_lines_of_a_compiler_that_fails_are_shown() {
    let world = World::new();
    world.write("broken/src/Makefile", "broken: broken.o\n\ninstall:\n");
    world.write("broken/src/broken.c", "int main(void) { return missing; }\n");
    let manifest = "name: broken\nversion: '1'\nbase: host\nparts: {broken: {plugin: make, source: src}}\n";
    project(&world, "broken", manifest);
    let text = err(&fail(world.pack(["build", "broken", "--unsigned"]), 1));
    assert!(text.contains("cannot build the part `broken`") && text.contains("`make -j"), "{text}");
    assert!(text.contains("broken.c:1:25: error: ") && text.contains("missing"), "{text}");
}
