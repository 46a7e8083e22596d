//! Projects built from `pack.yaml` to the prime folder, by a user who may do nothing.

mod common;
mod workshop;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use common::is_rerun;
use pack_builder::parts::{Difference, Step, StepError};
use pack_builder::project::{Project, ProjectError};
use pack_builder::sources::SourceError;
use pack_schemas::names::Architecture;
use workshop::{Steps, Workshop, as_ordinary_user, assert_tree, owner, told, tree};

#[test]
fn dump_copies_a_folder_as_it_is() {
    as_ordinary_user("dump_copies_a_folder_as_it_is", || {
        let shop = Workshop::new("  a:\n    plugin: dump\n    source: files\n");
        shop.write("files/bin/run", "#!/bin/sh")
            .write("files/data/.hidden", "h")
            .write("files/.git/HEAD", "x");
        shop.write("outside", "not this");
        fs::set_permissions(shop.path("files/bin/run"), Permissions::from_mode(0o4755)).unwrap();
        fs::create_dir(shop.path("files/empty")).unwrap();
        symlink("../data/.hidden", shop.path("files/bin/link")).unwrap();
        symlink("/etc/passwd", shop.path("files/absolute")).unwrap();
        symlink("nowhere", shop.path("files/dangling")).unwrap();
        let expected = [
            ("absolute", "-> /etc/passwd"),
            ("bin/link", "-> ../data/.hidden"),
            ("bin/run", "#!/bin/sh (x)"),
            ("dangling", "-> nowhere"),
            ("data/.hidden", "h"),
            ("empty", "/"),
        ];
        assert_tree(&shop.primed(), &expected);
        let run = fs::metadata(shop.path(".pack/prime/bin/run")).unwrap();
        assert_eq!(run.mode() & 0o7777, 0o755);
        // Not the time that the copy was made: a build cannot come to depend on it.
        assert_eq!(run.modified().unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800));
        // The project's own files are never linked into the build.
        assert_eq!(fs::metadata(shop.path("files/bin/run")).unwrap().nlink(), 1);
        // A second build begins anew.
        fs::remove_file(shop.path("files/data/.hidden")).unwrap();
        assert!(!shop.primed().contains_key("data/.hidden"));
    });
}

#[test]
fn the_project_itself_is_a_source_without_what_builds_make() {
    let shop = Workshop::new("  a: {plugin: dump, source: ., prime: [-pack.yaml]}\n");
    shop.write("a", "a")
        .write("hello_1.0_amd64.pkg", "old")
        .write("deep/x.pkg", "kept")
        .write(".pack/stage/x", "");
    for _ in 0..2 {
        assert_tree(&shop.primed(), &[("a", "a"), ("deep/x.pkg", "kept")]);
    }
}

#[test]
fn scripts_run_in_a_clean_environment() {
    as_ordinary_user("scripts_run_in_a_clean_environment", || {
        let shop = Workshop::new(
            r#"  a:
    plugin: nil
    source: src
    build-environment:
      - FLAGS: -O2 "$(id)"
      - PATH: $PACK_STAGE/bin:$PATH:$NOT_SET
    override-build: |
      env | sort > "$PACK_PART_INSTALL/env"
      pwd > "$CRAFT_PART_INSTALL/pwd"
      umask > "$PACK_PART_INSTALL/umask"
      cat > "$PACK_PART_INSTALL/stdin"
      ls -a > "$PACK_PART_INSTALL/ls"
      [[ $PACK_PARALLEL_BUILD_COUNT == 3 && $SOURCE_DATE_EPOCH == 1000000000 ]]
      touch ~/x
"#,
        );
        shop.write("src/one", "1");
        let tree = shop.primed();
        // Wherever the project is.
        let work = |path: &str| format!("/build/{path}");
        assert_eq!(tree["pwd"], work("parts/a/build"));
        assert_eq!(tree["umask"], "0022");
        assert_eq!(tree["stdin"], "");
        assert_eq!(tree["ls"], ".\n..\none");
        let variables: BTreeMap<&str, &str> =
            tree["env"].lines().filter_map(|line| line.split_once('=')).collect();
        for (name, value) in [
            ("PACK_PART_SRC", work("parts/a/src")),
            ("PACK_STAGE", work("stage")),
            ("CRAFT_PRIME", work("prime")),
            ("PACK_PROJECT_DIR", work("project")),
            ("HOME", work("parts/a/home")),
            ("LANG", "C.UTF-8".to_owned()),
            ("PACK_ARCH", Architecture::HOST.to_string()),
            ("CRAFT_ARCH_TRIPLET_BUILD_FOR", Architecture::HOST.triplet().unwrap().to_owned()),
            ("FLAGS", "-O2 \"$(id)\"".to_owned()),
            (
                "PATH",
                format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", work("stage/bin")),
            ),
        ] {
            assert_eq!(variables[name], value, "{name}");
        }
        let ours = ["PACK_", "CRAFT_", "BASH_FUNC_"];
        // The functions that scripts can call have lines of their own with a `=`.
        let is_other = |name: &&str| !name.contains(' ') && !ours.iter().any(|start| name.starts_with(start));
        let rest: Vec<&str> = variables.into_keys().filter(is_other).collect();
        let expected = "FLAGS HOME LANG LOGNAME PATH PWD SHLVL SOURCE_DATE_EPOCH TMPDIR TZ USER _";
        assert_eq!(rest.join(" "), expected);
    });
}

#[test]
fn a_script_that_fails_is_told_with_its_last_lines() {
    as_ordinary_user("a_script_that_fails_is_told_with_its_last_lines", || {
        let shop = Workshop::new(
            "  a:\n    plugin: nil\n    override-build: |\n      seq 100\n      printf 'red \\033[31m\\n'\n      false\n      echo never\n",
        );
        let (part, step, error) = shop.refused();
        assert_eq!((part.as_str(), step), ("a", Step::Build));
        let words = error.to_string();
        let StepError::Script { status, tail, log, .. } = error else { panic!("{words}") };
        assert_eq!(status.code(), Some(1));
        assert_eq!(tail.len(), 20);
        assert_eq!((tail[0].as_str(), tail[19].as_str()), ("82", "red \\u{1b}[31m"));
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 101);
        assert!(
            words.contains("override-build ended with exit status: 1") && words.contains("build.log"),
            "{words}"
        );
        // Lines keep the numbers that they have in the manifest's script.
        let shop = Workshop::new("  a: {plugin: nil, override-pull: \"true\\n\\nno-such-program\"}\n");
        let (_, step, error) = shop.refused();
        assert_eq!(step, Step::Pull);
        assert!(
            matches!(error, StepError::Script { tail, .. } if tail[0].contains("line 3: no-such-program"))
        );
    });
}

#[test]
fn scripts_can_do_the_default_too() {
    as_ordinary_user("scripts_can_do_the_default_too", || {
        let shop = Workshop::new(
            r#"  a:
    plugin: dump
    source: files
    override-pull: |
      test -z "$(ls)"
      craftctl default
      echo pulled > from-pull
    override-build: |
      echo built >> one
      packctl default
      bash -c 'craftctl default'
      echo more > "$PACK_PART_INSTALL/more"
    stage: [-more]
    override-stage: |
      test "$PWD" = "$PACK_STAGE"
      craftctl default
      test -f from-pull
      mv two renamed
      echo staged > extra
    override-prime: |
      test "$PWD" = "$PACK_PRIME"
      test ! -e one
      craftctl default
      rm from-pull
      chmod +x one
  b: {plugin: nil}
"#,
        );
        shop.write("files/one", "1\n").write("files/two", "2");
        assert_tree(&shop.primed(), &[("extra", "staged"), ("one", "1\nbuilt (x)"), ("renamed", "2")]);
        assert_eq!(fs::read_to_string(shop.path("files/one")).unwrap(), "1\n");
        assert_eq!(fs::read_to_string(shop.path(".pack/parts/a/src/one")).unwrap(), "1\n");
    });
}

#[test]
fn a_default_that_fails_is_told_and_not_the_script() {
    let shop = Workshop::new(
        "  a: {plugin: dump, source: nothing, override-pull: \"craftctl default\\necho not reached > x\"}\n",
    );
    let (_, step, error) = shop.refused();
    assert_eq!(step, Step::Pull);
    assert!(matches!(error, StepError::Source { .. }), "{error}");
    assert!(!shop.path(".pack/parts/a/src/x").exists());
    // Also where the script goes on regardless.
    let shop =
        Workshop::new("  a: {plugin: dump, source: nothing, override-pull: 'craftctl default || true'}\n");
    assert!(matches!(shop.refused().2, StepError::Source { .. }));
    let shop = Workshop::new("  a: {plugin: nil, override-build: craftctl set version=1}\n");
    assert!(matches!(shop.refused().2, StepError::Script { tail, .. } if tail[0].contains("knows only")));
}

#[test]
fn parts_run_in_order_and_see_what_they_come_after() {
    let shop = Workshop::new(
        r#"  app:
    plugin: nil
    after: [lib]
    override-build: |
      cp "$PACK_STAGE/lib/x" "$PACK_PART_INSTALL/app"
      test ! -e "$PACK_STAGE/other"
  lib: {plugin: nil, override-build: "mkdir $PACK_PART_INSTALL/lib; echo library > $PACK_PART_INSTALL/lib/x"}
  other: {plugin: nil, override-build: "echo o > $PACK_PART_INSTALL/other"}
"#,
    );
    let mut steps = Steps::default();
    let built = shop.build_until(Step::Prime, &mut steps).unwrap();
    assert_tree(&tree(&built.prime), &[("app", "library"), ("lib/x", "library"), ("other", "o")]);
    let pulls = ["pull lib", "pull app", "pull other"];
    let builds = ["build lib", "stage lib", "build app", "build other", "stage app", "stage other"];
    let primes = ["prime lib", "prime app", "prime other"];
    assert_eq!(steps.ran, [&pulls[..], &builds, &primes].concat());
    let mut steps = Steps::default();
    shop.build_until(Step::Pull, &mut steps).unwrap();
    assert_eq!(steps.skipped, pulls);
    // What an earlier build made is kept.
    assert_eq!(tree(&built.prime)["app"], "library");
}

#[test]
fn filesets_choose_what_is_staged_and_primed() {
    let shop = Workshop::new(
        r#"  a:
    plugin: dump
    source: files
    organize:
      "games/*": usr/bin/
      doc: usr/share/doc
      readme.txt: usr/share/doc/README
    stage: [-usr/share/man]
    prime: [usr/bin, usr/share/doc/*.gz, -usr/bin/chess, usr/lib/deep/er]
"#,
    );
    for path in [
        "games/chess",
        "games/go",
        "usr/bin/tool",
        "usr/share/man/man1/go.1",
        "usr/share/doc/old.gz",
        "doc/a.gz",
        "doc/b.txt",
        "readme.txt",
        "usr/lib/deep/er/x",
    ] {
        shop.write(&format!("files/{path}"), path);
    }
    fs::create_dir(shop.path("files/usr/empty")).unwrap();
    let primed = [
        ("usr/bin/go", "games/go"),
        ("usr/bin/tool", "usr/bin/tool"),
        ("usr/lib/deep/er/x", "usr/lib/deep/er/x"),
        ("usr/share/doc/a.gz", "doc/a.gz"),
        ("usr/share/doc/old.gz", "usr/share/doc/old.gz"),
    ];
    assert_tree(&shop.primed(), &primed);
    let more = [
        ("games", "/"),
        ("usr/bin/chess", "games/chess"),
        ("usr/empty", "/"),
        ("usr/share/doc/README", "readme.txt"),
        ("usr/share/doc/b.txt", "doc/b.txt"),
    ];
    assert_tree(&tree(&shop.path(".pack/stage")), &[&primed[..], &more].concat());
}

#[test]
fn rules_of_organize_that_cannot_apply_are_told() {
    let organized = |rules: &str| {
        let shop = Workshop::new(&format!("  a: {{plugin: dump, source: files, organize: {{{rules}}}}}\n"));
        shop.write("files/a/x", "x").write("files/a/y", "y").write("files/b/x", "other");
        symlink("/tmp", shop.path("files/out")).unwrap();
        symlink("b", shop.path("files/in")).unwrap();
        shop
    };
    assert!(matches!(organized("nothing/*: b/").refused().2, StepError::OrganizeNothing { .. }));
    assert!(matches!(organized("a/*: c").refused().2, StepError::OrganizeSeveral { .. }));
    assert!(matches!(organized("a/x: b/x").refused().2, StepError::OrganizeExists { .. }));
    assert!(matches!(organized("a: b").refused().2, StepError::OrganizeExists { .. }));
    assert!(matches!(organized("a: a/deep").refused().2, StepError::OrganizeInto { .. }));
    assert!(matches!(organized("a/x: out/pack-test-escape").refused().2, StepError::OrganizeOutside { .. }));
    assert!(!Path::new("/tmp/pack-test-escape").exists());
    assert!(matches!(organized("'a[': b").refused().2, StepError::Glob(_)));
    assert_eq!(organized("a/y: in/z").primed()["b/z"], "y");
    assert_eq!(organized("a/?: a/").primed()["a/y"], "y");
}

#[test]
fn collisions_name_both_parts_and_the_path() {
    let two = |b: &str| {
        let shop = Workshop::new(&format!(
            "  a: {{plugin: dump, source: a}}\n  b: {{plugin: dump, source: b{b}}}\n"
        ));
        shop.write("a/bin/same", "same").write("b/bin/same", "same").write("a/etc/x", "1");
        shop
    };
    let shop = two("");
    shop.write("b/etc/x", "2");
    let (part, step, error) = shop.refused();
    assert_eq!((part.as_str(), step), ("b", Step::Stage));
    let words = error.to_string();
    assert!(matches!(error, StepError::Collision { path, other: Some(other), .. }
        if path == Path::new("etc/x") && other.as_str() == "a"));
    assert_eq!(words, "the part `b` and the part `a` both have `etc/x`, and their content differs");
    // Equal files and links are none; neither is a file that one of the two leaves out.
    let shop = two("");
    symlink("x", shop.path("a/link")).unwrap();
    symlink("x", shop.path("b/link")).unwrap();
    shop.write("b/etc/x", "1");
    assert_tree(&shop.primed(), &[("bin/same", "same"), ("etc/x", "1"), ("link", "-> x")]);
    let shop = two(", stage: [-etc]");
    shop.write("b/etc/x", "2");
    assert_eq!(shop.primed()["etc/x"], "1");
    // Type, length, mode and target count as content.
    let differ = |path: &str, what: Difference, make: &dyn Fn(&Workshop)| {
        let shop = two("");
        symlink("etc", shop.path("a/link")).unwrap();
        make(&shop);
        let (_, _, error) = shop.refused();
        assert!(
            matches!(&error, StepError::Collision { path: its, difference, .. }
                if its == Path::new(path) && *difference == what),
            "{error}"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains(&format!("`stage: [-{path}]`"))));
    };
    differ("etc/x", Difference::Kind, &|shop| {
        shop.write("b/etc/x/y", "1");
    });
    differ("etc", Difference::Kind, &|shop| {
        shop.write("b/etc", "1");
    });
    differ("link", Difference::Target, &|shop| symlink("bin", shop.path("b/link")).unwrap());
    differ("etc/x", Difference::Content, &|shop| {
        shop.write("b/etc/x", "2");
    });
    differ("etc/x", Difference::Executable, &|shop| {
        shop.write("b/etc/x", "1");
        fs::set_permissions(shop.path("b/etc/x"), Permissions::from_mode(0o755)).unwrap();
    });
    // What a script put into the stage counts as its part's.
    let shop = Workshop::new(
        "  a: {plugin: nil, override-stage: echo 1 > x}\n  b: {plugin: nil, override-build: 'echo 2 > $PACK_PART_INSTALL/x'}\n",
    );
    assert!(shop.refused().2.to_string().contains("the part `a`"));
}

#[test]
fn a_folder_where_another_part_has_a_link_is_told_with_what_to_do() {
    // Debian's packages have `bin` as a link; whichever of the two comes first.
    for (first, second) in [("debian", "tool"), ("tool", "zdebian")] {
        let link = if first == "debian" { first } else { second };
        let shop = |rule: &str, rule_of_link: &str| {
            let shop = Workshop::new(&format!(
                "  {link}: {{plugin: dump, source: debian{rule_of_link}}}\n  tool: {{plugin: dump, source: tool{rule}}}\n"
            ));
            shop.write("debian/usr/bin/sh", "sh").write("tool/bin/tool", "tool").write("tool/usr/bin/x", "x");
            symlink("usr/bin", shop.path("debian/bin")).unwrap();
            shop
        };
        let (part, step, error) = shop("", "").refused();
        assert_eq!((part.as_str(), step), (second, Step::Stage));
        assert_eq!(
            error.to_string(),
            format!(
                "the part `tool` has a folder `bin`, and the part `{link}` has a link there, to `usr/bin`"
            )
        );
        assert_eq!(
            error.hint().unwrap(),
            format!(
                "have it all behind the link with `organize: {{bin: usr/bin}}` in `tool`, or leave the link out with \
                 `stage: [-bin]` in `{link}`"
            )
        );
        // Both do.
        let all = [("usr/bin/sh", "sh"), ("usr/bin/x", "x")];
        let behind = [&all[..], &[("bin", "-> usr/bin"), ("usr/bin/tool", "tool")]].concat();
        assert_tree(&shop(", organize: {bin: usr/bin}", "").primed(), &behind);
        let beside = [&all[..], &[("bin/tool", "tool")]].concat();
        assert_tree(&shop("", ", stage: [-bin]").primed(), &beside);
    }
    // A link that leads nowhere in the package names no place to move to.
    let shop = Workshop::new("  a: {plugin: dump, source: a}\n  b: {plugin: dump, source: b}\n");
    shop.write("a/lib/x", "x").write("b/y", "y");
    symlink("../../lib", shop.path("b/lib")).unwrap();
    assert_eq!(shop.refused().2.hint().unwrap(), "leave the link out with `stage: [-lib]` in `b`");
}

#[test]
fn a_shared_file_is_primed_if_one_of_its_parts_wants_it() {
    let shop = Workshop::new(
        "  a: {plugin: dump, source: s, prime: [-x]}\n  b: {plugin: dump, source: s, prime: [-y]}\n",
    );
    shop.write("s/x", "x").write("s/y", "y").write("s/z", "z");
    assert_tree(&shop.primed(), &[("x", "x"), ("y", "y"), ("z", "z")]);
}

#[test]
fn sources_that_cannot_be_read_are_told_with_their_path() {
    as_ordinary_user("sources_that_cannot_be_read_are_told_with_their_path", || {
        let shop = |make: &dyn Fn(&Workshop)| {
            let shop = Workshop::new("  a: {plugin: dump, source: files}\n");
            shop.write("files/deep/x", "x");
            make(&shop);
            let (_, step, error) = shop.refused();
            assert_eq!(step, Step::Pull);
            let text = told(&error);
            for path in ["files/deep", "files/deep/x"] {
                let _ = fs::set_permissions(shop.path(path), Permissions::from_mode(0o755));
            }
            text
        };
        let mode = |path: &'static str, mode| {
            move |shop: &Workshop| fs::set_permissions(shop.path(path), Permissions::from_mode(mode)).unwrap()
        };
        let file = shop(&mode("files/deep/x", 0o000));
        assert!(
            file.contains("cannot read `") && file.contains("files/deep/x`: Permission denied"),
            "{file}"
        );
        let folder = shop(&mode("files/deep", 0o000));
        assert!(folder.contains("files/deep`") && folder.contains("Permission denied"), "{folder}");
        let fifo = shop(&|shop| {
            let mode = rustix::fs::Mode::RUSR;
            rustix::fs::mknodat(
                rustix::fs::CWD,
                shop.path("files/pipe"),
                rustix::fs::FileType::Fifo,
                mode,
                0,
            )
            .unwrap();
        });
        assert!(fifo.contains("files/pipe`: it is neither a file, a folder nor a symbolic link"), "{fifo}");
    });
}

#[test]
fn sources_outside_the_project_are_refused() {
    let source = |source: &str| {
        let shop = Workshop::new(&format!("  a: {{plugin: dump, source: {source}}}\n"));
        symlink("/etc", shop.path("out")).unwrap();
        shop.write("file", "x");
        shop
    };
    assert!(matches!(source("out").refused().2, StepError::Source(SourceError::Outside { .. })));
    assert!(matches!(source(".pack/parts").refused().2, StepError::Source(SourceError::Outside { .. })));
    assert!(matches!(source("file").refused().2, StepError::Source(SourceError::NoFolder { .. })));
    assert!(matches!(source("nothing").refused().2, StepError::Source { .. }));
}

#[test]
fn a_repository_is_cloned_in_the_sandbox_and_its_version_told_to_the_build() {
    as_ordinary_user("a_repository_is_cloned_in_the_sandbox_and_its_version_told_to_the_build", || {
        let shop = Workshop::new(
            "  a:\n    plugin: dump\n    source: repository\n    source-type: git\n    source-tag: v1\n    \
             source-subdir: inner\n    override-build: |\n      craftctl default\n      \
             echo $PACK_PART_SOURCE_VERSION ${#PACK_PART_SOURCE_COMMIT} > $PACK_PART_INSTALL/version\n      \
             ls -A $PACK_PART_SRC > $PACK_PART_INSTALL/names\n",
        );
        shop.write("repository/inner/file", "one");
        let git = |words: &str| {
            let settings = ["-c", "user.name=A", "-c", "user.email=a@example.org"];
            let mut command = Command::new("git");
            command.args(settings).args(words.split(' ')).current_dir(shop.path("repository"));
            assert!(command.output().unwrap().status.success(), "{words}");
        };
        ["init -q .", "add .", "commit -q -m x", "tag v1"].into_iter().for_each(git);
        shop.write("repository/inner/file", "two");
        git("commit -q -a -m y");
        let tree = shop.primed();
        assert_tree(&tree, &[("file", "one"), ("version", "v1 40"), ("names", "inner")]);
    });
}

#[test]
fn no_link_leads_the_build_out_of_the_source() {
    as_ordinary_user("no_link_leads_the_build_out_of_the_source", || {
        let shop = Workshop::new(
            "  a:\n    plugin: dump\n    source: src\n    source-subdir: inner\n    \
             override-pull: ln -s /etc $PACK_PART_SRC/inner\n",
        );
        shop.write("src/file", "x");
        let (_, step, error) = shop.refused();
        assert!(matches!(error, StepError::Source(SourceError::Inner { .. })), "{error}");
        assert_eq!(step, Step::Build);
    });
}

#[test]
fn projects_without_a_usable_manifest_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("pack.yaml");
    let open = || Project::open(folder.path()).unwrap_err();
    assert!(matches!(open(), ProjectError::NoManifest { .. }));
    assert!(matches!(Project::open(&manifest).unwrap_err(), ProjectError::Folder { .. }));
    fs::create_dir(&manifest).unwrap();
    assert!(told(&open()).contains("not a regular file"));
    fs::remove_dir(&manifest).unwrap();
    fs::write(folder.path().join("real.yaml"), "name: aa\nversion: '1'\nbase: none\n").unwrap();
    symlink("real.yaml", &manifest).unwrap();
    assert!(told(&open()).contains("symbolic link"));
    fs::remove_file(&manifest).unwrap();
    let (mode, fifo) = (rustix::fs::Mode::RUSR, rustix::fs::FileType::Fifo);
    rustix::fs::mknodat(rustix::fs::CWD, &manifest, fifo, mode, 0).unwrap();
    assert!(told(&open()).contains("not a regular file"));
    fs::remove_file(&manifest).unwrap();
    fs::write(&manifest, "# ".to_owned() + &"x".repeat(2 << 20)).unwrap();
    assert!(
        matches!(open(), ProjectError::Manifest { source, .. } if source.message.contains("at most 1048576"))
    );
    fs::write(&manifest, "name: aa\nversin: '1'\n").unwrap();
    assert!(
        matches!(open(), ProjectError::Manifest { source, .. } if (source.line, source.column) == (2, 1))
    );
}

#[test]
fn one_build_at_a_time_and_clean_takes_all_away() {
    as_ordinary_user("one_build_at_a_time_and_clean_takes_all_away", || {
        let shop = Workshop::new(
            "  a: {plugin: nil, override-build: 'mkdir -p d/e; echo x > d/e/f; chmod 555 d/e d; mkdir u; chmod 0 u'}\n",
        );
        shop.primed();
        shop.primed();
        let work = shop.open().work();
        let lock = work.lock(&owner()).unwrap();
        assert!(matches!(work.lock(&owner()), Err(ProjectError::Busy { .. })));
        assert!(matches!(work.clean(), Err(ProjectError::Busy { .. })));
        drop(lock);
        let part = |name: &str| name.parse().unwrap();
        assert!(!work.clean_part(&part("b")).unwrap());
        assert!(work.clean_part(&part("a")).unwrap());
        assert!(!shop.path(".pack/parts/a").exists() && !shop.path(".pack/prime").exists());
        assert!(work.clean().unwrap());
        assert!(!work.clean().unwrap());
        assert_eq!(common::names_in(shop.folder.path()), ["pack.yaml"]);
    });
}

#[test]
fn a_work_folder_that_is_a_link_is_refused() {
    let shop = Workshop::new("  a: {plugin: nil}\n");
    let elsewhere = tempfile::tempdir().unwrap();
    fs::create_dir(elsewhere.path().join("stage")).unwrap();
    symlink(elsewhere.path(), shop.path(".pack")).unwrap();
    assert!(matches!(shop.open().work().lock(&owner()), Err(ProjectError::Work(_))));
    assert!(!shop.open().work().clean().unwrap());
    assert!(elsewhere.path().join("stage").exists());
}

#[test]
fn stage_packages_are_there_before_the_build_and_their_versions_are_kept() {
    let test = "stage_packages_are_there_before_the_build_and_their_versions_are_kept";
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parts-debian-cache");
    if rustix::process::geteuid().is_root() && !is_rerun() {
        fs::create_dir_all(&cache).unwrap();
        chown(&cache, Some(20001), Some(20001)).unwrap();
    }
    as_ordinary_user(test, || {
        let shop = Workshop::new(
            r#"  jq:
    plugin: nil
    stage-packages: [jq]
    override-build: |
      test -x "$PACK_PART_INSTALL/usr/bin/jq"
      echo "$(echo '{"a": 42}' | "$PACK_PART_INSTALL"/usr/lib*/ld-linux-* \
          --library-path "$PACK_PART_INSTALL/usr/lib/$PACK_ARCH_TRIPLET" "$PACK_PART_INSTALL/usr/bin/jq" .a)" \
          > "$PACK_PART_INSTALL/answer"
    prime: [usr/bin/jq, usr/lib, lib, lib64, usr/lib64, answer]
"#,
        );
        let first = shop
            .build_until(Step::Prime, &mut Steps::default())
            .unwrap_or_else(|error| panic!("{}", told(&error)));
        let first_tree = tree(&first.prime);
        assert_eq!(first_tree["answer"], "42");
        assert_eq!(first_tree["lib"], "-> usr/lib");
        assert!(!first_tree.keys().any(|path| path.starts_with("usr/share")));
        let packages = first.packages.values().next().unwrap();
        assert!(packages.iter().any(|package| package.name == "libc6" && package.sha256.len() == 64));
        let state = fs::read_to_string(shop.path(".pack/parts/jq/state.json")).unwrap();
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        let names: Vec<&str> = state["stage-packages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|package| package["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>());
        let second = shop.build_until(Step::Prime, &mut Steps::default()).unwrap();
        assert_eq!(tree(&second.prime), first_tree);
        assert_eq!(second.packages, first.packages);
    });
}

#[test]
fn a_script_goes_on_in_its_folder_after_the_default_has_unpacked_an_archive_there() {
    let workshop = Workshop::new(
        "  a:\n    plugin: dump\n    source: a.tar\n    override-pull: |\n      touch before\n      craftctl default\n      \
         echo patched >> file\n      cat > after < file\n",
    );
    workshop.write("inner/hello-1/file", "content\n");
    let tar = Command::new("tar")
        .arg("-cf")
        .arg(workshop.path("a.tar"))
        .arg("-C")
        .arg(workshop.path("inner"))
        .arg("hello-1")
        .status();
    assert!(tar.unwrap().success());
    fs::remove_dir_all(workshop.path("inner")).unwrap();
    let primed = workshop.primed();
    let names: Vec<&str> = primed.keys().map(String::as_str).collect();
    assert_eq!(names, ["after", "before", "file"], "{primed:?}");
    assert!(primed["after"].contains("patched"), "{primed:?}");
}

#[test]
fn a_link_in_place_of_source_subdir_leads_nowhere() {
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("secret"), "secret").unwrap();
    for script in [
        "",
        "    override-build: |\n      rmdir ../build/sub || mv sub old\n      ln -s SECRET sub\n      craftctl default\n",
    ] {
        let script = script.replace("SECRET", &secret.path().to_string_lossy());
        let workshop = Workshop::new(&format!(
            "  a:\n    plugin: dump\n    source: src\n    source-subdir: sub\n{script}"
        ));
        match script.is_empty() {
            true => {
                workshop.write("src/x", "x");
                symlink(secret.path(), workshop.path("src/sub")).unwrap();
            }
            false => drop(workshop.write("src/sub/x", "x")),
        }
        let (_, _, error) = workshop.refused();
        let found = walkdir::WalkDir::new(workshop.path(".pack")).into_iter().flatten();
        let found: Vec<_> = found.filter(|entry| entry.file_name() == "secret").collect();
        assert!(found.is_empty(), "{error}: {found:?}");
    }
}

#[test]
fn what_a_script_left_running_cannot_lead_the_default_out_by_exchanging_folders() {
    // Outside of what a sandbox sees, with a file of the same name as one of the source.
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "of the user").unwrap();
    let script = "  a:\n    plugin: dump\n    source: src\n    override-build: |\n      \
         for side in . $PACK_PART_INSTALL; do\n        \
           mkdir -p $side/zz\n        ( while :; do\n            \
             mv -T $side/zz $side/away && ln -s OUTSIDE $side/zz\n            \
             rm -f $side/zz && mv -T $side/away $side/zz\n          done ) > /dev/null 2>&1 &\n      done\n      \
         for round in 1 2 3 4 5 6 7 8; do craftctl default || true; done\n      kill $(jobs -p)\n      exit 3\n";
    let shop = Workshop::new(&script.replace("OUTSIDE", &outside.path().to_string_lossy()));
    // Names before the folder, so that there is time between the listing and the copying.
    for number in 0..60 {
        shop.write(&format!("src/a{number}"), &"x".repeat(20_000));
    }
    shop.write("src/zz/secret", "of the source");
    // The default may fail, or win every race; the script ends the step in any case.
    shop.refused();
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "of the user");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    for entry in walkdir::WalkDir::new(shop.path(".pack")).into_iter().flatten() {
        if entry.file_type().is_file() && entry.file_name() == "secret" {
            assert_eq!(fs::read_to_string(entry.path()).unwrap(), "of the source", "{entry:?}");
        }
    }
}

#[test]
fn a_script_of_stage_finds_what_an_earlier_build_has_staged() {
    let part = |script: &str| {
        format!(
            "  lib:\n    plugin: dump\n    source: lib\n  tool:\n    plugin: nil\n    after: [lib]\n    override-build: |\n      \
             test -e $PACK_STAGE/library\n      {script}\n    override-stage: |\n      sed -i s/one/two/ library\n"
        )
    };
    let shop = Workshop::new(&part("exit 1"));
    shop.write("lib/library", "one");
    // The library is staged for the build, which fails; the stage is kept.
    shop.refused();
    shop.write("pack.yaml", &format!("name: hello\nversion: '1.0'\nbase: none\nparts:\n{}", part("true")));
    assert!(shop.primed()["library"].contains("two"));
}

#[test]
fn new_commits_of_a_work_tree_are_fetched_though_its_references_are_elsewhere() {
    let shop = Workshop::new("  a:\n    plugin: dump\n    source: tree\n    source-type: git\n");
    let git = |folder: &str, arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=A", "-c", "user.email=a@example.org", "-C"]).arg(shop.path(folder));
        assert!(git.args(arguments).env("GIT_CONFIG_GLOBAL", "/dev/null").status().unwrap().success());
    };
    shop.write("main/file", "one");
    git("main", &["init", "--quiet", "."]);
    git("main", &["add", "."]);
    git("main", &["commit", "--quiet", "-m", "x"]);
    git("main", &["worktree", "add", "--quiet", "../tree"]);
    // Git writes a whole path there, which is another one in the sandbox.
    shop.write("tree/.git", "gitdir: ../main/.git/worktrees/tree\n");
    assert!(shop.primed()["file"].contains("one"));
    shop.write("tree/file", "two");
    git("tree", &["commit", "--quiet", "-a", "-m", "x"]);
    assert!(shop.primed()["file"].contains("two"));
}
