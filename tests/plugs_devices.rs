//! Plugs that show devices. The machine that tests has none of most of them: a /dev and a /sys made for the test, in a
//! mount namespace of its own, have nodes of the right names, which are other devices; each plug has to show its own and
//! no others. What a real device does behind such a node is not shown here.

mod support;

use std::process::Command;

use support::{World, is_root, out, pack_binary, skip, succeed};

/// Makes a /dev as hosts have it, with nodes that are really /dev/zero, numbered 1:5; but hidraw and input nodes are told
/// apart by what /sys says of their numbers, so each of these has one of its own (of /dev/full and the like, 1:N).
const HOST: &str = r#"
set -e
mount -t tmpfs -o mode=755 dev /run/dev-for-test 2>/dev/null || { mkdir -p /run/dev-for-test; mount -t tmpfs -o mode=755 dev /run/dev-for-test; }
cd /run/dev-for-test
for name in full null random tty urandom zero fuse; do touch $name; mount --bind /dev/$name $name; done
mkdir pts shm; mount --bind /dev/pts pts; mount -t tmpfs -o mode=1777 shm shm
mkdir -p dri input bus/usb/001 usb
node() { mknod -m 666 "$1" c 1 "$2"; }
for name in dri/card0 dri/renderD128 video0 media0 input/js0 bus/usb/001/001 ttyS0 ttyUSB0 ttyACM3 kvm kfd nvidia0 nvidiactl sda mem; do node $name 5; done
node input/event0 3; node input/event1 5; node hidraw0 7; node hidraw1 8
mknod -m 666 sr0 b 7 200
mount --move /run/dev-for-test /dev
mount -t tmpfs -o mode=755 sys /sys
mkdir -p /sys/dev/char/1:3/device/capabilities /sys/dev/char/1:5/device/capabilities /sys/dev/char/1:7/device /sys/dev/char/1:8/device /sys/class/net /sys/devices
echo '1000000000000 0 0 0 0' >/sys/dev/char/1:3/device/capabilities/key
echo 'fffffffffffffffe' >/sys/dev/char/1:5/device/capabilities/key
printf '\006\320\361\011\001' >/sys/dev/char/1:7/device/report_descriptor
printf '\005\001\011\006' >/sys/dev/char/1:8/device/report_descriptor
"#;

/// What an app sees in /dev beyond what every app has.
const LIST: &str = "cd /dev; find . -mindepth 1 ! -type d ! -type l ! -path './pts/*' | sort | \
                    grep -v -x -E '\\./(full|null|random|tty|urandom|zero)'; true";

/// Runs a script in an app on that host.
fn on_host(world: &World, app: &str, script: &str) -> String {
    let run = world.command(pack_binary());
    let mut command = Command::new("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &format!("{HOST}cd /\nexec \"$@\""), "sh"]);
    command.arg(run.get_program()).args(run.get_args());
    command.args(["run", &format!("tester.{app}"), "/bin/sh", "-c", script]);
    command.env_clear().envs(world.environment());
    out(&succeed(command)).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Interface, its declaration, and the nodes that its plug shows.
const PLUGS: &[(&str, &str, &str)] = &[
    ("opengl", "{}", "./dri/card0 ./dri/renderD128 ./kfd ./nvidia0 ./nvidiactl"),
    ("camera", "{}", "./media0 ./video0"),
    ("joystick", "{}", "./input/event0 ./input/js0"),
    ("u2f-devices", "{}", "./hidraw0"),
    ("hidraw", "{path: /dev/hidraw1}", "./hidraw1"),
    ("serial-port", "{path: /dev/ttyUSB0}", "./ttyUSB0"),
    ("raw-usb", "{}", "./bus/usb/001/001"),
    ("kvm", "{}", "./kvm"),
    ("optical-drive", "{}", "./sr0"),
    ("fuse", "{}", "./fuse"),
];

#[test]
fn each_plug_shows_its_devices_and_no_others() {
    if !is_root() {
        return skip("devices: only root makes device nodes");
    }
    let world = World::with_key();
    let plugs: Vec<(&str, &str)> = PLUGS.iter().map(|(plug, declared, _)| (*plug, *declared)).collect();
    world.install_tester(&plugs);
    assert_eq!(on_host(&world, "none", LIST), "");
    for (plug, _, nodes) in PLUGS {
        assert_eq!(on_host(&world, plug, LIST), *nodes, "{plug}");
    }
    // The node is the device: reading it gives what the device gives.
    assert_eq!(on_host(&world, "kvm", "head -c 3 /dev/kvm | od -An -tx1"), "00 00 00");
    assert_eq!(on_host(&world, "serial-port", "echo x >/dev/ttyUSB0 && echo written"), "written");
    // Nothing else of the host's /dev can be made, by whatever name.
    let planted = on_host(
        &world,
        "raw-usb",
        "mknod /tmp/mem c 1 1 2>/dev/null && echo made; ln -s /dev/mem /dev/bus/usb/x 2>/dev/null && echo linked; \
         mknod /dev/bus/usb/x c 1 1 2>/dev/null && echo made; ls /dev/mem /dev/sda 2>/dev/null; true",
    );
    assert_eq!(planted, "");
}

/// A device node in a folder that the app shares with the host is none to it: binds are `nodev`.
#[test]
fn a_device_node_in_a_shared_folder_cannot_be_opened() {
    if !is_root() {
        return skip("devices: only root makes device nodes");
    }
    let world = World::with_key();
    world.install_tester(&[("home", "{}")]);
    world.write("Documents/x", "");
    let node = world.home("Documents/zero");
    succeed({
        let mut make = Command::new("mknod");
        make.args(["-m", "666"]).arg(&node).args(["c", "1", "5"]);
        make
    });
    let script = "head -c 1 \"$1\" >/dev/null 2>&1 && echo opened; [ -c \"$1\" ] && echo seen";
    assert_eq!(world.tell("home", script, &[node.to_str().unwrap()]), "seen");
}
