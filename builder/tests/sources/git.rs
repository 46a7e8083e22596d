//! Git repositories.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use pack_builder::sources::SourceError;

use crate::{Workshop, run};

/// A repository with two commits and a tag in `project/repository`; the first commit.
fn repository(workshop: &Workshop) -> String {
    let folder = workshop.path("project/repository");
    fs::create_dir_all(&folder).unwrap();
    run(&folder, "git", &["init", "--quiet", "-b", "main", "."]);
    let mut first = String::new();
    for version in ["one", "two"] {
        fs::write(folder.join("file"), version).unwrap();
        run(&folder, "git", &["add", "."]);
        run(&folder, "git", &["commit", "--quiet", "-m", version]);
        if version == "one" {
            run(&folder, "git", &["tag", "-a", "-m", "x", "v1"]);
            run(&folder, "git", &["branch", "old"]);
            let head = fs::read_to_string(folder.join(".git/refs/heads/main")).unwrap();
            head.trim().clone_into(&mut first);
        }
    }
    first
}

#[test]
fn a_repository_is_checked_out_at_what_is_named_without_what_git_keeps() {
    let first = repository(&Workshop::new(""));
    let git = "source: repository, source-type: git";
    for (more, content) in [
        (String::new(), "two"),
        (", source-tag: v1".to_owned(), "one"),
        (", source-branch: old".to_owned(), "one"),
        (", source-branch: main".to_owned(), "two"),
        (format!(", source-commit: {first}"), "one"),
        (format!(", source-branch: main, source-commit: {first}"), "one"),
        (", source-depth: 0".to_owned(), "two"),
    ] {
        let workshop = Workshop::new(&format!("{git}{more}"));
        assert_eq!(repository(&workshop), first, "the commits are the same wherever they are made");
        let fetched = workshop.fetched();
        assert_eq!(workshop.read("file"), content, "{more}");
        assert_eq!(fetched.commit().unwrap() == first, content == "one", "{more}");
        let names = fs::read_dir(workshop.path("target")).unwrap().count();
        assert_eq!(names, 1, "{more}");
    }
    for more in [", source-tag: none".to_owned(), format!(", source-commit: {}", "ab".repeat(20))] {
        let workshop = Workshop::new(&format!("{git}{more}"));
        repository(&workshop);
        assert!(matches!(workshop.fetch(), Err(SourceError::Git { .. })), "{more}");
    }
}

#[test]
fn submodules_are_fetched_at_their_commits_and_their_git_folders_removed() {
    let workshop = Workshop::new("source: outer, source-type: git");
    repository(&workshop);
    let outer = workshop.path("project/outer");
    fs::create_dir(&outer).unwrap();
    run(&outer, "git", &["init", "--quiet", "."]);
    let allow = ["-c", "protocol.file.allow=always"];
    run(&outer, "git", &[&allow[..], &["submodule", "--quiet", "add", "../repository", "inner"]].concat());
    run(&outer, "git", &["commit", "--quiet", "-m", "x"]);
    workshop.fetched();
    assert_eq!(workshop.read("inner/file"), "two");
    assert!(!workshop.path("target/inner/.git").exists() && !workshop.path("target/.git").exists());
    let workshop = Workshop { part: format!("{}, source-submodules: []", workshop.part), ..workshop };
    workshop.fetched();
    assert!(!workshop.path("target/inner/file").exists());
}

#[test]
fn cve_2024_32002_nothing_of_a_repository_runs_while_it_is_cloned() {
    let workshop = Workshop::new("source: repository, source-type: git");
    repository(&workshop);
    let folder = workshop.path("project/repository");
    let evidence = workshop.path("evidence");
    let hook = format!("#!/bin/sh\ntouch '{}'\n", evidence.display());
    for name in ["post-checkout", "post-merge", "reference-transaction", "pre-auto-gc"] {
        let path = folder.join(".git/hooks").join(name);
        fs::write(&path, &hook).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // A filter and an external helper that the repository's own files ask for.
    fs::write(folder.join(".gitattributes"), "* filter=evil\n").unwrap();
    fs::write(
        folder.join(".gitmodules"),
        format!("[submodule \"x\"]\n path = x\n url = ext::sh -c touch% {}\n", evidence.display()),
    )
    .unwrap();
    run(&folder, "git", &["-c", "core.hooksPath=/dev/null", "add", "."]);
    run(&folder, "git", &["-c", "core.hooksPath=/dev/null", "commit", "--quiet", "-m", "x"]);
    let _ = fs::remove_file(&evidence);
    let fetched = workshop.fetch();
    assert!(!evidence.exists(), "{fetched:?}");
}

#[test]
fn what_git_describe_says_is_told() {
    for (more, version) in [
        (", source-tag: v1", Some("v1")),
        (", source-depth: 0", Some("v1-1-g")),
        // One commit has no history to describe.
        ("", None),
    ] {
        let workshop = Workshop::new(&format!("source: repository, source-type: git{more}"));
        repository(&workshop);
        let fetched = workshop.fetched();
        let (commit, found) = (fetched.commit().unwrap(), fetched.version.clone().unwrap());
        match version {
            Some(version) => assert!(found.starts_with(version), "{found}"),
            None => assert_eq!(found, commit[..12]),
        }
    }
}

#[test]
fn a_repository_with_hashes_of_sha256_is_fetched_by_its_commit() {
    let workshop = Workshop::new("");
    let folder = workshop.path("project/repository");
    fs::create_dir_all(&folder).unwrap();
    run(&folder, "git", &["init", "--quiet", "--object-format=sha256", "-b", "main", "."]);
    fs::write(folder.join("file"), "x").unwrap();
    run(&folder, "git", &["add", "."]);
    run(&folder, "git", &["commit", "--quiet", "-m", "x"]);
    let head = fs::read_to_string(folder.join(".git/refs/heads/main")).unwrap();
    let part = format!("source: repository, source-type: git, source-commit: {}", head.trim());
    let workshop = Workshop { part, ..workshop };
    assert_eq!(workshop.fetched().commit(), Some(head.trim()));
}

#[test]
fn a_repository_of_another_user_is_read() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let workshop = Workshop::new("source: repository, source-type: git");
    repository(&workshop);
    for entry in walkdir::WalkDir::new(workshop.path("project")) {
        chown(entry.unwrap().path(), Some(20001), Some(20001)).unwrap();
    }
    workshop.fetched();
    assert_eq!(workshop.read("file"), "two");
}

#[test]
fn a_repository_outside_of_the_project_is_none_of_it() {
    let workshop = Workshop::new("source: link, source-type: git");
    repository(&workshop);
    fs::rename(workshop.path("project/repository"), workshop.path("elsewhere")).unwrap();
    symlink("../elsewhere", workshop.path("project/link")).unwrap();
    assert!(matches!(workshop.fetch(), Err(SourceError::Outside { .. })));
}

/// Adds the repository at `inner`, in the same folder, as a submodule to a new one, and commits.
fn nest(project: &Path, inner: &str, outer: &str) {
    let folder = project.join(outer);
    fs::create_dir(&folder).unwrap();
    run(&folder, "git", &["init", "--quiet", "."]);
    let allow = ["-c", "protocol.file.allow=always"];
    let add = ["submodule", "--quiet", "add", "--", inner, "in"];
    run(&folder, "git", &[&allow[..], &add].concat());
    run(&folder, "git", &["commit", "--quiet", "-m", "x"]);
}

#[test]
fn submodules_of_submodules_are_fetched_as_far_as_a_person_would_nest_them() {
    let workshop = Workshop::new("");
    repository(&workshop);
    let project = workshop.path("project");
    // Where all of them will be found, from wherever one is cloned to.
    let address = |name: &str| project.join(name).to_str().unwrap().to_owned();
    nest(&project, &address("repository"), "level1");
    for level in 2..=10 {
        nest(&project, &address(&format!("level{}", level - 1)), &format!("level{level}"));
    }
    let of = |level: usize, workshop: Workshop| Workshop {
        part: format!("source: level{level}, source-type: git"),
        ..workshop
    };
    let workshop = of(3, workshop);
    workshop.fetched();
    assert_eq!(workshop.read("in/in/in/file"), "two");
    let left = walkdir::WalkDir::new(workshop.path("target")).into_iter().flatten();
    assert_eq!(left.filter(|entry| entry.file_name() == ".git").count(), 0);
    let workshop = of(8, workshop);
    workshop.fetched();
    let workshop = of(10, workshop);
    let Err(SourceError::Git { problem, .. }) = workshop.fetch() else { panic!() };
    assert!(problem.contains("nested more than eight deep"), "{problem}");
}

/// A repository whose index and `.gitmodules` say what `git submodule add` would not.
fn with_submodule(workshop: &Workshop, modules: &str, path: &str) {
    let first = repository(workshop);
    let folder = workshop.path("project/repository");
    fs::write(folder.join(".gitmodules"), modules).unwrap();
    run(&folder, "git", &["add", ".gitmodules"]);
    run(&folder, "git", &["update-index", "--add", "--cacheinfo", &format!("160000,{first},{path}")]);
    run(&folder, "git", &["commit", "--quiet", "-m", "x"]);
}

#[test]
fn cve_2018_11235_a_submodule_cannot_have_its_folder_outside() {
    let workshop = Workshop::new("source: repository, source-type: git");
    let modules = "[submodule \"../../evil\"]\n path = in\n url = ../repository\n";
    with_submodule(&workshop, modules, "in");
    assert!(matches!(workshop.fetch(), Err(SourceError::Git { .. })));
    assert!(!workshop.path("target/evil").exists() && !workshop.path("evil").exists());
}

#[test]
fn cve_2018_17456_cve_2019_19604_a_submodule_cannot_bring_options_or_commands() {
    for line in [
        "url = --upload-pack=touch\n",
        "url = ../repository\n update = !touch evidence\n",
        "url = ext::sh -c touch% evidence\n",
        "url = file:///etc\n path = -x\n",
    ] {
        let workshop = Workshop::new("source: repository, source-type: git");
        with_submodule(&workshop, &format!("[submodule \"in\"]\n path = in\n {line}"), "in");
        let fetched = workshop.fetch();
        assert!(fetched.is_err(), "{line}: {fetched:?}");
        for place in ["target", "project/repository", ""] {
            assert!(!workshop.path(place).join("evidence").exists(), "{line}");
        }
    }
}

#[test]
fn cve_2022_39253_links_in_a_repository_of_the_project_are_not_followed() {
    let workshop = Workshop::new("source: repository, source-type: git");
    repository(&workshop);
    let objects = workshop.path("project/repository/.git/objects");
    fs::write(workshop.path("secret"), "secret").unwrap();
    fs::create_dir_all(objects.join("zz")).unwrap();
    symlink(workshop.path("secret"), objects.join("zz/leak")).unwrap();
    workshop.fetched();
    let all = walkdir::WalkDir::new(workshop.path("target")).into_iter().flatten();
    assert_eq!(all.filter(|entry| entry.file_type().is_file()).count(), 1);
}
