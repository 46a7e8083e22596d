//! Real programs of every kind that plugins build, as projects in a home.
//!
//! Sources come from Debian's archive, crates.io, PyPI and npm, each compared with its hash; what was downloaded is kept.
#![allow(dead_code)] // Each test file uses a part.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{USER, World, is_root, out, succeed};

const DEBIAN: &str = "http://deb.debian.org/debian/pool/main";

const HTTPIE: &str = "https://files.pythonhosted.org/packages/09/e0/11680a5c0d94742122835330b3250f91a3a5066970872e111cb3ac5ce204/httpie-3.2.2.tar.gz";
const MARKDOWN_IT: &str = "https://registry.npmjs.org/markdown-it/-/markdown-it-14.1.0.tgz";

/// GNU hello, by autotools. The project's folder in the home.
pub fn gnu_hello(world: &World) -> &'static str {
    let hash = "31e066137a962676e89f69d1b65382de95a7ef7d914b8cb956f41ea72e0f516b";
    let address = format!("{DEBIAN}/h/hello/hello_2.10.orig.tar.gz");
    let manifest = "name: hello\nversion: '2.10'\nbase: host\napps: {hello: {command: usr/bin/hello}}\n\
                    parts:\n  hello:\n    plugin: autotools\n    source: src\n    \
                    autotools-configure-parameters: [--disable-nls]\n";
    project(world, "hello", &fetched(manifest, &address, hash));
    "hello"
}

/// figlet, by make. The project's folder in the home.
pub fn figlet(world: &World) -> &'static str {
    let hash = "bf88c40fd0f077dab2712f54f8d39ac952e4e9f2e1882f1195be9e5e4257417d";
    let address = format!("{DEBIAN}/f/figlet/figlet_2.2.5.orig.tar.gz");
    let manifest = "name: figlet\nversion: 2.2.5\nbase: host\nrootfs: merged\n\
                    apps: {figlet: {command: usr/bin/figlet}}\n\
                    parts:\n  figlet:\n    plugin: make\n    source: src\n    \
                    make-parameters: [prefix=/usr]\n";
    project(world, "figlet", &fetched(manifest, &address, hash));
    "figlet"
}

/// cmark, by cmake in a root of Debian packages, and a program of a later part that is linked with it. The project's folder in the home.
pub fn cmark(world: &World) -> &'static str {
    let hash = "6c7d2bcaea1433d977d8fed0b55b71c9d045a7cdf616e3cd2dce9007da753db3";
    let address = format!("{DEBIAN}/c/cmark/cmark_0.30.2.orig.tar.gz");
    copy_fixture(world, "page", "cmark/page");
    let manifest = "name: cmark\nversion: 0.30.2\nbase: host\n\
                    apps: {cmark: {command: usr/bin/cmark}, page: {command: usr/bin/page}}\n\
                    parts:\n  cmark:\n    plugin: cmake\n    source: src\n    cmake-generator: Ninja\n    \
                    cmake-parameters: [-DCMARK_TESTS=OFF, -DCMARK_STATIC=OFF]\n    \
                    build-packages: [cmake]\n  \
                    page: {plugin: make, source: page, after: [cmark]}\n";
    project(world, "cmark", &fetched(manifest, &address, hash));
    "cmark"
}

/// serd, by meson. The project's folder in the home.
pub fn serd(world: &World) -> &'static str {
    let hash = "f50f486da519cdd8d03b20c9e42414e459133f5a244411d8e63caef8d9ac9146";
    let address = format!("{DEBIAN}/s/serd/serd_0.30.16.orig.tar.xz");
    let manifest = "name: serd\nversion: 0.30.16\nbase: host\napps: {serd: {command: usr/bin/serdi}}\n\
                    parts:\n  serd:\n    plugin: meson\n    source: src\n    \
                    meson-parameters: [-Ddocs=disabled, -Dtests=disabled]\n";
    project(world, "serd", &fetched(manifest, &address, hash));
    "serd"
}

/// go-md2man, by go, with the one module that it needs. The project's folder in the home.
pub fn go_md2man(world: &World) -> &'static str {
    // The one module that it needs, as a folder that go can download from.
    let hash = "a13af0fc5305713f5154693feaf654d024689efea76390091a5e8c757335b4f4";
    let address = format!("{DEBIAN}/g/golang-blackfriday-v2/golang-blackfriday-v2_2.1.0.orig.tar.gz");
    unpack(world, &archive(world, &address, hash), "module");
    let module = "github.com/russross/blackfriday/v2";
    let mut make = Command::new("python3");
    make.args(["-c", MODULE]).arg(world.home("module"));
    make.arg(world.home(&format!("md2man/modules/{module}/@v"))).args([module, "v2.1.0"]);
    succeed(make);
    let manifest = "name: md2man\nversion: 2.0.2\nbase: host\napps: {md2man: {command: bin/go-md2man}}\n\
                    parts:\n  md2man:\n    plugin: go\n    source: src\n    \
                    build-environment: {GOPROXY: \"file://$PACK_PROJECT_DIR/modules\"}\n";
    let hash = "c42babc5ca841b9a487c80f52f386f004a2f43fd24cd518c75589c70b878245c";
    let address = format!("{DEBIAN}/g/go-md2man-v2/go-md2man-v2_2.0.2+ds1.orig.tar.xz");
    project(world, "md2man", &fetched(manifest, &address, hash));
    "md2man"
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

/// ripgrep, by cargo, in a root with Debian's newer Rust, since the one of Debian 12 cannot read the crates' index of today. Compiled
/// without optimisation, which takes a tenth of the time. The project's folder in the home.
pub fn ripgrep(world: &World) -> &'static str {
    let hash = "f77b8032dc584527975f34aa5a897d0ef5a785573fda778771a614ff9da501d9";
    let address = "https://static.crates.io/crates/ripgrep/ripgrep-14.1.1.crate";
    let manifest = "name: ripgrep\nversion: 14.1.1\nbase: host\napps: {ripgrep: {command: bin/rg}}\n\
                    parts:\n  ripgrep:\n    plugin: rust\n    source: src\n    source-type: tar\n    \
                    build-packages: [cargo-web]\n    build-environment:\n      \
                    CARGO_PROFILE_RELEASE_OPT_LEVEL: '0'\n      CARGO_PROFILE_RELEASE_DEBUG: '0'\n";
    project(world, "ripgrep", &fetched(manifest, address, hash));
    "ripgrep"
}

/// httpie, by pip, for the host's interpreter. The project's folder in the home.
pub fn httpie(world: &World) -> &'static str {
    let hash = "8bfb671f0b39505c197fdef3367f7f99af5d0e81a4e22289bb4c1f0e72251c90";
    unpack(world, &archive(world, HTTPIE, hash), "httpie/src");
    copy_fixture(world, "httpie", "httpie/src");
    // docopt is there as a source archive alone.
    let manifest = "name: httpie\nversion: 3.2.2\nbase: host\n\
                    apps: {httpie: {command: bin/http}, python: {command: lib/venv/bin/python3}}\n\
                    parts:\n  httpie:\n    plugin: python\n    source: src\n    \
                    python-packages: [docopt==0.6.2]\n    python-constraints: [constraints.txt]\n";
    project(world, "httpie", manifest);
    "httpie"
}

/// cowsay, by pip, with an interpreter of Debian's packages. The project's folder in the home.
pub fn cowsay(world: &World) -> &'static str {
    let manifest = "name: moo\nversion: '6.1'\nbase: none\napps: {moo: {command: bin/cowsay}}\n\
                    parts:\n  moo:\n    plugin: python\n    python-packages: [cowsay==6.1]\n    \
                    stage-packages: [python3]\n";
    project(world, "moo", manifest);
    "moo"
}

/// markdown-it, by npm. The project's folder in the home.
pub fn markdown_it(world: &World) -> &'static str {
    let hash = "7c4fab4d4d39fe98206a7fbbed4b1e3578f2b70b6b69d309413e33eec140e19f";
    unpack(world, &archive(world, MARKDOWN_IT, hash), "markdown/src");
    // The archive has no lock file, and what its authors test with is of no use here.
    copy_fixture(world, "markdown-it", "markdown/src");
    let manifest = "name: markdown\nversion: 14.1.0\nbase: host\n\
                    apps: {markdown: {command: bin/markdown-it}}\n\
                    parts: {markdown: {plugin: npm, source: src}}\n";
    project(world, "markdown", manifest);
    "markdown"
}

/// A program that brings its Node.js. The project's folder in the home.
pub fn node_version(world: &World) -> &'static str {
    copy_fixture(world, "node-version", "node/src");
    let manifest = "name: node\nversion: '1'\nbase: host\nparts:\n  node:\n    plugin: npm\n    source: src\n    \
                    npm-include-node: true\n    npm-node-version: 20.11.1\n";
    project(world, "node", manifest);
    "node"
}

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
pub fn project(world: &World, name: &str, manifest: &str) {
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
