//! Tells a plan as a person would: each namespace, mount, variable and rule, and what asked for it.

use pack_launcher::sandbox::landlock::{NESTED_MOUNTS, restricts_files};
use pack_schemas::interface::{Bus, BusRule, HostPattern};
use pack_schemas::names::Name;
use pack_schemas::plan::{
    Access, Companion, Content, Entry, GrantedRule, ImageRole, Layer, Network, Plan, Processes, Source,
};
use pack_schemas::text::visible;

/// The plan as lines of text. Text that comes from the package or the environment is made visible.
///
/// `landlock` is the version that the kernel has.
pub fn explain(plan: &Plan, landlock: u32) -> Vec<String> {
    let mut lines =
        vec![format!("{}.{} (version {}, revision {})", plan.package, plan.app, plan.version, plan.revision)];
    let mut section = |title: &str, body: Vec<String>| {
        lines.push(String::new());
        lines.push(title.to_owned());
        lines.extend(body.into_iter().map(|line| format!("  {}", visible(&line))));
    };
    section("Namespaces of its own", namespaces(plan));
    section(
        "Root folder, read-only, in the order in which it is made",
        columns(plan.root.iter().map(|made| entry(plan, made))),
    );
    if !plan.links.is_empty() {
        section(
            "Links in its own folders, where nothing is there yet",
            columns(plan.links.iter().map(|(path, link)| {
                [path.clone(), format!("link to {}", link.value), link.because.describe()]
            })),
        );
    }
    section("Rights given up", rights(plan, landlock));
    let rules = bus_rules(plan);
    if !rules.is_empty() {
        section("Message buses", rules);
    }
    section(
        "Environment, whole",
        columns(plan.environment.iter().map(|(name, setting)| {
            [format!("{name}={}", setting.value), String::new(), setting.because.describe()]
        })),
    );
    section("Program", program(plan));
    lines
}

fn namespaces(plan: &Plan) -> Vec<String> {
    let mut lines = vec![
        "user     the user's own id, no other, and no further user namespace below it".to_owned(),
        "mount    nothing of the host's but what is listed here".to_owned(),
    ];
    if let Some(plug) = plan.system_calls.get("nested-sandbox") {
        lines[0] =
            format!("user     the user's own id, no other; sandboxes of its own below it  [plug {plug}]");
    }
    lines.push(match &plan.processes {
        Processes::Own => "pid      the app's processes only; all end when the app ends".to_owned(),
        Processes::Seen { because } => {
            format!(
                "pid      the app's processes only; those of the host are listed in /proc  [plug {because}]"
            )
        }
        Processes::Shared { because } => format!("(the host's processes are shared)  [plug {because}]"),
    });
    lines.push(match plan.shared_memory.as_slice() {
        [] => "ipc, uts, cgroup".to_owned(),
        plugs => format!("uts, cgroup (the host's shared memory is shared)  [{}]", plug_list(plugs)),
    });
    lines.push(match &plan.network {
        Network::Own => "network  a loopback interface and nothing else".to_owned(),
        Network::Hosts { hosts, ports, because } => {
            let hosts: Vec<&str> = hosts.iter().map(HostPattern::as_str).collect();
            format!(
                "network  a loopback interface, and a proxy there that reaches {}{}  [{}]",
                hosts.join(", "),
                port_list(ports),
                plug_list(because)
            )
        }
        Network::Host { because, .. } => format!("(the host's network is shared)  [{}]", plug_list(because)),
    });
    lines
}

fn plug_list(plugs: &[Name]) -> String {
    plugs.iter().map(|plug| format!("plug {plug}")).collect::<Vec<_>>().join(", ")
}

fn port_list(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    if ports.is_empty() { String::new() } else { format!(" on TCP ports {}", ports.join(", ")) }
}

fn rights(plan: &Plan, landlock: u32) -> Vec<String> {
    let mut lines = vec![
        "all capabilities, in every set; no_new_privs, so that no set-uid program gives any back".to_owned(),
        "system calls: mounts, namespaces, tracing, keyrings, bpf, io_uring, set-uid bits and others (seccomp)".to_owned(),
        "the terminal: the app gets one of its own, in a session of its own".to_owned(),
        "descriptors: all but the standard streams are closed".to_owned(),
    ];
    if !plan.limits.is_empty() {
        lines.push(format!("more than: {}", plan.limits));
    }
    for (group, plug) in &plan.system_calls {
        lines.push(format!("but not the system calls of the group {group}  [plug {plug}]"));
    }
    if let (false, Some(plug)) = (restricts_files(plan), plan.system_calls.get(NESTED_MOUNTS)) {
        lines.push(format!(
            "NOT writing where it says so alone, and changing mounts (Landlock), since it makes mounts of its own  [plug {plug}]"
        ));
    }
    lines.extend(wall(plan).into_iter().map(|(version, right)| match landlock >= version {
        true => format!("{right} (Landlock)"),
        false => format!("NOT {right}: that needs Landlock {version}, and this kernel has {landlock}"),
    }));
    lines
}

/// What Landlock takes away, and the version that it takes.
fn wall(plan: &Plan) -> Vec<(u32, String)> {
    let mut rights = Vec::new();
    if restricts_files(plan) {
        rights.push((2, "writing anywhere but where it says so above, and changing mounts".to_owned()));
    }
    if !matches!(plan.processes, Processes::Shared { .. }) {
        rights.push((6, "signals to processes outside".to_owned()));
    }
    if let Network::Host { connect, ports, bind, .. } = &plan.network {
        if plan.abstract_sockets_shut {
            rights.push((6, "abstract Unix sockets outside".to_owned()));
        }
        match (connect, ports.as_slice()) {
            (false, _) => rights.push((4, "opening TCP connections: no plug asked for it".to_owned())),
            (true, []) => {}
            (true, ports) => rights.push((4, format!("opening TCP connections but{}", port_list(ports)))),
        }
        if !bind {
            rights.push((4, "binding TCP ports: no plug asked for it".to_owned()));
        }
    }
    rights
}

fn program(plan: &Plan) -> Vec<String> {
    let mut words = vec![plan.program.clone()];
    words.extend(plan.arguments.iter().map(|argument| format!("{argument:?}")));
    words.push("and the arguments given".to_owned());
    vec![
        words.join(" "),
        format!("in the first of these folders that exists: {}", plan.working_folders.join(", ")),
    ]
}

fn entry(plan: &Plan, entry: &Entry) -> [String; 3] {
    let mut shown = content(plan, &entry.content);
    if entry.target.ends_with("/wayland-0") && matches!(entry.content, Content::Bind { .. }) {
        shown +=
            "; the compositor cannot be told that this is an app, and gives it whatever it gives to everyone";
    }
    [entry.target.clone(), shown, entry.because.describe()]
}

fn content(plan: &Plan, content: &Content) -> String {
    match content {
        Content::Folder => "a folder".to_owned(),
        Content::Copy { path } => {
            format!("a copy of the host's {path}, kept up to date with the host's network")
        }
        Content::Symlink { to } => format!("link to {to}"),
        Content::File { data } => format!("a file of {} bytes", data.len()),
        Content::Tmpfs { size, .. } => format!("empty, writable, in memory, at most {} MiB", size >> 20),
        Content::Bind { source, access, optional } => {
            let source = match source {
                Source::Path(path) => path.clone(),
                Source::Beneath { folder, path } => format!("{folder}/{path}"),
            };
            let access = match access {
                Access::ReadOnly => "read-only",
                Access::ReadWrite => "read and write",
                Access::Device => "device",
                Access::Socket => "socket",
            };
            let optional = if *optional { ", if it is there" } else { "" };
            format!("the host's {source}, {access}{optional}")
        }
        Content::Image { image, path } => format!("{}, read-only", in_image(plan, *image, path)),
        Content::Overlay { layers } => {
            let layers: Vec<String> = layers.iter().map(|part| layer(plan, part)).collect();
            format!("{}, read-only", layers.join(" over "))
        }
        Content::Again { path } => format!("the same as {path}, read-only"),
        Content::Companion { companion } => behind(companion),
        Content::Proc => "proc of its own pid namespace".to_owned(),
        Content::Terminals => "pseudo-terminals of its own".to_owned(),
    }
}

/// What stands behind a socket of the app's.
fn behind(companion: &Companion) -> String {
    match companion {
        Companion::Sound { server, play, record, .. } => {
            let side = |plug: &Option<Name>, what: &str| match plug {
                Some(plug) => format!("{what} (plug {plug})"),
                None => format!("no {what}"),
            };
            let what = format!("{}, {}", side(play, "playing"), side(record, "recording"));
            format!("the sound server at {server}, through a filter: {what}")
        }
        Companion::Wayland { server } => {
            format!("the compositor at {server}, which is told that it serves an app")
        }
        Companion::Bus { address, rules, .. } => {
            format!("the bus at {address}, through a filter of {} rules", rules.len())
        }
    }
}

/// What may be done on the buses, a line a rule.
fn bus_rules(plan: &Plan) -> Vec<String> {
    let rules = plan.root.iter().filter_map(|entry| match &entry.content {
        Content::Companion { companion: Companion::Bus { bus, rules, .. } } => Some((bus, rules)),
        _ => None,
    });
    let line = |bus: &Bus, granted: &GrantedRule| {
        let bus = match bus {
            Bus::Session => "session",
            Bus::System => "system",
            Bus::Accessibility => "accessibility",
        };
        let at = |path: &Option<String>| path.as_ref().map(|path| format!(" at {path}")).unwrap_or_default();
        let rule = match &granted.rule {
            BusRule::See(name) => format!("sees {}", name.as_str()),
            BusRule::Talk(name) => format!("talks to {}", name.as_str()),
            BusRule::Own(name) => format!("is {}", name.as_str()),
            BusRule::Call { name, method, path } => {
                format!("calls {} of {}{}", method.as_str(), name.as_str(), at(path))
            }
            BusRule::Broadcast { name, signal, path } => {
                format!("hears {} of {}{}", signal.as_str(), name.as_str(), at(path))
            }
        };
        [bus.to_owned(), rule, format!("plug {}", granted.because)]
    };
    columns(rules.flat_map(|(bus, rules)| rules.iter().map(move |rule| line(bus, rule))))
}

fn layer(plan: &Plan, layer: &Layer) -> String {
    match layer {
        Layer::Image { image, path } => in_image(plan, *image, path),
        Layer::Host { path } => format!("the host's {path}"),
        Layer::Places { .. } => "the places of the layout".to_owned(),
    }
}

fn in_image(plan: &Plan, image: ImageRole, path: &str) -> String {
    let image = match image {
        ImageRole::Package => "the package".to_owned(),
        ImageRole::Base => "the base".to_owned(),
        ImageRole::Provider(number) => match plan.providers.get(number) {
            Some(provider) => format!("the package `{provider}`"),
            None => "another package".to_owned(),
        },
    };
    if path.is_empty() { image } else { format!("{image}'s {path}") }
}

/// Lays three cells a row out in columns; an empty middle cell takes no room.
fn columns(rows: impl Iterator<Item = [String; 3]>) -> Vec<String> {
    let rows: Vec<[String; 3]> = rows.collect();
    let width = |cell: usize| rows.iter().map(|row| row[cell].chars().count()).max().unwrap_or(0).min(44);
    let (first, second) = (width(0), width(1));
    rows.iter()
        .map(|[a, b, c]| {
            if second == 0 { format!("{a:first$}  [{c}]") } else { format!("{a:first$}  {b:second$}  [{c}]") }
        })
        .collect()
}
