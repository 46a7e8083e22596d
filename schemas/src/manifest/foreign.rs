//! Keys and words that a packager may bring along from `snapcraft.yaml`, or from the manual of a later pack, and that
//! this version has no use for: what to do instead of each.

use Kind::{Later, Never};
use Level::{App, Hook, Layout, Part, Top};

/// Where in a manifest a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Top,
    App,
    Hook,
    Layout,
    Part,
}

impl Level {
    /// The level of the keys under `path`.
    pub fn of(path: &[String]) -> Option<Level> {
        match path {
            [] => Some(Top),
            [group, _] if group == "apps" => Some(App),
            [group, _] if group == "hooks" => Some(Hook),
            [group, _] if group == "layout" => Some(Layout),
            [group, _] if group == "parts" => Some(Part),
            _ => None,
        }
    }
}

/// A key or word that is not ours.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foreign {
    kind: Kind,
    /// What to do instead.
    pub instead: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// It may come.
    Later,
    /// It means nothing for packages of this kind.
    Never,
}
impl Foreign {
    /// The end of a sentence that begins with the key.
    pub fn verdict(&self) -> &'static str {
        match self.kind {
            Later => "is not supported by this version of pack",
            Never => "is a key of snapcraft.yaml that has no meaning in a pack.yaml",
        }
    }
}

/// What to do instead of a key of snapcraft.yaml that a `pack.yaml` does not have; `path` are the keys that lead to it.
pub fn instead_of_key(path: &[String], name: &str) -> Option<&'static str> {
    Some(key(Level::of(path)?, name)?.instead)
}

/// What to do instead of a word of snapcraft.yaml's under a key that knows other words.
pub fn instead_of_word(key: &str, name: &str) -> Option<&'static str> {
    Some(word(key, name)?.instead)
}

/// Looks a key up.
pub(super) fn key(level: Level, key: &str) -> Option<Foreign> {
    let group = KEYS.iter().find(|(its_level, keys, ..)| *its_level == level && keys.contains(&key))?;
    Some(Foreign { kind: group.2, instead: group.3 })
}

/// Looks up what stands as the value of a key that takes one of a few words.
pub(super) fn word(key: &str, word: &str) -> Option<Foreign> {
    let group = WORDS.iter().find(|(its_key, words, _)| *its_key == key && words.contains(&word))?;
    Some(Foreign { kind: Later, instead: group.2 })
}

type Keys = (Level, &'static [&'static str], Kind, &'static str);

static KEYS: &[Keys] = &[
    (Top, &["adopt-info"], Never, "write version, summary and description here"),
    (Top, &["version-script"], Never, "write the version here"),
    (Top, &["assumes"], Never, "leave it out: a package needs no feature of snapd"),
    (Top, &["build-base"], Never, "leave it out: parts are built with the tools of the machine that builds"),
    (Top, &["build-packages"], Never, "write them in the part that needs them"),
    (Top, &["build-snaps"], Never, "install the tool on the machine that builds"),
    (Top, &["platforms"], Later, "list the architectures as `architectures: [amd64, arm64]`"),
    (
        Top,
        &["package-repositories"],
        Later,
        "stage-packages come from the sources in /etc/apt of the machine that builds",
    ),
    (Top, &["system-usernames"], Never, "leave it out: an app runs as the user who starts it"),
    (Top, &["components"], Never, "make a package of each, and show its files with a content plug"),
    (Top, &["provenance", "ua-services", "license-agreement", "license-version"], Never, "leave it out"),
    (Top, &["passthrough"], Never, "write the keys themselves"),
    (Top, &["links"], Later, "use website, contact, source-code, issues and donation"),
    (Top, &["gadget", "device-tree", "kernel-module"], Never, "leave it out: a package is an app or a base"),
    (
        App,
        &["daemon-scope"],
        Never,
        "leave it out: a service is the user's own, as with `daemon-scope: user`",
    ),
    (App, &["install-mode"], Never, "leave it out: a person enables a service"),
    (App, &["activates-on"], Never, "name what the service takes on the bus with `bus-name`"),
    (App, &["restart-max", "start-command"], Never, "leave it out"),
    (
        App,
        &["listen-stream", "socket-mode"],
        Never,
        "write it under a socket: `sockets: {NAME: {listen-stream: …}}`",
    ),
    (App, &["socket"], Never, "use sockets"),
    (
        App,
        &["extensions"],
        Never,
        "take what the extension would add from stage-packages and plugs; `pack init --from` tells what",
    ),
    (App, &["adapter"], Never, "leave it out: with `adapter: none` too, an app is started as its keys say"),
    (
        App,
        &["completer"],
        Later,
        "leave it out: a script of the package's would run in the person's own shell, outside of the sandbox",
    ),
    (App, &["passthrough"], Never, "write the keys themselves"),
    (Hook, &["command-chain"], Never, "make the hook a script that ends in exec"),
    (Hook, &["passthrough"], Never, "write the keys themselves"),
    (Layout, &["user", "group", "mode"], Never, "leave it out: what is shown has the mode that it has"),
    (
        Part,
        &["build-snaps", "stage-snaps"],
        Never,
        "use stage-packages, or install the tool on the machine that builds",
    ),
    (Part, &["parse-info"], Never, "write version, summary and description at the top"),
    (Part, &["filesets"], Never, "write the globs under stage and prime"),
    (Part, &["snap"], Never, "call it prime"),
    (Part, &["prepare", "build", "install"], Never, "use override-build"),
    (
        Part,
        &[
            "build-attributes",
            "disable-parallel",
            "overlay",
            "overlay-packages",
            "override-overlay",
            "overlay-script",
        ],
        Never,
        "leave it out",
    ),
    (
        Part,
        &[
            "rust-channel",
            "rust-use-global-lto",
            "rust-ignore-toolchain-file",
            "rust-inherit-ldflags",
            "rust-cargo-parameters",
        ],
        Later,
        "name the Rust toolchain in build-packages (rustc, cargo), or set cargo's variables in build-environment",
    ),
    (Part, &["cmake-generator-toolset"], Later, "leave it out"),
    (Part, &["npm-publish-to-binary"], Never, "leave it out"),
];

type Words = (&'static str, &'static [&'static str], &'static str);

static WORDS: &[Words] = &[
    (
        "plugin",
        &[
            "ant", "colcon", "conda", "crystal", "dotnet", "flutter", "gradle", "kernel", "maven", "poetry",
            "qmake", "ruby", "scons", "uv",
        ],
        "use `plugin: nil` and run the tool in override-build",
    ),
    (
        "confinement",
        &["classic"],
        "every package is confined: leave it out, and let plugs say what the app may do; `pack run --learn` finds them",
    ),
    (
        "algorithm",
        &["xz", "lzo", "gzip", "lz4"],
        "leave it out: images are compressed with zstd, and `level` says how hard",
    ),
    ("type", &["gadget", "kernel", "snapd", "os", "core"], "a package is an app or a base"),
    (
        "base",
        &["core", "core18", "core20", "core22", "core24", "core26"],
        "use `base: host`, or `base: none` with stage-packages",
    ),
    ("base", &["bare"], "call it `base: none`"),
];
