//! Layouts and command chains in a plan.

use std::collections::BTreeMap;

use pack_schemas::manifest::Manifest;
use pack_schemas::plan::{Access, Content, ImageRole, Layer, MadeKind, PlaceKind, Plan, Source};

use super::{assert_kept, at, host, image, request};
use crate::plan::{ImageFacts, PlanError, TopEntry, build};

fn plan_of(
    base: &str,
    rootfs: &str,
    layout: serde_json::Value,
    package: &ImageFacts,
) -> Result<Plan, PlanError> {
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "name": "hello", "version": "1.0", "base": base, "rootfs": rootfs, "layout": layout,
        "apps": {"hello": {"command": "bin/hello", "command-chain": ["bin/first", "usr/bin/second"], "args": ["-v"]}},
    }))
    .unwrap();
    manifest.check().unwrap();
    let (host, connections) = (host(), BTreeMap::new());
    build(&request(&manifest, &connections, package, &host))
}

fn all() -> serde_json::Value {
    serde_json::json!({
        "/opt/hello": {"bind": "$PACK/opt/hello"},
        "/var/lib/hello": {"bind": "$PACK_USER_COMMON/state"},
        "/usr/share/hello": {"bind": "$PACK/usr/share/hello"},
        "/usr/share/hello.conf": {"bind-file": "$PACK_USER_DATA/hello.conf"},
        "/lib/hello": {"symlink": "$PACK/lib/hello"},
        "/var/cache/hello": {"type": "tmpfs"},
        "/etc/ssl": {"bind": "$PACK/etc/ssl"},
        "/etc/hello.conf": {"bind-file": "$PACK/etc/hello.conf"},
    })
}

#[test]
fn the_first_of_a_chain_is_the_program_and_the_rest_are_arguments() {
    let plan = plan_of("host", "app", serde_json::json!({}), &image()).unwrap();
    assert_eq!(plan.program, "/app/bin/first");
    assert_eq!(plan.arguments, ["/app/usr/bin/second", "/app/bin/hello", "-v"]);
    let plan = plan_of("host", "merged", serde_json::json!({}), &image()).unwrap();
    assert_eq!(plan.arguments, ["/usr/bin/second", "/bin/hello", "-v"]);
}

#[test]
fn places_are_made_beside_and_over_what_the_base_has() {
    let plan = plan_of("host", "app", all(), &image()).unwrap();
    let package = |path: &str| Content::Image { image: ImageRole::Package, path: path.to_owned() };
    assert_eq!(at(&plan, "/opt/hello"), Some(&package("opt/hello")));
    assert_eq!(at(&plan, "/etc/ssl"), Some(&package("etc/ssl")), "the base's is replaced");
    assert_eq!(at(&plan, "/etc/hello.conf"), Some(&package("etc/hello.conf")));
    assert!(matches!(at(&plan, "/var/cache/hello"), Some(Content::Tmpfs { .. })));
    assert_eq!(at(&plan, "/lib/hello"), None, "/lib is a link to usr/lib");
    let Some(Content::Overlay { layers }) = at(&plan, "/usr") else { panic!("{:?}", at(&plan, "/usr")) };
    let [Layer::Places { places }, Layer::Host { path }] = &layers[..] else { panic!("{layers:?}") };
    assert_eq!(path, "/usr");
    let link = PlaceKind::Symlink { to: "/app/lib/hello".to_owned() };
    let expected = [
        ("lib/hello".to_owned(), link),
        ("share/hello".to_owned(), PlaceKind::Folder),
        ("share/hello.conf".to_owned(), PlaceKind::File),
    ];
    assert_eq!(*places, BTreeMap::from(expected));
    // What is the app's to write is its own data, opened without following links, and made before.
    let data = "/home/ada/.local/share/pack/data";
    let own = |path: &str| Content::Bind {
        source: Source::Beneath { folder: data.to_owned(), path: path.to_owned() },
        access: Access::ReadWrite,
        optional: false,
    };
    assert_eq!(at(&plan, "/var/lib/hello"), Some(&own("hello/common/state")));
    assert_eq!(at(&plan, "/usr/share/hello.conf"), Some(&own("hello/x3/hello.conf")));
    let made: Vec<(&str, MadeKind)> = plan.made.iter().map(|made| (made.path.as_str(), made.kind)).collect();
    assert_eq!(made, [("hello/x3/hello.conf", MadeKind::File), ("hello/common/state", MadeKind::Folder)]);
    assert_kept("layout", &plan);
}

#[test]
fn an_overlay_gets_one_layer_more_and_an_image_becomes_one() {
    let layout =
        || serde_json::json!({"/usr/share/hello": {"bind": "$PACK/x"}, "/opt/a/b": {"type": "tmpfs"}});
    let plan = plan_of("host", "merged", layout(), &image()).unwrap();
    assert!(matches!(at(&plan, "/usr"), Some(Content::Overlay { layers })
        if matches!(&layers[..], [Layer::Places { .. }, Layer::Image { .. }, Layer::Host { .. }])));
    assert!(matches!(at(&plan, "/opt"), Some(Content::Overlay { layers })
        if matches!(&layers[..], [Layer::Places { .. }, Layer::Image { .. }])));
    let plan = plan_of("none", "app", layout(), &image()).unwrap();
    assert!(matches!(at(&plan, "/usr"), Some(Content::Overlay { layers })
        if matches!(&layers[..], [Layer::Places { .. }, Layer::Image { .. }])));
}

#[test]
fn nothing_covers_the_users_files_or_what_the_sandbox_makes() {
    let place = |target: &str| serde_json::json!({target: {"bind": "$PACK/x"}});
    // A link at the top of a hostile package or base leads a place elsewhere.
    for (to, target) in [
        ("proc", "/lib/sys"),
        ("/dev", "/lib/shm"),
        ("run/user", "/lib/1000"),
        ("../etc", "/lib/x"),
        (".", "/lib/app"),
    ] {
        let mut package = image();
        package.top.insert("lib".to_owned(), TopEntry::Symlink(to.to_owned()));
        let refused = plan_of("none", "app", place(target), &package);
        assert!(matches!(refused, Err(PlanError::Layout { .. })), "{to}: {refused:?}");
    }
    // The home folder may lie anywhere.
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "name": "hello", "version": "1.0", "base": "host", "apps": {"hello": {"command": "x"}}
    }))
    .unwrap();
    for target in ["/srv/ada", "/srv/ada/.ssh", "/data/pack", "/data/pack/hello", "/data/pack/other/common"] {
        let mut manifest = manifest.clone();
        manifest.layout = serde_json::from_value(place(target)).unwrap();
        let (mut host, connections, package) = (host(), BTreeMap::new(), image());
        host.user.home = "/srv/ada".to_owned();
        let mut request = request(&manifest, &connections, &package, &host);
        request.data = "/data/pack";
        assert!(matches!(build(&request), Err(PlanError::Layout { .. })), "{target}");
    }
}
