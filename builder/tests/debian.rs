//! Debian packages, staged from the real archive by a user who may do nothing, and from packages made for the test.
#![allow(clippy::print_stderr)]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use common::{UNPRIVILEGED, is_rerun, rerun};
use pack_builder::debian::{
    DebianError, Note, PRESENT_FOLDER, PresentPackage, Progress, Request, StagedPackage, stage, unpack_files,
};
use pack_schemas::names::Architecture;
use walkdir::WalkDir;

/// The user of [`UNPRIVILEGED`].
const USER: u32 = 20001;

/// Where the tests keep what they download, between runs too.
const CACHE: &str = "DEBIAN_TEST_CACHE";

/// Runs a test as an ordinary user. Root calls it first, and has it run again.
fn as_ordinary_user(test: &str, act: impl FnOnce(&Path)) {
    let cache = std::env::var_os(CACHE).map_or_else(
        || Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("debian-cache-{}", own_uid())),
        PathBuf::from,
    );
    if is_rerun() || own_uid() != 0 {
        return act(&cache);
    }
    let cache = cache.with_file_name(format!("debian-cache-{USER}"));
    fs::create_dir_all(&cache).unwrap();
    chown(&cache, Some(USER), Some(USER)).unwrap();
    rerun(test, &UNPRIVILEGED, &[(CACHE, &cache)]);
}

fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

fn request(packages: &[&str], cache: &Path) -> Request {
    let packages = packages.iter().map(|name| (*name).to_owned()).collect();
    Request::new(packages, cache.to_owned(), Architecture::HOST, SystemTime::now())
}

fn stage_quietly(request: &Request, target: &Path) -> Vec<StagedPackage> {
    let staged = stage(request, target, &mut |progress| {
        if let Progress::Note(note) = progress {
            eprintln!("note: {note}");
        }
    });
    staged.unwrap_or_else(|error| panic!("{error}"))
}

/// Every path of a tree with its type, mode, and content or target.
fn snapshot(root: &Path) -> BTreeMap<PathBuf, String> {
    let describe = |entry: &walkdir::DirEntry| {
        let mode = entry.metadata().unwrap().mode();
        if entry.file_type().is_symlink() {
            format!("-> {}", fs::read_link(entry.path()).unwrap().display())
        } else if entry.file_type().is_dir() {
            format!("{mode:o}")
        } else {
            format!("{mode:o} {}", blake3::hash(&fs::read(entry.path()).unwrap()))
        }
    };
    WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.path().strip_prefix(root).unwrap().to_owned(), describe(&entry)))
        .collect()
}

/// Runs a staged program with nothing but staged libraries.
fn run_staged(target: &Path, program: &str, arguments: &[&str]) -> Output {
    let loader = match Architecture::HOST {
        Architecture::Arm64 => "lib/ld-linux-aarch64.so.1",
        _ => "lib64/ld-linux-x86-64.so.2",
    };
    let libraries = target.join("usr/lib").join(Architecture::HOST.triplet().unwrap());
    let mut command = Command::new(target.join(loader));
    command.arg("--inhibit-cache").arg("--library-path").arg(libraries).arg(target.join(program));
    command.args(arguments).env_clear().output().unwrap()
}

#[test]
fn jq_comes_with_its_closure_and_the_same_tree_twice() {
    as_ordinary_user("jq_comes_with_its_closure_and_the_same_tree_twice", |cache| {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        let staged = stage_quietly(&request(&["jq"], cache), &first);
        let names: Vec<&str> = staged.iter().map(|package| package.name.as_str()).collect();
        for name in ["jq", "libc6", "libjq1", "libonig5"] {
            assert!(names.contains(&name), "{names:?}");
        }
        assert!(names.is_sorted() && staged.iter().all(|package| package.sha256.len() == 64), "{staged:?}");

        let archives = cache.join(Architecture::HOST.as_str()).join("cache/archives");
        let times = |folder: &Path| -> Vec<SystemTime> {
            let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
            files.filter(|file| file.is_file()).map(|file| file.modified().unwrap()).collect()
        };
        let before = times(&archives).len();
        assert_eq!(stage_quietly(&request(&["jq"], cache), &second), staged);
        assert_eq!(before, times(&archives).len());
        assert_eq!(snapshot(&first), snapshot(&second));

        let output = run_staged(&first, "usr/bin/jq", &["-n", "[1, 2] | add"]);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "3\n", "{output:?}");
        assert_eq!(fs::read_link(first.join("lib")).unwrap(), Path::new("usr/lib"));
        assert!(
            WalkDir::new(&first)
                .into_iter()
                .all(|entry| entry.unwrap().metadata().unwrap().mode() & 0o6000 == 0)
        );
    });
}

#[test]
fn redis_server_starts() {
    as_ordinary_user("redis_server_starts", |cache| {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("tree");
        stage_quietly(&request(&["redis-server"], cache), &target);
        let output = run_staged(&target, "usr/bin/redis-server", &["--version"]);
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("Redis server v="), "{output:?}");
    });
}

#[test]
fn a_gtk_program_gets_the_caches_that_it_needs() {
    as_ordinary_user("a_gtk_program_gets_the_caches_that_it_needs", |cache| {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "elsewhere/second"].map(|name| folder.path().join(name));
        let request = request(&["galculator", "librsvg2-common"], cache);
        stage_quietly(&request, &first);
        stage_quietly(&request, &second);
        assert_eq!(snapshot(&first), snapshot(&second));
        let library = format!("usr/lib/{}", Architecture::HOST.triplet().unwrap());
        let loaders =
            fs::read_to_string(first.join(&library).join("gdk-pixbuf-2.0/2.10.0/loaders.cache")).unwrap();
        let svg = format!("\"/{library}/gdk-pixbuf-2.0/2.10.0/loaders/libpixbufloader-svg.so\"");
        assert!(loaders.contains(&svg) && !loaders.contains(folder.path().to_str().unwrap()), "{loaders}");
        for path in [
            "usr/share/glib-2.0/schemas/gschemas.compiled".to_owned(),
            "usr/share/mime/mime.cache".to_owned(),
            format!("{library}/gtk-3.0/3.0.0/immodules.cache"),
        ] {
            assert!(fs::metadata(first.join(&path)).unwrap().len() > 100, "{path}");
        }
    });
}

#[test]
fn an_unknown_package_is_named_with_its_nearest_neighbour() {
    as_ordinary_user("an_unknown_package_is_named_with_its_nearest_neighbour", |cache| {
        let folder = tempfile::tempdir().unwrap();
        let result = stage(&request(&["redis-servr"], cache), &folder.path().join("tree"), &mut |_| ());
        let error = result.unwrap_err();
        assert!(
            matches!(&error, DebianError::UnknownPackage { name, near: Some(near), .. }
            if name == "redis-servr" && near == "redis-server"),
            "{error:?}"
        );
        assert_eq!(error.hint().unwrap(), "did you mean `redis-server`?");
        // What apt would take for the removal of a package, and for a pattern.
        for name in ["jq-", "libjq.", "jq+"] {
            let result = stage(&request(&[name], cache), &folder.path().join("tree"), &mut |_| ());
            assert!(matches!(result, Err(DebianError::UnknownPackage { .. })), "{name}: {result:?}");
        }
    });
}

#[test]
fn without_a_network_the_error_says_so_and_the_cache_still_serves() {
    as_ordinary_user("without_a_network_the_error_says_so_and_the_cache_still_serves", |cache| {
        let folder = tempfile::tempdir().unwrap();
        let proxy = |request: Request| Request {
            environment: vec![("http_proxy".into(), "http://127.0.0.1:9".into())],
            ..request
        };
        stage_quietly(&request(&["jq"], cache), &folder.path().join("warm"));
        stage_quietly(&proxy(request(&["jq"], cache)), &folder.path().join("served"));

        let cold = proxy(request(&["jq"], &folder.path().join("cold")));
        let error = stage(&cold, &folder.path().join("tree"), &mut |_| ()).unwrap_err();
        assert!(matches!(&error, DebianError::Network { what: "the lists of packages", .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("http_proxy"));
    });
}

/// A Debian package to be made: name, dependencies, and files as path, content, mode.
struct Recipe<'a> {
    name: &'a str,
    depends: &'a str,
    files: &'a [(&'a str, &'a str, u32)],
    links: &'a [(&'a str, &'a str)],
}

/// Makes a `.deb` with the host's dpkg-deb.
fn make_deb(folder: &Path, recipe: &Recipe<'_>) -> PathBuf {
    let root = folder.join(format!("{}-files", recipe.name));
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("DEBIAN")).unwrap();
    let mut control = format!(
        "Package: {}\nVersion: 1:2.0-1\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n",
        recipe.name
    );
    if !recipe.depends.is_empty() {
        control.push_str(&format!("Depends: {}\n", recipe.depends));
    }
    fs::write(root.join("DEBIAN/control"), control).unwrap();
    // The script is read and never run: it would fail.
    let (name, priority) = (recipe.name, if recipe.name == "two" { 2 } else { 1 });
    let postinst = format!(
        "#!/bin/sh\nupdate-alternatives --install /usr/bin/pick pick /usr/bin/{name} {priority} \\\n  --slave \
         /usr/share/pick pick.data /usr/share/{name}/data\nupdate-alternatives --install /usr/bin/$X x /x 1\nexit 1\n"
    );
    fs::write(root.join("DEBIAN/postinst"), postinst).unwrap();
    fs::set_permissions(root.join("DEBIAN/postinst"), Permissions::from_mode(0o755)).unwrap();
    for (path, content, mode) in recipe.files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
    }
    for (path, target) in recipe.links {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }
    let deb = folder.join(format!("{}.deb", recipe.name));
    let mut command = Command::new("dpkg-deb");
    let output = command.args(["--root-owner-group", "--build"]).arg(&root).arg(&deb).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    deb
}

const ONE: Recipe<'_> = Recipe {
    name: "one",
    depends: "two",
    files: &[
        ("lib/libone.so.1", "one", 0o644),
        ("usr/bin/one", "#!/bin/sh\n", 0o4755),
        ("etc/one.conf", "", 0o400),
    ],
    links: &[("usr/lib/libone.so", "/lib/libone.so.1"), ("lib/data", "../usr/share/two/data")],
};

const TWO: Recipe<'_> = Recipe {
    name: "two",
    depends: "",
    files: &[("usr/lib/libtwo.so.1", "two", 0o644), ("usr/share/two/data", "data", 0o600)],
    links: &[("bin/two", "/usr/bin/one")],
};

#[test]
fn lib_and_usr_lib_become_one_whatever_the_order() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (make_deb(folder.path(), &ONE), make_deb(folder.path(), &TWO));
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    let staged = unpack_files(&[one.clone(), two.clone()], &first).unwrap();
    assert_eq!(staged[0].version, "1:2.0-1");
    assert_eq!(unpack_files(&[two, one], &second).unwrap(), staged);
    assert_eq!(snapshot(&first), snapshot(&second));
    for (path, content) in [("lib/libone.so", "one"), ("usr/lib/libtwo.so.1", "two"), ("lib/data", "data")] {
        assert_eq!(fs::read_to_string(first.join(path)).unwrap(), content, "{path}");
    }
    assert_eq!(fs::read_link(first.join("usr/bin/two")).unwrap(), Path::new("one"));
    assert_eq!(fs::metadata(first.join("bin/two")).unwrap().mode() & 0o7777, 0o755);
}

#[test]
fn two_packages_with_different_files_at_one_path_are_both_named() {
    let folder = tempfile::tempdir().unwrap();
    let other =
        Recipe { name: "three", depends: "", files: &[("usr/lib/libone.so.1", "other", 0o644)], links: &[] };
    let same =
        Recipe { name: "four", depends: "", files: &[("usr/lib/libone.so.1", "one", 0o600)], links: &[] };
    let [one, other, same] = [&ONE, &other, &same].map(|recipe| make_deb(folder.path(), recipe));
    unpack_files(&[one.clone(), same], &folder.path().join("same")).unwrap();
    let error = unpack_files(&[other, one], &folder.path().join("tree")).unwrap_err();
    let text = "the Debian packages `one` and `three` both hold `usr/lib/libone.so.1`, and differ in it";
    assert_eq!(error.to_string(), text);
    assert!(error.hint().is_some());
}

#[test]
fn a_damaged_package_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let deb = make_deb(folder.path(), &ONE);
    let bytes = fs::read(&deb).unwrap();
    for length in (0..bytes.len()).step_by(37) {
        fs::write(&deb, &bytes[..length]).unwrap();
        let result = unpack_files(std::slice::from_ref(&deb), &folder.path().join(format!("tree-{length}")));
        assert!(result.is_err(), "{length} of {}", bytes.len());
    }
}

/// A folder of packages that apt can use, and a folder like /etc/apt that names it.
fn make_archive(folder: &Path, recipes: &[&Recipe<'_>], options: &str) -> PathBuf {
    let archive = folder.join("archive");
    let etc = folder.join("etc-apt");
    for path in
        [&archive, &etc.join("sources.list.d"), &etc.join("preferences.d"), &etc.join("trusted.gpg.d")]
    {
        fs::create_dir_all(path).unwrap();
    }
    let mut list = String::new();
    for recipe in recipes {
        let deb = make_deb(folder, recipe);
        let hash = Command::new("sha256sum").arg(&deb).output().unwrap().stdout;
        let hash = String::from_utf8(hash).unwrap()[..64].to_owned();
        let control = Command::new("dpkg-deb").arg("--field").arg(&deb).output().unwrap().stdout;
        let control = String::from_utf8(control).unwrap();
        let (name, size) = (recipe.name, fs::metadata(&deb).unwrap().len());
        list.push_str(&format!("{control}Filename: ./{name}.deb\nSize: {size}\nSHA256: {hash}\n\n"));
        fs::rename(&deb, archive.join(format!("{name}.deb"))).unwrap();
    }
    fs::write(archive.join("Packages"), list).unwrap();
    fs::write(etc.join("sources.list"), format!("deb {options} copy:{}/ ./\n", archive.display())).unwrap();
    etc
}

#[test]
fn an_archive_of_ones_own_serves_and_what_changed_in_it_is_noticed() {
    as_ordinary_user("an_archive_of_ones_own_serves_and_what_changed_in_it_is_noticed", |_| {
        let folder = tempfile::tempdir().unwrap();
        let apt_folder = make_archive(folder.path(), &[&ONE], "[trusted=yes]");
        let request = Request { apt_folder, ..request(&["one"], &folder.path().join("cache with space")) };
        let tree = |name: &str| folder.path().join(name);
        let error = stage(&request, &tree("unmet"), &mut |_| ()).unwrap_err();
        assert!(
            matches!(&error, DebianError::Unsatisfiable { output } if output.contains("two")),
            "{error:?}"
        );

        // The lists are a moment old and say that there is no `two`: they are fetched again, for that reason alone.
        make_archive(folder.path(), &[&ONE, &TWO], "[trusted=yes]");
        let mut notes = Vec::new();
        let staged = stage(&request, &tree("met"), &mut |progress| {
            if let Progress::Note(note) = progress {
                notes.push(note);
            }
        });
        assert_eq!(staged.unwrap().len(), 2);
        let note = |package: &str| Note::Alternatives { package: package.into() };
        assert_eq!(notes, [note("one"), note("two")]);

        // Of the two that would be picked the one with the higher priority is, with what goes along with it.
        for (link, target) in [("usr/bin/pick", "two"), ("usr/share/pick", "two/data")] {
            assert_eq!(fs::read_link(tree("met").join(link)).unwrap(), Path::new(target));
        }

        // What the base has is not staged once more, and a base tells what it has.
        let recorded = Request { record: true, packages: vec!["two".into()], ..request.clone() };
        stage(&recorded, &tree("base"), &mut |_| ()).unwrap();
        let control = fs::read_to_string(tree("base").join(PRESENT_FOLDER).join("two")).unwrap();
        let present = vec![PresentPackage::parse(&control).unwrap()];
        let staged = stage(&Request { present, ..request.clone() }, &tree("beyond"), &mut |_| ()).unwrap();
        assert!(matches!(&staged[..], [one] if one.name == "one"), "{staged:?}");
        assert_eq!(fs::read_link(tree("beyond/usr/bin/pick")).unwrap(), Path::new("one"));
        assert!(!tree("beyond").join(PRESENT_FOLDER).exists());

        // A file that was altered in the cache, without a change of its length, is found out.
        let mut cached = WalkDir::new(&request.cache).into_iter().map(|entry| entry.unwrap().into_path());
        let deb = cached.find(|path| path.to_string_lossy().contains("archives/one_")).unwrap();
        let mut bytes = fs::read(&deb).unwrap();
        let last = bytes.len() - 20;
        bytes[last] ^= 1;
        fs::write(&deb, bytes).unwrap();
        let error = stage(&request, &tree("altered"), &mut |_| ()).unwrap_err();
        assert!(matches!(&error, DebianError::Altered { path, .. } if *path == deb), "{error:?}");
        assert!(!tree("altered").exists());

        fs::remove_file(&deb).unwrap();
        let later = Request { now: request.now + Duration::from_secs(25 * 60 * 60), ..request.clone() };
        let mut updated = false;
        stage(&later, &tree("later"), &mut |progress| updated |= matches!(progress, Progress::Updating))
            .unwrap();
        assert!(updated);
    });
}

#[test]
fn an_archive_that_nobody_signed_is_refused() {
    as_ordinary_user("an_archive_that_nobody_signed_is_refused", |_| {
        let folder = tempfile::tempdir().unwrap();
        let apt_folder = make_archive(folder.path(), &[&TWO], "");
        let request = Request { apt_folder, ..request(&["two"], &folder.path().join("cache")) };
        let error = stage(&request, &folder.path().join("tree"), &mut |_| ()).unwrap_err();
        assert!(error.to_string().contains("not signed") || error.to_string().contains("Release"), "{error}");
        assert!(!folder.path().join("tree").exists());
    });
}
