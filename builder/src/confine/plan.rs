//! Step, part and root → the plan of a sandbox. Pure: nothing is looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pack_launcher::host::TopLink;
use pack_launcher::plan::system::{TMPFS_SIZE, devices};
use pack_schemas::limits::Limits;
use pack_schemas::names::{Name, Revision};
use pack_schemas::plan::{
    Access, Content, Entry, Network, Plan, Processes, Reason, Setting, Source, StandIn,
};

use super::{CONTROL, ConfineError, FOLDER, Root, inside};
use crate::parts::Step;
use crate::project::Project;

/// An empty folder, shown where something is to be hidden.
const EMPTY: &str = "/build/.empty";
/// The user's and the group's id inside.
const USER: u32 = 1000;
/// Who is there: the one who builds, and those whom programs expect to find.
const GROUP: &str = "root:x:0:\nbuilder:x:1000:\nnogroup:x:65534:\n";
/// The names that a machine without a network has.
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// What a sandbox is made for.
#[derive(Debug, Clone, Copy)]
pub struct Sandbox<'a> {
    /// The project.
    pub project: &'a Project,
    /// The part.
    pub part: &'a Name,
    /// The step.
    pub step: Step,
    /// What is at `/`.
    pub root: &'a Root,
    /// A file of certificates on the host that the pull step is to trust, where the caller names one.
    pub certificates: Option<&'a Path>,
}

/// The plan of a sandbox in which `program` runs, in `working_folder` (a path inside).
///
/// # Errors
/// [`ConfineError::Name`], where the project's path is not UTF-8.
pub fn plan(
    sandbox: &Sandbox<'_>,
    program: &str,
    arguments: &[String],
    environment: BTreeMap<String, String>,
    working_folder: String,
) -> Result<Plan, ConfineError> {
    let manifest = sandbox.project.manifest();
    let setting = |value| Setting { value, because: Reason::Sandbox };
    Ok(Plan {
        package: manifest.name.clone(),
        version: manifest.version.clone(),
        revision: Revision::Local(1),
        app: sandbox.part.clone(),
        network: network(sandbox),
        abstract_sockets_shut: true,
        processes: Processes::Own,
        shared_memory: Vec::new(),
        limits: Limits::default(),
        manager: None,
        system_calls: BTreeMap::new(),
        stand_in: Some(StandIn { user: USER, group: USER, host_name: "build".to_owned() }),
        identity: None,
        root: root(sandbox)?,
        made: Vec::new(),
        providers: Vec::new(),
        links: BTreeMap::new(),
        environment: environment.into_iter().map(|(name, value)| (name, setting(value))).collect(),
        program: program.to_owned(),
        arguments: arguments.to_vec(),
        working_folders: vec![working_folder],
    })
}

fn fetches(sandbox: &Sandbox<'_>) -> bool {
    sandbox.step == Step::Pull
}

fn network(sandbox: &Sandbox<'_>) -> Network {
    match fetches(sandbox) {
        true => Network::Host { connect: true, ports: Vec::new(), bind: true, because: Vec::new() },
        false => Network::Own,
    }
}

fn root(sandbox: &Sandbox<'_>) -> Result<Vec<Entry>, ConfineError> {
    let mut root = Vec::new();
    system(&mut root, sandbox)?;
    etc(&mut root, sandbox)?;
    devices(&mut root);
    root.push(entry("/proc", Content::Proc));
    for folder in ["/tmp", "/var/tmp"] {
        root.push(entry(folder, Content::Tmpfs { size: TMPFS_SIZE, mode: 0o1777 }));
    }
    root.push(entry("/run", Content::Folder));
    root.push(entry("/var/run", Content::Symlink { to: "/run".to_owned() }));
    folders(&mut root, sandbox)?;
    Ok(root)
}

fn system(root: &mut Vec<Entry>, sandbox: &Sandbox<'_>) -> Result<(), ConfineError> {
    for (name, top) in &sandbox.root.top {
        let content = match top {
            TopLink::Link(to) => Content::Symlink { to: to.clone() },
            TopLink::Folder => bind(&sandbox.root.folder.join(name), Access::ReadOnly, false)?,
        };
        root.push(entry(format!("/{name}"), content));
    }
    Ok(())
}

/// /etc: what belongs to the root's /usr, who is there, and for fetching how names are looked up.
fn etc(root: &mut Vec<Entry>, sandbox: &Sandbox<'_>) -> Result<(), ConfineError> {
    let home = inside(sandbox.project, &sandbox.project.work().part(sandbox.part).home());
    let passwd = format!(
        "root:x:0:0:root:/root:/bin/bash\nbuilder:x:{USER}:{USER}::{home}:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let file = |text: &str| Content::File { data: text.as_bytes().to_vec() };
    let copy = |path: &str| Content::Copy { path: path.to_owned() };
    let mut own = BTreeMap::from([
        ("passwd", file(&passwd)),
        ("group", file(GROUP)),
        ("hostname", file("build\n")),
        ("mtab", Content::Symlink { to: "/proc/self/mounts".to_owned() }),
    ]);
    match fetches(sandbox) {
        true => own.extend([("hosts", copy("/etc/hosts")), ("resolv.conf", copy("/etc/resolv.conf"))]),
        false => drop(own.insert("hosts", file(HOSTS))),
    }
    root.push(entry("/etc", Content::Folder));
    for name in sandbox.root.etc.iter().filter(|name| !own.contains_key(name.as_str())) {
        let content = bind(&sandbox.root.folder.join("etc").join(name), Access::ReadOnly, true)?;
        root.push(entry(format!("/etc/{name}"), content));
    }
    let certificates = match fetches(sandbox) {
        true => sandbox.root.trusted.clone(),
        false => sandbox.root.folder.join(super::root::CERTIFICATES),
    };
    root.push(entry("/etc/ssl/certs", bind(&certificates, Access::ReadOnly, true)?));
    root.extend(own.into_iter().map(|(name, content)| entry(format!("/etc/{name}"), content)));
    Ok(())
}

/// The folders of the build, as the module's table says.
fn folders(root: &mut Vec<Entry>, sandbox: &Sandbox<'_>) -> Result<(), ConfineError> {
    let Sandbox { project, part, step, .. } = *sandbox;
    let (work, of_part) = (project.work(), project.work().part(part));
    root.push(entry(EMPTY, Content::Folder));
    let mut show = |path: &Path, at: String, access: Option<Access>| -> Result<(), ConfineError> {
        let content = match access {
            Some(access) => bind(path, access, false)?,
            None => Content::Again { path: EMPTY.to_owned() },
        };
        root.push(entry(at, content));
        Ok(())
    };
    let place = |path: &Path| inside(project, path);
    let written_in = |steps: &[Step]| match steps.contains(&step) {
        true => Some(Access::ReadWrite),
        false => Some(Access::ReadOnly),
    };
    show(project.folder(), place(project.folder()), Some(Access::ReadOnly))?;
    // Shown again, it would give away what is written to elsewhere.
    show(work.root(), format!("{FOLDER}/project/.pack"), None)?;
    let folders: [(PathBuf, &[Step]); 6] = [
        (of_part.source(), &[Step::Pull]),
        (of_part.fetched(), &[Step::Pull]),
        (of_part.build(), &[Step::Build]),
        (of_part.install(), &[Step::Build]),
        (of_part.home(), &[Step::Pull, Step::Build]),
        (of_part.temporary(), &[Step::Pull, Step::Build, Step::Stage, Step::Prime]),
    ];
    for (path, steps) in folders {
        show(&path, place(&path), written_in(steps))?;
    }
    let stage = if step == Step::Pull { None } else { written_in(&[Step::Stage]) };
    show(&work.stage(), place(&work.stage()), stage)?;
    let prime = if step == Step::Prime { Some(Access::ReadWrite) } else { None };
    show(&work.prime(), place(&work.prime()), prime)?;
    show(&of_part.control(), CONTROL.to_owned(), Some(Access::ReadWrite))?;
    if let (Some(path), true) = (sandbox.certificates, fetches(sandbox)) {
        show(path, CERTIFICATES.to_owned(), Some(Access::ReadOnly))?;
    }
    Ok(())
}

/// Where the file of certificates is that the caller named.
pub(crate) const CERTIFICATES: &str = "/build/certificates";

fn bind(path: &Path, access: Access, optional: bool) -> Result<Content, ConfineError> {
    let text = path.to_str().ok_or_else(|| ConfineError::Name(path.to_path_buf()))?;
    Ok(Content::Bind { source: Source::Path(text.to_owned()), access, optional })
}

fn entry(target: impl Into<String>, content: Content) -> Entry {
    Entry { target: target.into(), content, because: Reason::Sandbox }
}
