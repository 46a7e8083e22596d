//! What is done again after a change, and what is not: for each thing that a step reads, exactly the steps that run.

mod common;
mod workshop;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use pack_builder::parts::{Change, Step, StepError, Why};
use workshop::{Steps, Workshop, told, tree};

/// Three parts: a copied folder; a library; and a program that is built with the library.
const PARTS: &str = r#"  data:
    plugin: dump
    source: data
    stage: [-docs]
  lib:
    plugin: nil
    source: lib
    override-build: |
      grep -v '^#' text > "$PACK_PART_INSTALL/lib"
  app:
    plugin: nil
    source: app
    after: [lib]
    build-environment: [GREETING: hello]
    override-build: |
      head -n1 "$PACK_STAGE/lib" > "$PACK_PART_INSTALL/app"
      cat main >> "$PACK_PART_INSTALL/app"
"#;

fn shop() -> Workshop {
    let shop = Workshop::new(PARTS);
    shop.write("data/share/one", "1").write("data/share/two", "2").write("data/docs/manual", "read me");
    shop.write("lib/text", "first\nsecond\n# remark\n")
        .write("app/main", "main\n")
        .write("readme", "not used");
    symlink("one", shop.path("data/share/link")).unwrap();
    fs::hard_link(shop.path("data/share/one"), shop.path("data/share/same")).unwrap();
    shop
}

fn edit(shop: &Workshop, old: &str, new: &str) {
    let path = shop.path("pack.yaml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{old}");
    fs::write(path, text.replacen(old, new, 1)).unwrap();
}

#[track_caller]
fn built(shop: &Workshop) -> Steps {
    let mut steps = Steps::default();
    shop.build_until(Step::Prime, &mut steps).unwrap_or_else(|error| panic!("{}", told(&error)));
    steps
}

/// What a project that was never built comes to.
fn fresh(shop: &Workshop) -> Workshop {
    let other = Workshop::new("");
    let status = Command::new("cp").arg("-a").arg(shop.path(".")).arg(other.path(".")).status().unwrap();
    assert!(status.success());
    let fresh = Workshop { surroundings: shop.surroundings.clone(), ..other };
    fresh.open().work().clean().unwrap();
    built(&fresh);
    fresh
}

type Make = fn(&mut Workshop);

#[test]
fn each_change_runs_the_steps_that_read_it_and_no_others() {
    let data = ["pull data", "build data", "stage data", "prime data"];
    let cases: &[(&str, Make, &[&str])] = &[
        ("nothing", |_| (), &[]),
        (
            "times and modes",
            |shop| {
                for path in ["data/share/one", "lib/text"] {
                    let file = File::options().write(true).open(shop.path(path)).unwrap();
                    file.set_modified(SystemTime::now() + Duration::from_secs(9)).unwrap();
                    fs::set_permissions(shop.path(path), Permissions::from_mode(0o600)).unwrap();
                }
            },
            &[],
        ),
        (
            "a file that is no source",
            |shop| {
                shop.write("readme", "changed");
            },
            &[],
        ),
        (
            "another inode with the same content",
            |shop| {
                fs::remove_file(shop.path("data/share/one")).unwrap();
                shop.write("data/share/one", "1");
            },
            &[],
        ),
        (
            "the content of a file",
            |shop| {
                shop.write("data/share/one", "3");
            },
            &data,
        ),
        ("a new folder", |shop| fs::create_dir(shop.path("data/empty")).unwrap(), &data),
        ("a file gone", |shop| fs::remove_file(shop.path("data/share/two")).unwrap(), &data),
        (
            "an executable",
            |shop| {
                fs::set_permissions(shop.path("data/share/one"), Permissions::from_mode(0o755)).unwrap();
            },
            &data,
        ),
        (
            "a link",
            |shop| {
                fs::remove_file(shop.path("data/share/link")).unwrap();
                symlink("two", shop.path("data/share/link")).unwrap();
            },
            &data,
        ),
        (
            "what stage leaves out",
            |shop| {
                shop.write("data/docs/manual", "more");
            },
            &data[..3],
        ),
        (
            "a remark that the build drops",
            |shop| {
                shop.write("lib/text", "first\nsecond\n# other remark\n");
            },
            &["pull lib", "build lib"],
        ),
        (
            "what the program does not use of the library",
            |shop| {
                shop.write("lib/text", "first\nother\n");
            },
            &["pull lib", "build lib", "stage lib", "build app", "prime lib"],
        ),
        (
            "what it uses",
            |shop| {
                shop.write("lib/text", "other\n");
            },
            &["pull lib", "build lib", "stage lib", "build app", "stage app", "prime lib", "prime app"],
        ),
        (
            "the program's source",
            |shop| {
                shop.write("app/main", "MAIN\n");
            },
            &["pull app", "build app", "stage app", "prime app"],
        ),
        ("a script", |shop| edit(shop, "head -n1", "head -n 1"), &["build app"]),
        ("a variable", |shop| edit(shop, "GREETING: hello", "GREETING: hi"), &["build app"]),
        ("the version", |shop| edit(shop, "version: '1.0'", "version: '1.1'"), &["build lib", "build app"]),
        ("the summary", |shop| edit(shop, "base:", "summary: s\nbase:"), &[]),
        ("the time stamp", |shop| shop.surroundings.epoch += 1, &["build lib", "build app"]),
        ("the number of jobs", |shop| shop.surroundings.jobs = 1, &[]),
        (
            "organize",
            |shop| edit(shop, "stage: [-docs]", "stage: [-docs]\n    organize: {share/two: two}"),
            &data[1..],
        ),
        (
            "permissions",
            |shop| {
                edit(
                    shop,
                    "stage: [-docs]",
                    "stage: [-docs]\n    permissions: [{path: share/two, mode: '755'}]",
                );
            },
            &data[1..],
        ),
        (
            "permissions that change nothing",
            |shop| {
                edit(
                    shop,
                    "stage: [-docs]",
                    "stage: [-docs]\n    permissions: [{path: share/two, mode: '644'}]",
                );
            },
            &["build data"],
        ),
        ("stage", |shop| edit(shop, "stage: [-docs]", "stage: [-docs, -share/two]"), &data[2..]),
        (
            "stage in other words",
            |shop| edit(shop, "stage: [-docs]", "stage: [-docs, -nothing]"),
            &data[2..3],
        ),
        ("prime", |shop| edit(shop, "stage: [-docs]", "stage: [-docs]\n    prime: [share/one]"), &data[3..]),
        (
            "source-subdir",
            |shop| edit(shop, "source: data", "source: data\n    source-subdir: share"),
            &data[1..],
        ),
        (
            "another source with the same files",
            |shop| {
                fs::rename(shop.path("data"), shop.path("moved")).unwrap();
                edit(shop, "source: data", "source: moved");
            },
            &data[..1],
        ),
        (
            "override-pull",
            |shop| edit(shop, "source: app", "source: app\n    override-pull: craftctl default; touch x"),
            &["pull app", "build app"],
        ),
        ("a part more", |shop| edit(shop, "parts:\n", "parts:\n  extra: {plugin: dump, source: lib}\n"), &[]),
        (
            "a part less",
            |shop| {
                let text = fs::read_to_string(shop.path("pack.yaml")).unwrap();
                let at = text.find("  data:").unwrap()..text.find("  lib:").unwrap();
                fs::write(shop.path("pack.yaml"), text.replace(&text[at], "")).unwrap();
            },
            &[],
        ),
        (
            "the project's folder",
            |shop| {
                let moved = tempfile::tempdir().unwrap();
                fs::remove_dir(moved.path()).unwrap();
                fs::rename(shop.folder.path(), moved.path()).unwrap();
                let old = std::mem::replace(&mut shop.folder, moved);
                fs::create_dir(old.path()).unwrap();
            },
            &[],
        ),
    ];
    for (what, change, expected) in cases {
        let mut shop = shop();
        assert_eq!(built(&shop).ran.len(), 12, "{what}");
        change(&mut shop);
        let steps = built(&shop);
        let ran: Vec<&str> =
            steps.ran.iter().map(String::as_str).filter(|step| !step.ends_with(" extra")).collect();
        assert_eq!(ran, *expected, "{what}: {:?}", steps.why);
        assert!(
            steps
                .why
                .iter()
                .all(|why| *why == Why::New || matches!(why, Why::Changed(changes) if !changes.is_empty()))
        );
        let prime = |shop: &Workshop| tree(&shop.path(".pack/prime"));
        assert_eq!(prime(&shop), prime(&fresh(&shop)), "{what}");
        assert!(built(&shop).ran.is_empty(), "{what}: twice");
    }
}

/// Which file each path is, and what is to be told of it.
fn files(root: &Path) -> BTreeMap<String, (u64, i64, u32)> {
    let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let metadata = entry.metadata().unwrap();
            (name, (metadata.ino(), metadata.mtime(), metadata.mode()))
        })
        .collect()
}

#[test]
fn what_has_not_changed_is_not_written_again_and_what_is_wrong_there_is() {
    let shop =
        Workshop::new("  a: {plugin: dump, source: a, stage: [-docs]}\n  b: {plugin: dump, source: b}\n");
    shop.write("a/one", "1").write("a/two", "2").write("a/sub/three", "3").write("a/docs/x", "x");
    shop.write("b/four", "4").write("b/sub/five", "5");
    built(&shop);
    let trees = ["parts/a/src", "parts/a/build", "parts/a/install", "stage", "prime"];
    let told = || trees.map(|tree| files(&shop.path(&format!(".pack/{tree}"))));
    let before = told();
    shop.write("a/one", "other");
    assert_eq!(built(&shop).ran, ["pull a", "build a", "stage a", "prime a"]);
    let fresh_shop = fresh(&shop);
    for (tree, (before, after)) in trees.iter().zip(before.iter().zip(&told())) {
        let changed: Vec<&String> =
            after.iter().filter(|(path, told)| before[*path].0 != told.0).map(|(path, _)| path).collect();
        assert_eq!(
            changed.iter().filter(|path| !path.contains("four") && !path.contains("five")).count(),
            1,
            "{tree}: {changed:?}"
        );
        // Times and modes are those of a build that begins with nothing, too.
        let clean = files(&fresh_shop.path(&format!(".pack/{tree}")));
        let told = |files: &BTreeMap<String, (u64, i64, u32)>| -> Vec<(String, i64, u32)> {
            let is_settled = |path: &str| {
                *tree == "parts/a/src" || !fresh_shop.path(&format!(".pack/{tree}/{path}")).is_dir()
            };
            files
                .iter()
                .map(|(path, (_, time, mode))| {
                    (path.clone(), if is_settled(path) { *time } else { 0 }, *mode)
                })
                .collect()
        };
        assert_eq!(told(after), told(&clean), "{tree}");
    }
    // Whatever has got into the trees meanwhile is gone after the next change.
    let work = |path: &str| shop.path(&format!(".pack/{path}"));
    fs::remove_file(work("parts/a/src/two")).unwrap();
    fs::write(work("parts/a/src/two"), "foreign").unwrap();
    fs::write(work("parts/a/build/sub/more"), "foreign").unwrap();
    fs::remove_file(work("parts/a/install/sub/three")).unwrap();
    symlink("/etc/passwd", work("parts/a/install/sub/three")).unwrap();
    fs::write(work("stage/stray"), "foreign").unwrap();
    fs::remove_dir_all(work("prime/sub")).unwrap();
    symlink(shop.path("a"), work("prime/sub")).unwrap();
    shop.write("a/one", "another");
    built(&shop);
    assert_eq!(tree(&work("prime")), tree(&fresh(&shop).path(".pack/prime")));
    assert_eq!(tree(&work("stage")), tree(&fresh(&shop).path(".pack/stage")));
    assert!(shop.path("a/sub/three").is_file(), "the source is as it was");
    // A collision names who brings what, whichever of the two was there before.
    shop.write("b/one", "of b");
    let (part, step, error) = shop.refused();
    assert_eq!((part.as_str(), step), ("b", Step::Stage));
    assert!(matches!(error, StepError::Collision { other: Some(other), .. } if other.as_str() == "a"));
    fs::remove_file(shop.path("b/one")).unwrap();
    built(&shop);
    assert_eq!(tree(&work("prime")), tree(&fresh(&shop).path(".pack/prime")));
}

#[test]
fn what_changed_is_named() {
    let shop = shop();
    assert!(built(&shop).why.iter().all(|why| *why == Why::New));
    shop.write("data/share/one", "3");
    fs::remove_file(shop.path("data/share/two")).unwrap();
    shop.write("data/a", "").write("data/b", "");
    edit(&shop, "head -n1", "head -n 1");
    let steps = built(&shop);
    let src = |files: &[&str], more| Change {
        what: "src".to_owned(),
        files: files.iter().map(Into::into).collect(),
        more,
    };
    let plain = |what: &str| Change { what: what.to_owned(), files: Vec::new(), more: 0 };
    assert_eq!(steps.ran, ["pull data", "build data", "build app", "stage data", "prime data"]);
    let changes: Vec<Vec<Change>> = steps
        .why
        .into_iter()
        .map(|why| match why {
            Why::Changed(changes) => changes,
            Why::New => panic!("it is not new"),
        })
        .collect();
    assert_eq!(changes[0], [src(&["a", "b", "share/one"], 2)]);
    assert_eq!(changes[1], changes[0]);
    assert_eq!(changes[2], [plain("override-build")]);
    assert_eq!(changes[3], [plain("install")]);
    assert_eq!(changes[4], [plain("staged")]);
}

#[test]
fn what_a_script_sees_of_the_project_and_of_other_parts_counts() {
    let shop = Workshop::new(
        r#"  a: {plugin: dump, source: a}
  b:
    plugin: nil
    override-build: cp "$PACK_PROJECT_DIR/version" "$PACK_PART_INSTALL/"
  c:
    plugin: nil
    override-stage: ls > list
    override-prime: |
      craftctl default
      rm -f x
      chmod +x y
"#,
    );
    shop.write("a/x", "x").write("a/y", "y").write("version", "1");
    built(&shop);
    let primed = |shop: &Workshop| tree(&shop.path(".pack/prime"));
    assert_eq!(primed(&shop)["y"], "y (x)");
    assert!(!primed(&shop).contains_key("x"));
    // What a script did to the prime folder has not come through to what the part installed.
    assert_eq!(fs::metadata(shop.path(".pack/parts/a/install/y")).unwrap().mode() & 0o777, 0o644);
    assert!(built(&shop).ran.is_empty());
    shop.write("version", "2");
    assert_eq!(built(&shop).ran, ["build b", "stage b", "stage c", "prime b", "prime c"]);
    assert_eq!(primed(&shop)["version"], "2");
    shop.write("a/z", "z");
    let steps = built(&shop);
    assert_eq!(steps.ran, ["pull a", "build a", "build b", "stage a", "stage c", "prime a", "prime c"]);
    assert!(primed(&shop)["list"].contains('z'));
    assert_eq!(primed(&shop), primed(&fresh(&shop)));
    // A rule of prime alone does not stage again, with or without scripts.
    edit(&shop, "source: a}", "source: a, prime: [-z]}");
    let steps = built(&shop);
    // The manifest is a file of the project too, and b may read it.
    assert_eq!(steps.ran, ["build b", "prime a", "prime c"]);
    assert_eq!(steps.again, ["stage a", "stage b", "stage c", "prime b"]);
    assert_eq!(primed(&shop), primed(&fresh(&shop)));
}

#[test]
fn a_build_sees_the_parts_that_it_comes_after_and_no_others() {
    let list = "plugin: nil, override-build: 'ls $PACK_STAGE > $PACK_PART_INSTALL/$PACK_PART_NAME'";
    let shop = Workshop::new(&format!(
        "  a: {{plugin: dump, source: s, organize: {{x: xa}}}}\n  b: {{plugin: dump, source: s, organize: {{x: xb}}}}\n  \
         c: {{{list}, after: [a]}}\n  d: {{{list}, after: [b]}}\n  e: {{{list}}}\n"
    ));
    shop.write("s/x", "x");
    let mut tree = shop.primed();
    tree.retain(|name, _| name.len() == 1);
    assert_eq!(
        tree.into_iter().collect::<Vec<_>>(),
        [
            ("c".to_owned(), "xa".to_owned()),
            ("d".to_owned(), "xb".to_owned()),
            ("e".to_owned(), String::new()),
        ]
    );
    assert!(built(&shop).ran.is_empty());
}

#[test]
fn what_is_gone_is_made_again() {
    let work = |path: &str| format!(".pack/{path}");
    for (path, expected) in [
        ("parts/data/src", &["pull data"][..]),
        ("parts/lib/install", &["build lib"]),
        ("parts/data/stage.json", &["stage data"]),
        ("stage", &[]),
        ("prime", &[]),
        ("prime.json", &[]),
    ] {
        let shop = shop();
        built(&shop);
        let before = tree(&shop.path(".pack/prime"));
        let path = shop.path(&work(path));
        if path.is_dir() {
            fs::remove_dir_all(&path).unwrap()
        } else {
            fs::remove_file(&path).unwrap()
        }
        let mut steps = Steps::default();
        shop.build_until(Step::Prime, &mut steps).unwrap();
        assert_eq!(steps.ran, expected, "{path:?}");
        assert_eq!(tree(&shop.path(".pack/prime")), before, "{path:?}");
    }
    let shop = shop();
    built(&shop);
    assert!(shop.open().work().clean_part(&"lib".parse().unwrap()).unwrap());
    assert_eq!(built(&shop).ran, ["pull lib", "build lib", "stage lib", "prime lib"]);
}

#[test]
fn records_of_an_earlier_boot_are_compared_with_what_is_there() {
    let earlier = |shop: &Workshop, path: &str| {
        let path = shop.path(path);
        let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        record["boot"] = "an-earlier-one".into();
        fs::write(path, record.to_string()).unwrap();
    };
    let shop = shop();
    built(&shop);
    earlier(&shop, ".pack/parts/data/build.json");
    earlier(&shop, ".pack/prime.json");
    let steps = built(&shop);
    assert!(steps.ran.is_empty());
    assert_eq!(steps.again, ["prime data", "prime lib", "prime app"]);
    // As a file is after the machine went down too soon.
    earlier(&shop, ".pack/parts/data/build.json");
    fs::remove_file(shop.path(".pack/parts/data/install/share/two")).unwrap();
    shop.write(".pack/parts/data/install/share/two", "");
    assert_eq!(built(&shop).ran, ["build data"]);
    assert_eq!(tree(&shop.path(".pack/prime"))["share/two"], "2");
}

#[test]
fn a_step_that_fails_keeps_what_was_complete() {
    let shop = shop();
    edit(&shop, "cat main", "false; cat main");
    let (part, step, _) = shop.refused();
    assert_eq!((part.as_str(), step), ("app", Step::Build));
    edit(&shop, "false; cat main", "cat main");
    let steps = built(&shop);
    assert_eq!(&steps.ran[..2], ["build app", "stage data"]);
    assert_eq!(tree(&shop.path(".pack/prime")), tree(&fresh(&shop).path(".pack/prime")));
    // The source that was there is not.
    fs::rename(shop.path("lib"), shop.path("gone")).unwrap();
    let (part, step, error) = shop.refused();
    assert_eq!((part.as_str(), step), ("lib", Step::Pull));
    assert!(told(&error).contains("cannot find the source `lib`"), "{}", told(&error));
    fs::rename(shop.path("gone"), shop.path("lib")).unwrap();
    assert_eq!(built(&shop).ran, ["pull lib"]);
}

#[test]
fn a_source_that_changes_while_it_is_copied_is_noticed() {
    let shop = Workshop::new("  a: {plugin: dump, source: s}\n");
    for n in 0..300 {
        shop.write(&format!("s/{n}"), "x");
    }
    let stop = AtomicBool::new(false);
    let error = std::thread::scope(|scope| {
        let changing = scope.spawn(|| {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                // By rename, so that every reader finds one or the other.
                fs::write(shop.path("new"), n.to_string()).unwrap();
                fs::rename(shop.path("new"), shop.path("s/0")).unwrap();
            }
        });
        let (_, _, error) = shop.refused();
        stop.store(true, Ordering::Relaxed);
        changing.join().unwrap();
        error
    });
    assert!(matches!(error, StepError::SourceChanging), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(built(&shop).ran, ["pull a", "build a", "stage a", "prime a"]);
}

#[test]
fn hard_links_and_holes_come_through_and_the_projects_own_are_not_counted() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let shop = Workshop::new(
        r#"  a:
    plugin: nil
    override-build: |
      cd "$PACK_PART_INSTALL"
      echo x > one; ln one two
      truncate -s 30M hole; echo end >> hole
      echo odd > $'\xff'
  b:
    plugin: dump
    source: s
    override-prime: craftctl default
"#,
    );
    shop.write("s/first", "same");
    fs::hard_link(shop.path("s/first"), shop.path("s/second")).unwrap();
    built(&shop);
    let inode = |path: &str| fs::metadata(shop.path(".pack/prime").join(path)).unwrap().ino();
    assert_eq!(inode("one"), inode("two"));
    assert_ne!(inode("first"), inode("second"));
    let hole = fs::metadata(shop.path(".pack/prime/hole")).unwrap();
    assert_eq!(hole.len(), (30 << 20) + 4);
    assert!(hole.blocks() * 512 < 1 << 20, "{} blocks", hole.blocks());
    assert!(shop.path(".pack/prime").join(OsStr::from_bytes(b"\xff")).exists());
    assert!(built(&shop).ran.is_empty());
}

#[test]
fn rules_of_permissions_choose_what_can_be_executed() {
    let shop = |rules: &str| {
        let shop = Workshop::new(&format!(
            "  a: {{plugin: dump, source: s, organize: {{run: bin/run}}, permissions: [{rules}]}}\n"
        ));
        shop.write("s/run", "x").write("s/bin/deep/er", "x").write("s/text", "x");
        fs::set_permissions(shop.path("s/text"), Permissions::from_mode(0o755)).unwrap();
        shop
    };
    let built = shop("{mode: '000'}, {path: 'bin/*', mode: '755'}");
    let tree = built.primed();
    assert_eq!(
        (tree["bin/run"].as_str(), tree["bin/deep/er"].as_str(), tree["text"].as_str()),
        ("x (x)", "x (x)", "x")
    );
    assert_eq!(fs::metadata(built.path(".pack/parts/a/src/text")).unwrap().mode() & 0o777, 0o755);
    for rules in ["{path: run, mode: '755'}", "{path: bin, mode: '755'}"] {
        assert!(matches!(shop(rules).refused().2, StepError::PermissionsNothing { .. }), "{rules}");
    }
}

#[test]
fn organize_does_as_snapcraft_does() {
    let organized = |rules: &str| {
        let shop = Workshop::new(&format!("  a: {{plugin: dump, source: s, organize: {{{rules}}}}}\n"));
        for path in ["a/x", "a/.h", "b/y", "c/z", "top", "d/top2"] {
            shop.write(&format!("s/{path}"), path);
        }
        shop.primed().into_keys().collect::<Vec<_>>().join(" ")
    };
    for (rules, expected) in [
        ("a: b", "b/.h b/x b/y c/z d/top2 top"),
        ("a: b/", "b/.h b/x b/y c/z d/top2 top"),
        ("a: new/", "b/y c/z d/top2 new/.h new/x top"),
        ("top: b", "a/.h a/x b/top b/y c/z d/top2"),
        ("top: new/", "a/.h a/x b/y c/z d/top2 new/top"),
        ("'a/*': b/", "a/.h b/x b/y c/z d/top2 top"),
        ("'[ab]*': new/", "c/z d/top2 new/a/.h new/a/x new/b/y top"),
        // Without a `*` first, though the other comes before it by name.
        ("'d/*': e/, d/top2: d/two", "a/.h a/x b/y c/z d e/two top"),
    ] {
        assert_eq!(organized(rules), expected, "{rules}");
    }
}
