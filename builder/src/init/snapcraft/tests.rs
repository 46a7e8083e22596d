//! What becomes of a `snapcraft.yaml`.

use pack_schemas::manifest::Manifest;
use proptest::prelude::*;

use super::*;

/// The lines of the manifest, without those of its head, and the notes as `LINE KEY: INSTEAD`.
fn translated(text: &str) -> (String, Vec<String>) {
    let made = translate(text.as_bytes(), "snapcraft.yaml").unwrap();
    let body = made.text.split_once("\n\n").unwrap().1.to_owned();
    let notes =
        made.notes.iter().map(|note| format!("{} {}: {}", note.line, note.key, note.instead)).collect();
    (body, notes)
}

#[track_caller]
fn assert_note(notes: &[String], start: &str, words: &str) {
    assert!(
        notes.iter().any(|note| note.starts_with(start) && note.contains(words)),
        "{start} {words}: {notes:#?}"
    );
}

const WINDOWS: &str = r#"name: viewer
base: core24
adopt-info: viewer
title: Viewer
summary: Looks at things
description: |
  Several lines
  of text.
grade: stable
confinement: strict
compression: lzo
contact: [https://example.org/talk, someone@example.org]
platforms:
  amd64:
  arm64:
    build-on: [amd64]
    build-for: [arm64]
  riscv64:
icon: snap/gui/viewer.png
environment:
  DATA: $SNAP/usr/share/viewer
  NUMBER: 3
layout:
  /usr/share/viewer:
    bind: $SNAP/usr/share/viewer
  /var/lib/viewer:
    bind: $SNAP_COMMON/state
  $SNAP/etc: {bind: $SNAP_DATA/etc}
  /run/viewer: {bind: $SNAP_DATA/run}
plugs:
  gtk-3-themes:
    interface: content
    target: $SNAP/data-dir/themes
    default-provider: gtk-common-themes
  notes: {interface: personal-files, write: [$HOME/.notes]}
  old: {interface: unity7}
hooks:
  configure: {plugs: [network]}
  connect-plug-notes:
apps:
  viewer:
    command: usr/bin/viewer --quiet "a b" $SNAP/x
    command-chain: [snap/command-chain/desktop-launch, $SNAP/bin/prepare]
    extensions: [gnome]
    plugs: [home, notes, unity7, gtk-3-themes]
    desktop: usr/share/applications/viewer.desktop
    completer: complete.sh
  helper:
    command: bin/helper
    daemon: simple
    daemon-scope: user
    stop-timeout: 30s
    sockets:
      local: {listen-stream: $SNAP_USER_COMMON/helper.sock, socket-mode: 0600}
parts:
  viewer:
    plugin: meson
    source: .
    source-subdir: app
    meson-parameters: [--prefix=/usr]
    build-packages: [libgtk-3-dev]
    stage-packages:
      - libgtk-3-0
      - on amd64: [libx]
    build-snaps: [node]
    build-environment:
      - CFLAGS: -O2
    override-build: |
      craftctl default
      craftctl set version=1
      sed -i "s|/usr|$SNAP|" "$SNAPCRAFT_PART_INSTALL/x"
    prime: [usr, -usr/include]
  site:
    plugin: flutter
    source: https://example.org/site.tar.gz
    source-checksum: sha256/0000000000000000000000000000000000000000000000000000000000000000
"#;

#[test]
fn a_program_with_windows_is_carried_over() {
    let (body, notes) = translated(WINDOWS);
    let manifest = Manifest::from_yaml(body.as_bytes()).unwrap_or_else(|error| panic!("{error:?}\n{body}"));
    let name = |name: &str| name.parse().unwrap();
    assert_eq!(manifest.environment["DATA"], "$PACK/usr/share/viewer");
    assert_eq!(manifest.environment["NUMBER"], "3");
    assert_eq!(manifest.architectures.len(), 2);
    assert_eq!(manifest.contact.as_deref(), Some("https://example.org/talk"));
    assert_eq!(manifest.layout.keys().collect::<Vec<_>>(), ["/usr/share/viewer", "/var/lib/viewer"]);
    let app = &manifest.apps[&name("viewer")];
    assert_eq!(app.command.as_str(), "usr/bin/viewer");
    assert_eq!(app.args, ["--quiet", "a b", "$PACK/x"]);
    assert_eq!(app.command_chain.iter().map(|path| path.as_str()).collect::<Vec<_>>(), ["bin/prepare"]);
    let plugs: Vec<&str> = app.plugs.iter().map(|plug| plug.as_str()).collect();
    assert_eq!(plugs, ["desktop", "gsettings", "home", "notes", "opengl", "wayland", "x11"]);
    let helper = &manifest.apps[&name("helper")];
    assert_eq!(helper.sockets[&name("local")].socket_mode.unwrap().bits(), 0o600);
    let part = &manifest.parts[&name("viewer")];
    assert_eq!(part.build_environment["CFLAGS"], "-O2");
    assert_eq!(
        part.override_build.as_deref().unwrap().lines().last(),
        Some("sed -i \"s|/usr|$PACK|\" \"$PACK_PART_INSTALL/x\"")
    );
    assert_eq!(manifest.parts[&name("site")].plugin.as_str(), "nil");
    for (start, words) in [
        ("2 base", "core24: the host's /usr takes its place"),
        ("3 adopt-info", "write version"),
        ("11 compression", ""),
        ("12 contact", "the first was taken"),
        ("13 platforms", "riscv64"),
        ("19 icon", "its path in the package"),
        ("28 layout.$SNAP/etc", "let a part put"),
        ("29 layout./run/viewer", "/run is the sandbox's own"),
        ("31 plugs.gtk-3-themes", "themes and libraries"),
        ("36 plugs.old", "no interface unity7"),
        ("37 hooks", "does not run them"),
        ("39 hooks.connect-plug-notes", "hooks are"),
        ("42 apps.viewer.command", "variables in arguments"),
        ("43 apps.viewer.command-chain", "desktop-launch is snapcraft's"),
        ("44 apps.viewer.extensions", "gnome: its plugs are added"),
        ("45 apps.viewer.plugs", "no interface unity7"),
        ("45 apps.viewer.plugs", "no interface gtk-3-themes"),
        ("47 apps.viewer.completer", "outside of the sandbox"),
        ("50 apps.helper.daemon", "starts no services"),
        ("51 apps.helper.daemon-scope", "the user's own"),
        ("64 parts.viewer.stage-packages", "depends on the architecture"),
        ("65 parts.viewer.build-snaps", "stage-packages"),
        ("68 parts.viewer.override-build", "craftctl set"),
        ("74 parts.site.plugin", "flutter: use `plugin: nil`"),
    ] {
        assert_note(&notes, start, words);
    }
    // Nothing goes without a word: every key that the manifest does not have is in a note.
    let lines: Vec<usize> =
        notes.iter().map(|note| note.split(' ').next().unwrap().parse().unwrap()).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn the_notes_stand_at_the_head() {
    let made =
        translate(b"name: a-b\nversion: 1.10\nbase: bare\nassumes: [x]\n", "snap/snapcraft.yaml").unwrap();
    assert_eq!(
        made.text,
        "# Translated from snap/snapcraft.yaml by pack init.\n\
         # Not carried over, or not as it was (the lines are those of that file):\n\
         #   line 2, version: it is a number there, which may have lost a 0 at its end: look at it\n\
         #   line 3, base: bare: it is called none\n\
         #   line 4, assumes: leave it out: a package needs no feature of snapd\n\
         \n\
         name: a-b\nversion: \"1.1\"\n\nbase: none\n"
    );
}

#[test]
fn what_is_no_map_is_refused_with_its_place() {
    for text in ["", "- a\n", "a: b: c\n", "a: {b: 1, b: 2}\n", "x"] {
        assert!(translate(text.as_bytes(), "x").is_err(), "{text}");
    }
    let error = translate(b"name: a\nname: b\n", "x").unwrap_err();
    assert_eq!((error.line, error.column), (2, 1));
}

/// Forms that snapcraft takes and that are none of ours do not stop the rest.
#[test]
fn strange_values_are_noted_and_left_out() {
    let (body, notes) = translated(
        "name: a-b\nversion: git\nbase: core22\nplugs: [x]\nlayout: x\nhooks: {install: x}\napps: {a-b: {command: , plugs: x11, environment: [A]}}\n\
         parts: {p: {plugin: , source-type: svn, build-environment: x, permissions: x, organize: , stage: $docs, after: }, q: }\n\
         architectures: [{build-on: amd64, build-for: [arm64]}, i386]\nenvironment: {A: {x: y}, B: ~, C: true}\nconfinement: classic\n\
         website: [https://example.org]\nepoch: 1*\n",
    );
    let error = Manifest::from_yaml(body.as_bytes()).unwrap_err();
    assert!(error.message.contains("path inside the package"), "{error:?}\n{body}");
    for (start, words) in [
        ("2 version", "write the version down"),
        ("4 plugs", "no map"),
        ("5 layout", "no map"),
        ("6 hooks.install", "no map"),
        ("7 apps.a-b.command", "has to begin with a path in the package"),
        ("7 apps.a-b.environment", "no map"),
        ("8 parts.p.source-type", "override-pull"),
        ("8 parts.p.stage", "globs"),
        ("8 parts.q", "no map"),
        ("9 architectures", "not for i386"),
        ("10 environment.A", "no text"),
        ("11 confinement", "every package is confined"),
    ] {
        assert_note(&notes, start, words);
    }
}

const SEED: &str = WINDOWS;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// A damaged snapcraft.yaml is refused or translated, and what comes out is YAML whose head is comments.
    #[test]
    fn damaged_files_never_panic(edits in prop::collection::vec(
        (any::<prop::sample::Index>(), 0..6_usize, prop::sample::select(vec![
            "\n", " ", ": ", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "!t ", "'", "\"", "|", ">", "#", "~", "\t", "\0", "\u{85}", "é", "$", "${", "$SNAP", "1e9",
            "null", "[x]", "{y: z}", "\\", "- to arm64:\n",
        ])), 1..8))
    {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        check(&text)?;
    }

    #[test]
    fn random_yaml_never_panics(value in json()) {
        let text = serde_json::to_string(&value).unwrap();
        check(&text)?;
    }

    #[test]
    fn random_text_never_panics(text in any::<String>()) {
        check(&text)?;
    }
}

fn check(text: &str) -> Result<(), TestCaseError> {
    let Ok(made) = translate(text.as_bytes(), "x\ny") else { return Ok(()) };
    let read = serde_yaml::from_str::<serde_json::Value>(&made.text);
    prop_assert!(read.is_ok_and(|read| read.is_object()), "{}", made.text);
    let _ = Manifest::from_yaml(made.text.as_bytes());
    Ok(())
}

/// Maps of the keys of a snapcraft.yaml with values of any shape.
fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::{Value, json};
    let key = prop::sample::select(vec![
        "name",
        "version",
        "base",
        "plugs",
        "slots",
        "apps",
        "parts",
        "hooks",
        "layout",
        "environment",
        "command",
        "command-chain",
        "extensions",
        "plugin",
        "source",
        "sockets",
        "listen-stream",
        "socket-mode",
        "install",
        "/usr/x",
        "bind",
        "platforms",
        "architectures",
        "build-for",
        "permissions",
        "build-environment",
        "organize",
        "stage",
        "override-build",
        "interface",
        "default-provider",
        "epoch",
        "confinement",
        "x\u{1}",
        "desktop",
        "daemon",
        "adopt-info",
        "website",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        "[ -~]{0,20}".prop_map(Value::from),
        prop::sample::select(vec!["$SNAP/x", "gnome", "home", "\"", "'", "a 'b", "/snap/x", "é"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6).prop_map(|map| map
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<serde_json::Map<_, _>>()
                .into()),
        ]
    })
}
