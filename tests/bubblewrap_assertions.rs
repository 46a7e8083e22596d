//! What bubblewrap's own tests (tests/test-run.sh, tests/test-seccomp.py) assert of a sandbox, held against `pack run`.
//!
//! | bubblewrap asserts | here |
//! |---|---|
//! | files that only others may read are not readable through any bind | [`a_file_that_the_user_may_not_read_stays_closed`] |
//! | a bind over a symbolic link; a link that is not overwritten; `--symlink` | the plan has one entry a target (`plan/tests.rs`); links are made once |
//! | all expected devices are there | [`the_devices_are_those_that_programs_expect`] |
//! | running as pid 1 | not so: pid 1 is pack's reaper, so that orphans are collected: [`orphans_are_collected`] |
//! | `--info-fd`, `--json-status-fd` | no such options; exit statuses are asserted in `tests/run.rs` |
//! | no exit code where the program could not be executed | 127 and 126, `tests/run.rs` |
//! | /proc can be mounted in a sandbox in a sandbox; recursive new root | not wanted: there is no sandbox in the sandbox ([`nested_user_namespaces_are_disabled`]) |
//! | `--disable-userns`, `--assert-userns-disabled` | [`nested_user_namespaces_are_disabled`] |
//! | a missing source is an error with its path | plugs show what is there; for data: `tests/sandbox.rs` |
//! | no capabilities, as any uid; as uid 0 only those asked for | [`there_are_no_capabilities`]; nobody is uid 0 here |
//! | it dies with its parent | [`it_dies_with_its_parent`], `tests/sandbox.rs` |
//! | `--`, and executables with names like options | `tests/run.rs`, [`an_executable_named_like_an_option_is_run`] |
//! | no `/oldroot`, no `/newroot` to be seen | [`nothing_of_the_making_is_left_to_be_seen`] |
//! | permissions of mount points, folders, tmpfs; sizes | [`what_is_made_has_the_expected_permissions`] |
//! | a socket bound onto a socket | `tests/plugs_sockets.rs` |
//! | `--chdir`, `--setenv`, `--clearenv`, argv0 | `working-dir` and the environment: `tests/run.rs`, `plan/tests.rs` |
//! | host name of its own | [`the_host_name_is_a_copy_that_nobody_can_change`] |
//! | overlays: escaping, read-only, restrictions | `rootfs: merged`: `tests/examples.rs`; nobody names overlay options here |
//! | descriptors that are passed on purpose | there are none: `tests/sandbox.rs` |
//! | remounting read-only; recursive read-only binds | [`read_only_holds_below`] |
//! | seccomp: allow list, deny list, stacked, invalid | one filter of pack's own: `sandbox/seccomp.rs`; [`filters_can_be_stacked`] |
//! | pid and user namespaces given by the caller | not taken from callers |

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use support::{World, eventually, is_root, out, skip, succeed};

fn world() -> World {
    let world = World::with_key();
    world.install_tester(&[("home", "{}")]);
    world
}

#[test]
fn a_file_that_the_user_may_not_read_stays_closed() {
    let world = world();
    let script = "for file in /etc/shadow /etc/gshadow /etc/sudoers /proc/kcore /dev/mem; do cat $file 2>/dev/null; done; \
                  id -u; cat /proc/self/uid_map | tr -s ' '";
    let told = world.tell("home", script, &[]);
    let user = if is_root() { 20001 } else { rustix::process::getuid().as_raw() };
    // The outer number is that of the namespace around it, in which the user is 0.
    assert_eq!(told, format!("{user}\n {user} 0 1"));
}

#[test]
fn the_devices_are_those_that_programs_expect() {
    let world = world();
    let script = "for name in full null random tty urandom zero; do [ -c /dev/$name ] || echo no $name; done; \
                  for name in fd stdin stdout stderr ptmx; do [ -L /dev/$name ] || echo no link $name; done; \
                  [ -d /dev/pts ] && [ -d /dev/shm ] && echo x >/dev/null && head -c 2 /dev/zero | od -An -tx1 | tr -d ' '; \
                  echo x 2>/dev/null >/dev/full || echo full";
    assert_eq!(world.tell("none", script, &[]), "0000\nfull");
}

#[test]
fn orphans_are_collected() {
    let world = world();
    let script = "for i in 1 2 3 4 5; do ( sleep 0.05 & ) ; done; sleep 0.3; \
                  cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '; cat /proc/1/comm; echo $$";
    let told = world.tell("none", script, &[]);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "0", "no zombie is left");
    assert_eq!(lines[1], "pack");
    assert_ne!(lines[2], "1");
}

#[test]
fn nested_user_namespaces_are_disabled() {
    let world = world();
    // Raising the limit of the own namespace changes nothing: that of the one above holds.
    let script = "( echo 5 >/proc/sys/user/max_user_namespaces ) 2>/dev/null && echo raised; \
                  unshare -U true 2>/dev/null && echo unshared; \
                  bwrap --unshare-user --dev-bind / / true 2>/dev/null && echo nested; true";
    assert_eq!(world.tell("none", script, &[]), "");
}

#[test]
fn there_are_no_capabilities() {
    let world = world();
    let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status | tr -s '\\t ' ' '";
    let told = world.tell("none", script, &[]);
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(told.contains(&format!("{name}: 0000000000000000")), "{told}");
    }
    assert!(told.contains("NoNewPrivs: 1") && told.contains("Seccomp: 2"), "{told}");
}

#[test]
fn it_dies_with_its_parent() {
    let world = world();
    let mut shell = world.command("sh");
    shell.args(["-c", "\"$@\" & echo $!; wait", "sh"]).arg(support::pack_binary());
    shell.args(["run", "tester.none", "sh", "-c", "echo started >&2; sleep 3519; true"]);
    let mut shell = shell.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut started = [0; 8];
    std::io::Read::read_exact(shell.stderr.as_mut().unwrap(), &mut started).unwrap();
    let mut pid = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(shell.stdout.as_mut().unwrap()), &mut pid)
        .unwrap();
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    shell.wait().unwrap();
    eventually("the end of the app", || {
        out(&Command::new("pgrep").args(["-f", "^sleep 3519"]).output().unwrap()).is_empty()
    });
}

#[test]
fn an_executable_named_like_an_option_is_run() {
    let world = World::with_key();
    let manifest = "name: tester\nversion: '1'\nbase: host\napps: {tester: {command: bin/--dev-bind, args: ['--', '--ro-bind']}}\n\
                    parts: {p: {plugin: dump, source: files}}\n";
    world.project("tester", manifest, &[("bin/--dev-bind", "#!/bin/sh\necho \"$@\"\n")]);
    world.install("tester");
    let run = world.pack(["run", "tester", "--", "--explain", "--", "/"]);
    assert_eq!(out(&succeed(run)), "-- --ro-bind --explain -- /\n");
}

#[test]
fn nothing_of_the_making_is_left_to_be_seen() {
    let world = world();
    let told = world.tell("none", "ls -A / | tr '\\n' ' '; ls -A /run /run/user", &[]);
    for name in ["oldroot", "newroot", ".base", ".layers", "put_old", "mnt", "boot", "root", "srv", "media"] {
        assert!(!told.split_whitespace().any(|found| found == name), "{name}: {told}");
    }
    let mounts = world.tell("none", "cut -d' ' -f5 /proc/self/mountinfo", &[]);
    for prefix in ["/home", "/root", "/mnt", "/media", "/boot", "/sys", "/run"] {
        let expected = |mount: &str| mount.contains("/pack/data/") || mount.starts_with("/run/user/");
        let found: Vec<&str> =
            mounts.lines().filter(|mount| mount.starts_with(prefix) && !expected(mount)).collect();
        assert!(found.is_empty(), "{found:?}");
    }
}

#[test]
fn what_is_made_has_the_expected_permissions() {
    let world = world();
    let script = "stat -c '%a' / /etc /dev /run /var /home /tmp /var/tmp /dev/shm \"$XDG_RUNTIME_DIR\" /etc/passwd | tr '\\n' ' '; \
                  df --output=size -B1M /tmp | tail -1 | tr -d ' '";
    assert_eq!(world.tell("none", script, &[]), "755 755 755 755 755 755 1777 1777 1777 700 444 512");
}

#[test]
fn the_host_name_is_a_copy_that_nobody_can_change() {
    let world = world();
    let own = out(&Command::new("uname").arg("-n").output().unwrap());
    assert_eq!(
        world.tell("none", "uname -n; hostname other 2>/dev/null; uname -n", &[]),
        format!("{own}{}", own.trim())
    );
}

/// A mount below a folder that is shown read-only is read-only, too.
#[test]
fn read_only_holds_below() {
    if !is_root() {
        return skip("read-only below: only root mounts on the host");
    }
    let world = World::with_key();
    world.install_tester(&[("documents", "{}")]);
    world.write("Documents/disk/placeholder", "");
    let disk = world.home("Documents/disk");
    let run = world.command(support::pack_binary());
    let script = "mount -t tmpfs -o mode=777 disk \"$0\" && echo x >\"$0/file\" && chmod 666 \"$0/file\" && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", script]).arg(&disk);
    command.arg(run.get_program()).args(run.get_args());
    let inside = "cat \"$1/file\"; ( echo y >\"$1/file\" ) 2>/dev/null && echo written; ( : >\"$1/new\" ) 2>/dev/null && echo made; true";
    command.args(["run", "tester.documents", "sh", "-c", inside, "sh"]).arg(&disk);
    command.env_clear().envs(world.environment());
    assert_eq!(out(&succeed(command)), "x\n");
}

#[test]
fn filters_can_be_stacked() {
    let world = world();
    // Of the app's own: one that refuses getppid with EDOM; pack's stays on.
    let script = r#"
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
import platform
number, arch = (110, 0xc000003e) if platform.machine() == "x86_64" else (173, 0xc00000b7)
code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050000 | 33), (0x06, 0, 0, 0x7fff0000)]
program = b"".join(struct.pack("HBBI", *line) for line in code)
buffer = ctypes.create_string_buffer(program)
fprog = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
print(libc.prctl(22, 2, ctypes.c_char_p(fprog)))
libc.syscall(number); print(ctypes.get_errno())
print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno())
"#;
    assert_eq!(world.tell("none", "exec python3 -c \"$1\"", &[script]), "0\n33\n-1 1");
}

#[test]
fn a_set_uid_program_gives_nothing() {
    if !is_root() {
        return skip("set-uid: only root makes a set-uid program");
    }
    let world = world();
    world.write("Documents/x", "");
    let program = world.home("Documents/id");
    // By another process, as nobody else may have it open for writing when it is executed.
    succeed({
        let mut copy = Command::new("cp");
        copy.arg("/usr/bin/id").arg(&program);
        copy
    });
    fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).unwrap();
    assert_eq!(world.tell("home", "\"$1\" -u", &[program.to_str().unwrap()]), "20001");
}
