//! go: `go mod download`, then `go install ./...`, after a run of `go generate` for each of `go-generate`.
//!
//! Modules are as `go.sum` says, and fetched into a folder of the part's own; those of a source with a `vendor` folder are there.

use std::collections::BTreeMap;

use pack_schemas::manifest::{Part, Plugin};

use super::{Command, Places, PluginError, Recipe, tool, variables};

pub(super) fn recipe(part: &Part, places: &Places<'_>) -> Recipe {
    Recipe {
        tools: vec![tool("go", "golang-go")],
        usual: vec!["gcc", "libc6-dev", "pkg-config", "ca-certificates"],
        pull: pull(places),
        build: build(part, places),
        ..Recipe::default()
    }
}

/// Paths of the building folder go into no program (`-trimpath`), nor what git says of it; and the folder of modules can
/// be removed like any other.
pub(super) fn environment(places: &Places<'_>) -> BTreeMap<String, String> {
    variables([
        ("GOMODCACHE", format!("{}/go", places.fetched)),
        ("GOBIN", format!("{}/bin", places.install)),
        ("GOFLAGS", "-trimpath -buildvcs=false -modcacherw".to_owned()),
        ("GOTOOLCHAIN", "local".to_owned()),
    ])
}

fn pull(places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    places.need(Plugin::Go, &["go.mod"])?;
    let vendored = places.has("vendor");
    Ok(if vendored { Vec::new() } else { vec![Command::new("go", ["mod", "download"])] })
}

fn build(part: &Part, places: &Places<'_>) -> Result<Vec<Command>, PluginError> {
    places.need(Plugin::Go, &["go.mod"])?;
    let run = |arguments: Vec<&str>| Command::new("go", arguments).set("GOPROXY", "off");
    let generate = part
        .go_generate
        .iter()
        .map(|words| run(["generate"].into_iter().chain(words.split_whitespace()).collect()));
    let jobs = places.parallel.to_string();
    let tags = part.go_buildtags.join(",");
    let mut install = vec!["install", "-p", &jobs];
    if !tags.is_empty() {
        install.extend(["-tags", &tags]);
    }
    install.push("./...");
    Ok(generate.chain([run(install)]).collect())
}
