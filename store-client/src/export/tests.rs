//! Exports as a whole: what is made, what is left alone, what goes again.

use super::*;
use crate::testing::{FolderFiles, Home, envelope};
use pack_schemas::desktop::DESKTOP_LIMIT;
use pack_schemas::names::Hash;
use serde_json::json;
use std::os::unix::fs::{PermissionsExt, symlink};

const ENTRY: &str = "[Desktop Entry]\nType=Application\nName=Hello\nExec=hello %F\nIcon=hello\n";
const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"/>";

/// A home, and a package `hello` with the apps `hello` and `tool`; the first has a menu entry.
struct World {
    home: Home,
    content: tempfile::TempDir,
    settings: ExportSettings,
}

impl World {
    fn new() -> World {
        let content = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(content.path().join("usr/share/icons/hicolor/scalable/apps")).unwrap();
        std::fs::write(content.path().join("usr/share/icons/hicolor/scalable/apps/hello.svg"), SVG).unwrap();
        std::fs::write(content.path().join("hello.desktop"), ENTRY).unwrap();
        let settings = ExportSettings { pack: "/usr/bin/pack".into(), search_path: Vec::new() };
        World { home: Home::new(), content, settings }
    }

    fn package(&self) -> OpenedPackage {
        let manifest = json!({ "apps": {
            "hello": { "command": "bin/hello", "desktop": "hello.desktop" },
            "tool": { "command": "bin/tool" },
        } });
        OpenedPackage {
            envelope_hash: Hash([0; 32]),
            envelope: envelope("hello", "1", manifest),
            signers: Vec::new(),
            files: Box::new(FolderFiles(self.content.path().to_owned())),
        }
    }

    fn plan(&self) -> Result<ExportPlan, ExportError> {
        plan(Material::of(&self.package()), &self.settings)
    }

    fn claim(&self, recorded: &BTreeSet<Export>) -> ExportPlan {
        let plan = self.plan().unwrap();
        claim(&self.home.folders, &self.settings, &"hello".parse().unwrap(), plan, recorded).unwrap()
    }

    /// Publishes what can be, and returns it.
    fn publish(&self, recorded: &BTreeSet<Export>) -> BTreeSet<Export> {
        let plan = self.claim(recorded);
        for file in &plan.files {
            assert_eq!(publish(&self.home.folders, &"hello".parse().unwrap(), file).unwrap(), None);
        }
        plan.files.into_iter().map(|file| file.export).collect()
    }

    fn withdraw(&self, package: &str, exports: &BTreeSet<Export>) {
        for export in exports {
            withdraw(&self.home.folders, &package.parse().unwrap(), export).unwrap();
        }
    }

    fn path(&self, place: ExportPlace, name: &str) -> PathBuf {
        self.home.folders.exports(place).join(name)
    }

    /// All files below the home but those of pack itself.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() && !path.is_symlink() {
                    walk(&path, base, found);
                } else {
                    found.push(path.strip_prefix(base).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        let base = self.home.folders.commands().parent().unwrap().to_owned();
        let mut found = Vec::new();
        walk(&base, &base, &mut found);
        found.sort();
        found
    }
}

const ALL: [&str; 4] = [
    "bin/hello",
    "bin/hello.tool",
    "share/applications/hello_hello.desktop",
    "share/icons/hicolor/scalable/apps/hello_hello.svg",
];

#[test]
fn everything_is_made_and_exactly_that_goes_again() {
    let world = World::new();
    let bystanders =
        ["bin/other", "share/applications/other.desktop", "share/icons/hicolor/scalable/apps/other.svg"];
    for name in bystanders {
        let path = world.home.folders.commands().parent().unwrap().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let exports = world.publish(&BTreeSet::new());
    let mut expected = [&ALL[..], &bystanders].concat();
    expected.sort_unstable();
    assert_eq!(world.files(), expected);
    let mode = world.path(ExportPlace::Commands, "hello").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    // Again, as an upgrade does.
    assert_eq!(world.publish(&exports), exports);
    world.withdraw("hello", &exports);
    assert_eq!(world.files(), bystanders);
}

#[test]
fn folders_that_are_empty_afterwards_go_too() {
    let world = World::new();
    let exports = world.publish(&BTreeSet::new());
    world.withdraw("hello", &exports);
    assert!(!world.path(ExportPlace::Icons, "hicolor").exists());
    assert!(world.home.folders.commands().exists(), "the user's own folder stays");
}

#[test]
fn a_file_that_is_not_ours_is_neither_overwritten_nor_removed() {
    for (place, name) in [
        (ExportPlace::Commands, "hello"),
        (ExportPlace::Applications, "hello_hello.desktop"),
        (ExportPlace::Icons, "hicolor/scalable/apps/hello_hello.svg"),
    ] {
        let world = World::new();
        let path = world.path(place, name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "mine").unwrap();
        let plan = world.claim(&BTreeSet::new());
        assert_eq!(plan.warnings, [ExportWarning::NotOurs { path: path.clone() }]);
        let exports = world.publish(&BTreeSet::new());
        assert_eq!(exports.len(), 3);
        world.withdraw("hello", &exports);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }
}

#[test]
fn a_link_or_folder_in_the_way_is_not_ours() {
    for make in [
        |path: &Path| symlink("/bin/true", path).unwrap(),
        |path: &Path| std::fs::create_dir(path).unwrap(),
        // A link to a file that bears our mark is a link all the same.
        |path: &Path| {
            let target = path.with_file_name("target");
            std::fs::write(&target, "#!/bin/sh\n# pack-export hello hello\n").unwrap();
            symlink(target, path).unwrap();
        },
    ] {
        let world = World::new();
        let path = world.path(ExportPlace::Commands, "hello");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        make(&path);
        let plan = world.claim(&BTreeSet::new());
        assert_eq!(plan.warnings, [ExportWarning::NotOurs { path: path.clone() }]);
        world.withdraw("hello", &BTreeSet::from([export(ExportPlace::Commands, "hello".to_owned())]));
        assert!(path.symlink_metadata().is_ok());
    }
}

#[test]
fn a_file_that_came_since_it_was_claimed_is_not_overwritten() {
    let world = World::new();
    let plan = world.claim(&BTreeSet::new());
    let path = world.path(ExportPlace::Commands, "hello");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "mine").unwrap();
    let command = plan.files.iter().find(|file| file.export.path.as_str() == "hello").unwrap();
    let warning = publish(&world.home.folders, &"hello".parse().unwrap(), command).unwrap();
    assert_eq!(warning, Some(ExportWarning::NotOurs { path: path.clone() }));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

/// A package never removes or replaces what another one exports, however their names resemble each other.
#[test]
fn cve_2016_1580_the_exports_of_another_package_are_foreign() {
    let world = World::new();
    let exports = world.publish(&BTreeSet::new());
    for other in ["hello-evil", "hell", "he"] {
        world.withdraw(other, &exports);
        assert_eq!(world.files(), ALL);
    }
}

#[test]
fn a_command_that_takes_the_place_of_another_is_told() {
    let mut world = World::new();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("hello"), "").unwrap();
    world.settings.search_path = vec![world.home.folders.commands(), elsewhere.path().to_owned()];
    world.publish(&BTreeSet::new());
    let plan = world.claim(&BTreeSet::new());
    let other = elsewhere.path().join("hello");
    let expected = ExportWarning::Shadows { command: "hello".to_owned(), other };
    assert!(plan.warnings.contains(&expected), "{:?}", plan.warnings);
}

#[test]
fn cve_2024_29068_and_29069_an_entry_that_is_no_regular_file_refuses_the_package() {
    let world = World::new();
    let entry = world.content.path().join("hello.desktop");
    let refused = || match world.plan() {
        Err(ExportError::NoEntry { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    std::fs::remove_file(&entry).unwrap();
    assert_eq!(refused(), "is missing");
    symlink("/etc/passwd", &entry).unwrap();
    assert_eq!(refused(), "is not a regular file");
    std::fs::remove_file(&entry).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &entry, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(refused(), "is not a regular file");
    std::fs::remove_file(&entry).unwrap();
    std::fs::write(&entry, vec![b'#'; DESKTOP_LIMIT + 1]).unwrap();
    assert!(matches!(world.plan(), Err(ExportError::Desktop { source: DesktopError::TooLong, .. })));
}

#[test]
fn cve_2021_21381_a_hostile_entry_refuses_the_package() {
    let world = World::new();
    for hostile in [
        ENTRY.replace("hello %F", "sh -c id"),
        ENTRY.replace("hello %F", "hello @@ %F @@"),
        format!("{ENTRY}X-Pack-Name=other\n"),
    ] {
        std::fs::write(world.content.path().join("hello.desktop"), hostile).unwrap();
        assert!(matches!(world.plan(), Err(ExportError::Desktop { .. })));
    }
}

#[test]
fn a_bad_icon_is_told_and_the_rest_is_exported() {
    let world = World::new();
    let icon = world.content.path().join("usr/share/icons/hicolor/scalable/apps/hello.svg");
    std::fs::write(icon, "<svg><script/></svg>").unwrap();
    let plan = world.plan().unwrap();
    assert!(matches!(plan.warnings.as_slice(), [ExportWarning::Icon { .. }]));
    assert_eq!(plan.files.len(), 3);
    let entry = plan.files.iter().find(|file| file.export.place == ExportPlace::Applications).unwrap();
    assert!(!String::from_utf8_lossy(&entry.bytes).contains("Icon="));
}

#[test]
fn the_packages_own_icon_stands_in_for_one_that_is_missing() {
    let world = World::new();
    std::fs::remove_dir_all(world.content.path().join("usr")).unwrap();
    std::fs::write(world.content.path().join("logo.svg"), SVG).unwrap();
    let mut package = world.package();
    package.envelope.manifest.icon = Some("logo.svg".to_owned().try_into().unwrap());
    let plan = plan(Material::of(&package), &world.settings).unwrap();
    let entry = plan.files.iter().find(|file| file.export.place == ExportPlace::Applications).unwrap();
    let text = String::from_utf8_lossy(&entry.bytes);
    assert!(text.contains("\nIcon=hello_logo\n"), "{text}");
    assert!(
        plan.files.iter().any(|file| file.export.path.as_str() == "hicolor/scalable/apps/hello_logo.svg")
    );
}

#[test]
fn a_pack_that_is_nowhere_cannot_be_exported() {
    let mut world = World::new();
    for path in ["pack", ""] {
        world.settings.pack = path.into();
        assert!(matches!(world.plan(), Err(ExportError::PackPath { .. })), "{path}");
    }
}

/// The real validator has nothing to say against what is exported.
#[test]
fn desktop_file_validate_passes() {
    let world = World::new();
    std::fs::create_dir_all(world.content.path().join("meta")).unwrap();
    for entry in [
        ENTRY.to_owned(),
        format!(
            "{ENTRY}Name[de]=Hallo\nGenericName=Greeter\nComment=a\\nb \\\\ c\nKeywords=a;b\\;c;\nKeywords[de]=ä;\n\
             Categories=Utility;Development;\nMimeType=text/plain;bad;x-scheme-handler/hello\nTerminal=true\n\
             StartupNotify=false\nStartupWMClass=Hello\nNoDisplay=maybe\nTryExec=/x\nPath=/\nVersion=0.9\n\
             X-KDE-Wrong key here=1\n"
        )
        .replace("X-KDE-Wrong key here=1\n", "X-KDE-Protocols=a\nEncoding=UTF-8\nActions=new;gone;\n")
            + "[Desktop Action new]\nName=New\nIcon=utilities-terminal.png\nExec=/bin/tool \"a b\" 50%%\n\
               [Desktop Action unlisted]\nName=x\nExec=tool\n[KDE Thing]\nx=y\n",
        ENTRY.replace("hello %F", "\"hello\" --url=%u \"it's \\\\$5\" %i %c %k"),
    ] {
        std::fs::write(world.content.path().join("hello.desktop"), &entry).unwrap();
        let plan = world.plan().unwrap();
        let file = plan.files.iter().find(|file| file.export.place == ExportPlace::Applications).unwrap();
        let path = world.content.path().join("hello_hello.desktop");
        std::fs::write(&path, &file.bytes).unwrap();
        let output = std::process::Command::new("desktop-file-validate").arg(&path).output();
        let output = output.expect("desktop-file-utils is among the packages that the tests need");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors: Vec<&str> = said.lines().filter(|line| !line.contains("hint:")).collect();
        assert!(output.status.success() && errors.is_empty(), "{said}\n{}", String::from_utf8_lossy(&file.bytes));
    }
}
