//! `pack doctor`, and the cause that `pack run` names, on hosts that really lack something.

mod support;

use std::process::Command;

use support::{World, err, fail, out, succeed};

#[test]
fn where_everything_works_it_says_so() {
    let world = World::new();
    let text = out(&succeed(world.pack(["doctor"])));
    for ability in
        ["user namespaces", "/dev/fuse", "seccomp filters", "overlay in user namespaces", "Landlock"]
    {
        let line =
            text.lines().find(|line| line.contains(ability)).unwrap_or_else(|| panic!("{ability}: {text}"));
        assert!(line.starts_with("ok"), "{line}");
    }
    let json: serde_json::Value =
        serde_json::from_str(&out(&succeed(world.pack(["doctor", "--json"])))).unwrap();
    let rows = json.as_array().unwrap();
    assert!(rows.len() >= 8);
    assert!(rows.iter().filter(|row| row["required"] == true).all(|row| row["works"] == true), "{json}");
}

/// Runs `pack` in a mount namespace in which `prepare` was done by root.
fn on_host(world: &World, prepare: &str, arguments: &[&str]) -> Command {
    let inner = world.pack(arguments);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{prepare}; exec \"$@\""), "sh"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(world.environment()).current_dir(world.path("home"));
    command
}

#[test]
fn a_device_that_may_not_be_opened_is_named_with_its_mend() {
    if !support::is_root() {
        return support::skip("a host without /dev/fuse is made by root");
    }
    let world = World::with_key();
    world.copy_example("hello");
    world.install("hello");
    // Another node of the same device in its place, with the mode that it has where no udev runs.
    let closed =
        "mount -t tmpfs none /mnt && mknod -m 0600 /mnt/fuse c 10 229 && mount --bind /mnt/fuse /dev/fuse";
    let text = out(&fail(on_host(&world, closed, &["doctor"]), 1));
    assert!(text.contains("missing  /dev/fuse") && text.contains("chmod 0666 /dev/fuse"), "{text}");

    let text = err(&fail(on_host(&world, closed, &["run", "hello"]), 125));
    for told in [
        "cannot mount `hello` revision x1 (step: open /dev/fuse)",
        "you may not open it",
        "chmod 0666",
        "pack doctor",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn a_host_without_user_namespaces_is_named_with_its_mend() {
    let world = World::with_key();
    world.copy_example("hello");
    world.install("hello");
    // The limit is that of a user namespace of the test's own.
    let none = |arguments: &[&str]| {
        let mut command = world.command("unshare");
        command.args(["-Ur", "sh", "-c", "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"", "sh"]);
        command.arg(support::pack_binary()).args(arguments);
        command
    };
    let text = out(&fail(none(&["doctor"]), 1));
    assert!(text.contains("missing  user namespaces") && text.contains("user.max_user_namespaces"), "{text}");
    let text = err(&fail(none(&["run", "hello"]), 125));
    assert!(
        text.contains("user namespaces:") && text.contains("sysctl -w user.max_user_namespaces"),
        "{text}"
    );
}
