//! Plugs that show files: each does what it says, and without it there is nothing.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use std::process::Command;

use support::{World, is_root, out, skip, succeed};

/// Tries to read `$1`, and then to write to it.
const TRY: &str = r#"
read=no; write=no
cat "$1" >/dev/null 2>&1 && read=yes
( : >>"$1" ) 2>/dev/null && write=yes
echo "read $read, write $write"
"#;

/// What an app of `tester` can do with a file.
#[track_caller]
fn access(world: &World, app: &str, path: &Path) -> String {
    world.tell(app, TRY, &[path.to_str().unwrap()])
}

const NOTHING: &str = "read no, write no";
const READING: &str = "read yes, write no";
const ALL: &str = "read yes, write yes";

#[test]
fn personal_files_gives_the_named_ones_and_no_others() {
    let world = World::with_key();
    for name in [".notes/a", ".vimrc", ".ssh/id_ed25519", ".config/app/settings", "Documents/x"] {
        world.write(name, name);
    }
    symlink(world.home(".ssh"), world.home(".linked")).unwrap();
    symlink(world.home(".ssh/id_ed25519"), world.home(".notes/link")).unwrap();
    let declared = "{interface: personal-files, read: [$HOME/.vimrc, $HOME/.linked, $HOME/.missing], \
                    write: [$HOME/.notes, $HOME/.config/app/]}";
    world.install_tester(&[("own", declared)]);
    for (name, with) in [
        (".notes/a", ALL),
        (".config/app/settings", ALL),
        (".vimrc", READING),
        (".linked/id_ed25519", NOTHING),
        (".notes/link", NOTHING),
        (".ssh/id_ed25519", NOTHING),
        ("Documents/x", NOTHING),
    ] {
        assert_eq!(access(&world, "own", &world.home(name)), with, "{name}");
        assert_eq!(access(&world, "none", &world.home(name)), NOTHING, "{name}");
    }
    assert!(!world.home(".missing").exists(), "what is not there is not made (firejail #7154)");
}

/// The folder that is shown becomes a link to elsewhere after it was connected.
#[test]
fn cve_2026_34078_a_link_in_place_of_a_shown_path_leads_nowhere() {
    let world = World::with_key();
    world.write(".notes/deep/a", "note");
    world.write(".ssh/a", "key");
    world.install_tester(&[("own", "{interface: personal-files, write: $HOME/.notes/deep}")]);
    assert_eq!(access(&world, "own", &world.home(".notes/deep/a")), ALL);
    fs::rename(world.home(".notes/deep"), world.home(".notes/aside")).unwrap();
    for target in [world.home(".ssh"), Path::new("../.ssh").to_owned(), Path::new("/etc").to_owned()] {
        symlink(target, world.home(".notes/deep")).unwrap();
        assert_eq!(access(&world, "own", &world.home(".notes/deep/a")), NOTHING);
        fs::remove_file(world.home(".notes/deep")).unwrap();
    }
    // The folder above it, too.
    fs::rename(world.home(".notes"), world.home(".old")).unwrap();
    fs::create_dir(world.home(".ssh/deep")).unwrap();
    symlink(world.home(".ssh"), world.home(".notes")).unwrap();
    assert_eq!(access(&world, "own", &world.home(".notes/deep/a")), NOTHING);
}

#[test]
fn system_files_gives_the_named_ones_and_no_others() {
    let world = World::with_key();
    let Some(folder) = folder_of_the_system() else { return };
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let path = folder.path().display();
    let read = format!("{{interface: system-files, read: [/etc/subuid, /etc/login.defs, {path}]}}");
    let write = format!("{{interface: system-files, write: [{path}]}}");
    world.install_tester(&[("reads", &read), ("writes", &write)]);
    for (path, none, reads, writes) in
        [(file.as_path(), NOTHING, READING, ALL), (Path::new("/etc/login.defs"), NOTHING, READING, NOTHING)]
    {
        assert_eq!(access(&world, "none", path), none);
        assert_eq!(access(&world, "reads", path), reads);
        assert_eq!(access(&world, "writes", path), writes);
    }
}

#[test]
fn removable_media_shows_what_is_mounted_there() {
    if !is_root() {
        return skip("removable-media: only root makes folders in /media");
    }
    let world = World::with_key();
    world.install_tester(&[("removable-media", "{}")]);
    let folder = tempfile::Builder::new().prefix("pack-test-").tempdir_in("/media").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let file = folder.path().join("photo");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(access(&world, "removable-media", &file), ALL);
    assert_eq!(access(&world, "none", &file), NOTHING);
}

/// Interface, configured folder, variable.
const FOLDERS: &[(&str, &str, &str)] = &[
    ("documents", "Papers", "DOCUMENTS"),
    ("download", "Downloads", "DOWNLOAD"),
    ("music", "Music", "MUSIC"),
    ("pictures", "Shared/Pictures", "PICTURES"),
    ("public-share", "Public", "PUBLICSHARE"),
    ("templates", "Templates", "TEMPLATES"),
    ("videos", "Videos", "VIDEOS"),
];

#[test]
fn each_folder_of_the_user_is_a_plug_of_its_own() {
    let world = World::with_key();
    let mut configured = String::new();
    for (_, folder, variable) in FOLDERS {
        world.write(&format!("{folder}/file"), "x");
        configured += &format!("XDG_{variable}_DIR=\"$HOME/{folder}\"\n");
    }
    world.write(".config/user-dirs.dirs", &configured);
    let writes: Vec<String> = FOLDERS.iter().map(|(name, ..)| format!("{name}-too")).collect();
    let declared: Vec<String> =
        FOLDERS.iter().map(|(name, ..)| format!("{{interface: {name}, access: read-write}}")).collect();
    let mut plugs: Vec<(&str, &str)> = FOLDERS.iter().map(|(name, ..)| (*name, "{}")).collect();
    plugs.extend(writes.iter().map(String::as_str).zip(declared.iter().map(String::as_str)));
    world.install_tester(&plugs);
    for (name, folder, variable) in FOLDERS {
        let file = world.home(&format!("{folder}/file"));
        assert_eq!(access(&world, name, &file), READING);
        assert_eq!(access(&world, &format!("{name}-too"), &file), ALL);
        assert_eq!(access(&world, "none", &file), NOTHING);
        let other = if *name == "music" { "videos" } else { "music" };
        assert_eq!(access(&world, other, &file), NOTHING, "{name} is not {other}");
        let told = world.tell(name, "eval echo \"\\$XDG_$1_DIR\"", &[variable]);
        assert_eq!(told, world.home(folder).to_str().unwrap());
    }
}

/// A folder of the user's that is the home folder, or hidden, or holds programs on PATH, is not shown.
#[test]
fn cve_2024_1724_a_folder_that_acts_outside_is_no_folder_for_documents() {
    let world = World::with_key();
    for name in ["tools/bin/x", ".config/x", "x"] {
        world.write(name, "x");
    }
    world.install_tester(&[("documents", "{access: read-write}")]);
    for (configured, file) in [("$HOME", "x"), ("$HOME/.config", ".config/x"), ("$HOME/tools", "tools/bin/x")]
    {
        world.write(".config/user-dirs.dirs", format!("XDG_DOCUMENTS_DIR=\"{configured}\"\n"));
        let mut run = world.inside("documents", TRY, &[world.home(file).to_str().unwrap()]);
        run.env("PATH", format!("{}:{}", world.home("tools/bin").display(), std::env::var("PATH").unwrap()));
        assert_eq!(out(&succeed(run)).trim_end(), NOTHING, "{configured}");
    }
}

#[test]
fn ssh_keys_and_gpg_keys_are_read_with_their_plugs_alone() {
    let world = World::with_key();
    world.write(".ssh/id_ed25519", "key");
    world.write(".gnupg/private-keys-v1.d/x.key", "key");
    world.install_tester(&[("ssh-keys", "{}"), ("gpg-keys", "{}")]);
    for (plug, path) in [("ssh-keys", ".ssh/id_ed25519"), ("gpg-keys", ".gnupg/private-keys-v1.d/x.key")] {
        assert_eq!(access(&world, plug, &world.home(path)), READING);
        assert_eq!(access(&world, "none", &world.home(path)), NOTHING);
    }
    assert_eq!(access(&world, "ssh-keys", &world.home(".gnupg/private-keys-v1.d/x.key")), NOTHING);
}

#[test]
fn log_observe_reads_logs_and_mount_observe_the_mount_table() {
    let world = World::with_key();
    world.install_tester(&[("log-observe", "{}"), ("mount-observe", "{}"), ("hardware-observe", "{}")]);
    let log = Path::new("/var/log/dpkg.log");
    assert_eq!(access(&world, "log-observe", log), READING);
    assert_eq!(access(&world, "none", log), NOTHING);

    let host = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let seen = world.tell("mount-observe", "cat /run/host/mountinfo", &[]);
    let points = |table: &str| -> Vec<String> {
        table.lines().filter_map(|line| line.split(' ').nth(4).map(str::to_owned)).collect()
    };
    assert_eq!(points(&seen), points(&host));
    let table = world.tell("mount-observe", "ls -l /etc/mtab; cat /etc/mtab", &[]);
    assert!(table.lines().any(|line| line.contains(" / ")), "{table}");
    let own = world.tell("none", "cat /etc/mtab; ls /run/host 2>&1; true", &[]);
    assert!(!own.lines().any(|line| line.contains(" /sys ")), "{own}");

    assert_eq!(world.tell("hardware-observe", "ls /sys/class | grep -c ^net$", &[]), "1");
    assert_eq!(world.tell("none", "ls /sys 2>/dev/null | wc -l", &[]), "0");
}

#[test]
fn shared_memory_is_the_hosts_with_its_plug_alone() {
    let world = World::with_key();
    world
        .install_tester(&[("shared-memory", "{}"), ("private", "{interface: shared-memory, private: true}")]);
    let file = tempfile::Builder::new().prefix("pack-test-").tempfile_in("/dev/shm").unwrap();
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
    let segment = out(&succeed({
        let mut make = world.command("ipcmk");
        make.args(["-M", "4096"]);
        make
    }));
    let id = segment.rsplit(' ').next().unwrap().trim().to_owned();
    let sees = |app: &str| world.tell(app, "ipcs -m | awk '{print $2}' | grep -c -x \"$1\" || true", &[&id]);
    assert_eq!(
        (access(&world, "shared-memory", file.path()), sees("shared-memory")),
        (ALL.to_owned(), "1".to_owned())
    );
    for app in ["none", "private"] {
        let there = world.tell(app, "[ -e \"$1\" ] || echo no", &[file.path().to_str().unwrap()]);
        assert_eq!((there, sees(app)), ("no".to_owned(), "0".to_owned()), "{app}");
    }
    // What is private is there: an app's own processes share memory.
    assert_eq!(
        world.tell(
            "private",
            "echo x >/dev/shm/a && cat /dev/shm/a && ipcmk -M 4096 >/dev/null && echo made",
            &[]
        ),
        "x\nmade"
    );
    succeed({
        let mut remove = world.command("ipcrm");
        remove.args(["-m", &id]);
        remove
    });
}

/// Several plugs show the same place, or one a part of what another shows.
#[test]
fn plugs_that_overlap_give_together_what_each_gives() {
    let world = World::with_key();
    world.write("Documents/deep/file", "x");
    let manifest = "name: tester\nversion: '1'\nbase: host\nplugs:\n  deep: {interface: personal-files, write: $HOME/Documents/deep}\n\
                    \x20 home-reads: {interface: documents}\n\
                    apps: {both: {command: bin/tester, plugs: [deep, home-reads]}, all: {command: bin/tester, plugs: [home, deep, home-reads]}}\n\
                    parts: {p: {plugin: dump, source: files}}\n";
    world.project("tester", manifest, &[("bin/tester", "#!/bin/sh\nexec \"$@\"\n")]);
    world.install("tester");
    world.write("Documents/file", "x");
    assert_eq!(access(&world, "both", &world.home("Documents/file")), READING);
    assert_eq!(access(&world, "both", &world.home("Documents/deep/file")), ALL);
    assert_eq!(access(&world, "all", &world.home("Documents/file")), ALL);
    assert_eq!(access(&world, "all", &world.home("Documents/deep/file")), ALL);
}

/// The host comes to another network while an app runs: its list of name servers is replaced, as NetworkManager and others
/// replace it.
#[test]
fn name_servers_and_host_names_are_those_of_now() {
    if !is_root() {
        return skip("name servers: only root changes those of a host");
    }
    let world = World::with_key();
    world.install_tester(&[("network", "{}")]);
    let etc = tempfile::Builder::new().prefix("pack-test-etc-").tempdir_in("/var/tmp").unwrap();
    let host = r#"
set -e
cp -a /etc/. "$0/"; chmod 755 "$0"; mount --bind "$0" /etc
printf 'nameserver 192.0.2.1\n' >/etc/resolv.conf; printf '127.0.0.1 localhost\n' >/etc/hosts
mkfifo "$0/started"; chmod 666 "$0/started"
"$@" 3>"$0/started" &
read line <"$0/started"
printf 'nameserver 192.0.2.2\n' >/etc/new; mv /etc/new /etc/resolv.conf
printf '127.0.0.1 localhost second\n' >/etc/hosts
wait $!
"#;
    let inside = "cat /etc/resolv.conf; echo started >&2; i=0; \
                  until grep -q 192.0.2.2 /etc/resolv.conf && grep -q second /etc/hosts || [ $i = 200 ]; do i=$((i+1)); sleep 0.05; done; \
                  cat /etc/resolv.conf /etc/hosts; ( : >>/etc/hosts ) 2>/dev/null && echo written; ls -A /etc | grep -c pack; true";
    let run = world.command(support::pack_binary());
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "bash", "-c", &host.replace("3>", "2>")]).arg(etc.path());
    command.arg(run.get_program()).args(run.get_args());
    command.args(["run", "tester.network", "sh", "-c", inside]);
    command.env_clear().envs(world.environment());
    let told = out(&succeed(command));
    let expected = "nameserver 192.0.2.1\nnameserver 192.0.2.2\n127.0.0.1 localhost second\n0\n";
    assert_eq!(told, expected);
}

#[test]
fn local_time_is_the_hosts() {
    let world = World::with_key();
    world.install_tester(&[]);
    let zone = out(&succeed({
        let mut date = world.command("date");
        date.arg("+%Z %z");
        date
    }));
    assert_eq!(world.tell("none", "date '+%Z %z'", &[]), zone.trim());
    if let Ok(link) = fs::read_link("/etc/localtime") {
        let inside = world.tell("none", "readlink -f /etc/localtime", &[]);
        assert_eq!(Path::new(&inside), fs::canonicalize(Path::new("/etc").join(link)).unwrap());
    }
}

/// A folder outside of homes that everybody may write to.
fn folder_of_the_system() -> Option<tempfile::TempDir> {
    if !is_root() {
        skip("system-files: only root makes folders of the system's");
        return None;
    }
    let folder = tempfile::Builder::new().prefix("pack-test-").tempdir_in("/srv").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    Some(folder)
}

/// An app that may write to a folder of the system's plants a link in it, at a place that it may also read: to a socket, a
/// secret, the home folder.
#[test]
fn cve_2026_34078_a_link_that_an_app_plants_in_a_folder_of_the_systems_leads_nowhere() {
    let Some(folder) = folder_of_the_system() else { return };
    let world = World::with_key();
    let path = folder.path().display();
    let secret = world.write(".ssh/id_ed25519", "key");
    let _socket = std::os::unix::net::UnixListener::bind(world.path("run").join("bus")).unwrap();
    let declared = format!("{{interface: system-files, write: [{path}], read: [{path}/cache]}}");
    world.install_tester(&[("own", &declared)]);
    let targets = [
        secret,
        world.path("home"),
        world.path("run").join("bus"),
        world.path("run"),
        Path::new("/etc").to_owned(),
        Path::new("../../root").to_owned(),
    ];
    for target in targets {
        let target = target.to_str().unwrap();
        world.tell("own", "ln -sfn \"$2\" \"$1/cache\"", &[&path.to_string(), target]);
        let script = "ls \"$1/cache/.ssh\" \"$1/cache/bus\" 2>/dev/null; cat \"$1/cache\" 2>/dev/null; [ -S \"$1/cache\" ] && echo socket; \
                      echo x 2>/dev/null >\"$1/cache/planted\" && echo planted; true";
        assert_eq!(world.tell("own", script, &[&path.to_string()]), "", "{target}");
    }
    // A socket itself is no file to read.
    fs::remove_file(folder.path().join("cache")).unwrap();
    let _own = std::os::unix::net::UnixListener::bind(folder.path().join("cache")).unwrap();
    let seen = world.tell("own", "grep -c \"$1/cache \" /proc/self/mountinfo; true", &[&path.to_string()]);
    assert_eq!(seen, "0");
}

/// Homes, and pack's own state, lie elsewhere than usual: what holds them is not shown, and what acts there is not changed.
#[test]
fn cve_2024_1724_paths_that_hold_a_home_or_packs_state_are_not_shown() {
    let Some(folder) = folder_of_the_system() else { return };
    let world = World::with_key();
    let home = folder.path().join("homes/ada");
    for name in ["homes/ada/packs", "homes/ada/conf/autostart", "homes/ada/conf/app", "homes/ada/plain"] {
        fs::create_dir_all(folder.path().join(name)).unwrap();
    }
    succeed({
        let mut own = Command::new("chown");
        own.args(["-R", "20001:20001"]).arg(folder.path());
        own
    });
    let path = folder.path().display();
    let manifest = format!(
        "name: tester\nversion: '1'\nbase: host\nplugs:\n  system: {{interface: system-files, write: [{path}, {path}/homes]}}\n\
         \x20 own: {{interface: personal-files, write: [$HOME/packs, $HOME/conf, $HOME/plain, $HOME/conf/app, $HOME/conf/autostart]}}\n\
         apps: {{tester: {{command: bin/tester, plugs: [system, own]}}}}\nparts: {{p: {{plugin: dump, source: files}}}}\n"
    );
    world.project("tester", &manifest, &[("bin/tester", "#!/bin/sh\nexec \"$@\"\n")]);
    let package = world.build("tester");
    let pack = |arguments: &[&str]| {
        let mut command = world.pack(arguments);
        command
            .env("HOME", &home)
            .env("PACK_HOME", home.join("packs"))
            .env("XDG_CONFIG_HOME", home.join("conf"));
        command
    };
    let fingerprint = out(&succeed(world.pack(["key", "list", "--json"])));
    let fingerprint: serde_json::Value = serde_json::from_str(&fingerprint).unwrap();
    let fingerprint = fingerprint[0]["fingerprint"].as_str().unwrap();
    succeed(pack(&["install", "--yes", "--trust", fingerprint, package.to_str().unwrap()]));
    let script = r#"
for place in plain packs conf conf/app conf/autostart; do
  ( echo x >"$PACK_REAL_HOME/$place/planted" ) 2>/dev/null && echo "$place"
done
ls "$1" 2>/dev/null; true
"#;
    let run = pack(&["run", "tester", "sh", "-c", script, "sh", &path.to_string()]);
    let told = out(&succeed(run));
    // The folders down to what is shown are there, and empty but for that.
    assert_eq!(told, "plain\nconf/app\nhomes\n");
}
