//! Parts with `build-packages`: the root that they are built in, how it is kept, and what is left of one that was not finished.

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use support::{World, err, eventually, fail, has, own, skip, succeed};

/// A small compiler that few machines have. Debian's, in a root with nothing else of note, is 90 packages.
const COMPILER: &str = "tcc";

/// A program that says which compiler made it.
const SOURCE: &str = r#"#include <stdio.h>
#ifdef __TINYC__
#define MADE_BY "tcc"
#else
#define MADE_BY "another compiler"
#endif
int main(void) { puts("made by " MADE_BY); return 0; }
"#;

/// A project of one part `tool`, whose script builds SOURCE, and begins with these lines.
fn project(world: &World, name: &str, packages: &str, lines: &str) {
    world.write(&format!("{name}/src/tool.c"), SOURCE);
    let mut manifest = format!(
        "name: tool\nversion: '1'\nbase: host\napps: {{tool: {{command: bin/tool}}}}\nparts:\n  tool:\n    plugin: nil\n    \
         source: src\n    build-packages: [{packages}]\n    override-build: |\n"
    );
    let build = format!("{COMPILER} -o tool tool.c\ninstall -D tool \"$PACK_PART_INSTALL/bin/tool\"\n");
    for line in lines.lines().chain(build.lines()) {
        manifest += &format!("      {line}\n");
    }
    world.write(&format!("{name}/pack.yaml"), manifest);
}

fn build(world: &World, name: &str) -> Command {
    world.pack(["build", "-v", "--unsigned", name])
}

/// The same with a cache of the world's own.
fn build_alone(world: &World, name: &str) -> Command {
    let mut build = build(world, name);
    build.env("XDG_CACHE_HOME", world.home("cache"));
    build
}

fn shared_cache(world: &World) -> PathBuf {
    let environment = world.environment();
    environment.into_iter().find(|(name, _)| name == "XDG_CACHE_HOME").unwrap().1.into()
}

/// A cache of the world's own, with all that was downloaded for the shared one, and no root.
fn cache_without_roots(world: &World) {
    succeed(build(world, "tool"));
    let pack = world.write("cache/pack/.keep", "");
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(shared_cache(world).join("pack/debian")).arg(pack.with_file_name("debian"));
    succeed(copy);
    fs::remove_dir_all(world.home("tool/.pack")).unwrap();
}

/// The roots of the world's own cache.
fn roots(world: &World) -> Vec<PathBuf> {
    names(&world.home("cache/pack/roots")).into_iter().filter(|path| is_root_name(path)).collect()
}

fn is_root_name(path: &Path) -> bool {
    path.file_name().unwrap().to_str().unwrap().len() == 32
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names
}

fn log(world: &World, name: &str) -> String {
    fs::read_to_string(world.home(&format!("{name}/.pack/parts/tool/build.log"))).unwrap()
}

#[test]
fn a_part_is_built_with_its_packages_and_not_with_the_machines() {
    if has(COMPILER) {
        return skip("build-packages: this machine has tcc, and one that has not was to use it");
    }
    let world = World::with_key();
    // The machine has a python3, since the tests need it; the packages do not come to one.
    assert!(Path::new("/usr/bin/python3").exists());
    let lines = r#"
for path in /usr/bin/python3 /usr/bin/git /usr/local/bin /etc/apt/sources.list.d/debian.sources; do
  if [ -e "$path" ]; then echo "the machine's: $path"; fi
done
for path in /usr/new /usr/bin/tcc /usr/lib/new /etc/new /etc/hosts /etc/ssl/certs /var/lib/new /opt/new /new; do
  if echo x 2> /dev/null >> "$path"; then echo "written: $path"; fi
done
if chmod 755 /usr/bin/tcc 2> /dev/null || rm -f /usr/bin/tcc 2> /dev/null; then echo "changed: tcc"; fi
if mount -o remount,rw /usr 2> /dev/null; then echo "mounted"; fi
echo "user: $(id -un) $(id -gn), locale: $(locale charmap), name: $(getent hosts localhost | wc -l)"
echo "awk: $(awk 'BEGIN { print 1 + 1 }'), perl: $(perl -e 'print 3'), xz: $(echo 4 | xz | unlzma --format=xz)"
"#;
    project(&world, "tool", "tcc", lines);
    world.install("tool");
    let told = support::out(&succeed(world.pack(["run", "tool"])));
    assert_eq!(told, "made by tcc\n");
    let log = log(&world, "tool");
    assert_eq!(
        log, "user: builder builder, locale: UTF-8, name: 1\nawk: 2, perl: 3, xz: 4\n",
        "what the script found"
    );

    let provenance = world.home("tool/.pack/prime/.pack/provenance.json");
    let provenance: serde_json::Value = serde_json::from_slice(&fs::read(provenance).unwrap()).unwrap();
    let materials = provenance["predicate"]["buildDefinition"]["resolvedDependencies"].as_array().unwrap();
    let compiler = materials.iter().find(|material| {
        material["name"] == "tool build-packages"
            && material["uri"].as_str().unwrap().starts_with("pkg:deb/debian/tcc@")
    });
    assert_eq!(compiler.unwrap()["digest"]["sha256"].as_str().unwrap().len(), 64, "{materials:?}");

    // Another project finds the root as it is: apt, which would wait for this lock, is not asked.
    project(&world, "second", "tcc", "echo found again");
    let apt = File::open(shared_cache(&world).join("pack/debian/lock")).unwrap();
    flock(&apt, FlockOperation::LockExclusive).unwrap();
    let told = err(&succeed(build(&world, "second")));
    drop(apt);
    assert!(!told.contains("unpacking") && !told.contains("finding out"), "{told}");
    assert!(self::log(&world, "second").contains("found again"));

    // Nothing of the packages has changed, then their list has, then neither.
    let told = err(&succeed(build(&world, "second")));
    assert!(told.contains("build tool: nothing changed"), "{told}");
    project(&world, "second", "tcc, ed", "echo found again");
    let told = err(&succeed(build(&world, "second")));
    assert!(told.contains("pull tool: nothing changed"), "{told}");
    assert!(told.contains("build tool: build-packages changed: ed\n"), "{told}");
    let told = err(&succeed(build(&world, "second")));
    assert!(told.contains("build tool: nothing changed"), "{told}");
}

#[test]
fn a_plugin_finds_its_programs_in_the_root() {
    let world = World::with_key();
    world.write("tool/src/tool.c", SOURCE);
    let makefile = "tool: tool.c\n\t! test -e /usr/bin/python3\n\t$(CC) -o tool tool.c\n\
                    install: tool\n\tinstall -D tool $(DESTDIR)/bin/tool\n";
    world.write("tool/src/Makefile", makefile);
    let manifest = "name: tool\nversion: '1'\nbase: host\napps: {tool: {command: bin/tool}}\n\
                    parts: {tool: {plugin: make, source: src, build-packages: [gcc, make]}}\n";
    world.write("tool/pack.yaml", manifest);
    world.install("tool");
    assert_eq!(support::out(&succeed(world.pack(["run", "tool"]))), "made by another compiler\n");
    // Without them, it is the machine that the part is built with.
    world.write("tool/pack.yaml", manifest.replace(", build-packages: [gcc, make]", ""));
    let told = err(&fail(build(&world, "tool"), 1));
    assert!(told.contains("build tool: build-packages changed; tools changed"), "{told}");
    assert!(told.contains("! test -e /usr/bin/python3"), "{told}");
}

#[test]
fn a_name_that_is_none_or_that_nobody_has_is_told() {
    let world = World::new();
    for name in ["-y", "--allow-unauthenticated", "../gcc", "'gcc; touch x'", "'?essential'", "Gcc", "'g c'"]
    {
        project(&world, "tool", name, "");
        let told = err(&fail(build(&world, "tool"), 1));
        assert!(told.contains("build-packages") && told.contains("pack.yaml"), "{name}: {told}");
    }
    // The last is what apt would take for a removal.
    for (name, near) in [("redis-servr", Some("redis-server")), ("make-", None)] {
        project(&world, "tool", name, "");
        let told = err(&fail(build(&world, "tool"), 1));
        assert!(told.contains(&format!("no Debian package is called `{name}`")), "{told}");
        assert!(told.contains("cannot make a root of its build-packages"), "{told}");
        let hint = near.map(|near| format!("hint: did you mean `{near}`?")).unwrap_or_default();
        assert!(told.contains(&hint), "{told}");
    }
    assert!(!world.home("tool/.pack/parts/tool/build.log").exists());
}

/// Starts a build, and kills it as soon as something holds.
fn kill_when(world: &World, holds: impl Fn(&Path) -> bool) {
    let mut child = started(build_alone(world, "tool"));
    let folder = world.home("cache/pack/roots");
    let end = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() && !holds(&folder) {
        assert!(Instant::now() < end, "the build is at nothing");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn started(mut build: Command) -> Child {
    build.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_build_that_is_killed_while_it_makes_a_root_leaves_none() {
    let world = World::new();
    project(&world, "tool", "tcc", "test ! -e /usr/bin/python3");
    cache_without_roots(&world);
    let in_draft = |folder: &Path, name: &str| {
        let drafts =
            names(folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "draft"));
        drafts.map(|draft| draft.join(name)).any(|path| path.symlink_metadata().is_ok())
    };
    // What is there from its beginning, from its middle, when links are made, and at its very end.
    for moment in ["root", "root/usr/bin/dpkg", "root/lib64", "root/etc/ld.so.cache", "packages.json"] {
        kill_when(&world, |folder| in_draft(folder, moment));
        let roots = roots(&world);
        // Where the last moment was missed it is whole.
        let is_whole =
            |root: &PathBuf| root.join("packages.json").exists() && root.join("root/usr/bin/tcc").exists();
        assert!(
            roots.iter().all(is_whole) && (roots.is_empty() || moment == "packages.json"),
            "{moment}: {roots:?}"
        );
    }
    succeed(build_alone(&world, "tool"));
    let left = names(&world.home("cache/pack/roots"));
    assert!(left.iter().all(|path| path.extension().is_none()), "{left:?}");
    assert_eq!(roots(&world).len(), 1);
    assert!(world.home("tool/.pack/prime/bin/tool").exists());
}

#[test]
fn two_builds_at_once_make_one_root_and_it_can_be_removed() {
    let world = World::new();
    project(&world, "tool", "tcc", "");
    cache_without_roots(&world);
    // It stays for as long as a build uses it.
    project(&world, "slow", "tcc", "while ! [ -e /build/project/go-on ]; do sleep 0.05; done");
    let builds = [started(build_alone(&world, "tool")), started(build_alone(&world, "slow"))];
    let [tool, slow] = builds;
    let tool = tool.wait_with_output().unwrap();
    assert!(tool.status.success(), "{}", err(&tool));
    let is_at_it = || world.home("slow/.pack/parts/tool/build.log").exists();
    eventually("the other build", is_at_it);
    let made = roots(&world);
    assert_eq!(made.len(), 1);
    let clean = || {
        let mut clean = world.pack(["clean", "--roots"]);
        clean.env("XDG_CACHE_HOME", world.home("cache"));
        err(&succeed(clean))
    };
    assert_eq!(clean(), "there was no root to remove\n");
    world.write("slow/go-on", "");
    let slow = slow.wait_with_output().unwrap();
    assert!(slow.status.success(), "{}", err(&slow));
    assert_eq!(roots(&world), made);
    assert!(clean().starts_with("removed 1 root from `"));
    assert_eq!(roots(&world), Vec::<PathBuf>::new());

    // What is complete needs none; what has changed gets one again, without a network.
    let told = err(&succeed(build_alone(&world, "tool")));
    assert!(told.contains("build tool: nothing changed") && roots(&world).is_empty(), "{told}");
    project(&world, "tool", "tcc", "echo changed");
    let mut build = build_alone(&world, "tool");
    build.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
    succeed(build);
    assert_eq!(roots(&world), made);
}

#[test]
fn what_lies_where_a_root_belongs_is_not_believed() {
    let world = World::new();
    project(&world, "tool", "tcc", "test ! -e /usr/bin/python3");
    cache_without_roots(&world);
    succeed(build_alone(&world, "tool"));
    let root = roots(&world).remove(0);
    // As a machine that crashed might leave it, or somebody who cleans by hand.
    fs::write(root.join("packages.json"), "[{").unwrap();
    own(&root.join("packages.json"));
    fs::remove_dir_all(root.join("root/usr")).unwrap();
    project(&world, "tool", "tcc", "echo changed");
    succeed(build_alone(&world, "tool"));
    assert_eq!(log(&world, "tool"), "changed\n");
    assert!(root.join("root/usr/bin/tcc").exists());
}
