//! What build-packages come to, from the host's archive and one of the test's own: when it changes, and without a network.

mod common;
mod workshop;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use pack_builder::debian::{APT_FOLDER, DebianError, Request};
use pack_builder::parts::{Change, Step, StepError, Why};
use pack_schemas::names::Architecture;
use workshop::{Steps, Workshop, as_ordinary_user, told};

/// The package of the test's own archive, and of its program.
const TOOL: &str = "pack-test-tool";

/// Puts a version of the package into an archive in `folder`; the folder like /etc/apt that has it beside the host's sources.
fn publish(folder: &Path, version: &str) -> PathBuf {
    let (archive, etc, files) = (folder.join("archive"), folder.join("etc-apt"), folder.join("files"));
    let program = files.join("usr/bin").join(TOOL);
    for path in [&archive, &files.join("DEBIAN"), &files.join("usr/bin")] {
        fs::create_dir_all(path).unwrap();
    }
    if !etc.exists() {
        fs::create_dir(&etc).unwrap();
        // Where the sources are, and whom they are believed.
        for name in
            ["sources.list", "sources.list.d", "trusted.gpg", "trusted.gpg.d", "keyrings", "preferences.d"]
        {
            let path = Path::new(APT_FOLDER).join(name);
            if path.exists() {
                run("cp", &["-r", "--no-preserve=mode", path.to_str().unwrap(), etc.to_str().unwrap()]);
            }
        }
    }
    fs::write(&program, format!("#!/bin/sh\necho version {version}\n")).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let control = format!(
        "Package: {TOOL}\nVersion: {version}\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: test\n"
    );
    fs::write(files.join("DEBIAN/control"), &control).unwrap();
    let deb = archive.join("tool.deb");
    run("dpkg-deb", &["--root-owner-group", "--build", files.to_str().unwrap(), deb.to_str().unwrap()]);
    let hash = run("sha256sum", &[deb.to_str().unwrap()])[..64].to_owned();
    let size = fs::metadata(&deb).unwrap().len();
    let list = format!("{control}Filename: ./tool.deb\nSize: {size}\nSHA256: {hash}\n");
    fs::write(archive.join("Packages"), list).unwrap();
    let source = format!("deb [trusted=yes] copy:{}/ ./\n", archive.display());
    fs::write(etc.join("sources.list.d/pack-test.list"), source).unwrap();
    etc
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn built(shop: &Workshop) -> Steps {
    let mut steps = Steps::default();
    shop.build_until(Step::Prime, &mut steps).unwrap_or_else(|error| panic!("{}", told(&error)));
    steps
}

fn made(shop: &Workshop) -> String {
    fs::read_to_string(shop.path(".pack/prime/told")).unwrap()
}

fn build_changed(name: &str) -> Why {
    Why::Changed(vec![Change { what: "build-packages".to_owned(), files: vec![name.into()], more: 0 }])
}

#[test]
fn a_part_is_built_again_exactly_when_its_packages_have_changed() {
    as_ordinary_user("a_part_is_built_again_exactly_when_its_packages_have_changed", || {
        let folder = tempfile::tempdir().unwrap();
        let apt_folder = publish(folder.path(), "1");
        let hours = |number: u64| SystemTime::now() + Duration::from_secs(number * 3600);
        let request = |now| Request {
            apt_folder: apt_folder.clone(),
            ..Request::new(Vec::new(), folder.path().join("cache"), Architecture::HOST, now)
        };
        let mut shop = Workshop::new(&format!(
            "  tool:\n    plugin: nil\n    build-packages: [{TOOL}]\n    override-build: {TOOL} > $PACK_PART_INSTALL/told\n"
        ));
        shop.surroundings.debian = Some(request(hours(0)));
        assert_eq!(built(&shop).ran.len(), 4);
        assert_eq!(made(&shop), "version 1\n");
        let roots = || fs::read_dir(folder.path().join("cache/roots")).unwrap().count();
        let before = roots();

        // The lists are of today, and believed.
        publish(folder.path(), "2");
        assert_eq!(built(&shop).ran.len(), 0);
        // Those of tomorrow have another version; so has the root.
        shop.surroundings.debian = Some(request(hours(25)));
        let steps = built(&shop);
        assert_eq!(steps.ran, ["build tool", "stage tool", "prime tool"]);
        assert_eq!(steps.why[0], build_changed(TOOL));
        assert_eq!((made(&shop), roots()), ("version 2\n".to_owned(), before + 1));
        // Two days later nothing has changed, and lists are fetched to know it.
        shop.surroundings.debian = Some(request(hours(75)));
        assert_eq!(built(&shop).ran.len(), 0);

        // Without a network, older lists do, and the root is there.
        let proxy = |name: &str| (name.into(), "http://127.0.0.1:9".into());
        let cut =
            Request { environment: vec![proxy("http_proxy"), proxy("https_proxy")], ..request(hours(150)) };
        shop.surroundings.debian = Some(cut.clone());
        let text = fs::read_to_string(shop.path("pack.yaml")).unwrap();
        fs::write(
            shop.path("pack.yaml"),
            text.replace("/told", "/told; echo again >> $PACK_PART_INSTALL/told"),
        )
        .unwrap();
        fs::remove_dir_all(
            folder.path().join("cache").join(Architecture::HOST.as_str()).join("cache/archives"),
        )
        .unwrap();
        let steps = built(&shop);
        assert_eq!(steps.ran, ["build tool", "stage tool", "prime tool"]);
        assert!(steps.notes.iter().any(|note| note.contains("older ones are used")), "{:?}", steps.notes);
        assert_eq!((made(&shop), roots()), ("version 2\nagain\n".to_owned(), before + 1));

        // Where nothing is there, it is the network that is missed.
        fs::remove_file(apt_folder.join("sources.list.d/pack-test.list")).unwrap();
        shop.surroundings.debian = Some(Request { cache: folder.path().join("empty"), ..cut });
        let (part, step, error) = shop.refused();
        assert_eq!((part.as_str(), step), ("tool", Step::Pull));
        assert!(
            matches!(&error, StepError::Root(DebianError::Network { what: "the lists of packages", .. })),
            "{error:?}"
        );
        assert!(error.hint().unwrap().contains("http_proxy"));
    });
}
