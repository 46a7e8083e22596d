/* Runs inside a sandbox and tries what must not work there. Prints one line an attempt: its name, a tab, and `ok` or
   the error's name. What is to fail and what is not is for the test to say (tests/sandbox.rs). In C, so that the
   project's own code keeps its unsafe in one place.

   usage: probe attempts HOST_FILE HOST_PORT ABSTRACT_NAME   everything below
          probe listen PORT                                  offers a TCP port and serves one connection
          probe connect PORT | abstract NAME                 one connection
          probe flip FILE N                                  N openings while the name changes
          probe exit N | signal N | sleep | tree             how a process ends                                    */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_listmount
#define SYS_listmount 458
#endif
#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

static void say(const char *name, long result) {
  printf("%s\t%s\n", name, result < 0 ? strerrorname_np(errno) : "ok");
  fflush(stdout);
}

#define TRY(name, call) do { errno = 0; say(name, (long)(call)); } while (0)

/* Some attempts would change the probe itself, or end it: they are made in a child, whose status is the errno. */
#define TRY_IN_CHILD(name, call) do { \
    fflush(stdout); \
    pid_t child_ = fork(); \
    if (child_ == 0) { errno = 0; _exit((call) < 0 ? errno : 0); } \
    int status_ = 0; \
    waitpid(child_, &status_, 0); \
    if (WIFSIGNALED(status_)) printf("%s\tsignal-%d\n", name, WTERMSIG(status_)); \
    else { errno = WEXITSTATUS(status_); say(name, errno ? -1 : 0); } \
  } while (0)

static int write_to(const char *path) {
  int fd = open(path, O_WRONLY | O_CREAT, 0644);
  if (fd < 0) return -1;
  close(fd);
  return 0;
}

static int connect_tcp(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  if (fd < 0 || connect(fd, (void *)&a, sizeof a) < 0) return -1;
  close(fd);
  return 0;
}

static int connect_abstract(const char *name) {
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  size_t length = strlen(name);
  memcpy(a.sun_path + 1, name, length);
  if (fd < 0 || connect(fd, (void *)&a, offsetof(struct sockaddr_un, sun_path) + 1 + length) < 0) return -1;
  close(fd);
  return 0;
}

static void namespaces_and_mounts(void) {
  int flags[] = {CLONE_NEWUSER, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWIPC, CLONE_NEWUTS, CLONE_NEWCGROUP, 0x80};
  const char *names[] = {"user", "mount", "pid", "net", "ipc", "uts", "cgroup", "time"};
  char name[64];
  for (int i = 0; i < 8; i++) {
    snprintf(name, sizeof name, "unshare-%s", names[i]);
    TRY_IN_CHILD(name, unshare(flags[i]));
    if (flags[i] == 0x80) continue;
    snprintf(name, sizeof name, "clone-%s", names[i]);
    long child = (errno = 0, syscall(SYS_clone, (unsigned long)flags[i] | SIGCHLD, 0, 0, 0, 0));
    if (child == 0) _exit(0);
    if (child > 0) waitpid(child, NULL, 0);
    say(name, child);
  }
  struct { uint64_t flags, rest[10]; } args = {CLONE_NEWUSER, {0}};
  TRY("clone3", syscall(SYS_clone3, &args, 64));
  int ns = open("/proc/self/ns/user", O_RDONLY);
  TRY("setns", setns(ns, 0));
  close(ns);
  TRY("mount", mount("none", "/tmp", "tmpfs", 0, NULL));
  TRY("remount", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
  TRY("umount-app", umount2("/app", MNT_DETACH));
  TRY("umount-proc", umount2("/proc", MNT_DETACH));
  TRY("pivot-root", syscall(SYS_pivot_root, "/tmp", "/tmp"));
  TRY("chroot", chroot("/tmp"));
  TRY("open-tree", syscall(428, AT_FDCWD, "/", 1));
  TRY("move-mount", syscall(429, -1, "", -1, "", 0));
  TRY("fsopen", syscall(430, "tmpfs", 0));
  TRY("mount-setattr", syscall(442, -1, "", 0, NULL, 0));
  TRY("listmount", syscall(SYS_listmount, NULL, NULL, 0, 0));
}

#ifdef __x86_64__
/* getpid by the way of a 32-bit program. */
static long call_i386(void) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory");
  return result;
}
#endif

static void kernel_doors(void) {
  TRY("keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
  TRY("add-key", syscall(SYS_add_key, "user", "a", "b", 1, -3));
  TRY("request-key", syscall(SYS_request_key, "user", "a", NULL, -3));
  TRY("bpf", syscall(SYS_bpf, 0, NULL, 0));
  TRY("perf", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
  TRY("userfaultfd", syscall(SYS_userfaultfd, 1));
  TRY("io-uring", syscall(SYS_io_uring_setup, 1, NULL));
  TRY("open-by-handle", syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, 0));
  TRY("kexec", syscall(SYS_kexec_load, 0, 0, NULL, 0));
  TRY("init-module", syscall(SYS_init_module, NULL, 0, ""));
  TRY("syslog", syscall(SYS_syslog, 3, NULL, 0));
  TRY("sethostname", sethostname("x", 1));
  TRY("personality", personality(ADDR_NO_RANDOMIZE));
  TRY("later-call", syscall(100000));
  TRY("socket-packet", socket(AF_PACKET, SOCK_RAW, 0));
  TRY("socket-vsock", socket(AF_VSOCK, SOCK_STREAM, 0));
  TRY("socket-bluetooth", socket(AF_BLUETOOTH, SOCK_RAW, 0));
  TRY("socket-raw-ip", socket(AF_INET, SOCK_RAW, 1));
  TRY("notification-pipe", syscall(SYS_pipe2, (int[2]){0}, O_EXCL));
#ifdef __x86_64__
  TRY("x32", syscall(0x40000000 | 39));
  TRY_IN_CHILD("i386", call_i386());
#endif
}

static void terminals(void) {
  uint64_t high[] = {0, 1ULL << 32, 0xdeadbeefULL << 32, 1ULL << 63};
  char name[64];
  int terminal = open("/dev/tty", O_RDWR);
  if (terminal < 0) terminal = 0;
  for (int i = 0; i < 4; i++) {
    snprintf(name, sizeof name, "tiocsti-%d", i);
    TRY(name, syscall(SYS_ioctl, terminal, TIOCSTI | high[i], "x"));
    snprintf(name, sizeof name, "tioclinux-%d", i);
    char paste = 3;
    TRY(name, syscall(SYS_ioctl, terminal, TIOCLINUX | high[i], &paste));
  }
}

static void other_processes(void) {
  char byte;
  struct iovec local = {&byte, 1}, remote = {(void *)0x1000, 1};
  TRY("ptrace-init", ptrace(PTRACE_ATTACH, 1, NULL, NULL));
  TRY("ptrace-me", ptrace(PTRACE_TRACEME, 0, NULL, NULL));
  TRY("read-init-memory", process_vm_readv(1, &local, 1, &remote, 1, 0));
  TRY("open-init-mem", open("/proc/1/mem", O_RDONLY));
  TRY("open-init-environ", read(open("/proc/1/environ", O_RDONLY), &byte, 1));
  TRY("list-init-descriptors", opendir("/proc/1/fd") ? 0 : -1);
  TRY("enter-init-root", open("/proc/1/root/etc", O_RDONLY));
  char link[256];
  TRY("read-init-exe", readlink("/proc/1/exe", link, sizeof link));
  int pidfd = syscall(SYS_pidfd_open, 1, 0);
  TRY("steal-init-descriptor", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
  int count = 0;
  DIR *proc = opendir("/proc");
  for (struct dirent *entry; proc && (entry = readdir(proc));) count += entry->d_name[0] >= '0' && entry->d_name[0] <= '9';
  printf("processes\t%d\n", count);
  char line[4096] = {0};
  int fd = open("/proc/1/cmdline", O_RDONLY);
  if (fd >= 0 && read(fd, line, sizeof line - 1) < 0) line[0] = 0;
  printf("init-command-line\t%s\n", line);
}

static void set_id_bits(void) {
  const char *file = "/tmp/set-id";
  int fd = open(file, O_CREAT | O_RDWR, 0755);
  TRY("chmod-set-uid", chmod(file, 04755));
  TRY("fchmod-set-gid", fchmod(fd, 02755));
  TRY("fchmodat-set-uid", fchmodat(AT_FDCWD, file, 06755, 0));
  TRY("fchmodat2-set-uid", syscall(SYS_fchmodat2, AT_FDCWD, file, 04755, 0));
  TRY("open-set-uid", open("/tmp/set-id-2", O_CREAT | O_WRONLY, 04755));
  TRY("creat-set-uid", creat("/tmp/set-id-3", 04755));
  TRY("mknod-set-uid", mknod("/tmp/set-id-4", S_IFREG | 04755, 0));
  TRY("tmpfile-set-uid", open("/tmp", O_TMPFILE | O_WRONLY, 04755));
  uint64_t how[3] = {O_CREAT | O_WRONLY, 04755, 0};
  TRY("openat2-set-uid", syscall(437, AT_FDCWD, "/tmp/set-id-5", how, sizeof how));
  TRY("mknod-device", mknod("/tmp/device", S_IFCHR | 0666, 1 << 8 | 3));
  TRY("chmod-plain", chmod(file, 0700));
}

static void rights(void) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {{1, 1, 1}, {0, 0, 0}};
  TRY_IN_CHILD("capset", syscall(SYS_capset, &header, data));
  TRY_IN_CHILD("setuid-root", setuid(0));
  TRY_IN_CHILD("setgid-root", setgid(0));
  TRY("nice-up", setpriority(PRIO_PROCESS, 0, -20));
}

static void files(const char *host_file) {
  char byte, name[512];
  const char *places[] = {"/", "/app", "/usr", "/usr/bin", "/etc", "/dev", "/dev/pts", "/proc", "/proc/sys/kernel", "/var",
                          "/run", "/run/user", "/home", "/opt", "/bin", "/lib", "/sys", "/root"};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    snprintf(name, sizeof name, "%s/planted", places[i]);
    errno = 0;
    int result = write_to(name);
    snprintf(name, sizeof name, "write-in %s", places[i]);
    say(name, result);
  }
  TRY("read-host-file", read(open(host_file, O_RDONLY), &byte, 1));
  TRY("read-host-shadow", open("/etc/shadow", O_RDONLY));
  TRY("forge-passwd", open("/etc/passwd", O_WRONLY));
  TRY("remove-passwd", unlink("/etc/passwd"));
  TRY("replace-passwd", rename("/tmp/set-id", "/etc/passwd"));
  TRY("forge-info", write_to("/.flatpak-info"));
  TRY("change-program", open("/usr/bin/env", O_WRONLY));
  TRY("change-sysctl", open("/proc/sys/user/max_user_namespaces", O_WRONLY));
  TRY("change-ipc-sysctl", open("/proc/sys/kernel/msgmax", O_WRONLY));
  TRY("change-pid-sysctl", open("/proc/sys/kernel/pid_max", O_WRONLY));
  TRY("socket-mptcp", socket(AF_INET, SOCK_STREAM, 262));
  TRY("socket-sock-diag", socket(AF_NETLINK, SOCK_RAW, 4));
  int fast = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  errno = 0;
  long sent = sendto(fast, "x", 1, MSG_FASTOPEN, (void *)&to, sizeof to);
  printf("fast-open\t%s\n", sent < 0 ? strerrorname_np(errno) : "ok");
  TRY("open-fuse", open("/dev/fuse", O_RDWR));
  TRY("open-memory", open("/dev/mem", O_RDONLY));
  TRY("open-kernel-log", open("/dev/kmsg", O_RDONLY));
  TRY("open-sys", open("/sys/kernel", O_RDONLY));
  TRY("write-tmp", write_to("/tmp/mine"));
  snprintf(name, sizeof name, "%s/mine", getenv("HOME"));
  TRY("write-home", write_to(name));
  snprintf(name, sizeof name, "%s/mine", getenv("PACK_USER_COMMON"));
  TRY("write-common", write_to(name));
  snprintf(name, sizeof name, "%s/mine", getenv("XDG_RUNTIME_DIR"));
  TRY("write-runtime", write_to(name));
  TRY("write-shm", write_to("/dev/shm/mine"));
}

static void descriptors(void) {
  int count = 0;
  DIR *list = opendir("/proc/self/fd");
  for (struct dirent *entry; list && (entry = readdir(list));)
    count += entry->d_name[0] != '.' && atoi(entry->d_name) > 2 && atoi(entry->d_name) != dirfd(list);
  printf("inherited-descriptors\t%d\n", count);
  closedir(list);
}

static int attempts(char **arguments) {
  descriptors();
  files(arguments[0]);
  TRY("connect-host-port", connect_tcp(atoi(arguments[1])));
  TRY("connect-abstract", connect_abstract(arguments[2]));
  terminals();
  set_id_bits();
  rights();
  other_processes();
  kernel_doors();
  namespaces_and_mounts();
  return 0;
}

/* Opens a file again and again, while another thread changes its name between one that may be read and one that may not;
   tells how often each was read. */
static char flipping[512];
static const char *flip_names[2];

static int flip_other(void *unused) {
  (void)unused;
  for (unsigned i = 0;; i++) memcpy(flipping, flip_names[i & 1], strlen(flip_names[i & 1]) + 1);
  return 0;
}

static int flip(const char *secret, int times) {
  /* Of the same length, so that every mixture is a path as well. */
  static char harmless[512], stack[64 << 10];
  size_t length = strlen(secret);
  snprintf(harmless, sizeof harmless, "/tmp/%0*d", (int)length - 5, 0);
  FILE *made = fopen(harmless, "w");
  fputs("harmless", made);
  fclose(made);
  flip_names[0] = harmless;
  flip_names[1] = secret;
  memcpy(flipping, harmless, length + 1);
  int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  if (clone(flip_other, stack + sizeof stack, flags, NULL) < 0) { say("clone", -1); return 1; }
  int counts[2] = {0, 0};
  for (int i = 0; i < times; i++) {
    char first = 0;
    int fd = open(flipping, O_RDONLY);
    if (fd < 0) continue;
    if (read(fd, &first, 1) == 1) counts[first == 's']++;
    close(fd);
  }
  printf("%d %d\n", counts[0], counts[1]);
  fflush(stdout);
  _exit(0);
}

static int serve(int port) {
  int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (void *)&a, sizeof a) < 0) { say("bind", -1); return 1; }
  if (listen(fd, 1) < 0) { say("listen", -1); return 1; }
  say("listen", 0);
  int connection = accept(fd, NULL, NULL);
  return write(connection, "served", 6) == 6 ? 0 : 1;
}

int main(int count, char **arguments) {
  const char *verb = count > 1 ? arguments[1] : "";
  if (!strcmp(verb, "attempts") && count == 5) return attempts(arguments + 2);
  if (!strcmp(verb, "flip") && count == 4) return flip(arguments[2], atoi(arguments[3]));
  if (!strcmp(verb, "listen")) return serve(atoi(arguments[2]));
  if (!strcmp(verb, "connect")) { TRY("connect", connect_tcp(atoi(arguments[2]))); return 0; }
  if (!strcmp(verb, "abstract")) { TRY("abstract", connect_abstract(arguments[2])); return 0; }
  if (!strcmp(verb, "exit")) return atoi(arguments[2]);
  if (!strcmp(verb, "signal")) { raise(atoi(arguments[2])); pause(); }
  if (!strcmp(verb, "sleep")) { puts("sleeping"); fflush(stdout); for (;;) pause(); }
  if (!strcmp(verb, "tree")) {
    /* Children that ignore every polite signal and a session of their own. */
    for (int i = 0; i < 3; i++)
      if (fork() == 0) { setsid(); signal(SIGTERM, SIG_IGN); signal(SIGHUP, SIG_IGN); signal(SIGINT, SIG_IGN); for (;;) pause(); }
    puts("grown"); fflush(stdout);
    for (;;) pause();
  }
  fprintf(stderr, "usage: probe attempts HOST_FILE HOST_PORT ABSTRACT_NAME | listen PORT | ...\n");
  return 2;
}
