//! Compiles rules on system calls to a classic BPF program, as seccomp(2) takes it.
//!
//! ```text
//! load architecture; another one: end the process
//! load number;       x32, or past the last reviewed: what the table says of those
//! binary search for the number among the calls that rules name; not there: allow
//! for each rule on the call: each condition: load argument, does not hold: next.  answer the error
//! allow
//! ```
//!
//! Why not a library: seccompiler has one action for a whole filter, ends the process for x32 by accident rather than
//! by decision, and cannot answer ENOSYS past a number.
//!
//! A call that no rule names is cached by the kernel as always allowed (Linux 5.11, commit 8e01b51a31a1) and does not
//! run the program. To find those, the kernel runs the program for every number when it is installed, as a part of
//! every launch: so the search, where a plain chain of comparisons takes ten times as long.

use std::collections::BTreeMap;

use crate::sandbox::syscalls::{self, Condition, Test};
use crate::sys::seccomp::Instruction;

/// Offsets into `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const JUMP_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const JUMP_GREATER: u16 = (libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K) as u16;
const JUMP_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP_ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Numbers of x32 calls have this bit set.
const X32_BIT: u32 = 0x4000_0000;

/// `AUDIT_ARCH_…` of `linux/audit.h`: the ELF machine, with the bits for 64-bit and little-endian.
#[cfg(target_arch = "x86_64")]
const THIS_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const THIS_ARCHITECTURE: u32 = 0xc000_00b7;

/// Which refused calls are told to whoever holds the filter's listener, who then gives the answer; where nobody holds it,
/// the kernel answers ENOSYS (seccomp_unotify(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told<'a> {
    /// None: the kernel answers what the table says.
    Nothing,
    /// Those of groups that are not quiet.
    Refusals,
    /// All, and every call, allowed or not, with one of these numbers.
    Everything(&'a [u32]),
}

/// The filter of an app, made of the table but for the groups that were `granted`.
pub fn app_filter(granted: impl Fn(&str) -> bool, told: Told<'_>) -> Vec<Instruction> {
    let mut bodies = Bodies::new();
    for group in syscalls::enforced(granted) {
        for rule in group.rules {
            let action = match told {
                Told::Refusals if !group.quiet => libc::SECCOMP_RET_USER_NOTIF,
                Told::Everything(_) => libc::SECCOMP_RET_USER_NOTIF,
                Told::Refusals | Told::Nothing => errno(rule.errno),
            };
            let body = compile_body(rule.when, action);
            for (_, number) in rule.calls {
                bodies.entry(*number).or_default().extend_from_slice(&body);
            }
        }
    }
    if let Told::Everything(observed) = told {
        for number in observed {
            bodies.entry(*number).or_default().push(answer(libc::SECCOMP_RET_USER_NOTIF));
        }
    }
    let mut program = vec![
        load(ARCHITECTURE),
        jump(JUMP_EQUAL, THIS_ARCHITECTURE, 1, 0),
        answer(syscalls::OTHER_ARCHITECTURES),
        load(NUMBER),
        jump(JUMP_GREATER, syscalls::LAST_REVIEWED, 0, 3),
        jump(JUMP_AT_LEAST, X32_BIT, 0, 1),
        answer(syscalls::X32),
        answer(syscalls::LATER_CALLS),
    ];
    program.extend(search(bodies, answer(libc::SECCOMP_RET_ALLOW)));
    program
}

/// A filter for a program that is known to the last call: `allowed` calls by name, each under its conditions; `refused`
/// calls, which it can do without, answer EPERM; anything else ends the process. A name may come several times.
pub(crate) fn compile_allow_list(allowed: &[(&str, &[Condition])], refused: &[&str]) -> Vec<Instruction> {
    let kill = answer(libc::SECCOMP_RET_KILL_PROCESS);
    let mut program = vec![load(ARCHITECTURE), jump(JUMP_EQUAL, THIS_ARCHITECTURE, 1, 0), kill, load(NUMBER)];
    let mut bodies = Bodies::new();
    for (call, when) in allowed {
        if let Some(number) = syscalls::number(call) {
            let body = compile_body(when, libc::SECCOMP_RET_ALLOW);
            bodies.entry(number).or_default().extend(body);
        }
    }
    for number in refused.iter().filter_map(|call| syscalls::number(call)) {
        bodies.entry(number).or_default().push(answer(errno(libc::EPERM)));
    }
    program.extend(search(bodies, kill));
    program
}

/// What is done with a call, by its number: tests and answers, one after another.
type Bodies = BTreeMap<u32, Vec<Instruction>>;

/// Fewer calls than this are compared one after another: a longer program takes longer to be translated.
const SEARCH_LEAST: usize = 7;

/// Goes to the body of the number that is loaded; `otherwise` where there is none, or none of its tests answers.
fn search(mut bodies: Bodies, otherwise: Instruction) -> Vec<Instruction> {
    if bodies.len() < SEARCH_LEAST {
        let mut program = Vec::new();
        for (number, mut body) in bodies {
            // Nothing comes behind an answer without a condition.
            if body.iter().any(|instruction| instruction.code != RETURN) {
                body.push(otherwise);
            }
            program.push(jump(JUMP_EQUAL, number, 0, skip(body.len())));
            program.append(&mut body);
        }
        program.push(otherwise);
        return program;
    }
    let middle = bodies.keys().nth(bodies.len() / 2).copied().unwrap_or_default();
    let above = search(bodies.split_off(&middle), otherwise);
    let below = search(bodies, otherwise);
    let mut program = vec![jump(JUMP_AT_LEAST, middle, 0, 1), ahead(below.len())];
    program.extend(below);
    program.extend(above);
    program
}

/// What follows once the number is that of the rule: the conditions, the answer, and where a condition does not hold
/// the number loaded again for the rules to come.
fn compile_body(when: &[Condition], action: u32) -> Vec<Instruction> {
    if when.is_empty() {
        return vec![answer(action)];
    }
    // Built from the end, so that every distance is known when it is needed.
    let mut body = vec![answer(action), load(NUMBER)];
    for condition in when.iter().rev() {
        let mut test = compile_condition(condition, body.len() - 1);
        test.append(&mut body);
        body = test;
    }
    body
}

/// Loads an argument and compares it: goes on behind itself where the condition holds, and `fails` instructions later,
/// at the reload, where it does not.
fn compile_condition(condition: &Condition, fails: usize) -> Vec<Instruction> {
    // The lower half comes first on a little-endian machine, and both architectures are.
    let argument = load(ARGUMENTS + 8 * u32::from(condition.argument));
    let mut code = vec![argument];
    match condition.test {
        Test::Equals(number) => code.push(jump(JUMP_EQUAL, number, 0, skip(fails))),
        Test::AnyBit(bits) => code.push(jump(JUMP_ANY_BIT, bits, 0, skip(fails))),
        Test::NoneOf(numbers) => {
            for (index, number) in numbers.iter().enumerate() {
                code.push(jump(JUMP_EQUAL, *number, skip(numbers.len() - 1 - index + fails), 0));
            }
        }
    }
    code
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, operand: offset }
}

fn jump(code: u16, operand: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, operand }
}

/// Skips `distance` instructions, which may be more than the 255 of a comparison.
fn ahead(distance: usize) -> Instruction {
    let operand = u32::try_from(distance).expect("a filter has at most 4096 instructions");
    Instruction { code: JUMP, if_true: 0, if_false: 0, operand }
}

fn answer(action: u32) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, operand: action }
}

fn errno(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | (number as u32 & libc::SECCOMP_RET_DATA)
}

/// A distance to jump. A rule's body is some ten instructions, far below the limit of 255.
fn skip(distance: usize) -> u8 {
    u8::try_from(distance).expect("a rule compiles to fewer than 256 instructions")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;

    /// Runs a program as the kernel does (net/core/filter.c), on `struct seccomp_data` as 16 words.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        run_counted(program, architecture, number, arguments).0
    }

    fn steps_of(program: &[Instruction], number: u32) -> usize {
        run_counted(program, THIS_ARCHITECTURE, number, [0; 6]).1
    }

    fn run_counted(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> (u32, usize) {
        let mut data = vec![number, architecture, 0, 0];
        data.extend(arguments.iter().flat_map(|a| [*a as u32, (*a >> 32) as u32]));
        let (mut at, mut accumulator, mut steps) = (0, 0, 0);
        loop {
            steps += 1;
            let Instruction { code, if_true, if_false, operand } = program[at];
            at += 1;
            let holds = match code {
                LOAD => {
                    accumulator = data[operand as usize / 4];
                    continue;
                }
                RETURN => return (operand, steps),
                JUMP => {
                    at += operand as usize;
                    continue;
                }
                JUMP_EQUAL => accumulator == operand,
                JUMP_GREATER => accumulator > operand,
                JUMP_AT_LEAST => accumulator >= operand,
                JUMP_ANY_BIT => accumulator & operand != 0,
                other => panic!("instruction {other:#x}"),
            };
            at += usize::from(if holds { if_true } else { if_false });
        }
    }

    /// The filter of an app without a plug that grants calls.
    fn plain() -> Vec<Instruction> {
        app_filter(|_| false, Told::Nothing)
    }

    fn ask(call: &str, arguments: &[u64]) -> u32 {
        ask_of(&plain(), call, arguments)
    }

    fn ask_of(program: &[Instruction], call: &str, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        run(program, THIS_ARCHITECTURE, syscalls::number(call).unwrap(), all)
    }

    #[test]
    fn a_granted_group_is_left_out_and_nothing_else() {
        let (user, mount, pid) = (1 << 28, 1 << 17, 1 << 29);
        let refused = errno(libc::EPERM);
        for (granted, call, arguments, expected) in [
            (&["nested-sandbox"][..], "unshare", &[user][..], ALLOW),
            (&["nested-sandbox"], "clone", &[user | pid | 17], ALLOW),
            (&["nested-sandbox"], "chroot", &[], ALLOW),
            (&["nested-sandbox"], "unshare", &[user | mount], refused),
            (&["nested-sandbox"], "clone", &[mount | 17], refused),
            (&["nested-sandbox"], "mount", &[], refused),
            (&["nested-sandbox"], "pivot_root", &[], refused),
            (&["nested-sandbox"], "unshare", &[0x80], refused),
            (&["nested-sandbox"], "ptrace", &[], refused),
            (&["nested-sandbox", "nested-mounts"], "unshare", &[user | mount], ALLOW),
            (&["nested-sandbox", "nested-mounts"], "mount", &[], ALLOW),
            (&["nested-sandbox", "nested-mounts"], "setns", &[], refused),
            (&["nested-sandbox", "nested-mounts"], "move_mount", &[], errno(libc::ENOSYS)),
            (&["nested-mounts"], "unshare", &[user | mount], refused),
            (&["tracing"], "ptrace", &[], ALLOW),
            (&["tracing"], "bpf", &[], refused),
            (&["set-id-bits", "keyrings", "warp-drive"], "fchmod", &[0, 0o4755], refused),
            (&["set-id-bits", "keyrings", "warp-drive"], "keyctl", &[], refused),
        ] {
            let filter = app_filter(|name| granted.contains(&name), Told::Nothing);
            assert_eq!(ask_of(&filter, call, arguments), expected, "{granted:?} {call} {arguments:?}");
        }
    }

    #[test]
    fn who_listens_is_told_of_loud_refusals_or_of_all_and_allowed_calls_stay_allowed() {
        const TOLD: u32 = libc::SECCOMP_RET_USER_NOTIF;
        let observed = [syscalls::number("openat").unwrap()];
        let (loud, all) =
            (app_filter(|_| false, Told::Refusals), app_filter(|_| false, Told::Everything(&observed)));
        for (call, arguments, expected, of_all) in [
            ("mount", &[][..], TOLD, TOLD),
            ("unshare", &[1 << 28], TOLD, TOLD),
            ("unshare", &[0x400], ALLOW, ALLOW),
            ("clone3", &[], errno(libc::ENOSYS), TOLD),
            ("io_uring_setup", &[], errno(libc::ENOSYS), TOLD),
            ("get_mempolicy", &[], errno(libc::EPERM), TOLD),
            ("openat", &[0, 0, 0, 0], ALLOW, TOLD),
            ("openat", &[0, 0, libc::O_CREAT as u64, 0o4755], TOLD, TOLD),
            ("read", &[], ALLOW, ALLOW),
            ("execve", &[], ALLOW, ALLOW),
        ] {
            assert_eq!(ask_of(&loud, call, arguments), expected, "{call} {arguments:?}");
            assert_eq!(ask_of(&all, call, arguments), of_all, "{call} {arguments:?}");
        }
        for filter in [&loud, &all] {
            assert_eq!(run(filter, 0x4000_0003, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
            assert_eq!(run(filter, THIS_ARCHITECTURE, 0x4000_0001, [0; 6]), errno(libc::ENOSYS));
        }
    }

    #[test]
    fn plain_calls_are_allowed_and_named_ones_are_not() {
        for call in ["read", "write", "execve", "futex", "mmap", "epoll_wait"] {
            assert_eq!(ask(call, &[]), ALLOW, "{call}");
        }
        for (call, number) in [("mount", libc::EPERM), ("bpf", libc::EPERM), ("clone3", libc::ENOSYS)] {
            assert_eq!(ask(call, &[]), errno(number), "{call}");
        }
    }

    #[test]
    fn an_allow_list_allows_what_it_names_under_its_conditions() {
        const NO_WRITE: &[Condition] = &[Condition { argument: 1, test: Test::NoneOf(&[2, 6]) }];
        let allowed: &[(&str, &[Condition])] = &[("read", &[]), ("mmap", NO_WRITE), ("ppoll", &[])];
        let program = compile_allow_list(allowed, &["openat"]);
        let ask = |call: &str, second: u64| {
            let number = syscalls::number(call).unwrap();
            run(&program, THIS_ARCHITECTURE, number, [0, second, 0, 0, 0, 0])
        };
        for (call, second, expected) in [
            ("read", 6, ALLOW),
            ("ppoll", 0, ALLOW),
            ("mmap", 1, ALLOW),
            ("mmap", 2, libc::SECCOMP_RET_KILL_PROCESS),
            ("mmap", 6, libc::SECCOMP_RET_KILL_PROCESS),
            ("openat", 0, errno(libc::EPERM)),
            ("openat2", 0, libc::SECCOMP_RET_KILL_PROCESS),
        ] {
            assert_eq!(ask(call, second), expected, "{call} {second}");
        }
        let foreign = run(&program, THIS_ARCHITECTURE ^ 1, 0, [0; 6]);
        assert_eq!(foreign, libc::SECCOMP_RET_KILL_PROCESS);
    }

    #[test]
    fn cve_2019_7303_the_upper_half_of_an_argument_decides_nothing() {
        for high in [0, 1 << 32, 0xdead_beef << 32, 1 << 63] {
            for request in [libc::TIOCSTI, libc::TIOCLINUX] {
                assert_eq!(ask("ioctl", &[0, request | high]), errno(libc::EPERM));
            }
            assert_eq!(ask("ioctl", &[0, libc::TCGETS | high]), ALLOW);
            assert_eq!(ask("socket", &[libc::AF_INET as u64 | high]), ALLOW);
            assert_eq!(ask("socket", &[libc::AF_VSOCK as u64 | high]), errno(libc::EAFNOSUPPORT));
        }
    }

    #[test]
    fn no_second_way_to_a_tcp_connection_is_open() {
        let (inet, inet6, netlink) = (libc::AF_INET as u64, libc::AF_INET6 as u64, libc::AF_NETLINK as u64);
        for (family, protocol, allowed) in [
            (inet, 0, true),
            (inet, 6, true),
            (inet6, 17, true),
            (inet6, 58, true),
            (inet, 262, false),
            (inet6, 262, false),
            (inet, 256, false),
            (inet, 132, false),
            (netlink, 0, true),
            (netlink, 4, false),
            (netlink, 15, false),
            (libc::AF_UNIX as u64, 0, true),
        ] {
            let wanted = if allowed { ALLOW } else { errno(libc::EPROTONOSUPPORT) };
            assert_eq!(ask("socket", &[family, 1, protocol]), wanted, "{family} {protocol}");
        }
        let fast_open = libc::MSG_FASTOPEN as u64;
        for (call, at) in [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)] {
            let mut arguments = [0; 6];
            assert_eq!(ask(call, &arguments), ALLOW, "{call}");
            arguments[at] = fast_open;
            assert_eq!(ask(call, &arguments), errno(libc::EOPNOTSUPP), "{call}");
        }
    }

    #[test]
    fn namespaces_are_refused_flag_by_flag() {
        for bit in [17, 25, 26, 27, 28, 29, 30] {
            assert_eq!(ask("clone", &[1 << bit | libc::SIGCHLD as u64]), errno(libc::EPERM), "{bit}");
            assert_eq!(ask("unshare", &[1 << bit]), errno(libc::EPERM), "{bit}");
        }
        assert_eq!(ask("unshare", &[0x80]), errno(libc::EPERM));
        assert_eq!(ask("unshare", &[libc::CLONE_FILES as u64]), ALLOW);
        let thread =
            libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_THREAD | libc::CLONE_SETTLS;
        assert_eq!(ask("clone", &[thread as u64]), ALLOW);
        assert_eq!(ask("clone", &[libc::SIGCHLD as u64]), ALLOW);
    }

    #[test]
    fn set_id_bits_are_refused_where_the_mode_counts() {
        for bits in [0o4755_u64, 0o2755, 0o6000] {
            for (call, at) in [("fchmod", 1), ("fchmodat", 2), ("mknodat", 2)] {
                let mut arguments = [0; 6];
                arguments[at] = bits;
                assert_eq!(ask(call, &arguments), errno(libc::EPERM), "{call}");
            }
            for flags in [libc::O_CREAT, libc::O_TMPFILE, libc::O_CREAT | libc::O_WRONLY] {
                assert_eq!(ask("openat", &[0, 0, flags as u64, bits]), errno(libc::EPERM));
            }
            // Without O_CREAT the mode is whatever stood in the register.
            assert_eq!(ask("openat", &[0, 0, libc::O_DIRECTORY as u64, bits]), ALLOW);
        }
        assert_eq!(ask("fchmod", &[0, 0o1777]), ALLOW);
        assert_eq!(ask("openat", &[0, 0, libc::O_CREAT as u64, 0o644]), ALLOW);
    }

    #[test]
    fn other_architectures_end_the_process_and_later_calls_do_not_exist() {
        let (i386, filter) = (0x4000_0003, plain());
        assert_eq!(run(&filter, i386, 1, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
        for number in [syscalls::LAST_REVIEWED + 1, 0x4000_0001, u32::MAX] {
            assert_eq!(run(&filter, THIS_ARCHITECTURE, number, [0; 6]), errno(libc::ENOSYS), "{number}");
        }
    }

    #[test]
    fn personality_can_be_asked_and_reset_only() {
        assert_eq!(ask("personality", &[0]), ALLOW);
        assert_eq!(ask("personality", &[0xffff_ffff]), ALLOW);
        assert_eq!(ask("personality", &[0x0004_0000]), errno(libc::EPERM));
    }

    /// What the table says of a number by itself, with every argument as in `arguments`.
    fn plainly(number: u32, arguments: [u64; 6]) -> u32 {
        syscalls::look_up(number, &arguments, |_| false).map_or(ALLOW, |refused| errno(refused.errno))
    }

    #[test]
    fn the_search_finds_what_the_table_says_for_every_number() {
        let filter = plain();
        for number in 0..=syscalls::LAST_REVIEWED {
            for value in [0, 1, 2, 3, 0x80, 0x1000_0000, 0o4000, libc::TIOCSTI, u64::MAX] {
                for at in 0..6 {
                    let mut arguments = [0; 6];
                    arguments[at] = value;
                    let found = run(&filter, THIS_ARCHITECTURE, number, arguments);
                    assert_eq!(found, plainly(number, arguments), "{number} {arguments:?}");
                }
            }
        }
    }

    #[test]
    fn a_number_is_found_in_a_few_steps() {
        // The kernel runs the program for every number when it is installed.
        let filter = plain();
        let rules = syscalls::GROUPS.iter().flat_map(|group| group.rules);
        let named: Vec<u32> = rules.flat_map(|rule| rule.calls).map(|(_, number)| *number).collect();
        for number in (0..=syscalls::LAST_REVIEWED).filter(|number| !named.contains(number)) {
            let steps = steps_of(&filter, number);
            assert!(steps < 32, "{number}: {steps}");
        }
    }

    #[test]
    fn the_filter_is_far_below_the_kernels_limit() {
        // BPF_MAXINSNS is 4096.
        for told in [Told::Nothing, Told::Refusals, Told::Everything(&[0, 1, 2, 257])] {
            let length = app_filter(|_| false, told).len();
            assert!(length < 600, "{told:?}: {length}");
        }
    }
}
