//! Keys and words that a packager may bring along from `snapcraft.yaml`, or from the manual of a later pack, and that
//! this version has no use for: what to do instead of each.

use Kind::{Later, Never};
use Level::{App, Part, Top};

/// Where in a manifest a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Top,
    App,
    Part,
}

impl Level {
    /// The level of the keys under `path`.
    pub fn of(path: &[String]) -> Option<Level> {
        match path {
            [] => Some(Top),
            [group, _] if group == "apps" => Some(App),
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
    (Top, &["confinement"], Later, "leave it out: every package is confined, and plugs say what it may do"),
    (Top, &["adopt-info"], Never, "write version, summary and description here"),
    (Top, &["assumes"], Never, "leave it out: a package needs no feature of snapd"),
    (Top, &["build-base"], Never, "leave it out: parts are built with the tools of the machine that builds"),
    (Top, &["compression"], Later, "leave it out: images are compressed with zstd"),
    (Top, &["epoch"], Later, "leave it out"),
    (Top, &["platforms"], Later, "list the architectures as `architectures: [amd64, arm64]`"),
    (
        Top,
        &["layout"],
        Later,
        "use `rootfs: merged`: the package's usr, etc and opt then lie where they were built for",
    ),
    (
        Top,
        &["hooks"],
        Later,
        "prepare files with the scripts of a part, or let the app's command do it when it starts",
    ),
    (
        Top,
        &["package-repositories"],
        Later,
        "stage-packages come from the sources in /etc/apt of the machine that builds",
    ),
    (Top, &["system-usernames"], Never, "leave it out: an app runs as the user who starts it"),
    (Top, &["provenance", "ua-services", "lint", "components"], Never, "leave it out"),
    (Top, &["passthrough"], Never, "write the keys themselves"),
    (Top, &["links"], Later, "use website, contact, source-code, issues and donation"),
    (
        App,
        &[
            "daemon",
            "daemon-scope",
            "install-mode",
            "activates-on",
            "bus-name",
            "sockets",
            "listen-stream",
            "timer",
            "stop-command",
            "stop-timeout",
            "stop-mode",
            "start-timeout",
            "reload-command",
            "refresh-mode",
            "restart-condition",
            "restart-delay",
            "restart-max",
            "post-stop-command",
            "success-exit-status",
            "watchdog-timeout",
            "after",
            "before",
            "health",
        ],
        Later,
        "there are no services yet: leave it out, and start the app with `pack run` from a unit of your own",
    ),
    (App, &["command-chain"], Later, "make the command a script that ends in exec"),
    (
        App,
        &["adapter", "extensions"],
        Never,
        "take what the extension would add from stage-packages and plugs",
    ),
    (App, &["aliases"], Later, "name the app as its command is to be called"),
    (App, &["autostart", "completer", "common-id"], Later, "leave it out"),
    (App, &["passthrough"], Never, "write the keys themselves"),
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
    ("type", &["gadget", "kernel", "snapd", "os", "core"], "a package is an app or a base"),
    (
        "base",
        &["core", "core18", "core20", "core22", "core24", "core26"],
        "use `base: host`, or `base: none` with stage-packages",
    ),
    ("base", &["bare"], "call it `base: none`"),
];
