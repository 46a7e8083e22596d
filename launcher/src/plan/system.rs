//! What every root folder has: the base's and the package's files ([`layers`]), /etc, /dev, /proc, /tmp, /run, /var.

use std::collections::BTreeMap;

use pack_schemas::manifest::{Base, Manifest, RootFs};
use pack_schemas::plan::{Access, Content, Entry, ImageRole, Reason, Source};

use crate::plan::layers::{self, OWN_TOP};
use crate::plan::{PlanError, Request, entry};

/// Device nodes that are harmless to everyone: bottomless, empty, random, and the process's own terminal.
const DEVICES: &[&str] = &["full", "null", "random", "tty", "urandom", "zero"];
/// Size limit of each of /tmp, /var/tmp, /dev/shm, /run/user/N and those of a layout: 512 MiB. They live in memory.
pub const TMPFS_SIZE: u64 = 512 << 20;

/// Host files that make name resolution, local time and the machine's identity what they are outside; read-only, and
/// no secret to any user of the machine.
const ETC_OF_HOST: &[&str] = &["host.conf", "machine-id"];
/// Those of them that are replaced while programs run.
const ETC_FOLLOWED: &[&str] = &["hosts", "resolv.conf"];
/// Where the host keeps time zones.
const ZONES: &str = "/usr/share/zoneinfo/";
/// What of the host's /etc belongs to its /usr: a program of the host's finds there what it needs, and nothing tells
/// of the machine's users or services. In the order of the alphabet.
pub const ETC_OF_HOST_BASE: &[&str] = &[
    "X11",
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "gtk-2.0",
    "gtk-3.0",
    "gtk-4.0",
    "inputrc",
    "java",
    "java-17-openjdk",
    "java-21-openjdk",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "libnl-3",
    "locale.alias",
    "magic",
    "magic.mime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "perl",
    "pki",
    "protocols",
    "pulse",
    "python3",
    "python3.11",
    "python3.12",
    "python3.13",
    "rpc",
    "sane.d",
    "services",
    "ssl",
    "terminfo",
    "timezone",
    "vulkan",
    "xdg",
];

/// The entries, in the order in which they are made.
pub fn entries(request: &Request<'_>) -> Result<Vec<Entry>, PlanError> {
    let mut root = Vec::new();
    let package = Content::Image { image: ImageRole::Package, path: String::new() };
    root.push(entry("/app", package, Reason::Package));
    root.extend(layers::tops(request)?);
    etc(&mut root, request);
    devices(&mut root);
    root.push(entry("/proc", Content::Proc, Reason::Sandbox));
    root.push(entry("/tmp", Content::Tmpfs { size: TMPFS_SIZE, mode: 0o1777 }, Reason::Sandbox));
    root.push(entry(
        runtime_folder(request.host.user.id),
        Content::Tmpfs { size: TMPFS_SIZE, mode: 0o700 },
        Reason::Sandbox,
    ));
    // Whoever brings a /var: what is written to there has to be the sandbox's own.
    root.push(entry("/var", Content::Folder, Reason::Sandbox));
    root.extend(layers::var(request));
    root.push(entry("/var/tmp", Content::Tmpfs { size: TMPFS_SIZE, mode: 0o1777 }, Reason::Sandbox));
    root.push(entry("/var/run", Content::Symlink { to: "/run".to_owned() }, Reason::Sandbox));
    Ok(root)
}

/// `XDG_RUNTIME_DIR` inside.
pub fn runtime_folder(user: u32) -> String {
    format!("/run/user/{user}")
}

/// Where a file of the package is found inside: at the root where the package's files make up the root, else below
/// `/app`.
pub fn path_inside(request: &Request<'_>, path: &str) -> String {
    let top = path.split('/').next().unwrap_or_default();
    let at_root = package_makes_root(request) && path.contains('/') && !OWN_TOP.contains(&top);
    if at_root { format!("/{path}") } else { format!("/app/{path}") }
}

/// Whether the package's own top entries are the root's too.
pub fn package_makes_root(request: &Request<'_>) -> bool {
    makes_root(request.manifest)
}

/// Whether the top entries of a package with this manifest are the root's too.
pub fn makes_root(manifest: &Manifest) -> bool {
    manifest.rootfs == RootFs::Merged || manifest.base == Base::None
}

/// /etc is a folder of the sandbox's own. From below to above: the base's entries, the package's where it makes up the
/// root, the few of the host's that everyone has, and the user alone in passwd and group.
fn etc(root: &mut Vec<Entry>, request: &Request<'_>) {
    let mut files: BTreeMap<String, Entry> =
        layers::etc(request).map(|entry| (entry.target.clone(), entry)).collect();
    let mut put = |name: &str, content: Content, because: Reason| {
        let target = format!("/etc/{name}");
        files.insert(target.clone(), entry(target, content, because));
    };
    for name in ETC_OF_HOST {
        put(name, host(format!("/etc/{name}"), true), Reason::Sandbox);
    }
    for name in ETC_FOLLOWED {
        put(name, Content::Copy { path: format!("/etc/{name}") }, Reason::Sandbox);
    }
    // Programs read the name of the zone from the link; where the base has no such file the host's is shown.
    match &request.host.local_time {
        Some(link) if request.manifest.base == Base::Host && link.starts_with(ZONES) => {
            put("localtime", Content::Symlink { to: link.clone() }, Reason::Sandbox);
        }
        _ => put("localtime", host("/etc/localtime".to_owned(), true), Reason::Sandbox),
    }
    let user = &request.host.user;
    let home = format!("{}/{}", request.data, super::data_folders(request)[0]);
    let passwd = format!(
        "{name}:x:{id}:{group}::{home}:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        name = user.name,
        id = user.id,
        group = user.group_id
    );
    let group = format!("{}:x:{}:\nnogroup:x:65534:\n", user.group_name, user.group_id);
    put("passwd", Content::File { data: passwd.into_bytes() }, Reason::Sandbox);
    put("group", Content::File { data: group.into_bytes() }, Reason::Sandbox);
    put("mtab", Content::Symlink { to: "/proc/self/mounts".to_owned() }, Reason::Sandbox);
    root.push(entry("/etc", Content::Folder, Reason::Sandbox));
    root.extend(files.into_values());
}

/// The devices that every sandbox has, and a place for shared memory.
pub fn devices(root: &mut Vec<Entry>) {
    for name in DEVICES {
        let source = Source::Path(format!("/dev/{name}"));
        root.push(entry(
            format!("/dev/{name}"),
            Content::Bind { source, access: Access::Device, optional: false },
            Reason::Sandbox,
        ));
    }
    root.push(entry("/dev/pts", Content::Terminals, Reason::Sandbox));
    root.push(entry("/dev/shm", Content::Tmpfs { size: TMPFS_SIZE, mode: 0o1777 }, Reason::Sandbox));
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, to) in links {
        root.push(entry(format!("/dev/{name}"), Content::Symlink { to: to.to_owned() }, Reason::Sandbox));
    }
}

pub(super) fn host(path: String, optional: bool) -> Content {
    Content::Bind { source: Source::Path(path), access: Access::ReadOnly, optional }
}
