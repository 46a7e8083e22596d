//! Tells a plan as a person would: each namespace, mount, variable and rule, and what asked for it.

use pack_schemas::plan::{Access, Content, Entry, ImageRole, Layer, Network, Plan, Source};
use pack_schemas::text::visible;

/// The plan as lines of text. Text that comes from the package or the environment is made visible.
pub fn explain(plan: &Plan) -> Vec<String> {
    let mut lines =
        vec![format!("{}.{} (version {}, revision {})", plan.package, plan.app, plan.version, plan.revision)];
    let mut section = |title: &str, body: Vec<String>| {
        lines.push(String::new());
        lines.push(title.to_owned());
        lines.extend(body.into_iter().map(|line| format!("  {}", visible(&line))));
    };
    section("Namespaces of its own", namespaces(plan));
    section("Root folder, read-only, in the order in which it is made", columns(plan.root.iter().map(entry)));
    section("Rights given up", rights(plan));
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
        "mount    nothing of the host's but what is listed below".to_owned(),
        "pid      the app's processes only; all end when the app ends".to_owned(),
        "ipc, uts, cgroup".to_owned(),
    ];
    lines.push(match &plan.network {
        Network::Own => "network  a loopback interface and nothing else".to_owned(),
        Network::Host { because, .. } => {
            let plugs: Vec<String> = because.iter().map(|plug| format!("plug {plug}")).collect();
            format!("(the host's network is shared: {})", plugs.join(", "))
        }
    });
    lines
}

fn rights(plan: &Plan) -> Vec<String> {
    let mut lines = vec![
        "all capabilities, in every set; no_new_privs, so that no set-uid program gives any back".to_owned(),
        "system calls: mounts, namespaces, tracing, keyrings, bpf, io_uring, set-uid bits and others (seccomp)".to_owned(),
        "the terminal: the app gets one of its own, in a session of its own".to_owned(),
        "descriptors: all but the standard streams are closed".to_owned(),
    ];
    if let Network::Host { connect, bind, .. } = plan.network {
        if plan.abstract_sockets_shut {
            lines.push("abstract Unix sockets outside (Landlock, where the kernel has it)".to_owned());
        }
        if !connect {
            lines.push("opening TCP connections (Landlock): no plug asked for it".to_owned());
        }
        if !bind {
            lines.push("binding TCP ports (Landlock): no plug asked for it".to_owned());
        }
    }
    lines
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

fn entry(entry: &Entry) -> [String; 3] {
    [entry.target.clone(), content(&entry.content), entry.because.describe()]
}

fn content(content: &Content) -> String {
    match content {
        Content::Folder => "a folder".to_owned(),
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
            };
            let optional = if *optional { ", if it is there" } else { "" };
            format!("the host's {source}, {access}{optional}")
        }
        Content::Image { image, path } => format!("{}, read-only", in_image(*image, path)),
        Content::Overlay { layers } => {
            let layers: Vec<String> = layers.iter().map(layer).collect();
            format!("{}, read-only", layers.join(" over "))
        }
        Content::Proc => "proc of its own pid namespace".to_owned(),
        Content::Terminals => "pseudo-terminals of its own".to_owned(),
    }
}

fn layer(layer: &Layer) -> String {
    match layer {
        Layer::Image { image, path } => in_image(*image, path),
        Layer::Host { path } => format!("the host's {path}"),
    }
}

fn in_image(image: ImageRole, path: &str) -> String {
    let image = match image {
        ImageRole::Package => "the package",
        ImageRole::Base => "the base",
    };
    if path.is_empty() { image.to_owned() } else { format!("{image}'s {path}") }
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
