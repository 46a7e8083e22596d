//! What the sandbox costs beyond the namespaces that it stands on: an app that does nothing, started in the same
//! namespaces with nothing else done, and in the sandbox of `pack run` (root folder, terminal and signals looked after,
//! rights given up, Landlock, system call filter). No package and no keeper: `start` measures those.
//!
//! Each is one child of this process, timed from before it is made until it has been waited for.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use pack_launcher::host::{self, Surroundings};
use pack_launcher::keeper::Watch;
use pack_launcher::plan::{self, ImageFacts, Request};
use pack_launcher::sandbox::refusals::{Notice, Refusals};
use pack_launcher::sandbox::{self, Images};
use pack_launcher::sys::clone::{Side, clone_process, exit_now, start_in_shared_memory};
use pack_schemas::manifest::Manifest;
use pack_schemas::plan::{Content, Plan};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use crate::place::Place;
use crate::table::{Figure, Target, Unit, Verdict};

const NAMESPACES: &str = "namespaces alone";
const SANDBOX: &str = "the whole sandbox";
const MORE: &str = "the whole sandbox, less the namespaces";

/// Measures as the user of the place, and reads what that tells.
pub fn sandbox(place: &Place, rounds: usize) -> Vec<Verdict> {
    let own = std::env::current_exe().expect("our own name");
    let copy = place.path("compare");
    fs::copy(own, &copy).expect("a copy that the user can reach");
    place.own(&copy);
    let mut command = place.command(&copy, ["sandbox-rounds", &rounds.to_string()]);
    let output = command.stdout(std::process::Stdio::piped()).output().expect("our own program");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut figure =
        Figure::new("what the sandbox costs", Unit::Milliseconds).target(MORE, Target::AtMost(0.3));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let times: Vec<f64> = line.split(' ').map(|time| time.parse().expect("a number")).collect();
        figure.add(NAMESPACES, times[0]);
        figure.add(SANDBOX, times[1]);
        figure.add(MORE, times[1] - times[0]);
    }
    figure.print(NAMESPACES)
}

/// A line a round: milliseconds of the one and of the other.
pub fn run(rounds: usize) {
    let plan = plan();
    for round in 0..rounds + 3 {
        let namespaces = time(|| in_namespaces(&plan));
        let sandbox = time(|| in_sandbox(&plan));
        if round >= 3 {
            println!("{namespaces} {sandbox}");
        }
    }
}

/// Runs something in a child that ends with its status, and gives the milliseconds that took.
fn time(run: impl FnOnce() -> i32) -> f64 {
    let begin = Instant::now();
    match clone_process(0).expect("a process") {
        Side::Child => exit_now(run()),
        Side::Parent { pidfd, .. } => {
            let status = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED);
            let status = status.expect("its end").expect("it has ended");
            assert_eq!(status.exit_status(), Some(0));
            begin.elapsed().as_secs_f64() * 1e3
        }
    }
}

/// The plan of an app on the host's base without plugs; without the entries of a package.
fn plan() -> Plan {
    let manifest: Manifest = serde_json::from_value(serde_json::json!({
        "name": "trivial", "version": "1", "base": "host", "apps": {"trivial": {"command": "bin/true"}},
    }))
    .expect("a manifest");
    let home = std::env::var("HOME").expect("a home");
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let surroundings = Surroundings { variables, home: home.clone(), ..Surroundings::default() };
    let host = host::gather(surroundings, std::iter::empty()).expect("facts");
    for name in ["x1", "common"] {
        fs::create_dir_all(format!("{home}/data/trivial/{name}")).expect("data folders");
    }
    let app = "trivial".parse().expect("a name");
    let request = Request {
        manifest: &manifest,
        revision: "x1".parse().expect("a revision"),
        app: &app,
        shell: false,
        connections: &BTreeMap::new(),
        package: &ImageFacts::default(),
        base: None,
        content: &[],
        host: &host,
        data: &format!("{home}/data"),
    };
    let mut plan = plan::build(&request).expect("a plan");
    plan.root.retain(|entry| !matches!(entry.content, Content::Image { .. }));
    plan.program = "/usr/bin/true".to_owned();
    plan
}

/// The namespaces of an app's sandbox, its two levels of user namespaces, and the program in them.
fn in_namespaces(plan: &Plan) -> i32 {
    let user = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    match clone_process(sandbox::namespaces(plan)).expect("namespaces") {
        Side::Child => {
            map((0, 0), user);
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).expect("a user namespace");
            map(user, (0, 0));
            let program = c"/usr/bin/true";
            let app = start_in_shared_memory(&mut || {
                let _ = nix::unistd::execv(program, &[program]);
                127
            });
            app.expect("a process");
            let status = rustix::process::wait(rustix::process::WaitOptions::empty());
            exit_now(status.ok().flatten().and_then(|(_, status)| status.exit_status()).unwrap_or(125))
        }
        Side::Parent { pidfd, .. } => {
            let status = waitid(WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)), WaitIdOptions::EXITED);
            status.ok().flatten().and_then(|status| status.exit_status()).unwrap_or(125)
        }
    }
}

fn map(inside: (u32, u32), outside: (u32, u32)) {
    fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    fs::write("/proc/self/uid_map", format!("{} {} 1", inside.0, outside.0)).expect("a user");
    fs::write("/proc/self/gid_map", format!("{} {} 1", inside.1, outside.1)).expect("a group");
}

fn in_sandbox(plan: &Plan) -> i32 {
    let images = Images { package: None, base: None, providers: Vec::new() };
    let mut tell = |line: &str| eprintln!("{line}");
    let mut watch = Watch::new(Vec::new(), &mut tell);
    let mut refusals = Refusals::default();
    let notice = Notice::Refusals(&mut refusals);
    let status = sandbox::run(plan, images, &[], &mut watch, notice);
    match status {
        Ok(status) => i32::from(status),
        Err(error) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error));
            125
        }
    }
}
