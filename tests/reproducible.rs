//! The same sources give the same package: real programs are built twice, the second time in other surroundings.
//!
//! | | first | second |
//! |---|---|---|
//! | folder | the home | one elsewhere, deeper, with a space in its name |
//! | user | 20001 | 20002 (where root runs the tests) |
//! | umask, modes of the project's files | 022 | 077; only what can be executed is the same |
//! | times of the project's files | now | 1999 |
//! | TZ, LANG, LC_ALL | none, C.UTF-8 | 14 hours east of Greenwich, Turkish |
//! | processors | all | one |
//! | caches | those of the tests | others |

#[path = "support/real_programs.rs"]
mod real_programs;
mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{World, is_root, out, pack_binary, succeed};

/// The user of the second build.
const OTHER: u32 = 20002;

/// Builds the project in the home folder `name` in both surroundings, and compares the packages byte for byte.
#[track_caller]
fn twice(world: &World, name: &str) {
    let (first, second) = (world.home("first.pkg"), build_elsewhere(world, name));
    succeed(world.pack(["build", "--unsigned", name, "-o", "first.pkg"]));
    if fs::read(&first).unwrap() != fs::read(&second).unwrap() {
        let mut differences = Command::new(pack_binary());
        differences.arg("diff").args([&first, &second]).env("HOME", world.path("home"));
        panic!("{name} differs:\n{}", out(&differences.output().unwrap()));
    }
}

/// The package that another user makes of a copy of a project.
#[track_caller]
fn build_elsewhere(world: &World, name: &str) -> PathBuf {
    let elsewhere = world.path("elsewhere/far away");
    fs::create_dir_all(&elsewhere).unwrap();
    let project = elsewhere.join("a project");
    let mut copy = Command::new("cp");
    copy.arg("-r").arg(world.home(name)).arg(&project);
    succeed(copy);
    for folder in ["home", "run", "tmp"] {
        fs::create_dir(elsewhere.join(folder)).unwrap();
    }
    let mut age = Command::new("find");
    age.arg(&project).args(["-exec", "touch", "-h", "-d", "1999-12-31T23:59:59", "{}", "+"]);
    succeed(age);
    close(&world.path("elsewhere"));
    let package = elsewhere.join("second.pkg");
    let mut build = Command::new("setpriv");
    build.arg("--no-new-privs");
    if is_root() {
        build.args([&format!("--reuid={OTHER}"), &format!("--regid={OTHER}"), "--clear-groups"]);
        build.args(["--inh-caps=-all", "--bounding-set=-all"]);
    }
    build
        .args(["--", "taskset", "-c", &a_processor(), "sh", "-c", "umask 077; exec \"$@\"", "sh"])
        .arg(pack_binary());
    build.args(["build", "--unsigned", "-o"]).arg(&package).arg(&project);
    build.env_clear().envs([
        ("PATH", std::env::var("PATH").unwrap().as_str()),
        ("USER", "somebody"),
        ("TZ", "Pacific/Kiritimati"),
        ("LANG", "tr_TR.UTF-8"),
        ("LC_ALL", "tr_TR.UTF-8"),
        ("CI", "true"),
    ]);
    build.env("HOME", elsewhere.join("home")).env("XDG_RUNTIME_DIR", elsewhere.join("run"));
    build.env("TMPDIR", elsewhere.join("tmp")).env("XDG_CACHE_HOME", other_cache());
    build.current_dir(elsewhere.join("tmp"));
    succeed(build);
    package
}

/// One of the processors that there are for the tests (proc_pid_status(5)).
fn a_processor() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    allowed.trim().split([',', '-']).next().unwrap().to_owned()
}

/// Gives everything in a folder to the other user, and takes all permissions of others away.
fn close(path: &Path) {
    let metadata = path.symlink_metadata().unwrap();
    if is_root() {
        std::os::unix::fs::lchown(path, Some(OTHER), Some(OTHER)).unwrap();
    }
    if metadata.is_symlink() {
        return;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(metadata.permissions().mode() & 0o700)).unwrap();
    if metadata.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| close(&entry.unwrap().path()));
    }
}

/// What the other user has downloaded; kept from one test to the next.
fn other_cache() -> PathBuf {
    let path =
        std::env::temp_dir().join(format!("pack-test-cache-other-{}", rustix::process::geteuid().as_raw()));
    fs::create_dir_all(&path).unwrap();
    if is_root() {
        chown(&path, Some(OTHER), Some(OTHER)).unwrap();
    }
    path
}

#[test]
fn hello_of_the_examples() {
    example("hello");
}

#[test]
fn jq_of_debian() {
    example("jq");
}

#[test]
fn galculator_of_debian() {
    example("galculator");
}

#[test]
fn redis_of_debian() {
    example("redis");
}

fn example(name: &str) {
    let world = World::new();
    world.copy_example(name);
    twice(&world, name);
}

/// A program of another kind.
fn program(prepare: impl Fn(&World) -> &'static str) {
    let world = World::new();
    let name = prepare(&world);
    twice(&world, name);
}

#[test]
fn gnu_hello_by_autotools() {
    program(real_programs::gnu_hello);
}

#[test]
fn figlet_by_make() {
    program(real_programs::figlet);
}

#[test]
fn cmark_by_cmake_and_what_is_linked_with_it() {
    program(real_programs::cmark);
}

#[test]
fn serd_by_meson() {
    program(real_programs::serd);
}

#[test]
fn ripgrep_by_cargo() {
    program(real_programs::ripgrep);
}

#[test]
fn go_md2man_by_go() {
    program(real_programs::go_md2man);
}

#[test]
fn httpie_by_pip() {
    program(real_programs::httpie);
}

#[test]
fn cowsay_by_pip_with_an_interpreter_of_debian() {
    program(real_programs::cowsay);
}

#[test]
fn markdown_it_by_npm() {
    program(real_programs::markdown_it);
}

#[test]
fn a_program_that_brings_its_node_by_npm() {
    program(real_programs::node_version);
}
