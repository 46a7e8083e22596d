//! Refused system calls are noticed: an ordinary run that ends badly says so in one line, and nothing else changes.

mod support;
#[path = "support/terminal.rs"]
mod terminal;

use std::process::Command;

use support::{World, err, out};

/// Makes calls by name, as many times as asked, and ends with a status: `caller STATUS CALL...`.
const CALLER: &str = r#"#!/usr/bin/perl
my %calls = (ptrace => [101, 0, 0, 0, 0], mount => [165, 0, 0, 0, 0, 0], bpf => [321, 0, 0, 0], keyctl => [250, 0, 0, 0, 0, 0],
             unshare => [272, 0x10000000], clone3 => [435, 0, 64], vsock => [41, 40, 1, 0], setns => [308, 0, 0]);
my $status = shift;
for my $name (@ARGV) {
  $! = 0;
  my ($number, @arguments) = @{$calls{$name}};
  my $result = syscall($number, @arguments);
  print "$name " . ($result == -1 ? $!+0 : "worked") . "\n";
}
kill $1, $$ if $status =~ /signal-(.*)/;
exit $status;
"#;

fn world(plugs: &str) -> World {
    let world = World::with_key();
    let manifest = format!(
        "name: caller\nversion: '1'\nbase: host\napps: {{caller: {{command: bin/caller, plugs: [{plugs}]}}}}\n\
         parts: {{caller: {{plugin: dump, source: files}}}}\n"
    );
    world.project("caller", &manifest, &[("bin/caller", CALLER)]);
    world.install("caller");
    world
}

/// What a run told on standard error, and on standard output.
fn run(world: &World, options: &[&str], arguments: &[&str]) -> (String, String) {
    let mut command: Command = world.pack(options);
    command.args(["run", "caller", "--"]).args(arguments);
    let output = command.output().unwrap();
    (err(&output), out(&output))
}

const EPERM: i32 = 1;
const ENOSYS: i32 = 38;
const EAFNOSUPPORT: i32 = 97;

#[test]
#[cfg(target_arch = "x86_64")]
fn a_run_that_ends_badly_after_refusals_says_so_in_one_line() {
    let world = world("");
    let (told, printed) = run(&world, &[], &["3", "ptrace", "ptrace", "mount", "vsock", "clone3"]);
    assert_eq!(
        told,
        "pack: hint: `caller` was refused 4 system calls (mount, ptrace, socket); `pack run --learn caller` tells which \
         plug would allow them\n"
    );
    // Every call answers what the table says, whoever answers it.
    assert_eq!(
        printed,
        format!("ptrace {EPERM}\nptrace {EPERM}\nmount {EPERM}\nvsock {EAFNOSUPPORT}\nclone3 {ENOSYS}\n")
    );
    let (told, _) = run(&world, &[], &["signal-SEGV", "bpf"]);
    assert!(told.contains("was refused a system call (bpf)") && told.lines().count() == 1, "{told}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_good_end_a_quiet_call_and_a_quiet_run_say_nothing() {
    let world = world("");
    assert_eq!(run(&world, &[], &["0", "ptrace", "keyctl", "unshare", "setns"]).0, "");
    assert_eq!(run(&world, &[], &["1", "clone3"]).0, "");
    assert_eq!(run(&world, &["-q"], &["1", "ptrace"]).0, "");
    assert_eq!(run(&world, &[], &["1"]).0, "");
    // Somebody ended it.
    assert_eq!(run(&world, &[], &["signal-TERM", "ptrace"]).0, "");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn plugs_that_are_not_connected_are_named_instead() {
    let world = world("home, tracing");
    for plug in ["home", "tracing"] {
        support::succeed(world.pack(["disconnect", &format!("caller:{plug}")]));
    }
    assert_eq!(
        run(&world, &[], &["1", "ptrace"]).0,
        "pack: hint: the plugs `home`, `tracing` are not connected; `pack connect caller:home`, `pack connect \
         caller:tracing`\n"
    );
    support::succeed(world.pack(["connect", "caller:tracing"]));
    let (told, printed) = run(&world, &[], &["1", "bpf", "ptrace"]);
    assert_eq!(told, "pack: hint: the plug `home` is not connected; `pack connect caller:home`\n");
    // PTRACE_TRACEME, which works once.
    assert_eq!(printed, format!("bpf {EPERM}\nptrace worked\n"));
}

/// The kernel answers where the launcher cannot; here the launcher answers thousands of calls of several processes at once.
#[test]
#[cfg(target_arch = "x86_64")]
fn many_processes_that_are_refused_at_once_all_get_their_answers() {
    let world = world("");
    let script = r#"
for process in 1 2 3 4 5 6 7 8; do
  /app/bin/caller 0 $(yes keyctl | head -n 500) >"$HOME/$process" & done; wait
cat "$HOME"/[1-8] | sort | uniq -c | sed 's/^ *//'; exit 1"#;
    let mut command = world.pack(["run", "--shell", "caller", "--", "-c", script]);
    let output = command.output().unwrap();
    drop(command);
    assert_eq!(out(&output), format!("4000 keyctl {EPERM}\n"));
    assert!(err(&output).contains("was refused 4000 system calls (keyctl)"), "{}", err(&output));
}

/// An app that makes sandboxes of its own may want a listener of its own, of which a process has one at most.
#[test]
#[cfg(target_arch = "x86_64")]
fn an_app_with_an_inner_sandbox_is_not_listened_to() {
    let world = World::with_key();
    let manifest = "name: caller\nversion: '1'\nbase: host\napps: {caller: {command: bin/caller, plugs: [inner]}}\n\
                    plugs: {inner: {interface: browser-support, allow-sandbox: true}}\n\
                    parts: {caller: {plugin: dump, source: files}}\n";
    // SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_NEW_LISTENER, of a filter that allows everything.
    let program = r#"#!/usr/bin/perl
my $filter = pack("SCCL", 6, 0, 0, 0x7fff0000);
my $program = pack("Sx6P", 1, $filter);
print syscall(317, 1, 8, $program) >= 0 ? "listens\n" : "refused " . ($!+0) . "\n";
print syscall(272, 0x10000000) == 0 ? "namespace\n" : "none\n";
print syscall(101, 0, 0, 0, 0) == 0 ? "traced\n" : "refused " . ($!+0) . "\n";
"#;
    world.project("caller", manifest, &[("bin/caller", program)]);
    world.install("caller");
    support::succeed(world.pack(["connect", "caller:inner"]));
    let output = world.pack(["run", "caller"]).output().unwrap();
    assert_eq!(out(&output), format!("listens\nnamespace\nrefused {EPERM}\n"), "{}", err(&output));
}

/// An app that ends with a status of its own may have meant it: without refusals only a person at a terminal is told.
#[test]
fn a_person_is_told_of_a_plug_that_is_not_connected_and_a_script_is_not() {
    let world = world("home");
    support::succeed(world.pack(["disconnect", "caller:home"]));
    assert_eq!(run(&world, &[], &["1"]).0, "");
    let (status, shown) = terminal::on_terminal(&world, &["run", "caller", "--", "1"], "");
    assert_eq!(status, Some(1));
    assert!(
        shown.contains("pack: hint: the plug `home` is not connected; `pack connect caller:home`"),
        "{shown}"
    );
    let (status, shown) = terminal::on_terminal(&world, &["run", "caller", "--", "0"], "");
    assert_eq!((status, shown.contains("hint")), (Some(0), false), "{shown}");
}
