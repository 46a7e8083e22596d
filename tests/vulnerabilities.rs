//! Faults that were found in systems of the same kind, each tried here by code that would succeed where the fault is.
//! Others have their tests beside what they are about (their names bear the identifier, too); and what a design rules out
//! stands in SECURITY.md.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{World, err, fail, out, succeed};

fn text(path: PathBuf) -> String {
    path.into_os_string().into_string().unwrap()
}

/// What the attempts of the probe gave, in an app without plugs and in one with the network.
fn attempts(app: &str) -> Vec<(String, String)> {
    let world = World::with_key();
    world.install_probe(&["network"]);
    let run = world.pack(["run", app, "--", "attempts", "/etc/passwd", "1", "x"]);
    let text = out(&succeed(run));
    text.lines().filter_map(|line| line.split_once('\t')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

#[track_caller]
fn assert_refused(names: &[&str]) {
    for app in ["probe", "probe.network"] {
        let results = attempts(app);
        for name in names {
            let found = results.iter().find(|(attempt, _)| attempt == name);
            let (_, result) = found.unwrap_or_else(|| panic!("no attempt {name}: {results:?}"));
            assert_ne!(result, "ok", "{app}: {name}");
        }
    }
}

#[test]
fn cve_2019_10063_and_cve_2023_1523_and_cve_2023_28100_no_terminal_is_typed_into() {
    assert_refused(&[
        "tiocsti-0",
        "tiocsti-1",
        "tiocsti-2",
        "tiocsti-3",
        "tioclinux-0",
        "tioclinux-1",
        "tioclinux-3",
    ]);
}

#[test]
fn cve_2021_41133_new_ways_to_mount_and_to_clone_are_closed() {
    assert_refused(&[
        "open-tree",
        "move-mount",
        "fsopen",
        "mount-setattr",
        "listmount",
        "clone3",
        "mount",
        "later-call",
        "x32",
        "i386",
    ]);
}

#[test]
fn cve_2020_5291_and_cve_2016_8659_no_capability_comes_back_and_the_set_up_cannot_be_traced() {
    assert_refused(&[
        "unshare-user",
        "clone-user",
        "setns",
        "capset",
        "setuid-root",
        "setgid-root",
        "ptrace-init",
        "read-init-memory",
        "open-init-mem",
        "steal-init-descriptor",
        "umount-app",
        "umount-proc",
        "remount",
    ]);
}

/// Running code that takes the launcher's own program, seen through /proc, for something to read, change or start.
#[test]
fn cve_2019_8308_and_cve_2021_44730_the_launchers_program_cannot_be_reached() {
    assert_refused(&["read-init-exe", "enter-init-root", "list-init-descriptors", "open-init-environ"]);
    let world = World::with_key();
    world.install_tester(&[]);
    let script = "readlink /proc/self/exe; ls -l /proc/*/exe 2>/dev/null | grep -c /pack; \
                  for exe in /proc/[0-9]*/exe; do ( : >>$exe ) 2>/dev/null && echo \"opened $exe\"; done; true";
    assert_eq!(world.tell("none", script, &[]), "/usr/bin/readlink\n0");
}

/// A program of pack's, linked to a place where the attacker's files lie beside it, trusts none of them.
#[test]
fn cve_2021_44730_a_linked_binary_starts_no_helper_that_lies_beside_it() {
    let world = World::with_key();
    world.install_tester(&[]);
    let folder = world.home("evil");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let binary = folder.join("pack");
    // By another process: a descriptor open for writing, which a child of another test's has a copy of, would keep it from
    // being executed.
    succeed({
        let mut copy = Command::new("cp");
        copy.arg(support::pack_binary()).arg(&binary);
        copy
    });
    let mark = text(world.path("tmp").join("ran"));
    for name in
        ["xdg-dbus-proxy", "fusermount3", "fusermount", "bwrap", "pack-keeper", "sh", "mount", "newuidmap"]
    {
        let program = folder.join(name);
        fs::write(&program, format!("#!/bin/dash\necho {name} >>{mark}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut run = world.command(&binary);
    run.args(["run", "tester.none", "/bin/echo", "done"]);
    run.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap())).current_dir(&folder);
    assert_eq!(out(&succeed(run)), "done\n");
    assert!(!Path::new(&mark).exists(), "{}", fs::read_to_string(&mark).unwrap_or_default());
}

#[test]
fn cve_2019_11502_and_cve_2026_3888_the_private_tmp_is_new_and_the_apps_own() {
    let world = World::with_key();
    world.install_tester(&[]);
    let script = "ls -A /tmp /var/tmp /dev/shm | grep -v ':$' | grep .; stat -c '%U %a' /tmp; \
                  echo x >/tmp/left; echo x >/var/tmp/left; echo x >/dev/shm/left";
    for _ in 0..2 {
        assert_eq!(world.tell("none", script, &[]), "user 1777", "nothing is left from the run before");
    }
}

/// Folders with names that one could guess, in every place for temporary files, before a launch and while it runs.
#[test]
fn cve_2021_44731_and_cve_2022_3328_and_cve_2019_12439_no_folder_outside_is_taken_for_a_mount_point() {
    let world = World::with_key();
    world.install_tester(&[]);
    let tmp = world.path("tmp");
    let outside = world.home("outside");
    fs::create_dir(&outside).unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o777)).unwrap();
    for name in
        ["pack", "tester", "pack-tester", ".pack", "snap.rootfs", "newroot", "oldroot", ".base", "app"]
    {
        symlink(&outside, tmp.join(name)).unwrap();
    }
    let before = listing(&tmp);
    assert_eq!(world.tell("none", "ls /tmp; echo done", &[]), "done");
    assert_eq!(listing(&tmp), before);
    assert!(listing(&outside).is_empty(), "nothing was made through a link");
}

fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

#[test]
fn cve_2019_11503_the_callers_working_folder_is_not_gone_back_to() {
    let world = World::with_key();
    world.install_tester(&[]);
    world.write("secret/file", "secret");
    let mut run =
        world.inside("none", "pwd; cat file ../secret/file /proc/self/cwd/file 2>/dev/null; true", &[]);
    run.current_dir(world.home("secret"));
    let told = out(&succeed(run));
    assert!(!told.contains("secret"), "{told}");
    assert!(told.starts_with(&text(world.home(".local/share/pack/data/tester"))), "{told}");
}

/// Variables that steer a loader, an interpreter, a toolkit or a program that opens links.
#[test]
fn cve_2020_11934_and_cve_2021_21261_the_callers_environment_steers_nothing() {
    let world = World::with_key();
    world.install_tester(&[]);
    let evil = world.write("evil.so", "not a library");
    let names = [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5LIB",
        "PERL5OPT",
        "RUBYOPT",
        "NODE_OPTIONS",
        "GIO_EXTRA_MODULES",
        "GTK_MODULES",
        "GTK_PATH",
        "QT_PLUGIN_PATH",
        "GST_PLUGIN_PATH",
        "VK_ICD_FILENAMES",
        "__EGL_VENDOR_LIBRARY_FILENAMES",
        "LIBGL_DRIVERS_PATH",
        "XCURSOR_PATH",
        "KRB5CCNAME",
        "BASH_ENV",
        "ENV",
        "IFS",
        "PS4",
        "SHELLOPTS",
        "TMPDIR",
        "XDG_DATA_DIRS",
        "XDG_CONFIG_DIRS",
        "DBUS_SESSION_BUS_ADDRESS",
        "SSH_AUTH_SOCK",
        "http_proxy",
        "SECRET",
        "BASH_FUNC_ls%%",
        "GCONV_PATH",
        "LOCPATH",
        "MALLOC_CHECK_",
        "RES_OPTIONS",
        "PACK_USER_DATA",
    ];
    let mut run = world.inside("none", "env", &[]);
    // The dynamic loader would complain of these to the launcher's own caller.
    for name in names.iter().filter(|name| !name.starts_with("LD_")) {
        run.env(name, &evil);
    }
    run.env("TZ", "Europe/Zurich");
    let told = out(&succeed(run));
    assert!(!told.contains("evil"), "{told}");
    assert!(told.contains("TZ=Europe/Zurich\n"), "{told}");
    for line in told.lines() {
        let name = line.split('=').next().unwrap();
        assert!(!names.contains(&name) || ["XDG_DATA_DIRS", "PACK_USER_DATA"].contains(&name), "{line}");
    }
}

/// Paths with everything that a policy language would take for its own.
#[test]
fn cve_2021_4120_no_path_is_taken_for_a_rule() {
    let world = World::with_key();
    let names = [".a\"b", ".a b", ".a,b", ".a{b}*", ".a\\\\b", ".a#b", ".a=b:c", ".a'b", ".a$b", ".a;b"];
    let mut read = Vec::new();
    for name in names {
        world.write(&format!("{}/file", name.replace("\\\\", "\\")), "mine");
        read.push(format!("\"$HOME/{}\"", name.replace('"', "\\\"")));
    }
    world.write(".ab/file", "not mine");
    let declared = format!("{{interface: personal-files, read: [{}]}}", read.join(", "));
    world.install_tester(&[("own", &declared)]);
    for name in names {
        let path = text(world.home(&format!("{}/file", name.replace("\\\\", "\\"))));
        assert_eq!(world.tell("own", "cat \"$1\"", &[&path]), "mine", "{name}");
    }
    assert_eq!(
        world.tell("own", "cat \"$1\" 2>/dev/null || echo nothing", &[&text(world.home(".ab/file"))]),
        "nothing"
    );
    for hostile in ["$HOME/.a\\nb", "$HOME/.a\\0b", "$HOME/.a/../../x"] {
        let manifest = format!(
            "name: hostile\nversion: '1'\nbase: host\nplugs: {{own: {{interface: personal-files, read: \"{hostile}\"}}}}\n\
             apps: {{hostile: {{command: bin/x, plugs: [own]}}}}\nparts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        world.project("hostile", &manifest, &[("bin/x", "")]);
        fail(world.pack(["build".as_ref(), world.home("hostile").as_os_str()]), 1);
    }
}

/// A NUL once ended what the tool that shows permissions read, and not what the tool that grants them did.
#[test]
fn cve_2021_43860_a_nul_hides_no_permission() {
    let world = World::with_key();
    for plugs in ["[\"network\\0\"]", "[\"network\", \"\\0home\"]"] {
        let manifest = format!(
            "name: hostile\nversion: '1'\nbase: host\napps: {{hostile: {{command: bin/x, plugs: {plugs}}}}}\n\
             parts: {{p: {{plugin: dump, source: files}}}}\n"
        );
        world.project("hostile", &manifest, &[("bin/x", "")]);
        fail(world.pack(["build".as_ref(), world.home("hostile").as_os_str()]), 1);
    }
}

/// Sockets that a template gave away without being asked.
#[test]
fn cve_2024_5300_no_socket_of_the_hosts_is_there_without_a_plug() {
    let world = World::with_key();
    world.install_tester(&[]);
    let script = "find / -xdev -type s 2>/dev/null; find /run /var /tmp /dev -type s 2>/dev/null; \
                  awk 'NR > 1 && $8 != \"\"' /proc/net/unix | grep -v '@' ; true";
    assert_eq!(world.tell("none", script, &[]), "");
}

#[test]
fn core_dumps_and_signals_leave_nothing_outside() {
    let world = World::with_key();
    world.install_probe(&[]);
    let before = listing(&world.path("tmp"));
    let ended = world.pack(["run", "probe", "--", "signal", "11"]).output().unwrap();
    assert_eq!(ended.status.code(), Some(128 + 11), "{}", err(&ended));
    assert_eq!(listing(&world.path("tmp")), before);
    assert!(listing(&world.path("home")).iter().all(|path| !path.ends_with("core")));
}

/// How often links and folders are exchanged against launches; the whole number is for a long run.
fn races() -> usize {
    std::env::var("PACK_TEST_RACES").map_or(150, |number| number.parse().unwrap())
}

/// One app may write to ~/Documents, and exchanges there, without end, what another app's plug shows for a link to what
/// neither may see. No launch of the other shows it, or writes to it.
#[test]
fn cve_2026_34078_and_ghsa_8688_links_raced_against_launches_lead_nowhere() {
    let world = World::with_key();
    world.write(".ssh/id_ed25519", "key");
    world.write("Documents/shown/id_ed25519", "mine");
    let swap = r#"
import ctypes, os, sys
home = os.environ["PACK_REAL_HOME"]
os.chdir(home + "/Documents")
libc = ctypes.CDLL(None, use_errno=True)
for name, target in (("link-a", "../.ssh"), ("link-b", home + "/.ssh")):
    try: os.symlink(target, name)
    except FileExistsError: pass
print("ready", flush=True)
while True:
    for name in (b"link-a", b"link-b"):
        # RENAME_EXCHANGE: at every moment there is one of them.
        libc.renameat2(-100, b"shown", -100, name, 2)
        libc.renameat2(-100, b"shown", -100, name, 2)
"#;
    let manifest = "name: tester\nversion: '1'\nbase: host\n\
                    plugs: {shown: {interface: personal-files, write: $HOME/Documents/shown}}\n\
                    apps:\n  swapper: {command: bin/tester, plugs: [home]}\n  victim: {command: bin/tester, plugs: [shown]}\n\
                    parts: {p: {plugin: dump, source: files}}\n";
    world.project("tester", manifest, &[("bin/tester", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("tester");
    let mut swapper = world.pack(["run", "tester.swapper", "python3", "-c", swap]);
    let mut swapper = swapper.stdout(Stdio::piped()).spawn().unwrap();
    let mut ready = [0; 6];
    std::io::Read::read_exact(swapper.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let script = "cat \"$1/id_ed25519\" 2>/dev/null; ( echo planted >\"$1/planted\" ) 2>/dev/null; true";
    let shown = text(world.home("Documents/shown"));
    let mut seen = [0; 2];
    for _ in 0..races() {
        let told = world.tell("victim", script, &[&shown]);
        assert!(told.is_empty() || told == "mine", "{told}");
        seen[usize::from(told.is_empty())] += 1;
    }
    swapper.kill().unwrap();
    swapper.wait().unwrap();
    assert!(!world.home(".ssh/planted").exists());
    assert_eq!(listing(&world.home(".ssh")).len(), 1);
    // Both were met, or nothing was raced.
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

/// The app exchanges its own data folders' insides while its next launches, and an upgrade and a removal, work on them.
#[test]
fn ghsa_99wv_an_apps_own_data_is_no_way_out_while_it_is_launched_upgraded_and_removed() {
    let world = World::with_key();
    world.write("precious/file", "precious");
    world.install_tester(&[]);
    let script = r#"
cd "$PACK_USER_DATA" || exit
mkdir -p deep/er && echo x >deep/er/file
i=0
while [ $i -lt 400 ]; do
  i=$((i + 1))
  for name in deep .config .local .cache; do
    mv $name aside 2>/dev/null; ln -sfn "$1" $name; rm -f $name 2>/dev/null; mv aside $name 2>/dev/null
  done
done
rm -rf .config .local .cache
ln -sfn "$1" .config; ln -sfn "$1" .local; ln -sfn "$1/file" link
ln -sfn "$1" "$PACK_USER_COMMON/out"
"#;
    let precious = text(world.home("precious"));
    let mut swapping = world.inside("none", script, &[&precious]).stdout(Stdio::null()).spawn().unwrap();
    let mut launches = 0;
    while swapping.try_wait().unwrap().is_none() {
        let run =
            world.inside("none", "cat \"$HOME/.config/file\" \"$HOME/.local/file\" 2>/dev/null; true", &[]);
        assert_eq!(out(&{ run }.output().unwrap()), "");
        launches += 1;
    }
    assert!(launches > 0);
    let upgraded = world.build("tester");
    succeed(world.pack(["install".as_ref(), "--yes".as_ref(), upgraded.as_os_str()]));
    world.tell("none", "cat \"$HOME/.config/file\" 2>/dev/null; true", &[]);
    succeed(world.pack(["remove", "tester", "--purge", "--yes"]));
    assert_eq!(fs::read_to_string(world.home("precious/file")).unwrap(), "precious");
    assert_eq!(listing(&world.home("precious")).len(), 1);
}

/// The control of the two tests above: the same exchange does lead a program that follows links astray.
#[test]
fn the_exchange_of_the_race_works_on_whoever_follows_links() {
    let world = World::with_key();
    world.write(".ssh/id_ed25519", "key");
    fs::create_dir(world.home("Documents")).unwrap();
    symlink("../.ssh", world.home("Documents/shown")).unwrap();
    let mut cat = Command::new("cat");
    cat.arg(world.home("Documents/shown/id_ed25519"));
    assert_eq!(out(&succeed(cat)), "key");
}
