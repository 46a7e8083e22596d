use std::collections::BTreeMap;

use pack_schemas::interface::{Bus, Place, Root, Side, UserFolder};
use pack_schemas::manifest::Manifest;
use pack_schemas::names::Name;
use pack_schemas::plan::{Access, Content, Entry, ImageRole, Layer, Network, Plan, Source};

use pack_schemas::state::Connection;

use super::{ImageFacts, PlanError, Request, TopEntry, build};
use crate::host::{Acting, Display, HostFacts, SoundServer, TopLink, User, WaylandServer};
use crate::interfaces;

mod content;
mod layout;

fn host() -> HostFacts {
    let link = |to: &str| TopLink::Link(to.to_owned());
    HostFacts {
        user: User {
            id: 1000,
            group_id: 100,
            name: "ada".to_owned(),
            group_name: "users".to_owned(),
            home: "/home/ada".to_owned(),
        },
        top: BTreeMap::from([
            ("bin".to_owned(), link("usr/bin")),
            ("lib".to_owned(), link("usr/lib")),
            ("lib64".to_owned(), link("usr/lib64")),
            ("usr".to_owned(), TopLink::Folder),
        ]),
        local_time: Some("/usr/share/zoneinfo/Europe/Zurich".to_owned()),
        etc: ["ld.so.cache", "ssl", "shadow"].map(str::to_owned).into(),
        variables: [("LANG", "C.UTF-8"), ("LD_PRELOAD", "/tmp/evil.so"), ("SECRET", "1"), ("LC_TIME", "C")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        home: ["Documents", "bin", "notes.txt"].map(str::to_owned).into(),
        roots: BTreeMap::from([
            (Root::Host, String::new()),
            (Root::Home, "/home/ada".to_owned()),
            (Root::Config, "/home/ada/.config".to_owned()),
            (Root::Data, "/home/ada/.local/share".to_owned()),
            (Root::Runtime, "/run/user/1000".to_owned()),
        ]),
        acting: Acting::default(),
        user_folders: BTreeMap::from([(UserFolder::Documents, "Documents".to_owned())]),
        sockets: BTreeMap::from([(
            Place { root: Root::Runtime, path: "ssh-agent".to_owned() },
            "/tmp/ssh-x/agent.1".to_owned(),
        )]),
        devices: BTreeMap::from([
            (("/dev/dri".to_owned(), None), vec!["/dev/dri".to_owned()]),
            (("/dev/fuse".to_owned(), None), vec!["/dev/fuse".to_owned()]),
        ]),
        documents: Some("/run/user/1000/doc".to_owned()),
        buses: BTreeMap::from([(Bus::Session, "unix:path=/run/user/1000/bus".to_owned())]),
        x11: Some(Display { number: 7, cookies: Some(vec![1, 2, 3]) }),
        wayland: Some(WaylandServer {
            socket: "/run/user/1000/wayland-1".to_owned(),
            knows_sandboxes: Some(true),
        }),
        sound: Some(SoundServer {
            socket: "/run/user/1000/pulse/native".to_owned(),
            cookie: Some("/home/ada/.config/pulse/cookie".to_owned()),
        }),
        manager: None,
        instance: "4711".to_owned(),
        launcher: 47,
        working_folder: Some("/home/ada/Documents".to_owned()),
    }
}

/// An image with a /usr, the links of a merged /usr, an /etc, and programs.
fn image() -> ImageFacts {
    ImageFacts {
        top: BTreeMap::from([
            ("usr".to_owned(), TopEntry::Folder),
            ("etc".to_owned(), TopEntry::Folder),
            ("opt".to_owned(), TopEntry::Folder),
            ("proc".to_owned(), TopEntry::Folder),
            ("lib64".to_owned(), TopEntry::Symlink("usr/lib64".to_owned())),
            ("README".to_owned(), TopEntry::Other),
        ]),
        etc: BTreeMap::from([
            ("ssl".to_owned(), TopEntry::Folder),
            ("passwd".to_owned(), TopEntry::Other),
            ("fonts".to_owned(), TopEntry::Folder),
            ("rmt".to_owned(), TopEntry::Symlink("/usr/sbin/rmt".to_owned())),
        ]),
        var: BTreeMap::from([("lib".to_owned(), TopEntry::Folder), ("tmp".to_owned(), TopEntry::Folder)]),
        folders: ["usr/bin", "usr/lib", "usr/lib/TRIPLET", "usr/share"].map(str::to_owned).into(),
    }
}

fn request<'a>(
    manifest: &'a Manifest,
    connections: &'a BTreeMap<Name, Connection>,
    package: &'a ImageFacts,
    host: &'a HostFacts,
) -> Request<'a> {
    static APP: std::sync::LazyLock<Name> = std::sync::LazyLock::new(|| "hello".parse().unwrap());
    Request {
        manifest,
        revision: "x3".parse().unwrap(),
        app: &APP,
        shell: false,
        connections,
        package,
        base: None,
        content: &[],
        host,
        data: "/home/ada/.local/share/pack/data",
    }
}

struct Case {
    base: &'static str,
    rootfs: &'static str,
    plugs: &'static [&'static str],
    connected: &'static [&'static str],
}

const PLAIN: Case = Case { base: "host", rootfs: "app", plugs: &[], connected: &[] };

impl Case {
    fn manifest(&self) -> Manifest {
        serde_json::from_value(serde_json::json!({
            "name": "hello", "version": "1.0", "base": self.base, "rootfs": self.rootfs,
            "environment": {"GREETING": "hi from $PACK", "PATH": "$PACK/extra:$PATH"},
            "apps": {"hello": {"command": "usr/bin/hello", "args": ["-v"], "plugs": self.plugs}},
        }))
        .unwrap()
    }

    fn plan_with(&self, package: &ImageFacts, base: Option<&ImageFacts>) -> Result<Plan, PlanError> {
        let connections = self
            .connected
            .iter()
            .map(|plug| {
                let name: Name = plug.parse().unwrap();
                let connection = interfaces::connection(&self.manifest(), &name, Side::Plug, false);
                (name, connection.unwrap())
            })
            .collect();
        let (manifest, host) = (self.manifest(), host());
        build(&Request { base, ..request(&manifest, &connections, package, &host) })
    }

    fn plan(&self) -> Plan {
        self.plan_with(&image(), None).unwrap()
    }
}

fn at<'a>(plan: &'a Plan, target: &str) -> Option<&'a Content> {
    let found: Vec<&Entry> = plan.root.iter().filter(|entry| entry.target == target).collect();
    assert!(found.len() < 2, "{target} is made twice");
    found.first().map(|entry| &entry.content)
}

fn value<'a>(plan: &'a Plan, name: &str) -> Option<&'a str> {
    plan.environment.get(name).map(|setting| setting.value.as_str())
}

#[test]
fn without_plugs_there_is_no_network_no_home_and_no_display() {
    let plan = PLAIN.plan();
    assert_eq!(plan.network, Network::Own);
    assert_eq!(at(&plan, "/home/ada/Documents"), None);
    assert!(!plan.root.iter().any(|entry| entry.target.contains("X11-unix")));
    assert_eq!(value(&plan, "DISPLAY"), None);
}

#[test]
fn a_plug_that_is_not_connected_grants_nothing() {
    let plan = Case { plugs: &["network", "home", "x11"], connected: &[], ..PLAIN }.plan();
    assert_eq!(plan, PLAIN.plan());
}

#[test]
fn a_connection_that_the_app_does_not_name_grants_nothing() {
    let plan = Case { plugs: &[], connected: &["network", "home", "x11"], ..PLAIN }.plan();
    assert_eq!(plan, PLAIN.plan());
}

#[test]
fn network_plugs_add_up_direction_by_direction() {
    for (plugs, connect, bind) in [
        (&["network"][..], true, false),
        (&["network-bind"], false, true),
        (&["network", "network-bind"], true, true),
    ] {
        let plan = Case { plugs, connected: plugs, ..PLAIN }.plan();
        let because = plugs.iter().map(|plug| plug.parse().unwrap()).collect();
        assert_eq!(plan.network, Network::Host { connect, ports: Vec::new(), bind, because });
        assert!(plan.abstract_sockets_shut);
    }
}

#[test]
fn cve_2024_1724_home_shows_no_hidden_file_and_no_bin_and_nothing_can_be_made_there() {
    let plan = Case { plugs: &["home"], connected: &["home"], ..PLAIN }.plan();
    assert_eq!(
        at(&plan, "/home/ada"),
        Some(&Content::Folder),
        "the home folder is part of the read-only root"
    );
    let documents = Content::Bind {
        source: Source::Beneath { folder: "/home/ada".to_owned(), path: "Documents".to_owned() },
        access: Access::ReadWrite,
        optional: true,
    };
    assert_eq!(at(&plan, "/home/ada/Documents"), Some(&documents));
    assert!(at(&plan, "/home/ada/notes.txt").is_some());
    assert_eq!(at(&plan, "/home/ada/bin"), None);
    assert_eq!(plan.working_folders[0], "/home/ada/Documents");
}

#[test]
fn x11_shows_one_display_and_its_cookie() {
    let plan = Case { plugs: &["x11"], connected: &["x11"], ..PLAIN }.plan();
    assert!(matches!(at(&plan, "/tmp/.X11-unix/X7"), Some(Content::Bind { .. })));
    assert_eq!(at(&plan, "/run/user/1000/Xauthority"), Some(&Content::File { data: vec![1, 2, 3] }));
    assert_eq!(value(&plan, "DISPLAY"), Some(":7"));
    assert_eq!(value(&plan, "XAUTHORITY"), Some("/run/user/1000/Xauthority"));
    assert_eq!(plan.network, Network::Own);
}

#[test]
fn the_environment_is_made_from_nothing() {
    let plan = PLAIN.plan();
    assert_eq!(value(&plan, "LANG"), Some("C.UTF-8"));
    assert_eq!(value(&plan, "LC_TIME"), Some("C"));
    assert_eq!(value(&plan, "LD_PRELOAD"), None);
    assert_eq!(value(&plan, "SECRET"), None);
    assert_eq!(value(&plan, "GREETING"), Some("hi from /app"));
    assert_eq!(value(&plan, "HOME"), Some("/home/ada/.local/share/pack/data/hello/x3"));
}

#[test]
fn cve_2020_27348_search_paths_name_only_what_exists_and_have_no_empty_element() {
    let plan = PLAIN.plan();
    let libraries = value(&plan, "LD_LIBRARY_PATH").unwrap();
    assert!(libraries.starts_with("/app/usr/lib/") && libraries.ends_with(":/app/usr/lib"), "{libraries}");
    assert!(value(&plan, "PATH").unwrap().starts_with("/app/extra:/app/usr/bin:/usr/local/bin:"));
    let bare = PLAIN.plan_with(&ImageFacts::default(), None).unwrap();
    assert_eq!(value(&bare, "LD_LIBRARY_PATH"), None);
    for (plan, name) in
        [(&plan, "PATH"), (&plan, "LD_LIBRARY_PATH"), (&plan, "XDG_DATA_DIRS"), (&bare, "PATH")]
    {
        let path = value(plan, name).unwrap();
        assert!(path.split(':').all(|element| element.starts_with('/')), "{name}={path}");
    }
}

#[test]
fn on_the_hosts_base_the_package_is_at_app_only() {
    let plan = PLAIN.plan();
    assert_eq!(plan.program, "/app/usr/bin/hello");
    let usr =
        Content::Bind { source: Source::Path("/usr".to_owned()), access: Access::ReadOnly, optional: false };
    assert_eq!(at(&plan, "/usr"), Some(&usr));
    assert_eq!(at(&plan, "/lib64"), Some(&Content::Symlink { to: "usr/lib64".to_owned() }));
    assert_eq!(at(&plan, "/opt"), None);
    assert!(at(&plan, "/etc/ld.so.cache").is_some());
    assert_eq!(at(&plan, "/etc/shadow"), None, "only what is listed is shown of /etc");
    assert_eq!(at(&plan, "/etc/fonts"), None);
}

#[test]
fn merged_lays_the_package_over_the_host() {
    let plan = Case { rootfs: "merged", ..PLAIN }.plan();
    assert_eq!(plan.program, "/usr/bin/hello");
    assert!(matches!(at(&plan, "/usr"), Some(Content::Overlay { layers })
        if matches!(&layers[..], [Layer::Image { .. }, Layer::Host { path }] if path == "/usr")));
    assert!(matches!(at(&plan, "/opt"), Some(Content::Image { .. })));
    assert!(matches!(at(&plan, "/etc/fonts"), Some(Content::Image { .. })));
    assert!(matches!(at(&plan, "/etc/passwd"), Some(Content::File { .. })), "the user's entry wins");
    assert_eq!(at(&plan, "/proc"), Some(&Content::Proc), "the package's proc is not shown");
    assert_eq!(value(&plan, "LD_LIBRARY_PATH"), None);
}

#[test]
fn base_none_shows_nothing_of_the_hosts_usr() {
    let plan = Case { base: "none", ..PLAIN }.plan();
    assert!(matches!(at(&plan, "/usr"), Some(Content::Image { .. })));
    let of_host: Vec<&str> = plan
        .root
        .iter()
        .filter_map(|entry| match &entry.content {
            Content::Bind { source: Source::Path(path), .. } => Some(path.as_str()),
            _ => None,
        })
        .collect();
    assert!(of_host.iter().all(|path| path.starts_with("/dev/") || path.starts_with("/etc/")), "{of_host:?}");
    assert_eq!(at(&plan, "/bin"), None);
}

#[test]
fn a_base_package_is_needed_where_one_is_named_and_lies_below() {
    let case = Case { base: "debian-12", rootfs: "merged", ..PLAIN };
    assert!(matches!(case.plan_with(&image(), None), Err(PlanError::NoBase)));
    let plan = case.plan_with(&image(), Some(&image())).unwrap();
    assert!(matches!(at(&plan, "/usr"), Some(Content::Overlay { layers })
        if matches!(&layers[..], [Layer::Image { .. }, Layer::Image { .. }])));
}

#[test]
fn etc_and_var_of_the_package_lie_over_those_of_its_base() {
    let mut base = image();
    for (name, found) in [
        ("os-release", TopEntry::Symlink("../usr/lib/os-release".to_owned())),
        ("services", TopEntry::Other),
        ("fonts", TopEntry::Symlink("/usr/share/fonts".to_owned())),
        ("rmt", TopEntry::Folder),
    ] {
        base.etc.insert(name.to_owned(), found);
    }
    base.var.insert("run".to_owned(), TopEntry::Folder);
    let mut package = image();
    let long = "x".repeat(101);
    for image in [&mut base, &mut package] {
        image.etc.insert(long.clone(), TopEntry::Folder);
    }
    let plan =
        Case { base: "debian-12", rootfs: "merged", ..PLAIN }.plan_with(&package, Some(&base)).unwrap();
    let layers = |path: &str| {
        let layer = |image| Layer::Image { image, path: path.to_owned() };
        Content::Overlay { layers: vec![layer(ImageRole::Package), layer(ImageRole::Base)] }
    };
    let of = |image, path: &str| Content::Image { image, path: path.to_owned() };
    let link = |to: &str| Content::Symlink { to: to.to_owned() };
    for (target, expected) in [
        ("/etc/ssl", layers("etc/ssl")),
        ("/etc/services", of(ImageRole::Base, "etc/services")),
        ("/etc/os-release", link("../usr/lib/os-release")),
        ("/etc/fonts", of(ImageRole::Package, "etc/fonts")),
        ("/etc/rmt", link("/usr/sbin/rmt")),
        ("/var", Content::Folder),
        ("/var/lib", layers("var/lib")),
        ("/var/run", link("/run")),
    ] {
        assert_eq!(at(&plan, target), Some(&expected), "{target}");
    }
    assert!(matches!(at(&plan, "/var/tmp"), Some(Content::Tmpfs { .. })), "the package's is not shown");
    // Paths of layers that would be too long for the kernel are not asked for.
    assert_eq!(at(&plan, &format!("/etc/{long}")), Some(&of(ImageRole::Package, &format!("etc/{long}"))));

    // Where the package is at /app only, its /etc is there alone.
    let plan = Case { base: "debian-12", ..PLAIN }.plan_with(&package, Some(&base)).unwrap();
    assert_eq!(at(&plan, "/etc/ssl"), Some(&of(ImageRole::Base, "etc/ssl")));
    assert_eq!(at(&plan, "/etc/fonts"), Some(&link("/usr/share/fonts")));
}

#[test]
fn a_folder_over_a_link_of_the_base_is_refused() {
    let mut package = image();
    package.top.insert("lib".to_owned(), TopEntry::Folder);
    let refused = Case { rootfs: "merged", ..PLAIN }.plan_with(&package, None);
    assert!(matches!(refused, Err(PlanError::TopClash { name, .. }) if name == "lib"));
}

#[test]
fn names_that_the_sandbox_uses_while_it_makes_the_root_are_not_the_packages() {
    let mut package = image();
    for name in [".base", ".buses", ".content", ".layers", "app", "dev", "home", "run", "tmp"] {
        package.top.insert(name.to_owned(), TopEntry::Folder);
    }
    let plan = Case { rootfs: "merged", ..PLAIN }.plan_with(&package, None).unwrap();
    for entry in &plan.root {
        let of_package = matches!(&entry.content, Content::Image { path, .. } if !path.is_empty());
        let top = entry.target[1..].split('/').next().unwrap();
        assert!(!of_package || matches!(top, "usr" | "etc" | "opt" | "lib64" | "var"), "{}", entry.target);
    }
}

#[test]
fn the_data_folders_come_last_and_follow_no_link() {
    let plan = Case { plugs: &["home"], connected: &["home"], ..PLAIN }.plan();
    let [.., revision, common] = &plan.root[..] else { panic!() };
    for (entry, name) in [(revision, "x3"), (common, "common")] {
        assert_eq!(entry.target, format!("/home/ada/.local/share/pack/data/hello/{name}"));
        assert!(matches!(
            &entry.content,
            Content::Bind { source: Source::Beneath { .. }, optional: false, .. }
        ));
    }
}

#[test]
fn every_target_is_absolute_plain_and_made_once() {
    for case in [
        PLAIN,
        Case { base: "none", ..PLAIN },
        Case { rootfs: "merged", plugs: &["home", "x11"], connected: &["home", "x11"], ..PLAIN },
    ] {
        let plan = case.plan();
        for entry in &plan.root {
            let plain = |part: &str| !matches!(part, "" | "." | "..");
            assert!(
                entry.target.starts_with('/') && entry.target[1..].split('/').all(plain),
                "{}",
                entry.target
            );
            at(&plan, &entry.target);
        }
    }
}

#[test]
fn an_unknown_app_is_an_error_that_knows_the_others() {
    let manifest = PLAIN.manifest();
    let (facts, host, connections) = (image(), host(), BTreeMap::new());
    let app = "goodbye".parse().unwrap();
    let refused = build(&Request { app: &app, ..request(&manifest, &connections, &facts, &host) });
    assert!(matches!(refused, Err(PlanError::NoSuchApp { known, .. }) if known[0].as_str() == "hello"));
}

#[test]
fn a_plan_reads_back_as_written() {
    let plan =
        Case { rootfs: "merged", plugs: &["network", "x11"], connected: &["network", "x11"], ..PLAIN }.plan();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}

#[test]
fn plans_are_as_they_were() {
    for (name, case) in [
        ("plain", PLAIN),
        ("merged", Case { rootfs: "merged", ..PLAIN }),
        ("none", Case { base: "none", ..PLAIN }),
        ("desktop", Case { plugs: DESKTOP, connected: DESKTOP, ..PLAIN }),
        ("observer", Case { plugs: OBSERVER, connected: OBSERVER, ..PLAIN }),
    ] {
        assert_kept(name, &case.plan());
    }
}

/// Asserts that a plan is as it is kept in `snapshots/`, whole: a change of any line of it shows in a review.
/// `PACK_UPDATE_SNAPSHOTS=1` writes them anew.
fn assert_kept(name: &str, plan: &Plan) {
    let path = format!("{}/src/plan/snapshots/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = format!("{}\n", serde_json::to_string_pretty(plan).unwrap());
    if std::env::var_os("PACK_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let line = text.lines().zip(kept.lines()).position(|(now, then)| now != then);
    let line = line.unwrap_or(text.lines().count().min(kept.lines().count()));
    let around =
        |text: &str| text.lines().skip(line.saturating_sub(3)).take(7).collect::<Vec<_>>().join("\n");
    assert_eq!(text, kept, "{name}, line {}:\n{}\n---\n{}", line + 1, around(&kept), around(&text));
}

const DESKTOP: &[&str] = &[
    "audio-playback",
    "audio-record",
    "desktop",
    "documents",
    "home",
    "network",
    "network-bind",
    "opengl",
    "wayland",
    "x11",
];
const OBSERVER: &[&str] = &["fuse", "mount-observe", "shared-memory", "ssh-agent", "system-observe"];

#[test]
fn hosts_of_a_network_plug_take_the_hosts_network_away() {
    let network = |attributes: serde_json::Value, more: &[&'static str]| {
        let mut manifest = PLAIN.manifest();
        let plugs = serde_json::json!({"network": attributes});
        manifest.plugs = serde_json::from_value(plugs).unwrap();
        let names: Vec<&str> = ["network"].iter().chain(more).copied().collect();
        let app = manifest.apps.values_mut().next().unwrap();
        app.plugs = names.iter().map(|name| name.parse().unwrap()).collect();
        let connections = app
            .plugs
            .clone()
            .into_iter()
            .map(|name| {
                let connection = interfaces::connection(&manifest, &name, Side::Plug, false).unwrap();
                (name, connection)
            })
            .collect();
        let (package, host) = (image(), host());
        build(&request(&manifest, &connections, &package, &host)).unwrap().network
    };
    let limited = network(serde_json::json!({"hosts": ["example.org"], "ports": 443}), &[]);
    assert!(matches!(&limited, Network::Hosts { hosts, ports, .. } if hosts.len() == 1 && ports == &[443]));
    let ports = network(serde_json::json!({"ports": [80, 443]}), &[]);
    assert!(matches!(&ports, Network::Host { connect: true, ports, bind: false, .. } if ports == &[80, 443]));
    // A plug that offers ports does not bring it back.
    let both = network(serde_json::json!({"hosts": ["example.org"]}), &["network-bind"]);
    assert!(
        matches!(&both, Network::Hosts { hosts, because, .. } if hosts.len() == 1 && because.len() == 2),
        "{both:?}"
    );
}

#[test]
fn a_connection_of_other_attributes_grants_nothing() {
    let mut manifest = PLAIN.manifest();
    manifest.plugs = serde_json::from_value(serde_json::json!({"network": {"ports": [443]}})).unwrap();
    let app = manifest.apps.values_mut().next().unwrap();
    app.plugs = ["network".parse().unwrap()].into();
    let name: Name = "network".parse().unwrap();
    let connection = interfaces::connection(&manifest, &name, Side::Plug, false).unwrap();
    let connections = BTreeMap::from([(name, connection)]);
    manifest.plugs.clear();
    let (package, host) = (image(), host());
    let plan = build(&request(&manifest, &connections, &package, &host)).unwrap();
    assert_eq!(plan.network, Network::Own);
}
