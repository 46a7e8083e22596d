//! Real programs, built by the plugins that are for their kind, installed, and used in their sandboxes.
//!
//! Sources come from Debian's archive, crates.io, PyPI and npm, each compared with its hash; what was downloaded is kept.

mod support;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{USER, World, err, fail, is_root, out, succeed};

const DEBIAN: &str = "http://deb.debian.org/debian/pool/main";

const HTTPIE: &str = "https://files.pythonhosted.org/packages/09/e0/11680a5c0d94742122835330b3250f91a3a5066970872e111cb3ac5ce204/httpie-3.2.2.tar.gz";
const MARKDOWN_IT: &str = "https://registry.npmjs.org/markdown-it/-/markdown-it-14.1.0.tgz";

/// A manifest whose `source: src` is fetched.
fn fetched(manifest: &str, address: &str, sha256: &str) -> String {
    manifest.replace("source: src", &format!("source: {address}\n    source-checksum: sha256/{sha256}"))
}

/// Downloads a file, unless an earlier test did.
fn archive(world: &World, address: &str, sha256: &str) -> PathBuf {
    let environment = world.environment();
    let cache = &environment.iter().find(|(name, _)| name == "XDG_CACHE_HOME").unwrap().1;
    let folder = Path::new(cache).join("archives");
    let _ = fs::create_dir(&folder);
    let path = folder.join(sha256);
    if !path.exists() {
        let part = tempfile::NamedTempFile::new_in(&folder).unwrap();
        let mut download = Command::new("curl");
        download.args(["-sSfL", "--retry", "3", "-o"]).arg(part.path()).arg(address);
        succeed(download);
        let mut sum = Command::new("sha256sum");
        sum.arg(part.path());
        let sum = out(&succeed(sum));
        assert!(sum.starts_with(sha256), "{address}: {sum}");
        part.persist(&path).unwrap();
    }
    path
}

/// Unpacks an archive, without the folder around all of it, into a folder of the home.
fn unpack(world: &World, archive: &Path, folder: &str) {
    let target = world.home(folder);
    fs::create_dir_all(&target).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--strip-components=1", "--no-same-owner", "-xf"]).arg(archive).arg("-C").arg(&target);
    succeed(tar);
}

/// Gives the user everything in a project, and writes its manifest.
fn project(world: &World, name: &str, manifest: &str) {
    fs::create_dir_all(world.home(name)).unwrap();
    fs::write(world.home(name).join("pack.yaml"), manifest).unwrap();
    if is_root() {
        let mut own = Command::new("chown");
        own.arg("-R").arg(format!("{USER}:{USER}")).arg(world.home(name));
        succeed(own);
    }
}

/// Copies a folder of tests/plugins into the home.
fn copy_fixture(world: &World, name: &str, folder: &str) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins").join(name);
    let target = world.home(folder);
    fs::create_dir_all(&target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), target.join(entry.file_name())).unwrap();
    }
}

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
    let hash = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";
    let address = format!("{DEBIAN}/h/hello/hello_2.10.orig.tar.gz");
    let manifest = "name: hello\nversion: '2.10'\nbase: host\napps: {hello: {command: usr/bin/hello}}\n\
                    parts:\n  hello:\n    plugin: autotools\n    source: src\n    \
                    autotools-configure-parameters: [--disable-nls]\n";
    project(&world, "hello", &fetched(manifest, &address, hash));
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
    let hash = "bf88c40fd0f077dab2712f54f8d39ac952e4e9f2e1882f1195be9e5e4257417d";
    let address = format!("{DEBIAN}/f/figlet/figlet_2.2.5.orig.tar.gz");
    let manifest = "name: figlet\nversion: 2.2.5\nbase: host\nrootfs: merged\n\
                    apps: {figlet: {command: usr/bin/figlet}}\n\
                    parts:\n  figlet:\n    plugin: make\n    source: src\n    \
                    make-parameters: [prefix=/usr]\n";
    project(&world, "figlet", &fetched(manifest, &address, hash));
    world.install("figlet");
    let text = given(&world, &["figlet", "-f", "mini", "pack"], "");
    assert_eq!(text, "           \n._  _. _|  \n|_)(_|(_|< \n|          \n");
    assert_eq!(given(&world, &["figlet", "-I2"], ""), "/usr/share/figlet\n");
}

#[test]
fn cmake_builds_cmark_and_a_later_part_is_linked_with_it() {
    let world = World::with_key();
    let hash = "6c7d2bcaea1433d977d8fed0b55b71c9d045a7cdf616e3cd2dce9007da753db3";
    let address = format!("{DEBIAN}/c/cmark/cmark_0.30.2.orig.tar.gz");
    copy_fixture(&world, "page", "cmark/page");
    let manifest = "name: cmark\nversion: 0.30.2\nbase: host\n\
                    apps: {cmark: {command: usr/bin/cmark}, page: {command: usr/bin/page}}\n\
                    parts:\n  cmark:\n    plugin: cmake\n    source: src\n    cmake-generator: Ninja\n    \
                    cmake-parameters: [-DCMARK_TESTS=OFF, -DCMARK_STATIC=OFF]\n    \
                    build-packages: [cmake]\n  \
                    page: {plugin: make, source: page, after: [cmark]}\n";
    project(&world, "cmark", &fetched(manifest, &address, hash));
    world.install("cmark");
    assert_eq!(given(&world, &["cmark"], "*hi* `there`\n"), "<p><em>hi</em> <code>there</code></p>\n");
    assert_eq!(given(&world, &["cmark.page"], "# Title\n"), "<!-- cmark 0.30.2 -->\n<h1>Title</h1>\n");
}

#[test]
fn meson_builds_serd() {
    let world = World::with_key();
    let hash = "f50f486da519cdd8d03b20c9e42414e459133f5a244411d8e63caef8d9ac9146";
    let address = format!("{DEBIAN}/s/serd/serd_0.30.16.orig.tar.xz");
    let manifest = "name: serd\nversion: 0.30.16\nbase: host\napps: {serd: {command: usr/bin/serdi}}\n\
                    parts:\n  serd:\n    plugin: meson\n    source: src\n    build-packages: [meson]\n    \
                    meson-parameters: [-Ddocs=disabled, -Dtests=disabled]\n";
    project(&world, "serd", &fetched(manifest, &address, hash));
    world.install("serd");
    let turtle = "@prefix e: <http://example.org/> . e:a e:b e:c .";
    assert_eq!(
        given(&world, &["serd", "-o", "ntriples", "-"], turtle),
        "<http://example.org/a> <http://example.org/b> <http://example.org/c> .\n"
    );
}

/// Makes of a module's source what `go` downloads: arguments are the folder of the source, that of the versions, the module's
/// path, and the version.
const MODULE: &str = r#"
import os, shutil, sys, zipfile
source, versions, module, version = sys.argv[1:]
os.makedirs(versions)
with open(f"{versions}/{version}.info", "w") as file:
    file.write(f'{{"Version": "{version}"}}')
shutil.copy(f"{source}/go.mod", f"{versions}/{version}.mod")
with zipfile.ZipFile(f"{versions}/{version}.zip", "w") as archive:
    for folder, _, names in os.walk(source):
        for name in names:
            path = os.path.join(folder, name)
            archive.write(path, f"{module}@{version}/{os.path.relpath(path, source)}")
"#;

#[test]
fn go_builds_go_md2man_from_modules_with_the_hashes_of_its_go_sum() {
    let world = World::with_key();
    // The one module that it needs, as a folder that go can download from.
    let hash = "a13af0fc5305713f5154693feaf654d024689efea76390091a5e8c757335b4f4";
    let address = format!("{DEBIAN}/g/golang-blackfriday-v2/golang-blackfriday-v2_2.1.0.orig.tar.gz");
    unpack(&world, &archive(&world, &address, hash), "module");
    let module = "github.com/russross/blackfriday/v2";
    let mut make = Command::new("python3");
    make.args(["-c", MODULE]).arg(world.home("module"));
    make.arg(world.home(&format!("md2man/modules/{module}/@v"))).args([module, "v2.1.0"]);
    succeed(make);
    let manifest = "name: md2man\nversion: 2.0.2\nbase: host\napps: {md2man: {command: bin/go-md2man}}\n\
                    parts:\n  md2man:\n    plugin: go\n    source: src\n    build-packages: [golang-go]\n    \
                    build-environment: {GOPROXY: \"file://$PACK_PROJECT_DIR/modules\"}\n";
    let hash = "c42babc5ca841b9a487c80f52f386f004a2f43fd24cd518c75589c70b878245c";
    let address = format!("{DEBIAN}/g/go-md2man-v2/go-md2man-v2_2.0.2+ds1.orig.tar.xz");
    project(&world, "md2man", &fetched(manifest, &address, hash));
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
    let hash = "8bfb671f0b39505c197fdef3367f7f99af5d0e81a4e22289bb4c1f0e72251c90";
    unpack(&world, &archive(&world, HTTPIE, hash), "httpie/src");
    copy_fixture(&world, "httpie", "httpie/src");
    // docopt is there as a source archive alone.
    let manifest = "name: httpie\nversion: 3.2.2\nbase: host\n\
                    apps: {httpie: {command: bin/http}, python: {command: lib/venv/bin/python3}}\n\
                    parts:\n  httpie:\n    plugin: python\n    source: src\n    \
                    python-packages: [docopt==0.6.2]\n    python-constraints: [constraints.txt]\n";
    project(&world, "httpie", manifest);
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
    let manifest = "name: moo\nversion: '6.1'\nbase: none\napps: {moo: {command: bin/cowsay}}\n\
                    parts:\n  moo:\n    plugin: python\n    python-packages: [cowsay==6.1]\n    \
                    stage-packages: [python3]\n";
    project(&world, "moo", manifest);
    world.install("moo");
    let text = given(&world, &["moo", "-t", "staged"], "");
    assert!(text.contains("| staged |"), "{text}");
}

#[test]
fn npm_installs_markdown_it_with_what_its_lock_file_names() {
    let world = World::with_key();
    let hash = "7c4fab4d4d39fe98206a7fbbed4b1e3578f2b70b6b69d309413e33eec140e19f";
    unpack(&world, &archive(&world, MARKDOWN_IT, hash), "markdown/src");
    // The archive has no lock file, and what its authors test with is of no use here.
    copy_fixture(&world, "markdown-it", "markdown/src");
    let manifest = "name: markdown\nversion: 14.1.0\nbase: host\n\
                    apps: {markdown: {command: bin/markdown-it}}\n\
                    parts: {markdown: {plugin: npm, source: src}}\n";
    project(&world, "markdown", manifest);
    world.install("markdown");
    assert_eq!(given(&world, &["markdown", "-"], "*hi* <there\n"), "<p><em>hi</em> &lt;there</p>\n");
    let modules = part(&world, "markdown", "install/lib/node_modules/markdown-it/node_modules");
    assert!(modules.join(".package-lock.json").exists() && modules.join("linkify-it/package.json").exists());
}

#[test]
fn npm_brings_the_node_that_is_asked_for() {
    let world = World::new();
    copy_fixture(&world, "node-version", "node/src");
    let manifest = "name: node\nversion: '1'\nbase: host\nparts:\n  node:\n    plugin: npm\n    source: src\n    \
                    npm-include-node: true\n    npm-node-version: 20.11.1\n";
    project(&world, "node", manifest);
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
