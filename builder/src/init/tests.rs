//! What is suggested for projects of each kind, and that whatever is suggested can be read.

use std::fs;

use pack_schemas::manifest::Manifest;
use proptest::prelude::*;

use super::*;

/// A folder called `some project` with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("some project-").tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn manifest(files: &[(&str, &str)]) -> Manifest {
    let folder = folder(files);
    let text = Suggestion::of(folder.path()).text();
    Manifest::from_yaml(text.as_bytes()).unwrap_or_else(|error| panic!("{error:?}\n{text}"))
}

/// Name, version, plugin and command.
fn told(files: &[(&str, &str)]) -> [String; 4] {
    let manifest = manifest(files);
    let app = manifest.apps.values().next().unwrap();
    let part = manifest.parts.values().next().unwrap();
    [
        manifest.name.to_string(),
        manifest.version.to_string(),
        part.plugin.as_str().to_owned(),
        app.command.to_string(),
    ]
}

#[test]
fn each_kind_of_project_is_known_by_its_files() {
    for (files, expected) in [
        (
            &[(
                "Cargo.toml",
                "[package]\nname = \"Rip_Grep\"\nversion = \"14.1.0\"\n[[bin]]\nname = \"rg\"\n",
            )][..],
            ["rip-grep", "14.1.0", "rust", "bin/rg"],
        ),
        (
            &[
                (
                    "Cargo.toml",
                    "[workspace]\nmembers = [\"lib\", \"cli\"]\n[workspace.package]\nversion = \"2.0.0\"\n",
                ),
                ("lib/Cargo.toml", "[package]\nname = \"x-lib\"\n"),
                ("cli/Cargo.toml", "[package]\nname = \"xy\"\nversion.workspace = true\n"),
                ("cli/src/main.rs", ""),
            ],
            ["xy", "2.0.0", "rust", "bin/xy"],
        ),
        (&[("go.mod", "module github.com/a/tool/v2\n\ngo 1.22\n")], ["tool", "0.1", "go", "bin/tool"]),
        (
            &[(
                "pyproject.toml",
                "[project]\nname = \"httpie\"\nversion = \"3.2\"\n[project.scripts]\nhttp = \"x:y\"\n",
            )],
            ["httpie", "3.2", "python", "bin/http"],
        ),
        (
            &[("pyproject.toml", "[tool.poetry]\nname = \"pp\"\nversion = \"1\"\n")],
            ["pp", "1", "python", "bin/pp"],
        ),
        (
            &[("setup.py", "setup(\n  name='old-tool', version=\"1.2\")\n")],
            ["old-tool", "1.2", "python", "bin/old-tool"],
        ),
        (
            &[(
                "setup.cfg",
                "[metadata]\nname = a-b\nversion = 1.0\n[options.entry_points]\nconsole_scripts =\n  ab = x:y\n",
            )],
            ["a-b", "1.0", "python", "bin/ab"],
        ),
        (
            &[("package.json", r#"{"name": "@scope/js-tool", "version": "4.0.1", "bin": {"jst": "x.js"}}"#)],
            ["js-tool", "4.0.1", "npm", "bin/jst"],
        ),
        (
            &[(
                "CMakeLists.txt",
                "cmake_minimum_required(VERSION 3.1)\nproject(Thing VERSION 1.5 LANGUAGES C)\nadd_executable(thing main.c)\n",
            )],
            ["thing", "1.5", "cmake", "usr/bin/thing"],
        ),
        (
            &[(
                "meson.build",
                "project('viewer', 'c',\n  version : '0.9', license: 'MIT')\nexecutable('view', 'a.c')\n",
            )],
            ["viewer", "0.9", "meson", "usr/bin/view"],
        ),
        (
            &[("configure.ac", "AC_INIT([GNU Hello], [2.12], [bug@x], [hello])\n"), ("Makefile", "")],
            ["gnu-hello", "2.12", "autotools", "usr/bin/hello"],
        ),
    ] {
        assert_eq!(told(files), expected, "{files:?}");
    }
    let [name, version, plugin, command] = told(&[("Makefile", "")]);
    assert!(name.starts_with("some-project"), "{name}");
    assert_eq!((version.as_str(), plugin.as_str()), ("0.1", "make"));
    assert_eq!(command, format!("usr/bin/{name}"));
    assert_eq!(told(&[])[2], "dump");
}

#[test]
fn a_program_with_windows_gets_its_entry_and_plugs() {
    let manifest = manifest(&[
        ("meson.build", "project('viewer', version: '1')\n"),
        (
            "data/org.example.Viewer.metainfo.xml.in",
            "<component><id>org.example.Viewer</id><name xml:lang=\"de\">Betrachter</name><name>Viewer</name>\
             <summary>Looks at things</summary><project_license>GPL-3.0-or-later</project_license>\
             <url type=\"bugtracker\">https://example.org/bugs</url></component>",
        ),
        (
            "data/org.example.Viewer.desktop.in",
            "[Desktop Entry]\nName=Other\nExec=viewer %U\nTerminal=false\n[Desktop Action x]\nName=No\n",
        ),
    ]);
    let app = manifest.apps.values().next().unwrap();
    assert_eq!(manifest.title.as_deref(), Some("Viewer"));
    assert_eq!(manifest.summary.as_deref(), Some("Looks at things"));
    assert_eq!(manifest.license.as_deref(), Some("GPL-3.0-or-later"));
    assert_eq!(manifest.issues.as_deref(), Some("https://example.org/bugs"));
    assert_eq!(app.common_id.as_deref(), Some("org.example.Viewer"));
    assert_eq!(app.desktop.as_ref().unwrap().as_str(), "usr/share/applications/org.example.Viewer.desktop");
    assert!(app.plugs.iter().any(|plug| plug.as_str() == "wayland"));
}

#[test]
fn what_no_manifest_can_have_is_left_out_or_made_fit() {
    let manifest = manifest(&[(
        "package.json",
        r#"{"name": "EVIL\u001b[31m name", "version": "1/2", "description": "a\u001b]0;x\n\nsecond\u2028", "license": "SEE LICENSE; rm", "homepage": "javascript:x", "bin": {"../../sh": "x"}}"#,
    )]);
    assert_eq!(manifest.name.as_str(), "evil-31m-name");
    assert_eq!(manifest.version.as_str(), "0.1");
    assert_eq!(manifest.summary.as_deref(), Some("a]0;x"));
    assert_eq!((manifest.license.as_deref(), manifest.website.as_deref()), (None, None));
    assert_eq!(manifest.apps.values().next().unwrap().command.as_str(), "bin/evil-31m-name");
}

#[test]
fn a_manifest_that_is_there_stays() {
    let folder = folder(&[("pack.yaml", "mine")]);
    assert_eq!(create(folder.path(), "theirs").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(folder.path().join("pack.yaml")).unwrap(), "mine");
    // Nor is a link followed, even one that leads nowhere.
    fs::remove_file(folder.path().join("pack.yaml")).unwrap();
    std::os::unix::fs::symlink("elsewhere", folder.path().join("pack.yaml")).unwrap();
    assert_eq!(create(folder.path(), "theirs").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn a_fifo_in_the_place_of_a_file_is_not_waited_for() {
    let folder = folder(&[]);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.path().join("Cargo.toml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o644),
        0,
    )
    .unwrap();
    assert_eq!(Suggestion::of(folder.path()).kind, Kind::Files);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Whatever the files of a project say, the suggestion is a manifest.
    #[test]
    fn every_suggestion_can_be_read(
        mark in prop::sample::select(vec!["Cargo.toml", "go.mod", "pyproject.toml", "setup.py", "setup.cfg", "package.json", "CMakeLists.txt", "meson.build", "configure.ac", "x.metainfo.xml", "x.desktop"]),
        text in prop_oneof![
            any::<String>(),
            "(project|setup|AC_INIT|add_executable|executable)\\((.|\n){0,60}",
            "\\[package\\]\nname = \"[^\"\n\\\\]{0,40}\"\nversion = \"[^\"\n\\\\]{0,40}\"\nlicense = \"[^\"\n\\\\]{0,20}\"\nhomepage = \"[^\"\n\\\\]{0,20}\"\n",
            "\\[Desktop Entry\\]\nName=.{0,60}\nComment=.{0,90}\nExec=.{0,30}\n",
        ],
    ) {
        let folder = folder(&[(mark, &text)]);
        let text = Suggestion::of(folder.path()).text();
        let read = Manifest::from_yaml(text.as_bytes());
        prop_assert!(read.is_ok(), "{:?}\n{}", read, text);
    }
}
