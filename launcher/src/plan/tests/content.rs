//! Content of other packages in a plan.

use pack_schemas::interface::Side;
use pack_schemas::manifest::{Manifest, RelativePath};
use pack_schemas::names::Name;
use pack_schemas::plan::{Access, Content, ImageRole, Plan, Source};

use super::{at, host, image, request};
use crate::interfaces;
use crate::plan::content::{self, Provided, Wanted};
use crate::plan::{Request, build};

/// The plan of an app with these content plugs, declared as this JSON, where this was found.
fn plan_with_content(plugs: serde_json::Value, base: &str, content: &[Provided]) -> Plan {
    let names: Vec<&String> = plugs.as_object().unwrap().keys().collect();
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "name": "hello", "version": "1.0", "base": base, "plugs": plugs,
        "apps": {"hello": {"command": "usr/bin/hello", "plugs": names}},
    }))
    .unwrap();
    let connections = names
        .iter()
        .map(|name| {
            let name: Name = name.parse().unwrap();
            let connection = interfaces::connection(&manifest, &name, Side::Plug, false).unwrap();
            (name, connection)
        })
        .collect();
    let (package, host) = (image(), host());
    build(&Request { content, ..request(&manifest, &connections, &package, &host) }).unwrap()
}

fn provided(plug: &str, provider: &str, read: &[&str], sockets: bool) -> Provided {
    let wanted = Wanted {
        plug: plug.parse().unwrap(),
        provider: provider.parse().unwrap(),
        label: "looks".parse().unwrap(),
    };
    let path = |text: &&str| RelativePath::try_from((*text).to_owned()).unwrap();
    Provided { wanted, read: read.iter().map(path).collect(), sockets }
}

fn content_plug(provider: &str) -> serde_json::Value {
    serde_json::json!({"interface": "content", "default-provider": provider})
}

#[test]
fn content_is_shown_below_its_target_and_nothing_is_without_a_provider() {
    let plugs = serde_json::json!({"looks": content_plug("themes")});
    let shown = [provided("looks", "themes", &["share/themes", "icons"], true)];
    let plan = plan_with_content(plugs.clone(), "host", &shown);
    assert_eq!(plan.providers, ["themes".parse().unwrap()]);
    for (name, path) in [("themes", "share/themes"), ("icons", "icons")] {
        let image = ImageRole::Provider(0);
        let content = Content::Image { image, path: path.to_owned() };
        assert_eq!(at(&plan, &format!("/run/content/looks/{name}")), Some(&content));
    }
    let sockets = Content::Bind {
        source: Source::Beneath {
            folder: "/home/ada/.local/share/pack/data".to_owned(),
            path: "themes/common/content/looks".to_owned(),
        },
        access: Access::ReadOnly,
        optional: true,
    };
    assert_eq!(at(&plan, "/run/content/looks/sockets"), Some(&sockets));
    let without = plan_with_content(plugs, "host", &[]);
    assert!(without.providers.is_empty());
    assert!(!without.root.iter().any(|entry| entry.target.starts_with("/run/content")), "{without:?}");
}

#[test]
fn content_in_the_package_is_put_together_elsewhere_first() {
    let mut plug = content_plug("themes");
    plug["target"] = "$PACK/looks".into();
    let mut other = content_plug("icons");
    other["target"] = "$PACK/looks".into();
    let plugs = serde_json::json!({"looks": plug, "more": other});
    let shown =
        [provided("looks", "themes", &["share/themes"], false), provided("more", "icons", &["icons"], false)];
    let plan = plan_with_content(plugs, "host", &shown);
    assert_eq!(plan.providers, ["themes".parse().unwrap(), "icons".parse().unwrap()]);
    let position = |target: &str| plan.root.iter().position(|entry| entry.target == target).unwrap();
    let again = position("/app/looks");
    assert_eq!(plan.root[again].content, Content::Again { path: "/run/content/looks".to_owned() });
    for (target, number) in [("themes", 0), ("icons", 1)] {
        let made = position(&format!("/run/content/looks/{target}"));
        assert!(made < again);
        let Content::Image { image, .. } = &plan.root[made].content else { panic!() };
        assert_eq!(*image, ImageRole::Provider(number));
    }
}

#[test]
fn sockets_alone_need_no_image_and_an_image_is_needed_once() {
    let plugs =
        serde_json::json!({"a": content_plug("one"), "b": content_plug("two"), "c": content_plug("one")});
    let shown = [
        provided("a", "one", &["x"], false),
        provided("b", "two", &[], true),
        provided("c", "one", &["y"], false),
    ];
    let plan = plan_with_content(plugs, "host", &shown);
    assert_eq!(plan.providers, ["one".parse().unwrap()]);
    let content = Content::Image { image: ImageRole::Provider(0), path: "y".to_owned() };
    assert_eq!(at(&plan, "/run/content/c/y"), Some(&content));
}

#[test]
fn a_place_below_opt_is_made_where_the_package_has_none_there() {
    let mut plug = content_plug("themes");
    plug["target"] = "/opt/looks".into();
    let plugs = serde_json::json!({"looks": plug});
    let shown = [provided("looks", "themes", &["x"], false)];
    let plan = plan_with_content(plugs.clone(), "host", &shown);
    assert!(matches!(at(&plan, "/opt/looks/x"), Some(Content::Image { .. })));
    // Here /opt is the package's.
    let plan = plan_with_content(plugs, "none", &shown);
    assert!(matches!(at(&plan, "/opt/looks"), Some(Content::Again { .. })));
    assert!(matches!(at(&plan, "/run/content/looks/x"), Some(Content::Image { .. })));
}

#[test]
fn what_a_provider_offers_is_checked_again_and_can_be_withdrawn() {
    let offer = |slots: serde_json::Value| -> Manifest {
        serde_json::from_value(
            serde_json::json!({"name": "themes", "version": "1", "base": "host", "slots": slots}),
        )
        .unwrap()
    };
    let wanted = provided("x", "themes", &[], false).wanted;
    let find = |slots: serde_json::Value, disconnected: &[&str]| {
        let disconnected = disconnected.iter().map(|name| name.parse().unwrap()).collect();
        content::provided(&offer(slots), &disconnected, &wanted)
    };
    let slot =
        |label: &str, read: &str| serde_json::json!({"interface": "content", "content": label, "read": read});
    let good = serde_json::json!({"a": slot("looks", "x")});
    assert_eq!(find(good.clone(), &[]), Some(provided("x", "themes", &["x"], false)));
    assert_eq!(find(good, &["a"]), None);
    let named = serde_json::json!({"looks": {"interface": "content", "read": "x"}});
    assert!(find(named, &[]).is_some());
    for bad in [slot("look", "x"), slot("looks", "../x"), slot("looks", "/etc"), slot("", "x")] {
        assert_eq!(find(serde_json::json!({"a": bad.clone()}), &[]), None, "{bad}");
    }
    let other = serde_json::json!({"looks": {"interface": "dbus", "name": "org.example.Player"}});
    assert_eq!(find(other, &[]), None);
}
