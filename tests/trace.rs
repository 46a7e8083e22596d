//! A whole install and run, traced: no set-uid program, no mount outside the user's own namespaces, no file capability.

mod support;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use support::{World, out, succeed};

/// The lines of a trace that are calls of one of these names, and succeeded.
fn calls<'a>(trace: &'a str, names: &[&str]) -> Vec<&'a str> {
    trace
        .lines()
        .filter(|line| {
            let call = line.split_once(' ').map_or(*line, |(_, call)| call.trim_start());
            // A call that another process's came into the middle of stands on two lines; the first has its arguments.
            names.iter().any(|name| call.starts_with(&format!("{name}("))) && !line.contains(" = -1 ")
        })
        .collect()
}

#[test]
fn an_install_and_a_run_use_no_set_uid_program_and_mount_nothing_outside() {
    let world = World::with_key();
    world.copy_example("hello");
    let package = world.build("hello");
    let before = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let trace = world.path("tmp/trace");
    let script = r#"set -e
        strace -f -qq --pidns-translation -s 300 -e trace=execve,mount,move_mount,clone3,clone,unshare,setns,pivot_root,umount2,setuid,setresuid \
          -o "$1" sh -c '"$0" install --yes "$1" && "$0" run hello traced' "$2" "$3""#;
    let mut shell = world.command("sh");
    shell
        .env("PACK_LINGER", "0")
        .args(["-c", script, "sh"])
        .arg(&trace)
        .arg(support::pack_binary())
        .arg(&package);
    let text = out(&succeed(shell));
    assert!(text.contains("Hello, traced!"), "{text}");
    let trace = std::fs::read_to_string(&trace).unwrap();

    let inside = made_inside(&trace);
    for line in calls(&trace, &["mount", "move_mount", "pivot_root", "umount2"]) {
        assert!(inside.contains(pid_of(line)), "{line} is made outside: {inside:?}");
    }

    let executed = calls(&trace, &["execve"]);
    assert!(executed.len() >= 4, "{executed:?}");
    for line in &executed {
        let Some(path) = line.split('"').nth(1) else {
            // The tracer may not look into the sandbox's first process. There no set-uid bit counts: it was made
            // under no_new_privs, and all its mounts are nosuid.
            assert!(inside.contains(pid_of(line)), "{line}");
            continue;
        };
        // A path inside the sandbox need not exist out here; those that do are looked at.
        if let Ok(found) = std::fs::metadata(path) {
            assert_eq!(found.mode() & 0o6000, 0, "{path} is set-uid or set-gid");
        }
        assert!(!line.contains("fusermount"), "{line}");
    }

    assert!(!calls(&trace, &["move_mount"]).is_empty());

    let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(after, before, "the host's mounts are what they were");
}

fn pid_of(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// The processes that were made in new user and mount namespaces, and all that those made. A child may be seen at work
/// before the call that made it returns, so the whole trace is read first.
fn made_inside(trace: &str) -> HashSet<String> {
    let lines: Vec<&str> = trace.lines().collect();
    let mut unfinished: HashMap<&str, usize> = HashMap::new();
    let mut made = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let pid = pid_of(line);
        let is = |calls: [&str; 2]| calls.iter().any(|call| line.contains(call));
        if is([" clone(", " clone3("]) {
            if line.contains("<unfinished ...>") {
                unfinished.insert(pid, at);
            } else {
                made.push((pid, *line, child_of(line, &lines, at)));
            }
        } else if is([" clone resumed", " clone3 resumed"])
            && let Some(begun) = unfinished.remove(pid)
        {
            made.push((pid, lines[begun], child_of(line, &lines, begun)));
        }
    }
    let mut inside = HashSet::new();
    loop {
        let before = inside.len();
        for (parent, call, child) in &made {
            let apart = call.contains("CLONE_NEWNS") && call.contains("CLONE_NEWUSER");
            if apart || inside.contains(*parent) {
                inside.insert(child.clone());
            }
        }
        if inside.len() == before {
            return inside;
        }
    }
}

/// The child's number as the tracer counts, which it adds where the caller counts in a pid namespace of its own. It cannot
/// for the sandbox's first process, which nobody may look into: that one's child is who turns up next.
fn child_of(line: &str, lines: &[&str], begun: usize) -> String {
    let result = line.rsplit(" = ").next().unwrap_or_default();
    let number = result.split_once("/* ").map_or(result, |(_, translated)| translated);
    let number = number.split_whitespace().next().unwrap_or_default();
    // Numbers in the sandbox begin at 1; the tracer's are never as small.
    if number.parse::<u32>().is_ok_and(|number| number > 100) {
        return number.to_owned();
    }
    let known: HashSet<&str> = lines[..=begun].iter().map(|line| pid_of(line)).collect();
    let next = lines[begun..].iter().map(|line| pid_of(line)).find(|pid| !known.contains(pid));
    next.unwrap_or_default().to_owned()
}

#[test]
fn the_program_itself_has_no_privilege() {
    let found = std::fs::metadata(env!("CARGO_BIN_EXE_pack")).unwrap();
    assert_eq!(found.mode() & 0o6000, 0);
    let mut linked = Command::new("ldd");
    linked.arg(env!("CARGO_BIN_EXE_pack"));
    let libraries = out(&succeed(linked));
    for library in ["squashfs", "zstd", "lzma", "lzo", "lz4"] {
        assert!(!libraries.contains(library), "no start of an app loads a compressor: {libraries}");
    }
}
