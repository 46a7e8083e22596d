//! rust: `cargo fetch`, then `cargo install` of each crate of `rust-path`, of the source itself where there are none.
//!
//! Everything is as `Cargo.lock` says. Crates are fetched into CARGO_HOME, a folder of the part's own.

use std::collections::BTreeMap;

use pack_schemas::manifest::{Part, Plugin};

use super::{Command, Places, PluginError, Recipe, tool, variables};

/// A newer cargo of Debian's, which has the program of that name too.
const NEWER: &str = "cargo-web";

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    let package = if part.build_packages.iter().any(|name| name == NEWER) { NEWER } else { "cargo" };
    Recipe {
        tools: vec![tool("cargo", package)],
        usual: vec!["gcc", "libc6-dev", "pkg-config", "ca-certificates"],
        pull: pull(part, places),
        build: Ok(crates(part).map(|folder| install(part, places, folder)).collect()),
        ..Recipe::default()
    }
}

pub(super) fn environment(places: &Places<'_>) -> BTreeMap<String, String> {
    variables([
        ("CARGO_HOME", format!("{}/cargo", places.fetched)),
        ("CARGO_TERM_PROGRESS_WHEN", "never".to_owned()),
    ])
}

fn crates(part: &Part) -> impl Iterator<Item = &str> {
    let own = part.rust_path.is_empty().then_some(".");
    part.rust_path.iter().map(|folder| folder.as_str()).chain(own)
}

fn pull(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    let fetch = |manifest: String| Command::new("cargo", ["fetch", "--locked", "--manifest-path", &manifest]);
    // The crates of a workspace have one lock file, beside the workspace's manifest.
    let mut pull: Vec<Command> = if part.rust_path.is_empty() || places.has("Cargo.toml") {
        places.need(Plugin::Rust, &["Cargo.toml"])?;
        places.need_lock(Plugin::Rust, "Cargo.lock", "cargo generate-lockfile")?;
        vec![fetch("Cargo.toml".to_owned())]
    } else {
        crates(part).map(|folder| fetch(format!("{folder}/Cargo.toml"))).collect()
    };
    // When cargo used what: of no use here, and different every time.
    pull.push(Command::new("rm", ["-f", &format!("{}/cargo/.global-cache", places.fetched)]));
    Ok(pull)
}

fn install(part: &Part, places: &Places<'_>, folder: &str) -> Command {
    let mut arguments = vec!["install", "--locked", "--offline", "--no-track", "--force", "--path", folder];
    arguments.extend(["--root", places.install]);
    if part.rust_no_default_features {
        arguments.push("--no-default-features");
    }
    let features = part.rust_features.join(",");
    if !features.is_empty() {
        arguments.extend(["--features", &features]);
    }
    Command::new("cargo", arguments).with(&[places.jobs()])
}
