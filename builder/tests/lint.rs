//! What `lint` finds in trees with real programs, real links and real mistakes in them, and that it finds nothing in a
//! clean one. What installing would refuse is tested with the command.
#![allow(clippy::print_stdout)]

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pack_builder::assemble;
use pack_builder::lint::desktop::{ExportProblem, Exports};
use pack_builder::lint::listing::Listing;
use pack_builder::lint::{BaseFiles, CHECKS, Report, Request, Severity, lint};
use pack_launcher::package::Package;
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Architecture;
use proptest::prelude::*;

const HOST: &str = "name: app\nversion: '1'\nbase: host\n";
const MERGED: &str = "name: app\nversion: '1'\nbase: host\nrootfs: merged\n";
const NONE: &str = "name: app\nversion: '1'\nbase: none\n";

/// Installing is not what is tested here.
struct NoExports;

impl Exports for NoExports {
    fn problems(&self, _: &Manifest, _: &Listing) -> Vec<ExportProblem> {
        Vec::new()
    }
}

/// A folder of files.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Tree {
        Tree(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>, mode: u32) -> &Tree {
        fs::write(self.path(name), content).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    fn link(&self, name: &str, target: &str) -> &Tree {
        symlink(target, self.path(name)).unwrap();
        self
    }

    /// Compiles C source with gcc.
    fn compile(&self, name: &str, source: &str, arguments: &[&str]) -> &Tree {
        let sources = tempfile::tempdir().unwrap();
        let file = sources.path().join("source.c");
        fs::write(&file, source).unwrap();
        let output =
            Command::new("gcc").arg("-o").arg(self.path(name)).arg(&file).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        self
    }

    fn look(&self, manifest: &str) -> Report {
        let manifest = Manifest::from_yaml(manifest.as_bytes()).unwrap();
        let base = match manifest.base {
            pack_schemas::manifest::Base::Host => BaseFiles::Host(Path::new("/")),
            _ => BaseFiles::None,
        };
        self.look_on(&manifest, base)
    }

    fn look_on(&self, manifest: &Manifest, base: BaseFiles<'_>) -> Report {
        look(manifest, &Listing::of_folder(self.0.path()).unwrap(), base)
    }
}

fn look(manifest: &Manifest, files: &Listing, base: BaseFiles<'_>) -> Report {
    lint(&Request { manifest, architecture: Architecture::HOST, files, base, exports: &NoExports })
}

/// The findings as `id object`.
fn found(report: &Report) -> Vec<String> {
    report.findings.iter().map(|finding| format!("{} {}", finding.id, finding.object)).collect()
}

/// Asserts that these are the findings, and no others, each with something to do.
#[track_caller]
fn assert_found(report: &Report, expected: &[&str]) {
    let mut found = found(report);
    found.sort();
    let mut expected: Vec<&str> = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected, "{:#?}", report.findings);
    for finding in &report.findings {
        assert!(!finding.hint.is_empty() && !finding.message.is_empty(), "{finding:?}");
    }
}

/// The message and hint of the only finding of a check.
#[track_caller]
fn words(report: &Report, id: &str) -> String {
    let mut of_check = report.findings.iter().filter(|finding| finding.id == id);
    let finding = of_check.next().unwrap_or_else(|| panic!("no {id}: {:?}", found(report)));
    assert!(of_check.next().is_none(), "more than one {id}: {:?}", found(report));
    format!("{} — {}", finding.message, finding.hint)
}

const MAIN: &str = "int main(void) { return 0; }";
/// Needs nothing but the kernel.
const STATIC: &[&str] = &["-static"];
/// Keeps what is linked although no symbol of it is used.
const KEEP: &str = "-Wl,--no-as-needed";

fn program() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let tree = Tree::new();
        tree.compile("program", MAIN, &[]);
        fs::read(tree.path("program")).unwrap()
    })
}

#[test]
fn a_clean_tree_gives_nothing() {
    let tree = Tree::new();
    tree.compile("bin/app", MAIN, &[])
        .file("bin/script", "#!/bin/sh\n", 0o755)
        .file("share/text", "text", 0o644)
        .link("bin/other", "app")
        .link("share/null", "/dev/null")
        .link("share/own", "/app/share/text");
    let apps = "apps: {app: {command: bin/app, plugs: [network]}, script: {command: bin/script}}\n";
    assert_found(&tree.look(&format!("{HOST}{apps}")), &[]);
    let tree = Tree::new();
    tree.compile("usr/bin/app", MAIN, STATIC).link("usr/bin/b", "/usr/bin/app");
    assert_found(
        &tree.look(&format!("{NONE}apps: {{app: {{command: usr/bin/app}}, b: {{command: usr/bin/b}}}}\n")),
        &[],
    );
}

#[test]
fn libraries_are_found_as_the_dynamic_linker_finds_them() {
    let tree = Tree::new();
    let inside = |name: &str| tree.path(name).to_str().unwrap().to_owned();
    let library = |name: &str| {
        let soname = format!("-Wl,-soname,{}", name.rsplit('/').next().unwrap());
        tree.compile(name, "int f(void) { return 0; }", &["-shared", "-fPIC", &soname]);
    };
    for name in [
        "lib/libfound.so.1",
        "lib/app/libown.so.1",
        "lib/deep/libdeep.so.1",
        "gone/libgone.so.1",
        "lib/libidle.so.1",
    ] {
        library(name);
    }
    let all = [
        inside("lib/libfound.so.1"),
        inside("lib/app/libown.so.1"),
        inside("lib/deep/libdeep.so.1"),
        inside("gone/libgone.so.1"),
    ];
    let mut arguments = vec![KEEP, "-Wl,-rpath,$ORIGIN/../lib/app"];
    arguments.extend(all.iter().map(String::as_str));
    tree.compile("bin/app", MAIN, &arguments);
    fs::remove_dir_all(tree.path("gone")).unwrap();
    // A plugin in a folder of its own is loaded by name: no word of it.
    library("lib/plugins/libplugin.so");
    let manifest = format!("{HOST}apps: {{app: {{command: bin/app}}}}\n");
    let report = tree.look(&manifest);
    assert_found(
        &report,
        &["library-missing bin/app", "library-out-of-reach bin/app", "library-unused lib/libidle.so.1"],
    );
    assert!(
        words(&report, "library-missing")
            .contains("needs `libgone.so.1`, which is neither in the package nor on this host")
    );
    assert!(
        words(&report, "library-out-of-reach")
            .contains("needs `libdeep.so.1`, which is in the package at `lib/deep`")
    );
    assert_eq!(report.findings[0].severity, Severity::Error);
    // The variable that the hint names makes it found.
    let path = "environment: {LD_LIBRARY_PATH: '$PACK/lib/deep:$LD_LIBRARY_PATH'}\n";
    let report = tree.look(&format!("{manifest}{path}"));
    assert_found(&report, &["library-missing bin/app", "library-unused lib/libidle.so.1"]);
}

#[test]
fn what_only_the_host_has_is_told_with_its_debian_package() {
    let tree = Tree::new();
    tree.compile("bin/app", MAIN, &[KEEP, "-l:libz.so.1"]);
    let manifest = format!("{HOST}apps: {{app: {{command: bin/app}}}}\n");
    let report = tree.look(&manifest);
    assert_found(&report, &["library-of-host libz.so.1"]);
    assert!(
        words(&report, "library-of-host").contains("needed by `bin/app` — add `zlib1g` to stage-packages")
    );
    // With nothing of the host's there is neither the library, nor libc, nor the dynamic linker.
    let report = tree.look(&manifest.replace("base: host", "base: none"));
    let expected = ["interpreter-missing bin/app", "library-missing bin/app", "library-missing bin/app"];
    assert_found(&report, &expected);
    assert!(words(&report, "interpreter-missing").contains("ld-linux"));
    // A base that is not installed here.
    let manifest = Manifest::from_yaml(manifest.replace("base: host", "base: debian").as_bytes()).unwrap();
    let name = "debian".parse().unwrap();
    let report = tree.look_on(&manifest, BaseFiles::Missing(&name));
    assert_found(&report, &["library-unchecked libraries"]);
    assert!(words(&report, "library-unchecked").contains("`libc.so.6`"));
    // And one that is: what it has is no matter.
    let base = Tree::new();
    let (linker, libc) = host_libc();
    base.file(linker.strip_prefix('/').unwrap(), fs::read(&linker).unwrap(), 0o755).file(
        "usr/lib/libc.so.6",
        fs::read(libc).unwrap(),
        0o755,
    );
    let files = Listing::of_folder(base.0.path()).unwrap();
    assert_found(&tree.look_on(&manifest, BaseFiles::Package(&files)), &["library-missing bin/app"]);
}

/// The dynamic linker that programs ask for here, and the C library.
fn host_libc() -> (String, PathBuf) {
    let text = String::from_utf8_lossy(program()).into_owned();
    let linker = text.split('\0').find(|part| part.contains("/ld-linux")).unwrap();
    let linker = &linker[linker.find('/').unwrap()..];
    let triplet = Architecture::HOST.triplet().unwrap();
    (linker.to_owned(), format!("/lib/{triplet}/libc.so.6").into())
}

#[test]
fn a_version_of_symbols_that_a_library_lacks_is_told() {
    let tree = Tree::new();
    let sources = tempfile::tempdir().unwrap();
    let script = sources.path().join("versions");
    let build = |text: &str| {
        fs::write(&script, text).unwrap();
        let argument = format!("-Wl,--version-script={}", script.display());
        tree.compile(
            "lib/libv.so.1",
            "int f(void) { return 0; } int g(void) { return 0; }",
            &["-shared", "-fPIC", "-Wl,-soname,libv.so.1", &argument],
        );
    };
    build("V_1.2 { global: f; local: *; }; V_1.10 { global: g; } V_1.2;");
    let library = tree.path("lib/libv.so.1");
    tree.compile("bin/app", "int g(void); int main(void) { return g(); }", &[library.to_str().unwrap()]);
    let manifest = format!("{HOST}apps: {{app: {{command: bin/app}}}}\n");
    assert_found(&tree.look(&manifest), &[]);
    build("V_1.2 { global: f; g; local: *; };");
    let report = tree.look(&manifest);
    assert_found(&report, &["symbol-version-missing bin/app"]);
    let words = words(&report, "symbol-version-missing");
    assert!(
        words.contains("needs V_1.10 of `libv.so.1`, and the package's lacks it (it has V_1.2 at most)"),
        "{words}"
    );
}

#[test]
fn what_the_headers_of_programs_say_is_judged() {
    let tree = Tree::new();
    tree.compile("bin/stack", MAIN, &["-z", "execstack"]);
    tree.compile("bin/home", MAIN, &["-Wl,-rpath,/home/builder/lib:$ORIGIN/../lib:/app/lib:/usr/lib/app:"]);
    let quad = "extern int f(void); __asm__(\".text\\n.quad f\\n\");";
    tree.compile("lib/libtext.so", quad, &["-shared", "-fPIC", "-Wl,-z,notext"]);
    let padding = tempfile::NamedTempFile::new().unwrap();
    padding.as_file().set_len(2 << 20).unwrap();
    tree.file("bin/debug", program(), 0o755);
    let section = format!(".debug_info={}", padding.path().display());
    let status =
        Command::new("objcopy").args(["--add-section", &section]).arg(tree.path("bin/debug")).status();
    assert!(status.unwrap().success());
    // The machine stands at offset 18: another one, by its number (RISC-V).
    let mut other = program().to_vec();
    other[18..20].copy_from_slice(&243_u16.to_le_bytes());
    tree.file("bin/other", &other, 0o755);
    // 32 bits, and of ARM: a header, and no more.
    let mut arm = b"\x7fELF\x01\x01\x01".to_vec();
    arm.resize(52, 0);
    (arm[16], arm[18], arm[20], arm[40], arm[42]) = (2, 40, 1, 52, 32);
    tree.file("bin/arm", &arm, 0o755);
    // Cut off within its tables.
    tree.file("lib/libcut.so", &program()[..200], 0o644);
    let report = tree.look(HOST);
    assert_found(
        &report,
        &[
            "exec-stack bin/stack",
            "runpath-outside bin/home",
            "text-relocations lib/libtext.so",
            "not-stripped bin/debug",
            "elf-architecture bin/other",
            "elf-architecture bin/arm",
            "elf-malformed lib/libcut.so",
        ],
    );
    let runpath = words(&report, "runpath-outside");
    assert!(
        runpath.contains("has `/home/builder/lib`, `/usr/lib/app`, the working folder in its RUNPATH"),
        "{runpath}"
    );
    let bytes = report.findings.iter().find(|finding| finding.id == "not-stripped").unwrap().bytes;
    assert!(bytes.unwrap() >= 2 << 20);
    // Laid over the host's /usr, a folder there is the package's.
    let runpath = words(&tree.look(MERGED), "runpath-outside");
    assert!(runpath.contains("has `/home/builder/lib`, the working folder in"), "{runpath}");
    assert!(
        report
            .findings
            .iter()
            .any(|finding| finding.message.starts_with("is made for riscv64, and the package for"))
    );
}

#[test]
fn modes_kinds_and_names_are_judged() {
    let tree = Tree::new();
    tree.file("bin/set-uid", "", 0o4755)
        .file("share/open", "", 0o666)
        .file("share/shut", "", 0o200)
        .file("share/new\nline", "", 0o644)
        .file("share/Readme", "", 0o644)
        .file("share/README", "", 0o644);
    fs::write(tree.path("share").join(std::ffi::OsStr::from_bytes(b"latin-\xe9")), "").unwrap();
    let status = Command::new("mkfifo").arg(tree.path("share/fifo")).status().unwrap();
    assert!(status.success());
    std::os::unix::net::UnixListener::bind(tree.path("share/socket")).unwrap();
    let long = format!("{}/x", vec!["d".repeat(200); 6].join("/"));
    tree.file(&long, "", 0o644);
    let report = tree.look(HOST);
    assert_found(
        &report,
        &[
            "set-uid bin/set-uid",
            "world-writable share/open",
            "unreadable share/shut",
            "name-control-characters share/new\nline",
            "name-case share/Readme",
            "name-not-utf8 share/latin-\u{fffd}",
            "special-file share/fifo",
            "special-file share/socket",
            &format!("path-long {}", &long[..5 * 201 - 1]),
        ],
    );
    assert!(report.findings.iter().all(|finding| !finding.message.contains('\n')));
}

#[test]
fn links_lead_to_what_is_in_the_package() {
    let tree = Tree::new();
    tree.file("usr/share/data", "", 0o644)
        .link("usr/good", "share/data")
        .link("usr/escapes", "../../outside")
        .link("usr/broken", "share/gone")
        .link("usr/loop", "loop")
        .link("usr/misses", "/usr/share/data")
        .link("usr/of-host", "/usr/bin/env")
        .link("usr/passwd", "/etc/passwd")
        .link("usr/shadow", "/etc/shadow")
        .link("usr/share/doc/a/copyright", "../gone/copyright");
    let report = tree.look(HOST);
    let rest = [
        "link-escapes usr/escapes",
        "link-broken usr/broken",
        "link-broken usr/loop",
        "link-broken usr/shadow",
    ];
    assert_found(&report, &[&rest[..], &["link-absolute usr/misses", "link-absolute usr/of-host"]].concat());
    // What works is worth no warning: every Python package has such a link to its interpreter.
    let of = |path: &str| report.findings.iter().find(|finding| finding.object == path).unwrap().severity;
    assert_eq!((of("usr/misses"), of("usr/of-host")), (Severity::Warning, Severity::Note));
    // At the root they lead where they say.
    assert_found(&tree.look(MERGED), &rest);
    let none = tree.look(NONE);
    assert_found(&none, &[&rest[..], &["link-broken usr/of-host"]].concat());
}

#[test]
fn places_of_a_layout_are_there() {
    let tree = Tree::new();
    tree.file("share/data", "", 0o644)
        .link("good", "/opt/app/deep/data")
        .link("own", "/etc/app.conf")
        .link("broken", "/opt/app/deep/gone");
    let layout =
        "layout: {/opt/app/deep: {bind: $PACK/share}, /etc/app.conf: {symlink: $PACK_USER_DATA/app.conf}}\n";
    assert_found(&tree.look(&format!("{HOST}{layout}")), &["link-broken broken"]);
    assert_found(&tree.look(HOST), &["link-broken broken", "link-broken good", "link-broken own"]);
}

#[test]
fn a_folder_over_a_link_of_the_base_is_told() {
    let host = Tree::new();
    host.file("usr/lib/x", "", 0o644).link("lib", "usr/lib");
    let tree = Tree::new();
    tree.file("lib/y", "", 0o644);
    let manifest = Manifest::from_yaml(MERGED.as_bytes()).unwrap();
    let report = tree.look_on(&manifest, BaseFiles::Host(host.0.path()));
    assert_found(&report, &["top-clash lib"]);
    assert!(words(&report, "top-clash").contains("move what is in it to `usr/lib`"));
    let manifest = Manifest::from_yaml(HOST.as_bytes()).unwrap();
    assert_found(&tree.look_on(&manifest, BaseFiles::Host(host.0.path())), &[]);
}

#[test]
fn scripts_need_their_interpreters() {
    let tree = Tree::new();
    tree.file("bin/ours", "#!/app/bin/shell -e\n", 0o755)
        .file("bin/shell", "#!/bin/sh\n", 0o755)
        .file("bin/python", "#!/usr/bin/env python3\n", 0o755)
        .file("bin/env", "#!/usr/bin/env -S LC_ALL=C no-such-program -x\n", 0o755)
        .file("bin/gone", "#!/opt/gone/perl\n", 0o755)
        .file("share/not-run", "#!/opt/gone/perl\n", 0o644)
        .file("usr/share/doc/x/example", "#!/opt/gone/perl\n", 0o755);
    let manifest = format!("{HOST}apps: {{gone: {{command: bin/gone}}}}\n");
    let report = tree.look(&manifest);
    assert_found(
        &report,
        &[
            "script-interpreter-missing bin/env",
            "script-interpreter-missing bin/gone",
            "script-interpreter-of-host python3",
        ],
    );
    let severity =
        |object: &str| report.findings.iter().find(|finding| finding.object == object).unwrap().severity;
    // An app's own command will not start at all.
    assert_eq!((severity("bin/env"), severity("bin/gone")), (Severity::Warning, Severity::Error));
}

#[test]
fn secrets_are_known_by_name_and_content() {
    let tree = Tree::new();
    let pem = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n";
    let key = format!(
        "{{\"format\":1,\"name\":\"mine\",\"public\":\"{0}\",\"secret\":\"{0}\"}}\n",
        "ab".repeat(32)
    );
    for (name, content) in [
        (".env", "# comment\nTOKEN=abc\n"),
        ("home/.ssh/id_ed25519", pem),
        ("tls/server.pem", "-----BEGIN RSA PRIVATE KEY-----\n"),
        (".netrc", "machine x login y password z"),
        (".npmrc", "//registry/:_authToken=x"),
        (".aws/credentials", "[default]\naws_secret_access_key = x"),
        (".bash_history", "ls"),
        ("keys/mine.key", &key),
        (".git/HEAD", "ref: refs/heads/main"),
        // None of these holds a secret.
        ("tls/ca.pem", "-----BEGIN CERTIFICATE-----\n"),
        ("a/.env", "# nothing\n"),
        ("a/.npmrc", "registry=https://example.org"),
        ("a/id_rsa", "ssh-rsa AAAA"),
        ("a/config.json", "{}"),
        ("a/.git", "gitdir: ../x"),
        ("a/b.key", "{}"),
    ] {
        tree.file(name, content, 0o644);
    }
    tree.file("p.kdbx", [0x03, 0xd9, 0xa2, 0x9a, 0x67], 0o644);
    assert_found(
        &tree.look(HOST),
        &[
            "secret-file .env",
            "private-key home/.ssh/id_ed25519",
            "private-key tls/server.pem",
            "secret-file .netrc",
            "secret-file .npmrc",
            "secret-file .aws/credentials",
            "secret-file .bash_history",
            "secret-file p.kdbx",
            "pack-key keys/mine.key",
            "version-control .git",
        ],
    );
}

#[test]
fn what_the_manifest_names_has_to_be_there() {
    let tree = Tree::new();
    let entry = "[Desktop Entry]\nType=Application\nName=B\nExec=b\n";
    tree.file("bin/a", "#!/bin/sh\n", 0o644)
        .file("bin/b", "#!/bin/sh\n", 0o755)
        .file("usr/share/applications/b.desktop", entry, 0o644)
        .file("usr/share/applications/foreign.desktop", entry.replace("=b", "=foreign"), 0o644);
    let manifest = format!(
        "{HOST}icon: share/icon.png\nplugs: {{web: network, files: home, odd: netwrk}}\n\
         apps: {{a: {{command: bin/a, command-chain: [bin/b, bin/gone], plugs: [web, odd]}}, b: {{command: bin/b}}, c: {{command: bin/c}}}}\n"
    );
    let report = tree.look(&manifest);
    assert_found(
        &report,
        &[
            "command-not-executable bin/a",
            "command-missing bin/c",
            "command-missing bin/gone",
            "icon-missing share/icon.png",
            "plug-unused plugs.files",
            "interface-unknown plugs.odd",
            "desktop-not-named usr/share/applications/b.desktop",
        ],
    );
    assert!(words(&report, "interface-unknown").contains("did you mean `network`?"));
    assert!(
        words(&report, "desktop-not-named")
            .contains("`desktop: usr/share/applications/b.desktop` in the app b")
    );
}

#[test]
fn a_command_that_is_not_there_has_a_hint_that_helps() {
    let tree = Tree::new();
    tree.file("usr/bin/tool", "#!/bin/sh\n", 0o755).file("bin/good", "#!/bin/sh\n", 0o755);
    let hint = |command: &str, parts: &str| {
        let manifest = format!("{HOST}apps: {{a: {{command: '{command}'}}}}\n{parts}");
        words(&tree.look(&manifest), "command-missing")
    };
    let parts = "parts: {a: {plugin: nil}}\n";
    assert!(hint("bin/god", parts).contains("did you mean `bin/good`?"));
    assert!(hint("bin/tool", parts).contains("did you mean `usr/bin/tool`?"));
    assert!(hint("bin/good --flag", parts).contains("a command is a path alone: `bin/good`"));
    assert!(hint("share/other", parts).contains("below `.pack/prime`"));
    assert!(hint("bin/gone", "").contains("the manifest has no `parts`"));
}

#[test]
fn words_that_are_still_to_be_written_are_told() {
    let tree = Tree::new();
    let told = |texts: &str| {
        let report = tree.look(&format!("{HOST}{texts}"));
        report.findings.iter().map(|finding| format!("{} {}", finding.id, finding.object)).collect::<Vec<_>>()
    };
    // What `pack init` writes.
    assert_eq!(told("summary: 'TODO: what it is, in one line'\n"), ["placeholder-text summary"]);
    assert_eq!(
        told("title: TODO\nsummary: Does\ndescription: |\n\n  FIXME later\n"),
        ["placeholder-text description", "placeholder-text title"]
    );
    assert_eq!(told("summary: TODOs for all\ndescription: Keeps a list of what is TODO\n"), [""; 0]);
    assert_eq!(told("summary: TODO\nlint: {ignore: [placeholder-text]}\n"), [""; 0]);
}

#[test]
fn appstream_files_are_read() {
    let tree = Tree::new();
    let manifest = format!("{HOST}apps: {{app: {{command: bin/app, desktop: share/app.desktop}}}}\n");
    let report = |text: &str| {
        tree.file("bin/app", "#!/bin/sh\n", 0o755).file("share/app.desktop", "", 0o644);
        tree.file("usr/share/metainfo/app.metainfo.xml", text, 0o644);
        tree.look(&manifest)
    };
    let whole = "<?xml version='1.0'?><component type='desktop-application'><id>org.example.App</id>\
        <name>App</name><summary>Does</summary><metadata_license>CC0-1.0</metadata_license>\
        <project_license>MIT</project_license><developer id='x'><name>X</name></developer>\
        <description><p>Does it.</p></description><launchable type='desktop-id'>app.desktop</launchable>\
        <releases><release version='1' date='2024-01-01'/></releases></component>";
    assert_found(&report(whole), &[]);
    let at = "usr/share/metainfo/app.metainfo.xml";
    let incomplete = report(
        &whole
            .replace("summary>", "subject>")
            .replace("<releases>", "<releases><!--")
            .replace("</releases>", "--></releases>"),
    );
    assert_found(&incomplete, &[&format!("metainfo-incomplete {at}")]);
    assert!(words(&incomplete, "metainfo-incomplete").starts_with("has no summary, releases"));
    assert_found(
        &report(&whole.replace(">app.desktop", ">other.desktop")),
        &[&format!("metainfo-launchable {at}")],
    );
    let bomb = "<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;&a;'>]><component>&b;</component>";
    for malformed in [&whole[..200], "<html/>", bomb, &"<a>".repeat(100_000), &" ".repeat(2 << 20)] {
        assert_found(&report(malformed), &[&format!("metainfo-malformed {at}")]);
    }
    fs::remove_file(tree.path(at)).unwrap();
    assert_found(&tree.look(&manifest), &["metainfo-missing share/app.desktop"]);
}

#[test]
fn left_overs_are_told_with_what_they_cost() {
    let tree = Tree::new();
    tree.file("usr/lib/libx.a", format!("!<arch>\n{}", "x".repeat(5000)), 0o644)
        .file("usr/lib/libx.la", "# libx.la - a libtool library file\n", 0o644)
        .file("usr/include/x.h", "x".repeat(40_000), 0o644)
        .file("usr/share/doc/x/manual", "x".repeat(6 << 20), 0o644)
        .file("usr/lib/python3/x/__pycache__/gone.cpython-311.pyc", "x".repeat(700), 0o644)
        .file("usr/lib/python3/y/__pycache__/here.cpython-311.pyc", "x", 0o644)
        .file("usr/lib/python3/y/here.py", "", 0o644);
    let report = tree.look(HOST);
    assert_found(
        &report,
        &[
            "static-library usr/lib/libx.a",
            "libtool-archive usr/lib/libx.la",
            "headers usr/include",
            "documentation usr/share/doc",
            "bytecode-orphan usr/lib/python3/x/__pycache__",
        ],
    );
    let mut bytes: Vec<u64> = report.findings.iter().map(|finding| finding.bytes.unwrap()).collect();
    bytes.sort_unstable();
    assert_eq!(bytes, [35, 700, 5008, 40_000, 6 << 20]);
}

#[test]
fn the_manifest_can_ignore_and_is_told_of_rules_without_use() {
    let tree = Tree::new();
    tree.file("a/set", "", 0o4755).file("b/set", "", 0o4755).file("c", "", 0o666);
    let with = |rules: &str| tree.look(&format!("{HOST}lint: {{ignore: [{rules}]}}\n"));
    let report = with("world-writable, {set-uid: ['a/**']}");
    assert_found(&report, &["set-uid b/set"]);
    assert_eq!(report.ignored, 2);
    let mut report = with("set-uid, world-writable, exec-stack, setuid, {set-uid: ['x/*', '[']}");
    assert_found(&report, &["ignore-unused lint.ignore"; 4]);
    let all: String = report.findings.iter().map(|f| format!("{} {}\n", f.message, f.hint)).collect();
    for words in
        ["ignores `exec-stack`, which is not found", "did you mean `set-uid`?", "of `x/*`", "is not a glob"]
    {
        assert!(all.contains(words), "{words}: {all}");
    }
    report.be_strict();
    assert_eq!((report.count(Severity::Error), report.count(Severity::Warning)), (4, 0));
}

#[test]
fn a_package_is_judged_as_its_folder_without_unpacking_it() {
    let tree = Tree::new();
    tree.compile("bin/app", MAIN, &[KEEP, "-l:libz.so.1", "-z", "execstack"])
        .file(".env", "A=secret", 0o644)
        .file("usr/lib/libx.a", format!("!<arch>\n{}", "x".repeat(5000)), 0o644)
        .link("usr/broken", "gone");
    let manifest =
        Manifest::from_yaml(format!("{HOST}apps: {{app: {{command: bin/app}}}}\n").as_bytes()).unwrap();
    let output = tree.0.path().with_extension("pkg");
    let request = assemble::Request {
        prime: tree.0.path(),
        manifest: &manifest,
        architecture: Architecture::HOST,
        source_date_epoch: 1,
        keys: &[],
        output: &output,
        blocks: None,
        parallel: std::num::NonZeroUsize::MIN,
    };
    assemble::assemble(&request, &mut |_| ()).unwrap();
    let package = Arc::new(Package::open_path(&output).unwrap());
    fs::remove_file(&output).unwrap();
    let files = Listing::of_package(&package).unwrap();
    let (packed, folder) = (
        look(&manifest, &files, BaseFiles::Host(Path::new("/"))),
        tree.look_on(&manifest, BaseFiles::Host(Path::new("/"))),
    );
    assert_eq!(packed.findings, folder.findings);
    assert_found(
        &packed,
        &[
            "secret-file .env",
            "exec-stack bin/app",
            "library-of-host libz.so.1",
            "link-broken usr/broken",
            "static-library usr/lib/libx.a",
        ],
    );
}

#[test]
fn nothing_in_a_tree_makes_it_wait_or_read_outside() {
    let tree = Tree::new();
    let outside = Tree::new();
    outside.file("key.pem", "-----BEGIN PRIVATE KEY-----\n", 0o644);
    for name in [
        "lib/libfifo.so",
        ".env",
        "usr/share/metainfo/a.xml",
        "usr/share/applications/a.desktop",
        "id_rsa",
        "etc/ld.so.conf.d/x.conf",
    ] {
        assert!(Command::new("mkfifo").arg(tree.path(name)).status().unwrap().success());
    }
    for name in [
        "lib/libhuge.so",
        "huge.pem",
        "usr/lib/libhuge.a",
        "usr/share/metainfo/b.xml",
        "usr/share/applications/b.desktop",
    ] {
        tree.file(name, program(), 0o755);
        fs::OpenOptions::new().write(true).open(tree.path(name)).unwrap().set_len(1 << 40).unwrap();
    }
    // Through links there is nothing to be read: neither a file nor a folder.
    tree.link("link.pem", outside.path("key.pem").to_str().unwrap())
        .link("folder", outside.0.path().to_str().unwrap());
    tree.link("etc/ld.so.cache", "/dev/zero");
    let start = Instant::now();
    let report = tree.look(&format!("{MERGED}icon: huge.pem\n"));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(!found(&report).iter().any(|finding| finding.starts_with("private-key")), "{:?}", found(&report));
    assert_eq!(found(&report).iter().filter(|finding| finding.starts_with("special-file")).count(), 6);
}

#[test]
fn very_many_findings_are_counted_and_not_kept() {
    let tree = Tree::new();
    for number in 0..10_050 {
        fs::write(tree.0.path().join(format!("{number}\n")), "").unwrap();
    }
    let report = tree.look(HOST);
    assert_eq!((report.findings.len(), report.left_out), (10_000, 50));
}

/// What neither of the two files of tests finds has no test.
#[test]
fn every_check_has_a_case() {
    let sources = [
        include_str!("lint.rs"),
        include_str!("../../tests/lint.rs"),
        include_str!("../src/lint/listing.rs"),
    ];
    for check in CHECKS {
        let id = check.id;
        let has_case = |text: &&str| {
            text.contains(&format!("\"{id} "))
                || text.contains(&format!("\"{id}\""))
                || text.contains(&format!("[{id}]"))
        };
        assert!(sources.iter().any(has_case), "{id}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Tables are at the beginning and at the end of a file, so most changes go there.
    #[test]
    fn damaged_programs_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<[u8; 8]>(), 1..9_usize), 1..12),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = program().to_vec();
        for (at, place, value, length) in edits {
            let (from, size) = match place {
                0 => (0, 64),
                1 => (0, 1024),
                2 => (bytes.len() - 2048, 2048),
                _ => (0, bytes.len()),
            };
            let at = from + at.index(size);
            for (byte, value) in bytes[at..].iter_mut().zip(value).take(length) {
                *byte = value;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let tree = Tree::new();
        tree.file("lib/libx.so", &bytes, 0o755);
        let start = Instant::now();
        tree.look(HOST);
        prop_assert!(start.elapsed() < Duration::from_secs(10));
    }
}
