//! Which system calls an app may make: one table, a line of reasoning beside each group.
//!
//! What the table does not name is allowed, up to [`LAST_REVIEWED`]: a call that a later kernel adds answers ENOSYS
//! until somebody has looked at it (the new mount API reached sandboxes that only listed what they knew:
//! CVE-2021-41133). Numbers of another architecture end the process: the arguments of i386 calls mean other things, so
//! a filter that lets them in is no filter. x32 calls answer ENOSYS.
//!
//! Namespaces, capabilities and the read-only root already stop most of what is refused here; the filter is the second
//! wall, and keeps rarely used kernel code away from the app.

use syscalls::Sysno;

/// The last call, by number, that was looked at for this table: `file_setattr` of Linux 6.17. From number 424 on all
/// architectures count alike.
pub const LAST_REVIEWED: u32 = 469;

/// A rule: the calls, when it applies, what the call answers.
pub struct Rule {
    /// Calls by name; one that this architecture does not have is passed over.
    pub calls: &'static [&'static str],
    /// All of these must hold; empty means always.
    pub when: &'static [Condition],
    /// The error number that the call answers.
    pub errno: i32,
}

/// A condition on the lower 32 bits of an argument. The kernel takes all of these arguments as 32-bit numbers, so the
/// upper half must never decide (CVE-2019-7303, CVE-2019-10063).
#[derive(Clone, Copy)]
pub struct Condition {
    /// Which argument, from 0.
    pub argument: u8,
    /// How it is compared.
    pub test: Test,
}

/// A comparison of 32 bits.
#[derive(Clone, Copy)]
pub enum Test {
    /// Equal to the number.
    Equals(u32),
    /// Equal to none of the numbers.
    NoneOf(&'static [u32]),
    /// Any of these bits is set.
    AnyBit(u32),
}

const fn argument(argument: u8, test: Test) -> Condition {
    Condition { argument, test }
}

/// CLONE_NEW…: every flag that makes a namespace.
const NEW_NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32
    | CLONE_NEWTIME;
const CLONE_NEWTIME: u32 = 0x80;
const SET_ID_BITS: u32 = libc::S_ISUID | libc::S_ISGID;
/// O_CREAT, and the bit of O_TMPFILE that is its own: only then does open(2) look at the mode.
const CREATES: u32 = libc::O_CREAT as u32 | (libc::O_TMPFILE & !libc::O_DIRECTORY) as u32;
/// The default, ICMP, TCP, UDP and ICMPv6.
const IP_PROTOCOLS: &[u32] = &[
    0,
    libc::IPPROTO_ICMP as u32,
    libc::IPPROTO_TCP as u32,
    libc::IPPROTO_UDP as u32,
    libc::IPPROTO_ICMPV6 as u32,
];
/// Turns a pipe into a queue of kernel notifications (`linux/watch_queue.h`); the same bit as O_EXCL.
const O_NOTIFICATION_PIPE: u32 = libc::O_EXCL as u32;
/// Asks personality(2) for the present value.
const PERSONALITY_QUERY: u32 = 0xffff_ffff;

/// The table.
pub const RULES: &[Rule] = &[
    // Mounts and roots. The old calls are refused; those of the new API answer that they do not exist, so that
    // libraries fall back to the old ones and report their refusal.
    Rule { calls: &["mount", "umount2", "pivot_root", "chroot"], when: &[], errno: libc::EPERM },
    Rule {
        calls: &[
            "open_tree",
            "open_tree_attr",
            "move_mount",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "mount_setattr",
            "statmount",
            "listmount",
        ],
        when: &[],
        errno: libc::ENOSYS,
    },
    // Namespaces. clone3 passes its flags behind a pointer, where a filter cannot look; C libraries fall back to clone.
    // unshare without a namespace flag (of files, of the working directory) is harmless and used.
    Rule { calls: &["clone3"], when: &[], errno: libc::ENOSYS },
    Rule {
        calls: &["clone", "unshare"],
        when: &[argument(0, Test::AnyBit(NEW_NAMESPACES & !CLONE_NEWTIME))],
        errno: libc::EPERM,
    },
    // In clone the bit of CLONE_NEWTIME belongs to the number of the exit signal.
    Rule { calls: &["unshare"], when: &[argument(0, Test::AnyBit(CLONE_NEWTIME))], errno: libc::EPERM },
    Rule { calls: &["setns"], when: &[], errno: libc::EPERM },
    // Typing into a terminal on the user's behalf: TIOCSTI (CVE-2017-5226), TIOCLINUX (CVE-2023-1523, -28100).
    Rule { calls: &["ioctl"], when: &[argument(1, Test::Equals(libc::TIOCSTI as u32))], errno: libc::EPERM },
    Rule {
        calls: &["ioctl"],
        when: &[argument(1, Test::Equals(libc::TIOCLINUX as u32))],
        errno: libc::EPERM,
    },
    // Other processes' memory and descriptors. A pid namespace of its own already hides all but the app's.
    Rule {
        calls: &["ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"],
        when: &[],
        errno: libc::EPERM,
    },
    // Keyrings are not divided by namespaces: they would be the user's own.
    Rule { calls: &["add_key", "keyctl", "request_key"], when: &[], errno: libc::EPERM },
    // Large kernel subsystems with a long record of faults, which programs do without or fall back from. io_uring
    // also makes calls that no seccomp filter sees.
    Rule { calls: &["bpf", "perf_event_open", "userfaultfd"], when: &[], errno: libc::EPERM },
    Rule {
        calls: &["io_uring_setup", "io_uring_enter", "io_uring_register"],
        when: &[],
        errno: libc::ENOSYS,
    },
    // Files by handle go round every path and mount (the escape from early Docker, shocker.c, 2014).
    Rule { calls: &["open_by_handle_at", "name_to_handle_at"], when: &[], errno: libc::EPERM },
    // The machine's, not an app's: modules, kernels to boot, swap, accounting, quotas, clocks, host name, kernel log.
    Rule {
        calls: &[
            "init_module",
            "finit_module",
            "delete_module",
            "kexec_load",
            "kexec_file_load",
            "reboot",
            "swapon",
            "swapoff",
            "acct",
            "quotactl",
            "quotactl_fd",
            "settimeofday",
            "clock_settime",
            "sethostname",
            "setdomainname",
            "syslog",
            "vhangup",
            "nfsservctl",
            "iopl",
            "ioperm",
            "fanotify_init",
        ],
        when: &[],
        errno: libc::EPERM,
    },
    // Placement of memory on NUMA nodes tells of the machine and had faults; libnuma copes without.
    Rule {
        calls: &[
            "move_pages",
            "migrate_pages",
            "mbind",
            "get_mempolicy",
            "set_mempolicy",
            "set_mempolicy_home_node",
        ],
        when: &[],
        errno: libc::EPERM,
    },
    // 16-bit code segments, old binary formats, other personalities.
    Rule { calls: &["modify_ldt", "uselib"], when: &[], errno: libc::EPERM },
    Rule {
        calls: &["personality"],
        when: &[argument(0, Test::NoneOf(&[0, PERSONALITY_QUERY]))],
        errno: libc::EPERM,
    },
    // Set-uid and set-gid bits on files in a folder that the app shares with the host would give other users of the
    // machine this user's rights. openat2 passes its mode behind a pointer.
    Rule { calls: &["chmod", "fchmod"], when: &[argument(1, Test::AnyBit(SET_ID_BITS))], errno: libc::EPERM },
    Rule {
        calls: &["fchmodat", "fchmodat2"],
        when: &[argument(2, Test::AnyBit(SET_ID_BITS))],
        errno: libc::EPERM,
    },
    Rule { calls: &["creat", "mknod"], when: &[argument(1, Test::AnyBit(SET_ID_BITS))], errno: libc::EPERM },
    Rule { calls: &["mknodat"], when: &[argument(2, Test::AnyBit(SET_ID_BITS))], errno: libc::EPERM },
    Rule {
        calls: &["open"],
        when: &[argument(1, Test::AnyBit(CREATES)), argument(2, Test::AnyBit(SET_ID_BITS))],
        errno: libc::EPERM,
    },
    Rule {
        calls: &["openat"],
        when: &[argument(2, Test::AnyBit(CREATES)), argument(3, Test::AnyBit(SET_ID_BITS))],
        errno: libc::EPERM,
    },
    Rule { calls: &["openat2"], when: &[], errno: libc::ENOSYS },
    // Socket families with users: local, IP, and netlink, which lists addresses. AF_VSOCK reaches the hypervisor; the
    // others are little-used protocols. The answer is the kernel's own for a family that is not built in.
    Rule {
        calls: &["socket", "socketpair"],
        when: &[argument(
            0,
            Test::NoneOf(&[
                libc::AF_UNSPEC as u32,
                libc::AF_UNIX as u32,
                libc::AF_INET as u32,
                libc::AF_INET6 as u32,
                libc::AF_NETLINK as u32,
            ]),
        )],
        errno: libc::EAFNOSUPPORT,
    },
    // Of the IP family the protocols that Landlock's rules on TCP know, or that are no TCP: ICMP, TCP, UDP, ICMPv6. MPTCP and
    // SMC are TCP on the wire and pass Landlock by. Of netlink the one that lists addresses and routes.
    Rule {
        calls: &["socket"],
        when: &[argument(0, Test::Equals(libc::AF_INET as u32)), argument(2, Test::NoneOf(IP_PROTOCOLS))],
        errno: libc::EPROTONOSUPPORT,
    },
    Rule {
        calls: &["socket"],
        when: &[argument(0, Test::Equals(libc::AF_INET6 as u32)), argument(2, Test::NoneOf(IP_PROTOCOLS))],
        errno: libc::EPROTONOSUPPORT,
    },
    Rule {
        calls: &["socket"],
        when: &[
            argument(0, Test::Equals(libc::AF_NETLINK as u32)),
            argument(2, Test::NoneOf(&[libc::NETLINK_ROUTE as u32])),
        ],
        errno: libc::EPROTONOSUPPORT,
    },
    // Opens a TCP connection without connect, where Landlock does not look. Clients fall back to connect.
    Rule {
        calls: &["sendto", "sendmmsg"],
        when: &[argument(3, Test::AnyBit(libc::MSG_FASTOPEN as u32))],
        errno: libc::EOPNOTSUPP,
    },
    Rule {
        calls: &["sendmsg"],
        when: &[argument(2, Test::AnyBit(libc::MSG_FASTOPEN as u32))],
        errno: libc::EOPNOTSUPP,
    },
    Rule { calls: &["pipe2"], when: &[argument(1, Test::AnyBit(O_NOTIFICATION_PIPE))], errno: libc::EPERM },
];

/// The number of a call on this architecture, if it has it.
pub fn number(call: &str) -> Option<u32> {
    call.parse::<Sysno>().ok().map(|number| number as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_named_is_a_call_of_some_architecture() {
        // On x86-64, where all of the old calls exist too, only these are absent.
        let absent = ["nfsservctl"];
        for call in RULES.iter().flat_map(|rule| rule.calls) {
            assert!(
                number(call).is_some() || absent.contains(call) || cfg!(not(target_arch = "x86_64")),
                "{call}"
            );
        }
    }

    #[test]
    fn no_rule_stands_behind_the_last_reviewed_number() {
        for call in RULES.iter().flat_map(|rule| rule.calls) {
            assert!(number(call).is_none_or(|number| number <= LAST_REVIEWED), "{call}");
        }
    }
}
