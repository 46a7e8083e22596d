//! Icons as packages bring them, good and hostile.

use super::*;
use crate::reader::OpenedPackage;
use crate::testing::{FolderFiles, envelope};
use pack_schemas::names::Hash;
use std::os::unix::fs::symlink;

/// A package whose files lie in a folder.
struct Package {
    folder: tempfile::TempDir,
    opened: OpenedPackage,
}

impl Package {
    fn new() -> Package {
        let folder = tempfile::tempdir().unwrap();
        let files = Box::new(FolderFiles(folder.path().to_owned()));
        let envelope = envelope("hello", "1", serde_json::json!({}));
        let opened = OpenedPackage { envelope_hash: Hash([0; 32]), envelope, signers: Vec::new(), files };
        Package { folder, opened }
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The paths of the files that an icon is exported as, and the problems.
    fn find(&self, icon: &str) -> (Vec<String>, Vec<IconProblem>) {
        let found = find(Material::of(&self.opened), icon).unwrap();
        let files = match found.icon {
            Icon::Exported { files, .. } => files.iter().map(|file| file.export.path.to_string()).collect(),
            Icon::OfTheme(name) => vec![format!("theme:{name}")],
            Icon::Unusable => Vec::new(),
        };
        (files, found.problems.into_iter().map(|(_, problem)| problem).collect())
    }

    /// What is wrong with a file as an icon.
    fn problem(&self, path: &str) -> IconProblem {
        let (files, problems) = self.find(&format!("${{PACK}}/{path}"));
        assert_eq!((files.len(), problems.len()), (0, 1), "{path}: {files:?} {problems:?}");
        problems[0].clone()
    }
}

fn png(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = PNG_SIGNATURE.to_vec();
    bytes.extend(13_u32.to_be_bytes());
    bytes.extend(b"IHDR");
    bytes.extend(width.to_be_bytes());
    bytes.extend(height.to_be_bytes());
    bytes.extend([8, 6, 0, 0, 0]);
    bytes
}

const SVG: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"><circle r=\"5\"/></svg>";

#[test]
fn icons_of_the_packages_theme_keep_their_sizes() {
    let package = Package::new();
    package.write("usr/share/icons/hicolor/48x48/apps/calc.png", &png(48, 48));
    package.write("usr/share/icons/hicolor/scalable/apps/calc.svg", SVG.as_bytes());
    package.write("usr/share/icons/hicolor/48x48/apps/other.png", &png(48, 48));
    package.write("usr/share/icons/hicolor/evil size/apps/calc.png", &png(48, 48));
    package.write("usr/share/pixmaps/calc.png", &png(32, 32));
    let expected = ["hicolor/48x48/apps/hello_calc.png", "hicolor/scalable/apps/hello_calc.svg"];
    assert_eq!(package.find("calc").0, expected);
    assert_eq!(package.find("calc.png").0, expected);
}

#[test]
fn pixmaps_and_paths_go_where_they_fit() {
    let package = Package::new();
    package.write("usr/share/pixmaps/calc.png", &png(50, 33));
    package.write("meta/icon.svg", SVG.as_bytes());
    package.write("meta/tiny.png", &png(5, 5));
    for (icon, expected) in [
        ("calc", "hicolor/48x48/apps/hello_calc.png"),
        ("/usr/share/pixmaps/calc.png", "hicolor/48x48/apps/hello_calc.png"),
        ("${PACK}/meta/icon.svg", "hicolor/scalable/apps/hello_icon.svg"),
        ("meta/icon.svg", "hicolor/scalable/apps/hello_icon.svg"),
        ("/app/meta/tiny.png", "hicolor/16x16/apps/hello_tiny.png"),
    ] {
        assert_eq!(package.find(icon), (vec![expected.to_owned()], vec![]), "{icon}");
    }
}

#[test]
fn a_name_that_the_package_has_no_icon_for_is_the_desktops() {
    let package = Package::new();
    assert_eq!(package.find("utilities-terminal"), (vec!["theme:utilities-terminal".to_owned()], vec![]));
    for odd in ["a b", "../../x", "/etc/passwd", "a\u{202e}b", "calc.png", ""] {
        let (files, _) = package.find(odd);
        assert_eq!(files, Vec::<String>::new(), "{odd:?}");
    }
}

#[test]
fn the_name_of_an_icon_cannot_lead_elsewhere() {
    for (icon, expected) in [
        ("a/b/../c.png", "c"),
        ("..", "icon"),
        ("", "icon"),
        ("a b\n\u{202e}.png", "a-b--"),
        (".hidden.svg", ".hidden"),
        (&"x".repeat(300), &"x".repeat(80)),
    ] {
        assert_eq!(stem(icon), expected, "{icon:?}");
    }
}

/// snapd opened whatever a package had as its icon, and a FIFO made it wait for ever.
#[test]
fn cve_2024_29068_a_fifo_as_icon_is_not_opened() {
    let package = Package::new();
    package.write("usr/share/icons/hicolor/48x48/apps/x.png", b"");
    let make = |path: &str| {
        let path = package.folder.path().join(path);
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    make("fifo.png");
    make("usr/share/icons/hicolor/48x48/apps/fifo.png");
    assert_eq!(package.problem("fifo.png"), IconProblem::NotAFile);
    assert_eq!(package.find("fifo"), (vec![], vec![IconProblem::NotAFile]));
}

/// snapd followed links when it took icons out of a package, and showed files of the host's.
#[test]
fn cve_2024_29069_a_link_as_icon_is_not_followed() {
    let package = Package::new();
    package.write("real.png", &png(48, 48));
    package.write("folder/real.png", &png(48, 48));
    let link = |target: &str, path: &str| symlink(target, package.folder.path().join(path)).unwrap();
    link("/etc/passwd", "host.png");
    link("real.png", "inside.png");
    link("folder", "linked-folder");
    assert_eq!(package.problem("host.png"), IconProblem::NotAFile);
    assert_eq!(package.problem("inside.png"), IconProblem::NotAFile);
    assert_eq!(package.problem("linked-folder/real.png"), IconProblem::Missing);
    assert_eq!(package.problem("folder"), IconProblem::NotAFile);
}

#[test]
fn pictures_that_are_none_or_too_large_are_refused() {
    let package = Package::new();
    for (path, bytes, expected) in [
        ("large.png", vec![0; (SIZE_LIMIT + 1) as usize], IconProblem::TooLarge),
        ("wide.png", png(1025, 1), IconProblem::TooManyPixels),
        ("bomb.png", png(u32::MAX, u32::MAX), IconProblem::TooManyPixels),
        ("empty.png", png(0, 5), IconProblem::Format),
        ("cut.png", png(5, 5)[..20].to_vec(), IconProblem::Format),
        ("signature.png", PNG_SIGNATURE.to_vec(), IconProblem::Format),
        ("text.png", b"hello".to_vec(), IconProblem::Format),
        ("svg.png", SVG.as_bytes().to_vec(), IconProblem::Format),
        ("png.svg", png(5, 5), IconProblem::Format),
        ("binary.svg", vec![0xff; 100], IconProblem::Format),
        ("html.svg", b"<html xmlns=\"x\"/>".to_vec(), IconProblem::Format),
        ("torn.svg", b"<svg><g>".to_vec(), IconProblem::Format),
    ] {
        package.write(path, &bytes);
        assert_eq!(package.problem(path), expected, "{path}");
    }
}

#[test]
fn drawings_that_refer_to_nothing_outside_are_accepted() {
    for inner in [
        "",
        "<style>.a{fill:url(#b)} .c{fill:url( '#d')}</style>",
        "<use href=\"#a\"/><use xlink:href='#b'/><image href=\"data:image/png;base64,AAAA\"/>",
        "<rect style=\"fill:url(#g);stroke:none\" class=\"a\"/>",
        "<metadata><rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"/></metadata>",
        "<!-- <script> -->",
    ] {
        let svg = format!(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE svg PUBLIC \"-//W3C//DTD SVG 1.1//EN\" \"http://www.w3.org/x.dtd\">\n\
             <svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">{inner}</svg>"
        );
        assert_eq!(check_svg(svg.as_bytes()), Ok(Format::Svg), "{inner}");
    }
}

#[test]
fn drawings_that_do_more_than_show_are_refused() {
    for inner in [
        "<script>x</script>",
        "<g><s:script xmlns:s=\"http://www.w3.org/2000/svg\"/></g>",
        "<foreignObject/>",
        "<rect onclick=\"x\"/>",
        "<rect onLoad='x'/>",
        "<image href=\"/etc/passwd\"/>",
        "<image href=\" file:///etc/passwd\"/>",
        "<image xlink:href=\"http://host/x.png\"/>",
        "<image href=\"data:image/svg+xml;base64,AAAA\"/>",
        "<a href=\"javascript:x\"/>",
        "<style>@import 'x.css';</style>",
        "<style>@\\69mport url(x);</style>",
        "<style>a{fill:url(http://host/x)}</style>",
        "<style>a{fill:u\\72l(x)}</style>",
        "<rect style=\"fill:url('x.svg#a')\"/>",
        "<rect fill=\"URL(x.svg)\"/>",
        "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"#x\"/>",
        "<?xml-stylesheet href=\"x.css\"?>",
    ] {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" xmlns:xlink=\"http://www.w3.org/1999/xlink\">{inner}</svg>"
        );
        assert!(matches!(check_svg(svg.as_bytes()), Err(IconProblem::Active { .. })), "{inner}");
    }
    let entities = "<!DOCTYPE svg [<!ENTITY a SYSTEM \"/etc/passwd\">]><svg>&a;</svg>";
    assert!(matches!(check_svg(entities.as_bytes()), Err(IconProblem::Active { .. })));
}

/// A drawing nested a hundred thousand deep, or with a million elements, ends in an answer and not in a crash.
#[test]
fn huge_drawings_neither_crash_nor_take_long() {
    for svg in [
        format!("<svg>{}{}</svg>", "<g>".repeat(100_000), "</g>".repeat(100_000)),
        format!("<svg>{}</svg>", "<g/>".repeat(200_000)),
        format!("<svg{}/>", (0..40_000).map(|n| format!(" a{n}=''")).collect::<String>()),
        "<".repeat(1 << 20),
    ] {
        let begin = std::time::Instant::now();
        let _ = check_svg(svg.as_bytes());
        assert!(begin.elapsed().as_secs() < 5, "{:?}", &svg[..20]);
    }
}
