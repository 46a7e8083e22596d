//! Manifests as packagers write them, right and wrong: what is read, and where and how an error is told.

use pack_schemas::manifest::{Base, IgnoreRule, Manifest, ManifestError, Plugin, RootFs};
use proptest::prelude::*;

/// What every manifest needs.
const LEAST: &str = "name: hello\nversion: \"1.0\"\nbase: host\n";

fn read(text: &str) -> Result<Manifest, ManifestError> {
    Manifest::from_yaml(text.as_bytes())
}

/// [`LEAST`], three lines, with more lines after it.
fn with(text: &str) -> Result<Manifest, ManifestError> {
    read(&format!("{LEAST}{text}"))
}

/// Asserts place, words and hint of the error; `words` and `hint` have to be somewhere in message and hint.
#[track_caller]
fn assert_error(text: &str, place: (usize, usize), words: &str, hint: &str) {
    let error = read(text).expect_err(text);
    let told = format!("{text}\n→ {error:?}");
    assert!(error.message.contains(words), "words: {told}");
    assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "hint: {told}");
    assert_eq!((error.line, error.column), place, "{told}");
    assert!(error.length >= 1, "{told}");
}

#[track_caller]
fn assert_error_with(text: &str, place: (usize, usize), words: &str, hint: &str) {
    assert_error(&format!("{LEAST}{text}"), (place.0 + 3, place.1), words, hint);
}

#[test]
fn a_whole_manifest_is_read() {
    let manifest = read(
        r#"
name: galculator
version: "2.1.4"
title: Galculator
summary: A scientific calculator
description: |
  Several lines,
    of any form.
license: (MIT OR Apache-2.0) AND GPL-2.0-or-later WITH GCC-exception-3.1
icon: usr/share/icons/galculator.svg
website: https://example.org/
contact: someone@example.org
source-code: https://example.org/git
issues: mailto:bugs@example.org
donation: http://example.org/give
type: app
base: none
rootfs: merged
architectures: [amd64, arm64]
grade: devel
compression:
  level: 19
  block-size: 256K
environment:
  PATH: $PACK/bin:$PATH
  _x1: ""
apps:
  galculator:
    command: usr/bin/galculator
    args: [--fullscreen, "no"]
    environment: {GDK_BACKEND: x11}
    plugs: [x11, files]
    desktop: usr/share/applications/galculator.desktop
    working-dir: /tmp
plugs:
  files: home
  network:
  x11: {}
  content:
    interface: content
    target: themes
    read: [a, b]
    deep: {a: {b: [1, true]}}
parts:
  one:
    plugin: dump
    source: .
  two:
    plugin: nil
    after: [one]
    stage-packages: [libc6, g++, libstdc++6]
    build-environment: {CFLAGS: -O2}
    override-build: |
      if [[ x == x ]]; then echo "{$PACK_PART_BUILD}"; fi
    organize:
      usr/games/*: usr/bin/
    stage: ["*", -usr/share/man]
    prime:
      - usr/**/*.so
"#,
    )
    .unwrap();
    assert_eq!(manifest.name.as_str(), "galculator");
    assert_eq!(manifest.base, Base::None);
    assert_eq!(manifest.rootfs, RootFs::Merged);
    assert_eq!(manifest.description.as_deref(), Some("Several lines,\n  of any form.\n"));
    assert_eq!(manifest.environment["PATH"], "$PACK/bin:$PATH");
    let names = |name: &str| name.parse().unwrap();
    assert_eq!(manifest.interface_of(&names("files")), names("home"));
    assert_eq!(manifest.interface_of(&names("network")), names("network"));
    assert_eq!(manifest.plugs[&names("content")].attributes["deep"]["a"]["b"][0], 1);
    assert_eq!(manifest.parts[&names("one")].plugin, Plugin::Dump);
    assert_eq!(manifest.parts[&names("two")].prime, ["usr/**/*.so"]);
    let compression = manifest.compression;
    assert_eq!((compression.level.number(), compression.block_size.bytes()), (19, 256 << 10));
    assert_eq!(manifest.check(), Ok(()));
    let json = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
}

#[test]
fn the_least_manifest_has_the_defaults() {
    let manifest = with("").unwrap();
    assert_eq!(manifest.rootfs, RootFs::App);
    assert!(manifest.apps.is_empty() && manifest.architectures.is_empty());
    // What a manifest does not say stands in no envelope.
    assert!(manifest.compression.is_usual());
    assert!(!serde_json::to_string(&manifest).unwrap().contains("compression"));
}

#[test]
fn anchors_are_followed_within_bounds() {
    let manifest = with("environment: &e {A: b}\napps:\n  hello: {command: x, environment: *e}\n").unwrap();
    assert_eq!(manifest.main_app().unwrap().1.environment["A"], "b");
}

#[test]
fn a_build_environment_may_be_a_list_as_in_snapcraft() {
    let part =
        |environment: &str| format!("parts:\n  a:\n    plugin: nil\n    build-environment:\n{environment}");
    let manifest = with(&part("      - B: 'x: y'\n      - A: $B\n")).unwrap();
    let environment = &manifest.parts.values().next().unwrap().build_environment;
    assert_eq!((environment["A"].as_str(), environment["B"].as_str()), ("$B", "x: y"));
    assert!(with(&part("      []\n")).is_ok());
    assert_error_with(
        &part("      - A: x\n      - A: y\n"),
        (5, 7),
        "`build-environment` has to be a map",
        "",
    );
    assert_error_with(&part("      - A: x\n      - 1B: y\n"), (6, 9), "no name of a variable", "");
    assert_error_with(&part("      - A: 1\n"), (5, 12), "`A` has to be text", "A: \"1\"");
    assert_error_with(&part("      - A=b\n"), (5, 7), "has to be a map", "");
}

#[test]
fn findings_that_are_ignored_are_listed_as_in_snapcraft() {
    let manifest =
        with("lint:\n  ignore:\n    - exec-stack\n    - library-missing: [usr/lib/**/libfoo.so*, a]\n")
            .unwrap();
    let names = |name: &str| name.parse().unwrap();
    let files = [(names("library-missing"), vec!["usr/lib/**/libfoo.so*".to_owned(), "a".to_owned()])];
    let rules = [IgnoreRule::Everywhere(names("exec-stack")), IgnoreRule::Files(files.into())];
    assert_eq!(manifest.lint.ignore, rules);
    let json = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(serde_json::from_slice::<Manifest>(&json).unwrap(), manifest);
    assert!(!serde_json::to_string(&with("").unwrap()).unwrap().contains("lint"));
    assert_error_with("lint: {ignored: []}\n", (1, 8), "unknown key `ignored`", "`ignore`");
    assert_error_with("lint: {ignore: x}\n", (1, 16), "`ignore` has to be a list", "");
    assert_error_with("lint: {ignore: [1]}\n", (1, 17), "has to be a map", "");
    assert_error_with("lint: {ignore: [Exec_Stack]}\n", (1, 17), "Exec_Stack", "");
    assert_error_with("lint: {ignore: [{a: x}]}\n", (1, 21), "`a` has to be a list", "");
    assert_error_with("lint: {ignore: [{a: []}]}\n", (1, 21), "has no globs", "");
    assert_error_with("lint: {ignore: [{a: [/usr/lib]}]}\n", (1, 22), "relative to the package's root", "");
    assert_error_with("lint: {ignore: [{}]}\n", (1, 17), "is empty", "");
}

#[test]
fn unknown_keys_name_the_nearest() {
    assert_error_with("sumary: x\n", (1, 1), "unknown key `sumary`", "did you mean `summary`?");
    assert_error_with("apps:\n  hello:\n    comand: x\n", (3, 5), "unknown key `comand`", "`command`");
    assert_error_with(
        "parts:\n  a: {plugin: nil, stage_packages: []}\n",
        (2, 20),
        "`stage_packages`",
        "stage-packages",
    );
    assert_error_with("colour: x\n", (1, 1), "unknown key `colour`", "known here: name, version");
    assert_error("nmae: x\nversion: '1'\n", (1, 1), "unknown key `nmae`", "`name`");
    assert_error_with("\"evil\\u001b[31m\": x\n", (1, 1), "evil\\u{1b}[31m", "");
}

#[test]
fn keys_of_snapcraft_say_what_to_do_instead() {
    let never = "has no meaning in a pack.yaml";
    let later = "is not supported by this version of pack";
    for (text, place, words, hint) in [
        ("confinement: classic\n", (1, 14), "confinement `classic`", "pack run --learn"),
        ("assumes: [snapd2.5]\n", (1, 1), never, "leave it out"),
        ("components: {}\n", (1, 1), never, "content plug"),
        ("build-packages: [gcc]\n", (1, 1), never, "in the part"),
        ("hooks:\n  install:\n    command-chain: [x]\n", (3, 5), never, "ends in exec"),
        ("layout:\n  /usr/share/x: {bind: $PACK/x, mode: '0700'}\n", (2, 33), never, "the mode that it has"),
        ("adopt-info: x\n", (1, 1), never, "write version"),
        ("parts:\n  a:\n    rust-channel: stable\n", (3, 5), later, "in build-packages"),
        ("apps:\n  a:\n    command: x\n    daemon-scope: user\n", (4, 5), never, "the user's own"),
        ("apps:\n  a:\n    completer: x\n", (3, 5), later, "outside of the sandbox"),
        ("parts:\n  a:\n    stage-snaps: [x]\n", (3, 5), never, "stage-packages"),
        (
            "parts:\n  a:\n    plugin: gradle\n",
            (3, 13),
            "plugin `gradle` is not supported by this version",
            "`plugin: nil`",
        ),
        ("type: gadget\n", (1, 7), "type `gadget`", "app or a base"),
    ] {
        assert_error_with(text, place, words, hint);
    }
    assert_error("name: aa\nversion: '1'\nbase: core22\n", (3, 7), "base `core22`", "base: host");
    // Where such a word is no key of snapcraft's, it is an ordinary unknown key.
    assert_error_with("daemon: simple\n", (1, 1), "unknown key `daemon`", "");
}

#[test]
fn words_are_compared_with_those_that_there_are() {
    assert_error_with("rootfs: mergd\n", (1, 9), "`rootfs` cannot be `mergd`", "did you mean `merged`?");
    assert_error_with("grade: whatever\n", (1, 8), "`grade` cannot be `whatever`", "stable, devel");
    assert_error_with("architectures: [amd64, m68k]\n", (1, 24), "`architectures` cannot be `m68k`", "amd64");
    assert_error_with("parts: {a: {plugin: dmp}}\n", (1, 21), "`plugin` cannot be `dmp`", "dump");
}

#[test]
fn types_are_not_converted() {
    assert_error(
        "name: aa\nversion: 1.10\nbase: host\n",
        (2, 10),
        "has to be text, and this is a number",
        "version: \"1.10\"",
    );
    assert_error("name: aé\nversion: 1\n", (1, 7), "package name `aé` is not valid", "");
    for (text, place, words, hint) in [
        ("title: true\n", (1, 8), "has to be text, and this is a truth value", "title: \"true\""),
        ("title: [a]\n", (1, 8), "`title` has to be text, and this is a list", ""),
        ("title:\n", (1, 1), "`title` has no value", "give it one"),
        ("title: ~\n", (1, 1), "`title` has no value", "give it one"),
        ("apps: [a]\n", (1, 7), "`apps` has to be a map of keys, and this is a list", ""),
        ("apps:\n  hello:\n", (2, 3), "`hello` has no value", ""),
        ("apps:\n  hello: bin/x\n", (2, 10), "`hello` has to be a map of keys, and this is text", ""),
        (
            "apps:\n  hello: {args: x}\n",
            (2, 17),
            "`args` has to be a list, and this is text",
            "one entry a line",
        ),
        ("apps:\n  hello: {args: [x]}\n", (2, 3), "`hello` has no `command`", ""),
        ("apps:\n  hello: {command: [x]}\n", (2, 20), "`command` has to be text", ""),
        (
            "apps:\n  hello: {command: x, args: [a, 1]}\n",
            (2, 33),
            "has to be text, and this is a number",
            "\"1\"",
        ),
        ("environment: {A: 1}\n", (1, 18), "`A` has to be text", "A: \"1\""),
        ("environment: {A: 0x1F}\n", (1, 18), "`A` has to be text", "A: \"0x1F\""),
        ("environment: {A: 99999999999999999999999999}\n", (1, 18), "`A` has to be text", ""),
        ("parts: {a: {plugin: [dump]}}\n", (1, 21), "`plugin` has to be a word, and this is a list", ""),
        ("plugs: {a: 1}\n", (1, 12), "`a` has to be a map of keys, and this is a number", ""),
    ] {
        assert_error_with(text, place, words, hint);
    }
    assert_error("version: '1'\nbase: none\n", (1, 1), "the manifest has no `name`", "");
    assert_error(
        "version: '1'\nname: a-a\n",
        (1, 1),
        "the manifest has no `base`",
        "`base: host` is the host's /usr",
    );
    assert_error(
        "[a]",
        (1, 1),
        "the manifest has to be a map of keys, and this is a list",
        "no `- ` before them",
    );
    assert_error(
        "name: a-a\nversion: '1'\nbase: Host\n",
        (3, 7),
        "`Host` is not valid",
        "it can be: host, none, or",
    );
}

#[test]
fn names_and_paths_follow_their_rules() {
    assert_error("name: Hello\n", (1, 7), "package name `Hello` is not valid", "");
    assert_error("name: a1\nversion: '1 2'\n", (2, 10), "version `1 2` is not valid", "");
    for (text, place, words) in [
        ("apps:\n  My_App: {command: x}\n", (2, 3), "name `My_App` is not valid"),
        ("apps:\n  a: {command: /bin/sh}\n", (2, 16), "`/bin/sh` is not a path inside the package"),
        ("apps:\n  a: {command: x/../y}\n", (2, 16), "not a path inside the package"),
        ("apps:\n  a: {command: 'x y\\z'}\n", (2, 16), "no backslash"),
        ("apps:\n  a: {command: x, desktop: ../x.desktop}\n", (2, 28), "not a path inside the package"),
        ("apps:\n  a: {command: x, plugs: [Home]}\n", (2, 27), "name `Home` is not valid"),
        ("icon: /x.png\n", (1, 7), "not a path inside the package"),
        ("plugs: {a: Home}\n", (1, 12), "name `Home` is not valid"),
        ("parts: {A: {plugin: nil}}\n", (1, 9), "name `A` is not valid"),
    ] {
        assert_error_with(text, place, words, "");
    }
}

#[test]
fn equal_keys_are_refused_at_every_level() {
    for (text, place) in [
        ("title: a\ntitle: b\n", (2, 1)),
        ("name: other\n", (1, 1)),
        ("environment: {A: a, B: b, A: c}\n", (1, 27)),
        ("apps:\n  a: {command: x}\n  a: {command: y}\n", (3, 3)),
        ("apps:\n  a:\n    command: x\n    \"command\": y\n", (4, 5)),
        ("apps: {a: {command: x, environment: {X: a, X: a}}}\n", (1, 44)),
        ("plugs: {a: home, a: x11}\n", (1, 18)),
        ("plugs: {a: {b: {c: 1, c: 2}}}\n", (1, 23)),
        ("parts:\n  p: {plugin: nil}\n  p: {plugin: dump}\n", (3, 3)),
        ("parts: {p: {plugin: nil, build-environment: {A: a, A: b}}}\n", (1, 52)),
        ("parts: {p: {plugin: nil, organize: {a: b, a: c}}}\n", (1, 43)),
        ("environment: &a {A: b}\nplugs: {x: {y: {*z : 1}}}\n", (2, 17)),
    ] {
        let words = if text.contains("*z") { "not valid YAML" } else { "stands here a second time" };
        assert_error_with(text, place, words, "");
    }
}

#[test]
fn yaml_that_a_manifest_has_no_use_for_is_refused() {
    for (text, place, words) in [
        ("title: !secret x\n", (1, 8), "a YAML tag"),
        ("parts: !x {}\n", (1, 8), "a YAML tag"),
        ("parts: !x []\n", (1, 8), "a YAML tag"),
        ("apps:\n  <<: {a: b}\n", (2, 3), "merge keys"),
        ("? [a, b]\n: c\n", (1, 3), "a key has to be plain text"),
        ("title: *nothing\n", (1, 8), "not valid YAML: unknown anchor"),
        ("...\n---\ntitle: x\n", (3, 1), "a second YAML document begins here"),
        ("---\ntitle: x\n", (2, 1), "a second YAML document begins here"),
    ] {
        assert_error_with(text, place, words, "");
    }
    assert_error("%YAML 1.1\n---\nname: a\n", (1, 1), "directive", "");
    // A tag of YAML's own changes no type.
    assert_eq!(with("title: !!str 1\n").unwrap().title.as_deref(), Some("1"));
}

#[test]
fn broken_yaml_is_told_with_its_place() {
    // What a newcomer writes: the text, the place where it is wrong, what is told, and what to do.
    for (text, place, words, hint) in [
        ("apps:\n\thello: x\n", (2, 1), "a line is indented with a tab", "spaces, never with tabs"),
        (
            "title: a: b\n",
            (1, 9),
            "mapping values are not allowed",
            "put a text that has `: ` in it in quotes",
        ),
        ("title: [a\n", (1, 8), "the `[` that opens here is not closed", "a `]` behind the last"),
        ("title: [a b\nsummary: x\n", (1, 8), "the `[` that opens here is not closed", "commas"),
        (
            "apps: {a: {command: x}\n",
            (1, 7),
            "the `{` that opens here is not closed",
            "a `}` behind the last",
        ),
        ("title: \"a\n", (1, 8), "the quote that opens here is not closed", "put a `\"` at the end"),
        (
            "title: 'a\nsummary: x\n",
            (1, 8),
            "the quote that opens here is not closed",
            "put a `'` at the end",
        ),
        ("title: @a\n", (1, 8), "cannot start any token", "a text that begins with `@` in quotes"),
        ("title: %a\n", (1, 8), "cannot start any token", "a text that begins with `%` in quotes"),
        ("title: `a\n", (1, 8), "cannot start any token", "a text that begins with ``` in quotes"),
        (
            "parts: {a: {plugin: nil, prime: [*.so]}}\n",
            (1, 34),
            "not valid YAML",
            "begins with `*` in quotes",
        ),
        ("title: *a\n", (1, 8), "unknown anchor", "begins with `*` in quotes"),
        // The line above has no space behind its colon.
        ("title:a\nsummary: b\n", (1, 1), "`title:a` lacks a space", "write `title: a`"),
        // Keys that do not stand below one another.
        (
            "apps:\n  a:\n   command: x\n    plugs: []\n",
            (4, 5),
            "mapping values",
            "this line has 4 spaces before it, and the one above 3 spaces",
        ),
        (
            "apps:\n    a: {command: x}\n  b: {command: x}\n",
            (3, 3),
            "did not find expected key",
            "begin at the same column",
        ),
        (
            "parts:\n  a:\n    override-build: |\n    make\n    plugin: nil\n",
            (4, 5),
            "this is no key",
            "after `|` are indented more",
        ),
    ] {
        assert_error_with(text, place, words, hint);
    }
    for empty in ["", "\n\n", "# nothing\n", "---\n", "~"] {
        assert_error(empty, (1, 1), "the manifest is empty", "name, version, base");
    }
    let mut bytes = format!("{LEAST}title: é").into_bytes();
    bytes.extend(b"\xff\n");
    let error = Manifest::from_yaml(&bytes).unwrap_err();
    assert_eq!((error.line, error.column), (4, 9));
    assert!(error.message.contains("not UTF-8"), "{error:?}");
    for control in ["\0", "\u{1}", "\u{7f}"] {
        let error = with(&format!("title: a{control}\n")).unwrap_err();
        assert!(error.message.contains("not valid YAML"));
        assert_eq!((error.line, error.column), (4, 9), "{error:?}");
    }
    let utf16: Vec<u8> = "\u{feff}name: a".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let error = Manifest::from_yaml(&utf16).unwrap_err();
    assert!(error.message.contains("is UTF-16") && error.hint.unwrap().contains("UTF-8"));
    // What editors of Windows' write.
    assert_eq!(read(&format!("\u{feff}{LEAST}")).unwrap(), read(LEAST).unwrap());
    assert_eq!(read(&LEAST.replace('\n', "\r\n")).unwrap(), read(LEAST).unwrap());
    assert_error("\u{feff}nam: x\n", (1, 2), "unknown key `nam`", "did you mean `name`?");
}

#[test]
fn contents_are_checked() {
    let long = |length: usize| "x".repeat(length);
    for (text, place, words) in [
        (format!("title: {}\n", long(41)), (1, 8), "`title` has 41 characters; at most 40"),
        (format!("summary: {}\n", long(79)), (1, 10), "at most 78"),
        (format!("description: {}\n", long(4097)), (1, 14), "at most 4096"),
        ("title: ''\n".into(), (1, 8), "`title` is empty"),
        ("title: \"a\\nb\"\n".into(), (1, 8), "control character"),
        ("summary: \"a\\x1b[2J\"\n".into(), (1, 10), "control character"),
        ("description: \"a\\rb\"\n".into(), (1, 14), "control character"),
        ("license: MIT; rm\n".into(), (1, 10), "SPDX"),
        ("website: javascript:alert(1)\n".into(), (1, 10), "https://"),
        ("website: https://a b\n".into(), (1, 10), "https://"),
        ("issues: file:///etc/passwd\n".into(), (1, 9), "https://"),
        ("environment:\n  1A: x\n".into(), (2, 3), "`environment.1A` is no name of a variable"),
        ("environment:\n  A-B: x\n".into(), (2, 3), "no name of a variable"),
        ("environment:\n  '': x\n".into(), (2, 3), "no name of a variable"),
        ("environment:\n  A: \"x\\0\"\n".into(), (2, 6), "NUL"),
        ("apps:\n  a: {command: x, args: [a, \"b\\0\"]}\n".into(), (2, 29), "`apps.a.args.1` has a NUL"),
        ("apps:\n  a: {command: x, working-dir: tmp}\n".into(), (2, 32), "absolute"),
        ("apps:\n  a: {command: x, working-dir: /a/../b}\n".into(), (2, 32), "`..`"),
        ("apps:\n  a: {command: x, desktop: a.txt}\n".into(), (2, 28), ".desktop"),
        ("apps:\n  a: {command: x, environment: {'=': y}}\n".into(), (2, 33), "no name of a variable"),
        ("plugs:\n  a: {b: 1.5}\n".into(), (2, 10), "whole number"),
        ("plugs:\n  a: {b: .nan}\n".into(), (2, 10), "has no value"),
        ("plugs:\n  a: {b: {c: {d: {e: {f: g}}}}}\n".into(), (2, 26), "nested deeper"),
        ("plugs:\n  a: {b: [x, \"y\\n\"]}\n".into(), (2, 14), "control character"),
        ("compression: {level: 0}\n".into(), (1, 22), "zstd has no level 0"),
        ("compression: {level: 23}\n".into(), (1, 22), "1, the fastest, to 22"),
        ("compression: {level: '3'}\n".into(), (1, 22), "`level` has to be a whole number"),
        ("compression: {block-size: 100K}\n".into(), (1, 27), "`100K` is no block size"),
        ("compression: {algorithm: xz}\n".into(), (1, 26), "algorithm `xz` is not supported"),
        ("compression: xz\n".into(), (1, 14), "has to be a map of keys"),
        ("compression: {leval: 3}\n".into(), (1, 15), "unknown key `leval`"),
        ("base: hello\n".into(), (0, 0), ""),
        ("parts:\n  a: {plugin: dump}\n".into(), (2, 3), "no `source` to copy"),
        ("parts:\n  a: {plugin: nil, source: /etc}\n".into(), (2, 28), "inside the project"),
        ("parts:\n  a: {plugin: nil, source: a/../../b}\n".into(), (2, 28), "inside the project"),
        ("parts:\n  a: {plugin: nil, source: 'https://x/y.tar'}\n".into(), (2, 28), "source-checksum"),
        ("parts:\n  a: {plugin: nil, make-parameters: [x]}\n".into(), (2, 20), "for the plugin make"),
        ("parts:\n  a: {plugin: npm, npm-include-node: true}\n".into(), (2, 38), "npm-node-version"),
        (
            "parts:\n  a: {plugin: python, python-packages: [--index-url=x]}\n".into(),
            (2, 41),
            "option of pip",
        ),
        ("parts:\n  a: {plugin: nil, permissions: [{mode: '4755'}]}\n".into(), (2, 41), "octal"),
        (
            "parts:\n  a: {plugin: nil, stage-packages: [jq, Jq]}\n".into(),
            (2, 41),
            "no name of a Debian package",
        ),
        ("parts:\n  a: {plugin: nil, stage-packages: [-o]}\n".into(), (2, 37), "no name of a Debian package"),
        ("parts:\n  a: {plugin: nil, stage-packages: ['jq:arm64']}\n".into(), (2, 37), "write `jq`"),
        ("parts:\n  a: {plugin: nil, stage-packages: ['jq=1.6-2']}\n".into(), (2, 37), "write `jq`"),
        ("parts:\n  a: {plugin: nil, stage: [ok, -../x]}\n".into(), (2, 32), "without `.`, `..`"),
        ("parts:\n  a: {plugin: nil, prime: [/usr]}\n".into(), (2, 28), "relative to the package's root"),
        ("parts:\n  a: {plugin: nil, prime: [$docs]}\n".into(), (2, 28), "write its globs"),
        ("parts:\n  a: {plugin: nil, organize: {x: /y}}\n".into(), (2, 34), "relative to the package's root"),
        (
            "parts:\n  a: {plugin: nil, organize: {../x: y}}\n".into(),
            (2, 31),
            "relative to the package's root",
        ),
        ("parts:\n  a: {plugin: nil, after: [b, c]}\n  b: {plugin: nil}\n".into(), (2, 31), "no such part"),
        ("parts:\n  a: {plugin: nil, after: [a]}\n".into(), (2, 28), "a after a"),
    ] {
        if words.is_empty() {
            continue;
        }
        assert_error_with(&text, place, words, "");
    }
    assert_error("name: aa\nversion: '1'\nbase: aa\n", (3, 7), "is the package itself", "");
}

#[test]
fn lengths_are_counted_in_characters_and_the_longest_is_accepted() {
    let text = format!("title: {}\nsummary: {}\n", "é".repeat(40), "ü".repeat(78));
    assert!(with(&text).is_ok());
}

#[test]
fn a_base_has_no_apps_and_stands_on_nothing() {
    let base = |text: &str| format!("name: aa\nversion: '1'\ntype: base\n{text}");
    assert!(read(&base("base: none\n")).is_ok());
    assert_error(&base("base: host\n"), (4, 7), "has to be `none`", "");
    assert_error(&base("base: none\napps: {a: {command: x}}\n"), (5, 1), "`apps` cannot be there", "");
    assert_error(&base("base: none\nrootfs: merged\n"), (5, 9), "has no meaning", "");
}

#[test]
fn circles_of_parts_are_told_the_way_round() {
    let text = "parts:
  a: {plugin: nil, after: [b]}
  b: {plugin: nil, after: [free, c]}
  c: {plugin: nil, after: [d]}
  d: {plugin: nil, after: [b]}
  free: {plugin: nil}
";
    assert_error_with(text, (3, 34), "`parts.b.after.c` makes a circle: b after c after d after b", "");
}

#[test]
fn numbers_of_members_are_bounded() {
    let many = |count: usize, item: &dyn Fn(usize) -> String| (0..count).map(item).collect::<String>();
    let apps = |count| format!("apps:\n{}", many(count, &|at| format!("  a{at}: {{command: x}}\n")));
    let parts = |count| format!("parts:\n{}", many(count, &|at| format!("  p{at}: {{plugin: nil}}\n")));
    let variables = |count| format!("environment:\n{}", many(count, &|at| format!("  V{at}: x\n")));
    assert!(with(&apps(256)).is_ok());
    assert_error_with(&apps(257), (1, 1), "`apps` has more than 256 members", "");
    assert!(with(&parts(256)).is_ok());
    assert_error_with(&parts(257), (1, 1), "`parts` has more than 256 members", "");
    assert!(with(&variables(256)).is_ok());
    assert_error_with(&variables(257), (1, 1), "`environment` has more than 256 variables", "");
}

#[test]
fn a_manifest_of_2_mib_is_refused_before_it_is_parsed() {
    let text = format!("{LEAST}# {}\n", "x".repeat(2 << 20));
    assert_error(&text, (1, 1), "at most 1048576 are read", "");
    let most = format!("{LEAST}# {}\n", "x".repeat((1 << 20) - LEAST.len() - 3));
    assert_eq!(most.len(), 1 << 20);
    assert!(read(&most).is_ok());
}

#[test]
fn alias_bombs_are_refused_soon() {
    let mut bomb = String::from("environment:\n  a0: &a0 x\n");
    for level in 1..30 {
        let row = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("  a{level}: &a{level} [{row}]\n"));
    }
    let error = with(&bomb).unwrap_err();
    assert!(error.message.contains("grows too long"), "{error:?}");
    // Few aliases, but of many nodes; few nodes, but long ones.
    let wide = format!("environment: {{a: &a [{}], b: [{}]}}\n", "x, ".repeat(1000), "*a, ".repeat(100));
    let error = with(&wide).unwrap_err();
    assert!(error.message.contains("more than 65536 keys and values"), "{error:?}");
    let long = format!("environment: {{a: &a {}, b: [{}]}}\n", "x".repeat(500_000), "*a, ".repeat(5000));
    let error = with(&long).unwrap_err();
    assert!(error.message.contains("grows too long"), "{error:?}");
    let knot = with("environment: &a {x: *a}\n").unwrap_err();
    assert!(knot.message.contains("nested deeper"), "{knot:?}");
}

#[test]
fn deep_nesting_is_refused_without_deep_recursion() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("{? ", "}"), ("!x [", "]")] {
        let text = format!("{}x{}", open.repeat(10_000), close.repeat(10_000));
        assert!(read(&text).is_err(), "{open}");
        assert!(with(&format!("plugs: {{a: {text}}}\n")).is_err(), "{open}");
    }
    let brackets = "{a: ".repeat(200_000);
    assert_error(&brackets, (1, 65537), "more than 16384 opening brackets", "");
    let nested = format!("plugs: {}x{}\n", "{a: ".repeat(16), "}".repeat(16));
    assert_error_with(&nested, (1, 8 + 15 * 4), "nested deeper than 16 levels", "");
}

/// The same checks hold for a manifest that comes inside a package.
#[test]
fn a_manifest_from_a_package_is_checked_too() {
    let good = serde_json::to_value(with("apps: {hello: {command: bin/x}}\n").unwrap()).unwrap();
    let altered = |pointer: &str, value: serde_json::Value| {
        let mut json = good.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        json.pointer_mut(parent).unwrap()[key] = value;
        serde_json::from_value::<Manifest>(json).map(|manifest| manifest.check())
    };
    for (pointer, value, key) in [
        ("/title", "a\u{1b}]0;x".into(), "title"),
        ("/environment", serde_json::json!({"A=B": "x"}), "environment.A=B"),
        ("/apps/hello/environment", serde_json::json!({"A": "x\0"}), "apps.hello.environment.A"),
        ("/apps/hello/desktop", "x/y".into(), "apps.hello.desktop"),
        ("/apps/hello/working-dir", "../..".into(), "apps.hello.working-dir"),
        ("/plugs", serde_json::json!({"a": {"b": 0.5}}), "plugs.a.b"),
        ("/parts", serde_json::json!({"a": {"plugin": "nil", "after": ["a"]}}), "parts.a.after.a"),
        ("/layout", serde_json::json!({"/proc/x": {"bind": "$PACK/x"}}), "layout./proc/x"),
        ("/apps/hello/timer", "9:00".into(), "apps.hello.timer"),
    ] {
        let error = altered(pointer, value).unwrap().unwrap_err();
        assert_eq!(error.key, key);
    }
    for (pointer, value) in [
        ("/apps/hello/command", "/bin/sh".into()),
        ("/apps/hello/desktop", "a/../../b.desktop".into()),
        ("/apps/hello/daemon", "simpler".into()),
        ("/epoch", "0*".into()),
        ("/layout", serde_json::json!({"/usr/x": {"bind": "/etc"}})),
        ("/apps", serde_json::json!({"../x": {"command": "x"}})),
        ("/base", "../x".into()),
    ] {
        assert!(altered(pointer, value).is_err(), "{pointer}");
    }
}

/// A manifest with something of everything, to be damaged.
const SEED: &str = "name: aa\nversion: '1'\nbase: none\ntitle: \"é\\u00e9\"\ndescription: |\n  a\n  b\n\
    environment: &e {A: $PACK/x, B: 'y'}\napps:\n  aa:\n    command: bin/x\n    args: [a, \"b\"]\n    plugs: [home]\n\
    \x20   environment: *e\nplugs:\n  home:\n  files: {interface: home, write: [~]}\nparts:\n  p:\n    plugin: nil\n\
    \x20   after: []\n    organize: {a/*: b/}\n    prime: [-usr, '*']\n    override-build: >-\n      x\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Damaged manifests are read or refused; a place that is told lies in the text.
    #[test]
    fn damaged_manifests_never_panic(edits in prop::collection::vec(
        (any::<prop::sample::Index>(), 0..4_usize, prop::sample::select(vec![
            "\n", " ", "  ", ":", ": ", "- ", "[", "]", "{", "}", ",", "&a ", "*e", "!t ", "!!int ", "'", "\"", "|",
            ">", "#", "?", "%", "@", "~", "---\n", "...\n", "<<: ", "\t", "\0", "\u{85}", "\u{feff}", "é", "\\", "1",
            "1e9", "plugin", "name: b\n",
        ]), any::<bool>()), 1..6))
    {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, remove, insert, replace) in edits {
            let at = at.index(text.len());
            let end = if replace { (at + remove).min(text.len()) } else { at };
            text.splice(at..end, insert.chars());
        }
        let text: String = text.into_iter().collect();
        match read(&text) {
            Ok(manifest) => prop_assert_eq!(manifest.check(), Ok(())),
            Err(error) => {
                prop_assert!(error.line >= 1 && error.column >= 1 && error.length >= 1);
                prop_assert!(error.line <= text.split('\n').count() + text.matches('\u{85}').count() + 1, "{:?}", error);
                prop_assert!(!error.message.is_empty());
                prop_assert!(!error.message.contains(char::is_control), "{:?}", error);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::from_yaml(&bytes);
    }
}
